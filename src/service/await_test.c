/*
 * service/await_test.c - AwaitCancellations: what the shard is asked, what the worker hears, and a
 * worker that leaves.
 */
#include "base/limits.h"
#include "base/test.h"
#include "service/fake_test.h"

#define TASK_A "00000000-0000-4000-8000-00000000000a"
#define TASK_B "00000000-0000-4000-8000-00000000000b"

static Silo__V1__AwaitCancellationsRequest request_new(void)
{
    Silo__V1__AwaitCancellationsRequest request = SILO__V1__AWAIT_CANCELLATIONS_REQUEST__INIT;
    request.shard = (char *)fake_shard_id(0);
    request.worker_id = (char *)"w";
    request.wait_ms = 70000;
    return request;
}

static void test_told(void **state)
{
    (void)state;
    fake_start(1, true, false);
    char *known[] = {(char *)TASK_B, (char *)"no id", (char *)TASK_A};
    Silo__V1__AwaitCancellationsRequest request = request_new();
    request.known_task_ids = known;
    request.n_known_task_ids = 3;
    struct rpc_call *call = fake_call("AwaitCancellations", &request.base);
    struct shard_request *sent = fake_take(CMD_AWAIT_CANCELS);
    const struct await_args *args = &sent->cmd.args.await;
    assert_true(bytes_eq(args->worker_id, BYTES_LIT("w")));
    assert_int_equal(args->wait_ms, POLL_WAIT_MS_MAX);
    assert_int_equal(args->known_count, 2);
    assert_int_equal(args->known[0].b[15], 0x0a); /* in order, so that they can be found */
    assert_int_equal(args->known[1].b[15], 0x0b);

    struct cancelled_task task = {.task_id = args->known[0], .cancelled_ms = 1234};
    sent->cmd.result.await = (struct await_result){.tasks = &task, .count = 1};
    fake_answer(sent, SILO_OK, NULL);
    Silo__V1__AwaitCancellationsResponse *reply =
        fake_reply(call, &silo__v1__await_cancellations_response__descriptor);
    assert_int_equal(reply->n_tasks, 1);
    assert_string_equal(reply->tasks[0]->task_id, TASK_A);
    assert_int_equal(reply->tasks[0]->cancelled_at_ms, 1234);
    silo__v1__await_cancellations_response__free_unpacked(reply, NULL);
    fake_free(call);
    fake_stop();
}

static void test_the_worker_leaves(void **state)
{
    (void)state;
    fake_start(1, false, false);
    const Silo__V1__AwaitCancellationsRequest request = request_new();
    struct rpc_call *call = fake_call("AwaitCancellations", &request.base);
    struct shard_request *waiting = fake_take(CMD_AWAIT_CANCELS);
    fake_cancel(call);
    struct shard_request *stop = fake_take(CMD_POLL_STOP);
    assert_ptr_equal(stop->cmd.args.poll_stop.poll, &waiting->cmd);
    fake_answer(waiting, SILO_CANCELLED, "the caller left");
    assert_false(call->done);
    fake_answer(stop, SILO_OK, NULL);
    fake_free(call);
    fake_stop();
}

static void test_refused(void **state)
{
    (void)state;
    fake_start(1, false, false);
    Silo__V1__AwaitCancellationsRequest request = request_new();
    request.shard = (char *)"bad";
    struct rpc_call *call = fake_call("AwaitCancellations", &request.base);
    fake_failed(call, 3, "invalid shard ID");
    fake_free(call);

    request = request_new();
    char worker[WORKER_ID_BYTES_MAX + 2];
    memset(worker, 'w', sizeof worker - 1);
    worker[sizeof worker - 1] = '\0';
    request.worker_id = worker;
    call = fake_call("AwaitCancellations", &request.base);
    fake_failed(call, 3, "worker_id too long");
    fake_free(call);

    enum { MANY = 10001 };
    static char *known[MANY];
    for (size_t i = 0; i < MANY; i++) {
        known[i] = (char *)"x";
    }
    request = request_new();
    request.known_task_ids = known;
    request.n_known_task_ids = MANY;
    call = fake_call("AwaitCancellations", &request.base);
    fake_failed(call, 3, "too many known_task_ids: at most 10000");
    fake_free(call);

    request = request_new();
    call = fake_call("AwaitCancellations", &request.base);
    fake_answer(fake_take(CMD_AWAIT_CANCELS), SILO_EXHAUSTED, "too many workers wait");
    fake_failed(call, 8, "too many workers wait");
    fake_free(call);
    fake_stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_told),
        cmocka_unit_test(test_the_worker_leaves),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
