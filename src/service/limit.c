/*
 * service/limit.c - a job's limits between the wire and the plain structs of codec/limit.h, one
 * pair of functions for each kind.
 *
 * What the wire leaves out is filled in here: an absent retry policy of a rate limit becomes the
 * documented one, 0 hits become 1 (the wire cannot tell them from absent ones, and nobody names a
 * limit to take nothing from it), and unknown algorithms become TOKEN_BUCKET.
 */
#include "codec/limit.h"

#include "service/call_int.h"

#define RATE_RETRY_INITIAL_MS 100
#define RATE_RETRY_MAX_MS 30000
#define RATE_RETRY_FACTOR 2.0

/* --- from the wire --- */

static SILO_RC name_take(const char *what, const char *name, struct bytes *ret,
                         struct silo_err *err)
{
    *ret = bytes_str(name);
    if (ret->len > LIMIT_NAME_BYTES_MAX) {
        return FAIL(err, SILO_INVALID, "%s too long: at most %u bytes", what, LIMIT_NAME_BYTES_MAX);
    }
    return RC_OK;
}

/* What the metadata of a job's floating limits takes together. */
struct floating_sums {
    size_t pairs, bytes;
};

static SILO_RC floating_sum(const Silo__V1__FloatingConcurrencyLimit *from,
                            struct floating_sums *sums, struct silo_err *err)
{
    sums->pairs += from->n_metadata;
    if (sums->pairs > FLOATING_METADATA_PAIRS_MAX) {
        return FAIL(err, SILO_INVALID,
                    "metadata of floating limits has too many entries: at most %u in a job",
                    FLOATING_METADATA_PAIRS_MAX);
    }
    for (size_t i = 0; i < from->n_metadata; i++) {
        sums->bytes += strlen(from->metadata[i]->key) + strlen(from->metadata[i]->value);
    }
    if (sums->bytes > FLOATING_METADATA_BYTES_MAX) {
        return FAIL(err, SILO_INVALID,
                    "metadata of floating limits is too long: "
                    "at most %u bytes of keys and values in a job",
                    FLOATING_METADATA_BYTES_MAX);
    }
    return RC_OK;
}

static SILO_RC floating_take(struct arena *arena, const Silo__V1__FloatingConcurrencyLimit *from,
                             struct floating_sums *sums, struct limit_rec *ret,
                             struct silo_err *err)
{
    TRY(floating_sum(from, sums, err));
    struct label *labels = arena_alloc(arena, (from->n_metadata + 1) * sizeof *labels);
    for (size_t i = 0; i < from->n_metadata; i++) {
        labels[i] = (struct label){from->metadata[i]->key, from->metadata[i]->value, i};
    }
    const size_t count = labels_sort(labels, from->n_metadata);
    ret->kind = LIMIT_FLOATING;
    ret->floating = (struct floating_limit){
        .default_max = from->default_max_concurrency,
        .interval_ms = from->refresh_interval_ms,
        .metadata_count = (uint32_t)count,
        .metadata = labels_pairs(arena, labels, count),
    };
    return name_take("limit key", from->key, &ret->key, err);
}

static struct rate_retry_policy rate_retry(const Silo__V1__RateLimitRetryPolicy *from)
{
    if (from == NULL) {
        return (struct rate_retry_policy){.initial_ms = RATE_RETRY_INITIAL_MS,
                                          .max_ms = RATE_RETRY_MAX_MS,
                                          .factor = RATE_RETRY_FACTOR};
    }
    return (struct rate_retry_policy){.initial_ms = from->initial_backoff_ms,
                                      .max_ms = from->max_backoff_ms,
                                      .factor = from->backoff_multiplier,
                                      .retries_max = from->max_retries};
}

static SILO_RC rate_take(const Silo__V1__GubernatorRateLimit *from, struct limit_rec *ret,
                         struct silo_err *err)
{
    const bool leaky =
        from->algorithm == SILO__V1__GUBERNATOR_ALGORITHM__GUBERNATOR_ALGORITHM_LEAKY_BUCKET;
    ret->kind = LIMIT_RATE;
    ret->rate = (struct rate_limit){
        .limit = from->limit,
        .duration_ms = from->duration_ms,
        .hits = from->hits != 0 ? from->hits : 1,
        .algorithm = leaky ? RATE_LEAKY_BUCKET : RATE_TOKEN_BUCKET,
        .behavior = from->behavior,
        .retry = rate_retry(from->retry_policy),
    };
    TRY(name_take("rate limit name", from->name, &ret->rate.name, err));
    return name_take("rate limit unique_key", from->unique_key, &ret->rate.unique_key, err);
}

/* *ret_there is false for a limit that has no member set: such a limit is dropped. */
static SILO_RC limit_take(struct arena *arena, const Silo__V1__Limit *from,
                          struct floating_sums *sums, struct limit_rec *ret, bool *ret_there,
                          struct silo_err *err)
{
    *ret = (struct limit_rec){0};
    *ret_there = true;
    switch ((int)from->limit_case) {
    case SILO__V1__LIMIT__LIMIT_CONCURRENCY:
        ret->kind = LIMIT_CONCURRENCY;
        ret->max = from->concurrency->max_concurrency;
        return name_take("limit key", from->concurrency->key, &ret->key, err);
    case SILO__V1__LIMIT__LIMIT_FLOATING_CONCURRENCY:
        return floating_take(arena, from->floating_concurrency, sums, ret, err);
    case SILO__V1__LIMIT__LIMIT_RATE_LIMIT:
        return rate_take(from->rate_limit, ret, err);
    default:
        *ret_there = false;
        return RC_OK;
    }
}

static struct bytes limits_store(struct arena *arena, const struct limit_rec *recs, uint32_t count)
{
    struct buf buf;
    buf_init(&buf, MESSAGE_BYTES_MAX);
    for (uint32_t i = 0; i < count; i++) {
        limit_encode(&buf, arena, &recs[i]);
    }
    const struct bytes stored = arena_copy(arena, buf_bytes(&buf));
    buf_deinit(&buf);
    return stored;
}

SILO_RC limits_take(struct arena *arena, Silo__V1__Limit *const *limits, size_t count,
                    struct info *info, const struct limit_rec **ret_recs, struct silo_err *err)
{
    struct floating_sums sums = {0};
    struct limit_rec *recs = arena_alloc(arena, (JOB_LIMITS_MAX + 1) * sizeof *recs);
    uint32_t taken = 0;
    for (size_t i = 0; i < count; i++) {
        bool there = false;
        TRY(limit_take(arena, limits[i], &sums, &recs[taken], &there, err));
        if (there && ++taken > JOB_LIMITS_MAX) {
            return FAIL(err, SILO_INVALID, "too many limits: at most %u", JOB_LIMITS_MAX);
        }
    }
    info->limit_count = taken;
    info->limits = limits_store(arena, recs, taken);
    *ret_recs = recs;
    return RC_OK;
}

/* --- to the wire --- */

static void concurrency_show(struct arena *arena, const struct limit_rec *from,
                             Silo__V1__Limit *limit)
{
    Silo__V1__ConcurrencyLimit *concurrency = arena_alloc(arena, sizeof *concurrency);
    silo__v1__concurrency_limit__init(concurrency);
    concurrency->key = encode_text(arena, from->key);
    concurrency->max_concurrency = from->max;
    limit->limit_case = SILO__V1__LIMIT__LIMIT_CONCURRENCY;
    limit->concurrency = concurrency;
}

static bool floating_show(struct arena *arena, const struct limit_rec *from, Silo__V1__Limit *limit)
{
    Silo__V1__FloatingConcurrencyLimit *floating = arena_alloc(arena, sizeof *floating);
    silo__v1__floating_concurrency_limit__init(floating);
    floating->key = encode_text(arena, from->key);
    floating->default_max_concurrency = from->floating.default_max;
    floating->refresh_interval_ms = from->floating.interval_ms;
    floating->n_metadata = from->floating.metadata_count;
    floating->metadata =
        encode_map(arena, from->floating.metadata, from->floating.metadata_count,
                   &silo__v1__floating_concurrency_limit__metadata_entry__descriptor);
    limit->limit_case = SILO__V1__LIMIT__LIMIT_FLOATING_CONCURRENCY;
    limit->floating_concurrency = floating;
    return floating->metadata != NULL;
}

static void rate_show(struct arena *arena, const struct rate_limit *from, Silo__V1__Limit *limit)
{
    Silo__V1__RateLimitRetryPolicy *policy = arena_alloc(arena, sizeof *policy);
    silo__v1__rate_limit_retry_policy__init(policy);
    policy->initial_backoff_ms = from->retry.initial_ms;
    policy->max_backoff_ms = from->retry.max_ms;
    policy->backoff_multiplier = from->retry.factor;
    policy->max_retries = from->retry.retries_max;
    Silo__V1__GubernatorRateLimit *rate = arena_alloc(arena, sizeof *rate);
    silo__v1__gubernator_rate_limit__init(rate);
    rate->name = encode_text(arena, from->name);
    rate->unique_key = encode_text(arena, from->unique_key);
    rate->limit = from->limit;
    rate->duration_ms = from->duration_ms;
    rate->hits = from->hits;
    rate->algorithm = (Silo__V1__GubernatorAlgorithm)from->algorithm;
    rate->behavior = from->behavior;
    rate->retry_policy = policy;
    limit->limit_case = SILO__V1__LIMIT__LIMIT_RATE_LIMIT;
    limit->rate_limit = rate;
}

/* False for malformed metadata. */
static bool limit_show(struct arena *arena, const struct limit_rec *from, Silo__V1__Limit *limit)
{
    silo__v1__limit__init(limit);
    switch (from->kind) {
    case LIMIT_CONCURRENCY:
        concurrency_show(arena, from, limit);
        return true;
    case LIMIT_FLOATING:
        return floating_show(arena, from, limit);
    case LIMIT_RATE:
        rate_show(arena, &from->rate, limit);
        return true;
    }
    return false;
}

Silo__V1__Limit **limits_show(struct arena *arena, const struct info *info, size_t *ret_count)
{
    const struct limit_rec *recs = limit_recs_decode(arena, info->limits, info->limit_count);
    if (recs == NULL) {
        return NULL;
    }
    Silo__V1__Limit **limits = arena_alloc(arena, ((size_t)info->limit_count + 1) * sizeof *limits);
    for (uint32_t i = 0; i < info->limit_count; i++) {
        limits[i] = arena_alloc(arena, sizeof *limits[i]);
        if (!limit_show(arena, &recs[i], limits[i])) {
            return NULL;
        }
    }
    *ret_count = info->limit_count;
    return limits;
}
