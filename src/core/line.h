/*
 * core/line.h - who waits at a queue: a window over the waiter rows of each line.
 *
 * Ownership  a line belongs to its queue, the tasks to the line's window.
 * Threads    the shard's executor only.
 * Limits     LANE_TASKS_MAX tasks in the window of a line.
 */
#ifndef SILO_CORE_LINE_H
#define SILO_CORE_LINE_H

#include "core/queue.h"

/* The queue must be known. */
struct line *line_get(struct core *core, struct queue *queue, struct line_id id);
/*
 * A waiter row was written: counts it, and keeps the task if the window covers it, else frees it.
 */
void line_insert(struct core *core, struct queue *queue, struct line_id id, struct task *task);
/* A waiter row was deleted. */
void line_remove(struct core *core, struct queue *queue, struct line_id id,
                 const struct place *place);
enum line_front { LINE_FRONT_TASK, LINE_FRONT_NONE, LINE_FRONT_LOADING };
enum line_front line_front(struct core *core, struct line *line, struct task **ret_task);
void line_forget(struct core *core, struct line *line);

#endif
