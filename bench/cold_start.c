/*
 * bench/cold_start.c - scenario `cold-start`: from the start of the process to the first lease of a
 * backlog.
 */
#include <signal.h>
#include <unistd.h>

#include "drive.h"
#include "scenarios.h"

#define PHASE_SECONDS 600.0
#define RETRY_US 1000u
#define LEASE_US 60000000LL

/* Polls until a task comes; returns microseconds since start_us. */
static int64_t first_lease(struct bench *bench, int64_t start_us, uint64_t *ret_refused)
{
    Silo__V1__LeaseTasksRequest m = SILO__V1__LEASE_TASKS_REQUEST__INIT;
    m.worker_id = lend("bench");
    m.max_tasks = 1;
    m.wait_ms = 10000;
    m.task_group = lend(bench->options.group);
    m.shard_opt_case = SILO__V1__LEASE_TASKS_REQUEST__SHARD_OPT_SHARD;
    m.shard = bench->shards[0].id;
    while (env_mono_us(&env_system) - start_us < LEASE_US) {
        struct rpc_answer answer;
        const uint32_t status = ask(bench, SILO_PATH("LeaseTasks"), &m, NULL, &answer);
        const int64_t us = env_mono_us(&env_system) - start_us;
        const bool got = status == RPC_STATUS_OK && answer.reply.len != 0;
        rpc_answer_deinit(&answer);
        if (got) {
            return us;
        }
        (*ret_refused)++;
        (void)usleep(RETRY_US);
    }
    return -1;
}

static void run(struct bench *bench)
{
    const struct load_options options = {.producers = 8,
                                         .bulk = opt(bench, OPT_BULK),
                                         .payload = opt(bench, OPT_PAYLOAD),
                                         .jobs_max = opt(bench, OPT_JOBS)};
    struct load *load = load_new(bench, &options);
    (void)load_enqueue_phase(load, "enqueued", PHASE_SECONDS);
    struct series *accepting = bench_series(bench, "start to connect");
    struct series *lease = bench_series(bench, "start to first lease");
    uint64_t refused = 0;
    for (uint32_t i = 0; i < opt(bench, OPT_ROUNDS) && !bench_interrupted(); i++) {
        bench_disconnect(bench);
        const int64_t stop = env_mono_us(&env_system);
        server_stop(bench, opt(bench, OPT_KILL) != 0 ? SIGKILL : SIGTERM);
        bench_fact(bench, bench_seconds_since(stop), "stop_%u_s", i + 1);
        const int64_t start = env_mono_us(&env_system);
        server_restart(bench);
        series_add(accepting, env_mono_us(&env_system) - start);
        bench_connect(bench);
        const int64_t us = first_lease(bench, start, &refused);
        bench_check(bench, us >= 0, "round %u: a task was leased", i + 1);
        series_add(lease, us >= 0 ? us : LEASE_US);
    }
    bench_fact(bench, (double)refused, "polls_refused_or_empty");
}

static const struct preset presets[] = {
    {OPT_JOBS, 50000}, {OPT_BULK, 100}, {OPT_PAYLOAD, 64}, {OPT_ROUNDS, 3}, {OPT_KILL, 0}};
const struct scenario scenario_cold_start = {
    .name = "cold-start",
    .summary = "start of the process to the first lease, with a backlog",
    .text =
        "Enqueues --jobs jobs; then, --rounds times, stops the server (with --kill 1 by SIGKILL),\n"
        "starts it again on the same data and measures from the start of the process to its first\n"
        "accepted connection and to the first leased task.",
    SCENARIO_PRESETS(presets),
    .server = SERVER_OWN,
    .run = run};
