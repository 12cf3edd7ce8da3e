/*
 * core/expire.h - jobs whose retention is over are forgotten.
 *
 * Threads    the shard's executor only.
 * Limits     EXPIRE_PAGE_ROWS rows in a page; EXPIRE_COMMANDS_MAX commands under way.
 */
#ifndef SILO_CORE_EXPIRE_H
#define SILO_CORE_EXPIRE_H

#include "base/bytes.h"

struct command;
struct core;

/* Of every CMD_EXPIRE, when it is over: before it is freed. */
void expire_ended(struct core *core, const struct command *cmd);
void expire_turn(struct core *core);
int64_t expire_next_mono_ms(const struct core *core);

#endif
