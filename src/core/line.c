/*
 * core/line.c - windows over the waiter rows of each line, with pages read into them as for ready
 * lanes (core/ready.c).
 */
#include "core/line.h"

#include "base/assert.h"
#include "base/limits.h"
#include "core/floating.h"
#include "core/info.h"
#include "core/low.h"
#include "core/queue.h"
#include "core/read.h"
#include "core/run.h"
#include "core/state.h"
#include "core/task.h"
#include "core/throttle.h"

struct line *line_get(struct core *core, struct queue *queue, struct line_id id)
{
    ASSERT(queue->known);
    struct line *line = line_find(queue, id);
    if (line != NULL) {
        return line;
    }
    line = xcalloc(1, sizeof *line);
    *line = (struct line){.queue = queue, .id = id, .known = true}; /* nobody stands in it */
    lane_init(&line->window, core->order == ORDER_PRIORITY);
    queue->lines = xrealloc(queue->lines, (queue->line_count + 1) * sizeof queue->lines[0]);
    queue->lines[queue->line_count++] = line;
    return line;
}

void line_forget(struct core *core, struct line *line)
{
    for (uint32_t i = 0; i < line->window.count; i++) {
        task_discard(core, lane_at(&line->window, i));
    }
    line->window.count = 0;
    line->window.head = 0;
    line->window.bounded = false;
    line->known = line->count == 0;
}

static void line_add(struct core *core, struct line *line, struct task *task)
{
    if (!line->known || !lane_covers(&line->window, &task->place)) {
        task_free_loose(core, task);
        return;
    }
    const uint32_t ahead =
        core->info_bytes > SHARD_INFO_BYTES_MAX ? info_scarce(LINE_INFO_AHEAD) : LINE_INFO_AHEAD;
    if (task->info != NULL && line->window.count >= ahead) {
        core->info_bytes -= task->info->len;
        task->info = blob_unref(task->info);
    }
    task->line = line;
    task_index(core, task);
    struct task *dropped = lane_insert(&line->window, task);
    if (dropped != NULL) {
        task_discard(core, dropped);
    }
}

static void line_counted(struct core *core, const struct line *line)
{
    queue_changed(core, line->queue);
    if (line->id.floating) {
        floating_update(core, line->queue);
    }
    if (line->queue->throttle != NULL) {
        throttle_counted(core, line->queue->throttle, line->count);
    }
}

void line_insert(struct core *core, struct queue *queue, struct line_id id, struct task *task)
{
    struct line *line = line_get(core, queue, id);
    line->count++;
    if (!line->low.has || waits_before(core, &task->place, &line->low.place)) {
        line->low.has = true;
        line->low.place = task->place;
    }
    line_add(core, line, task);
    line_counted(core, line);
    if (queue->throttle != NULL) {
        throttle_changed(core, queue->throttle);
    }
}

/* Out of the window, if it is in it. */
static void line_drop(struct core *core, struct line *line, const struct place *place)
{
    struct task *task = line->known ? lane_find(&line->window, place) : NULL;
    low_removed(&line->window, &line->low, place);
    if (task == NULL) {
        return;
    }
    lane_remove(&line->window, task);
    task_discard(core, task);
    if (line->window.count > LINE_INFO_AHEAD / 2) {
        const struct task *ahead = lane_at(&line->window, LINE_INFO_AHEAD / 2);
        if (ahead->info == NULL && !ahead->info_wanted) {
            lane_want_infos(core, &line->window, 0, LINE_INFO_AHEAD);
        }
    }
}

void line_remove(struct core *core, struct queue *queue, struct line_id id,
                 const struct place *place)
{
    struct line *line = line_find(queue, id);
    if (line == NULL || line->count == 0) { /* counts come from storage */
        core_break(core, "a queue's record counts fewer waiters than there are");
        return;
    }
    line->count--;
    line_counted(core, line);
    line_drop(core, line, place);
    if (queue->throttle != NULL) {
        throttle_changed(core, queue->throttle);
    }
}

/* --- pages --- */

static size_t line_prefix(const struct line *line, struct key *key)
{
    key_waiter_line(key, queue_ref(line->queue), line->id);
    return key->len;
}

static void page_row(struct core *core, struct core_read *read, struct bytes key,
                     struct bytes value, bool present)
{
    (void)present;
    struct key prefix;
    struct place place;
    page_note_last(read, key);
    if (!key_waiter_parse(key, core->order, line_prefix(read->context, &prefix), &place)) {
        core->corrupt_rows++;
    } else if (view_recent(&core->view, key) == NULL) {
        struct task *task = task_of_row(core, value, &place);
        if (task != NULL) {
            page_push(read, task);
        }
    }
}

static void page_merge_recent(struct core *core, struct line *line)
{
    struct key prefix;
    const size_t prefix_len = line_prefix(line, &prefix);
    for (struct list_node *n = list_first(&core->view.waiter_rows); n != NULL;
         n = list_next(&core->view.waiter_rows, n)) {
        const struct row *row = CONTAINER_OF(n, struct row, in_table);
        const struct bytes key = bytes_of(row->key, row->key_len);
        struct place place;
        if (row->del || !bytes_starts(key, key_bytes(&prefix)) ||
            !key_waiter_parse(key, core->order, prefix_len, &place) ||
            !lane_covers(&line->window, &place) || lane_find(&line->window, &place) != NULL) {
            continue;
        }
        struct task *task = task_of_row(core, blob_bytes(row->value), &place);
        if (task != NULL) {
            task->batch = row->batch;
            line_add(core, line, task);
        }
    }
}

static void page_end(struct core *core, struct core_read *read, bool ok, bool more)
{
    struct line *line = read->context;
    line->loading = false;
    queue_dirty(core, line->queue);
    struct key prefix;
    struct place last;
    const bool follows =
        !line->known || (line->window.bounded &&
                         place_cmp(line->window.by_priority, &line->window.mark, &read->mark) == 0);
    if (!ok ||
        (more && !key_waiter_parse(read->last, core->order, line_prefix(line, &prefix), &last))) {
        line->queue->retry_mono_ms = core->mono_ms + READ_RETRY_MS;
        return;
    }
    if (!follows) {
        return; /* the mark was lowered meanwhile */
    }
    line->known = true;
    line->window.bounded = more;
    if (more) {
        line->window.mark = last;
    }
    for (size_t i = 0; i < read->page_count; i++) {
        line_add(core, line, read->page[i]);
    }
    read->page_count = 0;
    page_merge_recent(core, line);
    floating_update(core, line->queue); /* a refresh may have waited for its best waiter */
    lane_want_infos(core, &line->window, 0, LINE_INFO_AHEAD);
}

static void page_load_line(struct core *core, struct line *line)
{
    if (line->loading || core->mono_ms < line->queue->retry_mono_ms) {
        return;
    }
    struct key lo;
    struct key hi;
    (void)line_prefix(line, &hi);
    if (line->known) {
        key_waiter(&lo, core->order, queue_ref(line->queue), line->id, &line->window.mark);
        key_successor(&lo);
    } else if (line->low.has) {
        key_waiter(&lo, core->order, queue_ref(line->queue), line->id, &line->low.place);
    } else {
        lo = hi;
    }
    ASSERT(key_after_prefix(&hi));
    struct core_read *read = read_new();
    read->scan = true;
    read->lo = arena_copy(&read->arena, key_bytes(&lo));
    read->hi = arena_copy(&read->arena, key_bytes(&hi));
    read->rows_max = line->known ? LANE_TASKS_MAX - line->window.count : PAGE_ROWS_MAX;
    read->mark = line->window.mark;
    read->on_row = page_row;
    read->on_end = page_end;
    read->context = line;
    line->loading = true;
    read_queue(core, read);
}

enum line_front line_front(struct core *core, struct line *line, struct task **ret_task)
{
    if (line->count == 0) {
        return LINE_FRONT_NONE;
    }
    if (!line->known || lane_wants_page(&line->window, LANE_TASKS_MAX)) {
        page_load_line(core, line);
    }
    if (!line->known || (line->window.count == 0 && line->window.bounded)) {
        return LINE_FRONT_LOADING;
    }
    if (line->window.count == 0) {
        return LINE_FRONT_NONE; /* what is counted beyond was unreadable */
    }
    *ret_task = lane_at(&line->window, 0);
    return LINE_FRONT_TASK;
}
