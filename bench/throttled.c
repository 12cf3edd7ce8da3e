/*
 * bench/throttled.c - scenario `throttled`: what a backlog behind a rate limit costs, and costs the
 * other jobs of its group.
 */
#include "drive.h"
#include "scenarios.h"

#define ENQUEUE_SECONDS 600.0
#define PLAIN_PRIORITY 60u /* behind the throttled ones */
#define SECOND_MS 1000

struct throttled {
    struct series *plain; /* from enqueue to lease, of jobs without the limit */
    uint64_t passed;      /* jobs with it that were leased */
};

static void fill_throttled(struct load *load, uint64_t n, struct arena *arena,
                           Silo__V1__EnqueueRequest *job)
{
    (void)n;
    Silo__V1__Limit *limit = ARENA_NEW(arena, Silo__V1__Limit);
    Silo__V1__GubernatorRateLimit *rate = ARENA_NEW(arena, Silo__V1__GubernatorRateLimit);
    silo__v1__limit__init(limit);
    silo__v1__gubernator_rate_limit__init(rate);
    rate->name = lend("bench");
    rate->unique_key = lend("bench");
    rate->limit = opt(load->bench, OPT_HITS);
    rate->hits = 1;
    rate->duration_ms = SECOND_MS;
    limit->limit_case = SILO__V1__LIMIT__LIMIT_RATE_LIMIT;
    limit->rate_limit = rate;
    limits_set(arena, job, limit, NULL);
}

static void fill_plain(struct load *load, uint64_t n, struct arena *arena,
                       Silo__V1__EnqueueRequest *job)
{
    (void)load;
    (void)n;
    (void)arena;
    job->priority = PLAIN_PRIORITY;
}

static void leased(struct load *load, uint32_t worker, const Silo__V1__Task *task, int64_t now_us)
{
    (void)worker;
    struct throttled *t = load->options.context;
    if (task->priority == PLAIN_PRIORITY) {
        series_add(t->plain, now_us - blob_stamp(task->payload));
    } else {
        t->passed++;
    }
}

/*
 * The server's processor time and what it writes, from now on, with plain jobs and whatever waits.
 */
static void measure(struct bench *bench, struct throttled *t, const char *name, const char *series)
{
    (void)bench_wait(bench, opt(bench, OPT_REST_SECONDS), NULL, NULL);
    t->plain = bench_series(bench, series);
    const uint64_t passed = bench_read(bench, &t->passed);
    const struct usage before = bench_usage(bench);
    (void)bench_wait(bench, opt(bench, OPT_SECONDS), NULL, NULL);
    const struct usage after = bench_usage(bench);
    const double seconds = (double)(after.at_us - before.at_us) / 1e6;
    bench_fact(bench, 100 * (after.server_cpu_s - before.server_cpu_s) / seconds,
               "%s_percent_of_a_core", name);
    bench_fact(bench, (double)(after.written - before.written) / 1024 / seconds,
               "%s_written_kb_per_s", name);
    bench_fact(bench, (double)(bench_read(bench, &t->passed) - passed) / seconds, "%s_passed_per_s",
               name);
}

static void run(struct bench *bench)
{
    static struct throttled t;
    t.plain = bench_series(bench, "plain, warming up");
    const struct load_options plain_options = {.producers = 8,
                                               .bulk = 1,
                                               .payload = opt(bench, OPT_PAYLOAD),
                                               .rate = opt(bench, OPT_RATE),
                                               .workers = opt(bench, OPT_WORKERS),
                                               .batch = opt(bench, OPT_BATCH),
                                               .wait_ms = opt(bench, OPT_WAIT_MS),
                                               .series_prefix = "plain ",
                                               .fill = fill_plain,
                                               .leased = leased,
                                               .context = &t};
    const struct load_options backlog_options = {.producers = 8,
                                                 .bulk = opt(bench, OPT_BULK),
                                                 .payload = opt(bench, OPT_PAYLOAD),
                                                 .jobs_max = opt(bench, OPT_JOBS),
                                                 .series_prefix = "throttled ",
                                                 .fill = fill_throttled};
    struct load *plain = load_new(bench, &plain_options);
    struct load *backlog = load_new(bench, &backlog_options);
    load_consume(plain, plain_options.workers);
    load_produce(plain, plain_options.producers);
    measure(bench, &t, "alone", "plain alone: enqueue to lease");
    (void)load_enqueue_phase(backlog, "enqueued", ENQUEUE_SECONDS);
    measure(bench, &t, "throttled", "plain beside: enqueue to lease");
    load_stop_producers(plain);
    load_stop_workers(plain);
}

static const struct preset presets[] = {
    {OPT_JOBS, 10000},    {OPT_HITS, 10},       {OPT_SECONDS, 8},      {OPT_RATE, 10},
    {OPT_BULK, 100},      {OPT_WORKERS, 8},     {OPT_BATCH, 16},       {OPT_PAYLOAD, 64},
    {OPT_WAIT_MS, 10000}, {OPT_CONNECTIONS, 4}, {OPT_REST_SECONDS, 2},
};
const struct scenario scenario_throttled = {
    .name = "throttled",
    .summary = "a backlog behind a rate limit, and other jobs of its group",
    .text = "--rate jobs a second without limits go through a group, whose workers wait in polls. "
            "Then\n"
            "--jobs jobs of a better priority are enqueued that share a rate limit of --hits a "
            "second.\n"
            "Before and after, --seconds each, after a rest for the storage engine: the server's "
            "CPU time, the bytes it writes to disk, "
            "and\n"
            "how long the jobs without limits take from enqueue to lease.",
    SCENARIO_PRESETS(presets),
    .server = SERVER_OWN,
    .run = run};
