/*
 * sim/rate.h - a rate limiter outside the process: spans of time that count hits, answers that
 * come late, never, or as errors.
 *
 * Ownership  checks are the limiter's from `check` to `done`.
 * Threads    one.
 */
#ifndef SILO_SIM_RATE_H
#define SILO_SIM_RATE_H

#include "shard/limiter.h"
#include "sim/model.h"

enum rate_mood { RATE_FINE, RATE_SLOW, RATE_ERRORS, RATE_DOWN };

#define RATE_DOORS_MAX 5u /* processes that ask it */

struct rate_limiter;

/* What the shards of one process see of it. */
struct rate_door {
    struct limiter limiter; /* first */
    struct rate_limiter *rate;
};

struct rate_limiter {
    struct rate_door doors[RATE_DOORS_MAX];
    struct events *events;
    struct sim_random *random;
    struct model *model;
    struct trace *trace;
    const int64_t *now_us, *wall_ms;
    enum rate_mood mood;
    struct list calls; /* struct rate_call.node: checks under way, oldest first */
    size_t call_count;
    struct map spans; /* of each name and key: the hits since it began */
};

void rate_init(struct rate_limiter *rate);
void rate_deinit(struct rate_limiter *rate);
/* The process that asked is gone: every check comes back now, as an error. */
void rate_hang_up(struct rate_limiter *rate, const struct rate_door *door);

#endif
