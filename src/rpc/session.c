/*
 * rpc/session.c - nghttp2's callbacks on the server side, and the life of a server connection.
 *
 * Flow control is by consumption: bytes are given back to the window once they lie in the call's
 * memory (bounded by the server's in-flight limit). Bytes of a bidirectional call whose peer does
 * not read its answers are put aside, and given back to the stream's window, not to the
 * connection's, only when they are looked at. An answer that came before the request's end is
 * followed by RST_STREAM(NO_ERROR) as soon as its last frame left, so the client stops sending and
 * the connection stays good for other calls.
 *
 * Draining: a GOAWAY that names no last stream, and a ping; when the pong is back (or a second
 * passed) everything the client sent before it knew has arrived, and the real GOAWAY names the last
 * stream. The connection ends with it.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"
#include "rpc/server_int.h"
#include "rpc/tls_int.h"

static const uint8_t drain_ping[8] = "drain-1";

static struct rpc_call *session_call(nghttp2_session *session, int32_t stream_id)
{
    return nghttp2_session_get_stream_user_data(session, stream_id);
}

/* Too much of something: the connection ends, and what else it sent is not looked at. */
static void conn_calm(struct server_conn *conn, enum toll_kind kind)
{
    struct conn *base = &conn->conn;
    if (base->deaf) {
        return;
    }
    base->deaf = true;
    (void)nghttp2_session_terminate_session(base->session, NGHTTP2_ENHANCE_YOUR_CALM);
    conn_dirty(base);
    const uint32_t count = burst_add(&base->loop->calmed, loop_now_us(base->loop));
    if (count != 0) {
        log_warn("connections_calmed", LOG_STR("too_many", toll_name(kind)),
                 LOG_STR("last", base->peer), LOG_INT("connections", count), LOG_END);
    }
}

static void conn_toll(struct server_conn *conn, enum toll_kind kind)
{
    if (!toll_take(&conn->toll, kind, loop_now_us(conn->conn.loop))) {
        conn_calm(conn, kind);
    }
}

/* OpenSSL's, while it reads. */
static void on_tls_message(int is_sent, int version, int content_type, const void *message,
                           size_t len, SSL *ssl, void *context)
{
    (void)version;
    (void)ssl;
    if (tls_is_key_update(is_sent, content_type, message, len)) {
        conn_toll(context, TOLL_KEYS);
    }
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *user_data)
{
    (void)session;
    struct server_conn *conn = user_data;
    conn->conn.work += CONN_WORK_FRAME;
    switch (hd->type) {
    case NGHTTP2_HEADERS:
        break;
    case NGHTTP2_DATA:
        if (hd->length == 0 && (hd->flags & NGHTTP2_FLAG_END_STREAM) == 0) {
            conn_toll(conn, TOLL_EMPTY);
        }
        break;
    case NGHTTP2_SETTINGS:
        conn->conn.work += conn->call_count / SERVER_SETTINGS_SHARE;
        conn_toll(conn, TOLL_SETTINGS);
        break;
    case NGHTTP2_PING:
        conn_toll(conn, TOLL_PING);
        break;
    case NGHTTP2_RST_STREAM:
        conn_toll(conn, TOLL_RESET);
        break;
    case NGHTTP2_WINDOW_UPDATE:
        conn_toll(conn, TOLL_WINDOW);
        break;
    case NGHTTP2_PRIORITY:
        conn_toll(conn, TOLL_PRIORITY);
        break;
    default: /* numbers from outside */
        conn_toll(conn, TOLL_OTHER);
        break;
    }
    return 0;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct server_conn *conn = user_data;
    conn->conn.work += CONN_WORK_REQUEST;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        if (!weight_admits(conn)) {
            return nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                             NGHTTP2_REFUSED_STREAM) == 0
                       ? 0
                       : NGHTTP2_ERR_CALLBACK_FAILURE;
        }
        struct rpc_call *call = call_new(conn, frame->hd.stream_id);
        if (nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, call) != 0) {
            call_gone(call, RPC_CANCEL_RESET);
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        }
    }
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name,
                     nghttp2_rcbuf *value, uint8_t flags, void *user_data)
{
    (void)flags;
    struct server_conn *conn = user_data;
    struct rpc_call *call = session_call(session, frame->hd.stream_id);
    const nghttp2_vec n = nghttp2_rcbuf_get_buf(name);
    const nghttp2_vec v = nghttp2_rcbuf_get_buf(value);
    conn->conn.work += CONN_WORK_HEADER + (uint32_t)((n.len + v.len) / CONN_WORK_HEADER_BYTES);
    if (call != NULL) {
        const bool was_over = call->headers_over;
        const bool go_on = request_header(call, bytes_of(n.base, n.len), bytes_of(v.base, v.len));
        if (call->headers_over && !was_over) {
            conn_toll(conn, TOLL_HEADERS);
        }
        if (!go_on) {
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        }
    }
    conn->conn.paused = conn->conn.work >= CONN_WORK_TURN || conn->conn.deaf;
    return conn->conn.paused ? NGHTTP2_ERR_PAUSE : 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data,
                   size_t len, void *user_data)
{
    (void)flags;
    (void)user_data;
    struct rpc_call *call = session_call(session, stream_id);
    size_t aside = 0;
    if (call != NULL) {
        call->moved_us = loop_now_us(call->base.loop);
        aside = request_data(call, bytes_of(data, len));
    }
    const bool ok = nghttp2_session_consume_connection(session, len) == 0 &&
                    nghttp2_session_consume_stream(session, stream_id, len - aside) == 0;
    return ok ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static void conn_final_goaway(struct server_conn *conn)
{
    if (conn->draining && !conn->goaway_sent) {
        conn->goaway_sent = true;
        loop_timer_stop(conn->conn.loop, &conn->timer);
        nghttp2_session *session = conn->conn.session;
        (void)nghttp2_submit_goaway(session, NGHTTP2_FLAG_NONE,
                                    nghttp2_session_get_last_proc_stream_id(session),
                                    NGHTTP2_NO_ERROR, NULL, 0);
        conn_dirty(&conn->conn);
    }
}

static void on_stream_frame(nghttp2_session *session, const nghttp2_frame *frame)
{
    struct rpc_call *call = session_call(session, frame->hd.stream_id);
    if (call == NULL) {
        return;
    }
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        request_headers_done(call);
    }
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
        request_end(call);
    }
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct server_conn *conn = user_data;
    if (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) {
        on_stream_frame(session, frame);
    } else if (frame->hd.type == NGHTTP2_SETTINGS && !conn->settled) {
        conn->settled = true;
        patience_start(conn);
        if (!conn->draining) {
            loop_timer_stop(conn->conn.loop, &conn->timer);
        }
    } else if (frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0 &&
               memcmp(frame->ping.opaque_data, drain_ping, sizeof drain_ping) == 0) {
        conn_final_goaway(conn);
    }
    return 0;
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    if (frame->hd.type == NGHTTP2_RST_STREAM && frame->rst_stream.error_code != NGHTTP2_NO_ERROR) {
        conn_toll(user_data, TOLL_RESET); /* a stream's error is the peer's doing */
    }
    if (frame->hd.type != NGHTTP2_HEADERS || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) {
        return 0;
    }
    const struct rpc_call *call = session_call(session, frame->hd.stream_id);
    if (call != NULL && !call->request_end) {
        (void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                        NGHTTP2_NO_ERROR);
    }
    return 0;
}

static int on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *framehd,
                        size_t length, nghttp2_data_source *source, void *user_data)
{
    (void)session;
    (void)frame;
    struct server_conn *conn = user_data;
    struct rpc_call *call = source->ptr;
    const int rc = conn_put_data(&conn->conn, framehd, &call->queue, length);
    if (rc != 0) {
        return rc;
    }
    call->moved_us = loop_now_us(conn->conn.loop);
    room_update(call);
    toll_give(&conn->toll, TOLL_WINDOW, TOLL_WINDOW_PER_DATA);
    if (call->was_full && call_writable(call) && !list_linked(&call->writable)) {
        list_push_back(&conn->writable, &call->writable);
    }
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error_code,
                           void *user_data)
{
    (void)error_code;
    (void)user_data;
    struct rpc_call *call = session_call(session, stream_id);
    if (call != NULL) {
        call_gone(call, RPC_CANCEL_RESET);
    }
    return 0;
}

nghttp2_session_callbacks *session_callbacks_new(void)
{
    nghttp2_session_callbacks *callbacks = NULL;
    ASSERT(nghttp2_session_callbacks_new(&callbacks) == 0);
    nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback2(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, on_send_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    return callbacks;
}

/* --- the connection --- */

static void server_on_open(struct conn *base)
{
    struct server_conn *conn = CONTAINER_OF(base, struct server_conn, conn);
    const struct rpc_server_options *options = &conn->server->options;
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, options->streams_max},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, CONN_STREAM_WINDOW_BYTES},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)options->header_bytes_max},
    };
    const bool ok = nghttp2_submit_settings(base->session, NGHTTP2_FLAG_NONE, settings,
                                            sizeof settings / sizeof settings[0]) == 0 &&
                    nghttp2_session_set_local_window_size(base->session, NGHTTP2_FLAG_NONE, 0,
                                                          CONN_WINDOW_BYTES) == 0;
    if (!ok) {
        conn_break(base);
    }
}

/*
 * What a peer may ask for without reading (acknowledgements, resets) is bounded for each
 * connection, and there can be very many. So all together have a bound, too: beyond it those who
 * let more than a few wait are given up.
 */
static void conn_count_queued(struct server_conn *conn, uint64_t now)
{
    if (now == conn->queued_frames) {
        return;
    }
    const uint64_t more = now - conn->queued_frames; /* may go down: modulo 2^64 */
    const uint64_t before =
        atomic_fetch_add_explicit(&conn->server->queued_frames, more, memory_order_relaxed);
    conn->queued_frames = now;
    if (now > SERVER_QUEUED_FRAMES_FLOOR &&
        before + more > conn->server->options.queued_frames_max) {
        conn->conn.broken = true;
    }
}

static void server_on_closed(struct conn *base)
{
    struct server_conn *conn = CONTAINER_OF(base, struct server_conn, conn);
    loop_timer_stop(base->loop, &conn->timer);
    patience_stop(conn);
    const bool closing = atomic_load_explicit(&conn->server->closing, memory_order_relaxed);
    struct list_node *node;
    while ((node = list_first(&conn->calls)) != NULL) {
        call_gone(CONTAINER_OF(node, struct rpc_call, node),
                  closing ? RPC_CANCEL_SHUTDOWN : RPC_CANCEL_GONE);
    }
    while ((node = list_first(&conn->left)) != NULL) {
        call_disown(CONTAINER_OF(node, struct rpc_call, node));
    }
    room_leave_conn(conn);
    conn_count_queued(conn, 0);
    server_conn_gone(conn->server, base->loop, conn->peer);
    conn->peer = NULL;
}

static void server_on_free(struct conn *base)
{
    free(CONTAINER_OF(base, struct server_conn, conn));
}

static void server_on_flushed(struct conn *base)
{
    struct server_conn *conn = CONTAINER_OF(base, struct server_conn, conn);
    room_update_conn(conn);
    conn_count_queued(
        conn, base->waits_us != 0 ? nghttp2_session_get_outbound_queue_size(base->session) : 0);
    struct list_node *node;
    while ((node = list_pop_front(&conn->writable)) != NULL) {
        call_tell_writable(CONTAINER_OF(node, struct rpc_call, writable));
    }
}

static const struct conn_ops server_ops = {
    .on_open = server_on_open,
    .on_flushed = server_on_flushed,
    .on_closed = server_on_closed,
    .on_free = server_on_free,
};

struct server_conn *server_conn_of(struct conn *conn)
{
    return conn->ops == &server_ops ? CONTAINER_OF(conn, struct server_conn, conn) : NULL;
}

static void server_on_timer(struct rpc_timer *timer)
{
    struct server_conn *conn = CONTAINER_OF(timer, struct server_conn, timer);
    if (conn->draining) {
        conn_final_goaway(conn);
    } else {
        conn_break(&conn->conn);
    }
}

void server_conn_new(struct rpc_server *server, struct rpc_loop *loop, int fd, struct peer *peer,
                     const char *peer_text)
{
    struct server_conn *conn = xcalloc(1, sizeof *conn);
    conn->server = server;
    conn->peer = peer;
    conn->timer.fire = server_on_timer;
    list_init(&conn->calls);
    list_init(&conn->left);
    toll_init(&conn->toll, loop_now_us(loop));
    list_init(&conn->writable);
    conn->conn.queued_max = CONN_QUEUED_FRAMES_MAX;
    memcpy(conn->conn.peer, peer_text, sizeof conn->conn.peer);
    SSL *ssl = server->tls != NULL ? tls_accept_new(server->tls) : NULL;
    if (ssl != NULL) {
        SSL_set_msg_callback(ssl, on_tls_message);
        SSL_set_msg_callback_arg(ssl, conn);
    }
    const bool ok = (server->tls == NULL) == (ssl == NULL) &&
                    nghttp2_session_server_new2(&conn->conn.session, server->callbacks, conn,
                                                server->option) == 0;
    if (!ok || conn_init(&conn->conn, loop, &server_ops, fd, ssl, false, NULL).code != SILO_OK) {
        SSL_free(ssl);
        nghttp2_session_del(conn->conn.session);
        free(conn);
        (void)close(fd);
        server_conn_gone(server, loop, peer);
        return;
    }
    loop_timer_start(loop, &conn->timer, loop_now_us(loop) + SERVER_HANDSHAKE_US);
    if (atomic_load_explicit(&server->closing, memory_order_relaxed)) {
        conn_break(&conn->conn);
    } else if (atomic_load_explicit(&server->draining, memory_order_relaxed)) {
        server_conn_drain(conn);
    }
}

void server_conn_drain(struct server_conn *conn)
{
    if (conn->draining) {
        return;
    }
    conn->draining = true;
    if (!conn->conn.opened || !conn->settled) {
        conn_break(&conn->conn);
        return;
    }
    (void)nghttp2_submit_shutdown_notice(conn->conn.session);
    (void)nghttp2_submit_ping(conn->conn.session, NGHTTP2_FLAG_NONE, drain_ping);
    loop_timer_start(conn->conn.loop, &conn->timer,
                     loop_now_us(conn->conn.loop) + SERVER_GOAWAY_US);
    conn_dirty(&conn->conn);
}
