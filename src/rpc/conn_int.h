/*
 * rpc/conn_int.h - one HTTP/2 connection: socket, optional TLS, nghttp2 session, output that the
 * socket refused.
 *
 * Server and channel embed a conn and give it their session (whose callbacks are theirs) and three
 * functions. A conn is only ever torn down by conn_flush, at the end of a turn, so nothing vanishes
 * inside a callback of nghttp2.
 *
 * Ownership  the conn owns fd, TLS state and session; the embedder frees itself in ops->on_free.
 * Threads    the loop's.
 * Limits     CONN_READ_TURN_BYTES, CONN_WRITE_TURN_BYTES and CONN_WORK_TURN a turn, so that one
 *            connection cannot hold up the others. What was read and is for a later turn is kept:
 *            LOOP_READ_BYTES at most.
 */
#ifndef SILO_RPC_CONN_INT_H
#define SILO_RPC_CONN_INT_H

#include <nghttp2/nghttp2.h>
#include <openssl/ssl.h>
#include <uv.h>

#include "base/buf.h"
#include "rpc/frame_int.h"
#include "rpc/loop_int.h"

#define CONN_READ_TURN_BYTES (256u << 10)
#define CONN_WRITE_TURN_BYTES (1u << 20)
/*
 * What a turn does for one peer, in units of some 50 ns: a few bytes can ask for much more than
 * their number says. Requests at full speed stay below this for most of CONN_READ_TURN_BYTES.
 */
#define CONN_WORK_TURN 32768u
#define CONN_WORK_FRAME 4u
#define CONN_WORK_REQUEST 16u
#define CONN_WORK_HEADER 1u         /* and one more for each ... */
#define CONN_WORK_HEADER_BYTES 64u  /* ... so many bytes of it, decoded */
#define CONN_WORK_BYTES 32u         /* bytes as they came: one for each so many */
#define CONN_SLICE_BYTES (8u << 10) /* given to nghttp2 at once: work is looked at in between */
#define CONN_PEER_BYTES 56u
#define CONN_WINDOW_BYTES (16 << 20)       /* of a connection */
#define CONN_STREAM_WINDOW_BYTES (4 << 20) /* of a stream */
/* Acknowledgements that may wait: more than one turn's reads can ask for (17 bytes a PING). */
/*
 * Frames a server has for a peer: above it the peer is not read, or given up if it does not read.
 */
#define CONN_QUEUED_FRAMES_MAX 8192u
/* With more than this the end of the turn is not waited for: others bring as many in it. */
#define CONN_FLUSH_FRAMES 512u
#define CONN_ACKS_MAX (CONN_READ_TURN_BYTES / 17u + 1024u)

struct conn;

struct conn_ops {
    void (*on_open)(struct conn *conn); /* connected, TLS done: the session may talk */
    void (*on_flushed)(
        struct conn *conn); /* frames of this turn were written; nghttp2 may be called */
    void (*on_closed)(struct conn *conn); /* the connection is over; the session still exists */
    void (*on_free)(struct conn *conn);   /* nothing refers to it any more */
};

struct conn {
    struct list_node node;  /* loop->conns */
    struct list_node dirty; /* loop->dirty */
    struct rpc_loop *loop;
    const struct conn_ops *ops;
    nghttp2_session *session;
    SSL *ssl; /* NULL = plaintext */
    uv_poll_t poll;
    int fd;
    int error;         /* errno of a failed connect(2) */
    const char *why;   /* OpenSSL's reason of a failed handshake, static; NULL = none */
    int events;        /* what `poll` waits for */
    uint32_t work;     /* done in this turn; session callbacks add to it */
    struct buf unread; /* read from the socket, for the next turn */
    size_t unread_at;
    struct buf pending; /* frames the socket did not take */
    size_t pending_sent;
    int64_t read_us;   /* the turn in which bytes came last */
    int64_t waits_us;  /* since when output waits of which no byte was taken; 0 = none waits */
    size_t queued_max; /* frames that may wait to be sent while bytes are taken; 0 = any number */
    bool connecting;   /* client: connect(2) under way */
    bool opened;       /* on_open was called */
    bool broken;       /* to be torn down at the next flush */
    bool flushing;     /* inside conn_flush's drain */
    bool paused; /* nghttp2 stopped inside a header block, perhaps after the last byte there is */
    bool deaf; /* what comes is not looked at any more: a GOAWAY for too much of it is on its way */
    bool want_write; /* the socket, or TLS, is waited for */
    bool read_more;  /* bytes may wait inside TLS */
    bool closed;
    char peer[CONN_PEER_BYTES];
};

/* Takes fd, non-blocking. ssl may be NULL; connecting: connect(2) has been started. */
SILO_RC conn_init(struct conn *conn, struct rpc_loop *loop, const struct conn_ops *ops, int fd,
                  SSL *ssl, bool connecting, struct silo_err *err);
/* There is something to send (or to tear down): look at it at the end of the turn. */
void conn_dirty(struct conn *conn);
/* Tear down at the end of the turn, without waiting for output. */
void conn_break(struct conn *conn);
/* The loop's: send what there is. */
void conn_flush(struct conn *conn);
/*
 * nghttp2's send_data callback body: frame header, then bytes of the queue, into the loop's buffer.
 * Its result is the callback's: "would block" when the buffer is full (nghttp2 would go on with
 * frame after frame, as far as the peer's windows reach), and a stream error when the queue was
 * emptied since the frame was begun.
 */
int conn_put_data(struct conn *conn, const uint8_t *frame_header, struct frame_queue *queue,
                  size_t len);
/* nghttp2 options both sides share. */
nghttp2_option *conn_options_new(void);

#endif
