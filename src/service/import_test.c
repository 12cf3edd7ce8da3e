/*
 * ImportJobs: the checks of each job, which shards are asked, the order of imports, and results in
 * their places.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "codec/key.h"
#include "codec/limit.h"
#include "service/fake_test.h"
#include "service/service_int.h"

#define JOBS_MAX 5000

static Silo__V1__ImportJobRequest jobs[JOBS_MAX];
static Silo__V1__ImportJobRequest *job_list[JOBS_MAX];
static char ids[JOBS_MAX][32];

/* Jobs that are all right, on the first shard. */
static void jobs_make(size_t count)
{
    for (size_t i = 0; i < count; i++) {
        silo__v1__import_job_request__init(&jobs[i]);
        (void)snprintf(ids[i], sizeof ids[i], "job-%zu", i);
        jobs[i].shard = (char *)fake_shard_id(0);
        jobs[i].id = ids[i];
        jobs[i].task_group = (char *)"g";
        job_list[i] = &jobs[i];
    }
}

static struct rpc_call *import(size_t count)
{
    Silo__V1__ImportJobsRequest request = SILO__V1__IMPORT_JOBS_REQUEST__INIT;
    request.jobs = job_list;
    request.n_jobs = count;
    return fake_call("ImportJobs", &request.base);
}

static void tenant_set(size_t index, const char *tenant)
{
    jobs[index].tenant_opt_case = SILO__V1__IMPORT_JOB_REQUEST__TENANT_OPT_TENANT;
    jobs[index].tenant = (char *)tenant;
}

/* The oldest question; nothing it names runs. */
static void none_runs(size_t shard, size_t count)
{
    struct shard_request *ask = fake_take(CMD_ANY_RUNNING);
    assert_int_equal(ask->ref.slot, shard);
    assert_int_equal(ask->cmd.args.any_running.count, count);
    fake_answer(ask, SILO_OK, NULL);
}

/* The oldest import; it is of the job with this id. */
static void imported(const char *tenant, const char *id, enum job_status status)
{
    struct shard_request *request = fake_take(CMD_IMPORT_JOB);
    struct key key;
    key_job_ref(&key, bytes_str(tenant), bytes_str(id));
    assert_true(bytes_eq(request->cmd.job_ref, key_bytes(&key)));
    request->cmd.result.import.status = status;
    fake_answer(request, SILO_OK, NULL);
}

static Silo__V1__ImportJobsResponse *results(struct rpc_call *call, size_t count)
{
    Silo__V1__ImportJobsResponse *reply =
        fake_reply(call, &silo__v1__import_jobs_response__descriptor);
    assert_int_equal(reply->n_results, count);
    return reply;
}

static void expect_ok(const Silo__V1__ImportJobResult *result, const char *id,
                      enum job_status status)
{
    assert_string_equal(result->id, id);
    assert_true(result->success);
    assert_int_equal(result->status, status);
    assert_int_equal(result->error_opt_case, 0);
}

static void expect_failed(const Silo__V1__ImportJobResult *result, const char *id, const char *text)
{
    assert_string_equal(result->id, id);
    assert_false(result->success);
    assert_int_equal(result->status, JOB_FAILED);
    assert_int_equal(result->error_opt_case, 3);
    if (strstr(result->error, text) == NULL) {
        fail_msg("%s: %s; expected: %s", id, result->error, text);
    }
}

static void results_free(Silo__V1__ImportJobsResponse *reply, struct rpc_call *call)
{
    silo__v1__import_jobs_response__free_unpacked(reply, NULL);
    fake_free(call);
}

/* One job that fails a check: its error alone, and nothing is asked of any shard. */
static void refused_with(const char *text)
{
    struct rpc_call *call = import(1);
    Silo__V1__ImportJobsResponse *reply = results(call, 1);
    expect_failed(reply->results[0], jobs[0].id, text);
    results_free(reply, call);
}

static void test_empty(void **state)
{
    (void)state;
    fake_start(1, false, false);
    struct rpc_call *call = import(0);
    results_free(results(call, 0), call);
    fake_stop();
}

/* A job with which everything is wrong. */
struct broken {
    Silo__V1__ImportAttempt attempt;
    Silo__V1__ImportAttempt *attempts[1];
    Silo__V1__ImportJobRequest__MetadataEntry entries[17];
    Silo__V1__ImportJobRequest__MetadataEntry *entry_list[17];
    char names[17][24];
    Silo__V1__ConcurrencyLimit concurrency;
    Silo__V1__Limit limit;
    Silo__V1__Limit *limits[1];
    Silo__V1__RetryPolicy retry;
    char long_key[4098];
};

static void job_break(struct broken *b, Silo__V1__ImportJobRequest *job)
{
    memset(b, 0, sizeof *b);
    job->shard = (char *)"nonsense";
    job->tenant_opt_case = SILO__V1__IMPORT_JOB_REQUEST__TENANT_OPT_TENANT;
    job->tenant = (char *)"";
    job->id = (char *)"";
    job->task_group = (char *)"";
    job->priority = 100;

    for (size_t i = 0; i < 17; i++) {
        silo__v1__import_job_request__metadata_entry__init(&b->entries[i]);
        (void)snprintf(b->names[i], sizeof b->names[i], "k%zu", i);
        b->entries[i].key = b->names[i];
        b->entry_list[i] = &b->entries[i];
    }
    job->metadata = b->entry_list;
    job->n_metadata = 17;

    silo__v1__import_attempt__init(&b->attempt);
    b->attempts[0] = &b->attempt;
    job->attempts = b->attempts;
    job->n_attempts = 1;

    silo__v1__concurrency_limit__init(&b->concurrency);
    memset(b->long_key, 'q', sizeof b->long_key - 1);
    b->concurrency.key = b->long_key;
    silo__v1__limit__init(&b->limit);
    b->limit.limit_case = SILO__V1__LIMIT__LIMIT_CONCURRENCY;
    b->limit.concurrency = &b->concurrency;
    b->limits[0] = &b->limit;
    job->limits = b->limits;
    job->n_limits = 1;

    silo__v1__retry_policy__init(&b->retry);
    b->retry.backoff_factor = NAN;
    job->retry_policy_opt_case = SILO__V1__IMPORT_JOB_REQUEST__RETRY_POLICY_OPT_RETRY_POLICY;
    job->retry_policy = &b->retry;
}

/* Each repair shows the next error. */
static void test_order_of_checks(void **state)
{
    (void)state;
    fake_start(1, true, false);
    jobs_make(1);
    static struct broken b;
    job_break(&b, &jobs[0]);
    refused_with("invalid shard ID");
    jobs[0].shard = (char *)"00000009-0000-4000-8000-000000000000"; /* unknown: found out last */
    refused_with("tenant id required");
    tenant_set(0, "foreign");
    jobs[0].shard = (char *)fake_shard_id(0);
    refused_with("is not within shard");
    jobs[0].shard = (char *)"00000009-0000-4000-8000-000000000000";
    tenant_set(0, "t1");
    refused_with("job id is required for import");
    jobs[0].id = (char *)"j";
    refused_with("task_group is required");
    jobs[0].task_group = (char *)"g";
    refused_with("priority must be between 0 and 99");
    jobs[0].priority = 99;
    refused_with("too many entries");
    jobs[0].n_metadata = 16;
    refused_with("import attempts must be terminal"); /* a status left unset */
    b.attempt.status = (Silo__V1__AttemptStatus)77;
    refused_with("invalid attempt status");
    b.attempt.status = SILO__V1__ATTEMPT_STATUS__ATTEMPT_STATUS_FAILED;
    refused_with("limit key too long: at most 4096 bytes");
    b.concurrency.key = (char *)"q";
    refused_with("retry_policy.backoff_factor");
    b.retry.backoff_factor = 1;
    refused_with("shard not found");
    jobs[0].shard = (char *)fake_shard_id(0);
    fake.shards[0].status = SHARD_FAILED;
    refused_with("shard not ready: it could not be opened");
    fake.shards[0].status = SHARD_OPEN;

    struct rpc_call *call = import(1);
    none_runs(0, 1);
    imported("t1", "j", JOB_SCHEDULED);
    Silo__V1__ImportJobsResponse *reply = results(call, 1);
    expect_ok(reply->results[0], "j", JOB_SCHEDULED);
    results_free(reply, call);
    fake_stop();
}

static void test_sizes(void **state)
{
    (void)state;
    fake_start(1, false, false);
    jobs_make(1);
    static char text[4098];
    memset(text, 'x', 4097);
    jobs[0].id = text;
    refused_with("id too long: at most 4096 bytes");
    jobs[0].id = (char *)"j";
    jobs[0].task_group = text;
    refused_with("task_group too long: at most 4096 bytes");
    text[4096] = 0;
    struct rpc_call *call = import(1); /* more than an enqueue may have */
    none_runs(0, 1);
    imported("-", "j", JOB_SCHEDULED);
    results_free(results(call, 1), call);
    fake_stop();
}

static Silo__V1__SerializedBytes blob(const char *text)
{
    Silo__V1__SerializedBytes value = SILO__V1__SERIALIZED_BYTES__INIT;
    value.encoding_case = SILO__V1__SERIALIZED_BYTES__ENCODING_MSGPACK;
    value.msgpack.data = (uint8_t *)text;
    value.msgpack.len = strlen(text);
    return value;
}

/* All fields are sent, whatever the status. */
static void attempt_make(Silo__V1__ImportAttempt *attempt, Silo__V1__AttemptStatus status,
                         Silo__V1__SerializedBytes *result, Silo__V1__SerializedBytes *error_data)
{
    silo__v1__import_attempt__init(attempt);
    attempt->status = status;
    attempt->started_at_ms = -5;
    attempt->finished_at_ms = 3333;
    attempt->result_opt_case = SILO__V1__IMPORT_ATTEMPT__RESULT_OPT_RESULT;
    attempt->result = result;
    attempt->error_code_opt_case = SILO__V1__IMPORT_ATTEMPT__ERROR_CODE_OPT_ERROR_CODE;
    attempt->error_code = (char *)"E";
    attempt->error_data_opt_case = SILO__V1__IMPORT_ATTEMPT__ERROR_DATA_OPT_ERROR_DATA;
    attempt->error_data = error_data;
}

static void arguments_check(const struct import_args *args)
{
    assert_true(bytes_eq(args->payload, BYTES_LIT("pay")));
    assert_int_equal(args->info.priority, 7);
    assert_true(bytes_eq(args->info.group, BYTES_LIT("g")));
    assert_int_equal(args->info.enqueue_ms, 1111);
    assert_int_equal(args->info.requested_start_ms, 2222);
    assert_true(args->info.has_retry);
    assert_int_equal(args->info.retry.retry_count, 4);
    assert_int_equal(args->info.metadata_count, 1);
    assert_true(bytes_eq(args->info.metadata, BYTES_LIT("\x01k\x01v")));
    assert_int_equal(args->info.limit_count, 1);
    assert_int_equal(args->attempt_count, 3);
    const struct import_attempt *attempts = args->attempts;
    assert_int_equal(attempts[0].status, ATTEMPT_FAILED);
    assert_int_equal(attempts[0].started_ms, -5); /* times are taken as they are */
    assert_int_equal(attempts[0].finished_ms, 3333);
    assert_true(bytes_eq(attempts[0].error_code, BYTES_LIT("E")));
    assert_true(bytes_eq(attempts[0].data, BYTES_LIT("why")));
    assert_int_equal(attempts[1].status, ATTEMPT_CANCELLED);
    assert_int_equal(attempts[1].data.len, 0); /* what belongs to other statuses is ignored */
    assert_int_equal(attempts[1].error_code.len, 0);
    assert_int_equal(attempts[2].status, ATTEMPT_SUCCEEDED);
    assert_true(bytes_eq(attempts[2].data, BYTES_LIT("out")));
    assert_int_equal(attempts[2].error_code.len, 0);
}

static void test_arguments(void **state)
{
    (void)state;
    fake_start(1, false, false);
    jobs_make(1);
    Silo__V1__SerializedBytes payload = blob("pay");
    Silo__V1__SerializedBytes data = blob("why");
    Silo__V1__SerializedBytes result = blob("out");
    Silo__V1__RetryPolicy retry = SILO__V1__RETRY_POLICY__INIT;
    retry.retry_count = 4;
    Silo__V1__ImportJobRequest__MetadataEntry entry =
        SILO__V1__IMPORT_JOB_REQUEST__METADATA_ENTRY__INIT;
    Silo__V1__ImportJobRequest__MetadataEntry *entries[] = {&entry};
    entry.key = (char *)"k";
    entry.value = (char *)"v";
    Silo__V1__ConcurrencyLimit concurrency = SILO__V1__CONCURRENCY_LIMIT__INIT;
    Silo__V1__Limit with = SILO__V1__LIMIT__INIT;
    Silo__V1__Limit without = SILO__V1__LIMIT__INIT;
    with.limit_case = SILO__V1__LIMIT__LIMIT_CONCURRENCY;
    with.concurrency = &concurrency;
    Silo__V1__Limit *limits[] = {&without, &with};
    Silo__V1__ImportAttempt attempts[3];
    Silo__V1__ImportAttempt *attempt_list[] = {&attempts[0], &attempts[1], &attempts[2]};
    attempt_make(&attempts[0], SILO__V1__ATTEMPT_STATUS__ATTEMPT_STATUS_FAILED, &result, &data);
    attempt_make(&attempts[1], SILO__V1__ATTEMPT_STATUS__ATTEMPT_STATUS_CANCELLED, &result, &data);
    attempt_make(&attempts[2], SILO__V1__ATTEMPT_STATUS__ATTEMPT_STATUS_SUCCEEDED, &result, &data);
    jobs[0].priority = 7;
    jobs[0].enqueue_time_ms = 1111;
    jobs[0].start_at_ms = 2222;
    jobs[0].retry_policy_opt_case = SILO__V1__IMPORT_JOB_REQUEST__RETRY_POLICY_OPT_RETRY_POLICY;
    jobs[0].retry_policy = &retry;
    jobs[0].payload = &payload;
    jobs[0].limits = limits;
    jobs[0].n_limits = 2;
    jobs[0].metadata = entries;
    jobs[0].n_metadata = 1;
    jobs[0].attempts = attempt_list;
    jobs[0].n_attempts = 3;

    struct rpc_call *call = import(1);
    none_runs(0, 1);
    assert_int_equal(fake.request_count, 1);
    arguments_check(&fake.requests[0]->cmd.args.import);
    imported("-", "job-0", JOB_SUCCEEDED);
    Silo__V1__ImportJobsResponse *reply = results(call, 1);
    expect_ok(reply->results[0], "job-0", JOB_SUCCEEDED);
    results_free(reply, call);
    fake_stop();
}

static void test_defaults(void **state)
{
    (void)state;
    fake_start(1, false, false);
    jobs_make(1);
    jobs[0].enqueue_time_ms = -1;
    jobs[0].start_at_ms = -1;
    struct rpc_call *call = import(1);
    none_runs(0, 1);
    const struct import_args *args = &fake.requests[0]->cmd.args.import;
    assert_int_equal(args->info.enqueue_ms, 0); /* now, and so the start */
    assert_int_equal(args->info.requested_start_ms, 0);
    assert_int_equal(args->attempt_count, 0);
    assert_false(args->info.has_retry);
    imported("-", "job-0", JOB_SCHEDULED);
    results_free(results(call, 1), call);
    fake_stop();
}

/* Failures of every kind between jobs that go through, over two shards. */
static void test_positions(void **state)
{
    (void)state;
    fake_start(2, false, false);
    jobs_make(7);
    jobs[1].shard = (char *)fake_shard_id(1);
    jobs[2].id = (char *)"";
    jobs[3].shard = (char *)"00000009-0000-4000-8000-000000000000";
    jobs[4].shard = (char *)fake_shard_id(1);
    jobs[5].priority = 1000;
    struct rpc_call *call = import(7);
    none_runs(0, 2);
    assert_int_equal(fake.request_count, 1); /* both are asked before anything is imported */
    none_runs(1, 2);
    assert_int_equal(fake.request_count, 4);
    imported("-", "job-0", JOB_SCHEDULED);
    struct shard_request *request = fake_take(CMD_IMPORT_JOB);
    assert_int_equal(request->ref.slot, 1);
    fake_answer(request, SILO_PRECONDITION, "job is currently running");
    imported("-", "job-4", JOB_CANCELLED);
    assert_false(call->done);
    fake_answer(fake_take(CMD_IMPORT_JOB), SILO_INVALID, "import attempt 1 must be Failed");
    Silo__V1__ImportJobsResponse *reply = results(call, 7);
    expect_ok(reply->results[0], "job-0", JOB_SCHEDULED);
    expect_failed(reply->results[1], "job-1", "job is currently running");
    expect_failed(reply->results[2], "", "job id is required for import");
    expect_failed(reply->results[3], "job-3", "shard not found");
    expect_ok(reply->results[4], "job-4", JOB_CANCELLED);
    expect_failed(reply->results[5], "job-5", "priority must be between 0 and 99");
    expect_failed(reply->results[6], "job-6", "import attempt 1 must be Failed");
    results_free(reply, call);
    fake_stop();
}

static void test_running_refuses_all(void **state)
{
    (void)state;
    fake_start(2, true, false);
    jobs_make(4);
    for (size_t i = 0; i < 4; i++) {
        tenant_set(i, i < 2 ? "t1" : i == 2 ? "a" : "b");
    }
    jobs[2].shard = (char *)fake_shard_id(1);
    jobs[3].shard = (char *)fake_shard_id(1);
    struct rpc_call *call = import(4);
    none_runs(0, 2);
    struct shard_request *ask = fake_take(CMD_ANY_RUNNING);
    struct key key;
    key_job_ref(&key, BYTES_LIT("b"), BYTES_LIT("job-3"));
    size_t index = 0;
    while (!bytes_eq(ask->cmd.args.any_running.job_refs[index], key_bytes(&key))) {
        assert_true(++index < ask->cmd.args.any_running.count);
    }
    ask->cmd.result.any_running = (struct any_running_result){.running = true, .index = index};
    fake_answer(ask, SILO_OK, NULL);
    fake_failed(call, 9, "currently running: job-3");
    assert_int_equal(fake.request_count, 0); /* not a single one was imported */
    fake_free(call);
    fake_stop();
}

/* A shard that does not answer the question fails its jobs alone. */
static void test_shard_away(void **state)
{
    (void)state;
    for (int full = 0; full < 2; full++) {
        fake_start(2, false, false);
        jobs_make(3);
        jobs[1].shard = (char *)fake_shard_id(1);
        fake.shards[0].full = full;
        struct rpc_call *call = import(3);
        if (!full) {
            fake_answer(fake_take(CMD_ANY_RUNNING), SILO_UNAVAILABLE, "store away");
        }
        none_runs(1, 1);
        imported("-", "job-1", JOB_SCHEDULED);
        Silo__V1__ImportJobsResponse *reply = results(call, 3);
        const char *text = full ? "too many requests" : "store away";
        expect_failed(reply->results[0], "job-0", text);
        expect_ok(reply->results[1], "job-1", JOB_SCHEDULED);
        expect_failed(reply->results[2], "job-2", text);
        results_free(reply, call);

        jobs_make(1); /* and when that is all of them */
        call = import(1);
        if (!full) {
            fake_answer(fake_take(CMD_ANY_RUNNING), SILO_UNAVAILABLE, "store away");
        }
        fake_run();
        reply = results(call, 1);
        expect_failed(reply->results[0], "job-0", text);
        results_free(reply, call);
        fake_stop();
    }
}

/*
 * A job that is named again is imported when its first import is done, whatever the shard's
 * spelling.
 */
static void test_same_job_twice(void **state)
{
    (void)state;
    fake_start(2, false, false);
    jobs_make(6);
    jobs[1].id = (char *)"job-0";
    jobs[1].shard = (char *)"{00000000-0000-4000-8000-000000000000}";
    jobs[3].id = (char *)"job-0";
    jobs[4].id = (char *)"job-2";
    jobs[5].id = (char *)"job-0"; /* of another shard: another job */
    jobs[5].shard = (char *)fake_shard_id(1);
    for (int i = 0; i < 6; i++) {
        jobs[i].priority = (uint32_t)i;
    }
    struct rpc_call *call = import(6);
    none_runs(0, 5);
    none_runs(1, 1);
    static const uint32_t order[] = {0, 2, 5, 1, 4, 3};
    static const size_t waves[] = {3, 2, 1};
    size_t at = 0;
    for (size_t w = 0; w < 3; w++) {
        assert_int_equal(fake.request_count, waves[w]);
        for (size_t i = 0; i < waves[w]; i++) {
            struct shard_request *request = fake_take(CMD_IMPORT_JOB);
            assert_int_equal(request->cmd.args.import.info.priority, order[at]);
            request->cmd.result.import.status = order[at] == 3 ? JOB_SUCCEEDED : JOB_SCHEDULED;
            at++;
            fake_answer(request, SILO_OK, NULL);
        }
    }
    Silo__V1__ImportJobsResponse *reply = results(call, 6);
    expect_ok(reply->results[0], "job-0", JOB_SCHEDULED);
    expect_ok(reply->results[1], "job-0", JOB_SCHEDULED);
    expect_ok(reply->results[3], "job-0", JOB_SUCCEEDED);
    expect_ok(reply->results[4], "job-2", JOB_SCHEDULED);
    results_free(reply, call);
    fake_stop();
}

/*
 * An error text as a shard makes it: in the command's arena, which is used again by the next wave.
 */
static void import_fail(struct shard_request *request, size_t number)
{
    const char *text = arena_printf(request->cmd.arena, "refused %zu", number);
    fake_answer(request, SILO_PRECONDITION, text);
}

static void test_waves(void **state)
{
    (void)state;
    fake_start(2, false, false);
    jobs_make(JOBS_MAX);
    for (size_t i = 0; i < JOBS_MAX; i++) {
        jobs[i].shard = (char *)fake_shard_id(i % 2);
    }
    struct rpc_call *call = import(JOBS_MAX);
    none_runs(0, JOBS_MAX / 2);
    none_runs(1, JOBS_MAX / 2);
    size_t done = 0;
    while (!call->done) {
        if (done % MANY_WAVE_MAX == 0) {
            const size_t left = JOBS_MAX - done;
            assert_int_equal(fake.request_count, left < MANY_WAVE_MAX ? left : MANY_WAVE_MAX);
        }
        struct shard_request *request = fake_take(CMD_IMPORT_JOB);
        assert_int_equal(request->ref.slot, done % 2);
        if (done % 3 == 0) {
            import_fail(request, done++);
        } else {
            done++;
            fake_answer(request, SILO_OK, NULL);
        }
    }
    assert_int_equal(done, JOBS_MAX);
    Silo__V1__ImportJobsResponse *reply = results(call, JOBS_MAX);
    for (size_t i = 0; i < JOBS_MAX; i++) {
        if (i % 3 == 0) {
            char text[32];
            (void)snprintf(text, sizeof text, "refused %zu", i);
            expect_failed(reply->results[i], ids[i], text);
        } else {
            expect_ok(reply->results[i], ids[i], JOB_SCHEDULED);
        }
    }
    results_free(reply, call);
    fake_stop();
}

/* No further wave is begun for a caller that is gone, and the one under way is waited for. */
static void test_caller_leaves(void **state)
{
    (void)state;
    fake_start(1, false, false);
    jobs_make(MANY_WAVE_MAX + 1);
    struct rpc_call *call = import(MANY_WAVE_MAX + 1);
    none_runs(0, MANY_WAVE_MAX + 1);
    fake_cancel(call);
    for (size_t i = 0; i < MANY_WAVE_MAX; i++) {
        assert_false(call->done);
        fake_answer(fake_take(CMD_IMPORT_JOB), SILO_OK, NULL);
    }
    assert_true(call->done);
    fake_free(call);
    fake_stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_order_of_checks),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_positions),
        cmocka_unit_test(test_running_refuses_all),
        cmocka_unit_test(test_shard_away),
        cmocka_unit_test(test_same_job_twice),
        cmocka_unit_test(test_waves),
        cmocka_unit_test(test_caller_leaves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
