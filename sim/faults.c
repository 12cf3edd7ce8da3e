/*
 * sim/faults.c - the process dies, the storage fails or is away, others take the shard, clocks
 * jump, the limiter sulks.
 */
#include "shard/shard_int.h"
#include "sim/world.h"

/*
 * An opening that failed is the server's to repeat, and a shard that others took its operator's to
 * take back.
 */
void faults_supervise(struct world *world)
{
    struct process *p = &world->processes[0];
    for (size_t i = 0; world->process_count == 1 && i < p->options.shard_count; i++) {
        const struct shard *shard = process_shard(p, i);
        const enum shard_status status = shard->status;
        const bool idle = shard->control == NULL;
        if (status == SHARD_FENCED && idle && one_in(world, 2)) {
            model_trouble(&world->model, "a shard is taken back");
            process_open(p, i);
        } else if ((status == SHARD_FENCED && idle) ||
                   (status == SHARD_FAILED && !shard->reopen && !shard->doubt)) {
            model_trouble(&world->model, "the server starts again");
            process_kill(p, STORE_MEM_LOSE);
            model_durable(&world->model);
            process_start(&world->processes[0]);
            return;
        }
    }
}

static bool all_open(const struct world *world)
{
    return world->process_count > 1 ? nodes_open(world) : process_is_open(&world->processes[0]);
}

void faults_open_wait(struct world *world)
{
    for (int i = 0; i < 200 && !all_open(world) && !world_failed(world); i++) {
        faults_supervise(world);
        world_pass(world, 500);
    }
    if (!all_open(world)) {
        if (world->process_count > 1) {
            nodes_tell(world);
        }
        (void)verdict_fail(&world->verdict, "open", "the shards do not open");
    }
}

static void process_end(struct world *world)
{
    struct process *p = &world->processes[0];
    if (one_in(world, 4) && process_is_open(p) && !world->outage) {
        trace_line(&world->trace, "the process stops");
        process_close(p);
        for (int i = 0; i < 100 && !process_closed(p) && !world_failed(world); i++) {
            world_pass(world, 100);
        }
        if (!process_closed(p) && !world->profile.faulty) {
            (void)verdict_fail(&world->verdict, "close", "the shards do not close");
        }
        process_kill(p, STORE_MEM_LOSE);
    } else {
        trace_line(&world->trace, "the process is killed");
        process_kill(p, (enum store_mem_survival)below(world, 3));
    }
}

void faults_restart(struct world *world)
{
    if (world->process_count > 1) {
        nodes_trouble(world);
        return;
    }
    const bool lasting = world->model.troubled;
    model_trouble(&world->model, "restart");
    world->model.troubled = true;
    process_end(world);
    if (!world_failed(world)) {
        model_durable(&world->model);
    }
    world_pass(world, below(world, 5000));
    if (one_in(world, 6)) {
        world_wall_fell(world);
        world->wall_ms -= below(world, 20000);
    }
    process_start(&world->processes[0]);
    if (world->outage) {
        store_mem_outage(world->store, 0, NULL);
        world->outage = false;
    }
    if (!one_in(world, 4)) {
        faults_open_wait(world);
        model_trouble(&world->model, "open again");
        world->model.troubled = lasting;
    }
}

static void fence(struct world *world)
{
    const int64_t before_us = world->now_us;
    process_fence(&world->processes[0], below(world, (uint32_t)world->profile.shard_count),
                  &world->now_us);
    world->wall_ms += world->now_us / 1000 - before_us / 1000;
    if (one_in(world, 2)) {
        store_mem_notice_fences(world->store);
    }
}

static void slowness(struct world *world)
{
    for (int kind = 0; kind < STORE_MEM_KINDS; kind++) {
        const struct store_mem_delay delay = {.turns = below(world, 4),
                                              .ms_max = one_in(world, 3) ? below(world, 400) : 0};
        store_mem_delay_set(world->store, (enum store_mem_kind)kind, delay);
    }
}

/* Far off, and right again before anybody may believe it: nothing that is checked may show it. */
static void clock_moment(struct world *world)
{
    static const int64_t far_ms[] = {3600000, 864000000, -3600000, -864000000};
    const int64_t off_ms = far_ms[below(world, 4)];
    trace_line(&world->trace, "the clock is %lld ms off for a moment", (long long)off_ms);
    world->wall_ms += off_ms;
    world->clock_is_off = true;
    world_pass(world, 1 + below(world, STEADY_DOUBT_MS / 2));
    world->clock_is_off = false;
    world->wall_ms -= off_ms;
}

static void clock_jumps(struct world *world)
{
    if (one_in(world, 2)) {
        clock_moment(world);
        return;
    }
    const int64_t jump = (int64_t)below(world, 20000) - (one_in(world, 2) ? 5000 : 0);
    if (jump < 0 || world->process_count > 1) {
        world_wall_fell(world); /* seen by the next life of a process; others go by the old time */
    }
    world->wall_ms += jump;
}

static void store_fails(struct world *world)
{
    static const enum store_mem_kind kinds[] = {STORE_MEM_MGET,  STORE_MEM_SCAN,    STORE_MEM_WRITE,
                                                STORE_MEM_FLUSH, STORE_MEM_REFRESH, STORE_MEM_OPEN};
    const struct store_mem_fault fault = {.kind = kinds[below(world, 6)],
                                          .nth = 1 + below(world, 4),
                                          .times = 1 + below(world, 3),
                                          .code =
                                              one_in(world, 3) ? SILO_CONFLICT : SILO_UNAVAILABLE,
                                          .effect = one_in(world, 2)};
    store_mem_fail(world->store, &fault);
}

/*
 * The store hangs, or says what is wrong: all of it, or, as a full disk does, what makes writes
 * durable.
 */
static void outage(struct world *world)
{
    struct store *store = world->store;
    const uint32_t kinds =
        one_in(world, 3) ? STORE_MEM_BIT(STORE_MEM_FLUSH) : (uint32_t)STORE_MEM_REMOTE;
    if (!world->outage) {
        store_mem_outage(store, 0, NULL);
    } else if (one_in(world, 2)) {
        store_mem_trouble(store, kinds, "no space left on device: s");
    } else {
        store_mem_outage(store, kinds, "away");
    }
}

void faults_trouble(struct world *world)
{
    static const char *const names[] = {"fence",   "outage",     "store error", "store error",
                                        "limiter", "slow store", "clock"};
    const uint32_t what = below(world, 7);
    if (what == 0 && world->process_count > 1) {
        nodes_trouble(world);
        return;
    }
    if (what == 0 && world->outage) {
        return; /* nobody else gets in */
    }
    model_trouble(&world->model, names[what]);
    world->model.troubled = true;
    switch (what) {
    case 0:
        fence(world);
        break;
    case 1:
        world->outage = !world->outage;
        outage(world);
        break;
    case 4:
        world->rate.mood = (enum rate_mood)below(world, 4);
        break;
    case 5:
        slowness(world);
        break;
    case 6:
        clock_jumps(world);
        break;
    default:
        store_fails(world);
        break;
    }
}

void faults_calm(struct world *world)
{
    struct store *store = world->store;
    trace_line(&world->trace, "calm");
    if (world->process_count > 1) {
        nodes_calm(world);
    }
    store_mem_faults_clear(store);
    store_mem_outage(store, 0, NULL);
    for (int kind = 0; kind < STORE_MEM_KINDS; kind++) {
        store_mem_delay_set(store, (enum store_mem_kind)kind, (struct store_mem_delay){0});
    }
    world->outage = false;
    world->rate.mood = RATE_FINE;
    store_mem_notice_fences(store);
    for (int i = 0; i < 3 && !world_failed(world); i++) { /* what failed before is still noticed */
        faults_open_wait(world);
        world_pass(world, 6000);
    }
    faults_open_wait(world);
    model_trouble(&world->model, "calm");
    world->model.troubled = false;
}
