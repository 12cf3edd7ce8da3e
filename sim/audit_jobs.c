/*
 * sim/audit_jobs.c - one job's attempts, outcome, index, metadata, blobs and expiry; the counters
 * of all.
 */
#include <math.h>

#include "base/limits.h"
#include "sim/audit.h"

/* --- attempts --- */

/* The formula of the design, written once more. */
static int64_t delay_ms(const struct retry_policy *policy, uint32_t failed,
                        const struct uuid *task_id)
{
    double d = (double)policy->initial_ms *
               pow(policy->factor == 0 ? 2.0 : policy->factor, (double)failed - 1);
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
        RULE(a, ref->inline_bytes.len <= BLOB_INLINE_MAX || kind == BLOB_RESULT, "blob",
             "%zu inline bytes of %.*s", ref->inline_bytes.len, JOB_FMT(job));
        return true;
    }
    struct key key;
    key_blob(&key, job->ref, kind, attempt);
    const struct stored_row *row = rows_find(&a->rows, key_bytes(&key));
    RULE(a, row != NULL, "blob", "a blob of %.*s is missing", JOB_FMT(job));
    RULE(a, row->value.len == ref->len && XXH64(row->value.ptr, row->value.len, 0) == ref->hash,
         "blob", "a blob of %.*s has other bytes", JOB_FMT(job));
    ++*blobs;
    return true;
}

static bool attempt_check(struct audit *a, const struct audit_job *job, uint32_t number,
                          const struct attempt *attempt)
{
    const bool imported = (job->history & HISTORY_IMPORTED) != 0;
    RULE(a, attempt->outcome.status != ATTEMPT_RUNNING, "SE12", "a stored attempt of %.*s runs",
         JOB_FMT(job));
    RULE(a,
         job->history != 0 ? attempt->relative >= 1 && attempt->relative <= number
                           : attempt->relative == number,
         "SE12", "attempt %u of %.*s has the relative number %u", number, JOB_FMT(job),
         attempt->relative);
    RULE(a, imported || a->wall_fell || attempt->outcome.finished_ms >= attempt->started_ms, "SE12",
         "attempt %u of %.*s finished before it started", number, JOB_FMT(job));
    return true;
}

static bool has_rate(const struct audit_job *job)
{
    for (uint32_t i = 0; i < job->limits->count; i++) {
        if (job->limits->items[i].kind == LIMIT_RATE) {
            return true;
        }
    }
    return false;
}

/* When the attempt after a failed one is due. */
static bool due_check(struct audit *a, const struct audit_job *job, const struct attempt *failed,
                      uint32_t number, int64_t due_ms)
{
    const bool dated_anew = (job->history & ~HISTORY_LEASED) != 0 || has_rate(job);
    if (dated_anew || failed == NULL) {
        return true;
    }
    const int64_t wanted =
        failed->outcome.finished_ms + delay_ms(&job->info.retry, number, &failed->task_id);
    RULE(a, due_ms - wanted >= -1 && due_ms - wanted <= 1, "retry",
         "the retry of %.*s is due at %lld, not %lld", JOB_FMT(job), (long long)due_ms,
         (long long)wanted);
    return true;
}

bool audit_final(const struct attempt *attempt)
{
    return attempt->outcome.status == ATTEMPT_FAILED &&
           bytes_eq(attempt->outcome.error_code, BYTES_LIT(AUDIT_CODE_FINAL));
}

/* SE12: attempts are 1..n without gaps. */
static bool attempts_check(struct audit *a, const struct audit_job *job, struct audit_tally *tally)
{
    struct attempt attempt = {0};
    for (uint32_t n = 1; n < job->attempt; n++) {
        struct key key;
        key_attempt(&key, job->ref, n);
        const struct stored_row *row = rows_find(&a->rows, key_bytes(&key));
        RULE(a, row != NULL, "SE12", "attempt %u of %.*s is missing", n, JOB_FMT(job));
        RULE(a, attempt_decode(row->value, &attempt), "row", "an attempt row of %.*s",
             JOB_FMT(job));
        tally->attempts++;
        if (!attempt_check(a, job, n, &attempt) ||
            !blob_check(a, job, &attempt.outcome.data, BLOB_RESULT, n, &tally->blobs)) {
            return false;
        }
        const bool revived = (job->history & (HISTORY_RESTARTED | HISTORY_IMPORTED)) != 0;
        RULE(a, revived || attempt.outcome.status == ATTEMPT_FAILED, "SE12",
             "attempt %u of %.*s is followed by another and has not failed", n, JOB_FMT(job));
        RULE(a, attempt.outcome.status != ATTEMPT_SUCCEEDED, "DI7",
             "attempt %u of %.*s succeeded, and another followed", n, JOB_FMT(job));
        RULE(a, revived || (job->info.has_retry && n <= job->info.retry.retry_count), "retry",
             "attempt %u of %.*s was followed by one too many", n, JOB_FMT(job));
        RULE(a, revived || !audit_final(&attempt), "no retry",
             "attempt %u of %.*s was the last by its worker's word, and is followed by another", n,
             JOB_FMT(job));
    }
    return job->attempt == 1 || due_check(a, job, &attempt, job->attempt - 1, job->place.due_ms);
}

static bool end_without_attempt(struct audit *a, const struct audit_job *job)
{
    const struct state *s = &job->state;
    const struct outcome *outcome = &s->final.outcome;
    if (s->status == JOB_CANCELLED) {
        RULE(a, s->has_mark && outcome->status == ATTEMPT_CANCELLED, "T8",
             "%.*s is Cancelled without an attempt and without a mark", JOB_FMT(job));
        return true;
    }
    RULE(a,
         s->status == JOB_FAILED && has_rate(job) && outcome->status == ATTEMPT_FAILED &&
             bytes_eq(outcome->error_code, BYTES_LIT("RATE_LIMIT_EXCEEDED")),
         "T14", "%.*s ended as %s without an attempt", JOB_FMT(job), job_status_name(s->status));
    return true;
}

static bool end_check(struct audit *a, const struct audit_job *job, struct audit_tally *tally)
{
    const struct state *s = &job->state;
    const struct outcome *outcome = &s->final.outcome;
    const bool imported = (job->history & HISTORY_IMPORTED) != 0;
    RULE(a, s->has_outcome && (imported || s->changed_ms == outcome->finished_ms), "JF1",
         "%.*s has ended and has no outcome", JOB_FMT(job));
    if (!s->by_attempt) {
        return imported || end_without_attempt(a, job);
    }
    if (!attempt_check(a, job, s->attempt, &s->final) ||
        !blob_check(a, job, &outcome->data, BLOB_RESULT, s->attempt, &tally->blobs)) {
        return false;
    }
    const bool final = audit_final(&s->final);
    const bool runs_left =
        !final && job->info.has_retry && s->relative <= job->info.retry.retry_count;
    enum job_status wanted = JOB_SUCCEEDED;
    if (outcome->status == ATTEMPT_CANCELLED ||
        (outcome->status == ATTEMPT_FAILED && s->has_mark && runs_left)) {
        wanted = JOB_CANCELLED; /* a marked job is not retried (W9) */
    } else if (outcome->status == ATTEMPT_FAILED) {
        wanted = JOB_FAILED;
    }
    const bool either = imported && (s->has_mark || final); /* the policy may be another by now */
    RULE(a, s->status == wanted || either, final ? "no retry" : "T5",
         "%.*s is %s after an attempt that says %s", JOB_FMT(job), job_status_name(s->status),
         job_status_name(wanted));
    RULE(a, s->status != JOB_FAILED || job->history != 0 || !runs_left, "retry",
         "%.*s failed with a retry left", JOB_FMT(job));
    return true;
}

static bool expiry_check(struct audit *a, const struct audit_job *job)
{
    const bool terminal = job_status_terminal(job->status);
    const int64_t kept =
        job->status == JOB_SUCCEEDED ? a->completed_expire_ms : a->terminal_expire_ms;
    const int64_t expire_ms = job->has_state ? job->state.expire_ms : 0;
    if (!terminal) {
        RULE(a, expire_ms == 0, "expiry", "%.*s lives and expires (DEFECT-13)", JOB_FMT(job));
        return true;
    }
    const bool imported = (job->history & HISTORY_IMPORTED) != 0;
    RULE(a, kept != 0 || expire_ms == 0, "expiry", "%.*s expires and should not", JOB_FMT(job));
    RULE(a, kept == 0 || imported || expire_ms == job->state.changed_ms + kept, "expiry",
         "%.*s ended at %lld and expires at %lld", JOB_FMT(job), (long long)job->state.changed_ms,
         (long long)expire_ms);
    RULE(a, expire_ms == 0 || job->expiry_noted, "expiry", "no expiry row names %.*s",
         JOB_FMT(job));
    return true;
}

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

bool audit_job_check(struct audit *a, const struct audit_job *job, struct audit_tally *tally)
{
    const bool terminal = job_status_terminal(job->status);
    RULE(a, job->tokens == (terminal ? 0u : 1u), "SE3", "%.*s (%s) has %u tokens", JOB_FMT(job),
         job_status_name(job->status), job->tokens);
    struct key key;
    key_index(&key, job->ref, index_kind(job->status),
              terminal ? job->state.changed_ms : job->info.enqueue_ms);
    RULE(a, rows_find(&a->rows, key_bytes(&key)) != NULL, "SE7",
         "the index row of %.*s (%s) is missing", JOB_FMT(job), job_status_name(job->status));
    struct bytes at = job->info.metadata;
    struct bytes name;
    struct bytes value;
    while (pair_next(&at, &name, &value)) {
        key_metadata(&key, job->ref, name, value);
        RULE(a, rows_find(&a->rows, key_bytes(&key)) != NULL, "SE8",
             "a metadata row of %.*s is missing", JOB_FMT(job));
        tally->metadata++;
    }
    return attempts_check(a, job, tally) && (!terminal || end_check(a, job, tally)) &&
           blob_check(a, job, &job->info.payload, BLOB_PAYLOAD, 0, &tally->blobs) &&
           audit_holders(a, job, tally) && expiry_check(a, job);
}

/* --- counters: SE5, SE6 --- */

static void count_job(struct counts *counts, const struct audit_job *job)
{
    counts->open += !job_status_terminal(job->status);
    counts->succeeded += job->status == JOB_SUCCEEDED;
    counts->failed += job->status == JOB_FAILED;
    counts->cancelled += job->status == JOB_CANCELLED;
}

/* Of one tenant (its part of the references) or, with none, of the shard. */
static bool counter_check(struct audit *a, struct bytes key, struct bytes tenant, const char *rule)
{
    struct counts wanted = {0};
    for (size_t i = 0; i < a->job_count; i++) {
        if (bytes_starts(a->jobs[i].ref, tenant)) {
            count_job(&wanted, &a->jobs[i]);
        }
    }
    const struct stored_row *row = rows_find(&a->rows, key);
    struct counts stored = {0};
    RULE(a, row == NULL || counts_decode(row->value, &stored), "row", "a counter row is malformed");
    RULE(a,
         wanted.open == stored.open && wanted.succeeded == stored.succeeded &&
             wanted.failed == stored.failed && wanted.cancelled == stored.cancelled,
         rule,
         "counters say %llu open, %llu succeeded, %llu failed, %llu cancelled; it is %llu, %llu, "
         "%llu, %llu",
         (unsigned long long)stored.open, (unsigned long long)stored.succeeded,
         (unsigned long long)stored.failed, (unsigned long long)stored.cancelled,
         (unsigned long long)wanted.open, (unsigned long long)wanted.succeeded,
         (unsigned long long)wanted.failed, (unsigned long long)wanted.cancelled);
    return true;
}

bool audit_counters(struct audit *a)
{
    struct key key;
    key_meta(&key, META_TOTALS);
    if (!counter_check(a, key_bytes(&key), BYTES_NONE, "SE6")) {
        return false;
    }
    struct bytes last = BYTES_NONE;
    for (size_t i = 0; i < a->job_count; i++) {
        if (!bytes_eq(a->jobs[i].tenant, last)) {
            last = a->jobs[i].tenant;
            key_count(&key, a->jobs[i].ref);
            if (!counter_check(a, key_bytes(&key), last, "SE5")) {
                return false;
            }
        }
    }
    key_table(&key, TABLE_COUNT);
    const struct bytes prefix = key_bytes(&key);
    for (const struct stored_row *row = rows_first(&a->rows, prefix); row != NULL;
         row = rows_next(&a->rows, row, prefix)) {
        if (!counter_check(a, row->key, bytes_of(row->key.ptr + 1, row->key.len - 1), "SE5")) {
            return false;
        }
    }
    return true;
}

bool audit_empty(struct audit *a)
{
    for (size_t i = 0; i < a->rows.count; i++) {
        const uint8_t table = a->rows.items[i].key.ptr[0];
        RULE(a,
             table == TABLE_COUNT || table == TABLE_META || table == TABLE_LIMITER ||
                 table == TABLE_QUEUE,
             "delete", "all jobs were deleted, and a row of table %u is left", table);
    }
    return true;
}
