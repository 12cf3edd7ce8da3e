/* core/jobs_test.c - jobs and polls, call by call, and the rows they cost. */
#include <stdio.h>

#include "base/limits.h"
#include "base/test.h"
#include "core/calls_test.h"
#include "core/core_rig_test.h"

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
    assert_int_equal(call->cmd.rc.code, SILO_OK);
    assert_int_equal(call->cmd.result.job.status, JOB_SUCCEEDED);
    assert_true(bytes_eq(call->cmd.result.job.data, BYTES_LIT("data")));
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
    assert_int_equal(call->cmd.rc.code, SILO_EXISTS);
    assert_string_equal(call->cmd.error, "job already exists with id a");
    rig_call_free(call);
    call = enqueue_call("a", "g", 5, 12345);
    call->cmd.args.enqueue.return_existing = true;
    assert_int_equal(finish(rig, call), SILO_OK);
    call = enqueue_call("a", "g", 6, 0);
    call->cmd.args.enqueue.return_existing = true;
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
    assert_true(call->cmd.result.heartbeat.cancelled);
    assert_int_equal(call->cmd.result.heartbeat.cancelled_ms, rig->wall_ms);
    rig_call_free(call);
    assert_int_equal(status(rig, "a"), JOB_RUNNING);
    /* A marked job is not retried. */
    assert_int_equal(report(rig, &task, ATTEMPT_FAILED), SILO_OK);
    call = get(rig, "a");
    const struct job_view *job = &call->cmd.result.job;
    assert_int_equal(job->status, JOB_CANCELLED);
    assert_int_equal(job->state.final.outcome.status, ATTEMPT_FAILED);
    assert_true(job->state.has_mark);
    rig_call_free(call);
    close_all(rig);
}

/*
 * The worker of a cancelled job keeps its lease, and hears of the cancellation each time, until it
 * reports.
 */
static void test_cancelled_heartbeats(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    enqueue_retrying(rig, "a", 3, 0);
    const struct uuid task = lease_one(rig, "a");
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a"), SILO_OK);
    for (int i = 0; i < 5; i++) {
        rig_pass(rig, LEASE_MS - 1000);
        struct call *call = heartbeat_call(&task, "w1");
        rig_do(rig, call);
        assert_int_equal(call->cmd.rc.code, SILO_OK);
        assert_true(call->cmd.result.heartbeat.cancelled);
        rig_call_free(call);
    }
    assert_int_equal(report(rig, &task, ATTEMPT_CANCELLED), SILO_OK);
    assert_int_equal(status(rig, "a"), JOB_CANCELLED);
    assert_int_equal(heartbeat(rig, &task, "w1"), SILO_NOT_FOUND);
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
    assert_int_equal(call->cmd.result.job.status, JOB_SUCCEEDED);
    assert_true(call->cmd.result.job.state.has_mark);
    rig_call_free(call);
    rig_pass(rig, LEASE_MS);
    call = get(rig, "b");
    assert_int_equal(call->cmd.result.job.status, JOB_CANCELLED);
    assert_int_equal(call->cmd.result.job.state.final.outcome.status, ATTEMPT_CANCELLED);
    rig_call_free(call);
    close_all(rig);
}

/* A worker may know that no retry can help. Then a cancellation has nothing to stop either. */
static void test_no_retry(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    for (int marked = 0; marked < 2; marked++) {
        const char *id = marked ? "b" : "a";
        enqueue_retrying(rig, id, 3, 100);
        const struct uuid task = lease_one(rig, id);
        if (marked) {
            assert_int_equal(on_job(rig, CMD_CANCEL_JOB, id), SILO_OK);
        }
        struct call *call = report_call(&task, ATTEMPT_FAILED, "never");
        call->cmd.args.report.final = true;
        assert_int_equal(finish(rig, call), SILO_OK);
        assert_int_equal(status(rig, id), JOB_FAILED);
        rig_pass(rig, 60000);
        assert_int_equal(poll_empty(rig), 0);
        assert_int_equal(on_job(rig, CMD_RESTART_JOB, id), SILO_OK);
        const struct uuid again = lease_one(rig, id);
        assert_int_equal(report(rig, &again, ATTEMPT_SUCCEEDED), SILO_OK);
    }
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
    const struct job_view *job = &call->cmd.result.job;
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
    const struct job_view *job = &call->cmd.result.job;
    assert_int_equal(job->status, JOB_FAILED);
    assert_true(bytes_eq(job->state.final.outcome.error_code, BYTES_LIT("WORKER_CRASHED")));
    assert_int_equal(job->data.ptr[0], 0xda); /* MessagePack str 16 */
    assert_int_equal(((size_t)job->data.ptr[1] << 8 | job->data.ptr[2]) + 3, job->data.len);
    rig_call_free(call);
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_NOT_FOUND);
    close_all(rig);
}

/* A crowd of leases ends while storage does not answer: what is under way for them is bounded. */
static void test_expiries_are_bounded(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    const uint32_t jobs = SHARD_EXPIRIES_MAX + 100;
    for (uint32_t i = 0; i < jobs; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "j%u", i);
        enqueue(rig, id, 5, 0);
    }
    for (uint32_t leased = 0; leased < jobs;) {
        struct call *call = poll_call(1000, 0);
        rig_do(rig, call);
        assert_true(poll_count(call) != 0);
        leased += (uint32_t)poll_count(call);
        rig_call_free(call);
    }
    assert_int_equal(rig_stop(rig), SILO_OK);
    rig_start(rig); /* the counters are not in memory: each end of a job reads */
    rig_settle(rig);
    core_rig_hold(rig, RIG_GET);
    rig_pass(rig, LEASE_MS + 1000);
    assert_int_equal(core_stats(rig_core(rig)).commands, SHARD_EXPIRIES_MAX);
    core_rig_hold(rig, 0);
    rig_pass(rig, 1000);
    assert_int_equal(core_stats(rig_core(rig)).commands, 0);
    assert_int_equal(totals(rig).failed, jobs);
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
    core_rig_options(rig)->order = ORDER_PRIORITY;
    rig_start(rig);
    rig_pass(rig, 1000);
    assert_false(rig_is_open(rig));
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
    const uint64_t before = rig_batches(rig);
    enqueue(rig, "a", 5, 0);
    assert_true(poll->done);
    assert_int_equal(poll_count(poll), 1);
    assert_int_equal(rig_batches(rig), before + 1);
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
    poll->cmd.args.poll.claim = claim_flag;
    poll->cmd.args.poll.claim_context = &taken;
    rig_send(rig, poll);
    rig_settle(rig);
    assert_false(poll->done);
    enqueue(rig, "a", 5, 0);
    assert_true(poll->done); /* another shard has filled it */
    assert_int_equal(poll_count(poll), 0);
    rig_call_free(poll);
    taken = false;
    poll = poll_call(1, 60000);
    poll->cmd.args.poll.claim = claim_flag;
    poll->cmd.args.poll.claim_context = &taken;
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
    stop->cmd.args.poll_stop.poll = poll->sent;
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
    core_release_polls(rig_core(rig));
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
    call->cmd.args.give_back = (struct give_back_args){.task_ids = &task, .count = 1};
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

/*
 * A job that was cancelled while an unheard-of worker had it ends at once, and no attempt of it was
 * made.
 */
static void test_give_back_cancelled(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    enqueue_retrying(rig, "a", 3, 1000);
    const struct uuid task = lease_one(rig, "a");
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a"), SILO_OK);
    struct call *call = rig_call(CMD_GIVE_BACK, NULL, NULL);
    call->cmd.args.give_back = (struct give_back_args){.task_ids = &task, .count = 1};
    assert_int_equal(finish(rig, call), SILO_OK);
    call = get(rig, "a");
    const struct job_view *job = &call->cmd.result.job;
    assert_int_equal(job->status, JOB_CANCELLED);
    assert_int_equal(job->attempt_count, 0);
    assert_false(job->state.by_attempt);
    assert_true(job->state.has_mark);
    rig_call_free(call);
    assert_int_equal(totals(rig).cancelled, 1);
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_NOT_FOUND);
    assert_int_equal(on_job(rig, CMD_RESTART_JOB, "a"), SILO_OK);
    (void)lease_one(rig, "a");
    close_all(rig);
}

/*
 * The task reaches its worker late: the whole term is ahead of it. What is not leased any more is
 * left alone.
 */
static void test_renew(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    enqueue(rig, "a", 5, 0);
    enqueue(rig, "b", 5, 0);
    struct uuid tasks[2] = {lease_one(rig, "a"), lease_one(rig, "b")};
    assert_int_equal(report(rig, &tasks[1], ATTEMPT_SUCCEEDED), SILO_OK);
    rig_pass(rig, LEASE_MS - 1000);
    struct call *call = rig_call(CMD_RENEW, NULL, NULL);
    call->cmd.args.renew = (struct renew_args){.task_ids = tasks, .count = 2};
    assert_int_equal(finish(rig, call), SILO_OK);
    rig_pass(rig, LEASE_MS - 1000);
    assert_int_equal(status(rig, "a"), JOB_RUNNING);
    rig_pass(rig, 1000);
    assert_int_equal(status(rig, "a"), JOB_FAILED);
    assert_int_equal(status(rig, "b"), JOB_SUCCEEDED);
    call = rig_call(CMD_RENEW, NULL, NULL);
    call->cmd.args.renew = (struct renew_args){.task_ids = tasks, .count = 2};
    assert_int_equal(finish(rig, call), SILO_OK);
    close_all(rig);
}

/* --- tasks returned by their workers --- */

static struct call *return_call(const struct uuid *task_id, const char *worker)
{
    struct call *call = rig_call(CMD_RETURN_TASK, NULL, NULL);
    call->cmd.args.return_task = (struct return_task_args){
        .has_task_id = task_id != NULL, .worker_id = arena_copy(&call->arena, bytes_str(worker))};
    if (task_id != NULL) {
        call->cmd.args.return_task.task_id = *task_id;
    }
    return call;
}

static void test_return(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    enqueue_retrying(rig, "a", 3, 0);
    enqueue(rig, "b", 5, 0);
    struct uuid task = lease_one(rig, "a");
    assert_int_equal(report(rig, &task, ATTEMPT_FAILED), SILO_OK);
    rig_pass(rig, 10);
    task = lease_one(rig, "b"); /* it came first */
    assert_int_equal(finish(rig, return_call(&task, "w2")), SILO_PRECONDITION);
    assert_int_equal(status(rig, "b"), JOB_RUNNING);
    assert_int_equal(finish(rig, return_call(&task, "w1")), SILO_OK);
    assert_int_equal(finish(rig, return_call(&task, "w1")), SILO_NOT_FOUND);
    assert_int_equal(finish(rig, return_call(NULL, "w1")), SILO_NOT_FOUND);
    assert_int_equal(status(rig, "b"), JOB_SCHEDULED);
    const struct uuid again = lease_one(rig, "b"); /* it stands where it stood */
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_NOT_FOUND);
    assert_int_equal(report(rig, &again, ATTEMPT_SUCCEEDED), SILO_OK);

    struct call *poll = poll_call(1, 0);
    rig_do(rig, poll);
    assert_int_equal(poll_task(poll, 0)->attempt, 2);
    task = poll_task(poll, 0)->task_id;
    rig_call_free(poll);
    assert_int_equal(finish(rig, return_call(&task, "w1")), SILO_OK);
    struct call *call = get(rig, "a");
    assert_int_equal(call->cmd.result.job.attempt_count, 1);
    rig_call_free(call);
    poll = poll_call(1, 0);
    rig_do(rig, poll);
    assert_int_equal(poll_task(poll, 0)->attempt, 2);
    rig_call_free(poll);
    close_all(rig);
}

static void test_return_cancelled(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    enqueue_retrying(rig, "a", 3, 0);
    const struct uuid task = lease_one(rig, "a");
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a"), SILO_OK);
    assert_int_equal(finish(rig, return_call(&task, "w1")), SILO_OK);
    struct call *call = get(rig, "a");
    assert_int_equal(call->cmd.result.job.status, JOB_CANCELLED);
    assert_int_equal(call->cmd.result.job.attempt_count, 0);
    assert_false(call->cmd.result.job.state.by_attempt);
    rig_call_free(call);
    assert_int_equal(poll_empty(rig), 0);
    assert_int_equal(on_job(rig, CMD_DELETE_JOB, "a"), SILO_OK);
    close_all(rig);
}

static void test_waiting_result(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    enqueue(rig, "a", 5, 0);
    struct call *early = rig_call(CMD_GET_RESULT, T, "a");
    early->cmd.args.get.wait_ms = 1000;
    struct call *late = rig_call(CMD_GET_RESULT, T, "a");
    late->cmd.args.get.wait_ms = 30000;
    rig_send(rig, early);
    rig_send(rig, late);
    const struct uuid task = lease_one(rig, "a");
    rig_pass(rig, 1000);
    assert_true(early->done && !late->done);
    assert_int_equal(early->cmd.rc.code, SILO_PRECONDITION);
    assert_string_equal(early->cmd.error, "job is not complete: status is Running");
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
    assert_true(late->done);
    assert_int_equal(late->cmd.rc.code, SILO_OK);
    assert_int_equal(late->cmd.result.job.status, JOB_SUCCEEDED);
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
    const struct rig_counts *counts = core_rig_counts(rig);
    struct rows rows = {0};
    for (int table = 0; table < 256; table++) {
        if (table == TABLE_COUNT || table == TABLE_META) {
            rows.counters += counts->puts[table];
        } else {
            rows.puts += counts->puts[table];
            rows.deletes += counts->deletes[table];
        }
    }
    core_rig_counts_reset(rig);
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
    call->cmd.args.enqueue.payload = bytes_of(large, sizeof large);
    assert_int_equal(finish(rig, call), SILO_OK);
    struct call *poll = poll_call(1, 0);
    rig_do(rig, poll);
    assert_true(bytes_eq(poll_task(poll, 0)->payload, bytes_of(large, sizeof large)));
    call = report_call(&poll_task(poll, 0)->task_id, ATTEMPT_SUCCEEDED, "");
    call->cmd.args.report.data = bytes_of(large, 10000);
    assert_int_equal(finish(rig, call), SILO_OK);
    rig_call_free(poll);
    call = get(rig, "a");
    assert_true(bytes_eq(call->cmd.result.job.payload, bytes_of(large, sizeof large)));
    assert_true(bytes_eq(call->cmd.result.job.data, bytes_of(large, 10000)));
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

/*
 * While a page is read, older work pushes the end of a full window out: the page does not follow it
 * any more.
 */
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
    core_rig_hold(rig, RIG_SCAN);
    size_t count = 1;
    while (count < 601) { /* as many as have their info rows loaded */
        count += poll_sorted(rig, (uint32_t)(601 - count), &last_ms);
    }
    for (int i = 0; i < 700; i++) {
        (void)snprintf(id, sizeof id, "b%d", i);
        enqueue(rig, id, 5, base_ms - 300000 + i);
    }
    last_ms = 0;
    while (count < 901) {
        count += poll_sorted(rig, (uint32_t)(901 - count), &last_ms);
    }
    core_rig_hold(rig, 0);
    rig_settle(rig);
    size_t got = 0;
    while ((got = poll_sorted(rig, 100, &last_ms)) != 0) {
        count += got;
    }
    assert_int_equal(count, 2000);
    close_all(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_success),
        cmocka_unit_test(test_duplicate),
        cmocka_unit_test(test_cancel_delete),
        cmocka_unit_test(test_cancel_running),
        cmocka_unit_test(test_cancel_then),
        cmocka_unit_test(test_no_retry),
        cmocka_unit_test(test_retries),
        cmocka_unit_test(test_future_start),
        cmocka_unit_test(test_far_future),
        cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_expiries_are_bounded),
        cmocka_unit_test(test_priorities),
        cmocka_unit_test(test_order_start),
        cmocka_unit_test(test_parked_poll),
        cmocka_unit_test(test_poll_claim),
        cmocka_unit_test(test_poll_stop),
        cmocka_unit_test(test_give_back),
        cmocka_unit_test(test_give_back_cancelled),
        cmocka_unit_test(test_return),
        cmocka_unit_test(test_return_cancelled),
        cmocka_unit_test(test_renew),
        cmocka_unit_test(test_cancelled_heartbeats),
        cmocka_unit_test(test_waiting_result),
        cmocka_unit_test(test_row_budget),
        cmocka_unit_test(test_page_races),
        cmocka_unit_test(test_large_bytes),
    };
    return cmocka_run_group_tests_name("shard", tests, NULL, NULL);
}
