/* query/rows_test.c - see rows_test.h. */
#include "query/rows_test.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/test.h"
#include "codec/key_scan.h"
#include "store_mem/store_mem.h"

#define BATCH_BYTES (4u << 20)
#define TEXT_BYTES (4u << 20)
#define WAIT_MS 60000

static int64_t rows_wall(void *context)
{
    return ((struct rows *)context)->now_ms;
}

static int64_t rows_mono(void *context)
{
    struct rows *rows = context;
    rows->mono_us += rows->mono_step_us;
    return rows->mono_us;
}

static struct store_event rows_expect(struct rows *rows, enum store_event_kind kind)
{
    struct store_event event;
    while (rows->ops->queue_drain(rows->queue, &event, 1) == 0) {
        struct pollfd poller = {.fd = rows->ops->queue_fd(rows->queue), .events = POLLIN};
        assert_int_equal(poll(&poller, 1, WAIT_MS), 1);
    }
    assert_int_equal(event.kind, kind);
    assert_int_equal(event.token, rows->token);
    assert_int_equal(event.rc.code, SILO_OK);
    return event;
}

struct rows *rows_new(struct store *store)
{
    struct rows *rows = xcalloc(1, sizeof *rows);
    rows->store = store;
    rows->ops = store_ops_of(store);
    rows->now_ms = ROWS_NOW_MS;
    rows->mono_step_us = 1;
    rows->env = (struct env){.wall_ms = rows_wall, .mono_us = rows_mono, .context = rows};
    arena_init(&rows->arena);
    assert_int_equal(rows->ops->queue_new(store, &rows->queue, NULL).code, SILO_OK);
    const struct store_open_args args = {.path = "shard/one", .bytes_max = 64u << 20};
    assert_int_equal(rows->ops->open(store, rows->queue, &args, ++rows->token, NULL).code, SILO_OK);
    struct store_event event = rows_expect(rows, STORE_OPENED);
    rows->db = event.db;
    rows->ops->event_free(&event);
    assert_int_equal(rows->ops->queue_new(store, &rows->lent, NULL).code, SILO_OK);
    rows->reader = (struct snapshot_reader){.env = &rows->env, .queue = rows->lent};
    return rows;
}

struct rows *rows_new_mem(void)
{
    return rows_new(store_mem_new(NULL));
}

void rows_close(struct rows *rows)
{
    assert_int_equal(rows->ops->close(rows->db, STORE_CLOSE_DROP, ++rows->token, NULL).code,
                     SILO_OK);
    bool closed = false;
    while (!closed) {
        struct store_event event;
        if (rows->ops->queue_drain(rows->queue, &event, 1) == 1) {
            closed = event.kind == STORE_CLOSED;
            if (event.kind == STORE_ROWS) {
                rows->ops->iter_free(event.iter);
            }
            rows->ops->event_free(&event);
        } else {
            struct pollfd poller = {.fd = rows->ops->queue_fd(rows->queue), .events = POLLIN};
            assert_int_equal(poll(&poller, 1, WAIT_MS), 1);
        }
    }
    rows->db = NULL;
}

void rows_free(struct rows *rows)
{
    if (rows->db != NULL) {
        rows_close(rows);
    }
    rows->ops->queue_free(rows->lent);
    rows->ops->queue_free(rows->queue);
    rows->ops->free(rows->store);
    arena_deinit(&rows->arena);
    free(rows);
}

static void rows_op(struct rows *rows, const struct key *key, struct bytes value, bool del)
{
    if (rows->batch.ptr == NULL) {
        rows->batch = rows->ops->buf_alloc(BATCH_BYTES);
    }
    store_op_pack(&rows->batch, key_bytes(key), value, del);
    rows->batch_ops++;
}

void rows_put(struct rows *rows, const struct key *key, struct bytes value)
{
    rows_op(rows, key, value, false);
}

void rows_delete(struct rows *rows, const struct key *key)
{
    rows_op(rows, key, BYTES_NONE, true);
}

void rows_commit(struct rows *rows)
{
    assert_int_equal(
        rows->ops->write(rows->db, &rows->batch, 1, rows->batch_ops, ++rows->token, NULL).code,
        SILO_OK);
    rows->batch = (struct store_buf){0};
    rows->batch_ops = 0;
    struct store_event event = rows_expect(rows, STORE_APPLIED);
    rows->ops->event_free(&event);
}

struct snapshot rows_snapshot(struct rows *rows)
{
    return rows_snapshot_part(rows, 0, 0);
}

struct snapshot rows_snapshot_part(struct rows *rows, uint64_t hash_first, uint64_t hash_last)
{
    struct snapshot snapshot;
    struct silo_err err;
    struct snapshot_options options = {.hash_first = hash_first, .hash_last = hash_last};
    assert_int_equal(
        rows->ops->snapshot(rows->db, rows->lent, &options.snap, &options.seq, &err).code, SILO_OK);
    assert_int_equal(snapshot_open(&snapshot, &rows->reader, &options, &err).code, SILO_OK);
    return snapshot;
}

/* --- jobs --- */

/* "name=value name=value" as stored. */
static uint32_t pairs_encode(struct buf *buf, const char *pairs)
{
    uint32_t count = 0;
    while (pairs != NULL && *pairs != '\0') {
        const size_t name = strcspn(pairs, "=");
        const size_t whole = strcspn(pairs, " ");
        item_append(buf, bytes_of(pairs, name));
        item_append(buf, bytes_of(pairs + name + 1, whole - name - 1));
        pairs += whole + (pairs[whole] == ' ' ? 1 : 0);
        count++;
    }
    return count;
}

static enum key_index kind_of(enum job_status status)
{
    switch (status) {
    case JOB_SCHEDULED:
    case JOB_RUNNING:
        return INDEX_OPEN;
    case JOB_SUCCEEDED:
        return INDEX_SUCCEEDED;
    case JOB_FAILED:
        return INDEX_FAILED;
    case JOB_CANCELLED:
        return INDEX_CANCELLED;
    }
    abort();
}

static void put_state(struct rows *rows, const struct job_spec *spec, struct bytes ref,
                      struct buf *buf)
{
    struct key key;
    const bool ended = job_status_terminal(spec->status);
    const struct state state = {
        .status = ended ? spec->status : JOB_SCHEDULED,
        .changed_ms = spec->changed_ms,
        .attempt = spec->attempt != 0 ? spec->attempt : 1,
        .due_ms = spec->due_ms,
        .has_outcome = ended,
        .by_attempt = spec->status == JOB_SUCCEEDED || spec->status == JOB_FAILED,
        .final = {.relative = 1,
                  .started_ms = spec->changed_ms - 1,
                  .outcome = {.status = spec->status == JOB_SUCCEEDED ? ATTEMPT_SUCCEEDED
                                        : spec->status == JOB_FAILED  ? ATTEMPT_FAILED
                                                                      : ATTEMPT_CANCELLED,
                              .finished_ms = spec->changed_ms}},
    };
    buf_reset(buf);
    state_encode(buf, &state);
    key_by_ref(&key, TABLE_STATE, ref);
    rows_put(rows, &key, buf_bytes(buf));
}

void rows_put_job(struct rows *rows, const struct job_spec *spec)
{
    struct key ref;
    struct key key;
    struct buf buf;
    struct buf pairs;
    buf_init(&buf, 1u << 20);
    buf_init(&pairs, 1u << 20);
    key_job_ref(&ref, bytes_str(spec->tenant), bytes_str(spec->id));
    struct info info = {.group = BYTES_LIT("g"),
                        .enqueue_ms = spec->enqueue_ms,
                        .due_ms = spec->due_ms,
                        .metadata_count = pairs_encode(&pairs, spec->pairs),
                        .payload.inline_bytes = BYTES_LIT("payload")};
    info.metadata = buf_bytes(&pairs);
    info_encode(&buf, &info);
    key_by_ref(&key, TABLE_INFO, key_bytes(&ref));
    rows_put(rows, &key, buf_bytes(&buf));
    if (spec->changed_ms != 0 && spec->status != JOB_RUNNING) {
        put_state(rows, spec, key_bytes(&ref), &buf);
    }
    if (spec->status == JOB_RUNNING) {
        buf_reset(&buf);
        const struct lease_rec lease = {.worker_id = BYTES_LIT("w"),
                                        .attempt = spec->attempt != 0 ? spec->attempt : 1,
                                        .started_ms = spec->changed_ms,
                                        .group = BYTES_LIT("g")};
        lease_encode(&buf, &lease);
        key_by_ref(&key, TABLE_LEASE, key_bytes(&ref));
        rows_put(rows, &key, buf_bytes(&buf));
    }
    if (!spec->no_index) {
        const enum key_index kind = kind_of(spec->status);
        key_index(&key, key_bytes(&ref), kind,
                  kind == INDEX_OPEN ? spec->enqueue_ms : spec->changed_ms);
        rows_put(rows, &key, BYTES_NONE);
    }
    struct bytes at = info.metadata;
    struct bytes name;
    struct bytes value;
    while (pair_next(&at, &name, &value)) {
        key_metadata(&key, key_bytes(&ref), name, value);
        rows_put(rows, &key, BYTES_NONE);
    }
    buf_deinit(&buf);
    buf_deinit(&pairs);
}

void rows_delete_job(struct rows *rows, const struct job_spec *spec)
{
    static const enum key_table tables[] = {TABLE_INFO, TABLE_STATE, TABLE_LEASE};
    struct key ref;
    struct key key;
    key_job_ref(&ref, bytes_str(spec->tenant), bytes_str(spec->id));
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        key_by_ref(&key, tables[i], key_bytes(&ref));
        rows_delete(rows, &key);
    }
}

/* --- listings --- */

char *jobs_text(struct snapshot *snapshot, const struct jobs_query *query, uint32_t rows_max,
                size_t bytes_max)
{
    struct buf text;
    struct arena arena;
    struct bytes cursor = BYTES_NONE;
    const struct page_limits limits = {.rows_max = rows_max, .bytes_max = bytes_max};
    uint8_t at[KEY_BYTES_MAX];
    buf_init(&text, TEXT_BYTES);
    arena_init(&arena);
    for (size_t pages = 0;; pages++) {
        struct jobs_page page;
        struct silo_err err = {0};
        assert_true(pages < ROWS_LISTED_MAX);
        const silo_rc rc = jobs_read(snapshot, query, cursor, &limits, &arena, &page, &err);
        if (rc.code != SILO_OK) {
            fail_msg("%s (%s)", err.text, err.where);
        }
        assert_true(page.count <= rows_max);
        for (size_t i = 0; i < page.count; i++) {
            buf_printf(&text, "%.*s/%.*s ", BYTES_FMT(page.rows[i].tenant),
                       BYTES_FMT(page.rows[i].id));
        }
        if (page.cursor.len == 0) {
            break;
        }
        memcpy(at, page.cursor.ptr, page.cursor.len);
        cursor = bytes_of(at, page.cursor.len);
        arena_reset(&arena);
    }
    buf_u8(&text, 0);
    arena_deinit(&arena);
    assert_false(text.full);
    return (char *)text.ptr;
}

void jobs_check(struct snapshot *snapshot, const struct jobs_query *query, const char *expected)
{
    for (uint32_t rows_max = 1; rows_max <= 8; rows_max++) {
        char *text = jobs_text(snapshot, query, rows_max < 8 ? rows_max : JOBS_PAGE_MAX, 0);
        assert_string_equal(text, expected);
        free(text);
    }
    char *text = jobs_text(snapshot, query, JOBS_PAGE_MAX, 1);
    assert_string_equal(text, expected);
    free(text);
}
