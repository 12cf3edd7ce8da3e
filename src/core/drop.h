/*
 * core/drop.h - the operator frees every slot of a tenant.
 *
 * Threads    the shard's executor only.
 * Limits     one tenant at a time, TURN_DROPS_MAX slots a turn.
 */
#ifndef SILO_CORE_DROP_H
#define SILO_CORE_DROP_H

#include "base/bytes.h"

struct core;

void drops_init(struct core *core);
void drop_resume(struct core *core, struct bytes tenant_part);
void drop_turn(struct core *core);
/*
 * Sends away who waits for a drop. One that has begun goes on where the shard goes, and its caller
 * is told so.
 */
void drops_leave(struct core *core);
void drop_free(struct core *core);

#endif
