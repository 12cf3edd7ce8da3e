/* service/job.c - GetJob, GetJobResult, CancelJob, DeleteJob, RestartJob, ExpediteJob. */
#include "service/call_int.h"

static void answer_malformed(struct call *call)
{
    svc_fail(call, SILO_CORRUPT, "the stored job is malformed");
}

static void get_job_answer(struct call *call)
{
    const struct command *cmd = &call->request.cmd;
    if (cmd->rc.code != SILO_OK) {
        svc_fail_command(call, cmd);
        return;
    }
    const Silo__V1__GetJobRequest *request = call->message;
    const Silo__V1__GetJobResponse *reply =
        encode_job(call->arena, request->id, &cmd->result.job, &cmd->args.get);
    if (reply == NULL) {
        answer_malformed(call);
        return;
    }
    svc_reply(call, &reply->base);
}

void on_get_job(struct call *call)
{
    const Silo__V1__GetJobRequest *request = call->message;
    if (!svc_route(call, request->shard) ||
        !svc_tenant(call, request->tenant_opt_case != 0, request->tenant) ||
        !svc_job(call, request->id)) {
        return;
    }
    if (!(request->omit_payload && request->omit_results) && !svc_has_room(call)) {
        return;
    }
    call->request.cmd.args.get = (struct get_args){
        .include_attempts = request->include_attempts != 0,
        .omit_payload = request->omit_payload != 0,
        .omit_results = request->omit_results != 0,
    };
    svc_send(call, CMD_GET_JOB, get_job_answer);
}

/*
 * --- GetJobResult: part 0 asks and may wait in the shard, part 1 ends the wait when the caller
 * leaves ---
 */

static void get_result_answer(struct fan *fan)
{
    struct call *call = fan->call;
    const struct command *cmd = &fan->parts[0].request.cmd; /* its memory is the call's */
    fan_deinit(fan);
    if (cmd->rc.code != SILO_OK) {
        svc_fail_command(call, cmd);
        return;
    }
    const Silo__V1__GetJobResultRequest *request = call->message;
    const Silo__V1__GetJobResultResponse *reply =
        encode_result(call->arena, request->id, &cmd->result.job);
    svc_reply(call, &reply->base);
}

void on_get_result(struct call *call)
{
    const Silo__V1__GetJobResultRequest *request = call->message;
    if (!svc_route(call, request->shard) ||
        !svc_tenant(call, request->tenant_opt_case != 0, request->tenant) ||
        !svc_job(call, request->id) || !svc_has_room(call)) {
        return;
    }
    struct fan *fan = fan_new(call, 2, get_result_answer);
    struct command *cmd = &fan->parts[0].request.cmd;
    cmd->kind = CMD_GET_RESULT;
    cmd->arena = call->arena;
    cmd->job_ref = call->request.cmd.job_ref;
    cmd->args.get.wait_ms = svc_wait_ms(call, request->wait_ms);
    if (cmd->args.get.wait_ms != 0) {
        fan_stop_on_cancel(fan);
    }
    fan_send(&fan->parts[0], &call->shard);
}

/* --- calls that change a job and have nothing to say about it --- */

static void change_start(struct call *call, enum command_kind kind, const char *shard,
                         bool has_tenant, const char *tenant, const char *id)
{
    if (svc_route(call, shard) && svc_tenant(call, has_tenant, tenant) && svc_job(call, id)) {
        svc_send(call, kind, svc_answer_empty);
    }
}

void on_cancel_job(struct call *call)
{
    const Silo__V1__CancelJobRequest *request = call->message;
    change_start(call, CMD_CANCEL_JOB, request->shard, request->tenant_opt_case != 0,
                 request->tenant, request->id);
}

void on_delete_job(struct call *call)
{
    const Silo__V1__DeleteJobRequest *request = call->message;
    change_start(call, CMD_DELETE_JOB, request->shard, request->tenant_opt_case != 0,
                 request->tenant, request->id);
}

void on_restart_job(struct call *call)
{
    const Silo__V1__RestartJobRequest *request = call->message;
    change_start(call, CMD_RESTART_JOB, request->shard, request->tenant_opt_case != 0,
                 request->tenant, request->id);
}

void on_expedite_job(struct call *call)
{
    const Silo__V1__ExpediteJobRequest *request = call->message;
    change_start(call, CMD_EXPEDITE_JOB, request->shard, request->tenant_opt_case != 0,
                 request->tenant, request->id);
}
