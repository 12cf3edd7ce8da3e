/*
 * core/expiry.h - leases whose time is up.
 *
 * An expired lease is reported as a failed attempt by a command of the core's own, so that expiry
 * and reports share their code; one whose task never reached its worker goes back instead.
 *
 * Threads    the shard's executor only.
 * Limits     TURN_EXPIRIES_MAX a turn, SHARD_EXPIRIES_MAX under way.
 */
#ifndef SILO_CORE_EXPIRY_H
#define SILO_CORE_EXPIRY_H

#include "base/uuid.h"

struct command;
struct core;

void expiry_turn(struct core *core);
int64_t expiry_next_mono_ms(const struct core *core);
/* Tasks that are known not to reach their worker go back now. */
void expiry_leave(struct core *core);
/* The command that was to end a lease is over, well or not. */
void expiry_ended(struct core *core, const struct command *cmd);

#endif
