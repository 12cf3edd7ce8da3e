/*
 * core/watch.c - GetJobResult calls that wait for the end of a job: parked by job, run again when
 * it ends or when their time is up.
 */
#include "core/watch.h"

#include "base/assert.h"
#include "base/limits.h"
#include "core/state.h"

void watches_init(struct core *core)
{
    map_init(&core->watches);
}

void watches_free(struct core *core)
{
    map_deinit(&core->watches);
}

void watch_add(struct core *core, struct command *cmd)
{
    struct job_watch *watch =
        MAP_ENTRY(map_find(&core->watches, cmd->job_ref), struct job_watch, node);
    if (watch == NULL) {
        watch = xmalloc(sizeof *watch + cmd->job_ref.len);
        *watch = (struct job_watch){.key_len = cmd->job_ref.len};
        memcpy(watch->key, cmd->job_ref.ptr, cmd->job_ref.len);
        list_init(&watch->commands);
        map_insert(&core->watches, &watch->node, bytes_of(watch->key, watch->key_len));
    }
    if (cmd->deadline_mono_ms == 0) {
        const int64_t wait = cmd->args.get.wait_ms;
        cmd->deadline_mono_ms = core->mono_ms + (wait < POLL_WAIT_MS_MAX ? wait : POLL_WAIT_MS_MAX);
    }
    view_release(&core->view, cmd);
    cmd->rounds = 0;
    cmd->watch = watch;
    list_push_back(&watch->commands, &cmd->node);
    heap_insert(&core->run.deadlines, &cmd->deadline, cmd->deadline_mono_ms);
}

void watch_remove(struct core *core, struct command *cmd)
{
    struct job_watch *watch = cmd->watch;
    ASSERT(watch != NULL);
    list_remove(&cmd->node);
    heap_remove(&core->run.deadlines, &cmd->deadline);
    cmd->watch = NULL;
    if (list_empty(&watch->commands)) {
        map_remove(&core->watches, &watch->node);
        free(watch);
    }
}

void watches_abandon(struct core *core, struct list *to)
{
    for (struct map_node *n = map_next(&core->watches, NULL); n != NULL;
         n = map_next(&core->watches, NULL)) {
        const struct job_watch *watch = CONTAINER_OF(n, struct job_watch, node);
        struct command *cmd = LIST_ENTRY(list_first(&watch->commands), struct command, node);
        watch_remove(core, cmd); /* the last one takes the watch with it */
        list_push_back(to, &cmd->node);
    }
}

void watch_fire(struct core *core, struct bytes job_ref)
{
    struct job_watch *watch = NULL;
    while ((watch = MAP_ENTRY(map_find(&core->watches, job_ref), struct job_watch, node)) != NULL) {
        struct command *cmd = CONTAINER_OF(list_first(&watch->commands), struct command, node);
        watch_remove(core, cmd);
        list_push_back(&core->run.woken, &cmd->node);
    }
}
