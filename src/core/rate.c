/*
 * core/rate.c - rate limits: a token that stands before one is asked about when a poll wants it,
 * and moves when the answer is there.
 *
 *      in line (throttle.h) ── under ──► on through its limits; over: it stays where it is
 *
 *      READY, limits[passed] a rate limit ── under ──► on through its limits
 *                    ▲          │ over, or no answer
 *                    └─ due ─ TIMER (keeps its slots)          retries used up: the job fails
 *
 * Ready, and so asked at times of its own, is a token whose policy bounds its retries (it is to
 * fail when they are used up), that time alone does not help (throttle.h), that an operator wants
 * asked at once, or for which there is no line any more.
 *
 * The answer comes from outside (core_check_next, core_check_done), or from buckets in the shard's
 * own storage. An answer that is an error never passes a job, and uses up no retry.
 */
#include "base/limits.h"
#include "core/bucket.h"
#include "core/buckets.h"
#include "core/check.h"
#include "core/commands.h"
#include "core/count.h"
#include "core/inner.h"
#include "core/job.h"
#include "core/limit_kinds.h"
#include "core/run.h"
#include "core/state.h"
#include "core/task.h"
#include "core/throttle.h"
#include "core/token.h"
#include "core/token_find.h"
#include "core/walk.h"

#define RATE_NAME_SHOWN_MAX 200u /* bytes of a limit's name in an error */

/* --- what an answer does --- */

static enum run rate_walk(struct core *core, struct command *cmd, const struct token *from,
                          struct token *to)
{
    if (!walk_ready(core, cmd, cmd->job_ref, to)) {
        return RUN_NEED;
    }
    walk_move(core, cmd->job_ref, from, to);
    return run_changed(cmd);
}

static enum run rate_pass(struct core *core, struct command *cmd, const struct limit *limit,
                          const struct token *from, struct token *to)
{
    to->passed++;
    to->rate_retries = 0;
    struct blob *info = from->info == NULL ? job_info_blob(core, cmd->job_ref) : NULL;
    to->info = from->info == NULL ? info : from->info;
    const enum run run = rate_walk(core, cmd, from, to);
    blob_unref(info);
    if (run != RUN_NEED && from->where == TOKEN_READY) {
        gate_reopen(core, cmd->job_ref, limit);
    }
    return run;
}

/* A ready token that was refused goes to its place in line. */
static enum run rate_line_up(struct core *core, struct command *cmd, const struct token *from,
                             struct token *to)
{
    to->rate_retries = 0;
    return rate_walk(core, cmd, from, to);
}

/* A question that a limiter always fails to answer must not hold up those behind it. */
static bool rate_steps_aside(struct gate *gate, enum core_verdict verdict)
{
    if (verdict != VERDICT_ERROR || gate->errors < GATE_ERRORS_MAX) {
        return false;
    }
    gate->errors = 0;
    return true;
}

/* The job's start moves with its token, so that both can be found again. */
static enum run rate_wait(struct core *core, struct command *cmd, const struct job *job,
                          const struct token *from, struct token *to, int64_t due_ms)
{
    struct state state = {.status = JOB_SCHEDULED, .changed_ms = job->info.enqueue_ms};
    if (job->has_state) {
        state = job->state;
    }
    to->place.due_ms = due_ms;
    to->was_due = false;
    to->rate_retries += cmd->args.inner->verdict == VERDICT_OVER;
    state.attempt = to->attempt;
    state.relative = to->relative;
    state.has_next = true;
    state.due_ms = due_ms;
    state.arrival = to->place.arrival;
    state_write(core, cmd->job_ref, &state);
    walk_move(core, cmd->job_ref, from, to);
    return run_changed(cmd);
}

static struct bytes rate_error_data(struct arena *arena, const struct limit *limit,
                                    uint32_t retries)
{
    struct bytes name = limit->rate->name;
    name.len = name.len < RATE_NAME_SHOWN_MAX ? name.len : RATE_NAME_SHOWN_MAX;
    return job_error_text(arena, arena_printf(arena, "rate limit \"%.*s\" refused the job %u times",
                                              BYTES_FMT(name), retries + 1));
}

static enum run rate_fail(struct core *core, struct command *cmd, const struct job *job,
                          const struct token *from, const struct limit *limit)
{
    struct tenant_count *count = count_find(core, cmd->job_ref, cmd);
    if (count == NULL) {
        return RUN_NEED;
    }
    struct state state = {
        .status = JOB_FAILED,
        .changed_ms = core->wall_ms,
        .attempt = from->attempt,
        .relative = from->relative,
        .due_ms = from->place.due_ms,
        .arrival = from->place.arrival,
        .has_outcome = true,
        .final.outcome = {.status = ATTEMPT_FAILED,
                          .finished_ms = core->wall_ms,
                          .error_code = BYTES_LIT("RATE_LIMIT_EXCEEDED"),
                          .data.inline_bytes =
                              rate_error_data(cmd->arena, limit, from->rate_retries)},
    };
    const int64_t enqueue_ms = job->info.enqueue_ms;
    token_move(core, cmd->job_ref, from, &(struct token){.where = TOKEN_NONE});
    job_end(core, cmd->job_ref, &state, enqueue_ms, count);
    return run_changed(cmd);
}

enum run checked_run(struct core *core, struct command *cmd)
{
    const struct inner_args *inner = cmd->args.inner;
    const struct check *check = check_find(core, &inner->task_id);
    struct job job;
    struct token from;
    const enum job_load load = job_load(core, cmd, &job);
    if (load == JOB_NEEDS) {
        return RUN_NEED;
    }
    if (check == NULL || load != JOB_LOADED || job.status != JOB_SCHEDULED) {
        return run_ok(cmd); /* it has gone */
    }
    if (!token_find(core, cmd, &job, &from)) {
        return RUN_NEED;
    }
    const struct limits *limits = limits_of(core, &job.info);
    struct throttle *throttle = from.where == TOKEN_WAITER ? from.queue->throttle : NULL;
    if ((from.where != TOKEN_READY && throttle == NULL) || !from.has_chain ||
        !uuid_eq(&from.task_id, &inner->task_id) || from.passed != check->passed ||
        limits == NULL || from.passed >= limits->count ||
        !limit_rules(limits->items[from.passed].kind)->asked) {
        return run_ok(cmd);
    }
    struct token to = from;
    to.limits = limits;
    const struct limit *limit = &limits->items[from.passed];
    const struct rate_retry_policy *policy = &limit->rate->retry;
    if (inner->verdict == VERDICT_UNDER) {
        return rate_pass(core, cmd, limit, &from, &to);
    }
    if (throttle != NULL && !rate_steps_aside(throttle->gate, inner->verdict)) {
        return run_ok(cmd); /* it stays where it is, and its gate is shut */
    }
    if (inner->verdict == VERDICT_OVER && policy->retries_max > 0 &&
        from.rate_retries >= policy->retries_max) {
        return rate_fail(core, cmd, &job, &from, limit);
    }
    if (inner->verdict == VERDICT_OVER && limit->throttles &&
        throttle_of(core, cmd->job_ref, limit, to.group) != NULL) {
        return rate_line_up(core, cmd, &from, &to);
    }
    return rate_wait(
        core, cmd, &job, &from, &to,
        check_retry_ms(core, inner->verdict, inner->reset_ms, policy, from.rate_retries));
}

/* --- the built-in limiter --- */

/* The token still waits for the answer, in line or ready. */
static bool task_stands_before(const struct task *task, const struct check *check)
{
    return task->has_chain && uuid_eq(&task->task_id, &check->task_id) &&
           (task->group != NULL || task_throttle(task) != NULL);
}

/* How long a refusal lasts: as the bucket says, but somebody may fill it earlier. */
static int64_t bucket_wait_ms(const struct core *core, const struct bucket_entry *entry,
                              const struct bucket_request *request, const struct check *check)
{
    const int64_t ready_ms = bucket_ready_ms(&entry->bucket, entry->exists, request, core->wall_ms);
    const int64_t wait_ms = ready_ms > core->wall_ms ? ready_ms - core->wall_ms : 1;
    const int64_t most = check->retry.max_ms;
    return wait_ms < most || wait_ms < GATE_ASK_MS ? wait_ms
                                                   : (most > GATE_ASK_MS ? most : GATE_ASK_MS);
}

/* Takes the hits and becomes the answer. */
enum run check_run(struct core *core, struct command *cmd)
{
    struct inner_args *inner = cmd->args.inner;
    const struct check *check = check_find(core, &inner->task_id);
    const struct task *task = task_find(core, cmd->job_ref);
    if (check == NULL || (task != NULL && !task_stands_before(task, check))) {
        return run_ok(cmd); /* the token has gone: no hit */
    }
    if (check->gate != NULL && gate_is_shut(check->gate)) {
        return run_ok(cmd); /* one before it was refused meanwhile */
    }
    struct key key;
    key_limiter(&key, job_ref_tenant(cmd->job_ref), check->ask.name, check->ask.unique_key);
    struct bucket_entry *entry = bucket_get(core, cmd, key_bytes(&key));
    if (entry == NULL) {
        return RUN_NEED;
    }
    const struct bucket_request request = {
        .algorithm = check->ask.algorithm == RATE_LEAKY_BUCKET ? BUCKET_LEAKY : BUCKET_TOKEN,
        .limit = check->ask.limit,
        .duration_ms = check->ask.duration_ms,
        .hits = check->ask.hits,
        .behavior = check->ask.behavior,
    };
    const struct bucket_answer answer =
        bucket_take(&entry->bucket, &entry->exists, &request, core->wall_ms);
    bucket_changed(core, entry);
    inner->verdict = answer.error != NULL ? VERDICT_ERROR
                     : answer.over        ? VERDICT_OVER
                                          : VERDICT_UNDER;
    inner->reset_ms = answer.reset_ms;
    check_tell_gate(core, check, inner->verdict,
                    inner->verdict == VERDICT_ERROR ? check->retry.initial_ms
                                                    : bucket_wait_ms(core, entry, &request, check));
    cmd->kind = CMD_CHECKED;
    return checked_run(core, cmd);
}
