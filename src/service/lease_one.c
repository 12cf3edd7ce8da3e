/*
 * service/lease_one.c - LeaseTask: the task of one named job, whatever its start and its limits. For tests and debugging.
 *
 * When the caller leaves before the reply nothing goes back: the lease ends by itself, like that of a worker that died.
 */
#include "service/call_int.h"

static void lease_task_answer(struct call *call)
{
    const struct command *cmd = &call->request.cmd;
    if (cmd->rc.code != SILO_OK) {
        svc_fail_command(call, cmd);
        return;
    }
    const Silo__V1__LeaseTaskRequest *request = call->message;
    const struct poll_result *result = &cmd->result.poll;
    Silo__V1__LeaseTaskResponse reply = SILO__V1__LEASE_TASK_RESPONSE__INIT;
    /* The shard as the caller spelled it. */
    reply.task =
        result->count == 1 ? encode_task(call->arena, request->shard, &result->tasks[0]) : NULL;
    if (reply.task == NULL) {
        svc_fail(call, SILO_CORRUPT, "the stored job is malformed");
        return;
    }
    svc_reply(call, &reply.base);
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
    if (!svc_job(call, request->id)) {
        return;
    }
    call->request.cmd.args.lease_job.worker_id = worker_id;
    svc_send(call, CMD_LEASE_JOB, lease_task_answer);
}
