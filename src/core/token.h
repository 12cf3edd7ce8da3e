/*
 * core/token.h - where a job's token is, and the one function that moves it.
 *
 * Ownership  a token is a description; the rows and windows it is about are the core's.
 * Threads    the shard's executor only.
 */
#ifndef SILO_CORE_TOKEN_H
#define SILO_CORE_TOKEN_H

#include "codec/record.h"
#include "core/lane.h"
#include "core/limit.h"

struct core;
struct lease;
struct queue;

enum token_where { TOKEN_NONE, TOKEN_TIMER, TOKEN_READY, TOKEN_WAITER, TOKEN_LEASE };

/*
 * Where a job's token is, or shall be. NONE: the job does not exist yet, or ends. `info` (may be
 * NULL) spares a read; `lease` is the lease left, `lease_rec` the one to come.
 *
 * A token of a job with limits has a chain: it holds the slots of limits[0 .. passed). READY with
 * limits ahead means that limits[passed] is a rate limit to be asked.
 */
struct token {
    enum token_where where;
    struct bytes group;
    struct place place;
    /*
     * it stood in a line or was ready: due, though its stamp may lie ahead of a clock that was set
     * back
     */
    bool was_due;
    uint32_t attempt, relative;
    struct blob *info;
    struct lease *lease;
    const struct lease_rec *lease_rec;
    bool has_chain;
    struct uuid task_id;
    uint32_t passed, rate_retries, rates_paid;
    /* to: what is passed on the way, and where it waits; NULL: all are passed */
    const struct limits *limits;
    struct queue *queue; /* WAITER; must be known */
    struct line_id line;
};

/*
 * The only function that creates, moves or ends a token, and the only one but drop.c that takes and
 * releases slots. Needs: low-water marks and queues of where it comes from and goes to are known.
 * What `to` lends but group and info must outlive it.
 */
void token_move(struct core *core, struct bytes job_ref, const struct token *from,
                const struct token *to);
/* The token that a task in a window stands for. */
struct token token_of_task(const struct task *task);

/* Limits are ahead of it. */
static inline bool token_has_ahead(const struct token *token)
{
    return token->has_chain && token->limits != NULL && token->passed < token->limits->count;
}

/* What its row says of its chain; false for a malformed row. `ret_rec` lends from `value`. */
bool token_decode(struct bytes value, struct token *token, struct task_rec *ret_rec);
/*
 * The same with its limits, and its group unless its row is a ready one's; false for malformed
 * limits, too. The group lends from `value`, the limits from the core's table of them.
 */
bool token_of_row(struct core *core, struct bytes value, struct token *token);
/* A job's limits, lent by the table; NULL if they are malformed. */
const struct limits *limits_of(struct core *core, const struct info *info);
/* A token for a job's next run: its chain begins before the first of these limits. */
void token_begin(struct token *to, const struct uuid *task_id, const struct limits *limits);

#endif
