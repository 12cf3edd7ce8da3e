/*
 * core/queue.h - concurrency queues of a shard: who holds their slots, who waits for one, and the
 * floating limits.
 *
 * A *slot* belongs to a token: it is filed under the queue and the token's task id. All slots taken
 * are in memory (struct holder), those of one token in its *chain*. Only token_move and the
 * operator's drop add or remove them.
 *
 * A token that finds its queue full waits in a *line* of the queue (codec/key.h, struct line_id) as
 * a request row. A line has a window in memory like a lane of ready tasks; how many wait in which
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
#include "codec/limit.h"
#include "core/lane.h"

struct core;
struct throttle;
struct token;

/* A low-water mark: no live row of the lane stands before `place`. */
struct low {
    bool has;
    struct place place; /* as last written */
    bool has_removed;
    struct place removed_max; /* greatest place removed since it became known */
};

/* The slots of one token, and where it waits while it waits for a further one. */
struct chain {
    struct map_node node; /* key: task id */
    struct uuid task_id;
    struct list holders; /* struct holder.in_chain, in the order of its limits */
    struct queue *waits; /* NULL: it does not, or that is not known yet */
    struct line_id line;
    struct place place;
    struct blob *rec;           /* value of its request row, while it waits */
    struct list_node unlocated; /* read at open, not looked up yet */
    size_t ref_len;
    uint8_t ref[];
};

/* One slot that is taken. */
struct holder {
    struct list_node in_chain, in_queue;
    struct chain *chain;
    struct queue *queue;
    uint32_t index;  /* of the limit in its job */
    uint64_t serial; /* older slots have smaller ones */
};

/* Waiters of a queue with one maximum. */
struct line {
    struct queue *queue;
    struct line_id id;
    uint64_t count; /* of request rows */
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
    struct list_node dirty;   /* to be visited */
    struct list_node changed; /* its record is to be written */
    struct list_node drop;    /* its holders are being dropped */
    struct list holders;      /* struct holder.in_queue, oldest first */
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

static inline struct bytes queue_ref(const struct queue *queue)
{
    return bytes_of(queue->key, queue->key_len);
}
static inline struct bytes chain_ref(const struct chain *chain)
{
    return bytes_of(chain->ref, chain->ref_len);
}

/* --- queue.c: the queues and their records --- */

struct queue *queue_find(struct core *core, struct bytes ref);
struct queue *queue_get(struct core *core, struct bytes ref);
struct queue *queue_of_limit(struct core *core, struct bytes job_ref, const struct limit *limit);
/*
 * Makes lines and floating limit known; false: asked for on behalf of cmd, or (cmd NULL) not known.
 */
bool queue_ready(struct core *core, struct queue *queue, struct command *cmd);
/* Starts to read them; the queue is visited when they are there. */
void queue_load(struct core *core, struct queue *queue);
/* How many holders let a waiter of that line in. Floating: the queue must be known. */
uint32_t queue_max(const struct queue *queue, struct line_id line);
/* A slot is free now and nobody in line may claim it. */
bool queue_fits(const struct queue *queue, const struct limit *limit);
/* Floating waiters in its lines. */
bool queue_has_floating_waiters(const struct queue *queue);
void queue_changed(struct core *core, struct queue *queue);
void queues_write(struct core *core);
void queues_shrink(struct core *core);
void queues_free(struct core *core);

/* --- line.c: the windows --- */

struct line *line_find(struct queue *queue, struct line_id id);
/* The queue must be known. */
struct line *line_get(struct core *core, struct queue *queue, struct line_id id);
/*
 * A request row was written: counts it, and keeps the task if the window covers it, else frees it.
 */
void line_insert(struct core *core, struct queue *queue, struct line_id id, struct task *task);
/* A request row was deleted. */
void line_remove(struct core *core, struct queue *queue, struct line_id id,
                 const struct place *place);
enum line_front { LINE_FRONT_TASK, LINE_FRONT_NONE, LINE_FRONT_LOADING };
enum line_front line_front(struct core *core, struct line *line, struct task **ret_task);
void line_forget(struct core *core, struct line *line);
/* Whether a stands before b among waiters. */
bool waits_before(const struct core *core, const struct place *a, const struct place *b);

/* --- slot.c: holders and chains --- */

struct chain *chain_find(const struct core *core, const struct uuid *task_id);
void slot_take(struct core *core, struct bytes job_ref, const struct uuid *task_id,
               struct queue *queue, uint32_t index);
/* As read at open. */
void slot_loaded(struct core *core, struct bytes queue_ref, const struct uuid *task_id,
                 const struct holder_rec *rec);
/* Deletes its row, frees the slot; the chain goes with its last slot. */
void slot_release(struct core *core, struct holder *holder);
/* Releases the slots of limits[from] and later. */
void slots_release(struct core *core, const struct uuid *task_id, uint32_t from);
/*
 * The chain's token waits in a line: its slots may be taken over. `rec` is its request row's value.
 */
void chain_waits(struct core *core, struct chain *chain, struct queue *queue, struct line_id line,
                 const struct place *place, struct blob *rec);
void chain_waits_no_more(struct core *core, struct chain *chain);
/* Holders of the queue whose tokens wait somewhere and stand behind this place. */
uint32_t queue_waiting_behind(const struct core *core, const struct queue *queue,
                              const struct place *place);

/* --- grant.c --- */

/* A slot became free, or the maximum rose. */
void queue_freed(struct core *core, struct queue *queue);
/* Something about the line or its holders changed that a visit should look at. */
void queue_dirty(struct core *core, struct queue *queue);
void grants_run(struct core *core);
/* Once a turn: also those that were not finished. */
void grants_turn(struct core *core);
int64_t grants_next_mono_ms(const struct core *core);
/* What a visit missed could not be read. */
void grant_failed(struct core *core, struct queue *queue);

/* --- walk.c --- */

/*
 * Moves a token as far as its limits let it. `to` is where it would be: group, place, attempt,
 * relative, info, task_id, passed, rate_retries, limits, items. walk_ready must have said true in
 * the same run.
 */
void walk_move(struct core *core, struct bytes job_ref, const struct token *from, struct token *to);
/*
 * Whether all is known that the walk looks at; false: asked for on behalf of cmd (NULL: not known).
 */
bool walk_ready(struct core *core, struct command *cmd, struct bytes job_ref,
                const struct token *to);

/*
 * Whether the walk would end in a line that its queue has no room for: asked before a job is made.
 * After walk_ready.
 */
bool walk_crowded(struct core *core, struct bytes job_ref, const struct token *to);

/* --- floating.c --- */

/* Makes the limit if there is none. The queue must be known. */
void floating_ensure(struct core *core, struct queue *queue,
                     const Silo__V1__FloatingConcurrencyLimit *limit);
void floating_load(struct core *core, struct queue *queue, bool present, struct bytes value);
void floating_free(struct core *core, struct floating *floating);
/* Waiters or state changed: when the next refresh is due, whether the limit is active. */
void floating_update(struct core *core, struct queue *queue);
/* The limit that a task refreshes, NULL for none. False: asked for on behalf of cmd. */
bool floating_find(struct core *core, struct command *cmd, const struct uuid *task_id,
                   struct floating **ret_floating);
/* A META_REFRESH_LEASE row, read at open. */
void floating_leased(struct core *core, struct bytes task_id, struct bytes ref);
void floating_stubs_free(struct core *core);
void floating_renew(struct core *core, struct floating *floating, int64_t term_ms);
/* Hands its refresh task to the worker whose poll this is. */
void floating_lease(struct core *core, struct floating *floating, struct command *cmd,
                    struct refresh_task *out);
void floating_give_back(struct core *core, struct floating *floating);
void floating_turn(struct core *core);
int64_t floating_next_mono_ms(const struct core *core);

#endif
