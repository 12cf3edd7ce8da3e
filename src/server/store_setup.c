/*
 * server/store_setup.c - from the configuration to a store.
 *
 * A local store gets its directories made here, so that a wrong path is an error of the start with
 * the system's own words.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "server/server_int.h"
#include "store/store_slate.h"

#define DIRECTORY_MODE 0777 /* less the umask */

/* Like mkdir -p. */
static SILO_RC directory_make(const char *path, struct silo_err *err)
{
    char *copy = xstrdup(path);
    int failed = 0;
    for (char *at = copy + 1; failed == 0; at++) {
        const char c = *at;
        if (c == '/' || c == '\0') {
            *at = '\0';
            failed = mkdir(copy, DIRECTORY_MODE) == 0 || errno == EEXIST ? 0 : errno;
            *at = c;
        }
        if (c == '\0') {
            break;
        }
    }
    free(copy);
    if (failed == 0 && access(path, R_OK | W_OK | X_OK) != 0) {
        failed = errno;
    }
    if (failed != 0) {
        return FAIL(err, SILO_INVALID, "the data directory %s cannot be used: %s", path,
                    strerror(failed));
    }
    return RC_OK;
}

/* A shard's database has one path, below both stores. */
SILO_RC store_wal_check(const struct config_database *database, struct silo_err *err)
{
    const char *suffix = database->wal.shard_path;
    if (strcmp(suffix, "%shard%") != 0 && strcmp(suffix, database->place.shard_path) != 0) {
        return FAIL(err, SILO_INVALID,
                    "database.wal.path must end with the placeholder or with the same \"%s\" as "
                    "database.path",
                    database->place.shard_path);
    }
    return RC_OK;
}

/* Whether both paths lead to one directory. */
static bool same_directory(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

SILO_RC store_claim(const struct silo_config *config,
                    struct directory_lock *ret_locks[SERVER_DIRECTORIES], struct silo_err *err)
{
    const struct config_database *database = &config->database;
    const char *data = database->place.directory;
    const char *wal = database->wal.set ? database->wal.directory : NULL;
    if (database->wal.set) {
        TRY(store_wal_check(database, err));
    }
    if (data != NULL) {
        TRY(directory_make(data, err));
    }
    if (wal != NULL) {
        TRY(directory_make(wal, err));
    }
    /*
     * Nodes of a cluster share their directories, and who has which shard is the coordinator's to
     * say; but there is one process of each node. A random id needs no lock.
     */
    const bool shared = config->coordination.backend != CONFIG_COORD_NONE;
    const char *node = shared ? config->coordination.node_id : NULL;
    if (!database->lock || (shared && node == NULL)) {
        return RC_OK;
    }
    if (data != NULL) {
        TRY(directory_lock_take(data, node, &ret_locks[0], err));
    }
    if (wal != NULL && (data == NULL || !same_directory(data, wal))) {
        TRY(directory_lock_take(wal, node, &ret_locks[1], err));
    }
    return RC_OK;
}

SILO_RC store_setup(const struct silo_config *config, struct store **ret_store,
                    struct silo_err *err)
{
    const struct config_database *database = &config->database;
    const struct store_slate_options options = {
        .url = database->place.url,
        .opts_json = database->place.options_json,
        .wal_url = database->wal.set ? database->wal.url : NULL,
        .wal_opts_json = database->wal.set ? database->wal.options_json : NULL,
        .fsync = database->fsync,
        .log = database->local_log,
        .block_cache_bytes = database->block_cache_bytes,
        .meta_cache_bytes = database->meta_cache_bytes,
        .log_level = config->log_level == LOG_DEBUG ? LOG_INFO : LOG_WARN,
        .close_ms_max = (uint32_t)config->server.shutdown_timeout_ms};
    return store_slate_new(&options, ret_store, err);
}

const char *store_wal_template(struct arena *arena, const struct silo_config *config)
{
    const struct config_place *wal = &config->database.wal;
    return wal->set ? arena_printf(arena, "%s/%s", wal->url, wal->shard_path) : NULL;
}

void store_log_drain(struct store *store)
{
    store_slate_log(store);
}
