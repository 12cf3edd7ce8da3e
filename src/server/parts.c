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
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "server/server_int.h"

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

/* The more shards there are, the fewer connections the limit on open files leaves. */
static void share_descriptors(struct server *server)
{
    server->connections_max = descriptors_share((uint32_t)server->config->server.max_connections,
                                                node_map(server->node)->shard_count);
    rpc_server_limit_conns(server->rpc, server->connections_max);
}

SILO_RC server_build(struct server *server, const struct silo_config *config, int signal_fd,
                     struct silo_err *err)
{
    *server = (struct server){
        .config = config, .env = &env_system, .signal_fd = signal_fd, .away_since_ms = INT64_MIN};
    server->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (server->wake_fd < 0) {
        return FAIL(err, SILO_INTERNAL, "eventfd: %s", strerror(errno));
    }
    TRY(server_build_rpc(server, err));
    TRY(build_limiter(server, err));
    TRY(store_claim(server->config, server->locks, err));
    TRY(store_setup(server->config, &server->store, err));
    server_identify(server);
    TRY(server_build_node(server, err));
    TRY(server_await_map(server, err));
    server->started_ms = env_mono_ms(server->env);
    retention_say(&config->database);
    share_descriptors(server);
    return server_build_service(server, err);
}

bool server_can_free(const struct server *server)
{
    return server->node == NULL;
}

void server_free(struct server *server)
{
    server->rpc = rpc_server_free(server->rpc);
    server->peers = peers_free(server->peers);
    server->service = service_free(server->service);
    server->statements = statements_free(server->statements);
    /*
     * The shards are closed and send no checks; what is still out goes back while their executors
     * can take it.
     */
    server->gubernator = gubernator_free(server->gubernator);
    if (server->shards_running) {
        shards_stop(server->shards);
        server->shards_running = false;
    }
    server->node = node_free(server->node);
    if (server->node_queue != NULL) {
        store_ops_of(server->node_queue)->queue_free(server->node_queue);
        server->node_queue = NULL;
    }
    server->shards = shards_free(server->shards);
    if (server->has_directory) {
        directory_home_deinit(&server->directory);
        server->has_directory = false;
    }
    server->coord = coord_free(server->coord);
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
