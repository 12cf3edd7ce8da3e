/*
 * core/rig_test.h - one shard that a test drives by hand: a clock that the test moves, random bytes
 * from a seed, calls that are sent and answered.
 *
 * Who runs the shard is an implementation of rig_ops: core_rig_test.h runs a core over rows in
 * memory, shard/shard_rig_test.h a whole shard with its executor over a store. What both need
 * (calls of clients, checks of rows) knows this header alone.
 *
 * Units      mono_us: a clock that never steps; wall_ms: Unix time.
 * Ownership  calls are the caller's until rig_call_free; a call must be done by then.
 * Threads    one; one rig at a time.
 */
#ifndef SILO_CORE_RIG_TEST_H
#define SILO_CORE_RIG_TEST_H

#include "core/core.h"

#define RIG_WALL_MS 1700000000000
/* So many turns in a row in which no time passes. */
#define RIG_SPIN_MAX 20000

struct rig;
struct call;

/* What a kill leaves of the batches that were applied and not durable: always a prefix. */
enum rig_survival { RIG_LOSE, RIG_KEEP_SOME, RIG_KEEP_ALL };

typedef void rig_row_fn(void *context, struct bytes key, struct bytes value);

struct rig_ops {
    /* Begins a life of the shard; settling brings it about. */
    void (*start)(struct rig *rig);
    /* Ends it in order. */
    enum silo_code (*stop)(struct rig *rig);
    /* Ends it at once; calls under way end UNAVAILABLE. */
    void (*kill)(struct rig *rig, enum rig_survival survival);
    struct rig *(*free)(struct rig *rig);
    void (*send)(struct rig *rig, struct call *call);
    /* One turn of who runs the shard; sets next_us. */
    void (*turn)(struct rig *rig);
    /* One operation of a store that is stepped by hand; false: there was none. */
    bool (*complete)(struct rig *rig);
    /* When the store gets on by itself, in the past if it can now; INT64_MAX: never. */
    int64_t (*store_next_us)(const struct rig *rig);
    /* NULL when the shard is not open. */
    struct core *(*core)(const struct rig *rig);
    /* Every row as reads see it, in key order. */
    void (*each_row)(struct rig *rig, rig_row_fn *fn, void *context);
    /* Between two lives: writes a row, or deletes it (BYTES_NONE), behind the back of the shard. */
    void (*tamper)(struct rig *rig, struct bytes key, struct bytes value);
    /* How many were applied since the database was made. */
    uint64_t (*batches)(const struct rig *rig);
};

struct rig {
    const struct rig_ops *ops;
    uint64_t seed;
    uint64_t random;
    int64_t mono_us, wall_ms;
    /* What the last turn said. */
    int64_t next_us;
    /* Before a batch is written; NULL: nobody looks. */
    void (*on_batch)(struct rig *rig);
};

struct call {
    struct command cmd;
    /* The command that travels: `cmd`, or a copy of it whose answer comes back into `cmd`. */
    struct command *sent;
    struct list_node node;
    struct arena arena;
    bool done;
    void (*on_done)(struct call *call);
    void *context;
};

void rig_init(struct rig *rig, const struct rig_ops *ops, uint64_t seed);
struct rig *rig_free(struct rig *rig);
uint64_t rig_random(struct rig *rig);
void rig_random_bytes(struct rig *rig, void *ret_bytes, size_t len);
/* Below bound. */
uint32_t rig_below(struct rig *rig, uint32_t bound);

void rig_start(struct rig *rig);
enum silo_code rig_stop(struct rig *rig);
void rig_kill(struct rig *rig, enum rig_survival survival);
struct core *rig_core(const struct rig *rig);
bool rig_is_open(const struct rig *rig);
void rig_each_row(struct rig *rig, rig_row_fn *fn, void *context);
void rig_tamper(struct rig *rig, struct bytes key, struct bytes value);
uint64_t rig_batches(const struct rig *rig);

/* One turn. */
void rig_turn(struct rig *rig);
/* One turn, and one operation of a store that is stepped by hand. True: there was one. */
bool rig_step(struct rig *rig);
/* Turns until nothing moves but by the clock. */
void rig_settle(struct rig *rig);
/* Lets time pass, from one event to the next. */
void rig_pass(struct rig *rig, int64_t ms);

struct call *rig_call(enum command_kind kind, const char *tenant, const char *id);
struct call *rig_call_free(struct call *call);
void rig_call_done(struct call *call);
void rig_send(struct rig *rig, struct call *call);
/* Sends and settles; the answer must be there. */
void rig_do(struct rig *rig, struct call *call);

#endif
