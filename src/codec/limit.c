/*
 * codec/limit.c - limits go to their stored form, and come from it, by way of the message that the
 * schema generates; the messages live in a scratch arena and nowhere else.
 *
 * Rule for changes: the schema's own. Fields and members are added, never renumbered; what an older
 * build stored stays readable.
 */
#include "codec/limit.h"

#include "base/limits.h"
#include "codec/record.h"
#include "codec/unpack.h"
#include "silo.pb-c.h"

typedef Silo__V1__FloatingConcurrencyLimit__MetadataEntry floating_entry;

/* --- writing --- */

static void item_pack(struct buf *buf, struct arena *scratch, const Silo__V1__Limit *limit)
{
    const size_t size = silo__v1__limit__get_packed_size(limit);
    uint8_t *packed = arena_alloc(scratch, size);
    silo__v1__limit__pack(limit, packed);
    item_append(buf, bytes_of(packed, size));
}

static void concurrency_encode(struct buf *buf, struct arena *scratch, const struct limit_rec *from)
{
    Silo__V1__ConcurrencyLimit concurrency = SILO__V1__CONCURRENCY_LIMIT__INIT;
    concurrency.key = arena_str(scratch, from->key);
    concurrency.max_concurrency = from->max;
    Silo__V1__Limit limit = SILO__V1__LIMIT__INIT;
    limit.limit_case = SILO__V1__LIMIT__LIMIT_CONCURRENCY;
    limit.concurrency = &concurrency;
    item_pack(buf, scratch, &limit);
}

static floating_entry *entry_new(struct arena *scratch, struct bytes name, struct bytes value)
{
    floating_entry *entry = arena_alloc(scratch, sizeof *entry);
    silo__v1__floating_concurrency_limit__metadata_entry__init(entry);
    entry->key = arena_str(scratch, name);
    entry->value = arena_str(scratch, value);
    return entry;
}

static void floating_encode_limit(struct buf *buf, struct arena *scratch,
                                  const struct limit_rec *from)
{
    Silo__V1__FloatingConcurrencyLimit floating = SILO__V1__FLOATING_CONCURRENCY_LIMIT__INIT;
    floating.key = arena_str(scratch, from->key);
    floating.default_max_concurrency = from->floating.default_max;
    floating.refresh_interval_ms = from->floating.interval_ms;
    floating.metadata =
        arena_alloc(scratch, (from->floating.metadata_count + 1) * sizeof(floating_entry *));
    struct bytes at = from->floating.metadata;
    struct bytes name;
    struct bytes value;
    while (pair_next(&at, &name, &value)) {
        floating.metadata[floating.n_metadata++] = entry_new(scratch, name, value);
    }
    Silo__V1__Limit limit = SILO__V1__LIMIT__INIT;
    limit.limit_case = SILO__V1__LIMIT__LIMIT_FLOATING_CONCURRENCY;
    limit.floating_concurrency = &floating;
    item_pack(buf, scratch, &limit);
}

static void rate_encode(struct buf *buf, struct arena *scratch, const struct rate_limit *from)
{
    Silo__V1__RateLimitRetryPolicy policy = SILO__V1__RATE_LIMIT_RETRY_POLICY__INIT;
    policy.initial_backoff_ms = from->retry.initial_ms;
    policy.max_backoff_ms = from->retry.max_ms;
    policy.backoff_multiplier = from->retry.factor;
    policy.max_retries = from->retry.retries_max;
    Silo__V1__GubernatorRateLimit rate = SILO__V1__GUBERNATOR_RATE_LIMIT__INIT;
    rate.name = arena_str(scratch, from->name);
    rate.unique_key = arena_str(scratch, from->unique_key);
    rate.limit = from->limit;
    rate.duration_ms = from->duration_ms;
    rate.hits = from->hits;
    rate.algorithm = (Silo__V1__GubernatorAlgorithm)from->algorithm;
    rate.behavior = from->behavior;
    rate.retry_policy = &policy;
    Silo__V1__Limit limit = SILO__V1__LIMIT__INIT;
    limit.limit_case = SILO__V1__LIMIT__LIMIT_RATE_LIMIT;
    limit.rate_limit = &rate;
    item_pack(buf, scratch, &limit);
}

void limit_encode(struct buf *buf, struct arena *scratch, const struct limit_rec *limit)
{
    switch (limit->kind) {
    case LIMIT_CONCURRENCY:
        concurrency_encode(buf, scratch, limit);
        return;
    case LIMIT_FLOATING:
        floating_encode_limit(buf, scratch, limit);
        return;
    case LIMIT_RATE:
        rate_encode(buf, scratch, &limit->rate);
        return;
    }
}

/* --- reading --- */

static bool name_read(const char *name, struct bytes *ret)
{
    *ret = bytes_str(name);
    return ret->len <= KEY_NAME_BYTES_MAX;
}

static bool concurrency_read(const Silo__V1__ConcurrencyLimit *from, struct limit_rec *ret)
{
    ret->kind = LIMIT_CONCURRENCY;
    ret->max = from->max_concurrency;
    return name_read(from->key, &ret->key);
}

/* The pairs of a stored map, which is sorted. */
static struct bytes pairs_read(struct arena *arena, const Silo__V1__FloatingConcurrencyLimit *from)
{
    if (from->n_metadata == 0) {
        return BYTES_NONE;
    }
    struct buf pairs;
    buf_init(&pairs, SIZE_MAX / 4); /* bounded by the item that was read */
    for (size_t i = 0; i < from->n_metadata; i++) {
        item_append(&pairs, bytes_str(from->metadata[i]->key));
        item_append(&pairs, bytes_str(from->metadata[i]->value));
    }
    const struct bytes copy = arena_copy(arena, buf_bytes(&pairs));
    buf_deinit(&pairs);
    return copy;
}

static bool floating_read(struct arena *arena, const Silo__V1__FloatingConcurrencyLimit *from,
                          struct limit_rec *ret)
{
    ret->kind = LIMIT_FLOATING;
    ret->floating = (struct floating_limit){
        .default_max = from->default_max_concurrency,
        .interval_ms = from->refresh_interval_ms,
        .metadata_count = (uint32_t)from->n_metadata,
        .metadata = pairs_read(arena, from),
    };
    return name_read(from->key, &ret->key);
}

static bool rate_read(const Silo__V1__GubernatorRateLimit *from, struct limit_rec *ret)
{
    const Silo__V1__RateLimitRetryPolicy *policy = from->retry_policy;
    if (policy == NULL) {
        return false;
    }
    const bool leaky =
        from->algorithm == SILO__V1__GUBERNATOR_ALGORITHM__GUBERNATOR_ALGORITHM_LEAKY_BUCKET;
    ret->kind = LIMIT_RATE;
    ret->rate = (struct rate_limit){
        .limit = from->limit,
        .duration_ms = from->duration_ms,
        .hits = from->hits != 0 ? from->hits : 1, /* of before 0 was stored as 1 */
        .algorithm = leaky ? RATE_LEAKY_BUCKET : RATE_TOKEN_BUCKET,
        .behavior = from->behavior,
        .retry = {.initial_ms = policy->initial_backoff_ms,
                  .max_ms = policy->max_backoff_ms,
                  .factor = policy->backoff_multiplier,
                  .retries_max = policy->max_retries},
    };
    return name_read(from->name, &ret->rate.name) &&
           name_read(from->unique_key, &ret->rate.unique_key);
}

/* Takes one stored item from *at, which is advanced; false for malformed bytes, or none. */
static bool limit_next(struct arena *arena, struct bytes *at, struct limit_rec *ret)
{
    struct bytes item;
    if (!item_next(at, &item)) {
        return false;
    }
    ProtobufCAllocator allocator = unpack_allocator(arena);
    const Silo__V1__Limit *limit = silo__v1__limit__unpack(&allocator, item.len, item.ptr);
    if (limit == NULL) {
        return false;
    }
    *ret = (struct limit_rec){0};
    switch ((int)limit->limit_case) {
    case SILO__V1__LIMIT__LIMIT_CONCURRENCY:
        return concurrency_read(limit->concurrency, ret);
    case SILO__V1__LIMIT__LIMIT_FLOATING_CONCURRENCY:
        return floating_read(arena, limit->floating_concurrency, ret);
    case SILO__V1__LIMIT__LIMIT_RATE_LIMIT:
        return rate_read(limit->rate_limit, ret);
    default: /* no member set */
        return false;
    }
}

struct limit_rec *limit_recs_decode(struct arena *arena, struct bytes stored, uint32_t count)
{
    if (count > JOB_LIMITS_MAX) {
        return NULL;
    }
    struct limit_rec *recs = arena_alloc(arena, (count + 1) * sizeof recs[0]);
    for (uint32_t i = 0; i < count; i++) {
        if (!limit_next(arena, &stored, &recs[i])) {
            return NULL;
        }
    }
    return stored.len == 0 ? recs : NULL;
}

uint32_t limit_rec_strings(struct limit_rec *limit, struct bytes *ret[LIMIT_STRINGS_MAX])
{
    switch (limit->kind) {
    case LIMIT_CONCURRENCY:
        ret[0] = &limit->key;
        return 1;
    case LIMIT_FLOATING:
        ret[0] = &limit->key;
        ret[1] = &limit->floating.metadata;
        return 2;
    case LIMIT_RATE:
        ret[0] = &limit->rate.name;
        ret[1] = &limit->rate.unique_key;
        return 2;
    }
    return 0;
}
