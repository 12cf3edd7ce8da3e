/*
 * sim/rows.h - a copy of one database's rows in key order, kept up to date from the batches that
 * are written.
 *
 * Ownership  the copy owns its bytes; what is lent lives until the next change.
 * Threads    one.
 */
#ifndef SILO_SIM_ROWS_H
#define SILO_SIM_ROWS_H

#include "base/bytes.h"
#include "store_mem/store_mem.h"

struct stored_row {
    struct bytes key, value; /* malloced */
};

struct rows {
    struct stored_row *items;
    size_t count, cap;
};

void rows_deinit(struct rows *rows);
void rows_clear(struct rows *rows);
/* What is applied, or what a crash would leave. */
void rows_load(struct rows *rows, struct store *store, const char *path, bool durable);
/* Index of the first row at or after the key. */
size_t rows_lower(const struct rows *rows, struct bytes key);
const struct stored_row *rows_find(const struct rows *rows, struct bytes key);
/* The first row of a prefix, and the one after `row` in it; NULL at the end. */
const struct stored_row *rows_first(const struct rows *rows, struct bytes prefix);
const struct stored_row *rows_next(const struct rows *rows, const struct stored_row *row,
                                   struct bytes prefix);

/* One change of a packed batch (store.h); false at its end. */
struct row_op {
    bool del;
    struct bytes key, value;
};
bool row_op_next(struct bytes *at, struct row_op *ret);
void rows_apply(struct rows *rows, struct bytes batch);

#endif
