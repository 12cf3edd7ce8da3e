/*
 * cluster/assign.h - which node each shard should go to: rendezvous hashing with bounded load.
 *
 * Every node of a cluster computes the same from the same shards and nodes. Each pair has a score;
 * from the highest on, a shard that has no node yet goes to the node unless that one has its share,
 * which is the mean, rounded up. Equal scores go by shard, then by node. So a node that comes or
 * goes moves few shards.
 *
 * Ownership  all arrays are the caller's.
 * Threads    no shared state.
 * Limits     memory for shards times nodes while it runs: those of cluster/cluster.h.
 */
#ifndef SILO_CLUSTER_ASSIGN_H
#define SILO_CLUSTER_ASSIGN_H

#include <stddef.h>

#include "base/uuid.h"

/* Of one pair; higher wins. */
uint64_t assign_score(const char *node_id, const struct uuid *shard);
/*
 * ret_nodes[i]: the index of the node that shard i goes to. Node ids must differ, shards too; there
 * is at least one node.
 */
void assign(const struct uuid *shards, size_t shard_count, const char *const *node_ids,
            size_t node_count, uint32_t *ret_nodes);

#endif
