/* cluster/map.c - the first map of a cluster, and whether a node's settings agree with a map. */
#include "cluster/map.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"

SILO_RC cluster_map_make(const struct cluster_settings *settings,
                         const uint8_t seed[CLUSTER_SEED_BYTES], struct cluster_map *ret_map,
                         struct silo_err *err)
{
    const uint32_t count = settings->shard_count;
    if (count == 0 || count > CLUSTER_SHARDS_MAX) {
        return FAIL(err, SILO_INVALID, "invalid shard count %u: a cluster has 1 to %u shards",
                    count, CLUSTER_SHARDS_MAX);
    }
    if (settings->wal_url != NULL && strlen(settings->wal_url) > CLUSTER_WAL_URL_MAX) {
        return FAIL(err, SILO_INVALID,
                    "the place of the write-ahead log is too long: a URL of %zu bytes, at most %u",
                    strlen(settings->wal_url), CLUSTER_WAL_URL_MAX);
    }
    struct cluster_map map = {.cluster_id = uuid_from_seed(seed, 0),
                              .number = 1,
                              .shards = xcalloc(count, sizeof *map.shards),
                              .shard_count = count};
    for (uint32_t i = 0; i < count; i++) {
        struct cluster_shard *shard = &map.shards[i];
        shard->id = uuid_from_seed(seed, i + 1);
        shard->order = settings->order;
        shard->wal_url = settings->wal_url != NULL ? xstrdup(settings->wal_url) : NULL;
        if (i != 0) {
            const unsigned __int128 bound = ((unsigned __int128)i << 64) / count;
            (void)snprintf(shard->range_start, sizeof shard->range_start, "%016llx",
                           (unsigned long long)bound);
            memcpy(map.shards[i - 1].range_end, shard->range_start, sizeof shard->range_start);
        }
    }
    *ret_map = map;
    return RC_OK;
}

void cluster_map_deinit(struct cluster_map *map)
{
    for (size_t i = 0; i < map->shard_count; i++) {
        free(map->shards[i].wal_url);
    }
    free(map->shards);
    *map = (struct cluster_map){0};
}

static const char *order_name(enum dispatch_order order)
{
    return order == ORDER_START ? "start" : "priority";
}

static SILO_RC shard_check(const struct cluster_shard *shard,
                           const struct cluster_settings *settings, struct silo_err *err)
{
    char id[UUID_TEXT_LEN + 1];
    uuid_format(&shard->id, id);
    if (shard->order != settings->order) {
        return FAIL(err, SILO_PRECONDITION,
                    "dispatch_order = \"%s\" is configured, but shard %s was created with \"%s\", "
                    "which is part of its stored keys and cannot be changed; set it back",
                    order_name(settings->order), id, order_name(shard->order));
    }
    const char *stored = shard->wal_url != NULL ? shard->wal_url : "";
    const char *wanted = settings->wal_url != NULL ? settings->wal_url : "";
    if (strcmp(stored, wanted) != 0) {
        return FAIL(
            err, SILO_PRECONDITION,
            "the configuration puts the WAL at \"%.128s\", but shard %s was created with it "
            "at \"%.128s\" (empty = with the rest of the shard), and may have data there; "
            "set it back",
            wanted, id, stored);
    }
    return RC_OK;
}

SILO_RC cluster_map_check(const struct cluster_map *map, const struct cluster_settings *settings,
                          struct silo_err *err)
{
    for (size_t i = 0; i < map->shard_count; i++) {
        TRY(shard_check(&map->shards[i], settings, err));
    }
    return RC_OK;
}
