/*
 * base/log.h - structured log lines: an event name and key=value pairs, as text or as JSON, one
 * line each, on stderr.
 *
 * A line is formatted into a stack buffer and leaves in one write(2). No payloads, no tokens. The
 * place that decides what to do about an error logs it, once.
 *
 *     log_info("shard_opened", LOG_STR("shard", id), LOG_INT("jobs", count), LOG_END);
 *
 * Threads    any; log_init before the first thread starts. log_set_level may be called at any time.
 * Limits     LOG_LINE_MAX bytes a line, LOG_VALUE_MAX a value as written; a longer value is cut
 *            between characters and ends with an ellipsis, a field that does not fit any more is
 *            left out. Keys and event names are ours: literals of letters, digits and underscores.
 *            Values may be any bytes.
 */
#ifndef SILO_BASE_LOG_H
#define SILO_BASE_LOG_H

#include <stdbool.h>

#include "base/bytes.h"

#define LOG_LINE_MAX 4096
#define LOG_VALUE_MAX 1024 /* so that one long text does not push out the fields after it */

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_OFF };

enum log_kind { LOG_KIND_END, LOG_KIND_STR, LOG_KIND_BYTES, LOG_KIND_INT };

struct log_field {
    enum log_kind kind;
    const char *key;
    union {
        const char *str;
        struct bytes bytes;
        long long num;
    } value;
};

#define LOG_STR(key_, v) ((struct log_field){.kind = LOG_KIND_STR, .key = (key_), .value.str = (v)})
#define LOG_BYTES(key_, v) \
    ((struct log_field){.kind = LOG_KIND_BYTES, .key = (key_), .value.bytes = (v)})
#define LOG_INT(key_, v) \
    ((struct log_field){.kind = LOG_KIND_INT, .key = (key_), .value.num = (long long)(v)})
#define LOG_END ((struct log_field){.kind = LOG_KIND_END})

/* json: one JSON object a line. Lines go to fd. */
void log_init(int fd, bool json, enum log_level level);
void log_set_level(enum log_level level);
bool log_enabled(enum log_level level);
/* "debug", "info", "warn", "error", "off"; false for anything else. */
bool log_level_parse(struct bytes name, enum log_level *ret_level);
/* fields end with LOG_END. */
void log_line(enum log_level level, const char *event, const struct log_field *fields);

#define LOG_AT(level, event, ...)                                                \
    do {                                                                         \
        if (log_enabled(level)) {                                                \
            log_line((level), (event), (const struct log_field[]){__VA_ARGS__}); \
        }                                                                        \
    } while (0)
#define log_debug(event, ...) LOG_AT(LOG_DEBUG, event, __VA_ARGS__)
#define log_info(event, ...) LOG_AT(LOG_INFO, event, __VA_ARGS__)
#define log_warn(event, ...) LOG_AT(LOG_WARN, event, __VA_ARGS__)
#define log_error(event, ...) LOG_AT(LOG_ERROR, event, __VA_ARGS__)

#endif
