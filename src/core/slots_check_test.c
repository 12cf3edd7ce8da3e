/*
 * core/slots_check_test.c - see slots_check_test.h. Names like SE1 are those of
 * docs/internals/rules.md.
 */
#include "core/slots_check_test.h"

#include "base/assert.h"
#include "base/test.h"
#include "core/calls_test.h"
#include "core/limit.h"

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
