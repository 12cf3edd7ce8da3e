/*
 * rpc/call.c - a server call: how it is answered and when it is freed.
 *
 *     headers, body --> held by the handler --> answered --> stream closed --> freed
 *                         |                                     ^
 *                         +-- reset / lost / deadline: told by on_cancel, still held until it is
 *                         finished
 *
 * 1. A call is in memory while its stream is open (conn != NULL) or a handler holds it.
 * 2. One answer: `answered` is set once. Without a message it is trailers only; else headers,
 *    messages, trailers, the trailers submitted from the read callback when the queue has been used
 *    up. Until it is freed its memory counts as its connection's, unless that is gone: who gives up
 *    calls frees nothing by it while handlers are at work.
 * 3. An answer before the request's end is followed by RST_STREAM(NO_ERROR), from session.c once
 *    the trailers left.
 */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "rpc/server_int.h"
#include "rpc/text_int.h"

#define NV_LIT(name_, value_)                                                           \
    {                                                                                   \
        (uint8_t *)(name_), (uint8_t *)(value_), sizeof(name_) - 1, sizeof(value_) - 1, \
            NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE                \
    }

static const struct rpc_call_ops call_ops; /* at the end */

static const char *const status_digits[] = {"0", "1",  "2",  "3",  "4",  "5",  "6",  "7", "8",
                                            "9", "10", "11", "12", "13", "14", "15", "16"};

static void held_add(const struct rpc_call *call, int by)
{
    struct rpc_loop *loop = call->base.loop;
    const unsigned now = atomic_load_explicit(&loop->held_calls, memory_order_relaxed);
    atomic_store_explicit(&loop->held_calls, now + (unsigned)by, memory_order_relaxed);
    if (call->method->rank == RPC_RANK_SIDE) {
        loop->side_calls += (unsigned)by;
    }
}

static nghttp2_nv nv_lent(struct bytes name, struct bytes value)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name.ptr, (uint8_t *)(uintptr_t)value.ptr, name.len,
                        value.len, NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE};
}

static void call_on_deadline(struct rpc_timer *timer)
{
    struct rpc_call *call = CONTAINER_OF(timer, struct rpc_call, deadline);
    if (call->answered) {
        call_reset(call); /* the caller waits no longer for what it has not taken */
    } else {
        call_abort(call, RPC_CANCEL_DEADLINE, RPC_STATUS_DEADLINE_EXCEEDED, "deadline exceeded");
    }
}

struct rpc_call *call_new(struct server_conn *conn, int32_t stream_id)
{
    struct rpc_loop *loop = conn->conn.loop;
    struct arena arena = {0};
    struct rpc_call *call = LIST_ENTRY(list_pop_front(&loop->free_calls), struct rpc_call, node);
    if (call != NULL) {
        loop->free_call_count--;
        arena = call->base.arena;
    } else {
        call = xmalloc(sizeof *call);
    }
    *call = (struct rpc_call){.base = {.ops = &call_ops, .loop = loop, .arena = arena},
                              .server = conn->server,
                              .conn = conn,
                              .owner = conn,
                              .stream_id = stream_id,
                              .start_us = loop_now_us(loop),
                              .moved_us = loop_now_us(loop),
                              .deadline.fire = call_on_deadline};
    frame_reader_init(&call->reader, conn->server->options.message_bytes_max, &call->base.arena);
    list_push_back(&conn->calls, &call->node);
    conn->call_count++;
    loop->counted.begun++;
    weight_update(call);
    return call;
}

void call_drop_request(struct rpc_call *call)
{
    frame_reader_deinit(&call->reader);
    buf_deinit(&call->aside);
    call->aside_taken = 0;
    if (call->counted_bytes != 0) {
        call_count_bytes(call, 0 - call->counted_bytes); /* modulo 2^64 */
    }
}

void call_disown(struct rpc_call *call)
{
    list_remove(&call->node);
    call->owner->left_count--;
    call->owner = NULL;
}

static void call_free(struct rpc_call *call)
{
    ASSERT(call->conn == NULL && !call->held && !heap_has(&call->deadline.node));
    struct rpc_loop *loop = call->base.loop;
    frame_queue_clear(&call->queue);
    weight_free(call);
    call_drop_request(call);
    if (call->owner != NULL) {
        call_disown(call);
    }
    if (loop->free_call_count >= LOOP_CALLS_KEPT) {
        arena_deinit(&call->base.arena);
        free(call);
        return;
    }
    arena_reset(&call->base.arena);
    list_push_front(&loop->free_calls, &call->node);
    loop->free_call_count++;
}

void calls_free_kept(struct rpc_loop *loop)
{
    struct list_node *node;
    while ((node = list_pop_front(&loop->free_calls)) != NULL) {
        struct rpc_call *call = CONTAINER_OF(node, struct rpc_call, node);
        arena_deinit(&call->base.arena);
        free(call);
    }
    loop->free_call_count = 0;
}

void call_count_bytes(struct rpc_call *call, uint64_t bytes)
{
    call->counted_bytes += bytes;
    if (call->owner != NULL) {
        call->owner->request_bytes += bytes;
    }
    if (call->method->rank == RPC_RANK_SIDE) {
        atomic_fetch_add_explicit(&call->server->side_request_bytes, bytes, memory_order_relaxed);
    }
    const uint64_t before =
        atomic_fetch_add_explicit(&call->server->inflight_bytes, bytes, memory_order_relaxed);
    room_note_peak(call->server, before + bytes);
}

static void call_count(struct rpc_call *call, uint64_t bytes)
{
    ASSERT(call->held && loop_is_here(call->base.loop));
    call_count_bytes(call, bytes);
}

/* Whom a status concerns: nobody, the caller, those who wait, or us. */
static void count_ended(struct loop_counters *counted, uint32_t status)
{
    switch ((enum rpc_status)status) {
    case RPC_STATUS_OK:
        counted->ended_ok++;
        return;
    case RPC_STATUS_CANCELLED:
    case RPC_STATUS_DEADLINE_EXCEEDED:
        counted->ended_left++;
        return;
    case RPC_STATUS_RESOURCE_EXHAUSTED:
    case RPC_STATUS_UNAVAILABLE:
        counted->ended_busy++;
        return;
    case RPC_STATUS_INVALID_ARGUMENT:
    case RPC_STATUS_NOT_FOUND:
    case RPC_STATUS_ALREADY_EXISTS:
    case RPC_STATUS_PERMISSION_DENIED:
    case RPC_STATUS_FAILED_PRECONDITION:
    case RPC_STATUS_OUT_OF_RANGE:
    case RPC_STATUS_UNIMPLEMENTED:
    case RPC_STATUS_UNAUTHENTICATED:
        counted->ended_refused++;
        return;
    case RPC_STATUS_UNKNOWN:
    case RPC_STATUS_ABORTED:
    case RPC_STATUS_INTERNAL:
    case RPC_STATUS_DATA_LOSS:
        break;
    }
    counted->ended_failed++;
}

/* The outcome is known: counters. */
static void call_tell_done(struct rpc_call *call, uint32_t status)
{
    const struct rpc_server_options *options = &call->server->options;
    if (call->told) {
        return;
    }
    call->told = true;
    call->status = status;
    count_ended(&call->base.loop->counted, status);
    if (options->on_done != NULL && call->method != NULL) {
        options->on_done(options->context, call->method, status,
                         loop_now_us(call->base.loop) - call->start_us);
    }
}

static void call_tell_cancel(struct rpc_call *call, enum rpc_cancel reason)
{
    void (*const on_cancel)(struct rpc_call *, enum rpc_cancel, void *) = call->on_cancel;
    if (call->held && on_cancel != NULL) {
        call->on_cancel = NULL;
        on_cancel(call, reason, call->cancel_context);
    }
}

void call_gone(struct rpc_call *call, enum rpc_cancel reason)
{
    ASSERT(call->conn != NULL);
    list_remove(&call->node);
    list_remove(&call->writable);
    call->conn->call_count--;
    call->conn->left_count++;
    list_push_back(&call->conn->left, &call->node);
    if (list_empty(&call->conn->calls)) {
        call->conn->idle_since_us = loop_now_us(call->base.loop);
    }
    room_leave(call);
    call->conn = NULL;
    loop_timer_stop(call->base.loop, &call->deadline);
    frame_queue_clear(&call->queue);
    room_update(call);
    call_tell_done(call, RPC_STATUS_CANCELLED);
    if (!call->held) {
        call_free(call);
        return;
    }
    call_tell_cancel(call, reason);
}

/* --- answers --- */

static size_t call_status_nv(struct rpc_call *call, nghttp2_nv *nv)
{
    size_t count = 0;
    nv[count++] = nv_lent(BYTES_LIT("grpc-status"), bytes_str(status_digits[call->status]));
    if (call->text.len != 0) {
        nv[count++] = nv_lent(BYTES_LIT("grpc-message"), call->text);
    }
    for (size_t i = 0; i < call->trailer_count; i++) {
        nv[count++] = nv_lent(call->trailers[i].name, call->trailers[i].value);
    }
    if (call->plain_accept) {
        nv[count++] = nv_lent(BYTES_LIT("grpc-accept-encoding"), BYTES_LIT("identity"));
    }
    return count;
}

static ssize_t call_read(nghttp2_session *session, int32_t stream_id, uint8_t *buf, size_t length,
                         uint32_t *data_flags, nghttp2_data_source *source, void *user_data)
{
    (void)buf;
    (void)user_data;
    struct rpc_call *call = source->ptr;
    if (call->given_up) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    const size_t n = call->queue.bytes < length ? call->queue.bytes : length;
    if (n == 0 && !call->end) {
        return NGHTTP2_ERR_DEFERRED;
    }
    *data_flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (n == call->queue.bytes && call->end) {
        *data_flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
        nghttp2_nv nv[RPC_TRAILERS_MAX + 3];
        const size_t count = call_status_nv(call, nv);
        if (nghttp2_submit_trailer(session, stream_id, nv, count) != 0) {
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        }
    }
    return (ssize_t)n;
}

/* Lets nghttp2 know that the queue, or its end, changed. */
static void call_push(struct rpc_call *call)
{
    static const nghttp2_nv nv[] = {NV_LIT(":status", "200"),
                                    NV_LIT("content-type", "application/grpc")};
    nghttp2_session *session = call->conn->conn.session;
    int rc = 0;
    if (!call->headers_sent) {
        call->headers_sent = true;
        const nghttp2_data_provider provider = {.source.ptr = call, .read_callback = call_read};
        rc = nghttp2_submit_response(session, call->stream_id, nv, sizeof nv / sizeof nv[0],
                                     &provider);
    } else {
        rc = nghttp2_session_resume_data(session, call->stream_id);
        rc = rc == NGHTTP2_ERR_INVALID_ARGUMENT ? 0 : rc; /* it was not waiting */
    }
    if (rc != 0) {
        conn_break(&call->conn->conn); /* out of memory, or a state that must not be */
    }
    conn_dirty(&call->conn->conn);
}

/* Status and trailers are set: send them, after what is queued. */
static void call_push_end(struct rpc_call *call)
{
    call->answered = true;
    call->end = true;
    call->moved_us = loop_now_us(call->base.loop);
    if (call->headers_sent || call->queue.bytes != 0) {
        call_push(call);
        return;
    }
    nghttp2_nv nv[RPC_TRAILERS_MAX + 5] = {NV_LIT(":status", "200"),
                                           NV_LIT("content-type", "application/grpc")};
    const size_t count = 2 + call_status_nv(call, nv + 2);
    call->headers_sent = true;
    if (nghttp2_submit_response(call->conn->conn.session, call->stream_id, nv, count, NULL) != 0) {
        conn_break(&call->conn->conn);
    }
    conn_dirty(&call->conn->conn);
}

void call_abort(struct rpc_call *call, enum rpc_cancel reason, uint32_t status, const char *text)
{
    if (call->conn == NULL || call->answered) {
        return;
    }
    frame_queue_clear(&call->queue);
    room_update(call);
    /*
     * The arena of a held call may be in use on another thread; its texts are literals in plain
     * ASCII.
     */
    call->text = call->held ? bytes_str(text) : text_encode(&call->base.arena, bytes_str(text));
    call_tell_done(call, status);
    call_push_end(call);
    call_tell_cancel(call, reason);
}

void call_reset(struct rpc_call *call)
{
    if (call->conn == NULL || call->given_up) {
        return;
    }
    (void)nghttp2_submit_rst_stream(call->conn->conn.session, NGHTTP2_FLAG_NONE, call->stream_id,
                                    NGHTTP2_CANCEL);
    conn_dirty(&call->conn->conn);
    call->given_up = call->answered = true;
    frame_queue_clear(&call->queue);
    room_update(call);
    if (!call->held && call->text.len == 0 && call->trailer_count == 0) {
        /*
         * Nothing that nghttp2 may still send lies here. The stream itself closes when the reset
         * has left.
         */
        frame_reader_deinit(&call->reader);
        arena_reset(&call->base.arena);
    }
    call_tell_done(call, RPC_STATUS_CANCELLED);
    call_tell_cancel(call, RPC_CANCEL_RESET);
}

void call_answer_http(struct rpc_call *call, const char *http_status)
{
    const nghttp2_nv nv = nv_lent(BYTES_LIT(":status"), bytes_str(http_status));
    call->answered = true;
    call->headers_sent = true;
    call->end = true;
    call->told = true;
    if (nghttp2_submit_response(call->conn->conn.session, call->stream_id, &nv, 1, NULL) != 0) {
        conn_break(&call->conn->conn);
    }
    conn_dirty(&call->conn->conn);
}

void call_begin(struct rpc_call *call, struct bytes request)
{
    call->held = true;
    held_add(call, 1);
    call->method->on_call(call, request, call->method->context);
}

/* The handler gives the call back. */
static void call_release(struct rpc_call *call)
{
    ASSERT(call->held);
    call->held = false;
    held_add(call, -1);
    call->on_cancel = NULL;
    call->on_writable = NULL;
    call->reply_reserved = 0;
    room_update(call);
    if (call->conn == NULL) {
        call_free(call);
    }
}

/* --- what handlers call --- */

static struct bytes call_request(const struct rpc_call *call)
{
    return call->method->bidi ? BYTES_LIT("") : frame_message(&call->reader);
}

static struct bytes call_find_header(const struct rpc_call *call, const char *name)
{
    const struct bytes wanted = bytes_str(name);
    for (uint32_t i = 0; i < call->header_count; i++) {
        if (bytes_eq(call->headers[i].name, wanted)) {
            return call->headers[i].value;
        }
    }
    return BYTES_NONE;
}

static struct bytes call_authority(const struct rpc_call *call)
{
    return call->authority;
}

bool call_alive(const struct rpc_call *call)
{
    return call->conn != NULL && !call->answered && !call->conn->conn.broken;
}

static void call_on_cancel(struct rpc_call *call,
                           void (*on_cancel)(struct rpc_call *call, enum rpc_cancel reason,
                                             void *context),
                           void *context)
{
    ASSERT(call->held);
    call->on_cancel = on_cancel;
    call->cancel_context = context;
}

static void pieces_drop(const struct rpc_piece *pieces, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (pieces[i].release != NULL) {
            pieces[i].release(pieces[i].context, false);
        }
    }
}

static uint64_t pieces_bytes(const struct rpc_piece *pieces, size_t count)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        bytes += pieces[i].bytes.len;
    }
    return bytes;
}

/*
 * Whether there is a caller for one more message, and room; where there is no room the caller has
 * been told.
 */
static bool call_admits(struct rpc_call *call, uint64_t bytes)
{
    if (!call_alive(call)) {
        return false;
    }
    const bool too_large = bytes > call->server->options.message_bytes_max;
    if (!too_large && room_admits(call, call->queue.held_bytes + bytes)) {
        return true;
    }
    call->conn->stuffed = call->conn->stuffed || !too_large;
    call_abort(call, RPC_CANCEL_RESET,
               too_large ? RPC_STATUS_OUT_OF_RANGE : RPC_STATUS_RESOURCE_EXHAUSTED,
               too_large ? "reply message length too large" : RPC_REPLY_FULL_TEXT);
    return false;
}

static bool call_reply(struct rpc_call *call, const struct rpc_piece *pieces, size_t count)
{
    ASSERT(call->held && loop_is_here(call->base.loop));
    const bool alive = call_alive(call);
    call->on_cancel = NULL; /* whatever is the matter, the handler is done */
    if (!call_admits(call, pieces_bytes(pieces, count))) {
        pieces_drop(pieces, count);
    } else {
        frame_queue_push(&call->queue, &call->base.arena, pieces, count, false);
        call_tell_done(call, RPC_STATUS_OK);
        call_push_end(call);
    }
    call_release(call);
    return alive;
}

static void call_copy_trailers(struct rpc_call *call, const struct rpc_header *trailers,
                               size_t count)
{
    ASSERT(count <= RPC_TRAILERS_MAX);
    if (count == 0) {
        return;
    }
    call->trailers = arena_alloc(&call->base.arena, count * sizeof trailers[0]);
    for (size_t i = 0; i < count; i++) {
        if (rpc_header_text_ok(trailers[i].value)) {
            call->trailers[call->trailer_count++] =
                (struct rpc_header){arena_copy(&call->base.arena, trailers[i].name),
                                    arena_copy(&call->base.arena, trailers[i].value)};
        }
    }
}

static bool call_finish(struct rpc_call *call, uint32_t status, struct bytes text,
                        const struct rpc_header *trailers, size_t trailer_count)
{
    ASSERT(call->held && loop_is_here(call->base.loop));
    const bool alive = call_alive(call);
    if (alive) {
        call->text = text_encode(&call->base.arena, text);
        call_copy_trailers(call, trailers, trailer_count);
        call_tell_done(call, status <= 16 ? status : RPC_STATUS_UNKNOWN);
        call_push_end(call);
    }
    call_release(call);
    return alive;
}

static bool call_send(struct rpc_call *call, const struct rpc_piece *pieces, size_t count,
                      bool copy)
{
    ASSERT(call->held && loop_is_here(call->base.loop));
    if (!call_admits(call, pieces_bytes(pieces, count))) {
        pieces_drop(pieces, count);
        return false;
    }
    if (call->queue.bytes == 0) {
        call->moved_us = loop_now_us(call->base.loop);
    }
    frame_queue_push(&call->queue, NULL, pieces, count, copy);
    room_update(call);
    call_push(call);
    if (!call_writable(call)) {
        call->was_full = true;
    }
    return true;
}

bool call_writable(const struct rpc_call *call)
{
    const bool has_room =
        call->conn == NULL || room_admits(call, call->queue.held_bytes + RPC_REPLY_SMALL_BYTES);
    const size_t queue_max = call->method->bidi ? RPC_BIDI_QUEUE_BYTES : RPC_STREAM_QUEUE_BYTES;
    return call->queue.bytes == 0 || (call->queue.bytes < queue_max && has_room);
}

static void call_on_writable(struct rpc_call *call,
                             void (*on_writable)(struct rpc_call *call, void *context),
                             void *context)
{
    ASSERT(call->held);
    call->on_writable = on_writable;
    call->writable_context = context;
}

void call_tell_writable(struct rpc_call *call)
{
    call->was_full = false;
    if (call->held && call->on_writable != NULL) {
        call->on_writable(call, call->writable_context);
    }
    if (call->aside.len != 0) {
        request_resume(call);
    }
}

static const struct rpc_call_ops call_ops = {
    .request = call_request,
    .header = call_find_header,
    .authority = call_authority,
    .alive = call_alive,
    .on_cancel = call_on_cancel,
    .count = call_count,
    .reserve = room_reserve,
    .reply = call_reply,
    .finish = call_finish,
    .send = call_send,
    .writable = call_writable,
    .on_writable = call_on_writable,
};
