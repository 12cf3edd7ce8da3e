/*
 * rpc/weight.c - what open calls themselves take: their bookkeeping and their headers.
 *
 * A header block of a few bytes can stand for many (HPACK), so headers are counted as they were
 * decoded and kept. A call weighs what its arena and its structs take when the headers have come;
 * bodies and replies are counted elsewhere.
 *
 * Above a maximum a new stream is refused before anything of it is kept (REFUSED_STREAM: it may be
 * tried again), and a call whose headers reach it is answered RESOURCE_EXHAUSTED. Whatever others
 * hold, each connection has a small part.
 */
#include "rpc/server_int.h"

/* What nghttp2 holds for a call: the stream, its part of tables, the frames of its answer. */
#define WEIGHT_STREAM_BYTES 1024u

bool weight_admits(const struct server_conn *conn)
{
    const struct rpc_server_options *options = &conn->server->options;
    const uint64_t all = atomic_load_explicit(&conn->server->call_bytes, memory_order_relaxed);
    return conn->call_bytes <= options->conn_call_bytes_max &&
           (all <= options->call_bytes_max || conn->call_bytes <= RPC_CONN_FLOOR_BYTES);
}

void weight_update(struct rpc_call *call)
{
    const uint64_t now = sizeof *call + WEIGHT_STREAM_BYTES + call->base.arena.bytes;
    const uint64_t more = now - call->weight_bytes;
    if (more != 0) {
        call->weight_bytes = now;
        call->conn->call_bytes += more;
        atomic_fetch_add_explicit(&call->server->call_bytes, more, memory_order_relaxed);
    }
}

void weight_free(struct rpc_call *call)
{
    atomic_fetch_sub_explicit(&call->server->call_bytes, call->weight_bytes, memory_order_relaxed);
    if (call->owner != NULL) {
        call->owner->call_bytes -= call->weight_bytes;
    }
    call->weight_bytes = 0;
}

uint64_t rpc_server_call_bytes(const struct rpc_server *server)
{
    return atomic_load_explicit(&server->call_bytes, memory_order_relaxed);
}
