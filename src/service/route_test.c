/*
 * service/route_test.c - calls whose shard has moved: they go where the directory says, wait for a
 * newer one, or are told who has it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "service/fake_test.h"
#include "service/service_int.h"

static struct rpc_call *poll(const char *shard, uint32_t wait_ms)
{
    Silo__V1__LeaseTasksRequest request = SILO__V1__LEASE_TASKS_REQUEST__INIT;
    if (shard != NULL) {
        request.shard_opt_case = SILO__V1__LEASE_TASKS_REQUEST__SHARD_OPT_SHARD;
        request.shard = (char *)shard;
    }
    request.worker_id = (char *)"w";
    request.task_group = (char *)"g";
    request.max_tasks = 1;
    request.wait_ms = wait_ms;
    return fake_call("LeaseTasks", &request.base);
}

static void answer_well(struct rpc_call *call)
{
    fake_answer(fake_take(CMD_ENQUEUE), SILO_OK, NULL);
    assert_true(call->done);
    assert_int_equal(call->status, 0);
    fake_free(call);
}

/* The shard left its place and is in another one of this process. */
static void move(size_t shard)
{
    fake.shards[shard].ref.generation++;
    fake_publish();
}

static void wrong(enum command_kind kind)
{
    fake_answer(fake_take(kind), SILO_ROUTED_WRONG, NULL);
}

static void a_call_follows_its_shard(void **state)
{
    (void)state;
    fake_start(2, false, false);
    struct rpc_call *call = fake_enqueue(1);
    move(1);
    wrong(CMD_ENQUEUE);
    assert_int_equal(fake.request_count, 1);
    assert_int_equal(fake.requests[0]->ref.slot, 1);
    assert_int_equal(fake.requests[0]->ref.generation, 2);
    answer_well(call);
    fake_stop();
}

static void a_call_waits_for_a_newer_directory(void **state)
{
    (void)state;
    fake_start(1, false, false);
    struct rpc_call *call = fake_enqueue(0);
    wrong(CMD_ENQUEUE); /* and the directory still says so */
    assert_int_equal(fake.request_count, 0);
    fake_publish(); /* nor does this one know better */
    fake_pass(1000000);
    assert_int_equal(fake.request_count, 0);
    assert_false(call->done);
    move(0);
    assert_int_equal(fake.request_count, 1);
    answer_well(call);
    fake_stop();
}

static void a_call_does_not_wait_for_ever(void **state)
{
    (void)state;
    fake_start(1, false, false);
    struct rpc_call *call = fake_enqueue(0);
    wrong(CMD_ENQUEUE);
    fake_pass(1000 * (int64_t)HOLD_MS_MAX - 1);
    fake_run();
    assert_false(call->done);
    fake_pass(2);
    fake_run();
    fake_failed(call, 14, "shard not ready");
    fake_free(call);
    fake_publish(); /* nobody waits any more */
    fake_stop();
}

static void a_call_is_sent_again_thrice_then_waits(void **state)
{
    (void)state;
    fake_start(1, false, false);
    struct rpc_call *call = fake_enqueue(0);
    for (uint32_t i = 0; i < STRAY_TRIES_MAX; i++) {
        move(0);
        wrong(CMD_ENQUEUE);
        assert_int_equal(fake.request_count, 1);
    }
    move(0);
    wrong(CMD_ENQUEUE);
    assert_int_equal(fake.request_count, 0);
    move(0);
    assert_int_equal(fake.request_count, 1);
    answer_well(call);
    fake_stop();
}

static void a_call_is_told_when_its_shard_has_gone(void **state)
{
    (void)state;
    fake_start(2, false, false);
    struct rpc_call *call = fake_enqueue(0);
    struct rpc_call *late = fake_enqueue(0);
    struct shard_request *request = fake_take(CMD_ENQUEUE);
    wrong(CMD_ENQUEUE); /* the second one waits */
    fake.shards[0].place = PLACE_NODE;
    fake_publish();
    fake_run();
    fake_failed(late, 5, "shard not found");
    assert_string_equal(late->owner, "10.0.0.2:50051");
    fake_free(late);
    fake_answer(request, SILO_ROUTED_WRONG, NULL);
    fake_failed(call, 5, "shard not found");
    assert_string_equal(call->owner, "10.0.0.2:50051");
    assert_string_equal(call->owner_node, "node-2");
    fake_free(call);
    fake_stop();
}

/* Where a shard may be, and what its callers are told then. */
static const struct where {
    enum directory_place place;
    enum shard_status status;
    const char *ring;
    uint32_t code;
    const char *text, *address, *node, *retry_ms;
} wheres[] = {
    {PLACE_NODE, SHARD_CLOSED, NULL, 5, "shard not found", "10.0.0.2:50051", "node-2", ""},
    {PLACE_MOVING, SHARD_CLOSED, NULL, 14, "shard not ready: acquisition in progress",
     "10.0.0.2:50051", "node-2", "100"},
    {PLACE_MOVING, SHARD_CLOSED, NULL, 14, "shard not ready: acquisition in progress", "", "",
     "100"},
    {PLACE_HERE, SHARD_OPENING, NULL, 14, "shard not ready: acquisition in progress", "", "",
     "100"},
    {PLACE_HERE, SHARD_CLOSED, NULL, 14, "shard not ready: acquisition in progress", "", "", "100"},
    {PLACE_HERE, SHARD_CLOSING, NULL, 14, "shard not ready: acquisition in progress", "", "",
     "100"},
    {PLACE_HERE, SHARD_FAILED, NULL, 14, "shard not ready: it could not be opened", "", "", "1000"},
    {PLACE_HERE, SHARD_FENCED, NULL, 14, "shard not here", "", "", "1000"},
    {PLACE_SPLITTING, SHARD_CLOSED, NULL, 14, "shard is temporarily unavailable: split in progress",
     "", "", "100"},
    {PLACE_STRANDED, SHARD_CLOSED, NULL, 14,
     "shard not ready: its log lies with a node that is away", "", "node-2", "5000"},
    {PLACE_RETIRED, SHARD_CLOSED, NULL, 5, "shard not found", "", "", ""},
    {PLACE_UNASSIGNED, SHARD_CLOSED, NULL, 14, "shard not ready: acquisition in progress", "", "",
     "500"},
    {PLACE_UNASSIGNED, SHARD_CLOSED, "gpu", 5, "shard not found", "", "", "5000"},
};
#define WHERES_COUNT (sizeof wheres / sizeof wheres[0])

static void put(size_t shard, const struct where *where)
{
    fake.shards[shard].place = where->place;
    fake.shards[shard].status = where->status;
    fake.shards[shard].ring = where->ring;
    fake.shards[shard].comes = where->place == PLACE_MOVING && where->node[0] == '\0';
    fake_publish();
}

/* At once, or when the call was held for as long as may be. */
static void told(struct rpc_call *call, const struct where *where)
{
    fake_pass(1000 * (int64_t)HOLD_MS_MAX);
    fake_run();
    fake_failed(call, where->code, where->text);
    assert_string_equal(call->owner, where->address);
    assert_string_equal(call->owner_node, where->node);
    assert_string_equal(call->retry_ms, where->retry_ms);
    fake_free(call);
}

/* Every call that names a shard, by a request with nothing else in it. */
static void a_caller_is_told_who_has_the_shard_and_when_to_ask(void **state)
{
    (void)state;
    fake_start(2, false, false);
    static const char *const methods[] = {
        "Enqueue",   "GetJob",        "GetJobResult",   "DeleteJob",
        "CancelJob", "RestartJob",    "ExpediteJob",    "DropTenantHolders",
        "LeaseTask", "ReportOutcome", "ReportOutcomes", "ReportRefreshOutcome",
        "Heartbeat", "ReturnTasks",   "EnqueueMany",    "AwaitCancellations",
    };
    uint8_t wire[2 + UUID_TEXT_LEN] = {1 << 3 | 2, UUID_TEXT_LEN}; /* all: field 1, a text */
    memcpy(wire + 2, fake_shard_id(1), UUID_TEXT_LEN);
    for (size_t i = 0; i < WHERES_COUNT; i++) {
        put(1, &wheres[i]);
        for (size_t k = 0; k < sizeof methods / sizeof methods[0]; k++) {
            told(fake_call_bytes(methods[k], bytes_of(wire, sizeof wire)), &wheres[i]);
        }
        told(poll(fake_shard_id(1), 1000), &wheres[i]);
    }
    fake_stop();
}

/* An import has no trailers for each of its jobs. */
static void the_result_of_an_imported_job_says_who_has_its_shard(void **state)
{
    (void)state;
    fake_start(2, false, false);
    fake.shards[1].place = PLACE_NODE;
    fake_publish();
    Silo__V1__ImportJobRequest job = SILO__V1__IMPORT_JOB_REQUEST__INIT;
    job.shard = (char *)fake_shard_id(1);
    job.id = (char *)"a";
    job.task_group = (char *)"g";
    Silo__V1__ImportJobRequest *jobs[] = {&job};
    Silo__V1__ImportJobsRequest request = SILO__V1__IMPORT_JOBS_REQUEST__INIT;
    request.jobs = jobs;
    request.n_jobs = 1;
    struct rpc_call *call = fake_call("ImportJobs", &request.base);
    Silo__V1__ImportJobsResponse *reply =
        fake_reply(call, &silo__v1__import_jobs_response__descriptor);
    assert_string_equal(reply->results[0]->error,
                        "shard not found; node node-2 at 10.0.0.2:50051 has it");
    silo__v1__import_jobs_response__free_unpacked(reply, NULL);
    fake_free(call);
    fake_stop();
}

/* It was routed well, and while it was with the shard that went away. */
static void the_results_of_many_say_who_has_their_shard_now(void **state)
{
    (void)state;
    fake_start(2, false, false);
    Silo__V1__ReportOutcomeRequest outcome = SILO__V1__REPORT_OUTCOME_REQUEST__INIT;
    outcome.outcome_case = SILO__V1__REPORT_OUTCOME_REQUEST__OUTCOME_CANCELLED;
    Silo__V1__Cancelled cancelled = SILO__V1__CANCELLED__INIT;
    outcome.cancelled = &cancelled;
    Silo__V1__ReportOutcomeRequest *outcomes[] = {&outcome};
    Silo__V1__ReportOutcomesRequest request = SILO__V1__REPORT_OUTCOMES_REQUEST__INIT;
    request.shard = (char *)fake_shard_id(1);
    request.outcomes = outcomes;
    request.n_outcomes = 1;
    struct rpc_call *call = fake_call("ReportOutcomes", &request.base);
    fake.shards[1].place = PLACE_NODE;
    fake_publish();
    wrong(CMD_REPORT);
    Silo__V1__ReportOutcomesResponse *reply =
        fake_reply(call, &silo__v1__report_outcomes_response__descriptor);
    assert_int_equal(reply->results[0]->code, 5);
    assert_string_equal(reply->results[0]->message,
                        "shard not found; node node-2 at 10.0.0.2:50051 has it");
    silo__v1__report_outcomes_response__free_unpacked(reply, NULL);
    fake_free(call);
    fake_stop();
}

/* --- calls that go on to another node --- */

static void a_call_goes_on_to_who_has_its_shard(void **state)
{
    (void)state;
    fake_start(2, false, false);
    fake.forwards = true;
    put(1, &wheres[0]);
    struct rpc_call *call = fake_enqueue(1);
    assert_false(call->done);
    assert_ptr_equal(fake.forwarded, call);
    assert_string_equal(fake.forward_to, "/silo.v1.Silo/Enqueue node-2 10.0.0.2:50051");
    fake_came_back();
    fake_free(call);
    fake.forwards = false; /* it need not be taken */
    told(fake_enqueue(1), &wheres[0]);
    fake_stop();
}

/* Nothing of it was done here: its shard had gone when it came there. */
static void a_call_that_met_its_shard_gone_goes_on(void **state)
{
    (void)state;
    fake_start(2, false, false);
    fake.forwards = true;
    struct rpc_call *call = fake_enqueue(1);
    put(1, &wheres[0]);
    wrong(CMD_ENQUEUE);
    assert_false(call->done);
    assert_ptr_equal(fake.forwarded, call);
    fake_came_back();
    fake_free(call);
    fake_stop();
}

/* The shard came here meanwhile: word of it is there already, or it is waited for. */
static void a_call_that_is_sent_back_runs_here(void **state)
{
    (void)state;
    static const struct where here = {.place = PLACE_HERE, .status = SHARD_OPEN};
    for (int known = 0; known < 2; known++) {
        fake_start(2, false, false);
        fake.forwards = true;
        put(1, &wheres[0]);
        struct rpc_call *call = fake_enqueue(1);
        if (known == 0) {
            put(1, &here);
        }
        fake_sent_back();
        if (known == 1) {
            assert_int_equal(fake.request_count, 0);
            assert_false(call->done);
            put(1, &here);
        }
        assert_int_equal(fake.request_count, 1);
        answer_well(call);
        fake_stop();
    }
}

/* Who has it is not agreed on: not for ever. */
static void a_call_is_not_sent_to_and_fro_for_ever(void **state)
{
    (void)state;
    fake_start(2, false, false);
    fake.forwards = true;
    put(1, &wheres[0]);
    struct rpc_call *call = fake_enqueue(1);
    size_t times = 0;
    while (fake.forwarded != NULL) {
        assert_in_range(++times, 1, 10);
        fake_sent_back();
        fake_pass(1000 * (int64_t)HOLD_MS_MAX / 2);
        fake_publish(); /* and it says nothing new */
    }
    fake_failed(call, 14, "shard not ready");
    assert_string_equal(call->retry_ms, "100");
    fake_free(call);
    fake_stop();
}

/* What is leased must reach its worker, and who hands it out must know whether it did. */
static void what_hands_tasks_out_goes_nowhere(void **state)
{
    (void)state;
    fake_start(2, false, false);
    fake.forwards = true;
    put(1, &wheres[0]);
    told(poll(fake_shard_id(1), 1000), &wheres[0]);
    Silo__V1__LeaseTaskRequest request = SILO__V1__LEASE_TASK_REQUEST__INIT;
    request.shard = (char *)fake_shard_id(1);
    request.id = request.worker_id = (char *)"w";
    told(fake_call("LeaseTask", &request.base), &wheres[0]);
    fake_stop();
}

static void only_a_shard_that_another_node_has_is_asked_for_there(void **state)
{
    (void)state;
    fake_start(2, false, false);
    fake.forwards = true;
    for (size_t i = 1; i < WHERES_COUNT; i++) {
        put(1, &wheres[i]);
        told(fake_enqueue(1), &wheres[i]);
    }
    fake_stop();
}

/* --- polls --- */

static void a_parked_poll_is_parked_on_shards_that_come(void **state)
{
    (void)state;
    fake_start(3, false, false);
    fake.shards[1].status = SHARD_OPENING;
    fake.shards[2].status = SHARD_CLOSED;
    struct rpc_call *call = poll(NULL, 20000);
    struct shard_request *first = fake_take(CMD_POLL);
    assert_int_equal(first->ref.slot, 0);
    fake_publish(); /* nothing has come */
    assert_int_equal(fake.request_count, 0);
    fake_pass(5000000);
    fake.shards[1].status = SHARD_OPEN;
    fake_publish();
    assert_int_equal(fake.request_count, 1);
    fake_publish();
    assert_int_equal(fake.request_count, 1); /* once each */
    struct shard_request *second = fake_take(CMD_POLL);
    assert_int_equal(second->ref.slot, 1);
    assert_int_equal(second->cmd.args.poll.wait_ms, 15000);
    /* One claim for all: who has a task first fills the poll. */
    assert_true(second->cmd.args.poll.claim(second->cmd.args.poll.claim_context));
    assert_false(first->cmd.args.poll.claim(first->cmd.args.poll.claim_context));

    fake_answer(first, SILO_UNAVAILABLE, "lost"); /* and comes again */
    fake.shards[0].ref.generation++;
    fake_publish();
    struct shard_request *third = fake_take(CMD_POLL);
    assert_int_equal(third->ref.slot, 0);
    fake_answer(third, SILO_OK, NULL);
    assert_false(call->done);
    fake_answer(second, SILO_OK, NULL);
    assert_true(call->done);
    assert_int_equal(call->status, 0);
    fake_free(call);
    fake.shards[2].status = SHARD_OPEN;
    fake_publish(); /* nobody is parked any more */
    assert_int_equal(fake.request_count, 0);
    fake_stop();
}

/* It has visited the shards that were open when it came; one opens meanwhile, and no more come. */
static void a_poll_is_parked_on_what_came_while_it_visited(void **state)
{
    (void)state;
    fake_start(3, false, false);
    fake.shards[2].status = SHARD_OPENING;
    struct rpc_call *call = poll(NULL, 20000);
    fake.shards[2].status = SHARD_OPEN;
    fake_publish();
    fake_answer(fake_take(CMD_POLL), SILO_OK, NULL);
    fake_answer(fake_take(CMD_POLL), SILO_OK, NULL);
    bool parked[3] = {false};
    assert_int_equal(fake.request_count, 3);
    for (size_t i = 0; i < 3; i++) {
        parked[fake.requests[i]->ref.slot] = true;
    }
    assert_true(parked[0] && parked[1] && parked[2]);
    while (fake.request_count != 0) {
        fake_answer(fake_take(CMD_POLL), SILO_OK, NULL);
    }
    assert_true(call->done);
    fake_free(call);
    fake_stop();
}

/* A call of the same turn sees the newer directory before the loop hears of it. */
static void a_loop_is_told_once_of_what_it_has_not_heard(void **state)
{
    (void)state;
    fake_start(2, false, false);
    struct rpc_call *waits = fake_enqueue(0);
    wrong(CMD_ENQUEUE);
    fake_publish_unheard();
    struct rpc_call *call = fake_enqueue(1);
    fake.shards[0].ref.generation++;
    fake_publish_unheard(); /* while word of the one before is on its way */
    fake_run();
    answer_well(call);
    answer_well(waits);
    struct rpc_call *next = fake_enqueue(0); /* and again of what comes later */
    wrong(CMD_ENQUEUE);
    move(0);
    answer_well(next);
    fake_stop();
}

static void a_poll_that_looks_for_its_shard_can_be_stopped(void **state)
{
    (void)state;
    fake_start(1, false, false);
    struct rpc_call *call = poll(fake_shard_id(0), 20000);
    wrong(CMD_POLL);
    assert_false(call->done);
    fake_cancel(call);
    assert_int_equal(fake.request_count, 0); /* no shard has it */
    assert_true(call->done);
    fake_free(call);
    fake_stop();
}

static void a_poll_that_was_stopped_is_not_sent_again(void **state)
{
    (void)state;
    fake_start(1, false, false);
    struct rpc_call *call = poll(fake_shard_id(0), 20000);
    struct shard_request *request = fake_take(CMD_POLL);
    fake_cancel(call);
    move(0);
    fake_answer(fake_take(CMD_POLL_STOP), SILO_OK, NULL);
    fake_answer(request, SILO_ROUTED_WRONG, NULL);
    assert_int_equal(fake.request_count, 0);
    assert_true(call->done);
    fake_free(call);
    fake_stop();
}

/* What has waited on the way has so much less to wait in the shard. */
static void a_poll_waits_no_longer_for_having_been_astray(void **state)
{
    (void)state;
    fake_start(1, false, false);
    struct rpc_call *call = poll(fake_shard_id(0), 20000);
    wrong(CMD_POLL);
    fake_pass(3000000);
    move(0);
    struct shard_request *request = fake_take(CMD_POLL);
    assert_int_equal(request->cmd.args.poll.wait_ms, 17000);
    fake_answer(request, SILO_OK, NULL);
    fake_free(call);
    fake_stop();
}

/* What the worker does not get goes back to where the shard is now. */
static void tasks_go_back_to_where_the_shard_is(void **state)
{
    (void)state;
    fake_start(1, false, false);
    struct rpc_call *call = poll(fake_shard_id(0), 20000);
    move(0);
    wrong(CMD_POLL);
    struct shard_request *request = fake_take(CMD_POLL);
    struct leased_task *task = arena_zalloc(request->cmd.arena, sizeof *task);
    task->tenant = BYTES_LIT("-");
    task->job_id = BYTES_LIT("job");
    task->info.group = BYTES_LIT("g");
    request->cmd.result.poll.tasks = task;
    request->cmd.result.poll.count = 1;
    fake_answer(request, SILO_OK, NULL);
    fake_sent(call, false);
    request = fake_take(CMD_GIVE_BACK);
    assert_int_equal(request->ref.generation, 2);
    fake_answer(request, SILO_OK, NULL);
    fake_free(call);
    fake_stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_follows_its_shard),
        cmocka_unit_test(a_call_waits_for_a_newer_directory),
        cmocka_unit_test(a_call_does_not_wait_for_ever),
        cmocka_unit_test(a_call_is_sent_again_thrice_then_waits),
        cmocka_unit_test(a_call_is_told_when_its_shard_has_gone),
        cmocka_unit_test(a_caller_is_told_who_has_the_shard_and_when_to_ask),
        cmocka_unit_test(the_result_of_an_imported_job_says_who_has_its_shard),
        cmocka_unit_test(the_results_of_many_say_who_has_their_shard_now),
        cmocka_unit_test(a_call_goes_on_to_who_has_its_shard),
        cmocka_unit_test(a_call_that_met_its_shard_gone_goes_on),
        cmocka_unit_test(a_call_that_is_sent_back_runs_here),
        cmocka_unit_test(a_call_is_not_sent_to_and_fro_for_ever),
        cmocka_unit_test(what_hands_tasks_out_goes_nowhere),
        cmocka_unit_test(only_a_shard_that_another_node_has_is_asked_for_there),
        cmocka_unit_test(a_parked_poll_is_parked_on_shards_that_come),
        cmocka_unit_test(a_poll_is_parked_on_what_came_while_it_visited),
        cmocka_unit_test(a_loop_is_told_once_of_what_it_has_not_heard),
        cmocka_unit_test(a_poll_that_looks_for_its_shard_can_be_stopped),
        cmocka_unit_test(a_poll_that_was_stopped_is_not_sent_again),
        cmocka_unit_test(a_poll_waits_no_longer_for_having_been_astray),
        cmocka_unit_test(tasks_go_back_to_where_the_shard_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
