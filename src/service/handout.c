/* service/handout.c - one block of task ids per shard; each becomes a command of its own if it has to go back. */
#include "service/handout.h"

#include "base/assert.h"
#include "base/list.h"
#include "base/log.h"

struct give_back {
    struct shard_request request;
    struct arena arena;
    struct shard *shard;
    size_t count;
    struct uuid task_ids[];
};

struct handout {
    size_t count, cap;
    struct give_back *blocks[];
};

struct handout *handout_new(size_t shards)
{
    struct handout *handout = xcalloc(1, sizeof *handout + shards * sizeof handout->blocks[0]);
    handout->cap = shards;
    return handout;
}

void handout_add(struct handout *handout, struct shard *shard, const struct uuid *task_ids,
                 size_t count)
{
    if (count == 0) {
        return;
    }
    ASSERT(handout->count < handout->cap);
    struct give_back *block = xcalloc(1, sizeof *block + count * sizeof *task_ids);
    arena_init(&block->arena);
    block->shard = shard;
    block->count = count;
    memcpy(block->task_ids, task_ids, count * sizeof *task_ids);
    handout->blocks[handout->count++] = block;
}

static void give_back_free(struct give_back *block)
{
    arena_deinit(&block->arena);
    free(block);
}

/* Executor. Whatever the answer: tasks that could not be given back return when their leases end. */
static void give_back_done(struct shard_request *request)
{
    give_back_free(CONTAINER_OF(request, struct give_back, request));
}

static void give_back_send(struct give_back *block)
{
    struct command *cmd = &block->request.cmd;
    cmd->kind = CMD_GIVE_BACK;
    cmd->arena = &block->arena;
    cmd->args.give_back.task_ids = block->task_ids;
    cmd->args.give_back.count = block->count;
    block->request.done = give_back_done;
    if (!shard_send(block->shard, &block->request)) {
        log_warn("give_back_refused", LOG_STR("shard", shard_id_text(block->shard)),
                 LOG_INT("tasks", block->count),
                 LOG_STR("then", "they return when their leases end"), LOG_END);
        give_back_free(block);
    }
}

void handout_end(void *context, bool sent)
{
    struct handout *handout = context;
    for (size_t i = 0; i < handout->count; i++) {
        if (sent) {
            give_back_free(handout->blocks[i]);
        } else {
            give_back_send(handout->blocks[i]);
        }
    }
    free(handout);
}
