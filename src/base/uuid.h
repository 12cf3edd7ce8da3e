/*
 * base/uuid.h - 128-bit ids (RFC 9562): text forms and versions 4 and 7 made from given random
 * bytes.
 *
 * Threads    no shared state.
 */
#ifndef SILO_BASE_UUID_H
#define SILO_BASE_UUID_H

#include "base/bytes.h"

#define UUID_TEXT_LEN 36

struct uuid {
    uint8_t b[16];
};

/* Version 4 from 16 random bytes. */
struct uuid uuid_v4(const uint8_t random[16]);
/* Version 4, number `n` of those that follow from the seed. */
struct uuid uuid_from_seed(const uint8_t seed[16], uint64_t n);
/* Version 7: 48-bit Unix time in ms, the rest from 16 random bytes. */
struct uuid uuid_v7(int64_t now_ms, const uint8_t random[16]);
/* Lower-case hyphenated form; writes 36 bytes and a NUL. */
void uuid_format(const struct uuid *uuid, char ret_text[UUID_TEXT_LEN + 1]);
/* Only the hyphenated form, either letter case. */
bool uuid_parse(struct bytes text, struct uuid *ret_uuid);
/* Also bare 32 digits, {braced} and urn:uuid: forms. */
bool uuid_parse_lenient(struct bytes text, struct uuid *ret_uuid);

static inline bool uuid_eq(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a->b, b->b, 16) == 0;
}

/* The order of their bytes, for qsort and bsearch. */
int uuid_order(const void *a, const void *b);

static inline struct bytes uuid_bytes(const struct uuid *uuid)
{
    return bytes_of(uuid->b, 16);
}

#endif
