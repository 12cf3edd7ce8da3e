/*
 * cluster/join.c - this node's own membership: from joining to joining again.
 *
 * A node that was killed may find itself still a member, until its lease ends; so one whose id is
 * taken tries again for as long as a lease can last. Then it is another process, which lives, and
 * this one must not go on. What counts is when it asked: answers may have waited while it stood
 * still.
 */
#include <stdio.h>
#include <stdlib.h>

#include "cluster/cluster_int.h"

bool join_is_fresh(const struct cluster *cluster)
{
    return cluster->confirmed && cluster->map_fresh && cluster->members_fresh &&
           cluster->owners_fresh && cluster->members.self != CLUSTER_NOBODY;
}

/*
 * Who took a shard over while this node was none is known as soon as the records were read, and
 * from then on nobody takes any from a member.
 */
void join_strict(struct cluster *cluster)
{
    const bool strict = !cluster->confirmed || !cluster->owners_fresh;
    if (strict != cluster->strict) {
        cluster->strict = strict;
        action_add(cluster, ACTION_STRICT)->strict = strict;
    }
}

static void join(struct cluster *cluster)
{
    cluster->rejoin_ms = INT64_MAX;
    cluster->asked_ms = cluster->now_ms;
    (void)action_add(cluster, ACTION_JOIN);
}

void join_confirmed(struct cluster *cluster)
{
    cluster->confirmed = true;
    cluster->changed = true;
    cluster->taken_ms = INT64_MAX;
    cluster->rejoin_ms = INT64_MAX;
    (void)action_add(cluster, ACTION_READ_MAP); /* what changed before nobody told us */
}

/* What only a member may ask for, and was not asked for yet. */
static void forget_requests(struct cluster *cluster)
{
    struct list_node *next = NULL;
    for (struct list_node *node = list_first(&cluster->actions); node != NULL; node = next) {
        next = list_next(&cluster->actions, node);
        struct action_node *action = CONTAINER_OF(node, struct action_node, node);
        const enum cluster_action_kind kind = action->action.kind;
        if (kind == ACTION_CLAIM || kind == ACTION_RELEASE || kind == ACTION_HAND_OVER) {
            guard_move(cluster, guard_find(cluster, &action->action.shard), GUARD_IDLE);
            list_remove(node);
            free(action);
        }
    }
}

void join_lapsed(struct cluster *cluster)
{
    forget_requests(cluster);
    cluster->confirmed = false;
    cluster->map_fresh = false;
    cluster->members_fresh = false;
    cluster->owners_fresh = false;
    join_strict(cluster);
    cluster->changed = true;
    join(cluster);
}

void join_displaced(struct cluster *cluster)
{
    char text[SILO_ERR_TEXT_MAX];
    (void)snprintf(text, sizeof text,
                   "another process is a member of the cluster under this node's id, \"%.128s\"; "
                   "give each server a coordination.node_id of its own",
                   cluster->self.id);
    cluster_refuse(cluster, SILO_EXISTS, text);
}

void join_taken(struct cluster *cluster)
{
    if (cluster->taken_ms == INT64_MAX) {
        cluster->taken_ms = cluster->now_ms;
    }
    if (cluster->asked_ms - cluster->taken_ms > cluster->ttl_ms + CLUSTER_TAKEN_MS) {
        join_displaced(cluster);
    } else {
        cluster->rejoin_ms = cluster->now_ms + CLUSTER_REJOIN_MS;
    }
}

void join_consider(struct cluster *cluster)
{
    if (cluster->now_ms >= cluster->rejoin_ms) {
        join(cluster);
    }
}
