/*
 * store_mem/ordered_rows.h - rows in key order, each with the versions that some reader may still
 * ask for.
 *
 * A change at sequence `seq` adds a version; a read at a sequence sees the newest version that is
 * not newer. Versions below the `floor` given with a change (the least sequence anybody still reads
 * at) go away, but for the newest of them.
 *
 * Ownership  the rows own copies of keys and values; what a read lends lives until the next change.
 * Threads    one at a time. A cursor does not live across a change.
 * Limits     keys up to 65,535 bytes, values below 4 GiB.
 */
#ifndef SILO_STORE_MEM_ORDERED_ROWS_H
#define SILO_STORE_MEM_ORDERED_ROWS_H

#include "base/bytes.h"

struct ordered_rows;
struct rows_node;

struct ordered_rows *ordered_rows_new(void);
struct ordered_rows *ordered_rows_free(struct ordered_rows *rows);
/* A copy of what a read at `seq` sees, every version at `seq`. */
struct ordered_rows *ordered_rows_clone(const struct ordered_rows *rows, uint64_t seq);

/*
 * Changes of one key must come with sequences that do not fall; an equal one replaces. floor <=
 * seq.
 */
void ordered_rows_put(struct ordered_rows *rows, struct bytes key, struct bytes value, uint64_t seq,
                      uint64_t floor);
void ordered_rows_delete(struct ordered_rows *rows, struct bytes key, uint64_t seq, uint64_t floor);
/* Drops dead keys and old versions once there are enough of them to pay for the walk. */
void ordered_rows_tidy(struct ordered_rows *rows, uint64_t floor);

bool ordered_rows_get(const struct ordered_rows *rows, struct bytes key, uint64_t seq,
                      struct bytes *ret_value);
/* Keys alive at the newest sequence; keys kept, dead ones included. */
size_t ordered_rows_live(const struct ordered_rows *rows);
size_t ordered_rows_kept(const struct ordered_rows *rows);

/*
 * Rows with lo <= key < hi as of `seq`, upwards or downwards. An empty hi has no end. lo and hi are
 * lent.
 */
struct rows_cursor {
    const struct rows_node *node;
    struct bytes lo, hi;
    uint64_t seq;
    bool descending;
};
struct rows_cursor ordered_rows_seek(const struct ordered_rows *rows, struct bytes lo,
                                     struct bytes hi, bool descending, uint64_t seq);
bool rows_cursor_next(struct rows_cursor *cursor, struct bytes *ret_key, struct bytes *ret_value);

#endif
