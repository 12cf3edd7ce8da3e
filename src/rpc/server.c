/*
 * rpc/server.c - building a server, its tables, and taking it down.
 *
 * Tables are filled before the loops start and never change after, so loops read them without a
 * lock. Taking down has two steps: drain (clients are told, calls finish) and free (what is left is
 * closed; a loop ends once it has no connection and no handler holds a call of it).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/env.h"
#include "rpc/accept_int.h"
#include "rpc/server_int.h"
#include "rpc/tls_int.h"

#define SERVER_LOOPS_MAX 64u

static const char *server_copy(struct rpc_server *server, const char *text)
{
    return text != NULL ? arena_str(&server->arena, bytes_str(text)) : NULL;
}

static void server_take_options(struct rpc_server *server, const struct rpc_server_options *from)
{
    struct rpc_server_options *to = &server->options;
    *to = *from;
    to->listen = server_copy(server, from->listen);
    to->tls_cert = server_copy(server, from->tls_cert);
    to->tls_key = server_copy(server, from->tls_key);
    to->tls_client_ca = server_copy(server, from->tls_client_ca);
    to->auth_token = server_copy(server, from->auth_token);
    to->loops = from->loops != 0 ? from->loops : 1;
    to->message_bytes_max =
        from->message_bytes_max != 0 ? from->message_bytes_max : RPC_MESSAGE_BYTES_DEFAULT;
    to->header_bytes_max =
        from->header_bytes_max != 0 ? from->header_bytes_max : RPC_HEADER_BYTES_DEFAULT;
    to->inflight_bytes_max =
        from->inflight_bytes_max != 0 ? from->inflight_bytes_max : RPC_INFLIGHT_BYTES_DEFAULT;
    to->queued_frames_max =
        from->queued_frames_max != 0 ? from->queued_frames_max : RPC_QUEUED_FRAMES_DEFAULT;
    to->call_bytes_max = from->call_bytes_max != 0 ? from->call_bytes_max : RPC_CALL_BYTES_DEFAULT;
    to->conn_call_bytes_max =
        from->conn_call_bytes_max != 0 ? from->conn_call_bytes_max : RPC_CONN_CALL_BYTES_DEFAULT;
    to->reply_bytes_max =
        from->reply_bytes_max != 0 ? from->reply_bytes_max : RPC_REPLY_BYTES_DEFAULT;
    to->conn_reply_bytes_max =
        from->conn_reply_bytes_max != 0 ? from->conn_reply_bytes_max : RPC_CONN_REPLY_BYTES_DEFAULT;
    to->conn_inflight_bytes_max = from->conn_inflight_bytes_max != 0
                                      ? from->conn_inflight_bytes_max
                                      : RPC_CONN_INFLIGHT_BYTES_DEFAULT;
    to->calls_per_loop_max =
        from->calls_per_loop_max != 0 ? from->calls_per_loop_max : RPC_CALLS_PER_LOOP_MAX;
    to->streams_max = from->streams_max != 0 ? from->streams_max : RPC_STREAMS_DEFAULT;
    to->conns_max = from->conns_max != 0 ? from->conns_max : RPC_CONNS_DEFAULT;
    if (to->auth_token != NULL) {
        server->auth_value = bytes_str(arena_printf(&server->arena, "Bearer %s", to->auth_token));
    }
}

static SILO_RC server_check_options(const struct rpc_server_options *options, struct silo_err *err)
{
    if (options->listen == NULL) {
        return FAIL(err, SILO_INVALID, "a server needs a listen address");
    }
    if (options->loops > SERVER_LOOPS_MAX) {
        return FAIL(err, SILO_INVALID, "a server has at most %u loops", SERVER_LOOPS_MAX);
    }
    if (options->message_bytes_max > UINT32_MAX || options->header_bytes_max > UINT32_MAX) {
        return FAIL(err, SILO_INVALID, "a message limit must fit in 32 bits");
    }
    if ((options->tls_cert == NULL) != (options->tls_key == NULL)) {
        return FAIL(err, SILO_INVALID, "TLS needs a certificate and its key");
    }
    if (options->tls_client_ca != NULL && options->tls_cert == NULL) {
        return FAIL(err, SILO_INVALID, "client certificates need TLS");
    }
    return RC_OK;
}

static void server_init_locks(struct rpc_server *server)
{
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&server->gone, &attr);
    (void)pthread_condattr_destroy(&attr);
    (void)pthread_mutex_init(&server->gone_lock, NULL);
    (void)pthread_mutex_init(&server->health_lock, NULL);
}

SILO_RC rpc_server_new(const struct rpc_server_options *options, struct rpc_server **ret_server,
                       struct silo_err *err)
{
    TRY(server_check_options(options, err));
    struct rpc_server *server = xcalloc(1, sizeof *server);
    arena_init(&server->arena);
    map_init(&server->methods);
    map_init(&server->services);
    peers_init(&server->peers);
    list_init(&server->service_list);
    server->listen_fd = server->spare_fd = -1;
    server_init_locks(server);
    server_take_options(server, options);
    health_init(server);
    server->callbacks = session_callbacks_new();
    server->option = conn_options_new();
    /* Resets are counted with everything else, in session.c. */
    nghttp2_option_set_stream_reset_rate_limit(server->option, UINT32_MAX, UINT32_MAX);
    silo_rc rc = RC_OK;
    if (server->options.tls_cert != NULL) {
        rc = tls_server_new(server->options.tls_cert, server->options.tls_key,
                            server->options.tls_client_ca, &server->tls, err);
    }
    if (rc.code == SILO_OK) {
        rc = accept_bind(server, err);
    }
    if (rc.code != SILO_OK) {
        (void)rpc_server_free(server);
        return rc;
    }
    *ret_server = server;
    return RC_OK;
}

/* --- tables --- */

struct bytes server_service_name(struct bytes path)
{
    if (path.len == 0 || path.ptr[0] != '/') {
        return BYTES_NONE;
    }
    for (size_t i = path.len; i > 1; i--) {
        if (path.ptr[i - 1] == '/') {
            return bytes_of(path.ptr + 1, i - 2);
        }
    }
    return BYTES_NONE;
}

struct server_service *server_service_find(const struct rpc_server *server, struct bytes path)
{
    return MAP_ENTRY(map_find(&server->services, server_service_name(path)), struct server_service,
                     node);
}

SILO_RC rpc_server_add(struct rpc_server *server, const struct rpc_method *method,
                       struct silo_err *err)
{
    ASSERT(!server->started && method->on_call != NULL);
    const struct bytes path = bytes_str(method->path);
    if (server_service_name(path).len == 0) {
        return FAIL(err, SILO_INVALID, "method path %s is not /service/method", method->path);
    }
    if (server->methods.count >= SERVER_METHODS_MAX) {
        return FAIL(err, SILO_EXHAUSTED, "a server has at most %u methods", SERVER_METHODS_MAX);
    }
    if (map_find(&server->methods, path) != NULL) {
        return FAIL(err, SILO_EXISTS, "method %s is registered already", method->path);
    }
    struct server_method *entry = ARENA_NEW(&server->arena, struct server_method);
    entry->method = method;
    map_insert(&server->methods, &entry->node, path);
    struct server_service *service = server_service_find(server, path);
    if (service == NULL) {
        service = ARENA_NEW(&server->arena, struct server_service);
        map_insert(&server->services, &service->node, server_service_name(path));
        list_push_back(&server->service_list, &service->listed);
    }
    service->needs_auth = service->needs_auth || method->needs_auth;
    return RC_OK;
}

/* --- start --- */

static SILO_RC server_start_loops(struct rpc_server *server, struct silo_err *err)
{
    server->loops = xcalloc(server->options.loops, sizeof *server->loops);
    for (uint32_t i = 0; i < server->options.loops; i++) {
        TRY(loop_init(&server->loops[i], err));
        server->loops[i].base.number = i;
        server->loop_count++;
    }
    TRY(accept_start(server, err));
    for (uint32_t i = 0; i < server->loop_count; i++) {
        TRY(loop_start(&server->loops[i], err));
    }
    return RC_OK;
}

SILO_RC rpc_server_start(struct rpc_server *server, struct silo_err *err)
{
    ASSERT(!server->started);
    TRY(health_register(server, err));
    TRY(reflection_register(server, err));
    server->started = true;
    return server_start_loops(server, err);
}

void rpc_server_limit_conns(struct rpc_server *server, uint32_t conns_max)
{
    ASSERT(!server->started && conns_max != 0);
    server->options.conns_max = conns_max;
}

uint16_t rpc_server_port(const struct rpc_server *server)
{
    return server->port;
}

struct rpc_loop *rpc_server_loop(struct rpc_server *server, uint32_t index)
{
    ASSERT(index < server->loop_count);
    return &server->loops[index];
}

static bool loop_counters_read(const void *context, size_t index, char *ret_owner,
                               uint64_t *ret_numbers)
{
    const struct rpc_server *server = context;
    (void)snprintf(ret_owner, COUNTER_OWNER_BYTES, "%zu", index);
    return published_get(server->loops[index].published, ret_numbers);
}

struct counter_source rpc_server_counters(const struct rpc_server *server)
{
    return (struct counter_source){.scope = SCOPE_LOOP,
                                   .owners = server->options.loops,
                                   .read = loop_counters_read,
                                   .context = server};
}

uint32_t rpc_server_conns(const struct rpc_server *server)
{
    return atomic_load_explicit(&server->conn_count, memory_order_relaxed);
}

uint32_t rpc_server_calls(const struct rpc_server *server)
{
    uint32_t calls = 0;
    for (uint32_t i = 0; i < server->loop_count; i++) {
        calls += atomic_load_explicit(&server->loops[i].held_calls, memory_order_relaxed);
    }
    return calls;
}

uint64_t rpc_server_inflight_bytes(const struct rpc_server *server)
{
    return atomic_load_explicit(&server->inflight_bytes, memory_order_relaxed);
}

/* --- taking down --- */

struct server_mail {
    struct rpc_mail mail;
    struct rpc_server *server;
    struct rpc_loop *loop;
    void (*run)(struct rpc_server *server, struct rpc_loop *loop);
};

static void server_run_mail(struct rpc_mail *mail)
{
    struct server_mail *m = CONTAINER_OF(mail, struct server_mail, mail);
    m->run(m->server, m->loop);
    free(m);
}

void server_post_all(struct rpc_server *server,
                     void (*run)(struct rpc_server *server, struct rpc_loop *loop))
{
    for (uint32_t i = 0; i < server->loop_count; i++) {
        struct server_mail *m = xcalloc(1, sizeof *m);
        *m = (struct server_mail){
            .mail.run = server_run_mail, .server = server, .loop = &server->loops[i], .run = run};
        loop_post(&server->loops[i], &m->mail);
    }
}

void server_conn_gone(struct rpc_server *server, struct rpc_loop *loop, struct peer *peer)
{
    peers_leave(&server->peers, peer);
    atomic_fetch_sub_explicit(&loop->conn_count, 1, memory_order_relaxed);
    if (atomic_fetch_sub_explicit(&server->conn_count, 1, memory_order_acq_rel) == 1) {
        (void)pthread_mutex_lock(&server->gone_lock);
        (void)pthread_cond_broadcast(&server->gone);
        (void)pthread_mutex_unlock(&server->gone_lock);
    }
}

static void server_drain_loop(struct rpc_server *server, struct rpc_loop *loop)
{
    if (loop == &server->loops[0]) {
        accept_stop(server);
    }
    health_watchers_end(loop);
    for (struct list_node *node = list_first(&loop->conns); node != NULL;
         node = list_next(&loop->conns, node)) {
        struct server_conn *conn = server_conn_of(CONTAINER_OF(node, struct conn, node));
        if (conn != NULL) {
            server_conn_drain(conn);
        }
    }
}

static void server_close_loop(struct rpc_server *server, struct rpc_loop *loop)
{
    if (loop == &server->loops[0]) {
        accept_stop(server);
    }
    for (struct list_node *node = list_first(&loop->conns); node != NULL;
         node = list_next(&loop->conns, node)) {
        struct server_conn *conn = server_conn_of(CONTAINER_OF(node, struct conn, node));
        if (conn != NULL) {
            conn_break(&conn->conn);
        }
    }
}

void rpc_server_drain(struct rpc_server *server)
{
    if (server->started && !atomic_exchange(&server->draining, true)) {
        server_post_all(server, server_drain_loop);
    }
}

bool rpc_server_drained(struct rpc_server *server, int64_t wait_ms)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += wait_ms / 1000;
    until.tv_nsec += wait_ms % 1000 * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    (void)pthread_mutex_lock(&server->gone_lock);
    int rc = 0;
    while (atomic_load_explicit(&server->conn_count, memory_order_acquire) != 0 &&
           rc != ETIMEDOUT) {
        rc = pthread_cond_timedwait(&server->gone, &server->gone_lock, &until);
    }
    (void)pthread_mutex_unlock(&server->gone_lock);
    return atomic_load_explicit(&server->conn_count, memory_order_acquire) == 0;
}

static void server_free_loops(struct rpc_server *server)
{
    for (uint32_t i = 0; i < server->loop_count; i++) {
        if (!server->loops[i].running) {
            continue;
        }
        loop_join(&server->loops[i]);
    }
    for (uint32_t i = 0; i < server->loop_count; i++) {
        calls_free_kept(&server->loops[i]);
        loop_deinit(&server->loops[i]);
    }
    free(server->loops);
}

struct rpc_server *rpc_server_free(struct rpc_server *server)
{
    if (server == NULL) {
        return NULL;
    }
    atomic_store(&server->closing, true);
    if (server->loop_count != 0 && server->loops[0].running) {
        server_post_all(server, server_close_loop);
    }
    server_free_loops(server);
    if (server->listen_fd >= 0) {
        (void)close(server->listen_fd);
    }
    accept_deinit(server);
    peers_deinit(&server->peers);
    SSL_CTX_free(server->tls);
    nghttp2_session_callbacks_del(server->callbacks);
    nghttp2_option_del(server->option);
    health_deinit(server);
    reflection_free(server);
    map_deinit(&server->methods);
    map_deinit(&server->services);
    (void)pthread_cond_destroy(&server->gone);
    (void)pthread_mutex_destroy(&server->gone_lock);
    (void)pthread_mutex_destroy(&server->health_lock);
    arena_deinit(&server->arena);
    free(server);
    return NULL;
}
