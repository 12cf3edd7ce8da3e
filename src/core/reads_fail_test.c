/*
 * core/reads_fail_test.c - reads that fail for a while: whoever needed their rows has them read
 * again, though no command comes.
 */
#include "base/limits.h"
#include "base/test.h"
#include "core/core_rig_test.h"
#include "core/limit_calls_test.h"

#define READS (RIG_GET | RIG_SCAN)
#define AWAY_MS 1500
#define SOON_MS (OWNERSHIP_RENEW_MS + READ_RETRY_MS)
#define KEPT_MS 60000

/* Another life of the core, all of whose reads fail from its opening on. */
static void reopen_failing(struct rig *rig)
{
    assert_int_equal(rig_stop(rig), SILO_OK);
    rig_start(rig);
    while (!rig_is_open(rig)) {
        rig_turn(rig);
    }
    core_rig_fail(rig, READS);
}

static void read_again(struct rig *rig)
{
    core_rig_fail(rig, 0);
    rig_pass(rig, SOON_MS);
}

static void test_timers(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    enqueue(rig, "a", 5, rig->wall_ms + AWAY_MS);
    reopen_failing(rig);
    struct call *poll = poll_call(1, 60000);
    rig_send(rig, poll);
    rig_pass(rig, 2 * AWAY_MS);
    assert_false(poll->done);
    read_again(rig);
    assert_true(poll->done);
    assert_int_equal(poll_count(poll), 1);
    rig_call_free(poll);
    close_all(rig);
}

static void test_ready_tasks(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    enqueue(rig, "a", 5, 0);
    reopen_failing(rig);
    struct call *poll = poll_call(1, 60000);
    rig_send(rig, poll);
    rig_pass(rig, AWAY_MS);
    assert_false(poll->done);
    read_again(rig);
    assert_true(poll->done);
    assert_int_equal(poll_count(poll), 1);
    rig_call_free(poll);
    close_all(rig);
}

/* Its end reads the tenant's counters, or the job's limits. */
static void test_ends_of_leases(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    enqueue(rig, "a", 5, 0);
    (void)lease_one(rig, "a");
    reopen_failing(rig);
    rig_pass(rig, LEASE_MS + AWAY_MS);
    read_again(rig);
    assert_int_equal(status(rig, "a"), JOB_FAILED);
    close_all(rig);
}

/* The limit comes to memory, and is refreshed, though nobody names it. */
static void test_floating_limits(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "a", FLOATS("f", 1, 1000));
    const struct uuid task = lease_one(rig, "a");
    LIMITED(rig, "b", FLOATS("f", 1, 1000));
    reopen_failing(rig);
    rig_pass(rig, AWAY_MS);
    assert_int_equal(heartbeat(rig, &task, "w1"), SILO_OK);
    read_again(rig);
    struct refresh_task refresh;
    assert_int_equal(refreshes(rig, "g", &refresh), 1);
    close_checked(rig);
}

/* A slot is free, and what its best waiter comes to next cannot be read. */
static void test_grants(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "holds p", FIXED("p", 1));
    (void)lease_one(rig, "holds p");
    LIMITED(rig, "a", FIXED("q", 2));
    const struct uuid first = lease_one(rig, "a");
    LIMITED(rig, "b", FIXED("q", 2));
    const struct uuid second = lease_one(rig, "b");
    LIMITED(rig, "c", FIXED("q", 2));
    LIMITED(rig, "d", FIXED("q", 2), FIXED("p", 1));
    reopen(rig);
    assert_int_equal(report(rig, &first, ATTEMPT_SUCCEEDED), SILO_OK); /* the line of q is read */
    core_rig_fail(rig, READS);
    assert_int_equal(report(rig, &second, ATTEMPT_SUCCEEDED), SILO_OK);
    rig_pass(rig, AWAY_MS);
    assert_int_equal(waiters(rig, "p"), 0);
    read_again(rig);
    assert_int_equal(waiters(rig, "p"), 1);
    assert_int_equal(holders(rig, "q"), 2);
    assert_int_equal(drain(rig), 2); /* the lease of the one that holds p ends */
    close_checked(rig);
}

static void test_what_is_to_be_forgotten(void **state)
{
    (void)state;
    struct rig *rig = open_with(&(struct rig_options){.seed = 1, .completed_expire_ms = KEPT_MS});
    enqueue(rig, "a", 5, 0);
    const struct uuid task = lease_one(rig, "a");
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
    reopen_failing(rig);
    rig_pass(rig, KEPT_MS + AWAY_MS);
    core_rig_counts_reset(rig);
    read_again(rig);
    assert_int_equal(core_rig_counts(rig)->deletes[TABLE_INFO], 1);
    close_all(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_timers),         cmocka_unit_test(test_ready_tasks),
        cmocka_unit_test(test_ends_of_leases), cmocka_unit_test(test_floating_limits),
        cmocka_unit_test(test_grants),         cmocka_unit_test(test_what_is_to_be_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
