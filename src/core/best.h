/*
 * core/best.h - the best task of a group that can be leased now, and the rate limits asked on the
 * way.
 *
 * Threads    the shard's executor only.
 * Limits     as many rate limits are asked as the polls of the group want tasks.
 */
#ifndef SILO_CORE_BEST_H
#define SILO_CORE_BEST_H

#include "base/bytes.h"

struct core;
struct group;
struct task;

enum best { BEST_TASK, BEST_EMPTY, BEST_LOADING, BEST_CHECKING };

/* How far a hand-over has looked: tasks whose rate limit is being asked are passed over. */
struct best_cursor {
    uint32_t lane, index;
};

/*
 * The best task that can be leased. Up to *checks rate limits that stand before it are asked.
 * CHECKING: some are.
 */
enum best group_best(struct core *core, struct group *group, struct best_cursor *cursor,
                     uint32_t *checks, struct task **ret_task);

#endif
