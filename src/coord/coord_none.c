/*
 * coord/coord_none.c - a single node: every shard of the record is its own.
 *
 * Start-up
 *   1  test the store: a second create-if-absent must be refused, for the record and the engine's
 *      fencing rest on it
 *   2  list cluster/, take the highest number, read and check it
 *   3  none there: make a map and create cluster/1.json; somebody else was first: back to 2
 *   4  compare the settings that are fixed with a shard: dispatch order, and where its WAL lies
 *
 * Two servers that start on one empty store at the same time end with one record. Which of them
 * then owns the shards the engine's fencing decides, not this record.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "coord/coord_int.h"

struct start {
    struct cluster_map map;
    bool created;
};

/*
 * The highest record number in a listing; 0 when there is none. Other names are not ours to judge.
 */
static uint64_t newest_number(const char *listing, size_t len)
{
    uint64_t newest = 0;
    for (size_t at = 0; at < len;) {
        const char *end = memchr(listing + at, '\n', len - at);
        const size_t line_len = end != NULL ? (size_t)(end - listing) - at : len - at;
        uint64_t number;
        if (cluster_record_number(bytes_of(listing + at, line_len), &number) && number > newest) {
            newest = number;
        }
        at += line_len + 1;
    }
    return newest;
}

/* NOT_FOUND: there is no record yet. */
static SILO_RC record_load(struct store_wait *wait, struct cluster_map *ret_map,
                           struct silo_err *err)
{
    char *data;
    size_t len;
    TRY(store_wait_list(wait, CLUSTER_RECORD_PREFIX, &data, &len, err));
    const uint64_t number = newest_number(data, len);
    free(data);
    if (number == 0) {
        return FAIL(err, SILO_NOT_FOUND, "no cluster record");
    }
    char name[CLUSTER_RECORD_NAME_MAX];
    cluster_record_name(number, name);
    const silo_rc got = store_wait_get(wait, name, &data, &len, err);
    if (got.code == SILO_NOT_FOUND) {
        return FAIL(err, SILO_UNAVAILABLE, "%s was listed and cannot be read", name);
    }
    TRY(got);
    const silo_rc rc = cluster_record_decode(name, bytes_of(data, len), ret_map, err);
    free(data);
    if (rc.code == SILO_OK) {
        ret_map->number = number;
    }
    return rc;
}

/* EXISTS: somebody else was first. */
static SILO_RC record_create(struct store_wait *wait, const struct coord_options *options,
                             struct cluster_map *ret_map, struct silo_err *err)
{
    struct cluster_map map;
    uint8_t seed[CLUSTER_SEED_BYTES];
    env_random(options->env, seed, sizeof seed);
    TRY(cluster_map_make(&options->settings, seed, &map, err));
    char name[CLUSTER_RECORD_NAME_MAX];
    cluster_record_name(map.number, name);
    char *text = cluster_record_encode(&map);
    const silo_rc rc = store_wait_put_new(wait, name, bytes_str(text), err);
    free(text);
    if (rc.code != SILO_OK) {
        cluster_map_deinit(&map);
        return rc;
    }
    *ret_map = map;
    return RC_OK;
}

static SILO_RC record_load_or_create(struct store_wait *wait, const struct coord_options *options,
                                     struct start *coord, struct silo_err *err)
{
    for (uint32_t races = 0; races < COORD_RACES_MAX; races++) {
        silo_rc rc = record_load(wait, &coord->map, err);
        if (rc.code != SILO_NOT_FOUND) {
            return rc;
        }
        rc = record_create(wait, options, &coord->map, err);
        if (rc.code != SILO_EXISTS) {
            coord->created = rc.code == SILO_OK;
            return rc;
        }
    }
    return FAIL(err, SILO_CONFLICT, "lost the race for the cluster record %u times",
                COORD_RACES_MAX);
}

static SILO_RC selftest(struct store_wait *wait, struct silo_err *err)
{
    struct silo_err why = {0};
    const silo_rc rc = store_wait_selftest(wait, &why);
    if (rc.code == SILO_OK) {
        return RC_OK;
    }
    if (rc.code == SILO_UNAVAILABLE || rc.code == SILO_CANCELLED) {
        return FAIL(err, rc.code, "%s", why.text);
    }
    if (rc.code == SILO_NOT_FOUND) { /* no such bucket, or not for us */
        return FAIL(err, SILO_PRECONDITION, "%s", why.text);
    }
    return FAIL(err, SILO_PRECONDITION,
                "this object store cannot be used: it must refuse to create an object that exists, "
                "and did not prove that it does (%.300s)",
                why.text);
}

static SILO_RC coord_none_start(struct start *coord, const struct coord_options *options,
                                struct silo_err *err)
{
    struct store_wait wait;
    TRY(store_wait_init(&wait, options, err));
    silo_rc rc = selftest(&wait, err);
    if (rc.code == SILO_OK) {
        rc = record_load_or_create(&wait, options, coord, err);
    }
    store_wait_deinit(&wait);
    TRY(rc);
    return cluster_map_check(&coord->map, &options->settings, err);
}

SILO_RC start_new(const struct coord_options *options, struct start **ret_coord,
                  struct silo_err *err)
{
    struct start *coord = xcalloc(1, sizeof *coord);
    const silo_rc rc = coord_none_start(coord, options, err);
    if (rc.code != SILO_OK) {
        start_free(coord);
        return rc;
    }
    *ret_coord = coord;
    return RC_OK;
}

struct start *start_free(struct start *coord)
{
    if (coord != NULL) {
        cluster_map_deinit(&coord->map);
        free(coord);
    }
    return NULL;
}

const struct cluster_map *start_map(const struct start *coord)
{
    return &coord->map;
}

bool start_created(const struct start *coord)
{
    return coord->created;
}
