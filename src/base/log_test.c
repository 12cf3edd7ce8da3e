/* base/log_test.c - what a line looks like, as text and as JSON, and what never gets out. */
#include "base/log.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/test.h"

static int pipe_fds[2];

static int setup(void **state)
{
    (void)state;
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

/* The one line that was logged. */
static void read_line(char ret_line[2 * LOG_LINE_MAX])
{
    const ssize_t got = read(pipe_fds[0], ret_line, 2 * LOG_LINE_MAX - 1);
    assert_true(got > 0);
    ret_line[got] = '\0';
}

static void text_lines(void **state)
{
    (void)state;
    char line[2 * LOG_LINE_MAX];
    log_init(pipe_fds[1], false, LOG_INFO);
    log_debug("not_this", LOG_END);
    log_warn("shard_opened", LOG_STR("shard", "a1"), LOG_INT("jobs", -5),
             LOG_STR("why", "two words"), LOG_BYTES("raw", BYTES_LIT("q\"\n")), LOG_END);
    read_line(line);
    assert_int_equal(line[4], '-');
    assert_string_equal(
        strchr(line, 'Z'),
        "Z warn  shard_opened shard=a1 jobs=-5 why=\"two words\" raw=\"q\\\"\\u000a\"\n");
}

static void json_lines(void **state)
{
    (void)state;
    char line[2 * LOG_LINE_MAX];
    log_init(pipe_fds[1], true, LOG_DEBUG);
    log_debug("e", LOG_STR("k", "v\\"), LOG_INT("n", 7), LOG_END);
    read_line(line);
    assert_memory_equal(line, "{\"timestamp\":\"", 14);
    assert_string_equal(strstr(line, "\"level\""),
                        "\"level\":\"debug\",\"event\":\"e\",\"k\":\"v\\\\\",\"n\":7}\n");
}

static void long_values_are_cut_and_the_line_still_ends(void **state)
{
    (void)state;
    char line[2 * LOG_LINE_MAX];
    char *value = malloc(3 * LOG_LINE_MAX);
    memset(value, 'x', 3 * LOG_LINE_MAX - 1);
    value[3 * LOG_LINE_MAX - 1] = '\0';
    log_init(pipe_fds[1], true, LOG_INFO);
    log_error("e", LOG_STR("k", value), LOG_END);
    read_line(line);
    const size_t len = strlen(line);
    assert_true(len <= LOG_LINE_MAX);
    assert_string_equal(line + len - 3, "\"}\n");
    free(value);
}

static void levels(void **state)
{
    (void)state;
    enum log_level level = LOG_INFO;
    assert_true(log_level_parse(BYTES_LIT("error"), &level));
    assert_int_equal(level, LOG_ERROR);
    assert_true(log_level_parse(BYTES_LIT("off"), &level));
    assert_false(log_level_parse(BYTES_LIT("verbose"), &level));
    assert_int_equal(level, LOG_OFF);
    log_set_level(LOG_OFF);
    assert_false(log_enabled(LOG_ERROR));
    log_set_level(LOG_WARN);
    assert_true(log_enabled(LOG_WARN));
    assert_false(log_enabled(LOG_INFO));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(text_lines, setup, teardown),
        cmocka_unit_test_setup_teardown(json_lines, setup, teardown),
        cmocka_unit_test_setup_teardown(long_values_are_cut_and_the_line_still_ends, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(levels, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
