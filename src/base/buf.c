/* base/buf.c - doubling growth up to the maximum. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/assert.h"

void buf_init(struct buf *buf, size_t max_bytes)
{
    *buf = (struct buf){.max_bytes = max_bytes};
}

void buf_deinit(struct buf *buf)
{
    free(buf->ptr);
    *buf = (struct buf){0};
}

void buf_reset(struct buf *buf)
{
    buf->len = 0;
    buf->full = false;
}

uint8_t *buf_room(struct buf *buf, size_t size)
{
    if (buf->full || size > buf->max_bytes - buf->len) {
        buf->full = true;
        return NULL;
    }
    if (buf->cap - buf->len < size) {
        size_t cap = buf->cap != 0 ? buf->cap : 256;
        while (cap - buf->len < size) {
            cap *= 2;
        }
        buf->ptr = xrealloc(buf->ptr, cap);
        buf->cap = cap;
    }
    return buf->ptr + buf->len;
}

void buf_append(struct buf *buf, const void *ptr, size_t len)
{
    if (len == 0) {
        return;
    }
    uint8_t *room = buf_room(buf, len);
    if (room != NULL) {
        memcpy(room, ptr, len);
        buf->len += len;
    }
}

void buf_printf(struct buf *buf, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    va_list again;
    va_copy(again, ap);
    const int len = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    ASSERT(len >= 0);
    uint8_t *room = buf_room(buf, (size_t)len + 1);
    if (room != NULL) {
        (void)vsnprintf((char *)room, (size_t)len + 1, fmt, again);
        buf->len += (size_t)len;
    }
    va_end(again);
}
