/*
 * core/queue_rows.h - what is stored of a queue: read when it is needed, written once a batch.
 *
 * A queue is *known* when its record and its floating limit have been read, both in one go. A slot
 * of an unknown queue can be taken (all holders are in memory, and after every command no waiter
 * fits), but nobody can wait there.
 *
 * Threads    the shard's executor only.
 * Limits     SHARD_QUEUES_MAX queues that nothing keeps in memory; TURN_EVICTIONS_MAX are looked
 *            at a turn.
 */
#ifndef SILO_CORE_QUEUE_ROWS_H
#define SILO_CORE_QUEUE_ROWS_H

#include "base/bytes.h"

struct command;
struct core;
struct queue;

/*
 * Makes lines and floating limit known; false: asked for on behalf of cmd, or (cmd NULL) not known.
 */
bool queue_ready(struct core *core, struct queue *queue, struct command *cmd);
/* Starts to read them; the queue is visited when they are there. */
void queue_load(struct core *core, struct queue *queue);
void queues_write(struct core *core);
void queues_shrink(struct core *core);
void queues_free(struct core *core);

#endif
