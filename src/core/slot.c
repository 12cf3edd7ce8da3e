/* core/slot.c - see slot.h. */
#include "core/slot.h"

#include "base/assert.h"
#include "core/queue.h"
#include "core/queue_rows.h"
#include "core/state.h"

void slots_init(struct core *core)
{
    map_init(&core->slots.chains);
}

struct chain *chain_find(const struct core *core, const struct uuid *task_id)
{
    return MAP_ENTRY(map_find(&core->slots.chains, uuid_bytes(task_id)), struct chain, node);
}

static struct chain *chain_get(struct core *core, struct bytes job_ref, const struct uuid *task_id)
{
    struct chain *chain = chain_find(core, task_id);
    if (chain != NULL) {
        return chain;
    }
    chain = xmalloc(sizeof *chain + job_ref.len);
    *chain = (struct chain){.task_id = *task_id, .ref_len = job_ref.len};
    memcpy(chain->ref, job_ref.ptr, job_ref.len);
    list_init(&chain->holders);
    map_insert(&core->slots.chains, &chain->node, uuid_bytes(&chain->task_id));
    return chain;
}

static void chain_free(struct core *core, struct chain *chain)
{
    ASSERT(list_empty(&chain->holders));
    if (chain->waits != NULL) {
        chain->waits->chains--;
    }
    map_remove(&core->slots.chains, &chain->node);
    list_remove(&chain->unlocated);
    blob_unref(chain->rec);
    free(chain);
}

void slots_free(struct core *core)
{
    for (struct map_node *n = map_next(&core->slots.chains, NULL); n != NULL;
         n = map_next(&core->slots.chains, NULL)) {
        struct chain *chain = CONTAINER_OF(n, struct chain, node);
        struct list_node *holder = NULL;
        while ((holder = list_pop_front(&chain->holders)) != NULL) {
            free(CONTAINER_OF(holder, struct holder, in_chain));
        }
        map_remove(&core->slots.chains, &chain->node);
        list_remove(&chain->unlocated);
        blob_unref(chain->rec);
        free(chain);
    }
    map_deinit(&core->slots.chains);
}

/* Adds a slot to memory; the holders of a chain stay in the order of its limits. */
static void slot_add(struct core *core, struct chain *chain, struct queue *queue, uint32_t index)
{
    struct holder *holder = xcalloc(1, sizeof *holder);
    *holder = (struct holder){
        .chain = chain, .queue = queue, .index = index, .serial = core->slots.made++};
    struct list_node *before = list_first(&chain->holders);
    while (before != NULL && CONTAINER_OF(before, struct holder, in_chain)->index < index) {
        before = list_next(&chain->holders, before);
    }
    if (before != NULL) {
        list_insert_before(before, &holder->in_chain);
    } else {
        list_push_back(&chain->holders, &holder->in_chain);
    }
    list_push_back(&queue->holders, &holder->in_queue);
    queue->holder_count++;
    core->slots.taken++;
}

static void slot_write(struct core *core, struct bytes job_ref, const struct uuid *task_id,
                       const struct queue *queue, uint32_t index)
{
    const struct bytes tenant = job_ref_tenant(job_ref);
    const struct holder_rec rec = {
        .job_id = bytes_of(job_ref.ptr + tenant.len, job_ref.len - tenant.len),
        .granted_ms = core->wall_ms,
        .index = index,
    };
    struct key key;
    key_holder(&key, queue_ref(queue), task_id);
    buf_reset(&core->scratch);
    holder_encode(&core->scratch, &rec);
    view_put(&core->view, key_bytes(&key), buf_bytes(&core->scratch), true);
}

static void slot_erase(struct core *core, const struct holder *holder)
{
    struct key key;
    key_holder(&key, queue_ref(holder->queue), &holder->chain->task_id);
    view_del(&core->view, key_bytes(&key));
}

void slot_take(struct core *core, struct bytes job_ref, const struct uuid *task_id,
               struct queue *queue, uint32_t index)
{
    slot_write(core, job_ref, task_id, queue, index);
    slot_add(core, chain_get(core, job_ref, task_id), queue, index);
    if (!queue->known) {
        queue_load(core, queue); /* by the time the slot is free again, its line is known */
    }
}

void slot_loaded(struct core *core, struct bytes ref, const struct uuid *task_id,
                 const struct holder_rec *rec)
{
    const struct bytes tenant = job_ref_tenant(ref);
    struct key job;
    memcpy(job.b, tenant.ptr, tenant.len);
    memcpy(job.b + tenant.len, rec->job_id.ptr, rec->job_id.len);
    job.len = tenant.len + rec->job_id.len;
    struct chain *chain = chain_get(core, key_bytes(&job), task_id);
    slot_add(core, chain, queue_get(core, ref), rec->index);
}

/* Index of the first waiting holder that does not stand before the chain. */
static uint32_t waiting_lower(const struct core *core, const struct queue *queue,
                              const struct place *place)
{
    uint32_t lo = 0;
    uint32_t hi = queue->waiting_count;
    while (lo < hi) {
        const uint32_t mid = lo + (hi - lo) / 2;
        if (waits_before(core, &queue->waiting[mid]->chain->place, place)) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

uint32_t queue_waiting_behind(const struct core *core, const struct queue *queue,
                              const struct place *place)
{
    return queue->waiting_count - waiting_lower(core, queue, place);
}

static void waiting_insert(const struct core *core, struct holder *holder)
{
    struct queue *queue = holder->queue;
    if (queue->waiting_count == queue->waiting_cap) {
        queue->waiting_cap = queue->waiting_cap != 0 ? queue->waiting_cap * 2 : 8;
        queue->waiting = xrealloc(queue->waiting, queue->waiting_cap * sizeof queue->waiting[0]);
    }
    const uint32_t at = waiting_lower(core, queue, &holder->chain->place);
    memmove(queue->waiting + at + 1, queue->waiting + at,
            (queue->waiting_count - at) * sizeof queue->waiting[0]);
    queue->waiting[at] = holder;
    queue->waiting_count++;
}

static void waiting_remove(const struct core *core, struct holder *holder)
{
    struct queue *queue = holder->queue;
    const uint32_t at = waiting_lower(core, queue, &holder->chain->place);
    ASSERT(at < queue->waiting_count && queue->waiting[at] == holder);
    memmove(queue->waiting + at, queue->waiting + at + 1,
            (queue->waiting_count - at - 1) * sizeof queue->waiting[0]);
    queue->waiting_count--;
}

void slot_release(struct core *core, struct holder *holder)
{
    struct chain *chain = holder->chain;
    struct queue *queue = holder->queue;
    slot_erase(core, holder);
    if (chain->waits != NULL) {
        waiting_remove(core, holder);
    }
    list_remove(&holder->in_chain);
    list_remove(&holder->in_queue);
    queue->holder_count--;
    core->slots.taken--;
    free(holder);
    queue_freed(core, queue);
    if (list_empty(&chain->holders)) {
        chain_free(core, chain);
    }
}

void slots_release(struct core *core, const struct uuid *task_id, uint32_t from)
{
    struct chain *chain = NULL;
    while ((chain = chain_find(core, task_id)) != NULL) {
        struct holder *last = CONTAINER_OF(list_last(&chain->holders), struct holder, in_chain);
        if (last->index < from) {
            return;
        }
        slot_release(core, last);
    }
}

void slots_rename(struct core *core, const struct uuid *from, const struct uuid *to)
{
    struct chain *chain = chain_find(core, from);
    if (chain == NULL) {
        return;
    }
    for (struct list_node *n = list_first(&chain->holders); n != NULL;
         n = list_next(&chain->holders, n)) {
        const struct holder *holder = CONTAINER_OF(n, struct holder, in_chain);
        slot_erase(core, holder);
        slot_write(core, chain_ref(chain), to, holder->queue, holder->index);
    }
    map_remove(&core->slots.chains, &chain->node);
    chain->task_id = *to;
    map_insert(&core->slots.chains, &chain->node, uuid_bytes(&chain->task_id));
}

void chain_waits(struct core *core, struct chain *chain, struct queue *queue, struct line_id line,
                 const struct place *place, struct blob *rec)
{
    ASSERT(chain->waits == NULL);
    chain->waits = queue;
    queue->chains++;
    chain->line = line;
    chain->place = *place;
    chain->rec = blob_ref(rec);
    for (struct list_node *n = list_first(&chain->holders); n != NULL;
         n = list_next(&chain->holders, n)) {
        struct holder *holder = CONTAINER_OF(n, struct holder, in_chain);
        waiting_insert(core, holder);
        queue_visit_later(core, holder->queue); /* a better waiter may want this slot */
    }
}

void chain_waits_no_more(struct core *core, struct chain *chain)
{
    if (chain->waits == NULL) {
        return;
    }
    for (struct list_node *n = list_first(&chain->holders); n != NULL;
         n = list_next(&chain->holders, n)) {
        waiting_remove(core, CONTAINER_OF(n, struct holder, in_chain));
    }
    chain->waits->chains--;
    chain->waits = NULL;
    chain->rec = blob_unref(chain->rec);
}
