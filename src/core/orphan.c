/*
 * core/orphan.c - a token without its job cannot run: it goes, wherever it waits, with its slots.
 * Loading of info rows (core/info.c) finds it; the command runs before any other, or a job of that
 * name could be made meanwhile and lose its own token.
 */
#include "core/commands.h"
#include "core/state.h"
#include "core/task.h"
#include "core/token.h"

enum run orphan_run(struct core *core, struct command *cmd)
{
    const struct task *task = task_find(core, cmd->job_ref);
    if (task == NULL || task->info != NULL) {
        return run_ok(cmd); /* it has moved meanwhile, or the job is there */
    }
    core->corrupt_rows++;
    const struct token from = token_of_task(task);
    token_move(core, cmd->job_ref, &from, &(struct token){.where = TOKEN_NONE});
    return run_changed(cmd);
}
