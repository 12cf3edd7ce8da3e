/* core/run.c - answering, parking and waking of commands; a core that is broken. */
#include "core/run.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/limits.h"
#include "core/state.h"

void run_init(struct core *core)
{
    list_init(&core->run.answered);
    list_init(&core->run.woken);
    list_init(&core->run.blocked);
    list_init(&core->run.parked);
    heap_init(&core->run.deadlines);
}

void run_free(struct core *core)
{
    heap_deinit(&core->run.deadlines);
}

enum run run_fail(struct command *cmd, enum silo_code code, const char *text)
{
    cmd->rc = (silo_rc){code};
    cmd->error = text;
    return RUN_ANSWER;
}

enum run run_ok(struct command *cmd)
{
    cmd->rc = RC_OK;
    return RUN_ANSWER;
}

enum run run_changed(struct command *cmd)
{
    cmd->changes = true;
    return run_ok(cmd);
}

void core_break(struct core *core, const char *fmt, ...)
{
    if (core->phase != CORE_BROKEN) {
        va_list ap;
        va_start(ap, fmt);
        (void)vsnprintf(core->broken, sizeof core->broken, fmt, ap);
        va_end(ap);
        core->phase = CORE_BROKEN;
    }
}

void core_answer(struct core *core, struct command *cmd)
{
    view_release(&core->view, cmd);
    cmd->wait_batch = cmd->changes ? core->view.open : core->view.touched;
    if (cmd->wait_batch == core->view.open && core->view.open_rows == 0) {
        cmd->wait_batch--; /* what it changed or saw in the open batch has vanished again */
    }
    core->run.command_count--;
    list_push_back(&core->run.answered, &cmd->node);
}

void core_send_away(struct core *core, struct command *cmd)
{
    view_begin(&core->view);
    (void)run_fail(cmd, SILO_ROUTED_WRONG, NULL);
    core_answer(core, cmd);
}

bool core_crowded(const struct core *core)
{
    return core->run.deadlines.count >= SHARD_PARKED_MAX;
}

void core_wake(struct core *core, struct command *cmd)
{
    list_remove(&cmd->node);
    list_push_back(&core->run.woken, &cmd->node);
}

void core_park(struct core *core, struct command *cmd, int64_t deadline_mono_ms)
{
    list_push_back(&core->run.parked, &cmd->node);
    heap_insert(&core->run.deadlines, &cmd->deadline, deadline_mono_ms);
}

void core_unpark(struct core *core, struct command *cmd)
{
    list_remove(&cmd->node);
    heap_remove(&core->run.deadlines, &cmd->deadline);
}
