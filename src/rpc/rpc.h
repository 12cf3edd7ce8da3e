/*
 * rpc/rpc.h - gRPC over HTTP/2 (nghttp2) on libuv loops: the server, its calls, and a client
 * channel.
 *
 * A server has a fixed set of loops, each one thread. A connection lives on one loop for life, and
 * so does every call that arrives on it. A handler gets the call on the loop's thread, may send it
 * to any other thread inside a message of its own, and must bring it back with rpc_loop_post: the
 * functions of a call run on its loop only. Everything written during one turn of a loop leaves in
 * one write per connection.
 *
 * Units      times ending in _us are microseconds of env_system's monotonic clock; sizes are bytes.
 * Ownership  a call is the handler's from on_call until exactly one rpc_call_reply*,
 *            rpc_call_finish or rpc_call_fail. Request bytes, headers and the arena live until that
 *            finishing call returns, except that memory handed over as a reply (arena or piece)
 *            lives on until it was sent or the stream is gone.
 * Threads    named at each function; "loop" = the thread of the call's or channel's loop.
 * Limits     the RPC_*_DEFAULT values below and RPC_CALLS_PER_LOOP_MAX; each can be lowered or
 *            raised in the options.
 */
#ifndef SILO_RPC_RPC_H
#define SILO_RPC_RPC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/mailbox.h"
#include "base/rc.h"
#include "metrics/source.h"

#define RPC_MESSAGE_BYTES_DEFAULT (128u << 20) /* one message, either direction */
#define RPC_HEADER_BYTES_DEFAULT (16u << 10)   /* names + values + 32 each, as HTTP/2 counts them */
#define RPC_INFLIGHT_BYTES_DEFAULT (1024ull << 20) /* request bodies held by one server */
/* Replies reserved, or ready and not yet sent, of one server. */
#define RPC_REPLY_BYTES_DEFAULT (1024ull << 20)
#define RPC_CONN_REPLY_BYTES_DEFAULT (256ull << 20) /* the same, of one connection */
#define RPC_REPLY_SMALL_BYTES (64u << 10)         /* replies up to this may go over those two ... */
#define RPC_CALL_BYTES_DEFAULT (1024ull << 20)    /* open calls themselves and their headers */
#define RPC_CONN_CALL_BYTES_DEFAULT (16ull << 20) /* the same, of one connection */
/* Whatever others hold, a connection has so much of each. */
#define RPC_CONN_FLOOR_BYTES (64u << 10)
/* Of some 170 bytes, for all peers whose sockets take nothing. */
#define RPC_QUEUED_FRAMES_DEFAULT (512u << 10)
#define RPC_REPLY_SLACK 4u        /* ... by a quarter; beyond, new calls are refused */
#define RPC_STREAMS_DEFAULT 1024u /* concurrent calls on one connection */
#define RPC_CONNS_DEFAULT 16384u  /* connections of one server */
/* How long a connection is waited for; struct rpc_patience says what each of them is. */
#define RPC_KEEPALIVE_US_DEFAULT 30000000
#define RPC_KEEPALIVE_TIMEOUT_US_DEFAULT 20000000
#define RPC_IDLE_US_DEFAULT 1800000000
#define RPC_AGE_GRACE_US_DEFAULT 300000000
#define RPC_OUTPUT_US_DEFAULT 60000000
#define RPC_BODY_US_DEFAULT 30000000
#define RPC_CALLS_PER_LOOP_MAX 131072u /* calls that handlers hold, gone callers included */
#define RPC_CONN_INFLIGHT_BYTES_DEFAULT (512ull << 20) /* request bodies of one connection */
/* One part in so many of the calls and of the request bytes is for urgent calls. */
#define RPC_URGENT_SHARE 8u
/* Half of their part of the bytes is for those whose requests are no larger than this. */
#define RPC_URGENT_SMALL_BYTES (64u << 10)
/*
 * One part in so many of calls, request bytes and replies is the most that calls beside the work
 * get.
 */
#define RPC_SIDE_SHARE 8u
/* Their requests and replies up to this size may go beyond their part of the bytes. */
#define RPC_SIDE_SMALL_BYTES (1u << 10)
#define RPC_PIECES_MAX 64u                /* of one reply */
#define RPC_TRAILERS_MAX 8u               /* extra trailers of one answer */
#define RPC_STREAM_QUEUE_BYTES (1u << 20) /* a server stream above this is not writable */
#define RPC_BIDI_QUEUE_BYTES (64u << 10)  /* the same of a bidi call: its requests wait then, too */
#define RPC_SEND_QUEUE_BYTES (1u << 20) /* of a client's request that goes on, waiting to be sent */

/* gRPC status numbers used by name; silo_code_grpc gives those of our own codes. */
enum rpc_status {
    RPC_STATUS_OK = 0,
    RPC_STATUS_CANCELLED = 1,
    RPC_STATUS_UNKNOWN = 2,
    RPC_STATUS_INVALID_ARGUMENT = 3,
    RPC_STATUS_DEADLINE_EXCEEDED = 4,
    RPC_STATUS_NOT_FOUND = 5,
    RPC_STATUS_ALREADY_EXISTS = 6,
    RPC_STATUS_PERMISSION_DENIED = 7,
    RPC_STATUS_RESOURCE_EXHAUSTED = 8,
    RPC_STATUS_FAILED_PRECONDITION = 9,
    RPC_STATUS_ABORTED = 10,
    RPC_STATUS_OUT_OF_RANGE = 11,
    RPC_STATUS_UNIMPLEMENTED = 12,
    RPC_STATUS_INTERNAL = 13,
    RPC_STATUS_UNAVAILABLE = 14,
    RPC_STATUS_DATA_LOSS = 15,
    RPC_STATUS_UNAUTHENTICATED = 16,
};

/* --- loops --- */

struct rpc_loop;

/*
 * Embedded in whatever is sent to a loop; `run` is called once on its thread and owns the message
 * from then on.
 */
struct rpc_mail {
    struct mail mail;
    void (*run)(struct rpc_mail *mail);
};

/* Embedded by its user, all zero when idle; fires once on the loop's thread. */
struct rpc_timer {
    struct heap_node node;
    void (*fire)(struct rpc_timer *timer);
};

/* A loop of its own for client channels; a server makes its own. Starts the thread. */
SILO_RC rpc_loop_new(struct rpc_loop **ret_loop, struct silo_err *err);
/*
 * Runs what was posted, then joins the thread. Channels on it must have been freed. Returns NULL.
 */
struct rpc_loop *rpc_loop_free(struct rpc_loop *loop);

/*
 * What a loop does for whoever has one. Each implementation (this module's, and those by which the
 * simulator and tests play the network) has a struct rpc_loop of its own with this base in front.
 */
struct rpc_loop_ops {
    void (*post)(struct rpc_loop *loop, struct rpc_mail *mail);
    int64_t (*now_us)(struct rpc_loop *loop);
    void (*timer_start)(struct rpc_loop *loop, struct rpc_timer *timer, int64_t at_us);
    void (*timer_stop)(struct rpc_loop *loop, struct rpc_timer *timer);
};
struct rpc_loop_base {
    const struct rpc_loop_ops *ops;
    uint32_t number; /* of its server's loops, from 0; 0: a channel's */
};
static inline const struct rpc_loop_ops *rpc_loop_ops_of(const struct rpc_loop *loop)
{
    return ((const struct rpc_loop_base *)(const void *)loop)->ops;
}

/* Any thread. */
static inline uint32_t rpc_loop_number(const struct rpc_loop *loop)
{
    return ((const struct rpc_loop_base *)(const void *)loop)->number;
}
/* Any thread. Never blocks and never fails; many posts in one turn cost one wake-up. */
static inline void rpc_loop_post(struct rpc_loop *loop, struct rpc_mail *mail)
{
    rpc_loop_ops_of(loop)->post(loop, mail);
}
/* Loop. The monotonic time, read at most once in a turn. */
static inline int64_t rpc_loop_now_us(struct rpc_loop *loop)
{
    return rpc_loop_ops_of(loop)->now_us(loop);
}
/* Loop. Sets or moves a timer; the resolution is a millisecond, never early. */
static inline void rpc_timer_start(struct rpc_loop *loop, struct rpc_timer *timer, int64_t at_us)
{
    rpc_loop_ops_of(loop)->timer_start(loop, timer, at_us);
}
/* Loop. No-op for an idle timer. */
static inline void rpc_timer_stop(struct rpc_loop *loop, struct rpc_timer *timer)
{
    rpc_loop_ops_of(loop)->timer_stop(loop, timer);
}

/* --- server calls --- */

struct rpc_call;

enum rpc_cancel {
    RPC_CANCEL_RESET,    /* the client reset the stream */
    RPC_CANCEL_GONE,     /* the connection is gone */
    RPC_CANCEL_DEADLINE, /* grpc-timeout ran out; the client has been answered DEADLINE_EXCEEDED */
    RPC_CANCEL_SHUTDOWN, /* the server closes its connections */
};

/* A header or trailer; name lower-case, value legal header text (rpc_header_text_ok). */
struct rpc_header {
    struct bytes name, value;
};

/* Part of a message that is sent from where it lies. */
struct rpc_piece {
    struct bytes bytes;
    /*
     * Called exactly once, on the loop, when the bytes are no longer needed. NULL: nothing to
     * release (arena or static memory). sent: this piece's bytes went to the socket whole.
     */
    void (*release)(void *context, bool sent);
    void *context;
};

/*
 * What a call does for its handler; the functions below say what each owes. Each implementation has
 * a struct rpc_call of its own with the base in front; what handlers ask most often lies in it.
 */
struct rpc_call_ops {
    struct bytes (*request)(const struct rpc_call *call);
    struct bytes (*header)(const struct rpc_call *call, const char *name);
    struct bytes (*authority)(const struct rpc_call *call);
    bool (*alive)(const struct rpc_call *call);
    void (*on_cancel)(struct rpc_call *call,
                      void (*on_cancel)(struct rpc_call *call, enum rpc_cancel reason,
                                        void *context),
                      void *context);
    void (*count)(struct rpc_call *call, uint64_t bytes);
    bool (*reserve)(struct rpc_call *call, uint64_t bytes);
    bool (*reply)(struct rpc_call *call, const struct rpc_piece *pieces, size_t count);
    bool (*finish)(struct rpc_call *call, uint32_t status, struct bytes text,
                   const struct rpc_header *trailers, size_t trailer_count);
    /* copy: the bytes are copied, and nothing is released. */
    bool (*send)(struct rpc_call *call, const struct rpc_piece *pieces, size_t count, bool copy);
    bool (*writable)(const struct rpc_call *call);
    void (*on_writable)(struct rpc_call *call,
                        void (*on_writable)(struct rpc_call *call, void *context), void *context);
};
struct rpc_call_base {
    const struct rpc_call_ops *ops;
    struct rpc_loop *loop;
    int64_t deadline_us; /* 0 = none */
    struct arena arena;
};
static inline const struct rpc_call_base *rpc_call_base_of(const struct rpc_call *call)
{
    return (const struct rpc_call_base *)(const void *)call;
}
static inline const struct rpc_call_ops *rpc_call_ops_of(const struct rpc_call *call)
{
    return rpc_call_base_of(call)->ops;
}

/* The call's own memory; moves with the call from thread to thread. */
static inline struct arena *rpc_call_arena(struct rpc_call *call)
{
    return &((struct rpc_call_base *)(void *)call)->arena;
}
static inline struct rpc_loop *rpc_call_loop(const struct rpc_call *call)
{
    return rpc_call_base_of(call)->loop;
}
/* The request message (again); empty for bidi calls. */
static inline struct bytes rpc_call_request(const struct rpc_call *call)
{
    return rpc_call_ops_of(call)->request(call);
}
/*
 * First header of that lower-case name, as sent; ptr NULL if absent. Any thread that has the call.
 */
static inline struct bytes rpc_call_header(const struct rpc_call *call, const char *name)
{
    return rpc_call_ops_of(call)->header(call, name);
}
/*
 * What the caller says it dialled (HTTP/2's :authority), as sent: any bytes; empty if it said
 * nothing. Any thread that has the call.
 */
static inline struct bytes rpc_call_authority(const struct rpc_call *call)
{
    return rpc_call_ops_of(call)->authority(call);
}
/* When the caller's patience ends; 0 = never. Any thread that has the call. */
static inline int64_t rpc_call_deadline_us(const struct rpc_call *call)
{
    return rpc_call_base_of(call)->deadline_us;
}

/*
 * Loop. Whether an answer can still reach the caller: false after reset, lost connection or
 * deadline.
 */
static inline bool rpc_call_alive(const struct rpc_call *call)
{
    return rpc_call_ops_of(call)->alive(call);
}
/*
 * Loop. on_cancel runs at most once, while the handler holds the call; the call stays held and must
 * still be finished (which then only releases it). Set it in on_call, before the call goes to
 * another thread.
 */
static inline void rpc_call_on_cancel(struct rpc_call *call,
                                      void (*on_cancel)(struct rpc_call *call,
                                                        enum rpc_cancel reason, void *context),
                                      void *context)
{
    rpc_call_ops_of(call)->on_cancel(call, on_cancel, context);
}

/*
 * Loop. Counts so much more as bytes of the call's request, until the call is over: what a handler
 * makes of a request may be far larger than the request. It is not refused; what comes after it is,
 * when it is too much.
 */
static inline void rpc_call_count(struct rpc_call *call, uint64_t bytes)
{
    rpc_call_ops_of(call)->count(call, bytes);
}

/*
 * Loop. Makes room for a reply of that many bytes, to be asked for before they are read from
 * anywhere. The room is the call's until it was finished and its reply has left; a second
 * reservation replaces the first (0 gives it back), and the reply corrects it to what it is. False:
 * the caller has gone, or the connection or the server holds too much already; then answer
 * RPC_REPLY_FULL_TEXT. A reply without a reservation is looked at when it is handed over: above
 * RPC_REPLY_SMALL_BYTES it is dropped, and RESOURCE_EXHAUSTED answered, where a reservation would
 * have failed.
 */
static inline bool rpc_call_reserve(struct rpc_call *call, uint64_t bytes)
{
    return rpc_call_ops_of(call)->reserve(call, bytes);
}
#define RPC_REPLY_FULL_TEXT \
    "too many bytes of replies wait to be sent; read them, or ask again later"

/*
 * Loop. Answers OK with one message of up to RPC_PIECES_MAX pieces, and ends the call. Returns
 * false if nobody was there to hear it (rpc_call_alive was false); the pieces are released then,
 * too.
 */
static inline bool rpc_call_reply_pieces(struct rpc_call *call, const struct rpc_piece *pieces,
                                         size_t count)
{
    return rpc_call_ops_of(call)->reply(call, pieces, count);
}
/* Loop. The same; `message` must lie in the call's arena, in the request, or in static memory. */
static inline bool rpc_call_reply(struct rpc_call *call, struct bytes message)
{
    const struct rpc_piece piece = {.bytes = message};
    return rpc_call_reply_pieces(call, &piece, 1);
}
/*
 * Loop. End the call with a status; status 0 ends a server stream well. text is UTF-8 (copied and
 * encoded), trailers are copied. A trailer whose value is not legal header text is left out.
 */
static inline bool rpc_call_finish(struct rpc_call *call, uint32_t status, struct bytes text,
                                   const struct rpc_header *trailers, size_t trailer_count)
{
    return rpc_call_ops_of(call)->finish(call, status, text, trailers, trailer_count);
}
/* Loop. The same from an error. */
static inline bool rpc_call_fail(struct rpc_call *call, const struct silo_err *err)
{
    return rpc_call_finish(call, silo_code_grpc(err->code), bytes_str(err->text), NULL, 0);
}

/*
 * Loop. Server streaming: queue one message; the call goes on. False: the caller has gone (pieces
 * released).
 */
static inline bool rpc_call_send(struct rpc_call *call, const struct rpc_piece *pieces,
                                 size_t count)
{
    return rpc_call_ops_of(call)->send(call, pieces, count, false);
}
/* Loop. The same with a copy of the bytes. */
static inline bool rpc_call_send_copy(struct rpc_call *call, struct bytes message)
{
    const struct rpc_piece piece = {.bytes = message};
    return rpc_call_ops_of(call)->send(call, &piece, 1, true);
}
/*
 * Loop. Whether nothing waits to be sent, or less than RPC_STREAM_QUEUE_BYTES
 * (RPC_BIDI_QUEUE_BYTES) and there is room for more.
 */
static inline bool rpc_call_writable(const struct rpc_call *call)
{
    return rpc_call_ops_of(call)->writable(call);
}
/* Loop. Called each time the queue falls from "not writable" to empty enough again. */
static inline void rpc_call_on_writable(struct rpc_call *call,
                                        void (*on_writable)(struct rpc_call *call, void *context),
                                        void *context)
{
    rpc_call_ops_of(call)->on_writable(call, on_writable, context);
}

/* Whether a value may stand in a header: printable ASCII, no blank at either end. */
bool rpc_header_text_ok(struct bytes value);

/* --- server --- */

struct rpc_server;

/* What a call is to the work of the service, which decides how far it may fill what all share. */
enum rpc_rank {
    RPC_RANK_WORK,
    RPC_RANK_URGENT, /* keeps or ends work that is under way: has room of its own */
    RPC_RANK_SIDE,   /* may stay open for ever and do nothing: has a small part */
};

struct rpc_method {
    const char *path; /* "/silo.v1.Silo/Enqueue" */
    enum rpc_rank rank;
    size_t message_bytes_max;    /* of a request, where less than the server's; 0 = the server's */
    uint32_t calls_per_conn_max; /* 0 = as many as there are */
    bool server_streaming;
    /* also: unknown methods of a service one of whose methods needs auth are checked first */
    bool needs_auth;
    /* on_call comes with the headers and an empty request, then on_message, then on_end */
    bool bidi;
    void (*on_call)(struct rpc_call *call, struct bytes request, void *context);
    void *context;
    /*
     * bidi only; the message is lent for the call of the function. No more come once the call was
     * finished, and none while the call is not writable: a peer that does not read its answers is
     * not read either.
     */
    void (*on_message)(struct rpc_call *call, struct bytes message, void *context);
    void (*on_end)(struct rpc_call *call, void *context);
};

/*
 * Waits of a server's connections; each is met up to half of the shortest of them late, 15 s at
 * most. 0 = for ever.
 */
struct rpc_patience {
    int64_t keepalive_us;         /* nothing arrived while a call is open: a ping */
    int64_t keepalive_timeout_us; /* and then nothing still: the peer is dead */
    int64_t idle_us;              /* no call is open: GOAWAY */
    int64_t age_us;               /* since it was opened, give or take 5 %: GOAWAY */
    int64_t age_grace_us; /* after a GOAWAY for idleness or age: what is still open is cut off */
    int64_t output_us;    /* the peer takes no byte of what is there for it */
    int64_t body_us;      /* no byte of a request that has begun */
};
extern const struct rpc_patience rpc_patience_default;

struct rpc_server_options {
    const char *listen;         /* "ip:port", "[ip6]:port"; port 0 = any */
    const char *listen_setting; /* where that can be changed, for messages; NULL = not said */
    uint32_t loops;             /* 0 = 1 */
    size_t message_bytes_max;   /* 0 = default, here and below */
    size_t header_bytes_max;
    uint64_t inflight_bytes_max;
    uint64_t call_bytes_max;
    uint64_t conn_call_bytes_max;
    uint64_t conn_inflight_bytes_max;
    uint32_t calls_per_loop_max; /* that handlers hold */
    uint64_t queued_frames_max;  /* for all peers whose sockets take nothing */
    uint64_t reply_bytes_max;
    uint64_t conn_reply_bytes_max; /* at least message_bytes_max, to be able to send one */
    uint32_t streams_max;
    uint32_t conns_max;
    uint32_t conns_per_address_max; /* 0 = three quarters of conns_max, rounded up */
    struct rpc_patience patience;   /* as it stands: all zero waits for ever */
    const char *tls_cert;           /* PEM files; NULL = plaintext */
    const char *tls_key;
    const char *tls_client_ca; /* set: clients must show a certificate it signed */
    const char *auth_token;    /* NULL = no check */
    /* serialized FileDescriptorSet for reflection; static memory; may be empty */
    struct bytes descriptors;
    /* After each call of a known method, on its loop. NULL = none. Must not block. */
    void (*on_done)(void *context, const struct rpc_method *method, uint32_t status,
                    int64_t duration_us);
    void *context;
};

/*
 * Checks the options, loads certificates and binds. No thread runs yet, and who connects is refused
 * until start. Strings are copied.
 */
SILO_RC rpc_server_new(const struct rpc_server_options *options, struct rpc_server **ret_server,
                       struct silo_err *err);
/* Whether rpc_server_new would take these files; client_ca may be NULL. Any thread. */
SILO_RC rpc_tls_check(const char *cert, const char *key, const char *client_ca,
                      struct silo_err *err);
/*
 * Before start only. The method is lent until the server is freed. EXISTS for a path that is there
 * already.
 */
SILO_RC rpc_server_add(struct rpc_server *server, const struct rpc_method *method,
                       struct silo_err *err);
/* Before start only, for what is known late: another bound than options.conns_max; not 0. */
void rpc_server_limit_conns(struct rpc_server *server, uint32_t conns_max);
/* Listens, starts the loops and accepts. Health and reflection are registered here. */
SILO_RC rpc_server_start(struct rpc_server *server, struct silo_err *err);
/* The bound port. Any thread, from rpc_server_new on. */
uint16_t rpc_server_port(const struct rpc_server *server);
/* Loops of the server, for work that belongs on them. Any thread, after start. */
struct rpc_loop *rpc_server_loop(struct rpc_server *server, uint32_t index);
/* Any thread. Connections open now; calls that handlers hold now. */
uint32_t rpc_server_conns(const struct rpc_server *server);
uint32_t rpc_server_calls(const struct rpc_server *server);
/* Any thread; read from rpc_server_start on. What the loops have counted. */
struct counter_source rpc_server_counters(const struct rpc_server *server);
/* Any thread. Request body bytes held now. */
uint64_t rpc_server_inflight_bytes(const struct rpc_server *server);
/* Any thread. Bytes reserved for replies, or ready and not yet sent, now. */
uint64_t rpc_server_reply_bytes(const struct rpc_server *server);
/* Any thread. Bytes of open calls themselves and their headers, now. */
uint64_t rpc_server_call_bytes(const struct rpc_server *server);
/* Any one thread. The most that either of the two was since this was asked last. */
uint64_t rpc_server_peak_bytes(struct rpc_server *server);

/*
 * Any thread but a loop. Stop accepting, tell clients (GOAWAY), let calls finish. Returns at once.
 */
void rpc_server_drain(struct rpc_server *server);
/*
 * Any thread but a loop. Waits until no connection is left, at most wait_ms. True if none is left.
 */
bool rpc_server_drained(struct rpc_server *server, int64_t wait_ms);
/*
 * Not on a loop. Closes what is open (calls get RPC_CANCEL_SHUTDOWN), waits until handlers have
 * finished every call they hold, joins the loops. NULL is fine. Returns NULL.
 */
struct rpc_server *rpc_server_free(struct rpc_server *server);

/*
 * Any thread, from rpc_server_new on. Health of a service; "" is SERVING from the start. Watchers
 * are told.
 */
void rpc_health_set(struct rpc_server *server, const char *service, bool serving);

/* --- client channel --- */

struct rpc_channel;

enum rpc_channel_state {
    RPC_CHANNEL_IDLE,       /* connects with the next call */
    RPC_CHANNEL_CONNECTING, /* calls wait */
    RPC_CHANNEL_READY,
    /* the last attempt failed; calls fail UNAVAILABLE until the next attempt begins */
    RPC_CHANNEL_BACKOFF,
};

struct rpc_channel_options {
    const char *target; /* "host:port", "[ip6]:port" */
    bool tls;
    const char *tls_ca;   /* PEM; NULL = the system's */
    const char *tls_cert; /* own certificate, for mutual TLS; NULL = none */
    const char *tls_key;
    const char *tls_name;     /* name to verify; NULL = host of target */
    const char *auth_token;   /* sent as Bearer; NULL = none */
    size_t message_bytes_max; /* 0 = default */
    size_t answer_bytes_max;  /* of all answers that are not whole; 0 = two messages and 16 MiB */
    /* calls waiting or running; 0 = 65,536; one more fails RESOURCE_EXHAUSTED */
    uint32_t calls_max;
    int64_t connect_timeout_us; /* 0 = 5 s */
    /*
     * The system gives a connection up when what was sent on it is not acknowledged for so long; 0
     * = the system's own time, which is many minutes.
     */
    int64_t user_timeout_us;
    int64_t backoff_us_max; /* between attempts to connect; 0 = 5 s */
};

/*
 * A call as the client sees it: storage is the caller's, from rpc_channel_call until on_done. Zero
 * it, fill the upper part. on_done runs once on the channel's loop; reply and text live until it
 * returns. It may free the request or start it again.
 */
struct rpc_request {
    const char *path;
    struct bytes message; /* lent until on_done */
    /* The request goes on: further messages by rpc_channel_send, and it ends by rpc_channel_end. */
    bool goes_on;
    int64_t timeout_us; /* from rpc_channel_call on; 0 = none; also sent as grpc-timeout */
    const struct rpc_header *headers; /* lent until on_done */
    size_t header_count;
    /*
     * Optional, for server streams: each message as it arrives, lent for the call of the function.
     */
    void (*on_message)(struct rpc_request *request, struct bytes message);
    void (*on_done)(struct rpc_request *request);
    void *context;

    uint32_t status;    /* gRPC status */
    struct bytes text;  /* decoded grpc-message, or our own words */
    struct bytes reply; /* the message of a unary call */

    struct { /* the channel's */
        struct rpc_mail mail;
        struct rpc_channel *channel;
        struct list_node node;
        struct rpc_timer timer;
        void *stream;
        int64_t deadline_us;
        bool posted, cancelled, retried, sent_more;
    } own;
};

/* Does not connect yet. The channel lives on the loop. Strings are copied. */
SILO_RC rpc_channel_new(struct rpc_loop *loop, const struct rpc_channel_options *options,
                        struct rpc_channel **ret_channel, struct silo_err *err);
/*
 * Open calls end CANCELLED first. Another thread waits for that; on the loop it happens after this
 * turn. No call may be started from then on. Returns NULL.
 */
struct rpc_channel *rpc_channel_free(struct rpc_channel *channel);
/* Any thread. */
void rpc_channel_call(struct rpc_channel *channel, struct rpc_request *request);
/*
 * Loop. Ends the call with CANCELLED and resets its stream. on_done runs before this returns, or,
 * when the call had not reached the loop yet, as soon as it does.
 */
void rpc_channel_cancel(struct rpc_channel *channel, struct rpc_request *request);
/*
 * Loop. One more message of a request that goes on; it is copied. Nothing is sent if it fails:
 * EXHAUSTED, more than RPC_SEND_QUEUE_BYTES wait to be sent already; UNAVAILABLE, the call has no
 * connection yet; PRECONDITION, the request has ended.
 */
SILO_RC rpc_channel_send(struct rpc_request *request, struct bytes message, struct silo_err *err);
/* Loop. A request that goes on ends here; answers may still come. Again is fine. */
void rpc_channel_end(struct rpc_request *request);
/* Loop, in on_done. A trailer (or header) of the answer; ptr NULL if absent. */
struct bytes rpc_request_trailer(const struct rpc_request *request, const char *name);
/* Any thread; a moment's truth. */
enum rpc_channel_state rpc_channel_state(const struct rpc_channel *channel);

/* A finished blocking call; rpc_answer_deinit frees what it holds. */
struct rpc_answer {
    uint32_t status;
    struct arena arena;
    struct bytes text, reply;
    struct rpc_header *trailers;
    size_t trailer_count;
};

/* Any thread but a loop: call and wait. Errors are the answer's status. timeout_us 0 = none. */
void rpc_channel_call_wait(struct rpc_channel *channel, const char *path, struct bytes message,
                           int64_t timeout_us, struct rpc_answer *ret_answer);
void rpc_answer_deinit(struct rpc_answer *answer);

#endif
