/*
 * Calls about one job, one tenant or one refresh: order of checks, what is asked of the shard, what
 * comes back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/buf.h"
#include "codec/key.h"
#include "codec/limit.h"
#include "service/fake_test.h"
#include "service/service_int.h"

static struct bytes ref_of(struct key *key, const char *tenant, const char *id)
{
    key_job_ref(key, bytes_str(tenant), bytes_str(id));
    return key_bytes(key);
}

static struct rpc_call *restart(const char *shard, const char *id, const char *tenant)
{
    Silo__V1__RestartJobRequest request = SILO__V1__RESTART_JOB_REQUEST__INIT;
    request.shard = (char *)shard;
    request.id = (char *)id;
    if (tenant != NULL) {
        request.tenant_opt_case = SILO__V1__RESTART_JOB_REQUEST__TENANT_OPT_TENANT;
        request.tenant = (char *)tenant;
    }
    return fake_call("RestartJob", &request.base);
}

static struct rpc_call *expedite(const char *shard, const char *id, const char *tenant)
{
    Silo__V1__ExpediteJobRequest request = SILO__V1__EXPEDITE_JOB_REQUEST__INIT;
    request.shard = (char *)shard;
    request.id = (char *)id;
    if (tenant != NULL) {
        request.tenant_opt_case = SILO__V1__EXPEDITE_JOB_REQUEST__TENANT_OPT_TENANT;
        request.tenant = (char *)tenant;
    }
    return fake_call("ExpediteJob", &request.base);
}

static char *text_of(size_t count)
{
    char *text = calloc(1, count + 1);
    memset(text, 'x', count);
    return text;
}

/* --- RestartJob, ExpediteJob --- */

typedef struct rpc_call *(*change_call)(const char *shard, const char *id, const char *tenant);

static void change_check(change_call change, enum command_kind kind, const char *refusal)
{
    fake_start(1, false, false);
    char *long_id = text_of(4097);
    struct rpc_call *call = change("no shard", long_id, "t");
    fake_failed(call, 3, "invalid shard ID");
    fake_free(call);
    call = change(fake_shard_id(0), long_id, "t");
    fake_failed(call, 9, "tenancy is disabled");
    fake_free(call);
    call = change(fake_shard_id(0), long_id, NULL);
    fake_failed(call, 3, "id too long");
    fake_free(call);
    free(long_id);

    call = change(fake_shard_id(0), "j", NULL);
    struct shard_request *request = fake_take(kind);
    struct key key;
    assert_true(bytes_eq(request->cmd.job_ref, ref_of(&key, "-", "j")));
    fake_answer(request, SILO_OK, NULL);
    assert_int_equal(call->status, 0);
    assert_int_equal(call->reply.len, 0);
    fake_free(call);

    call = change(fake_shard_id(0), "j", NULL);
    fake_answer(fake_take(kind), SILO_PRECONDITION, refusal);
    fake_failed(call, 9, refusal);
    assert_string_equal(call->text, refusal);
    fake_free(call);
    call = change(fake_shard_id(0), "j", NULL);
    fake_answer(fake_take(kind), SILO_NOT_FOUND, "job not found");
    fake_failed(call, 5, "job not found");
    fake_free(call);
    fake_stop();
}

static void test_restart(void **state)
{
    (void)state;
    change_check(restart, CMD_RESTART_JOB,
                 "cannot restart job j: job already succeeded (status: Succeeded)");
}

static void test_expedite(void **state)
{
    (void)state;
    change_check(expedite, CMD_EXPEDITE_JOB,
                 "cannot expedite job j: job is already ready (status: Scheduled)");
}

/* --- LeaseTask --- */

static struct rpc_call *lease_task(const char *shard, const char *id, const char *worker,
                                   const char *tenant)
{
    Silo__V1__LeaseTaskRequest request = SILO__V1__LEASE_TASK_REQUEST__INIT;
    request.shard = (char *)shard;
    request.id = (char *)id;
    request.worker_id = (char *)worker;
    if (tenant != NULL) {
        request.tenant_opt_case = SILO__V1__LEASE_TASK_REQUEST__TENANT_OPT_TENANT;
        request.tenant = (char *)tenant;
    }
    return fake_call("LeaseTask", &request.base);
}

static void test_lease_task_checks(void **state)
{
    (void)state;
    fake_start(1, false, false);
    char *long_text = text_of(4097);
    struct rpc_call *call = lease_task("no shard", long_text, "", "t");
    fake_failed(call, 3, "invalid shard ID");
    fake_free(call);
    call = lease_task(fake_shard_id(0), long_text, "", "t");
    fake_failed(call, 9, "tenancy is disabled");
    fake_free(call);
    call = lease_task(fake_shard_id(0), long_text, "", NULL);
    fake_failed(call, 3, "worker_id is required");
    fake_free(call);
    call = lease_task(fake_shard_id(0), "j", long_text, NULL);
    fake_failed(call, 3, "worker_id too long: at most 4096 bytes");
    fake_free(call);
    call = lease_task(fake_shard_id(0), long_text, "w", NULL);
    fake_failed(call, 3, "id too long");
    fake_free(call);
    free(long_text);
    static const char refusal[] = "cannot lease job j: job is running (status: Running)";
    call = lease_task(fake_shard_id(0), "j", "w", NULL);
    fake_answer(fake_take(CMD_LEASE_JOB), SILO_PRECONDITION, refusal);
    fake_failed(call, 9, refusal);
    fake_free(call);
    fake_stop();
}

static void test_lease_task(void **state)
{
    (void)state;
    fake_start(1, true, false);
    static const char spelling[] = "{00000000-0000-4000-8000-000000000000}";
    struct rpc_call *call = lease_task(spelling, "j", "w", "t1");
    struct shard_request *request = fake_take(CMD_LEASE_JOB);
    struct key key;
    assert_true(bytes_eq(request->cmd.job_ref, ref_of(&key, "t1", "j")));
    assert_true(bytes_eq(request->cmd.args.lease_job.worker_id, BYTES_LIT("w")));
    struct leased_task leased = {
        .tenant = BYTES_LIT("t1"),
        .job_id = BYTES_LIT("j"),
        .attempt = 3,
        .relative = 2,
        .info = {.group = BYTES_LIT("g"),
                 .priority = 4,
                 .has_retry = true,
                 .retry = {.retry_count = 1}},
        .payload = BYTES_LIT("pay"),
    };
    request->cmd.result.poll = (struct poll_result){.tasks = &leased, .count = 1};
    fake_answer(request, SILO_OK, NULL);
    Silo__V1__LeaseTaskResponse *reply =
        fake_reply(call, &silo__v1__lease_task_response__descriptor);
    assert_string_equal(reply->task->job_id, "j");
    assert_string_equal(reply->task->tenant_id, "t1");
    assert_string_equal(reply->task->shard, spelling); /* echoed */
    assert_int_equal(reply->task->attempt_number, 3);
    assert_int_equal(reply->task->relative_attempt_number, 2);
    assert_true(reply->task->is_last_attempt);
    assert_int_equal(reply->task->priority, 4);
    assert_string_equal(reply->task->task_group, "g");
    assert_int_equal(reply->task->payload->msgpack.len, 3);
    assert_int_equal(reply->task->lease_ms, 10000);
    silo__v1__lease_task_response__free_unpacked(reply, NULL);
    fake_sent(call, true);
    fake_free(call);
    fake_stop();
}

/*
 * The caller has left, or what is stored cannot be told: the task does not wait for the end of its
 * lease.
 */
static void test_lease_task_undelivered(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        fake_start(1, false, false);
        struct rpc_call *call = lease_task(fake_shard_id(0), "j", "w", NULL);
        struct shard_request *request = fake_take(CMD_LEASE_JOB);
        struct leased_task leased = {
            .task_id = {.b = {7}}, .tenant = BYTES_LIT("-"), .job_id = BYTES_LIT("j")};
        request->cmd.result.poll = (struct poll_result){.tasks = &leased, .count = 1};
        if (i == 0) {
            fake_cancel(call);
        }
        leased.info.metadata_count = i == 2; /* none is there */
        fake_answer(request, SILO_OK, NULL);
        if (i == 1) {
            fake_sent(call, false);
        }
        if (i == 2) {
            fake_failed(call, 15, "malformed");
        }
        struct shard_request *back = fake_take(CMD_GIVE_BACK);
        assert_int_equal(back->cmd.args.give_back.count, 1);
        assert_int_equal(back->cmd.args.give_back.task_ids[0].b[0], 7);
        assert_int_equal(back->cmd.args.give_back.unreadable != NULL, i == 2);
        fake_answer(back, SILO_OK, NULL);
        fake_free(call);
        fake_stop();
    }
}

/* --- DropTenantHolders --- */

static struct rpc_call *drop_holders(const char *shard, const char *tenant)
{
    Silo__V1__DropTenantHoldersRequest request = SILO__V1__DROP_TENANT_HOLDERS_REQUEST__INIT;
    request.shard = (char *)shard;
    if (tenant != NULL) {
        request.tenant_opt_case = SILO__V1__DROP_TENANT_HOLDERS_REQUEST__TENANT_OPT_TENANT;
        request.tenant = (char *)tenant;
    }
    return fake_call("DropTenantHolders", &request.base);
}

static void test_drop_holders(void **state)
{
    (void)state;
    fake_start(1, true, false);
    struct rpc_call *call = drop_holders("no shard", NULL);
    fake_failed(call, 3, "invalid shard ID");
    fake_free(call);
    call = drop_holders(fake_shard_id(0), NULL);
    fake_failed(call, 3, "tenant id required");
    fake_free(call);
    call = drop_holders(fake_shard_id(0), "t1");
    struct shard_request *request = fake_take(CMD_DROP_HOLDERS);
    struct key key;
    const struct bytes tenant = job_ref_tenant(ref_of(&key, "t1", "any"));
    assert_true(bytes_eq(job_ref_tenant(request->cmd.job_ref), tenant));
    request->cmd.result.dropped = 5000000000u;
    fake_answer(request, SILO_OK, NULL);
    Silo__V1__DropTenantHoldersResponse *reply =
        fake_reply(call, &silo__v1__drop_tenant_holders_response__descriptor);
    assert_true(reply->holders_dropped == 5000000000u);
    silo__v1__drop_tenant_holders_response__free_unpacked(reply, NULL);
    fake_free(call);
    call = drop_holders(fake_shard_id(0), "t1");
    fake_answer(fake_take(CMD_DROP_HOLDERS), SILO_UNAVAILABLE, "store away");
    fake_failed(call, 14, "store away");
    fake_free(call);
    fake_stop();
}

/* --- ReportRefreshOutcome --- */

static void test_report_refresh_checks(void **state)
{
    (void)state;
    fake_start(1, true, false);
    Silo__V1__ReportRefreshOutcomeRequest request = SILO__V1__REPORT_REFRESH_OUTCOME_REQUEST__INIT;
    request.shard = (char *)"no shard";
    struct rpc_call *call = fake_call("ReportRefreshOutcome", &request.base);
    fake_failed(call, 3, "invalid shard ID");
    fake_free(call);
    request.shard = (char *)fake_shard_id(0);
    call = fake_call("ReportRefreshOutcome", &request.base);
    fake_failed(call, 3, "tenant_id");
    fake_free(call);
    request.tenant_id_opt_case = SILO__V1__REPORT_REFRESH_OUTCOME_REQUEST__TENANT_ID_OPT_TENANT_ID;
    request.tenant_id = (char *)"foreign";
    call = fake_call("ReportRefreshOutcome", &request.base);
    fake_failed(call, 9, "is not within shard");
    fake_free(call);
    request.tenant_id = (char *)"t1";
    call = fake_call("ReportRefreshOutcome", &request.base);
    fake_failed(call, 3, "missing outcome");
    fake_free(call);
    fake_stop();
}

static void test_report_refresh(void **state)
{
    (void)state;
    fake_start(1, false, false);
    Silo__V1__ReportRefreshOutcomeRequest request = SILO__V1__REPORT_REFRESH_OUTCOME_REQUEST__INIT;
    Silo__V1__RefreshSuccess success = SILO__V1__REFRESH_SUCCESS__INIT;
    success.new_max_concurrency = 17;
    request.shard = (char *)fake_shard_id(0);
    request.task_id = (char *)"01000000-0000-0000-0000-000000000000";
    request.outcome_case = SILO__V1__REPORT_REFRESH_OUTCOME_REQUEST__OUTCOME_SUCCESS;
    request.success = &success;
    struct rpc_call *call = fake_call("ReportRefreshOutcome", &request.base);
    struct shard_request *sent = fake_take(CMD_REPORT_REFRESH);
    assert_true(sent->cmd.args.report_refresh.has_task_id);
    assert_int_equal(sent->cmd.args.report_refresh.task_id.b[0], 1);
    assert_true(sent->cmd.args.report_refresh.success);
    assert_int_equal(sent->cmd.args.report_refresh.value, 17);
    fake_answer(sent, SILO_OK, NULL);
    assert_int_equal(call->status, 0);
    fake_free(call);

    Silo__V1__RefreshFailure failure = SILO__V1__REFRESH_FAILURE__INIT;
    failure.code = (char *)"TIMEOUT";
    failure.message = (char *)"no answer";
    request.outcome_case = SILO__V1__REPORT_REFRESH_OUTCOME_REQUEST__OUTCOME_FAILURE;
    request.failure = &failure;
    for (int known = 0; known < 2; known++) {
        request.task_id =
            (char *)(known ? "01000000-0000-0000-0000-000000000000" : "not a task's id");
        call = fake_call("ReportRefreshOutcome", &request.base);
        sent = fake_take(CMD_REPORT_REFRESH);
        assert_int_equal(sent->cmd.args.report_refresh.has_task_id, known);
        assert_false(sent->cmd.args.report_refresh.success);
        if (known) {
            fake_answer(sent, SILO_OK, NULL);
            assert_int_equal(call->status, 0);
        } else {
            fake_answer(sent, SILO_NOT_FOUND, "lease not found");
            fake_failed(call, 5, "lease not found");
        }
        fake_free(call);
    }
    fake_stop();
}

/* --- what GetJob and GetJobResult make of a job --- */

static struct shard_request *get(const char *method, struct rpc_call **ret_call)
{
    if (strcmp(method, "GetJob") == 0) {
        Silo__V1__GetJobRequest request = SILO__V1__GET_JOB_REQUEST__INIT;
        request.shard = (char *)fake_shard_id(0);
        request.id = (char *)"j";
        request.include_attempts = true;
        *ret_call = fake_call(method, &request.base);
        return fake_take(CMD_GET_JOB);
    }
    Silo__V1__GetJobResultRequest request = SILO__V1__GET_JOB_RESULT_REQUEST__INIT;
    request.shard = (char *)fake_shard_id(0);
    request.id = (char *)"j";
    *ret_call = fake_call(method, &request.base);
    return fake_take(CMD_GET_RESULT);
}

/* What is left out is not read, and the answer says what it was. */
static void test_omitted(void **state)
{
    (void)state;
    fake_start(1, false, false);
    Silo__V1__GetJobRequest request = SILO__V1__GET_JOB_REQUEST__INIT;
    request.shard = (char *)fake_shard_id(0);
    request.id = (char *)"j";
    request.include_attempts = true;
    request.omit_payload = true;
    request.omit_results = true;
    struct rpc_call *call = fake_call("GetJob", &request.base);
    struct shard_request *sent = fake_take(CMD_GET_JOB);
    assert_true(sent->cmd.args.get.omit_payload && sent->cmd.args.get.omit_results);
    struct job_view_attempt failed = {
        .number = 1,
        .attempt = {.outcome = {.status = ATTEMPT_FAILED, .error_code = BYTES_LIT("E")}},
        .data = BYTES_LIT("why")};
    sent->cmd.result.job = (struct job_view){
        .info = {.group = BYTES_LIT("g")},
        .has_state = true,
        .state = {.status = JOB_SUCCEEDED,
                  .attempt = 2,
                  .has_outcome = true,
                  .by_attempt = true,
                  .final = {.outcome = {.status = ATTEMPT_SUCCEEDED}}},
        .status = JOB_SUCCEEDED,
        .attempts = &failed,
        .attempt_count = 1,
    };
    fake_answer(sent, SILO_OK, NULL);
    Silo__V1__GetJobResponse *job = fake_reply(call, &silo__v1__get_job_response__descriptor);
    assert_true(job->payload_omitted && job->result_omitted);
    assert_null(job->payload);
    assert_int_equal(job->result_opt_case, 0);
    assert_int_equal(job->n_attempts, 2);
    assert_true(job->attempts[0]->data_omitted && job->attempts[1]->data_omitted);
    assert_string_equal(job->attempts[0]->error_code, "E"); /* it is small */
    assert_int_equal(job->attempts[0]->error_data_opt_case, 0);
    assert_int_equal(job->attempts[1]->result_opt_case, 0);
    silo__v1__get_job_response__free_unpacked(job, NULL);
    fake_free(call);

    request.omit_payload = request.omit_results = false;
    call = fake_call("GetJob", &request.base);
    sent = fake_take(CMD_GET_JOB);
    uint8_t *large = xmalloc(70u << 20);
    memset(large, 1, 70u << 20);
    sent->cmd.result.job = (struct job_view){
        .info = {.group = BYTES_LIT("g")},
        .status = JOB_SUCCEEDED,
        .payload = bytes_of(large, 70u << 20),
        .data = bytes_of(large, 70u << 20),
    };
    fake_answer(sent, SILO_OK, NULL);
    fake_failed(call, 11, "omit_payload");
    free(large);
    fake_free(call);
    fake_stop();
}

/* Its rate limit refused it too often: it failed between two attempts. */
static struct job_view rate_limited_view(void)
{
    static struct job_view_attempt failed = {
        .number = 1, .attempt = {.outcome = {.status = ATTEMPT_FAILED, .finished_ms = 2500}}};
    return (struct job_view){
        .info = {.group = BYTES_LIT("g"), .enqueue_ms = 1000, .due_ms = 1000},
        .has_state = true,
        .state = {.status = JOB_FAILED,
                  .changed_ms = 9000,
                  .attempt = 2,
                  .has_outcome = true,
                  .final = {.outcome = {.status = ATTEMPT_FAILED,
                                        .finished_ms = 9000,
                                        .error_code = BYTES_LIT("RATE_LIMIT_EXCEEDED")}}},
        .status = JOB_FAILED,
        .attempts = &failed,
        .attempt_count = 1,
        .data = BYTES_LIT("why"),
    };
}

static void test_failed_without_attempt(void **state)
{
    (void)state;
    fake_start(1, false, false);
    struct rpc_call *call;
    struct shard_request *request = get("GetJob", &call);
    request->cmd.result.job = rate_limited_view();
    fake_answer(request, SILO_OK, NULL);
    Silo__V1__GetJobResponse *job = fake_reply(call, &silo__v1__get_job_response__descriptor);
    assert_int_equal(job->status, JOB_FAILED);
    assert_int_equal(job->n_attempts, 1); /* the outcome is no attempt */
    assert_int_equal(job->attempts[0]->attempt_number, 1);
    assert_int_equal(job->result_opt_case, 0);
    assert_int_equal(job->next_attempt_starts_after_ms_opt_case, 0);
    silo__v1__get_job_response__free_unpacked(job, NULL);
    fake_free(call);

    request = get("GetJobResult", &call);
    request->cmd.result.job = rate_limited_view();
    fake_answer(request, SILO_OK, NULL);
    Silo__V1__GetJobResultResponse *result =
        fake_reply(call, &silo__v1__get_job_result_response__descriptor);
    assert_int_equal(result->status, JOB_FAILED);
    assert_int_equal(result->finished_at_ms, 9000);
    assert_string_equal(result->failure->error_code, "RATE_LIMIT_EXCEEDED");
    assert_int_equal(result->failure->error_data->msgpack.len, 3);
    silo__v1__get_job_result_response__free_unpacked(result, NULL);
    fake_free(call);
    fake_stop();
}

/*
 * A restarted job: scheduled again, its earlier attempts readable, also one that had ended the job.
 */
static void test_restarted(void **state)
{
    (void)state;
    fake_start(1, false, false);
    struct job_view_attempt attempts[] = {
        {.number = 1, .attempt = {.outcome = {.status = ATTEMPT_FAILED, .finished_ms = 2000}}},
        {.number = 2, .attempt = {.outcome = {.status = ATTEMPT_CANCELLED, .finished_ms = 3000}}},
    };
    struct rpc_call *call;
    struct shard_request *request = get("GetJob", &call);
    request->cmd.result.job = (struct job_view){
        .info = {.group = BYTES_LIT("g"), .enqueue_ms = 1000, .due_ms = 1000},
        .has_state = true,
        .state = {.status = JOB_SCHEDULED,
                  .changed_ms = 5000,
                  .attempt = 3,
                  .has_next = true,
                  .due_ms = 6000},
        .status = JOB_SCHEDULED,
        .attempts = attempts,
        .attempt_count = 2,
    };
    fake_answer(request, SILO_OK, NULL);
    Silo__V1__GetJobResponse *job = fake_reply(call, &silo__v1__get_job_response__descriptor);
    assert_int_equal(job->status, JOB_SCHEDULED);
    assert_int_equal(job->status_changed_at_ms, 5000);
    assert_int_equal(job->next_attempt_starts_after_ms, 6000);
    assert_int_equal(job->n_attempts, 2);
    assert_int_equal(job->attempts[1]->status, ATTEMPT_CANCELLED);
    assert_int_equal(job->attempts[1]->finished_at_ms, 3000);
    assert_int_equal(job->attempts[1]->error_code_opt_case, 0);
    assert_int_equal(job->attempts[1]->result_opt_case, 0);
    assert_int_equal(job->result_opt_case, 0);
    silo__v1__get_job_response__free_unpacked(job, NULL);
    fake_free(call);
    fake_stop();
}

/* A success that was imported: no next attempt, the attempt's times as brought. */
static void test_imported(void **state)
{
    (void)state;
    fake_start(1, false, false);
    struct rpc_call *call;
    struct shard_request *request = get("GetJob", &call);
    request->cmd.result.job = (struct job_view){
        .info = {.group = BYTES_LIT("g"), .enqueue_ms = 10, .due_ms = 20},
        .has_state = true,
        .state = {.status = JOB_SUCCEEDED,
                  .changed_ms = 40,
                  .attempt = 1,
                  .has_outcome = true,
                  .by_attempt = true,
                  .final = {.relative = 1,
                            .started_ms = 30,
                            .outcome = {.status = ATTEMPT_SUCCEEDED, .finished_ms = 40}}},
        .status = JOB_SUCCEEDED,
    };
    fake_answer(request, SILO_OK, NULL);
    Silo__V1__GetJobResponse *job = fake_reply(call, &silo__v1__get_job_response__descriptor);
    assert_int_equal(job->enqueue_time_ms, 10);
    assert_int_equal(job->status_changed_at_ms, 40);
    assert_int_equal(job->next_attempt_starts_after_ms_opt_case, 0);
    assert_int_equal(job->result_opt_case, 13); /* present though empty */
    assert_int_equal(job->n_attempts, 1);
    assert_int_equal(job->attempts[0]->started_at_ms, 30);
    assert_int_equal(job->attempts[0]->finished_at_ms, 40);
    assert_int_equal(job->attempts[0]->result_opt_case, 7);
    silo__v1__get_job_response__free_unpacked(job, NULL);
    fake_free(call);
    fake_stop();
}

static void limits_store(struct buf *buf, struct arena *arena)
{
    const struct limit_rec rate = {
        .kind = LIMIT_RATE,
        .rate = {.name = BYTES_LIT("api"),
                 .unique_key = BYTES_LIT("user-1"),
                 .limit = 10,
                 .retry = {.max_ms = 30000}},
    };
    const struct limit_rec fixed = {.kind = LIMIT_CONCURRENCY, .key = BYTES_LIT("q")};
    limit_encode(buf, arena, &rate);
    limit_encode(buf, arena, &fixed);
}

static void test_limits_shown(void **state)
{
    (void)state;
    fake_start(1, false, false);
    struct arena arena;
    struct buf buf;
    arena_init(&arena);
    buf_init(&buf, 1u << 20);
    limits_store(&buf, &arena);
    struct rpc_call *call;
    struct shard_request *request = get("GetJob", &call);
    request->cmd.result.job = (struct job_view){
        .info = {.group = BYTES_LIT("g"), .limit_count = 2, .limits = buf_bytes(&buf)}};
    fake_answer(request, SILO_OK, NULL);
    Silo__V1__GetJobResponse *job = fake_reply(call, &silo__v1__get_job_response__descriptor);
    assert_int_equal(job->n_limits, 2);
    const Silo__V1__GubernatorRateLimit *rate = job->limits[0]->rate_limit;
    assert_string_equal(rate->unique_key, "user-1");
    assert_int_equal(rate->limit, 10);
    assert_int_equal(rate->retry_policy->max_backoff_ms, 30000);
    assert_string_equal(job->limits[1]->concurrency->key, "q");
    silo__v1__get_job_response__free_unpacked(job, NULL);
    fake_free(call);

    request = get("GetJob", &call);
    request->cmd.result.job = (struct job_view){
        .info = {.group = BYTES_LIT("g"), .limit_count = 3, .limits = buf_bytes(&buf)}};
    fake_answer(request, SILO_OK, NULL);
    fake_failed(call, 15, "malformed");
    fake_free(call);
    buf_deinit(&buf);
    arena_deinit(&arena);
    fake_stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_restart),
        cmocka_unit_test(test_expedite),
        cmocka_unit_test(test_lease_task_checks),
        cmocka_unit_test(test_lease_task),
        cmocka_unit_test(test_lease_task_undelivered),
        cmocka_unit_test(test_omitted),
        cmocka_unit_test(test_drop_holders),
        cmocka_unit_test(test_report_refresh_checks),
        cmocka_unit_test(test_report_refresh),
        cmocka_unit_test(test_failed_without_attempt),
        cmocka_unit_test(test_restarted),
        cmocka_unit_test(test_imported),
        cmocka_unit_test(test_limits_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
