/*
 * core/answer.c - completing an answer with rows that are read after it became durable: payloads and results of their own,
 * and the rows of ended attempts. Touches only the command, so any thread may run it.
 */
#include "base/assert.h"
#include "core/core_int.h"

static bool answer_gone(struct command *cmd)
{
    /* The job was deleted between the answer and the read. */
    cmd->rc = (silo_rc){SILO_NOT_FOUND};
    cmd->error = "job not found";
    return false;
}

static bool job_attempts(struct command *cmd, struct job_view *view, size_t first)
{
    for (size_t i = 0; i < view->attempt_count; i++) {
        const struct command_want *row = &cmd->wants[first + i];
        if (!row->present) {
            return answer_gone(cmd);
        }
        if (!attempt_decode(row->value, &view->attempts[i].attempt)) {
            cmd->rc = (silo_rc){SILO_CORRUPT};
            cmd->error = "a stored attempt is corrupt";
            return false;
        }
        view->attempts[i].data = view->attempts[i].attempt.outcome.data.inline_bytes;
    }
    return false;
}

static bool job_more(struct command *cmd)
{
    struct job_view *view = &cmd->result.job;
    size_t at = 0;
    if (cmd->kind == CMD_GET_JOB && view->info.payload.is_blob) {
        if (!cmd->wants[at].present) {
            return answer_gone(cmd);
        }
        view->payload = cmd->wants[at++].value;
    }
    if (view->has_state && view->state.has_outcome && view->state.final.outcome.data.is_blob &&
        !view->running) {
        if (!cmd->wants[at].present) {
            return answer_gone(cmd);
        }
        view->data = cmd->wants[at++].value;
    }
    return job_attempts(cmd, view, at);
}

static bool poll_more(struct command *cmd)
{
    size_t at = 0;
    for (size_t i = 0; i < cmd->result.poll.count; i++) {
        struct leased_task *task = &cmd->result.poll.tasks[i];
        if (task->info.payload.is_blob) {
            task->payload = cmd->wants[at++].value;
        }
    }
    return false;
}

bool core_answer_more(struct command *cmd)
{
    cmd->want_rounds++;
    ASSERT(cmd->want_rounds <= COMMAND_WANT_ROUNDS_MAX);
    if (cmd->rc.code != SILO_OK) {
        return false;
    }
    return cmd->kind == CMD_POLL ? poll_more(cmd) : job_more(cmd);
}
