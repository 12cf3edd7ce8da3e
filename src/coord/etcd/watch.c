/*
 * coord/etcd/watch.c - one watch of all keys of the cluster.
 *
 * It goes on from the last change that came, on another server if need be. What is no longer kept
 * there is listed anew, all of it. A stream that says nothing is asked for a sign of life, and left
 * when none comes: a server that was cut off from the others may keep it open for ever.
 *
 * The revision grows with changes, and with the notice of progress that etcd sends of its own
 * accord. An answer to a request for progress does not count: some versions send it ahead of
 * changes that are still on their way.
 */
#include "base/assert.h"
#include "coord/etcd/etcd_int.h"

#define WATCH_QUIET_US 1000000  /* then it is asked */
#define WATCH_SILENT_US 3000000 /* then it is left */

static void watch_again(struct etcd *etcd)
{
    etcd->watch.stream = etcd_stream_close(etcd->watch.stream);
    etcd->watch.again_us = env_mono_us(etcd->env) + ETCD_AGAIN_US;
}

/* --- what was missed is no longer kept --- */

static bool caught_up(struct etcd_ask *ask, const struct etcd_answer *answer, struct arena *arena)
{
    struct etcd *etcd = ask->etcd;
    struct etcd_rows rows;
    if (!etcd_rows_read(arena, answer->reply, &rows)) {
        return false;
    }
    if (!etcd->watch.behind) {
        return true; /* everything was listed meanwhile */
    }
    if (records_stale(etcd, rows.revision, ask->tries)) {
        struct etcd_ask *again = ask_new(etcd, caught_up);
        again->tries = ask->tries + 1;
        ask_all(again);
        return true;
    }
    records_list(etcd, &rows);
    watch_from(etcd, rows.revision);
    if (etcd->session.confirmed && !records_have_self(etcd, &rows)) {
        session_lost(etcd);
    }
    return true;
}

static void fell_behind(struct etcd *etcd)
{
    etcd->watch.stream = etcd_stream_close(etcd->watch.stream);
    if (!etcd->watch.behind) {
        etcd->watch.behind = true;
        ask_all(ask_new(etcd, caught_up));
    }
}

/* --- the stream --- */

static void watch_canceled(struct etcd *etcd, const struct etcd_changes *changes)
{
    if (changes->compacted) {
        fell_behind(etcd);
        return;
    }
    const bool token = bytes_has(changes->reason, BYTES_LIT("token")) ||
                       bytes_has(changes->reason, BYTES_LIT("permission")) ||
                       bytes_has(changes->reason, BYTES_LIT("auth"));
    etcd_link_doubt(etcd->link, token);
    watch_again(etcd);
}

static void watch_message(void *context, struct bytes message)
{
    struct etcd *etcd = context;
    struct etcd_watch *watch = &etcd->watch;
    struct arena arena;
    arena_init(&arena);
    struct etcd_changes changes;
    watch->heard_us = env_mono_us(etcd->env);
    if (!etcd_changes_read(&arena, message, &changes)) {
        etcd_link_doubt(etcd->link, false);
        watch_again(etcd);
    } else if (changes.canceled) {
        watch_canceled(etcd, &changes);
    } else if (changes.count > 0) {
        const uint64_t last = changes.changes[changes.count - 1].row.mod;
        watch->revision = last > watch->revision ? last : watch->revision;
        records_change(etcd, changes.changes, changes.count);
    } else if (!changes.of_stream && !changes.created && changes.revision > watch->revision) {
        watch->revision = changes.revision;
    }
    arena_deinit(&arena);
}

static void watch_end(void *context, uint32_t status, struct bytes text)
{
    struct etcd *etcd = context;
    (void)status;
    etcd->watch.stream = NULL;
    etcd_link_doubt(etcd->link, bytes_has(text, BYTES_LIT("token")));
    watch_again(etcd);
}

static const struct etcd_stream_ops watch_ops = {.message = watch_message, .end = watch_end};

static void watch_open(struct etcd *etcd, int64_t now_us)
{
    struct arena arena;
    arena_init(&arena);
    etcd->watch.heard_us = etcd->watch.asked_us = now_us;
    etcd->watch.stream = etcd_stream_open(
        etcd->link, etcd_watch(&arena, bytes_str(etcd->prefix), etcd->watch.revision + 1),
        &watch_ops, etcd);
    arena_deinit(&arena);
}

void watch_from(struct etcd *etcd, uint64_t revision)
{
    etcd->watch.stream = etcd_stream_close(etcd->watch.stream);
    etcd->watch.behind = false;
    etcd->watch.revision = revision;
    etcd->watch.again_us = INT64_MIN;
}

/* --- time --- */

static void watch_ask(struct etcd *etcd, int64_t now_us)
{
    struct arena arena;
    arena_init(&arena);
    etcd->watch.asked_us = now_us;
    etcd_stream_send(etcd->watch.stream, etcd_watch_progress(&arena));
    arena_deinit(&arena);
}

void watch_turn(struct etcd *etcd, int64_t now_us)
{
    struct etcd_watch *watch = &etcd->watch;
    if (watch->revision == 0 || watch->behind) {
        return;
    }
    if (watch->stream == NULL) {
        if (now_us >= watch->again_us) {
            watch_open(etcd, now_us);
        }
    } else if (now_us - watch->heard_us >= WATCH_SILENT_US) {
        etcd_link_doubt(etcd->link, false);
        watch_again(etcd);
    } else if (now_us - watch->heard_us >= WATCH_QUIET_US &&
               now_us - watch->asked_us >= WATCH_QUIET_US) {
        watch_ask(etcd, now_us);
    }
}

int64_t watch_next_us(const struct etcd *etcd)
{
    const struct etcd_watch *watch = &etcd->watch;
    if (watch->revision == 0 || watch->behind) {
        return INT64_MAX;
    }
    if (watch->stream == NULL) {
        return watch->again_us;
    }
    const int64_t asked_us = watch->asked_us > watch->heard_us ? watch->asked_us : watch->heard_us;
    const int64_t left_us = watch->heard_us + WATCH_SILENT_US;
    return asked_us + WATCH_QUIET_US < left_us ? asked_us + WATCH_QUIET_US : left_us;
}
