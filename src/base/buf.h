/*
 * base/buf.h - a growing byte buffer with a maximum set at init.
 *
 * Ownership  the buffer owns its memory, until buf_deinit.
 * Threads    one at a time.
 * Limits     max_bytes: appending past it marks the buffer `full` and appends nothing; the writer
 *            checks once, at the end.
 */
#ifndef SILO_BASE_BUF_H
#define SILO_BASE_BUF_H

#include "base/bytes.h"

struct buf {
    uint8_t *ptr;
    size_t len;
    size_t cap;
    size_t max_bytes;
    bool full;
};

void buf_init(struct buf *buf, size_t max_bytes);
void buf_deinit(struct buf *buf);
/* Empties it, keeps the memory. */
void buf_reset(struct buf *buf);
/* Room for `size` bytes at the end, not yet counted in len; NULL when over the maximum. */
uint8_t *buf_room(struct buf *buf, size_t size);
void buf_append(struct buf *buf, const void *ptr, size_t len);
void buf_printf(struct buf *buf, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static inline void buf_u8(struct buf *buf, uint8_t v)
{
    buf_append(buf, &v, 1);
}

static inline struct bytes buf_bytes(const struct buf *buf)
{
    return (struct bytes){buf->ptr, buf->len};
}

#endif
