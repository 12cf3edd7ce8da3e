/*
 * shard/limiter.h - an external rate limiter as the shards see it: checks go out, verdicts come
 * back.
 *
 * Without one (options.limiter NULL) every shard answers rate limits itself, from buckets in its
 * own storage.
 *
 * Ownership  a check is the caller's from `done` on; until then the limiter's. The bytes it lends
 *            live as long.
 * Threads    check: any thread. done: a thread of the limiter; it only hands the check over to its
 *            own thread.
 * Limits     the limiter's own; what it cannot take it answers at once with LIMITER_ERROR.
 */
#ifndef SILO_SHARD_LIMITER_H
#define SILO_SHARD_LIMITER_H

#include "base/bytes.h"
#include "base/list.h"
#include "base/mailbox.h"

/* ERROR: unreachable, too slow, or an answer that carries an error: never a pass. */
enum limiter_verdict { LIMITER_UNDER, LIMITER_OVER, LIMITER_ERROR };

struct limiter_check {
    struct mail mail;      /* free for the limiter until done, then for the caller */
    struct list_node node; /* likewise */
    struct bytes name, unique_key;
    int64_t hits, limit, duration_ms;
    int32_t algorithm; /* 0 token bucket, 1 leaky bucket */
    int32_t behavior;
    /* The answer. */
    enum limiter_verdict verdict;
    int64_t reset_ms; /* Unix time; 0 = unknown */
    char error[160];
    void (*done)(struct limiter_check *check);
};

struct limiter {
    void (*check)(struct limiter *limiter, struct limiter_check *check);
};

#endif
