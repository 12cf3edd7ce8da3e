/*
 * shard/move_test.c - a shard leaves for another process: prepared while it serves, then closed so
 * that its callers find it there.
 */
#include "base/limits.h"
#include "base/test.h"
#include "shard/shard_int.h"
#include "shard/shard_rig_test.h"

static uint64_t memtable_flushes(const struct rig *rig)
{
    return shard_rig_of(rig)->executor->counted.calls_flush_memtable;
}

/* --- controls --- */

struct told {
    struct shard_control control;
    bool done;
};

static void told_done(struct shard_control *control)
{
    CONTAINER_OF(control, struct told, control)->done = true;
}

static void close_for_move(struct rig *rig, struct told *told)
{
    *told = (struct told){.control = {.done = told_done, .how = SHARD_CLOSE_MOVE}};
    shard_close(shard_rig_of(rig)->shards, shard_rig_of(rig)->ref, &told->control);
}

/* --- preparing --- */

static void test_prepare(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    enqueue(rig, "a", 5, 0);
    const uint64_t before = memtable_flushes(rig);
    assert_int_equal(shard_rig_control(rig, shard_prepare), SILO_OK);
    assert_int_equal(memtable_flushes(rig), before + 1);
    enqueue(rig, "b", 5, 0); /* it goes on serving */
    assert_int_equal(totals(rig).open, 2);
    close_all(rig);
}

/* A close does not wait for the flush, which the storage may keep for ever. */
static void test_close_overtakes_prepare(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    struct told prepare = {.control.done = told_done};
    struct told end;
    enqueue(rig, "a", 5, 0);
    store_mem_delay_set(shard_rig_of(rig)->store, STORE_MEM_FLUSH,
                        (struct store_mem_delay){.ms_min = 60000, .ms_max = 60000});
    shard_prepare(shard_rig_of(rig)->shards, shard_rig_of(rig)->ref, &prepare.control);
    rig_settle(rig);
    assert_false(prepare.done);
    close_for_move(rig, &end);
    rig_settle(rig);
    assert_true(prepare.done);
    assert_int_equal(prepare.control.rc.code, SILO_UNAVAILABLE);
    rig_pass(rig, 61000);
    assert_true(end.done);
    close_all(rig);
}

/* There is nothing to be prepared. */
static void test_prepare_closed(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    assert_int_equal(shard_rig_control(rig, shard_close), SILO_OK);
    assert_int_equal(shard_rig_control(rig, shard_prepare), SILO_UNAVAILABLE);
    close_all(rig);
}

/* --- closing --- */

/* Who comes too late goes where the shard is now. */
static void test_later_calls_are_routed_wrong(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    struct told end;
    close_for_move(rig, &end);
    struct call *call = enqueue_call("a", "g", 5, 0);
    rig_send(rig, call);
    rig_settle(rig);
    assert_true(call->done);
    assert_int_equal(call->cmd.rc.code, SILO_ROUTED_WRONG);
    rig_call_free(call);
    assert_true(end.done);
    assert_int_equal(end.control.rc.code, SILO_OK);
    assert_true(end.control.empty);
    call = enqueue_call("a", "g", 5, 0);
    assert_int_equal(finish(rig, call), SILO_ROUTED_WRONG);
    /* It comes back. */
    shard_rig_reopen(rig);
    rig_settle(rig);
    enqueue(rig, "a", 5, 0);
    close_all(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prepare),
        cmocka_unit_test(test_close_overtakes_prepare),
        cmocka_unit_test(test_prepare_closed),
        cmocka_unit_test(test_later_calls_are_routed_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
