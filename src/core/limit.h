/*
 * core/limit.h - a job's limits as its token walks through them.
 *
 * A queue that a job names twice counts once, at its first place, against the smallest maximum: the
 * later ones are `repeated`. The line of a queue named both ways is floating, bounded by the fixed
 * maximum.
 *
 * Ownership  the limits lie in the given arena and lend from what they are made of.
 * Threads    no shared state.
 * Limits     JOB_LIMITS_MAX limits of a job.
 */
#ifndef SILO_CORE_LIMIT_H
#define SILO_CORE_LIMIT_H

#include "codec/limit.h"

struct limit {
    enum limit_kind kind; /* FLOATING, too, if the queue's maximum floats by a later limit */
    bool repeated;        /* its queue was named before: nothing to do */
    bool throttles;       /* RATE: its waiters stand in a line, see limit_queue_ref */
    struct bytes key;     /* CONCURRENCY, FLOATING: the queue */
    struct line_id line;  /* where its waiters stand; fixed: line.max is the maximum */
    const struct floating_limit *floating; /* FLOATING */
    const struct rate_limit *rate;         /* RATE */
};

struct limits {
    uint32_t count;
    struct limit *items;
    struct bytes stored; /* the same as rows carry them */
};

/* How the core walks `count` limits that a job names; the array lends from theirs. */
void limits_fill(struct limit *items, const struct limit_rec *recs, uint32_t count);
/* The same in the arena; `stored` is what rows carry of them. */
void limits_make(struct arena *arena, const struct limit_rec *recs, uint32_t count,
                 struct bytes stored, struct limits *ret);
/* Decodes `count` stored limits; false for malformed bytes. */
bool limits_decode(struct arena *arena, struct bytes stored, uint32_t count, struct limits *ret);

/*
 * The queue in whose line a token waits for this limit: all but repeated limits, and rate limits
 * that do not throttle. `key` becomes a queue reference. A rate limit throttles when time alone
 * will let the job through: it may be refused for ever, asks for something and no more than there
 * can be, and does not refill the bucket itself.
 */
void limit_queue_ref(struct key *key, struct bytes tenant_part, const struct limit *limit,
                     struct bytes group);

#endif
