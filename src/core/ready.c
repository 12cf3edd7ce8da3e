/*
 * core/ready.c - tasks that are ready: in the windows of their groups, with pages read into them.
 *
 * A page is what the store had when it was read; rows changed since then are recent changes of the
 * view. So a page row with a recent change is skipped, and afterwards every recent put that the
 * window covers and lacks is added.
 */
#include "core/ready.h"

#include "base/assert.h"
#include "base/limits.h"
#include "core/group.h"
#include "core/info.h"
#include "core/low.h"
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
    if (task->info != NULL && core->info_bytes > SHARD_INFO_BYTES_MAX &&
        gl->window.count >= info_scarce(INFO_AHEAD)) {
        core->info_bytes -= task->info->len;
        task->info = blob_unref(task->info);
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

static size_t group_prefix_len(const struct group *group)
{
    struct key key;
    key_ready_group(&key, blob_bytes(group->name));
    return key.len;
}

static void ready_row(struct core *core, struct core_read *read, struct bytes key,
                      struct bytes value, bool present)
{
    (void)present;
    const struct group *group = read->context;
    struct place place;
    page_note_last(read, key);
    if (!key_ready_parse(key, core->order, group_prefix_len(group), &place)) {
        core->corrupt_rows++;
    } else if (view_recent(&core->view, key) == NULL) {
        struct task *task = task_of_row(core, value, &place);
        if (task != NULL) {
            page_push(read, task);
        }
    }
}

static void ready_merge_recent(struct core *core, struct group *group)
{
    const size_t prefix_len = group_prefix_len(group);
    struct key prefix;
    key_ready_group(&prefix, blob_bytes(group->name));
    for (struct list_node *n = list_first(&core->view.ready_rows); n != NULL;
         n = list_next(&core->view.ready_rows, n)) {
        const struct row *row = CONTAINER_OF(n, struct row, in_table);
        const struct bytes key = bytes_of(row->key, row->key_len);
        struct place place;
        if (row->del || !bytes_starts(key, key_bytes(&prefix)) ||
            !key_ready_parse(key, core->order, prefix_len, &place)) {
            continue;
        }
        const uint32_t lane = group_lane_of(core, &place);
        if (lane >= group->known) {
            continue;
        }
        const struct lane *window = &group_lane_get(group, lane)->window;
        if (!lane_covers(window, &place) || lane_find(window, &place) != NULL) {
            continue;
        }
        struct task *task = task_of_row(core, blob_bytes(row->value), &place);
        if (task != NULL) {
            task->batch = row->batch;
            group_add(core, group, task);
        }
    }
}

static void page_take(struct core *core, struct core_read *read, struct group *group)
{
    for (size_t i = 0; i < read->page_count; i++) {
        group_add(core, group, read->page[i]);
    }
    read->page_count = 0;
    ready_merge_recent(core, group);
    for (uint32_t i = 0; i < group->known; i++) {
        group_busy_update(core, group, i);
        if (group->lanes[i] != NULL && group->lanes[i]->window.count != 0) {
            lane_want_infos(core, &group->lanes[i]->window, 0, INFO_AHEAD);
        }
    }
}

static void page_failed(struct core *core, struct group *group)
{
    group->retry_mono_ms = core->mono_ms + READ_RETRY_MS;
}

static void group_page_end(struct core *core, struct core_read *read, bool ok, bool more)
{
    struct group *group = read->context;
    group->loading = false;
    struct place last;
    if (!ok ||
        (more && !key_ready_parse(read->last, core->order, group_prefix_len(group), &last))) {
        page_failed(core, group);
    } else {
        group->known = read->lanes_until;
        if (more) {
            const uint32_t lane = group_lane_of(core, &last);
            struct lane *window = &group_lane_get(group, lane)->window;
            window->bounded = true;
            window->mark = last;
            group->known = lane + 1;
        }
        page_take(core, read, group);
    }
    group_hot(core, group);
}

static void low_row(struct core *core, struct core_read *read, struct bytes key, struct bytes value,
                    bool present)
{
    struct group *group = read->context;
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
    struct group *group = read->context;
    group->loading = false;
    if (!ok) {
        page_failed(core, group);
    }
    group_hot(core, group);
}

static void load_low(struct core *core, struct group *group)
{
    struct key key;
    key_low_ready(&key, blob_bytes(group->name), 0);
    struct core_read *read = read_new();
    read->keys = arena_alloc(&read->arena, sizeof read->keys[0]);
    read->keys[0] = arena_copy(&read->arena, key_bytes(&key));
    read->key_count = 1;
    read->on_row = low_row;
    read->on_end = low_end;
    read->context = group;
    group->loading = true;
    read_queue(core, read);
}

static bool load_allowed(const struct core *core, const struct group *group)
{
    return !group->loading && core->mono_ms >= group->retry_mono_ms;
}

static struct core_read *ready_scan(struct core *core, struct group *group, const struct key *lo,
                                    const struct key *hi)
{
    struct core_read *read = read_new();
    read->scan = true;
    read->lo = arena_copy(&read->arena, key_bytes(lo));
    read->hi = arena_copy(&read->arena, key_bytes(hi));
    read->on_row = ready_row;
    read->context = group;
    group->loading = true;
    read_queue(core, read);
    return read;
}

void page_load_group(struct core *core, struct group *group)
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
    if (until < core->lane_count) {
        key_ready_lane(&hi, core->order, blob_bytes(group->name), (uint8_t)until);
    } else {
        key_ready_group(&hi, blob_bytes(group->name));
        ASSERT(key_after_prefix(&hi));
    }
    struct core_read *read = ready_scan(core, group, &lo, &hi);
    read->on_end = group_page_end;
    read->rows_max = PAGE_ROWS_MAX;
    read->lanes_until = until;
}

static void lane_page_end(struct core *core, struct core_read *read, bool ok, bool more)
{
    struct group *group = read->context;
    group->loading = false;
    struct lane *window = &group->lanes[read->lanes_until]->window;
    struct place last;
    if (!ok ||
        (more && !key_ready_parse(read->last, core->order, group_prefix_len(group), &last))) {
        page_failed(core, group);
    } else if (window->bounded && place_cmp(window->by_priority, &window->mark, &read->mark) == 0) {
        window->bounded = more;
        if (more) {
            window->mark = last;
        }
        page_take(core, read, group);
    } /* else the mark was lowered meanwhile: the page does not follow it any more */
    group_hot(core, group);
}

void page_load_lane(struct core *core, struct group *group, uint32_t lane)
{
    if (!load_allowed(core, group)) {
        return;
    }
    const struct lane *window = &group->lanes[lane]->window;
    struct key lo;
    key_ready(&lo, core->order, blob_bytes(group->name), &window->mark);
    key_successor(&lo);
    struct key hi;
    key_ready_lane(&hi, core->order, blob_bytes(group->name), (uint8_t)lane);
    ASSERT(key_after_prefix(&hi));
    struct core_read *read = ready_scan(core, group, &lo, &hi);
    read->on_end = lane_page_end;
    read->rows_max = LANE_TASKS_MAX - window->count;
    read->mark = window->mark;
    read->lanes_until = lane;
}
