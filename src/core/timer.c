/*
 * core/timer.c - the window over the timer rows, with pages (core/page.h) read into it.
 */
#include "core/timer.h"

#include "base/assert.h"
#include "base/limits.h"
#include "core/low.h"
#include "core/page.h"
#include "core/state.h"
#include "core/task.h"

void timers_init(struct core *core)
{
    lane_init(&core->timers.window, false);
}

void timers_free(struct core *core)
{
    for (uint32_t i = 0; i < core->timers.window.count; i++) {
        task_discard(core, lane_at(&core->timers.window, i));
    }
    lane_deinit(&core->timers.window);
}

void timer_add(struct core *core, struct task *task)
{
    const struct low *low = &core->timers.low;
    if (task->batch == core->view.open && low->has &&
        place_cmp(false, &task->place, &low->place) < 0) {
        core->timers.low.place = task->place;
        low_write_timers(core);
    }
    if (!core->timers.known || !lane_covers(&core->timers.window, &task->place)) {
        task_free_loose(core, task);
        return;
    }
    task_drop_info(core, task); /* read again when it is due: the wait may be long */
    task_index(core, task);
    struct task *dropped = lane_insert(&core->timers.window, task);
    if (dropped != NULL) {
        task_discard(core, dropped);
    }
}

void timer_drop(struct core *core, const struct place *place)
{
    struct task *task = core->timers.known ? lane_find(&core->timers.window, place) : NULL;
    if (task == NULL) {
        return;
    }
    lane_remove(&core->timers.window, task);
    task_discard(core, task);
    low_removed(&core->timers.window, &core->timers.low, place);
    if (core->timers.removals++ == 0) {
        core->timers.dirty_mono_ms = core->mono_ms > 0 ? core->mono_ms : 1;
    }
}

/* --- pages --- */

static void timer_page_end(struct core *core, struct core_read *read, bool ok, bool more)
{
    struct task_page *page = CONTAINER_OF(read, struct task_page, page.read);
    struct lane *window = &core->timers.window;
    struct place place;
    core->timers.loading = false;
    if (!task_page_ok(core, page, ok, more, &place)) {
        core->timers.retry_mono_ms = core->mono_ms + READ_RETRY_MS;
    } else if (!core->timers.known || task_page_follows(page, window)) {
        struct task *task = NULL;
        const struct row *row = NULL;
        core->timers.known = true;
        task_page_extend(window, more, &place);
        while ((task = task_page_next(page)) != NULL) {
            timer_add(core, task);
        }
        while ((row = task_page_recent(core, page, row, &place)) != NULL) {
            task = task_page_missing(core, window, row, &place);
            if (task != NULL) {
                timer_add(core, task);
            }
        }
    }
    task_page_end(page);
}

void timer_load(struct core *core)
{
    if (core->timers.loading || core->mono_ms < core->timers.retry_mono_ms) {
        return;
    }
    struct key lo;
    struct key hi;
    key_table(&hi, TABLE_TIMER);
    if (core->timers.known) {
        key_timer(&lo, &core->timers.window.mark);
        key_successor(&lo);
    } else if (core->timers.low.has) {
        key_timer(&lo, &core->timers.low.place);
    } else {
        lo = hi;
    }
    struct task_page *page =
        task_page_new(sizeof *page, TABLE_TIMER, key_bytes(&hi), &core->timers.window.mark);
    ASSERT(key_after_prefix(&hi));
    page->page.read.on_end = timer_page_end;
    core->timers.loading = true;
    page_start(core, &page->page, &lo, &hi, LANE_TASKS_MAX - core->timers.window.count);
}
