/*
 * coord/etcd/etcd.h - the coordinator that is etcd (3.4 or later): members under leases, owner
 * records changed by transactions, one watch, and the map in the store with its number in etcd.
 *
 * Everything but the network runs in the turn of whoever has it. Nothing is asked of anybody before
 * the first call.
 *
 * Ownership  the options' strings are copied, the store is lent.
 * Threads    as coord/coord.h; the network has a thread of its own.
 * Limits     those of cluster/cluster.h and coord/etcd/link.h.
 */
#ifndef SILO_COORD_ETCD_ETCD_H
#define SILO_COORD_ETCD_ETCD_H

#include "coord/backend.h"

/* INVALID: endpoints or files of TLS that cannot be used. */
SILO_RC coord_etcd_new(const struct coord_options *options, struct coord **ret_coord,
                       struct silo_err *err);

#endif
