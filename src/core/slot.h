/*
 * core/slot.h - slots that are taken, and the chains they belong to.
 *
 * A chain exists exactly as long as its task id holds a slot. Of a queue's holders, those whose
 * tokens wait elsewhere stand in order (struct queue.waiting): the last of them loses its slot
 * first to a better waiter.
 *
 * Ownership  the core's: all slots taken are in memory.
 * Threads    the shard's executor only.
 */
#ifndef SILO_CORE_SLOT_H
#define SILO_CORE_SLOT_H

#include "base/list.h"
#include "base/map.h"
#include "codec/record.h"

struct core;
struct queue;

/* The slots of one token, and where it waits while it waits for a further one. */
struct chain {
    struct map_node node; /* key: task id */
    struct uuid task_id;
    struct list holders; /* struct holder.in_chain, in the order of its limits */
    struct queue *waits; /* NULL: it does not, or that is not known yet */
    struct line_id line;
    struct place place;
    struct blob *rec;           /* value of its waiter row, while it waits */
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

void slots_init(struct core *core);
static inline struct bytes chain_ref(const struct chain *chain)
{
    return bytes_of(chain->ref, chain->ref_len);
}

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
/* Files what is held under `from` under `to` instead; no slot is free in between. */
void slots_rename(struct core *core, const struct uuid *from, const struct uuid *to);
/*
 * The chain's token waits in a line: its slots may be taken over. `rec` is its waiter row's value.
 */
void chain_waits(struct core *core, struct chain *chain, struct queue *queue, struct line_id line,
                 const struct place *place, struct blob *rec);
void chain_waits_no_more(struct core *core, struct chain *chain);
/* Holders of the queue whose tokens wait somewhere and stand behind this place. */
uint32_t queue_waiting_behind(const struct core *core, const struct queue *queue,
                              const struct place *place);
void slots_free(struct core *core);

#endif
