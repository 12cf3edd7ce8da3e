/*
 * service/route.c - from what a request names to a shard and a stored tenant, and what its caller
 * is told when the shard is not open here.
 *
 *   where the shard is              verdict   status       message          told besides
 *   here, open                      RUN
 *   here, opening, closing, closed  HOLD      UNAVAILABLE  shard not ready  when to ask again
 *   moving                          HOLD      UNAVAILABLE  shard not ready  ... and whom
 *   another node has it             REDIRECT  NOT_FOUND    shard not found  whom to ask
 *   its log is with a node away     REFUSE    UNAVAILABLE  shard not ready  which, and when
 *   here, failed or fenced          REFUSE    UNAVAILABLE  shard not ...    when
 *   nobody's, its ring has nodes    REFUSE    UNAVAILABLE  shard not ready  when
 *   nobody's, its ring has none     REFUSE    NOT_FOUND    shard not found  when
 *   unknown, or retired by a split  REFUSE    NOT_FOUND    shard not found
 *
 * All of it comes from ownership records, by the directory, never from who should have the shard.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/owner_headers.h"
#include "service/call_int.h"

#define NOT_FOUND_TEXT "shard not found" /* clients tell by it that they asked the wrong node */
#define SPLIT_TEXT "shard is temporarily unavailable: split in progress"

/* --- who has the shard, and what a caller is told --- */

static void route_fail(struct route *route, enum route_verdict verdict, enum silo_code code,
                       const char *text, uint32_t retry_ms)
{
    route->verdict = verdict;
    route->retry_ms = retry_ms;
    rc_ignore(FAIL(&route->err, code, "%s", text), "it fills what the caller is told");
}

/* One of this process. */
static void route_here(const struct service *service, const struct directory_shard *shard,
                       struct route *route)
{
    const char *changing = shard->place == PLACE_SPLITTING ? SPLIT_TEXT : ROUTE_NOT_READY_TEXT;
    switch (shard_status(service->shards, shard->ref)) {
    case SHARD_OPEN:
        route->verdict = ROUTE_RUN;
        return;
    case SHARD_CLOSED:
    case SHARD_OPENING:
    case SHARD_CLOSING:
        route_fail(route, ROUTE_HOLD, SILO_UNAVAILABLE, changing, ROUTE_RETRY_MOVE_MS);
        return;
    case SHARD_FAILED:
        route_fail(route, ROUTE_REFUSE, SILO_UNAVAILABLE, "shard not ready: it could not be opened",
                   ROUTE_RETRY_FAILED_MS);
        return;
    case SHARD_FENCED:
        route_fail(route, ROUTE_REFUSE, SILO_UNAVAILABLE, SHARD_FENCED_TEXT, ROUTE_RETRY_FAILED_MS);
        return;
    }
}

static bool ring_has_nodes(const struct directory *directory, const char *ring)
{
    for (size_t i = 0; i < directory->node_count; i++) {
        if (directory_node_in_ring(&directory->nodes[i], ring)) {
            return true;
        }
    }
    return false;
}

/* Nobody has it: either one of its ring will, or there is none. */
static void route_unassigned(const struct directory *directory, const struct directory_shard *shard,
                             struct route *route)
{
    if (ring_has_nodes(directory, shard->ring)) {
        route_fail(route, ROUTE_REFUSE, SILO_UNAVAILABLE, ROUTE_NOT_READY_TEXT,
                   ROUTE_RETRY_TAKEOVER_MS);
    } else {
        route_fail(route, ROUTE_REFUSE, SILO_NOT_FOUND, NOT_FOUND_TEXT, ROUTE_RETRY_STRANDED_MS);
    }
}

void route_judge(const struct service *service, const struct directory *directory,
                 const struct directory_shard *shard, struct route *ret_route)
{
    ret_route->owner_id = ret_route->owner_address = NULL;
    ret_route->retry_ms = 0;
    if (shard == NULL || shard->place == PLACE_RETIRED) {
        route_fail(ret_route, ROUTE_REFUSE, SILO_NOT_FOUND, NOT_FOUND_TEXT, 0);
        return;
    }
    if (shard->node != DIRECTORY_NO_NODE && shard->node != directory->self) {
        ret_route->owner_id = directory->nodes[shard->node].id;
        ret_route->owner_address = directory->nodes[shard->node].address;
    }
    switch (shard->place) {
    case PLACE_HERE:
    case PLACE_SPLITTING:
        route_here(service, shard, ret_route);
        return;
    case PLACE_NODE:
        route_fail(ret_route, ROUTE_REDIRECT, SILO_NOT_OWNER, NOT_FOUND_TEXT, 0);
        return;
    case PLACE_MOVING:
        route_fail(ret_route, ROUTE_HOLD, SILO_UNAVAILABLE, ROUTE_NOT_READY_TEXT,
                   ROUTE_RETRY_MOVE_MS);
        return;
    case PLACE_STRANDED:
        route_fail(ret_route, ROUTE_REFUSE, SILO_UNAVAILABLE,
                   "shard not ready: its log lies with a node that is away",
                   ROUTE_RETRY_STRANDED_MS);
        ret_route->owner_id = shard->holder;
        return;
    case PLACE_UNASSIGNED:
    case PLACE_RETIRED:
        break;
    }
    route_unassigned(directory, shard, ret_route);
}

void route_not_ready(struct route *route)
{
    route_fail(route, ROUTE_HOLD, SILO_UNAVAILABLE, ROUTE_NOT_READY_TEXT, ROUTE_RETRY_MOVE_MS);
}

size_t route_trailers(const struct route *route, char retry[ROUTE_RETRY_TEXT_MAX],
                      struct rpc_header ret_trailers[ROUTE_TRAILERS_MAX])
{
    size_t count = 0;
    if (route->owner_address != NULL) {
        ret_trailers[count++] = (struct rpc_header){.name = BYTES_LIT(OWNER_ADDRESS_HEADER),
                                                    .value = bytes_str(route->owner_address)};
    }
    if (route->owner_id != NULL) {
        ret_trailers[count++] = (struct rpc_header){.name = BYTES_LIT(OWNER_NODE_HEADER),
                                                    .value = bytes_str(route->owner_id)};
    }
    if (route->retry_ms != 0) {
        (void)snprintf(retry, ROUTE_RETRY_TEXT_MAX, "%" PRIu32, route->retry_ms);
        ret_trailers[count++] =
            (struct rpc_header){.name = BYTES_LIT(RETRY_AFTER_HEADER), .value = bytes_str(retry)};
    }
    return count;
}

const char *route_text(struct arena *arena, const struct route *route)
{
    if (route->owner_address != NULL) {
        return arena_printf(arena, "%s; node %s at %s has it", route->err.text, route->owner_id,
                            route->owner_address);
    }
    return arena_str(arena, bytes_str(route->err.text));
}

/* --- the names in a request --- */

SILO_RC route_name(const struct directory *directory, struct bytes text,
                   const struct directory_shard **ret_shard, struct silo_err *err)
{
    struct uuid id;
    if (!uuid_parse_lenient(text, &id)) {
        return FAIL(err, SILO_INVALID, ERROR_SHARD_ID);
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
                "refresh topology and retry",
                (int)shown, (const char *)tenant.ptr, shard->id_text,
                *start != 0 ? start : "-\u221e", *end != 0 ? end : "+\u221e");
}

SILO_RC route_client_tenant(const struct service *service, const struct directory_shard *shard,
                            struct bytes tenant, struct bytes *ret_tenant, struct silo_err *err)
{
    if (!service->tenancy) {
        if (tenant.len != 0) {
            return FAIL(err, SILO_PRECONDITION,
                        "tenant must not be provided when tenancy is disabled on the server");
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
        return FAIL(err, SILO_INVALID,
                    "tenant_id is required for worker operations when tenancy is enabled");
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
