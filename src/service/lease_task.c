/*
 * service/lease_task.c - LeaseTask: the task of one named job, whatever its start and its limits.
 * For tests and debugging.
 */
#include "base/assert.h"
#include "service/call_int.h"
#include "service/handout.h"

static void lease_task_answer(struct call *call)
{
    const struct command *cmd = &call->request.cmd;
    if (cmd->rc.code != SILO_OK) {
        svc_fail_command(call, cmd);
        return;
    }
    const Silo__V1__LeaseTaskRequest *request = call->message;
    ASSERT(cmd->result.poll.count == 1);
    const struct leased_task *leased = &cmd->result.poll.tasks[0];
    Silo__V1__LeaseTaskResponse reply = SILO__V1__LEASE_TASK_RESPONSE__INIT;
    /* The shard as the caller spelled it. */
    reply.task = encode_task(call->arena, request->shard, leased);
    if (reply.task == NULL) {
        handout_log_malformed(call, request->shard, leased);
        handout_return(call->service->shards, &call->shard, &leased->task_id, 1, HANDOUT_MALFORMED);
        svc_fail(call, SILO_CORRUPT, HANDOUT_MALFORMED);
        return;
    }
    if (silo__v1__lease_task_response__get_packed_size(&reply) > MESSAGE_BYTES_MAX) {
        handout_return(call->service->shards, &call->shard, &leased->task_id, 1, NULL);
        svc_fail(call, SILO_OUT_OF_RANGE, ERROR_REPLY_TOO_LARGE);
        return;
    }
    struct handout *handout = handout_new(call->service->shards, 1);
    handout_add(handout, &call->shard, &leased->task_id, 1);
    const int64_t now_us = rpc_loop_now_us(rpc_call_loop(call->rpc));
    handout_reply(call, &reply.base, handout, now_us - 1000 * cmd->result.poll.age_ms);
}

void on_lease_task(struct call *call)
{
    const Silo__V1__LeaseTaskRequest *request = call->message;
    if (!svc_route(call, request->shard) ||
        !svc_tenant(call, request->tenant_opt_case != 0, request->tenant)) {
        return;
    }
    const struct bytes worker_id = bytes_str(request->worker_id);
    if (worker_id.len == 0) {
        svc_fail(call, SILO_INVALID, "worker_id is required");
        return;
    }
    if (worker_id.len > WORKER_ID_BYTES_MAX) {
        svc_fail(call, SILO_INVALID, ERROR_WORKER_TOO_LONG);
        return;
    }
    if (!svc_job(call, request->id) || !svc_has_room(call)) {
        return;
    }
    call->request.cmd.args.lease_job.worker_id = worker_id;
    svc_send(call, CMD_LEASE_JOB, lease_task_answer);
}
