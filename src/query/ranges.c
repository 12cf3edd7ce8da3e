/*
 * query/ranges.c - a merge of ranges by suffix and tag.
 *
 * A cursor's bytes: version u8 (1), listing u32, tag u64, suffix; integers big-endian. Cursors are
 * kept by clients for as long as they like: another layout needs another version.
 *
 * The row of a range is looked for among few ranges mostly (one, or four kinds of an index), so the
 * least is found by walking them; a queue with a thousand lines pays a thousand comparisons a row.
 */
#include "query/ranges.h"

#include <xxhash.h>

#include "base/assert.h"
#include "codec/key_scan.h"

#define CURSOR_VERSION 1u
#define CURSOR_HEAD 13u
#define RANGE_KEY_MAX (KEY_BYTES_MAX + 1u)
#define RANGE_ROWS_MIN 16u /* read ahead: a round trip costs more than a few rows */

/* --- cursors --- */

static void put_be(uint8_t *p, uint64_t v, size_t len)
{
    for (size_t i = len; i-- != 0; v >>= 8) {
        p[i] = (uint8_t)v;
    }
}

struct bytes cursor_encode(struct arena *arena, const struct cursor *cursor)
{
    uint8_t *p = arena_alloc(arena, CURSOR_HEAD + cursor->suffix.len);
    p[0] = CURSOR_VERSION;
    put_be(p + 1, cursor->listing, 4);
    put_be(p + 5, cursor->tag, 8);
    if (cursor->suffix.len != 0) {
        memcpy(p + CURSOR_HEAD, cursor->suffix.ptr, cursor->suffix.len);
    }
    return bytes_of(p, CURSOR_HEAD + cursor->suffix.len);
}

SILO_RC cursor_decode(struct bytes bytes, uint32_t listing, struct cursor *ret_cursor,
                      struct silo_err *err)
{
    if (bytes.len == 0) {
        *ret_cursor = (struct cursor){.listing = listing};
        return RC_OK;
    }
    if (bytes.len < CURSOR_HEAD || bytes.len > CURSOR_HEAD + KEY_BYTES_MAX ||
        bytes.ptr[0] != CURSOR_VERSION) {
        return FAIL(err, SILO_INVALID, "this is no cursor");
    }
    if (bytes_be(bytes.ptr + 1, 4) != listing) {
        return FAIL(err, SILO_INVALID, "the cursor is of another listing");
    }
    *ret_cursor = (struct cursor){
        .listing = listing,
        .tag = bytes_be(bytes.ptr + 5, 8),
        .suffix = bytes_of(bytes.ptr + CURSOR_HEAD, bytes.len - CURSOR_HEAD),
    };
    return RC_OK;
}

uint32_t cursor_listing(uint32_t kind, const struct bytes *parts, size_t count)
{
    uint64_t hash = kind;
    for (size_t i = 0; i < count; i++) {
        hash = XXH64(parts[i].ptr, parts[i].len, hash ^ parts[i].len);
    }
    return (uint32_t)(hash ^ hash >> 32);
}

/* --- ranges --- */

void ranges_init(struct ranges *ranges, struct snapshot *snapshot, size_t count, uint32_t rows)
{
    ASSERT(count <= RANGES_MAX);
    const uint32_t share = (uint32_t)(RANGES_ROWS_MAX / (count != 0 ? count : 1));
    const uint32_t wanted = rows > RANGE_ROWS_MIN ? rows : RANGE_ROWS_MIN;
    const uint32_t ahead = wanted < share ? wanted : share;
    *ranges = (struct ranges){
        .snapshot = snapshot,
        .items = xcalloc(count != 0 ? count : 1, sizeof ranges->items[0]),
        .count = count,
        .rows_ahead = ahead != 0 ? ahead : 1,
        .rows_ahead_max = share != 0 ? share : 1,
    };
    for (size_t i = 0; i < count; i++) {
        ranges->items[i].rows_ahead = ranges->rows_ahead;
        buf_init(&ranges->items[i].lo, RANGE_KEY_MAX);
        buf_init(&ranges->items[i].hi, RANGE_KEY_MAX);
    }
}

void ranges_deinit(struct ranges *ranges)
{
    for (size_t i = 0; i < ranges->count; i++) {
        struct range *range = &ranges->items[i];
        read_free(ranges->snapshot, &range->read);
        buf_deinit(&range->lo);
        buf_deinit(&range->hi);
    }
    free(ranges->items);
    *ranges = (struct ranges){0};
}

static void bound_set(struct buf *bound, struct bytes key)
{
    buf_reset(bound);
    buf_append(bound, key.ptr, key.len);
}

static struct range *range_at(struct ranges *ranges, size_t i, uint64_t tag, bool keys_only)
{
    ASSERT(i < ranges->count && (i == 0 || ranges->items[i - 1].tag < tag));
    struct range *range = &ranges->items[i];
    range->tag = tag;
    range->keys_only = keys_only;
    return range;
}

void ranges_set(struct ranges *ranges, size_t i, uint64_t tag, bool keys_only, struct bytes prefix)
{
    struct range *range = range_at(ranges, i, tag, keys_only);
    struct key end;
    ASSERT(prefix.len <= KEY_BYTES_MAX);
    range->prefix_len = prefix.len;
    bound_set(&range->lo, prefix);
    end.len = prefix.len;
    memcpy(end.b, prefix.ptr, prefix.len);
    ASSERT(key_after_prefix(&end)); /* no table is FF */
    bound_set(&range->hi, key_bytes(&end));
}

void ranges_set_table(struct ranges *ranges, size_t i, uint64_t tag, bool keys_only,
                      enum key_table table)
{
    const struct snapshot_options *options = &ranges->snapshot->options;
    struct range *range = range_at(ranges, i, tag, keys_only);
    struct key key;
    range->prefix_len = 1;
    key_hash_rows(&key, table, options->hash_first);
    bound_set(&range->lo, key_bytes(&key));
    key_hash_rows(&key, table, options->hash_last);
    ASSERT(key_after_prefix(&key));
    bound_set(&range->hi, key_bytes(&key));
}

SILO_RC ranges_resume(struct ranges *ranges, const struct cursor *cursor, enum ranges_from from,
                      struct silo_err *err)
{
    if (cursor->suffix.ptr == NULL) {
        return RC_OK;
    }
    for (size_t i = 0; i < ranges->count; i++) {
        struct range *range = &ranges->items[i];
        struct key key;
        if (range->prefix_len + cursor->suffix.len >= KEY_BYTES_MAX) {
            return FAIL(err, SILO_INVALID, "the cursor is too long");
        }
        key.len = range->prefix_len;
        memcpy(key.b, range->lo.ptr, key.len);
        memcpy(key.b + key.len, cursor->suffix.ptr, cursor->suffix.len);
        key.len += cursor->suffix.len;
        if (from == RANGES_AFTER_GROUP) {
            range->at_end = !key_after_prefix(&key);
        } else if (range->tag <= cursor->tag) {
            key_successor(&key);
        }
        if (bytes_cmp(key_bytes(&key), buf_bytes(&range->lo)) > 0) {
            bound_set(&range->lo, key_bytes(&key));
        }
    }
    return RC_OK;
}

/* Makes the range's next row its row, or knows that there is none. */
static SILO_RC range_fill(struct ranges *ranges, struct range *range, struct silo_err *err)
{
    if (range->has_row || range->at_end) {
        return RC_OK;
    }
    if (!store_rows_next(&range->read.rows, &range->row)) {
        const bool done = range->read.event.kind == STORE_ROWS && !range->read.more;
        read_free(ranges->snapshot, &range->read);
        const struct bytes lo = buf_bytes(&range->lo);
        const struct bytes hi = buf_bytes(&range->hi);
        if (done || bytes_cmp(lo, hi) >= 0) {
            range->at_end = true;
            return RC_OK;
        }
        TRY(snapshot_scan(ranges->snapshot, lo, hi, range->keys_only, range->rows_ahead,
                          &range->read, err));
        const uint32_t twice = range->rows_ahead * 2;
        range->rows_ahead = twice < ranges->rows_ahead_max ? twice : ranges->rows_ahead_max;
        if (!store_rows_next(&range->read.rows, &range->row)) {
            range->at_end = true;
            return RC_OK;
        }
    }
    if (range->row.key.len > KEY_BYTES_MAX || range->row.key.len < range->prefix_len) {
        return FAIL(err, SILO_CORRUPT, "a key has an impossible length");
    }
    range->has_row = true;
    if (range->read.rows.count == 0) {
        bound_set(&range->lo, range->row.key);
        buf_u8(&range->lo, 0);
    }
    return RC_OK;
}

SILO_RC ranges_peek(struct ranges *ranges, struct range **ret_range, struct silo_err *err)
{
    if (ranges->current != NULL) {
        ranges->current->has_row = false;
        ranges->current = NULL;
    }
    struct range *least = NULL;
    for (size_t i = 0; i < ranges->count; i++) {
        struct range *range = &ranges->items[i];
        TRY(range_fill(ranges, range, err));
        if (range->has_row &&
            (least == NULL || bytes_cmp(range_suffix(range), range_suffix(least)) < 0)) {
            least = range;
        }
    }
    *ret_range = least;
    return RC_OK;
}

SILO_RC ranges_next(struct ranges *ranges, struct range **ret_range, struct silo_err *err)
{
    TRY(ranges_peek(ranges, ret_range, err));
    ranges->current = *ret_range;
    return RC_OK;
}
