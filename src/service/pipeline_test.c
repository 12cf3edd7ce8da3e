/* Calls from their bytes to their answers, over fake shards and a fake rpc layer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "codec/key.h"
#include "service/fake_test.h"
#include "service/hold.h"

static struct rpc_call *enqueue(const char *shard, const char *id, const char *tenant,
                                uint32_t priority)
{
    Silo__V1__EnqueueRequest request = SILO__V1__ENQUEUE_REQUEST__INIT;
    request.shard = (char *)shard;
    request.id = (char *)id;
    request.priority = priority;
    request.task_group = (char *)"g";
    if (tenant != NULL) {
        request.tenant_opt_case = SILO__V1__ENQUEUE_REQUEST__TENANT_OPT_TENANT;
        request.tenant = (char *)tenant;
    }
    return fake_call("Enqueue", &request.base);
}

static void test_shard_lookup(void **state)
{
    (void)state;
    fake_start(2, false, false);
    const char *const spellings[] = {
        "00000001-0000-4000-8000-000000000000", "00000001000040008000000000000000",
        "{00000001-0000-4000-8000-000000000000}", "urn:uuid:00000001-0000-4000-8000-000000000000"};
    for (size_t i = 0; i < 4; i++) {
        struct rpc_call *call = enqueue(spellings[i], "a", NULL, 0);
        struct shard_request *request = fake_take(CMD_ENQUEUE);
        assert_int_equal(request->ref.slot, 1);
        fake_answer(request, SILO_OK, NULL);
        fake_free(call);
    }
    struct rpc_call *call =
        enqueue("nonsense", "a", "t", 100); /* the shard comes before all else */
    fake_failed(call, 3, "invalid shard ID");
    assert_string_equal(call->retry_ms, ""); /* it does not */
    fake_free(call);
    call = enqueue("00000009-0000-4000-8000-000000000000", "a", "t", 100);
    fake_failed(call, 5, "shard not found");
    fake_free(call);
    fake.shards[0].status = SHARD_OPENING;
    call = enqueue(fake_shard_id(0), "a", "t", 100);
    fake_pass(1000 * (int64_t)HOLD_MS_MAX);
    fake_failed(call, 14, "shard not ready: acquisition in progress");
    fake_free(call);
    fake.shards[0].status = SHARD_OPEN;
    fake.shards[0].full = true;
    call = enqueue(fake_shard_id(0), "a", NULL, 0);
    fake_failed(call, 8, "too many requests");
    assert_string_equal(call->retry_ms, "1000"); /* it passes */
    fake_free(call);
    fake_stop();
}

static void test_tenancy_off(void **state)
{
    (void)state;
    fake_start(1, false, false);
    struct rpc_call *call = enqueue(fake_shard_id(0), "a", "-", 100); /* before the fields */
    fake_failed(call, 9, "tenancy is disabled");
    fake_free(call);
    call = enqueue(fake_shard_id(0), "a", "", 0); /* empty is absent */
    struct shard_request *request = fake_take(CMD_ENQUEUE);
    struct key key;
    key_job_ref(&key, BYTES_LIT("-"), BYTES_LIT("a"));
    assert_true(bytes_eq(request->cmd.job_ref, key_bytes(&key)));
    assert_false(request->cmd.args.enqueue.id_is_fresh);
    fake_answer(request, SILO_EXISTS, "job already exists with id a");
    fake_failed(call, 6, "job already exists with id a");
    fake_free(call);
    fake_stop();
}

static void test_tenancy_on(void **state)
{
    (void)state;
    fake_start(1, true, false);
    static char long_tenant[66];
    memset(long_tenant, 'x', 65);
    static const struct {
        const char *tenant, *text;
        uint32_t status;
    } cases[] = {
        {NULL, "tenant id required", 3},       {"", "tenant id required", 3},
        {long_tenant, "invalid tenant id", 3}, {"-", "invalid tenant id", 3},
        {"foreign", "is not within shard", 9},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rpc_call *call = enqueue(fake_shard_id(0), "a", cases[i].tenant, 100);
        fake_failed(call, cases[i].status, cases[i].text);
        assert_null(strstr(call->text, "lease owner mismatch"));
        fake_free(call);
    }
    struct rpc_call *call = enqueue(fake_shard_id(0), "a", "t1", 0);
    fake_answer(fake_take(CMD_ENQUEUE), SILO_OK, NULL);
    Silo__V1__EnqueueResponse *reply = fake_reply(call, &silo__v1__enqueue_response__descriptor);
    assert_string_equal(reply->id, "a");
    silo__v1__enqueue_response__free_unpacked(reply, NULL);
    fake_free(call);

    Silo__V1__HeartbeatRequest heartbeat = SILO__V1__HEARTBEAT_REQUEST__INIT;
    heartbeat.shard = (char *)fake_shard_id(0);
    call = fake_call("Heartbeat", &heartbeat.base);
    fake_failed(call, 3, "tenant_id");
    fake_free(call);
    fake_stop();
}

static void test_made_id(void **state)
{
    (void)state;
    fake_start(1, false, false);
    struct rpc_call *call = enqueue(fake_shard_id(0), "", NULL, 0);
    struct shard_request *request = fake_take(CMD_ENQUEUE);
    assert_true(request->cmd.args.enqueue.id_is_fresh);
    fake_answer(request, SILO_OK, NULL);
    Silo__V1__EnqueueResponse *reply = fake_reply(call, &silo__v1__enqueue_response__descriptor);
    struct uuid uuid;
    assert_true(uuid_parse(bytes_str(reply->id), &uuid));
    assert_int_equal(uuid.b[6] >> 4, 7);
    silo__v1__enqueue_response__free_unpacked(reply, NULL);
    fake_free(call);
    fake_stop();
}

static void test_undecodable(void **state)
{
    (void)state;
    fake_start(1, false, false);
    struct rpc_call *call = fake_call_bytes("Enqueue", BYTES_LIT("\x0a\xff"));
    fake_failed(call, 13, "failed to decode");
    fake_free(call);
    call = fake_call_bytes("CpuProfile", BYTES_LIT(""));
    fake_failed(call, 12, "CpuProfile");
    fake_free(call);
    fake_stop();
}

static void test_error_text_is_cut(void **state)
{
    (void)state;
    fake_start(1, false, false);
    struct rpc_call *call = enqueue(fake_shard_id(0), "a", NULL, 0);
    static char text[3002] = "x";
    for (size_t i = 1; i + 2 < sizeof text; i += 2) {
        text[i] = (char)0xc3;
        text[i + 1] = (char)0xa9;
    }
    fake_answer(fake_take(CMD_ENQUEUE), SILO_EXISTS, text);
    assert_int_equal(strlen(call->text), 1023); /* 1024 would cut a character in two */
    fake_free(call);
    fake_stop();
}

/* --- reads --- */

static struct rpc_call *get_job(bool attempts)
{
    Silo__V1__GetJobRequest request = SILO__V1__GET_JOB_REQUEST__INIT;
    request.shard = (char *)fake_shard_id(0);
    request.id = (char *)"j";
    request.include_attempts = attempts;
    return fake_call("GetJob", &request.base);
}

static struct info info_of(void)
{
    return (struct info){
        .priority = 7,
        .group = BYTES_LIT("g"),
        .enqueue_ms = 1000,
        .due_ms = 2000,
        .metadata_count = 1,
        .metadata = BYTES_LIT("\x01k\x01v"),
    };
}

/*
 * Nothing is leased or read for a connection that does not read its replies; a job's status is
 * small.
 */
static void test_no_room_for_replies(void **state)
{
    (void)state;
    fake_start(1, false, false);
    fake.no_room = true;
    struct rpc_call *call = get_job(true);
    fake_failed(call, 8, "too many bytes of replies wait to be sent");
    fake_free(call);

    Silo__V1__LeaseTasksRequest poll = SILO__V1__LEASE_TASKS_REQUEST__INIT;
    poll.worker_id = (char *)"w";
    poll.task_group = (char *)"g";
    poll.max_tasks = 1;
    call = fake_call("LeaseTasks", &poll.base);
    fake_failed(call, 8, "too many bytes of replies wait to be sent");
    fake_free(call);
    assert_int_equal(fake.request_count, 0);

    Silo__V1__GetJobRequest status = SILO__V1__GET_JOB_REQUEST__INIT;
    status.shard = (char *)fake_shard_id(0);
    status.id = (char *)"j";
    status.omit_payload = status.omit_results = true;
    call = fake_call("GetJob", &status.base);
    fake_answer(fake_take(CMD_GET_JOB), SILO_NOT_FOUND, "job not found");
    fake_failed(call, 5, "job not found");
    fake_free(call);
    fake_stop();
}

static void test_get_scheduled(void **state)
{
    (void)state;
    fake_start(1, false, false);
    struct rpc_call *call = get_job(true);
    struct shard_request *request = fake_take(CMD_GET_JOB);
    assert_true(request->cmd.args.get.include_attempts);
    request->cmd.result.job = (struct job_view){.info = info_of(), .status = JOB_SCHEDULED};
    fake_answer(request, SILO_OK, NULL);
    Silo__V1__GetJobResponse *job = fake_reply(call, &silo__v1__get_job_response__descriptor);
    assert_string_equal(job->id, "j");
    assert_int_equal(job->priority, 7);
    assert_int_equal(job->enqueue_time_ms, 1000);
    assert_int_equal(job->status_changed_at_ms, 1000);
    assert_int_equal(job->status, 0);
    assert_non_null(job->payload);
    assert_int_equal(job->payload->encoding_case, 1); /* set though empty */
    assert_int_equal(job->retry_policy_opt_case, 0);
    assert_int_equal(job->result_opt_case, 0);
    assert_int_equal(job->next_attempt_starts_after_ms_opt_case, 11);
    assert_int_equal(job->next_attempt_starts_after_ms, 2000);
    assert_int_equal(job->n_metadata, 1);
    assert_string_equal(job->metadata[0]->key, "k");
    assert_string_equal(job->metadata[0]->value, "v");
    assert_int_equal(job->n_attempts, 0);
    silo__v1__get_job_response__free_unpacked(job, NULL);
    fake_free(call);
    fake_stop();
}

static void test_get_running_after_failure(void **state)
{
    (void)state;
    fake_start(1, false, false);
    struct rpc_call *call = get_job(true);
    struct shard_request *request = fake_take(CMD_GET_JOB);
    struct job_view_attempt failed = {
        .number = 1,
        .attempt = {.relative = 1,
                    .started_ms = 3000,
                    .outcome = {.status = ATTEMPT_FAILED, .finished_ms = 3500}},
    };
    request->cmd.result.job = (struct job_view){
        .info = info_of(),
        .has_state = true,
        .state = {.status = JOB_SCHEDULED, .changed_ms = 3500, .has_next = true, .due_ms = 4000},
        .running = true,
        .status = JOB_RUNNING,
        .lease_attempt = 2,
        .lease_started_ms = 5000,
        .attempts = &failed,
        .attempt_count = 1,
    };
    fake_answer(request, SILO_OK, NULL);
    Silo__V1__GetJobResponse *job = fake_reply(call, &silo__v1__get_job_response__descriptor);
    assert_int_equal(job->status, 1);
    assert_int_equal(job->status_changed_at_ms, 5000);
    assert_int_equal(job->next_attempt_starts_after_ms_opt_case, 0);
    assert_int_equal(job->n_attempts, 2);
    const Silo__V1__JobAttempt *first = job->attempts[0];
    assert_int_equal(first->status, 2);
    assert_int_equal(first->finished_at_ms_opt_case, 6);
    assert_int_equal(first->finished_at_ms, 3500);
    assert_int_equal(first->error_code_opt_case, 8); /* present though empty */
    assert_int_equal(first->error_data_opt_case, 9);
    assert_int_equal(first->result_opt_case, 0);
    const Silo__V1__JobAttempt *second = job->attempts[1];
    assert_int_equal(second->attempt_number, 2);
    assert_int_equal(second->status, 0);
    assert_int_equal(second->started_at_ms, 5000);
    assert_int_equal(second->finished_at_ms_opt_case, 0);
    silo__v1__get_job_response__free_unpacked(job, NULL);
    fake_free(call);
    fake_stop();
}

static void test_get_result(void **state)
{
    (void)state;
    fake_start(1, false, false);
    Silo__V1__GetJobResultRequest request = SILO__V1__GET_JOB_RESULT_REQUEST__INIT;
    request.shard = (char *)fake_shard_id(0);
    request.id = (char *)"j";
    request.wait_ms = 4000000000u;
    static const enum job_status statuses[] = {JOB_SUCCEEDED, JOB_FAILED, JOB_CANCELLED};
    static const int cases[] = {4, 5, 6};
    for (size_t i = 0; i < 3; i++) {
        struct rpc_call *call = fake_call("GetJobResult", &request.base);
        struct shard_request *sent = fake_take(CMD_GET_RESULT);
        assert_int_equal(sent->cmd.args.get.wait_ms, 60000);
        sent->cmd.result.job = (struct job_view){
            .info = info_of(),
            .has_state = true,
            .state = {.status = statuses[i], .changed_ms = 9000, .has_outcome = true},
            .status = statuses[i],
            .data = BYTES_LIT("data"),
        };
        sent->cmd.result.job.state.final.outcome.error_code = BYTES_LIT("E");
        fake_answer(sent, SILO_OK, NULL);
        Silo__V1__GetJobResultResponse *reply =
            fake_reply(call, &silo__v1__get_job_result_response__descriptor);
        assert_string_equal(reply->id, "j");
        assert_int_equal(reply->status, statuses[i]);
        assert_int_equal(reply->finished_at_ms, 9000);
        assert_int_equal(reply->result_case, cases[i]);
        if (statuses[i] == JOB_FAILED) {
            assert_string_equal(reply->failure->error_code, "E");
            assert_int_equal(reply->failure->error_data->msgpack.len, 4);
        }
        silo__v1__get_job_result_response__free_unpacked(reply, NULL);
        fake_free(call);
    }
    struct rpc_call *call = fake_call("GetJobResult", &request.base);
    fake_answer(fake_take(CMD_GET_RESULT), SILO_PRECONDITION,
                "job is not complete: status is Running");
    fake_failed(call, 9, "not complete");
    fake_free(call);

    call = fake_call("GetJobResult", &request.base);
    struct shard_request *waiting = fake_take(CMD_GET_RESULT);
    fake_cancel(
        call); /* the caller leaves: the wait is ended, and both commands have to come back */
    struct shard_request *stop = fake_take(CMD_POLL_STOP);
    assert_ptr_equal(stop->cmd.args.poll_stop.poll, &waiting->cmd);
    fake_answer(waiting, SILO_CANCELLED, "the caller left");
    assert_false(call->done);
    fake_answer(stop, SILO_OK, NULL);
    fake_free(call);
    fake_stop();
}

static void test_get_finished(void **state)
{
    (void)state;
    fake_start(1, false, false);
    struct rpc_call *call = get_job(true);
    struct shard_request *request = fake_take(CMD_GET_JOB);
    struct job_view_attempt failed = {.number = 1,
                                      .attempt = {.outcome = {.status = ATTEMPT_FAILED}}};
    request->cmd.result.job = (struct job_view){
        .info = info_of(),
        .has_state = true,
        .state = {.status = JOB_SUCCEEDED,
                  .changed_ms = 9000,
                  .attempt = 2,
                  .has_outcome = true,
                  .by_attempt = true,
                  .final = {.started_ms = 8000,
                            .outcome = {.status = ATTEMPT_SUCCEEDED, .finished_ms = 9000}}},
        .status = JOB_SUCCEEDED,
        .attempts = &failed,
        .attempt_count = 1,
        .data = BYTES_LIT("result"),
    };
    fake_answer(request, SILO_OK, NULL);
    Silo__V1__GetJobResponse *job = fake_reply(call, &silo__v1__get_job_response__descriptor);
    assert_int_equal(job->result->msgpack.len, 6);
    assert_int_equal(job->n_attempts, 2); /* the final one comes from the state row */
    assert_int_equal(job->attempts[1]->attempt_number, 2);
    assert_int_equal(job->attempts[1]->status, 1);
    assert_int_equal(job->attempts[1]->result->msgpack.len, 6);
    assert_int_equal(job->attempts[1]->finished_at_ms, 9000);
    silo__v1__get_job_response__free_unpacked(job, NULL);
    fake_free(call);
    fake_stop();
}

/* --- reports --- */

static void test_report(void **state)
{
    (void)state;
    fake_start(1, false, false);
    Silo__V1__ReportOutcomeRequest request = SILO__V1__REPORT_OUTCOME_REQUEST__INIT;
    request.shard = (char *)fake_shard_id(0);
    request.task_id = (char *)"no uuid";
    struct rpc_call *call = fake_call("ReportOutcome", &request.base);
    fake_failed(call, 3, "missing outcome");
    fake_free(call);

    Silo__V1__Failure failure = SILO__V1__FAILURE__INIT;
    failure.code = (char *)"E";
    request.outcome_case = SILO__V1__REPORT_OUTCOME_REQUEST__OUTCOME_FAILURE;
    request.failure = &failure;
    call = fake_call("ReportOutcome", &request.base);
    struct shard_request *sent = fake_take(CMD_REPORT);
    assert_false(sent->cmd.args.report.has_task_id);
    assert_int_equal(sent->cmd.args.report.status, ATTEMPT_FAILED);
    assert_true(bytes_eq(sent->cmd.args.report.error_code, BYTES_LIT("E")));
    assert_false(sent->cmd.args.report.final);
    fake_answer(sent, SILO_NOT_FOUND, "lease not found");
    fake_failed(call, 5, "lease not found");
    fake_free(call);

    request.no_retry = true;
    call = fake_call("ReportOutcome", &request.base);
    sent = fake_take(CMD_REPORT);
    assert_true(sent->cmd.args.report.final);
    fake_answer(sent, SILO_OK, NULL);
    fake_free(call);
    fake_stop();
}

static void test_bulk(void **state)
{
    (void)state;
    enum { JOBS = 3000 }; /* more than a wave */
    fake_start(1, false, false);
    static Silo__V1__EnqueueRequest jobs[JOBS];
    static Silo__V1__EnqueueRequest *list[JOBS];
    for (size_t i = 0; i < JOBS; i++) {
        silo__v1__enqueue_request__init(&jobs[i]);
        jobs[i].task_group = (char *)(i == 1 ? "" : "g");
        list[i] = &jobs[i];
    }
    Silo__V1__EnqueueManyRequest request = SILO__V1__ENQUEUE_MANY_REQUEST__INIT;
    request.shard = (char *)fake_shard_id(0);
    request.jobs = list;
    request.n_jobs = JOBS;
    struct rpc_call *call = fake_call("EnqueueMany", &request.base);
    size_t answered = 0;
    while (!call->done) {
        const enum silo_code code = answered == 1 ? SILO_UNAVAILABLE : SILO_OK;
        fake_answer(fake_take(CMD_ENQUEUE), code, "store away");
        answered++;
    }
    assert_int_equal(answered, JOBS - 1);
    Silo__V1__EnqueueManyResponse *reply =
        fake_reply(call, &silo__v1__enqueue_many_response__descriptor);
    assert_int_equal(reply->n_results, JOBS);
    assert_int_equal(reply->results[0]->code, 0);
    assert_int_equal(strlen(reply->results[0]->id), 36);
    assert_int_equal(reply->results[1]->code, 3);
    assert_string_equal(reply->results[1]->message, "task_group is required");
    assert_int_equal(reply->results[2]->code, 14);
    assert_string_equal(reply->results[2]->message, "store away");
    assert_int_equal(reply->results[JOBS - 1]->code, 0);
    silo__v1__enqueue_many_response__free_unpacked(reply, NULL);
    fake_free(call);

    Silo__V1__ReportOutcomesRequest reports = SILO__V1__REPORT_OUTCOMES_REQUEST__INIT;
    reports.shard = (char *)fake_shard_id(0);
    call = fake_call("ReportOutcomes", &reports.base); /* none at all */
    Silo__V1__ReportOutcomesResponse *none =
        fake_reply(call, &silo__v1__report_outcomes_response__descriptor);
    assert_int_equal(none->n_results, 0);
    silo__v1__report_outcomes_response__free_unpacked(none, NULL);
    fake_free(call);
    fake_stop();
}

/* --- topology and operations --- */

static void test_topology(void **state)
{
    (void)state;
    fake_start(2, false, false);
    struct rpc_call *call = fake_call_bytes("GetClusterInfo", BYTES_LIT(""));
    Silo__V1__GetClusterInfoResponse *info =
        fake_reply(call, &silo__v1__get_cluster_info_response__descriptor);
    assert_int_equal(info->num_shards, 2);
    assert_int_equal(info->n_shard_owners, 2);
    assert_string_equal(info->shard_owners[0]->range_start, "");
    assert_string_equal(info->shard_owners[1]->range_start, FAKE_BOUND);
    assert_string_equal(info->shard_owners[1]->node_id, "node-1");
    assert_string_equal(info->this_grpc_addr, "127.0.0.1:1");
    assert_int_equal(info->n_members, 1);
    assert_string_equal(info->members[0]->placement_rings[0], "gpu");
    silo__v1__get_cluster_info_response__free_unpacked(info, NULL);
    fake_free(call);

    static const struct {
        const char *dialled, *told;
    } addresses[] = {{"silo.example.com:7450", "silo.example.com:7450"},
                     {"[2001:db8::5]:9", "[2001:db8::5]:9"},
                     {"0.0.0.0:7450", "127.0.0.1:1"},
                     {"localhost", "127.0.0.1:1"},
                     {"a\r\nx:1", "127.0.0.1:1"}};
    for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++) {
        fake.authority = bytes_str(addresses[i].dialled);
        call = fake_call_bytes("GetClusterInfo", BYTES_LIT(""));
        info = fake_reply(call, &silo__v1__get_cluster_info_response__descriptor);
        assert_string_equal(info->this_grpc_addr, addresses[i].told);
        assert_string_equal(info->members[0]->grpc_addr, addresses[i].told);
        assert_string_equal(info->shard_owners[1]->grpc_addr, addresses[i].told);
        silo__v1__get_cluster_info_response__free_unpacked(info, NULL);
        fake_free(call);
    }

    call = fake_call_bytes("GetNodeInfo", BYTES_LIT(""));
    struct shard_request *first = fake_take(CMD_TOTALS);
    struct shard_request *second = fake_take(CMD_TOTALS);
    second->cmd.result.totals = (struct totals_result){
        .counts = {.open = 1, .succeeded = 2, .failed = 3, .cancelled = 4}, .created_ms = 5};
    fake_answer(second, SILO_OK, NULL);
    assert_false(call->done);
    fake_answer(first, SILO_UNAVAILABLE, "away");
    Silo__V1__GetNodeInfoResponse *node =
        fake_reply(call, &silo__v1__get_node_info_response__descriptor);
    assert_int_equal(node->n_owned_shards, 2);
    assert_int_equal(node->owned_shards[0]->total_jobs, 0);
    assert_int_equal(node->owned_shards[1]->total_jobs, 10);
    assert_int_equal(node->owned_shards[1]->completed_jobs, 9);
    assert_int_equal(node->owned_shards[1]->created_at_ms, 5);
    assert_string_equal(node->owned_shards[1]->cleanup_status, "CompactionDone");
    silo__v1__get_node_info_response__free_unpacked(node, NULL);
    fake_free(call);
    fake_stop();
}

static void test_reset(void **state)
{
    (void)state;
    fake_start(2, false, false);
    struct rpc_call *call = fake_call_bytes("ResetShards", BYTES_LIT(""));
    fake_failed(call, 7, "dev mode");
    fake_free(call);
    fake_stop();

    for (int fails = 0; fails < 2; fails++) {
        fake_start(2, false, true);
        call = fake_call_bytes("ResetShards", BYTES_LIT(""));
        assert_int_equal(fake.control_count, 2);
        for (size_t i = 0; i < 2; i++) {
            assert_false(call->done);
            fake.controls[i]->rc = (silo_rc){fails && i == 0 ? SILO_UNAVAILABLE : SILO_OK};
            (void)snprintf(fake.controls[i]->text, sizeof fake.controls[i]->text, "disk on fire");
            fake.controls[i]->done(fake.controls[i]);
            fake_run();
        }
        if (fails) {
            fake_failed(call, 13, "disk on fire");
        } else {
            Silo__V1__ResetShardsResponse *reply =
                fake_reply(call, &silo__v1__reset_shards_response__descriptor);
            assert_int_equal(reply->shards_reset, 2);
            silo__v1__reset_shards_response__free_unpacked(reply, NULL);
        }
        fake_free(call);
        fake_stop();
    }
}

/*
 * A server full of new work must not lose the leases of the work it has, and calls that only wait
 * must not fill it.
 */
static void test_calls_have_their_ranks(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum rpc_rank rank;
    } ranked[] = {
        {"ReportOutcome", RPC_RANK_URGENT}, {"ReportRefreshOutcome", RPC_RANK_URGENT},
        {"Heartbeat", RPC_RANK_URGENT},     {"ReportOutcomes", RPC_RANK_URGENT},
        {"ReturnTasks", RPC_RANK_URGENT},   {"AwaitCancellations", RPC_RANK_SIDE},
        {"WatchTopology", RPC_RANK_SIDE},   {"ReadRows", RPC_RANK_SIDE},
    };
    const struct rpc_method *method = NULL;
    fake_start(1, false, false);
    size_t found = 0;
    for (size_t i = 0; (method = service_rpc_method(fake.service, i)) != NULL; i++) {
        enum rpc_rank wanted = RPC_RANK_WORK;
        for (size_t j = 0; j < sizeof ranked / sizeof ranked[0]; j++) {
            if (strcmp(strrchr(method->path, '/') + 1, ranked[j].name) == 0) {
                wanted = ranked[j].rank;
                found++;
            }
        }
        assert_int_equal(method->rank, wanted);
    }
    assert_int_equal(found, sizeof ranked / sizeof ranked[0]);
    fake_stop();
}

/* What requests are unpacked into can be far larger than they are, and polls wait with it. */
static void test_what_a_request_grows_to_counts(void **state)
{
    (void)state;
    fake_start(1, false, false);
    Silo__V1__LeaseTasksRequest request = SILO__V1__LEASE_TASKS_REQUEST__INIT;
    request.worker_id = (char *)"w";
    request.task_group = (char *)"g";
    request.max_tasks = 1;
    request.wait_ms = 1000;
    struct rpc_call *call = fake_call("LeaseTasks", &request.base);
    assert_int_equal(call->counted, 0);
    fake_answer(fake_take(CMD_POLL), SILO_UNAVAILABLE, "x");
    fake_free(call);

    enum { FIELDS = 50000 };
    const size_t size = protobuf_c_message_get_packed_size(&request.base);
    uint8_t *wire = malloc(size + 2 * FIELDS);
    assert_non_null(wire);
    (void)protobuf_c_message_pack(&request.base, wire);
    for (size_t i = 0; i < FIELDS; i++) {
        wire[size + 2 * i] = 0x78; /* field 15 is 1, whatever that is */
        wire[size + 2 * i + 1] = 1;
    }
    call = fake_call_bytes("LeaseTasks", bytes_of(wire, size + 2 * FIELDS));
    free(wire);
    assert_in_range(call->counted, call->base.arena.bytes / 10 * 9, call->base.arena.bytes);
    assert_true(call->counted > (size_t)20 * FIELDS);
    fake_answer(fake_take(CMD_POLL), SILO_UNAVAILABLE, "x");
    fake_free(call);
    fake_stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shard_lookup),
        cmocka_unit_test(test_no_room_for_replies),
        cmocka_unit_test(test_tenancy_off),
        cmocka_unit_test(test_tenancy_on),
        cmocka_unit_test(test_made_id),
        cmocka_unit_test(test_undecodable),
        cmocka_unit_test(test_error_text_is_cut),
        cmocka_unit_test(test_get_scheduled),
        cmocka_unit_test(test_get_running_after_failure),
        cmocka_unit_test(test_get_finished),
        cmocka_unit_test(test_get_result),
        cmocka_unit_test(test_report),
        cmocka_unit_test(test_bulk),
        cmocka_unit_test(test_topology),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_calls_have_their_ranks),
        cmocka_unit_test(test_what_a_request_grows_to_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
