/*
 * core/ready.c - tasks that are ready: in the windows of their groups, with pages (core/page.h)
 * read into them.
 */
#include "core/ready.h"

#include "base/assert.h"
#include "base/limits.h"
#include "core/group.h"
#include "core/info.h"
#include "core/low.h"
#include "core/page.h"
#include "core/read.h"
#include "core/state.h"
#include "core/task.h"

void group_add(struct core *core, struct group *group, struct task *task)
{
    const uint32_t lane = group_lane_of(core, &task->place);
    struct group_lane *gl = lane < group->known ? group_lane_get(group, lane) : NULL;
    if (gl == NULL || !lane_covers(&gl->window, &task->place)) {
        task_free_loose(core, task);
        group_hot(core, group); /* a parked poll has it read */
        return;
    }
    if (core->tasks.info_bytes > SHARD_INFO_BYTES_MAX &&
        gl->window.count >= info_scarce(INFO_AHEAD)) {
        task_drop_info(core, task);
    }
    task->group = group;
    task_index(core, task);
    struct task *dropped = lane_insert(&gl->window, task);
    if (dropped != NULL) {
        task_discard(core, dropped);
    }
    group_busy_update(core, group, lane);
    group_hot(core, group);
}

void group_drop(struct core *core, struct bytes name, const struct place *place)
{
    struct group *group = group_find(core, name);
    const uint32_t lane = group_lane_of(core, place);
    struct group_lane *gl = group != NULL ? group->lanes[lane] : NULL;
    struct task *task = gl != NULL && lane < group->known ? lane_find(&gl->window, place) : NULL;
    if (task == NULL) {
        return;
    }
    low_note_remove(core, group, gl, place); /* may look at the window: before the task goes */
    if (task->info_wanted) {
        group_hot(core, group); /* polls waited for its info row; those behind it may be ready */
    }
    lane_remove(&gl->window, task);
    task_discard(core, task);
    group_busy_update(core, group, lane);
    if (gl->window.count > INFO_AHEAD / 2) {
        const struct task *ahead = lane_at(&gl->window, INFO_AHEAD / 2);
        if (ahead->info == NULL && !ahead->info_wanted) {
            lane_want_infos(core, &gl->window, 0, INFO_AHEAD);
        }
    }
}

/* --- pages --- */

/* Lanes that are not known, up to one. */
struct group_page {
    struct task_page tasks;
    struct group *group;
    uint32_t lanes_until;
};

/* What follows the window of one. */
struct lane_page {
    struct task_page tasks;
    struct group *group;
    uint32_t lane;
};

static void ready_recent(struct core *core, struct group *group, const struct task_page *page)
{
    struct place place;
    const struct row *row = NULL;
    while ((row = task_page_recent(core, page, row, &place)) != NULL) {
        const uint32_t lane = group_lane_of(core, &place);
        if (lane >= group->known) {
            continue;
        }
        struct task *task =
            task_page_missing(core, &group_lane_get(group, lane)->window, row, &place);
        if (task != NULL) {
            group_add(core, group, task);
        }
    }
}

static void ready_take(struct core *core, struct group *group, struct task_page *page)
{
    struct task *task = NULL;
    while ((task = task_page_next(page)) != NULL) {
        group_add(core, group, task);
    }
    ready_recent(core, group, page);
    for (uint32_t i = 0; i < group->known; i++) {
        group_busy_update(core, group, i);
        if (group->lanes[i] != NULL && group->lanes[i]->window.count != 0) {
            lane_want_infos(core, &group->lanes[i]->window, 0, INFO_AHEAD);
        }
    }
}

static void ready_failed(struct core *core, struct group *group)
{
    group->retry_mono_ms = core->mono_ms + READ_RETRY_MS;
}

static void group_page_end(struct core *core, struct core_read *read, bool ok, bool more)
{
    struct group_page *page = CONTAINER_OF(read, struct group_page, tasks.page.read);
    struct group *group = page->group;
    group->loading = false;
    struct place last;
    if (!task_page_ok(core, &page->tasks, ok, more, &last)) {
        ready_failed(core, group);
    } else {
        group->known = page->lanes_until;
        if (more) {
            const uint32_t lane = group_lane_of(core, &last);
            task_page_extend(&group_lane_get(group, lane)->window, true, &last);
            group->known = lane + 1;
        }
        ready_take(core, group, &page->tasks);
    }
    task_page_end(&page->tasks);
    group_hot(core, group);
}

/* The low-water row of a group. */
struct low_read {
    struct core_read read;
    struct group *group;
};

static void low_row(struct core *core, struct core_read *read, struct bytes key, struct bytes value,
                    bool present)
{
    struct group *group = CONTAINER_OF(read, struct low_read, read)->group;
    if (!group->low_known) {
        struct bytes recent = BYTES_NONE;
        const struct row *row = view_recent(&core->view, key);
        if (row != NULL) {
            present = !row->del;
            recent = blob_bytes(row->value);
        }
        low_group_decode(core, group, present, row != NULL ? recent : value);
    }
}

static void low_end(struct core *core, struct core_read *read, bool ok, bool more)
{
    (void)more;
    struct group *group = CONTAINER_OF(read, struct low_read, read)->group;
    group->loading = false;
    if (!ok) {
        ready_failed(core, group);
    }
    group_hot(core, group);
}

static void load_low(struct core *core, struct group *group)
{
    struct key key;
    key_low_ready(&key, blob_bytes(group->name), 0);
    struct low_read *read = read_new(sizeof *read);
    read_look_up(&read->read, 1);
    read_want(&read->read, key_bytes(&key));
    read->group = group;
    read->read.on_row = low_row;
    read->read.on_end = low_end;
    group->loading = true;
    read_queue(core, &read->read);
}

static bool load_allowed(const struct core *core, const struct group *group)
{
    return !group->loading && core->mono_ms >= group->retry_mono_ms;
}

void ready_load_group(struct core *core, struct group *group)
{
    if (!load_allowed(core, group)) {
        return;
    }
    if (!group->low_known) {
        load_low(core, group);
        return;
    }
    /* From the low-water mark of the first unknown lane up to the next lane that has one. */
    const struct group_lane *first = group->lanes[group->known];
    struct key lo;
    if (first != NULL && first->low.has) {
        key_ready(&lo, core->order, blob_bytes(group->name), &first->low.place);
    } else {
        key_ready_lane(&lo, core->order, blob_bytes(group->name), (uint8_t)group->known);
    }
    uint32_t until = group->known + 1;
    while (until < core->lane_count &&
           !(group->lanes[until] != NULL && group->lanes[until]->low.has)) {
        until++;
    }
    struct key hi;
    key_ready_group(&hi, blob_bytes(group->name));
    struct group_page *page =
        task_page_new(sizeof *page, TABLE_READY, key_bytes(&hi), &(struct place){0});
    if (until < core->lane_count) {
        key_ready_lane(&hi, core->order, blob_bytes(group->name), (uint8_t)until);
    } else {
        ASSERT(key_after_prefix(&hi));
    }
    page->group = group;
    page->lanes_until = until;
    page->tasks.page.read.on_end = group_page_end;
    group->loading = true;
    page_start(core, &page->tasks.page, &lo, &hi, PAGE_ROWS_MAX);
}

static void lane_page_end(struct core *core, struct core_read *read, bool ok, bool more)
{
    struct lane_page *page = CONTAINER_OF(read, struct lane_page, tasks.page.read);
    struct group *group = page->group;
    group->loading = false;
    struct lane *window = &group->lanes[page->lane]->window;
    struct place last;
    if (!task_page_ok(core, &page->tasks, ok, more, &last)) {
        ready_failed(core, group);
    } else if (task_page_follows(&page->tasks, window)) {
        task_page_extend(window, more, &last);
        ready_take(core, group, &page->tasks);
    }
    task_page_end(&page->tasks);
    group_hot(core, group);
}

void ready_load_lane(struct core *core, struct group *group, uint32_t lane)
{
    if (!load_allowed(core, group)) {
        return;
    }
    const struct lane *window = &group->lanes[lane]->window;
    struct key lo;
    key_ready(&lo, core->order, blob_bytes(group->name), &window->mark);
    key_successor(&lo);
    struct key hi;
    key_ready_group(&hi, blob_bytes(group->name));
    struct lane_page *page =
        task_page_new(sizeof *page, TABLE_READY, key_bytes(&hi), &window->mark);
    key_ready_lane(&hi, core->order, blob_bytes(group->name), (uint8_t)lane);
    ASSERT(key_after_prefix(&hi));
    page->group = group;
    page->lane = lane;
    page->tasks.page.read.on_end = lane_page_end;
    group->loading = true;
    page_start(core, &page->tasks.page, &lo, &hi, LANE_TASKS_MAX - window->count);
}
