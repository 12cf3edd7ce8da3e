/*
 * core/throttle.h - lines of tokens that wait for a rate limit.
 *
 * A due token that stands before a rate limit waits in a *throttle*: the line of its limiter and
 * its task group, kept like the line of a concurrency queue (core/line.c) under a queue reference
 * of its own (codec/key.h). Nobody is asked about it before a poll of its group wants it, and then
 * only as many of the first tokens as the limiter can let through.
 *
 * All throttles of one limiter share a *gate*. It is open at first. A refusal shuts it until the
 * limiter lets somebody through again; until then nothing of its lines is asked, written or woken,
 * unless somebody comes first in line who asks for less. The shard's own limiter answers in order,
 * so whoever was to be asked after the first refusal is not. A limiter outside is asked for one
 * token when the gate opens, and each that passes lets two more be asked.
 *
 *     walk ──► line ── gate open, a poll wants it: asked ── under ──► on through its limits
 *                ▲                                  │
 *                └──── over: the gate shuts ◄───────┘  (the token stays where it is: nothing is written)
 *
 * Ownership  a throttle belongs to its queue, and stays in memory while tokens wait in it. A gate
 *            lives as long as throttles or unanswered questions refer to it.
 * Threads    the shard's executor only.
 * Limits     SHARD_THROTTLES_MAX lines with tokens; beyond that tokens are ready, asked one by one,
 *            and back off among the timers.
 */
#ifndef SILO_CORE_THROTTLE_H
#define SILO_CORE_THROTTLE_H

#include "core/queue.h"

struct group;

/* What makes a question easier or harder than another one to the same limiter. */
struct gate_question {
    int64_t hits, limit, duration_ms;
};

struct gate {
    struct map_node node;      /* key: tenant part, limiter hash */
    struct list throttles;     /* struct throttle.in_gate */
    struct heap_node opens;    /* shut: monotonic time */
    uint32_t asked, asked_max; /* questions under way, and how many there may be */
    uint32_t refusals, errors; /* in a row */
    struct gate_question refused;
    size_t key_len;
    uint8_t key[];
};

struct throttle {
    struct queue *queue;
    struct gate *gate;
    struct group *group;
    struct list_node in_gate, in_group;
    /* in group->turns while its next token may be asked; key: that one's place */
    struct heap_node turn;
    struct uuid first; /* task id of its first token when the gate was shut, or since */
    bool stored;       /* the META_THROTTLE row is there: tokens wait */
    bool reading;      /* a poll waits for what its line misses */
};

void gates_init(struct core *core);
void gates_free(struct core *core);
static inline bool gate_is_shut(const struct gate *gate)
{
    return heap_has(&gate->opens);
}

/* The line of a throttle is its queue's only one; nobody gets a slot there. */
#define THROTTLE_LINE ((struct line_id){0})

/* The queue with this reference; a throttle if it is a throttle reference. */
struct queue *throttle_get(struct core *core, struct bytes ref);
/* The queue of a rate limit that throttles becomes a throttle; NULL: there are too many of them. */
struct queue *throttle_of(struct core *core, struct bytes job_ref, const struct limit *limit,
                          struct bytes group);
/* A META_THROTTLE row, read at open. */
void throttle_loaded(struct core *core, struct bytes ref);
void throttle_free(struct core *core, struct throttle *throttle);
/* So many tokens stand in its line now. */
void throttle_counted(struct core *core, struct throttle *throttle, uint64_t count);
/* Its line or what is known of it has changed. */
void throttle_changed(struct core *core, struct throttle *throttle);
/* Questions about tokens of its lines begin and end; gate may be NULL. */
void gate_asked(struct core *core, struct gate *gate);
void gate_answered(struct core *core, struct gate *gate);
/* What the answer was. `wait_ms`: how long nobody will pass who asks for as much. */
void gate_passed(struct core *core, struct gate *gate);
void gate_refused(struct core *core, struct gate *gate, const struct gate_question *question,
                  int64_t wait_ms);
void gate_failed(struct core *core, struct gate *gate, int64_t wait_ms);
/* Somebody who did not stand in line passed this limiter: it may let others through, too. */
void gate_reopen(struct core *core, struct bytes job_ref, const struct limit *limit);
void throttle_turn(struct core *core);
int64_t throttle_next_mono_ms(const struct core *core);
/* The first token of a line in memory that is not being asked about; NULL: there is none. */
struct task *throttle_first_unasked(const struct line *line);
/* A place as a number in the shard's order, all but its arrival: key of struct throttle.turn. */
int64_t throttle_place_code(const struct core *core, const struct place *place);
/* Whether and where it takes its turn, as its gate and its line are now. */
void throttle_set_turn(struct core *core, struct throttle *throttle);
/* It takes none until its page is there (reading), or an answer. */
void throttle_pass_over(struct throttle *throttle, bool reading);

#endif
