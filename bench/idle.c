/* bench/idle.c - scenario `idle`: what a server costs that nobody uses. */
#include "drive.h"
#include "scenarios.h"

#define SETTLE_SECONDS 1.5

static void run(struct bench *bench)
{
    const struct load_options options = {.producers = 4,
                                         .bulk = 10,
                                         .payload = 64,
                                         .jobs_max = opt(bench, OPT_JOBS),
                                         .workers = opt(bench, OPT_WORKERS),
                                         .batch = 10,
                                         .wait_ms = 60000};
    struct load *load = load_new(bench, &options);
    if (options.jobs_max != 0) {
        (void)load_enqueue_phase(load, "enqueued", 60);
        (void)load_drain_phase(load, "completed", 60);
    }
    (void)bench_wait(bench, SETTLE_SECONDS, NULL, NULL);
    const uint64_t wal = server_wal_objects(bench);
    const struct usage before = bench_usage(bench);
    double cpu_before[BENCH_NODES_MAX] = {0};
    for (uint32_t i = 0; i < server_count(); i++) {
        cpu_before[i] = server_cpu_s(i);
    }
    const uint64_t revision = coord_revision();
    (void)bench_wait(bench, opt(bench, OPT_SECONDS), NULL, NULL);
    const struct usage after = bench_usage(bench);
    const double seconds = (double)(after.at_us - before.at_us) / 1e6;
    bench_fact(bench, seconds, "idle_seconds");
    bench_fact(bench, 100 * (after.server_cpu_s - before.server_cpu_s) / seconds,
               "server_percent_of_a_core");
    bench_fact(bench, (double)(server_wal_objects(bench) - wal), "wal_objects");
    for (uint32_t i = 0; server_count() > 1 && i < server_count(); i++) {
        bench_fact(bench, 100 * (server_cpu_s(i) - cpu_before[i]) / seconds,
                   "node_%u_percent_of_a_core", i);
    }
    if (revision != 0) {
        bench_fact(bench, (double)(coord_revision() - revision), "etcd_writes");
    }
}

static const struct preset presets[] = {
    {OPT_SECONDS, 15}, {OPT_JOBS, 1000}, {OPT_WORKERS, 4}, {OPT_CONNECTIONS, 2}};
const struct scenario scenario_idle = {
    .name = "idle",
    .summary = "server CPU and WAL objects while nothing happens",
    .text =
        "Runs --jobs jobs so that the shards have been used; then --workers workers stay parked "
        "in\n"
        "polls of 60 s and the server's CPU time and new WAL objects are counted over --seconds.\n"
        "The system counts CPU time in ticks of 10 ms, so short runs are coarse. With --nodes the\n"
        "figure of each node, and how many writes etcd saw besides keep-alives.",
    SCENARIO_PRESETS(presets),
    .server = SERVER_OWN,
    .shards = 8,
    .run = run};
