/* query/slate_test.c - the same rows in the storage engine give the same listings as in memory. */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/test.h"
#include "query/queues.h"
#include "query/rows_test.h"
#include "query/tenants.h"
#include "store/store_slate.h"
#include "store_mem/store_mem.h"

static struct store *slate_new(void)
{
    const struct store_slate_options options = {
        .url = "memory:///query",
        .block_cache_bytes = 8 << 20,
        .meta_cache_bytes = 8 << 20,
        .log_level = LOG_WARN,
        .close_ms_max = 60000,
    };
    struct store *store = NULL;
    assert_int_equal(store_slate_new(&options, &store, NULL).code, SILO_OK);
    return store;
}

#define JOBS 600

static struct job_spec job_of(int i, char *id, size_t size)
{
    static const enum job_status statuses[] = {JOB_SCHEDULED, JOB_RUNNING, JOB_SUCCEEDED,
                                               JOB_FAILED, JOB_CANCELLED};
    static const char *const pairs[] = {"color=red size=1", "color=blue", "color=redder"};
    (void)snprintf(id, size, "job-%03d", i);
    const enum job_status status = statuses[i % 5];
    return (struct job_spec){
        .tenant = i % 2 == 0 ? "t" : "u",
        .id = id,
        .status = status,
        .enqueue_ms = 1000 + i / 4,
        .due_ms = i % 3 == 0 ? ROWS_NOW_MS + i : i,
        .changed_ms = status == JOB_SCHEDULED ? 0 : 2000 + i / 3,
        .pairs = pairs[i % 3],
    };
}

static void fill(struct rows *rows)
{
    struct key key;
    struct buf buf;
    char id[16];
    buf_init(&buf, 256);
    counts_encode(&buf, &(struct counts){1, 2, 3, 4});
    key_meta(&key, META_TOTALS);
    rows_put(rows, &key, buf_bytes(&buf));
    for (int i = 0; i < JOBS; i++) {
        const struct job_spec spec = job_of(i, id, sizeof id);
        rows_put_job(rows, &spec);
    }
    rows_commit(rows);
    for (int i = 0; i < JOBS; i += 7) {
        const struct job_spec spec = job_of(i, id, sizeof id);
        rows_delete_job(rows, &spec);
    }
    rows_commit(rows);
    buf_deinit(&buf);
}

static void the_engine_answers_as_memory_does(void **state)
{
    (void)state;
    struct rows *mem = rows_new_mem();
    struct rows *slate = rows_new(slate_new());
    fill(mem);
    fill(slate);
    struct snapshot in_mem = rows_snapshot(mem);
    struct snapshot in_slate = rows_snapshot(slate);
    /* Later changes are not seen. */
    rows_put_job(
        slate,
        &(struct job_spec){
            .tenant = "t", .id = "later", .enqueue_ms = 5000, .due_ms = 1, .pairs = "color=red"});
    rows_commit(slate);
    for (uint32_t statuses = 0; statuses <= SHOWN_ANY; statuses += statuses < 4 ? 1 : 7) {
        for (int order = JOBS_NEWEST; order <= JOBS_BY_METADATA; order++) {
            const struct jobs_query query = {.order = (enum jobs_order)order,
                                             .tenant = BYTES_LIT("t"),
                                             .statuses = statuses,
                                             .name = BYTES_LIT("color"),
                                             .value = BYTES_LIT("red"),
                                             .value_is_start = statuses % 2 == 0};
            char *expected = jobs_text(&in_mem, &query, 7, 0);
            char *text = jobs_text(&in_slate, &query, 7, 0);
            assert_string_equal(text, expected);
            free(text);
            text = jobs_text(&in_slate, &query, JOBS_PAGE_MAX, 0);
            assert_string_equal(text, expected);
            free(text);
            free(expected);
        }
    }
    const struct jobs_query all = {.order = JOBS_BY_ID, .all_tenants = true};
    char *expected = jobs_text(&in_mem, &all, 50, 0);
    char *text = jobs_text(&in_slate, &all, 50, 0);
    assert_true(strlen(expected) > JOBS);
    assert_string_equal(text, expected);
    free(text);
    free(expected);
    struct shard_totals totals;
    assert_int_equal(shard_totals_read(&in_slate, &totals, NULL).code, SILO_OK);
    assert_int_equal(totals.counts.cancelled, 4);
    assert_true(totals.running > 0);
    snapshot_close(&in_mem);
    snapshot_close(&in_slate);
    rows_free(mem);
    rows_free(slate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_engine_answers_as_memory_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
