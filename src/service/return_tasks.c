/* service/return_tasks.c - ReturnTasks: a worker gives back what it has not begun. */
#include "service/many_int.h"

static SILO_RC return_prepare(struct many *many, size_t index, struct command *cmd,
                              struct silo_err *err)
{
    const Silo__V1__ReturnTasksRequest *request = many->call->message;
    const Silo__V1__ReturnedTask *task = request->tasks[index];
    const struct bytes tenant =
        task->tenant_id_opt_case != 0 ? bytes_str(task->tenant_id) : BYTES_NONE;
    TRY(route_worker_tenant(many->call->service, &many->call->shard, tenant, err));
    cmd->kind = CMD_RETURN_TASK;
    struct return_task_args *args = &cmd->args.return_task;
    args->has_task_id = uuid_parse(bytes_str(task->task_id), &args->task_id);
    args->worker_id =
        bytes_str(request->worker_id); /* one that is too long is no one's: owner mismatch */
    return RC_OK;
}

static void return_answer(struct many *many)
{
    struct call *call = many->call;
    Silo__V1__ReturnTasksResponse reply = SILO__V1__RETURN_TASKS_RESPONSE__INIT;
    reply.results = arena_alloc(call->arena, (many->count + 1) * sizeof *reply.results);
    reply.n_results = many->count;
    for (size_t i = 0; i < many->count; i++) {
        Silo__V1__ReturnTasksResult *to = arena_alloc(call->arena, sizeof *to);
        silo__v1__return_tasks_result__init(to);
        to->code = silo_code_grpc(many->results[i].code);
        if (many->results[i].code != SILO_OK) {
            to->message = many->results[i].text;
        }
        reply.results[i] = to;
    }
    svc_reply(call, &reply.base);
}

void on_return_tasks(struct call *call)
{
    const Silo__V1__ReturnTasksRequest *request = call->message;
    if (svc_route(call, request->shard)) {
        many_start(call, request->n_tasks, return_prepare, return_answer);
    }
}
