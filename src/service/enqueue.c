/* service/enqueue.c - Enqueue and EnqueueMany. */
#include "service/many_int.h"

static struct bytes id_make(const struct service *service, struct arena *arena, char **ret_id)
{
    uint8_t random[16];
    env_random(service->env, random, sizeof random);
    const struct uuid uuid = uuid_v7(env_wall_ms(service->env), random);
    *ret_id = encode_uuid(arena, &uuid);
    return bytes_str(*ret_id);
}

SILO_RC enqueue_args_fill(const struct service *service, struct arena *arena, struct bytes tenant,
                          const Silo__V1__EnqueueRequest *request, struct command *ret_cmd,
                          char **ret_id, struct silo_err *err)
{
    TRY(validate_job(arena, request, &ret_cmd->args.enqueue, err));
    struct bytes id = bytes_str(request->id);
    *ret_id = request->id;
    if (id.len == 0) {
        id = id_make(service, arena, ret_id);
        ret_cmd->args.enqueue.id_is_fresh = true;
    }
    ret_cmd->job_ref = job_ref_make(arena, tenant, id);
    return RC_OK;
}

static void enqueue_answer(struct call *call)
{
    if (call->request.cmd.rc.code != SILO_OK) {
        svc_fail_command(call, &call->request.cmd);
        return;
    }
    Silo__V1__EnqueueResponse reply = SILO__V1__ENQUEUE_RESPONSE__INIT;
    reply.id = call->state;
    svc_reply(call, &reply.base);
}

void on_enqueue(struct call *call)
{
    const Silo__V1__EnqueueRequest *request = call->message;
    if (!svc_route(call, request->shard) ||
        !svc_tenant(call, request->tenant_opt_case != 0, request->tenant)) {
        return;
    }
    struct silo_err err;
    char *id = NULL;
    if (enqueue_args_fill(call->service, call->arena, call->tenant, request, &call->request.cmd,
                          &id, &err)
            .code != SILO_OK) {
        svc_fail_err(call, &err);
        return;
    }
    call->state = id;
    svc_send(call, CMD_ENQUEUE, enqueue_answer);
}

/* --- EnqueueMany --- */

static SILO_RC enqueue_many_prepare(struct many *many, size_t index, struct command *cmd,
                                    struct silo_err *err)
{
    const Silo__V1__EnqueueManyRequest *request = many->call->message;
    const Silo__V1__EnqueueRequest *job = request->jobs[index];
    const struct bytes given = job->tenant_opt_case != 0 ? bytes_str(job->tenant) : BYTES_NONE;
    struct bytes tenant;
    TRY(route_client_tenant(many->call->service, &many->call->shard, given, &tenant, err));
    cmd->kind = CMD_ENQUEUE;
    return enqueue_args_fill(many->call->service, many->call->arena, tenant, job, cmd,
                             &many->results[index].id, err);
}

static void enqueue_many_answer(struct many *many)
{
    struct call *call = many->call;
    Silo__V1__EnqueueManyResponse reply = SILO__V1__ENQUEUE_MANY_RESPONSE__INIT;
    reply.results = arena_alloc(call->arena, (many->count + 1) * sizeof *reply.results);
    reply.n_results = many->count;
    for (size_t i = 0; i < many->count; i++) {
        const struct many_result *from = &many->results[i];
        Silo__V1__EnqueueManyResult *to = arena_alloc(call->arena, sizeof *to);
        silo__v1__enqueue_many_result__init(to);
        to->code = silo_code_grpc(from->code);
        if (from->code == SILO_OK) {
            to->id = from->id;
        } else {
            to->message = from->text;
        }
        reply.results[i] = to;
    }
    svc_reply(call, &reply.base);
}

void on_enqueue_many(struct call *call)
{
    const Silo__V1__EnqueueManyRequest *request = call->message;
    if (svc_route(call, request->shard)) {
        many_start(call, request->n_jobs, enqueue_many_prepare, enqueue_many_answer);
    }
}
