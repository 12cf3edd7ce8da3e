/*
 * peers/ask.c - one question of this node's own on its way to another node and back.
 *
 *     the asker's loop:  peers_ask ───────────────┐               ┌──► ask_answer
 *     the module's:                    ask_start ─┴─► channel ──► ask_done
 *
 * As in forward.c a message that stops the question may cross with the answer: each holds a
 * reference, and the last one frees.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "peers/peers_int.h"

struct peers_ask {
    atomic_uint references;
    struct peers *peers;
    struct peers_question question; /* but for the address */
    char *address;
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
    struct bytes text, reply; /* own; the reply until it is handed over */
};

static void ask_unref(struct peers_ask *ask)
{
    if (atomic_fetch_sub_explicit(&ask->references, 1, memory_order_acq_rel) == 1) {
        free(ask->address);
        free((void *)ask->text.ptr);
        free(ask);
    }
}

static void ask_count(struct peers_ask *ask, uint64_t bytes)
{
    ask->bytes += bytes;
    (void)atomic_fetch_add_explicit(&ask->peers->bytes, bytes, memory_order_relaxed);
}

/* --- the asker's loop --- */

static void ask_answer(struct rpc_mail *mail)
{
    struct peers_ask *ask = CONTAINER_OF(mail, struct peers_ask, answer);
    const struct peers_answer answer = {
        .status = ask->status, .text = ask->text, .reply = ask->reply};
    (void)atomic_fetch_sub_explicit(&ask->peers->calls, 1, memory_order_relaxed);
    (void)atomic_fetch_sub_explicit(&ask->peers->bytes, ask->bytes, memory_order_relaxed);
    ask->question.done(ask->question.context, &answer);
    ask_unref(ask);
}

/* --- the module's loop --- */

static void ask_back(struct peers_ask *ask)
{
    ask->done = true;
    rpc_loop_post(ask->question.loop, &ask->answer);
}

static void ask_fail(struct peers_ask *ask, uint32_t status, const char *text)
{
    ask->status = status;
    ask->text = bytes_dup(bytes_str(text));
    ask_back(ask);
}

static void ask_done(struct rpc_request *request)
{
    struct peers_ask *ask = request->context;
    ask->status = request->status;
    if (request->status == RPC_STATUS_OK) {
        ask->reply = bytes_dup(request->reply);
        ask_count(ask, request->reply.len);
    }
    const size_t len = request->text.len < PEERS_TEXT_MAX ? request->text.len : PEERS_TEXT_MAX;
    ask->text = bytes_dup(bytes_of(request->text.ptr, len));
    channels_give_back(ask->peers, ask->peer);
    ask_back(ask);
}

static void ask_start(struct rpc_mail *mail)
{
    struct peers_ask *ask = CONTAINER_OF(mail, struct peers_ask, start);
    struct silo_err err;
    const int64_t left_us = ask->deadline_us - rpc_loop_now_us(ask->peers->loop);
    if (ask->stopped) {
        ask_fail(ask, RPC_STATUS_CANCELLED, "cancelled");
        return;
    }
    ask->peer = channels_take(ask->peers, ask->address, &err);
    if (ask->peer == NULL) {
        ask_fail(ask, RPC_STATUS_UNAVAILABLE, err.text);
        return;
    }
    ask->mark = (struct rpc_header){.name = BYTES_LIT(PEERS_HEADER_MARK),
                                    .value = bytes_str(ask->peers->options.node_id)};
    ask->request = (struct rpc_request){.path = ask->question.path,
                                        .message = ask->question.message,
                                        .timeout_us = left_us > 0 ? left_us : 1,
                                        .headers = &ask->mark,
                                        .header_count = 1,
                                        .on_done = ask_done,
                                        .context = ask};
    rpc_channel_call(ask->peer->channel, &ask->request);
}

static void ask_stop(struct rpc_mail *mail)
{
    struct peers_ask *ask = CONTAINER_OF(mail, struct peers_ask, stop);
    ask->stopped = true;
    if (!ask->done && ask->peer != NULL) {
        rpc_channel_cancel(ask->peer->channel, &ask->request);
    }
    ask_unref(ask);
}

/* --- the asker's loop --- */

struct peers_ask *peers_ask(struct peers *peers, const struct peers_question *question)
{
    if (!peers_admit(peers, question->message.len)) {
        return NULL;
    }
    struct peers_ask *ask = xcalloc(1, sizeof *ask);
    atomic_init(&ask->references, 1);
    ask->peers = peers;
    ask->question = *question;
    ask->address = xstrdup(question->address);
    ask->deadline_us = rpc_loop_now_us(question->loop) + question->timeout_us;
    ask->start.run = ask_start;
    ask->stop.run = ask_stop;
    ask->answer.run = ask_answer;
    ask_count(ask, question->message.len);
    rpc_loop_post(peers->loop, &ask->start);
    return ask;
}

void peers_ask_stop(struct peers_ask *ask)
{
    (void)atomic_fetch_add_explicit(&ask->references, 1, memory_order_relaxed);
    rpc_loop_post(ask->peers->loop, &ask->stop);
}
