/* shard/reads.c - reads for the core. */
#include "base/assert.h"
#include "shard/shard_int.h"

static SILO_RC read_start(struct incarnation *inc, struct op *op, struct silo_err *err)
{
    const struct core_read *read = op->read;
    const struct store_ops *ops = store_ops_of(inc->db);
    if (read->kind == CORE_LOOK_UP) {
        return ops->mget(inc->db, NULL, read->look_up.keys, read->look_up.key_count, (uintptr_t)op,
                         err);
    }
    const struct store_scan_args args = {.lo = read->scan.lo,
                                         .hi = read->scan.hi,
                                         .rows_max = read->scan.rows_max,
                                         .bytes_max = PAGE_BYTES_MAX};
    return ops->scan(inc->db, NULL, &args, (uintptr_t)op, err);
}

void reads_turn(struct incarnation *inc)
{
    struct core_read *read = NULL;
    while (inc->db != NULL && (read = core_read_next(inc->core)) != NULL) {
        struct op *op = op_begin(inc, OP_READ);
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
