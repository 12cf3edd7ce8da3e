/*
 * service/topology.c - GetClusterInfo and GetNodeInfo, as a node that is alone sees them: it owns
 * every shard but those that another process took over.
 *
 * By which address a caller reaches this node only the caller knows: port forwards, translated
 * addresses and names of certificates lie between. So each is told the one it dialled, unless the
 * operator set one for all. What a caller says it dialled goes back to that caller alone, and only
 * if it is a plain host:port.
 */
#include <stdlib.h>

#include "base/address.h"
#include "service/call_int.h"

static int owner_cmp(const void *a, const void *b)
{
    const Silo__V1__ShardOwner *x = *(Silo__V1__ShardOwner *const *)a;
    const Silo__V1__ShardOwner *y = *(Silo__V1__ShardOwner *const *)b;
    const int c = strcmp(x->range_start, y->range_start);
    return c != 0 ? c : strcmp(x->shard_id, y->shard_id);
}

/* This node's address as the caller can use it. */
static char *addr_for(const struct call *call)
{
    const struct bytes dialled = rpc_call_authority(call->rpc);
    if (call->service->as_dialled && address_connectable(dialled)) {
        return arena_str(call->arena, dialled);
    }
    return call->service->grpc_addr;
}

static void owners_fill(const struct call *call, Silo__V1__GetClusterInfoResponse *reply)
{
    const struct service *service = call->service;
    const size_t count = shards_count(service->shards);
    reply->shard_owners = arena_alloc(call->arena, (count + 1) * sizeof *reply->shard_owners);
    for (size_t i = 0; i < count; i++) {
        const struct shard *shard = shards_at(service->shards, i);
        if (shard_status(shard) == SHARD_FENCED) {
            continue; /* another process has it; which one is not known here */
        }
        Silo__V1__ShardOwner *owner = arena_alloc(call->arena, sizeof *owner);
        silo__v1__shard_owner__init(owner);
        owner->shard_id = (char *)shard_id_text(shard); /* only read, here and below */
        owner->grpc_addr = reply->this_grpc_addr;
        owner->node_id = service->node_id;
        owner->range_start = (char *)shard_range_start(shard);
        owner->range_end = (char *)shard_range_end(shard);
        reply->shard_owners[reply->n_shard_owners++] = owner;
    }
    qsort(reply->shard_owners, reply->n_shard_owners, sizeof reply->shard_owners[0], owner_cmp);
    reply->num_shards = (uint32_t)count;
}

void on_cluster_info(struct call *call)
{
    const struct service *service = call->service;
    Silo__V1__GetClusterInfoResponse reply = SILO__V1__GET_CLUSTER_INFO_RESPONSE__INIT;
    reply.this_node_id = service->node_id;
    reply.this_grpc_addr = addr_for(call);
    owners_fill(call, &reply);

    Silo__V1__ClusterMember self = SILO__V1__CLUSTER_MEMBER__INIT;
    Silo__V1__ClusterMember *members[] = {&self};
    self.node_id = service->node_id;
    self.grpc_addr = reply.this_grpc_addr;
    self.placement_rings = service->rings;
    self.n_placement_rings = service->ring_count;
    reply.members = members;
    reply.n_members = 1;
    svc_reply(call, &reply.base);
}

/* --- GetNodeInfo --- */

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
    owned->shard_id = (char *)shard_id_text(part->shard); /* only read */
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
        reply.owned_shards[reply.n_owned_shards++] = owned_new(call->arena, &fan->parts[i]);
    }
    qsort(reply.owned_shards, reply.n_owned_shards, sizeof reply.owned_shards[0], owned_cmp);
    fan_deinit(fan);
    svc_reply(call, &reply.base);
}

void on_node_info(struct call *call)
{
    size_t count = 0;
    struct shard **open = route_open(call->service->shards, call->arena, &count);
    struct fan *fan = fan_new(call, count, node_info_answer);
    if (count == 0) {
        node_info_answer(fan);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        fan->parts[i].request.cmd.kind = CMD_TOTALS;
        fan_send(&fan->parts[i], open[i]);
    }
}
