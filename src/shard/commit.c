/*
 * shard/commit.c - group commit.
 *
 *   open batch ──seal──► writing ──APPLIED──► applied ──FLUSHED──► durable: its replies leave
 *
 * 1. A batch is written when the one before is applied, or when it reaches its bound; so ingesting
 *    overlaps the upload.
 * 2. A flush is asked for whenever something written is not durable. One is in flight; with no
 *    spacing to keep one more is queued behind it, and the engine lets everything applied by then
 *    ride along.
 * 3. Batches become durable in order; a reply waits for the batch it names.
 * 4. A failed write or flush ends the incarnation: its parked replies say UNAVAILABLE, outcome
 *    unknown.
 */
#include "base/assert.h"
#include "shard/shard_int.h"

static const struct store_ops *inc_ops(const struct incarnation *inc)
{
    return store_ops_of(inc->db);
}

/* --- replies --- */

void commit_release(struct incarnation *inc, struct command *cmd)
{
    if (cmd->rc.code == SILO_OK && cmd->want_count != 0) {
        wants_start(inc, cmd);
    } else {
        request_answer(cmd);
    }
}

static void reply_park(struct incarnation *inc, struct command *cmd)
{
    const struct view *view = core_view(inc->core);
    if (cmd->wait_batch == view->open) {
        list_push_back(&inc->open_replies, &cmd->node);
        return;
    }
    for (struct list_node *n = list_first(&inc->batches); n != NULL;
         n = list_next(&inc->batches, n)) {
        struct batch *batch = CONTAINER_OF(n, struct batch, node);
        if (batch->number == cmd->wait_batch) {
            list_push_back(&batch->replies, &cmd->node);
            return;
        }
    }
    ASSERT(!"an undurable batch is open or in the list");
}

static void batch_submit(struct incarnation *inc);

static bool batch_full(const struct incarnation *inc)
{
    const struct view *view = core_view(inc->core);
    return view->open_rows >= BATCH_ROWS_MAX || view->open_bytes >= BATCH_BYTES_MAX;
}

/*
 * Whether it tells what the rows say, and wrote none of its own: no fence has looked at that.
 * What was asked wrongly, and what there is no room for, is so whoever owns the shard; a poll
 * without tasks tells nothing.
 */
static bool needs_proof(const struct command *cmd)
{
    const enum silo_code code = cmd->rc.code;
    if (command_is_own(cmd->kind) || code == SILO_UNAVAILABLE || code == SILO_ROUTED_WRONG) {
        return false;
    }
    if (!command_changes(cmd->kind)) {
        return true;
    }
    return !cmd->changes && cmd->kind != CMD_POLL &&
           (code == SILO_OK || code == SILO_NOT_FOUND || code == SILO_EXISTS ||
            code == SILO_PRECONDITION);
}

void commit_answer(struct incarnation *inc, struct command *cmd)
{
    const bool waits = cmd->wait_batch > core_view(inc->core)->durable;
    if (waits && inc->unwritten) {
        outage_answer(inc->shard, cmd);
    } else if (waits) {
        reply_park(inc, cmd);
    } else if (needs_proof(cmd)) {
        proof_answer(inc, cmd);
    } else {
        commit_release(inc, cmd);
    }
}

void commit_answers(struct incarnation *inc)
{
    struct command *cmd = NULL;
    while ((cmd = core_answered(inc->core)) != NULL) {
        commit_answer(inc, cmd);
    }
    if (inc->phase == INC_OPEN && batch_full(inc)) {
        batch_submit(inc);
    }
}

static void replies_send(struct incarnation *inc, struct list *replies)
{
    struct list_node *node = NULL;
    while ((node = list_pop_front(replies)) != NULL) {
        commit_release(inc, CONTAINER_OF(node, struct command, node));
    }
}

static void replies_fail(struct list *replies, const char *why)
{
    struct list_node *node = NULL;
    while ((node = list_pop_front(replies)) != NULL) {
        request_fail(CONTAINER_OF(node, struct command, node), SILO_UNAVAILABLE, why);
    }
}

/* --- batches --- */

static struct bytes row_value(const struct row *row)
{
    return row->value != NULL ? blob_bytes(row->value) : row->lent;
}

static uint32_t batch_pack(struct view *view, struct store_buf *buf)
{
    uint32_t ops = 0;
    for (struct row *row = view_sealed_next(view, NULL); row != NULL;
         row = view_sealed_next(view, row)) {
        store_op_pack(buf, bytes_of(row->key, row->key_len), row->del ? BYTES_NONE : row_value(row),
                      row->del);
        ops++;
    }
    return ops;
}

static size_t batch_size(struct view *view)
{
    size_t size = 0;
    for (struct row *row = view_sealed_next(view, NULL); row != NULL;
         row = view_sealed_next(view, row)) {
        size += store_op_size(row->key_len, row->del ? 0 : row_value(row).len);
    }
    return size;
}

static struct batch *batch_seal(struct incarnation *inc, struct store_buf *ret_buf,
                                uint32_t *ret_ops)
{
    struct view *view = core_view(inc->core);
    core_before_seal(inc->core);
    *ret_buf = inc_ops(inc)->buf_alloc(batch_size(view));
    *ret_ops = batch_pack(view, ret_buf);
    struct batch *batch = xcalloc(1, sizeof *batch);
    batch->bytes = ret_buf->len;
    list_init(&batch->replies);
    struct list_node *node = NULL;
    while ((node = list_pop_front(&inc->open_replies)) != NULL) {
        list_push_back(&batch->replies, node);
    }
    batch->number = view_seal(view);
    list_push_back(&inc->batches, &batch->node);
    inc->undurable_bytes += batch->bytes;
    return batch;
}

static void batch_submit(struct incarnation *inc)
{
    struct store_buf buf;
    uint32_t ops = 0;
    const bool idle = list_empty(&inc->batches);
    struct batch *batch = batch_seal(inc, &buf, &ops);
    if (idle) {
        outage_progress(inc); /* the clock of an outage starts with the work */
    }
    struct op *op = op_begin(inc, OP_WRITE);
    op->batch = batch->number;
    batch->start_mono_us = env_mono_us(inc->shard->executor->env);
    inc->writes++;
    struct executor_counters *counted = &inc->shard->executor->counted;
    counted->batches++;
    counted->rows_written += ops;
    counted->bytes_written += buf.len;
    struct silo_err err;
    const silo_rc rc = inc_ops(inc)->write(inc->db, &buf, 1, ops, (uintptr_t)op, &err);
    if (rc.code != SILO_OK) {
        inc->writes--;
        op_free(op);
        life_fail(inc, rc.code, err.text);
    }
}

void commit_written(struct incarnation *inc, const struct op *op, const struct store_event *event)
{
    if (inc->phase == INC_DEAD) {
        return;
    }
    inc->writes--;
    if (event->rc.code != SILO_OK) {
        life_fail(inc, event->rc.code, event->text);
        return;
    }
    for (struct list_node *n = list_first(&inc->batches); n != NULL;
         n = list_next(&inc->batches, n)) {
        struct batch *batch = CONTAINER_OF(n, struct batch, node);
        if (batch->number == op->batch) {
            batch->applied = true;
            batch->seq = event->seq;
            inc->wal_bytes += batch->bytes;
        }
    }
    view_applied(core_view(inc->core), op->batch);
}

/* --- flushes --- */

/*
 * The newest batch a flush can cover. It waits for writes that were sent before it, so that the
 * first one needs no word of the engine in between; the one queued behind it takes what is applied,
 * or it would hold up its own turn.
 */
static uint64_t flushable(const struct incarnation *inc)
{
    const struct view *view = core_view(inc->core);
    return inc->flushes == 0 ? view->open - 1 : view->applied;
}

static void flush_start(struct incarnation *inc, enum op_kind kind)
{
    struct op *op = op_begin(inc, kind);
    op->batch = flushable(inc);
    const bool wal = kind == OP_FLUSH_WAL;
    const enum store_flush_what what = wal ? STORE_FLUSH_WAL : STORE_FLUSH_MEMTABLE;
    struct silo_err err;
    const silo_rc rc = inc_ops(inc)->flush(inc->db, what, (uintptr_t)op, &err);
    if (rc.code != SILO_OK) {
        op_free(op);
        life_fail(inc, rc.code, err.text);
        return;
    }
    if (wal) {
        inc->flushes++;
        inc->flush_covers = op->batch;
        inc->flush_start_mono_ms = op->start_mono_ms;
        inc->wal_objects++;
    } else {
        inc->memtable_flushing = true;
        inc->wal_objects = 0;
        inc->wal_bytes = 0;
        inc->memtable_mono_ms = op->start_mono_ms;
    }
}

void commit_flush_memtable(struct incarnation *inc)
{
    flush_start(inc, OP_FLUSH_MEMTABLE);
}

static int64_t flush_spacing(const struct incarnation *inc)
{
    return inc->shard->wal.flush_spacing_ms;
}

static bool flush_wanted(const struct incarnation *inc)
{
    const uint64_t newest = flushable(inc);
    return newest > core_view(inc->core)->durable && newest > inc->flush_covers &&
           inc->flushes < (flush_spacing(inc) == 0 ? 2u : 1u);
}

static bool memtable_wanted(const struct incarnation *inc)
{
    return !inc->memtable_flushing && inc->wal_objects != 0 &&
           (inc->wal_objects >= inc->shard->wal.objects_max ||
            inc->wal_bytes >= MEMTABLE_FLUSH_BYTES ||
            inc->shard->executor->mono_ms - inc->memtable_mono_ms >= MEMTABLE_FLUSH_MS);
}

static void batches_durable(struct incarnation *inc, uint64_t seq)
{
    uint64_t durable = 0;
    struct list done;
    list_init(&done);
    for (struct list_node *n = list_first(&inc->batches); n != NULL;
         n = list_first(&inc->batches)) {
        struct batch *batch = CONTAINER_OF(n, struct batch, node);
        if (!batch->applied || batch->seq > seq) {
            break;
        }
        durable = batch->number;
        inc->undurable_bytes -= batch->bytes;
        list_remove(&batch->node);
        list_push_back(&done, &batch->node);
    }
    if (durable == 0) {
        return;
    }
    view_durable(core_view(inc->core), durable);
    outage_progress(inc);
    struct shard_counters *counted = &inc->shard->counted;
    const int64_t now_us = env_mono_us(inc->shard->executor->env);
    struct list_node *node = NULL;
    while ((node = list_pop_front(&done)) != NULL) {
        struct batch *batch = CONTAINER_OF(node, struct batch, node);
        counted->batches_durable++;
        counted->batch_us += (uint64_t)(now_us - batch->start_mono_us);
        replies_send(inc, &batch->replies);
        free(batch);
    }
}

void commit_flushed(struct incarnation *inc, const struct op *op, const struct store_event *event)
{
    if (inc->phase == INC_DEAD) {
        return;
    }
    if (op->kind == OP_FLUSH_WAL) {
        inc->flushes--;
    } else {
        inc->memtable_flushing = false;
    }
    if (event->rc.code != SILO_OK) {
        life_fail(inc, event->rc.code, event->text);
        return;
    }
    proof_gained(inc, op->start_mono_ms);
    batches_durable(inc, event->seq);
    if (op->kind == OP_FLUSH_MEMTABLE) {
        prepare_flushed(inc);
    }
}

void commit_turn(struct incarnation *inc)
{
    const struct view *view = core_view(inc->core);
    if (inc->phase != INC_OPEN && inc->phase != INC_DRAINING) {
        return;
    }
    if (view->open_rows != 0 && (inc->writes == 0 || batch_full(inc))) {
        batch_submit(inc);
    }
    if (inc->phase != INC_DEAD && flush_wanted(inc) &&
        inc->shard->executor->mono_ms >= inc->flush_start_mono_ms + flush_spacing(inc)) {
        flush_start(inc, OP_FLUSH_WAL);
    }
    if (inc->phase != INC_DEAD && memtable_wanted(inc)) {
        flush_start(inc, OP_FLUSH_MEMTABLE);
    }
}

int64_t commit_next_mono_ms(const struct incarnation *inc)
{
    if (inc->phase != INC_OPEN && inc->phase != INC_DRAINING) {
        return INT64_MAX;
    }
    if (core_view(inc->core)->open_rows != 0 && inc->writes == 0) {
        return inc->shard->executor->mono_ms;
    }
    int64_t next = INT64_MAX;
    if (flush_wanted(inc)) {
        next = inc->flush_start_mono_ms + flush_spacing(inc);
    }
    if (!inc->memtable_flushing && inc->wal_objects != 0 &&
        inc->memtable_mono_ms + MEMTABLE_FLUSH_MS < next) {
        next = inc->memtable_mono_ms + MEMTABLE_FLUSH_MS;
    }
    return next;
}

static void replies_give_up(struct incarnation *inc, struct list *replies)
{
    struct list_node *node = NULL;
    while ((node = list_pop_front(replies)) != NULL) {
        outage_answer(inc->shard, CONTAINER_OF(node, struct command, node));
    }
}

void commit_give_up(struct incarnation *inc)
{
    for (struct list_node *n = list_first(&inc->batches); n != NULL;
         n = list_next(&inc->batches, n)) {
        replies_give_up(inc, &CONTAINER_OF(n, struct batch, node)->replies);
    }
    replies_give_up(inc, &inc->open_replies);
}

bool commit_idle(const struct incarnation *inc)
{
    return list_empty(&inc->batches) && list_empty(&inc->open_replies) && proof_idle(inc) &&
           core_view(inc->core)->open_rows == 0;
}

void commit_abandon(struct incarnation *inc)
{
    const char *why = "the shard lost its storage; the outcome of this request is unknown";
    replies_fail(&inc->open_replies, why);
    proof_abandon(inc, SILO_UNAVAILABLE, why);
    struct list_node *node = NULL;
    while ((node = list_pop_front(&inc->batches)) != NULL) {
        struct batch *batch = CONTAINER_OF(node, struct batch, node);
        replies_fail(&batch->replies, why);
        free(batch);
    }
    core_abandon(inc->core, why);
    struct command *cmd = NULL;
    while ((cmd = core_answered(inc->core)) != NULL) {
        if (cmd->rc.code == SILO_OK) {
            request_fail(cmd, SILO_UNAVAILABLE, why);
        } else {
            request_answer(cmd);
        }
    }
}
