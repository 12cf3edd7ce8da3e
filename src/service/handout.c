/*
 * service/handout.c - one block of task ids per shard; each becomes a command of its own when there
 * is something to say.
 */
#include "service/handout.h"

#include "base/assert.h"
#include "base/log.h"

/* Tasks of one shard, and the command about them. */
struct block {
    struct shard_request request;
    struct arena arena;
    struct shards *shards;
    struct shard_ref shard;
    char shard_id[UUID_TEXT_LEN + 1];
    size_t count;
    struct uuid task_ids[];
};

struct handout {
    struct shards *shards;
    size_t count, cap;
    struct arena *kept; /* cap of them */
    size_t kept_count;
    struct rpc_loop *loop;
    struct rpc_timer timer;
    int64_t term_us;  /* when the terms began, or began anew */
    int64_t until_us; /* no renewal after that */
    struct block *blocks[];
};

struct handout *handout_new(struct shards *shards, size_t shard_count)
{
    struct handout *handout = xcalloc(1, sizeof *handout + shard_count * sizeof handout->blocks[0]);
    handout->shards = shards;
    handout->cap = shard_count;
    handout->kept = xcalloc(shard_count + 1, sizeof *handout->kept);
    return handout;
}

static struct block *block_new(struct shards *shards, const struct directory_shard *shard,
                               const struct uuid *task_ids, size_t count)
{
    struct block *block = xcalloc(1, sizeof *block + count * sizeof *task_ids);
    arena_init(&block->arena);
    block->shards = shards;
    block->shard = shard->ref;
    memcpy(block->shard_id, shard->id_text, sizeof block->shard_id);
    block->count = count;
    memcpy(block->task_ids, task_ids, count * sizeof *task_ids);
    return block;
}

static struct block *block_copy(const struct block *block)
{
    const size_t size = sizeof *block + block->count * sizeof block->task_ids[0];
    struct block *copy = xmalloc(size);
    memcpy(copy, block, size);
    return copy;
}

static void block_free(struct block *block)
{
    arena_deinit(&block->arena);
    free(block);
}

void handout_add(struct handout *handout, const struct directory_shard *shard,
                 const struct uuid *task_ids, size_t count)
{
    if (count != 0) {
        ASSERT(handout->count < handout->cap);
        handout->blocks[handout->count++] = block_new(handout->shards, shard, task_ids, count);
    }
}

void handout_keep(struct handout *handout, struct arena *arena)
{
    ASSERT(handout->kept_count < handout->cap);
    handout->kept[handout->kept_count++] = *arena;
    arena_init(arena);
}

/* --- commands --- */

/* Executor. Whatever the answer: the shard has marked what could not go back now. */
static void block_done(struct shard_request *request)
{
    block_free(CONTAINER_OF(request, struct block, request));
}

/* Its command is filled. It is the server's own, so the shard takes it always. */
static void block_send(struct block *block, enum command_kind kind)
{
    block->request.cmd.kind = kind;
    block->request.cmd.arena = &block->arena;
    block->request.done = block_done;
    if (!shard_send(block->shards, block->shard, &block->request)) {
        log_warn("give_back_refused", LOG_STR("shard", block->shard_id),
                 LOG_INT("tasks", block->count),
                 LOG_STR("then", "they return when their leases end"), LOG_END);
        block_free(block);
    }
}

static void block_give_back(struct block *block, const char *unreadable)
{
    block->request.cmd.args.give_back = (struct give_back_args){
        .task_ids = block->task_ids, .count = block->count, .unreadable = unreadable};
    block_send(block, CMD_GIVE_BACK);
}

static void block_renew(struct block *block)
{
    block->request.cmd.args.renew =
        (struct renew_args){.task_ids = block->task_ids, .count = block->count};
    block_send(block, CMD_RENEW);
}

void handout_return(struct shards *shards, const struct directory_shard *shard,
                    const struct uuid *task_ids, size_t count, const char *unreadable)
{
    if (count != 0) {
        block_give_back(block_new(shards, shard, task_ids, count), unreadable);
    }
}

/* --- on the way --- */

static void handout_wait(struct handout *handout);

static void handout_late(struct rpc_timer *timer)
{
    struct handout *handout = CONTAINER_OF(timer, struct handout, timer);
    for (size_t i = 0; i < handout->count; i++) {
        block_renew(block_copy(handout->blocks[i]));
    }
    handout->term_us = rpc_loop_now_us(handout->loop);
    handout_wait(handout);
}

static void handout_wait(struct handout *handout)
{
    const int64_t at_us = handout->term_us + HANDOUT_RENEW_US;
    if (at_us <= handout->until_us) {
        handout->timer.fire = handout_late;
        rpc_timer_start(handout->loop, &handout->timer, at_us);
    }
}

void handout_end(void *context, bool sent)
{
    struct handout *handout = context;
    rpc_timer_stop(handout->loop, &handout->timer);
    const bool late = rpc_loop_now_us(handout->loop) - handout->term_us > HANDOUT_LATE_US;
    for (size_t i = 0; i < handout->count; i++) {
        struct block *block = handout->blocks[i];
        if (!sent) {
            block_give_back(block, NULL);
        } else if (late) {
            block_renew(block);
        } else {
            block_free(block);
        }
    }
    for (size_t i = 0; i < handout->kept_count; i++) {
        arena_deinit(&handout->kept[i]);
    }
    free(handout->kept);
    free(handout);
}

void handout_reply(struct call *call, const ProtobufCMessage *reply, struct handout *handout,
                   int64_t since_us)
{
    const size_t size = protobuf_c_message_get_packed_size(reply);
    ASSERT(size <= MESSAGE_BYTES_MAX); /* what did not fit was left out */
    struct rpc_piece pieces[RPC_PIECES_MAX];
    const size_t count = svc_pieces(call->arena, reply, size, pieces);
    ASSERT(count != 0);
    handout->loop = rpc_call_loop(call->rpc);
    handout->term_us = since_us;
    handout->until_us = rpc_loop_now_us(handout->loop) + HANDOUT_US_MAX;
    handout_wait(handout);
    pieces[count - 1].release = handout_end;
    pieces[count - 1].context = handout;
    rpc_call_reply_pieces(call->rpc, pieces, count);
}

void handout_log_malformed(struct call *call, const char *shard_id,
                           const struct leased_task *leased)
{
    const uint32_t times =
        burst_add(&call->service->unreadable_lines, env_mono_us(call->service->env));
    if (times != 0) {
        log_error("job_unreadable", LOG_STR("shard", shard_id), LOG_BYTES("tenant", leased->tenant),
                  LOG_BYTES("job_id", leased->job_id), LOG_STR("reason", HANDOUT_MALFORMED),
                  LOG_STR("then", "the job ends as FAILED with the code " ERROR_JOB_UNREADABLE),
                  LOG_INT("times", times), LOG_END);
    }
}
