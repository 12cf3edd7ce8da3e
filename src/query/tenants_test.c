/*
 * query/tenants_test.c - tenants with their numbers, and the shard's totals, over rows written by
 * hand.
 */
#include "query/tenants.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/test.h"
#include "query/rows_test.h"

static void put_counts(struct rows *rows, const struct key *key, struct counts counts)
{
    struct buf buf;
    buf_init(&buf, 4096);
    counts_encode(&buf, &counts);
    rows_put(rows, key, buf_bytes(&buf));
    buf_deinit(&buf);
}

static void put_tenant(struct rows *rows, const char *tenant, struct counts counts)
{
    struct key ref;
    struct key key;
    key_job_ref(&ref, bytes_str(tenant), BYTES_NONE);
    key_count(&key, key_bytes(&ref));
    put_counts(rows, &key, counts);
}

/*
 * Tenants t0..t8, tn with n open jobs, of which n / 2 run; one of them has a lease and no numbers.
 */
static struct rows *rows_some(void)
{
    struct rows *rows = rows_new_mem();
    struct key key;
    for (int n = 0; n < 9; n++) {
        char tenant[16];
        char id[16];
        (void)snprintf(tenant, sizeof tenant, "t%d", n);
        put_tenant(rows, tenant, (struct counts){(uint64_t)n, 10, 20, 30});
        for (int i = 0; i < n / 2; i++) {
            (void)snprintf(id, sizeof id, "j%d", i);
            rows_put_job(rows,
                         &(struct job_spec){
                             .tenant = tenant, .id = id, .status = JOB_RUNNING, .changed_ms = 5});
        }
    }
    rows_put_job(rows, &(struct job_spec){
                           .tenant = "stray", .id = "j", .status = JOB_RUNNING, .changed_ms = 5});
    key_meta(&key, META_TOTALS);
    put_counts(rows, &key, (struct counts){36, 90, 180, 270});
    rows_commit(rows);
    return rows;
}

/* How many tenants were listed; each has the numbers it should. */
static size_t list(struct snapshot *s, struct tenants_query query, uint32_t rows_max,
                   uint32_t *ret_seen)
{
    const struct page_limits limits = {.rows_max = rows_max};
    struct bytes cursor = BYTES_NONE;
    struct arena arena;
    size_t count = 0;
    uint64_t hash = 0;
    arena_init(&arena);
    do {
        struct tenants_page page;
        assert_int_equal(tenants_read(s, &query, cursor, &limits, &arena, &page, NULL).code,
                         SILO_OK);
        assert_true(page.count <= rows_max);
        for (size_t i = 0; i < page.count; i++) {
            const struct tenant_row *row = &page.rows[i];
            assert_int_equal(row->tenant.len, 2);
            const uint32_t n = row->tenant.ptr[1] - (uint32_t)'0';
            assert_int_equal(row->counts.open, n);
            assert_int_equal(row->counts.cancelled, 30);
            assert_int_equal(row->running, query.with_running ? n / 2 : 0);
            assert_true(tenant_hash(row->tenant) > hash);
            hash = tenant_hash(row->tenant);
            *ret_seen |= 1u << n;
            count++;
        }
        cursor = page.cursor;
        assert_true(count < 100);
    } while (cursor.len != 0);
    arena_deinit(&arena);
    return count;
}

static void tenants(void **state)
{
    (void)state;
    struct rows *rows = rows_some();
    struct snapshot s = rows_snapshot(rows);
    for (uint32_t rows_max = 1; rows_max <= 10; rows_max++) {
        for (int running = 0; running < 2; running++) {
            uint32_t seen = 0;
            const struct tenants_query query = {.with_running = running == 1};
            assert_int_equal(list(&s, query, rows_max, &seen), 9);
            assert_int_equal(seen, 0x1ff);
        }
    }
    uint32_t seen = 0;
    struct tenants_query query = {
        .one_tenant = true, .tenant = BYTES_LIT("t7"), .with_running = true};
    assert_int_equal(list(&s, query, 10, &seen), 1);
    assert_int_equal(seen, 1u << 7);
    query.tenant = BYTES_LIT("t");
    assert_int_equal(list(&s, query, 10, &seen), 0);
    query.tenant = BYTES_LIT("stray");
    assert_int_equal(list(&s, query, 10, &seen), 0);
    snapshot_close(&s);
    rows_free(rows);
}

static void totals(void **state)
{
    (void)state;
    struct rows *rows = rows_some();
    struct snapshot s = rows_snapshot(rows);
    struct shard_totals all;
    assert_int_equal(shard_totals_read(&s, &all, NULL).code, SILO_OK);
    assert_int_equal(all.counts.open, 36);
    assert_int_equal(all.counts.failed, 180);
    assert_int_equal(all.running, 0 + 0 + 1 + 1 + 2 + 2 + 3 + 3 + 4 + 1);
    snapshot_close(&s);
    /* Two halves of the hashes add up. */
    struct shard_totals low;
    struct shard_totals high;
    s = rows_snapshot_part(rows, 0, UINT64_MAX / 2);
    assert_int_equal(shard_totals_read(&s, &low, NULL).code, SILO_OK);
    snapshot_close(&s);
    s = rows_snapshot_part(rows, UINT64_MAX / 2 + 1, UINT64_MAX);
    assert_int_equal(shard_totals_read(&s, &high, NULL).code, SILO_OK);
    snapshot_close(&s);
    assert_true(low.counts.open > 0 && high.counts.open > 0);
    assert_int_equal(low.counts.open + high.counts.open, 36);
    assert_int_equal(low.counts.succeeded + high.counts.succeeded, 90);
    assert_int_equal(low.running + high.running, all.running);
    rows_free(rows);
}

static void an_empty_shard(void **state)
{
    (void)state;
    struct rows *rows = rows_new_mem();
    struct snapshot s = rows_snapshot(rows);
    uint32_t seen = 0;
    struct shard_totals all;
    assert_int_equal(list(&s, (struct tenants_query){.with_running = true}, 5, &seen), 0);
    assert_int_equal(shard_totals_read(&s, &all, NULL).code, SILO_OK);
    assert_int_equal(all.counts.open + all.running, 0);
    snapshot_close(&s);
    rows_free(rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tenants),
        cmocka_unit_test(totals),
        cmocka_unit_test(an_empty_shard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
