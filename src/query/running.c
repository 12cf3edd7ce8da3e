/*
 * query/running.c - the running jobs of a tenant, latest start first.
 *
 * Leases stand by job id, so a page walks all of the tenant's and remembers the newest: a heap with
 * the worst on top. There are never more than SHARD_LEASES_MAX. An entry is ordered by its bytes:
 * the inverted start u64, then the job id, as in an index key.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "codec/key_scan.h"
#include "query/jobs_int.h"

#define START_LEN 8u

/* Entries own their bytes. */
struct newest {
    struct bytes *items; /* a heap: the last in order on top */
    size_t count, want;
};

static bool after(const struct newest *newest, size_t a, size_t b)
{
    return bytes_cmp(newest->items[a], newest->items[b]) > 0;
}

static void swap(struct newest *newest, size_t a, size_t b)
{
    const struct bytes t = newest->items[a];
    newest->items[a] = newest->items[b];
    newest->items[b] = t;
}

static void newest_up(struct newest *newest, size_t i)
{
    while (i != 0 && after(newest, i, (i - 1) / 2)) {
        swap(newest, i, (i - 1) / 2);
        i = (i - 1) / 2;
    }
}

static void newest_down(struct newest *newest)
{
    for (size_t i = 0, child = 1; child < newest->count; i = child, child = 2 * i + 1) {
        if (child + 1 < newest->count && after(newest, child + 1, child)) {
            child++;
        }
        if (!after(newest, child, i)) {
            break;
        }
        swap(newest, i, child);
    }
}

static void newest_add(struct newest *newest, struct bytes entry)
{
    const bool full = newest->count == newest->want;
    if (full && bytes_cmp(entry, newest->items[0]) >= 0) {
        return;
    }
    uint8_t *copy = xmalloc(entry.len);
    memcpy(copy, entry.ptr, entry.len);
    if (full) {
        free((void *)newest->items[0].ptr);
        newest->items[0] = bytes_of(copy, entry.len);
        newest_down(newest);
    } else {
        newest->items[newest->count++] = bytes_of(copy, entry.len);
        newest_up(newest, newest->count - 1);
    }
}

static int entries_compare(const void *a, const void *b)
{
    return bytes_cmp(*(const struct bytes *)a, *(const struct bytes *)b);
}

/* Of one lease row; false when it is corrupt. */
static bool entry_make(struct key *ret_entry, const struct range *range)
{
    struct lease_rec lease;
    if (!lease_decode(range->row.value, &lease)) {
        return false;
    }
    const struct bytes id = range_suffix(range);
    const uint64_t start = ~(lease.started_ms > 0 ? (uint64_t)lease.started_ms : 0);
    for (size_t i = 0; i < START_LEN; i++) {
        ret_entry->b[i] = (uint8_t)(start >> (56 - 8 * i));
    }
    memcpy(ret_entry->b + START_LEN, id.ptr, id.len);
    ret_entry->len = START_LEN + id.len;
    return true;
}

static SILO_RC newest_walk(struct newest *newest, struct ranges *ranges,
                           const struct cursor *cursor, struct silo_err *err)
{
    struct key entry;
    for (;;) { /* as many turns as the tenant has leases */
        struct range *range = NULL;
        TRY(ranges_next(ranges, &range, err));
        if (range == NULL) {
            return RC_OK;
        }
        if (!entry_make(&entry, range)) {
            return FAIL(err, SILO_CORRUPT, "the lease of job %.*s is corrupt",
                        BYTES_FMT(range_suffix(range)));
        }
        if (cursor->suffix.ptr == NULL || bytes_cmp(key_bytes(&entry), cursor->suffix) > 0) {
            newest_add(newest, key_bytes(&entry));
        }
    }
}

SILO_RC running_newest(struct snapshot *snapshot, struct bytes tenant_part,
                       const struct cursor *cursor, size_t want, struct arena *arena,
                       struct candidate *ret_candidates, size_t *ret_count, struct silo_err *err)
{
    struct newest newest = {.items = xcalloc(want, sizeof newest.items[0]), .want = want};
    struct ranges ranges;
    struct key prefix;
    ranges_init(&ranges, snapshot, 1, RANGES_ROWS_MAX);
    key_tenant_rows(&prefix, TABLE_LEASE, tenant_part);
    ranges_set(&ranges, 0, 0, false, key_bytes(&prefix));
    const silo_rc rc = newest_walk(&newest, &ranges, cursor, err);
    ranges_deinit(&ranges);

    qsort(newest.items, newest.count, sizeof newest.items[0], entries_compare);
    for (size_t i = 0; i < newest.count; i++) {
        const struct bytes suffix = arena_copy(arena, newest.items[i]);
        uint8_t *ref = arena_alloc(arena, tenant_part.len + suffix.len - START_LEN);
        memcpy(ref, tenant_part.ptr, tenant_part.len);
        memcpy(ref + tenant_part.len, suffix.ptr + START_LEN, suffix.len - START_LEN);
        ret_candidates[i] = (struct candidate){
            .job_ref = bytes_of(ref, tenant_part.len + suffix.len - START_LEN),
            .suffix = suffix,
        };
        free((void *)newest.items[i].ptr);
    }
    *ret_count = newest.count;
    free(newest.items);
    return rc;
}
