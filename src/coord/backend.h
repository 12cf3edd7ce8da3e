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

/* Of the backend "etcd" alone. */
struct coord_etcd_options {
    const char *const *endpoints; /* URLs, or "host:port" */
    size_t endpoint_count;
    const char *username, *password; /* NULL: etcd asks for none */
    const char *tls_ca, *tls_cert, *tls_key, *tls_name;
};

struct coord_options {
    const struct env *env;
    struct store *store;            /* where the map lies; lent */
    struct cluster_member self;     /* copied */
    int64_t store_timeout_ms;       /* for each answer of the store */
    const char *prefix;             /* of the cluster's names; copied */
    int64_t ttl_ms;                 /* a member that is silent for so long is gone */
    struct coord_etcd_options etcd; /* copied */
};

/* UNIMPLEMENTED: there is no such backend. Nothing is asked of anybody before the first turn. */
SILO_RC coord_new(const char *backend, const struct coord_options *options,
                  struct coord **ret_coord, struct silo_err *err);

#endif
