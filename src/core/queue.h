/*
 * core/queue.h - concurrency queues of a shard: who holds their slots, who waits for one, and the
 * floating limits.
 *
 * A *slot* belongs to a token: it is filed under the queue and the token's task id. All slots taken
 * are in memory (struct holder), those of one token in its *chain*. Only token_move and the
 * operator's drop add or remove them.
 *
 * A token that finds its queue full waits in a *line* of the queue (codec/key.h, struct line_id) as
 * a waiter row. A line has a window in memory like a lane of ready tasks; how many wait in which
 * line is in the queue's record.
 *
 * The lines of tokens that wait for a rate limit are queues, too, of which nobody ever holds a slot
 * (core/throttle.h).
 *
 * After each command the queues it touched are visited (core/grant.c), so that afterwards no waiter
 * fits; what a visit cannot finish at once leaves a META_GRANT row, and until it is done arrivals
 * stand in line.
 *
 * Ownership  the core owns all of it. Queues with holders, unfinished work or an active floating
 *            limit stay in memory.
 * Threads    the shard's executor only.
 * Limits     SHARD_QUEUES_MAX queues without any of these; SHARD_TASKS_MAX tasks in all windows;
 *            QUEUE_LINES_MAX lines.
 */
#ifndef SILO_CORE_QUEUE_H
#define SILO_CORE_QUEUE_H

#include "base/heap.h"
#include "core/lane.h"
#include "core/limit.h"

struct chain;
struct core;
struct holder;
struct throttle;

/* Waiters of a queue with one maximum. */
struct line {
    struct queue *queue;
    struct line_id id;
    uint64_t count; /* of waiter rows */
    struct low low;
    bool known, loading;
    struct lane window;
};

/* A floating limit in memory; the bytes of rec lie in the blobs. */
struct floating {
    struct floating_rec rec;
    struct blob *metadata, *group, *worker;
    struct queue *queue;
    struct map_node by_task;   /* TASK, LEASE */
    struct list_node in_group; /* TASK: struct group.refreshes */
    struct heap_node due;      /* NONE, with waiters: wall time of the next refresh */
    struct heap_node expiry;   /* LEASE: its end, monotonic time */
    struct heap_node offer;    /* TASK: when it is offered anew, monotonic time */
    uint64_t batch;            /* of its last change */
};

struct queue {
    struct map_node node; /* key: queue reference */
    struct list_node lru;
    struct list_node to_visit; /* after this command, or in the next turn */
    struct list_node changed;  /* its record is to be written */
    struct list_node drop;     /* its holders are being dropped */
    struct list holders;       /* struct holder.in_queue, oldest first */
    uint32_t holder_count;
    /* Of the holders, those whose tokens wait somewhere, best first. */
    struct holder **waiting;
    uint32_t waiting_count, waiting_cap;
    uint32_t chains; /* that wait in its lines */

    bool stored;  /* its record is there */
    bool known;   /* lines and floating limit have been read */
    bool loading; /* they are being read */
    struct line **lines;
    uint32_t line_count;
    struct floating *floating; /* NULL: there is none */
    bool refresh_stored;       /* the META_REFRESH row is there */
    struct throttle *throttle; /* NULL: a concurrency queue */

    bool freed;            /* a waiter may fit: arrivals stand in line */
    bool grant_stored;     /* the META_GRANT row is there */
    struct command *grant; /* reads what a visit missed */
    int64_t retry_mono_ms; /* not before, after a failed read */
    size_t key_len;
    uint8_t key[];
};

void queues_init(struct core *core);
static inline struct bytes queue_ref(const struct queue *queue)
{
    return bytes_of(queue->key, queue->key_len);
}

struct queue *queue_find(struct core *core, struct bytes ref);
struct queue *queue_get(struct core *core, struct bytes ref);
struct queue *queue_of_limit(struct core *core, struct bytes job_ref, const struct limit *limit);
struct line *line_find(struct queue *queue, struct line_id id);
/* Whether a stands before b among waiters. */
bool waits_before(const struct core *core, const struct place *a, const struct place *b);
/* How many holders let a waiter of that line in. Floating: the queue must be known. */
uint32_t queue_max(const struct queue *queue, struct line_id line);
/* A slot is free now and nobody in line may claim it. */
bool queue_fits(const struct queue *queue, const struct limit *limit);
/* Floating waiters in its lines. */
bool queue_has_floating_waiters(const struct queue *queue);
void queue_changed(struct core *core, struct queue *queue);
/* Something about the line or its holders changed that a visit should look at. */
void queue_visit_later(struct core *core, struct queue *queue);
/* A slot became free, or the maximum rose. */
void queue_freed(struct core *core, struct queue *queue);
/* The queue's META_GRANT row is there exactly while a batch ends with it unfinished. */
void queue_mark_grant(struct core *core, struct queue *queue, bool unfinished);

#endif
