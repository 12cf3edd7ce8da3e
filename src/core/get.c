/*
 * core/get.c - a job is told: what is known at once, and which rows are to be read for the rest.
 */
#include "base/assert.h"
#include "base/limits.h"
#include "core/answer.h"
#include "core/commands.h"
#include "core/job.h"
#include "core/lease.h"
#include "core/run.h"
#include "core/state.h"
#include "core/watch.h"

static void want(struct command *cmd, const struct key *key, uint64_t len)
{
    cmd->wants[cmd->want_count++] = (struct command_want){
        .key = arena_copy(cmd->arena, key_bytes(key)), .len = len, .value = BYTES_NONE};
}

static void get_wants(struct command *cmd, const struct job_view *view, uint32_t rows)
{
    const struct blob_ref *payload = &view->info.payload;
    const struct blob_ref *data = &view->state.final.outcome.data;
    struct key key;
    cmd->wants = arena_alloc(cmd->arena, ((size_t)rows + 2) * sizeof cmd->wants[0]);
    if (job_wants_payload(cmd) && payload->is_blob) {
        key_blob(&key, cmd->job_ref, BLOB_PAYLOAD, 0);
        want(cmd, &key, payload->len);
    }
    if (job_wants_data(cmd) && data->is_blob) {
        key_blob(&key, cmd->job_ref, BLOB_RESULT, view->state.attempt);
        want(cmd, &key, data->len);
    }
    for (uint32_t n = rows; n != 0; n--) {
        key_attempt(&key, cmd->job_ref, view->attempts[rows - n].number);
        want(cmd, &key, 0);
    }
}

static void view_attempts(struct command *cmd, struct job_view *view, uint32_t rows,
                          uint32_t skipped)
{
    view->attempts = arena_zalloc(cmd->arena, ((size_t)rows + 1) * sizeof view->attempts[0]);
    for (uint32_t i = 0; i < rows; i++) {
        view->attempts[view->attempt_count++].number = skipped + i + 1;
    }
}

static enum run get_answer(struct core *core, struct command *cmd, const struct job *job,
                           const struct job_pending *pending)
{
    struct job_view *view = &cmd->result.job;
    *view = (struct job_view){.has_state = job->has_state,
                              .running = job->lease != NULL,
                              .status = job->status,
                              .pending = *pending};
    ASSERT(info_decode(job_row_copy(core, cmd, TABLE_INFO), &view->info));
    view->payload = view->info.payload.inline_bytes;
    if (job->has_state) {
        ASSERT(state_decode(job_row_copy(core, cmd, TABLE_STATE), &view->state));
        view->data = view->state.final.outcome.data.inline_bytes;
    }
    if (job->lease != NULL) {
        view->lease_attempt = job->lease->rec.attempt;
        view->lease_relative = job->lease->rec.relative;
        view->lease_task_id = job->lease->rec.task_id;
        view->lease_started_ms = job->lease->rec.started_ms;
        view->lease_marked = job->lease->rec.has_mark;
        view->lease_mark_ms = job->lease->rec.mark_ms;
    }
    uint32_t rows = 0;
    if (cmd->kind == CMD_GET_JOB && cmd->args.get.include_attempts) {
        const uint32_t all = job_attempt_rows(job);
        rows = all < JOB_ATTEMPTS_SHOWN_MAX ? all : JOB_ATTEMPTS_SHOWN_MAX;
        view_attempts(cmd, view, rows, all - rows);
    }
    get_wants(cmd, view, rows);
    const enum run run = run_ok(cmd);
    (void)answer_fits(cmd);
    return run;
}

enum run get_run(struct core *core, struct command *cmd)
{
    struct job job;
    const enum job_load load = job_load(core, cmd, &job);
    if (load == JOB_NEEDS) {
        return RUN_NEED;
    }
    if (load != JOB_LOADED) {
        return job_load_fail(core, cmd, load);
    }
    if (cmd->kind == CMD_GET_RESULT && !job_status_terminal(job.status)) {
        const bool waits = cmd->args.get.wait_ms != 0 && !core->run.polls_released;
        if (waits && core_crowded(core)) {
            return run_fail(cmd, SILO_EXHAUSTED, ERROR_CROWDED);
        }
        if (waits) {
            watch_add(core, cmd);
            return RUN_PARK;
        }
        return run_fail(cmd, SILO_PRECONDITION,
                        arena_printf(cmd->arena, "job is not complete: status is %s",
                                     job_status_name(job.status)));
    }
    struct job_pending pending = {.cause = PENDING_NONE};
    if (cmd->kind == CMD_GET_JOB && job.status == JOB_SCHEDULED &&
        !pending_find(core, cmd, &job, &pending)) {
        return RUN_NEED;
    }
    return get_answer(core, cmd, &job, &pending);
}
