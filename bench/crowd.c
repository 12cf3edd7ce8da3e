/* bench/crowd.c - scenarios `tenants` and `queues`: very many small things on one shard. */
#include <string.h>

#include "drive.h"
#include "scenarios.h"

#define PHASE_SECONDS 3600.0
#define JOBS_OF_A_KEY 2u

static void fill_tenant(struct load *load, uint64_t n, struct arena *arena,
                        Silo__V1__EnqueueRequest *job)
{
    const struct bench *bench = load->bench;
    job->tenant_opt_case = SILO__V1__ENQUEUE_REQUEST__TENANT_OPT_TENANT;
    job->tenant = arena_printf(arena, "%s-%llu", bench->options.prefix,
                               (unsigned long long)(n % opt(bench, OPT_TENANTS)));
}

/* The first job of a key gets its slot, the second waits. */
static void fill_key(struct load *load, uint64_t n, struct arena *arena,
                     Silo__V1__EnqueueRequest *job)
{
    const uint64_t keys = opt(load->bench, OPT_KEYS);
    const char *key = arena_printf(arena, "key-%llu", (unsigned long long)(n % keys));
    limits_set(arena, job, limit_fixed(arena, key, 1), NULL);
}

static struct load *crowd(struct bench *bench, uint64_t jobs,
                          void (*fill)(struct load *load, uint64_t n, struct arena *arena,
                                       Silo__V1__EnqueueRequest *job))
{
    if (bench->shard_count != 1) {
        bench_die("this scenario needs a server with one shard");
    }
    const struct load_options options = {.producers = 8,
                                         .bulk = opt(bench, OPT_BULK),
                                         .payload = opt(bench, OPT_PAYLOAD),
                                         .jobs_max = jobs,
                                         .workers = opt(bench, OPT_WORKERS),
                                         .batch = opt(bench, OPT_BATCH),
                                         .wait_ms = 100,
                                         .report_many = true,
                                         .tenths_of = jobs,
                                         .fill = fill};
    const struct usage before = bench_usage(bench);
    struct load *load = load_new(bench, &options);
    (void)load_enqueue_phase(load, "enqueued", PHASE_SECONDS);
    const struct usage full = bench_usage(bench);
    bench_fact(bench, (double)before.rss_kb / 1024, "server_rss_before_mb");
    bench_fact(bench, (double)full.rss_kb / 1024, "server_rss_with_backlog_mb");
    const int64_t start = env_mono_us(&env_system);
    (void)load_drain_phase(load, "drained", PHASE_SECONDS);
    (void)load_tenth_facts(load, start);
    return load;
}

static void run_tenants(struct bench *bench)
{
    if (!bench->tenancy) {
        bench_die("this scenario needs a server with tenancy");
    }
    (void)crowd(bench, (uint64_t)opt(bench, OPT_TENANTS) * opt(bench, OPT_JOBS), fill_tenant);
}

static const struct preset tenant_presets[] = {
    {OPT_TENANTS, 20000}, {OPT_JOBS, 2},     {OPT_BULK, 100},      {OPT_WORKERS, 8},
    {OPT_BATCH, 32},      {OPT_PAYLOAD, 64}, {OPT_CONNECTIONS, 4},
};
const struct scenario scenario_tenants = {
    .name = "tenants",
    .summary = "very many tenants with a few jobs each, on one shard",
    .text =
        "Enqueues --jobs jobs for each of --tenants tenants (100000 for a full run), one tenant\n"
        "after the other so that a bulk call is about as many tenants as jobs; then drains them.",
    SCENARIO_PRESETS(tenant_presets),
    .tenancy = true,
    .run = run_tenants};

static void run_queues(struct bench *bench)
{
    const uint64_t keys = opt(bench, OPT_KEYS);
    (void)crowd(bench, keys * JOBS_OF_A_KEY, fill_key);
    const uint64_t held = bench_holders(bench, bench->options.prefix);
    bench_check(bench, held == 0, "no slot is held any more: %llu", (unsigned long long)held);
}

static const struct preset queue_presets[] = {
    {OPT_KEYS, 30000}, {OPT_BULK, 100},   {OPT_WORKERS, 8},
    {OPT_BATCH, 32},   {OPT_PAYLOAD, 64}, {OPT_CONNECTIONS, 4},
};
const struct scenario scenario_queues = {
    .name = "queues",
    .summary = "very many limit keys, each with a holder and a waiter",
    .text =
        "Enqueues two jobs for each of --keys concurrency keys of one slot (1000000 for a full\n"
        "run): the first is ready, the second waits for it. Then drains all.",
    SCENARIO_PRESETS(queue_presets),
    .run = run_queues};
