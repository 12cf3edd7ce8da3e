/*
 * core/page.c - reading: pages into windows, low-water rows of groups, and info rows of the tasks
 * at the front.
 *
 * A page is what the store had when it was read; rows changed since then are recent changes of the
 * view. So a page row with a recent change is skipped, and afterwards every recent put that the
 * window covers and lacks is added.
 */
#include "base/assert.h"
#include "core/core_int.h"

void page_push(struct core_read *read, struct task *task)
{
    if (read->page_count == read->page_cap) {
        read->page_cap = read->page_cap != 0 ? read->page_cap * 2 : 64;
        read->page = xrealloc(read->page, read->page_cap * sizeof(struct task *));
    }
    read->page[read->page_count++] = task;
}

struct task *task_of_row(struct core *core, struct bytes value, const struct place *place)
{
    struct task_rec rec;
    if (!task_decode(value, &rec) || !job_ref_ok(rec.job_ref)) {
        core->corrupt_rows++;
        return NULL;
    }
    struct task *task = task_new(rec.job_ref, place, rec.attempt, rec.relative);
    if (rec.group.len != 0) {
        task->group_name = blob_new(rec.group);
    }
    if (rec.has_chain) {
        task->has_chain = true;
        task->task_id = rec.chain.task_id;
        task->passed = rec.chain.passed;
        task->rate_retries = rec.chain.rate_retries;
        task->rates_paid = rec.chain.rates_paid;
        task->rec = rec.chain.limit_count != 0 ? blob_new(value) : NULL;
    }
    return task;
}

void page_note_last(struct core_read *read, struct bytes key)
{
    if (read->last.len < key.len) {
        read->last = arena_copy(&read->arena, key);
    } else {
        memcpy((uint8_t *)(uintptr_t)read->last.ptr, key.ptr, key.len);
        read->last.len = key.len;
    }
}

/* --- ready rows --- */

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

/* --- info rows --- */

/* A token without its job cannot run: it goes, wherever it waits, with its slots. */
static void task_orphaned(struct core *core, const struct task *task)
{
    core->corrupt_rows++;
    const struct token from = token_of_task(task);
    token_move(core, task_ref(task), &from, &(struct token){.where = TOKEN_NONE});
}

static struct task *info_task(struct core *core, struct bytes key)
{
    return MAP_ENTRY(map_find(&core->tasks, bytes_of(key.ptr + 1, key.len - 1)), struct task,
                     by_job);
}

static void info_row(struct core *core, struct core_read *read, struct bytes key,
                     struct bytes value, bool present)
{
    (void)read;
    struct task *task = info_task(core, key);
    if (task == NULL || task->info != NULL) {
        return;
    }
    struct bytes recent;
    view_begin(&core->view);
    const enum view_answer answer = view_get(&core->view, key, &recent);
    if (answer != VIEW_UNKNOWN) {
        present = answer == VIEW_FOUND;
        value = recent;
    }
    struct info check;
    if (!present || !info_decode(value, &check)) {
        task_orphaned(core, task);
        return;
    }
    struct blob *blob = blob_new(value);
    task_set_info(core, task, blob);
    blob_unref(blob);
}

static void info_end(struct core *core, struct core_read *read, bool ok, bool more)
{
    (void)ok;
    (void)more;
    for (size_t i = 0; i < read->key_count; i++) {
        struct task *task = info_task(core, read->keys[i]);
        if (task != NULL) {
            task->info_wanted = false;
            if (task->group != NULL) {
                group_hot(core, task->group);
            }
        }
    }
}

void lane_want_infos(struct core *core, const struct lane *lane, uint32_t from, uint32_t ahead)
{
    const uint32_t end = lane->count - from < ahead ? lane->count : from + ahead;
    struct core_read *read = NULL;
    for (uint32_t i = from; i < end; i++) {
        struct task *task = lane_at(lane, i);
        if (task->info != NULL || task->info_wanted) {
            continue;
        }
        if (core->info_bytes > SHARD_INFO_BYTES_MAX && i - from >= ahead / 16) {
            break;
        }
        struct key key;
        key_by_ref(&key, TABLE_INFO, task_ref(task));
        struct row *recent = view_recent(&core->view, key_bytes(&key));
        if (recent != NULL && !recent->del) {
            task_set_info(core, task, recent->value);
            continue;
        }
        if (read == NULL) {
            read = read_new();
            read->keys = arena_alloc(&read->arena, ahead * sizeof read->keys[0]);
            read->on_row = info_row;
            read->on_end = info_end;
        }
        task->info_wanted = true;
        read->keys[read->key_count++] = arena_copy(&read->arena, key_bytes(&key));
    }
    if (read != NULL) {
        read_queue(core, read);
    }
}

/* --- timers --- */

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
