/* coord/coord_none_test.c - the cluster's record: made, found again, refused when it is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "coord/coord_int.h"
#include "store_mem/store_mem.h"

#define ID1 "0a0b0c0d-0000-4000-8000-000000000001"
#define ID2 "0a0b0c0d-0000-4000-8000-000000000002"

static struct coord_options options_for(struct store *store)
{
    return (struct coord_options){.env = &env_system,
                                  .store = store,
                                  .settings = {.shard_count = 1},
                                  .timeout_ms = 20000,
                                  .stop_fd = -1};
}

static int setup(void **state)
{
    *state = store_mem_new(NULL);
    return 0;
}

static int teardown(void **state)
{
    struct store *store = *state;
    store_ops_of(store)->free(store);
    return 0;
}

static struct start *start(const struct coord_options *options)
{
    struct start *coord = NULL;
    struct silo_err err = {0};
    const silo_rc rc = start_new(options, &coord, &err);
    if (rc.code != SILO_OK) {
        print_error("%s\n", err.text);
    }
    assert_int_equal(rc.code, SILO_OK);
    return coord;
}

/* Starting fails with the code and a text that holds `part`. */
static void start_fails(const struct coord_options *options, enum silo_code code, const char *part)
{
    struct start *coord = NULL;
    struct silo_err err = {0};
    const silo_rc rc = start_new(options, &coord, &err);
    if (rc.code != code || strstr(err.text, part) == NULL) {
        print_error("code %d, text: %s\nwanted: %s\n", (int)rc.code, err.text, part);
    }
    assert_int_equal(rc.code, code);
    assert_non_null(strstr(err.text, part));
    assert_null(coord);
}

static void object_put(struct store *store, const char *name, const char *text)
{
    const struct coord_options options = options_for(store);
    struct store_wait wait;
    struct silo_err err = {0};
    assert_int_equal(store_wait_init(&wait, &options, &err).code, SILO_OK);
    assert_int_equal(store_wait_put_new(&wait, name, bytes_str(text), &err).code, SILO_OK);
    store_wait_deinit(&wait);
}

static void makes_then_finds(void **state)
{
    struct coord_options options = options_for(*state);
    options.settings.shard_count = 5;
    struct start *first = start(&options);
    assert_true(start_created(first));
    options.settings.shard_count = 9; /* a stored map wins */
    struct start *second = start(&options);
    assert_false(start_created(second));

    const struct cluster_map *a = start_map(first), *b = start_map(second);
    assert_int_equal(a->shard_count, 5);
    assert_int_equal(b->shard_count, 5);
    assert_int_equal(b->number, 1);
    assert_true(uuid_eq(&a->cluster_id, &b->cluster_id));
    static const char *const bounds[] = {
        "", "3333333333333333", "6666666666666666", "9999999999999999", "cccccccccccccccc", ""};
    for (size_t i = 0; i < 5; i++) {
        assert_memory_equal(a->shards[i].id.b, b->shards[i].id.b, 16);
        assert_string_equal(b->shards[i].range_start, bounds[i]);
        assert_string_equal(b->shards[i].range_end, bounds[i + 1]);
        assert_int_equal(b->shards[i].id.b[6] >> 4, 4);
        assert_null(b->shards[i].wal_url);
    }
    start_free(first);
    start_free(second);
}

static void fixed_settings_are_refused(void **state)
{
    struct coord_options options = options_for(*state);
    options.settings.wal_url = "file:///var/wal/%shard%";
    start_free(start(&options));
    options.settings.order = ORDER_START;
    start_fails(&options, SILO_PRECONDITION, "dispatch_order = \"start\" is configured");
    start_fails(&options, SILO_PRECONDITION, "was created with \"priority\"");
    options.settings.order = ORDER_PRIORITY;
    options.settings.wal_url = NULL;
    start_fails(&options, SILO_PRECONDITION, "\"file:///var/wal/%shard%\"");
    options.settings.wal_url = "file:///elsewhere/%shard%";
    start_fails(&options, SILO_PRECONDITION, "file:///elsewhere/%shard%");
    options.settings.wal_url = "file:///var/wal/%shard%";
    struct start *coord = start(&options);
    assert_string_equal(start_map(coord)->shards[0].wal_url, "file:///var/wal/%shard%");
    start_free(coord);
}

static void the_highest_number_wins(void **state)
{
    struct store *store = *state;
    const struct coord_options options = options_for(store);
    start_free(start(&options));
    object_put(store, "cluster/9.json",
               "{\"format\":1,\"cluster_id\":\"" ID1 "\",\"shards\":[{\"id\":\"" ID2
               "\",\"range_start\":\"\","
               "\"range_end\":\"\",\"dispatch_order\":\"priority\",\"wal_url\":null}]}");
    object_put(store, "cluster/10.json",
               "{\"format\":1,\"cluster_id\":\"" ID2 "\",\"shards\":[{\"id\":\"" ID1
               "\",\"range_start\":\"\","
               "\"range_end\":\"\",\"dispatch_order\":\"priority\",\"wal_url\":null}]}");
    object_put(store, "cluster/999.json.bak", "no record of ours");
    object_put(store, "cluster/readme", "nor this");
    struct start *coord = start(&options);
    assert_int_equal(start_map(coord)->number, 10);
    char id[UUID_TEXT_LEN + 1];
    uuid_format(&start_map(coord)->shards[0].id, id);
    assert_string_equal(id, ID1);
    start_free(coord);
}

static void a_lost_race_reads_again(void **state)
{
    struct store *store = *state;
    const struct coord_options options = options_for(store);
    /* The calls are: self-test, list, put. The put finds that somebody put just that. */
    store_mem_fail(store,
                   &(struct store_mem_fault){
                       .kind = STORE_MEM_OBJECT, .nth = 3, .code = SILO_EXISTS, .effect = true});
    struct start *coord = start(&options);
    assert_false(start_created(coord));
    assert_int_equal(start_map(coord)->number, 1);
    start_free(coord);
}

static void races_end(void **state)
{
    struct store *store = *state;
    const struct coord_options options = options_for(store);
    for (uint32_t i = 0; i < COORD_RACES_MAX; i++) {
        store_mem_fail(store, &(struct store_mem_fault){
                                  .kind = STORE_MEM_OBJECT, .nth = 3 + 2 * i, .code = SILO_EXISTS});
    }
    start_fails(&options, SILO_CONFLICT, "lost the race");
}

static void every_store_fault_is_an_error(void **state)
{
    struct store *store = *state;
    const struct coord_options options = options_for(store);
    for (uint32_t nth = 1; nth <= 3; nth++) {
        store_mem_fail(store, &(struct store_mem_fault){
                                  .kind = STORE_MEM_OBJECT, .nth = nth, .code = SILO_UNAVAILABLE});
        struct start *coord = NULL;
        assert_int_equal(start_new(&options, &coord, NULL).code, SILO_UNAVAILABLE);
        assert_null(coord);
    }
    start_free(start(&options));
}

static void an_unfit_store_is_refused(void **state)
{
    struct store *store = *state;
    const struct coord_options options = options_for(store);
    store_mem_fail(
        store, &(struct store_mem_fault){.kind = STORE_MEM_OBJECT, .nth = 1, .code = SILO_INVALID});
    start_fails(&options, SILO_PRECONDITION, "this object store cannot be used");
}

static void an_outage_ends_at_the_deadline(void **state)
{
    struct store *store = *state;
    struct coord_options options = options_for(store);
    options.timeout_ms = 30;
    store_mem_outage(store, STORE_MEM_ALL, "connection refused by 127.0.0.1:9");
    start_fails(&options, SILO_UNAVAILABLE, "connection refused by 127.0.0.1:9");
    store_mem_outage(store, 0, NULL);
}

static void a_stop_ends_the_wait(void **state)
{
    struct store *store = *state;
    struct coord_options options = options_for(store);
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    options.stop_fd = ends[0];
    store_mem_outage(store, STORE_MEM_ALL, "away");
    start_fails(&options, SILO_CANCELLED, "told to stop");
    store_mem_outage(store, 0, NULL);
    close(ends[0]);
    close(ends[1]);
}

static void a_corrupt_record_stops_the_start(void **state)
{
    struct store *store = *state;
    const struct coord_options options = options_for(store);
    start_free(start(&options));
    object_put(store, "cluster/2.json", "{\"format\":1");
    start_fails(&options, SILO_CORRUPT, "cluster/2.json: not JSON");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(makes_then_finds, setup, teardown),
        cmocka_unit_test_setup_teardown(fixed_settings_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(the_highest_number_wins, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lost_race_reads_again, setup, teardown),
        cmocka_unit_test_setup_teardown(races_end, setup, teardown),
        cmocka_unit_test_setup_teardown(every_store_fault_is_an_error, setup, teardown),
        cmocka_unit_test_setup_teardown(an_unfit_store_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(an_outage_ends_at_the_deadline, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stop_ends_the_wait, setup, teardown),
        cmocka_unit_test_setup_teardown(a_corrupt_record_stops_the_start, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
