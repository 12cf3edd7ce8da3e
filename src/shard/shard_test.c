/* shard/shard_test.c - a shard from open to close, call by call. */
#include <stdio.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/test.h"
#include "shard/rig_test.h"
#include "shard/shard_int.h"

#define T "-"

static struct rig *open_with(const struct rig_options *options)
{
    struct rig *rig = rig_new(options);
    rig_start(rig);
    rig_settle(rig);
    assert_true(rig_is_open(rig));
    return rig;
}

static struct rig *open_plain(void)
{
    return open_with(&(struct rig_options){.seed = 1});
}

static struct call *enqueue_call(const char *id, const char *group, uint8_t priority,
                                 int64_t start_ms)
{
    struct call *call = rig_call(CMD_ENQUEUE, T, id);
    struct enqueue_args *args = &call->request.cmd.args.enqueue;
    args->info = (struct info){
        .priority = priority, .group = bytes_str(group), .requested_start_ms = start_ms};
    args->payload = BYTES_LIT("payload");
    return call;
}

static enum silo_code finish(struct rig *rig, struct call *call)
{
    rig_do(rig, call);
    const enum silo_code code = call->request.cmd.rc.code;
    rig_call_free(call);
    return code;
}

static void enqueue(struct rig *rig, const char *id, uint8_t priority, int64_t start_ms)
{
    assert_int_equal(finish(rig, enqueue_call(id, "g", priority, start_ms)), SILO_OK);
}

static void enqueue_retrying(struct rig *rig, const char *id, uint32_t retries, int64_t initial_ms)
{
    struct call *call = enqueue_call(id, "g", 5, 0);
    call->request.cmd.args.enqueue.info.has_retry = true;
    call->request.cmd.args.enqueue.info.retry =
        (struct retry_policy){.retry_count = retries, .initial_ms = initial_ms, .factor = 3};
    assert_int_equal(finish(rig, call), SILO_OK);
}

static struct call *poll_call(uint32_t tasks_max, uint32_t wait_ms)
{
    struct call *call = rig_call(CMD_POLL, NULL, NULL);
    call->request.cmd.args.poll = (struct poll_args){.group = BYTES_LIT("g"),
                                                     .worker_id = BYTES_LIT("w1"),
                                                     .tasks_max = tasks_max,
                                                     .wait_ms = wait_ms};
    return call;
}

static const struct leased_task *poll_task(const struct call *call, size_t i)
{
    assert_int_equal(call->request.cmd.rc.code, SILO_OK);
    assert_true(i < call->request.cmd.result.poll.count);
    return &call->request.cmd.result.poll.tasks[i];
}

static size_t poll_count(const struct call *call)
{
    assert_int_equal(call->request.cmd.rc.code, SILO_OK);
    return call->request.cmd.result.poll.count;
}

/* Leases one task and tells its id. */
static struct uuid lease_one(struct rig *rig, const char *expected)
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

static size_t poll_empty(struct rig *rig)
{
    struct call *call = poll_call(10, 0);
    rig_do(rig, call);
    const size_t count = poll_count(call);
    rig_call_free(call);
    return count;
}

static struct call *report_call(const struct uuid *task_id, enum attempt_status status,
                                const char *data)
{
    struct call *call = rig_call(CMD_REPORT, NULL, NULL);
    call->request.cmd.args.report = (struct report_args){.has_task_id = true,
                                                         .task_id = *task_id,
                                                         .status = status,
                                                         .error_code = BYTES_LIT("E"),
                                                         .data = bytes_str(data)};
    return call;
}

static enum silo_code report(struct rig *rig, const struct uuid *task_id,
                             enum attempt_status status)
{
    return finish(rig, report_call(task_id, status, "data"));
}

static struct call *heartbeat_call(const struct uuid *task_id, const char *worker)
{
    struct call *call = rig_call(CMD_HEARTBEAT, NULL, NULL);
    call->request.cmd.args.heartbeat = (struct heartbeat_args){
        .has_task_id = true, .task_id = *task_id, .worker_id = bytes_str(worker)};
    return call;
}

static enum silo_code heartbeat(struct rig *rig, const struct uuid *task_id, const char *worker)
{
    return finish(rig, heartbeat_call(task_id, worker));
}

static enum silo_code on_job(struct rig *rig, enum command_kind kind, const char *id)
{
    return finish(rig, rig_call(kind, T, id));
}

static struct call *get(struct rig *rig, const char *id)
{
    struct call *call = rig_call(CMD_GET_JOB, T, id);
    call->request.cmd.args.get.include_attempts = true;
    rig_do(rig, call);
    assert_int_equal(call->request.cmd.rc.code, SILO_OK);
    return call;
}

static enum job_status status(struct rig *rig, const char *id)
{
    struct call *call = get(rig, id);
    const enum job_status found = call->request.cmd.result.job.status;
    rig_call_free(call);
    return found;
}

static struct counts totals(struct rig *rig)
{
    struct call *call = rig_call(CMD_TOTALS, NULL, NULL);
    rig_do(rig, call);
    assert_int_equal(call->request.cmd.rc.code, SILO_OK);
    const struct counts counts = call->request.cmd.result.totals.counts;
    rig_call_free(call);
    return counts;
}

static void close_all(struct rig *rig)
{
    assert_int_equal(rig_stop(rig), SILO_OK);
    rig_free(rig);
}

/* --- life of one job --- */

static void test_success(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    enqueue(rig, "a", 5, 0);
    assert_int_equal(status(rig, "a"), JOB_SCHEDULED);
    const struct uuid task = lease_one(rig, "a");
    assert_int_equal(status(rig, "a"), JOB_RUNNING);
    assert_int_equal(heartbeat(rig, &task, "w1"), SILO_OK);
    assert_int_equal(heartbeat(rig, &task, "w2"), SILO_PRECONDITION);
    assert_int_equal(on_job(rig, CMD_GET_RESULT, "a"), SILO_PRECONDITION);
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_NOT_FOUND);
    assert_int_equal(heartbeat(rig, &task, "w1"), SILO_NOT_FOUND);
    struct call *call = rig_call(CMD_GET_RESULT, T, "a");
    rig_do(rig, call);
    assert_int_equal(call->request.cmd.rc.code, SILO_OK);
    assert_int_equal(call->request.cmd.result.job.status, JOB_SUCCEEDED);
    assert_true(bytes_eq(call->request.cmd.result.job.data, BYTES_LIT("data")));
    rig_call_free(call);
    const struct counts counts = totals(rig);
    assert_int_equal(counts.open, 0);
    assert_int_equal(counts.succeeded, 1);
    close_all(rig);
}

static void test_duplicate(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    enqueue(rig, "a", 5, 0);
    struct call *call = enqueue_call("a", "g", 5, 0);
    rig_do(rig, call);
    assert_int_equal(call->request.cmd.rc.code, SILO_EXISTS);
    assert_string_equal(call->request.cmd.error, "job already exists with id a");
    rig_call_free(call);
    call = enqueue_call("a", "g", 5, 12345);
    call->request.cmd.args.enqueue.return_existing = true;
    assert_int_equal(finish(rig, call), SILO_OK);
    call = enqueue_call("a", "g", 6, 0);
    call->request.cmd.args.enqueue.return_existing = true;
    assert_int_equal(finish(rig, call), SILO_EXISTS);
    assert_int_equal(totals(rig).open, 1);
    close_all(rig);
}

static void test_cancel_delete(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a"), SILO_NOT_FOUND);
    assert_int_equal(on_job(rig, CMD_DELETE_JOB, "a"), SILO_OK);
    assert_int_equal(on_job(rig, CMD_GET_JOB, "a"), SILO_NOT_FOUND);
    enqueue(rig, "a", 5, 0);
    assert_int_equal(on_job(rig, CMD_DELETE_JOB, "a"), SILO_PRECONDITION);
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a"), SILO_OK);
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a"), SILO_PRECONDITION);
    assert_int_equal(status(rig, "a"), JOB_CANCELLED);
    assert_int_equal(poll_empty(rig), 0);
    assert_int_equal(on_job(rig, CMD_DELETE_JOB, "a"), SILO_OK);
    assert_int_equal(on_job(rig, CMD_GET_JOB, "a"), SILO_NOT_FOUND);
    assert_int_equal(totals(rig).cancelled, 0);
    close_all(rig);
}

static void test_cancel_running(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    enqueue_retrying(rig, "a", 3, 1000);
    const struct uuid task = lease_one(rig, "a");
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a"), SILO_OK);
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a"), SILO_PRECONDITION);
    struct call *call = heartbeat_call(&task, "w1");
    rig_do(rig, call);
    assert_true(call->request.cmd.result.heartbeat.cancelled);
    assert_int_equal(call->request.cmd.result.heartbeat.cancelled_ms, rig->wall_ms);
    rig_call_free(call);
    assert_int_equal(status(rig, "a"), JOB_RUNNING);
    /* A marked job is not retried. */
    assert_int_equal(report(rig, &task, ATTEMPT_FAILED), SILO_OK);
    call = get(rig, "a");
    const struct job_view *job = &call->request.cmd.result.job;
    assert_int_equal(job->status, JOB_CANCELLED);
    assert_int_equal(job->state.final.outcome.status, ATTEMPT_FAILED);
    assert_true(job->state.has_mark);
    rig_call_free(call);
    close_all(rig);
}

static void test_cancel_then(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    enqueue(rig, "a", 5, 0);
    enqueue(rig, "b", 6, 0);
    const struct uuid task = lease_one(rig, "a");
    (void)lease_one(rig, "b");
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a"), SILO_OK);
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "b"), SILO_OK);
    /* A worker's report wins over the mark; an expiry does not. */
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
    struct call *call = get(rig, "a");
    assert_int_equal(call->request.cmd.result.job.status, JOB_SUCCEEDED);
    assert_true(call->request.cmd.result.job.state.has_mark);
    rig_call_free(call);
    rig_pass(rig, LEASE_MS);
    call = get(rig, "b");
    assert_int_equal(call->request.cmd.result.job.status, JOB_CANCELLED);
    assert_int_equal(call->request.cmd.result.job.state.final.outcome.status, ATTEMPT_CANCELLED);
    rig_call_free(call);
    close_all(rig);
}

static void test_retries(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    enqueue_retrying(rig, "a", 2, 100);
    for (uint32_t n = 1; n <= 3; n++) {
        const struct uuid task = lease_one(rig, "a");
        assert_int_equal(report(rig, &task, ATTEMPT_FAILED), SILO_OK);
        if (n < 3) {
            const int64_t delay = n == 1 ? 100 : 300;
            assert_int_equal(status(rig, "a"), JOB_SCHEDULED);
            rig_pass(rig, delay - 1);
            assert_int_equal(poll_empty(rig), 0);
            rig_pass(rig, 1);
        }
    }
    struct call *call = get(rig, "a");
    const struct job_view *job = &call->request.cmd.result.job;
    assert_int_equal(job->status, JOB_FAILED);
    assert_int_equal(job->attempt_count, 2);
    assert_int_equal(job->attempts[1].attempt.outcome.status, ATTEMPT_FAILED);
    assert_int_equal(job->state.attempt, 3);
    rig_call_free(call);
    assert_int_equal(totals(rig).failed, 1);
    close_all(rig);
}

static void test_future_start(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    enqueue(rig, "a", 5, rig->wall_ms + 5000);
    struct call *poll = poll_call(1, 60000);
    rig_send(rig, poll);
    rig_pass(rig, 4999);
    assert_false(poll->done);
    rig_pass(rig, 1);
    assert_true(poll->done);
    assert_int_equal(poll_count(poll), 1);
    rig_call_free(poll);
    close_all(rig);
}

static void test_far_future(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    enqueue(rig, "a", 5, INT64_MAX);
    rig_pass(rig, 100000);
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a"), SILO_OK);
    close_all(rig);
}

static void test_expiry(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    enqueue(rig, "a", 5, 0);
    const struct uuid task = lease_one(rig, "a");
    rig_pass(rig, LEASE_MS - 1);
    assert_int_equal(heartbeat(rig, &task, "w1"), SILO_OK);
    rig_pass(rig, LEASE_MS - 1);
    assert_int_equal(status(rig, "a"), JOB_RUNNING);
    rig_pass(rig, 1);
    struct call *call = get(rig, "a");
    const struct job_view *job = &call->request.cmd.result.job;
    assert_int_equal(job->status, JOB_FAILED);
    assert_true(bytes_eq(job->state.final.outcome.error_code, BYTES_LIT("WORKER_CRASHED")));
    assert_int_equal(job->data.ptr[0], 0xda); /* MessagePack str 16 */
    assert_int_equal(((size_t)job->data.ptr[1] << 8 | job->data.ptr[2]) + 3, job->data.len);
    rig_call_free(call);
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_NOT_FOUND);
    close_all(rig);
}

static void test_priorities(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    enqueue(rig, "low", 90, 1);
    enqueue(rig, "mid2", 50, rig->wall_ms - 10);
    enqueue(rig, "mid1", 50, rig->wall_ms - 20);
    enqueue(rig, "mid3", 50, rig->wall_ms - 10);
    enqueue(rig, "top", 0, 0);
    static const char *const order[] = {"top", "mid1", "mid2", "mid3", "low"};
    for (size_t i = 0; i < 5; i++) {
        (void)lease_one(rig, order[i]);
    }
    assert_int_equal(poll_empty(rig), 0);
    close_all(rig);
}

static void test_order_start(void **state)
{
    (void)state;
    struct rig *rig = open_with(&(struct rig_options){.seed = 1, .order = ORDER_START});
    enqueue(rig, "a", 90, 1);
    enqueue(rig, "c", 50, 2);
    enqueue(rig, "b", 0, 2);
    enqueue(rig, "d", 0, 3);
    static const char *const order[] = {"a", "b", "c", "d"};
    for (size_t i = 0; i < 4; i++) {
        (void)lease_one(rig, order[i]);
    }
    assert_int_equal(rig_stop(rig), SILO_OK);
    /* The order is the shard's: another one is refused. */
    rig->options.order = ORDER_PRIORITY;
    rig_start(rig);
    rig_pass(rig, 1000);
    assert_int_equal(shard_status(rig->shard), SHARD_FAILED);
    rig_free(rig);
}

/* --- polls --- */

static void test_parked_poll(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    struct call *poll = poll_call(5, 60000);
    rig_send(rig, poll);
    rig_settle(rig);
    assert_false(poll->done);
    const uint64_t before = store_mem_applied_seq(rig->store, RIG_PATH);
    enqueue(rig, "a", 5, 0);
    assert_true(poll->done);
    assert_int_equal(poll_count(poll), 1);
    assert_int_equal(store_mem_applied_seq(rig->store, RIG_PATH), before + 1);
    rig_call_free(poll);
    /* The oldest poll is served first; one that nobody serves leaves empty. */
    struct call *first = poll_call(1, 3000);
    struct call *second = poll_call(1, 3000);
    rig_send(rig, first);
    rig_send(rig, second);
    rig_settle(rig);
    enqueue(rig, "b", 5, 0);
    assert_true(first->done && !second->done);
    rig_pass(rig, 2999);
    assert_false(second->done);
    rig_pass(rig, 1);
    assert_true(second->done);
    assert_int_equal(poll_count(second), 0);
    rig_call_free(first);
    rig_call_free(second);
    close_all(rig);
}

static bool claim_flag(void *context)
{
    bool *taken = context;
    const bool mine = !*taken;
    *taken = true;
    return mine;
}

static void test_poll_claim(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    bool taken = true;
    struct call *poll = poll_call(1, 60000);
    poll->request.cmd.args.poll.claim = claim_flag;
    poll->request.cmd.args.poll.claim_context = &taken;
    rig_send(rig, poll);
    rig_settle(rig);
    assert_false(poll->done);
    enqueue(rig, "a", 5, 0);
    assert_true(poll->done); /* another shard has filled it */
    assert_int_equal(poll_count(poll), 0);
    rig_call_free(poll);
    taken = false;
    poll = poll_call(1, 60000);
    poll->request.cmd.args.poll.claim = claim_flag;
    poll->request.cmd.args.poll.claim_context = &taken;
    rig_do(rig, poll);
    assert_true(taken);
    assert_int_equal(poll_count(poll), 1);
    rig_call_free(poll);
    close_all(rig);
}

static void test_poll_stop(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    struct call *poll = poll_call(1, 60000);
    rig_send(rig, poll);
    rig_settle(rig);
    struct call *stop = rig_call(CMD_POLL_STOP, NULL, NULL);
    stop->request.cmd.args.poll_stop.poll = &poll->request.cmd;
    rig_do(rig, stop);
    assert_true(poll->done);
    assert_int_equal(poll_count(poll), 0);
    rig_call_free(stop);
    rig_call_free(poll);
    enqueue(rig, "a", 5, 0);
    assert_int_equal(status(rig, "a"), JOB_SCHEDULED);
    /* Without waiting, and when polls are released. */
    (void)lease_one(rig, "a");
    poll = poll_call(1, 60000);
    rig_send(rig, poll);
    rig_settle(rig);
    shards_release_polls(rig->shards);
    rig_settle(rig);
    assert_true(poll->done);
    rig_call_free(poll);
    poll = poll_call(1, 60000);
    rig_do(rig, poll);
    assert_int_equal(poll_count(poll), 0);
    rig_call_free(poll);
    close_all(rig);
}

static void test_give_back(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    enqueue(rig, "a", 5, 0);
    enqueue(rig, "b", 5, 0);
    const struct uuid task = lease_one(rig, "a");
    struct call *call = rig_call(CMD_GIVE_BACK, NULL, NULL);
    call->request.cmd.args.give_back = (struct give_back_args){.task_ids = &task, .count = 1};
    assert_int_equal(finish(rig, call), SILO_OK);
    assert_int_equal(status(rig, "a"), JOB_SCHEDULED);
    struct call *poll = poll_call(1, 0);
    rig_do(rig, poll);
    assert_true(bytes_eq(poll_task(poll, 0)->job_id, BYTES_LIT("a")));
    assert_int_equal(poll_task(poll, 0)->attempt, 1);
    assert_false(uuid_eq(&poll_task(poll, 0)->task_id, &task));
    rig_call_free(poll);
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_NOT_FOUND);
    close_all(rig);
}

static void test_waiting_result(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    enqueue(rig, "a", 5, 0);
    struct call *early = rig_call(CMD_GET_RESULT, T, "a");
    early->request.cmd.args.get.wait_ms = 1000;
    struct call *late = rig_call(CMD_GET_RESULT, T, "a");
    late->request.cmd.args.get.wait_ms = 30000;
    rig_send(rig, early);
    rig_send(rig, late);
    const struct uuid task = lease_one(rig, "a");
    rig_pass(rig, 1000);
    assert_true(early->done && !late->done);
    assert_int_equal(early->request.cmd.rc.code, SILO_PRECONDITION);
    assert_string_equal(early->request.cmd.error, "job is not complete: status is Running");
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
    assert_true(late->done);
    assert_int_equal(late->request.cmd.rc.code, SILO_OK);
    assert_int_equal(late->request.cmd.result.job.status, JOB_SUCCEEDED);
    rig_call_free(early);
    rig_call_free(late);
    close_all(rig);
}

/* --- rows --- */

struct rows {
    uint64_t puts, deletes, counters;
};

static struct rows rows_take(struct rig *rig)
{
    struct store_mem_counts counts;
    store_mem_counts(rig->store, &counts);
    struct rows rows = {0};
    for (int table = 0; table < 256; table++) {
        if (table == TABLE_COUNT || table == TABLE_META) {
            rows.counters += counts.puts[table];
        } else {
            rows.puts += counts.puts[table];
            rows.deletes += counts.deletes[table];
        }
    }
    store_mem_counts_reset(rig->store);
    return rows;
}

static void test_row_budget(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    enqueue(rig, "warm", 5, 0);
    (void)lease_one(rig, "warm");
    (void)rows_take(rig);

    enqueue(rig, "a", 5, 0);
    struct rows rows = rows_take(rig);
    assert_int_equal(rows.puts + rows.deletes, 3);
    assert_int_equal(rows.counters, 2); /* the tenant's and the shard's */
    struct uuid task = lease_one(rig, "a");
    rows = rows_take(rig);
    assert_int_equal(rows.puts, 1);
    assert_int_equal(rows.deletes, 1);
    assert_int_equal(rows.counters, 0);
    assert_int_equal(heartbeat(rig, &task, "w1"), SILO_OK);
    rows = rows_take(rig);
    assert_int_equal(rows.puts + rows.deletes + rows.counters, 0);
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
    rows = rows_take(rig);
    assert_int_equal(rows.puts + rows.deletes, 4); /* lease gone, state, index moved */
    assert_int_equal(rows.counters, 2);

    struct call *poll = poll_call(1, 60000);
    rig_send(rig, poll);
    rig_settle(rig);
    enqueue(rig, "b", 5, 0);
    assert_true(poll->done);
    task = poll_task(poll, 0)->task_id;
    rig_call_free(poll);
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
    rows = rows_take(rig);
    assert_int_equal(rows.puts + rows.deletes, 7);
    close_all(rig);
}

static void test_large_bytes(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    static uint8_t large[20000];
    memset(large, 'x', sizeof large);
    struct call *call = enqueue_call("a", "g", 5, 0);
    call->request.cmd.args.enqueue.payload = bytes_of(large, sizeof large);
    assert_int_equal(finish(rig, call), SILO_OK);
    struct call *poll = poll_call(1, 0);
    rig_do(rig, poll);
    assert_true(bytes_eq(poll_task(poll, 0)->payload, bytes_of(large, sizeof large)));
    call = report_call(&poll_task(poll, 0)->task_id, ATTEMPT_SUCCEEDED, "");
    call->request.cmd.args.report.data = bytes_of(large, 10000);
    assert_int_equal(finish(rig, call), SILO_OK);
    rig_call_free(poll);
    call = get(rig, "a");
    assert_true(bytes_eq(call->request.cmd.result.job.payload, bytes_of(large, sizeof large)));
    assert_true(bytes_eq(call->request.cmd.result.job.data, bytes_of(large, 10000)));
    rig_call_free(call);
    assert_int_equal(on_job(rig, CMD_DELETE_JOB, "a"), SILO_OK);
    close_all(rig);
}

/* Polls for so many tasks and checks that they come in the order of their starts. */
static size_t poll_sorted(struct rig *rig, uint32_t tasks_max, int64_t *last_ms)
{
    struct call *poll = poll_call(tasks_max, 0);
    rig_send(rig, poll);
    rig_pass(rig, 100);
    const size_t count = poll_count(poll);
    for (size_t i = 0; i < count; i++) {
        const int64_t start_ms = poll_task(poll, i)->info.due_ms;
        assert_true(start_ms >= *last_ms);
        *last_ms = start_ms;
    }
    rig_call_free(poll);
    return count;
}

/* While a page is read, older work pushes the end of a full window out: the page does not follow it any more. */
static void test_page_races(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    const int64_t base_ms = rig->wall_ms;
    char id[16];
    for (int i = 0; i < 1300; i++) {
        (void)snprintf(id, sizeof id, "a%d", i);
        enqueue(rig, id, 5, base_ms - 100000 + i);
    }
    int64_t last_ms = 0;
    assert_int_equal(poll_sorted(rig, 1, &last_ms), 1);
    store_mem_outage(rig->store, STORE_MEM_BIT(STORE_MEM_SCAN), "slow");
    size_t count = 1 + poll_sorted(rig, 600, &last_ms);
    assert_int_equal(count, 601);
    for (int i = 0; i < 700; i++) {
        (void)snprintf(id, sizeof id, "b%d", i);
        enqueue(rig, id, 5, base_ms - 300000 + i);
    }
    last_ms = 0;
    count += poll_sorted(rig, 300, &last_ms);
    assert_int_equal(count, 901);
    store_mem_outage(rig->store, 0, NULL);
    rig_settle(rig);
    size_t got = 0;
    while ((got = poll_sorted(rig, 100, &last_ms)) != 0) {
        count += got;
    }
    assert_int_equal(count, 2000);
    close_all(rig);
}

/* --- life of the shard --- */

static void test_reopen(void **state)
{
    (void)state;
    for (int kill = 0; kill < 2; kill++) {
        struct rig *rig = open_plain();
        enqueue(rig, "a", 5, 0);
        enqueue(rig, "b", 4, 0);
        enqueue(rig, "later", 0, rig->wall_ms + 5000);
        const struct uuid task = lease_one(rig, "b");
        if (kill != 0) {
            rig_kill(rig, STORE_MEM_LOSE);
        } else {
            assert_int_equal(rig_stop(rig), SILO_OK);
        }
        rig->mono_us += 3600 * 1000000LL;
        rig_start(rig);
        rig_settle(rig);
        assert_true(rig_is_open(rig));
        assert_int_equal(totals(rig).open, 3);
        assert_int_equal(status(rig, "b"), JOB_RUNNING);
        rig_pass(rig, LEASE_MS - 1000); /* a fresh term */
        assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
        (void)lease_one(rig, "later");
        (void)lease_one(rig, "a");
        close_all(rig);
    }
}

static void test_reset(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    enqueue(rig, "a", 5, 0);
    assert_int_equal(rig_control(rig, shard_reset), SILO_OK);
    assert_true(rig_is_open(rig));
    assert_int_equal(totals(rig).open, 0);
    assert_int_equal(on_job(rig, CMD_GET_JOB, "a"), SILO_NOT_FOUND);
    enqueue(rig, "a", 5, 0);
    (void)lease_one(rig, "a");
    close_all(rig);
}

/* A reset that arrives while the shard is being opened still deletes its data. */
static void test_reset_while_opening(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    enqueue(rig, "a", 5, 0);
    assert_int_equal(rig_stop(rig), SILO_OK);
    rig_start(rig);
    assert_int_equal(rig_control(rig, shard_reset), SILO_OK);
    assert_int_equal(totals(rig).open, 0);
    close_all(rig);
}

static void test_closed(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&(struct rig_options){.seed = 1});
    rig_start(rig);
    assert_int_equal(on_job(rig, CMD_GET_JOB, "a"), SILO_UNAVAILABLE);
    rig_settle(rig);
    struct call *poll = poll_call(1, 60000);
    struct call *wait = rig_call(CMD_GET_RESULT, T, "a");
    wait->request.cmd.args.get.wait_ms = 60000;
    enqueue(rig, "a", 5, rig->wall_ms + 60000);
    rig_send(rig, poll);
    rig_send(rig, wait);
    rig_settle(rig);
    assert_int_equal(rig_control(rig, shard_close), SILO_OK);
    assert_true(poll->done && wait->done);
    assert_int_equal(poll_count(poll), 0);
    assert_int_equal(wait->request.cmd.rc.code, SILO_PRECONDITION);
    rig_call_free(poll);
    rig_call_free(wait);
    assert_int_equal(on_job(rig, CMD_GET_JOB, "a"), SILO_UNAVAILABLE);
    assert_int_equal(rig_control(rig, shard_open), SILO_OK);
    assert_int_equal(status(rig, "a"), JOB_SCHEDULED);
    close_all(rig);
}

/* Answers leave when what they saw is durable, not before. */
static void test_durable_first(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    enqueue(rig, "a", 5, 0);
    store_mem_outage(rig->store, STORE_MEM_BIT(STORE_MEM_FLUSH), "slow");
    struct call *calls[] = {enqueue_call("b", "g", 5, 0),     poll_call(2, 0),
                            rig_call(CMD_CANCEL_JOB, T, "a"), rig_call(CMD_GET_JOB, T, "b"),
                            enqueue_call("b", "g", 5, 0),     rig_call(CMD_GET_JOB, T, "none"),
                            rig_call(CMD_TOTALS, NULL, NULL)};
    const size_t count = sizeof calls / sizeof calls[0];
    for (size_t i = 0; i < count; i++) {
        rig_send(rig, calls[i]);
        rig_pass(rig, 10);
    }
    for (size_t i = 0; i < count; i++) {
        assert_false(calls[i]->done);
    }
    store_mem_outage(rig->store, 0, NULL);
    rig_settle(rig);
    static const enum silo_code codes[] = {SILO_OK,     SILO_OK,        SILO_OK, SILO_OK,
                                           SILO_EXISTS, SILO_NOT_FOUND, SILO_OK};
    for (size_t i = 0; i < count; i++) {
        assert_true(calls[i]->done);
        assert_int_equal(calls[i]->request.cmd.rc.code, codes[i]);
        rig_call_free(calls[i]);
    }
    close_all(rig);
}

static void test_outage(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    enqueue(rig, "a", 5, 0);
    const struct uuid task = lease_one(rig, "a");
    store_mem_outage(rig->store, STORE_MEM_REMOTE, "the bucket is on fire");
    struct call *stuck[60];
    size_t count = 0;
    /* Writes into memory go on all the time: they are no progress. */
    for (int ms = 0; ms < 4900; ms += 100) {
        char id[16];
        (void)snprintf(id, sizeof id, "s%zu", count);
        stuck[count] = enqueue_call(id, "g", 5, 0);
        rig_send(rig, stuck[count]);
        count++;
        rig_pass(rig, 100);
    }
    rig_pass(rig, 200);
    struct call *refused = enqueue_call("x", "g", 5, 0);
    rig_do(rig, refused);
    assert_int_equal(refused->request.cmd.rc.code, SILO_UNAVAILABLE);
    assert_non_null(strstr(refused->request.cmd.error, "the bucket is on fire"));
    rig_call_free(refused);
    struct call *read = heartbeat_call(&task, "w1");
    rig_send(rig, read);
    rig_pass(rig, 20000);
    assert_true(read->done);
    assert_int_equal(read->request.cmd.rc.code, SILO_UNAVAILABLE);
    rig_call_free(read);
    store_mem_outage(rig->store, 0, NULL);
    rig_settle(rig);
    for (size_t i = 0; i < count; i++) {
        assert_true(stuck[i]->done);
        assert_int_equal(stuck[i]->request.cmd.rc.code, SILO_OK);
        rig_call_free(stuck[i]);
    }
    /* 25 s without a heartbeat, and the lease has a fresh term. */
    rig_pass(rig, LEASE_MS - 100);
    assert_int_equal(status(rig, "a"), JOB_RUNNING);
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
    enqueue(rig, "x", 5, 0);
    close_all(rig);
}

static void test_fenced(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    enqueue(rig, "a", 5, 0);
    rig_fence(rig);
    struct call *call = enqueue_call("b", "g", 5, 0);
    rig_send(rig, call);
    rig_settle(rig);
    assert_true(call->done);
    assert_int_equal(call->request.cmd.rc.code, SILO_UNAVAILABLE);
    rig_call_free(call);
    rig_pass(rig, 1000);
    assert_true(rig_is_open(rig));
    assert_int_equal(status(rig, "a"), JOB_SCHEDULED);
    assert_int_equal(on_job(rig, CMD_GET_JOB, "b"), SILO_NOT_FOUND);
    /* A shard that only reads finds out by its proof of ownership. */
    rig_fence(rig);
    rig_pass(rig, OWNERSHIP_MS + 1);
    assert_int_equal(on_job(rig, CMD_GET_JOB, "a"), SILO_UNAVAILABLE);
    rig_pass(rig, 1000);
    assert_int_equal(status(rig, "a"), JOB_SCHEDULED);
    close_all(rig);
}

static void test_read_failure(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    enqueue(rig, "a", 5, 0);
    assert_int_equal(rig_stop(rig), SILO_OK);
    rig_start(rig);
    rig_settle(rig);
    store_mem_fail(rig->store, &(struct store_mem_fault){
                                   .kind = STORE_MEM_MGET, .nth = 1, .code = SILO_UNAVAILABLE});
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a"), SILO_UNAVAILABLE);
    assert_true(rig_is_open(rig));
    assert_int_equal(status(rig, "a"), JOB_SCHEDULED);
    /* A page that cannot be read is asked for again. */
    store_mem_fail(rig->store, &(struct store_mem_fault){
                                   .kind = STORE_MEM_SCAN, .nth = 1, .code = SILO_UNAVAILABLE});
    struct call *poll = poll_call(1, 5000);
    rig_send(rig, poll);
    rig_pass(rig, READ_RETRY_MS + 1);
    assert_true(poll->done);
    assert_int_equal(poll_count(poll), 1);
    rig_call_free(poll);
    close_all(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_success),       cmocka_unit_test(test_duplicate),
        cmocka_unit_test(test_cancel_delete), cmocka_unit_test(test_cancel_running),
        cmocka_unit_test(test_cancel_then),   cmocka_unit_test(test_retries),
        cmocka_unit_test(test_future_start),  cmocka_unit_test(test_far_future),
        cmocka_unit_test(test_expiry),        cmocka_unit_test(test_priorities),
        cmocka_unit_test(test_order_start),   cmocka_unit_test(test_parked_poll),
        cmocka_unit_test(test_poll_claim),    cmocka_unit_test(test_poll_stop),
        cmocka_unit_test(test_give_back),     cmocka_unit_test(test_waiting_result),
        cmocka_unit_test(test_row_budget),    cmocka_unit_test(test_page_races),
        cmocka_unit_test(test_large_bytes),   cmocka_unit_test(test_reopen),
        cmocka_unit_test(test_reset),         cmocka_unit_test(test_reset_while_opening),
        cmocka_unit_test(test_closed),        cmocka_unit_test(test_durable_first),
        cmocka_unit_test(test_outage),        cmocka_unit_test(test_fenced),
        cmocka_unit_test(test_read_failure),
    };
    return cmocka_run_group_tests_name("shard", tests, NULL, NULL);
}
