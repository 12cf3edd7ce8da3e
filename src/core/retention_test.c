/*
 * core/retention_test.c - ended jobs are forgotten in time: what is written for that, and what of
 * it counts.
 */
#include <stdio.h>

#include "base/limits.h"
#include "base/test.h"
#include "core/core_rig_test.h"
#include "core/limit_calls_test.h"

#define KEPT_MS 60000
#define FAILED_KEPT_MS 90000

/* How many expiry rows were written. */
static uint64_t expiries_put(const struct rig *rig)
{
    return core_rig_counts(rig)->puts[TABLE_EXPIRY];
}

static void expiry_see(void *context, struct bytes key, struct bytes value)
{
    struct key *last = context;
    (void)value;
    if (key.ptr[0] == TABLE_EXPIRY) {
        memcpy(last->b, key.ptr, key.len);
        last->len = key.len;
    }
}

/* The key of the last expiry row. */
static void expiry_last(struct rig *rig, struct key *ret)
{
    ret->len = 0;
    rig_each_row(rig, expiry_see, ret);
    assert_true(ret->len != 0);
}

static struct rig *open_keeping(void)
{
    return open_with(&(struct rig_options){
        .seed = 1, .completed_expire_ms = KEPT_MS, .terminal_expire_ms = FAILED_KEPT_MS});
}

static enum silo_code there(struct rig *rig, const char *id)
{
    return on_job(rig, CMD_GET_JOB, id);
}

/* Ends all that can be leased, in one batch. */
static size_t end_together(struct rig *rig, enum attempt_status how)
{
    static struct uuid tasks[1000];
    static struct call *calls[1000];
    const size_t count = lease_some(rig, 1000, tasks);
    for (size_t i = 0; i < count; i++) {
        calls[i] = report_call(&tasks[i], how, "x");
        rig_send(rig, calls[i]);
    }
    rig_settle(rig);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(calls[i]->cmd.rc.code, SILO_OK);
        rig_call_free(calls[i]);
    }
    return count;
}

/* Jobs that end together cost one row together, and one for each time they are kept. */
static void test_one_row(void **state)
{
    (void)state;
    struct rig *rig = open_keeping();
    put_jobs(rig, JOB(.id = "a"), 20);
    assert_int_equal(end_together(rig, ATTEMPT_SUCCEEDED), 20);
    assert_int_equal(rows_in(rig, TABLE_EXPIRY), 1);
    put_jobs(rig, JOB(.id = "b"), 20);
    assert_int_equal(end_together(rig, ATTEMPT_FAILED), 20);
    assert_int_equal(rows_in(rig, TABLE_EXPIRY), 2);
    rig_pass(rig, KEPT_MS - 1);
    assert_int_equal(rows_in(rig, TABLE_INFO), 40);
    rig_pass(rig, 1);
    assert_int_equal(rows_in(rig, TABLE_INFO), 20);
    assert_int_equal(there(rig, "a7"), SILO_NOT_FOUND);
    assert_int_equal(there(rig, "b7"), SILO_OK);
    rig_pass(rig, FAILED_KEPT_MS - KEPT_MS);
    assert_int_equal(rows_in(rig, TABLE_INFO), 0);
    assert_int_equal(rows_in(rig, TABLE_EXPIRY), 0);
    close_all(rig);
}

/* Long ids: a row is no larger than a row should be. */
static void test_large_rows(void **state)
{
    (void)state;
    struct rig *rig = open_keeping();
    char id[2001];
    memset(id, 'x', sizeof id);
    for (int i = 0; i < 100; i++) {
        (void)snprintf(id + sizeof id - 4, 4, "%03d", i);
        put_job(rig, JOB(.id = id));
    }
    assert_int_equal(end_together(rig, ATTEMPT_SUCCEEDED), 100);
    assert_true(expiries_put(rig) > 10 && expiries_put(rig) < 50);
    rig_pass(rig, KEPT_MS + 100);
    assert_int_equal(rows_in(rig, TABLE_INFO), 0);
    assert_int_equal(rows_in(rig, TABLE_EXPIRY), 0);
    close_all(rig);
}

/*
 * What was deleted, started again, or is another job of that name by now, is not touched by an old
 * reminder.
 */
static void test_old_reminders(void **state)
{
    (void)state;
    struct rig *rig = open_keeping();
    put_jobs(rig, JOB(.id = "j"), 4);
    assert_int_equal(end_together(rig, ATTEMPT_FAILED), 4);
    assert_int_equal(rows_in(rig, TABLE_EXPIRY), 1);
    assert_int_equal(on_job(rig, CMD_DELETE_JOB, "j0"), SILO_OK);
    assert_int_equal(on_job(rig, CMD_RESTART_JOB, "j1"), SILO_OK);
    assert_int_equal(on_job(rig, CMD_DELETE_JOB, "j2"), SILO_OK);
    put_job(rig, JOB(.id = "j2"));
    rig_pass(rig, FAILED_KEPT_MS - 10000);
    (void)lease_one(rig, "j1");
    end_job(rig, "j1", ATTEMPT_FAILED);
    rig_pass(rig, 10000);
    assert_int_equal(there(rig, "j0"), SILO_NOT_FOUND);
    assert_int_equal(status(rig, "j1"), JOB_FAILED); /* it has its whole time again */
    assert_int_equal(status(rig, "j2"), JOB_SCHEDULED);
    assert_int_equal(there(rig, "j3"), SILO_NOT_FOUND);
    rig_pass(rig, FAILED_KEPT_MS);
    assert_int_equal(there(rig, "j1"), SILO_NOT_FOUND);
    assert_int_equal(status(rig, "j2"), JOB_SCHEDULED);
    assert_int_equal(rows_in(rig, TABLE_EXPIRY), 0);
    close_all(rig);
}

/* Each death between two steps of a sweep: everything goes all the same, and nothing else. */
static void test_death_in_a_sweep(void **state)
{
    (void)state;
    for (uint32_t turns = 0; turns < 40; turns++) {
        struct rig *rig = open_keeping();
        put_jobs(rig, JOB(.id = "a"), 10);
        assert_int_equal(end_together(rig, ATTEMPT_SUCCEEDED), 10);
        put_job(rig, JOB(.id = "stays"));
        rig->mono_us += KEPT_MS * 1000;
        rig->wall_ms += KEPT_MS;
        for (uint32_t i = 0; i < turns; i++) {
            rig_turn(rig);
        }
        reopen(rig);
        rig_pass(rig, 10 * 60000); /* an opening that finds the clock far ahead waits for a while */
        assert_int_equal(rows_in(rig, TABLE_INFO), 1);
        assert_int_equal(rows_in(rig, TABLE_EXPIRY), 0);
        assert_int_equal(status(rig, "stays"), JOB_SCHEDULED);
        close_all(rig);
    }
}

/*
 * A job that ends while a page is dealt with is to be forgotten before the row that ended the page.
 */
static void test_end_in_a_sweep(void **state)
{
    (void)state;
    struct rig *rig = open_with(&(struct rig_options){
        .seed = 1, .completed_expire_ms = KEPT_MS, .terminal_expire_ms = 10 * KEPT_MS});
    put_job(rig, JOB(.id = "failed"));
    assert_int_equal(end_together(rig, ATTEMPT_FAILED), 1);
    put_job(rig, JOB(.id = "first"));
    assert_int_equal(end_together(rig, ATTEMPT_SUCCEEDED), 1);
    reopen(rig);
    rig_pass(rig, KEPT_MS - 1000);
    put_job(rig, JOB(.id = "second"));
    const struct uuid task = lease_one(rig, "second");
    core_rig_hold(rig, RIG_GET);
    rig_pass(rig, 2000);
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
    assert_int_equal(rows_in(rig, TABLE_INFO), 3); /* the page waits for the first one's rows */
    core_rig_hold(rig, 0);
    rig_settle(rig);
    assert_int_equal(rows_in(rig, TABLE_INFO), 2);
    rig_pass(rig, KEPT_MS + 1000);
    assert_int_equal(there(rig, "second"), SILO_NOT_FOUND);
    assert_int_equal(there(rig, "failed"), SILO_OK);
    close_all(rig);
}

/* Earlier versions wrote a row for each job, which named it in its key. */
static void test_rows_of_one_job(void **state)
{
    (void)state;
    struct rig *rig = open_keeping();
    put_job(rig, JOB(.id = "a"));
    assert_int_equal(end_together(rig, ATTEMPT_SUCCEEDED), 1);
    const int64_t expire_ms = rig->wall_ms + KEPT_MS;
    struct key written;
    expiry_last(rig, &written);
    rig_kill(rig, RIG_LOSE);
    rig_tamper(rig, key_bytes(&written), BYTES_NONE);
    struct key ref;
    struct key key;
    key_job_ref(&ref, BYTES_LIT(T), BYTES_LIT("a"));
    key_expiry(&key, expire_ms, key_bytes(&ref));
    rig_tamper(rig, key_bytes(&key), BYTES_LIT(""));
    rig_start(rig);
    rig_settle(rig);
    assert_int_equal(there(rig, "a"), SILO_OK);
    rig_pass(rig, 10 * 60000);
    assert_int_equal(there(rig, "a"), SILO_NOT_FOUND);
    assert_int_equal(rows_in(rig, TABLE_EXPIRY), 0);
    close_all(rig);
}

/* A row that says nothing goes when it is due, and holds up nobody. */
static void test_damaged_row(void **state)
{
    (void)state;
    struct rig *rig = open_keeping();
    put_job(rig, JOB(.id = "a"));
    assert_int_equal(end_together(rig, ATTEMPT_SUCCEEDED), 1);
    struct key written;
    expiry_last(rig, &written);
    rig_kill(rig, RIG_LOSE);
    rig_tamper(rig, key_bytes(&written), BYTES_LIT("\x01\xff\xff"));
    rig_start(rig);
    rig_settle(rig);
    put_job(rig, JOB(.id = "b"));
    assert_int_equal(end_together(rig, ATTEMPT_SUCCEEDED), 1);
    rig_pass(rig, 10 * 60000);
    assert_int_equal(there(rig, "a"), SILO_OK);
    assert_int_equal(there(rig, "b"), SILO_NOT_FOUND);
    assert_int_equal(rows_in(rig, TABLE_EXPIRY), 0);
    close_all(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_row),        cmocka_unit_test(test_large_rows),
        cmocka_unit_test(test_old_reminders),  cmocka_unit_test(test_death_in_a_sweep),
        cmocka_unit_test(test_end_in_a_sweep), cmocka_unit_test(test_rows_of_one_job),
        cmocka_unit_test(test_damaged_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
