/*
 * rpc/accept.c - the listening socket, watched by loop 0.
 *
 * A gRPC client opens one connection and keeps it, so what counts is where it goes: each one is
 * handed to the loop with the fewest connections (SO_REUSEPORT would pin by hash instead).
 *
 * One that has no place is taken and closed, so that its client learns of it at once. For the case
 * that there is no descriptor to take it with, one is kept in reserve: it is closed, the connection
 * taken and closed, and the reserve opened again. Otherwise the listening socket would stay
 * readable and the loop would spin, or, not watched, let clients wait in the backlog.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* accept4 */
#endif
#include "rpc/accept_int.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"

#define ACCEPT_BACKLOG 1024
#define ACCEPT_TURN_MAX 64u    /* connections taken in one turn */
#define ACCEPT_PAUSE_US 100000 /* after running out of memory */

static SILO_RC accept_parse_port(const char *text, uint16_t *ret_port)
{
    char *end = NULL;
    errno = 0;
    const unsigned long port = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || port > 65535) {
        return (silo_rc){SILO_INVALID};
    }
    *ret_port = (uint16_t)port;
    return RC_OK;
}

SILO_RC address_split(const char *text, char *ret_host, size_t host_size, uint16_t *ret_port,
                      struct silo_err *err)
{
    const char *colon = strrchr(text, ':');
    const char *host = text;
    size_t host_len = colon != NULL ? (size_t)(colon - text) : 0;
    if (host_len >= 2 && host[0] == '[' && host[host_len - 1] == ']') {
        host++;
        host_len -= 2;
    } else if (host_len != 0 && memchr(host, ':', host_len) != NULL) {
        return FAIL(err, SILO_INVALID, "address \"%s\": an IPv6 address needs brackets", text);
    }
    uint16_t port = 0;
    if (host_len == 0 || host_len >= host_size ||
        accept_parse_port(colon + 1, &port).code != SILO_OK) {
        return FAIL(err, SILO_INVALID, "address \"%s\" is not host:port", text);
    }
    memcpy(ret_host, host, host_len);
    ret_host[host_len] = '\0';
    *ret_port = port;
    return RC_OK;
}

static SILO_RC accept_address(const char *text, struct sockaddr_storage *ret_address,
                              socklen_t *ret_len, struct silo_err *err)
{
    char host[64];
    uint16_t port = 0;
    TRY(address_split(text, host, sizeof host, &port, err));
    memset(ret_address, 0, sizeof *ret_address);
    const char *ip = strcmp(host, "localhost") == 0 ? "127.0.0.1" : host;
    if (uv_ip4_addr(ip, port, (struct sockaddr_in *)ret_address) == 0) {
        *ret_len = sizeof(struct sockaddr_in);
        return RC_OK;
    }
    if (uv_ip6_addr(ip, port, (struct sockaddr_in6 *)ret_address) == 0) {
        *ret_len = sizeof(struct sockaddr_in6);
        return RC_OK;
    }
    return FAIL(err, SILO_INVALID, "listen address \"%s\" is not ip:port", text);
}

static int accept_spare(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static silo_rc accept_failed(const struct rpc_server *server, int failed, struct silo_err *err)
{
    const char *setting = server->options.listen_setting;
    return FAIL(err, SILO_UNAVAILABLE, "cannot listen on %s%s%s%s: %s", server->options.listen,
                setting != NULL ? " (" : "", setting != NULL ? setting : "",
                setting != NULL ? ")" : "", strerror(failed));
}

SILO_RC accept_bind(struct rpc_server *server, struct silo_err *err)
{
    struct sockaddr_storage address;
    socklen_t len = 0;
    TRY(accept_address(server->options.listen, &address, &len, err));
    const int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return FAIL(err, SILO_UNAVAILABLE, "cannot make a socket: %s", strerror(errno));
    }
    const int on = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, len) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) != 0) {
        const int failed = errno;
        (void)close(fd);
        return accept_failed(server, failed, err);
    }
    server->listen_fd = fd;
    server->spare_fd = accept_spare();
    server->port =
        ntohs(address.ss_family == AF_INET ? ((struct sockaddr_in *)&address)->sin_port
                                           : ((struct sockaddr_in6 *)&address)->sin6_port);
    return RC_OK;
}

static void accept_peer_text(const struct sockaddr_storage *address, socklen_t len,
                             char ret_text[CONN_PEER_BYTES])
{
    char ip[INET6_ADDRSTRLEN] = "?", port[8] = "?";
    memset(ret_text, 0, CONN_PEER_BYTES);
    (void)getnameinfo((const struct sockaddr *)address, len, ip, sizeof ip, port, sizeof port,
                      NI_NUMERICHOST | NI_NUMERICSERV);
    const bool bare = strchr(ip, ':') == NULL;
    (void)snprintf(ret_text, CONN_PEER_BYTES, bare ? "%s:%s" : "[%s]:%s", ip, port);
}

/* Connections that one address may have. */
static uint32_t accept_per_address(const struct rpc_server *server)
{
    const struct rpc_server_options *options = &server->options;
    return options->conns_per_address_max != 0 ? options->conns_per_address_max
                                               : options->conns_max - options->conns_max / 4;
}

/* Says that connections are closed at once, with one line for a burst of them. */
static void accept_refused(struct rpc_server *server, enum accept_refusal why,
                           const struct sockaddr_storage *address, socklen_t len)
{
    static const char *const reasons[ACCEPT_REFUSALS] = {
        [ACCEPT_FULL] = "the server has as many connections as it may",
        [ACCEPT_ADDRESS] = "this address has as many connections as one may",
        [ACCEPT_FILES] = "the process has no file descriptor left",
    };
    const uint32_t count = burst_add(&server->refusals[why], loop_now_us(&server->loops[0]));
    if (count == 0) {
        return;
    }
    char peer[CONN_PEER_BYTES];
    accept_peer_text(address, len, peer);
    log_warn("connections_refused", LOG_STR("reason", reasons[why]), LOG_INT("refused", count),
             LOG_STR("last", peer), LOG_INT("connections", rpc_server_conns(server)),
             LOG_INT("max", server->options.conns_max),
             LOG_INT("max_per_address", accept_per_address(server)), LOG_END);
}

struct accept_mail {
    struct rpc_mail mail;
    struct rpc_server *server;
    struct rpc_loop *loop;
    struct peer *place;
    int fd;
    char peer[CONN_PEER_BYTES];
};

static void accept_run_mail(struct rpc_mail *mail)
{
    struct accept_mail *m = CONTAINER_OF(mail, struct accept_mail, mail);
    server_conn_new(m->server, m->loop, m->fd, m->place, m->peer);
    free(m);
}

static struct rpc_loop *accept_pick(struct rpc_server *server)
{
    struct rpc_loop *best = NULL;
    unsigned best_count = UINT32_MAX;
    for (uint32_t i = 0; i < server->loop_count; i++) {
        /* Equal loads take turns. */
        struct rpc_loop *loop = &server->loops[(server->accept_next + i) % server->loop_count];
        const unsigned count = atomic_load_explicit(&loop->conn_count, memory_order_relaxed);
        if (count < best_count) {
            best = loop;
            best_count = count;
        }
    }
    ASSERT(best != NULL);
    server->accept_next = (server->accept_next + 1) % server->loop_count;
    return best;
}

/* What the kernel does by itself, also before HTTP/2 talks and while no call is open. */
static void accept_set_socket(int fd, const struct rpc_patience *patience)
{
    const int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const unsigned output_ms = (unsigned)(patience->output_us / 1000);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &output_ms, sizeof output_ms);
    if (patience->keepalive_us != 0) {
        const int idle_s = (int)((patience->keepalive_us + 999999) / 1000000);
        (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
        (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &idle_s, sizeof idle_s);
        (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    }
}

static void accept_one(struct rpc_server *server, int fd, const struct sockaddr_storage *address,
                       socklen_t len)
{
    if (rpc_server_conns(server) >= server->options.conns_max) {
        (void)close(fd);
        accept_refused(server, ACCEPT_FULL, address, len);
        return;
    }
    struct peer *place = peers_enter(&server->peers, address, accept_per_address(server));
    if (place == NULL) {
        (void)close(fd);
        accept_refused(server, ACCEPT_ADDRESS, address, len);
        return;
    }
    accept_set_socket(fd, &server->options.patience);
    struct rpc_loop *loop = accept_pick(server);
    atomic_fetch_add_explicit(&server->conn_count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&loop->conn_count, 1, memory_order_relaxed);
    struct accept_mail *m = xcalloc(1, sizeof *m);
    m->mail.run = accept_run_mail;
    m->server = server;
    m->loop = loop;
    m->place = place;
    m->fd = fd;
    accept_peer_text(address, len, m->peer);
    if (loop == &server->loops[0]) {
        accept_run_mail(&m->mail);
    } else {
        loop_post(loop, &m->mail);
    }
}

/*
 * No descriptor is left: takes one connection with the reserve and closes it. False if that cannot
 * be done.
 */
static bool accept_shed(struct rpc_server *server)
{
    if (server->spare_fd < 0) {
        server->spare_fd = accept_spare();
        return server->spare_fd >= 0;
    }
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof address;
    (void)close(server->spare_fd);
    const int fd = accept4(server->listen_fd, (struct sockaddr *)&address, &len, SOCK_CLOEXEC);
    if (fd >= 0) {
        (void)close(fd);
    }
    server->spare_fd = accept_spare();
    accept_refused(server, ACCEPT_FILES, &address, len);
    return fd >= 0;
}

static void accept_pause(struct rpc_server *server, int failed)
{
    struct rpc_loop *loop = &server->loops[0];
    const uint32_t count = burst_add(&server->pauses, loop_now_us(loop));
    if (count != 0) {
        log_warn("accept_paused", LOG_STR("reason", strerror(failed)), LOG_INT("times", count),
                 LOG_END);
    }
    (void)uv_poll_stop(&server->listen_poll);
    loop_timer_start(loop, &server->accept_again, loop_now_us(loop) + ACCEPT_PAUSE_US);
}

static void accept_on_poll(uv_poll_t *handle, int status, int events)
{
    (void)status;
    (void)events;
    struct rpc_server *server = handle->data;
    for (uint32_t i = 0; i < ACCEPT_TURN_MAX; i++) {
        struct sockaddr_storage address = {0};
        socklen_t len = sizeof address;
        const int fd = accept4(server->listen_fd, (struct sockaddr *)&address, &len,
                               SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            accept_one(server, fd, &address, len);
            continue;
        }
        const int failed = errno;
        const bool no_file = failed == EMFILE || failed == ENFILE;
        if (no_file && accept_shed(server)) {
            continue;
        }
        if (no_file || failed == ENOBUFS || failed == ENOMEM) {
            accept_pause(server, failed);
        }
        return; /* none left, or one that went away before it was taken */
    }
}

static void accept_on_timer(struct rpc_timer *timer)
{
    struct rpc_server *server = CONTAINER_OF(timer, struct rpc_server, accept_again);
    if (server->listening) {
        (void)uv_poll_start(&server->listen_poll, UV_READABLE, accept_on_poll);
    }
}

SILO_RC accept_start(struct rpc_server *server, struct silo_err *err)
{
    server->accept_again.fire = accept_on_timer;
    server->listen_poll.data = server;
    if (listen(server->listen_fd, ACCEPT_BACKLOG) != 0) {
        return accept_failed(server, errno, err);
    }
    if (uv_poll_init(&server->loops[0].uv, &server->listen_poll, server->listen_fd) != 0 ||
        uv_poll_start(&server->listen_poll, UV_READABLE, accept_on_poll) != 0) {
        return FAIL(err, SILO_UNAVAILABLE, "cannot watch the listening socket");
    }
    server->listening = true;
    return RC_OK;
}

void accept_deinit(struct rpc_server *server)
{
    if (server->spare_fd >= 0) {
        (void)close(server->spare_fd);
    }
}

void accept_stop(struct rpc_server *server)
{
    if (server->listening) {
        server->listening = false;
        loop_timer_stop(&server->loops[0], &server->accept_again);
        (void)uv_poll_stop(&server->listen_poll);
        (void)close(server->listen_fd);
        server->listen_fd = -1;
    }
}
