/*
 * core/lessons_test.c - what went wrong in the system this one replaces, each as a test of the
 * behaviour wanted: its thirty production bugs (lesson_n) and the defects found by reading it
 * (defect_n), where no other test shows them. docs/internals/tests.md says which test shows which.
 */
#include <stdio.h>

#include "base/limits.h"
#include "base/test.h"
#include "core/core_rig_test.h"
#include "core/limit_calls_test.h"

static struct rig *open_watched(void)
{
    struct rig *rig = open_with(&(struct rig_options){.seed = 1});
    slots_watch(rig);
    return rig;
}

static void close_checked(struct rig *rig)
{
    slots_check(rig);
    close_all(rig);
}

static enum silo_code code_of(struct call *call)
{
    assert_true(call->done);
    const enum silo_code code = call->cmd.rc.code;
    rig_call_free(call);
    return code;
}

/* --- grants --- */

/* Two releases in one turn: two waiters, one slot each. */
static void lesson_1(void **state)
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

/* A waiter that is cancelled in the turn of the release is not granted; the next one is. */
static void lesson_4(void **state)
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
 * Who waited keeps its start: once granted it stands before younger work that was ready all the
 * time.
 */
static void lesson_8(void **state)
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
 * to B's again.
 */
static void lesson_9(void **state)
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

/* --- releases --- */

static struct import_attempt failed_attempt(int64_t at_ms)
{
    return (struct import_attempt){.status = ATTEMPT_FAILED,
                                   .started_ms = at_ms,
                                   .finished_ms = at_ms + 1,
                                   .error_code = BYTES_LIT("E")};
}

enum stage { STAGE_READY, STAGE_WAITING, STAGE_TICKET, STAGE_BACK_OFF, STAGES };

/* An imported job with a slot of q (not the ticket) stands where the stage says. */
static void lesson_12_import(struct rig *rig, enum stage stage,
                             const struct import_attempt *attempts, size_t count)
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
 * it.
 */
static void lesson_12(void **state)
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
        lesson_12_import(rig, stage, attempts, 1);
        if (stage == STAGE_BACK_OFF) {
            assert_int_equal(poll_empty(rig), 0);
        }
        assert_int_equal(holders(rig, "q"), stage == STAGE_TICKET ? 0 : 1);
        LIMITED(rig, "next", FIXED("q", 1));
        lesson_12_import(rig, stage, attempts, 2);
        assert_int_equal(status(rig, "i"), JOB_SUCCEEDED);
        (void)lease_one(rig, "next");
        end_job(rig, "next", ATTEMPT_SUCCEEDED);
        assert_int_equal(rows_in(rig, TABLE_HOLDER), 1); /* that of x */
        assert_int_equal(rows_in(rig, TABLE_REQUEST) + rows_in(rig, TABLE_TIMER), 0);
        close_checked(rig);
    }
}

/* The info row of a job has gone: its task is dropped with its slots, nobody else is held up. */
static void lesson_14(void **state)
{
    (void)state;
    struct rig *rig = open_with(&(struct rig_options){.seed = 1});
    LIMITED(rig, "lost", FIXED("q", 1), FIXED("p", 1));
    LIMITED(rig, "next", FIXED("q", 1));
    rig_kill(rig, RIG_LOSE);
    struct key key;
    key_of_job(rig, TABLE_INFO, "lost", &key);
    rig_tamper(rig, key_bytes(&key), BYTES_NONE);
    rig_start(rig);
    rig_settle(rig);
    struct call *poll = poll_call(5, 1000);
    rig_send(rig, poll);
    rig_pass(rig, 1000);
    assert_int_equal(poll_count(poll), 1);
    assert_true(bytes_eq(poll_task(poll, 0)->job_id, BYTES_LIT("next")));
    assert_int_equal(report(rig, &poll_task(poll, 0)->task_id, ATTEMPT_SUCCEEDED), SILO_OK);
    rig_call_free(poll);
    assert_int_equal(rows_in(rig, TABLE_HOLDER), 0);
    assert_int_equal(rows_in(rig, TABLE_READY), 0);
    close_all(rig);
}

/* As many grants as slots were freed. */
static void lesson_18(void **state)
{
    (void)state;
    struct rig *rig = open_with(&(struct rig_options){.seed = 1});
    put_jobs(rig, JOB(.id = "a", .tenant = "t", .limits = {FIXED("q", 50)}), 90);
    assert_int_equal(drop_holders(rig, "t"), 50);
    assert_int_equal(holders_of(rig, "t", "q"), 40);
    assert_int_equal(waiters_of(rig, "t", "q"), 0);
    assert_int_equal(drain(rig), 90);
    close_checked(rig);
}

/* --- turns --- */

/* Twenty enqueues at one queue at once: all succeed, in one batch, and no more run than may. */
static void lesson_28(void **state)
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

/* Opening reads running work, not waiting work. */
static void lesson_open(void **state)
{
    (void)state;
    uint64_t reads[2];
    for (uint32_t i = 0; i < 2; i++) {
        struct rig *rig = open_with(&(struct rig_options){.seed = 1});
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

/* --- leases --- */

/* A heartbeat and two reports of one turn: the first report wins, nothing comes back to life. */
static void defect_1_2(void **state)
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

/* Renewed in the very turn in which it would expire. */
static void defect_3(void **state)
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
 * its slot or not at all.
 */
static void defect_4(void **state)
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

/*
 * The worker of a cancelled job dies, in a tenant of its own: the job is Cancelled, not tried
 * again.
 */
static void defect_16(void **state)
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

/* --- bad rows --- */

/* A token's row that says nothing, or a job's: that one is out, the others run. */
static void defect_10(void **state)
{
    (void)state;
    static const enum key_table tables[] = {TABLE_READY, TABLE_INFO, TABLE_REQUEST, TABLE_TIMER};
    for (size_t i = 0; i < 4; i++) {
        struct rig *rig = open_with(&(struct rig_options){.seed = 1});
        const bool slots = tables[i] == TABLE_REQUEST;
        const int64_t start_ms = tables[i] == TABLE_TIMER ? rig->wall_ms + 1000 : 0;
        const char *bad = slots ? "a2" : "a1";
        struct job_spec spec = {.id = "a", .start_ms = start_ms};
        if (slots) {
            spec.limits[0] = (struct job_limit)FIXED("q", 1);
        }
        put_jobs(rig, &spec, 5);
        rig_kill(rig, RIG_LOSE);
        struct key key;
        key_of_job(rig, tables[i], bad, &key);
        rig_tamper(rig, key_bytes(&key), BYTES_LIT("\xff\xff\xff"));
        rig_start(rig);
        rig_settle(rig);
        rig_pass(rig, 2000);
        size_t ran = 0;
        for (int round = 0; round < 10; round++) {
            struct call *poll = poll_call(10, 500);
            rig_send(rig, poll);
            rig_pass(rig, 500);
            for (size_t n = 0; n < poll_count(poll); n++, ran++) {
                assert_false(bytes_eq(poll_task(poll, n)->job_id, bytes_str(bad)));
                assert_int_equal(report(rig, &poll_task(poll, n)->task_id, ATTEMPT_SUCCEEDED),
                                 SILO_OK);
            }
            rig_call_free(poll);
        }
        assert_int_equal(ran, 4);
        assert_true(core_stats(rig_core(rig)).corrupt_rows != 0);
        rig_free(rig);
    }
}

/* A slot whose job has gone is nobody's: open finds it and lets it go. */
static void slot_of_nobody(void **state)
{
    (void)state;
    struct rig *rig = open_with(&(struct rig_options){.seed = 1});
    put_job(rig, JOB(.id = "gone", .start_ms = rig->wall_ms + 3600000, .limits = {FIXED("q", 1)}));
    LIMITED(rig, "x", FIXED("q", 1));
    LIMITED(rig, "next", FIXED("q", 1));
    struct key key;
    key_of_job(rig, TABLE_READY, "x", &key);
    rig_kill(rig, RIG_LOSE);
    rig_tamper(rig, key_bytes(&key), BYTES_NONE);
    key_of_job(rig, TABLE_INFO, "x", &key);
    rig_tamper(rig, key_bytes(&key), BYTES_NONE);
    rig_start(rig);
    rig_settle(rig);
    (void)lease_one(rig, "next");
    assert_int_equal(holders(rig, "q"), 1);
    rig_free(rig);
}

/* A job that is deleted leaves nothing for one of the same name. */
static void defect_11(void **state)
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

/* --- scenarios of the job model --- */

static uint32_t attempts_of(struct rig *rig, const char *id)
{
    struct call *call = get(rig, id);
    const struct job_view *job = &call->cmd.result.job;
    const uint32_t count =
        (uint32_t)job->attempt_count + (job->has_state && job->state.by_attempt ? 1 : 0);
    rig_call_free(call);
    return count;
}

/* Ends badly or is cancelled, runs again, succeeds; what was before stays recorded. */
static void jr_13_to_16(void **state)
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

/* Cancelled while it runs, its worker goes on and succeeds. */
static void jr_5(void **state)
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lesson_1),    cmocka_unit_test(lesson_4),
        cmocka_unit_test(lesson_8),    cmocka_unit_test(lesson_9),
        cmocka_unit_test(lesson_12),   cmocka_unit_test(lesson_14),
        cmocka_unit_test(lesson_18),   cmocka_unit_test(lesson_28),
        cmocka_unit_test(lesson_open), cmocka_unit_test(defect_1_2),
        cmocka_unit_test(defect_3),    cmocka_unit_test(defect_4),
        cmocka_unit_test(defect_10),   cmocka_unit_test(defect_11),
        cmocka_unit_test(defect_16),   cmocka_unit_test(slot_of_nobody),
        cmocka_unit_test(jr_5),        cmocka_unit_test(jr_13_to_16),
    };
    return cmocka_run_group_tests_name("lessons", tests, NULL, NULL);
}
