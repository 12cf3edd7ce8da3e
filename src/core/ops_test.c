/*
 * core/ops_test.c - restart, expedite, lease this job, import, retention, on one shard; and what
 * they do to a token that holds a slot or waits for one.
 */
#include <stdio.h>

#include "base/test.h"
#include "codec/limit.h"
#include "core/calls_test.h"
#include "core/core_rig_test.h"

#define LARGE 6000

static uint8_t large_bytes[LARGE];

static struct bytes large(char fill)
{
    memset(large_bytes, fill, sizeof large_bytes);
    return bytes_of(large_bytes, sizeof large_bytes);
}

/* A shard that forgets what ended after so long. */
static void start_keeping(struct rig *rig, int64_t completed_ms, int64_t terminal_ms)
{
    core_rig_options(rig)->completed_expire_ms = completed_ms;
    core_rig_options(rig)->terminal_expire_ms = terminal_ms;
    rig_start(rig);
    rig_settle(rig);
    assert_true(rig_is_open(rig));
}

static void close_and_open(struct rig *rig)
{
    assert_int_equal(rig_stop(rig), SILO_OK);
    rig_start(rig);
    rig_settle(rig);
    assert_true(rig_is_open(rig));
}

/* Sends, and checks code and text; frees. */
static void refused(struct rig *rig, struct call *call, enum silo_code code, const char *text)
{
    rig_do(rig, call);
    assert_int_equal(call->cmd.rc.code, code);
    assert_string_equal(call->cmd.error, text);
    rig_call_free(call);
}

static void refuses(struct rig *rig, enum command_kind kind, const char *id, const char *text)
{
    refused(rig, rig_call(kind, T, id), SILO_PRECONDITION, text);
}

static void fail_one(struct rig *rig, const char *id)
{
    const struct uuid task_id = lease_one(rig, id);
    assert_int_equal(report(rig, &task_id, ATTEMPT_FAILED), SILO_OK);
}

static void assert_counts(struct rig *rig, uint64_t open, uint64_t succeeded, uint64_t failed,
                          uint64_t cancelled)
{
    const struct counts counts = totals(rig);
    assert_int_equal(counts.open, open);
    assert_int_equal(counts.succeeded, succeeded);
    assert_int_equal(counts.failed, failed);
    assert_int_equal(counts.cancelled, cancelled);
}

/* All rows are of jobs but counters and facts of the shard. */
static void row_of_job(void *context, struct bytes key, struct bytes value)
{
    size_t *count = context;
    (void)value;
    *count += key.ptr[0] != TABLE_COUNT && key.ptr[0] != TABLE_META;
}

/* Closes the shard; nothing of any job may be left in its store. */
static void close_empty(struct rig *rig)
{
    assert_int_equal(rig_stop(rig), SILO_OK);
    size_t left = 0;
    rig_each_row(rig, row_of_job, &left);
    assert_int_equal(left, 0);
    rig_free(rig);
}

/* --- restart --- */

static void test_restart(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    assert_int_equal(on_job(rig, CMD_RESTART_JOB, "none"), SILO_NOT_FOUND);
    enqueue(rig, "a", 5, 0);
    refuses(rig, CMD_RESTART_JOB, "a",
            "cannot restart job a: job is still in progress (status: Scheduled)");
    struct uuid task_id = lease_one(rig, "a");
    refuses(rig, CMD_RESTART_JOB, "a",
            "cannot restart job a: job is still in progress (status: Running)");
    struct call *call = report_call(&task_id, ATTEMPT_FAILED, "");
    call->cmd.args.report.data = large('e');
    assert_int_equal(finish(rig, call), SILO_OK);
    assert_counts(rig, 0, 0, 1, 0);

    assert_int_equal(on_job(rig, CMD_RESTART_JOB, "a"), SILO_OK);
    assert_counts(rig, 1, 0, 0, 0);
    call = get(rig, "a");
    const struct job_view *view = &call->cmd.result.job;
    assert_int_equal(view->status, JOB_SCHEDULED);
    assert_int_equal(view->state.attempt, 2);
    assert_int_equal(view->state.relative, 1);
    assert_int_equal(view->attempt_count, 1);
    assert_int_equal(view->attempts[0].attempt.outcome.status, ATTEMPT_FAILED);
    assert_true(bytes_eq(view->attempts[0].data, large('e')));
    rig_call_free(call);

    call = poll_call(1, 0);
    rig_do(rig, call);
    assert_int_equal(poll_task(call, 0)->attempt, 2);
    assert_int_equal(poll_task(call, 0)->relative, 1);
    task_id = poll_task(call, 0)->task_id;
    rig_call_free(call);
    assert_int_equal(report(rig, &task_id, ATTEMPT_SUCCEEDED), SILO_OK);
    refuses(rig, CMD_RESTART_JOB, "a",
            "cannot restart job a: job already succeeded (status: Succeeded)");
    call = get(rig, "a");
    assert_int_equal(call->cmd.result.job.attempt_count, 1);
    assert_int_equal(call->cmd.result.job.state.attempt, 2);
    rig_call_free(call);
    assert_int_equal(on_job(rig, CMD_DELETE_JOB, "a"), SILO_OK);
    close_empty(rig);
}

/*
 * A new run has the whole retry budget; a mark is gone; the start that was asked for still holds.
 */
static void test_restart_cancelled(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    enqueue(rig, "later", 5, rig->wall_ms + 50000);
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "later"), SILO_OK);
    assert_int_equal(on_job(rig, CMD_RESTART_JOB, "later"), SILO_OK);
    assert_int_equal(poll_empty(rig), 0);
    struct call *call = get(rig, "later");
    assert_int_equal(call->cmd.result.job.state.due_ms, RIG_WALL_MS + 50000);
    assert_int_equal(call->cmd.result.job.state.attempt, 1);
    assert_false(call->cmd.result.job.state.has_mark);
    rig_call_free(call);
    rig_pass(rig, 60000);
    const struct uuid task_id = lease_one(rig, "later");
    assert_int_equal(report(rig, &task_id, ATTEMPT_SUCCEEDED), SILO_OK);

    enqueue_retrying(rig, "a", 1, 0);
    for (int run = 0; run < 3; run++) {
        fail_one(rig, "a");
        assert_int_equal(status(rig, "a"), JOB_SCHEDULED);
        fail_one(rig, "a");
        assert_int_equal(status(rig, "a"), JOB_FAILED);
        assert_int_equal(on_job(rig, CMD_RESTART_JOB, "a"), SILO_OK);
    }
    call = get(rig, "a");
    assert_int_equal(call->cmd.result.job.attempt_count, 6);
    assert_int_equal(call->cmd.result.job.state.attempt, 7);
    rig_call_free(call);
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a"), SILO_OK);
    assert_int_equal(on_job(rig, CMD_DELETE_JOB, "a"), SILO_OK);
    assert_int_equal(on_job(rig, CMD_DELETE_JOB, "later"), SILO_OK);
    close_empty(rig);
}

/* --- expedite --- */

static void test_expedite(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    assert_int_equal(on_job(rig, CMD_EXPEDITE_JOB, "none"), SILO_NOT_FOUND);
    enqueue(rig, "a", 5, rig->wall_ms + 3600000);
    enqueue(rig, "b", 5, rig->wall_ms + 3600000);
    assert_int_equal(poll_empty(rig), 0);
    close_and_open(rig);
    rig_pass(rig, 10);
    assert_int_equal(on_job(rig, CMD_EXPEDITE_JOB, "a"), SILO_OK);
    struct call *call = get(rig, "a");
    assert_int_equal(call->cmd.result.job.state.due_ms, rig->wall_ms);
    assert_int_equal(call->cmd.result.job.state.changed_ms, rig->wall_ms);
    rig_call_free(call);
    refuses(rig, CMD_EXPEDITE_JOB, "a",
            "cannot expedite job a: task is already ready to run (status: Scheduled)");
    struct uuid task_id = lease_one(rig, "a");
    refuses(rig, CMD_EXPEDITE_JOB, "a", "cannot expedite job a: job is running (status: Running)");
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a"), SILO_OK);
    refuses(rig, CMD_EXPEDITE_JOB, "a",
            "cannot expedite job a: job is cancelled (status: Running)");
    assert_int_equal(report(rig, &task_id, ATTEMPT_SUCCEEDED), SILO_OK);
    refuses(rig, CMD_EXPEDITE_JOB, "a",
            "cannot expedite job a: job is already in a terminal state (status: Succeeded)");
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "b"), SILO_OK);
    refuses(rig, CMD_EXPEDITE_JOB, "b",
            "cannot expedite job b: job is cancelled (status: Cancelled)");

    enqueue_retrying(rig, "c", 3, 100000);
    fail_one(rig, "c");
    assert_int_equal(poll_empty(rig), 0);
    assert_int_equal(on_job(rig, CMD_EXPEDITE_JOB, "c"), SILO_OK);
    task_id = lease_one(rig, "c");
    assert_int_equal(report(rig, &task_id, ATTEMPT_CANCELLED), SILO_OK);
    refuses(rig, CMD_EXPEDITE_JOB, "c",
            "cannot expedite job c: no pending task to expedite (status: Cancelled)");
    close_all(rig);
}

/* --- lease this job --- */

static struct call *lease_job_call(const char *id)
{
    struct call *call = rig_call(CMD_LEASE_JOB, T, id);
    call->cmd.args.lease_job.worker_id = BYTES_LIT("w1");
    return call;
}

static void lease_refused(struct rig *rig, const char *id, const char *text)
{
    refused(rig, lease_job_call(id), SILO_PRECONDITION, text);
}

static void test_lease_job(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    refused(rig, lease_job_call("none"), SILO_NOT_FOUND, "job not found");
    struct call *call = enqueue_call("a", "g", 5, rig->wall_ms + 3600000);
    call->cmd.args.enqueue.payload = large('p');
    assert_int_equal(finish(rig, call), SILO_OK);
    enqueue(rig, "b", 5, 0);
    close_and_open(rig);

    call = lease_job_call("a");
    rig_do(rig, call);
    const struct leased_task *task = poll_task(call, 0);
    assert_true(bytes_eq(task->job_id, BYTES_LIT("a")));
    assert_true(bytes_eq(task->payload, large('p')));
    assert_int_equal(task->attempt, 1);
    assert_int_equal(heartbeat(rig, &task->task_id, "w1"), SILO_OK);
    lease_refused(rig, "a", "cannot lease job a: job is running (status: Running)");
    assert_int_equal(report(rig, &task->task_id, ATTEMPT_SUCCEEDED), SILO_OK);
    rig_call_free(call);
    lease_refused(rig, "a", "cannot lease job a: job is in a terminal state (status: Succeeded)");

    call = lease_job_call("b");
    rig_do(rig, call);
    const struct uuid task_id = poll_task(call, 0)->task_id;
    rig_call_free(call);
    assert_int_equal(poll_empty(rig), 0);
    assert_int_equal(report(rig, &task_id, ATTEMPT_CANCELLED), SILO_OK);
    lease_refused(rig, "b", "cannot lease job b: no pending task to lease (status: Cancelled)");
    enqueue(rig, "c", 5, 0);
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "c"), SILO_OK);
    lease_refused(rig, "c", "cannot lease job c: job is cancelled (status: Cancelled)");
    close_all(rig);
}

/* --- import --- */

/* A history in letters: F failed, S succeeded, C cancelled, L failed with large data. */
static struct call *history_call(const char *id, const char *history, uint32_t retries,
                                 int64_t start_ms)
{
    struct call *call = rig_call(CMD_IMPORT_JOB, T, id);
    struct import_args *args = &call->cmd.args.import;
    const size_t count = strlen(history);
    struct import_attempt *attempts = arena_zalloc(&call->arena, (count + 1) * sizeof *attempts);
    for (size_t i = 0; i < count; i++) {
        attempts[i] = (struct import_attempt){.status = history[i] == 'S'   ? ATTEMPT_SUCCEEDED
                                                        : history[i] == 'C' ? ATTEMPT_CANCELLED
                                                                            : ATTEMPT_FAILED,
                                              .started_ms = 1000 + 10 * (int64_t)i,
                                              .finished_ms = 1005 + 10 * (int64_t)i,
                                              .data = BYTES_LIT("d")};
        if (attempts[i].status == ATTEMPT_FAILED) {
            attempts[i].error_code = BYTES_LIT("E");
        }
        if (history[i] == 'L') {
            attempts[i].data = arena_copy(&call->arena, large('l'));
        }
    }
    args->info = (struct info){.priority = 5,
                               .group = BYTES_LIT("g"),
                               .enqueue_ms = 500,
                               .requested_start_ms = start_ms,
                               .has_retry = retries != 0,
                               .retry = {.retry_count = retries, .factor = 1}};
    args->payload = BYTES_LIT("payload");
    args->attempts = attempts;
    args->attempt_count = count;
    return call;
}

static enum job_status import(struct rig *rig, const char *id, const char *history,
                              uint32_t retries)
{
    struct call *call = history_call(id, history, retries, 0);
    rig_do(rig, call);
    if (call->cmd.rc.code != SILO_OK) {
        fail_msg("import of %s: %s", id, call->cmd.error);
    }
    const enum job_status made = call->cmd.result.import.status;
    rig_call_free(call);
    assert_int_equal(status(rig, id), made);
    return made;
}

static void import_refused(struct rig *rig, const char *id, const char *history,
                           enum silo_code code, const char *text)
{
    refused(rig, history_call(id, history, 9, 0), code, text);
}

static void test_import_new(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    import_refused(rig, "x", "FSF", SILO_INVALID,
                   "import attempt 2 must be Failed: only the last one may have ended otherwise");
    assert_int_equal(import(rig, "s", "LS", 0), JOB_SUCCEEDED);
    assert_int_equal(import(rig, "c", "FC", 5), JOB_CANCELLED);
    assert_int_equal(import(rig, "f", "FF", 0), JOB_FAILED);
    assert_int_equal(import(rig, "r", "LF", 2), JOB_SCHEDULED);
    assert_int_equal(import(rig, "u", "FFF", 2), JOB_FAILED);
    assert_counts(rig, 1, 1, 2, 1);

    struct call *call = get(rig, "s");
    const struct job_view *view = &call->cmd.result.job;
    assert_int_equal(view->info.enqueue_ms, 500);
    assert_int_equal(view->state.changed_ms, 1015);
    assert_int_equal(view->attempt_count, 1);
    assert_true(bytes_eq(view->attempts[0].data, large('l')));
    assert_int_equal(view->attempts[0].attempt.started_ms, 1000);
    assert_true(bytes_eq(view->data, BYTES_LIT("d")));
    rig_call_free(call);
    call = get(rig, "r");
    assert_int_equal(call->cmd.result.job.state.changed_ms, rig->wall_ms);
    rig_call_free(call);

    call = poll_call(5, 0);
    rig_do(rig, call);
    assert_int_equal(poll_count(call), 1);
    assert_int_equal(poll_task(call, 0)->attempt, 3);
    assert_int_equal(poll_task(call, 0)->relative, 3);
    const struct uuid task_id = poll_task(call, 0)->task_id;
    rig_call_free(call);
    assert_int_equal(report(rig, &task_id, ATTEMPT_FAILED), SILO_OK);
    assert_int_equal(status(rig, "r"), JOB_FAILED);
    const char *ids[] = {"s", "c", "f", "r", "u"};
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        assert_int_equal(on_job(rig, CMD_DELETE_JOB, ids[i]), SILO_OK);
    }
    close_empty(rig);
}

static void test_import_again_refused(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    assert_int_equal(import(rig, "a", "FL", 5), JOB_SCHEDULED);
    import_refused(rig, "a", "F", SILO_PRECONDITION,
                   "cannot reimport job a: reimport has 1 attempts "
                   "but job has 2 existing attempts (status: Scheduled)");
    import_refused(rig, "a", "FFF", SILO_PRECONDITION,
                   "cannot reimport job a: existing attempt 2 does not match reimport data "
                   "(status: Scheduled)");
    import_refused(rig, "a", "CLF", SILO_PRECONDITION,
                   "cannot reimport job a: existing attempt 1 does not match reimport data "
                   "(status: Scheduled)");
    import_refused(rig, "a", "FL", SILO_PRECONDITION,
                   "cannot reimport job a: reimport must bring at least one new attempt (status: "
                   "Scheduled)");
    import_refused(rig, "a", "FLCF", SILO_INVALID,
                   "import attempt 3 must be Failed: only the last one may have ended otherwise");
    const struct uuid task_id = lease_one(rig, "a");
    import_refused(rig, "a", "FLF", SILO_PRECONDITION,
                   "cannot reimport job a: job is currently running (status: Running)");
    struct call *call = rig_call(CMD_ANY_RUNNING, NULL, NULL);
    struct key one;
    struct key two;
    key_job_ref(&one, bytes_str(T), BYTES_LIT("none"));
    key_job_ref(&two, bytes_str(T), BYTES_LIT("a"));
    const struct bytes refs[] = {key_bytes(&one), key_bytes(&two)};
    call->cmd.args.any_running = (struct any_running_args){.job_refs = refs, .count = 2};
    rig_do(rig, call);
    assert_true(call->cmd.result.any_running.running);
    assert_int_equal(call->cmd.result.any_running.index, 1);
    rig_call_free(call);
    assert_int_equal(report(rig, &task_id, ATTEMPT_SUCCEEDED), SILO_OK);
    import_refused(rig, "a", "FLSF", SILO_PRECONDITION,
                   "cannot reimport job a: job already succeeded (status: Succeeded)");
    close_all(rig);
}

/* From each status to each. */
static void test_import_again(void **state)
{
    (void)state;
    static const struct {
        const char *first, *then;
        uint32_t retries;
        enum job_status status;
        bool cancel;
    } cases[] = {
        {"", "F", 3, JOB_SCHEDULED, false},         {"", "F", 0, JOB_FAILED, false},
        {"F", "FS", 3, JOB_SUCCEEDED, false},       {"L", "LC", 3, JOB_CANCELLED, false},
        {"F", "FF", 1, JOB_FAILED, false},          {"LL", "LLL", 3, JOB_SCHEDULED, false},
        {"FFFL", "FFFLF", 9, JOB_SCHEDULED, false}, {"FFFL", "FFFLL", 0, JOB_FAILED, false},
        {"FFFL", "FFFLS", 0, JOB_SUCCEEDED, false}, {"FC", "FCF", 3, JOB_SCHEDULED, false},
        {"FC", "FCS", 3, JOB_SUCCEEDED, false},     {"F", "FF", 3, JOB_SCHEDULED, true},
        {"L", "LF", 0, JOB_FAILED, true},           {"F", "FC", 0, JOB_CANCELLED, true},
    };
    struct rig *rig = open_plain();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        (void)import(rig, "a", cases[i].first, 3);
        if (cases[i].cancel) {
            assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "a"), SILO_OK);
        }
        if (i % 2 != 0) {
            close_and_open(rig);
        }
        assert_int_equal(import(rig, "a", cases[i].then, cases[i].retries), cases[i].status);
        struct call *call = get(rig, "a");
        const struct job_view *view = &call->cmd.result.job;
        assert_false(view->state.has_mark);
        assert_int_equal(view->attempt_count + (view->state.by_attempt ? 1 : 0),
                         strlen(cases[i].then));
        assert_int_equal(view->info.enqueue_ms, 500);
        rig_call_free(call);
        if (cases[i].status == JOB_SCHEDULED) {
            assert_counts(rig, 1, 0, 0, 0);
            const struct uuid task_id = lease_one(rig, "a");
            assert_int_equal(report(rig, &task_id, ATTEMPT_SUCCEEDED), SILO_OK);
        }
        assert_int_equal(poll_empty(rig), 0);
        assert_int_equal(on_job(rig, CMD_DELETE_JOB, "a"), SILO_OK);
        assert_counts(rig, 0, 0, 0, 0);
    }
    close_empty(rig);
}

/* --- retention --- */

static void test_retention(void **state)
{
    (void)state;
    struct rig *rig = core_rig_new(&(struct rig_options){.seed = 1});
    start_keeping(rig, 10000, 30000);
    enqueue(rig, "s", 5, 0);
    struct uuid task_id = lease_one(rig, "s");
    assert_int_equal(report(rig, &task_id, ATTEMPT_SUCCEEDED), SILO_OK);
    enqueue(rig, "f", 5, 0);
    fail_one(rig, "f");
    enqueue(rig, "again", 5, 0);
    fail_one(rig, "again");
    enqueue(rig, "c", 5, rig->wall_ms + 1000000);
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "c"), SILO_OK);
    assert_int_equal(import(rig, "i", "LS", 0), JOB_SUCCEEDED);
    assert_counts(rig, 0, 2, 2, 1);
    rig_pass(rig, 9900);
    assert_int_equal(status(rig, "s"), JOB_SUCCEEDED);
    rig_pass(rig, 200);
    assert_int_equal(on_job(rig, CMD_GET_JOB, "s"), SILO_NOT_FOUND);
    assert_int_equal(on_job(rig, CMD_GET_JOB, "i"), SILO_NOT_FOUND);
    assert_int_equal(status(rig, "f"), JOB_FAILED);
    assert_counts(rig, 0, 0, 2, 1);
    assert_int_equal(on_job(rig, CMD_RESTART_JOB, "again"), SILO_OK);
    rig_pass(rig, 21000);
    assert_int_equal(on_job(rig, CMD_GET_JOB, "f"), SILO_NOT_FOUND);
    assert_int_equal(on_job(rig, CMD_GET_JOB, "c"), SILO_NOT_FOUND);
    assert_int_equal(status(rig, "again"), JOB_SCHEDULED);
    enqueue(rig, "f", 5, 0);
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "f"), SILO_OK);
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "again"), SILO_OK);
    assert_counts(rig, 0, 0, 0, 2);
    rig_pass(rig, 31000);
    assert_counts(rig, 0, 0, 0, 0);
    close_empty(rig);
}

/*
 * What becomes due while the shard is closed goes after it opens, even if retention is off by then.
 */
static void test_retention_closed(void **state)
{
    (void)state;
    struct rig *rig = core_rig_new(&(struct rig_options){.seed = 1});
    start_keeping(rig, 5000, 5000);
    char id[16];
    for (int i = 0; i < 700; i++) {
        (void)snprintf(id, sizeof id, "j%d", i);
        assert_int_equal(import(rig, id, i % 3 == 0 ? "S" : "F", 0),
                         i % 3 == 0 ? JOB_SUCCEEDED : JOB_FAILED);
    }
    assert_int_equal(rig_stop(rig), SILO_OK);
    rig->wall_ms += 60000;
    start_keeping(rig, 0, 0);
    rig_pass(rig, 1000);
    assert_counts(rig, 0, 0, 0, 0);
    close_empty(rig);
}

/*
 * The wall clock goes back between two lives of the shard: what ends then stands before all that
 * was swept.
 */
static void test_retention_clock(void **state)
{
    (void)state;
    struct rig *rig = core_rig_new(&(struct rig_options){.seed = 1});
    start_keeping(rig, 5000, 5000);
    (void)import(rig, "a", "S", 0);
    rig_pass(rig, 6000);
    assert_counts(rig, 0, 0, 0, 0);
    for (int life = 0; life < 3; life++) {
        assert_int_equal(rig_stop(rig), SILO_OK);
        rig->wall_ms -= 100000;
        start_keeping(rig, 5000, 5000);
        (void)import(rig, "b", "S", 0);
        assert_int_equal(rig_stop(rig), SILO_OK);
        start_keeping(rig, 5000, 5000);
        rig_pass(rig, 6000);
        assert_int_equal(on_job(rig, CMD_GET_JOB, "b"), SILO_NOT_FOUND);
    }
    close_empty(rig);
}

/* A page that does not come holds everything up, and loses nothing. */
static void test_retention_outage(void **state)
{
    (void)state;
    struct rig *rig = core_rig_new(&(struct rig_options){.seed = 1});
    start_keeping(rig, 5000, 5000);
    for (int i = 0; i < 20; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "j%d", i);
        (void)import(rig, id, "S", 0);
    }
    core_rig_hold(rig, RIG_SCAN);
    rig_pass(rig, 5500);
    assert_counts(rig, 0, 20, 0, 0);
    core_rig_hold(rig, 0);
    rig_pass(rig, 500);
    assert_counts(rig, 0, 0, 0, 0);
    close_empty(rig);
}

/* --- jobs with a slot, or in line for one --- */

/* One slot of queue "q". */
static const struct limit_rec *slot_limit(struct arena *arena, struct info *info)
{
    struct limit_rec *slot = ARENA_NEW(arena, struct limit_rec);
    *slot = (struct limit_rec){.kind = LIMIT_CONCURRENCY, .key = BYTES_LIT("q"), .max = 1};
    struct buf buf;
    buf_init(&buf, 1000);
    limit_encode(&buf, arena, slot);
    info->limit_count = 1;
    info->limits = arena_copy(arena, buf_bytes(&buf));
    buf_deinit(&buf);
    return slot;
}

static void enqueue_slot(struct rig *rig, const char *id, int64_t start_ms)
{
    struct call *call = enqueue_call(id, "g", 5, start_ms);
    struct enqueue_args *args = &call->cmd.args.enqueue;
    args->limits = slot_limit(&call->arena, &args->info);
    assert_int_equal(finish(rig, call), SILO_OK);
}

static void test_line(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    enqueue_slot(rig, "a", 0);
    enqueue_slot(rig, "b", 0);
    enqueue_slot(rig, "c", 0);
    const struct uuid task_id = lease_one(rig, "a");
    for (int life = 0; life < 2; life++) {
        refuses(rig, CMD_EXPEDITE_JOB, "b",
                "cannot expedite job b: no pending task to expedite (status: Scheduled)");
        lease_refused(rig, "c", "cannot lease job c: no pending task to lease (status: Scheduled)");
        assert_int_equal(poll_empty(rig), 0);
        close_and_open(rig);
    }
    assert_int_equal(on_job(rig, CMD_CANCEL_JOB, "b"), SILO_OK);
    assert_int_equal(poll_empty(rig), 0);
    close_and_open(rig);
    assert_int_equal(on_job(rig, CMD_RESTART_JOB, "b"), SILO_OK); /* behind c now */
    assert_int_equal(poll_empty(rig), 0);
    assert_int_equal(report(rig, &task_id, ATTEMPT_SUCCEEDED), SILO_OK);
    const struct uuid second = lease_one(rig, "c");
    assert_int_equal(poll_empty(rig), 0);
    assert_int_equal(report(rig, &second, ATTEMPT_SUCCEEDED), SILO_OK);
    const struct uuid third = lease_one(rig, "b");
    assert_int_equal(report(rig, &third, ATTEMPT_SUCCEEDED), SILO_OK);
    close_all(rig);
}

/* A job that is imported again gives its slot back, and stands in line anew. */
static void test_line_import(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    struct call *call = history_call("a", "", 9, 0);
    struct import_args *args = &call->cmd.args.import;
    args->limits = slot_limit(&call->arena, &args->info);
    assert_int_equal(finish(rig, call), SILO_OK);
    enqueue_slot(rig, "b", 0);
    assert_int_equal(import(rig, "a", "F", 9), JOB_SCHEDULED);
    close_and_open(rig);
    const struct uuid task_id = lease_one(rig, "b");
    assert_int_equal(poll_empty(rig), 0);
    assert_int_equal(import(rig, "a", "FF", 9), JOB_SCHEDULED);
    assert_int_equal(poll_empty(rig), 0);
    assert_int_equal(report(rig, &task_id, ATTEMPT_SUCCEEDED), SILO_OK);
    assert_int_equal(import(rig, "a", "FFS", 9), JOB_SUCCEEDED);
    enqueue_slot(rig, "c", 0);
    const struct uuid last = lease_one(rig, "c");
    assert_int_equal(report(rig, &last, ATTEMPT_SUCCEEDED), SILO_OK);
    close_all(rig);
}

/* Leased past the queue it would have to ask; a slot that it holds stays with it. */
static void test_line_skipped(void **state)
{
    (void)state;
    struct rig *rig = open_plain();
    enqueue_slot(rig, "a", 0);
    enqueue_slot(rig, "later", rig->wall_ms + 100000);
    struct call *call = lease_job_call("later");
    rig_do(rig, call);
    const struct uuid skipped = poll_task(call, 0)->task_id;
    rig_call_free(call);
    call = lease_job_call("a");
    rig_do(rig, call);
    const struct uuid holding = poll_task(call, 0)->task_id;
    rig_call_free(call);
    enqueue_slot(rig, "b", 0);
    assert_int_equal(report(rig, &skipped, ATTEMPT_SUCCEEDED), SILO_OK);
    assert_int_equal(poll_empty(rig), 0);
    assert_int_equal(report(rig, &holding, ATTEMPT_SUCCEEDED), SILO_OK);
    const struct uuid last = lease_one(rig, "b");
    enqueue_slot(rig, "soon", rig->wall_ms + 100000);
    assert_int_equal(on_job(rig, CMD_EXPEDITE_JOB, "soon"), SILO_OK);
    assert_int_equal(poll_empty(rig), 0);
    assert_int_equal(report(rig, &last, ATTEMPT_SUCCEEDED), SILO_OK);
    const struct uuid soon = lease_one(rig, "soon");
    assert_int_equal(report(rig, &soon, ATTEMPT_SUCCEEDED), SILO_OK);
    close_all(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_restart),          cmocka_unit_test(test_restart_cancelled),
        cmocka_unit_test(test_expedite),         cmocka_unit_test(test_lease_job),
        cmocka_unit_test(test_import_new),       cmocka_unit_test(test_import_again_refused),
        cmocka_unit_test(test_import_again),     cmocka_unit_test(test_retention),
        cmocka_unit_test(test_retention_closed), cmocka_unit_test(test_retention_clock),
        cmocka_unit_test(test_retention_outage), cmocka_unit_test(test_line),
        cmocka_unit_test(test_line_import),      cmocka_unit_test(test_line_skipped),
    };
    return cmocka_run_group_tests_name("ops", tests, NULL, NULL);
}
