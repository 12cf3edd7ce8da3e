/*
 * sim/listeners.c - workers that hear of cancellations: for each shard a call that waits, and the
 * next one when it is answered. A worker that hears of one mostly stops and reports so. When it
 * dies its calls break, at once or some time later.
 */
#include "sim/world.h"

static void listener_wakes(struct event *event);

static void listener_again(struct listener *listener, int64_t least_us, int64_t greatest_us)
{
    struct world *world = listener->worker->world;
    if (!world->draining) {
        event_at(&world->events, &listener->wake,
                 world->now_us + random_between(&world->random, least_us, greatest_us),
                 listener_wakes);
    }
}

static void listener_knows(struct listener *listener, struct mtask *task)
{
    if (listener->known_count ==
        LISTENER_KNOWN_MAX) { /* the oldest is reported by now, or is told again */
        memmove(&listener->known[0], &listener->known[1],
                --listener->known_count * sizeof listener->known[0]);
    }
    listener->known[listener->known_count++] = task;
}

static void listener_heard(struct client_call *call)
{
    struct listener *listener = call->agent;
    const Silo__V1__AwaitCancellationsResponse *reply = (const void *)call->reply;
    listener->call = NULL;
    if (call->rpc->status != RPC_STATUS_OK || reply == NULL) {
        listener_again(listener, 50000, 500000);
        return;
    }
    for (size_t i = 0; i < reply->n_tasks; i++) {
        struct uuid id;
        struct mtask *task = uuid_parse(bytes_str(reply->tasks[i]->task_id), &id)
                                 ? model_task(&call->world->model, &id)
                                 : NULL;
        if (task != NULL) {
            listener_knows(listener, task);
            work_cancelled(call->world, task);
        }
    }
    listener_again(listener, 1, one_in(call->world, 8) ? 2000000 : 30000);
}

static void listener_wakes(struct event *event)
{
    struct listener *listener = CONTAINER_OF(event, struct listener, wake);
    const struct worker *worker = listener->worker;
    struct world *world = worker->world;
    const size_t known = one_in(world, 6) ? 0 : listener->known_count;
    const uint32_t wait_ms = one_in(world, 6) ? 0 : 200 + below(world, 12000);
    listener->call =
        call_await(world, worker->name, listener->shard, listener->known, known, wait_ms);
    listener->call->agent = listener;
    listener->call->heard = listener_heard;
    if (wait_ms != 0 && one_in(world, 10)) {
        call_leave_later(listener->call,
                         random_between(&world->random, 1, 1000 * (int64_t)wait_ms));
    }
}

void listeners_start(struct worker *worker)
{
    struct world *world = worker->world;
    for (size_t i = 0; i < world->profile.shard_count && !one_in(world, 5); i++) {
        worker->listeners[i].worker = worker;
        worker->listeners[i].shard = i;
        listener_again(&worker->listeners[i], 0, 500000);
    }
}

void listeners_die(struct worker *worker)
{
    struct world *world = worker->world;
    for (size_t i = 0; i < PROCESS_SHARDS_MAX; i++) {
        struct listener *listener = &worker->listeners[i];
        if (listener->worker == NULL) {
            continue;
        }
        event_cancel(&world->events, &listener->wake);
        if (listener->call != NULL) {
            listener->call->agent = NULL;
            listener->call->heard = NULL;
            call_leave_later(listener->call, one_in(world, 3) ? below(world, 5000000) : 0);
        }
        listener->call = NULL;
        listener->known_count = 0;
        listener_again(listener, 1000000, 8000000);
    }
}
