/* shard/crowd_test.c - more commands than there is room for: work that is running goes on. */
#include "base/limits.h"
#include "base/test.h"
#include "shard/shard_rig_test.h"

#define CALLS_MAX 32

static struct call *crowd[CALLS_MAX];
static size_t crowd_count;

static void crowd_add(struct rig *rig, struct call *call)
{
    assert_true(crowd_count < CALLS_MAX);
    crowd[crowd_count++] = call;
    rig_send(rig, call);
    rig_settle(rig);
}

static size_t crowd_refused(void)
{
    size_t refused = 0;
    for (size_t i = 0; i < crowd_count; i++) {
        refused += crowd[i]->done && crowd[i]->cmd.rc.code == SILO_EXHAUSTED;
    }
    return refused;
}

static void crowd_end(struct rig *rig)
{
    shards_release_polls(shard_rig_of(rig)->shards);
    rig_settle(rig);
    for (size_t i = 0; i < crowd_count; i++) {
        assert_true(crowd[i]->done);
        rig_call_free(crowd[i]);
    }
    crowd_count = 0;
}

/* Reads that do not end hold commands in the shard. */
static void reads_hang(struct rig *rig)
{
    store_mem_outage(shard_rig_of(rig)->store, STORE_MEM_BIT(STORE_MEM_MGET), "it hangs");
}

static struct call *result_call(const char *id)
{
    return rig_call(CMD_GET_JOB, T, id);
}

/* Workers that wait for cancellations leave room for those that wait for work. */
static void test_awaits(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    for (size_t i = 0; i < SHARD_AWAITS_MAX + 2; i++) {
        struct call *await = rig_call(CMD_AWAIT_CANCELS, NULL, NULL);
        await->cmd.args.await = (struct await_args){.worker_id = BYTES_LIT("w1"), .wait_ms = 60000};
        crowd_add(rig, await);
    }
    assert_int_equal(crowd_refused(), 2);
    struct call *poll = poll_call(1, 60000);
    crowd_add(rig, poll);
    assert_false(poll->done);
    crowd_end(rig);
    close_all(rig);
}

/* Polls that wait take their part of the room, and no more. */
static void test_parked(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    enqueue(rig, "a", 5, 0);
    const struct uuid task = lease_one(rig, "a");
    for (size_t i = 0; i < SHARD_PARKED_MAX + 3; i++) {
        struct call *poll = poll_call(1, 60000);
        poll->cmd.args.poll.group = BYTES_LIT("other");
        crowd_add(rig, poll);
    }
    assert_int_equal(crowd_refused(), 3);
    struct call *wait = rig_call(CMD_GET_RESULT, T, "a");
    wait->cmd.args.get.wait_ms = 60000;
    assert_int_equal(finish(rig, wait), SILO_EXHAUSTED);
    assert_int_equal(heartbeat(rig, &task, "w1"), SILO_OK);
    enqueue(rig, "b", 5, 0); /* nor do they shut out anybody else */
    (void)lease_one(rig, "b");
    rig_pass(rig, LEASE_MS - 1);
    assert_int_equal(heartbeat(rig, &task, "w1"), SILO_OK);
    rig_pass(rig, LEASE_MS - 1);
    assert_int_equal(status(rig, "b"), JOB_FAILED); /* leases expire */
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
    crowd_end(rig);
    close_all(rig);
}

/* The room is full of others: those that keep or end work have some of their own. */
static void test_full(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    static const char *const ids[] = {"a", "b", "c", "d"};
    struct uuid tasks[4];
    for (size_t i = 0; i < 4; i++) {
        enqueue(rig, ids[i], 5, 0);
        tasks[i] = lease_one(rig, ids[i]);
    }
    reads_hang(rig);
    for (size_t i = 0; i < SHARD_COMMANDS_MAX + 2; i++) {
        crowd_add(rig, result_call("nobody"));
    }
    assert_int_equal(crowd_refused(), 2);
    assert_int_equal(heartbeat(rig, &tasks[0], "w1"), SILO_OK);
    assert_int_equal(report(rig, &tasks[0], ATTEMPT_SUCCEEDED), SILO_OK);
    struct call *call = rig_call(CMD_RETURN_TASK, NULL, NULL);
    call->cmd.args.return_task = (struct return_task_args){
        .has_task_id = true, .task_id = tasks[1], .worker_id = BYTES_LIT("w1")};
    assert_int_equal(finish(rig, call), SILO_OK);
    call = rig_call(CMD_GIVE_BACK, NULL, NULL);
    call->cmd.args.give_back = (struct give_back_args){.task_ids = &tasks[2], .count = 1};
    assert_int_equal(finish(rig, call), SILO_OK);
    call = rig_call(CMD_RENEW, NULL, NULL);
    call->cmd.args.renew = (struct renew_args){.task_ids = &tasks[3], .count = 1};
    assert_int_equal(finish(rig, call), SILO_OK);
    store_mem_outage(shard_rig_of(rig)->store, 0, NULL);
    rig_settle(rig);
    assert_int_equal(status(rig, "a"), JOB_SUCCEEDED);
    assert_int_equal(status(rig, "b"), JOB_SCHEDULED);
    assert_int_equal(status(rig, "c"), JOB_SCHEDULED);
    assert_int_equal(status(rig, "d"), JOB_RUNNING);
    crowd_end(rig);
    close_all(rig);
}

static bool send_only(struct rig *rig, struct call *call)
{
    crowd[crowd_count++] = call;
    if (!shard_rig_try_send(rig, call)) {
        crowd_count--;
        rig_call_free(call);
        return false;
    }
    return true;
}

/* The way to the executor is as full as it may be. */
static void test_mailbox(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    enqueue(rig, "a", 5, 0);
    const struct uuid task = lease_one(rig, "a");
    for (size_t i = 0; i < MAILBOX_MESSAGES_MAX; i++) {
        assert_true(send_only(rig, result_call("a")));
    }
    assert_false(send_only(rig, result_call("a")));
    for (size_t i = 0; i < MAILBOX_MESSAGES_RESERVE; i++) {
        assert_true(send_only(rig, heartbeat_call(&task, "w1")));
    }
    assert_false(send_only(rig, heartbeat_call(&task, "w1")));
    struct call *back = rig_call(CMD_GIVE_BACK, NULL, NULL);
    back->cmd.args.give_back = (struct give_back_args){.task_ids = &task, .count = 1};
    assert_true(send_only(rig, back)); /* never refused: nobody else would do it */
    rig_settle(rig);
    assert_int_equal(crowd_refused(), 0);
    assert_int_equal(status(rig, "a"), JOB_SCHEDULED);
    crowd_end(rig);
    close_all(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parked),
        cmocka_unit_test(test_awaits),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_mailbox),
    };
    return cmocka_run_group_tests_name("crowd", tests, NULL, NULL);
}
