/*
 * codec/field.h - what records are made of: a version byte, then numbers, strings and ids one after
 * the other, without names or lengths of their own.
 *
 * Numbers are LEB128 varints, signed ones zig-zag, in as few bytes as they need; a double is its
 * eight bytes, least first; a string (an *item*) is its length and its bytes.
 *
 * A decoder checks everything: what is wrong sticks in `bad` and is looked at once, at the end
 * (decoder_done). Until then it gives zeros and empty strings.
 *
 * Ownership  strings are lent from the bytes decoded.
 * Threads    no shared state.
 */
#ifndef SILO_CODEC_FIELD_H
#define SILO_CODEC_FIELD_H

#include "base/buf.h"
#include "base/uuid.h"

/* --- writing --- */

static inline void field_var(struct buf *buf, uint64_t v)
{
    uint8_t tmp[10];
    size_t n = 0;
    do {
        tmp[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    } while (v != 0);
    tmp[n - 1] &= 0x7f;
    buf_append(buf, tmp, n);
}

static inline void field_zig(struct buf *buf, int64_t v)
{
    field_var(buf, ((uint64_t)v << 1) ^ (uint64_t)(v >> 63));
}

void field_double(struct buf *buf, double v);
void item_append(struct buf *buf, struct bytes item);

/* --- reading; inline, for records are decoded wherever a job moves --- */

struct decoder {
    const uint8_t *at, *end;
    uint8_t version;
    bool bad;
};

/* Of bytes with no version before them. */
static inline struct decoder decoder_raw(struct bytes b)
{
    return (struct decoder){.at = b.ptr, .end = b.ptr + b.len};
}

/* Of a record whose versions are 1 to `newest`. */
static inline struct decoder decoder_of(struct bytes value, uint8_t newest)
{
    if (value.len == 0) {
        return (struct decoder){.bad = true};
    }
    struct decoder d = decoder_raw(value);
    d.version = *d.at++;
    d.bad = d.version < 1 || d.version > newest;
    return d;
}

/* All was read, and all of it good. */
static inline bool decoder_done(const struct decoder *d)
{
    return !d->bad && d->at == d->end;
}

static inline struct bytes decoder_rest(const struct decoder *d)
{
    return bytes_of(d->at, (size_t)(d->end - d->at));
}

static inline uint8_t decoder_u8(struct decoder *d)
{
    if (d->bad || d->at == d->end) {
        d->bad = true;
        return 0;
    }
    return *d->at++;
}

static inline uint64_t decoder_var(struct decoder *d)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        const uint8_t c = decoder_u8(d);
        if ((c == 0 && shift > 0) || (shift == 63 && c > 1)) { /* nobody writes it so */
            break;
        }
        v |= (uint64_t)(c & 0x7f) << shift;
        if ((c & 0x80) == 0) {
            return v;
        }
    }
    d->bad = true;
    return 0;
}

static inline int64_t decoder_zig(struct decoder *d)
{
    const uint64_t v = decoder_var(d);
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

static inline uint32_t decoder_u32(struct decoder *d)
{
    const uint64_t v = decoder_var(d);
    d->bad |= v > UINT32_MAX;
    return (uint32_t)v;
}

static inline bool decoder_bool(struct decoder *d)
{
    const uint8_t v = decoder_u8(d);
    d->bad |= v > 1;
    return v == 1;
}

static inline struct bytes decoder_bytes(struct decoder *d, size_t len)
{
    if (d->bad || (size_t)(d->end - d->at) < len) {
        d->bad = true;
        return BYTES_NONE;
    }
    const struct bytes b = bytes_of(d->at, len);
    d->at += len;
    return b;
}

static inline struct bytes decoder_item(struct decoder *d)
{
    const uint64_t len = decoder_var(d);
    if (len > SIZE_MAX / 2) {
        d->bad = true;
        return BYTES_NONE;
    }
    return decoder_bytes(d, (size_t)len);
}

double decoder_double(struct decoder *d);
struct uuid decoder_uuid(struct decoder *d);
/* `count` items in a row, lent as one run. */
struct bytes decoder_items(struct decoder *d, uint32_t count);

/* Walking such a run; *at starts as the whole and is advanced. */
bool item_next(struct bytes *at, struct bytes *ret_item);
static inline bool pair_next(struct bytes *at, struct bytes *ret_name, struct bytes *ret_value)
{
    return item_next(at, ret_name) && item_next(at, ret_value);
}

#endif
