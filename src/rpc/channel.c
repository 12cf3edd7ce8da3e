/*
 * rpc/channel.c - a client channel: one connection at a time, made when a call needs it.
 *
 *     IDLE --call--> CONNECTING --SETTINGS--> READY --lost or GOAWAY--> IDLE
 *                        |
 *                        +--failed--> BACKOFF --timer--> IDLE
 *
 * Calls wait while CONNECTING and fail at once in BACKOFF (100 ms, doubling to 5 s, with jitter),
 * so a dead server costs its callers no time. Addresses come from getaddrinfo on libuv's pool; each
 * is tried in turn.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/env.h"
#include "rpc/accept_int.h"
#include "rpc/channel_int.h"
#include "rpc/tls_int.h"

struct channel_lookup {
    uv_getaddrinfo_t uv;
    struct rpc_channel *channel; /* NULL: left behind */
};

static void channel_connect(struct rpc_channel *channel);

static void channel_set_state(struct rpc_channel *channel, enum rpc_channel_state state)
{
    atomic_store_explicit(&channel->state, (int)state, memory_order_relaxed);
}

enum rpc_channel_state rpc_channel_state(const struct rpc_channel *channel)
{
    return (enum rpc_channel_state)atomic_load_explicit(&channel->state, memory_order_relaxed);
}

/* --- calls --- */

void channel_finish(struct rpc_request *request, uint32_t status, struct bytes text,
                    struct bytes reply)
{
    struct rpc_channel *channel = request->own.channel;
    struct client_stream *stream = request->own.stream;
    list_remove(&request->own.node);
    loop_timer_stop(channel->loop, &request->own.timer);
    request->own.stream = NULL;
    channel->calls--;
    request->status = status;
    request->text = text;
    request->reply = reply;
    if (stream == NULL) {
        request->on_done(request);
        return;
    }
    request->own.stream =
        stream; /* for rpc_request_trailer; the request may be gone after on_done */
    request->on_done(request);
    client_stream_leave(stream);
}

static void channel_fail(struct rpc_request *request, uint32_t status, const char *text)
{
    channel_finish(request, status, bytes_str(text), BYTES_NONE);
}

static void request_on_timer(struct rpc_timer *timer)
{
    struct rpc_request *request = CONTAINER_OF(timer, struct rpc_request, own.timer);
    if (request->own.stream != NULL) {
        client_stream_doubt(request->own.stream);
    }
    channel_fail(request, RPC_STATUS_DEADLINE_EXCEEDED, "deadline exceeded");
}

void channel_start(struct rpc_channel *channel, struct rpc_request *request)
{
    switch (rpc_channel_state(channel)) {
    case RPC_CHANNEL_READY:
        client_stream_start(channel, request);
        break;
    case RPC_CHANNEL_IDLE:
        list_push_back(&channel->waiting, &request->own.node);
        channel_connect(channel);
        break;
    case RPC_CHANNEL_CONNECTING:
        list_push_back(&channel->waiting, &request->own.node);
        break;
    case RPC_CHANNEL_BACKOFF:
        channel_fail(request, RPC_STATUS_UNAVAILABLE, channel->error);
        break;
    }
}

static void channel_run(struct rpc_mail *mail)
{
    struct rpc_request *request = CONTAINER_OF(mail, struct rpc_request, own.mail);
    struct rpc_channel *channel = request->own.channel;
    request->own.posted = false;
    channel->calls++;
    if (request->own.cancelled) {
        channel_fail(request, RPC_STATUS_CANCELLED, "cancelled");
    } else if (channel->calls > channel->options.calls_max) {
        channel_fail(request, RPC_STATUS_RESOURCE_EXHAUSTED, "too many calls on this channel");
    } else if (request->message.len > channel->options.message_bytes_max) {
        channel_fail(request, RPC_STATUS_OUT_OF_RANGE, "request message length too large");
    } else if (request->header_count > CHANNEL_HEADERS_MAX) {
        channel_fail(request, RPC_STATUS_INVALID_ARGUMENT, "too many headers");
    } else {
        if (request->own.deadline_us != 0) {
            loop_timer_start(channel->loop, &request->own.timer, request->own.deadline_us);
        }
        channel_start(channel, request);
    }
}

void rpc_channel_call(struct rpc_channel *channel, struct rpc_request *request)
{
    memset(&request->own, 0, sizeof request->own);
    request->own.channel = channel;
    request->own.mail.run = channel_run;
    request->own.timer.fire = request_on_timer;
    request->own.posted = true;
    request->own.deadline_us =
        request->timeout_us > 0 ? env_mono_us(&env_system) + request->timeout_us : 0;
    loop_post(channel->loop, &request->own.mail);
}

void rpc_channel_cancel(struct rpc_channel *channel, struct rpc_request *request)
{
    ASSERT(loop_is_here(channel->loop));
    if (request->own.posted) {
        request->own.cancelled = true;
    } else {
        channel_fail(request, RPC_STATUS_CANCELLED, "cancelled");
    }
}

struct bytes rpc_request_trailer(const struct rpc_request *request, const char *name)
{
    const struct client_stream *stream = request->own.stream;
    const struct bytes wanted = bytes_str(name);
    for (uint32_t i = 0; stream != NULL && i < stream->header_count; i++) {
        if (bytes_eq(stream->headers[i].name, wanted)) {
            return stream->headers[i].value;
        }
    }
    return BYTES_NONE;
}

/* --- connecting --- */

/* The waiting calls at this moment; those that on_done starts anew are not among them. */
static void channel_take_waiting(struct rpc_channel *channel, struct list *ret_list)
{
    struct list_node *node;
    list_init(ret_list);
    while ((node = list_pop_front(&channel->waiting)) != NULL) {
        list_push_back(ret_list, node);
    }
}

static void channel_fail_waiting(struct rpc_channel *channel, uint32_t status)
{
    struct list waiting;
    channel_take_waiting(channel, &waiting);
    struct list_node *node;
    while ((node = list_pop_front(&waiting)) != NULL) {
        channel_fail(CONTAINER_OF(node, struct rpc_request, own.node), status, channel->error);
    }
}

static void channel_back_off(struct rpc_channel *channel, const char *why)
{
    (void)snprintf(channel->error, sizeof channel->error, "cannot connect to %s:%u: %s",
                   channel->host, channel->port, why);
    channel->backoff_us =
        channel->backoff_us == 0 ? CHANNEL_BACKOFF_FIRST_US : channel->backoff_us * 2;
    if (channel->backoff_us > channel->options.backoff_us_max) {
        channel->backoff_us = channel->options.backoff_us_max;
    }
    uint32_t random = 0;
    env_random(&env_system, &random, sizeof random);
    const int64_t jitter =
        (int64_t)(random % 1000) * channel->backoff_us / 5000; /* up to a fifth */
    channel_set_state(channel, RPC_CHANNEL_BACKOFF);
    loop_timer_start(channel->loop, &channel->timer,
                     loop_now_us(channel->loop) + channel->backoff_us + jitter);
    channel_fail_waiting(channel, RPC_STATUS_UNAVAILABLE);
}

/* A socket on its way to the address; -1 with errno. */
static int channel_dial(const struct rpc_channel *channel, const struct addrinfo *address)
{
    const int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    const int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const unsigned silence_ms = (unsigned)(channel->options.user_timeout_us / 1000);
    if (silence_ms != 0) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence_ms, sizeof silence_ms);
    }
    if (connect(fd, address->ai_addr, address->ai_addrlen) == 0 || errno == EINPROGRESS) {
        return fd;
    }
    const int failed = errno;
    (void)close(fd);
    errno = failed;
    return -1;
}

static void channel_forget_addresses(struct rpc_channel *channel)
{
    uv_freeaddrinfo(channel->addresses);
    channel->addresses = channel->next_address = NULL;
}

void channel_ready(struct rpc_channel *channel)
{
    loop_timer_stop(channel->loop, &channel->timer);
    channel->backoff_us = 0;
    channel_forget_addresses(channel);
    channel_set_state(channel, RPC_CHANNEL_READY);
    struct list waiting;
    channel_take_waiting(channel, &waiting);
    struct list_node *node;
    while ((node = list_pop_front(&waiting)) != NULL) {
        client_stream_start(channel, CONTAINER_OF(node, struct rpc_request, own.node));
    }
}

/* Begins with the next address that takes a connect(2) at all. False when all were tried. */
static bool channel_dial_next(struct rpc_channel *channel, const char **ret_why)
{
    while (channel->next_address != NULL) {
        const struct addrinfo *address = channel->next_address;
        channel->next_address = address->ai_next;
        const int fd = channel_dial(channel, address);
        if (fd < 0) {
            *ret_why = strerror(errno);
        } else if (client_conn_new(channel, fd)) {
            return true;
        } else {
            *ret_why = "cannot set up the connection";
        }
    }
    return false;
}

void channel_lost(struct rpc_channel *channel, const char *why)
{
    channel->conn = NULL;
    if (rpc_channel_state(channel) == RPC_CHANNEL_CONNECTING) {
        if (!channel_dial_next(channel, &why)) {
            channel_forget_addresses(channel);
            channel_back_off(channel, why);
        }
        return;
    }
    channel_set_state(channel, RPC_CHANNEL_IDLE);
    if (!list_empty(&channel->waiting)) {
        channel_connect(channel);
    }
}

static void channel_on_timer(struct rpc_timer *timer)
{
    struct rpc_channel *channel = CONTAINER_OF(timer, struct rpc_channel, timer);
    if (rpc_channel_state(channel) == RPC_CHANNEL_BACKOFF) {
        channel_set_state(channel, RPC_CHANNEL_IDLE);
        return;
    }
    if (channel->lookup != NULL) {
        channel->lookup->channel = NULL;
        channel->lookup = NULL;
    }
    if (channel->conn != NULL) {
        conn_break(&channel->conn->conn);
        list_remove(&channel->conn->node);
        channel->conn->channel = NULL;
    }
    channel->next_address = NULL; /* no time for another one */
    channel_lost(channel, "timed out");
}

static void channel_on_lookup(uv_getaddrinfo_t *uv, int status, struct addrinfo *addresses)
{
    struct channel_lookup *lookup = CONTAINER_OF(uv, struct channel_lookup, uv);
    struct rpc_channel *channel = lookup->channel;
    free(lookup);
    if (channel == NULL) {
        uv_freeaddrinfo(addresses);
        return;
    }
    channel->lookup = NULL;
    if (status == 0) {
        channel->addresses = channel->next_address = addresses;
    }
    channel_lost(channel, status != 0 ? uv_strerror(status) : "no address");
}

static void channel_connect(struct rpc_channel *channel)
{
    char port[8];
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    channel_set_state(channel, RPC_CHANNEL_CONNECTING);
    loop_timer_start(channel->loop, &channel->timer,
                     loop_now_us(channel->loop) + channel->options.connect_timeout_us);
    (void)snprintf(port, sizeof port, "%u", channel->port);
    struct channel_lookup *lookup = xcalloc(1, sizeof *lookup);
    lookup->channel = channel;
    channel->lookup = lookup;
    if (uv_getaddrinfo(&channel->loop->uv, &lookup->uv, channel_on_lookup, channel->host, port,
                       &hints) != 0) {
        free(lookup);
        channel->lookup = NULL;
        channel_lost(channel, "cannot look up the name");
    }
}

/* --- making and taking down --- */

static const char *channel_copy(struct rpc_channel *channel, const char *text)
{
    return text != NULL ? arena_str(&channel->arena, bytes_str(text)) : NULL;
}

static void channel_take_options(struct rpc_channel *channel,
                                 const struct rpc_channel_options *from)
{
    struct rpc_channel_options *to = &channel->options;
    *to = *from;
    to->target = channel_copy(channel, from->target);
    to->tls_ca = channel_copy(channel, from->tls_ca);
    to->tls_cert = channel_copy(channel, from->tls_cert);
    to->tls_key = channel_copy(channel, from->tls_key);
    to->tls_name = channel_copy(channel, from->tls_name != NULL ? from->tls_name : channel->host);
    to->message_bytes_max =
        from->message_bytes_max != 0 ? from->message_bytes_max : RPC_MESSAGE_BYTES_DEFAULT;
    to->answer_bytes_max = from->answer_bytes_max != 0
                               ? from->answer_bytes_max
                               : CHANNEL_ANSWER_BYTES + 2 * to->message_bytes_max;
    to->calls_max = from->calls_max != 0 ? from->calls_max : CHANNEL_CALLS_DEFAULT;
    to->connect_timeout_us =
        from->connect_timeout_us != 0 ? from->connect_timeout_us : CHANNEL_CONNECT_US;
    to->backoff_us_max = from->backoff_us_max != 0 ? from->backoff_us_max : CHANNEL_BACKOFF_MAX_US;
    if (from->auth_token != NULL) {
        channel->auth = arena_printf(&channel->arena, "Bearer %s", from->auth_token);
    }
    to->auth_token = NULL; /* kept once */
}

static SILO_RC channel_setup(struct rpc_channel *channel, const struct rpc_channel_options *options,
                             struct silo_err *err)
{
    TRY(address_split(options->target, channel->host, sizeof channel->host, &channel->port, err));
    if (options->message_bytes_max > UINT32_MAX) {
        return FAIL(err, SILO_INVALID, "a message limit must fit in 32 bits");
    }
    if (options->auth_token != NULL && !rpc_header_text_ok(bytes_str(options->auth_token))) {
        return FAIL(err, SILO_INVALID, "the auth token is not printable ASCII");
    }
    channel_take_options(channel, options);
    if (options->tls) {
        TRY(tls_client_new(options->tls_ca, options->tls_cert, options->tls_key, &channel->tls,
                           err));
    }
    return RC_OK;
}

static void channel_release(struct rpc_channel *channel)
{
    SSL_CTX_free(channel->tls);
    nghttp2_session_callbacks_del(channel->callbacks);
    nghttp2_option_del(channel->option);
    arena_deinit(&channel->arena);
    free(channel);
}

SILO_RC rpc_channel_new(struct rpc_loop *loop, const struct rpc_channel_options *options,
                        struct rpc_channel **ret_channel, struct silo_err *err)
{
    struct rpc_channel *channel = xcalloc(1, sizeof *channel);
    arena_init(&channel->arena);
    channel->loop = loop;
    channel->timer.fire = channel_on_timer;
    list_init(&channel->waiting);
    list_init(&channel->conns);
    list_init(&channel->free_streams);
    atomic_init(&channel->state, RPC_CHANNEL_IDLE);
    channel->callbacks = client_callbacks_new();
    channel->option = conn_options_new();
    const silo_rc rc = channel_setup(channel, options, err);
    if (rc.code != SILO_OK) {
        channel_release(channel);
        return rc;
    }
    *ret_channel = channel;
    return RC_OK;
}

void channel_teardown(struct rpc_channel *channel)
{
    loop_timer_stop(channel->loop, &channel->timer);
    if (channel->lookup != NULL) {
        channel->lookup->channel = NULL;
        (void)uv_cancel((uv_req_t *)&channel->lookup->uv);
    }
    (void)snprintf(channel->error, sizeof channel->error, "the channel was closed");
    channel_set_state(channel, RPC_CHANNEL_BACKOFF); /* a call started by an on_done fails */
    struct list_node *node;
    while ((node = list_pop_front(&channel->conns)) != NULL) {
        struct client_conn *conn = CONTAINER_OF(node, struct client_conn, node);
        for (struct list_node *at = list_first(&conn->streams); at != NULL;
             at = list_next(&conn->streams, at)) {
            struct client_stream *stream = CONTAINER_OF(at, struct client_stream, node);
            if (stream->request != NULL) {
                channel_fail(stream->request, RPC_STATUS_CANCELLED, channel->error);
            }
        }
        conn->channel = NULL;
        conn_break(&conn->conn);
    }
    channel_fail_waiting(channel, RPC_STATUS_CANCELLED);
    ASSERT(channel->calls == 0);
    client_streams_free_kept(channel);
    channel_forget_addresses(channel);
    channel_release(channel);
}
