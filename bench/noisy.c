/*
 * bench/noisy.c - scenario `noisy`: what a tenant keeps of its rate while another drains a larger
 * backlog.
 */
#include "drive.h"
#include "scenarios.h"

#define A_QUEUES 24u
#define A_EACH 160u
#define B_QUEUES 8u
#define B_EACH 60u
#define FLOAT_SLOTS 360u
#define FLOAT_REFRESH_MS 600000
#define HEAD_START_US 200000u
#define PHASE_SECONDS 300.0

struct side {
    const char *name, *tenant;
    uint32_t queues;
};

static struct side side_a = {"a", "noisy-a", A_QUEUES}, side_b = {"b", "noisy-b", B_QUEUES};

static void fill(struct load *load, uint64_t n, struct arena *arena, Silo__V1__EnqueueRequest *job)
{
    const struct side *side = load->options.context;
    job->tenant_opt_case = SILO__V1__ENQUEUE_REQUEST__TENANT_OPT_TENANT;
    job->tenant = lend(side->tenant);
    const char *queue = arena_printf(arena, "%s-q-%u", side->name, (unsigned)(n % side->queues));
    limits_set(arena, job, limit_fixed(arena, queue, 1),
               limit_floating(arena, arena_printf(arena, "%s-float", side->name), FLOAT_SLOTS,
                              FLOAT_REFRESH_MS));
}

static struct load *side_load(struct bench *bench, struct side *side, uint32_t each,
                              const char *group, const char *prefix)
{
    const struct load_options options = {.producers = 4,
                                         .bulk = 64,
                                         .payload = opt(bench, OPT_PAYLOAD),
                                         .jobs_max =
                                             (uint64_t)side->queues * each * opt(bench, OPT_ROUNDS),
                                         .workers = opt(bench, OPT_WORKERS),
                                         .batch = opt(bench, OPT_BATCH),
                                         .wait_ms = opt(bench, OPT_WAIT_MS),
                                         .group = group,
                                         .series_prefix = prefix,
                                         .fill = fill,
                                         .context = side};
    return load_new(bench, &options);
}

/* Drains B; jobs per second from the first poll to the last report. */
static double drain_b(struct bench *bench, struct load *b, const char *name)
{
    const int64_t start = env_mono_us(&env_system);
    load_consume(b, b->options.workers);
    bench_watch(bench, name, &b->completed, b->lease_series, &b->enqueued, &b->completed);
    const bool all = load_wait_completed(b, 0, PHASE_SECONDS);
    bench_check(bench, all, "%s: %llu of %llu jobs were completed", name,
                (unsigned long long)b->completed, (unsigned long long)b->enqueued);
    const double rate = (double)b->completed * 1e6 / (double)(b->last_completed_us - start);
    bench_fact(bench, rate, "%s_jobs_per_s", name);
    load_stop_workers(b);
    return rate;
}

static void run(struct bench *bench)
{
    struct load *alone = side_load(bench, &side_b, B_EACH, "noisy-b1", "b alone ");
    (void)load_enqueue_phase(alone, "b_alone_enqueue", PHASE_SECONDS);
    const double rate_alone = drain_b(bench, alone, "b_alone");

    struct load *a = side_load(bench, &side_a, A_EACH, "noisy-a", "a ");
    struct load *beside = side_load(bench, &side_b, B_EACH, "noisy-b2", "b beside a ");
    (void)load_enqueue_phase(a, "a_enqueue", PHASE_SECONDS);
    (void)load_enqueue_phase(beside, "b_beside_enqueue", PHASE_SECONDS);
    load_consume(a, a->options.workers);
    (void)bench_wait(bench, HEAD_START_US / 1e6, NULL, NULL);
    const uint64_t a_before = bench_read(bench, &a->completed);
    const double rate_beside = drain_b(bench, beside, "b_beside_a");
    const uint64_t a_after = bench_read(bench, &a->completed);
    bench_fact(bench, (double)(a_after - a_before), "a_jobs_meanwhile");
    bench_fact(bench, (double)(a->enqueued - a_after), "a_backlog_when_b_ended");
    bench_fact(bench, rate_alone > 0 ? 100 * rate_beside / rate_alone : 0, "b_retained_percent");
    const bool rest = load_wait_completed(a, 0, PHASE_SECONDS);
    bench_check(bench, rest, "a: %llu of %llu jobs were completed",
                (unsigned long long)a->completed, (unsigned long long)a->enqueued);
    load_stop_workers(a);
    const uint64_t held = bench_holders(bench, "noisy-a") + bench_holders(bench, "noisy-b");
    bench_check(bench, held == 0, "no slot is held any more: %llu", (unsigned long long)held);
}

static const struct preset presets[] = {
    {OPT_WORKERS, 8},  {OPT_BATCH, 8},     {OPT_ROUNDS, 4},
    {OPT_PAYLOAD, 64}, {OPT_WAIT_MS, 100}, {OPT_CONNECTIONS, 4},
};
const struct scenario scenario_noisy = {
    .name = "noisy",
    .summary = "a small tenant beside one that drains a large backlog",
    .text =
        "Tenant a has 24 queues of 160 jobs, tenant b 8 of 60, each times --rounds; a job has a\n"
        "limit of 1 on its queue and a floating limit of 360. Each tenant has its own group and\n"
        "--workers workers. b is drained alone, then again while a drains, which started 200 ms\n"
        "earlier. Prints both rates of b and how much of the first it retained.",
    SCENARIO_PRESETS(presets),
    .tenancy = true,
    .settings = {"database.slatedb.flush_interval = \"1ms\""},
    .run = run};
