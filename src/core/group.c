/*
 * core/group.c - task groups.
 *
 * 1. Lanes below group->known are known: their windows hold exactly the live rows up to their
 *    marks. The others are unknown: inserts go to storage alone.
 * 2. The group unused longest loses its windows first; groups with polls or reads on their way
 *    stay. One with throttles (core/throttle.h) stays without its windows.
 */
#include "core/group.h"

#include "base/assert.h"
#include "base/limits.h"
#include "core/state.h"
#include "core/task.h"

void groups_init(struct core *core)
{
    map_init(&core->groups.by_name);
    list_init(&core->groups.lru);
    list_init(&core->groups.hot);
    list_init(&core->groups.dirty);
    core->groups.polls_seen_from_ms = core->wall_ms;
}

struct group *group_find(struct core *core, struct bytes name)
{
    return MAP_ENTRY(map_find(&core->groups.by_name, name), struct group, node);
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
    if (polled_ms > core->groups.polls_seen_from_ms) {
        /* of polls before it nothing is known for sure */
        core->groups.polls_seen_from_ms = polled_ms;
    }
    group_forget_lanes(core, group);
    heap_deinit(&group->turns);
    map_remove(&core->groups.by_name, &group->node);
    list_remove(&group->lru);
    list_remove(&group->hot);
    blob_unref(group->name);
    free(group);
}

/* Once a turn, never while a command runs: what it has found known must stay so. */
void groups_shrink(struct core *core)
{
    struct list_node *next = NULL;
    for (struct list_node *n = list_first(&core->groups.lru);
         n != NULL && (core->groups.by_name.count > SHARD_GROUPS_MAX ||
                       core->tasks.by_job.count > SHARD_TASKS_MAX);
         n = next) {
        next = list_next(&core->groups.lru, n);
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
        list_push_back(&core->groups.lru, &group->lru);
        return group;
    }
    group = xcalloc(1, sizeof *group);
    group->name = blob_new(name);
    list_init(&group->polls);
    list_init(&group->refreshes);
    list_init(&group->throttles);
    heap_init(&group->turns);
    map_insert(&core->groups.by_name, &group->node, blob_bytes(group->name));
    list_push_back(&core->groups.lru, &group->lru);
    return group;
}

void groups_free(struct core *core)
{
    for (struct map_node *n = map_next(&core->groups.by_name, NULL); n != NULL;
         n = map_next(&core->groups.by_name, NULL)) {
        group_forget(core, CONTAINER_OF(n, struct group, node));
    }
    map_deinit(&core->groups.by_name);
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
        list_push_back(&core->groups.hot, &group->hot);
    }
}

void group_polled(struct core *core, struct group *group)
{
    group->polled_until_mono_ms = core->mono_ms + GROUP_POLLED_MS;
}

bool group_has_workers(const struct core *core, struct bytes name)
{
    const struct group *group =
        MAP_ENTRY(map_find(&core->groups.by_name, name), struct group, node);
    return group != NULL &&
           (!list_empty(&group->polls) || core->mono_ms < group->polled_until_mono_ms);
}

int64_t group_polled_ms(const struct core *core, struct bytes name)
{
    const struct group *group =
        MAP_ENTRY(map_find(&core->groups.by_name, name), struct group, node);
    if (group == NULL || (list_empty(&group->polls) && group->polled_until_mono_ms == 0)) {
        return 0;
    }
    const int64_t ago_ms = core->mono_ms - (group->polled_until_mono_ms - GROUP_POLLED_MS);
    return core->wall_ms - (list_empty(&group->polls) ? ago_ms : 0);
}

void groups_hot(struct core *core)
{
    for (struct map_node *n = map_next(&core->groups.by_name, NULL); n != NULL;
         n = map_next(&core->groups.by_name, n)) {
        group_hot(core, CONTAINER_OF(n, struct group, node));
    }
}
