/*
 * service/hold_test.c - calls that meet a shard on its way: held, and in which order and bounds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "service/fake_test.h"
#include "service/service_int.h"

static struct rpc_call *heartbeat(size_t shard)
{
    Silo__V1__HeartbeatRequest request = SILO__V1__HEARTBEAT_REQUEST__INIT;
    request.shard = (char *)fake_shard_id(shard);
    request.worker_id = (char *)"w";
    request.task_id = (char *)"00000000-0000-0000-0000-000000000001";
    return fake_call("Heartbeat", &request.base);
}

/* shard -1: all. */
static struct rpc_call *poll(int shard, uint32_t wait_ms)
{
    Silo__V1__LeaseTasksRequest request = SILO__V1__LEASE_TASKS_REQUEST__INIT;
    if (shard >= 0) {
        request.shard_opt_case = SILO__V1__LEASE_TASKS_REQUEST__SHARD_OPT_SHARD;
        request.shard = (char *)fake_shard_id((size_t)shard);
    }
    request.worker_id = (char *)"w";
    request.task_group = (char *)"g";
    request.max_tasks = 1;
    request.wait_ms = wait_ms;
    return fake_call("LeaseTasks", &request.base);
}

/* --- */

static void ended_well(struct rpc_call *call)
{
    assert_true(call->done);
    assert_int_equal(call->status, 0);
    fake_free(call);
}

static void runs(struct rpc_call *call, enum command_kind kind)
{
    fake_answer(fake_take(kind), SILO_OK, NULL);
    ended_well(call);
}

static void waits(const struct rpc_call *call)
{
    assert_false(call->done);
    assert_int_equal(fake.request_count, 0);
}

static void move_away(size_t shard)
{
    fake.shards[shard].place = PLACE_MOVING;
    fake.shards[shard].status = SHARD_CLOSED;
    fake_publish();
}

static void moved(size_t shard)
{
    fake.shards[shard].place = PLACE_NODE;
    fake_publish();
}

/* --- the shard goes --- */

static void a_call_is_held_and_then_told_who_has_the_shard(void **state)
{
    (void)state;
    fake_start(2, false, false);
    move_away(0);
    struct rpc_call *call = fake_enqueue(0);
    fake_pass(300000);
    waits(call);
    moved(0);
    fake_failed(call, 5, "shard not found");
    assert_string_equal(call->owner, "10.0.0.2:50051");
    fake_free(call);
    fake_stop();
}

/* It was at the shard, which had done nothing of it. */
static void a_request_that_was_sent_away_is_held(void **state)
{
    (void)state;
    fake_start(2, false, false);
    struct rpc_call *call = fake_enqueue(0);
    move_away(0);
    fake_answer(fake_take(CMD_ENQUEUE), SILO_ROUTED_WRONG, NULL);
    waits(call);
    moved(0);
    fake_failed(call, 5, "shard not found");
    assert_string_equal(call->owner, "10.0.0.2:50051");
    fake_free(call);
    fake_stop();
}

/* Nobody took it: the shard comes back to its place. */
static void a_shard_that_comes_back_gets_its_requests_again(void **state)
{
    (void)state;
    fake_start(1, false, false);
    struct rpc_call *call = fake_enqueue(0);
    fake.shards[0].status = SHARD_CLOSING;
    fake_answer(fake_take(CMD_ENQUEUE), SILO_ROUTED_WRONG, NULL);
    struct rpc_call *late = fake_enqueue(0);
    waits(call);
    fake_status(0, SHARD_OPEN);
    assert_int_equal(fake.request_count, 2);
    runs(call, CMD_ENQUEUE);
    runs(late, CMD_ENQUEUE);
    fake_stop();
}

/* --- the shard comes --- */

static void a_call_is_held_until_the_shard_is_open(void **state)
{
    (void)state;
    fake_start(1, false, false);
    fake_status(0, SHARD_OPENING);
    struct rpc_call *call = fake_enqueue(0);
    fake_publish(); /* which says nothing new of it */
    waits(call);
    fake_status(0, SHARD_OPEN);
    runs(call, CMD_ENQUEUE);
    fake_stop();
}

static void a_call_is_told_that_the_shard_could_not_be_opened(void **state)
{
    (void)state;
    fake_start(1, false, false);
    fake_status(0, SHARD_OPENING);
    struct rpc_call *call = fake_enqueue(0);
    fake_status(0, SHARD_FAILED);
    fake_failed(call, 14, "could not be opened");
    fake_free(call);
    fake_stop();
}

/* --- for how long --- */

static void a_call_is_held_no_longer_than_it_may_be(void **state)
{
    (void)state;
    fake_start(1, false, false);
    fake_status(0, SHARD_OPENING);
    struct rpc_call *call = fake_enqueue(0);
    fake_pass(1000 * (int64_t)HOLD_MS_MAX - 1);
    waits(call);
    fake_pass(1);
    fake_failed(call, 14, "shard not ready: acquisition in progress");
    assert_string_equal(call->retry_ms, "100");
    fake_free(call);
    fake_stop();
}

static void a_caller_in_a_hurry_hears_in_time(void **state)
{
    (void)state;
    fake_start(1, false, false);
    fake_status(0, SHARD_OPENING);
    fake.deadline_us = fake.now_us + 1000000;
    struct rpc_call *call = fake_enqueue(0);
    fake_pass(899999);
    waits(call);
    fake_pass(1);
    fake_failed(call, 14, "shard not ready");
    fake_free(call);
    fake.deadline_us = fake.now_us + 50000; /* too little to wait at all */
    call = fake_enqueue(0);
    fake_failed(call, 14, "shard not ready");
    fake_free(call);
    fake_stop();
}

/* What it waits for in the shard is less by the time that it was held. */
static void a_held_poll_waits_no_longer_for_that(void **state)
{
    (void)state;
    fake_start(1, false, false);
    fake_status(0, SHARD_OPENING);
    struct rpc_call *call = poll(0, 20000);
    fake_pass(3000000);
    fake_status(0, SHARD_OPEN);
    struct shard_request *request = fake_take(CMD_POLL);
    assert_int_equal(request->cmd.args.poll.wait_ms, 17000);
    fake_pass(5000000);
    fake.shards[0].status = SHARD_CLOSING;
    fake_answer(request, SILO_ROUTED_WRONG, NULL); /* it was parked, and the shard goes again */
    fake_pass(1000000);
    fake_status(0, SHARD_OPEN);
    request = fake_take(CMD_POLL);
    assert_int_equal(request->cmd.args.poll.wait_ms, 11000);
    fake_answer(request, SILO_OK, NULL);
    ended_well(call);
    fake_stop();
}

static void a_caller_who_leaves_is_let_go(void **state)
{
    (void)state;
    fake_start(1, false, false);
    fake_status(0, SHARD_OPENING);
    struct rpc_call *call = fake_enqueue(0);
    fake_cancel(call);
    assert_true(call->done);
    fake_free(call);
    fake_status(0, SHARD_OPEN);
    assert_int_equal(fake.request_count, 0);
    fake_stop();
}

/* No move ends an outage of the storage. */
static void nothing_is_held_while_the_storage_is_away(void **state)
{
    (void)state;
    fake_start(1, false, false);
    fake_status(0, SHARD_OPENING);
    fake.out = true;
    struct rpc_call *call = fake_enqueue(0);
    fake_failed(call, 14, "shard not ready");
    fake_free(call);
    fake_stop();
}

/* --- in which order --- */

static void what_keeps_work_goes_first(void **state)
{
    (void)state;
    fake_start(1, false, false);
    fake_status(0, SHARD_OPENING);
    struct rpc_call *calls[] = {poll(0, 10000), fake_enqueue(0), heartbeat(0)};
    fake_status(0, SHARD_OPEN);
    assert_int_equal(fake.request_count, 3);
    runs(calls[2], CMD_HEARTBEAT);
    runs(calls[1], CMD_ENQUEUE);
    runs(calls[0], CMD_POLL);
    fake_stop();
}

/* --- how many --- */

#define MANY (HELD_CALLS_SHARD_MAX + 8)

static struct rpc_call *held[MANY];

/* Holds calls for a shard until one is refused; how many were. */
static size_t fill(size_t shard, struct rpc_call *(*make)(size_t shard), struct rpc_call **calls)
{
    size_t count = 0;
    for (; count < MANY; count++) {
        struct rpc_call *call = make(shard);
        if (call->done) {
            fake_failed(call, 14, "shard not ready: acquisition in progress");
            fake_free(call);
            return count;
        }
        calls[count] = call;
    }
    fail_msg("there is no bound");
    return 0;
}

/* The others have their room, and urgent calls a quarter of their own. */
static void a_shard_holds_no_more_than_it_may(void **state)
{
    (void)state;
    fake_start(2, false, false);
    fake_status(0, SHARD_OPENING);
    fake_status(1, SHARD_OPENING);
    const size_t count = fill(0, fake_enqueue, held);
    assert_int_equal(count, HELD_CALLS_SHARD_MAX - HELD_CALLS_SHARD_MAX / 4);
    const size_t urgent = fill(0, heartbeat, held + count);
    assert_int_equal(count + urgent, HELD_CALLS_SHARD_MAX);
    struct rpc_call *other = fake_enqueue(1);
    assert_false(other->done);
    fake_status(0, SHARD_OPEN);
    assert_int_equal(fake.request_count, HELD_CALLS_SHARD_MAX);
    for (size_t i = 0; i < urgent; i++) {
        runs(held[count + i], CMD_HEARTBEAT);
    }
    for (size_t i = 0; i < count; i++) {
        runs(held[i], CMD_ENQUEUE);
    }
    fake_status(1, SHARD_OPEN);
    runs(other, CMD_ENQUEUE);
    fake_status(0, SHARD_OPENING); /* what was held is not counted any more */
    assert_int_equal(fill(0, fake_enqueue, held), count);
    fake_status(0, SHARD_OPEN);
    for (size_t i = 0; i < count; i++) {
        runs(held[i], CMD_ENQUEUE);
    }
    fake_stop();
}

static struct rpc_call *enqueue_large(size_t shard)
{
    static uint8_t payload[16 << 20];
    Silo__V1__SerializedBytes data = SILO__V1__SERIALIZED_BYTES__INIT;
    data.encoding_case = SILO__V1__SERIALIZED_BYTES__ENCODING_MSGPACK;
    data.msgpack = (ProtobufCBinaryData){.data = payload, .len = sizeof payload};
    Silo__V1__EnqueueRequest request = SILO__V1__ENQUEUE_REQUEST__INIT;
    request.shard = (char *)fake_shard_id(shard);
    request.payload = &data;
    request.task_group = (char *)"g";
    return fake_call("Enqueue", &request.base);
}

static void nor_more_bytes(void **state)
{
    (void)state;
    fake_start(2, false, false);
    fake_status(0, SHARD_OPENING);
    const size_t count = fill(0, enqueue_large, held);
    assert_in_range(count, 1, HELD_BYTES_SHARD_MAX / (16 << 20) - 1);
    struct rpc_call *other = enqueue_large(1);
    assert_int_equal(fake.request_count, 1); /* that one is open */
    runs(other, CMD_ENQUEUE);
    fake_status(0, SHARD_OPEN);
    for (size_t i = 0; i < count; i++) {
        runs(held[i], CMD_ENQUEUE);
    }
    fake_stop();
}

/* --- many requests of one call --- */

static void polls_of_all_shards_go_on_without_those_that_move(void **state)
{
    (void)state;
    fake_start(2, false, false);
    struct rpc_call *call = poll(-1, 20000);
    fake_answer(fake_take(CMD_POLL), SILO_OK, NULL); /* both are visited, then it is parked */
    fake_answer(fake_take(CMD_POLL), SILO_OK, NULL);
    assert_int_equal(fake.request_count, 2);
    const size_t first = fake.requests[0]->ref.slot;
    fake_pass(4000000);
    move_away(first);
    fake_answer(fake_take(CMD_POLL), SILO_ROUTED_WRONG, NULL);
    assert_false(call->done);
    moved(first);
    move_away(1 - first);
    fake_answer(fake_take(CMD_POLL), SILO_ROUTED_WRONG, NULL);
    moved(1 - first);
    waits(call); /* for any shard that comes */
    fake.shards[first].place = PLACE_HERE;
    fake.shards[first].ref.generation++;
    fake.shards[first].status = SHARD_OPENING;
    fake_publish();
    waits(call);
    fake_status(first, SHARD_OPEN);
    assert_int_equal(fake.request_count, 1);
    assert_int_equal(fake.requests[0]->cmd.args.poll.wait_ms, 16000);
    runs(call, CMD_POLL);
    fake_stop();
}

static void a_poll_of_no_shard_ends_in_time(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        fake_start(1, false, false);
        move_away(0);
        struct rpc_call *call = poll(-1, 20000);
        fake_pass(19999999);
        waits(call);
        if (how == 0) {
            fake_pass(1);
        } else if (how == 1) {
            service_release(fake.service);
            fake_run();
        } else {
            fake_cancel(call);
        }
        assert_true(call->done);
        assert_int_equal(call->status, 0);
        fake_free(call);
        fake_stop();
    }
}

static void a_shard_that_moves_is_no_part_of_what_a_node_has(void **state)
{
    (void)state;
    fake_start(2, false, false);
    const Silo__V1__GetNodeInfoRequest request = SILO__V1__GET_NODE_INFO_REQUEST__INIT;
    struct rpc_call *call = fake_call("GetNodeInfo", &request.base);
    move_away(0);
    fake_answer(fake_take(CMD_TOTALS), SILO_ROUTED_WRONG, NULL);
    fake_answer(fake_take(CMD_TOTALS), SILO_OK, NULL);
    Silo__V1__GetNodeInfoResponse *reply =
        fake_reply(call, &silo__v1__get_node_info_response__descriptor);
    assert_int_equal(reply->n_owned_shards, 1);
    assert_string_equal(reply->owned_shards[0]->shard_id, fake_shard_id(1));
    silo__v1__get_node_info_response__free_unpacked(reply, NULL);
    fake_free(call);
    fake_stop();
}

/* Of a bulk call some items were done, and the others wait: they count as one call. */
static void items_of_a_bulk_call_are_held(void **state)
{
    (void)state;
    fake_start(1, false, false);
    enum { ITEMS = 100 };
    Silo__V1__EnqueueRequest job = SILO__V1__ENQUEUE_REQUEST__INIT;
    job.task_group = (char *)"g";
    Silo__V1__EnqueueRequest *jobs[ITEMS];
    for (size_t i = 0; i < ITEMS; i++) {
        jobs[i] = &job;
    }
    Silo__V1__EnqueueManyRequest request = SILO__V1__ENQUEUE_MANY_REQUEST__INIT;
    request.shard = (char *)fake_shard_id(0);
    request.jobs = jobs;
    request.n_jobs = ITEMS;
    struct rpc_call *call = fake_call("EnqueueMany", &request.base);
    fake_answer(fake_take(CMD_ENQUEUE), SILO_OK, NULL);
    fake.shards[0].status = SHARD_CLOSING;
    for (size_t i = 1; i < ITEMS; i++) {
        fake_answer(fake_take(CMD_ENQUEUE), SILO_ROUTED_WRONG, NULL);
    }
    waits(call);
    assert_int_equal(fake.service->held.all.calls, 1);
    fake_status(0, SHARD_OPEN);
    assert_int_equal(fake.service->held.all.calls, 0);
    assert_int_equal(fake.request_count, ITEMS - 1);
    for (size_t i = 1; i < ITEMS; i++) {
        fake_answer(fake_take(CMD_ENQUEUE), SILO_OK, NULL);
    }
    Silo__V1__EnqueueManyResponse *reply =
        fake_reply(call, &silo__v1__enqueue_many_response__descriptor);
    for (size_t i = 0; i < ITEMS; i++) {
        assert_int_equal(reply->results[i]->code, 0);
    }
    silo__v1__enqueue_many_response__free_unpacked(reply, NULL);
    fake_free(call);
    fake_stop();
}

/* One job's shard moves, the other's is open. */
static void jobs_of_an_import_are_held(void **state)
{
    (void)state;
    fake_start(2, false, false);
    move_away(0);
    Silo__V1__ImportJobRequest jobs[2] = {SILO__V1__IMPORT_JOB_REQUEST__INIT,
                                          SILO__V1__IMPORT_JOB_REQUEST__INIT};
    Silo__V1__ImportJobRequest *both[2] = {&jobs[0], &jobs[1]};
    for (size_t i = 0; i < 2; i++) {
        jobs[i].shard = (char *)fake_shard_id(i);
        jobs[i].id = (char *)"a";
        jobs[i].task_group = (char *)"g";
    }
    Silo__V1__ImportJobsRequest request = SILO__V1__IMPORT_JOBS_REQUEST__INIT;
    request.jobs = both;
    request.n_jobs = 2;
    struct rpc_call *call = fake_call("ImportJobs", &request.base);
    fake_run();
    fake_answer(fake_take(CMD_ANY_RUNNING), SILO_OK, NULL);
    waits(call); /* it is not known yet whether the other job runs */
    fake.shards[0].place = PLACE_HERE;
    fake.shards[0].ref.generation++;
    fake.shards[0].status = SHARD_OPENING;
    fake_publish();
    fake_status(0, SHARD_OPEN);
    fake_answer(fake_take(CMD_ANY_RUNNING), SILO_OK, NULL);
    fake_answer(fake_take(CMD_IMPORT_JOB), SILO_OK, NULL);
    fake_answer(fake_take(CMD_IMPORT_JOB), SILO_OK, NULL);
    Silo__V1__ImportJobsResponse *reply =
        fake_reply(call, &silo__v1__import_jobs_response__descriptor);
    assert_true(reply->results[0]->success && reply->results[1]->success);
    silo__v1__import_jobs_response__free_unpacked(reply, NULL);
    fake_free(call);
    fake_stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_is_held_and_then_told_who_has_the_shard),
        cmocka_unit_test(a_request_that_was_sent_away_is_held),
        cmocka_unit_test(a_shard_that_comes_back_gets_its_requests_again),
        cmocka_unit_test(a_call_is_held_until_the_shard_is_open),
        cmocka_unit_test(a_call_is_told_that_the_shard_could_not_be_opened),
        cmocka_unit_test(a_call_is_held_no_longer_than_it_may_be),
        cmocka_unit_test(a_caller_in_a_hurry_hears_in_time),
        cmocka_unit_test(a_held_poll_waits_no_longer_for_that),
        cmocka_unit_test(a_caller_who_leaves_is_let_go),
        cmocka_unit_test(nothing_is_held_while_the_storage_is_away),
        cmocka_unit_test(what_keeps_work_goes_first),
        cmocka_unit_test(a_shard_holds_no_more_than_it_may),
        cmocka_unit_test(nor_more_bytes),
        cmocka_unit_test(polls_of_all_shards_go_on_without_those_that_move),
        cmocka_unit_test(a_poll_of_no_shard_ends_in_time),
        cmocka_unit_test(a_shard_that_moves_is_no_part_of_what_a_node_has),
        cmocka_unit_test(items_of_a_bulk_call_are_held),
        cmocka_unit_test(jobs_of_an_import_are_held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
