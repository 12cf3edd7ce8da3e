/*
 * core/leave.h - the shard goes to another process: what core/core.c does in its turns meanwhile.
 *
 * Threads    the shard's executor only.
 */
#ifndef SILO_CORE_LEAVE_H
#define SILO_CORE_LEAVE_H

struct core;

/* Sends away what reads have woken; tasks that go back stay, to be run. */
void leave_turn(struct core *core);

#endif
