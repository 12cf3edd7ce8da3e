/*
 * rpc/request.c - what a client sent: headers, then framed messages; every refusal of the protocol
 * layer.
 *
 * Order of checks: header size, method and content type (HTTP answers), authorization, path, load.
 * Authorization comes before the path, so that a stranger does not learn which methods exist. An
 * answered call ignores what still comes.
 */
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "rpc/server_int.h"
#include "rpc/text_int.h"

#define HEADER_COUNT_FIRST 16u
#define HEADER_OVERHEAD_BYTES 32u

static void request_keep_header(struct rpc_call *call, struct bytes name, struct bytes value)
{
    if (call->header_count == call->header_cap) {
        const uint32_t cap = call->header_cap != 0 ? call->header_cap * 2 : HEADER_COUNT_FIRST;
        struct call_header *grown = arena_alloc(&call->base.arena, cap * sizeof *grown);
        if (call->header_count != 0) {
            memcpy(grown, call->headers, call->header_count * sizeof *grown);
        }
        call->headers = grown;
        call->header_cap = cap;
    }
    call->headers[call->header_count++] = (struct call_header){
        arena_copy(&call->base.arena, name), arena_copy(&call->base.arena, value)};
}

/* Where a header the protocol layer reads is kept; NULL for all others. */
static struct bytes *request_field(struct rpc_call *call, struct bytes name)
{
    switch (name.len) {
    case 5:
        return bytes_eq(name, BYTES_LIT(":path")) ? &call->path : NULL;
    case 7:
        return bytes_eq(name, BYTES_LIT(":method")) ? &call->http_method : NULL;
    case 10:
        return bytes_eq(name, BYTES_LIT(":authority")) ? &call->authority : NULL;
    case 12:
        return bytes_eq(name, BYTES_LIT("content-type"))   ? &call->content_type
               : bytes_eq(name, BYTES_LIT("grpc-timeout")) ? &call->timeout
                                                           : NULL;
    case 13:
        return bytes_eq(name, BYTES_LIT("authorization")) ? &call->auth : NULL;
    default:
        return NULL;
    }
}

bool request_header(struct rpc_call *call, struct bytes name, struct bytes value)
{
    const size_t bytes_max = call->server->options.header_bytes_max;
    call->header_bytes += name.len + value.len + HEADER_OVERHEAD_BYTES;
    if (call->header_bytes > bytes_max) {
        call->headers_over = true;
        return call->header_bytes <= SERVER_HEADERS_OVER * bytes_max;
    }
    if (call->headers_done) {
        return true; /* request trailers mean nothing here */
    }
    if (call->headers_heavy || !weight_admits(call->conn)) {
        call->headers_heavy = true;
        return true;
    }
    struct bytes *field = request_field(call, name);
    if (field != NULL) {
        if (field->ptr == NULL) { /* the first one counts */
            *field = arena_copy(&call->base.arena, value);
        }
    } else if (name.len != 0 && name.ptr[0] != ':' && !bytes_eq(name, BYTES_LIT("te"))) {
        request_keep_header(call, name, value);
    }
    weight_update(call);
    return true;
}

static bool content_type_ok(struct bytes type)
{
    const struct bytes grpc = BYTES_LIT("application/grpc");
    return bytes_starts(type, grpc) &&
           (type.len == grpc.len || type.ptr[grpc.len] == '+' || type.ptr[grpc.len] == ';');
}

/* Equal in time that depends on lengths only. */
static bool secret_eq(struct bytes given, struct bytes secret)
{
    unsigned diff = given.len != secret.len;
    for (size_t i = 0; i < secret.len; i++) {
        const uint8_t c = given.len != 0 ? given.ptr[i % given.len] : 0;
        diff |= (unsigned)(c ^ secret.ptr[i]);
    }
    return diff == 0;
}

/* NULL when the caller may go on, else why not. */
static const char *request_auth_error(const struct rpc_call *call)
{
    const struct bytes wanted = call->server->auth_value;
    if (wanted.ptr == NULL) {
        return NULL;
    }
    if (call->auth.ptr == NULL) {
        return "missing authorization header";
    }
    for (size_t i = 0; i < call->auth.len; i++) {
        if (call->auth.ptr[i] < 0x20 || call->auth.ptr[i] > 0x7e) {
            return "invalid authorization header";
        }
    }
    return secret_eq(call->auth, wanted) ? NULL : "invalid auth token";
}

static void request_refuse(struct rpc_call *call, uint32_t status, const char *text)
{
    if (call->answered) {
        return;
    }
    call_abort(call, RPC_CANCEL_RESET, status, text);
    if (!call->held) {
        call_drop_request(call);
    }
}

static void request_refuse_path(struct rpc_call *call, bool known_service)
{
    const struct bytes service = server_service_name(call->path);
    request_refuse(
        call, RPC_STATUS_UNIMPLEMENTED,
        known_service || service.len == 0
            ? arena_printf(&call->base.arena, "unknown method %.*s", BYTES_FMT(call->path))
            : arena_printf(&call->base.arena, "unknown service %.*s", BYTES_FMT(service)));
}

static void request_set_deadline(struct rpc_call *call)
{
    int64_t timeout_us = 0;
    if (call->timeout.ptr != NULL && timeout_parse(call->timeout, &timeout_us)) {
        call->base.deadline_us = call->start_us + timeout_us;
        loop_timer_start(call->base.loop, &call->deadline, call->base.deadline_us);
    }
}

static bool request_http_ok(struct rpc_call *call)
{
    if (call->headers_over) {
        request_refuse(call, RPC_STATUS_RESOURCE_EXHAUSTED,
                       arena_printf(&call->base.arena, "request headers are larger than %zu bytes",
                                    call->server->options.header_bytes_max));
        return false;
    }
    if (call->headers_heavy) {
        request_refuse(call, RPC_STATUS_RESOURCE_EXHAUSTED,
                       "the headers of open calls take too much memory");
        return false;
    }
    if (!bytes_eq(call->http_method, BYTES_LIT("POST"))) {
        call_answer_http(call, "405");
        return false;
    }
    if (!content_type_ok(call->content_type)) {
        call_answer_http(call, "415");
        return false;
    }
    return true;
}

/*
 * One line for a burst: whoever runs the server learns of a worker with an old token, or of
 * somebody who guesses.
 */
static void request_refuse_stranger(struct rpc_call *call, const char *why)
{
    const uint32_t count = burst_add(&call->base.loop->strangers, loop_now_us(call->base.loop));
    if (count != 0) {
        log_warn("calls_unauthenticated", LOG_STR("reason", why),
                 LOG_STR("last", call->conn->conn.peer), LOG_INT("calls", count), LOG_END);
    }
    request_refuse(call, RPC_STATUS_UNAUTHENTICATED, why);
}

void request_headers_done(struct rpc_call *call)
{
    call->headers_done = true;
    if (!request_http_ok(call)) {
        return;
    }
    struct server_method *method =
        MAP_ENTRY(map_find(&call->server->methods, call->path), struct server_method, node);
    const struct server_service *service = NULL;
    if (method != NULL) {
        call->method = method->method;
    } else {
        service = server_service_find(call->server, call->path);
    }
    if (method != NULL ? method->method->needs_auth : service != NULL && service->needs_auth) {
        const char *why = request_auth_error(call);
        if (why != NULL) {
            request_refuse_stranger(call, why);
            return;
        }
    }
    if (method == NULL) {
        request_refuse_path(call, service != NULL);
        return;
    }
    if (!admit_call(call)) {
        request_refuse(call, RPC_STATUS_RESOURCE_EXHAUSTED, "too many calls in flight");
        return;
    }
    const size_t bytes_max = call->method->message_bytes_max;
    if (bytes_max != 0 && bytes_max < call->reader.bytes_max) {
        call->reader.bytes_max = bytes_max;
    }
    if (room_shut(call)) {
        request_refuse(call, RPC_STATUS_RESOURCE_EXHAUSTED, RPC_REPLY_FULL_TEXT);
        return;
    }
    request_set_deadline(call);
    if (call->method->bidi) {
        call->reader.arena = NULL;
        call_begin(call, BYTES_LIT(""));
    }
}

/* False when the call is over. */
static bool request_message(struct rpc_call *call)
{
    call->message_count++;
    if (!call->method->bidi) {
        return true;
    }
    call->method->on_message(call, frame_message(&call->reader), call->method->context);
    if (!call->held || call->answered) {
        return false;
    }
    frame_next(&call->reader);
    return true;
}

/* What is wrong with the framing is the whole answer. */
static void request_refuse_frame(struct rpc_call *call, enum frame_result result)
{
    switch (result) {
    case FRAME_TOO_LARGE:
        request_refuse(
            call, RPC_STATUS_OUT_OF_RANGE,
            arena_printf(
                &call->base.arena,
                "decoded message length too large: found %zu bytes, the limit is: %zu bytes",
                call->reader.want, call->reader.bytes_max));
        break;
    case FRAME_COMPRESSED:
        call->plain_accept = true;
        request_refuse(call, RPC_STATUS_UNIMPLEMENTED, "compressed messages are not supported");
        break;
    case FRAME_BAD:
        request_refuse(call, RPC_STATUS_INTERNAL, "malformed message frame: bad compression flag");
        break;
    case FRAME_MORE:
    case FRAME_DONE:
        break;
    }
}

/*
 * Takes messages from *data and moves it on; stops before one that a bidirectional call cannot
 * answer now.
 */
static void request_feed(struct rpc_call *call, struct bytes *data)
{
    while (data->len != 0) {
        if (call->message_count != 0 && !call->method->bidi) {
            request_refuse(call, RPC_STATUS_INTERNAL, "more than one request message");
            return;
        }
        if (call->method->bidi && !call_writable(call)) {
            call->was_full = true;
            return;
        }
        const enum frame_result result = frame_read(&call->reader, data);
        if (result == FRAME_MORE) {
            return;
        }
        if (result != FRAME_DONE) {
            request_refuse_frame(call, result);
            return;
        }
        if (!request_message(call)) {
            return;
        }
    }
}

/* Whether the request bytes there are now may be held; else the call has been refused. */
static bool request_bytes_ok(struct rpc_call *call)
{
    if (admit_bytes(call)) {
        return true;
    }
    request_refuse(call, RPC_STATUS_RESOURCE_EXHAUSTED, "too many bytes of calls in flight");
    return false;
}

/*
 * Counts what a bidirectional call holds now: a message that is not whole, and what was put aside.
 */
static bool request_count_bidi(struct rpc_call *call)
{
    const uint64_t held = call->reader.cap + call->aside.cap;
    if (held != call->counted_bytes) {
        call_count_bytes(call, held - call->counted_bytes); /* may go down: modulo 2^64 */
    }
    return request_bytes_ok(call);
}

static void request_drop_aside(struct rpc_call *call)
{
    buf_deinit(&call->aside);
    call->aside_taken = 0;
}

static size_t request_put_aside(struct rpc_call *call, struct bytes data)
{
    if (call->aside.cap == 0) {
        buf_init(&call->aside, 2 * CONN_STREAM_WINDOW_BYTES);
    }
    buf_append(&call->aside, data.ptr, data.len);
    if (call->aside.full) {
        request_refuse(call, RPC_STATUS_RESOURCE_EXHAUSTED, "more was sent than the window allows");
    }
    return data.len;
}

static size_t request_data_bidi(struct rpc_call *call, struct bytes data)
{
    if (call->aside.len == 0) {
        request_feed(call, &data);
    }
    size_t aside = 0;
    if (data.len != 0 && call->held && !call->answered) {
        aside = request_put_aside(call, data);
    }
    (void)request_count_bidi(call);
    return aside;
}

size_t request_data(struct rpc_call *call, struct bytes data)
{
    if (call->answered || call->method == NULL) {
        return 0;
    }
    if (call->method->bidi) {
        return request_data_bidi(call, data);
    }
    call_count_bytes(call, data.len);
    if (request_bytes_ok(call)) {
        request_feed(call, &data);
    }
    return 0;
}

static void request_end_bidi(struct rpc_call *call)
{
    if (frame_partial(&call->reader)) {
        request_refuse(call, RPC_STATUS_INTERNAL, "the request ended inside a message");
    } else if (call->held) {
        call->method->on_end(call, call->method->context);
    }
}

void request_resume(struct rpc_call *call)
{
    struct bytes rest =
        bytes_of(call->aside.ptr + call->aside_taken, call->aside.len - call->aside_taken);
    const size_t before = rest.len;
    if (!call->answered) {
        request_feed(call, &rest);
    }
    const bool over = rest.len == 0 || call->answered;
    const size_t taken = call->answered ? before : before - rest.len;
    (void)nghttp2_session_consume_stream(call->conn->conn.session, call->stream_id, taken);
    conn_dirty(&call->conn->conn); /* the window may be worth telling */
    call->aside_taken += taken;
    if (over) {
        request_drop_aside(call);
    }
    if (!call->answered && request_count_bidi(call) && over && call->request_end) {
        request_end_bidi(call);
    }
}

void request_end(struct rpc_call *call)
{
    call->request_end = true;
    if (call->answered || call->method == NULL) {
        return;
    }
    if (call->method->bidi) {
        if (call->aside.len == 0) {
            request_end_bidi(call);
        }
    } else if (call->message_count != 0) {
        if (admit_call(call)) {
            call_begin(call, frame_message(&call->reader));
        } else {
            request_refuse(call, RPC_STATUS_RESOURCE_EXHAUSTED, "too many calls in flight");
        }
    } else {
        request_refuse(call, RPC_STATUS_INTERNAL,
                       frame_partial(&call->reader) ? "the request ended inside a message"
                                                    : "missing request message");
    }
}
