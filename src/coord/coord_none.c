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

struct coord {
    struct coord_map map;
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
static SILO_RC record_load(struct store_wait *wait, struct coord_map *ret_map, struct silo_err *err)
{
    char *data;
    size_t len;
    TRY(store_wait_list(wait, CLUSTER_PREFIX, &data, &len, err));
    const uint64_t number = newest_number(data, len);
    free(data);
    if (number == 0) {
        return FAIL(err, SILO_NOT_FOUND, "no cluster record");
    }
    char name[CLUSTER_NAME_MAX];
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
                             struct coord_map *ret_map, struct silo_err *err)
{
    struct coord_map map;
    TRY(cluster_map_make(options, &map, err));
    map.number = 1;
    char name[CLUSTER_NAME_MAX];
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
                                     struct coord *coord, struct silo_err *err)
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

static const char *order_name(enum dispatch_order order)
{
    return order == ORDER_START ? "start" : "priority";
}

static SILO_RC settings_check(const struct coord_options *options, const struct coord_map *map,
                              struct silo_err *err)
{
    for (size_t i = 0; i < map->shard_count; i++) {
        const struct coord_shard *shard = &map->shards[i];
        char id[UUID_TEXT_LEN + 1];
        uuid_format(&shard->id, id);
        if (shard->order != options->order) {
            return FAIL(err, SILO_PRECONDITION,
                        "dispatch_order = \"%s\" is configured, but shard %s was created with "
                        "\"%s\", which is part "
                        "of its stored keys and cannot be changed; set it back",
                        order_name(options->order), id, order_name(shard->order));
        }
        const char *stored = shard->wal_url != NULL ? shard->wal_url : "";
        const char *wanted = options->wal_url != NULL ? options->wal_url : "";
        if (strcmp(stored, wanted) != 0) {
            return FAIL(
                err, SILO_PRECONDITION,
                "the configuration puts the WAL at \"%.128s\", but shard %s was created with it at "
                "\"%.128s\" "
                "(empty = with the rest of the shard), and may have data there; set it back",
                wanted, id, stored);
        }
    }
    return RC_OK;
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

static SILO_RC coord_none_start(struct coord *coord, const struct coord_options *options,
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
    return settings_check(options, &coord->map, err);
}

SILO_RC coord_none_new(const struct coord_options *options, struct coord **ret_coord,
                       struct silo_err *err)
{
    struct coord *coord = xcalloc(1, sizeof *coord);
    const silo_rc rc = coord_none_start(coord, options, err);
    if (rc.code != SILO_OK) {
        coord_free(coord);
        return rc;
    }
    *ret_coord = coord;
    return RC_OK;
}

struct coord *coord_free(struct coord *coord)
{
    if (coord != NULL) {
        cluster_map_deinit(&coord->map);
        free(coord);
    }
    return NULL;
}

const struct coord_map *coord_map(const struct coord *coord)
{
    return &coord->map;
}

bool coord_created(const struct coord *coord)
{
    return coord->created;
}
