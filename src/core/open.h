/*
 * core/open.h - what a shard reads before it serves.
 *
 * Threads    the shard's executor only.
 */
#ifndef SILO_CORE_OPEN_H
#define SILO_CORE_OPEN_H

#include "base/bytes.h"

struct core;

void open_start(struct core *core);
void open_free(struct core *core);

#endif
