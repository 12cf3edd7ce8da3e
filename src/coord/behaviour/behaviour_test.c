/*
 * coord/behaviour/behaviour_test.c - the cases against the backend "none", and, where there is a
 * real etcd, against "etcd".
 *
 *     coord_behaviour_test [CASE]
 *
 * SILO_ETCD_ENDPOINTS and SILO_ETCD_CONTROL are those of tests/lib/with_etcd.py; SILO_ETCD_USER is
 * what it was given as --user, and SILO_ETCD_TLS is there with --tls. Each case has a prefix and a
 * store of its own.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/env.h"
#include "base/list.h"
#include "coord/backend.h"
#include "coord/behaviour/proxy_test.h"
#include "coord/behaviour/world_test.h"
#include "store_mem/store_mem.h"

#define TTL_MS 2000 /* the least that etcd grants */
#define STEP_MS 20
#define WAIT_MS 40000
#define WAIT_ONE_MS 8000 /* of a single case, which has the machine for itself */
#define ENDPOINTS_MAX 4
#define LINE_MAX_BYTES 256
#define PATH_MAX_BYTES 512

struct real {
    struct world world;
    const char *backend;
    const char *endpoints[ENDPOINTS_MAX];
    size_t endpoint_count;
    const char *username, *password;
    const char *tls_ca, *tls_cert, *tls_key;
    struct store *store;
    uint32_t number; /* of the case it is for */
    struct proxy *proxy;
    int control;
};

static struct real *real_of(struct world *world)
{
    return CONTAINER_OF(world, struct real, world);
}

static struct coord *real_member(struct world *world, uint32_t number, const char *id,
                                 uint64_t nonce)
{
    static const char *const rings[] = {"default", "r"};
    struct real *real = real_of(world);
    if (real->number != number) {
        real->number = number;
        store_ops_of(real->store)->free(real->store);
        real->store = store_mem_new(NULL);
    }
    char prefix[64], address[64];
    (void)snprintf(prefix, sizeof prefix, "behaviour-%d-%u", (int)getpid(), number);
    (void)snprintf(address, sizeof address, "%s:7450", id);
    const struct coord_options options = {
        .env = &env_system,
        .store = real->store,
        .self = {.id = id, .nonce = nonce, .address = address, .rings = rings, .ring_count = 2},
        .store_timeout_ms = 15000,
        .prefix = prefix,
        .ttl_ms = TTL_MS,
        .etcd = {.endpoints = real->endpoints,
                 .endpoint_count = real->endpoint_count,
                 .username = real->username,
                 .password = real->password,
                 .tls_ca = real->tls_ca,
                 .tls_cert = real->tls_cert,
                 .tls_key = real->tls_key}};
    struct coord *coord = NULL;
    struct silo_err err = {0};
    if (coord_new(real->backend, &options, &coord, &err).code != SILO_OK) {
        (void)fprintf(stderr, "%s\n", err.text);
        abort();
    }
    return coord;
}

static void real_step(struct world *world, struct coord *const *coords, size_t count)
{
    (void)world;
    struct pollfd fds[8];
    nfds_t used = 0;
    for (size_t i = 0; i < count; i++) {
        fds[used++] = (struct pollfd){.fd = coords[i]->ops->fd(coords[i]), .events = POLLIN};
    }
    (void)poll(fds, used, STEP_MS);
}

static int64_t real_now_ms(struct world *world)
{
    (void)world;
    return env_mono_ms(&env_system);
}

static void real_command(struct world *world, const char *command)
{
    const struct real *real = real_of(world);
    char line[LINE_MAX_BYTES];
    const bool compact = strcmp(command, "compact") == 0;
    const bool leases = strcmp(command, "end-leases") == 0;
    const int len = snprintf(line, sizeof line, "%s%s\n", leases ? "keep-none" : command,
                             compact || leases ? "" : " all");
    ASSERT(write(real->control, line, (size_t)len) == len);
    size_t got = 0;
    do {
        const ssize_t n = read(real->control, line + got, sizeof line - 1 - got);
        ASSERT(n > 0);
        got += (size_t)n;
    } while (line[got - 1] != '\n');
    line[got] = '\0';
    if (strncmp(line, "ok", 2) != 0) {
        (void)fprintf(stderr, "%s: %s", command, line);
        abort();
    }
}

static void real_lose(struct world *world)
{
    proxy_lose(real_of(world)->proxy);
}

static void real_keep(struct world *world)
{
    proxy_keep(real_of(world)->proxy);
}

static void real_let(struct world *world)
{
    proxy_let(real_of(world)->proxy);
}

static int control_connect(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    ASSERT(strlen(path) < sizeof address.sun_path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT(fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) == 0);
    return fd;
}

static int run(struct real *real, const char *only)
{
    if (only != NULL && !behaviour_has(&real->world, only)) {
        return 0;
    }
    real->store = store_mem_new(NULL);
    real->world.wait_ms = only != NULL ? WAIT_ONE_MS : WAIT_MS;
    const int failed = behaviour_run(&real->world, only);
    store_ops_of(real->store)->free(real->store);
    return failed;
}

static struct real real_new(const char *name, const char *backend)
{
    return (struct real){.world = {.name = name,
                                   .ttl_ms = TTL_MS,
                                   .member = real_member,
                                   .step = real_step,
                                   .now_ms = real_now_ms},
                         .backend = backend,
                         .control = -1};
}

static int run_none(void)
{
    struct real none = real_new("none", "none");
    return run(&none, NULL);
}

/* The second endpoint leads nowhere. */
static int run_etcd(const char *endpoint, const char *control, const char *only)
{
    struct real etcd = real_new("etcd", "etcd");
    etcd.world.several = true;
    etcd.world.command = real_command;
    etcd.endpoints[0] = endpoint;
    etcd.endpoints[1] = "http://127.0.0.1:1";
    etcd.endpoint_count = 2;
    etcd.control = control_connect(control);
    const int failed = run(&etcd, only);
    (void)close(etcd.control);
    return failed;
}

/* A server between that loses answers, and keeps some. */
static int run_losing(const char *endpoint, const char *only)
{
    struct real losing = real_new("etcd that loses answers", "etcd");
    losing.proxy = proxy_new(endpoint);
    losing.world.several = true;
    losing.world.lose = real_lose;
    losing.world.keep = real_keep;
    losing.world.let = real_let;
    losing.endpoints[0] = proxy_endpoint(losing.proxy);
    losing.endpoint_count = 1;
    const int failed = run(&losing, only);
    losing.proxy = proxy_free(losing.proxy);
    return failed;
}

/* Which code a coordinator of that user says that it will never be of use. */
static enum silo_code refused_with(struct real *real)
{
    real->store = store_mem_new(NULL);
    struct coord *coord = real_member(&real->world, 0, "a", 1);
    coord->ops->join(coord, false);
    enum silo_code code = SILO_OK;
    for (int i = 0; i < 20000 / STEP_MS && (code == SILO_OK || code == SILO_UNAVAILABLE); i++) {
        (void)coord->ops->turn(coord);
        real_step(&real->world, &coord, 1);
        code = coord->ops->check(coord, NULL).code;
    }
    (void)coord_free(coord);
    store_ops_of(real->store)->free(real->store);
    return code;
}

/*
 * An etcd that asks who we are: its tokens end when it does, and are asked for again. Who has none,
 * or a wrong password, is told.
 */
static int run_users(const char *endpoint, const char *control, const char *user)
{
    struct real etcd = real_new("etcd with users", "etcd");
    char name[LINE_MAX_BYTES];
    const size_t colon = strcspn(user, ":");
    (void)snprintf(name, sizeof name, "%.*s", (int)colon, user);
    etcd.endpoints[0] = endpoint;
    etcd.endpoint_count = 1;
    int failed = 0;
    for (int i = 0; i < 2; i++) {
        etcd.username = i == 0 ? NULL : name;
        etcd.password = i == 0 ? NULL : "wrong";
        const enum silo_code code = refused_with(&etcd);
        if (code != SILO_NO_AUTH) {
            (void)fprintf(stderr, "%s: %s\n", i == 0 ? "no user" : "a wrong password",
                          silo_code_name(code));
            failed++;
        }
    }
    etcd.username = name;
    etcd.password = user + colon + 1;
    etcd.world.several = true;
    etcd.world.command = real_command;
    etcd.control = control_connect(control);
    failed += run(&etcd, "test_servers_that_end_and_come_back");
    (void)close(etcd.control);
    return failed;
}

/* An etcd that shows a certificate and wants to see one. */
static int run_tls(const char *endpoint, const char *directory)
{
    struct real etcd = real_new("etcd with TLS", "etcd");
    char cert[PATH_MAX_BYTES], key[PATH_MAX_BYTES];
    (void)snprintf(cert, sizeof cert, "%s/cert.pem", directory);
    (void)snprintf(key, sizeof key, "%s/key.pem", directory);
    etcd.endpoints[0] = endpoint;
    etcd.endpoint_count = 1;
    etcd.tls_ca = etcd.tls_cert = cert;
    etcd.tls_key = key;
    etcd.world.several = true;
    return run(&etcd, "test_members_see_each_other");
}

int main(int argc, char **argv)
{
    const char *only = argc > 1 ? argv[1] : NULL;
    const char *endpoints = getenv("SILO_ETCD_ENDPOINTS");
    const char *control = getenv("SILO_ETCD_CONTROL");
    if (endpoints == NULL || control == NULL) {
        return run_none();
    }
    char first[LINE_MAX_BYTES];
    (void)snprintf(first, sizeof first, "%.*s", (int)strcspn(endpoints, ","), endpoints);
    const char *user = getenv("SILO_ETCD_USER");
    const char *tls = getenv("SILO_ETCD_TLS");
    if (tls != NULL) {
        return run_tls(first, tls);
    }
    if (user != NULL) {
        return run_users(first, control, user);
    }
    return run_etcd(first, control, only) + run_losing(first, only);
}
