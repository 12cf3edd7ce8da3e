/*
 * coord/coord_int.h - what the files of coord share: the record's text, and object calls that wait.
 */
#ifndef SILO_COORD_INT_H
#define SILO_COORD_INT_H

#include "coord/coord.h"

#define CLUSTER_PREFIX "cluster"
#define CLUSTER_FORMAT 1
#define CLUSTER_NAME_MAX 64

/* --- cluster_record.c --- */

/* Name of the object with that number. */
void cluster_record_name(uint64_t number, char ret_name[CLUSTER_NAME_MAX]);
/* The number in an object's name ("cluster/12.json"); false for any other name. */
bool cluster_record_number(struct bytes name, uint64_t *ret_number);

/* A map of `count` equal ranges with fresh ids. count is 1..COORD_SHARDS_MAX. */
SILO_RC cluster_map_make(const struct coord_options *options, struct coord_map *ret_map,
                         struct silo_err *err);
void cluster_map_deinit(struct coord_map *map);

/* JSON text, malloc'd. */
char *cluster_record_encode(const struct coord_map *map);
/* Checks everything. CORRUPT with a text that begins with the object's name. */
SILO_RC cluster_record_decode(const char *name, struct bytes text, struct coord_map *ret_map,
                              struct silo_err *err);

/* --- store_wait.c --- */

/*
 * A queue of its own, and one call at a time that is waited for. After a call that timed out:
 * deinit only.
 */
struct store_wait {
    struct store *store;
    struct store_queue *queue;
    int64_t timeout_ms;
    int stop_fd;
    const struct env *env;
    uint64_t token;
};

SILO_RC store_wait_init(struct store_wait *wait, const struct coord_options *options,
                        struct silo_err *err);
void store_wait_deinit(struct store_wait *wait);

SILO_RC store_wait_selftest(struct store_wait *wait, struct silo_err *err);
/* *ret_data: malloc'd, with a NUL behind its last byte. */
SILO_RC store_wait_list(struct store_wait *wait, const char *prefix, char **ret_data,
                        size_t *ret_len, struct silo_err *err);
SILO_RC store_wait_get(struct store_wait *wait, const char *name, char **ret_data, size_t *ret_len,
                       struct silo_err *err);
/* EXISTS when the object is there. */
SILO_RC store_wait_put_new(struct store_wait *wait, const char *name, struct bytes data,
                           struct silo_err *err);

#endif
