/* shard/audit_test.c - see audit_test.h. Names like SE7 are those of docs/internals/rules.md. */
#include "shard/audit_test.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <xxhash.h>

#include "base/assert.h"
#include "base/limits.h"

static bool wrong(struct audit *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static bool wrong(struct audit *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(a->error, sizeof a->error, fmt, ap);
    va_end(ap);
    return false;
}

#define CHECK(cond, ...)                             \
    do {                                             \
        if (!(cond)) {                               \
            return wrong(a, #cond ": " __VA_ARGS__); \
        }                                            \
    } while (0)

/* printf("%.*s") arguments: the job's id. */
#define JOB_FMT(job)                                        \
    (int)((job)->ref.len - job_ref_tenant((job)->ref).len), \
        (const char *)(job)->ref.ptr + job_ref_tenant((job)->ref).len

/* --- rows --- */

void audit_init(struct audit *a, enum dispatch_order order)
{
    *a = (struct audit){.order = order};
}

void audit_clear(struct audit *a)
{
    for (size_t i = 0; i < a->count; i++) {
        free((void *)(uintptr_t)a->rows[i].key.ptr);
        free((void *)(uintptr_t)a->rows[i].value.ptr);
    }
    a->count = 0;
    a->job_count = 0;
}

void audit_deinit(struct audit *a)
{
    audit_clear(a);
    free(a->rows);
    free(a->jobs);
}

static size_t row_lower(const struct audit *a, struct bytes key)
{
    size_t lo = 0;
    size_t hi = a->count;
    while (lo < hi) {
        const size_t mid = lo + (hi - lo) / 2;
        if (bytes_cmp(a->rows[mid].key, key) < 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

const struct audit_row *audit_row(const struct audit *a, struct bytes key)
{
    const size_t at = row_lower(a, key);
    return at < a->count && bytes_eq(a->rows[at].key, key) ? &a->rows[at] : NULL;
}

static struct bytes copy(struct bytes b)
{
    uint8_t *to = xmalloc(b.len + 1);
    if (b.len != 0) {
        memcpy(to, b.ptr, b.len);
    }
    return bytes_of(to, b.len);
}

static void row_put(struct audit *a, struct bytes key, struct bytes value)
{
    const size_t at = row_lower(a, key);
    if (at < a->count && bytes_eq(a->rows[at].key, key)) {
        free((void *)(uintptr_t)a->rows[at].value.ptr);
        a->rows[at].value = copy(value);
        return;
    }
    if (a->count == a->cap) {
        a->cap = a->cap != 0 ? a->cap * 2 : 256;
        a->rows = xrealloc(a->rows, a->cap * sizeof a->rows[0]);
    }
    memmove(&a->rows[at + 1], &a->rows[at], (a->count - at) * sizeof a->rows[0]);
    a->rows[at] = (struct audit_row){.key = copy(key), .value = copy(value)};
    a->count++;
}

static void row_del(struct audit *a, struct bytes key)
{
    const size_t at = row_lower(a, key);
    if (at < a->count && bytes_eq(a->rows[at].key, key)) {
        free((void *)(uintptr_t)a->rows[at].key.ptr);
        free((void *)(uintptr_t)a->rows[at].value.ptr);
        a->count--;
        memmove(&a->rows[at], &a->rows[at + 1], (a->count - at) * sizeof a->rows[0]);
    }
}

static void row_load(void *context, struct bytes key, struct bytes value)
{
    row_put(context, key, value);
}

void audit_load(struct audit *a, struct store *store, const char *path, bool durable)
{
    audit_clear(a);
    if (durable) {
        store_mem_each_durable(store, path, row_load, a);
    } else {
        store_mem_each_applied(store, path, row_load, a);
    }
}

static uint32_t le(const uint8_t *p, int bytes)
{
    uint32_t v = 0;
    for (int i = bytes - 1; i >= 0; i--) {
        v = v << 8 | p[i];
    }
    return v;
}

bool audit_op_next(struct bytes *at, struct audit_op *ret)
{
    if (at->len == 0) {
        return false;
    }
    const size_t key_len = le(at->ptr + 2, 2);
    const size_t value_len = le(at->ptr + 4, 4);
    ret->del = at->ptr[0] == 1;
    ret->key = bytes_of(at->ptr + 8, key_len);
    ret->value = bytes_of(at->ptr + 8 + key_len, value_len);
    *at = bytes_of(at->ptr + 8 + key_len + value_len, at->len - 8 - key_len - value_len);
    return true;
}

void audit_apply(struct audit *a, struct bytes ops)
{
    struct audit_op op;
    while (audit_op_next(&ops, &op)) {
        if (op.del) {
            row_del(a, op.key);
        } else {
            row_put(a, op.key, op.value);
        }
    }
    a->job_count = 0;
}

/* --- jobs --- */

const struct audit_job *audit_find(const struct audit *a, struct bytes ref)
{
    size_t lo = 0;
    size_t hi = a->job_count;
    while (lo < hi) {
        const size_t mid = lo + (hi - lo) / 2;
        const int c = bytes_cmp(a->jobs[mid].ref, ref);
        if (c == 0) {
            return &a->jobs[mid];
        }
        if (c < 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return NULL;
}

static struct audit_job *job_of(struct audit *a, struct bytes ref)
{
    return (struct audit_job *)(uintptr_t)audit_find(a, ref);
}

static bool info_take(struct audit *a, const struct audit_row *row)
{
    if (a->job_count == a->job_cap) {
        a->job_cap = a->job_cap != 0 ? a->job_cap * 2 : 64;
        a->jobs = xrealloc(a->jobs, a->job_cap * sizeof a->jobs[0]);
    }
    struct audit_job *job = &a->jobs[a->job_count++];
    *job = (struct audit_job){.ref = bytes_of(row->key.ptr + 1, row->key.len - 1), .attempt = 1};
    CHECK(info_decode(row->value, &job->info), "an info row");
    CHECK(job->info.due_ms == (job->info.requested_start_ms > 0 ? job->info.requested_start_ms
                                                                : job->info.enqueue_ms),
          "the first place");
    return true;
}

static bool state_take(struct audit *a, const struct audit_row *row)
{
    struct audit_job *job = job_of(a, bytes_of(row->key.ptr + 1, row->key.len - 1));
    CHECK(job != NULL, "a state row without a job");
    CHECK(state_decode(row->value, &job->state), "a state row");
    job->has_state = true;
    job->state_row = row->value;
    job->status = job->state.status;
    job->mark = job->state.has_mark;
    job->attempt = job->state.attempt;
    CHECK(job->status != JOB_RUNNING, "a stored Running");
    return true;
}

/* Where the pending attempt stands. */
static struct place job_place(const struct audit_job *job)
{
    return (struct place){.due_ms = job->has_state ? job->state.due_ms : job->info.due_ms,
                          .arrival = job->has_state ? job->state.arrival : job->info.arrival,
                          .priority = job->info.priority};
}

static bool place_eq(const struct place *p, const struct place *q)
{
    return p->due_ms == q->due_ms && p->arrival == q->arrival && p->priority == q->priority;
}

static size_t group_len(struct bytes key)
{
    size_t at = 1;
    while (at + 1 < key.len && !(key.ptr[at] == 0 && key.ptr[at + 1] == 1)) {
        at++;
    }
    return at - 1;
}

/* SE3, SE9: the token of a job that is not at its end, at the place its state tells. */
static bool token_take(struct audit *a, const struct audit_row *row, bool timer)
{
    struct task_rec rec;
    struct place place;
    const size_t name_len = timer ? 0 : group_len(row->key);
    CHECK(task_decode(row->value, &rec), "a task row");
    CHECK(timer ? key_timer_parse(row->key, &place)
                : key_ready_parse(row->key, a->order, name_len + 3, &place),
          "a task key");
    struct audit_job *job = job_of(a, rec.job_ref);
    CHECK(job != NULL, "a task without a job");
    const struct place wanted = job_place(job);
    CHECK(place_eq(&place, &wanted), "SE9: the task of %.*s stands elsewhere", JOB_FMT(job));
    CHECK(bytes_eq(timer ? rec.group : bytes_of(row->key.ptr + 1, name_len), job->info.group),
          "group");
    CHECK(rec.attempt == job->attempt, "attempt of a task");
    CHECK(rec.relative == (job->has_state ? job->state.relative : 1), "relative attempt of a task");
    job->where = timer ? AT_TIMER : AT_READY;
    job->tokens++;
    return true;
}

/* SE11 and what reporting needs of the job. */
static bool lease_take(struct audit *a, const struct audit_row *row)
{
    struct audit_job *job = job_of(a, bytes_of(row->key.ptr + 1, row->key.len - 1));
    CHECK(job != NULL, "a lease without a job");
    CHECK(lease_decode(row->value, &job->lease), "a lease row");
    const struct lease_rec *lease = &job->lease;
    const struct place wanted = job_place(job);
    const struct place place = {
        .due_ms = lease->due_ms, .arrival = lease->arrival, .priority = lease->priority};
    CHECK(place_eq(&place, &wanted), "SE11: the place of a lease");
    CHECK(lease->attempt == job->attempt, "SE11: attempt of a lease");
    CHECK(lease->relative == (job->has_state ? job->state.relative : 1),
          "relative attempt of a lease");
    CHECK(lease->enqueue_ms == job->info.enqueue_ms && bytes_eq(lease->group, job->info.group),
          "facts of a lease");
    CHECK(lease->has_retry == job->info.has_retry &&
              lease->retry.retry_count == job->info.retry.retry_count,
          "retry policy of a lease");
    CHECK(a->wall_fell || lease->started_ms >= lease->due_ms, "leased before it was due");
    CHECK(!job_status_terminal(job->status), "JA9: a lease of a job at its end");
    job->mark = lease->has_mark;
    job->status = JOB_RUNNING;
    job->where = AT_LEASE;
    job->tokens++;
    return true;
}

/* --- attempts and outcomes --- */

/* The formula of the design, written once more. */
static int64_t delay_ms(const struct retry_policy *policy, uint32_t failed,
                        const struct uuid *task_id)
{
    double d = (double)policy->initial_ms;
    for (uint32_t i = 1; i < failed; i++) {
        d *= policy->factor == 0 ? 2.0 : policy->factor;
    }
    if (policy->jitter) {
        d *= 1.0 + (double)(XXH64(task_id->b, 16, 0) >> 11) * 0x1p-53;
    }
    const int64_t ms = d >= 9.2e18 ? INT64_MAX : (int64_t)(d + 0.5);
    return policy->max_ms > 0 && ms > policy->max_ms ? policy->max_ms : ms;
}

static bool blob_check(struct audit *a, const struct audit_job *job, const struct blob_ref *ref,
                       enum key_blob kind, uint32_t attempt, size_t *blobs)
{
    if (!ref->is_blob) {
        CHECK(ref->inline_bytes.len <= BLOB_INLINE_MAX || kind == BLOB_RESULT, "inline bytes");
        return true;
    }
    struct key key;
    key_blob(&key, job->ref, kind, attempt);
    const struct audit_row *row = audit_row(a, key_bytes(&key));
    CHECK(row != NULL, "a blob that is referenced is there");
    CHECK(row->value.len == ref->len && XXH64(row->value.ptr, row->value.len, 0) == ref->hash,
          "bytes of a blob");
    ++*blobs;
    return true;
}

static bool attempt_check(struct audit *a, const struct audit_job *job, uint32_t number,
                          const struct attempt *attempt, int64_t due_ms)
{
    CHECK(attempt->outcome.status != ATTEMPT_RUNNING, "a stored attempt that runs");
    CHECK(attempt->relative == number, "relative attempt number");
    CHECK(a->wall_fell || attempt->started_ms >= due_ms,
          "attempt %u of %.*s began before it was due", number, JOB_FMT(job));
    CHECK(a->wall_fell || attempt->outcome.finished_ms >= attempt->started_ms,
          "finished before started");
    return true;
}

/* SE12: attempts are 1..n without gaps; each is due when the policy says. */
static bool attempts_check(struct audit *a, const struct audit_job *job, size_t *rows)
{
    int64_t due_ms = job->info.due_ms;
    for (uint32_t n = 1; n < job->attempt; n++) {
        struct key key;
        key_attempt(&key, job->ref, n);
        const struct audit_row *row = audit_row(a, key_bytes(&key));
        struct attempt attempt;
        CHECK(row != NULL, "SE12: attempt %u of %.*s is missing", n, JOB_FMT(job));
        CHECK(attempt_decode(row->value, &attempt), "an attempt row");
        if (!attempt_check(a, job, n, &attempt, due_ms)) {
            return false;
        }
        CHECK(attempt.outcome.status == ATTEMPT_FAILED,
              "an attempt followed by another has failed");
        CHECK(job->info.has_retry && n <= job->info.retry.retry_count, "a retry beyond the policy");
        due_ms = attempt.outcome.finished_ms + delay_ms(&job->info.retry, n, &attempt.task_id);
        ++*rows;
    }
    if (job->has_state) {
        const int64_t off = job->state.due_ms - due_ms;
        CHECK(off >= -1 && off <= 1, "the retry of %.*s is due at %lld, not %lld", JOB_FMT(job),
              (long long)job->state.due_ms, (long long)due_ms);
        CHECK(job->state.relative == job->state.attempt, "relative attempt of a state");
    }
    return true;
}

static bool end_check(struct audit *a, const struct audit_job *job)
{
    const struct state *s = &job->state;
    const struct outcome *outcome = &s->final.outcome;
    CHECK(s->has_outcome && s->changed_ms == outcome->finished_ms, "an end has its outcome");
    if (!s->by_attempt) {
        CHECK(s->status == JOB_CANCELLED && s->has_mark && outcome->status == ATTEMPT_CANCELLED,
              "ended without an attempt");
        return true;
    }
    if (!attempt_check(a, job, s->attempt, &s->final, s->due_ms)) {
        return false;
    }
    switch (outcome->status) {
    case ATTEMPT_SUCCEEDED:
        CHECK(s->status == JOB_SUCCEEDED, "a success");
        break;
    case ATTEMPT_CANCELLED:
        CHECK(s->status == JOB_CANCELLED, "a cancelled attempt");
        break;
    case ATTEMPT_FAILED: {
        const bool left = job->info.has_retry && s->attempt <= job->info.retry.retry_count;
        CHECK(s->status == (s->has_mark && left ? JOB_CANCELLED : JOB_FAILED), "a failure");
        CHECK(s->has_mark || !left, "a retry was left");
        break;
    }
    case ATTEMPT_RUNNING:
        break;
    }
    return true;
}

bool audit_attempt(const struct audit *a, const struct audit_job *job, const struct uuid *task_id,
                   struct attempt *ret)
{
    for (uint32_t n = 1; n < job->attempt; n++) {
        struct key key;
        key_attempt(&key, job->ref, n);
        const struct audit_row *row = audit_row(a, key_bytes(&key));
        if (row != NULL && attempt_decode(row->value, ret) && uuid_eq(&ret->task_id, task_id)) {
            return true;
        }
    }
    if (job->has_state && job->state.by_attempt && uuid_eq(&job->state.final.task_id, task_id)) {
        *ret = job->state.final;
        return true;
    }
    return false;
}

/* --- one job --- */

static enum key_index index_kind(enum job_status status)
{
    switch (status) {
    case JOB_SUCCEEDED:
        return INDEX_SUCCEEDED;
    case JOB_FAILED:
        return INDEX_FAILED;
    case JOB_CANCELLED:
        return INDEX_CANCELLED;
    case JOB_SCHEDULED:
    case JOB_RUNNING:
        break;
    }
    return INDEX_OPEN;
}

struct tally {
    size_t attempts, metadata, blobs;
};

static bool job_check(struct audit *a, const struct audit_job *job, struct tally *tally)
{
    const bool terminal = job_status_terminal(job->status);
    CHECK(job->tokens == (terminal ? 0u : 1u), "SE3: %.*s (%s) has %u tokens", JOB_FMT(job),
          job_status_name(job->status), job->tokens);
    struct key key;
    key_index(&key, job->ref, index_kind(job->status),
              terminal ? job->state.changed_ms : job->info.enqueue_ms);
    CHECK(audit_row(a, key_bytes(&key)) != NULL, "SE7: index row of %.*s", JOB_FMT(job));
    struct bytes at = job->info.metadata;
    struct bytes name;
    struct bytes value;
    while (pair_next(&at, &name, &value)) {
        key_metadata(&key, job->ref, name, value);
        CHECK(audit_row(a, key_bytes(&key)) != NULL, "SE8: metadata row of %.*s", JOB_FMT(job));
        tally->metadata++;
    }
    if (!attempts_check(a, job, &tally->attempts) || (terminal && !end_check(a, job)) ||
        !blob_check(a, job, &job->info.payload, BLOB_PAYLOAD, 0, &tally->blobs)) {
        return false;
    }
    return !terminal || blob_check(a, job, &job->state.final.outcome.data, BLOB_RESULT,
                                   job->state.attempt, &tally->blobs);
}

/* --- the shard --- */

static void count_job(struct counts *counts, const struct audit_job *job)
{
    counts->open += !job_status_terminal(job->status);
    counts->succeeded += job->status == JOB_SUCCEEDED;
    counts->failed += job->status == JOB_FAILED;
    counts->cancelled += job->status == JOB_CANCELLED;
}

static bool counts_eq(const struct counts *x, const struct counts *y)
{
    return x->open == y->open && x->succeeded == y->succeeded && x->failed == y->failed &&
           x->cancelled == y->cancelled;
}

/* SE5, SE6 for one tenant (its part of the references) or, with none, for the shard. */
static bool counter_check(struct audit *a, const struct key *key, struct bytes tenant)
{
    struct counts wanted = {0};
    for (size_t i = 0; i < a->job_count; i++) {
        if (bytes_starts(a->jobs[i].ref, tenant)) {
            count_job(&wanted, &a->jobs[i]);
        }
    }
    const struct audit_row *row = audit_row(a, key_bytes(key));
    struct counts stored = {0};
    CHECK(row == NULL || counts_decode(row->value, &stored), "a counter row");
    CHECK(counts_eq(&wanted, &stored), "SE5/SE6: counter has open %llu, not %llu",
          (unsigned long long)stored.open, (unsigned long long)wanted.open);
    return true;
}

static bool counters_check(struct audit *a)
{
    struct key key;
    key_meta(&key, META_TOTALS);
    if (!counter_check(a, &key, BYTES_NONE)) {
        return false;
    }
    struct bytes last = BYTES_NONE;
    for (size_t i = 0; i < a->job_count; i++) {
        const struct bytes tenant = job_ref_tenant(a->jobs[i].ref);
        if (!bytes_eq(tenant, last)) {
            key_count(&key, a->jobs[i].ref);
            if (!counter_check(a, &key, tenant)) {
                return false;
            }
            last = tenant;
        }
    }
    key_table(&key, TABLE_COUNT);
    for (size_t at = row_lower(a, key_bytes(&key));
         at < a->count && a->rows[at].key.ptr[0] == TABLE_COUNT; at++) {
        key.len = a->rows[at].key.len;
        memcpy(key.b, a->rows[at].key.ptr, key.len);
        if (!counter_check(a, &key, bytes_of(key.b + 1, key.len - 1))) {
            return false;
        }
    }
    return true;
}

static int place_order(const struct place *p, const struct place *q)
{
    if (p->due_ms != q->due_ms) {
        return p->due_ms < q->due_ms ? -1 : 1;
    }
    if (p->priority != q->priority) {
        return p->priority < q->priority ? -1 : 1;
    }
    return (p->arrival > q->arrival) - (p->arrival < q->arrival);
}

/* The low-water mark of a ready row's lane, by walking the group's record. */
static bool low_ready(struct audit *a, const struct audit_row *row)
{
    const size_t len = group_len(row->key);
    struct place place;
    CHECK(key_ready_parse(row->key, a->order, len + 3, &place), "a ready key");
    struct key key;
    key_low_ready(&key, bytes_of(row->key.ptr + 1, len), 0);
    const struct audit_row *record = audit_row(a, key_bytes(&key));
    if (record == NULL) {
        return true;
    }
    const uint8_t lane = a->order == ORDER_PRIORITY ? place.priority : 0;
    struct bytes at = bytes_of(record->value.ptr + 1, record->value.len - 1);
    while (at.len != 0) {
        const uint8_t which = at.ptr[0];
        struct bytes item;
        struct place mark = {0};
        at = bytes_of(at.ptr + 1, at.len - 1);
        CHECK(item_next(&at, &item) &&
                  low_decode(item, &mark.due_ms, &mark.priority, &mark.arrival),
              "a low-water row");
        CHECK(which != lane || place_order(&mark, &place) <= 0,
              "a live ready row below its low-water mark");
    }
    return true;
}

static bool low_timer(struct audit *a, const struct audit_row *row)
{
    struct place place;
    struct place mark = {0};
    struct key key;
    key_meta(&key, META_LOW_TIMER);
    const struct audit_row *record = audit_row(a, key_bytes(&key));
    if (record == NULL) {
        return true;
    }
    CHECK(key_timer_parse(row->key, &place) &&
              low_decode(record->value, &mark.due_ms, &mark.priority, &mark.arrival),
          "the timers' low-water row");
    CHECK(place_order(&mark, &place) <= 0, "a live timer below its low-water mark");
    return true;
}

static bool row_check(struct audit *a, const struct audit_row *row)
{
    switch ((enum key_table)row->key.ptr[0]) {
    case TABLE_INFO:
        return info_take(a, row);
    case TABLE_STATE:
        return state_take(a, row);
    case TABLE_READY:
        return token_take(a, row, false) && low_ready(a, row);
    case TABLE_TIMER:
        return token_take(a, row, true) && low_timer(a, row);
    case TABLE_LEASE:
        return lease_take(a, row);
    case TABLE_ATTEMPT:
    case TABLE_INDEX:
    case TABLE_METADATA:
    case TABLE_COUNT:
    case TABLE_META:
    case TABLE_BLOB:
        return true;
    case TABLE_REQUEST:
    case TABLE_HOLDER:
    case TABLE_QUEUE:
    case TABLE_LIMITER:
    case TABLE_EXPIRY:
        return wrong(a, "a row of table %u in a history without limits and retention",
                     row->key.ptr[0]);
    }
    return wrong(a, "a row of an unknown table %u", row->key.ptr[0]);
}

static bool arrivals_check(struct audit *a)
{
    struct key key;
    key_meta(&key, META_ARRIVAL);
    const struct audit_row *row = audit_row(a, key_bytes(&key));
    uint64_t reserved = 0;
    CHECK(row == NULL || number_decode(row->value, &reserved), "the arrival row");
    for (size_t i = 0; i < a->job_count; i++) {
        CHECK(job_place(&a->jobs[i]).arrival < reserved, "an arrival beyond what is reserved");
    }
    key_meta(&key, META_SHARD);
    CHECK(a->job_count == 0 || audit_row(a, key_bytes(&key)) != NULL, "the shard's own row");
    return true;
}

bool audit_check(struct audit *a)
{
    size_t rows[256] = {0};
    a->job_count = 0;
    for (size_t i = 0; i < a->count; i++) {
        rows[a->rows[i].key.ptr[0]]++;
        if (!row_check(a, &a->rows[i])) {
            return false;
        }
    }
    struct tally tally = {0};
    for (size_t i = 0; i < a->job_count; i++) {
        if (!job_check(a, &a->jobs[i], &tally)) {
            return false;
        }
    }
    CHECK(rows[TABLE_INDEX] == a->job_count, "SE7: %zu index rows of %zu jobs", rows[TABLE_INDEX],
          a->job_count);
    CHECK(rows[TABLE_ATTEMPT] == tally.attempts, "SE12: %zu attempt rows, %zu belong to jobs",
          rows[TABLE_ATTEMPT], tally.attempts);
    CHECK(rows[TABLE_METADATA] == tally.metadata, "SE8: orphans among the metadata rows");
    CHECK(rows[TABLE_BLOB] == tally.blobs, "%zu blobs, %zu are referenced", rows[TABLE_BLOB],
          tally.blobs);
    return counters_check(a) && arrivals_check(a);
}

bool audit_overtaken(const struct audit *a, struct bytes group, const struct place *place,
                     struct bytes batch)
{
    struct key key;
    key_ready_group(&key, group);
    for (size_t at = row_lower(a, key_bytes(&key));
         at < a->count && bytes_starts(a->rows[at].key, key_bytes(&key)); at++) {
        struct place other;
        if (!key_ready_parse(a->rows[at].key, a->order, key.len, &other)) {
            continue;
        }
        const bool better = a->order == ORDER_PRIORITY && other.priority != place->priority
                                ? other.priority < place->priority
                                : place_order(&other, place) < 0;
        bool touched = false;
        struct bytes rest = batch;
        struct audit_op op;
        while (better && audit_op_next(&rest, &op)) {
            touched = touched || bytes_eq(op.key, a->rows[at].key);
        }
        if (better && !touched) {
            return true;
        }
    }
    return false;
}

bool audit_empty(const struct audit *a)
{
    for (size_t i = 0; i < a->count; i++) {
        if (a->rows[i].key.ptr[0] != TABLE_COUNT && a->rows[i].key.ptr[0] != TABLE_META) {
            return false;
        }
    }
    return true;
}
