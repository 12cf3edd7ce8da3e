/*
 * core/timer.c - the window over the timer rows, with pages read into it as for ready lanes
 * (core/ready.c).
 */
#include "core/timer.h"

#include "base/assert.h"
#include "base/limits.h"
#include "core/low.h"
#include "core/read.h"
#include "core/state.h"
#include "core/task.h"

void timer_add(struct core *core, struct task *task)
{
    const struct low *low = &core->timer_low;
    if (task->batch == core->view.open && low->has &&
        place_cmp(false, &task->place, &low->place) < 0) {
        core->timer_low.place = task->place;
        low_write_timers(core);
    }
    if (!core->timers_known || !lane_covers(&core->timers, &task->place)) {
        if (task->info != NULL) {
            core->info_bytes -= task->info->len;
        }
        task_free(task);
        return;
    }
    if (task->info != NULL) { /* read again when it is due: the wait may be long */
        core->info_bytes -= task->info->len;
        task->info = blob_unref(task->info);
    }
    task_index(core, task);
    struct task *dropped = lane_insert(&core->timers, task);
    if (dropped != NULL) {
        task_discard(core, dropped);
    }
}

void timer_drop(struct core *core, const struct place *place)
{
    struct task *task = core->timers_known ? lane_find(&core->timers, place) : NULL;
    if (task == NULL) {
        return;
    }
    lane_remove(&core->timers, task);
    task_discard(core, task);
    low_removed(&core->timers, &core->timer_low, place);
    if (core->timer_removals++ == 0) {
        core->timer_dirty_mono_ms = core->mono_ms > 0 ? core->mono_ms : 1;
    }
}

/* --- pages --- */

static void timer_row(struct core *core, struct core_read *read, struct bytes key,
                      struct bytes value, bool present)
{
    (void)present;
    struct place place;
    page_note_last(read, key);
    if (!key_timer_parse(key, &place)) {
        core->corrupt_rows++;
    } else if (view_recent(&core->view, key) == NULL) {
        struct task *task = task_of_row(core, value, &place);
        if (task != NULL) {
            page_push(read, task);
        }
    }
}

static void timer_merge_recent(struct core *core)
{
    for (struct list_node *n = list_first(&core->view.timer_rows); n != NULL;
         n = list_next(&core->view.timer_rows, n)) {
        const struct row *row = CONTAINER_OF(n, struct row, in_table);
        struct place place;
        if (row->del || !key_timer_parse(bytes_of(row->key, row->key_len), &place) ||
            !lane_covers(&core->timers, &place) || lane_find(&core->timers, &place) != NULL) {
            continue;
        }
        struct task *task = task_of_row(core, blob_bytes(row->value), &place);
        if (task != NULL) {
            task->batch = row->batch;
            timer_add(core, task);
        }
    }
}

static void timer_end(struct core *core, struct core_read *read, bool ok, bool more)
{
    core->timers_loading = false;
    struct place last;
    const bool follows =
        !core->timers_known ||
        (core->timers.bounded && place_cmp(false, &core->timers.mark, &read->mark) == 0);
    if (!ok || (more && !key_timer_parse(read->last, &last))) {
        core->timers_retry_mono_ms = core->mono_ms + READ_RETRY_MS;
        return;
    }
    if (!follows) {
        return;
    }
    core->timers_known = true;
    core->timers.bounded = more;
    if (more) {
        core->timers.mark = last;
    }
    for (size_t i = 0; i < read->page_count; i++) {
        timer_add(core, read->page[i]);
    }
    read->page_count = 0;
    timer_merge_recent(core);
}

void page_load_timers(struct core *core)
{
    if (core->timers_loading || core->mono_ms < core->timers_retry_mono_ms) {
        return;
    }
    struct key lo;
    struct key hi;
    if (core->timers_known) {
        key_timer(&lo, &core->timers.mark);
        key_successor(&lo);
    } else if (core->timer_low.has) {
        key_timer(&lo, &core->timer_low.place);
    } else {
        key_table(&lo, TABLE_TIMER);
    }
    key_table(&hi, TABLE_TIMER);
    ASSERT(key_after_prefix(&hi));
    struct core_read *read = read_new();
    read->scan = true;
    read->lo = arena_copy(&read->arena, key_bytes(&lo));
    read->hi = arena_copy(&read->arena, key_bytes(&hi));
    read->rows_max = LANE_TASKS_MAX - core->timers.count;
    read->mark = core->timers.mark;
    read->on_row = timer_row;
    read->on_end = timer_end;
    core->timers_loading = true;
    read_queue(core, read);
}
