/*
 * directory/directory_test.c - the table and its publishing: what is found, what is not, and
 * readers on threads of their own while one table follows another.
 */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/test.h"
#include "directory/directory.h"

#define VERSIONS 2000
#define READERS 2

static struct uuid id_of(uint32_t number)
{
    struct uuid id = {{0}};
    /* In an order that is not that of the numbers. */
    const uint32_t mixed = number * 2654435761u;
    memcpy(id.b, &mixed, sizeof mixed);
    memcpy(id.b + 8, &number, sizeof number);
    return id;
}

static void bound_write(uint32_t number, uint32_t count, char text[DIRECTORY_BOUND_LEN + 1])
{
    text[0] = '\0';
    if (number != 0 && number != count) {
        const uint64_t hash = UINT64_MAX / count * number;
        (void)snprintf(text, DIRECTORY_BOUND_LEN + 1, "%016llx", (unsigned long long)hash);
    }
}

static struct directory_shard shard_here(uint32_t number, uint32_t count)
{
    struct directory_shard shard = {
        .id = id_of(number), .place = PLACE_HERE, .ref = {.slot = number, .generation = 7}};
    bound_write(number, count, shard.range_start);
    bound_write(number + 1, count, shard.range_end);
    return shard;
}

/* Shards in service that cover all hashes, added from the last to the first. */
static struct directory *table_of(uint32_t count)
{
    struct directory_builder builder;
    const struct uuid cluster = id_of(1u << 20);
    directory_builder_init(&builder, &cluster);
    for (uint32_t i = count; i > 0; i--) {
        const struct directory_shard shard = shard_here(i - 1, count);
        directory_builder_shard(&builder, &shard);
    }
    return directory_builder_finish(&builder);
}

static void every_shard_is_found(uint32_t count)
{
    struct directory *directory = table_of(count);
    assert_int_equal(directory->shard_count, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct uuid id = id_of(i);
        const struct directory_shard *shard = directory_find(directory, &id);
        assert_non_null(shard);
        assert_int_equal(shard->ref.slot, i);
        assert_ptr_equal(directory->shards[i], shard);
        assert_ptr_equal(directory_find_hash(directory, shard->hash_start), shard);
        const uint64_t last = shard->range_end[0] == '\0' ? UINT64_MAX : shard->hash_end - 1;
        assert_ptr_equal(directory_find_hash(directory, last), shard);
    }
    const struct uuid none = id_of(count);
    assert_null(directory_find(directory, &none));
    (void)directory_unref(directory);
}

static void shards_are_found_by_id_and_by_hash(void **state)
{
    (void)state;
    every_shard_is_found(1);
    every_shard_is_found(2);
    every_shard_is_found(37);
    every_shard_is_found(DIRECTORY_SHARDS_MAX);
}

static void an_empty_table_finds_nothing(void **state)
{
    (void)state;
    struct directory *directory = table_of(0);
    const struct uuid id = id_of(0);
    assert_null(directory_find(directory, &id));
    assert_null(directory_find_hash(directory, 0));
    assert_null(directory_find_hash(directory, UINT64_MAX));
    (void)directory_unref(directory);
}

static void a_gap_between_ranges_belongs_to_nobody(void **state)
{
    (void)state;
    struct directory_builder builder;
    directory_builder_init(&builder, &(struct uuid){{0}});
    struct directory_shard low = shard_here(0, 4);
    struct directory_shard high = shard_here(2, 4);
    directory_builder_shard(&builder, &high);
    directory_builder_shard(&builder, &low);
    struct directory *directory = directory_builder_finish(&builder);
    const uint64_t quarter = UINT64_MAX / 4;
    assert_int_equal(directory_find_hash(directory, quarter - 1)->ref.slot, 0);
    assert_null(directory_find_hash(directory, quarter));
    assert_null(directory_find_hash(directory, 2 * quarter - 1));
    assert_int_equal(directory_find_hash(directory, 2 * quarter)->ref.slot, 2);
    assert_null(directory_find_hash(directory, 3 * quarter));
    (void)directory_unref(directory);
}

static void a_retired_shard_is_known_by_its_id_alone(void **state)
{
    (void)state;
    struct directory_builder builder;
    directory_builder_init(&builder, &(struct uuid){{0}});
    struct uuid heirs[] = {id_of(0), id_of(1)};
    for (uint32_t i = 0; i < 2; i++) {
        const struct directory_shard child = shard_here(i, 2);
        directory_builder_shard(&builder, &child);
    }
    struct directory_shard parent = {.id = id_of(9),
                                     .place = PLACE_RETIRED,
                                     .ref = {.slot = 3, .generation = 3},
                                     .heirs = heirs,
                                     .heir_count = 2};
    directory_builder_shard(&builder, &parent);
    struct directory *directory = directory_builder_finish(&builder);
    memset(heirs, 0, sizeof heirs); /* it has its own */

    assert_int_equal(directory->shard_count, 2);
    const struct directory_shard *found = directory_find(directory, &parent.id);
    assert_int_equal(found->place, PLACE_RETIRED);
    assert_int_equal(found->heir_count, 2);
    const struct uuid second = id_of(1);
    assert_true(uuid_eq(&found->heirs[1], &second));
    assert_true(shard_ref_eq(found->ref, SHARD_REF_NONE));
    assert_int_equal(directory_find_hash(directory, 0)->place, PLACE_HERE);
    (void)directory_unref(directory);
}

static void nodes_and_holders_are_copied(void **state)
{
    (void)state;
    struct directory_builder builder;
    directory_builder_init(&builder, &(struct uuid){{0}});
    char name[] = "n0", address[] = "10.0.0.1:50051", ring[] = "gpu";
    const char *rings[] = {ring};
    const struct directory_node own = {
        .id = name, .address = address, .rings = rings, .ring_count = 1, .leaving = true};
    for (int i = 0; i < 9; i++) {
        name[1] = (char)('0' + i);
        assert_int_equal(directory_builder_node(&builder, &own), i);
    }
    directory_builder_self(&builder, 4);
    struct directory_shard shard = {.id = id_of(0), .place = PLACE_NODE, .node = 8};
    directory_builder_shard(&builder, &shard);
    shard = (struct directory_shard){
        .id = id_of(1), .place = PLACE_STRANDED, .holder = name, .ring = ring};
    directory_builder_shard(&builder, &shard);
    directory_builder_map(&builder, 12);
    struct directory *directory = directory_builder_finish(&builder);
    memset(name, 0, sizeof name);
    memset(address, 0, sizeof address);
    memset(ring, 0, sizeof ring);

    const struct uuid away = id_of(0), stranded = id_of(1);
    const struct directory_shard *found = directory_find(directory, &away);
    assert_string_equal(directory->nodes[found->node].id, "n8");
    assert_string_equal(directory->nodes[directory->self].id, "n4");
    assert_string_equal(directory->nodes[found->node].address, "10.0.0.1:50051");
    assert_string_equal(directory->nodes[found->node].rings[0], "gpu");
    found = directory_find(directory, &stranded);
    assert_string_equal(found->holder, "n8");
    assert_string_equal(found->ring, "gpu");
    assert_true(directory->nodes[0].leaving);
    assert_int_equal(directory->map_number, 12);
    assert_int_equal(found->node, DIRECTORY_NO_NODE);
    assert_false(directory_shard_here(found));
    (void)directory_unref(directory);
}

/* --- publishing --- */

static void count_up(void *context)
{
    (*(int *)context)++;
}

static void a_reader_has_the_newest_table_and_is_woken_once(void **state)
{
    (void)state;
    struct directory_home home;
    directory_home_init(&home);
    int woken = 0;
    struct directory_reader reader;
    directory_reader_init(&reader, &home, count_up, &woken);
    const struct directory *empty = directory_read(&reader);
    assert_int_equal(empty->version, 0);
    assert_int_equal(empty->shard_count, 0);

    directory_publish(&home, table_of(1));
    directory_publish(&home, table_of(2));
    assert_int_equal(woken, 1);
    assert_int_equal(directory_home_version(&home), 2);
    const struct directory *second = directory_read(&reader);
    assert_int_equal(second->version, 2);
    assert_int_equal(second->shard_count, 2);
    assert_ptr_equal(directory_read(&reader), second);

    directory_publish(&home, table_of(3));
    assert_int_equal(woken, 2);
    assert_int_equal(second->shard_count, 2); /* lent until the next read */
    assert_int_equal(directory_read(&reader)->shard_count, 3);
    directory_reader_deinit(&reader);
    directory_home_deinit(&home);
}

static void a_table_outlives_its_home_while_it_is_counted(void **state)
{
    (void)state;
    struct directory_home home;
    directory_home_init(&home);
    directory_publish(&home, table_of(5));
    struct directory_reader reader;
    directory_reader_init(&reader, &home, NULL, NULL);
    struct directory *kept = directory_ref(directory_read(&reader));
    directory_reader_deinit(&reader);
    directory_home_deinit(&home);
    assert_int_equal(kept->shard_count, 5);
    (void)directory_unref(kept);
}

/* --- threads --- */

struct thread_reader {
    struct directory_home *home;
    pthread_t thread;
    uint64_t reads, versions;
    const char *wrong;
};

/* A table of version v has 1 + v % 7 shards: nothing of another version may be seen in it. */
static uint32_t shards_of_version(uint64_t version)
{
    return 1 + (uint32_t)(version % 7);
}

static const char *table_check(const struct directory *directory, uint64_t version_least)
{
    if (directory->version < version_least) {
        return "an older version than before";
    }
    if (directory->version != 0 &&
        directory->shard_count != shards_of_version(directory->version)) {
        return "shards of another version";
    }
    for (size_t i = 0; i < directory->shard_count; i++) {
        const struct directory_shard *shard = directory->shards[i];
        if (directory_find_hash(directory, shard->hash_start) != shard ||
            directory_find(directory, &shard->id) != shard) {
            return "a shard that is not found";
        }
    }
    return NULL;
}

static void *reader_main(void *context)
{
    struct thread_reader *self = context;
    struct directory_reader reader;
    directory_reader_init(&reader, self->home, NULL, NULL);
    uint64_t seen = 0;
    while (self->wrong == NULL && seen < VERSIONS) {
        const uint64_t least = directory_home_version(self->home);
        const struct directory *directory = directory_read(&reader);
        self->wrong = table_check(directory, least > seen ? least : seen);
        self->versions += directory->version != seen ? 1 : 0;
        self->reads++;
        seen = directory->version;
    }
    directory_reader_deinit(&reader);
    return NULL;
}

static void readers_on_other_threads_see_whole_tables_in_order(void **state)
{
    (void)state;
    struct directory_home home;
    directory_home_init(&home);
    struct thread_reader readers[READERS];
    for (int i = 0; i < READERS; i++) {
        readers[i] = (struct thread_reader){.home = &home};
        assert_int_equal(pthread_create(&readers[i].thread, NULL, reader_main, &readers[i]), 0);
    }
    for (uint64_t version = 1; version <= VERSIONS; version++) {
        directory_publish(&home, table_of(shards_of_version(version)));
        if (version % 64 == 0) {
            (void)sched_yield(); /* some readers see many of them, some only a few */
        }
    }
    for (int i = 0; i < READERS; i++) {
        assert_int_equal(pthread_join(readers[i].thread, NULL), 0);
        if (readers[i].wrong != NULL) {
            fail_msg("a reader saw %s", readers[i].wrong);
        }
        assert_true(readers[i].versions >= 1);
    }
    directory_home_deinit(&home);
}

static void a_node_is_in_the_rings_it_lists(void **state)
{
    (void)state;
    static const char *const gpu[] = {"gpu"}, *const both[] = {"gpu", "default"};
    const struct directory_node plain = {.id = "a"};
    const struct directory_node special = {.id = "b", .rings = gpu, .ring_count = 1};
    const struct directory_node mixed = {.id = "c", .rings = both, .ring_count = 2};
    assert_true(directory_node_in_ring(&plain, NULL));
    assert_false(directory_node_in_ring(&plain, "gpu"));
    assert_false(directory_node_in_ring(&special, NULL));
    assert_true(directory_node_in_ring(&special, "gpu"));
    assert_false(directory_node_in_ring(&special, "cpu"));
    assert_true(directory_node_in_ring(&mixed, NULL));
    assert_true(directory_node_in_ring(&mixed, "gpu"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shards_are_found_by_id_and_by_hash),
        cmocka_unit_test(an_empty_table_finds_nothing),
        cmocka_unit_test(a_gap_between_ranges_belongs_to_nobody),
        cmocka_unit_test(a_retired_shard_is_known_by_its_id_alone),
        cmocka_unit_test(nodes_and_holders_are_copied),
        cmocka_unit_test(a_reader_has_the_newest_table_and_is_woken_once),
        cmocka_unit_test(a_table_outlives_its_home_while_it_is_counted),
        cmocka_unit_test(readers_on_other_threads_see_whole_tables_in_order),
        cmocka_unit_test(a_node_is_in_the_rings_it_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
