/*
 * core/import.c - jobs that bring a history with them, made new or imported again, and the question
 * whether one of many runs.
 *
 *   last attempt     none         SUCCEEDED    CANCELLED    FAILED, runs left    FAILED, none left
 *   status           SCHEDULED    SUCCEEDED    CANCELLED    SCHEDULED            FAILED
 *
 * Imported again: the history given must begin with the recorded one; only what follows is added,
 * and only the retry policy and the start of the next run are taken over beside it. The token there
 * was goes, with its slots; so does a cancellation.
 */
#include <xxhash.h>

#include "core/commands.h"
#include "core/count.h"
#include "core/ids.h"
#include "core/job.h"
#include "core/lease.h"
#include "core/read.h"
#include "core/retention.h"
#include "core/run.h"
#include "core/state.h"
#include "core/token.h"
#include "core/token_find.h"
#include "core/walk.h"

/* --- the history --- */

/*
 * Every attempt but the last failed, or the job would have ended there. Looks at those behind the
 * first `known`.
 */
static bool history_fine(struct command *cmd, size_t known)
{
    const struct import_args *args = &cmd->args.import;
    for (size_t i = known; i + 1 < args->attempt_count; i++) {
        if (args->attempts[i].status != ATTEMPT_FAILED) {
            (void)run_fail(cmd, SILO_INVALID,
                           arena_printf(cmd->arena,
                                        "import attempt %zu must be Failed: "
                                        "only the last one may have ended otherwise",
                                        i + 1));
            return false;
        }
    }
    return true;
}

static enum job_status history_status(const struct import_args *args)
{
    if (args->attempt_count == 0) {
        return JOB_SCHEDULED;
    }
    const enum attempt_status last = args->attempts[args->attempt_count - 1].status;
    if (last != ATTEMPT_FAILED) {
        return last == ATTEMPT_SUCCEEDED ? JOB_SUCCEEDED : JOB_CANCELLED;
    }
    size_t failed = 0;
    for (size_t i = 0; i < args->attempt_count; i++) {
        failed += args->attempts[i].status == ATTEMPT_FAILED;
    }
    return args->info.has_retry && failed <= args->info.retry.retry_count ? JOB_SCHEDULED
                                                                          : JOB_FAILED;
}

/* Attempt `number` as it is stored, which from then on has this task id. */
static struct attempt history_attempt(const struct command *cmd, uint32_t number)
{
    const struct import_attempt *from = &cmd->args.import.attempts[number - 1];
    struct attempt attempt = {
        .relative = number,
        .task_id = uuid_from_seed(cmd->seed, number),
        .started_ms = from->started_ms,
        .outcome = {.status = from->status, .finished_ms = from->finished_ms},
    };
    if (from->status == ATTEMPT_FAILED) {
        attempt.outcome.error_code = from->error_code;
    }
    if (from->status != ATTEMPT_CANCELLED) {
        attempt.outcome.data = blob_of(from->data);
    }
    return attempt;
}

/* Data that is large has a row of its own. */
static void history_put_data(struct core *core, struct command *cmd, uint32_t number,
                             const struct attempt *attempt)
{
    if (attempt->outcome.data.is_blob) {
        struct key key;
        key_blob(&key, cmd->job_ref, BLOB_RESULT, number);
        view_put_lent(&core->view, key_bytes(&key), cmd->args.import.attempts[number - 1].data);
    }
}

/* Rows for the attempts behind `known` up to `last`. */
static void history_append(struct core *core, struct command *cmd, uint32_t known, uint32_t last)
{
    for (uint32_t n = known + 1; n <= last; n++) {
        const struct attempt attempt = history_attempt(cmd, n);
        history_put_data(core, cmd, n, &attempt);
        struct key key;
        key_attempt(&key, cmd->job_ref, n);
        buf_reset(&core->scratch);
        attempt_encode(&core->scratch, &attempt);
        view_put(&core->view, key_bytes(&key), buf_bytes(&core->scratch), false);
    }
}

/* --- what becomes of the job --- */

struct import_plan {
    enum job_status status; /* SCHEDULED or terminal */
    uint32_t count;         /* attempts it has then */
    uint32_t known;         /* of them, those already recorded */
    struct token to;        /* SCHEDULED: its next run */
};

static bool import_scheduled(const struct import_plan *plan)
{
    return plan->status == JOB_SCHEDULED;
}

static int64_t import_due_ms(const struct core *core, const struct command *cmd)
{
    const int64_t start_ms = cmd->args.import.info.requested_start_ms;
    return start_ms > 0 ? start_ms : core->wall_ms;
}

/* The token of the next run. */
static void import_begin(struct core *core, struct command *cmd, const struct info *info,
                         const struct limits *limits, struct import_plan *plan)
{
    plan->count = (uint32_t)cmd->args.import.attempt_count;
    plan->status = history_status(&cmd->args.import);
    plan->to = (struct token){
        .group = info->group,
        .place = {.due_ms = import_due_ms(core, cmd), .priority = info->priority},
        .attempt = plan->count + 1,
        .relative = plan->count + 1,
    };
    const struct uuid task_id = uuid_from_seed(cmd->seed, 0);
    token_begin(&plan->to, &task_id, limits);
}

static struct state import_state(const struct core *core, const struct command *cmd,
                                 const struct import_plan *plan, uint64_t arrival)
{
    struct state state = {
        .status = plan->status,
        .changed_ms = core->wall_ms,
        .attempt = plan->to.attempt,
        .relative = plan->to.relative,
        .has_next = import_scheduled(plan),
        .due_ms = plan->to.place.due_ms,
        .arrival = arrival,
    };
    if (!import_scheduled(plan)) {
        state.final = history_attempt(cmd, plan->count);
        state.changed_ms = state.final.outcome.finished_ms;
        state.attempt = plan->count;
        state.relative = plan->count;
        state.has_outcome = true;
        state.by_attempt = true;
    }
    return state;
}

static enum run import_done(struct command *cmd, const struct import_plan *plan)
{
    cmd->result.import.status = plan->status;
    return run_changed(cmd);
}

/* --- a new job --- */

static void import_create(struct core *core, struct command *cmd, struct import_plan *plan,
                          struct info *info, struct tenant_count *count)
{
    info->arrival = arrival_next(core);
    struct state state = import_state(core, cmd, plan, info->arrival);
    const bool scheduled = import_scheduled(plan);
    struct blob *row =
        job_create(core, cmd->job_ref, info, cmd->args.import.payload, index_kind_of(state.status),
                   scheduled ? info->enqueue_ms : state.changed_ms);
    history_append(core, cmd, 0, scheduled ? plan->count : plan->count - 1);
    count_move(core, count, COUNT_NONE, count_kind_of(state.status));
    if (scheduled) {
        state_write(core, cmd->job_ref, &state);
        plan->to.place.arrival = info->arrival;
        plan->to.info = row;
        walk_move(core, cmd->job_ref, &(struct token){.where = TOKEN_NONE}, &plan->to);
    } else {
        history_put_data(core, cmd, plan->count, &state.final);
        state.expire_ms = expire_at(core, state.status);
        state_write(core, cmd->job_ref, &state);
        if (state.expire_ms != 0) {
            expire_put(core, cmd->job_ref, state.status, state.expire_ms);
        }
    }
    blob_unref(row);
}

static enum run import_new(struct core *core, struct command *cmd, struct tenant_count *count)
{
    const struct import_args *args = &cmd->args.import;
    if (!history_fine(cmd, 0)) {
        return RUN_ANSWER;
    }
    struct info info = args->info;
    info.payload = blob_of(args->payload);
    info.enqueue_ms = info.enqueue_ms > 0 ? info.enqueue_ms : core->wall_ms;
    info.due_ms = import_due_ms(core, cmd);
    struct import_plan plan = {.known = 0};
    struct limits limits;
    limits_make(cmd->arena, args->limits, info.limit_count, info.limits, &limits);
    import_begin(core, cmd, &info, &limits, &plan);
    const bool ready = !import_scheduled(&plan) || walk_ready(core, cmd, cmd->job_ref, &plan.to);
    if (!ready || count == NULL) {
        return RUN_NEED;
    }
    import_create(core, cmd, &plan, &info, count);
    return import_done(cmd, &plan);
}

/* --- imported again --- */

static bool data_same(const struct blob_ref *stored, struct bytes given)
{
    if (stored->is_blob) {
        return stored->len == given.len && stored->hash == XXH64(given.ptr, given.len, 0);
    }
    return bytes_eq(stored->inline_bytes, given);
}

static bool attempt_same(const struct attempt *stored, const struct import_attempt *given)
{
    const struct outcome *outcome = &stored->outcome;
    if (outcome->status != given->status || stored->started_ms != given->started_ms ||
        outcome->finished_ms != given->finished_ms) {
        return false;
    }
    if (outcome->status == ATTEMPT_FAILED && !bytes_eq(outcome->error_code, given->error_code)) {
        return false;
    }
    return outcome->status == ATTEMPT_CANCELLED || data_same(&outcome->data, given->data);
}

static enum run again_refuse(struct command *cmd, const struct job *job, const char *reason)
{
    return job_refuse(cmd, "reimport", reason, job->status);
}

static enum run again_differs(struct command *cmd, const struct job *job, uint32_t number)
{
    return again_refuse(
        cmd, job,
        arena_printf(cmd->arena, "existing attempt %u does not match reimport data", number));
}

/* Reads one recorded attempt: the last may stand in the state row, the others have rows. */
static enum view_answer again_recorded(struct core *core, struct command *cmd,
                                       const struct job *job, uint32_t number,
                                       struct attempt *ret_attempt, bool *ret_fine)
{
    *ret_fine = true;
    if (job->has_state && job->state.by_attempt && number == job->state.attempt) {
        *ret_attempt = job->state.final;
        return VIEW_FOUND;
    }
    struct key key;
    struct bytes value;
    key_attempt(&key, cmd->job_ref, number);
    const enum view_answer answer = look(core, cmd, key_bytes(&key), &value);
    *ret_fine =
        answer == VIEW_UNKNOWN || (answer == VIEW_FOUND && attempt_decode(value, ret_attempt));
    return answer;
}

/*
 * Compares what is recorded with the beginning of what is given. RUN_ANSWER with an error, or with
 * rc OK when it agrees.
 */
static enum run again_compare(struct core *core, struct command *cmd, const struct job *job,
                              uint32_t known)
{
    bool all = true;
    uint32_t differs = 0;
    cmd->rc = RC_OK;
    for (uint32_t n = 1; n <= known; n++) {
        struct attempt attempt;
        bool fine = true;
        const enum view_answer answer = again_recorded(core, cmd, job, n, &attempt, &fine);
        if (!fine) {
            return run_fail(cmd, SILO_CORRUPT, "a stored attempt is corrupt");
        }
        all = all && answer == VIEW_FOUND;
        if (answer == VIEW_FOUND && differs == 0 &&
            !attempt_same(&attempt, &cmd->args.import.attempts[n - 1])) {
            differs = n;
        }
    }
    if (!all) {
        return RUN_NEED;
    }
    return differs != 0 ? again_differs(cmd, job, differs) : RUN_ANSWER;
}

/* Whether it may be imported again with this history. RUN_ANSWER with rc OK: yes. */
static enum run again_check(struct core *core, struct command *cmd, const struct job *job,
                            uint32_t known)
{
    const size_t given = cmd->args.import.attempt_count;
    if (job->status == JOB_RUNNING) {
        return again_refuse(cmd, job, "job is currently running");
    }
    if (job->status == JOB_SUCCEEDED) {
        return again_refuse(cmd, job, "job already succeeded");
    }
    if (given < known) {
        return again_refuse(
            cmd, job,
            arena_printf(cmd->arena, "reimport has %zu attempts but job has %u existing attempts",
                         given, known));
    }
    const enum run run = again_compare(core, cmd, job, known);
    if (run != RUN_ANSWER || cmd->rc.code != SILO_OK) {
        return run;
    }
    if (given == known) {
        return again_refuse(cmd, job, "reimport must bring at least one new attempt");
    }
    (void)history_fine(cmd, known);
    return RUN_ANSWER;
}

/* The info row with the new retry policy. The caller's reference. */
static struct blob *again_info(struct core *core, struct command *cmd, const struct job *job)
{
    struct info info = job->info;
    info.has_retry = cmd->args.import.info.has_retry;
    info.retry = cmd->args.import.info.retry;
    buf_reset(&core->scratch);
    info_encode(&core->scratch, &info);
    struct blob *row = blob_new(buf_bytes(&core->scratch));
    struct key key;
    key_by_ref(&key, TABLE_INFO, cmd->job_ref);
    view_put_blob(&core->view, key_bytes(&key), row, false);
    return row;
}

/*
 * A token there was and one to come change places in one move, so the walk sees what walk_ready
 * saw.
 */
static void again_apply(struct core *core, struct command *cmd, const struct job *job,
                        const struct token *from, struct import_plan *plan,
                        struct tenant_count *count)
{
    if (job_status_terminal(job->status)) {
        job_reopen(core, cmd->job_ref, job, count);
    }
    struct blob *row = again_info(core, cmd, job);
    struct state state = import_state(core, cmd, plan, arrival_next(core));
    const bool scheduled = import_scheduled(plan);
    const uint32_t last = scheduled ? plan->count : plan->count - 1;
    history_append(core, cmd, plan->known, last);
    if (scheduled) {
        state_write(core, cmd->job_ref, &state);
        plan->to.place.arrival = state.arrival;
        plan->to.info = row;
        walk_move(core, cmd->job_ref, from, &plan->to);
    } else {
        history_put_data(core, cmd, plan->count, &state.final);
        token_move(core, cmd->job_ref, from, &(struct token){.where = TOKEN_NONE});
        job_end(core, cmd->job_ref, &state, job->info.enqueue_ms, count);
    }
    blob_unref(row);
}

static enum run import_again(struct core *core, struct command *cmd, struct job *job,
                             struct tenant_count *count)
{
    const uint32_t known = job_attempts(job);
    const enum run run = again_check(core, cmd, job, known);
    if (run != RUN_ANSWER || cmd->rc.code != SILO_OK) {
        return run;
    }
    (void)job_own(core, cmd, job); /* the info row is written again below */
    struct import_plan plan = {.known = known};
    const struct limits *limits = limits_of(core, &job->info);
    if (limits == NULL) {
        return run_fail(cmd, SILO_CORRUPT, "the job's stored limits are malformed");
    }
    import_begin(core, cmd, &job->info, limits, &plan);
    struct token from = {.where = TOKEN_NONE};
    bool ready = count != NULL;
    if (job->status == JOB_SCHEDULED) {
        ready = token_find(core, cmd, job, &from) && ready;
    }
    if (import_scheduled(&plan)) {
        ready = walk_ready(core, cmd, cmd->job_ref, &plan.to) && ready;
    }
    if (!ready) {
        return RUN_NEED;
    }
    if (job->status == JOB_SCHEDULED && from.where == TOKEN_NONE) {
        return run_fail(cmd, SILO_CORRUPT, "the job's task is missing");
    }
    again_apply(core, cmd, job, &from, &plan, count);
    return import_done(cmd, &plan);
}

/* --- the commands --- */

enum run import_run(struct core *core, struct command *cmd)
{
    struct job job;
    const enum job_load load = job_load(core, cmd, &job);
    struct tenant_count *count = count_find(core, cmd->job_ref, cmd);
    switch (load) {
    case JOB_NEEDS:
        return RUN_NEED;
    case JOB_ABSENT:
        return import_new(core, cmd, count);
    case JOB_LOADED:
        return import_again(core, cmd, &job, count);
    case JOB_CORRUPT:
        break;
    }
    return job_load_fail(core, cmd, load);
}

enum run any_running_run(struct core *core, struct command *cmd)
{
    const struct any_running_args *args = &cmd->args.any_running;
    cmd->result.any_running = (struct any_running_result){.running = false};
    for (size_t i = 0; i < args->count; i++) {
        const struct lease *lease = lease_of_job(core, args->job_refs[i]);
        if (lease != NULL) {
            view_touch(&core->view, lease->batch);
            cmd->result.any_running = (struct any_running_result){.running = true, .index = i};
            return run_ok(cmd);
        }
    }
    view_touch_absent(&core->view);
    return run_ok(cmd);
}
