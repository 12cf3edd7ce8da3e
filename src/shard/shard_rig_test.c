/* shard/shard_rig_test.c - see shard_rig_test.h. */
#include "shard/shard_rig_test.h"

#include "base/assert.h"
#include "base/saturate.h"
#include "base/test.h"
#include "shard/shard_int.h"

static struct shard_rig *rig_current; /* the store's calls carry no context */

struct shard_rig *shard_rig_of(const struct rig *rig)
{
    return CONTAINER_OF(rig, struct shard_rig, rig);
}

/* A call on its way through the shard. */
struct sent_call {
    struct list_node kept;
    struct shard_request request;
    struct call *call;
};

static void sent_free(struct sent_call *sent)
{
    shard_answer_taken(&sent->request);
    free(sent);
}

static int64_t rig_env_wall(void *context)
{
    return ((struct rig *)context)->wall_ms;
}

static int64_t rig_env_mono(void *context)
{
    return ((struct rig *)context)->mono_us;
}

static void rig_env_random(void *context, void *ret_bytes, size_t len)
{
    rig_random_bytes(context, ret_bytes, len);
}

static silo_rc rig_write(struct store_db *db, struct store_buf *bufs, size_t count, uint32_t ops,
                         uint64_t token, struct silo_err *err)
{
    struct shard_rig *sr = rig_current;
    if (sr->rig.on_batch != NULL) {
        sr->rig.on_batch(&sr->rig);
    }
    for (size_t i = 0; i < count; i++) {
        const struct bytes b = bytes_of(bufs[i].ptr, bufs[i].len);
        if (sr->on_write != NULL) {
            sr->on_write(sr->context, db, b);
        }
    }
    return sr->real->write(db, bufs, count, ops, token, err);
}

static size_t rig_drain(struct store_queue *queue, struct store_event *events, size_t max)
{
    const struct shard_rig *sr = rig_current;
    const size_t count = sr->real->queue_drain(queue, events, max);
    for (size_t i = 0; i < count; i++) {
        if (events[i].kind == STORE_OPENED && events[i].rc.code == SILO_OK && sr->on_open != NULL) {
            sr->on_open(sr->context, events[i].db);
        }
    }
    return count;
}

/* --- lives --- */

static void control_freed(struct shard_control *control)
{
    free(control);
}

void shard_rig_reopen(struct rig *rig)
{
    struct shard_control *control = xcalloc(1, sizeof *control);
    control->done = control_freed;
    shard_open(shard_rig_of(rig)->shards, shard_rig_of(rig)->ref, control);
}

static void shard_rig_start(struct rig *rig)
{
    struct shard_rig *sr = shard_rig_of(rig);
    ASSERT(sr->shards == NULL);
    const struct shards_options options = {
        .env = &sr->env,
        .store = sr->store,
        .executors = 1,
        .limiter = sr->options.limiter,
        .completed_expire_ms = sr->options.completed_expire_ms,
        .terminal_expire_ms = sr->options.terminal_expire_ms,
        .by_hand = true,
    };
    sr->shards = shards_new(&options);
    const struct shard_options shard = {
        .path = RIG_PATH,
        .order = sr->options.order,
        .wal = {.flush_spacing_ms = sr->options.flush_spacing_ms,
                .local = sr->options.local,
                .objects_max =
                    sr->options.wal_objects_max != 0 ? sr->options.wal_objects_max : 256},
    };
    sr->ref = shards_add(sr->shards, &shard);
    sr->shard = shards_shard(sr->shards, sr->ref);
    struct silo_err err;
    ASSERT(shards_start(sr->shards, &err).code == SILO_OK);
    sr->executor = shards_executor(sr->shards, 0);
    shard_rig_reopen(rig);
}

struct waiting {
    struct shard_control control;
    bool done;
};

static void control_noted(struct shard_control *control)
{
    CONTAINER_OF(control, struct waiting, control)->done = true;
}

enum silo_code shard_rig_control(struct rig *rig,
                                 void (*start)(struct shards *shards, struct shard_ref ref,
                                               struct shard_control *control))
{
    struct waiting waiting = {.control.done = control_noted};
    start(shard_rig_of(rig)->shards, shard_rig_of(rig)->ref, &waiting.control);
    for (int i = 0; i < 200 && !waiting.done; i++) {
        rig_pass(rig, 100);
    }
    assert_true(waiting.done);
    return waiting.control.rc.code;
}

static void process_end(struct shard_rig *sr)
{
    struct list_node *node = NULL;
    while ((node = list_pop_front(&sr->kept)) != NULL) {
        free(CONTAINER_OF(node, struct sent_call, kept));
    }
    shards_stop(sr->shards);
    sr->shards = shards_free(sr->shards);
    sr->shard = NULL;
    sr->executor = NULL;
}

static void ops_end(struct incarnation *inc)
{
    for (struct list_node *n = list_first(&inc->ops); n != NULL; n = list_first(&inc->ops)) {
        struct op *op = CONTAINER_OF(n, struct op, node);
        if (op->kind == OP_READ) {
            core_read_end(inc->core, op->read, false, false);
        } else if (op->kind == OP_WANTS) {
            request_fail(op->cmd, SILO_UNAVAILABLE, "the process died");
        }
        op_free(op);
    }
}

static enum store_mem_survival survival_of(enum rig_survival survival)
{
    switch (survival) {
    case RIG_LOSE:
        return STORE_MEM_LOSE;
    case RIG_KEEP_SOME:
        return STORE_MEM_KEEP_SOME;
    case RIG_KEEP_ALL:
        break;
    }
    return STORE_MEM_KEEP_ALL;
}

static void shard_rig_kill(struct rig *rig, enum rig_survival survival)
{
    struct shard_rig *sr = shard_rig_of(rig);
    struct executor *executor = sr->executor;
    struct shard *shard = sr->shard;
    store_mem_crash(sr->store, executor->queue, survival_of(survival));
    struct mail *mail = mailbox_take(&executor->requests);
    while (mail != NULL) {
        struct shard_request *request = CONTAINER_OF(mail, struct shard_request, mail);
        mail = mail->next;
        request_fail(&request->cmd, SILO_UNAVAILABLE, "the process died");
    }
    mail = mailbox_take(&executor->controls);
    while (mail != NULL) {
        struct shard_control *control = CONTAINER_OF(mail, struct shard_control, mail);
        mail = mail->next;
        control->done(control);
    }
    if (shard->inc != NULL) {
        life_fail(shard->inc, SILO_UNAVAILABLE, "the process died");
    }
    if (shard->control != NULL) { /* one that was being served without an incarnation */
        shard->control->done(shard->control);
        shard->control = NULL;
    }
    for (struct list_node *n = list_first(&executor->dead); n != NULL;
         n = list_next(&executor->dead, n)) {
        ops_end(CONTAINER_OF(n, struct incarnation, dead));
    }
    life_reap(executor);
    process_end(sr);
}

static enum silo_code shard_rig_stop(struct rig *rig)
{
    const enum silo_code code = shard_rig_control(rig, shard_close);
    rig_settle(rig);
    shard_rig_kill(rig, RIG_LOSE); /* what is left when closing failed */
    return code;
}

static struct rig *shard_rig_free(struct rig *rig)
{
    struct shard_rig *sr = shard_rig_of(rig);
    if (sr->shards != NULL) {
        shard_rig_kill(rig, RIG_LOSE);
    }
    sr->ops.free(sr->store);
    free(sr);
    return NULL;
}

/* --- others on the same database --- */

/* Waits for one event; its database, if it brings one. */
static struct store_db *store_await(struct shard_rig *sr, struct store_queue *queue,
                                    enum store_event_kind kind)
{
    for (int i = 0; i < 1000; i++) {
        struct store_event event;
        sr->rig.mono_us += 1000;
        (void)store_mem_step(sr->store);
        while (sr->real->queue_drain(queue, &event, 1) == 1) {
            const bool found = event.kind == kind;
            struct store_db *db = event.rc.code == SILO_OK ? event.db : NULL;
            sr->ops.event_free(&event);
            if (found) {
                return db;
            }
        }
    }
    fail_msg("the store does not answer");
    return NULL;
}

void shard_rig_fence(struct rig *rig)
{
    struct shard_rig *sr = shard_rig_of(rig);
    struct store_queue *queue = NULL;
    ASSERT(sr->real->queue_new(sr->store, &queue, NULL).code == SILO_OK);
    const struct store_open_args args = {.path = RIG_PATH};
    ASSERT(sr->real->open(sr->store, queue, &args, 1, NULL).code == SILO_OK);
    struct store_db *db = store_await(sr, queue, STORE_OPENED);
    if (db != NULL) {
        ASSERT(sr->real->close(db, STORE_CLOSE_DROP, 2, NULL).code == SILO_OK);
        (void)store_await(sr, queue, STORE_CLOSED);
    }
    sr->real->queue_free(queue);
}

static void shard_rig_tamper(struct rig *rig, struct bytes key, struct bytes value)
{
    struct shard_rig *sr = shard_rig_of(rig);
    assert_null(sr->shards);
    struct store_queue *queue = NULL;
    assert_int_equal(sr->real->queue_new(sr->store, &queue, NULL).code, SILO_OK);
    const struct store_open_args args = {.path = RIG_PATH};
    assert_int_equal(sr->real->open(sr->store, queue, &args, 1, NULL).code, SILO_OK);
    struct store_db *db = store_await(sr, queue, STORE_OPENED);
    assert_non_null(db);
    struct store_buf buf = sr->real->buf_alloc(64 + key.len + value.len);
    store_op_pack(&buf, key, value, value.ptr == NULL);
    assert_int_equal(sr->real->write(db, &buf, 1, 1, 2, NULL).code, SILO_OK);
    assert_int_equal(sr->real->close(db, STORE_CLOSE_WAL, 3, NULL).code, SILO_OK);
    (void)store_await(sr, queue, STORE_CLOSED);
    sr->real->queue_free(queue);
}

/* --- turns and calls --- */

static void shard_rig_turn(struct rig *rig)
{
    rig->next_us = executor_turn(shard_rig_of(rig)->executor);
}

static bool shard_rig_complete(struct rig *rig)
{
    const struct shard_rig *sr = shard_rig_of(rig);
    return sr->options.store.manual && store_mem_step(sr->store);
}

static int64_t shard_rig_store_next_us(const struct rig *rig)
{
    const int64_t store_ms = store_mem_next_ms(shard_rig_of(rig)->store);
    return us_of_ms(store_ms);
}

static void sent_done(struct shard_request *request)
{
    struct sent_call *sent = CONTAINER_OF(request, struct sent_call, request);
    struct call *call = sent->call;
    call->cmd = request->cmd;
    call->sent = NULL;
    if (rig_current->keeps_answers) {
        list_push_back(&rig_current->kept, &sent->kept);
    } else {
        sent_free(sent);
    }
    rig_call_done(call);
}

bool shard_rig_try_send(struct rig *rig, struct call *call)
{
    struct sent_call *sent = xcalloc(1, sizeof *sent);
    sent->call = call;
    sent->request.cmd = call->cmd;
    sent->request.done = sent_done;
    call->sent = &sent->request.cmd;
    const bool taken =
        shard_send(shard_rig_of(rig)->shards, shard_rig_of(rig)->ref, &sent->request);
    if (!taken) {
        free(sent);
    }
    return taken;
}

static void shard_rig_send(struct rig *rig, struct call *call)
{
    ASSERT(shard_rig_try_send(rig, call));
}

void shard_rig_take_answer(struct rig *rig, const struct call *call)
{
    struct list *kept = &shard_rig_of(rig)->kept;
    struct list_node *node = list_first(kept);
    while (node != NULL && CONTAINER_OF(node, struct sent_call, kept)->call != call) {
        node = list_next(kept, node);
    }
    ASSERT(node != NULL);
    list_remove(node);
    sent_free(CONTAINER_OF(node, struct sent_call, kept));
}

static struct core *shard_rig_core(const struct rig *rig)
{
    const struct shard_rig *sr = shard_rig_of(rig);
    const bool open = sr->shards != NULL && shard_status(sr->shards, sr->ref) == SHARD_OPEN;
    return open ? sr->shard->inc->core : NULL;
}

static void shard_rig_each_row(struct rig *rig, rig_row_fn *fn, void *context)
{
    store_mem_each_applied(shard_rig_of(rig)->store, RIG_PATH, fn, context);
}

static uint64_t shard_rig_batches(const struct rig *rig)
{
    return store_mem_applied_seq(shard_rig_of(rig)->store, RIG_PATH);
}

static const struct rig_ops shard_rig_ops = {
    .start = shard_rig_start,
    .stop = shard_rig_stop,
    .kill = shard_rig_kill,
    .free = shard_rig_free,
    .send = shard_rig_send,
    .turn = shard_rig_turn,
    .complete = shard_rig_complete,
    .store_next_us = shard_rig_store_next_us,
    .core = shard_rig_core,
    .each_row = shard_rig_each_row,
    .tamper = shard_rig_tamper,
    .batches = shard_rig_batches,
};

struct rig *shard_rig_new(const struct shard_rig_options *options)
{
    struct shard_rig *sr = xcalloc(1, sizeof *sr);
    rig_init(&sr->rig, &shard_rig_ops, options->seed);
    sr->options = *options;
    list_init(&sr->kept);
    sr->env = (struct env){.wall_ms = rig_env_wall,
                           .mono_us = rig_env_mono,
                           .random = rig_env_random,
                           .context = &sr->rig};
    sr->options.store.env = &sr->env;
    sr->store = store_mem_new(&sr->options.store);
    sr->real = store_ops_of(sr->store);
    sr->ops = *sr->real;
    sr->ops.write = rig_write;
    sr->ops.queue_drain = rig_drain;
    ((struct store_base *)sr->store)->ops = &sr->ops;
    rig_current = sr;
    return &sr->rig;
}

struct rig *shard_rig_open_with(const struct shard_rig_options *options)
{
    struct rig *rig = shard_rig_new(options);
    rig_start(rig);
    rig_settle(rig);
    assert_true(rig_is_open(rig));
    return rig;
}

struct rig *shard_rig_open_plain(void)
{
    return shard_rig_open_with(&(struct shard_rig_options){.seed = 1});
}
