/* coord/map_home.c - see map_home.h. */
#include "coord/map_home.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"

void map_home_init(struct map_home *home, const struct env *env, struct store *store,
                   int64_t timeout_ms)
{
    *home = (struct map_home){
        .env = env, .store = store, .timeout_ms = timeout_ms, .until_ms = INT64_MIN};
}

static void queue_drop(struct map_home *home)
{
    if (home->queue != NULL) {
        store_ops_of(home->queue)->queue_free(home->queue);
        home->queue = NULL;
    }
}

static void text_set(char **text, size_t *len, struct bytes now)
{
    free(*text);
    *text = xcalloc(now.len + 1, 1);
    if (now.len > 0) {
        memcpy(*text, now.ptr, now.len);
    }
    *len = now.len;
}

void map_home_deinit(struct map_home *home)
{
    queue_drop(home);
    free(home->text);
    home->text = NULL;
    free(home->commit_text);
    home->commit_text = NULL;
}

void map_home_read(struct map_home *home)
{
    home->read_wanted = true;
}

void map_home_commit(struct map_home *home, uint64_t number, struct bytes text)
{
    ASSERT(!home->commit_wanted);
    home->commit_wanted = true;
    home->commit_number = number;
    text_set(&home->commit_text, &home->commit_len, text);
}

/* --- what goes wrong --- */

/* It is tried again after a pause, or ends for good. */
static void fail(struct map_home *home, const struct silo_err *why)
{
    home->trouble = *why;
    home->step = MAP_HOME_IDLE;
    home->until_ms = env_mono_ms(home->env) + MAP_HOME_RETRY_MS;
}

static bool ended(const struct map_home *home)
{
    return home->trouble.code != SILO_OK && home->trouble.code != SILO_UNAVAILABLE;
}

/* Of the record that a step is about. */
static uint64_t step_number(const struct map_home *home, enum map_home_step step)
{
    return step == MAP_HOME_PUT ? home->commit_number : home->number;
}

static const char *what(const struct map_home *home, char ret_text[128])
{
    char name[CLUSTER_RECORD_NAME_MAX];
    cluster_record_name(step_number(home, home->step), name);
    switch (home->step) {
    case MAP_HOME_IDLE:
    case MAP_HOME_TEST:
        return "testing the store";
    case MAP_HOME_LIST:
        return "listing " CLUSTER_RECORD_PREFIX "/";
    case MAP_HOME_GET:
    case MAP_HOME_PUT:
        break;
    }
    (void)snprintf(ret_text, 128, "%s %s", home->step == MAP_HOME_GET ? "reading" : "creating",
                   name);
    return ret_text;
}

/* An object store that cannot be reached may keep a call for minutes: its answer finds no queue. */
static void timed_out(struct map_home *home)
{
    char text[256] = "", room[128];
    store_ops_of(home->store)->last_error(home->store, text, sizeof text);
    struct silo_err err = {0};
    rc_ignore(FAIL(&err, SILO_UNAVAILABLE, "the object store did not answer within %lld s (%s): %s",
                   (long long)(home->timeout_ms / 1000), what(home, room),
                   *text != '\0' ? text : "no error was reported"),
              "it fills the error");
    queue_drop(home);
    fail(home, &err);
}

/* What a failed test means for the start. */
static void test_failed(struct map_home *home, const struct silo_err *why)
{
    struct silo_err err = *why;
    if (why->code == SILO_NOT_FOUND) { /* no such bucket, or not for us */
        err.code = SILO_PRECONDITION;
    } else if (why->code != SILO_UNAVAILABLE) {
        rc_ignore(FAIL(&err, SILO_PRECONDITION,
                       "this object store cannot be used: it must refuse to create an object that "
                       "exists, and did not prove that it does (%.300s)",
                       why->text),
                  "it fills the error");
    }
    fail(home, &err);
}

/* --- one step after the other --- */

static silo_rc step_call(struct map_home *home, enum map_home_step step, struct silo_err *err)
{
    const struct store_ops *ops = store_ops_of(home->store);
    char name[CLUSTER_RECORD_NAME_MAX];
    cluster_record_name(step_number(home, step), name);
    home->call_id++;
    switch (step) {
    case MAP_HOME_TEST:
        return ops->selftest(home->store, home->queue, home->call_id, err);
    case MAP_HOME_LIST:
        return ops->object_list(home->store, home->queue, CLUSTER_RECORD_PREFIX, home->call_id,
                                err);
    case MAP_HOME_GET:
        return ops->object_get(home->store, home->queue, name, home->call_id, err);
    case MAP_HOME_PUT:
        return ops->object_put_new(home->store, home->queue, name,
                                   bytes_of(home->commit_text, home->commit_len), home->call_id,
                                   err);
    case MAP_HOME_IDLE:
        break;
    }
    return RC_OK;
}

static void step_begin(struct map_home *home, enum map_home_step step)
{
    struct silo_err err = {0};
    silo_rc rc = RC_OK;
    if (home->queue == NULL) {
        rc = store_ops_of(home->store)->queue_new(home->store, &home->queue, &err);
    }
    if (rc.code == SILO_OK) {
        rc = step_call(home, step, &err);
    }
    if (rc.code != SILO_OK) {
        err.code = rc.code;
        fail(home, &err);
        return;
    }
    home->step = step;
    home->until_ms = env_mono_ms(home->env) + home->timeout_ms;
}

static void tell(struct map_home *home, enum cluster_event_kind kind)
{
    home->told = kind;
    home->told_wanted = true;
    home->step = MAP_HOME_IDLE;
    home->until_ms = INT64_MIN;
    home->trouble = (struct silo_err){0};
}

/* The highest record number in a listing, 0 when there is none. Other names are not ours. */
static uint64_t newest_number(struct bytes listing)
{
    uint64_t newest = 0;
    for (size_t at = 0; at < listing.len;) {
        const uint8_t *end = memchr(listing.ptr + at, '\n', listing.len - at);
        const size_t len = end != NULL ? (size_t)(end - listing.ptr) - at : listing.len - at;
        uint64_t number;
        if (cluster_record_number(bytes_of(listing.ptr + at, len), &number) && number > newest) {
            newest = number;
        }
        at += len + 1;
    }
    return newest;
}

static void listed(struct map_home *home, struct bytes listing)
{
    home->number = newest_number(listing);
    if (home->number != 0) {
        step_begin(home, MAP_HOME_GET);
        return;
    }
    home->read_wanted = false;
    text_set(&home->text, &home->text_len, BYTES_NONE);
    tell(home, EVENT_MAP);
}

static void answered(struct map_home *home, const struct store_event *event)
{
    switch (home->step) {
    case MAP_HOME_TEST:
        home->tested = true;
        home->step = MAP_HOME_IDLE;
        home->until_ms = INT64_MIN;
        return;
    case MAP_HOME_LIST:
        listed(home, event->rows.data);
        return;
    case MAP_HOME_GET:
        home->read_wanted = false;
        text_set(&home->text, &home->text_len, event->rows.data);
        tell(home, EVENT_MAP);
        return;
    case MAP_HOME_PUT:
        home->commit_wanted = false;
        tell(home, EVENT_MAP_COMMITTED);
        return;
    case MAP_HOME_IDLE:
        return;
    }
}

static void refused(struct map_home *home, const struct store_event *event)
{
    if (home->step == MAP_HOME_PUT && event->rc.code == SILO_EXISTS) {
        home->commit_wanted = false;
        tell(home, EVENT_MAP_LOST);
        return;
    }
    struct silo_err err = {0};
    char room[128];
    rc_ignore(FAIL(&err, event->rc.code, "%s: %s", what(home, room), event->text),
              "it fills the error");
    if (home->step == MAP_HOME_TEST) {
        test_failed(home, &err);
        return;
    }
    if (home->step == MAP_HOME_GET && event->rc.code == SILO_NOT_FOUND) {
        char name[CLUSTER_RECORD_NAME_MAX];
        cluster_record_name(home->number, name);
        rc_ignore(FAIL(&err, SILO_UNAVAILABLE, "%s was listed and cannot be read", name),
                  "it fills the error");
    }
    fail(home, &err);
}

static void drain(struct map_home *home)
{
    struct store_event event;
    while (home->queue != NULL &&
           store_ops_of(home->queue)->queue_drain(home->queue, &event, 1) == 1) {
        if (event.token == home->call_id && home->step != MAP_HOME_IDLE) {
            if (event.rc.code == SILO_OK) {
                answered(home, &event);
            } else {
                refused(home, &event);
            }
        }
        store_ops_of(home->store)->event_free(&event);
    }
}

int64_t map_home_turn(struct map_home *home)
{
    drain(home);
    const int64_t now_ms = env_mono_ms(home->env);
    if (home->step != MAP_HOME_IDLE && now_ms >= home->until_ms) {
        timed_out(home);
    }
    const bool wanted = home->read_wanted || home->commit_wanted;
    if (home->step == MAP_HOME_IDLE && wanted && !home->told_wanted && !ended(home) &&
        now_ms >= home->until_ms) {
        step_begin(home, !home->tested         ? MAP_HOME_TEST
                         : home->commit_wanted ? MAP_HOME_PUT
                                               : MAP_HOME_LIST);
    }
    if (home->step == MAP_HOME_IDLE && (!wanted || ended(home)) && !home->told_wanted) {
        return INT64_MAX;
    }
    return home->told_wanted || home->until_ms < now_ms ? now_ms : home->until_ms;
}

bool map_home_event(struct map_home *home, struct cluster_event *ret_event)
{
    if (!home->told_wanted) {
        return false;
    }
    home->told_wanted = false;
    *ret_event = (struct cluster_event){
        .kind = home->told, .number = home->told == EVENT_MAP ? home->number : home->commit_number};
    if (home->told == EVENT_MAP) {
        ret_event->text = bytes_of(home->text, home->text_len);
    }
    return true;
}

int map_home_fd(const struct map_home *home)
{
    return home->step != MAP_HOME_IDLE ? store_ops_of(home->queue)->queue_fd(home->queue) : -1;
}

SILO_RC map_home_check(const struct map_home *home, struct silo_err *err)
{
    if (home->trouble.code != SILO_OK && err != NULL) {
        *err = home->trouble;
    }
    return (silo_rc){home->trouble.code};
}
