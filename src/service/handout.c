/* service/handout.c - one block of task ids per shard; each becomes a command of its own if it has to go back. */
#include "service/handout.h"

#include "base/assert.h"
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
    struct arena *kept; /* cap of them */
    size_t kept_count;
    struct give_back *blocks[];
};

struct handout *handout_new(size_t shards)
{
    struct handout *handout = xcalloc(1, sizeof *handout + shards * sizeof handout->blocks[0]);
    handout->cap = shards;
    handout->kept = xcalloc(shards + 1, sizeof *handout->kept);
    return handout;
}

static struct give_back *give_back_new(struct shard *shard, const struct uuid *task_ids,
                                       size_t count)
{
    struct give_back *block = xcalloc(1, sizeof *block + count * sizeof *task_ids);
    arena_init(&block->arena);
    block->shard = shard;
    block->count = count;
    memcpy(block->task_ids, task_ids, count * sizeof *task_ids);
    return block;
}

static void give_back_free(struct give_back *block)
{
    arena_deinit(&block->arena);
    free(block);
}

void handout_add(struct handout *handout, struct shard *shard, const struct uuid *task_ids,
                 size_t count)
{
    if (count != 0) {
        ASSERT(handout->count < handout->cap);
        handout->blocks[handout->count++] = give_back_new(shard, task_ids, count);
    }
}

void handout_keep(struct handout *handout, struct arena *arena)
{
    ASSERT(handout->kept_count < handout->cap);
    handout->kept[handout->kept_count++] = *arena;
    arena_init(arena);
}

/* Executor. Whatever the answer: the shard has marked what could not go back now. */
static void give_back_done(struct shard_request *request)
{
    give_back_free(CONTAINER_OF(request, struct give_back, request));
}

static void give_back_send(struct give_back *block, const char *unreadable)
{
    struct command *cmd = &block->request.cmd;
    cmd->kind = CMD_GIVE_BACK;
    cmd->arena = &block->arena;
    cmd->args.give_back = (struct give_back_args){
        .task_ids = block->task_ids, .count = block->count, .unreadable = unreadable};
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
            give_back_send(handout->blocks[i], NULL);
        }
    }
    for (size_t i = 0; i < handout->kept_count; i++) {
        arena_deinit(&handout->kept[i]);
    }
    free(handout->kept);
    free(handout);
}

void handout_reply(struct call *call, const ProtobufCMessage *reply, struct handout *handout)
{
    const size_t size = protobuf_c_message_get_packed_size(reply);
    ASSERT(size <= MESSAGE_BYTES_MAX); /* what did not fit was left out */
    struct rpc_segment segments[RPC_SEGMENTS_MAX];
    const size_t count = svc_segments(call->arena, reply, size, segments);
    ASSERT(count != 0);
    segments[count - 1].release = handout_end;
    segments[count - 1].context = handout;
    rpc_call_reply_segments(call->rpc, segments, count);
}

void handout_log_malformed(const char *shard_id, const struct leased_task *leased)
{
    log_error("job_unreadable", LOG_STR("shard", shard_id), LOG_BYTES("tenant", leased->tenant),
              LOG_BYTES("job_id", leased->job_id), LOG_STR("reason", HANDOUT_MALFORMED),
              LOG_STR("then", "the job ends as FAILED with the code " ERROR_JOB_UNREADABLE),
              LOG_END);
}

void handout_return(struct shard *shard, const struct uuid *task_ids, size_t count,
                    const char *unreadable)
{
    if (count != 0) {
        give_back_send(give_back_new(shard, task_ids, count), unreadable);
    }
}
