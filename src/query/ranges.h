/*
 * query/ranges.h - several ranges of keys read as one, in the order of what follows their prefixes,
 * from a cursor on.
 *
 * Rows come by (suffix, tag): the suffix is the key without its range's prefix, the tag is a number
 * the caller gave to the range, rising over the ranges. A cursor names a listing, a row's tag and
 * its suffix; rows after it follow, whatever was inserted or deleted meanwhile and whichever
 * snapshot reads on. One range with prefixes of nothing is the plain case.
 *
 * Ownership  the caller's struct ranges owns its memory: ranges_deinit. A row lives until the next
 *            call.
 * Threads    the snapshot's.
 * Limits     RANGES_MAX ranges; RANGES_ROWS_MAX rows and READ_BYTES_MAX read ahead, shared by all
 *            ranges, at least one row each.
 */
#ifndef SILO_QUERY_RANGES_H
#define SILO_QUERY_RANGES_H

#include "base/arena.h"
#include "base/buf.h"
#include "query/snapshot.h"

#define RANGES_MAX 4096u
#define RANGES_ROWS_MAX 1024u

/* Where a listing goes on. */
struct cursor {
    uint32_t listing; /* which listing with which arguments: another's cursor is refused */
    uint64_t tag;
    struct bytes suffix;
};

/* The bytes that are given out; in the arena. */
struct bytes cursor_encode(struct arena *arena, const struct cursor *cursor);
/*
 * SILO_INVALID for what cursor_encode did not make for this listing. Lends. Empty bytes: the
 * beginning, suffix.ptr NULL.
 */
SILO_RC cursor_decode(struct bytes bytes, uint32_t listing, struct cursor *ret_cursor,
                      struct silo_err *err);
/* A number for a listing: its kind and the hash of what it was asked for. */
uint32_t cursor_listing(uint32_t kind, const struct bytes *parts, size_t count);

enum ranges_from {
    RANGES_AFTER_ROW,   /* rows after the cursor's */
    RANGES_AFTER_GROUP, /* rows after all that begin with the cursor's suffix */
};

struct range {
    uint64_t tag;
    bool keys_only;
    uint32_t rows_ahead; /* of its next read; doubles from read to read */
    size_t prefix_len;
    struct buf lo, hi; /* what is not read yet */
    struct read read;
    bool has_row, at_end;
    struct store_row row;
};

struct ranges {
    struct snapshot *snapshot;
    struct range *items;
    size_t count;
    uint32_t rows_ahead, rows_ahead_max; /* of one range: of its first read, of the largest */
    struct range *current;
};

/*
 * `rows` is how many are likely wanted: first reads are of that size, later ones larger, within the
 * limits.
 */
void ranges_init(struct ranges *ranges, struct snapshot *snapshot, size_t count, uint32_t rows);
void ranges_deinit(struct ranges *ranges);
/* All keys with this prefix. */
void ranges_set(struct ranges *ranges, size_t i, uint64_t tag, bool keys_only, struct bytes prefix);
/* All keys of a tenant-scoped table that are the shard's. */
void ranges_set_table(struct ranges *ranges, size_t i, uint64_t tag, bool keys_only,
                      enum key_table table);
/* After all are set. A cursor from the beginning changes nothing. */
SILO_RC ranges_resume(struct ranges *ranges, const struct cursor *cursor, enum ranges_from from,
                      struct silo_err *err);
/* The next row; *ret_range NULL at the end. Its row and suffix are valid until the next call. */
SILO_RC ranges_next(struct ranges *ranges, struct range **ret_range, struct silo_err *err);
/* The same, without going past it. */
SILO_RC ranges_peek(struct ranges *ranges, struct range **ret_range, struct silo_err *err);

static inline struct bytes range_suffix(const struct range *range)
{
    return bytes_of(range->row.key.ptr + range->prefix_len, range->row.key.len - range->prefix_len);
}

#endif
