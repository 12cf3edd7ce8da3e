/*
 * service/service.h - the methods of silo.v1.Silo between the gRPC layer and the shards.
 *
 * A call is decoded and checked on its loop, travels to its shard as a command, comes back to its
 * loop and is answered there. The service keeps no state about jobs; what it knows of the cluster
 * it was told.
 *
 *     service_new -> service_rpc_method, to rpc_server_add -> rpc_server_start ... rpc_server_free
 *     -> service_detach -> service_free -> shards_free
 *
 * Where a request goes is read from the directory, by each loop for itself. One that meets no shard
 * there, because that has gone meanwhile, goes where a newer directory says.
 *
 * Ownership  the service copies its options' strings and lends shards and directory. It must
 *            outlive the server that has its methods, the shards must outlive it: an answer that
 *            never left gives its tasks back to them.
 * Threads    service_new, service_rpc_method, service_detach, service_free: one, while no call
 *            runs. Calls run on the loops of the server; service_release comes while they do.
 * Limits     service/service_int.h.
 */
#ifndef SILO_SERVICE_SERVICE_H
#define SILO_SERVICE_SERVICE_H

#include "base/env.h"
#include "base/rc.h"
#include "cluster/question.h"
#include "directory/directory.h"
#include "metrics/source.h"
#include "rpc/rpc.h"
#include "shard/shard.h"

#define SERVICE_COUNTERS_MAX 4u /* scopes whose counters are told */

struct service;
struct statements;

/* This node as GetClusterInfo and GetNodeInfo show it. */
struct service_node {
    const char *id;        /* NULL = "" here and below */
    const char *grpc_addr; /* as advertised */
    bool as_dialled;       /* a caller that says what it dialled is told that instead */
    const char *const *rings;
    size_t ring_count; /* 0 = the default ring only */
    uint64_t life;     /* another one each time it starts */
};

/* Where a call goes on to. */
struct service_hop {
    const char *path;         /* of the method; lives as long as the service */
    const char *id, *address; /* of the node; lent for the call of the function */
    /* Instead of an end: that node says that this one has the shard. The call is ours again. */
    void (*back)(void *context);
    void *context;
};

/* What came of a question to another node. */
struct service_answer {
    uint32_t status;    /* of gRPC */
    struct bytes text;  /* lent until `done` returns */
    struct bytes reply; /* status OK: whoever is told frees it with free(); else ptr NULL */
};

/* A call to another node in this node's own name. */
struct service_question {
    const char *path;     /* of the method; lives until `done` */
    const char *address;  /* of the node; lent for the call of the function */
    struct bytes message; /* lent until `done` */
    int64_t timeout_us;
    struct rpc_loop *loop; /* where `done` runs, never within the call of the function */
    void (*done)(void *context, const struct service_answer *answer);
    void *context;
};

struct service_options {
    struct shards *shards;
    struct directory_home *directory;
    uint32_t loops;        /* of the server */
    const struct env *env; /* NULL = env_system */
    bool tenancy;
    bool dev_mode; /* allows ResetShards */
    struct service_node node;
    /* Any thread. Asks the cluster; NULL: there is nobody to ask. */
    void (*ask)(void *ask_context, struct cluster_question *question);
    void *ask_context;
    /*
     * The call's loop. Sends a call on to the node that has its shard, and ends it: then true.
     * NULL: none is.
     */
    bool (*forward)(void *forward_context, struct rpc_call *call, const struct service_hop *hop);
    void *forward_context;
    /*
     * The question's loop, with forward_context. NULL: too many are under way, and nothing has
     * happened. What it returns may be stopped until `done`, which comes all the same. A NULL
     * function: there is no other node.
     */
    void *(*ask_node)(void *forward_context, const struct service_question *question);
    void (*ask_node_stop)(void *asked);
    struct statements *statements; /* reads what is listed; lent; NULL: nothing can be listed */
    /* What GetCounters tells; copied, and what they lend from must outlive the server. */
    const struct counter_source *counters;
    size_t counters_count; /* at most SERVICE_COUNTERS_MAX */
};

struct service *service_new(const struct service_options *options);
/*
 * Any one thread, before the server drains: calls that would wait for news as long as the server
 * runs end now.
 */
void service_release(struct service *service);
/*
 * The server it was registered with is gone, and with it the loops. Before another directory is
 * published.
 */
void service_detach(struct service *service);
/* Returns NULL. */
struct service *service_free(struct service *service);
/*
 * The service's methods by number, for rpc_server_add; NULL after the last. Those that this build
 * lacks answer UNIMPLEMENTED. All of them want the auth token.
 */
const struct rpc_method *service_rpc_method(const struct service *service, size_t number);

#endif
