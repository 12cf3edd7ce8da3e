/*
 * core/marks.c - running jobs that were cancelled, by the worker that holds them, and the calls of
 * workers that wait to hear of them.
 *
 * What a worker is told follows from the leases it holds and from what it says it knows, not from
 * when a job was cancelled: so nothing is missed between two of its calls, or when the shard was
 * opened anew. A worker has an entry while it holds a cancelled job or waits; the others cost
 * nothing.
 */
#include "core/marks.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/limits.h"
#include "core/commands.h"
#include "core/lease.h"
#include "core/run.h"
#include "core/state.h"

void marks_init(struct core *core)
{
    map_init(&core->marks.by_worker);
    list_init(&core->marks.waiting);
}

static struct worker_marks *marks_find(const struct core *core, struct bytes worker_id)
{
    return MAP_ENTRY(map_find(&core->marks.by_worker, worker_id), struct worker_marks, node);
}

static struct worker_marks *marks_get(struct core *core, struct bytes worker_id)
{
    struct worker_marks *marks = marks_find(core, worker_id);
    if (marks == NULL) {
        marks = xmalloc(sizeof *marks + worker_id.len);
        *marks = (struct worker_marks){.key_len = worker_id.len};
        if (worker_id.len != 0) {
            memcpy(marks->key, worker_id.ptr, worker_id.len);
        }
        list_init(&marks->leases);
        list_init(&marks->commands);
        map_insert(&core->marks.by_worker, &marks->node, bytes_of(marks->key, marks->key_len));
    }
    return marks;
}

static void marks_shrink(struct core *core, struct worker_marks *marks)
{
    if (list_empty(&marks->leases) && list_empty(&marks->commands)) {
        map_remove(&core->marks.by_worker, &marks->node);
        free(marks);
    }
}

void marks_add(struct core *core, struct lease *lease)
{
    ASSERT(lease->rec.has_mark && lease->marks == NULL);
    lease->marks = marks_get(core, lease->rec.worker_id);
    list_push_back(&lease->marks->leases, &lease->marked);
    while (!list_empty(&lease->marks->commands)) { /* the entry stays: it has the lease */
        struct command *cmd = LIST_ENTRY(list_first(&lease->marks->commands), struct command, node);
        marks_leave(core, cmd);
        list_push_back(&core->run.woken, &cmd->node);
    }
}

void marks_remove(struct core *core, struct lease *lease)
{
    struct worker_marks *marks = lease->marks;
    if (marks != NULL) {
        list_remove(&lease->marked);
        lease->marks = NULL;
        marks_shrink(core, marks);
    }
}

void marks_free(struct core *core)
{
    for (struct map_node *n = map_next(&core->marks.by_worker, NULL); n != NULL;
         n = map_next(&core->marks.by_worker, NULL)) {
        struct worker_marks *marks = CONTAINER_OF(n, struct worker_marks, node);
        struct list_node *marked = NULL;
        while ((marked = list_pop_front(&marks->leases)) != NULL) {
            CONTAINER_OF(marked, struct lease, marked)->marks = NULL;
        }
        map_remove(&core->marks.by_worker, &marks->node);
        free(marks);
    }
    map_deinit(&core->marks.by_worker);
}

/* --- waiting --- */

static void marks_park(struct core *core, struct command *cmd)
{
    const struct await_args *args = &cmd->args.await;
    if (cmd->deadline_mono_ms == 0) {
        const int64_t wait = args->wait_ms;
        cmd->deadline_mono_ms = core->mono_ms + (wait < POLL_WAIT_MS_MAX ? wait : POLL_WAIT_MS_MAX);
    }
    cmd->rounds = 0;
    struct worker_marks *marks = marks_get(core, args->worker_id);
    if (list_empty(&marks->commands)) {
        list_push_back(&core->marks.waiting, &marks->waiting);
    }
    cmd->awaits = marks;
    list_push_back(&marks->commands, &cmd->node);
    marks->command_count++;
    heap_insert(&core->run.deadlines, &cmd->deadline, cmd->deadline_mono_ms);
    core->marks.awaits++;
}

void marks_leave(struct core *core, struct command *cmd)
{
    struct worker_marks *marks = cmd->awaits;
    ASSERT(marks != NULL);
    list_remove(&cmd->node);
    marks->command_count--;
    heap_remove(&core->run.deadlines, &cmd->deadline);
    cmd->awaits = NULL;
    core->marks.awaits--;
    if (list_empty(&marks->commands)) {
        list_remove(&marks->waiting);
    }
    marks_shrink(core, marks);
}

void marks_release(struct core *core)
{
    for (struct list_node *n = list_first(&core->marks.waiting); n != NULL;
         n = list_next(&core->marks.waiting, n)) {
        const struct worker_marks *marks = CONTAINER_OF(n, struct worker_marks, waiting);
        for (struct list_node *c = list_first(&marks->commands); c != NULL;
             c = list_next(&marks->commands, c)) {
            heap_update(&core->run.deadlines, &CONTAINER_OF(c, struct command, node)->deadline,
                        core->mono_ms);
        }
    }
}

void marks_abandon(struct core *core, struct list *to)
{
    struct list_node *n = NULL;
    while ((n = list_first(&core->marks.waiting)) != NULL) {
        const struct worker_marks *marks = CONTAINER_OF(n, struct worker_marks, waiting);
        struct command *cmd = LIST_ENTRY(list_first(&marks->commands), struct command, node);
        marks_leave(core, cmd); /* the last one may take the entry with it */
        list_push_back(to, &cmd->node);
    }
}

/* --- telling --- */

static bool task_is_known(const struct await_args *args, const struct uuid *task_id)
{
    return args->known_count != 0 &&
           bsearch(task_id, args->known, args->known_count, sizeof *task_id, uuid_order) != NULL;
}

static void marks_tell(struct core *core, const struct worker_marks *marks, struct command *cmd)
{
    struct await_result *result = &cmd->result.await;
    for (struct list_node *n = list_first(&marks->leases);
         n != NULL && result->count < CANCELS_TOLD_MAX; n = list_next(&marks->leases, n)) {
        const struct lease *lease = CONTAINER_OF(n, struct lease, marked);
        if (task_is_known(&cmd->args.await, &lease->rec.task_id)) {
            continue;
        }
        if (result->tasks == NULL) {
            result->tasks = arena_alloc(cmd->arena, CANCELS_TOLD_MAX * sizeof *result->tasks);
        }
        view_touch(&core->view, lease->batch);
        result->tasks[result->count++] = (struct cancelled_task){
            .task_id = lease->rec.task_id, .cancelled_ms = lease->rec.mark_ms};
    }
}

enum run await_run(struct core *core, struct command *cmd)
{
    const struct worker_marks *marks = marks_find(core, cmd->args.await.worker_id);
    cmd->result.await = (struct await_result){0};
    if (marks != NULL) {
        marks_tell(core, marks, cmd);
    }
    const bool waits = cmd->args.await.wait_ms != 0 && !core->run.polls_released;
    if (cmd->result.await.count != 0 || !waits) {
        return run_ok(cmd);
    }
    if (marks != NULL && marks->command_count >= WORKER_AWAITS_MAX) {
        return run_fail(cmd, SILO_EXHAUSTED,
                        "this worker waits for cancellations with too many calls in this shard; "
                        "one is enough");
    }
    if (core_crowded(core) || core->marks.awaits >= SHARD_AWAITS_MAX) {
        return run_fail(cmd, SILO_EXHAUSTED,
                        "too many workers wait for cancellations in this shard; "
                        "heartbeats tell of them too");
    }
    marks_park(core, cmd);
    return RUN_PARK;
}
