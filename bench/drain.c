/* bench/drain.c - scenario `drain`: a backlog to its end, with the rate of each tenth. */
#include "drive.h"
#include "scenarios.h"

#define PHASE_SECONDS 3600.0
#define TENTH_RATIO_LEAST 0.5
#define TENTHS_JOBS_LEAST 10000 /* below, a tenth is too short to say anything */

static void run(struct bench *bench)
{
    const uint64_t jobs = opt(bench, OPT_JOBS);
    const struct load_options options = {.producers = 8,
                                         .bulk = opt(bench, OPT_BULK),
                                         .payload = opt(bench, OPT_PAYLOAD),
                                         .jobs_max = jobs,
                                         .workers = opt(bench, OPT_WORKERS),
                                         .batch = opt(bench, OPT_BATCH),
                                         .wait_ms = opt(bench, OPT_WAIT_MS),
                                         .report_many = true,
                                         .tenths_of = jobs};
    struct load *load = load_new(bench, &options);
    (void)load_enqueue_phase(load, "enqueued", PHASE_SECONDS);
    if (opt(bench, OPT_REST_SECONDS) != 0) {
        (void)bench_wait(bench, opt(bench, OPT_REST_SECONDS), NULL, NULL);
    }
    const uint64_t wal = server_wal_objects(bench);
    const int64_t start = env_mono_us(&env_system);
    (void)load_drain_phase(load, "drained", PHASE_SECONDS);
    const double ratio = load_tenth_facts(load, start);
    const uint64_t objects = server_wal_objects(bench) - wal;
    if (bench->server != NULL && objects != 0) {
        bench_fact(bench, (double)jobs / (double)objects, "drained_per_wal_object");
    }
    if (load->completed == jobs && jobs >= TENTHS_JOBS_LEAST) {
        bench_check(bench, ratio >= TENTH_RATIO_LEAST,
                    "the last tenth is not much slower than the first: %.2f", ratio);
    }
}

static const struct preset presets[] = {
    {OPT_JOBS, 100000}, {OPT_BULK, 100},   {OPT_WORKERS, 8},     {OPT_BATCH, 32},
    {OPT_PAYLOAD, 64},  {OPT_WAIT_MS, 10}, {OPT_CONNECTIONS, 4}, {OPT_REST_SECONDS, 0},
};
const struct scenario scenario_drain = {
    .name = "drain",
    .summary = "a backlog drained to its end, rate per tenth",
    .text =
        "Enqueues --jobs due jobs of one group, then --workers workers drain them in batches of\n"
        "--batch, reporting each batch in one call. Prints the rate of each tenth of the backlog\n"
        "and checks that the last is at least half as fast as the first. --batch 1 for single\n"
        "leases; --rest-seconds lets the merges of the backlog's files end before.",
    SCENARIO_PRESETS(presets),
    .run = run};
