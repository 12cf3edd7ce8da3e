/*
 * cluster/balance.c - which shards are given away, and when.
 *
 * A member that stays gives away what is assigned to another: a few at a time, not many of them to
 * one, when everything is served by somebody and nothing has changed for a while; so a node that
 * comes and goes moves little, and whoever died is stood in for first.
 *
 * A member that leaves gives away all it has, more at a time, and has one time for all of it: what
 * is open after that is closed as it is. What nobody else should have is closed and released at
 * once.
 */
#include "base/saturate.h"
#include "cluster/cluster_int.h"

void balance_stir(struct cluster *cluster)
{
    cluster->stirred_ms = cluster->now_ms;
    cluster->changed = true;
}

/* Whether somebody should have the shard, and nobody has it. */
static bool is_missing(const struct cluster *cluster, const struct guard *guard)
{
    if (guard->settings == NULL || guard->assigned == CLUSTER_NOBODY) {
        return false;
    }
    const bool coming = guard->phase == GUARD_READING || guard->phase == GUARD_CLAIMING ||
                        guard->phase == GUARD_OPENING;
    return guard->holder[0] == '\0' || claim_is_orphan(cluster, guard) || coming;
}

static bool any_missing(const struct cluster *cluster)
{
    for (size_t i = 0; i < cluster->guard_count; i++) {
        if (is_missing(cluster, cluster->guards[i])) {
            return true;
        }
    }
    return false;
}

/* Of those that are on their way; with an id: to that member. */
static size_t count_moves(const struct cluster *cluster, const char *to)
{
    size_t count = 0;
    for (size_t i = 0; i < cluster->guard_count; i++) {
        const char *other = cluster->guards[i]->to;
        count += other != NULL && (to == NULL || strcmp(other, to) == 0) ? 1 : 0;
    }
    return count;
}

static void wake_at(struct cluster *cluster, int64_t at_ms)
{
    cluster->balance_ms = earlier(cluster->balance_ms, at_ms);
}

/* All members together give one of them as many at a time as one gives away. */
static size_t toward_one_max(const struct cluster *cluster)
{
    const size_t givers = cluster->members.count > 1 ? cluster->members.count - 1 : 1;
    return givers < CLUSTER_MOVES_MAX ? CLUSTER_MOVES_MAX / givers : 1;
}

static void give_what_is_anothers(struct cluster *cluster)
{
    const bool missing = any_missing(cluster);
    if (missing || cluster->orphaned) {
        cluster->stirred_ms = cluster->now_ms;
    }
    cluster->orphaned = missing;
    const int64_t quiet_ms = cluster->stirred_ms + CLUSTER_QUIET_MS;
    size_t moves = count_moves(cluster, NULL);
    for (size_t i = 0; i < cluster->guard_count && !missing; i++) {
        struct guard *guard = cluster->guards[i];
        const char *to = guard->phase == GUARD_OPEN ? give_successor(cluster, guard) : NULL;
        const int64_t at_ms = guard->give_ms > quiet_ms ? guard->give_ms : quiet_ms;
        if (to == NULL) {
            continue;
        }
        if (cluster->now_ms < at_ms) {
            wake_at(cluster, at_ms);
        } else if (moves < CLUSTER_MOVES_MAX &&
                   count_moves(cluster, to) < toward_one_max(cluster)) {
            moves++;
            give_begin(cluster, guard, to);
        }
    }
}

/* --- leaving --- */

static void give_up_all(struct cluster *cluster)
{
    for (size_t i = 0; i < cluster->guard_count; i++) {
        give_up(cluster, cluster->guards[i]);
    }
}

static void drain(struct cluster *cluster)
{
    if (!join_is_fresh(cluster) || cluster->now_ms >= cluster->leave_until_ms) {
        give_up_all(cluster);
        return;
    }
    size_t moves = count_moves(cluster, NULL);
    for (size_t i = 0; i < cluster->guard_count; i++) {
        struct guard *guard = cluster->guards[i];
        const char *to = give_successor(cluster, guard);
        if (guard->phase == GUARD_OPEN && to != NULL) {
            if (moves < CLUSTER_DRAINS_MAX) {
                moves++;
                give_begin(cluster, guard, to);
            }
        } else if (guard->phase != GUARD_PREPARING) {
            give_up(cluster, guard);
        }
    }
    wake_at(cluster, cluster->leave_until_ms);
}

void balance_leave(struct cluster *cluster)
{
    cluster->leaving = true;
    cluster->leave_until_ms = cluster->now_ms + CLUSTER_LEAVE_MS;
    (void)action_add(cluster, ACTION_LEAVE);
    members_assign(cluster); /* to others, whether the coordinator knows of it or not */
    drain(cluster);
}

void balance_consider(struct cluster *cluster)
{
    cluster->balance_ms = INT64_MAX;
    if (cluster->leaving) {
        drain(cluster);
    } else if (join_is_fresh(cluster)) {
        give_what_is_anothers(cluster);
    }
}
