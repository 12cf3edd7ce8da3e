/*
 * shard/rig_test.h - one shard driven by hand on a store in memory, a clock that the test moves and
 * random bytes from a seed.
 *
 * The rig plays the process: it starts it, turns its executor, kills it at any point with all that
 * is on its way, and starts it again on the same store. Every database the shard opens and every
 * batch it writes pass a hook first.
 *
 * Ownership  calls are the caller's until rig_call_free; a call must be done by then.
 * Threads    one; one rig at a time.
 */
#ifndef SILO_SHARD_RIG_TEST_H
#define SILO_SHARD_RIG_TEST_H

#include "shard/shard.h"
#include "store_mem/store_mem.h"

#define RIG_PATH "shard-0"
#define RIG_WALL_MS 1700000000000
#define RIG_SPIN_MAX 20000 /* turns in a row in which no time passes */

struct rig_options {
    uint64_t seed;
    enum dispatch_order order;
    int64_t flush_spacing_ms;
    uint32_t wal_objects_max;
    struct limiter *limiter; /* NULL: the shard's own */
    int64_t completed_expire_ms, terminal_expire_ms;
    struct store_mem_options store; /* env is filled in */
};

struct rig {
    struct rig_options options;
    struct store *store;
    const struct store_ops *real;
    struct store_ops ops; /* the store's, but for write */
    struct env env;
    int64_t mono_us, wall_ms;
    uint64_t random;
    struct shards *shards; /* NULL: no process */
    struct shard *shard;
    struct executor *executor;
    int64_t next_us;                                     /* what the last turn said */
    uint64_t write_hash;                                 /* of every byte written */
    void (*on_open)(void *context, struct store_db *db); /* before the shard hears of it */
    void (*on_write)(void *context, struct store_db *db, struct bytes ops);
    void *context;
};

struct call {
    struct shard_request request;
    struct arena arena;
    bool done;
    void (*on_done)(struct call *call);
    void *context;
};

struct rig *rig_new(const struct rig_options *options);
struct rig *rig_free(struct rig *rig);
uint64_t rig_random(struct rig *rig);
/* Below bound. */
uint32_t rig_below(struct rig *rig, uint32_t bound);

/* Starts a process and asks it to open the shard; rig_settle brings it about. */
void rig_start(struct rig *rig);
/* Asks it to open the shard: one that was lost to somebody else is taken back. */
void rig_open(struct rig *rig);
/* Closes the shard, settles, ends the process. How closing went. */
enum silo_code rig_stop(struct rig *rig);
/* The process is gone: calls under way end UNAVAILABLE. */
void rig_kill(struct rig *rig, enum store_mem_survival survival);
/* Somebody else opens the database and leaves it again. */
void rig_fence(struct rig *rig);
enum silo_code rig_control(struct rig *rig,
                           void (*start)(struct shard *shard, struct shard_control *control));

/* One turn of the executor. */
void rig_turn(struct rig *rig);
/* One turn, and one step of a store that is stepped by hand. True: it completed something. */
bool rig_step(struct rig *rig);
/* Turns until nothing moves but by the clock. */
void rig_settle(struct rig *rig);
/* Lets time pass, from one event to the next. */
void rig_pass(struct rig *rig, int64_t ms);
bool rig_is_open(const struct rig *rig);

struct call *rig_call(enum command_kind kind, const char *tenant, const char *id);
struct call *rig_call_free(struct call *call);
void rig_send(struct rig *rig, struct call *call);
/* Sends and settles; the answer must be there. */
void rig_do(struct rig *rig, struct call *call);

#endif
