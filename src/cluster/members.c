/*
 * cluster/members.c - who is a member, and which shards each should have.
 *
 * When more than half of the members vanish at once, it is rather their coordinator that was away:
 * what they have is not taken over before they had time to come back.
 */
#include <stdlib.h>

#include "cluster/assign.h"
#include "cluster/cluster_int.h"

struct cluster_member member_copy(const struct cluster_member *member)
{
    struct cluster_member copy = *member;
    copy.id = xstrdup(member->id);
    copy.address = xstrdup(member->address);
    char **rings = xcalloc(member->ring_count + 1, sizeof *rings);
    for (size_t i = 0; i < member->ring_count; i++) {
        rings[i] = xstrdup(member->rings[i]);
    }
    copy.rings = (const char *const *)rings;
    return copy;
}

void member_deinit(struct cluster_member *member)
{
    for (size_t i = 0; i < member->ring_count; i++) {
        free((char *)member->rings[i]);
    }
    free((char **)member->rings);
    free((char *)member->address);
    free((char *)member->id);
}

void members_deinit(struct members *members)
{
    for (size_t i = 0; i < members->count; i++) {
        member_deinit(&members->all[i]);
    }
    free(members->all);
    *members = (struct members){.self = CLUSTER_NOBODY};
}

static int member_order(const void *a, const void *b)
{
    const struct cluster_member *x = a, *y = b;
    return strcmp(x->id, y->id);
}

const struct cluster_member *members_find(const struct members *members, const char *id)
{
    const struct cluster_member key = {.id = id};
    return members->count == 0
               ? NULL
               : bsearch(&key, members->all, members->count, sizeof *members->all, member_order);
}

/* A member that names no ring is one of the default ring. */
static bool takes_shards_of(const struct cluster_member *member, const char *ring)
{
    const char *name = ring != NULL ? ring : DIRECTORY_RING_DEFAULT;
    bool eligible = ring == NULL && member->ring_count == 0;
    for (size_t i = 0; i < member->ring_count; i++) {
        eligible = eligible || strcmp(member->rings[i], name) == 0;
    }
    return eligible && !member->leaving;
}

bool members_have_ring(const struct cluster *cluster, const char *ring)
{
    const struct members *members = &cluster->members;
    if (takes_shards_of(&cluster->self, ring) && !cluster->leaving) {
        return true;
    }
    for (size_t i = 0; i < members->count; i++) {
        if (takes_shards_of(&members->all[i], ring)) {
            return true;
        }
    }
    return false;
}

static size_t count_vanished(const struct members *before, const struct members *now)
{
    size_t vanished = 0;
    for (size_t i = 0; i < before->count; i++) {
        vanished += members_find(now, before->all[i].id) == NULL ? 1 : 0;
    }
    return vanished;
}

void members_take(struct cluster *cluster, const struct cluster_event *event)
{
    struct members now = {.all = xcalloc(event->member_count + 1, sizeof *now.all),
                          .self = CLUSTER_NOBODY};
    for (size_t i = 0; i < event->member_count && i < CLUSTER_MEMBERS_MAX; i++) {
        now.all[now.count++] = member_copy(&event->members[i]);
    }
    qsort(now.all, now.count, sizeof *now.all, member_order);
    const struct cluster_member *self = members_find(&now, cluster->self.id);
    if (self != NULL && self->nonce == cluster->self.nonce) {
        now.self = (uint32_t)(self - now.all);
    }
    if (self != NULL && self->nonce != cluster->self.nonce && cluster->confirmed) {
        join_displaced(cluster);
    }
    if (2 * count_vanished(&cluster->members, &now) > cluster->members.count) {
        cluster->hold_until_ms = cluster->now_ms + cluster->ttl_ms;
    }
    members_deinit(&cluster->members);
    cluster->members = now;
    cluster->members_fresh = true;
    cluster->directory_dirty = true;
    members_assign(cluster);
    balance_stir(cluster);
}

static bool same_ring(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* What is given out for one ring. */
struct lots {
    uint32_t *takers;
    const char **ids;
    size_t taker_count;
    struct uuid *shards;
    struct guard **guards;
    size_t shard_count;
    uint32_t *nodes;
};

static void ring_assign(struct cluster *cluster, const char *ring, struct lots *lots)
{
    const struct members *members = &cluster->members;
    lots->taker_count = 0;
    for (uint32_t i = 0; i < members->count; i++) {
        const bool goes = cluster->leaving && i == members->self;
        const bool alone = !cluster->guarded; /* then it serves every shard, whatever its rings */
        if ((alone || takes_shards_of(&members->all[i], ring)) && !goes) {
            lots->takers[lots->taker_count] = i;
            lots->ids[lots->taker_count++] = members->all[i].id;
        }
    }
    lots->shard_count = 0;
    for (size_t i = 0; i < cluster->map.shard_count; i++) {
        if (same_ring(cluster->map.shards[i].ring, ring)) {
            lots->shards[lots->shard_count] = cluster->map.shards[i].id;
            lots->guards[lots->shard_count] = guard_find(cluster, &cluster->map.shards[i].id);
            lots->shard_count++;
        }
    }
    if (lots->taker_count > 0) {
        assign(lots->shards, lots->shard_count, lots->ids, lots->taker_count, lots->nodes);
    }
    for (size_t i = 0; i < lots->shard_count; i++) {
        lots->guards[i]->assigned =
            lots->taker_count > 0 ? lots->takers[lots->nodes[i]] : CLUSTER_NOBODY;
    }
}

/* Whether an earlier shard of the map has the same ring. */
static bool ring_seen(const struct cluster_map *map, size_t shard)
{
    for (size_t i = 0; i < shard; i++) {
        if (same_ring(map->shards[i].ring, map->shards[shard].ring)) {
            return true;
        }
    }
    return false;
}

void members_assign(struct cluster *cluster)
{
    const size_t members = cluster->members.count + 1, shards = cluster->map.shard_count + 1;
    struct lots lots = {.takers = xcalloc(members, sizeof *lots.takers),
                        .ids = xcalloc(members, sizeof *lots.ids),
                        .shards = xcalloc(shards, sizeof *lots.shards),
                        .guards = xcalloc(shards, sizeof *lots.guards),
                        .nodes = xcalloc(shards, sizeof *lots.nodes)};
    for (size_t i = 0; i < cluster->map.shard_count; i++) {
        if (!ring_seen(&cluster->map, i)) {
            ring_assign(cluster, cluster->map.shards[i].ring, &lots);
        }
    }
    free(lots.nodes);
    free((void *)lots.guards);
    free(lots.shards);
    free((void *)lots.ids);
    free(lots.takers);
    cluster->changed = true;
}
