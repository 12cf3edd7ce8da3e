/* core/token_find.c - finding a token that moved before this incarnation, or left its window. */
#include "core/token_find.h"

#include "core/job.h"
#include "core/limit_kinds.h"
#include "core/queue_rows.h"
#include "core/read.h"
#include "core/run.h"
#include "core/state.h"
#include "core/task.h"
#include "core/throttle.h"
#include "core/token.h"

/* One of the keys it can have. False: asked for. */
static bool token_at(struct core *core, struct command *cmd, const struct key *key,
                     enum token_where where, struct token *ret)
{
    struct bytes value;
    const enum view_answer answer = look(core, cmd, key_bytes(key), &value);
    if (answer != VIEW_FOUND) {
        return answer == VIEW_ABSENT;
    }
    struct task_rec rec;
    if (token_decode(value, ret, &rec)) {
        ret->where = where;
    } else {
        core->corrupt_rows++;
    }
    return true;
}

/* A token that waits in the line of one of its limits. False: asked for. */
static bool token_in_line(struct core *core, struct command *cmd, const struct info *info,
                          const struct place *place, struct token *ret)
{
    const struct limits *limits = limits_of(core, info);
    bool all = true;
    for (uint32_t i = 0; limits != NULL && i < limits->count && ret->where == TOKEN_NONE; i++) {
        const struct limit *limit = &limits->items[i];
        if (!limit_rules(limit->kind)->has_line(limit)) {
            continue;
        }
        struct key queue;
        struct key key;
        limit_queue_ref(&queue, job_ref_tenant(cmd->job_ref), limit, info->group);
        key_waiter(&key, core->order, key_bytes(&queue), limit->line, place);
        all = token_at(core, cmd, &key, TOKEN_WAITER, ret) && all;
        if (ret->where == TOKEN_WAITER) {
            ret->queue = throttle_get(core, key_bytes(&queue));
            ret->line = limit->line;
        }
    }
    return all;
}

/* By the keys that follow from the job's rows. */
static bool token_stored(struct core *core, struct command *cmd, const struct job *job,
                         struct token *ret)
{
    const struct state *state = job->has_state ? &job->state : NULL;
    const struct place place = {
        .due_ms = state != NULL ? state->due_ms : job->info.due_ms,
        .priority = job->info.priority,
        .arrival = state != NULL ? state->arrival : job->info.arrival,
    };
    *ret = (struct token){.where = TOKEN_NONE};
    struct key key;
    key_ready(&key, core->order, job->info.group, &place);
    bool all = token_at(core, cmd, &key, TOKEN_READY, ret);
    if (ret->where == TOKEN_NONE) {
        key_timer(&key, &place);
        all = token_at(core, cmd, &key, TOKEN_TIMER, ret) && all;
    }
    if (ret->where == TOKEN_NONE) {
        all = token_in_line(core, cmd, &job->info, &place, ret) && all;
    }
    ret->was_due = ret->where == TOKEN_READY || ret->where == TOKEN_WAITER;
    ret->group = job->info.group;
    ret->place = place;
    ret->attempt = state != NULL ? state->attempt : 1;
    ret->relative = state != NULL ? state->relative : 1;
    return all || ret->where != TOKEN_NONE;
}

bool token_find(struct core *core, struct command *cmd, const struct job *job, struct token *ret)
{
    const struct task *task = task_find(core, cmd->job_ref);
    if (task != NULL) {
        view_touch(&core->view, task->batch);
        *ret = token_of_task(task);
        struct task_rec rec;
        if (task->rec != NULL) { /* its retries at a rate limit stand there alone */
            if (!token_decode(blob_bytes(task->rec), ret, &rec)) {
                core_break(core, "the row of a waiting job is corrupt");
            }
        }
    } else if (!token_stored(core, cmd, job, ret)) {
        return false;
    }
    return ret->where != TOKEN_WAITER || queue_ready(core, ret->queue, cmd);
}
