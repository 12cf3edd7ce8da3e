/*
 * core/limit_calls_test.c - see limit_calls_test.h. Names like SE1 are those of
 * docs/internals/rules.md.
 */
#include "core/limit_calls_test.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/test.h"

/* --- jobs --- */

static struct rate_limit rate_of(const struct job_limit *from)
{
    struct rate_limit rate = {
        .name = bytes_str(from->name),
        .unique_key = bytes_str(from->name),
        .limit = from->limit,
        .duration_ms = from->duration_ms,
        .hits = from->hits != 0 ? from->hits : 1,
        .behavior = from->behavior,
        .algorithm = from->leaky ? RATE_LEAKY_BUCKET : RATE_TOKEN_BUCKET,
        .retry = {.initial_ms = 100, .max_ms = 30000, .factor = 2},
    };
    if (from->has_policy) {
        rate.retry = (struct rate_retry_policy){.initial_ms = from->initial_ms,
                                                .max_ms = from->backoff_max_ms,
                                                .factor = from->multiplier,
                                                .retries_max = from->retries_max};
    }
    return rate;
}

static struct floating_limit floating_of(struct arena *arena, const struct job_limit *from)
{
    struct floating_limit floating = {.default_max = from->max, .interval_ms = from->interval_ms};
    if (from->metadata[0] != NULL) {
        struct buf pair;
        buf_init(&pair, 1u << 20);
        item_append(&pair, bytes_str(from->metadata[0]));
        item_append(&pair, bytes_str(from->metadata[1]));
        floating.metadata_count = 1;
        floating.metadata = arena_copy(arena, buf_bytes(&pair));
        buf_deinit(&pair);
    }
    return floating;
}

static struct limit_rec limit_rec_of(struct arena *arena, const struct job_limit *from)
{
    struct limit_rec limit = {.kind = from->kind, .key = bytes_str(from->name)};
    switch (from->kind) {
    case LIMIT_CONCURRENCY:
        limit.max = from->max;
        break;
    case LIMIT_FLOATING:
        limit.floating = floating_of(arena, from);
        break;
    case LIMIT_RATE:
        limit.rate = rate_of(from);
        break;
    }
    return limit;
}

const struct limit_rec *limits_put(struct arena *arena, const struct job_limit *limits, size_t max,
                                   struct info *info)
{
    struct limit_rec *recs = arena_alloc(arena, (max + 1) * sizeof *recs);
    struct buf items;
    buf_init(&items, 1u << 20);
    info->limit_count = 0;
    while (info->limit_count < max && limits[info->limit_count].name != NULL) {
        recs[info->limit_count] = limit_rec_of(arena, &limits[info->limit_count]);
        limit_encode(&items, arena, &recs[info->limit_count++]);
    }
    info->limits = arena_copy(arena, buf_bytes(&items));
    buf_deinit(&items);
    return recs;
}

static const struct limit_rec *info_of(struct arena *arena, const struct job_spec *spec,
                                       struct info *ret)
{
    *ret = (struct info){
        .priority = spec->priority,
        .group = bytes_str(spec->group != NULL ? spec->group : "g"),
        .requested_start_ms = spec->start_ms,
        .has_retry = spec->retries != 0,
        .retry = {.retry_count = spec->retries, .initial_ms = spec->retry_ms, .factor = 1},
    };
    return limits_put(arena, spec->limits, SPEC_LIMITS_MAX, ret);
}

static const char *tenant_of(const struct job_spec *spec)
{
    return spec->tenant != NULL ? spec->tenant : T;
}

struct call *job_call(const struct job_spec *spec)
{
    struct call *call = rig_call(CMD_ENQUEUE, tenant_of(spec), spec->id);
    struct enqueue_args *args = &call->cmd.args.enqueue;
    args->limits = info_of(&call->arena, spec, &args->info);
    args->payload = BYTES_LIT("payload");
    return call;
}

struct call *import_call(const struct job_spec *spec, const struct import_attempt *attempts,
                         size_t count)
{
    struct call *call = rig_call(CMD_IMPORT_JOB, tenant_of(spec), spec->id);
    struct import_args *args = &call->cmd.args.import;
    args->limits = info_of(&call->arena, spec, &args->info);
    args->payload = BYTES_LIT("payload");
    args->attempts = attempts;
    args->attempt_count = count;
    return call;
}

void put_job(struct rig *rig, const struct job_spec *spec)
{
    assert_int_equal(finish(rig, job_call(spec)), SILO_OK);
}

void put_jobs(struct rig *rig, const struct job_spec *spec, uint32_t count)
{
    struct call **calls = xcalloc(count, sizeof *calls);
    for (uint32_t i = 0; i < count; i++) {
        char id[64];
        (void)snprintf(id, sizeof id, "%s%u", spec->id, i);
        struct job_spec one = *spec;
        one.id = id;
        calls[i] = job_call(&one);
        rig_send(rig, calls[i]);
    }
    rig_settle(rig);
    for (uint32_t i = 0; i < count; i++) {
        assert_true(calls[i]->done);
        assert_int_equal(calls[i]->cmd.rc.code, SILO_OK);
        rig_call_free(calls[i]);
    }
    free(calls);
}

/* --- rows --- */

struct slot_row {
    struct bytes key, value;
};

struct slot_rows {
    struct arena arena;
    struct slot_row *all; /* in the order of their keys */
    size_t count, cap;
};

static void rows_add(void *context, struct bytes key, struct bytes value)
{
    struct slot_rows *rows = context;
    if (rows->count == rows->cap) {
        rows->cap = rows->cap != 0 ? rows->cap * 2 : 256;
        rows->all = xrealloc(rows->all, rows->cap * sizeof rows->all[0]);
    }
    rows->all[rows->count++] = (struct slot_row){.key = arena_copy(&rows->arena, key),
                                                 .value = arena_copy(&rows->arena, value)};
}

static void rows_load(struct rig *rig, struct slot_rows *rows)
{
    *rows = (struct slot_rows){0};
    arena_init(&rows->arena);
    rig_each_row(rig, rows_add, rows);
}

static void rows_free(struct slot_rows *rows)
{
    free(rows->all);
    arena_deinit(&rows->arena);
}

static size_t rows_lower(const struct slot_rows *rows, struct bytes key)
{
    size_t lo = 0;
    size_t hi = rows->count;
    while (lo < hi) {
        const size_t mid = lo + (hi - lo) / 2;
        if (bytes_cmp(rows->all[mid].key, key) < 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

static const struct slot_row *row_at(const struct slot_rows *rows, const struct key *key)
{
    const size_t at = rows_lower(rows, key_bytes(key));
    return at < rows->count && bytes_eq(rows->all[at].key, key_bytes(key)) ? &rows->all[at] : NULL;
}

static uint32_t rows_below(const struct slot_rows *rows, struct bytes prefix)
{
    uint32_t count = 0;
    for (size_t i = rows_lower(rows, prefix);
         i < rows->count && bytes_starts(rows->all[i].key, prefix); i++) {
        count++;
    }
    return count;
}

static void queue_key(struct key *key, enum key_table table, struct bytes queue_ref)
{
    key_table(key, table);
    memcpy(key->b + key->len, queue_ref.ptr, queue_ref.len);
    key->len += queue_ref.len;
}

static uint32_t count_below(struct rig *rig, struct bytes prefix)
{
    struct slot_rows rows;
    rows_load(rig, &rows);
    const uint32_t count = rows_below(&rows, prefix);
    rows_free(&rows);
    return count;
}

static uint32_t queue_rows(struct rig *rig, enum key_table table, const char *tenant,
                           const char *queue)
{
    struct key job;
    struct key ref;
    struct key prefix;
    key_job_ref(&job, bytes_str(tenant), BYTES_LIT("x"));
    key_queue_ref(&ref, job_ref_tenant(key_bytes(&job)), bytes_str(queue));
    queue_key(&prefix, table, key_bytes(&ref));
    return count_below(rig, key_bytes(&prefix));
}

uint32_t holders_of(struct rig *rig, const char *tenant, const char *queue)
{
    return queue_rows(rig, TABLE_HOLDER, tenant, queue);
}

uint32_t waiters_of(struct rig *rig, const char *tenant, const char *queue)
{
    return queue_rows(rig, TABLE_WAITER, tenant, queue);
}

uint32_t holders(struct rig *rig, const char *queue)
{
    return holders_of(rig, T, queue);
}

uint32_t waiters(struct rig *rig, const char *queue)
{
    return waiters_of(rig, T, queue);
}

uint32_t rows_in(struct rig *rig, enum key_table table)
{
    struct key key;
    key_table(&key, table);
    return count_below(rig, key_bytes(&key));
}

bool has_meta(struct rig *rig, enum key_meta what)
{
    struct key key;
    key_meta(&key, what);
    return count_below(rig, key_bytes(&key)) != 0;
}

/* --- what must hold between them --- */

static bool dropped_holders;

void slots_dropped(void)
{
    dropped_holders = true;
}

struct slot_token {
    enum key_table table;
    struct bytes key; /* of its row */
    struct bytes ref;
    struct bytes group; /* known with its limits */
    struct uuid task_id;
    bool has_chain;
    uint32_t passed;
};

static bool token_read(struct slot_rows *rows, const struct slot_row *row, struct slot_token *ret)
{
    const enum key_table table = (enum key_table)row->key.ptr[0];
    *ret = (struct slot_token){.table = table, .key = row->key};
    if (table == TABLE_LEASE) {
        struct lease_rec lease;
        assert_true(lease_decode(row->value, &lease));
        ret->ref = bytes_of(row->key.ptr + 1, row->key.len - 1);
        ret->task_id = lease.task_id;
        ret->has_chain = lease.limit_count != 0;
        ret->passed = lease.passed;
        return true;
    }
    if (table != TABLE_READY && table != TABLE_TIMER && table != TABLE_WAITER) {
        return false;
    }
    struct task_rec task;
    assert_true(task_decode(row->value, &task));
    ret->ref = arena_copy(&rows->arena, task.job_ref);
    ret->has_chain = task.has_chain;
    ret->task_id = task.chain.task_id;
    ret->passed = task.chain.passed;
    return true;
}

static void token_limits(struct slot_rows *rows, struct slot_token *token, struct limits *ret)
{
    struct key key;
    struct info info;
    key_by_ref(&key, TABLE_INFO, token->ref);
    const struct slot_row *row = row_at(rows, &key);
    assert_non_null(row);
    assert_true(info_decode(row->value, &info));
    assert_int_equal(info.limit_count != 0, token->has_chain);
    token->group = info.group;
    *ret = (struct limits){0};
    if (token->has_chain) {
        assert_true(limits_decode(&rows->arena, info.limits, info.limit_count, ret));
    }
}

static void limit_queue(struct key *ref, const struct slot_token *token, const struct limit *limit)
{
    limit_queue_ref(ref, job_ref_tenant(token->ref), limit, token->group);
}

/* SE1: a token holds the slots of the limits behind it. */
static uint32_t token_slots(struct slot_rows *rows, struct slot_token *token)
{
    struct limits limits;
    token_limits(rows, token, &limits);
    uint32_t count = 0;
    assert_true(token->passed <= limits.count);
    if (limits.items == NULL) {
        return 0;
    }
    for (uint32_t i = 0; i < token->passed; i++) {
        const struct limit *limit = &limits.items[i];
        if (limit->kind == LIMIT_RATE || limit->repeated) {
            continue;
        }
        struct key ref;
        struct key key;
        limit_queue(&ref, token, limit);
        key_holder(&key, key_bytes(&ref), &token->task_id);
        const struct slot_row *row = row_at(rows, &key);
        if (row == NULL && dropped_holders) {
            continue;
        }
        assert_non_null(row);
        struct holder_rec rec;
        assert_true(holder_decode(row->value, &rec));
        assert_int_equal(rec.index, i);
        count++;
    }
    if (token->table == TABLE_WAITER) {
        assert_true(token->passed < limits.count);
        struct key ref;
        struct key key;
        limit_queue(&ref, token, &limits.items[token->passed]);
        key_waiter_line(&key, key_bytes(&ref), limits.items[token->passed].line);
        assert_true(bytes_starts(token->key, key_bytes(&key)));
    } else if (token->table == TABLE_READY) {
        assert_true(token->passed == limits.count ||
                    limits.items[token->passed].kind == LIMIT_RATE);
    }
    return count;
}

/*
 * The largest maximum among a queue's holders; UINT32_MAX if one of them floats or is not to be
 * found.
 */
static uint32_t holders_max(struct slot_rows *rows, const struct slot_row *first, struct bytes ref)
{
    uint32_t max = 0;
    for (const struct slot_row *row = first; row < rows->all + rows->count; row++) {
        struct bytes queue;
        struct uuid task_id;
        if (row->key.ptr[0] != TABLE_HOLDER || !key_holder_parse(row->key, &queue, &task_id) ||
            !bytes_eq(queue, ref)) {
            break;
        }
        struct holder_rec rec;
        assert_true(holder_decode(row->value, &rec));
        struct key job;
        const struct bytes tenant = job_ref_tenant(ref);
        key_table(&job, TABLE_INFO);
        memcpy(job.b + job.len, tenant.ptr, tenant.len);
        job.len += tenant.len;
        memcpy(job.b + job.len, rec.job_id.ptr, rec.job_id.len);
        job.len += rec.job_id.len;
        const struct slot_row *info_row = row_at(rows, &job);
        struct info info;
        struct limits limits;
        assert_non_null(info_row);
        assert_true(info_decode(info_row->value, &info));
        assert_true(limits_decode(&rows->arena, info.limits, info.limit_count, &limits));
        assert_true(rec.index < limits.count);
        const struct line_id line = limits.items[rec.index].line;
        max = line.max > max ? line.max : max;
    }
    return max;
}

/*
 * JA12: the newest holder was let in below its own maximum, so there are at most as many as the
 * largest one.
 */
static void check_holders(struct slot_rows *rows, uint32_t expected)
{
    struct key key;
    key_table(&key, TABLE_HOLDER);
    assert_int_equal(rows_below(rows, key_bytes(&key)), expected);
    struct bytes last = BYTES_NONE;
    for (size_t i = rows_lower(rows, key_bytes(&key));
         i < rows->count && rows->all[i].key.ptr[0] == TABLE_HOLDER; i++) {
        struct bytes ref;
        struct uuid task_id;
        assert_true(key_holder_parse(rows->all[i].key, &ref, &task_id));
        if (last.len != 0 && bytes_eq(last, ref)) {
            continue;
        }
        last = ref;
        struct key prefix;
        queue_key(&prefix, TABLE_HOLDER, ref);
        assert_true(rows_below(rows, key_bytes(&prefix)) <= holders_max(rows, &rows->all[i], ref));
    }
}

static uint32_t line_capacity(struct slot_rows *rows, struct bytes ref, struct line_id line)
{
    if (!line.floating) {
        return line.max;
    }
    struct key key;
    struct floating_rec rec;
    key_queue(&key, ref, QUEUE_FLOATING);
    const struct slot_row *row = row_at(rows, &key);
    assert_non_null(row);
    assert_true(floating_decode(row->value, &rec));
    return rec.value < line.max ? rec.value : line.max;
}

/* A line of a rate limit has a row that open finds, exactly while tokens wait in it. */
static bool check_throttle(struct slot_rows *rows, struct bytes ref)
{
    uint8_t scratch[KEY_BYTES_MAX];
    struct bytes limiter;
    struct bytes group;
    struct key key;
    key_meta_ref(&key, META_THROTTLE, ref);
    const bool throttle = throttle_ref_parse(ref, scratch, &limiter, &group);
    assert_int_equal(row_at(rows, &key) != NULL, throttle);
    return throttle;
}

/* SE4, and no free slot that a waiter could have. Returns how many waiters the record counts. */
static uint64_t check_queue(struct slot_rows *rows, struct bytes ref, struct bytes value)
{
    struct bytes at;
    uint32_t lines = 0;
    uint64_t total = 0;
    assert_true(queue_decode(value, &at, &lines));
    struct key prefix;
    queue_key(&prefix, TABLE_HOLDER, ref);
    const uint32_t held = rows_below(rows, key_bytes(&prefix));
    struct key grant;
    key_meta_ref(&grant, META_GRANT, ref);
    struct line_rec line;
    for (uint32_t i = 0; i < lines; i++) {
        assert_true(line_next(&at, &line));
        key_waiter_line(&prefix, ref, line.id);
        assert_int_equal(line.count, rows_below(rows, key_bytes(&prefix)));
        assert_true(line.count != 0);
        assert_true(held >= line_capacity(rows, ref, line.id) || row_at(rows, &grant) != NULL);
        total += line.count;
    }
    return total;
}

static void check_queues(struct slot_rows *rows)
{
    struct key key;
    uint64_t total = 0;
    uint32_t throttles = 0;
    key_table(&key, TABLE_QUEUE);
    for (size_t i = rows_lower(rows, key_bytes(&key));
         i < rows->count && rows->all[i].key.ptr[0] == TABLE_QUEUE; i++) {
        const struct bytes whole = rows->all[i].key;
        const struct bytes ref = bytes_of(whole.ptr + 1, whole.len - 2);
        if (whole.ptr[whole.len - 1] == QUEUE_LINES) {
            total += check_queue(rows, ref, rows->all[i].value);
            throttles += check_throttle(rows, ref);
        }
    }
    key_meta(&key, META_THROTTLE);
    assert_int_equal(throttles, rows_below(rows, key_bytes(&key)));
    key_table(&key, TABLE_WAITER);
    assert_int_equal(total, rows_below(rows, key_bytes(&key)));
}

/* SE3: as many tokens as jobs that have not ended. */
static void check_jobs(struct slot_rows *rows, uint32_t tokens)
{
    struct key key;
    uint32_t open = 0;
    key_table(&key, TABLE_INFO);
    for (size_t i = rows_lower(rows, key_bytes(&key));
         i < rows->count && rows->all[i].key.ptr[0] == TABLE_INFO; i++) {
        struct state state = {.status = JOB_SCHEDULED};
        key_by_ref(&key, TABLE_STATE, bytes_of(rows->all[i].key.ptr + 1, rows->all[i].key.len - 1));
        const struct slot_row *row = row_at(rows, &key);
        assert_true(row == NULL || state_decode(row->value, &state));
        open += !job_status_terminal(state.status);
    }
    assert_int_equal(open, tokens);
}

static void check_rows(struct rig *rig, uint32_t *ret_holders)
{
    struct slot_rows rows;
    rows_load(rig, &rows);
    uint32_t tokens = 0;
    uint32_t slots = 0;
    for (size_t i = 0; i < rows.count; i++) {
        struct slot_token token;
        if (token_read(&rows, &rows.all[i], &token)) {
            tokens++;
            slots += token_slots(&rows, &token);
        }
    }
    check_jobs(&rows, tokens);
    check_holders(&rows, slots);
    check_queues(&rows);
    *ret_holders = slots;
    rows_free(&rows);
}

void slots_check(struct rig *rig)
{
    uint32_t slots = 0;
    check_rows(rig, &slots);
    if (rig_is_open(rig)) { /* SE2 */
        assert_int_equal(core_stats(rig_core(rig)).holders, slots);
        assert_int_equal(core_stats(rig_core(rig)).corrupt_rows, 0);
    }
}

static void watch_batch(struct rig *rig)
{
    uint32_t slots = 0;
    check_rows(rig, &slots);
}

void slots_watch(struct rig *rig)
{
    dropped_holders = false;
    rig->on_batch = watch_batch;
}

void close_checked(struct rig *rig)
{
    slots_check(rig);
    close_all(rig);
}

/* --- running --- */

size_t lease_some(struct rig *rig, uint32_t count, struct uuid *task_ids)
{
    struct call *call = poll_call(count, 0);
    rig_do(rig, call);
    const size_t got = poll_count(call);
    for (size_t i = 0; i < got; i++) {
        task_ids[i] = poll_task(call, i)->task_id;
    }
    rig_call_free(call);
    return got;
}

struct uuid task_of(struct rig *rig, const char *tenant, const char *id)
{
    struct call *call = rig_call(CMD_GET_JOB, tenant, id);
    rig_do(rig, call);
    assert_int_equal(call->cmd.rc.code, SILO_OK);
    assert_true(call->cmd.result.job.running);
    const struct uuid task_id = call->cmd.result.job.lease_task_id;
    rig_call_free(call);
    return task_id;
}

void end_job(struct rig *rig, const char *id, enum attempt_status how)
{
    const struct uuid task_id = task_of(rig, T, id);
    assert_int_equal(report(rig, &task_id, how), SILO_OK);
}

#define DRAIN_ROUNDS 2000
#define DRAIN_TASKS 256

size_t drain(struct rig *rig)
{
    static struct uuid task_ids[DRAIN_TASKS];
    size_t total = 0;
    int quiet = 0;
    for (int round = 0; round < DRAIN_ROUNDS && quiet < 3; round++) {
        const size_t got = lease_some(rig, DRAIN_TASKS, task_ids);
        struct call *calls[DRAIN_TASKS];
        for (size_t i = 0; i < got; i++) {
            calls[i] = report_call(&task_ids[i], ATTEMPT_SUCCEEDED, "");
            rig_send(rig, calls[i]);
        }
        rig_settle(rig);
        for (size_t i = 0; i < got; i++) {
            assert_int_equal(calls[i]->cmd.rc.code, SILO_OK);
            rig_call_free(calls[i]);
        }
        total += got;
        quiet = got == 0 ? quiet + 1 : 0;
        if (got == 0) {
            rig_pass(rig, LEASE_MS + 1000); /* leases nobody holds any more, starts to come */
        }
    }
    assert_int_equal(quiet, 3);
    slots_check(rig);
    assert_int_equal(rows_in(rig, TABLE_HOLDER), 0); /* SE13 */
    assert_int_equal(rows_in(rig, TABLE_WAITER), 0);
    assert_int_equal(rows_in(rig, TABLE_READY), 0);
    assert_int_equal(rows_in(rig, TABLE_TIMER), 0);
    assert_int_equal(rows_in(rig, TABLE_LEASE), 0);
    return total;
}

void reopen(struct rig *rig)
{
    rig_settle(rig);
    rig_kill(rig, RIG_LOSE);
    rig_start(rig);
    rig_settle(rig);
    assert_true(rig_is_open(rig));
    slots_check(rig);
}

uint64_t batches(struct rig *rig)
{
    return rig_batches(rig);
}

enum silo_code expedite(struct rig *rig, const char *id)
{
    return on_job(rig, CMD_EXPEDITE_JOB, id);
}

struct uuid lease_this(struct rig *rig, const char *id)
{
    struct call *call = rig_call(CMD_LEASE_JOB, T, id);
    call->cmd.args.lease_job.worker_id = BYTES_LIT("w1");
    rig_do(rig, call);
    const struct uuid task_id = poll_task(call, 0)->task_id;
    rig_call_free(call);
    return task_id;
}

uint64_t drop_holders(struct rig *rig, const char *tenant)
{
    struct call *call = rig_call(CMD_DROP_HOLDERS, tenant, "any");
    slots_dropped();
    rig_do(rig, call);
    assert_int_equal(call->cmd.rc.code, SILO_OK);
    const uint64_t dropped = call->cmd.result.dropped;
    rig_call_free(call);
    return dropped;
}

/* --- behind its back --- */

void key_of_job(struct rig *rig, enum key_table table, const char *id, struct key *ret)
{
    struct slot_rows rows;
    struct key job;
    uint32_t found = 0;
    key_job_ref(&job, BYTES_LIT(T), bytes_str(id));
    rows_load(rig, &rows);
    for (size_t i = 0; i < rows.count; i++) {
        struct slot_token token;
        const struct slot_row *row = &rows.all[i];
        const bool token_row = token_read(&rows, row, &token);
        const struct bytes ref =
            token_row ? token.ref : bytes_of(row->key.ptr + 1, row->key.len - 1);
        if (row->key.ptr[0] == table && bytes_eq(ref, key_bytes(&job))) {
            memcpy(ret->b, row->key.ptr, row->key.len);
            ret->len = row->key.len;
            found++;
        }
    }
    rows_free(&rows);
    assert_int_equal(found, 1);
}

/* --- floating limits --- */

static void give_back(struct rig *rig, const struct call *poll)
{
    for (size_t i = 0; i < poll_count(poll); i++) {
        const struct uuid task_id = poll_task(poll, i)->task_id;
        struct call *call = rig_call(CMD_GIVE_BACK, NULL, NULL);
        call->cmd.args.give_back = (struct give_back_args){.task_ids = &task_id, .count = 1};
        assert_int_equal(finish(rig, call), SILO_OK);
    }
}

size_t refreshes(struct rig *rig, const char *group, struct refresh_task *ret_first)
{
    struct call *call = poll_call(1, 0);
    call->cmd.args.poll.group = bytes_str(group);
    rig_do(rig, call);
    assert_int_equal(call->cmd.rc.code, SILO_OK);
    const struct poll_result *result = &call->cmd.result.poll;
    const size_t count = result->refresh_count;
    if (count != 0) {
        *ret_first = result->refreshes[0]; /* its bytes go with the call */
    }
    give_back(rig, call);
    rig_call_free(call);
    return count;
}

struct uuid refresh_one(struct rig *rig)
{
    struct refresh_task task = {0};
    assert_int_equal(refreshes(rig, "g", &task), 1);
    return task.task_id;
}

enum silo_code refresh_report(struct rig *rig, const struct uuid *task_id, bool success,
                              uint32_t value)
{
    struct call *call = rig_call(CMD_REPORT_REFRESH, NULL, NULL);
    call->cmd.args.report_refresh = (struct report_refresh_args){
        .has_task_id = true, .task_id = *task_id, .success = success, .value = value};
    return finish(rig, call);
}
