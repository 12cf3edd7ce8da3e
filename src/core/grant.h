/*
 * core/grant.h - free slots go to waiters: queues that are marked (core/queue.h) are visited after
 * each command, and once a turn.
 *
 * Threads    the shard's executor only.
 * Limits     TURN_GRANTS_MAX steps a turn.
 */
#ifndef SILO_CORE_GRANT_H
#define SILO_CORE_GRANT_H

#include "base/bytes.h"

struct command;
struct core;

void grants_run(struct core *core);
/* Once a turn: also those that were not finished. */
void grants_turn(struct core *core);
int64_t grants_next_mono_ms(const struct core *core);
/* A command that read for a visit is over: what it missed is tried again if it failed. */
void grant_ended(struct core *core, const struct command *cmd);

#endif
