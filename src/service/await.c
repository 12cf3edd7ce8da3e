/*
 * service/await.c - AwaitCancellations: part 0 asks and may wait in the shard, part 1 ends the wait
 * when the caller leaves.
 */
#include <stdlib.h>

#include "service/call_int.h"

static void await_answer(struct fan *fan)
{
    struct call *call = fan->call;
    const struct command *cmd = &fan->parts[0].request.cmd; /* its memory is the call's */
    fan_deinit(fan);
    if (cmd->rc.code != SILO_OK) {
        svc_fail_command(call, cmd);
        return;
    }
    const struct await_result *result = &cmd->result.await;
    Silo__V1__AwaitCancellationsResponse reply = SILO__V1__AWAIT_CANCELLATIONS_RESPONSE__INIT;
    reply.tasks = arena_alloc(call->arena, (result->count + 1) * sizeof *reply.tasks);
    reply.n_tasks = result->count;
    for (size_t i = 0; i < result->count; i++) {
        Silo__V1__CancelledTask *to = arena_alloc(call->arena, sizeof *to);
        silo__v1__cancelled_task__init(to);
        to->task_id = encode_uuid(call->arena, &result->tasks[i].task_id);
        to->cancelled_at_ms = result->tasks[i].cancelled_ms;
        reply.tasks[i] = to;
    }
    svc_reply(call, &reply.base);
}

/* The ids as the shard wants them. What is no UUID is no task's id. */
static void known_fill(struct call *call, const Silo__V1__AwaitCancellationsRequest *request,
                       struct await_args *args)
{
    struct uuid *known = arena_alloc(call->arena, (request->n_known_task_ids + 1) * sizeof *known);
    size_t count = 0;
    for (size_t i = 0; i < request->n_known_task_ids; i++) {
        count += uuid_parse(bytes_str(request->known_task_ids[i]), &known[count]) ? 1 : 0;
    }
    qsort(known, count, sizeof *known, uuid_order);
    args->known = known;
    args->known_count = count;
}

void on_await_cancellations(struct call *call)
{
    const Silo__V1__AwaitCancellationsRequest *request = call->message;
    if (!svc_route(call, request->shard)) {
        return;
    }
    if (bytes_str(request->worker_id).len > WORKER_ID_BYTES_MAX) {
        svc_fail(call, SILO_INVALID, ERROR_WORKER_TOO_LONG);
        return;
    }
    if (request->n_known_task_ids > BULK_ITEMS_MAX) {
        svc_fail(call, SILO_INVALID, "too many known_task_ids: at most 10000");
        return;
    }
    struct fan *fan = fan_new(call, 2, await_answer);
    struct command *cmd = &fan->parts[0].request.cmd;
    cmd->kind = CMD_AWAIT_CANCELS;
    cmd->arena = call->arena;
    struct await_args *args = &cmd->args.await;
    args->worker_id = bytes_str(request->worker_id);
    args->wait_ms = svc_wait_ms(call, request->wait_ms);
    known_fill(call, request, args);
    if (args->wait_ms != 0) {
        fan_stop_on_cancel(fan);
    }
    fan_send(&fan->parts[0], &call->shard);
}
