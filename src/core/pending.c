/*
 * core/pending.c - where a scheduled job's token is, and what keeps it there.
 *
 *      TIMER     its start, a retry, or the back-off of a rate limit
 *      WAITER    the line of a concurrency limit, or that of a rate limit: until its gate opens,
 *                then until a poll asks
 *      READY     others of its group, a worker that asks, or the answer of a rate limit that is
 *                asked by itself
 *
 * Finding the token reads what cancelling the job would read: the few rows it can stand in.
 * Everything else comes from memory and is bounded: a binary search in each line of its queue or
 * lane of its group, PENDING_LEASES_MAX leases. If a line that counts is not in memory, its first
 * page is asked for, so that a later question is told the place.
 */
#include "core/pending.h"

#include "base/saturate.h"
#include "core/group.h"
#include "core/job.h"
#include "core/lease.h"
#include "core/limit_kinds.h"
#include "core/line.h"
#include "core/queue.h"
#include "core/slot.h"
#include "core/state.h"
#include "core/task.h"
#include "core/throttle.h"
#include "core/token.h"
#include "core/token_find.h"

static void pending_group(struct core *core, struct command *cmd, struct bytes group,
                          struct job_pending *ret)
{
    ret->group = arena_copy(cmd->arena, group);
    ret->polled = group_has_workers(core, group);
    ret->polled_ms = group_polled_ms(core, group);
    ret->seen_from_ms = core->groups.polls_seen_from_ms;
}

/* Jobs of the group that are running, among the first leases of the map. */
static void pending_running(const struct core *core, struct job_pending *ret)
{
    uint32_t looked = 0;
    for (struct map_node *n = map_next(&core->leases.by_job, NULL); n != NULL;
         n = map_next(&core->leases.by_job, n)) {
        if (looked++ == PENDING_LEASES_MAX) {
            ret->running_more = true;
            return;
        }
        const struct lease *lease = CONTAINER_OF(n, struct lease, by_job);
        ret->running += bytes_eq(lease->rec.group, ret->group) ? 1 : 0;
    }
}

/* Nothing but a worker is missing: is there one? */
static void pending_worker(struct core *core, struct command *cmd, struct bytes group,
                           enum pending_cause polled, struct job_pending *ret)
{
    pending_group(core, cmd, group, ret);
    if (ret->polled) {
        ret->cause = polled;
        return;
    }
    pending_running(core, ret);
    ret->cause = ret->running != 0 ? PENDING_WORKERS_BUSY : PENDING_NO_WORKER;
}

/* --- places --- */

/* Those of one window who stand before the place. */
static void ahead_add(const struct lane *window, const struct place *place, struct job_pending *ret)
{
    const bool covers = lane_covers(window, place);
    ret->ahead += covers ? lane_lower(window, place) : window->count;
    ret->ahead_more |= !covers;
}

/*
 * Whether the window of a line is in memory; if not, its first page is asked for, of one line a
 * question.
 */
static bool line_seen(struct core *core, struct line *line, bool *asked)
{
    if (!line->known && !*asked) {
        struct task *first = NULL;
        *asked = true;
        (void)line_front(core, line, &first);
    }
    return line->known;
}

/*
 * A slot that becomes free goes to the lines with the largest maximum first: all of a larger one go
 * before, and a smaller one takes none that this token could have.
 */
static void pending_line(struct core *core, const struct token *token, struct job_pending *ret)
{
    struct queue *queue = token->queue;
    const uint32_t max = queue_max(queue, token->line);
    bool asked = false;
    ret->has_ahead = true;
    for (uint32_t i = 0; i < queue->line_count; i++) {
        struct line *line = queue->lines[i];
        const bool own =
            line->id.floating == token->line.floating && line->id.max == token->line.max;
        const uint32_t other_max = queue_max(queue, line->id);
        const uint64_t others = own && line->count != 0 ? line->count - 1 : line->count;
        ret->in_line += line->count;
        if (others == 0 || other_max < max) {
            continue;
        }
        if (other_max > max) {
            ret->ahead += others < UINT32_MAX - ret->ahead ? (uint32_t)others : 0;
        } else if (line_seen(core, line, &asked)) {
            ahead_add(&line->window, &token->place, ret);
        } else {
            ret->has_ahead = false;
        }
    }
}

/* Ready tasks of the group that are better. */
static void pending_lanes(const struct core *core, const struct token *token,
                          struct job_pending *ret)
{
    const struct group *group =
        MAP_ENTRY(map_find(&core->groups.by_name, token->group), struct group, node);
    const uint32_t own = group_lane_of(core, &token->place);
    if (group == NULL || group->known == 0) {
        return;
    }
    for (uint32_t i = 0; i <= own && i < group->known; i++) {
        if (group->lanes[i] == NULL) {
            continue;
        }
        const struct lane *window = &group->lanes[i]->window;
        if (i == own) {
            ahead_add(window, &token->place, ret);
        } else {
            ret->ahead += window->count;
            ret->ahead_more |= window->bounded;
        }
    }
    ret->ahead_more |= own >= group->known;
    ret->has_ahead = ret->ahead != 0 || !ret->ahead_more;
}

/* --- limits --- */

static void pending_limit(struct command *cmd, const struct limit *limit, struct job_pending *ret)
{
    ret->is_rate = limit_rules(limit->kind)->asked;
    if (ret->is_rate) {
        ret->limit = arena_copy(cmd->arena, limit->rate->name);
        ret->unique_key = arena_copy(cmd->arena, limit->rate->unique_key);
    } else {
        ret->limit = arena_copy(cmd->arena, limit->key);
    }
}

static void pending_holders(struct command *cmd, const struct queue *queue, struct job_pending *ret)
{
    ret->holders = queue->holder_count;
    for (struct list_node *n = list_first(&queue->holders);
         n != NULL && ret->holder_id_count < PENDING_HOLDERS_MAX;
         n = list_next(&queue->holders, n)) {
        const struct bytes ref = chain_ref(CONTAINER_OF(n, struct holder, in_queue)->chain);
        const size_t tenant = job_ref_tenant(ref).len;
        ret->holder_ids[ret->holder_id_count++] =
            arena_copy(cmd->arena, bytes_of(ref.ptr + tenant, ref.len - tenant));
    }
}

static void pending_slot(struct core *core, struct command *cmd, const struct token *token,
                         struct job_pending *ret)
{
    const struct queue *queue = token->queue;
    const struct floating *floating = token->line.floating ? queue->floating : NULL;
    ret->cause = PENDING_SLOT;
    ret->maximum = queue_max(queue, token->line);
    pending_holders(cmd, queue, ret);
    pending_line(core, token, ret);
    if (floating == NULL) {
        return;
    }
    view_touch(&core->view, floating->batch);
    ret->refresh = floating->rec.phase;
    ret->refreshed_ms = floating->rec.refreshed_ms;
    if (ret->refresh == REFRESH_TASK) {
        pending_group(core, cmd, floating->rec.group, ret);
    } else if (heap_has(&floating->due)) {
        ret->until_ms = floating->due.key > core->wall_ms ? floating->due.key : 0;
    }
    if (ret->maximum == 0 || (ret->refresh == REFRESH_TASK && !ret->polled)) {
        ret->cause = PENDING_FLOATING;
    }
}

/* While the gate is shut time has to pass; then a worker has to ask. */
static void pending_throttle(struct core *core, struct command *cmd, const struct token *token,
                             const struct task *task, struct job_pending *ret)
{
    const struct throttle *throttle = token->queue->throttle;
    const struct gate *gate = throttle->gate;
    pending_line(core, token, ret);
    ret->refusals = gate->refusals;
    ret->errors = gate->errors;
    ret->asking = task != NULL && task->checking;
    if (gate_is_shut(gate)) {
        const int64_t wait_ms = gate->opens.key - core->mono_ms;
        ret->cause = PENDING_RATE;
        ret->until_ms = add_saturated(core->wall_ms, wait_ms > 0 ? wait_ms : 0);
        return;
    }
    pending_worker(core, cmd, blob_bytes(throttle->group->name), PENDING_RATE, ret);
}

/* --- the three places --- */

static void pending_timer(const struct core *core, const struct job *job, const struct token *token,
                          const struct limit *limit, struct job_pending *ret)
{
    const int64_t due_ms = token->place.due_ms;
    /*
     * A limiter that could not be asked counts no refusal: then only the time tells that the start
     * is over.
     */
    const bool moved =
        token->relative <= 1 && job->has_state && due_ms != job->info.requested_start_ms;
    const bool refused =
        limit != NULL && limit_rules(limit->kind)->asked && (token->rate_retries != 0 || moved);
    ret->until_ms = due_ms;
    ret->attempt = token->attempt;
    if (due_ms <= core->wall_ms) {
        ret->cause = PENDING_NEXT; /* a crowd became due at once, and is moved in slices */
    } else if (refused) {
        ret->cause = PENDING_RATE_REFUSED;
    } else if (token->relative > 1) {
        ret->cause = PENDING_RETRY;
        ret->retry = token->relative - 1;
    } else {
        ret->cause = PENDING_START;
    }
    ret->refusals = ret->cause == PENDING_RATE_REFUSED ? token->rate_retries : 0;
}

/* With a rate limit before it, that one is asked by itself when a worker wants the task. */
static void pending_ready(struct core *core, struct command *cmd, const struct token *token,
                          const struct task *task, const struct limit *limit,
                          struct job_pending *ret)
{
    pending_lanes(core, token, ret);
    ret->asking = task != NULL && task->checking;
    ret->refusals = token->rate_retries;
    const bool behind = ret->has_ahead ? ret->ahead != 0 : ret->ahead_more;
    enum pending_cause cause = limit != NULL ? PENDING_RATE : PENDING_NEXT;
    cause = behind && !ret->asking ? PENDING_BEHIND : cause;
    pending_worker(core, cmd, token->group, cause, ret);
}

bool pending_find(struct core *core, struct command *cmd, const struct job *job,
                  struct job_pending *ret)
{
    struct token token;
    if (!token_find(core, cmd, job, &token)) {
        return false;
    }
    *ret = (struct job_pending){.cause = PENDING_UNKNOWN, .now_ms = core->wall_ms};
    const struct task *task = task_find(core, cmd->job_ref);
    const struct limits *limits = token.has_chain ? limits_of(core, &job->info) : NULL;
    const struct limit *limit = NULL;
    if (limits != NULL && token.passed < limits->count) {
        limit = &limits->items[token.passed];
    }
    if (token.where == TOKEN_TIMER) {
        pending_timer(core, job, &token, limit, ret);
    } else if (token.where == TOKEN_READY) {
        pending_ready(core, cmd, &token, task, limit, ret);
    } else if (token.where == TOKEN_WAITER && line_rules(token.queue, token.line)->asked) {
        pending_throttle(core, cmd, &token, task, ret);
    } else if (token.where == TOKEN_WAITER) {
        pending_slot(core, cmd, &token, ret);
    }
    const bool named = ret->cause != PENDING_START && ret->cause != PENDING_RETRY;
    if (limit != NULL && named) {
        pending_limit(cmd, limit, ret);
    }
    return true;
}
