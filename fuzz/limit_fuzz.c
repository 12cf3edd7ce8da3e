/*
 * fuzz/limit_fuzz.c - a job's limits in their stored form.
 *
 * The first byte is the count, the rest a run of items. What decodes is complete: names where they
 * belong, one place for each queue. What is stored from it is stored from that again to the same
 * bytes.
 */
#include "fuzz.h"

#include "codec/record.h"
#include "core/limit.h"

#define STORED_BYTES_MAX (4u << 20)

static void limit_check(const struct limit *limit)
{
    switch (limit->kind) {
    case LIMIT_CONCURRENCY:
        ASSERT(!limit->line.floating && limit->floating == NULL && limit->rate == NULL);
        break;
    case LIMIT_FLOATING:
        ASSERT(limit->line.floating && limit->floating != NULL && limit->rate == NULL);
        break;
    case LIMIT_RATE:
        ASSERT(limit->rate != NULL && !limit->repeated);
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

/* Stores each limit once more. */
static void items_store(struct arena *arena, struct bytes items, uint32_t count, struct buf *buf)
{
    const struct limit_rec *recs = limit_recs_decode(arena, items, count);
    ASSERT(recs != NULL);
    for (uint32_t i = 0; i < count; i++) {
        limit_encode(buf, arena, &recs[i]);
    }
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
        items_store(&arena, input, count, &once);
        items_store(&arena, buf_bytes(&once), count, &twice);
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
    struct buf buf, pairs;
    arena_init(&arena);
    buf_init(&buf, FUZZ_SEED_BYTES_MAX);
    buf_init(&pairs, FUZZ_SEED_BYTES_MAX);
    for (int i = 0; i < 2; i++) {
        item_append(&pairs, i == 0 ? BYTES_LIT("a name") : BYTES_LIT("other"));
        item_append(&pairs, BYTES_LIT("value"));
    }
    const struct limit_rec fixed = {.kind = LIMIT_CONCURRENCY, .key = BYTES_LIT("queue"), .max = 3};
    const struct limit_rec other = {.kind = LIMIT_CONCURRENCY, .key = BYTES_LIT("other"), .max = 3};
    const struct limit_rec less = {.kind = LIMIT_CONCURRENCY, .key = BYTES_LIT("queue"), .max = 2};
    const struct limit_rec floating = {
        .kind = LIMIT_FLOATING,
        .key = BYTES_LIT("queue"),
        .floating = {.default_max = 5, .metadata_count = 2, .metadata = buf_bytes(&pairs)},
    };
    const struct limit_rec rate = {
        .kind = LIMIT_RATE,
        .rate = {.name = BYTES_LIT("other"),
                 .unique_key = BYTES_LIT("other"),
                 .limit = 1,
                 .duration_ms = 1000,
                 .hits = 1,
                 .retry = {.initial_ms = 100, .max_ms = 30000, .factor = 2}},
    };
    const struct limit_rec *const lists[][5] = {
        {&fixed, NULL}, {&fixed, &floating, NULL}, {&rate, &fixed, &other, &less, NULL}};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        uint8_t count = 0;
        for (; lists[i][count] != NULL; count++) {
            limit_encode(&buf, &arena, lists[i][count]);
        }
        put(seeds, count, &buf);
    }
    seed_put(seeds, 0, BYTES_NONE);
    buf_deinit(&buf);
    buf_deinit(&pairs);
    arena_deinit(&arena);
}
