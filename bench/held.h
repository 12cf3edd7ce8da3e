/*
 * bench/held.h - tasks that are leased and kept: heartbeats go out until they are reported.
 *
 * Threads    main.
 * Ownership  freed with the connections, when the run is over.
 */
#ifndef SILO_BENCH_HELD_H
#define SILO_BENCH_HELD_H

#include "bench.h"

struct held;

/* Enqueues so many jobs on the first shard, leases their tasks and begins to keep them. */
struct held *held_new(struct bench *bench, uint32_t count);
/* Reports them all and waits; how many were not theirs any more, or could not be reported. */
uint64_t held_report(struct held *held);

#endif
