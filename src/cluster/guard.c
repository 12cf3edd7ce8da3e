/*
 * cluster/guard.c - where one shard stands; see the picture in cluster.h.
 *
 * What moves a guard to its next phase adds the action that goes with it, both in one function of
 * claim.c, open.c or give.c.
 */
#include <stdlib.h>

#include "cluster/cluster_int.h"

struct guard *guard_find(const struct cluster *cluster, const struct uuid *id)
{
    return MAP_ENTRY(map_find(&cluster->by_id, uuid_bytes(id)), struct guard, node);
}

struct guard *guard_add(struct cluster *cluster, const struct uuid *id)
{
    struct guard *guard = xcalloc(1, sizeof *guard);
    guard->id = *id;
    guard->assigned = CLUSTER_NOBODY;
    guard->holder = xstrdup("");
    guard->retry_ms = INT64_MIN;
    guard->give_ms = INT64_MIN;
    map_insert(&cluster->by_id, &guard->node, uuid_bytes(&guard->id));
    if (cluster->guard_count == cluster->guard_cap) {
        cluster->guard_cap = 2 * cluster->guard_cap + 16;
        cluster->guards = xrealloc(cluster->guards, cluster->guard_cap * sizeof *cluster->guards);
    }
    cluster->guards[cluster->guard_count++] = guard;
    return guard;
}

void guard_free(struct cluster *cluster, struct guard *guard)
{
    size_t at = 0;
    while (cluster->guards[at] != guard) {
        at++;
    }
    cluster->guard_count--;
    memmove(&cluster->guards[at], &cluster->guards[at + 1],
            (cluster->guard_count - at) * sizeof *cluster->guards);
    map_remove(&cluster->by_id, &guard->node);
    free(guard->holder);
    free(guard->to);
    free(guard);
}

bool guard_is_self(const struct cluster *cluster, const char *holder)
{
    return strcmp(holder, cluster->self.id) == 0;
}

void guard_move(struct cluster *cluster, struct guard *guard, enum guard_phase phase)
{
    guard->phase = phase;
    cluster->changed = true;
    cluster->directory_dirty = true;
    if (phase != GUARD_PREPARING && phase != GUARD_CLOSING && phase != GUARD_HANDING) {
        free(guard->to);
        guard->to = NULL;
    }
}

struct cluster_action *guard_action(struct cluster *cluster, const struct guard *guard,
                                    enum cluster_action_kind kind)
{
    struct cluster_action *action = action_add(cluster, kind);
    action->shard = guard->id;
    return action;
}

void guard_consider(struct cluster *cluster, struct guard *guard)
{
    switch (guard->phase) {
    case GUARD_IDLE:
        claim_consider(cluster, guard);
        return;
    case GUARD_WAITING:
    case GUARD_DOUBTED:
        open_consider(cluster, guard);
        return;
    case GUARD_PREPARING:
        if (cluster->now_ms >= guard->prepared_ms) {
            give_prepared(cluster, guard);
        }
        return;
    case GUARD_READING:
    case GUARD_CLAIMING:
    case GUARD_OPENING:
    case GUARD_OPEN:
    case GUARD_LOST:
    case GUARD_CLOSING:
    case GUARD_HANDING:
    case GUARD_RELEASING:
        return; /* an answer comes, or nothing is to be done */
    }
}

int64_t guard_next_ms(const struct cluster *cluster, const struct guard *guard)
{
    switch (guard->phase) {
    case GUARD_IDLE:
        return guard->retry_ms > cluster->now_ms ? guard->retry_ms : INT64_MAX;
    case GUARD_WAITING:
        return cluster->confirmed ? guard->retry_ms : INT64_MAX;
    case GUARD_DOUBTED:
        return guard->asked ? INT64_MAX : guard->retry_ms;
    case GUARD_PREPARING:
        return guard->prepared_ms;
    case GUARD_READING:
    case GUARD_CLAIMING:
    case GUARD_OPENING:
    case GUARD_OPEN:
    case GUARD_LOST:
    case GUARD_CLOSING:
    case GUARD_HANDING:
    case GUARD_RELEASING:
        break;
    }
    return INT64_MAX;
}
