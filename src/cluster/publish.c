/* cluster/publish.c - what the directory says: where every shard of the map is now. */
#include <stdlib.h>

#include "cluster/cluster_int.h"

/* All members, and behind them this node, even while it is none. */
static void publish_nodes(const struct cluster *cluster, struct directory_builder *builder,
                          uint32_t *nodes)
{
    const struct members *members = &cluster->members;
    for (size_t i = 0; i < members->count; i++) {
        const struct cluster_member *member = &members->all[i];
        const struct directory_node node = {.id = member->id,
                                            .address = member->address,
                                            .rings = member->rings,
                                            .ring_count = member->ring_count,
                                            .leaving = member->leaving};
        nodes[i] = directory_builder_node(builder, &node);
    }
    if (members->self != CLUSTER_NOBODY) {
        nodes[members->count] = nodes[members->self];
        directory_builder_self(builder, nodes[members->self]);
        return;
    }
    const struct directory_node self = {.id = cluster->self.id,
                                        .address = cluster->self.address,
                                        .rings = cluster->self.rings,
                                        .ring_count = cluster->self.ring_count};
    nodes[members->count] = directory_builder_node(builder, &self);
    directory_builder_self(builder, nodes[members->count]);
}

/* Whether it is about to be opened here, so that calls are worth keeping. */
static bool comes_here(const struct cluster *cluster, const struct guard *guard)
{
    switch (guard->phase) {
    case GUARD_READING:
    case GUARD_CLAIMING:
    case GUARD_OPENING:
    case GUARD_DOUBTED:
        return true;
    case GUARD_IDLE:
    case GUARD_WAITING:
    case GUARD_OPEN:
    case GUARD_PREPARING:
    case GUARD_LOST:
    case GUARD_CLOSING:
    case GUARD_HANDING:
    case GUARD_RELEASING:
        break;
    }
    return guard_is_self(cluster, guard->holder) && !cluster->leaving;
}

static void publish_place(const struct cluster *cluster, const struct guard *guard,
                          const uint32_t *nodes, struct directory_shard *shard)
{
    const struct members *members = &cluster->members;
    const bool going = guard->phase == GUARD_CLOSING || guard->phase == GUARD_HANDING;
    const struct cluster_member *to =
        going && guard->to != NULL ? members_find(members, guard->to) : NULL;
    const struct cluster_member *owner = members_find(members, guard->holder);
    if (to != NULL) {
        shard->place = PLACE_MOVING;
        shard->node = nodes[to - members->all];
    } else if (guard->ref.generation != 0) {
        shard->place = PLACE_HERE;
        shard->ref = guard->ref;
    } else if (owner != NULL && !guard_is_self(cluster, owner->id)) {
        shard->place = PLACE_NODE;
        shard->node = nodes[owner - members->all];
    } else if (comes_here(cluster, guard)) {
        shard->place = PLACE_MOVING;
        shard->node = nodes[members->count];
    } else if (owner == NULL && guard->holder[0] != '\0' && guard->settings->wal == WAL_PINNED) {
        shard->place = PLACE_STRANDED;
        shard->holder = guard->holder;
    }
}

static void publish_shard(const struct cluster *cluster, const struct guard *guard,
                          const uint32_t *nodes, struct directory_shard *ret_shard)
{
    const struct cluster_shard *settings = guard->settings;
    struct directory_shard shard = {.id = guard->id,
                                    .order = settings->order,
                                    .ring = settings->ring,
                                    .place = PLACE_UNASSIGNED,
                                    .node = DIRECTORY_NO_NODE};
    memcpy(shard.range_start, settings->range_start, sizeof shard.range_start);
    memcpy(shard.range_end, settings->range_end, sizeof shard.range_end);
    publish_place(cluster, guard, nodes, &shard);
    *ret_shard = shard;
}

struct directory *cluster_directory(const struct cluster *cluster)
{
    if (cluster->map.number == 0) {
        return NULL;
    }
    struct directory_builder builder;
    directory_builder_init(&builder, &cluster->map.cluster_id);
    directory_builder_map(&builder, cluster->map.number);
    uint32_t *nodes = xcalloc(cluster->members.count + 1, sizeof *nodes);
    publish_nodes(cluster, &builder, nodes);
    for (size_t i = 0; i < cluster->map.shard_count; i++) {
        const struct guard *guard = guard_find(cluster, &cluster->map.shards[i].id);
        struct directory_shard shard;
        publish_shard(cluster, guard, nodes, &shard);
        directory_builder_shard(&builder, &shard);
    }
    free(nodes);
    return directory_builder_finish(&builder);
}
