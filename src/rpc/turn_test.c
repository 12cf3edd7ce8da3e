/* rpc/turn_test.c - what one turn of a loop does for a peer whose few bytes ask for much. */
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/assert.h"
#include "rpc/server_int.h"

#define CALLS 1500u
#define LARGE_BYTES 3500u
#define TURNS_MAX 1000u
#define WIRE_BYTES_MAX (256u << 10)

static struct {
    struct rpc_mail mail;
    struct rpc_server *server;
    struct buf wire;
    uint32_t turns, work_most;
    sem_t done;
} test;

static void put_frame(uint8_t type, uint8_t flags, uint32_t stream, struct bytes payload)
{
    const uint8_t head[9] = {(uint8_t)(payload.len >> 16),
                             (uint8_t)(payload.len >> 8),
                             (uint8_t)payload.len,
                             type,
                             flags,
                             (uint8_t)(stream >> 24),
                             (uint8_t)(stream >> 16),
                             (uint8_t)(stream >> 8),
                             (uint8_t)stream};
    buf_append(&test.wire, head, sizeof head);
    buf_append(&test.wire, payload.ptr, payload.len);
}

/* A field that is kept in the table; the value's length in HPACK's prefix of 7 bits. */
static void put_field(struct buf *block, const char *name, const char *value, size_t len)
{
    buf_u8(block, 0x40);
    buf_u8(block, (uint8_t)strlen(name));
    buf_append(block, name, strlen(name));
    buf_u8(block, (uint8_t)(len < 127 ? len : 127));
    if (len >= 127) {
        buf_u8(block, (uint8_t)((len - 127) & 127) | 128);
        buf_u8(block, (uint8_t)((len - 127) >> 7));
    }
    buf_append(block, value, len);
}

/* Calls whose headers are the same few places in the table, three of them a large entry. */
static void put_calls(void)
{
    static char large[LARGE_BYTES];
    memset(large, 'v', sizeof large);
    struct buf block;
    buf_init(&block, WIRE_BYTES_MAX);
    put_field(&block, ":method", "POST", 4);
    put_field(&block, ":scheme", "http", 4);
    put_field(&block, ":path", "/t.T/None", 9);
    put_field(&block, ":authority", "x", 1);
    put_field(&block, "content-type", "application/grpc", 16);
    put_field(&block, "x-large", large, sizeof large);
    buf_append(&test.wire, NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN);
    put_frame(NGHTTP2_SETTINGS, 0, 0, BYTES_NONE);
    const uint8_t flags = NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM;
    put_frame(NGHTTP2_HEADERS, flags, 1, buf_bytes(&block));
    buf_deinit(&block);
    for (uint32_t i = 1; i <= CALLS; i++) {
        put_frame(NGHTTP2_HEADERS, flags, 2 * i + 1, BYTES_LIT("\xc3\xc2\xc1\xc0\xbf\xbe\xbe\xbe"));
    }
    assert_false(test.wire.full);
}

static void run_turns(struct rpc_loop *loop, struct server_conn *conn, int fd)
{
    static uint8_t scratch[64u << 10];
    struct bytes rest = buf_bytes(&test.wire);
    bool more = true;
    while (more && test.turns < TURNS_MAX) {
        const ssize_t n = send(fd, rest.ptr, rest.len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) {
            rest = bytes_of(rest.ptr + n, rest.len - (size_t)n);
        }
        conn->conn.read_more = true;
        conn_dirty(&conn->conn);
        loop_flush(loop);
        test.turns++;
        test.work_most = conn->conn.work > test.work_most ? conn->conn.work : test.work_most;
        while (recv(fd, scratch, sizeof scratch, MSG_DONTWAIT) > 0) {
        }
        more = rest.len != 0 || conn->conn.read_more;
    }
}

static void end_visit(struct rpc_mail *mail)
{
    (void)mail;
    (void)sem_post(&test.done);
}

/*
 * On the loop, inside one of its turns: what conn_flush does for a connection in a turn is done
 * again and again.
 */
static void visit(struct rpc_mail *mail)
{
    static const char name[CONN_PEER_BYTES] = "test";
    struct rpc_loop *loop = rpc_server_loop(test.server, 0);
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0) {
        (void)atomic_fetch_add(&test.server->conn_count, 1);
        (void)atomic_fetch_add(&loop->conn_count, 1);
        server_conn_new(test.server, loop, fds[0], NULL, name);
        struct conn *base = CONTAINER_OF(list_last(&loop->conns), struct conn, node);
        run_turns(loop, server_conn_of(base), fds[1]);
        if (!base->closed) {
            conn_break(base);
        }
        (void)close(fds[1]);
    }
    mail->run = end_visit;
    rpc_loop_post(loop, mail);
}

static void a_turn_does_so_much_for_one_peer(void **state)
{
    (void)state;
    struct silo_err err;
    const struct rpc_server_options options = {.listen = "127.0.0.1:0"};
    buf_init(&test.wire, WIRE_BYTES_MAX);
    put_calls();
    assert_int_equal(sem_init(&test.done, 0, 0), 0);
    assert_int_equal(rpc_server_new(&options, &test.server, &err).code, SILO_OK);
    assert_int_equal(rpc_server_start(test.server, &err).code, SILO_OK);
    test.mail.run = visit;
    rpc_loop_post(rpc_server_loop(test.server, 0), &test.mail);
    while (sem_wait(&test.done) != 0) {
    }
    test.server = rpc_server_free(test.server);
    buf_deinit(&test.wire);
    /*
     * A turn ends with the header that reaches the bound; 3 * 3,500 bytes and a call cost some 190
     * units.
     */
    const uint32_t all = CALLS * 190u;
    assert_in_range(test.work_most, CONN_WORK_TURN / 2,
                    CONN_WORK_TURN + CONN_WORK_HEADER + LARGE_BYTES / CONN_WORK_HEADER_BYTES +
                        CONN_SLICE_BYTES / CONN_WORK_BYTES + 1);
    assert_in_range(test.turns, all / CONN_WORK_TURN, TURNS_MAX - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_turn_does_so_much_for_one_peer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
