/* shard/reads.c - reads for the core, and the rows that an answer wants once it is durable. */
#include "base/assert.h"
#include "shard/shard_int.h"

static SILO_RC read_start(struct incarnation *inc, struct op *op, struct silo_err *err)
{
    const struct core_read *read = op->read;
    const struct store_ops *ops = store_ops_of(inc->db);
    if (!read->scan) {
        return ops->mget(inc->db, NULL, read->keys, read->key_count, (uintptr_t)op, err);
    }
    const struct store_scan_args args = {
        .lo = read->lo, .hi = read->hi, .rows_max = read->rows_max, .bytes_max = PAGE_BYTES_MAX};
    return ops->scan(inc->db, NULL, &args, (uintptr_t)op, err);
}

void reads_turn(struct incarnation *inc)
{
    struct core_read *read = NULL;
    while (inc->db != NULL && (read = core_read_next(inc->core)) != NULL) {
        struct op *op = op_new(inc, OP_READ);
        op->read = read;
        if (read_start(inc, op, NULL).code != SILO_OK) {
            op_free(op);
            core_read_end(inc->core, read, false, false);
        }
    }
}

void reads_done(struct incarnation *inc, struct op *op, struct store_event *event)
{
    const bool ok = event->rc.code == SILO_OK && inc->phase != INC_DEAD;
    struct store_rows rows = event->rows;
    struct store_row row;
    while (ok && store_rows_next(&rows, &row)) {
        core_read_row(inc->core, op->read, row.key, row.value, row.present);
    }
    const bool more = event->iter != NULL;
    if (more) {
        store_ops_of(event->iter)->iter_free(event->iter);
        event->iter = NULL;
    }
    core_read_end(inc->core, op->read, ok, more);
}

void wants_start(struct incarnation *inc, struct command *cmd)
{
    struct bytes *keys = arena_alloc(cmd->arena, cmd->want_count * sizeof keys[0]);
    for (size_t i = 0; i < cmd->want_count; i++) {
        keys[i] = cmd->wants[i].key;
    }
    struct op *op = op_new(inc, OP_WANTS);
    op->cmd = cmd;
    if (store_ops_of(inc->db)
            ->mget(inc->db, NULL, keys, cmd->want_count, (uintptr_t)op, NULL)
            .code != SILO_OK) {
        op_free(op);
        request_fail(cmd, SILO_UNAVAILABLE, "the storage could not be read");
    }
}

void wants_done(struct incarnation *inc, struct op *op, struct store_event *event)
{
    struct command *cmd = op->cmd;
    if (event->rc.code != SILO_OK) {
        request_fail(cmd, SILO_UNAVAILABLE, "the storage could not be read");
        return;
    }
    struct store_rows rows = event->rows;
    struct store_row row;
    for (size_t i = 0; i < cmd->want_count && store_rows_next(&rows, &row); i++) {
        ASSERT(bytes_eq(row.key, cmd->wants[i].key));
        cmd->wants[i].present = row.present;
        cmd->wants[i].value = arena_copy(cmd->arena, row.value);
    }
    if (core_answer_more(cmd)) {
        wants_start(inc, cmd);
    } else {
        request_answer(cmd);
    }
}
