/* core/pending_test.c - why a job does not run: each cause, with the numbers that go with it. */
#include <stdio.h>

#include "base/limits.h"
#include "base/test.h"
#include "core/core_rig_test.h"
#include "core/limit_calls_test.h"

#define HOUR_MS 3600000

/* What GetJob says of it; byte strings live until the next question. */
static const struct job_pending *why(struct rig *rig, const char *id)
{
    static struct call *asked;
    asked = asked != NULL ? rig_call_free(asked) : NULL;
    if (id == NULL) {
        return NULL;
    }
    asked = rig_call(CMD_GET_JOB, T, id);
    rig_do(rig, asked);
    assert_int_equal(asked->cmd.rc.code, SILO_OK);
    return &asked->cmd.result.job.pending;
}

static void close_rig(struct rig *rig)
{
    (void)why(rig, NULL);
    close_all(rig);
}

static void assert_ahead(const struct job_pending *p, uint32_t ahead, bool more)
{
    assert_true(p->has_ahead);
    assert_int_equal(p->ahead, ahead);
    assert_int_equal(p->ahead_more, more);
}

static void assert_text(struct bytes text, const char *expected)
{
    assert_true(bytes_eq(text, bytes_str(expected)));
}

/* --- time --- */

static void test_start(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    const int64_t start_ms = rig->wall_ms + HOUR_MS;
    put_job(rig, JOB(.id = "a", .start_ms = start_ms, .limits = {FIXED("q", 1)}));
    const struct job_pending *p = why(rig, "a");
    assert_int_equal(p->cause, PENDING_START);
    assert_int_equal(p->until_ms, start_ms);
    assert_int_equal(p->attempt, 1);
    assert_null(p->limit.ptr); /* its limits come later */
    reopen(rig);
    assert_int_equal(why(rig, "a")->cause, PENDING_START);
    close_rig(rig);
}

static void test_retry(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    enqueue_retrying(rig, "a", 3, 1000);
    const struct uuid task = lease_one(rig, "a");
    assert_int_equal(why(rig, "a")->cause, PENDING_NONE); /* it runs */
    assert_int_equal(report(rig, &task, ATTEMPT_FAILED), SILO_OK);
    const struct job_pending *p = why(rig, "a");
    assert_int_equal(p->cause, PENDING_RETRY);
    assert_int_equal(p->until_ms, rig->wall_ms + 1000);
    assert_int_equal(p->attempt, 2);
    assert_int_equal(p->retry, 1);
    rig_pass(rig, 1000);
    assert_int_not_equal(why(rig, "a")->cause, PENDING_RETRY);
    close_rig(rig);
}

/* --- slots --- */

static void test_slot(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    LIMITED(rig, "a", FIXED("q", 2));
    LIMITED(rig, "b", FIXED("q", 2));
    LIMITED(rig, "c", FIXED("q", 2));
    put_job(rig, JOB(.id = "d", .priority = 9, .limits = {FIXED("q", 1)}));
    const struct job_pending *p = why(rig, "d");
    assert_int_equal(p->cause, PENDING_SLOT);
    assert_text(p->limit, "q");
    assert_int_equal(p->maximum, 1);
    assert_int_equal(p->holders, 2);
    assert_int_equal(p->holder_id_count, 2);
    assert_text(p->holder_ids[0], "a");
    assert_text(p->holder_ids[1], "b");
    assert_ahead(p, 1, false); /* in another line of the queue, but before it */
    assert_int_equal(p->in_line, 2);
    assert_ahead(why(rig, "c"), 0, false);
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "c"), SILO_OK);
    assert_ahead(why(rig, "d"), 0, false);
    close_rig(rig);
}

/*
 * Whoever asks for a larger maximum goes first, one of a smaller one behind this job though it came
 * before.
 */
static void test_slot_maxima_differ(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    LIMITED(rig, "a", FIXED("q", 2));
    LIMITED(rig, "b", FIXED("q", 2));
    LIMITED(rig, "never", FIXED("q", 0));
    LIMITED(rig, "small", FIXED("q", 1));
    LIMITED(rig, "c", FIXED("q", 2));
    LIMITED(rig, "d", FIXED("q", 2));
    assert_ahead(why(rig, "c"), 0, false);
    assert_int_equal(why(rig, "c")->in_line, 4);
    assert_ahead(why(rig, "small"), 2, false); /* d as well, which came later */
    assert_ahead(why(rig, "never"), 3, false);
    reopen(rig);
    assert_ahead(why(rig, "small"), 2,
                 false); /* alone among those of its maximum: nothing has to be read */
    (void)why(rig, "c");
    rig_settle(rig);
    assert_ahead(why(rig, "c"), 0, false);
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a"), SILO_OK);
    assert_int_equal(why(rig, "c")->cause, PENDING_NO_WORKER); /* it went first, indeed */
    assert_int_equal(why(rig, "small")->cause, PENDING_SLOT);
    assert_ahead(why(rig, "small"), 1, false);
    close_rig(rig);
}

/* Two lines whose jobs take turns by their places, neither in memory after an open. */
static void test_slot_equal_maxima(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    LIMITED(rig, "a", FLOATS("f", 1, HOUR_MS));
    LIMITED(rig, "b", FLOATS("f", 1, HOUR_MS));
    LIMITED(rig, "c", FIXED("f", 1));
    assert_ahead(why(rig, "b"), 0, false);
    assert_ahead(why(rig, "c"), 1, false);
    reopen(rig);
    assert_false(why(rig, "b")->has_ahead); /* "c" may stand before it */
    rig_settle(rig);
    assert_ahead(why(rig, "b"), 0, false);
    (void)why(rig, "c");
    rig_settle(rig);
    assert_ahead(why(rig, "c"), 1, false);
    close_rig(rig);
}

static void test_slot_never(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    LIMITED(rig, "a", FIXED("q", 0));
    const struct job_pending *p = why(rig, "a");
    assert_int_equal(p->cause, PENDING_SLOT);
    assert_int_equal(p->maximum, 0);
    close_rig(rig);
}

/* More than a window holds: so many at least. */
static void test_slot_far_behind(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    LIMITED(rig, "holder", FIXED("q", 1));
    put_jobs(rig, JOB(.id = "n", .limits = {FIXED("q", 1)}), LANE_TASKS_MAX + 50);
    LIMITED(rig, "last", FIXED("q", 1));
    const struct job_pending *p = why(rig, "last");
    assert_ahead(p, LANE_TASKS_MAX, true);
    assert_int_equal(p->in_line, LANE_TASKS_MAX + 51);
    assert_ahead(why(rig, "n7"), 7, false);
    close_rig(rig);
}

/* After open the line is not in memory: the first question has it read. */
static void test_slot_after_open(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    LIMITED(rig, "a", FIXED("q", 1));
    (void)lease_one(rig, "a");
    LIMITED(rig, "b", FIXED("q", 1));
    LIMITED(rig, "c", FIXED("q", 1));
    reopen(rig);
    const struct job_pending *p = why(rig, "c");
    assert_int_equal(p->cause, PENDING_SLOT);
    assert_int_equal(p->in_line, 2);
    rig_settle(rig);
    assert_ahead(why(rig, "c"), 1, false);
    close_rig(rig);
}

/* --- floating limits --- */

static void test_floating(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    LIMITED(rig, "a", FLOATS("f", 0, HOUR_MS));
    const struct job_pending *p = why(rig, "a");
    assert_int_equal(p->cause, PENDING_FLOATING);
    assert_int_equal(p->maximum, 0);
    assert_int_equal(p->refresh, REFRESH_TASK);
    assert_text(p->group, "g");
    assert_int_equal(p->polled_ms, 0);

    const struct uuid task = refresh_one(rig);
    assert_int_equal(why(rig, "a")->refresh, REFRESH_LEASE);
    assert_int_equal(refresh_report(rig, &task, true, 0), SILO_OK);
    p = why(rig, "a");
    assert_int_equal(p->cause, PENDING_FLOATING);
    assert_int_equal(p->refresh, REFRESH_NONE);
    assert_int_equal(p->until_ms, rig->wall_ms + HOUR_MS);
    close_rig(rig);
}

/* A value above 0 that is used up, and a worker who would refresh it: it waits for a slot. */
static void test_floating_full(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    LIMITED(rig, "a", FLOATS("f", 1, HOUR_MS));
    LIMITED(rig, "b", FLOATS("f", 1, HOUR_MS));
    assert_int_equal(why(rig, "b")->cause, PENDING_FLOATING); /* nobody refreshes */
    (void)refresh_one(rig);
    assert_int_equal(why(rig, "b")->cause, PENDING_SLOT);
    close_rig(rig);
}

/* --- rate limits --- */

static void test_rate_line(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    put_jobs(rig, JOB(.id = "a", .limits = {RATE("r", 1, 5000)}), 3);
    const struct job_pending *p = why(rig, "a2");
    assert_int_equal(p->cause, PENDING_NO_WORKER); /* nobody is asked before */
    assert_text(p->limit, "r");
    (void)lease_one(rig, "a0");
    assert_int_equal(poll_empty(rig), 0);
    p = why(rig, "a2");
    assert_int_equal(p->cause, PENDING_RATE);
    assert_text(p->limit, "r");
    assert_text(p->unique_key, "r");
    assert_int_equal(p->until_ms, rig->wall_ms + 5000);
    assert_ahead(p, 1, false);
    assert_int_equal(p->in_line, 2);
    close_rig(rig);
}

static void test_rate_refused(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    struct job_limit limit = RATE("r", 1, HOUR_MS);
    limit.has_policy = true;
    limit.initial_ms = 100;
    limit.backoff_max_ms = 1000;
    limit.multiplier = 3;
    limit.retries_max = 3;
    put_job(rig, JOB(.id = "a", .limits = {limit}));
    (void)lease_one(rig, "a");
    put_job(rig, JOB(.id = "b", .limits = {limit}));
    assert_int_equal(poll_empty(rig), 0);
    const struct job_pending *p = why(rig, "b");
    assert_int_equal(p->cause, PENDING_RATE_REFUSED);
    assert_int_equal(p->refusals, 1);
    assert_int_equal(p->until_ms, rig->wall_ms + 100);
    assert_text(p->limit, "r");
    rig_pass(rig, 100);
    p = why(
        rig,
        "b"); /* its time is over, and the limit has to be asked again before a worker gets it */
    assert_int_equal(p->cause, PENDING_RATE);
    assert_int_equal(p->until_ms, 0);
    assert_false(p->asking);
    close_rig(rig);
}

/* A limiter outside that does not answer. */
static void test_rate_asking(void **state)
{
    (void)state;
    struct fake_limiter fake;
    fake_init(&fake);
    struct rig *rig = open_with(&(struct rig_options){.seed = 1, .limiter = &fake});
    LIMITED(rig, "a", RATE("r", 1, HOUR_MS));
    struct call *poll = poll_call(1, 30000);
    rig_send(rig, poll);
    rig_settle(rig);
    const struct job_pending *p = why(rig, "a");
    assert_int_equal(p->cause, PENDING_RATE);
    assert_true(p->asking);
    fake_answer_all(&fake, VERDICT_ERROR);
    rig_settle(rig);
    p = why(rig, "a");
    assert_int_equal(p->cause, PENDING_RATE);
    assert_int_equal(p->errors, 1);
    assert_true(p->until_ms > rig->wall_ms);
    rig_pass(rig, 30000);
    fake_answer_all(&fake, VERDICT_ERROR);
    rig_settle(rig);
    rig_call_free(poll);
    close_rig(rig);
}

/* --- workers --- */

static void test_no_worker(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    const int64_t opened_ms = rig->wall_ms;
    enqueue(rig, "a", 5, 0);
    rig_pass(rig, 5000);
    const struct job_pending *p = why(rig, "a");
    assert_int_equal(p->cause, PENDING_NO_WORKER);
    assert_text(p->group, "g");
    assert_int_equal(p->polled_ms, 0);
    assert_int_equal(p->seen_from_ms, opened_ms);
    close_rig(rig);
}

static void test_worker_left(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    assert_int_equal(poll_empty(rig), 0);
    const int64_t polled_ms = rig->wall_ms;
    enqueue(rig, "a", 5, 0);
    assert_int_equal(why(rig, "a")->cause, PENDING_NEXT);
    rig_pass(rig, GROUP_POLLED_MS);
    const struct job_pending *p = why(rig, "a");
    assert_int_equal(p->cause, PENDING_NO_WORKER);
    assert_int_equal(p->polled_ms, polled_ms);
    close_rig(rig);
}

static void test_workers_busy(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    enqueue(rig, "a", 5, 0);
    enqueue(rig, "b", 5, 0);
    put_job(rig, JOB(.id = "x", .group = "other"));
    const struct uuid task = lease_one(rig, "a");
    for (int64_t ms = 0; ms < GROUP_POLLED_MS; ms += 5000) {
        rig_pass(rig, 5000);
        assert_int_equal(heartbeat(rig, &task, "w1"), SILO_OK);
    }
    const struct job_pending *p = why(rig, "b");
    assert_int_equal(p->cause, PENDING_WORKERS_BUSY);
    assert_int_equal(p->running, 1);
    assert_int_equal(why(rig, "x")->cause, PENDING_NO_WORKER);
    close_rig(rig);
}

/*
 * More jobs run than are looked at, none of them of its group: its workers are not busy, there are
 * none.
 */
static void test_others_busy(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    put_jobs(rig, JOB(.id = "n", .group = "other"), PENDING_LEASES_MAX + 1);
    for (size_t running = 0; running < PENDING_LEASES_MAX + 1;) {
        struct call *poll = poll_call(PENDING_LEASES_MAX + 1, 0);
        poll->cmd.args.poll.group = BYTES_LIT("other");
        rig_do(rig, poll);
        assert_int_not_equal(poll_count(poll), 0);
        running += poll_count(poll);
        rig_call_free(poll);
    }
    enqueue(rig, "a", 5, 0);
    const struct job_pending *p = why(rig, "a");
    assert_int_equal(p->cause, PENDING_NO_WORKER);
    assert_true(p->running_more);
    close_rig(rig);
}

static void test_behind(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    for (uint8_t i = 0; i < 3; i++) {
        char id[8];
        (void)snprintf(id, sizeof id, "urgent%u", i);
        enqueue(rig, id, 5, 0);
    }
    enqueue(rig, "a", 50, 0);
    enqueue(rig, "b", 50, 0);
    (void)lease_one(rig, "urgent0");
    const struct job_pending *p = why(rig, "b");
    assert_int_equal(p->cause, PENDING_BEHIND);
    assert_true(p->has_ahead &&
                p->ahead >= 2); /* worse lanes are read when the better ones are empty */
    assert_true(p->ahead_more || p->ahead == 3);
    assert_true(p->polled);
    assert_int_equal(why(rig, "urgent1")->cause, PENDING_NEXT);
    close_rig(rig);
}

/* --- running --- */

static void test_asked_to_cancel(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    enqueue(rig, "a", 5, 0);
    (void)lease_one(rig, "a");
    struct call *call = get(rig, "a");
    assert_false(call->cmd.result.job.lease_marked);
    rig_call_free(call);
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a"), SILO_OK);
    call = get(rig, "a");
    assert_true(call->cmd.result.job.lease_marked);
    assert_int_equal(call->cmd.result.job.lease_mark_ms, rig->wall_ms);
    assert_int_equal(call->cmd.result.job.status, JOB_RUNNING);
    rig_call_free(call);
    close_rig(rig);
}

/* A question changes nothing: no batch is written for it. */
static void test_writes_nothing(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    LIMITED(rig, "a", FIXED("q", 1), RATE("r", 1, HOUR_MS));
    LIMITED(rig, "b", FIXED("q", 1));
    LIMITED(rig, "c", RATE("r", 1, HOUR_MS));
    LIMITED(rig, "d", FLOATS("f", 0, HOUR_MS));
    reopen(rig);
    rig_pass(rig, 1000);
    const uint64_t before = batches(rig);
    for (const char *id = "abcd"; *id != 0; id++) {
        (void)why(rig, (char[]){*id, 0});
    }
    rig_settle(rig);
    assert_int_equal(batches(rig), before);
    close_rig(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_start),
        cmocka_unit_test(test_retry),
        cmocka_unit_test(test_slot),
        cmocka_unit_test(test_slot_maxima_differ),
        cmocka_unit_test(test_slot_equal_maxima),
        cmocka_unit_test(test_slot_never),
        cmocka_unit_test(test_slot_far_behind),
        cmocka_unit_test(test_slot_after_open),
        cmocka_unit_test(test_floating),
        cmocka_unit_test(test_floating_full),
        cmocka_unit_test(test_rate_line),
        cmocka_unit_test(test_rate_refused),
        cmocka_unit_test(test_rate_asking),
        cmocka_unit_test(test_no_worker),
        cmocka_unit_test(test_worker_left),
        cmocka_unit_test(test_workers_busy),
        cmocka_unit_test(test_others_busy),
        cmocka_unit_test(test_behind),
        cmocka_unit_test(test_asked_to_cancel),
        cmocka_unit_test(test_writes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
