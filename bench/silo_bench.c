/*
 * bench/silo_bench.c - load for a running server.
 *
 * Scenario `life`: each of N clients goes round a closed loop of single calls, enqueue, lease (as a waiting poll),
 * report success, on its share of the connections. What is leased need not be what this client enqueued. One loop
 * thread drives all clients, so that the load costs little beside the server. With --pid it also reads the server's CPU
 * time and page counts from /proc, so that a run prints microseconds of server CPU for each job.
 */
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/env.h"
#include "hist.h"
#include "rpc/rpc.h"
#include "silo.pb-c.h"

#define CLIENTS_MAX 100000u
#define CONNECTIONS_MAX 1024u
#define CALL_TIMEOUT_US (70 * 1000000LL)
#define POLL_WAIT_MS 10000u

struct options {
    const char *addr, *group;
    uint32_t clients, connections, seconds, payload_bytes;
    long pid;
    bool json;
};

enum step { STEP_ENQUEUE, STEP_LEASE, STEP_REPORT, STEPS };
static const char *const step_names[STEPS] = {"enqueue", "lease", "report"};

struct client {
    struct bench *bench;
    struct rpc_channel *channel;
    struct rpc_request request;
    enum step step;
    int64_t start_us, life_us;
    char task_id[64];
    uint8_t message[512];
};

struct bench {
    struct options options;
    struct rpc_loop *loop;
    struct rpc_channel **channels;
    struct client *clients;
    char shard[64];
    uint8_t *enqueue;
    size_t enqueue_len;
    struct hist steps[STEPS], life;
    uint64_t jobs,
        errors; /* written by the loop thread, read by main once a second: a torn view does no harm */
    char first_error[256];
    bool stop;
    uint32_t idle;
};

static const struct {
    const char *path;
} step_rpc[STEPS] = {
    {"/silo.v1.Silo/Enqueue"},
    {"/silo.v1.Silo/LeaseTasks"},
    {"/silo.v1.Silo/ReportOutcome"},
};

static void client_send(struct client *client, enum step step, struct bytes message);

/* --- messages --- */

static void bench_encode_enqueue(struct bench *bench)
{
    const size_t n = bench->options.payload_bytes;
    uint8_t *payload = xcalloc(1, n + 5);
    payload[0] = 0xc6; /* MessagePack bin 32 */
    for (int i = 0; i < 4; i++) {
        payload[1 + i] = (uint8_t)(n >> (24 - 8 * i));
    }
    Silo__V1__SerializedBytes blob = SILO__V1__SERIALIZED_BYTES__INIT;
    blob.encoding_case = SILO__V1__SERIALIZED_BYTES__ENCODING_MSGPACK;
    blob.msgpack = (ProtobufCBinaryData){.len = n + 5, .data = payload};
    Silo__V1__EnqueueRequest m = SILO__V1__ENQUEUE_REQUEST__INIT;
    m.shard = bench->shard;
    m.priority = 50;
    m.task_group = (char *)(uintptr_t)bench->options.group;
    m.payload = &blob;
    bench->enqueue_len = silo__v1__enqueue_request__get_packed_size(&m);
    bench->enqueue = xmalloc(bench->enqueue_len);
    (void)silo__v1__enqueue_request__pack(&m, bench->enqueue);
    free(payload);
}

static struct bytes client_lease_message(struct client *client)
{
    Silo__V1__LeaseTasksRequest m = SILO__V1__LEASE_TASKS_REQUEST__INIT;
    m.worker_id = (char *)(uintptr_t) "bench";
    m.max_tasks = 1;
    m.wait_ms = POLL_WAIT_MS;
    m.task_group = (char *)(uintptr_t)client->bench->options.group;
    m.shard_opt_case = SILO__V1__LEASE_TASKS_REQUEST__SHARD_OPT_SHARD;
    m.shard = client->bench->shard;
    ASSERT(silo__v1__lease_tasks_request__get_packed_size(&m) <= sizeof client->message);
    return bytes_of(client->message, silo__v1__lease_tasks_request__pack(&m, client->message));
}

static struct bytes client_report_message(struct client *client)
{
    uint8_t result[] = {0xc3};
    Silo__V1__SerializedBytes blob = SILO__V1__SERIALIZED_BYTES__INIT;
    blob.encoding_case = SILO__V1__SERIALIZED_BYTES__ENCODING_MSGPACK;
    blob.msgpack = (ProtobufCBinaryData){.len = sizeof result, .data = result};
    Silo__V1__ReportOutcomeRequest m = SILO__V1__REPORT_OUTCOME_REQUEST__INIT;
    m.shard = client->bench->shard;
    m.task_id = client->task_id;
    m.outcome_case = SILO__V1__REPORT_OUTCOME_REQUEST__OUTCOME_SUCCESS;
    m.success = &blob;
    ASSERT(silo__v1__report_outcome_request__get_packed_size(&m) <= sizeof client->message);
    return bytes_of(client->message, silo__v1__report_outcome_request__pack(&m, client->message));
}

/* --- the closed loop --- */

static void client_next(struct client *client)
{
    struct bench *bench = client->bench;
    if (bench->stop) {
        bench->idle++;
        return;
    }
    client->life_us = env_mono_us(&env_system);
    client_send(client, STEP_ENQUEUE, bytes_of(bench->enqueue, bench->enqueue_len));
}

/* Takes the task's id out of the answer; false when there was none. */
static bool client_take_task(struct client *client)
{
    Silo__V1__LeaseTasksResponse *m = silo__v1__lease_tasks_response__unpack(
        NULL, client->request.reply.len, client->request.reply.ptr);
    const bool got =
        m != NULL && m->n_tasks == 1 && strlen(m->tasks[0]->id) < sizeof client->task_id;
    if (got) {
        (void)snprintf(client->task_id, sizeof client->task_id, "%s", m->tasks[0]->id);
    }
    if (m != NULL) {
        silo__v1__lease_tasks_response__free_unpacked(m, NULL);
    }
    return got;
}

static void client_failed(struct client *client)
{
    struct bench *bench = client->bench;
    if (bench->errors++ == 0) {
        (void)snprintf(bench->first_error, sizeof bench->first_error, "%s: %s: %.*s",
                       step_names[client->step], grpc_status_name(client->request.status),
                       (int)client->request.text.len, (const char *)client->request.text.ptr);
    }
    bench->idle++; /* a client that failed rests: an error must show, not spin */
}

static void client_done(struct rpc_request *request)
{
    struct client *client = request->context;
    struct bench *bench = client->bench;
    const int64_t now = env_mono_us(&env_system);
    if (bench->stop) {
        bench->idle++; /* the run is over: what is still on its way does not count */
        return;
    }
    if (request->status != 0) {
        client_failed(client);
        return;
    }
    hist_add(&bench->steps[client->step], now - client->start_us);
    switch (client->step) {
    case STEP_ENQUEUE:
        client_send(client, STEP_LEASE, client_lease_message(client));
        return;
    case STEP_LEASE:
        if (client_take_task(client)) {
            client_send(client, STEP_REPORT, client_report_message(client));
        } else {
            client_send(client, STEP_LEASE, client_lease_message(client));
        }
        return;
    case STEP_REPORT:
        bench->jobs++;
        hist_add(&bench->life, now - client->life_us);
        client_next(client);
        return;
    case STEPS:
        break;
    }
    ASSERT(!"a step out of range");
}

static void client_send(struct client *client, enum step step, struct bytes message)
{
    client->step = step;
    client->start_us = env_mono_us(&env_system);
    client->request = (struct rpc_request){.path = step_rpc[step].path,
                                           .message = message,
                                           .timeout_us = CALL_TIMEOUT_US,
                                           .on_done = client_done,
                                           .context = client};
    rpc_channel_call(client->channel, &client->request);
}

/* --- running --- */

static bool bench_find_shard(struct bench *bench)
{
    struct rpc_answer answer;
    rpc_channel_call_wait(bench->channels[0], "/silo.v1.Silo/GetClusterInfo", BYTES_NONE, 5000000,
                          &answer);
    bool found = false;
    if (answer.status == 0) {
        Silo__V1__GetClusterInfoResponse *m =
            silo__v1__get_cluster_info_response__unpack(NULL, answer.reply.len, answer.reply.ptr);
        if (m != NULL && m->n_shard_owners != 0) {
            (void)snprintf(bench->shard, sizeof bench->shard, "%s", m->shard_owners[0]->shard_id);
            found = true;
        }
        if (m != NULL) {
            silo__v1__get_cluster_info_response__free_unpacked(m, NULL);
        }
    } else {
        (void)fprintf(stderr, "silo-bench: %s: %s: %.*s\n", bench->options.addr,
                      grpc_status_name(answer.status), BYTES_FMT(answer.text));
    }
    rpc_answer_deinit(&answer);
    return found;
}

/* User and system CPU seconds of a process, 0 when it cannot be read. */
static double process_cpu_s(long pid)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *file = pid != 0 ? fopen(path, "r") : NULL;
    char line[1024] = "";
    if (file != NULL) {
        if (fgets(line, sizeof line, file) == NULL) {
            line[0] = '\0';
        }
        (void)fclose(file);
    }
    const char *at = strrchr(line, ')');
    double ticks = 0;
    if (at != NULL) {
        at += 2;
        for (int field = 3; field < 16 && at != NULL; field++) {
            if (field >= 14) {
                ticks += strtod(at, NULL);
            }
            at = strchr(at, ' ');
            at = at != NULL ? at + 1 : NULL;
        }
    }
    return ticks / (double)sysconf(_SC_CLK_TCK);
}

static void bench_print(const struct bench *bench, double seconds, double cpu_s)
{
    const double rate = (double)bench->jobs / seconds;
    const double cpu_us = bench->jobs != 0 ? cpu_s * 1e6 / (double)bench->jobs : 0;
    if (bench->options.json) {
        json_t *root =
            json_pack("{s:s,s:I,s:f,s:f,s:I,s:f}", "scenario", "life", "jobs",
                      (json_int_t)bench->jobs, "seconds", seconds, "jobs_per_s", rate, "errors",
                      (json_int_t)bench->errors, "server_cpu_us_per_job", cpu_us);
        ASSERT(root != NULL);
        (void)json_dumpf(root, stdout, JSON_INDENT(1));
        (void)putchar('\n');
        json_decref(root);
        return;
    }
    (void)printf("\n%-10s %10s %10s %10s %10s\n", "step", "p50 us", "p99 us", "p99.9 us", "max us");
    for (int i = 0; i <= STEPS; i++) {
        const struct hist *h = i < STEPS ? &bench->steps[i] : &bench->life;
        (void)printf("%-10s %10lld %10lld %10lld %10lld\n", i < STEPS ? step_names[i] : "life",
                     (long long)hist_quantile(h, 0.5), (long long)hist_quantile(h, 0.99),
                     (long long)hist_quantile(h, 0.999), (long long)h->max_us);
    }
    (void)printf("%llu jobs in %.2f s: %.0f jobs/s, %llu errors", (unsigned long long)bench->jobs,
                 seconds, rate, (unsigned long long)bench->errors);
    if (bench->options.pid != 0) {
        (void)printf(", server CPU %.1f us/job (%.2f cores)", cpu_us, cpu_s / seconds);
    }
    (void)putchar('\n');
    if (bench->errors != 0) {
        (void)printf("first error: %s\n", bench->first_error);
    }
}

static void bench_run(struct bench *bench)
{
    for (uint32_t i = 0; i < bench->options.clients; i++) {
        struct client *client = &bench->clients[i];
        client->bench = bench;
        client->channel = bench->channels[i % bench->options.connections];
        client_next(client);
    }
    const int64_t start = env_mono_us(&env_system);
    const double cpu = process_cpu_s(bench->options.pid);
    uint64_t last = 0;
    for (uint32_t s = 0; s < bench->options.seconds; s++) {
        (void)sleep(1);
        const uint64_t jobs = bench->jobs;
        (void)fprintf(stderr, "%4u s  %8llu jobs/s  %10llu jobs  %llu errors\n", s + 1,
                      (unsigned long long)(jobs - last), (unsigned long long)jobs,
                      (unsigned long long)bench->errors);
        last = jobs;
    }
    const double seconds = (double)(env_mono_us(&env_system) - start) / 1e6;
    const double cpu_s = process_cpu_s(bench->options.pid) - cpu;
    bench->stop = true;
    bench_print(bench, seconds, cpu_s);
}

static const char help[] =
    "silo-bench - load for a running silo\n"
    "\n"
    "usage: silo-bench [options]\n"
    "  Scenario `life`: clients in a closed loop of enqueue, lease (waiting), report, on one "
    "shard.\n"
    "\n"
    "  -a, --addr HOST:PORT     server (127.0.0.1:50051)\n"
    "  -c, --clients N          closed loops (64)\n"
    "  -n, --connections N      HTTP/2 connections shared by them (4)\n"
    "  -s, --seconds N          length of the run (10)\n"
    "  -b, --payload BYTES      payload of a job (64)\n"
    "  -g, --group NAME         task group (bench)\n"
    "  -p, --pid PID            server's process id: also print its CPU per job\n"
    "      --json               final figures as JSON\n"
    "  -h, --help               this text\n";

static bool number_arg(const char *text, uint32_t max, uint32_t *ret)
{
    char *end = NULL;
    const unsigned long v = strtoul(text, &end, 10);
    if (end == text || *end != '\0' || v == 0 || v > max) {
        (void)fprintf(stderr, "silo-bench: \"%s\" is not a number from 1 to %u\n", text, max);
        return false;
    }
    *ret = (uint32_t)v;
    return true;
}

/* Returns the exit status, or -1 to go on. */
static int options_parse(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        {"addr", required_argument, NULL, 'a'},
        {"clients", required_argument, NULL, 'c'},
        {"connections", required_argument, NULL, 'n'},
        {"seconds", required_argument, NULL, 's'},
        {"payload", required_argument, NULL, 'b'},
        {"group", required_argument, NULL, 'g'},
        {"pid", required_argument, NULL, 'p'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    uint32_t pid = 0;
    bool ok = true;
    for (int c = 0; ok && (c = getopt_long(argc, argv, "a:c:n:s:b:g:p:h", longs, NULL)) != -1;) {
        switch (c) {
        case 'a':
            o->addr = optarg;
            break;
        case 'c':
            ok = number_arg(optarg, CLIENTS_MAX, &o->clients);
            break;
        case 'n':
            ok = number_arg(optarg, CONNECTIONS_MAX, &o->connections);
            break;
        case 's':
            ok = number_arg(optarg, 86400, &o->seconds);
            break;
        case 'b':
            ok = number_arg(optarg, 64u << 20, &o->payload_bytes);
            break;
        case 'g':
            o->group = optarg;
            break;
        case 'p':
            ok = number_arg(optarg, INT32_MAX, &pid);
            o->pid = (long)pid;
            break;
        case 'j':
            o->json = true;
            break;
        case 'h':
            (void)fputs(help, stdout);
            return 0;
        default:
            (void)fputs(help, stderr);
            return 2;
        }
    }
    return ok ? -1 : 2;
}

int main(int argc, char **argv)
{
    static struct bench bench;
    bench.options = (struct options){.addr = "127.0.0.1:50051",
                                     .group = "bench",
                                     .clients = 64,
                                     .connections = 4,
                                     .seconds = 10,
                                     .payload_bytes = 64};
    const int exit_status = options_parse(argc, argv, &bench.options);
    if (exit_status >= 0) {
        return exit_status;
    }
    struct silo_err err;
    if (rpc_loop_new(&bench.loop, &err).code != SILO_OK) {
        (void)fprintf(stderr, "silo-bench: %s\n", err.text);
        return 1;
    }
    bench.channels = xcalloc(bench.options.connections, sizeof(struct rpc_channel *));
    bench.clients = xcalloc(bench.options.clients, sizeof *bench.clients);
    for (uint32_t i = 0; i < bench.options.connections; i++) {
        const struct rpc_channel_options options = {.target = bench.options.addr};
        if (rpc_channel_new(bench.loop, &options, &bench.channels[i], &err).code != SILO_OK) {
            (void)fprintf(stderr, "silo-bench: %s\n", err.text);
            return 1;
        }
    }
    if (!bench_find_shard(&bench)) {
        return 1;
    }
    bench_encode_enqueue(&bench);
    bench_run(&bench);
    for (uint32_t i = 0; i < bench.options.connections; i++) {
        bench.channels[i] = rpc_channel_free(bench.channels[i]);
    }
    bench.loop = rpc_loop_free(bench.loop);
    free(bench.channels);
    free(bench.clients);
    free(bench.enqueue);
    return bench.errors != 0 ? 1 : 0;
}
