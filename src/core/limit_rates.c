/*
 * core/limit_rates.c - a token comes to a rate limit, and always stops there: in the line of its
 * limiter and its group, or ready to be asked about by itself.
 */
#include "core/limit_rates.h"

#include "core/group.h"
#include "core/low.h"
#include "core/queue_rows.h"
#include "core/throttle.h"
#include "core/token.h"

/* NULL: there is no line for it, so it is ready, and asked about by itself. */
static struct queue *rates_line(struct core *core, struct bytes job_ref, const struct token *to,
                                const struct limit *limit)
{
    return limit->throttles ? throttle_of(core, job_ref, limit, to->group) : NULL;
}

enum limit_way rates_look(struct core *core, struct command *cmd, struct bytes job_ref,
                          const struct token *to, const struct limit *limit)
{
    struct queue *line = rates_line(core, job_ref, to, limit);
    const bool known = (line == NULL || queue_ready(core, line, cmd)) &&
                       group_low_ready(core, group_get(core, to->group), cmd);
    return known ? WAY_STOPS : WAY_UNKNOWN;
}

bool rates_arrive(struct core *core, struct bytes job_ref, struct token *to,
                  const struct limit *limit)
{
    to->queue = rates_line(core, job_ref, to, limit);
    to->line = THROTTLE_LINE;
    to->where = to->queue != NULL ? TOKEN_WAITER : TOKEN_READY;
    return false;
}

bool rates_have_line(const struct limit *limit)
{
    return limit->throttles;
}
