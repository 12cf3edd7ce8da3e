/*
 * core/restart.c - operators' commands that change when a job runs: restart, expedite, lease this
 * job.
 *
 *   restart     NONE ───► wherever its limits let it, as a new run: relative number 1, full retry budget
 *   expedite    TIMER ──► the same token, due now; limits are brought forward, not skipped
 *   lease job   TIMER, READY ──► LEASE; limits ahead are skipped, slots held stay with it
 *
 * A token that waits in a queue's line is not moved by any of them.
 */
#include "base/limits.h"
#include "core/commands.h"
#include "core/count.h"
#include "core/group.h"
#include "core/ids.h"
#include "core/job.h"
#include "core/lease.h"
#include "core/limit_kinds.h"
#include "core/low.h"
#include "core/poll.h"
#include "core/queue.h"
#include "core/run.h"
#include "core/state.h"
#include "core/token.h"
#include "core/token_find.h"
#include "core/walk.h"

static enum run malformed(struct command *cmd)
{
    return run_fail(cmd, SILO_CORRUPT, "the job's stored limits are malformed");
}

/* --- restart --- */

static void restart_apply(struct core *core, struct command *cmd, const struct job *job,
                          struct token *to, struct tenant_count *count)
{
    to->place.arrival = arrival_next(core);
    to->info = job_info_blob(core, cmd->job_ref);
    job_reopen(core, cmd->job_ref, job, count);
    const struct state state = {
        .status = JOB_SCHEDULED,
        .changed_ms = core->wall_ms,
        .attempt = to->attempt,
        .relative = to->relative,
        .has_next = true,
        .due_ms = to->place.due_ms,
        .arrival = to->place.arrival,
    };
    state_write(core, cmd->job_ref, &state);
    walk_move(core, cmd->job_ref, &(struct token){.where = TOKEN_NONE}, to);
    blob_unref(to->info);
}

enum run restart_run(struct core *core, struct command *cmd)
{
    struct job job;
    const enum job_load load = job_load(core, cmd, &job);
    struct tenant_count *count = count_find(core, cmd->job_ref, cmd);
    if (load == JOB_NEEDS) {
        return RUN_NEED;
    }
    if (load != JOB_LOADED) {
        return job_load_fail(core, cmd, load);
    }
    if (job.status == JOB_SUCCEEDED) {
        return job_refuse(cmd, "restart", "job already succeeded", job.status);
    }
    if (!job_status_terminal(job.status)) {
        return job_refuse(cmd, "restart", "job is still in progress", job.status);
    }
    const int64_t start_ms = job.info.requested_start_ms;
    struct token to = {
        .group = job.info.group,
        .place = {.due_ms = start_ms > core->wall_ms ? start_ms : core->wall_ms,
                  .priority = job.info.priority},
        .attempt = job_attempts(&job) + 1,
        .relative = 1,
    };
    const struct limits *limits = limits_of(core, &job.info);
    const struct uuid task_id = uuid_from_seed(cmd->seed, 0);
    if (limits == NULL) {
        return malformed(cmd);
    }
    token_begin(&to, &task_id, limits);
    if (!walk_ready(core, cmd, cmd->job_ref, &to) || count == NULL) {
        return RUN_NEED;
    }
    restart_apply(core, cmd, &job, &to, count);
    return run_changed(cmd);
}

/* --- a job that is scheduled --- */

/* What the refusals of a command on a scheduled job say; they stand in the order of its checks. */
struct reasons {
    const char *verb;
    const char *terminal, *none;
    /* running, then terminal, then cancelled; else terminal, cancelled, running */
    bool running_first;
};

/* NULL: it is scheduled. */
static const char *reason_not_scheduled(const struct job *job, const struct reasons *reasons)
{
    const bool marked =
        job->lease != NULL ? job->lease->rec.has_mark : job->has_state && job->state.has_mark;
    if (job->status == JOB_RUNNING && reasons->running_first) {
        return "job is running";
    }
    if (job->status == JOB_SUCCEEDED || job->status == JOB_FAILED) {
        return reasons->terminal;
    }
    if (marked) {
        return "job is cancelled";
    }
    if (job->status == JOB_RUNNING) {
        return "job is running";
    }
    return job->status == JOB_CANCELLED ? reasons->none : NULL;
}

/* Loads the job and its token. Answers, or asks for more: false, with the run in *ret_run. */
static bool scheduled_load(struct core *core, struct command *cmd, const struct reasons *reasons,
                           struct job *job, struct token *token, enum run *ret_run)
{
    const enum job_load load = job_load(core, cmd, job);
    if (load == JOB_NEEDS) {
        *ret_run = RUN_NEED;
        return false;
    }
    if (load != JOB_LOADED) {
        *ret_run = job_load_fail(core, cmd, load);
        return false;
    }
    const char *reason = reason_not_scheduled(job, reasons);
    if (reason != NULL) {
        *ret_run = job_refuse(cmd, reasons->verb, reason, job->status);
        return false;
    }
    if (!token_find(core, cmd, job, token)) {
        *ret_run = RUN_NEED;
        return false;
    }
    if (token->where == TOKEN_NONE) {
        *ret_run = run_fail(cmd, SILO_CORRUPT, "the job's task is missing");
        return false;
    }
    if (token->where == TOKEN_WAITER && line_rules(token->queue, token->line)->gives_way) {
        *ret_run = job_refuse(cmd, reasons->verb, reasons->none, job->status);
        return false;
    }
    return true;
}

/* --- expedite --- */

static void expedite_apply(struct core *core, struct command *cmd, const struct token *from,
                           struct token *to)
{
    to->info = job_info_blob(core, cmd->job_ref);
    const struct state state = {
        .status = JOB_SCHEDULED,
        .changed_ms = core->wall_ms,
        .attempt = to->attempt,
        .relative = to->relative,
        .has_next = true,
        .due_ms = to->place.due_ms,
        .arrival = to->place.arrival,
    };
    state_write(core, cmd->job_ref, &state);
    walk_move(core, cmd->job_ref, from, to);
    blob_unref(to->info);
}

/*
 * It waits for a rate limit: once it is asked about whoever stands before it, and if refused it
 * goes back to its place.
 */
static enum run expedite_throttled(struct core *core, struct command *cmd, const struct job *job,
                                   const struct token *from)
{
    struct token to = *from;
    const struct limits *limits = limits_of(core, &job->info);
    if (limits == NULL) {
        return malformed(cmd);
    }
    token_begin(&to, &from->task_id, limits);
    to.where = TOKEN_READY;
    to.group = job->info.group;
    to.passed = from->passed;
    to.rates_paid = from->rates_paid;
    if (!group_low_ready(core, group_get(core, to.group), cmd)) {
        return RUN_NEED;
    }
    token_move(core, cmd->job_ref, from, &to);
    return run_changed(cmd);
}

enum run expedite_run(struct core *core, struct command *cmd)
{
    static const struct reasons reasons = {
        .verb = "expedite",
        .terminal = "job is already in a terminal state",
        .none = "no pending task to expedite",
    };
    struct job job;
    struct token from;
    enum run run = RUN_ANSWER;
    if (!scheduled_load(core, cmd, &reasons, &job, &from, &run)) {
        return run;
    }
    if (from.where == TOKEN_WAITER) {
        return expedite_throttled(core, cmd, &job, &from);
    }
    if (from.where == TOKEN_READY || from.place.due_ms <= core->wall_ms) {
        return job_refuse(cmd, reasons.verb, "task is already ready to run", job.status);
    }
    struct token to = {
        .group = job.info.group,
        .place = from.place,
        .attempt = from.attempt,
        .relative = from.relative,
    };
    to.place.due_ms = core->wall_ms;
    const struct limits *limits = limits_of(core, &job.info);
    if (limits == NULL) {
        return malformed(cmd);
    }
    token_begin(&to, &from.task_id, limits);
    to.passed = from.passed;
    to.rate_retries = from.rate_retries;
    to.rates_paid = from.rates_paid;
    if (!walk_ready(core, cmd, cmd->job_ref, &to)) {
        return RUN_NEED;
    }
    expedite_apply(core, cmd, &from, &to);
    return run_changed(cmd);
}

/* --- lease this job --- */

enum run lease_job_run(struct core *core, struct command *cmd)
{
    static const struct reasons reasons = {
        .verb = "lease",
        .terminal = "job is in a terminal state",
        .none = "no pending task to lease",
        .running_first = true,
    };
    struct job job;
    struct token from;
    enum run run = RUN_ANSWER;
    cmd->result.poll = (struct poll_result){0};
    if (!scheduled_load(core, cmd, &reasons, &job, &from, &run)) {
        return run;
    }
    if (core->leases.by_job.count >= SHARD_LEASES_MAX) {
        return run_fail(cmd, SILO_EXHAUSTED, "the shard has as many running jobs as it can hold");
    }
    struct leased_task *out = ARENA_NEW(cmd->arena, struct leased_task);
    out->task_id = uuid_from_seed(cmd->seed, 0); /* unless it has one already */
    const struct bytes info_row = job_own(core, cmd, &job);
    from.group = job.info.group;
    leased_task_fill(cmd, cmd->job_ref, info_row, out);
    poll_lease_token(core, cmd, cmd->args.lease_job.worker_id, &from, cmd->job_ref, out);
    cmd->result.poll.tasks = out;
    cmd->result.poll.count = 1;
    cmd->result.poll.leased_mono_ms = core->mono_ms;
    return run_changed(cmd);
}
