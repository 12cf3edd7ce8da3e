/*
 * server/node_setup.c - this node of the cluster: coordinator, shards and the driver between them;
 * and the wait for the first map, without which nothing can be served.
 */
#include <signal.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/assert.h"
#include "coord/backend.h"
#include "server/notify.h"
#include "server/server_int.h"

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

static const char *config_backend(const struct silo_config *config)
{
    switch (config->coordination.backend) {
    case CONFIG_COORD_NONE:
        return "none";
    case CONFIG_COORD_ETCD:
        return "etcd";
    case CONFIG_COORD_K8S:
        return "k8s";
    }
    return "";
}

static struct cluster_member member_self(const struct server *server)
{
    const struct silo_config *config = server->config;
    return (struct cluster_member){.id = server->identity.id,
                                   .nonce = server->identity.nonce,
                                   .address = server->identity.address,
                                   .rings = config->coordination.placement_rings.items,
                                   .ring_count = config->coordination.placement_rings.count};
}

SILO_RC coord_setup(const struct server *server, struct coord **ret_coord, struct silo_err *err)
{
    const struct config_coord *config = &server->config->coordination;
    const struct coord_options options = {.env = server->env,
                                          .store = server->store,
                                          .self = member_self(server),
                                          .store_timeout_ms = SERVER_STORE_TIMEOUT_MS,
                                          .prefix = config->cluster_prefix,
                                          .ttl_ms = config->lease_ttl_secs * 1000,
                                          .etcd = {.endpoints = config->etcd_endpoints.items,
                                                   .endpoint_count = config->etcd_endpoints.count,
                                                   .username = config->etcd_username,
                                                   .password = config->etcd_password,
                                                   .tls_ca = config->etcd_tls_ca,
                                                   .tls_cert = config->etcd_tls_cert,
                                                   .tls_key = config->etcd_tls_key,
                                                   .tls_name = config->etcd_tls_name}};
    return coord_new(config_backend(server->config), &options, ret_coord, err);
}

/* On an executor's thread; no shard is opened before there is a node. */
static void shard_told(void *context, struct shard_notice *notice)
{
    const struct server *server = context;
    node_told(server->node, notice);
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
        .terminal_expire_ms = database->terminal_job_expire_s * 1000,
        .told = shard_told,
        .context = server};
    server->shards = shards_new(&options);
    TRY(shards_start(server->shards, err));
    server->shards_running = true;
    return RC_OK;
}

/* What a reopened shard has to replay at most, counted in flushes of its WAL. */
static uint32_t wal_objects_max(const struct config_database *database, bool apart)
{
    switch (apart ? database->wal.backend : database->place.backend) {
    case CONFIG_FS:
        return database->local_log ? SERVER_WAL_RECORDS_LOCAL : SERVER_WAL_OBJECTS_LOCAL;
    case CONFIG_MEMORY:
        return SERVER_WAL_OBJECTS_LOCAL;
    case CONFIG_S3:
    case CONFIG_GCS:
    case CONFIG_URL:
        break;
    }
    return SERVER_WAL_OBJECTS_REMOTE;
}

/* The shard as the map has it. */
static void shard_describe(void *context, const struct cluster_shard *shard, const char *id,
                           struct shard_options *ret_options)
{
    const struct server *server = context;
    const struct config_database *database = &server->config->database;
    const bool apart = shard->wal_url != NULL;
    struct arena arena;
    arena_init(&arena);
    *ret_options = (struct shard_options){
        .id = shard->id,
        .path = xstrdup(config_expand_shard(&arena, database->place.shard_path, id)),
        .order = shard->order,
        .wal = {.place = apart ? STORE_WAL_APART : STORE_WAL_WITH_DATA,
                .flush_spacing_ms = (database->flush_interval_us + 999) / 1000,
                .objects_max = wal_objects_max(database, apart),
                .local = (apart ? database->wal.backend : database->place.backend) == CONFIG_FS}};
    arena_deinit(&arena);
}

static SILO_RC build_node(struct server *server, struct arena *arena, struct silo_err *err)
{
    const struct silo_config *config = server->config;
    const bool guarded = config->coordination.backend != CONFIG_COORD_NONE;
    if (guarded) {
        TRY(store_ops_of(server->store)->queue_new(server->store, &server->node_queue, err));
    }
    struct node_options options = {
        .env = server->env,
        .coord = server->coord,
        .shards = server->shards,
        .home = &server->directory,
        .cluster = {.self = member_self(server),
                    .settings = {.shard_count = (uint32_t)config->coordination.initial_shard_count,
                                 .order = config_dispatch_order(config),
                                 .wal_url = store_wal_template(arena, config)},
                    .guarded = guarded,
                    .ttl_ms = config->coordination.lease_ttl_secs * 1000,
                    /* Who holds the node's lock of the directory knows that the last one ended. */
                    .replaces = guarded && server->locks[0] != NULL},
        .store = guarded ? server->store : NULL,
        .queue = server->node_queue,
        .describe = shard_describe,
        .wake = server_wake,
        .context = server};
    env_random(server->env, options.cluster.seed, sizeof options.cluster.seed);
    server->node = node_new(&options);
    return RC_OK;
}

SILO_RC server_build_node(struct server *server, struct silo_err *err)
{
    directory_home_init(&server->directory);
    server->has_directory = true;
    struct arena arena; /* texts the parts copy */
    arena_init(&arena);
    silo_rc rc = coord_setup(server, &server->coord, err);
    if (rc.code == SILO_OK) {
        rc = build_shards(server, &arena, err);
    }
    if (rc.code == SILO_OK) {
        rc = build_node(server, &arena, err);
    }
    arena_deinit(&arena);
    return rc;
}

/* --- the first map --- */

/* The storage is full, or away, or the coordinator is: says so now and then. */
static void start_awaits(const struct server *server, const char *why, int64_t *said_ms)
{
    const int64_t now_ms = env_mono_ms(server->env);
    if (*said_ms == INT64_MIN || now_ms - *said_ms >= SERVER_AWAY_SAID_MS) {
        *said_ms = now_ms;
        char cause[OUTAGE_CAUSE_MAX] = "";
        (void)store_ops_of(server->store)->trouble(server->store, cause, sizeof cause);
        const bool shared = server->config->coordination.backend != CONFIG_COORD_NONE;
        if (cause[0] == '\0' && shared) {
            log_error("start_waits", LOG_STR("cause", why),
                      LOG_STR("then", "the start goes on as soon as that is over"), LOG_END);
        } else {
            log_error(
                "storage_away", LOG_STR("cause", cause[0] != '\0' ? cause : why),
                LOG_STR("then", "the start goes on as soon as the storage takes what is written"),
                LOG_END);
        }
    }
    /* The manager would give the start up after a while. */
    (void)notify_manager("EXTEND_TIMEOUT_USEC=180000000\nSTATUS=waiting for the storage");
}

static void map_say(const struct server *server)
{
    const struct cluster_map *map = node_map(server->node);
    char cluster_id[UUID_TEXT_LEN + 1];
    uuid_format(&map->cluster_id, cluster_id);
    log_info(node_made_map(server->node) ? "cluster_created" : "cluster_found",
             LOG_STR("cluster", cluster_id), LOG_INT("record", map->number),
             LOG_INT("shards", map->shard_count),
             LOG_STR("store", server->config->database.place.url), LOG_END);
}

SILO_RC server_await_map(struct server *server, struct silo_err *err)
{
    int64_t said_ms = INT64_MIN, told_ms = INT64_MIN;
    for (;;) { /* until there is one, or a stop signal */
        const int64_t next_us = node_turn(server->node);
        store_log_drain(server->store);
        if (node_map(server->node) != NULL) {
            map_say(server);
            return RC_OK;
        }
        const silo_rc rc = node_check(server->node, err);
        const int64_t now_ms = env_mono_ms(server->env);
        if (rc.code == SILO_UNAVAILABLE &&
            (told_ms == INT64_MIN || now_ms - told_ms >= SERVER_AWAY_TOLD_MS)) {
            told_ms = now_ms;
            start_awaits(server, err != NULL ? err->text : "", &said_ms);
        } else if (rc.code != SILO_OK && rc.code != SILO_UNAVAILABLE) {
            return rc;
        }
        server_sleep(server, next_us, true);
        const int number = signals_take(server->signal_fd);
        if (number != 0 && number != SIGHUP) {
            return FAIL(err, SILO_CANCELLED, "told to stop while the start was waiting");
        }
    }
}
