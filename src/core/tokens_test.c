/*
 * core/tokens_test.c - a job's token and its slots over longer ways: what it had before leaves no
 * trace, and what it holds goes on to who waits for it.
 */
#include "base/limits.h"
#include "base/test.h"
#include "core/core_rig_test.h"
#include "core/limit_calls_test.h"

/*
 * Who waited keeps its start: once granted it stands before younger work that was ready all the
 * time (bug 8).
 */
static void test_waiting_keeps_the_start(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "x", FIXED("q", 1));
    LIMITED(rig, "old", FIXED("q", 1));
    (void)lease_one(rig, "x");
    rig_pass(rig, 5000);
    put_jobs(rig, JOB(.id = "young"), 2000);
    end_job(rig, "x", ATTEMPT_SUCCEEDED);
    reopen(rig);
    (void)lease_one(rig, "old");
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "old"), SILO_OK);
    end_job(rig, "old", ATTEMPT_CANCELLED);
    assert_int_equal(drain(rig), 2000);
    close_checked(rig);
}

/*
 * A token comes back to the very key it had before: from B's line to A's and, its slot taken over,
 * to B's again (bug 9).
 */
static void test_back_to_an_old_key(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    put_job(rig, JOB(.id = "xa", .group = "other", .limits = {FIXED("A", 1)}));
    put_job(rig, JOB(.id = "xb", .limits = {FIXED("B", 1)}));
    put_job(rig, JOB(.id = "moves", .priority = 50, .limits = {FIXED("B", 1), FIXED("A", 1)}));
    assert_int_equal(waiters(rig, "B"), 1);
    (void)lease_one(rig, "xb");
    end_job(rig, "xb", ATTEMPT_SUCCEEDED);
    assert_int_equal(waiters(rig, "A"), 1);
    LIMITED(rig, "urgent", FIXED("B", 1));
    assert_int_equal(waiters(rig, "A"), 0);
    assert_int_equal(waiters(rig, "B"), 1);
    (void)lease_one(rig, "urgent");
    reopen(rig);
    end_job(rig, "urgent", ATTEMPT_SUCCEEDED);
    assert_int_equal(holders(rig, "B"), 1);
    assert_int_equal(waiters(rig, "A"), 1);
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "xa"), SILO_OK);
    (void)lease_one(rig, "moves");
    end_job(rig, "moves", ATTEMPT_SUCCEEDED);
    assert_int_equal(drain(rig), 0);
    close_checked(rig);
}

enum stage { STAGE_READY, STAGE_WAITING, STAGE_TICKET, STAGE_BACK_OFF, STAGES };

/* An imported job with a slot of q (not the ticket) stands where the stage says. */
static void imported(struct rig *rig, enum stage stage, const struct import_attempt *attempts,
                     size_t count)
{
    struct job_spec spec = {.id = "i", .retries = 9, .limits = {FIXED("q", 1)}};
    if (stage == STAGE_WAITING) {
        spec.limits[1] = (struct job_limit)FIXED("p", 1);
    } else if (stage == STAGE_BACK_OFF) {
        spec.limits[1] = (struct job_limit)RATE("r", 1, 3600000);
    } else if (stage == STAGE_TICKET) {
        spec.start_ms = rig->wall_ms + 60000;
    }
    assert_int_equal(finish(rig, import_call(&spec, attempts, count)), SILO_OK);
}

/*
 * Imported again to its end from every place its token can be: the slot goes on to who waits for
 * it (bug 12).
 */
static void test_imported_to_its_end(void **state)
{
    (void)state;
    const struct import_attempt attempts[] = {
        failed_attempt(1000),
        {.status = ATTEMPT_SUCCEEDED, .started_ms = 3000, .finished_ms = 4000}};
    for (enum stage stage = STAGE_READY; stage < STAGES; stage++) {
        struct rig *rig = open_watched();
        put_job(rig, JOB(.id = "x", .group = "other", .limits = {FIXED("p", 1)}));
        LIMITED(rig, "eats", RATE("r", 1, 3600000));
        (void)lease_one(rig, "eats");
        end_job(rig, "eats", ATTEMPT_SUCCEEDED);
        imported(rig, stage, attempts, 1);
        if (stage == STAGE_BACK_OFF) {
            assert_int_equal(poll_empty(rig), 0);
        }
        assert_int_equal(holders(rig, "q"), stage == STAGE_TICKET ? 0 : 1);
        LIMITED(rig, "next", FIXED("q", 1));
        imported(rig, stage, attempts, 2);
        assert_int_equal(status(rig, "i"), JOB_SUCCEEDED);
        (void)lease_one(rig, "next");
        end_job(rig, "next", ATTEMPT_SUCCEEDED);
        assert_int_equal(rows_in(rig, TABLE_HOLDER), 1); /* that of x */
        assert_int_equal(rows_in(rig, TABLE_WAITER) + rows_in(rig, TABLE_TIMER), 0);
        close_checked(rig);
    }
}

/* As many grants as slots were freed (bug 18). */
static void test_as_many_grants_as_slots(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    put_jobs(rig, JOB(.id = "a", .tenant = "t", .limits = {FIXED("q", 50)}), 90);
    assert_int_equal(drop_holders(rig, "t"), 50);
    assert_int_equal(holders_of(rig, "t", "q"), 40);
    assert_int_equal(waiters_of(rig, "t", "q"), 0);
    assert_int_equal(drain(rig), 90);
    close_checked(rig);
}

/*
 * The worker of a cancelled job dies, in a tenant of its own: the job is Cancelled, not tried
 * again (DEFECT-16).
 */
static void test_cancelled_worker_dies(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    put_job(rig, JOB(.id = "a", .tenant = "acme", .retries = 3, .limits = {FIXED("q", 1)}));
    struct uuid task;
    assert_int_equal(lease_some(rig, 1, &task), 1);
    assert_int_equal(finish(rig, rig_call(CMD_CANCEL_JOB, "acme", "a")), SILO_OK);
    rig_pass(rig, LEASE_MS);
    struct call *call = rig_call(CMD_GET_JOB, "acme", "a");
    rig_do(rig, call);
    assert_int_equal(call->cmd.result.job.status, JOB_CANCELLED);
    rig_call_free(call);
    assert_int_equal(holders_of(rig, "acme", "q"), 0);
    close_checked(rig);
}

/* A job that is deleted leaves nothing for one of the same name (DEFECT-11). */
static void test_delete_leaves_nothing(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    put_job(rig, JOB(.id = "a", .retries = 2, .limits = {FIXED("q", 1)}));
    for (int i = 0; i < 3; i++) {
        (void)lease_one(rig, "a");
        end_job(rig, "a", ATTEMPT_FAILED);
        rig_pass(rig, 1);
    }
    assert_int_equal(rows_in(rig, TABLE_ATTEMPT), 2);
    assert_int_equal(on_job(rig, CMD_DELETE_JOB, "a"), SILO_OK);
    assert_int_equal(rows_in(rig, TABLE_ATTEMPT) + rows_in(rig, TABLE_STATE) +
                         rows_in(rig, TABLE_INDEX) + rows_in(rig, TABLE_INFO),
                     0);
    LIMITED(rig, "a", FIXED("q", 1));
    struct call *call = get(rig, "a");
    assert_int_equal(call->cmd.result.job.attempt_count, 0);
    rig_call_free(call);
    close_checked(rig);
}

static uint32_t attempts_of(struct rig *rig, const char *id)
{
    struct call *call = get(rig, id);
    const struct job_view *job = &call->cmd.result.job;
    const uint32_t count =
        (uint32_t)job->attempt_count + (job->has_state && job->state.by_attempt ? 1 : 0);
    rig_call_free(call);
    return count;
}

/*
 * Ends badly or is cancelled, runs again, succeeds; what was before stays recorded (JR13 to JR16).
 */
static void test_restart_after_an_end(void **state)
{
    (void)state;
    for (int marked = 0; marked < 2; marked++) {
        for (int runs = 0; runs < 2; runs++) {
            if (!marked && !runs) {
                continue; /* nothing happened to it */
            }
            struct rig *rig = open_watched();
            LIMITED(rig, "a", FIXED("q", 1));
            if (runs) {
                (void)lease_one(rig, "a");
            }
            if (marked) {
                assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a"), SILO_OK);
            }
            if (runs) {
                end_job(rig, "a", ATTEMPT_FAILED);
            }
            assert_int_equal(status(rig, "a"), runs ? JOB_FAILED : JOB_CANCELLED);
            assert_int_equal(holders(rig, "q"), 0);
            assert_int_equal(on_job(rig, CMD_RESTART_JOB, "a"), SILO_OK);
            const struct uuid task = lease_one(rig, "a");
            struct call *beat = heartbeat_call(&task, "w1");
            rig_do(rig, beat);
            assert_false(beat->cmd.result.heartbeat.cancelled);
            rig_call_free(beat);
            end_job(rig, "a", ATTEMPT_SUCCEEDED);
            assert_int_equal(status(rig, "a"), JOB_SUCCEEDED);
            assert_int_equal(attempts_of(rig, "a"), runs ? 2 : 1);
            assert_int_equal(drain(rig), 0);
            close_checked(rig);
        }
    }
}

/* Cancelled while it runs, its worker goes on and succeeds (JR5). */
static void test_success_after_cancel(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "a", FIXED("q", 1));
    const struct uuid task = lease_one(rig, "a");
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a"), SILO_OK);
    for (int i = 0; i < 3; i++) {
        rig_pass(rig, LEASE_MS - 1);
        struct call *beat = heartbeat_call(&task, "w1");
        rig_do(rig, beat);
        assert_true(beat->cmd.result.heartbeat.cancelled);
        rig_call_free(beat);
    }
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
    struct call *call = get(rig, "a");
    assert_int_equal(call->cmd.result.job.status, JOB_SUCCEEDED);
    assert_true(call->cmd.result.job.state.has_mark);
    rig_call_free(call);
    assert_int_equal(holders(rig, "q"), 0);
    close_checked(rig);
}

/* The arrival number at which the group's only lane begins, as its low-water row says. */
static void low_see(void *context, struct bytes key, struct bytes value)
{
    struct key row;
    key_low_ready(&row, BYTES_LIT("g"), 0);
    if (bytes_eq(key, key_bytes(&row))) {
        struct bytes at = bytes_of(value.ptr + 2, value.len - 2); /* version, lane */
        struct bytes item;
        int64_t due_ms = 0;
        uint8_t priority = 0;
        assert_true(item_next(&at, &item));
        assert_true(low_decode(item, &due_ms, &priority, context));
    }
}

/* A later life need not read the dead rows: the mark follows what is taken away. */
static void test_low_water_rises(void **state)
{
    (void)state;
    static const char *const ids[] = {"a", "b", "c"};
    struct rig *rig = open_plain();
    for (size_t i = 0; i < 3; i++) {
        enqueue(rig, ids[i], 5, 0);
    }
    uint64_t mark = 0;
    for (size_t i = 0; i < 2; i++) {
        (void)lease_one(rig, ids[i]);
        rig_pass(rig, LOW_WATER_MS);
        uint64_t next = 0;
        rig_each_row(rig, low_see, &next);
        assert_true(next > mark);
        mark = next;
    }
    close_all(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waiting_keeps_the_start),
        cmocka_unit_test(test_back_to_an_old_key),
        cmocka_unit_test(test_imported_to_its_end),
        cmocka_unit_test(test_as_many_grants_as_slots),
        cmocka_unit_test(test_cancelled_worker_dies),
        cmocka_unit_test(test_delete_leaves_nothing),
        cmocka_unit_test(test_restart_after_an_end),
        cmocka_unit_test(test_success_after_cancel),
        cmocka_unit_test(test_low_water_rises),
    };
    return cmocka_run_group_tests_name("tokens", tests, NULL, NULL);
}
