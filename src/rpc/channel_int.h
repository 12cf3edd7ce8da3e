/*
 * rpc/channel_int.h - what channel.c (connecting, waiting calls), channel_conn.c (nghttp2's
 * callbacks), channel_send.c (requests that go on) and channel_wait.c (blocking calls, freeing)
 * share.
 *
 * Ownership  a channel has at most one connection that takes new calls; older ones live until their
 *            calls ended. A connection or look-up whose channel is NULL has been left behind and
 *            ends by itself.
 * Threads    the loop's.
 */
#ifndef SILO_RPC_CHANNEL_INT_H
#define SILO_RPC_CHANNEL_INT_H

#include "rpc/conn_int.h"

#define CHANNEL_CALLS_DEFAULT 65536u
#define CHANNEL_CONNECT_US 5000000
#define CHANNEL_BACKOFF_FIRST_US 100000
#define CHANNEL_BACKOFF_MAX_US 5000000
/*
 * Silence after a ping that a call's deadline caused: when another deadline passes, the server is
 * dead.
 */
#define CHANNEL_SILENCE_US 2000000
#define CHANNEL_HOST_BYTES 256u
#define CHANNEL_HEADER_BYTES_MAX (64u << 10) /* of one answer */
#define CHANNEL_HEADERS_MAX 32u              /* a caller's own, of one call */
#define CHANNEL_ANSWER_BYTES (16u << 20)     /* and two messages: of all answers that arrive */
#define CHANNEL_STREAMS_KEPT 1024u

struct channel_lookup;

struct rpc_channel {
    struct rpc_loop *loop;
    struct rpc_channel_options options; /* strings copied into arena, defaults filled in */
    struct arena arena;
    char host[CHANNEL_HOST_BYTES];
    uint16_t port;
    const char *auth; /* "Bearer <token>" or NULL */
    SSL_CTX *tls;
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    atomic_int state;         /* enum rpc_channel_state; written on the loop, read anywhere */
    struct list waiting;      /* struct rpc_request.own.node: no stream yet */
    struct list conns;        /* struct client_conn.node */
    struct client_conn *conn; /* takes new calls, or is being set up */
    struct channel_lookup *lookup;
    struct addrinfo *addresses;    /* of the attempt under way */
    struct addrinfo *next_address; /* in `addresses`; NULL = all were tried */
    struct rpc_timer timer;        /* connect timeout, then back-off */
    int64_t backoff_us;
    uint32_t calls;
    size_t answer_bytes; /* what the streams of its connections hold */
    struct list free_streams;
    uint32_t free_stream_count;
    char error[384]; /* why the last attempt failed */
};

struct client_conn {
    struct conn conn;
    struct rpc_channel *channel; /* NULL: left behind */
    struct list_node node;
    struct list streams;
    int64_t ping_us; /* when a ping was sent that nothing came after; 0 = none */
    bool settled;    /* the server's SETTINGS came */
};

struct client_stream {
    struct list_node node; /* client_conn.streams, or the channel's free_streams */
    struct client_conn *conn;
    struct rpc_request *request; /* NULL once the call is over */
    int32_t id;
    struct arena arena;
    struct frame_queue queue; /* the request */
    bool goes_on;             /* and it has not ended: an empty queue is not its end */
    struct frame_reader reader;
    uint32_t messages;
    struct rpc_header *headers;
    uint32_t header_count, header_cap;
    size_t header_bytes;
    size_t counted_bytes; /* in channel->answer_bytes */
    uint32_t http_status;
    bool has_status;
    bool remote_end; /* END_STREAM came */
    bool closed;     /* nghttp2 has closed it */
    bool refused;    /* what the server said cannot be read: `status` is our own verdict */
    uint32_t status;
    struct bytes text;
};

/* channel_conn.c */
nghttp2_session_callbacks *client_callbacks_new(void);
/* Takes fd, non-blocking, connect(2) under way. False: fd was closed. */
bool client_conn_new(struct rpc_channel *channel, int fd);
/* Sends the request on a new stream of the channel's connection. */
void client_stream_start(struct rpc_channel *channel, struct rpc_request *request);
/* The call is over; what is still open on the wire is reset. */
void client_stream_leave(struct client_stream *stream);
/*
 * A call on this stream has waited in vain: is anybody there? Asks, and later gives the connection
 * up.
 */
void client_stream_doubt(struct client_stream *stream);
void client_streams_free_kept(struct rpc_channel *channel);

/* channel.c */
void channel_start(struct rpc_channel *channel, struct rpc_request *request);
/* Ends a call; text and reply may lie in its stream. */
void channel_finish(struct rpc_request *request, uint32_t status, struct bytes text,
                    struct bytes reply);
/* The connection may talk. */
void channel_ready(struct rpc_channel *channel);
/* The connection, or the attempt at one, takes no new calls any more. */
void channel_lost(struct rpc_channel *channel, const char *why);
/* The loop's part of rpc_channel_free. */
void channel_teardown(struct rpc_channel *channel);

#endif
