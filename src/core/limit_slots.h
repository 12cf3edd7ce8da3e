/*
 * core/limit_slots.h - limits of how many run at once: rows of core/limit_kinds.c.
 *
 * Threads    the shard's executor only.
 * Limits     QUEUE_LINES_MAX lines of waiters in a queue.
 */
#ifndef SILO_CORE_LIMIT_SLOTS_H
#define SILO_CORE_LIMIT_SLOTS_H

#include "core/limit_kinds.h"

enum limit_way slots_look(struct core *core, struct command *cmd, struct bytes job_ref,
                          const struct token *to, const struct limit *limit);
bool slots_arrive(struct core *core, struct bytes job_ref, struct token *to,
                  const struct limit *limit);
/* A floating maximum stands in a row that has to be known, and begins with the first who comes. */
enum limit_way floating_slots_look(struct core *core, struct command *cmd, struct bytes job_ref,
                                   const struct token *to, const struct limit *limit);
bool floating_slots_arrive(struct core *core, struct bytes job_ref, struct token *to,
                           const struct limit *limit);
/* All but those whose queue the job has named before. */
bool slots_have_line(const struct limit *limit);

#endif
