/*
 * core/calls_test.h - calls on one shard as a client would make them: jobs of tenant "-", group
 * "g", worker "w1".
 *
 * Threads    one.
 */
#ifndef SILO_CORE_CALLS_TEST_H
#define SILO_CORE_CALLS_TEST_H

#include "core/rig_test.h"

#define T "-"

struct call *enqueue_call(const char *id, const char *group, uint8_t priority, int64_t start_ms);
/* Sends, waits, frees. */
enum silo_code finish(struct rig *rig, struct call *call);
void enqueue(struct rig *rig, const char *id, uint8_t priority, int64_t start_ms);
void enqueue_retrying(struct rig *rig, const char *id, uint32_t retries, int64_t initial_ms);
struct call *poll_call(uint32_t tasks_max, uint32_t wait_ms);
const struct leased_task *poll_task(const struct call *call, size_t i);
size_t poll_count(const struct call *call);
/* Leases one task, which must be of this job, and tells its id. */
struct uuid lease_one(struct rig *rig, const char *expected);
/* How many tasks a poll gets that does not wait. */
size_t poll_empty(struct rig *rig);
struct call *report_call(const struct uuid *task_id, enum attempt_status status, const char *data);
enum silo_code report(struct rig *rig, const struct uuid *task_id, enum attempt_status status);
struct call *heartbeat_call(const struct uuid *task_id, const char *worker);
enum silo_code heartbeat(struct rig *rig, const struct uuid *task_id, const char *worker);
enum silo_code on_job(struct rig *rig, enum command_kind kind, const char *id);
/* With its attempts; the caller frees it. */
struct call *get(struct rig *rig, const char *id);
enum job_status status(struct rig *rig, const char *id);
struct counts totals(struct rig *rig);
void close_all(struct rig *rig);

#endif
