/* query/jobs_test.c - listings of jobs over rows written by hand. */
#include "query/jobs.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/test.h"
#include "codec/key_scan.h"
#include "query/rows_test.h"
#include "store_mem/store_mem.h"

#define NOW ROWS_NOW_MS

static const struct job_spec some_jobs[] = {
    {.tenant = "t", .id = "w1", .enqueue_ms = 100, .due_ms = 100, .pairs = "color=red size=1"},
    {.tenant = "t", .id = "w2", .enqueue_ms = 300, .due_ms = NOW, .pairs = "color=redder"},
    {.tenant = "t", .id = "s1", .enqueue_ms = 200, .due_ms = NOW + 1, .pairs = "color=blue"},
    {.tenant = "t",
     .id = "s2",
     .enqueue_ms = 250,
     .due_ms = NOW + 500,
     .changed_ms = 400,
     .attempt = 2},
    {.tenant = "t", .id = "r1", .status = JOB_RUNNING, .enqueue_ms = 120, .changed_ms = 700},
    {.tenant = "t",
     .id = "r2",
     .status = JOB_RUNNING,
     .enqueue_ms = 110,
     .changed_ms = 800,
     .pairs = "color=red"},
    {.tenant = "t", .id = "ok1", .status = JOB_SUCCEEDED, .enqueue_ms = 50, .changed_ms = 260},
    {.tenant = "t",
     .id = "ok2",
     .status = JOB_SUCCEEDED,
     .enqueue_ms = 40,
     .changed_ms = 500,
     .attempt = 3,
     .pairs = "color=red"},
    {.tenant = "t", .id = "f1", .status = JOB_FAILED, .enqueue_ms = 50, .changed_ms = 300},
    {.tenant = "t", .id = "c1", .status = JOB_CANCELLED, .enqueue_ms = 50, .changed_ms = 115},
    /*
     * Another tenant, one whose name continues that of the first, and ids that continue each other.
     */
    {.tenant = "ta", .id = "w1", .enqueue_ms = 100, .due_ms = 100, .pairs = "color=red"},
    {.tenant = "ta", .id = "w", .enqueue_ms = 100, .due_ms = 100},
    {.tenant = "ta", .id = "w11", .enqueue_ms = 100, .due_ms = 100},
};
#define SOME_JOBS (sizeof some_jobs / sizeof some_jobs[0])

static struct rows *rows_some(void)
{
    struct rows *rows = rows_new_mem();
    for (size_t i = 0; i < SOME_JOBS; i++) {
        rows_put_job(rows, &some_jobs[i]);
    }
    rows_commit(rows);
    return rows;
}

static struct jobs_query newest(const char *tenant, uint32_t statuses)
{
    return (struct jobs_query){
        .order = JOBS_NEWEST, .tenant = bytes_str(tenant), .statuses = statuses};
}

static void check_newest(struct snapshot *snapshot, const char *tenant, uint32_t statuses,
                         const char *expected)
{
    const struct jobs_query query = newest(tenant, statuses);
    jobs_check(snapshot, &query, expected);
}

static void by_status_newest_first(void **state)
{
    (void)state;
    struct rows *rows = rows_some();
    struct snapshot s = rows_snapshot(rows);
    check_newest(&s, "t", SHOWN_BIT(SHOWN_WAITING), "t/w2 t/w1 ");
    check_newest(&s, "t", SHOWN_BIT(SHOWN_SCHEDULED), "t/s2 t/s1 ");
    check_newest(&s, "t", SHOWN_BIT(SHOWN_RUNNING), "t/r2 t/r1 ");
    check_newest(&s, "t", SHOWN_BIT(SHOWN_SUCCEEDED), "t/ok2 t/ok1 ");
    check_newest(&s, "t", SHOWN_BIT(SHOWN_FAILED), "t/f1 ");
    check_newest(&s, "t", SHOWN_BIT(SHOWN_CANCELLED), "t/c1 ");
    check_newest(&s, "t", 0, "t/ok2 t/f1 t/w2 t/ok1 t/s2 t/s1 t/r1 t/c1 t/r2 t/w1 ");
    check_newest(&s, "t", SHOWN_BIT(SHOWN_WAITING) | SHOWN_BIT(SHOWN_FAILED), "t/f1 t/w2 t/w1 ");
    check_newest(&s, "t", SHOWN_BIT(SHOWN_RUNNING) | SHOWN_BIT(SHOWN_CANCELLED), "t/r1 t/c1 t/r2 ");
    check_newest(&s, "ta", 0, "ta/w ta/w1 ta/w11 ");
    check_newest(&s, "tb", 0, "");
    snapshot_close(&s);
    rows->now_ms = NOW - 1; /* one clock for the whole statement */
    s = rows_snapshot(rows);
    rows->now_ms = NOW + 1000;
    check_newest(&s, "t", SHOWN_BIT(SHOWN_WAITING), "t/w1 ");
    check_newest(&s, "t", SHOWN_BIT(SHOWN_SCHEDULED), "t/w2 t/s2 t/s1 ");
    snapshot_close(&s);
    rows_free(rows);
}

static void by_id(void **state)
{
    (void)state;
    struct rows *rows = rows_some();
    struct snapshot s = rows_snapshot(rows);
    struct jobs_query query = {.order = JOBS_BY_ID, .tenant = BYTES_LIT("t")};
    jobs_check(&s, &query, "t/c1 t/f1 t/ok1 t/ok2 t/r1 t/r2 t/s1 t/s2 t/w1 t/w2 ");
    query.statuses = SHOWN_BIT(SHOWN_RUNNING);
    jobs_check(&s, &query, "t/r1 t/r2 ");
    query.statuses = SHOWN_BIT(SHOWN_SUCCEEDED) | SHOWN_BIT(SHOWN_WAITING);
    jobs_check(&s, &query, "t/ok1 t/ok2 t/w1 t/w2 ");
    query = (struct jobs_query){.order = JOBS_BY_ID, .tenant = BYTES_LIT("ta")};
    jobs_check(&s, &query, "ta/w ta/w1 ta/w11 ");
    query = (struct jobs_query){.order = JOBS_BY_ID, .all_tenants = true};
    const bool first = tenant_hash(BYTES_LIT("t")) < tenant_hash(BYTES_LIT("ta"));
    static const char of_t[] = "t/c1 t/f1 t/ok1 t/ok2 t/r1 t/r2 t/s1 t/s2 t/w1 t/w2 ";
    static const char of_ta[] = "ta/w ta/w1 ta/w11 ";
    char all[256];
    (void)snprintf(all, sizeof all, "%s%s", first ? of_t : of_ta, first ? of_ta : of_t);
    jobs_check(&s, &query, all);
    /* A part of the hashes. */
    s.options.hash_first = s.options.hash_last = tenant_hash(BYTES_LIT("ta"));
    jobs_check(&s, &query, of_ta);
    query.statuses = SHOWN_BIT(SHOWN_RUNNING);
    jobs_check(&s, &query, "");
    snapshot_close(&s);
    rows_free(rows);
}

static struct jobs_query pair(const char *name, struct bytes value, bool start)
{
    return (struct jobs_query){.order = JOBS_BY_METADATA,
                               .tenant = BYTES_LIT("t"),
                               .name = bytes_str(name),
                               .value = value,
                               .value_is_start = start};
}

static void by_metadata(void **state)
{
    (void)state;
    struct rows *rows = rows_some();
    struct snapshot s = rows_snapshot(rows);
    struct jobs_query query = pair("color", BYTES_LIT("red"), false);
    jobs_check(&s, &query, "t/ok2 t/r2 t/w1 ");
    query.statuses = SHOWN_BIT(SHOWN_WAITING) | SHOWN_BIT(SHOWN_RUNNING);
    jobs_check(&s, &query, "t/r2 t/w1 ");
    query = pair("color", BYTES_LIT("red"), true);
    jobs_check(&s, &query, "t/ok2 t/r2 t/w1 t/w2 ");
    query = pair("color", BYTES_LIT(""), true);
    jobs_check(&s, &query, "t/s1 t/ok2 t/r2 t/w1 t/w2 ");
    query = pair("color", BYTES_LIT("re"), false);
    jobs_check(&s, &query, "");
    query = pair("colo", BYTES_LIT(""), true);
    jobs_check(&s, &query, "");
    query = pair("size", BYTES_LIT("1"), false);
    jobs_check(&s, &query, "t/w1 ");
    snapshot_close(&s);
    rows_free(rows);
}

static void long_metadata_values(void **state)
{
    (void)state;
    struct rows *rows = rows_new_mem();
    char pairs[4][2000];
    static const char *ids[] = {"a", "b", "c", "d"};
    static const size_t lens[] = {512, 513, 1000, 1001};
    for (size_t i = 0; i < 4; i++) {
        (void)snprintf(pairs[i], sizeof pairs[i], "k=");
        memset(pairs[i] + 2, 'v', lens[i]);
        pairs[i][2 + lens[i]] = '\0';
        rows_put_job(
            rows,
            &(struct job_spec){
                .tenant = "t", .id = ids[i], .enqueue_ms = 1, .due_ms = 1, .pairs = pairs[i]});
    }
    rows_commit(rows);
    struct snapshot s = rows_snapshot(rows);
    static const char *from[] = {"t/a ", "t/b ", "t/c ", "t/d "};
    for (size_t i = 0; i < 4; i++) {
        const struct jobs_query query = pair("k", bytes_of(pairs[i] + 2, lens[i]), false);
        jobs_check(&s, &query, from[i]);
        const struct jobs_query start = pair("k", bytes_of(pairs[i] + 2, lens[i]), true);
        char *text = jobs_text(&s, &start, 3, 0);
        assert_int_equal(strlen(text), 4 * (4 - i)); /* all that are at least as long */
        free(text);
    }
    snapshot_close(&s);
    rows_free(rows);
}

static void rows_that_disagree_are_passed_over(void **state)
{
    (void)state;
    struct rows *rows = rows_some();
    struct key ref, key;
    key_job_ref(&ref, BYTES_LIT("t"), BYTES_LIT("gone"));
    key_index(&key, key_bytes(&ref), INDEX_OPEN, 1000);
    rows_put(rows, &key, BYTES_NONE); /* no info row */
    key_metadata(&key, key_bytes(&ref), BYTES_LIT("color"), BYTES_LIT("red"));
    rows_put(rows, &key, BYTES_NONE);
    key_by_ref(&key, TABLE_STATE, key_bytes(&ref));
    rows_put(rows, &key, BYTES_LIT("not looked at"));
    key_job_ref(&ref, BYTES_LIT("t"), BYTES_LIT("ok1"));
    key_index(&key, key_bytes(&ref), INDEX_OPEN, 50); /* a kind it left */
    rows_put(rows, &key, BYTES_NONE);
    key_index(&key, key_bytes(&ref), INDEX_SUCCEEDED, 261); /* a time that is not its own */
    rows_put(rows, &key, BYTES_NONE);
    key_metadata(&key, key_bytes(&ref), BYTES_LIT("color"), BYTES_LIT("red")); /* not its pair */
    rows_put(rows, &key, BYTES_NONE);
    rows_commit(rows);
    struct snapshot s = rows_snapshot(rows);
    check_newest(&s, "t", 0, "t/ok2 t/f1 t/w2 t/ok1 t/s2 t/s1 t/r1 t/c1 t/r2 t/w1 ");
    check_newest(&s, "t", SHOWN_BIT(SHOWN_SUCCEEDED), "t/ok2 t/ok1 ");
    struct jobs_query query = pair("color", BYTES_LIT("red"), false);
    jobs_check(&s, &query, "t/ok2 t/r2 t/w1 ");
    query = (struct jobs_query){.order = JOBS_BY_ID, .tenant = BYTES_LIT("t")};
    jobs_check(&s, &query, "t/c1 t/f1 t/ok1 t/ok2 t/r1 t/r2 t/s1 t/s2 t/w1 t/w2 ");
    snapshot_close(&s);
    rows_free(rows);
}

static void a_snapshot_stands_still(void **state)
{
    (void)state;
    struct rows *rows = rows_some();
    struct snapshot before = rows_snapshot(rows);
    rows_put_job(rows,
                 &(struct job_spec){.tenant = "t", .id = "new", .enqueue_ms = 900, .due_ms = 900});
    rows_delete_job(rows, &some_jobs[0]);
    rows_commit(rows);
    struct snapshot after = rows_snapshot(rows);
    assert_true(after.options.seq > before.options.seq);
    const struct jobs_query query = {.order = JOBS_BY_ID, .tenant = BYTES_LIT("t")};
    jobs_check(&before, &query, "t/c1 t/f1 t/ok1 t/ok2 t/r1 t/r2 t/s1 t/s2 t/w1 t/w2 ");
    jobs_check(&after, &query, "t/c1 t/f1 t/new t/ok1 t/ok2 t/r1 t/r2 t/s1 t/s2 t/w2 ");
    check_newest(&before, "t", SHOWN_BIT(SHOWN_WAITING), "t/w2 t/w1 ");
    check_newest(&after, "t", SHOWN_BIT(SHOWN_WAITING), "t/new t/w2 ");
    snapshot_close(&before);
    snapshot_close(&after);
    rows_free(rows);
}

static void a_cursor_goes_on_in_a_later_snapshot(void **state)
{
    (void)state;
    struct rows *rows = rows_some();
    struct arena arena;
    struct jobs_page page;
    const struct page_limits two = {.rows_max = 2};
    const struct jobs_query query = newest("t", 0);
    arena_init(&arena);
    struct snapshot s = rows_snapshot(rows);
    assert_int_equal(jobs_read(&s, &query, BYTES_NONE, &two, &arena, &page, NULL).code, SILO_OK);
    assert_true(bytes_eq(page.rows[1].id, BYTES_LIT("f1")));
    snapshot_close(&s);
    rows_delete_job(rows, &some_jobs[8]); /* the row the cursor names */
    rows_put_job(rows,
                 &(struct job_spec){.tenant = "t", .id = "new", .enqueue_ms = 900, .due_ms = 900});
    rows_commit(rows);
    s = rows_snapshot(rows);
    assert_int_equal(jobs_read(&s, &query, page.cursor, &two, &arena, &page, NULL).code, SILO_OK);
    assert_int_equal(page.count, 2);
    assert_true(bytes_eq(page.rows[0].id, BYTES_LIT("w2")));
    assert_true(bytes_eq(page.rows[1].id, BYTES_LIT("ok1")));
    snapshot_close(&s);
    arena_deinit(&arena);
    rows_free(rows);
}

static enum silo_code read_code(struct snapshot *s, const struct jobs_query *query,
                                struct bytes cursor, uint32_t rows_max)
{
    struct arena arena;
    struct jobs_page page = {0};
    struct silo_err err = {0};
    arena_init(&arena);
    const silo_rc rc = jobs_read(s, query, cursor, &(struct page_limits){.rows_max = rows_max},
                                 &arena, &page, &err);
    assert_true(rc.code == SILO_OK || err.text[0] != '\0');
    arena_deinit(&arena);
    return rc.code;
}

static void bad_arguments_are_refused(void **state)
{
    (void)state;
    struct rows *rows = rows_some();
    struct snapshot s = rows_snapshot(rows);
    struct arena arena;
    struct jobs_page page;
    struct jobs_query query = newest("t", 0);
    arena_init(&arena);
    assert_int_equal(read_code(&s, &query, BYTES_NONE, 0), SILO_INVALID);
    assert_int_equal(read_code(&s, &query, BYTES_NONE, JOBS_PAGE_MAX + 1), SILO_INVALID);
    const struct page_limits one = {.rows_max = 1};
    assert_int_equal(jobs_read(&s, &query, BYTES_NONE, &one, &arena, &page, NULL).code, SILO_OK);
    for (size_t len = 1; len < page.cursor.len && len < 13; len++) {
        assert_int_equal(read_code(&s, &query, bytes_of(page.cursor.ptr, len), 1), SILO_INVALID);
    }
    /* Cut or strange suffixes are places like any other. */
    for (size_t len = 13; len < page.cursor.len; len++) {
        assert_int_equal(read_code(&s, &query, bytes_of(page.cursor.ptr, len), 1), SILO_OK);
    }
    uint8_t long_cursor[KEY_BYTES_MAX];
    memset(long_cursor, 0xff, sizeof long_cursor);
    memcpy(long_cursor, page.cursor.ptr, page.cursor.len);
    assert_int_equal(read_code(&s, &query, bytes_of(long_cursor, sizeof long_cursor), 1),
                     SILO_INVALID);
    query.statuses = SHOWN_BIT(SHOWN_FAILED); /* another listing */
    assert_int_equal(read_code(&s, &query, page.cursor, 1), SILO_INVALID);
    query = newest("ta", 0);
    assert_int_equal(read_code(&s, &query, page.cursor, 1), SILO_INVALID);
    query = newest("t", 1u << SHOWN_COUNT);
    assert_int_equal(read_code(&s, &query, BYTES_NONE, 1), SILO_INVALID);
    query = newest("t", 0);
    query.all_tenants = true;
    assert_int_equal(read_code(&s, &query, BYTES_NONE, 1), SILO_INVALID);
    arena_deinit(&arena);
    snapshot_close(&s);
    rows_free(rows);
}

static void corrupt_rows_are_named(void **state)
{
    (void)state;
    struct rows *rows = rows_some();
    struct key ref, key;
    key_job_ref(&ref, BYTES_LIT("t"), BYTES_LIT("w1"));
    key_by_ref(&key, TABLE_INFO, key_bytes(&ref));
    rows_put(rows, &key, BYTES_LIT("\xff what"));
    rows_commit(rows);
    struct snapshot s = rows_snapshot(rows);
    struct jobs_query query = newest("t", 0);
    assert_int_equal(read_code(&s, &query, BYTES_NONE, 100), SILO_CORRUPT);
    query.order = JOBS_BY_ID;
    assert_int_equal(read_code(&s, &query, BYTES_NONE, 100), SILO_CORRUPT);
    query.tenant = BYTES_LIT("ta");
    assert_int_equal(read_code(&s, &query, BYTES_NONE, 100), SILO_OK);
    snapshot_close(&s);
    rows_free(rows);
}

static void pages_are_bounded_in_bytes_and_work(void **state)
{
    (void)state;
    struct rows *rows = rows_new_mem();
    char id[32];
    for (int i = 0; i < 20000; i++) { /* all waiting */
        (void)snprintf(id, sizeof id, "j%05d", i);
        rows_put_job(
            rows, &(struct job_spec){.tenant = "t", .id = id, .enqueue_ms = 1000 + i, .due_ms = 1});
        if (i % 1000 == 999) {
            rows_commit(rows);
        }
    }
    struct snapshot s = rows_snapshot(rows);
    struct arena arena;
    struct jobs_page page;
    arena_init(&arena);
    struct jobs_query query = newest("t", SHOWN_BIT(SHOWN_SCHEDULED)); /* there is none */
    const struct page_limits limits = {.rows_max = 100};
    assert_int_equal(jobs_read(&s, &query, BYTES_NONE, &limits, &arena, &page, NULL).code, SILO_OK);
    assert_int_equal(page.count, 0);
    assert_true(page.cursor.len != 0);
    assert_true(s.rows_scanned <= JOBS_EXAMINED_MAX + 2048);
    assert_int_equal(jobs_read(&s, &query, page.cursor, &limits, &arena, &page, NULL).code,
                     SILO_OK);
    assert_int_equal(page.count, 0);
    assert_int_equal(page.cursor.len, 0);

    /* Few rows are wanted and many looked at: in few round trips. */
    struct store_mem_counts calls;
    store_mem_counts_reset(rows->store);
    const struct page_limits one = {.rows_max = 1};
    assert_int_equal(jobs_read(&s, &query, BYTES_NONE, &one, &arena, &page, NULL).code, SILO_OK);
    store_mem_counts(rows->store, &calls);
    assert_true(calls.calls[STORE_MEM_SCAN] < 40);
    assert_true(calls.calls[STORE_MEM_MGET] < 100);

    /* What a page costs does not grow with what stands behind it. */
    s.rows_scanned = s.rows_looked_up = 0;
    query = newest("t", SHOWN_BIT(SHOWN_WAITING));
    const struct page_limits ten = {.rows_max = 10};
    assert_int_equal(jobs_read(&s, &query, BYTES_NONE, &ten, &arena, &page, NULL).code, SILO_OK);
    assert_int_equal(page.count, 10);
    assert_true(bytes_eq(page.rows[0].id, BYTES_LIT("j19999")));
    assert_true(s.rows_scanned <= 32);
    assert_true(s.rows_looked_up <= 30);

    const struct page_limits small = {.rows_max = 1000, .bytes_max = 20000};
    query = (struct jobs_query){.order = JOBS_BY_ID, .tenant = BYTES_LIT("t")};
    assert_int_equal(jobs_read(&s, &query, BYTES_NONE, &small, &arena, &page, NULL).code, SILO_OK);
    assert_true(page.count > 1 && page.count < 100);
    snapshot_close(&s);
    arena_deinit(&arena);
    rows_free(rows);
}

static void many_running_jobs(void **state)
{
    (void)state;
    struct rows *rows = rows_new_mem();
    struct buf expected;
    char id[32];
    buf_init(&expected, 1u << 20);
    for (int i = 0; i < 500; i++) { /* starts in an order of their own */
        (void)snprintf(id, sizeof id, "j%03d", i);
        rows_put_job(rows, &(struct job_spec){.tenant = "t",
                                              .id = id,
                                              .status = JOB_RUNNING,
                                              .enqueue_ms = 1,
                                              .changed_ms = 1000 + i * 7919 % 500 / 2});
    }
    for (int start = 249; start >= 0; start--) {
        for (int i = 0; i < 500; i++) {
            if (i * 7919 % 500 / 2 == start) {
                buf_printf(&expected, "t/j%03d ", i);
            }
        }
    }
    buf_u8(&expected, 0);
    rows_commit(rows);
    struct snapshot s = rows_snapshot(rows);
    check_newest(&s, "t", SHOWN_BIT(SHOWN_RUNNING), (const char *)expected.ptr);
    snapshot_close(&s);
    buf_deinit(&expected);
    rows_free(rows);
}

/* --- one job --- */

static void put_attempt(struct rows *rows, const char *id, uint32_t number)
{
    struct key ref, key;
    struct buf buf;
    buf_init(&buf, 4096);
    key_job_ref(&ref, BYTES_LIT("t"), bytes_str(id));
    key_attempt(&key, key_bytes(&ref), number);
    attempt_encode(&buf, &(struct attempt){.relative = number,
                                           .started_ms = number * 10,
                                           .outcome = {.status = ATTEMPT_FAILED,
                                                       .finished_ms = number * 10 + 1,
                                                       .error_code = BYTES_LIT("E")}});
    rows_put(rows, &key, buf_bytes(&buf));
    buf_deinit(&buf);
}

/* Numbers and statuses, newest first, in pages of this size. */
static void check_attempts(struct snapshot *s, const char *id, uint32_t rows_max,
                           const char *expected)
{
    struct arena arena;
    struct job_row job;
    struct attempts_page page = {.below = 0};
    char text[256] = "";
    size_t len = 0;
    arena_init(&arena);
    assert_int_equal(job_find(s, BYTES_LIT("t"), bytes_str(id), &arena, &job, NULL).code, SILO_OK);
    for (int pages = 0; pages == 0 || page.below != 0; pages++) {
        assert_true(pages < 50);
        assert_int_equal(job_attempts_read(s, &job, page.below, rows_max, &arena, &page, NULL).code,
                         SILO_OK);
        assert_true(page.count <= rows_max);
        for (size_t i = 0; i < page.count; i++) {
            len += (size_t)snprintf(text + len, sizeof text - len, "%u%c ", page.rows[i].number,
                                    "rsfc"[page.rows[i].attempt.outcome.status]);
        }
    }
    assert_string_equal(text, expected);
    arena_deinit(&arena);
}

static void one_job_with_all_its_rows(void **state)
{
    (void)state;
    struct rows *rows = rows_some();
    put_attempt(rows, "ok2", 1);
    put_attempt(rows, "ok2", 2);
    put_attempt(rows, "s2", 1);
    rows_put_job(rows, &(struct job_spec){.tenant = "t",
                                          .id = "r9",
                                          .status = JOB_RUNNING,
                                          .enqueue_ms = 1,
                                          .changed_ms = 2,
                                          .attempt = 9});
    for (uint32_t n = 1; n < 9; n++) {
        put_attempt(rows, "r9", n);
    }
    rows_commit(rows);
    struct snapshot s = rows_snapshot(rows);
    for (uint32_t rows_max = 1; rows_max <= 10; rows_max++) {
        check_attempts(&s, "ok2", rows_max, "3s 2f 1f ");
        check_attempts(&s, "s2", rows_max, "1f ");
        check_attempts(&s, "w1", rows_max, "");
        check_attempts(&s, "r1", rows_max, "1r ");
        check_attempts(&s, "r9", rows_max, "9r 8f 7f 6f 5f 4f 3f 2f 1f ");
    }
    struct arena arena;
    struct job_row job;
    arena_init(&arena);
    assert_int_equal(job_find(&s, BYTES_LIT("t"), BYTES_LIT("s2"), &arena, &job, NULL).code,
                     SILO_OK);
    assert_int_equal(job.status, SHOWN_SCHEDULED);
    assert_int_equal(job.attempt, 2);
    assert_int_equal(job.due_ms, NOW + 500);
    assert_int_equal(job.changed_ms, 400);
    assert_true(bytes_eq(job.tenant, BYTES_LIT("t")) && bytes_eq(job.id, BYTES_LIT("s2")));
    assert_true(bytes_eq(job.info.payload.inline_bytes, BYTES_LIT("payload")));
    assert_int_equal(job_find(&s, BYTES_LIT("t"), BYTES_LIT("r1"), &arena, &job, NULL).code,
                     SILO_OK);
    assert_int_equal(job.status, SHOWN_RUNNING);
    assert_int_equal(job.changed_ms, 700);
    assert_true(bytes_eq(job.lease.worker_id, BYTES_LIT("w")));
    assert_int_equal(job_find(&s, BYTES_LIT("t"), BYTES_LIT("no"), &arena, &job, NULL).code,
                     SILO_NOT_FOUND);
    static uint8_t huge[JOB_ID_BYTES_MAX + 1];
    assert_int_equal(
        job_find(&s, BYTES_LIT("t"), bytes_of(huge, sizeof huge), &arena, &job, NULL).code,
        SILO_NOT_FOUND);
    arena_deinit(&arena);
    snapshot_close(&s);
    rows_free(rows);
}

static void blobs(void **state)
{
    (void)state;
    struct rows *rows = rows_some();
    struct key ref, key;
    key_job_ref(&ref, BYTES_LIT("t"), BYTES_LIT("w1"));
    key_blob(&key, key_bytes(&ref), BLOB_PAYLOAD, 0);
    rows_put(rows, &key, BYTES_LIT("large"));
    rows_commit(rows);
    struct snapshot s = rows_snapshot(rows);
    struct arena arena;
    struct job_row job;
    struct bytes bytes;
    arena_init(&arena);
    assert_int_equal(job_find(&s, BYTES_LIT("t"), BYTES_LIT("w1"), &arena, &job, NULL).code,
                     SILO_OK);
    assert_int_equal(
        job_blob_read(&s, &job, &job.info.payload, BLOB_PAYLOAD, 0, &arena, &bytes, NULL).code,
        SILO_OK);
    assert_true(bytes_eq(bytes, BYTES_LIT("payload")));
    const struct blob_ref stored = {.is_blob = true, .len = 5};
    assert_int_equal(job_blob_read(&s, &job, &stored, BLOB_PAYLOAD, 0, &arena, &bytes, NULL).code,
                     SILO_OK);
    assert_true(bytes_eq(bytes, BYTES_LIT("large")));
    assert_int_equal(job_blob_read(&s, &job, &stored, BLOB_RESULT, 1, &arena, &bytes, NULL).code,
                     SILO_CORRUPT);
    arena_deinit(&arena);
    snapshot_close(&s);
    rows_free(rows);
}

/* --- waiting --- */

static bool always(void *context)
{
    (void)context;
    return true;
}

static void waiting_ends(void **state)
{
    (void)state;
    struct rows *rows = rows_some();
    struct snapshot s = rows_snapshot(rows);
    const struct jobs_query query = newest("t", 0);
    rows->mono_step_us = 50000;
    s.options.deadline_mono_ms = rows->mono_us / 1000 + 400;
    store_mem_outage(rows->store, STORE_MEM_ALL, "away");
    assert_int_equal(read_code(&s, &query, BYTES_NONE, 10), SILO_DEADLINE);
    store_mem_outage(rows->store, 0, NULL);
    /* Its time is over even if nothing has to be waited for. */
    assert_int_equal(read_code(&s, &query, BYTES_NONE, 10), SILO_DEADLINE);
    s.options.deadline_mono_ms = 0;
    assert_int_equal(read_code(&s, &query, BYTES_NONE, 10),
                     SILO_OK); /* the late answer is dropped */
    s.options.cancelled = always;
    assert_int_equal(read_code(&s, &query, BYTES_NONE, 10), SILO_CANCELLED);
    s.options.cancelled = NULL;
    const char *text = jobs_text(&s, &query, 3, 0);
    assert_string_equal(text, "t/ok2 t/f1 t/w2 t/ok1 t/s2 t/s1 t/r1 t/c1 t/r2 t/w1 ");
    free((void *)text);
    snapshot_close(&s);
    rows_free(rows);
}

static void failures_of_the_store_pass_through(void **state)
{
    (void)state;
    static const enum store_mem_kind kinds[] = {STORE_MEM_SCAN, STORE_MEM_MGET};
    struct rows *rows = rows_some();
    struct snapshot s = rows_snapshot(rows);
    struct jobs_query queries[] = {newest("t", 0), newest("t", SHOWN_BIT(SHOWN_RUNNING)),
                                   pair("color", BYTES_LIT("red"), false)};
    for (size_t q = 0; q < 3; q++) {
        for (size_t k = 0; k < 2; k++) {
            bool failed = true;
            for (uint32_t nth = 1; failed; nth++) {
                assert_true(nth < 50);
                const uint64_t before = store_mem_faults_fired(rows->store);
                store_mem_fail(rows->store, &(struct store_mem_fault){.kind = kinds[k],
                                                                      .nth = nth,
                                                                      .code = SILO_UNAVAILABLE});
                const enum silo_code code = read_code(&s, &queries[q], BYTES_NONE, 10);
                failed = store_mem_faults_fired(rows->store) != before;
                assert_int_equal(code, failed ? SILO_UNAVAILABLE : SILO_OK);
                store_mem_faults_clear(rows->store);
            }
        }
    }
    snapshot_close(&s);
    rows_free(rows);
}

static void a_reader_takes_no_events_of_the_database(void **state)
{
    (void)state;
    struct rows *rows = rows_some();
    struct snapshot s = rows_snapshot(rows);
    const struct jobs_query query = newest("t", SHOWN_BIT(SHOWN_FAILED));
    const struct store_ops *ops = rows->ops;
    assert_int_equal(ops->flush(rows->db, STORE_FLUSH_WAL, ++rows->token, NULL).code, SILO_OK);
    jobs_check(&s, &query, "t/f1 ");
    struct store_event events[2];
    assert_int_equal(ops->queue_drain(rows->queue, events, 2), 1);
    assert_int_equal(events[0].kind, STORE_FLUSHED);
    assert_int_equal(events[0].token, rows->token);
    ops->event_free(&events[0]);
    snapshot_close(&s);
    rows_free(rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_status_newest_first),
        cmocka_unit_test(by_id),
        cmocka_unit_test(by_metadata),
        cmocka_unit_test(long_metadata_values),
        cmocka_unit_test(rows_that_disagree_are_passed_over),
        cmocka_unit_test(a_snapshot_stands_still),
        cmocka_unit_test(a_cursor_goes_on_in_a_later_snapshot),
        cmocka_unit_test(bad_arguments_are_refused),
        cmocka_unit_test(corrupt_rows_are_named),
        cmocka_unit_test(pages_are_bounded_in_bytes_and_work),
        cmocka_unit_test(many_running_jobs),
        cmocka_unit_test(one_job_with_all_its_rows),
        cmocka_unit_test(blobs),
        cmocka_unit_test(waiting_ends),
        cmocka_unit_test(failures_of_the_store_pass_through),
        cmocka_unit_test(a_reader_takes_no_events_of_the_database),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
