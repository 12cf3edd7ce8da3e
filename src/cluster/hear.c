/*
 * cluster/hear.c - what is told about one shard: its record, answers of the coordinator, and how it
 * fares here.
 */
#include <stdlib.h>

#include "cluster/cluster_int.h"

/* --- records --- */

static void record_set(struct cluster *cluster, struct guard *guard, const char *holder,
                       uint64_t epoch)
{
    if (strcmp(guard->holder, holder) != 0) {
        char *copy = xstrdup(holder);
        free(guard->holder);
        guard->holder = copy;
    }
    guard->epoch = epoch;
    cluster->changed = true;
    cluster->directory_dirty = true;
}

/* What the record says has changed. Another's name ends whatever there is here. */
static void record_change(struct cluster *cluster, struct guard *guard, const char *holder,
                          uint64_t epoch)
{
    record_set(cluster, guard, holder, epoch);
    if (!guard_is_self(cluster, holder)) {
        guard_close(cluster, guard);
        guard->drop = guard->phase == GUARD_CLOSING;
    }
}

void hear_owners(struct cluster *cluster, const struct cluster_event *event)
{
    cluster->owners_fresh = true;
    struct map named;
    map_init(&named);
    struct map_node *nodes = xcalloc(event->owner_count + 1, sizeof *nodes);
    for (size_t i = 0; i < event->owner_count; i++) {
        const struct cluster_owner *owner = &event->owners[i];
        struct guard *guard = guard_find(cluster, &owner->shard);
        guard = guard != NULL ? guard : guard_add(cluster, &owner->shard);
        record_change(cluster, guard, owner->holder, owner->epoch);
        if (map_find(&named, uuid_bytes(&owner->shard)) == NULL) {
            map_insert(&named, &nodes[i], uuid_bytes(&owner->shard));
        }
    }
    for (size_t i = 0; i < cluster->guard_count; i++) {
        struct guard *guard = cluster->guards[i];
        if (map_find(&named, uuid_bytes(&guard->id)) == NULL) {
            record_change(cluster, guard, "", 0);
        }
    }
    map_deinit(&named);
    free(nodes);
    cluster->changed = true;
}

/* An answer has come: whether it is the one to the last question that was asked. */
static bool is_last_answer(uint32_t *questions)
{
    if (*questions == 0) { /* it was asked of a guard that is no more */
        return false;
    }
    (*questions)--;
    return *questions == 0;
}

static void hear_owner_read(struct cluster *cluster, struct guard *guard,
                            const struct cluster_owner *owner)
{
    if (!is_last_answer(&guard->owner_questions) || guard->phase != GUARD_DOUBTED) {
        return; /* to a question that has lost its meaning */
    }
    if (guard_is_self(cluster, owner->holder)) {
        record_set(cluster, guard, owner->holder, owner->epoch);
        guard_open(cluster, guard);
    } else if (strcmp(owner->holder, CLUSTER_HOLDER_UNKNOWN) == 0) {
        guard_move(cluster, guard, GUARD_LOST);
    } else {
        record_change(cluster, guard, owner->holder, owner->epoch);
    }
}

static void hear_writer(struct cluster *cluster, struct guard *guard,
                        const struct cluster_event *event)
{
    bool takeover = false;
    if (!is_last_answer(&guard->writer_questions)) {
        return; /* to a question that has lost its meaning */
    }
    if (guard->phase == GUARD_DOUBTED && event->kind == EVENT_WRITER) {
        guard->writer = event->epoch;
        guard_read_owner(cluster, guard);
    } else if (guard->phase == GUARD_DOUBTED) {
        guard->asked = false;
        guard->retry_ms = cluster->now_ms + CLUSTER_OPEN_RETRY_MS_MIN;
    } else if (guard->phase == GUARD_READING && event->kind == EVENT_WRITER &&
               guard_claimable(cluster, guard, &takeover)) {
        guard->writer = event->epoch;
        guard_claim(cluster, guard);
    } else if (guard->phase == GUARD_READING) {
        guard->retry_ms = cluster->now_ms + CLUSTER_CLAIM_RETRY_MS;
        guard_move(cluster, guard, GUARD_IDLE);
    }
}

static void hear_placed(struct cluster *cluster, struct guard *guard, struct shard_ref ref)
{
    guard->ref = ref;
    cluster->directory_dirty = true;
}

static void hear_opened(struct cluster *cluster, struct guard *guard)
{
    if (guard->phase == GUARD_OPENING) {
        guard->failures = 0;
        guard_move(cluster, guard, GUARD_OPEN);
    }
    cluster->directory_dirty = true; /* whoever waits for all shards looks at this one, too */
}

static void hear_fenced(struct cluster *cluster, struct guard *guard)
{
    if (guard->phase == GUARD_OPEN) {
        guard_doubt(cluster, guard);
    }
}

static void hear_claim_lost(struct cluster *cluster, struct guard *guard)
{
    guard->retry_ms = cluster->now_ms + CLUSTER_CLAIM_RETRY_MS;
    guard_move(cluster, guard, GUARD_IDLE);
}

static void hear_released(struct cluster *cluster, struct guard *guard)
{
    if (guard_is_self(cluster, guard->holder)) { /* else the next owner is known already */
        record_set(cluster, guard, "", 0);
    }
    guard_move(cluster, guard, GUARD_IDLE);
}

static void hear_of(struct cluster *cluster, struct guard *guard, const struct cluster_event *event)
{
    switch (event->kind) {
    case EVENT_OWNER:
        record_change(cluster, guard, event->owners[0].holder, event->owners[0].epoch);
        return;
    case EVENT_OWNER_READ:
        hear_owner_read(cluster, guard, &event->owners[0]);
        return;
    case EVENT_WRITER:
    case EVENT_WRITER_FAILED:
        hear_writer(cluster, guard, event);
        return;
    case EVENT_CLAIMED:
        record_set(cluster, guard, cluster->self.id, event->epoch);
        guard_claimed(cluster, guard);
        return;
    case EVENT_CLAIM_LOST:
        hear_claim_lost(cluster, guard);
        return;
    case EVENT_RELEASED:
        hear_released(cluster, guard);
        return;
    case EVENT_OPENING:
        hear_placed(cluster, guard, event->ref);
        return;
    case EVENT_OPENED:
        hear_opened(cluster, guard);
        return;
    case EVENT_OPEN_FAILED:
        guard_open_failed(cluster, guard, event->rc);
        return;
    case EVENT_CLOSED:
        guard_closed(cluster, guard);
        return;
    case EVENT_FENCED:
        hear_fenced(cluster, guard);
        return;
    case EVENT_MAP:
    case EVENT_MAP_COMMITTED:
    case EVENT_MAP_LOST:
    case EVENT_MEMBERS:
    case EVENT_OWNERS:
    case EVENT_CONFIRMED:
    case EVENT_LAPSED:
    case EVENT_LEAVE:
    case EVENT_JOIN_TAKEN:
    case EVENT_QUESTION:
        return; /* not about a shard */
    case EVENT_HANDED_OVER:
    case EVENT_HAND_OVER_LOST:
    case EVENT_FORCED:
    case EVENT_PREPARED:
        return; /* nothing of that kind is asked for */
    }
}

void hear_shard(struct cluster *cluster, const struct cluster_event *event)
{
    const bool named = event->kind == EVENT_OWNER || event->kind == EVENT_OWNER_READ;
    const struct uuid *id = named ? &event->owners[0].shard : &event->shard;
    struct guard *guard = guard_find(cluster, id);
    if (guard == NULL) {
        if (event->kind != EVENT_OWNER) {
            return;
        }
        guard = guard_add(cluster, id);
    }
    hear_of(cluster, guard, event);
}
