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

/*
 * What the record says has changed. Another's name ends whatever there is here; this node's, though
 * it did not claim: the shard was given to it.
 */
void hear_record(struct cluster *cluster, struct guard *guard, const char *holder, uint64_t epoch)
{
    const bool news = epoch != guard->epoch;
    const bool taken = holder[0] == '\0' && guard_is_self(cluster, guard->holder);
    record_set(cluster, guard, holder, epoch);
    if (!guard_is_self(cluster, holder)) {
        give_up(cluster, guard);
        guard->drop = guard->phase == GUARD_CLOSING;
        guard->refused = false;
        /* What was taken away is not wanted back at once. */
        if (taken && (guard->phase == GUARD_IDLE || guard->phase == GUARD_CLAIMING)) {
            guard->retry_ms = cluster->now_ms + CLUSTER_FORCED_PAUSE_MS;
        }
    } else if (news && guard->phase == GUARD_IDLE && guard->settings != NULL && cluster->guarded &&
               join_is_fresh(cluster) && !cluster->leaving) {
        cluster->counts.given++;
        open_doubt(cluster, guard);
    }
}

void hear_owners(struct cluster *cluster, const struct cluster_event *event)
{
    cluster->owners_fresh = true;
    join_strict(cluster);
    struct map named;
    map_init(&named);
    struct map_node *nodes = xcalloc(event->owner_count + 1, sizeof *nodes);
    for (size_t i = 0; i < event->owner_count; i++) {
        const struct cluster_owner *owner = &event->owners[i];
        struct guard *guard = guard_find(cluster, &owner->shard);
        guard = guard != NULL ? guard : guard_add(cluster, &owner->shard);
        hear_record(cluster, guard, owner->holder, owner->epoch);
        if (map_find(&named, uuid_bytes(&owner->shard)) == NULL) {
            map_insert(&named, &nodes[i], uuid_bytes(&owner->shard));
        }
    }
    for (size_t i = 0; i < cluster->guard_count; i++) {
        struct guard *guard = cluster->guards[i];
        if (map_find(&named, uuid_bytes(&guard->id)) == NULL) {
            hear_record(cluster, guard, "", 0);
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
        open_owned(cluster, guard);
    } else if (strcmp(owner->holder, CLUSTER_HOLDER_UNKNOWN) == 0) {
        guard_move(cluster, guard, GUARD_LOST);
    } else {
        hear_record(cluster, guard, owner->holder, owner->epoch);
    }
}

static void hear_writer(struct cluster *cluster, struct guard *guard,
                        const struct cluster_event *event)
{
    if (!is_last_answer(&guard->writer_questions)) {
        return; /* to a question that has lost its meaning */
    }
    if (guard->phase == GUARD_DOUBTED) {
        open_writer_read(cluster, guard, event);
    } else if (guard->phase == GUARD_READING) {
        claim_go_on(cluster, guard, event);
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
        guard->refused = false;
        guard_move(cluster, guard, GUARD_OPEN);
    }
    cluster->directory_dirty = true; /* whoever waits for all shards looks at this one, too */
}

static void hear_fenced(struct cluster *cluster, struct guard *guard)
{
    if (guard->phase == GUARD_OPEN || guard->phase == GUARD_PREPARING) {
        open_doubt(cluster, guard);
    }
}

static void hear_released(struct cluster *cluster, struct guard *guard)
{
    if (give_is_news(cluster, guard)) {
        record_set(cluster, guard, "", 0);
        guard_move(cluster, guard, GUARD_IDLE);
    }
}

static void hear_of(struct cluster *cluster, struct guard *guard, const struct cluster_event *event)
{
    switch (event->kind) {
    case EVENT_OWNER:
        hear_record(cluster, guard, event->owners[0].holder, event->owners[0].epoch);
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
        claim_granted(cluster, guard);
        return;
    case EVENT_CLAIM_LOST:
        claim_lost(cluster, guard);
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
        open_failed(cluster, guard, event->rc);
        return;
    case EVENT_PREPARED:
        give_prepared(cluster, guard);
        return;
    case EVENT_CLOSED:
        give_closed(cluster, guard, event->empty);
        return;
    case EVENT_HANDED_OVER:
        give_handed_over(cluster, guard, event->epoch);
        return;
    case EVENT_HAND_OVER_LOST:
        give_lost(cluster, guard);
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
    case EVENT_FORCED:
        return; /* not about a guard */
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
