/*
 * core/group.c - task groups and the windows over their ready lanes.
 *
 * 1. Lanes below group->known are known: their windows hold exactly the live rows up to their
 *    marks. The others are unknown: inserts go to storage alone.
 * 2. A task is on offer only once its info row is loaded.
 * 3. A worse lane is used only when every better one is known to be empty.
 * 4. The group unused longest loses its windows first; groups with polls or reads on their way
 *    stay. One with throttles (throttle.h) stays without its windows.
 * 5. Throttles of the group are asked where their first tokens stand in the order of all: before
 *    the tasks behind them.
 */
#include "base/assert.h"
#include "core/core_int.h"

struct group *group_find(struct core *core, struct bytes name)
{
    return MAP_ENTRY(map_find(&core->groups, name), struct group, node);
}

/* Nothing is known of its lanes any more. */
static void group_forget_lanes(struct core *core, struct group *group)
{
    for (uint32_t i = 0; i < LANES_MAX; i++) {
        struct group_lane *gl = group->lanes[i];
        if (gl == NULL) {
            continue;
        }
        for (uint32_t t = 0; t < gl->window.count; t++) {
            task_discard(core, lane_at(&gl->window, t));
        }
        lane_deinit(&gl->window);
        free(gl);
        group->lanes[i] = NULL;
    }
    list_remove(&group->dirty);
    memset(group->busy, 0, sizeof group->busy);
    group->known = 0;
    group->low_known = false;
    group->removals = 0;
}

static void group_forget(struct core *core, struct group *group)
{
    const int64_t polled_ms = group_polled_ms(core, blob_bytes(group->name));
    if (polled_ms > core->polls_seen_from_ms) {
        core->polls_seen_from_ms = polled_ms; /* of polls before it nothing is known for sure */
    }
    group_forget_lanes(core, group);
    heap_deinit(&group->turns);
    map_remove(&core->groups, &group->node);
    list_remove(&group->lru);
    list_remove(&group->hot);
    blob_unref(group->name);
    free(group);
}

/* Once a turn, never while a command runs: what it has found known must stay so. */
void groups_shrink(struct core *core)
{
    struct list_node *next = NULL;
    for (struct list_node *n = list_first(&core->group_lru);
         n != NULL &&
         (core->groups.count > SHARD_GROUPS_MAX || core->tasks.count > SHARD_TASKS_MAX);
         n = next) {
        next = list_next(&core->group_lru, n);
        struct group *group = CONTAINER_OF(n, struct group, lru);
        if (list_empty(&group->polls) && list_empty(&group->refreshes) && !group->loading &&
            group->checks == 0) {
            if (list_empty(&group->throttles)) {
                group_forget(core, group);
            } else {
                group_forget_lanes(core, group);
            }
        }
    }
}

struct group *group_get(struct core *core, struct bytes name)
{
    struct group *group = group_find(core, name);
    if (group != NULL) {
        list_remove(&group->lru);
        list_push_back(&core->group_lru, &group->lru);
        return group;
    }
    group = xcalloc(1, sizeof *group);
    group->name = blob_new(name);
    list_init(&group->polls);
    list_init(&group->refreshes);
    list_init(&group->throttles);
    heap_init(&group->turns);
    map_insert(&core->groups, &group->node, blob_bytes(group->name));
    list_push_back(&core->group_lru, &group->lru);
    return group;
}

void groups_free(struct core *core)
{
    for (struct map_node *n = map_next(&core->groups, NULL); n != NULL;
         n = map_next(&core->groups, NULL)) {
        group_forget(core, CONTAINER_OF(n, struct group, node));
    }
    map_deinit(&core->groups);
}

bool group_low_ready(struct core *core, struct group *group, struct command *cmd)
{
    if (group->low_known) {
        return true;
    }
    struct key key;
    key_low_ready(&key, blob_bytes(group->name), 0);
    struct bytes value = BYTES_NONE;
    const enum view_answer answer = look(core, cmd, key_bytes(&key), &value);
    if (answer == VIEW_UNKNOWN) {
        return false;
    }
    low_group_decode(core, group, answer == VIEW_FOUND, value);
    return true;
}

uint32_t group_lane_of(const struct core *core, const struct place *place)
{
    return core->order == ORDER_PRIORITY ? place->priority : 0;
}

struct group_lane *group_lane_get(struct group *group, uint32_t lane)
{
    ASSERT(lane < LANES_MAX);
    if (group->lanes[lane] == NULL) {
        group->lanes[lane] = xcalloc(1, sizeof *group->lanes[lane]);
        /* A lane has one priority, or (order "start") due time goes first. */
        lane_init(&group->lanes[lane]->window, false);
    }
    return group->lanes[lane];
}

void group_busy_update(struct core *core, struct group *group, uint32_t lane)
{
    (void)core;
    const struct group_lane *gl = group->lanes[lane];
    const uint64_t bit = (uint64_t)1 << (lane % 64);
    if (lane < group->known && gl != NULL && (gl->window.count != 0 || gl->window.bounded)) {
        group->busy[lane / 64] |= bit;
    } else {
        group->busy[lane / 64] &= ~bit;
    }
}

void group_hot(struct core *core, struct group *group)
{
    if (!list_linked(&group->hot) && !list_empty(&group->polls)) {
        list_push_back(&core->hot_groups, &group->hot);
    }
}

void group_polled(struct core *core, struct group *group)
{
    group->polled_until_mono_ms = core->mono_ms + GROUP_POLLED_MS;
}

bool group_has_workers(const struct core *core, struct bytes name)
{
    const struct group *group = MAP_ENTRY(map_find(&core->groups, name), struct group, node);
    return group != NULL &&
           (!list_empty(&group->polls) || core->mono_ms < group->polled_until_mono_ms);
}

int64_t group_polled_ms(const struct core *core, struct bytes name)
{
    const struct group *group = MAP_ENTRY(map_find(&core->groups, name), struct group, node);
    if (group == NULL || (list_empty(&group->polls) && group->polled_until_mono_ms == 0)) {
        return 0;
    }
    const int64_t ago_ms = core->mono_ms - (group->polled_until_mono_ms - GROUP_POLLED_MS);
    return core->wall_ms - (list_empty(&group->polls) ? ago_ms : 0);
}

void groups_hot(struct core *core)
{
    for (struct map_node *n = map_next(&core->groups, NULL); n != NULL;
         n = map_next(&core->groups, n)) {
        group_hot(core, CONTAINER_OF(n, struct group, node));
    }
}

/* --- tasks --- */

void task_index(struct core *core, struct task *task)
{
    map_insert(&core->tasks, &task->by_job, task_ref(task));
}

void task_set_info(struct core *core, struct task *task, struct blob *info)
{
    ASSERT(task->info == NULL);
    task->info = blob_ref(info);
    core->info_bytes += info->len;
}

void task_discard(struct core *core, struct task *task)
{
    map_remove(&core->tasks, &task->by_job);
    if (task->info != NULL) {
        core->info_bytes -= task->info->len;
    }
    if (task->group != NULL) {
        task->group->task_count--;
    }
    task_free(task);
}

void task_free_loose(struct core *core, struct task *task)
{
    if (task->info != NULL) {
        core->info_bytes -= task->info->len;
    }
    task_free(task);
}

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
        gl->window.count >= INFO_AHEAD / 16) {
        core->info_bytes -= task->info->len;
        task->info = blob_unref(task->info);
    }
    task->group = group;
    group->task_count++;
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

/* The first lane from `lane` on that has tasks, or more in storage. */
static uint32_t group_next_busy(const struct group *group, uint32_t lane)
{
    for (uint32_t word = lane / 64; word < 2; word++) {
        const uint64_t from = word == lane / 64 ? ~(uint64_t)0 << (lane % 64) : ~(uint64_t)0;
        const uint64_t busy = group->busy[word] & from;
        if (busy != 0) {
            return word * 64 + (uint32_t)__builtin_ctzll(busy);
        }
    }
    return LANES_MAX;
}

/* Looks along one window. EMPTY: nothing there can be leased, and nothing is being asked. */
static enum best lane_best(struct core *core, struct group *group, const struct lane *window,
                           struct best_cursor *cursor, uint32_t *checks, struct task **ret_task)
{
    enum best best = BEST_EMPTY;
    for (; cursor->index < window->count; cursor->index++) {
        struct task *task = lane_at(window, cursor->index);
        throttles_ask(core, group, &task->place, checks);
        if (task->info == NULL) {
            lane_want_infos(core, window, cursor->index, INFO_AHEAD);
        }
        if (task->info == NULL) { /* not among the recent changes either */
            return BEST_LOADING;
        }
        if (!task_wants_check(task)) {
            *ret_task = task;
            return BEST_TASK;
        }
        if (!task->checking && *checks != 0) {
            check_start(core, task);
            --*checks;
        }
        best = BEST_CHECKING;
    }
    return best;
}

enum best group_best(struct core *core, struct group *group, struct best_cursor *cursor,
                     uint32_t *checks, struct task **ret_task)
{
    enum best best = group->checks != 0 ? BEST_CHECKING : BEST_EMPTY;
    for (;;) {
        const uint32_t lane = group_next_busy(group, cursor->lane);
        if (lane == LANES_MAX) {
            break;
        }
        if (lane != cursor->lane) {
            *cursor = (struct best_cursor){.lane = lane};
        }
        struct lane *window = &group->lanes[lane]->window;
        if (lane_wants_page(window, LANE_TASKS_MAX)) {
            page_load_lane(core, group, lane);
        }
        const enum best here = lane_best(core, group, window, cursor, checks, ret_task);
        if (here == BEST_TASK || here == BEST_LOADING) {
            return here;
        }
        best = here == BEST_CHECKING ? here : best;
        if (window->bounded) { /* what lies beyond comes first */
            return group->loading ? BEST_LOADING : best;
        }
        *cursor = (struct best_cursor){.lane = lane + 1};
    }
    if (group->known < core->lane_count) {
        page_load_group(core, group);
        return group->loading ? BEST_LOADING : best;
    }
    throttles_ask(core, group, NULL, checks);
    if (group->throttles_reading != 0) {
        return BEST_LOADING;
    }
    return group->checks != 0 ? BEST_CHECKING : best;
}
