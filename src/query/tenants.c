/* query/tenants.c - counter rows and the keys of lease rows, merged by tenant. */
#include "query/tenants.h"

#include "base/assert.h"
#include "codec/key_scan.h"
#include "query/pager_int.h"

static void tenants_range(struct pager *pager, const struct tenants_query *query, size_t i,
                          bool keys_only, enum key_table table)
{
    if (query->one_tenant) {
        struct key part;
        struct key prefix;
        key_tenant_part(&part, query->tenant);
        key_by_ref(&prefix, table, key_bytes(&part));
        ranges_set(&pager->ranges, i, i, keys_only, key_bytes(&prefix));
    } else {
        ranges_set_table(&pager->ranges, i, i, keys_only, table);
    }
}

/* All rows of the tenant that comes next. *ret_counted: it has a counter row. */
static SILO_RC tenant_gather(struct pager *pager, struct tenant_row *ret_tenant, bool *ret_found,
                             bool *ret_counted, struct silo_err *err)
{
    struct range *range = NULL;
    struct bytes part = BYTES_NONE;
    struct tenant_row tenant = {0};
    TRY(ranges_peek(&pager->ranges, &range, err));
    *ret_found = range != NULL;
    *ret_counted = false;
    while (range != NULL) { /* as many turns as the tenant has rows here */
        struct bytes row_part;
        struct bytes rest;
        if (!key_split(range->row.key, &row_part, &rest)) {
            return FAIL(err, SILO_CORRUPT, "a key of table %u is malformed", range->row.key.ptr[0]);
        }
        if (part.len == 0) {
            const struct bytes suffix = range_suffix(range);
            part = arena_copy(pager->arena, row_part);
            tenant.tenant = key_tenant_name(part, arena_alloc(pager->arena, part.len));
            pager->bytes += part.len + sizeof tenant;
            pager_at(pager, 0, bytes_of(suffix.ptr, suffix.len - rest.len));
        } else if (!bytes_eq(part, row_part)) {
            break;
        }
        TRY(ranges_next(&pager->ranges, &range, err));
        if (range->row.key.ptr[0] == TABLE_LEASE) {
            tenant.running++;
        } else if (counts_decode(range->row.value, &tenant.counts)) {
            *ret_counted = true;
        } else {
            return FAIL(err, SILO_CORRUPT, "the counters of tenant %.*s are corrupt",
                        BYTES_FMT(tenant.tenant));
        }
        TRY(ranges_peek(&pager->ranges, &range, err));
    }
    *ret_tenant = tenant;
    return RC_OK;
}

SILO_RC tenants_read(struct snapshot *snapshot, const struct tenants_query *query,
                     struct bytes cursor, const struct page_limits *limits, struct arena *arena,
                     struct tenants_page *ret_page, struct silo_err *err)
{
    const uint8_t one = query->one_tenant;
    const struct bytes parts[] = {bytes_of(&one, 1),
                                  query->one_tenant ? query->tenant : BYTES_NONE};
    struct pager pager AUTO(pager_deinit);
    TRY(pager_init(&pager, snapshot, cursor, cursor_listing('T', parts, 2), limits, arena, err));
    if (query->one_tenant && query->tenant.len > TENANT_BYTES_MAX) {
        return FAIL(err, SILO_INVALID, "the tenant is too long");
    }
    ranges_init(&pager.ranges, snapshot, query->with_running ? 2 : 1, RANGES_ROWS_MAX);
    tenants_range(&pager, query, 0, false, TABLE_COUNT);
    if (query->with_running) {
        tenants_range(&pager, query, 1, true, TABLE_LEASE);
    }
    TRY(ranges_resume(&pager.ranges, &pager.from, RANGES_AFTER_GROUP, err));
    struct tenants_page page = {.rows = arena_alloc(arena, pager.rows_max * sizeof page.rows[0])};
    bool found = true;
    while (!pager_full(&pager)) {
        bool counted = false;
        TRY(tenant_gather(&pager, &page.rows[pager.count], &found, &counted, err));
        if (!found) {
            break;
        }
        pager.count += counted;
    }
    page.count = pager.count;
    TRY(pager_cursor(&pager, &page.cursor, err));
    *ret_page = page;
    return RC_OK;
}

/* --- the shard --- */

static SILO_RC totals_row(struct snapshot *snapshot, struct counts *ret_counts,
                          struct silo_err *err)
{
    struct key key;
    key_meta(&key, META_TOTALS);
    const struct bytes keys[] = {key_bytes(&key)};
    struct read read;
    TRY(snapshot_look_up(snapshot, keys, 1, &read, err));
    struct store_row row;
    struct counts counts = {0};
    const bool fits =
        store_rows_next(&read.rows, &row) && (!row.present || counts_decode(row.value, &counts));
    read_free(snapshot, &read);
    if (!fits) {
        return FAIL(err, SILO_CORRUPT, "the totals of the shard are corrupt");
    }
    *ret_counts = counts;
    return RC_OK;
}

/* Rows of a table that are the shard's; `counts`, if given, sums their values. */
static SILO_RC table_walk(struct snapshot *snapshot, enum key_table table, uint64_t *ret_rows,
                          struct counts *counts, struct silo_err *err)
{
    struct ranges ranges AUTO(ranges_deinit);
    ranges_init(&ranges, snapshot, 1, RANGES_ROWS_MAX);
    ranges_set_table(&ranges, 0, 0, counts == NULL, table);
    for (uint64_t rows = 0;; rows++) { /* as many turns as there are rows */
        struct range *range = NULL;
        struct counts one;
        TRY(ranges_next(&ranges, &range, err));
        if (range == NULL) {
            *ret_rows = rows;
            return RC_OK;
        }
        if (counts == NULL) {
            continue;
        }
        if (!counts_decode(range->row.value, &one)) {
            return FAIL(err, SILO_CORRUPT, "the counters of a tenant are corrupt");
        }
        counts->open += one.open;
        counts->succeeded += one.succeeded;
        counts->failed += one.failed;
        counts->cancelled += one.cancelled;
    }
}

SILO_RC shard_totals_read(struct snapshot *snapshot, struct shard_totals *ret_totals,
                          struct silo_err *err)
{
    const struct snapshot_options *options = &snapshot->options;
    struct shard_totals totals = {0};
    uint64_t rows = 0;
    if (options->hash_first == 0 && options->hash_last == UINT64_MAX) {
        TRY(totals_row(snapshot, &totals.counts, err));
    } else {
        TRY(table_walk(snapshot, TABLE_COUNT, &rows, &totals.counts, err));
    }
    TRY(table_walk(snapshot, TABLE_LEASE, &totals.running, NULL, err));
    *ret_totals = totals;
    return RC_OK;
}
