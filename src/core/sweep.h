/*
 * core/sweep.h - a range of rows is read page by page, each beginning behind the last row of the
 * one before.
 *
 * A page that failed, or whose rows could not be dealt with, is read again: the sweep goes on only
 * when it is told to.
 *
 * Ownership  its owner's; it outlives a page on its way.
 * Threads    the shard's executor only.
 * Limits     one page at a time.
 */
#ifndef SILO_CORE_SWEEP_H
#define SILO_CORE_SWEEP_H

#include "base/buf.h"
#include "codec/key.h"

struct core;

struct sweep {
    uint8_t range[2]; /* what the keys begin with: a table, or one kind of meta rows */
    size_t range_len;
    struct buf cursor; /* the next page begins here; empty: with the range */
    struct buf after;  /* behind the last row of the page that was read; empty: it had none */
    bool reading;
    bool more; /* behind that page */
};

void sweep_init(struct sweep *sweep);
void sweep_deinit(struct sweep *sweep);
/* What begins so is its range. The first page begins at `from`, or, if it is empty, with that. */
void sweep_begin(struct sweep *sweep, const struct key *range, struct bytes from);
/* Reads the page at the cursor: `row` for each row, then `end`. */
void sweep_page(struct core *core, struct sweep *sweep, uint32_t rows_max,
                void (*row)(struct core *core, struct bytes key, struct bytes value),
                void (*end)(struct core *core, bool ok));
/* The page is done with. False: it was the last, and the next one is the first of the range. */
bool sweep_advance(struct sweep *sweep);

#endif
