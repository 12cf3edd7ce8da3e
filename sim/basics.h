/*
 * sim/basics.h - what all parts of the simulator stand on: random numbers of a seed, the trace, a
 * verdict, timed events.
 *
 * Units      _us: microseconds of the simulated monotonic clock.
 * Ownership  each struct owns what it allocated; an event's context is lent.
 * Threads    one.
 * Limits     the first failure of a run is kept, later ones are ignored.
 */
#ifndef SILO_SIM_BASICS_H
#define SILO_SIM_BASICS_H

#include <stdio.h>
#include <xxhash.h>

#include "base/assert.h"
#include "base/bytes.h"

/* --- random numbers (splitmix64) --- */

struct sim_random {
    uint64_t state;
};

uint64_t random_next(struct sim_random *random);
/* Below bound, which is not 0. */
uint32_t random_below(struct sim_random *random, uint32_t bound);
/* True once in `of` times. */
bool random_one_in(struct sim_random *random, uint32_t of);
int64_t random_between(struct sim_random *random, int64_t least, int64_t greatest);

/* --- the trace --- */

/* Every line is hashed; two runs are the same if their hashes are. */
struct trace {
    bool print;
    uint64_t lines;
    XXH64_state_t *hash;
};

void trace_init(struct trace *trace, bool print);
void trace_deinit(struct trace *trace);
void trace_line(struct trace *trace, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
uint64_t trace_hash(const struct trace *trace);

/* --- what went wrong --- */

struct verdict {
    bool failed;
    char rule[24]; /* as docs/internals/rules.md names it: SE3, DI1, ... */
    char text[600];
};

/* Always false, so that a check can return it. */
bool verdict_fail(struct verdict *verdict, const char *rule, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* --- events --- */

/* Embedded by whoever waits for a time; all zero when idle. */
struct event {
    int64_t at_us;
    uint64_t number; /* equal times: the order of the calls */
    size_t place;    /* in the heap, from 1; 0: idle */
    void (*run)(struct event *event);
};

struct events {
    struct event **heap;
    size_t count, cap;
    uint64_t next_number;
};

void events_deinit(struct events *events);
void event_at(struct events *events, struct event *event, int64_t at_us,
              void (*run)(struct event *event));
void event_cancel(struct events *events, struct event *event);
/* Time of the first; INT64_MAX when there is none. */
int64_t events_next_us(const struct events *events);
/* Runs the first one that is due; false when none is. */
bool events_run_one(struct events *events, int64_t now_us);

#endif
