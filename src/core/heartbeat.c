/* core/heartbeat.c - workers keep what they hold: heartbeats, and terms that begin anew. */
#include "base/limits.h"
#include "core/commands.h"
#include "core/floating.h"
#include "core/lease.h"
#include "core/refresh.h"
#include "core/run.h"
#include "core/state.h"

enum run renew_run(struct core *core, struct command *cmd)
{
    const struct renew_args *args = &cmd->args.renew;
    for (size_t i = 0; i < args->count; i++) {
        struct lease *lease = lease_find(core, &args->task_ids[i]);
        struct floating *floating = NULL;
        if (lease != NULL) {
            lease_renew(core, lease);
        } else if (!floating_find(core, cmd, &args->task_ids[i], &floating)) {
            return RUN_NEED;
        } else if (floating != NULL && floating->rec.phase == REFRESH_LEASE) {
            floating_renew(core, floating, LEASE_MS);
        }
    }
    return run_ok(cmd);
}

static enum run heartbeat_refresh(struct core *core, struct command *cmd, struct floating *floating)
{
    view_touch(&core->view, floating->batch);
    if (!bytes_eq(floating->rec.worker_id, cmd->args.heartbeat.worker_id)) {
        return run_fail(cmd, SILO_PRECONDITION, "lease owner mismatch");
    }
    floating_renew(core, floating, LEASE_MS);
    cmd->result.heartbeat = (struct heartbeat_result){0};
    return run_ok(cmd);
}

enum run heartbeat_run(struct core *core, struct command *cmd)
{
    const struct heartbeat_args *args = &cmd->args.heartbeat;
    struct lease *lease = args->has_task_id ? lease_find(core, &args->task_id) : NULL;
    if (lease == NULL) {
        struct floating *floating = NULL;
        if (args->has_task_id && !floating_find(core, cmd, &args->task_id, &floating)) {
            return RUN_NEED;
        }
        if (floating != NULL && floating->rec.phase == REFRESH_LEASE) {
            return heartbeat_refresh(core, cmd, floating);
        }
        view_touch_absent(&core->view);
        return run_fail(cmd, SILO_NOT_FOUND, "lease not found");
    }
    view_touch(&core->view, lease->batch);
    if (!bytes_eq(lease->rec.worker_id, args->worker_id)) {
        return run_fail(cmd, SILO_PRECONDITION, "lease owner mismatch");
    }
    lease->undelivered = false; /* it has reached its worker after all */
    lease_renew(core, lease);
    cmd->result.heartbeat = (struct heartbeat_result){.cancelled = lease->rec.has_mark,
                                                      .cancelled_ms = lease->rec.mark_ms};
    return run_ok(cmd);
}
