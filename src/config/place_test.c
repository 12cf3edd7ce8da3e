/* config/place_test.c - where a template puts its shards, and templates that are refused. */
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "config/testing_int.h"

struct place_case {
    enum config_backend backend;
    const char *path, *url, *shard_path;
};

static void templates(void **state)
{
    (void)state;
    static const struct place_case cases[] = {
        {CONFIG_FS, "/var/lib/silo/%shard%", "file:///var/lib/silo", "%shard%"},
        {CONFIG_FS, "/var//lib/./silo/{shard}/", "file:///var/lib/silo", "%shard%"},
        {CONFIG_FS, "/%shard%/data", "file:///", "%shard%/data"},
        {CONFIG_FS, "/with blank/%shard%", "file:///with%20blank", "%shard%"},
        {CONFIG_S3, "s3://bucket/a/b/%shard%", "s3://bucket/a/b", "%shard%"},
        {CONFIG_S3, "s3://bucket/{shard}/x", "s3://bucket", "%shard%/x"},
        {CONFIG_S3, "s3://bucket", "s3://bucket", "%shard%"},
        {CONFIG_GCS, "gs://bucket/silo/", "gs://bucket/silo", "%shard%"},
        {CONFIG_URL, "http://127.0.0.1:9000/bucket/%shard%", "http://127.0.0.1:9000/bucket",
         "%shard%"},
        {CONFIG_MEMORY, "anything", "memory:///anything", "%shard%"},
        {CONFIG_MEMORY, "%shard%", "memory:///silo", "%shard%"},
        {CONFIG_MEMORY, "/tmp/x-%shard%", "memory:///tmp/x-", "%shard%"},
    };
    struct arena arena;
    arena_init(&arena);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct config_place place = {0};
        struct silo_err err = {0};
        const silo_rc rc =
            config_place_resolve(&arena, cases[i].backend, cases[i].path, "database", &place, &err);
        assert_int_equal(rc.code, SILO_OK);
        assert_true(place.set);
        assert_string_equal(place.url, cases[i].url);
        assert_string_equal(place.shard_path, cases[i].shard_path);
        assert_int_equal(place.directory != NULL, cases[i].backend == CONFIG_FS);
    }
    arena_deinit(&arena);
}

static void relative_paths_start_at_the_current_directory(void **state)
{
    (void)state;
    char cwd[PATH_MAX];
    char want[PATH_MAX + 16];
    struct config_place place = {0};
    struct arena arena;
    arena_init(&arena);
    assert_non_null(getcwd(cwd, sizeof cwd));
    (void)snprintf(want, sizeof want, "%s/silo-data", cwd);
    assert_int_equal(
        config_place_resolve(&arena, CONFIG_FS, "./silo-data/%shard%", "database", &place, NULL)
            .code,
        SILO_OK);
    assert_string_equal(place.directory, want);
    arena_deinit(&arena);
}

static void refused_templates(void **state)
{
    (void)state;
    static const struct place_case cases[] = {
        {CONFIG_FS, "/var/lib/silo", "whole segment", NULL},
        {CONFIG_FS, "/var/x-%shard%", "whole path segment", NULL},
        {CONFIG_FS, "/var/%shard%-x", "whole path segment", NULL},
        {CONFIG_FS, "/var/%shard%/%shard%", "more than once", NULL},
        {CONFIG_FS, "file:///var/%shard%", "must be a directory", NULL},
        {CONFIG_FS, "s3://bucket/%shard%", "set database.wal.backend = \"s3\"", NULL},
        {CONFIG_FS, "gs://bucket/%shard%", "set database.wal.backend = \"gcs\"", NULL},
        {CONFIG_S3, "/var/%shard%", "s3://bucket", NULL},
        {CONFIG_S3, "s3:///%shard%", "s3://bucket", NULL},
        {CONFIG_S3, "s3://bucket/x-%shard%", "whole path segment", NULL},
        {CONFIG_GCS, "s3://bucket/%shard%", "gs://bucket", NULL},
        {CONFIG_URL, "file:///var/%shard%", "set database.wal.backend = \"fs\"", NULL},
        {CONFIG_URL, "Memory:///x/%shard%", "set database.wal.backend = \"memory\"", NULL},
        {CONFIG_URL, "bucket/%shard%", "must be a URL", NULL},
        {CONFIG_URL, "%shard%/a://b", "must come after the address", NULL},
    };
    struct arena arena;
    arena_init(&arena);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct config_place place = {0};
        struct silo_err err = {0};
        const silo_rc rc = config_place_resolve(&arena, cases[i].backend, cases[i].path,
                                                "database.wal", &place, &err);
        assert_int_equal(rc.code, SILO_INVALID);
        assert_non_null(strstr(err.text, "database.wal.path"));
        assert_non_null(strstr(err.text, cases[i].url));
    }
    arena_deinit(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(templates),
        cmocka_unit_test(relative_paths_start_at_the_current_directory),
        cmocka_unit_test(refused_templates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
