/*
 * bench/sync.h - single calls of the main thread, for scenarios that measure one operation at a
 * time.
 *
 * Threads    main, while no load runs that it could disturb. Anything but OK ends the program.
 */
#ifndef SILO_BENCH_SYNC_H
#define SILO_BENCH_SYNC_H

#include "bench.h"

struct task_id {
    char text[64];
};

/* Leases up to max tasks, in one call; returns how many. */
uint32_t sync_lease(struct bench *bench, const char *group, uint32_t max, uint32_t wait_ms,
                    struct task_id *ret_ids);
/* Leases until `count` came, at most a minute; false: fewer came. */
bool sync_lease_all(struct bench *bench, const char *group, uint32_t count,
                    struct task_id *ret_ids);
/* Success for all, in one ReportOutcomes. tenant NULL: tenancy is off. */
void sync_report(struct bench *bench, const char *tenant, const struct task_id *ids,
                 uint32_t count);
/* In calls of up to 500. `fill` as in load_options; n counts from 0. */
void sync_enqueue(struct bench *bench, uint32_t count,
                  void (*fill)(void *context, uint32_t n, struct arena *arena,
                               Silo__V1__EnqueueRequest *job),
                  void *context);

#endif
