/*
 * shard/retention_test.c - ended jobs are forgotten in time: what is written for that, and what of
 * it counts; the line about it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/test.h"
#include "shard/limits_calls_test.h"

#define KEPT_MS 60000
#define FAILED_KEPT_MS 90000

/* The key of the newest expiry row that was written. */
static struct key noted;
static uint32_t noted_count;

static void note_rows(void *context, struct store_db *db, struct bytes ops)
{
    (void)context;
    (void)db;
    while (ops.len != 0) {
        uint16_t key_len = 0;
        uint32_t value_len = 0;
        memcpy(&key_len, ops.ptr + 2, sizeof key_len);
        memcpy(&value_len, ops.ptr + 4, sizeof value_len);
        const uint8_t *key = ops.ptr + 8;
        if (key[0] == TABLE_EXPIRY && value_len != 0) {
            memcpy(noted.b, key, key_len);
            noted.len = key_len;
            noted_count++;
        }
        const size_t len = 8 + (size_t)key_len + value_len;
        ops = bytes_of(ops.ptr + len, ops.len - len);
    }
}

static struct rig *open_keeping(void)
{
    struct rig *rig = open_with(&(struct rig_options){
        .seed = 1, .completed_expire_ms = KEPT_MS, .terminal_expire_ms = FAILED_KEPT_MS});
    noted_count = 0;
    rig->on_write = note_rows;
    return rig;
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
        assert_int_equal(calls[i]->request.cmd.rc.code, SILO_OK);
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
    assert_true(noted_count > 10 && noted_count < 50);
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

/* Earlier versions wrote a row for each job, which named it in its key. */
static void test_rows_of_one_job(void **state)
{
    (void)state;
    struct rig *rig = open_keeping();
    put_job(rig, JOB(.id = "a"));
    assert_int_equal(end_together(rig, ATTEMPT_SUCCEEDED), 1);
    const int64_t expire_ms = rig->wall_ms + KEPT_MS;
    rig_kill(rig, STORE_MEM_LOSE);
    tamper(rig, key_bytes(&noted), BYTES_NONE);
    struct key ref;
    struct key key;
    key_job_ref(&ref, BYTES_LIT(T), BYTES_LIT("a"));
    key_expiry(&key, expire_ms, key_bytes(&ref));
    tamper(rig, key_bytes(&key), BYTES_LIT(""));
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
    rig_kill(rig, STORE_MEM_LOSE);
    tamper(rig, key_bytes(&noted), BYTES_LIT("\x01\xff\xff"));
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

/* --- the line about what is kept --- */

static int log_fds[2];

/* What was logged since, as far as it is about that. */
static bool logged(const char *text)
{
    char lines[8192];
    const ssize_t len = read(log_fds[0], lines, sizeof lines - 1);
    lines[len > 0 ? len : 0] = 0;
    const char *line = strstr(lines, "jobs_kept");
    if (line == NULL) {
        return text == NULL;
    }
    return text != NULL && strstr(line, text) != NULL && strstr(line + 1, "jobs_kept") == NULL;
}

static void test_a_line_an_hour(void **state)
{
    (void)state;
    assert_int_equal(pipe(log_fds), 0);
    assert_int_equal(fcntl(log_fds[0], F_SETFL, O_NONBLOCK), 0);
    log_init(log_fds[1], false, LOG_INFO);
    struct rig *rig = open_keeping();
    put_jobs(rig, JOB(.id = "a"), 5);
    rig_pass(rig, GROWTH_LINE_MS - 5000);
    rig_turn(rig);
    assert_true(logged(NULL));
    rig_pass(rig, 5000);
    rig_turn(rig);
    assert_true(logged("open=5 succeeded=0 failed=0 cancelled=0 expired=0"));
    assert_int_equal(end_together(rig, ATTEMPT_SUCCEEDED), 5);
    rig_turn(rig);
    assert_true(logged(NULL)); /* not twice in an hour */
    rig_pass(rig, GROWTH_LINE_MS);
    rig_turn(rig);
    assert_true(logged("open=0 succeeded=0 failed=0 cancelled=0 expired=5"));
    rig_pass(rig, GROWTH_LINE_MS);
    rig_turn(rig);
    assert_true(logged(NULL)); /* nothing has changed */
    log_init(STDERR_FILENO, false, LOG_INFO);
    close_all(rig);
    (void)close(log_fds[0]);
    (void)close(log_fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_row),         cmocka_unit_test(test_large_rows),
        cmocka_unit_test(test_old_reminders),   cmocka_unit_test(test_death_in_a_sweep),
        cmocka_unit_test(test_rows_of_one_job), cmocka_unit_test(test_damaged_row),
        cmocka_unit_test(test_a_line_an_hour),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
