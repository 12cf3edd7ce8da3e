/*
 * core/redate.h - the wall clock stands behind stamps of an earlier incarnation.
 *
 * Threads    the shard's executor only.
 * Limits     REDATE_PAGE_ROWS commands under way.
 */
#ifndef SILO_CORE_REDATE_H
#define SILO_CORE_REDATE_H

#include "base/bytes.h"

struct command;
struct core;

/*
 * META_CLOCK was read, or there is none: the wall clock may stand behind stamps of earlier
 * incarnations.
 */
void redate_open(struct core *core);
/* Once per batch: now and then the time is stored. */
void clock_write(struct core *core);
/* Of every CMD_REDATE, when it is over: before it is freed. */
void redate_ended(struct core *core, const struct command *cmd);
void redate_turn(struct core *core);
int64_t redate_next_mono_ms(const struct core *core);
void redate_free(struct core *core);

#endif
