/*
 * bench/enqueue.c - scenarios `enqueue`, `bulk-enqueue` and `stalls`: producers alone, closed or
 * open loop.
 */
#include <string.h>

#include "drive.h"
#include "scenarios.h"

static struct load *start(struct bench *bench)
{
    const struct load_options options = {.producers = opt(bench, OPT_CLIENTS),
                                         .bulk = opt(bench, OPT_BULK),
                                         .payload = opt(bench, OPT_PAYLOAD),
                                         .rate = bench->options.numbers[OPT_RATE]};
    struct load *load = load_new(bench, &options);
    bench_watch(bench, "jobs", &load->enqueued, load->enqueue_series, &load->sent, &load->enqueued);
    load_produce(load, options.producers);
    return load;
}

static void finish(struct bench *bench, struct load *load, const struct usage *before, uint64_t wal)
{
    (void)bench_rate(bench, "jobs", load->enqueued, before);
    const uint64_t objects = server_wal_objects(bench) - wal;
    if (bench->server != NULL && objects != 0) {
        bench_fact(bench, (double)load->enqueued / (double)objects, "jobs_per_wal_object");
    }
    if (load->options.rate > 0) {
        const double due = bench_seconds_since(before->at_us) * load->options.rate;
        const double behind = due - (double)load->sent;
        bench_fact(bench, (double)load->late, "late_starts");
        bench_fact(bench, behind > 0 ? behind : 0, "jobs_not_started_in_time");
    }
    bench_check(bench, load->enqueued != 0, "jobs were enqueued");
}

static void run(struct bench *bench)
{
    const uint64_t wal = server_wal_objects(bench);
    const struct usage before = bench_usage(bench);
    struct load *load = start(bench);
    (void)bench_wait(bench, opt(bench, OPT_SECONDS), NULL, NULL);
    bench_quiet(bench);
    finish(bench, load, &before, wal);
}

static const struct preset presets[] = {
    {OPT_CLIENTS, 64}, {OPT_CONNECTIONS, 4}, {OPT_SECONDS, 10}, {OPT_PAYLOAD, 64}, {OPT_RATE, 0},
};
const struct scenario scenario_enqueue = {
    .name = "enqueue",
    .summary = "single enqueues, closed or open loop",
    .text =
        "N clients enqueue jobs without limits and ids, one by one, in closed loops; or, with\n"
        "--rate, jobs arrive at fixed times and latency counts from there. An arrival sent more\n"
        "than 2 ms after its time is a late start; those not sent at all by the end are counted.",
    SCENARIO_PRESETS(presets),
    .run = run};

static const struct preset bulk_presets[] = {
    {OPT_CLIENTS, 8}, {OPT_CONNECTIONS, 4}, {OPT_SECONDS, 10},
    {OPT_BULK, 100},  {OPT_PAYLOAD, 64},    {OPT_RATE, 0},
};
const struct scenario scenario_bulk_enqueue = {.name = "bulk-enqueue",
                                               .summary = "EnqueueMany, closed or open loop",
                                               .text = "As `enqueue` with --bulk jobs to a call.",
                                               SCENARIO_PRESETS(bulk_presets),
                                               .run = run};

/* --- stalls --- */

#define SLOW_TIMES 10 /* a stall: a call that takes this many times the median */

static void run_stalls(struct bench *bench)
{
    const uint64_t wal = server_wal_objects(bench);
    const struct usage before = bench_usage(bench);
    struct load *load = start(bench);
    (void)bench_wait(bench, opt(bench, OPT_SECONDS), NULL, NULL);
    bench_quiet(bench);
    finish(bench, load, &before, wal);
    const struct hist *h = &load->enqueue_series->total;
    const double median = (double)hist_quantile(h, 0.5);
    uint64_t slow = 0;
    for (double q = 1; q > 0 && (double)hist_quantile(h, q) > SLOW_TIMES * median; q -= 1e-5) {
        slow++;
    }
    if (median > 0) {
        bench_fact(bench, (double)hist_quantile(h, 0.99) / median, "p99_against_p50");
        bench_fact(bench, (double)hist_quantile(h, 0.999) / median, "p999_against_p50");
        bench_fact(bench, (double)h->max_us / median, "max_against_p50");
        bench_fact(bench, (double)slow * 1e-3, "share_slower_than_10_times_p50_percent");
    }
}

static const struct preset stall_presets[] = {
    {OPT_CLIENTS, 64}, {OPT_CONNECTIONS, 4}, {OPT_SECONDS, 15}, {OPT_PAYLOAD, 64}, {OPT_RATE, 0},
};
const struct scenario scenario_stalls = {
    .name = "stalls",
    .summary = "how far the slowest enqueues are from the median, over a longer run",
    .text =
        "As `enqueue`; prints p99, p99.9 and the maximum as multiples of the median. Long enough\n"
        "(--seconds 300), it runs over memtable flushes and compactions.",
    SCENARIO_PRESETS(stall_presets),
    .run = run_stalls};
