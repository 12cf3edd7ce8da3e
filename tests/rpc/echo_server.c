/*
 * tests/rpc/echo_server.c - a server of raw messages for the interoperability tests and the
 * benchmark.
 *
 * Messages are plain bytes, so clients need no generated code. Prints "port <n>" once it listens;
 * SIGTERM and SIGINT drain it, with a hard limit of five seconds. Methods of test.Echo:
 *
 *     Urgent     the same, an urgent call
 *     Unary      answers the request               Thread    the same, by way of another thread
 *     Pieces     the same, from heap pieces        Sleep     answers after <request> milliseconds
 *     SleepOn    the same, whether or not the caller has gone
 *     Header     the value of header <request>     Fail      "<status> <text>": fails, with a
 *                trailer
 *     Urgent     the same as Unary, an urgent call
 *     Stream     "<count> <bytes>": that many messages of that size
 *     Reserve    "<bytes>": makes room for a reply of that size, then makes it, as a reader of
 *                stored payloads does
 *     Stats      "sleeping=.. cancels=.. deadlines=.. released=.. sent=.. inflight=.. replies=..
 *                callbytes=.. conns=.. calls=.."
 *
 * test.Locked/Unary needs the token.
 */
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/memory.h"
#include "rpc/rpc.h"

#define DRAIN_MS 5000
#define STREAM_MESSAGES_MAX 1000000ul

static struct rpc_server *server;
static atomic_uint sleeping, cancels, deadlines, released, sent_pieces;

static void on_unary(struct rpc_call *call, struct bytes request, void *context)
{
    (void)context;
    (void)rpc_call_reply(call, request);
}

/* --- pieces on the heap --- */

static void release_piece(void *context, bool sent)
{
    free(context);
    atomic_fetch_add(&released, 1);
    atomic_fetch_add(&sent_pieces, sent ? 1 : 0);
}

static struct rpc_piece piece_new(struct bytes bytes)
{
    uint8_t *copy = xmalloc(bytes.len + 1);
    memcpy(copy, bytes.ptr, bytes.len);
    return (struct rpc_piece){
        .bytes = bytes_of(copy, bytes.len), .release = release_piece, .context = copy};
}

static void on_pieces(struct rpc_call *call, struct bytes request, void *context)
{
    (void)context;
    const size_t half = request.len / 2;
    const struct rpc_piece pieces[] = {
        piece_new(bytes_of(request.ptr, half)),
        piece_new(BYTES_LIT("")),
        piece_new(bytes_of(request.ptr + half, request.len - half)),
    };
    (void)rpc_call_reply_pieces(call, pieces, sizeof pieces / sizeof pieces[0]);
}

/* --- by way of another thread --- */

struct job {
    struct mail mail; /* on the way out */
    struct rpc_mail back;
    struct rpc_call *call;
    struct bytes request;
};

static struct {
    pthread_t thread;
    pthread_mutex_t lock; /* guards awake, stop */
    pthread_cond_t wake;
    bool awake, stop;
    struct mailbox mailbox;
} worker;

static void worker_wake(void *context)
{
    (void)context;
    pthread_mutex_lock(&worker.lock);
    worker.awake = true;
    pthread_cond_signal(&worker.wake);
    pthread_mutex_unlock(&worker.lock);
}

static void job_back(struct rpc_mail *mail)
{
    struct job *job = CONTAINER_OF(mail, struct job, back);
    (void)rpc_call_reply(job->call, job->request); /* the job lies in the call's arena */
}

static bool worker_wait(void)
{
    if (!mailbox_sleep(&worker.mailbox)) {
        return true;
    }
    pthread_mutex_lock(&worker.lock);
    while (!worker.awake && !worker.stop) {
        pthread_cond_wait(&worker.wake, &worker.lock);
    }
    worker.awake = false;
    const bool go_on = !worker.stop;
    pthread_mutex_unlock(&worker.lock);
    return go_on;
}

static void *worker_main(void *arg)
{
    (void)arg;
    do {
        struct mail *mail = mailbox_take(&worker.mailbox);
        while (mail != NULL) {
            struct mail *next = mail->next;
            struct job *job = CONTAINER_OF(mail, struct job, mail);
            job->request = arena_copy(rpc_call_arena(job->call), job->request);
            rpc_loop_post(rpc_call_loop(job->call), &job->back);
            mail = next;
        }
    } while (worker_wait());
    return NULL;
}

static void on_thread(struct rpc_call *call, struct bytes request, void *context)
{
    (void)context;
    struct job *job = ARENA_NEW(rpc_call_arena(call), struct job);
    job->call = call;
    job->request = request;
    job->back.run = job_back;
    mailbox_send_always(&worker.mailbox, &job->mail);
}

/* --- sleeping --- */

struct nap {
    struct rpc_timer timer;
    struct rpc_call *call;
};

static void nap_over(struct rpc_timer *timer)
{
    struct nap *nap = CONTAINER_OF(timer, struct nap, timer);
    atomic_fetch_sub(&sleeping, 1);
    (void)rpc_call_reply(nap->call, BYTES_LIT("slept"));
}

static void nap_cancel(struct rpc_call *call, enum rpc_cancel reason, void *context)
{
    struct nap *nap = context;
    rpc_timer_stop(rpc_call_loop(call), &nap->timer);
    atomic_fetch_sub(&sleeping, 1);
    atomic_fetch_add(reason == RPC_CANCEL_DEADLINE ? &deadlines : &cancels, 1);
    ASSERT(!rpc_call_alive(call));
    ASSERT(!rpc_call_reply(call, BYTES_LIT("too late")));
}

static long number(struct bytes text)
{
    char copy[32];
    const size_t len = text.len < sizeof copy - 1 ? text.len : sizeof copy - 1;
    memcpy(copy, text.ptr, len);
    copy[len] = '\0';
    return strtol(copy, NULL, 10);
}

static void on_sleep(struct rpc_call *call, struct bytes request, void *context)
{
    struct nap *nap = ARENA_NEW(rpc_call_arena(call), struct nap);
    struct rpc_loop *loop = rpc_call_loop(call);
    nap->call = call;
    nap->timer.fire = nap_over;
    atomic_fetch_add(&sleeping, 1);
    if (context == NULL) {
        rpc_call_on_cancel(call, nap_cancel, nap);
    }
    rpc_timer_start(loop, &nap->timer, rpc_loop_now_us(loop) + number(request) * 1000);
}

/* --- errors and headers --- */

static void on_fail(struct rpc_call *call, struct bytes request, void *context)
{
    (void)context;
    const uint8_t *blank = memchr(request.ptr, ' ', request.len);
    const size_t text_at = blank != NULL ? (size_t)(blank - request.ptr) + 1 : request.len;
    const struct rpc_header trailers[] = {
        {BYTES_LIT("x-test"), BYTES_LIT("a value")},
        {BYTES_LIT("x-bad"), BYTES_LIT("line\nbreak")}, /* must be left out */
    };
    (void)rpc_call_finish(call, (uint32_t)number(request),
                          bytes_of(request.ptr + text_at, request.len - text_at), trailers, 2);
}

static void on_header(struct rpc_call *call, struct bytes request, void *context)
{
    (void)context;
    const char *name = arena_str(rpc_call_arena(call), request);
    const struct bytes value = rpc_call_header(call, name);
    (void)rpc_call_reply(call, value.ptr != NULL ? value : BYTES_LIT("(none)"));
}

/* --- streaming --- */

struct stream {
    unsigned long left;
    struct bytes message;
};

static void stream_go_on(struct rpc_call *call, void *context)
{
    struct stream *stream = context;
    while (stream->left != 0 && rpc_call_writable(call)) {
        stream->left--;
        if (!rpc_call_send_copy(call, stream->message)) {
            return;
        }
    }
    if (stream->left == 0) {
        (void)rpc_call_finish(call, RPC_STATUS_OK, BYTES_NONE, NULL, 0);
    }
}

static void stream_cancel(struct rpc_call *call, enum rpc_cancel reason, void *context)
{
    (void)reason;
    (void)context;
    atomic_fetch_add(&cancels, 1);
    (void)rpc_call_finish(call, RPC_STATUS_CANCELLED, BYTES_NONE, NULL, 0);
}

static void on_stream(struct rpc_call *call, struct bytes request, void *context)
{
    (void)context;
    struct stream *stream = ARENA_NEW(rpc_call_arena(call), struct stream);
    char *text = arena_str(rpc_call_arena(call), request);
    char *end = text;
    stream->left = strtoul(text, &end, 10);
    const unsigned long size = strtoul(end, NULL, 10);
    if (stream->left > STREAM_MESSAGES_MAX || size > RPC_MESSAGE_BYTES_DEFAULT) {
        (void)rpc_call_finish(call, RPC_STATUS_INVALID_ARGUMENT, BYTES_LIT("too much"), NULL, 0);
        return;
    }
    uint8_t *fill = arena_alloc(rpc_call_arena(call), size);
    memset(fill, 'x', size);
    stream->message = bytes_of(fill, size);
    rpc_call_on_cancel(call, stream_cancel, stream);
    rpc_call_on_writable(call, stream_go_on, stream);
    stream_go_on(call, stream);
}

static void on_reserve(struct rpc_call *call, struct bytes request, void *context)
{
    (void)context;
    const size_t size = (size_t)number(request);
    if (!rpc_call_reserve(call, size)) {
        (void)rpc_call_finish(call, RPC_STATUS_RESOURCE_EXHAUSTED, BYTES_LIT(RPC_REPLY_FULL_TEXT),
                              NULL, 0);
        return;
    }
    uint8_t *fill = xmalloc(size);
    memset(fill, 'x', size);
    const struct rpc_piece piece = {
        .bytes = bytes_of(fill, size), .release = release_piece, .context = fill};
    (void)rpc_call_reply_pieces(call, &piece, 1);
}

static void on_stats(struct rpc_call *call, struct bytes request, void *context)
{
    (void)request;
    (void)context;
    (void)rpc_call_reply(
        call, bytes_str(arena_printf(rpc_call_arena(call),
                                     "sleeping=%u cancels=%u deadlines=%u released=%u sent=%u "
                                     "inflight=%" PRIu64 " replies=%" PRIu64 " callbytes=%" PRIu64
                                     " conns=%u calls=%u",
                                     sleeping, cancels, deadlines, released, sent_pieces,
                                     rpc_server_inflight_bytes(server),
                                     rpc_server_reply_bytes(server), rpc_server_call_bytes(server),
                                     rpc_server_conns(server), rpc_server_calls(server))));
}

/* --- main --- */

static const struct rpc_method methods[] = {
    {.path = "/test.Echo/Unary", .on_call = on_unary},
    {.path = "/test.Echo/Urgent", .on_call = on_unary, .rank = RPC_RANK_URGENT},
    {.path = "/test.Echo/Thread", .on_call = on_thread},
    {.path = "/test.Echo/Pieces", .on_call = on_pieces},
    {.path = "/test.Echo/Sleep", .on_call = on_sleep},
    {.path = "/test.Echo/SleepOn", .on_call = on_sleep, .context = &sleeping},
    {.path = "/test.Echo/Header", .on_call = on_header},
    {.path = "/test.Echo/Fail", .on_call = on_fail},
    {.path = "/test.Echo/Stream", .on_call = on_stream, .server_streaming = true},
    {.path = "/test.Echo/Reserve", .on_call = on_reserve},
    {.path = "/test.Echo/Stats", .on_call = on_stats, .rank = RPC_RANK_URGENT},
    {.path = "/test.Locked/Unary", .on_call = on_unary, .needs_auth = true},
};

static struct bytes read_file(const char *name)
{
    FILE *file = fopen(name, "rb");
    if (file == NULL) {
        perror(name);
        exit(2);
    }
    static uint8_t content[1 << 20];
    const size_t len = fread(content, 1, sizeof content, file);
    (void)fclose(file);
    return bytes_of(content, len);
}

/* Waits, in milliseconds on the command line. */
static bool take_wait(struct rpc_patience *patience, const char *name, int64_t value_us)
{
    const struct {
        const char *name;
        int64_t *target;
    } waits[] = {
        {"--keepalive", &patience->keepalive_us},
        {"--keepalive-timeout", &patience->keepalive_timeout_us},
        {"--idle", &patience->idle_us},
        {"--age", &patience->age_us},
        {"--age-grace", &patience->age_grace_us},
        {"--output", &patience->output_us},
        {"--body", &patience->body_us},
    };
    for (size_t i = 0; i < sizeof waits / sizeof waits[0]; i++) {
        if (strcmp(name, waits[i].name) == 0) {
            *waits[i].target = value_us;
            return true;
        }
    }
    return false;
}

static bool take_size(struct rpc_server_options *options, const char *name, uint64_t value)
{
    const struct {
        const char *name;
        uint64_t *target;
    } sizes[] = {
        {"--message-bytes", &options->message_bytes_max},
        {"--inflight-bytes", &options->inflight_bytes_max},
        {"--call-bytes", &options->call_bytes_max},
        {"--conn-call-bytes", &options->conn_call_bytes_max},
        {"--queued-frames", &options->queued_frames_max},
        {"--reply-bytes", &options->reply_bytes_max},
        {"--conn-reply-bytes", &options->conn_reply_bytes_max},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        if (strcmp(name, sizes[i].name) == 0) {
            *sizes[i].target = value;
            return true;
        }
    }
    return false;
}

static bool take_option(struct rpc_server_options *options, const char *name, const char *value)
{
    const struct {
        const char *name;
        const char **target;
    } texts[] = {
        {"--listen", &options->listen},    {"--tls-cert", &options->tls_cert},
        {"--tls-key", &options->tls_key},  {"--tls-client-ca", &options->tls_client_ca},
        {"--token", &options->auth_token},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (strcmp(name, texts[i].name) == 0) {
            *texts[i].target = value;
            return true;
        }
    }
    const unsigned long count = strtoul(value, NULL, 10);
    if (take_wait(&options->patience, name, (int64_t)count * 1000) ||
        take_size(options, name, count)) {
        return true;
    }
    if (strcmp(name, "--loops") == 0) {
        options->loops = (uint32_t)count;
    } else if (strcmp(name, "--conn-inflight-bytes") == 0) {
        options->conn_inflight_bytes_max = count;
    } else if (strcmp(name, "--calls") == 0) {
        options->calls_per_loop_max = (uint32_t)count;
    } else if (strcmp(name, "--conns") == 0) {
        options->conns_max = (uint32_t)count;
    } else if (strcmp(name, "--conns-per-address") == 0) {
        options->conns_per_address_max = (uint32_t)count;
    } else if (strcmp(name, "--descriptors") == 0) {
        options->descriptors = read_file(value);
    } else {
        return false;
    }
    return true;
}

static void start(const struct rpc_server_options *options)
{
    struct silo_err err;
    silo_rc rc = rpc_server_new(options, &server, &err);
    for (size_t i = 0; rc.code == SILO_OK && i < sizeof methods / sizeof methods[0]; i++) {
        rc = rpc_server_add(server, &methods[i], &err);
    }
    if (rc.code == SILO_OK) {
        rpc_health_set(server, "test.Echo", true);
        rc = rpc_server_start(server, &err);
    }
    if (rc.code != SILO_OK) {
        (void)fprintf(stderr, "echo_server: %s\n", err.text);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    memory_init();
    struct rpc_server_options options = {.listen = "127.0.0.1:0", .patience = rpc_patience_default};
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 >= argc || !take_option(&options, argv[i], argv[i + 1])) {
            (void)fprintf(stderr, "echo_server: bad option %s\n", argv[i]);
            return 2;
        }
    }
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    pthread_mutex_init(&worker.lock, NULL);
    pthread_cond_init(&worker.wake, NULL);
    mailbox_init(&worker.mailbox, SIZE_MAX, worker_wake, NULL);
    pthread_create(&worker.thread, NULL, worker_main, NULL);
    start(&options);
    printf("port %u\n", rpc_server_port(server));
    (void)fflush(stdout);

    int signal = 0;
    sigwait(&signals, &signal);
    rpc_health_set(server, "test.Echo", false);
    rpc_server_drain(server);
    const bool drained = rpc_server_drained(server, DRAIN_MS);
    server = rpc_server_free(server);
    pthread_mutex_lock(&worker.lock);
    worker.stop = true;
    pthread_cond_signal(&worker.wake);
    pthread_mutex_unlock(&worker.lock);
    pthread_join(worker.thread, NULL);
    printf("%s\n", drained ? "drained" : "cut off");
    return 0;
}
