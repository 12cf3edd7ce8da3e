/*
 * service/route.c - from what a request names to a shard and a stored tenant.
 */
#include "service/service_int.h"

static SILO_RC route_status(enum shard_status status, struct silo_err *err)
{
    switch (status) {
    case SHARD_OPEN:
        return RC_OK;
    case SHARD_CLOSED:
    case SHARD_OPENING:
        break;
    case SHARD_CLOSING:
        return FAIL(err, SILO_UNAVAILABLE, "shard not ready: it is being closed");
    case SHARD_FAILED:
        return FAIL(err, SILO_UNAVAILABLE, "shard not ready: it could not be opened");
    case SHARD_FENCED:
        return FAIL(err, SILO_UNAVAILABLE, SHARD_FENCED_TEXT);
    }
    return FAIL(err, SILO_UNAVAILABLE, "shard not ready: acquisition in progress");
}

SILO_RC route_ready(const struct service *service, const struct directory_shard *shard,
                    struct silo_err *err)
{
    if (shard == NULL) {
        return FAIL(err, SILO_NOT_FOUND, "shard not found");
    }
    switch (shard->place) {
    case PLACE_HERE:
    case PLACE_SPLITTING:
        return route_status(shard_status(service->shards, shard->ref), err);
    case PLACE_NODE:
        return FAIL(err, SILO_NOT_OWNER, "shard not found: another node has it");
    case PLACE_RETIRED:
        return FAIL(err, SILO_NOT_FOUND, "shard not found: it was split");
    case PLACE_MOVING:
        return FAIL(err, SILO_UNAVAILABLE, "shard not ready: it is moving to another node");
    case PLACE_STRANDED:
        return FAIL(err, SILO_UNAVAILABLE, "shard not ready: its log lies with node %s",
                    shard->holder);
    case PLACE_UNASSIGNED:
        break;
    }
    return FAIL(err, SILO_UNAVAILABLE, "shard not ready: no node serves it yet");
}

SILO_RC route_name(const struct directory *directory, struct bytes text,
                   const struct directory_shard **ret_shard, struct silo_err *err)
{
    struct uuid id;
    if (!uuid_parse_lenient(text, &id)) {
        return FAIL(err, SILO_INVALID, "invalid shard ID: not a UUID");
    }
    *ret_shard = directory_find(directory, &id);
    return RC_OK;
}

static SILO_RC route_range(const struct directory_shard *shard, struct bytes tenant,
                           struct silo_err *err)
{
    if (directory_shard_owns(shard, tenant_hash(tenant))) {
        return RC_OK;
    }
    const char *start = shard->range_start;
    const char *end = shard->range_end;
    const size_t shown = tenant.len < 256 ? tenant.len : 0; /* worker calls bring any length */
    return FAIL(err, SILO_PRECONDITION,
                "tenant '%.*s' is not within shard %s range [%s, %s); "
                "refresh the topology and send the call to the shard that owns the tenant",
                (int)shown, (const char *)tenant.ptr, shard->id_text,
                *start != 0 ? start : "-\u221e", *end != 0 ? end : "+\u221e");
}

SILO_RC route_client_tenant(const struct service *service, const struct directory_shard *shard,
                            struct bytes tenant, struct bytes *ret_tenant, struct silo_err *err)
{
    if (!service->tenancy) {
        if (tenant.len != 0) {
            return FAIL(err, SILO_PRECONDITION,
                        "a tenant was given, but tenancy is disabled on this server");
        }
        *ret_tenant = TENANT_NONE;
        return RC_OK;
    }
    if (tenant.len == 0) {
        return FAIL(err, SILO_INVALID, "tenant id required");
    }
    size_t chars = 0;
    if (!bytes_utf8(tenant, &chars) || chars > TENANT_CHARS_MAX) {
        return FAIL(err, SILO_INVALID, "invalid tenant id: longer than %u characters",
                    TENANT_CHARS_MAX);
    }
    if (bytes_eq(tenant, TENANT_NONE)) {
        return FAIL(err, SILO_INVALID, "invalid tenant id: '-' stands for no tenant");
    }
    if (shard != NULL) {
        TRY(route_range(shard, tenant, err));
    }
    *ret_tenant = tenant;
    return RC_OK;
}

SILO_RC route_worker_tenant(const struct service *service, const struct directory_shard *shard,
                            struct bytes tenant, struct silo_err *err)
{
    if (!service->tenancy) {
        return RC_OK;
    }
    if (tenant.len == 0) {
        return FAIL(err, SILO_INVALID, "tenant_id is required");
    }
    return route_range(shard, tenant, err);
}

bool route_left_out(const struct service *service, const struct directory *directory)
{
    size_t fenced = 0;
    for (size_t i = 0; i < directory->shard_count; i++) {
        const struct directory_shard *shard = directory->shards[i];
        fenced +=
            directory_shard_here(shard) && shard_status(service->shards, shard->ref) == SHARD_FENCED
                ? 1
                : 0;
    }
    return fenced != 0 && fenced == directory->shard_count;
}

bool route_is_open(const struct service *service, const struct directory_shard *shard)
{
    return directory_shard_here(shard) && shard_status(service->shards, shard->ref) == SHARD_OPEN;
}

struct directory_shard *route_open(const struct service *service, const struct directory *directory,
                                   struct arena *arena, size_t *ret_count)
{
    struct directory_shard *open = arena_alloc(arena, (directory->shard_count + 1) * sizeof *open);
    *ret_count = 0;
    for (size_t i = 0; i < directory->shard_count; i++) {
        const struct directory_shard *shard = directory->shards[i];
        if (route_is_open(service, shard)) {
            open[(*ret_count)++] = *shard;
        }
    }
    return open;
}
