/*
 * query/pager_int.h - what listings of queues and tenants share: ranges read row by row into one
 * page of bounded size.
 *
 * Ownership  pager_deinit frees what the pager made; rows lie in the page's arena.
 * Threads    the snapshot's.
 */
#ifndef SILO_QUERY_PAGER_INT_H
#define SILO_QUERY_PAGER_INT_H

#include "query/jobs.h"
#include "query/ranges.h"

struct pager {
    struct snapshot *snapshot;
    struct arena *arena;
    size_t rows_max, bytes_max;
    struct ranges ranges;
    struct cursor from;
    size_t count, bytes; /* in the page so far */
    bool begun;
    uint64_t at_tag; /* where the page ends */
    struct buf at_suffix;
};

/* Checks the limits and the cursor. pager_deinit after it, whatever it says. */
SILO_RC pager_init(struct pager *pager, struct snapshot *snapshot, struct bytes cursor,
                   uint32_t listing, const struct page_limits *limits, struct arena *arena,
                   struct silo_err *err);
void pager_deinit(struct pager *pager);

static inline bool pager_full(const struct pager *pager)
{
    return pager->count >= pager->rows_max || pager->bytes >= pager->bytes_max;
}

/* The page has come to here. */
void pager_at(struct pager *pager, uint64_t tag, struct bytes suffix);
/* Where the next page begins; empty when there are no more rows. */
SILO_RC pager_cursor(struct pager *pager, struct bytes *ret_cursor, struct silo_err *err);

#endif
