/* core/commands.c - the commands: a new kind is a row here, and a function. */
#include "core/commands.h"

#include "base/assert.h"
#include "core/check.h"
#include "core/expire.h"
#include "core/expiry.h"
#include "core/grant.h"
#include "core/locate.h"
#include "core/redate.h"

struct command_type {
    enum run (*run)(struct core *core, struct command *cmd);
    bool changes, own, keeps_work; /* command.h */
    /* of one that the core made, before it is freed; NULL: nobody waits for its end */
    void (*ended)(struct core *core, const struct command *cmd);
};

static const struct command_type types[COMMAND_KINDS] = {
    [CMD_ENQUEUE] = {.run = enqueue_run, .changes = true},
    [CMD_GET_JOB] = {.run = get_run},
    [CMD_GET_RESULT] = {.run = get_run},
    [CMD_CANCEL_JOB] = {.run = cancel_run, .changes = true},
    [CMD_DELETE_JOB] = {.run = delete_run, .changes = true},
    [CMD_RESTART_JOB] = {.run = restart_run, .changes = true},
    [CMD_EXPEDITE_JOB] = {.run = expedite_run, .changes = true},
    [CMD_LEASE_JOB] = {.run = lease_job_run, .changes = true},
    [CMD_IMPORT_JOB] = {.run = import_run, .changes = true},
    [CMD_ANY_RUNNING] = {.run = any_running_run},
    [CMD_DROP_HOLDERS] = {.run = drop_run, .changes = true},
    [CMD_POLL] = {.run = poll_run, .changes = true},
    [CMD_POLL_STOP] = {.run = poll_stop_run, .own = true},
    [CMD_GIVE_BACK] = {.run = give_back_run, .own = true, .ended = expiry_ended},
    [CMD_RETURN_TASK] = {.run = return_task_run, .changes = true, .keeps_work = true},
    [CMD_RENEW] = {.run = renew_run, .own = true},
    [CMD_HEARTBEAT] = {.run = heartbeat_run, .keeps_work = true},
    [CMD_AWAIT_CANCELS] = {.run = await_run},
    [CMD_REPORT] = {.run = report_run, .changes = true, .keeps_work = true, .ended = expiry_ended},
    [CMD_REPORT_REFRESH] = {.run = report_refresh_run, .changes = true, .keeps_work = true},
    [CMD_TOTALS] = {.run = totals_run},
    [CMD_LEND] = {.run = NULL}, /* never comes here: the shard answers it */
    [CMD_GRANT] = {.run = grant_run, .ended = grant_ended},
    [CMD_LOCATE] = {.run = locate_run, .ended = locate_ended},
    [CMD_CHECK] = {.run = check_run, .ended = check_ended},
    [CMD_CHECKED] = {.run = checked_run, .ended = check_ended},
    [CMD_ORPHAN] = {.run = orphan_run},
    [CMD_EXPIRE] = {.run = expire_run, .ended = expire_ended},
    [CMD_REDATE] = {.run = redate_run, .ended = redate_ended},
};

static const struct command_type *type_of(enum command_kind kind)
{
    ASSERT((unsigned)kind < COMMAND_KINDS);
    return &types[kind];
}

enum run command_run(struct core *core, struct command *cmd)
{
    return type_of(cmd->kind)->run(core, cmd);
}

void command_ended(struct core *core, const struct command *cmd)
{
    const struct command_type *type = type_of(cmd->kind);
    if (type->ended != NULL) {
        type->ended(core, cmd);
    }
}

void command_rewind(struct command *cmd)
{
    const struct command was = *cmd;
    *cmd = (struct command){.kind = was.kind,
                            .arena = was.arena,
                            .job_ref = was.job_ref,
                            .args = was.args,
                            .rc = was.rc};
}

bool command_changes(enum command_kind kind)
{
    return type_of(kind)->changes;
}

bool command_is_own(enum command_kind kind)
{
    return type_of(kind)->own;
}

bool command_keeps_work(enum command_kind kind)
{
    return type_of(kind)->keeps_work;
}
