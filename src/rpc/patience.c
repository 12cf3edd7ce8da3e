/*
 * rpc/patience.c - what a connection of the server is waited for, and for how long.
 *
 *     silence     while a call is open a ping; without a byte in return in time the peer is dead,
 *                 and what it held is given up. Without a call it holds nothing, and some clients
 *                 read nothing then: the kernels keep in touch
 *     a body      that stopped arriving ends its call
 *     output      of which the peer takes no byte: the connection ends; if it is one answered
 *                 call's: the call's stream
 *     no calls    for long, or old age: GOAWAY, so that the client goes elsewhere or comes back
 *                 when it has work
 *
 * One timer for each connection looks at all of this. Reads and writes only note the time of the
 * turn they are in, so that waiting costs the path of a call nothing. Times are met late by up to
 * one look. Looks of many connections fall on the same instants, so that idle ones wake the thread
 * a few times a second at most.
 */
#include "base/assert.h"
#include "base/env.h"
#include "rpc/server_int.h"

/* Between two looks, at most; half of the shortest wait where that is less. */
#define PATIENCE_LOOK_US_MAX 15000000
#define PATIENCE_LOOK_US_MIN 5000
/* Looks that are further away than two of these fall on multiples of it. */
#define PATIENCE_GRID_US 500000

const struct rpc_patience rpc_patience_default = {
    .keepalive_us = RPC_KEEPALIVE_US_DEFAULT,
    .keepalive_timeout_us = RPC_KEEPALIVE_TIMEOUT_US_DEFAULT,
    .idle_us = RPC_IDLE_US_DEFAULT,
    .age_us = 0,
    .age_grace_us = RPC_AGE_GRACE_US_DEFAULT,
    .output_us = RPC_OUTPUT_US_DEFAULT,
    .body_us = RPC_BODY_US_DEFAULT,
};

static bool is_due(int64_t since_us, int64_t wait_us, int64_t now_us)
{
    return wait_us != 0 && now_us - since_us >= wait_us;
}

/* Until when the next look can wait. */
static int64_t patience_look_us(const struct rpc_patience *patience)
{
    const int64_t waits[] = {patience->keepalive_us, patience->keepalive_timeout_us,
                             patience->idle_us,      patience->age_us,
                             patience->age_grace_us, patience->output_us,
                             patience->body_us};
    int64_t look_us = PATIENCE_LOOK_US_MAX;
    for (size_t i = 0; i < sizeof waits / sizeof waits[0]; i++) {
        if (waits[i] != 0 && waits[i] / 2 < look_us) {
            look_us = waits[i] / 2;
        }
    }
    return look_us > PATIENCE_LOOK_US_MIN ? look_us : PATIENCE_LOOK_US_MIN;
}

static void patience_again(struct server_conn *conn)
{
    struct rpc_loop *loop = conn->conn.loop;
    const int64_t look_us = patience_look_us(&conn->server->options.patience);
    int64_t at_us = loop_now_us(loop) + look_us;
    if (look_us >= 2 * PATIENCE_GRID_US) {
        at_us -= at_us % PATIENCE_GRID_US;
    }
    loop_timer_start(loop, &conn->patience, at_us);
}

/* False when the peer is dead. */
static bool patience_ping(struct server_conn *conn, int64_t now_us)
{
    static const uint8_t payload[8] = "alive-1";
    const struct rpc_patience *patience = &conn->server->options.patience;
    struct conn *base = &conn->conn;
    const bool calls = !list_empty(&conn->calls);
    if (!calls || (conn->ping_us != 0 && base->read_us > conn->ping_us)) {
        conn->ping_us = 0;
    }
    if (conn->ping_us != 0) {
        return !is_due(conn->ping_us, patience->keepalive_timeout_us, now_us);
    }
    if (calls && is_due(base->read_us, patience->keepalive_us, now_us)) {
        conn->ping_us = now_us;
        (void)nghttp2_submit_ping(base->session, NGHTTP2_FLAG_NONE, payload);
        conn_dirty(base);
    }
    return true;
}

static void patience_call(struct rpc_call *call, int64_t now_us)
{
    const struct rpc_patience *patience = &call->server->options.patience;
    const bool receiving = call->method != NULL && !call->request_end && !call->answered;
    if (receiving && is_due(call->moved_us, patience->body_us, now_us)) {
        call_abort(call, RPC_CANCEL_RESET, RPC_STATUS_UNAVAILABLE,
                   "the request stopped arriving before its end");
    } else if (call->conn->conn.waits_us != 0) {
        call->moved_us = now_us; /* it may only wait for others on the same slow way */
    } else if ((call->end || call->queue.bytes != 0) &&
               is_due(call->moved_us, patience->output_us, now_us)) {
        call_reset(call);
    }
}

/* Nobody calls, or long enough has been called: the client is told to go. */
static void patience_end(struct server_conn *conn, int64_t now_us)
{
    const struct rpc_patience *patience = &conn->server->options.patience;
    const bool idle =
        list_empty(&conn->calls) && is_due(conn->idle_since_us, patience->idle_us, now_us);
    if ((idle || (conn->old_us != 0 && now_us >= conn->old_us)) && !conn->draining) {
        conn->left_us = now_us;
        server_conn_drain(conn);
    }
}

static void patience_on_timer(struct rpc_timer *timer)
{
    struct server_conn *conn = CONTAINER_OF(timer, struct server_conn, patience);
    const struct rpc_patience *patience = &conn->server->options.patience;
    struct conn *base = &conn->conn;
    const int64_t now_us = loop_now_us(base->loop);
    const bool stuck = base->waits_us != 0 && is_due(base->waits_us, patience->output_us, now_us);
    const bool late = conn->left_us != 0 && is_due(conn->left_us, patience->age_grace_us, now_us);
    if (stuck || late || !patience_ping(conn, now_us)) {
        conn_break(base);
        return;
    }
    struct list_node *node = list_first(&conn->calls);
    while (node != NULL) {
        struct list_node *next = list_next(&conn->calls, node);
        patience_call(CONTAINER_OF(node, struct rpc_call, node), now_us);
        node = next;
    }
    patience_end(conn, now_us);
    patience_again(conn);
}

/* Spread over a tenth, so that connections made together do not end together. */
static int64_t patience_spread(int64_t us)
{
    uint32_t random = 0;
    env_random(&env_system, &random, sizeof random);
    return us - us / 20 + (int64_t)((double)us / 10 * ((double)random / UINT32_MAX));
}

void patience_start(struct server_conn *conn)
{
    const struct rpc_patience *patience = &conn->server->options.patience;
    const int64_t now_us = loop_now_us(conn->conn.loop);
    conn->idle_since_us = conn->conn.read_us = now_us;
    conn->old_us = patience->age_us != 0 ? now_us + patience_spread(patience->age_us) : 0;
    conn->patience.fire = patience_on_timer;
    patience_again(conn);
}

void patience_stop(struct server_conn *conn)
{
    loop_timer_stop(conn->conn.loop, &conn->patience);
}
