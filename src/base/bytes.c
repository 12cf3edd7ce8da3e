/* base/bytes.c - copy, search, and the UTF-8 check (Unicode 15, table 3-7). */
#include "base/bytes.h"

#include "base/assert.h"

bool bytes_has(struct bytes b, struct bytes part)
{
    return b.len >= part.len && memmem(b.ptr, b.len, part.ptr, part.len) != NULL;
}

struct bytes bytes_dup(struct bytes b)
{
    uint8_t *copy = xmalloc(b.len + 1);
    if (b.len != 0) {
        memcpy(copy, b.ptr, b.len);
    }
    copy[b.len] = '\0';
    return bytes_of(copy, b.len);
}

size_t bytes_utf8_step(struct bytes b)
{
    if (b.len == 0) {
        return 0;
    }
    const uint8_t *p = b.ptr;
    const uint8_t c = p[0];
    if (c < 0x80) {
        return 1;
    }
    size_t need = 0;
    uint8_t lo = 0x80;
    uint8_t hi = 0xbf;
    if (c >= 0xc2 && c <= 0xdf) {
        need = 2;
    } else if (c >= 0xe0 && c <= 0xef) {
        need = 3;
        lo = c == 0xe0 ? 0xa0 : 0x80;
        hi = c == 0xed ? 0x9f : 0xbf;
    } else if (c >= 0xf0 && c <= 0xf4) {
        need = 4;
        lo = c == 0xf0 ? 0x90 : 0x80;
        hi = c == 0xf4 ? 0x8f : 0xbf;
    }
    if (need == 0 || b.len < need || p[1] < lo || p[1] > hi) {
        return 0;
    }
    for (size_t i = 2; i < need; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return need;
}

/*
 * How many of the first bytes are ASCII, in whole eights: most text is, and eight at a time are ten
 * times as quick.
 */
static size_t bytes_ascii_eights(const uint8_t *p, size_t len)
{
    size_t at = 0;
    for (uint64_t eight; len - at >= sizeof eight; at += sizeof eight) {
        memcpy(&eight, p + at, sizeof eight);
        if ((eight & 0x8080808080808080u) != 0) {
            break;
        }
    }
    return at;
}

bool bytes_utf8(struct bytes b, size_t *ret_chars)
{
    size_t chars = 0;
    for (size_t at = 0; at < b.len; chars++) {
        const size_t plain = bytes_ascii_eights(b.ptr + at, b.len - at);
        at += plain;
        chars += plain;
        if (at == b.len) {
            break;
        }
        const size_t step = bytes_utf8_step(bytes_of(b.ptr + at, b.len - at));
        if (step == 0) {
            return false;
        }
        at += step;
    }
    if (ret_chars != NULL) {
        *ret_chars = chars;
    }
    return true;
}
