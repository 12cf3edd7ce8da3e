/*
 * core/cancel.c - a job is cancelled: one that waits ends, the worker of one that runs is told.
 */
#include "core/commands.h"
#include "core/count.h"
#include "core/job.h"
#include "core/lease.h"
#include "core/marks.h"
#include "core/run.h"
#include "core/state.h"
#include "core/token.h"
#include "core/token_find.h"

static enum run cancel_running(struct core *core, struct command *cmd, struct lease *lease)
{
    view_touch(&core->view, lease->batch);
    if (lease->rec.has_mark) {
        return run_fail(cmd, SILO_PRECONDITION, "job is already cancelled");
    }
    lease->rec.has_mark = true;
    lease->rec.mark_ms = core->wall_ms;
    lease_write(core, lease, false);
    marks_add(core, lease);
    return run_changed(cmd);
}

static enum run cancel_scheduled(struct core *core, struct command *cmd, const struct job *job)
{
    struct token token;
    const bool found = token_find(core, cmd, job, &token);
    struct tenant_count *count = count_find(core, cmd->job_ref, cmd);
    if (!found || count == NULL) {
        return RUN_NEED;
    }
    if (token.where == TOKEN_NONE) {
        return run_fail(cmd, SILO_CORRUPT, "the job's task is missing");
    }
    struct state state = {
        .status = JOB_CANCELLED,
        .changed_ms = core->wall_ms,
        .has_mark = true,
        .mark_ms = core->wall_ms,
        .attempt = token.attempt,
        .relative = token.relative,
        .has_next = true,
        .due_ms = token.place.due_ms,
        .arrival = token.place.arrival,
        .has_outcome = true,
        .final.outcome = {.status = ATTEMPT_CANCELLED, .finished_ms = core->wall_ms},
    };
    const int64_t enqueue_ms = job->info.enqueue_ms;
    token_move(core, cmd->job_ref, &token, &(struct token){.where = TOKEN_NONE});
    job_end(core, cmd->job_ref, &state, enqueue_ms, count);
    return run_changed(cmd);
}

enum run cancel_run(struct core *core, struct command *cmd)
{
    struct lease *lease = lease_of_job(core, cmd->job_ref);
    if (lease != NULL) {
        return cancel_running(core, cmd, lease);
    }
    struct job job;
    const enum job_load load = job_load(core, cmd, &job);
    if (load == JOB_NEEDS) {
        return RUN_NEED;
    }
    if (load != JOB_LOADED) {
        return job_load_fail(core, cmd, load);
    }
    if (job.status == JOB_CANCELLED || (job.has_state && job.state.has_mark)) {
        return run_fail(cmd, SILO_PRECONDITION, "job is already cancelled");
    }
    if (job_status_terminal(job.status)) {
        return run_fail(cmd, SILO_PRECONDITION, "job is already in terminal state");
    }
    return cancel_scheduled(core, cmd, &job);
}
