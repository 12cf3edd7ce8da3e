/*
 * core/limit_calls_test.h - jobs with limits: calls about them on one shard.
 *
 * Threads    one.
 */
#ifndef SILO_CORE_LIMIT_CALLS_TEST_H
#define SILO_CORE_LIMIT_CALLS_TEST_H

#include "core/calls_test.h"
#include "core/limit.h"
#include "core/slots_check_test.h"

struct job_limit {
    enum limit_kind kind;
    const char *name; /* NULL: no limit; RATE: its unique key, too */
    uint32_t max;     /* FLOATING: the default */
    int64_t interval_ms;
    const char *metadata[2]; /* FLOATING: one pair */
    /* RATE */
    int64_t limit, duration_ms;
    int32_t hits; /* 0: 1 */
    bool leaky;
    int32_t behavior;
    bool has_policy;
    int64_t initial_ms, backoff_max_ms;
    double multiplier;
    uint32_t retries_max;
};

#define FIXED(queue, n)                                        \
    {                                                          \
        .kind = LIMIT_CONCURRENCY, .name = (queue), .max = (n) \
    }
#define FLOATS(queue, n, every_ms)                                                     \
    {                                                                                  \
        .kind = LIMIT_FLOATING, .name = (queue), .max = (n), .interval_ms = (every_ms) \
    }
#define RATE(key, n, per_ms)                                                     \
    {                                                                            \
        .kind = LIMIT_RATE, .name = (key), .limit = (n), .duration_ms = (per_ms) \
    }

#define SPEC_LIMITS_MAX 4

/* Zeros: tenant "-", group "g", start now. */
struct job_spec {
    const char *id, *tenant, *group;
    uint8_t priority;
    int64_t start_ms;
    uint32_t retries;
    int64_t retry_ms;
    struct job_limit limits[SPEC_LIMITS_MAX];
};
#define JOB(...) (&(const struct job_spec){__VA_ARGS__})
#define LIMITED(rig, name, ...) put_job(rig, JOB(.id = (name), .limits = {__VA_ARGS__}))

/* The limits up to the first without a name, in both forms: stored in `info`, plain as returned. */
const struct limit_rec *limits_put(struct arena *arena, const struct job_limit *limits, size_t max,
                                   struct info *info);
struct call *job_call(const struct job_spec *spec);
/* An attempt that failed, begun then. */
struct import_attempt failed_attempt(int64_t at_ms);
struct call *import_call(const struct job_spec *spec, const struct import_attempt *attempts,
                         size_t count);
/* Must succeed. */
void put_job(struct rig *rig, const struct job_spec *spec);
/* So many, sent at once; spec->id with a number behind it, from 0 on. */
void put_jobs(struct rig *rig, const struct job_spec *spec, uint32_t count);

/* --- running --- */

/* Leases as many tasks as there are, up to count; how many. Their ids go to task_ids. */
size_t lease_some(struct rig *rig, uint32_t count, struct uuid *task_ids);
/* Of a job that runs. */
struct uuid task_of(struct rig *rig, const char *tenant, const char *id);
void end_job(struct rig *rig, const char *id, enum attempt_status how);
/*
 * Leases and ends everything, letting time pass for what waits for it; how many runs. Nothing is
 * left then.
 */
size_t drain(struct rig *rig);
/* The process dies, with what is durable, and comes back. */
void reopen(struct rig *rig);
uint64_t batches(struct rig *rig);
enum silo_code expedite(struct rig *rig, const char *id);
/* Leases this job; its task id. */
struct uuid lease_this(struct rig *rig, const char *id);
uint64_t drop_holders(struct rig *rig, const char *tenant);

/* --- floating limits --- */

/* Polls group; how many refreshes came, and the first. Jobs that come are given back. */
size_t refreshes(struct rig *rig, const char *group, struct refresh_task *ret_first);
/* There is exactly one refresh in group "g". */
struct uuid refresh_one(struct rig *rig);
enum silo_code refresh_report(struct rig *rig, const struct uuid *task_id, bool success,
                              uint32_t value);

#endif
