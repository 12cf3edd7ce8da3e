/*
 * config/keys_test.c - the table itself, the nearest key, and that the reference page lists every
 * key.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "config/testing_int.h"

#define PAGE_BYTES_MAX (256u * 1024)

static void paths_are_unique_and_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < config_keys_count; i++) {
        assert_ptr_equal(config_key_find(config_keys[i].path), &config_keys[i]);
        assert_non_null(strchr(config_keys[i].path, '.'));
        assert_true(strlen(config_keys[i].path) < CONFIG_KEY_PATH_MAX);
        assert_false(config_table_known(config_keys[i].path));
    }
    assert_null(config_key_find("server"));
    assert_true(config_table_known("server"));
    assert_true(config_table_known("database.wal"));
    assert_false(config_table_known("serve"));
}

static void nearest_keys(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"server.grpc_adr", "server.grpc_addr"},
        {"server.grpcaddr", "server.grpc_addr"},
        {"database.bakend", "database.backend"},
        {"database.pth", "database.path"},
        {"server.backend", "coordination.backend"},
        {"loging.level", "logging.level"},
        {"num_shards", "coordination.initial_shard_count"},
        {"database.num_shards", "coordination.initial_shard_count"},
        {"metrics.adr", "metrics.addr"},
        {"server.keepalive", "server.keepalive_time_ms"},
        {"coordination.etcd", "coordination.etcd_endpoints"},
        {"server.path", "database.path"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_string_equal(config_key_nearest(cases[i][0])->path, cases[i][1]);
    }
    assert_null(config_key_nearest(""));
    assert_null(config_key_nearest("server.frobnicate"));
    char giant[500];
    memset(giant, 'x', sizeof giant - 1);
    giant[sizeof giant - 1] = '\0';
    assert_null(config_key_nearest(giant));
}

static void nearest_tables(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"servers", "server"},
        {"databse", "database"},
        {"database.wall", "database.wal"},
        {"coordinaton", "coordination"},
        {"log", NULL},
        {"nonsense", NULL},
        {"loging", "logging"},
        {"gubernetor", "gubernator"},
        {"", NULL},
    };
    struct arena arena;
    arena_init(&arena);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *table = config_table_nearest(&arena, cases[i][0]);
        if (cases[i][1] == NULL) {
            assert_null(table);
        } else {
            assert_non_null(table);
            assert_string_equal(table, cases[i][1]);
        }
    }
    arena_deinit(&arena);
}

static void values_in_vain(void **state)
{
    (void)state;
    struct silo_config config = {0};
    arena_init(&config.arena);
    config_keys_set_defaults(&config);
    for (size_t i = 0; i < config_keys_count; i++) {
        const struct config_key *key = &config_keys[i];
        const bool on = key->flags == CONFIG_LATER_OFF;
        if ((key->flags & CONFIG_LATER) != 0) {
            assert_int_equal(config_key_in_vain(key, &config), on);
        } else {
            assert_false(config_key_in_vain(key, &config));
        }
    }
    static const char *const changed[][2] = {{"webui.addr", "127.0.0.1:9"},
                                             {"coordination.k8s_namespace", "x"},
                                             {"database.apply_wal_on_close", "false"}};
    for (size_t i = 0; i < sizeof changed / sizeof changed[0]; i++) {
        const struct config_key *key = config_key_find(changed[i][0]);
        assert_int_equal(config_key_set_text(key, &config, changed[i][1], NULL).code, SILO_OK);
        assert_true(config_key_in_vain(key, &config));
    }
    const struct config_key *webui = config_key_find("webui.enabled");
    assert_int_equal(config_key_set_bool(webui, &config, false, NULL).code, SILO_OK);
    assert_false(config_key_in_vain(webui, &config));
    config_deinit(&config);
}

/* The value of the member of a table row, as the page must show it. */
static void row_expected(const struct config_key *key, char *ret_row, size_t size)
{
    assert_true(snprintf(ret_row, size, "| `%s` |", key->path) < (int)size);
}

static void the_reference_page_lists_every_key_with_its_default(void **state)
{
    (void)state;
    char path[1024];
    const char *root = getenv("SILO_SOURCE_DIR");
    if (root == NULL) {
        skip();
    }
    assert_true(snprintf(path, sizeof path, "%s/docs/reference/configuration.md", root) <
                (int)sizeof path);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    char *page = calloc(1, PAGE_BYTES_MAX);
    assert_true(read(fd, page, PAGE_BYTES_MAX - 1) > 0);
    (void)close(fd);
    for (size_t i = 0; i < config_keys_count; i++) {
        const struct config_key *key = &config_keys[i];
        char row[CONFIG_KEY_PATH_MAX + 16];
        row_expected(key, row, sizeof row);
        const char *at = strstr(page, row);
        if (at == NULL) {
            fail_msg("docs/reference/configuration.md has no row for %s", key->path);
            return;
        }
        const char *end = strchr(at, '\n');
        const char *fallback =
            key->fallback != NULL && *key->fallback != '\0' ? strstr(at, key->fallback) : at;
        if (fallback == NULL || fallback > end) {
            fail_msg("docs/reference/configuration.md does not give the default %s of %s",
                     key->fallback, key->path);
        }
        const char *later = strstr(at, "not in this version");
        assert_int_equal((key->flags & CONFIG_LATER) != 0, later != NULL && later < end);
    }
    free(page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_are_unique_and_found),
        cmocka_unit_test(nearest_keys),
        cmocka_unit_test(nearest_tables),
        cmocka_unit_test(values_in_vain),
        cmocka_unit_test(the_reference_page_lists_every_key_with_its_default),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
