/*
 * sim/audit_limits.c - what limits demand: each token holds exactly the slots of the limits it has
 * passed, waiters stand in the line of the limit they are at, and no slot is free while somebody
 * who fits waits for it.
 */
#include "base/list.h"
#include "sim/audit.h"

#define REFRESH_SLACK_MS 500 /* its waiters may have to be read first */

/* --- decoded limits, one for all equal bytes --- */

struct interned {
    struct map_node node; /* key: the encoded limits */
    struct arena arena;
    struct limits limits;
    uint32_t count;
};

const struct limits *audit_limits(struct audit *a, struct bytes raw, uint32_t count)
{
    struct interned *in = MAP_ENTRY(map_find(&a->limits, raw), struct interned, node);
    if (in != NULL) {
        return in->count == count ? &in->limits : NULL;
    }
    in = xcalloc(1, sizeof *in);
    arena_init(&in->arena);
    in->count = count;
    const struct bytes copy = arena_copy(&in->arena, raw);
    if (!limits_decode(&in->arena, copy, count, &in->limits)) {
        arena_deinit(&in->arena);
        free(in);
        return NULL;
    }
    map_insert(&a->limits, &in->node, copy);
    return &in->limits;
}

void audit_limits_free(struct audit *a)
{
    for (struct map_node *n = map_next(&a->limits, NULL); n != NULL;
         n = map_next(&a->limits, NULL)) {
        struct interned *in = CONTAINER_OF(n, struct interned, node);
        map_remove(&a->limits, n);
        arena_deinit(&in->arena);
        free(in);
    }
    map_deinit(&a->limits);
}

/* --- holders that an operator dropped --- */

struct dropped {
    struct map_node node; /* key: of the holder row */
    uint8_t key[];
};

void audit_dropped(struct audit *a, struct bytes key)
{
    if (map_find(&a->dropped, key) == NULL) {
        struct dropped *dropped = xcalloc(1, sizeof *dropped + key.len);
        memcpy(dropped->key, key.ptr, key.len);
        map_insert(&a->dropped, &dropped->node, bytes_of(dropped->key, key.len));
    }
}

static bool drops(const struct audit *a, struct bytes tenant)
{
    for (size_t i = 0; i < a->dropping_count; i++) {
        if (bytes_eq(a->dropping[i], tenant)) {
            return true;
        }
    }
    struct key key;
    key_meta_ref(&key, META_DROP, tenant);
    return rows_find(&a->rows, key_bytes(&key)) != NULL;
}

/* --- queues --- */

static size_t queue_lower(const struct audit *a, struct bytes ref)
{
    size_t at = 0;
    while (at < a->queue_count && bytes_cmp(a->queues[at].ref, ref) < 0) {
        at++;
    }
    return at;
}

const struct audit_queue *audit_queue_find(const struct audit *a, struct bytes ref)
{
    const size_t at = queue_lower(a, ref);
    return at < a->queue_count && bytes_eq(a->queues[at].ref, ref) ? &a->queues[at] : NULL;
}

/* `ref` is lent from a row. Valid until the next call. */
struct audit_queue *audit_queue_get(struct audit *a, struct bytes ref)
{
    const size_t at = queue_lower(a, ref);
    if (at < a->queue_count && bytes_eq(a->queues[at].ref, ref)) {
        return &a->queues[at];
    }
    if (a->queue_count == a->queue_cap) {
        a->queue_cap = a->queue_cap != 0 ? a->queue_cap * 2 : 16;
        a->queues = xrealloc(a->queues, a->queue_cap * sizeof a->queues[0]);
    }
    memmove(&a->queues[at + 1], &a->queues[at], (a->queue_count - at) * sizeof a->queues[0]);
    a->queue_count++;
    a->queues[at] = (struct audit_queue){.ref = ref};
    return &a->queues[at];
}

static struct audit_line *line_get(struct audit_queue *queue, struct line_id id)
{
    for (size_t i = 0; i < queue->line_count; i++) {
        if (queue->lines[i].id.floating == id.floating && queue->lines[i].id.max == id.max) {
            return &queue->lines[i];
        }
    }
    ASSERT(queue->line_count < AUDIT_LINES_MAX);
    queue->lines[queue->line_count] = (struct audit_line){.id = id};
    return &queue->lines[queue->line_count++];
}

uint64_t audit_capacity(const struct audit_queue *queue, struct line_id line)
{
    if (!line.floating) {
        return line.max;
    }
    const uint32_t value = queue->has_floating ? queue->floating.value : 0;
    return value < line.max ? value : line.max;
}

static const char *queue_name(const struct audit_queue *queue, char text[64])
{
    uint8_t scratch[512];
    struct bytes tenant;
    struct bytes name;
    if (queue->ref.len > sizeof scratch || !queue_ref_parse(queue->ref, scratch, &tenant, &name)) {
        return "?";
    }
    (void)snprintf(text, 64, "%.*s/%.*s", BYTES_FMT(tenant), BYTES_FMT(name));
    return text;
}

/* --- tokens --- */

bool audit_chain(struct audit *a, const struct audit_job *job, const struct task_rec *rec)
{
    const uint32_t count = job->info.limit_count;
    if (count == 0) {
        RULE(a, !rec->has_chain, "chain", "%.*s has no limits and a chain", JOB_FMT(job));
        return true;
    }
    RULE(a, rec->has_chain, "chain", "%.*s has limits and no chain", JOB_FMT(job));
    const struct chain_rec *chain = &rec->chain;
    RULE(a, chain->passed <= count, "chain", "%.*s has passed %u of %u limits", JOB_FMT(job),
         chain->passed, count);
    RULE(a,
         chain->limit_count == 0
             ? chain->passed == count
             : chain->limit_count == count && bytes_eq(chain->limits, job->info.limits),
         "chain", "the limits of %.*s changed on its way", JOB_FMT(job));
    const struct limit *at = chain->passed < count ? &job->limits->items[chain->passed] : NULL;
    switch (job->where) {
    case AT_READY:
        RULE(a, at == NULL || at->kind == LIMIT_RATE, "due",
             "%.*s is ready and has not passed limit %u", JOB_FMT(job), chain->passed);
        break;
    case AT_TIMER:
        RULE(a,
             a->wall_fell || job->history != 0 || chain->passed == 0 ||
                 (at != NULL && at->kind == LIMIT_RATE),
             "bug 20", "%.*s is in the future with %u limits passed", JOB_FMT(job), chain->passed);
        break;
    case AT_WAITER:
        RULE(a, at != NULL && (at->kind != LIMIT_RATE || at->throttles) && !at->repeated, "JF21",
             "%.*s waits at a queue that its limit %u does not name", JOB_FMT(job), chain->passed);
        break;
    case AT_NONE:
    case AT_LEASE:
        break;
    }
    RULE(a, chain->rate_retries == 0 || (at != NULL && at->kind == LIMIT_RATE), "chain",
         "%.*s counts retries of a rate limit where it is at none", JOB_FMT(job));
    return true;
}

static void limit_queue(struct key *key, const struct audit_job *job, uint32_t index)
{
    limit_queue_ref(key, job->tenant, &job->limits->items[index], job->info.group);
}

/* SE9, JF17: a waiter stands in the line of its limit, at its place. */
bool audit_waiter(struct audit *a, const struct audit_job *job, const struct stored_row *row)
{
    struct key ref;
    struct key key;
    const struct limit *limit = &job->limits->items[job->passed];
    limit_queue(&ref, job, job->passed);
    key_waiter(&key, a->order, key_bytes(&ref), limit->line, &job->place);
    RULE(a, bytes_eq(row->key, key_bytes(&key)), "SE9",
         "the waiter row of %.*s stands at another place than its job says", JOB_FMT(job));
    struct audit_queue *queue = audit_queue_get(a, bytes_of(row->key.ptr + 1, ref.len));
    line_get(queue, limit->line)->waiters++;
    return true;
}

/* The slot had been dropped before its task was given back: it is not taken again. */
static bool dropped_before(const struct audit *a, const struct audit_job *job, struct bytes ref)
{
    const struct uuid *was = audit_given_back(a, job);
    if (was == NULL) {
        return false;
    }
    struct key key;
    key_holder(&key, ref, was);
    return map_find(&a->dropped, key_bytes(&key)) != NULL;
}

/*
 * SE1, JA13, JF18: the slots of the limits it has passed, no others (those are found by their
 * number).
 */
bool audit_holders(struct audit *a, const struct audit_job *job, struct audit_tally *tally)
{
    if (job->tokens == 0) {
        return true;
    }
    for (uint32_t i = 0; i < job->passed; i++) {
        const struct limit *limit = &job->limits->items[i];
        if (limit->kind == LIMIT_RATE || limit->repeated) {
            continue;
        }
        struct key ref;
        struct key key;
        limit_queue(&ref, job, i);
        key_holder(&key, key_bytes(&ref), &job->task_id);
        const struct stored_row *row = rows_find(&a->rows, key_bytes(&key));
        if (row == NULL && (drops(a, job->tenant) || dropped_before(a, job, key_bytes(&ref)))) {
            audit_dropped(a, key_bytes(&key)); /* or: taken and dropped in one batch */
        }
        if (row == NULL) {
            RULE(a, map_find(&a->dropped, key_bytes(&key)) != NULL, "SE1",
                 "%.*s (%s) has passed limit %u and holds no slot of it", JOB_FMT(job),
                 token_at_name(job->where), i);
            continue;
        }
        struct holder_rec rec;
        RULE(a, holder_decode(row->value, &rec), "row", "a holder row of %.*s", JOB_FMT(job));
        RULE(a,
             rec.index == i && bytes_eq(rec.job_id, bytes_of(job->ref.ptr + job->tenant.len,
                                                             job->ref.len - job->tenant.len)),
             "JF11", "a holder row of %.*s names something else", JOB_FMT(job));
        tally->holders++;
    }
    return true;
}

/* --- rows of queues --- */

static bool lines_take(struct audit *a, struct audit_queue *queue, struct bytes value)
{
    struct bytes at;
    uint32_t count = 0;
    RULE(a, queue_decode(value, &at, &count), "row", "a queue row is malformed");
    struct line_rec rec;
    uint32_t seen = 0;
    while (line_next(&at, &rec)) {
        struct audit_line *line = line_get(queue, rec.id);
        line->stored += rec.count;
        line->has_low = rec.has_low;
        line->low = rec.low;
        seen++;
    }
    RULE(a, at.len == 0 && seen == count, "row", "a queue row has a malformed line");
    return true;
}

/* SE10: the row that finds a refresh lease by its task id. The floating rows stand before it. */
static bool refresh_lease_take(struct audit *a, const struct stored_row *row)
{
    const struct audit_queue *queue = audit_queue_find(a, row->value);
    RULE(a,
         row->key.len == 2 + sizeof(struct uuid) && queue != NULL && queue->has_floating &&
             queue->floating.phase == REFRESH_LEASE &&
             memcmp(queue->floating.task_id.b, row->key.ptr + 2, sizeof(struct uuid)) == 0,
         "SE10", "a refresh lease row of no refresh");
    a->refresh_leases++;
    return true;
}

static bool meta_take(struct audit *a, const struct stored_row *row)
{
    if (row->key.len < 3) {
        return true;
    }
    const struct bytes ref = bytes_of(row->key.ptr + 2, row->key.len - 2);
    if (row->key.ptr[1] == META_REFRESH_LEASE) {
        return refresh_lease_take(a, row);
    }
    if (row->key.ptr[1] == META_GRANT) {
        audit_queue_get(a, ref)->granting = true;
    } else if (row->key.ptr[1] == META_REFRESH) {
        audit_queue_get(a, ref)->refreshing = true;
    } else if (row->key.ptr[1] == META_THROTTLE) {
        audit_queue_get(a, ref)->throttling = true;
    }
    return true;
}

bool audit_queue_row(struct audit *a, const struct stored_row *row)
{
    if (row->key.ptr[0] == TABLE_META) {
        return meta_take(a, row);
    }
    if (row->key.ptr[0] == TABLE_HOLDER) {
        struct bytes ref;
        struct uuid task_id;
        RULE(a, key_holder_parse(row->key, &ref, &task_id), "row", "a holder key is malformed");
        audit_queue_get(a, ref)->holders++;
        return true;
    }
    RULE(a, row->key.len > 2, "row", "a queue key is malformed");
    const struct bytes ref = bytes_of(row->key.ptr + 1, row->key.len - 2);
    struct audit_queue *queue = audit_queue_get(a, ref);
    if (row->key.ptr[row->key.len - 1] == QUEUE_LINES) {
        return lines_take(a, queue, row->value);
    }
    RULE(a, row->key.ptr[row->key.len - 1] == QUEUE_FLOATING, "row", "a queue key is malformed");
    RULE(a, floating_decode(row->value, &queue->floating), "row", "a floating row is malformed");
    queue->has_floating = true;
    return true;
}

static bool line_check(struct audit *a, const struct audit_queue *queue,
                       const struct audit_line *line)
{
    char name[64];
    RULE(a, line->waiters == line->stored, "SE4", "queue %s counts %llu waiters, there are %llu",
         queue_name(queue, name), (unsigned long long)line->stored,
         (unsigned long long)line->waiters);
    if (line->waiters == 0) {
        return true;
    }
    RULE(a, !line->id.floating || queue->has_floating, "SE10",
         "queue %s has floating waiters and no value", queue_name(queue, name));
    const uint64_t capacity = audit_capacity(queue, line->id);
    RULE(a, queue->holders >= capacity || queue->granting, "free slot",
         "queue %s has %u of %llu slots taken, and %llu waiters who fit", queue_name(queue, name),
         queue->holders, (unsigned long long)capacity, (unsigned long long)line->waiters);
    return true;
}

static bool is_throttle(const struct audit_queue *queue)
{
    uint8_t scratch[KEY_BYTES_MAX];
    struct bytes limiter;
    struct bytes group;
    return throttle_ref_parse(queue->ref, scratch, &limiter, &group);
}

static bool queue_check(struct audit *a, const struct audit_queue *queue)
{
    char name[64];
    uint64_t floating = 0;
    uint64_t waiters = 0;
    for (size_t i = 0; i < queue->line_count; i++) {
        if (!line_check(a, queue, &queue->lines[i])) {
            return false;
        }
        floating += queue->lines[i].id.floating ? queue->lines[i].waiters : 0;
        waiters += queue->lines[i].waiters;
    }
    RULE(a, queue->throttling == (is_throttle(queue) && waiters != 0), "throttle",
         "queue %s: %llu waiters; its note for a limiter's line says %s", queue_name(queue, name),
         (unsigned long long)waiters, queue->throttling ? "yes" : "no");
    const bool refreshes = queue->has_floating && queue->floating.phase != REFRESH_NONE;
    RULE(a, queue->refreshing == (floating != 0 || refreshes), "SE10",
         "queue %s: %llu floating waiters, %s; its note says %s", queue_name(queue, name),
         (unsigned long long)floating, refreshes ? "a refresh" : "no refresh",
         queue->refreshing ? "yes" : "no");
    return true;
}

/* The low-water mark of a waiter's line. */
static bool low_check(struct audit *a, const struct audit_job *job)
{
    struct key ref;
    limit_queue(&ref, job, job->passed);
    struct audit_queue *queue =
        (struct audit_queue *)(uintptr_t)audit_queue_find(a, key_bytes(&ref));
    ASSERT(queue != NULL);
    const struct audit_line *line = line_get(queue, job->limits->items[job->passed].line);
    RULE(a, !line->has_low || !audit_before(a, &job->place, &line->low), "low water",
         "the waiter row of %.*s stands below its line's low-water mark", JOB_FMT(job));
    return true;
}

bool audit_queues(struct audit *a)
{
    size_t leased = 0;
    for (size_t i = 0; i < a->queue_count; i++) {
        if (!queue_check(a, &a->queues[i])) {
            return false;
        }
        leased += a->queues[i].has_floating && a->queues[i].floating.phase == REFRESH_LEASE;
    }
    RULE(a, leased == a->refresh_leases, "SE10", "%zu refreshes are leased, %zu have a row", leased,
         a->refresh_leases);
    for (size_t i = 0; i < a->job_count; i++) {
        if (a->jobs[i].where == AT_WAITER && !low_check(a, &a->jobs[i])) {
            return false;
        }
    }
    return true;
}

/* --- grants --- */

struct grant {
    struct key key; /* of the holder row */
    const struct audit_queue *queue;
    const struct audit_job *job;
    struct line_id line;
    uint64_t capacity;
    bool was_there;
    struct place was; /* of its token before the batch */
    bool carried;     /* no grant: a slot that it held, filed anew */
};

struct audit_grants {
    struct bytes batch;
    struct grant *items;
    size_t count, cap;
    struct {
        struct key ref;
        uint32_t value;
    } values[AUDIT_LINES_MAX]; /* of floating limits that the batch writes, as before it */
    size_t value_count;
};

/*
 * Where its token stood before the batch: a rate limit behind the slot may have dated it anew
 * since.
 */
static void grant_before(struct audit *a, struct bytes value, struct grant *grant)
{
    struct holder_rec rec;
    if (!holder_decode(value, &rec)) {
        return;
    }
    const struct bytes tenant = job_ref_tenant(bytes_of(grant->key.b + 1, grant->key.len - 1));
    struct key ref;
    ref.len = tenant.len + rec.job_id.len;
    memcpy(ref.b, tenant.ptr, tenant.len);
    memcpy(ref.b + tenant.len, rec.job_id.ptr, rec.job_id.len);
    const struct audit_job *job = audit_find(a, key_bytes(&ref));
    if (job == NULL) {
        return;
    }
    grant->was_there = true;
    grant->was = job->place;
    struct bytes queue;
    struct uuid task_id;
    if (audit_given_back(a, job) != NULL &&
        key_holder_parse(key_bytes(&grant->key), &queue, &task_id)) {
        struct key held;
        key_holder(&held, queue, &job->task_id);
        grant->carried = rows_find(&a->rows, key_bytes(&held)) != NULL;
    }
}

static void grants_value(struct audit_grants *g, const struct stored_row *row)
{
    struct floating_rec rec;
    if (row != NULL && g->value_count < AUDIT_LINES_MAX && floating_decode(row->value, &rec)) {
        struct key *ref = &g->values[g->value_count].ref;
        ref->len = row->key.len - 2;
        memcpy(ref->b, row->key.ptr + 1, ref->len);
        g->values[g->value_count++].value = rec.value;
    }
}

struct audit_grants *audit_grants_begin(struct audit *a, struct bytes batch)
{
    struct audit_grants *g = xcalloc(1, sizeof *g);
    g->batch = batch;
    struct row_op op;
    while (row_op_next(&batch, &op)) {
        const struct stored_row *row = rows_find(&a->rows, op.key);
        const uint8_t table = op.key.ptr[0];
        if (table == TABLE_QUEUE && op.key.ptr[op.key.len - 1] == QUEUE_FLOATING) {
            grants_value(g, row);
        }
        if (table != TABLE_HOLDER) {
            continue;
        }
        if (op.del && row != NULL &&
            drops(a, job_ref_tenant(bytes_of(op.key.ptr + 1, op.key.len - 1)))) {
            audit_dropped(a, op.key);
        }
        if (!op.del) {
            /* one that was there has been released and granted again: they are written once */
            if (g->count == g->cap) {
                g->cap = g->cap != 0 ? g->cap * 2 : 4;
                g->items = xrealloc(g->items, g->cap * sizeof g->items[0]);
            }
            struct grant *grant = &g->items[g->count++];
            *grant = (struct grant){.key.len = op.key.len};
            memcpy(grant->key.b, op.key.ptr, op.key.len);
            grant_before(a, op.value, grant);
        }
    }
    return g;
}

/* What admitted the holder: its line, and the most it can have been. */
static bool grant_resolve(struct audit *a, const struct audit_grants *g, struct grant *grant)
{
    struct bytes ref;
    struct uuid task_id;
    struct holder_rec rec;
    const struct stored_row *row = rows_find(&a->rows, key_bytes(&grant->key));
    ASSERT(row != NULL && key_holder_parse(row->key, &ref, &task_id) &&
           holder_decode(row->value, &rec));
    const struct bytes tenant = job_ref_tenant(ref);
    struct key job_key;
    job_key.len = tenant.len + rec.job_id.len;
    memcpy(job_key.b, tenant.ptr, tenant.len);
    memcpy(job_key.b + tenant.len, rec.job_id.ptr, rec.job_id.len);
    grant->queue = audit_queue_find(a, ref);
    grant->job = audit_find(a, key_bytes(&job_key));
    ASSERT(grant->queue != NULL && grant->job != NULL); /* the holders were checked */
    grant->carried = grant->carried && audit_given_back(a, grant->job) != NULL;
    grant->line = grant->job->limits->items[rec.index].line;
    grant->capacity = audit_capacity(grant->queue, grant->line);
    for (size_t i = 0; grant->line.floating && i < g->value_count; i++) {
        const uint64_t was =
            g->values[i].value < grant->line.max ? g->values[i].value : grant->line.max;
        if (bytes_eq(key_bytes(&g->values[i].ref), ref) && was > grant->capacity) {
            grant->capacity = was;
        }
    }
    return true;
}

static bool batch_touches(struct bytes batch, struct bytes key)
{
    struct row_op op;
    while (row_op_next(&batch, &op)) {
        if (bytes_eq(op.key, key)) {
            return true;
        }
    }
    return false;
}

/* The least that a waiter of this line admitted at any time within the batch. */
static uint64_t least_capacity(const struct audit_grants *g, const struct audit_queue *queue,
                               struct line_id line)
{
    uint64_t least = audit_capacity(queue, line);
    for (size_t i = 0; line.floating && i < g->value_count; i++) {
        if (bytes_eq(key_bytes(&g->values[i].ref), queue->ref) && g->values[i].value < least) {
            least = g->values[i].value;
        }
    }
    return least;
}

/* DI1: in whatever order they were admitted, one of them came when the queue was full. */
static bool grant_fits(struct audit *a, const struct audit_grants *g, const struct grant *grant)
{
    uint64_t fresh = 0;
    uint64_t not_wider = 0;
    for (size_t i = 0; i < g->count; i++) {
        if (g->items[i].queue == grant->queue && !g->items[i].carried) {
            fresh++;
            not_wider += g->items[i].capacity <= grant->capacity;
        }
    }
    const uint64_t kept = grant->queue->holders - fresh;
    char name[64];
    RULE(a, kept + not_wider - 1 < grant->capacity, "DI1",
         "%.*s got a slot of queue %s, which had %llu holders and takes %llu", JOB_FMT(grant->job),
         queue_name(grant->queue, name), (unsigned long long)(kept + not_wider - 1),
         (unsigned long long)grant->capacity);
    return true;
}

/* Order of waiters: nobody better who fits as well was left behind. */
static bool grant_in_order(struct audit *a, const struct audit_grants *g, const struct grant *grant)
{
    struct key prefix;
    struct place place = grant->job->place;
    if (grant->was_there && audit_before(a, &grant->was, &place)) {
        place = grant->was;
    }
    if (grant->job->info.due_ms < place.due_ms && grant->job->attempt == 1) {
        place.due_ms = grant->job->info.due_ms; /* it came, and was dated anew, within the batch */
    }
    key_by_ref(&prefix, TABLE_WAITER, grant->queue->ref);
    const struct bytes all = key_bytes(&prefix);
    for (const struct stored_row *row = rows_first(&a->rows, all); row != NULL;
         row = rows_next(&a->rows, row, all)) {
        struct task_rec rec;
        ASSERT(task_decode(row->value, &rec));
        const struct audit_job *waiter = audit_find(a, rec.job_ref);
        const struct line_id line = waiter->limits->items[waiter->passed].line;
        if (!audit_before(a, &waiter->place, &place) ||
            least_capacity(g, grant->queue, line) < grant->capacity ||
            batch_touches(g->batch, row->key)) {
            continue;
        }
        char name[64];
        RULE(a, false, "waiters", "%.*s got a slot of queue %s before %.*s, who stands before it",
             JOB_FMT(grant->job), queue_name(grant->queue, name), JOB_FMT(waiter));
    }
    return true;
}

bool audit_grants_end(struct audit *a, struct audit_grants *g)
{
    bool ok = !a->verdict->failed;
    for (size_t i = 0; ok && i < g->count; i++) {
        ok = grant_resolve(a, g, &g->items[i]);
    }
    for (size_t i = 0; ok && i < g->count; i++) {
        ok = g->items[i].carried ||
             (grant_fits(a, g, &g->items[i]) && grant_in_order(a, g, &g->items[i]));
    }
    free(g->items);
    free(g);
    return ok;
}

/* --- at rest, and at the end --- */

static bool refresh_is_due(const struct audit_queue *queue, int64_t now_ms)
{
    const struct floating_rec *f = &queue->floating;
    const int64_t old_ms = f->refreshed_ms != 0 ? f->refreshed_ms + f->interval_ms : 0;
    const int64_t due_ms = old_ms > f->retry_ms ? old_ms : f->retry_ms;
    return now_ms >= due_ms + REFRESH_SLACK_MS;
}

/*
 * Slots whose tokens wait elsewhere go to a better waiter who asks for them, as many as it needs.
 */
static bool takeovers_done(struct audit *a, const struct audit_job *waiter)
{
    struct key ref;
    limit_queue(&ref, waiter, waiter->passed);
    const struct audit_queue *queue = audit_queue_find(a, key_bytes(&ref));
    const struct line_id line = waiter->limits->items[waiter->passed].line;
    uint64_t losers = 0;
    for (size_t i = 0; queue != NULL && i < a->job_count; i++) {
        const struct audit_job *loser = &a->jobs[i];
        if (loser->where != AT_WAITER || !audit_before(a, &waiter->place, &loser->place) ||
            loser->limits->items[loser->passed].kind == LIMIT_RATE) { /* they keep their slots */
            continue;
        }
        struct key holder;
        key_holder(&holder, key_bytes(&ref), &loser->task_id);
        losers += rows_find(&a->rows, key_bytes(&holder)) != NULL;
    }
    char name[64];
    RULE(a, losers == 0 || queue->holders - losers >= audit_capacity(queue, line), "takeover",
         "%.*s waits at queue %s, and %llu of its %u slots belong to tokens that wait themselves "
         "and stand behind it",
         JOB_FMT(waiter), queue_name(queue, name), (unsigned long long)losers, queue->holders);
    return true;
}

bool audit_rest(struct audit *a, int64_t now_ms)
{
    char name[64];
    for (size_t i = 0; i < a->queue_count; i++) {
        const struct audit_queue *queue = &a->queues[i];
        RULE(a, !queue->granting, "DI11", "queue %s still has slots to grant",
             queue_name(queue, name));
        uint64_t floating = 0;
        for (size_t l = 0; l < queue->line_count; l++) {
            floating += queue->lines[l].id.floating ? queue->lines[l].waiters : 0;
        }
        RULE(
            a,
            floating == 0 || queue->floating.phase != REFRESH_NONE ||
                !refresh_is_due(queue, now_ms),
            "refreshed",
            "queue %s has waiters and is not refreshed: last %lld, every %lld ms, not before %lld, "
            "now %lld",
            queue_name(queue, name), (long long)queue->floating.refreshed_ms,
            (long long)queue->floating.interval_ms, (long long)queue->floating.retry_ms,
            (long long)now_ms);
    }
    for (size_t i = 0; i < a->job_count; i++) {
        const struct audit_job *job = &a->jobs[i];
        RULE(a, job->where != AT_TIMER || job->place.due_ms > now_ms, "due",
             "the timer of %.*s is due at %lld, it is %lld", JOB_FMT(job),
             (long long)job->place.due_ms, (long long)now_ms);
        if (job->where == AT_WAITER && !takeovers_done(a, job)) {
            return false;
        }
    }
    return true;
}

bool audit_drained(struct audit *a)
{
    static const enum key_table none[] = {TABLE_READY, TABLE_TIMER, TABLE_LEASE, TABLE_WAITER,
                                          TABLE_HOLDER};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        struct key key;
        key_table(&key, none[i]);
        RULE(a, rows_first(&a->rows, key_bytes(&key)) == NULL, "SE13",
             "all jobs have ended, and a row of table %u is left", none[i]);
    }
    for (size_t i = 0; i < a->queue_count; i++) {
        char name[64];
        RULE(a, !a->queues[i].has_floating || a->queues[i].floating.phase == REFRESH_NONE, "SE13",
             "all jobs have ended, and queue %s is still to be refreshed",
             queue_name(&a->queues[i], name));
    }
    return true;
}
