/*
 * fuzz/channel_fuzz.c - the client's side: what a server, or whoever answers in its place, sends to
 * a channel with calls.
 *
 * The first byte holds flags. With FLAG_RAW the rest is what the server sends, byte for byte;
 * without it the rest is a program of small steps (calls that start, answers, frames with a right
 * length). Everything runs inside one turn of the loop. In the end every call was told its outcome
 * once.
 */
#include "fuzz.h"

#include <semaphore.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rpc/channel_int.h"
#include "wire.h"

#define FLAG_RAW 1u     /* bytes as they are, after the server's SETTINGS */
#define FLAG_PIECES 2u  /* bytes arrive a few at a time */
#define FLAG_STREAMS 4u /* of the calls to begin with: bit 0 first */
#define FLAG_AGAIN 8u   /* a call that fails is started once more */
#define PIECE_BYTES 7u
#define CALLS_MAX 8u
#define STEPS_MAX 200u
#define MESSAGE_BYTES_LIMIT (64u << 10)

struct call {
    struct rpc_request request;
    bool open, again;
};

static struct rpc_loop *loop;
static struct {
    struct rpc_channel *channel;
    struct client_conn *conn;
    struct call calls[CALLS_MAX];
    size_t count;
    unsigned flags;
    int fd;
} client;

/* --- calls --- */

/* As rpc_channel_call's message to the loop would. */
static void request_start(struct rpc_request *request)
{
    memset(&request->own, 0, sizeof request->own);
    request->own.channel = client.channel;
    client.channel->calls++;
    channel_start(client.channel, request);
}

static void call_done(struct rpc_request *request)
{
    struct call *call = request->context;
    ASSERT(call->open && request->status <= 16);
    ASSERT(request->text.len == 0 || request->text.ptr != NULL);
    /* Reads all of it. */
    uint8_t *copy = xmalloc(request->reply.len + request->text.len);
    if (request->reply.len != 0) {
        memcpy(copy, request->reply.ptr, request->reply.len);
    }
    if (request->text.len != 0) {
        memcpy(copy + request->reply.len, request->text.ptr, request->text.len);
    }
    free(copy);
    (void)rpc_request_trailer(request, "x-fuzz");
    call->open = false;
    if ((client.flags & FLAG_AGAIN) != 0 && !call->again && request->status != RPC_STATUS_OK &&
        rpc_channel_state(client.channel) == RPC_CHANNEL_READY) {
        call->open = call->again = true;
        request_start(request);
    }
}

/* One that begins with '!' is the last that is wanted. */
static void call_message(struct rpc_request *request, struct bytes message)
{
    if (message.len != 0 && message.ptr[0] == '!') {
        rpc_channel_cancel(client.channel, request);
    }
}

static void call_start(bool stream)
{
    if (client.count == CALLS_MAX) {
        return;
    }
    struct call *call = &client.calls[client.count++];
    *call = (struct call){.open = true,
                          .request = {.path = "/test.Fuzz/Call",
                                      .message = BYTES_LIT("request"),
                                      .on_message = stream ? call_message : NULL,
                                      .on_done = call_done,
                                      .context = call}};
    request_start(&call->request);
}

/* --- the server's side --- */

static bool client_over(void)
{
    return list_empty(&loop->conns);
}

static void client_turn(void)
{
    static uint8_t scratch[64u << 10];
    loop_flush(loop);
    while (recv(client.fd, scratch, sizeof scratch, MSG_DONTWAIT) > 0) {
    }
}

/* As conn.c does with what it has read. */
static void client_give(struct bytes wire)
{
    while (wire.len != 0 && !client_over()) {
        const bool pieces = (client.flags & FLAG_PIECES) != 0 && wire.len > PIECE_BYTES;
        const size_t len = pieces ? PIECE_BYTES : wire.len;
        struct conn *conn = &client.conn->conn;
        if (nghttp2_session_mem_recv(conn->session, wire.ptr, len) < 0) {
            conn_break(conn);
        }
        conn_dirty(conn);
        client_turn();
        wire = bytes_after(wire, len);
    }
}

/* A channel whose connect(2) has just succeeded. */
static void client_open(unsigned flags)
{
    const struct rpc_channel_options options = {
        .target = "127.0.0.1:1", .message_bytes_max = MESSAGE_BYTES_LIMIT, .auth_token = "token"};
    int fds[2];
    struct silo_err err;
    ASSERT(client_over());
    ASSERT(rpc_channel_new(loop, &options, &client.channel, &err).code == SILO_OK);
    ASSERT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
    client.fd = fds[1];
    client.flags = flags;
    client.count = 0;
    atomic_store(&client.channel->state, (int)RPC_CHANNEL_CONNECTING);
    ASSERT(client_conn_new(client.channel, fds[0]));
    client.conn = client.channel->conn;
    client.conn->conn.connecting = false;
    conn_dirty(&client.conn->conn);
    client_turn();
}

/* --- a program of steps --- */

static void put_answer(struct buf *out, uint32_t stream, bool end, struct bytes status,
                       struct bytes name, struct bytes value)
{
    struct buf block;
    buf_init(&block, WIRE_BYTES_MAX);
    if (status.len != 0) {
        wire_header(&block, BYTES_LIT(":status"), status);
        wire_header(&block, BYTES_LIT("content-type"), BYTES_LIT("application/grpc"));
    }
    if (name.len != 0) {
        wire_header(&block, name, value);
    }
    wire_frame(out, NGHTTP2_HEADERS,
               (uint8_t)(NGHTTP2_FLAG_END_HEADERS | (end ? NGHTTP2_FLAG_END_STREAM : 0)), stream,
               buf_bytes(&block));
    buf_deinit(&block);
}

static void step_run(struct bytes *in, struct buf *out)
{
    static const char *const names[] = {"grpc-status", "grpc-message", "x-fuzz", "grpc-encoding"};
    static const char *const statuses[] = {"200", "100", "404", "503"};
    const uint8_t step = take_u8(in);
    const uint32_t stream = (take_u8(in) % CALLS_MAX) * 2 + 1;
    const bool end = (step & 0x80) != 0;
    uint8_t bits = 0, more = 0;
    switch (step & 7) {
    case 0: /* any frame at all */
        bits = take_u8(in);
        more = take_u8(in);
        wire_frame(out, bits % 11, more, bits >= 0x80 ? 0 : stream, take_bytes(in, 400));
        break;
    case 1: /* headers */
    case 2: /* trailers */
        bits = take_u8(in);
        put_answer(out, stream, end,
                   (step & 7) == 1 ? bytes_str(statuses[bits / 4 % 4]) : BYTES_NONE,
                   bytes_str(names[bits % 4]), take_bytes(in, 126));
        break;
    case 3: /* a message, or something like it */
        bits = take_u8(in);
        more = bits >= 0x80 ? take_u8(in) : 0;
        wire_message(out, stream, end, bits & 3 & (bits >> 2), more, take_bytes(in, 400));
        break;
    case 4:
        bits = end ? NGHTTP2_REFUSED_STREAM : take_u8(in);
        wire_frame(out, NGHTTP2_RST_STREAM, 0, stream,
                   bytes_of((const uint8_t[]){0, 0, 0, bits}, 4));
        break;
    case 5:
        client_give(buf_bytes(out));
        buf_reset(out);
        call_start(end);
        client_turn();
        break;
    case 6:
        wire_frame(out, NGHTTP2_GOAWAY, 0, 0,
                   bytes_of((const uint8_t[]){0, 0, 0, (uint8_t)stream, 0, 0, 0, 0}, 8));
        break;
    default: /* a call is given up */
        client_give(buf_bytes(out));
        buf_reset(out);
        if (client.count > stream / 2 && client.calls[stream / 2].open) {
            rpc_channel_cancel(client.channel, &client.calls[stream / 2].request);
        }
        client_turn();
        break;
    }
}

static void input_run(struct bytes in)
{
    struct buf out;
    client_open(take_u8(&in));
    const bool raw = (client.flags & FLAG_RAW) != 0;
    call_start(false);
    call_start((client.flags & FLAG_STREAMS) != 0);
    buf_init(&out, WIRE_BYTES_MAX);
    wire_frame(&out, NGHTTP2_SETTINGS, 0, 0, BYTES_NONE);
    client_give(buf_bytes(&out));
    buf_reset(&out);
    for (uint32_t i = 0; !raw && i < STEPS_MAX && in.len != 0; i++) {
        step_run(&in, &out);
    }
    client_give(raw ? in : buf_bytes(&out));
    buf_deinit(&out);
    if (!client_over() && (client.flags & FLAG_AGAIN) == 0) {
        conn_break(&client.conn->conn);
        client_turn();
    }
    (void)rpc_channel_free(client.channel); /* by message: after this turn */
}

/* --- to the loop and back --- */

static struct {
    struct rpc_mail mail;
    struct bytes input;
    uint32_t turns; /* still to wait for the connections to be gone */
    sem_t done;
} visit;

static void visit_end(struct rpc_mail *mail)
{
    ASSERT(visit.turns-- != 0);
    if (!client_over()) {
        rpc_loop_post(loop, mail);
        return;
    }
    for (size_t i = 0; i < client.count; i++) {
        ASSERT(!client.calls[i].open);
    }
    (void)close(client.fd);
    (void)sem_post(&visit.done);
}

static void visit_run(struct rpc_mail *mail)
{
    input_run(visit.input);
    mail->run = visit_end;
    visit.turns = 100;
    rpc_loop_post(loop, mail);
}

void fuzz_one(struct bytes input)
{
    if (loop == NULL) {
        struct silo_err err;
        ASSERT(rpc_loop_new(&loop, &err).code == SILO_OK);
        ASSERT(sem_init(&visit.done, 0, 0) == 0);
    }
    visit.input = input;
    visit.mail.run = visit_run;
    rpc_loop_post(loop, &visit.mail);
    while (sem_wait(&visit.done) != 0) {
    }
}

void fuzz_seeds(struct seeds *seeds)
{
    struct buf wire;
    buf_init(&wire, FUZZ_SEED_BYTES_MAX);
    put_answer(&wire, 1, false, BYTES_LIT("200"), BYTES_NONE, BYTES_NONE);
    wire_message(&wire, 1, false, 0, 0, BYTES_LIT("reply"));
    put_answer(&wire, 1, true, BYTES_NONE, BYTES_LIT("grpc-status"), BYTES_LIT("0"));
    put_answer(&wire, 3, true, BYTES_LIT("200"), BYTES_LIT("grpc-status"), BYTES_LIT("14"));
    seed_put(seeds, FLAG_RAW, buf_bytes(&wire));
    seed_put(seeds, FLAG_RAW | FLAG_PIECES | FLAG_STREAMS | FLAG_AGAIN, buf_bytes(&wire));
    buf_deinit(&wire);
    /* step, stream, what, length / 2 and bytes */
    seed_put(seeds, 0,
             BYTES_LIT("\1\0\2\1hi\3\0\0\1ok\x82\0\0\1"
                       "0\x81\1\0\1\x31\x34"));
    seed_put(seeds, FLAG_STREAMS,
             BYTES_LIT("\1\1\2\1hi\3\1\0\1ok\3\1\0\1!!\x82\1\1\2a%20\x84\0\5\0\4\2\2\6\0"));
    seed_put(seeds, FLAG_AGAIN, BYTES_LIT("\x81\0\x0c\1hi\x85\0\x84\1\7\2\6\2\1\0\3\1hi"));
    seed_put(seeds, 0, BYTES_LIT("\3\0\x80\5\1ab\3\1\1\1cd\0\0\x87\0\4\0\0\0\0\0\0\0\0"));
}
