/*
 * core/poll.h - workers ask for tasks: parked polls, and what they are given.
 *
 * Ownership  a poll lies in the arena of its command.
 * Threads    the shard's executor only.
 * Limits     TURN_HANDOVERS_MAX tasks a turn, POLL_TASKS_MAX a poll.
 */
#ifndef SILO_CORE_POLL_H
#define SILO_CORE_POLL_H

#include "base/list.h"
#include "core/command.h"
#include "core/token.h"

struct group;

struct poll {
    struct list_node node;
    struct group *group;
    struct command *command;
    size_t cap, refresh_cap;
    size_t bytes; /* of the reply so far, at most */
    bool full;    /* what comes next does not fit */
    bool claimed;
    bool asked; /* rate limits were asked for it */
};

void poll_answer(struct core *core, struct poll *poll);
void poll_turn(struct core *core);
/* Every parked poll leaves: with what it has, if that is anything, else to where the shard goes. */
void polls_leave(struct core *core);
int64_t poll_next_mono_ms(const struct core *core);
/* Fills what the worker is told about the job; the bytes are copied. Changes nothing. */
void leased_task_fill(struct command *cmd, struct bytes job_ref, struct bytes info_row,
                      struct leased_task *out);
/*
 * Leases its token for the worker whose poll or lease call this is; `out` is filled and has its
 * task id.
 */
void poll_lease_token(struct core *core, struct command *cmd, struct bytes worker_id,
                      const struct token *from, struct bytes job_ref, struct leased_task *out);

#endif
