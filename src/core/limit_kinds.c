/* core/limit_kinds.c - see limit_kinds.h. */
#include "core/limit_kinds.h"

#include "base/assert.h"
#include "core/limit_rates.h"
#include "core/limit_slots.h"
#include "core/queue.h"

static const struct limit_rules kinds[LIMIT_KIND_COUNT] = {
    [LIMIT_CONCURRENCY] = {.name = "concurrency",
                           .look = slots_look,
                           .arrive = slots_arrive,
                           .holds = HOLDS_SLOT,
                           .has_line = slots_have_line,
                           .gives_way = true},
    [LIMIT_FLOATING] = {.name = "floating concurrency",
                        .look = floating_slots_look,
                        .arrive = floating_slots_arrive,
                        .holds = HOLDS_SLOT,
                        .has_line = slots_have_line,
                        .gives_way = true},
    [LIMIT_RATE] = {.name = "rate",
                    .look = rates_look,
                    .arrive = rates_arrive,
                    .holds = HOLDS_NOTHING,
                    .passed_for_good = true,
                    .asked = true,
                    .has_line = rates_have_line},
};

const struct limit_rules *limit_rules(enum limit_kind kind)
{
    ASSERT(kind < LIMIT_KIND_COUNT);
    return &kinds[kind];
}

const struct limit_rules *line_rules(const struct queue *queue, struct line_id line)
{
    const enum limit_kind slots = line.floating ? LIMIT_FLOATING : LIMIT_CONCURRENCY;
    return limit_rules(queue->throttle != NULL ? LIMIT_RATE : slots);
}
