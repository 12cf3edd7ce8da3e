/* shard/rig_test.c - see rig_test.h. */
#include "shard/rig_test.h"

#include <stdio.h>
#include <xxhash.h>

#include "base/assert.h"
#include "base/test.h"
#include "shard/shard_int.h"

static struct rig *rig_current; /* the store's calls carry no context */

static int64_t rig_env_wall(void *context)
{
    return ((struct rig *)context)->wall_ms;
}

static int64_t rig_env_mono(void *context)
{
    return ((struct rig *)context)->mono_us;
}

uint64_t rig_random(struct rig *rig)
{
    rig->random += 0x9e3779b97f4a7c15ULL;
    uint64_t z = rig->random;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

uint32_t rig_below(struct rig *rig, uint32_t bound)
{
    return (uint32_t)(rig_random(rig) % bound);
}

static void rig_env_random(void *context, void *ret_bytes, size_t len)
{
    uint8_t *out = ret_bytes;
    for (size_t i = 0; i < len; i++) {
        out[i] = (uint8_t)rig_random(context);
    }
}

static silo_rc rig_write(struct store_db *db, struct store_buf *bufs, size_t count, uint32_t ops,
                         uint64_t token, struct silo_err *err)
{
    struct rig *rig = rig_current;
    for (size_t i = 0; i < count; i++) {
        const struct bytes b = bytes_of(bufs[i].ptr, bufs[i].len);
        rig->write_hash = XXH64(b.ptr, b.len, rig->write_hash);
        if (rig->on_write != NULL) {
            rig->on_write(rig->context, db, b);
        }
    }
    return rig->real->write(db, bufs, count, ops, token, err);
}

static size_t rig_drain(struct store_queue *queue, struct store_event *events, size_t max)
{
    struct rig *rig = rig_current;
    const size_t count = rig->real->queue_drain(queue, events, max);
    for (size_t i = 0; i < count; i++) {
        if (events[i].kind == STORE_OPENED && events[i].rc.code == SILO_OK &&
            rig->on_open != NULL) {
            rig->on_open(rig->context, events[i].db);
        }
    }
    return count;
}

struct rig *rig_new(const struct rig_options *options)
{
    struct rig *rig = xcalloc(1, sizeof *rig);
    rig->options = *options;
    rig->random = options->seed * 0x2545f4914f6cdd1dULL + 1;
    rig->mono_us = 1000000;
    rig->wall_ms = RIG_WALL_MS;
    rig->env = (struct env){
        .wall_ms = rig_env_wall, .mono_us = rig_env_mono, .random = rig_env_random, .context = rig};
    rig->options.store.env = &rig->env;
    rig->store = store_mem_new(&rig->options.store);
    rig->real = store_ops_of(rig->store);
    rig->ops = *rig->real;
    rig->ops.write = rig_write;
    rig->ops.queue_drain = rig_drain;
    ((struct store_base *)rig->store)->ops = &rig->ops;
    rig_current = rig;
    return rig;
}

struct rig *rig_free(struct rig *rig)
{
    if (rig->shards != NULL) {
        rig_kill(rig, STORE_MEM_LOSE);
    }
    rig->ops.free(rig->store);
    free(rig);
    return NULL;
}

static void control_freed(struct shard_control *control)
{
    free(control);
}

void rig_open(struct rig *rig)
{
    struct shard_control *control = xcalloc(1, sizeof *control);
    control->done = control_freed;
    shard_open(rig->shard, control);
}

void rig_start(struct rig *rig)
{
    ASSERT(rig->shards == NULL);
    const struct shards_options options = {
        .env = &rig->env,
        .store = rig->store,
        .executors = 1,
        .flush_spacing_ms = rig->options.flush_spacing_ms,
        .wal_objects_max = rig->options.wal_objects_max != 0 ? rig->options.wal_objects_max : 256,
        .order = rig->options.order,
        .limiter = rig->options.limiter,
        .completed_expire_ms = rig->options.completed_expire_ms,
        .terminal_expire_ms = rig->options.terminal_expire_ms,
        .by_hand = true,
    };
    rig->shards = shards_new(&options);
    rig->shard = shards_add(
        rig->shards, &(struct shard_options){.path = RIG_PATH, .range_start = "", .range_end = ""});
    struct silo_err err;
    ASSERT(shards_start(rig->shards, &err).code == SILO_OK);
    rig->executor = shards_executor(rig->shards, 0);
    rig_open(rig);
    rig->next_us = 0;
}

struct waiting {
    struct shard_control control;
    bool done;
};

static void control_noted(struct shard_control *control)
{
    CONTAINER_OF(control, struct waiting, control)->done = true;
}

enum silo_code rig_control(struct rig *rig,
                           void (*start)(struct shard *shard, struct shard_control *control))
{
    struct waiting waiting = {.control.done = control_noted};
    start(rig->shard, &waiting.control);
    for (int i = 0; i < 200 && !waiting.done; i++) {
        rig_pass(rig, 100);
    }
    assert_true(waiting.done);
    return waiting.control.rc.code;
}

static void process_end(struct rig *rig)
{
    shards_stop(rig->shards);
    rig->shards = shards_free(rig->shards);
    rig->shard = NULL;
    rig->executor = NULL;
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

void rig_kill(struct rig *rig, enum store_mem_survival survival)
{
    struct executor *executor = rig->executor;
    struct shard *shard = rig->shard;
    store_mem_crash(rig->store, executor->queue, survival);
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
    process_end(rig);
}

enum silo_code rig_stop(struct rig *rig)
{
    const enum silo_code code = rig_control(rig, shard_close);
    rig_settle(rig);
    rig_kill(rig, STORE_MEM_LOSE); /* what is left when closing failed */
    return code;
}

void rig_fence(struct rig *rig)
{
    struct store_queue *queue = NULL;
    ASSERT(rig->ops.queue_new(rig->store, &queue, NULL).code == SILO_OK);
    ASSERT(rig->ops.open(rig->store, queue, &(struct store_open_args){.path = RIG_PATH}, 1, NULL)
               .code == SILO_OK);
    struct store_event event;
    struct store_db *db = NULL;
    bool closed = false;
    for (int i = 0; i < 1000 && !closed; i++) {
        rig->mono_us += 1000;
        (void)store_mem_step(rig->store);
        while (rig->real->queue_drain(queue, &event, 1) == 1) {
            if (event.kind == STORE_OPENED && event.rc.code == SILO_OK) {
                db = event.db;
                ASSERT(rig->ops.close(db, STORE_CLOSE_DROP, 2, NULL).code == SILO_OK);
            }
            closed = event.kind == STORE_CLOSED ||
                     (event.kind == STORE_OPENED && event.rc.code != SILO_OK);
            rig->ops.event_free(&event);
        }
    }
    ASSERT(closed);
    rig->ops.queue_free(queue);
}

void rig_turn(struct rig *rig)
{
    rig->next_us = executor_turn(rig->executor);
}

bool rig_step(struct rig *rig)
{
    rig_turn(rig);
    return rig->options.store.manual && store_mem_step(rig->store);
}

/* Monotonic time of the next event, in the past if one is ready. */
static int64_t rig_next_us(const struct rig *rig)
{
    const int64_t store_ms = store_mem_next_ms(rig->store);
    const int64_t store_us = store_ms > INT64_MAX / 1000 ? INT64_MAX : store_ms * 1000;
    return store_us < rig->next_us ? store_us : rig->next_us;
}

static void spin_fail(const struct rig *rig)
{
    const struct incarnation *inc = rig->shard->inc;
    const bool core = inc != NULL && inc->core != NULL;
    fail_msg("seed %llu: the shard spins: phase %d; now %lld, core %lld, commit %lld, proof %lld, "
             "life %lld, store %lld ms",
             (unsigned long long)rig->options.seed, inc != NULL ? (int)inc->phase : -1,
             (long long)rig->mono_us / 1000, core ? (long long)core_next_mono_ms(inc->core) : -1,
             core ? (long long)commit_next_mono_ms(inc) : -1,
             core ? (long long)proof_next_mono_ms(inc) : -1,
             (long long)life_next_mono_ms(rig->shard), (long long)store_mem_next_ms(rig->store));
}

void rig_settle(struct rig *rig)
{
    /* The events of the last completed operation arrive in a turn of their own. */
    int quiet = 0;
    for (int spins = 0; quiet < 3; spins++) {
        const bool moved = rig_step(rig);
        if (spins >= RIG_SPIN_MAX) {
            spin_fail(rig);
        }
        quiet = !moved && rig_next_us(rig) > rig->mono_us ? quiet + 1 : 0;
    }
}

void rig_pass(struct rig *rig, int64_t ms)
{
    const int64_t end_us = rig->mono_us + ms * 1000;
    rig_settle(rig);
    while (rig->mono_us < end_us) {
        const int64_t next_us = rig_next_us(rig);
        const int64_t to_us = next_us < end_us ? next_us : end_us;
        const int64_t step_us = to_us > rig->mono_us ? to_us - rig->mono_us : 1000;
        rig->wall_ms += (rig->mono_us + step_us) / 1000 - rig->mono_us / 1000;
        rig->mono_us += step_us;
        if (rig_next_us(rig) <= rig->mono_us) {
            rig_settle(rig); /* only then: a wake-up that is not asked for does not come */
        }
    }
}

bool rig_is_open(const struct rig *rig)
{
    return rig->shards != NULL && shard_status(rig->shard) == SHARD_OPEN;
}

/* --- calls --- */

static void call_done(struct shard_request *request)
{
    struct call *call = CONTAINER_OF(request, struct call, request);
    ASSERT(!call->done);
    call->done = true;
    if (call->on_done != NULL) {
        call->on_done(call);
    }
}

struct call *rig_call(enum command_kind kind, const char *tenant, const char *id)
{
    struct call *call = xcalloc(1, sizeof *call);
    arena_init(&call->arena);
    call->request.cmd.kind = kind;
    call->request.cmd.arena = &call->arena;
    call->request.done = call_done;
    if (id != NULL) {
        struct key ref;
        key_job_ref(&ref, bytes_str(tenant), bytes_str(id));
        call->request.cmd.job_ref = arena_copy(&call->arena, key_bytes(&ref));
    }
    return call;
}

struct call *rig_call_free(struct call *call)
{
    arena_deinit(&call->arena);
    free(call);
    return NULL;
}

void rig_send(struct rig *rig, struct call *call)
{
    ASSERT(shard_send(rig->shard, &call->request));
}

void rig_do(struct rig *rig, struct call *call)
{
    rig_send(rig, call);
    rig_settle(rig);
    if (!call->done) {
        fail_msg("seed %llu: no answer to a call of kind %d", (unsigned long long)rig->options.seed,
                 (int)call->request.cmd.kind);
    }
}
