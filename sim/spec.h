/*
 * sim/spec.h - what simulated jobs are asked to be: a number, from which all is derived, and which
 * their payload begins with.
 *
 * Units      _ms: milliseconds.
 * Threads    no shared state.
 */
#ifndef SILO_SIM_SPEC_H
#define SILO_SIM_SPEC_H

#include "base/arena.h"
#include "codec/record.h"
#include "silo.pb-c.h"

#define SPEC_GROUPS 4u
#define SPEC_LIMITS_MAX 4u

/* The same for all jobs of a run. */
struct spec_world {
    uint64_t salt;
    bool limits, rates, zeros; /* jobs have limits, also rate limits, also maxima of 0 */
    uint32_t groups;
    uint32_t tight; /* percentage of jobs with limits */
};

enum spec_limit_kind { SPEC_FIXED, SPEC_FLOATING, SPEC_RATE };

struct spec_limit {
    enum spec_limit_kind kind;
    char key[16];
    uint32_t max;        /* FIXED; FLOATING: default */
    int64_t interval_ms; /* FLOATING */
    int64_t duration_ms; /* RATE, from here on */
    int32_t hits;
    int64_t limit;
    bool leaky, has_policy;
    int64_t backoff_ms, backoff_max_ms;
    uint32_t max_retries;
};

struct spec {
    char group[8];
    uint8_t priority;
    bool has_retry;
    struct retry_policy retry;
    size_t payload_len;
    uint32_t pairs;
    uint32_t limit_count;
    struct spec_limit limits[SPEC_LIMITS_MAX];
    bool stuck; /* a maximum of 0: only LeaseTask or a cancel ends it */
};

struct spec spec_of(const struct spec_world *world, uint32_t number);
/* The parts of a request; all memory is the arena's. */
Silo__V1__Limit **spec_limits(struct arena *arena, const struct spec *spec, size_t *ret_count);
Silo__V1__RetryPolicy *spec_retry(struct arena *arena, const struct spec *spec);
Silo__V1__SerializedBytes *spec_payload(struct arena *arena, const struct spec *spec,
                                        uint32_t number);
/* Value of the metadata pair "k<i>". */
#define SPEC_PAIR_VALUE "value"
/* Which of the SPEC_GROUPS it is. */
uint32_t spec_group_index(struct bytes group);
/* The number a payload begins with; 0 when it is too short. */
uint32_t spec_number(struct bytes payload);

#endif
