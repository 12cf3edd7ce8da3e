/*
 * config/keys.c - the table of keys. Order is the order of --help, --check-config and the reference
 * page: keys of one table stand together. A new key is one line here, one member in config.h, one
 * row in docs/reference/configuration.md.
 */
#include "config/keys_int.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/limits.h"

#define AT(member) offsetof(struct silo_config, member)
#define BOOL(path, member, fallback, flags, meaning)                          \
    {                                                                         \
        path, CONFIG_T_BOOL, flags, AT(member), fallback, NULL, 0, 0, meaning \
    }
#define INT(path, member, fallback, min, max, flags, meaning)                    \
    {                                                                            \
        path, CONFIG_T_INT, flags, AT(member), fallback, NULL, min, max, meaning \
    }
#define TEXT(path, member, fallback, flags, meaning)                            \
    {                                                                           \
        path, CONFIG_T_STRING, flags, AT(member), fallback, NULL, 0, 0, meaning \
    }
#define SECRET(path, member, meaning)                                   \
    {                                                                   \
        path, CONFIG_T_SECRET, 0, AT(member), NULL, NULL, 0, 0, meaning \
    }
#define ADDR(path, member, fallback, flags, meaning)                          \
    {                                                                         \
        path, CONFIG_T_ADDR, flags, AT(member), fallback, NULL, 0, 0, meaning \
    }
#define CHOICE(path, member, fallback, choices, flags, meaning)                    \
    {                                                                              \
        path, CONFIG_T_CHOICE, flags, AT(member), fallback, choices, 0, 0, meaning \
    }
#define LIST(path, member, fallback, flags, meaning)                             \
    {                                                                            \
        path, CONFIG_T_STRINGS, flags, AT(member), fallback, NULL, 0, 0, meaning \
    }
#define DURATION(path, member, max, meaning)                                \
    {                                                                       \
        path, CONFIG_T_DURATION, 0, AT(member), NULL, NULL, 0, max, meaning \
    }
#define IGNORED(path)                                                                             \
    {                                                                                             \
        path, CONFIG_T_IGNORED, 0, 0, NULL, NULL, 0, 0, "no effect here; accepted with a warning" \
    }

#define BACKENDS "fs|s3|gcs|memory|url"
#define MS_MAX 86400000
#define SECONDS_MAX 315360000 /* ten years */
#define LATENCY_MS_MAX 60000
#define FLUSH_US_MAX 60000000
#define BYTES_MAX ((int64_t)1 << 40)
#define INITIAL_SHARDS_MAX 1024 /* of a new cluster; SHARDS_MAX leaves room for more */
#define THREADS_MAX 64
#define COUNT_MAX 1000000

const struct config_key config_keys[] = {
    ADDR("server.grpc_addr", server.grpc_addr, "127.0.0.1:50051", 0,
         "gRPC listen address; port 0 takes a free one"),
    BOOL("server.dev_mode", server.dev_mode, "false", 0,
         "allows ResetShards, which deletes all data"),
    INT("server.shutdown_timeout_ms", server.shutdown_timeout_ms, "25000", 100, MS_MAX, 0,
        "bound on the whole orderly shutdown"),
    INT("server.executors", server.executors, "0", 0, THREADS_MAX, 0,
        "threads that run shards; 0 = one up to 4 cores, one more per further 4"),
    INT("server.io_loops", server.io_loops, "0", 0, THREADS_MAX, 0,
        "threads that serve connections; 0 = as for executors"),
    INT("server.max_connections", server.max_connections, "16384", 1, COUNT_MAX, 0,
        "connections at a time, less where the limit on open files allows only fewer"),
    INT("server.max_connections_per_address", server.max_connections_per_address, "0", 0, COUNT_MAX,
        0, "of those, connections from one address (IPv6: one /64); 0 = three quarters of all"),
    INT("server.max_calls_per_connection", server.max_calls_per_connection, "1024", 1, 65536, 0,
        "calls open at a time on one connection; clients hold back more by themselves"),
    INT("server.keepalive_time_ms", server.keepalive_time_ms, "30000", 0, MS_MAX, 0,
        "silence after which the peer of a connection with open calls is pinged; 0 = never"),
    INT("server.keepalive_timeout_ms", server.keepalive_timeout_ms, "20000", 0, MS_MAX, 0,
        "further silence after which the peer is dead and the connection closed; 0 = never"),
    INT("server.idle_timeout_ms", server.idle_timeout_ms, "1800000", 0, MS_MAX, 0,
        "a connection without an open call for so long is ended with GOAWAY; 0 = never"),
    INT("server.max_connection_age_ms", server.max_connection_age_ms, "0", 0, MS_MAX, 0,
        "a connection is ended with GOAWAY at that age, give or take 5 %; 0 = never"),
    INT("server.max_connection_age_grace_ms", server.max_connection_age_grace_ms, "300000", 0,
        MS_MAX, 0, "after such a GOAWAY: calls still open are cut off; 0 = never"),
    INT("server.output_timeout_ms", server.output_timeout_ms, "60000", 0, MS_MAX, 0,
        "a peer that takes no byte of what there is for it is given up; 0 = never"),
    INT("server.request_timeout_ms", server.request_timeout_ms, "30000", 0, MS_MAX, 0,
        "a request of which no byte arrives for so long before its end is refused; 0 = never"),
    INT("server.max_request_bytes", server.max_request_bytes, "1073741824", 2 * MESSAGE_BYTES_MAX,
        BYTES_MAX, 0, "request bytes that have arrived and are not answered yet"),
    INT("server.max_connection_request_bytes", server.max_connection_request_bytes, "536870912",
        2 * MESSAGE_BYTES_MAX, BYTES_MAX, 0, "of those, what one connection may have"),
    INT("server.max_reply_bytes", server.max_reply_bytes, "1073741824", MESSAGE_BYTES_MAX,
        BYTES_MAX, 0, "replies being made, or ready and not yet taken by their callers"),
    INT("server.max_connection_reply_bytes", server.max_connection_reply_bytes, "268435456",
        MESSAGE_BYTES_MAX, BYTES_MAX, 0, "of those, replies for one connection"),
    SECRET("server.auth_token", server.auth_token,
           "bearer token that every call must carry; unset = open"),
    TEXT("server.tls_cert", server.tls_cert, NULL, 0,
         "PEM file of the certificate chain; unset = plaintext"),
    TEXT("server.tls_key", server.tls_key, NULL, 0, "PEM file of its private key"),
    TEXT("server.tls_client_ca", server.tls_client_ca, NULL, 0,
         "PEM file of the authorities whose client certificates are required"),
    INT("server.statement_timeout_ms", server.statement_timeout_ms, "5000", 0, MS_MAX, CONFIG_LATER,
        "time limit of one SQL statement; 0 = none"),
    INT("server.max_result_bytes", server.max_result_bytes, "67108864", 0, BYTES_MAX, CONFIG_LATER,
        "bound on the encoded result of one Query; 0 = none"),
    INT("server.max_concurrent_statements", server.max_concurrent_statements, "8", 0, COUNT_MAX,
        CONFIG_LATER, "SQL statements under way on one shard; 0 = unlimited"),
    INT("server.slow_query_log_ms", server.slow_query_log_ms, "1000", 0, MS_MAX, CONFIG_LATER,
        "statements at least this slow are logged; 0 = off"),

    CHOICE("coordination.backend", coordination.backend, "none", "none|etcd|k8s", 0,
           "how nodes find each other; none = a single node; k8s is of a later version"),
    INT("coordination.initial_shard_count", coordination.initial_shard_count, NULL, 1,
        INITIAL_SHARDS_MAX, 0,
        "shards of a new cluster, 1 with tenancy off and 8 with it on; a stored shard map wins"),
    TEXT("coordination.cluster_prefix", coordination.cluster_prefix, "silo", 0,
         "what the names of the cluster's keys in etcd begin with"),
    INT("coordination.lease_ttl_secs", coordination.lease_ttl_secs, "3", 2, 3600, 0,
        "with etcd, how long a node may be silent before others take over its shards"),
    TEXT("coordination.advertised_grpc_addr", coordination.advertised_grpc_addr, NULL, 0,
         "host:port that clients are told to dial; unset = each is told the one it dialled, "
         "with etcd the one the server listens on"),
    LIST("coordination.etcd_endpoints", coordination.etcd_endpoints, "http://127.0.0.1:2379", 0,
         "servers of one etcd, http://host:port or https://host:port; each is tried in turn"),
    TEXT("coordination.etcd_username", coordination.etcd_username, NULL, 0,
         "user of etcd; unset = etcd asks for none"),
    SECRET("coordination.etcd_password", coordination.etcd_password, "that user's password"),
    TEXT("coordination.etcd_tls_ca", coordination.etcd_tls_ca, NULL, 0,
         "PEM file of the authorities of etcd's certificates; unset = the system's"),
    TEXT("coordination.etcd_tls_cert", coordination.etcd_tls_cert, NULL, 0,
         "PEM file of the certificate that etcd is shown; unset = none"),
    TEXT("coordination.etcd_tls_key", coordination.etcd_tls_key, NULL, 0,
         "PEM file of its private key"),
    TEXT("coordination.etcd_tls_name", coordination.etcd_tls_name, NULL, 0,
         "name that etcd's certificates must have; unset = the endpoint's host"),
    TEXT("coordination.k8s_namespace", coordination.k8s_namespace, "default", CONFIG_LATER,
         "Kubernetes namespace"),
    LIST("coordination.placement_rings", coordination.placement_rings, "", 0,
         "with etcd, this node has shards of these rings alone; unset = default, the ring of "
         "shards that were put into no other"),
    TEXT("coordination.node_id", coordination.node_id, NULL, 0,
         "name of this node that clients are told; unset = a new random one at each start"),
    CHOICE("coordination.forward", coordination.forward, "asked", "never|asked|always", 0,
           "calls for another node's shard: answered with a redirect, or sent on to that node; "
           "asked = those with the header x-silo-forward"),
    TEXT("coordination.peer_tls_ca", coordination.peer_tls_ca, NULL, 0,
         "PEM file of the authorities of other nodes' certificates; unset = the system's"),
    TEXT("coordination.peer_tls_name", coordination.peer_tls_name, NULL, 0,
         "name to find in other nodes' certificates; unset = the host of their address"),

    BOOL("tenancy.enabled", tenancy_enabled, "false", 0,
         "on: every request names its tenant; off: none does"),
    BOOL("webui.enabled", webui_enabled, "true", CONFIG_LATER_OFF, "serve the web UI"),
    ADDR("webui.addr", webui_addr, "127.0.0.1:8080", CONFIG_LATER, "web UI listen address"),
    BOOL("metrics.enabled", metrics_enabled, "true", CONFIG_LATER_OFF, "serve Prometheus metrics"),
    ADDR("metrics.addr", metrics_addr, "127.0.0.1:9090", CONFIG_LATER, "metrics listen address"),
    CHOICE("logging.format", log_format, "text", "text|json", 0, "how log lines look"),
    CHOICE("logging.level", log_level, "info", "debug|info|warn|error|off", 0,
           "least level logged; the variable SILO_LOG goes before it"),
    TEXT("gubernator.address", gubernator.address, NULL, 0,
         "external rate limiter, http://host:port or https://host:port; unset = the built-in one"),
    INT("gubernator.coalesce_interval_ms", gubernator.coalesce_interval_ms, "5", 0, 10000, 0,
        "how long checks wait for others to share a call"),
    INT("gubernator.max_batch_size", gubernator.max_batch_size, "100", 1, 1000, 0,
        "checks in one call; Gubernator itself takes no more than 1000"),
    INT("gubernator.connect_timeout_ms", gubernator.connect_timeout_ms, "5000", 1, MS_MAX, 0,
        "time to connect"),
    INT("gubernator.request_timeout_ms", gubernator.request_timeout_ms, "10000", 1, MS_MAX, 0,
        "time for one call"),

    CHOICE("database.backend", database.backend, "fs", BACKENDS, 0, "where the data lies"),
    TEXT("database.path", database.path, "./silo-data/%shard%", 0,
         "template of each shard's place; %shard% or {shard} stands for its id"),
    BOOL("database.fsync", database.fsync, "true", 0,
         "fs: sync to the disk before a change is acknowledged"),
    BOOL("database.local_log", database.local_log, "true", 0,
         "fs: append the write-ahead log to files; false, for a network file system: "
         "a file for each commit"),
    BOOL("database.lock", database.lock, "true", 0,
         "fs: a second server on the directory, in a cluster one of the same "
         "coordination.node_id, says who has it and ends; false, for a file system without locks"),
    CHOICE("database.dispatch_order", database.dispatch_order, "priority", "priority|start", 0,
           "due work goes out by priority, or by due time first; fixed when a shard is created"),
    CHOICE("database.wal.backend", database.wal_backend, NULL, BACKENDS, 0,
           "a store of its own for the write-ahead log"),
    TEXT("database.wal.path", database.wal_path, NULL, 0, "template of each shard's place in it"),
    BOOL("database.apply_wal_on_close", database.apply_wal_on_close, "true", CONFIG_LATER,
         "move a local write-ahead log into the main store on an orderly close"),
    INT("database.memory_cache.block_cache_bytes", database.block_cache_bytes, "268435456", 1 << 20,
        BYTES_MAX, 0, "cache of data blocks, of the whole process"),
    INT("database.memory_cache.meta_cache_bytes", database.meta_cache_bytes, "134217728", 1 << 20,
        BYTES_MAX, 0, "cache of indexes and filters, of the whole process"),
    DURATION("database.slatedb.flush_interval", database.flush_interval_us, FLUSH_US_MAX,
             "least spacing of write-ahead log uploads; 0ms for fs and memory, 50ms for s3, "
             "gcs and url"),
    INT("database.latency_read_ms", database.latency_read_ms, "0", 0, LATENCY_MS_MAX, 0,
        "for tests and benchmarks: added to each read of the store"),
    INT("database.latency_write_ms", database.latency_write_ms, "0", 0, LATENCY_MS_MAX, 0,
        "for tests and benchmarks: added to each write to the store"),
    INT("database.completed_job_expire_s", database.completed_job_expire_s, "604800", 0,
        SECONDS_MAX, 0, "how long succeeded jobs are kept; 0 = for ever"),
    INT("database.terminal_job_expire_s", database.terminal_job_expire_s, "2592000", 0, SECONDS_MAX,
        0, "how long failed and cancelled jobs are kept; 0 = for ever"),
    INT("database.periodic_full_compaction_s", database.periodic_full_compaction_s, "0", 0,
        SECONDS_MAX, CONFIG_LATER, "period of full compactions; 0 = off"),
    BOOL("database.count_from_status_counters", database.count_from_status_counters, "true",
         CONFIG_LATER, "SQL counts are read from counters where they can be"),

    IGNORED("database.concurrency_reconcile_interval_ms"),
    IGNORED("database.concurrency_reconcile_scan_slice"),
    IGNORED("database.holder_drift_scan_slice"),
    IGNORED("database.counter_reconciliation_seconds"),
    IGNORED("database.hydrate_all_at_startup"),
    IGNORED("database.grant_scanner_batch_size"),
    IGNORED("database.grant_scanner_buffer_size"),
    IGNORED("database.grant_scanner_concurrency"),
    IGNORED("database.grant_scanner_cold_batch_size"),
    IGNORED("database.grant_scanner_commit_chunk_size"),
    IGNORED("database.grant_scanner_next_hop_skip_min_backlog"),
    IGNORED("database.grant_scanner_live_headroom_fraction"),
};

const size_t config_keys_count = sizeof config_keys / sizeof config_keys[0];

_Static_assert(sizeof(enum config_backend) == sizeof(int), "choices are stored as int");
_Static_assert((int)LOG_DEBUG == 0 && (int)LOG_OFF == 4,
               "logging.level lists the levels in their order");

const struct config_key *config_key_find(const char *path)
{
    for (size_t i = 0; i < config_keys_count; i++) {
        if (strcmp(config_keys[i].path, path) == 0) {
            return &config_keys[i];
        }
    }
    return NULL;
}

bool config_table_known(const char *path)
{
    const size_t len = strlen(path);
    for (size_t i = 0; i < config_keys_count; i++) {
        if (strncmp(config_keys[i].path, path, len) == 0 && config_keys[i].path[len] == '.') {
            return true;
        }
    }
    return false;
}

const char *config_type_name(enum config_type type)
{
    switch (type) {
    case CONFIG_T_BOOL:
        return "true or false";
    case CONFIG_T_INT:
        return "an integer";
    case CONFIG_T_STRING:
    case CONFIG_T_SECRET:
        return "a string";
    case CONFIG_T_ADDR:
        return "a string \"IP:port\"";
    case CONFIG_T_CHOICE:
        return "one of the words";
    case CONFIG_T_STRINGS:
        return "an array of strings";
    case CONFIG_T_DURATION:
        return "a duration such as \"50ms\"";
    case CONFIG_T_IGNORED:
        return "anything";
    }
    return "?";
}

static void *key_place(const struct config_key *key, struct silo_config *config)
{
    return (char *)config + key->offset;
}

SILO_RC config_key_set_bool(const struct config_key *key, struct silo_config *config, bool value,
                            struct silo_err *err)
{
    if (key->type != CONFIG_T_BOOL) {
        return FAIL(err, SILO_INVALID, "must be %s, not true or false",
                    config_type_name(key->type));
    }
    *(bool *)key_place(key, config) = value;
    return RC_OK;
}

SILO_RC config_key_set_int(const struct config_key *key, struct silo_config *config, int64_t value,
                           struct silo_err *err)
{
    if (key->type != CONFIG_T_INT) {
        return FAIL(err, SILO_INVALID, "must be %s, not a number", config_type_name(key->type));
    }
    if (value < key->min || value > key->max) {
        return FAIL(err, SILO_INVALID, "must be from %" PRId64 " to %" PRId64 ", not %" PRId64,
                    key->min, key->max, value);
    }
    *(int64_t *)key_place(key, config) = value;
    return RC_OK;
}

/* "IP:port" or "[IPv6]:port". */
static SILO_RC addr_parse(struct arena *arena, const char *text, struct config_addr *ret_addr,
                          struct silo_err *err)
{
    struct config_addr addr = {.text = text};
    const char *colon = strrchr(text, ':');
    const char *host = text;
    size_t host_len = colon != NULL ? (size_t)(colon - text) : 0;
    const bool bracketed = host_len >= 2 && host[0] == '[' && host[host_len - 1] == ']';
    if (bracketed) {
        host++;
        host_len -= 2;
    }
    unsigned char raw[sizeof(struct in6_addr)];
    bool ok = host_len != 0 && host_len < sizeof addr.host;
    if (ok) {
        memcpy(addr.host, host, host_len);
        ok = inet_pton(bracketed ? AF_INET6 : AF_INET, addr.host, raw) == 1;
    }
    char *end = NULL;
    errno = 0;
    const long port = ok && colon[1] >= '0' && colon[1] <= '9' ? strtol(colon + 1, &end, 10) : -1;
    if (!ok || end == NULL || *end != '\0' || errno != 0 || port < 0 || port > UINT16_MAX) {
        return FAIL(err, SILO_INVALID,
                    "must be a literal IP:port such as 127.0.0.1:50051 or [::1]:50051, not \"%s\"",
                    text);
    }
    addr.port = (uint16_t)port;
    addr.text = arena_str(arena, bytes_str(text));
    *ret_addr = addr;
    return RC_OK;
}

/* The place of word in "a|b|c", -1 if it is not there. */
static int choice_find(const char *choices, const char *word)
{
    const size_t len = strlen(word);
    int place = 0;
    for (const char *at = choices; at != NULL; place++) {
        const char *bar = strchr(at, '|');
        const size_t size = bar != NULL ? (size_t)(bar - at) : strlen(at);
        if (size == len && strncmp(at, word, len) == 0) {
            return place;
        }
        at = bar != NULL ? bar + 1 : NULL;
    }
    return -1;
}

static SILO_RC int_parse(const char *text, int64_t *ret_value, struct silo_err *err)
{
    char *end = NULL;
    errno = 0;
    const long long value = strtoll(text, &end, 10);
    if (*text == '\0' || *text == ' ' || *end != '\0' || errno != 0) {
        return FAIL(err, SILO_INVALID, "must be an integer, not \"%s\"", text);
    }
    *ret_value = value;
    return RC_OK;
}

static SILO_RC duration_set(const struct config_key *key, struct silo_config *config,
                            const char *text, struct silo_err *err)
{
    int64_t us = 0;
    if (!config_duration_parse(text, &us)) {
        return FAIL(err, SILO_INVALID,
                    "must be a duration such as \"50ms\", \"5s\" or \"1m\", not \"%s\"", text);
    }
    if (us < key->min || us > key->max) {
        return FAIL(err, SILO_INVALID, "must be at most %" PRId64 "s, not \"%s\"",
                    key->max / 1000000, text);
    }
    *(int64_t *)key_place(key, config) = us;
    return RC_OK;
}

SILO_RC config_key_set_text(const struct config_key *key, struct silo_config *config,
                            const char *text, struct silo_err *err)
{
    int64_t number = 0;
    switch (key->type) {
    case CONFIG_T_BOOL:
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0) {
            return FAIL(err, SILO_INVALID, "must be true or false, not \"%s\"", text);
        }
        return config_key_set_bool(key, config, strcmp(text, "true") == 0, err);
    case CONFIG_T_INT:
        TRY(int_parse(text, &number, err));
        return config_key_set_int(key, config, number, err);
    case CONFIG_T_STRING:
    case CONFIG_T_SECRET:
        if (*text == '\0') {
            return FAIL(err, SILO_INVALID, "must not be empty; leave the key out for its default");
        }
        *(const char **)key_place(key, config) = arena_str(&config->arena, bytes_str(text));
        return RC_OK;
    case CONFIG_T_ADDR:
        return addr_parse(&config->arena, text, key_place(key, config), err);
    case CONFIG_T_CHOICE: {
        const int place = choice_find(key->choices, text);
        if (place < 0) {
            return FAIL(err, SILO_INVALID, "must be one of %s, not \"%s\"", key->choices, text);
        }
        *(int *)key_place(key, config) = place;
        return RC_OK;
    }
    case CONFIG_T_DURATION:
        return duration_set(key, config, text, err);
    case CONFIG_T_STRINGS:
        return FAIL(err, SILO_INVALID, "must be an array of strings, not a string");
    case CONFIG_T_IGNORED:
        return RC_OK;
    }
    return FAIL(err, SILO_INTERNAL, "key of no type");
}

void config_key_set_list(const struct config_key *key, struct silo_config *config,
                         struct config_list list)
{
    ASSERT(key->type == CONFIG_T_STRINGS);
    *(struct config_list *)key_place(key, config) = list;
}

bool config_key_in_vain(const struct config_key *key, const struct silo_config *config)
{
    const void *place = (const char *)config + key->offset;
    const char *fallback = key->fallback != NULL ? key->fallback : "";
    if ((key->flags & CONFIG_LATER) == 0) {
        return false;
    }
    switch (key->type) {
    case CONFIG_T_BOOL:
        return *(const bool *)place !=
               (key->flags != CONFIG_LATER_OFF && strcmp(fallback, "true") == 0);
    case CONFIG_T_INT:
    case CONFIG_T_DURATION:
        return *(const int64_t *)place != strtoll(fallback, NULL, 10);
    case CONFIG_T_STRING:
    case CONFIG_T_SECRET:
        return strcmp(*(const char *const *)place, fallback) != 0;
    case CONFIG_T_ADDR:
        return strcmp(((const struct config_addr *)place)->text, fallback) != 0;
    case CONFIG_T_CHOICE:
        return *(const int *)place != choice_find(key->choices, fallback);
    case CONFIG_T_STRINGS: {
        /* A default list holds one string or none. */
        const struct config_list *list = place;
        return list->count != (*fallback != '\0' ? 1 : 0) ||
               (list->count == 1 && strcmp(list->items[0], fallback) != 0);
    }
    case CONFIG_T_IGNORED:
        break;
    }
    return true;
}

void config_keys_set_defaults(struct silo_config *config)
{
    for (size_t i = 0; i < config_keys_count; i++) {
        const struct config_key *key = &config_keys[i];
        if (key->type == CONFIG_T_STRINGS) {
            /* A default list holds one string or none. */
            struct config_list list = {0};
            if (*key->fallback != '\0') {
                list.items = arena_alloc(&config->arena, sizeof list.items[0]);
                list.items[list.count++] = key->fallback;
            }
            config_key_set_list(key, config, list);
        } else if (key->fallback != NULL) {
            struct silo_err err;
            const silo_rc rc = config_key_set_text(key, config, key->fallback, &err);
            ASSERT(rc.code == SILO_OK);
        }
    }
}
