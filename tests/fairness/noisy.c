/*
 * tests/fairness/noisy.c - the noisy neighbour: what is left of a tenant's throughput while another drains a backlog.
 *
 * Each job takes a slot of its queue, which has one, and then a slot of its tenant's floating limit, which has enough. Tenant B
 * drains its backlog alone; then again while tenant A, with three times the queues and eight times the jobs, drains its own and
 * had a head start. Both have eight workers and a task group of their own; a worker leases up to eight tasks and reports them in
 * one call. Rounds alternate, so that a machine that grows slow hits both measures; the figures are medians.
 *
 * One loop thread drives all workers; what it costs is printed as CPU per job, for it shares the machine with the server.
 * The server wants tenancy, one shard, and flush_interval 1ms (docs/internals/testing.md shows how).
 *
 * Units      us of the monotonic clock; jobs/s.
 * Threads    main enqueues, starts workers and waits; a worker's callbacks run on the loop.
 * Limits     see TASKS_MAX; ids of tasks are UUIDs.
 */
#include <getopt.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/env.h"
#include "rpc/rpc.h"
#include "silo.pb-c.h"

#define WORKERS 8
#define TASKS_MAX 8 /* of one poll */
#define ID_MAX 64
#define FLOATING_SLOTS 360
#define REFRESH_MS 600000
#define HEAD_START_US 200000
#define ENQUEUE_BATCH 160u
#define CALL_US (60 * 1000000LL)
#define POLL_WAIT_MS 500u
#define ROUNDS_MAX 101

struct noisy;
struct tenant;

struct worker {
    struct tenant *tenant;
    struct rpc_channel *channel;
    struct rpc_request request;
    char ids[TASKS_MAX][ID_MAX]; /* tasks to report */
    size_t count;
    uint8_t message[2048];
};

struct tenant {
    struct noisy *noisy;
    const char *name;
    uint32_t queues, jobs_per_queue;
    char group[ID_MAX];
    struct worker workers[WORKERS];
    uint32_t total;
    _Atomic uint32_t done; /* written by the loop */
    uint32_t resting;      /* workers that have stopped */
    int64_t start_us, end_us;
    uint32_t other_done; /* by the other tenant when this one was done */
    sem_t finished;      /* posted when all workers rest */
};

struct noisy {
    const char *addr;
    uint32_t rounds, scale;
    char shard[ID_MAX];
    struct rpc_loop *loop;
    struct tenant a, b;
    _Atomic uint32_t failed;
};

static char *lend_text(const char *text)
{
    return (char *)(uintptr_t)text;
}

static void die(const char *what, uint32_t status, struct bytes text)
{
    (void)fprintf(stderr, "noisy: %s: %s: %.*s\n", what, grpc_status_name(status), BYTES_FMT(text));
    exit(1);
}

/* --- workers --- */

static void worker_poll(struct worker *worker);

static void worker_rest(struct worker *worker)
{
    struct tenant *tenant = worker->tenant;
    if (++tenant->resting == WORKERS) {
        ASSERT(sem_post(&tenant->finished) == 0);
    }
}

static void worker_send(struct worker *worker, const char *path, size_t len,
                        void (*on_done)(struct rpc_request *))
{
    worker->request = (struct rpc_request){.path = path,
                                           .message = bytes_of(worker->message, len),
                                           .timeout_us = CALL_US,
                                           .on_done = on_done,
                                           .context = worker};
    rpc_channel_call(worker->channel, &worker->request);
}

static bool worker_failed(struct worker *worker)
{
    const struct rpc_request *request = &worker->request;
    if (request->status == RPC_STATUS_OK) {
        return false;
    }
    (void)fprintf(stderr, "noisy: %s: %s: %.*s\n", request->path, grpc_status_name(request->status),
                  BYTES_FMT(request->text));
    atomic_fetch_add(&worker->tenant->noisy->failed, 1);
    worker_rest(worker);
    return true;
}

/* Counts what was reported; the last one ends the measure. */
static void tenant_progress(struct tenant *tenant, uint32_t count)
{
    struct noisy *noisy = tenant->noisy;
    tenant->done += count;
    if (tenant->done == tenant->total) {
        tenant->end_us = env_mono_us(&env_system);
        tenant->other_done = tenant == &noisy->a ? noisy->b.done : noisy->a.done;
    }
}

static void worker_reported(struct rpc_request *request)
{
    struct worker *worker = request->context;
    if (worker_failed(worker)) {
        return;
    }
    Silo__V1__ReportOutcomesResponse *m =
        silo__v1__report_outcomes_response__unpack(NULL, request->reply.len, request->reply.ptr);
    ASSERT(m != NULL && m->n_results == worker->count);
    uint32_t count = 0;
    for (size_t i = 0; i < m->n_results; i++) {
        count += m->results[i]->code == RPC_STATUS_OK;
    }
    if (count != worker->count) {
        atomic_fetch_add(&worker->tenant->noisy->failed, 1);
    }
    silo__v1__report_outcomes_response__free_unpacked(m, NULL);
    tenant_progress(worker->tenant, count);
    worker_poll(worker);
}

static void worker_report(struct worker *worker)
{
    uint8_t nothing[] = {0xc0}; /* MessagePack nil */
    Silo__V1__SerializedBytes blob = SILO__V1__SERIALIZED_BYTES__INIT;
    blob.encoding_case = SILO__V1__SERIALIZED_BYTES__ENCODING_MSGPACK;
    blob.msgpack = (ProtobufCBinaryData){.len = sizeof nothing, .data = nothing};
    Silo__V1__ReportOutcomeRequest items[TASKS_MAX];
    Silo__V1__ReportOutcomeRequest *pointers[TASKS_MAX];
    for (size_t i = 0; i < worker->count; i++) {
        silo__v1__report_outcome_request__init(&items[i]);
        items[i].task_id = worker->ids[i];
        items[i].tenant_id_opt_case = SILO__V1__REPORT_OUTCOME_REQUEST__TENANT_ID_OPT_TENANT_ID;
        items[i].tenant_id = lend_text(worker->tenant->name);
        items[i].outcome_case = SILO__V1__REPORT_OUTCOME_REQUEST__OUTCOME_SUCCESS;
        items[i].success = &blob;
        pointers[i] = &items[i];
    }
    Silo__V1__ReportOutcomesRequest m = SILO__V1__REPORT_OUTCOMES_REQUEST__INIT;
    m.shard = worker->tenant->noisy->shard;
    m.n_outcomes = worker->count;
    m.outcomes = pointers;
    ASSERT(silo__v1__report_outcomes_request__get_packed_size(&m) <= sizeof worker->message);
    worker_send(worker, "/silo.v1.Silo/ReportOutcomes",
                silo__v1__report_outcomes_request__pack(&m, worker->message), worker_reported);
}

static void worker_leased(struct rpc_request *request)
{
    struct worker *worker = request->context;
    if (worker_failed(worker)) {
        return;
    }
    Silo__V1__LeaseTasksResponse *m =
        silo__v1__lease_tasks_response__unpack(NULL, request->reply.len, request->reply.ptr);
    ASSERT(m != NULL && m->n_tasks <= TASKS_MAX);
    worker->count = m->n_tasks;
    for (size_t i = 0; i < m->n_tasks; i++) {
        (void)snprintf(worker->ids[i], ID_MAX, "%s", m->tasks[i]->id);
    }
    silo__v1__lease_tasks_response__free_unpacked(m, NULL);
    if (worker->count != 0) {
        worker_report(worker);
    } else {
        worker_poll(worker);
    }
}

static void worker_poll(struct worker *worker)
{
    struct tenant *tenant = worker->tenant;
    if (tenant->done >= tenant->total) {
        worker_rest(worker);
        return;
    }
    Silo__V1__LeaseTasksRequest m = SILO__V1__LEASE_TASKS_REQUEST__INIT;
    m.shard_opt_case = SILO__V1__LEASE_TASKS_REQUEST__SHARD_OPT_SHARD;
    m.shard = tenant->noisy->shard;
    m.worker_id = lend_text(tenant->name);
    m.max_tasks = TASKS_MAX;
    m.task_group = tenant->group;
    m.wait_ms = POLL_WAIT_MS;
    ASSERT(silo__v1__lease_tasks_request__get_packed_size(&m) <= sizeof worker->message);
    worker_send(worker, "/silo.v1.Silo/LeaseTasks",
                silo__v1__lease_tasks_request__pack(&m, worker->message), worker_leased);
}

/* --- a tenant's round --- */

static void call_wait(struct tenant *tenant, const char *path, struct bytes message,
                      struct rpc_answer *answer)
{
    rpc_channel_call_wait(tenant->workers[0].channel, path, message, CALL_US, answer);
    if (answer->status != RPC_STATUS_OK) {
        die(path, answer->status, answer->text);
    }
}

static void enqueue_many(struct tenant *tenant, Silo__V1__EnqueueRequest *job, uint32_t count)
{
    Silo__V1__EnqueueRequest *jobs[ENQUEUE_BATCH];
    for (uint32_t i = 0; i < count; i++) {
        jobs[i] = job;
    }
    Silo__V1__EnqueueManyRequest m = SILO__V1__ENQUEUE_MANY_REQUEST__INIT;
    m.shard = tenant->noisy->shard;
    m.jobs = jobs;
    m.n_jobs = count;
    const size_t size = silo__v1__enqueue_many_request__get_packed_size(&m);
    uint8_t *buffer = xmalloc(size);
    (void)silo__v1__enqueue_many_request__pack(&m, buffer);
    struct rpc_answer answer;
    call_wait(tenant, "/silo.v1.Silo/EnqueueMany", bytes_of(buffer, size), &answer);
    Silo__V1__EnqueueManyResponse *reply =
        silo__v1__enqueue_many_response__unpack(NULL, answer.reply.len, answer.reply.ptr);
    ASSERT(reply != NULL && reply->n_results == count);
    for (uint32_t i = 0; i < count; i++) {
        if (reply->results[i]->code != RPC_STATUS_OK) {
            die("EnqueueMany", reply->results[i]->code, bytes_str(reply->results[i]->message));
        }
    }
    silo__v1__enqueue_many_response__free_unpacked(reply, NULL);
    rpc_answer_deinit(&answer);
    free(buffer);
}

static void enqueue_queue(struct tenant *tenant, const char *queue, const char *floating)
{
    Silo__V1__ConcurrencyLimit fixed = SILO__V1__CONCURRENCY_LIMIT__INIT;
    fixed.key = lend_text(queue);
    fixed.max_concurrency = 1;
    Silo__V1__FloatingConcurrencyLimit moving = SILO__V1__FLOATING_CONCURRENCY_LIMIT__INIT;
    moving.key = lend_text(floating);
    moving.default_max_concurrency = FLOATING_SLOTS;
    moving.refresh_interval_ms = REFRESH_MS;
    Silo__V1__Limit limits[2] = {SILO__V1__LIMIT__INIT, SILO__V1__LIMIT__INIT};
    limits[0].limit_case = SILO__V1__LIMIT__LIMIT_CONCURRENCY;
    limits[0].concurrency = &fixed;
    limits[1].limit_case = SILO__V1__LIMIT__LIMIT_FLOATING_CONCURRENCY;
    limits[1].floating_concurrency = &moving;
    Silo__V1__Limit *pointers[2] = {&limits[0], &limits[1]};
    Silo__V1__EnqueueRequest job = SILO__V1__ENQUEUE_REQUEST__INIT;
    job.tenant_opt_case = SILO__V1__ENQUEUE_REQUEST__TENANT_OPT_TENANT;
    job.tenant = lend_text(tenant->name);
    job.priority = 50;
    job.task_group = tenant->group;
    job.limits = pointers;
    job.n_limits = 2;
    for (uint32_t left = tenant->jobs_per_queue; left != 0;) {
        const uint32_t count = left < ENQUEUE_BATCH ? left : ENQUEUE_BATCH;
        enqueue_many(tenant, &job, count);
        left -= count;
    }
}

/* A backlog in queues and a group of this round's own. */
static void tenant_fill(struct tenant *tenant, uint32_t round)
{
    char queue[ID_MAX];
    char floating[ID_MAX];
    const long tag = (long)getpid();
    (void)snprintf(tenant->group, sizeof tenant->group, "noisy-%s-%ld-%u", tenant->name, tag,
                   round);
    (void)snprintf(floating, sizeof floating, "floating-%ld-%u", tag, round);
    for (uint32_t i = 0; i < tenant->queues; i++) {
        (void)snprintf(queue, sizeof queue, "queue-%ld-%u-%u", tag, round, i);
        enqueue_queue(tenant, queue, floating);
    }
    tenant->total = tenant->queues * tenant->jobs_per_queue;
    tenant->done = 0;
    tenant->resting = 0;
}

struct start {
    struct rpc_mail mail;
    struct tenant *tenant;
};

static void tenant_start_here(struct rpc_mail *mail)
{
    struct start *start = (struct start *)mail;
    struct tenant *tenant = start->tenant;
    free(start);
    tenant->start_us = env_mono_us(&env_system);
    for (size_t i = 0; i < WORKERS; i++) {
        worker_poll(&tenant->workers[i]);
    }
}

static void tenant_start(struct tenant *tenant)
{
    struct start *start = xcalloc(1, sizeof *start);
    start->mail.run = tenant_start_here;
    start->tenant = tenant;
    rpc_loop_post(tenant->noisy->loop, &start->mail);
}

static void tenant_wait(struct tenant *tenant)
{
    while (sem_wait(&tenant->finished) != 0) {
    }
}

static double tenant_rate(const struct tenant *tenant)
{
    return (double)tenant->total * 1e6 / (double)(tenant->end_us - tenant->start_us);
}

static void tenant_init(struct tenant *tenant, struct noisy *noisy, const char *name,
                        uint32_t queues, uint32_t jobs_per_queue)
{
    tenant->noisy = noisy;
    tenant->name = name;
    tenant->queues = queues;
    tenant->jobs_per_queue = jobs_per_queue * noisy->scale;
    ASSERT(sem_init(&tenant->finished, 0, 0) == 0);
    for (size_t i = 0; i < WORKERS; i++) {
        struct silo_err err;
        const struct rpc_channel_options options = {.target = noisy->addr};
        tenant->workers[i].tenant = tenant;
        if (rpc_channel_new(noisy->loop, &options, &tenant->workers[i].channel, &err).code !=
            SILO_OK) {
            (void)fprintf(stderr, "noisy: %s\n", err.text);
            exit(1);
        }
    }
}

static void tenant_deinit(struct tenant *tenant)
{
    for (size_t i = 0; i < WORKERS; i++) {
        tenant->workers[i].channel = rpc_channel_free(tenant->workers[i].channel);
    }
    ASSERT(sem_destroy(&tenant->finished) == 0);
}

/* --- rounds --- */

static double own_cpu_s(void)
{
    struct rusage usage;
    ASSERT(getrusage(RUSAGE_SELF, &usage) == 0);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, compare_doubles);
    return count % 2 != 0 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static void noisy_find_shard(struct noisy *noisy)
{
    struct rpc_answer answer;
    call_wait(&noisy->b, "/silo.v1.Silo/GetClusterInfo", BYTES_NONE, &answer);
    Silo__V1__GetClusterInfoResponse *m =
        silo__v1__get_cluster_info_response__unpack(NULL, answer.reply.len, answer.reply.ptr);
    ASSERT(m != NULL && m->n_shard_owners != 0);
    if (m->n_shard_owners != 1) {
        (void)fputs("noisy: the server must have one shard\n", stderr);
        exit(1);
    }
    (void)snprintf(noisy->shard, sizeof noisy->shard, "%s", m->shard_owners[0]->shard_id);
    silo__v1__get_cluster_info_response__free_unpacked(m, NULL);
    rpc_answer_deinit(&answer);
}

static void noisy_run(struct noisy *noisy)
{
    double alone[ROUNDS_MAX];
    double shared[ROUNDS_MAX];
    double ratios[ROUNDS_MAX];
    (void)printf("%5s %12s %12s %10s %12s %14s\n", "round", "B alone/s", "B with A/s", "retained",
                 "A jobs/s", "A done at B's end");
    for (uint32_t i = 0; i < noisy->rounds; i++) {
        tenant_fill(&noisy->b, 2 * i);
        double cpu = own_cpu_s();
        tenant_start(&noisy->b);
        tenant_wait(&noisy->b);
        cpu = own_cpu_s() - cpu;
        alone[i] = tenant_rate(&noisy->b);
        tenant_fill(&noisy->b, 2 * i + 1);
        tenant_fill(&noisy->a, 2 * i + 1);
        tenant_start(&noisy->a);
        (void)usleep(HEAD_START_US);
        const uint32_t before = noisy->a.done;
        tenant_start(&noisy->b);
        tenant_wait(&noisy->b);
        tenant_wait(&noisy->a);
        shared[i] = tenant_rate(&noisy->b);
        ratios[i] = shared[i] / alone[i];
        const double b_s = (double)(noisy->b.end_us - noisy->b.start_us) / 1e6;
        (void)printf("%5u %12.0f %12.0f %9.1f%% %12.0f %7u of %u   client %.0f us/job\n", i + 1,
                     alone[i], shared[i], 100 * ratios[i],
                     (double)(noisy->b.other_done - before) / b_s, noisy->b.other_done,
                     noisy->a.total, cpu * 1e6 / noisy->b.total);
    }
    const double b_alone = median(alone, noisy->rounds);
    const double b_shared = median(shared, noisy->rounds);
    (void)printf(
        "noisy: B alone %.0f jobs/s, with A %.0f jobs/s, retained %.1f%% (median of ratios "
        "%.1f%%)\n",
        b_alone, b_shared, 100 * b_shared / b_alone, 100 * median(ratios, noisy->rounds));
}

static const char help[] =
    "noisy - how much of its throughput a tenant keeps while another drains a backlog\n"
    "\n"
    "usage: noisy [options]\n"
    "  -a, --addr HOST:PORT  server with tenancy, one shard, flush_interval 1ms (127.0.0.1:50051)\n"
    "  -r, --rounds N        B alone and B with A, so many times (7)\n"
    "  -x, --scale N         jobs of each queue: A 160 N, B 60 N (1)\n"
    "  -h, --help            this text\n";

static bool number_arg(const char *text, uint32_t max, uint32_t *ret)
{
    char *end = NULL;
    const unsigned long v = strtoul(text, &end, 10);
    if (end == text || *end != '\0' || v == 0 || v > max) {
        (void)fprintf(stderr, "noisy: \"%s\" is not a number from 1 to %u\n", text, max);
        return false;
    }
    *ret = (uint32_t)v;
    return true;
}

/* Returns the exit status, or -1 to go on. */
static int options_parse(int argc, char **argv, struct noisy *noisy)
{
    static const struct option longs[] = {
        {"addr", required_argument, NULL, 'a'},
        {"rounds", required_argument, NULL, 'r'},
        {"scale", required_argument, NULL, 'x'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    for (int c; (c = getopt_long(argc, argv, "a:r:x:h", longs, NULL)) != -1;) {
        bool ok = true;
        switch (c) {
        case 'a':
            noisy->addr = optarg;
            break;
        case 'r':
            ok = number_arg(optarg, ROUNDS_MAX, &noisy->rounds);
            break;
        case 'x':
            ok = number_arg(optarg, 1000, &noisy->scale);
            break;
        case 'h':
            (void)fputs(help, stdout);
            return 0;
        default:
            ok = false;
            break;
        }
        if (!ok) {
            return 2;
        }
    }
    return -1;
}

int main(int argc, char **argv)
{
    static struct noisy noisy = {.addr = "127.0.0.1:50051", .rounds = 7, .scale = 1};
    const int status = options_parse(argc, argv, &noisy);
    if (status >= 0) {
        return status;
    }
    struct silo_err err;
    if (rpc_loop_new(&noisy.loop, &err).code != SILO_OK) {
        (void)fprintf(stderr, "noisy: %s\n", err.text);
        return 1;
    }
    tenant_init(&noisy.a, &noisy, "a", 24, 160);
    tenant_init(&noisy.b, &noisy, "b", 8, 60);
    noisy_find_shard(&noisy);
    noisy_run(&noisy);
    tenant_deinit(&noisy.a);
    tenant_deinit(&noisy.b);
    noisy.loop = rpc_loop_free(noisy.loop);
    return noisy.failed != 0 ? 1 : 0;
}
