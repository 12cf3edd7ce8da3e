/*
 * rpc/channel_test.c - the client channel against a server in the same process: calls, deadlines,
 * loss, TLS.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/assert.h"
#include "base/env.h"
#include "rpc/rpc.h"

#define WAIT_US 20000000

static void on_echo(struct rpc_call *call, struct bytes request, void *context)
{
    (void)context;
    (void)rpc_call_reply(call, request);
}

static void on_fail(struct rpc_call *call, struct bytes request, void *context)
{
    (void)request;
    (void)context;
    const struct rpc_header trailer = {BYTES_LIT("x-silo-shard-owner-addr"),
                                       BYTES_LIT("10.0.0.1:50051")};
    (void)rpc_call_finish(call, RPC_STATUS_NOT_FOUND, BYTES_LIT("shard \xe2\x88\x9e not found"),
                          &trailer, 1);
}

static atomic_uint parked, cancelled;

static void park_cancel(struct rpc_call *call, enum rpc_cancel reason, void *context)
{
    (void)reason;
    (void)context;
    atomic_fetch_add(&cancelled, 1);
    assert_false(rpc_call_finish(call, RPC_STATUS_CANCELLED, BYTES_NONE, NULL, 0));
}

static void on_park(struct rpc_call *call, struct bytes request, void *context)
{
    (void)request;
    (void)context;
    rpc_call_on_cancel(call, park_cancel, NULL);
    atomic_fetch_add(&parked, 1);
}

static void on_count(struct rpc_call *call, struct bytes request, void *context)
{
    (void)request;
    (void)context;
    for (uint8_t i = 0; i < 10; i++) {
        (void)rpc_call_send_copy(call, bytes_of(&i, 1));
    }
    (void)rpc_call_finish(call, RPC_STATUS_OK, BYTES_NONE, NULL, 0);
}

static const struct rpc_method methods[] = {
    {.path = "/t.T/Echo", .on_call = on_echo},
    {.path = "/t.T/Locked", .on_call = on_echo, .needs_auth = true},
    {.path = "/t.T/Fail", .on_call = on_fail},
    {.path = "/t.T/Park", .on_call = on_park},
    {.path = "/t.T/Count", .on_call = on_count, .server_streaming = true},
};

static atomic_uint done_ok, done_bad;

static void on_done(void *context, const struct rpc_method *method, uint32_t status,
                    int64_t duration_us)
{
    (void)context;
    assert_non_null(method);
    assert_true(duration_us >= 0);
    atomic_fetch_add(status == RPC_STATUS_OK ? &done_ok : &done_bad, 1);
}

static struct rpc_server *serve(struct rpc_server_options options)
{
    struct rpc_server *server = NULL;
    struct silo_err err;
    options.on_done = on_done;
    if (options.listen == NULL) {
        options.listen = "127.0.0.1:0";
    }
    assert_int_equal(rpc_server_new(&options, &server, &err).code, SILO_OK);
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        assert_int_equal(rpc_server_add(server, &methods[i], &err).code, SILO_OK);
    }
    assert_int_equal(rpc_server_add(server, &methods[0], &err).code, SILO_EXISTS);
    assert_int_equal(rpc_server_start(server, &err).code, SILO_OK);
    return server;
}

static struct rpc_channel *dial(struct rpc_loop *loop, struct rpc_channel_options options,
                                uint16_t port)
{
    char target[64];
    (void)snprintf(target, sizeof target, "localhost:%u", port);
    options.target = target;
    struct rpc_channel *channel = NULL;
    struct silo_err err;
    assert_int_equal(rpc_channel_new(loop, &options, &channel, &err).code, SILO_OK);
    return channel;
}

static uint32_t call(struct rpc_channel *channel, const char *path, const char *message,
                     const char *want)
{
    struct rpc_answer answer;
    rpc_channel_call_wait(channel, path, bytes_str(message), WAIT_US, &answer);
    const uint32_t status = answer.status;
    if (want != NULL) {
        assert_true(
            bytes_eq(status == RPC_STATUS_OK ? answer.reply : answer.text, bytes_str(want)));
    }
    rpc_answer_deinit(&answer);
    return status;
}

/* A call for which there is no connection says why. */
static void refused_with(struct rpc_channel *channel, const char *why)
{
    struct rpc_answer answer;
    rpc_channel_call_wait(channel, "/t.T/Echo", BYTES_LIT("x"), WAIT_US, &answer);
    assert_int_equal(answer.status, RPC_STATUS_UNAVAILABLE);
    assert_non_null(memmem(answer.text.ptr, answer.text.len, why, strlen(why)));
    rpc_answer_deinit(&answer);
}

static void await(atomic_uint *count, unsigned want)
{
    const int64_t end = env_mono_us(&env_system) + WAIT_US;
    while (atomic_load(count) < want) {
        assert_true(env_mono_us(&env_system) < end);
        usleep(1000);
    }
}

struct fixture {
    struct rpc_server *server;
    struct rpc_loop *loop;
    struct rpc_channel *channel;
};

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    struct silo_err err;
    atomic_store(&parked, 0);
    atomic_store(&cancelled, 0);
    f->server = serve((struct rpc_server_options){.loops = 2, .auth_token = "t0ken"});
    assert_int_equal(rpc_loop_new(&f->loop, &err).code, SILO_OK);
    f->channel = dial(f->loop, (struct rpc_channel_options){0}, rpc_server_port(f->server));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    f->channel = rpc_channel_free(f->channel);
    f->loop = rpc_loop_free(f->loop);
    f->server = rpc_server_free(f->server);
    free(f);
    return 0;
}

static void test_calls(void **state)
{
    const struct fixture *f = *state;
    assert_int_equal(rpc_channel_state(f->channel), RPC_CHANNEL_IDLE);
    assert_int_equal(call(f->channel, "/t.T/Echo", "hello", "hello"), RPC_STATUS_OK);
    assert_int_equal(rpc_channel_state(f->channel), RPC_CHANNEL_READY);
    assert_int_equal(call(f->channel, "/t.T/Echo", "", ""), RPC_STATUS_OK);
    assert_int_equal(call(f->channel, "/t.T/Fail", "", "shard \xe2\x88\x9e not found"),
                     RPC_STATUS_NOT_FOUND);
    assert_int_equal(call(f->channel, "/t.T/Nothing", "", "missing authorization header"),
                     RPC_STATUS_UNAUTHENTICATED);
    assert_int_equal(call(f->channel, "/u.U/Nothing", "", "unknown service u.U"),
                     RPC_STATUS_UNIMPLEMENTED);
    assert_int_equal(rpc_server_conns(f->server), 1);
}

static void test_trailers(void **state)
{
    const struct fixture *f = *state;
    struct rpc_answer answer;
    rpc_channel_call_wait(f->channel, "/t.T/Fail", BYTES_NONE, 0, &answer);
    assert_int_equal(answer.trailer_count, 1);
    assert_true(bytes_eq(answer.trailers[0].name, BYTES_LIT("x-silo-shard-owner-addr")));
    assert_true(bytes_eq(answer.trailers[0].value, BYTES_LIT("10.0.0.1:50051")));
    rpc_answer_deinit(&answer);
}

static void test_auth(void **state)
{
    const struct fixture *f = *state;
    const uint16_t port = rpc_server_port(f->server);
    assert_int_equal(call(f->channel, "/t.T/Locked", "x", "missing authorization header"),
                     RPC_STATUS_UNAUTHENTICATED);
    struct rpc_channel *good =
        dial(f->loop, (struct rpc_channel_options){.auth_token = "t0ken"}, port);
    assert_int_equal(call(good, "/t.T/Locked", "x", "x"), RPC_STATUS_OK);
    struct rpc_channel *bad =
        dial(f->loop, (struct rpc_channel_options){.auth_token = "t0ke"}, port);
    assert_int_equal(call(bad, "/t.T/Locked", "x", "invalid auth token"),
                     RPC_STATUS_UNAUTHENTICATED);
    (void)rpc_channel_free(good);
    (void)rpc_channel_free(bad);
}

static void test_large(void **state)
{
    const struct fixture *f = *state;
    const size_t size = 100u << 20;
    uint8_t *message = xmalloc(size);
    for (size_t i = 0; i < size; i++) {
        message[i] = (uint8_t)(i * 7 >> 3);
    }
    struct rpc_answer answer;
    rpc_channel_call_wait(f->channel, "/t.T/Echo", bytes_of(message, size), WAIT_US, &answer);
    assert_int_equal(answer.status, RPC_STATUS_OK);
    assert_true(bytes_eq(answer.reply, bytes_of(message, size)));
    rpc_answer_deinit(&answer);
    free(message);
    assert_int_equal(call(f->channel, "/t.T/Echo", "small", "small"), RPC_STATUS_OK);
}

/* A listener that takes connections and answers with SETTINGS and nothing else, ever. */
static void test_a_dead_server_is_left(void **state)
{
    const struct fixture *f = *state;
    const struct sockaddr_in any = {.sin_family = AF_INET,
                                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in bound;
    socklen_t len = sizeof bound;
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (const struct sockaddr *)&any, sizeof any), 0);
    assert_int_equal(listen(listener, 4), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&bound, &len), 0);

    char target[64];
    (void)snprintf(target, sizeof target, "127.0.0.1:%u", ntohs(bound.sin_port));
    const struct rpc_channel_options options = {.target = target};
    struct rpc_channel *channel = NULL;
    struct silo_err err;
    assert_int_equal(rpc_channel_new(f->loop, &options, &channel, &err).code, SILO_OK);
    struct rpc_answer answer;
    int taken[2] = {-1, -1};
    struct pollfd waiting = {.fd = listener, .events = POLLIN};
    for (int i = 0; i < 2; i++) {
        for (int calls = 0; poll(&waiting, 1, 0) == 0; calls++) {
            assert_true(calls < 400);
            rpc_channel_call_wait(channel, "/t.T/Echo", BYTES_LIT("x"), 50000, &answer);
            assert_true(answer.status == RPC_STATUS_DEADLINE_EXCEEDED ||
                        answer.status == RPC_STATUS_UNAVAILABLE);
            rpc_answer_deinit(&answer);
        }
        taken[i] = accept(listener, NULL, NULL);
        assert_int_equal(send(taken[i], "\0\0\0\4\0\0\0\0\0", 9, MSG_NOSIGNAL), 9);
    }
    (void)rpc_channel_free(channel);
    (void)close(taken[0]);
    (void)close(taken[1]);
    (void)close(listener);
}

static void test_deadline(void **state)
{
    const struct fixture *f = *state;
    struct rpc_answer answer;
    const int64_t start = env_mono_us(&env_system);
    rpc_channel_call_wait(f->channel, "/t.T/Park", BYTES_NONE, 50000, &answer);
    assert_int_equal(answer.status, RPC_STATUS_DEADLINE_EXCEEDED);
    assert_true(env_mono_us(&env_system) - start >= 50000);
    rpc_answer_deinit(&answer);
    await(&cancelled, atomic_load(&parked));
    assert_int_equal(call(f->channel, "/t.T/Echo", "on", "on"), RPC_STATUS_OK);
}

/* --- many calls, streams, cancelling --- */

struct many {
    struct rpc_request request;
    atomic_uint *done;
    uint32_t status;
    uint32_t messages;
};

static void many_done(struct rpc_request *request)
{
    struct many *many = CONTAINER_OF(request, struct many, request);
    many->status = request->status;
    atomic_fetch_add(many->done, 1);
}

static void many_message(struct rpc_request *request, struct bytes message)
{
    struct many *many = CONTAINER_OF(request, struct many, request);
    assert_int_equal(message.len, 1);
    assert_int_equal(message.ptr[0], many->messages);
    many->messages++;
}

static void test_many_at_once(void **state)
{
    const struct fixture *f = *state;
    enum { COUNT = 10000 }; /* more than the server's streams on a connection */
    struct many *all = xcalloc(COUNT, sizeof *all);
    atomic_uint done = 0;
    for (size_t i = 0; i < COUNT; i++) {
        all[i].done = &done;
        all[i].request.path = i % 2 == 0 ? "/t.T/Echo" : "/t.T/Count";
        all[i].request.message = BYTES_LIT("m");
        all[i].request.on_done = many_done;
        all[i].request.on_message = i % 2 == 0 ? NULL : many_message;
        rpc_channel_call(f->channel, &all[i].request);
    }
    await(&done, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(all[i].status, RPC_STATUS_OK);
        assert_int_equal(all[i].messages, i % 2 == 0 ? 0 : 10);
    }
    free(all);
}

struct cancel_mail {
    struct rpc_mail mail;
    struct rpc_channel *channel;
    struct many *many;
    size_t count;
};

static void cancel_run(struct rpc_mail *mail)
{
    struct cancel_mail *m = CONTAINER_OF(mail, struct cancel_mail, mail);
    for (size_t i = 0; i < m->count; i++) {
        rpc_channel_cancel(m->channel, &m->many[i].request);
    }
}

/*
 * Answers that arrive side by side, and together are more than the channel may hold: calls are
 * given up, the rest goes on.
 */
static void test_answers_are_bounded(void **state)
{
    const struct fixture *f = *state;
    enum { CALLS = 8 };
    const size_t size = 1u << 20;
    struct rpc_channel *channel =
        dial(f->loop, (struct rpc_channel_options){.answer_bytes_max = size + size / 2},
             rpc_server_port(f->server));
    uint8_t *message = xcalloc(1, size);
    struct many calls[CALLS];
    atomic_uint done = 0;
    for (uint32_t i = 0; i < CALLS; i++) {
        calls[i] = (struct many){.request = {.path = "/t.T/Echo",
                                             .message = bytes_of(message, size),
                                             .on_done = many_done},
                                 .done = &done};
        rpc_channel_call(channel, &calls[i].request);
    }
    await(&done, CALLS);
    uint32_t refused = 0;
    for (uint32_t i = 0; i < CALLS; i++) {
        assert_true(calls[i].status == RPC_STATUS_OK ||
                    calls[i].status == RPC_STATUS_RESOURCE_EXHAUSTED);
        refused += calls[i].status != RPC_STATUS_OK;
    }
    assert_true(refused != 0);
    struct rpc_answer answer; /* what those held is free again */
    rpc_channel_call_wait(channel, "/t.T/Echo", bytes_of(message, size), WAIT_US, &answer);
    assert_int_equal(answer.status, RPC_STATUS_OK);
    assert_int_equal(answer.reply.len, size);
    rpc_answer_deinit(&answer);
    free(message);
    (void)rpc_channel_free(channel);
}

static void test_cancel(void **state)
{
    const struct fixture *f = *state;
    enum { COUNT = 100 };
    struct many all[COUNT] = {0};
    atomic_uint done = 0;
    for (size_t i = 0; i < COUNT; i++) {
        all[i].done = &done;
        all[i].request.path = "/t.T/Park";
        all[i].request.on_done = many_done;
        rpc_channel_call(f->channel, &all[i].request);
    }
    await(&parked, COUNT);
    struct cancel_mail mail = {
        .mail.run = cancel_run, .channel = f->channel, .many = all, .count = COUNT};
    rpc_loop_post(f->loop, &mail.mail);
    await(&done, COUNT);
    await(&cancelled, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(all[i].status, RPC_STATUS_CANCELLED);
    }
    assert_int_equal(call(f->channel, "/t.T/Echo", "on", "on"), RPC_STATUS_OK);
    assert_int_equal(rpc_server_conns(f->server), 1);
}

static void test_free_ends_calls(void **state)
{
    struct fixture *f = *state;
    struct many one = {0};
    atomic_uint done = 0;
    one.done = &done;
    one.request.path = "/t.T/Park";
    one.request.on_done = many_done;
    rpc_channel_call(f->channel, &one.request);
    await(&parked, 1);
    f->channel = rpc_channel_free(f->channel);
    assert_int_equal(done, 1);
    assert_int_equal(one.status, RPC_STATUS_CANCELLED);
    await(&cancelled, 1);
}

/* --- servers that come and go --- */

static void test_reconnect(void **state)
{
    struct fixture *f = *state;
    char listen[64];
    (void)snprintf(listen, sizeof listen, "127.0.0.1:%u", rpc_server_port(f->server));
    assert_int_equal(call(f->channel, "/t.T/Echo", "a", "a"), RPC_STATUS_OK);
    struct many one = {0};
    atomic_uint done = 0;
    one.done = &done;
    one.request.path = "/t.T/Park";
    one.request.on_done = many_done;
    rpc_channel_call(f->channel, &one.request);
    await(&parked, 1);

    f->server = rpc_server_free(f->server);
    await(&done, 1);
    assert_int_equal(one.status, RPC_STATUS_UNAVAILABLE);
    refused_with(f->channel, "Connection refused");
    assert_int_equal(rpc_channel_state(f->channel), RPC_CHANNEL_BACKOFF);

    f->server = serve((struct rpc_server_options){.listen = listen});
    const int64_t end = env_mono_us(&env_system) + WAIT_US;
    while (call(f->channel, "/t.T/Echo", "c", NULL) != RPC_STATUS_OK) {
        assert_true(env_mono_us(&env_system) < end);
        usleep(1000);
    }
}

static void test_drain_moves_on(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(call(f->channel, "/t.T/Echo", "a", "a"), RPC_STATUS_OK);
    rpc_server_drain(f->server);
    assert_true(rpc_server_drained(f->server, 5000));
    assert_int_equal(call(f->channel, "/t.T/Echo", "b", NULL), RPC_STATUS_UNAVAILABLE);
}

static void test_bad_options(void **state)
{
    const struct fixture *f = *state;
    struct rpc_channel *channel = NULL;
    struct silo_err err;
    struct rpc_channel_options options = {.target = "no port"};
    assert_int_equal(rpc_channel_new(f->loop, &options, &channel, &err).code, SILO_INVALID);
    options = (struct rpc_channel_options){.target = "a:1", .tls = true, .tls_ca = "/absent"};
    assert_int_equal(rpc_channel_new(f->loop, &options, &channel, &err).code, SILO_INVALID);
    options = (struct rpc_channel_options){.target = "a:1", .auth_token = "new\nline"};
    assert_int_equal(rpc_channel_new(f->loop, &options, &channel, &err).code, SILO_INVALID);
    struct rpc_server *server = NULL;
    static const char *const listens[] = {"", "x:1", "127.0.0.1", "127.0.0.1:70000", "::1:5"};
    for (size_t i = 0; i < sizeof listens / sizeof listens[0]; i++) {
        const struct rpc_server_options bad = {.listen = listens[i]};
        assert_int_equal(rpc_server_new(&bad, &server, &err).code, SILO_INVALID);
    }
    const struct rpc_server_options no_file = {
        .listen = "127.0.0.1:0", .tls_cert = "/absent.pem", .tls_key = "/absent.key"};
    assert_int_equal(rpc_server_new(&no_file, &server, &err).code, SILO_INVALID);
    assert_string_equal(err.text,
                        "cannot load the TLS certificate /absent.pem: No such file or directory");
    assert_int_equal(rpc_tls_check("/dev/null", "/dev/null", NULL, &err).code, SILO_INVALID);
    assert_non_null(strstr(err.text, "there is none in it"));
    char taken[64];
    (void)snprintf(taken, sizeof taken, "127.0.0.1:%u", rpc_server_port(f->server));
    const struct rpc_server_options again = {.listen = taken};
    assert_int_equal(rpc_server_new(&again, &server, &err).code, SILO_UNAVAILABLE);
}

/* --- TLS --- */

static void write_certificate(const char *cert_path, const char *key_path)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    assert_non_null(key);
    assert_non_null(cert);
    (void)X509_set_version(cert, 2);
    (void)ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    (void)X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    (void)X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
    (void)X509_set_pubkey(cert, key);
    X509_NAME *name = X509_get_subject_name(cert);
    (void)X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"silo test",
                                     -1, -1, 0);
    (void)X509_set_issuer_name(cert, name);
    X509_EXTENSION *names = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "DNS:localhost");
    (void)X509_add_ext(cert, names, -1);
    X509_EXTENSION_free(names);
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    FILE *file = fopen(cert_path, "w");
    assert_non_null(file);
    assert_int_equal(PEM_write_X509(file, cert), 1);
    (void)fclose(file);
    file = fopen(key_path, "w");
    assert_non_null(file);
    assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
    (void)fclose(file);
    X509_free(cert);
    EVP_PKEY_free(key);
}

static void test_tls(void **state)
{
    const struct fixture *f = *state;
    char cert[] = "rpc-cert-XXXXXX", key[] = "rpc-key-XXXXXX";
    (void)close(mkstemp(cert));
    (void)close(mkstemp(key));
    write_certificate(cert, key);
    struct rpc_server *server =
        serve((struct rpc_server_options){.tls_cert = cert, .tls_key = key, .tls_client_ca = cert});
    const uint16_t port = rpc_server_port(server);
    const struct rpc_channel_options good = {
        .tls = true, .tls_ca = cert, .tls_cert = cert, .tls_key = key};
    struct rpc_channel_options stranger = good, wrong_name = good;
    stranger.tls_cert = stranger.tls_key = NULL;
    wrong_name.tls_name = "example.com";

    struct rpc_channel *channel = dial(f->loop, good, port);
    assert_int_equal(call(channel, "/t.T/Echo", "secret", "secret"), RPC_STATUS_OK);
    uint8_t *large = xcalloc(1, 20u << 20);
    struct rpc_answer answer;
    rpc_channel_call_wait(channel, "/t.T/Echo", bytes_of(large, 20u << 20), WAIT_US, &answer);
    assert_int_equal(answer.status, RPC_STATUS_OK);
    assert_true(bytes_eq(answer.reply, bytes_of(large, 20u << 20)));
    rpc_answer_deinit(&answer);
    free(large);
    (void)rpc_channel_free(channel);

    const struct rpc_channel_options bad[] = {stranger, wrong_name, {0}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        channel = dial(f->loop, bad[i], port);
        assert_int_equal(call(channel, "/t.T/Echo", "x", NULL), RPC_STATUS_UNAVAILABLE);
        (void)rpc_channel_free(channel);
    }
    channel = dial(f->loop, wrong_name, port);
    refused_with(channel, "certificate verify failed");
    (void)rpc_channel_free(channel);
    (void)rpc_server_free(server);
    (void)unlink(cert);
    (void)unlink(key);
}

static void test_done_hook(void **state)
{
    const struct fixture *f = *state;
    const unsigned ok = atomic_load(&done_ok), bad = atomic_load(&done_bad);
    assert_int_equal(call(f->channel, "/t.T/Echo", "x", "x"), RPC_STATUS_OK);
    assert_int_equal(call(f->channel, "/t.T/Fail", "x", NULL), RPC_STATUS_NOT_FOUND);
    assert_int_equal(atomic_load(&done_ok), ok + 1);
    assert_int_equal(atomic_load(&done_bad), bad + 1);
}

int main(void)
{
#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_SERVER(test_calls),
        WITH_SERVER(test_trailers),
        WITH_SERVER(test_auth),
        WITH_SERVER(test_large),
        WITH_SERVER(test_a_dead_server_is_left),
        WITH_SERVER(test_deadline),
        WITH_SERVER(test_many_at_once),
        WITH_SERVER(test_cancel),
        WITH_SERVER(test_free_ends_calls),
        WITH_SERVER(test_reconnect),
        WITH_SERVER(test_drain_moves_on),
        WITH_SERVER(test_bad_options),
        WITH_SERVER(test_tls),
        WITH_SERVER(test_done_hook),
        WITH_SERVER(test_answers_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
