/* shard/checks_test.c - questions about rate limits, and who is there when the verdicts come. */
#include "base/assert.h"
#include "base/test.h"
#include "core/limit_calls_test.h"
#include "shard/shard_rig_test.h"

/* A limiter that answers when the test says so. */
struct asked {
    struct limiter limiter;
    struct limiter_check *last;
    uint32_t times;
};

static void asked_check(struct limiter *limiter, struct limiter_check *check)
{
    struct asked *asked = CONTAINER_OF(limiter, struct asked, limiter);
    asked->last = check;
    asked->times++;
}

static void asked_pass(struct asked *asked)
{
    struct limiter_check *check = asked->last;
    ASSERT(check != NULL);
    asked->last = NULL;
    check->verdict = LIMITER_UNDER;
    check->done(check);
}

static struct call *send_poll(struct rig *rig)
{
    struct call *poll = poll_call(1, 60000);
    rig_send(rig, poll);
    rig_settle(rig);
    return poll;
}

/*
 * The shard is lost to somebody and opened again in the same process: the old questions are
 * nobody's.
 */
static void test_outside_after_reopen(void **state)
{
    (void)state;
    struct asked asked = {.limiter.check = asked_check};
    struct rig *rig =
        shard_rig_open_with(&(struct shard_rig_options){.seed = 1, .limiter = &asked.limiter});
    LIMITED(rig, "a", FIXED("q", 1), RATE("r", 1, 1000));
    struct call *poll = send_poll(rig);
    assert_int_equal(asked.times, 1);
    shard_rig_fence(rig);
    store_mem_notice_fences(shard_rig_of(rig)->store);
    rig_pass(rig, 20000);
    shard_rig_reopen(rig);
    rig_settle(rig);
    assert_true(rig_is_open(rig));
    assert_true(poll->done);
    assert_int_equal(poll->cmd.rc.code, SILO_UNAVAILABLE);
    rig_call_free(poll);
    asked_pass(&asked);
    rig_settle(rig);
    poll = send_poll(rig);
    assert_false(poll->done); /* asked anew */
    assert_int_equal(asked.times, 2);
    asked_pass(&asked);
    rig_settle(rig);
    assert_int_equal(poll_count(poll), 1);
    rig_call_free(poll);
    end_job(rig, "a", ATTEMPT_SUCCEEDED);
    assert_int_equal(drain(rig), 0);
    close_all(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_outside_after_reopen)};
    return cmocka_run_group_tests_name("checks", tests, NULL, NULL);
}
