/*
 * peers/peers.h - calls that go on to another node: one hop to whoever has the shard, for callers
 * behind a load balancer, who cannot follow a redirect.
 *
 *     peers_new -> peers_forward, in calls of a server ... -> (the server is freed) -> peers_free
 *
 * A call goes on as it came: the bytes of its request are not read, what is left of its caller's
 * patience goes with it, and status, text and answer come back as they are. The owner's address and
 * id stand in the trailers of every answer, so that a client can learn them and ask there next
 * time. An owner that says that the shard has come to this node gives the call back to whoever sent
 * it on. What was forwarded says so in a header, and no node forwards it again: two nodes that take
 * each other for the owner send a call to and fro once, not for ever.
 *
 *   header of a request    x-silo-forward     any value: forward; "no": tell me whom to ask
 *                          x-silo-forwarded   the node that sends it on
 *   trailers of an answer  x-silo-shard-owner-addr, x-silo-shard-owner-node
 *
 * A node asks others in its own name, too (peers_ask): such a question carries the same mark, so it
 * ends where it goes.
 *
 * Channels are made when first needed, kept by address, and closed when no member has the address
 * any more. They live on a loop of their own.
 *
 * Ownership  strings are copied, the directory is lent. A call that was taken is the module's until
 *            it has ended it; its request is lent meanwhile.
 * Threads    peers_new, peers_free: one. peers_forward: the call's loop. peers_ask,
 *            peers_ask_stop: the loop that the question names.
 * Limits     the constants below; a call beyond them is not taken, and its caller is told whom to
 *            ask.
 */
#ifndef SILO_PEERS_PEERS_H
#define SILO_PEERS_PEERS_H

#include "directory/directory.h"
#include "rpc/rpc.h"

#define PEERS_MAX 64u                       /* channels; an idle one makes room for another */
#define PEERS_CALLS_MAX 8192u               /* under way at a time ... */
#define PEERS_BYTES_MAX (256u << 20)        /* ... with so many bytes of requests and answers */
#define PEERS_WAIT_US (300 * 1000 * 1000LL) /* for callers that are patient for ever */
#define PEERS_ANSWER_BYTES_MAX (160u << 20) /* of one channel, of answers that are not whole */

enum peers_mode {
    PEERS_NEVER,
    PEERS_ASKED,  /* calls that ask for it */
    PEERS_ALWAYS, /* all but those that say no */
};

struct peers;

struct peers_options {
    enum peers_mode mode;
    struct directory_home *directory; /* who is a member */
    const char *node_id;              /* this node */
    bool tls;                         /* nodes talk TLS to each other */
    const char *tls_ca;               /* PEM; NULL = the system's */
    const char *tls_cert, *tls_key;   /* own certificate, shown to others; NULL = none */
    const char *tls_name;             /* to verify; NULL = host of the address */
    const char *auth_token;           /* NULL = none */
};

/* Starts the loop. Fails for files that are no certificates. */
SILO_RC peers_new(const struct peers_options *options, struct peers **ret_peers,
                  struct silo_err *err);
/* No call may be under way any more. NULL is fine. Returns NULL. */
struct peers *peers_free(struct peers *peers);

/* Where a call goes. */
struct peers_hop {
    const char *path;         /* of the method; lives as long as the call */
    const char *id, *address; /* of the node; copied */
    /*
     * Loop. Instead of the end of the call: that node says that this one has the shard. NULL: its
     * answer is passed on, like any other.
     */
    void (*back)(void *context);
    void *context;
};

/*
 * Loop. Sends the call on to that node, and ends it when the answer is there: then it is not the
 * caller's any more. False: it is not forwarded, and nothing has happened.
 */
bool peers_forward(struct peers *peers, struct rpc_call *call, const struct peers_hop *hop);

/* --- questions of this node's own --- */

struct peers_answer {
    uint32_t status;    /* of gRPC */
    struct bytes text;  /* lent until `done` returns */
    struct bytes reply; /* status OK: whoever is told frees it with free(); else ptr NULL */
};

/* A unary call, or a stream of one message. */
struct peers_question {
    const char *path;      /* of the method; lives until `done` */
    const char *address;   /* of the node; copied */
    struct bytes message;  /* lent until `done` */
    int64_t timeout_us;    /* above 0 */
    struct rpc_loop *loop; /* where `done` runs */
    /* Once, on that loop, never within peers_ask. */
    void (*done)(void *context, const struct peers_answer *answer);
    void *context;
};

struct peers_ask;

/*
 * That loop. Asks another node in this node's name, whatever the mode. NULL: so many calls are
 * under way that this one is not begun, and `done` does not run. What it returns is good until
 * `done` has begun.
 */
struct peers_ask *peers_ask(struct peers *peers, const struct peers_question *question);
/* That loop. Nobody waits for the answer any more: `done` comes soon, CANCELLED if in time. */
void peers_ask_stop(struct peers_ask *ask);

#endif
