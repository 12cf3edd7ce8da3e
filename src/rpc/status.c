/*
 * rpc/status.c - status numbers and their percent-encoded texts.
 *
 * gRPC leaves printable ASCII but '%' alone and writes every other byte of the UTF-8 form as %XX.
 */
#include "base/rc.h"
#include "rpc/rpc.h"
#include "rpc/text_int.h"

static bool text_plain(uint8_t c)
{
    return c >= 0x20 && c <= 0x7e && c != '%';
}

static struct bytes text_cut(struct bytes text)
{
    if (text.len <= TEXT_MESSAGE_BYTES_MAX) {
        return text;
    }
    text.len = TEXT_MESSAGE_BYTES_MAX;
    while (text.len != 0 && (text.ptr[text.len] & 0xc0) == 0x80) {
        text.len--;
    }
    return text;
}

/* Blanks at either end are escaped too: they would be trimmed as header white space. */
static bool text_bare(struct bytes text, size_t i)
{
    return text_plain(text.ptr[i]) && !(text.ptr[i] == ' ' && (i == 0 || i + 1 == text.len));
}

/*
 * With U+FFFD for each byte that belongs to no character: texts quote what peers sent, and clients
 * expect UTF-8.
 */
static struct bytes text_repair(struct arena *arena, struct bytes text)
{
    static const uint8_t replacement[] = {0xef, 0xbf, 0xbd};
    if (bytes_utf8(text, NULL)) {
        return text;
    }
    uint8_t *out = arena_alloc(arena, text.len * sizeof replacement);
    size_t len = 0;
    while (text.len != 0) {
        const size_t step = bytes_utf8_step(text);
        memcpy(out + len, step != 0 ? text.ptr : replacement,
               step != 0 ? step : sizeof replacement);
        len += step != 0 ? step : sizeof replacement;
        text.ptr += step != 0 ? step : 1;
        text.len -= step != 0 ? step : 1;
    }
    return bytes_of(out, len);
}

struct bytes text_encode(struct arena *arena, struct bytes text)
{
    static const char hex[] = "0123456789ABCDEF";
    text = text_cut(text_repair(arena, text_cut(text)));
    uint8_t *out = arena_alloc(arena, text.len * 3 + 1);
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        const uint8_t c = text.ptr[i];
        if (text_bare(text, i)) {
            out[len++] = c;
        } else {
            out[len++] = '%';
            out[len++] = (uint8_t)hex[c >> 4];
            out[len++] = (uint8_t)hex[c & 15];
        }
    }
    return bytes_of(out, len);
}

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    const uint8_t lower = c | 0x20;
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

struct bytes text_decode(struct arena *arena, struct bytes text)
{
    uint8_t *out = arena_alloc(arena, text.len + 1);
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        const bool escape = text.ptr[i] == '%' && i + 2 < text.len &&
                            hex_value(text.ptr[i + 1]) >= 0 && hex_value(text.ptr[i + 2]) >= 0;
        if (escape) {
            out[len++] = (uint8_t)(hex_value(text.ptr[i + 1]) * 16 + hex_value(text.ptr[i + 2]));
            i += 2;
        } else {
            out[len++] = text.ptr[i];
        }
    }
    return bytes_of(out, len);
}

uint32_t status_parse(struct bytes value)
{
    if (value.len == 0 || value.len > 2) {
        return RPC_STATUS_UNKNOWN;
    }
    uint32_t status = 0;
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] < '0' || value.ptr[i] > '9') {
            return RPC_STATUS_UNKNOWN;
        }
        status = status * 10 + (uint32_t)(value.ptr[i] - '0');
    }
    return status <= 16 ? status : RPC_STATUS_UNKNOWN;
}

bool rpc_header_text_ok(struct bytes value)
{
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] < 0x20 || value.ptr[i] > 0x7e) {
            return false;
        }
    }
    return value.len == 0 || (value.ptr[0] != ' ' && value.ptr[value.len - 1] != ' ');
}
