/*
 * query/tenants.h - the tenants of a shard with their numbers, and the shard's own.
 *
 * Numbers come from the counter rows that the shard keeps: jobs that have not ended, and those that
 * ended each way. How many run is the number of leases, found by walking their keys: asked for only
 * where it is wanted.
 *
 * Ownership  a page and all it lends lie in the caller's arena.
 * Threads    the snapshot's.
 * Limits     as in query/jobs.h.
 */
#ifndef SILO_QUERY_TENANTS_H
#define SILO_QUERY_TENANTS_H

#include "query/jobs.h"

struct tenant_row {
    struct bytes tenant;
    struct counts counts;
    uint64_t running; /* of counts.open; 0 when not asked for */
};

struct tenants_page {
    struct tenant_row *rows; /* by hash, then name */
    size_t count;
    struct bytes cursor;
};

struct tenants_query {
    bool one_tenant; /* `tenant` alone: a page of one row or none */
    struct bytes tenant;
    bool with_running;
};

SILO_RC tenants_read(struct snapshot *snapshot, const struct tenants_query *query,
                     struct bytes cursor, const struct page_limits *limits, struct arena *arena,
                     struct tenants_page *ret_page, struct silo_err *err);

struct shard_totals {
    struct counts counts;
    uint64_t running; /* of counts.open */
};

/*
 * The sum over its tenants when the snapshot is of a part of the tenant hashes, else the row that
 * the shard keeps.
 */
SILO_RC shard_totals_read(struct snapshot *snapshot, struct shard_totals *ret_totals,
                          struct silo_err *err);

#endif
