/*
 * rpc/conn.c - reading, and the one write at the end of a turn.
 *
 * 1. nghttp2_session_mem_send is called from conn_flush only, never inside a callback. That is at
 *    the end of a turn, or when a read has left many frames to send.
 * 2. Frames are collected in the loop's buffer and written when it is full or nothing is left. What
 *    the socket refuses moves to `pending`, and nothing more is drained until that is gone.
 * 3. Reading does not stop because output waits (a peer that is itself blocked on its output would
 *    wait for ever), up to the frames that may wait for a peer.
 * 4. Reading stops where the work of a turn is used up, between slices of bytes or between two
 *    headers. What was read and is left, and a header block that nghttp2 stopped in, are for the
 *    next turn: conn_flush goes on with them by itself, since no event may come for them.
 * 5. `broken` is set anywhere; teardown happens in conn_flush alone.
 */
#include "rpc/conn_int.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"

#define CONN_FRAME_HEADER_BYTES 9u

static void conn_on_poll(uv_poll_t *handle, int status, int events);

static void conn_watch(struct conn *conn)
{
    const int reads = conn->connecting ? 0 : UV_READABLE;
    const int events = reads | (conn->want_write || conn->connecting ? UV_WRITABLE : 0);
    if (events != conn->events) {
        conn->events = events;
        if (uv_poll_start(&conn->poll, events, conn_on_poll) != 0) {
            conn_break(conn);
        }
    }
}

SILO_RC conn_init(struct conn *conn, struct rpc_loop *loop, const struct conn_ops *ops, int fd,
                  SSL *ssl, bool connecting, struct silo_err *err)
{
    conn->loop = loop;
    conn->ops = ops;
    conn->fd = fd;
    conn->ssl = ssl;
    conn->connecting = connecting;
    if (uv_poll_init(&loop->uv, &conn->poll, fd) != 0) {
        return FAIL(err, SILO_UNAVAILABLE, "cannot watch a socket");
    }
    conn->poll.data = conn;
    if (ssl != NULL && SSL_set_fd(ssl, fd) != 1) {
        conn->broken = true;
    }
    buf_init(&conn->pending, LOOP_OUT_BYTES_MAX);
    buf_init(&conn->unread, LOOP_READ_BYTES);
    list_push_back(&loop->conns, &conn->node);
    conn_watch(conn);
    conn_dirty(conn);
    return RC_OK;
}

void conn_dirty(struct conn *conn)
{
    if (!conn->flushing && !conn->closed && !list_linked(&conn->dirty)) {
        list_push_back(&conn->loop->dirty, &conn->dirty);
    }
}

void conn_break(struct conn *conn)
{
    conn->broken = true;
    conn_dirty(conn);
}

static void conn_on_uv_closed(uv_handle_t *handle)
{
    struct conn *conn = handle->data;
    conn->ops->on_free(conn);
}

static void conn_drop_unread(struct conn *conn)
{
    conn->loop->unread_bytes -= conn->unread.len;
    buf_deinit(&conn->unread);
    buf_init(&conn->unread, LOOP_READ_BYTES);
    conn->unread_at = 0;
}

static void conn_teardown(struct conn *conn)
{
    ASSERT(!conn->closed);
    conn->closed = true;
    list_remove(&conn->node);
    list_remove(&conn->dirty);
    (void)uv_poll_stop(&conn->poll);
    if (conn->ssl != NULL) {
        if (conn->opened && !SSL_in_init(conn->ssl)) {
            (void)SSL_shutdown(conn->ssl);
        }
        SSL_free(conn->ssl);
        ERR_clear_error();
    }
    conn->ops->on_closed(conn);
    nghttp2_session_del(conn->session);
    conn->session = NULL;
    buf_deinit(&conn->pending);
    conn_drop_unread(conn);
    (void)close(conn->fd);
    uv_close((uv_handle_t *)&conn->poll, conn_on_uv_closed);
}

/* Bytes read or written; 0 = would block; -1 = over (end of stream or an error). */
static ssize_t conn_tls_result(struct conn *conn, int n)
{
    if (n > 0) {
        return n;
    }
    switch (SSL_get_error(conn->ssl, n)) {
    case SSL_ERROR_WANT_READ:
        return 0;
    case SSL_ERROR_WANT_WRITE:
        conn->want_write = true;
        return 0;
    default: /* OpenSSL's own numbers */
        ERR_clear_error();
        return -1;
    }
}

static ssize_t conn_recv(struct conn *conn, uint8_t *to, size_t size)
{
    if (conn->ssl != NULL) {
        ERR_clear_error();
        return conn_tls_result(conn, SSL_read(conn->ssl, to, (int)size));
    }
    const ssize_t n = recv(conn->fd, to, size, 0);
    if (n > 0) {
        return n;
    }
    return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

static ssize_t conn_send(struct conn *conn, const uint8_t *from, size_t size)
{
    if (conn->ssl != NULL) {
        ERR_clear_error();
        return conn_tls_result(conn, SSL_write(conn->ssl, from, (int)size));
    }
    const ssize_t n = send(conn->fd, from, size, MSG_NOSIGNAL);
    if (n >= 0) {
        return n;
    }
    return errno == EAGAIN || errno == EINTR ? 0 : -1;
}

/*
 * What came may ask for more frames than the peer takes (resets, acknowledgements). While they can
 * still leave, this turn takes no more; when the socket is full the peer reads nothing. False: it
 * is given up.
 */
static bool conn_queue_ok(struct conn *conn)
{
    if (conn->queued_max == 0 ||
        nghttp2_session_get_outbound_queue_size(conn->session) <= conn->queued_max) {
        return true;
    }
    conn->work = CONN_WORK_TURN;
    return conn->waits_us == 0;
}

/*
 * Gives bytes to the session while there is work left in this turn; how many it took, -1 when the
 * connection is over.
 */
static ssize_t conn_feed(struct conn *conn, struct bytes in)
{
    size_t at = 0;
    while ((at < in.len || conn->paused) && !conn->deaf && conn->work < CONN_WORK_TURN) {
        conn->paused = false; /* a callback may set it again */
        const size_t left = in.len - at;
        const size_t slice = left < CONN_SLICE_BYTES ? left : CONN_SLICE_BYTES;
        const ssize_t n = nghttp2_session_mem_recv(conn->session, in.ptr + at, slice);
        if (n < 0 || !conn_queue_ok(conn)) {
            return -1;
        }
        at += (size_t)n;
        conn->work += (uint32_t)n / CONN_WORK_BYTES + 1;
    }
    if (conn->deaf) {
        conn->paused = false;
        return (ssize_t)in.len;
    }
    return (ssize_t)at;
}

/* Bytes just read: the session's, as far as this turn goes, and else the next turn's. */
static void conn_take(struct conn *conn, struct bytes in)
{
    size_t at = 0;
    while (at < in.len) {
        const ssize_t n = conn_feed(conn, bytes_of(in.ptr + at, in.len - at));
        if (n < 0) {
            conn->broken = true;
            return;
        }
        at += (size_t)n;
        const size_t rest = in.len - at;
        if (rest != 0 && conn->loop->unread_bytes + rest <= LOOP_UNREAD_BYTES_MAX) {
            buf_append(&conn->unread, in.ptr + at, rest);
            conn->loop->unread_bytes += rest;
            return;
        }
        if (rest != 0) {
            conn->work = 0; /* too many connections have left something: finish this */
        }
    }
}

/* True when nothing is left of earlier turns. */
static bool conn_take_unread(struct conn *conn)
{
    if (conn->unread.len == 0 && !conn->paused) {
        return true;
    }
    const uint8_t *from = conn->unread.len != 0 ? conn->unread.ptr : conn->loop->read_buf;
    const ssize_t n =
        conn_feed(conn, bytes_of(from + conn->unread_at, conn->unread.len - conn->unread_at));
    if (n < 0) {
        conn->broken = true;
        return false;
    }
    conn->unread_at += (size_t)n;
    if (conn->unread_at < conn->unread.len || conn->paused) {
        return false;
    }
    conn_drop_unread(conn);
    return true;
}

static void conn_read(struct conn *conn)
{
    size_t total = 0;
    conn->read_more = false;
    conn->work = 0;
    while (!conn->broken && conn_take_unread(conn)) {
        if (total >= CONN_READ_TURN_BYTES || conn->work >= CONN_WORK_TURN) {
            /* The socket reports again by itself; bytes inside TLS do not. */
            conn->read_more = conn->ssl != NULL && SSL_has_pending(conn->ssl) != 0;
            break;
        }
        const ssize_t n = conn_recv(conn, conn->loop->read_buf, LOOP_READ_BYTES);
        if (n == 0) {
            break;
        }
        if (n < 0) {
            conn->broken = true;
            break;
        }
        conn->read_us = loop_now_us(conn->loop);
        conn->loop->counted.bytes_received += (uint64_t)n;
        conn_take(conn, bytes_of(conn->loop->read_buf, (size_t)n));
        total += (size_t)n;
        if (conn->ssl == NULL && (size_t)n < LOOP_READ_BYTES) {
            break;
        }
    }
    conn->read_more = conn->read_more || conn->unread.len != 0 || conn->paused;
    conn_dirty(conn);
}

static bool conn_alpn_is_h2(const SSL *ssl)
{
    const unsigned char *name = NULL;
    unsigned len = 0;
    SSL_get0_alpn_selected(ssl, &name, &len);
    return len == 2 && name[0] == 'h' && name[1] == '2';
}

static void conn_connected(struct conn *conn)
{
    int failed = 0;
    socklen_t len = sizeof failed;
    if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &failed, &len) != 0 || failed != 0) {
        conn->error = failed;
        conn_break(conn);
    }
    conn->connecting = false;
}

/*
 * Of a server: one line for a burst. Who connects and leaves, as health checks do, is no failure.
 */
static void conn_handshake_failed(struct conn *conn)
{
    if (conn->why == NULL || SSL_is_server(conn->ssl) == 0) {
        return;
    }
    const uint32_t count = burst_add(&conn->loop->refused, loop_now_us(conn->loop));
    if (count != 0) {
        log_warn("tls_refused", LOG_STR("reason", conn->why), LOG_STR("last", conn->peer),
                 LOG_INT("connections", count), LOG_END);
    }
}

/* Gets a new connection to the point where HTTP/2 can talk. */
static void conn_handshake(struct conn *conn)
{
    if (conn->ssl != NULL) {
        ERR_clear_error();
        const int result = SSL_do_handshake(conn->ssl);
        const char *why = ERR_reason_error_string(ERR_peek_last_error());
        const ssize_t n = conn_tls_result(conn, result);
        const bool http2 = n > 0 && conn_alpn_is_h2(conn->ssl);
        if (n < 0 || (n > 0 && !http2)) {
            conn->why = n > 0 ? "the peer does not offer HTTP/2" : why;
            conn_handshake_failed(conn);
            conn_break(conn);
        }
        if (n <= 0) {
            return;
        }
    }
    conn->opened = true;
    conn->ops->on_open(conn);
    conn_dirty(conn);
}

static void conn_on_poll(uv_poll_t *handle, int status, int events)
{
    struct conn *conn = handle->data;
    if (status < 0) {
        if (conn->connecting) {
            conn_connected(conn); /* it says why there is no connection */
        }
        conn_break(conn);
        return;
    }
    if ((events & UV_WRITABLE) != 0) {
        conn->want_write = false;
        if (conn->connecting) {
            conn_connected(conn);
        }
        conn_dirty(conn);
    }
    if (!conn->opened && !conn->broken) {
        conn_handshake(conn);
    }
    if (conn->opened && (events & UV_READABLE) != 0 && !conn->read_more) {
        conn_read(conn); /* with more to read already, conn_flush does */
        if (conn->queued_max != 0 &&
            nghttp2_session_get_outbound_queue_size(conn->session) > CONN_FLUSH_FRAMES) {
            conn_flush(conn);
        }
    } else if (!conn->broken) {
        conn_dirty(conn);
    }
}

int conn_put_data(struct conn *conn, const uint8_t *frame_header, struct frame_queue *queue,
                  size_t len)
{
    struct buf *out = &conn->loop->out;
    if (out->len >= LOOP_OUT_BYTES) {
        return NGHTTP2_ERR_WOULDBLOCK;
    }
    if (queue->bytes < len) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    uint8_t *to = buf_room(out, CONN_FRAME_HEADER_BYTES + len);
    if (to == NULL) {
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    memcpy(to, frame_header, CONN_FRAME_HEADER_BYTES);
    frame_queue_take(queue, to + CONN_FRAME_HEADER_BYTES, len);
    out->len += CONN_FRAME_HEADER_BYTES + len;
    return 0;
}

/* Fills the loop's buffer. False when the session failed. */
static bool conn_collect(struct conn *conn)
{
    struct buf *out = &conn->loop->out;
    buf_reset(out);
    while (out->len < LOOP_OUT_BYTES) {
        const uint8_t *data = NULL;
        const ssize_t n = nghttp2_session_mem_send(conn->session, &data);
        if (n < 0 || out->full) {
            return false;
        }
        if (n == 0) {
            break;
        }
        buf_append(out, data, (size_t)n);
    }
    return !out->full;
}

/* Writes all of it; returns how much the socket took, -1 when the connection is over. */
static ssize_t conn_write(struct conn *conn, struct bytes data)
{
    size_t sent = 0;
    while (sent < data.len) {
        const ssize_t n = conn_send(conn, data.ptr + sent, data.len - sent);
        if (n < 0) {
            return -1;
        }
        if (n == 0) {
            conn->want_write = true;
            break;
        }
        sent += (size_t)n;
    }
    conn->loop->counted.bytes_sent += sent;
    if (sent == data.len) {
        conn->waits_us = 0;
    } else if (sent != 0 || conn->waits_us == 0) {
        conn->waits_us = loop_now_us(conn->loop);
    }
    return (ssize_t)sent;
}

/* True when nothing is pending any more. */
static bool conn_write_pending(struct conn *conn)
{
    if (conn->pending.len == conn->pending_sent) {
        return true;
    }
    const struct bytes rest =
        bytes_of(conn->pending.ptr + conn->pending_sent, conn->pending.len - conn->pending_sent);
    const ssize_t n = conn_write(conn, rest);
    if (n < 0) {
        conn->broken = true;
        return false;
    }
    conn->pending_sent += (size_t)n;
    if (conn->pending_sent < conn->pending.len) {
        return false;
    }
    buf_deinit(&conn->pending);
    buf_init(&conn->pending, LOOP_OUT_BYTES_MAX);
    conn->pending_sent = 0;
    return true;
}

static void conn_drain(struct conn *conn)
{
    size_t total = 0;
    if (!conn_write_pending(conn)) {
        return;
    }
    while (total < CONN_WRITE_TURN_BYTES) {
        if (!conn_collect(conn)) {
            conn->broken = true;
            return;
        }
        const struct bytes out = buf_bytes(&conn->loop->out);
        if (out.len == 0) {
            return;
        }
        const ssize_t n = conn_write(conn, out);
        if (n < 0) {
            conn->broken = true;
            return;
        }
        if ((size_t)n < out.len) {
            buf_append(&conn->pending, out.ptr + n, out.len - (size_t)n);
            return;
        }
        total += out.len;
        if (out.len < LOOP_OUT_BYTES) {
            return;
        }
    }
    conn->want_write = true; /* a fair share was written; go on when the socket says so */
}

void conn_flush(struct conn *conn)
{
    if (conn->closed) {
        return;
    }
    if (!conn->opened && !conn->connecting && !conn->broken) {
        conn_handshake(conn);
    }
    if (conn->read_more && !conn->broken) {
        conn_read(conn);
    }
    if (conn->opened && !conn->broken) {
        conn->flushing = true;
        conn_drain(conn);
        conn->flushing = false;
        conn->ops->on_flushed(conn);
        const bool over = nghttp2_session_want_read(conn->session) == 0 &&
                          nghttp2_session_want_write(conn->session) == 0 && conn->pending.len == 0;
        conn->broken = conn->broken || over;
    }
    if (conn->broken) {
        conn_teardown(conn);
        return;
    }
    conn_watch(conn);
    if (conn->read_more) {
        conn_dirty(conn);
    }
}

nghttp2_option *conn_options_new(void)
{
    nghttp2_option *option = NULL;
    ASSERT(nghttp2_option_new(&option) == 0);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_max_outbound_ack(option, CONN_ACKS_MAX);
    nghttp2_option_set_no_closed_streams(option, 1);
    /* A value with blanks around it is answered with a status, not with a reset. */
    nghttp2_option_set_no_rfc9113_leading_and_trailing_ws_validation(option, 1);
    return option;
}
