/*
 * core/drop.c - the operator frees every slot of a tenant: holders go, nothing else. In slices, one
 * tenant at a time; until it is done a META_DROP row says so, and open goes on with it.
 */
#include "core/drop.h"

#include "base/assert.h"
#include "base/limits.h"
#include "core/commands.h"
#include "core/inner.h"
#include "core/queue.h"
#include "core/run.h"
#include "core/slot.h"
#include "core/state.h"

struct drop {
    struct command *command; /* of the core's own when it was resumed after open */
    struct list queues;      /* struct queue.drop: those that had holders when it began */
    uint64_t before;         /* slots taken since it began stay */
    uint64_t dropped;
    bool stored;
    size_t tenant_len;
    uint8_t tenant[];
};

void drops_init(struct core *core)
{
    list_init(&core->drops.waiting);
}

static void drop_mark(struct core *core, struct drop *drop, bool stored)
{
    if (drop->stored == stored) {
        return;
    }
    struct key key;
    key_meta_ref(&key, META_DROP, bytes_of(drop->tenant, drop->tenant_len));
    if (stored) {
        view_put(&core->view, key_bytes(&key), BYTES_NONE, true);
    } else {
        view_del(&core->view, key_bytes(&key));
    }
    drop->stored = stored;
}

static void drop_begin(struct core *core, struct bytes tenant_part, struct command *cmd)
{
    struct drop *drop = xmalloc(sizeof *drop + tenant_part.len);
    *drop =
        (struct drop){.command = cmd, .before = core->slots.made, .tenant_len = tenant_part.len};
    memcpy(drop->tenant, tenant_part.ptr, tenant_part.len);
    list_init(&drop->queues);
    for (struct map_node *n = map_next(&core->queues.by_ref, NULL); n != NULL;
         n = map_next(&core->queues.by_ref, n)) {
        struct queue *queue = CONTAINER_OF(n, struct queue, node);
        if (queue->holder_count != 0 && bytes_starts(queue_ref(queue), tenant_part)) {
            list_push_back(&drop->queues, &queue->drop);
        }
    }
    core->drops.now = drop;
}

void drop_free(struct core *core)
{
    struct drop *drop = core->drops.now;
    if (drop != NULL) {
        while (list_pop_front(&drop->queues) != NULL) {
        }
        free(drop);
        core->drops.now = NULL;
    }
}

void drop_resume(struct core *core, struct bytes tenant_part)
{
    struct command *cmd = inner_new(core, CMD_DROP_HOLDERS, BYTES_NONE);
    cmd->job_ref = arena_copy(cmd->arena, tenant_part);
    inner_wake(core, cmd);
}

enum run drop_run(struct core *core, struct command *cmd)
{
    cmd->result.dropped = 0;
    list_push_back(&core->drops.waiting, &cmd->node); /* drop_turn takes it from there */
    return RUN_PARK;
}

static void drop_end(struct core *core, struct drop *drop)
{
    struct command *cmd = drop->command;
    drop_mark(core, drop, false);
    cmd->result.dropped = drop->dropped;
    view_begin(&core->view);
    if (drop->dropped != 0) {
        (void)run_changed(cmd);
    } else {
        view_touch_absent(&core->view);
        (void)run_ok(cmd);
    }
    list_remove(&cmd->node);
    drop_free(core);
    core_answer(core, cmd);
}

void drop_turn(struct core *core)
{
    struct list_node *first = list_first(&core->drops.waiting);
    if (core->drops.now == NULL && first != NULL) {
        struct command *cmd = CONTAINER_OF(first, struct command, node);
        drop_begin(core, job_ref_tenant(cmd->job_ref), cmd);
        core->drops.now->stored = cmd->internal;
    }
    struct drop *drop = core->drops.now;
    if (drop == NULL) {
        return;
    }
    struct list_node *node = NULL;
    uint32_t budget = TURN_DROPS_MAX;
    while (budget != 0 && (node = list_first(&drop->queues)) != NULL) {
        struct queue *queue = CONTAINER_OF(node, struct queue, drop);
        struct holder *holder = LIST_ENTRY(list_first(&queue->holders), struct holder, in_queue);
        if (holder == NULL || holder->serial >= drop->before) {
            list_remove(&queue->drop);
            continue;
        }
        slot_release(core, holder);
        drop->dropped++;
        budget--;
    }
    if (list_empty(&drop->queues)) {
        drop_end(core, drop);
    } else {
        drop_mark(core, drop, true);
    }
}

void drops_leave(struct core *core)
{
    const struct drop *drop = core->drops.now;
    if (drop != NULL && drop->dropped != 0) {
        struct command *cmd = drop->command;
        list_remove(&cmd->node);
        view_begin(&core->view);
        (void)run_fail(cmd, SILO_UNAVAILABLE,
                       "the shard moves to another node, which goes on dropping the holders");
        core_answer(core, cmd);
    }
    drop_free(core);
    struct list_node *node = NULL;
    while ((node = list_pop_front(&core->drops.waiting)) != NULL) {
        core_send_away(core, CONTAINER_OF(node, struct command, node));
    }
}
