/*
 * sim/audit.c - rows to jobs: infos, states and tokens, in the order in which their tables stand.
 */
#include "sim/audit.h"

#include "base/list.h"

struct audit_note {
    struct map_node node; /* key: job reference */
    uint32_t history;
    size_t key_len;
    uint8_t key[];
};

const char *token_at_name(enum token_at at)
{
    static const char *const names[] = {"nowhere", "timer", "ready", "in line", "lease"};
    return names[at];
}

void audit_init(struct audit *a, enum dispatch_order order, struct verdict *verdict)
{
    *a = (struct audit){.order = order, .verdict = verdict};
    map_init(&a->limits);
    map_init(&a->notes);
    map_init(&a->dropped);
}

/* --- histories --- */

static struct audit_note *note_find(const struct audit *a, struct bytes ref)
{
    return MAP_ENTRY(map_find(&a->notes, ref), struct audit_note, node);
}

void audit_history(struct audit *a, struct bytes ref, uint32_t what)
{
    struct audit_note *note = note_find(a, ref);
    if (note == NULL) {
        note = xcalloc(1, sizeof *note + ref.len);
        memcpy(note->key, ref.ptr, ref.len);
        note->key_len = ref.len;
        map_insert(&a->notes, &note->node, bytes_of(note->key, ref.len));
    }
    note->history |= what;
}

/* --- places --- */

int audit_place_order(const struct place *p, const struct place *q)
{
    if (p->due_ms != q->due_ms) {
        return p->due_ms < q->due_ms ? -1 : 1;
    }
    if (p->priority != q->priority) {
        return p->priority < q->priority ? -1 : 1;
    }
    return (p->arrival > q->arrival) - (p->arrival < q->arrival);
}

bool audit_before(const struct audit *a, const struct place *p, const struct place *q)
{
    if (a->order == ORDER_PRIORITY && p->priority != q->priority) {
        return p->priority < q->priority;
    }
    return audit_place_order(p, q) < 0;
}

static bool place_eq(const struct place *p, const struct place *q)
{
    return p->due_ms == q->due_ms && p->arrival == q->arrival && p->priority == q->priority;
}

/* --- look-ups --- */

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

bool audit_attempt_number(const struct audit *a, const struct audit_job *job, uint32_t n,
                          struct attempt *ret)
{
    if (job->has_state && job->state.has_outcome && job->state.by_attempt &&
        job->state.attempt == n) {
        *ret = job->state.final;
        return true;
    }
    struct key key;
    key_attempt(&key, job->ref, n);
    const struct stored_row *row = rows_find(&a->rows, key_bytes(&key));
    return row != NULL && attempt_decode(row->value, ret);
}

bool audit_attempt(const struct audit *a, const struct audit_job *job, const struct uuid *task_id,
                   struct attempt *ret)
{
    for (uint32_t n = job->attempt; n != 0; n--) {
        if (audit_attempt_number(a, job, n, ret) && uuid_eq(&ret->task_id, task_id)) {
            return true;
        }
    }
    return false;
}

uint32_t audit_attempts(const struct audit_job *job)
{
    const bool counts =
        job->where == AT_LEASE || (job_status_terminal(job->status) && job->state.by_attempt);
    return job->attempt - 1 + (counts ? 1 : 0);
}

/* --- tables --- */

static bool info_take(struct audit *a, const struct stored_row *row)
{
    if (a->job_count == a->job_cap) {
        a->job_cap = a->job_cap != 0 ? a->job_cap * 2 : 64;
        a->jobs = xrealloc(a->jobs, a->job_cap * sizeof a->jobs[0]);
    }
    struct audit_job *job = &a->jobs[a->job_count++];
    *job = (struct audit_job){
        .ref = bytes_of(row->key.ptr + 1, row->key.len - 1), .attempt = 1, .relative = 1};
    job->tenant = job_ref_tenant(job->ref);
    const struct audit_note *note = note_find(a, job->ref);
    job->history = note != NULL ? note->history : 0;
    RULE(a, info_decode(row->value, &job->info), "row", "an info row is malformed");
    job->limits = audit_limits(a, job->info.limits, job->info.limit_count);
    RULE(a, job->limits != NULL, "row", "the limits of %.*s are malformed", JOB_FMT(job));
    RULE(a,
         (job->history & HISTORY_IMPORTED) != 0 ||
             job->info.due_ms == (job->info.requested_start_ms > 0 ? job->info.requested_start_ms
                                                                   : job->info.enqueue_ms),
         "SE9", "the first place of %.*s", JOB_FMT(job));
    job->place = (struct place){
        .due_ms = job->info.due_ms, .arrival = job->info.arrival, .priority = job->info.priority};
    return true;
}

/* It may name jobs that went, or go later by another row. */
static bool expiry_take(struct audit *a, const struct stored_row *row)
{
    int64_t row_ms = 0;
    struct bytes name;
    struct bytes refs;
    struct bytes ref;
    RULE(a, key_expiry_parse(row->key, &row_ms, &name) && expiry_decode(row->value, &refs),
         "expiry", "an expiry row is malformed");
    while (item_next(&refs, &ref)) {
        struct audit_job *job = job_of(a, ref);
        if (job != NULL && job->has_state && job->state.expire_ms <= row_ms) {
            job->expiry_noted = true;
        }
    }
    return true;
}

static bool state_take(struct audit *a, const struct stored_row *row)
{
    struct audit_job *job = job_of(a, bytes_of(row->key.ptr + 1, row->key.len - 1));
    RULE(a, job != NULL, "JF1", "a state row without a job");
    RULE(a, state_decode(row->value, &job->state), "row", "the state row of %.*s is malformed",
         JOB_FMT(job));
    job->has_state = true;
    job->state_row = row->value;
    job->status = job->state.status;
    job->mark = job->state.has_mark;
    job->mark_ms = job->state.mark_ms;
    job->attempt = job->state.attempt;
    job->relative = job->state.relative;
    job->place.due_ms = job->state.due_ms;
    job->place.arrival = job->state.arrival;
    RULE(a, job->status != JOB_RUNNING, "JF1", "%.*s is stored as Running", JOB_FMT(job));
    return true;
}

struct bytes audit_group_of(struct bytes ready_key)
{
    size_t at = 1;
    while (at + 1 < ready_key.len && !(ready_key.ptr[at] == 0 && ready_key.ptr[at + 1] == 1)) {
        at++;
    }
    return bytes_of(ready_key.ptr + 1, at - 1);
}

/* SE3, SE9: the token of a job that is not at its end, at the place its state tells. */
static bool token_take(struct audit *a, const struct stored_row *row, enum token_at where)
{
    struct task_rec rec;
    RULE(a, task_decode(row->value, &rec), "row", "a %s row is malformed", token_at_name(where));
    struct audit_job *job = job_of(a, rec.job_ref);
    RULE(a, job != NULL, "JF12", "a %s row of a job that does not exist", token_at_name(where));
    struct place place = job->place;
    struct bytes group = rec.group;
    if (where == AT_TIMER) {
        RULE(a, key_timer_parse(row->key, &place), "row", "a timer key is malformed");
    } else if (where == AT_READY) {
        group = audit_group_of(row->key);
        RULE(a, key_ready_parse(row->key, a->order, group.len + 3, &place), "row",
             "a ready key is malformed");
    }
    RULE(a, place_eq(&place, &job->place), "SE9", "the %s row of %.*s stands at %lld, not at %lld",
         token_at_name(where), JOB_FMT(job), (long long)place.due_ms, (long long)job->place.due_ms);
    RULE(a, bytes_eq(group, job->info.group), "SE9", "the %s row of %.*s has another group",
         token_at_name(where), JOB_FMT(job));
    RULE(a, rec.attempt == job->attempt && rec.relative == job->relative, "SE12",
         "the %s row of %.*s is for attempt %u, not %u", token_at_name(where), JOB_FMT(job),
         rec.attempt, job->attempt);
    job->where = where;
    job->tokens++;
    job->has_chain = rec.has_chain;
    job->passed = rec.has_chain ? rec.chain.passed : 0;
    job->rate_retries = rec.has_chain ? rec.chain.rate_retries : 0;
    job->rates_paid = rec.has_chain ? rec.chain.rates_paid : 0;
    if (rec.has_chain) {
        job->task_id = rec.chain.task_id;
    }
    return audit_chain(a, job, &rec) && (where != AT_WAITER || audit_waiter(a, job, row)) &&
           (where != AT_READY || audit_low_ready(a, row, &place)) &&
           (where != AT_TIMER || audit_low_timer(a, &place));
}

/* SE11 and what reporting needs of the job. */
static bool lease_take(struct audit *a, const struct stored_row *row)
{
    struct audit_job *job = job_of(a, bytes_of(row->key.ptr + 1, row->key.len - 1));
    RULE(a, job != NULL, "JF12", "a lease of a job that does not exist");
    struct lease_rec *lease = &job->lease;
    RULE(a, lease_decode(row->value, lease), "row", "the lease row of %.*s is malformed",
         JOB_FMT(job));
    const struct place place = {
        .due_ms = lease->due_ms, .arrival = lease->arrival, .priority = lease->priority};
    RULE(a, place_eq(&place, &job->place), "SE11", "the lease of %.*s has another place",
         JOB_FMT(job));
    RULE(a, lease->attempt == job->attempt && lease->relative == job->relative, "SE11",
         "the lease of %.*s is for attempt %u, not %u", JOB_FMT(job), lease->attempt, job->attempt);
    RULE(a,
         lease->enqueue_ms == job->info.enqueue_ms && bytes_eq(lease->group, job->info.group) &&
             lease->has_retry == job->info.has_retry &&
             lease->retry.retry_count == job->info.retry.retry_count &&
             lease->limit_count == job->info.limit_count,
         "SE11", "the lease of %.*s has other facts than the job", JOB_FMT(job));
    const uint32_t loose = HISTORY_LEASED | HISTORY_IMPORTED;
    RULE(a, a->wall_fell || (job->history & loose) != 0 || lease->started_ms >= lease->due_ms,
         "start", "%.*s was leased before it was due", JOB_FMT(job));
    RULE(a, !job_status_terminal(job->status), "JA9", "a lease of %.*s, which is at its end",
         JOB_FMT(job));
    RULE(a, lease->passed <= job->info.limit_count, "row",
         "a lease passed more limits than there are");
    RULE(a, lease->passed == job->info.limit_count || (job->history & HISTORY_LEASED) != 0, "bug 7",
         "%.*s runs with %u of %u limits passed", JOB_FMT(job), lease->passed,
         job->info.limit_count);
    job->passed = lease->passed;
    job->task_id = lease->task_id;
    job->mark = lease->has_mark;
    job->mark_ms = lease->mark_ms;
    job->status = JOB_RUNNING;
    job->where = AT_LEASE;
    job->tokens++;
    return true;
}

static bool row_take(struct audit *a, const struct stored_row *row)
{
    switch ((enum key_table)row->key.ptr[0]) {
    case TABLE_INFO:
        return info_take(a, row);
    case TABLE_STATE:
        return state_take(a, row);
    case TABLE_READY:
        return token_take(a, row, AT_READY);
    case TABLE_TIMER:
        return token_take(a, row, AT_TIMER);
    case TABLE_WAITER:
        return token_take(a, row, AT_WAITER);
    case TABLE_LEASE:
        return lease_take(a, row);
    case TABLE_HOLDER:
    case TABLE_QUEUE:
    case TABLE_META:
        return audit_queue_row(a, row);
    case TABLE_ATTEMPT:
    case TABLE_INDEX:
    case TABLE_METADATA:
    case TABLE_COUNT:
    case TABLE_BLOB:
    case TABLE_LIMITER:
        return true;
    case TABLE_EXPIRY:
        return expiry_take(a, row);
    }
    return verdict_fail(a->verdict, "row", "a row of an unknown table %u", row->key.ptr[0]);
}

/* --- low-water marks --- */

bool audit_low_ready(struct audit *a, const struct stored_row *row, const struct place *place)
{
    struct key key;
    key_low_ready(&key, audit_group_of(row->key), 0);
    const struct stored_row *record = rows_find(&a->rows, key_bytes(&key));
    if (record == NULL) {
        return true;
    }
    const uint8_t lane = a->order == ORDER_PRIORITY ? place->priority : 0;
    struct bytes at = bytes_of(record->value.ptr + 1, record->value.len - 1);
    while (at.len != 0) {
        const uint8_t which = at.ptr[0];
        struct bytes item;
        struct place mark = {0};
        at = bytes_of(at.ptr + 1, at.len - 1);
        RULE(a,
             item_next(&at, &item) && low_decode(item, &mark.due_ms, &mark.priority, &mark.arrival),
             "row", "a low-water row is malformed");
        RULE(a, which != lane || audit_place_order(&mark, place) <= 0, "low water",
             "a live ready row below its low-water mark");
    }
    return true;
}

bool audit_low_timer(struct audit *a, const struct place *place)
{
    struct key key;
    struct place mark = {0};
    key_meta(&key, META_LOW_TIMER);
    const struct stored_row *record = rows_find(&a->rows, key_bytes(&key));
    RULE(a,
         record == NULL || low_decode(record->value, &mark.due_ms, &mark.priority, &mark.arrival),
         "row", "the timers' low-water row is malformed");
    RULE(a, record == NULL || audit_place_order(&mark, place) <= 0, "low water",
         "a live timer below its low-water mark");
    return true;
}

/* --- the whole --- */

static bool arrivals_check(struct audit *a)
{
    struct key key;
    key_meta(&key, META_ARRIVAL);
    const struct stored_row *row = rows_find(&a->rows, key_bytes(&key));
    uint64_t reserved = 0;
    RULE(a, row == NULL || number_decode(row->value, &reserved), "row", "the arrival row");
    for (size_t i = 0; i < a->job_count; i++) {
        RULE(a, a->jobs[i].place.arrival < reserved, "arrival",
             "the arrival number of %.*s is beyond what is reserved", JOB_FMT(&a->jobs[i]));
    }
    key_meta(&key, META_SHARD);
    RULE(a, a->job_count == 0 || rows_find(&a->rows, key_bytes(&key)) != NULL, "row",
         "the shard's own row is missing");
    return true;
}

static bool audit_check(struct audit *a)
{
    size_t rows[256] = {0};
    a->job_count = 0;
    a->queue_count = 0;
    a->refresh_leases = 0;
    for (size_t i = 0; i < a->rows.count; i++) {
        rows[a->rows.items[i].key.ptr[0]]++;
        if (!row_take(a, &a->rows.items[i])) {
            return false;
        }
    }
    struct audit_tally tally = {0};
    for (size_t i = 0; i < a->job_count; i++) {
        if (!audit_job_check(a, &a->jobs[i], &tally)) {
            return false;
        }
    }
    RULE(a, rows[TABLE_INDEX] == a->job_count, "SE7", "%zu index rows of %zu jobs",
         rows[TABLE_INDEX], a->job_count);
    RULE(a, rows[TABLE_ATTEMPT] == tally.attempts, "SE12", "%zu attempt rows, %zu belong to jobs",
         rows[TABLE_ATTEMPT], tally.attempts);
    RULE(a, rows[TABLE_METADATA] == tally.metadata, "SE8", "orphans among the metadata rows");
    RULE(a, rows[TABLE_BLOB] == tally.blobs, "blob", "%zu blobs, %zu are referenced",
         rows[TABLE_BLOB], tally.blobs);
    RULE(a, rows[TABLE_HOLDER] == tally.holders, "SE1",
         "%zu holder rows, %zu belong to tokens: a slot leaked", rows[TABLE_HOLDER], tally.holders);
    return audit_queues(a) && audit_counters(a) && arrivals_check(a);
}

bool audit_load(struct audit *a, struct store *store, const char *path, bool durable)
{
    rows_load(&a->rows, store, path, durable);
    return audit_check(a);
}

void audit_history_copy(struct audit *a, const struct audit *from)
{
    for (const struct map_node *n = map_next(&from->notes, NULL); n != NULL;
         n = map_next(&from->notes, n)) {
        audit_history(a, n->key, CONTAINER_OF(n, struct audit_note, node)->history);
    }
    for (const struct map_node *n = map_next(&from->dropped, NULL); n != NULL;
         n = map_next(&from->dropped, n)) {
        audit_dropped(a, n->key);
    }
}

static bool overtaken(const struct audit *a, const struct audit_job *job, struct bytes batch,
                      const struct audit_job **ret_other)
{
    struct key key;
    key_ready_group(&key, job->info.group);
    const struct bytes prefix = key_bytes(&key);
    for (const struct stored_row *row = rows_first(&a->rows, prefix); row != NULL;
         row = rows_next(&a->rows, row, prefix)) {
        struct task_rec rec;
        ASSERT(task_decode(row->value, &rec));
        const struct audit_job *other = audit_find(a, rec.job_ref);
        if (other->passed < other->info.limit_count ||
            !audit_before(a, &other->place, &job->place)) {
            continue;
        }
        bool touched = false;
        struct bytes rest = batch;
        struct row_op op;
        while (!touched && row_op_next(&rest, &op)) {
            touched = bytes_eq(op.key, row->key);
        }
        if (!touched) {
            *ret_other = other;
            return true;
        }
    }
    return false;
}

/* Tasks are handed out best first: a new lease left no better task of its group behind. */
static bool dispatch_check(struct audit *a, struct bytes batch, const struct rows *fresh)
{
    for (size_t i = 0; i < fresh->count; i++) {
        const struct bytes key = fresh->items[i].key;
        const struct audit_job *job = audit_find(a, bytes_of(key.ptr + 1, key.len - 1));
        const struct audit_job *other = NULL;
        if (job == NULL || (job->history & HISTORY_LEASED) != 0) {
            continue;
        }
        RULE(a, !overtaken(a, job, batch, &other), "order",
             "the task of %.*s overtook that of %.*s", JOB_FMT(job), JOB_FMT(other));
    }
    return true;
}

/* A job gets a lease, or another one. */
static bool lease_is_new(const struct audit *a, const struct row_op *op)
{
    if (op->key.ptr[0] != TABLE_LEASE || op->del) {
        return false;
    }
    const struct stored_row *row = rows_find(&a->rows, op->key);
    struct lease_rec was;
    struct lease_rec is;
    return row == NULL || !lease_decode(row->value, &was) || !lease_decode(op->value, &is) ||
           !uuid_eq(&was.task_id, &is.task_id);
}

static void left_add(struct audit *a, struct bytes job_ref, const struct uuid *task_id,
                     uint32_t attempt)
{
    if (a->left_count == a->left_cap) {
        a->left_cap = a->left_cap != 0 ? a->left_cap * 2 : 4;
        a->left = xrealloc(a->left, a->left_cap * sizeof a->left[0]);
    }
    struct audit_left *left = &a->left[a->left_count++];
    *left = (struct audit_left){.job.len = job_ref.len, .task_id = *task_id, .attempt = attempt};
    memcpy(left->job.b, job_ref.ptr, job_ref.len);
}

/* A lease of before the batch ends, or another one takes its place. */
static void left_lease(struct audit *a, const struct stored_row *row, const struct row_op *op)
{
    struct lease_rec was;
    struct lease_rec is;
    if (lease_decode(row->value, &was) &&
        (op->del || !lease_decode(op->value, &is) || !uuid_eq(&was.task_id, &is.task_id))) {
        left_add(a, bytes_of(op->key.ptr + 1, op->key.len - 1), &was.task_id, was.attempt);
    }
}

/* A task becomes ready under another id: leased and given back, both in this batch. */
static void left_ready(struct audit *a, const struct row_op *op)
{
    struct task_rec is;
    if (op->del || !task_decode(op->value, &is) || !is.has_chain) {
        return;
    }
    const struct audit_job *was = audit_find(a, is.job_ref);
    if (was != NULL && was->has_chain && was->tokens != 0 && was->where != AT_LEASE &&
        was->attempt == is.attempt && !uuid_eq(&was->task_id, &is.chain.task_id)) {
        left_add(a, is.job_ref, &was->task_id, was->attempt);
    }
}

static void left_note(struct audit *a, const struct row_op *op)
{
    const struct stored_row *row = rows_find(&a->rows, op->key);
    if (row != NULL && op->key.ptr[0] == TABLE_LEASE) {
        left_lease(a, row, op);
    } else if (op->key.ptr[0] == TABLE_READY) {
        left_ready(a, op);
    }
}

const struct uuid *audit_given_back(const struct audit *a, const struct audit_job *job)
{
    for (size_t i = 0; i < a->left_count; i++) {
        if (bytes_eq(key_bytes(&a->left[i].job), job->ref)) {
            return a->left[i].attempt == job->attempt && job->tokens != 0 ? &a->left[i].task_id
                                                                          : NULL;
        }
    }
    return NULL;
}

bool audit_batch(struct audit *a, struct bytes batch)
{
    struct rows fresh = {0};
    a->left_count = 0;
    struct bytes rest = batch;
    struct row_op op;
    struct bytes first = batch;
    while (row_op_next(&rest, &op)) {
        left_note(a, &op);
        if (lease_is_new(a, &op)) {
            rows_apply(&fresh, bytes_of(first.ptr, first.len - rest.len));
        }
        first = rest;
    }
    struct audit_grants *grants = audit_grants_begin(a, batch);
    rows_apply(&a->rows, batch);
    const bool ok = audit_check(a) && dispatch_check(a, batch, &fresh);
    rows_deinit(&fresh);
    const bool granted = audit_grants_end(a, grants);
    a->left_count = 0;
    return granted && ok;
}

void audit_deinit(struct audit *a)
{
    rows_deinit(&a->rows);
    free(a->jobs);
    free(a->queues);
    free(a->left);
    struct map *const maps[] = {&a->notes, &a->dropped};
    for (size_t i = 0; i < 2; i++) {
        for (struct map_node *n = map_next(maps[i], NULL); n != NULL; n = map_next(maps[i], NULL)) {
            map_remove(maps[i], n);
            free(n); /* the node comes first in what the maps hold */
        }
        map_deinit(maps[i]);
    }
    audit_limits_free(a);
}
