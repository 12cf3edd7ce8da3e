/*
 * core/floating.h - floating limits: values that workers refresh while somebody waits for them.
 *
 * Ownership  a floating limit belongs to its queue; one with waiters or a refresh under way stays
 *            in memory.
 * Threads    the shard's executor only.
 * Limits     one for each queue.
 */
#ifndef SILO_CORE_FLOATING_H
#define SILO_CORE_FLOATING_H

#include "core/queue.h"

struct command;
struct refresh_task;

/* Makes the limit if there is none. The queue must be known. */
void floating_ensure(struct core *core, struct queue *queue, const struct floating_limit *limit);
void floating_load(struct core *core, struct queue *queue, bool present, struct bytes value);
void floating_free(struct core *core, struct floating *floating);
/* Waiters or state changed: when the next refresh is due, whether the limit is active. */
void floating_update(struct core *core, struct queue *queue);
void floating_renew(struct core *core, struct floating *floating, int64_t term_ms);
/* Hands its refresh task to the worker whose poll this is. */
void floating_lease(struct core *core, struct floating *floating, struct command *cmd,
                    struct refresh_task *out);
void floating_give_back(struct core *core, struct floating *floating);
/* Its task is there for the workers of this group: a new one, or that which nobody has taken. */
void floating_offer_to(struct core *core, struct floating *floating, struct bytes group);
/* Its refresh is over; the caller has changed the value, or when it is tried again. */
void floating_done(struct core *core, struct floating *floating);

#endif
