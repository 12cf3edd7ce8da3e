/*
 * core/walk.h - a token's way through its job's limits, in their order.
 *
 * Threads    the shard's executor only.
 */
#ifndef SILO_CORE_WALK_H
#define SILO_CORE_WALK_H

#include "core/token.h"

struct command;
struct core;

/*
 * Moves a token as far as its limits let it. `to` is where it would be: group, place, attempt,
 * relative, info, task_id, passed, rate_retries, limits. walk_ready must have said true in
 * the same run.
 */
void walk_move(struct core *core, struct bytes job_ref, const struct token *from, struct token *to);
/*
 * Whether all is known that the walk looks at; false: asked for on behalf of cmd (NULL: not known).
 */
bool walk_ready(struct core *core, struct command *cmd, struct bytes job_ref,
                const struct token *to);
/*
 * Whether the walk would end in a line that its queue has no room for: asked before a job is made.
 * After walk_ready.
 */
bool walk_crowded(struct core *core, struct bytes job_ref, const struct token *to);

#endif
