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

#include "base/limits.h"
#include "core/floating.h"
#include "core/group.h"
#include "core/low.h"
#include "core/queue.h"
#include "core/queue_rows.h"
#include "core/state.h"
#include "core/throttle.h"
#include "core/token.h"

static bool walk_is_due(const struct core *core, const struct token *to)
{
    return to->was_due || to->place.due_ms <= core->wall_ms;
}

static bool walk_group_ready(struct core *core, struct command *cmd, const struct token *to)
{
    return group_low_ready(core, group_get(core, to->group), cmd);
}

/*
 * A queue that the job has named before, or a rate limit that let it through before it lost a slot.
 */
static bool walk_skips(const struct token *to, uint32_t index)
{
    const struct limit *limit = &to->limits->items[index];
    return limit->repeated || (limit->kind == LIMIT_RATE && index < to->rates_paid);
}

/* Where a token waits for a rate limit; NULL: it is ready, and asked about by itself. */
static struct queue *walk_throttle(struct core *core, struct bytes job_ref, const struct token *to,
                                   const struct limit *limit)
{
    return limit->throttles ? throttle_of(core, job_ref, limit, to->group) : NULL;
}

bool walk_ready(struct core *core, struct command *cmd, struct bytes job_ref,
                const struct token *to)
{
    if (!walk_is_due(core, to)) {
        return true;
    }
    const uint32_t count = token_has_ahead(to) ? to->limits->count : 0;
    for (uint32_t i = to->passed; i < count; i++) {
        const struct limit *limit = &to->limits->items[i];
        if (walk_skips(to, i)) {
            continue;
        }
        if (limit->kind == LIMIT_RATE) {
            struct queue *line = walk_throttle(core, job_ref, to, limit);
            if (line != NULL && !queue_ready(core, line, cmd)) {
                return false;
            }
            break;
        }
        struct queue *queue = queue_of_limit(core, job_ref, limit);
        if (limit->line.floating && !queue_ready(core, queue, cmd)) {
            return false;
        }
        if (!queue_fits(queue, limit)) {
            return queue_ready(core, queue, cmd);
        }
    }
    return walk_group_ready(core, cmd, to);
}

bool walk_crowded(struct core *core, struct bytes job_ref, const struct token *to)
{
    const uint32_t count = token_has_ahead(to) ? to->limits->count : 0;
    for (uint32_t i = to->passed; i < count && walk_is_due(core, to); i++) {
        const struct limit *limit = &to->limits->items[i];
        if (walk_skips(to, i)) {
            continue;
        }
        if (limit->kind == LIMIT_RATE) {
            return false;
        }
        struct queue *queue = queue_of_limit(core, job_ref, limit);
        if (!queue_fits(queue, limit)) {
            return queue->line_count >= QUEUE_LINES_MAX && line_find(queue, limit->line) == NULL;
        }
    }
    return false;
}

/* Passes what it can; true: it stands before limits[passed]. */
static bool walk_stops(struct core *core, struct bytes job_ref, struct token *to)
{
    for (; to->passed < to->limits->count; to->passed++) {
        const struct limit *limit = &to->limits->items[to->passed];
        if (walk_skips(to, to->passed)) {
            continue;
        }
        if (limit->kind == LIMIT_RATE) {
            to->queue = walk_throttle(core, job_ref, to, limit);
            to->line = THROTTLE_LINE;
            to->where = to->queue != NULL ? TOKEN_REQUEST : TOKEN_READY;
            return true;
        }
        struct queue *queue = queue_of_limit(core, job_ref, limit);
        if (limit->line.floating) {
            floating_ensure(core, queue, limit->floating);
        }
        if (!queue_fits(queue, limit)) {
            to->where = TOKEN_REQUEST;
            to->queue = queue;
            to->line = limit->line;
            return true;
        }
        to->rate_retries = 0;
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
