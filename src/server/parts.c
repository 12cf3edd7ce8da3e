/*
 * server/parts.c - builds the parts in order and takes them down in the opposite order.
 *
 * Whatever can be found wrong without touching data comes first: certificates, the port, the
 * limiter's address. Then the local directories are locked, and only then is anything written. The
 * port is bound early and listened on late, so that callers are refused at once while the server
 * cannot serve them yet. Opening a shard takes its database over from whoever has it; a second
 * server started by mistake fails on the busy port or on the lock instead.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/address.h"
#include "base/arena.h"
#include "base/assert.h"
#include "base/limits.h"
#include "server/notify.h"
#include "server/own_address.h"
#include "server/server_int.h"
#include "silo_descriptor.h"

static enum dispatch_order config_dispatch_order(const struct silo_config *config)
{
    switch (config->database.dispatch_order) {
    case CONFIG_ORDER_PRIORITY:
        return ORDER_PRIORITY;
    case CONFIG_ORDER_START:
        return ORDER_START;
    }
    return ORDER_PRIORITY;
}

/* The storage is full, or away: says so now and then. False: the process was told to stop. */
static bool storage_awaited(struct server *server, const char *why, int64_t *said_ms)
{
    const int64_t now_ms = env_mono_ms(server->env);
    char cause[OUTAGE_CAUSE_MAX] = "";
    (void)store_ops_of(server->store)->trouble(server->store, cause, sizeof cause);
    if (*said_ms == INT64_MIN || now_ms - *said_ms >= SERVER_AWAY_SAID_MS) {
        *said_ms = now_ms;
        log_error("storage_away", LOG_STR("cause", cause[0] != '\0' ? cause : why),
                  LOG_STR("then", "the start goes on as soon as the storage takes what is written"),
                  LOG_END);
    }
    store_log_drain(server->store);
    /* The manager would give the start up after a while. */
    (void)notify_manager("EXTEND_TIMEOUT_USEC=180000000\nSTATUS=waiting for the storage");
    struct pollfd pfd = {.fd = server->signal_fd, .events = POLLIN};
    return poll(&pfd, 1, SERVER_AWAY_RETRY_MS) <= 0;
}

static SILO_RC coord_await(struct server *server, const struct coord_options *options,
                           struct silo_err *err)
{
    int64_t said_ms = INT64_MIN;
    for (;;) { /* until the storage is there, or a stop signal */
        const silo_rc rc = start_new(options, &server->coord, err);
        if (rc.code != SILO_UNAVAILABLE) {
            return rc;
        }
        if (!storage_awaited(server, err->text, &said_ms)) {
            return FAIL(err, SILO_CANCELLED, "told to stop while waiting for the storage");
        }
    }
}

static SILO_RC build_coord(struct server *server, struct arena *arena, struct silo_err *err)
{
    const struct silo_config *config = server->config;
    if (config->coordination.backend != CONFIG_COORD_NONE) {
        return FAIL(err, SILO_UNIMPLEMENTED,
                    "coordination.backend: this build knows only \"none\"");
    }
    const struct coord_options options = {
        .env = server->env,
        .store = server->store,
        .settings = {.shard_count = (uint32_t)config->coordination.initial_shard_count,
                     .order = config_dispatch_order(config),
                     .wal_url = store_wal_template(arena, config)},
        .timeout_ms = SERVER_STORE_TIMEOUT_MS,
        .stop_fd = server->signal_fd};
    TRY(coord_await(server, &options, err));
    const struct cluster_map *map = start_map(server->coord);
    char cluster_id[UUID_TEXT_LEN + 1];
    uuid_format(&map->cluster_id, cluster_id);
    log_info(start_created(server->coord) ? "cluster_created" : "cluster_found",
             LOG_STR("cluster", cluster_id), LOG_INT("record", map->number),
             LOG_INT("shards", map->shard_count), LOG_STR("store", config->database.place.url),
             LOG_END);
    return RC_OK;
}

/* Does not connect: a limiter that is away must not keep the server from starting. */
static SILO_RC build_limiter(struct server *server, struct silo_err *err)
{
    const struct config_gubernator *config = &server->config->gubernator;
    if (config->address == NULL) {
        return RC_OK; /* each shard answers rate limits itself */
    }
    const struct gubernator_options options = {.address = config->address,
                                               .coalesce_interval_ms = config->coalesce_interval_ms,
                                               .call_checks_max = (uint32_t)config->max_batch_size,
                                               .connect_timeout_ms = config->connect_timeout_ms,
                                               .request_timeout_ms = config->request_timeout_ms};
    TRY(gubernator_new(&options, &server->gubernator, err));
    log_info("rate_limiter", LOG_STR("gubernator", config->address), LOG_END);
    return RC_OK;
}

static SILO_RC build_shards(struct server *server, struct arena *arena, struct silo_err *err)
{
    const struct silo_config *config = server->config;
    const struct config_database *database = &config->database;
    const char *settings =
        database->slatedb_json != NULL
            ? config_expand_shard(arena, database->slatedb_json, STORE_CACHE_SHARD)
            : NULL;
    const struct shards_options options = {
        .env = server->env,
        .store = server->store,
        .executors = (uint32_t)config->server.executors,
        .settings_json = settings,
        .limiter = server->gubernator != NULL ? gubernator_limiter(server->gubernator) : NULL,
        .completed_expire_ms = database->completed_job_expire_s * 1000,
        .terminal_expire_ms = database->terminal_job_expire_s * 1000};
    retention_say(database);
    server->shards = shards_new(&options);
    TRY(shards_start(server->shards, err));
    server->shards_running = true;
    return RC_OK;
}

static struct rpc_patience config_patience(const struct config_server *config)
{
    return (struct rpc_patience){.keepalive_us = config->keepalive_time_ms * 1000,
                                 .keepalive_timeout_us = config->keepalive_timeout_ms * 1000,
                                 .idle_us = config->idle_timeout_ms * 1000,
                                 .age_us = config->max_connection_age_ms * 1000,
                                 .age_grace_us = config->max_connection_age_grace_ms * 1000,
                                 .output_us = config->output_timeout_ms * 1000,
                                 .body_us = config->request_timeout_ms * 1000};
}

static SILO_RC build_rpc(struct server *server, struct silo_err *err)
{
    const struct config_server *config = &server->config->server;
    const struct rpc_server_options options = {
        .listen = config->grpc_addr.text,
        .listen_setting = "server.grpc_addr",
        .loops = (uint32_t)config->io_loops,
        .conns_max = (uint32_t)config->max_connections,
        .streams_max = (uint32_t)config->max_calls_per_connection,
        .patience = config_patience(config),
        .inflight_bytes_max = (uint64_t)config->max_request_bytes,
        .conn_inflight_bytes_max = (uint64_t)config->max_connection_request_bytes,
        .reply_bytes_max = (uint64_t)config->max_reply_bytes,
        .conn_reply_bytes_max = (uint64_t)config->max_connection_reply_bytes,
        .conns_per_address_max = (uint32_t)config->max_connections_per_address,
        .tls_cert = config->tls_cert,
        .tls_key = config->tls_key,
        .tls_client_ca = config->tls_client_ca,
        .auth_token = config->auth_token,
        .descriptors = bytes_of(silo_descriptor_set, silo_descriptor_set_len)};
    TRY(rpc_server_new(&options, &server->rpc, err));
    rpc_health_set(server->rpc, SILO_SERVICE_NAME, false);
    return RC_OK;
}

/* The more shards there are, the fewer connections the limit on open files leaves. */
static void share_descriptors(struct server *server)
{
    server->connections_max = descriptors_share((uint32_t)server->config->server.max_connections,
                                                start_map(server->coord)->shard_count);
    rpc_server_limit_conns(server->rpc, server->connections_max);
}

static void addr_format(const char *ip, uint16_t port, char ret_text[SERVER_ADDR_MAX])
{
    const bool ip6 = strchr(ip, ':') != NULL;
    (void)snprintf(ret_text, SERVER_ADDR_MAX, "%s%s%s:%u", ip6 ? "[" : "", ip, ip6 ? "]" : "",
                   (unsigned)port);
}

/*
 * What clients are told to dial, and how it was found. own is for callers that do not say what they
 * dialled.
 */
static const char *advertised_addr(const struct server *server, const char *bound,
                                   char ret_own[SERVER_ADDR_MAX])
{
    const char *configured = server->config->coordination.advertised_grpc_addr;
    if (configured != NULL) {
        log_info("advertised", LOG_STR("grpc", configured),
                 LOG_STR("from", "coordination.advertised_grpc_addr"), LOG_END);
        return configured;
    }
    (void)snprintf(ret_own, SERVER_ADDR_MAX, "%s", bound);
    if (address_is_any(server->config->server.grpc_addr.host)) {
        char ip[CONFIG_HOST_MAX];
        own_address(server->config->server.grpc_addr.host, ip);
        addr_format(ip, rpc_server_port(server->rpc), ret_own);
    }
    log_info("advertised", LOG_STR("grpc", "as dialled"), LOG_STR("else", ret_own),
             LOG_STR("text", "each client is told the address it dialled; "
                             "coordination.advertised_grpc_addr tells one to all"),
             LOG_END);
    return ret_own;
}

static SILO_RC build_service(struct server *server, struct silo_err *err)
{
    const struct silo_config *config = server->config;
    char addr[SERVER_ADDR_MAX], own[SERVER_ADDR_MAX], id_text[UUID_TEXT_LEN + 1];
    addr_format(config->server.grpc_addr.host, rpc_server_port(server->rpc), addr);
    uint8_t random[16];
    env_random(server->env, random, sizeof random);
    const struct uuid id = uuid_v4(random);
    uuid_format(&id, id_text);
    const struct service_options options = {
        .shards = server->shards,
        .directory = &server->directory,
        .loops = (uint32_t)config->server.io_loops,
        .env = server->env,
        .tenancy = config->tenancy_enabled,
        .dev_mode = config->server.dev_mode,
        .node = {.id =
                     config->coordination.node_id != NULL ? config->coordination.node_id : id_text,
                 .grpc_addr = advertised_addr(server, addr, own),
                 .as_dialled = config->coordination.advertised_grpc_addr == NULL,
                 .rings = config->coordination.placement_rings.items,
                 .ring_count = config->coordination.placement_rings.count}};
    server->service = service_new(&options);
    const struct rpc_method *method = NULL;
    for (size_t i = 0; (method = service_rpc_method(server->service, i)) != NULL; i++) {
        TRY(rpc_server_add(server->rpc, method, err));
    }
    TRY(rpc_server_start(server->rpc, err));
    log_info("listening", LOG_STR("grpc", addr),
             LOG_STR("tls", config->server.tls_cert != NULL ? "on" : "off"),
             LOG_STR("auth", config->server.auth_token != NULL ? "token" : "open"),
             LOG_STR("tenancy", config->tenancy_enabled ? "on" : "off"),
             LOG_INT("executors", config->server.executors),
             LOG_INT("io_loops", config->server.io_loops),
             LOG_INT("connections_max", server->connections_max), LOG_END);
    return RC_OK;
}

static SILO_RC build_all(struct server *server, struct arena *arena, struct silo_err *err)
{
    TRY(build_rpc(server, err));
    TRY(build_limiter(server, err));
    TRY(store_claim(server->config, server->locks, err));
    TRY(store_setup(server->config, &server->store, err));
    TRY(build_coord(server, arena, err));
    share_descriptors(server);
    TRY(build_shards(server, arena, err));
    directory_home_init(&server->directory);
    server->has_directory = true;
    openings_init(server, arena);
    return build_service(server, err);
}

SILO_RC server_build(struct server *server, const struct silo_config *config, int signal_fd,
                     struct silo_err *err)
{
    *server = (struct server){.config = config, .env = &env_system, .signal_fd = signal_fd};
    server->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (server->wake_fd < 0) {
        return FAIL(err, SILO_INTERNAL, "eventfd: %s", strerror(errno));
    }
    struct arena arena; /* texts the parts copy */
    arena_init(&arena);
    const silo_rc rc = build_all(server, &arena, err);
    arena_deinit(&arena);
    return rc;
}

void server_free(struct server *server)
{
    server->rpc = rpc_server_free(server->rpc);
    server->service = service_free(server->service);
    openings_deinit(server);
    /*
     * The shards are closed and send no checks; what is still out goes back while their executors
     * can take it.
     */
    server->gubernator = gubernator_free(server->gubernator);
    if (server->shards_running) {
        shards_stop(server->shards);
        server->shards_running = false;
    }
    server->shards = shards_free(server->shards);
    if (server->has_directory) {
        directory_home_deinit(&server->directory);
        server->has_directory = false;
    }
    server->coord = start_free(server->coord);
    if (server->store != NULL) {
        store_log_drain(server->store);
        store_ops_of(server->store)->free(server->store);
        server->store = NULL;
    }
    for (size_t i = 0; i < SERVER_DIRECTORIES; i++) {
        server->locks[i] = directory_lock_free(server->locks[i]);
    }
    if (server->wake_fd >= 0) {
        (void)close(server->wake_fd);
        server->wake_fd = -1;
    }
}
