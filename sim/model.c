/* sim/model.c - versions of jobs, tasks, facts; the process' hooks. */
#include "sim/model.h"

#include "base/limits.h"
#include "base/list.h"
#include "core/core.h"

#define REST_US 16000000 /* so long after trouble nothing is expected at rest */

const char *api_name(enum api api)
{
    static const char *const names[APIS] = {
        "enqueue", "get",  "result", "cancel",    "delete", "restart",   "expedite", "lease",
        "import",  "drop", "poll",   "heartbeat", "report", "refreshed", "return",   "await"};
    return names[api];
}

/* --- life --- */

void model_init(struct model *m, const struct process_options *options, struct verdict *verdict,
                struct trace *trace)
{
    *m = (struct model){.shard_count = options->shard_count, .verdict = verdict, .trace = trace};
    for (size_t i = 0; i < m->shard_count; i++) {
        audit_init(&m->audits[i], options->order, verdict);
        m->audits[i].completed_expire_ms = options->completed_expire_ms;
        m->audits[i].terminal_expire_ms = options->terminal_expire_ms;
    }
    m->external_limiter = options->limiter != NULL;
    map_init(&m->by_key);
    map_init(&m->tasks_by_id);
    map_init(&m->refreshes_by_id);
    map_init(&m->queues);
    map_init(&m->rates);
}

static void job_free(struct mjob *job)
{
    free((void *)(uintptr_t)job->key.ptr);
    free(job->versions);
    free(job->facts);
    free(job);
}

void model_deinit(struct model *m)
{
    for (size_t i = 0; i < m->shard_count; i++) {
        audit_deinit(&m->audits[i]);
    }
    for (size_t i = 0; i < m->job_count; i++) {
        job_free(m->jobs[i]);
    }
    for (size_t i = 0; i < m->task_count; i++) {
        free(m->tasks[i]);
    }
    for (size_t i = 0; i < m->refresh_count; i++) {
        free(m->refreshes[i]);
    }
    struct map *const owned[] = {&m->queues, &m->rates};
    for (size_t i = 0; i < 2; i++) {
        for (struct map_node *n = map_next(owned[i], NULL); n != NULL;
             n = map_next(owned[i], NULL)) {
            map_remove(owned[i], n);
            free(n); /* the node comes first in what the maps hold */
        }
    }
    map_deinit(&m->queues);
    map_deinit(&m->rates);
    map_deinit(&m->by_key);
    map_deinit(&m->tasks_by_id);
    map_deinit(&m->refreshes_by_id);
    free(m->jobs);
    free(m->tasks);
    free(m->refreshes);
}

/* Doubles a list of pointers that has reached a power of two. */
static void *list_grow(void *list, size_t count, size_t *cap)
{
    if (count < *cap) {
        return list;
    }
    *cap = *cap != 0 ? *cap * 2 : 16;
    return xrealloc(list, *cap * sizeof(void *));
}

/* --- jobs --- */

static struct mjob *job_by_ref(struct model *m, size_t shard, struct bytes ref, bool make)
{
    uint8_t key[512];
    ASSERT(ref.len < sizeof key);
    key[0] = (uint8_t)shard;
    memcpy(key + 1, ref.ptr, ref.len);
    struct map_node *node = map_find(&m->by_key, bytes_of(key, ref.len + 1));
    if (node != NULL || !make) {
        return MAP_ENTRY(node, struct mjob, node);
    }
    struct mjob *job = xcalloc(1, sizeof *job);
    uint8_t *copy = xmalloc(ref.len + 1);
    memcpy(copy, key, ref.len + 1);
    job->key = bytes_of(copy, ref.len + 1);
    job->ref = bytes_of(copy + 1, ref.len);
    job->shard = shard;
    uint8_t scratch[512];
    struct bytes tenant;
    struct bytes id;
    ASSERT(job_ref_parse(ref, scratch, &tenant, &id));
    (void)snprintf(job->tenant, sizeof job->tenant, "%.*s", BYTES_FMT(tenant));
    (void)snprintf(job->id, sizeof job->id, "%.*s", BYTES_FMT(id));
    job->versions = xcalloc(8, sizeof *job->versions);
    job->cap = 8;
    job->count = 1; /* at first it does not exist */
    map_insert(&m->by_key, &job->node, job->key);
    m->jobs = list_grow(m->jobs, m->job_count, &m->job_cap);
    m->jobs[m->job_count++] = job;
    return job;
}

struct mjob *model_job_by_ref(struct model *m, size_t shard, struct bytes ref)
{
    return job_by_ref(m, shard, ref, true);
}

struct mjob *model_job(struct model *m, size_t shard, const char *tenant, const char *id)
{
    struct key ref;
    key_job_ref(&ref, bytes_str(tenant), bytes_str(id));
    return job_by_ref(m, shard, key_bytes(&ref), true);
}

const struct mversion *model_newest(const struct mjob *job)
{
    return &job->versions[job->count - 1];
}

static void version_push(const struct model *m, struct mjob *job, const struct mversion *v)
{
    if (job->count == job->cap) {
        job->cap *= 2;
        job->versions = xrealloc(job->versions, job->cap * sizeof *v);
    }
    job->versions[job->count] = *v;
    job->versions[job->count++].since_us = *m->now_us;
}

/* --- tasks --- */

struct mtask *model_task(const struct model *m, const struct uuid *id)
{
    return MAP_ENTRY(map_find(&m->tasks_by_id, uuid_bytes(id)), struct mtask, node);
}

struct mtask *model_task_note(struct model *m, const struct uuid *id, struct mjob *job)
{
    struct mtask *task = model_task(m, id);
    if (task != NULL) {
        if (task->job != job) {
            (void)verdict_fail(m->verdict, "JF11", "a task id of %s was used for %s, too",
                               task->job->id, job->id);
            return NULL;
        }
        return task;
    }
    task = xcalloc(1, sizeof *task);
    task->id = *id;
    task->job = job;
    map_insert(&m->tasks_by_id, &task->node, uuid_bytes(&task->id));
    m->tasks = list_grow(m->tasks, m->task_count, &m->task_cap);
    m->tasks[m->task_count++] = task;
    return task;
}

struct mrefresh *model_refresh(struct model *m, const struct uuid *id)
{
    struct mrefresh *refresh =
        MAP_ENTRY(map_find(&m->refreshes_by_id, uuid_bytes(id)), struct mrefresh, node);
    if (refresh == NULL) {
        refresh = xcalloc(1, sizeof *refresh);
        refresh->id = *id;
        map_insert(&m->refreshes_by_id, &refresh->node, uuid_bytes(&refresh->id));
        m->refreshes = list_grow(m->refreshes, m->refresh_count, &m->refresh_cap);
        m->refreshes[m->refresh_count++] = refresh;
    }
    return refresh;
}

static struct mrate *rate_get(struct model *m, struct bytes key)
{
    struct mrate *rate = MAP_ENTRY(map_find(&m->rates, key), struct mrate, node);
    if (rate == NULL) {
        rate = xcalloc(1, sizeof *rate + key.len);
        memcpy(rate->key, key.ptr, key.len);
        map_insert(&m->rates, &rate->node, bytes_of(rate->key, key.len));
    }
    return rate;
}

struct mrate *model_rate(struct model *m, struct bytes name, struct bytes unique_key)
{
    uint8_t key[256];
    ASSERT(name.len + unique_key.len + 1 <= sizeof key);
    memcpy(key, name.ptr, name.len);
    key[name.len] = 0;
    memcpy(key + name.len + 1, unique_key.ptr, unique_key.len);
    return rate_get(m, bytes_of(key, name.len + 1 + unique_key.len));
}

struct mrate *model_own_rate(struct model *m, const struct mjob *job, struct bytes name)
{
    uint8_t key[256];
    const struct bytes tenant = job_ref_tenant(job->ref);
    ASSERT(1 + tenant.len + name.len <= sizeof key);
    key[0] = (uint8_t)job->shard;
    memcpy(key + 1, tenant.ptr, tenant.len);
    memcpy(key + 1 + tenant.len, name.ptr, name.len);
    return rate_get(m, bytes_of(key, 1 + tenant.len + name.len));
}

/* A crash may take back passes and buckets. */
static void rates_forget(struct model *m)
{
    for (struct map_node *n = map_next(&m->rates, NULL); n != NULL; n = map_next(&m->rates, n)) {
        struct mrate *rate = CONTAINER_OF(n, struct mrate, node);
        memset(rate->last, 0, sizeof rate->last);
    }
}

/* --- versions --- */

static uint32_t spec_in(const struct audit *a, const struct audit_job *job)
{
    struct bytes payload = job->info.payload.inline_bytes;
    if (job->info.payload.is_blob) {
        struct key key;
        key_blob(&key, job->ref, BLOB_PAYLOAD, 0);
        payload = rows_find(&a->rows, key_bytes(&key))->value;
    }
    return spec_number(payload);
}

static void spec_check(struct model *m, const struct mjob *job, const struct audit_job *stored,
                       uint32_t number)
{
    const struct spec spec = spec_of(m->specs, number);
    const struct info *info = &stored->info;
    const size_t len = info->payload.is_blob ? info->payload.len : info->payload.inline_bytes.len;
    const bool imported = (stored->history & HISTORY_IMPORTED) != 0; /* with another retry policy */
    if (!bytes_eq(info->group, bytes_str(spec.group)) || info->priority != spec.priority ||
        len != spec.payload_len || (!imported && info->has_retry != spec.has_retry) ||
        info->metadata_count != spec.pairs || info->limit_count != spec.limit_count ||
        (spec.has_retry && !imported &&
         (info->retry.retry_count != spec.retry.retry_count ||
          info->retry.max_ms != spec.retry.max_ms ||
          info->retry.initial_ms != spec.retry.initial_ms ||
          info->retry.jitter != spec.retry.jitter))) {
        (void)verdict_fail(m->verdict, "JF16", "%s is stored as something else (spec %u)", job->id,
                           number);
    }
}

static struct mversion version_of(struct model *m, const struct mjob *job)
{
    const struct audit *a = &m->audits[job->shard];
    const struct audit_job *stored = audit_find(a, job->ref);
    if (stored == NULL) {
        return (struct mversion){0};
    }
    const bool token = stored->tokens != 0;
    struct mversion v = {.exists = true,
                         .mark = stored->mark,
                         .has_lease = stored->where == AT_LEASE,
                         .status = stored->status,
                         .where = stored->where,
                         .arrival = stored->info.arrival,
                         .attempt = stored->attempt,
                         .attempts = audit_attempts(stored),
                         .passed = stored->passed,
                         .due_ms = stored->place.due_ms,
                         .expire_ms = stored->has_state ? stored->state.expire_ms : 0,
                         .has_task = token && (stored->has_chain || stored->where == AT_LEASE)};
    if (v.has_task) {
        v.task_id = stored->task_id;
    }
    v.mark_ms = v.mark ? stored->mark_ms : 0;
    if (v.has_lease) {
        (void)snprintf(v.worker, sizeof v.worker, "%.*s", BYTES_FMT(stored->lease.worker_id));
    }
    return v;
}

static bool version_eq(const struct mversion *v, const struct mversion *w)
{
    return v->exists == w->exists && v->mark == w->mark && v->has_lease == w->has_lease &&
           v->status == w->status && v->where == w->where && v->arrival == w->arrival &&
           v->attempt == w->attempt && v->attempts == w->attempts && v->passed == w->passed &&
           v->due_ms == w->due_ms && v->expire_ms == w->expire_ms &&
           uuid_eq(&v->task_id, &w->task_id) && strcmp(v->worker, w->worker) == 0;
}

static bool lease_same(const struct mversion *v, const struct mversion *w)
{
    return v->has_lease && w->has_lease && uuid_eq(&v->task_id, &w->task_id);
}

bool model_same_chain(const struct mversion *was, const struct mversion *is)
{
    const bool given_back =
        was->has_lease && is->arrival == was->arrival && is->attempt == was->attempt;
    return was->has_task && is->has_task && (given_back || uuid_eq(&was->task_id, &is->task_id));
}

/*
 * What was stamped a moment ago, by the monotonic clock. A batch is written some time after its
 * commands ran.
 */
int64_t model_since_us(const struct model *m, size_t shard, int64_t stamp_ms)
{
    const int64_t ago_ms = model_wall_ms(m, shard) - stamp_ms;
    if (m->audits[shard].wall_fell || ago_ms > BATCH_MS_MAX) {
        return *m->now_us - (int64_t)LEASE_MS * 1000; /* clocks jumped: stamps say nothing */
    }
    return ago_ms > 0 ? *m->now_us - ago_ms * 1000 : *m->now_us;
}

/* The lease in the rows belongs to a task; its time begins when it appears. */
static void lease_note(struct model *m, struct mjob *job, const struct mversion *was,
                       const struct mversion *v)
{
    if (!v->has_task) {
        return;
    }
    struct mtask *task = model_task_note(m, &v->task_id, job);
    if (task == NULL) {
        return;
    }
    task->attempt = v->attempt;
    if (v->has_lease && !lease_same(was, v)) {
        const struct audit_job *stored = audit_find(&m->audits[job->shard], job->ref);
        memcpy(task->worker, v->worker, sizeof task->worker);
        task->alive_us = model_since_us(m, job->shard, stored->lease.started_ms);
        task->renewed_us = *m->now_us;
        m->seen.leases++;
    }
    task->leased = v->has_lease;
}

/* Who wrote the lease, not who found it in the rows. */
static void served_note(struct model *m, const struct mjob *job, const struct mversion *was,
                        const struct mversion *v)
{
    struct mtask *task = v->has_lease && !lease_same(was, v) ? model_task(m, &v->task_id) : NULL;
    if (task != NULL) {
        task->server = m->servers[job->shard];
        task->server_life = task->server->starts;
    }
}

/*
 * What one batch hides: a job that was deleted, or whose retention ended, and made again; and a
 * task that became ready and was leased. Calls may have seen the moment between.
 */
static void version_between(const struct model *m, struct mjob *job, const struct mversion *was,
                            const struct mversion *is)
{
    if (was->exists && is->exists && was->arrival != is->arrival) {
        version_push(m, job, &(struct mversion){.spec = was->spec});
    }
    if (is->has_lease && !lease_same(was, is)) {
        struct mversion between = *is;
        between.has_lease = false;
        between.status = JOB_SCHEDULED;
        between.where = AT_READY;
        between.attempts = is->attempts - 1; /* the running one counts */
        between.worker[0] = '\0';
        version_push(m, job, &between);
    }
}

static void job_take(struct model *m, struct mjob *job, bool moves)
{
    const struct mversion was = *model_newest(job);
    struct mversion v = version_of(m, job);
    v.spec = was.spec;
    v.paid = model_same_chain(&was, &v) && was.paid > v.passed ? was.paid : v.passed;
    if (version_eq(&was, &v)) {
        return;
    }
    const struct audit_job *stored = audit_find(&m->audits[job->shard], job->ref);
    if (v.exists && (!was.exists || was.arrival != v.arrival)) {
        v.spec = spec_in(&m->audits[job->shard], stored);
        spec_check(m, job, stored, v.spec);
    }
    version_between(m, job, &was, &v);
    version_push(m, job, &v);
    if (was.has_task && was.has_lease) {
        struct mtask *task = model_task(m, &was.task_id);
        task->leased = v.has_lease && uuid_eq(&was.task_id, &v.task_id);
    }
    lease_note(m, job, &was, &v);
    if (moves) {
        served_note(m, job, &was, &v);
        model_move(m, job, &was, model_newest(job));
    }
}

static void versions_take(struct model *m, size_t shard, bool moves)
{
    const struct audit *a = &m->audits[shard];
    const size_t known = m->job_count;
    for (size_t i = 0; i < a->job_count; i++) {
        (void)job_by_ref(m, shard, a->jobs[i].ref, true);
    }
    if (moves && m->job_count - known > m->anonymous) {
        (void)verdict_fail(m->verdict, "JF24", "a job that nobody asked for: %s",
                           m->jobs[m->job_count - 1]->id);
    }
    m->anonymous -= (uint32_t)(moves ? m->job_count - known : 0);
    for (size_t i = 0; i < m->job_count && !m->verdict->failed; i++) {
        if (m->jobs[i]->shard == shard) {
            job_take(m, m->jobs[i], moves);
        }
    }
}

/* --- facts --- */

void model_fact(struct model *m, struct mjob *job, const struct fact *fact)
{
    if ((job->fact_count & (job->fact_count - 1)) == 0) {
        const size_t cap = job->fact_count != 0 ? job->fact_count * 2 : 4;
        job->facts = xrealloc(job->facts, cap * sizeof *fact);
    }
    job->facts[job->fact_count++] = *fact;
    m->seen.facts++;
}

static void fact_reported(struct model *m, const struct audit *a, const struct mjob *job,
                          const struct audit_job *stored, const struct fact *fact)
{
    struct attempt attempt;
    if (!audit_attempt(a, stored, &fact->task_id, &attempt)) {
        (void)verdict_fail(m->verdict, "JA5", "an acknowledged report on %s is gone", job->id);
        return;
    }
    const struct blob_ref *data = &attempt.outcome.data;
    if (attempt.outcome.status != fact->status || audit_final(&attempt) != fact->final ||
        (data->is_blob ? data->len : data->inline_bytes.len) != fact->data_len) {
        (void)verdict_fail(m->verdict, "JA5", "an acknowledged report on %s changed", job->id);
    }
}

static void fact_check(struct model *m, const struct audit *a, const struct mjob *job,
                       const struct fact *fact)
{
    static const char *const names[] = {"enqueue", "lease", "report", "cancel", "revival"};
    if (job->ends != fact->ends) {
        return;
    }
    const struct audit_job *stored = audit_find(a, job->ref);
    if (stored == NULL || stored->info.arrival != fact->arrival) {
        (void)verdict_fail(m->verdict, "JF12", "an acknowledged %s of %s is gone: no job",
                           names[fact->kind], job->id);
        return;
    }
    struct attempt attempt;
    switch (fact->kind) {
    case FACT_EXISTS:
        return;
    case FACT_LEASED:
        if (!model_task(m, &fact->task_id)->returned &&
            !(stored->where == AT_LEASE && uuid_eq(&stored->task_id, &fact->task_id)) &&
            !audit_attempt(a, stored, &fact->task_id, &attempt)) {
            (void)verdict_fail(m->verdict, "kept lease", "an acknowledged lease of %s is gone",
                               job->id);
        }
        return;
    case FACT_REPORTED:
        fact_reported(m, a, job, stored, fact);
        return;
    case FACT_MARKED:
        if (!stored->mark && job->revivals == fact->revivals) {
            (void)verdict_fail(m->verdict, "JA10", "an acknowledged cancel of %s is gone", job->id);
        }
        return;
    case FACT_ATTEMPT:
        if (stored->attempt < fact->attempt) {
            (void)verdict_fail(m->verdict, "T10", "an acknowledged revival of %s is gone", job->id);
        }
        return;
    }
}

static void facts_check(struct model *m, size_t shard, const struct audit *a)
{
    for (size_t i = 0; i < m->job_count && !m->verdict->failed; i++) {
        const struct mjob *job = m->jobs[i];
        for (size_t f = 0; job->shard == shard && f < job->fact_count; f++) {
            fact_check(m, a, job, &job->facts[f]);
        }
    }
}

/* --- hooks --- */

static bool leased_by(const struct mtask *task, const struct process *process)
{
    return task->leased && !task->delivered && task->server == process &&
           task->server_life == process->starts;
}

void model_stops(struct model *m, const struct process *process)
{
    for (size_t i = 0; i < m->task_count; i++) {
        struct mtask *task = m->tasks[i];
        task->unheard |= leased_by(task, process) && !process_serves(process, task->job->shard);
    }
}

void model_stopped(struct model *m, const struct process *process)
{
    for (size_t i = 0; i < m->task_count; i++) {
        const struct mtask *task = m->tasks[i];
        if (leased_by(task, process) && !task->unheard) {
            (void)verdict_fail(m->verdict, "hand-out",
                               "process %u stopped, and a task of %s that it leased to %s never "
                               "left it",
                               process->options.number, task->job->id, task->worker);
        }
    }
}

void model_open(struct model *m, const struct process *process, size_t shard)
{
    m->servers[shard] = process;
    if (m->verdict->failed) {
        return;
    }
    trace_line(m->trace, "shard %zu opens at %llu", shard,
               (unsigned long long)store_mem_applied_seq(m->store, process_path(shard)));
    m->open_us = *m->now_us;
    rates_forget(m);
    if (!audit_load(&m->audits[shard], m->store, process_path(shard), false)) {
        return;
    }
    versions_take(m, shard, false);
    model_queues(m, shard, false);
    facts_check(m, shard, &m->audits[shard]);
    for (size_t i = 0; i < m->task_count; i++) {
        if (m->tasks[i]->job->shard == shard) {
            m->tasks[i]->alive_us = *m->now_us; /* every lease gets a fresh term */
        }
    }
}

void model_write(struct model *m, size_t shard, bool lost, struct bytes batch)
{
    if (m->verdict->failed) {
        return;
    }
    if (lost) {
        (void)verdict_fail(m->verdict, "fence", "a database that was lost is written to");
        return;
    }
    m->seen.batches++;
    trace_line(m->trace, "shard %zu writes %zu bytes %016llx", shard, batch.len,
               (unsigned long long)XXH64(batch.ptr, batch.len, 0));
    if (audit_batch(&m->audits[shard], batch)) {
        versions_take(m, shard, true);
        model_queues(m, shard, true);
    }
}

void model_trouble(struct model *m, const char *what)
{
    m->troubles++;
    m->trouble_us = *m->now_us;
    trace_line(m->trace, "trouble: %s", what);
}

void model_durable(struct model *m)
{
    for (size_t i = 0; i < m->shard_count && !m->verdict->failed; i++) {
        struct audit durable;
        const struct audit *a = &m->audits[i];
        audit_init(&durable, a->order, m->verdict);
        durable.wall_fell = a->wall_fell;
        durable.completed_expire_ms = a->completed_expire_ms;
        durable.terminal_expire_ms = a->terminal_expire_ms;
        audit_history_copy(&durable, a);
        if (audit_load(&durable, m->store, process_path(i), true)) {
            facts_check(m, i, &durable);
        }
        audit_deinit(&durable);
    }
}

/* --- at rest --- */

int64_t model_wall_ms(const struct model *m, size_t shard)
{
    return m->servers[shard]->wall_ms;
}

bool model_at_rest(const struct model *m)
{
    bool rests = store_mem_pending(m->store) == 0;
    for (size_t i = 0; i < m->shard_count && rests; i++) {
        rests = process_rests(m->servers[i], i);
    }
    return rests;
}

/* lease term: an expired lease is noticed. */
static void leases_rest(struct model *m)
{
    for (size_t i = 0; i < m->task_count; i++) {
        const struct mtask *task = m->tasks[i];
        const int64_t since = task->renewed_us > m->open_us ? task->renewed_us : m->open_us;
        if (task->leased && *m->now_us - since > ((int64_t)LEASE_MS + 1000) * 1000) {
            (void)verdict_fail(m->verdict, "lease term", "the lease of %s expired %lld ms ago",
                               task->job->id, (long long)(*m->now_us - since) / 1000 - LEASE_MS);
        }
    }
}

void model_rest(struct model *m)
{
    if (m->verdict->failed || m->troubled || *m->now_us - m->trouble_us < REST_US) {
        return;
    }
    m->seen.rests++;
    for (size_t i = 0; i < m->shard_count; i++) {
        struct core_stats stats;
        if (!process_stats(m->servers[i], i, &stats) ||
            !audit_rest(&m->audits[i], model_wall_ms(m, i))) {
            return;
        }
        size_t leases = 0;
        for (size_t j = 0; j < m->audits[i].job_count; j++) {
            leases += m->audits[i].jobs[j].where == AT_LEASE;
        }
        if (stats.leases != leases) {
            (void)verdict_fail(m->verdict, "SE2", "%zu leases in memory, %zu in the rows",
                               stats.leases, leases);
        }
        if (stats.corrupt_rows != 0) {
            (void)verdict_fail(m->verdict, "row", "the core met %zu corrupt rows",
                               stats.corrupt_rows);
        }
    }
    leases_rest(m);
}

uint64_t model_open_jobs(const struct model *m)
{
    uint64_t count = 0;
    for (size_t i = 0; i < m->shard_count; i++) {
        for (size_t j = 0; j < m->audits[i].job_count; j++) {
            count += !job_status_terminal(m->audits[i].jobs[j].status);
        }
    }
    return count;
}
