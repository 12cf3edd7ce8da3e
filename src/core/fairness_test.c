/*
 * core/fairness_test.c - nobody waits for somebody else's queue: full queues, long lines, far
 * tickets and noisy tenants beside work that can run.
 */
#include <stdio.h>

#include "base/limits.h"
#include "base/test.h"
#include "core/core_rig_test.h"
#include "core/limit_calls_test.h"

static uint64_t store_calls(struct rig *rig)
{
    const struct rig_counts *counts = core_rig_counts(rig);
    return counts->reads + counts->scans + counts->batches;
}

/*
 * 120 queues are full and have waiters; the release of the live one is a lease in the same batch.
 */
static void test_live_queue_beside_full_ones(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    char queue[16];
    char id[32];
    for (uint32_t i = 0; i < 120; i++) {
        (void)snprintf(queue, sizeof queue, "full%u", i);
        (void)snprintf(id, sizeof id, "q%u-", i);
        put_jobs(rig, JOB(.id = id, .group = "other", .limits = {FIXED(queue, 1)}), 12);
    }
    put_jobs(rig, JOB(.id = "live", .limits = {FIXED("live", 1)}), 30);
    reopen(rig);
    struct uuid task;
    assert_int_equal(lease_some(rig, 1, &task), 1);
    for (int i = 1; i < 30; i++) {
        struct call *poll = poll_call(1, 60000);
        rig_send(rig, poll);
        rig_settle(rig);
        assert_false(poll->done);
        const uint64_t before = batches(rig);
        assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
        assert_true(poll->done);
        assert_int_equal(poll_count(poll), 1);
        /* The first after open is read first: its slot, its waiter, its lease. */
        assert_true(batches(rig) <= before + (i == 1 ? 3 : 1));
        task = poll_task(poll, 0)->task_id;
        rig_call_free(poll);
    }
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
    assert_int_equal(rows_in(rig, TABLE_HOLDER), 120);
    close_checked(rig);
}

/* Releases at many queues in one turn: each hands its slot on in its own batch. */
static void test_many_releases_at_once(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    enum { QUEUES = 300 }; /* more rows than one batch takes */
    char queue[16];
    char id[32];
    for (uint32_t i = 0; i < QUEUES; i++) {
        (void)snprintf(queue, sizeof queue, "q%u", i);
        (void)snprintf(id, sizeof id, "j%u-", i);
        put_jobs(rig, JOB(.id = id, .limits = {FIXED(queue, 1)}), 3);
    }
    static struct uuid tasks[QUEUES];
    for (size_t got = 0; got < QUEUES;) {
        const size_t more = lease_some(rig, (uint32_t)(QUEUES - got), tasks + got);
        assert_true(more != 0);
        got += more;
    }
    slots_watch(rig); /* no batch ends with a free slot and a waiter */
    struct call *poll = poll_call(QUEUES, 60000);
    rig_send(rig, poll);
    rig_settle(rig);
    static struct call *calls[QUEUES];
    for (size_t i = 0; i < QUEUES; i++) {
        calls[i] = report_call(&tasks[i], ATTEMPT_SUCCEEDED, "");
        rig_send(rig, calls[i]);
    }
    rig_settle(rig);
    for (size_t i = 0; i < QUEUES; i++) {
        assert_int_equal(calls[i]->cmd.rc.code, SILO_OK);
        rig_call_free(calls[i]);
    }
    assert_int_equal(rows_in(rig, TABLE_HOLDER), QUEUES);
    assert_int_equal(rows_in(rig, TABLE_WAITER), QUEUES);
    assert_int_equal(poll_count(poll), QUEUES);
    rig_call_free(poll);
    close_checked(rig);
}

/*
 * 4,300 due tickets of one tenant at a full queue stand before 3 jobs of another in one group:
 * these are served at once.
 */
static void test_tickets_do_not_starve(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    put_job(rig,
            JOB(.id = "holder", .tenant = "noisy", .group = "other", .limits = {FIXED("q", 1)}));
    put_jobs(rig,
             JOB(.id = "t", .tenant = "noisy", .start_ms = rig->wall_ms + 1000,
                 .limits = {FIXED("q", 1)}),
             4300);
    rig_pass(rig, 2000); /* all are due, and wait at their queue */
    assert_int_equal(waiters_of(rig, "noisy", "q"), 4300);
    assert_int_equal(rows_in(rig, TABLE_TIMER), 0);
    put_jobs(rig, JOB(.id = "quiet", .tenant = "quiet", .priority = 99), 3);
    const uint64_t before = batches(rig);
    struct uuid tasks[10];
    assert_int_equal(lease_some(rig, 10, tasks), 3);
    assert_int_equal(batches(rig), before + 1);
    close_checked(rig);
}

/* The same while the tickets are just becoming due, a bounded number a turn. */
static void test_burst_of_tickets(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    put_job(rig,
            JOB(.id = "holder", .tenant = "noisy", .group = "other", .limits = {FIXED("q", 1)}));
    put_jobs(rig,
             JOB(.id = "t", .tenant = "noisy", .start_ms = rig->wall_ms + 1000,
                 .limits = {FIXED("q", 1)}),
             4300);
    rig->mono_us += 1000000;
    rig->wall_ms += 1000;
    struct call *job = job_call(JOB(.id = "quiet", .tenant = "quiet", .priority = 99));
    struct call *poll = poll_call(1, 60000);
    rig_send(rig, job);
    rig_send(rig, poll);
    for (int turns = 0; !poll->done; turns++) {
        assert_true(turns < 6); /* its batch, its flush, its answer */
        rig_turn(rig);
    }
    assert_int_equal(poll_count(poll), 1);
    assert_true(bytes_eq(poll_task(poll, 0)->job_id, BYTES_LIT("quiet")));
    assert_true(waiters_of(rig, "noisy", "q") < 4300);
    rig_settle(rig);
    assert_int_equal(waiters_of(rig, "noisy", "q"), 4300);
    rig_call_free(job);
    rig_call_free(poll);
    close_checked(rig);
}

#define SLICED 6000u

/* Grants of thousands are under way: other calls are answered between the slices. */
static void test_slices_let_others_in(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    put_jobs(
        rig,
        JOB(.id = "a", .tenant = "noisy", .group = "other", .limits = {FLOATS("f", 0, 600000)}),
        SLICED);
    struct refresh_task refresh;
    assert_int_equal(refreshes(rig, "other", &refresh), 1);
    struct call *raise = rig_call(CMD_REPORT_REFRESH, NULL, NULL);
    raise->cmd.args.report_refresh = (struct report_refresh_args){
        .has_task_id = true, .task_id = refresh.task_id, .success = true, .value = SLICED};
    struct call *job = job_call(JOB(.id = "quiet", .tenant = "quiet"));
    struct call *poll = poll_call(1, 60000);
    rig_send(rig, raise);
    rig_send(rig, job);
    rig_send(rig, poll);
    for (int turns = 0; !poll->done; turns++) {
        assert_true(turns < 6);
        rig_turn(rig);
    }
    assert_true(holders_of(rig, "noisy", "f") < SLICED);
    rig_settle(rig);
    assert_int_equal(holders_of(rig, "noisy", "f"), SLICED);
    rig_call_free(raise);
    rig_call_free(job);
    rig_call_free(poll);
    close_checked(rig);
}

static size_t drain_group(struct rig *rig, const char *group, uint32_t tasks_max)
{
    struct call *poll = poll_call(tasks_max, 0);
    poll->cmd.args.poll.group = bytes_str(group);
    rig_do(rig, poll);
    const size_t count = poll_count(poll);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(report(rig, &poll_task(poll, i)->task_id, ATTEMPT_SUCCEEDED), SILO_OK);
    }
    rig_call_free(poll);
    return count;
}

static void put_tenant(struct rig *rig, const char *tenant, uint32_t queues, uint32_t each)
{
    for (uint32_t i = 0; i < queues; i++) {
        char queue[16];
        char id[32];
        (void)snprintf(queue, sizeof queue, "q%u", i);
        (void)snprintf(id, sizeof id, "j%u-", i);
        put_jobs(rig,
                 JOB(.id = id, .tenant = tenant, .group = tenant,
                     .limits = {FIXED(queue, 1), FLOATS("all", 360, 600000)}),
                 each);
    }
}

/* What one tenant's drain costs, counted in calls of the store. */
static uint64_t drain_cost(struct rig *rig, const char *tenant, uint32_t queues, uint32_t jobs,
                           const char *noisy)
{
    const uint64_t before = store_calls(rig);
    uint64_t noise = 0;
    uint32_t done = 0;
    while (done < jobs) {
        const size_t got = drain_group(rig, tenant, 8);
        assert_int_equal(got, jobs - done < 8 ? jobs - done : queues < 8 ? queues : 8);
        done += (uint32_t)got;
        if (noisy != NULL) {
            const uint64_t at = store_calls(rig);
            (void)drain_group(rig, noisy, 8);
            noise += store_calls(rig) - at;
        }
    }
    return store_calls(rig) - before - noise;
}

/*
 * The quiet tenant's every poll is filled, and no call of its own costs more because another one
 * drains its lines.
 */
static void test_noisy_neighbour(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    put_tenant(rig, "alone", 8, 15);
    const uint64_t alone = drain_cost(rig, "alone", 8, 120, NULL);
    rig_free(rig);
    rig = open_plain();
    put_tenant(rig, "noisy", 24, 40);
    put_tenant(rig, "alone", 8, 15);
    const uint64_t beside = drain_cost(rig, "alone", 8, 120, "noisy");
    assert_true(beside <= alone + alone / 10);
    slots_check(rig);
    while (drain_group(rig, "noisy", 8) != 0) {
    }
    assert_int_equal(rows_in(rig, TABLE_HOLDER), 0);
    close_checked(rig);
}

/* A line whose maximum is too small stands in nobody's way, however long it is. */
static void test_small_maximum_behind(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    put_jobs(rig, JOB(.id = "x", .group = "other", .limits = {FIXED("q", 3)}), 3);
    put_jobs(rig, JOB(.id = "small", .limits = {FIXED("q", 1)}), 2 * LANE_TASKS_MAX);
    put_jobs(rig, JOB(.id = "large", .limits = {FIXED("q", 4)}), 20);
    reopen(rig);
    struct uuid task;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(lease_some(rig, 1, &task), 1);
        const uint64_t before = core_rig_counts(rig)->rows_read;
        assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
        const uint64_t rows_read = core_rig_counts(rig)->rows_read - before;
        assert_true(i == 0 || rows_read <= 4); /* the other line is not walked over */
    }
    assert_int_equal(lease_some(rig, 1, &task), 0);
    assert_int_equal(waiters(rig, "q"), 2 * LANE_TASKS_MAX);
    close_checked(rig);
}

/*
 * Waiters whose next queue is full, too, keep neither their slot from a better one nor others from
 * theirs.
 */
static void test_parked_downstream(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    put_job(rig, JOB(.id = "x", .group = "other", .limits = {FIXED("down", 1)}));
    put_jobs(rig, JOB(.id = "p", .priority = 50, .limits = {FIXED("up", 4), FIXED("down", 1)}), 40);
    assert_int_equal(holders(rig, "up"), 4);
    assert_int_equal(waiters(rig, "down"), 4);
    put_job(rig, JOB(.id = "free", .priority = 10, .limits = {FIXED("up", 4)}));
    (void)lease_one(rig, "free"); /* it takes the slot of one that only holds it to wait */
    assert_int_equal(holders(rig, "up"), 4);
    slots_check(rig);
    end_job(rig, "free", ATTEMPT_SUCCEEDED);
    assert_int_equal(holders(rig, "up"), 4);
    close_checked(rig);
}

/* An idle shard with a million milliseconds of waiting work reads nothing. */
static void test_idle_reads_nothing(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    put_jobs(rig, JOB(.id = "a", .group = "other", .limits = {FIXED("q", 5)}), 500);
    put_jobs(rig,
             JOB(.id = "t", .start_ms = rig->wall_ms + 10 * 3600000, .limits = {FIXED("q", 5)}),
             500);
    rig_pass(rig, 120000);
    const struct rig_counts before = *core_rig_counts(rig);
    rig_pass(rig, 1000000);
    assert_int_equal(core_rig_counts(rig)->rows_read, before.rows_read);
    assert_int_equal(core_rig_counts(rig)->batches, before.batches);
    close_checked(rig);
}

/* Opening reads running work, not waiting work. */
static void test_opening_reads_no_waiting_work(void **state)
{
    (void)state;
    uint64_t reads[2];
    for (uint32_t i = 0; i < 2; i++) {
        struct rig *rig = open_plain();
        put_jobs(rig, JOB(.id = "a", .limits = {FIXED("q", 2)}), i == 0 ? 100 : 4000);
        put_jobs(rig, JOB(.id = "b"), i == 0 ? 100 : 4000);
        struct uuid tasks[2];
        assert_int_equal(lease_some(rig, 2, tasks), 2);
        rig_settle(rig);
        rig_kill(rig, RIG_LOSE);
        const uint64_t before = core_rig_counts(rig)->rows_read;
        rig_start(rig);
        rig_settle(rig);
        assert_true(rig_is_open(rig));
        reads[i] = core_rig_counts(rig)->rows_read - before;
        rig_free(rig);
    }
    assert_int_equal(reads[0], reads[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_live_queue_beside_full_ones),
        cmocka_unit_test(test_many_releases_at_once),
        cmocka_unit_test(test_tickets_do_not_starve),
        cmocka_unit_test(test_burst_of_tickets),
        cmocka_unit_test(test_slices_let_others_in),
        cmocka_unit_test(test_noisy_neighbour),
        cmocka_unit_test(test_small_maximum_behind),
        cmocka_unit_test(test_parked_downstream),
        cmocka_unit_test(test_idle_reads_nothing),
        cmocka_unit_test(test_opening_reads_no_waiting_work),
    };
    return cmocka_run_group_tests_name("fairness", tests, NULL, NULL);
}
