/*
 * core/grant.c - free slots go to waiters: who is next at a queue.
 *
 * 1. While a slot is free, the best waiter among the lines it fits gets it and walks on through its
 *    further limits.
 * 2. Slots whose tokens themselves wait somewhere go to a better waiter that would fit without
 *    them, the worst first; each loser, without that slot and those it took after it, stands in
 *    this queue's line again. So the best token always gets on, whatever the order of limits and
 *    the maxima.
 *
 * Queues are visited after each command, in the batch of what freed the slot. A visit that misses
 * something, or has done its share of a turn, goes on later; until then the queue is `freed` and
 * has a META_GRANT row, which open reads.
 */
#include "core/grant.h"

#include "base/limits.h"
#include "base/saturate.h"
#include "core/commands.h"
#include "core/inner.h"
#include "core/line.h"
#include "core/queue.h"
#include "core/queue_rows.h"
#include "core/run.h"
#include "core/slot.h"
#include "core/state.h"
#include "core/throttle.h"
#include "core/token.h"
#include "core/walk.h"

int64_t grants_next_mono_ms(const struct core *core)
{
    int64_t next = list_empty(&core->queues.to_visit) ? INT64_MAX : core->mono_ms;
    for (struct list_node *n = list_first(&core->queues.sliced); n != NULL;
         n = list_next(&core->queues.sliced, n)) {
        const struct queue *queue = CONTAINER_OF(n, struct queue, to_visit);
        const int64_t when =
            queue->retry_mono_ms > core->mono_ms ? queue->retry_mono_ms : core->mono_ms;
        next = earlier(when, next);
    }
    return next;
}

/* The best waiters of a queue's lines. */
struct candidates {
    struct task *fits;  /* among the lines with room */
    struct task *takes; /* among those with room if worse tokens that wait gave up `give` slots */
    uint32_t give;
    bool loading;
};

static bool better_than(const struct core *core, const struct task *task, const struct task *best)
{
    return best == NULL || waits_before(core, &task->place, &best->place);
}

/*
 * A front waiter of a line that has no room: do enough of those stand behind it who hold a slot and
 * wait?
 */
static void candidate_takes(const struct core *core, const struct queue *queue, uint32_t max,
                            struct task *task, struct candidates *found)
{
    const uint32_t give = queue->holder_count - max + 1;
    if (give <= queue_waiting_behind(core, queue, &task->place) &&
        better_than(core, task, found->takes)) {
        found->takes = task;
        found->give = give;
    }
}

static struct candidates queue_candidates(struct core *core, struct queue *queue)
{
    struct candidates found = {0};
    for (uint32_t i = 0; i < queue->line_count; i++) {
        struct line *line = queue->lines[i];
        const uint32_t max = queue_max(queue, line->id);
        const bool fits = queue->holder_count < max;
        const bool takes = max != 0 && queue->holder_count - queue->waiting_count < max;
        struct task *task = NULL;
        if (!fits && !takes) {
            continue;
        }
        switch (line_front(core, line, &task)) {
        case LINE_FRONT_NONE:
            break;
        case LINE_FRONT_LOADING:
            found.loading = true;
            break;
        case LINE_FRONT_TASK:
            if (!fits) {
                candidate_takes(core, queue, max, task, &found);
            } else if (better_than(core, task, found.fits)) {
                found.fits = task;
            }
            break;
        }
    }
    return found;
}

/*
 * Where a waiter goes that has got its slot. The row it came from is `rec`, which the caller keeps.
 */
static bool granted_token(struct core *core, const struct token *from, struct bytes rec,
                          struct token *to)
{
    *to = *from;
    if (!token_of_row(core, rec, to) || to->passed >= to->limits->count) {
        return false;
    }
    to->passed++;
    to->rate_retries = 0;
    return true;
}

enum visit { VISIT_ON, VISIT_DONE, VISIT_LOADING, VISIT_NEEDS };

/* A waiter row that says nothing: it goes, as a job would that is cancelled. */
static enum visit grant_corrupt(struct core *core, struct task *task)
{
    core->corrupt_rows++;
    const struct token from = token_of_task(task);
    token_move(core, task_ref(task), &from, &(struct token){.where = TOKEN_NONE});
    return VISIT_ON;
}

/*
 * What the waiters behind a first one miss is read together with what it misses: slots often become
 * free in bunches.
 */
static void grant_read_ahead(struct core *core, struct command *cmd, const struct line *line)
{
    const uint32_t end = line->window.count < GRANT_AHEAD ? line->window.count : GRANT_AHEAD;
    for (uint32_t i = 1; i < end; i++) {
        const struct task *task = lane_at(&line->window, i);
        const struct token from = token_of_task(task);
        struct token to;
        if (granted_token(core, &from, blob_bytes(task->rec), &to)) {
            (void)walk_ready(core, cmd, task_ref(task), &to);
        }
    }
}

static enum visit grant_task(struct core *core, struct command *cmd, struct task *task)
{
    struct blob *rec = blob_ref(task->rec);
    struct blob *info = task->info != NULL ? blob_ref(task->info) : NULL;
    const struct token from = token_of_task(task);
    struct token to;
    enum visit visit = VISIT_ON;
    if (!granted_token(core, &from, blob_bytes(rec), &to)) {
        visit = grant_corrupt(core, task);
    } else if (!walk_ready(core, cmd, task_ref(task), &to)) {
        visit = VISIT_NEEDS;
        if (cmd != NULL) {
            grant_read_ahead(core, cmd, task->line);
        }
    } else {
        to.info = info;
        walk_move(core, task_ref(task), &from, &to);
    }
    blob_unref(rec);
    blob_unref(info);
    return visit;
}

/*
 * The token of a waiting chain stands in this queue's line again, from the limit whose slot it
 * loses.
 */
static void grant_demote(struct core *core, struct holder *holder)
{
    const struct chain *chain = holder->chain;
    struct blob *rec = blob_ref(chain->rec);
    struct token from = {
        .where = TOKEN_WAITER, .place = chain->place, .queue = chain->waits, .line = chain->line};
    if (!token_of_row(core, blob_bytes(rec), &from) || holder->index >= from.limits->count) {
        core_break(core, "the row of a waiting job is corrupt");
        blob_unref(rec);
        return;
    }
    struct token to = from;
    to.passed = holder->index;
    to.rates_paid = from.passed > from.rates_paid ? from.passed : from.rates_paid;
    to.queue = holder->queue;
    to.line = from.limits->items[holder->index].line;
    token_move(core, chain_ref(chain), &from, &to);
    blob_unref(rec);
}

/*
 * The `give` worst of those who hold a slot and wait give it up, all or none; the next step gives
 * the slots away.
 */
static enum visit grant_take_over(struct core *core, struct command *cmd, struct queue *queue,
                                  uint32_t give)
{
    bool ready = true;
    for (uint32_t i = 1; i <= give; i++) {
        struct queue *waits = queue->waiting[queue->waiting_count - i]->chain->waits;
        ready = queue_ready(core, waits, cmd) && ready;
    }
    if (!ready) {
        return VISIT_NEEDS;
    }
    for (; give != 0; give--) {
        grant_demote(core, queue->waiting[queue->waiting_count - 1]);
    }
    return VISIT_ON;
}

static enum visit queue_step(struct core *core, struct command *cmd, struct queue *queue)
{
    if (queue->throttle != NULL) { /* nobody gets a slot there */
        throttle_changed(core, queue->throttle);
        if (queue->known && !queue->throttle->stored) {
            queue_changed(core, queue); /* it emptied while it was read: it goes with the batch */
        }
        return VISIT_DONE;
    }
    if (!queue_ready(core, queue, cmd)) {
        queue_load(core, queue);
        return VISIT_LOADING;
    }
    const struct candidates found = queue_candidates(core, queue);
    if (found.loading) {
        return VISIT_LOADING;
    }
    if (found.fits != NULL) {
        return grant_task(core, cmd, found.fits);
    }
    return found.takes != NULL ? grant_take_over(core, cmd, queue, found.give) : VISIT_DONE;
}

/* Reads for a visit are made on behalf of a command of the core's own, one for each queue. */
static void grant_read(struct core *core, struct queue *queue)
{
    if (queue->grant == NULL) {
        struct command *cmd = inner_new(core, CMD_GRANT, BYTES_NONE);
        cmd->args.inner->queue = queue;
        queue->grant = cmd;
        inner_wake(core, cmd);
    }
}

static enum visit queue_visit(struct core *core, struct command *cmd, struct queue *queue,
                              uint32_t *budget)
{
    enum visit visit = VISIT_ON;
    while (visit == VISIT_ON && *budget != 0) {
        visit = queue_step(core, cmd, queue);
        --*budget;
    }
    if (visit == VISIT_DONE) {
        queue->freed = false;
    }
    queue_mark_grant(core, queue, visit != VISIT_DONE);
    return visit;
}

/* Queues that are not finished go on in the next turn, not after the next command. */
static void queue_slice(struct core *core, struct queue *queue)
{
    list_remove(&queue->to_visit);
    list_push_back(&core->queues.sliced, &queue->to_visit);
}

void grants_run(struct core *core)
{
    uint32_t budget = TURN_GRANTS_MAX;
    struct list_node *node = NULL;
    while (core->phase == CORE_OPEN && (node = list_pop_front(&core->queues.to_visit)) != NULL) {
        struct queue *queue = CONTAINER_OF(node, struct queue, to_visit);
        if (budget == 0 || queue->retry_mono_ms > core->mono_ms) {
            queue_mark_grant(core, queue, true);
            queue_slice(core, queue);
            continue;
        }
        switch (queue_visit(core, NULL, queue, &budget)) {
        case VISIT_ON:
            queue_slice(core, queue);
            break;
        case VISIT_NEEDS:
            grant_read(core, queue);
            break;
        case VISIT_LOADING:
        case VISIT_DONE:
            break;
        }
    }
}

void grants_turn(struct core *core)
{
    struct list_node *node = NULL;
    while ((node = list_pop_front(&core->queues.sliced)) != NULL) {
        list_push_back(&core->queues.to_visit, node);
    }
    grants_run(core);
}

void grant_ended(struct core *core, const struct command *cmd)
{
    struct queue *queue = cmd->args.inner->queue;
    if (cmd->rc.code != SILO_OK) {
        queue->grant = NULL;
        queue->retry_mono_ms = core->mono_ms + READ_RETRY_MS;
        queue_visit_later(core, queue);
    }
}

enum run grant_run(struct core *core, struct command *cmd)
{
    struct queue *queue = cmd->args.inner->queue;
    uint32_t budget = TURN_GRANTS_MAX;
    switch (queue_visit(core, cmd, queue, &budget)) {
    case VISIT_NEEDS:
        if (budget + 1 < TURN_GRANTS_MAX) {
            cmd->rounds = 0; /* somebody was served: the reads are for the next one */
        }
        return RUN_NEED;
    case VISIT_ON:
        queue_slice(core, queue);
        break;
    case VISIT_LOADING:
    case VISIT_DONE:
        break;
    }
    queue->grant = NULL;
    return run_ok(cmd);
}
