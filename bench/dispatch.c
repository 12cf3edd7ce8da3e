/*
 * bench/dispatch.c - scenario `dispatch`: from an enqueue to its handler's start and to the result,
 * at light load.
 */
#include "drive.h"
#include "scenarios.h"

#define RESULT_WAIT_MS 10000u

struct dispatch {
    struct bench *bench;
    struct series *result;
    uint64_t results;
};

static void result_seen(struct call *call)
{
    struct producer *producer = call->owner;
    struct dispatch *dispatch = producer->load->options.context;
    series_add(dispatch->result, call->end_us - producer->call.start_us);
    dispatch->results++;
    producer_next(producer);
}

static void result_failed(struct call *call)
{
    call_count_error(call);
    producer_next(call->owner);
}

/* The producer waits for the result of what it enqueued. */
static bool enqueued(struct load *load, struct producer *producer, const char *job_id)
{
    const struct bench *bench = load->bench;
    Silo__V1__GetJobResultRequest m = SILO__V1__GET_JOB_RESULT_REQUEST__INIT;
    if (bench->tenancy) {
        m.tenant_opt_case = SILO__V1__GET_JOB_RESULT_REQUEST__TENANT_OPT_TENANT;
        m.tenant = lend(bench->options.prefix);
    }
    m.shard = lend(bench_shard(bench, bench->tenancy ? m.tenant : NULL, 0));
    m.id = lend(job_id);
    m.wait_ms = RESULT_WAIT_MS;
    producer->extra.bench = load->bench;
    producer->extra.place = producer->call.place;
    producer->extra.owner = producer;
    producer->extra.done = result_seen;
    producer->extra.failed = result_failed;
    call_send(&producer->extra, SILO_PATH("GetJobResult"), &m, 0);
    return true;
}

static struct dispatch dispatch;

static void run(struct bench *bench)
{
    if (bench->shard_count != 1 && !bench->tenancy) {
        bench_die("without tenancy this scenario needs a server with one shard");
    }
    dispatch =
        (struct dispatch){.bench = bench, .result = bench_series(bench, "enqueue to result")};
    const struct load_options options = {.producers = opt(bench, OPT_CLIENTS),
                                         .payload = opt(bench, OPT_PAYLOAD),
                                         .rate = bench->options.numbers[OPT_RATE],
                                         .workers = opt(bench, OPT_WORKERS),
                                         .batch = 1,
                                         .wait_ms = 30000,
                                         .enqueued = enqueued,
                                         .context = &dispatch};
    struct load *load = load_new(bench, &options);
    bench_watch(bench, "results", &dispatch.results, load->start_series, &load->enqueued,
                &dispatch.results);
    load_consume(load, options.workers);
    (void)bench_wait(bench, 0.2, NULL, NULL); /* the polls are parked */
    const struct usage before = bench_usage(bench);
    load_produce(load, options.producers);
    (void)bench_wait(bench, opt(bench, OPT_SECONDS), NULL, NULL);
    (void)bench_rate(bench, "results", bench_read(bench, &dispatch.results), &before);
    load_stop_producers(load);
    const bool all = load_wait_producers(load, 15);
    bench_quiet(bench);
    bench_fact(bench, (double)load->late, "late_starts");
    bench_check(bench, all && dispatch.results == load->enqueued,
                "every result was seen: %llu of %llu", (unsigned long long)dispatch.results,
                (unsigned long long)load->enqueued);
}

static const struct preset presets[] = {
    {OPT_RATE, 50},    {OPT_SECONDS, 10}, {OPT_WORKERS, 4},
    {OPT_CLIENTS, 64}, {OPT_PAYLOAD, 64}, {OPT_CONNECTIONS, 2},
};
const struct scenario scenario_dispatch = {
    .name = "dispatch",
    .summary = "enqueue to handler start and to the result, on an idle system",
    .text =
        "Jobs arrive in an open loop at --rate a second; --workers workers wait in long polls and\n"
        "report at once; for each job a GetJobResult waits. `enqueue to lease` is the time from\n"
        "the intended start to the moment a worker has the task, `enqueue to result` to the "
        "moment\n"
        "the result is seen.",
    SCENARIO_PRESETS(presets),
    .run = run};
