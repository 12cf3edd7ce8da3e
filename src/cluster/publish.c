/* cluster/publish.c - what the directory says: where every shard of the map is now. */
#include <stdlib.h>

#include "cluster/cluster_int.h"

/* All members, and this node even while it is none. */
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
        directory_builder_self(builder, nodes[members->self]);
        return;
    }
    const struct directory_node self = {.id = cluster->self.id,
                                        .address = cluster->self.address,
                                        .rings = cluster->self.rings,
                                        .ring_count = cluster->self.ring_count};
    directory_builder_self(builder, directory_builder_node(builder, &self));
}

static void publish_shard(const struct cluster *cluster, const struct guard *guard,
                          const uint32_t *nodes, struct directory_shard *ret_shard)
{
    const struct cluster_shard *settings = guard->settings;
    struct directory_shard shard = {.id = guard->id,
                                    .order = settings->order,
                                    .place = PLACE_UNASSIGNED,
                                    .node = DIRECTORY_NO_NODE};
    memcpy(shard.range_start, settings->range_start, sizeof shard.range_start);
    memcpy(shard.range_end, settings->range_end, sizeof shard.range_end);
    const struct cluster_member *owner = members_find(&cluster->members, guard->holder);
    const bool other = owner != NULL && strcmp(owner->id, cluster->self.id) != 0;
    if (guard->ref.generation != 0) {
        shard.place = PLACE_HERE;
        shard.ref = guard->ref;
    } else if (other) {
        shard.place = PLACE_NODE;
        shard.node = nodes[owner - cluster->members.all];
    }
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
