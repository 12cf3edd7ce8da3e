/* coord/behaviour/proxy_test.c - see proxy_test.h. */
#include "coord/behaviour/proxy_test.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "rpc/rpc.h"

#define TXN "/etcdserverpb.KV/Txn"
#define TARGET_MAX 128

struct proxy {
    struct rpc_server *server;
    struct rpc_channel *channel;
    char target[TARGET_MAX], own[TARGET_MAX];
    atomic_bool lose, keep;
    struct rpc_call *kept; /* the loop's, like its answer */
    struct bytes kept_reply;
    struct rpc_mail let;
};

/* One call, or stream, carried over. */
struct carried {
    struct rpc_request request;
    struct rpc_header header;
    struct rpc_call *call;
    struct proxy *proxy;
    uint8_t *message;
    bool begun;
};

static void carried_done(struct rpc_request *request)
{
    struct carried *carried = CONTAINER_OF(request, struct carried, request);
    struct rpc_call *call = carried->call;
    struct proxy *proxy = carried->proxy;
    const bool txn = strcmp(request->path, TXN) == 0 && request->status == RPC_STATUS_OK;
    if (txn && atomic_exchange(&proxy->lose, false)) {
        (void)rpc_call_finish(call, RPC_STATUS_UNAVAILABLE, BYTES_LIT("lost"), NULL, 0);
    } else if (txn && atomic_exchange(&proxy->keep, false)) {
        proxy->kept = call;
        proxy->kept_reply = arena_copy(rpc_call_arena(call), request->reply);
    } else if (request->status == RPC_STATUS_OK && request->on_message == NULL) {
        (void)rpc_call_reply(call, arena_copy(rpc_call_arena(call), request->reply));
    } else {
        (void)rpc_call_finish(call, request->status, request->text, NULL, 0);
    }
    free(carried->message);
    free(carried);
}

static void kept_answer(struct rpc_mail *mail)
{
    struct proxy *proxy = CONTAINER_OF(mail, struct proxy, let);
    if (proxy->kept != NULL) {
        (void)rpc_call_reply(proxy->kept, proxy->kept_reply);
        proxy->kept = NULL;
    }
}

static struct carried *carried_new(struct rpc_call *call, struct proxy *proxy, const char *path)
{
    struct carried *carried = xcalloc(1, sizeof *carried);
    carried->call = call;
    carried->proxy = proxy;
    carried->header = (struct rpc_header){BYTES_LIT("hasleader"), BYTES_LIT("true")};
    carried->request = (struct rpc_request){
        .path = path, .headers = &carried->header, .header_count = 1, .on_done = carried_done};
    return carried;
}

static void carry(struct carried *carried, struct bytes message)
{
    carried->begun = true;
    carried->message = xmalloc(message.len + 1);
    memcpy(carried->message, message.ptr, message.len);
    carried->request.message = bytes_of(carried->message, message.len);
    rpc_channel_call(carried->proxy->channel, &carried->request);
}

static const char *const singles[] = {
    "/etcdserverpb.KV/Range", TXN, "/etcdserverpb.Lease/LeaseGrant",
    "/etcdserverpb.Lease/LeaseRevoke", "/etcdserverpb.Lease/LeaseKeepAlive"};
#define SINGLES (sizeof singles / sizeof singles[0])

/* Which of them it is: a method's context. */
struct single {
    struct proxy *proxy;
    const char *path;
};
static struct single single_contexts[SINGLES];

static void on_single(struct rpc_call *call, struct bytes request, void *context)
{
    const struct single *single = context;
    carry(carried_new(call, single->proxy, single->path), request);
}

/* --- the stream --- */

static void stream_message(struct rpc_request *request, struct bytes message)
{
    (void)rpc_call_send_copy(CONTAINER_OF(request, struct carried, request)->call, message);
}

static struct carried *streams[64]; /* by nothing but their calls */

static struct carried **stream_of(const struct rpc_call *call)
{
    for (size_t i = 0; i < sizeof streams / sizeof streams[0]; i++) {
        if (streams[i] != NULL && streams[i]->call == call) {
            return &streams[i];
        }
    }
    return NULL;
}

static void stream_done(struct rpc_request *request)
{
    struct carried *carried = CONTAINER_OF(request, struct carried, request);
    struct carried **place = stream_of(carried->call);
    if (place != NULL) {
        *place = NULL;
    }
    (void)rpc_call_finish(carried->call, request->status, request->text, NULL, 0);
    free(carried->message);
    free(carried);
}

static void stream_gone(struct rpc_call *call, enum rpc_cancel reason, void *context)
{
    (void)reason;
    (void)context;
    struct carried **place = stream_of(call);
    if (place != NULL && (*place)->begun) {
        rpc_channel_cancel((*place)->proxy->channel, &(*place)->request);
    } else if (place != NULL) {
        free(*place);
        *place = NULL;
        (void)rpc_call_finish(call, RPC_STATUS_CANCELLED, BYTES_NONE, NULL, 0);
    }
}

static void on_watch(struct rpc_call *call, struct bytes request, void *context)
{
    (void)request;
    struct carried *carried = carried_new(call, context, "/etcdserverpb.Watch/Watch");
    carried->request.goes_on = true;
    carried->request.on_message = stream_message;
    carried->request.on_done = stream_done;
    size_t at = 0;
    while (streams[at] != NULL) {
        at++;
        ASSERT(at < sizeof streams / sizeof streams[0]);
    }
    streams[at] = carried;
    rpc_call_on_cancel(call, stream_gone, NULL);
}

static void on_watch_message(struct rpc_call *call, struct bytes message, void *context)
{
    (void)context;
    struct carried **place = stream_of(call);
    ASSERT(place != NULL);
    if (!(*place)->begun) {
        carry(*place, message);
    } else {
        rc_ignore(rpc_channel_send(&(*place)->request, message, NULL), "it is asked for again");
    }
}

static void on_watch_end(struct rpc_call *call, void *context)
{
    (void)context;
    struct carried **place = stream_of(call);
    if (place != NULL && (*place)->begun) {
        rpc_channel_end(&(*place)->request);
    }
}

/* --- making and taking down --- */

struct proxy *proxy_new(const char *endpoint)
{
    static struct rpc_method methods[SINGLES + 1];
    struct proxy *proxy = xcalloc(1, sizeof *proxy);
    const struct rpc_server_options options = {.listen = "127.0.0.1:0", .loops = 1};
    static const char http[] = "http://";
    ASSERT(strncmp(endpoint, http, sizeof http - 1) == 0);
    (void)snprintf(proxy->target, sizeof proxy->target, "%s", endpoint + sizeof http - 1);
    ASSERT(rpc_server_new(&options, &proxy->server, NULL).code == SILO_OK);
    for (size_t i = 0; i < SINGLES; i++) {
        single_contexts[i] = (struct single){proxy, singles[i]};
        methods[i] = (struct rpc_method){
            .path = singles[i], .on_call = on_single, .context = &single_contexts[i]};
    }
    methods[SINGLES] = (struct rpc_method){.path = "/etcdserverpb.Watch/Watch",
                                           .bidi = true,
                                           .on_call = on_watch,
                                           .on_message = on_watch_message,
                                           .on_end = on_watch_end,
                                           .context = proxy};
    for (size_t i = 0; i < SINGLES + 1; i++) {
        ASSERT(rpc_server_add(proxy->server, &methods[i], NULL).code == SILO_OK);
    }
    ASSERT(rpc_server_start(proxy->server, NULL).code == SILO_OK);
    const struct rpc_channel_options channel = {.target = proxy->target};
    ASSERT(
        rpc_channel_new(rpc_server_loop(proxy->server, 0), &channel, &proxy->channel, NULL).code ==
        SILO_OK);
    (void)snprintf(proxy->own, sizeof proxy->own, "127.0.0.1:%u", rpc_server_port(proxy->server));
    return proxy;
}

struct proxy *proxy_free(struct proxy *proxy)
{
    proxy->channel = rpc_channel_free(proxy->channel);
    proxy->server = rpc_server_free(proxy->server);
    free(proxy);
    return NULL;
}

const char *proxy_endpoint(const struct proxy *proxy)
{
    return proxy->own;
}

void proxy_lose(struct proxy *proxy)
{
    atomic_store(&proxy->lose, true);
}

void proxy_keep(struct proxy *proxy)
{
    atomic_store(&proxy->keep, true);
}

void proxy_let(struct proxy *proxy)
{
    proxy->let.run = kept_answer;
    rpc_loop_post(rpc_server_loop(proxy->server, 0), &proxy->let);
}
