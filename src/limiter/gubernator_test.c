/*
 * limiter/gubernator_test.c - the client against a server made with our own rpc layer: what reaches
 * it in which calls, what its answers become, and that nothing but an answer is one.
 */
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/env.h"
#include "base/log.h"
#include "base/test.h"
#include "gubernator.pb-c.h"
#include "limiter/gubernator.h"
#include "rpc/rpc.h"

#define WAIT_US 30000000
#define CHECKS_MAX 4096u
#define CALLS_MAX 4096u
#define LONG_MS 20000 /* longer than any test takes */

/* --- the server --- */

enum mode {
    ANSWER, /* hits above limit are over, the rest under; reset time = limit + 1000 x duration */
    ANSWER_SHORT,  /* without the last entry */
    ANSWER_NONE,   /* no entry at all */
    ANSWER_ERRORS, /* each entry with a text, status under */
    ANSWER_ODD,    /* status 7 */
    ANSWER_JUNK,   /* no message of the expected type */
    REFUSE,        /* UNAVAILABLE */
    PARK,          /* no answer until `release_parked` */
};

struct peer {
    struct rpc_server *server;
    struct rpc_method method;
    atomic_int mode;
    atomic_uint calls, checks, parked;
    uint32_t sizes[CALLS_MAX]; /* checks of each call; one loop writes them */
    Pb__Gubernator__RateLimitReq last;
    char last_name[64], last_key[64];
    struct rpc_call *held[CALLS_MAX]; /* PARK; the loop's */
};

static void peer_entry(struct peer *peer, const Pb__Gubernator__RateLimitReq *request, int mode,
                       Pb__Gubernator__RateLimitResp *ret_entry)
{
    pb__gubernator__rate_limit_resp__init(ret_entry);
    peer->last = *request;
    (void)snprintf(peer->last_name, sizeof peer->last_name, "%s", request->name);
    (void)snprintf(peer->last_key, sizeof peer->last_key, "%s", request->unique_key);
    ret_entry->reset_time = request->limit + 1000 * request->duration;
    if (mode == ANSWER_ERRORS) {
        ret_entry->error = request->unique_key;
    } else if (mode == ANSWER_ODD) {
        ret_entry->status = (Pb__Gubernator__Status)7;
    } else if (request->hits > request->limit) {
        ret_entry->status = PB__GUBERNATOR__STATUS__OVER_LIMIT;
    }
}

static void peer_answer(struct peer *peer, struct rpc_call *call,
                        const Pb__Gubernator__GetRateLimitsReq *request, int mode)
{
    struct arena *arena = rpc_call_arena(call);
    Pb__Gubernator__GetRateLimitsResp reply = PB__GUBERNATOR__GET_RATE_LIMITS_RESP__INIT;
    reply.responses = arena_alloc(arena, request->n_requests * sizeof *reply.responses);
    for (size_t i = 0; i < request->n_requests; i++) {
        Pb__Gubernator__RateLimitResp *entry = arena_alloc(arena, sizeof *entry);
        peer_entry(peer, request->requests[i], mode, entry);
        reply.responses[reply.n_responses++] = entry;
    }
    reply.n_responses -= mode == ANSWER_SHORT ? 1 : 0;
    reply.n_responses = mode == ANSWER_NONE ? 0 : reply.n_responses;
    const size_t len = pb__gubernator__get_rate_limits_resp__get_packed_size(&reply);
    uint8_t *packed = arena_alloc(arena, len + 1);
    (void)pb__gubernator__get_rate_limits_resp__pack(&reply, packed);
    (void)rpc_call_reply(call, bytes_of(packed, len));
}

static void held_cancel(struct rpc_call *call, enum rpc_cancel reason, void *context)
{
    struct peer *peer = context;
    (void)reason;
    for (size_t i = 0; i < CALLS_MAX; i++) {
        if (peer->held[i] == call) {
            peer->held[i] = NULL;
        }
    }
    (void)rpc_call_finish(call, RPC_STATUS_CANCELLED, BYTES_NONE, NULL, 0);
}

static void on_call(struct rpc_call *call, struct bytes wire, void *context)
{
    struct peer *peer = context;
    const int mode = atomic_load(&peer->mode);
    Pb__Gubernator__GetRateLimitsReq *request =
        pb__gubernator__get_rate_limits_req__unpack(NULL, wire.len, wire.ptr);
    assert_non_null(request);
    const unsigned index = atomic_load(&peer->calls);
    assert_true(index < CALLS_MAX);
    peer->sizes[index] = (uint32_t)request->n_requests;
    atomic_fetch_add(&peer->checks, (unsigned)request->n_requests);
    atomic_fetch_add(&peer->calls, 1);
    if (mode == REFUSE) {
        (void)rpc_call_finish(call, RPC_STATUS_UNAVAILABLE, BYTES_LIT("not today"), NULL, 0);
    } else if (mode == ANSWER_JUNK) {
        (void)rpc_call_reply(call, BYTES_LIT("\x0a\x7f"));
    } else if (mode == PARK) {
        peer->held[index] = call;
        rpc_call_on_cancel(call, held_cancel, peer);
        atomic_fetch_add(&peer->parked, 1);
    } else {
        peer_answer(peer, call, request, mode);
    }
    pb__gubernator__get_rate_limits_req__free_unpacked(request, NULL);
}

struct release_mail {
    struct rpc_mail mail;
    struct peer *peer;
};

static void release_run(struct rpc_mail *mail)
{
    struct peer *peer = CONTAINER_OF(mail, struct release_mail, mail)->peer;
    for (size_t i = CALLS_MAX;
         i-- > 0;) { /* the newest first: answers need not come in the order of calls */
        struct rpc_call *call = peer->held[i];
        if (call != NULL) {
            const struct bytes wire = rpc_call_request(call);
            Pb__Gubernator__GetRateLimitsReq *request =
                pb__gubernator__get_rate_limits_req__unpack(NULL, wire.len, wire.ptr);
            peer->held[i] = NULL;
            peer_answer(peer, call, request, ANSWER);
            pb__gubernator__get_rate_limits_req__free_unpacked(request, NULL);
        }
    }
    free(CONTAINER_OF(mail, struct release_mail, mail));
}

static void release_parked(struct peer *peer)
{
    struct release_mail *mail = xcalloc(1, sizeof *mail);
    mail->mail.run = release_run;
    mail->peer = peer;
    rpc_loop_post(rpc_server_loop(peer->server, 0), &mail->mail);
}

static void peer_start(struct peer *peer, uint16_t port)
{
    char listen[32];
    struct silo_err err;
    (void)snprintf(listen, sizeof listen, "127.0.0.1:%u", port);
    const struct rpc_server_options options = {.listen = listen, .loops = 1};
    peer->method = (struct rpc_method){
        .path = "/pb.gubernator.V1/GetRateLimits", .on_call = on_call, .context = peer};
    assert_int_equal(rpc_server_new(&options, &peer->server, &err).code, SILO_OK);
    assert_int_equal(rpc_server_add(peer->server, &peer->method, &err).code, SILO_OK);
    assert_int_equal(rpc_server_start(peer->server, &err).code, SILO_OK);
}

/* --- checks --- */

struct probe {
    struct limiter_check check;
    atomic_uint *done;
    atomic_uint answers; /* of this one; more than 1 is a bug */
};

struct fixture {
    struct peer *peer;
    struct gubernator *gubernator;
    struct probe *probes;
    atomic_uint done;
};

static void probe_done(struct limiter_check *check)
{
    struct probe *probe = CONTAINER_OF(check, struct probe, check);
    atomic_fetch_add(&probe->answers, 1);
    atomic_fetch_add(probe->done, 1);
}

static void await(atomic_uint *count, unsigned want)
{
    const int64_t end = env_mono_us(&env_system) + WAIT_US;
    while (atomic_load(count) < want) {
        assert_true(env_mono_us(&env_system) < end);
        usleep(500);
    }
}

static void probe_send(struct fixture *f, size_t index)
{
    struct probe *probe = &f->probes[index];
    struct limiter *limiter = gubernator_limiter(f->gubernator);
    assert_true(index < CHECKS_MAX);
    probe->done = &f->done;
    probe->check.done = probe_done;
    probe->check.verdict = LIMITER_UNDER; /* what must not stay by mistake */
    if (probe->check.name.ptr == NULL) {
        probe->check.name = BYTES_LIT("name");
        probe->check.unique_key = BYTES_LIT("key");
    }
    limiter->check(limiter, &probe->check);
}

static void send_many(struct fixture *f, size_t first, size_t count)
{
    for (size_t i = first; i < first + count; i++) {
        probe_send(f, i);
    }
}

static void make(struct fixture *f, struct gubernator_options options)
{
    char address[64];
    struct silo_err err = {0};
    (void)snprintf(address, sizeof address, "http://127.0.0.1:%u",
                   rpc_server_port(f->peer->server));
    options.address = options.address != NULL ? options.address : address;
    options.call_checks_max = options.call_checks_max != 0 ? options.call_checks_max : 100;
    options.connect_timeout_ms =
        options.connect_timeout_ms != 0 ? options.connect_timeout_ms : LONG_MS;
    options.request_timeout_ms =
        options.request_timeout_ms != 0 ? options.request_timeout_ms : LONG_MS;
    assert_int_equal(gubernator_new(&options, &f->gubernator, &err).code, SILO_OK);
}

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    log_set_level(LOG_OFF);
    f->peer = xcalloc(1, sizeof *f->peer);
    f->probes = xcalloc(CHECKS_MAX, sizeof *f->probes);
    peer_start(f->peer, 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    f->gubernator = gubernator_free(f->gubernator);
    f->peer->server = rpc_server_free(f->peer->server);
    for (size_t i = 0; i < CHECKS_MAX; i++) {
        const struct probe *probe = &f->probes[i];
        assert_int_equal(atomic_load(&probe->answers), probe->done != NULL ? 1 : 0);
    }
    free(f->peer);
    free(f->probes);
    free(f);
    return 0;
}

static void is_error(const struct fixture *f, size_t index, const char *text)
{
    const struct limiter_check *check = &f->probes[index].check;
    assert_int_equal(check->verdict, LIMITER_ERROR);
    assert_int_equal(check->reset_ms, 0);
    if (strstr(check->error, text) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", check->error, text);
    }
}

/* --- what is sent, and what answers become --- */

static void all_fields_arrive(void **state)
{
    struct fixture *f = *state;
    make(f, (struct gubernator_options){0});
    f->probes[0].check = (struct limiter_check){.name = BYTES_LIT("gr\xc3\xbc\xc3\x9f"
                                                                  "e"),
                                                .unique_key = BYTES_LIT("user 1"),
                                                .hits = 7,
                                                .limit = INT64_MAX - 5000,
                                                .duration_ms = 5,
                                                .algorithm = 1,
                                                .behavior = 8 | 16};
    probe_send(f, 0);
    await(&f->done, 1);
    const struct limiter_check *check = &f->probes[0].check;
    assert_int_equal(check->verdict, LIMITER_UNDER);
    assert_int_equal(check->reset_ms, INT64_MAX);
    assert_string_equal(check->error, "");
    const struct peer *peer = f->peer;
    assert_string_equal(peer->last_name, "gr\xc3\xbc\xc3\x9f"
                                         "e");
    assert_string_equal(peer->last_key, "user 1");
    assert_int_equal(peer->last.hits, 7);
    assert_int_equal(peer->last.limit, INT64_MAX - 5000);
    assert_int_equal(peer->last.duration, 5);
    assert_int_equal(peer->last.algorithm, PB__GUBERNATOR__ALGORITHM__LEAKY_BUCKET);
    assert_int_equal(peer->last.behavior, 24);
    assert_int_equal(peer->last.burst, 0);
    assert_int_equal(peer->last.n_metadata, 0);
    assert_int_equal(peer->last.created_at, 0);
}

static void answers_belong_by_place(void **state)
{
    struct fixture *f = *state;
    make(f, (struct gubernator_options){.coalesce_interval_ms = 5});
    enum { COUNT = 1000 };
    for (size_t i = 0; i < COUNT; i++) {
        f->probes[i].check.limit = (int64_t)i;
        f->probes[i].check.hits = (int64_t)i + (i % 3 == 0 ? 1 : 0);
        probe_send(f, i);
    }
    await(&f->done, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(f->probes[i].check.verdict, i % 3 == 0 ? LIMITER_OVER : LIMITER_UNDER);
        assert_int_equal(f->probes[i].check.reset_ms, i);
    }
}

static void a_full_call_leaves_at_once(void **state)
{
    struct fixture *f = *state;
    make(f, (struct gubernator_options){.coalesce_interval_ms = LONG_MS, .call_checks_max = 10});
    send_many(f, 0, 35);
    await(&f->done, 30); /* the last five wait for the interval */
    assert_int_equal(atomic_load(&f->peer->calls), 3);
    assert_int_equal(f->peer->sizes[0], 10);
    assert_int_equal(f->peer->sizes[2], 10);
    send_many(f, 35, 5);
    await(&f->done, 40);
    assert_int_equal(atomic_load(&f->peer->calls), 4);
}

static void pending_checks_leave_by_time(void **state)
{
    struct fixture *f = *state;
    make(f, (struct gubernator_options){.coalesce_interval_ms = 200});
    const int64_t start_us = env_mono_us(&env_system);
    send_many(f, 0, 1);
    while (env_mono_us(&env_system) - start_us < 50000) {
        usleep(1000);
    }
    send_many(f, 1, 8); /* joins what is pending, which does not wait longer for it */
    await(&f->done, 9);
    const int64_t took_us = env_mono_us(&env_system) - start_us;
    assert_true(took_us >= 200000);
    /* On a machine that stalls for 150 ms just there, two calls are right. */
    assert_true(atomic_load(&f->peer->calls) == 1 || took_us > 350000);
    assert_int_equal(atomic_load(&f->peer->checks), 9);
}

static void without_an_interval_each_turn_sends(void **state)
{
    struct fixture *f = *state;
    make(f, (struct gubernator_options){.coalesce_interval_ms = 0});
    send_many(f, 0, 500);
    await(&f->done, 500);
    assert_int_equal(atomic_load(&f->peer->checks), 500);
    assert_true(atomic_load(&f->peer->calls) >= 5);
}

static void a_large_message_is_split(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 400, TEXT = 4096 };
    make(f, (struct gubernator_options){.coalesce_interval_ms = 50, .call_checks_max = 1000});
    char *text = xmalloc(TEXT);
    memset(text, 'x', TEXT);
    for (size_t i = 0; i < COUNT; i++) {
        f->probes[i].check.name = f->probes[i].check.unique_key = bytes_of(text, TEXT);
        probe_send(f, i);
    }
    await(&f->done, COUNT);
    assert_true(atomic_load(&f->peer->calls) >= 4);
    for (size_t i = 0; i < atomic_load(&f->peer->calls); i++) {
        assert_true(f->peer->sizes[i] * 2u * TEXT <= GUBERNATOR_CALL_BYTES_MAX);
    }
    free(text);
}

static void calls_do_not_wait_for_each_other(void **state)
{
    struct fixture *f = *state;
    make(f, (struct gubernator_options){.call_checks_max = 1});
    atomic_store(&f->peer->mode, PARK);
    send_many(f, 0, 20);
    await(&f->peer->parked, 20); /* all of them under way at once */
    assert_int_equal(atomic_load(&f->done), 0);
    atomic_store(&f->peer->mode, ANSWER);
    send_many(f, 20, 1);
    await(&f->done, 1); /* overtakes */
    assert_int_equal(atomic_load(&f->probes[20].answers), 1);
    release_parked(f->peer);
    await(&f->done, 21);
    assert_int_equal(rpc_server_conns(f->peer->server), 1);
}

/* --- what is no answer --- */

static void anything_else_is_an_error(void **state)
{
    struct fixture *f = *state;
    static const struct {
        enum mode mode;
        const char *text;
    } cases[] = {{ANSWER_NONE, "leaves this check out"},
                 {ANSWER_ERRORS, "Gubernator: key"},
                 {ANSWER_ODD, "unknown status"},
                 {ANSWER_JUNK, "malformed answer"},
                 {REFUSE, "UNAVAILABLE: not today"}};
    enum { CASES = sizeof cases / sizeof cases[0] };
    make(f, (struct gubernator_options){0});
    for (size_t i = 0; i < CASES; i++) {
        atomic_store(&f->peer->mode, (int)cases[i].mode);
        probe_send(f, i);
        await(&f->done, (unsigned)i + 1);
        is_error(f, i, cases[i].text);
    }
    atomic_store(&f->peer->mode, ANSWER);
    probe_send(f, CASES);
    await(&f->done, CASES + 1);
    assert_int_equal(f->probes[CASES].check.verdict, LIMITER_UNDER);
}

static void a_short_answer_fails_what_it_leaves_out(void **state)
{
    struct fixture *f = *state;
    make(f, (struct gubernator_options){.coalesce_interval_ms = LONG_MS, .call_checks_max = 3});
    atomic_store(&f->peer->mode, ANSWER_SHORT);
    send_many(f, 0, 3);
    await(&f->done, 3);
    assert_int_equal(f->probes[0].check.verdict, LIMITER_UNDER);
    assert_int_equal(f->probes[1].check.verdict, LIMITER_UNDER);
    is_error(f, 2, "leaves this check out");
}

static void a_long_error_is_cut_between_characters(void **state)
{
    struct fixture *f = *state;
    make(f, (struct gubernator_options){0});
    atomic_store(&f->peer->mode, ANSWER_ERRORS);
    char text[301] = "x";
    for (size_t i = 1; i < sizeof text; i += 2) {
        text[i] = '\xc3';
        text[i + 1] = '\xbc';
    }
    for (size_t i = 0; i < 2; i++) { /* with the cut between two characters, and within one */
        f->probes[i].check.name = BYTES_LIT("n");
        f->probes[i].check.unique_key = bytes_of(text + i, sizeof text - i);
        probe_send(f, i);
        await(&f->done, (unsigned)i + 1);
        is_error(f, i, "\xc3\xbc");
        const size_t len = strlen(f->probes[i].check.error);
        assert_true(len >= sizeof f->probes[i].check.error - 3);
        assert_true(bytes_utf8(bytes_str(f->probes[i].check.error), NULL));
    }
}

static void texts_that_no_string_can_carry(void **state)
{
    struct fixture *f = *state;
    make(f, (struct gubernator_options){.coalesce_interval_ms = LONG_MS, .call_checks_max = 1});
    f->probes[0].check.name = BYTES_LIT("a\0b");
    f->probes[1].check.name = BYTES_LIT("a");
    f->probes[1].check.unique_key = BYTES_LIT("\xff");
    send_many(f, 0, 2);
    await(&f->done, 2);
    is_error(f, 0, "must be UTF-8 without NUL");
    is_error(f, 1, "must be UTF-8 without NUL");
    assert_int_equal(atomic_load(&f->peer->calls), 0);
    f->probes[2].check.name = BYTES_LIT(""); /* the server's to judge */
    send_many(f, 2, 1);
    await(&f->done, 3);
    assert_int_equal(f->probes[2].check.verdict, LIMITER_UNDER);
}

static void a_slow_server_times_out(void **state)
{
    struct fixture *f = *state;
    make(f, (struct gubernator_options){.request_timeout_ms = 100});
    probe_send(f, 0);
    await(&f->done, 1); /* connected */
    atomic_store(&f->peer->mode, PARK);
    const int64_t start_us = env_mono_us(&env_system);
    probe_send(f, 1);
    await(&f->done, 2);
    assert_true(env_mono_us(&env_system) - start_us >= 100000);
    is_error(f, 1, "DEADLINE_EXCEEDED");
    atomic_store(&f->peer->mode, ANSWER);
    probe_send(f, 2);
    await(&f->done, 3);
    assert_int_equal(f->probes[2].check.verdict, LIMITER_UNDER);
}

/* --- servers that come and go --- */

/* A socket that is bound and listens, but nobody accepts: connections are made and then silent. */
static int silent_listener(uint16_t *ret_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

static void nobody_there_then_somebody(void **state)
{
    struct fixture *f = *state;
    const uint16_t port = rpc_server_port(f->peer->server);
    make(f, (struct gubernator_options){0});
    f->peer->server = rpc_server_free(f->peer->server);
    probe_send(f, 0);
    await(&f->done, 1);
    is_error(f, 0, "UNAVAILABLE: cannot connect to 127.0.0.1:");
    peer_start(f->peer, port);
    const int64_t end = env_mono_us(&env_system) + WAIT_US;
    size_t next = 1;
    do { /* the channel waits a moment before it tries again */
        assert_true(env_mono_us(&env_system) < end);
        usleep(10000);
        probe_send(f, next);
        await(&f->done, (unsigned)next + 1);
    } while (f->probes[next++].check.verdict == LIMITER_ERROR);
    assert_int_equal(f->probes[next - 1].check.verdict, LIMITER_UNDER);

    atomic_store(&f->peer->mode, PARK);
    probe_send(f, next);
    await(&f->peer->parked, 1);
    f->peer->server = rpc_server_free(f->peer->server); /* lost with a call under way */
    await(&f->done, (unsigned)next + 1);
    is_error(f, next, "Gubernator: ");
    atomic_store(&f->peer->mode, ANSWER);
    peer_start(f->peer, port);
    do {
        assert_true(env_mono_us(&env_system) < end);
        usleep(10000);
        probe_send(f, ++next);
        await(&f->done, (unsigned)next + 1);
    } while (f->probes[next].check.verdict == LIMITER_ERROR);
}

static void a_connection_that_is_not_made_in_time(void **state)
{
    struct fixture *f = *state;
    char address[64];
    uint16_t port = 0;
    const int fd = silent_listener(&port);
    (void)snprintf(address, sizeof address, "127.0.0.1:%u", port);
    make(f, (struct gubernator_options){.address = address, .connect_timeout_ms = 100});
    const int64_t start_us = env_mono_us(&env_system);
    probe_send(f, 0);
    await(&f->done, 1);
    assert_true(env_mono_us(&env_system) - start_us >= 100000);
    is_error(f, 0, "timed out");
    probe_send(f, 1); /* fails at once, or after another attempt */
    await(&f->done, 2);
    is_error(f, 1, "cannot connect");
    (void)close(fd);
}

/* A request timeout shorter than connecting takes: the call may last as long as both. */
static void connecting_has_its_own_time(void **state)
{
    struct fixture *f = *state;
    char address[64];
    uint16_t port = 0;
    const int fd = silent_listener(&port);
    (void)snprintf(address, sizeof address, "127.0.0.1:%u", port);
    make(f, (struct gubernator_options){
                .address = address, .connect_timeout_ms = 300, .request_timeout_ms = 1});
    const int64_t start_us = env_mono_us(&env_system);
    probe_send(f, 0);
    await(&f->done, 1);
    const int64_t took_us = env_mono_us(&env_system) - start_us;
    assert_true(took_us >= 300000);
    is_error(f, 0, "Gubernator: ");
    (void)close(fd);
}

static void a_silent_connection_is_given_up(void **state)
{
    struct fixture *f = *state;
    make(f, (struct gubernator_options){.call_checks_max = 1, .request_timeout_ms = 200});
    probe_send(f, 0);
    await(&f->done, 1);
    const uint32_t before = rpc_server_conns(f->peer->server);
    assert_int_equal(before, 1);
    atomic_store(&f->peer->mode, PARK);
    probe_send(f, 1);
    await(&f->done, 2);
    is_error(f, 1, "DEADLINE_EXCEEDED");
    const int64_t end = env_mono_us(&env_system) + WAIT_US;
    while (rpc_server_conns(f->peer->server) !=
           0) { /* ours is closed, and the next check makes a new one */
        assert_true(env_mono_us(&env_system) < end);
        usleep(1000);
    }
    atomic_store(&f->peer->mode, ANSWER);
    probe_send(f, 2);
    await(&f->done, 3);
    assert_int_equal(f->probes[2].check.verdict, LIMITER_UNDER);
}

static void https_is_not_spoken_to_plaintext(void **state)
{
    struct fixture *f = *state;
    char address[64];
    (void)snprintf(address, sizeof address, "https://127.0.0.1:%u",
                   rpc_server_port(f->peer->server));
    make(f, (struct gubernator_options){.address = address});
    probe_send(f, 0);
    await(&f->done, 1);
    is_error(f, 0, "UNAVAILABLE");
    assert_int_equal(atomic_load(&f->peer->calls), 0);
}

/* --- bounds, threads, the end --- */

static void what_waits_is_bounded(void **state)
{
    struct fixture *f = *state;
    enum { MAX = GUBERNATOR_UNANSWERED_CALLS * 2 };
    make(f, (struct gubernator_options){.coalesce_interval_ms = 1, .call_checks_max = 2});
    atomic_store(&f->peer->mode, PARK);
    send_many(f, 0, MAX);
    send_many(f, MAX, 10);
    await(&f->done, 10);
    for (size_t i = MAX; i < MAX + 10; i++) {
        is_error(f, i, "too many rate limit checks are waiting");
    }
    await(&f->peer->checks, MAX);
    await(&f->peer->parked, atomic_load(&f->peer->calls));
    assert_int_equal(atomic_load(&f->done), 10);
    atomic_store(&f->peer->mode, ANSWER);
    release_parked(f->peer);
    await(&f->done, MAX + 10);
    probe_send(f, MAX + 10); /* room again */
    await(&f->done, MAX + 11);
    assert_int_equal(f->probes[MAX + 10].check.verdict, LIMITER_UNDER);
}

struct sender {
    struct fixture *f;
    size_t first, count;
    pthread_t thread;
};

static void *sender_main(void *arg)
{
    const struct sender *sender = arg;
    send_many(sender->f, sender->first, sender->count);
    return NULL;
}

static void many_threads(void **state)
{
    struct fixture *f = *state;
    enum { THREADS = 4, EACH = 1000 };
    struct sender senders[THREADS];
    make(f, (struct gubernator_options){.coalesce_interval_ms = 1});
    for (size_t i = 0; i < THREADS; i++) {
        senders[i] = (struct sender){.f = f, .first = i * EACH, .count = EACH};
        assert_int_equal(pthread_create(&senders[i].thread, NULL, sender_main, &senders[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        (void)pthread_join(senders[i].thread, NULL);
    }
    await(&f->done, THREADS * EACH);
    assert_int_equal(atomic_load(&f->peer->checks), THREADS * EACH);
    for (size_t i = 0; i < THREADS * EACH; i++) {
        assert_int_equal(f->probes[i].check.verdict, LIMITER_UNDER);
    }
}

static void the_end_answers_everything(void **state)
{
    struct fixture *f = *state;
    make(f, (struct gubernator_options){.coalesce_interval_ms = LONG_MS, .call_checks_max = 10});
    atomic_store(&f->peer->mode, PARK);
    send_many(f, 0, 50);
    await(&f->peer->parked, 5);
    send_many(f, 50, 9); /* pending, or still in the inbox */
    f->gubernator = gubernator_free(f->gubernator);
    assert_int_equal(atomic_load(&f->done), 59);
    for (size_t i = 0; i < 59; i++) {
        is_error(f, i, "the rate limiter's client is stopping");
    }
}

static void an_unused_one_ends(void **state)
{
    struct fixture *f = *state;
    make(f, (struct gubernator_options){0});
    f->gubernator = gubernator_free(f->gubernator);
    assert_null(gubernator_free(NULL));
    assert_int_equal(rpc_server_conns(f->peer->server), 0);
}

static void addresses(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *address;
        bool good;
    } cases[] = {{"http://localhost:1051", true},
                 {"http://localhost:1051/", true},
                 {"https://[::1]:1", true},
                 {"gubernator.local:1051", true},
                 {"127.0.0.1:1051", true},
                 {"http://localhost", false},
                 {"localhost:1051/", false},
                 {"http://localhost:1051/x", false},
                 {"grpc://localhost:1051", false},
                 {"http://", false},
                 {"", false},
                 {"::1:1051", false},
                 {"localhost:99999", false},
                 {"http:///", false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct gubernator_options options = {.address = cases[i].address,
                                                   .call_checks_max = 1,
                                                   .connect_timeout_ms = 1,
                                                   .request_timeout_ms = 1};
        struct silo_err err = {0};
        const silo_rc rc = gubernator_new(&options, &f->gubernator, &err);
        if ((rc.code == SILO_OK) != cases[i].good) {
            fail_msg("\"%s\": %s", cases[i].address, err.text);
        }
        if (!cases[i].good) {
            assert_int_equal(rc.code, SILO_INVALID);
            assert_non_null(strstr(err.text, cases[i].address));
        }
        f->gubernator = gubernator_free(f->gubernator);
    }
}

int main(void)
{
#define WITH_PEER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_PEER(all_fields_arrive),
        WITH_PEER(answers_belong_by_place),
        WITH_PEER(a_full_call_leaves_at_once),
        WITH_PEER(pending_checks_leave_by_time),
        WITH_PEER(without_an_interval_each_turn_sends),
        WITH_PEER(a_large_message_is_split),
        WITH_PEER(calls_do_not_wait_for_each_other),
        WITH_PEER(anything_else_is_an_error),
        WITH_PEER(a_short_answer_fails_what_it_leaves_out),
        WITH_PEER(a_long_error_is_cut_between_characters),
        WITH_PEER(texts_that_no_string_can_carry),
        WITH_PEER(a_slow_server_times_out),
        WITH_PEER(nobody_there_then_somebody),
        WITH_PEER(a_connection_that_is_not_made_in_time),
        WITH_PEER(connecting_has_its_own_time),
        WITH_PEER(a_silent_connection_is_given_up),
        WITH_PEER(https_is_not_spoken_to_plaintext),
        WITH_PEER(what_waits_is_bounded),
        WITH_PEER(many_threads),
        WITH_PEER(the_end_answers_everything),
        WITH_PEER(an_unused_one_ends),
        WITH_PEER(addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
