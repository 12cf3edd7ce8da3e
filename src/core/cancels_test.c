/* core/cancels_test.c - workers that wait to hear which of their running jobs were cancelled. */
#include "base/limits.h"
#include "base/test.h"
#include "core/calls_test.h"
#include "core/core_rig_test.h"

static struct call *await_call(const char *worker, uint32_t wait_ms, const struct uuid *known,
                               size_t known_count)
{
    struct call *call = rig_call(CMD_AWAIT_CANCELS, NULL, NULL);
    call->cmd.args.await = (struct await_args){.worker_id = bytes_str(worker),
                                               .known = known,
                                               .known_count = known_count,
                                               .wait_ms = wait_ms};
    return call;
}

static struct call *await_sent(struct rig *rig, const char *worker, uint32_t wait_ms)
{
    struct call *call = await_call(worker, wait_ms, NULL, 0);
    rig_send(rig, call);
    rig_settle(rig);
    return call;
}

static size_t told(const struct call *call)
{
    assert_true(call->done);
    assert_int_equal(call->cmd.rc.code, SILO_OK);
    return call->cmd.result.await.count;
}

static void told_is(const struct call *call, const struct uuid *task_id, int64_t cancelled_ms)
{
    assert_int_equal(told(call), 1);
    const struct cancelled_task *task = call->cmd.result.await.tasks;
    assert_true(uuid_eq(&task->task_id, task_id));
    assert_int_equal(task->cancelled_ms, cancelled_ms);
}

/* How many are told to a worker that does not wait. */
static size_t told_now(struct rig *rig, const char *worker, const struct uuid *known,
                       size_t known_count)
{
    struct call *call = await_call(worker, 0, known, known_count);
    rig_do(rig, call);
    const size_t count = told(call);
    rig_call_free(call);
    return count;
}

static void test_one_that_waits_hears_at_once(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    enqueue(rig, "a", 5, 0);
    const struct uuid task = lease_one(rig, "a");
    struct call *mine = await_sent(rig, "w1", 60000);
    struct call *again = await_sent(rig, "w1", 60000);
    struct call *others = await_sent(rig, "w2", 60000);
    rig_pass(rig, 5000);
    assert_false(mine->done || again->done || others->done);
    const int64_t cancelled_ms = rig->wall_ms;
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a"), SILO_OK);
    told_is(mine, &task, cancelled_ms);
    told_is(again, &task, cancelled_ms);
    assert_false(others->done);
    rig_pass(rig, 60000);
    assert_int_equal(told(others), 0);
    rig_call_free(mine);
    rig_call_free(again);
    rig_call_free(others);
    close_all(rig);
}

/* Nothing is missed between two calls, and nothing is told twice. */
static void test_what_happened_before_is_told(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    struct uuid tasks[2];
    enqueue(rig, "a", 5, 0);
    tasks[0] = lease_one(rig, "a");
    enqueue(rig, "b", 5, 0);
    tasks[1] = lease_one(rig, "b");
    assert_int_equal(told_now(rig, "w1", NULL, 0), 0);
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a"), SILO_OK);
    assert_int_equal(told_now(rig, "w1", NULL, 0), 1);
    assert_int_equal(told_now(rig, "w2", NULL, 0), 0);
    assert_int_equal(told_now(rig, "w1", &tasks[0], 1), 0);
    assert_int_equal(told_now(rig, "w1", &tasks[1], 1), 1);

    struct call *wait = await_call("w1", 60000, &tasks[0], 1);
    rig_send(rig, wait);
    rig_pass(rig, 1000);
    assert_false(wait->done);
    const int64_t cancelled_ms = rig->wall_ms;
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "b"), SILO_OK);
    told_is(wait, &tasks[1], cancelled_ms);
    rig_call_free(wait);

    assert_int_equal(told_now(rig, "w1", NULL, 0), 2);
    assert_int_equal(report(rig, &tasks[0], ATTEMPT_CANCELLED), SILO_OK);
    assert_int_equal(told_now(rig, "w1", NULL, 0), 1);
    assert_int_equal(report(rig, &tasks[1], ATTEMPT_CANCELLED), SILO_OK);
    assert_int_equal(told_now(rig, "w1", NULL, 0), 0);
    close_all(rig);
}

/* The mark is stored with the lease: a shard that was opened anew tells of it. */
static void test_another_process_tells(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    enqueue(rig, "a", 5, 0);
    const struct uuid task = lease_one(rig, "a");
    const int64_t cancelled_ms = rig->wall_ms;
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a"), SILO_OK);
    struct call *lost = await_call("w2", 60000, NULL, 0);
    rig_send(rig, lost);
    rig_settle(rig);
    rig_kill(rig, RIG_LOSE);
    assert_int_equal(lost->cmd.rc.code, SILO_UNAVAILABLE);
    rig_call_free(lost);
    rig_start(rig);
    rig_settle(rig);
    struct call *call = await_sent(rig, "w1", 60000);
    told_is(call, &task, cancelled_ms);
    rig_call_free(call);
    close_all(rig);
}

/* What is told has happened: a cancellation that is not durable yet could still be lost. */
static void test_told_when_durable(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    enqueue(rig, "a", 5, 0);
    (void)lease_one(rig, "a");
    struct call *wait = await_sent(rig, "w1", 60000);
    core_rig_hold(rig, RIG_FLUSH);
    struct call *cancel = rig_call(CMD_CANCEL_JOB, T, "a");
    rig_send(rig, cancel);
    struct call *late = await_call("w1", 0, NULL, 0);
    rig_send(rig, late);
    rig_pass(rig, 100);
    assert_false(cancel->done || wait->done || late->done);
    core_rig_hold(rig, 0);
    rig_pass(rig, 1000);
    assert_true(cancel->done);
    assert_int_equal(told(wait), 1);
    assert_int_equal(told(late), 1);
    rig_call_free(cancel);
    rig_call_free(wait);
    rig_call_free(late);
    close_all(rig);
}

static void test_a_stop_and_a_shutdown_end_it(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    struct call *wait = await_sent(rig, "w1", 60000);
    struct call *stop = rig_call(CMD_POLL_STOP, NULL, NULL);
    stop->cmd.args.poll_stop.poll = wait->sent;
    rig_do(rig, stop);
    assert_true(wait->done);
    assert_int_equal(wait->cmd.rc.code, SILO_CANCELLED);
    rig_call_free(wait);
    rig_call_free(stop);

    struct call *first = await_sent(rig, "w1", 60000);
    struct call *second = await_sent(rig, "w2", 60000);
    core_release_polls(rig_core(rig));
    rig_settle(rig);
    assert_int_equal(told(first), 0);
    assert_int_equal(told(second), 0);
    assert_int_equal(told_now(rig, "w1", NULL, 0), 0);
    struct call *after = await_sent(rig, "w1", 60000);
    assert_int_equal(told(after), 0);
    rig_call_free(first);
    rig_call_free(second);
    rig_call_free(after);
    close_all(rig);
}

/*
 * One worker needs one call in a shard; each more of them would have to look through all it knows.
 */
static void test_one_worker_has_few_calls(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    struct call *calls[WORKER_AWAITS_MAX];
    for (uint32_t i = 0; i < WORKER_AWAITS_MAX; i++) {
        calls[i] = await_sent(rig, "w1", 60000);
    }
    struct call *more = await_sent(rig, "w1", 60000);
    assert_true(more->done);
    assert_int_equal(more->cmd.rc.code, SILO_EXHAUSTED);
    assert_int_equal(told_now(rig, "w1", NULL, 0), 0);
    struct call *other = await_sent(rig, "w2", 60000);
    assert_false(other->done);
    rig_pass(rig, 60000);
    assert_int_equal(told(other), 0);
    for (uint32_t i = 0; i < WORKER_AWAITS_MAX; i++) {
        assert_int_equal(told(calls[i]), 0);
        rig_call_free(calls[i]);
    }
    struct call *again = await_sent(rig, "w1", 60000);
    assert_false(again->done);
    rig_pass(rig, 60000);
    rig_call_free(again);
    rig_call_free(other);
    rig_call_free(more);
    close_all(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_that_waits_hears_at_once),
        cmocka_unit_test(test_what_happened_before_is_told),
        cmocka_unit_test(test_another_process_tells),
        cmocka_unit_test(test_told_when_durable),
        cmocka_unit_test(test_a_stop_and_a_shutdown_end_it),
        cmocka_unit_test(test_one_worker_has_few_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
