/*
 * core/refresh.h - when floating limits are refreshed, by whom, and what comes of it.
 *
 * Threads    the shard's executor only.
 * Limits     one refresh of a limit at a time.
 */
#ifndef SILO_CORE_REFRESH_H
#define SILO_CORE_REFRESH_H

#include "codec/record.h"

struct command;
struct core;
struct floating;

void refreshes_init(struct core *core);
/* The limit that a task refreshes, NULL for none. False: asked for on behalf of cmd. */
bool floating_find(struct core *core, struct command *cmd, const struct uuid *task_id,
                   struct floating **ret_floating);
/* A META_REFRESH_LEASE row, read at open. */
void floating_leased(struct core *core, struct bytes task_id, struct bytes ref);
void refreshes_free(struct core *core);
void floating_turn(struct core *core);
int64_t floating_next_mono_ms(const struct core *core);

#endif
