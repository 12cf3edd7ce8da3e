/*
 * shard/damage_test.c - rows that read well and cannot be true: the shard stops and says so, the
 * process lives.
 */
#include "base/test.h"
#include "core/limit_calls_test.h"
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_counter_row_that_counts_too_few),
        cmocka_unit_test(a_queue_row_that_counts_too_few),
        cmocka_unit_test(two_leases_of_one_task),
    };
    return cmocka_run_group_tests_name("damage", tests, NULL, NULL);
}
