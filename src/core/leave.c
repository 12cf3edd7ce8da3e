/*
 * core/leave.c - the shard goes to another process.
 *
 * What changed something becomes durable and is answered as ever. What changed nothing yet is told
 * that this is not its shard any more, so that it runs there, as if it had never been here: parked
 * polls and waits, commands whose rows are being read, those still to come. Nothing comes due, ends
 * or is handed out by itself: it would do so there, a moment later.
 *
 * Tasks that were leased here and do not reach their worker are the exception: they go back here as
 * long as there is a here, for nobody there knows that they were never delivered.
 */
#include "core/leave.h"

#include "core/drop.h"
#include "core/expiry.h"
#include "core/marks.h"
#include "core/poll.h"
#include "core/run.h"
#include "core/state.h"
#include "core/watch.h"

/* Such a command goes on. */
static bool leave_spares(const struct command *cmd)
{
    return cmd->kind == CMD_GIVE_BACK;
}

static void leave_list(struct core *core, struct list *list)
{
    struct list_node *next = NULL;
    for (struct list_node *n = list_first(list); n != NULL; n = next) {
        next = list_next(list, n);
        struct command *cmd = CONTAINER_OF(n, struct command, node);
        if (!leave_spares(cmd)) {
            list_remove(&cmd->node);
            core_send_away(core, cmd);
        }
    }
}

static bool leave_is_done(const struct list *list)
{
    for (const struct list_node *n = list_first(list); n != NULL; n = list_next(list, n)) {
        if (leave_spares(CONTAINER_OF(n, struct command, node))) {
            return false;
        }
    }
    return true;
}

void core_leave(struct core *core)
{
    core->run.leaving = true;
    polls_leave(core);
    drops_leave(core);
    watches_abandon(core, &core->run.blocked);
    marks_abandon(core, &core->run.blocked);
    leave_list(core, &core->run.blocked);
    leave_list(core, &core->run.woken);
    expiry_leave(core);
}

void leave_turn(struct core *core)
{
    leave_list(core, &core->run.woken);
}

bool core_left(const struct core *core)
{
    return leave_is_done(&core->run.blocked) && leave_is_done(&core->run.woken);
}
