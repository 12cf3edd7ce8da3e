/*
 * core/marks.h - workers that hold a cancelled job, and their calls that wait to hear of one.
 *
 * Ownership  a worker has an entry while it holds a cancelled job or waits; the others cost
 *            nothing.
 * Threads    the shard's executor only.
 * Limits     WORKER_AWAITS_MAX calls of a worker, SHARD_AWAITS_MAX of a shard.
 */
#ifndef SILO_CORE_MARKS_H
#define SILO_CORE_MARKS_H

#include "base/list.h"
#include "base/map.h"

struct command;
struct core;
struct lease;

/* A worker that holds a cancelled job, or waits to hear of one. */
struct worker_marks {
    struct map_node node; /* key: worker id */
    struct list leases;   /* struct lease.marked */
    struct list commands; /* command.node: AWAIT_CANCELS, parked */
    uint32_t command_count;
    struct list_node waiting; /* in core->marks.waiting, while there are commands */
    size_t key_len;
    uint8_t key[];
};

void marks_init(struct core *core);
/* The lease's job is cancelled: its worker hears of it if it waits. Undone when the lease ends. */
void marks_add(struct core *core, struct lease *lease);
void marks_remove(struct core *core, struct lease *lease);
/* Takes a parked AWAIT_CANCELS out. */
void marks_leave(struct core *core, struct command *cmd);
/* The time of every parked AWAIT_CANCELS is up. */
void marks_release(struct core *core);
/* Moves every parked AWAIT_CANCELS to a list. */
void marks_abandon(struct core *core, struct list *to);
/* No lease is marked any more. */
void marks_free(struct core *core);

#endif
