/*
 * core/limit_slots.c - a token comes to a queue. It takes a slot if one is free that nobody in line
 * may claim (queue_fits), and stands in the line of its maximum if not.
 */
#include "core/limit_slots.h"

#include "base/limits.h"
#include "core/floating.h"
#include "core/queue.h"
#include "core/queue_rows.h"
#include "core/token.h"

static enum limit_way queue_look(struct core *core, struct command *cmd, struct queue *queue,
                                 const struct limit *limit)
{
    if (queue_fits(queue, limit)) {
        return WAY_ON;
    }
    if (!queue_ready(core, queue, cmd)) {
        return WAY_UNKNOWN;
    }
    const bool full = queue->line_count >= QUEUE_LINES_MAX && line_find(queue, limit->line) == NULL;
    return full ? WAY_CROWDED : WAY_STOPS;
}

enum limit_way slots_look(struct core *core, struct command *cmd, struct bytes job_ref,
                          const struct token *to, const struct limit *limit)
{
    (void)to;
    return queue_look(core, cmd, queue_of_limit(core, job_ref, limit), limit);
}

enum limit_way floating_slots_look(struct core *core, struct command *cmd, struct bytes job_ref,
                                   const struct token *to, const struct limit *limit)
{
    (void)to;
    struct queue *queue = queue_of_limit(core, job_ref, limit);
    return queue_ready(core, queue, cmd) ? queue_look(core, cmd, queue, limit) : WAY_UNKNOWN;
}

static bool queue_arrive(struct queue *queue, struct token *to, const struct limit *limit)
{
    if (queue_fits(queue, limit)) {
        to->rate_retries = 0;
        return true;
    }
    to->where = TOKEN_WAITER;
    to->queue = queue;
    to->line = limit->line;
    return false;
}

bool slots_arrive(struct core *core, struct bytes job_ref, struct token *to,
                  const struct limit *limit)
{
    return queue_arrive(queue_of_limit(core, job_ref, limit), to, limit);
}

bool floating_slots_arrive(struct core *core, struct bytes job_ref, struct token *to,
                           const struct limit *limit)
{
    struct queue *queue = queue_of_limit(core, job_ref, limit);
    floating_ensure(core, queue, limit->floating);
    return queue_arrive(queue, to, limit);
}

bool slots_have_line(const struct limit *limit)
{
    return !limit->repeated;
}
