/*
 * rpc/channel_wait.c - the channel for threads that may block: call and wait, free and wait.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "rpc/channel_int.h"

/* Something one thread waits for and another says. */
struct gate {
    pthread_mutex_t lock; /* guards open */
    pthread_cond_t wake;
    bool open;
};

static void gate_init(struct gate *gate)
{
    gate->open = false;
    (void)pthread_mutex_init(&gate->lock, NULL);
    (void)pthread_cond_init(&gate->wake, NULL);
}

static void gate_open(struct gate *gate)
{
    (void)pthread_mutex_lock(&gate->lock);
    gate->open = true;
    (void)pthread_cond_signal(&gate->wake);
    (void)pthread_mutex_unlock(&gate->lock);
}

static void gate_wait(struct gate *gate)
{
    (void)pthread_mutex_lock(&gate->lock);
    while (!gate->open) {
        (void)pthread_cond_wait(&gate->wake, &gate->lock);
    }
    (void)pthread_mutex_unlock(&gate->lock);
    (void)pthread_cond_destroy(&gate->wake);
    (void)pthread_mutex_destroy(&gate->lock);
}

struct waiting_call {
    struct rpc_request request;
    struct rpc_answer *answer;
    struct gate gate;
};

static void waiting_call_done(struct rpc_request *request)
{
    struct waiting_call *call = CONTAINER_OF(request, struct waiting_call, request);
    struct rpc_answer *answer = call->answer;
    const struct client_stream *stream = request->own.stream;
    answer->status = request->status;
    answer->text = arena_copy(&answer->arena, request->text);
    answer->reply = arena_copy(&answer->arena, request->reply);
    if (stream != NULL && stream->header_count != 0) {
        answer->trailer_count = stream->header_count;
        answer->trailers =
            arena_alloc(&answer->arena, stream->header_count * sizeof *answer->trailers);
        for (uint32_t i = 0; i < stream->header_count; i++) {
            answer->trailers[i].name = arena_copy(&answer->arena, stream->headers[i].name);
            answer->trailers[i].value = arena_copy(&answer->arena, stream->headers[i].value);
        }
    }
    gate_open(&call->gate);
}

void rpc_channel_call_wait(struct rpc_channel *channel, const char *path, struct bytes message,
                           int64_t timeout_us, struct rpc_answer *ret_answer)
{
    ASSERT(!rpc_loop_here(channel->loop));
    struct waiting_call call = {.answer = ret_answer};
    memset(ret_answer, 0, sizeof *ret_answer);
    arena_init(&ret_answer->arena);
    call.request.path = path;
    call.request.message = message;
    call.request.timeout_us = timeout_us;
    call.request.on_done = waiting_call_done;
    gate_init(&call.gate);
    rpc_channel_call(channel, &call.request);
    gate_wait(&call.gate);
}

void rpc_answer_deinit(struct rpc_answer *answer)
{
    arena_deinit(&answer->arena);
    memset(answer, 0, sizeof *answer);
}

struct closing {
    struct rpc_mail mail;
    struct rpc_channel *channel;
    struct gate *gate; /* NULL: nobody waits */
};

static void closing_run(struct rpc_mail *mail)
{
    struct closing *closing = CONTAINER_OF(mail, struct closing, mail);
    struct gate *gate = closing->gate;
    channel_teardown(closing->channel);
    free(closing);
    if (gate != NULL) {
        gate_open(gate);
    }
}

struct rpc_channel *rpc_channel_free(struct rpc_channel *channel)
{
    if (channel == NULL) {
        return NULL;
    }
    /* By message even from the loop itself: calls posted before it are then seen before it. */
    struct rpc_loop *loop = channel->loop;
    const bool waits = !rpc_loop_here(loop);
    struct gate gate;
    if (waits) {
        gate_init(&gate);
    }
    struct closing *closing = xcalloc(1, sizeof *closing);
    *closing =
        (struct closing){.mail.run = closing_run, .channel = channel, .gate = waits ? &gate : NULL};
    rpc_loop_post(loop, &closing->mail);
    if (waits) {
        gate_wait(&gate);
    }
    return NULL;
}
