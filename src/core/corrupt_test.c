/*
 * core/corrupt_test.c - rows that are not there or say nothing: that job is out, all others run.
 */
#include "base/test.h"
#include "core/core_rig_test.h"
#include "core/limit_calls_test.h"

/*
 * The info row of a job has gone: its task is dropped with its slots, nobody else is held up (bug
 * 14).
 */
static void test_job_without_info(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
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

/*
 * Between the moment in which it is seen that the job is not there, and the end of its stray task,
 * somebody makes a job of that name: the new job keeps its token.
 */
static void test_name_made_again(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    enqueue(rig, "lost", 5, 0);
    rig_kill(rig, RIG_LOSE);
    struct key key;
    key_of_job(rig, TABLE_INFO, "lost", &key);
    rig_tamper(rig, key_bytes(&key), BYTES_NONE);
    rig_start(rig);
    rig_settle(rig);
    core_rig_hold(rig, RIG_SCAN);
    struct call *poll = poll_call(1, 60000);
    rig_send(rig, poll);
    rig_settle(rig);
    core_rig_hold(rig, RIG_SCAN | RIG_GET);
    struct call *again = enqueue_call("lost", "g", 5, rig->wall_ms + 5000);
    rig_send(rig, again); /* what it reads is asked for first */
    rig_settle(rig);
    core_rig_hold(rig, RIG_GET);
    rig_settle(rig);
    core_rig_hold(rig, 0);
    rig_settle(rig);
    assert_true(again->done);
    assert_int_equal(again->cmd.rc.code, SILO_OK);
    rig_call_free(again);
    assert_false(poll->done);
    assert_int_equal(rows_in(rig, TABLE_READY), 0);
    assert_int_equal(rows_in(rig, TABLE_TIMER), 1);
    rig_pass(rig, 6000);
    assert_true(poll->done);
    assert_int_equal(poll_count(poll), 1);
    rig_call_free(poll);
    close_all(rig);
}

/* A token's row that says nothing, or a job's: that one is out, the others run (DEFECT-10). */
static void test_rows_that_say_nothing(void **state)
{
    (void)state;
    static const enum key_table tables[] = {TABLE_READY, TABLE_INFO, TABLE_WAITER, TABLE_TIMER};
    for (size_t i = 0; i < 4; i++) {
        struct rig *rig = open_plain();
        const bool slots = tables[i] == TABLE_WAITER;
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
static void test_slot_of_nobody(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
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

/* Names of which no key can be made: the row is counted as corrupt, other jobs run. */
static void test_names_too_long_for_a_key(void **state)
{
    (void)state;
    static uint8_t name[KEY_BYTES_MAX];
    memset(name, 'n', sizeof name);
    for (int which = 0; which < 2; which++) {
        struct rig *rig = open_plain();
        const int64_t start_ms = which == 0 ? 0 : rig->wall_ms + 1000;
        put_jobs(rig, JOB(.id = "a", .start_ms = start_ms), 3);
        rig_kill(rig, RIG_LOSE);
        struct key key, ref;
        key_of_job(rig, which == 0 ? TABLE_READY : TABLE_TIMER, "a1", &key);
        key_job_ref(&ref, BYTES_LIT(T), BYTES_LIT("a1"));
        struct task_rec rec = {.job_ref = key_bytes(&ref), .attempt = 1, .relative = 1};
        uint8_t long_ref[KEY_BYTES_MAX];
        if (which == 0) {
            memcpy(long_ref, name, sizeof name);
            memcpy(long_ref, ref.b, ref.len);
            rec.job_ref = bytes_of(long_ref, sizeof long_ref);
        } else {
            rec.group = bytes_of(name, sizeof name);
        }
        struct buf buf;
        buf_init(&buf, 4 * sizeof name);
        task_encode(&buf, &rec);
        rig_tamper(rig, key_bytes(&key), buf_bytes(&buf));
        buf_deinit(&buf);
        rig_start(rig);
        rig_settle(rig);
        rig_pass(rig, 2000);
        (void)lease_one(rig, "a0");
        (void)lease_one(rig, "a2");
        assert_true(core_stats(rig_core(rig)).corrupt_rows != 0);
        rig_free(rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_job_without_info),         cmocka_unit_test(test_name_made_again),
        cmocka_unit_test(test_rows_that_say_nothing),    cmocka_unit_test(test_slot_of_nobody),
        cmocka_unit_test(test_names_too_long_for_a_key),
    };
    return cmocka_run_group_tests_name("corrupt", tests, NULL, NULL);
}
