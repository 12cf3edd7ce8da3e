/*
 * core/locate.c - after open: where do tokens wait that hold slots and have no lease? Until that is
 * known, their slots cannot be taken over (grant.c), which can only delay a better token. They are
 * looked up in the background, a few at a time.
 */
#include "core/locate.h"

#include "base/limits.h"
#include "core/commands.h"
#include "core/inner.h"
#include "core/job.h"
#include "core/lease.h"
#include "core/limit_kinds.h"
#include "core/queue.h"
#include "core/queue_rows.h"
#include "core/read.h"
#include "core/run.h"
#include "core/slot.h"
#include "core/state.h"
#include "core/token.h"
#include "core/token_find.h"

void locate_init(struct core *core)
{
    list_init(&core->locate.chains);
}

void locate_turn(struct core *core)
{
    struct list_node *node = NULL;
    if (core->mono_ms < core->locate.retry_mono_ms) {
        return;
    }
    while (core->locate.under_way < TURN_LOCATES_MAX &&
           (node = list_pop_front(&core->locate.chains)) != NULL) {
        const struct chain *chain = CONTAINER_OF(node, struct chain, unlocated);
        if (chain->waits != NULL || lease_find(core, &chain->task_id) != NULL) {
            continue;
        }
        struct command *cmd = inner_new(core, CMD_LOCATE, chain_ref(chain));
        cmd->args.inner->task_id = chain->task_id;
        core->locate.under_way++;
        inner_wake(core, cmd);
    }
}

void locate_ended(struct core *core, const struct command *cmd)
{
    core->locate.under_way--;
    struct chain *chain = chain_find(core, &cmd->args.inner->task_id);
    if (cmd->rc.code != SILO_OK && chain != NULL && !list_linked(&chain->unlocated)) {
        list_push_back(&core->locate.chains, &chain->unlocated); /* its rows could not be read */
        core->locate.retry_mono_ms = core->mono_ms + READ_RETRY_MS;
    }
}

int64_t locate_next_mono_ms(const struct core *core)
{
    if (list_empty(&core->locate.chains) || core->locate.under_way >= TURN_LOCATES_MAX) {
        return INT64_MAX; /* the end of one of those under way wakes */
    }
    return core->locate.retry_mono_ms > core->mono_ms ? core->locate.retry_mono_ms : core->mono_ms;
}

/* The slots of a token that is nowhere: nothing else would ever release them. */
static void locate_orphan(struct core *core, struct command *cmd)
{
    core->corrupt_rows++;
    slots_release(core, &cmd->args.inner->task_id, 0);
}

enum run locate_run(struct core *core, struct command *cmd)
{
    const struct uuid *task_id = &cmd->args.inner->task_id;
    struct chain *chain = chain_find(core, task_id);
    if (chain == NULL || chain->waits != NULL || lease_find(core, task_id) != NULL) {
        return run_ok(cmd); /* it has moved since */
    }
    struct job job;
    struct token token;
    switch (job_load(core, cmd, &job)) {
    case JOB_NEEDS:
        return RUN_NEED;
    case JOB_CORRUPT:
        return run_ok(cmd);
    case JOB_ABSENT:
        locate_orphan(core, cmd);
        return run_changed(cmd);
    case JOB_LOADED:
        break;
    }
    if (job.status != JOB_SCHEDULED) {
        locate_orphan(core, cmd);
        return run_changed(cmd);
    }
    if (!token_find(core, cmd, &job, &token)) {
        return RUN_NEED;
    }
    if (token.where != TOKEN_WAITER || !line_rules(token.queue, token.line)->gives_way ||
        !token.has_chain || !uuid_eq(&token.task_id, task_id)) {
        return run_ok(cmd);
    }
    struct key key;
    struct bytes value;
    key_waiter(&key, core->order, queue_ref(token.queue), token.line, &token.place);
    if (look(core, cmd, key_bytes(&key), &value) != VIEW_FOUND ||
        !queue_ready(core, token.queue, cmd)) {
        return RUN_NEED;
    }
    struct blob *rec = blob_new(value);
    chain_waits(core, chain, token.queue, token.line, &token.place, rec);
    blob_unref(rec);
    return run_ok(cmd);
}
