/*
 * rpc/channel_conn.c - the client's side of a connection: requests out, answers in.
 *
 * A stream belongs to its connection and points at its request while the call runs. The call is
 * over when END_STREAM came, when it was given up (deadline, cancel), or when the stream or
 * connection broke; the stream itself is freed when nghttp2 closes it. A stream the server refused
 * without looking at it (REFUSED_STREAM, after a GOAWAY) starts again once on the next connection.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "rpc/channel_int.h"
#include "rpc/text_int.h"
#include "rpc/tls_int.h"

#define CLIENT_NV_MAX (CHANNEL_HEADERS_MAX + 9u)

static struct client_stream *stream_of(nghttp2_session *session, int32_t id)
{
    return nghttp2_session_get_stream_user_data(session, id);
}

static void stream_uncount(struct client_stream *stream)
{
    if (stream->conn->channel != NULL) {
        stream->conn->channel->answer_bytes -= stream->counted_bytes;
    }
    stream->counted_bytes = 0;
}

static void stream_free(struct client_stream *stream)
{
    struct rpc_channel *channel = stream->conn->channel;
    ASSERT(stream->request == NULL);
    list_remove(&stream->node);
    stream_uncount(stream);
    frame_queue_clear(&stream->queue);
    frame_reader_deinit(&stream->reader);
    if (channel == NULL || channel->free_stream_count >= CHANNEL_STREAMS_KEPT) {
        arena_deinit(&stream->arena);
        free(stream);
        return;
    }
    arena_reset(&stream->arena);
    list_push_front(&channel->free_streams, &stream->node);
    channel->free_stream_count++;
}

void client_streams_free_kept(struct rpc_channel *channel)
{
    struct list_node *node;
    while ((node = list_pop_front(&channel->free_streams)) != NULL) {
        struct client_stream *stream = CONTAINER_OF(node, struct client_stream, node);
        arena_deinit(&stream->arena);
        free(stream);
    }
}

void client_stream_leave(struct client_stream *stream)
{
    stream->request = NULL;
    frame_queue_clear(
        &stream->queue); /* the message was lent until on_done, and so was the answer */
    frame_reader_deinit(&stream->reader);
    arena_reset(&stream->arena);
    stream_uncount(stream);
    nghttp2_session *session = stream->conn->conn.session;
    if (stream->closed || stream->id == 0 || stream->conn->conn.closed) {
        return;
    }
    const bool ended =
        stream->remote_end && nghttp2_session_get_stream_local_close(session, stream->id) == 1;
    if (!ended) {
        (void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream->id, NGHTTP2_CANCEL);
        conn_dirty(&stream->conn->conn);
    }
}

/* --- what the answer was --- */

static uint32_t status_of_http(uint32_t http)
{
    switch (http) {
    case 400:
        return RPC_STATUS_INTERNAL;
    case 401:
        return RPC_STATUS_UNAUTHENTICATED;
    case 403:
        return RPC_STATUS_PERMISSION_DENIED;
    case 404:
        return RPC_STATUS_UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504:
        return RPC_STATUS_UNAVAILABLE;
    default: /* a number from outside */
        return RPC_STATUS_UNKNOWN;
    }
}

static uint32_t status_of_reset(uint32_t error_code)
{
    switch (error_code) {
    case NGHTTP2_REFUSED_STREAM:
        return RPC_STATUS_UNAVAILABLE;
    case NGHTTP2_CANCEL:
        return RPC_STATUS_CANCELLED;
    case NGHTTP2_ENHANCE_YOUR_CALM:
        return RPC_STATUS_RESOURCE_EXHAUSTED;
    default: /* a number from outside */
        return RPC_STATUS_INTERNAL;
    }
}

/* The stream ended; without grpc-status the reset code, or HTTP, says how. */
static void stream_finish(struct client_stream *stream, uint32_t error_code)
{
    struct rpc_request *request = stream->request;
    const bool unary = request->on_message == NULL;
    if (stream->refused) {
        channel_finish(request, stream->status, stream->text, BYTES_NONE);
    } else if (stream->has_status && stream->status == RPC_STATUS_OK && unary &&
               stream->messages == 0) {
        channel_finish(request, RPC_STATUS_INTERNAL, BYTES_LIT("the answer has no message"),
                       BYTES_NONE);
    } else if (stream->has_status) {
        const bool ok = stream->status == RPC_STATUS_OK && unary;
        channel_finish(request, stream->status, stream->text,
                       ok ? frame_message(&stream->reader) : BYTES_NONE);
    } else if (error_code == NGHTTP2_NO_ERROR) {
        channel_finish(request, status_of_http(stream->http_status),
                       bytes_str(arena_printf(&stream->arena, "no grpc-status; HTTP status %u",
                                              stream->http_status)),
                       BYTES_NONE);
    } else {
        channel_finish(request, status_of_reset(error_code),
                       bytes_str(arena_printf(&stream->arena, "RST_STREAM with error %s",
                                              nghttp2_http2_strerror(error_code))),
                       BYTES_NONE);
    }
}

/* The answer is unreadable: our verdict replaces the server's. */
static void stream_refuse(struct client_stream *stream, uint32_t status, const char *text)
{
    stream->refused = true;
    stream->status = status;
    stream->text = bytes_str(text);
    stream_finish(stream, NGHTTP2_NO_ERROR);
}

/*
 * A server can say much in few bytes (header compression) and leave answers unfinished: what all of
 * them hold together has a bound. The call whose answer reaches it is given up.
 */
static void stream_count(struct client_stream *stream)
{
    struct rpc_channel *channel = stream->conn->channel;
    if (channel == NULL || stream->request == NULL) {
        return;
    }
    const size_t now = stream->arena.bytes + stream->reader.cap;
    channel->answer_bytes += now - stream->counted_bytes; /* may go down: modulo 2^64 */
    stream->counted_bytes = now;
    if (channel->answer_bytes > channel->options.answer_bytes_max) {
        stream_refuse(stream, RPC_STATUS_RESOURCE_EXHAUSTED,
                      "too many bytes of unfinished answers on this channel");
    }
}

static uint32_t http_status_parse(struct bytes value)
{
    uint32_t status = 0;
    for (size_t i = 0; i < value.len && i < 3; i++) {
        status = status * 10 + (uint32_t)(value.ptr[i] - '0');
    }
    return status;
}

static void stream_keep_header(struct client_stream *stream, struct bytes name, struct bytes value)
{
    if (stream->header_count == stream->header_cap) {
        const uint32_t cap = stream->header_cap != 0 ? stream->header_cap * 2 : 8;
        struct rpc_header *grown = arena_alloc(&stream->arena, cap * sizeof *grown);
        if (stream->header_count != 0) {
            memcpy(grown, stream->headers, stream->header_count * sizeof *grown);
        }
        stream->headers = grown;
        stream->header_cap = cap;
    }
    stream->headers[stream->header_count++] =
        (struct rpc_header){arena_copy(&stream->arena, name), arena_copy(&stream->arena, value)};
}

static void stream_header(struct client_stream *stream, struct bytes name, struct bytes value)
{
    stream->header_bytes += name.len + value.len + 32;
    if (stream->header_bytes > CHANNEL_HEADER_BYTES_MAX) {
        stream_refuse(stream, RPC_STATUS_RESOURCE_EXHAUSTED, "the answer's headers are too large");
    } else if (bytes_eq(name, BYTES_LIT(":status"))) {
        stream->http_status = http_status_parse(value);
    } else if (bytes_eq(name, BYTES_LIT("grpc-status"))) {
        stream->has_status = true;
        stream->status = status_parse(value);
    } else if (bytes_eq(name, BYTES_LIT("grpc-message"))) {
        stream->text = text_decode(&stream->arena, value);
    } else if (!bytes_eq(name, BYTES_LIT("content-type"))) {
        stream_keep_header(stream, name, value);
    }
}

static void stream_data(struct client_stream *stream, struct bytes data)
{
    while (data.len != 0 && stream->request != NULL) {
        struct rpc_request *request = stream->request;
        if (request->on_message == NULL && stream->messages != 0) {
            stream_refuse(stream, RPC_STATUS_INTERNAL, "more than one message in a unary answer");
            return;
        }
        switch (frame_read(&stream->reader, &data)) {
        case FRAME_MORE:
            return;
        case FRAME_DONE:
            stream->messages++;
            if (request->on_message != NULL) {
                request->on_message(request, frame_message(&stream->reader));
                if (stream->request != NULL) {
                    frame_next(&stream->reader);
                }
            }
            break;
        case FRAME_TOO_LARGE:
            stream_refuse(stream, RPC_STATUS_OUT_OF_RANGE, "reply message length too large");
            return;
        case FRAME_COMPRESSED:
            stream_refuse(stream, RPC_STATUS_INTERNAL, "compressed messages are not supported");
            return;
        case FRAME_BAD:
            stream_refuse(stream, RPC_STATUS_INTERNAL, "malformed message frame");
            return;
        }
    }
}

/* --- nghttp2's callbacks --- */

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name,
                     nghttp2_rcbuf *value, uint8_t flags, void *user_data)
{
    (void)flags;
    (void)user_data;
    struct client_stream *stream = stream_of(session, frame->hd.stream_id);
    if (stream != NULL && stream->request != NULL) {
        const nghttp2_vec n = nghttp2_rcbuf_get_buf(name);
        const nghttp2_vec v = nghttp2_rcbuf_get_buf(value);
        stream_header(stream, bytes_of(n.base, n.len), bytes_of(v.base, v.len));
        stream_count(stream);
    }
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data,
                   size_t len, void *user_data)
{
    (void)flags;
    (void)user_data;
    struct client_stream *stream = stream_of(session, stream_id);
    if (stream != NULL && stream->request != NULL) {
        stream_data(stream, bytes_of(data, len));
        stream_count(stream);
    }
    return nghttp2_session_consume(session, stream_id, len) == 0 ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

/* No new calls here; those that run go on. */
static void client_going(struct client_conn *conn)
{
    struct rpc_channel *channel = conn->channel;
    if (channel != NULL && channel->conn == conn) {
        channel_lost(channel, "the server is going away");
    }
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct client_conn *conn = user_data;
    if (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) {
        struct client_stream *stream = stream_of(session, frame->hd.stream_id);
        if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 && stream != NULL) {
            stream->remote_end = true;
            if (stream->request != NULL) {
                stream_finish(stream, NGHTTP2_NO_ERROR);
            }
        }
    } else if (frame->hd.type == NGHTTP2_SETTINGS && !conn->settled) {
        conn->settled = true;
        if (conn->channel != NULL && conn->channel->conn == conn) {
            channel_ready(conn->channel);
        }
    } else if (frame->hd.type == NGHTTP2_GOAWAY) {
        client_going(conn);
    }
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error_code,
                           void *user_data)
{
    struct client_conn *conn = user_data;
    struct client_stream *stream = stream_of(session, stream_id);
    if (stream == NULL) {
        return 0;
    }
    stream->closed = true;
    struct rpc_request *request = stream->request;
    if (request != NULL && error_code == NGHTTP2_REFUSED_STREAM && !request->own.retried &&
        !request->own.sent_more && conn->channel != NULL) {
        request->own.retried = true;
        request->own.stream = NULL;
        client_stream_leave(stream);
        channel_start(conn->channel, request);
    } else if (request != NULL) {
        stream_finish(stream, error_code);
    }
    stream_free(stream);
    return 0;
}

static int on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *framehd,
                        size_t length, nghttp2_data_source *source, void *user_data)
{
    (void)session;
    (void)frame;
    struct client_conn *conn = user_data;
    struct client_stream *stream = source->ptr;
    return conn_put_data(&conn->conn, framehd, &stream->queue, length);
}

nghttp2_session_callbacks *client_callbacks_new(void)
{
    nghttp2_session_callbacks *callbacks = NULL;
    ASSERT(nghttp2_session_callbacks_new(&callbacks) == 0);
    nghttp2_session_callbacks_set_on_header_callback2(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, on_send_data);
    return callbacks;
}

/* --- requests --- */

static ssize_t stream_read(nghttp2_session *session, int32_t stream_id, uint8_t *buf, size_t length,
                           uint32_t *data_flags, nghttp2_data_source *source, void *user_data)
{
    (void)session;
    (void)stream_id;
    (void)buf;
    (void)user_data;
    struct client_stream *stream = source->ptr;
    if (stream->request == NULL) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* a reset is on its way */
    }
    const size_t n = stream->queue.bytes < length ? stream->queue.bytes : length;
    if (n == 0 && stream->goes_on) {
        return NGHTTP2_ERR_DEFERRED; /* until something is sent, or it ends */
    }
    *data_flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (n == stream->queue.bytes && !stream->goes_on) {
        *data_flags |= NGHTTP2_DATA_FLAG_EOF;
    }
    return (ssize_t)n;
}

static nghttp2_nv nv_of(struct bytes name, struct bytes value)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name.ptr, (uint8_t *)(uintptr_t)value.ptr, name.len,
                        value.len, NGHTTP2_NV_FLAG_NONE};
}

static size_t request_nv(const struct rpc_channel *channel, const struct rpc_request *request,
                         struct client_stream *stream, nghttp2_nv nv[CLIENT_NV_MAX])
{
    size_t n = 0;
    nv[n++] = nv_of(BYTES_LIT(":method"), BYTES_LIT("POST"));
    nv[n++] =
        nv_of(BYTES_LIT(":scheme"), channel->tls != NULL ? BYTES_LIT("https") : BYTES_LIT("http"));
    nv[n++] = nv_of(BYTES_LIT(":path"), bytes_str(request->path));
    nv[n++] = nv_of(BYTES_LIT(":authority"), bytes_str(channel->options.target));
    nv[n++] = nv_of(BYTES_LIT("te"), BYTES_LIT("trailers"));
    nv[n++] = nv_of(BYTES_LIT("content-type"), BYTES_LIT("application/grpc"));
    nv[n++] = nv_of(BYTES_LIT("user-agent"), BYTES_LIT("grpc-c-silo"));
    if (request->own.deadline_us != 0) {
        const int64_t left = request->own.deadline_us - loop_now_us(channel->loop);
        nv[n++] = nv_of(BYTES_LIT("grpc-timeout"), timeout_print(&stream->arena, left));
    }
    if (channel->auth != NULL) {
        nv[n] = nv_of(BYTES_LIT("authorization"), bytes_str(channel->auth));
        nv[n++].flags = NGHTTP2_NV_FLAG_NO_INDEX;
    }
    for (size_t i = 0; i < request->header_count; i++) {
        nv[n++] = nv_of(request->headers[i].name, request->headers[i].value);
    }
    return n;
}

static struct client_stream *stream_new(struct rpc_channel *channel, struct rpc_request *request)
{
    struct arena arena = {0};
    struct client_stream *stream =
        LIST_ENTRY(list_pop_front(&channel->free_streams), struct client_stream, node);
    if (stream != NULL) {
        channel->free_stream_count--;
        arena = stream->arena;
    } else {
        stream = xmalloc(sizeof *stream);
    }
    *stream = (struct client_stream){
        .conn = channel->conn, .request = request, .arena = arena, .goes_on = request->goes_on};
    frame_reader_init(&stream->reader, channel->options.message_bytes_max,
                      request->on_message == NULL ? &stream->arena : NULL);
    list_push_back(&channel->conn->streams, &stream->node);
    request->own.stream = stream;
    return stream;
}

void client_stream_start(struct rpc_channel *channel, struct rpc_request *request)
{
    struct client_stream *stream = stream_new(channel, request);
    const struct rpc_piece message = {.bytes = request->message};
    frame_queue_push(&stream->queue, &stream->arena, &message, 1, false);
    nghttp2_nv nv[CLIENT_NV_MAX];
    const size_t count = request_nv(channel, request, stream, nv);
    const nghttp2_data_provider provider = {.source.ptr = stream, .read_callback = stream_read};
    nghttp2_session *session = channel->conn->conn.session;
    stream->id = nghttp2_submit_request(session, NULL, nv, count, &provider, stream);
    conn_dirty(&channel->conn->conn);
    if (stream->id < 0) { /* stream ids are used up, or a header is not legal */
        stream->id = 0;
        channel_finish(request, RPC_STATUS_UNAVAILABLE,
                       BYTES_LIT("cannot start a call on this connection"), BYTES_NONE);
        stream_free(stream);
    }
}

/* --- the connection --- */

void client_stream_doubt(struct client_stream *stream)
{
    static const uint8_t payload[8] = "there-1";
    struct client_conn *conn = stream->conn;
    struct conn *base = &conn->conn;
    const int64_t now_us = loop_now_us(base->loop);
    if (conn->ping_us == 0 || base->read_us > conn->ping_us) {
        conn->ping_us = now_us;
        (void)nghttp2_submit_ping(base->session, NGHTTP2_FLAG_NONE, payload);
        conn_dirty(base);
    } else if (now_us - conn->ping_us >= CHANNEL_SILENCE_US) {
        conn_break(base);
    }
}

static void client_on_open(struct conn *base)
{
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, CONN_STREAM_WINDOW_BYTES},
    };
    const bool ok = nghttp2_submit_settings(base->session, NGHTTP2_FLAG_NONE, settings,
                                            sizeof settings / sizeof settings[0]) == 0 &&
                    nghttp2_session_set_local_window_size(base->session, NGHTTP2_FLAG_NONE, 0,
                                                          CONN_WINDOW_BYTES) == 0;
    if (!ok) {
        conn_break(base);
    }
}

static const char *client_closed_why(const struct conn *base)
{
    if (base->error != 0) {
        return strerror(base->error);
    }
    return base->why != NULL ? base->why : "the connection was closed";
}

static void client_on_closed(struct conn *base)
{
    struct client_conn *conn = CONTAINER_OF(base, struct client_conn, conn);
    struct rpc_channel *channel = conn->channel;
    list_remove(&conn->node);
    if (channel != NULL && channel->conn == conn) {
        channel_lost(channel, client_closed_why(base));
    }
    struct list_node *node;
    while ((node = list_first(&conn->streams)) != NULL) {
        struct client_stream *stream = CONTAINER_OF(node, struct client_stream, node);
        if (stream->request != NULL) {
            channel_finish(stream->request, RPC_STATUS_UNAVAILABLE, BYTES_LIT("connection lost"),
                           BYTES_NONE);
        }
        stream_free(stream);
    }
}

static void client_on_free(struct conn *base)
{
    free(CONTAINER_OF(base, struct client_conn, conn));
}

static void client_on_flushed(struct conn *base)
{
    (void)base;
}

static const struct conn_ops client_ops = {
    .on_open = client_on_open,
    .on_flushed = client_on_flushed,
    .on_closed = client_on_closed,
    .on_free = client_on_free,
};

bool client_conn_new(struct rpc_channel *channel, int fd)
{
    struct client_conn *conn = xcalloc(1, sizeof *conn);
    conn->channel = channel;
    list_init(&conn->streams);
    SSL *ssl =
        channel->tls != NULL ? tls_connect_new(channel->tls, channel->options.tls_name) : NULL;
    const bool ok = (channel->tls == NULL) == (ssl == NULL) &&
                    nghttp2_session_client_new2(&conn->conn.session, channel->callbacks, conn,
                                                channel->option) == 0;
    if (!ok ||
        conn_init(&conn->conn, channel->loop, &client_ops, fd, ssl, true, NULL).code != SILO_OK) {
        SSL_free(ssl);
        nghttp2_session_del(conn->conn.session);
        free(conn);
        (void)close(fd);
        return false;
    }
    channel->conn = conn;
    list_push_back(&channel->conns, &conn->node);
    return true;
}
