/*
 * sim/world.h - one run: processes on one store, their network, clients, workers, operators and
 * all that goes wrong, from one seed.
 *
 *     world_init -> world_run -> world_deinit
 *
 * A run has `steps` random steps; then faults end, workers take all there is, and every job must
 * come to its end and leave nothing behind. The verdict says what was violated first.
 *
 * Units      now_us: monotonic clock; wall_ms: Unix time. Each process has clocks of its own.
 * Threads    one.
 */
#ifndef SILO_SIM_WORLD_H
#define SILO_SIM_WORLD_H

#include "sim/calls.h"
#include "sim/coordinator.h"
#include "sim/guards.h"
#include "sim/rate.h"

#define WORKERS_MAX 6
#define PROCESSES_MAX 5

struct world_options {
    uint64_t seed;
    uint32_t steps;
    uint32_t processes; /* 1, or as many as share the shards by a coordinator */
    bool print;
    /* Where the run reports how far it is; may be NULL. */
    volatile uint32_t *step;
};

/* What a seed makes of a run. */
struct profile {
    size_t shard_count;
    bool tenancy, faulty, external, retention, operators, cuts, skewed;
    bool twins; /* two processes have one node id */
    uint32_t worker_count;
};

/* A worker's calls about cancellations in one shard. */
#define LISTENER_KNOWN_MAX 8u
struct listener {
    struct worker *worker; /* NULL: it does not ask there */
    size_t shard;
    struct event wake;
    struct client_call *call;                /* NULL: none is under way */
    struct mtask *known[LISTENER_KNOWN_MAX]; /* that were told, oldest first */
    size_t known_count;
};

struct worker {
    struct world *world;
    struct event wake;
    char name[16], group[8];
    int shard; /* -1: all */
    uint32_t tasks_max, wait_ms, number;
    bool polling;
    struct listener listeners[PROCESS_SHARDS_MAX];
};

/* A task in a worker's hands. */
struct work {
    struct event event;
    struct list_node node;
    struct world *world;
    struct mtask *task;
    struct mrefresh *refresh;
    char worker[16];
    int64_t beat_us, report_us; /* next heartbeat, 0: none; when it is done, 0: never */
    uint32_t reports;           /* still to be made */
    enum attempt_status status;
    bool success;
    uint32_t value;
    bool returns; /* it is not begun: it goes back instead of being reported */
};

/* What happens to a process that is in trouble, and when that ends. */
struct node_trouble {
    struct event event; /* first */
    struct world *world;
    uint32_t process;
    bool leaving; /* it was told to stop in order */
};

struct world {
    struct {
        bool tenancy;
    } options;
    struct world_options run;
    struct profile profile;
    struct spec_world specs;
    struct sim_random random;     /* of what happens */
    struct sim_random env_random; /* of what processes ask for */
    struct trace trace;
    struct verdict verdict;
    struct events events;
    int64_t now_us, wall_ms;
    int64_t true_ms; /* as wall_ms, but that it never jumps */
    struct env env;  /* the store's clock */
    struct store *store;
    struct net net;
    struct process processes[PROCESSES_MAX];
    size_t process_count;
    /* With more than one process; nodes.c's. */
    struct coordinator coordinator;
    struct guards guards;
    struct node_trouble troubles[PROCESSES_MAX];
    struct event coordinator_returns;
    int64_t coordinator_back_us;           /* when it returned last */
    uint32_t guess[PROCESS_SHARDS_MAX];    /* the process that clients ask first */
    uint32_t forced[PROCESS_SHARDS_MAX];   /* operators who wait for a release by force */
    uint64_t epochs[PROCESS_SHARDS_MAX];   /* of the newest opening that was told of */
    int64_t opened_us[PROCESS_SHARDS_MAX]; /* when a process opened it last, and which */
    uint32_t openers[PROCESS_SHARDS_MAX];
    struct model model;
    struct rate_limiter rate;
    struct worker workers[WORKERS_MAX];
    struct list works;       /* struct work.node */
    struct list held_polls;  /* struct client_call.node */
    struct list held_awaits; /* the same */
    uint32_t spec_count, fresh_count, step;
    bool outage, draining, finishing, drop_under_way;
    bool clock_is_off; /* for a moment: a process that began now would believe it */
    uint32_t lacks;    /* bit: an api this build answers UNIMPLEMENTED */
};

void world_init(struct world *world, const struct world_options *options);
void world_deinit(struct world *world);
/* False when something was violated. */
bool world_run(struct world *world);

/* --- what its files share --- */

static inline bool world_failed(const struct world *world)
{
    return world->verdict.failed;
}
static inline uint32_t below(struct world *world, uint32_t bound)
{
    return random_below(&world->random, bound);
}
static inline bool one_in(struct world *world, uint32_t of)
{
    return random_one_in(&world->random, of);
}

/* A tenant of the shard, as a call names it; "-" with tenancy off. */
const char *world_tenant(struct world *world, size_t shard);
/* The build answers such calls UNIMPLEMENTED: they are not made again. */
void world_lacks(struct world *world, enum api api, const struct item *item);
/*
 * One turn of everything (false: nothing moved); then no time passes until nothing moves but by the
 * clock; then time.
 */
bool world_turn(struct world *world);
void world_settle(struct world *world);
void world_pass(struct world *world, int64_t ms);

/* Stamps of earlier lives may lie ahead of those to come. */
void world_wall_fell(struct world *world);

/* clients.c */
void clients_enqueue(struct world *world, bool bulk);
void clients_step(struct world *world);
void operators_step(struct world *world);
/* workers.c */
void workers_start(struct world *world);
void workers_free(struct world *world);
/* Every worker stops what it does; from now on all work succeeds at once. */
void workers_drain(struct world *world);
void workers_random_report(struct world *world);
/* Somebody asks, in the name of a worker that had a task at some time, what is cancelled. */
void workers_random_await(struct world *world);
/* A worker hears that its task is cancelled. */
void work_cancelled(struct world *world, const struct mtask *task);
/* A worker hears the answer to LeaseTask. */
void worker_leased(struct client_call *call);
/* listeners.c */
void listeners_start(struct worker *worker);
/* The worker died. Another takes its place, unless all work is being drained. */
void listeners_die(struct worker *worker);
/* faults.c */
void faults_open_wait(struct world *world);
void faults_restart(struct world *world);
void faults_trouble(struct world *world);
void faults_calm(struct world *world);
void faults_supervise(struct world *world);

/*
 * nodes.c: several processes and their coordinator. One process alone has none: then only
 * world_host and its two sisters are of use.
 */
void nodes_init(struct world *world);
void nodes_deinit(struct world *world);
void nodes_start(struct world *world);
void nodes_trouble(struct world *world);
/* The process exits if it found that it must. */
void nodes_exit(struct world *world, uint32_t process);
/* Whatever ails them ends now. */
void nodes_calm(struct world *world);
/* Each shard is open where its record says. */
bool nodes_open(const struct world *world);
/* Into the trace: who has what. */
void nodes_tell(struct world *world);
/* Where a client's call about the shard goes; PROCESS_SHARDS_MAX: about all of them. */
struct net_host *world_host(struct world *world, size_t shard);
void nodes_heard(struct world *world, const struct rpc_call *rpc, size_t shard);
/* The answer says that the shard is another node's. */
bool nodes_elsewhere(const struct world *world, uint32_t status, const char *text);
/* Whoever answered did for the shard what it was asked for, not before that time. */
void nodes_answered(struct world *world, const struct net_host *host, size_t shard, int64_t at_us);
/* Whoever answered does not serve the shard. */
bool nodes_astray(const struct world *world, const struct net_host *host, size_t shard);
/*
 * Another process has opened the shard so short a time ago that this one's proof that it is its own
 * still counts: what it reads may be outdated.
 */
bool nodes_outdated(const struct world *world, const struct net_host *host, size_t shard,
                    int64_t begun_us);
/* Its clients' process of the shard is this one. */
bool nodes_serves(const struct world *world, const struct net_host *host, size_t shard);

#endif
