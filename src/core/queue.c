/* core/queue.c - queues in memory: finding them, what fits, and what is to be done about them. */
#include "core/queue.h"

#include "base/assert.h"
#include "core/state.h"

void queues_init(struct core *core)
{
    map_init(&core->queues.by_ref);
    list_init(&core->queues.lru);
    list_init(&core->queues.to_visit);
    list_init(&core->queues.sliced);
    list_init(&core->queues.changed);
}

struct queue *queue_find(struct core *core, struct bytes ref)
{
    return MAP_ENTRY(map_find(&core->queues.by_ref, ref), struct queue, node);
}

struct queue *queue_get(struct core *core, struct bytes ref)
{
    struct queue *queue = queue_find(core, ref);
    if (queue != NULL) {
        list_remove(&queue->lru);
        list_push_back(&core->queues.lru, &queue->lru);
        return queue;
    }
    queue = xmalloc(sizeof *queue + ref.len);
    *queue = (struct queue){.key_len = ref.len};
    memcpy(queue->key, ref.ptr, ref.len);
    list_init(&queue->holders);
    map_insert(&core->queues.by_ref, &queue->node, queue_ref(queue));
    list_push_back(&core->queues.lru, &queue->lru);
    return queue;
}

struct queue *queue_of_limit(struct core *core, struct bytes job_ref, const struct limit *limit)
{
    struct key ref;
    key_queue_ref(&ref, job_ref_tenant(job_ref), limit->key);
    return queue_get(core, key_bytes(&ref));
}

struct line *line_find(struct queue *queue, struct line_id id)
{
    for (uint32_t i = 0; i < queue->line_count; i++) {
        struct line *line = queue->lines[i];
        if (line->id.floating == id.floating && line->id.max == id.max) {
            return line;
        }
    }
    return NULL;
}

bool waits_before(const struct core *core, const struct place *a, const struct place *b)
{
    return place_cmp(core->order == ORDER_PRIORITY, a, b) < 0;
}

/* --- capacity --- */

uint32_t queue_max(const struct queue *queue, struct line_id line)
{
    if (!line.floating) {
        return line.max;
    }
    ASSERT(queue->known);
    const uint32_t value = queue->floating != NULL ? queue->floating->rec.value : 0;
    return value < line.max ? value : line.max;
}

bool queue_fits(const struct queue *queue, const struct limit *limit)
{
    if (queue->freed) {
        return false;
    }
    uint32_t max = limit->line.max;
    if (limit->line.floating) {
        ASSERT(queue->known);
        const uint32_t value =
            queue->floating != NULL ? queue->floating->rec.value : limit->floating->default_max;
        max = value < max ? value : max;
    }
    return queue->holder_count < max;
}

bool queue_has_floating_waiters(const struct queue *queue)
{
    for (uint32_t i = 0; i < queue->line_count; i++) {
        if (queue->lines[i]->id.floating && queue->lines[i]->count != 0) {
            return true;
        }
    }
    return false;
}

/* --- what is to be done --- */

void queue_changed(struct core *core, struct queue *queue)
{
    if (!list_linked(&queue->changed)) {
        list_push_back(&core->queues.changed, &queue->changed);
    }
}

void queue_visit_later(struct core *core, struct queue *queue)
{
    if (!list_linked(&queue->to_visit)) {
        list_push_back(&core->queues.to_visit, &queue->to_visit);
    }
}

/* The queue's META_GRANT row is there exactly while a batch ends with it unfinished. */
void queue_mark_grant(struct core *core, struct queue *queue, bool unfinished)
{
    const bool wanted = unfinished && (queue->freed || queue->grant_stored);
    if (wanted == queue->grant_stored) {
        return;
    }
    struct key key;
    key_meta_ref(&key, META_GRANT, queue_ref(queue));
    if (wanted) {
        view_put(&core->view, key_bytes(&key), BYTES_NONE, true);
    } else {
        view_del(&core->view, key_bytes(&key));
    }
    queue->grant_stored = wanted;
}

void queue_freed(struct core *core, struct queue *queue)
{
    queue->freed = true;
    if (list_linked(&queue->to_visit)) {
        queue_mark_grant(core, queue, true); /* it may be one that is visited next turn only */
    }
    queue_visit_later(core, queue);
}
