/* core/calls_test.c - see calls_test.h. */
#include "core/calls_test.h"
#include "base/test.h"

struct call *enqueue_call(const char *id, const char *group, uint8_t priority, int64_t start_ms)
{
    struct call *call = rig_call(CMD_ENQUEUE, T, id);
    struct enqueue_args *args = &call->cmd.args.enqueue;
    args->info = (struct info){
        .priority = priority, .group = bytes_str(group), .requested_start_ms = start_ms};
    args->payload = BYTES_LIT("payload");
    return call;
}

enum silo_code finish(struct rig *rig, struct call *call)
{
    rig_do(rig, call);
    const enum silo_code code = call->cmd.rc.code;
    rig_call_free(call);
    return code;
}

void enqueue(struct rig *rig, const char *id, uint8_t priority, int64_t start_ms)
{
    assert_int_equal(finish(rig, enqueue_call(id, "g", priority, start_ms)), SILO_OK);
}

void enqueue_retrying(struct rig *rig, const char *id, uint32_t retries, int64_t initial_ms)
{
    struct call *call = enqueue_call(id, "g", 5, 0);
    call->cmd.args.enqueue.info.has_retry = true;
    call->cmd.args.enqueue.info.retry =
        (struct retry_policy){.retry_count = retries, .initial_ms = initial_ms, .factor = 3};
    assert_int_equal(finish(rig, call), SILO_OK);
}

struct call *poll_call(uint32_t tasks_max, uint32_t wait_ms)
{
    struct call *call = rig_call(CMD_POLL, NULL, NULL);
    call->cmd.args.poll = (struct poll_args){.group = BYTES_LIT("g"),
                                             .worker_id = BYTES_LIT("w1"),
                                             .tasks_max = tasks_max,
                                             .wait_ms = wait_ms};
    return call;
}

const struct leased_task *poll_task(const struct call *call, size_t i)
{
    assert_int_equal(call->cmd.rc.code, SILO_OK);
    assert_true(i < call->cmd.result.poll.count);
    return &call->cmd.result.poll.tasks[i];
}

size_t poll_count(const struct call *call)
{
    assert_int_equal(call->cmd.rc.code, SILO_OK);
    return call->cmd.result.poll.count;
}

/* Leases one task and tells its id. */
struct uuid lease_one(struct rig *rig, const char *expected)
{
    struct call *call = poll_call(1, 0);
    rig_do(rig, call);
    const struct leased_task *task = poll_task(call, 0);
    assert_int_equal(task->job_id.len, strlen(expected));
    assert_memory_equal(task->job_id.ptr, expected, task->job_id.len);
    const struct uuid id = task->task_id;
    rig_call_free(call);
    return id;
}

size_t poll_empty(struct rig *rig)
{
    struct call *call = poll_call(10, 0);
    rig_do(rig, call);
    const size_t count = poll_count(call);
    rig_call_free(call);
    return count;
}

struct call *report_call(const struct uuid *task_id, enum attempt_status status, const char *data)
{
    struct call *call = rig_call(CMD_REPORT, NULL, NULL);
    call->cmd.args.report = (struct report_args){.has_task_id = true,
                                                 .task_id = *task_id,
                                                 .status = status,
                                                 .error_code = BYTES_LIT("E"),
                                                 .data = bytes_str(data)};
    return call;
}

enum silo_code report(struct rig *rig, const struct uuid *task_id, enum attempt_status status)
{
    return finish(rig, report_call(task_id, status, "data"));
}

struct call *heartbeat_call(const struct uuid *task_id, const char *worker)
{
    struct call *call = rig_call(CMD_HEARTBEAT, NULL, NULL);
    call->cmd.args.heartbeat = (struct heartbeat_args){
        .has_task_id = true, .task_id = *task_id, .worker_id = bytes_str(worker)};
    return call;
}

enum silo_code heartbeat(struct rig *rig, const struct uuid *task_id, const char *worker)
{
    return finish(rig, heartbeat_call(task_id, worker));
}

enum silo_code on_job(struct rig *rig, enum command_kind kind, const char *id)
{
    return finish(rig, rig_call(kind, T, id));
}

struct call *get(struct rig *rig, const char *id)
{
    struct call *call = rig_call(CMD_GET_JOB, T, id);
    call->cmd.args.get.include_attempts = true;
    rig_do(rig, call);
    assert_int_equal(call->cmd.rc.code, SILO_OK);
    return call;
}

enum job_status status(struct rig *rig, const char *id)
{
    struct call *call = get(rig, id);
    const enum job_status found = call->cmd.result.job.status;
    rig_call_free(call);
    return found;
}

struct counts totals(struct rig *rig)
{
    struct call *call = rig_call(CMD_TOTALS, NULL, NULL);
    rig_do(rig, call);
    assert_int_equal(call->cmd.rc.code, SILO_OK);
    const struct counts counts = call->cmd.result.totals.counts;
    rig_call_free(call);
    return counts;
}

void close_all(struct rig *rig)
{
    assert_int_equal(rig_stop(rig), SILO_OK);
    rig_free(rig);
}
