/*
 * service/forward.c - calls that go on to the node that has their shard.
 *
 * That node may have given the shard to this one meanwhile, and says so. Then the call is ours
 * again: it runs as soon as the directory here says so, too, and is held until then.
 */
#include "service/call_int.h"
#include "service/hold.h"

struct forwarded {
    struct call *call;
    struct uuid shard;
};

static void forward_back(void *context)
{
    const struct forwarded *forwarded = context;
    struct call *call = forwarded->call;
    const struct directory *directory = svc_directory(call);
    struct route route;
    route_judge(call->service, directory, directory_find(directory, &forwarded->shard), &route);
    memset(&call->request, 0, sizeof call->request);
    if (route.verdict != ROUTE_REDIRECT) {
        call->method->run(call);
        return;
    }
    /* Word of it is on its way to this node. */
    route_not_ready(&route);
    route.owner_id = route.owner_address = NULL;
    svc_hold(call, &forwarded->shard, &route);
}

bool svc_forward(struct call *call, const struct uuid *shard, const struct route *route)
{
    const struct service *service = call->service;
    if (route->verdict != ROUTE_REDIRECT || service->forward == NULL || call->method->hands_out) {
        return false;
    }
    struct forwarded *forwarded = ARENA_NEW(call->arena, struct forwarded);
    *forwarded = (struct forwarded){.call = call, .shard = *shard};
    const struct service_hop hop = {.path = call->path,
                                    .id = route->owner_id,
                                    .address = route->owner_address,
                                    .back = forward_back,
                                    .context = forwarded};
    return service->forward(service->forward_context, call->rpc, &hop);
}
