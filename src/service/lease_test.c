/*
 * LeaseTasks: which shards are asked, what comes back, and what happens to tasks whose worker left.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/limits.h"
#include "service/fake_test.h"
#include "service/handout.h"

static struct rpc_call *lease(const char *shard, const char *group, uint32_t max_tasks,
                              uint32_t wait_ms)
{
    Silo__V1__LeaseTasksRequest request = SILO__V1__LEASE_TASKS_REQUEST__INIT;
    if (shard != NULL) {
        request.shard_opt_case = SILO__V1__LEASE_TASKS_REQUEST__SHARD_OPT_SHARD;
        request.shard = (char *)shard;
    }
    request.worker_id = (char *)"w";
    request.task_group = (char *)group;
    request.max_tasks = max_tasks;
    request.wait_ms = wait_ms;
    return fake_call("LeaseTasks", &request.base);
}

static void fill_refreshes(struct shard_request *request, size_t count)
{
    struct refresh_task *refreshes = arena_zalloc(request->cmd.arena, count * sizeof *refreshes);
    for (size_t i = 0; i < count; i++) {
        refreshes[i].task_id.b[0] = (uint8_t)(0xf0 + i);
        refreshes[i].tenant = i == 0 ? BYTES_LIT("-") : BYTES_LIT("acme");
        refreshes[i].queue = BYTES_LIT("api");
        refreshes[i].value = 5;
        refreshes[i].refreshed_ms = i == 0 ? 0 : 7000;
        refreshes[i].metadata_count = 1;
        refreshes[i].metadata = BYTES_LIT("\x01k\x01v");
    }
    request->cmd.result.poll.refreshes = refreshes;
    request->cmd.result.poll.refresh_count = count;
}

/* Answers a poll with `count` tasks; their payloads have payload_len bytes. */
static void fill(struct shard_request *request, size_t count, size_t payload_len)
{
    struct arena *arena = request->cmd.arena;
    struct leased_task *tasks = arena_zalloc(arena, (count + 1) * sizeof *tasks);
    uint8_t *payload = arena_zalloc(arena, payload_len + 1);
    for (size_t i = 0; i < count; i++) {
        tasks[i].task_id.b[0] = (uint8_t)i;
        tasks[i].tenant = BYTES_LIT("-");
        tasks[i].job_id = BYTES_LIT("job");
        tasks[i].attempt = 4;
        tasks[i].relative = 1;
        tasks[i].info.group = request->cmd.args.poll.group;
        tasks[i].info.has_retry = true;
        tasks[i].info.retry.retry_count = UINT32_MAX; /* must not overflow */
        tasks[i].payload = bytes_of(payload, payload_len);
    }
    request->cmd.result.poll.tasks = tasks;
    request->cmd.result.poll.count = count;
    fake_answer(request, SILO_OK, NULL);
}

static size_t replied(struct rpc_call *call)
{
    Silo__V1__LeaseTasksResponse *reply =
        fake_reply(call, &silo__v1__lease_tasks_response__descriptor);
    const size_t count = reply->n_tasks;
    silo__v1__lease_tasks_response__free_unpacked(reply, NULL);
    return count;
}

static void expect_give_back(size_t count)
{
    struct shard_request *back = fake_take(CMD_GIVE_BACK);
    assert_int_equal(back->cmd.args.give_back.count, count);
    fake_answer(back, SILO_OK, NULL);
}

static void test_arguments(void **state)
{
    (void)state;
    fake_start(1, false, false);
    struct rpc_call *call = lease("no shard", "", 1, 0);
    fake_failed(call, 3, "task_group is required");
    fake_free(call);
    call = lease("", "g", 1, 0); /* set but empty is not "unset" */
    fake_failed(call, 3, "invalid shard ID");
    fake_free(call);
    call = lease(NULL, "g", 0, 0);
    assert_int_equal(replied(call), 0);
    fake_free(call);
    call = lease(NULL, "g", UINT32_MAX, 1000);
    struct shard_request *poll = fake_take(CMD_POLL);
    assert_int_equal(poll->cmd.args.poll.tasks_max, POLL_TASKS_MAX);
    assert_int_equal(poll->cmd.args.poll.wait_ms, 1000);
    fill(poll, 0, 0);
    assert_int_equal(replied(call), 0);
    fake_free(call);
    fake.shards[0].status = SHARD_OPENING;
    call = lease(NULL, "g", 1, 0); /* never fails on look-up */
    assert_int_equal(replied(call), 0);
    fake_free(call);
    fake_stop();
}

static void test_task_fields(void **state)
{
    (void)state;
    fake_start(1, false, false);
    struct rpc_call *call = lease(fake_shard_id(0), "g", 5, 0);
    fill(fake_take(CMD_POLL), 1, 3);
    Silo__V1__LeaseTasksResponse *reply =
        fake_reply(call, &silo__v1__lease_tasks_response__descriptor);
    assert_int_equal(reply->n_tasks, 1);
    const Silo__V1__Task *task = reply->tasks[0];
    assert_string_equal(task->id, "00000000-0000-0000-0000-000000000000");
    assert_int_equal(task->tenant_id_opt_case, 0);
    assert_int_equal(task->attempt_number, 4);
    assert_int_equal(task->relative_attempt_number, 1);
    assert_false(task->is_last_attempt);
    assert_int_equal(task->payload->msgpack.len, 3);
    assert_string_equal(task->shard, fake_shard_id(0));
    assert_string_equal(task->task_group, "g");
    assert_int_equal(task->lease_ms, 10000);
    silo__v1__lease_tasks_response__free_unpacked(reply, NULL);
    fake_sent(call, true);
    fake_free(call);
    fake_stop();
}

static void test_all_shards_without_wait(void **state)
{
    (void)state;
    fake_start(3, false, false);
    struct rpc_call *call = lease(NULL, "g", 4, 0);
    struct shard_request *poll = fake_take(CMD_POLL);
    assert_int_equal(poll->cmd.args.poll.tasks_max, 4);
    fill(poll, 2, 0);
    fake_answer(fake_take(CMD_POLL), SILO_UNAVAILABLE, "away"); /* does not spoil the others' */
    poll = fake_take(CMD_POLL);
    assert_int_equal(poll->cmd.args.poll.tasks_max, 2);
    fill(poll, 2, 0);
    assert_int_equal(replied(call), 4);
    fake_sent(call, true);
    fake_free(call);

    call = lease(NULL, "g", 1, 0);
    for (int i = 0; i < 3; i++) {
        fake_answer(fake_take(CMD_POLL), SILO_UNAVAILABLE, "away");
    }
    fake_failed(call, 14, "away");
    fake_free(call);
    fake_stop();
}

static void test_parked_on_all(void **state)
{
    (void)state;
    fake_start(2, false, false);
    struct rpc_call *call = lease(NULL, "g", 4, 500);
    for (int i = 0; i < 2; i++) {
        struct shard_request *visit = fake_take(CMD_POLL);
        assert_int_equal(visit->cmd.args.poll.wait_ms, 0);
        assert_null(visit->cmd.args.poll.claim);
        fill(visit, 0, 0);
    }
    struct shard_request *one = fake_take(CMD_POLL);
    struct shard_request *other = fake_take(CMD_POLL);
    assert_int_equal(one->cmd.args.poll.wait_ms, 500);
    assert_true(one->cmd.args.poll.claim(one->cmd.args.poll.claim_context));
    assert_false(other->cmd.args.poll.claim(other->cmd.args.poll.claim_context));
    fill(one, 1, 0);
    assert_false(call->done); /* the other poll is still in the shard */
    struct shard_request *stop = fake_take(CMD_POLL_STOP);
    assert_ptr_equal(stop->cmd.args.poll_stop.poll, &other->cmd);
    fill(other, 0, 0);
    assert_false(call->done); /* and so is the stop */
    fake_answer(stop, SILO_OK, NULL);
    assert_int_equal(replied(call), 1);
    fake_sent(call, true);
    fake_free(call);
    fake_stop();
}

static void test_cancelled_while_parked(void **state)
{
    (void)state;
    fake_start(1, false, false);
    struct rpc_call *call = lease(NULL, "g", 4, 500);
    struct shard_request *poll = fake_take(CMD_POLL);
    fake_cancel(call);
    struct shard_request *stop = fake_take(CMD_POLL_STOP);
    assert_ptr_equal(stop->cmd.args.poll_stop.poll, &poll->cmd);
    fill(poll, 2, 0); /* it was filled at that very moment */
    fake_answer(stop, SILO_OK, NULL);
    assert_true(call->done);
    expect_give_back(2);
    fake_free(call);
    fake_stop();
}

static void test_cancelled_while_visiting(void **state)
{
    (void)state;
    fake_start(2, false, false);
    struct rpc_call *call = lease(NULL, "g", 4, 500);
    struct shard_request *poll = fake_take(CMD_POLL);
    fake_cancel(call);
    fill(poll, 1, 0);
    assert_true(call->done); /* the second shard is not asked any more */
    expect_give_back(1);
    fake_free(call);
    fake_stop();
}

static void test_reply_not_sent(void **state)
{
    (void)state;
    fake_start(1, false, false);
    struct rpc_call *call = lease(NULL, "g", 4, 0);
    fill(fake_take(CMD_POLL), 3, 0);
    assert_int_equal(replied(call), 3);
    fake_sent(call, false);
    fake_free(call); /* the tasks' way back does not need the call */
    expect_give_back(3);
    fake_stop();
}

static void expect_renew(size_t count)
{
    struct shard_request *renew = fake_take(CMD_RENEW);
    assert_int_equal(renew->cmd.args.renew.count, count);
    fake_answer(renew, SILO_OK, NULL);
}

/* A reply that takes long: its leases last until it has left, and a whole term from then on. */
static void test_slow_reply(void **state)
{
    (void)state;
    fake_start(1, false, false);
    struct rpc_call *call = lease(NULL, "g", 4, 0);
    fill(fake_take(CMD_POLL), 3, 0);
    fake_pass(HANDOUT_RENEW_US - 1);
    assert_int_equal(fake.request_count, 0);
    fake_pass(1);
    expect_renew(3);
    fake_pass(HANDOUT_RENEW_US);
    expect_renew(3);
    fake_pass(HANDOUT_LATE_US + 1);
    fake_sent(call, true);
    expect_renew(3);
    fake_free(call);

    call = lease(NULL, "g", 4, 0); /* it is lost at last */
    fill(fake_take(CMD_POLL), 2, 0);
    fake_pass(HANDOUT_RENEW_US);
    expect_renew(2);
    fake_sent(call, false);
    fake_free(call);
    expect_give_back(2);

    call = lease(NULL, "g", 4, 0); /* for ever is not waited */
    fill(fake_take(CMD_POLL), 1, 0);
    size_t renewals = 0;
    for (int i = 0; i < 1000; i++) {
        fake_pass(HANDOUT_RENEW_US);
        if (fake.request_count != 0) {
            expect_renew(1);
            renewals++;
        }
    }
    assert_int_equal(renewals, HANDOUT_US_MAX / HANDOUT_RENEW_US);
    fake_sent(call, false);
    fake_free(call);
    expect_give_back(1);
    fake_stop();
}

/* One that leaves at once says nothing to the shard, unless its leases are old already. */
static void test_quick_reply(void **state)
{
    (void)state;
    fake_start(1, false, false);
    for (int64_t age_ms = 0; age_ms < 3000; age_ms += 500) {
        struct rpc_call *call = lease(NULL, "g", 4, 0);
        struct shard_request *poll = fake_take(CMD_POLL);
        poll->cmd.result.poll.age_ms = age_ms;
        fill(poll, 1, 0);
        fake_sent(call, true);
        fake_free(call);
        if (1000 * age_ms > HANDOUT_LATE_US) {
            expect_renew(1);
        }
        assert_int_equal(fake.request_count, 0);
    }
    fake_stop();
}

static void test_give_back_refused(void **state)
{
    (void)state;
    fake_start(1, false, false);
    struct rpc_call *call = lease(NULL, "g", 4, 0);
    fill(fake_take(CMD_POLL), 3, 0);
    fake.shards[0].full = true;
    fake_sent(call, false); /* the leases end by themselves */
    fake_free(call);
    fake_stop();
}

static void test_reply_size(void **state)
{
    (void)state;
    fake_start(1, false, false);
    struct rpc_call *call = lease(NULL, "g", 10, 0);
    fill(fake_take(CMD_POLL), 5, 60u << 20); /* two fit into 128 MiB */
    assert_int_equal(replied(call), 2);
    fake_sent(call, true);
    fake_free(call);
    expect_give_back(3);
    fake_stop();
}

/* ReturnTasks: each task is a command of its own, and fails alone. */
static void test_return_tasks(void **state)
{
    (void)state;
    fake_start(2, true, false);
    static const char *const ids[] = {"00000000-0000-0000-0000-000000000007", "no uuid",
                                      "00000000-0000-0000-0000-000000000007",
                                      "00000000-0000-0000-0000-000000000008"};
    static const char *const tenants[] = {"t1", "t1", NULL, "foreign"};
    Silo__V1__ReturnedTask tasks[4];
    Silo__V1__ReturnedTask *list[4];
    for (size_t i = 0; i < 4; i++) {
        silo__v1__returned_task__init(&tasks[i]);
        tasks[i].task_id = (char *)ids[i];
        if (tenants[i] != NULL) {
            tasks[i].tenant_id_opt_case = SILO__V1__RETURNED_TASK__TENANT_ID_OPT_TENANT_ID;
            tasks[i].tenant_id = (char *)tenants[i];
        }
        list[i] = &tasks[i];
    }
    Silo__V1__ReturnTasksRequest request = SILO__V1__RETURN_TASKS_REQUEST__INIT;
    request.shard = (char *)fake_shard_id(0);
    request.worker_id = (char *)"w";
    request.tasks = list;
    request.n_tasks = 4;
    struct rpc_call *call = fake_call("ReturnTasks", &request.base);
    struct shard_request *first = fake_take(CMD_RETURN_TASK);
    assert_true(first->cmd.args.return_task.has_task_id);
    assert_int_equal(first->cmd.args.return_task.task_id.b[15], 7);
    assert_true(bytes_eq(first->cmd.args.return_task.worker_id, BYTES_LIT("w")));
    struct shard_request *second = fake_take(CMD_RETURN_TASK);
    assert_false(second->cmd.args.return_task.has_task_id);
    fake_answer(first, SILO_OK, NULL);
    fake_answer(second, SILO_NOT_FOUND, "lease not found");
    Silo__V1__ReturnTasksResponse *reply =
        fake_reply(call, &silo__v1__return_tasks_response__descriptor);
    assert_int_equal(reply->n_results, 4);
    assert_int_equal(reply->results[0]->code, 0);
    assert_int_equal(reply->results[1]->code, 5);
    assert_string_equal(reply->results[1]->message, "lease not found");
    assert_int_equal(reply->results[2]->code, 3);
    assert_int_equal(reply->results[3]->code, 9);
    silo__v1__return_tasks_response__free_unpacked(reply, NULL);
    fake_free(call);
    fake_stop();
}

static void test_refresh_fields(void **state)
{
    (void)state;
    fake_start(1, false, false);
    struct rpc_call *call = lease(fake_shard_id(0), "g", 1, 0);
    struct shard_request *poll = fake_take(CMD_POLL);
    fill_refreshes(poll, 2);
    fill(poll, 1, 0); /* they come beside max_tasks */
    Silo__V1__LeaseTasksResponse *reply =
        fake_reply(call, &silo__v1__lease_tasks_response__descriptor);
    assert_int_equal(reply->n_tasks, 1);
    assert_int_equal(reply->n_refresh_tasks, 2);
    const Silo__V1__RefreshFloatingLimitTask *task = reply->refresh_tasks[0];
    assert_string_equal(task->id, "f0000000-0000-0000-0000-000000000000");
    assert_string_equal(task->queue_key, "api");
    assert_int_equal(task->current_max_concurrency, 5);
    assert_int_equal(task->last_refreshed_at_ms, 0);
    assert_int_equal(task->n_metadata, 1);
    assert_string_equal(task->metadata[0]->key, "k");
    assert_string_equal(task->metadata[0]->value, "v");
    assert_int_equal(task->lease_ms, 10000);
    assert_string_equal(task->shard, fake_shard_id(0));
    assert_string_equal(task->task_group, "g");
    assert_int_equal(task->tenant_id_opt_case, 0);
    task = reply->refresh_tasks[1];
    assert_int_equal(task->last_refreshed_at_ms, 7000);
    assert_int_equal(task->tenant_id_opt_case, 9);
    assert_string_equal(task->tenant_id, "acme");
    silo__v1__lease_tasks_response__free_unpacked(reply, NULL);
    fake_sent(call, true);
    fake_free(call);
    fake_stop();
}

/* A refresh task is something to answer with: the poll does not park, or parks no longer. */
static void test_refresh_ends_the_wait(void **state)
{
    (void)state;
    fake_start(2, false, false);
    struct rpc_call *call = lease(NULL, "g", 2, 500);
    struct shard_request *poll = fake_take(CMD_POLL);
    fill_refreshes(poll, 1);
    fill(poll, 0, 0);
    poll = fake_take(CMD_POLL); /* the other shard is visited, for max_tasks job tasks */
    assert_int_equal(poll->cmd.args.poll.tasks_max, 2);
    assert_int_equal(poll->cmd.args.poll.wait_ms, 0);
    fill(poll, 0, 0);
    assert_int_equal(replied(call), 0);
    fake_sent(call, true);
    fake_free(call);

    call = lease(NULL, "g", 2, 500);
    for (int i = 0; i < 2; i++) {
        fill(fake_take(CMD_POLL), 0, 0);
    }
    struct shard_request *one = fake_take(CMD_POLL);
    struct shard_request *other = fake_take(CMD_POLL);
    fill_refreshes(one, 1);
    fill(one, 0, 0);
    struct shard_request *stop = fake_take(CMD_POLL_STOP);
    fill(other, 0, 0);
    fake_answer(stop, SILO_OK, NULL);
    Silo__V1__LeaseTasksResponse *reply =
        fake_reply(call, &silo__v1__lease_tasks_response__descriptor);
    assert_int_equal(reply->n_tasks, 0);
    assert_int_equal(reply->n_refresh_tasks, 1);
    silo__v1__lease_tasks_response__free_unpacked(reply, NULL);
    fake_sent(call, true);
    fake_free(call);
    fake_stop();
}

static void test_refresh_goes_back(void **state)
{
    (void)state;
    fake_start(1, false, false);
    struct rpc_call *call = lease(NULL, "g", 4, 0);
    struct shard_request *poll = fake_take(CMD_POLL);
    fill_refreshes(poll, 2);
    fill(poll, 3, 0);
    assert_int_equal(replied(call), 3);
    fake_sent(call, false);
    fake_free(call);
    struct shard_request *back = fake_take(CMD_GIVE_BACK);
    assert_int_equal(back->cmd.args.give_back.count, 5);
    unsigned seen = 0; /* one bit for each of the five */
    for (size_t i = 0; i < 5; i++) {
        const uint8_t first = back->cmd.args.give_back.task_ids[i].b[0];
        seen |= 1u << (first >= 0xf0 ? 3 + first - 0xf0 : first);
    }
    assert_int_equal(seen, 0x1f);
    fake_answer(back, SILO_OK, NULL);

    call = lease(NULL, "g", 4, 0); /* nothing but a refresh */
    poll = fake_take(CMD_POLL);
    fill_refreshes(poll, 1);
    fake_cancel(call);
    fake_answer(fake_take(CMD_POLL_STOP), SILO_OK, NULL);
    fill(poll, 0, 0);
    assert_true(call->done);
    expect_give_back(1);
    fake_free(call);
    fake_stop();
}

/* A job that cannot be told to a worker ends; the others of the poll are delivered. */
static void test_task_malformed(void **state)
{
    (void)state;
    fake_start(1, false, false);
    struct rpc_call *call = lease(NULL, "g", 4, 0);
    struct shard_request *poll = fake_take(CMD_POLL);
    struct leased_task tasks[3];
    memset(tasks, 0, sizeof tasks);
    for (size_t i = 0; i < 3; i++) {
        tasks[i].task_id.b[0] = (uint8_t)i;
        tasks[i].tenant = BYTES_LIT("-");
        tasks[i].job_id = BYTES_LIT("job");
    }
    tasks[1].info.limit_count = 1; /* none is there */
    poll->cmd.result.poll = (struct poll_result){.tasks = tasks, .count = 3};
    fake_answer(poll, SILO_OK, NULL);
    assert_int_equal(replied(call), 2);
    struct shard_request *back = fake_take(CMD_GIVE_BACK);
    assert_int_equal(back->cmd.args.give_back.count, 1);
    assert_int_equal(back->cmd.args.give_back.task_ids[0].b[0], 1);
    assert_non_null(back->cmd.args.give_back.unreadable);
    fake_answer(back, SILO_OK, NULL);
    fake_sent(call, true);
    fake_free(call);
    fake_stop();
}

/* Large payloads leave from where they lie, however many there are. */
static void test_reply_pieces(void **state)
{
    (void)state;
    static const size_t counts[] = {1, 15, 31, 32, 100};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        fake_start(1, false, false);
        struct rpc_call *call = lease(NULL, "g", 200, 0);
        fill(fake_take(CMD_POLL), counts[i], 70000);
        Silo__V1__LeaseTasksResponse *reply =
            fake_reply(call, &silo__v1__lease_tasks_response__descriptor);
        assert_int_equal(reply->n_tasks, counts[i]);
        for (size_t t = 0; t < counts[i]; t++) {
            assert_int_equal(reply->tasks[t]->payload->msgpack.len, 70000);
            assert_string_equal(reply->tasks[t]->task_group, "g");
        }
        silo__v1__lease_tasks_response__free_unpacked(reply, NULL);
        fake_sent(call, true);
        fake_free(call);
        fake_stop();
    }
}

static void test_refresh_malformed(void **state)
{
    (void)state;
    fake_start(1, false, false);
    struct rpc_call *call = lease(NULL, "g", 4, 0);
    struct shard_request *poll = fake_take(CMD_POLL);
    fill_refreshes(poll, 2);
    poll->cmd.result.poll.refreshes[0].metadata = BYTES_LIT("\x05k");
    fill(poll, 0, 0);
    Silo__V1__LeaseTasksResponse *reply =
        fake_reply(call, &silo__v1__lease_tasks_response__descriptor);
    assert_int_equal(reply->n_refresh_tasks, 1);
    assert_string_equal(reply->refresh_tasks[0]->tenant_id, "acme");
    silo__v1__lease_tasks_response__free_unpacked(reply, NULL);
    fake_sent(call, true);
    fake_free(call);
    fake_stop();
}

static void test_wait_is_cut(void **state)
{
    (void)state;
    fake_start(1, false, false);
    struct rpc_call *call = lease(NULL, "g", 1, 600000);
    struct shard_request *poll = fake_take(CMD_POLL);
    assert_int_equal(poll->cmd.args.poll.wait_ms, 60000);
    fill(poll, 0, 0);
    fake_free(call);
    fake_stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_task_fields),
        cmocka_unit_test(test_all_shards_without_wait),
        cmocka_unit_test(test_parked_on_all),
        cmocka_unit_test(test_cancelled_while_parked),
        cmocka_unit_test(test_cancelled_while_visiting),
        cmocka_unit_test(test_reply_not_sent),
        cmocka_unit_test(test_return_tasks),
        cmocka_unit_test(test_slow_reply),
        cmocka_unit_test(test_quick_reply),
        cmocka_unit_test(test_give_back_refused),
        cmocka_unit_test(test_reply_size),
        cmocka_unit_test(test_wait_is_cut),
        cmocka_unit_test(test_refresh_fields),
        cmocka_unit_test(test_refresh_ends_the_wait),
        cmocka_unit_test(test_refresh_goes_back),
        cmocka_unit_test(test_refresh_malformed),
        cmocka_unit_test(test_task_malformed),
        cmocka_unit_test(test_reply_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
