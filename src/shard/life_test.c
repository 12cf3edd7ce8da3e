/*
 * shard/life_test.c - a shard from open to close, through crashes, outages, fences and failed
 * reads.
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/burst.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/test.h"
#include "shard/shard_rig_test.h"

/* --- life of the shard --- */

static enum shard_status status_of(const struct rig *rig)
{
    return shard_status(shard_rig_of(rig)->shards, shard_rig_of(rig)->ref);
}

static void test_reopen(void **state)
{
    (void)state;
    for (int kill = 0; kill < 2; kill++) {
        struct rig *rig = shard_rig_open_plain();
        enqueue(rig, "a", 5, 0);
        enqueue(rig, "b", 4, 0);
        enqueue(rig, "later", 0, rig->wall_ms + 5000);
        const struct uuid task = lease_one(rig, "b");
        if (kill != 0) {
            rig_kill(rig, RIG_LOSE);
        } else {
            assert_int_equal(rig_stop(rig), SILO_OK);
        }
        rig->mono_us += 3600 * 1000000LL;
        rig_start(rig);
        rig_settle(rig);
        assert_true(rig_is_open(rig));
        assert_int_equal(totals(rig).open, 3);
        assert_int_equal(status(rig, "b"), JOB_RUNNING);
        rig_pass(rig, LEASE_MS - 1000); /* a fresh term */
        assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
        (void)lease_one(rig, "later");
        (void)lease_one(rig, "a");
        close_all(rig);
    }
}

/* Shutdown begins: a poll that waits is answered, and no later one waits. */
static void test_polls_are_released(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    struct call *poll = poll_call(1, 60000);
    rig_send(rig, poll);
    rig_settle(rig);
    assert_false(poll->done);
    shards_release_polls(shard_rig_of(rig)->shards);
    rig_settle(rig);
    assert_true(poll->done);
    assert_int_equal(poll_count(poll), 0);
    rig_call_free(poll);
    poll = poll_call(1, 60000);
    rig_do(rig, poll);
    assert_int_equal(poll_count(poll), 0);
    rig_call_free(poll);
    close_all(rig);
}

/* Reading the leases took longer than one lasts: no worker could renew its own meanwhile. */
static void test_slow_open(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    enqueue(rig, "a", 5, 0);
    const struct uuid task = lease_one(rig, "a");
    assert_int_equal(rig_stop(rig), SILO_OK);
    const struct store_mem_delay slow = {.ms_min = LEASE_MS, .ms_max = LEASE_MS};
    store_mem_delay_set(shard_rig_of(rig)->store, STORE_MEM_SCAN, slow);
    rig_start(rig);
    rig_pass(rig, LEASE_MS);
    assert_false(rig_is_open(rig));
    for (int i = 0; i < 100 && !rig_is_open(rig); i++) {
        rig_pass(rig, 1000);
    }
    store_mem_delay_set(shard_rig_of(rig)->store, STORE_MEM_SCAN, (struct store_mem_delay){0});
    assert_true(rig_is_open(rig));
    rig_pass(rig, LEASE_MS - 2000);
    assert_int_equal(status(rig, "a"), JOB_RUNNING);
    assert_int_equal(heartbeat(rig, &task, "w1"), SILO_OK);
    rig_pass(rig, LEASE_MS - 1000); /* the slow reads are through */
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
    close_all(rig);
}

/*
 * The process stood still for longer than a lease lasts; heartbeats sent meanwhile are read after
 * it goes on.
 */
static void test_stalled(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    enqueue(rig, "a", 5, 0);
    const struct uuid task = lease_one(rig, "a");
    rig_pass(rig, LEASE_MS / 2);
    rig->mono_us += 3 * LEASE_MS * 1000LL;
    rig->wall_ms += 3 * LEASE_MS;
    rig_settle(rig);
    rig_pass(rig, LEASE_MS - 1000);
    assert_int_equal(status(rig, "a"), JOB_RUNNING);
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
    /* A short stop just before the end of a lease: the worker has as long again. */
    enqueue(rig, "c", 5, 0);
    const struct uuid short_task = lease_one(rig, "c");
    rig_pass(rig, LEASE_MS - 500);
    rig->mono_us += 2000 * 1000LL;
    rig->wall_ms += 2000;
    rig_settle(rig);
    rig_pass(rig, 1000);
    assert_int_equal(heartbeat(rig, &short_task, "w1"), SILO_OK);
    assert_int_equal(report(rig, &short_task, ATTEMPT_SUCCEEDED), SILO_OK);
    /* One whose worker is really gone still ends in time. */
    enqueue(rig, "b", 5, 0);
    (void)lease_one(rig, "b");
    rig_pass(rig, LEASE_MS + 100);
    assert_int_equal(status(rig, "b"), JOB_FAILED);
    close_all(rig);
}

/* What the store had while the process stood still is no outage of the store. */
static void test_stalled_with_work(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    store_mem_outage(shard_rig_of(rig)->store, STORE_MEM_BIT(STORE_MEM_FLUSH), "slow");
    struct call *calls[3];
    for (size_t i = 0; i < 3; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "j%zu", i);
        calls[i] = enqueue_call(id, "g", 5, 0);
        rig_send(rig, calls[i]);
        rig_settle(rig);
        if (i == 0) {
            rig->mono_us += 3 * OUTAGE_MS * 1000LL;
            rig->wall_ms += 3 * OUTAGE_MS;
            rig_settle(rig);
        } else {
            rig_pass(rig, OUTAGE_MS / 4);
        }
    }
    store_mem_outage(shard_rig_of(rig)->store, 0, NULL);
    rig_settle(rig);
    for (size_t i = 0; i < 3; i++) {
        assert_true(calls[i]->done);
        assert_int_equal(calls[i]->cmd.rc.code, SILO_OK);
        rig_call_free(calls[i]);
    }
    close_all(rig);
}

static void test_reset(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    enqueue(rig, "a", 5, 0);
    assert_int_equal(shard_rig_control(rig, shard_reset), SILO_OK);
    assert_true(rig_is_open(rig));
    assert_int_equal(totals(rig).open, 0);
    assert_int_equal(on_job(rig, CMD_GET_JOB, "a"), SILO_NOT_FOUND);
    enqueue(rig, "a", 5, 0);
    (void)lease_one(rig, "a");
    close_all(rig);
}

static struct rig *reset_rig;

static void reset_as_it_opens(struct shards *shards, struct shard_ref ref,
                              struct shard_control *control)
{
    shard_reset(shards, ref, control);
    store_mem_outage(shard_rig_of(reset_rig)->store, 0, NULL);
}

/*
 * A reset whose removal fails, or whose open fails, is an error to its caller and done in the end
 * all the same.
 */
static void test_reset_fails(void **state)
{
    (void)state;
    static const enum store_mem_kind kinds[] = {STORE_MEM_OBJECT, STORE_MEM_OPEN, STORE_MEM_SCAN};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct rig *rig = shard_rig_open_plain();
        enqueue(rig, "a", 5, 0);
        store_mem_fail(
            shard_rig_of(rig)->store,
            &(struct store_mem_fault){.kind = kinds[i], .times = 3, .code = SILO_UNAVAILABLE});
        assert_int_equal(shard_rig_control(rig, shard_reset), SILO_UNAVAILABLE);
        assert_int_equal(status_of(rig), SHARD_FAILED);
        rig_pass(rig, 5000);
        assert_true(rig_is_open(rig));
        assert_int_equal(store_mem_faults_fired(shard_rig_of(rig)->store), 3);
        assert_int_equal(totals(rig).open, 0);
        enqueue(rig, "a", 5, 0);
        close_all(rig);
    }
}

/* Told to close or to open while the rest of a failed reset is still to be removed. */
static void test_reset_fails_and_goes_on(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    enqueue(rig, "a", 5, 0);
    store_mem_fail(shard_rig_of(rig)->store,
                   &(struct store_mem_fault){.kind = STORE_MEM_OBJECT, .code = SILO_UNAVAILABLE});
    assert_int_equal(shard_rig_control(rig, shard_reset), SILO_UNAVAILABLE);
    assert_int_equal(shard_rig_control(rig, shard_close), SILO_OK);
    rig_pass(rig, 60000);
    assert_int_equal(status_of(rig), SHARD_CLOSED);
    assert_int_equal(shard_rig_control(rig, shard_open), SILO_OK);
    assert_int_equal(totals(rig).open, 0);
    close_all(rig);
}

/* A reset that arrives while the shard opens by itself still deletes its data. */
static void test_reset_while_opening(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    enqueue(rig, "a", 5, 0);
    store_mem_fail(shard_rig_of(rig)->store,
                   &(struct store_mem_fault){.kind = STORE_MEM_FLUSH, .code = SILO_UNAVAILABLE});
    (void)finish(rig, enqueue_call("b", "g", 5, 0));
    store_mem_outage(shard_rig_of(rig)->store, STORE_MEM_BIT(STORE_MEM_OPEN), "slow");
    rig_pass(rig, 1000);
    assert_int_equal(status_of(rig), SHARD_OPENING);
    reset_rig = rig;
    assert_int_equal(shard_rig_control(rig, reset_as_it_opens), SILO_OK);
    assert_int_equal(totals(rig).open, 0);
    close_all(rig);
}

/* Writes into memory go on when nothing becomes durable: they are no progress. */
static void test_outage_of_flushes(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    enqueue(rig, "a", 5, 0);
    store_mem_outage(shard_rig_of(rig)->store, STORE_MEM_BIT(STORE_MEM_FLUSH), "no uploads");
    struct call *calls[60];
    for (size_t i = 0; i < 60; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "s%zu", i);
        calls[i] = enqueue_call(id, "g", 5, 0);
        rig_send(rig, calls[i]);
        rig_pass(rig, 100);
        assert_int_equal(calls[i]->done, i >= 49); /* those before are ended after OUTAGE_MS */
    }
    store_mem_outage(shard_rig_of(rig)->store, 0, NULL);
    rig_settle(rig);
    for (size_t i = 0; i < 60; i++) {
        assert_int_equal(calls[i]->cmd.rc.code, SILO_UNAVAILABLE);
        const char *text = calls[i]->cmd.error;
        assert_non_null(strstr(text, i < 50 ? "is unknown" : "nothing was changed"));
        assert_non_null(strstr(text, "no uploads"));
        char id[16];
        (void)snprintf(id, sizeof id, "s%zu", i);
        assert_int_equal(on_job(rig, CMD_GET_JOB, id), i < 50 ? SILO_OK : SILO_NOT_FOUND);
        rig_call_free(calls[i]);
    }
    enqueue(rig, "b", 5, 0);
    close_all(rig);
}

static void test_closed(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_new(&(struct shard_rig_options){.seed = 1});
    rig_start(rig);
    assert_int_equal(on_job(rig, CMD_GET_JOB, "a"), SILO_UNAVAILABLE);
    rig_settle(rig);
    struct call *poll = poll_call(1, 60000);
    struct call *wait = rig_call(CMD_GET_RESULT, T, "a");
    wait->cmd.args.get.wait_ms = 60000;
    enqueue(rig, "a", 5, rig->wall_ms + 60000);
    rig_send(rig, poll);
    rig_send(rig, wait);
    rig_settle(rig);
    assert_int_equal(shard_rig_control(rig, shard_close), SILO_OK);
    assert_true(poll->done && wait->done);
    assert_int_equal(poll_count(poll), 0);
    assert_int_equal(wait->cmd.rc.code, SILO_PRECONDITION);
    rig_call_free(poll);
    rig_call_free(wait);
    assert_int_equal(on_job(rig, CMD_GET_JOB, "a"), SILO_UNAVAILABLE);
    assert_int_equal(shard_rig_control(rig, shard_open), SILO_OK);
    assert_int_equal(status(rig, "a"), JOB_SCHEDULED);
    close_all(rig);
}

/* Answers leave when what they saw is durable, not before. */
static void test_durable_first(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    enqueue(rig, "a", 5, 0);
    store_mem_outage(shard_rig_of(rig)->store, STORE_MEM_BIT(STORE_MEM_FLUSH), "slow");
    struct call *calls[] = {enqueue_call("b", "g", 5, 0),     poll_call(2, 0),
                            rig_call(CMD_CANCEL_JOB, T, "a"), rig_call(CMD_GET_JOB, T, "b"),
                            enqueue_call("b", "g", 5, 0),     rig_call(CMD_GET_JOB, T, "none"),
                            rig_call(CMD_TOTALS, NULL, NULL)};
    const size_t count = sizeof calls / sizeof calls[0];
    for (size_t i = 0; i < count; i++) {
        rig_send(rig, calls[i]);
        rig_pass(rig, 10);
    }
    for (size_t i = 0; i < count; i++) {
        assert_false(calls[i]->done);
    }
    store_mem_outage(shard_rig_of(rig)->store, 0, NULL);
    rig_settle(rig);
    static const enum silo_code codes[] = {SILO_OK,     SILO_OK,        SILO_OK, SILO_OK,
                                           SILO_EXISTS, SILO_NOT_FOUND, SILO_OK};
    for (size_t i = 0; i < count; i++) {
        assert_true(calls[i]->done);
        assert_int_equal(calls[i]->cmd.rc.code, codes[i]);
        rig_call_free(calls[i]);
    }
    close_all(rig);
}

static void test_outage(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    enqueue(rig, "a", 5, 0);
    const struct uuid task = lease_one(rig, "a");
    store_mem_outage(shard_rig_of(rig)->store, STORE_MEM_REMOTE, "the bucket is on fire");
    struct call *stuck[60];
    size_t count = 0;
    /* Writes into memory go on all the time: they are no progress. */
    for (int ms = 0; ms < 4900; ms += 100) {
        char id[16];
        (void)snprintf(id, sizeof id, "s%zu", count);
        stuck[count] = enqueue_call(id, "g", 5, 0);
        rig_send(rig, stuck[count]);
        count++;
        rig_pass(rig, 100);
    }
    rig_pass(rig, 200);
    struct call *refused = enqueue_call("x", "g", 5, 0);
    rig_do(rig, refused);
    assert_int_equal(refused->cmd.rc.code, SILO_UNAVAILABLE);
    assert_non_null(strstr(refused->cmd.error, "the bucket is on fire"));
    rig_call_free(refused);
    struct call *read = heartbeat_call(&task, "w1");
    rig_send(rig, read);
    rig_pass(rig, 20000);
    assert_true(read->done);
    assert_int_equal(read->cmd.rc.code, SILO_UNAVAILABLE);
    rig_call_free(read);
    store_mem_outage(shard_rig_of(rig)->store, 0, NULL);
    rig_settle(rig);
    for (size_t i = 0; i < count; i++) {
        assert_true(stuck[i]->done);
        assert_int_equal(stuck[i]->cmd.rc.code, SILO_UNAVAILABLE);
        assert_non_null(strstr(stuck[i]->cmd.error, "nothing was changed"));
        char id[16];
        (void)snprintf(id, sizeof id, "s%zu", i);
        assert_int_equal(on_job(rig, CMD_GET_JOB, id), SILO_NOT_FOUND);
        rig_call_free(stuck[i]);
    }
    /* 25 s without a heartbeat, and the lease has a fresh term. */
    rig_pass(rig, LEASE_MS - 100);
    assert_int_equal(status(rig, "a"), JOB_RUNNING);
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
    enqueue(rig, "x", 5, 0);
    close_all(rig);
}

/* A store that says what is wrong: no change is taken from then on, whatever is under way. */
static void test_outage_known(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    struct uuid task;
    enqueue(rig, "a", 5, 0);
    task = lease_one(rig, "a");
    enqueue(rig, "due", 5, rig->wall_ms + 2000);
    struct call *poll = poll_call(1, 60000);
    struct call *stuck = enqueue_call("stuck", "g2", 5, 0);
    rig_send(rig, poll);
    rig_settle(rig);
    store_mem_trouble(shard_rig_of(rig)->store, STORE_MEM_BIT(STORE_MEM_FLUSH),
                      "no space left on device: /x");
    assert_false(shards_out(shard_rig_of(rig)->shards));
    rig_send(rig, stuck); /* refused: the turn that takes it knows */
    rig_settle(rig);
    assert_true(stuck->done);
    assert_int_equal(stuck->cmd.rc.code, SILO_UNAVAILABLE);
    assert_non_null(strstr(stuck->cmd.error, "no space left on device: /x"));
    assert_true(shards_out(shard_rig_of(rig)->shards));
    assert_int_equal(heartbeat(rig, &task, "w1"), SILO_OK);
    /* The job that comes due is handed to the poll, which cannot be told. */
    rig_pass(rig, 1900);
    assert_false(poll->done);
    rig_pass(rig, 200 + OUTAGE_MS);
    assert_true(poll->done);
    assert_int_equal(poll->cmd.rc.code, SILO_UNAVAILABLE);
    rig_pass(rig, 3 * LEASE_MS);
    store_mem_trouble(shard_rig_of(rig)->store, 0, NULL);
    rig_settle(rig);
    assert_false(shards_out(shard_rig_of(rig)->shards));
    assert_int_equal(on_job(rig, CMD_GET_JOB, "stuck"), SILO_NOT_FOUND);
    const struct uuid again = lease_one(rig, "due");
    rig_pass(rig, LEASE_MS - 100); /* both leases have a fresh term */
    assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
    assert_int_equal(report(rig, &again, ATTEMPT_SUCCEEDED), SILO_OK);
    struct call *got = get(rig, "due");
    assert_int_equal(got->cmd.result.job.attempt_count, 0); /* before its last */
    rig_call_free(got);
    rig_call_free(poll);
    rig_call_free(stuck);
    close_all(rig);
}

static size_t logged(int fd, const char *event)
{
    char lines[8192];
    const ssize_t len = read(fd, lines, sizeof lines - 1);
    lines[len > 0 ? len : 0] = 0;
    size_t count = 0;
    for (const char *at = lines; (at = strstr(at, event)) != NULL; at++) {
        count++;
    }
    return count;
}

static void trouble_for(struct rig *rig, bool on, int64_t ms)
{
    store_mem_trouble(shard_rig_of(rig)->store, on ? STORE_MEM_BIT(STORE_MEM_FLUSH) : 0,
                      on ? "full" : NULL);
    rig_turn(rig);
    rig_pass(rig, ms);
    rig_turn(rig);
}

/* An outage soon after another shares its line, but not if it lasts: nobody would know of it. */
static void test_outage_soon_after_another(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    log_init(fds[1], false, LOG_WARN);
    struct rig *rig = shard_rig_open_plain();
    trouble_for(rig, true, 1000);
    trouble_for(rig, false, 1000);
    assert_int_equal(logged(fds[0], "outage_"), 2);
    trouble_for(rig, true, 1000);
    trouble_for(rig, false, 1000);
    trouble_for(rig, true, 1000);
    assert_int_equal(logged(fds[0], "outage_"), 0);
    trouble_for(rig, true, BURST_US / 1000);
    assert_int_equal(logged(fds[0], "times=2"), 1);
    trouble_for(rig, true, BURST_US / 1000);
    assert_int_equal(logged(fds[0], "outage_"), 0);
    trouble_for(rig, false, 0);
    assert_int_equal(logged(fds[0], "outage_ends"), 1);
    log_init(STDERR_FILENO, false, LOG_INFO);
    close_all(rig);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

/* Nothing comes for a shard whose opening hangs; what it says of the cause is new all the same. */
static void test_outage_cause_while_opening(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    struct store *store = shard_rig_of(rig)->store;
    store_mem_fail(store,
                   &(struct store_mem_fault){.kind = STORE_MEM_FLUSH, .code = SILO_UNAVAILABLE});
    (void)finish(rig, enqueue_call("a", "g", 5, 0));
    store_mem_trouble(store, STORE_MEM_BIT(STORE_MEM_OPEN), "the disk is full");
    rig_pass(rig, 1000);
    assert_int_equal(status_of(rig), SHARD_OPENING);
    assert_true(shards_out(shard_rig_of(rig)->shards));
    store_mem_trouble(store, STORE_MEM_BIT(STORE_MEM_OPEN), "the disk is gone");
    rig_pass(rig, 60000);
    struct call *refused = enqueue_call("b", "g", 5, 0);
    rig_send(rig, refused);
    rig_turn(rig);
    assert_true(refused->done);
    assert_non_null(strstr(refused->cmd.error, "the disk is gone"));
    rig_call_free(refused);
    store_mem_trouble(store, 0, NULL);
    rig_settle(rig);
    assert_true(rig_is_open(rig));
    close_all(rig);
}

static void ignore_control(struct shard_control *control)
{
    (void)control;
}

/*
 * A reset takes as long as the outage may; until it is over the shard is out, not closed for good.
 */
static void test_outage_of_a_reset(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    store_mem_outage(shard_rig_of(rig)->store, STORE_MEM_BIT(STORE_MEM_FLUSH), "full");
    struct call *stuck = enqueue_call("stuck", "g", 5, 0); /* keeps the shard draining */
    rig_send(rig, stuck);
    rig_turn(rig);
    store_mem_trouble(shard_rig_of(rig)->store, STORE_MEM_BIT(STORE_MEM_FLUSH), "full");
    rig_turn(rig);
    assert_true(shards_out(shard_rig_of(rig)->shards));
    struct shard_control reset = {.done = ignore_control};
    shard_reset(shard_rig_of(rig)->shards, shard_rig_of(rig)->ref, &reset);
    for (int i = 0; i < 10; i++) {
        rig_turn(rig);
        rig_pass(rig, 1000);
        assert_true(shards_out(shard_rig_of(rig)->shards));
    }
    store_mem_trouble(shard_rig_of(rig)->store, 0, NULL);
    rig_settle(rig);
    assert_true(rig_is_open(rig));
    assert_false(shards_out(shard_rig_of(rig)->shards));
    assert_true(stuck->done);
    rig_call_free(stuck);
    close_all(rig);
}

/*
 * A shard that failed because its storage is away is out after a while, says why, and is back by
 * itself.
 */
static void test_outage_of_a_failed_shard(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    store_mem_fail(shard_rig_of(rig)->store,
                   &(struct store_mem_fault){.kind = STORE_MEM_FLUSH, .code = SILO_UNAVAILABLE});
    (void)finish(rig, enqueue_call("b", "g", 5, 0));
    store_mem_outage(shard_rig_of(rig)->store, STORE_MEM_REMOTE, "the bucket is on fire");
    rig_pass(rig, OUTAGE_MS - 200);
    assert_false(shards_out(shard_rig_of(rig)->shards));
    rig_pass(rig, 400);
    assert_true(shards_out(shard_rig_of(rig)->shards));
    struct call *refused = enqueue_call("x", "g", 5, 0);
    rig_do(rig, refused);
    assert_int_equal(refused->cmd.rc.code, SILO_UNAVAILABLE);
    assert_non_null(strstr(refused->cmd.error, "the bucket is on fire"));
    rig_call_free(refused);
    store_mem_outage(shard_rig_of(rig)->store, 0, NULL);
    rig_pass(rig, 15000);
    assert_true(rig_is_open(rig));
    assert_false(shards_out(shard_rig_of(rig)->shards));
    enqueue(rig, "x", 5, 0);
    close_all(rig);
}

/* Reads that hang while others do not: only they end, each after its own time. */
static void test_outage_of_reads(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    enqueue(rig, "a", 5, 0);
    store_mem_outage(shard_rig_of(rig)->store, STORE_MEM_BIT(STORE_MEM_MGET), "it hangs");
    struct call *first = enqueue_call("x", "g", 5, 0);
    struct call *second = rig_call(CMD_GET_JOB, T, "nosuch");
    rig_send(rig, first);
    rig_pass(rig, 3000);
    rig_send(rig, second);
    rig_pass(rig, OUTAGE_MS - 3000);
    assert_true(first->done && !second->done);
    assert_non_null(strstr(first->cmd.error, "nothing was changed: it hangs"));
    rig_pass(rig, 3000);
    assert_true(second->done);
    assert_int_equal(second->cmd.rc.code, SILO_UNAVAILABLE);
    store_mem_outage(shard_rig_of(rig)->store, 0, NULL);
    rig_settle(rig);
    assert_int_equal(on_job(rig, CMD_GET_JOB, "x"), SILO_NOT_FOUND);
    rig_call_free(first);
    rig_call_free(second);
    close_all(rig);
}

/*
 * Somebody else opened the database: the shard closes, says so, and stays out until it is told to
 * open.
 */
static void test_fenced(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    enqueue(rig, "a", 5, 0);
    shard_rig_fence(rig);
    struct call *call = enqueue_call("b", "g", 5, 0);
    rig_send(rig, call);
    rig_settle(rig);
    assert_true(call->done);
    assert_int_equal(call->cmd.rc.code, SILO_UNAVAILABLE);
    rig_call_free(call);
    rig_pass(rig, 600000);
    assert_int_equal(status_of(rig), SHARD_FENCED);
    assert_false(store_mem_owned(shard_rig_of(rig)->store, RIG_PATH));
    call = enqueue_call("c", "g", 5, 0);
    rig_do(rig, call);
    assert_int_equal(call->cmd.rc.code, SILO_UNAVAILABLE);
    assert_non_null(strstr(call->cmd.error, "another process opened it"));
    rig_call_free(call);
    assert_int_equal(shard_rig_control(rig, shard_reset),
                     SILO_UNAVAILABLE); /* not ours to remove */
    assert_int_equal(shard_rig_control(rig, shard_open), SILO_OK);
    assert_int_equal(status(rig, "a"), JOB_SCHEDULED);
    assert_int_equal(on_job(rig, CMD_GET_JOB, "b"), SILO_NOT_FOUND);
    /* A shard that only reads finds out by its proof of ownership. */
    shard_rig_fence(rig);
    rig_pass(rig, OWNERSHIP_MS + 1);
    assert_int_equal(on_job(rig, CMD_GET_JOB, "a"), SILO_UNAVAILABLE);
    rig_pass(rig, 1000);
    assert_int_equal(status_of(rig), SHARD_FENCED);
    assert_int_equal(shard_rig_control(rig, shard_close), SILO_OK);
    assert_int_equal(status_of(rig), SHARD_CLOSED);
    rig_free(rig);
}

/*
 * A store that did what it was asked and lost the answer refuses the repeat as if somebody else had
 * been there.
 */
static void test_fenced_by_nobody(void **state)
{
    (void)state;
    static const enum store_mem_kind kinds[] = {STORE_MEM_WRITE, STORE_MEM_FLUSH,
                                                STORE_MEM_REFRESH};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        for (int effect = 0; effect < 2; effect++) {
            struct rig *rig = shard_rig_open_plain();
            enqueue(rig, "a", 5, 0);
            store_mem_fail(shard_rig_of(rig)->store,
                           &(struct store_mem_fault){
                               .kind = kinds[i], .code = SILO_CONFLICT, .effect = effect != 0});
            rig_pass(rig, OWNERSHIP_MS + 1);
            (void)on_job(rig, CMD_GET_JOB, "a");
            struct call *call = enqueue_call("b", "g", 5, 0);
            rig_send(rig, call);
            rig_pass(rig, 1000);
            assert_true(call->done);
            rig_call_free(call);
            assert_true(rig_is_open(rig));
            assert_int_equal(store_mem_faults_fired(shard_rig_of(rig)->store), 1);
            assert_int_equal(status(rig, "a"), JOB_SCHEDULED);
            close_all(rig);
        }
    }
}

static void control_nothing(struct shard_control *control)
{
    (void)control;
}

/* The same for an open: it fails, and whoever asked for it may ask again. */
static void test_open_fenced(void **state)
{
    (void)state;
    for (int taken = 0; taken < 2; taken++) {
        struct rig *rig = shard_rig_open_plain();
        assert_int_equal(shard_rig_control(rig, shard_close), SILO_OK);
        store_mem_fail(shard_rig_of(rig)->store,
                       &(struct store_mem_fault){.kind = STORE_MEM_OPEN, .code = SILO_CONFLICT});
        if (taken != 0) { /* somebody else opens it before the question is answered */
            store_mem_outage(shard_rig_of(rig)->store, STORE_MEM_BIT(STORE_MEM_OBJECT), "slow");
            struct shard_control control = {.done = control_nothing};
            shard_open(shard_rig_of(rig)->shards, shard_rig_of(rig)->ref, &control);
            rig_pass(rig, 1000);
            shard_rig_fence(rig);
            shard_rig_fence(rig);
            store_mem_outage(shard_rig_of(rig)->store, 0, NULL);
            rig_pass(rig, 1000);
            assert_int_equal(control.rc.code, SILO_CONFLICT);
            assert_int_equal(status_of(rig), SHARD_FENCED);
        } else {
            assert_int_equal(shard_rig_control(rig, shard_open), SILO_UNAVAILABLE);
            assert_int_equal(status_of(rig), SHARD_FAILED);
        }
        assert_int_equal(shard_rig_control(rig, shard_open), SILO_OK);
        close_all(rig);
    }
}

static enum silo_code open_after(struct rig *rig, uint64_t epoch)
{
    struct shard_control control = {
        .done = control_nothing, .guarded = true, .expected_epoch = epoch};
    shard_open(shard_rig_of(rig)->shards, shard_rig_of(rig)->ref, &control);
    rig_pass(rig, 1000);
    return control.rc.code;
}

/* An open that says whom it takes over from fences nobody else, now or when it is repeated. */
static void test_guarded(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain(); /* epoch 1 */
    assert_int_equal(shard_rig_control(rig, shard_close), SILO_OK);
    shard_rig_fence(rig); /* 2 */
    assert_int_equal(open_after(rig, 1), SILO_CONFLICT);
    assert_int_equal(status_of(rig), SHARD_FENCED);
    assert_int_equal(open_after(rig, 2), SILO_OK); /* 3 */
    /* It fails, and is opened again by itself, as its own successor. */
    store_mem_fail(shard_rig_of(rig)->store,
                   &(struct store_mem_fault){.kind = STORE_MEM_FLUSH, .code = SILO_UNAVAILABLE});
    struct call *call = enqueue_call("b", "g", 5, 0);
    rig_do(rig, call);
    rig_call_free(call);
    rig_pass(rig, 60000);
    assert_int_equal(status_of(rig), SHARD_OPEN);
    close_all(rig);
}

/*
 * An opening that failed may have claimed its number, or another process did: whoever has a
 * coordinator asks it instead of taking the shard from that one.
 */
static void test_guarded_in_doubt(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain(); /* epoch 1 */
    assert_int_equal(shard_rig_control(rig, shard_close), SILO_OK);
    assert_int_equal(open_after(rig, 1), SILO_OK); /* 2 */
    struct store *store = shard_rig_of(rig)->store;
    store_mem_fail(store,
                   &(struct store_mem_fault){.kind = STORE_MEM_FLUSH, .code = SILO_UNAVAILABLE});
    store_mem_fail(store,
                   &(struct store_mem_fault){.kind = STORE_MEM_OPEN, .code = SILO_UNAVAILABLE});
    struct call *call = enqueue_call("b", "g", 5, 0);
    rig_do(rig, call);
    rig_call_free(call);
    rig_pass(rig, 300); /* the opening of number 3 has failed */
    shard_rig_fence(rig);
    rig_pass(rig, 60000);
    assert_int_equal(status_of(rig), SHARD_FENCED);
    assert_int_equal(shard_rig_control(rig, shard_close), SILO_OK);
    close_all(rig);
}

/*
 * A shard that failed for another reason looks as well: the other process may have come meanwhile.
 */
static void test_taken_while_failed(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    enqueue(rig, "a", 5, 0);
    store_mem_fail(shard_rig_of(rig)->store,
                   &(struct store_mem_fault){.kind = STORE_MEM_FLUSH, .code = SILO_UNAVAILABLE});
    struct call *call = enqueue_call("b", "g", 5, 0);
    rig_do(rig, call);
    assert_int_equal(call->cmd.rc.code, SILO_UNAVAILABLE);
    rig_call_free(call);
    /* The store does not say at first who wrote last. */
    store_mem_fail(
        shard_rig_of(rig)->store,
        &(struct store_mem_fault){.kind = STORE_MEM_OBJECT, .times = 2, .code = SILO_UNAVAILABLE});
    shard_rig_fence(rig);
    rig_pass(rig, 60000);
    assert_int_equal(status_of(rig), SHARD_FENCED);
    assert_int_equal(shard_rig_control(rig, shard_open), SILO_OK);
    close_all(rig);
}

static void test_read_failure(void **state)
{
    (void)state;
    struct rig *rig = shard_rig_open_plain();
    enqueue(rig, "a", 5, 0);
    assert_int_equal(rig_stop(rig), SILO_OK);
    rig_start(rig);
    rig_settle(rig);
    store_mem_fail(
        shard_rig_of(rig)->store,
        &(struct store_mem_fault){.kind = STORE_MEM_MGET, .nth = 1, .code = SILO_UNAVAILABLE});
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a"), SILO_UNAVAILABLE);
    assert_true(rig_is_open(rig));
    assert_int_equal(status(rig, "a"), JOB_SCHEDULED);
    /* A page that cannot be read is asked for again. */
    store_mem_fail(
        shard_rig_of(rig)->store,
        &(struct store_mem_fault){.kind = STORE_MEM_SCAN, .nth = 1, .code = SILO_UNAVAILABLE});
    struct call *poll = poll_call(1, 5000);
    rig_send(rig, poll);
    rig_pass(rig, READ_RETRY_MS + 1);
    assert_true(poll->done);
    assert_int_equal(poll_count(poll), 1);
    rig_call_free(poll);
    close_all(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reopen),
        cmocka_unit_test(test_polls_are_released),
        cmocka_unit_test(test_slow_open),
        cmocka_unit_test(test_stalled),
        cmocka_unit_test(test_stalled_with_work),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_reset_while_opening),
        cmocka_unit_test(test_closed),
        cmocka_unit_test(test_durable_first),
        cmocka_unit_test(test_outage),
        cmocka_unit_test(test_outage_of_flushes),
        cmocka_unit_test(test_fenced),
        cmocka_unit_test(test_fenced_by_nobody),
        cmocka_unit_test(test_open_fenced),
        cmocka_unit_test(test_guarded),
        cmocka_unit_test(test_guarded_in_doubt),
        cmocka_unit_test(test_taken_while_failed),
        cmocka_unit_test(test_reset_fails),
        cmocka_unit_test(test_reset_fails_and_goes_on),
        cmocka_unit_test(test_read_failure),
        cmocka_unit_test(test_outage_known),
        cmocka_unit_test(test_outage_soon_after_another),
        cmocka_unit_test(test_outage_cause_while_opening),
        cmocka_unit_test(test_outage_of_a_reset),
        cmocka_unit_test(test_outage_of_a_failed_shard),
        cmocka_unit_test(test_outage_of_reads),
    };
    return cmocka_run_group_tests_name("shard life", tests, NULL, NULL);
}
