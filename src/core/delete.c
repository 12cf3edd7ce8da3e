/* core/delete.c - a job that ended is removed with all its rows. */
#include "core/commands.h"
#include "core/count.h"
#include "core/job.h"
#include "core/run.h"
#include "core/state.h"

static enum run delete_refuse(struct command *cmd)
{
    const struct bytes tenant = job_ref_tenant(cmd->job_ref);
    return run_fail(
        cmd, SILO_PRECONDITION,
        arena_printf(
            cmd->arena, "cannot delete job %.*s: job is currently running or has pending requests",
            (int)(cmd->job_ref.len - tenant.len), (const char *)cmd->job_ref.ptr + tenant.len));
}

enum run delete_run(struct core *core, struct command *cmd)
{
    struct job job;
    const enum job_load load = job_load(core, cmd, &job);
    struct tenant_count *count = count_find(core, cmd->job_ref, cmd);
    if (load == JOB_NEEDS || (load == JOB_LOADED && count == NULL)) {
        return RUN_NEED;
    }
    if (load == JOB_ABSENT) {
        view_touch_absent(&core->view);
        return run_ok(cmd);
    }
    if (load == JOB_CORRUPT) {
        return job_load_fail(core, cmd, load);
    }
    if (!job_status_terminal(job.status)) {
        return delete_refuse(cmd);
    }
    job_delete(core, cmd->job_ref, &job, count);
    return run_changed(cmd);
}
