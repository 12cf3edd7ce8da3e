/*
 * rpc/loop_int.h - one I/O thread: a uv loop, a mailbox, timers, and the connections that have
 * something to send.
 *
 * Ownership  the loop owns its buffers; connections and timers belong to others and are linked in.
 * Threads    the loop's own thread, but for loop_post.
 * Limits     LOOP_READ_BYTES a read, LOOP_OUT_BYTES collected before a write.
 */
#ifndef SILO_RPC_LOOP_INT_H
#define SILO_RPC_LOOP_INT_H

#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

#include "base/buf.h"
#include "base/burst.h"
#include "metrics/counters.h"
#include "metrics/published.h"
#include "rpc/rpc.h"

#define LOOP_READ_BYTES (128u << 10) /* one read(2) */
#define LOOP_OUT_BYTES (192u << 10)  /* collected frames before they are written */
/* The whole buffer: LOOP_OUT_BYTES and the largest frame block. */
#define LOOP_OUT_BYTES_MAX (512u << 10)
#define LOOP_UNREAD_BYTES_MAX (64u << 20) /* read by all connections and left for their next turn */
#define LOOP_CALLS_KEPT 1024u /* finished calls kept for reuse, with a chunk of arena each */

struct conn;

struct rpc_loop {
    struct rpc_loop_base base; /* first */
    uv_loop_t uv;
    uv_async_t wake;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle; /* active: do not sleep in this turn */
    uv_timer_t timer;
    pthread_t thread;
    struct mailbox mailbox;
    struct heap timers;
    int64_t timer_at_us; /* what `timer` is armed for; INT64_MAX = not armed */
    int64_t now_us;      /* 0 = to be read again in this turn */
    struct list dirty;   /* struct conn.dirty: has frames to send */
    struct buf out;
    uint8_t *read_buf;
    size_t unread_bytes;    /* struct conn.unread, of all connections */
    struct burst calmed;    /* connections that sent too much of something */
    struct burst strangers; /* calls without the right token */
    struct burst refused;   /* TLS handshakes that failed */
    struct list free_calls; /* struct rpc_call.node */
    uint32_t free_call_count;
    struct list conns;      /* struct conn.node, all of this loop */
    atomic_uint conn_count; /* written by the loop and the acceptor, read by both */
    atomic_uint held_calls; /* written by the loop, read by rpc_server_calls */
    uint32_t side_calls;    /* of those, RPC_RANK_SIDE */
    struct list watchers;   /* health watches on this loop */
    struct loop_counters counted;
    struct published *published; /* those of its newest turn */
    bool running;                /* the thread was started */
    bool stopping;
};

SILO_RC loop_init(struct rpc_loop *loop, struct silo_err *err);
SILO_RC loop_start(struct rpc_loop *loop, struct silo_err *err);
/*
 * Any thread but the loop's: no new work; ends once the loop's connections and calls are gone;
 * joins.
 */
void loop_join(struct rpc_loop *loop);
void loop_deinit(struct rpc_loop *loop);
/* rpc.h's functions of a loop, for those who know that it is one of these. */
void loop_post(struct rpc_loop *loop, struct rpc_mail *mail);
int64_t loop_now_us(struct rpc_loop *loop);
void loop_timer_start(struct rpc_loop *loop, struct rpc_timer *timer, int64_t at_us);
void loop_timer_stop(struct rpc_loop *loop, struct rpc_timer *timer);
/* Any thread. Whether the calling thread is the loop's. */
bool loop_is_here(const struct rpc_loop *loop);
/* Sends what the loop's connections have to send. */
void loop_flush(struct rpc_loop *loop);

#endif
