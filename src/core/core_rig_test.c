/*
 * core/core_rig_test.c - see core_rig_test.h.
 *
 *   open batch ──sealed──► WRITE: applied ──► FLUSH: durable, its answers leave
 *
 * One write and one flush are on their way at a time. A kill leaves the rows as of a batch between
 * the last durable and the last applied one.
 */
#include "core/core_rig_test.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/saturate.h"
#include "base/test.h"
#include "core/slots_check_test.h"
#include "store_mem/ordered_rows.h"

struct change {
    struct bytes key, value;
    bool del;
};

/* Something asked of the store. */
struct rig_op {
    struct list_node node;
    enum rig_op_kind kind;
    struct core_read *read; /* RIG_GET, RIG_SCAN */
    uint64_t batch;         /* RIG_WRITE */
    struct arena arena;     /* of the changes */
    struct change *changes;
    size_t change_count;
};

struct core_rig {
    struct rig rig;
    struct rig_options options;
    struct core *core; /* NULL: between two lives */
    bool open;
    struct ordered_rows *rows;
    /* Sequences of the rows, over all lives, and the batches of this life's view they are. */
    uint64_t applied, durable;
    uint64_t applied_batch;
    struct list sent;   /* struct call, for the next turn */
    struct list parked; /* struct command, answered, their batch not durable */
    struct list ops;    /* struct rig_op, oldest first */
    bool writing, flushing;
    uint32_t held, failing;
    struct rig_counts counts;
};

struct fake_check {
    struct list_node node;
    struct core_check *ask; /* NULL: its core is gone */
    struct bytes unique_key;
    struct arena arena;
};

static struct core_rig *core_rig_of(const struct rig *rig)
{
    return CONTAINER_OF(rig, struct core_rig, rig);
}

static int64_t mono_ms(const struct core_rig *cr)
{
    return cr->rig.mono_us / 1000;
}

/* --- answers --- */

static struct call *call_of(struct command *cmd)
{
    return CONTAINER_OF(cmd, struct call, cmd);
}

static void cmd_answer(struct core_rig *cr, struct command *cmd)
{
    if (cmd->rc.code == SILO_OK && (cmd->kind == CMD_POLL || cmd->kind == CMD_LEASE_JOB)) {
        cmd->result.poll.age_ms = mono_ms(cr) - cmd->result.poll.leased_mono_ms;
    }
    rig_call_done(call_of(cmd));
}

static void cmd_fail(struct core_rig *cr, struct command *cmd)
{
    cmd->rc = (silo_rc){SILO_UNAVAILABLE};
    cmd->error = "the process died";
    cmd_answer(cr, cmd);
}

static void wants_fill(struct core_rig *cr, struct command *cmd)
{
    for (size_t i = 0; i < cmd->want_count; i++) {
        struct command_want *want = &cmd->wants[i];
        struct bytes value;
        want->present = ordered_rows_get(cr->rows, want->key, cr->applied, &value);
        if (want->present) {
            want->value = arena_copy(cmd->arena, value);
        }
    }
}

/* The command's batch is durable, or it waits for none. */
static void cmd_release(struct core_rig *cr, struct command *cmd)
{
    bool more = cmd->rc.code == SILO_OK && cmd->want_count != 0;
    while (more) {
        wants_fill(cr, cmd);
        more = core_answer_more(cmd);
    }
    if (cmd->rc.code == SILO_OK && (cmd->kind == CMD_POLL || cmd->kind == CMD_LEASE_JOB)) {
        const struct poll_result *result = &cmd->result.poll;
        for (size_t i = 0; i < result->undelivered_count; i++) {
            core_undelivered(cr->core, &result->undelivered[i].task_id,
                             result->undelivered[i].unreadable);
        }
    }
    cmd_answer(cr, cmd);
}

static void answers_take(struct core_rig *cr)
{
    struct command *cmd = NULL;
    while ((cmd = core_answered(cr->core)) != NULL) {
        if (cmd->wait_batch > core_view(cr->core)->durable) {
            list_push_back(&cr->parked, &cmd->node);
        } else {
            cmd_release(cr, cmd);
        }
    }
}

static void parked_release(struct core_rig *cr)
{
    struct list_node *next = NULL;
    for (struct list_node *n = list_first(&cr->parked); n != NULL; n = next) {
        next = list_next(&cr->parked, n);
        struct command *cmd = CONTAINER_OF(n, struct command, node);
        if (cmd->wait_batch <= core_view(cr->core)->durable) {
            list_remove(n);
            cmd_release(cr, cmd);
        }
    }
}

/* --- the store --- */

static struct rig_op *op_begin(struct core_rig *cr, enum rig_op_kind kind)
{
    struct rig_op *op = xcalloc(1, sizeof *op);
    op->kind = kind;
    arena_init(&op->arena);
    list_push_back(&cr->ops, &op->node);
    return op;
}

static void op_end(struct rig_op *op)
{
    list_remove(&op->node);
    arena_deinit(&op->arena);
    free(op);
}

static void get_end(struct core_rig *cr, struct core_read *read)
{
    for (size_t i = 0; i < read->look_up.key_count; i++) {
        struct bytes value = BYTES_NONE;
        const bool present = ordered_rows_get(cr->rows, read->look_up.keys[i], cr->applied, &value);
        cr->counts.rows_read++;
        core_read_row(cr->core, read, read->look_up.keys[i], value, present);
    }
    core_read_end(cr->core, read, true, false);
}

static void scan_end(struct core_rig *cr, struct core_read *read)
{
    struct rows_cursor cursor =
        ordered_rows_seek(cr->rows, read->scan.lo, read->scan.hi, false, cr->applied);
    struct bytes key;
    struct bytes value;
    uint32_t count = 0;
    size_t bytes = 0;
    bool more = rows_cursor_next(&cursor, &key, &value);
    while (more && count < read->scan.rows_max && bytes < PAGE_BYTES_MAX) {
        cr->counts.rows_read++;
        core_read_row(cr->core, read, key, value, true);
        count++;
        bytes += key.len + value.len;
        more = rows_cursor_next(&cursor, &key, &value);
    }
    core_read_end(cr->core, read, true, more);
}

static void write_end(struct core_rig *cr, const struct rig_op *op)
{
    cr->applied++;
    for (size_t i = 0; i < op->change_count; i++) {
        const struct change *change = &op->changes[i];
        if (change->del) {
            ordered_rows_delete(cr->rows, change->key, cr->applied, cr->durable);
            cr->counts.deletes[change->key.ptr[0]]++;
        } else {
            ordered_rows_put(cr->rows, change->key, change->value, cr->applied, cr->durable);
            cr->counts.puts[change->key.ptr[0]]++;
        }
    }
    cr->writing = false;
    cr->applied_batch = op->batch;
    cr->counts.batches++;
    view_applied(core_view(cr->core), op->batch);
}

static void flush_end(struct core_rig *cr)
{
    cr->durable = cr->applied;
    cr->flushing = false;
    view_durable(core_view(cr->core), cr->applied_batch);
    parked_release(cr);
}

static void read_complete(struct core_rig *cr, const struct rig_op *op)
{
    if ((cr->failing & (uint32_t)op->kind) != 0) {
        core_read_end(cr->core, op->read, false, false);
    } else if (op->kind == RIG_GET) {
        get_end(cr, op->read);
    } else {
        scan_end(cr, op->read);
    }
}

static void op_complete(struct core_rig *cr, struct rig_op *op)
{
    switch (op->kind) {
    case RIG_GET:
    case RIG_SCAN:
        read_complete(cr, op);
        break;
    case RIG_WRITE:
        write_end(cr, op);
        break;
    case RIG_FLUSH:
        flush_end(cr);
        break;
    }
    op_end(op);
}

static struct rig_op *op_ready(const struct core_rig *cr)
{
    for (struct list_node *n = list_first(&cr->ops); n != NULL; n = list_next(&cr->ops, n)) {
        struct rig_op *op = CONTAINER_OF(n, struct rig_op, node);
        if ((cr->held & (uint32_t)op->kind) == 0) {
            return op;
        }
    }
    return NULL;
}

static void reads_begin(struct core_rig *cr)
{
    struct core_read *read = NULL;
    while ((read = core_read_next(cr->core)) != NULL) {
        op_begin(cr, read->kind == CORE_SCAN ? RIG_SCAN : RIG_GET)->read = read;
        cr->counts.reads += read->kind == CORE_LOOK_UP;
        cr->counts.scans += read->kind == CORE_SCAN;
    }
}

static void write_begin(struct core_rig *cr)
{
    struct view *view = core_view(cr->core);
    if (cr->rig.on_batch != NULL) {
        cr->rig.on_batch(&cr->rig);
    }
    core_before_seal(cr->core);
    struct rig_op *op = op_begin(cr, RIG_WRITE);
    op->changes = arena_alloc(&op->arena, (view->open_rows + 1) * sizeof op->changes[0]);
    for (struct row *row = view_sealed_next(view, NULL); row != NULL;
         row = view_sealed_next(view, row)) {
        const struct bytes value = row->value != NULL ? blob_bytes(row->value) : row->lent;
        op->changes[op->change_count++] = (struct change){
            .key = arena_copy(&op->arena, bytes_of(row->key, row->key_len)),
            .value = row->del ? BYTES_NONE : arena_copy(&op->arena, value),
            .del = row->del,
        };
    }
    op->batch = view_seal(view);
    cr->writing = true;
}

static void commit(struct core_rig *cr)
{
    const struct view *view = core_view(cr->core);
    if (view->open_rows != 0 && !cr->writing) {
        write_begin(cr);
    }
    if (!cr->flushing && view->open - 1 > view->durable) {
        (void)op_begin(cr, RIG_FLUSH);
        cr->flushing = true;
    }
}

/* --- turns --- */

static void checks_begin(struct core_rig *cr)
{
    struct core_check *ask = NULL;
    while ((ask = core_check_next(cr->core)) != NULL) {
        struct fake_limiter *fake = cr->options.limiter;
        struct fake_check *check = xcalloc(1, sizeof *check);
        arena_init(&check->arena);
        check->ask = ask;
        check->unique_key = arena_copy(&check->arena, ask->unique_key);
        list_push_back(&fake->waiting, &check->node);
        fake->asked++;
    }
}

static void sent_take(struct core_rig *cr)
{
    struct list_node *node = NULL;
    while ((node = list_pop_front(&cr->sent)) != NULL) {
        struct command *cmd = &CONTAINER_OF(node, struct call, node)->cmd;
        if (!cr->open) {
            cmd_fail(cr, cmd);
            continue;
        }
        rig_random_bytes(&cr->rig, cmd->seed, sizeof cmd->seed);
        core_submit(cr->core, cmd);
        answers_take(cr);
    }
}

static void core_rig_turn(struct rig *rig)
{
    struct core_rig *cr = core_rig_of(rig);
    rig->next_us = INT64_MAX;
    if (cr->core == NULL) {
        return;
    }
    core_set_time(cr->core, rig->wall_ms, mono_ms(cr));
    struct rig_op *op = NULL;
    while (!cr->options.manual && (op = op_ready(cr)) != NULL) {
        op_complete(cr, op);
    }
    sent_take(cr);
    core_turn(cr->core);
    checks_begin(cr);
    reads_begin(cr);
    if (core_phase(cr->core) != CORE_BROKEN) {
        answers_take(cr);
        commit(cr);
    }
    const bool was_open = cr->open;
    cr->open = core_phase(cr->core) == CORE_OPEN;
    const int64_t next_ms = was_open == cr->open ? core_next_mono_ms(cr->core) : mono_ms(cr);
    rig->next_us = us_of_ms(next_ms);
}

static bool core_rig_complete(struct rig *rig)
{
    struct core_rig *cr = core_rig_of(rig);
    struct rig_op *op = cr->options.manual ? op_ready(cr) : NULL;
    if (op != NULL) {
        op_complete(cr, op);
    }
    return op != NULL;
}

static int64_t core_rig_store_next_us(const struct rig *rig)
{
    const struct core_rig *cr = core_rig_of(rig);
    return !cr->options.manual && op_ready(cr) != NULL ? 0 : INT64_MAX;
}

/* --- lives --- */

static void core_rig_start(struct rig *rig)
{
    struct core_rig *cr = core_rig_of(rig);
    ASSERT(cr->core == NULL);
    struct core_options options = {
        .order = cr->options.order,
        .external_limiter = cr->options.limiter != NULL,
        .completed_expire_ms = cr->options.completed_expire_ms,
        .terminal_expire_ms = cr->options.terminal_expire_ms,
    };
    rig_random_bytes(rig, options.seed, sizeof options.seed);
    cr->core = core_new(&options, rig->wall_ms, mono_ms(cr));
}

static void checks_forget(struct core_rig *cr)
{
    for (struct list_node *n =
             cr->options.limiter != NULL ? list_first(&cr->options.limiter->waiting) : NULL;
         n != NULL; n = list_next(&cr->options.limiter->waiting, n)) {
        CONTAINER_OF(n, struct fake_check, node)->ask = NULL;
    }
}

static void calls_fail(struct core_rig *cr)
{
    struct list_node *node = NULL;
    while ((node = list_pop_front(&cr->parked)) != NULL) {
        cmd_fail(cr, CONTAINER_OF(node, struct command, node));
    }
    core_abandon(cr->core, "the process died");
    struct command *cmd = NULL;
    while ((cmd = core_answered(cr->core)) != NULL) {
        if (cmd->rc.code == SILO_OK) {
            cmd_fail(cr, cmd);
        } else {
            cmd_answer(cr, cmd);
        }
    }
    while ((node = list_pop_front(&cr->sent)) != NULL) {
        cmd_fail(cr, &CONTAINER_OF(node, struct call, node)->cmd);
    }
}

static void core_rig_kill(struct rig *rig, enum rig_survival survival)
{
    struct core_rig *cr = core_rig_of(rig);
    calls_fail(cr);
    for (struct list_node *n = list_first(&cr->ops); n != NULL; n = list_first(&cr->ops)) {
        struct rig_op *op = CONTAINER_OF(n, struct rig_op, node);
        if (op->read != NULL) {
            core_read_end(cr->core, op->read, false, false);
        }
        op_end(op);
    }
    checks_forget(cr);
    cr->core = core_free(cr->core);
    cr->open = cr->writing = cr->flushing = false;
    if (survival == RIG_KEEP_SOME) {
        cr->applied = cr->durable + rig_random(rig) % (cr->applied - cr->durable + 1);
    } else if (survival == RIG_LOSE) {
        cr->applied = cr->durable;
    }
    struct ordered_rows *left = ordered_rows_clone(cr->rows, cr->applied);
    (void)ordered_rows_free(cr->rows);
    cr->rows = left;
    cr->durable = cr->applied;
    cr->applied_batch = 0;
}

static enum silo_code core_rig_stop(struct rig *rig)
{
    const struct core_rig *cr = core_rig_of(rig);
    core_release_polls(cr->core);
    rig_settle(rig);
    const bool idle = core_stats(cr->core).commands == 0 && list_empty(&cr->parked) &&
                      list_empty(&cr->ops) && core_view(cr->core)->open_rows == 0;
    core_rig_kill(rig, RIG_LOSE);
    return idle ? SILO_OK : SILO_UNAVAILABLE;
}

static void checks_free(struct fake_limiter *fake)
{
    while (fake != NULL && !list_empty(&fake->waiting)) {
        fake_answer(fake, NULL, VERDICT_ERROR, 0);
    }
}

static struct rig *core_rig_free(struct rig *rig)
{
    struct core_rig *cr = core_rig_of(rig);
    if (cr->core != NULL) {
        core_rig_kill(rig, RIG_LOSE);
    }
    checks_free(cr->options.limiter);
    (void)ordered_rows_free(cr->rows);
    free(cr);
    return NULL;
}

static void core_rig_send(struct rig *rig, struct call *call)
{
    call->sent = &call->cmd;
    list_push_back(&core_rig_of(rig)->sent, &call->node);
}

static struct core *core_rig_core(const struct rig *rig)
{
    const struct core_rig *cr = core_rig_of(rig);
    return cr->open ? cr->core : NULL;
}

static void core_rig_each_row(struct rig *rig, rig_row_fn *fn, void *context)
{
    const struct core_rig *cr = core_rig_of(rig);
    struct rows_cursor cursor =
        ordered_rows_seek(cr->rows, BYTES_NONE, BYTES_NONE, false, cr->applied);
    struct bytes key;
    struct bytes value;
    while (rows_cursor_next(&cursor, &key, &value)) {
        fn(context, key, value);
    }
}

static void core_rig_tamper(struct rig *rig, struct bytes key, struct bytes value)
{
    struct core_rig *cr = core_rig_of(rig);
    ASSERT(cr->core == NULL);
    cr->durable = ++cr->applied;
    if (value.ptr == NULL) {
        ordered_rows_delete(cr->rows, key, cr->applied, cr->applied);
    } else {
        ordered_rows_put(cr->rows, key, value, cr->applied, cr->applied);
    }
}

static uint64_t core_rig_batches(const struct rig *rig)
{
    return core_rig_of(rig)->applied;
}

static const struct rig_ops core_rig_ops = {
    .start = core_rig_start,
    .stop = core_rig_stop,
    .kill = core_rig_kill,
    .free = core_rig_free,
    .send = core_rig_send,
    .turn = core_rig_turn,
    .complete = core_rig_complete,
    .store_next_us = core_rig_store_next_us,
    .core = core_rig_core,
    .each_row = core_rig_each_row,
    .tamper = core_rig_tamper,
    .batches = core_rig_batches,
};

struct rig *core_rig_new(const struct rig_options *options)
{
    struct core_rig *cr = xcalloc(1, sizeof *cr);
    rig_init(&cr->rig, &core_rig_ops, options->seed);
    cr->options = *options;
    cr->rows = ordered_rows_new();
    list_init(&cr->sent);
    list_init(&cr->parked);
    list_init(&cr->ops);
    if (options->limiter != NULL) {
        options->limiter->rig = &cr->rig;
    }
    return &cr->rig;
}

struct rig *open_with(const struct rig_options *options)
{
    struct rig *rig = core_rig_new(options);
    rig_start(rig);
    rig_settle(rig);
    assert_true(rig_is_open(rig));
    return rig;
}

struct rig *open_plain(void)
{
    return open_with(&(struct rig_options){.seed = 1});
}

struct rig *open_watched(void)
{
    struct rig *rig = open_plain();
    slots_watch(rig);
    return rig;
}

struct rig *open_outside(struct fake_limiter *fake)
{
    fake_init(fake);
    struct rig *rig = open_with(&(struct rig_options){.seed = 1, .limiter = fake});
    slots_watch(rig);
    return rig;
}

void core_rig_hold(struct rig *rig, uint32_t kinds)
{
    core_rig_of(rig)->held = kinds;
}

void core_rig_fail(struct rig *rig, uint32_t kinds)
{
    core_rig_of(rig)->failing = kinds;
}

const struct rig_counts *core_rig_counts(const struct rig *rig)
{
    return &core_rig_of(rig)->counts;
}

void core_rig_counts_reset(struct rig *rig)
{
    core_rig_of(rig)->counts = (struct rig_counts){0};
}

struct rig_options *core_rig_options(struct rig *rig)
{
    return &core_rig_of(rig)->options;
}

/* --- the limiter --- */

void fake_init(struct fake_limiter *fake)
{
    *fake = (struct fake_limiter){0};
    list_init(&fake->waiting);
}

size_t fake_waiting(const struct fake_limiter *fake)
{
    size_t count = 0;
    for (struct list_node *n = list_first(&fake->waiting); n != NULL;
         n = list_next(&fake->waiting, n)) {
        count++;
    }
    return count;
}

const struct core_check *fake_oldest(const struct fake_limiter *fake)
{
    assert_false(list_empty(&fake->waiting));
    return CONTAINER_OF(list_first(&fake->waiting), struct fake_check, node)->ask;
}

void fake_answer(struct fake_limiter *fake, const char *key, enum core_verdict verdict,
                 int64_t reset_ms)
{
    struct list_node *node = list_first(&fake->waiting);
    while (node != NULL && key != NULL &&
           !bytes_eq(CONTAINER_OF(node, struct fake_check, node)->unique_key, bytes_str(key))) {
        node = list_next(&fake->waiting, node);
    }
    if (node == NULL) {
        fail_msg("nobody asked the limiter about %s", key != NULL ? key : "anything");
        return;
    }
    struct fake_check *check = CONTAINER_OF(node, struct fake_check, node);
    list_remove(node);
    if (check->ask != NULL) {
        core_check_done(core_rig_of(fake->rig)->core, check->ask, verdict, reset_ms);
    }
    arena_deinit(&check->arena);
    free(check);
}

void fake_answer_all(struct fake_limiter *fake, enum core_verdict verdict)
{
    while (!list_empty(&fake->waiting)) {
        fake_answer(fake, NULL, verdict, 0);
    }
}
