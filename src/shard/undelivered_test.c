/*
 * shard/undelivered_test.c - tasks that were leased and do not reach their worker: no attempt is
 * spent on them.
 */
#include "base/limits.h"
#include "base/test.h"
#include "core/limit_calls_test.h"
#include "shard/shard_int.h"
#include "shard/shard_rig_test.h"

#define PAYLOAD_BYTES 5000u /* a row of its own */

static const uint8_t *payload_of(struct call *call)
{
    return memset(arena_alloc(&call->arena, PAYLOAD_BYTES), 'x', PAYLOAD_BYTES);
}

static void put_large(struct rig *rig, const char *id, uint32_t retries)
{
    struct call *call = enqueue_call(id, "g", 5, 0);
    struct enqueue_args *args = &call->cmd.args.enqueue;
    args->payload = bytes_of(payload_of(call), PAYLOAD_BYTES);
    args->info.has_retry = true;
    args->info.retry = (struct retry_policy){.retry_count = retries, .factor = 1};
    assert_int_equal(finish(rig, call), SILO_OK);
}

static void mget_fails(struct rig *rig, uint32_t nth, enum silo_code code)
{
    store_mem_fail(shard_rig_of(rig)->store,
                   &(struct store_mem_fault){.kind = STORE_MEM_MGET, .nth = nth, .code = code});
}

/* All of them are there and on their first attempt, in their order. */
static void expect_first_attempts(struct rig *rig, const char *const *ids, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct call *poll = poll_call(1, 0);
        rig_do(rig, poll);
        assert_int_equal(poll_count(poll), 1);
        assert_true(bytes_eq(poll_task(poll, 0)->job_id, bytes_str(ids[i])));
        assert_int_equal(poll_task(poll, 0)->attempt, 1);
        assert_int_equal(poll_task(poll, 0)->payload.len,
                         poll_task(poll, 0)->info.payload.is_blob ? PAYLOAD_BYTES : 7);
        const struct uuid task = poll_task(poll, 0)->task_id;
        rig_call_free(poll);
        assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
    }
}

static const char *const abc[] = {"a", "b", "c"};

/* The group's rows are known, so that the next read is that of a payload. */
static struct rig *open_idle(void)
{
    struct rig *rig = shard_rig_open_plain();
    assert_int_equal(poll_empty(rig), 0);
    return rig;
}

static struct rig *open_abc(void)
{
    struct rig *rig = open_idle();
    for (size_t i = 0; i < 3; i++) {
        put_large(rig, abc[i], 2);
    }
    return rig;
}

static void expect_unreadable(struct rig *rig, const char *id, const char *why)
{
    struct call *call = rig_call(CMD_GET_RESULT, T, id);
    rig_do(rig, call);
    assert_int_equal(call->cmd.rc.code, SILO_OK);
    const struct job_view *job = &call->cmd.result.job;
    assert_int_equal(job->status, JOB_FAILED);
    assert_true(bytes_eq(job->state.final.outcome.error_code, BYTES_LIT(ERROR_JOB_UNREADABLE)));
    assert_non_null(memmem(job->data.ptr, job->data.len, why, strlen(why)));
    rig_call_free(call);
}

/* --- a read that may succeed another time --- */

static void test_read_fails(void **state)
{
    (void)state;
    struct rig *rig = open_abc();
    mget_fails(rig, 1, SILO_UNAVAILABLE);
    struct call *poll = poll_call(3, 0);
    rig_do(rig, poll);
    assert_int_equal(poll->cmd.rc.code, SILO_UNAVAILABLE);
    rig_call_free(poll);
    expect_first_attempts(rig, abc, 3);
    close_all(rig);
}

static void test_read_fails_of_lease_job(void **state)
{
    (void)state;
    struct rig *rig = open_abc();
    mget_fails(rig, 1, SILO_UNAVAILABLE);
    struct call *lease = rig_call(CMD_LEASE_JOB, T, "a");
    lease->cmd.args.lease_job.worker_id = BYTES_LIT("w1");
    assert_int_equal(finish(rig, lease), SILO_UNAVAILABLE);
    expect_first_attempts(rig, abc, 3);
    close_all(rig);
}

/* What has a small payload is delivered all the same. */
static void test_read_fails_of_some(void **state)
{
    (void)state;
    struct rig *rig = open_idle();
    put_large(rig, "a", 0);
    enqueue(rig, "small", 5, 0);
    mget_fails(rig, 1, SILO_UNAVAILABLE);
    struct call *poll = poll_call(2, 0);
    rig_do(rig, poll);
    assert_int_equal(poll_count(poll), 1);
    assert_true(bytes_eq(poll_task(poll, 0)->job_id, BYTES_LIT("small")));
    rig_call_free(poll);
    expect_first_attempts(rig, abc, 1);
    close_all(rig);
}

/* --- a payload that nobody can read --- */

static void test_damaged(void **state)
{
    (void)state;
    struct rig *rig = open_abc();
    mget_fails(rig, 1, SILO_CORRUPT); /* all three, then one by one */
    mget_fails(rig, 3, SILO_CORRUPT);
    struct call *poll = poll_call(3, 0);
    rig_do(rig, poll);
    assert_int_equal(poll_count(poll), 2);
    assert_true(bytes_eq(poll_task(poll, 0)->job_id, BYTES_LIT("a")));
    assert_true(bytes_eq(poll_task(poll, 1)->job_id, BYTES_LIT("c")));
    assert_int_equal(poll_task(poll, 1)->payload.len, PAYLOAD_BYTES);
    rig_call_free(poll);
    rig_settle(rig);
    expect_unreadable(rig, "b", "damaged"); /* at once, in spite of its retries */
    assert_int_equal(totals(rig).failed, 1);
    assert_int_equal(poll_empty(rig), 0);
    close_all(rig);
}

static void lose_payload(void *context, struct store_db *db, struct bytes ops)
{
    (void)context;
    (void)db;
    static const char value[] = "xxxxxxxxxxxxxxxx";
    uint8_t *at = memmem(ops.ptr, ops.len, value, sizeof value - 1);
    if (at != NULL) {
        at[-1] ^= 1; /* the last byte of its key */
    }
}

static void test_missing(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    put_large(rig, "a", 2);
    shard_rig_of(rig)->on_write = lose_payload;
    put_large(rig, "b", 2);
    shard_rig_of(rig)->on_write = NULL;
    assert_int_equal(on_job(rig, CMD_GET_JOB, "b"), SILO_CORRUPT);
    struct call *poll = poll_call(3, 0);
    rig_do(rig, poll);
    assert_int_equal(poll_count(poll), 1);
    rig_call_free(poll);
    rig_settle(rig);
    expect_unreadable(rig, "b", "missing");
    struct call *get = rig_call(CMD_GET_JOB, T, "b");
    get->cmd.args.get.omit_payload = true;
    assert_int_equal(finish(rig, get), SILO_OK); /* operators see it */
    /* A poll that found nothing else found no work. */
    shard_rig_of(rig)->on_write = lose_payload;
    put_large(rig, "c", 2);
    shard_rig_of(rig)->on_write = NULL;
    assert_int_equal(poll_empty(rig), 0);
    struct call *lease = rig_call(CMD_LEASE_JOB, T, "c");
    lease->cmd.args.lease_job.worker_id = BYTES_LIT("w1");
    assert_int_equal(finish(rig, lease), SILO_PRECONDITION); /* it has ended */
    close_all(rig);
}

/* The service finds that it cannot tell a worker about a job. */
static void test_malformed(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    enqueue_retrying(rig, "a", 3, 0);
    const struct uuid task = lease_one(rig, "a");
    struct call *call = rig_call(CMD_GIVE_BACK, NULL, NULL);
    call->cmd.args.give_back =
        (struct give_back_args){.task_ids = &task, .count = 1, .unreadable = "malformed"};
    assert_int_equal(finish(rig, call), SILO_OK);
    rig_settle(rig);
    expect_unreadable(rig, "a", "malformed");
    close_all(rig);
}

/* --- ways back that are barred for a while --- */

static void test_give_back_later(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    enqueue_retrying(rig, "a", 0, 0);
    struct uuid task = lease_one(rig, "a");
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
    enqueue(rig, "b", 5, 0);
    task = lease_one(rig, "b");
    assert_int_equal(rig_stop(rig), SILO_OK);
    rig_start(rig);
    rig_settle(rig);
    /* The low-water row of its group has to be read first. */
    store_mem_fail(
        shard_rig_of(rig)->store,
        &(struct store_mem_fault){.kind = STORE_MEM_MGET, .nth = 1, .code = SILO_UNAVAILABLE});
    struct call *call = rig_call(CMD_GIVE_BACK, NULL, NULL);
    call->cmd.args.give_back = (struct give_back_args){.task_ids = &task, .count = 1};
    assert_int_equal(finish(rig, call), SILO_UNAVAILABLE);
    assert_int_equal(status(rig, "b"), JOB_RUNNING);
    store_mem_faults_clear(shard_rig_of(rig)->store);
    rig_pass(rig, LEASE_MS + 3 * OWNERSHIP_RENEW_MS);
    expect_first_attempts(rig, abc + 1, 1);
    close_all(rig);
}

/*
 * The lease is stored, its poll has failed: its task goes back as soon as the shard is open again.
 */
static void test_shard_fails(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    enqueue(rig, "a", 5, 0);
    store_mem_fail(shard_rig_of(rig)->store, &(struct store_mem_fault){.kind = STORE_MEM_FLUSH,
                                                                       .nth = 1,
                                                                       .code = SILO_UNAVAILABLE,
                                                                       .effect = true});
    struct call *poll = poll_call(1, 0);
    rig_send(rig, poll);
    for (int i = 0; i < 100 && !poll->done; i++) {
        rig_pass(rig, 10);
    }
    assert_true(poll->done);
    assert_int_equal(poll->cmd.rc.code, SILO_UNAVAILABLE);
    rig_call_free(poll);
    for (int i = 0; i < 100 && !rig_is_open(rig); i++) {
        rig_pass(rig, 100);
    }
    rig_settle(rig);
    expect_first_attempts(rig, abc, 1);
    close_all(rig);
}

static void test_give_back_not_open(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    enqueue(rig, "a", 5, 0);
    const struct uuid task = lease_one(rig, "a");
    store_mem_fail(shard_rig_of(rig)->store,
                   &(struct store_mem_fault){.kind = STORE_MEM_WRITE, .code = SILO_UNAVAILABLE});
    assert_int_equal(finish(rig, enqueue_call("b", "g", 5, 0)), SILO_UNAVAILABLE);
    assert_false(rig_is_open(rig));
    struct call *call = rig_call(CMD_GIVE_BACK, NULL, NULL);
    call->cmd.args.give_back = (struct give_back_args){.task_ids = &task, .count = 1};
    assert_int_equal(finish(rig, call), SILO_OK);
    for (int i = 0; i < 100 && !rig_is_open(rig); i++) {
        rig_pass(rig, 100);
    }
    rig_settle(rig);
    expect_first_attempts(rig, abc, 1);
    close_all(rig);
}

/* Work that refreshes a limit is no different. */
static void test_refresh_not_open(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    LIMITED(rig, "a", FLOATS("f", 0, 60000));
    const struct uuid task = refresh_one(rig);
    assert_int_equal(shard_rig_control(rig, shard_close), SILO_OK);
    struct call *call = rig_call(CMD_GIVE_BACK, NULL, NULL);
    call->cmd.args.give_back = (struct give_back_args){.task_ids = &task, .count = 1};
    assert_int_equal(finish(rig, call), SILO_OK);
    assert_int_equal(shard_rig_control(rig, shard_open), SILO_OK);
    rig_settle(rig);
    (void)refresh_one(rig); /* at once, and not when its lease would have ended */
    close_all(rig);
}

/* Whoever had the shard meanwhile may have leased the same task anew: the lease is left to end. */
static void test_others_had_it(void **state)
{
    (void)state;
    for (int others = 0; others < 2; others++) {
        struct rig *rig = shard_rig_open_plain();
        enqueue(rig, "a", 5, 0);
        const struct uuid task = lease_one(rig, "a");
        assert_int_equal(shard_rig_control(rig, shard_close), SILO_OK);
        struct call *call = rig_call(CMD_GIVE_BACK, NULL, NULL);
        call->cmd.args.give_back = (struct give_back_args){.task_ids = &task, .count = 1};
        assert_int_equal(finish(rig, call), SILO_OK);
        if (others != 0) {
            shard_rig_fence(rig);
        }
        assert_int_equal(shard_rig_control(rig, shard_open), SILO_OK);
        rig_settle(rig);
        assert_int_equal(status(rig, "a"), others != 0 ? JOB_RUNNING : JOB_SCHEDULED);
        close_all(rig);
    }
}

static void test_notes_are_bounded(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    const struct uuid ids[3] = {{.b = {1}}, {.b = {2}}, {.b = {3}}};
    for (size_t i = 0; i < UNDELIVERED_MAX / 2; i++) {
        undelivered_note(shard_rig_of(rig)->shard, ids, 2);
    }
    assert_int_equal(shard_rig_of(rig)->shard->undelivered_count, UNDELIVERED_MAX);
    undelivered_note(shard_rig_of(rig)->shard, ids, 3);
    assert_int_equal(shard_rig_of(rig)->shard->undelivered_count, UNDELIVERED_MAX);
    undelivered_free(shard_rig_of(rig)->shard);
    close_all(rig);
}

/* --- room --- */

static void test_reply_room(void **state)
{
    (void)state;
    struct rig *rig = open_abc();
    struct call *poll = poll_call(3, 0);
    poll->cmd.args.poll.bytes_max = PAYLOAD_BYTES;
    rig_do(rig, poll);
    assert_int_equal(poll_count(poll),
                     0); /* as a further visit of a call whose reply is nearly full */
    rig_call_free(poll);
    poll = poll_call(3, 0);
    poll->cmd.args.poll.bytes_max = 2 * PAYLOAD_BYTES + 2 * REPLY_TASK_BYTES + 500;
    rig_do(rig, poll);
    assert_int_equal(poll_count(poll), 2);
    rig_call_free(poll);
    expect_first_attempts(rig, abc + 2, 1); /* it was not even leased */
    close_all(rig);
}

static void test_answer_room(void **state)
{
    (void)state;
    struct rig *rig = open_abc();
    shard_rig_of(rig)->keeps_answers = true;
    atomic_store(&shard_rig_of(rig)->shards->answer_bytes, ANSWERS_BYTES_MAX - 2 * PAYLOAD_BYTES);
    struct call *first = rig_call(CMD_GET_JOB, T, "a");
    rig_do(rig, first);
    assert_int_equal(first->cmd.rc.code, SILO_OK);
    struct call *poll = poll_call(3, 0);
    rig_do(rig, poll);
    assert_int_equal(poll_count(poll), 1); /* there was room for one */
    const struct uuid task = poll_task(poll, 0)->task_id;
    assert_int_equal(on_job(rig, CMD_GET_JOB, "a"), SILO_EXHAUSTED);
    struct call *other = poll_call(3, 0);
    rig_do(rig, other);
    assert_int_equal(other->cmd.rc.code, SILO_EXHAUSTED);
    rig_call_free(other);
    shard_rig_take_answer(rig, first);
    rig_call_free(first);
    assert_int_equal(on_job(rig, CMD_GET_JOB, "b"), SILO_OK);
    rig_call_free(poll);
    atomic_store(&shard_rig_of(rig)->shards->answer_bytes, 0);
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
    expect_first_attempts(rig, abc + 1, 2);
    close_all(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read_fails),
        cmocka_unit_test(test_read_fails_of_lease_job),
        cmocka_unit_test(test_read_fails_of_some),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_missing),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_give_back_later),
        cmocka_unit_test(test_shard_fails),
        cmocka_unit_test(test_give_back_not_open),
        cmocka_unit_test(test_refresh_not_open),
        cmocka_unit_test(test_reply_room),
        cmocka_unit_test(test_answer_room),
        cmocka_unit_test(test_others_had_it),
        cmocka_unit_test(test_notes_are_bounded),
    };
    return cmocka_run_group_tests_name("undelivered", tests, NULL, NULL);
}
