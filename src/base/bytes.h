/*
 * base/bytes.h - a lent run of bytes, never NUL-terminated. The owner of the memory is named by
 * whoever lends it.
 */
#ifndef SILO_BASE_BYTES_H
#define SILO_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
    const uint8_t *ptr;
    size_t len;
};

#define BYTES_LIT(text) ((struct bytes){(const uint8_t *)(text), sizeof(text) - 1})
#define BYTES_NONE ((struct bytes){NULL, 0})
/* printf("%.*s") arguments; only for bytes that are known to be text. */
#define BYTES_FMT(b) (int)(b).len, (const char *)(b).ptr

static inline struct bytes bytes_of(const void *ptr, size_t len)
{
    return (struct bytes){ptr, len};
}

static inline struct bytes bytes_str(const char *text)
{
    return (struct bytes){(const uint8_t *)text, text != NULL ? strlen(text) : 0};
}

static inline bool bytes_eq(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* Lexicographic order of unsigned bytes, the order of the store's keys. */
static inline int bytes_cmp(struct bytes a, struct bytes b)
{
    const size_t n = a.len < b.len ? a.len : b.len;
    const int c = n != 0 ? memcmp(a.ptr, b.ptr, n) : 0;
    return c != 0 ? c : (a.len > b.len) - (a.len < b.len);
}

static inline bool bytes_starts(struct bytes b, struct bytes prefix)
{
    return b.len >= prefix.len && (prefix.len == 0 || memcmp(b.ptr, prefix.ptr, prefix.len) == 0);
}

/* A number of up to 8 bytes, the first the most significant, as keys have them. */
static inline uint64_t bytes_be(const uint8_t *ptr, size_t len)
{
    uint64_t value = 0;
    for (size_t i = 0; i < len; i++) {
        value = value << 8 | ptr[i];
    }
    return value;
}

/* Whether part, which is not empty, stands somewhere in b. */
bool bytes_has(struct bytes b, struct bytes part);
/* A malloc'd copy of its own, with a NUL behind it. Never NULL, even of no bytes. */
struct bytes bytes_dup(struct bytes b);
/*
 * Bytes of the well-formed UTF-8 character that b begins with; 0 if it begins with none (an empty b
 * too).
 */
size_t bytes_utf8_step(struct bytes b);
/*
 * Whether b is well-formed UTF-8 (no surrogates, no overlong forms); *ret_chars (may be NULL)
 * counts scalar values.
 */
bool bytes_utf8(struct bytes b, size_t *ret_chars);

#endif
