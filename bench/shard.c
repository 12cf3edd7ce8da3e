/*
 * bench/shard.c - scenario `shard`: how enqueueing and draining grow with producers and consumers.
 */
#include "drive.h"
#include "scenarios.h"

#define PHASE_SECONDS 600.0

static const uint32_t steps[] = {1, 4, 8};
#define STEPS (sizeof steps / sizeof steps[0])

static void run(struct bench *bench)
{
    const uint32_t in_flight = opt(bench, OPT_CLIENTS);
    const uint64_t jobs = opt(bench, OPT_JOBS);
    const struct node_counts old = bench_counts(bench);
    double first_in = 0, first_out = 0;
    for (size_t i = 0; i < STEPS && !bench_interrupted(); i++) {
        char name[2][32];
        (void)snprintf(name[0], sizeof name[0], "enqueue_%u_producers", steps[i]);
        (void)snprintf(name[1], sizeof name[1], "drain_%u_consumers", steps[i]);
        static char prefixes[STEPS][8];
        (void)snprintf(prefixes[i], sizeof prefixes[i], "%ux ", steps[i]);
        const struct load_options options = {.producers = steps[i] * in_flight,
                                             .payload = opt(bench, OPT_PAYLOAD),
                                             .jobs_max = jobs,
                                             .workers = steps[i],
                                             .batch = opt(bench, OPT_BATCH),
                                             .wait_ms = opt(bench, OPT_WAIT_MS),
                                             .report_many = true,
                                             .series_prefix = prefixes[i]};
        struct load *load = load_new(bench, &options);
        const double in = load_enqueue_phase(load, name[0], PHASE_SECONDS);
        const double out = load_drain_phase(load, name[1], PHASE_SECONDS);
        first_in = i == 0 ? in : first_in;
        first_out = i == 0 ? out : first_out;
        if (i != 0 && first_in > 0 && first_out > 0) {
            bench_fact(bench, in / first_in, "enqueue_%u_against_1", steps[i]);
            bench_fact(bench, out / first_out, "drain_%u_against_1", steps[i]);
        }
        load_stop_workers(load);
        (void)load_wait_workers(load, 30); /* the last polls must not take the next round's tasks */
    }
    const struct node_counts counts = bench_counts(bench);
    const int64_t made = counts.total - old.total, ended = counts.completed - old.completed;
    bench_check(bench, made == ended, "all jobs are complete: %lld of %lld", (long long)ended,
                (long long)made);
}

static const struct preset presets[] = {
    {OPT_JOBS, 20000}, {OPT_CLIENTS, 16},  {OPT_BATCH, 32},
    {OPT_PAYLOAD, 64}, {OPT_WAIT_MS, 100}, {OPT_CONNECTIONS, 8},
};
const struct scenario scenario_shard = {
    .name = "shard",
    .summary = "enqueue then drain, with 1, 4 and 8 producers and consumers",
    .text =
        "For 1, 4 and 8: so many producers enqueue --jobs jobs one by one, each with --clients\n"
        "calls under way; then as many consumers drain them in batches of --batch, reporting\n"
        "each batch in one call. Prints both rates and what 4 and 8 gain over 1. --jobs 100000\n"
        "for a full run.",
    SCENARIO_PRESETS(presets),
    .run = run};
