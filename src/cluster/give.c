/*
 * cluster/give.c - a shard goes from here: it is prepared while it serves, closed, and its record
 * handed over to its successor; or released when there is none.
 *
 *   OPEN ──another's──► PREPARING ──prepared, late──► CLOSING ──closed──► HANDING ──granted──► IDLE
 *    ▲                      │                            │                   │
 *    └──no successor left───┘          no successor left │                   │ lost
 *    └── claimed, opened ──── DOUBTED ◄──────────────────┴───────────────────┘
 *
 * Until the record names another, the shard is opened again here when its successor is gone. There
 * is never a time in which the record names nobody, so there is nothing to race for.
 *
 * A node that is no member gives nothing up: what it has closed by then it claims again when it is
 * one. A shard whose log nobody else can read goes only when its log is empty.
 */
#include <stdlib.h>

#include "base/saturate.h"
#include "cluster/cluster_int.h"

#define GIVE_DOUBLINGS_MAX 5u

bool give_is_under_way(const struct guard *guard)
{
    return guard->to != NULL;
}

const char *give_successor(const struct cluster *cluster, const struct guard *guard)
{
    const struct members *members = &cluster->members;
    if (!join_is_fresh(cluster) || guard->settings == NULL || guard->assigned == CLUSTER_NOBODY ||
        guard->assigned == members->self) {
        return NULL;
    }
    return members->all[guard->assigned].id;
}

bool give_may_go(const struct guard *guard)
{
    return guard->settings == NULL || guard->settings->wal == WAL_SHARED || guard->emptied;
}

static void successor_set(struct guard *guard, const char *to)
{
    char *copy = to != NULL ? xstrdup(to) : NULL;
    free(guard->to);
    guard->to = copy;
}

void give_begin(struct cluster *cluster, struct guard *guard, const char *to)
{
    const int64_t prepared_ms = cluster->now_ms + CLUSTER_PREPARE_MS;
    successor_set(guard, to);
    guard_move(cluster, guard, GUARD_PREPARING);
    guard->prepared_ms =
        cluster->leaving ? earlier(prepared_ms, cluster->leave_until_ms) : prepared_ms;
    cluster->counts.moves_begun++;
    (void)guard_action(cluster, guard, ACTION_PREPARE);
}

static void close_begin(struct cluster *cluster, struct guard *guard)
{
    guard_move(cluster, guard, GUARD_CLOSING);
    (void)guard_action(cluster, guard, ACTION_CLOSE);
}

void give_prepared(struct cluster *cluster, struct guard *guard)
{
    if (guard->phase != GUARD_PREPARING) {
        return; /* an answer that nobody waits for any more */
    }
    const char *to = give_successor(cluster, guard);
    const bool same = to != NULL && strcmp(to, guard->to) == 0;
    if (!same && !cluster->leaving) { /* there may be many on their way to the other one */
        guard_move(cluster, guard, GUARD_OPEN);
        return;
    }
    successor_set(guard, to);
    close_begin(cluster, guard);
}

void give_release(struct cluster *cluster, struct guard *guard)
{
    guard_move(cluster, guard, GUARD_RELEASING);
    guard->given_epoch = guard->epoch;
    guard_action(cluster, guard, ACTION_RELEASE)->epoch = guard->epoch;
}

static void hand_over(struct cluster *cluster, struct guard *guard, const char *to)
{
    successor_set(guard, to);
    guard_move(cluster, guard, GUARD_HANDING);
    guard->given_epoch = guard->epoch;
    guard_action(cluster, guard, ACTION_HAND_OVER)->epoch = guard->epoch;
}

/* One that could not be handed over once is there for whoever comes. */
void give_on(struct cluster *cluster, struct guard *guard)
{
    const char *to = guard->refused ? NULL : give_successor(cluster, guard);
    if (!give_may_go(guard)) {
        guard_move(cluster, guard, GUARD_IDLE);
    } else if (to != NULL) {
        hand_over(cluster, guard, to);
    } else {
        give_release(cluster, guard);
    }
}

void give_up(struct cluster *cluster, struct guard *guard)
{
    switch (guard->phase) {
    case GUARD_OPENING:
    case GUARD_WAITING:
    case GUARD_OPEN:
    case GUARD_PREPARING:
    case GUARD_DOUBTED:
    case GUARD_LOST:
        successor_set(guard, cluster->leaving ? give_successor(cluster, guard) : NULL);
        close_begin(cluster, guard);
        return;
    case GUARD_READING:
        guard_move(cluster, guard, GUARD_IDLE);
        return;
    case GUARD_IDLE:
    case GUARD_CLAIMING:
    case GUARD_CLOSING:
    case GUARD_HANDING:
    case GUARD_RELEASING:
        return; /* nothing is here, or it ends by itself */
    }
}

/* Nothing of it runs here, and the record names this node as far as is known. */
static void closed_ours(struct cluster *cluster, struct guard *guard)
{
    if (!cluster->confirmed) {
        guard_move(cluster, guard, GUARD_IDLE);
        return;
    }
    const bool stays = !cluster->leaving && guard->settings != NULL;
    const bool goes = give_is_under_way(guard) && give_successor(cluster, guard) != NULL;
    if (stays && !give_may_go(guard)) {
        guard->give_ms = cluster->now_ms + CLUSTER_PINNED_RETRY_MS;
        open_again(cluster, guard);
    } else if (stays && !goes) {
        open_again(cluster, guard);
    } else {
        give_on(cluster, guard);
    }
}

void give_closed(struct cluster *cluster, struct guard *guard, bool empty)
{
    if (guard->ref.generation != 0) {
        guard_action(cluster, guard, ACTION_REMOVE)->ref = guard->ref;
        guard->ref = SHARD_REF_NONE;
    }
    const bool ours = guard_is_self(cluster, guard->holder) && !guard->drop;
    /* A record that was taken away from here is not wanted back at once. */
    const bool taken = guard->drop && guard->holder[0] == '\0';
    guard->drop = false;
    guard->emptied = empty;
    guard->failures = ours ? guard->failures : 0;
    guard->retry_ms = cluster->now_ms + (taken ? CLUSTER_FORCED_PAUSE_MS : 0);
    if (ours) {
        closed_ours(cluster, guard);
    } else {
        guard_move(cluster, guard, GUARD_IDLE);
    }
}

/*
 * Whether an answer to a hand-over or a release says more than is known. Else the record has
 * changed since: it may have come back, so one that names this node is read.
 */
bool give_is_news(struct cluster *cluster, struct guard *guard)
{
    if (guard->epoch == guard->given_epoch) {
        return true;
    }
    if (guard_is_self(cluster, guard->holder)) {
        open_doubt(cluster, guard);
    } else {
        guard_move(cluster, guard, GUARD_IDLE);
    }
    return false;
}

void give_handed_over(struct cluster *cluster, struct guard *guard, uint64_t epoch)
{
    if (guard->phase != GUARD_HANDING) {
        return;
    }
    cluster->counts.handed_over++;
    guard->refusals = 0;
    char *to = STEAL(guard->to);
    if (give_is_news(cluster, guard)) {
        guard_move(cluster, guard, GUARD_IDLE);
        hear_record(cluster, guard, to, epoch);
    }
    free(to);
}

/* Each try costs the shard a short absence. */
static int64_t give_pause_ms(uint32_t refusals)
{
    return (int64_t)CLUSTER_GIVE_RETRY_MS << refusals;
}

void give_lost(struct cluster *cluster, struct guard *guard)
{
    if (guard->phase != GUARD_HANDING) {
        return;
    }
    cluster->counts.hand_overs_lost++;
    guard->refused = true;
    guard->give_ms = cluster->now_ms + give_pause_ms(guard->refusals);
    guard->refusals += guard->refusals < GIVE_DOUBLINGS_MAX ? 1 : 0;
    open_doubt(cluster, guard);
}
