/*
 * coord/coord.h - which shards there are and who serves them.
 *
 * A single node (coord_none.c) serves all shards of its own record, the object
 * `cluster/<number>.json` beside the shards' databases. Each change of the record is a new object
 * with the next number, created only if absent; the highest number is the record. So the store
 * needs no conditional overwrite, and of two writers one loses and reads again.
 *
 *     coord_none_new -> coord_map ... -> coord_free
 *
 * Units      range bounds: tenant hashes as 16 lower-case hex digits, "" = unbounded.
 * Ownership  the coordinator owns its map; it is lent until coord_free.
 * Threads    one; coord_map may be read by any once made.
 * Limits     COORD_SHARDS_MAX shards, COORD_RECORD_BYTES_MAX bytes of record, COORD_RACES_MAX lost
 *            races in a row.
 */
#ifndef SILO_COORD_COORD_H
#define SILO_COORD_COORD_H

#include "base/env.h"
#include "base/rc.h"
#include "base/uuid.h"
#include "codec/key.h"
#include "store/store.h"

#define COORD_SHARDS_MAX 4096u
#define COORD_RECORD_BYTES_MAX (16u << 20) /* COORD_SHARDS_MAX shards with long WAL URLs */
#define COORD_WAL_URL_MAX 2048u
#define COORD_RACES_MAX 16u
#define COORD_BOUND_LEN 16

struct coord;

struct coord_shard {
    struct uuid id;
    char range_start[COORD_BOUND_LEN + 1], range_end[COORD_BOUND_LEN + 1];
    enum dispatch_order order;
    char *wal_url; /* template of where its WAL lies; NULL: with the rest */
};

/* Shards in order of their ranges, which cover the whole space without gap or overlap. */
struct coord_map {
    struct uuid cluster_id;
    uint64_t number; /* of the record it was read from */
    struct coord_shard *shards;
    size_t shard_count;
};

struct coord_options {
    const struct env *env;
    struct store *store;
    uint32_t shard_count;      /* of a new cluster; a stored map wins */
    enum dispatch_order order; /* must be that of the stored shards */
    const char *wal_url;       /* likewise; NULL: no separate WAL */
    int64_t timeout_ms;        /* for each answer of the store */
    int stop_fd;               /* readable: give up (CANCELLED); -1 = none */
};

/*
 * Tests the store (PRECONDITION if it lacks create-if-absent), then loads the record or creates the
 * first one. Blocks: for start-up only. CORRUPT names the object; PRECONDITION names a setting that
 * contradicts the record.
 */
SILO_RC coord_none_new(const struct coord_options *options, struct coord **ret_coord,
                       struct silo_err *err);
/* NULL is fine. Returns NULL. */
struct coord *coord_free(struct coord *coord);

const struct coord_map *coord_map(const struct coord *coord);
/* Whether coord_none_new made the record. */
bool coord_created(const struct coord *coord);

#endif
