/*
 * core/job.c - loading a job, finding its token, ending, reopening and removing it, and the
 * commands get, result, cancel, delete.
 *
 * 1. A job's status: Running if it has a lease; else that of its state row; else, with no state row
 *    yet, Scheduled.
 * 2. Attempts are numbered from 1 without gaps. Those below the pending, running or final number
 *    have rows; the one that ended the job stands in its state row.
 */
#include "base/assert.h"
#include "core/core_int.h"

enum job_load job_load(struct core *core, struct command *cmd, struct job *ret)
{
    struct key key;
    struct bytes info_row = BYTES_NONE;
    struct bytes state_row = BYTES_NONE;
    key_by_ref(&key, TABLE_INFO, cmd->job_ref);
    const enum view_answer info = look(core, cmd, key_bytes(&key), &info_row);
    key_by_ref(&key, TABLE_STATE, cmd->job_ref);
    const enum view_answer state = look(core, cmd, key_bytes(&key), &state_row);
    if (info == VIEW_ABSENT) {
        return JOB_ABSENT;
    }
    if (info == VIEW_UNKNOWN || state == VIEW_UNKNOWN) {
        return JOB_NEEDS;
    }
    ret->has_state = state == VIEW_FOUND;
    if (!info_decode(info_row, &ret->info) ||
        (ret->has_state && !state_decode(state_row, &ret->state))) {
        return JOB_CORRUPT;
    }
    ret->lease = lease_of_job(core, cmd->job_ref);
    if (ret->lease != NULL) {
        ret->status = JOB_RUNNING;
        view_touch(&core->view, ret->lease->batch);
    } else {
        ret->status = ret->has_state ? ret->state.status : JOB_SCHEDULED;
    }
    return JOB_LOADED;
}

enum run job_load_fail(struct core *core, struct command *cmd, enum job_load load)
{
    if (load == JOB_ABSENT) {
        view_touch_absent(&core->view);
        return run_fail(cmd, SILO_NOT_FOUND, "job not found");
    }
    return run_fail(cmd, SILO_CORRUPT, "the stored job is corrupt");
}

enum key_index index_kind_of(enum job_status status)
{
    switch (status) {
    case JOB_SCHEDULED:
    case JOB_RUNNING:
        return INDEX_OPEN;
    case JOB_SUCCEEDED:
        return INDEX_SUCCEEDED;
    case JOB_FAILED:
        return INDEX_FAILED;
    case JOB_CANCELLED:
        return INDEX_CANCELLED;
    }
    ASSERT(!"a status out of range");
}

void state_write(struct core *core, struct bytes job_ref, const struct state *state)
{
    struct key key;
    key_by_ref(&key, TABLE_STATE, job_ref);
    buf_reset(&core->scratch);
    state_encode(&core->scratch, state);
    view_put(&core->view, key_bytes(&key), buf_bytes(&core->scratch), false);
}

static struct bytes row_copy(struct core *core, struct command *cmd, enum key_table table)
{
    struct key key;
    struct bytes value = BYTES_NONE;
    key_by_ref(&key, table, cmd->job_ref);
    (void)view_get(&core->view, key_bytes(&key), &value);
    return arena_copy(cmd->arena, value);
}

struct bytes job_own(struct core *core, struct command *cmd, struct job *job)
{
    const struct bytes row = row_copy(core, cmd, TABLE_INFO);
    ASSERT(info_decode(row, &job->info));
    if (job->has_state) {
        ASSERT(state_decode(row_copy(core, cmd, TABLE_STATE), &job->state));
    }
    return row;
}

struct blob *job_info_blob(struct core *core, struct bytes job_ref)
{
    struct key key;
    struct bytes row = BYTES_NONE;
    key_by_ref(&key, TABLE_INFO, job_ref);
    (void)view_get(&core->view, key_bytes(&key), &row);
    return blob_new(row);
}

static void index_move(struct core *core, struct bytes job_ref, enum key_index from,
                       int64_t from_ms, enum key_index to, int64_t to_ms)
{
    struct key key;
    key_index(&key, job_ref, from, from_ms);
    view_del(&core->view, key_bytes(&key));
    key_index(&key, job_ref, to, to_ms);
    view_put(&core->view, key_bytes(&key), BYTES_NONE, false);
}

void job_end(struct core *core, struct bytes job_ref, struct state *state, int64_t enqueue_ms,
             struct tenant_count *count)
{
    ASSERT(job_status_terminal(state->status) && state->has_outcome);
    state->expire_ms = expire_at(core, state->status);
    state_write(core, job_ref, state);
    index_move(core, job_ref, INDEX_OPEN, enqueue_ms, index_kind_of(state->status),
               state->changed_ms);
    if (state->expire_ms != 0) {
        expire_put(core, job_ref, state->status, state->expire_ms);
    }
    count_move(core, count, COUNT_OPEN, count_kind_of(state->status));
    watch_fire(core, job_ref);
}

void job_reopen(struct core *core, struct bytes job_ref, const struct job *job,
                struct tenant_count *count)
{
    const struct state *state = &job->state;
    ASSERT(job_status_terminal(job->status));
    if (state->by_attempt) {
        struct key key;
        key_attempt(&key, job_ref, state->attempt);
        buf_reset(&core->scratch);
        attempt_encode(&core->scratch, &state->final);
        view_put(&core->view, key_bytes(&key), buf_bytes(&core->scratch), false);
    }
    index_move(core, job_ref, index_kind_of(job->status), state->changed_ms, INDEX_OPEN,
               job->info.enqueue_ms);
    count_move(core, count, count_kind_of(job->status), COUNT_OPEN);
}

enum run job_refuse(struct command *cmd, const char *verb, const char *reason,
                    enum job_status status)
{
    const struct bytes tenant = job_ref_tenant(cmd->job_ref);
    const struct bytes id = bytes_of(cmd->job_ref.ptr + tenant.len, cmd->job_ref.len - tenant.len);
    return run_fail(cmd, SILO_PRECONDITION,
                    arena_printf(cmd->arena, "cannot %s job %.*s: %s (status: %s)", verb,
                                 BYTES_FMT(id), reason, job_status_name(status)));
}

/* Attempts that have a row of their own: all recorded ones but that in the state row. */
static uint32_t attempt_rows(const struct job *job)
{
    uint32_t last = 1;
    if (job->lease != NULL) {
        last = job->lease->rec.attempt;
    } else if (job->has_state) {
        last = job->state.attempt;
    }
    return last - 1;
}

uint32_t job_attempts(const struct job *job)
{
    const bool final =
        job->lease == NULL && job->has_state && job->state.has_outcome && job->state.by_attempt;
    return attempt_rows(job) + (final ? 1 : 0);
}

/* --- get --- */

static void want(struct command *cmd, const struct key *key, uint64_t len)
{
    cmd->wants[cmd->want_count++] = (struct command_want){
        .key = arena_copy(cmd->arena, key_bytes(key)), .len = len, .value = BYTES_NONE};
}

static void get_wants(struct command *cmd, const struct job_view *view, uint32_t rows)
{
    const struct blob_ref *payload = &view->info.payload;
    const struct blob_ref *data = &view->state.final.outcome.data;
    struct key key;
    cmd->wants = arena_alloc(cmd->arena, ((size_t)rows + 2) * sizeof cmd->wants[0]);
    if (job_wants_payload(cmd) && payload->is_blob) {
        key_blob(&key, cmd->job_ref, BLOB_PAYLOAD, 0);
        want(cmd, &key, payload->len);
    }
    if (job_wants_data(cmd) && data->is_blob) {
        key_blob(&key, cmd->job_ref, BLOB_RESULT, view->state.attempt);
        want(cmd, &key, data->len);
    }
    for (uint32_t n = rows; n != 0; n--) {
        key_attempt(&key, cmd->job_ref, view->attempts[rows - n].number);
        want(cmd, &key, 0);
    }
}

static void view_attempts(struct command *cmd, struct job_view *view, uint32_t rows,
                          uint32_t skipped)
{
    view->attempts = arena_zalloc(cmd->arena, ((size_t)rows + 1) * sizeof view->attempts[0]);
    for (uint32_t i = 0; i < rows; i++) {
        view->attempts[view->attempt_count++].number = skipped + i + 1;
    }
}

static enum run get_answer(struct core *core, struct command *cmd, const struct job *job,
                           const struct job_pending *pending)
{
    struct job_view *view = &cmd->result.job;
    *view = (struct job_view){.has_state = job->has_state,
                              .running = job->lease != NULL,
                              .status = job->status,
                              .pending = *pending};
    ASSERT(info_decode(row_copy(core, cmd, TABLE_INFO), &view->info));
    view->payload = view->info.payload.inline_bytes;
    if (job->has_state) {
        ASSERT(state_decode(row_copy(core, cmd, TABLE_STATE), &view->state));
        view->data = view->state.final.outcome.data.inline_bytes;
    }
    if (job->lease != NULL) {
        view->lease_attempt = job->lease->rec.attempt;
        view->lease_relative = job->lease->rec.relative;
        view->lease_task_id = job->lease->rec.task_id;
        view->lease_started_ms = job->lease->rec.started_ms;
        view->lease_marked = job->lease->rec.has_mark;
        view->lease_mark_ms = job->lease->rec.mark_ms;
    }
    uint32_t rows = 0;
    if (cmd->kind == CMD_GET_JOB && cmd->args.get.include_attempts) {
        const uint32_t all = attempt_rows(job);
        rows = all < JOB_ATTEMPTS_SHOWN_MAX ? all : JOB_ATTEMPTS_SHOWN_MAX;
        view_attempts(cmd, view, rows, all - rows);
    }
    get_wants(cmd, view, rows);
    const enum run run = run_ok(cmd);
    (void)answer_fits(cmd);
    return run;
}

enum run get_run(struct core *core, struct command *cmd)
{
    struct job job;
    const enum job_load load = job_load(core, cmd, &job);
    if (load == JOB_NEEDS) {
        return RUN_NEED;
    }
    if (load != JOB_LOADED) {
        return job_load_fail(core, cmd, load);
    }
    if (cmd->kind == CMD_GET_RESULT && !job_status_terminal(job.status)) {
        const bool waits = cmd->args.get.wait_ms != 0 && !core->polls_released;
        if (waits && core_crowded(core)) {
            return run_fail(cmd, SILO_EXHAUSTED, ERROR_CROWDED);
        }
        if (waits) {
            watch_add(core, cmd);
            return RUN_PARK;
        }
        return run_fail(cmd, SILO_PRECONDITION,
                        arena_printf(cmd->arena, "job is not complete: status is %s",
                                     job_status_name(job.status)));
    }
    struct job_pending pending = {.cause = PENDING_NONE};
    if (cmd->kind == CMD_GET_JOB && job.status == JOB_SCHEDULED &&
        !pending_find(core, cmd, &job, &pending)) {
        return RUN_NEED;
    }
    return get_answer(core, cmd, &job, &pending);
}

/* --- where the token is --- */

/* One of the keys it can have. False: asked for. */
static bool token_at(struct core *core, struct command *cmd, const struct key *key,
                     enum token_where where, struct token *ret)
{
    struct bytes value;
    const enum view_answer answer = look(core, cmd, key_bytes(key), &value);
    if (answer != VIEW_FOUND) {
        return answer == VIEW_ABSENT;
    }
    struct task_rec rec;
    if (token_decode(value, ret, &rec)) {
        ret->where = where;
    } else {
        core->corrupt_rows++;
    }
    return true;
}

/* A token that waits in the line of one of its limits. False: asked for. */
static bool token_in_line(struct core *core, struct command *cmd, const struct info *info,
                          const struct place *place, struct token *ret)
{
    struct limits limits;
    if (info->limit_count == 0 ||
        !limits_decode(cmd->arena, info->limits, info->limit_count, &limits)) {
        return true;
    }
    bool all = true;
    for (uint32_t i = 0; i < limits.count && ret->where == TOKEN_NONE; i++) {
        const struct limit *limit = &limits.items[i];
        if ((limit->kind == LIMIT_RATE && !limit->throttles) || limit->repeated) {
            continue;
        }
        struct key queue;
        struct key key;
        limit_queue_ref(&queue, job_ref_tenant(cmd->job_ref), limit, info->group);
        key_request(&key, core->order, key_bytes(&queue), limit->line, place);
        all = token_at(core, cmd, &key, TOKEN_REQUEST, ret) && all;
        if (ret->where == TOKEN_REQUEST) {
            ret->queue = throttle_get(core, key_bytes(&queue));
            ret->line = limit->line;
        }
    }
    return all;
}

/* By the keys that follow from the job's rows. */
static bool token_stored(struct core *core, struct command *cmd, const struct job *job,
                         struct token *ret)
{
    const struct state *state = job->has_state ? &job->state : NULL;
    const struct place place = {
        .due_ms = state != NULL ? state->due_ms : job->info.due_ms,
        .priority = job->info.priority,
        .arrival = state != NULL ? state->arrival : job->info.arrival,
    };
    *ret = (struct token){.where = TOKEN_NONE};
    struct key key;
    key_ready(&key, core->order, job->info.group, &place);
    bool all = token_at(core, cmd, &key, TOKEN_READY, ret);
    if (ret->where == TOKEN_NONE) {
        key_timer(&key, &place);
        all = token_at(core, cmd, &key, TOKEN_TIMER, ret) && all;
    }
    if (ret->where == TOKEN_NONE) {
        all = token_in_line(core, cmd, &job->info, &place, ret) && all;
    }
    ret->was_due = ret->where == TOKEN_READY || ret->where == TOKEN_REQUEST;
    ret->group = job->info.group;
    ret->place = place;
    ret->attempt = state != NULL ? state->attempt : 1;
    ret->relative = state != NULL ? state->relative : 1;
    return all || ret->where != TOKEN_NONE;
}

bool token_find(struct core *core, struct command *cmd, const struct job *job, struct token *ret)
{
    const struct task *task = MAP_ENTRY(map_find(&core->tasks, cmd->job_ref), struct task, by_job);
    if (task != NULL) {
        view_touch(&core->view, task->batch);
        *ret = token_of_task(task);
        struct task_rec rec;
        if (task->rec != NULL) { /* its retries at a rate limit stand there alone */
            if (!token_decode(blob_bytes(task->rec), ret, &rec)) {
                core_break(core, "the row of a waiting job is corrupt");
            }
        }
    } else if (!token_stored(core, cmd, job, ret)) {
        return false;
    }
    return ret->where != TOKEN_REQUEST || queue_ready(core, ret->queue, cmd);
}

/* --- cancel --- */

static enum run cancel_running(struct core *core, struct command *cmd, struct lease *lease)
{
    view_touch(&core->view, lease->batch);
    if (lease->rec.has_mark) {
        return run_fail(cmd, SILO_PRECONDITION, "job is already cancelled");
    }
    lease->rec.has_mark = true;
    lease->rec.mark_ms = core->wall_ms;
    lease_write(core, lease, false);
    marks_add(core, lease);
    return run_changed(cmd);
}

static enum run cancel_scheduled(struct core *core, struct command *cmd, const struct job *job)
{
    struct token token;
    const bool found = token_find(core, cmd, job, &token);
    struct tenant_count *count = count_find(core, cmd->job_ref, cmd);
    if (!found || count == NULL) {
        return RUN_NEED;
    }
    if (token.where == TOKEN_NONE) {
        return run_fail(cmd, SILO_CORRUPT, "the job's task is missing");
    }
    struct state state = {
        .status = JOB_CANCELLED,
        .changed_ms = core->wall_ms,
        .has_mark = true,
        .mark_ms = core->wall_ms,
        .attempt = token.attempt,
        .relative = token.relative,
        .has_next = true,
        .due_ms = token.place.due_ms,
        .arrival = token.place.arrival,
        .has_outcome = true,
        .final.outcome = {.status = ATTEMPT_CANCELLED, .finished_ms = core->wall_ms},
    };
    const int64_t enqueue_ms = job->info.enqueue_ms;
    token_move(core, cmd->job_ref, &token, &(struct token){.where = TOKEN_NONE});
    job_end(core, cmd->job_ref, &state, enqueue_ms, count);
    return run_changed(cmd);
}

enum run cancel_run(struct core *core, struct command *cmd)
{
    struct lease *lease = lease_of_job(core, cmd->job_ref);
    if (lease != NULL) {
        return cancel_running(core, cmd, lease);
    }
    struct job job;
    const enum job_load load = job_load(core, cmd, &job);
    if (load == JOB_NEEDS) {
        return RUN_NEED;
    }
    if (load != JOB_LOADED) {
        return job_load_fail(core, cmd, load);
    }
    if (job.status == JOB_CANCELLED || (job.has_state && job.state.has_mark)) {
        return run_fail(cmd, SILO_PRECONDITION, "job is already cancelled");
    }
    if (job_status_terminal(job.status)) {
        return run_fail(cmd, SILO_PRECONDITION, "job is already in terminal state");
    }
    return cancel_scheduled(core, cmd, &job);
}

/* --- delete --- */

static enum run delete_refuse(struct command *cmd)
{
    const struct bytes tenant = job_ref_tenant(cmd->job_ref);
    return run_fail(
        cmd, SILO_PRECONDITION,
        arena_printf(
            cmd->arena, "cannot delete job %.*s: job is currently running or has pending requests",
            (int)(cmd->job_ref.len - tenant.len), (const char *)cmd->job_ref.ptr + tenant.len));
}

static void delete_key(struct core *core, const struct key *key)
{
    view_del(&core->view, key_bytes(key));
}

/*
 * Attempts below the final one; what is large of them has a row beside theirs, whichever run made
 * it.
 */
static void delete_attempts(struct core *core, struct bytes job_ref, const struct job *job)
{
    struct key key;
    for (uint32_t n = attempt_rows(job); n != 0; n--) {
        key_attempt(&key, job_ref, n);
        delete_key(core, &key);
        key_blob(&key, job_ref, BLOB_RESULT, n);
        delete_key(core, &key);
    }
    if (job->state.final.outcome.data.is_blob) {
        key_blob(&key, job_ref, BLOB_RESULT, job->state.attempt);
        delete_key(core, &key);
    }
}

void job_delete(struct core *core, struct bytes job_ref, const struct job *job,
                struct tenant_count *count)
{
    const struct info *info = &job->info;
    const struct state *state = &job->state;
    ASSERT(job_status_terminal(job->status));
    count_move(core, count, count_kind_of(job->status), COUNT_NONE);
    struct key key;
    key_index(&key, job_ref, index_kind_of(state->status), state->changed_ms);
    delete_key(core, &key);
    struct bytes at = info->metadata;
    struct bytes name;
    struct bytes value;
    while (pair_next(&at, &name, &value)) {
        key_metadata(&key, job_ref, name, value);
        delete_key(core, &key);
    }
    if (info->payload.is_blob) {
        key_blob(&key, job_ref, BLOB_PAYLOAD, 0);
        delete_key(core, &key);
    }
    delete_attempts(core, job_ref, job);
    /* Last: info and state lend the bytes above. */
    key_by_ref(&key, TABLE_STATE, job_ref);
    delete_key(core, &key);
    key_by_ref(&key, TABLE_INFO, job_ref);
    delete_key(core, &key);
}

enum run delete_run(struct core *core, struct command *cmd)
{
    struct job job;
    const enum job_load load = job_load(core, cmd, &job);
    struct tenant_count *count = count_find(core, cmd->job_ref, cmd);
    if (load == JOB_NEEDS || (load == JOB_LOADED && count == NULL)) {
        return RUN_NEED;
    }
    if (load == JOB_ABSENT) {
        view_touch_absent(&core->view);
        return run_ok(cmd);
    }
    if (load == JOB_CORRUPT) {
        return job_load_fail(core, cmd, load);
    }
    if (!job_status_terminal(job.status)) {
        return delete_refuse(cmd);
    }
    job_delete(core, cmd->job_ref, &job, count);
    return run_changed(cmd);
}
