/*
 * core/info.h - info rows of the tasks at the front of a window: what a worker is told comes from
 * them.
 *
 * Threads    the shard's executor only.
 * Limits     INFO_AHEAD and LINE_INFO_AHEAD tasks of a window; SHARD_INFO_BYTES_MAX in all.
 */
#ifndef SILO_CORE_INFO_H
#define SILO_CORE_INFO_H

#include "core/lane.h"

struct core;

/* Of so many tasks ahead, how many keep their rows while these take too many bytes: some always. */
uint32_t info_scarce(uint32_t ahead);

/* Reads info rows for `ahead` tasks of a lane, from this index (at most its count) on. */
void lane_want_infos(struct core *core, const struct lane *lane, uint32_t from, uint32_t ahead);

#endif
