/* sim/rate.c - see rate.h. */
#include "sim/rate.h"

#define TIMEOUT_US 10000000 /* a check that is not answered fails after so long */

struct rate_call {
    struct event event; /* first */
    struct list_node node;
    struct rate_limiter *rate;
    const struct rate_door *door;
    struct limiter_check *check;
    bool lost; /* no answer comes */
};

struct span {
    struct map_node node; /* first; key: name, 0, unique key */
    int64_t end_ms, hits;
    uint8_t key[];
};

static struct span *span_get(struct rate_limiter *rate, const struct limiter_check *check)
{
    uint8_t key[256];
    const size_t len = check->name.len + 1 + check->unique_key.len;
    ASSERT(len <= sizeof key);
    memcpy(key, check->name.ptr, check->name.len);
    key[check->name.len] = 0;
    memcpy(key + check->name.len + 1, check->unique_key.ptr, check->unique_key.len);
    struct span *span = MAP_ENTRY(map_find(&rate->spans, bytes_of(key, len)), struct span, node);
    if (span == NULL) {
        span = xcalloc(1, sizeof *span + len);
        memcpy(span->key, key, len);
        map_insert(&rate->spans, &span->node, bytes_of(span->key, len));
    }
    return span;
}

static void check_decide(struct rate_limiter *rate, struct limiter_check *check)
{
    struct span *span = span_get(rate, check);
    if (*rate->wall_ms >= span->end_ms) {
        span->end_ms = *rate->wall_ms + check->duration_ms;
        span->hits = 0;
    }
    const bool over = span->hits + check->hits > check->limit;
    check->verdict = over ? LIMITER_OVER : LIMITER_UNDER;
    check->reset_ms = random_one_in(rate->random, 4) ? 0 : span->end_ms;
    struct mrate *seen = model_rate(rate->model, check->name, check->unique_key);
    seen->asked++;
    if (!over) {
        span->hits += check->hits;
        seen->under++;
    }
}

static void rate_call_end(struct rate_call *call, bool error)
{
    struct rate_limiter *rate = call->rate;
    struct limiter_check *check = call->check;
    if (error) {
        check->verdict = LIMITER_ERROR;
        check->reset_ms = 0;
        (void)snprintf(check->error, sizeof check->error, "the limiter does not answer");
    } else {
        check_decide(rate, check);
    }
    trace_line(rate->trace, "limiter: %.*s verdict %d", BYTES_FMT(check->name),
               (int)check->verdict);
    event_cancel(rate->events, &call->event);
    list_remove(&call->node);
    rate->call_count--;
    free(call);
    check->done(check);
}

static void rate_call_due(struct event *event)
{
    struct rate_call *call = CONTAINER_OF(event, struct rate_call, event);
    rate_call_end(call, call->lost);
}

static void rate_check(struct limiter *limiter, struct limiter_check *check)
{
    const struct rate_door *door = CONTAINER_OF(limiter, struct rate_door, limiter);
    struct rate_limiter *rate = door->rate;
    struct rate_call *call = xcalloc(1, sizeof *call);
    call->rate = rate;
    call->door = door;
    call->check = check;
    list_push_back(&rate->calls, &call->node);
    rate->call_count++;
    int64_t delay_us = random_between(rate->random, 0, 15000);
    switch (rate->mood) {
    case RATE_FINE:
        break;
    case RATE_SLOW:
        delay_us = random_between(rate->random, 0, 4000000);
        break;
    case RATE_ERRORS:
        call->lost = random_one_in(rate->random, 2);
        break;
    case RATE_DOWN:
        call->lost = true;
        delay_us = random_one_in(rate->random, 2) ? TIMEOUT_US : delay_us;
        break;
    }
    event_at(rate->events, &call->event, *rate->now_us + delay_us, rate_call_due);
}

void rate_init(struct rate_limiter *rate)
{
    for (size_t i = 0; i < RATE_DOORS_MAX; i++) {
        rate->doors[i] = (struct rate_door){.limiter.check = rate_check, .rate = rate};
    }
    list_init(&rate->calls);
    map_init(&rate->spans);
}

void rate_hang_up(struct rate_limiter *rate, const struct rate_door *door)
{
    struct list_node *n = list_first(&rate->calls);
    while (n != NULL) {
        struct rate_call *call = CONTAINER_OF(n, struct rate_call, node);
        if (call->door != door) {
            n = list_next(&rate->calls, n);
            continue;
        }
        rate_call_end(call, true);
        n = list_first(&rate->calls); /* others may be asked or ended by what it led to */
    }
}

void rate_deinit(struct rate_limiter *rate)
{
    ASSERT(list_empty(&rate->calls));
    for (struct map_node *n = map_next(&rate->spans, NULL); n != NULL;
         n = map_next(&rate->spans, NULL)) {
        map_remove(&rate->spans, n);
        free(CONTAINER_OF(n, struct span, node));
    }
    map_deinit(&rate->spans);
}
