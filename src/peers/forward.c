/*
 * peers/forward.c - one call on its way to another node and back.
 *
 *     the call's loop:  peers_forward ─────────────────┐               ┌──► forward_answer
 *     the module's:                    forward_start ──┴─► channel ──► forward_done
 *
 * A caller that leaves has the call there cancelled: a second message goes to the module's loop,
 * forward_stop. The two messages may cross with the answer, so each holds a reference of its own,
 * and the last one frees.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "base/env.h"
#include "base/owner_headers.h"
#include "peers/peers_int.h"

#define HEADER_ASK "x-silo-forward"
/* A node that could not be reached is perhaps being replaced. */
#define RETRY_UNREACHED "500"

struct forward {
    atomic_uint references;
    struct peers *peers;
    struct rpc_call *call;
    struct peers_hop hop; /* but for id and address */
    char *id, *address;
    struct bytes message; /* the call's */
    int64_t deadline_us;
    uint64_t bytes; /* counted in peers->bytes */

    /* The module's loop, until the answer is posted. */
    struct rpc_mail start, stop;
    struct rpc_header mark;
    struct rpc_request request;
    struct peer *peer; /* NULL: not at a channel */
    bool stopped, done;

    /* The answer. */
    struct rpc_mail answer;
    uint32_t status;
    struct bytes text, reply;                    /* own */
    struct bytes owner_address, owner_id, retry; /* own; ptr NULL: not told */
};

static void forward_unref(struct forward *forward)
{
    if (atomic_fetch_sub_explicit(&forward->references, 1, memory_order_acq_rel) != 1) {
        return;
    }
    free(forward->id);
    free(forward->address);
    free((void *)forward->text.ptr);
    free((void *)forward->owner_address.ptr);
    free((void *)forward->owner_id.ptr);
    free((void *)forward->retry.ptr);
    free(forward);
}

/* What was not told stays so. */
static struct bytes told_dup(struct bytes told)
{
    return told.ptr != NULL ? bytes_dup(told) : BYTES_NONE;
}

static void forward_count(struct forward *forward, uint64_t bytes)
{
    forward->bytes += bytes;
    (void)atomic_fetch_add_explicit(&forward->peers->bytes, bytes, memory_order_relaxed);
}

/* --- the answer, on the call's loop --- */

static void reply_release(void *context, bool sent)
{
    (void)sent;
    free(context);
}

static size_t forward_trailers(const struct forward *forward, struct rpc_header ret_trailers[3])
{
    const struct rpc_header all[] = {{BYTES_LIT(OWNER_ADDRESS_HEADER), forward->owner_address},
                                     {BYTES_LIT(OWNER_NODE_HEADER), forward->owner_id},
                                     {BYTES_LIT(RETRY_AFTER_HEADER), forward->retry}};
    size_t count = 0;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (all[i].value.ptr != NULL) {
            ret_trailers[count++] = all[i];
        }
    }
    return count;
}

/* The owner does not have the shard any more: this node has. */
static bool forward_is_ours(const struct forward *forward)
{
    return forward->hop.back != NULL && forward->status == RPC_STATUS_NOT_FOUND &&
           bytes_eq(forward->owner_id, bytes_str(forward->peers->options.node_id)) &&
           rpc_call_alive(forward->call);
}

static void forward_answer(struct rpc_mail *mail)
{
    struct forward *forward = CONTAINER_OF(mail, struct forward, answer);
    struct peers *peers = forward->peers;
    struct rpc_call *call = forward->call;
    struct rpc_header trailers[3];
    const size_t count = forward_trailers(forward, trailers);
    const uint64_t bytes = forward->bytes;
    if (forward->status == RPC_STATUS_OK) {
        const struct rpc_piece piece = {.bytes = forward->reply,
                                        .release = reply_release,
                                        .context = (void *)forward->reply.ptr};
        (void)rpc_call_send(call, &piece, 1); /* in vain: what follows only lets go of it */
    }
    if (forward_is_ours(forward)) {
        rpc_call_on_cancel(call, NULL, NULL);
        forward->hop.back(forward->hop.context);
    } else {
        (void)rpc_call_finish(call, forward->status, forward->text, trailers, count);
    }
    (void)atomic_fetch_sub_explicit(&peers->calls, 1, memory_order_relaxed);
    (void)atomic_fetch_sub_explicit(&peers->bytes, bytes, memory_order_relaxed);
    forward_unref(forward);
}

/* --- the module's loop --- */

static void forward_back(struct forward *forward)
{
    forward->done = true;
    rpc_loop_post(rpc_call_loop(forward->call), &forward->answer);
}

static void forward_fail(struct forward *forward, uint32_t status, const char *text)
{
    forward->status = status;
    forward->text = bytes_dup(bytes_str(text));
    forward->owner_address = bytes_dup(bytes_str(forward->address));
    forward->owner_id = bytes_dup(bytes_str(forward->id));
    forward->retry = bytes_dup(BYTES_LIT(RETRY_UNREACHED));
    forward_back(forward);
}

/* What the owner says of who has the shard counts more than what was known here. */
static void forward_learn(struct forward *forward, const struct rpc_request *request)
{
    const struct bytes address = rpc_request_trailer(request, OWNER_ADDRESS_HEADER);
    const struct bytes id = rpc_request_trailer(request, OWNER_NODE_HEADER);
    const bool told = address.ptr != NULL || id.ptr != NULL;
    forward->owner_address = told_dup(told ? address : bytes_str(forward->address));
    forward->owner_id = told_dup(told ? id : bytes_str(forward->id));
    const struct bytes retry = rpc_request_trailer(request, RETRY_AFTER_HEADER);
    const bool unreached = request->status == RPC_STATUS_UNAVAILABLE && retry.ptr == NULL;
    forward->retry = told_dup(unreached ? BYTES_LIT(RETRY_UNREACHED) : retry);
}

static void forward_done(struct rpc_request *request)
{
    struct forward *forward = request->context;
    forward->status = request->status;
    if (request->status == RPC_STATUS_OK) {
        forward->reply = bytes_dup(request->reply);
        forward_count(forward, request->reply.len);
    }
    const size_t len = request->text.len < PEERS_TEXT_MAX ? request->text.len : PEERS_TEXT_MAX;
    forward->text = bytes_dup(bytes_of(request->text.ptr, len));
    forward_learn(forward, request);
    channels_give_back(forward->peers, forward->peer);
    forward_back(forward);
}

static void forward_start(struct rpc_mail *mail)
{
    struct forward *forward = CONTAINER_OF(mail, struct forward, start);
    struct silo_err err;
    const int64_t left_us = forward->deadline_us - rpc_loop_now_us(forward->peers->loop);
    if (forward->stopped) {
        forward_fail(forward, RPC_STATUS_CANCELLED, "cancelled");
        return;
    }
    forward->peer = channels_take(forward->peers, forward->address, &err);
    if (forward->peer == NULL) {
        forward_fail(forward, RPC_STATUS_UNAVAILABLE, err.text);
        return;
    }
    forward->mark = (struct rpc_header){.name = BYTES_LIT(PEERS_HEADER_MARK),
                                        .value = bytes_str(forward->peers->options.node_id)};
    forward->request = (struct rpc_request){.path = forward->hop.path,
                                            .message = forward->message,
                                            .timeout_us = left_us > 0 ? left_us : 1,
                                            .headers = &forward->mark,
                                            .header_count = 1,
                                            .on_done = forward_done,
                                            .context = forward};
    rpc_channel_call(forward->peer->channel, &forward->request);
}

static void forward_stop(struct rpc_mail *mail)
{
    struct forward *forward = CONTAINER_OF(mail, struct forward, stop);
    forward->stopped = true;
    if (!forward->done && forward->peer != NULL) {
        rpc_channel_cancel(forward->peer->channel, &forward->request);
    }
    forward_unref(forward);
}

/* --- the call's loop --- */

static void forward_cancelled(struct rpc_call *call, enum rpc_cancel reason, void *context)
{
    (void)call;
    (void)reason;
    struct forward *forward = context;
    (void)atomic_fetch_add_explicit(&forward->references, 1, memory_order_relaxed);
    rpc_loop_post(forward->peers->loop, &forward->stop);
}

static bool forward_wanted(const struct peers *peers, const struct rpc_call *call)
{
    if (peers->options.mode == PEERS_NEVER ||
        rpc_call_header(call, PEERS_HEADER_MARK).ptr != NULL) {
        return false;
    }
    const struct bytes asked = rpc_call_header(call, HEADER_ASK);
    if (asked.ptr == NULL) {
        return peers->options.mode == PEERS_ALWAYS;
    }
    return !bytes_eq(asked, BYTES_LIT("no"));
}

bool peers_forward(struct peers *peers, struct rpc_call *call, const struct peers_hop *hop)
{
    const struct bytes message = rpc_call_request(call);
    if (!forward_wanted(peers, call) || !peers_admit(peers, message.len)) {
        return false;
    }
    const int64_t deadline_us = rpc_call_deadline_us(call);
    struct forward *forward = xcalloc(1, sizeof *forward);
    atomic_init(&forward->references, 1);
    forward->peers = peers;
    forward->call = call;
    forward->hop = *hop;
    forward->id = xstrdup(hop->id);
    forward->address = xstrdup(hop->address);
    forward->message = message;
    forward->deadline_us =
        deadline_us != 0 ? deadline_us : rpc_loop_now_us(rpc_call_loop(call)) + PEERS_WAIT_US;
    forward->start.run = forward_start;
    forward->stop.run = forward_stop;
    forward->answer.run = forward_answer;
    forward_count(forward, message.len);
    rpc_call_on_cancel(call, forward_cancelled, forward);
    rpc_loop_post(peers->loop, &forward->start);
    return true;
}
