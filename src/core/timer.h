/*
 * core/timer.h - work that is not due yet: one lane over all groups, ordered by due time.
 *
 * Ownership  the tasks belong to the core's window.
 * Threads    the shard's executor only.
 * Limits     LANE_TASKS_MAX tasks in memory.
 */
#ifndef SILO_CORE_TIMER_H
#define SILO_CORE_TIMER_H

#include "core/lane.h"

struct core;

void timers_init(struct core *core);
void timers_free(struct core *core);
void timer_add(struct core *core, struct task *task);
void timer_drop(struct core *core, const struct place *place);
void timer_load(struct core *core);

#endif
