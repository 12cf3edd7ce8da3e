/*
 * sim/members/settle.c - what must be when nothing goes wrong any more: every shard is served by
 * the node it is assigned to, unless nobody may have it, or its log is with a node that is gone;
 * and everybody knows.
 */
#include <string.h>

#include "cluster/assign.h"
#include "sim/members/members.h"

static bool takes(const struct world *world, int node, const char *ring)
{
    if (world->lives[node].cluster == NULL || world->lives[node].leaving) {
        return false;
    }
    const char *const *rings;
    const size_t count = node_rings(world, node, &rings);
    bool in = ring == NULL && count == 0;
    for (size_t i = 0; i < count; i++) {
        in = in || strcmp(rings[i], ring != NULL ? ring : DIRECTORY_RING_DEFAULT) == 0;
    }
    return in;
}

static bool same_ring(const char *a, const char *b)
{
    return strcmp(a != NULL ? a : "", b != NULL ? b : "") == 0;
}

/* Where the shard should be; NOBODY: nobody may have it. */
static int assigned(const struct world *world, const struct cluster_shard *shard)
{
    struct uuid shards[MEMBERS_SHARDS];
    const char *ids[MEMBERS_NODES];
    uint32_t nodes[MEMBERS_SHARDS];
    size_t shard_count = 0, node_count = 0, at = 0;
    for (size_t i = 0; i < world->map.shard_count; i++) {
        if (same_ring(world->map.shards[i].ring, shard->ring)) {
            at = uuid_eq(&world->map.shards[i].id, &shard->id) ? shard_count : at;
            shards[shard_count++] = world->map.shards[i].id;
        }
    }
    for (int i = 0; i < MEMBERS_NODES; i++) {
        if (takes(world, i, shard->ring)) {
            ids[node_count++] = node_name(i);
        }
    }
    if (node_count == 0) {
        return NOBODY;
    }
    assign(shards, shard_count, ids, node_count, nodes);
    return node_number(ids[nodes[at]]);
}

static const char *const places[] = {[PLACE_HERE] = "here",
                                     [PLACE_NODE] = "at a node",
                                     [PLACE_MOVING] = "moving",
                                     [PLACE_SPLITTING] = "splitting",
                                     [PLACE_STRANDED] = "stranded",
                                     [PLACE_RETIRED] = "retired",
                                     [PLACE_UNASSIGNED] = "unassigned"};

static enum directory_place place_wanted(const struct world *world, int node, int shard)
{
    const int owner = world->records[shard].holder;
    if (owner == node) {
        return PLACE_HERE;
    }
    if (owner == NOBODY) {
        return PLACE_UNASSIGNED;
    }
    if (world->lives[owner].cluster == NULL) {
        return world->pinned ? PLACE_STRANDED : PLACE_UNASSIGNED;
    }
    return PLACE_NODE;
}

static void check_directory(struct world *world, int node, const struct cluster_shard *shard)
{
    struct directory *directory = cluster_directory(world->lives[node].cluster);
    const struct directory_shard *entry =
        directory != NULL ? directory_find(directory, &shard->id) : NULL;
    const int at = world_shard(world, &shard->id);
    const enum directory_place wanted = place_wanted(world, node, at);
    const char *owner = node_name(world->records[at].holder);
    const bool right =
        entry != NULL && entry->place == wanted &&
        (wanted != PLACE_NODE || strcmp(directory->nodes[entry->node].id, owner) == 0) &&
        (wanted != PLACE_STRANDED || strcmp(entry->holder, owner) == 0) &&
        same_ring(entry->ring, shard->ring);
    if (!right) {
        world_fail(world, "directory", "%s says that shard %d, which is %s's, is %s",
                   node_name(node), at, owner, entry != NULL ? places[entry->place] : "nowhere");
    }
    directory_unref(directory);
}

/* Nothing is left of a shard that the map has no more. */
static void check_retired(struct world *world, int shard)
{
    if (!rules_map_has(world, &world->shards[shard]) &&
        (world->records[shard].holder != NOBODY || world->engine[shard].open_by != NOBODY)) {
        world_fail(world, "retired", "shard %d is kept, open at %d, and its record names %d", shard,
                   world->engine[shard].open_by, world->records[shard].holder);
    }
}

static void check_shard(struct world *world, const struct cluster_shard *shard)
{
    const int at = world_shard(world, &shard->id), should = assigned(world, shard);
    const int by = world->engine[at].open_by, holder = world->records[at].holder;
    const bool gone = holder != NOBODY && world->lives[holder].cluster == NULL;
    const bool stays = should == NOBODY || (gone && world->pinned);
    if (by == NOBODY ? !stays : holder != by) {
        world_fail(world, "settle", "shard %d is open at %d, and its record names %d", at, by,
                   holder);
    } else if (!stays && by != should) {
        world_fail(world, "balance", "shard %d is at %s, and should be at %s", at, node_name(by),
                   node_name(should));
    }
}

static void check_life(struct world *world, int node)
{
    const struct life *life = &world->lives[node];
    for (size_t i = 0; i < MEMBERS_QUESTIONS; i++) {
        if (life->asked[i].waits) {
            world_fail(world, "answer", "%s has not answered a question about shard %d",
                       node_name(node), world_shard(world, &life->asked[i].question.shard));
        }
    }
    if (life->strict) {
        world_fail(world, "strict", "%s is a member, and is strict", node_name(node));
    }
}

void settle_check(struct world *world)
{
    for (int shard = 0; shard < (int)world->shard_count; shard++) {
        check_retired(world, shard);
    }
    for (size_t i = 0; i < world->map.shard_count && !world->failed; i++) {
        check_shard(world, &world->map.shards[i]);
        for (int node = 0; node < MEMBERS_NODES && !world->failed; node++) {
            if (world->lives[node].cluster != NULL) {
                check_directory(world, node, &world->map.shards[i]);
            }
        }
    }
    for (int node = 0; node < MEMBERS_NODES && !world->failed; node++) {
        if (world->lives[node].cluster != NULL) {
            check_life(world, node);
        }
    }
}
