/*
 * core/limits_test.c - concurrency limits on one shard, call by call: who gets a slot, who waits
 * where, who is next.
 */
#include <stdio.h>

#include "base/limits.h"
#include "base/test.h"
#include "core/core_rig_test.h"
#include "core/limit_calls_test.h"

static struct rig *open_ordered(enum dispatch_order order)
{
    struct rig *rig = open_with(&(struct rig_options){.seed = 1, .order = order});
    slots_watch(rig);
    return rig;
}

/* --- a chain --- */

static void test_one_limit(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "a", FIXED("q", 1));
    assert_int_equal(holders(rig, "q"), 1); /* the slot comes with the enqueue */
    LIMITED(rig, "b", FIXED("q", 1));
    assert_int_equal(waiters(rig, "q"), 1);
    const struct uuid task = lease_one(rig, "a");
    assert_int_equal(poll_empty(rig), 0);
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
    assert_int_equal(waiters(rig, "q"), 0);
    assert_int_equal(holders(rig, "q"), 1);
    (void)lease_one(rig, "b");
    end_job(rig, "b", ATTEMPT_SUCCEEDED);
    assert_int_equal(holders(rig, "q"), 0);
    assert_int_equal(drain(rig), 0);
    close_checked(rig);
}

static void test_chain_in_order(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "x", FIXED("q2", 1));
    LIMITED(rig, "a", FIXED("q1", 1), FIXED("q2", 1), FIXED("q3", 1));
    /* It stands before the second and holds the first alone. */
    assert_int_equal(holders(rig, "q1"), 1);
    assert_int_equal(waiters(rig, "q2"), 1);
    assert_int_equal(holders(rig, "q3"), 0);
    LIMITED(rig, "b", FIXED("q1", 1));
    assert_int_equal(waiters(rig, "q1"), 1);
    LIMITED(rig, "y", FIXED("q3", 1));
    (void)lease_one(rig, "x");
    end_job(rig, "x", ATTEMPT_SUCCEEDED);
    /* One further limit, and full again. */
    assert_int_equal(holders(rig, "q2"), 1);
    assert_int_equal(waiters(rig, "q3"), 1);
    assert_int_equal(status(rig, "a"), JOB_SCHEDULED);
    (void)lease_one(rig, "y");
    assert_int_equal(poll_empty(rig), 0); /* no run task before the last limit */
    end_job(rig, "y", ATTEMPT_SUCCEEDED);
    const struct uuid task = lease_one(rig, "a");
    assert_int_equal(rows_in(rig, TABLE_HOLDER), 3);
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
    assert_int_equal(rows_in(rig, TABLE_HOLDER), 1);
    (void)lease_one(rig, "b");
    end_job(rig, "b", ATTEMPT_SUCCEEDED);
    assert_int_equal(drain(rig), 0);
    close_checked(rig);
}

static void test_one_task_id(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "x", FIXED("q2", 1));
    LIMITED(rig, "a", FIXED("q1", 1), FIXED("q2", 1));
    (void)lease_one(rig, "x");
    end_job(rig, "x", ATTEMPT_SUCCEEDED);
    const struct uuid task = lease_one(rig, "a");
    struct key job;
    struct key ref;
    struct key key;
    key_job_ref(&job, BYTES_LIT(T), BYTES_LIT("a"));
    static const char *const queues[] = {"q1", "q2"};
    for (size_t i = 0; i < 2; i++) {
        key_queue_ref(&ref, job_ref_tenant(key_bytes(&job)), bytes_str(queues[i]));
        key_holder(&key, key_bytes(&ref), &task);
        assert_int_equal(holders(rig, queues[i]), 1);
    }
    slots_check(rig); /* holder keys name the lease's task id */
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
    assert_int_equal(drain(rig), 0);
    close_checked(rig);
}

static void test_ticket_takes_no_slot(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    for (int i = 0; i < 20; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "f%d", i);
        put_job(rig, JOB(.id = id, .start_ms = rig->wall_ms + 5000, .limits = {FIXED("q", 2)}));
    }
    assert_int_equal(holders(rig, "q"), 0);
    assert_int_equal(waiters(rig, "q"), 0);
    assert_int_equal(rows_in(rig, TABLE_TIMER), 20);
    LIMITED(rig, "now", FIXED("q", 2));
    (void)lease_one(rig, "now");
    end_job(rig, "now", ATTEMPT_SUCCEEDED);
    rig_pass(rig, 4999);
    assert_int_equal(holders(rig, "q"), 0);
    rig_pass(rig, 1);
    /* Nothing that cannot run stays among the due rows. */
    assert_int_equal(holders(rig, "q"), 2);
    assert_int_equal(waiters(rig, "q"), 18);
    assert_int_equal(rows_in(rig, TABLE_READY), 2);
    assert_int_equal(rows_in(rig, TABLE_TIMER), 0);
    assert_int_equal(drain(rig), 20);
    close_checked(rig);
}

/* --- who is next --- */

struct waiter {
    const char *id;
    uint8_t priority;
    int64_t start_ms;
};

static void check_order(enum dispatch_order order, const struct waiter *jobs, size_t count,
                        const char *const *expected)
{
    struct rig *rig = open_ordered(order);
    LIMITED(rig, "first", FIXED("q", 1));
    for (size_t i = 0; i < count; i++) {
        put_job(rig, JOB(.id = jobs[i].id, .priority = jobs[i].priority,
                         .start_ms = jobs[i].start_ms, .limits = {FIXED("q", 1)}));
    }
    assert_int_equal(waiters(rig, "q"), count);
    const struct uuid task = lease_one(rig, "first");
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
    for (size_t i = 0; i < count; i++) {
        const struct uuid next = lease_one(rig, expected[i]);
        assert_int_equal(poll_empty(rig), 0);
        assert_int_equal(report(rig, &next, ATTEMPT_SUCCEEDED), SILO_OK);
    }
    close_checked(rig);
}

static const struct waiter waiting_jobs[] = {
    {"late", 50, 3000}, {"low", 90, 1000},  {"mid2", 50, 2000},
    {"top", 0, 4000},   {"mid3", 50, 2000}, {"mid1", 50, 1000},
};

static void test_order_priority(void **state)
{
    (void)state;
    static const char *const expected[] = {"top", "mid1", "mid2", "mid3", "late", "low"};
    check_order(ORDER_PRIORITY, waiting_jobs, 6, expected);
}

static void test_order_start(void **state)
{
    (void)state;
    static const char *const expected[] = {"mid1", "low", "mid2", "mid3", "late", "top"};
    check_order(ORDER_START, waiting_jobs, 6, expected);
}

/* A ticket keeps its start when it becomes due: it stands before those enqueued later. */
static void test_ticket_keeps_place(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "x", FIXED("q", 1));
    put_job(rig, JOB(.id = "t", .start_ms = rig->wall_ms + 100, .limits = {FIXED("q", 1)}));
    rig_pass(rig, 200);
    LIMITED(rig, "later", FIXED("q", 1));
    (void)lease_one(rig, "x");
    end_job(rig, "x", ATTEMPT_SUCCEEDED);
    (void)lease_one(rig, "t");
    end_job(rig, "t", ATTEMPT_SUCCEEDED);
    (void)lease_one(rig, "later");
    end_job(rig, "later", ATTEMPT_SUCCEEDED);
    assert_int_equal(drain(rig), 0);
    close_checked(rig);
}

/*
 * Job rows are kept with the first waiters of each queue, and with the first alone once all of them
 * are too many bytes.
 */
static void test_rows_of_waiters_are_bounded(void **state)
{
    (void)state;
    enum { QUEUES = 80, JOBS = 20 };
    static char long_text[60001];
    memset(long_text, 'm', sizeof long_text - 1);
    struct rig *rig = open_watched();
    rig->on_batch = NULL; /* too many bytes to look at in every batch */
    for (uint32_t i = 0; i < QUEUES; i++) {
        char queue[16], name[16];
        (void)snprintf(queue, sizeof queue, "q%u", i);
        (void)snprintf(name, sizeof name, "j%u-", i);
        put_jobs(rig,
                 JOB(.id = name, .limits = {{.kind = LIMIT_FLOATING,
                                             .name = queue,
                                             .max = 1,
                                             .interval_ms = 1000000,
                                             .metadata = {"k", long_text}}}),
                 JOBS);
    }
    const struct core_stats stats = core_stats(rig_core(rig));
    assert_int_equal(rows_in(rig, TABLE_WAITER), QUEUES * (JOBS - 1));
    assert_true(stats.info_bytes <= SHARD_INFO_BYTES_MAX + QUEUES * 61000);
    close_checked(rig);
}

static void test_own_maximum(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "x1", FIXED("q", 5));
    LIMITED(rig, "x2", FIXED("q", 5));
    LIMITED(rig, "one", FIXED("q", 1)); /* an old small maximum waits ... */
    LIMITED(rig, "two", FIXED("q", 2));
    LIMITED(rig, "five1", FIXED("q", 5)); /* ... and holds up nobody with a larger one */
    LIMITED(rig, "five2", FIXED("q", 5));
    LIMITED(rig, "five3", FIXED("q", 5));
    assert_int_equal(holders(rig, "q"), 5);
    assert_int_equal(waiters(rig, "q"), 2);
    LIMITED(rig, "five4", FIXED("q", 5));
    assert_int_equal(waiters(rig, "q"), 3);
    struct uuid tasks[5];
    assert_int_equal(lease_some(rig, 5, tasks), 5);
    /* 5 holders -> 4: only five4 fits; then down to 1: two; then 0: one. */
    assert_int_equal(report(rig, &tasks[0], ATTEMPT_SUCCEEDED), SILO_OK);
    (void)lease_one(rig, "five4");
    for (int i = 1; i < 5; i++) {
        assert_int_equal(report(rig, &tasks[i], ATTEMPT_SUCCEEDED), SILO_OK);
    }
    assert_int_equal(holders(rig, "q"), 2); /* five4 and two */
    (void)lease_one(rig, "two");
    end_job(rig, "five4", ATTEMPT_SUCCEEDED);
    assert_int_equal(waiters(rig, "q"), 1);
    assert_int_equal(poll_empty(rig), 0);
    end_job(rig, "two", ATTEMPT_SUCCEEDED);
    (void)lease_one(rig, "one");
    end_job(rig, "one", ATTEMPT_SUCCEEDED);
    assert_int_equal(drain(rig), 0);
    close_checked(rig);
}

/*
 * A release and an arrival of one turn: whoever waited gets the slot, also when the arrival comes
 * first to the shard.
 */
static void test_no_overtaking(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "x", FIXED("q", 1));
    LIMITED(rig, "old", FIXED("q", 1));
    const struct uuid task = lease_one(rig, "x");
    struct call *done = report_call(&task, ATTEMPT_SUCCEEDED, "");
    struct call *arrival = job_call(JOB(.id = "new", .limits = {FIXED("q", 1)}));
    rig_send(rig, done);
    rig_send(rig, arrival);
    rig_settle(rig);
    assert_int_equal(done->cmd.rc.code, SILO_OK);
    assert_int_equal(arrival->cmd.rc.code, SILO_OK);
    rig_call_free(done);
    rig_call_free(arrival);
    (void)lease_one(rig, "old");
    assert_int_equal(poll_empty(rig), 0);
    end_job(rig, "old", ATTEMPT_SUCCEEDED);
    (void)lease_one(rig, "new");
    end_job(rig, "new", ATTEMPT_SUCCEEDED);
    close_checked(rig);
}

/* The same when the waiters have to be read first: until then the free slot is nobody's. */
static void test_no_overtaking_reopened(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "x", FIXED("q", 1));
    LIMITED(rig, "old", FIXED("q", 1));
    const struct uuid task = lease_one(rig, "x");
    reopen(rig);
    (void)totals(rig);
    assert_int_equal(status(rig, "old"), JOB_SCHEDULED);
    core_rig_hold(rig, RIG_SCAN);
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
    assert_int_equal(holders(rig, "q"), 0);
    assert_true(has_meta(rig, META_GRANT));
    put_job(rig, JOB(.id = "new", .limits = {FIXED("q", 1)}));
    put_job(rig, JOB(.id = "more", .limits = {FIXED("q", 5)}));
    assert_int_equal(holders(rig, "q"), 0);
    assert_int_equal(waiters(rig, "q"), 3);
    core_rig_hold(rig, 0);
    rig_pass(rig, 1000);
    assert_false(has_meta(rig, META_GRANT));
    assert_int_equal(waiters(rig, "q"), 1); /* "more" fits beside "old" */
    (void)lease_one(rig, "old");
    (void)lease_one(rig, "more");
    end_job(rig, "old", ATTEMPT_SUCCEEDED);
    end_job(rig, "more", ATTEMPT_SUCCEEDED);
    (void)lease_one(rig, "new");
    end_job(rig, "new", ATTEMPT_SUCCEEDED);
    close_checked(rig);
}

static void test_zero(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "a", FIXED("q", 0));
    LIMITED(rig, "b", FIXED("q", 1));
    assert_int_equal(holders(rig, "q"), 1);
    (void)lease_one(rig, "b");
    end_job(rig, "b", ATTEMPT_SUCCEEDED);
    rig_pass(rig, 100000);
    assert_int_equal(poll_empty(rig), 0);
    assert_int_equal(waiters(rig, "q"), 1);
    reopen(rig);
    assert_int_equal(poll_empty(rig), 0);
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a"), SILO_OK);
    assert_int_equal(drain(rig), 0);
    close_checked(rig);
}

/* Later jobs name other maxima; those who wait keep theirs. */
static void test_limit_changed(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    put_jobs(rig, JOB(.id = "a", .limits = {FIXED("q", 3)}), 5);
    assert_int_equal(holders(rig, "q"), 3);
    LIMITED(rig, "low", FIXED("q", 1)); /* lowered: nobody is evicted */
    assert_int_equal(holders(rig, "q"), 3);
    LIMITED(rig, "high", FIXED("q", 4)); /* raised */
    assert_int_equal(holders(rig, "q"), 4);
    assert_int_equal(waiters(rig, "q"), 3);
    assert_int_equal(drain(rig), 7);
    close_checked(rig);
}

/* --- one queue more than once --- */

static void test_same_queue_twice(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "a", FIXED("q", 1), FIXED("q", 1));
    assert_int_equal(holders(rig, "q"), 1);
    (void)lease_one(rig, "a");
    /* Against the smallest of its maxima. */
    LIMITED(rig, "b", FIXED("q", 5), FIXED("p", 1), FIXED("q", 1));
    assert_int_equal(waiters(rig, "q"), 1);
    assert_int_equal(holders(rig, "p"), 0);
    end_job(rig, "a", ATTEMPT_SUCCEEDED);
    assert_int_equal(holders(rig, "q"), 1);
    (void)lease_one(rig, "b");
    end_job(rig, "b", ATTEMPT_SUCCEEDED);
    assert_int_equal(drain(rig), 0);
    close_checked(rig);
}

static void test_fixed_and_floating(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    /* Both ways in one job: bounded by both. */
    LIMITED(rig, "a", FLOATS("q", 9, 60000), FIXED("q", 2));
    LIMITED(rig, "b", FIXED("q", 2), FLOATS("q", 9, 60000));
    LIMITED(rig, "c", FIXED("q", 2), FLOATS("q", 9, 60000));
    assert_int_equal(holders(rig, "q"), 2);
    assert_int_equal(waiters(rig, "q"), 1);
    /* In different jobs: each against its own, all slots count. */
    LIMITED(rig, "float", FLOATS("q", 9, 60000));
    assert_int_equal(holders(rig, "q"), 3);
    LIMITED(rig, "fixed", FIXED("q", 3));
    assert_int_equal(waiters(rig, "q"), 2);
    reopen(rig);
    struct uuid tasks[3];
    assert_int_equal(lease_some(rig, 3, tasks), 3);
    end_job(rig, "float", ATTEMPT_SUCCEEDED);
    assert_int_equal(holders(rig, "q"), 3); /* "fixed"; "c" waits for its own bound of 2 */
    assert_int_equal(waiters(rig, "q"), 1);
    (void)lease_one(rig, "fixed");
    end_job(rig, "fixed", ATTEMPT_SUCCEEDED);
    assert_int_equal(waiters(rig, "q"), 1);
    end_job(rig, "a", ATTEMPT_SUCCEEDED);
    (void)lease_one(rig, "c");
    end_job(rig, "b", ATTEMPT_SUCCEEDED);
    end_job(rig, "c", ATTEMPT_SUCCEEDED);
    assert_int_equal(drain(rig), 0);
    close_checked(rig);
}

static void test_tenants_apart(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "a", FIXED("q", 1));
    put_job(rig, JOB(.id = "a", .tenant = "t2", .limits = {FIXED("q", 1)}));
    put_job(rig, JOB(.id = "b", .tenant = "t2", .group = "g2", .limits = {FIXED("q", 1)}));
    assert_int_equal(holders(rig, "q"), 1);
    assert_int_equal(holders_of(rig, "t2", "q"), 1);
    assert_int_equal(waiters_of(rig, "t2", "q"), 1); /* shared across groups */
    struct uuid tasks[2];
    assert_int_equal(lease_some(rig, 2, tasks), 2);
    close_checked(rig);
}

/* --- cancel --- */

/*
 * "next" waits for the slot of "victim"; the cancel frees it and a parked poll has "next" in the
 * same batch.
 */
static void check_cancel(struct rig *rig)
{
    struct call *poll = poll_call(1, 60000);
    rig_send(rig, poll);
    rig_settle(rig);
    assert_false(poll->done);
    const uint64_t before = batches(rig);
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "victim"), SILO_OK);
    assert_int_equal(batches(rig), before + 1);
    assert_true(poll->done);
    assert_true(bytes_eq(poll_task(poll, 0)->job_id, BYTES_LIT("next")));
    rig_call_free(poll);
    assert_int_equal(status(rig, "victim"), JOB_CANCELLED);
}

static void test_cancel_ready(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    /* Of a group nobody polls. */
    put_job(rig, JOB(.id = "victim", .group = "other", .limits = {FIXED("q", 1)}));
    LIMITED(rig, "next", FIXED("q", 1));
    check_cancel(rig);
    close_checked(rig);
}

static void test_cancel_waiting(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    put_job(rig, JOB(.id = "x", .group = "other", .limits = {FIXED("p", 1)}));
    LIMITED(rig, "victim", FIXED("q", 1), FIXED("p", 1));
    LIMITED(rig, "next", FIXED("q", 1));
    assert_int_equal(waiters(rig, "p"), 1);
    check_cancel(rig);
    assert_int_equal(waiters(rig, "p"), 0);
    close_checked(rig);
}

/*
 * Refused by a rate limit it stands in line or, with an end to its retries, among the timers; its
 * slots stay with it.
 */
static void check_cancel_refused(bool in_line)
{
    struct rig *rig = open_watched();
    struct job_limit limit = RATE("r", 1, 1000000);
    limit.has_policy = !in_line;
    limit.initial_ms = 100000;
    limit.retries_max = 1;
    LIMITED(rig, "eats", limit);
    (void)lease_one(rig, "eats");
    LIMITED(rig, "victim", FIXED("q", 1), limit);
    assert_int_equal(poll_empty(rig), 0);
    assert_int_equal(rows_in(rig, TABLE_TIMER), in_line ? 0 : 1);
    assert_int_equal(rows_in(rig, TABLE_WAITER), in_line ? 1 : 0);
    LIMITED(rig, "next", FIXED("q", 1));
    assert_int_equal(holders(rig, "q"), 1);
    check_cancel(rig);
    close_checked(rig);
}

static void test_cancel_backoff(void **state)
{
    (void)state;
    check_cancel_refused(false);
    check_cancel_refused(true);
}

static void test_cancel_ticket(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    put_job(rig, JOB(.id = "victim", .start_ms = rig->wall_ms + 1000, .limits = {FIXED("q", 1)}));
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "victim"), SILO_OK);
    assert_int_equal(rows_in(rig, TABLE_TIMER), 0);
    rig_pass(rig, 2000);
    assert_int_equal(holders(rig, "q"), 0);
    assert_int_equal(drain(rig), 0);
    close_checked(rig);
}

static void test_cancel_running(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "a", FIXED("q", 1));
    LIMITED(rig, "b", FIXED("q", 1));
    (void)lease_one(rig, "a");
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a"), SILO_OK);
    assert_int_equal(poll_empty(rig), 0); /* its slot stays until it ends */
    assert_int_equal(holders(rig, "q"), 1);
    end_job(rig, "a", ATTEMPT_CANCELLED);
    assert_int_equal(status(rig, "a"), JOB_CANCELLED);
    (void)lease_one(rig, "b");
    rig_pass(rig, LEASE_MS); /* crashed */
    assert_int_equal(status(rig, "b"), JOB_FAILED);
    assert_int_equal(holders(rig, "q"), 0);
    close_checked(rig);
}

/* One that waits in front goes; those behind move up, and a later release finds no trace of it. */
static void test_cancel_in_line(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "x", FIXED("q", 1));
    LIMITED(rig, "a", FIXED("q", 1));
    LIMITED(rig, "b", FIXED("q", 1));
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a"), SILO_OK);
    assert_int_equal(waiters(rig, "q"), 1);
    (void)lease_one(rig, "x");
    end_job(rig, "x", ATTEMPT_SUCCEEDED);
    (void)lease_one(rig, "b");
    end_job(rig, "b", ATTEMPT_SUCCEEDED);
    assert_int_equal(drain(rig), 0);
    close_checked(rig);
}

/* --- retries --- */

static void test_retry_from_start(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    put_job(rig, JOB(.id = "a", .retries = 2, .retry_ms = 500,
                     .limits = {FIXED("q", 1), FIXED("p", 1)}));
    const struct uuid first = lease_one(rig, "a");
    assert_int_equal(report(rig, &first, ATTEMPT_FAILED), SILO_OK);
    assert_int_equal(rows_in(rig, TABLE_HOLDER), 0); /* nothing is held while it backs off */
    LIMITED(rig, "b", FIXED("q", 1));
    (void)lease_one(rig, "b");
    rig_pass(rig, 500);
    assert_int_equal(waiters(rig, "q"), 1); /* from the first limit again */
    assert_int_equal(poll_empty(rig), 0);
    end_job(rig, "b", ATTEMPT_SUCCEEDED);
    const struct uuid second = lease_one(rig, "a");
    assert_false(uuid_eq(&first, &second));
    assert_int_equal(rows_in(rig, TABLE_HOLDER), 2);
    assert_int_equal(report(rig, &second, ATTEMPT_SUCCEEDED), SILO_OK);
    assert_int_equal(status(rig, "a"), JOB_SUCCEEDED);
    assert_int_equal(drain(rig), 0);
    close_checked(rig);
}

/* A retry that is due at once goes behind those who wait, and holds one slot at most. */
static void test_retry_does_not_barge(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    put_job(rig, JOB(.id = "a", .retries = 3, .retry_ms = 0, .limits = {FIXED("q", 1)}));
    LIMITED(rig, "b", FIXED("q", 1));
    (void)lease_one(rig, "a");
    rig_pass(rig, 10);
    end_job(rig, "a", ATTEMPT_FAILED);
    assert_int_equal(holders(rig, "q"), 1);
    assert_int_equal(waiters(rig, "q"), 1);
    (void)lease_one(rig, "b");
    end_job(rig, "b", ATTEMPT_SUCCEEDED);
    const struct uuid task = lease_one(rig, "a");
    /* Alone, it takes its own slot again in the batch of its failure. */
    const uint64_t before = batches(rig);
    assert_int_equal(report(rig, &task, ATTEMPT_FAILED), SILO_OK);
    assert_int_equal(batches(rig), before + 1);
    assert_int_equal(holders(rig, "q"), 1);
    assert_int_equal(waiters(rig, "q"), 0);
    assert_int_equal(drain(rig), 1);
    close_checked(rig);
}

static void test_crash_releases(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    put_job(rig, JOB(.id = "a", .retries = 1, .retry_ms = 1000,
                     .limits = {FIXED("q", 1), FIXED("p", 1)}));
    LIMITED(rig, "b", FIXED("p", 1));
    (void)lease_one(rig, "a");
    rig_pass(rig, LEASE_MS);
    assert_int_equal(status(rig, "a"), JOB_SCHEDULED);
    assert_int_equal(holders(rig, "q"), 0);
    (void)lease_one(rig, "b");
    end_job(rig, "b", ATTEMPT_SUCCEEDED);
    assert_int_equal(drain(rig), 1);
    close_checked(rig);
}

/*
 * Its worker never heard of it: slots, place and attempt stay. If it did hear after all, it cannot
 * end what another one runs by then.
 */
static void test_give_back(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "a", FIXED("q", 1), FIXED("p", 1));
    LIMITED(rig, "b", FIXED("q", 1));
    const struct uuid task = lease_one(rig, "a");
    struct call *call = rig_call(CMD_GIVE_BACK, NULL, NULL);
    call->cmd.args.give_back = (struct give_back_args){.task_ids = &task, .count = 1};
    assert_int_equal(finish(rig, call), SILO_OK);
    assert_int_equal(rows_in(rig, TABLE_HOLDER), 2);
    assert_int_equal(waiters(rig, "q"), 1);
    const struct uuid again = lease_one(rig, "a");
    assert_false(uuid_eq(&task, &again));
    slots_check(rig);
    assert_int_equal(report(rig, &task, ATTEMPT_FAILED), SILO_NOT_FOUND);
    assert_int_equal(heartbeat(rig, &task, "w1"), SILO_NOT_FOUND);
    assert_int_equal(status(rig, "a"), JOB_RUNNING);
    end_job(rig, "a", ATTEMPT_SUCCEEDED);
    assert_int_equal(drain(rig), 1);
    close_checked(rig);
}

/* What it has passed is behind it: no better waiter has its slot, and it is no second hit. */
static void test_give_back_keeps(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    put_job(rig, JOB(.id = "a", .priority = 50, .limits = {FIXED("q", 1), RATE("r", 1, 3600000)}));
    const struct uuid task = lease_one(rig, "a");
    put_job(rig, JOB(.id = "urgent", .priority = 0, .limits = {FIXED("q", 1)}));
    struct call *call = rig_call(CMD_GIVE_BACK, NULL, NULL);
    call->cmd.args.give_back = (struct give_back_args){.task_ids = &task, .count = 1};
    assert_int_equal(finish(rig, call), SILO_OK);
    assert_int_equal(waiters(rig, "q"), 1);
    reopen(rig);
    const struct uuid again = lease_one(rig, "a");
    assert_false(uuid_eq(&task, &again));
    end_job(rig, "a", ATTEMPT_SUCCEEDED);
    (void)lease_one(rig, "urgent");
    end_job(rig, "urgent", ATTEMPT_SUCCEEDED);
    assert_int_equal(drain(rig), 0);
    close_checked(rig);
}

/* Its slot was dropped while it ran: back in its place it has none, and takes none. */
static void test_give_back_dropped(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "a", FIXED("q", 1), FIXED("p", 1));
    LIMITED(rig, "b", FIXED("q", 1));
    const struct uuid task = lease_one(rig, "a");
    assert_int_equal(drop_holders(rig, T), 2);
    assert_int_equal(holders(rig, "q"), 1); /* b's */
    struct call *call = rig_call(CMD_GIVE_BACK, NULL, NULL);
    call->cmd.args.give_back = (struct give_back_args){.task_ids = &task, .count = 1};
    assert_int_equal(finish(rig, call), SILO_OK);
    assert_int_equal(rows_in(rig, TABLE_HOLDER), 1);
    (void)lease_one(rig, "a");
    end_job(rig, "a", ATTEMPT_SUCCEEDED);
    (void)lease_one(rig, "b");
    end_job(rig, "b", ATTEMPT_SUCCEEDED);
    close_checked(rig);
}

/* --- hand-over --- */

static void test_one_batch(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "a", FIXED("q", 1));
    LIMITED(rig, "b", FIXED("q", 1));
    const struct uuid task = lease_one(rig, "a");
    struct call *poll = poll_call(1, 60000);
    rig_send(rig, poll);
    rig_settle(rig);
    assert_false(poll->done);
    const uint64_t before = batches(rig);
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
    assert_int_equal(batches(rig), before + 1); /* release, grant, lease */
    assert_true(poll->done);
    assert_true(bytes_eq(poll_task(poll, 0)->job_id, BYTES_LIT("b")));
    rig_call_free(poll);
    assert_int_equal(status(rig, "b"), JOB_RUNNING);
    close_checked(rig);
}

/* One slot, and every wish for it ends: the line moves on by itself. */
static void test_many_waiters(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    put_jobs(rig, JOB(.id = "a", .limits = {FIXED("q", 3)}), 50);
    for (uint32_t i = 0; i < 50; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "a%u", i);
        (void)lease_one(rig, id);
        assert_int_equal(holders(rig, "q"), i < 48 ? 3 : 50 - i);
        end_job(rig, id, ATTEMPT_SUCCEEDED);
    }
    assert_int_equal(drain(rig), 0);
    close_checked(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_limit),
        cmocka_unit_test(test_chain_in_order),
        cmocka_unit_test(test_one_task_id),
        cmocka_unit_test(test_ticket_takes_no_slot),
        cmocka_unit_test(test_order_priority),
        cmocka_unit_test(test_order_start),
        cmocka_unit_test(test_ticket_keeps_place),
        cmocka_unit_test(test_rows_of_waiters_are_bounded),
        cmocka_unit_test(test_own_maximum),
        cmocka_unit_test(test_no_overtaking),
        cmocka_unit_test(test_no_overtaking_reopened),
        cmocka_unit_test(test_zero),
        cmocka_unit_test(test_limit_changed),
        cmocka_unit_test(test_same_queue_twice),
        cmocka_unit_test(test_fixed_and_floating),
        cmocka_unit_test(test_tenants_apart),
        cmocka_unit_test(test_cancel_ready),
        cmocka_unit_test(test_cancel_waiting),
        cmocka_unit_test(test_cancel_backoff),
        cmocka_unit_test(test_cancel_ticket),
        cmocka_unit_test(test_cancel_running),
        cmocka_unit_test(test_cancel_in_line),
        cmocka_unit_test(test_retry_from_start),
        cmocka_unit_test(test_retry_does_not_barge),
        cmocka_unit_test(test_crash_releases),
        cmocka_unit_test(test_give_back),
        cmocka_unit_test(test_give_back_keeps),
        cmocka_unit_test(test_give_back_dropped),
        cmocka_unit_test(test_one_batch),
        cmocka_unit_test(test_many_waiters),
    };
    return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}
