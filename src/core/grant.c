/*
 * core/grant.c - free slots go to waiters: who is next at a queue.
 *
 * 1. While a slot is free, the best waiter among the lines it fits gets it and walks on through its further limits.
 * 2. A slot whose token itself waits somewhere goes to a better waiter that would fit without it; the loser, without that slot
 *    and those it took after it, stands in this queue's line again. So the best token always gets on, whatever the order of limits.
 *
 * Queues are visited after each command, in the batch of what freed the slot. A visit that misses something, or has done
 * its share of a turn, goes on later; until then the queue is `freed` and has a META_GRANT row, which open reads.
 */
#include "base/assert.h"
#include "core/core_int.h"

void queue_dirty(struct core *core, struct queue *queue)
{
    if (!list_linked(&queue->dirty)) {
        list_push_back(&core->dirty_queues, &queue->dirty);
    }
}

void queue_freed(struct core *core, struct queue *queue)
{
    queue->freed = true;
    queue_dirty(core, queue);
}

int64_t grants_next_mono_ms(const struct core *core)
{
    int64_t next = INT64_MAX;
    for (struct list_node *n = list_first(&core->dirty_queues); n != NULL;
         n = list_next(&core->dirty_queues, n)) {
        const struct queue *queue = CONTAINER_OF(n, struct queue, dirty);
        const int64_t when =
            queue->retry_mono_ms > core->mono_ms ? queue->retry_mono_ms : core->mono_ms;
        next = when < next ? when : next;
    }
    return next;
}

/* The best waiters of a queue's lines. */
struct candidates {
    struct task *fits;  /* among the lines with room */
    struct task *takes; /* among those that would have room if one slot more were free */
    bool loading;
};

static void better_of(const struct core *core, struct task **best, struct task *task)
{
    if (*best == NULL || waits_before(core, &task->place, &(*best)->place)) {
        *best = task;
    }
}

static struct candidates queue_candidates(struct core *core, struct queue *queue)
{
    struct candidates found = {0};
    for (uint32_t i = 0; i < queue->line_count; i++) {
        struct line *line = queue->lines[i];
        const uint32_t max = queue_max(queue, line->id);
        const bool fits = queue->holder_count < max;
        const bool takes = queue->waiting_count != 0 && max != 0 && queue->holder_count <= max;
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
            better_of(core, fits ? &found.fits : &found.takes, task);
            break;
        }
    }
    return found;
}

/* Where a waiter goes that has got its slot. The row it came from is `rec`, which the caller keeps. */
static bool granted_token(struct arena *arena, const struct token *from, struct bytes rec,
                          struct limits *limits, struct token *to)
{
    struct task_rec row;
    *to = *from;
    if (!token_decode(rec, to, &row) ||
        !limits_decode(arena, row.chain.limits, row.chain.limit_count, limits) ||
        to->passed >= limits->count) {
        return false;
    }
    to->group = row.group;
    to->limits = limits;
    to->items = row.chain.limits;
    to->passed++;
    to->rate_retries = 0;
    return true;
}

enum visit { VISIT_ON, VISIT_DONE, VISIT_LOADING, VISIT_NEEDS };

/* A request row that says nothing: it goes, as a job would that is cancelled. */
static enum visit grant_corrupt(struct core *core, struct task *task)
{
    core->corrupt_rows++;
    const struct token from = token_of_task(task);
    token_move(core, task_ref(task), &from, &(struct token){.where = TOKEN_NONE});
    return VISIT_ON;
}

static enum visit grant_task(struct core *core, struct command *cmd, struct task *task)
{
    struct arena arena;
    arena_init(&arena);
    struct blob *rec = blob_ref(task->rec);
    struct blob *info = task->info != NULL ? blob_ref(task->info) : NULL;
    const struct token from = token_of_task(task);
    const struct bytes ref = arena_copy(&arena, task_ref(task));
    struct limits limits;
    struct token to;
    enum visit visit = VISIT_ON;
    if (!granted_token(&arena, &from, blob_bytes(rec), &limits, &to)) {
        visit = grant_corrupt(core, task);
    } else if (!walk_ready(core, cmd, ref, &to)) {
        visit = VISIT_NEEDS;
    } else {
        to.info = info;
        walk_move(core, ref, &from, &to);
    }
    blob_unref(rec);
    blob_unref(info);
    arena_deinit(&arena);
    return visit;
}

/* The token of a waiting chain stands in this queue's line again, from the limit whose slot it loses. */
static enum visit grant_demote(struct core *core, struct command *cmd, struct holder *holder)
{
    struct chain *chain = holder->chain;
    struct queue *waits = chain->waits;
    if (!queue_ready(core, waits, cmd)) {
        return VISIT_NEEDS;
    }
    struct arena arena;
    arena_init(&arena);
    struct blob *rec = blob_ref(chain->rec);
    const struct bytes ref = arena_copy(&arena, chain_ref(chain));
    struct token from = {
        .where = TOKEN_REQUEST, .place = chain->place, .queue = waits, .line = chain->line};
    struct task_rec row;
    struct limits limits;
    ASSERT(token_decode(blob_bytes(rec), &from, &row));
    ASSERT(limits_decode(&arena, row.chain.limits, row.chain.limit_count, &limits));
    struct token to = from;
    to.group = row.group;
    to.limits = &limits;
    to.items = row.chain.limits;
    to.passed = holder->index;
    to.queue = holder->queue;
    to.line = limits.items[holder->index].line;
    token_move(core, ref, &from, &to);
    blob_unref(rec);
    arena_deinit(&arena);
    return VISIT_ON;
}

static enum visit queue_step(struct core *core, struct command *cmd, struct queue *queue)
{
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
    if (found.takes == NULL) {
        return VISIT_DONE;
    }
    struct holder *worst = queue->waiting[queue->waiting_count - 1];
    if (!waits_before(core, &found.takes->place, &worst->chain->place)) {
        return VISIT_DONE;
    }
    return grant_demote(core, cmd, worst); /* the next step gives the slot away */
}

/* The queue's META_GRANT row is there exactly while a batch ends with it unfinished. */
static void grant_mark(struct core *core, struct queue *queue, bool unfinished)
{
    struct key key;
    key_meta_ref(&key, META_GRANT, queue_ref(queue));
    if (unfinished && queue->freed && !queue->grant_stored) {
        view_put(&core->view, key_bytes(&key), BYTES_NONE, true);
        queue->grant_stored = true;
    } else if (!unfinished && queue->grant_stored) {
        view_del(&core->view, key_bytes(&key));
        queue->grant_stored = false;
    }
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
    grant_mark(core, queue, visit != VISIT_DONE);
    return visit;
}

void grants_run(struct core *core)
{
    uint32_t budget = TURN_GRANTS_MAX;
    struct list later; /* their rows could not be read just now */
    list_init(&later);
    struct list_node *node = NULL;
    while (budget != 0 && core->phase == CORE_OPEN &&
           (node = list_pop_front(&core->dirty_queues)) != NULL) {
        struct queue *queue = CONTAINER_OF(node, struct queue, dirty);
        if (queue->retry_mono_ms > core->mono_ms) {
            list_push_back(&later, &queue->dirty);
            continue;
        }
        switch (queue_visit(core, NULL, queue, &budget)) {
        case VISIT_ON:
            queue_dirty(core, queue); /* out of budget */
            break;
        case VISIT_NEEDS:
            grant_read(core, queue);
            break;
        case VISIT_LOADING:
        case VISIT_DONE:
            break;
        }
    }
    while ((node = list_pop_front(&later)) != NULL) {
        list_push_back(&core->dirty_queues, node);
    }
    for (node = list_first(&core->dirty_queues); node != NULL;
         node = list_next(&core->dirty_queues, node)) {
        grant_mark(core, CONTAINER_OF(node, struct queue, dirty), true);
    }
}

void grant_failed(struct core *core, struct queue *queue)
{
    queue->grant = NULL;
    queue->retry_mono_ms = core->mono_ms + READ_RETRY_MS;
    queue_dirty(core, queue);
}

enum run grant_run(struct core *core, struct command *cmd)
{
    struct queue *queue = cmd->args.inner->queue;
    uint32_t budget = TURN_GRANTS_MAX;
    switch (queue_visit(core, cmd, queue, &budget)) {
    case VISIT_NEEDS:
        cmd->rounds =
            0; /* others were served meanwhile; each read is for the one that is best now */
        return RUN_NEED;
    case VISIT_ON:
        queue_dirty(core, queue);
        break;
    case VISIT_LOADING:
    case VISIT_DONE:
        break;
    }
    queue->grant = NULL;
    return run_ok(cmd);
}
