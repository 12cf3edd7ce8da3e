/*
 * core/answer.c - completing an answer with rows that are read after it became durable: payloads
 * and results of their own, and the rows of ended attempts. Touches only the command, so any thread
 * may run it.
 *
 *   job    payload, result, attempt rows ──► large results of attempts ──► done
 *   any of them missing ──► is the job still there? ──► NOT_FOUND, or CORRUPT
 *   polls  payloads ──► tasks whose payload came are delivered; the others are `undelivered`
 */
#include "core/answer.h"

#include "base/assert.h"
#include "base/limits.h"
#include "core/command.h"
#include "core/core.h"
#include "core/run.h"
#include "core/view.h"

bool job_wants_payload(const struct command *cmd)
{
    return cmd->kind == CMD_GET_JOB && !cmd->args.get.omit_payload;
}

bool job_wants_data(const struct command *cmd)
{
    const struct job_view *view = &cmd->result.job;
    const bool omitted = cmd->kind == CMD_GET_JOB && cmd->args.get.omit_results;
    return !omitted && view->has_state && view->state.has_outcome && !view->running;
}

bool answer_fits(struct command *cmd)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < cmd->want_count; i++) {
        const uint64_t len = cmd->wants[i].len;
        bytes = len < MESSAGE_BYTES_MAX - bytes ? bytes + len : MESSAGE_BYTES_MAX;
    }
    if (bytes < MESSAGE_BYTES_MAX) {
        return true;
    }
    (void)run_fail(cmd, SILO_OUT_OF_RANGE, ERROR_ANSWER_TOO_LARGE);
    return false;
}

/* --- jobs --- */

static void wants_renew(struct command *cmd, size_t count)
{
    cmd->wants = arena_zalloc(cmd->arena, (count + 1) * sizeof cmd->wants[0]);
    cmd->want_count = 0;
    cmd->want_at = 0;
}

static void want_add(struct command *cmd, const struct key *key, uint64_t len)
{
    cmd->wants[cmd->want_count++] =
        (struct command_want){.key = arena_copy(cmd->arena, key_bytes(key)), .len = len};
}

/*
 * A row was not there: either the job was deleted between the answer and the read, or the row is
 * lost.
 */
static bool answer_gone(struct command *cmd)
{
    struct key key;
    key_by_ref(&key, TABLE_INFO, cmd->job_ref);
    wants_renew(cmd, 1);
    want_add(cmd, &key, 0);
    cmd->want_gone = true;
    return true;
}

static bool gone_decide(struct command *cmd)
{
    if (cmd->wants[0].present) {
        (void)run_fail(cmd, SILO_CORRUPT, "a part of the job is missing in the storage");
    } else {
        (void)run_fail(cmd, SILO_NOT_FOUND, "job not found");
    }
    return false;
}

static bool answer_corrupt(struct command *cmd, const char *text)
{
    (void)run_fail(cmd, SILO_CORRUPT, text);
    return false;
}

/*
 * Decodes the attempt rows; true when results of theirs have rows of their own, which are wanted
 * next.
 */
static bool job_attempts_read(struct command *cmd, struct job_view *view, size_t first)
{
    const struct command_want *rows = &cmd->wants[first];
    size_t blobs = 0;
    for (size_t i = 0; i < view->attempt_count; i++) {
        if (!rows[i].present) {
            return answer_gone(cmd);
        }
        if (!attempt_decode(rows[i].value, &view->attempts[i].attempt)) {
            return answer_corrupt(cmd, "a stored attempt is corrupt");
        }
        const struct blob_ref *data = &view->attempts[i].attempt.outcome.data;
        view->attempts[i].data = data->inline_bytes;
        blobs += data->is_blob;
    }
    if (blobs == 0 || cmd->args.get.omit_results) {
        return false;
    }
    wants_renew(cmd, blobs);
    for (size_t i = 0; i < view->attempt_count; i++) {
        const struct blob_ref *data = &view->attempts[i].attempt.outcome.data;
        if (data->is_blob) {
            struct key key;
            key_blob(&key, cmd->job_ref, BLOB_RESULT, view->attempts[i].number);
            want_add(cmd, &key, data->len);
        }
    }
    return answer_fits(cmd);
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
    if (job_wants_payload(cmd) && view->info.payload.is_blob) {
        if (!cmd->wants[at].present) {
            return answer_gone(cmd);
        }
        view->payload = cmd->wants[at++].value;
    }
    if (job_wants_data(cmd) && view->state.final.outcome.data.is_blob) {
        if (!cmd->wants[at].present) {
            return answer_gone(cmd);
        }
        view->data = cmd->wants[at++].value;
    }
    return job_attempts_read(cmd, view, at);
}

/* A job is told whole or not at all. */
static bool job_failed(struct command *cmd)
{
    for (size_t i = 0; i < cmd->want_count; i++) {
        const enum silo_code code = cmd->wants[i].failed;
        if (code == SILO_OK) {
            continue;
        }
        (void)run_fail(cmd, code,
                       code == SILO_CORRUPT     ? "a part of the job is damaged in the storage"
                       : code == SILO_EXHAUSTED ? ERROR_ANSWERS_FULL
                                                : ERROR_READ);
        return true;
    }
    return false;
}

/* --- polls --- */

/* What is wrong with the payload for good; NULL: nothing, or it may be read another time. */
static const char *payload_unreadable(const struct leased_task *task,
                                      const struct command_want *want)
{
    if (want->failed == SILO_CORRUPT) {
        return "the payload is damaged in the storage";
    }
    if (want->failed != SILO_OK) {
        return NULL;
    }
    if (!want->present) {
        return "the payload is missing in the storage";
    }
    return want->value.len != task->info.payload.len ? "the stored payload has another size" : NULL;
}

static void poll_undelivered(struct poll_result *result, const struct leased_task *task,
                             const char *unreadable)
{
    result->undelivered[result->undelivered_count++] =
        (struct undelivered_task){.task_id = task->task_id,
                                  .tenant = task->tenant,
                                  .job_id = task->job_id,
                                  .unreadable = unreadable};
}

/*
 * Nothing is left to deliver: why. A poll whose every job was unreadable has simply found no work.
 */
static void poll_fail(struct command *cmd, enum silo_code back)
{
    if (back != SILO_OK) {
        (void)run_fail(cmd, back, back == SILO_EXHAUSTED ? ERROR_ANSWERS_FULL : ERROR_READ);
    } else if (cmd->kind == CMD_LEASE_JOB) {
        (void)run_fail(cmd, SILO_CORRUPT, cmd->result.poll.undelivered[0].unreadable);
    }
}

static bool poll_more(struct command *cmd)
{
    struct poll_result *result = &cmd->result.poll;
    enum silo_code back = SILO_OK;
    size_t at = 0;
    size_t kept = 0;
    result->undelivered =
        arena_alloc(cmd->arena, (cmd->want_count + 1) * sizeof *result->undelivered);
    result->undelivered_count = 0;
    for (size_t i = 0; i < result->count; i++) {
        struct leased_task *task = &result->tasks[i];
        if (task->info.payload.is_blob) {
            const struct command_want *want = &cmd->wants[at++];
            const char *unreadable = payload_unreadable(task, want);
            if (want->failed != SILO_OK || unreadable != NULL) {
                back = unreadable == NULL ? want->failed : back;
                poll_undelivered(result, task, unreadable);
                continue;
            }
            task->payload = want->value;
        }
        result->tasks[kept++] = *task;
    }
    result->count = kept;
    if (kept == 0 && result->refresh_count == 0) {
        poll_fail(cmd, back);
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
    if (job_failed(cmd)) {
        return false;
    }
    if (cmd->want_gone) {
        return gone_decide(cmd);
    }
    return cmd->want_rounds == 1 ? job_more(cmd) : job_results(cmd);
}
