/*
 * core/rate.c - rate limits: a token that stands before one is asked about when a poll wants it,
 * and moves when the answer is there.
 *
 *      in line (throttle.h) ── under ──► on through its limits; over: it stays where it is
 *
 *      READY, limits[passed] a rate limit ── under ──► on through its limits
 *                    ▲          │ over, or no answer
 *                    └─ due ─ TIMER (keeps its slots)          retries used up: the job fails
 *
 * Ready, and so asked at times of its own, is a token whose policy bounds its retries (it is to
 * fail when they are used up), that time alone does not help (throttle.h), that an operator wants
 * asked at once, or for which there is no line any more.
 *
 * The answer comes from outside (core_check_next, core_check_done), or from buckets in the shard's
 * own storage. An answer that is an error never passes a job, and uses up no retry.
 */
#include <math.h>

#include "base/assert.h"
#include "base/saturate.h"
#include "core/core_int.h"

/* min(max, initial * multiplier^retries), at least 1 ms so that time passes. */
static int64_t rate_backoff_ms(const Silo__V1__RateLimitRetryPolicy *policy, uint32_t retries)
{
    const double raw =
        (double)policy->initial_backoff_ms * pow(policy->backoff_multiplier, (double)retries);
    int64_t ms = policy->max_backoff_ms;
    if (raw < (double)ms) {
        ms = raw > 1 ? (int64_t)llround(raw) : 1;
    }
    return ms > 1 ? ms : 1;
}

/* When one that was refused so often is asked again. */
static int64_t rate_next_ms(const struct core *core, enum core_verdict verdict, int64_t reset_ms,
                            const Silo__V1__RateLimitRetryPolicy *policy, uint32_t retries)
{
    const int64_t now = core->wall_ms;
    if (verdict == VERDICT_ERROR) {
        const int64_t wait = policy->initial_backoff_ms;
        return add_saturated(now, wait > 1 ? wait : 1);
    }
    if (reset_ms > now && reset_ms < add_saturated(now, policy->max_backoff_ms)) {
        return reset_ms;
    }
    return add_saturated(now, rate_backoff_ms(policy, retries));
}

bool task_wants_check(const struct task *task)
{
    return task->rec != NULL;
}

static struct check *check_find(const struct core *core, const struct uuid *task_id)
{
    return MAP_ENTRY(map_find(&core->checks_by_task, uuid_bytes(task_id)), struct check, by_task);
}

/* The line it stands in, if that is a rate limit's. */
static struct throttle *task_throttle(const struct task *task)
{
    return task->line != NULL ? task->line->queue->throttle : NULL;
}

static struct check *check_new(struct core *core, struct task *task)
{
    struct check *check = xcalloc(1, sizeof *check);
    arena_init(&check->arena);
    check->task_id = task->task_id;
    check->passed = task->passed;
    check->job_ref = arena_copy(&check->arena, task_ref(task));
    const struct throttle *throttle = task_throttle(task);
    check->group = throttle != NULL ? throttle->group : task->group;
    check->gate = throttle != NULL ? throttle->gate : NULL;
    check->group->checks++;
    map_insert(&core->checks_by_task, &check->by_task, uuid_bytes(&check->task_id));
    gate_asked(core, check->gate);
    return check;
}

static void check_free(struct core *core, struct check *check)
{
    check->group->checks--;
    map_remove(&core->checks_by_task, &check->by_task);
    list_remove(&check->node);
    gate_answered(core, check->gate);
    arena_deinit(&check->arena);
    free(check);
}

/* The question; false for a row that says nothing. */
static bool check_fill(struct check *check, struct task *task)
{
    struct token token;
    struct task_rec row;
    struct limits limits;
    if (!token_decode(blob_bytes(task->rec), &token, &row) ||
        !limits_decode(&check->arena, row.chain.limits, row.chain.limit_count, &limits) ||
        task->passed >= limits.count || limits.items[task->passed].kind != LIMIT_RATE) {
        return false;
    }
    const Silo__V1__GubernatorRateLimit *rate = limits.items[task->passed].rate;
    check->policy = rate->retry_policy;
    check->ask = (struct core_check){
        .name = bytes_str(rate->name),
        .unique_key = bytes_str(rate->unique_key),
        .hits = rate->hits,
        .limit = rate->limit,
        .duration_ms = rate->duration_ms,
        .algorithm = (int32_t)rate->algorithm,
        .behavior = rate->behavior,
    };
    return true;
}

void check_start(struct core *core, struct task *task)
{
    task->checking = true;
    if (check_find(core, &task->task_id) != NULL) {
        return; /* asked before the task left its window for a while */
    }
    struct check *check = check_new(core, task);
    if (!check_fill(check, task)) {
        core->corrupt_rows++;
        check_free(core, check); /* stays as it is, and in nobody's way */
        return;
    }
    if (core->external_limiter) {
        list_push_back(&core->checks, &check->node);
        return;
    }
    struct command *cmd = inner_new(core, CMD_CHECK, check->job_ref);
    cmd->args.inner->task_id = check->task_id;
    inner_wake(core, cmd);
}

struct core_check *core_check_next(struct core *core)
{
    struct list_node *node = list_pop_front(&core->checks);
    return node != NULL ? &CONTAINER_OF(node, struct check, node)->ask : NULL;
}

/* The limiter's answer, as far as it concerns all who wait for it. */
static void check_tell_gate(struct core *core, const struct check *check, enum core_verdict verdict,
                            int64_t wait_ms)
{
    if (check->gate == NULL) {
        return;
    }
    const struct gate_question question = {
        .hits = check->ask.hits, .limit = check->ask.limit, .duration_ms = check->ask.duration_ms};
    switch (verdict) {
    case VERDICT_UNDER:
        gate_passed(core, check->gate);
        break;
    case VERDICT_OVER:
        gate_refused(core, check->gate, &question, wait_ms);
        break;
    case VERDICT_ERROR:
        gate_failed(core, check->gate, wait_ms);
        break;
    }
}

void core_check_done(struct core *core, struct core_check *ask, enum core_verdict verdict,
                     int64_t reset_ms)
{
    const struct check *check = CONTAINER_OF(ask, struct check, ask);
    if (check->gate != NULL) {
        const int64_t next_ms =
            rate_next_ms(core, verdict, reset_ms, check->policy, check->gate->refusals);
        check_tell_gate(core, check, verdict, next_ms - core->wall_ms);
    }
    struct command *cmd = inner_new(core, CMD_CHECKED, check->job_ref);
    cmd->args.inner->task_id = check->task_id;
    cmd->args.inner->verdict = verdict;
    cmd->args.inner->reset_ms = reset_ms;
    inner_wake(core, cmd);
}

void check_end(struct core *core, const struct command *cmd)
{
    struct check *check = check_find(core, &cmd->args.inner->task_id);
    if (check == NULL) {
        return;
    }
    struct task *task = MAP_ENTRY(map_find(&core->tasks, check->job_ref), struct task, by_job);
    if (task != NULL && task->has_chain && uuid_eq(&task->task_id, &check->task_id)) {
        task->checking =
            false; /* it stands before a further limit, or the answer was lost: to be asked */
        if (task_throttle(task) != NULL) {
            throttle_changed(core, task_throttle(task)); /* not the one that was asked, perhaps */
        }
    }
    group_hot(core, check->group);
    check_free(core, check);
}

/* --- what an answer does --- */

static enum run rate_walk(struct core *core, struct command *cmd, const struct token *from,
                          struct token *to)
{
    if (!walk_ready(core, cmd, cmd->job_ref, to)) {
        return RUN_NEED;
    }
    walk_move(core, cmd->job_ref, from, to);
    return run_changed(cmd);
}

static enum run rate_pass(struct core *core, struct command *cmd, const struct limit *limit,
                          const struct token *from, struct token *to)
{
    to->passed++;
    to->rate_retries = 0;
    struct blob *info = from->info == NULL ? job_info_blob(core, cmd->job_ref) : NULL;
    to->info = from->info == NULL ? info : from->info;
    const enum run run = rate_walk(core, cmd, from, to);
    blob_unref(info);
    if (run != RUN_NEED && from->where == TOKEN_READY) {
        gate_reopen(core, cmd->job_ref, limit);
    }
    return run;
}

/* A ready token that was refused goes to its place in line. */
static enum run rate_line_up(struct core *core, struct command *cmd, const struct token *from,
                             struct token *to)
{
    to->rate_retries = 0;
    return rate_walk(core, cmd, from, to);
}

/* A question that a limiter always fails to answer must not hold up those behind it. */
static bool rate_steps_aside(struct gate *gate, enum core_verdict verdict)
{
    if (verdict != VERDICT_ERROR || gate->errors < GATE_ERRORS_MAX) {
        return false;
    }
    gate->errors = 0;
    return true;
}

/* The job's start moves with its token, so that both can be found again. */
static enum run rate_wait(struct core *core, struct command *cmd, const struct job *job,
                          const struct token *from, struct token *to, int64_t due_ms)
{
    struct state state = {.status = JOB_SCHEDULED, .changed_ms = job->info.enqueue_ms};
    if (job->has_state) {
        state = job->state;
    }
    to->place.due_ms = due_ms;
    to->was_due = false;
    to->rate_retries += cmd->args.inner->verdict == VERDICT_OVER;
    state.attempt = to->attempt;
    state.relative = to->relative;
    state.has_next = true;
    state.due_ms = due_ms;
    state.arrival = to->place.arrival;
    state_write(core, cmd->job_ref, &state);
    walk_move(core, cmd->job_ref, from, to);
    return run_changed(cmd);
}

static struct bytes rate_error_data(struct arena *arena, const struct limit *limit,
                                    uint32_t retries)
{
    const char *text = arena_printf(arena, "rate limit \"%.200s\" refused the job %u times",
                                    limit->rate->name, retries + 1);
    const size_t len = strlen(text);
    uint8_t *out = arena_alloc(arena, len + 3);
    out[0] = 0xda; /* a MessagePack str 16 */
    out[1] = (uint8_t)(len >> 8);
    out[2] = (uint8_t)len;
    /*
     * NOLINTNEXTLINE(bugprone-not-null-terminated-result): MessagePack strings have a length
     * instead
     */
    memcpy(out + 3, text, len);
    return bytes_of(out, len + 3);
}

static enum run rate_fail(struct core *core, struct command *cmd, const struct job *job,
                          const struct token *from, const struct limit *limit)
{
    struct tenant_count *count = count_find(core, cmd->job_ref, cmd);
    if (count == NULL) {
        return RUN_NEED;
    }
    struct state state = {
        .status = JOB_FAILED,
        .changed_ms = core->wall_ms,
        .attempt = from->attempt,
        .relative = from->relative,
        .due_ms = from->place.due_ms,
        .arrival = from->place.arrival,
        .has_outcome = true,
        .final.outcome = {.status = ATTEMPT_FAILED,
                          .finished_ms = core->wall_ms,
                          .error_code = BYTES_LIT("RATE_LIMIT_EXCEEDED"),
                          .data.inline_bytes =
                              rate_error_data(cmd->arena, limit, from->rate_retries)},
    };
    const int64_t enqueue_ms = job->info.enqueue_ms;
    token_move(core, cmd->job_ref, from, &(struct token){.where = TOKEN_NONE});
    job_end(core, cmd->job_ref, &state, enqueue_ms, count);
    return run_changed(cmd);
}

enum run checked_run(struct core *core, struct command *cmd)
{
    const struct inner_args *inner = cmd->args.inner;
    const struct check *check = check_find(core, &inner->task_id);
    struct job job;
    struct token from;
    const enum job_load load = job_load(core, cmd, &job);
    if (load == JOB_NEEDS) {
        return RUN_NEED;
    }
    if (check == NULL || load != JOB_LOADED || job.status != JOB_SCHEDULED) {
        return run_ok(cmd); /* it has gone */
    }
    if (!token_find(core, cmd, &job, &from)) {
        return RUN_NEED;
    }
    struct limits limits;
    struct throttle *throttle = from.where == TOKEN_REQUEST ? from.queue->throttle : NULL;
    if ((from.where != TOKEN_READY && throttle == NULL) || !from.has_chain ||
        !uuid_eq(&from.task_id, &inner->task_id) || from.passed != check->passed ||
        !limits_decode(cmd->arena, job.info.limits, job.info.limit_count, &limits) ||
        from.passed >= limits.count || limits.items[from.passed].kind != LIMIT_RATE) {
        return run_ok(cmd);
    }
    struct token to = from;
    to.limits = &limits;
    to.items = job.info.limits;
    const struct limit *limit = &limits.items[from.passed];
    const Silo__V1__RateLimitRetryPolicy *policy = limit->rate->retry_policy;
    if (inner->verdict == VERDICT_UNDER) {
        return rate_pass(core, cmd, limit, &from, &to);
    }
    if (throttle != NULL && !rate_steps_aside(throttle->gate, inner->verdict)) {
        return run_ok(cmd); /* it stays where it is, and its gate is shut */
    }
    if (inner->verdict == VERDICT_OVER && policy->max_retries > 0 &&
        from.rate_retries >= policy->max_retries) {
        return rate_fail(core, cmd, &job, &from, limit);
    }
    if (inner->verdict == VERDICT_OVER && limit->throttles &&
        throttle_of(core, cmd->job_ref, limit, to.group) != NULL) {
        return rate_line_up(core, cmd, &from, &to);
    }
    return rate_wait(
        core, cmd, &job, &from, &to,
        rate_next_ms(core, inner->verdict, inner->reset_ms, policy, from.rate_retries));
}

/* --- the built-in limiter --- */

static void bucket_forget(struct core *core, struct bucket_entry *entry)
{
    map_remove(&core->buckets, &entry->node);
    list_remove(&entry->lru);
    list_remove(&entry->dirty);
    free(entry);
}

static void buckets_shrink(struct core *core)
{
    while (core->buckets.count >= SHARD_BUCKETS_MAX) {
        struct bucket_entry *oldest =
            LIST_ENTRY(list_first(&core->buckets_lru), struct bucket_entry, lru);
        if (list_linked(&oldest->dirty)) {
            return;
        }
        bucket_forget(core, oldest);
    }
}

/* NULL: asked for on behalf of cmd. */
static struct bucket_entry *bucket_get(struct core *core, struct command *cmd, struct bytes key)
{
    struct bucket_entry *entry =
        MAP_ENTRY(map_find(&core->buckets, key), struct bucket_entry, node);
    if (entry != NULL) {
        list_remove(&entry->lru);
        list_push_back(&core->buckets_lru, &entry->lru);
        return entry;
    }
    struct bytes value;
    const enum view_answer there = look(core, cmd, key, &value);
    if (there == VIEW_UNKNOWN) {
        return NULL;
    }
    buckets_shrink(core);
    entry = xmalloc(sizeof *entry + key.len);
    *entry = (struct bucket_entry){.key_len = key.len};
    memcpy(entry->key, key.ptr, key.len);
    if (there == VIEW_FOUND) {
        entry->stored = true;
        entry->exists = bucket_decode(value, &entry->bucket);
        core->corrupt_rows += !entry->exists;
    }
    map_insert(&core->buckets, &entry->node, bytes_of(entry->key, entry->key_len));
    list_push_back(&core->buckets_lru, &entry->lru);
    return entry;
}

/* The token still waits for the answer, in line or ready. */
static bool task_stands_before(const struct task *task, const struct check *check)
{
    return task->has_chain && uuid_eq(&task->task_id, &check->task_id) &&
           (task->group != NULL || task_throttle(task) != NULL);
}

/* How long a refusal lasts: as the bucket says, but somebody may fill it earlier. */
static int64_t bucket_wait_ms(const struct core *core, const struct bucket_entry *entry,
                              const struct bucket_request *request, const struct check *check)
{
    const int64_t ready_ms = bucket_ready_ms(&entry->bucket, entry->exists, request, core->wall_ms);
    const int64_t wait_ms = ready_ms > core->wall_ms ? ready_ms - core->wall_ms : 1;
    const int64_t most = check->policy->max_backoff_ms;
    return wait_ms < most || wait_ms < GATE_ASK_MS ? wait_ms
                                                   : (most > GATE_ASK_MS ? most : GATE_ASK_MS);
}

/* Takes the hits and becomes the answer. */
enum run check_run(struct core *core, struct command *cmd)
{
    struct inner_args *inner = cmd->args.inner;
    const struct check *check = check_find(core, &inner->task_id);
    const struct task *task = MAP_ENTRY(map_find(&core->tasks, cmd->job_ref), struct task, by_job);
    if (check == NULL || (task != NULL && !task_stands_before(task, check))) {
        return run_ok(cmd); /* the token has gone: no hit */
    }
    if (check->gate != NULL && gate_is_shut(check->gate)) {
        return run_ok(cmd); /* one before it was refused meanwhile */
    }
    struct key key;
    key_limiter(&key, job_ref_tenant(cmd->job_ref), check->ask.name, check->ask.unique_key);
    struct bucket_entry *entry = bucket_get(core, cmd, key_bytes(&key));
    if (entry == NULL) {
        return RUN_NEED;
    }
    const struct bucket_request request = {
        .algorithm = check->ask.algorithm == 1 ? BUCKET_LEAKY : BUCKET_TOKEN,
        .limit = check->ask.limit,
        .duration_ms = check->ask.duration_ms,
        .hits = check->ask.hits,
        .behavior = check->ask.behavior,
    };
    const struct bucket_answer answer =
        bucket_take(&entry->bucket, &entry->exists, &request, core->wall_ms);
    if (!list_linked(&entry->dirty)) {
        list_push_back(&core->buckets_dirty, &entry->dirty);
    }
    if (core->buckets_sweep_mono_ms == INT64_MAX) {
        core->buckets_sweep_mono_ms = core->mono_ms + BUCKET_SWEEP_MS;
    }
    inner->verdict = answer.error != NULL ? VERDICT_ERROR
                     : answer.over        ? VERDICT_OVER
                                          : VERDICT_UNDER;
    inner->reset_ms = answer.reset_ms;
    check_tell_gate(core, check, inner->verdict,
                    inner->verdict == VERDICT_ERROR ? check->policy->initial_backoff_ms
                                                    : bucket_wait_ms(core, entry, &request, check));
    cmd->kind = CMD_CHECKED;
    return checked_run(core, cmd);
}

void buckets_write(struct core *core)
{
    struct list_node *node = NULL;
    while ((node = list_pop_front(&core->buckets_dirty)) != NULL) {
        struct bucket_entry *entry = CONTAINER_OF(node, struct bucket_entry, dirty);
        const struct bytes key = bytes_of(entry->key, entry->key_len);
        if (entry->exists) {
            buf_reset(&core->scratch);
            bucket_encode(&core->scratch, &entry->bucket);
            view_put(&core->view, key, buf_bytes(&core->scratch), !entry->stored);
        } else if (entry->stored) {
            view_del(&core->view, key);
        }
        entry->stored = entry->exists;
    }
}

/* --- buckets that have refilled go, a page at a time --- */

static void sweep_row(struct core *core, struct core_read *read, struct bytes key,
                      struct bytes value, bool present)
{
    (void)present;
    page_note_last(read, key);
    struct bucket bucket;
    struct bucket_entry *entry =
        MAP_ENTRY(map_find(&core->buckets, key), struct bucket_entry, node);
    if (entry != NULL) {
        if (!list_linked(&entry->dirty) && entry->stored && entry->exists &&
            bucket_stale(&entry->bucket, core->wall_ms)) {
            bucket_forget(core, entry);
            view_del(&core->view, key);
        }
        return;
    }
    if (view_recent(&core->view, key) == NULL &&
        (!bucket_decode(value, &bucket) || bucket_stale(&bucket, core->wall_ms))) {
        view_del(&core->view, key);
    }
}

static void sweep_end(struct core *core, struct core_read *read, bool ok, bool more)
{
    core->buckets_sweeping = false;
    core->buckets_sweep_mono_ms = core->mono_ms + BUCKET_SWEEP_MS;
    if (!ok) {
        return;
    }
    buf_reset(&core->buckets_cursor);
    if (more) {
        buf_append(&core->buckets_cursor, read->last.ptr, read->last.len);
        buf_u8(&core->buckets_cursor, 0);
    } else if (read->last.len == 0 && core->buckets.count == 0) {
        core->buckets_sweep_mono_ms = INT64_MAX; /* there are none */
    }
}

void rate_turn(struct core *core)
{
    if (core->buckets_sweeping || core->mono_ms < core->buckets_sweep_mono_ms) {
        return;
    }
    struct key lo;
    struct key hi;
    key_table(&lo, TABLE_LIMITER);
    hi = lo;
    ASSERT(key_after_prefix(&hi));
    const struct bytes cursor = buf_bytes(&core->buckets_cursor);
    struct core_read *read = read_new();
    read->scan = true;
    read->lo = arena_copy(&read->arena, cursor.len != 0 ? cursor : key_bytes(&lo));
    read->hi = arena_copy(&read->arena, key_bytes(&hi));
    read->rows_max = PAGE_ROWS_MAX;
    read->on_row = sweep_row;
    read->on_end = sweep_end;
    core->buckets_sweeping = true;
    read_queue(core, read);
}

int64_t rate_next_mono_ms(const struct core *core)
{
    return core->buckets_sweeping ? INT64_MAX : core->buckets_sweep_mono_ms;
}

void rate_free(struct core *core)
{
    for (struct map_node *n = map_next(&core->checks_by_task, NULL); n != NULL;
         n = map_next(&core->checks_by_task, NULL)) {
        check_free(core, CONTAINER_OF(n, struct check, by_task));
    }
    for (struct map_node *n = map_next(&core->buckets, NULL); n != NULL;
         n = map_next(&core->buckets, NULL)) {
        bucket_forget(core, CONTAINER_OF(n, struct bucket_entry, node));
    }
    map_deinit(&core->checks_by_task);
    map_deinit(&core->buckets);
    buf_deinit(&core->buckets_cursor);
}
