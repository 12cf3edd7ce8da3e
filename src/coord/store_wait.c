/*
 * coord/store_wait.c - object calls of the store, one at a time, waited for with a deadline.
 *
 * An object store that cannot be reached may keep a call for minutes. The wait ends at the deadline
 * with the store's own newest error, or at once when the process was told to stop.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>

#include "base/assert.h"
#include "coord/coord_int.h"

SILO_RC store_wait_init(struct store_wait *wait, const struct coord_options *options,
                        struct silo_err *err)
{
    *wait = (struct store_wait){.store = options->store,
                                .timeout_ms = options->timeout_ms,
                                .stop_fd = options->stop_fd,
                                .env = options->env};
    return store_ops_of(wait->store)->queue_new(wait->store, &wait->queue, err);
}

void store_wait_deinit(struct store_wait *wait)
{
    if (wait->queue != NULL) {
        store_ops_of(wait->queue)->queue_free(wait->queue);
        wait->queue = NULL;
    }
}

/* The event of the call under way, if it is there. Nothing else is ever called on this queue. */
static bool wait_drain(struct store_wait *wait, struct store_event *ret_event)
{
    const struct store_ops *ops = store_ops_of(wait->queue);
    while (ops->queue_drain(wait->queue, ret_event, 1) == 1) {
        if (ret_event->token == wait->token) {
            return true;
        }
        ops->event_free(ret_event);
    }
    return false;
}

static SILO_RC wait_timed_out(struct store_wait *wait, const char *what, struct silo_err *err)
{
    char text[256] = "";
    store_ops_of(wait->store)->last_error(wait->store, text, sizeof text);
    return FAIL(err, SILO_UNAVAILABLE, "the object store did not answer within %lld s (%s): %s",
                (long long)(wait->timeout_ms / 1000), what,
                *text != '\0' ? text : "no error was reported");
}

/* Waits for the event of the call just made; fills *ret_event also when its rc is an error. */
static SILO_RC wait_event(struct store_wait *wait, const char *what, struct store_event *ret_event,
                          struct silo_err *err)
{
    const int64_t deadline_ms = env_mono_ms(wait->env) + wait->timeout_ms;
    while (!wait_drain(wait, ret_event)) {
        const int64_t left_ms = deadline_ms - env_mono_ms(wait->env);
        if (left_ms <= 0) {
            return wait_timed_out(wait, what, err);
        }
        struct pollfd fds[2] = {
            {.fd = store_ops_of(wait->queue)->queue_fd(wait->queue), .events = POLLIN},
            {.fd = wait->stop_fd, .events = POLLIN}};
        const int n = poll(fds, 2, left_ms > INT32_MAX ? INT32_MAX : (int)left_ms);
        if (n < 0 && errno != EINTR) {
            return FAIL(err, SILO_INTERNAL, "poll: errno %d", errno);
        }
        if (n > 0 && (fds[1].revents & POLLIN) != 0) {
            return FAIL(err, SILO_CANCELLED, "told to stop while waiting for the object store (%s)",
                        what);
        }
    }
    return RC_OK;
}

/*
 * The same, with the event's own error as the outcome. On success the event is the caller's to
 * free.
 */
static SILO_RC wait_answer(struct store_wait *wait, const char *what, struct store_event *ret_event,
                           struct silo_err *err)
{
    struct store_event event;
    TRY(wait_event(wait, what, &event, err));
    if (event.rc.code == SILO_OK) {
        *ret_event = event;
        return RC_OK;
    }
    const silo_rc rc = FAIL(err, event.rc.code, "%s: %s", what, event.text);
    store_ops_of(wait->queue)->event_free(&event);
    return rc;
}

static SILO_RC wait_data(struct store_wait *wait, const char *what, char **ret_data,
                         size_t *ret_len, struct silo_err *err)
{
    struct store_event event = {0};
    TRY(wait_answer(wait, what, &event, err));
    const struct bytes data = event.rows.data;
    char *copy = xmalloc(data.len + 1);
    if (data.len != 0) {
        memcpy(copy, data.ptr, data.len);
    }
    copy[data.len] = '\0';
    *ret_data = copy;
    *ret_len = data.len;
    store_ops_of(wait->queue)->event_free(&event);
    return RC_OK;
}

static SILO_RC wait_done(struct store_wait *wait, const char *what, struct silo_err *err)
{
    struct store_event event;
    TRY(wait_answer(wait, what, &event, err));
    store_ops_of(wait->queue)->event_free(&event);
    return RC_OK;
}

SILO_RC store_wait_selftest(struct store_wait *wait, struct silo_err *err)
{
    TRY(store_ops_of(wait->store)->selftest(wait->store, wait->queue, ++wait->token, err));
    return wait_done(wait, "testing the store", err);
}

SILO_RC store_wait_list(struct store_wait *wait, const char *prefix, char **ret_data,
                        size_t *ret_len, struct silo_err *err)
{
    char what[128];
    (void)snprintf(what, sizeof what, "listing %.64s/", prefix);
    TRY(store_ops_of(wait->store)
            ->object_list(wait->store, wait->queue, prefix, ++wait->token, err));
    return wait_data(wait, what, ret_data, ret_len, err);
}

SILO_RC store_wait_get(struct store_wait *wait, const char *name, char **ret_data, size_t *ret_len,
                       struct silo_err *err)
{
    char what[128];
    (void)snprintf(what, sizeof what, "reading %.64s", name);
    TRY(store_ops_of(wait->store)->object_get(wait->store, wait->queue, name, ++wait->token, err));
    return wait_data(wait, what, ret_data, ret_len, err);
}

SILO_RC store_wait_put_new(struct store_wait *wait, const char *name, struct bytes data,
                           struct silo_err *err)
{
    char what[128];
    (void)snprintf(what, sizeof what, "creating %.64s", name);
    TRY(store_ops_of(wait->store)
            ->object_put_new(wait->store, wait->queue, name, data, ++wait->token, err));
    return wait_done(wait, what, err);
}
