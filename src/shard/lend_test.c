/* shard/lend_test.c - a shard lends a moment of its database: when, and what if it cannot. */
#include "base/limits.h"
#include "base/test.h"
#include "shard/shard_rig_test.h"

static struct store_queue *queue;

static struct call *lend_call(void)
{
    struct call *call = rig_call(CMD_LEND, T, "");
    call->cmd.args.lend.queue = queue;
    return call;
}

static struct rig *open_lending(void)
{
    struct rig *rig = shard_rig_open_plain();
    assert_int_equal(
        shard_rig_of(rig)->real->queue_new(shard_rig_of(rig)->store, &queue, NULL).code, SILO_OK);
    return rig;
}

static void close_lending(struct rig *rig)
{
    shard_rig_of(rig)->real->queue_free(queue);
    close_all(rig);
}

/* Rows of that first byte in what was lent, read on the reader's queue; gives it back. */
static size_t lent_rows(struct rig *rig, struct call *call, uint8_t table)
{
    assert_true(call->done);
    assert_int_equal(call->cmd.rc.code, SILO_OK);
    struct store_snap *snap = call->cmd.result.lent.snap;
    const uint8_t next = table + 1;
    const struct store_scan_args args = {.lo = bytes_of(&table, 1), .hi = bytes_of(&next, 1)};
    assert_int_equal(shard_rig_of(rig)->real->scan(NULL, snap, &args, 77, NULL).code, SILO_OK);
    rig_settle(rig);
    struct store_event event;
    assert_int_equal(shard_rig_of(rig)->real->queue_drain(queue, &event, 1), 1);
    assert_int_equal(event.rc.code, SILO_OK);
    assert_null(event.db);
    const size_t count = event.rows.count;
    shard_rig_of(rig)->real->event_free(&event);
    shard_rig_of(rig)->real->snapshot_free(snap);
    (void)rig_call_free(call);
    return count;
}

static void what_is_durable_is_lent(void **state)
{
    (void)state;
    struct rig *rig = open_lending();
    enqueue(rig, "a", 5, 0);
    struct call *first = lend_call();
    rig_do(rig, first);
    enqueue(rig, "b", 5, 0);
    assert_int_equal(lent_rows(rig, first, TABLE_INFO), 1); /* as it was then */
    struct call *second = lend_call();
    rig_do(rig, second);
    assert_int_equal(lent_rows(rig, second, TABLE_INFO), 2);
    close_lending(rig);
}

/* A reader never sees what a crash could still take back. */
static void what_is_not_durable_is_waited_for(void **state)
{
    (void)state;
    struct rig *rig = open_lending();
    store_mem_outage(shard_rig_of(rig)->store, STORE_MEM_BIT(STORE_MEM_FLUSH), "slow");
    struct call *job = enqueue_call("a", "g", 5, 0);
    rig_send(rig, job);
    rig_settle(rig);
    struct call *call = lend_call();
    rig_send(rig, call);
    rig_settle(rig);
    assert_false(job->done);
    assert_false(call->done);
    store_mem_outage(shard_rig_of(rig)->store, 0, NULL);
    rig_settle(rig);
    assert_true(job->done);
    (void)rig_call_free(job);
    assert_int_equal(lent_rows(rig, call, TABLE_INFO), 1);
    close_lending(rig);
}

static void fails(struct call *call)
{
    assert_true(call->done);
    assert_int_equal(call->cmd.rc.code, SILO_UNAVAILABLE);
    assert_null(call->cmd.result.lent.snap);
    (void)rig_call_free(call);
}

/* Whatever becomes of the shard, nothing is lent to who was told that it failed. */
static void failures_leave_nothing_behind(void **state)
{
    (void)state;
    struct rig *rig = open_lending();
    store_mem_outage(shard_rig_of(rig)->store, STORE_MEM_BIT(STORE_MEM_FLUSH), "away");
    struct call *job = enqueue_call("a", "g", 5, 0);
    rig_send(rig, job);
    rig_settle(rig);
    struct call *call = lend_call();
    rig_send(rig, call);
    rig_pass(rig, 2 * OUTAGE_MS); /* given up */
    fails(call);
    assert_true(job->done);
    (void)rig_call_free(job);
    store_mem_outage(shard_rig_of(rig)->store, 0, NULL);
    rig_pass(rig, 1000);

    /* Somebody else has taken the shard before what was lent is durable. */
    store_mem_outage(shard_rig_of(rig)->store, STORE_MEM_BIT(STORE_MEM_FLUSH), "away");
    job = enqueue_call("b", "g", 5, 0);
    rig_send(rig, job);
    rig_settle(rig);
    call = lend_call();
    rig_send(rig, call);
    rig_settle(rig);
    assert_false(call->done);
    shard_rig_fence(rig);
    store_mem_outage(shard_rig_of(rig)->store, 0, NULL);
    rig_settle(rig);
    fails(call);
    assert_true(job->done);
    (void)rig_call_free(job);
    shard_rig_reopen(rig);
    rig_settle(rig);
    close_lending(rig);
}

static void a_closed_shard_lends_nothing(void **state)
{
    (void)state;
    struct rig *rig = open_lending();
    assert_int_equal(shard_rig_control(rig, shard_close), SILO_OK);
    struct call *call = lend_call();
    rig_do(rig, call);
    fails(call);
    close_lending(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_durable_is_lent),
        cmocka_unit_test(what_is_not_durable_is_waited_for),
        cmocka_unit_test(failures_leave_nothing_behind),
        cmocka_unit_test(a_closed_shard_lends_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
