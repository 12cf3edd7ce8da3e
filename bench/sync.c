/* bench/sync.c - see sync.h. All of it goes to the first shard. */
#include "sync.h"

#include <string.h>

#define ENQUEUE_EACH 500u
#define LEASE_SECONDS 60.0

uint32_t sync_lease(struct bench *bench, const char *group, uint32_t max, uint32_t wait_ms,
                    struct task_id *ret_ids)
{
    Silo__V1__LeaseTasksRequest m = SILO__V1__LEASE_TASKS_REQUEST__INIT;
    m.worker_id = lend("bench");
    m.max_tasks = max;
    m.wait_ms = wait_ms;
    m.task_group = lend(group);
    m.shard_opt_case = SILO__V1__LEASE_TASKS_REQUEST__SHARD_OPT_SHARD;
    m.shard = bench->shards[0].id;
    struct rpc_answer answer;
    ask_ok(bench, SILO_PATH("LeaseTasks"), &m, NULL, &answer);
    Silo__V1__LeaseTasksResponse *reply =
        silo__v1__lease_tasks_response__unpack(NULL, answer.reply.len, answer.reply.ptr);
    uint32_t n = 0;
    for (; reply != NULL && n < reply->n_tasks && n < max; n++) {
        (void)snprintf(ret_ids[n].text, sizeof ret_ids[n].text, "%s", reply->tasks[n]->id);
    }
    if (reply != NULL) {
        silo__v1__lease_tasks_response__free_unpacked(reply, NULL);
    }
    rpc_answer_deinit(&answer);
    return n;
}

bool sync_lease_all(struct bench *bench, const char *group, uint32_t count, struct task_id *ret_ids)
{
    const int64_t start = env_mono_us(&env_system);
    uint32_t n = 0;
    while (n < count && bench_seconds_since(start) < LEASE_SECONDS && !bench_interrupted()) {
        n += sync_lease(bench, group, count - n, 1000, ret_ids + n);
    }
    return n == count;
}

void sync_report(struct bench *bench, const char *tenant, const struct task_id *ids, uint32_t count)
{
    struct arena arena;
    arena_init(&arena);
    Silo__V1__ReportOutcomesRequest m = SILO__V1__REPORT_OUTCOMES_REQUEST__INIT;
    m.shard = bench->shards[0].id;
    m.n_outcomes = count;
    m.outcomes = arena_alloc(&arena, count * sizeof *m.outcomes);
    for (uint32_t i = 0; i < count; i++) {
        Silo__V1__ReportOutcomeRequest *item = ARENA_NEW(&arena, Silo__V1__ReportOutcomeRequest);
        silo__v1__report_outcome_request__init(item);
        item->task_id = lend(ids[i].text);
        item->outcome_case = SILO__V1__REPORT_OUTCOME_REQUEST__OUTCOME_SUCCESS;
        item->success = blob_true();
        if (tenant != NULL) {
            item->tenant_id_opt_case = SILO__V1__REPORT_OUTCOME_REQUEST__TENANT_ID_OPT_TENANT_ID;
            item->tenant_id = lend(tenant);
        }
        m.outcomes[i] = item;
    }
    struct rpc_answer answer;
    ask_ok(bench, SILO_PATH("ReportOutcomes"), &m, NULL, &answer);
    Silo__V1__ReportOutcomesResponse *reply =
        silo__v1__report_outcomes_response__unpack(NULL, answer.reply.len, answer.reply.ptr);
    for (size_t i = 0; reply != NULL && i < reply->n_results; i++) {
        if (reply->results[i]->code != 0) {
            bench_die("ReportOutcomes, one of them: %s", reply->results[i]->message);
        }
    }
    if (reply != NULL) {
        silo__v1__report_outcomes_response__free_unpacked(reply, NULL);
    }
    rpc_answer_deinit(&answer);
    arena_deinit(&arena);
}

static void enqueue_some(struct bench *bench, uint32_t from, uint32_t count,
                         void (*fill)(void *context, uint32_t n, struct arena *arena,
                                      Silo__V1__EnqueueRequest *job),
                         void *context)
{
    struct arena arena;
    arena_init(&arena);
    Silo__V1__EnqueueManyRequest m = SILO__V1__ENQUEUE_MANY_REQUEST__INIT;
    m.shard = bench->shards[0].id;
    m.n_jobs = count;
    m.jobs = arena_alloc(&arena, count * sizeof *m.jobs);
    for (uint32_t i = 0; i < count; i++) {
        Silo__V1__EnqueueRequest *job = ARENA_NEW(&arena, Silo__V1__EnqueueRequest);
        silo__v1__enqueue_request__init(job);
        job->priority = 50;
        job->payload = blob_new(&arena, 64, 0);
        fill(context, from + i, &arena, job);
        m.jobs[i] = job;
    }
    struct rpc_answer answer;
    ask_ok(bench, SILO_PATH("EnqueueMany"), &m, NULL, &answer);
    Silo__V1__EnqueueManyResponse *reply =
        silo__v1__enqueue_many_response__unpack(NULL, answer.reply.len, answer.reply.ptr);
    for (size_t i = 0; reply != NULL && i < reply->n_results; i++) {
        if (reply->results[i]->code != 0) {
            bench_die("EnqueueMany, one job: %s", reply->results[i]->message);
        }
    }
    if (reply != NULL) {
        silo__v1__enqueue_many_response__free_unpacked(reply, NULL);
    }
    rpc_answer_deinit(&answer);
    arena_deinit(&arena);
}

void sync_enqueue(struct bench *bench, uint32_t count,
                  void (*fill)(void *context, uint32_t n, struct arena *arena,
                               Silo__V1__EnqueueRequest *job),
                  void *context)
{
    for (uint32_t from = 0; from < count; from += ENQUEUE_EACH) {
        const uint32_t n = count - from < ENQUEUE_EACH ? count - from : ENQUEUE_EACH;
        enqueue_some(bench, from, n, fill, context);
    }
}
