/* base/rc.c - the code table and FAIL. */
#include "base/rc.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/bytes.h"

struct code_row {
    uint32_t grpc;
    const char *name;
};

static const struct code_row code_rows[] = {
#define SILO_CODE_ROW(id, grpc_, text_) [SILO_##id] = {.grpc = (grpc_), .name = (text_)},
    SILO_CODES(SILO_CODE_ROW)
#undef SILO_CODE_ROW
};

/* The text filled its buffer, so its last character may have been cut in two: then it goes. */
static void text_drop_half_character(char text[SILO_ERR_TEXT_MAX])
{
    const size_t len = SILO_ERR_TEXT_MAX - 1;
    const uint8_t *p = (const uint8_t *)text;
    size_t at = len - 1;
    while (at != 0 && (p[at] & 0xc0) == 0x80) {
        at--;
    }
    if (p[at] >= 0x80 && at + bytes_utf8_step(bytes_of(p + at, len - at)) != len) {
        text[at] = '\0';
    }
}

silo_rc silo_fail(struct silo_err *err, enum silo_code code, const char *where, const char *fmt,
                  ...)
{
    if (err != NULL) {
        err->code = code;
        err->where = where;
        va_list ap;
        va_start(ap, fmt);
        const int len = vsnprintf(err->text, sizeof err->text, fmt, ap);
        va_end(ap);
        if (len >= (int)sizeof err->text) {
            text_drop_half_character(err->text);
        }
    }
    return (silo_rc){code};
}

uint32_t silo_code_grpc(enum silo_code code)
{
    return code_rows[code].grpc;
}

const char *silo_code_name(enum silo_code code)
{
    return code_rows[code].name;
}

const char *grpc_status_name(uint32_t status)
{
    static const char *const names[] = {
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    };
    return status < sizeof names / sizeof names[0] ? names[status] : "UNKNOWN";
}
