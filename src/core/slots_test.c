/*
 * core/slots_test.c - slots over longer ways: limits in opposite orders, a process that dies at
 * every moment, long lines, work in slices, and the operators' commands on jobs with limits.
 */
#include <stdio.h>

#include "base/limits.h"
#include "base/test.h"
#include "core/core_rig_test.h"
#include "core/limit_calls_test.h"

/* --- opposite orders --- */

/* "worse" holds B and waits at A; "better" waits at A, for the slot that "x" holds. */
static void cross(struct rig *rig)
{
    LIMITED(rig, "x", FIXED("A", 1));
    LIMITED(rig, "y", FIXED("B", 1));
    LIMITED(rig, "better", FIXED("A", 1), FIXED("B", 1));
    LIMITED(rig, "worse", FIXED("B", 1), FIXED("A", 1));
    struct uuid tasks[2];
    assert_int_equal(lease_some(rig, 2, tasks), 2);
    end_job(rig, "y", ATTEMPT_SUCCEEDED);
    assert_int_equal(holders(rig, "B"), 1);
    assert_int_equal(waiters(rig, "A"), 2);
    assert_int_equal(waiters(rig, "B"), 0);
}

static void uncross(struct rig *rig)
{
    (void)lease_one(rig, "better");
    assert_int_equal(waiters(rig, "A"), 0);
    assert_int_equal(waiters(rig, "B"), 1); /* the loser, without a slot */
    assert_int_equal(poll_empty(rig), 0);
    end_job(rig, "better", ATTEMPT_SUCCEEDED);
    (void)lease_one(rig, "worse");
    end_job(rig, "worse", ATTEMPT_SUCCEEDED);
    assert_int_equal(drain(rig), 0);
    close_checked(rig);
}

static void test_opposite_orders(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    cross(rig);
    const uint64_t before = batches(rig);
    end_job(rig, "x", ATTEMPT_SUCCEEDED);
    assert_int_equal(batches(rig), before + 1);
    uncross(rig);
}

/* Which of the holders wait is looked up again after open. */
static void test_opposite_orders_reopened(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    cross(rig);
    reopen(rig);
    end_job(rig, "x", ATTEMPT_SUCCEEDED);
    uncross(rig);

    rig = open_watched();
    cross(rig);
    const struct uuid task = task_of(rig, T, "x");
    rig_settle(rig);
    rig_kill(rig, RIG_LOSE);
    rig_start(rig);
    while (!rig_is_open(rig)) {
        rig_turn(rig);
    }
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK); /* at once */
    uncross(rig);
}

/*
 * A better waiter takes over even if it comes last; a slot of a job that runs is nobody's to take.
 */
static void test_takeover_by_urgency(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    put_job(rig, JOB(.id = "x", .priority = 5, .limits = {FIXED("A", 1)}));
    put_job(rig, JOB(.id = "held", .priority = 50, .limits = {FIXED("B", 1), FIXED("A", 1)}));
    assert_int_equal(holders(rig, "B"), 1);
    put_job(rig, JOB(.id = "worse", .priority = 60, .limits = {FIXED("B", 1)}));
    assert_int_equal(waiters(rig, "B"), 1);
    put_job(rig, JOB(.id = "urgent", .priority = 0, .limits = {FIXED("B", 1)}));
    assert_int_equal(waiters(rig, "B"), 2); /* "held" stands in line, "worse" does, too */
    assert_int_equal(waiters(rig, "A"), 0);
    (void)lease_one(rig, "urgent");
    put_job(rig, JOB(.id = "top", .priority = 0, .limits = {FIXED("B", 1)}));
    assert_int_equal(waiters(rig, "B"), 3);
    end_job(rig, "urgent", ATTEMPT_SUCCEEDED);
    (void)lease_one(rig, "top");
    end_job(rig, "top", ATTEMPT_SUCCEEDED);
    assert_int_equal(drain(rig), 3);
    close_checked(rig);
}

static void some_limits(struct rig *rig, struct job_spec *spec)
{
    static const char *const queues[] = {"A", "B", "C"};
    const uint32_t first = rig_below(rig, 3);
    const uint32_t step = 1 + rig_below(rig, 2);
    for (uint32_t i = 0; i < 3; i++) {
        spec->limits[i] = (struct job_limit)FIXED(queues[(first + step * i) % 3], 1);
    }
}

/*
 * Every order of three queues with one slot each, while the process dies now and then: all get
 * through.
 */
static void test_every_order(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    size_t done = 0;
    for (uint32_t i = 0; i < 40; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "j%u", i);
        struct job_spec spec = {.id = id, .priority = (uint8_t)rig_below(rig, 3)};
        some_limits(rig, &spec);
        put_job(rig, &spec);
        struct uuid task;
        if (rig_below(rig, 3) == 0 && lease_some(rig, 1, &task) == 1) {
            assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
            done++;
        }
        if (rig_below(rig, 8) == 0) {
            reopen(rig);
        }
    }
    done += drain(rig);
    assert_int_equal(done, 40);
    close_checked(rig);
}

/* --- death at every moment --- */

#define DEATH_CALLS 40
#define DEATH_STEPS_EACH 3

struct death {
    struct rig *rig;
    struct call *calls[DEATH_CALLS];
    size_t count, reported; /* polls before `reported` have been reported on */
};

static struct call *death_send(struct death *d, struct call *call)
{
    assert_true(d->count < DEATH_CALLS);
    d->calls[d->count++] = call;
    rig_send(d->rig, call);
    return call;
}

/* Reports on everything the polls brought so far, well or badly in turn. */
static void death_report(struct death *d)
{
    const size_t count = d->count;
    for (; d->reported < count; d->reported++) {
        const struct call *poll = d->calls[d->reported];
        if (poll->cmd.kind != CMD_POLL) {
            continue;
        }
        if (!poll->done) {
            return;
        }
        for (size_t i = 0; poll->cmd.rc.code == SILO_OK && i < poll_count(poll); i++) {
            death_send(d, report_call(&poll_task(poll, i)->task_id,
                                      i % 2 == 0 ? ATTEMPT_SUCCEEDED : ATTEMPT_FAILED, ""));
        }
    }
}

static bool death_act(struct death *d, size_t act)
{
    const int64_t now = d->rig->wall_ms;
    switch (act) {
    case 0:
        death_send(d, job_call(JOB(.id = "a", .limits = {FIXED("q", 2), FIXED("p", 1)})));
        death_send(d, job_call(JOB(.id = "b", .limits = {FIXED("p", 1), FIXED("q", 2)})));
        return true;
    case 1:
        death_send(d, job_call(JOB(.id = "c", .limits = {FIXED("q", 1)})));
        death_send(
            d, job_call(JOB(.id = "d", .retries = 2, .retry_ms = 20, .limits = {FIXED("q", 2)})));
        death_send(d, job_call(JOB(.id = "e", .start_ms = now + 30, .limits = {FIXED("q", 2)})));
        return true;
    case 2:
        death_send(d, poll_call(2, 60000));
        return true;
    case 3:
        death_send(d, job_call(JOB(.id = "f", .limits = {FLOATS("q", 2, 1000)})));
        death_send(d, job_call(JOB(.id = "g", .limits = {FIXED("q", 2), RATE("r", 1, 100)})));
        return true;
    case 4:
        death_send(d, rig_call(CMD_CANCEL_JOB, T, "c"));
        death_send(d, poll_call(3, 60000));
        return true;
    case 5:
    case 6:
    case 7:
        death_report(d);
        d->rig->mono_us += 20000;
        d->rig->wall_ms += 20;
        return true;
    case 8:
        death_send(d, poll_call(2, 60000));
        return true;
    case 9:
    case 10:
    case 11:
        death_report(d);
        return true;
    default:
        return false;
    }
}

static size_t death_live(struct death *d, size_t steps)
{
    size_t step = 0;
    for (size_t act = 0; step < steps; act++) {
        if (!death_act(d, act)) {
            break;
        }
        for (int i = 0; i < DEATH_STEPS_EACH && step < steps; i++, step++) {
            (void)rig_step(d->rig);
        }
    }
    return step;
}

static void death_settled(struct death *d)
{
    struct rig *rig = d->rig;
    rig_start(rig);
    rig_settle(rig);
    assert_true(rig_is_open(rig));
    slots_check(rig);
    for (size_t i = 0; i < d->count; i++) {
        struct call *call = d->calls[i];
        assert_true(call->done);
        if (call->cmd.kind == CMD_ENQUEUE && call->cmd.rc.code == SILO_OK) {
            struct call *again = rig_call(CMD_GET_JOB, NULL, NULL);
            again->cmd.job_ref = call->cmd.job_ref;
            assert_int_equal(finish(rig, again), SILO_OK); /* acknowledged: there for ever */
        }
        if (call->cmd.kind == CMD_CANCEL_JOB && call->cmd.rc.code == SILO_OK) {
            struct call *job = get(rig, "c"); /* it ran or not; the mark is there */
            assert_true(job->cmd.result.job.running || job->cmd.result.job.state.has_mark);
            rig_call_free(job);
        }
    }
    for (size_t i = 0; i < d->count; i++) {
        rig_call_free(d->calls[i]);
    }
}

/* One life of so many steps. False: the script ended before. */
static bool die_after(size_t steps, enum rig_survival survival)
{
    struct death d = {.rig = open_with(&(struct rig_options){.seed = steps + 1, .manual = true})};
    slots_watch(d.rig);
    const size_t lived = death_live(&d, steps);
    rig_kill(d.rig, survival);
    death_settled(&d);
    (void)drain(d.rig);
    rig_free(d.rig);
    return lived == steps;
}

static void test_death_at_every_moment(void **state)
{
    (void)state;
    static const enum rig_survival survivals[] = {RIG_LOSE, RIG_KEEP_SOME, RIG_KEEP_ALL};
    for (size_t i = 0; i < 3; i++) {
        size_t steps = 0;
        while (die_after(steps, survivals[i])) {
            steps++;
            assert_true(steps < 200);
        }
        assert_true(steps > 30);
    }
}

static void test_reopened_grants(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "a", FIXED("q", 2));
    LIMITED(rig, "b", FIXED("q", 2));
    LIMITED(rig, "c", FIXED("q", 2));
    LIMITED(rig, "d", FIXED("q", 1));
    (void)lease_one(rig, "a");
    reopen(rig);
    LIMITED(rig, "e", FIXED("q", 2)); /* the slots of before count */
    assert_int_equal(holders(rig, "q"), 2);
    end_job(rig, "a", ATTEMPT_SUCCEEDED);
    struct uuid tasks[3];
    assert_int_equal(lease_some(rig, 3, tasks), 2); /* b and c */
    assert_int_equal(status(rig, "c"), JOB_RUNNING);
    reopen(rig);
    assert_int_equal(report(rig, &tasks[0], ATTEMPT_SUCCEEDED), SILO_OK);
    assert_int_equal(report(rig, &tasks[1], ATTEMPT_SUCCEEDED), SILO_OK);
    assert_int_equal(holders(rig, "q"), 1);
    assert_int_equal(drain(rig), 2);
    close_checked(rig);
}

/* --- long lines --- */

#define LONG_LINE (3 * LANE_TASKS_MAX)
#define LONG_SLOTS 200u

/* Takes what there is and ends it; ids are a<n> with n from *next on, in order. */
static void take_in_order(struct rig *rig, uint32_t *next, uint32_t expected)
{
    struct call *poll = poll_call(LONG_SLOTS, 0);
    rig_do(rig, poll);
    assert_int_equal(poll_count(poll), expected);
    struct call *reports[LONG_SLOTS];
    for (uint32_t i = 0; i < expected; i++) {
        char id[16];
        const int len = snprintf(id, sizeof id, "a%u", (*next)++);
        assert_true(bytes_eq(poll_task(poll, i)->job_id, bytes_of(id, (size_t)len)));
        reports[i] = report_call(&poll_task(poll, i)->task_id, ATTEMPT_SUCCEEDED, "");
        rig_send(rig, reports[i]);
    }
    rig_settle(rig);
    for (uint32_t i = 0; i < expected; i++) {
        assert_int_equal(reports[i]->cmd.rc.code, SILO_OK);
        rig_call_free(reports[i]);
    }
    rig_call_free(poll);
}

static void test_paging_in_order(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    put_jobs(rig, JOB(.id = "a", .priority = 5, .limits = {FIXED("q", LONG_SLOTS)}), LONG_LINE);
    assert_int_equal(waiters(rig, "q"), LONG_LINE - LONG_SLOTS);
    uint32_t next = 0;
    while (next < LONG_LINE) {
        if (next == 2 * LONG_SLOTS || next == 9 * LONG_SLOTS) {
            reopen(rig); /* what was in the window is read again */
        }
        if (next == 5 * LONG_SLOTS) {
            /* More urgent than all of them: next, wherever the page ends. */
            LIMITED(rig, "urgent", FIXED("q", LONG_SLOTS));
            take_in_order(rig, &next, LONG_SLOTS);
            (void)lease_one(rig, "urgent");
            end_job(rig, "urgent", ATTEMPT_SUCCEEDED);
        }
        const uint32_t left = LONG_LINE - next;
        take_in_order(rig, &next, left < LONG_SLOTS ? left : LONG_SLOTS);
        slots_check(rig);
    }
    assert_int_equal(drain(rig), 0);
    close_checked(rig);
}

/*
 * Into a line nobody has read since open, before all that stands in it: it is found there after the
 * next open, too.
 */
static void test_urgent_into_unread_line(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    put_jobs(rig, JOB(.id = "a", .priority = 50, .limits = {FIXED("q", 1)}), 6);
    (void)lease_one(rig, "a0");
    end_job(rig, "a0", ATTEMPT_SUCCEEDED);
    (void)lease_one(rig, "a1");
    reopen(rig);
    put_job(rig, JOB(.id = "urgent", .priority = 1, .limits = {FIXED("q", 1)}));
    reopen(rig);
    end_job(rig, "a1", ATTEMPT_SUCCEEDED);
    (void)lease_one(rig, "urgent");
    end_job(rig, "urgent", ATTEMPT_SUCCEEDED);
    assert_int_equal(drain(rig), 4);
    close_checked(rig);
}

/* --- slices --- */

#define RAISED 2000u

static void step_until_meta(struct rig *rig, enum key_meta what)
{
    for (int i = 0; !has_meta(rig, what); i++) {
        assert_true(i < 2000);
        (void)rig_step(rig);
    }
}

/* A raise from 0 lets 2,000 in, a slice at a time; a row says so while it is not done. */
static void test_raise_in_slices(void **state)
{
    (void)state;
    struct rig *rig = open_with(&(struct rig_options){.seed = 1, .manual = true});
    put_jobs(rig, JOB(.id = "a", .limits = {FLOATS("f", 0, 600000)}), RAISED);
    assert_int_equal(waiters(rig, "f"), RAISED);
    const struct uuid task = refresh_one(rig);
    struct call *call = rig_call(CMD_REPORT_REFRESH, NULL, NULL);
    call->cmd.args.report_refresh = (struct report_refresh_args){
        .has_task_id = true, .task_id = task, .success = true, .value = RAISED};
    rig_send(rig, call);
    step_until_meta(rig, META_GRANT);
    const uint32_t granted = holders(rig, "f");
    assert_true(granted < RAISED);
    rig_kill(rig, RIG_KEEP_ALL);
    rig_call_free(call);
    rig_start(rig);
    while (!rig_is_open(rig)) {
        (void)rig_step(rig);
    }
    struct call *late = job_call(JOB(.id = "late", .limits = {FLOATS("f", 0, 600000)}));
    rig_send(rig, late); /* comes while the line is still being served */
    rig_settle(rig);
    assert_int_equal(late->cmd.rc.code, SILO_OK);
    rig_call_free(late);
    assert_int_equal(holders(rig, "f"), RAISED);
    assert_int_equal(waiters(rig, "f"), 1);
    assert_false(has_meta(rig, META_GRANT));
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "late"), SILO_OK);
    assert_int_equal(waiters(rig, "f"), 0);
    assert_int_equal(drain(rig), RAISED);
    close_checked(rig);
}

/* --- dropped holders --- */

static void test_drop_one_tenant(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    assert_int_equal(drop_holders(rig, "t1"), 0);
    put_jobs(rig, JOB(.id = "a", .tenant = "t1", .retries = 1, .limits = {FIXED("q", 3)}), 5);
    put_jobs(rig, JOB(.id = "b", .limits = {FIXED("q", 2)}), 3);
    struct uuid tasks[10];
    assert_int_equal(lease_some(rig, 2, tasks), 2);       /* running and ... */
    const struct uuid running = task_of(rig, "t1", "a0"); /* ... ready ones of t1 */
    const uint64_t dropped = drop_holders(rig, "t1");
    assert_int_equal(dropped, 3);
    assert_int_equal(holders_of(rig, "t1", "q"), 2); /* those who waited */
    assert_int_equal(waiters_of(rig, "t1", "q"), 0);
    assert_int_equal(holders(rig, "q"), 2); /* the other tenant's stay */
    assert_int_equal(waiters(rig, "q"), 1);
    slots_check(rig);
    /* Its report finds no slot to release, and a retry gets one in the usual way. */
    assert_int_equal(report(rig, &running, ATTEMPT_FAILED), SILO_OK);
    slots_check(rig);
    assert_int_equal(report(rig, &running, ATTEMPT_FAILED), SILO_NOT_FOUND);
    reopen(rig);
    (void)drain(rig);
    close_checked(rig);
}

static void test_drop_in_slices(void **state)
{
    (void)state;
    const uint32_t many = 3 * TURN_DROPS_MAX;
    struct rig *rig = open_with(&(struct rig_options){.seed = 1, .manual = true});
    put_jobs(rig, JOB(.id = "a", .tenant = "t1", .limits = {FIXED("q", 100000)}), many);
    LIMITED(rig, "b", FIXED("q", 1));
    struct call *call = rig_call(CMD_DROP_HOLDERS, "t1", "any");
    slots_dropped();
    rig_send(rig, call);
    step_until_meta(rig, META_DROP);
    const uint32_t left = holders_of(rig, "t1", "q");
    assert_true(left != 0 && left < many);
    rig_kill(rig, RIG_KEEP_ALL);
    rig_call_free(call);
    rig_start(rig);
    rig_settle(rig);
    assert_int_equal(holders_of(rig, "t1", "q"), 0);
    assert_int_equal(holders(rig, "q"), 1);
    assert_false(has_meta(rig, META_DROP));
    slots_check(rig);
    assert_int_equal(drain(rig), many + 1);
    close_checked(rig);
    rig = open_plain();
    put_jobs(rig, JOB(.id = "a", .tenant = "t1", .limits = {FIXED("q", many)}), 2 * many);
    assert_int_equal(drop_holders(rig, "t1"),
                     many); /* those that were there, not those it let in */
    assert_int_equal(holders_of(rig, "t1", "q"), many);
    assert_int_equal(drain(rig), 2 * many);
    close_checked(rig);
}

/* --- operators' commands --- */

/* Competes as if it had become due now; that it waits is not the end of it. */
static void test_expedite_to_full_queue(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "x", FIXED("q", 1));
    LIMITED(rig, "w1", FIXED("q", 1));
    put_job(rig, JOB(.id = "t", .start_ms = rig->wall_ms + 3600000, .limits = {FIXED("q", 1)}));
    rig_pass(rig, 100);
    assert_int_equal(expedite(rig, "t"), SILO_OK);
    assert_int_equal(waiters(rig, "q"), 2);
    assert_int_equal(expedite(rig, "t"), SILO_PRECONDITION); /* parked in a full queue */
    rig_pass(rig, 100);
    LIMITED(rig, "w2", FIXED("q", 1));
    reopen(rig);
    (void)lease_one(rig, "x");
    static const char *const order[] = {"x", "w1", "t"};
    for (size_t i = 0; i < 3; i++) {
        end_job(rig, order[i], ATTEMPT_SUCCEEDED);
        (void)lease_one(rig, i == 2 ? "w2" : order[i + 1]);
    }
    end_job(rig, "w2", ATTEMPT_SUCCEEDED);
    assert_int_equal(drain(rig), 0);
    close_checked(rig);
}

static void test_expedite_to_free_queue(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    put_job(rig, JOB(.id = "t", .start_ms = rig->wall_ms + 3600000, .limits = {FIXED("q", 1)}));
    assert_int_equal(expedite(rig, "t"), SILO_OK);
    assert_int_equal(holders(rig, "q"), 1);
    (void)lease_one(rig, "t");
    assert_int_equal(expedite(rig, "t"), SILO_PRECONDITION);
    end_job(rig, "t", ATTEMPT_SUCCEEDED);
    /* In retry back-off. */
    put_job(rig, JOB(.id = "r", .retries = 1, .retry_ms = 3600000, .limits = {FIXED("q", 1)}));
    (void)lease_one(rig, "r");
    end_job(rig, "r", ATTEMPT_FAILED);
    assert_int_equal(holders(rig, "q"), 0);
    assert_int_equal(expedite(rig, "r"), SILO_OK);
    (void)lease_one(rig, "r");
    end_job(rig, "r", ATTEMPT_SUCCEEDED);
    assert_int_equal(drain(rig), 0);
    close_checked(rig);
}

static void test_lease_this(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    /* Ready, with its slots: they stay with it and go at its end. */
    LIMITED(rig, "a", FIXED("q", 1), FIXED("p", 1));
    LIMITED(rig, "b", FIXED("q", 1));
    const struct uuid task = lease_this(rig, "a");
    assert_int_equal(rows_in(rig, TABLE_HOLDER), 2);
    assert_int_equal(poll_empty(rig), 0);
    /* One that waits in a line is refused, and stays there. */
    struct call *call = rig_call(CMD_LEASE_JOB, T, "b");
    call->cmd.args.lease_job.worker_id = BYTES_LIT("w1");
    assert_int_equal(finish(rig, call), SILO_PRECONDITION);
    assert_int_equal(waiters(rig, "q"), 1);
    reopen(rig);
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
    assert_int_equal(holders(rig, "p"), 0);
    (void)lease_one(rig, "b");
    /* A ticket: its limits are skipped, so it holds nothing, and nothing is released twice. */
    put_job(rig, JOB(.id = "t", .start_ms = rig->wall_ms + 60000, .limits = {FIXED("q", 1)}));
    const struct uuid ticket = lease_this(rig, "t");
    assert_int_equal(holders(rig, "q"), 1);
    assert_int_equal(report(rig, &ticket, ATTEMPT_SUCCEEDED), SILO_OK);
    assert_int_equal(holders(rig, "q"), 1);
    end_job(rig, "b", ATTEMPT_SUCCEEDED);
    assert_int_equal(drain(rig), 0);
    close_checked(rig);
}

static void test_restart_through_limits(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "a", FIXED("q", 1));
    (void)lease_one(rig, "a");
    end_job(rig, "a", ATTEMPT_FAILED);
    LIMITED(rig, "b", FIXED("q", 1));
    assert_int_equal(on_job(rig, CMD_RESTART_JOB, "a"), SILO_OK);
    assert_int_equal(waiters(rig, "q"), 1);
    struct uuid tasks[2];
    assert_int_equal(lease_some(rig, 2, tasks), 1);
    end_job(rig, "b", ATTEMPT_SUCCEEDED);
    (void)lease_one(rig, "a");
    end_job(rig, "a", ATTEMPT_SUCCEEDED);
    /* Cancelled while it waits, started again: at the end of the line. */
    LIMITED(rig, "x", FIXED("q", 1));
    LIMITED(rig, "c", FIXED("q", 1));
    LIMITED(rig, "d", FIXED("q", 1));
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "c"), SILO_OK);
    rig_pass(rig, 5);
    assert_int_equal(on_job(rig, CMD_RESTART_JOB, "c"), SILO_OK);
    static const char *const order[] = {"x", "d", "c"};
    for (size_t i = 0; i < 3; i++) {
        (void)lease_one(rig, order[i]);
        end_job(rig, order[i], ATTEMPT_SUCCEEDED);
    }
    assert_int_equal(drain(rig), 0);
    close_checked(rig);
}

static void test_import_into_full_queue(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    const struct import_attempt attempts[] = {failed_attempt(1000), failed_attempt(2000)};
    const struct job_spec *job = JOB(.id = "i", .retries = 5, .limits = {FIXED("q", 1)});
    LIMITED(rig, "x", FIXED("q", 1));
    assert_int_equal(finish(rig, import_call(job, attempts, 1)), SILO_OK);
    assert_int_equal(waiters(rig, "q"), 1);
    (void)lease_one(rig, "x");
    assert_int_equal(poll_empty(rig), 0);
    /* Again, with one attempt more: the token there goes, another one comes. */
    assert_int_equal(finish(rig, import_call(job, attempts, 2)), SILO_OK);
    assert_int_equal(waiters(rig, "q"), 1);
    end_job(rig, "x", ATTEMPT_SUCCEEDED);
    struct call *poll = poll_call(1, 0);
    rig_do(rig, poll);
    assert_int_equal(poll_task(poll, 0)->attempt, 3);
    rig_call_free(poll);
    end_job(rig, "i", ATTEMPT_SUCCEEDED);
    assert_int_equal(drain(rig), 0);
    close_checked(rig);
}

/* Imported again while it holds a slot: the slot goes with the old token. */
static void test_reimport_releases(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    const struct import_attempt attempts[] = {
        failed_attempt(1000),
        failed_attempt(2000),
        {.status = ATTEMPT_SUCCEEDED, .started_ms = 3000, .finished_ms = 4000}};
    const struct job_spec *job =
        JOB(.id = "i", .retries = 5, .limits = {FIXED("q", 1), FIXED("p", 1)});
    assert_int_equal(finish(rig, import_call(job, attempts, 1)), SILO_OK);
    assert_int_equal(rows_in(rig, TABLE_HOLDER), 2);
    LIMITED(rig, "next", FIXED("q", 1));
    /* It gives its slot up and stands in line again, behind the one that waited. */
    rig_pass(rig, 5);
    assert_int_equal(finish(rig, import_call(job, attempts, 2)), SILO_OK);
    assert_int_equal(holders(rig, "p"), 0);
    assert_int_equal(waiters(rig, "q"), 1);
    (void)lease_one(rig, "next");
    end_job(rig, "next", ATTEMPT_SUCCEEDED);
    assert_int_equal(rows_in(rig, TABLE_HOLDER), 2);
    LIMITED(rig, "last", FIXED("q", 1));
    assert_int_equal(finish(rig, import_call(job, attempts, 3)), SILO_OK);
    assert_int_equal(status(rig, "i"), JOB_SUCCEEDED);
    (void)lease_one(rig, "last");
    end_job(rig, "last", ATTEMPT_SUCCEEDED);
    assert_int_equal(drain(rig), 0);
    close_checked(rig);
}

static void test_delete(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "x", FIXED("q", 1));
    LIMITED(rig, "a", FIXED("q", 1));
    assert_int_equal(on_job(rig, CMD_DELETE_JOB, "x"), SILO_PRECONDITION);
    assert_int_equal(on_job(rig, CMD_DELETE_JOB, "a"), SILO_PRECONDITION);
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a"), SILO_OK);
    assert_int_equal(on_job(rig, CMD_DELETE_JOB, "a"), SILO_OK);
    LIMITED(rig, "a", FIXED("q", 1)); /* the id is free again, nothing of before is found */
    assert_int_equal(waiters(rig, "q"), 1);
    assert_int_equal(drain(rig), 2);
    assert_int_equal(on_job(rig, CMD_DELETE_JOB, "a"), SILO_OK);
    assert_int_equal(on_job(rig, CMD_DELETE_JOB, "x"), SILO_OK);
    assert_int_equal(rows_in(rig, TABLE_INFO), 0);
    assert_int_equal(rows_in(rig, TABLE_QUEUE), 0); /* a queue nobody waits at leaves no row */
    close_checked(rig);
}

/*
 * A job with limits whose retention ends has left no slot; one that was started again before is not
 * forgotten.
 */
static void test_retention(void **state)
{
    (void)state;
    struct rig *rig = open_with(
        &(struct rig_options){.seed = 1, .completed_expire_ms = 5000, .terminal_expire_ms = 5000});
    slots_watch(rig);
    LIMITED(rig, "x", FIXED("q", 1));
    LIMITED(rig, "a", FIXED("q", 1));
    (void)lease_one(rig, "x");
    end_job(rig, "x", ATTEMPT_SUCCEEDED);
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a"), SILO_OK);
    rig_pass(rig, 3000);
    assert_int_equal(on_job(rig, CMD_RESTART_JOB, "a"), SILO_OK);
    rig_pass(rig, 10000);
    assert_int_equal(on_job(rig, CMD_GET_JOB, "x"), SILO_NOT_FOUND);
    assert_int_equal(status(rig, "a"), JOB_SCHEDULED);
    assert_int_equal(holders(rig, "q"), 1);
    assert_int_equal(drain(rig), 1);
    rig_pass(rig, 10000);
    assert_int_equal(on_job(rig, CMD_GET_JOB, "a"), SILO_NOT_FOUND);
    assert_int_equal(rows_in(rig, TABLE_EXPIRY), 0);
    close_checked(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_opposite_orders),
        cmocka_unit_test(test_opposite_orders_reopened),
        cmocka_unit_test(test_takeover_by_urgency),
        cmocka_unit_test(test_every_order),
        cmocka_unit_test(test_death_at_every_moment),
        cmocka_unit_test(test_reopened_grants),
        cmocka_unit_test(test_paging_in_order),
        cmocka_unit_test(test_urgent_into_unread_line),
        cmocka_unit_test(test_raise_in_slices),
        cmocka_unit_test(test_drop_one_tenant),
        cmocka_unit_test(test_drop_in_slices),
        cmocka_unit_test(test_expedite_to_full_queue),
        cmocka_unit_test(test_expedite_to_free_queue),
        cmocka_unit_test(test_lease_this),
        cmocka_unit_test(test_restart_through_limits),
        cmocka_unit_test(test_import_into_full_queue),
        cmocka_unit_test(test_reimport_releases),
        cmocka_unit_test(test_delete),
        cmocka_unit_test(test_retention),
    };
    return cmocka_run_group_tests_name("slots", tests, NULL, NULL);
}
