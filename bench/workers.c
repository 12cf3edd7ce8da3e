/*
 * bench/workers.c - scenario `workers`: very many idle workers in long polls, and how soon the
 * right one wakes.
 */
#include <sys/resource.h>

#include "drive.h"
#include "scenarios.h"

#define WAIT_MS 60000u
#define FILES_SPARE 200u
#define PARK_SECONDS 120.0

/* Each job goes to the group of one worker. */
static void fill(struct load *load, uint64_t n, struct arena *arena, Silo__V1__EnqueueRequest *job)
{
    (void)n;
    const uint32_t workers = opt(load->bench, OPT_WORKERS);
    job->task_group = arena_printf(arena, "%s-%u", load->bench->options.group,
                                   (unsigned)bench_random_below(workers));
}

static bool all_parked(void *context)
{
    const struct load *load = context;
    return load->bench->calls_open >= load->options.workers;
}

static void files_raise(struct bench *bench)
{
    struct rlimit files;
    const rlim_t want = opt(bench, OPT_CONNECTIONS) + FILES_SPARE;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0) {
        return;
    }
    files.rlim_cur = files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_max < want) {
        bench_die("%u connections need %llu open files, the limit is %llu (ulimit -n)",
                  opt(bench, OPT_CONNECTIONS), (unsigned long long)want,
                  (unsigned long long)files.rlim_max);
    }
}

static void run(struct bench *bench)
{
    const struct load_options options = {.producers = opt(bench, OPT_CLIENTS),
                                         .payload = opt(bench, OPT_PAYLOAD),
                                         .rate = bench->options.numbers[OPT_RATE],
                                         .workers = opt(bench, OPT_WORKERS),
                                         .batch = 1,
                                         .wait_ms = WAIT_MS,
                                         .group_each = true,
                                         .fill = fill};
    files_raise(bench);
    const struct usage before = bench_usage(bench);
    struct load *load = load_new(bench, &options);
    bench_watch(bench, "completed", &load->completed, load->start_series, &load->enqueued,
                &load->completed);
    load_consume(load, options.workers);
    (void)bench_wait(bench, PARK_SECONDS, all_parked, load);
    (void)bench_wait(bench, opt(bench, OPT_WARMUP), NULL, NULL);
    const struct usage parked = bench_usage(bench);
    bench_fact(bench, (double)(parked.rss_kb - before.rss_kb) / 1024, "server_rss_of_workers_mb");
    bench_fact(bench, (double)(parked.rss_kb - before.rss_kb) / options.workers,
               "server_rss_of_a_worker_kb");
    load_produce(load, options.producers);
    (void)bench_wait(bench, opt(bench, OPT_SECONDS), NULL, NULL);
    load_stop_producers(load);
    const bool quiet = load_wait_producers(load, 15);
    const bool all = load_wait_completed(load, 0, 15);
    bench_quiet(bench);
    (void)bench_rate(bench, "completed", load->completed, &parked);
    bench_fact(bench, (double)load->late, "late_starts");
    bench_check(bench, quiet && all, "every job was run: %llu of %llu",
                (unsigned long long)load->completed, (unsigned long long)load->enqueued);
    bench_check(bench, load->polls <= options.workers + load->completed + load->empty_polls,
                "polls stayed parked");
}

static const struct preset presets[] = {
    {OPT_WORKERS, 10000}, {OPT_CONNECTIONS, 10}, {OPT_RATE, 200},   {OPT_SECONDS, 8},
    {OPT_WARMUP, 2},      {OPT_CLIENTS, 64},     {OPT_PAYLOAD, 64},
};
const struct scenario scenario_workers = {
    .name = "workers",
    .summary = "very many idle workers in long polls: memory, and waking the right one",
    .text =
        "--workers workers wait in long polls, each for a task group of its own, on --connections\n"
        "connections (as many as workers for one connection each; mind ulimit -n of both sides).\n"
        "After --warmup seconds the server's memory is read; then jobs arrive at --rate a second,\n"
        "each for one of the workers. `enqueue to lease` is how soon that one had it.",
    SCENARIO_PRESETS(presets),
    .run = run};
