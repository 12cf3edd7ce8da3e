/* core/enqueue.c - a job comes into being; its token walks through its limits. */
#include "core/commands.h"
#include "core/count.h"
#include "core/ids.h"
#include "core/job.h"
#include "core/read.h"
#include "core/run.h"
#include "core/state.h"
#include "core/token.h"
#include "core/walk.h"

static bool blob_same(const struct blob_ref *a, const struct blob_ref *b)
{
    return a->is_blob == b->is_blob && a->len == b->len && a->hash == b->hash &&
           bytes_eq(a->inline_bytes, b->inline_bytes);
}

static bool retry_same(const struct info *a, const struct info *b)
{
    const struct retry_policy *p = &a->retry;
    const struct retry_policy *q = &b->retry;
    return a->has_retry == b->has_retry &&
           (!a->has_retry ||
            (p->retry_count == q->retry_count && p->initial_ms == q->initial_ms &&
             p->max_ms == q->max_ms && p->factor == q->factor && p->jitter == q->jitter));
}

/* All a caller chose, but the start. */
static bool info_same(const struct info *a, const struct info *b)
{
    return a->priority == b->priority && bytes_eq(a->group, b->group) && retry_same(a, b) &&
           bytes_eq(a->metadata, b->metadata) && bytes_eq(a->limits, b->limits) &&
           blob_same(&a->payload, &b->payload);
}

static enum run enqueue_exists(struct command *cmd, struct bytes value, const struct info *wanted)
{
    struct info stored;
    if (cmd->args.enqueue.return_existing && info_decode(value, &stored) &&
        info_same(&stored, wanted)) {
        return run_ok(cmd);
    }
    const struct bytes tenant = job_ref_tenant(cmd->job_ref);
    const struct bytes id = bytes_of(cmd->job_ref.ptr + tenant.len, cmd->job_ref.len - tenant.len);
    return run_fail(cmd, SILO_EXISTS,
                    arena_printf(cmd->arena, "job already exists with id %.*s", BYTES_FMT(id)));
}

static void enqueue_apply(struct core *core, struct command *cmd, struct info *info,
                          struct token *to, struct tenant_count *count)
{
    info->arrival = arrival_next(core);
    struct blob *row = job_create(core, cmd->job_ref, info, cmd->args.enqueue.payload, INDEX_OPEN,
                                  info->enqueue_ms);
    to->place.arrival = info->arrival;
    to->info = row;
    walk_move(core, cmd->job_ref, &(struct token){.where = TOKEN_NONE}, to);
    count_move(core, count, COUNT_NONE, COUNT_OPEN);
    blob_unref(row);
}

enum run enqueue_run(struct core *core, struct command *cmd)
{
    const struct enqueue_args *args = &cmd->args.enqueue;
    struct info info = args->info;
    info.payload = blob_of(args->payload);
    info.enqueue_ms = core->wall_ms;
    info.due_ms = info.requested_start_ms > 0 ? info.requested_start_ms : core->wall_ms;

    bool ready = true;
    if (!args->id_is_fresh) {
        struct key key;
        struct bytes value;
        key_by_ref(&key, TABLE_INFO, cmd->job_ref);
        const enum view_answer there = look(core, cmd, key_bytes(&key), &value);
        if (there == VIEW_FOUND) {
            return enqueue_exists(cmd, value, &info);
        }
        ready = there == VIEW_ABSENT;
    }
    struct token to = {
        .group = info.group,
        .place = {.due_ms = info.due_ms, .priority = info.priority},
        .attempt = 1,
        .relative = 1,
    };
    struct limits limits;
    const struct uuid task_id = uuid_from_seed(cmd->seed, 0);
    limits_make(cmd->arena, args->limits, info.limit_count, info.limits, &limits);
    token_begin(&to, &task_id, &limits);
    struct tenant_count *count = count_find(core, cmd->job_ref, cmd);
    ready = ready && count != NULL;
    if (!walk_ready(core, cmd, cmd->job_ref, &to) || !ready) {
        return RUN_NEED;
    }
    if (walk_crowded(core, cmd->job_ref, &to)) {
        return run_fail(cmd, SILO_EXHAUSTED,
                        "the queue's waiters have too many different maxima: wait, "
                        "or use a maximum that others use");
    }
    enqueue_apply(core, cmd, &info, &to, count);
    return run_changed(cmd);
}
