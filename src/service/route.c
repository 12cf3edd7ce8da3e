/*
 * service/route.c - from what a request names to a shard and a stored tenant.
 */
#include "service/service_int.h"

SILO_RC route_ready(const struct shard *shard, struct silo_err *err)
{
    if (shard == NULL) {
        return FAIL(err, SILO_NOT_FOUND, "shard not found");
    }
    switch (shard_status(shard)) {
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

SILO_RC route_name(struct shards *shards, struct bytes text, struct shard **ret_shard,
                   struct silo_err *err)
{
    struct uuid id;
    if (!uuid_parse_lenient(text, &id)) {
        return FAIL(err, SILO_INVALID, "invalid shard ID: not a UUID");
    }
    *ret_shard = shards_find(shards, &id);
    return RC_OK;
}

SILO_RC route_find(struct shards *shards, struct bytes text, struct shard **ret_shard,
                   struct silo_err *err)
{
    struct shard *shard = NULL;
    TRY(route_name(shards, text, &shard, err));
    TRY(route_ready(shard, err));
    *ret_shard = shard;
    return RC_OK;
}

static SILO_RC route_range(const struct shard *shard, struct bytes tenant, struct silo_err *err)
{
    if (shard_owns_tenant(shard, tenant)) {
        return RC_OK;
    }
    const char *start = shard_range_start(shard);
    const char *end = shard_range_end(shard);
    const size_t shown = tenant.len < 256 ? tenant.len : 0; /* worker calls bring any length */
    return FAIL(err, SILO_PRECONDITION,
                "tenant '%.*s' is not within shard %s range [%s, %s); "
                "refresh the topology and send the call to the shard that owns the tenant",
                (int)shown, (const char *)tenant.ptr, shard_id_text(shard),
                *start != 0 ? start : "-\u221e", *end != 0 ? end : "+\u221e");
}

SILO_RC route_client_tenant(const struct service *service, const struct shard *shard,
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

SILO_RC route_worker_tenant(const struct service *service, const struct shard *shard,
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

bool route_left_out(struct shards *shards)
{
    const size_t count = shards_count(shards);
    size_t fenced = 0;
    for (size_t i = 0; i < count; i++) {
        fenced += shard_status(shards_at(shards, i)) == SHARD_FENCED ? 1 : 0;
    }
    return count != 0 && fenced == count;
}

struct shard **route_open(struct shards *shards, struct arena *arena, size_t *ret_count)
{
    const size_t count = shards_count(shards);
    struct shard **open = arena_alloc(arena, (count + 1) * sizeof *open);
    *ret_count = 0;
    for (size_t i = 0; i < count; i++) {
        struct shard *shard = shards_at(shards, i);
        if (shard_status(shard) == SHARD_OPEN) {
            open[(*ret_count)++] = shard;
        }
    }
    return open;
}
