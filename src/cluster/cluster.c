/* cluster/cluster.c - events go in, actions come out; the rules stand in guard.c. */
#include <stdio.h>
#include <stdlib.h>

#include "cluster/cluster_int.h"
#include "cluster/question.h"

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
    map_init(&cluster->by_id);
    list_init(&cluster->actions);
    (void)action_add(cluster, ACTION_JOIN);
    return cluster;
}

struct cluster *cluster_free(struct cluster *cluster)
{
    if (cluster == NULL) {
        return NULL;
    }
    struct list_node *node;
    while ((node = list_pop_front(&cluster->actions)) != NULL) {
        free(CONTAINER_OF(node, struct action_node, node));
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
        action->kind != ACTION_READ_WRITER) {
        return true;
    }
    const struct guard *guard = guard_find(cluster, &action->shard);
    if (guard == NULL) {
        ASSERT(action->kind == ACTION_READ_WRITER);
        return false;
    }
    if (action->kind == ACTION_OPEN && guard->phase != GUARD_OPENING) {
        return false;
    }
    action->ref = guard->ref;
    action->settings = guard->settings;
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
        cluster->takeovers += guard_is_takeover(cluster->guards[i]) ? 1 : 0;
    }
    for (size_t i = 0; i < cluster->guard_count; i++) {
        guard_consider(cluster, cluster->guards[i]);
    }
    for (size_t i = cluster->guard_count; i-- > 0;) { /* those that mean nothing any more */
        struct guard *guard = cluster->guards[i];
        if (guard->phase == GUARD_IDLE && guard->settings == NULL && guard->holder[0] == '\0') {
            guard_free(cluster, guard);
        }
    }
}

static bool all_idle(const struct cluster *cluster)
{
    for (size_t i = 0; i < cluster->guard_count; i++) {
        if (cluster->guards[i]->phase != GUARD_IDLE) {
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
    if (cluster->leaving && !cluster->left && all_idle(cluster)) {
        cluster->left = true;
        (void)action_add(cluster, ACTION_LEFT);
    }
    return action_take(cluster, ret_action);
}

/* --- events and the time --- */

/* What only a member may ask for, and was not asked for yet. */
static void forget_requests(struct cluster *cluster)
{
    struct list_node *next = NULL;
    for (struct list_node *node = list_first(&cluster->actions); node != NULL; node = next) {
        next = list_next(&cluster->actions, node);
        struct action_node *action = CONTAINER_OF(node, struct action_node, node);
        const enum cluster_action_kind kind = action->action.kind;
        if (kind == ACTION_CLAIM || kind == ACTION_RELEASE) {
            guard_move(cluster, guard_find(cluster, &action->action.shard), GUARD_IDLE);
            list_remove(node);
            free(action);
        }
    }
}

static void lapsed(struct cluster *cluster)
{
    forget_requests(cluster);
    cluster->confirmed = false;
    cluster->map_fresh = false;
    cluster->members_fresh = false;
    cluster->owners_fresh = false;
    (void)action_add(cluster, ACTION_JOIN);
}

static void leave(struct cluster *cluster)
{
    if (cluster->leaving) {
        return;
    }
    cluster->leaving = true;
    (void)action_add(cluster, ACTION_LEAVE);
    for (size_t i = 0; i < cluster->guard_count; i++) {
        guard_close(cluster, cluster->guards[i]);
    }
}

static void question_refuse(struct cluster *cluster, struct cluster_question *question)
{
    question->rc = (silo_rc){SILO_UNIMPLEMENTED};
    (void)snprintf(question->text, sizeof question->text, "this node does not do that yet");
    action_add(cluster, ACTION_ANSWER)->question = question;
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
        cluster->confirmed = true;
        cluster->changed = true;
        (void)action_add(cluster, ACTION_READ_MAP); /* what changed before nobody told us */
        return;
    case EVENT_LAPSED:
        lapsed(cluster);
        return;
    case EVENT_LEAVE:
        leave(cluster);
        return;
    case EVENT_QUESTION:
        question_refuse(cluster, event->question);
        return;
    case EVENT_JOIN_TAKEN:
        cluster_refuse(cluster, SILO_EXISTS, "another process is a member under this node's id");
        return;
    case EVENT_OWNER:
    case EVENT_OWNER_READ:
    case EVENT_CLAIMED:
    case EVENT_CLAIM_LOST:
    case EVENT_RELEASED:
    case EVENT_HANDED_OVER:
    case EVENT_HAND_OVER_LOST:
    case EVENT_FORCED:
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
    for (size_t i = 0; i < cluster->guard_count; i++) {
        const int64_t at_ms = guard_next_ms(cluster, cluster->guards[i]);
        next_ms = at_ms < next_ms ? at_ms : next_ms;
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

int64_t cluster_retry_mono_ms(const struct cluster *cluster, const struct uuid *shard)
{
    const struct guard *guard = guard_find(cluster, shard);
    return guard != NULL && guard->phase == GUARD_WAITING ? guard->retry_ms : INT64_MAX;
}
