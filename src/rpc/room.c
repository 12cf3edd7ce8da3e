/*
 * rpc/room.c - room for replies: what is reserved for them, or ready and not yet sent.
 *
 * A peer that asks and does not read makes the server hold replies. So each call counts the larger
 * of what was reserved for its reply and what of it still lies in memory; connection and server add
 * up what their calls count. A message counts whole until its last byte has left, since until then
 * its memory is held whole.
 *
 *     0 ........ maximum ........ maximum and a quarter
 *     any reply    small replies    no reply, and no new call
 *
 * A small reply may be the outcome of a change that has been made, so it has a quarter of its own:
 * large replies, which are reads as a rule, can fill the rest but never keep one back. Those of
 * urgent calls have one more quarter. And whatever others hold, each connection has a small part
 * for small replies. Calls beside the work (reflection) have a small part of the whole: anybody may
 * make them, so they never keep back what the work has to say.
 */
#include "base/assert.h"
#include "rpc/server_int.h"

static uint64_t room_server_bytes(const struct rpc_server *server)
{
    return atomic_load_explicit(&server->reply_bytes, memory_order_relaxed);
}

/* Whether `total`, were the call's part of it `bytes`, would be within the maximum. */
static bool room_fits(const struct rpc_call *call, uint64_t total, uint64_t bytes, uint64_t max)
{
    const uint64_t others = total > call->reply_bytes ? total - call->reply_bytes : 0;
    const uint64_t slack = max / RPC_REPLY_SLACK * (call->method->rank == RPC_RANK_URGENT ? 2 : 1);
    const uint64_t bound = bytes <= RPC_REPLY_SMALL_BYTES ? max + slack : max;
    return others <= bound && bytes <= bound - others;
}

/* A small reply of a connection that holds hardly any: others cannot keep it back. */
static bool room_below_floor(const struct rpc_call *call, uint64_t bytes)
{
    const uint64_t others = call->conn->reply_bytes - call->reply_bytes;
    return bytes <= RPC_REPLY_SMALL_BYTES && others + bytes <= RPC_CONN_FLOOR_BYTES;
}

/* Whether a call beside the work may hold so much; others always may, as far as this goes. */
static bool room_side_fits(const struct rpc_call *call, uint64_t bytes)
{
    if (call->method->rank != RPC_RANK_SIDE || bytes <= RPC_SIDE_SMALL_BYTES) {
        return true;
    }
    const uint64_t max = call->server->options.reply_bytes_max / RPC_SIDE_SHARE;
    const uint64_t all =
        atomic_load_explicit(&call->server->side_reply_bytes, memory_order_relaxed);
    const uint64_t others = all > call->reply_bytes ? all - call->reply_bytes : 0;
    return others <= max && bytes <= max - others;
}

bool room_admits(const struct rpc_call *call, uint64_t bytes)
{
    const struct rpc_server_options *options = &call->server->options;
    if (bytes <= call->reply_reserved) {
        return true;
    }
    return room_side_fits(call, bytes) &&
           (room_below_floor(call, bytes) ||
            (room_fits(call, room_server_bytes(call->server), bytes, options->reply_bytes_max) &&
             room_fits(call, call->conn->reply_bytes, bytes, options->conn_reply_bytes_max)));
}

bool room_shut(const struct rpc_call *call)
{
    return !room_admits(call, call->method->rank == RPC_RANK_SIDE ? RPC_SIDE_SMALL_BYTES
                                                                  : RPC_REPLY_SMALL_BYTES);
}

void room_note_peak(struct rpc_server *server, uint64_t bytes)
{
    if (bytes > atomic_load_explicit(&server->peak_bytes, memory_order_relaxed)) {
        /* Two loops at once may leave the lower of two peaks: near enough. */
        atomic_store_explicit(&server->peak_bytes, bytes, memory_order_relaxed);
    }
}

static void room_count(struct rpc_server *server, struct server_conn *conn, uint64_t more)
{
    const uint64_t before =
        atomic_fetch_add_explicit(&server->reply_bytes, more, memory_order_relaxed);
    room_note_peak(server, before + more);
    if (conn != NULL) {
        conn->reply_bytes += more;
    }
}

void room_update(struct rpc_call *call)
{
    const uint64_t held = call->queue.held_bytes;
    const uint64_t now = held > call->reply_reserved ? held : call->reply_reserved;
    if (now != call->reply_bytes) {
        const uint64_t more = now - call->reply_bytes; /* may go down: modulo 2^64 */
        room_count(call->server, call->conn, more);
        if (call->method->rank == RPC_RANK_SIDE) {
            atomic_fetch_add_explicit(&call->server->side_reply_bytes, more, memory_order_relaxed);
        }
        call->reply_bytes = now;
    }
}

void room_leave(struct rpc_call *call)
{
    call->conn->reply_bytes -= call->reply_bytes;
}

void room_update_conn(struct server_conn *conn)
{
    const uint64_t now = conn->conn.pending.cap;
    if (now != conn->pending_bytes) {
        room_count(conn->server, conn, now - conn->pending_bytes);
        conn->pending_bytes = now;
    }
}

void room_leave_conn(struct server_conn *conn)
{
    ASSERT(conn->reply_bytes == conn->pending_bytes);
    room_count(conn->server, conn, 0 - conn->pending_bytes);
    conn->pending_bytes = 0;
}

/*
 * Of a connection that was refused a large reply nothing large is made until it has read half of
 * what it has: else each call would read from storage what is then dropped.
 */
static bool room_conn_stuffed(struct rpc_call *call, uint64_t bytes)
{
    struct server_conn *conn = call->conn;
    conn->stuffed =
        conn->stuffed && conn->reply_bytes > call->server->options.conn_reply_bytes_max / 2;
    return conn->stuffed && bytes > RPC_REPLY_SMALL_BYTES;
}

bool room_reserve(struct rpc_call *call, uint64_t bytes)
{
    ASSERT(call->held && loop_is_here(call->base.loop));
    if (!call_alive(call) || room_conn_stuffed(call, bytes)) {
        return false;
    }
    const uint64_t max = call->server->options.reply_bytes_max;
    const uint64_t conn_max = call->server->options.conn_reply_bytes_max;
    if (!room_fits(call, room_server_bytes(call->server), bytes, max) ||
        !room_fits(call, call->conn->reply_bytes, bytes, conn_max)) {
        call->conn->stuffed = true;
        return false;
    }
    call->reply_reserved = bytes;
    room_update(call);
    return true;
}

uint64_t rpc_server_peak_bytes(struct rpc_server *server)
{
    return atomic_exchange_explicit(&server->peak_bytes, 0, memory_order_relaxed);
}

uint64_t rpc_server_reply_bytes(const struct rpc_server *server)
{
    return room_server_bytes(server);
}
