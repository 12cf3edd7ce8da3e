/*
 * core/limit_kinds.h - what differs between the kinds of limit, in one table: how it goes for a
 * token that comes to a limit of the kind, what it has of it when it has passed, and what becomes
 * of it while it waits.
 *
 * A new kind is a row of the table (limit_kinds.c) and a file for its functions.
 *
 * Ownership  the table is constant.
 * Threads    the shard's executor only.
 */
#ifndef SILO_CORE_LIMIT_KINDS_H
#define SILO_CORE_LIMIT_KINDS_H

#include "core/limit.h"

struct command;
struct core;
struct queue;
struct token;

/* How it would go for a token that comes to a limit. */
enum limit_way {
    WAY_UNKNOWN, /* rows were asked for */
    WAY_ON,      /* it passes at once */
    WAY_STOPS,   /* it waits there */
    WAY_CROWDED, /* it would have to wait where there is no room for it */
};

/* What a token holds of a limit behind it. */
enum limit_holds {
    HOLDS_NOTHING,
    /*
     * A slot of its queue. Slots are released when the token ends, starts anew or falls back before
     * the limit, can be lost to a better token while it waits (core/grant.c), and an operator can
     * drop them (core/drop.c).
     */
    HOLDS_SLOT,
};

struct limit_rules {
    const char *name;

    /* --- coming to it --- */

    /* Changes nothing; what it misses is asked for on behalf of cmd (NULL: not at all). */
    enum limit_way (*look)(struct core *core, struct command *cmd, struct bytes job_ref,
                           const struct token *to, const struct limit *limit);
    /*
     * After `look` has said in the same run how it goes. False: it stops, and `to` says where it
     * waits (where, queue, line).
     */
    bool (*arrive)(struct core *core, struct bytes job_ref, struct token *to,
                   const struct limit *limit);

    /* --- behind it --- */

    enum limit_holds holds;
    /* A token that falls back before it, for it has lost a slot, need not pass it again. */
    bool passed_for_good;

    /* --- before it --- */

    /*
     * Somebody is asked whether a token may pass, and refuses it for a while (limit->rate): it may
     * stand ready before the limit, and be sent back to the timers.
     */
    bool asked;
    /* Tokens stand in the line that limit_queue_ref names; false: they never do. */
    bool (*has_line)(const struct limit *limit);
    /* In line, its slots may go to better tokens, and operators do not move it. */
    bool gives_way;
};

const struct limit_rules *limit_rules(enum limit_kind kind);
/* Of those who stand in this line. */
const struct limit_rules *line_rules(const struct queue *queue, struct line_id line);

#endif
