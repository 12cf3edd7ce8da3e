/*
 * config/print_test.c - the printed configuration is one that can be loaded, and keeps secrets to
 * itself.
 */
#include "config/testing_int.h"

static void printed_text_loads_to_the_same(void **state)
{
    (void)state;
    static const char *const none[] = {NULL};
    const struct config_env env = pairs_env(none);
    const struct bytes toml =
        BYTES_LIT("[server]\nexecutors = 2\nio_loops = 3\n"
                  "[coordination]\nnode_id = \"a\\\"b\\\\\"\nplacement_rings = ['x', 'y']\n"
                  "[database]\nbackend = 'memory'\npath = 'm'\ndispatch_order = 'start'\n"
                  "[database.wal]\nbackend = 'fs'\npath = '/w/%shard%'\n"
                  "[database.slatedb]\nflush_interval = '250us'\n");
    struct silo_config first;
    struct silo_config second;
    struct config_warnings warnings;
    struct silo_err err;
    struct arena arena;
    arena_init(&arena);
    assert_int_equal(config_parse(toml, "t", &env, &first, &warnings, &err).code, SILO_OK);
    const char *once = config_print(&arena, &first);
    assert_int_equal(config_parse(bytes_str(once), "t", &env, &second, &warnings, &err).code,
                     SILO_OK);
    const char *twice = config_print(&arena, &second);
    assert_string_equal(once, twice);
    assert_non_null(strstr(once, "node_id = \"a\\\"b\\\\\""));
    assert_non_null(strstr(once, "flush_interval = \"250us\""));
    assert_null(strstr(once, "[webui]")); /* what has no effect is not in effect */
    config_deinit(&first);
    config_deinit(&second);
    arena_deinit(&arena);
}

static void secrets_are_hidden(void **state)
{
    (void)state;
    static const char *const none[] = {NULL};
    const struct config_env env = pairs_env(none);
    struct silo_config config;
    struct config_warnings warnings;
    struct arena arena;
    arena_init(&arena);
    assert_int_equal(
        config_parse(
            BYTES_LIT("[server]\nauth_token = 'hush-hush'\n[database.slatedb]\nl0_max_ssts = 9\n"),
            "t", &env, &config, &warnings, NULL)
            .code,
        SILO_OK);
    const char *text = config_print(&arena, &config);
    assert_null(strstr(text, "hush-hush"));
    assert_non_null(strstr(text, "auth_token = \"(hidden)\""));
    assert_non_null(strstr(text, "{\"l0_max_ssts\":9}"));
    config_deinit(&config);
    arena_deinit(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(printed_text_loads_to_the_same),
        cmocka_unit_test(secrets_are_hidden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
