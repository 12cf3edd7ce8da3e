/*
 * codec/limit.c - a limit from the wire is copied field by field into a clean message, which is
 * packed. The copy lends the strings; only what has a default or an order is touched.
 */
#include "codec/limit.h"

#include <stdlib.h>

#include "base/limits.h"
#include "codec/record.h"

typedef Silo__V1__FloatingConcurrencyLimit__MetadataEntry floating_entry;

static void *limit_alloc(void *arena, size_t size)
{
    return arena_alloc(arena, size);
}

static void limit_release(void *arena, void *pointer)
{
    (void)arena;
    (void)pointer;
}

static ProtobufCAllocator limit_allocator(struct arena *arena)
{
    return (ProtobufCAllocator){
        .alloc = limit_alloc, .free = limit_release, .allocator_data = arena};
}

/* By key, then by place in the message, so that the last of equal keys comes last. */
struct keyed {
    floating_entry *entry;
    size_t place;
};

static int keyed_cmp(const void *a, const void *b)
{
    const struct keyed *x = a;
    const struct keyed *y = b;
    const int c = bytes_cmp(bytes_str(x->entry->key), bytes_str(y->entry->key));
    return c != 0 ? c : (x->place > y->place) - (x->place < y->place);
}

static void floating_sort(Silo__V1__FloatingConcurrencyLimit *floating, struct arena *scratch)
{
    const size_t count = floating->n_metadata;
    if (count == 0) {
        return;
    }
    struct keyed *keyed = arena_alloc(scratch, count * sizeof *keyed);
    for (size_t i = 0; i < count; i++) {
        keyed[i] = (struct keyed){.entry = floating->metadata[i], .place = i};
    }
    qsort(keyed, count, sizeof *keyed, keyed_cmp);

    floating->metadata = arena_alloc(scratch, count * sizeof(floating_entry *));
    floating->n_metadata = 0;
    for (size_t i = 0; i < count; i++) {
        if (i + 1 < count && strcmp(keyed[i].entry->key, keyed[i + 1].entry->key) == 0) {
            continue;
        }
        floating_entry *entry = arena_alloc(scratch, sizeof *entry);
        silo__v1__floating_concurrency_limit__metadata_entry__init(entry);
        entry->key = keyed[i].entry->key;
        entry->value = keyed[i].entry->value;
        floating->metadata[floating->n_metadata++] = entry;
    }
}

static void item_pack(struct buf *buf, struct arena *scratch, const Silo__V1__Limit *limit)
{
    const size_t size = silo__v1__limit__get_packed_size(limit);
    uint8_t *packed = arena_alloc(scratch, size);
    silo__v1__limit__pack(limit, packed);
    item_append(buf, bytes_of(packed, size));
}

static void concurrency_append(struct buf *buf, struct arena *scratch,
                               const Silo__V1__ConcurrencyLimit *from)
{
    Silo__V1__ConcurrencyLimit concurrency = SILO__V1__CONCURRENCY_LIMIT__INIT;
    concurrency.key = from->key;
    concurrency.max_concurrency = from->max_concurrency;
    Silo__V1__Limit limit = SILO__V1__LIMIT__INIT;
    limit.limit_case = SILO__V1__LIMIT__LIMIT_CONCURRENCY;
    limit.concurrency = &concurrency;
    item_pack(buf, scratch, &limit);
}

static void floating_append(struct buf *buf, struct arena *scratch,
                            const Silo__V1__FloatingConcurrencyLimit *from)
{
    Silo__V1__FloatingConcurrencyLimit floating = SILO__V1__FLOATING_CONCURRENCY_LIMIT__INIT;
    floating.key = from->key;
    floating.default_max_concurrency = from->default_max_concurrency;
    floating.refresh_interval_ms = from->refresh_interval_ms;
    floating.n_metadata = from->n_metadata;
    floating.metadata = from->metadata;
    floating_sort(&floating, scratch);
    Silo__V1__Limit limit = SILO__V1__LIMIT__INIT;
    limit.limit_case = SILO__V1__LIMIT__LIMIT_FLOATING_CONCURRENCY;
    limit.floating_concurrency = &floating;
    item_pack(buf, scratch, &limit);
}

static int32_t rate_hits(const Silo__V1__GubernatorRateLimit *rate)
{
    return rate->hits != 0 ? rate->hits : 1;
}

static void rate_append(struct buf *buf, struct arena *scratch,
                        const Silo__V1__GubernatorRateLimit *from)
{
    Silo__V1__RateLimitRetryPolicy policy = SILO__V1__RATE_LIMIT_RETRY_POLICY__INIT;
    if (from->retry_policy != NULL) {
        policy.initial_backoff_ms = from->retry_policy->initial_backoff_ms;
        policy.max_backoff_ms = from->retry_policy->max_backoff_ms;
        policy.backoff_multiplier = from->retry_policy->backoff_multiplier;
        policy.max_retries = from->retry_policy->max_retries;
    } else {
        policy.initial_backoff_ms = RATE_RETRY_INITIAL_MS;
        policy.max_backoff_ms = RATE_RETRY_MAX_MS;
        policy.backoff_multiplier = RATE_RETRY_MULTIPLIER;
    }
    Silo__V1__GubernatorRateLimit rate = SILO__V1__GUBERNATOR_RATE_LIMIT__INIT;
    rate.name = from->name;
    rate.unique_key = from->unique_key;
    rate.limit = from->limit;
    rate.duration_ms = from->duration_ms;
    rate.hits = rate_hits(from);
    rate.algorithm =
        from->algorithm == SILO__V1__GUBERNATOR_ALGORITHM__GUBERNATOR_ALGORITHM_LEAKY_BUCKET
            ? from->algorithm
            : SILO__V1__GUBERNATOR_ALGORITHM__GUBERNATOR_ALGORITHM_TOKEN_BUCKET;
    rate.behavior = from->behavior;
    rate.retry_policy = &policy;
    Silo__V1__Limit limit = SILO__V1__LIMIT__INIT;
    limit.limit_case = SILO__V1__LIMIT__LIMIT_RATE_LIMIT;
    limit.rate_limit = &rate;
    item_pack(buf, scratch, &limit);
}

bool limit_append(struct buf *buf, struct arena *scratch, const Silo__V1__Limit *limit)
{
    switch ((int)limit->limit_case) {
    case SILO__V1__LIMIT__LIMIT_CONCURRENCY:
        concurrency_append(buf, scratch, limit->concurrency);
        return true;
    case SILO__V1__LIMIT__LIMIT_RATE_LIMIT:
        rate_append(buf, scratch, limit->rate_limit);
        return true;
    case SILO__V1__LIMIT__LIMIT_FLOATING_CONCURRENCY:
        floating_append(buf, scratch, limit->floating_concurrency);
        return true;
    default: /* no member set */
        return false;
    }
}

Silo__V1__Limit *limit_unpack(struct arena *arena, struct bytes item)
{
    ProtobufCAllocator allocator = limit_allocator(arena);
    Silo__V1__Limit *limit = silo__v1__limit__unpack(&allocator, item.len, item.ptr);
    if (limit != NULL && limit->limit_case == SILO__V1__LIMIT__LIMIT_RATE_LIMIT) {
        limit->rate_limit->hits = rate_hits(limit->rate_limit); /* of before 0 was stored as 1 */
    }
    return limit;
}

/* GREGORIAN durations: minute, hour, day, month, year; others are an error of the limiter. */
static bool duration_is_valid(const Silo__V1__GubernatorRateLimit *rate)
{
    const int32_t gregorian =
        SILO__V1__GUBERNATOR_BEHAVIOR__GUBERNATOR_BEHAVIOR_DURATION_IS_GREGORIAN;
    return (rate->behavior & gregorian) == 0 ||
           (rate->duration_ms >= 0 && rate->duration_ms <= 5 && rate->duration_ms != 3);
}

static bool rate_throttles(const Silo__V1__GubernatorRateLimit *rate)
{
    const int32_t reset = SILO__V1__GUBERNATOR_BEHAVIOR__GUBERNATOR_BEHAVIOR_RESET_REMAINING;
    return rate->retry_policy->max_retries == 0 && rate->hits > 0 && rate->hits <= rate->limit &&
           (rate->behavior & reset) == 0 && duration_is_valid(rate);
}

void limit_queue_ref(struct key *key, struct bytes tenant_part, const struct limit *limit,
                     struct bytes group)
{
    if (limit->kind != LIMIT_RATE) {
        key_queue_ref(key, tenant_part, limit->key);
    } else {
        key_throttle_ref(key, tenant_part, bytes_str(limit->rate->name),
                         bytes_str(limit->rate->unique_key), group);
    }
}

/* Fills in what the message alone says. False when it has no member. */
static bool limit_read(struct limit *limit, const Silo__V1__Limit *message)
{
    *limit = (struct limit){0};
    switch ((int)message->limit_case) {
    case SILO__V1__LIMIT__LIMIT_CONCURRENCY:
        limit->kind = LIMIT_CONCURRENCY;
        limit->key = bytes_str(message->concurrency->key);
        limit->line = (struct line_id){.max = message->concurrency->max_concurrency};
        return true;
    case SILO__V1__LIMIT__LIMIT_FLOATING_CONCURRENCY:
        limit->kind = LIMIT_FLOATING;
        limit->floating = message->floating_concurrency;
        limit->key = bytes_str(limit->floating->key);
        limit->line = (struct line_id){.floating = true, .max = UINT32_MAX};
        return true;
    case SILO__V1__LIMIT__LIMIT_RATE_LIMIT:
        limit->kind = LIMIT_RATE;
        limit->rate = message->rate_limit;
        limit->throttles = limit->rate->retry_policy != NULL && rate_throttles(limit->rate);
        return limit->rate->retry_policy != NULL;
    default:
        return false;
    }
}

/* Keys are made of them. */
static bool limit_names_ok(const struct limit *limit)
{
    return limit->kind != LIMIT_RATE ? limit->key.len <= KEY_NAME_BYTES_MAX
                                     : strlen(limit->rate->name) <= KEY_NAME_BYTES_MAX &&
                                           strlen(limit->rate->unique_key) <= KEY_NAME_BYTES_MAX;
}

/* If the queue of the last one was named before, what the last one says goes to where that was. */
static void limit_merge(struct limits *limits, struct limit *last)
{
    for (struct limit *first = limits->items; first != last; first++) {
        if (first->kind == LIMIT_RATE || first->repeated || !bytes_eq(first->key, last->key)) {
            continue;
        }
        last->repeated = true;
        if (last->line.max < first->line.max) {
            first->line.max = last->line.max;
        }
        if (last->kind == LIMIT_FLOATING && first->kind == LIMIT_CONCURRENCY) {
            first->kind = LIMIT_FLOATING;
            first->line.floating = true;
            first->floating = last->floating;
        }
        return;
    }
}

bool limits_decode(struct arena *arena, struct bytes items, uint32_t count, struct limits *ret)
{
    *ret = (struct limits){0};
    if (count > JOB_LIMITS_MAX) {
        return false;
    }
    struct limits limits = {.count = count};
    limits.items = count != 0 ? arena_alloc(arena, count * sizeof *limits.items) : NULL;
    struct bytes item;
    for (uint32_t i = 0; i < count; i++) {
        const Silo__V1__Limit *message =
            item_next(&items, &item) ? limit_unpack(arena, item) : NULL;
        struct limit *limit = &limits.items[i];
        if (message == NULL || !limit_read(limit, message) || !limit_names_ok(limit)) {
            return false;
        }
        if (limit->kind != LIMIT_RATE) {
            limit_merge(&limits, limit);
        }
    }
    if (items.len != 0) {
        return false;
    }
    *ret = limits;
    return true;
}
