/* sim/clients.c - producers, those who ask, and operators. */
#include "sim/world.h"

static size_t some_shard(struct world *world)
{
    return below(world, (uint32_t)world->profile.shard_count);
}

static struct mjob *some_name(struct world *world)
{
    char id[24];
    (void)snprintf(id, sizeof id, "j%u", below(world, 6));
    const size_t shard = some_shard(world);
    return model_job(&world->model, shard, world_tenant(world, shard), id);
}

static struct mjob *fresh_name(struct world *world, size_t shard)
{
    char id[24];
    (void)snprintf(id, sizeof id, "f%u", world->fresh_count++);
    return model_job(&world->model, shard, world_tenant(world, shard), id);
}

/* Mostly one that exists, and of those mostly one of the last. */
static struct mjob *likely_job(struct world *world)
{
    const size_t count = world->model.job_count;
    if (count == 0 || one_in(world, 6)) {
        return some_name(world);
    }
    const size_t window = one_in(world, 3) || count <= 12 ? count : 12;
    return world->model.jobs[count - 1 - below(world, (uint32_t)window)];
}

/* One that runs, of the last ones; mostly there is one. */
static struct mjob *running_job(struct world *world)
{
    const size_t count = world->model.task_count;
    for (size_t i = 0; i < 16 && i < count; i++) {
        const struct mtask *task = world->model.tasks[count - 1 - i];
        if (task->leased && one_in(world, 2)) {
            return task->job;
        }
    }
    return likely_job(world);
}

/* One that waits for whatever; the audit's jobs are sorted by name. */
static struct mjob *waiting_job(struct world *world)
{
    const size_t shard = some_shard(world);
    const struct audit *a = &world->model.audits[shard];
    const size_t from = a->job_count != 0 ? below(world, (uint32_t)a->job_count) : 0;
    for (size_t i = 0; i < a->job_count; i++) {
        const struct audit_job *job = &a->jobs[(from + i) % a->job_count];
        if (job->status == JOB_SCHEDULED) {
            return model_job_by_ref(&world->model, shard, job->ref);
        }
    }
    return likely_job(world);
}

static int64_t some_start(struct world *world)
{
    const int64_t now = world->wall_ms;
    switch (below(world, 8)) {
    case 0:
        return now + 1 + below(world, 50);
    case 1:
        return now + below(world, 15000);
    case 2:
        return now - below(world, 5000);
    case 3:
        return 1 + below(world, 3);
    default:
        return 0;
    }
}

static uint32_t some_spec(struct world *world)
{
    const bool again = world->spec_count != 0 && one_in(world, 8);
    return again ? 1 + below(world, world->spec_count) : ++world->spec_count;
}

/* Now and then a request arrives twice, or its caller leaves early. */
static void call_vary(struct client_call *call)
{
    struct world *world = call->world;
    if (world->profile.cuts && one_in(world, 24)) {
        call_leave_later(call, random_between(&world->random, 0, 40000));
    }
}

static void enqueue_one(struct world *world)
{
    const size_t shard = some_shard(world);
    const uint32_t number = some_spec(world);
    const int64_t start_ms = some_start(world);
    struct mjob *job = NULL;
    if (one_in(world, 3)) {
        job = some_name(world);
    } else if (!one_in(world, 3)) {
        job = fresh_name(world, shard);
    }
    const bool return_existing = one_in(world, 3);
    call_vary(call_enqueue(world, job != NULL ? job->shard : shard, job, number, start_ms,
                           return_existing));
    if (job != NULL && one_in(world, 10)) { /* the same request twice */
        (void)call_enqueue(world, job->shard, job, number, start_ms, return_existing);
    }
}

void clients_enqueue(struct world *world, bool bulk)
{
    if (!bulk) {
        enqueue_one(world);
        return;
    }
    if (one_in(world, 2)) {
        struct mjob *jobs[8];
        const size_t shard = some_shard(world);
        const size_t count = 2 + below(world, 7);
        for (size_t i = 0; i < count; i++) {
            jobs[i] = fresh_name(world, shard);
        }
        const uint32_t first = world->spec_count + 1;
        world->spec_count += (uint32_t)count;
        call_vary(call_enqueue_many(world, shard, jobs, count, first));
        return;
    }
    for (uint32_t i = 4 + below(world, 12); i != 0; i--) {
        enqueue_one(world);
        if (one_in(world, 4)) {
            (void)world_turn(world);
        }
    }
}

void clients_step(struct world *world)
{
    switch (below(world, 8)) {
    case 0:
        call_vary(call_about(world, API_GET, waiting_job(world), 0));
        break;
    case 1:
        call_vary(call_about(world, API_GET, likely_job(world), 0));
        break;
    case 2:
        call_vary(call_about(world, API_RESULT, likely_job(world),
                             one_in(world, 2) ? 0 : 1 + below(world, 5000)));
        break;
    case 3:
        workers_random_report(world);
        break;
    case 4:
        workers_random_await(world);
        break;
    case 5:
        call_vary(call_about(world, API_CANCEL, running_job(world), 0));
        break;
    default:
        call_vary(call_about(world, API_CANCEL, likely_job(world), 0));
        break;
    }
}

static bool lacks(const struct world *world, enum api api)
{
    return (world->lacks & (1u << api)) != 0;
}

static void operator_one(struct world *world, enum api api)
{
    if (lacks(world, api)) {
        return;
    }
    struct mjob *job = likely_job(world);
    if (api == API_LEASE) {
        struct client_call *call = call_lease(world, job, "operator");
        call->heard = worker_leased;
        call_vary(call);
    } else if (api == API_IMPORT) {
        job = one_in(world, 3) ? fresh_name(world, some_shard(world)) : job;
        call_vary(call_import(world, job, some_spec(world)));
    } else {
        call_vary(call_about(world, api, job, 0));
    }
}

static void operator_dropped(struct client_call *call)
{
    call->world->drop_under_way = false;
}

/* Only one drop of a tenant at a time: which holders it took must be clear. */
static void operator_drop(struct world *world)
{
    const size_t shard = some_shard(world);
    if (!lacks(world, API_DROP) && world->model.audits[shard].dropping_count == 0 &&
        !world->drop_under_way) {
        struct client_call *call = call_drop(world, shard, world_tenant(world, shard));
        world->drop_under_way = true;
        call->heard = operator_dropped;
    }
}

void operators_step(struct world *world)
{
    static const enum api apis[] = {API_DELETE,  API_DELETE,   API_RESTART,  API_RESTART,
                                    API_RESTART, API_EXPEDITE, API_EXPEDITE, API_LEASE,
                                    API_LEASE,   API_IMPORT,   API_IMPORT};
    if (!world->profile.operators || one_in(world, 3)) {
        call_vary(call_about(world, API_DELETE, likely_job(world), 0));
    } else if (one_in(world, 16)) {
        operator_drop(world);
    } else {
        operator_one(world, apis[below(world, sizeof apis / sizeof apis[0])]);
    }
}
