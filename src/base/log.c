/* base/log.c - formatting of log lines. Text values with blanks, quotes or controls are quoted as in JSON. */
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

struct line {
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

static void line_put(struct line *line, const char *text, size_t len)
{
    /* The last bytes stay free for the closing brace and the line feed. */
    const size_t room = sizeof line->text - 3 - line->len;
    const size_t n = len < room ? len : room;
    memcpy(line->text + line->len, text, n);
    line->len += n;
}

static void line_str(struct line *line, const char *text)
{
    line_put(line, text, strlen(text));
}

static void line_escaped(struct line *line, struct bytes b)
{
    line_str(line, "\"");
    for (size_t i = 0; i < b.len && sizeof line->text - line->len > 16; i++) {
        const uint8_t c = b.ptr[i];
        char esc[8];
        if (c == '"' || c == '\\') {
            esc[0] = '\\';
            esc[1] = (char)c;
            line_put(line, esc, 2);
        } else if (c < 0x20 || c == 0x7f) {
            line_put(line, esc, (size_t)snprintf(esc, sizeof esc, "\\u%04x", c));
        } else {
            line_put(line, (const char *)&b.ptr[i], 1);
        }
    }
    line_str(line, "\"");
}

static bool text_is_plain(struct bytes b)
{
    for (size_t i = 0; i < b.len; i++) {
        if (b.ptr[i] <= ' ' || b.ptr[i] == '"' || b.ptr[i] == '\\' || b.ptr[i] == '=' ||
            b.ptr[i] == 0x7f) {
            return false;
        }
    }
    return b.len != 0;
}

static void line_field(struct line *line, const struct log_field *field, bool json)
{
    if (json) {
        line_str(line, ",\"");
        line_str(line, field->key);
        line_str(line, "\":");
    } else {
        line_str(line, " ");
        line_str(line, field->key);
        line_str(line, "=");
    }
    if (field->kind == LOG_KIND_INT) {
        char num[24];
        line_put(line, num, (size_t)snprintf(num, sizeof num, "%lld", field->value.num));
        return;
    }
    const struct bytes b =
        field->kind == LOG_KIND_STR ? bytes_str(field->value.str) : field->value.bytes;
    if (!json && text_is_plain(b)) {
        line_put(line, (const char *)b.ptr, b.len);
    } else {
        line_escaped(line, b);
    }
}

static void line_head(struct line *line, enum log_level level, const char *event, bool json)
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
        line_str(line, "{\"timestamp\":\"");
        line_put(line, head, (size_t)n);
        line_str(line, "\",\"level\":\"");
        line_str(line, log_level_names[level]);
        line_str(line, "\",\"event\":\"");
        line_str(line, event);
        line_str(line, "\"");
    } else {
        line_put(line, head, (size_t)n);
        line_put(line, head, (size_t)snprintf(head, sizeof head, " %-5s ", log_level_names[level]));
        line_str(line, event);
    }
}

void log_line(enum log_level level, const char *event, const struct log_field *fields)
{
    struct line line = {.len = 0};
    line_head(&line, level, event, log_state.json);
    for (; fields->kind != LOG_KIND_END; fields++) {
        line_field(&line, fields, log_state.json);
    }
    if (log_state.json) {
        line.text[line.len++] = '}';
    }
    line.text[line.len++] = '\n';
    /* A log that cannot be written must not stop the program. */
    const ssize_t written = write(log_state.fd, line.text, line.len);
    (void)written;
}
