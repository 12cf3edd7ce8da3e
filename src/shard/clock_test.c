/*
 * shard/clock_test.c - the machine's clock jumps, for a moment or for good, under a running shard
 * and between two lives of it.
 */
#include "base/limits.h"
#include "base/steady.h"
#include "base/test.h"
#include "core/limit_calls_test.h"
#include "shard/shard_rig_test.h"

#define HOUR_MS 3600000
#define DAY_MS (24 * (int64_t)HOUR_MS)

static const int64_t jumps[] = {HOUR_MS, 10 * DAY_MS, -HOUR_MS, -10 * DAY_MS};
#define JUMPS (sizeof jumps / sizeof jumps[0])

/* The clock is off for so long. */
static void moment(struct rig *rig, int64_t by_ms, int64_t lasts_ms)
{
    rig->wall_ms += by_ms;
    rig_pass(rig, lasts_ms);
    rig->wall_ms -= by_ms;
    rig_settle(rig);
}

static void fail_one(struct rig *rig, const char *id)
{
    const struct uuid task = lease_one(rig, id);
    assert_int_equal(report(rig, &task, ATTEMPT_FAILED), SILO_OK);
}

static void succeed(struct rig *rig, const char *id)
{
    const struct uuid task = lease_one(rig, id);
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
}

static void restart(struct rig *rig)
{
    assert_int_equal(rig_stop(rig), SILO_OK);
    rig_start(rig);
    rig_settle(rig);
    assert_true(rig_is_open(rig));
}

/* A retry of half a second lasts half a second, whenever it was stamped. */
static void test_retry(void **state)
{
    (void)state;
    for (size_t i = 0; i < JUMPS; i++) {
        struct rig *rig = shard_rig_open_plain();
        enqueue_retrying(rig, "a", 5, 500);
        rig->wall_ms += jumps[i];
        rig_settle(rig);
        fail_one(rig, "a");
        rig_pass(rig, 499);
        assert_int_equal(poll_empty(rig), 0);
        rig_pass(rig, 1);
        fail_one(rig, "a"); /* the second waits three times as long, partly after the moment */
        rig_pass(rig, 500);
        rig->wall_ms -= jumps[i];
        rig_pass(rig, 999);
        assert_int_equal(poll_empty(rig), 0);
        rig_pass(rig, 1);
        (void)lease_one(rig, "a");
        close_all(rig);
    }
}

static void test_retry_over_a_restart(void **state)
{
    (void)state;
    for (size_t i = 0; i < JUMPS; i++) {
        struct rig *rig = shard_rig_open_plain();
        enqueue_retrying(rig, "a", 5, 500);
        rig->wall_ms += jumps[i];
        rig_settle(rig);
        fail_one(rig, "a");
        rig->wall_ms -= jumps[i];
        restart(rig);
        rig_pass(rig, 500);
        (void)lease_one(rig, "a");
        close_all(rig);
    }
}

/* What is due in 12 s is due in 12 s. */
static void test_future(void **state)
{
    (void)state;
    for (size_t i = 0; i < JUMPS; i++) {
        struct rig *rig = shard_rig_open_plain();
        enqueue(rig, "a", 5, rig->wall_ms + 12000);
        moment(rig, jumps[i], 5000);
        assert_int_equal(poll_empty(rig), 0);
        rig_pass(rig, 6999);
        assert_int_equal(poll_empty(rig), 0);
        rig_pass(rig, 1);
        (void)lease_one(rig, "a");
        close_all(rig);
    }
}

/* A clock that was set is believed after a while: then it is the time that counts. */
static void test_set(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    enqueue(rig, "a", 5, rig->wall_ms + 2 * HOUR_MS);
    rig->wall_ms += 2 * HOUR_MS;
    rig_pass(rig, STEADY_DOUBT_MS - 1000);
    assert_int_equal(poll_empty(rig), 0);
    rig_pass(rig, 2000);
    (void)lease_one(rig, "a");
    close_all(rig);
}

/* A retry stamped by a process that began while the clock was ahead. */
static void test_stamped_ahead(void **state)
{
    (void)state;
    for (int kill = 0; kill < 3; kill++) {
        struct rig *rig = shard_rig_open_plain();
        enqueue_retrying(rig, "a", 5, 500);
        enqueue_retrying(rig, "b", 5, 90000);
        enqueue(rig, "asked", 5, rig->wall_ms + 11 * DAY_MS);
        rig_pass(rig, 20000); /* so that the time was stored */
        rig->wall_ms += 10 * DAY_MS;
        restart(rig);
        enqueue(rig, "c", 9, 0); /* changes, and with them the time, are stored */
        fail_one(rig, "a");
        fail_one(rig, "b");
        rig->wall_ms -= 10 * DAY_MS;
        if (kill == 2) { /* in the same process: after a minute of doubt */
            rig_pass(rig, STEADY_DOUBT_MS + 1000);
        } else {
            if (kill == 1) {
                rig_kill(rig, RIG_LOSE);
                rig_start(rig);
                rig_settle(rig);
            } else {
                restart(rig);
            }
            rig_pass(rig, 1000);
        }
        succeed(rig, "a");
        succeed(rig, "c");
        assert_int_equal(poll_empty(rig), 0);
        rig_pass(rig, 90000);
        succeed(rig, "b");
        /* It was asked for in eleven days, and not for a second earlier or later. */
        rig->wall_ms += 10 * DAY_MS - HOUR_MS;
        restart(rig);
        rig_pass(rig, 1000);
        assert_int_equal(status(rig, "asked"), JOB_SCHEDULED);
        close_all(rig);
    }
}

#define MANY 600u

/* A poll gets no more than a turn hands over. */
static size_t lease_many(struct rig *rig, struct uuid *tasks)
{
    size_t count = 0;
    for (size_t got = 1; got != 0; count += got) {
        got = lease_some(rig, (uint32_t)(MANY - count), tasks + count);
    }
    return count;
}

/* More of them than are dated anew at a time. */
static void test_many_stamped_ahead(void **state)
{
    (void)state;
    static struct uuid tasks[MANY];
    struct rig *rig = shard_rig_open_plain();
    rig->wall_ms += 10 * DAY_MS;
    restart(rig);
    for (uint32_t i = 0; i < MANY; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "r%u", i);
        enqueue_retrying(rig, id, 5, 500);
    }
    assert_int_equal(lease_many(rig, tasks), MANY);
    for (uint32_t i = 0; i < MANY; i++) {
        assert_int_equal(report(rig, &tasks[i], ATTEMPT_FAILED), SILO_OK);
    }
    rig->wall_ms -= 10 * DAY_MS;
    restart(rig);
    rig_pass(rig, 5000);
    assert_int_equal(lease_many(rig, tasks), MANY);
    close_all(rig);
}

static int64_t keep_ms(void)
{
    return 7 * DAY_MS;
}

static struct rig *open_keeping(void)
{
    return shard_rig_open_with(&(struct shard_rig_options){
        .seed = 1, .completed_expire_ms = keep_ms(), .terminal_expire_ms = keep_ms()});
}

/*
 * Nothing is forgotten early, neither under a running shard nor by a process that begins in the
 * wrong moment.
 */
static void test_retention(void **state)
{
    (void)state;
    struct rig *rig = open_keeping();
    enqueue(rig, "a", 5, 0);
    const struct uuid task = lease_one(rig, "a");
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
    rig_pass(rig, 20000);
    enqueue(rig, "b", 5, 0);
    moment(rig, 10 * DAY_MS, 50000);
    assert_int_equal(status(rig, "a"), JOB_SUCCEEDED);
    assert_int_equal(rig_stop(rig), SILO_OK);
    rig->wall_ms += 10 * DAY_MS;
    rig_start(rig);
    rig_pass(rig, 50000);
    rig->wall_ms -= 10 * DAY_MS;
    rig_pass(rig, 2 * STEADY_DOUBT_MS);
    assert_int_equal(status(rig, "a"), JOB_SUCCEEDED);
    /* And what is really over goes. */
    rig->wall_ms += keep_ms();
    rig_pass(rig, 5 * STEADY_DOUBT_MS);
    assert_int_equal(on_job(rig, CMD_GET_JOB, "a"), SILO_NOT_FOUND);
    close_all(rig);
}

/*
 * Rate limits that were used while the clock was ahead are shut for no longer than they would have
 * been.
 */
static void test_rate_limits(void **state)
{
    (void)state;
    for (int restarted = 0; restarted < 2; restarted++) {
        struct rig *rig = shard_rig_open_plain();
        rig_pass(rig, 1000);
        rig->wall_ms += 10 * DAY_MS;
        if (restarted != 0) {
            restart(rig);
        }
        put_job(rig, JOB(.id = "a", .limits = {RATE("r", 1, 5000)}));
        put_job(rig, JOB(.id = "b", .limits = {RATE("r", 1, 5000)}));
        (void)lease_one(rig, "a");
        assert_int_equal(poll_empty(rig), 0);
        rig->wall_ms -= 10 * DAY_MS;
        if (restarted != 0) {
            restart(rig);
        }
        put_job(rig, JOB(.id = "c", .limits = {RATE("r", 1, 5000)}));
        assert_int_equal(poll_empty(rig), 0); /* it gives nothing twice */
        rig_pass(rig, 5000);
        struct uuid tasks[2];
        assert_int_equal(lease_some(rig, 1, tasks), 1);
        close_all(rig);
    }
}

/* A token that a limit sent to the timers while the clock was ahead. */
static void test_rate_backoff(void **state)
{
    (void)state;
    const struct job_limit strict = {.kind = LIMIT_RATE,
                                     .name = "r",
                                     .limit = 1,
                                     .duration_ms = 5000,
                                     .has_policy = true,
                                     .initial_ms = 5000,
                                     .backoff_max_ms = 9000,
                                     .multiplier = 2,
                                     .retries_max = 9};
    struct rig *rig = shard_rig_open_plain();
    rig_pass(rig, 1000);
    rig->wall_ms += 10 * DAY_MS;
    restart(rig);
    put_job(rig, JOB(.id = "a", .limits = {strict}));
    put_job(rig, JOB(.id = "b", .limits = {strict}));
    put_job(rig, JOB(.id = "asked", .start_ms = rig->wall_ms + HOUR_MS, .limits = {strict}));
    (void)lease_one(rig, "a");
    assert_int_equal(poll_empty(rig), 0);
    assert_int_equal(rows_in(rig, TABLE_TIMER), 2);
    rig->wall_ms -= 10 * DAY_MS;
    restart(rig);
    struct uuid tasks[2];
    size_t got = 0;
    for (int i = 0; i < 20 && got == 0; i++) {
        rig_pass(rig, 1000);
        got = lease_some(rig, 1, tasks);
    }
    assert_int_equal(got, 1);
    assert_int_equal(rows_in(rig, TABLE_TIMER), 1); /* what was asked for stays */
    close_all(rig);
}

/* --- stamps ahead of now, of jobs that were due already --- */

/* Started while the clock is ahead; time is stored. */
static struct rig *open_ahead(void)
{
    struct rig *rig = shard_rig_open_plain();
    rig_pass(rig, 20000);
    rig->wall_ms += HOUR_MS;
    restart(rig);
    return rig;
}

static void set_right(struct rig *rig)
{
    rig->wall_ms -= HOUR_MS;
    restart(rig);
}

static void give_back(struct rig *rig, const struct uuid *task_id)
{
    struct call *call = rig_call(CMD_RETURN_TASK, NULL, NULL);
    call->cmd.args.return_task = (struct return_task_args){
        .has_task_id = true, .task_id = *task_id, .worker_id = BYTES_LIT("w1")};
    assert_int_equal(finish(rig, call), SILO_OK);
}

/*
 * Who waited for a slot runs when it is free: it does not go to the timers for an hour and takes
 * the slot along.
 */
static void test_slot_after_a_fall(void **state)
{
    (void)state;
    struct rig *rig = open_ahead();
    put_job(rig, JOB(.id = "a", .limits = {FIXED("q", 1)}));
    put_job(rig, JOB(.id = "b", .limits = {FIXED("q", 1), FIXED("p", 1)}));
    const struct uuid task = lease_one(rig, "a");
    set_right(rig);
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
    succeed(rig, "b");
    close_all(rig);
}

/* The same for who waited for a rate limit. */
static void test_rate_after_a_fall(void **state)
{
    (void)state;
    struct rig *rig = open_ahead();
    put_job(rig, JOB(.id = "a", .limits = {RATE("r", 1, 5000)}));
    put_job(rig, JOB(.id = "b", .limits = {RATE("r", 1, 5000), FIXED("p", 1)}));
    succeed(rig, "a");
    assert_int_equal(poll_empty(rig), 0);
    set_right(rig);
    assert_int_equal(poll_empty(rig), 0);
    rig_pass(rig, 5000);
    succeed(rig, "b");
    close_all(rig);
}

/*
 * What is given back is there at once, whether it was leased before the clock was set right or
 * after.
 */
static void test_give_back_after_a_fall(void **state)
{
    (void)state;
    for (int after = 0; after < 2; after++) {
        struct rig *rig = open_ahead();
        enqueue_retrying(rig, "retry", 5, 500);
        fail_one(rig, "retry");
        rig_pass(rig, 500);
        enqueue(rig, "fresh", 5, 0);
        struct uuid tasks[2];
        if (after != 0) {
            set_right(rig);
        }
        assert_int_equal(lease_some(rig, 2, tasks), 2);
        if (after == 0) {
            set_right(rig);
        }
        give_back(rig, &tasks[0]);
        give_back(rig, &tasks[1]);
        assert_int_equal(rows_in(rig, TABLE_TIMER), 0);
        assert_int_equal(lease_some(rig, 2, tasks), 2);
        close_all(rig);
    }
}

/* One that was leased early, by its id, goes back to its time. */
static void test_give_back_early(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    enqueue(rig, "asked", 5, rig->wall_ms + 5000);
    enqueue_retrying(rig, "retry", 5, 5000);
    fail_one(rig, "retry");
    const struct uuid asked = lease_this(rig, "asked");
    const struct uuid retry = lease_this(rig, "retry");
    give_back(rig, &asked);
    give_back(rig, &retry);
    rig_pass(rig, 4999);
    assert_int_equal(poll_empty(rig), 0);
    rig_pass(rig, 1);
    struct uuid tasks[3];
    assert_int_equal(lease_some(rig, 3, tasks), 2);
    close_all(rig);
}

/*
 * A start that was asked for stays where it is, though the job was restarted while the clock was
 * ahead.
 */
static void test_restarted_for_later(void **state)
{
    (void)state;
    struct rig *rig = open_ahead();
    const int64_t start_ms = rig->wall_ms + HOUR_MS;
    put_job(rig, JOB(.id = "a", .start_ms = start_ms, .limits = {FIXED("q", 1)}));
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a"), SILO_OK);
    assert_int_equal(on_job(rig, CMD_RESTART_JOB, "a"), SILO_OK);
    set_right(rig);
    struct key key;
    struct place place;
    key_of_job(rig, TABLE_TIMER, "a", &key);
    assert_true(key_timer_parse(key_bytes(&key), &place));
    assert_int_equal(place.due_ms, start_ms);
    close_all(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_retry),
        cmocka_unit_test(test_retry_over_a_restart),
        cmocka_unit_test(test_future),
        cmocka_unit_test(test_set),
        cmocka_unit_test(test_stamped_ahead),
        cmocka_unit_test(test_many_stamped_ahead),
        cmocka_unit_test(test_retention),
        cmocka_unit_test(test_rate_limits),
        cmocka_unit_test(test_rate_backoff),
        cmocka_unit_test(test_slot_after_a_fall),
        cmocka_unit_test(test_rate_after_a_fall),
        cmocka_unit_test(test_give_back_after_a_fall),
        cmocka_unit_test(test_give_back_early),
        cmocka_unit_test(test_restarted_for_later),
    };
    return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
