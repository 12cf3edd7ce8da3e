/*
 * core/locate.h - where tokens wait that hold slots and have no lease: looked up after open.
 *
 * Threads    the shard's executor only.
 * Limits     TURN_LOCATES_MAX under way.
 */
#ifndef SILO_CORE_LOCATE_H
#define SILO_CORE_LOCATE_H

#include "base/bytes.h"

struct command;
struct core;

void locate_init(struct core *core);
void locate_turn(struct core *core);
void locate_ended(struct core *core, const struct command *cmd);
int64_t locate_next_mono_ms(const struct core *core);

#endif
