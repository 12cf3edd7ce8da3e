/*
 * core/token.c - where a job's token is.
 *
 *      enqueue                 due                  leased             reported
 *   NONE ───► TIMER ─────────────────► READY ─────────────────► LEASE ─────────► NONE
 *     └──────────────────────────────────▲  ◄── given back ───────┤
 *                TIMER ◄──────────────── retry later ─────────────┘
 *
 * Every non-terminal job owns exactly one token, in exactly one place. token_move is the only code that writes or deletes
 * timer, ready and lease rows, and it always does both halves in one batch.
 */
#include "base/assert.h"
#include "core/core_int.h"

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
    case TOKEN_LEASE:
        key_by_ref(&key, TABLE_LEASE, from->lease->job_ref);
        view_del(&core->view, key_bytes(&key));
        lease_remove(core, from->lease);
        return;
    }
}

static void token_put_row(struct core *core, const struct key *key, struct bytes job_ref,
                          const struct token *to)
{
    const struct task_rec rec = {
        .job_ref = job_ref,
        .attempt = to->attempt,
        .relative = to->relative,
        .group = to->where == TOKEN_TIMER ? to->group : BYTES_NONE,
    };
    buf_reset(&core->scratch);
    task_encode(&core->scratch, &rec);
    view_put(&core->view, key_bytes(key), buf_bytes(&core->scratch), true);
}

static struct task *token_task(struct core *core, struct bytes job_ref, const struct token *to)
{
    struct task *task = task_new(job_ref, &to->place, to->attempt, to->relative);
    task->batch = core->view.open;
    if (to->info != NULL) {
        task_set_info(core, task, to->info);
    }
    return task;
}

static void token_arrive(struct core *core, struct bytes job_ref, const struct token *to)
{
    struct key key;
    switch (to->where) {
    case TOKEN_NONE:
        return;
    case TOKEN_TIMER: {
        key_timer(&key, &to->place);
        token_put_row(core, &key, job_ref, to);
        struct task *task = token_task(core, job_ref, to);
        task->group_name = blob_new(to->group);
        timer_add(core, task);
        return;
    }
    case TOKEN_READY: {
        key_ready(&key, core->order, to->group, &to->place);
        token_put_row(core, &key, job_ref, to);
        struct group *group = group_get(core, to->group);
        ASSERT(group->low_known);
        low_note_insert(core, group, &to->place);
        group_add(core, group, token_task(core, job_ref, to));
        return;
    }
    case TOKEN_LEASE: {
        struct lease *lease = lease_add(core, job_ref, to->lease_rec);
        lease_write(core, lease, true);
        return;
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
    struct token arriving = *to;
    arriving.group = blob_bytes(group);
    arriving.info = info;
    token_leave(core, from);
    token_arrive(core, key_bytes(&ref), &arriving);
    blob_unref(group);
    blob_unref(info);
}
