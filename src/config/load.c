/*
 * config/load.c - the steps of a load: defaults, file, environment, rules between keys.
 */
#include "config/config.h"

#include <sched.h>
#include <stdio.h>

#include "base/address.h"
#include "base/assert.h"
#include "config/keys_int.h"
#include "sdbx_toml.h"

#define FLUSH_US_UNSET INT64_MIN
#define FLUSH_US_REMOTE 50000
#define SHARDS_WITH_TENANCY 8

int64_t config_threads_for(int64_t cores)
{
    return cores <= 4 ? 1 : 1 + (cores - 4) / 4;
}

static int64_t cores_available(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

static SILO_RC finish_log_level(struct silo_config *config, const struct config_env *env,
                                struct config_warnings *warnings, struct silo_err *err)
{
    const char *own = env->get(env->context, "SILO_LOG");
    const char *compatible = env->get(env->context, "RUST_LOG");
    if (own != NULL && *own != '\0') {
        if (!log_level_parse(bytes_str(own), &config->log_level)) {
            return FAIL(
                err, SILO_INVALID,
                "the variable SILO_LOG must be one of debug|info|warn|error|off, not \"%s\"", own);
        }
    } else if (compatible != NULL && *compatible != '\0' &&
               !log_level_parse(bytes_str(compatible), &config->log_level)) {
        config_warn(config, warnings,
                    "the variable RUST_LOG=%s is not a plain level and is ignored; "
                    "SILO_LOG takes one of debug|info|warn|error|off",
                    compatible);
    }
    return RC_OK;
}

static SILO_RC finish_server(struct silo_config *config, struct silo_err *err)
{
    struct config_server *server = &config->server;
    const int64_t threads = config_threads_for(cores_available());
    server->executors = server->executors != 0 ? server->executors : threads;
    server->io_loops = server->io_loops != 0 ? server->io_loops : threads;
    if ((server->tls_cert == NULL) != (server->tls_key == NULL)) {
        return FAIL(err, SILO_INVALID,
                    "server.tls_cert and server.tls_key go together; only server.%s is set",
                    server->tls_cert != NULL ? "tls_cert" : "tls_key");
    }
    if (server->tls_client_ca != NULL && server->tls_cert == NULL) {
        return FAIL(err, SILO_INVALID,
                    "server.tls_client_ca needs server.tls_cert and server.tls_key");
    }
    return RC_OK;
}

/* What several nodes on one store need that one node does not. */
static SILO_RC finish_etcd(struct silo_config *config, struct config_warnings *warnings,
                           struct silo_err *err)
{
    const struct config_coord *coord = &config->coordination;
    if (coord->etcd_endpoints.count == 0) {
        return FAIL(err, SILO_INVALID, "coordination.etcd_endpoints must name a server");
    }
    if ((coord->etcd_tls_cert == NULL) != (coord->etcd_tls_key == NULL)) {
        return FAIL(err, SILO_INVALID,
                    "coordination.etcd_tls_cert and etcd_tls_key go together; only %s is set",
                    coord->etcd_tls_cert != NULL ? "etcd_tls_cert" : "etcd_tls_key");
    }
    if (coord->etcd_password != NULL && coord->etcd_username == NULL) {
        return FAIL(err, SILO_INVALID, "coordination.etcd_password needs etcd_username");
    }
    if (config->database.backend == CONFIG_MEMORY) {
        return FAIL(err, SILO_INVALID,
                    "coordination.backend = \"etcd\" needs a store that all nodes share; "
                    "database.backend = \"memory\" is of one process");
    }
    if (coord->advertised_grpc_addr == NULL && address_is_loopback(config->server.grpc_addr.host)) {
        config_warn(config, warnings,
                    "nodes on other machines cannot dial %s: server.grpc_addr or "
                    "coordination.advertised_grpc_addr must name an address that they can",
                    config->server.grpc_addr.text);
    }
    return RC_OK;
}

static SILO_RC finish_coordination(struct silo_config *config, struct config_warnings *warnings,
                                   struct silo_err *err)
{
    struct config_coord *coord = &config->coordination;
    if (coord->backend == CONFIG_COORD_K8S) {
        return FAIL(err, SILO_INVALID,
                    "coordination.backend = \"k8s\" is not in this version; for several nodes set "
                    "it to \"etcd\", for one to \"none\"");
    }
    if (coord->backend == CONFIG_COORD_ETCD) {
        TRY(finish_etcd(config, warnings, err));
    }
    if (coord->advertised_grpc_addr != NULL &&
        !address_connectable(bytes_str(coord->advertised_grpc_addr))) {
        return FAIL(err, SILO_INVALID,
                    "coordination.advertised_grpc_addr must be an address that clients can dial, "
                    "such as \"silo.example.com:50051\", not \"%.*s\"",
                    ADDRESS_TEXT_MAX, coord->advertised_grpc_addr);
    }
    if (coord->initial_shard_count == 0) {
        coord->initial_shard_count = config->tenancy_enabled ? SHARDS_WITH_TENANCY : 1;
    }
    return RC_OK;
}

/* The options that only tests and benchmarks set, as the store takes them. */
static const char *store_options(struct silo_config *config)
{
    const struct config_database *db = &config->database;
    if (db->latency_read_ms == 0 && db->latency_write_ms == 0) {
        return NULL;
    }
    return arena_printf(&config->arena, "{\"latency_read_ms\":%lld,\"latency_write_ms\":%lld}",
                        (long long)db->latency_read_ms, (long long)db->latency_write_ms);
}

static SILO_RC finish_database(struct silo_config *config, bool wal_backend_set,
                               struct silo_err *err)
{
    struct config_database *db = &config->database;
    TRY(config_place_resolve(&config->arena, db->backend, db->path, "database", &db->place, err));
    db->place.options_json = store_options(config);
    if (wal_backend_set != (db->wal_path != NULL)) {
        return FAIL(err, SILO_INVALID, "database.wal.backend and database.wal.path go together");
    }
    if (db->wal_path != NULL) {
        TRY(config_place_resolve(&config->arena, db->wal_backend, db->wal_path, "database.wal",
                                 &db->wal, err));
        db->wal.options_json = db->place.options_json;
    }
    if (db->flush_interval_us == FLUSH_US_UNSET) {
        /* The write-ahead log's own store decides what an upload costs. */
        const enum config_backend backend = db->wal.set ? db->wal_backend : db->backend;
        const bool local = backend == CONFIG_FS || backend == CONFIG_MEMORY;
        db->flush_interval_us = local ? 0 : FLUSH_US_REMOTE;
    }
    return RC_OK;
}

/* wal_backend has no default: until it is set it holds this. */
#define WAL_BACKEND_UNSET ((enum config_backend)99)

SILO_RC config_finish(struct silo_config *config, const struct config_env *env,
                      struct config_warnings *warnings, struct silo_err *err)
{
    struct config_database *db = &config->database;
    const bool wal_backend_set = db->wal_backend != WAL_BACKEND_UNSET;
    if (!wal_backend_set) {
        db->wal_backend = db->backend;
    }
    TRY(finish_log_level(config, env, warnings, err));
    TRY(finish_server(config, err));
    TRY(finish_coordination(config, warnings, err));
    return finish_database(config, wal_backend_set, err);
}

static void config_init(struct silo_config *config, struct config_warnings *warnings)
{
    *config = (struct silo_config){0};
    *warnings = (struct config_warnings){0};
    arena_init(&config->arena);
    config_keys_set_defaults(config);
    config->database.flush_interval_us = FLUSH_US_UNSET;
    config->database.wal_backend = WAL_BACKEND_UNSET;
    config->database.slatedb_json = "{}";
}

void config_deinit(struct silo_config *config)
{
    arena_deinit(&config->arena);
    *config = (struct silo_config){0};
}

static SILO_RC apply_toml(struct bytes toml, const char *name, const struct config_env *env,
                          struct silo_config *config, struct config_warnings *warnings,
                          struct silo_err *err)
{
    struct sdbx_buf json = {0};
    struct sdbx_buf why = {0};
    uint32_t line = 0;
    uint32_t column = 0;
    const int status =
        sdbx_toml_to_json((const char *)toml.ptr, toml.len, &json, &why, &line, &column);
    if (status != SDBX_OK) {
        const bool bare_variable = memmem(toml.ptr, toml.len, "${", 2) != NULL;
        const silo_rc rc =
            FAIL(err, SILO_INVALID, "%s: %.*s%s", name, (int)why.len, (const char *)why.p,
                 bare_variable ? " (a ${NAME} must stand inside quotes)" : "");
        sdbx_buf_free(why);
        return rc;
    }
    const silo_rc rc =
        config_apply_json(bytes_of(json.p, json.len), name, env, config, warnings, err);
    sdbx_buf_free(json);
    return rc;
}

/* A value that was refused may be short of a variable: then that is the reason. */
static void name_unset(const struct config_warnings *warnings, struct silo_err *err)
{
    for (size_t i = 0; err != NULL && i < warnings->unset_count; i++) {
        if (strstr(err->text, warnings->unset[i].key) != NULL) {
            const size_t len = strlen(err->text);
            (void)snprintf(err->text + len, sizeof err->text - len,
                           " (the variable %s in it is not set; ${%s:-text} would give a default)",
                           warnings->unset[i].name, warnings->unset[i].name);
            return;
        }
    }
}

SILO_RC config_parse(struct bytes toml, const char *name, const struct config_env *env,
                     struct silo_config *ret_config, struct config_warnings *ret_warnings,
                     struct silo_err *err)
{
    config_init(ret_config, ret_warnings);
    ret_config->file = name != NULL ? arena_str(&ret_config->arena, bytes_str(name)) : NULL;
    silo_rc rc = RC_OK;
    if (toml.len != 0) {
        rc = apply_toml(toml, ret_config->file != NULL ? ret_config->file : "config", env,
                        ret_config, ret_warnings, err);
    }
    if (rc.code == SILO_OK) {
        rc = config_finish(ret_config, env, ret_warnings, err);
    }
    if (rc.code != SILO_OK) {
        name_unset(ret_warnings, err);
        config_deinit(ret_config);
        *ret_warnings = (struct config_warnings){0};
    }
    return rc;
}

SILO_RC config_load(const char *path, const struct config_env *env, struct silo_config *ret_config,
                    struct config_warnings *ret_warnings, struct silo_err *err)
{
    if (path == NULL) {
        return config_parse(BYTES_NONE, NULL, env, ret_config, ret_warnings, err);
    }
    AUTO(arena_deinit) struct arena scratch;
    arena_init(&scratch);
    struct bytes text = BYTES_NONE;
    *ret_config = (struct silo_config){0};
    *ret_warnings = (struct config_warnings){0};
    TRY(config_file_read(path, &scratch, &text, err));
    return config_parse(text, path, env, ret_config, ret_warnings, err);
}
