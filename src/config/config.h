/*
 * config/config.h - what the operator decided, parsed and checked once, before anything else
 * starts.
 *
 * One table (config_keys, in keys.c) names every key with its type, default, bounds and meaning;
 * parsing, --help, --check-config and the test of docs/reference/configuration.md all read it.
 * Values come from that table, then from the TOML file of --config, then from the environment
 * (SILO_LOG). ${NAME} and ${NAME:-text} are expanded inside string values after the file was
 * parsed, so that a value cannot inject keys.
 *
 * Units      _ms milliseconds, _s seconds, _bytes bytes, _us microseconds; 0 means "off" where a
 *            key may be off.
 * Ownership  the config owns all its strings (in its arena); config_deinit releases them. Warnings
 *            lend from it.
 * Threads    written once, then read by all threads without locks.
 * Limits     CONFIG_FILE_BYTES_MAX bytes of file, CONFIG_WARNINGS_MAX warnings.
 */
#ifndef SILO_CONFIG_CONFIG_H
#define SILO_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/log.h"
#include "base/rc.h"

#define CONFIG_FILE_BYTES_MAX (1u << 20)
#define CONFIG_PIPE_WAIT_MS 30000 /* for the next bytes of a configuration that comes by a pipe */
#define CONFIG_WARNINGS_MAX 64
#define CONFIG_UNSET_MAX 16 /* more are not remembered for messages */
#define CONFIG_HOST_MAX 46  /* the longest IPv6 text and its NUL */

enum config_backend { CONFIG_FS, CONFIG_S3, CONFIG_GCS, CONFIG_MEMORY, CONFIG_URL };
enum config_coordination { CONFIG_COORD_NONE, CONFIG_COORD_ETCD, CONFIG_COORD_K8S };
enum config_forward { CONFIG_FORWARD_NEVER, CONFIG_FORWARD_ASKED, CONFIG_FORWARD_ALWAYS };
enum config_order { CONFIG_ORDER_PRIORITY, CONFIG_ORDER_START };
enum config_log_format { CONFIG_LOG_TEXT, CONFIG_LOG_JSON };

/* A listen address: a literal IP and a port, 0 = any free one. */
struct config_addr {
    const char *text; /* as configured */
    char host[CONFIG_HOST_MAX];
    uint16_t port;
};

struct config_list {
    const char **items;
    size_t count;
};

/*
 * Where databases lie: a store and, within it, a path for each shard. Derived from backend and
 * path.
 */
struct config_place {
    bool set;                    /* false only for a WAL that lies with the rest */
    enum config_backend backend; /* CONFIG_FS: a local disk */
    const char *path;            /* as configured, after expansion */
    const char *url; /* the store: file:///abs/dir, memory:///name, s3://..., gs://... */
    /* relative to url, holds the placeholder: "%shard%" or "%shard%/more" */
    const char *shard_path;
    const char *options_json; /* for the store, NULL = none */
    const char *directory;    /* CONFIG_FS: the absolute directory of url, not encoded; else NULL */
};

struct config_server {
    struct config_addr grpc_addr;
    bool dev_mode;
    int64_t statement_timeout_ms;
    int64_t max_result_bytes;
    int64_t max_concurrent_statements; /* a shard */
    int64_t slow_query_log_ms;
    const char *auth_token; /* NULL = open */
    const char *tls_cert;   /* PEM files; NULL = plaintext */
    const char *tls_key;
    const char *tls_client_ca; /* NULL = clients need no certificate */
    int64_t shutdown_timeout_ms;
    int64_t max_connections;
    int64_t max_calls_per_connection;
    int64_t keepalive_time_ms; /* these and the next: 0 = off */
    int64_t keepalive_timeout_ms;
    int64_t idle_timeout_ms;
    int64_t max_connection_age_ms;
    int64_t max_connection_age_grace_ms;
    int64_t output_timeout_ms;
    int64_t request_timeout_ms;
    int64_t max_request_bytes;
    int64_t max_connection_request_bytes;
    int64_t max_reply_bytes;
    int64_t max_connection_reply_bytes;
    int64_t max_connections_per_address; /* 0 = three quarters of those */
    int64_t executors;                   /* resolved: never 0 */
    int64_t io_loops;                    /* resolved: never 0 */
};

struct config_coord {
    enum config_coordination backend;
    const char *cluster_prefix;
    int64_t lease_ttl_secs;
    int64_t initial_shard_count;      /* resolved: never 0 */
    const char *advertised_grpc_addr; /* NULL = what each caller dialled */
    struct config_list etcd_endpoints;
    const char *etcd_username; /* NULL = none is asked for */
    const char *etcd_password;
    const char *etcd_tls_ca; /* PEM files; NULL = the system's authorities */
    const char *etcd_tls_cert;
    const char *etcd_tls_key;
    const char *etcd_tls_name; /* NULL = the endpoint's host */
    const char *k8s_namespace;
    struct config_list placement_rings;
    const char *node_id; /* NULL = draw one */
    enum config_forward forward;
    const char *peer_tls_ca;   /* PEM file; NULL = the system's */
    const char *peer_tls_name; /* NULL = host of the address */
};

struct config_gubernator {
    const char *address; /* NULL = the built-in limiter */
    int64_t coalesce_interval_ms;
    int64_t max_batch_size;
    int64_t connect_timeout_ms;
    int64_t request_timeout_ms;
};

struct config_database {
    enum config_backend backend;
    const char *path;
    enum config_backend wal_backend; /* meaningful when wal.set */
    const char *wal_path;
    struct config_place place;
    struct config_place wal;
    bool fsync; /* CONFIG_FS: files and directories are synced before a write counts */
    /* CONFIG_FS: the write-ahead log is appended to, not an object for each commit */
    bool local_log;
    bool lock; /* CONFIG_FS: one process at a time has the directory */
    enum config_order dispatch_order;
    bool apply_wal_on_close;
    int64_t completed_job_expire_s;
    int64_t terminal_job_expire_s;
    int64_t periodic_full_compaction_s;
    bool count_from_status_counters;
    int64_t block_cache_bytes; /* the process */
    int64_t meta_cache_bytes;
    /*
     * Directory of the engine's cache on the local disk; may hold the shard placeholder; NULL =
     * none.
     */
    const char *engine_cache;
    int64_t latency_read_ms; /* for tests and benchmarks: added to each request to the store */
    int64_t latency_write_ms;
    /* least spacing, start to start, of WAL uploads; resolved by backend */
    int64_t flush_interval_us;
    /*
     * the rest of [database.slatedb], an object for the engine; strings may hold the shard
     * placeholder
     */
    const char *slatedb_json;
};

struct silo_config {
    struct arena arena;
    const char *file; /* where it came from, NULL = defaults */
    struct config_server server;
    struct config_coord coordination;
    bool tenancy_enabled;
    bool webui_enabled;
    struct config_addr webui_addr;
    bool metrics_enabled;
    struct config_addr metrics_addr;
    enum config_log_format log_format;
    enum log_level log_level;
    struct config_gubernator gubernator;
    struct config_database database;
};

/* Things to tell the operator that do not stop the start. Texts live as long as the config. */
struct config_warnings {
    size_t count;
    size_t dropped; /* more than CONFIG_WARNINGS_MAX */
    const char *texts[CONFIG_WARNINGS_MAX];
    size_t in_vain; /* of all warnings, those of settings that have no effect */
    /* Variables that values named and that were not set, with the keys of these values. */
    struct {
        const char *name, *key;
    } unset[CONFIG_UNSET_MAX];
    size_t unset_count;
};

/* Environment look-up: a variable's value or NULL. */
typedef const char *config_getenv(void *context, const char *name);

struct config_env {
    config_getenv *get;
    void *context;
};

extern const struct config_env config_env_process; /* getenv(3) */

enum config_action { CONFIG_RUN, CONFIG_CHECK, CONFIG_HELP, CONFIG_VERSION };

/*
 * The whole start: flags, file, environment. True: do *ret_action with *ret_config (CONFIG_VERSION
 * comes with an empty one). False: exit with *ret_exit, everything was printed (help on stdout;
 * "Config error: <reason>" on stderr with exit status 1). ret_config must be deinitialised in
 * either case.
 */
bool config_startup(int argc, char **argv, enum config_action *ret_action,
                    struct silo_config *ret_config, struct config_warnings *ret_warnings,
                    int *ret_exit);

/* The file at path, or the defaults when path is NULL. On failure *ret_config is empty. */
SILO_RC config_load(const char *path, const struct config_env *env, struct silo_config *ret_config,
                    struct config_warnings *ret_warnings, struct silo_err *err);

/* The same from TOML text; name stands for the file in messages. */
SILO_RC config_parse(struct bytes toml, const char *name, const struct config_env *env,
                     struct silo_config *ret_config, struct config_warnings *ret_warnings,
                     struct silo_err *err);

void config_deinit(struct silo_config *config);

/* text with each placeholder (%shard% or {shard}) replaced, in the arena. */
const char *config_expand_shard(struct arena *arena, const char *text, const char *shard);

/* Executors or I/O loops for a machine with that many cores. */
int64_t config_threads_for(int64_t cores);

/*
 * What is in effect, as TOML, in the arena: secrets are hidden, keys without effect are left out.
 */
const char *config_print(struct arena *arena, const struct silo_config *config);

#endif
