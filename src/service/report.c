/*
 * service/report.c - what workers say about their tasks: Heartbeat, ReportOutcome, ReportOutcomes,
 * ReportRefreshOutcome.
 */
#include "base/log.h"
#include "service/many_int.h"

/* --- Heartbeat --- */

static void heartbeat_answer(struct call *call)
{
    const struct command *cmd = &call->request.cmd;
    if (cmd->rc.code != SILO_OK) {
        svc_fail_command(call, cmd);
        return;
    }
    Silo__V1__HeartbeatResponse reply = SILO__V1__HEARTBEAT_RESPONSE__INIT;
    if (cmd->result.heartbeat.cancelled) {
        reply.cancelled = true;
        reply.cancelled_at_ms_opt_case =
            SILO__V1__HEARTBEAT_RESPONSE__CANCELLED_AT_MS_OPT_CANCELLED_AT_MS;
        reply.cancelled_at_ms = cmd->result.heartbeat.cancelled_ms;
    }
    svc_reply(call, &reply.base);
}

void on_heartbeat(struct call *call)
{
    const Silo__V1__HeartbeatRequest *request = call->message;
    if (!svc_route(call, request->shard) ||
        !svc_worker_tenant(call, request->tenant_id_opt_case != 0, request->tenant_id)) {
        return;
    }
    struct heartbeat_args *args = &call->request.cmd.args.heartbeat;
    args->has_task_id = uuid_parse(bytes_str(request->task_id), &args->task_id);
    args->worker_id =
        bytes_str(request->worker_id); /* one that is too long is no one's: owner mismatch */
    svc_send(call, CMD_HEARTBEAT, heartbeat_answer);
}

/* --- ReportOutcome --- */

SILO_RC report_args_fill(const Silo__V1__ReportOutcomeRequest *request,
                         struct report_args *ret_args, struct silo_err *err)
{
    struct report_args args = {0};
    switch ((int)request->outcome_case) {
    case SILO__V1__REPORT_OUTCOME_REQUEST__OUTCOME_SUCCESS:
        args.status = ATTEMPT_SUCCEEDED;
        args.data = serialized_bytes(request->success);
        break;
    case SILO__V1__REPORT_OUTCOME_REQUEST__OUTCOME_FAILURE:
        args.status = ATTEMPT_FAILED;
        args.error_code = bytes_str(request->failure->code);
        args.data = serialized_bytes(request->failure->data);
        break;
    case SILO__V1__REPORT_OUTCOME_REQUEST__OUTCOME_CANCELLED:
        args.status = ATTEMPT_CANCELLED;
        break;
    default:
        return FAIL(err, SILO_INVALID, "missing outcome");
    }
    args.has_task_id = uuid_parse(bytes_str(request->task_id), &args.task_id);
    args.final = args.status == ATTEMPT_FAILED && request->no_retry;
    *ret_args = args;
    return RC_OK;
}

void on_report(struct call *call)
{
    const Silo__V1__ReportOutcomeRequest *request = call->message;
    if (!svc_route(call, request->shard) ||
        !svc_worker_tenant(call, request->tenant_id_opt_case != 0, request->tenant_id)) {
        return;
    }
    struct silo_err err;
    if (report_args_fill(request, &call->request.cmd.args.report, &err).code != SILO_OK) {
        svc_fail_err(call, &err);
        return;
    }
    svc_send(call, CMD_REPORT, svc_answer_empty);
}

/* --- ReportOutcomes --- */

static SILO_RC report_many_prepare(struct many *many, size_t index, struct command *cmd,
                                   struct silo_err *err)
{
    const Silo__V1__ReportOutcomesRequest *request = many->call->message;
    const Silo__V1__ReportOutcomeRequest *outcome = request->outcomes[index];
    const struct bytes tenant =
        outcome->tenant_id_opt_case != 0 ? bytes_str(outcome->tenant_id) : BYTES_NONE;
    TRY(route_worker_tenant(many->call->service, &many->call->shard, tenant, err));
    cmd->kind = CMD_REPORT;
    return report_args_fill(outcome, &cmd->args.report, err);
}

static void report_many_answer(struct many *many)
{
    struct call *call = many->call;
    Silo__V1__ReportOutcomesResponse reply = SILO__V1__REPORT_OUTCOMES_RESPONSE__INIT;
    reply.results = arena_alloc(call->arena, (many->count + 1) * sizeof *reply.results);
    reply.n_results = many->count;
    for (size_t i = 0; i < many->count; i++) {
        Silo__V1__ReportOutcomesResult *to = arena_alloc(call->arena, sizeof *to);
        silo__v1__report_outcomes_result__init(to);
        to->code = silo_code_grpc(many->results[i].code);
        if (many->results[i].code != SILO_OK) {
            to->message = many->results[i].text;
        }
        reply.results[i] = to;
    }
    svc_reply(call, &reply.base);
}

void on_report_many(struct call *call)
{
    const Silo__V1__ReportOutcomesRequest *request = call->message;
    if (svc_route(call, request->shard)) {
        many_start(call, request->n_outcomes, report_many_prepare, report_many_answer);
    }
}

/* --- ReportRefreshOutcome --- */

/* The worker's reason is kept nowhere else. */
static void refresh_log(const struct call *call,
                        const Silo__V1__ReportRefreshOutcomeRequest *request)
{
    const uint32_t times =
        burst_add(&call->service->refresh_lines, env_mono_us(call->service->env));
    if (times == 0) {
        return;
    }
    log_warn("refresh_failed", LOG_STR("shard", call->shard.id_text),
             LOG_STR("task_id", request->task_id), LOG_STR("code", request->failure->code),
             LOG_STR("message", request->failure->message),
             LOG_STR("then", "the limit keeps its maximum and is refreshed after a back-off"),
             LOG_INT("times", times), LOG_END);
}

static void refresh_answer(struct call *call)
{
    const Silo__V1__ReportRefreshOutcomeRequest *request = call->message;
    const struct command *cmd = &call->request.cmd;
    if (cmd->rc.code == SILO_OK && !cmd->args.report_refresh.success) {
        refresh_log(call, request);
    }
    svc_answer_empty(call);
}

void on_report_refresh(struct call *call)
{
    const Silo__V1__ReportRefreshOutcomeRequest *request = call->message;
    if (!svc_route(call, request->shard) ||
        !svc_worker_tenant(call, request->tenant_id_opt_case != 0, request->tenant_id)) {
        return;
    }
    struct report_refresh_args *args = &call->request.cmd.args.report_refresh;
    switch ((int)request->outcome_case) {
    case SILO__V1__REPORT_REFRESH_OUTCOME_REQUEST__OUTCOME_SUCCESS:
        args->success = true;
        args->value = request->success->new_max_concurrency;
        break;
    case SILO__V1__REPORT_REFRESH_OUTCOME_REQUEST__OUTCOME_FAILURE:
        break;
    default:
        svc_fail(call, SILO_INVALID, "missing outcome");
        return;
    }
    args->has_task_id = uuid_parse(bytes_str(request->task_id), &args->task_id);
    svc_send(call, CMD_REPORT_REFRESH, refresh_answer);
}
