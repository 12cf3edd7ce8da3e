/*
 * core/give_back.c - leases undone: the task stands where it stood before, under the same attempt
 * number, as if nobody had taken it. Only its id is new: who had it may still report it by the old
 * one, while another worker runs it.
 *
 * Two ask for it: the service, for tasks that never reached their worker (GIVE_BACK), and a worker,
 * for tasks that it has not begun (RETURN_TASK). A lease of an undelivered task that cannot go back
 * now, because a row of its job cannot be read, is marked: at its end it goes back too, and does
 * not count as a crash. A job that was cancelled meanwhile ends; nobody ran its attempt, so that
 * leaves no trace. A job that nobody could ever run, because what is stored of it is damaged, ends
 * FAILED with a code of its own instead of going from worker to worker for ever.
 */
#include "core/commands.h"
#include "core/count.h"
#include "core/floating.h"
#include "core/job.h"
#include "core/lease.h"
#include "core/read.h"
#include "core/refresh.h"
#include "core/run.h"
#include "core/slot.h"
#include "core/state.h"
#include "core/token.h"
#include "core/walk.h"

/*
 * Whether the task was due before it was leased. If its stamp lies ahead of now it was either
 * leased early, by its id, or stamped by a clock that was ahead: then it was leased when its time
 * had come by that clock, or what waits for it is the time of that stamp alone, and no start that
 * somebody asked for. False: rows were asked for.
 */
static bool back_was_due(struct core *core, struct command *cmd, const struct lease *lease,
                         bool *ret_due)
{
    const struct lease_rec *rec = &lease->rec;
    *ret_due = rec->due_ms <= core->wall_ms || rec->started_ms >= rec->due_ms;
    if (*ret_due) {
        return true;
    }
    struct key key;
    struct bytes info_row;
    struct bytes state_row;
    struct info info;
    struct state state;
    key_by_ref(&key, TABLE_INFO, lease->job_ref);
    const enum view_answer has_info = look(core, cmd, key_bytes(&key), &info_row);
    key_by_ref(&key, TABLE_STATE, lease->job_ref);
    const enum view_answer has_state = look(core, cmd, key_bytes(&key), &state_row);
    if (has_info == VIEW_UNKNOWN || has_state == VIEW_UNKNOWN) {
        return false;
    }
    if (has_info == VIEW_FOUND && info_decode(info_row, &info) &&
        info.requested_start_ms != rec->due_ms) {
        *ret_due = has_state == VIEW_ABSENT ||
                   (state_decode(state_row, &state) && state.changed_ms > core->wall_ms);
    }
    return true;
}

/* Its own place, behind the limits it has passed, under another id. */
static enum run back_token(struct core *core, struct command *cmd, const struct lease *lease,
                           const struct uuid *task_id, struct token *to)
{
    const struct lease_rec *rec = &lease->rec;
    bool due = false;
    if (!back_was_due(core, cmd, lease, &due)) {
        return RUN_NEED;
    }
    *to = (struct token){
        .was_due = due,
        .group = rec->group,
        .place = {.due_ms = rec->due_ms, .priority = rec->priority, .arrival = rec->arrival},
        .attempt = rec->attempt,
        .relative = rec->relative,
    };
    if (rec->limit_count == 0) {
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
    const struct limits *limits =
        there == VIEW_FOUND && info_decode(row, &info) ? limits_of(core, &info) : NULL;
    if (limits == NULL) {
        return run_fail(cmd, SILO_CORRUPT, "the stored job is corrupt");
    }
    token_begin(to, task_id, limits);
    to->passed = rec->passed;
    return RUN_ANSWER;
}

/* As if it had been cancelled while it waited. */
static enum run back_cancelled(struct core *core, struct command *cmd, struct lease *lease)
{
    struct tenant_count *count = count_find(core, lease->job_ref, cmd);
    if (count == NULL) {
        return RUN_NEED;
    }
    const struct lease_rec *rec = &lease->rec;
    struct state state = {
        .status = JOB_CANCELLED,
        .changed_ms = core->wall_ms,
        .has_mark = true,
        .mark_ms = rec->mark_ms,
        .attempt = rec->attempt,
        .relative = rec->relative,
        .has_next = true,
        .due_ms = rec->due_ms,
        .arrival = rec->arrival,
        .has_outcome = true,
        .final.outcome = {.status = ATTEMPT_CANCELLED, .finished_ms = core->wall_ms},
    };
    job_end(core, lease->job_ref, &state, rec->enqueue_ms, count);
    const struct token from = {.where = TOKEN_LEASE, .lease = lease};
    token_move(core, lease->job_ref, &from, &(struct token){.where = TOKEN_NONE});
    return RUN_ANSWER;
}

/* ANSWER with cmd->rc OK: the lease is gone. `number`: which of the command's tasks it is. */
static enum run back_one(struct core *core, struct command *cmd, struct lease *lease,
                         uint64_t number)
{
    const struct uuid task_id = uuid_from_seed(cmd->seed, number);
    cmd->rc = RC_OK;
    if (lease->rec.has_mark) {
        return back_cancelled(core, cmd, lease);
    }
    struct token to;
    if (back_token(core, cmd, lease, &task_id, &to) == RUN_NEED) {
        return RUN_NEED;
    }
    if (cmd->rc.code != SILO_OK) {
        lease_spoil(core, lease, "what is stored of the job is malformed");
        return RUN_ANSWER;
    }
    if (!walk_ready(core, cmd, lease->job_ref, &to)) {
        return RUN_NEED;
    }
    slots_rename(core, &lease->rec.task_id, &task_id);
    lease_rename(core, lease, &task_id);
    const struct token from = {.where = TOKEN_LEASE, .lease = lease};
    walk_move(core, lease->job_ref, &from, &to);
    return RUN_ANSWER;
}

/* --- never delivered --- */

/* False: rows were asked for. */
static bool undelivered_back(struct core *core, struct command *cmd, size_t index)
{
    const struct uuid *task_id = &cmd->args.give_back.task_ids[index];
    struct lease *lease = lease_find(core, task_id);
    if (lease == NULL) {
        struct floating *floating = NULL;
        if (!floating_find(core, cmd, task_id, &floating)) {
            return false;
        }
        if (floating != NULL) {
            floating_give_back(core, floating);
        }
        return true;
    }
    if (cmd->internal && !lease->expiring) {
        return true; /* its worker has been heard of */
    }
    if (cmd->args.give_back.unreadable != NULL) {
        lease_spoil(core, lease, cmd->args.give_back.unreadable);
        return true;
    }
    lease->undelivered = true;
    return back_one(core, cmd, lease, index) == RUN_ANSWER;
}

/* Each task goes back alone: those that miss nothing do not wait for the others' rows. */
enum run give_back_run(struct core *core, struct command *cmd)
{
    bool all = true;
    for (size_t i = 0; i < cmd->args.give_back.count; i++) {
        all = undelivered_back(core, cmd, i) && all;
    }
    return all ? run_changed(cmd) : RUN_NEED;
}

/* --- returned by the worker --- */

static enum run return_refresh(struct core *core, struct command *cmd)
{
    const struct return_task_args *args = &cmd->args.return_task;
    struct floating *floating = NULL;
    if (args->has_task_id && !floating_find(core, cmd, &args->task_id, &floating)) {
        return RUN_NEED;
    }
    if (floating == NULL || floating->rec.phase != REFRESH_LEASE) {
        view_touch_absent(&core->view);
        return run_fail(cmd, SILO_NOT_FOUND, "lease not found");
    }
    view_touch(&core->view, floating->batch);
    if (!bytes_eq(floating->rec.worker_id, args->worker_id)) {
        return run_fail(cmd, SILO_PRECONDITION, "lease owner mismatch");
    }
    floating_give_back(core, floating);
    return run_changed(cmd);
}

enum run return_task_run(struct core *core, struct command *cmd)
{
    const struct return_task_args *args = &cmd->args.return_task;
    struct lease *lease = args->has_task_id ? lease_find(core, &args->task_id) : NULL;
    if (lease == NULL) {
        return return_refresh(core, cmd);
    }
    view_touch(&core->view, lease->batch);
    if (!bytes_eq(lease->rec.worker_id, args->worker_id)) {
        return run_fail(cmd, SILO_PRECONDITION, "lease owner mismatch");
    }
    const enum run run = back_one(core, cmd, lease, 0);
    return run == RUN_ANSWER && cmd->rc.code == SILO_OK ? run_changed(cmd) : run;
}
