/* service/node_info.c - GetNodeInfo: the shards that are open here, and their counters. */
#include <stdlib.h>

#include "service/call_int.h"

static int owned_cmp(const void *a, const void *b)
{
    const Silo__V1__OwnedShardInfo *x = *(Silo__V1__OwnedShardInfo *const *)a;
    const Silo__V1__OwnedShardInfo *y = *(Silo__V1__OwnedShardInfo *const *)b;
    return strcmp(x->shard_id, y->shard_id);
}

/* A shard whose counters cannot be read shows zeroes. */
static Silo__V1__OwnedShardInfo *owned_new(struct arena *arena, const struct fan_part *part)
{
    Silo__V1__OwnedShardInfo *owned = arena_alloc(arena, sizeof *owned);
    silo__v1__owned_shard_info__init(owned);
    owned->shard_id = part->shard->id_text;
    owned->cleanup_status = (char *)"CompactionDone";
    const struct command *cmd = &part->request.cmd;
    if (cmd->rc.code == SILO_OK) {
        const struct counts *counts = &cmd->result.totals.counts;
        const uint64_t completed = counts->succeeded + counts->failed + counts->cancelled;
        owned->completed_jobs = (int64_t)completed;
        owned->total_jobs = (int64_t)(completed + counts->open);
        owned->created_at_ms = cmd->result.totals.created_ms;
    }
    return owned;
}

static void node_info_answer(struct fan *fan)
{
    struct call *call = fan->call;
    const struct service *service = call->service;
    Silo__V1__GetNodeInfoResponse reply = SILO__V1__GET_NODE_INFO_RESPONSE__INIT;
    reply.node_id = service->node_id;
    reply.placement_rings = service->rings;
    reply.n_placement_rings = service->ring_count;
    reply.owned_shards = arena_alloc(call->arena, (fan->count + 1) * sizeof *reply.owned_shards);
    for (size_t i = 0; i < fan->count; i++) {
        if (!fan->parts[i].gone) { /* else it is another node's to tell of */
            reply.owned_shards[reply.n_owned_shards++] = owned_new(call->arena, &fan->parts[i]);
        }
    }
    qsort(reply.owned_shards, reply.n_owned_shards, sizeof reply.owned_shards[0], owned_cmp);
    fan_deinit(fan);
    svc_reply(call, &reply.base);
}

void on_node_info(struct call *call)
{
    size_t count = 0;
    struct directory_shard *open =
        route_open(call->service, svc_directory(call), call->arena, &count);
    struct fan *fan = fan_new(call, count, node_info_answer);
    if (count == 0) {
        node_info_answer(fan);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        fan->parts[i].request.cmd.kind = CMD_TOTALS;
        fan->parts[i].skips = true;
        fan_send(&fan->parts[i], &open[i]);
    }
}
