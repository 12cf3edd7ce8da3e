/*
 * sim/world.c - one run.
 *
 * Time moves from event to event: of clients, of the network, of the store, of the executor's own
 * timers. Between two of them the executor turns until nothing moves. It is not turned without a
 * reason: a wake-up that is not asked for does not come here either.
 */
#include "sim/world.h"

#include "base/limits.h"
#include "base/saturate.h"
#include "core/core.h"

#define START_WALL_MS 1700000000000
#define SPIN_MAX 20000    /* turns in a row in which no time passes */
#define VISITS_US 2500000 /* a poll of all shards parks after so long */
#define DRAIN_ROUNDS 900
#define DRAIN_ROUND_MS 1000

/* --- what the parts tell --- */

static int64_t env_mono(void *context)
{
    return ((struct world *)context)->now_us;
}

void world_wall_fell(struct world *world)
{
    for (size_t i = 0; i < world->profile.shard_count; i++) {
        world->model.audits[i].wall_fell = true;
    }
}

static void on_clock(struct process *process, bool fell)
{
    struct world *world = process->options.context;
    if (fell) {
        world_wall_fell(world);
    }
    if (process->wall_ms > world->model.wall_max_ms) {
        world->model.wall_max_ms = process->wall_ms;
    }
}

/* Word of an opening may come when another has opened the shard since: then it tells nothing. */
static void on_open(struct process *process, size_t shard, uint64_t epoch)
{
    struct world *world = process->options.context;
    if (epoch <= world->epochs[shard]) {
        return;
    }
    world->epochs[shard] = epoch;
    model_open(&world->model, process, shard);
}

static void on_write(struct process *process, size_t shard, bool lost, struct bytes batch)
{
    struct world *world = process->options.context;
    /* One that was paused writes for itself alone, until it hears what happened meanwhile. */
    if (lost || world->model.servers[shard] == process) {
        model_write(&world->model, shard, lost, batch);
    }
}

static void on_dying(struct process *process)
{
    struct world *world = process->options.context;
    rate_hang_up(&world->rate, &world->rate.doors[process->options.number]);
}

/* Whose call on the store it is; NULL: nobody's that counts. */
static struct process *process_of(struct world *world, const struct store_queue *queue)
{
    for (size_t i = 0; i < world->process_count; i++) {
        if (process_has_queue(&world->processes[i], queue)) {
            return &world->processes[i];
        }
    }
    return NULL;
}

static void store_opens(void *context, const struct store_queue *queue, const char *path,
                        uint64_t token)
{
    struct process *process = process_of(context, queue);
    if (process != NULL) {
        process_store_opens(process, path, token);
    }
}

static void store_opened(void *context, const struct store_queue *queue, const char *path,
                         uint64_t epoch)
{
    struct world *world = context;
    const struct process *process = process_of(world, queue);
    (void)epoch;
    for (size_t i = 0; world->process_count > 1 && i < world->profile.shard_count; i++) {
        if (process != NULL && strcmp(path, process_path(i)) == 0) {
            guards_opened(&world->guards, process->options.number, i);
            world->opened_us[i] = world->now_us;
            world->openers[i] = process->options.number;
        }
    }
}

static void store_writes(void *context, const struct store_queue *queue, const struct store_db *db,
                         const struct store_buf *bufs, size_t count)
{
    struct process *process = process_of(context, queue);
    if (process != NULL) {
        process_store_writes(process, db, bufs, count);
    }
}

static void store_answers(void *context, const struct store_queue *queue,
                          const struct store_event *event)
{
    struct process *process = process_of(context, queue);
    if (process != NULL) {
        process_store_answers(process, event);
    }
}

/* --- what a seed makes of a run --- */

static void profile_choose(struct world *world, struct process_options *options,
                           struct store_mem_options *store)
{
    struct sim_random r = {.state = world->run.seed * 0x2545f4914f6cdd1dULL + 99};
    struct profile *p = &world->profile;
    *p = (struct profile){.shard_count = random_one_in(&r, 4) ? 2 : 1,
                          .tenancy = random_one_in(&r, 2),
                          .faulty = random_one_in(&r, 2),
                          .external = random_one_in(&r, 2),
                          .retention = random_one_in(&r, 4),
                          .operators = !random_one_in(&r, 3),
                          .cuts = !random_one_in(&r, 3),
                          .worker_count = 2 + random_below(&r, 4)};
    if (world->process_count > 1) {
        p->shard_count = 2;
        p->skewed = world->run.seed % 2 == 1;
        p->twins = world->process_count > 2 && world->run.seed % 6 == 5;
    }
    world->specs = (struct spec_world){.salt = random_next(&r),
                                       .limits = !random_one_in(&r, 6),
                                       .rates = random_one_in(&r, 2),
                                       .zeros = random_one_in(&r, 3),
                                       .groups = 1 + random_below(&r, SPEC_GROUPS),
                                       .tight = 40 + random_below(&r, 60)};
    *options = (struct process_options){
        .shard_count = p->shard_count,
        .tenancy = p->tenancy,
        .order = random_one_in(&r, 4) ? ORDER_START : ORDER_PRIORITY,
        .flush_spacing_ms = random_one_in(&r, 3) ? 20 : 0,
        .wal_objects_max = random_one_in(&r, 3) ? 3 : 256,
        .completed_expire_ms = p->retention ? 2000 + random_below(&r, 20000) : 0,
        .terminal_expire_ms = p->retention ? random_below(&r, 2) * 9000 : 0,
    };
    *store = (struct store_mem_options){.manual = true,
                                        .seed = world->run.seed,
                                        .shuffle = random_one_in(&r, 2),
                                        .reads_at_start = random_one_in(&r, 2)};
    const bool slow = random_one_in(&r, 2);
    for (int kind = 0; slow && kind < STORE_MEM_KINDS; kind++) {
        store->delays[kind] = (struct store_mem_delay){.turns = random_below(&r, 4),
                                                       .ms_max = random_below(&r, 3) * 15};
    }
}

static void store_init(struct world *world, struct store_mem_options *options)
{
    world->env = (struct env){.mono_us = env_mono, .context = world};
    options->env = &world->env;
    options->watch = (struct store_mem_watch){.open = store_opens,
                                              .opened = store_opened,
                                              .write = store_writes,
                                              .drained = store_answers,
                                              .context = world};
    world->store = store_mem_new(options);
}

/* Machines do not agree about the time; one alone has nobody to disagree with. */
static void clock_choose(struct world *world, struct process_options *options)
{
    if (world->process_count > 1) {
        options->mono_ahead_us = 1000 * random_between(&world->random, 0, 1000000);
        options->wall_ahead_ms =
            world->profile.skewed ? random_between(&world->random, -3000, 3000) : 0;
    }
}

static void processes_init(struct world *world, struct process_options *options)
{
    options->store = world->store;
    options->net = &world->net;
    options->now_us = &world->now_us;
    options->wall_ms = &world->wall_ms;
    options->random = &world->env_random;
    options->on_open = on_open;
    options->on_write = on_write;
    options->on_clock = on_clock;
    options->on_dying = on_dying;
    options->context = world;
    options->coordinator = world->process_count > 1 ? &world->coordinator : NULL;
    for (uint32_t i = 0; i < world->process_count; i++) {
        options->number = i;
        options->id_number = world->profile.twins && i + 1 == world->process_count ? 0 : i;
        options->limiter = world->profile.external ? &world->rate.doors[i].limiter : NULL;
        clock_choose(world, options);
        process_init(&world->processes[i], options);
    }
}

static void parts_init(struct world *world, struct process_options *options)
{
    world->net = (struct net){.events = &world->events,
                              .random = &world->random,
                              .now_us = &world->now_us,
                              .perfect = random_one_in(&world->random, 4),
                              .faulty = world->profile.faulty};
    net_init(&world->net);
    world->rate = (struct rate_limiter){
        .events = &world->events,
        .random = &world->random,
        .model = &world->model,
        .trace = &world->trace,
        .now_us = &world->now_us,
        .wall_ms = world->process_count > 1 ? &world->true_ms : &world->processes[0].wall_ms};
    rate_init(&world->rate);
    processes_init(world, options);
    model_init(&world->model, options, &world->verdict, &world->trace);
    world->model.store = world->store;
    world->model.processes = (uint32_t)world->process_count;
    world->model.now_us = &world->now_us;
    world->model.specs = &world->specs;
    nodes_init(world);
    if (world->profile.skewed) {
        world_wall_fell(world); /* with each takeover it may */
    }
    for (size_t i = 0; i < PROCESS_SHARDS_MAX; i++) {
        world->model.servers[i] = &world->processes[0]; /* until one opens it */
    }
}

void world_init(struct world *world, const struct world_options *run)
{
    *world = (struct world){
        .run = *run, .now_us = 1000000, .wall_ms = START_WALL_MS, .true_ms = START_WALL_MS};
    world->random.state = run->seed * 0x9e3779b97f4a7c15ULL + 1;
    world->env_random.state = run->seed ^ 0x5851f42d4c957f2dULL;
    trace_init(&world->trace, run->print);
    list_init(&world->works);
    list_init(&world->held_polls);
    list_init(&world->held_awaits);
    struct process_options options;
    struct store_mem_options store;
    world->process_count = run->processes;
    profile_choose(world, &options, &store);
    store_init(world, &store);
    world->options.tenancy = world->profile.tenancy;
    parts_init(world, &options);
    trace_line(&world->trace,
               "seed %llu: %zu shards, tenancy %d, faulty %d, external limiter %d, retention %d, "
               "order %d, limits %d",
               (unsigned long long)run->seed, world->profile.shard_count, world->profile.tenancy,
               world->profile.faulty, world->profile.external, world->profile.retention,
               (int)options.order, world->specs.limits);
}

void world_deinit(struct world *world)
{
    for (size_t i = 0; i < world->process_count; i++) {
        if (process_lives(&world->processes[i])) {
            process_kill(&world->processes[i], STORE_MEM_LOSE);
        }
    }
    workers_free(world);
    net_deinit(&world->net);
    rate_deinit(&world->rate);
    for (size_t i = 0; i < world->process_count; i++) {
        process_deinit(&world->processes[i]);
    }
    nodes_deinit(world);
    store_ops_of(world->store)->free(world->store);
    for (size_t i = 0; i < world->profile.shard_count; i++) {
        struct audit *a = &world->model.audits[i];
        while (a->dropping_count != 0) {
            free((void *)(uintptr_t)a->dropping[--a->dropping_count].ptr);
        }
    }
    model_deinit(&world->model);
    events_deinit(&world->events);
    trace_deinit(&world->trace);
}

/*
 * With tenancy on and two shards, "acme" and "zeta" are of the lower half of the hashes, the others
 * of the upper.
 */
const char *world_tenant(struct world *world, size_t shard)
{
    static const char *const names[] = {"acme", "b\xc3\xa9ta", "corp", "delta", "echo", "zeta"};
    if (!world->options.tenancy) {
        return "-";
    }
    const char *fit[6];
    uint32_t count = 0;
    for (size_t i = 0; i < 6; i++) {
        const bool upper = tenant_hash(bytes_str(names[i])) >> 63 != 0;
        if (world->profile.shard_count == 1 || upper == (shard == 1)) {
            fit[count++] = names[i];
        }
    }
    ASSERT(count != 0);
    return fit[below(world, count < 2 ? count : 2)];
}

void world_lacks(struct world *world, enum api api, const struct item *item)
{
    world->lacks |= 1u << api;
    if (api == API_ENQUEUE && item->spec != 0) {
        world->specs.limits = false;
    }
    trace_line(&world->trace, "this build lacks %s", api_name(api));
}

/* --- time --- */

/*
 * Whether so many tasks that wait for a rate limit stand before this one that they may fill the
 * window.
 */
static bool behind_checks(const struct audit *a, const struct audit_job *job)
{
    uint32_t before = 0;
    for (size_t i = 0; i < a->job_count; i++) {
        const struct audit_job *other = &a->jobs[i];
        before += other->where == AT_READY && other->passed < other->info.limit_count &&
                  bytes_eq(other->info.group, job->info.group) &&
                  audit_before(a, &other->place, &job->place);
    }
    return before * 2 >= LANE_TASKS_MAX;
}

/* Polls that wait while a task of their group is ready. */
static void polls_rest(struct world *world)
{
    struct model *m = &world->model;
    for (struct list_node *n = list_first(&world->held_polls); n != NULL;
         n = list_next(&world->held_polls, n)) {
        const struct client_call *call = CONTAINER_OF(n, struct client_call, node);
        const struct item *item = &call->items[0];
        if (item->shard == PROCESS_SHARDS_MAX && world->now_us - item->begun_us < VISITS_US) {
            continue; /* perhaps it is still on its way from shard to shard */
        }
        for (size_t s = 0; s < m->shard_count; s++) {
            struct core_stats stats;
            if ((item->shard != s && item->shard != PROCESS_SHARDS_MAX) ||
                !nodes_serves(world, call->rpc->host, s) ||
                !process_stats(m->servers[s], s, &stats) || stats.leases >= SHARD_LEASES_MAX) {
                continue;
            }
            const struct audit *a = &m->audits[s];
            for (size_t j = 0; j < a->job_count; j++) {
                const struct audit_job *job = &a->jobs[j];
                if (job->where == AT_READY && job->passed == job->info.limit_count &&
                    bytes_eq(job->info.group, bytes_str(item->group)) && !behind_checks(a, job)) {
                    (void)verdict_fail(&world->verdict, "wake-up",
                                       "%.*s is ready, and call %llu waits for a task of its group",
                                       JOB_FMT(job), (unsigned long long)call->rpc->number);
                    return;
                }
            }
        }
    }
}

/* Calls that wait to hear of cancellations. */
static void awaits_rest(struct world *world)
{
    for (struct list_node *n = list_first(&world->held_awaits); n != NULL && !world_failed(world);
         n = list_next(&world->held_awaits, n)) {
        const struct client_call *call = CONTAINER_OF(n, struct client_call, node);
        if (call->rpc->gone && !call->rpc->host->paused) {
            (void)verdict_fail(&world->verdict, "answer",
                               "call %llu waits for cancellations, and its caller has left",
                               (unsigned long long)call->rpc->number);
            return;
        }
        if (nodes_serves(world, call->rpc->host, call->items[0].shard)) {
            awaited_rest(&world->model, &call->items[0]);
        }
    }
}

static void world_rest(struct world *world)
{
    struct model *m = &world->model;
    if (world_failed(world) || !model_at_rest(m)) {
        return;
    }
    model_rest(m);
    awaits_rest(world);
    if (!m->troubled && world->now_us - m->trouble_us > 16000000) {
        polls_rest(world);
    }
}

bool world_turn(struct world *world)
{
    bool moved = false;
    while (!world_failed(world) && events_run_one(&world->events, world->now_us)) {
        moved = true; /* all that is due now */
    }
    bool any = false;
    for (size_t i = 0; i < world->process_count; i++) {
        struct process *process = &world->processes[i];
        if (process_lives(process)) {
            any = true;
            moved |= process_turn(process);
            nodes_exit(world, (uint32_t)i);
            if (process->took_back) {
                (void)verdict_fail(&world->verdict, "fence",
                                   "a shard that others had taken is opened again by itself");
            }
        }
    }
    moved |= any && store_mem_step(world->store);
    return moved;
}

static int64_t world_next_us(const struct world *world)
{
    int64_t next_us = events_next_us(&world->events);
    bool any = false;
    for (size_t i = 0; i < world->process_count; i++) {
        const int64_t process_us = process_next_us(&world->processes[i]);
        next_us = process_us < next_us ? process_us : next_us;
        any |= process_lives(&world->processes[i]);
    }
    const int64_t store_ms = any ? store_mem_next_ms(world->store) : INT64_MAX;
    const int64_t store_us = us_of_ms(store_ms);
    return store_us < next_us ? store_us : next_us;
}

void world_settle(struct world *world)
{
    /* The events of the last completed operation arrive in a turn of their own. */
    int quiet = 0;
    for (int spins = 0; quiet < 3 && !world_failed(world); spins++) {
        const bool moved = world_turn(world);
        if (spins >= SPIN_MAX) {
            (void)verdict_fail(&world->verdict, "spin",
                               "the executor spins: next %lld, now %lld us",
                               (long long)world_next_us(world), (long long)world->now_us);
        }
        quiet = !moved && world_next_us(world) > world->now_us ? quiet + 1 : 0;
    }
    world_rest(world);
    net_sweep(&world->net);
}

void world_pass(struct world *world, int64_t ms)
{
    const int64_t end_us = world->now_us + ms * 1000;
    world_settle(world);
    while (world->now_us < end_us && !world_failed(world)) {
        const int64_t next_us = world_next_us(world);
        const int64_t to_us = next_us < end_us ? next_us : end_us;
        const int64_t step_us = to_us > world->now_us ? to_us - world->now_us : 1000;
        const int64_t step_ms = (world->now_us + step_us) / 1000 - world->now_us / 1000;
        world->wall_ms += step_ms;
        world->true_ms += step_ms;
        world->now_us += step_us;
        if (world_next_us(world) <= world->now_us) {
            world_settle(world);
        }
    }
}

/* --- steps --- */

static void step_pace(struct world *world)
{
    static const uint32_t spans[] = {1, 10, 100, 400, 1000, 2500};
    switch (below(world, 8)) {
    case 0:
        break;
    case 1:
        for (uint32_t i = 1 + below(world, 5); i != 0 && !world_failed(world); i--) {
            (void)world_turn(world);
        }
        break;
    case 2:
        world_settle(world);
        break;
    default:
        world_pass(world, 1 + below(world, spans[below(world, 6)]));
        break;
    }
}

static void step(struct world *world)
{
    const uint32_t what = below(world, 200);
    if (what < 70) {
        clients_enqueue(world, false);
    } else if (what < 74) {
        clients_enqueue(world, true);
    } else if (what < 112) {
        clients_step(world);
    } else if (what < 137) {
        operators_step(world);
    } else if (world->process_count > 1 && what >= 178 && what < 186) {
        nodes_trouble(world);
    } else if (what < 186) {
        /* only time passes */
    } else if (what < 188) {
        world_pass(world, 8000 + below(world, 6000));
    } else if (what < 192) {
        faults_restart(world);
    } else if (world->profile.faulty && what < 198) {
        faults_trouble(world);
    } else if (world->model.troubled) {
        faults_calm(world);
    }
    if (!world_failed(world)) {
        faults_supervise(world);
        step_pace(world);
    }
}

/* --- the end of a run --- */

/* Jobs that no worker will ever get are cancelled. */
static void stuck_cancel(struct world *world)
{
    for (size_t s = 0; s < world->model.shard_count; s++) {
        const struct audit *a = &world->model.audits[s];
        for (size_t i = 0; i < a->job_count; i++) {
            const struct audit_job *job = &a->jobs[i];
            struct mjob *known = NULL;
            for (size_t j = 0; j < world->model.job_count && known == NULL; j++) {
                known = bytes_eq(world->model.jobs[j]->ref, job->ref) &&
                                world->model.jobs[j]->shard == s
                            ? world->model.jobs[j]
                            : NULL;
            }
            if (known != NULL && job->status == JOB_SCHEDULED && !job->mark &&
                spec_of(&world->specs, model_newest(known)->spec).stuck) {
                (void)call_about(world, API_CANCEL, known, 0);
            }
        }
    }
}

/* DI10, SE13: workers take all there is and succeed; everything must end. */
static void drain(struct world *world)
{
    trace_line(&world->trace, "drain");
    workers_drain(world);
    for (int round = 0; round < DRAIN_ROUNDS && !world_failed(world); round++) {
        if (round % 20 == 0 && world->specs.zeros) {
            stuck_cancel(world);
        }
        world_pass(world, DRAIN_ROUND_MS);
        if (round >= 20 && model_open_jobs(&world->model) == 0) {
            break;
        }
    }
    const uint64_t left = model_open_jobs(&world->model);
    if (left != 0) {
        (void)verdict_fail(&world->verdict, "DI10", "%llu jobs do not end",
                           (unsigned long long)left);
    }
    world_pass(world, 15000);
    for (size_t i = 0; i < world->model.shard_count && !world_failed(world); i++) {
        (void)audit_drained(&world->model.audits[i]);
    }
}

static void retention_end(struct world *world)
{
    const struct process_options *options = &world->processes[0].options;
    world_pass(world, options->completed_expire_ms + options->terminal_expire_ms + 5000);
    for (size_t i = 0; i < world->model.shard_count && !world_failed(world); i++) {
        const struct audit *a = &world->model.audits[i];
        for (size_t j = 0; j < a->job_count; j++) {
            const struct audit_job *job = &a->jobs[j];
            const int64_t ago_ms = model_wall_ms(&world->model, i) - job->state.expire_ms;
            if (job->has_state && job->state.expire_ms != 0 && ago_ms > 2000) {
                (void)verdict_fail(&world->verdict, "expiry", "%.*s should be gone since %lld ms",
                                   JOB_FMT(job), (long long)ago_ms);
                return;
            }
        }
    }
}

static void delete_all(struct world *world)
{
    trace_line(&world->trace, "delete all");
    for (size_t i = 0; i < world->model.job_count; i++) {
        if (model_newest(world->model.jobs[i])->exists) {
            (void)call_about(world, API_DELETE, world->model.jobs[i], 0);
        }
    }
    world_pass(world, 6000);
    if (!world_failed(world)) {
        model_durable(&world->model);
    }
    for (size_t i = 0; i < world->model.shard_count && !world_failed(world); i++) {
        (void)audit_empty(&world->model.audits[i]);
    }
}

/* Every call was answered. */
static void calls_end(struct world *world)
{
    world_pass(world, 70000);
    for (struct list_node *n = list_first(&world->net.calls); n != NULL && !world_failed(world);
         n = list_next(&world->net.calls, n)) {
        const struct rpc_call *call = CONTAINER_OF(n, struct rpc_call, node);
        if (call->begun && !call->answered && strcmp(call->method, "LeaseTasks") != 0) {
            (void)verdict_fail(&world->verdict, "answer", "call %llu, %s, was never answered",
                               (unsigned long long)call->number, call->method);
        }
    }
}

static void finish(struct world *world)
{
    world->net.perfect = true;
    world->finishing = true;
    faults_calm(world);
    world_pass(world, 3000);
    if (!world_failed(world)) {
        model_durable(&world->model);
    }
    if (!world_failed(world)) {
        drain(world);
    }
    if (!world_failed(world) && world->profile.retention) {
        retention_end(world);
    }
    if (!world_failed(world)) {
        delete_all(world);
    }
    if (!world_failed(world)) {
        calls_end(world);
    }
}

bool world_run(struct world *world)
{
    world->model.troubled = true;
    if (world->process_count > 1) {
        nodes_start(world);
    } else {
        process_start(&world->processes[0]);
    }
    workers_start(world);
    if (below(world, 3) != 0) {
        faults_open_wait(world);
        model_trouble(&world->model, "open");
        world->model.troubled = false;
    }
    for (world->step = 0; world->step < world->run.steps && !world_failed(world); world->step++) {
        if (world->run.step != NULL) {
            *world->run.step = world->step;
        }
        trace_line(&world->trace, "step %u at %lld us, wall %lld", world->step,
                   (long long)world->now_us, (long long)world->wall_ms);
        step(world);
        if (world->process_count == 1 && !world->profile.faulty &&
            process_is_open(&world->processes[0])) {
            world->model.troubled = false;
        }
    }
    if (!world_failed(world)) {
        finish(world);
    }
    if (world_failed(world)) {
        for (size_t i = 0; i < world->profile.shard_count; i++) {
            audit_dump(&world->model.audits[i], &world->trace);
        }
        trace_line(&world->trace, "FAILED %s: %s", world->verdict.rule, world->verdict.text);
    }
    return !world_failed(world);
}
