/*
 * core/report.c - an attempt ends: by its worker's report, or by expiry of its lease. What it needs
 * of the job stands in the lease, so reporting reads nothing.
 */
#include <xxhash.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/saturate.h"
#include "core/commands.h"
#include "core/count.h"
#include "core/ids.h"
#include "core/job.h"
#include "core/lease.h"
#include "core/read.h"
#include "core/refresh.h"
#include "core/retry.h"
#include "core/run.h"
#include "core/state.h"
#include "core/token.h"
#include "core/walk.h"

static bool report_runs_left(const struct lease_rec *lease)
{
    return lease->has_retry && lease->relative <= lease->retry.retry_count;
}

/* A retry follows a failure if the policy has runs left and nobody cancelled the job. */
static bool report_retries(const struct lease_rec *lease, const struct report_args *args)
{
    return args->status == ATTEMPT_FAILED && !args->final && !lease->has_mark &&
           report_runs_left(lease);
}

/*
 * The worker's word counts; only where a retry would have followed does the cancellation end the
 * job.
 */
static enum job_status report_end_status(const struct lease_rec *lease,
                                         const struct report_args *args)
{
    if (args->status == ATTEMPT_SUCCEEDED) {
        return JOB_SUCCEEDED;
    }
    const bool stopped = lease->has_mark && !args->final && report_runs_left(lease);
    return args->status == ATTEMPT_CANCELLED || stopped ? JOB_CANCELLED : JOB_FAILED;
}

static struct attempt report_attempt(const struct core *core, const struct command *cmd,
                                     const struct lease_rec *lease)
{
    const struct report_args *args = &cmd->args.report;
    struct attempt attempt = {
        .relative = lease->relative,
        .task_id = lease->task_id,
        .started_ms = lease->started_ms,
        .outcome = {.status = args->status, .finished_ms = core->wall_ms},
    };
    if (args->status == ATTEMPT_FAILED) {
        attempt.outcome.error_code = args->error_code;
    }
    if (args->status != ATTEMPT_CANCELLED) {
        attempt.outcome.data.inline_bytes = args->data;
    }
    return attempt;
}

/* The attempt that ends the job lives in the state row; a large result has a row of its own. */
static void report_end(struct core *core, const struct command *cmd, struct lease *lease,
                       struct tenant_count *count)
{
    struct attempt attempt = report_attempt(core, cmd, &lease->rec);
    const struct bytes data = attempt.outcome.data.inline_bytes;
    if (data.len > BLOB_INLINE_MAX) {
        attempt.outcome.data = (struct blob_ref){
            .is_blob = true, .len = data.len, .hash = XXH64(data.ptr, data.len, 0)};
        struct key key;
        key_blob(&key, lease->job_ref, BLOB_RESULT, lease->rec.attempt);
        view_put_lent(&core->view, key_bytes(&key), data);
    }
    struct state state = {
        .status = report_end_status(&lease->rec, &cmd->args.report),
        .changed_ms = core->wall_ms,
        .has_mark = lease->rec.has_mark,
        .mark_ms = lease->rec.mark_ms,
        .attempt = lease->rec.attempt,
        .relative = lease->rec.relative,
        .due_ms = lease->rec.due_ms,
        .arrival = lease->rec.arrival,
        .has_outcome = true,
        .by_attempt = true,
        .final = attempt,
    };
    job_end(core, lease->job_ref, &state, lease->rec.enqueue_ms, count);
    const struct token from = {.where = TOKEN_LEASE, .lease = lease};
    token_move(core, lease->job_ref, &from, &(struct token){.where = TOKEN_NONE});
}

/* The next run's token begins its way through the limits anew, under a task id of its own. */
static enum run report_retry_token(struct core *core, struct command *cmd, struct lease *lease,
                                   struct token *to)
{
    if (lease->rec.limit_count == 0) {
        return RUN_ANSWER;
    }
    struct key key;
    struct bytes row;
    struct info info;
    key_by_ref(&key, TABLE_INFO, lease->job_ref);
    const enum view_answer there = look(core, cmd, key_bytes(&key), &row);
    if (there == VIEW_UNKNOWN) {
        return RUN_NEED;
    }
    const struct uuid task_id = uuid_from_seed(cmd->seed, 0);
    const struct limits *limits =
        there == VIEW_FOUND && info_decode(row, &info) ? limits_of(core, &info) : NULL;
    if (limits == NULL) {
        return run_fail(cmd, SILO_CORRUPT, "the stored job is corrupt");
    }
    token_begin(to, &task_id, limits);
    return RUN_ANSWER;
}

static void report_retry(struct core *core, const struct command *cmd, struct lease *lease,
                         struct token *to)
{
    const struct attempt attempt = report_attempt(core, cmd, &lease->rec);
    struct key key;
    key_attempt(&key, lease->job_ref, lease->rec.attempt);
    buf_reset(&core->scratch);
    attempt_encode(&core->scratch, &attempt);
    view_put(&core->view, key_bytes(&key), buf_bytes(&core->scratch), false);
    to->place.arrival = arrival_next(core);
    const struct state state = {
        .status = JOB_SCHEDULED,
        .changed_ms = core->wall_ms,
        .attempt = to->attempt,
        .relative = to->relative,
        .has_next = true,
        .due_ms = to->place.due_ms,
        .arrival = to->place.arrival,
    };
    state_write(core, lease->job_ref, &state);
    const struct token from = {.where = TOKEN_LEASE, .lease = lease};
    walk_move(core, lease->job_ref, &from, to);
}

static enum run report_retry_run(struct core *core, struct command *cmd, struct lease *lease)
{
    const struct lease_rec *rec = &lease->rec;
    struct token to = {
        .group = rec->group,
        .place = {.due_ms = add_saturated(
                      core->wall_ms, retry_delay_ms(&rec->retry, rec->relative, &rec->task_id)),
                  .priority = rec->priority},
        .attempt = rec->attempt + 1,
        .relative = rec->relative + 1,
    };
    cmd->rc = RC_OK;
    const enum run begun = report_retry_token(core, cmd, lease, &to);
    if (begun != RUN_ANSWER || cmd->rc.code != SILO_OK) {
        return begun;
    }
    if (!walk_ready(core, cmd, lease->job_ref, &to)) {
        return RUN_NEED;
    }
    report_retry(core, cmd, lease, &to);
    return run_changed(cmd);
}

enum run report_run(struct core *core, struct command *cmd)
{
    struct report_args *args = &cmd->args.report;
    ASSERT(args->status != ATTEMPT_RUNNING);
    struct lease *lease = args->has_task_id ? lease_find(core, &args->task_id) : NULL;
    if (lease != NULL && cmd->internal && lease->rec.has_mark) {
        args->status =
            ATTEMPT_CANCELLED; /* the job may have been cancelled since its lease expired */
    }
    if (lease == NULL || (cmd->internal && !lease->expiring)) {
        struct floating *floating = NULL;
        if (args->has_task_id && !floating_find(core, cmd, &args->task_id, &floating)) {
            return RUN_NEED;
        }
        if (floating != NULL) {
            return run_fail(
                cmd, SILO_PRECONDITION,
                "the task refreshes a floating limit; report it with ReportRefreshOutcome");
        }
        view_touch_absent(&core->view);
        return run_fail(cmd, SILO_NOT_FOUND, "lease not found");
    }
    if (report_retries(&lease->rec, args)) {
        return report_retry_run(core, cmd, lease);
    }
    struct tenant_count *count = count_find(core, lease->job_ref, cmd);
    if (count == NULL) {
        return RUN_NEED;
    }
    report_end(core, cmd, lease, count);
    return run_changed(cmd);
}
