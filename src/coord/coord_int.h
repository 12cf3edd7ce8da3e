/*
 * coord/coord_int.h - what the files of coord share: the record's text, and object calls that wait.
 */
#ifndef SILO_COORD_INT_H
#define SILO_COORD_INT_H

#include "coord/start.h"

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
