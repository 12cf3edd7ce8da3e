/* base/uuid.c - text and bytes of ids. */
#include "base/uuid.h"

struct uuid uuid_v4(const uint8_t random[16])
{
    struct uuid u;
    memcpy(u.b, random, 16);
    u.b[6] = (uint8_t)((u.b[6] & 0x0f) | 0x40);
    u.b[8] = (uint8_t)((u.b[8] & 0x3f) | 0x80);
    return u;
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

static bool uuid_hyphen_at(size_t nibble)
{
    return nibble == 8 || nibble == 12 || nibble == 16 || nibble == 20;
}

void uuid_format(const struct uuid *uuid, char ret_text[UUID_TEXT_LEN + 1])
{
    static const char digits[] = "0123456789abcdef";
    char *at = ret_text;
    for (size_t i = 0; i < 32; i++) {
        if (uuid_hyphen_at(i)) {
            *at++ = '-';
        }
        *at++ = digits[(uuid->b[i / 2] >> (i % 2 != 0 ? 0 : 4)) & 0xf];
    }
    *at = '\0';
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool uuid_parse_digits(struct bytes text, bool hyphens, struct uuid *ret_uuid)
{
    if (text.len != (hyphens ? 36u : 32u)) {
        return false;
    }
    struct uuid u = {{0}};
    size_t at = 0;
    for (size_t i = 0; i < 32; i++) {
        if (hyphens && uuid_hyphen_at(i) && text.ptr[at++] != '-') {
            return false;
        }
        const int digit = hex_digit(text.ptr[at++]);
        if (digit < 0) {
            return false;
        }
        u.b[i / 2] = (uint8_t)(u.b[i / 2] << 4 | digit);
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
