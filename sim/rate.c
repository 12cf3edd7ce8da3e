/* sim/rate.c - see rate.h. */
#include "sim/rate.h"

#define TIMEOUT_US 10000000 /* a check that is not answered fails after so long */

struct flight {
    struct event event; /* first */
    struct list_node node;
    struct rate_limiter *rate;
    struct limiter_check *check;
    bool lost; /* no answer comes */
};

struct window {
    struct map_node node; /* first; key: name, 0, unique key */
    int64_t end_ms, hits;
    uint8_t key[];
};

static struct window *window_get(struct rate_limiter *rate, const struct limiter_check *check)
{
    uint8_t key[256];
    const size_t len = check->name.len + 1 + check->unique_key.len;
    ASSERT(len <= sizeof key);
    memcpy(key, check->name.ptr, check->name.len);
    key[check->name.len] = 0;
    memcpy(key + check->name.len + 1, check->unique_key.ptr, check->unique_key.len);
    struct window *window =
        MAP_ENTRY(map_find(&rate->windows, bytes_of(key, len)), struct window, node);
    if (window == NULL) {
        window = xcalloc(1, sizeof *window + len);
        memcpy(window->key, key, len);
        map_insert(&rate->windows, &window->node, bytes_of(window->key, len));
    }
    return window;
}

static void check_decide(struct rate_limiter *rate, struct limiter_check *check)
{
    struct window *window = window_get(rate, check);
    if (*rate->wall_ms >= window->end_ms) {
        window->end_ms = *rate->wall_ms + check->duration_ms;
        window->hits = 0;
    }
    const bool over = window->hits + check->hits > check->limit;
    check->verdict = over ? LIMITER_OVER : LIMITER_UNDER;
    check->reset_ms = random_one_in(rate->random, 4) ? 0 : window->end_ms;
    struct mrate *seen = model_rate(rate->model, check->name, check->unique_key);
    seen->asked++;
    if (!over) {
        window->hits += check->hits;
        seen->under++;
    }
}

static void flight_land(struct flight *flight, bool error)
{
    struct rate_limiter *rate = flight->rate;
    struct limiter_check *check = flight->check;
    if (error) {
        check->verdict = LIMITER_ERROR;
        check->reset_ms = 0;
        (void)snprintf(check->error, sizeof check->error, "the limiter does not answer");
    } else {
        check_decide(rate, check);
    }
    trace_line(rate->trace, "limiter: %.*s verdict %d", BYTES_FMT(check->name),
               (int)check->verdict);
    event_cancel(rate->events, &flight->event);
    list_remove(&flight->node);
    rate->flying--;
    free(flight);
    check->done(check);
}

static void flight_due(struct event *event)
{
    struct flight *flight = CONTAINER_OF(event, struct flight, event);
    flight_land(flight, flight->lost);
}

static void rate_check(struct limiter *limiter, struct limiter_check *check)
{
    struct rate_limiter *rate = CONTAINER_OF(limiter, struct rate_limiter, limiter);
    struct flight *flight = xcalloc(1, sizeof *flight);
    flight->rate = rate;
    flight->check = check;
    list_push_back(&rate->flights, &flight->node);
    rate->flying++;
    int64_t delay_us = random_between(rate->random, 0, 15000);
    switch (rate->mood) {
    case RATE_FINE:
        break;
    case RATE_SLOW:
        delay_us = random_between(rate->random, 0, 4000000);
        break;
    case RATE_ERRORS:
        flight->lost = random_one_in(rate->random, 2);
        break;
    case RATE_DOWN:
        flight->lost = true;
        delay_us = random_one_in(rate->random, 2) ? TIMEOUT_US : delay_us;
        break;
    }
    event_at(rate->events, &flight->event, *rate->now_us + delay_us, flight_due);
}

void rate_init(struct rate_limiter *rate)
{
    rate->limiter.check = rate_check;
    list_init(&rate->flights);
    map_init(&rate->windows);
}

void rate_hang_up(struct rate_limiter *rate)
{
    for (struct list_node *n = list_first(&rate->flights); n != NULL;
         n = list_first(&rate->flights)) {
        flight_land(CONTAINER_OF(n, struct flight, node), true);
    }
}

void rate_deinit(struct rate_limiter *rate)
{
    ASSERT(list_empty(&rate->flights));
    for (struct map_node *n = map_next(&rate->windows, NULL); n != NULL;
         n = map_next(&rate->windows, NULL)) {
        map_remove(&rate->windows, n);
        free(CONTAINER_OF(n, struct window, node));
    }
    map_deinit(&rate->windows);
}
