/*
 * service/topology.c - GetClusterInfo and GetNodeInfo, as the directory has it: this node owns the
 * shards that are here, but those that another process took over.
 *
 * By which address a caller reaches this node only the caller knows: port forwards, translated
 * addresses and names of certificates lie between. So each is told the one it dialled, unless the
 * operator set one for all. What a caller says it dialled goes back to that caller alone, and only
 * if it is a plain host:port.
 */
#include <stdlib.h>

#include "base/address.h"
#include "service/call_int.h"

/* This node's address as the caller can use it. */
static char *addr_for(const struct call *call)
{
    const struct bytes dialled = rpc_call_authority(call->rpc);
    if (call->service->as_dialled && address_connectable(dialled)) {
        return arena_str(call->arena, dialled);
    }
    return call->service->grpc_addr;
}

/* Who serves the shard, as far as this node knows: false where it does not. */
static bool owner_fill(const struct call *call, const struct directory *directory,
                       const struct directory_shard *shard, Silo__V1__ShardOwner *owner)
{
    const struct service *service = call->service;
    if (shard->place == PLACE_NODE) {
        const struct directory_node *node = &directory->nodes[shard->node];
        owner->grpc_addr = (char *)node->address; /* only read, here and below */
        owner->node_id = (char *)node->id;
        return true;
    }
    owner->grpc_addr = addr_for(call);
    owner->node_id = service->node_id;
    /* A fenced one another process has; which one is not known here. */
    return directory_shard_here(shard) && shard_status(service->shards, shard->ref) != SHARD_FENCED;
}

static void owners_fill(const struct call *call, const struct directory *directory,
                        Silo__V1__GetClusterInfoResponse *reply)
{
    const size_t count = directory->shard_count;
    reply->shard_owners = arena_alloc(call->arena, (count + 1) * sizeof *reply->shard_owners);
    for (size_t i = 0; i < count; i++) {
        const struct directory_shard *shard = directory->shards[i];
        Silo__V1__ShardOwner *owner = arena_alloc(call->arena, sizeof *owner);
        silo__v1__shard_owner__init(owner);
        owner->shard_id = (char *)shard->id_text;
        owner->range_start = (char *)shard->range_start;
        owner->range_end = (char *)shard->range_end;
        if (owner_fill(call, directory, shard, owner)) {
            reply->shard_owners[reply->n_shard_owners++] = owner;
        }
    }
    reply->num_shards = (uint32_t)count;
}

static Silo__V1__ClusterMember *member_new(const struct call *call)
{
    Silo__V1__ClusterMember *member = arena_alloc(call->arena, sizeof *member);
    silo__v1__cluster_member__init(member);
    return member;
}

/* This node as it knows itself, then the others. */
static void members_fill(const struct call *call, const struct directory *directory,
                         Silo__V1__GetClusterInfoResponse *reply)
{
    const struct service *service = call->service;
    reply->members = arena_alloc(call->arena, (directory->node_count + 1) * sizeof *reply->members);
    Silo__V1__ClusterMember *self = member_new(call);
    self->node_id = service->node_id;
    self->grpc_addr = reply->this_grpc_addr;
    self->placement_rings = service->rings;
    self->n_placement_rings = service->ring_count;
    reply->members[reply->n_members++] = self;
    for (size_t i = 0; i < directory->node_count; i++) {
        const struct directory_node *node = &directory->nodes[i];
        if (i != directory->self) {
            Silo__V1__ClusterMember *other = member_new(call);
            other->node_id = (char *)node->id;
            other->grpc_addr = (char *)node->address;
            other->placement_rings = (char **)node->rings;
            other->n_placement_rings = node->ring_count;
            reply->members[reply->n_members++] = other;
        }
    }
}

void on_cluster_info(struct call *call)
{
    const struct directory *directory = svc_directory(call);
    Silo__V1__GetClusterInfoResponse reply = SILO__V1__GET_CLUSTER_INFO_RESPONSE__INIT;
    reply.this_node_id = call->service->node_id;
    reply.this_grpc_addr = addr_for(call);
    owners_fill(call, directory, &reply);
    members_fill(call, directory, &reply);
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
        reply.owned_shards[reply.n_owned_shards++] = owned_new(call->arena, &fan->parts[i]);
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
        fan_send(&fan->parts[i], &open[i]);
    }
}
