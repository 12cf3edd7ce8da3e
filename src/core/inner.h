/*
 * core/inner.h - commands that the core makes for itself: they run like a caller's, with the woken
 * ones.
 *
 * Ownership  freed when they are answered.
 * Threads    the shard's executor only.
 * Limits     those of whoever makes them: SHARD_EXPIRIES_MAX, SHARD_CHECKS_MAX, TURN_LOCATES_MAX,
 *            one for each queue that is visited, a page of expiry and of redating, one for each
 *            info row that is missing.
 */
#ifndef SILO_CORE_INNER_H
#define SILO_CORE_INNER_H

#include "core/core.h"

struct queue;

/* What a command of the core's own is about. */
struct inner_args {
    struct queue *queue;       /* GRANT */
    struct uuid task_id;       /* LOCATE, CHECK, CHECKED */
    enum core_verdict verdict; /* CHECKED */
    int64_t reset_ms;
};

/* To be filled and woken; freed when it is answered. */
struct command *inner_new(struct core *core, enum command_kind kind, struct bytes job_ref);
/* Runs soon: with the woken ones. */
void inner_wake(struct core *core, struct command *cmd);
/* Before all that are woken: what a read has just said would not hold any more behind them. */
void inner_wake_first(struct core *core, struct command *cmd);
/* It has ended. */
void inner_free(struct command *cmd);

#endif
