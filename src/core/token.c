/*
 * core/token.c - where a job's token is.
 *
 *      enqueue                 due                  leased             reported
 *   NONE ───► TIMER ─────────────────► READY ─────────────────► LEASE ─────────► NONE
 *     │         ▲ │                    ▲ ▲   ◄── given back ───────┤
 *     │         │ └────► WAITER ───────┘ │                         │
 *     │         │          slot free     │                         │
 *     └─────────┼────────────────────────┘                         │
 *               └──────── retry later, rate limit ─────────────────┘
 *
 * Every non-terminal job owns exactly one token, in exactly one place. token_move is the only code
 * that writes or deletes timer, ready, waiter and lease rows, and it always does both halves in
 * one batch. A slot is a property of a token: those of limits[0 .. passed) are taken and released
 * here and nowhere else (but for the operator's drop).
 */
#include "core/token.h"

#include "base/assert.h"
#include "core/group.h"
#include "core/lease.h"
#include "core/limit_kinds.h"
#include "core/line.h"
#include "core/low.h"
#include "core/marks.h"
#include "core/queue.h"
#include "core/ready.h"
#include "core/slot.h"
#include "core/state.h"
#include "core/task.h"
#include "core/timer.h"

static void token_leave(struct core *core, const struct token *from)
{
    struct key key;
    switch (from->where) {
    case TOKEN_NONE:
        return;
    case TOKEN_TIMER:
        key_timer(&key, &from->place);
        view_del(&core->view, key_bytes(&key));
        timer_drop(core, &from->place);
        return;
    case TOKEN_READY:
        key_ready(&key, core->order, from->group, &from->place);
        view_del(&core->view, key_bytes(&key));
        group_drop(core, from->group, &from->place);
        return;
    case TOKEN_WAITER:
        key_waiter(&key, core->order, queue_ref(from->queue), from->line, &from->place);
        view_del(&core->view, key_bytes(&key));
        line_remove(core, from->queue, from->line, &from->place);
        return;
    case TOKEN_LEASE:
        key_by_ref(&key, TABLE_LEASE, from->lease->job_ref);
        view_del(&core->view, key_bytes(&key));
        marks_remove(core, from->lease);
        lease_remove(core, from->lease);
        return;
    }
}

/*
 * The value of the row for a token that waits. The limits go with it while some of them are ahead.
 */
static void token_encode(struct core *core, struct bytes job_ref, const struct token *to)
{
    struct task_rec rec = {
        .job_ref = job_ref,
        .attempt = to->attempt,
        .relative = to->relative,
        .group = to->where != TOKEN_READY ? to->group : BYTES_NONE,
        .has_chain = to->has_chain,
    };
    if (to->has_chain) {
        rec.chain = (struct chain_rec){.task_id = to->task_id,
                                       .passed = to->passed,
                                       .rate_retries = to->rate_retries,
                                       .rates_paid = to->rates_paid};
        if (token_has_ahead(to)) {
            rec.chain.limit_count = to->limits->count;
            rec.chain.limits = to->limits->stored;
        }
    }
    buf_reset(&core->scratch);
    task_encode(&core->scratch, &rec);
}

/* Puts the row, and makes the task for the window. */
static struct task *token_put(struct core *core, const struct key *key, struct bytes job_ref,
                              const struct token *to)
{
    token_encode(core, job_ref, to);
    struct blob *rec = blob_new(buf_bytes(&core->scratch));
    view_put_blob(&core->view, key_bytes(key), rec, true);
    struct task *task = task_new(job_ref, &to->place, to->attempt, to->relative);
    task->batch = core->view.open;
    if (to->info != NULL) {
        task_set_info(core, task, to->info);
    }
    if (to->has_chain) {
        task->has_chain = true;
        task->task_id = to->task_id;
        task->passed = to->passed;
        task->rate_retries = to->rate_retries;
        task->rates_paid = to->rates_paid;
        if (token_has_ahead(to)) {
            task->rec = blob_ref(rec);
        }
    }
    if (to->where != TOKEN_READY) {
        task->group_name = blob_new(to->group);
    }
    blob_unref(rec);
    return task;
}

static void token_arrive_waiter(struct core *core, struct bytes job_ref, const struct token *to)
{
    struct key key;
    key_waiter(&key, core->order, queue_ref(to->queue), to->line, &to->place);
    struct task *task = token_put(core, &key, job_ref, to);
    struct blob *rec = blob_ref(task->rec);
    line_insert(core, to->queue, to->line, task);
    /*
     * It may take over a slot there: looked at before others take over its own, or tokens could
     * push each other back for ever.
     */
    if (to->queue->waiting_count != 0) {
        queue_visit_later(core, to->queue);
    }
    struct chain *chain = chain_find(core, &to->task_id);
    if (chain != NULL && line_rules(to->queue, to->line)->gives_way) {
        chain_waits(core, chain, to->queue, to->line, &to->place, rec);
    }
    blob_unref(rec);
}

static void token_arrive(struct core *core, struct bytes job_ref, const struct token *to)
{
    struct key key;
    switch (to->where) {
    case TOKEN_NONE:
        return;
    case TOKEN_TIMER:
        key_timer(&key, &to->place);
        timer_add(core, token_put(core, &key, job_ref, to));
        return;
    case TOKEN_READY: {
        key_ready(&key, core->order, to->group, &to->place);
        struct group *group = group_get(core, to->group);
        ASSERT(group->low_known);
        low_note_insert(core, group, &to->place);
        group_add(core, group, token_put(core, &key, job_ref, to));
        return;
    }
    case TOKEN_WAITER:
        token_arrive_waiter(core, job_ref, to);
        return;
    case TOKEN_LEASE:
        lease_write(core, lease_add(core, job_ref, to->lease_rec), true);
        return;
    }
}

/* Slots the token does not carry on are released, those it has passed on the way are taken. */
static void token_slots(struct core *core, struct bytes job_ref, const struct token *from,
                        const struct token *to)
{
    const bool same = to->where != TOKEN_NONE && to->has_chain && from->has_chain &&
                      uuid_eq(&from->task_id, &to->task_id);
    if (from->has_chain) {
        struct chain *chain = chain_find(core, &from->task_id);
        if (chain != NULL) {
            chain_waits_no_more(core, chain);
        }
        slots_release(core, &from->task_id, same ? to->passed : 0);
    }
    if (to->where == TOKEN_NONE || !to->has_chain) {
        return;
    }
    for (uint32_t i = same ? from->passed : 0; i < to->passed; i++) {
        const struct limit *limit = &to->limits->items[i];
        if (limit_rules(limit->kind)->holds == HOLDS_SLOT && !limit->repeated) {
            slot_take(core, job_ref, &to->task_id, queue_of_limit(core, job_ref, limit), i);
        }
    }
}

void token_move(struct core *core, struct bytes job_ref, const struct token *from,
                const struct token *to)
{
    /* The bytes may lie in what is about to be freed. */
    struct key ref;
    ASSERT(job_ref.len <= sizeof ref.b);
    memcpy(ref.b, job_ref.ptr, job_ref.len);
    ref.len = job_ref.len;
    struct blob *group = blob_new(to->group);
    struct blob *info = to->info != NULL ? blob_ref(to->info) : NULL;
    struct token leaving = *from;
    if (from->where == TOKEN_LEASE) {
        leaving.has_chain = true; /* whatever is filed under its task id */
        leaving.task_id = from->lease->rec.task_id;
        leaving.passed = from->lease->rec.passed;
    }
    struct token arriving = *to;
    arriving.group = blob_bytes(group);
    arriving.info = info;
    token_leave(core, &leaving);
    token_slots(core, key_bytes(&ref), &leaving, &arriving);
    token_arrive(core, key_bytes(&ref), &arriving);
    blob_unref(group);
    blob_unref(info);
}

struct token token_of_task(const struct task *task)
{
    struct token token = {
        .where = TOKEN_TIMER,
        .group = blob_bytes(task->group_name),
        .place = task->place,
        .attempt = task->attempt,
        .relative = task->relative,
        .info = task->info,
        .has_chain = task->has_chain,
        .task_id = task->task_id,
        .passed = task->passed,
        .rate_retries = task->rate_retries,
        .rates_paid = task->rates_paid,
    };
    if (task->group != NULL) {
        token.where = TOKEN_READY;
        token.was_due = true;
        token.group = blob_bytes(task->group->name);
    } else if (task->line != NULL) {
        token.where = TOKEN_WAITER;
        token.was_due = true;
        token.queue = task->line->queue;
        token.line = task->line->id;
    }
    return token;
}

bool token_decode(struct bytes value, struct token *token, struct task_rec *ret_rec)
{
    if (!task_decode(value, ret_rec)) {
        return false;
    }
    token->attempt = ret_rec->attempt;
    token->relative = ret_rec->relative;
    token->has_chain = ret_rec->has_chain;
    token->task_id = ret_rec->chain.task_id;
    token->passed = ret_rec->chain.passed;
    token->rate_retries = ret_rec->chain.rate_retries;
    token->rates_paid = ret_rec->chain.rates_paid;
    return true;
}

const struct limits *limits_of(struct core *core, const struct info *info)
{
    return limit_table_find(&core->limits, info->limits, info->limit_count);
}

bool token_of_row(struct core *core, struct bytes value, struct token *token)
{
    struct task_rec row;
    if (!token_decode(value, token, &row)) {
        return false;
    }
    if (row.group.len != 0) {
        token->group = row.group;
    }
    token->limits = limit_table_find(&core->limits, row.chain.limits, row.chain.limit_count);
    return token->limits != NULL;
}

void token_begin(struct token *to, const struct uuid *task_id, const struct limits *limits)
{
    to->has_chain = limits->count != 0;
    to->task_id = *task_id;
    to->passed = 0;
    to->rate_retries = 0;
    to->rates_paid = 0;
    to->limits = limits;
}
