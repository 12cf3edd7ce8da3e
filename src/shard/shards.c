/*
 * shard/shards.c - the set of shards and executors of this process.
 *
 *   place free ──shards_add──► taken by (place, generation + 1) ──ADD──► its executor has the shard
 *        ▲                                                                    │
 *        └──── freed, once nothing of it is on its way ◄──── gone ◄──REMOVE───┘
 *
 * 1. Whoever means a shard has its place and generation. Places are never freed, so a sender finds
 *    an executor there whatever has become of the shard; which shards are there only the executor
 *    knows, and it compares the generation.
 * 2. A place gets another shard only when the one before is freed, so no two executors ever have
 *    shards of one place.
 */
#include "base/assert.h"
#include "shard/shard_int.h"

static void executor_init(struct executor *executor, struct shards *shards)
{
    executor->shards = shards;
    executor->published = published_new(sizeof executor->counted / sizeof(uint64_t));
    executor->env = shards->options.env;
    executor->wake_fd = -1;
    executor->next_mono_ms = INT64_MAX;
    executor->awake_mono_ms = INT64_MIN / 2;
    executor->by_slot = xcalloc(SHARDS_MAX, sizeof executor->by_slot[0]);
    list_init(&executor->owned);
    list_init(&executor->leaving);
    list_init(&executor->work);
    list_init(&executor->dead);
    heap_init(&executor->times);
    map_init(&executor->databases);
    mailbox_init(&executor->requests, MAILBOX_MESSAGES_MAX, executor_wake, executor);
    mailbox_init(&executor->controls, SIZE_MAX / 2, executor_wake, executor);
    mailbox_init(&executor->verdicts, SIZE_MAX / 2, executor_wake, executor);
}

struct shards *shards_new(const struct shards_options *options)
{
    ASSERT(options->executors >= 1);
    struct shards *shards = xcalloc(1, sizeof *shards);
    shards->options = *options;
    atomic_init(&shards->strict_mono_ms, INT64_MAX);
    if (options->settings_json != NULL) {
        shards->settings_json = xstrdup(options->settings_json);
        shards->options.settings_json = shards->settings_json;
    }
    outage_init(shards);
    listeners_init(shards);
    shards->slots = xcalloc(SHARDS_MAX, sizeof shards->slots[0]);
    shards->executors = xcalloc(options->executors, sizeof *shards->executors);
    for (uint32_t i = 0; i < options->executors; i++) {
        executor_init(&shards->executors[i], shards);
    }
    return shards;
}

struct shards *shards_free(struct shards *shards)
{
    if (shards == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < SHARDS_MAX; i++) {
        if (shards->slots[i].shard != NULL) {
            shard_free(shards->slots[i].shard);
        }
    }
    for (uint32_t i = 0; i < shards->options.executors; i++) {
        struct executor *executor = &shards->executors[i];
        checks_take(mailbox_take(&executor->verdicts)); /* too late for anybody */
        heap_deinit(&executor->times);
        map_deinit(&executor->databases);
        free(executor->by_slot);
        published_free(executor->published);
    }
    outage_deinit(shards);
    listeners_deinit(shards);
    for (size_t i = 0; i < SHARDS_MAX; i++) {
        published_free(atomic_load_explicit(&shards->slots[i].published, memory_order_relaxed));
    }
    free(shards->executors);
    free(shards->slots);
    free(shards->settings_json);
    free(shards);
    return NULL;
}

struct executor *shards_executor(struct shards *shards, size_t index)
{
    ASSERT(index < shards->options.executors);
    return &shards->executors[index];
}

/* --- the state of a place --- */

static uint64_t state_of(uint32_t generation, enum shard_status status)
{
    return (uint64_t)generation << 32 | (uint64_t)status;
}

static uint32_t state_generation(uint64_t state)
{
    return (uint32_t)(state >> 32);
}

static struct shard_slot *slot_of(const struct shards *shards, struct shard_ref ref)
{
    ASSERT(ref.slot < SHARDS_MAX);
    return &shards->slots[ref.slot];
}

enum shard_status shard_status(const struct shards *shards, struct shard_ref ref)
{
    const struct shard_slot *slot = slot_of(shards, ref);
    const uint64_t state = atomic_load_explicit(&slot->state, memory_order_relaxed);
    return state_generation(state) == ref.generation ? (enum shard_status)(uint32_t)state
                                                     : SHARD_CLOSED;
}

void shard_set_status(struct shard *shard, enum shard_status status)
{
    const struct shards_options *options = &shard->shards->options;
    const bool changed = status != shard->status;
    shard->status = status;
    atomic_store_explicit(&slot_of(shard->shards, shard->ref)->state,
                          state_of(shard->ref.generation, status), memory_order_relaxed);
    const bool tells = status == SHARD_OPEN || status == SHARD_FAILED || status == SHARD_FENCED;
    if (changed && tells) {
        listeners_tell(shard->shards);
    }
    if (changed && tells && options->told != NULL) {
        struct shard_notice *notice = xcalloc(1, sizeof *notice);
        notice->ref = shard->ref;
        notice->status = status;
        options->told(options->context, notice);
    }
}

/* --- coming and going --- */

static struct executor *executor_least(struct shards *shards)
{
    struct executor *least = &shards->executors[0];
    for (uint32_t i = 1; i < shards->options.executors; i++) {
        if (shards->executors[i].assigned < least->assigned) {
            least = &shards->executors[i];
        }
    }
    return least;
}

/* A free place, or NULL. */
static struct shard_slot *slot_find_free(struct shards *shards, uint32_t *ret_index)
{
    for (uint32_t i = 0; i < SHARDS_MAX; i++) {
        const uint32_t index = (shards->slot_next + i) % SHARDS_MAX;
        struct shard_slot *slot = &shards->slots[index];
        if (!atomic_load_explicit(&slot->taken, memory_order_acquire)) {
            atomic_store_explicit(&slot->taken, true, memory_order_relaxed);
            shards->slot_next = index + 1;
            *ret_index = index;
            return slot;
        }
    }
    return NULL;
}

static struct shard *shard_new(struct shards *shards, const struct shard_options *options)
{
    struct shard *shard = xcalloc(1, sizeof *shard);
    shard->shards = shards;
    uuid_format(&options->id, shard->id_text);
    shard->path = xstrdup(options->path);
    shard->order = options->order;
    shard->wal = options->wal;
    shard->unopened_mono_ms = INT64_MAX;
    return shard;
}

void shard_free(struct shard *shard)
{
    ASSERT(shard->inc == NULL);
    struct shard_slot *slot = slot_of(shard->shards, shard->ref);
    slot->shard = NULL;
    shard_count_out(shard);
    free(shard->path);
    undelivered_free(shard);
    free(shard);
    atomic_store_explicit(&slot->taken, false, memory_order_release);
}

/* Part of the shard, which is freed when nothing of it is on its way. */
static void control_own_done(struct shard_control *control)
{
    (void)control;
}

struct shard_ref shards_add(struct shards *shards, const struct shard_options *options)
{
    uint32_t index = 0;
    struct shard_slot *slot = slot_find_free(shards, &index);
    if (slot == NULL) {
        return SHARD_REF_NONE;
    }
    const uint64_t before = atomic_load_explicit(&slot->state, memory_order_relaxed);
    const struct shard_ref ref = {.slot = index, .generation = state_generation(before) + 1};
    struct shard *shard = shard_new(shards, options);
    shard->ref = ref;
    shard->executor = executor_least(shards);
    shard->executor->assigned++;
    slot->shard = shard;
    shard_count_in(shard, slot);
    atomic_store_explicit(&slot->executor, shard->executor, memory_order_relaxed);
    atomic_store_explicit(&slot->state, state_of(ref.generation, SHARD_CLOSED),
                          memory_order_relaxed);
    shard->coming = (struct shard_control){.op = CONTROL_ADD, .ref = ref, .done = control_own_done};
    mailbox_send_always(&shard->executor->controls, &shard->coming.mail);
    return ref;
}

struct shard *shards_shard(struct shards *shards, struct shard_ref ref)
{
    struct shard *shard = slot_of(shards, ref)->shard;
    return shard != NULL && shard_ref_eq(shard->ref, ref) ? shard : NULL;
}

/* --- what is sent to them --- */

static struct executor *executor_of(struct shards *shards, struct shard_ref ref)
{
    struct executor *executor =
        atomic_load_explicit(&slot_of(shards, ref)->executor, memory_order_relaxed);
    /* A place that was never used: any executor knows that the shard is none of its own. */
    return executor != NULL ? executor : &shards->executors[0];
}

bool shard_send(struct shards *shards, struct shard_ref ref, struct shard_request *request)
{
    request->shards = shards;
    request->ref = ref;
    request->shard = NULL;
    const enum command_kind kind = request->cmd.kind;
    struct mailbox *box = &executor_of(shards, ref)->requests;
    if (command_is_own(kind)) {
        mailbox_send_always(box, &request->mail);
        return true;
    }
    const size_t beyond = command_keeps_work(kind) ? MAILBOX_MESSAGES_RESERVE : 0;
    return mailbox_send_beyond(box, &request->mail, beyond);
}

static void control_send(struct shards *shards, struct shard_ref ref, struct shard_control *control,
                         enum control_op op)
{
    control->ref = ref;
    control->op = (int)op;
    mailbox_send_always(&executor_of(shards, ref)->controls, &control->mail);
}

void shard_open(struct shards *shards, struct shard_ref ref, struct shard_control *control)
{
    control_send(shards, ref, control, CONTROL_OPEN);
}

void shard_prepare(struct shards *shards, struct shard_ref ref, struct shard_control *control)
{
    control_send(shards, ref, control, CONTROL_PREPARE);
}

void shard_close(struct shards *shards, struct shard_ref ref, struct shard_control *control)
{
    control_send(shards, ref, control, CONTROL_CLOSE);
}

void shard_reset(struct shards *shards, struct shard_ref ref, struct shard_control *control)
{
    control_send(shards, ref, control, CONTROL_RESET);
}

void shards_remove(struct shards *shards, struct shard_ref ref)
{
    struct shard *shard = shards_shard(shards, ref);
    ASSERT(shard != NULL && shard->going.done == NULL);
    shard->executor->assigned--;
    shard->going = (struct shard_control){.done = control_own_done};
    control_send(shards, ref, &shard->going, CONTROL_REMOVE);
}
