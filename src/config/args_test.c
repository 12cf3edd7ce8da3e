/* config/args_test.c - the command line. */
#include <stdio.h>

#include "config/testing_int.h"

#define ARGV(...) ((char *[]){(char *)"silo", __VA_ARGS__, NULL})

static SILO_RC parse(char **argv, struct config_args *ret_args, struct silo_err *err)
{
    int argc = 0;
    while (argv[argc] != NULL) {
        argc++;
    }
    return config_args_parse(argc, argv, ret_args, err);
}

static void accepted(void **state)
{
    (void)state;
    struct config_args args = {0};
    assert_int_equal(parse((char *[]){(char *)"silo", NULL}, &args, NULL).code, SILO_OK);
    assert_int_equal(args.action, CONFIG_RUN);
    assert_null(args.path);
    assert_int_equal(parse(ARGV((char *)"-c", (char *)"a.toml", (char *)"-v"), &args, NULL).code,
                     SILO_OK);
    assert_string_equal(args.path, "a.toml");
    assert_int_equal(
        parse(ARGV((char *)"--config=b.toml", (char *)"--check-config"), &args, NULL).code,
        SILO_OK);
    assert_string_equal(args.path, "b.toml");
    assert_int_equal(args.action, CONFIG_CHECK);
    assert_int_equal(parse(ARGV((char *)"--version"), &args, NULL).code, SILO_OK);
    assert_int_equal(args.action, CONFIG_VERSION);
    assert_int_equal(parse(ARGV((char *)"--help"), &args, NULL).code, SILO_OK);
    assert_int_equal(args.action, CONFIG_HELP);
}

static void refused(void **state)
{
    (void)state;
    struct config_args args = {.action = CONFIG_RUN};
    struct silo_err err = {0};
    assert_int_equal(parse(ARGV((char *)"--confg", (char *)"a"), &args, &err).code, SILO_INVALID);
    assert_non_null(strstr(err.text, "--confg"));
    assert_int_equal(parse(ARGV((char *)"-c"), &args, &err).code, SILO_INVALID);
    assert_non_null(strstr(err.text, "needs a value"));
    assert_int_equal(parse(ARGV((char *)"extra"), &args, &err).code, SILO_INVALID);
    assert_non_null(strstr(err.text, "extra"));
}

static void help_names_every_setting_and_the_variables(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    const char *help = config_help(&arena, "silo");
    static const char *const wanted[] = {"--config",
                                         "--check-config",
                                         "SILO_LOG",
                                         "AWS_",
                                         "server.grpc_addr",
                                         "127.0.0.1:50051",
                                         "./silo-data/%shard%",
                                         "database.dispatch_order"};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        assert_non_null(strstr(help, wanted[i]));
    }
    const char *later = strstr(help, "not in this version");
    const char *ignored = strstr(help, "Settings of other servers");
    assert_non_null(later);
    assert_non_null(ignored);
    for (size_t i = 0; i < config_keys_count; i++) {
        const struct config_key *key = &config_keys[i];
        char line[CONFIG_KEY_PATH_MAX + 8];
        (void)snprintf(line, sizeof line, "\n  %s", key->path);
        const char *at = strstr(help, line);
        if (at == NULL) {
            fail_msg("--help does not list %s", key->path);
            return;
        }
        assert_int_equal(at > later,
                         (key->flags & CONFIG_LATER) != 0 || key->type == CONFIG_T_IGNORED);
        assert_int_equal(at > ignored, key->type == CONFIG_T_IGNORED);
    }
    arena_deinit(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepted),
        cmocka_unit_test(refused),
        cmocka_unit_test(help_names_every_setting_and_the_variables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
