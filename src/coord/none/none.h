/*
 * coord/none/none.h - no coordinator: the one node takes every shard of the map in the store.
 *
 * It is a member as soon as it asks, alone, and every claim is granted. Two of them on one store
 * settle by the engine's fencing: who owns a shard that was fenced is not known here, so the node
 * stays out of it (CLUSTER_HOLDER_UNKNOWN) until it is started again.
 *
 * Ownership, threads and limits are those of coord/coord.h.
 */
#ifndef SILO_COORD_NONE_NONE_H
#define SILO_COORD_NONE_NONE_H

#include "coord/backend.h"

SILO_RC coord_none_new(const struct coord_options *options, struct coord **ret_coord,
                       struct silo_err *err);

#endif
