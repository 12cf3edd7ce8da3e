/*
 * cluster/guard.c - one shard: claimed, opened, served, closed, released; see the picture in
 * cluster.h.
 *
 * Everything here reads one guard and what the cluster knows of map and members, moves the guard to
 * its next phase and adds the action that goes with it, both in one function.
 */
#include <stdlib.h>

#include "cluster/cluster_int.h"

/* --- finding and keeping --- */

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
}

static struct cluster_action *guard_action(struct cluster *cluster, const struct guard *guard,
                                           enum cluster_action_kind kind)
{
    struct cluster_action *action = action_add(cluster, kind);
    action->shard = guard->id;
    return action;
}

/* --- claiming --- */

bool guard_is_takeover(const struct guard *guard)
{
    return guard->takeover && (guard->phase == GUARD_READING || guard->phase == GUARD_CLAIMING ||
                               guard->phase == GUARD_OPENING);
}

/* Whether the record lets this node have the shard; *ret_takeover: it is a dead member's. */
static bool guard_free_for_us(const struct cluster *cluster, const struct guard *guard,
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
    *ret_takeover = members_find(&cluster->members, guard->holder) == NULL;
    return *ret_takeover && cluster->now_ms >= cluster->hold_until_ms;
}

bool guard_claimable(const struct cluster *cluster, const struct guard *guard, bool *ret_takeover)
{
    const bool may = cluster->confirmed && cluster->map_fresh && cluster->members_fresh &&
                     cluster->owners_fresh && !cluster->leaving &&
                     cluster->members.self != CLUSTER_NOBODY && guard->settings != NULL;
    return may && guard_free_for_us(cluster, guard, ret_takeover);
}

static void guard_read_writer(struct cluster *cluster, struct guard *guard)
{
    guard->writer_questions++;
    (void)guard_action(cluster, guard, ACTION_READ_WRITER);
}

void guard_read_owner(struct cluster *cluster, struct guard *guard)
{
    guard->owner_questions++;
    (void)guard_action(cluster, guard, ACTION_READ_OWNER);
}

void guard_claim(struct cluster *cluster, struct guard *guard)
{
    guard_move(cluster, guard, GUARD_CLAIMING);
    struct cluster_action *action = guard_action(cluster, guard, ACTION_CLAIM);
    action->expected = guard->epoch;
    action->map = cluster->map.number;
}

static void guard_release(struct cluster *cluster, struct guard *guard)
{
    guard_move(cluster, guard, GUARD_RELEASING);
    guard_action(cluster, guard, ACTION_RELEASE)->epoch = guard->epoch;
}

static void consider_idle(struct cluster *cluster, struct guard *guard)
{
    bool takeover = false;
    if (cluster->now_ms < guard->retry_ms) {
        return;
    }
    if (guard->settings == NULL) { /* a record of an earlier life, of a shard that is no more */
        if (cluster->confirmed && cluster->map_fresh && guard_is_self(cluster, guard->holder)) {
            guard_release(cluster, guard);
        }
        return;
    }
    if (!guard_claimable(cluster, guard, &takeover) ||
        (takeover && cluster->takeovers >= CLUSTER_TAKEOVERS_MAX)) {
        return;
    }
    cluster->takeovers += takeover ? 1 : 0;
    guard->takeover = takeover;
    if (cluster->guarded) {
        guard_move(cluster, guard, GUARD_READING);
        guard_read_writer(cluster, guard);
    } else {
        guard_claim(cluster, guard);
    }
}

/* --- opening, and after a fence --- */

void guard_open(struct cluster *cluster, struct guard *guard)
{
    guard_move(cluster, guard, GUARD_OPENING);
    struct cluster_action *action = guard_action(cluster, guard, ACTION_OPEN);
    action->guarded = cluster->guarded;
    action->expected = guard->writer;
}

void guard_claimed(struct cluster *cluster, struct guard *guard)
{
    if (cluster->leaving || guard->settings == NULL) {
        guard_release(cluster, guard);
    } else if (!cluster->confirmed) {
        guard_move(cluster, guard, GUARD_IDLE); /* claimed again when it is a member again */
    } else {
        guard_open(cluster, guard);
    }
}

void guard_doubt(struct cluster *cluster, struct guard *guard)
{
    guard_move(cluster, guard, GUARD_DOUBTED);
    guard->asked = false;
    guard->retry_ms = cluster->now_ms;
}

/* The writer is read before the record: whoever comes after both answers is not taken over. */
static void guard_ask(struct cluster *cluster, struct guard *guard)
{
    guard->asked = true;
    if (cluster->guarded) {
        guard_read_writer(cluster, guard);
    } else {
        guard_read_owner(cluster, guard);
    }
}

static int64_t retry_pause_ms(uint32_t failures)
{
    int64_t pause_ms = CLUSTER_OPEN_RETRY_MS_MIN;
    for (uint32_t i = 1; i < failures && pause_ms < CLUSTER_OPEN_RETRY_MS_MAX; i++) {
        pause_ms *= 2;
    }
    return pause_ms < CLUSTER_OPEN_RETRY_MS_MAX ? pause_ms : CLUSTER_OPEN_RETRY_MS_MAX;
}

void guard_open_failed(struct cluster *cluster, struct guard *guard, silo_rc rc)
{
    if (guard->phase != GUARD_OPENING) {
        return; /* told to close meanwhile */
    }
    if (rc.code == SILO_CONFLICT) {
        guard_doubt(cluster, guard);
        return;
    }
    guard_move(cluster, guard, GUARD_WAITING);
    guard->failures++;
    guard->retry_ms = cluster->now_ms + retry_pause_ms(guard->failures);
}

/* The opening that failed may be the newest writer by now: record and writer are read anew. */
static void guard_open_again(struct cluster *cluster, struct guard *guard)
{
    if (cluster->guarded) {
        guard_doubt(cluster, guard);
        guard_ask(cluster, guard);
    } else {
        guard_open(cluster, guard);
    }
}

void guard_consider(struct cluster *cluster, struct guard *guard)
{
    switch (guard->phase) {
    case GUARD_IDLE:
        consider_idle(cluster, guard);
        return;
    case GUARD_WAITING:
        if (cluster->confirmed && cluster->now_ms >= guard->retry_ms) {
            guard_open_again(cluster, guard);
        }
        return;
    case GUARD_DOUBTED:
        if (!guard->asked && cluster->now_ms >= guard->retry_ms) {
            guard_ask(cluster, guard);
        }
        return;
    case GUARD_READING:
    case GUARD_CLAIMING:
    case GUARD_OPENING:
    case GUARD_OPEN:
    case GUARD_LOST:
    case GUARD_CLOSING:
    case GUARD_RELEASING:
        return; /* an answer comes, or nothing is to be done */
    }
}

int64_t guard_next_ms(const struct cluster *cluster, const struct guard *guard)
{
    const bool waits = (guard->phase == GUARD_IDLE && guard->retry_ms > cluster->now_ms) ||
                       (guard->phase == GUARD_WAITING && cluster->confirmed) ||
                       (guard->phase == GUARD_DOUBTED && !guard->asked);
    return waits ? guard->retry_ms : INT64_MAX;
}

/* --- giving up --- */

void guard_close(struct cluster *cluster, struct guard *guard)
{
    switch (guard->phase) {
    case GUARD_OPENING:
    case GUARD_WAITING:
    case GUARD_OPEN:
    case GUARD_DOUBTED:
    case GUARD_LOST:
        guard_move(cluster, guard, GUARD_CLOSING);
        (void)guard_action(cluster, guard, ACTION_CLOSE);
        return;
    case GUARD_IDLE:
    case GUARD_READING:
    case GUARD_CLAIMING:
    case GUARD_CLOSING:
    case GUARD_RELEASING:
        return; /* nothing is here, or it ends by itself */
    }
}

void guard_closed(struct cluster *cluster, struct guard *guard)
{
    if (guard->ref.generation != 0) {
        guard_action(cluster, guard, ACTION_REMOVE)->ref = guard->ref;
        guard->ref = SHARD_REF_NONE;
    }
    const bool ours = guard_is_self(cluster, guard->holder) && !guard->drop;
    guard->drop = false;
    guard->failures = 0;
    guard->retry_ms = cluster->now_ms;
    if (ours && cluster->confirmed) {
        guard_release(cluster, guard);
    } else {
        guard_move(cluster, guard, GUARD_IDLE);
    }
}
