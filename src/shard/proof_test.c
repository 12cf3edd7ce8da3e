/*
 * shard/proof_test.c - what an answer rests on when another process has taken the shard meanwhile.
 */
#include "base/limits.h"
#include "base/test.h"
#include "shard/shard_int.h"
#include "shard/shard_rig_test.h"

#define REFRESH_MS 50

static uint64_t refreshes(const struct rig *rig)
{
    struct store_mem_counts counts;
    store_mem_counts(shard_rig_of(rig)->store, &counts);
    return counts.calls[STORE_MEM_REFRESH];
}

static struct call *ask(struct rig *rig, const char *id)
{
    struct call *call = rig_call(CMD_GET_JOB, T, id);
    rig_send(rig, call);
    return call;
}

static struct rig *strict_rig(bool local)
{
    const struct shard_rig_options options = {.local = local};
    struct rig *rig = local ? shard_rig_open_with(&options) : shard_rig_open_plain();
    if (!local) {
        shards_set_strict(shard_rig_of(rig)->shards, INT64_MIN);
    }
    enqueue(rig, "a", 5, 0);
    return rig;
}

/* The proof may be some seconds old, and asks nothing of the store. */
static void test_usual(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    enqueue(rig, "a", 5, 0);
    const uint64_t before = refreshes(rig);
    assert_int_equal(on_job(rig, CMD_GET_JOB, "a"), SILO_OK);
    assert_int_equal(refreshes(rig), before);
    shard_rig_fence(rig);
    assert_int_equal(on_job(rig, CMD_GET_JOB, "a"), SILO_OK);
    rig_pass(rig, OWNERSHIP_MS + 1);
    assert_int_equal(on_job(rig, CMD_GET_JOB, "a"), SILO_UNAVAILABLE);
    rig_free(rig);
}

/* Whoever took the shard has the last word, however short ago the newest proof is. */
static void test_strict(void **state)
{
    (void)state;
    for (int local = 0; local < 2; local++) {
        struct rig *rig = strict_rig(local != 0);
        const uint64_t before = refreshes(rig);
        assert_int_equal(on_job(rig, CMD_GET_JOB, "a"), SILO_OK);
        assert_int_equal(refreshes(rig), before + 1);
        shard_rig_fence(rig);
        assert_int_equal(on_job(rig, CMD_GET_JOB, "a"), SILO_UNAVAILABLE);
        rig_free(rig);
    }
}

/* What was refused writes nothing either: a worker must not be told that it has no lease. */
static void test_refused(void **state)
{
    (void)state;
    struct rig *rig = strict_rig(false);
    const struct uuid nobodys = {.b = {1}};
    const uint64_t before = refreshes(rig);
    assert_int_equal(report(rig, &nobodys, ATTEMPT_SUCCEEDED), SILO_NOT_FOUND);
    assert_int_equal(refreshes(rig), before + 1);
    assert_int_equal(finish(rig, enqueue_call("a", "g", 5, 0)), SILO_EXISTS);
    assert_int_equal(refreshes(rig), before + 2);
    shard_rig_fence(rig);
    assert_int_equal(report(rig, &nobodys, ATTEMPT_SUCCEEDED), SILO_UNAVAILABLE);
    rig_free(rig);
}

/* The process was stopped with a fresh proof in hand, and goes on as if nothing had been. */
static void test_paused(void **state)
{
    (void)state;
    struct rig *rig = strict_rig(false);
    assert_int_equal(on_job(rig, CMD_GET_JOB, "a"), SILO_OK);
    shard_rig_fence(rig);
    rig->mono_us += 30 * (int64_t)1000000;
    assert_int_equal(on_job(rig, CMD_GET_JOB, "a"), SILO_UNAVAILABLE);
    rig_free(rig);
}

/*
 * The process was stopped until its lease was over, and meets calls before it hears that others may
 * have its shards: the proof is young, and does not count.
 */
static void test_lease_over(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    const int64_t over_ms = rig->mono_us / 1000 + OWNERSHIP_MS / 2;
    shards_set_strict(shard_rig_of(rig)->shards, over_ms);
    enqueue(rig, "a", 5, 0);
    const uint64_t before = refreshes(rig);
    assert_int_equal(on_job(rig, CMD_GET_JOB, "a"), SILO_OK);
    assert_int_equal(refreshes(rig), before);
    shard_rig_fence(rig);
    rig->mono_us = over_ms * 1000;
    assert_int_equal(on_job(rig, CMD_GET_JOB, "a"), SILO_UNAVAILABLE);
    rig_free(rig);
}

/* One that is under way when the call comes says nothing of what happened before it came. */
static void test_refresh_under_way(void **state)
{
    (void)state;
    struct rig *rig = strict_rig(false);
    store_mem_delay_set(shard_rig_of(rig)->store, STORE_MEM_REFRESH,
                        (struct store_mem_delay){.ms_min = REFRESH_MS, .ms_max = REFRESH_MS});
    struct call *first = ask(rig, "a");
    rig_pass(rig, REFRESH_MS / 2);
    struct call *second = ask(rig, "a");
    struct call *third = ask(rig, "a");
    rig_pass(rig, REFRESH_MS / 2 + 1);
    assert_true(first->done && !second->done && !third->done);
    assert_int_equal(first->cmd.rc.code, SILO_OK);
    shard_rig_fence(rig);
    rig_pass(rig, REFRESH_MS + 1);
    assert_true(second->done && third->done);
    assert_int_equal(second->cmd.rc.code, SILO_UNAVAILABLE);
    assert_int_equal(third->cmd.rc.code, SILO_UNAVAILABLE);
    rig_call_free(first);
    rig_call_free(second);
    rig_call_free(third);
    rig_free(rig);
}

/* Many answers share one, and with the end of strictness the old proof is good again. */
static void test_shared(void **state)
{
    (void)state;
    struct rig *rig = strict_rig(false);
    const uint64_t before = refreshes(rig);
    struct call *calls[20];
    for (size_t i = 0; i < 20; i++) {
        calls[i] = ask(rig, "a");
    }
    rig_settle(rig);
    assert_true(refreshes(rig) - before <= 2);
    for (size_t i = 0; i < 20; i++) {
        assert_true(calls[i]->done);
        assert_int_equal(calls[i]->cmd.rc.code, SILO_OK);
        rig_call_free(calls[i]);
    }
    shards_set_strict(shard_rig_of(rig)->shards, INT64_MAX);
    const uint64_t after = refreshes(rig);
    assert_int_equal(on_job(rig, CMD_GET_JOB, "a"), SILO_OK);
    assert_int_equal(refreshes(rig), after);
    close_all(rig);
}

/* A store that does not answer is said to be so. */
static void test_outage(void **state)
{
    (void)state;
    struct rig *rig = strict_rig(false);
    store_mem_outage(shard_rig_of(rig)->store, STORE_MEM_BIT(STORE_MEM_REFRESH), "away");
    struct call *call = ask(rig, "a");
    rig_pass(rig, OWNERSHIP_MS / 2);
    assert_false(call->done);
    rig_pass(rig, OWNERSHIP_MS);
    assert_true(call->done);
    assert_int_equal(call->cmd.rc.code, SILO_UNAVAILABLE);
    assert_non_null(strstr(call->cmd.error, "cannot prove"));
    rig_call_free(call);
    store_mem_outage(shard_rig_of(rig)->store, 0, NULL);
    rig_pass(rig, 1000);
    assert_int_equal(on_job(rig, CMD_GET_JOB, "a"), SILO_OK);
    close_all(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_usual),      cmocka_unit_test(test_strict),
        cmocka_unit_test(test_refused),    cmocka_unit_test(test_paused),
        cmocka_unit_test(test_lease_over), cmocka_unit_test(test_refresh_under_way),
        cmocka_unit_test(test_shared),     cmocka_unit_test(test_outage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
