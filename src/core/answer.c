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

/* Decodes the attempt rows; true when results of theirs have rows of their own, which are wanted next. */
static bool job_attempts_read(struct command *cmd, struct job_view *view, size_t first)
{
    size_t blobs = 0;
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
        const struct blob_ref *data = &view->attempts[i].attempt.outcome.data;
        view->attempts[i].data = data->inline_bytes;
        blobs += data->is_blob;
    }
    if (blobs == 0) {
        return false;
    }
    cmd->wants = arena_alloc(cmd->arena, blobs * sizeof cmd->wants[0]);
    cmd->want_count = 0;
    for (size_t i = 0; i < view->attempt_count; i++) {
        if (view->attempts[i].attempt.outcome.data.is_blob) {
            struct key key;
            key_blob(&key, cmd->job_ref, BLOB_RESULT, view->attempts[i].number);
            cmd->wants[cmd->want_count++] = (struct command_want){
                .key = arena_copy(cmd->arena, key_bytes(&key)), .value = BYTES_NONE};
        }
    }
    return true;
}

/* The second round: large results of earlier attempts. */
static bool job_results(struct command *cmd)
{
    struct job_view *view = &cmd->result.job;
    size_t at = 0;
    for (size_t i = 0; i < view->attempt_count; i++) {
        if (!view->attempts[i].attempt.outcome.data.is_blob) {
            continue;
        }
        if (!cmd->wants[at].present) {
            return answer_gone(cmd);
        }
        view->attempts[i].data = cmd->wants[at++].value;
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
    return job_attempts_read(cmd, view, at);
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
    if (cmd->kind == CMD_POLL || cmd->kind == CMD_LEASE_JOB) {
        return poll_more(cmd);
    }
    ASSERT(cmd->kind == CMD_GET_JOB || cmd->kind == CMD_GET_RESULT);
    return cmd->want_rounds == 1 ? job_more(cmd) : job_results(cmd);
}
