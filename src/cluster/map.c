/* cluster/map.c - the first map of a cluster, and whether a node's settings agree with a map. */
#include "cluster/map.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "directory/directory.h"

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
        shard->wal = cluster_wal_of(settings->wal_url);
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
        free(map->shards[i].ring);
    }
    free(map->shards);
    *map = (struct cluster_map){0};
}

struct cluster_map cluster_map_copy(const struct cluster_map *map)
{
    struct cluster_map copy = *map;
    copy.shards = xcalloc(map->shard_count + 1, sizeof *copy.shards);
    for (size_t i = 0; i < map->shard_count; i++) {
        const struct cluster_shard *shard = &map->shards[i];
        copy.shards[i] = *shard;
        copy.shards[i].wal_url = shard->wal_url != NULL ? xstrdup(shard->wal_url) : NULL;
        copy.shards[i].ring = shard->ring != NULL ? xstrdup(shard->ring) : NULL;
    }
    return copy;
}

struct cluster_shard *cluster_map_find(const struct cluster_map *map, const struct uuid *shard)
{
    for (size_t i = 0; i < map->shard_count; i++) {
        if (uuid_eq(&map->shards[i].id, shard)) {
            return &map->shards[i];
        }
    }
    return NULL;
}

enum cluster_wal cluster_wal_of(const char *wal_url)
{
    const struct bytes url = bytes_str(wal_url != NULL ? wal_url : "");
    const bool own =
        bytes_starts(url, BYTES_LIT("file:")) || bytes_starts(url, BYTES_LIT("memory:"));
    return own ? WAL_PINNED : WAL_SHARED;
}

bool cluster_ring_valid(struct bytes ring)
{
    size_t chars = 0;
    bool plain = ring.len <= RING_BYTES_MAX && bytes_utf8(ring, &chars);
    for (size_t i = 0; i < ring.len; i++) {
        plain = plain && ring.ptr[i] >= ' ' && ring.ptr[i] != 0x7f;
    }
    return plain;
}

SILO_RC cluster_shard_set_ring(struct cluster_shard *shard, const char *ring, struct silo_err *err)
{
    if (!cluster_ring_valid(bytes_str(ring))) {
        return FAIL(err, SILO_INVALID,
                    "the name of a placement ring is UTF-8 of at most %u bytes without control "
                    "characters",
                    RING_BYTES_MAX);
    }
    free(shard->ring);
    const bool named = ring[0] != '\0' && strcmp(ring, DIRECTORY_RING_DEFAULT) != 0;
    shard->ring = named ? xstrdup(ring) : NULL;
    return RC_OK;
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
