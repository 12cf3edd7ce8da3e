/*
 * service/topology.c - GetClusterInfo, as the directory has it: which node has which shard and what
 * is the matter with it, and who the members are. Nobody else is asked, so it answers at once,
 * whatever is away.
 *
 * By which address a caller reaches this node only the caller knows: port forwards, translated
 * addresses and names of certificates lie between. So each is told the one it dialled, unless the
 * operator set one for all. What a caller says it dialled goes back to that caller alone, and only
 * if it is a plain host:port.
 */
#include "base/address.h"
#include "service/topology_int.h"

/* One answer on its way: what is read, where it is made, and this node as the caller dials it. */
struct topology {
    const struct service *service;
    const struct directory *directory;
    struct arena *arena;
    char *address;
};

struct bytes topology_address(const struct call *call)
{
    const struct bytes dialled = rpc_call_authority(call->rpc);
    const bool told = call->service->as_dialled && address_connectable(dialled);
    return told ? dialled : bytes_str(call->service->grpc_addr);
}

static void owner_self(const struct topology *topology, Silo__V1__ShardOwner *owner)
{
    owner->grpc_addr = topology->address;
    owner->node_id = topology->service->node_id;
}

/* Texts of the directory are only read, here and below. */
static void owner_node(const struct topology *topology, uint32_t number,
                       Silo__V1__ShardOwner *owner)
{
    const struct directory_node *node = &topology->directory->nodes[number];
    owner->grpc_addr = (char *)node->address;
    owner->node_id = (char *)node->id;
}

/* A shard of this process. */
static void owner_here(const struct topology *topology, const struct directory_shard *shard,
                       Silo__V1__ShardOwner *owner)
{
    owner_self(topology, owner);
    switch (shard_status(topology->service->shards, shard->ref)) {
    case SHARD_OPEN:
        owner->state = SILO__V1__SHARD_STATE__SHARD_STATE_SERVING;
        return;
    case SHARD_FAILED:
        owner->state = SILO__V1__SHARD_STATE__SHARD_STATE_FAILED;
        return;
    case SHARD_FENCED: /* another process has it; which one is not known here */
        owner->grpc_addr = owner->node_id = (char *)"";
        owner->state = SILO__V1__SHARD_STATE__SHARD_STATE_UNASSIGNED;
        return;
    case SHARD_CLOSED:
    case SHARD_OPENING:
    case SHARD_CLOSING:
        break;
    }
    owner->state = SILO__V1__SHARD_STATE__SHARD_STATE_OPENING;
}

/*
 * Until the record says otherwise a shard that leaves here is still this node's. One that comes
 * here is asked for here, where its calls are kept until it is open.
 */
static void owner_moving(const struct topology *topology, const struct directory_shard *shard,
                         Silo__V1__ShardOwner *owner)
{
    const struct directory *directory = topology->directory;
    owner_self(topology, owner);
    if (shard->node == directory->self) {
        owner->state = SILO__V1__SHARD_STATE__SHARD_STATE_OPENING;
        return;
    }
    owner->state = SILO__V1__SHARD_STATE__SHARD_STATE_MOVING;
    owner->moving_to_node_id = (char *)directory->nodes[shard->node].id;
}

static void owner_state(const struct topology *topology, const struct directory_shard *shard,
                        Silo__V1__ShardOwner *owner)
{
    switch (shard->place) {
    case PLACE_HERE:
        owner_here(topology, shard, owner);
        return;
    case PLACE_SPLITTING:
        owner_here(topology, shard, owner);
        owner->state = SILO__V1__SHARD_STATE__SHARD_STATE_SPLITTING;
        return;
    case PLACE_NODE:
        owner_node(topology, shard->node, owner);
        owner->state = SILO__V1__SHARD_STATE__SHARD_STATE_SERVING;
        return;
    case PLACE_MOVING:
        owner_moving(topology, shard, owner);
        return;
    case PLACE_STRANDED:
        owner->state = SILO__V1__SHARD_STATE__SHARD_STATE_STRANDED;
        owner->holder_node_id = (char *)shard->holder;
        return;
    case PLACE_RETIRED:
    case PLACE_UNASSIGNED:
        break;
    }
    owner->state = SILO__V1__SHARD_STATE__SHARD_STATE_UNASSIGNED;
}

static Silo__V1__ShardOwner *owner_new(const struct topology *topology,
                                       const struct directory_shard *shard)
{
    Silo__V1__ShardOwner *owner = arena_alloc(topology->arena, sizeof *owner);
    silo__v1__shard_owner__init(owner);
    owner->shard_id = (char *)shard->id_text;
    owner->range_start = (char *)shard->range_start;
    owner->range_end = (char *)shard->range_end;
    if (shard->ring != NULL) {
        owner->placement_ring_opt_case = SILO__V1__SHARD_OWNER__PLACEMENT_RING_OPT_PLACEMENT_RING;
        owner->placement_ring = (char *)shard->ring;
    }
    owner_state(topology, shard, owner);
    return owner;
}

static Silo__V1__ClusterMember *member_new(const struct topology *topology,
                                           const struct directory_node *node)
{
    Silo__V1__ClusterMember *member = arena_alloc(topology->arena, sizeof *member);
    silo__v1__cluster_member__init(member);
    member->node_id = (char *)node->id;
    member->grpc_addr = (char *)node->address;
    member->placement_rings = (char **)node->rings;
    member->n_placement_rings = node->ring_count;
    member->leaving = node->leaving;
    return member;
}

/* This node as it knows itself, then the others. */
static void members_fill(const struct topology *topology, Silo__V1__GetClusterInfoResponse *reply)
{
    const struct service *service = topology->service;
    const struct directory *directory = topology->directory;
    const bool known = directory->self != DIRECTORY_NO_NODE;
    reply->members =
        arena_alloc(topology->arena, (directory->node_count + 1) * sizeof *reply->members);
    const struct directory_node self = {.id = service->node_id,
                                        .address = topology->address,
                                        .rings = (const char *const *)service->rings,
                                        .ring_count = service->ring_count,
                                        .leaving =
                                            known && directory->nodes[directory->self].leaving};
    reply->members[reply->n_members++] = member_new(topology, &self);
    for (size_t i = 0; i < directory->node_count; i++) {
        if (i != directory->self) {
            reply->members[reply->n_members++] = member_new(topology, &directory->nodes[i]);
        }
    }
}

void topology_fill(const struct call *call, const struct directory *directory, struct arena *arena,
                   Silo__V1__GetClusterInfoResponse *ret_reply)
{
    const struct topology topology = {.service = call->service,
                                      .directory = directory,
                                      .arena = arena,
                                      .address = arena_str(arena, topology_address(call))};
    silo__v1__get_cluster_info_response__init(ret_reply);
    ret_reply->this_node_id = call->service->node_id;
    ret_reply->this_grpc_addr = topology.address;
    ret_reply->version = directory->version;
    ret_reply->life = call->service->life;
    ret_reply->map_number = directory->map_number;
    const size_t count = directory->shard_count;
    ret_reply->num_shards = (uint32_t)count;
    ret_reply->shard_owners = arena_alloc(arena, (count + 1) * sizeof *ret_reply->shard_owners);
    for (size_t i = 0; i < count; i++) {
        ret_reply->shard_owners[ret_reply->n_shard_owners++] =
            owner_new(&topology, directory->shards[i]);
    }
    members_fill(&topology, ret_reply);
}

void on_cluster_info(struct call *call)
{
    Silo__V1__GetClusterInfoResponse reply;
    topology_fill(call, svc_directory(call), call->arena, &reply);
    svc_reply(call, &reply.base);
}
