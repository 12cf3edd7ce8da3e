/*
 * sim/spec.c - a hash of the number is cut into choices. Few queues with small maxima, so that jobs
 * meet.
 */
#include "sim/spec.h"

#include <stdio.h>
#include <xxhash.h>

/* Takes choices off a hash; fresh bits for each number of the sequence. */
struct choice {
    uint64_t seed, number;
};

static uint32_t choose(struct choice *choice, uint32_t bound)
{
    const uint64_t in[2] = {choice->seed, choice->number++};
    return (uint32_t)(XXH64(in, sizeof in, 0) % bound);
}

static void limit_choose(struct choice *choice, const struct spec_world *world,
                         struct spec_limit *limit)
{
    const uint32_t what = choose(choice, world->rates ? 8 : 6);
    if (what < 4) {
        const uint32_t queue = choose(choice, 4);
        limit->kind = SPEC_FIXED;
        (void)snprintf(limit->key, sizeof limit->key, "q%u", queue);
        /* q0 and q1 admit one; the others differ from job to job. */
        limit->max = queue < 2 ? 1 : 1 + choose(choice, 3);
        if (world->zeros && choose(choice, 60) == 0) {
            limit->max = 0;
        }
    } else if (what < 6) {
        static const int64_t intervals[] = {200, 1000, 3000, 60000};
        limit->kind = SPEC_FLOATING;
        /* f1 has the name of a queue with fixed limits, at times. */
        (void)snprintf(limit->key, sizeof limit->key, "%s",
                       choose(choice, 8) == 0   ? "q3"
                       : choose(choice, 2) == 0 ? "f0"
                                                : "f1");
        limit->max = choose(choice, 3);
        limit->interval_ms = intervals[choose(choice, 4)];
    } else {
        static const int64_t durations[] = {300, 1000, 5000};
        limit->kind = SPEC_RATE;
        const uint32_t which = choose(choice, 3);
        (void)snprintf(limit->key, sizeof limit->key, "r%u", which);
        limit->leaky = which == 2;
        limit->limit = 1 + which;
        limit->duration_ms = durations[which];
        limit->hits = choose(choice, 12) == 0 ? 0 : 1;
        limit->has_policy = choose(choice, 3) != 0;
        limit->backoff_ms = 20 + choose(choice, 200);
        limit->backoff_max_ms = 500 + choose(choice, 2000);
        limit->max_retries = choose(choice, 4);
        if (choose(choice, 12) == 0) { /* never passes: more than there can ever be */
            limit->hits = (int32_t)limit->limit + 1;
            limit->has_policy = true;
            limit->max_retries = 1 + choose(choice, 2);
        }
    }
}

static void limits_choose(struct choice *choice, const struct spec_world *world, struct spec *spec)
{
    if (!world->limits || choose(choice, 100) >= world->tight) {
        return;
    }
    static const uint32_t counts[] = {1, 1, 1, 2, 2, 2, 3, 4};
    spec->limit_count = counts[choose(choice, 8)];
    for (uint32_t i = 0; i < spec->limit_count; i++) {
        limit_choose(choice, world, &spec->limits[i]);
        spec->stuck |= spec->limits[i].kind == SPEC_FIXED && spec->limits[i].max == 0;
    }
    if (spec->limit_count >= 2 && choose(choice, 10) == 0) {
        spec->limits[1] = spec->limits[0]; /* the same one twice */
    }
}

struct spec spec_of(const struct spec_world *world, uint32_t number)
{
    struct choice choice = {.seed = world->salt + number};
    struct spec spec = {.priority = (uint8_t)(choose(&choice, 3) * 40),
                        .has_retry = choose(&choice, 2) == 0,
                        .pairs = choose(&choice, 8) == 0 ? 2 : 0};
    const uint32_t group = choose(&choice, 2) == 0 ? 0 : choose(&choice, world->groups);
    (void)snprintf(spec.group, sizeof spec.group, "g%u", group & 7);
    spec.payload_len = choose(&choice, 24) == 0 ? 5000 : 8 + choose(&choice, 30);
    static const int64_t initials[] = {0, 1, 20, 700, 2000};
    static const double factors[] = {0, 1, 2, 3.5};
    spec.retry = (struct retry_policy){.retry_count = choose(&choice, 4),
                                       .initial_ms = initials[choose(&choice, 5)],
                                       .max_ms = choose(&choice, 2) == 0 ? 0 : 3000,
                                       .factor = factors[choose(&choice, 4)],
                                       .jitter = choose(&choice, 2) == 0};
    limits_choose(&choice, world, &spec);
    return spec;
}

uint32_t spec_group_index(struct bytes group)
{
    return (uint32_t)(group.ptr[1] - '0') % SPEC_GROUPS;
}

static Silo__V1__Limit *limit_fixed(struct arena *arena, const struct spec_limit *from)
{
    Silo__V1__Limit *limit = arena_alloc(arena, sizeof *limit);
    silo__v1__limit__init(limit);
    limit->limit_case = SILO__V1__LIMIT__LIMIT_CONCURRENCY;
    limit->concurrency = arena_alloc(arena, sizeof *limit->concurrency);
    silo__v1__concurrency_limit__init(limit->concurrency);
    limit->concurrency->key = arena_str(arena, bytes_str(from->key));
    limit->concurrency->max_concurrency = from->max;
    return limit;
}

static Silo__V1__Limit *limit_floating(struct arena *arena, const struct spec_limit *from)
{
    Silo__V1__Limit *limit = arena_alloc(arena, sizeof *limit);
    silo__v1__limit__init(limit);
    limit->limit_case = SILO__V1__LIMIT__LIMIT_FLOATING_CONCURRENCY;
    Silo__V1__FloatingConcurrencyLimit *floating = arena_alloc(arena, sizeof *floating);
    silo__v1__floating_concurrency_limit__init(floating);
    limit->floating_concurrency = floating;
    floating->key = arena_str(arena, bytes_str(from->key));
    floating->default_max_concurrency = from->max;
    floating->refresh_interval_ms = from->interval_ms;
    return limit;
}

static Silo__V1__Limit *limit_rate(struct arena *arena, const struct spec_limit *from)
{
    Silo__V1__Limit *limit = arena_alloc(arena, sizeof *limit);
    silo__v1__limit__init(limit);
    limit->limit_case = SILO__V1__LIMIT__LIMIT_RATE_LIMIT;
    Silo__V1__GubernatorRateLimit *rate = arena_alloc(arena, sizeof *rate);
    silo__v1__gubernator_rate_limit__init(rate);
    limit->rate_limit = rate;
    rate->name = arena_str(arena, bytes_str(from->key));
    rate->unique_key = arena_str(arena, BYTES_LIT("u"));
    rate->limit = from->limit;
    rate->duration_ms = from->duration_ms;
    rate->hits = from->hits;
    rate->algorithm = from->leaky
                          ? SILO__V1__GUBERNATOR_ALGORITHM__GUBERNATOR_ALGORITHM_LEAKY_BUCKET
                          : SILO__V1__GUBERNATOR_ALGORITHM__GUBERNATOR_ALGORITHM_TOKEN_BUCKET;
    if (from->has_policy) {
        rate->retry_policy = arena_alloc(arena, sizeof *rate->retry_policy);
        silo__v1__rate_limit_retry_policy__init(rate->retry_policy);
        rate->retry_policy->initial_backoff_ms = from->backoff_ms;
        rate->retry_policy->max_backoff_ms = from->backoff_max_ms;
        rate->retry_policy->backoff_multiplier = 2;
        rate->retry_policy->max_retries = from->max_retries;
    }
    return limit;
}

Silo__V1__Limit **spec_limits(struct arena *arena, const struct spec *spec, size_t *ret_count)
{
    Silo__V1__Limit **limits = arena_alloc(arena, (spec->limit_count + 1) * sizeof(void *));
    for (uint32_t i = 0; i < spec->limit_count; i++) {
        const struct spec_limit *from = &spec->limits[i];
        switch (from->kind) {
        case SPEC_FIXED:
            limits[i] = limit_fixed(arena, from);
            break;
        case SPEC_FLOATING:
            limits[i] = limit_floating(arena, from);
            break;
        case SPEC_RATE:
            limits[i] = limit_rate(arena, from);
            break;
        }
    }
    *ret_count = spec->limit_count;
    return limits;
}

Silo__V1__RetryPolicy *spec_retry(struct arena *arena, const struct spec *spec)
{
    Silo__V1__RetryPolicy *retry = arena_alloc(arena, sizeof *retry);
    silo__v1__retry_policy__init(retry);
    retry->retry_count = spec->retry.retry_count;
    retry->initial_interval_ms = spec->retry.initial_ms;
    retry->max_interval_ms = spec->retry.max_ms;
    retry->randomize_interval = spec->retry.jitter;
    retry->backoff_factor = spec->retry.factor;
    return retry;
}

Silo__V1__SerializedBytes *spec_payload(struct arena *arena, const struct spec *spec,
                                        uint32_t number)
{
    Silo__V1__SerializedBytes *payload = arena_alloc(arena, sizeof *payload);
    silo__v1__serialized_bytes__init(payload);
    payload->encoding_case = SILO__V1__SERIALIZED_BYTES__ENCODING_MSGPACK;
    payload->msgpack.len = spec->payload_len;
    payload->msgpack.data = arena_zalloc(arena, spec->payload_len);
    memcpy(payload->msgpack.data, &number, sizeof number);
    return payload;
}

uint32_t spec_number(struct bytes payload)
{
    uint32_t number = 0;
    if (payload.len >= sizeof number) {
        memcpy(&number, payload.ptr, sizeof number);
    }
    return number;
}
