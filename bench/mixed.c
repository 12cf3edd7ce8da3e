/*
 * bench/mixed.c - scenario `mixed`: tenants of different weight, concurrency and floating limits,
 * and an audit.
 *
 * Afterwards nothing may be held: that is asked of every tenant, and the counters must say that all
 * jobs ended.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "drive.h"
#include "scenarios.h"

#define QUIET_SECONDS 2.0 /* a drain is over after QUIET_ROUNDS times that without a completion */
#define QUIET_ROUNDS 3

struct mixed {
    struct bench *bench;
    uint32_t tenants, floats;
    double *weights_to; /* running sum, the last is 1 */
};

/* Tenant i weighs from the factor (first) to 1 (last), in a straight line. */
static void weights_make(struct mixed *mixed, double factor)
{
    const uint32_t n = mixed->tenants;
    mixed->weights_to = xcalloc(n, sizeof *mixed->weights_to);
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += n > 1 ? factor + (1 - factor) * (double)i / (double)(n - 1) : 1;
        mixed->weights_to[i] = sum;
    }
    for (uint32_t i = 0; i < n; i++) {
        mixed->weights_to[i] /= sum;
    }
}

static void fill(struct load *load, uint64_t n, struct arena *arena, Silo__V1__EnqueueRequest *job)
{
    const struct mixed *mixed = load->options.context;
    const struct bench_options *o = &mixed->bench->options;
    const double at = (double)(bench_random() >> 11) * 0x1p-53;
    uint32_t tenant = 0;
    while (tenant + 1 < mixed->tenants && at >= mixed->weights_to[tenant]) {
        tenant++;
    }
    const char *name = arena_printf(arena, "%s-%u", o->prefix, tenant);
    job->tenant_opt_case = SILO__V1__ENQUEUE_REQUEST__TENANT_OPT_TENANT;
    job->tenant = lend(name);
    job->priority = (uint32_t)(n % 100);
    const uint32_t floats =
        mixed->floats != 0 ? 1 + (uint32_t)bench_random_below(mixed->floats) : 0;
    job->limits = arena_alloc(arena, (1 + floats) * sizeof(Silo__V1__Limit *));
    const char *key = o->key != NULL ? o->key : arena_printf(arena, "%s-queue", name);
    job->limits[job->n_limits++] = limit_fixed(arena, key, opt(mixed->bench, OPT_LIMIT));
    for (uint32_t i = 0; i < floats; i++) {
        job->limits[job->n_limits++] =
            limit_floating(arena, arena_printf(arena, "%s-float-%u", name, i),
                           opt(mixed->bench, OPT_FLOAT_DEFAULT), opt(mixed->bench, OPT_REFRESH_MS));
    }
}

static void drain(struct bench *bench, struct load *load)
{
    const int64_t start = env_mono_us(&env_system);
    uint64_t last = UINT64_MAX;
    uint32_t quiet = 0;
    while (!bench_interrupted() && quiet < QUIET_ROUNDS &&
           bench_seconds_since(start) < opt(bench, OPT_DRAIN_SECONDS)) {
        if (load_wait_completed(load, 0, QUIET_SECONDS)) {
            break;
        }
        const uint64_t now = bench_read(bench, &load->completed);
        quiet = now == last ? quiet + 1 : 0;
        last = now;
    }
    bench_fact(bench, bench_seconds_since(start), "drain_s");
}

static void audit(struct mixed *mixed, const struct load *load, struct node_counts old)
{
    struct bench *bench = mixed->bench;
    const struct node_counts counts = bench_counts(bench);
    const int64_t made = counts.total - old.total, ended = counts.completed - old.completed;
    bench_check(bench, load->completed == load->enqueued,
                "every enqueued job was run: %llu of %llu", (unsigned long long)load->completed,
                (unsigned long long)load->enqueued);
    bench_check(bench, made == ended && made == (int64_t)load->enqueued,
                "the counters say so: %lld jobs, %lld ended", (long long)made, (long long)ended);
    uint64_t held = 0;
    for (uint32_t i = 0; i < (bench->tenancy ? mixed->tenants : 1); i++) {
        char name[160];
        (void)snprintf(name, sizeof name, "%s-%u", bench->options.prefix, i);
        held += bench_holders(bench, name);
    }
    bench_check(bench, held == 0, "no slot is held any more: %llu", (unsigned long long)held);
}

static void mixed_free(void *thing)
{
    struct mixed *mixed = thing;
    free(mixed->weights_to);
    free(mixed);
}

static void run(struct bench *bench)
{
    struct mixed *mixed = xcalloc(1, sizeof *mixed);
    *mixed = (struct mixed){
        .bench = bench, .tenants = opt(bench, OPT_TENANTS), .floats = opt(bench, OPT_FLOATS)};
    weights_make(mixed, bench->options.numbers[OPT_IMBALANCE]);
    bench_free_later(bench, mixed_free, mixed);
    const struct load_options options = {.producers = opt(bench, OPT_ENQUEUERS),
                                         .payload = opt(bench, OPT_PAYLOAD),
                                         .rate = bench->options.numbers[OPT_RATE],
                                         .workers = opt(bench, OPT_WORKERS),
                                         .batch = opt(bench, OPT_BATCH),
                                         .wait_ms = opt(bench, OPT_WAIT_MS),
                                         .refresh_fail_percent = opt(bench, OPT_REFRESH_FAIL),
                                         .float_default = opt(bench, OPT_FLOAT_DEFAULT),
                                         .fill = fill,
                                         .context = mixed};
    const struct node_counts old = bench_counts(bench);
    struct load *load = load_new(bench, &options);
    bench_watch(bench, "completed", &load->completed, load->start_series, &load->enqueued,
                &load->completed);
    const struct usage before = bench_usage(bench);
    load_consume(load, options.workers);
    load_produce(load, options.producers);
    (void)bench_wait(bench, opt(bench, OPT_SECONDS), NULL, NULL);
    const double seconds = bench_seconds_since(before.at_us);
    (void)bench_rate(bench, "completed", bench_read(bench, &load->completed), &before);
    load_stop_producers(load);
    (void)load_wait_producers(load, 30);
    bench_fact(bench, (double)load->enqueued, "enqueued");
    bench_fact(bench, (double)load->enqueued / seconds, "enqueued_per_s");
    bench_fact(bench, (double)(load->enqueued - bench_read(bench, &load->completed)),
               "backlog_at_end");
    drain(bench, load);
    load_stop_workers(load);
    (void)load_wait_workers(load, 2);
    bench_quiet(bench);
    bench_fact(bench, (double)load->refreshes, "refreshes");
    bench_fact(bench,
               load->polls != 0 ? 100.0 * (double)load->empty_polls / (double)load->polls : 0,
               "empty_polls_percent");
    audit(mixed, load, old);
}

static const struct preset presets[] = {
    {OPT_WORKERS, 8},    {OPT_ENQUEUERS, 4},      {OPT_SECONDS, 10},        {OPT_BATCH, 4},
    {OPT_WAIT_MS, 1000}, {OPT_TENANTS, 4},        {OPT_IMBALANCE, 1},       {OPT_LIMIT, 100},
    {OPT_FLOATS, 2},     {OPT_FLOAT_DEFAULT, 50}, {OPT_REFRESH_MS, 2000},   {OPT_REFRESH_FAIL, 10},
    {OPT_PAYLOAD, 64},   {OPT_RATE, 0},           {OPT_DRAIN_SECONDS, 120}, {OPT_CONNECTIONS, 4},
};
const struct scenario scenario_mixed = {
    .name = "mixed",
    .summary = "tenants, concurrency and floating limits, refreshes, then an audit",
    .text =
        "Enqueuers and workers in closed loops over several tenants. Tenant i is drawn with a "
        "weight\n"
        "between --imbalance (the first) and 1 (the last). Each job has a concurrency limit on\n"
        "<tenant>-queue (or --concurrency-key) and one to --floats floating limits\n"
        "<tenant>-float-<i>. These are refreshed while a job waits for them: refreshes report a "
        "random\n"
        "number from half to twice the default, or fail. Workers report at once. --wait-ms 0 polls "
        "a\n"
        "random shard and sleeps 1 ms when it was empty. Then the enqueuers stop, the rest is "
        "drained,\n"
        "and a check fails unless every job ran, the counters agree and DropTenantHolders finds\n"
        "nothing.",
    SCENARIO_PRESETS(presets),
    .tenancy = true,
    .shards = 8,
    .run = run};
