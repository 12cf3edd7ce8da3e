/* core/throttle.c - see throttle.h. */
#include "core/throttle.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/saturate.h"
#include "core/group.h"
#include "core/queue.h"
#include "core/run.h"
#include "core/state.h"
#include "core/task.h"

void gates_init(struct core *core)
{
    map_init(&core->gates.by_limiter);
    heap_init(&core->gates.shut);
}

void gates_free(struct core *core)
{
    map_deinit(&core->gates.by_limiter);
    heap_deinit(&core->gates.shut);
}

/* --- gates --- */

static void gate_key(struct key *key, struct bytes tenant_part, struct bytes limiter)
{
    ASSERT(tenant_part.len + limiter.len <= sizeof key->b);
    memcpy(key->b, tenant_part.ptr, tenant_part.len);
    memcpy(key->b + tenant_part.len, limiter.ptr, limiter.len);
    key->len = tenant_part.len + limiter.len;
}

static struct gate *gate_find(const struct core *core, struct bytes key)
{
    return MAP_ENTRY(map_find(&core->gates.by_limiter, key), struct gate, node);
}

static struct gate *gate_get(struct core *core, struct bytes key)
{
    struct gate *gate = gate_find(core, key);
    if (gate != NULL) {
        return gate;
    }
    gate = xmalloc(sizeof *gate + key.len);
    *gate = (struct gate){.asked_max = GATE_ASKED_MAX, .key_len = key.len};
    memcpy(gate->key, key.ptr, key.len);
    list_init(&gate->throttles);
    map_insert(&core->gates.by_limiter, &gate->node, bytes_of(gate->key, gate->key_len));
    return gate;
}

static void gate_drop_unused(struct core *core, struct gate *gate)
{
    if (!list_empty(&gate->throttles) || gate->asked != 0) {
        return;
    }
    if (gate_is_shut(gate)) {
        heap_remove(&core->gates.shut, &gate->opens);
    }
    map_remove(&core->gates.by_limiter, &gate->node);
    free(gate);
}

/* --- throttles --- */

struct queue *throttle_get(struct core *core, struct bytes ref)
{
    struct queue *queue = queue_get(core, ref);
    uint8_t scratch[KEY_BYTES_MAX];
    struct bytes limiter;
    struct bytes group;
    if (queue->throttle != NULL || ref.len > sizeof scratch ||
        !throttle_ref_parse(ref, scratch, &limiter, &group)) {
        return queue;
    }
    struct throttle *throttle = xcalloc(1, sizeof *throttle);
    struct key key;
    gate_key(&key, job_ref_tenant(queue_ref(queue)), limiter);
    *throttle = (struct throttle){
        .queue = queue, .gate = gate_get(core, key_bytes(&key)), .group = group_get(core, group)};
    list_push_back(&throttle->gate->throttles, &throttle->in_gate);
    list_push_back(&throttle->group->throttles, &throttle->in_group);
    queue->throttle = throttle;
    return queue;
}

static void throttle_reading(struct throttle *throttle, bool reading)
{
    if (throttle->reading != reading) {
        throttle->reading = reading;
        throttle->group->throttles_reading += reading ? 1u : UINT32_MAX;
    }
}

static void throttle_no_turn(struct throttle *throttle)
{
    if (heap_has(&throttle->turn)) {
        heap_remove(&throttle->group->turns, &throttle->turn);
    }
}

void throttle_free(struct core *core, struct throttle *throttle)
{
    throttle_no_turn(throttle);
    throttle_reading(throttle, false);
    list_remove(&throttle->in_gate);
    list_remove(&throttle->in_group);
    core->gates.throttle_count -= throttle->stored;
    throttle->queue->throttle = NULL;
    gate_drop_unused(core, throttle->gate);
    free(throttle);
}

struct queue *throttle_of(struct core *core, struct bytes job_ref, const struct limit *limit,
                          struct bytes group)
{
    struct key ref;
    limit_queue_ref(&ref, job_ref_tenant(job_ref), limit, group);
    struct queue *queue = queue_find(core, key_bytes(&ref));
    const bool stored = queue != NULL && queue->throttle != NULL && queue->throttle->stored;
    if (!stored && core->gates.throttle_count >= SHARD_THROTTLES_MAX) {
        return NULL;
    }
    if (queue != NULL) {
        return throttle_get(core, key_bytes(&ref));
    }
    queue = throttle_get(core, key_bytes(&ref));
    queue->known = true;        /* every throttle with tokens is in memory */
    queue_changed(core, queue); /* it goes with the batch if nobody comes to stand there */
    return queue;
}

void throttle_loaded(struct core *core, struct bytes ref)
{
    struct throttle *throttle = throttle_get(core, ref)->throttle;
    if (throttle == NULL) {
        core_break(core, "a row of a rate limit's line is corrupt");
        return;
    }
    throttle->stored = true;
    core->gates.throttle_count++;
    throttle_changed(core, throttle);
}

void throttle_counted(struct core *core, struct throttle *throttle, uint64_t count)
{
    if ((count != 0) == throttle->stored) {
        return;
    }
    struct key key;
    key_meta_ref(&key, META_THROTTLE, queue_ref(throttle->queue));
    throttle->stored = count != 0;
    if (throttle->stored) {
        core->gates.throttle_count++;
        view_put(&core->view, key_bytes(&key), BYTES_NONE, true);
    } else {
        core->gates.throttle_count--;
        view_del(&core->view, key_bytes(&key));
    }
}

/* --- turns: which throttles of */

/* A place as a number in the shard's order, all but its arrival. */
int64_t throttle_place_code(const struct core *core, const struct place *place)
{
    const int64_t due_max = INT64_MAX >> 8;
    int64_t due_ms = place->due_ms > 0 ? place->due_ms : 0;
    due_ms = due_ms < due_max ? due_ms : due_max;
    return core->order == ORDER_PRIORITY ? (int64_t)place->priority << 55 | due_ms
                                         : due_ms << 8 | place->priority;
}

struct task *throttle_first_unasked(const struct line *line)
{
    for (uint32_t i = 0; i < line->window.count; i++) {
        struct task *task = lane_at(&line->window, i);
        if (!task->checking) {
            return task;
        }
    }
    return NULL;
}

/*
 * Where the token stands that would be asked next, or would have to be read; false: there is none.
 */
static bool throttle_turn_code(const struct core *core, const struct throttle *throttle,
                               int64_t *ret_code)
{
    const struct gate *gate = throttle->gate;
    if (!throttle->stored || gate_is_shut(gate) || gate->asked >= gate->asked_max) {
        return false;
    }
    *ret_code = INT64_MIN; /* what is not known is read first */
    const struct line *line = line_find(throttle->queue, THROTTLE_LINE);
    if (!throttle->queue->known || line == NULL || !line->known) {
        return true;
    }
    const struct task *task = throttle_first_unasked(line);
    if (task == NULL && !line->window.bounded) {
        return false;
    }
    *ret_code = throttle_place_code(core, task != NULL ? &task->place : &line->window.mark);
    return true;
}

void throttle_set_turn(struct core *core, struct throttle *throttle)
{
    int64_t code = 0;
    throttle_reading(throttle, false);
    if (!throttle_turn_code(core, throttle, &code)) {
        throttle_no_turn(throttle);
    } else if (heap_has(&throttle->turn)) {
        heap_update(&throttle->group->turns, &throttle->turn, code);
    } else {
        heap_insert(&throttle->group->turns, &throttle->turn, code);
    }
}

void throttle_pass_over(struct throttle *throttle, bool reading)
{
    throttle_no_turn(throttle);
    throttle_reading(throttle, reading);
}

/* Of the groups that share the limiter, the one with the best token is served first. */
static void gate_changed(struct core *core, struct gate *gate)
{
    struct throttle *best = NULL;
    for (struct list_node *n = list_first(&gate->throttles); n != NULL;
         n = list_next(&gate->throttles, n)) {
        struct throttle *throttle = CONTAINER_OF(n, struct throttle, in_gate);
        throttle_set_turn(core, throttle);
        if (heap_has(&throttle->turn) && (best == NULL || throttle->turn.key < best->turn.key)) {
            best = throttle;
        }
    }
    if (best == NULL) {
        return;
    }
    group_hot(core, best->group);
    for (struct list_node *n = list_first(&gate->throttles); n != NULL;
         n = list_next(&gate->throttles, n)) {
        struct throttle *throttle = CONTAINER_OF(n, struct throttle, in_gate);
        if (heap_has(&throttle->turn)) {
            group_hot(core, throttle->group);
        }
    }
}

/* --- what happens at a gate --- */

static void gate_open(struct core *core, struct gate *gate)
{
    heap_remove(&core->gates.shut, &gate->opens);
    gate_changed(core, gate);
}

/* Somebody else is the first in line now: does it ask for less than the one that was refused? */
static bool first_asks_for_less(struct core *core, const struct gate *gate, const struct task *task)
{
    const struct limit *limit = task_limit(core, task);
    const struct rate_limit *rate = limit != NULL ? limit->rate : NULL;
    return rate != NULL && (rate->hits < gate->refused.hits || rate->limit != gate->refused.limit ||
                            rate->duration_ms != gate->refused.duration_ms);
}

static struct task *throttle_first(const struct throttle *throttle)
{
    const struct line *line = line_find(throttle->queue, THROTTLE_LINE);
    const bool there = line != NULL && line->known && line->window.count != 0;
    return there ? lane_at(&line->window, 0) : NULL;
}

static void throttle_look_first(struct core *core, struct throttle *throttle)
{
    struct gate *gate = throttle->gate;
    const struct task *first = gate_is_shut(gate) ? throttle_first(throttle) : NULL;
    if (first == NULL || uuid_eq(&first->task_id, &throttle->first)) {
        return;
    }
    throttle->first = first->task_id;
    if (gate->errors == 0 && first_asks_for_less(core, gate, first)) {
        gate_open(core, gate);
    }
}

void throttle_changed(struct core *core, struct throttle *throttle)
{
    throttle_look_first(core, throttle);
    throttle_set_turn(core, throttle);
    if (heap_has(&throttle->turn)) {
        group_hot(core, throttle->group);
    }
}

void gate_asked(struct core *core, struct gate *gate)
{
    if (gate != NULL) {
        gate->asked++;
        if (gate->asked == gate->asked_max) {
            gate_changed(core, gate);
        }
    }
}

void gate_answered(struct core *core, struct gate *gate)
{
    if (gate != NULL) {
        if (gate->asked-- == gate->asked_max) {
            gate_changed(core, gate);
        }
        gate_drop_unused(core, gate);
    }
}

void gate_passed(struct core *core, struct gate *gate)
{
    gate->refusals = 0;
    gate->errors = 0;
    if (gate->asked_max < GATE_ASKED_MAX) {
        gate->asked_max++;
        gate_changed(core, gate);
    }
}

static void gate_shut(struct core *core, struct gate *gate, int64_t wait_ms)
{
    gate->asked_max = core->checks.external ? 1 : GATE_ASKED_MAX;
    heap_insert(&core->gates.shut, &gate->opens, add_saturated(core->mono_ms, wait_ms));
    for (struct list_node *n = list_first(&gate->throttles); n != NULL;
         n = list_next(&gate->throttles, n)) {
        struct throttle *throttle = CONTAINER_OF(n, struct throttle, in_gate);
        const struct task *first = throttle_first(throttle);
        throttle->first = first != NULL ? first->task_id : (struct uuid){0};
    }
    gate_changed(core, gate);
}

void gate_refused(struct core *core, struct gate *gate, const struct gate_question *question,
                  int64_t wait_ms)
{
    if (!gate_is_shut(gate)) { /* else one of several questions that were on their way together */
        gate->refusals++;
        gate->errors = 0;
        gate->refused = *question;
        gate_shut(core, gate, wait_ms);
    }
}

void gate_failed(struct core *core, struct gate *gate, int64_t wait_ms)
{
    if (!gate_is_shut(gate)) {
        gate->errors++;
        gate_shut(core, gate, wait_ms);
    }
}

void gate_reopen(struct core *core, struct bytes job_ref, const struct limit *limit)
{
    if (core->gates.shut.count == 0) {
        return;
    }
    struct key limiter;
    struct key key;
    key_limiter(&limiter, job_ref_tenant(job_ref), limit->rate->name, limit->rate->unique_key);
    gate_key(&key, job_ref_tenant(job_ref),
             bytes_of(limiter.b + limiter.len - LIMITER_HASH_LEN, LIMITER_HASH_LEN));
    struct gate *gate = gate_find(core, key_bytes(&key));
    if (gate != NULL && gate_is_shut(gate)) {
        gate_open(core, gate);
    }
}

void throttle_turn(struct core *core)
{
    struct heap_node *node = NULL;
    while ((node = heap_min(&core->gates.shut)) != NULL && node->key <= core->mono_ms) {
        gate_open(core, CONTAINER_OF(node, struct gate, opens));
    }
}

int64_t throttle_next_mono_ms(const struct core *core)
{
    const struct heap_node *node = heap_min(&core->gates.shut);
    return node != NULL ? node->key : INT64_MAX;
}
