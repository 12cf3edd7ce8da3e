/*
 * shard/damage_test.c - rows that read well and cannot be true: the shard stops and says so, the
 * process lives.
 */
#include <string.h>

#include "base/test.h"
#include "core/limit_calls_test.h"
#include "shard/shard_int.h"
#include "shard/shard_rig_test.h"

static struct rig *open_damage(void)
{
    return shard_rig_open_with(&(struct shard_rig_options){.seed = 1});
}

/* The process ends, what is durable stays. */
static void stop_process(struct rig *rig)
{
    rig_settle(rig);
    rig_kill(rig, RIG_LOSE);
}

static void start_process(struct rig *rig)
{
    rig_start(rig);
    rig_settle(rig);
}

static void ref_of(struct key *ret_ref, const char *id)
{
    key_job_ref(ret_ref, BYTES_LIT(T), bytes_str(id));
}

/*
 * A job ends that the counter row does not know of: nothing is written, the caller is told to come
 * back.
 */
static void a_counter_row_that_counts_too_few(void **state)
{
    (void)state;
    struct rig *rig = open_damage();
    enqueue(rig, "a", 50, 0);
    stop_process(rig);
    struct key ref, key;
    ref_of(&ref, "a");
    key_count(&key, key_bytes(&ref));
    struct buf buf;
    buf_init(&buf, 1000);
    counts_encode(&buf, &(const struct counts){0});
    rig_tamper(rig, key_bytes(&key), buf_bytes(&buf));
    buf_deinit(&buf);
    start_process(rig);

    const struct uuid task = lease_one(rig, "a");
    const uint64_t before = batches(rig);
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_UNAVAILABLE);
    assert_false(rig_is_open(rig));
    assert_int_equal(batches(rig), before);
    rig_free(rig);
}

static void a_queue_row_that_counts_too_few(void **state)
{
    (void)state;
    struct rig *rig = open_damage();
    LIMITED(rig, "x", FIXED("q", 1));
    LIMITED(rig, "waits", FIXED("q", 1));
    stop_process(rig);
    struct key job, ref, key;
    ref_of(&job, "x");
    key_queue_ref(&ref, job_ref_tenant(key_bytes(&job)), BYTES_LIT("q"));
    key_queue(&key, key_bytes(&ref), QUEUE_LINES);
    struct buf buf;
    buf_init(&buf, 1000);
    queue_encode_head(&buf, 0);
    rig_tamper(rig, key_bytes(&key), buf_bytes(&buf));
    buf_deinit(&buf);
    start_process(rig);

    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "waits"), SILO_UNAVAILABLE);
    assert_false(rig_is_open(rig));
    rig_free(rig);
}

static void put_lease(struct rig *rig, const char *id, const struct uuid *task)
{
    struct key ref, key;
    ref_of(&ref, id);
    key_by_ref(&key, TABLE_LEASE, key_bytes(&ref));
    const struct lease_rec rec = {.task_id = *task,
                                  .worker_id = BYTES_LIT("w1"),
                                  .attempt = 1,
                                  .relative = 1,
                                  .group = BYTES_LIT("g")};
    struct buf buf;
    buf_init(&buf, 1000);
    lease_encode(&buf, &rec);
    rig_tamper(rig, key_bytes(&key), buf_bytes(&buf));
    buf_deinit(&buf);
}

static void two_leases_of_one_task(void **state)
{
    (void)state;
    struct rig *rig = open_damage();
    enqueue(rig, "a", 50, 0);
    enqueue(rig, "b", 50, 0);
    stop_process(rig);
    const struct uuid task = {.b = {1}};
    put_lease(rig, "a", &task);
    put_lease(rig, "b", &task);
    start_process(rig);
    assert_false(rig_is_open(rig));
    rig_free(rig);
}

/* Names of which no key can be made: the row is counted as corrupt, other jobs run. */
static void names_too_long_for_a_key(void **state)
{
    (void)state;
    static uint8_t name[KEY_BYTES_MAX];
    memset(name, 'n', sizeof name);
    for (int which = 0; which < 2; which++) {
        struct rig *rig = open_damage();
        const int64_t start_ms = which == 0 ? 0 : rig->wall_ms + 1000;
        put_jobs(rig, JOB(.id = "a", .start_ms = start_ms), 3);
        stop_process(rig);
        struct key key, ref;
        key_of_job(rig, which == 0 ? TABLE_READY : TABLE_TIMER, "a1", &key);
        ref_of(&ref, "a1");
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
        start_process(rig);
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
        cmocka_unit_test(a_counter_row_that_counts_too_few),
        cmocka_unit_test(a_queue_row_that_counts_too_few),
        cmocka_unit_test(two_leases_of_one_task),
        cmocka_unit_test(names_too_long_for_a_key),
    };
    return cmocka_run_group_tests_name("damage", tests, NULL, NULL);
}
