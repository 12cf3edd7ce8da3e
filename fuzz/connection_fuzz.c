/*
 * fuzz/connection_fuzz.c - two clients of one server: one of them hostile, the other one with calls
 * to make.
 *
 * An input is a program of the hostile client's: frames from a grammar, many of them at once,
 * header blocks that refer to the table, continuations, padding, messages cut across frames,
 * windows that overflow, resets, silence, time passing, a new connection. Everything runs inside
 * one turn of the server's loop, through real sockets and conn.c's own reading, so that a "turn"
 * here is what conn_flush does for each connection, the hostile one first.
 *
 * What must hold after every step, whatever was sent:
 *   - a turn does no more work for a connection than CONN_WORK_TURN and one slice, and takes no
 *     more than TURN_CPU_MS_MAX;
 *   - the other client's calls, an ordinary and an urgent one, are answered, and well, within
 *     CALL_TURNS_MAX turns;
 *   - all memory there is stays under HOSTILE_BYTES_MAX above what there was at rest;
 * and in the end nothing is left: no call, no counted byte.
 */
#include "fuzz.h"

#include <sanitizer/allocator_interface.h>
#include <semaphore.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/env.h"
#include "base/log.h"
#include "rpc/server_int.h"
#include "silo_descriptor.h"
#include "wire.h"

#define FLAG_STALLED 1u /* the hostile client reads nothing, but where a step says so */
#define FLAG_BARE 2u    /* it begins without preface and SETTINGS */
#define FLAG_WIDE 4u    /* its windows are as wide as can be */
#define STEPS_MAX 200u
#define CONNS_MAX 4u /* of the hostile client, one after the other */
#define LATE_MAX 32u
#define REPEAT_MAX 2048u
#define SEND_TURNS_MAX 16u /* without progress */
#define TIME_US_MAX 1200000000ll
#define MESSAGE_BYTES_LIMIT (64u << 10)
#define STREAM_BYTES (48u << 10)

#define CALL_TURNS_MAX 2u
#define TURN_CPU_MS_MAX 2000 /* with sanitizers, which make everything some twenty times as slow */
#define TURN_WORK_MAX \
    (CONN_WORK_TURN + CONN_SLICE_BYTES / 9u * (CONN_WORK_FRAME + CONN_WORK_REQUEST))
/*
 * Per connection some 1.5 MiB of frames to be sent and their streams, and what all share: requests,
 * replies, calls.
 */
#define HOSTILE_BYTES_MAX (16u << 20)

static struct rpc_server *server;
static struct {
    struct rpc_call *calls[LATE_MAX];
    size_t count;
} late;

/* --- handlers --- */

static void on_echo(struct rpc_call *call, struct bytes request, void *context)
{
    (void)context;
    (void)rpc_call_reply(call, request);
}

/* Kept until late_answer, whatever becomes of the stream meanwhile. */
static void on_late(struct rpc_call *call, struct bytes request, void *context)
{
    (void)context;
    if (late.count == LATE_MAX) {
        (void)rpc_call_reply(call, request);
    } else {
        late.calls[late.count++] = call;
    }
}

static void late_answer(void)
{
    while (late.count != 0) {
        struct rpc_call *call = late.calls[--late.count];
        (void)rpc_call_reply(call, rpc_call_request(call));
    }
}

static void wait_cancelled(struct rpc_call *call, enum rpc_cancel reason, void *context)
{
    (void)reason;
    (void)context;
    (void)rpc_call_finish(call, RPC_STATUS_CANCELLED, BYTES_LIT("cancelled"), NULL, 0);
}

static void on_wait(struct rpc_call *call, struct bytes request, void *context)
{
    (void)request;
    rpc_call_on_cancel(call, wait_cancelled, context);
}

static void on_large(struct rpc_call *call, struct bytes request, void *context)
{
    static const uint8_t zeros[STREAM_BYTES];
    (void)request;
    (void)context;
    (void)rpc_call_reply(call, bytes_of(zeros, sizeof zeros));
}

static const struct rpc_method methods[] = {
    {.path = "/test.Fuzz/Echo", .on_call = on_echo},
    {.path = "/test.Fuzz/Urgent", .on_call = on_echo, .rank = RPC_RANK_URGENT},
    {.path = "/test.Fuzz/Late", .on_call = on_late},
    {.path = "/test.Fuzz/Wait", .on_call = on_wait},
    {.path = "/test.Fuzz/Large", .on_call = on_large},
};

static const char *const paths[] = {
    "/test.Fuzz/Echo",
    "/test.Fuzz/Urgent",
    "/test.Fuzz/Late",
    "/test.Fuzz/Wait",
    "/test.Fuzz/Large",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/test.Fuzz/None",
};
#define PATHS_COUNT (sizeof paths / sizeof paths[0])

static void server_make(void)
{
    struct silo_err err;
    const struct rpc_server_options options = {
        .listen = "127.0.0.1:0",
        .message_bytes_max = MESSAGE_BYTES_LIMIT,
        .header_bytes_max = 4096,
        .inflight_bytes_max = 8 * MESSAGE_BYTES_LIMIT,
        .conn_inflight_bytes_max = 3 * MESSAGE_BYTES_LIMIT,
        .reply_bytes_max = 8 * MESSAGE_BYTES_LIMIT,
        .conn_reply_bytes_max = 3 * MESSAGE_BYTES_LIMIT,
        .call_bytes_max = 1u << 20,
        .conn_call_bytes_max = 256u << 10,
        .calls_per_loop_max = 1024,
        .streams_max = 64,
        .patience = rpc_patience_default,
        .descriptors = bytes_of(silo_descriptor_set, silo_descriptor_set_len),
    };
    log_set_level(LOG_OFF);
    ASSERT(rpc_server_new(&options, &server, &err).code == SILO_OK);
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        ASSERT(rpc_server_add(server, &methods[i], &err).code == SILO_OK);
    }
    ASSERT(rpc_server_start(server, &err).code == SILO_OK);
}

/* --- a client's end of a connection --- */

struct client {
    struct server_conn *conn; /* freed after the input only, by the loop */
    int fd;
    bool reads;
    uint32_t stream;  /* the honest one's last */
    struct buf heard; /* the honest one's, of the call it makes */
};

struct world {
    struct rpc_loop *loop;
    struct client hostile, honest;
    uint32_t conns; /* hostile ones so far */
    int64_t passed_us;
    size_t rest_bytes; /* in use when the input began */
};

static bool client_over(const struct client *client)
{
    return client->conn->conn.closed;
}

static void client_read(struct client *client, struct buf *to)
{
    static uint8_t scratch[64u << 10];
    ssize_t n;
    while ((n = recv(client->fd, scratch, sizeof scratch, MSG_DONTWAIT)) > 0) {
        if (to != NULL) {
            buf_append(to, scratch, (size_t)n);
        }
    }
}

static void client_open(struct world *world, struct client *client, bool reads)
{
    static const char name[CONN_PEER_BYTES] = "fuzz";
    int fds[2];
    ASSERT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
    (void)atomic_fetch_add(&server->conn_count, 1);
    (void)atomic_fetch_add(&world->loop->conn_count, 1);
    server_conn_new(server, world->loop, fds[0], NULL, name);
    struct list_node *node = list_last(&world->loop->conns);
    *client = (struct client){.conn = server_conn_of(CONTAINER_OF(node, struct conn, node)),
                              .fd = fds[1],
                              .reads = reads};
    buf_init(&client->heard, WIRE_BYTES_MAX);
}

static void client_close(struct world *world, struct client *client)
{
    if (!client_over(client)) {
        conn_break(&client->conn->conn);
        loop_flush(world->loop);
    }
    ASSERT(client_over(client));
    (void)close(client->fd);
    buf_deinit(&client->heard);
}

/* --- turns --- */

static int64_t cpu_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void client_ready(struct client *client)
{
    if (!client_over(client)) {
        client->conn->conn.read_more = true;
        conn_dirty(&client->conn->conn);
    }
}

static void turn(struct world *world)
{
    client_ready(&world->hostile);
    client_ready(&world->honest);
    const int64_t begin_ms = cpu_ms();
    loop_flush(world->loop);
    ASSERT(cpu_ms() - begin_ms <= TURN_CPU_MS_MAX);
    ASSERT(world->hostile.conn->conn.work <= TURN_WORK_MAX);
    if (world->hostile.reads) {
        client_read(&world->hostile, NULL);
    }
    client_read(&world->honest, &world->honest.heard);
    const size_t used = __sanitizer_get_current_allocated_bytes();
    ASSERT(used <= world->rest_bytes + HOSTILE_BYTES_MAX);
}

/* The loop's timers, as its uv timer would fire them. */
static void time_passes(struct world *world, int64_t us)
{
    if (world->passed_us + us > TIME_US_MAX) {
        return;
    }
    world->passed_us += us;
    world->loop->now_us = rpc_loop_now_us(world->loop) + us;
    struct heap_node *node;
    while ((node = heap_min(&world->loop->timers)) != NULL && node->key <= world->loop->now_us) {
        heap_remove(&world->loop->timers, node);
        struct rpc_timer *timer = CONTAINER_OF(node, struct rpc_timer, node);
        timer->fire(timer);
    }
    turn(world);
}

/* --- the honest client --- */

static void put_request(struct buf *out, uint32_t stream, const char *path, bool end,
                        struct bytes more)
{
    struct buf block;
    buf_init(&block, WIRE_BYTES_MAX);
    wire_header(&block, BYTES_LIT(":method"), BYTES_LIT("POST"));
    wire_header(&block, BYTES_LIT(":scheme"), BYTES_LIT("http"));
    wire_header(&block, BYTES_LIT(":authority"), BYTES_LIT("fuzz"));
    wire_header(&block, BYTES_LIT(":path"), bytes_str(path));
    wire_header(&block, BYTES_LIT("content-type"), BYTES_LIT("application/grpc"));
    wire_header(&block, BYTES_LIT("te"), BYTES_LIT("trailers"));
    buf_append(&block, more.ptr, more.len);
    wire_frame(out, NGHTTP2_HEADERS,
               (uint8_t)(NGHTTP2_FLAG_END_HEADERS | (end ? NGHTTP2_FLAG_END_STREAM : 0)), stream,
               buf_bytes(&block));
    buf_deinit(&block);
}

static void put_preface(struct buf *out, bool wide)
{
    buf_append(out, NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN);
    wire_frame(out, NGHTTP2_SETTINGS, 0, 0,
               wide ? BYTES_LIT("\0\4\x7f\xff\xff\xff") : BYTES_LIT(""));
    wire_frame(out, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, BYTES_NONE);
    if (wide) {
        wire_frame(out, NGHTTP2_WINDOW_UPDATE, 0, 0, BYTES_LIT("\x7f\xff\0\0"));
    }
}

/* Whether the stream's trailers came; *ret_message is what came before them, in gRPC's framing. */
static bool heard_answer(struct bytes heard, uint32_t stream, struct bytes *ret_message)
{
    *ret_message = BYTES_NONE;
    while (heard.len >= 9) {
        const uint8_t *p = heard.ptr;
        const size_t len = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
        const uint32_t of =
            (uint32_t)p[5] << 24 | (uint32_t)p[6] << 16 | (uint32_t)p[7] << 8 | p[8];
        if (heard.len < 9 + len) {
            return false;
        }
        if (of == stream && p[3] == NGHTTP2_DATA) {
            *ret_message = bytes_of(p + 9, len);
        } else if (of == stream && p[3] == NGHTTP2_HEADERS && (p[4] & NGHTTP2_FLAG_END_STREAM)) {
            return true;
        }
        heard = bytes_after(heard, 9 + len);
    }
    return false;
}

static void honest_send(struct client *client, struct bytes wire)
{
    ASSERT(send(client->fd, wire.ptr, wire.len, MSG_NOSIGNAL) == (ssize_t)wire.len);
}

static void honest_call(struct world *world, const char *path)
{
    struct client *client = &world->honest;
    struct buf out;
    struct bytes message;
    client->stream = client->stream != 0 ? client->stream + 2 : 1;
    buf_reset(&client->heard);
    buf_init(&out, WIRE_BYTES_MAX);
    put_request(&out, client->stream, path, false, BYTES_NONE);
    wire_message(&out, client->stream, true, 0, 0, BYTES_LIT("honest"));
    honest_send(client, buf_bytes(&out));
    buf_deinit(&out);
    bool heard = false;
    for (uint32_t i = 0; i < CALL_TURNS_MAX && !heard; i++) {
        turn(world);
        heard = heard_answer(buf_bytes(&client->heard), client->stream, &message);
    }
    ASSERT(heard && bytes_eq(message, BYTES_LIT("\0\0\0\0\6honest")));
}

static void honest_works(struct world *world)
{
    honest_call(world, "/test.Fuzz/Echo");
    honest_call(world, "/test.Fuzz/Urgent");
}

/* --- the hostile client --- */

static void hostile_send(struct world *world, struct buf *out)
{
    struct client *client = &world->hostile;
    struct bytes wire = buf_bytes(out);
    for (uint32_t idle = 0; wire.len != 0 && idle < SEND_TURNS_MAX && !client_over(client);
         idle++) {
        const ssize_t n = send(client->fd, wire.ptr, wire.len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) {
            wire = bytes_after(wire, (size_t)n);
            idle = 0;
        }
        turn(world);
    }
    buf_deinit(out);
    buf_init(out, WIRE_BYTES_MAX);
}

static void hostile_open(struct world *world, unsigned flags, struct buf *out)
{
    world->conns++;
    client_open(world, &world->hostile, (flags & FLAG_STALLED) == 0);
    if ((flags & FLAG_BARE) == 0) {
        put_preface(out, (flags & FLAG_WIDE) != 0);
    }
}

static uint32_t take_stream(struct bytes *in)
{
    return (take_u8(in) % 128u) * 2 + 1;
}

static uint32_t take_repeat(struct bytes *in)
{
    const uint32_t count = 1u << (take_u8(in) % 12u);
    return count < REPEAT_MAX ? count : REPEAT_MAX;
}

/* A length with a prefix of 7 bits, as HPACK writes it. */
static void put_length(struct buf *block, uint32_t len)
{
    buf_u8(block, (uint8_t)(len < 127 ? len : 127));
    if (len < 127) {
        return;
    }
    for (len -= 127; len >= 128; len >>= 7) {
        buf_u8(block, (uint8_t)((len & 127) | 128));
    }
    buf_u8(block, (uint8_t)len);
}

/*
 * One field of a header block: an entry of the table again and again, a large one for it, its size,
 * or something else.
 */
static void put_field(struct buf *block, struct bytes *in)
{
    static uint8_t filler[8192];
    const uint8_t op = take_u8(in);
    const uint8_t more = take_u8(in);
    if (op >= 0x80) {
        for (uint32_t i = 0; i <= more; i++) {
            buf_u8(block, op);
        }
    } else if (op >= 0x20 && op < 0x40) {
        buf_u8(block, op);
        if ((op & 0x1f) == 0x1f) {
            buf_u8(block, more & 0x7f);
        }
    } else if (op >= 0x10 && op < 0x20) {
        const struct bytes raw = take_bytes(in, 64);
        buf_append(block, raw.ptr, raw.len);
    } else {
        memset(filler, 'v', sizeof filler);
        buf_u8(block, op & 0x40);
        buf_append(block, "\3x-", 3);
        buf_u8(block, 'a' + more % 26);
        put_length(block, (uint32_t)more * 32u);
        buf_append(block, filler, (size_t)more * 32u);
    }
}

/*
 * HEADERS with such fields, whole or with the rest in CONTINUATIONs, the last of which may never
 * come.
 */
static void put_headers(struct buf *out, uint32_t stream, bool end, struct bytes *in)
{
    struct buf block;
    buf_init(&block, WIRE_BYTES_MAX);
    const uint8_t shape = take_u8(in);
    if ((shape & 1) != 0) { /* else a request without what makes one */
        wire_header(&block, BYTES_LIT(":method"), BYTES_LIT("POST"));
        wire_header(&block, BYTES_LIT(":scheme"), BYTES_LIT("http"));
        wire_header(&block, BYTES_LIT(":authority"), BYTES_LIT("fuzz"));
        wire_header(&block, BYTES_LIT(":path"), bytes_str(paths[take_u8(in) % PATHS_COUNT]));
        wire_header(&block, BYTES_LIT("content-type"), BYTES_LIT("application/grpc"));
    }
    for (uint32_t i = 0; i < (shape >> 1) % 8u; i++) {
        put_field(&block, in);
    }
    const size_t part = 1 + (size_t)take_u8(in) * 64;
    const bool open = take_u8(in) >= 0xc0;
    struct bytes rest = buf_bytes(&block);
    uint8_t type = NGHTTP2_HEADERS;
    do {
        const size_t len = rest.len < part ? rest.len : part;
        const bool last = len == rest.len && !open;
        const uint8_t flags =
            (uint8_t)((last ? NGHTTP2_FLAG_END_HEADERS : 0) |
                      (end && type == NGHTTP2_HEADERS ? NGHTTP2_FLAG_END_STREAM : 0));
        wire_frame(out, type, flags, stream, bytes_of(rest.ptr, len));
        rest = bytes_after(rest, len);
        type = NGHTTP2_CONTINUATION;
    } while (rest.len != 0);
    buf_deinit(&block);
}

/* DATA: part of a message, with or without padding, the length of which may lie. */
static void put_data(struct buf *out, uint32_t stream, bool end, struct bytes *in)
{
    struct buf body;
    buf_init(&body, WIRE_BYTES_MAX);
    const uint8_t shape = take_u8(in);
    const uint8_t pad = take_u8(in);
    if ((shape & 1) != 0) {
        buf_u8(&body, pad);
    }
    if ((shape & 2) != 0) {
        const uint8_t head[5] = {shape >> 7, 0, (shape & 4) != 0 ? 1 : 0, take_u8(in), take_u8(in)};
        buf_append(&body, head, sizeof head);
    }
    static const uint8_t zeros[16384 - 600];
    const struct bytes some = take_bytes(in, 400);
    buf_append(&body, some.ptr, some.len);
    buf_append(&body, zeros, (shape & 8) != 0 ? sizeof zeros : 0);
    buf_append(&body, zeros, (shape & 3) == 1 ? pad : 0);
    wire_frame(out, NGHTTP2_DATA,
               (uint8_t)((end ? NGHTTP2_FLAG_END_STREAM : 0) |
                         ((shape & 1) != 0 ? NGHTTP2_FLAG_PADDED : 0)),
               stream, buf_bytes(&body));
    buf_deinit(&body);
}

/* The same small frame many times. */
static void put_flood(struct buf *out, uint32_t stream, struct bytes *in)
{
    static const struct {
        uint8_t type, flags;
        bool on_stream;
        const char *payload;
        uint8_t len;
    } kinds[] = {
        {NGHTTP2_PING, 0, false, "12345678", 8},
        {NGHTTP2_PING, NGHTTP2_FLAG_ACK, false, "alive-1", 8},
        {NGHTTP2_SETTINGS, 0, false, "\0\4\0\0\xff\xff", 6},
        {NGHTTP2_SETTINGS, 0, false, "\0\4\x7f\xff\xff\xff\0\1\0\0\0\0", 12},
        {NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, false, "", 0},
        {NGHTTP2_WINDOW_UPDATE, 0, false, "\0\0\0\1", 4},
        {NGHTTP2_WINDOW_UPDATE, 0, true, "\0\0\0\1", 4},
        {NGHTTP2_WINDOW_UPDATE, 0, true, "\x7f\xff\xff\xff", 4},
        {NGHTTP2_WINDOW_UPDATE, 0, true, "\0\0\0\0", 4},
        {NGHTTP2_RST_STREAM, 0, true, "\0\0\0\10", 4},
        {NGHTTP2_PRIORITY, 0, true, "\0\0\0\0\20", 5},
        {NGHTTP2_DATA, 0, true, "", 0},
        {NGHTTP2_GOAWAY, 0, false, "\0\0\0\0\0\0\0\0", 8},
        {0x42, 0, false, "", 0},
    };
    const size_t kind = take_u8(in) % (sizeof kinds / sizeof kinds[0]);
    const uint32_t count = take_repeat(in);
    for (uint32_t i = 0; i < count; i++) {
        wire_frame(out, kinds[kind].type, kinds[kind].flags, kinds[kind].on_stream ? stream : 0,
                   bytes_of((const uint8_t *)kinds[kind].payload, kinds[kind].len));
    }
}

/* Calls one after the other, each given up at once, left open, or made well. */
static void put_calls(struct buf *out, uint32_t stream, struct bytes *in)
{
    const uint8_t shape = take_u8(in);
    const char *path = paths[take_u8(in) % PATHS_COUNT];
    const uint32_t count = take_repeat(in);
    for (uint32_t i = 0; i < count; i++, stream += 2) {
        put_request(out, stream, path, (shape & 1) != 0, BYTES_NONE);
        if ((shape & 2) != 0) {
            wire_message(out, stream, (shape & 4) != 0, 0, (shape & 8) != 0 ? 60000 : 0,
                         BYTES_LIT("hostile"));
        }
        if ((shape & 16) != 0) {
            wire_frame(out, NGHTTP2_RST_STREAM, 0, stream, BYTES_LIT("\0\0\0\10"));
        }
    }
}

static void step_reopen(struct world *world, unsigned flags, struct buf *out)
{
    if (world->conns < CONNS_MAX) {
        client_close(world, &world->hostile);
        hostile_open(world, flags, out);
    }
}

/* The same part of a message, or the same header block on stream after stream, many times. */
static void step_repeat(uint32_t stream, struct bytes *in, struct buf *out)
{
    const bool headers = take_u8(in) >= 0x80;
    const uint32_t count = take_repeat(in);
    struct bytes again = *in;
    for (uint32_t i = 0; i < count; i++) {
        again = *in;
        if (headers) {
            put_headers(out, stream + 2 * i, true, &again);
        } else {
            put_data(out, stream, false, &again);
        }
    }
    *in = again;
}

static void step_run(struct world *world, struct bytes *in, struct buf *out)
{
    const uint8_t step = take_u8(in);
    const bool end = (step & 0x80) != 0;
    const uint32_t stream = take_stream(in);
    switch (step % 12u) {
    case 0:
        wire_frame(out, take_u8(in) % 11u, take_u8(in), end ? 0 : stream, take_bytes(in, 400));
        break;
    case 1:
        put_request(out, stream, paths[take_u8(in) % PATHS_COUNT], end, BYTES_NONE);
        break;
    case 2:
        put_headers(out, stream, end, in);
        break;
    case 3:
        put_data(out, stream, end, in);
        break;
    case 4:
        put_flood(out, stream, in);
        break;
    case 5:
        put_calls(out, stream, in);
        break;
    case 6:
        step_repeat(stream, in, out);
        break;
    case 7:
        hostile_send(world, out);
        break;
    case 8:
        hostile_send(world, out);
        honest_works(world);
        break;
    case 9:
        hostile_send(world, out);
        late_answer();
        turn(world);
        break;
    case 10:
        hostile_send(world, out);
        time_passes(world, 1000ll << (stream % 17u));
        break;
    default:
        hostile_send(world, out);
        client_read(&world->hostile, NULL);
        if (end) {
            step_reopen(world, stream, out);
        }
        break;
    }
}

static void world_end(struct world *world)
{
    client_close(world, &world->hostile);
    late_answer();
    honest_works(world);
    client_close(world, &world->honest);
    ASSERT(list_empty(&world->loop->conns) && world->loop->unread_bytes == 0);
    ASSERT(atomic_load(&world->loop->held_calls) == 0 && world->loop->side_calls == 0);
    ASSERT(list_empty(&world->loop->watchers));
    ASSERT(rpc_server_inflight_bytes(server) == 0 && rpc_server_reply_bytes(server) == 0);
    ASSERT(rpc_server_call_bytes(server) == 0 && rpc_server_conns(server) == 0);
}

static void input_run(struct bytes in)
{
    struct world world = {.loop = rpc_server_loop(server, 0),
                          .rest_bytes = __sanitizer_get_current_allocated_bytes()};
    struct buf out;
    buf_init(&out, WIRE_BYTES_MAX);
    const unsigned flags = take_u8(&in);
    hostile_open(&world, flags, &out);
    client_open(&world, &world.honest, true);
    struct buf hello;
    buf_init(&hello, WIRE_BYTES_MAX);
    put_preface(&hello, false);
    honest_send(&world.honest, buf_bytes(&hello));
    buf_deinit(&hello);
    turn(&world); /* before any time passes */
    for (uint32_t i = 0; i < STEPS_MAX && in.len != 0; i++) {
        step_run(&world, &in, &out);
    }
    hostile_send(&world, &out);
    honest_works(&world);
    world_end(&world);
    buf_deinit(&out);
}

/* --- to the loop and back --- */

static struct {
    struct rpc_mail mail;
    struct bytes input;
    sem_t done;
} visit;

static void visit_end(struct rpc_mail *mail)
{
    (void)mail;
    (void)sem_post(&visit.done);
}

/*
 * On the loop. Connections are freed at the end of this turn, so the next one says that all is
 * done.
 */
static void visit_run(struct rpc_mail *mail)
{
    input_run(visit.input);
    mail->run = visit_end;
    rpc_loop_post(rpc_server_loop(server, 0), mail);
}

void fuzz_one(struct bytes input)
{
    if (server == NULL) {
        server_make();
        ASSERT(sem_init(&visit.done, 0, 0) == 0);
    }
    visit.input = input;
    visit.mail.run = visit_run;
    rpc_loop_post(rpc_server_loop(server, 0), &visit.mail);
    while (sem_wait(&visit.done) != 0) {
    }
}

/* --- seeds: step, stream, and what the step takes --- */

/*
 * Bodies that do not end: without a share for each connection they would fill what all have to the
 * last byte.
 */
static void seed_bodies(struct seeds *seeds)
{
    static const uint8_t lasts[] = {200, 200, 22, 3}; /* of some bytes, halved */
    static const uint8_t zeros[400];
    struct buf out;
    buf_init(&out, FUZZ_SEED_BYTES_MAX);
    uint8_t stream = 0;
    for (; stream < 8; stream++) {
        const uint8_t repeat = stream < 7 ? 2 : 0;
        const uint8_t part[] = {1, stream, 0, 6, stream, 0, repeat, 0x0a, 0, 0xff, 0xf0, 0};
        buf_append(&out, part, sizeof part);
    }
    for (size_t i = 0; i < sizeof lasts; i++, stream++) {
        const uint8_t part[] = {1, stream, 0, 3, stream, 2, 0, 0xff, 0xf0, lasts[i]};
        buf_append(&out, part, sizeof part);
        buf_append(&out, zeros, 2u * lasts[i]);
    }
    buf_append(&out, "\10\0\12\x10\10\0", 6);
    seed_put(seeds, 0, buf_bytes(&out));
    buf_deinit(&out);
}

void fuzz_seeds(struct seeds *seeds)
{
    /* A call of each path, then time. */
    seed_put(seeds, 0,
             BYTES_LIT("\5\0\6\0\0\5\1\6\1\0\5\2\6\2\0\5\3\6\3\0\5\4\6\4\0\10\0\12\x0f\10\0"));
    seed_put(seeds, 0, BYTES_LIT("\5\5\6\5\0\5\6\6\6\0\5\7\6\7\0\10\0\12\x10\10\0"));
    /* Many calls given up, left open, unfinished; many replies that nobody reads. */
    seed_put(seeds, 0, BYTES_LIT("\5\0\x16\2\12\10\0\11\0\10\0"));
    seed_put(seeds, 0, BYTES_LIT("\5\0\12\0\6\10\0\12\x10\10\0"));
    seed_put(seeds, FLAG_STALLED | FLAG_WIDE, BYTES_LIT("\5\0\6\4\10\10\0\12\x10\10\0"));
    seed_bodies(seeds);
    /* A large entry of the table, and blocks that point to it; continuations without an end. */
    seed_put(seeds, 0,
             BYTES_LIT("\x82\0\3\0\x40\x70\xff\0\x82\1\3\0\xbe\xff\xff\0\x82\2\5\0\xbe\xff\xbe\xff"
                       "\xff\0\10\0"));
    seed_put(seeds, 0, BYTES_LIT("\2\0\3\0\x40\x70\1\xff\10\0"));
    seed_put(seeds, 0, BYTES_LIT("\x82\0\3\0\x40\x70\xff\0\6\1\x80\13\2\xbe\3\xff\0\10\0"));
    /* Floods of each kind. */
    for (uint8_t kind = 0; kind < 14; kind++) {
        const uint8_t flood[] = {1, 0, 3, 4, 0, kind, 11, 8, 0, 4, 0, kind, 11, 8, 0, 11, 0};
        seed_put(seeds, kind % 2 != 0 ? FLAG_STALLED : 0, bytes_of(flood, sizeof flood));
    }
    /* Padding, messages cut apart, a new connection. */
    seed_put(seeds, 0,
             BYTES_LIT("\1\0\0\3\0\3\5\0\3\1h\0\x83\0\1\2\1hi\10\0\x8b\0\5\0\6\0\0\10\0"));
}
