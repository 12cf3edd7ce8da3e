/*
 * core/token_find.h - where the token of a scheduled job is: in a window, or at one of the keys it
 * can have.
 *
 * Threads    the shard's executor only.
 */
#ifndef SILO_CORE_TOKEN_FIND_H
#define SILO_CORE_TOKEN_FIND_H

#include "core/token.h"

struct command;
struct job;

/*
 * Finds the token of a Scheduled job: in a window, or by the keys it can have. False: rows were
 * asked for.
 */
bool token_find(struct core *core, struct command *cmd, const struct job *job, struct token *ret);

#endif
