/*
 * sim/process.h - one server process driven by hand: service, shards and executor on a store in
 * memory. It is started, turned, killed at any moment with all that is on its way, and started
 * again on the same store.
 *
 * Every database a shard opens and every batch it writes pass a hook first.
 *
 * Ownership  the process owns store and all that runs; options lend environment, net and limiter.
 * Threads    one; one process at a time.
 * Limits     PROCESS_SHARDS_MAX.
 */
#ifndef SILO_SIM_PROCESS_H
#define SILO_SIM_PROCESS_H

#include "service/service.h"
#include "shard/shard.h"
#include "sim/net.h"
#include "store_mem/store_mem.h"

#define PROCESS_SHARDS_MAX 2u

struct process_options {
    size_t shard_count;
    bool tenancy;
    enum dispatch_order order;
    int64_t flush_spacing_ms;
    uint32_t wal_objects_max;
    int64_t completed_expire_ms, terminal_expire_ms;
    struct limiter *limiter; /* NULL: the shards' own */
    const struct env *env;
    struct net *net;
    struct store_mem_options store; /* env is filled in; manual */
    /* Before the shard hears of it. */
    void (*on_open)(void *context, size_t shard);
    void (*on_write)(void *context, size_t shard, bool lost, struct bytes batch);
    /* The limiter's checks on their way must come back now. */
    void (*on_dying)(void *context);
    void *context;
};

struct process {
    struct process_options options;
    struct store *store;
    const struct store_ops *real;
    struct store_ops ops; /* the store's, but for open, write and draining */
    struct {
        uint64_t token; /* of an opening under way */
        bool opening;
        struct store_db *db; /* the newest handle */
        bool told;           /* to open, and has not begun to */
        bool taken;          /* by others, since the process last began to open it as it was told */
    } dbs[PROCESS_SHARDS_MAX];
    bool took_back;        /* a shard that others had taken was opened by itself */
    struct shards *shards; /* NULL: no process runs */
    struct executor *executor;
    struct service *service;
    int64_t next_us; /* what the last turn said */
    uint64_t starts;
};

void process_init(struct process *process, const struct process_options *options);
void process_deinit(struct process *process);
const char *process_path(size_t shard);

/* Starts and asks all shards to open; turning brings it about. */
void process_start(struct process *process);
void process_kill(struct process *process, enum store_mem_survival survival);
/* Asks one shard to open: takes back what others took. */
void process_open(struct process *process, size_t shard);
/*
 * Begins an orderly end: polls are answered, shards close. process_closed tells; process_kill ends
 * what is left.
 */
void process_close(struct process *process);
bool process_closed(const struct process *process);
/* Somebody else opens the shard's database and leaves it again. The clock moves by *now_us. */
void process_fence(struct process *process, size_t shard, int64_t *now_us);

/*
 * One turn of the executor and one step of the store; posts to the loop are run. False: nothing
 * moved but the executor.
 */
bool process_turn(struct process *process);
/* Monotonic time of its next event, in the past if one is ready. */
int64_t process_next_us(const struct process *process);

struct shard *process_shard(const struct process *process, size_t shard);
bool process_is_open(const struct process *process);
/* Nothing is on its way, undurable or asked of the store. */
bool process_at_rest(const struct process *process);
struct core_stats;
/* False: the shard is not open. */
bool process_stats(const struct process *process, size_t shard, struct core_stats *ret);

#endif
