/*
 * core/report.c - an attempt ends: by its worker's report, or by expiry of its lease. What it needs of the job stands in
 * the lease, so reporting reads nothing.
 */
#include <xxhash.h>

#include "base/assert.h"
#include "core/core_int.h"

/* A retry follows a failure if the policy has runs left and nobody cancelled the job. */
static bool report_retries(const struct lease_rec *lease, enum attempt_status status)
{
    return status == ATTEMPT_FAILED && !lease->has_mark && lease->has_retry &&
           lease->relative <= lease->retry.retry_count;
}

static enum job_status report_end_status(const struct lease_rec *lease, enum attempt_status status)
{
    if (status == ATTEMPT_SUCCEEDED) {
        return JOB_SUCCEEDED;
    }
    return status == ATTEMPT_CANCELLED || lease->has_mark ? JOB_CANCELLED : JOB_FAILED;
}

static struct attempt report_attempt(const struct core *core, const struct command *cmd,
                                     const struct lease_rec *lease)
{
    const struct report_args *args = &cmd->args.report;
    struct attempt attempt = {
        .relative = lease->relative,
        .task_id = lease->task_id,
        .started_ms = lease->started_ms,
        .outcome = {.status = args->status, .finished_ms = core->wall_ms},
    };
    if (args->status == ATTEMPT_FAILED) {
        attempt.outcome.error_code = args->error_code;
    }
    if (args->status != ATTEMPT_CANCELLED) {
        attempt.outcome.data.inline_bytes = args->data;
    }
    return attempt;
}

/* The attempt that ends the job lives in the state row; a large result has a row of its own. */
static void report_end(struct core *core, const struct command *cmd, struct lease *lease,
                       struct tenant_count *count)
{
    struct attempt attempt = report_attempt(core, cmd, &lease->rec);
    const struct bytes data = attempt.outcome.data.inline_bytes;
    if (data.len > BLOB_INLINE_MAX) {
        attempt.outcome.data = (struct blob_ref){
            .is_blob = true, .len = data.len, .hash = XXH64(data.ptr, data.len, 0)};
        struct key key;
        key_blob(&key, lease->job_ref, BLOB_RESULT, lease->rec.attempt);
        view_put_lent(&core->view, key_bytes(&key), data);
    }
    const struct state state = {
        .status = report_end_status(&lease->rec, cmd->args.report.status),
        .changed_ms = core->wall_ms,
        .has_mark = lease->rec.has_mark,
        .mark_ms = lease->rec.mark_ms,
        .attempt = lease->rec.attempt,
        .relative = lease->rec.relative,
        .due_ms = lease->rec.due_ms,
        .arrival = lease->rec.arrival,
        .has_outcome = true,
        .by_attempt = true,
        .final = attempt,
    };
    job_end(core, lease->job_ref, &state, lease->rec.enqueue_ms, count);
    const struct token from = {.where = TOKEN_LEASE, .lease = lease};
    token_move(core, lease->job_ref, &from, &(struct token){.where = TOKEN_NONE});
}

static int64_t add_saturated(int64_t a, int64_t b)
{
    int64_t sum = 0;
    return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

static void report_retry(struct core *core, const struct command *cmd, struct lease *lease,
                         int64_t due_ms)
{
    const struct attempt attempt = report_attempt(core, cmd, &lease->rec);
    struct key key;
    key_attempt(&key, lease->job_ref, lease->rec.attempt);
    buf_reset(&core->scratch);
    attempt_encode(&core->scratch, &attempt);
    view_put(&core->view, key_bytes(&key), buf_bytes(&core->scratch), false);
    const struct state state = {
        .status = JOB_SCHEDULED,
        .changed_ms = core->wall_ms,
        .attempt = lease->rec.attempt + 1,
        .relative = lease->rec.relative + 1,
        .has_next = true,
        .due_ms = due_ms,
        .arrival = arrival_next(core),
    };
    state_write(core, lease->job_ref, &state);
    const struct token from = {.where = TOKEN_LEASE, .lease = lease};
    const struct token to = {
        .where = due_ms > core->wall_ms ? TOKEN_TIMER : TOKEN_READY,
        .group = lease->rec.group,
        .place = {.due_ms = due_ms, .priority = lease->rec.priority, .arrival = state.arrival},
        .attempt = state.attempt,
        .relative = state.relative,
    };
    token_move(core, lease->job_ref, &from, &to);
}

enum run report_run(struct core *core, struct command *cmd)
{
    const struct report_args *args = &cmd->args.report;
    ASSERT(args->status != ATTEMPT_RUNNING);
    struct lease *lease = args->has_task_id ? lease_find(core, &args->task_id) : NULL;
    if (lease == NULL || (cmd->internal && !lease->expiring)) {
        view_touch_absent(&core->view);
        return run_fail(cmd, SILO_NOT_FOUND, "lease not found");
    }
    if (report_retries(&lease->rec, args->status)) {
        const int64_t due_ms =
            add_saturated(core->wall_ms, retry_delay_ms(&lease->rec.retry, lease->rec.relative,
                                                        &lease->rec.task_id));
        if (due_ms <= core->wall_ms &&
            !group_low_ready(core, group_get(core, lease->rec.group), cmd)) {
            return RUN_NEED;
        }
        report_retry(core, cmd, lease, due_ms);
        return run_changed(cmd);
    }
    struct tenant_count *count = count_find(core, lease->job_ref, cmd);
    if (count == NULL) {
        return RUN_NEED;
    }
    report_end(core, cmd, lease, count);
    return run_changed(cmd);
}

/* The worker never heard of these tasks: they go back to their places under the same attempt numbers. */
enum run give_back_run(struct core *core, struct command *cmd)
{
    const struct give_back_args *args = &cmd->args.give_back;
    bool ready = true;
    for (size_t i = 0; i < args->count; i++) {
        const struct lease *lease = lease_find(core, &args->task_ids[i]);
        if (lease != NULL) {
            ready = group_low_ready(core, group_get(core, lease->rec.group), cmd) && ready;
        }
    }
    if (!ready) {
        return RUN_NEED;
    }
    for (size_t i = 0; i < args->count; i++) {
        struct lease *lease = lease_find(core, &args->task_ids[i]);
        if (lease == NULL || lease->rec.has_mark) {
            continue; /* gone meanwhile, or cancelled: expiry settles it */
        }
        const struct token from = {.where = TOKEN_LEASE, .lease = lease};
        const struct token to = {
            .where = TOKEN_READY,
            .group = lease->rec.group,
            .place = {.due_ms = lease->rec.due_ms,
                      .priority = lease->rec.priority,
                      .arrival = lease->rec.arrival},
            .attempt = lease->rec.attempt,
            .relative = lease->rec.relative,
        };
        token_move(core, lease->job_ref, &from, &to);
    }
    return run_changed(cmd);
}
