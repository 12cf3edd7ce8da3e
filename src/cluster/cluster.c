/*
 * cluster/cluster.c - events go in, actions come out; the rules stand in claim.c, open.c, give.c
 * and balance.c.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/saturate.h"
#include "cluster/cluster_int.h"

struct cluster *cluster_new(const struct cluster_options *options, int64_t now_mono_ms)
{
    struct cluster *cluster = xcalloc(1, sizeof *cluster);
    cluster->self = member_copy(&options->self);
    cluster->settings = options->settings;
    if (options->settings.wal_url != NULL) {
        cluster->settings.wal_url = xstrdup(options->settings.wal_url);
    }
    memcpy(cluster->seed, options->seed, sizeof cluster->seed);
    cluster->guarded = options->guarded;
    cluster->ttl_ms = options->ttl_ms;
    cluster->now_ms = now_mono_ms;
    cluster->hold_until_ms = INT64_MIN;
    cluster->members.self = CLUSTER_NOBODY;
    cluster->taken_ms = INT64_MAX;
    cluster->rejoin_ms = INT64_MAX;
    cluster->balance_ms = INT64_MAX;
    cluster->stirred_ms = now_mono_ms;
    map_init(&cluster->by_id);
    list_init(&cluster->actions);
    list_init(&cluster->questions);
    action_add(cluster, ACTION_JOIN)->replace = options->replaces;
    return cluster;
}

struct cluster *cluster_free(struct cluster *cluster)
{
    if (cluster == NULL) {
        return NULL;
    }
    questions_end(cluster);
    struct list_node *node;
    while ((node = list_pop_front(&cluster->actions)) != NULL) {
        struct action_node *action = CONTAINER_OF(node, struct action_node, node);
        if (action->action.kind == ACTION_ANSWER) {
            action->action.question->done(action->action.question);
        }
        free(action);
    }
    free(cluster->lent);
    while (cluster->guard_count > 0) {
        guard_free(cluster, cluster->guards[cluster->guard_count - 1]);
    }
    free(cluster->guards);
    map_deinit(&cluster->by_id);
    mapping_deinit(cluster);
    members_deinit(&cluster->members);
    member_deinit(&cluster->self);
    free((char *)cluster->settings.wal_url);
    free(cluster);
    return NULL;
}

/* --- actions --- */

struct cluster_action *action_add(struct cluster *cluster, enum cluster_action_kind kind)
{
    struct action_node *action = xcalloc(1, sizeof *action);
    action->action.kind = kind;
    list_push_back(&cluster->actions, &action->node);
    return &action->action;
}

void cluster_refuse(struct cluster *cluster, enum silo_code code, const char *text)
{
    (void)snprintf(cluster->refusal, sizeof cluster->refusal, "%s", text);
    struct cluster_action *action = action_add(cluster, ACTION_REFUSE);
    action->rc = (silo_rc){code};
    action->text = bytes_str(cluster->refusal);
}

/*
 * What the shard is like when its action is taken, not when it was decided. False: it is overtaken;
 * the shard is to be closed, or the map has it no more.
 */
static bool action_fill(const struct cluster *cluster, struct cluster_action *action)
{
    if (action->kind != ACTION_OPEN && action->kind != ACTION_CLOSE &&
        action->kind != ACTION_PREPARE && action->kind != ACTION_HAND_OVER &&
        action->kind != ACTION_READ_WRITER) {
        return true;
    }
    const struct guard *guard = guard_find(cluster, &action->shard);
    if (guard == NULL) {
        ASSERT(action->kind == ACTION_READ_WRITER);
        return false;
    }
    if ((action->kind == ACTION_OPEN && guard->phase != GUARD_OPENING) ||
        (action->kind == ACTION_PREPARE && guard->phase != GUARD_PREPARING)) {
        return false;
    }
    const bool anothers = guard->holder[0] != '\0' && !guard_is_self(cluster, guard->holder);
    action->ref = guard->ref;
    action->settings = guard->settings;
    action->moving = guard->to != NULL || anothers;
    action->to = guard->to;
    return true;
}

static bool action_take(struct cluster *cluster, struct cluster_action *ret_action)
{
    struct list_node *node;
    while ((node = list_pop_front(&cluster->actions)) != NULL) {
        free(cluster->lent);
        cluster->lent = CONTAINER_OF(node, struct action_node, node);
        if (action_fill(cluster, &cluster->lent->action)) {
            *ret_action = cluster->lent->action;
            return true;
        }
    }
    return false;
}

static void consider_all(struct cluster *cluster)
{
    cluster->changed = false;
    cluster->takeovers = 0;
    for (size_t i = 0; i < cluster->guard_count; i++) {
        cluster->takeovers += claim_is_takeover(cluster->guards[i]) ? 1 : 0;
    }
    join_consider(cluster);
    for (size_t i = 0; i < cluster->guard_count; i++) {
        guard_consider(cluster, cluster->guards[i]);
    }
    for (size_t i = cluster->guard_count; i-- > 0;) { /* those that mean nothing any more */
        struct guard *guard = cluster->guards[i];
        if (guard->phase == GUARD_IDLE && guard->settings == NULL && guard->holder[0] == '\0') {
            guard_free(cluster, guard);
        }
    }
    balance_consider(cluster);
    questions_consider(cluster);
}

/* In the end a coordinator that does not answer is not waited for. */
static bool all_gone(const struct cluster *cluster)
{
    const bool late = cluster->now_ms >= cluster->leave_until_ms;
    for (size_t i = 0; i < cluster->guard_count; i++) {
        const enum guard_phase phase = cluster->guards[i]->phase;
        const bool asked = phase == GUARD_CLAIMING || phase == GUARD_HANDING ||
                           phase == GUARD_RELEASING || phase == GUARD_DOUBTED;
        const bool here = cluster->guards[i]->ref.generation != 0;
        if (phase != GUARD_IDLE && (here || !asked || !late)) {
            return false;
        }
    }
    return true;
}

bool cluster_action_next(struct cluster *cluster, struct cluster_action *ret_action)
{
    if (action_take(cluster, ret_action)) {
        return true;
    }
    if (cluster->changed) {
        consider_all(cluster);
    }
    if (list_empty(&cluster->actions) && cluster->directory_dirty && cluster->map.number != 0) {
        cluster->directory_dirty = false;
        (void)action_add(cluster, ACTION_PUBLISH);
    }
    if (cluster->leaving && !cluster->left && all_gone(cluster)) {
        cluster->left = true;
        (void)action_add(cluster, ACTION_LEFT);
    }
    return action_take(cluster, ret_action);
}

/* --- events and the time --- */

static void leave(struct cluster *cluster)
{
    if (!cluster->leaving) {
        balance_leave(cluster);
    }
}

void cluster_event(struct cluster *cluster, const struct cluster_event *event)
{
    switch (event->kind) {
    case EVENT_MAP:
        mapping_read(cluster, event);
        return;
    case EVENT_MAP_COMMITTED:
        mapping_committed(cluster);
        return;
    case EVENT_MAP_LOST:
        mapping_lost(cluster);
        return;
    case EVENT_MEMBERS:
        members_take(cluster, event);
        return;
    case EVENT_OWNERS:
        hear_owners(cluster, event);
        return;
    case EVENT_CONFIRMED:
        join_confirmed(cluster);
        return;
    case EVENT_LAPSED:
        join_lapsed(cluster);
        return;
    case EVENT_LEAVE:
        leave(cluster);
        return;
    case EVENT_QUESTION:
        question_asked(cluster, event->question);
        return;
    case EVENT_JOIN_TAKEN:
        join_taken(cluster);
        return;
    case EVENT_FORCED:
        question_forced(cluster, event);
        return;
    case EVENT_OWNER:
    case EVENT_OWNER_READ:
    case EVENT_CLAIMED:
    case EVENT_CLAIM_LOST:
    case EVENT_RELEASED:
    case EVENT_HANDED_OVER:
    case EVENT_HAND_OVER_LOST:
    case EVENT_PREPARED:
    case EVENT_WRITER:
    case EVENT_WRITER_FAILED:
    case EVENT_OPENING:
    case EVENT_OPENED:
    case EVENT_OPEN_FAILED:
    case EVENT_CLOSED:
    case EVENT_FENCED:
        break;
    }
    hear_shard(cluster, event);
}

void cluster_set_time(struct cluster *cluster, int64_t now_mono_ms)
{
    cluster->changed |= cluster_next_mono_ms(cluster) <= now_mono_ms;
    if (now_mono_ms > cluster->now_ms) {
        cluster->now_ms = now_mono_ms;
    }
}

int64_t cluster_next_mono_ms(const struct cluster *cluster)
{
    int64_t next_ms = cluster->hold_until_ms > cluster->now_ms ? cluster->hold_until_ms : INT64_MAX;
    next_ms = earlier(next_ms, cluster->rejoin_ms);
    next_ms = earlier(next_ms, cluster->balance_ms);
    next_ms = earlier(next_ms, questions_next_ms(cluster));
    for (size_t i = 0; i < cluster->guard_count; i++) {
        next_ms = earlier(next_ms, guard_next_ms(cluster, cluster->guards[i]));
    }
    return next_ms;
}

const struct cluster_map *cluster_map(const struct cluster *cluster)
{
    return cluster->map.number != 0 ? &cluster->map : NULL;
}

bool cluster_created(const struct cluster *cluster)
{
    return cluster->created;
}

struct cluster_counts cluster_counts(const struct cluster *cluster)
{
    return cluster->counts;
}

int64_t cluster_retry_mono_ms(const struct cluster *cluster, const struct uuid *shard)
{
    const struct guard *guard = guard_find(cluster, shard);
    return guard != NULL && guard->phase == GUARD_WAITING ? guard->retry_ms : INT64_MAX;
}
