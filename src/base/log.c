/*
 * base/log.c - formatting of log lines. Text values with blanks, quotes or controls are quoted as
 * in JSON.
 *
 * Values come from clients, stores and peers, so nothing about them is taken for granted. Whatever
 * they hold, a line is one line of well-formed UTF-8, and in JSON one object: a value is cut
 * between characters and closed, and a field that no longer fits is left out whole.
 */
#include "base/log.h"

#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static struct {
    int fd;
    bool json;
    atomic_int level; /* relaxed: a change of level may take effect a line later */
} log_state = {.fd = 2, .level = LOG_INFO};

static const char *const log_level_names[] = {"debug", "info", "warn", "error", "off"};

#define CHAR_REPLACEMENT 0xfffdu    /* stands for a byte that belongs to no character */
#define CHAR_TEXT_MAX 24u           /* one character escaped, or one number */
#define LOG_ELLIPSIS "\xe2\x80\xa6" /* U+2026 */
#define LOG_CUT_BYTES 5u            /* two quotes and the ellipsis */

/* One line of the log as it is being written. */
struct log_text {
    char text[LOG_LINE_MAX];
    size_t len;
};

void log_init(int fd, bool json, enum log_level level)
{
    log_state.fd = fd;
    log_state.json = json;
    log_set_level(level);
}

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&log_state.level, (int)level, memory_order_relaxed);
}

bool log_enabled(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&log_state.level, memory_order_relaxed);
}

bool log_level_parse(struct bytes name, enum log_level *ret_level)
{
    for (int i = 0; i <= LOG_OFF; i++) {
        if (bytes_eq(name, bytes_str(log_level_names[i]))) {
            *ret_level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

static size_t log_text_room(const struct log_text *line)
{
    /* The last bytes stay free for the closing brace and the line feed. */
    return sizeof line->text - 2 - line->len;
}

/*
 * Appends; the caller has seen to it that there is room. What does not fit is left out, never
 * overrun.
 */
static void log_text_put(struct log_text *line, const char *text, size_t len)
{
    const size_t room = log_text_room(line);
    const size_t n = len < room ? len : room;
    memcpy(line->text + line->len, text, n);
    line->len += n;
}

static void log_text_str(struct log_text *line, const char *text)
{
    log_text_put(line, text, strlen(text));
}

/* Characters that end a line, or move a terminal's cursor, for some reader. */
static bool char_is_control(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0x2028 || c == 0x2029;
}

/* The character of a well-formed sequence. */
static uint32_t char_of(const uint8_t *p, size_t step)
{
    if (step == 1) {
        return p[0];
    }
    uint32_t c = p[0] & (0x7fu >> step);
    for (size_t i = 1; i < step; i++) {
        c = c << 6 | (p[i] & 0x3fu);
    }
    return c;
}

/*
 * How the first character of b is written inside quotes; moves b past it. What is no character
 * becomes U+FFFD.
 */
static size_t char_escape(struct bytes *b, char ret_text[CHAR_TEXT_MAX])
{
    const size_t step = bytes_utf8_step(*b);
    const uint32_t c = step != 0 ? char_of(b->ptr, step) : CHAR_REPLACEMENT;
    size_t len = 0;
    if (step == 0 || char_is_control(c)) {
        len = (size_t)snprintf(ret_text, CHAR_TEXT_MAX, "\\u%04x", c);
    } else {
        if (c == '"' || c == '\\') {
            ret_text[len++] = '\\';
        }
        memcpy(ret_text + len, b->ptr, step);
        len += step;
    }
    b->ptr += step != 0 ? step : 1;
    b->len -= step != 0 ? step : 1;
    return len;
}

/*
 * The value in quotes, in at most `room` bytes (at least LOG_CUT_BYTES): cut between characters, an
 * ellipsis says so.
 */
static void log_text_quoted(struct log_text *line, struct bytes b, size_t room)
{
    size_t left = room - LOG_CUT_BYTES;
    log_text_str(line, "\"");
    while (b.len != 0) {
        char text[CHAR_TEXT_MAX];
        const size_t len = char_escape(&b, text);
        if (len > left) {
            log_text_str(line, LOG_ELLIPSIS);
            break;
        }
        log_text_put(line, text, len);
        left -= len;
    }
    log_text_str(line, "\"");
}

/*
 * Whether the text may stand without quotes: characters only, none of which means something in a
 * line.
 */
static bool text_is_plain(struct bytes b)
{
    if (b.len == 0) {
        return false;
    }
    while (b.len != 0) {
        const size_t step = bytes_utf8_step(b);
        const uint32_t c = step != 0 ? char_of(b.ptr, step) : ' ';
        if (c == ' ' || c == '"' || c == '\\' || c == '=' || char_is_control(c)) {
            return false;
        }
        b.ptr += step;
        b.len -= step;
    }
    return true;
}

/* A field is there whole, with its value cut at worst, or not at all. */
static void log_text_field(struct log_text *line, const struct log_field *field, bool json)
{
    const size_t key_bytes = strlen(field->key) + sizeof ",\"\":";
    if (log_text_room(line) < key_bytes + LOG_CUT_BYTES + CHAR_TEXT_MAX) {
        return;
    }
    log_text_str(line, json ? ",\"" : " ");
    log_text_str(line, field->key);
    log_text_str(line, json ? "\":" : "=");
    if (field->kind == LOG_KIND_INT) {
        char num[CHAR_TEXT_MAX];
        log_text_put(line, num, (size_t)snprintf(num, sizeof num, "%lld", field->value.num));
        return;
    }
    const struct bytes b =
        field->kind == LOG_KIND_STR ? bytes_str(field->value.str) : field->value.bytes;
    const size_t room = log_text_room(line) < LOG_VALUE_MAX ? log_text_room(line) : LOG_VALUE_MAX;
    if (!json && b.len <= room && text_is_plain(b)) {
        log_text_put(line, (const char *)b.ptr, b.len);
    } else {
        log_text_quoted(line, b, room);
    }
}

static void log_text_head(struct log_text *line, enum log_level level, const char *event, bool json)
{
    struct timespec ts;
    struct tm tm;
    (void)clock_gettime(CLOCK_REALTIME, &ts);
    (void)gmtime_r(&ts.tv_sec, &tm);
    char head[96];
    const int n =
        snprintf(head, sizeof head, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ", tm.tm_year + 1900,
                 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, ts.tv_nsec / 1000000);
    if (json) {
        log_text_str(line, "{\"timestamp\":\"");
        log_text_put(line, head, (size_t)n);
        log_text_str(line, "\",\"level\":\"");
        log_text_str(line, log_level_names[level]);
        log_text_str(line, "\",\"event\":\"");
        log_text_str(line, event);
        log_text_str(line, "\"");
    } else {
        log_text_put(line, head, (size_t)n);
        log_text_put(line, head,
                     (size_t)snprintf(head, sizeof head, " %-5s ", log_level_names[level]));
        log_text_str(line, event);
    }
}

void log_line(enum log_level level, const char *event, const struct log_field *fields)
{
    struct log_text line = {.len = 0};
    log_text_head(&line, level, event, log_state.json);
    for (; fields->kind != LOG_KIND_END; fields++) {
        log_text_field(&line, fields, log_state.json);
    }
    if (log_state.json) {
        line.text[line.len++] = '}';
    }
    line.text[line.len++] = '\n';
    /* A log that cannot be written must not stop the program. */
    const ssize_t written = write(log_state.fd, line.text, line.len);
    (void)written;
}
