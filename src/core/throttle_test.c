/*
 * core/throttle_test.c - tokens that a rate limit refuses wait in line behind it: in order,
 * unasked and unwritten, until it can let them pass.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/test.h"
#include "core/bucket.h"
#include "core/core_rig_test.h"
#include "core/limit_calls_test.h"

#define HOUR_MS 3600000

static struct call *send_poll(struct rig *rig, const char *group, uint32_t tasks_max,
                              uint32_t wait_ms)
{
    struct call *poll = poll_call(tasks_max, wait_ms);
    poll->cmd.args.poll.group = bytes_str(group);
    rig_send(rig, poll);
    rig_settle(rig);
    return poll;
}

/* What the poll got: ids, each followed by a space. */
static const char *names(const struct call *poll)
{
    static char text[4096];
    size_t len = 0;
    text[0] = '\0';
    for (size_t i = 0; i < poll_count(poll); i++) {
        const struct bytes id = poll_task(poll, i)->job_id;
        len += (size_t)snprintf(text + len, sizeof text - len, "%.*s ", BYTES_FMT(id));
    }
    return text;
}

/* What a poll that does not wait gets, in order. */
static void expect(struct rig *rig, const char *group, uint32_t tasks_max, const char *expected)
{
    struct call *poll = send_poll(rig, group, tasks_max, 0);
    assert_true(poll->done);
    assert_string_equal(names(poll), expected);
    rig_call_free(poll);
}

static struct job_limit with_hits(struct job_limit limit, int32_t hits)
{
    limit.hits = hits;
    return limit;
}

/* --- the built-in limiter --- */

static void test_in_order(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    put_job(rig, JOB(.id = "c", .priority = 9, .limits = {RATE("r", 2, 1000)}));
    put_job(rig, JOB(.id = "d", .priority = 9, .limits = {RATE("r", 2, 1000)}));
    put_job(rig, JOB(.id = "a", .priority = 1, .limits = {RATE("r", 2, 1000)}));
    put_job(rig, JOB(.id = "e", .priority = 9, .limits = {RATE("r", 2, 1000)}));
    put_job(rig, JOB(.id = "b", .priority = 5, .limits = {RATE("r", 2, 1000)}));
    assert_int_equal(rows_in(rig, TABLE_WAITER), 5);
    assert_true(has_meta(rig, META_THROTTLE));
    expect(rig, "g", 9, "a b ");
    put_job(rig, JOB(.id = "z", .priority = 20, .limits = {RATE("r", 2, 1000)}));
    put_job(rig, JOB(.id = "first", .priority = 0, .limits = {RATE("r", 2, 1000)}));
    rig_pass(rig, 999);
    expect(rig, "g", 9, "");
    rig_pass(rig, 1);
    expect(rig, "g", 9, "first c ");
    rig_pass(rig, 1000);
    expect(rig, "g", 9, "d e ");
    rig_pass(rig, 1000);
    expect(rig, "g", 9, "z ");
    assert_false(has_meta(rig, META_THROTTLE));
    assert_int_equal(rows_in(rig, TABLE_QUEUE), 0);
    close_checked(rig);
}

/*
 * Between unthrottled tasks of the group it stands where its priority says, and nobody waits for
 * it.
 */
static void test_among_others(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    put_job(rig, JOB(.id = "free1", .priority = 10));
    put_job(rig, JOB(.id = "a", .priority = 20, .limits = {RATE("r", 1, 1000)}));
    put_job(rig, JOB(.id = "b", .priority = 20, .limits = {RATE("r", 1, 1000)}));
    put_job(rig, JOB(.id = "free2", .priority = 30));
    expect(rig, "g", 1, "free1 "); /* the hit is not bought before it is wanted */
    assert_int_equal(rows_in(rig, TABLE_LIMITER), 0);
    struct call *poll = send_poll(rig, "g", 2, 0);
    assert_int_equal(rows_in(rig, TABLE_LIMITER), 1);
    rig_call_free(poll);
    rig_pass(rig, LEASE_MS + 1);
    close_checked(rig);
}

/*
 * With a worker waiting, a backlog writes nothing while its limiter lets nobody through, however
 * long it is.
 */
static void test_writes_nothing(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    put_jobs(rig, JOB(.id = "a", .limits = {RATE("r", 1, 60000)}), 3000);
    (void)lease_one(rig, "a0");
    end_job(rig, "a0", ATTEMPT_SUCCEEDED);
    struct call *poll = send_poll(rig, "g", 10, 60000);
    rig_pass(rig, 2 * LOW_WATER_MS); /* marks of what has been are written */
    const uint64_t before = batches(rig);
    rig_pass(rig, 50000);
    assert_false(poll->done);
    assert_int_equal(batches(rig), before);
    put_job(rig, JOB(.id = "free")); /* is not held up, whatever stands before it */
    assert_true(poll->done);
    assert_string_equal(names(poll), "free ");
    rig_call_free(poll);
    close_checked(rig);
}

/* Each task that passes costs the rows of its own move, and its refused successor none. */
static void test_one_move_each(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    put_jobs(rig, JOB(.id = "a", .limits = {RATE("r", 1, 1000)}), 1000);
    for (int i = 0; i < 5; i++) {
        struct call *poll = send_poll(rig, "g", 64, 60000);
        rig_pass(rig, 1000);
        assert_true(poll->done);
        assert_int_equal(poll_count(poll), 1);
        rig_call_free(poll);
        assert_int_equal(rows_in(rig, TABLE_WAITER), 1000 - 1 - i);
    }
    assert_int_equal(rows_in(rig, TABLE_TIMER), 0);
    assert_int_equal(rows_in(rig, TABLE_STATE), 0);
    close_checked(rig);
}

/* Who wants many hits is neither overtaken nor starved by those who want one. */
static void test_many_hits(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    struct job_limit leaky = RATE("r", 5, 1000);
    leaky.leaky = true;
    put_jobs(rig, JOB(.id = "x", .priority = 1, .limits = {leaky}), 3);
    expect(rig, "g", 3, "x0 x1 x2 ");
    put_job(rig, JOB(.id = "big", .priority = 2, .limits = {with_hits(leaky, 5)}));
    put_jobs(rig, JOB(.id = "small", .priority = 3, .limits = {leaky}), 4);
    expect(rig, "g", 9, ""); /* two hits are there, and are kept for the five */
    rig_pass(rig, 599);
    expect(rig, "g", 9, "");
    rig_pass(rig, 1);
    expect(rig, "g", 9, "big ");
    rig_pass(rig, 200);
    expect(rig, "g", 9, "small0 ");
    rig_pass(rig, 400);
    expect(rig, "g", 9, "small1 small2 ");
    close_checked(rig);
}

/* A line of several groups is no line: who has workers gets the hits. */
static void test_group_without_workers(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    put_jobs(rig, JOB(.id = "d", .group = "dead", .priority = 1, .limits = {RATE("r", 1, 1000)}),
             3);
    put_jobs(rig, JOB(.id = "a", .group = "alive", .priority = 9, .limits = {RATE("r", 1, 1000)}),
             3);
    for (int i = 0; i < 3; i++) {
        struct call *poll = send_poll(rig, "alive", 5, 5000);
        rig_pass(rig, 1000);
        assert_true(poll->done);
        assert_int_equal(poll_count(poll), 1);
        rig_call_free(poll);
    }
    expect(rig, "dead", 5, "d0 ");
    close_checked(rig);
}

/* Both have workers: the better token of the two groups goes first. */
static void test_groups_share(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "eats", RATE("r", 1, 1000));
    (void)lease_one(rig, "eats");
    put_job(rig, JOB(.id = "g2", .group = "two", .priority = 2, .limits = {RATE("r", 1, 1000)}));
    put_job(rig, JOB(.id = "h1", .group = "one", .priority = 1, .limits = {RATE("r", 1, 1000)}));
    put_job(rig, JOB(.id = "h3", .group = "one", .priority = 3, .limits = {RATE("r", 1, 1000)}));
    struct call *two = send_poll(rig, "two", 1, 60000);
    struct call *one = send_poll(rig, "one", 1, 60000);
    rig_pass(rig, 1000);
    assert_true(one->done && !two->done);
    assert_string_equal(names(one), "h1 ");
    rig_call_free(one);
    one = send_poll(rig, "one", 1, 60000);
    rig_pass(rig, 1000);
    assert_true(two->done && !one->done);
    rig_call_free(two);
    rig_pass(rig, 1000);
    assert_true(one->done);
    rig_call_free(one);
    close_checked(rig);
}

/*
 * Its slots stay with it: a better token does not take them over, as it would from one that waits
 * for a slot.
 */
static void test_keeps_slots(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    LIMITED(rig, "eats", RATE("r", 1, 5000));
    (void)lease_one(rig, "eats");
    put_job(rig, JOB(.id = "a", .priority = 50, .limits = {FIXED("q", 1), RATE("r", 1, 5000)}));
    put_job(rig, JOB(.id = "b", .priority = 1, .limits = {FIXED("q", 1)}));
    expect(rig, "g", 9, "");
    assert_int_equal(holders(rig, "q"), 1);
    assert_int_equal(waiters(rig, "q"), 1);
    reopen(rig);
    expect(rig, "g", 9, "");
    assert_int_equal(waiters(rig, "q"), 1);
    rig_pass(rig, 5000);
    expect(rig, "g", 9, "a ");
    end_job(rig, "a", ATTEMPT_SUCCEEDED);
    expect(rig, "g", 9, "b ");
    close_checked(rig);
}

/* Several rate limits, one after the other: each has its own line. */
static void test_two_limits(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    put_jobs(rig, JOB(.id = "a", .limits = {RATE("r", 3, 1000), RATE("s", 1, 1000)}), 4);
    expect(rig, "g", 9, "a0 ");
    assert_int_equal(rows_in(rig, TABLE_QUEUE), 2);
    rig_pass(rig, 1000);
    expect(rig, "g", 9, "a1 ");
    rig_pass(rig, 1000);
    expect(rig, "g", 9, "a2 ");
    assert_int_equal(drain(rig), 1); /* the leases above run out, and there are no retries */
    close_checked(rig);
}

/* Somebody gives hits back, or fills the bucket: those in line are asked at once. */
static void test_filled_early(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    put_jobs(rig, JOB(.id = "a", .limits = {RATE("r", 1, HOUR_MS)}), 4);
    expect(rig, "g", 9, "a0 ");
    put_job(rig, JOB(.id = "back", .priority = 99,
                     .limits = {with_hits((struct job_limit)RATE("r", 1, HOUR_MS), -1)}));
    struct call *poll = send_poll(rig, "g", 1, 1000);
    assert_string_equal(names(poll), "back ");
    rig_call_free(poll);
    expect(rig, "g", 9, "a1 ");
    struct job_limit reset = RATE("r", 1, HOUR_MS);
    reset.behavior = BUCKET_RESET_REMAINING;
    put_job(rig, JOB(.id = "reset", .priority = 99, .limits = {reset}));
    poll = send_poll(rig, "g", 1, 1000);
    assert_string_equal(names(poll), "reset ");
    rig_call_free(poll);
    expect(rig, "g", 9, "a2 ");
    close_checked(rig);
}

/*
 * Somebody comes first in line who wants less than the one that was refused: by coming, or because
 * that one goes.
 */
static void test_wants_less(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    const struct job_limit limit = RATE("r", 10, HOUR_MS);
    put_job(rig, JOB(.id = "x", .limits = {with_hits(limit, 5)}));
    expect(rig, "g", 9, "x ");
    put_job(rig, JOB(.id = "seven", .priority = 5, .limits = {with_hits(limit, 7)}));
    expect(rig, "g", 9, "");
    put_job(rig, JOB(.id = "six", .priority = 6, .limits = {with_hits(limit, 6)}));
    put_job(rig, JOB(.id = "three", .priority = 7, .limits = {with_hits(limit, 3)}));
    expect(rig, "g", 9, "");
    put_job(rig, JOB(.id = "two", .priority = 1, .limits = {with_hits(limit, 2)}));
    expect(rig, "g", 9, "two ");
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "seven"), SILO_OK);
    expect(rig, "g", 9, "");
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "six"), SILO_OK);
    expect(rig, "g", 9, "three ");
    close_checked(rig);
}

/* A limit that is raised lets more through, though the old one would have refused for an hour. */
static void test_limit_raised(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    put_jobs(rig, JOB(.id = "a", .priority = 50, .limits = {RATE("r", 1, HOUR_MS)}), 3);
    expect(rig, "g", 9, "a0 ");
    put_job(rig, JOB(.id = "b", .priority = 1, .limits = {RATE("r", 2, HOUR_MS)}));
    expect(rig, "g", 9, "b "); /* it is asked, as the first in line and with another limit */
    put_job(rig, JOB(.id = "c", .priority = 99, .limits = {RATE("r", 3, HOUR_MS)}));
    expect(rig, "g", 9, "");
    rig_pass(rig, 30000); /* the longest back-off: then somebody is asked again */
    expect(rig, "g", 9, "");
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a1"), SILO_OK);
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a2"), SILO_OK);
    expect(rig, "g", 9, "c ");
    close_checked(rig);
}

/* Bounded retries: such a job fails in time, whoever waits in line. */
static void test_bounded_retries(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    put_jobs(rig, JOB(.id = "a", .limits = {RATE("r", 1, HOUR_MS)}), 3);
    expect(rig, "g", 9, "a0 ");
    struct job_limit bounded = RATE("r", 1, HOUR_MS);
    bounded.has_policy = true;
    bounded.initial_ms = 100;
    bounded.backoff_max_ms = 100;
    bounded.retries_max = 2;
    LIMITED(rig, "b", bounded);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(status(rig, "b"), JOB_SCHEDULED);
        expect(rig, "g", 9, "");
        rig_pass(rig, 100);
    }
    assert_int_equal(status(rig, "b"), JOB_FAILED);
    assert_int_equal(rows_in(rig, TABLE_WAITER), 2);
    close_checked(rig);
}

/* What can never pass holds nobody up. */
static void test_impossible(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    struct job_limit wrong = RATE("r", 2, 3);
    wrong.behavior = BUCKET_GREGORIAN; /* weeks are unknown */
    put_job(rig, JOB(.id = "x", .priority = 1,
                     .limits = {with_hits((struct job_limit)RATE("r", 2, 1000), 3)}));
    put_job(rig, JOB(.id = "y", .priority = 1, .limits = {wrong}));
    put_job(rig, JOB(.id = "z", .priority = 1, .limits = {RATE("r", 0, 1000)}));
    put_jobs(rig, JOB(.id = "a", .priority = 2, .limits = {RATE("r", 2, 1000)}), 4);
    expect(rig, "g", 9, "a0 a1 ");
    rig_pass(rig, 1000);
    expect(rig, "g", 9, "a2 a3 ");
    close_checked(rig);
}

/* --- operators --- */

static void test_cancel_delete_restart(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    put_jobs(rig, JOB(.id = "a", .limits = {FIXED("q", 9), RATE("r", 1, 1000)}), 4);
    expect(rig, "g", 9, "a0 ");
    assert_int_equal(holders(rig, "q"), 4);
    assert_int_equal(on_job(rig, CMD_DELETE_JOB, "a1"), SILO_PRECONDITION);
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a1"), SILO_OK);
    assert_int_equal(on_job(rig, CMD_DELETE_JOB, "a1"), SILO_OK);
    assert_int_equal(holders(rig, "q"), 3);
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a2"), SILO_OK);
    rig_pass(rig, 1);
    assert_int_equal(on_job(rig, CMD_RESTART_JOB, "a2"), SILO_OK); /* behind a3 */
    reopen(rig);
    rig_pass(rig, 1000);
    expect(rig, "g", 9, "a3 ");
    rig_pass(rig, 1000);
    expect(rig, "g", 9, "a2 ");
    assert_false(has_meta(rig, META_THROTTLE));
    close_checked(rig);
}

static void test_lease_this(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    put_jobs(rig, JOB(.id = "a", .limits = {RATE("r", 1, HOUR_MS)}), 5000); /* not all in memory */
    expect(rig, "g", 9, "a0 ");
    const struct uuid task = lease_this(rig, "a4000");
    assert_int_equal(rows_in(rig, TABLE_WAITER), 4998);
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a3000"), SILO_OK);
    assert_int_equal(rows_in(rig, TABLE_WAITER), 4997);
    reopen(rig);
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a3001"), SILO_OK);
    assert_int_equal(rows_in(rig, TABLE_WAITER), 4996);
    close_checked(rig);
}

/* Asked at once, whoever stands before it; refused, it is back at its place. */
static void test_expedite(void **state)
{
    (void)state;
    struct rig *rig = open_watched();
    struct job_limit leaky = RATE("r", 5, 1000);
    leaky.leaky = true;
    put_job(rig, JOB(.id = "x", .limits = {with_hits(leaky, 3)}));
    expect(rig, "g", 9, "x ");
    put_job(rig, JOB(.id = "big", .limits = {with_hits(leaky, 5)}));
    put_jobs(rig, JOB(.id = "a", .limits = {leaky}), 3);
    expect(rig, "g", 9, "");
    assert_int_equal(expedite(rig, "a1"), SILO_OK);
    assert_int_equal(rows_in(rig, TABLE_READY), 1);
    assert_int_equal(expedite(rig, "a1"), SILO_PRECONDITION); /* it is ready */
    expect(rig, "g", 9, "a1 ");
    assert_int_equal(expedite(rig, "a2"), SILO_OK);
    assert_int_equal(expedite(rig, "a0"), SILO_OK);
    expect(rig, "g", 9, "a0 "); /* one more hit; the other goes back to its place */
    assert_int_equal(rows_in(rig, TABLE_READY), 0);
    assert_int_equal(rows_in(rig, TABLE_WAITER), 2);
    rig_pass(rig, 1000);
    expect(rig, "g", 9, "big ");
    close_checked(rig);
}

/* --- storage --- */

static void test_reopen(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    put_jobs(rig, JOB(.id = "a", .limits = {RATE("r", 2, 1000)}), 3000);
    expect(rig, "g", 9, "a0 a1 ");
    for (int i = 1; i < 4; i++) {
        char both[32];
        reopen(rig);
        assert_int_equal(core_stats(rig_core(rig)).tasks, 0); /* nothing is read at open */
        rig_pass(rig, 1000);
        (void)snprintf(both, sizeof both, "a%d a%d ", 2 * i, 2 * i + 1);
        expect(rig, "g", 9, both);
    }
    put_job(rig, JOB(.id = "top", .priority = 0, .limits = {RATE("r", 2, 1000)}));
    reopen(rig);
    put_job(rig, JOB(.id = "last", .priority = 90, .limits = {RATE("r", 2, 1000)}));
    rig_pass(rig, 1000);
    expect(rig, "g", 1, "a8 ");
    close_checked(rig);
}

/* Far more than a window, in the right order to the end. */
static void test_paged(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    put_jobs(rig, JOB(.id = "a", .limits = {RATE("r", 500, 1000)}), 5000);
    size_t next = 0;
    for (size_t second = 1; second <= 10; second++) {
        while (next < 500 * second) {
            struct call *poll = send_poll(rig, "g", 200, 5000);
            assert_int_equal(poll_count(poll), next % 500 == 400 ? 100 : 200);
            for (size_t n = 0; n < poll_count(poll); n++) {
                char id[16];
                (void)snprintf(id, sizeof id, "a%zu", next++);
                assert_true(bytes_eq(poll_task(poll, n)->job_id, bytes_str(id)));
            }
            rig_call_free(poll);
        }
        rig_pass(rig, 1000);
    }
    assert_int_equal(rows_in(rig, TABLE_WAITER), 0);
    close_checked(rig);
}

struct row_copy {
    struct bytes key, value; /* value: malloced */
};

static void copy_row(void *context, struct bytes key, struct bytes value)
{
    struct row_copy *copy = context;
    if (bytes_eq(key, copy->key)) {
        uint8_t *bytes = malloc(value.len);
        assert_non_null(bytes);
        memcpy(bytes, value.ptr, value.len);
        copy->value = bytes_of(bytes, value.len);
    }
}

/*
 * Rows as earlier versions left them: ready, or in back-off among the timers, before a limit that
 * throttles.
 */
static void test_old_rows(void **state)
{
    (void)state;
    for (int timer = 0; timer < 2; timer++) {
        struct rig *rig = open_plain();
        LIMITED(rig, "eats", RATE("r", 1, 5000));
        (void)lease_one(rig, "eats");
        end_job(rig, "eats", ATTEMPT_SUCCEEDED);
        LIMITED(rig, "a", RATE("r", 1, 5000));
        assert_int_equal(rig_stop(rig), SILO_OK);
        struct key key;
        key_of_job(rig, TABLE_WAITER, "a", &key);
        struct row_copy copy = {.key = key_bytes(&key)};
        rig_each_row(rig, copy_row, &copy);
        struct place place;
        struct key ref;
        key_throttle_ref(&ref, job_ref_tenant(bytes_of(key.b + 1, key.len - 1)), BYTES_LIT("r"),
                         BYTES_LIT("r"), BYTES_LIT("g"));
        assert_true(key_waiter_parse(key_bytes(&key), ORDER_PRIORITY, 1 + ref.len + 5, &place));
        rig_tamper(rig, key_bytes(&key), BYTES_NONE);
        key_queue(&key, key_bytes(&ref), QUEUE_LINES);
        rig_tamper(rig, key_bytes(&key), BYTES_NONE);
        key_meta_ref(&key, META_THROTTLE, key_bytes(&ref));
        rig_tamper(rig, key_bytes(&key), BYTES_NONE);
        if (timer != 0) {
            key_timer(&key, &place);
        } else {
            key_ready(&key, ORDER_PRIORITY, BYTES_LIT("g"), &place);
        }
        rig_tamper(rig, key_bytes(&key), copy.value);
        free((void *)(uintptr_t)copy.value.ptr);
        rig_start(rig);
        rig_settle(rig);
        slots_check(rig);
        expect(rig, "g", 1, ""); /* asked, and refused: it goes to its place in line */
        assert_int_equal(rows_in(rig, TABLE_WAITER), 1);
        rig_pass(rig, 5000);
        expect(rig, "g", 1, "a ");
        close_checked(rig);
    }
}

/*
 * More limiters with waiting jobs than have lines: the others back off among the timers, one by
 * one.
 */
static void test_too_many(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    char id[16];
    struct job_limit limit = RATE("", 1, 1000);
    limit.name = id;
    for (uint32_t i = 0; i < SHARD_THROTTLES_MAX + 10; i++) {
        (void)snprintf(id, sizeof id, "a%u", i);
        put_job(rig, JOB(.id = id, .limits = {limit}));
    }
    assert_int_equal(rows_in(rig, TABLE_WAITER), SHARD_THROTTLES_MAX);
    assert_int_equal(rows_in(rig, TABLE_READY), 10);
    (void)snprintf(id, sizeof id, "a%u", SHARD_THROTTLES_MAX);
    put_job(rig, JOB(.id = "second", .limits = {limit}));
    put_job(rig, JOB(.id = "third", .limits = {limit}));
    reopen(rig);
    assert_int_equal(rows_in(rig, TABLE_READY), 12);
    size_t got = 0;
    for (int i = 0; i < 100 && got < SHARD_THROTTLES_MAX + 12; i++) {
        struct call *poll = send_poll(rig, "g", 4096, 2000);
        rig_pass(rig, 2000);
        got += poll_count(poll);
        rig_call_free(poll);
    }
    assert_int_equal(got, SHARD_THROTTLES_MAX + 12);
    close_checked(rig);
}

/* --- a limiter outside --- */

static void answer(struct rig *rig, struct fake_limiter *fake, enum core_verdict verdict,
                   int64_t reset_ms)
{
    fake_answer(fake, NULL, verdict, reset_ms);
    rig_settle(rig);
}

static void test_asked_one_by_one(void **state)
{
    (void)state;
    struct fake_limiter fake;
    struct rig *rig = open_outside(&fake);
    put_jobs(rig, JOB(.id = "a", .limits = {RATE("r", 10, 5000)}), 100);
    struct call *poll = send_poll(rig, "g", 8, 60000);
    assert_int_equal(fake_waiting(&fake), 8); /* as many as it wants, while nobody was refused */
    for (int i = 0; i < 8; i++) {
        answer(rig, &fake, VERDICT_OVER, rig->wall_ms + 5000);
    }
    put_jobs(rig, JOB(.id = "b", .limits = {RATE("r", 10, 5000)}), 100);
    rig_pass(rig, 4999);
    assert_int_equal(fake.asked, 8); /* neither those that were refused nor those that came since */
    rig_pass(rig, 1);
    assert_int_equal(fake.asked, 9); /* the first of the line */
    answer(rig, &fake, VERDICT_UNDER, 0);
    assert_true(poll->done);
    assert_string_equal(names(poll), "a0 ");
    rig_call_free(poll);
    poll = send_poll(rig, "g", 8, 60000);
    assert_int_equal(fake_waiting(&fake), 2); /* one has passed: two may try */
    answer(rig, &fake, VERDICT_OVER, rig->wall_ms + 5000);
    answer(rig, &fake, VERDICT_OVER, rig->wall_ms + 9000);
    rig_pass(rig, 5000);
    assert_int_equal(fake_waiting(&fake), 1);
    answer(rig, &fake, VERDICT_OVER,
           0); /* nothing known: the policy's back-off, 200 ms after two refusals */
    rig_pass(rig, 199);
    assert_int_equal(fake_waiting(&fake), 0);
    rig_pass(rig, 1);
    assert_int_equal(fake_waiting(&fake), 1);
    answer(rig, &fake, VERDICT_UNDER, 0);
    rig_call_free(poll);
    fake_answer_all(&fake, VERDICT_OVER);
    rig_settle(rig);
    close_checked(rig);
}

/* However much polls want, so many questions are on their way to one limiter. */
static void test_asked_at_a_time(void **state)
{
    (void)state;
    struct fake_limiter fake;
    struct rig *rig = open_outside(&fake);
    rig->on_batch = NULL; /* too many rows to look at in every batch */
    put_jobs(rig, JOB(.id = "a", .limits = {RATE("r", 1000, 5000)}), 2 * GATE_ASKED_MAX);
    struct call *poll = send_poll(rig, "g", 2 * GATE_ASKED_MAX, 60000);
    assert_int_equal(fake_waiting(&fake), GATE_ASKED_MAX);
    fake_answer(&fake, NULL, VERDICT_UNDER, 0);
    rig_settle(rig);
    assert_true(poll->done); /* with the one that passed; nobody wants more */
    rig_call_free(poll);
    assert_int_equal(fake_waiting(&fake), GATE_ASKED_MAX - 1);
    poll = send_poll(rig, "g", 2 * GATE_ASKED_MAX, 60000);
    assert_int_equal(fake_waiting(&fake), GATE_ASKED_MAX);
    fake_answer_all(&fake, VERDICT_UNDER);
    rig_settle(rig);
    assert_true(poll->done);
    rig_call_free(poll);
    fake_answer_all(&fake, VERDICT_UNDER);
    rig_settle(rig);
    close_checked(rig);
}

/*
 * A limiter that is away is asked for one token at a time; nothing is written, and nobody loses its
 * place.
 */
static void test_away(void **state)
{
    (void)state;
    struct fake_limiter fake;
    struct rig *rig = open_outside(&fake);
    put_jobs(rig, JOB(.id = "a", .limits = {RATE("r", 10, 5000)}), 100);
    struct call *poll = send_poll(rig, "g", 1, 60000);
    const uint64_t before = batches(rig);
    for (size_t i = 1; i < GATE_ERRORS_MAX; i++) {
        assert_int_equal(fake_waiting(&fake), 1);
        answer(rig, &fake, VERDICT_ERROR, 0);
        rig_pass(rig, 100);
    }
    assert_int_equal(batches(rig), before);
    answer(rig, &fake, VERDICT_UNDER, 0);
    assert_string_equal(names(poll), "a0 ");
    rig_call_free(poll);
    close_checked(rig);
}

/* A question that is always answered with an error lets the others go first. */
static void test_poison(void **state)
{
    (void)state;
    struct fake_limiter fake;
    struct rig *rig = open_outside(&fake);
    put_job(rig, JOB(.id = "bad", .priority = 1, .limits = {RATE("r", 10, 5000)}));
    put_job(rig, JOB(.id = "good", .priority = 2, .limits = {RATE("r", 10, 5000)}));
    struct call *poll = send_poll(rig, "g", 1, 60000);
    for (size_t i = 0; i < GATE_ERRORS_MAX; i++) {
        assert_int_equal(fake_waiting(&fake), 1);
        answer(rig, &fake, VERDICT_ERROR, 0);
        assert_int_equal(rows_in(rig, TABLE_TIMER), i + 1 == GATE_ERRORS_MAX);
        rig_pass(rig, i + 1 < GATE_ERRORS_MAX ? 100 : 99);
    }
    rig_pass(rig, 1);
    answer(rig, &fake, VERDICT_UNDER, 0);
    assert_true(poll->done);
    rig_call_free(poll);
    close_checked(rig);
}

/* The answer comes when the token has left the line, or the shard its memory. */
static void test_answer_too_late(void **state)
{
    (void)state;
    struct fake_limiter fake;
    struct rig *rig = open_outside(&fake);
    put_jobs(rig, JOB(.id = "a", .limits = {RATE("r", 10, 5000)}), 3);
    struct call *poll = send_poll(rig, "g", 2, 60000);
    assert_int_equal(fake_waiting(&fake), 2);
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a0"), SILO_OK);
    const struct uuid task = lease_this(rig, "a1");
    answer(rig, &fake, VERDICT_UNDER, 0);
    answer(rig, &fake, VERDICT_UNDER, 0);
    assert_false(poll->done);
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
    assert_int_equal(fake_waiting(&fake), 1);
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a2"), SILO_OK); /* the line is empty and gone */
    answer(rig, &fake, VERDICT_OVER, 0);
    LIMITED(rig, "b", RATE("r", 10, 5000));
    assert_int_equal(fake_waiting(&fake), 1); /* nothing is left of that refusal */
    answer(rig, &fake, VERDICT_UNDER, 0);
    assert_true(poll->done);
    rig_call_free(poll);
    assert_int_equal(core_stats(rig_core(rig)).checks, 0);
    close_checked(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_order),
        cmocka_unit_test(test_among_others),
        cmocka_unit_test(test_writes_nothing),
        cmocka_unit_test(test_one_move_each),
        cmocka_unit_test(test_many_hits),
        cmocka_unit_test(test_group_without_workers),
        cmocka_unit_test(test_groups_share),
        cmocka_unit_test(test_keeps_slots),
        cmocka_unit_test(test_two_limits),
        cmocka_unit_test(test_filled_early),
        cmocka_unit_test(test_wants_less),
        cmocka_unit_test(test_limit_raised),
        cmocka_unit_test(test_bounded_retries),
        cmocka_unit_test(test_impossible),
        cmocka_unit_test(test_cancel_delete_restart),
        cmocka_unit_test(test_lease_this),
        cmocka_unit_test(test_expedite),
        cmocka_unit_test(test_reopen),
        cmocka_unit_test(test_paged),
        cmocka_unit_test(test_old_rows),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_asked_one_by_one),
        cmocka_unit_test(test_asked_at_a_time),
        cmocka_unit_test(test_away),
        cmocka_unit_test(test_poison),
        cmocka_unit_test(test_answer_too_late),
    };
    return cmocka_run_group_tests_name("throttle", tests, NULL, NULL);
}
