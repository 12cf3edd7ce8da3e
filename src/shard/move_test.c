/*
 * shard/move_test.c - a shard leaves for another process: prepared while it serves, then closed so
 * that its callers find it there.
 */
#include "base/limits.h"
#include "base/test.h"
#include "shard/shard_int.h"
#include "shard/shard_rig_test.h"

static uint64_t memtable_flushes(const struct rig *rig)
{
    return shard_rig_of(rig)->executor->counted.calls_flush_memtable;
}

/* --- controls --- */

struct told {
    struct shard_control control;
    bool done;
};

static void told_done(struct shard_control *control)
{
    CONTAINER_OF(control, struct told, control)->done = true;
}

static void close_for_move(struct rig *rig, struct told *told)
{
    *told = (struct told){.control = {.done = told_done, .how = SHARD_CLOSE_MOVE}};
    shard_close(shard_rig_of(rig)->shards, shard_rig_of(rig)->ref, &told->control);
}

/* --- preparing --- */

static void test_prepare(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    enqueue(rig, "a", 5, 0);
    const uint64_t before = memtable_flushes(rig);
    assert_int_equal(shard_rig_control(rig, shard_prepare), SILO_OK);
    assert_int_equal(memtable_flushes(rig), before + 1);
    enqueue(rig, "b", 5, 0); /* it goes on serving */
    assert_int_equal(totals(rig).open, 2);
    close_all(rig);
}

/* A close does not wait for the flush, which the storage may keep for ever. */
static void test_close_overtakes_prepare(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    struct told prepare = {.control.done = told_done};
    struct told end;
    enqueue(rig, "a", 5, 0);
    store_mem_delay_set(shard_rig_of(rig)->store, STORE_MEM_FLUSH,
                        (struct store_mem_delay){.ms_min = 60000, .ms_max = 60000});
    shard_prepare(shard_rig_of(rig)->shards, shard_rig_of(rig)->ref, &prepare.control);
    rig_settle(rig);
    assert_false(prepare.done);
    close_for_move(rig, &end);
    rig_settle(rig);
    assert_true(prepare.done);
    assert_int_equal(prepare.control.rc.code, SILO_UNAVAILABLE);
    rig_pass(rig, 61000);
    assert_true(end.done);
    close_all(rig);
}

/* There is nothing to be prepared. */
static void test_prepare_closed(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    assert_int_equal(shard_rig_control(rig, shard_close), SILO_OK);
    assert_int_equal(shard_rig_control(rig, shard_prepare), SILO_UNAVAILABLE);
    close_all(rig);
}

/* --- closing --- */

static void slow(struct rig *rig, enum store_mem_kind kind, int64_t ms)
{
    store_mem_delay_set(shard_rig_of(rig)->store, kind,
                        (struct store_mem_delay){.ms_min = ms, .ms_max = ms});
}

static void expect_ended(const struct told *end)
{
    assert_true(end->done);
    assert_int_equal(end->control.rc.code, SILO_OK);
}

/* As it was before it was sent, so that it may be sent again. */
static void expect_sent_away(const struct call *call)
{
    assert_true(call->done);
    assert_int_equal(call->cmd.rc.code, SILO_ROUTED_WRONG);
    assert_int_equal(call->cmd.rounds, 0);
    assert_int_equal(call->cmd.deadline_mono_ms, 0);
    assert_null(call->cmd.parked);
}

static void send_again(struct rig *rig, struct call *call)
{
    call->done = false;
    rig_send(rig, call);
    rig_settle(rig);
}

static void reopen_here(struct rig *rig)
{
    shard_rig_reopen(rig);
    rig_settle(rig);
    assert_true(rig_is_open(rig));
}

/* Another process has the shard next: what this one remembers of it is not there. */
static void open_elsewhere(struct rig *rig)
{
    rig_kill(rig, RIG_LOSE);
    rig_start(rig);
    rig_settle(rig);
    assert_true(rig_is_open(rig));
}

/* What comes with the close, or after it, goes where the shard is now. */
static void test_later_calls_are_sent_away(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    struct told end;
    struct call *call = enqueue_call("a", "g", 5, 0);
    rig_send(rig, call); /* is in the mailbox when the close is begun */
    close_for_move(rig, &end);
    rig_settle(rig);
    expect_sent_away(call);
    rig_call_free(call);
    expect_ended(&end);
    assert_int_equal(finish(rig, enqueue_call("a", "g", 5, 0)), SILO_ROUTED_WRONG);
    reopen_here(rig);
    enqueue(rig, "a", 5, 0);
    close_all(rig);
}

static struct call *await_call(uint32_t wait_ms)
{
    struct call *call = rig_call(CMD_AWAIT_CANCELS, NULL, NULL);
    call->cmd.args.await = (struct await_args){.worker_id = BYTES_LIT("w1"), .wait_ms = wait_ms};
    return call;
}

static struct call *result_call(const char *id, uint32_t wait_ms)
{
    struct call *call = rig_call(CMD_GET_RESULT, T, id);
    call->cmd.args.get.wait_ms = wait_ms;
    return call;
}

/* Polls and waits leave at once, and wait on wherever they are sent again. */
static void test_parked_calls_are_sent_away(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    enqueue(rig, "a", 5, 0);
    const struct uuid task = lease_one(rig, "a");
    struct told end;
    struct call *const calls[] = {poll_call(1, 60000), result_call("a", 60000), await_call(60000)};
    for (size_t i = 0; i < 3; i++) {
        rig_send(rig, calls[i]);
        rig_settle(rig);
        assert_false(calls[i]->done);
    }
    close_for_move(rig, &end);
    rig_settle(rig);
    for (size_t i = 0; i < 3; i++) {
        expect_sent_away(calls[i]);
    }
    expect_ended(&end);
    reopen_here(rig);
    for (size_t i = 0; i < 3; i++) {
        send_again(rig, calls[i]);
        assert_false(calls[i]->done);
    }
    enqueue(rig, "b", 5, 0);
    assert_int_equal(poll_count(calls[0]), 1);
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a"), SILO_OK);
    assert_int_equal(calls[2]->cmd.result.await.count, 1);
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
    assert_true(calls[1]->done);
    assert_int_equal(calls[1]->cmd.result.job.status, JOB_SUCCEEDED);
    for (size_t i = 0; i < 3; i++) {
        rig_call_free(calls[i]);
    }
    close_all(rig);
}

/* A read that does not come holds up neither the call that wants it nor the close. */
static void test_reads_hold_up_nothing(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    enqueue(rig, "a", 5, 0);
    struct told end;
    slow(rig, STORE_MEM_MGET, 60000);
    struct call *call = result_call("unknown", 0);
    rig_send(rig, call);
    rig_settle(rig);
    assert_false(call->done);
    close_for_move(rig, &end);
    rig_turn(rig);
    expect_sent_away(call);
    slow(rig, STORE_MEM_MGET, 0);
    rig_pass(rig, 100);
    assert_int_equal(shard_status(shard_rig_of(rig)->shards, shard_rig_of(rig)->ref),
                     SHARD_CLOSING); /* as long as the storage has the read */
    rig_pass(rig, 60000);
    expect_ended(&end);
    reopen_here(rig);
    send_again(rig, call);
    assert_int_equal(call->cmd.rc.code, SILO_NOT_FOUND);
    rig_call_free(call);
    close_all(rig);
}

/* What has changed something becomes durable, and is answered. */
static void test_what_is_in_flight_is_answered(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    enqueue(rig, "a", 5, 0);
    struct told end;
    slow(rig, STORE_MEM_FLUSH, 50);
    struct call *put = enqueue_call("b", "g", 5, 0);
    struct call *poll = poll_call(1, 60000);
    rig_send(rig, put);
    rig_send(rig, poll);
    rig_settle(rig);
    close_for_move(rig, &end);
    rig_settle(rig);
    assert_false(put->done);
    assert_false(poll->done);
    assert_false(end.done);
    rig_pass(rig, 500);
    assert_int_equal(put->cmd.rc.code, SILO_OK);
    assert_int_equal(poll_count(poll), 1);
    expect_ended(&end);
    slow(rig, STORE_MEM_FLUSH, 0);
    open_elsewhere(rig);
    assert_int_equal(status(rig, "a"), JOB_RUNNING);
    const struct uuid task = poll_task(poll, 0)->task_id;
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
    assert_int_equal(status(rig, "b"), JOB_SCHEDULED);
    rig_call_free(put);
    rig_call_free(poll);
    close_all(rig);
}

/* A close that the storage holds up for longer than leases last and timers wait. */
static void test_nothing_comes_due(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    enqueue(rig, "running", 5, 0);
    const struct uuid task = lease_one(rig, "running");
    enqueue(rig, "later", 5, rig->wall_ms + 100);
    rig_pass(rig, 50);
    struct told end;
    const uint64_t batches = rig_batches(rig);
    slow(rig, STORE_MEM_CLOSE, 2 * LEASE_MS);
    slow(rig, STORE_MEM_FLUSH, 2000);
    struct call *put = enqueue_call("b", "other", 5, 0);
    rig_send(rig, put);
    rig_settle(rig);
    close_for_move(rig, &end);
    rig_pass(rig, 1000);
    assert_int_equal(rig_batches(rig), batches + 1);
    assert_false(end.done);
    rig_pass(rig, 3 * LEASE_MS);
    expect_ended(&end);
    assert_int_equal(rig_batches(rig), batches + 1);
    slow(rig, STORE_MEM_CLOSE, 0);
    slow(rig, STORE_MEM_FLUSH, 0);
    reopen_here(rig);
    rig_pass(rig, LEASE_MS - 1000); /* a fresh term, from the opening on */
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
    (void)lease_one(rig, "later");
    rig_call_free(put);
    close_all(rig);
}

/* --- tasks on their way to a worker --- */

#define PAYLOAD_BYTES 5000u /* a row of its own, read when the lease is durable */

static void put_large(struct rig *rig, const char *id)
{
    struct call *call = enqueue_call(id, "g", 5, 0);
    call->cmd.args.enqueue.payload = bytes_of(
        memset(arena_alloc(&call->arena, PAYLOAD_BYTES), 'x', PAYLOAD_BYTES), PAYLOAD_BYTES);
    assert_int_equal(finish(rig, call), SILO_OK);
}

/* A rig with such a job, and a poll whose payload is being read for 50 ms, in vain or not. */
static struct rig *open_reading(struct call **ret_poll, bool fails)
{
    struct rig *rig = shard_rig_open_plain();
    assert_int_equal(poll_empty(rig), 0); /* the group's rows are known from here on */
    put_large(rig, "a");
    slow(rig, STORE_MEM_MGET, 50);
    if (fails) {
        store_mem_fail(shard_rig_of(rig)->store,
                       &(struct store_mem_fault){.kind = STORE_MEM_MGET, .code = SILO_UNAVAILABLE});
    }
    *ret_poll = poll_call(1, 0);
    rig_send(rig, *ret_poll);
    rig_settle(rig);
    assert_false((*ret_poll)->done);
    return rig;
}

static void expect_first_attempt(struct rig *rig, const char *id)
{
    struct call *poll = poll_call(1, 0);
    rig_do(rig, poll);
    assert_int_equal(poll_count(poll), 1);
    assert_true(bytes_eq(poll_task(poll, 0)->job_id, bytes_str(id)));
    assert_int_equal(poll_task(poll, 0)->attempt, 1);
    rig_call_free(poll);
}

static struct call *give_back_call(const struct uuid *task_id)
{
    struct call *call = rig_call(CMD_GIVE_BACK, NULL, NULL);
    struct uuid *id = arena_alloc(&call->arena, sizeof *id);
    *id = *task_id;
    call->cmd.args.give_back = (struct give_back_args){.task_ids = id, .count = 1};
    return call;
}

static void test_payloads_are_read_before(void **state)
{
    (void)state;
    struct call *poll = NULL;
    struct rig *rig = open_reading(&poll, false);
    struct told end;
    close_for_move(rig, &end);
    rig_settle(rig);
    assert_false(end.done);
    rig_pass(rig, 100);
    assert_int_equal(poll_count(poll), 1);
    assert_int_equal(poll_task(poll, 0)->payload.len, PAYLOAD_BYTES);
    expect_ended(&end);
    rig_call_free(poll);
    close_all(rig);
}

/* The worker hears of nothing, so the task goes back while this process can still do it. */
static void test_unread_payload_goes_back_before(void **state)
{
    (void)state;
    struct call *poll = NULL;
    struct rig *rig = open_reading(&poll, true);
    struct told end;
    close_for_move(rig, &end);
    rig_pass(rig, 200);
    expect_ended(&end);
    rig_call_free(poll);
    slow(rig, STORE_MEM_MGET, 0);
    open_elsewhere(rig);
    expect_first_attempt(rig, "a");
    close_all(rig);
}

/* A worker that left before its reply did: while the shard is still closing its task goes back. */
static void test_undelivered_goes_back_while_closing(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    enqueue(rig, "a", 5, 0);
    const struct uuid task = lease_one(rig, "a");
    struct told end;
    slow(rig, STORE_MEM_FLUSH, 50);
    struct call *put = enqueue_call("b", "other", 5, 0);
    rig_send(rig, put);
    rig_settle(rig);
    close_for_move(rig, &end);
    struct call *back = give_back_call(&task);
    rig_send(rig, back);
    rig_pass(rig, 500);
    assert_int_equal(back->cmd.rc.code, SILO_OK);
    expect_ended(&end);
    rig_call_free(put);
    rig_call_free(back);
    slow(rig, STORE_MEM_FLUSH, 0);
    open_elsewhere(rig);
    expect_first_attempt(rig, "a");
    close_all(rig);
}

/* One that is known to be undelivered, and would go back later, goes back now. */
static void test_undelivered_before_goes_back(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    enqueue(rig, "a", 5, 0);
    const struct uuid task = lease_one(rig, "a");
    core_undelivered(rig_core(rig), &task, NULL); /* at the end of its term */
    struct told end;
    close_for_move(rig, &end);
    rig_settle(rig);
    expect_ended(&end);
    open_elsewhere(rig);
    expect_first_attempt(rig, "a");
    close_all(rig);
}

/* Too late for the move: it goes back if the shard opens here once more. */
static void test_undelivered_after_is_kept(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    enqueue(rig, "a", 5, 0);
    const struct uuid task = lease_one(rig, "a");
    struct told end;
    close_for_move(rig, &end);
    rig_settle(rig);
    expect_ended(&end);
    assert_int_equal(finish(rig, give_back_call(&task)), SILO_OK);
    reopen_here(rig);
    rig_pass(rig, LEASE_MS + 100);
    expect_first_attempt(rig, "a");
    close_all(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prepare),
        cmocka_unit_test(test_close_overtakes_prepare),
        cmocka_unit_test(test_prepare_closed),
        cmocka_unit_test(test_later_calls_are_sent_away),
        cmocka_unit_test(test_parked_calls_are_sent_away),
        cmocka_unit_test(test_reads_hold_up_nothing),
        cmocka_unit_test(test_what_is_in_flight_is_answered),
        cmocka_unit_test(test_nothing_comes_due),
        cmocka_unit_test(test_payloads_are_read_before),
        cmocka_unit_test(test_unread_payload_goes_back_before),
        cmocka_unit_test(test_undelivered_goes_back_while_closing),
        cmocka_unit_test(test_undelivered_before_goes_back),
        cmocka_unit_test(test_undelivered_after_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
