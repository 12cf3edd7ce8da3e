/*
 * core/ids.h - numbers and ids of a shard's own making.
 *
 * Ids follow from a seed and a count, so that the same commands make the same ids. Arrival numbers
 * are reserved in blocks by a row, so that no number is given twice, whatever incarnation gives
 * it.
 *
 * Threads    the shard's executor only.
 * Limits     ARRIVAL_BLOCK numbers are lost when a shard is opened anew.
 */
#ifndef SILO_CORE_IDS_H
#define SILO_CORE_IDS_H

#include "base/uuid.h"

struct core;

void ids_init(struct core *core, const uint8_t seed[16]);
/* A new id for something that no caller asked for. */
struct uuid core_make_id(struct core *core);
/* A number higher than all before. Writes the row that reserves the next block when it has to. */
uint64_t arrival_next(struct core *core);

#endif
