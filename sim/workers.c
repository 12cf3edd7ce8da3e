/*
 * sim/workers.c - workers: they poll, renew, report, and fail to, in all the ways workers do.
 *
 *     poll ──tasks──► work: quick, long with heartbeats, too slow, forgotten, reported twice, given back
 */
#include "sim/world.h"

/* --- work --- */

static void work_free(struct work *work)
{
    event_cancel(&work->world->events, &work->event);
    list_remove(&work->node);
    free(work);
}

static void work_next(struct work *work);

/* A worker that hears of the cancel mostly obeys. */
void work_cancelled(struct world *world, const struct mtask *task)
{
    for (struct list_node *n = list_first(&world->works); n != NULL;
         n = list_next(&world->works, n)) {
        struct work *work = CONTAINER_OF(n, struct work, node);
        if (work->task == task && !one_in(world, 4)) {
            work->status = ATTEMPT_CANCELLED;
            work->report_us = world->now_us + 1000;
            work_next(work);
        }
    }
}

static void heartbeat_heard(struct client_call *call)
{
    const Silo__V1__HeartbeatResponse *reply = (const void *)call->reply;
    if (call->rpc->status == RPC_STATUS_OK && reply != NULL && reply->cancelled) {
        work_cancelled(call->world, call->items[0].task);
    }
}

static void work_report(struct work *work)
{
    struct world *world = work->world;
    if (work->returns) {
        work->returns = false;
        (void)call_return(world, work->task, work->refresh,
                          one_in(world, 20) ? "nobody" : work->worker);
        return;
    }
    if (work->refresh != NULL) {
        (void)call_refreshed(world, work->refresh, work->success, work->value);
        return;
    }
    const size_t len = one_in(world, 12) ? 5000 : below(world, 20);
    struct mtask *tasks[3] = {work->task};
    size_t count = 1;
    for (struct list_node *n = list_first(&world->works);
         n != NULL && count < 3 && one_in(world, 4); n = list_next(&world->works, n)) {
        struct work *other = CONTAINER_OF(n, struct work, node);
        if (other != work && other->task != NULL && other->report_us != 0 &&
            other->task->job->shard == work->task->job->shard && other->reports != 0 &&
            other->task != tasks[0] && other->task != tasks[count - 1]) {
            tasks[count++] = other->task;
        }
    }
    (void)call_report(world, tasks, count, work->status, !world->draining && one_in(world, 4), len);
}

static void work_due(struct event *event)
{
    struct work *work = CONTAINER_OF(event, struct work, event);
    struct world *world = work->world;
    if (work->report_us != 0 && world->now_us >= work->report_us) {
        work_report(work);
        if (--work->reports == 0) {
            work_free(work);
            return;
        }
        work->report_us = world->now_us + below(world, 100000);
        if (one_in(world, 3)) {
            work->status = ATTEMPT_FAILED;
        }
    } else {
        struct client_call *call = call_heartbeat(world, work->task, work->refresh,
                                                  one_in(world, 20) ? "nobody" : work->worker);
        call->heard = heartbeat_heard;
        work->beat_us = world->now_us + random_between(&world->random, 3000000, 6000000);
    }
    work_next(work);
}

static void work_next(struct work *work)
{
    int64_t next = work->report_us != 0 ? work->report_us : INT64_MAX;
    if (work->beat_us != 0 && work->beat_us < next) {
        next = work->beat_us;
    }
    if (next != INT64_MAX) {
        event_at(&work->world->events, &work->event, next, work_due);
    }
}

static void work_plan(struct work *work)
{
    struct world *world = work->world;
    struct sim_random *random = &world->random;
    const int64_t now = world->now_us;
    work->reports = one_in(world, 8) ? 2 : 1;
    if (world->draining) {
        work->reports = 1;
        work->report_us = now + 1;
        return;
    }
    work->returns = one_in(world, 10);
    switch (below(world, 12)) {
    case 0: /* forgotten */
        break;
    case 1: /* forgotten after some heartbeats */
        work->beat_us = now + random_between(random, 1000000, 8000000);
        break;
    case 2: /* too slow */
        work->report_us = now + random_between(random, 9900000, 14000000);
        break;
    case 3: /* long, with heartbeats */
        work->beat_us = now + random_between(random, 2000000, 6000000);
        work->report_us = now + random_between(random, 8000000, 25000000);
        break;
    case 4:
    case 5:
    case 6:
        work->beat_us = now + random_between(random, 100000, 6000000);
        work->report_us = now + random_between(random, 50000, 3000000);
        break;
    default:
        work->report_us = now + random_between(random, 1, 60000);
        break;
    }
}

static struct work *work_new(struct world *world, const char *worker)
{
    struct work *work = xcalloc(1, sizeof *work);
    work->world = world;
    (void)snprintf(work->worker, sizeof work->worker, "%s", worker);
    list_push_back(&world->works, &work->node);
    return work;
}

static void task_taken(struct world *world, const char *worker, struct mtask *task)
{
    static const enum attempt_status ends[] = {ATTEMPT_SUCCEEDED, ATTEMPT_SUCCEEDED,
                                               ATTEMPT_SUCCEEDED, ATTEMPT_FAILED,
                                               ATTEMPT_FAILED,    ATTEMPT_CANCELLED};
    struct work *work = work_new(world, worker);
    work->task = task;
    work->status = world->draining ? ATTEMPT_SUCCEEDED : ends[below(world, 6)];
    work_plan(work);
    work_next(work);
}

static void refresh_taken(struct world *world, const char *worker, struct mrefresh *refresh)
{
    struct work *work = work_new(world, worker);
    work->refresh = refresh;
    work->success = world->draining || !one_in(world, 4);
    work->value = world->draining ? 2 : below(world, 4);
    work_plan(work);
    work_next(work);
}

/* --- polls --- */

static void worker_wakes(struct event *event);

static void worker_again(struct worker *worker, int64_t least_us, int64_t greatest_us)
{
    struct world *world = worker->world;
    event_at(&world->events, &worker->wake,
             world->now_us + random_between(&world->random, least_us, greatest_us), worker_wakes);
}

static void tasks_taken(struct client_call *call)
{
    struct world *world = call->world;
    const Silo__V1__LeaseTasksResponse *reply = (const void *)call->reply;
    for (size_t i = 0; i < reply->n_tasks; i++) {
        struct uuid id;
        struct mtask *task =
            uuid_parse(bytes_str(reply->tasks[i]->id), &id) ? model_task(&world->model, &id) : NULL;
        if (task != NULL) {
            task_taken(world, call->items[0].worker, task);
        }
    }
    for (size_t i = 0; i < reply->n_refresh_tasks; i++) {
        struct uuid id;
        if (uuid_parse(bytes_str(reply->refresh_tasks[i]->id), &id)) {
            refresh_taken(world, call->items[0].worker, model_refresh(&world->model, &id));
        }
    }
}

static void poll_heard(struct client_call *call)
{
    struct worker *worker = call->agent;
    worker->polling = false;
    if (call->rpc->status == RPC_STATUS_OK && call->reply != NULL) {
        tasks_taken(call);
        worker_again(worker, 1, call->world->draining ? 400000 : 900000);
    } else {
        worker_again(worker, 50000, 500000);
    }
}

/* LeaseTask's answer. */
void worker_leased(struct client_call *call)
{
    const Silo__V1__LeaseTaskResponse *reply = (const void *)call->reply;
    struct uuid id;
    if (call->rpc->status == RPC_STATUS_OK && reply != NULL &&
        uuid_parse(bytes_str(reply->task->id), &id)) {
        struct mtask *task = model_task(&call->world->model, &id);
        if (task != NULL) {
            task_taken(call->world, call->items[0].worker, task);
        }
    }
}

/* A worker that died is followed by another with another name. */
static void worker_rename(struct worker *worker)
{
    (void)snprintf(worker->name, sizeof worker->name, "w%u-%u",
                   (unsigned)(worker - worker->world->workers), worker->number++);
    listeners_die(worker);
}

static void worker_wakes(struct event *event)
{
    struct worker *worker = CONTAINER_OF(event, struct worker, wake);
    struct world *world = worker->world;
    if (worker->polling) {
        return;
    }
    if (!world->draining && one_in(world, 20)) {
        worker_rename(worker);
        worker_again(worker, 1000000, 8000000);
        return;
    }
    worker->polling = true;
    const uint32_t wait_ms = world->draining || one_in(world, 4) ? 0 : worker->wait_ms;
    world->model.seen.waits += wait_ms != 0;
    struct client_call *call = call_poll(world, worker->name, worker->group, worker->shard,
                                         one_in(world, 16) ? 0 : worker->tasks_max, wait_ms);
    call->agent = worker;
    call->heard = poll_heard;
    if (wait_ms != 0 && !world->draining && one_in(world, 6)) {
        call_leave_later(call, random_between(&world->random, 1, 1000 * (int64_t)wait_ms));
    }
}

void workers_start(struct world *world)
{
    for (uint32_t i = 0; i < world->profile.worker_count; i++) {
        struct worker *worker = &world->workers[i];
        worker->world = world;
        worker_rename(worker);
        const uint32_t group = i < world->specs.groups ? i : below(world, world->specs.groups);
        (void)snprintf(worker->group, sizeof worker->group, "g%u", group);
        worker->shard = world->profile.shard_count > 1 && one_in(world, 2)
                            ? (int)below(world, (uint32_t)world->profile.shard_count)
                            : -1;
        if (world->profile.shard_count == 1) {
            worker->shard = 0;
        }
        worker->tasks_max = 1 + below(world, 4);
        worker->wait_ms = one_in(world, 3) ? 0 : 200 + below(world, 8000);
        worker_again(worker, 0, 500000);
        listeners_start(worker);
    }
}

void workers_free(struct world *world)
{
    for (struct list_node *n = list_first(&world->works); n != NULL;
         n = list_first(&world->works)) {
        work_free(CONTAINER_OF(n, struct work, node));
    }
}

void workers_drain(struct world *world)
{
    world->draining = true;
    workers_free(world); /* what was under way is forgotten; its leases end */
    const size_t shards = world->profile.shard_count;
    for (uint32_t i = 0; i < WORKERS_MAX; i++) {
        struct worker *worker = &world->workers[i];
        worker->world = world;
        worker_rename(worker);
        (void)snprintf(worker->group, sizeof worker->group, "g%u", i % world->specs.groups);
        worker->shard = shards > 1 ? -1 : 0;
        worker->tasks_max = 20;
        worker_again(worker, 0, 100000);
    }
}

/* Somebody reports on a task that was handed out at some time. */
void workers_random_report(struct world *world)
{
    const size_t count = world->model.task_count;
    if (count == 0) {
        return;
    }
    const size_t window = one_in(world, 4) || count <= 8 ? count : 8;
    struct mtask *task = world->model.tasks[count - 1 - below(world, (uint32_t)window)];
    if (task->delivered) {
        static const enum attempt_status ends[] = {ATTEMPT_SUCCEEDED, ATTEMPT_FAILED,
                                                   ATTEMPT_CANCELLED};
        const enum attempt_status end = ends[below(world, 3)];
        const bool no_retry = one_in(world, 4);
        (void)call_report(world, &task, 1, end, no_retry, below(world, 20));
    }
}

void workers_random_await(struct world *world)
{
    const size_t count = world->model.task_count;
    if (count != 0) {
        const size_t window = count <= 12 ? count : 12;
        struct mtask *task = world->model.tasks[count - 1 - below(world, (uint32_t)window)];
        const size_t known = one_in(world, 4) ? 1 : 0;
        const uint32_t wait_ms = one_in(world, 3) ? 1 + below(world, 4000) : 0;
        (void)call_await(world, task->worker, task->job->shard, &task, known, wait_ms);
    }
}
