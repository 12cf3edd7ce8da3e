/*
 * core/task.h - tasks: tokens that wait, as far as they are in memory. Every task in a window can
 * be found by its job.
 *
 * Ownership  a task belongs to the window it is in.
 * Threads    the shard's executor only.
 * Limits     SHARD_TASKS_MAX tasks in all windows, SHARD_INFO_BYTES_MAX of job rows with them.
 */
#ifndef SILO_CORE_TASK_H
#define SILO_CORE_TASK_H

#include "core/lane.h"
#include "core/limit.h"

struct core;

void tasks_init(struct core *core);
void tasks_free(struct core *core);
/* Not in any window; NULL for a malformed row. */
struct task *task_of_row(struct core *core, struct bytes value, const struct place *place);
/*
 * The limit that its token stands before, lent by the core's table of them; NULL: it stands before
 * none, or its row is malformed.
 */
const struct limit *task_limit(struct core *core, const struct task *task);
/* The task of a job; NULL: its token is in no window. */
struct task *task_find(const struct core *core, struct bytes job_ref);
/* From now on task_find finds it. */
void task_index(struct core *core, struct task *task);
/* Keeps its job's info row with it; it has none. */
void task_set_info(struct core *core, struct task *task, struct blob *info);
/* Lets go of the row, if it has one. */
void task_drop_info(struct core *core, struct task *task);
/* Out of the index, and freed. */
void task_discard(struct core *core, struct task *task);
/* Freed; it is in no index. */
void task_free_loose(struct core *core, struct task *task);

#endif
