/*
 * query/snapshot.c - reads that wait.
 *
 * Each read has a number of the reader's as its token, so a late answer to one that was given up is
 * told from the answer waited for. No iterator outlives a read: the next page of a range is a scan
 * of its own from the last key on, so a statement that is given up leaves nothing busy behind.
 */
#include "query/snapshot.h"

#include <poll.h>

#include "base/assert.h"
#include "codec/record.h"

#define WAIT_SLICE_MS 100 /* how long a cancelled statement may go unnoticed */

static const struct store_ops *ops_of(const struct snapshot *snapshot)
{
    return store_ops_of(snapshot->options.snap);
}

/* The late answer to a read that was given up. */
static void drop(const struct snapshot *snapshot, struct store_event *event)
{
    if (event->kind == STORE_ROWS) {
        ops_of(snapshot)->iter_free(event->iter);
    }
    ops_of(snapshot)->event_free(event);
}

static bool take(const struct snapshot *snapshot, uint64_t token, struct store_event *ret_event)
{
    while (ops_of(snapshot)->queue_drain(snapshot->reader->queue, ret_event, 1) == 1) {
        if (ret_event->token == token && ret_event->kind == STORE_ROWS) {
            return true;
        }
        drop(snapshot, ret_event);
    }
    return false;
}

static SILO_RC await(const struct snapshot *snapshot, uint64_t token, struct store_event *ret_event,
                     struct silo_err *err)
{
    const struct snapshot_options *options = &snapshot->options;
    const struct env *env = snapshot->reader->env;
    const int64_t deadline_ms = options->deadline_mono_ms != 0
                                    ? options->deadline_mono_ms
                                    : env_mono_ms(env) + SNAPSHOT_WAIT_MS_MAX;
    while (!take(snapshot, token, ret_event)) {
        if (options->cancelled != NULL && options->cancelled(options->context)) {
            return FAIL(err, SILO_CANCELLED, "the caller left");
        }
        const int64_t left_ms = deadline_ms - env_mono_ms(env);
        if (left_ms <= 0) {
            return FAIL(err, SILO_DEADLINE, "the storage did not answer in time");
        }
        struct pollfd poller = {.fd = ops_of(snapshot)->queue_fd(snapshot->reader->queue),
                                .events = POLLIN};
        /* An interrupted wait is a short one. */
        (void)poll(&poller, 1, (int)(left_ms < WAIT_SLICE_MS ? left_ms : WAIT_SLICE_MS));
    }
    return RC_OK;
}

/* Before a read is asked for: statements that find all in memory must end, too. */
static SILO_RC may_read(const struct snapshot *snapshot, struct silo_err *err)
{
    const struct snapshot_options *options = &snapshot->options;
    if (options->cancelled != NULL && options->cancelled(options->context)) {
        return FAIL(err, SILO_CANCELLED, "the caller left");
    }
    if (options->deadline_mono_ms != 0 &&
        env_mono_ms(snapshot->reader->env) >= options->deadline_mono_ms) {
        return FAIL(err, SILO_DEADLINE, "the statement ran out of time");
    }
    return RC_OK;
}

static SILO_RC finish(struct snapshot *snapshot, uint64_t token, struct read *ret_read,
                      struct silo_err *err)
{
    struct store_event event;
    TRY(await(snapshot, token, &event, err));
    const struct store_ops *ops = ops_of(snapshot);
    const bool more = event.iter != NULL;
    ops->iter_free(event.iter);
    event.iter = NULL;
    if (event.rc.code != SILO_OK) {
        const silo_rc rc = FAIL(err, event.rc.code, "reading failed: %s", event.text);
        ops->event_free(&event);
        return rc;
    }
    *ret_read = (struct read){.event = event, .rows = event.rows, .more = more};
    return RC_OK;
}

SILO_RC snapshot_look_up(struct snapshot *snapshot, const struct bytes *keys, size_t count,
                         struct read *ret_read, struct silo_err *err)
{
    ASSERT(count != 0 && count <= SNAPSHOT_KEYS_MAX);
    *ret_read = (struct read){0};
    TRY(may_read(snapshot, err));
    const uint64_t token = ++snapshot->reader->reads;
    TRY(ops_of(snapshot)->mget(NULL, snapshot->options.snap, keys, count, token, err));
    TRY(finish(snapshot, token, ret_read, err));
    snapshot->rows_looked_up += count;
    if (ret_read->rows.count != count) {
        read_free(snapshot, ret_read);
        return FAIL(err, SILO_INTERNAL, "the store answered another number of rows than asked");
    }
    return RC_OK;
}

SILO_RC snapshot_scan(struct snapshot *snapshot, struct bytes lo, struct bytes hi, bool keys_only,
                      uint32_t rows_max, struct read *ret_read, struct silo_err *err)
{
    ASSERT(rows_max != 0);
    TRY(may_read(snapshot, err));
    const uint64_t token = ++snapshot->reader->reads;
    const struct store_scan_args args = {
        .lo = lo,
        .hi = hi,
        .keys_only = keys_only,
        .rows_max = rows_max,
        .bytes_max = READ_BYTES_MAX,
    };
    TRY(ops_of(snapshot)->scan(NULL, snapshot->options.snap, &args, token, err));
    TRY(finish(snapshot, token, ret_read, err));
    snapshot->rows_scanned += ret_read->rows.count;
    return RC_OK;
}

void read_free(struct snapshot *snapshot, struct read *read)
{
    if (read->event.kind == STORE_ROWS) {
        ops_of(snapshot)->event_free(&read->event);
    }
    *read = (struct read){0};
}

/* What the shard's own record says; a shard that was never opened has none. */
static SILO_RC facts_read(struct snapshot *snapshot, struct silo_err *err)
{
    struct key key;
    key_meta(&key, META_SHARD);
    const struct bytes keys[] = {key_bytes(&key)};
    struct read read;
    TRY(snapshot_look_up(snapshot, keys, 1, &read, err));
    struct store_row row;
    struct shard_rec rec = {.dispatch_order = ORDER_PRIORITY};
    const bool fits = store_rows_next(&read.rows, &row) &&
                      (!row.present || shard_decode(row.value, &rec)) &&
                      rec.dispatch_order <= ORDER_START;
    read_free(snapshot, &read);
    if (!fits) {
        return FAIL(err, SILO_CORRUPT, "the shard's record is corrupt");
    }
    snapshot->order = (enum dispatch_order)rec.dispatch_order;
    snapshot->created_ms = rec.created_ms;
    snapshot->rows_looked_up = 0; /* what follows is the statement's own */
    return RC_OK;
}

SILO_RC snapshot_open(struct snapshot *snapshot, struct snapshot_reader *reader,
                      const struct snapshot_options *options, struct silo_err *err)
{
    *snapshot = (struct snapshot){
        .reader = reader, .options = *options, .now_ms = env_wall_ms(reader->env)};
    if (snapshot->options.hash_first == 0 && snapshot->options.hash_last == 0) {
        snapshot->options.hash_last = UINT64_MAX;
    }
    const silo_rc rc = facts_read(snapshot, err);
    if (rc.code != SILO_OK) {
        snapshot_close(snapshot);
    }
    return rc;
}

void snapshot_close(struct snapshot *snapshot)
{
    if (snapshot->options.snap != NULL) {
        ops_of(snapshot)->snapshot_free(snapshot->options.snap);
        snapshot->options.snap = NULL;
    }
}
