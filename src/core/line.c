/*
 * core/line.c - windows over the waiter rows of each line, with pages (core/page.h) read into
 * them.
 */
#include "core/line.h"

#include "base/assert.h"
#include "base/limits.h"
#include "core/floating.h"
#include "core/info.h"
#include "core/low.h"
#include "core/page.h"
#include "core/queue.h"
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
    const uint32_t ahead = core->tasks.info_bytes > SHARD_INFO_BYTES_MAX
                               ? info_scarce(LINE_INFO_AHEAD)
                               : LINE_INFO_AHEAD;
    if (task->info != NULL && line->window.count >= ahead) {
        task_drop_info(core, task);
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

struct line_page {
    struct task_page tasks;
    struct line *line;
};

static void line_take(struct core *core, struct line *line, struct task_page *page)
{
    struct task *task = NULL;
    while ((task = task_page_next(page)) != NULL) {
        line_add(core, line, task);
    }
    struct place place;
    const struct row *row = NULL;
    while ((row = task_page_recent(core, page, row, &place)) != NULL) {
        task = task_page_missing(core, &line->window, row, &place);
        if (task != NULL) {
            line_add(core, line, task);
        }
    }
    floating_update(core, line->queue); /* a refresh may have waited for its best waiter */
    lane_want_infos(core, &line->window, 0, LINE_INFO_AHEAD);
}

static void line_page_end(struct core *core, struct core_read *read, bool ok, bool more)
{
    struct line_page *page = CONTAINER_OF(read, struct line_page, tasks.page.read);
    struct line *line = page->line;
    struct place last;
    line->loading = false;
    queue_visit_later(core, line->queue);
    if (!task_page_ok(core, &page->tasks, ok, more, &last)) {
        line->queue->retry_mono_ms = core->mono_ms + READ_RETRY_MS;
    } else if (!line->known || task_page_follows(&page->tasks, &line->window)) {
        line->known = true;
        task_page_extend(&line->window, more, &last);
        line_take(core, line, &page->tasks);
    }
    task_page_end(&page->tasks);
}

static void line_load(struct core *core, struct line *line)
{
    if (line->loading || core->mono_ms < line->queue->retry_mono_ms) {
        return;
    }
    struct key lo;
    struct key hi;
    key_waiter_line(&hi, queue_ref(line->queue), line->id);
    if (line->known) {
        key_waiter(&lo, core->order, queue_ref(line->queue), line->id, &line->window.mark);
        key_successor(&lo);
    } else if (line->low.has) {
        key_waiter(&lo, core->order, queue_ref(line->queue), line->id, &line->low.place);
    } else {
        lo = hi;
    }
    struct line_page *page =
        task_page_new(sizeof *page, TABLE_WAITER, key_bytes(&hi), &line->window.mark);
    ASSERT(key_after_prefix(&hi));
    page->line = line;
    page->tasks.page.read.on_end = line_page_end;
    line->loading = true;
    page_start(core, &page->tasks.page, &lo, &hi,
               line->known ? LANE_TASKS_MAX - line->window.count : PAGE_ROWS_MAX);
}

enum line_front line_front(struct core *core, struct line *line, struct task **ret_task)
{
    if (line->count == 0) {
        return LINE_FRONT_NONE;
    }
    if (!line->known || lane_wants_page(&line->window, LANE_TASKS_MAX)) {
        line_load(core, line);
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
