/*
 * coord/start.h - which shards there are and who serves them.
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
 * Limits     those of cluster/map.h, COORD_RACES_MAX lost races in a row.
 */
#ifndef SILO_COORD_START_H
#define SILO_COORD_START_H

#include "base/env.h"
#include "base/rc.h"
#include "base/uuid.h"
#include "cluster/map.h"
#include "store/store.h"

#define COORD_RACES_MAX 16u

struct start;

struct coord_options {
    const struct env *env;
    struct store *store;
    struct cluster_settings settings;
    int64_t timeout_ms; /* for each answer of the store */
    int stop_fd;        /* readable: give up (CANCELLED); -1 = none */
};

/*
 * Tests the store (PRECONDITION if it lacks create-if-absent), then loads the record or creates the
 * first one. Blocks: for start-up only. CORRUPT names the object; PRECONDITION names a setting that
 * contradicts the record.
 */
SILO_RC start_new(const struct coord_options *options, struct start **ret_coord,
                  struct silo_err *err);
/* NULL is fine. Returns NULL. */
struct start *start_free(struct start *coord);

const struct cluster_map *start_map(const struct start *coord);
/* Whether coord_none_new made the record. */
bool start_created(const struct start *coord);

#endif
