/* base/uuid.c - text and bytes of ids. */
#include "base/uuid.h"

#include <xxhash.h>

struct uuid uuid_v4(const uint8_t random[16])
{
    struct uuid u;
    memcpy(u.b, random, 16);
    u.b[6] = (uint8_t)((u.b[6] & 0x0f) | 0x40);
    u.b[8] = (uint8_t)((u.b[8] & 0x3f) | 0x80);
    return u;
}

struct uuid uuid_from_seed(const uint8_t seed[16], uint64_t n)
{
    uint8_t bytes[16];
    const uint64_t a = XXH64(seed, 16, 2 * n);
    const uint64_t b = XXH64(seed, 16, 2 * n + 1);
    memcpy(bytes, &a, 8);
    memcpy(bytes + 8, &b, 8);
    return uuid_v4(bytes);
}

struct uuid uuid_v7(int64_t now_ms, const uint8_t random[16])
{
    struct uuid u;
    memcpy(u.b, random, 16);
    for (int i = 0; i < 6; i++) {
        u.b[i] = (uint8_t)((uint64_t)now_ms >> (40 - 8 * i));
    }
    u.b[6] = (uint8_t)((u.b[6] & 0x0f) | 0x70);
    u.b[8] = (uint8_t)((u.b[8] & 0x3f) | 0x80);
    return u;
}

/* Whether a hyphen stands before this byte. */
static bool uuid_hyphen_before(size_t byte)
{
    return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

void uuid_format(const struct uuid *uuid, char ret_text[UUID_TEXT_LEN + 1])
{
    static const char digits[] = "0123456789abcdef";
    char *at = ret_text;
    for (size_t i = 0; i < sizeof uuid->b; i++) {
        if (uuid_hyphen_before(i)) {
            *at++ = '-';
        }
        *at++ = digits[uuid->b[i] >> 4];
        *at++ = digits[uuid->b[i] & 0xf];
    }
    *at = '\0';
}

/*
 * One more than the value of each hexadecimal digit; 0 for every other byte. Calls carry several
 * ids, so this is no search.
 */
static const uint8_t hex_values[256] = {
    ['0'] = 1,  ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,  ['6'] = 7,  ['7'] = 8,
    ['8'] = 9,  ['9'] = 10, ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
    ['A'] = 11, ['B'] = 12, ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16,
};

static bool uuid_parse_digits(struct bytes text, bool hyphens, struct uuid *ret_uuid)
{
    if (text.len != (hyphens ? 36u : 32u)) {
        return false;
    }
    struct uuid u;
    const uint8_t *at = text.ptr;
    for (size_t i = 0; i < sizeof u.b; i++) {
        if (hyphens && uuid_hyphen_before(i) && *at++ != '-') {
            return false;
        }
        const uint8_t high = hex_values[*at++];
        const uint8_t low = hex_values[*at++];
        if (high == 0 || low == 0) {
            return false;
        }
        u.b[i] = (uint8_t)((unsigned)(high - 1) << 4 | (unsigned)(low - 1));
    }
    *ret_uuid = u;
    return true;
}

bool uuid_parse(struct bytes text, struct uuid *ret_uuid)
{
    return uuid_parse_digits(text, true, ret_uuid);
}

bool uuid_parse_lenient(struct bytes text, struct uuid *ret_uuid)
{
    const struct bytes urn = BYTES_LIT("urn:uuid:");
    if (bytes_starts(text, urn)) {
        return uuid_parse(bytes_of(text.ptr + urn.len, text.len - urn.len), ret_uuid);
    }
    if (text.len == 38 && text.ptr[0] == '{' && text.ptr[37] == '}') {
        return uuid_parse(bytes_of(text.ptr + 1, 36), ret_uuid);
    }
    return text.len == 32 ? uuid_parse_digits(text, false, ret_uuid) : uuid_parse(text, ret_uuid);
}

int uuid_order(const void *a, const void *b)
{
    return memcmp(((const struct uuid *)a)->b, ((const struct uuid *)b)->b, sizeof(struct uuid));
}
