/*
 * rpc/health.c - grpc.health.v1.Health: Check and Watch.
 *
 * What is set lies in a table under a lock, since any thread may set it. Each loop lists the
 * watches of its calls; a change is posted to all loops, and each tells those of its watches that
 * saw another status last.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "rpc/pb_int.h"
#include "rpc/server_int.h"

#define HEALTH_MESSAGE_BYTES_MAX (4u << 10) /* a request holds one name */
#define HEALTH_CALLS_PER_CONN_MAX 32u
#define HEALTH_SERVING 1u
#define HEALTH_NOT_SERVING 2u

struct health_entry {
    struct map_node node; /* server->health */
    char *name;
    bool serving;
};

struct health_watch {
    struct list_node node; /* loop->watchers */
    struct rpc_call *call;
    struct health_entry *entry; /* entries live as long as the server */
    bool told_serving;
};

static struct health_entry *health_find(struct rpc_server *server, struct bytes service)
{
    return MAP_ENTRY(map_find(&server->health, service), struct health_entry, node);
}

static bool health_get(struct rpc_server *server, const struct health_entry *entry)
{
    (void)pthread_mutex_lock(&server->health_lock);
    const bool serving = entry->serving;
    (void)pthread_mutex_unlock(&server->health_lock);
    return serving;
}

/* HealthCheckResponse { status = 1 } */
static struct bytes health_message(bool serving)
{
    static const uint8_t yes[] = {0x08, HEALTH_SERVING};
    static const uint8_t no[] = {0x08, HEALTH_NOT_SERVING};
    return serving ? bytes_of(yes, sizeof yes) : bytes_of(no, sizeof no);
}

/* The entry a request asks for; NULL after the call was refused. */
static struct health_entry *health_asked(struct rpc_call *call, struct bytes request)
{
    const struct bytes service = pb_find(request, 1);
    (void)pthread_mutex_lock(&call->server->health_lock);
    struct health_entry *entry = health_find(call->server, service);
    (void)pthread_mutex_unlock(&call->server->health_lock);
    if (entry == NULL) {
        (void)rpc_call_finish(call, RPC_STATUS_NOT_FOUND, BYTES_LIT("unknown service"), NULL, 0);
    }
    return entry;
}

static void health_check(struct rpc_call *call, struct bytes request, void *context)
{
    (void)context;
    const struct health_entry *entry = health_asked(call, request);
    if (entry != NULL) {
        (void)rpc_call_reply(call, health_message(health_get(call->server, entry)));
    }
}

static void health_watch_end(struct health_watch *watch, uint32_t status, struct bytes text)
{
    list_remove(&watch->node);
    (void)rpc_call_finish(watch->call, status, text, NULL, 0);
    free(watch);
}

static void health_on_cancel(struct rpc_call *call, enum rpc_cancel reason, void *context)
{
    (void)call;
    (void)reason;
    health_watch_end(context, RPC_STATUS_CANCELLED, BYTES_LIT("cancelled"));
}

static void health_watch(struct rpc_call *call, struct bytes request, void *context)
{
    (void)context;
    struct health_entry *entry = health_asked(call, request);
    if (entry == NULL) {
        return;
    }
    if (atomic_load_explicit(&call->server->draining, memory_order_relaxed)) {
        (void)rpc_call_finish(call, RPC_STATUS_UNAVAILABLE,
                              BYTES_LIT("the server is shutting down"), NULL, 0);
        return;
    }
    struct health_watch *watch = xcalloc(1, sizeof *watch);
    watch->call = call;
    watch->entry = entry;
    watch->told_serving = health_get(call->server, entry);
    list_push_back(&call->base.loop->watchers, &watch->node);
    rpc_call_on_cancel(call, health_on_cancel, watch);
    (void)rpc_call_send_copy(call, health_message(watch->told_serving));
}

static void health_tell_loop(struct rpc_server *server, struct rpc_loop *loop)
{
    struct list_node *node = list_first(&loop->watchers);
    while (node != NULL) {
        struct list_node *next = list_next(&loop->watchers, node);
        struct health_watch *watch = CONTAINER_OF(node, struct health_watch, node);
        const bool serving = health_get(server, watch->entry);
        if (serving != watch->told_serving) {
            watch->told_serving = serving;
            (void)rpc_call_send_copy(watch->call, health_message(serving));
        }
        node = next;
    }
}

void health_watchers_end(struct rpc_loop *loop)
{
    struct list_node *node;
    while ((node = list_first(&loop->watchers)) != NULL) {
        health_watch_end(CONTAINER_OF(node, struct health_watch, node), RPC_STATUS_UNAVAILABLE,
                         BYTES_LIT("the server is shutting down"));
    }
}

void rpc_health_set(struct rpc_server *server, const char *service, bool serving)
{
    (void)pthread_mutex_lock(&server->health_lock);
    struct health_entry *entry = health_find(server, bytes_str(service));
    const bool changed = entry == NULL || entry->serving != serving;
    if (entry == NULL) {
        entry = xcalloc(1, sizeof *entry);
        entry->name = xstrdup(service);
        map_insert(&server->health, &entry->node, bytes_str(entry->name));
    }
    entry->serving = serving;
    (void)pthread_mutex_unlock(&server->health_lock);
    if (changed) {
        server_post_all(server, health_tell_loop);
    }
}

void health_init(struct rpc_server *server)
{
    map_init(&server->health);
    rpc_health_set(server, "", true);
}

void health_deinit(struct rpc_server *server)
{
    struct map_node *node;
    while ((node = map_next(&server->health, NULL)) != NULL) {
        struct health_entry *entry = CONTAINER_OF(node, struct health_entry, node);
        map_remove(&server->health, node);
        free(entry->name);
        free(entry);
    }
    map_deinit(&server->health);
}

SILO_RC health_register(struct rpc_server *server, struct silo_err *err)
{
    static const struct rpc_method methods[] = {
        {.path = "/grpc.health.v1.Health/Check",
         .on_call = health_check,
         .rank = RPC_RANK_URGENT,
         .message_bytes_max = HEALTH_MESSAGE_BYTES_MAX,
         .calls_per_conn_max = HEALTH_CALLS_PER_CONN_MAX},
        {.path = "/grpc.health.v1.Health/Watch",
         .on_call = health_watch,
         .rank = RPC_RANK_SIDE,
         .message_bytes_max = HEALTH_MESSAGE_BYTES_MAX,
         .calls_per_conn_max = HEALTH_CALLS_PER_CONN_MAX,
         .server_streaming = true},
    };
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        TRY(rpc_server_add(server, &methods[i], err));
    }
    return RC_OK;
}
