/* config/expand_test.c - variables, durations, placeholders. */
#include "config/testing_int.h"

static const char *const pairs[] = {"NAME",   "value",           "EMPTY", "",
                                    "INJECT", "x\"\n[server]\n", NULL};

static void variables(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"plain", "plain"},
        {"", ""},
        {"${NAME}", "value"},
        {"a-${NAME}-${NAME}-b", "a-value-value-b"},
        {"${NAME:-text}", "value"},
        {"${UNSET:-text}", "text"},
        {"${UNSET:-}", ""},
        {"${UNSET:-a:-b}", "a:-b"},
        {"${EMPTY:-text}", ""},
        {"$NAME", "$NAME"},
        {"$${NAME}", "$value"},
        {"a ${NAME", "a ${NAME"},
        {"${NAME} ${NAME", "value ${NAME"},
        {"${UNSET:-${NAME}}", "${NAME}"},
        {"${INJECT}", "x\"\n[server]\n"},
    };
    const struct config_env env = pairs_env(pairs);
    struct arena arena;
    arena_init(&arena);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *unset = "";
        assert_string_equal(config_expand_env(&arena, cases[i][0], &env, NULL, &unset),
                            cases[i][1]);
        assert_null(unset);
    }
    arena_deinit(&arena);
}

static void unset_variables_are_named(void **state)
{
    (void)state;
    const struct config_env env = pairs_env(pairs);
    const char *unset = NULL;
    bool expanded = false;
    struct arena arena;
    arena_init(&arena);
    assert_string_equal(config_expand_env(&arena, "a${FIRST}b${SECOND}", &env, &expanded, &unset),
                        "ab");
    assert_string_equal(unset, "FIRST");
    assert_true(expanded);
    assert_string_equal(config_expand_env(&arena, "none", &env, &expanded, &unset), "none");
    assert_false(expanded);
    assert_null(unset);
    arena_deinit(&arena);
}

static void durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t us;
    } good[] = {
        {"0ms", 0},          {"250us", 250},         {"100ms", 100000},
        {"5s", 5000000},     {"1m", 60000000},       {"1h", 3600000000},
        {"1m30s", 90000000}, {"1h 5ms", 3600005000}, {"2d", 172800000000},
    };
    static const char *const bad[] = {"",     "5",  "ms",   "5 s", "-5s",
                                      "1.5s", "5x", "5mss", "s5",  "99999999999d"};
    int64_t us = 0;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(config_duration_parse(good[i].text, &us));
        assert_int_equal(us, good[i].us);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(config_duration_parse(bad[i], &us));
    }
}

static void shard_placeholders(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    assert_string_equal(config_expand_shard(&arena, "%shard%/x/{shard}", "7"), "7/x/7");
    assert_string_equal(config_expand_shard(&arena, "%shard {shard", "7"), "%shard {shard");
    assert_string_equal(config_expand_shard(&arena, "", "7"), "");
    arena_deinit(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(variables),
        cmocka_unit_test(unset_variables_are_named),
        cmocka_unit_test(durations),
        cmocka_unit_test(shard_placeholders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
