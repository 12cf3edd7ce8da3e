/*
 * base/log_property_test.c - whatever is logged, a line is one line of UTF-8, and as JSON one
 * object.
 */
#include "base/log.h"

#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/test.h"

#define ROUNDS 20000
#define VALUE_BYTES_MAX (LOG_LINE_MAX + 64)
#define FIELDS_MAX 8

static int pipe_fds[2];

static int setup(void **state)
{
    (void)state;
    srandom(11);
    return pipe(pipe_fds);
}

static int teardown(void **state)
{
    (void)state;
    log_init(2, false, LOG_INFO);
    (void)close(pipe_fds[0]);
    (void)close(pipe_fds[1]);
    return 0;
}

static struct bytes read_line(char ret_line[2 * LOG_LINE_MAX])
{
    const ssize_t got = read(pipe_fds[0], ret_line, 2 * LOG_LINE_MAX - 1);
    assert_true(got > 0 && got <= LOG_LINE_MAX);
    ret_line[got] = '\0';
    return bytes_of(ret_line, (size_t)got);
}

/*
 * Exactly one line feed, at the end; no character that some reader takes for a line's end or obeys.
 */
static void check_line(struct bytes line)
{
    assert_true(bytes_utf8(line, NULL));
    assert_ptr_equal(memchr(line.ptr, '\n', line.len), line.ptr + line.len - 1);
    for (size_t i = 0; i + 1 < line.len; i++) {
        const uint8_t *p = line.ptr + i;
        assert_true(p[0] >= 0x20 && p[0] != 0x7f);
        assert_false(p[0] == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f);
        assert_false(i + 2 < line.len && p[0] == 0xe2 && p[1] == 0x80 &&
                     (p[2] == 0xa8 || p[2] == 0xa9));
    }
}

/* Bytes of every kind: noise, text, characters of each length, what has to be escaped. */
static size_t fill(uint8_t *to)
{
    static const char *const pieces[] = {"a",    "\"",       "\\",           " ",
                                         "\n",   "\xc2\x85", "\xe2\x80\xa8", "\xe2\x82\xac",
                                         "\x7f", "\xff",     "\xc3\xa4",     "\xf0\x9f\x98\x80"};
    const size_t want = (size_t)random() % (random() % 8 == 0 ? VALUE_BYTES_MAX : 48);
    const long kind = random() % 4;
    size_t len = 0;
    while (len < want) {
        const struct bytes piece =
            bytes_str(pieces[random() % (long)(sizeof pieces / sizeof pieces[0])]);
        if (kind == 0) {
            to[len++] = (uint8_t)random();
        } else if (kind == 1) {
            to[len++] = 'x';
        } else if (len + piece.len <= want) {
            memcpy(to + len, piece.ptr, piece.len);
            len += piece.len;
        } else {
            break;
        }
    }
    return len;
}

/* One line of random fields, and the fields it was made of. */
static void log_random(struct log_field fields[FIELDS_MAX + 1], uint8_t (*values)[VALUE_BYTES_MAX])
{
    static const char *const keys[FIELDS_MAX] = {"a", "bb", "ccc", "d", "e", "f", "g", "h"};
    const size_t count = (size_t)random() % (FIELDS_MAX + 1);
    for (size_t i = 0; i < count; i++) {
        fields[i] = random() % 5 == 0 ? LOG_INT(keys[i], random() - random())
                                      : LOG_BYTES(keys[i], bytes_of(values[i], fill(values[i])));
    }
    fields[count] = LOG_END;
    log_line(LOG_ERROR, "event", fields);
}

static void text_stays_one_line(void **state)
{
    (void)state;
    static uint8_t values[FIELDS_MAX][VALUE_BYTES_MAX];
    struct log_field fields[FIELDS_MAX + 1];
    char line[2 * LOG_LINE_MAX];
    log_init(pipe_fds[1], false, LOG_INFO);
    for (int round = 0; round < ROUNDS; round++) {
        log_random(fields, values);
        check_line(read_line(line));
    }
}

/* A value that fits and is text comes back as it was. */
static void check_value(const struct log_field *field, const json_t *value)
{
    if (field->kind == LOG_KIND_INT) {
        assert_int_equal(json_integer_value(value), field->value.num);
        return;
    }
    const struct bytes b = field->value.bytes;
    assert_true(json_is_string(value));
    const char *text = json_string_value(value);
    const size_t len = json_string_length(value);
    if (bytes_utf8(b, NULL) && b.len * 6 < LOG_VALUE_MAX) {
        assert_int_equal(len, b.len);
        assert_memory_equal(text, b.ptr, len);
    } else if (bytes_utf8(b, NULL) && len != b.len) { /* cut: a beginning, and the ellipsis */
        assert_true(len >= 3 && len - 3 < b.len);
        assert_memory_equal(text, b.ptr, len - 3);
        assert_memory_equal(text + len - 3, "\xe2\x80\xa6", 3);
    }
}

static void json_stays_one_object(void **state)
{
    (void)state;
    static uint8_t values[FIELDS_MAX][VALUE_BYTES_MAX];
    struct log_field fields[FIELDS_MAX + 1];
    char line[2 * LOG_LINE_MAX];
    log_init(pipe_fds[1], true, LOG_INFO);
    for (int round = 0; round < ROUNDS; round++) {
        log_random(fields, values);
        const struct bytes b = read_line(line);
        check_line(b);
        json_t *root =
            json_loadb((const char *)b.ptr, b.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
        assert_non_null(root);
        for (size_t i = 0; fields[i].kind != LOG_KIND_END; i++) {
            const json_t *value = json_object_get(root, fields[i].key);
            if (value != NULL) {
                check_value(&fields[i], value);
            } else { /* left out, because the line was nearly full */
                assert_true(b.len > LOG_LINE_MAX - LOG_VALUE_MAX);
            }
        }
        json_decref(root);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(text_stays_one_line, setup, teardown),
        cmocka_unit_test_setup_teardown(json_stays_one_object, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
