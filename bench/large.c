/*
 * bench/large.c - scenario `large`: a shard with a long past, and what each operation costs on it,
 * one at a time.
 *
 * The set is imported: 300 tenants by Zipf's law, most jobs ended, some waiting, some an hour
 * ahead; beside it jobs a year ahead and one deep queue. Then every operation is called --warmup +
 * --rounds times, alone.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "scenarios.h"
#include "sync.h"

#define TENANTS 300u
#define IMPORT_EACH 250u
#define IMPORTERS 4u
#define IMPORT_SECONDS 36000.0
#define HOUR_MS 3600000LL
#define YEAR_MS (365 * 24 * HOUR_MS)
#define DEEP_SLOTS 5u
#define DEEP_SHARE 25u /* one waiter of the deep queue for so many jobs */
#define EMPTY_SLOTS 100u
#define IMPORT_CALL_JOBS 50u
#define LARGE_PREFIX "large"

struct large {
    struct bench *bench;
    uint64_t jobs, sent, imported;
    uint32_t calls_open, ops, sequence;
    uint32_t cursor[5]; /* where the search for a job of that status goes on */
    double zipf_to[TENANTS];
    int64_t now_ms;
    struct call importers[IMPORTERS];
    struct arena arena; /* the loop's while importing, then the main thread's */
    struct series *import;
    struct task_id *tasks;
};

/* --- the set --- */

static uint64_t mix(uint64_t n)
{
    n = (n ^ (n >> 30)) * 0xbf58476d1ce4e5b9ull;
    n = (n ^ (n >> 27)) * 0x94d049bb133111ebull;
    return n ^ (n >> 31);
}

static void zipf_make(struct large *large)
{
    double sum = 0;
    for (uint32_t i = 0; i < TENANTS; i++) {
        sum += 1.0 / (i + 1);
        large->zipf_to[i] = sum;
    }
    for (uint32_t i = 0; i < TENANTS; i++) {
        large->zipf_to[i] /= sum;
    }
}

static char *tenant_of(const struct large *large, uint64_t n, struct arena *arena)
{
    const double at = (double)(mix(n + 1) >> 11) * 0x1p-53;
    uint32_t lo = 0, hi = TENANTS - 1;
    while (lo < hi) {
        const uint32_t mid = (lo + hi) / 2;
        if (at < large->zipf_to[mid]) {
            hi = mid;
        } else {
            lo = mid + 1;
        }
    }
    return arena_printf(arena, LARGE_PREFIX "-%u", lo);
}

static char *id_of(uint64_t n, struct arena *arena)
{
    return arena_printf(arena, "job-%016llx", (unsigned long long)mix(n));
}

/* 60 % succeeded, 20 % failed, 10 % cancelled, the rest open. */
static Silo__V1__JobStatus status_of(uint64_t n)
{
    const uint64_t at = n % 100;
    if (at < 60) {
        return SILO__V1__JOB_STATUS__JOB_STATUS_SUCCEEDED;
    }
    if (at < 80) {
        return SILO__V1__JOB_STATUS__JOB_STATUS_FAILED;
    }
    return at < 90 ? SILO__V1__JOB_STATUS__JOB_STATUS_CANCELLED
                   : SILO__V1__JOB_STATUS__JOB_STATUS_SCHEDULED;
}

static void attempt_fill(struct large *large, Silo__V1__JobStatus status, struct arena *arena,
                         Silo__V1__ImportJobRequest *job)
{
    Silo__V1__ImportAttempt *attempt = ARENA_NEW(arena, Silo__V1__ImportAttempt);
    silo__v1__import_attempt__init(attempt);
    attempt->started_at_ms = job->enqueue_time_ms + 100;
    attempt->finished_at_ms = job->enqueue_time_ms + 1100;
    if (status == SILO__V1__JOB_STATUS__JOB_STATUS_SUCCEEDED) {
        attempt->status = SILO__V1__ATTEMPT_STATUS__ATTEMPT_STATUS_SUCCEEDED;
        attempt->result_opt_case = SILO__V1__IMPORT_ATTEMPT__RESULT_OPT_RESULT;
        attempt->result = blob_true();
    } else if (status == SILO__V1__JOB_STATUS__JOB_STATUS_FAILED) {
        attempt->status = SILO__V1__ATTEMPT_STATUS__ATTEMPT_STATUS_FAILED;
        attempt->error_code_opt_case = SILO__V1__IMPORT_ATTEMPT__ERROR_CODE_OPT_ERROR_CODE;
        attempt->error_code = lend("BENCH");
    } else {
        attempt->status = SILO__V1__ATTEMPT_STATUS__ATTEMPT_STATUS_CANCELLED;
    }
    job->n_attempts = 1;
    job->attempts = arena_alloc(arena, sizeof *job->attempts);
    job->attempts[0] = attempt;
    (void)large;
}

static void label(struct arena *arena, Silo__V1__ImportJobRequest *job, const char *key,
                  const char *value)
{
    Silo__V1__ImportJobRequest__MetadataEntry *entry =
        ARENA_NEW(arena, Silo__V1__ImportJobRequest__MetadataEntry);
    silo__v1__import_job_request__metadata_entry__init(entry);
    entry->key = lend(key);
    entry->value = lend(value);
    job->metadata[job->n_metadata++] = entry;
}

static Silo__V1__ImportJobRequest *import_job(struct large *large, uint64_t n, const char *id)
{
    static const char *const regions[] = {"eu", "us-east", "us-west", "asia", "africa"};
    static const char *const envs[] = {"production", "staging", "test"};
    struct arena *arena = &large->arena;
    Silo__V1__ImportJobRequest *job = ARENA_NEW(arena, Silo__V1__ImportJobRequest);
    silo__v1__import_job_request__init(job);
    const Silo__V1__JobStatus status = status_of(n);
    const uint64_t past_ms = HOUR_MS + (large->jobs - n % large->jobs) * 10;
    job->shard = large->bench->shards[0].id;
    job->id = lend(id);
    job->priority = (uint32_t)(n % 100);
    job->enqueue_time_ms = large->now_ms - (int64_t)past_ms;
    job->payload = blob_new(arena, 64, 0);
    job->tenant_opt_case = SILO__V1__IMPORT_JOB_REQUEST__TENANT_OPT_TENANT;
    job->tenant = tenant_of(large, n, arena);
    job->task_group = lend("large-set");
    job->metadata = arena_alloc(arena, 2 * sizeof *job->metadata);
    label(arena, job, "region", regions[mix(n) % 5]);
    label(arena, job, "env", envs[mix(n) / 5 % 3]);
    if (status != SILO__V1__JOB_STATUS__JOB_STATUS_SCHEDULED) {
        attempt_fill(large, status, arena, job);
    } else if (n % 100 >= 97) {
        job->start_at_ms = large->now_ms + HOUR_MS;
    }
    return job;
}

static void importer_send(struct large *large, struct call *call)
{
    const uint64_t left = large->jobs - large->sent;
    const uint32_t n = left < IMPORT_EACH ? (uint32_t)left : IMPORT_EACH;
    if (n == 0 || bench_interrupted()) {
        large->calls_open--;
        return;
    }
    arena_reset(&large->arena);
    Silo__V1__ImportJobsRequest m = SILO__V1__IMPORT_JOBS_REQUEST__INIT;
    m.n_jobs = n;
    m.jobs = arena_alloc(&large->arena, n * sizeof *m.jobs);
    for (uint32_t i = 0; i < n; i++) {
        m.jobs[i] = import_job(large, large->sent + i, id_of(large->sent + i, &large->arena));
    }
    large->sent += n;
    call_send(call, SILO_PATH("ImportJobs"), &m, 0);
}

static void importer_done(struct call *call)
{
    struct large *large = call->owner;
    Silo__V1__ImportJobsResponse *m = silo__v1__import_jobs_response__unpack(
        NULL, call->request.reply.len, call->request.reply.ptr);
    for (size_t i = 0; m != NULL && i < m->n_results; i++) {
        if (m->results[i]->success) {
            large->imported++;
        } else if (large->bench->errors++ == 0) {
            (void)snprintf(large->bench->first_error, sizeof large->bench->first_error,
                           "ImportJobs, one job: %s", m->results[i]->error);
        }
    }
    if (m != NULL) {
        silo__v1__import_jobs_response__free_unpacked(m, NULL);
    }
    importer_send(large, call);
}

static void importer_failed(struct call *call)
{
    struct large *large = call->owner;
    call_count_error(call);
    large->calls_open--;
}

static void import_start(void *context)
{
    struct large *large = context;
    large->calls_open = IMPORTERS;
    for (uint32_t i = 0; i < IMPORTERS; i++) {
        large->importers[i] = (struct call){.bench = large->bench,
                                            .place = i,
                                            .series = large->import,
                                            .done = importer_done,
                                            .failed = importer_failed,
                                            .owner = large};
        importer_send(large, &large->importers[i]);
    }
}

static bool import_over(void *context)
{
    const struct large *large = context;
    return large->calls_open == 0;
}

static void import_all(struct large *large)
{
    struct bench *bench = large->bench;
    large->import = bench_series(bench, "set: import call of 250");
    bench_watch(bench, "imported", &large->imported, large->import, NULL, NULL);
    const struct usage before = bench_usage(bench);
    bench_on_loop(bench, import_start, large);
    (void)bench_wait(bench, IMPORT_SECONDS, import_over, large);
    (void)bench_rate(bench, "imported", large->imported, &before);
    bench_check(bench, large->imported == large->jobs, "the set is there: %llu of %llu jobs",
                (unsigned long long)large->imported, (unsigned long long)large->jobs);
}

/* --- jobs of the operations: tenant large-ops --- */

struct recipe {
    struct large *large;
    const char *group, *key, *prefix; /* prefix: of the ids; NULL = the server makes them */
    uint32_t slots;
    int64_t start_at_ms;
};

static void fill_recipe(void *context, uint32_t n, struct arena *arena,
                        Silo__V1__EnqueueRequest *job)
{
    const struct recipe *recipe = context;
    job->tenant_opt_case = SILO__V1__ENQUEUE_REQUEST__TENANT_OPT_TENANT;
    job->tenant = lend(LARGE_PREFIX "-ops");
    job->task_group = lend(recipe->group);
    job->start_at_ms = recipe->start_at_ms;
    if (recipe->prefix != NULL) {
        job->id = arena_printf(arena, "%s-%u", recipe->prefix, n);
    }
    if (recipe->key != NULL) {
        limits_set(arena, job, limit_fixed(arena, recipe->key, recipe->slots), NULL);
    }
}

static void prepare(struct large *large)
{
    struct bench *bench = large->bench;
    struct recipe ahead = {.large = large,
                           .group = "large-ahead",
                           .prefix = "ahead",
                           .start_at_ms = large->now_ms + YEAR_MS};
    sync_enqueue(bench, large->ops, fill_recipe, &ahead);
    struct recipe plain = {.large = large, .group = "large-lease", .prefix = "lease"};
    sync_enqueue(bench, large->ops, fill_recipe, &plain);
    struct recipe cancel = {.large = large, .group = "large-cancel", .prefix = "cancel"};
    sync_enqueue(bench, large->ops, fill_recipe, &cancel);
    struct recipe deep = {.large = large,
                          .group = "large-deep",
                          .key = "deep",
                          .slots = DEEP_SLOTS,
                          .prefix = "deep"};
    sync_enqueue(bench, DEEP_SLOTS + large->ops + (uint32_t)(large->jobs / DEEP_SHARE), fill_recipe,
                 &deep);
}

/* --- measured operations --- */

struct op {
    const char *path;
    const ProtobufCMessage *message;
};

/* Calls op number 0..warm-up+rounds-1 one after the other. */
static void measure(struct large *large, const char *name, uint32_t count,
                    struct op (*make)(struct large *large, uint32_t i))
{
    struct bench *bench = large->bench;
    struct series *series = bench_series(bench, name);
    const uint32_t warmup = opt(bench, OPT_WARMUP) < count ? opt(bench, OPT_WARMUP) : 0;
    for (uint32_t i = 0; i < count && !bench_interrupted(); i++) {
        arena_reset(&large->arena);
        const struct op op = make(large, i);
        struct rpc_answer answer;
        int64_t us = 0;
        const uint32_t status = ask(bench, op.path, op.message, &us, &answer);
        if (status != RPC_STATUS_OK && bench->errors++ == 0) {
            (void)snprintf(bench->first_error, sizeof bench->first_error, "%s: %s: %.*s", name,
                           grpc_status_name(status), BYTES_FMT(answer.text));
        }
        rpc_answer_deinit(&answer);
        if (i >= warmup) {
            series_add(series, us);
        }
    }
}

/* The next job of the set with that status that was not asked for yet. */
static uint64_t set_job(struct large *large, Silo__V1__JobStatus status)
{
    uint32_t *cursor = &large->cursor[status];
    while (status_of(*cursor) != status) {
        (*cursor)++;
    }
    const uint64_t n = *cursor;
    *cursor += 7; /* 7 and 100 have no common divisor: all tenants and times get their turn */
    return n % large->jobs;
}

static struct op op_get(struct large *large, uint32_t i)
{
    (void)i;
    const uint64_t n = bench_random_below(large->jobs);
    Silo__V1__GetJobRequest *m = ARENA_NEW(&large->arena, Silo__V1__GetJobRequest);
    silo__v1__get_job_request__init(m);
    m->shard = large->bench->shards[0].id;
    m->id = id_of(n, &large->arena);
    m->tenant_opt_case = SILO__V1__GET_JOB_REQUEST__TENANT_OPT_TENANT;
    m->tenant = tenant_of(large, n, &large->arena);
    return (struct op){SILO_PATH("GetJob"), &m->base};
}

static struct op op_enqueue_like(struct large *large, const struct recipe *recipe)
{
    Silo__V1__EnqueueRequest *m = ARENA_NEW(&large->arena, Silo__V1__EnqueueRequest);
    silo__v1__enqueue_request__init(m);
    m->shard = large->bench->shards[0].id;
    m->priority = 50;
    m->payload = blob_new(&large->arena, 64, 0);
    fill_recipe((void *)(uintptr_t)recipe, large->sequence++, &large->arena, m);
    return (struct op){SILO_PATH("Enqueue"), &m->base};
}

static struct op op_enqueue(struct large *large, uint32_t i)
{
    (void)i;
    const struct recipe recipe = {.group = "large-new"};
    return op_enqueue_like(large, &recipe);
}

static struct op op_enqueue_id(struct large *large, uint32_t i)
{
    (void)i;
    const struct recipe recipe = {.group = "large-new", .prefix = "new"};
    return op_enqueue_like(large, &recipe);
}

static struct op op_enqueue_empty(struct large *large, uint32_t i)
{
    (void)i;
    const struct recipe recipe = {
        .group = "large-new", .prefix = "new", .key = "empty", .slots = EMPTY_SLOTS};
    return op_enqueue_like(large, &recipe);
}

static struct op op_enqueue_deep(struct large *large, uint32_t i)
{
    (void)i;
    const struct recipe recipe = {
        .group = "large-deep", .prefix = "new", .key = "deep", .slots = DEEP_SLOTS};
    return op_enqueue_like(large, &recipe);
}

static struct op op_lease_task(struct large *large, uint32_t i)
{
    (void)i;
    Silo__V1__LeaseTasksRequest *m = ARENA_NEW(&large->arena, Silo__V1__LeaseTasksRequest);
    silo__v1__lease_tasks_request__init(m);
    m->worker_id = lend("bench");
    m->max_tasks = 1;
    m->task_group = lend("large-new");
    m->shard_opt_case = SILO__V1__LEASE_TASKS_REQUEST__SHARD_OPT_SHARD;
    m->shard = large->bench->shards[0].id;
    return (struct op){SILO_PATH("LeaseTasks"), &m->base};
}

static struct op op_heartbeat(struct large *large, uint32_t i)
{
    Silo__V1__HeartbeatRequest *m = ARENA_NEW(&large->arena, Silo__V1__HeartbeatRequest);
    silo__v1__heartbeat_request__init(m);
    m->shard = large->bench->shards[0].id;
    m->worker_id = lend("bench");
    m->task_id = large->tasks[i % 5].text;
    m->tenant_id_opt_case = SILO__V1__HEARTBEAT_REQUEST__TENANT_ID_OPT_TENANT_ID;
    m->tenant_id = lend(LARGE_PREFIX "-ops");
    return (struct op){SILO_PATH("Heartbeat"), &m->base};
}

static struct op op_report(struct large *large, uint32_t i)
{
    Silo__V1__ReportOutcomeRequest *m = ARENA_NEW(&large->arena, Silo__V1__ReportOutcomeRequest);
    silo__v1__report_outcome_request__init(m);
    m->shard = large->bench->shards[0].id;
    m->task_id = large->tasks[i].text;
    m->outcome_case = SILO__V1__REPORT_OUTCOME_REQUEST__OUTCOME_SUCCESS;
    m->success = blob_true();
    m->tenant_id_opt_case = SILO__V1__REPORT_OUTCOME_REQUEST__TENANT_ID_OPT_TENANT_ID;
    m->tenant_id = lend(LARGE_PREFIX "-ops");
    return (struct op){SILO_PATH("ReportOutcome"), &m->base};
}

static struct op op_cancel_id(struct large *large, const char *prefix, uint32_t n)
{
    Silo__V1__CancelJobRequest *m = ARENA_NEW(&large->arena, Silo__V1__CancelJobRequest);
    silo__v1__cancel_job_request__init(m);
    m->shard = large->bench->shards[0].id;
    m->id = arena_printf(&large->arena, "%s-%u", prefix, n);
    m->tenant_opt_case = SILO__V1__CANCEL_JOB_REQUEST__TENANT_OPT_TENANT;
    m->tenant = lend(LARGE_PREFIX "-ops");
    return (struct op){SILO_PATH("CancelJob"), &m->base};
}

static struct op op_cancel(struct large *large, uint32_t i)
{
    return op_cancel_id(large, "cancel", i);
}

static struct op op_cancel_deep(struct large *large, uint32_t i)
{
    return op_cancel_id(large, "deep", DEEP_SLOTS + i);
}

static struct op op_expedite(struct large *large, uint32_t i)
{
    Silo__V1__ExpediteJobRequest *m = ARENA_NEW(&large->arena, Silo__V1__ExpediteJobRequest);
    silo__v1__expedite_job_request__init(m);
    m->shard = large->bench->shards[0].id;
    m->id = arena_printf(&large->arena, "ahead-%u", i);
    m->tenant_opt_case = SILO__V1__EXPEDITE_JOB_REQUEST__TENANT_OPT_TENANT;
    m->tenant = lend(LARGE_PREFIX "-ops");
    return (struct op){SILO_PATH("ExpediteJob"), &m->base};
}

static struct op op_restart(struct large *large, uint32_t i)
{
    (void)i;
    const uint64_t n = set_job(large, SILO__V1__JOB_STATUS__JOB_STATUS_FAILED);
    Silo__V1__RestartJobRequest *m = ARENA_NEW(&large->arena, Silo__V1__RestartJobRequest);
    silo__v1__restart_job_request__init(m);
    m->shard = large->bench->shards[0].id;
    m->id = id_of(n, &large->arena);
    m->tenant_opt_case = SILO__V1__RESTART_JOB_REQUEST__TENANT_OPT_TENANT;
    m->tenant = tenant_of(large, n, &large->arena);
    return (struct op){SILO_PATH("RestartJob"), &m->base};
}

static struct op op_delete(struct large *large, uint32_t i)
{
    (void)i;
    const uint64_t n = set_job(large, SILO__V1__JOB_STATUS__JOB_STATUS_SUCCEEDED);
    Silo__V1__DeleteJobRequest *m = ARENA_NEW(&large->arena, Silo__V1__DeleteJobRequest);
    silo__v1__delete_job_request__init(m);
    m->shard = large->bench->shards[0].id;
    m->id = id_of(n, &large->arena);
    m->tenant_opt_case = SILO__V1__DELETE_JOB_REQUEST__TENANT_OPT_TENANT;
    m->tenant = tenant_of(large, n, &large->arena);
    return (struct op){SILO_PATH("DeleteJob"), &m->base};
}

static struct op op_import(struct large *large, uint32_t i)
{
    Silo__V1__ImportJobsRequest *m = ARENA_NEW(&large->arena, Silo__V1__ImportJobsRequest);
    silo__v1__import_jobs_request__init(m);
    m->n_jobs = IMPORT_CALL_JOBS;
    m->jobs = arena_alloc(&large->arena, IMPORT_CALL_JOBS * sizeof *m->jobs);
    for (uint32_t k = 0; k < IMPORT_CALL_JOBS; k++) {
        const uint64_t n = large->jobs + (uint64_t)i * IMPORT_CALL_JOBS + k;
        m->jobs[k] = import_job(large, n, id_of(n, &large->arena));
    }
    return (struct op){SILO_PATH("ImportJobs"), &m->base};
}

/*
 * Frees `slots` slots of a queue with `waiters` waiters; from the report to the last of their
 * leases.
 */
static void grant_pass(struct large *large, uint32_t slots, uint32_t waiters)
{
    struct bench *bench = large->bench;
    char key[32], group[32];
    (void)snprintf(key, sizeof key, "pass-%u", slots);
    (void)snprintf(group, sizeof group, "large-pass-%u", slots);
    struct recipe recipe = {.large = large, .group = group, .key = key, .slots = slots};
    struct task_id *tasks = xcalloc(slots, sizeof *tasks);
    sync_enqueue(bench, slots, fill_recipe, &recipe);
    bool ok = sync_lease_all(bench, group, slots, tasks);
    sync_enqueue(bench, waiters, fill_recipe, &recipe);
    const int64_t start = env_mono_us(&env_system);
    if (ok) {
        sync_report(bench, LARGE_PREFIX "-ops", tasks, slots);
        ok = sync_lease_all(bench, group, slots, tasks);
    }
    bench_fact(bench, bench_seconds_since(start) * 1e3, "grant_%u_of_%u_ms", slots, waiters);
    bench_check(bench, ok, "grant %u of %u waiters", slots, waiters);
    if (ok) {
        sync_report(bench, LARGE_PREFIX "-ops", tasks, slots);
    }
    free(tasks);
}

static void deep_release(struct large *large)
{
    struct bench *bench = large->bench;
    struct task_id running[DEEP_SLOTS];
    if (!sync_lease_all(bench, "large-deep", DEEP_SLOTS, running)) {
        bench_check(bench, false, "the deep queue has running tasks");
        return;
    }
    measure(large, "enqueue onto the deep queue", large->ops, op_enqueue_deep);
    measure(large, "cancel a deep-queue waiter", large->ops, op_cancel_deep);
    struct series *series = bench_series(bench, "deep queue: release to lease");
    for (uint32_t i = 0; i < 4 * DEEP_SLOTS && !bench_interrupted(); i++) {
        const int64_t start = env_mono_us(&env_system);
        sync_report(bench, LARGE_PREFIX "-ops", &running[i % DEEP_SLOTS], 1);
        if (!sync_lease_all(bench, "large-deep", 1, &running[i % DEEP_SLOTS])) {
            bench_check(bench, false, "a freed slot of the deep queue went to a waiter");
            return;
        }
        series_add(series, env_mono_us(&env_system) - start);
    }
    sync_report(bench, LARGE_PREFIX "-ops", running, DEEP_SLOTS);
}

static void large_free(void *thing)
{
    struct large *large = thing;
    for (uint32_t i = 0; i < IMPORTERS; i++) {
        call_deinit(&large->importers[i]);
    }
    arena_deinit(&large->arena);
    free(large->tasks);
    free(large);
}

static void operations(struct large *large)
{
    struct bench *bench = large->bench;
    const uint32_t n = large->ops;
    measure(large, "get job", n, op_get);
    measure(large, "enqueue", n, op_enqueue);
    measure(large, "enqueue with an id", n, op_enqueue_id);
    measure(large, "enqueue with an empty queue", n, op_enqueue_empty);
    measure(large, "lease 1", n, op_lease_task);
    if (sync_lease_all(bench, "large-lease", n, large->tasks)) {
        measure(large, "heartbeat", n, op_heartbeat);
        measure(large, "report success", n, op_report);
    } else {
        bench_check(bench, false, "the tasks to report were leased");
    }
    measure(large, "cancel", n, op_cancel);
    measure(large, "expedite", n, op_expedite);
    measure(large, "restart a failed job", n, op_restart);
    measure(large, "delete a succeeded job", n, op_delete);
    measure(large, "import call of 50", n, op_import);
    deep_release(large);
    grant_pass(large, 5, 20);
    grant_pass(large, 50, 200);
    grant_pass(large, 500, 1000);
}

static void run(struct bench *bench)
{
    if (!bench->tenancy || bench->shard_count != 1) {
        bench_die("this scenario needs a server with tenancy and one shard");
    }
    struct large *large = xcalloc(1, sizeof *large);
    large->bench = bench;
    large->jobs = opt(bench, OPT_JOBS);
    large->ops = opt(bench, OPT_WARMUP) + opt(bench, OPT_ROUNDS);
    large->now_ms = env_wall_ms(&env_system);
    large->tasks = xcalloc(large->ops + 5u, sizeof *large->tasks);
    arena_init(&large->arena);
    zipf_make(large);
    bench_free_later(bench, large_free, large);
    import_all(large);
    prepare(large);
    if (!bench_interrupted()) {
        operations(large);
    }
}

static const struct preset presets[] = {
    {OPT_JOBS, 50000}, {OPT_WARMUP, 3}, {OPT_ROUNDS, 100}, {OPT_CONNECTIONS, 4}};
const struct scenario scenario_large = {
    .name = "large",
    .summary = "a shard with a long past: every operation, one at a time",
    .text =
        "Imports --jobs jobs (500000 or 10000000 for a full run) of 300 tenants by Zipf's law:\n"
        "60 % succeeded, 20 % failed, 10 % cancelled, 7 % waiting, 3 % an hour ahead, with two\n"
        "labels each; beside them jobs a year ahead and a queue of 5 slots with a waiter for "
        "every\n"
        "25 jobs. Then calls each operation --warmup + --rounds times, alone: get, enqueue "
        "(plain,\n"
        "with an id, with an empty queue, onto the deep queue), lease, heartbeat, report, cancel\n"
        "(plain, in the deep queue), expedite, restart, delete, import of 50; then grants of 5 of\n"
        "20, 50 of 200 and 500 of 1000 waiters.",
    SCENARIO_PRESETS(presets),
    .tenancy = true,
    .run = run};
