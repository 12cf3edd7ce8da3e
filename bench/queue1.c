/*
 * bench/queue1.c - scenario `queue1`: a queue of one slot, from a release to the next worker's
 * start.
 */
#include "drive.h"
#include "scenarios.h"

#define DRAIN_SECONDS 300.0

static struct {
    struct series *sent, *acked;
    int64_t report_sent_us, report_acked_us;
    uint64_t leases, acks;
} queue1;

static void fill(struct load *load, uint64_t n, struct arena *arena, Silo__V1__EnqueueRequest *job)
{
    (void)load;
    (void)n;
    limits_set(arena, job, limit_fixed(arena, "queue1", 1), NULL);
}

/*
 * The report before this lease left the worker a moment ago, in this same turn of the loop at the
 * earliest.
 */
static void leased(struct load *load, uint32_t worker, const Silo__V1__Task *task, int64_t now_us)
{
    (void)load;
    (void)worker;
    (void)task;
    if (queue1.report_sent_us != 0) {
        series_add(queue1.sent, now_us - queue1.report_sent_us);
        if (queue1.acks == queue1.leases) { /* the acknowledgement was here first */
            series_add(queue1.acked, now_us - queue1.report_acked_us);
        }
    }
    queue1.leases++;
    queue1.report_sent_us =
        env_mono_us(&env_system); /* the outcome is sent as soon as this returns */
}

static void reported(struct load *load, uint32_t worker, int64_t sent_us, int64_t now_us)
{
    (void)load;
    (void)worker;
    (void)sent_us;
    queue1.acks++;
    queue1.report_acked_us = now_us;
}

static void run(struct bench *bench)
{
    queue1.sent = bench_series(bench, "release sent to next start");
    queue1.acked = bench_series(bench, "release acked to next start");
    const struct load_options options = {.producers = 4,
                                         .bulk = 100,
                                         .payload = opt(bench, OPT_PAYLOAD),
                                         .jobs_max = opt(bench, OPT_JOBS),
                                         .workers = opt(bench, OPT_WORKERS),
                                         .batch = 1,
                                         .wait_ms = 30000,
                                         .fill = fill,
                                         .leased = leased,
                                         .reported = reported};
    struct load *load = load_new(bench, &options);
    (void)load_enqueue_phase(load, "enqueued", DRAIN_SECONDS);
    const uint64_t wal = server_wal_objects(bench);
    (void)load_drain_phase(load, "completed", DRAIN_SECONDS);
    const uint64_t objects = server_wal_objects(bench) - wal;
    if (bench->server != NULL && load->completed != 0) {
        bench_fact(bench, (double)objects / (double)load->completed, "wal_objects_per_job");
    }
    const uint64_t held = bench_holders(bench, bench->options.prefix);
    bench_check(bench, held == 0, "no slot is held any more: %llu", (unsigned long long)held);
}

static const struct preset presets[] = {
    {OPT_JOBS, 5000}, {OPT_WORKERS, 2}, {OPT_PAYLOAD, 64}, {OPT_CONNECTIONS, 2}};
const struct scenario scenario_queue1 = {
    .name = "queue1",
    .summary = "a queue of one slot: from a release to the next start",
    .text =
        "--jobs jobs share a concurrency key with one slot; --workers workers wait in long polls.\n"
        "Measures from the moment a report is sent to the moment another worker has the next "
        "task,\n"
        "and from the report's acknowledgement (often later than the start: both leave with one\n"
        "batch). With --serve also how many WAL objects a job took.",
    SCENARIO_PRESETS(presets),
    .run = run};
