/*
 * server/server_int.h - the parts of the process and how they are joined.
 *
 *     signals -> rpc server (bound) -> limiter -> directories (locked) -> store -> coordinator
 *     -> shards -> node -> the first map; from then on shards open
 *     -> service -> rpc server (listening)
 *
 * and down in the opposite order. Everything here runs on the main thread, except that an executor
 * tells the node of its shards and wakes this thread by `wake_fd`, and the watchdog thread of the
 * shutdown.
 *
 * Units      _ms milliseconds of the monotonic clock.
 * Ownership  struct server owns all parts; the configuration is main's.
 * Limits     the constants below.
 */
#ifndef SILO_SERVER_INT_H
#define SILO_SERVER_INT_H

#include "base/env.h"
#include "config/config.h"
#include "coord/coord.h"
#include "directory/directory.h"
#include "limiter/gubernator.h"
#include "node/node.h"
#include "peers/peers.h"
#include "query/statements.h"
#include "rpc/rpc.h"
#include "server/directory_lock.h"
#include "service/service.h"
#include "shard/shard.h"
#include "store/store.h"

/* For each answer of the store to the coordinator; its own retries fit in. Then it asks anew. */
#define SERVER_STORE_TIMEOUT_MS 15000
/* How often the start says that it waits for the storage: to the manager, and in the log. */
#define SERVER_AWAY_TOLD_MS 1000
#define SERVER_AWAY_SAID_MS 60000
/* A coordinator that is away for longer is worth a line; a server of it that restarts is not. */
#define SERVER_COORDINATOR_AWAY_MS 1000
#define SERVER_READY_MS_MAX 60000 /* healthy with some shards open rather than unhealthy for ever */
#define SERVER_TICK_MS 1000       /* how often shards are looked at and engine logs fetched */
#define SERVER_DRAIN_MS 5000      /* for calls under way when the process stops */
#define SERVER_NEVER_OPEN_MS 1000 /* for shards that are still being opened then */
#define SERVER_WAL_OBJECTS_REMOTE 256u
#define SERVER_WAL_OBJECTS_LOCAL 4096u
#define SERVER_WAL_RECORDS_LOCAL 262144u /* of a log; its bytes and its age end it sooner */
#define SERVER_ADDR_MAX 64
#define SERVER_DIRECTORIES 2 /* of local stores: the data's and the write-ahead log's */
/* Open files that connections never get, at most half of all: */
#define SERVER_FILES_RESERVE 256u /* threads' polls and wake-ups, logs, outgoing connections */
#define SERVER_GIVE_BACK_MS 5000
/* Of requests or replies held at a time: a burst worth it. */
#define SERVER_GIVE_BACK_BYTES (64u << 20)
#define SERVER_FILES_PER_SHARD 16u /* files of a shard that storage has open at a time */
#define SILO_SERVICE_NAME "silo.v1.Silo"

/* Who this node is. */
struct server_identity {
    const char *id; /* the configuration's, or random_id */
    char random_id[UUID_TEXT_LEN + 1];
    uint64_t nonce;              /* of this life */
    char bound[SERVER_ADDR_MAX]; /* what the port listens on */
    char own[SERVER_ADDR_MAX];   /* the same with an address that others can dial */
    const char *address;         /* what others are told: the configuration's, or own */
};

struct server {
    const struct silo_config *config;
    const struct env *env;
    int signal_fd;
    int wake_fd; /* eventfd: the node is to be turned */
    struct server_identity identity;

    struct directory_lock *locks[SERVER_DIRECTORIES];
    struct store *store;
    struct coord *coord;
    struct store_queue *node_queue; /* the node's own; NULL = it asks the store nothing */
    struct node *node;
    struct gubernator *gubernator; /* NULL = gubernator.address is not set */
    struct shards *shards;
    struct directory_home directory; /* of use while has_directory */
    bool has_directory;
    struct statements *statements;
    struct peers *peers; /* NULL = calls are never forwarded */
    struct service *service;
    struct rpc_server *rpc;
    uint32_t connections_max; /* what the configuration and the limit on open files allow */
    bool shards_running;

    int64_t started_ms;    /* when the map was there */
    int64_t give_back_ms;  /* when to look next whether memory should go back to the system */
    uint64_t peak_bytes;   /* of requests or replies held since memory went back last */
    bool ready;            /* enough shards were open */
    bool out;              /* the storage takes no changes: health says NOT_SERVING meanwhile */
    bool left_out;         /* other processes have every shard */
    int64_t away_since_ms; /* the coordinator; INT64_MIN: it is there */
    bool away_said;
};

/* --- store_setup.c --- */

/*
 * The engine names files of its local cache after the object's whole path, so all shards may share
 * a folder of this name.
 */
#define STORE_CACHE_SHARD "shards"

/* Whether a write-ahead log of its own has a place that fits that of the data. */
SILO_RC store_wal_check(const struct config_database *database, struct silo_err *err);
/* Makes the directories of local stores and, unless database.lock is off, locks them. */
SILO_RC store_claim(const struct silo_config *config,
                    struct directory_lock *ret_locks[SERVER_DIRECTORIES], struct silo_err *err);
/* The store of the configuration. Nothing is written yet. */
SILO_RC store_setup(const struct silo_config *config, struct store **ret_store,
                    struct silo_err *err);
/* Where WALs lie as it stands in the cluster's record, in the arena; NULL: with the rest. */
const char *store_wal_template(struct arena *arena, const struct silo_config *config);
/* Writes the engine's own log lines to ours. */
void store_log_drain(struct store *store);

/* --- check.c --- */

/*
 * Looks at the files, directories and addresses that the configuration names, says all that is
 * wrong or in vain on standard error, and prints what is in effect. Exit status: 0 good, 1 the
 * server would not start, 2 settings without effect.
 */
int server_check(const struct silo_config *config, const struct config_warnings *warnings);

/* --- descriptors.c --- */

/* Raises the soft limit on open files to the hard one. Before anything is opened. */
void descriptors_raise(void);
/*
 * Connections there may be: `wanted`, or fewer where the limit on open files leaves fewer; that is
 * logged.
 */
uint32_t descriptors_share(uint32_t wanted, size_t shard_count);
/* The same for a limit of that many open files. */
uint32_t descriptors_connections(uint64_t limit, uint32_t wanted, size_t shard_count);

/* --- parts.c --- */

/* Builds everything up to accepting calls. On failure what was built is left for server_free. */
SILO_RC server_build(struct server *server, const struct silo_config *config, int signal_fd,
                     struct silo_err *err);
/*
 * After a build that failed: whether what there is can be taken down. A node may have calls to the
 * storage under way, whose end that would wait for, or shards open.
 */
bool server_can_free(const struct server *server);
/* Takes down what is there; the shards must be closed. */
void server_free(struct server *server);

/* --- retention.c --- */

/* One line of the log: how long ended jobs are kept. */
void retention_say(const struct config_database *database);

/* --- rpc_setup.c --- */

SILO_RC server_build_rpc(struct server *server, struct silo_err *err);

/* --- node_setup.c --- */

/* The coordinator of the configuration, for this node; nothing is asked of it yet. */
SILO_RC coord_setup(const struct server *server, struct coord **ret_coord, struct silo_err *err);
/* Coordinator, shards and node; nothing is asked of them yet. */
SILO_RC server_build_node(struct server *server, struct silo_err *err);
/*
 * Turns the node until it has a map, however long the storage is away. CANCELLED: told to stop;
 * other codes: there will be none.
 */
SILO_RC server_await_map(struct server *server, struct silo_err *err);

/* --- service_setup.c --- */

/* Once the port is bound. */
void server_identify(struct server *server);
/* Makes the service, and listens. */
SILO_RC server_build_service(struct server *server, struct silo_err *err);

/* --- sleep.c --- */

/* Any thread: there is something for the node. */
void server_wake(void *context);
/*
 * Until that time at most, or SERVER_TICK_MS; shorter when there is something for the node, or a
 * signal if these are waited for.
 */
void server_sleep(struct server *server, int64_t until_mono_us, bool signals);

/* --- readiness.c --- */

/* Tells health and manager what has changed about shards and storage. */
void readiness_tick(struct server *server);

/* --- coordinator.c --- */

/* Logs what has changed about the coordinator. False: the process has to end, at once. */
bool coordinator_tick(struct server *server);

/* --- signals.c --- */

/* Blocks the signals we handle in this thread and all it starts; *ret_fd reads them. */
SILO_RC signals_init(int *ret_fd, struct silo_err *err);
/* The next pending signal, 0 if there is none. */
int signals_take(int fd);
/*
 * From now on a stop signal, or passing deadline_ms, ends the process at once. What was
 * acknowledged is durable, so nothing is lost by that.
 */
void signals_watchdog(int fd, const struct env *env, int64_t deadline_ms);

/* --- run.c --- */

/* Serves until a stop signal came; returns it. 0: the process has to end at once. */
int server_run(struct server *server);
/* Stops serving and closes the shards; exit status. *ret_clean: the parts can be taken down now. */
int server_shutdown(struct server *server, int signal_number, bool *ret_clean);

#endif
