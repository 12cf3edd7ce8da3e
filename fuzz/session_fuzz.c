/*
 * fuzz/session_fuzz.c - a server's connection: HTTP/2, the calls on it, health, reflection, and
 * handlers that answer at once, in pieces, late or never.
 *
 * The first byte holds flags. With FLAG_RAW the rest is what the peer sends, byte for byte; without
 * it the rest is a program of small steps (frames with a right length, requests, messages, time
 * passing), which gets further. Everything runs inside one turn of the server's loop: bytes go into
 * the session as conn.c would give them, answers go to a socket pair.
 *
 * Afterwards nothing may be left: no call held, no byte counted, every piece of every answer
 * released.
 */
#include "fuzz.h"

#include <semaphore.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rpc/server_int.h"
#include "silo_descriptor.h"
#include "wire.h"

#define FLAG_RAW 1u     /* bytes as they are */
#define FLAG_PREFACE 2u /* raw: the client's preface and SETTINGS are put before them */
#define FLAG_PIECES 4u  /* bytes arrive a few at a time */
#define FLAG_STALLED 8u /* the peer reads nothing until the end */
#define FLAG_DRAIN 16u  /* the server drains when the bytes have come */
#define FLAG_ANSWER 32u /* late answers come before the connection ends, not after */
#define PIECE_BYTES 7u
#define LATE_MAX 64u
#define STEPS_MAX 200u
#define MESSAGE_BYTES_LIMIT (64u << 10)
#define STREAM_MESSAGES 3

static struct rpc_server *server;
static struct {
    struct rpc_call *calls[LATE_MAX];
    size_t count;
} late;
static uint32_t pieces_made, pieces_released;

/* --- handlers --- */

static void on_echo(struct rpc_call *call, struct bytes request, void *context)
{
    (void)context;
    (void)rpc_call_reply(call, request);
}

static void piece_release(void *context, bool sent)
{
    (void)sent;
    free(context);
    pieces_released++;
}

static struct rpc_piece piece_new(struct bytes bytes)
{
    uint8_t *copy = xmalloc(bytes.len);
    memcpy(copy, bytes.ptr, bytes.len);
    pieces_made++;
    return (struct rpc_piece){
        .bytes = bytes_of(copy, bytes.len), .release = piece_release, .context = copy};
}

static void on_pieces(struct rpc_call *call, struct bytes request, void *context)
{
    (void)context;
    const size_t half = request.len / 2;
    const struct rpc_piece pieces[] = {
        piece_new(bytes_of(request.ptr, half)),
        piece_new(BYTES_LIT("")),
        piece_new(bytes_after(request, half)),
    };
    (void)rpc_call_reply_pieces(call, pieces, sizeof pieces / sizeof pieces[0]);
}

static void on_stream(struct rpc_call *call, struct bytes request, void *context)
{
    (void)context;
    for (int i = 0; i < STREAM_MESSAGES; i++) {
        const struct rpc_piece piece = piece_new(request);
        (void)rpc_call_send(call, &piece, 1);
    }
    const struct rpc_header trailers[] = {{BYTES_LIT("x-fuzz"), request}};
    (void)rpc_call_finish(call, RPC_STATUS_OK, BYTES_LIT(""), trailers, 1);
}

static void on_fail(struct rpc_call *call, struct bytes request, void *context)
{
    (void)context;
    struct silo_err err;
    rc_ignore(FAIL(&err, SILO_NOT_FOUND, "%.*s", BYTES_FMT(request)), "it is what is sent");
    (void)rpc_call_fail(call, &err);
}

/* Kept until late_answer, whatever becomes of the stream meanwhile. */
static void on_late(struct rpc_call *call, struct bytes request, void *context)
{
    (void)context;
    (void)rpc_call_header(call, "x-fuzz");
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

static void bidi_message(struct rpc_call *call, struct bytes message, void *context)
{
    (void)context;
    if (message.len != 0 && message.ptr[0] == '!') {
        (void)rpc_call_finish(call, RPC_STATUS_INVALID_ARGUMENT, message, NULL, 0);
    } else {
        (void)rpc_call_send_copy(call, message);
    }
}

static void bidi_end(struct rpc_call *call, void *context)
{
    (void)context;
    (void)rpc_call_finish(call, RPC_STATUS_OK, BYTES_LIT(""), NULL, 0);
}

static const struct rpc_method methods[] = {
    {.path = "/test.Fuzz/Echo", .on_call = on_echo},
    {.path = "/test.Fuzz/Pieces", .on_call = on_pieces},
    {.path = "/test.Fuzz/Stream", .on_call = on_stream, .server_streaming = true},
    {.path = "/test.Fuzz/Fail", .on_call = on_fail},
    {.path = "/test.Fuzz/Late", .on_call = on_late},
    {.path = "/test.Fuzz/Wait", .on_call = on_wait},
    {.path = "/test.Fuzz/Bidi",
     .on_call = on_wait,
     .server_streaming = true,
     .bidi = true,
     .on_message = bidi_message,
     .on_end = bidi_end},
    {.path = "/test.Locked/Echo", .on_call = on_echo, .needs_auth = true},
};

static const char *const paths[] = {
    "/test.Fuzz/Echo",
    "/test.Fuzz/Pieces",
    "/test.Fuzz/Stream",
    "/test.Fuzz/Fail",
    "/test.Fuzz/Late",
    "/test.Fuzz/Wait",
    "/test.Fuzz/Bidi",
    "/test.Locked/Echo",
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
        .inflight_bytes_max = 2 * MESSAGE_BYTES_LIMIT,
        .streams_max = 16,
        .auth_token = "token",
        .descriptors = bytes_of(silo_descriptor_set, silo_descriptor_set_len),
    };
    ASSERT(rpc_server_new(&options, &server, &err).code == SILO_OK);
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        ASSERT(rpc_server_add(server, &methods[i], &err).code == SILO_OK);
    }
    ASSERT(rpc_server_start(server, &err).code == SILO_OK);
}

/* --- what a peer writes --- */

static const char *const header_names[] = {"grpc-timeout", "authorization", "x-fuzz",
                                           "te",           "content-type",  ":path",
                                           ":method",      "grpc-encoding"};
#define HEADER_NAMES_COUNT (sizeof header_names / sizeof header_names[0])

static void put_request(struct buf *out, uint32_t stream, const char *path, bool end,
                        struct bytes name, struct bytes value)
{
    struct buf block;
    buf_init(&block, WIRE_BYTES_MAX);
    wire_header(&block, BYTES_LIT(":method"), BYTES_LIT("POST"));
    wire_header(&block, BYTES_LIT(":scheme"), BYTES_LIT("http"));
    wire_header(&block, BYTES_LIT(":authority"), BYTES_LIT("fuzz")); /* nghttp2 asks for it */
    wire_header(&block, BYTES_LIT(":path"), bytes_str(path));
    wire_header(&block, BYTES_LIT("content-type"), BYTES_LIT("application/grpc"));
    wire_header(&block, BYTES_LIT("te"), BYTES_LIT("trailers"));
    if (name.len != 0) {
        wire_header(&block, name, value);
    }
    wire_frame(out, NGHTTP2_HEADERS,
               (uint8_t)(NGHTTP2_FLAG_END_HEADERS | (end ? NGHTTP2_FLAG_END_STREAM : 0)), stream,
               buf_bytes(&block));
    buf_deinit(&block);
}

static void put_preface(struct buf *out)
{
    buf_append(out, NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN);
    wire_frame(out, NGHTTP2_SETTINGS, 0, 0, BYTES_NONE);
}

/* --- the peer's side of the connection, inside a turn of the loop --- */

struct peer {
    struct rpc_loop *loop;
    struct server_conn *conn;
    int fd;
    unsigned flags;
};

static bool peer_over(const struct peer *peer)
{
    return list_empty(&peer->loop->conns);
}

static void peer_read(const struct peer *peer)
{
    static uint8_t scratch[64u << 10];
    while (recv(peer->fd, scratch, sizeof scratch, MSG_DONTWAIT) > 0) {
    }
}

static void peer_turn(struct peer *peer)
{
    loop_flush(peer->loop);
    if ((peer->flags & FLAG_STALLED) == 0) {
        peer_read(peer);
    }
}

/* As conn.c does with what it has read. */
static void peer_send(struct peer *peer, struct bytes wire)
{
    while (wire.len != 0 && !peer_over(peer)) {
        const bool pieces = (peer->flags & FLAG_PIECES) != 0 && wire.len > PIECE_BYTES;
        const size_t len = pieces ? PIECE_BYTES : wire.len;
        struct conn *conn = &peer->conn->conn;
        if (nghttp2_session_mem_recv(conn->session, wire.ptr, len) < 0) {
            conn_break(conn);
        }
        conn_dirty(conn);
        peer_turn(peer);
        wire = bytes_after(wire, len);
    }
}

static void peer_open(struct peer *peer, unsigned flags)
{
    static const char name[CONN_PEER_BYTES] = "fuzz";
    int fds[2];
    ASSERT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
    *peer = (struct peer){.loop = rpc_server_loop(server, 0), .fd = fds[1], .flags = flags};
    ASSERT(peer_over(peer));
    (void)atomic_fetch_add(&server->conn_count, 1);
    (void)atomic_fetch_add(&peer->loop->conn_count, 1);
    server_conn_new(server, peer->loop, fds[0], NULL, name);
    ASSERT(!peer_over(peer));
    struct list_node *node = list_first(&peer->loop->conns);
    peer->conn = server_conn_of(CONTAINER_OF(node, struct conn, node));
    peer_turn(peer);
}

static void peer_close(struct peer *peer)
{
    if ((peer->flags & FLAG_DRAIN) != 0 && !peer_over(peer)) {
        server_conn_drain(peer->conn);
        peer_turn(peer);
    }
    if ((peer->flags & FLAG_ANSWER) != 0) {
        late_answer();
        peer_turn(peer);
    }
    peer_read(peer);
    if (!peer_over(peer)) {
        conn_break(&peer->conn->conn);
        loop_flush(peer->loop);
    }
    ASSERT(peer_over(peer));
    late_answer();
    (void)close(peer->fd);
    ASSERT(atomic_load(&peer->loop->held_calls) == 0 && list_empty(&peer->loop->watchers));
    ASSERT(rpc_server_inflight_bytes(server) == 0 && rpc_server_conns(server) == 0);
    ASSERT(pieces_made == pieces_released);
}

/* --- a program of steps --- */

static uint32_t take_stream(struct bytes *in)
{
    return (take_u8(in) % 8u) * 2 + 1;
}

static void step_run(struct peer *peer, struct bytes *in, struct buf *out)
{
    const uint8_t step = take_u8(in);
    const uint32_t stream = take_stream(in);
    const bool end = (step & 0x80) != 0;
    struct bytes name = BYTES_NONE, value = BYTES_NONE;
    uint8_t bits, more, window[4];
    switch (step & 7) {
    case 0: /* any frame at all */
        bits = take_u8(in);
        more = take_u8(in);
        wire_frame(out, bits % 11, more, bits >= 0x80 ? 0 : stream, take_bytes(in, 400));
        break;
    case 1:
    case 2: /* a request, perhaps with one more header, and perhaps with its message */
        bits = take_u8(in);
        if (bits >= 0x80) {
            name = bytes_str(header_names[take_u8(in) % HEADER_NAMES_COUNT]);
            value = take_bytes(in, 126);
        }
        put_request(out, stream, paths[bits % PATHS_COUNT], false, name, value);
        if ((step & 7) == 1) {
            wire_message(out, stream, end, 0, 0, take_bytes(in, 400));
        }
        break;
    case 3: /* a message, or something like it */
        bits = take_u8(in);
        more = bits >= 0x80 ? take_u8(in) : 0;
        wire_message(out, stream, end, bits & 3 & (bits >> 2), more, take_bytes(in, 400));
        break;
    case 4:
        wire_frame(out, NGHTTP2_RST_STREAM, 0, stream, BYTES_LIT("\0\0\0\10"));
        break;
    case 5: /* what was written so far arrives */
        peer_send(peer, buf_bytes(out));
        buf_reset(out);
        break;
    case 6: /* by a lot, a little, or nothing */
        memcpy(window, (const uint8_t[]){0, step & 0x40, stream & 4, take_u8(in)}, sizeof window);
        wire_frame(out, NGHTTP2_WINDOW_UPDATE, 0, end ? 0 : stream,
                   bytes_of(window, sizeof window));
        break;
    default:
        peer_send(peer, buf_bytes(out));
        buf_reset(out);
        late_answer();
        peer_turn(peer);
        break;
    }
}

static void input_run(struct bytes in)
{
    struct peer peer;
    struct buf out;
    pieces_made = pieces_released = 0;
    peer_open(&peer, take_u8(&in));
    buf_init(&out, WIRE_BYTES_MAX);
    const bool raw = (peer.flags & FLAG_RAW) != 0;
    if (!raw || (peer.flags & FLAG_PREFACE) != 0) {
        put_preface(&out);
    }
    for (uint32_t i = 0; !raw && i < STEPS_MAX && in.len != 0; i++) {
        step_run(&peer, &in, &out);
    }
    peer_send(&peer, buf_bytes(&out));
    if (raw) {
        peer_send(&peer, in);
    }
    peer_close(&peer);
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
 * On the loop. The connection is freed at the end of this turn, so the next one says that all is
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

/* --- seeds --- */

static void put_call(struct buf *wire, uint32_t stream, const char *path, const char *name,
                     const char *value, struct bytes message)
{
    put_request(wire, stream, path, false, bytes_str(name), bytes_str(value));
    wire_message(wire, stream, true, 0, 0, message);
}

static void seeds_raw(struct seeds *seeds, struct buf *wire)
{
    for (size_t i = 0; i < PATHS_COUNT; i++) {
        buf_reset(wire);
        put_call(wire, 1, paths[i], "grpc-timeout", "5S", BYTES_LIT("\x22\x02hi"));
        seed_put(seeds, FLAG_RAW | FLAG_PREFACE, buf_bytes(wire));
    }
    buf_reset(wire);
    put_preface(wire);
    put_call(wire, 1, "/test.Locked/Echo", "authorization", "Bearer token", BYTES_LIT("hi"));
    wire_frame(wire, NGHTTP2_PING, 0, 0, BYTES_LIT("12345678"));
    wire_frame(wire, NGHTTP2_GOAWAY, 0, 0, BYTES_LIT("\0\0\0\0\0\0\0\0"));
    seed_put(seeds, FLAG_RAW | FLAG_PIECES, buf_bytes(wire));
    buf_reset(wire);
    put_request(wire, 1, "/test.Fuzz/Late", false, BYTES_NONE, BYTES_NONE);
    wire_frame(wire, NGHTTP2_DATA, NGHTTP2_FLAG_PADDED, 1, BYTES_LIT("\2\0\0\0\0\0\0\0"));
    wire_frame(wire, NGHTTP2_SETTINGS, 0, 0, BYTES_LIT("\0\4\0\0\0\1\0\5\0\0\x40\0"));
    wire_frame(wire, NGHTTP2_PRIORITY, 0, 3, BYTES_LIT("\0\0\0\1\20"));
    wire_frame(wire, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_STREAM | NGHTTP2_FLAG_END_HEADERS, 1,
               BYTES_LIT("\0\1x\1y"));
    seed_put(seeds, FLAG_RAW | FLAG_PREFACE | FLAG_DRAIN | FLAG_ANSWER, buf_bytes(wire));
}

void fuzz_seeds(struct seeds *seeds)
{
    struct buf wire;
    buf_init(&wire, FUZZ_SEED_BYTES_MAX);
    seeds_raw(seeds, &wire);
    buf_deinit(&wire);
    /* step, stream, path, message length / 2 and bytes */
    seed_put(seeds, 0, BYTES_LIT("\x81\0\0\1hi\x81\1\1\2abcd\x81\2\2\1xy\5\0\x81\3\3\1no"));
    seed_put(seeds, FLAG_ANSWER, BYTES_LIT("\x81\0\4\1hi\5\0\x81\1\4\1ho\5\0\4\1\7\0\x81\2\4\1hu"));
    seed_put(seeds, FLAG_DRAIN, BYTES_LIT("\2\0\6\3\0\0\1ab\3\0\0\1cd\5\0\3\0\0\1!!\x83\0\0\0"));
    seed_put(seeds, FLAG_STALLED,
             BYTES_LIT("\x81\0\x87\1\6Bearer token\1hi\x81\1\x80\0\1 5m\1hi\6\0\0\0\1"));
    seed_put(seeds, FLAG_PIECES, BYTES_LIT("\x81\0\10\0\x81\1\11\0\2\2\12\x83\2\0\1\x1a\4silo"));
    seed_put(seeds, 0, BYTES_LIT("\2\0\0\3\0\x84\5\1hi\2\1\0\3\1\x0f\1hi\0\1\x88\0\4aaaabbbb"));
}
