/*
 * fuzz/limit_fuzz.c - a job's limits in their stored form.
 *
 * The first byte is the count, the rest a run of items. What decodes is complete: names where they
 * belong, a retry policy with every rate limit, one place for each queue. What is stored from it is
 * stored from that again to the same bytes.
 */
#include "fuzz.h"

#include "codec/limit.h"
#include "codec/record.h"

#define STORED_BYTES_MAX (4u << 20)

static void limit_check(const struct limit *limit)
{
    switch (limit->kind) {
    case LIMIT_CONCURRENCY:
        ASSERT(!limit->line.floating && limit->rate == NULL);
        break;
    case LIMIT_FLOATING:
        ASSERT(limit->line.floating && limit->floating != NULL && limit->rate == NULL);
        break;
    case LIMIT_RATE:
        ASSERT(limit->rate != NULL && limit->rate->retry_policy != NULL && !limit->repeated);
        break;
    }
}

/* Of the limits of one queue, the first counts and the others say so. */
static void limits_check(const struct limits *limits)
{
    for (uint32_t i = 0; i < limits->count; i++) {
        const struct limit *limit = &limits->items[i];
        limit_check(limit);
        bool named = false;
        for (uint32_t j = 0; j < i && limit->kind != LIMIT_RATE; j++) {
            const struct limit *other = &limits->items[j];
            named = named || (other->kind != LIMIT_RATE && bytes_eq(other->key, limit->key));
        }
        ASSERT(limit->repeated == named);
    }
}

/* Stores each item once more, by way of its message. */
static uint32_t items_store(struct arena *arena, struct bytes items, uint32_t count,
                            struct buf *buf)
{
    struct bytes item;
    uint32_t stored = 0;
    for (uint32_t i = 0; i < count; i++) {
        ASSERT(item_next(&items, &item));
        const Silo__V1__Limit *limit = limit_unpack(arena, item);
        ASSERT(limit != NULL);
        stored += limit_append(buf, arena, limit);
    }
    return stored;
}

void fuzz_one(struct bytes input)
{
    struct arena arena;
    struct limits limits, again;
    struct buf once, twice;
    const uint32_t count = take_u8(&input);
    arena_init(&arena);
    buf_init(&once, STORED_BYTES_MAX);
    buf_init(&twice, STORED_BYTES_MAX);
    if (limits_decode(&arena, input, count, &limits)) {
        ASSERT(limits.count == count);
        limits_check(&limits);
        const uint32_t stored = items_store(&arena, input, count, &once);
        ASSERT(stored == count);
        ASSERT(items_store(&arena, buf_bytes(&once), count, &twice) == count);
        ASSERT(bytes_eq(buf_bytes(&once), buf_bytes(&twice)));
        ASSERT(limits_decode(&arena, buf_bytes(&once), count, &again));
        limits_check(&again);
        for (uint32_t i = 0; i < count; i++) {
            const struct limit *a = &limits.items[i], *b = &again.items[i];
            ASSERT(a->kind == b->kind && a->repeated == b->repeated && bytes_eq(a->key, b->key));
            ASSERT(a->line.floating == b->line.floating && a->line.max == b->line.max);
        }
    }
    buf_deinit(&once);
    buf_deinit(&twice);
    arena_deinit(&arena);
}

static void put(struct seeds *seeds, uint8_t count, struct buf *buf)
{
    seed_put(seeds, count, buf_bytes(buf));
    buf_reset(buf);
}

void fuzz_seeds(struct seeds *seeds)
{
    struct arena arena;
    struct buf buf;
    char name[] = "queue", other[] = "other";
    arena_init(&arena);
    buf_init(&buf, FUZZ_SEED_BYTES_MAX);
    Silo__V1__ConcurrencyLimit concurrency = SILO__V1__CONCURRENCY_LIMIT__INIT;
    concurrency.key = name;
    concurrency.max_concurrency = 3;
    Silo__V1__FloatingConcurrencyLimit__MetadataEntry entry =
        SILO__V1__FLOATING_CONCURRENCY_LIMIT__METADATA_ENTRY__INIT;
    entry.key = entry.value = other;
    Silo__V1__FloatingConcurrencyLimit__MetadataEntry first = entry;
    first.key = name;
    Silo__V1__FloatingConcurrencyLimit__MetadataEntry *entries[] = {&entry, &first, &entry};
    Silo__V1__FloatingConcurrencyLimit floating = SILO__V1__FLOATING_CONCURRENCY_LIMIT__INIT;
    floating.key = name;
    floating.default_max_concurrency = 5;
    floating.n_metadata = 3;
    floating.metadata = entries;
    Silo__V1__GubernatorRateLimit rate = SILO__V1__GUBERNATOR_RATE_LIMIT__INIT;
    rate.name = rate.unique_key = other;
    rate.limit = rate.hits = 1;
    rate.duration_ms = 1000;
    Silo__V1__Limit fixed_one = SILO__V1__LIMIT__INIT, floating_one = SILO__V1__LIMIT__INIT,
                    rate_one = SILO__V1__LIMIT__INIT;
    fixed_one.limit_case = SILO__V1__LIMIT__LIMIT_CONCURRENCY;
    fixed_one.concurrency = &concurrency;
    floating_one.limit_case = SILO__V1__LIMIT__LIMIT_FLOATING_CONCURRENCY;
    floating_one.floating_concurrency = &floating;
    rate_one.limit_case = SILO__V1__LIMIT__LIMIT_RATE_LIMIT;
    rate_one.rate_limit = &rate;

    ASSERT(limit_append(&buf, &arena, &fixed_one));
    put(seeds, 1, &buf);
    ASSERT(limit_append(&buf, &arena, &fixed_one) && limit_append(&buf, &arena, &floating_one));
    put(seeds, 2, &buf);
    ASSERT(limit_append(&buf, &arena, &rate_one) && limit_append(&buf, &arena, &fixed_one));
    concurrency.key = other;
    ASSERT(limit_append(&buf, &arena, &fixed_one));
    concurrency.key = name;
    concurrency.max_concurrency = 2;
    ASSERT(limit_append(&buf, &arena, &fixed_one));
    put(seeds, 4, &buf);
    seed_put(seeds, 0, BYTES_NONE);
    buf_deinit(&buf);
    arena_deinit(&arena);
}
