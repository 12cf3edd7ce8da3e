/*
 * rpc/channel_send_test.c - requests that go on, against a server in the same process: messages
 * both ways on one stream, its end, its bounds, and what is left of it when the server goes.
 */
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/assert.h"
#include "rpc/rpc.h"

#define WAIT_S 20
#define ROUNDS 50

/* --- the server: what comes goes back, and the end ends it --- */

static void echo_cancel(struct rpc_call *call, enum rpc_cancel reason, void *context)
{
    (void)reason;
    (void)context;
    (void)rpc_call_finish(call, RPC_STATUS_CANCELLED, BYTES_NONE, NULL, 0);
}

static void echo_call(struct rpc_call *call, struct bytes request, void *context)
{
    (void)request;
    (void)context;
    rpc_call_on_cancel(call, echo_cancel, NULL);
}

static void echo_message(struct rpc_call *call, struct bytes message, void *context)
{
    (void)context;
    (void)rpc_call_send_copy(call, message);
}

static void echo_end(struct rpc_call *call, void *context)
{
    (void)context;
    (void)rpc_call_finish(call, RPC_STATUS_OK, BYTES_NONE, NULL, 0);
}

static const struct rpc_method echo = {.path = "/t.T/Echo",
                                       .bidi = true,
                                       .on_call = echo_call,
                                       .on_message = echo_message,
                                       .on_end = echo_end};

/* --- the client --- */

struct talk {
    struct rpc_request request;
    struct rpc_mail mail;
    struct rpc_server *server;
    struct rpc_loop *loop;
    struct rpc_channel *channel;
    uint32_t came; /* messages */
    uint32_t sent; /* after the first */
    enum silo_code last;
    sem_t done;
};

static int setup(void **state)
{
    struct talk *talk = xcalloc(1, sizeof *talk);
    struct silo_err err;
    const struct rpc_server_options server = {.listen = "127.0.0.1:0", .loops = 1};
    assert_int_equal(rpc_server_new(&server, &talk->server, &err).code, SILO_OK);
    assert_int_equal(rpc_server_add(talk->server, &echo, &err).code, SILO_OK);
    assert_int_equal(rpc_server_start(talk->server, &err).code, SILO_OK);
    assert_int_equal(rpc_loop_new(&talk->loop, &err).code, SILO_OK);
    char target[64];
    (void)snprintf(target, sizeof target, "127.0.0.1:%u", rpc_server_port(talk->server));
    const struct rpc_channel_options options = {.target = target, .user_timeout_us = 5000000};
    assert_int_equal(rpc_channel_new(talk->loop, &options, &talk->channel, &err).code, SILO_OK);
    (void)sem_init(&talk->done, 0, 0);
    *state = talk;
    return 0;
}

static int teardown(void **state)
{
    struct talk *talk = *state;
    talk->channel = rpc_channel_free(talk->channel);
    talk->loop = rpc_loop_free(talk->loop);
    talk->server = rpc_server_free(talk->server);
    (void)sem_destroy(&talk->done);
    free(talk);
    return 0;
}

static void on_done(struct rpc_request *request)
{
    (void)sem_post(&CONTAINER_OF(request, struct talk, request)->done);
}

static void await_done(struct talk *talk)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    assert_int_equal(sem_timedwait(&talk->done, &until), 0);
}

static void begin(struct talk *talk, void (*on_message)(struct rpc_request *, struct bytes))
{
    talk->request = (struct rpc_request){.path = echo.path,
                                         .message = BYTES_LIT("0"),
                                         .goes_on = true,
                                         .on_message = on_message,
                                         .on_done = on_done};
    rpc_channel_call(talk->channel, &talk->request);
}

/* Each answer brings the next message; the last one ends the request. */
static void ping_pong(struct rpc_request *request, struct bytes message)
{
    struct talk *talk = CONTAINER_OF(request, struct talk, request);
    char text[16];
    (void)snprintf(text, sizeof text, "%u", talk->came);
    assert_true(bytes_eq(message, bytes_str(text)));
    talk->came++;
    if (talk->came == ROUNDS) {
        rpc_channel_end(request);
        rpc_channel_end(request);
        talk->last = rpc_channel_send(request, BYTES_LIT("late"), NULL).code;
        return;
    }
    (void)snprintf(text, sizeof text, "%u", talk->came);
    assert_int_equal(rpc_channel_send(request, bytes_str(text), NULL).code, SILO_OK);
}

static void test_messages_go_both_ways(void **state)
{
    struct talk *talk = *state;
    begin(talk, ping_pong);
    await_done(talk);
    assert_int_equal(talk->request.status, RPC_STATUS_OK);
    assert_int_equal(talk->came, ROUNDS);
    assert_int_equal(talk->last, SILO_PRECONDITION);
}

/* More than may wait, before the loop can send any of it; what was taken arrives. */
static void flood(struct rpc_request *request, struct bytes message)
{
    struct talk *talk = CONTAINER_OF(request, struct talk, request);
    static const uint8_t piece[64u << 10];
    (void)message;
    talk->came++;
    if (talk->came == 1) {
        while (talk->last == SILO_OK) {
            assert_true(talk->sent < 64);
            talk->last = rpc_channel_send(request, bytes_of(piece, sizeof piece), NULL).code;
            talk->sent += talk->last == SILO_OK ? 1 : 0;
        }
    }
    if (talk->came == talk->sent + 1) {
        rpc_channel_end(request);
    }
}

static void test_what_waits_is_bounded(void **state)
{
    struct talk *talk = *state;
    begin(talk, flood);
    await_done(talk);
    assert_int_equal(talk->last, SILO_EXHAUSTED);
    assert_int_equal(talk->sent, RPC_SEND_QUEUE_BYTES / (64u << 10) - 1);
    assert_int_equal(talk->came, talk->sent + 1);
    assert_int_equal(talk->request.status, RPC_STATUS_OK);
}

static void cancel(struct rpc_request *request, struct bytes message)
{
    struct talk *talk = CONTAINER_OF(request, struct talk, request);
    (void)message;
    assert_int_equal(rpc_channel_send(request, BYTES_LIT("never read"), NULL).code, SILO_OK);
    rpc_channel_cancel(talk->channel, request);
}

static void test_cancelled_in_between(void **state)
{
    struct talk *talk = *state;
    begin(talk, cancel);
    await_done(talk);
    assert_int_equal(talk->request.status, RPC_STATUS_CANCELLED);
}

static void end_run(struct rpc_mail *mail)
{
    struct talk *talk = CONTAINER_OF(mail, struct talk, mail);
    talk->last = rpc_channel_send(&talk->request, BYTES_LIT("early"), NULL).code;
    rpc_channel_end(&talk->request);
}

static void count(struct rpc_request *request, struct bytes message)
{
    (void)message;
    CONTAINER_OF(request, struct talk, request)->came++;
}

/* There is no connection yet: nothing more can be sent, and it may end. */
static void test_ended_before_it_is_on_its_way(void **state)
{
    struct talk *talk = *state;
    talk->mail.run = end_run;
    begin(talk, count);
    rpc_loop_post(talk->loop, &talk->mail);
    await_done(talk);
    assert_int_equal(talk->last, SILO_UNAVAILABLE);
    assert_int_equal(talk->request.status, RPC_STATUS_OK);
    assert_int_equal(talk->came, 1);
}

static void test_the_server_goes(void **state)
{
    struct talk *talk = *state;
    begin(talk, count);
    while (rpc_channel_state(talk->channel) != RPC_CHANNEL_READY) {
        const struct timespec pause = {.tv_nsec = 1000000};
        (void)nanosleep(&pause, NULL);
    }
    talk->server = rpc_server_free(talk->server);
    await_done(talk);
    assert_int_not_equal(talk->request.status, RPC_STATUS_OK);
}

int main(void)
{
#define TALK(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        TALK(test_messages_go_both_ways), TALK(test_what_waits_is_bounded),
        TALK(test_cancelled_in_between),  TALK(test_ended_before_it_is_on_its_way),
        TALK(test_the_server_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
