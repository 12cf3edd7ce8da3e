/*
 * sim/net.h - the network between clients and server processes: calls that arrive late, twice or
 * never, callers that leave, answers that get lost. Each process is a host, and has a loop there.
 * Calls and loops are an implementation of those of rpc.h, which says what each function owes.
 *
 *     net_send ──latency──► begun ──service──► answered ──► sent ──latency──► heard
 *                  │ lost                        │ caller gone       │ lost
 *                  └──────────► heard: UNAVAILABLE ◄─────────────────┘
 *
 * Ownership  the net owns its calls; one is freed when the server has ended it and the client has
 *            heard of it. What hangs on a call is its owner's until on_heard. A host is its
 *            process's, and outlives the net's calls to it.
 * Threads    one.
 */
#ifndef SILO_SIM_NET_H
#define SILO_SIM_NET_H

#include "base/env.h"
#include "rpc/rpc.h"
#include "silo.pb-c.h"
#include "sim/basics.h"

#define NET_METHODS_MAX 64

struct net;

/* A process's place in the network. */
struct net_host {
    struct rpc_loop_base loop; /* first */
    struct net *net;
    const struct env *env; /* the process's own clock */
    struct mail *posted;
    struct heap timers;  /* struct rpc_timer.node, by the process's clock */
    struct event timing; /* when the first of them is due */
    const struct rpc_method *methods[NET_METHODS_MAX];
    size_t method_count;
    bool up;     /* a process is there */
    bool dying;  /* it is being killed: answers do not leave */
    bool cut;    /* no client reaches it, and it reaches none */
    bool paused; /* the process stands still: what arrives waits */
};

struct rpc_call {
    struct rpc_call_base base; /* first; its arena is the server's side of the call */
    struct list_node node;
    struct net *net;
    struct net_host *host; /* where it goes */
    uint64_t number;
    const char *method;
    struct bytes request; /* malloced */
    int64_t until_us;     /* the caller waits no longer; 0: it waits for ever */
    int64_t answered_us;  /* by its host */
    bool begun, gone, answered, over, heard;
    bool cancel_due; /* it left while the process stood still */
    enum rpc_cancel reason;
    uint32_t status;
    char text[200];
    char holder[16]; /* who has the shard, as the trailers say; "" = they do not */
    struct bytes reply; /* malloced */
    void (*on_cancel)(struct rpc_call *call, enum rpc_cancel reason, void *context);
    void *cancel_context;
    void (*release)(void *context, bool sent); /* of the reply, until it left */
    void *release_context;
    struct event arriving, leaving, sending, hearing;
    /*
     * The owner's. Each may be NULL. begun: it is the server's now; ended: by the server, to a
     * caller who is there or not.
     */
    void (*on_begun)(struct rpc_call *call);
    void (*on_ended)(struct rpc_call *call, bool there);
    void (*on_sent)(struct rpc_call *call, bool sent);
    /* Last: the client knows, or has given up. Begun and not answered: outcome unknown. */
    void (*on_heard)(struct rpc_call *call);
    void (*on_over)(struct rpc_call *call); /* it is freed now */
    void *owner;
};

struct net {
    struct events *events;
    struct sim_random *random;
    const int64_t *now_us;
    struct list calls; /* oldest first */
    bool perfect;      /* nothing is late or lost */
    bool faulty;       /* things get lost */
    uint64_t next_number;
};

void net_init(struct net *net);
void net_deinit(struct net *net);

void net_host_init(struct net_host *host, struct net *net, const struct env *env);
/* The methods of the process that begins there; each is lent until the next one begins. */
void net_host_clear(struct net_host *host);
void net_host_add(struct net_host *host, const struct rpc_method *method);
/* What was posted to the loop; false when there was nothing. */
bool net_host_run_posts(struct net_host *host);
/* The process is gone, and its handlers have stopped their timers. */
void net_host_end(struct net_host *host);
/* The process stands still, or goes on and hears of callers that left meanwhile. */
void net_host_pause(struct net_host *host, bool paused);
/* No answer that may have to be given back is on its way out. */
bool net_host_drained(const struct net_host *host);
/* Every call that the process held is cut off. */
void net_host_break(struct net_host *host);

/* Makes a call; the caller fills in its callbacks and then sends it. timeout_us 0: none. */
struct rpc_call *net_call(struct net_host *host, const char *method,
                          const ProtobufCMessage *message, int64_t timeout_us);
void net_send(struct rpc_call *call);
/* The caller gives up. */
void net_leave(struct rpc_call *call, enum rpc_cancel reason);
/* Frees what is over. */
void net_sweep(struct net *net);
/* Decodes a good answer; free with protobuf_c_message_free_unpacked. NULL for a bad one. */
void *net_reply(const struct rpc_call *call, const ProtobufCMessageDescriptor *type);

#endif
