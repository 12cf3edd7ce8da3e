/*
 * codec/limit.h - a job's limits in their stored form: encoded `Limit` messages, one item each
 * (item_append).
 *
 * What is stored is complete: an absent retry policy of a rate limit is filled in, 0 hits become 1
 * (the wire cannot tell them from absent ones, and nobody names a limit to take nothing from it),
 * unknown algorithms become TOKEN_BUCKET, maps are sorted with the last of equal keys kept, and
 * fields this build does not know are dropped. So equal limits have equal bytes, and readers need
 * no defaults of their own.
 *
 * Ownership  unpacked messages lie in the given arena.
 * Threads    no shared state.
 */
#ifndef SILO_CODEC_LIMIT_H
#define SILO_CODEC_LIMIT_H

#include "base/arena.h"
#include "base/buf.h"
#include "codec/key.h"
#include "silo.pb-c.h"

#define RATE_RETRY_INITIAL_MS 100
#define RATE_RETRY_MAX_MS 30000
#define RATE_RETRY_MULTIPLIER 2.0

/* False, and nothing appended, for a limit that has no member set (such a limit is dropped). */
bool limit_append(struct buf *buf, struct arena *scratch, const Silo__V1__Limit *limit);
/* Of one stored item; NULL for malformed bytes. */
Silo__V1__Limit *limit_unpack(struct arena *arena, struct bytes item);

enum limit_kind { LIMIT_CONCURRENCY, LIMIT_FLOATING, LIMIT_RATE };

/*
 * One limit as the core walks it. A queue that a job names twice counts once, at its first place,
 * against the smallest maximum: the later ones are `repeated`. The line of a queue named both ways
 * is floating, bounded by the fixed maximum.
 */
struct limit {
    enum limit_kind kind;
    bool repeated;       /* its queue was named before: nothing to do */
    bool throttles;      /* RATE: its waiters stand in a line, see limit_queue_ref */
    struct bytes key;    /* CONCURRENCY, FLOATING: the queue */
    struct line_id line; /* where its waiters stand; fixed: line.max is the maximum */
    const Silo__V1__FloatingConcurrencyLimit
        *floating;                             /* FLOATING; also for a queue named both ways */
    const Silo__V1__GubernatorRateLimit *rate; /* RATE; its retry_policy is set */
};

struct limits {
    uint32_t count;
    struct limit *items;
};

/*
 * The queue in whose line a token waits for this limit: all but repeated limits, and rate limits
 * that do not throttle. `key` becomes a queue reference. A rate limit throttles when time alone
 * will let the job through: it may be refused for ever, asks for something and no more than there
 * can be, and does not refill the bucket itself.
 */
void limit_queue_ref(struct key *key, struct bytes tenant_part, const struct limit *limit,
                     struct bytes group);

/* Decodes `count` stored items into the arena; false for malformed bytes. */
bool limits_decode(struct arena *arena, struct bytes items, uint32_t count, struct limits *ret);

#endif
