/*
 * core/rates_test.c - rate limits on one shard: those it answers itself, from buckets of its own,
 * and those that a limiter outside answers, late, badly or never.
 */
#include <stdio.h>

#include "base/limits.h"
#include "base/test.h"
#include "core/bucket.h"
#include "core/core_rig_test.h"
#include "core/limit_calls_test.h"

#define HOUR_MS 3600000

static int64_t due_of(struct rig *rig, const char *id)
{
    struct call *call = get(rig, id);
    const struct job_view *job = &call->cmd.result.job;
    assert_int_equal(job->status, JOB_SCHEDULED);
    const int64_t due_ms = job->has_state ? job->state.due_ms : job->info.due_ms;
    rig_call_free(call);
    return due_ms;
}

static const struct job_limit strict = {.kind = LIMIT_RATE,
                                        .name = "r",
                                        .limit = 1,
                                        .duration_ms = HOUR_MS,
                                        .has_policy = true,
                                        .initial_ms = 100,
                                        .backoff_max_ms = 1000,
                                        .multiplier = 3,
                                        .retries_max = 3};

/* Another job takes what the limit allows. */
static void use_up(struct rig *rig)
{
    put_job(rig, JOB(.id = "eats", .limits = {strict}));
    (void)lease_one(rig, "eats");
    end_job(rig, "eats", ATTEMPT_SUCCEEDED);
}

/* --- the shard's own limiter --- */

static void test_pass(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    put_jobs(rig, JOB(.id = "a", .limits = {RATE("r", 3, 5000)}), 5);
    struct uuid tasks[5];
    assert_int_equal(lease_some(rig, 5, tasks), 3);
    assert_int_equal(rows_in(rig, TABLE_WAITER), 2);
    rig_pass(rig, 4999);
    assert_int_equal(poll_empty(rig), 0);
    rig_pass(rig, 1); /* when the limiter lets hits through again */
    assert_int_equal(lease_some(rig, 5, tasks), 2);
    close_checked(rig);
}

/* It stays a ticket until its start, and is not asked about before. */
static void test_future(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    put_job(rig, JOB(.id = "t", .start_ms = rig->wall_ms + 10000, .limits = {strict}));
    assert_int_equal(poll_empty(rig), 0);
    use_up(rig);
    rig_pass(rig, 10000);
    assert_int_equal(poll_empty(rig), 0); /* the other one had the hit */
    assert_int_equal(status(rig, "t"), JOB_SCHEDULED);
    close_checked(rig);
}

static void test_back_off(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    use_up(rig);
    put_job(rig, JOB(.id = "a", .limits = {strict}));
    static const int64_t delays[] = {100, 300, 900};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(poll_empty(rig), 0);
        assert_int_equal(due_of(rig, "a"), rig->wall_ms + delays[i]);
        rig_pass(rig, delays[i] - 1);
        assert_int_equal(rows_in(rig, TABLE_READY), 0);
        rig_pass(rig, 1);
        assert_int_equal(rows_in(rig, TABLE_READY), 1);
    }
    close_checked(rig);
}

static void test_back_off_is_capped(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    use_up(rig);
    struct job_limit limit = strict;
    limit.retries_max = 100;
    put_job(rig, JOB(.id = "a", .limits = {limit}));
    for (int i = 0; i < 30; i++) {
        assert_int_equal(poll_empty(rig), 0);
        const int64_t delay = due_of(rig, "a") - rig->wall_ms;
        assert_true(delay >= 1 && delay <= 1000);
        assert_true(i < 3 || delay == 1000);
        rig_pass(rig, delay);
    }
    close_checked(rig);
}

static void test_exhausted(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    use_up(rig);
    put_job(rig, JOB(.id = "a", .retries = 5, .limits = {FIXED("q", 1), strict}));
    LIMITED(rig, "b", FIXED("q", 1));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(poll_empty(rig), 0);
        assert_int_equal(holders(rig, "q"), 1); /* its slot stays in back-off */
        assert_int_equal(waiters(rig, "q"), 1);
        rig_pass(rig, 1000);
    }
    (void)lease_one(rig, "b"); /* in the batch in which the job fails */
    struct call *call = get(rig, "a");
    const struct job_view *job = &call->cmd.result.job;
    assert_int_equal(job->status, JOB_FAILED);
    assert_true(bytes_eq(job->state.final.outcome.error_code, BYTES_LIT("RATE_LIMIT_EXCEEDED")));
    assert_false(job->state.by_attempt);
    assert_int_equal(job->attempt_count, 0);
    assert_int_equal(job->data.ptr[0], 0xda); /* MessagePack str 16 */
    assert_int_equal(((size_t)job->data.ptr[1] << 8 | job->data.ptr[2]) + 3, job->data.len);
    rig_call_free(call);
    assert_int_equal(totals(rig).failed, 1);
    end_job(rig, "b", ATTEMPT_SUCCEEDED);
    /* It can be started again, with its whole budget, and be deleted. */
    assert_int_equal(on_job(rig, CMD_RESTART_JOB, "a"), SILO_OK);
    assert_int_equal(poll_empty(rig), 0);
    assert_int_equal(status(rig, "a"), JOB_SCHEDULED);
    rig_pass(rig, HOUR_MS);
    struct call *poll = poll_call(1, 0);
    rig_do(rig, poll);
    assert_int_equal(poll_task(poll, 0)->attempt, 1);
    rig_call_free(poll);
    end_job(rig, "a", ATTEMPT_SUCCEEDED);
    assert_int_equal(on_job(rig, CMD_DELETE_JOB, "a"), SILO_OK);
    assert_int_equal(drain(rig), 0);
    close_checked(rig);
}

/* Concurrency, rate, concurrency: each in its turn, with what was taken before. */
static void test_chain(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "x", FIXED("p", 1));
    LIMITED(rig, "a", FIXED("q", 1), RATE("r", 1, 5000), FIXED("p", 1));
    LIMITED(rig, "b", FIXED("q", 1), RATE("r", 1, 5000), FIXED("p", 1));
    assert_int_equal(holders(rig, "q"), 1);
    assert_int_equal(waiters(rig, "q"), 1);
    (void)lease_one(rig, "x");
    assert_int_equal(poll_empty(rig), 0); /* asked, passed, and full behind it */
    assert_int_equal(waiters(rig, "p"), 1);
    end_job(rig, "x", ATTEMPT_SUCCEEDED);
    (void)lease_one(rig, "a"); /* not asked a second time */
    assert_int_equal(rows_in(rig, TABLE_HOLDER), 2);
    end_job(rig, "a", ATTEMPT_SUCCEEDED);
    assert_int_equal(poll_empty(rig), 0);
    assert_int_equal(holders(rig, "q"), 1);
    assert_int_equal(holders(rig, "p"), 0);
    rig_pass(rig, 5000);
    (void)lease_one(rig, "b");
    end_job(rig, "b", ATTEMPT_SUCCEEDED);
    assert_int_equal(drain(rig), 0);
    close_checked(rig);
}

/* A job that fails is asked about again: each run is a hit. */
static void test_retry_is_a_hit(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    put_job(rig, JOB(.id = "a", .retries = 3, .limits = {RATE("r", 2, 5000)}));
    for (int i = 0; i < 2; i++) {
        (void)lease_one(rig, "a");
        end_job(rig, "a", ATTEMPT_FAILED);
        rig_pass(rig, 1);
    }
    assert_int_equal(poll_empty(rig), 0);
    rig_pass(rig, 5000);
    (void)lease_one(rig, "a");
    close_checked(rig);
}

struct bucket_seen {
    size_t count;
    struct bucket bucket;
};

static void bucket_see(void *context, struct bytes key, struct bytes value)
{
    struct bucket_seen *seen = context;
    if (key.ptr[0] == TABLE_LIMITER) {
        assert_true(bucket_decode(value, &seen->bucket));
        seen->count++;
    }
}

/* Hits left of the one bucket there is. */
static int64_t hits_left(struct rig *rig)
{
    struct bucket_seen seen = {0};
    rig_each_row(rig, bucket_see, &seen);
    assert_int_equal(seen.count, 1);
    return (int64_t)seen.bucket.remaining;
}

/* A backlog does not buy its hits early. */
static void test_on_demand(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    put_jobs(rig, JOB(.id = "a", .limits = {RATE("r", 100000, HOUR_MS)}), 1000);
    assert_int_equal(rows_in(rig, TABLE_LIMITER), 0);
    struct uuid tasks[4];
    assert_int_equal(lease_some(rig, 4, tasks), 4);
    assert_int_equal(hits_left(rig), 100000 - 4);
    assert_int_equal(lease_some(rig, 1, tasks), 1);
    assert_int_equal(hits_left(rig), 100000 - 5);
    close_checked(rig);
}

static void test_buckets_survive(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    put_jobs(rig, JOB(.id = "a", .limits = {RATE("r", 5, HOUR_MS)}), 10);
    struct uuid tasks[10];
    assert_int_equal(lease_some(rig, 3, tasks), 3);
    reopen(rig);
    assert_int_equal(hits_left(rig), 2);
    assert_int_equal(lease_some(rig, 10, tasks), 2);
    reopen(rig);
    assert_int_equal(lease_some(rig, 10, tasks), 0);
    close_checked(rig);
}

/* Hits of a batch that was lost are lost with it; no job runs without its hit. */
static void test_hits_and_leases_together(void **state)
{
    (void)state;
    for (uint64_t turns = 0; turns < 12; turns++) {
        struct rig *rig = open_with(&(struct rig_options){.seed = 1, .manual = true});
        put_jobs(rig, JOB(.id = "a", .limits = {RATE("r", 50, HOUR_MS)}), 10);
        struct call *poll = poll_call(4, 0);
        rig_send(rig, poll);
        for (uint64_t i = 0; i < turns; i++) {
            (void)rig_step(rig);
        }
        rig_kill(rig, turns % 2 == 0 ? RIG_LOSE : RIG_KEEP_ALL);
        rig_call_free(poll);
        rig_start(rig);
        rig_settle(rig);
        const uint32_t running = rows_in(rig, TABLE_LEASE);
        const bool any = rows_in(rig, TABLE_LIMITER) != 0;
        assert_int_equal(any ? 50 - hits_left(rig) : 0, running);
        close_checked(rig);
    }
}

/* Buckets that have refilled leave no row for ever. */
static void test_buckets_swept(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "a", RATE("r", 5, 1000), RATE("s", 5, 5 * BUCKET_SWEEP_MS));
    (void)lease_one(rig, "a");
    end_job(rig, "a", ATTEMPT_SUCCEEDED);
    assert_int_equal(rows_in(rig, TABLE_LIMITER), 2);
    rig_pass(rig, 3 * BUCKET_SWEEP_MS);
    assert_int_equal(rows_in(rig, TABLE_LIMITER), 1);
    rig_pass(rig, 4 * BUCKET_SWEEP_MS); /* what one sweep leaves is looked at by a later one */
    assert_int_equal(rows_in(rig, TABLE_LIMITER), 0);
    close_checked(rig);
}

/* --- operators, while it backs off --- */

static void test_expedite_back_off(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "eats", RATE("r", 1, 20000));
    (void)lease_one(rig, "eats");
    end_job(rig, "eats", ATTEMPT_SUCCEEDED);
    struct job_limit limit = RATE("r", 1, 20000);
    limit.has_policy = true;
    limit.backoff_max_ms = 30000;
    limit.retries_max = 9;
    LIMITED(rig, "a", FIXED("q", 1), limit);
    assert_int_equal(poll_empty(rig), 0);
    assert_int_equal(due_of(rig, "a"), rig->wall_ms + 20000); /* its start moves with it */
    rig_pass(rig, 1000);
    assert_int_equal(expedite(rig, "a"), SILO_OK);
    assert_int_equal(due_of(rig, "a"), rig->wall_ms);
    assert_int_equal(holders(rig, "q"), 1);
    assert_int_equal(poll_empty(rig), 0); /* asked at once, refused again */
    reopen(rig);
    assert_int_equal(due_of(rig, "a"), rig->wall_ms + 19000);
    rig_pass(rig, 19000);
    (void)lease_one(rig, "a");
    end_job(rig, "a", ATTEMPT_SUCCEEDED);
    assert_int_equal(drain(rig), 0);
    close_checked(rig);
}

static void test_lease_this_back_off(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    use_up(rig);
    put_job(rig, JOB(.id = "a", .limits = {FIXED("q", 1), strict, FIXED("p", 1)}));
    LIMITED(rig, "b", FIXED("q", 1));
    assert_int_equal(poll_empty(rig), 0);
    const struct uuid task = lease_this(rig, "a");
    assert_int_equal(rows_in(rig, TABLE_TIMER), 0);
    assert_int_equal(rows_in(rig, TABLE_HOLDER), 1); /* what it held, and nothing ahead */
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
    (void)lease_one(rig, "b");
    end_job(rig, "b", ATTEMPT_SUCCEEDED);
    assert_int_equal(drain(rig), 0);
    close_checked(rig);
}

/* Cancelled in back-off and started again: what is left of the first run passes for nobody. */
static void test_cancel_restart(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    use_up(rig);
    put_job(rig, JOB(.id = "a", .limits = {FIXED("q", 1), strict}));
    assert_int_equal(poll_empty(rig), 0);
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a"), SILO_OK);
    assert_int_equal(rows_in(rig, TABLE_HOLDER), 0);
    assert_int_equal(rows_in(rig, TABLE_TIMER), 0);
    assert_int_equal(on_job(rig, CMD_RESTART_JOB, "a"), SILO_OK);
    assert_int_equal(rows_in(rig, TABLE_HOLDER), 1);
    assert_int_equal(poll_empty(rig), 0);
    assert_int_equal(due_of(rig, "a"), rig->wall_ms + 100); /* the first back-off again */
    close_checked(rig);
}

/* --- a limiter outside --- */

static struct call *send_poll(struct rig *rig, uint32_t tasks_max, uint32_t wait_ms)
{
    struct call *poll = poll_call(tasks_max, wait_ms);
    rig_send(rig, poll);
    rig_settle(rig);
    return poll;
}

static void test_outside_passes(void **state)
{
    (void)state;
    struct fake_limiter fake;
    struct rig *rig = open_outside(&fake);
    LIMITED(rig, "a", FIXED("q", 1), RATE("r", 7, 60000));
    assert_int_equal(fake.asked, 0);
    struct call *poll = send_poll(rig, 1, 60000);
    assert_false(poll->done);
    assert_int_equal(fake_waiting(&fake), 1);
    const struct core_check *check = fake_oldest(&fake);
    assert_true(bytes_eq(check->name, BYTES_LIT("r")) &&
                bytes_eq(check->unique_key, BYTES_LIT("r")));
    assert_int_equal(check->limit, 7);
    assert_int_equal(check->hits, 1);
    assert_int_equal(check->duration_ms, 60000);
    fake_answer(&fake, "r", VERDICT_UNDER, 0);
    rig_settle(rig);
    assert_true(poll->done);
    assert_int_equal(poll_count(poll), 1);
    rig_call_free(poll);
    end_job(rig, "a", ATTEMPT_SUCCEEDED);
    assert_int_equal(fake.asked, 1);
    assert_int_equal(drain(rig), 0);
    close_checked(rig);
}

static void test_outside_resets(void **state)
{
    (void)state;
    struct fake_limiter fake;
    struct rig *rig = open_outside(&fake);
    put_job(rig, JOB(.id = "a", .limits = {strict}));
    const int64_t resets[] = {rig->wall_ms + 777, 0, rig->wall_ms - 1, INT64_MAX};
    static const int64_t delays[] = {777, 300, 900};
    for (size_t i = 0; i < 3; i++) {
        struct call *poll = send_poll(rig, 1, 60000);
        fake_answer(&fake, NULL, VERDICT_OVER, resets[i]);
        rig_settle(rig);
        assert_int_equal(due_of(rig, "a"), rig->wall_ms + delays[i]);
        rig_pass(rig, delays[i]);
        assert_int_equal(fake_waiting(&fake), 1); /* the poll is still there */
        struct call *stop = rig_call(CMD_POLL_STOP, NULL, NULL);
        stop->cmd.args.poll_stop.poll = poll->sent;
        assert_int_equal(finish(rig, stop), SILO_OK);
        rig_call_free(poll);
    }
    fake_answer(&fake, NULL, VERDICT_OVER, resets[3]);
    rig_settle(rig);
    assert_int_equal(status(rig, "a"), JOB_FAILED);
    assert_int_equal(fake.asked, 4);
    close_checked(rig);
}

/* An error is no pass, and no refusal either. */
static void test_outside_errors(void **state)
{
    (void)state;
    struct fake_limiter fake;
    struct rig *rig = open_outside(&fake);
    put_job(rig, JOB(.id = "a", .limits = {FIXED("q", 1), strict}));
    for (int i = 0; i < 20; i++) {
        struct call *poll = send_poll(rig, 1, 0);
        fake_answer(&fake, NULL, VERDICT_ERROR, 0);
        rig_settle(rig);
        assert_true(poll->done);
        assert_int_equal(poll_count(poll), 0);
        rig_call_free(poll);
        assert_int_equal(due_of(rig, "a"), rig->wall_ms + 100); /* the same each time */
        assert_int_equal(holders(rig, "q"), 1);
        rig_pass(rig, 100);
    }
    for (int i = 0; i < 4; i++) { /* all its retries are there */
        assert_int_equal(status(rig, "a"), JOB_SCHEDULED);
        struct call *poll = send_poll(rig, 1, 0);
        fake_answer(&fake, NULL, VERDICT_OVER, 0);
        rig_settle(rig);
        rig_call_free(poll);
        rig_pass(rig, 1000);
    }
    assert_int_equal(status(rig, "a"), JOB_FAILED);
    assert_int_equal(holders(rig, "q"), 0);
    close_checked(rig);
}

/* A limiter that does not answer holds up neither other jobs nor polls. */
static void test_outside_silent(void **state)
{
    (void)state;
    struct fake_limiter fake;
    struct rig *rig = open_outside(&fake);
    put_job(rig, JOB(.id = "slow", .limits = {RATE("r", 1, 1000)}));
    put_job(rig, JOB(.id = "plain", .priority = 50));
    struct call *poll = send_poll(rig, 2, 0);
    assert_true(poll->done); /* with what there is, at once */
    assert_int_equal(poll_count(poll), 1);
    assert_true(bytes_eq(poll_task(poll, 0)->job_id, BYTES_LIT("plain")));
    rig_call_free(poll);
    end_job(rig, "plain", ATTEMPT_SUCCEEDED);
    assert_int_equal(fake.asked, 1);
    poll = send_poll(rig, 1, 0);
    assert_false(poll->done);
    rig_pass(rig, POLL_CHECKS_MS - 1);
    assert_false(poll->done);
    rig_pass(rig, 1);
    assert_true(poll->done);
    assert_int_equal(poll_count(poll), 0);
    rig_call_free(poll);
    assert_int_equal(fake.asked, 1); /* one question, however many polls */
    put_job(rig, JOB(.id = "late", .priority = 99));
    (void)lease_one(rig, "late");
    end_job(rig, "late", ATTEMPT_SUCCEEDED);
    /* The answer comes while nobody polls: the next one has the job. */
    fake_answer(&fake, NULL, VERDICT_UNDER, 0);
    rig_settle(rig);
    (void)lease_one(rig, "slow");
    end_job(rig, "slow", ATTEMPT_SUCCEEDED);
    assert_int_equal(drain(rig), 0);
    close_checked(rig);
}

static void test_outside_on_demand(void **state)
{
    (void)state;
    struct fake_limiter fake;
    struct rig *rig = open_outside(&fake);
    put_jobs(rig, JOB(.id = "a", .limits = {RATE("r", 1000000, HOUR_MS)}), 1000);
    assert_int_equal(fake.asked, 0);
    struct call *first = send_poll(rig, 4, 60000);
    assert_int_equal(fake.asked, 4);
    struct call *second = send_poll(rig, 3, 60000);
    assert_int_equal(fake.asked, 7);
    rig_pass(rig, 5000);
    assert_int_equal(fake.asked, 7);
    fake_answer_all(&fake, VERDICT_UNDER);
    rig_settle(rig);
    assert_true(first->done && second->done);
    assert_int_equal(poll_count(first) + poll_count(second), 7);
    assert_int_equal(fake.asked, 7);
    rig_call_free(first);
    rig_call_free(second);
    close_checked(rig);
}

static void test_outside_after_cancel(void **state)
{
    (void)state;
    struct fake_limiter fake;
    struct rig *rig = open_outside(&fake);
    LIMITED(rig, "a", FIXED("q", 1), RATE("r", 1, 1000));
    struct call *poll = send_poll(rig, 1, 60000);
    assert_int_equal(fake_waiting(&fake), 1);
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a"), SILO_OK);
    assert_int_equal(holders(rig, "q"), 0);
    assert_int_equal(on_job(rig, CMD_RESTART_JOB, "a"), SILO_OK);
    rig_settle(rig);
    assert_int_equal(holders(rig, "q"), 1);
    fake_answer(&fake, NULL, VERDICT_UNDER, 0); /* to the question about the first run */
    rig_settle(rig);
    assert_false(poll->done);
    assert_int_equal(status(rig, "a"), JOB_SCHEDULED);
    assert_int_equal(fake.asked, 2); /* the second run is asked about by itself */
    fake_answer(&fake, NULL, VERDICT_UNDER, 0);
    rig_settle(rig);
    assert_true(poll->done);
    assert_int_equal(poll_count(poll), 1);
    rig_call_free(poll);
    end_job(rig, "a", ATTEMPT_SUCCEEDED);
    /* Deleted before the answer. */
    LIMITED(rig, "b", RATE("r", 1, 1000));
    poll = send_poll(rig, 1, 1000);
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "b"), SILO_OK);
    assert_int_equal(on_job(rig, CMD_DELETE_JOB, "b"), SILO_OK);
    fake_answer(&fake, NULL, VERDICT_UNDER, 0);
    rig_pass(rig, 1000);
    assert_int_equal(poll_count(poll), 0);
    rig_call_free(poll);
    assert_int_equal(drain(rig), 0);
    close_checked(rig);
}

/* The process dies while questions are out; retries that were used are not forgotten. */
static void test_outside_killed(void **state)
{
    (void)state;
    struct fake_limiter fake;
    struct rig *rig = open_outside(&fake);
    put_job(rig, JOB(.id = "a", .limits = {FIXED("q", 1), strict}));
    for (int i = 0; i < 4; i++) {
        struct call *poll = send_poll(rig, 1, 60000);
        assert_int_equal(fake_waiting(&fake), 1);
        fake_answer(&fake, NULL, VERDICT_UNDER, 0); /* on its way when the process dies */
        rig_kill(rig, RIG_LOSE);
        rig_call_free(poll);
        rig_start(rig);
        rig_settle(rig);
        slots_check(rig);
        assert_int_equal(holders(rig, "q"), 1);
        poll = send_poll(rig, 1, 0);
        fake_answer(&fake, NULL, VERDICT_OVER, 0);
        rig_settle(rig);
        rig_call_free(poll);
        rig_pass(rig, 1000);
    }
    assert_int_equal(status(rig, "a"), JOB_FAILED);
    assert_int_equal(drain(rig), 0);
    close_checked(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pass),
        cmocka_unit_test(test_future),
        cmocka_unit_test(test_back_off),
        cmocka_unit_test(test_back_off_is_capped),
        cmocka_unit_test(test_exhausted),
        cmocka_unit_test(test_chain),
        cmocka_unit_test(test_retry_is_a_hit),
        cmocka_unit_test(test_on_demand),
        cmocka_unit_test(test_buckets_survive),
        cmocka_unit_test(test_hits_and_leases_together),
        cmocka_unit_test(test_buckets_swept),
        cmocka_unit_test(test_expedite_back_off),
        cmocka_unit_test(test_lease_this_back_off),
        cmocka_unit_test(test_cancel_restart),
        cmocka_unit_test(test_outside_passes),
        cmocka_unit_test(test_outside_resets),
        cmocka_unit_test(test_outside_errors),
        cmocka_unit_test(test_outside_silent),
        cmocka_unit_test(test_outside_on_demand),
        cmocka_unit_test(test_outside_after_cancel),
        cmocka_unit_test(test_outside_killed),
    };
    return cmocka_run_group_tests_name("rates", tests, NULL, NULL);
}
