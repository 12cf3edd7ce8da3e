/*
 * core/due.h - timers that are due walk on through their limits.
 *
 * Threads    the shard's executor only.
 * Limits     TURN_TIMERS_MAX a turn.
 */
#ifndef SILO_CORE_DUE_H
#define SILO_CORE_DUE_H

#include "base/bytes.h"

struct core;

void due_init(struct core *core);
void due_free(struct core *core);
void due_turn(struct core *core);
int64_t due_next_mono_ms(const struct core *core);

#endif
