/*
 * cluster/map.h - which shards a cluster has: the map, and its stored form.
 *
 * The map's home is the store: the object `cluster/<number>.json` beside the shards' databases.
 * Each change of the map is a new object with the next number, created only if absent; the highest
 * number is the map. So the store needs no conditional overwrite, and of two writers one loses and
 * reads again.
 *
 * Units      bounds of ranges: hashes of tenants as 16 lower-case hex digits, "" = unbounded.
 * Ownership  a map owns its shards and their texts: cluster_map_deinit.
 * Threads    one at a time.
 * Limits     CLUSTER_SHARDS_MAX shards, CLUSTER_RECORD_BYTES_MAX bytes of a record.
 */
#ifndef SILO_CLUSTER_MAP_H
#define SILO_CLUSTER_MAP_H

#include "base/bytes.h"
#include "base/limits.h"
#include "base/rc.h"
#include "base/uuid.h"
#include "codec/key.h"

#define CLUSTER_SHARDS_MAX SHARDS_MAX
#define CLUSTER_RECORD_BYTES_MAX (16u << 20) /* CLUSTER_SHARDS_MAX shards with long WAL URLs */
#define CLUSTER_WAL_URL_MAX 2048u
#define CLUSTER_BOUND_LEN 16
#define CLUSTER_SEED_BYTES 16

/* Where the records lie, and the room for the name of one. */
#define CLUSTER_RECORD_PREFIX "cluster"
#define CLUSTER_RECORD_NAME_MAX 64

/* Who can read a shard's write-ahead log: every node, or the one that wrote it. */
enum cluster_wal { WAL_SHARED, WAL_PINNED };

struct cluster_shard {
    struct uuid id;
    char range_start[CLUSTER_BOUND_LEN + 1], range_end[CLUSTER_BOUND_LEN + 1];
    enum dispatch_order order;
    enum cluster_wal wal;
    char *wal_url; /* template of where its WAL lies; NULL: with the rest */
    /* Of the nodes it may go to; NULL: the default one, to people DIRECTORY_RING_DEFAULT. */
    char *ring;
};

/* Shards in order of their ranges, which cover the whole space without gap or overlap. */
struct cluster_map {
    struct uuid cluster_id;
    uint64_t number; /* of the record it was read from */
    struct cluster_shard *shards;
    size_t shard_count;
};

/* What the configuration says of shards: the first map is made so, later ones must agree. */
struct cluster_settings {
    uint32_t shard_count; /* of a new cluster; a stored map wins */
    enum dispatch_order order;
    const char *wal_url; /* NULL: no separate WAL */
};

/*
 * The first map of a cluster: `shard_count` equal ranges, ids drawn from the seed, number 1.
 * INVALID unless there are 1..CLUSTER_SHARDS_MAX shards, and their WAL's URL is one that a record
 * may hold.
 */
SILO_RC cluster_map_make(const struct cluster_settings *settings,
                         const uint8_t seed[CLUSTER_SEED_BYTES], struct cluster_map *ret_map,
                         struct silo_err *err);
void cluster_map_deinit(struct cluster_map *map);
struct cluster_map cluster_map_copy(const struct cluster_map *map);
/* NULL when the map has no such shard. */
struct cluster_shard *cluster_map_find(const struct cluster_map *map, const struct uuid *shard);
/*
 * The shard is one of that ring's from now on; "" and "default": of the default one. INVALID for
 * what is no name of a ring: more than RING_BYTES_MAX bytes, no UTF-8, or control characters.
 */
SILO_RC cluster_shard_set_ring(struct cluster_shard *shard, const char *ring, struct silo_err *err);
bool cluster_ring_valid(struct bytes ring);
/* A log in a directory or in memory is its node's; one that everybody reaches by its URL is not. */
enum cluster_wal cluster_wal_of(const char *wal_url);
/* PRECONDITION, with the shard, when a setting contradicts what the map says of a shard. */
SILO_RC cluster_map_check(const struct cluster_map *map, const struct cluster_settings *settings,
                          struct silo_err *err);

/* --- map_record.c --- */

/* Name of the object with that number. */
void cluster_record_name(uint64_t number, char ret_name[CLUSTER_RECORD_NAME_MAX]);
/* The number in an object's name ("cluster/12.json"); false for any other name. */
bool cluster_record_number(struct bytes name, uint64_t *ret_number);
/* JSON text, malloc'd. */
char *cluster_record_encode(const struct cluster_map *map);
/*
 * Checks everything. CORRUPT, or PRECONDITION for a record of a newer Silo, with a text that begins
 * with the object's name. The map's number is the caller's to set.
 */
SILO_RC cluster_record_decode(const char *name, struct bytes text, struct cluster_map *ret_map,
                              struct silo_err *err);

#endif
