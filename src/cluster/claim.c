/*
 * cluster/claim.c - a shard that is free, a dead member's, or this node's from before: its writer
 * is read, then its record is asked for.
 */
#include "cluster/cluster_int.h"

bool claim_is_takeover(const struct guard *guard)
{
    return guard->takeover && (guard->phase == GUARD_READING || guard->phase == GUARD_CLAIMING ||
                               guard->phase == GUARD_OPENING);
}

bool claim_is_orphan(const struct cluster *cluster, const struct guard *guard)
{
    /* What a pinned log holds, nobody but its node can read. */
    return guard->holder[0] != '\0' && guard->settings != NULL &&
           guard->settings->wal == WAL_SHARED &&
           members_find(&cluster->members, guard->holder) == NULL;
}

/* Whether the record lets this node have the shard; *ret_takeover: it is a dead member's. */
static bool free_for_us(const struct cluster *cluster, const struct guard *guard,
                        bool *ret_takeover)
{
    *ret_takeover = false;
    if (guard_is_self(cluster, guard->holder)) {
        return true; /* of an earlier life, or from before it lapsed */
    }
    if (guard->assigned != cluster->members.self) {
        return false;
    }
    if (guard->holder[0] == '\0') {
        return true;
    }
    *ret_takeover = claim_is_orphan(cluster, guard);
    return *ret_takeover && cluster->now_ms >= cluster->hold_until_ms;
}

static bool claimable(const struct cluster *cluster, const struct guard *guard, bool *ret_takeover)
{
    const bool may = join_is_fresh(cluster) && !cluster->leaving && guard->settings != NULL;
    return may && free_for_us(cluster, guard, ret_takeover);
}

void claim_read_writer(struct cluster *cluster, struct guard *guard)
{
    guard->writer_questions++;
    (void)guard_action(cluster, guard, ACTION_READ_WRITER);
}

void claim_ask(struct cluster *cluster, struct guard *guard)
{
    guard_move(cluster, guard, GUARD_CLAIMING);
    struct cluster_action *action = guard_action(cluster, guard, ACTION_CLAIM);
    action->expected = guard->epoch;
    action->map = cluster->map.number;
}

/*
 * A record of a shard that is no more: its holder removes it, and of a dead one's the first member
 * does.
 */
static void consider_retired(struct cluster *cluster, struct guard *guard)
{
    if (!join_is_fresh(cluster) || guard->holder[0] == '\0') {
        return;
    }
    if (guard_is_self(cluster, guard->holder)) {
        give_release(cluster, guard);
    } else if (cluster->members.self == 0 &&
               members_find(&cluster->members, guard->holder) == NULL) {
        guard->retry_ms = cluster->now_ms + CLUSTER_RETIRED_RETRY_MS;
        guard_action(cluster, guard, ACTION_FORCE_RELEASE)->expected = guard->epoch;
    }
}

void claim_consider(struct cluster *cluster, struct guard *guard)
{
    bool takeover = false;
    if (cluster->now_ms < guard->retry_ms) {
        return;
    }
    if (guard->settings == NULL) {
        consider_retired(cluster, guard);
        return;
    }
    if (cluster->leaving && cluster->confirmed && guard_is_self(cluster, guard->holder)) {
        if (give_may_go(guard)) {
            give_on(cluster, guard);
        }
        return;
    }
    if (!claimable(cluster, guard, &takeover) ||
        (takeover && cluster->takeovers >= CLUSTER_TAKEOVERS_MAX)) {
        return;
    }
    cluster->takeovers += takeover ? 1 : 0;
    guard->takeover = takeover;
    if (cluster->guarded) {
        guard_move(cluster, guard, GUARD_READING);
        claim_read_writer(cluster, guard);
    } else {
        claim_ask(cluster, guard);
    }
}

void claim_go_on(struct cluster *cluster, struct guard *guard, const struct cluster_event *event)
{
    bool takeover = false;
    if (event->kind == EVENT_WRITER && claimable(cluster, guard, &takeover)) {
        guard->writer = event->epoch;
        claim_ask(cluster, guard);
        return;
    }
    guard->retry_ms = cluster->now_ms + CLUSTER_CLAIM_RETRY_MS;
    guard_move(cluster, guard, GUARD_IDLE);
}

void claim_lost(struct cluster *cluster, struct guard *guard)
{
    const int64_t retry_ms = cluster->now_ms + CLUSTER_CLAIM_RETRY_MS;
    cluster->counts.claims_lost++;
    guard->retry_ms = guard->retry_ms > retry_ms ? guard->retry_ms : retry_ms;
    guard_move(cluster, guard, GUARD_IDLE);
}

void claim_granted(struct cluster *cluster, struct guard *guard)
{
    cluster->counts.takeovers += guard->takeover ? 1 : 0;
    if (cluster->leaving || guard->settings == NULL) {
        give_on(cluster, guard);
    } else if (!cluster->confirmed) {
        guard_move(cluster, guard, GUARD_IDLE); /* claimed again when it is a member again */
    } else {
        open_begin(cluster, guard);
    }
}
