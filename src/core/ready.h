/*
 * core/ready.h - the windows over the ready lanes of task groups, and the pages read into them.
 *
 * Ownership  the tasks belong to the windows of their group (core/group.h).
 * Threads    the shard's executor only.
 * Limits     LANE_TASKS_MAX tasks a lane; PAGE_ROWS_MAX rows a page.
 */
#ifndef SILO_CORE_READY_H
#define SILO_CORE_READY_H

#include "core/lane.h"

struct core;
struct group;

/* Adds a task to the window if it belongs there, else frees it. */
void group_add(struct core *core, struct group *group, struct task *task);
/* The place of a ready row that goes: out of the window, if it is in it. */
void group_drop(struct core *core, struct bytes name, const struct place *place);
void ready_load_group(struct core *core, struct group *group);
void ready_load_lane(struct core *core, struct group *group, uint32_t lane);

#endif
