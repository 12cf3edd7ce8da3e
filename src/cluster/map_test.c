/* cluster/map_test.c - the first map; its text: read back, and refused when it is wrong. */
#include "cluster/map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/assert.h"

#define ID1 "0a0b0c0d-0000-4000-8000-000000000001"
#define ID2 "0a0b0c0d-0000-4000-8000-000000000002"

static const uint8_t seed[CLUSTER_SEED_BYTES] = "a seed of sixty";

static void bounds_are_floors(void **state)
{
    (void)state;
    struct cluster_settings settings = {0};
    struct cluster_map map;
    settings.shard_count = 3;
    assert_int_equal(cluster_map_make(&settings, seed, &map, NULL).code, SILO_OK);
    assert_string_equal(map.shards[1].range_start, "5555555555555555");
    assert_string_equal(map.shards[2].range_start, "aaaaaaaaaaaaaaaa");
    cluster_map_deinit(&map);
    settings.shard_count = 1;
    assert_int_equal(cluster_map_make(&settings, seed, &map, NULL).code, SILO_OK);
    assert_string_equal(map.shards[0].range_start, "");
    assert_string_equal(map.shards[0].range_end, "");
    cluster_map_deinit(&map);
    settings.shard_count = 0;
    assert_int_equal(cluster_map_make(&settings, seed, &map, NULL).code, SILO_INVALID);
    settings.shard_count = CLUSTER_SHARDS_MAX + 1;
    assert_int_equal(cluster_map_make(&settings, seed, &map, NULL).code, SILO_INVALID);
}

/* A map that is made can be read again: its record would be refused at the next start. */
static void the_longest_wal_url_comes_back(void **state)
{
    (void)state;
    char url[CLUSTER_WAL_URL_MAX + 2];
    memset(url, 'x', sizeof url);
    url[CLUSTER_WAL_URL_MAX + 1] = '\0';
    const struct cluster_settings settings = {.shard_count = 1, .wal_url = url};
    struct cluster_map map, again;
    assert_int_equal(cluster_map_make(&settings, seed, &map, NULL).code, SILO_INVALID);
    url[CLUSTER_WAL_URL_MAX] = '\0';
    assert_int_equal(cluster_map_make(&settings, seed, &map, NULL).code, SILO_OK);
    char *text = cluster_record_encode(&map);
    assert_int_equal(cluster_record_decode("x", bytes_str(text), &again, NULL).code, SILO_OK);
    assert_string_equal(again.shards[0].wal_url, url);
    free(text);
    cluster_map_deinit(&again);
    cluster_map_deinit(&map);
}

static void ids_are_random_and_differ(void **state)
{
    (void)state;
    const struct cluster_settings settings = {.shard_count = CLUSTER_SHARDS_MAX};
    const uint8_t other[CLUSTER_SEED_BYTES] = "another one";
    struct cluster_map a, b;
    assert_int_equal(cluster_map_make(&settings, seed, &a, NULL).code, SILO_OK);
    assert_int_equal(cluster_map_make(&settings, other, &b, NULL).code, SILO_OK);
    assert_false(uuid_eq(&a.cluster_id, &b.cluster_id));
    struct uuid *ids = xcalloc(2 * (size_t)CLUSTER_SHARDS_MAX, sizeof *ids);
    for (size_t i = 0; i < CLUSTER_SHARDS_MAX; i++) {
        ids[2 * i] = a.shards[i].id;
        ids[2 * i + 1] = b.shards[i].id;
        assert_int_equal(a.shards[i].id.b[6] >> 4, 4);
    }
    qsort(ids, 2 * (size_t)CLUSTER_SHARDS_MAX, sizeof *ids, uuid_order);
    for (size_t i = 1; i < 2 * (size_t)CLUSTER_SHARDS_MAX; i++) {
        assert_false(uuid_eq(&ids[i - 1], &ids[i]));
    }
    free(ids);
    cluster_map_deinit(&a);
    cluster_map_deinit(&b);
}

#define HEAD "{\"format\":1,\"cluster_id\":\"" ID1 "\",\"shards\":"
#define SHARD(id, from, to)                                               \
    "{\"id\":\"" id "\",\"range_start\":\"" from "\",\"range_end\":\"" to \
    "\",\"dispatch_order\":\"priority\",\"wal_url\":null}"

static void bad_records_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum silo_code code;
        const char *part;
    } cases[] = {
        {"", SILO_CORRUPT, "not JSON"},
        {"{\"format\":1,\"format\":1}", SILO_CORRUPT, "not JSON"},
        {"[]", SILO_CORRUPT, "cluster/7.json"},
        {"{}", SILO_CORRUPT, "format"},
        {"{\"format\":3,\"future\":true}", SILO_PRECONDITION, "newer Silo"},
        {"{\"format\":4294967297}", SILO_PRECONDITION, "newer Silo"},
        {"{\"format\":0}", SILO_CORRUPT, "unknown format"},
        {"{\"format\":1,\"cluster_id\":\"x\",\"shards\":[]}", SILO_CORRUPT, "cluster_id"},
        {HEAD "[]}", SILO_CORRUPT, "not an array"},
        {HEAD "7}", SILO_CORRUPT, "not an array"},
        {HEAD "[7]}", SILO_CORRUPT, "shard 0"},
        {HEAD "[" SHARD(ID1, "", "") "],\"more\":1}", SILO_CORRUPT, "more"},
        {HEAD "[" SHARD("0a0b", "", "") "]}", SILO_CORRUPT, "not a UUID"},
        {HEAD "[" SHARD(ID1, "", "8") "]}", SILO_CORRUPT, "16 hex digits"},
        {HEAD "[" SHARD(ID1, "", "800000000000000G") "]}", SILO_CORRUPT, "16 hex digits"},
        {HEAD "[" SHARD(ID1, "", "8000000000000000") "]}", SILO_CORRUPT, "whole space"},
        {HEAD "[" SHARD(ID1, "1000000000000000", "") "]}", SILO_CORRUPT, "whole space"},
        {HEAD "[" SHARD(ID1, "", "8000000000000000") "," SHARD(ID2, "9000000000000000", "") "]}",
         SILO_CORRUPT, "gap or overlap"},
        {HEAD "[" SHARD(ID1, "", "") "," SHARD(ID2, "", "") "]}", SILO_CORRUPT, "gap or overlap"},
        {HEAD "[" SHARD(ID1, "", "8000000000000000") "," SHARD(ID1, "8000000000000000", "") "]}",
         SILO_CORRUPT, "one id"},
        {HEAD "[" SHARD(ID1, "", "8000000000000000") "," SHARD(
             ID2, "8000000000000000",
             "8000000000000000") "," SHARD("0a0b0c0d-0000-4000-8000-000000000003",
                                           "8000000000000000", "") "]}",
         SILO_CORRUPT, "is empty"},
        /* Nothing is below the first bound there is, so this is no range either. */
        {HEAD "[" SHARD(ID1, "", "0000000000000000") "," SHARD(ID2, "0000000000000000", "") "]}",
         SILO_CORRUPT, "is empty"},
        {HEAD "[{\"id\":\"" ID1
              "\",\"range_start\":\"\",\"range_end\":\"\",\"dispatch_order\":\"lifo\","
              "\"wal_url\":null}]}",
         SILO_CORRUPT, "dispatch_order"},
        {HEAD "[{\"id\":\"" ID1
              "\",\"range_start\":\"\",\"range_end\":\"\",\"dispatch_order\":\"start\","
              "\"wal_url\":5}]}",
         SILO_CORRUPT, "wal_url"},
        {HEAD "[{\"id\":\"" ID1
              "\",\"range_start\":\"\",\"range_end\":\"\",\"dispatch_order\":\"start\"}]}",
         SILO_CORRUPT, "wal_url"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct cluster_map map;
        struct silo_err err = {0};
        const silo_rc rc =
            cluster_record_decode("cluster/7.json", bytes_str(cases[i].text), &map, &err);
        if (rc.code != cases[i].code || strstr(err.text, cases[i].part) == NULL) {
            print_error("case %zu: code %d, text: %s\n", i, (int)rc.code, err.text);
        }
        assert_int_equal(rc.code, cases[i].code);
        assert_non_null(strstr(err.text, cases[i].part));
        assert_non_null(strstr(err.text, "cluster/7.json"));
    }
}

/* A record says which nodes a shard may go to; one of the time before rings says it of none. */
static void rings_and_logs_are_kept(void **state)
{
    (void)state;
    const struct cluster_settings settings = {.shard_count = 2, .wal_url = "file:///log"};
    struct cluster_map map, again;
    struct silo_err err = {0};
    assert_int_equal(cluster_map_make(&settings, seed, &map, NULL).code, SILO_OK);
    char *plain = cluster_record_encode(&map);
    assert_non_null(strstr(plain, "\"format\": 1")); /* older servers read it, too */
    free(plain);
    assert_int_equal(cluster_shard_set_ring(&map.shards[0], "gpu \"1\"", NULL).code, SILO_OK);
    assert_int_equal(cluster_shard_set_ring(&map.shards[1], "default", NULL).code, SILO_OK);
    assert_int_equal(cluster_shard_set_ring(&map.shards[1], "a\n", &err).code, SILO_INVALID);
    char *text = cluster_record_encode(&map);
    assert_int_equal(cluster_record_decode("x", bytes_str(text), &again, NULL).code, SILO_OK);
    assert_string_equal(again.shards[0].ring, "gpu \"1\"");
    assert_null(again.shards[1].ring);
    assert_int_equal(again.shards[0].wal, WAL_PINNED);
    cluster_map_deinit(&again);
    static const char old[] = HEAD "[" SHARD(ID1, "", "") "]}";
    assert_int_equal(cluster_record_decode("x", bytes_str(old), &again, &err).code, SILO_OK);
    assert_null(again.shards[0].ring);
    assert_int_equal(again.shards[0].wal, WAL_SHARED);
    cluster_map_deinit(&again);
    cluster_map_deinit(&map);
    free(text);
}

/* Cut at every byte, the text is never taken for a record. */
static void cut_records_are_refused(void **state)
{
    (void)state;
    const struct cluster_settings settings = {.shard_count = 2};
    struct cluster_map map, again;
    assert_int_equal(cluster_map_make(&settings, seed, &map, NULL).code, SILO_OK);
    char *text = cluster_record_encode(&map);
    const size_t len = strlen(text);
    for (size_t cut = 0; cut < len; cut++) {
        assert_int_equal(cluster_record_decode("x", bytes_of(text, cut), &again, NULL).code,
                         SILO_CORRUPT);
    }
    assert_int_equal(cluster_record_decode("x", bytes_of(text, len), &again, NULL).code, SILO_OK);
    char *text_again = cluster_record_encode(&again);
    assert_string_equal(text, text_again);
    free(text);
    free(text_again);
    cluster_map_deinit(&map);
    cluster_map_deinit(&again);
}

static void names_and_numbers(void **state)
{
    (void)state;
    uint64_t number = 0;
    assert_true(cluster_record_number(BYTES_LIT("cluster/120.json"), &number));
    assert_int_equal(number, 120);
    static const char *const others[] = {"cluster/.json",
                                         "cluster/0.json",
                                         "cluster/01.json",
                                         "cluster/-1.json",
                                         "cluster/1.json~",
                                         "other/1.json",
                                         "cluster/1",
                                         "cluster/",
                                         "cluster/1x.json",
                                         "cluster/1/2.json",
                                         "",
                                         "cluster/99999999999999999999.json"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_false(cluster_record_number(bytes_str(others[i]), &number));
    }
    char name[CLUSTER_RECORD_NAME_MAX];
    cluster_record_name(42, name);
    assert_string_equal(name, "cluster/42.json");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bounds_are_floors),
        cmocka_unit_test(the_longest_wal_url_comes_back),
        cmocka_unit_test(ids_are_random_and_differ),
        cmocka_unit_test(bad_records_are_refused),
        cmocka_unit_test(rings_and_logs_are_kept),
        cmocka_unit_test(cut_records_are_refused),
        cmocka_unit_test(names_and_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
