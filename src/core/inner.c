/* core/inner.c - commands of the core's own. */
#include "core/inner.h"

#include "base/assert.h"
#include "core/ids.h"
#include "core/state.h"

/* Freed as one: the arena comes first. */
struct inner {
    struct arena arena;
    struct command cmd;
    struct inner_args args;
};

struct command *inner_new(struct core *core, enum command_kind kind, struct bytes job_ref)
{
    struct inner *inner = xcalloc(1, sizeof *inner);
    arena_init(&inner->arena);
    inner->cmd = (struct command){.kind = kind, .arena = &inner->arena, .internal = true};
    inner->cmd.job_ref = arena_copy(&inner->arena, job_ref);
    inner->cmd.args.inner = &inner->args;
    const struct uuid seed = core_make_id(core);
    memcpy(inner->cmd.seed, seed.b, sizeof inner->cmd.seed);
    list_init(&inner->cmd.reads);
    return &inner->cmd;
}

void inner_wake(struct core *core, struct command *cmd)
{
    core->run.command_count++;
    list_push_back(&core->run.woken, &cmd->node);
}

void inner_wake_first(struct core *core, struct command *cmd)
{
    core->run.command_count++;
    list_push_front(&core->run.woken, &cmd->node);
}

void inner_free(struct command *cmd)
{
    struct arena *arena = cmd->arena;
    arena_deinit(arena);
    free(CONTAINER_OF(arena, struct inner, arena));
}
