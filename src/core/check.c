/*
 * core/check.c - a rate limit is asked, outside (core_check_next, core_check_done) or in the
 * shard's own buckets (core/rate.c), and the answer comes back as a command of the core's own.
 */
#include "core/check.h"

#include <math.h>

#include "base/assert.h"
#include "base/saturate.h"
#include "core/group.h"
#include "core/inner.h"
#include "core/limit_kinds.h"
#include "core/queue.h"
#include "core/state.h"
#include "core/task.h"
#include "core/throttle.h"

void checks_init(struct core *core, bool external)
{
    map_init(&core->checks.by_task);
    list_init(&core->checks.to_ask);
    core->checks.external = external;
}

/* min(max, initial * multiplier^retries), at least 1 ms so that time passes. */
static int64_t rate_backoff_ms(const struct rate_retry_policy *policy, uint32_t retries)
{
    const double raw = (double)policy->initial_ms * pow(policy->factor, (double)retries);
    int64_t ms = policy->max_ms;
    if (raw < (double)ms) {
        ms = raw > 1 ? (int64_t)llround(raw) : 1;
    }
    return ms > 1 ? ms : 1;
}

/* When one that was refused so often is asked again. */
int64_t check_retry_ms(const struct core *core, enum core_verdict verdict, int64_t reset_ms,
                       const struct rate_retry_policy *policy, uint32_t retries)
{
    const int64_t now = core->wall_ms;
    if (verdict == VERDICT_ERROR) {
        const int64_t wait = policy->initial_ms;
        return add_saturated(now, wait > 1 ? wait : 1);
    }
    if (reset_ms > now && reset_ms < add_saturated(now, policy->max_ms)) {
        return reset_ms;
    }
    return add_saturated(now, rate_backoff_ms(policy, retries));
}

bool task_wants_check(const struct task *task)
{
    return task->rec != NULL;
}

struct check *check_find(const struct core *core, const struct uuid *task_id)
{
    return MAP_ENTRY(map_find(&core->checks.by_task, uuid_bytes(task_id)), struct check, by_task);
}

/* The line it stands in, if that is a rate limit's. */
struct throttle *task_throttle(const struct task *task)
{
    return task->line != NULL ? task->line->queue->throttle : NULL;
}

static struct check *check_new(struct core *core, struct task *task)
{
    struct check *check = xcalloc(1, sizeof *check);
    arena_init(&check->arena);
    check->task_id = task->task_id;
    check->passed = task->passed;
    check->job_ref = arena_copy(&check->arena, task_ref(task));
    const struct throttle *throttle = task_throttle(task);
    check->group = throttle != NULL ? throttle->group : task->group;
    check->gate = throttle != NULL ? throttle->gate : NULL;
    check->group->checks++;
    map_insert(&core->checks.by_task, &check->by_task, uuid_bytes(&check->task_id));
    gate_asked(core, check->gate);
    return check;
}

static void check_free(struct core *core, struct check *check)
{
    check->group->checks--;
    map_remove(&core->checks.by_task, &check->by_task);
    list_remove(&check->node);
    gate_answered(core, check->gate);
    arena_deinit(&check->arena);
    free(check);
}

void checks_free(struct core *core)
{
    for (struct map_node *n = map_next(&core->checks.by_task, NULL); n != NULL;
         n = map_next(&core->checks.by_task, NULL)) {
        check_free(core, CONTAINER_OF(n, struct check, by_task));
    }
    map_deinit(&core->checks.by_task);
}

/* The question. It outlives the turn, so it has names of its own. */
static void check_fill(struct check *check, const struct rate_limit *rate)
{
    check->retry = rate->retry;
    check->ask = (struct core_check){
        .name = arena_copy(&check->arena, rate->name),
        .unique_key = arena_copy(&check->arena, rate->unique_key),
        .hits = rate->hits,
        .limit = rate->limit,
        .duration_ms = rate->duration_ms,
        .algorithm = (int32_t)rate->algorithm,
        .behavior = rate->behavior,
    };
}

void check_start(struct core *core, struct task *task)
{
    task->checking = true;
    if (check_find(core, &task->task_id) != NULL) {
        return; /* asked before the task left its window for a while */
    }
    const struct limit *limit = task_limit(core, task);
    if (limit == NULL || !limit_rules(limit->kind)->asked) {
        core->corrupt_rows++; /* stays as it is, and in nobody's way */
        return;
    }
    struct check *check = check_new(core, task);
    check_fill(check, limit->rate);
    if (core->checks.external) {
        list_push_back(&core->checks.to_ask, &check->node);
        return;
    }
    struct command *cmd = inner_new(core, CMD_CHECK, check->job_ref);
    cmd->args.inner->task_id = check->task_id;
    inner_wake(core, cmd);
}

struct core_check *core_check_next(struct core *core)
{
    struct list_node *node = list_pop_front(&core->checks.to_ask);
    return node != NULL ? &CONTAINER_OF(node, struct check, node)->ask : NULL;
}

/* The limiter's answer, as far as it concerns all who wait for it. */
void check_tell_gate(struct core *core, const struct check *check, enum core_verdict verdict,
                     int64_t wait_ms)
{
    if (check->gate == NULL) {
        return;
    }
    const struct gate_question question = {
        .hits = check->ask.hits, .limit = check->ask.limit, .duration_ms = check->ask.duration_ms};
    switch (verdict) {
    case VERDICT_UNDER:
        gate_passed(core, check->gate);
        break;
    case VERDICT_OVER:
        gate_refused(core, check->gate, &question, wait_ms);
        break;
    case VERDICT_ERROR:
        gate_failed(core, check->gate, wait_ms);
        break;
    }
}

void core_check_done(struct core *core, struct core_check *ask, enum core_verdict verdict,
                     int64_t reset_ms)
{
    const struct check *check = CONTAINER_OF(ask, struct check, ask);
    if (check->gate != NULL) {
        const int64_t next_ms =
            check_retry_ms(core, verdict, reset_ms, &check->retry, check->gate->refusals);
        check_tell_gate(core, check, verdict, next_ms - core->wall_ms);
    }
    struct command *cmd = inner_new(core, CMD_CHECKED, check->job_ref);
    cmd->args.inner->task_id = check->task_id;
    cmd->args.inner->verdict = verdict;
    cmd->args.inner->reset_ms = reset_ms;
    inner_wake(core, cmd);
}

void check_ended(struct core *core, const struct command *cmd)
{
    struct check *check = check_find(core, &cmd->args.inner->task_id);
    if (check == NULL) {
        return;
    }
    struct task *task = task_find(core, check->job_ref);
    if (task != NULL && task->has_chain && uuid_eq(&task->task_id, &check->task_id)) {
        task->checking =
            false; /* it stands before a further limit, or the answer was lost: to be asked */
        if (task_throttle(task) != NULL) {
            throttle_changed(core, task_throttle(task)); /* not the one that was asked, perhaps */
        }
    }
    group_hot(core, check->group);
    check_free(core, check);
}
