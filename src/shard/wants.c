/*
 * shard/wants.c - the rows that an answer wants once it is durable: payloads, results, attempts.
 *
 *   reserve room ──► slice ──► slice ──► ... ──► core_answer_more ──► another round, or the answer
 *
 * 1. Room is taken for all bytes of a round before the first is read, from what the process allows
 *    to be under way; a read that gets none is refused, a poll gets the tasks there is room for.
 * 2. A slice is copied into the command's arena before the next one is read, so a round never needs
 *    more than its own bytes and one slice.
 * 3. A slice with a damaged row is read again row by row: one such row harms its own job alone.
 * 4. Tasks of a poll whose payload did not come go back, or end their job when it never can.
 */
#include "base/assert.h"
#include "base/log.h"
#include "shard/shard_int.h"

#define WANTS_SLICE_BYTES (8u << 20)

/* --- room --- */

static bool answers_take(struct shards *shards, uint64_t bytes)
{
    const uint64_t was =
        atomic_fetch_add_explicit(&shards->answer_bytes, bytes, memory_order_relaxed);
    if (was + bytes > ANSWERS_BYTES_MAX) {
        (void)atomic_fetch_sub_explicit(&shards->answer_bytes, bytes, memory_order_relaxed);
        return false;
    }
    return true;
}

void shard_answer_taken(struct shard_request *request)
{
    if (request->answer_bytes != 0) {
        (void)atomic_fetch_sub_explicit(&request->shards->answer_bytes, request->answer_bytes,
                                        memory_order_relaxed);
        request->answer_bytes = 0;
    }
}

/* What follows `from` is not read. */
static void wants_fail(struct command *cmd, size_t from, enum silo_code code)
{
    for (size_t i = from; i < cmd->want_count; i++) {
        cmd->wants[i].failed = code;
    }
}

static void wants_reserve(struct command *cmd)
{
    struct shard_request *request = CONTAINER_OF(cmd, struct shard_request, cmd);
    for (size_t i = 0; i < cmd->want_count; i++) {
        const uint64_t bytes = cmd->wants[i].len;
        if (bytes != 0 && !answers_take(request->shards, bytes)) {
            wants_fail(cmd, i, SILO_EXHAUSTED);
            return;
        }
        request->answer_bytes += bytes;
    }
}

/* --- slices --- */

/* The end of the slice that begins at want_at; no slice: want_at. */
static size_t slice_end(const struct command *cmd)
{
    uint64_t bytes = 0;
    size_t at = cmd->want_at;
    const size_t rows_max = at < cmd->want_alone ? 1 : cmd->want_count;
    while (at < cmd->want_count && cmd->wants[at].failed == SILO_OK &&
           at - cmd->want_at < rows_max &&
           (at == cmd->want_at || bytes + cmd->wants[at].len <= WANTS_SLICE_BYTES)) {
        bytes += cmd->wants[at++].len;
    }
    return at;
}

static bool slice_start(struct incarnation *inc, struct command *cmd, size_t end)
{
    const size_t count = end - cmd->want_at;
    struct bytes *keys = xcalloc(count, sizeof keys[0]);
    for (size_t i = 0; i < count; i++) {
        keys[i] = cmd->wants[cmd->want_at + i].key;
    }
    struct op *op = op_begin(inc, OP_WANTS);
    op->cmd = cmd;
    op->want_end = end;
    const silo_rc rc = store_ops_of(inc->db)->mget(inc->db, NULL, keys, count, (uintptr_t)op, NULL);
    free(keys);
    if (rc.code != SILO_OK) {
        op_free(op);
        return false;
    }
    return true;
}

static void wants_answer(struct incarnation *inc, struct command *cmd);

static void wants_go(struct incarnation *inc, struct command *cmd)
{
    const size_t end = slice_end(cmd);
    if (end != cmd->want_at) {
        const bool there = inc->phase == INC_OPEN || inc->phase == INC_DRAINING;
        if (there && slice_start(inc, cmd, end)) {
            return;
        }
        wants_fail(cmd, cmd->want_at, SILO_UNAVAILABLE);
    }
    wants_answer(inc, cmd);
}

void wants_start(struct incarnation *inc, struct command *cmd)
{
    cmd->want_at = 0;
    cmd->want_alone = 0;
    wants_reserve(cmd);
    wants_go(inc, cmd);
}

bool wants_idle(const struct incarnation *inc)
{
    for (const struct list_node *n = list_first(&inc->ops); n != NULL;
         n = list_next(&inc->ops, n)) {
        const struct op *op = CONTAINER_OF(n, struct op, node);
        if (op->kind == OP_WANTS && op->cmd != NULL) {
            return false;
        }
    }
    return true;
}

static void slice_take(struct command *cmd, size_t end, struct store_rows rows)
{
    struct store_row row;
    for (; cmd->want_at < end && store_rows_next(&rows, &row); cmd->want_at++) {
        struct command_want *want = &cmd->wants[cmd->want_at];
        ASSERT(bytes_eq(row.key, want->key));
        want->present = row.present;
        want->value = arena_copy(cmd->arena, row.value);
    }
    ASSERT(cmd->want_at == end);
}

void wants_done(struct incarnation *inc, struct op *op, struct store_event *event)
{
    struct command *cmd = op->cmd;
    if (cmd == NULL) {
        return;
    }
    if (event->rc.code == SILO_OK) {
        slice_take(cmd, op->want_end, event->rows);
        store_ops_of(inc->shard->executor->queue)->event_free(event); /* not two slices at a time */
    } else if (event->rc.code != SILO_CORRUPT) {
        wants_fail(cmd, cmd->want_at, SILO_UNAVAILABLE);
    } else if (op->want_end - cmd->want_at > 1) {
        cmd->want_alone = op->want_end;
    } else {
        cmd->wants[cmd->want_at++].failed = SILO_CORRUPT;
    }
    wants_go(inc, cmd);
}

/* --- the answer --- */

static void task_undelivered(struct incarnation *inc, const struct undelivered_task *task)
{
    struct shard *shard = inc->shard;
    const uint32_t times = task->unreadable != NULL ? burst_add(&shard->unreadable_lines,
                                                                shard->executor->mono_ms * 1000)
                                                    : 0;
    if (times != 0) {
        log_error("job_unreadable", LOG_STR("shard", shard->id_text),
                  LOG_BYTES("tenant", task->tenant), LOG_BYTES("job_id", task->job_id),
                  LOG_STR("reason", task->unreadable),
                  LOG_STR("then", "the job ends as FAILED with the code " ERROR_JOB_UNREADABLE),
                  LOG_INT("times", times), LOG_END);
    }
    if (inc->phase == INC_OPEN || inc->phase == INC_DRAINING) {
        core_undelivered(inc->core, &task->task_id, task->unreadable);
    } else {
        undelivered_note(shard, &task->task_id, 1);
    }
}

static void wants_answer(struct incarnation *inc, struct command *cmd)
{
    if (core_answer_more(cmd)) {
        wants_start(inc, cmd);
        return;
    }
    if (cmd->kind == CMD_POLL || cmd->kind == CMD_LEASE_JOB) {
        const struct poll_result *result = &cmd->result.poll;
        for (size_t i = 0; i < result->undelivered_count; i++) {
            task_undelivered(inc, &result->undelivered[i]);
        }
    }
    request_answer(cmd);
}
