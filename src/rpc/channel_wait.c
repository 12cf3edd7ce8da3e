/*
 * rpc/channel_wait.c - the channel for threads that may block: call and wait, free and wait.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "rpc/channel_int.h"

/* Something one thread waits for and another says. */
struct latch {
    pthread_mutex_t lock; /* guards open */
    pthread_cond_t wake;
    bool open;
};

static void latch_init(struct latch *latch)
{
    latch->open = false;
    (void)pthread_mutex_init(&latch->lock, NULL);
    (void)pthread_cond_init(&latch->wake, NULL);
}

static void latch_open(struct latch *latch)
{
    (void)pthread_mutex_lock(&latch->lock);
    latch->open = true;
    (void)pthread_cond_signal(&latch->wake);
    (void)pthread_mutex_unlock(&latch->lock);
}

static void latch_wait(struct latch *latch)
{
    (void)pthread_mutex_lock(&latch->lock);
    while (!latch->open) {
        (void)pthread_cond_wait(&latch->wake, &latch->lock);
    }
    (void)pthread_mutex_unlock(&latch->lock);
    (void)pthread_cond_destroy(&latch->wake);
    (void)pthread_mutex_destroy(&latch->lock);
}

struct waiting_call {
    struct rpc_request request;
    struct rpc_answer *answer;
    struct latch latch;
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
    latch_open(&call->latch);
}

void rpc_channel_call_wait(struct rpc_channel *channel, const char *path, struct bytes message,
                           int64_t timeout_us, struct rpc_answer *ret_answer)
{
    ASSERT(!loop_is_here(channel->loop));
    struct waiting_call call = {.answer = ret_answer};
    memset(ret_answer, 0, sizeof *ret_answer);
    arena_init(&ret_answer->arena);
    call.request.path = path;
    call.request.message = message;
    call.request.timeout_us = timeout_us;
    call.request.on_done = waiting_call_done;
    latch_init(&call.latch);
    rpc_channel_call(channel, &call.request);
    latch_wait(&call.latch);
}

void rpc_answer_deinit(struct rpc_answer *answer)
{
    arena_deinit(&answer->arena);
    memset(answer, 0, sizeof *answer);
}

struct channel_close {
    struct rpc_mail mail;
    struct rpc_channel *channel;
    struct latch *latch; /* NULL: nobody waits */
};

static void channel_close_run(struct rpc_mail *mail)
{
    struct channel_close *closing = CONTAINER_OF(mail, struct channel_close, mail);
    struct latch *latch = closing->latch;
    channel_teardown(closing->channel);
    free(closing);
    if (latch != NULL) {
        latch_open(latch);
    }
}

struct rpc_channel *rpc_channel_free(struct rpc_channel *channel)
{
    if (channel == NULL) {
        return NULL;
    }
    /* By message even from the loop itself: calls posted before it are then seen before it. */
    struct rpc_loop *loop = channel->loop;
    const bool waits = !loop_is_here(loop);
    struct latch latch;
    if (waits) {
        latch_init(&latch);
    }
    struct channel_close *closing = xcalloc(1, sizeof *closing);
    *closing = (struct channel_close){
        .mail.run = channel_close_run, .channel = channel, .latch = waits ? &latch : NULL};
    loop_post(loop, &closing->mail);
    if (waits) {
        latch_wait(&latch);
    }
    return NULL;
}
