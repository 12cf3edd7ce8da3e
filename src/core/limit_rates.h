/*
 * core/limit_rates.h - limits of how many pass in a time: a row of core/limit_kinds.c. What comes
 * of asking the limiter: core/rate.c.
 *
 * Threads    the shard's executor only.
 */
#ifndef SILO_CORE_LIMIT_RATES_H
#define SILO_CORE_LIMIT_RATES_H

#include "core/limit_kinds.h"

enum limit_way rates_look(struct core *core, struct command *cmd, struct bytes job_ref,
                          const struct token *to, const struct limit *limit);
bool rates_arrive(struct core *core, struct bytes job_ref, struct token *to,
                  const struct limit *limit);
/* Those that time alone will let through (limit->throttles). */
bool rates_have_line(const struct limit *limit);

#endif
