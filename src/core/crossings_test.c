/*
 * core/crossings_test.c - calls that arrive in one turn and cross: each ends as if it had come
 * alone, before the others or after them.
 */
#include "base/limits.h"
#include "base/test.h"
#include "core/core_rig_test.h"
#include "core/limit_calls_test.h"

static enum silo_code code_of(struct call *call)
{
    assert_true(call->done);
    const enum silo_code code = call->cmd.rc.code;
    rig_call_free(call);
    return code;
}

/* Two releases in one turn: two waiters, one slot each (bug 1). */
static void test_two_releases_two_grants(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    put_jobs(rig, JOB(.id = "a", .limits = {FIXED("q", 2)}), 5);
    struct uuid tasks[2];
    assert_int_equal(lease_some(rig, 2, tasks), 2);
    struct call *first = report_call(&tasks[0], ATTEMPT_SUCCEEDED, "");
    struct call *second = report_call(&tasks[1], ATTEMPT_SUCCEEDED, "");
    rig_send(rig, first);
    rig_send(rig, second);
    rig_settle(rig);
    assert_int_equal(code_of(first), SILO_OK);
    assert_int_equal(code_of(second), SILO_OK);
    assert_int_equal(holders(rig, "q"), 2);
    assert_int_equal(waiters(rig, "q"), 1);
    assert_int_equal(drain(rig), 3);
    close_checked(rig);
}

/* A waiter that is cancelled in the turn of the release is not granted; the next one is (bug 4). */
static void test_cancel_beside_release(void **state)
{
    (void)state;
    for (int cancel_first = 0; cancel_first < 2; cancel_first++) {
        struct rig *rig = open_watched();
        put_jobs(rig, JOB(.id = "a", .limits = {FIXED("q", 1)}), 3);
        const struct uuid task = lease_one(rig, "a0");
        struct call *cancel = rig_call(CMD_CANCEL_JOB, T, "a1");
        struct call *done = report_call(&task, ATTEMPT_SUCCEEDED, "");
        rig_send(rig, cancel_first ? cancel : done);
        rig_send(rig, cancel_first ? done : cancel);
        rig_settle(rig);
        assert_int_equal(code_of(cancel), SILO_OK);
        assert_int_equal(code_of(done), SILO_OK);
        assert_int_equal(status(rig, "a1"), JOB_CANCELLED);
        (void)lease_one(rig, "a2");
        end_job(rig, "a2", ATTEMPT_SUCCEEDED);
        assert_int_equal(drain(rig), 0);
        close_checked(rig);
    }
}

/*
 * Twenty enqueues at one queue at once: all succeed, in one batch, and no more run than may (bug
 * 28).
 */
static void test_enqueues_at_once(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "warm", FIXED("q", 3));
    const uint64_t before = batches(rig);
    put_jobs(rig, JOB(.id = "a", .limits = {FIXED("q", 3)}), 20);
    assert_int_equal(batches(rig), before + 1);
    assert_int_equal(holders(rig, "q"), 3);
    assert_int_equal(waiters(rig, "q"), 18);
    assert_int_equal(drain(rig), 21);
    close_checked(rig);
}

/*
 * A heartbeat and two reports of one turn: the first report wins, nothing comes back to life
 * (DEFECT-1, DEFECT-2).
 */
static void test_first_report_wins(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    put_job(rig, JOB(.id = "a", .retries = 3, .retry_ms = 1000, .limits = {FIXED("q", 1)}));
    LIMITED(rig, "b", FIXED("q", 1));
    const struct uuid task = lease_one(rig, "a");
    struct call *first = report_call(&task, ATTEMPT_SUCCEEDED, "one");
    struct call *beat = heartbeat_call(&task, "w1");
    struct call *second = report_call(&task, ATTEMPT_FAILED, "two");
    rig_send(rig, first);
    rig_send(rig, beat);
    rig_send(rig, second);
    rig_settle(rig);
    assert_int_equal(code_of(first), SILO_OK);
    assert_int_equal(code_of(beat), SILO_NOT_FOUND);
    assert_int_equal(code_of(second), SILO_NOT_FOUND);
    rig_pass(rig, LEASE_MS + 1000);
    assert_int_equal(status(rig, "a"), JOB_SUCCEEDED);
    const struct counts counts = totals(rig);
    assert_int_equal(counts.succeeded, 1);
    assert_int_equal(counts.open, 1);
    assert_int_equal(holders(rig, "q"), 1);
    close_checked(rig);
}

/* Renewed in the very turn in which it would expire (DEFECT-3). */
static void test_renewed_as_it_expires(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "a", FIXED("q", 1));
    const struct uuid task = lease_one(rig, "a");
    rig_pass(rig, LEASE_MS - 1);
    struct call *beat = heartbeat_call(&task, "w1");
    rig->mono_us += 1000;
    rig->wall_ms += 1;
    rig_do(rig, beat);
    assert_int_equal(code_of(beat), SILO_OK);
    rig_pass(rig, LEASE_MS - 1);
    assert_int_equal(status(rig, "a"), JOB_RUNNING);
    assert_int_equal(holders(rig, "q"), 1);
    end_job(rig, "a", ATTEMPT_SUCCEEDED);
    close_checked(rig);
}

/*
 * A cancel and a poll of one turn: whichever wins (a cancel may have to read first), it ran with
 * its slot or not at all (DEFECT-4).
 */
static void test_cancel_beside_poll(void **state)
{
    (void)state;
    for (int cancel_first = 0; cancel_first < 2; cancel_first++) {
        struct rig *rig = open_watched();
        assert_int_equal(poll_empty(rig), 0);
        LIMITED(rig, "a", FIXED("q", 1));
        struct call *cancel = rig_call(CMD_CANCEL_JOB, T, "a");
        struct call *poll = poll_call(1, 0);
        rig_send(rig, cancel_first ? cancel : poll);
        rig_send(rig, cancel_first ? poll : cancel);
        rig_settle(rig);
        assert_int_equal(code_of(cancel), SILO_OK);
        const bool leased = poll_count(poll) != 0;
        if (leased) {
            assert_int_equal(status(rig, "a"), JOB_RUNNING);
            assert_int_equal(holders(rig, "q"), 1);
            const struct uuid task = poll_task(poll, 0)->task_id;
            assert_int_equal(report(rig, &task, ATTEMPT_CANCELLED), SILO_OK);
        }
        rig_call_free(poll);
        assert_int_equal(status(rig, "a"), JOB_CANCELLED);
        assert_int_equal(totals(rig).cancelled, 1);
        assert_int_equal(totals(rig).open, 0);
        assert_int_equal(holders(rig, "q"), 0);
        close_checked(rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_releases_two_grants),
        cmocka_unit_test(test_cancel_beside_release),
        cmocka_unit_test(test_enqueues_at_once),
        cmocka_unit_test(test_first_report_wins),
        cmocka_unit_test(test_renewed_as_it_expires),
        cmocka_unit_test(test_cancel_beside_poll),
    };
    return cmocka_run_group_tests_name("crossings", tests, NULL, NULL);
}
