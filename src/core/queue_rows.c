/* core/queue_rows.c - the records of queues, and queues that leave memory. */
#include "core/queue_rows.h"

#include "base/assert.h"
#include "base/limits.h"
#include "core/floating.h"
#include "core/line.h"
#include "core/low.h"
#include "core/queue.h"
#include "core/read.h"
#include "core/run.h"
#include "core/state.h"
#include "core/throttle.h"

static void queue_lines_free(struct core *core, struct queue *queue)
{
    for (uint32_t i = 0; i < queue->line_count; i++) {
        line_forget(core, queue->lines[i]);
        lane_deinit(&queue->lines[i]->window);
        free(queue->lines[i]);
    }
    free(queue->lines);
    queue->lines = NULL;
    queue->line_count = 0;
}

static void queue_free(struct core *core, struct queue *queue)
{
    queue_lines_free(core, queue);
    if (queue->floating != NULL) {
        floating_free(core, queue->floating);
    }
    if (queue->throttle != NULL) {
        throttle_free(core, queue->throttle);
    }
    map_remove(&core->queues.by_ref, &queue->node);
    list_remove(&queue->lru);
    list_remove(&queue->to_visit);
    list_remove(&queue->changed);
    list_remove(&queue->drop);
    free(queue->waiting);
    free(queue);
}

void queues_free(struct core *core)
{
    for (struct map_node *n = map_next(&core->queues.by_ref, NULL); n != NULL;
         n = map_next(&core->queues.by_ref, NULL)) {
        queue_free(core, CONTAINER_OF(n, struct queue, node));
    }
    map_deinit(&core->queues.by_ref);
}

/* --- what is stored of a queue */

static void queue_decode_lines(struct core *core, struct queue *queue, struct bytes value)
{
    struct bytes at;
    uint32_t count = 0;
    if (!queue_decode(value, &at, &count)) {
        core_break(core, "a queue's record is corrupt");
        return;
    }
    struct line_rec rec;
    while (count != 0 && line_next(&at, &rec)) {
        struct line *line = line_get(core, queue, rec.id);
        line->count = rec.count;
        line->known = rec.count == 0;
        line->low.has = rec.has_low;
        line->low.place = rec.low;
        count--;
    }
    if (count != 0 || at.len != 0) {
        core_break(core, "a queue's record is corrupt");
    }
}

static void queue_take_rows(struct core *core, struct queue *queue, bool has_lines,
                            struct bytes lines, bool has_floating, struct bytes floating)
{
    queue->known = true;
    queue->stored = has_lines;
    if (has_lines) {
        queue_decode_lines(core, queue, lines);
    }
    floating_load(core, queue, has_floating, floating);
    if (queue->throttle != NULL) {
        queue_visit_later(core, queue); /* the place of its first token is known better now */
    }
}

bool queue_ready(struct core *core, struct queue *queue, struct command *cmd)
{
    if (queue->known) {
        return true;
    }
    struct key lines_key;
    struct key floating_key;
    key_queue(&lines_key, queue_ref(queue), QUEUE_LINES);
    key_queue(&floating_key, queue_ref(queue), QUEUE_FLOATING);
    struct bytes lines = BYTES_NONE;
    struct bytes floating = BYTES_NONE;
    const enum view_answer a = look(core, cmd, key_bytes(&lines_key), &lines);
    const enum view_answer b = look(core, cmd, key_bytes(&floating_key), &floating);
    if (a == VIEW_UNKNOWN || b == VIEW_UNKNOWN) {
        return false;
    }
    queue_take_rows(core, queue, a == VIEW_FOUND, lines, b == VIEW_FOUND, floating);
    return true;
}

/* --- reading it ahead --- */

/* Both rows of a queue, as stored. */
struct queue_read {
    struct core_read read;
    struct queue *queue;
    bool has_lines, has_floating;
    struct bytes lines, floating;
};

static void load_row(struct core *core, struct core_read *base, struct bytes key,
                     struct bytes value, bool present)
{
    (void)core;
    struct queue_read *read = CONTAINER_OF(base, struct queue_read, read);
    if (bytes_eq(key, base->look_up.keys[0])) {
        read->has_lines = present;
        read->lines = arena_copy(&base->arena, value);
    } else {
        read->has_floating = present;
        read->floating = arena_copy(&base->arena, value);
    }
}

/* The row as it is now, which was read as *value. */
static void load_newest(struct core *core, struct bytes key, bool *present, struct bytes *value)
{
    const struct row *recent = view_recent(&core->view, key);
    if (recent != NULL) {
        *present = !recent->del;
        *value = blob_bytes(recent->value);
    }
}

static void load_end(struct core *core, struct core_read *base, bool ok, bool more)
{
    (void)more;
    struct queue_read *read = CONTAINER_OF(base, struct queue_read, read);
    struct queue *queue = read->queue;
    queue->loading = false;
    if (!ok) {
        queue->retry_mono_ms = core->mono_ms + READ_RETRY_MS;
    } else if (!queue->known) {
        load_newest(core, base->look_up.keys[0], &read->has_lines, &read->lines);
        load_newest(core, base->look_up.keys[1], &read->has_floating, &read->floating);
        queue_take_rows(core, queue, read->has_lines, read->lines, read->has_floating,
                        read->floating);
    }
    queue_visit_later(core, queue);
}

void queue_load(struct core *core, struct queue *queue)
{
    if (queue->known || queue->loading || core->mono_ms < queue->retry_mono_ms) {
        return;
    }
    struct queue_read *read = read_new(sizeof *read);
    struct key key;
    read_look_up(&read->read, 2);
    key_queue(&key, queue_ref(queue), QUEUE_LINES);
    read_want(&read->read, key_bytes(&key));
    key_queue(&key, queue_ref(queue), QUEUE_FLOATING);
    read_want(&read->read, key_bytes(&key));
    read->queue = queue;
    read->read.on_row = load_row;
    read->read.on_end = load_end;
    queue->loading = true;
    read_queue(core, &read->read);
}

/* --- the record --- */

static void queue_write(struct core *core, struct queue *queue)
{
    uint32_t live = 0;
    for (uint32_t i = 0; i < queue->line_count; i++) {
        live += queue->lines[i]->count != 0;
    }
    struct key key;
    key_queue(&key, queue_ref(queue), QUEUE_LINES);
    if (live == 0) {
        if (queue->stored) {
            view_del(&core->view, key_bytes(&key));
        }
        queue->stored = false;
        return;
    }
    buf_reset(&core->scratch);
    queue_encode_head(&core->scratch, live);
    for (uint32_t i = 0; i < queue->line_count; i++) {
        struct line *line = queue->lines[i];
        if (line->count == 0) {
            continue;
        }
        struct place low;
        if (line->known && low_of(&line->window, &line->low, &low)) {
            line->low.has = true;
            line->low.place = low;
        }
        const struct line_rec rec = {
            .id = line->id, .count = line->count, .has_low = line->low.has, .low = line->low.place};
        queue_encode_line(&core->scratch, &rec);
    }
    view_put(&core->view, key_bytes(&key), buf_bytes(&core->scratch), !queue->stored);
    queue->stored = true;
}

/* Lines that nobody stands in any more go: a later waiter finds them known and empty. */
static void queue_drop_empty_lines(struct core *core, struct queue *queue)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < queue->line_count; i++) {
        struct line *line = queue->lines[i];
        if (line->count != 0 || line->loading) {
            queue->lines[kept++] = line;
            continue;
        }
        line_forget(core, line);
        lane_deinit(&line->window);
        free(line);
    }
    queue->line_count = kept;
}

void queues_write(struct core *core)
{
    struct list_node *node = NULL;
    while ((node = list_pop_front(&core->queues.changed)) != NULL) {
        struct queue *queue = CONTAINER_OF(node, struct queue, changed);
        ASSERT(queue->known);
        queue_write(core, queue);
        queue_drop_empty_lines(core, queue);
        if (queue->throttle != NULL && !queue->throttle->stored && queue->line_count == 0 &&
            !queue->loading) {
            queue_free(core, queue);
        }
    }
}

/* --- leaving memory --- */

static bool queue_must_stay(const struct queue *queue)
{
    const struct floating *floating = queue->floating;
    return queue->holder_count != 0 || queue->chains != 0 || queue->loading || queue->freed ||
           queue->grant_stored || queue->grant != NULL || list_linked(&queue->to_visit) ||
           list_linked(&queue->changed) || list_linked(&queue->drop) || queue->refresh_stored ||
           (queue->throttle != NULL && queue->throttle->stored) ||
           (floating != NULL && floating->rec.phase != REFRESH_NONE);
}

static bool queue_is_read(const struct queue *queue)
{
    for (uint32_t i = 0; i < queue->line_count; i++) {
        if (queue->lines[i]->loading) {
            return true;
        }
    }
    return false;
}

/* Its windows are in use: a visit has seen them and goes on when what it missed has been read. */
static bool queue_is_visited(const struct queue *queue)
{
    return queue->freed || queue->grant != NULL || list_linked(&queue->to_visit) ||
           queue_is_read(queue);
}

/*
 * Once a turn, never while a command runs. Looks at a bounded number of queues, those unused
 * longest first; one that must stay loses its windows if the windows are too many, and is looked at
 * again after all others.
 */
void queues_shrink(struct core *core)
{
    for (uint32_t n = 0; n < TURN_EVICTIONS_MAX; n++) {
        const bool tasks = core->tasks.by_job.count > SHARD_TASKS_MAX;
        struct queue *queue = LIST_ENTRY(list_first(&core->queues.lru), struct queue, lru);
        if (queue == NULL || (!tasks && core->queues.by_ref.count <= SHARD_QUEUES_MAX)) {
            return;
        }
        list_remove(&queue->lru);
        list_push_back(&core->queues.lru, &queue->lru);
        if (queue_is_visited(queue)) {
            continue;
        }
        if (!queue_must_stay(queue)) {
            queue_free(core, queue);
            continue;
        }
        for (uint32_t i = 0; tasks && i < queue->line_count; i++) {
            line_forget(core, queue->lines[i]);
        }
    }
}
