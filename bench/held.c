/* bench/held.c - tasks that are kept, see held.h. */
#include "held.h"

#include <stdlib.h>

#include "sync.h"

#define HELD_GROUP "held"
#define BEAT_US 3000000 /* a lease is 10 s */
#define REPORT_SECONDS 120.0

struct lease {
    struct held *held;
    struct call call;
    struct rpc_timer timer;
    const char *task_id;
    bool waiting, reporting; /* waiting: for its timer */
};

struct held {
    struct bench *bench;
    struct task_id *ids;
    struct lease *leases;
    const char *shard;
    uint32_t count;
    uint64_t open, lost;
    bool ending;
};

static void lease_beat(struct lease *lease);
static void lease_report(struct lease *lease);

static void lease_wait(struct lease *lease, int64_t until_us)
{
    lease->waiting = true;
    rpc_timer_start(lease->held->bench->loop, &lease->timer, until_us);
}

static void lease_done(struct call *call)
{
    struct lease *lease = call->owner;
    struct held *held = lease->held;
    if (lease->reporting) {
        held->open--;
    } else if (held->ending) {
        lease_report(lease);
    } else {
        lease_wait(lease, call->end_us + BEAT_US);
    }
}

/* The lease is gone, unless that is what its own report has done that was sent twice. */
static void lease_failed(struct call *call)
{
    struct lease *lease = call->owner;
    struct held *held = lease->held;
    if (!(lease->reporting && call_was_done(call))) {
        call_count_error(call);
        held->lost++;
    }
    held->open--;
}

static void lease_fire(struct rpc_timer *timer)
{
    struct lease *lease = CONTAINER_OF(timer, struct lease, timer);
    lease->waiting = false;
    if (lease->held->bench->closing) {
        return;
    }
    if (lease->held->ending) {
        lease_report(lease);
    } else {
        lease_beat(lease);
    }
}

static void lease_beat(struct lease *lease)
{
    Silo__V1__HeartbeatRequest m = SILO__V1__HEARTBEAT_REQUEST__INIT;
    m.shard = lend(lease->held->shard);
    m.worker_id = lend("bench");
    m.task_id = lend(lease->task_id);
    call_send(&lease->call, SILO_PATH("Heartbeat"), &m, 0);
}

static void lease_report(struct lease *lease)
{
    Silo__V1__ReportOutcomeRequest m = SILO__V1__REPORT_OUTCOME_REQUEST__INIT;
    m.shard = lend(lease->held->shard);
    m.task_id = lend(lease->task_id);
    m.outcome_case = SILO__V1__REPORT_OUTCOME_REQUEST__OUTCOME_SUCCESS;
    m.success = blob_true();
    lease->reporting = true;
    call_send(&lease->call, SILO_PATH("ReportOutcome"), &m, 0);
}

static void held_start(void *context)
{
    struct held *held = context;
    const int64_t now = env_mono_us(&env_system);
    for (uint32_t i = 0; i < held->count; i++) {
        struct lease *lease = &held->leases[i];
        *lease = (struct lease){.held = held,
                                .call = {.bench = held->bench,
                                         .place = i,
                                         .done = lease_done,
                                         .failed = lease_failed,
                                         .owner = lease},
                                .timer.fire = lease_fire,
                                .task_id = held->ids[i].text};
        lease_wait(lease, now + (int64_t)bench_random_below(BEAT_US));
    }
}

static void fill(void *context, uint32_t n, struct arena *arena, Silo__V1__EnqueueRequest *job)
{
    (void)context;
    (void)n;
    (void)arena;
    job->task_group = lend(HELD_GROUP);
}

static void held_free(void *thing)
{
    struct held *held = thing;
    for (uint32_t i = 0; i < held->count; i++) {
        call_deinit(&held->leases[i].call);
    }
    free(held->leases);
    free(held->ids);
    free(held);
}

struct held *held_new(struct bench *bench, uint32_t count)
{
    struct held *held = xcalloc(1, sizeof *held);
    *held = (struct held){.bench = bench,
                          .ids = xcalloc(count + 1u, sizeof *held->ids),
                          .leases = xcalloc(count + 1u, sizeof *held->leases),
                          .shard = bench->shards[0].id,
                          .count = count,
                          .open = count};
    sync_enqueue(bench, count, fill, NULL);
    if (!sync_lease_all(bench, HELD_GROUP, count, held->ids)) {
        bench_die("the tasks to be held did not come");
    }
    bench_free_later(bench, held_free, held);
    bench_on_loop(bench, held_start, held);
    return held;
}

static void held_end(void *context)
{
    struct held *held = context;
    const int64_t now = env_mono_us(&env_system);
    held->ending = true;
    for (uint32_t i = 0; i < held->count; i++) {
        /* Those whose call is under way see it when that is answered. */
        if (held->leases[i].waiting) {
            lease_wait(&held->leases[i], now);
        }
    }
}

static bool held_over(void *context)
{
    const struct held *held = context;
    return held->open == 0;
}

uint64_t held_report(struct held *held)
{
    bench_on_loop(held->bench, held_end, held);
    (void)bench_wait(held->bench, REPORT_SECONDS, held_over, held);
    return bench_read(held->bench, &held->lost) + bench_read(held->bench, &held->open);
}
