/*
 * cluster/members.c - who is a member, and which shards each should have.
 *
 * When more than half of the members vanish at once, it is rather their coordinator that was away:
 * what they have is not taken over before they had time to come back.
 */
#include <stdlib.h>

#include "cluster/assign.h"
#include "cluster/cluster_int.h"

#define RING_DEFAULT "default"

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

/* A member of no ring, or of the default one among others, takes shards of no ring. */
static bool takes_shards(const struct cluster_member *member)
{
    bool eligible = member->ring_count == 0;
    for (size_t i = 0; i < member->ring_count; i++) {
        eligible = eligible || strcmp(member->rings[i], RING_DEFAULT) == 0;
    }
    return eligible && !member->leaving;
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
    if (2 * count_vanished(&cluster->members, &now) > cluster->members.count) {
        cluster->hold_until_ms = cluster->now_ms + cluster->ttl_ms;
    }
    members_deinit(&cluster->members);
    cluster->members = now;
    cluster->members_fresh = true;
    cluster->directory_dirty = true;
    members_assign(cluster);
}

void members_assign(struct cluster *cluster)
{
    const struct members *members = &cluster->members;
    const struct cluster_map *map = &cluster->map;
    uint32_t *takers = xcalloc(members->count + 1, sizeof *takers);
    const char **ids = xcalloc(members->count + 1, sizeof *ids);
    size_t count = 0;
    for (uint32_t i = 0; i < members->count; i++) {
        if (takes_shards(&members->all[i])) {
            takers[count] = i;
            ids[count++] = members->all[i].id;
        }
    }
    struct uuid *shards = xcalloc(map->shard_count + 1, sizeof *shards);
    uint32_t *nodes = xcalloc(map->shard_count + 1, sizeof *nodes);
    for (size_t i = 0; i < map->shard_count; i++) {
        shards[i] = map->shards[i].id;
    }
    if (count > 0) {
        assign(shards, map->shard_count, ids, count, nodes);
    }
    for (size_t i = 0; i < map->shard_count; i++) {
        guard_find(cluster, &shards[i])->assigned = count > 0 ? takers[nodes[i]] : CLUSTER_NOBODY;
    }
    free(nodes);
    free(shards);
    free(ids);
    free(takers);
    cluster->changed = true;
}
