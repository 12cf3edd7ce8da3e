/*
 * rpc/server_int.h - what server.c, session.c, call.c, health.c and reflection.c share.
 *
 * A call's life: headers, request bytes, on_call ("held" by the handler), answer, stream gone. It
 * is freed when the stream is gone and the handler does not hold it.
 *
 * Ownership  the server owns methods' table entries, loops and connections; a connection lists its
 *            calls.
 * Threads    the call's loop, unless said otherwise. Server options and tables do not change after
 *            start.
 */
#ifndef SILO_RPC_SERVER_INT_H
#define SILO_RPC_SERVER_INT_H

#include <openssl/ssl.h>
#include <pthread.h>

#include "base/map.h"
#include "rpc/conn_int.h"
#include "rpc/peers_int.h"
#include "rpc/toll_int.h"

#define SERVER_METHODS_MAX 512u
/* A connection that has not sent its SETTINGS by then is closed. */
#define SERVER_HANDSHAKE_US 20000000
/* How long a client that drains may take to answer the ping that follows the notice. */
#define SERVER_GOAWAY_US 1000000
/* A SETTINGS frame goes through all open calls: as much work as one unit for so many of them. */
#define SERVER_SETTINGS_SHARE 8u
/* Headers larger than so many times the limit are a reset instead of a status. */
#define SERVER_HEADERS_OVER 4u
/* A peer has so many frames that wait for it, whatever wait for others. */
#define SERVER_QUEUED_FRAMES_FLOOR 64u

struct server_method {
    struct map_node node; /* server->methods, by path */
    const struct rpc_method *method;
};

/* A service name, from the paths of its methods. */
struct server_service {
    struct map_node node; /* server->services */
    struct list_node listed;
    bool needs_auth;
};

enum accept_refusal {
    ACCEPT_FULL,    /* conns_max */
    ACCEPT_ADDRESS, /* conns_per_address_max */
    ACCEPT_FILES,   /* the process has no descriptor left */
};
#define ACCEPT_REFUSALS 3u

struct rpc_server {
    struct rpc_server_options options; /* with defaults filled in */
    struct bytes auth_value;           /* "Bearer <token>"; ptr NULL = no check */
    struct arena arena;                /* copies of the options' strings, table entries */
    struct map methods;
    struct map services;
    struct list service_list; /* in order of registration */
    SSL_CTX *tls;
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    struct rpc_loop *loops;
    uint32_t loop_count;
    int listen_fd;
    uint16_t port;
    uv_poll_t listen_poll; /* on loop 0 */
    struct rpc_timer accept_again;
    struct burst refusals[ACCEPT_REFUSALS]; /* loop 0; accept.c's */
    struct burst pauses;
    int spare_fd; /* given up to take, and close, one connection too many */
    struct peers peers;
    bool listening;         /* loop 0 */
    uint32_t accept_next;   /* loop 0: where equal loads go */
    atomic_bool draining;   /* set by rpc_server_drain, read by the loops */
    atomic_bool closing;    /* set by rpc_server_free, read by the loops */
    atomic_uint conn_count; /* loops and acceptor; waited on by rpc_server_drained through `gone` */
    atomic_ullong inflight_bytes;
    atomic_ullong reply_bytes;        /* room.c's */
    atomic_ullong queued_frames;      /* for peers whose sockets take nothing */
    atomic_ullong side_request_bytes; /* of inflight_bytes: calls of RPC_RANK_SIDE */
    atomic_ullong side_reply_bytes;   /* of reply_bytes */
    atomic_ullong call_bytes;         /* weight.c's */
    atomic_ullong peak_bytes;         /* the most that either of the two was */
    bool started;
    pthread_mutex_t health_lock;   /* guards health */
    struct map health;             /* health.c: what was set, by service */
    pthread_mutex_t gone_lock;     /* guards nothing; pairs with `gone` */
    pthread_cond_t gone;           /* conn_count reached 0 */
    struct reflection *reflection; /* reflection.c's */
};

struct server_conn {
    struct conn conn;
    struct rpc_server *server;
    struct peer *peer;   /* its place among those of its address; may be NULL */
    struct list calls;   /* struct rpc_call.node */
    uint32_t call_count; /* of them */
    struct list left;    /* calls whose streams are gone while handlers hold them */
    uint32_t left_count;
    struct toll toll;
    uint64_t request_bytes; /* rpc_call.counted_bytes of its calls */
    struct list writable;   /* struct rpc_call.writable: tell them after the flush */
    struct rpc_timer timer; /* handshake, later goaway */
    struct rpc_timer patience;
    int64_t ping_us;        /* when a ping was sent that nothing came after; 0 = none */
    int64_t idle_since_us;  /* when there was no call any more; counts while there is none */
    int64_t old_us;         /* when it has its age; 0 = never */
    int64_t left_us;        /* when it was told to go for idleness or age; 0 = not told */
    uint64_t reply_bytes;   /* room.c's: what its calls count, and pending_bytes */
    uint64_t call_bytes;    /* weight.c's */
    uint64_t pending_bytes; /* counted of conn.pending */
    uint64_t queued_frames; /* counted of what nghttp2 has for it */
    bool settled;           /* the client's SETTINGS came */
    bool stuffed;           /* room.c's: it was refused a large reply, and has read little since */
    bool draining;
    bool goaway_sent;
};

struct call_header {
    struct bytes name, value;
};

struct rpc_call {
    struct rpc_call_base base; /* first */
    struct list_node node;     /* server_conn.calls, then .left, or the loop's free_calls */
    struct list_node writable; /* server_conn.writable */
    struct rpc_server *server;
    struct server_conn *conn;  /* NULL once the stream is gone */
    struct server_conn *owner; /* its memory is of that one's shares; NULL once it is gone */
    const struct rpc_method *method;
    int32_t stream_id;
    uint32_t status;

    bool held;        /* by the handler: between on_call and its finish */
    bool answered;    /* an answer was decided; nothing more of the request matters */
    bool request_end; /* END_STREAM came */
    bool headers_sent;
    bool end;      /* no more messages: trailers follow the queue */
    bool was_full; /* a writable notice is owed */
    bool told;     /* on_done was called */
    bool given_up; /* the peer did not take the answer: a reset is on its way */
    bool headers_done;
    bool headers_over;  /* more than header_bytes_max */
    bool headers_heavy; /* more than there is memory for */

    struct bytes path, authority, http_method, content_type, timeout, auth;
    struct call_header *headers;
    uint32_t header_count, header_cap;
    size_t header_bytes;

    struct frame_reader reader;
    uint32_t message_count;
    uint64_t counted_bytes;  /* in server->inflight_bytes */
    struct buf aside;        /* bidi: came while the peer did not read its answers */
    size_t aside_taken;      /* of it, from the front */
    uint64_t reply_reserved; /* by its handler */
    uint64_t reply_bytes;    /* counted by connection and server */
    uint64_t weight_bytes;   /* the same, of the call itself */

    int64_t start_us;
    int64_t moved_us; /* when a byte came or left last, or an answer began to wait */
    struct rpc_timer deadline;

    struct frame_queue queue;
    struct bytes text; /* encoded grpc-message */
    struct rpc_header *trailers;
    size_t trailer_count;
    bool plain_accept; /* add grpc-accept-encoding */

    void (*on_cancel)(struct rpc_call *call, enum rpc_cancel reason, void *context);
    void *cancel_context;
    void (*on_writable)(struct rpc_call *call, void *context);
    void *writable_context;
};

/* call.c: */
struct rpc_call *call_new(struct server_conn *conn, int32_t stream_id);
/* The stream is over for the given reason; the call is freed unless held. */
void call_gone(struct rpc_call *call, enum rpc_cancel reason);
/*
 * Answers without the handler's doing: errors of the protocol. A handler that holds the call is
 * told.
 */
void call_abort(struct rpc_call *call, enum rpc_cancel reason, uint32_t status, const char *text);
/*
 * Gives up an answer that the peer does not take: resets the stream, frees what waited. A handler
 * is told.
 */
void call_reset(struct rpc_call *call);
/* An answer below gRPC: an HTTP status and nothing else. */
void call_answer_http(struct rpc_call *call, const char *http_status);
/* Gives the call to its method. */
void call_begin(struct rpc_call *call, struct bytes request);
/* Adds to what the call, its connection and the server count as in flight. */
void call_count_bytes(struct rpc_call *call, uint64_t bytes);
/* The connection of a call whose stream is gone goes, too, or the call does. */
void call_disown(struct rpc_call *call);
/* What arrived of the request is of no use any more; no handler holds the call. */
void call_drop_request(struct rpc_call *call);
/* rpc.h's rpc_call_alive and rpc_call_writable. */
bool call_alive(const struct rpc_call *call);
bool call_writable(const struct rpc_call *call);
/* A queue that was full has room again: tell the handler. */
void call_tell_writable(struct rpc_call *call);
/* Frees the loop's kept calls. */
void calls_free_kept(struct rpc_loop *loop);

/* session.c: */
nghttp2_session_callbacks *session_callbacks_new(void);
/* A connection of a loop as the server's; NULL if it is a channel's. */
struct server_conn *server_conn_of(struct conn *conn);
/* peer is the conn's from now on; NULL counts nowhere. */
void server_conn_new(struct rpc_server *server, struct rpc_loop *loop, int fd, struct peer *peer,
                     const char *peer_text);
/* Tells the client to go elsewhere; the connection ends with its last call. */
void server_conn_drain(struct server_conn *conn);

/* room.c: */
/* Whether a reply of that many bytes may be handed over. */
bool room_admits(const struct rpc_call *call, uint64_t bytes);
/* Whether not even a small reply may, so that no call should begin. */
bool room_shut(const struct rpc_call *call);
/* rpc.h's rpc_call_reserve. */
bool room_reserve(struct rpc_call *call, uint64_t bytes);
/* So much is held by the server now. */
void room_note_peak(struct rpc_server *server, uint64_t bytes);
/* The queue or the reservation changed. */
void room_update(struct rpc_call *call);
/* The call leaves its connection. */
void room_leave(struct rpc_call *call);
/* Output that the socket refused changed. */
void room_update_conn(struct server_conn *conn);
/* The connection ends; its calls have left it. */
void room_leave_conn(struct server_conn *conn);

/* weight.c: */
/* Whether one more call may begin, or keep one more header. */
bool weight_admits(const struct server_conn *conn);
/* The call's arena grew; while its headers arrive only, since others use the arena later. */
void weight_update(struct rpc_call *call);
void weight_free(struct rpc_call *call);

/* patience.c, from the first SETTINGS to the connection's end: */
void patience_start(struct server_conn *conn);
void patience_stop(struct server_conn *conn);

/* admit.c: */
/* Whether what arrived of the call's request may be held. */
bool admit_bytes(const struct rpc_call *call);
/* Whether the call may go to its handler. */
bool admit_call(const struct rpc_call *call);

/* request.c: */
/* False: the headers are so large that the rest of them is not looked at. */
bool request_header(struct rpc_call *call, struct bytes name, struct bytes value);
void request_headers_done(struct rpc_call *call);
/*
 * Returns how many of the bytes, the last ones, were put aside until the peer has read its answers.
 */
size_t request_data(struct rpc_call *call, struct bytes data);
/* The peer of a bidirectional call has read: on with what was put aside. */
void request_resume(struct rpc_call *call);
void request_end(struct rpc_call *call);

/* server.c: */
void server_conn_gone(struct rpc_server *server, struct rpc_loop *loop, struct peer *peer);
/* The service part of a path, without slashes; empty if there is none. */
struct bytes server_service_name(struct bytes path);
struct server_service *server_service_find(const struct rpc_server *server, struct bytes path);
/* Runs `run` once on each loop. */
void server_post_all(struct rpc_server *server,
                     void (*run)(struct rpc_server *server, struct rpc_loop *loop));

/* health.c, reflection.c: */
SILO_RC health_register(struct rpc_server *server, struct silo_err *err);
void health_init(struct rpc_server *server);
/* Ends the watches of this loop, so that they do not hold up a shutdown. */
void health_watchers_end(struct rpc_loop *loop);
void health_deinit(struct rpc_server *server);
SILO_RC reflection_register(struct rpc_server *server, struct silo_err *err);
void reflection_free(struct rpc_server *server);

#endif
