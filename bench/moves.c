/*
 * bench/moves.c - scenario `moves`: shards change their nodes under load, and what clients notice.
 *
 * Jobs arrive at a fixed rate, in turn for each shard, so that each shard has calls all the time:
 * the longest time in which none of them succeeded is the shard's hole. Holes are told apart by
 * whether the shard went to another node meanwhile.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "drive.h"
#include "held.h"
#include "ledger.h"
#include "route.h"
#include "scenarios.h"
#include "sync.h"

#define BACKLOG_GROUP "backlog"
#define EVENT_SECONDS 60.0 /* for all shards to be served again, a node to be back */
#define SPREAD_SECONDS 30.0
#define WARMUP_SECONDS 2.0
#define RETRIES 9
#define LOST_TOLD 5u       /* lost jobs that are looked at */
#define RESTING_US 1000000 /* a shard without a success for so long is not served */

struct moves {
    struct bench *bench;
    struct ledger *ledger;
    struct load *load;
    struct series *moved, *others, *served;
    uint64_t *moves_before; /* of each shard, at the beginning of the event */
    uint32_t node;          /* of the event: an index of the routes' nodes */
    uint32_t target;        /* where the first shard is to go */
    int64_t begun_us;
    uint64_t moves;
};

static struct moves moves;

/* --- the load --- */

static void fill(struct load *load, uint64_t n, struct arena *arena, Silo__V1__EnqueueRequest *job)
{
    (void)load;
    char name[LEDGER_NAME_BYTES];
    ledger_name(n, name);
    job->id = arena_printf(arena, "%s", name);
    job->return_existing = true; /* a call of unknown outcome is sent again */
    /* What a node that died had handed out comes again when its lease is over. */
    Silo__V1__RetryPolicy *policy = ARENA_NEW(arena, Silo__V1__RetryPolicy);
    silo__v1__retry_policy__init(policy);
    policy->retry_count = RETRIES;
    policy->initial_interval_ms = policy->max_interval_ms = 1;
    policy->backoff_factor = 1;
    job->retry_policy_opt_case = SILO__V1__ENQUEUE_REQUEST__RETRY_POLICY_OPT_RETRY_POLICY;
    job->retry_policy = policy;
}

static void fill_backlog(void *context, uint32_t n, struct arena *arena,
                         Silo__V1__EnqueueRequest *job)
{
    (void)context;
    (void)n;
    (void)arena;
    job->task_group = lend(BACKLOG_GROUP);
}

static bool enqueued(struct load *load, struct producer *producer, const char *job_id)
{
    (void)load;
    ledger_acknowledged(moves.ledger, ledger_number(job_id));
    ledger_succeeded(moves.ledger, producer->call.own.shard, producer->call.end_us);
    return false;
}

static uint64_t tag(const Silo__V1__Task *task)
{
    return ledger_number(task->job_id);
}

static void leased(struct load *load, uint32_t worker, const Silo__V1__Task *task, int64_t now_us)
{
    (void)load;
    (void)worker;
    (void)now_us;
    ledger_leased(moves.ledger, ledger_number(task->job_id), task->attempt_number);
}

static void completed(struct load *load, uint64_t job)
{
    (void)load;
    ledger_reported(moves.ledger, job);
}

/* --- one event, on the loop --- */

static void event_begin(void *context)
{
    (void)context;
    const struct bench *bench = moves.bench;
    moves.begun_us = env_mono_us(&env_system);
    ledger_holes_reset(moves.ledger);
    for (uint32_t i = 0; i < bench->shard_count; i++) {
        moves.moves_before[i] = bench->shards[i].moves;
    }
}

static void event_end(void *context)
{
    (void)context;
    const struct bench *bench = moves.bench;
    const int64_t now = env_mono_us(&env_system);
    for (uint32_t i = 0; i < bench->shard_count; i++) {
        const uint64_t count = bench->shards[i].moves - moves.moves_before[i];
        moves.moves += count;
        series_add(count != 0 ? moves.moved : moves.others, ledger_hole_us(moves.ledger, i, now));
    }
}

/* Every shard has had a success since the event began, and none rests now. */
static bool all_served(void *context)
{
    (void)context;
    const int64_t now = env_mono_us(&env_system);
    for (uint32_t i = 0; i < moves.bench->shard_count; i++) {
        const int64_t last = ledger_last_us(moves.ledger, i);
        if (last < moves.begun_us || now - last > RESTING_US) {
            return false;
        }
    }
    return true;
}

static bool serves(uint32_t node)
{
    for (uint32_t i = 0; i < moves.bench->serving_count; i++) {
        if (moves.bench->serving[i] == node) {
            return true;
        }
    }
    return false;
}

static bool node_is_out(void *context)
{
    return !serves(moves.node) && all_served(context);
}

static bool node_is_back(void *context)
{
    return serves(moves.node) && all_served(context);
}

static bool shard_is_there(void *context)
{
    return moves.bench->shards[0].node == moves.target && all_served(context);
}

/* --- events, on the main thread --- */

/* The index of one of our servers among the nodes of the routes. */
static uint32_t node_of_server(uint32_t server)
{
    for (uint32_t i = 0; i < moves.bench->node_count; i++) {
        if (strcmp(moves.bench->nodes[i].address, server_address(server)) == 0) {
            return i;
        }
    }
    bench_die("%s is no node of the cluster", server_name(server));
}

static void await(bool (*until)(void *context), double seconds, const char *what, uint32_t server)
{
    const int64_t start = env_mono_us(&env_system);
    if (!bench_wait(moves.bench, seconds, until, NULL) && !bench_interrupted()) {
        bench_check(moves.bench, false, "%s: %s within %.0f s", server_name(server), what, seconds);
    }
    series_add(moves.served, env_mono_us(&env_system) - start);
}

/* The node leaves, or dies, and comes back. */
static void event_restart(uint32_t server, bool kill)
{
    struct bench *bench = moves.bench;
    server_signal(server, kill ? SIGKILL : SIGTERM);
    server_wait_end(bench, server, !kill);
    if (kill) {
        await(node_is_out, EVENT_SECONDS, "others serve its shards", server);
    }
    server_launch(bench, server);
    if (!server_wait_node(server, EVENT_SECONDS)) {
        bench_check(bench, false, "%s is ready again", server_name(server));
    }
    await(node_is_back, SPREAD_SECONDS, "it has shards again", server);
}

/* The node stands still with its connections open, and goes on. */
static void event_pause(uint32_t server, double seconds)
{
    server_signal(server, SIGSTOP);
    const int64_t start = env_mono_us(&env_system);
    await(node_is_out, seconds, "others serve its shards", server);
    const double left = seconds - bench_seconds_since(start);
    (void)bench_wait(moves.bench, left > 0 ? left : 0, NULL, NULL);
    server_signal(server, SIGCONT);
    await(node_is_back, SPREAD_SECONDS, "it has shards again", server);
}

/* The first shard goes to the ring of one server. */
static void event_ring(uint32_t server)
{
    struct bench *bench = moves.bench;
    Silo__V1__ConfigureShardRequest m = SILO__V1__CONFIGURE_SHARD_REQUEST__INIT;
    m.shard = bench->shards[0].id;
    m.placement_ring_opt_case =
        SILO__V1__CONFIGURE_SHARD_REQUEST__PLACEMENT_RING_OPT_PLACEMENT_RING;
    m.placement_ring = lend(server_name(server));
    moves.target = moves.node;
    struct rpc_answer answer;
    ask_ok(bench, SILO_PATH("ConfigureShard"), &m, NULL, &answer);
    rpc_answer_deinit(&answer);
    await(shard_is_there, EVENT_SECONDS, "it has the shard", server);
}

static void event_run(uint32_t number)
{
    struct bench *bench = moves.bench;
    const uint32_t server = number % server_count();
    moves.node = node_of_server(server);
    bench_on_loop(bench, event_begin, NULL);
    const double pause = bench->options.numbers[OPT_PAUSE];
    if (opt(bench, OPT_RINGS) != 0) {
        event_ring(server);
    } else if (pause > 0) {
        event_pause(server, pause);
    } else {
        event_restart(server, opt(bench, OPT_KILL) != 0);
    }
    (void)bench_wait(bench, (double)opt(bench, OPT_SETTLE_MS) / 1e3, NULL, NULL);
    bench_on_loop(bench, event_end, NULL);
}

/* --- the run --- */

static void sums_run(void *context)
{
    *(struct ledger_sums *)context = ledger_sums(moves.ledger);
}

/* Tells what the servers say of a job that is lost. */
static void lost_tell(uint64_t job)
{
    struct bench *bench = moves.bench;
    char name[LEDGER_NAME_BYTES];
    ledger_name(job, name);
    Silo__V1__GetJobRequest m = SILO__V1__GET_JOB_REQUEST__INIT;
    m.shard = lend(bench_shard(bench, NULL, job));
    m.id = name;
    m.include_attempts = true;
    struct rpc_answer answer;
    const uint32_t status = ask(bench, SILO_PATH("GetJob"), &m, NULL, &answer);
    Silo__V1__GetJobResponse *reply =
        status != RPC_STATUS_OK
            ? NULL
            : silo__v1__get_job_response__unpack(NULL, answer.reply.len, answer.reply.ptr);
    const char *code = "no attempt";
    if (reply != NULL && reply->n_attempts != 0) {
        code = reply->attempts[reply->n_attempts - 1]->error_code;
    }
    (void)fprintf(stderr, "lost: %s of shard %s: %s, status %d, %zu attempts, the last: %s\n", name,
                  m.shard, grpc_status_name(status), reply != NULL ? (int)reply->status : -1,
                  reply != NULL ? reply->n_attempts : 0, code);
    if (reply != NULL) {
        silo__v1__get_job_response__free_unpacked(reply, NULL);
    }
    rpc_answer_deinit(&answer);
}

static void audit(const struct held *held, uint64_t held_lost)
{
    struct bench *bench = moves.bench;
    struct ledger_sums sums;
    bench_on_loop(bench, sums_run, &sums);
    bench_fact(bench, (double)moves.moves, "moves");
    bench_fact(bench, (double)bench_read(bench, &bench->redirects), "redirects");
    bench_fact(bench, (double)bench_read(bench, &bench->retries), "tries_after_a_wait");
    bench_fact(bench, (double)bench_read(bench, &bench->errors), "failed_calls");
    bench_fact(bench, (double)sums.acknowledged, "jobs_acknowledged");
    bench_fact(bench, (double)sums.handed_out_again, "jobs_handed_out_again");
    bench_fact(bench, (double)sums.attempts_lost, "attempts_lost");
    bench_check(bench, sums.lost == 0, "no job is lost: %llu", (unsigned long long)sums.lost);
    bench_check(bench, sums.ran_after_its_end == 0, "no job ran after its acknowledged end: %llu",
                (unsigned long long)sums.ran_after_its_end);
    uint64_t lost = ledger_lost(moves.ledger, 0);
    for (uint32_t i = 0; i < LOST_TOLD && lost != UINT64_MAX; i++) {
        lost_tell(lost);
        lost = ledger_lost(moves.ledger, lost + 1);
    }
    const bool is_orderly = opt(bench, OPT_KILL) == 0 && bench->options.numbers[OPT_PAUSE] == 0;
    const unsigned long long hand_outs_lost = sums.handed_out_again + sums.attempts_lost;
    bench_check(bench, !is_orderly || hand_outs_lost == 0,
                "no hand-out was lost by an orderly move: %llu", hand_outs_lost);
    if (held != NULL) {
        bench_check(bench, held_lost == 0, "all kept leases were kept: %llu lost",
                    (unsigned long long)held_lost);
    }
}

static void moves_free(void *thing)
{
    (void)thing;
    moves.ledger = ledger_free(moves.ledger);
    free(moves.moves_before);
}

static void moves_init(struct bench *bench)
{
    moves = (struct moves){.bench = bench,
                           .ledger = ledger_new(bench->shard_count),
                           .moved = bench_series(bench, "hole of a moved shard"),
                           .others = bench_series(bench, "hole of other shards"),
                           .served = bench_series(bench, "until all is as it should"),
                           .moves_before = xcalloc(bench->shard_count, sizeof(uint64_t))};
    const struct load_options options = {.producers = opt(bench, OPT_CLIENTS),
                                         .payload = opt(bench, OPT_PAYLOAD),
                                         .rate = bench->options.numbers[OPT_RATE],
                                         .workers = opt(bench, OPT_WORKERS),
                                         .batch = opt(bench, OPT_BATCH),
                                         .wait_ms = opt(bench, OPT_WAIT_MS),
                                         .fill = fill,
                                         .enqueued = enqueued,
                                         .leased = leased,
                                         .tag = tag,
                                         .completed = completed};
    moves.load = load_new(bench, &options);
    bench_free_later(bench, moves_free, NULL);
}

static void run(struct bench *bench)
{
    if (server_count() < 2) {
        bench_die("this scenario wants --nodes 2 or more");
    }
    bench->counts_known = false; /* a server that was started again counts anew */
    moves_init(bench);
    sync_enqueue(bench, opt(bench, OPT_JOBS), fill_backlog, NULL);
    const uint32_t leases = opt(bench, OPT_LEASES);
    struct held *held = leases != 0 ? held_new(bench, leases) : NULL;
    struct load *load = moves.load;
    bench_watch(bench, "enqueued", &load->enqueued, load->enqueue_series, &load->enqueued,
                &load->completed);
    load_consume(load, load->options.workers);
    load_produce(load, load->options.producers);
    (void)bench_wait(bench, WARMUP_SECONDS, NULL, NULL);
    for (uint32_t i = 0; i < opt(bench, OPT_ROUNDS) && !bench_interrupted(); i++) {
        event_run(i);
    }
    load_stop_producers(load);
    const bool quiet = load_wait_producers(load, EVENT_SECONDS + 30);
    const bool all = load_wait_completed(load, 0, opt(bench, OPT_DRAIN_SECONDS));
    bench_check(bench, quiet && all, "every job was run: %llu of %llu",
                (unsigned long long)bench_read(bench, &load->completed),
                (unsigned long long)bench_read(bench, &load->enqueued));
    bench_fact(bench, (double)load->late, "late_starts");
    audit(held, held != NULL ? held_report(held) : 0);
}

static const struct preset presets[] = {
    {OPT_ROUNDS, 6},       {OPT_KILL, 0},           {OPT_PAUSE, 0},       {OPT_RINGS, 0},
    {OPT_JOBS, 0},         {OPT_LEASES, 0},         {OPT_RATE, 600},      {OPT_CLIENTS, 4096},
    {OPT_WORKERS, 24},     {OPT_BATCH, 8},          {OPT_WAIT_MS, 1000},  {OPT_PAYLOAD, 64},
    {OPT_SETTLE_MS, 2000}, {OPT_DRAIN_SECONDS, 60}, {OPT_CONNECTIONS, 2},
};
const struct scenario scenario_moves = {
    .name = "moves",
    .summary = "nodes restart, die or stand still under load, shards move: holes, and an audit",
    .text =
        "Jobs arrive at --rate a second, in turn for each shard, and workers at all nodes run them.\n"
        "--rounds times a node, each in turn, is stopped in an orderly way and started again; with\n"
        "--kill 1 it is killed and started when others serve its shards; with --pause-seconds N it\n"
        "stands still for so long; with --rings 1 all nodes run, and the first shard goes from one\n"
        "to the next. `hole` is the longest time in which no enqueue on a shard succeeded, for each\n"
        "shard and round; the arrivals of a shard lie shards / --rate apart. --jobs puts a backlog\n"
        "on the first shard, --leases keeps tasks of it running all the time. Calls are sent again as\n"
        "clients do, and a call that failed all the same is an error. At the end every job is\n"
        "accounted for.",
    SCENARIO_PRESETS(presets),
    .server = SERVER_OWN,
    .shards = 12,
    .run = run};
