/* query/queues_test.c - listings of queues, holders and waiters over rows written by hand. */
#include "query/queues.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/test.h"
#include "query/ranges.h"
#include "query/rows_test.h"

#define TEXT_MAX 65536u

static struct key ref_of(const char *tenant, const char *queue)
{
    struct key job_ref;
    struct key ref;
    key_job_ref(&job_ref, bytes_str(tenant), BYTES_NONE);
    key_queue_ref(&ref, key_bytes(&job_ref), bytes_str(queue));
    return ref;
}

static struct uuid task_of(uint8_t n)
{
    struct uuid id = {0};
    id.b[15] = n;
    return id;
}

static void put_holder(struct rows *rows, const char *tenant, const char *queue, uint8_t n)
{
    struct key ref = ref_of(tenant, queue);
    struct key key;
    struct buf buf;
    const struct uuid task = task_of(n);
    buf_init(&buf, 4096);
    holder_encode(
        &buf, &(struct holder_rec){.job_id = BYTES_LIT("job"), .granted_ms = 1000 + n, .index = n});
    key_holder(&key, key_bytes(&ref), &task);
    rows_put(rows, &key, buf_bytes(&buf));
    buf_deinit(&buf);
}

static void put_waiter_at(struct rows *rows, const char *tenant, const struct key *ref,
                          struct line_id line, enum dispatch_order order, struct place place,
                          const char *job)
{
    struct key job_ref;
    struct key key;
    struct buf buf;
    buf_init(&buf, 4096);
    key_job_ref(&job_ref, bytes_str(tenant), bytes_str(job));
    task_encode(&buf, &(struct task_rec){.job_ref = key_bytes(&job_ref),
                                         .attempt = 1,
                                         .relative = 1,
                                         .group = BYTES_LIT("g"),
                                         .has_chain = true,
                                         .chain = {.task_id = task_of((uint8_t)place.arrival)}});
    key_waiter(&key, order, key_bytes(ref), line, &place);
    rows_put(rows, &key, buf_bytes(&buf));
    buf_deinit(&buf);
}

static void put_waiter(struct rows *rows, const char *tenant, const char *queue,
                       struct line_id line, enum dispatch_order order, struct place place,
                       const char *job)
{
    const struct key ref = ref_of(tenant, queue);
    put_waiter_at(rows, tenant, &ref, line, order, place, job);
}

static void put_lines_at(struct rows *rows, const struct key *ref, const struct line_rec *lines,
                         uint32_t count)
{
    struct key key;
    struct buf buf;
    buf_init(&buf, 65536);
    queue_encode_head(&buf, count);
    for (uint32_t i = 0; i < count; i++) {
        queue_encode_line(&buf, &lines[i]);
    }
    key_queue(&key, key_bytes(ref), QUEUE_LINES);
    rows_put(rows, &key, buf_bytes(&buf));
    buf_deinit(&buf);
}

static void put_lines(struct rows *rows, const char *tenant, const char *queue,
                      const struct line_rec *lines, uint32_t count)
{
    const struct key ref = ref_of(tenant, queue);
    put_lines_at(rows, &ref, lines, count);
}

static void put_floating(struct rows *rows, const char *tenant, const char *queue, uint32_t value)
{
    struct key ref = ref_of(tenant, queue);
    struct key key;
    struct buf buf;
    buf_init(&buf, 4096);
    floating_encode(&buf,
                    &(struct floating_rec){.value = value, .default_max = 5, .interval_ms = 1000});
    key_queue(&key, key_bytes(&ref), QUEUE_FLOATING);
    rows_put(rows, &key, buf_bytes(&buf));
    buf_deinit(&buf);
}

static const struct line_id line_2 = {.max = 2};
static const struct line_id line_5 = {.max = 5};
static const struct line_id line_floating = {.floating = true, .max = UINT32_MAX};

/*
 * Tenant t: a with three lines, ab with holders, b with a floating limit and nobody, z emptied.
 * Tenant u: a.
 */
static struct rows *rows_some(enum dispatch_order order)
{
    struct rows *rows = rows_new_mem();
    struct key key;
    struct buf buf;
    buf_init(&buf, 4096);
    shard_encode(&buf, &(struct shard_rec){.created_ms = 77, .dispatch_order = (uint8_t)order});
    key_meta(&key, META_SHARD);
    rows_put(rows, &key, buf_bytes(&buf));
    buf_deinit(&buf);
    put_holder(rows, "t", "a", 1);
    put_holder(rows, "t", "a", 2);
    put_holder(rows, "t", "ab", 3);
    put_holder(rows, "u", "a", 4);
    put_waiter(rows, "t", "a", line_2, order, (struct place){10, 1, 5}, "j1");
    put_waiter(rows, "t", "a", line_5, order, (struct place){20, 2, 1}, "j2");
    put_waiter(rows, "t", "a", line_floating, order, (struct place){5, 3, 5}, "j3");
    put_waiter(rows, "t", "a", line_2, order, (struct place){5, 4, 5}, "j4");
    put_waiter(rows, "t", "a", line_5, order, (struct place){30, 5, 0}, "j5");
    put_waiter(rows, "u", "a", line_2, order, (struct place){1, 6, 0}, "j6");
    const struct line_rec lines[] = {{.id = line_floating, .count = 1},
                                     {.id = line_5, .count = 2},
                                     {.id = line_2, .count = 2},
                                     {.id = {.max = 9}, .count = 0}};
    put_lines(rows, "t", "a", lines, 4);
    put_lines(rows, "u", "a", &(struct line_rec){.id = line_2, .count = 1}, 1);
    put_lines(rows, "t", "z", NULL, 0);
    put_floating(rows, "t", "b", 7);
    rows_commit(rows);
    return rows;
}

enum what { HOLDERS, WAITERS, QUEUES };

static size_t page_text(struct snapshot *s, enum what what, const struct queue_scope *scope,
                        struct bytes *cursor, uint32_t rows_max, struct arena *arena,
                        struct buf *text)
{
    const struct page_limits limits = {.rows_max = rows_max};
    struct silo_err err = {0};
    struct holders_page holders = {0};
    struct waiters_page waiters = {0};
    struct queues_page queues = {0};
    switch (what) {
    case HOLDERS:
        assert_int_equal(holders_read(s, scope, *cursor, &limits, arena, &holders, &err).code,
                         SILO_OK);
        for (size_t i = 0; i < holders.count; i++) {
            const struct holder_row *row = &holders.rows[i];
            assert_int_equal(row->granted_ms, 1000 + row->task_id.b[15]);
            assert_int_equal(row->limit_index, row->task_id.b[15]);
            assert_true(bytes_eq(row->job_id, BYTES_LIT("job")));
            buf_printf(text, "%.*s/%.*s/%d ", BYTES_FMT(row->tenant), BYTES_FMT(row->queue),
                       row->task_id.b[15]);
        }
        *cursor = holders.cursor;
        return holders.count;
    case WAITERS:
        assert_int_equal(waiters_read(s, scope, *cursor, &limits, arena, &waiters, &err).code,
                         SILO_OK);
        for (size_t i = 0; i < waiters.count; i++) {
            const struct waiter_row *row = &waiters.rows[i];
            assert_int_equal(row->task_id.b[15], row->place.arrival);
            assert_true(bytes_eq(row->group, BYTES_LIT("g")));
            buf_printf(text, "%.*s/%.*s/%.*s ", BYTES_FMT(row->tenant), BYTES_FMT(row->queue),
                       BYTES_FMT(row->job_id));
        }
        *cursor = waiters.cursor;
        return waiters.count;
    case QUEUES:
        assert_int_equal(queues_read(s, scope, *cursor, &limits, arena, &queues, &err).code,
                         SILO_OK);
        for (size_t i = 0; i < queues.count; i++) {
            const struct queue_row *row = &queues.rows[i];
            buf_printf(text, "%.*s/%.*s:%d+%d", BYTES_FMT(row->tenant), BYTES_FMT(row->queue),
                       (int)row->holders, (int)row->waiters);
            if (row->has_max) {
                buf_printf(text, "<%u%s", row->max, row->has_floating ? "f" : "");
            }
            buf_u8(text, ' ');
        }
        *cursor = queues.cursor;
        return queues.count;
    }
    abort();
}

static void check(struct snapshot *s, enum what what, struct queue_scope scope,
                  const char *expected)
{
    for (uint32_t rows_max = 1; rows_max <= 8; rows_max++) {
        struct arena arena;
        struct buf text;
        struct bytes cursor = BYTES_NONE;
        arena_init(&arena);
        buf_init(&text, TEXT_MAX);
        for (int pages = 0; pages == 0 || cursor.len != 0; pages++) {
            assert_true(pages < 1000);
            assert_true(page_text(s, what, &scope, &cursor, rows_max, &arena, &text) <= rows_max);
        }
        buf_u8(&text, 0);
        assert_string_equal((const char *)text.ptr, expected);
        buf_deinit(&text);
        arena_deinit(&arena);
    }
}

static const struct queue_scope shard = {.span = QUEUES_OF_SHARD};
static const struct queue_scope tenant_t = {.span = QUEUES_OF_TENANT,
                                            .tenant = {(uint8_t *)"t", 1}};

static struct queue_scope one(const char *tenant, const char *queue)
{
    return (struct queue_scope){
        .span = QUEUE_ONE, .tenant = bytes_str(tenant), .queue = bytes_str(queue)};
}

/* What the shard lists, its tenants in the order of their hashes. */
static void check_shard(struct snapshot *s, enum what what, const char *of_t, const char *of_u)
{
    char both[512];
    const bool first = tenant_hash(BYTES_LIT("t")) < tenant_hash(BYTES_LIT("u"));
    (void)snprintf(both, sizeof both, "%s%s", first ? of_t : of_u, first ? of_u : of_t);
    check(s, what, shard, both);
    const struct snapshot_options options = s->options;
    s->options.hash_first = s->options.hash_last = tenant_hash(BYTES_LIT("u"));
    check(s, what, shard, of_u);
    s->options = options;
}

static void holders(void **state)
{
    (void)state;
    struct rows *rows = rows_some(ORDER_PRIORITY);
    struct snapshot s = rows_snapshot(rows);
    assert_int_equal(s.created_ms, 77);
    check(&s, HOLDERS, one("t", "a"), "t/a/1 t/a/2 ");
    check(&s, HOLDERS, one("t", "ab"), "t/ab/3 ");
    check(&s, HOLDERS, one("t", "no"), "");
    check(&s, HOLDERS, tenant_t, "t/a/1 t/a/2 t/ab/3 ");
    check_shard(&s, HOLDERS, "t/a/1 t/a/2 t/ab/3 ", "u/a/4 ");
    snapshot_close(&s);
    rows_free(rows);
}

static void waiters_stand_in_their_order(void **state)
{
    (void)state;
    struct rows *rows = rows_some(ORDER_PRIORITY);
    struct snapshot s = rows_snapshot(rows);
    /* Priority, due, arrival, whatever the line. */
    check(&s, WAITERS, one("t", "a"), "t/a/j5 t/a/j2 t/a/j3 t/a/j4 t/a/j1 ");
    check(&s, WAITERS, one("t", "ab"), "");
    check(&s, WAITERS, one("u", "a"), "u/a/j6 ");
    check(&s, WAITERS, tenant_t, "t/a/j4 t/a/j1 t/a/j5 t/a/j2 t/a/j3 "); /* line by line */
    check_shard(&s, WAITERS, "t/a/j4 t/a/j1 t/a/j5 t/a/j2 t/a/j3 ", "u/a/j6 ");
    snapshot_close(&s);
    rows_free(rows);
    rows = rows_some(ORDER_START);
    s = rows_snapshot(rows);
    check(&s, WAITERS, one("t", "a"), "t/a/j3 t/a/j4 t/a/j1 t/a/j2 t/a/j5 ");
    snapshot_close(&s);
    rows_free(rows);
}

static void queues_are_counted(void **state)
{
    (void)state;
    struct rows *rows = rows_some(ORDER_PRIORITY);
    struct snapshot s = rows_snapshot(rows);
    check(&s, QUEUES, one("t", "a"), "t/a:2+5<5 ");
    check(&s, QUEUES, one("t", "b"), "t/b:0+0<7f ");
    check(&s, QUEUES, one("t", "z"), "");
    check(&s, QUEUES, tenant_t, "t/a:2+5<5 t/ab:1+0 t/b:0+0<7f ");
    check_shard(&s, QUEUES, "t/a:2+5<5 t/ab:1+0 t/b:0+0<7f ", "u/a:1+1<2 ");
    snapshot_close(&s);
    rows_free(rows);
}

/* More rows of one queue than are read at a time, in more lines than a round trip brings rows. */
static void long_queues(void **state)
{
    (void)state;
    enum { LINES = 700, WAITING = 2100 };
    struct rows *rows = rows_new_mem();
    static struct line_rec lines[LINES];
    char job[16];
    for (uint32_t i = 0; i < WAITING; i++) {
        (void)snprintf(job, sizeof job, "j%04u", i);
        put_waiter(rows, "t", "q", (struct line_id){.max = i % LINES}, ORDER_PRIORITY,
                   (struct place){.due_ms = 1000 + i * 11 % WAITING, .arrival = i & 0xff}, job);
        put_holder(rows, "t", i % 2 == 0 ? "q" : "r", (uint8_t)(i % 200));
    }
    for (uint32_t i = 0; i < LINES; i++) {
        lines[i] = (struct line_rec){.id = {.max = i}, .count = WAITING / LINES};
    }
    put_lines(rows, "t", "q", lines, LINES);
    rows_commit(rows);
    struct snapshot s = rows_snapshot(rows);
    const struct queue_scope scope = one("t", "q");
    const struct page_limits limits = {.rows_max = 1000};
    struct bytes cursor = BYTES_NONE;
    size_t count = 0;
    int64_t last_ms = 0;
    struct arena arena;
    arena_init(&arena);
    do {
        struct waiters_page page;
        assert_int_equal(waiters_read(&s, &scope, cursor, &limits, &arena, &page, NULL).code,
                         SILO_OK);
        for (size_t i = 0; i < page.count; i++) {
            assert_true(page.rows[i].place.due_ms > last_ms || count == 0);
            last_ms = page.rows[i].place.due_ms;
            count++;
        }
        cursor = page.cursor;
        assert_true(count <= WAITING);
    } while (cursor.len != 0);
    assert_int_equal(count, WAITING);
    check(&s, QUEUES, tenant_t, "t/q:100+2100<699 t/r:100+0 ");
    arena_deinit(&arena);
    snapshot_close(&s);
    rows_free(rows);
}

/* Lines of rate limits are no queues; who stands in one is listed without a queue. */
static void lines_of_rate_limits(void **state)
{
    (void)state;
    struct rows *rows = rows_some(ORDER_PRIORITY);
    struct key ref = ref_of("t", "");
    const struct line_rec line = {.count = 1};
    struct arena arena;
    arena_init(&arena);
    key_throttle_ref(&ref, job_ref_tenant(key_bytes(&ref)), BYTES_LIT("n"), BYTES_LIT("u"),
                     BYTES_LIT("g"));
    put_waiter_at(rows, "t", &ref, line.id, ORDER_PRIORITY, (struct place){1, 8, 0}, "j8");
    put_lines_at(rows, &ref, &line, 1);
    rows_commit(rows);
    struct snapshot s = rows_snapshot(rows);
    const struct page_limits limits = {.rows_max = 100};
    struct waiters_page waiters;
    struct queues_page queues;
    assert_int_equal(waiters_read(&s, &shard, BYTES_NONE, &limits, &arena, &waiters, NULL).code,
                     SILO_OK);
    size_t throttled = 0;
    for (size_t i = 0; i < waiters.count; i++) {
        const struct waiter_row *row = &waiters.rows[i];
        assert_int_equal(row->throttled, row->queue.len == 0);
        throttled += row->throttled && bytes_eq(row->job_id, BYTES_LIT("j8"));
    }
    assert_int_equal(waiters.count, 7);
    assert_int_equal(throttled, 1);
    assert_int_equal(queues_read(&s, &shard, BYTES_NONE, &limits, &arena, &queues, NULL).code,
                     SILO_OK);
    assert_int_equal(queues.count, 4);
    arena_deinit(&arena);
    snapshot_close(&s);
    rows_free(rows);
}

static void what_is_wrong_is_said(void **state)
{
    (void)state;
    struct rows *rows = rows_some(ORDER_PRIORITY);
    struct snapshot s = rows_snapshot(rows);
    struct arena arena;
    struct holders_page holders_page;
    struct waiters_page waiters_page;
    struct queues_page queues_page;
    const struct page_limits one_row = {.rows_max = 1};
    const struct page_limits none = {0};
    arena_init(&arena);
    assert_int_equal(holders_read(&s, &shard, BYTES_NONE, &none, &arena, &holders_page, NULL).code,
                     SILO_INVALID);
    assert_int_equal(
        holders_read(&s, &shard, BYTES_NONE, &one_row, &arena, &holders_page, NULL).code, SILO_OK);
    assert_int_equal(
        queues_read(&s, &shard, holders_page.cursor, &one_row, &arena, &queues_page, NULL).code,
        SILO_INVALID);
    snapshot_close(&s);
    struct key ref = ref_of("t", "a");
    struct key key;
    key_queue(&key, key_bytes(&ref), QUEUE_LINES);
    rows_put(rows, &key, BYTES_LIT("\x7f"));
    rows_commit(rows);
    s = rows_snapshot(rows);
    const struct queue_scope scope = one("t", "a");
    assert_int_equal(queues_read(&s, &scope, BYTES_NONE, &one_row, &arena, &queues_page, NULL).code,
                     SILO_CORRUPT);
    assert_int_equal(
        waiters_read(&s, &scope, BYTES_NONE, &one_row, &arena, &waiters_page, NULL).code,
        SILO_CORRUPT);
    arena_deinit(&arena);
    snapshot_close(&s);
    rows_free(rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holders),
        cmocka_unit_test(waiters_stand_in_their_order),
        cmocka_unit_test(queues_are_counted),
        cmocka_unit_test(long_queues),
        cmocka_unit_test(lines_of_rate_limits),
        cmocka_unit_test(what_is_wrong_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
