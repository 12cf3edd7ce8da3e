/*
 * shard/shard_rig_test.h - a rig that runs one whole shard: its executor, turned by hand, on a
 * store in memory.
 *
 * It plays the process: it starts it, turns its executor, kills it at any point with all that is on
 * its way, and starts it again on the same store. Every database the shard opens and every batch it
 * writes pass a hook first.
 *
 * Ownership  a call travels as a copy of its command, which dies with the answer.
 * Threads    one; one rig at a time.
 */
#ifndef SILO_SHARD_SHARD_RIG_TEST_H
#define SILO_SHARD_SHARD_RIG_TEST_H

#include "core/calls_test.h"
#include "shard/shard.h"
#include "store_mem/store_mem.h"

#define RIG_PATH "shard-0"

struct shard_rig_options {
    uint64_t seed;
    enum dispatch_order order;
    int64_t flush_spacing_ms;
    uint32_t wal_objects_max;
    bool local;              /* its log lies on a disk of this machine */
    struct limiter *limiter; /* NULL: the shard's own */
    int64_t completed_expire_ms, terminal_expire_ms;
    struct store_mem_options store; /* env is filled in */
};

struct shard_rig {
    struct rig rig;
    struct shard_rig_options options;
    struct store *store;
    const struct store_ops *real;
    struct store_ops ops; /* the store's, but for write */
    struct env env;
    struct shards *shards; /* NULL: no process */
    struct shard_ref ref;
    struct shard *shard; /* the one of ref */
    struct executor *executor;
    /* Whether the room an answer takes is given back only by shard_rig_take_answer. */
    bool keeps_answers;
    struct list kept; /* struct sent_call */
    /* Before the shard hears of it. */
    void (*on_open)(void *context, struct store_db *db);
    void (*on_write)(void *context, struct store_db *db, struct bytes ops);
    void *context;
};

struct rig *shard_rig_new(const struct shard_rig_options *options);
/* A rig whose shard is open. */
struct rig *shard_rig_open_with(const struct shard_rig_options *options);
struct rig *shard_rig_open_plain(void);
struct shard_rig *shard_rig_of(const struct rig *rig);

/* Asks it to open the shard: one that was lost to somebody else is taken back. */
void shard_rig_reopen(struct rig *rig);
/* Somebody else opens the database and leaves it again. */
void shard_rig_fence(struct rig *rig);
/* False: the shard's mailbox is full. */
bool shard_rig_try_send(struct rig *rig, struct call *call);
/* The room of this call's answer is free again. */
void shard_rig_take_answer(struct rig *rig, const struct call *call);
enum silo_code shard_rig_control(struct rig *rig,
                                 void (*start)(struct shards *shards, struct shard_ref ref,
                                               struct shard_control *control));

#endif
