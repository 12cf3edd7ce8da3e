/*
 * core/walk.c - a token's way through its job's limits, in their order.
 *
 *      limits[passed]       not due         due, slot free    due, full      rate limit    none
 *                           left
 *                       TIMER, as it is     take it, go on    in its line    in its line   READY
 *
 * What was due once stays so: when the clock was ahead of itself, the stamp of such a token may lie
 * ahead of now.
 *
 * Slots are taken for due work only, and only if nobody in line may claim them (queue_fits). A
 * token that lost a slot to a better one comes by its rate limits again; the hits it has paid for
 * count.
 */
#include "core/walk.h"

#include "core/group.h"
#include "core/limit_kinds.h"
#include "core/low.h"
#include "core/state.h"
#include "core/token.h"

static bool walk_is_due(const struct core *core, const struct token *to)
{
    return to->was_due || to->place.due_ms <= core->wall_ms;
}

/* A queue that the job has named before, or a limit that the token has passed for good. */
static bool walk_skips(const struct token *to, uint32_t index)
{
    const struct limit *limit = &to->limits->items[index];
    return limit->repeated || (limit_rules(limit->kind)->passed_for_good && index < to->rates_paid);
}

/* How far it would come, without a change. ON: past all limits. */
static enum limit_way walk_look(struct core *core, struct command *cmd, struct bytes job_ref,
                                const struct token *to)
{
    const uint32_t count = token_has_ahead(to) ? to->limits->count : 0;
    for (uint32_t i = to->passed; i < count; i++) {
        const struct limit *limit = &to->limits->items[i];
        if (walk_skips(to, i)) {
            continue;
        }
        const enum limit_way way = limit_rules(limit->kind)->look(core, cmd, job_ref, to, limit);
        if (way != WAY_ON) {
            return way;
        }
    }
    return WAY_ON;
}

bool walk_ready(struct core *core, struct command *cmd, struct bytes job_ref,
                const struct token *to)
{
    if (!walk_is_due(core, to)) {
        return true;
    }
    switch (walk_look(core, cmd, job_ref, to)) {
    case WAY_UNKNOWN:
        return false;
    case WAY_ON:
        return group_low_ready(core, group_get(core, to->group), cmd);
    case WAY_STOPS:
    case WAY_CROWDED:
        return true;
    }
    return true;
}

bool walk_crowded(struct core *core, struct bytes job_ref, const struct token *to)
{
    return walk_is_due(core, to) && walk_look(core, NULL, job_ref, to) == WAY_CROWDED;
}

/* Passes what it can; true: it stands before limits[passed]. */
static bool walk_stops(struct core *core, struct bytes job_ref, struct token *to)
{
    for (; to->passed < to->limits->count; to->passed++) {
        const struct limit *limit = &to->limits->items[to->passed];
        if (!walk_skips(to, to->passed) &&
            !limit_rules(limit->kind)->arrive(core, job_ref, to, limit)) {
            return true;
        }
    }
    return false;
}

void walk_move(struct core *core, struct bytes job_ref, const struct token *from, struct token *to)
{
    if (!walk_is_due(core, to)) {
        to->where = TOKEN_TIMER;
    } else if (!token_has_ahead(to) || !walk_stops(core, job_ref, to)) {
        to->where = TOKEN_READY;
    }
    token_move(core, job_ref, from, to);
}
