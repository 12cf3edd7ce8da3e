/* core/limit.c - see limit.h. */
#include "core/limit.h"

#include "core/bucket.h"

/* GREGORIAN durations: minute, hour, day, month, year; others are an error of the limiter. */
static bool duration_is_valid(const struct rate_limit *rate)
{
    return (rate->behavior & BUCKET_GREGORIAN) == 0 ||
           (rate->duration_ms >= 0 && rate->duration_ms <= 5 && rate->duration_ms != 3);
}

static bool rate_throttles(const struct rate_limit *rate)
{
    return rate->retry.retries_max == 0 && rate->hits > 0 && rate->hits <= rate->limit &&
           (rate->behavior & BUCKET_RESET_REMAINING) == 0 && duration_is_valid(rate);
}

static struct limit limit_of(const struct limit_rec *rec)
{
    struct limit limit = {.kind = rec->kind, .key = rec->key};
    switch (rec->kind) {
    case LIMIT_CONCURRENCY:
        limit.line = (struct line_id){.max = rec->max};
        break;
    case LIMIT_FLOATING:
        limit.floating = &rec->floating;
        limit.line = (struct line_id){.floating = true, .max = UINT32_MAX};
        break;
    case LIMIT_RATE:
        limit.rate = &rec->rate;
        limit.throttles = rate_throttles(limit.rate);
        break;
    }
    return limit;
}

/* If the queue of the last one was named before, what the last one says goes to where that was. */
static void limit_merge(struct limit *items, struct limit *last)
{
    for (struct limit *first = items; first != last; first++) {
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

void limits_fill(struct limit *items, const struct limit_rec *recs, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        items[i] = limit_of(&recs[i]);
        if (items[i].kind != LIMIT_RATE) {
            limit_merge(items, &items[i]);
        }
    }
}

void limits_make(struct arena *arena, const struct limit_rec *recs, uint32_t count,
                 struct bytes stored, struct limits *ret)
{
    *ret = (struct limits){.count = count, .stored = stored};
    if (count != 0) {
        ret->items = arena_alloc(arena, count * sizeof ret->items[0]);
        limits_fill(ret->items, recs, count);
    }
}

bool limits_decode(struct arena *arena, struct bytes stored, uint32_t count, struct limits *ret)
{
    const struct limit_rec *recs = limit_recs_decode(arena, stored, count);
    if (recs != NULL) {
        limits_make(arena, recs, count, stored, ret);
    }
    return recs != NULL;
}

void limit_queue_ref(struct key *key, struct bytes tenant_part, const struct limit *limit,
                     struct bytes group)
{
    if (limit->kind != LIMIT_RATE) {
        key_queue_ref(key, tenant_part, limit->key);
    } else {
        key_throttle_ref(key, tenant_part, limit->rate->name, limit->rate->unique_key, group);
    }
}
