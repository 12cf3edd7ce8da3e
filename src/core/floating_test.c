/*
 * core/floating_test.c - limits whose value workers refresh: when they are asked, who is asked,
 * what an answer changes.
 */
#include <stdio.h>

#include "base/limits.h"
#include "base/test.h"
#include "core/core_rig_test.h"
#include "core/limit_calls_test.h"

#define EVERY_MS 60000
#define LATE_MS READ_RETRY_MS /* after open the best waiter is read first */

static size_t wanted(struct rig *rig)
{
    struct refresh_task ignored;
    return refreshes(rig, "g", &ignored);
}

/* "a" has the only slot and runs, "b" waits. */
static struct rig *open_full(int64_t every_ms)
{
    struct rig *rig = open_watched();
    LIMITED(rig, "a", FLOATS("f", 1, every_ms));
    assert_int_equal(wanted(rig), 0); /* nobody waits */
    (void)lease_one(rig, "a");
    LIMITED(rig, "b", FLOATS("f", 1, every_ms));
    assert_int_equal(waiters(rig, "f"), 1);
    return rig;
}

/* Keeps "a" running while time passes. */
static void pass_running(struct rig *rig, int64_t ms)
{
    const struct uuid task = task_of(rig, T, "a");
    while (ms > 0) {
        const int64_t step = ms < 5000 ? ms : 5000;
        assert_int_equal(heartbeat(rig, &task, "w1"), SILO_OK);
        rig_pass(rig, step);
        ms -= step;
    }
}

/* --- the value --- */

static void test_first_job_defines(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    assert_int_equal(poll_empty(rig), 0);
    struct job_spec spec = {.id = "a", .limits = {FLOATS("f", 2, EVERY_MS)}};
    spec.limits[0].metadata[0] = "region";
    spec.limits[0].metadata[1] = "eu";
    put_job(rig, &spec);
    /* What later jobs say about it counts for nothing. */
    spec = (struct job_spec){.id = "b", .limits = {FLOATS("f", 9, 1)}};
    spec.limits[0].metadata[0] = "region";
    spec.limits[0].metadata[1] = "us";
    put_job(rig, &spec);
    spec.id = "c";
    put_job(rig, &spec);
    assert_int_equal(holders(rig, "f"), 2);
    assert_int_equal(waiters(rig, "f"), 1);
    struct call *poll = poll_call(1, 0);
    rig_do(rig, poll);
    const struct poll_result *result = &poll->cmd.result.poll;
    assert_int_equal(result->refresh_count, 1);
    assert_int_equal(result->count, 1); /* it takes nothing of what was asked for */
    const struct refresh_task *task = &result->refreshes[0];
    assert_true(bytes_eq(task->tenant, BYTES_LIT(T)) && bytes_eq(task->queue, BYTES_LIT("f")));
    assert_int_equal(task->value, 2);
    assert_int_equal(task->refreshed_ms, 0);
    assert_int_equal(task->metadata_count, 1);
    struct bytes at = task->metadata;
    struct bytes name;
    struct bytes value;
    assert_true(pair_next(&at, &name, &value));
    assert_true(bytes_eq(name, BYTES_LIT("region")) && bytes_eq(value, BYTES_LIT("eu")));
    assert_int_equal(refresh_report(rig, &task->task_id, true, 2), SILO_OK);
    rig_call_free(poll);
    rig_pass(rig, 100); /* not b's interval */
    assert_int_equal(wanted(rig), 0);
    close_checked(rig);
}

static void test_value_is_shown(void **state)
{
    (void)state;
    struct rig *rig = open_full(1000);
    const struct uuid task = refresh_one(rig);
    assert_int_equal(refresh_report(rig, &task, true, 1), SILO_OK);
    const int64_t at_ms = rig->wall_ms;
    pass_running(rig, 1000);
    struct refresh_task next;
    assert_int_equal(refreshes(rig, "g", &next), 1);
    assert_int_equal(next.value, 1);
    assert_int_equal(next.refreshed_ms, at_ms);
    assert_false(uuid_eq(&next.task_id, &task));
    close_checked(rig);
}

/* Each queue of each tenant has its own value. */
static void test_apart(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "a", FLOATS("f", 1, EVERY_MS));
    put_job(rig, JOB(.id = "a", .tenant = "t2", .limits = {FLOATS("f", 2, EVERY_MS)}));
    put_job(rig, JOB(.id = "b", .tenant = "t2", .limits = {FLOATS("f", 2, EVERY_MS)}));
    LIMITED(rig, "c", FLOATS("g", 1, EVERY_MS));
    assert_int_equal(holders(rig, "f"), 1);
    assert_int_equal(holders_of(rig, "t2", "f"), 2);
    assert_int_equal(rows_in(rig, TABLE_WAITER), 0);
    close_checked(rig);
}

static void test_raise_wakes(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    put_jobs(rig, JOB(.id = "a", .limits = {FLOATS("f", 0, EVERY_MS)}), 10);
    assert_int_equal(holders(rig, "f"), 0);
    const struct uuid task = refresh_one(rig);
    struct call *poll = poll_call(20, 60000);
    rig_send(rig, poll);
    rig_settle(rig);
    assert_false(poll->done);
    const uint64_t before = batches(rig);
    assert_int_equal(refresh_report(rig, &task, true, 7), SILO_OK);
    assert_int_equal(batches(rig), before + 1); /* value, seven slots, seven leases */
    assert_true(poll->done);
    assert_int_equal(poll_count(poll), 7);
    assert_int_equal(holders(rig, "f"), 7);
    assert_int_equal(waiters(rig, "f"), 3);
    rig_call_free(poll);
    close_checked(rig);
}

static void test_lower_evicts_nobody(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    put_jobs(rig, JOB(.id = "a", .limits = {FLOATS("f", 3, EVERY_MS)}), 5);
    const struct uuid task = refresh_one(rig);
    struct uuid tasks[3];
    assert_int_equal(lease_some(rig, 3, tasks), 3);
    assert_int_equal(refresh_report(rig, &task, true, 1), SILO_OK);
    assert_int_equal(holders(rig, "f"), 3);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(report(rig, &tasks[i], ATTEMPT_SUCCEEDED), SILO_OK);
        assert_int_equal(poll_empty(rig), 0); /* not before it is below the value */
    }
    assert_int_equal(holders(rig, "f"), 1);
    assert_int_equal(report(rig, &tasks[2], ATTEMPT_SUCCEEDED), SILO_OK);
    assert_int_equal(holders(rig, "f"), 1);
    (void)lease_one(rig, "a3");
    end_job(rig, "a3", ATTEMPT_SUCCEEDED);
    assert_int_equal(drain(rig), 1);
    close_checked(rig);
}

/* Blocked by a value of 0, and by one that was lowered to it. */
static void test_zero_blocks(void **state)
{
    (void)state;
    struct rig *rig = open_full(1000);
    const struct uuid task = refresh_one(rig);
    assert_int_equal(refresh_report(rig, &task, true, 0), SILO_OK);
    end_job(rig, "a", ATTEMPT_SUCCEEDED);
    assert_int_equal(holders(rig, "f"), 0);
    assert_int_equal(poll_empty(rig), 0);
    reopen(rig);
    LIMITED(rig, "c", FLOATS("f", 5, EVERY_MS));
    assert_int_equal(waiters(rig, "f"), 2);
    rig_pass(rig, 1000 + LATE_MS);
    const struct uuid again = refresh_one(rig);
    assert_int_equal(refresh_report(rig, &again, true, 2), SILO_OK);
    assert_int_equal(holders(rig, "f"), 2);
    assert_int_equal(drain(rig), 2);
    close_checked(rig);
}

/* --- who is asked --- */

static struct call *poll_group(struct rig *rig, const char *group, uint32_t tasks_max)
{
    struct call *poll = poll_call(tasks_max, 0);
    poll->cmd.args.poll.group = bytes_str(group);
    rig_do(rig, poll);
    assert_int_equal(poll->cmd.rc.code, SILO_OK);
    return poll;
}

static void test_group_of_best_waiter(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "x", FLOATS("f", 1, EVERY_MS));
    (void)lease_one(rig, "x");
    rig_call_free(poll_group(rig, "g2", 1));
    /* In lines of their own: one is bounded by a fixed maximum, too. */
    struct call *low = job_call(JOB(.id = "low", .group = "g1", .priority = 50,
                                    .limits = {FLOATS("f", 1, EVERY_MS), FIXED("f", 9)}));
    struct call *top = job_call(
        JOB(.id = "top", .group = "g2", .priority = 1, .limits = {FLOATS("f", 1, EVERY_MS)}));
    struct call *mid = job_call(JOB(.id = "mid", .group = "g3", .priority = 20,
                                    .limits = {FLOATS("f", 1, EVERY_MS), FIXED("f", 8)}));
    rig_send(rig, low);
    rig_send(rig, top);
    rig_send(rig, mid);
    rig_settle(rig);
    rig_call_free(low);
    rig_call_free(top);
    rig_call_free(mid);
    put_job(rig, JOB(.id = "free", .group = "g2"));
    struct call *poll = poll_group(rig, "g1", 1);
    assert_int_equal(poll->cmd.result.poll.refresh_count, 0);
    rig_call_free(poll);
    /* Ahead of all jobs, and with them. */
    poll = poll_group(rig, "g2", 1);
    assert_int_equal(poll->cmd.result.poll.refresh_count, 1);
    assert_int_equal(poll_count(poll), 1);
    rig_call_free(poll);
    poll = poll_group(rig, "g2", 1); /* one at a time */
    assert_int_equal(poll->cmd.result.poll.refresh_count, 0);
    rig_call_free(poll);
    close_checked(rig);
}

static void test_parked_poll_is_asked(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "x", FLOATS("f", 0, EVERY_MS));
    const struct uuid task = refresh_one(rig);
    assert_int_equal(refresh_report(rig, &task, true, 0), SILO_OK);
    rig_pass(rig, EVERY_MS - 10000);
    struct call *poll = poll_call(1, 60000);
    rig_send(rig, poll);
    rig_pass(rig, 9999);
    assert_false(poll->done);
    rig_pass(rig, 1);
    assert_true(poll->done);
    assert_int_equal(poll->cmd.result.poll.refresh_count, 1);
    assert_int_equal(poll_count(poll), 0);
    rig_call_free(poll);
    close_checked(rig);
}

static size_t refreshes_of(struct rig *rig, const char *group)
{
    struct refresh_task ignored;
    return refreshes(rig, group, &ignored);
}

/* The workers of the best waiter's group are gone: those of another group with waiters do it. */
static void test_group_without_workers(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    put_job(rig, JOB(.id = "a", .group = "dead", .limits = {FLOATS("f", 0, EVERY_MS)}));
    put_job(rig, JOB(.id = "b", .group = "alive", .limits = {FLOATS("f", 0, EVERY_MS)}));
    assert_int_equal(refreshes_of(rig, "alive"), 0); /* the best waiter's group is asked first */
    assert_int_equal(refreshes_of(rig, "foreign"), 0);
    rig_pass(rig, REFRESH_OFFER_MS);
    assert_int_equal(refreshes_of(rig, "foreign"), 0); /* nobody of it waits */
    struct call *poll = poll_call(1, 60000);
    poll->cmd.args.poll.group = BYTES_LIT("alive");
    rig_send(rig, poll);
    rig_settle(rig);
    assert_true(poll->done);
    assert_int_equal(poll->cmd.result.poll.refresh_count, 1);
    const struct uuid task = poll->cmd.result.poll.refreshes[0].task_id;
    rig_call_free(poll);
    assert_int_equal(refresh_report(rig, &task, true, 2), SILO_OK);
    assert_int_equal(holders(rig, "f"), 2);
    close_checked(rig);
}

/* It is made when no group has workers; those that come first get it, also after a reopen. */
static void test_first_workers_to_come(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    put_job(rig, JOB(.id = "a", .group = "dead", .limits = {FLOATS("f", 0, EVERY_MS)}));
    put_job(rig,
            JOB(.id = "b", .group = "alive", .limits = {FLOATS("f", 0, EVERY_MS), FIXED("f", 9)}));
    rig_pass(rig, 60000);
    reopen(rig);
    struct call *poll = poll_call(1, 60000);
    poll->cmd.args.poll.group = BYTES_LIT("alive");
    rig_send(rig, poll);
    rig_pass(rig, 3 * REFRESH_OFFER_MS);
    assert_true(poll->done);
    assert_int_equal(poll->cmd.result.poll.refresh_count, 1);
    rig_call_free(poll);
    close_checked(rig);
}

/*
 * A worker that took it and died: the lease expires, and it goes to a group that still has workers.
 */
static void test_worker_died(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    put_job(rig, JOB(.id = "a", .group = "dead", .limits = {FLOATS("f", 0, EVERY_MS)}));
    put_job(rig, JOB(.id = "b", .group = "alive", .limits = {FLOATS("f", 0, EVERY_MS)}));
    assert_int_equal(refreshes_of(rig, "dead"), 1);
    struct call *poll = poll_call(1, 60000);
    poll->cmd.args.poll.group = BYTES_LIT("alive");
    rig_send(rig, poll);
    rig_pass(rig, LEASE_MS + REFRESH_OFFER_MS);
    assert_true(poll->done);
    assert_int_equal(poll->cmd.result.poll.refresh_count, 1);
    rig_call_free(poll);
    close_checked(rig);
}

/* The last waiter is cancelled before anybody took the refresh: it goes with it. */
static void test_task_without_waiters(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "a", FLOATS("f", 0, EVERY_MS));
    assert_true(has_meta(rig, META_REFRESH));
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a"), SILO_OK);
    rig_pass(rig, REFRESH_OFFER_MS);
    assert_false(has_meta(rig, META_REFRESH));
    assert_int_equal(wanted(rig), 0);
    put_job(rig, JOB(.id = "b", .group = "other", .limits = {FLOATS("f", 0, EVERY_MS)}));
    assert_int_equal(refreshes_of(rig, "other"), 1);
    close_checked(rig);
}

/* --- when --- */

static void test_interval(void **state)
{
    (void)state;
    struct rig *rig = open_full(20000);
    for (int i = 0; i < 3; i++) {
        const struct uuid task = refresh_one(rig);
        assert_int_equal(refresh_report(rig, &task, true, 1), SILO_OK);
        pass_running(rig, 19999);
        assert_int_equal(wanted(rig), 0);
        pass_running(rig, 1);
    }
    assert_int_equal(wanted(rig), 1);
    close_checked(rig);
}

/* A line that stands still is looked at again without any event, also after a reopen. */
static void test_static_backlog(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    put_jobs(rig, JOB(.id = "a", .limits = {FLOATS("f", 0, EVERY_MS)}), 3);
    const struct uuid first = refresh_one(rig);
    assert_int_equal(refresh_report(rig, &first, true, 0), SILO_OK);
    rig_pass(rig, EVERY_MS);
    const struct uuid second = refresh_one(rig);
    assert_int_equal(refresh_report(rig, &second, true, 0), SILO_OK);
    rig_pass(rig, EVERY_MS / 2);
    reopen(rig);
    rig_pass(rig, EVERY_MS / 2 - 1);
    assert_int_equal(wanted(rig), 0);
    rig_pass(rig, 1 + LATE_MS);
    const struct uuid third = refresh_one(rig);
    assert_int_equal(refresh_report(rig, &third, true, 3), SILO_OK);
    assert_int_equal(drain(rig), 3);
    assert_false(has_meta(rig, META_REFRESH));
    close_checked(rig);
}

static void test_many_limits_after_reopen(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    char queue[16];
    char id[16];
    for (uint32_t i = 0; i < PAGE_ROWS_MAX + 100; i++) {
        (void)snprintf(queue, sizeof queue, "f%u", i);
        (void)snprintf(id, sizeof id, "a%u", i);
        LIMITED(rig, id, FLOATS(queue, 0, EVERY_MS));
    }
    rig_kill(rig, RIG_LOSE);
    rig_start(rig);
    rig_settle(rig);
    size_t count = 0;
    struct call *poll = poll_call(1, 0);
    rig_do(rig, poll);
    count = poll->cmd.result.poll.refresh_count;
    rig_call_free(poll);
    assert_int_equal(count, PAGE_ROWS_MAX + 100);
    close_checked(rig);
}

static void test_failures_back_off(void **state)
{
    (void)state;
    struct rig *rig = open_full(EVERY_MS);
    static const int64_t delays[] = {1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000};
    for (size_t i = 0; i < 8; i++) {
        const struct uuid task = refresh_one(rig);
        assert_int_equal(refresh_report(rig, &task, false, 0), SILO_OK);
        pass_running(rig, delays[i] - 1);
        assert_int_equal(wanted(rig), 0);
        if (i == 4) {
            const struct uuid running = task_of(rig, T, "a");
            reopen(rig); /* how often it failed is not forgotten */
            assert_int_equal(heartbeat(rig, &running, "w1"), SILO_OK);
            assert_int_equal(wanted(rig), 0);
        }
        pass_running(rig, i == 4 ? 1 + LATE_MS : 1);
    }
    struct refresh_task next;
    assert_int_equal(refreshes(rig, "g", &next), 1);
    assert_int_equal(next.value, 1); /* kept */
    /* A success begins anew. */
    assert_int_equal(refresh_report(rig, &next.task_id, true, 1), SILO_OK);
    pass_running(rig, EVERY_MS);
    const struct uuid task = refresh_one(rig);
    assert_int_equal(refresh_report(rig, &task, false, 0), SILO_OK);
    pass_running(rig, 1000);
    assert_int_equal(wanted(rig), 1);
    close_checked(rig);
}

/*
 * Nobody waits any more: the refresh that was made is answered, and no other follows until somebody
 * waits.
 */
static void test_waiters_gone(void **state)
{
    (void)state;
    struct rig *rig = open_full(1000);
    const struct uuid task = refresh_one(rig);
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "b"), SILO_OK);
    assert_true(has_meta(rig, META_REFRESH));
    assert_int_equal(refresh_report(rig, &task, false, 0), SILO_OK);
    assert_false(has_meta(rig, META_REFRESH));
    pass_running(rig, 5000);
    assert_int_equal(wanted(rig), 0);
    LIMITED(rig, "c", FLOATS("f", 1, 1000));
    assert_int_equal(wanted(rig), 1);
    close_checked(rig);
}

/* A ticket that is not due waits for its time, not for a slot. */
static void test_ticket_is_no_waiter(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    put_job(rig, JOB(.id = "t", .start_ms = rig->wall_ms + 5000, .limits = {FLOATS("f", 0, 1000)}));
    rig_pass(rig, 4999);
    assert_int_equal(wanted(rig), 0);
    rig_pass(rig, 1);
    assert_int_equal(wanted(rig), 1);
    close_checked(rig);
}

/* --- its lease --- */

static void test_lease_expires(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "a", FLOATS("f", 0, EVERY_MS));
    const struct uuid first = refresh_one(rig);
    rig_pass(rig, LEASE_MS - 1);
    assert_int_equal(wanted(rig), 0);
    rig_pass(rig, 1);
    /* Not a failure: another one at once. */
    const struct uuid second = refresh_one(rig);
    assert_false(uuid_eq(&first, &second));
    assert_int_equal(refresh_report(rig, &first, true, 9), SILO_NOT_FOUND);
    assert_int_equal(heartbeat(rig, &first, "w1"), SILO_NOT_FOUND);
    assert_int_equal(refresh_report(rig, &second, false, 0), SILO_OK);
    rig_pass(rig, 1000); /* the first failure */
    assert_int_equal(wanted(rig), 1);
    close_checked(rig);
}

static void test_heartbeat(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "a", FLOATS("f", 0, EVERY_MS));
    const struct uuid task = refresh_one(rig);
    for (int i = 0; i < 4; i++) {
        rig_pass(rig, LEASE_MS - 1);
        struct call *call = heartbeat_call(&task, "w1");
        rig_do(rig, call);
        assert_int_equal(call->cmd.rc.code, SILO_OK);
        assert_false(call->cmd.result.heartbeat.cancelled);
        rig_call_free(call);
    }
    struct call *call = heartbeat_call(&task, "w2");
    rig_do(rig, call);
    assert_int_equal(call->cmd.rc.code, SILO_PRECONDITION);
    assert_string_equal(call->cmd.error, "lease owner mismatch");
    rig_call_free(call);
    assert_int_equal(refresh_report(rig, &task, true, 1), SILO_OK);
    assert_int_equal(heartbeat(rig, &task, "w1"), SILO_NOT_FOUND);
    assert_int_equal(drain(rig), 1);
    close_checked(rig);
}

static void test_wrong_call(void **state)
{
    (void)state;
    struct rig *rig = open_full(EVERY_MS);
    const struct uuid refresh = refresh_one(rig);
    const struct uuid job = task_of(rig, T, "a");
    assert_int_equal(report(rig, &refresh, ATTEMPT_SUCCEEDED), SILO_PRECONDITION);
    assert_int_equal(refresh_report(rig, &job, true, 5), SILO_INTERNAL);
    /* Neither did anything. */
    assert_int_equal(status(rig, "a"), JOB_RUNNING);
    assert_int_equal(holders(rig, "f"), 1);
    assert_int_equal(refresh_report(rig, &refresh, true, 1), SILO_OK);
    assert_int_equal(report(rig, &job, ATTEMPT_SUCCEEDED), SILO_OK);
    close_checked(rig);
}

static void test_two_reports(void **state)
{
    (void)state;
    struct rig *rig = open_full(EVERY_MS);
    const struct uuid task = refresh_one(rig);
    struct call *first = rig_call(CMD_REPORT_REFRESH, NULL, NULL);
    first->cmd.args.report_refresh = (struct report_refresh_args){
        .has_task_id = true, .task_id = task, .success = true, .value = 1};
    struct call *second = rig_call(CMD_REPORT_REFRESH, NULL, NULL);
    second->cmd.args.report_refresh = (struct report_refresh_args){
        .has_task_id = true, .task_id = task, .success = true, .value = 8};
    rig_send(rig, first);
    rig_send(rig, second);
    rig_settle(rig);
    assert_int_equal(first->cmd.rc.code, SILO_OK);
    assert_int_equal(second->cmd.rc.code, SILO_NOT_FOUND);
    assert_string_equal(second->cmd.error, "lease not found");
    assert_int_equal(holders(rig, "f"), 1);
    rig_call_free(first);
    rig_call_free(second);
    close_checked(rig);
}

/* Before it was polled, or never made: no lease. */
static void test_report_without_lease(void **state)
{
    (void)state;
    struct rig *rig = open_full(EVERY_MS);
    const struct uuid nobody = {.b = {1, 2, 3}};
    assert_int_equal(refresh_report(rig, &nobody, true, 5), SILO_NOT_FOUND);
    struct call *call = rig_call(CMD_REPORT_REFRESH, NULL, NULL);
    assert_int_equal(finish(rig, call), SILO_NOT_FOUND); /* the id was no UUID */
    close_checked(rig);
}

static void test_give_back(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "a", FLOATS("f", 0, EVERY_MS));
    const struct uuid task = refresh_one(rig);
    struct call *call = rig_call(CMD_GIVE_BACK, NULL, NULL);
    call->cmd.args.give_back = (struct give_back_args){.task_ids = &task, .count = 1};
    assert_int_equal(finish(rig, call), SILO_OK);
    assert_int_equal(refresh_report(rig, &task, true, 3), SILO_NOT_FOUND);
    const struct uuid again = refresh_one(rig);
    assert_false(uuid_eq(&task, &again));
    assert_int_equal(refresh_report(rig, &task, true, 4), SILO_NOT_FOUND); /* it has it no more */
    assert_int_equal(refresh_report(rig, &again, true, 3), SILO_OK);
    assert_int_equal(drain(rig), 1);
    close_checked(rig);
}

/* One of a list goes back at once and is leased again, while another one's rows are read. */
static void test_give_back_once(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "a", FLOATS("f", 0, EVERY_MS));
    LIMITED(rig, "b", FIXED("q", 1));
    struct uuid tasks[2] = {refresh_one(rig), lease_one(rig, "b")};
    reopen(rig); /* of b only the lease is known */
    assert_int_equal(heartbeat(rig, &tasks[0], "w1"), SILO_OK);
    struct call *poll = poll_call(1, 60000);
    rig_send(rig, poll);
    rig_settle(rig);
    struct call *call = rig_call(CMD_GIVE_BACK, NULL, NULL);
    call->cmd.args.give_back = (struct give_back_args){.task_ids = tasks, .count = 2};
    assert_int_equal(finish(rig, call), SILO_OK);
    assert_true(poll->done);
    assert_int_equal(poll->cmd.result.poll.refresh_count, 1);
    const struct uuid again = poll->cmd.result.poll.refreshes[0].task_id;
    rig_call_free(poll);
    assert_int_equal(status(rig, "b"), JOB_SCHEDULED);
    assert_int_equal(heartbeat(rig, &tasks[0], "w1"), SILO_NOT_FOUND);
    assert_int_equal(heartbeat(rig, &again, "w1"), SILO_OK); /* the second worker has it */
    assert_int_equal(refresh_report(rig, &again, true, 3), SILO_OK);
    assert_int_equal(drain(rig), 2);
    close_checked(rig);
}

static void test_return(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "a", FLOATS("f", 0, EVERY_MS));
    const struct uuid task = refresh_one(rig);
    struct call *call = rig_call(CMD_RETURN_TASK, NULL, NULL);
    call->cmd.args.return_task = (struct return_task_args){
        .has_task_id = true, .task_id = task, .worker_id = BYTES_LIT("w2")};
    assert_int_equal(finish(rig, call), SILO_PRECONDITION);
    call = rig_call(CMD_RETURN_TASK, NULL, NULL);
    call->cmd.args.return_task = (struct return_task_args){
        .has_task_id = true, .task_id = task, .worker_id = BYTES_LIT("w1")};
    assert_int_equal(finish(rig, call), SILO_OK);
    assert_int_equal(refresh_report(rig, &task, true, 3), SILO_NOT_FOUND);
    const struct uuid again = refresh_one(rig);
    assert_false(uuid_eq(&task, &again));
    assert_int_equal(refresh_report(rig, &task, true, 4), SILO_NOT_FOUND); /* it has it no more */
    assert_int_equal(refresh_report(rig, &again, true, 3), SILO_OK);
    assert_int_equal(drain(rig), 1);
    close_checked(rig);
}

/* --- over a reopen --- */

static void test_reopened_task(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "a", FLOATS("f", 0, EVERY_MS));
    reopen(rig); /* made, not polled */
    const struct uuid task = refresh_one(rig);
    rig_pass(rig, LEASE_MS - 1000);
    reopen(rig); /* leased: a fresh term */
    rig_pass(rig, LEASE_MS - 1000);
    assert_int_equal(heartbeat(rig, &task, "w1"), SILO_OK);
    assert_int_equal(wanted(rig), 0);
    assert_int_equal(refresh_report(rig, &task, true, 1), SILO_OK);
    reopen(rig);
    assert_int_equal(holders(rig, "f"), 1);
    assert_int_equal(drain(rig), 1);
    close_checked(rig);
}

static void test_reopened_lease_expires(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "a", FLOATS("f", 0, EVERY_MS));
    (void)refresh_one(rig);
    reopen(rig);
    rig_pass(rig, LEASE_MS - 1);
    assert_int_equal(wanted(rig), 0);
    rig_pass(rig, 1 + LATE_MS);
    const struct uuid task = refresh_one(rig);
    assert_int_equal(refresh_report(rig, &task, true, 1), SILO_OK);
    assert_int_equal(drain(rig), 1);
    close_checked(rig);
}

/* Two floating limits and a fixed one in one chain: each has its value and its refresh. */
static void test_chain(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "a", FLOATS("f1", 1, EVERY_MS), FIXED("q", 1), FLOATS("f2", 0, EVERY_MS));
    assert_int_equal(rows_in(rig, TABLE_HOLDER), 2);
    LIMITED(rig, "b", FLOATS("f1", 1, EVERY_MS));
    struct call *poll = poll_group(rig, "g", 1);
    const struct poll_result *result = &poll->cmd.result.poll;
    assert_int_equal(result->refresh_count, 2);
    const size_t f2 = bytes_eq(result->refreshes[0].queue, BYTES_LIT("f2")) ? 0 : 1;
    assert_true(bytes_eq(result->refreshes[f2].queue, BYTES_LIT("f2")));
    assert_int_equal(refresh_report(rig, &result->refreshes[f2].task_id, true, 1), SILO_OK);
    (void)lease_one(rig, "a");
    assert_int_equal(refresh_report(rig, &result->refreshes[1 - f2].task_id, true, 2), SILO_OK);
    rig_call_free(poll);
    (void)lease_one(rig, "b");
    end_job(rig, "a", ATTEMPT_SUCCEEDED);
    end_job(rig, "b", ATTEMPT_SUCCEEDED);
    assert_int_equal(drain(rig), 0);
    close_checked(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_job_defines),
        cmocka_unit_test(test_value_is_shown),
        cmocka_unit_test(test_apart),
        cmocka_unit_test(test_raise_wakes),
        cmocka_unit_test(test_lower_evicts_nobody),
        cmocka_unit_test(test_zero_blocks),
        cmocka_unit_test(test_group_of_best_waiter),
        cmocka_unit_test(test_parked_poll_is_asked),
        cmocka_unit_test(test_group_without_workers),
        cmocka_unit_test(test_first_workers_to_come),
        cmocka_unit_test(test_worker_died),
        cmocka_unit_test(test_task_without_waiters),
        cmocka_unit_test(test_interval),
        cmocka_unit_test(test_static_backlog),
        cmocka_unit_test(test_many_limits_after_reopen),
        cmocka_unit_test(test_failures_back_off),
        cmocka_unit_test(test_waiters_gone),
        cmocka_unit_test(test_ticket_is_no_waiter),
        cmocka_unit_test(test_lease_expires),
        cmocka_unit_test(test_heartbeat),
        cmocka_unit_test(test_wrong_call),
        cmocka_unit_test(test_two_reports),
        cmocka_unit_test(test_report_without_lease),
        cmocka_unit_test(test_give_back),
        cmocka_unit_test(test_give_back_once),
        cmocka_unit_test(test_return),
        cmocka_unit_test(test_reopened_task),
        cmocka_unit_test(test_reopened_lease_expires),
        cmocka_unit_test(test_chain),
    };
    return cmocka_run_group_tests_name("floating", tests, NULL, NULL);
}
