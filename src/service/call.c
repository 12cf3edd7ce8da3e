/*
 * service/call.c - the pipeline that every call takes.
 *
 *     loop:      svc_begin -> decode -> handler's run -> svc_route, svc_tenant, checks -> svc_send
 *     executor:  the shard answers -> command_done -> rpc_loop_post
 *     loop:      call_back -> handler's answer -> svc_reply or svc_fail
 *                          or svc_again, when the shard was not there: it goes to the shard anew
 *
 * Each path ends in exactly one finishing call of the rpc layer; after it the call's memory is
 * gone. Commands are never abandoned: a call whose caller left is held until its command is back,
 * and then released by the same finishing call.
 */
#include "base/assert.h"
#include "service/call_int.h"

/*
 * A field of two bytes is unpacked into some seventy, and a call may wait for a minute with that.
 * One copy of the request is taken for granted; what is beyond it counts like bytes that came. Most
 * calls stay below what is worth counting.
 */
static void count_growth(const struct call *call, size_t before, size_t request_len)
{
    const size_t grown = call->arena->bytes - before;
    if (grown > request_len + CALL_GROWTH_MIN) {
        rpc_call_count(call->rpc, grown - request_len);
    }
}

void svc_begin(struct rpc_call *rpc, struct bytes request, void *context)
{
    struct service_method *slot = context;
    struct call *call = ARENA_NEW(rpc_call_arena(rpc), struct call);
    call->service = slot->service;
    call->method = slot->method;
    call->path = slot->path;
    call->rpc = rpc;
    call->arena = rpc_call_arena(rpc);
    call->request_len = request.len;

    struct silo_err err;
    const ProtobufCMessage *message = NULL;
    const struct call_method *method = slot->method;
    const size_t arena_before = call->arena->bytes;
    const silo_rc rc = method->items == 0
                           ? message_decode(call->arena, method->request, request, &message, &err)
                           : message_decode_bulk(call->arena, method->request, method->items,
                                                 request, &message, &call->faults, &err);
    if (rc.code != SILO_OK) {
        svc_fail_err(call, &err);
        return;
    }
    call->message = message;
    count_growth(call, arena_before, request.len);
    method->run(call);
}

/* --- answers --- */

struct bytes svc_error_text(const char *text, enum silo_code code)
{
    struct bytes whole = bytes_str(text != NULL && *text != 0 ? text : silo_code_name(code));
    if (whole.len > CALL_ERROR_BYTES_MAX) {
        whole.len = CALL_ERROR_BYTES_MAX;
        while (whole.len != 0 && (whole.ptr[whole.len] & 0xc0) == 0x80) {
            whole.len--;
        }
    }
    return whole;
}

void svc_fail(struct call *call, enum silo_code code, const char *text)
{
    static const struct route passes = {.retry_ms = ROUTE_RETRY_FAILED_MS};
    static const struct route stays = {.retry_ms = 0};
    char retry[ROUTE_RETRY_TEXT_MAX];
    struct rpc_header trailers[ROUTE_TRAILERS_MAX];
    const bool again = code == SILO_UNAVAILABLE || code == SILO_EXHAUSTED;
    const struct route *told = call->told != NULL ? call->told : again ? &passes : &stays;
    const size_t count = route_trailers(told, retry, trailers);
    rpc_call_finish(call->rpc, silo_code_grpc(code), svc_error_text(text, code), trailers, count);
}

void svc_fail_err(struct call *call, const struct silo_err *err)
{
    svc_fail(call, err->code, err->text);
}

void svc_fail_command(struct call *call, const struct command *cmd)
{
    svc_fail(call, cmd->rc.code, cmd->error);
}

void svc_reply(struct call *call, const ProtobufCMessage *reply)
{
    const size_t size = protobuf_c_message_get_packed_size(reply);
    if (size > MESSAGE_BYTES_MAX) {
        svc_fail(call, SILO_OUT_OF_RANGE, ERROR_REPLY_TOO_LARGE);
        return;
    }
    struct rpc_piece pieces[RPC_PIECES_MAX];
    const size_t count = svc_pieces(call->arena, reply, size, pieces);
    if (count == 1) {
        rpc_call_reply(call->rpc, pieces[0].bytes);
    } else {
        rpc_call_reply_pieces(call->rpc, pieces, count);
    }
}

void svc_answer_empty(struct call *call)
{
    if (call->request.cmd.rc.code != SILO_OK) {
        svc_fail_command(call, &call->request.cmd);
        return;
    }
    rpc_call_reply(call->rpc, BYTES_LIT("")); /* any message without fields */
}

/* --- shard and tenant --- */

void svc_tell(struct call *call, const struct route *route)
{
    struct route *told = ARENA_NEW(call->arena, struct route);
    told->owner_id =
        route->owner_id != NULL ? arena_str(call->arena, bytes_str(route->owner_id)) : NULL;
    told->owner_address = route->owner_address != NULL
                              ? arena_str(call->arena, bytes_str(route->owner_address))
                              : NULL;
    told->retry_ms = route->retry_ms;
    call->told = told;
}

bool svc_route(struct call *call, const char *shard)
{
    struct route route;
    const struct directory *directory = svc_directory(call);
    const struct directory_shard *found = NULL;
    if (route_name(directory, bytes_str(shard), &found, &route.err).code != SILO_OK) {
        svc_fail_err(call, &route.err);
        return false;
    }
    route_judge(call->service, directory, found, &route);
    switch (route.verdict) {
    case ROUTE_RUN:
        call->shard = *found;
        return true;
    case ROUTE_HOLD:
        svc_hold(call, &found->id, &route);
        return false;
    case ROUTE_REDIRECT:
        if (svc_forward(call, &found->id, &route)) {
            return false;
        }
        break;
    case ROUTE_REFUSE:
        break;
    }
    svc_tell(call, &route);
    svc_fail_err(call, &route.err);
    return false;
}

bool svc_tenant(struct call *call, bool present, const char *tenant)
{
    struct silo_err err;
    const struct bytes given = present ? bytes_str(tenant) : BYTES_NONE;
    if (route_client_tenant(call->service, &call->shard, given, &call->tenant, &err).code !=
        SILO_OK) {
        svc_fail_err(call, &err);
        return false;
    }
    return true;
}

bool svc_worker_tenant(struct call *call, bool present, const char *tenant)
{
    struct silo_err err;
    const struct bytes given = present ? bytes_str(tenant) : BYTES_NONE;
    if (route_worker_tenant(call->service, &call->shard, given, &err).code != SILO_OK) {
        svc_fail_err(call, &err);
        return false;
    }
    return true;
}

bool svc_has_room(struct call *call)
{
    if (!rpc_call_reserve(call->rpc, RPC_REPLY_SMALL_BYTES + 1)) {
        svc_fail(call, SILO_EXHAUSTED, RPC_REPLY_FULL_TEXT);
        return false;
    }
    return rpc_call_reserve(call->rpc, 0);
}

bool svc_job(struct call *call, const char *id)
{
    const struct bytes job_id = bytes_str(id);
    if (job_id.len > JOB_ID_BYTES_MAX) {
        svc_fail(call, SILO_INVALID, ERROR_ID_TOO_LONG);
        return false;
    }
    call->request.cmd.job_ref = job_ref_make(call->arena, call->tenant, job_id);
    return true;
}

struct bytes job_ref_make(struct arena *arena, struct bytes tenant, struct bytes id)
{
    struct key key;
    key_job_ref(&key, tenant, id);
    return arena_copy(arena, key_bytes(&key));
}

void svc_on_cancel(struct call *call,
                   void (*on_cancel)(struct rpc_call *rpc, enum rpc_cancel reason, void *context),
                   void *context)
{
    call->ends_itself = true;
    rpc_call_on_cancel(call->rpc, on_cancel, context);
}

/* --- to the shard and back --- */

/* Executor. */
static void command_done(struct shard_request *request)
{
    struct call *call = CONTAINER_OF(request, struct call, request);
    rpc_loop_post(rpc_call_loop(call->rpc), &call->mail);
}

static void call_back(struct rpc_mail *mail)
{
    struct call *call = CONTAINER_OF(mail, struct call, mail);
    shard_answer_taken(&call->request);
    if (call->request.cmd.rc.code == SILO_ROUTED_WRONG) {
        /* What waits in a shard is sent as a part of a fan: this request waited for nothing. */
        svc_again(call, &call->request, &call->mail, &call->shard,
                  rpc_loop_now_us(rpc_call_loop(call->rpc)), &call->stray);
        return;
    }
    call->answer(call);
}

void svc_send(struct call *call, enum command_kind kind, void (*answer)(struct call *call))
{
    call->request.cmd.kind = kind;
    call->request.cmd.arena = call->arena;
    call->request.done = command_done;
    call->mail.run = call_back;
    call->answer = answer;
    if (!shard_send(call->service->shards, call->shard.ref, &call->request)) {
        svc_fail(call, SILO_EXHAUSTED, ERROR_MAILBOX_FULL);
    }
}

uint32_t svc_patience_ms(const struct call *call, uint32_t ms)
{
    int64_t wait = ms;
    const int64_t deadline_us = rpc_call_deadline_us(call->rpc);
    if (deadline_us != 0) {
        const int64_t left_ms = (deadline_us - rpc_loop_now_us(rpc_call_loop(call->rpc))) / 1000 -
                                POLL_DEADLINE_SLACK_MS;
        wait = left_ms < wait ? left_ms : wait;
    }
    return wait > 0 ? (uint32_t)wait : 0;
}

uint32_t svc_wait_ms(const struct call *call, uint32_t wait_ms)
{
    int64_t wait = wait_ms < POLL_WAIT_MS_MAX ? wait_ms : POLL_WAIT_MS_MAX;
    if (call->held_since_us != 0) {
        wait -= (rpc_loop_now_us(rpc_call_loop(call->rpc)) - call->held_since_us) / 1000;
    }
    return wait > 0 ? svc_patience_ms(call, (uint32_t)wait) : 0;
}

/* --- many commands of one call --- */

struct fan *fan_new(struct call *call, size_t count, void (*finished)(struct fan *fan))
{
    struct fan *fan = ARENA_NEW(call->arena, struct fan);
    fan->call = call;
    fan->count = count;
    fan->finished = finished;
    const size_t before = call->arena->bytes;
    fan->parts = arena_zalloc(call->arena, (count + 1) * sizeof *fan->parts);
    count_growth(call, before, 0);
    for (size_t i = 0; i < count; i++) {
        fan->parts[i].fan = fan;
        fan->parts[i].index = i;
    }
    return fan;
}

void fan_deinit(struct fan *fan)
{
    ASSERT(fan->open == 0);
    for (size_t i = 0; i < fan->count; i++) {
        struct fan_part *part = &fan->parts[i];
        shard_answer_taken(&part->request);
        arena_deinit(&part->arena);
    }
}

static void part_back(struct rpc_mail *mail)
{
    struct fan_part *part = CONTAINER_OF(mail, struct fan_part, mail);
    struct fan *fan = part->fan;
    if (part->request.cmd.rc.code == SILO_ROUTED_WRONG && !part->stopped) {
        if (!part->skips) {
            svc_again(fan->call, &part->request, &part->mail, part->shard, part->sent_us,
                      &part->stray);
            return;
        }
        part->gone = true;
        part->request.cmd.rc = RC_OK;
    }
    if (part->request.cmd.rc.code == SILO_ROUTED_WRONG) {
        part->request.cmd.rc = (silo_rc){SILO_CANCELLED};
        part->request.cmd.error = NULL;
    }
    part->back = true;
    fan->open--;
    if (fan->part_back != NULL) {
        fan->part_back(fan, part);
    }
    if (fan->open == 0) {
        fan->finished(fan);
    }
}

/* Executor. */
static void part_done(struct shard_request *request)
{
    struct fan_part *part = CONTAINER_OF(request, struct fan_part, request);
    rpc_loop_post(rpc_call_loop(part->fan->call->rpc), &part->mail);
}

void fan_send(struct fan_part *part, struct directory_shard *shard)
{
    struct fan *fan = part->fan;
    part->shard = shard;
    part->stray = NULL;
    part->back = false;
    part->stopped = false;
    part->gone = false;
    part->mail.run = part_back;
    part->request.done = part_done;
    if (part->request.cmd.arena == NULL) {
        part->request.cmd.arena = &part->arena;
    }
    part->sent_us = rpc_loop_now_us(rpc_call_loop(fan->call->rpc));
    fan->open++;
    /* What ends a wait goes wherever that may still be. */
    if (part->request.cmd.kind != CMD_POLL_STOP && !route_is_open(fan->call->service, shard)) {
        part->request.ref = shard->ref;
        part->request.cmd.rc = (silo_rc){SILO_ROUTED_WRONG};
        rpc_loop_post(rpc_call_loop(fan->call->rpc), &part->mail);
    } else if (!shard_send(fan->call->service->shards, shard->ref, &part->request)) {
        part->request.cmd.rc = (silo_rc){SILO_EXHAUSTED};
        part->request.cmd.error = ERROR_MAILBOX_FULL;
        rpc_loop_post(rpc_call_loop(fan->call->rpc), &part->mail);
    }
}

void fan_stop(struct fan_part *stop, struct fan_part *waiting)
{
    if (waiting->back || waiting->stopped) {
        return;
    }
    waiting->stopped = true;
    if (!svc_again_stop(waiting->stray)) {
        stop->request.cmd.kind = CMD_POLL_STOP;
        stop->request.cmd.args.poll_stop.poll = &waiting->request.cmd;
        fan_send(stop, waiting->shard);
    }
}

static void fan_cancelled(struct rpc_call *rpc, enum rpc_cancel reason, void *context)
{
    (void)rpc;
    (void)reason;
    struct fan *fan = context;
    fan_stop(&fan->parts[1], &fan->parts[0]);
}

void fan_stop_on_cancel(struct fan *fan)
{
    ASSERT(fan->count == 2);
    svc_on_cancel(fan->call, fan_cancelled, fan);
}
