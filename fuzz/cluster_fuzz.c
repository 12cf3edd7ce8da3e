/*
 * fuzz/cluster_fuzz.c - the cluster's record and the names of its objects.
 *
 * A record that decodes covers the whole space with shards of different ids, and comes back the
 * same when it is encoded and decoded again. A name with a number is the name of that number.
 */
#include "fuzz.h"

#include "cluster/map.h"

#define KINDS 2u

enum kind { RECORD, NAME };

static void map_check(const struct cluster_map *map)
{
    ASSERT(map->shard_count > 0 && map->shard_count <= CLUSTER_SHARDS_MAX);
    ASSERT(map->shards[0].range_start[0] == '\0');
    ASSERT(map->shards[map->shard_count - 1].range_end[0] == '\0');
    for (size_t i = 1; i < map->shard_count; i++) {
        ASSERT(strcmp(map->shards[i - 1].range_end, map->shards[i].range_start) == 0);
        ASSERT(strcmp(map->shards[i - 1].range_start, map->shards[i].range_start) < 0);
        ASSERT(!uuid_eq(&map->shards[i - 1].id, &map->shards[i].id));
    }
}

static void map_same(const struct cluster_map *a, const struct cluster_map *b)
{
    ASSERT(uuid_eq(&a->cluster_id, &b->cluster_id) && a->shard_count == b->shard_count);
    for (size_t i = 0; i < a->shard_count; i++) {
        const struct cluster_shard *x = &a->shards[i], *y = &b->shards[i];
        ASSERT(uuid_eq(&x->id, &y->id) && x->order == y->order);
        ASSERT(strcmp(x->range_start, y->range_start) == 0);
        ASSERT(strcmp(x->range_end, y->range_end) == 0);
        ASSERT((x->wal_url == NULL) == (y->wal_url == NULL));
        ASSERT(x->wal_url == NULL || strcmp(x->wal_url, y->wal_url) == 0);
    }
}

static void record_one(struct bytes in)
{
    struct cluster_map map, again;
    struct silo_err err;
    if (cluster_record_decode("cluster/1.json", in, &map, &err).code != SILO_OK) {
        return;
    }
    map_check(&map);
    char *text = cluster_record_encode(&map);
    ASSERT(cluster_record_decode("again", bytes_str(text), &again, &err).code == SILO_OK);
    map_same(&map, &again);
    free(text);
    cluster_map_deinit(&again);
    cluster_map_deinit(&map);
}

static void name_one(struct bytes in)
{
    uint64_t number = 0;
    if (cluster_record_number(in, &number)) {
        char name[CLUSTER_RECORD_NAME_MAX];
        cluster_record_name(number, name);
        ASSERT(number != 0 && bytes_eq(bytes_str(name), in));
    }
}

void fuzz_one(struct bytes input)
{
    const uint8_t kind = take_u8(&input);
    if (kind % KINDS == RECORD) {
        record_one(input);
    } else {
        name_one(input);
    }
}

static void seed_map(struct seeds *seeds, struct cluster_shard *shards, size_t count)
{
    struct cluster_map map = {
        .cluster_id = {"cluster-cluster"}, .shards = shards, .shard_count = count};
    char *text = cluster_record_encode(&map);
    seed_put(seeds, RECORD, bytes_str(text));
    free(text);
}

void fuzz_seeds(struct seeds *seeds)
{
    struct cluster_shard shards[] = {
        {.id = {"shard-a"}, .range_end = "4000000000000000"},
        {.id = {"shard-b"}, .range_start = "4000000000000000", .order = ORDER_START},
    };
    memcpy(shards[1].range_end, "", 1);
    seed_map(seeds, shards, 2);
    char url[] = "file:///w/%shard%";
    struct cluster_shard one = {.id = {"shard-c"}, .wal_url = url};
    seed_map(seeds, &one, 1);
    seed_put(seeds, RECORD, BYTES_LIT("{\"format\": 2, \"whatever\": []}"));
    seed_put(seeds, NAME, BYTES_LIT("cluster/12.json"));
    seed_put(seeds, NAME, BYTES_LIT("cluster/999999999999999999.json"));
}
