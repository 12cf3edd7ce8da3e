/*
 * core/group.h - task groups in memory: their lanes, the polls that wait in them, and when a
 * worker last asked.
 *
 * Ownership  the core's. The group unused longest leaves memory first.
 * Threads    the shard's executor only.
 * Limits     SHARD_GROUPS_MAX groups; one with polls, refreshes, reads or checks under way stays.
 */
#ifndef SILO_CORE_GROUP_H
#define SILO_CORE_GROUP_H

#include "base/heap.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/map.h"
#include "core/lane.h"

struct core;

#define LANES_MAX (PRIORITY_MAX + 1)

struct group_lane {
    struct lane window;
    struct low low;
};

/* A task group with a window, a parked poll, or a known low-water row. */
struct group {
    struct map_node node; /* key: name */
    struct list_node lru;
    struct list_node hot;   /* to be handed over this turn */
    struct list_node dirty; /* low-water row to be written */
    struct blob *name;
    uint32_t known;                      /* lanes below it are known */
    struct group_lane *lanes[LANES_MAX]; /* NULL: no task, no low-water mark */
    uint64_t busy[2];                    /* known lanes with tasks, or with more in storage */
    bool low_known;
    uint32_t removals;            /* since the low-water row was written */
    int64_t dirty_mono_ms;        /* when the first of them happened */
    bool loading;                 /* a page or the low-water row is being read */
    int64_t retry_mono_ms;        /* not before, after a failed read */
    struct list polls;            /* struct poll.node, oldest first */
    int64_t polled_until_mono_ms; /* a poll that has left counts as a worker so long */
    struct list refreshes;        /* struct floating.in_group: handed out ahead of all jobs */
    uint32_t checks;              /* rate limits asked and not answered */
    struct list throttles;        /* struct throttle.in_group */
    struct heap turns;            /* those of them that may be asked: struct throttle.turn */
    uint32_t throttles_reading;
};

void groups_init(struct core *core);
struct group *group_find(struct core *core, struct bytes name);
struct group *group_get(struct core *core, struct bytes name);
uint32_t group_lane_of(const struct core *core, const struct place *place);
struct group_lane *group_lane_get(struct group *group, uint32_t lane);
void group_busy_update(struct core *core, struct group *group, uint32_t lane);
void group_hot(struct core *core, struct group *group);
/* A worker asks, or asked a moment ago. */
void group_polled(struct core *core, struct group *group);
bool group_has_workers(const struct core *core, struct bytes name);
/*
 * When a worker last asked, Unix time; now while one waits; 0: none did since polls_seen_from_ms.
 */
int64_t group_polled_ms(const struct core *core, struct bytes name);
void groups_hot(struct core *core);
void groups_shrink(struct core *core);
void groups_free(struct core *core);

#endif
