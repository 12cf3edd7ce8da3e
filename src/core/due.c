/*
 * core/due.c - a due task moves to the ready range of its group, or into a line; a parked poll
 * then takes it in the same batch. What due tasks need is read on behalf of one command
 * (core->due.command).
 */
#include "core/due.h"

#include "base/limits.h"
#include "base/saturate.h"
#include "core/state.h"
#include "core/timer.h"
#include "core/token.h"
#include "core/walk.h"

void due_init(struct core *core)
{
    arena_init(&core->due.arena);
    core->due.command = (struct command){.arena = &core->due.arena, .internal = true};
    list_init(&core->due.command.reads);
}

void due_free(struct core *core)
{
    view_release(&core->view, &core->due.command);
    arena_deinit(&core->due.arena);
}

/* Where a due task goes; false for a malformed row. */
static bool due_token(struct core *core, const struct task *task, struct token *to)
{
    *to = token_of_task(task);
    return task->rec == NULL || token_of_row(core, blob_bytes(task->rec), to);
}

/* False: rows were asked for. */
static bool due_fire(struct core *core, struct task *task)
{
    struct blob *rec = task->rec != NULL ? blob_ref(task->rec) : NULL;
    const struct token from = token_of_task(task);
    struct token to;
    bool fired = true;
    if (!due_token(core, task, &to)) {
        core->corrupt_rows++;
        token_move(core, task_ref(task), &from, &(struct token){.where = TOKEN_NONE});
    } else if (walk_ready(core, &core->due.command, task_ref(task), &to)) {
        walk_move(core, task_ref(task), &from, &to);
    } else {
        fired = false;
    }
    blob_unref(rec);
    return fired;
}

void due_turn(struct core *core)
{
    if (core->due.command.reads_open != 0 || core->mono_ms < core->timers.retry_mono_ms) {
        return; /* what due tasks need is on its way, or could not be read just now */
    }
    uint32_t fired = 0;
    uint32_t at = 0;
    while (core->timers.known && fired < TURN_TIMERS_MAX && at < core->timers.window.count) {
        struct task *task = lane_at(&core->timers.window, at);
        if (task->place.due_ms > core->wall_ms) {
            break;
        }
        if (due_fire(core, task)) {
            fired++;
        } else {
            at++;
        }
    }
    if (core->due.command.reads_open == 0) {
        view_release(&core->view, &core->due.command);
        arena_reset(&core->due.arena);
        if (core->due.command.read_failed) {
            core->timers.retry_mono_ms = core->mono_ms + READ_RETRY_MS;
            core->due.command.read_failed = false;
        }
    }
    if (!core->timers.known || lane_wants_page(&core->timers.window, LANE_TASKS_MAX)) {
        timer_load(core);
    }
}

int64_t due_next_mono_ms(const struct core *core)
{
    if (core->due.command.reads_open != 0 || core->timers.loading) {
        return INT64_MAX;
    }
    const int64_t soon =
        core->timers.retry_mono_ms > core->mono_ms ? core->timers.retry_mono_ms : core->mono_ms;
    if (!core->timers.known || (core->timers.window.count == 0 && core->timers.window.bounded)) {
        return soon;
    }
    if (core->timers.window.count == 0) {
        return INT64_MAX;
    }
    const int64_t wait = lane_at(&core->timers.window, 0)->place.due_ms - core->wall_ms;
    if (wait <= soon - core->mono_ms) {
        return soon;
    }
    return add_saturated(core->mono_ms, wait);
}
