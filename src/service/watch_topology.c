/*
 * service/watch_topology.c - WatchTopology: the topology at once, and at each newer directory.
 *
 *     due ──writable, some time after the one before──► sent ──a newer directory──► due
 *
 * What is sent is made of the newest directory when it leaves, so a caller that reads slowly, or
 * many changes at a time, cost one message. A stream holds nothing between two messages.
 *
 * The streams of a loop are listed there: they end when the server stops (service_release), since
 * their callers would never end them and each keeps its connection from being closed.
 */
#include <stdlib.h>

#include "service/topology_int.h"

#define STREAM_FULL_TEXT "too many callers watch the topology; ask GetClusterInfo instead"
#define STREAM_STOP_TEXT "the server is shutting down"

struct topology_stream {
    struct call *call;
    struct list_node node; /* service_loop.streams */
    struct svc_watch watch;
    struct rpc_timer timer; /* set while it is due and too soon */
    uint64_t version;       /* the newest that the caller has; 0: none */
    int64_t next_us;        /* when the next message may leave */
};

/* Last of all: the call and the stream are gone then. */
static void stream_end(struct topology_stream *stream, enum silo_code code, const char *text)
{
    struct call *call = stream->call;
    svc_unwatch(&stream->watch);
    list_remove(&stream->node);
    rpc_timer_stop(rpc_call_loop(call->rpc), &stream->timer);
    (void)atomic_fetch_sub_explicit(&call->service->streams, 1, memory_order_relaxed);
    svc_fail(call, code, text);
}

static void stream_cancelled(struct rpc_call *rpc, enum rpc_cancel reason, void *context)
{
    (void)rpc;
    (void)reason;
    stream_end(context, SILO_CANCELLED, "cancelled");
}

/*
 * The message of that directory for a caller who dialled so: made once for all of a loop, since
 * many dial the same and a large cluster's takes as long as hundreds of calls. Lent until the next.
 */
static struct bytes stream_message(const struct call *call, const struct directory *directory)
{
    struct topology_message *kept = &svc_loop(call)->message;
    const struct bytes address = topology_address(call);
    if (kept->version == directory->version && bytes_eq(kept->address, address)) {
        return kept->packed;
    }
    arena_reset(&kept->arena);
    Silo__V1__GetClusterInfoResponse message;
    topology_fill(call, directory, &kept->arena, &message);
    const size_t size = protobuf_c_message_get_packed_size(&message.base);
    uint8_t *packed = arena_alloc(&kept->arena, size);
    (void)protobuf_c_message_pack(&message.base, packed);
    kept->version = directory->version;
    kept->address = arena_copy(&kept->arena, address);
    kept->packed = bytes_of(packed, size);
    return kept->packed;
}

/* Longer where all streams together would send more than they may. */
static int64_t stream_spacing_us(const struct service *service, size_t size)
{
    const uint64_t streams = atomic_load_explicit(&service->streams, memory_order_relaxed);
    const int64_t wanted_us = (int64_t)(streams * size / TOPOLOGY_BYTES_PER_US);
    return wanted_us > TOPOLOGY_SPACING_US ? wanted_us : TOPOLOGY_SPACING_US;
}

/* Nothing of the stream may be used afterwards: sending can end it. */
static void stream_send(struct topology_stream *stream, const struct directory *directory)
{
    struct call *call = stream->call;
    const struct bytes message = stream_message(call, directory);
    stream->version = directory->version;
    stream->next_us =
        rpc_loop_now_us(rpc_call_loop(call->rpc)) + stream_spacing_us(call->service, message.len);
    (void)rpc_call_send_copy(call->rpc, message);
}

static void stream_go_on(struct topology_stream *stream)
{
    struct rpc_call *rpc = stream->call->rpc;
    const struct directory *directory = svc_directory(stream->call);
    if (directory->version == stream->version || !rpc_call_writable(rpc)) {
        return;
    }
    if (rpc_loop_now_us(rpc_call_loop(rpc)) < stream->next_us) {
        rpc_timer_start(rpc_call_loop(rpc), &stream->timer, stream->next_us);
        return;
    }
    stream_send(stream, directory);
}

static void stream_newer(struct svc_watch *watch)
{
    stream_go_on(CONTAINER_OF(watch, struct topology_stream, watch));
}

static void stream_writable(struct rpc_call *rpc, void *context)
{
    (void)rpc;
    stream_go_on(context);
}

static void stream_timer(struct rpc_timer *timer)
{
    stream_go_on(CONTAINER_OF(timer, struct topology_stream, timer));
}

/* Whether there is room for one more; then it is taken. */
static bool stream_admit(struct service *service)
{
    if (atomic_fetch_add_explicit(&service->streams, 1, memory_order_relaxed) <
        TOPOLOGY_STREAMS_MAX) {
        return true;
    }
    (void)atomic_fetch_sub_explicit(&service->streams, 1, memory_order_relaxed);
    return false;
}

void on_watch_topology(struct call *call)
{
    const Silo__V1__WatchTopologyRequest *request = call->message;
    struct service *service = call->service;
    struct service_loop *loop = svc_loop(call);
    if (atomic_load_explicit(&service->releasing, memory_order_seq_cst)) {
        svc_fail(call, SILO_UNAVAILABLE, STREAM_STOP_TEXT);
        return;
    }
    if (!stream_admit(service)) {
        svc_fail(call, SILO_EXHAUSTED, STREAM_FULL_TEXT);
        return;
    }
    struct topology_stream *stream = ARENA_NEW(call->arena, struct topology_stream);
    stream->call = call;
    stream->timer.fire = stream_timer;
    stream->version = request->known_life == service->life ? request->known_version : 0;
    list_push_back(&loop->streams, &stream->node);
    rpc_call_on_cancel(call->rpc, stream_cancelled, stream);
    rpc_call_on_writable(call->rpc, stream_writable, stream);
    svc_watch(call, &stream->watch, stream_newer);
    stream_go_on(stream);
}

void topology_streams_end(struct service_loop *loop)
{
    struct list_node *node;
    while ((node = list_first(&loop->streams)) != NULL) {
        stream_end(CONTAINER_OF(node, struct topology_stream, node), SILO_UNAVAILABLE,
                   STREAM_STOP_TEXT);
    }
}
