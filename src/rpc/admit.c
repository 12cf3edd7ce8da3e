/*
 * rpc/admit.c - who may still come in when what all connections share is used up.
 *
 *     0 .............. 7/8 ................. 15/16 .............. the maximum
 *     any call         urgent calls          urgent calls with little to say
 *
 * Calls that keep work alive or end it, and health, have the last part of everything to themselves:
 * a server full of new work would otherwise lose the leases of the work it has. Of request bytes
 * one connection has a share, of which the same parts are kept. Calls that anybody may leave open
 * at no cost, without a word to the service (health watches, reflection), and those that their
 * callers can do without for a while, have a small part of the calls and of the bytes.
 */
#include "rpc/server_int.h"

static uint64_t admit_bytes_bound(const struct rpc_call *call, uint64_t max)
{
    if (call->method->rank != RPC_RANK_URGENT) {
        return max - max / RPC_URGENT_SHARE;
    }
    return call->counted_bytes <= RPC_URGENT_SMALL_BYTES ? max : max - max / RPC_URGENT_SHARE / 2;
}

/* Whether calls beside the work hold more than their part, and this one is no small one. */
static bool admit_side_full(const struct rpc_call *call)
{
    const uint64_t side =
        atomic_load_explicit(&call->server->side_request_bytes, memory_order_relaxed);
    return call->method->rank == RPC_RANK_SIDE && call->counted_bytes > RPC_SIDE_SMALL_BYTES &&
           side > call->server->options.inflight_bytes_max / RPC_SIDE_SHARE;
}

bool admit_bytes(const struct rpc_call *call)
{
    const struct rpc_server_options *options = &call->server->options;
    if (admit_side_full(call)) {
        return false;
    }
    const uint64_t all = atomic_load_explicit(&call->server->inflight_bytes, memory_order_relaxed);
    return all <= admit_bytes_bound(call, options->inflight_bytes_max) &&
           call->conn->request_bytes <= admit_bytes_bound(call, options->conn_inflight_bytes_max);
}

/*
 * Whether the connection has as many calls of this method as it may. Looks at no more of its calls
 * than it has.
 */
static bool admit_conn_full(const struct rpc_call *call)
{
    const uint32_t max = call->method->calls_per_conn_max;
    uint32_t count = 0;
    for (struct list_node *node = max != 0 ? list_first(&call->conn->calls) : NULL;
         node != NULL && count <= max; node = list_next(&call->conn->calls, node)) {
        const struct rpc_call *other = CONTAINER_OF(node, struct rpc_call, node);
        count += other->method == call->method && !other->answered ? 1 : 0;
    }
    return max != 0 && count > max; /* the call itself is among them */
}

bool admit_call(const struct rpc_call *call)
{
    if (call->conn->left_count >= call->server->options.streams_max) {
        /* it gave up as many as it may have open, and their handlers are still at work */
        return false;
    }
    const struct rpc_loop *loop = call->base.loop;
    const uint32_t max = call->server->options.calls_per_loop_max;
    const uint32_t held = atomic_load_explicit(&loop->held_calls, memory_order_relaxed);
    switch (call->method->rank) {
    case RPC_RANK_WORK:
        return held < max - max / RPC_URGENT_SHARE && !admit_conn_full(call);
    case RPC_RANK_URGENT:
        return held < max && !admit_conn_full(call);
    case RPC_RANK_SIDE:
        return loop->side_calls < max / RPC_SIDE_SHARE && !admit_conn_full(call);
    }
    return false;
}
