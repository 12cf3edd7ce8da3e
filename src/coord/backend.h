/*
 * coord/backend.h - the coordinators there are, by name. A further one is a folder beside none/ and
 * a row in backend.c.
 *
 * Units      _ms: milliseconds.
 * Ownership  the coordinator is the caller's, to be ended by coord_free.
 * Threads    no shared state.
 */
#ifndef SILO_COORD_BACKEND_H
#define SILO_COORD_BACKEND_H

#include "base/env.h"
#include "coord/coord.h"
#include "store/store.h"

struct coord_options {
    const struct env *env;
    struct store *store;        /* where the map lies; lent */
    struct cluster_member self; /* copied */
    int64_t store_timeout_ms;   /* for each answer of the store */
};

/* UNIMPLEMENTED: there is no such backend. Nothing is asked of anybody before the first turn. */
SILO_RC coord_new(const char *backend, const struct coord_options *options,
                  struct coord **ret_coord, struct silo_err *err);

#endif
