/*
 * bench/life.c - scenarios `life` and `bulk-life`: closed loops over the whole life of a job.
 *
 * Each client goes round enqueue, lease (a waiting poll), report; what it leases need not be what
 * it enqueued. With --bulk above 1 the three are EnqueueMany, LeaseTasks and ReportOutcomes, and a
 * client polls until it has taken as many tasks as it enqueued.
 */
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "scenarios.h"

#define ROWS_OF_A_LIFE 7 /* straight to a waiting poll; the counter rows of a batch come on top */
#define ENGINE_SECONDS 3.0

struct life {
    struct bench *bench;
    uint64_t enqueued, completed;
    uint32_t clients, bulk, batch, wait_ms, payload;
    struct client *client;
    struct arena arena;
    struct series *enqueue, *lease, *report, *life;
};

struct client {
    struct life *life;
    struct call call;
    const char *shard, *tenant;
    uint32_t owed, reporting;
    int64_t begin_us;
};

static void client_enqueue(struct client *client);
static void client_poll(struct client *client);

static void client_reported(struct call *call)
{
    struct client *client = call->owner;
    struct life *life = client->life;
    uint32_t good = client->reporting;
    if (life->bulk > 1) {
        Silo__V1__ReportOutcomesResponse *m = silo__v1__report_outcomes_response__unpack(
            NULL, call->request.reply.len, call->request.reply.ptr);
        for (size_t i = 0; m != NULL && i < m->n_results; i++) {
            good -= m->results[i]->code != 0 ? 1 : 0;
        }
        if (m != NULL) {
            silo__v1__report_outcomes_response__free_unpacked(m, NULL);
        }
        life->bench->errors += client->reporting - good;
    }
    life->completed += good;
    client->owed -= client->reporting;
    if (client->owed != 0) {
        client_poll(client);
        return;
    }
    series_add(life->life, call->end_us - client->begin_us);
    client_enqueue(client);
}

static void client_report(struct client *client, Silo__V1__LeaseTasksResponse *tasks)
{
    struct life *life = client->life;
    const size_t n = tasks->n_tasks;
    arena_reset(&life->arena);
    Silo__V1__ReportOutcomeRequest *items = arena_alloc(&life->arena, n * sizeof *items);
    Silo__V1__ReportOutcomeRequest **list = arena_alloc(&life->arena, n * sizeof *list);
    for (size_t i = 0; i < n; i++) {
        silo__v1__report_outcome_request__init(&items[i]);
        items[i].shard = lend(client->shard);
        items[i].task_id = tasks->tasks[i]->id;
        items[i].outcome_case = SILO__V1__REPORT_OUTCOME_REQUEST__OUTCOME_SUCCESS;
        items[i].success = blob_true();
        if (client->tenant != NULL) {
            items[i].tenant_id_opt_case = SILO__V1__REPORT_OUTCOME_REQUEST__TENANT_ID_OPT_TENANT_ID;
            items[i].tenant_id = lend(client->tenant);
        }
        list[i] = &items[i];
    }
    client->reporting = (uint32_t)n;
    client->call.series = life->report;
    client->call.done = client_reported;
    if (life->bulk == 1) {
        call_send(&client->call, SILO_PATH("ReportOutcome"), &items[0], 0);
        return;
    }
    Silo__V1__ReportOutcomesRequest m = SILO__V1__REPORT_OUTCOMES_REQUEST__INIT;
    m.shard = lend(client->shard);
    m.n_outcomes = n;
    m.outcomes = list;
    call_send(&client->call, SILO_PATH("ReportOutcomes"), &m, 0);
}

static void client_polled(struct call *call)
{
    struct client *client = call->owner;
    Silo__V1__LeaseTasksResponse *m = silo__v1__lease_tasks_response__unpack(
        NULL, call->request.reply.len, call->request.reply.ptr);
    if (m != NULL && m->n_tasks != 0) {
        client_report(client, m);
    } else {
        client_poll(client);
    }
    if (m != NULL) {
        silo__v1__lease_tasks_response__free_unpacked(m, NULL);
    }
}

static void client_poll(struct client *client)
{
    struct life *life = client->life;
    Silo__V1__LeaseTasksRequest m = SILO__V1__LEASE_TASKS_REQUEST__INIT;
    m.worker_id = lend("bench");
    m.max_tasks = client->owed < life->batch ? client->owed : life->batch;
    m.wait_ms = life->wait_ms;
    m.task_group = lend(life->bench->options.group);
    m.shard_opt_case = SILO__V1__LEASE_TASKS_REQUEST__SHARD_OPT_SHARD;
    m.shard = lend(client->shard);
    client->call.series = life->lease;
    client->call.done = client_polled;
    call_send(&client->call, SILO_PATH("LeaseTasks"), &m, 0);
}

static void client_enqueued(struct call *call)
{
    struct client *client = call->owner;
    struct life *life = client->life;
    client->owed = life->bulk;
    if (life->bulk > 1) {
        Silo__V1__EnqueueManyResponse *m = silo__v1__enqueue_many_response__unpack(
            NULL, call->request.reply.len, call->request.reply.ptr);
        for (size_t i = 0; m != NULL && i < m->n_results; i++) {
            client->owed -= m->results[i]->code != 0 ? 1 : 0;
        }
        if (m != NULL) {
            silo__v1__enqueue_many_response__free_unpacked(m, NULL);
        }
        life->bench->errors += life->bulk - client->owed;
    }
    life->enqueued += client->owed;
    if (client->owed != 0) {
        client_poll(client);
    }
}

static void client_enqueue(struct client *client)
{
    struct life *life = client->life;
    arena_reset(&life->arena);
    Silo__V1__EnqueueRequest job = SILO__V1__ENQUEUE_REQUEST__INIT;
    job.shard = lend(client->shard);
    job.priority = 50;
    job.task_group = lend(life->bench->options.group);
    job.payload = blob_new(&life->arena, life->payload, 0);
    if (client->tenant != NULL) {
        job.tenant_opt_case = SILO__V1__ENQUEUE_REQUEST__TENANT_OPT_TENANT;
        job.tenant = lend(client->tenant);
    }
    client->call.series = life->enqueue;
    client->call.done = client_enqueued;
    client->begin_us = env_mono_us(&env_system);
    if (life->bulk == 1) {
        call_send(&client->call, SILO_PATH("Enqueue"), &job, client->begin_us);
        return;
    }
    Silo__V1__EnqueueRequest **list = arena_alloc(&life->arena, life->bulk * sizeof *list);
    for (uint32_t i = 0; i < life->bulk; i++) {
        list[i] = &job;
    }
    Silo__V1__EnqueueManyRequest m = SILO__V1__ENQUEUE_MANY_REQUEST__INIT;
    m.shard = lend(client->shard);
    m.n_jobs = life->bulk;
    m.jobs = list;
    call_send(&client->call, SILO_PATH("EnqueueMany"), &m, client->begin_us);
}

static void clients_start(void *context)
{
    struct life *life = context;
    for (uint32_t i = 0; i < life->clients; i++) {
        client_enqueue(&life->client[i]);
    }
}

static void life_free(void *thing)
{
    struct life *life = thing;
    for (uint32_t i = 0; i < life->clients; i++) {
        call_deinit(&life->client[i].call);
    }
    free(life->client);
    arena_deinit(&life->arena);
    free(life);
}

static struct life *life_new(struct bench *bench)
{
    struct life *life = xcalloc(1, sizeof *life);
    *life = (struct life){.bench = bench,
                          .clients = opt(bench, OPT_CLIENTS),
                          .bulk = opt(bench, OPT_BULK) != 0 ? opt(bench, OPT_BULK) : 1,
                          .batch = opt(bench, OPT_BATCH) != 0 ? opt(bench, OPT_BATCH) : 1,
                          .wait_ms = opt(bench, OPT_WAIT_MS),
                          .payload = opt(bench, OPT_PAYLOAD)};
    arena_init(&life->arena);
    life->client = xcalloc(life->clients, sizeof *life->client);
    life->enqueue = bench_series(bench, "enqueue");
    life->lease = bench_series(bench, "lease");
    life->report = bench_series(bench, "report");
    life->life = bench_series(bench, "life");
    const char *tenant = bench->tenancy ? bench->options.prefix : NULL;
    for (uint32_t i = 0; i < life->clients; i++) {
        struct client *client = &life->client[i];
        client->life = life;
        client->tenant = tenant;
        client->shard = bench_shard(bench, tenant, i);
        client->call = (struct call){.bench = bench, .place = i, .owner = client};
    }
    bench_free_later(bench, life_free, life);
    return life;
}

/*
 * The engine is measured with batches as large as those of the jobs were: rows of a commit, up to a
 * shard's bound.
 */
static uint32_t rows_of_a_batch(uint64_t jobs, uint64_t objects)
{
    const uint64_t rows = objects != 0 ? (jobs * ROWS_OF_A_LIFE + objects - 1) / objects : 0;
    return rows != 0 && rows < BATCH_ROWS_MAX ? (uint32_t)rows : BATCH_ROWS_MAX;
}

static void run(struct bench *bench)
{
    struct life *life = life_new(bench);
    bench_watch(bench, "jobs", &life->completed, life->life, &life->enqueued, &life->completed);
    const uint64_t wal = server_wal_objects(bench);
    const struct usage before = bench_usage(bench);
    bench_on_loop(bench, clients_start, life);
    (void)bench_wait(bench, opt(bench, OPT_SECONDS), NULL, NULL);
    bench_quiet(bench);
    const uint64_t jobs = life->completed;
    const double rate = bench_rate(bench, "jobs", jobs, &before);
    const uint64_t objects = server_wal_objects(bench) - wal;
    if (bench->server != NULL && objects != 0) {
        bench_fact(bench, (double)objects, "wal_objects");
        bench_fact(bench, (double)jobs / (double)objects, "jobs_per_wal_object");
    }
    bench_check(bench, jobs != 0, "jobs were completed");
    if (opt(bench, OPT_ENGINE) != 0 && !bench_interrupted()) {
        const double engine =
            engine_rows_per_s(bench, rows_of_a_batch(jobs, objects), 100, ENGINE_SECONDS);
        bench_fact(bench, engine / ROWS_OF_A_LIFE, "engine_rows_per_s_by_%u", ROWS_OF_A_LIFE);
        bench_fact(bench, 100 * rate * ROWS_OF_A_LIFE / engine, "share_of_engine_percent");
    }
}

static const struct preset life_presets[] = {
    {OPT_CLIENTS, 64}, {OPT_CONNECTIONS, 4}, {OPT_SECONDS, 10},
    {OPT_PAYLOAD, 64}, {OPT_WAIT_MS, 10000}, {OPT_ENGINE, 0},
};

const struct scenario scenario_life = {
    .name = "life",
    .summary = "enqueue, lease, report in closed loops of single calls",
    .text =
        "N clients go round a closed loop of single calls: Enqueue, LeaseTasks (a waiting poll\n"
        "for one task), ReportOutcome. Reports jobs a second, the latency of each call, and of\n"
        "the whole life. --engine 1 measures the engine alone in the same run and prints what\n"
        "share of its rows the jobs amount to, in batches as large as the jobs' commits were.",
    SCENARIO_PRESETS(life_presets),
    .run = run};

static const struct preset bulk_presets[] = {
    {OPT_CLIENTS, 16}, {OPT_CONNECTIONS, 4}, {OPT_SECONDS, 10},    {OPT_BULK, 100},
    {OPT_BATCH, 100},  {OPT_PAYLOAD, 64},    {OPT_WAIT_MS, 10000}, {OPT_ENGINE, 0},
};

const struct scenario scenario_bulk_life = {
    .name = "bulk-life",
    .summary = "the same with EnqueueMany, LeaseTasks of many, ReportOutcomes",
    .text =
        "As `life`, with bulk calls: each client enqueues --bulk jobs in one call, polls up to\n"
        "--batch tasks at a time until it has as many, and reports what each poll brought in one\n"
        "call. `life` in the table is the time of such a round.",
    SCENARIO_PRESETS(bulk_presets),
    .run = run};
