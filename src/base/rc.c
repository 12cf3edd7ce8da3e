/* base/rc.c - the code table and FAIL. */
#include "base/rc.h"

#include <stdarg.h>
#include <stdio.h>

struct code_row {
    uint32_t grpc;
    bool retry;
    const char *name;
};

static const struct code_row code_rows[] = {
#define SILO_CODE_ROW(id, grpc_, retry_, text_) \
    [SILO_##id] = {.grpc = (grpc_), .retry = (retry_), .name = (text_)},
    SILO_CODES(SILO_CODE_ROW)
#undef SILO_CODE_ROW
};

silo_rc silo_fail(struct silo_err *err, enum silo_code code, const char *where, const char *fmt,
                  ...)
{
    if (err != NULL) {
        err->code = code;
        err->where = where;
        va_list ap;
        va_start(ap, fmt);
        (void)vsnprintf(err->text, sizeof err->text, fmt, ap);
        va_end(ap);
    }
    return (silo_rc){code};
}

uint32_t silo_code_grpc(enum silo_code code)
{
    return code_rows[code].grpc;
}

bool silo_code_retries(enum silo_code code)
{
    return code_rows[code].retry;
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
