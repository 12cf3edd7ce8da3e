/*
 * server/check.c - `silo --check-config`: all that a start would look at before it touches data,
 * and more than one mistake at a time. It changes nothing, so it may run beside a server that
 * serves from the same file.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/assert.h"
#include "server/server_int.h"

#define CHECK_GOOD 0
#define CHECK_REFUSED 1
#define CHECK_IN_VAIN 2

static void check_error(const char *key, const char *text, size_t *errors)
{
    (void)fprintf(stderr, "Config error: %s: %s\n", key, text);
    (*errors)++;
}

static void check_tls(const struct config_server *server, size_t *errors)
{
    struct silo_err err = {0};
    if (server->tls_cert == NULL) {
        return;
    }
    const silo_rc rc =
        rpc_tls_check(server->tls_cert, server->tls_key, server->tls_client_ca, &err);
    if (rc.code != SILO_OK) {
        check_error("server.tls_cert, tls_key, tls_client_ca", err.text, errors);
    }
}

/* What other nodes' certificates are looked at with. */
static void check_peers(const struct silo_config *config, size_t *errors)
{
    struct silo_err err = {0};
    const char *ca = config->coordination.peer_tls_ca;
    if (config->server.tls_cert == NULL || ca == NULL) {
        return;
    }
    const silo_rc rc = rpc_tls_check(config->server.tls_cert, config->server.tls_key, ca, &err);
    if (rc.code != SILO_OK) {
        check_error("coordination.peer_tls_ca", err.text, errors);
    }
}

/* Endpoints and files; nobody is asked. */
static void check_coordinator(const struct silo_config *config, size_t *errors)
{
    struct silo_err err = {0};
    struct coord *coord = NULL;
    const struct server server = {.config = config, .env = &env_system};
    if (config->coordination.backend != CONFIG_COORD_NONE &&
        coord_setup(&server, &coord, &err).code != SILO_OK) {
        check_error("coordination", err.text, errors);
    }
    (void)coord_free(coord);
}

static void check_limiter(const struct config_gubernator *config, size_t *errors)
{
    struct gubernator *gubernator = NULL;
    struct silo_err err = {0};
    const struct gubernator_options options = {.address = config->address,
                                               .call_checks_max = (uint32_t)config->max_batch_size,
                                               .connect_timeout_ms = config->connect_timeout_ms,
                                               .request_timeout_ms = config->request_timeout_ms};
    if (config->address != NULL && gubernator_new(&options, &gubernator, &err).code != SILO_OK) {
        check_error("gubernator.address", err.text, errors);
    }
    (void)gubernator_free(gubernator);
}

/* Something of that name is there, be it a link that leads nowhere. */
static bool is_there(const char *path)
{
    struct stat found;
    return lstat(path, &found) == 0;
}

/*
 * The directory itself or, where it does not exist, the nearest that does of those it would be made
 * in.
 */
static void check_directory(const char *key, const char *directory, size_t *errors)
{
    char text[SILO_ERR_TEXT_MAX];
    char *path = xstrdup(directory);
    struct stat found;
    int failed = stat(path, &found) == 0 ? 0 : errno;
    while ((failed == ENOENT || failed == ENOTDIR) && !is_there(path) && strcmp(path, "/") != 0) {
        char *slash = strrchr(path, '/');
        if (slash == NULL) {
            memcpy(path, ".", 2); /* the last step of a relative path */
        } else {
            slash[slash == path ? 1 : 0] = '\0';
        }
        failed = stat(path, &found) == 0 ? 0 : errno;
    }
    if (failed == 0 && !S_ISDIR(found.st_mode)) {
        failed = ENOTDIR;
    }
    if (failed == 0 && access(path, R_OK | W_OK | X_OK) != 0) {
        failed = errno;
    }
    if (failed != 0) {
        const bool whole = strcmp(path, directory) == 0;
        (void)snprintf(text, sizeof text, "the directory %s cannot be %s: %s: %s", directory,
                       whole ? "used" : "made", path, strerror(failed));
        check_error(key, text, errors);
    }
    free(path);
}

static void check_directories(const struct config_database *database, struct arena *arena,
                              size_t *errors)
{
    struct silo_err err = {0};
    if (database->engine_cache != NULL) {
        check_directory("database.slatedb.object_store_cache_options.root_folder",
                        config_expand_shard(arena, database->engine_cache, STORE_CACHE_SHARD),
                        errors);
    }
    if (database->wal.set && store_wal_check(database, &err).code != SILO_OK) {
        check_error("database.wal.path", err.text, errors);
    }
    if (database->place.directory != NULL) {
        check_directory("database.path", database->place.directory, errors);
    }
    if (database->wal.set && database->wal.directory != NULL) {
        check_directory("database.wal.path", database->wal.directory, errors);
    }
}

/* A role of the machine may give credentials, so their absence is no error. */
static void check_credentials(const struct config_database *database)
{
    static const char *const names[] = {"AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE",
                                        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                                        "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_SKIP_SIGNATURE"};
    if (database->backend != CONFIG_S3) {
        return;
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (getenv(names[i]) != NULL) {
            return;
        }
    }
    (void)fputs("Warning: database.backend is s3, and AWS_ACCESS_KEY_ID is not set here: "
                "only a role of the machine can give credentials\n",
                stderr);
}

static void print_warnings(const struct config_warnings *warnings)
{
    for (size_t i = 0; i < warnings->count; i++) {
        (void)fprintf(stderr, "Warning: %s\n", warnings->texts[i]);
    }
    if (warnings->dropped != 0) {
        (void)fprintf(stderr, "Warning: %zu more warnings\n", warnings->dropped);
    }
}

int server_check(const struct silo_config *config, const struct config_warnings *warnings)
{
    AUTO(arena_deinit) struct arena arena;
    arena_init(&arena);
    size_t errors = 0;
    print_warnings(warnings);
    check_tls(&config->server, &errors);
    check_peers(config, &errors);
    check_coordinator(config, &errors);
    check_limiter(&config->gubernator, &errors);
    check_directories(&config->database, &arena, &errors);
    check_credentials(&config->database);
    (void)fputs(config_print(&arena, config), stdout);
    if (errors != 0) {
        return CHECK_REFUSED;
    }
    if (warnings->in_vain != 0) {
        (void)fprintf(stderr,
                      "Settings without effect: %zu (see the warnings). Take them out, "
                      "or do not count on them.\n",
                      warnings->in_vain);
        return CHECK_IN_VAIN;
    }
    return CHECK_GOOD;
}
