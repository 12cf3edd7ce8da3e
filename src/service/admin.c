/*
 * service/admin.c - DropTenantHolders, ResetShards, and the answer of methods that this build
 * lacks.
 */
#include "service/call_int.h"

/* --- DropTenantHolders --- */

static void drop_answer(struct call *call)
{
    const struct command *cmd = &call->request.cmd;
    if (cmd->rc.code != SILO_OK) {
        svc_fail_command(call, cmd);
        return;
    }
    Silo__V1__DropTenantHoldersResponse reply = SILO__V1__DROP_TENANT_HOLDERS_RESPONSE__INIT;
    reply.holders_dropped = cmd->result.dropped;
    svc_reply(call, &reply.base);
}

void on_drop_holders(struct call *call)
{
    const Silo__V1__DropTenantHoldersRequest *request = call->message;
    if (!svc_route(call, request->shard) ||
        !svc_tenant(call, request->tenant_opt_case != 0, request->tenant)) {
        return;
    }
    call->request.cmd.job_ref = job_ref_make(call->arena, call->tenant, BYTES_LIT(""));
    svc_send(call, CMD_DROP_HOLDERS, drop_answer);
}

/* --- ResetShards --- */

struct reset {
    struct call *call;
    size_t open;
    size_t count;
    struct reset_part {
        struct shard_control control;
        struct rpc_mail mail;
        struct reset *reset;
        const char *shard_id;
    } parts[];
};

static void reset_answer(struct reset *reset)
{
    struct call *call = reset->call;
    for (size_t i = 0; i < reset->count; i++) {
        const struct shard_control *control = &reset->parts[i].control;
        if (control->rc.code != SILO_OK) {
            svc_fail(call, SILO_INTERNAL,
                     arena_printf(
                         call->arena, "resetting shard %s failed: %.*s", reset->parts[i].shard_id,
                         (int)strnlen(control->text, sizeof control->text), control->text));
            return;
        }
    }
    Silo__V1__ResetShardsResponse reply = SILO__V1__RESET_SHARDS_RESPONSE__INIT;
    reply.shards_reset = (uint32_t)reset->count;
    svc_reply(call, &reply.base);
}

static void reset_back(struct rpc_mail *mail)
{
    struct reset *reset = CONTAINER_OF(mail, struct reset_part, mail)->reset;
    if (--reset->open == 0) {
        reset_answer(reset);
    }
}

/* Executor. */
static void reset_done(struct shard_control *control)
{
    struct reset_part *part = CONTAINER_OF(control, struct reset_part, control);
    rpc_loop_post(rpc_call_loop(part->reset->call->rpc), &part->mail);
}

void on_reset_shards(struct call *call)
{
    if (!call->service->dev_mode) {
        svc_fail(call, SILO_DENIED, "ResetShards is allowed in dev mode only (server.dev_mode)");
        return;
    }
    const struct directory *directory = svc_directory(call);
    const size_t count_max = directory->shard_count;
    struct reset *reset =
        arena_zalloc(call->arena, sizeof *reset + count_max * sizeof reset->parts[0]);
    reset->call = call;
    for (size_t i = 0; i < count_max; i++) {
        const struct directory_shard *shard = directory->shards[i];
        if (directory_shard_here(shard)) {
            struct reset_part *part = &reset->parts[reset->count++];
            part->reset = reset;
            part->mail.run = reset_back;
            part->control = (struct shard_control){.done = reset_done, .ref = shard->ref};
            part->shard_id = arena_str(call->arena, bytes_str(shard->id_text));
        }
    }
    reset->open = reset->count;
    if (reset->count == 0) {
        reset_answer(reset);
        return;
    }
    struct shards *shards = call->service->shards;
    const size_t count = reset->count; /* the last one back ends the call */
    for (size_t i = 0; i < count; i++) {
        shard_reset(shards, reset->parts[i].control.ref, &reset->parts[i].control);
    }
}

void on_unimplemented(struct call *call)
{
    svc_fail(call, SILO_UNIMPLEMENTED,
             arena_printf(call->arena, "%s is not available in this build", call->method->name));
}
