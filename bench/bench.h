/*
 * bench/bench.h - the frame of the load generator: options, calls, series, facts, checks, the
 * progress line.
 *
 * A run is one scenario against one server. One loop thread drives all clients by callbacks, so
 * that the load costs little beside the server; the scenario itself runs on the main thread, sets
 * the clients going and waits. What clients count is touched on the loop's thread only; the main
 * thread looks at it with bench_on_loop.
 *
 * Units      times ending in _us are microseconds of the monotonic clock; latencies are measured
 *            from the intended start.
 * Ownership  a struct bench is static and lives as long as the program; strings handed to it are
 *            copied unless noted.
 * Threads    named at each function: "main", "loop" or "any".
 * Limits     BENCH_SERIES_MAX series, BENCH_LINES_MAX facts and as many checks.
 */
#ifndef SILO_BENCH_BENCH_H
#define SILO_BENCH_BENCH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/env.h"
#include "base/list.h"
#include "hist.h"
#include "rpc/rpc.h"
#include "silo.pb-c.h"

#define BENCH_SERIES_MAX 40u
#define BENCH_LINES_MAX 160u
#define BENCH_SHARDS_MAX 2048u
#define BENCH_NODES_MAX 64u
#define BENCH_LEFTOVERS_MAX 64u
#define BENCH_CALL_US (75 * 1000000LL)
#define SILO_PATH(method) "/silo.v1.Silo/" method

/* --- options --- */

/* name on the command line, meaning, least, most */
#define BENCH_NUMBERS(X)                                                                           \
    X(CONNECTIONS, "connections", "HTTP/2 connections", 1, 60000)                                  \
    X(CLIENTS, "clients", "closed loops; with --rate the calls that may be under way", 1, 200000)  \
    X(SECONDS, "seconds", "length of the run", 1, 86400)                                           \
    X(JOBS, "jobs", "jobs in all", 0, 100000000)                                                   \
    X(PAYLOAD, "payload", "bytes of a job's payload", 8, 64 << 20)                                 \
    X(RATE, "rate", "open loop: arrivals a second, in jobs; 0 = closed loop", 0, 10000000)         \
    X(BULK, "bulk", "jobs of one EnqueueMany", 1, 10000)                                           \
    X(BATCH, "batch", "tasks of one lease call", 1, 10000)                                         \
    X(WORKERS, "workers", "workers that lease and report", 1, 200000)                              \
    X(ENQUEUERS, "enqueuers", "clients that enqueue", 1, 100000)                                   \
    X(WAIT_MS, "wait-ms", "how long a poll waits; 0 = polls at once and sleeps 1 ms if empty", 0,  \
      60000)                                                                                       \
    X(TENANTS, "tenants", "tenants", 1, 10000000)                                                  \
    X(KEYS, "keys", "limit keys", 1, 10000000)                                                     \
    X(IMBALANCE, "imbalance", "weight of the first tenant against the last", 1, 1000000)           \
    X(LIMIT, "max-concurrency", "slots of a concurrency key", 1, 1000000)                          \
    X(FLOATS, "floats", "floating limits of a job: from 1 to this many; 0 = none", 0, 32)          \
    X(FLOAT_DEFAULT, "float-default", "slots of a floating limit at first", 1, 1000000)            \
    X(REFRESH_MS, "refresh-ms", "age at which a floating limit is refreshed", 1, 86400000)         \
    X(REFRESH_FAIL, "refresh-fail", "share of refreshes that fail, in percent", 0, 100)            \
    X(DRAIN_SECONDS, "drain-seconds", "longest wait for the last jobs", 1, 3600)                   \
    X(REST_SECONDS, "rest-seconds", "rest of the storage engine before what is measured", 0, 3600) \
    X(ROUNDS, "rounds", "how often it is done", 1, 1000000)                                        \
    X(WARMUP, "warmup", "before the measured part: operations, or seconds", 0, 1000000)            \
    X(HITS, "hits", "hits a second that a rate limit lets through", 1, 1000000)                    \
    X(BATCH_ROWS, "batch-rows", "rows of one batch", 1, 100000)                                    \
    X(ROW_BYTES, "row-bytes", "bytes of a row, key and value", 24, 60000)                          \
    X(ENGINE, "engine", "1 = also measure the engine alone and print the ratio", 0, 1)             \
    X(KILL, "kill", "1 = end the server with SIGKILL instead of an orderly stop", 0, 1)            \
    X(PAUSE, "pause-seconds", "stop a node with SIGSTOP for so long; 0 = end it", 0, 3600)         \
    X(RINGS, "rings", "1 = no node stops, the first shard goes from ring to ring", 0, 1)           \
    X(LEASES, "leases", "tasks that are kept by heartbeats all the time", 0, 100000)               \
    X(SETTLE_MS, "settle-ms", "quiet time between two events", 0, 600000)

enum bench_number {
#define BENCH_NUMBER_ENUM(id, name, meaning, least, most) OPT_##id,
    BENCH_NUMBERS(BENCH_NUMBER_ENUM)
#undef BENCH_NUMBER_ENUM
};
#define BENCH_NUMBER_ONE(id, name, meaning, least, most) +1
enum { BENCH_NUMBERS_COUNT = 0 BENCH_NUMBERS(BENCH_NUMBER_ONE) };

#define BENCH_SETTINGS_MAX 32u

/* What all scenarios understand. */
struct bench_options {
    double numbers[BENCH_NUMBERS_COUNT];
    const char *target, *group, *prefix, *key, *json, *config, *program, *dir, *flush_interval;
    const char *etcd;                         /* program */
    const char *settings[BENCH_SETTINGS_MAX]; /* KEY=VALUE of the server's configuration */
    uint32_t settings_count;
    uint32_t shards, latency_read_ms, latency_write_ms, interval_ms, nodes;
    long pid;
    bool serve, keep, fsync, log;
};

struct bench;

struct preset {
    enum bench_number number;
    double value;
};

enum scenario_server {
    SERVER_ANY,  /* --target or --serve */
    SERVER_OWN,  /* --serve is implied: the scenario restarts it or looks at its files */
    SERVER_NONE, /* needs no server */
};

struct scenario {
    const char *name, *summary, *text;
    const struct preset *presets; /* the options it takes, with their defaults */
    size_t preset_count;
    enum scenario_server server;
    /* Of a server started for it: */
    bool tenancy;
    uint32_t shards;         /* 0 = 1 */
    uint32_t read_ms;        /* latency_read_ms unless the option says otherwise */
    const char *settings[4]; /* further settings, KEY = VALUE */
    void (*run)(struct bench *bench);
};

extern const struct scenario *const bench_scenarios[];
extern const size_t bench_scenarios_count;

/* Returns the exit status, or -1 to go on. */
int bench_options_parse(int argc, char **argv, struct bench_options *options,
                        const struct scenario **ret_scenario);

/* --- series, facts, checks --- */

struct series {
    char name[48];
    struct hist total, interval;
};

struct bench_line {
    char name[64], text[224];
    double value;
    bool ok;
};

/* What /proc tells at one moment of the servers (--pid, --serve), in sum, and of ourselves. */
struct usage {
    int64_t at_us;
    double server_cpu_s, own_cpu_s;
    long rss_kb, rss_peak_kb;
    long written; /* bytes that the server gave to disks */
};

/* What the server has counted so far, all its threads and shards together. */
struct server_counts {
    uint64_t turns, calls, commands, batches, rows, bytes, flushes, reads;
    uint64_t durable, batch_us; /* batches that became durable, and how long that took them */
};

struct bench_shard {
    char id[64], range_start[24], range_end[24];
    /* loop: the node that has it, an index or ROUTE_NOBODY, and the last that had */
    uint32_t node, last_node;
    uint64_t moves; /* how often it went to another node */
};

/* One server; `channels` has bench->channel_count of them. */
struct bench_node {
    char address[272];
    struct rpc_channel **channels;
    struct rpc_channel *control; /* for what is no load: blocking calls, the topology */
    struct list flying;          /* loop: calls under way */
};

struct bench {
    struct bench_options options;
    const struct scenario *scenario;
    struct server *server; /* of our own, or NULL: somebody else's */
    struct rpc_loop *loop;
    uint32_t channel_count;
    struct bench_shard *shards; /* by id */
    uint32_t shard_count;
    bool tenancy;

    /* loop */
    struct bench_node nodes[BENCH_NODES_MAX]; /* route.h */
    uint32_t node_count;
    uint32_t serving[BENCH_NODES_MAX]; /* nodes that have shards */
    uint32_t serving_count;
    bool closing; /* calls that come back now do not count */
    uint64_t calls_open, errors;
    uint64_t redirects, retries; /* tries beyond the first, route.h */
    char first_error[256];
    struct series *series[BENCH_SERIES_MAX];
    uint32_t series_count;

    /* main */
    struct bench_line facts[BENCH_LINES_MAX], checks[BENCH_LINES_MAX];
    uint32_t fact_count, check_count;
    struct {
        const uint64_t *counter, *in, *out; /* lent; in - out = backlog */
        struct series *series;
        uint64_t last;
        int64_t last_us, start_us;
        const char *what;
    } progress;
    double load_before;
    bool counts_known; /* the server answers GetCounters */
    struct server_counts counts_before;
    int64_t counts_us; /* when they were that */
    struct {
        void (*free)(void *thing);
        void *thing;
    } leftovers[BENCH_LEFTOVERS_MAX];
    uint32_t leftover_count;
};

static inline uint32_t opt(const struct bench *bench, enum bench_number number)
{
    return (uint32_t)bench->options.numbers[number];
}

/* A series appears in the final table if it has values. Main, before the loop has work; or loop. */
struct series *bench_series(struct bench *bench, const char *name);
/* Loop. */
void series_add(struct series *series, int64_t us);

/* Main. A figure of the final table; name with its unit: "jobs_per_s". */
void bench_fact(struct bench *bench, double value, const char *name, ...)
    __attribute__((format(printf, 3, 4)));
/* Main. A check that failed makes the exit status 1. */
void bench_check(struct bench *bench, bool ok, const char *text, ...)
    __attribute__((format(printf, 3, 4)));
/* Main. Frees it once no call is under way any more: after the run. */
void bench_free_later(struct bench *bench, void (*free_thing)(void *thing), void *thing);
/* Main. Says what went wrong, ends the server, exits 1. */
_Noreturn void bench_die(const char *text, ...) __attribute__((format(printf, 1, 2)));

struct usage bench_usage(const struct bench *bench);
/*
 * Main. Facts <name>, <name>_per_s, server CPU for each and in cores, since `before`. Returns how
 * many a second.
 */
double bench_rate(struct bench *bench, const char *name, uint64_t count,
                  const struct usage *before);
double bench_seconds_since(int64_t start_us);
double load_average(void);
/* Prints the table; writes --json. Returns the exit status. */
int bench_finish(struct bench *bench);

/* --- waiting --- */

/* Any thread. Whether the run was interrupted (SIGINT, SIGTERM). */
bool bench_interrupted(void);
void bench_catch_signals(void);
/* Main. Runs it on the loop's thread and waits for its end. */
void bench_on_loop(struct bench *bench, void (*run)(void *context), void *context);
/* Main. A counter of the loop's, read there. */
uint64_t bench_read(struct bench *bench, const uint64_t *counter);
/* Main. Answers that come from now on are dropped; what the loop counted may be read afterwards. */
void bench_quiet(struct bench *bench);
/* Main. What the progress line shows from now on; counters are the loop's, lent. */
void bench_watch(struct bench *bench, const char *what, const uint64_t *counter,
                 struct series *series, const uint64_t *in, const uint64_t *out);
/*
 * Main. Waits until `until` (run on the loop; NULL = never) is true, at most `seconds`, with
 * progress lines. False: time ran out, or interrupted.
 */
bool bench_wait(struct bench *bench, double seconds, bool (*until)(void *context), void *context);

/* --- calls --- */

/* One call under way at a time. Zero it, set bench, place, done; series is optional. */
struct call {
    struct rpc_request request;
    struct bench *bench;
    /* Chooses the connection, and the node of a call that names no shard, modulo their number. */
    uint32_t place;
    struct series *series;
    /* Loop. After a good answer. */
    void (*done)(struct call *call);
    /* Loop. After another status; NULL: it is counted as an error and nothing more happens. */
    void (*failed)(struct call *call);
    void *owner;
    uint64_t tag;     /* the owner's */
    int64_t start_us; /* intended start */
    int64_t end_us;   /* when the answer was there */
    uint8_t *message;
    size_t message_cap;
    struct { /* route.c's */
        struct rpc_timer timer;
        struct list_node waiting;
        uint32_t shard, node, tries, redirects;
        int64_t deadline_us, delay_us;
        struct rpc_channel *channel; /* of the try that is under way */
        struct list_node flying;     /* at its node */
        bool woken, abandoned;
        bool unsure; /* a try of it may have been done, and its answer lost */
    } own;
};

/* Loop. `message` is a silo.v1 message, packed at once. start_us 0 = now. */
void call_send(struct call *call, const char *path, const void *message, int64_t start_us);
/* Loop. Counts a failed call and keeps the first text. */
void call_count_error(struct call *call);
void call_deinit(struct call *call);
/* Loop. Whether a report failed because an earlier try was recorded: its task is gone. */
bool call_was_done(const struct call *call);

/* Main. Calls and waits; returns the status. message NULL = empty; ret_us may be NULL. */
uint32_t ask(struct bench *bench, const char *path, const void *message, int64_t *ret_us,
             struct rpc_answer *ret_answer);
/* Likewise, at a node. */
uint32_t ask_node(struct bench *bench, uint32_t node, const char *path, const void *message,
                  struct rpc_answer *ret_answer);
/* The same; anything but OK ends the program. */
void ask_ok(struct bench *bench, const char *path, const void *message, int64_t *ret_us,
            struct rpc_answer *ret_answer);

/* --- shards and messages --- */

/* Main. Connects, finds the shards and whether tenancy is on. */
void bench_connect(struct bench *bench);
/* Main. Ends all calls and frees what was left for that moment. */
void bench_disconnect(struct bench *bench);
/* Any. The shard of a tenant; without one (tenancy off) the n-th in turn. */
const char *bench_shard(const struct bench *bench, const char *tenant, uint64_t n);
/* Any. A MessagePack bin of `bytes` bytes whose first 8 are the stamp. Lives in the arena. */
Silo__V1__SerializedBytes *blob_new(struct arena *arena, size_t bytes, int64_t stamp_us);
/* The stamp of such a payload; 0 when it has none. */
int64_t blob_stamp(const Silo__V1__SerializedBytes *blob);
Silo__V1__SerializedBytes *blob_true(void); /* static */
Silo__V1__Limit *limit_fixed(struct arena *arena, const char *key, uint32_t slots);
Silo__V1__Limit *limit_floating(struct arena *arena, const char *key, uint32_t slots,
                                int64_t refresh_ms);
/* second may be NULL. */
void limits_set(struct arena *arena, Silo__V1__EnqueueRequest *job, Silo__V1__Limit *first,
                Silo__V1__Limit *second);
static inline char *lend(const char *text)
{
    return (char *)(uintptr_t)text; /* protobuf-c's messages are not const */
}
uint64_t bench_random(void);
/* Below n, near enough uniform. */
uint64_t bench_random_below(uint64_t n);

/* --- audits --- */

struct node_counts {
    int64_t total, completed;
};
/* Main. Sums over the shards of the server. */
struct node_counts bench_counts(struct bench *bench);
/* Main, when connected. What the server counts from here on ... */
void bench_counts_begin(struct bench *bench);
/* ... to here becomes facts; nothing where it is an older one that does not tell. */
void bench_counts_say(struct bench *bench);
/* Main. Slots still held by the tenant on its shards (they are freed by asking). */
uint64_t bench_holders(struct bench *bench, const char *tenant);

/* --- servers of our own (main) --- */

void server_start(struct bench *bench);
/* Starts all again on the same data; returns when they accept connections. */
void server_restart(struct bench *bench);
/* Until every shard answers. */
void server_wait_ready(struct bench *bench);
/* signal: SIGTERM or SIGKILL, to all. A bad exit status after SIGTERM is a failed check. */
void server_stop(struct bench *bench, int signal);
/* Ends them if they run and removes their files. */
void server_free(struct bench *bench);
/* How many there are, and each of them by its number. */
uint32_t server_count(void);
long server_pid(uint32_t node); /* 0: it does not run */
const char *server_name(uint32_t node);
const char *server_address(uint32_t node);
void server_launch(struct bench *bench, uint32_t node);
void server_signal(uint32_t node, int signal);
void server_wait_end(struct bench *bench, uint32_t node, bool orderly);
/* Whether its shards are open within so many seconds. */
bool server_wait_node(uint32_t node, double seconds);
/* The address of the etcd that was started, or NULL. */
const char *server_etcd(void);
/* etcd's revision: it rises with each write but keep-alives. 0: there is none, or it is silent. */
uint64_t coord_revision(void);
/* CPU seconds of one of the servers so far. */
double server_cpu_s(uint32_t node);
/*
 * Highest number of a WAL object, summed over all shards: how many were written so far. 0 for
 * another's server.
 */
uint64_t server_wal_objects(const struct bench *bench);

#endif
