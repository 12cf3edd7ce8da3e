/*
 * bench/call.c - calls of the clients, calls of the main thread, and the small parts of messages.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "route.h"

#define STAMP_BYTES 8u
#define BIN_HEADER_BYTES 5u
#define ASK_AGAIN_US 100000

static size_t message_pack(const void *message, uint8_t **buffer, size_t *cap)
{
    const size_t size = protobuf_c_message_get_packed_size(message);
    if (size > *cap) {
        *buffer = xrealloc(*buffer, size);
        *cap = size;
    }
    return size != 0 ? protobuf_c_message_pack(message, *buffer) : 0;
}

void call_count_error(struct call *call)
{
    struct bench *bench = call->bench;
    if (bench->errors++ == 0) {
        (void)snprintf(bench->first_error, sizeof bench->first_error, "%s: %s: %.*s",
                       call->request.path, grpc_status_name(call->request.status),
                       BYTES_FMT(call->request.text));
    }
}

static void call_done(struct rpc_request *request)
{
    struct call *call = request->context;
    struct bench *bench = call->bench;
    bench->calls_open--;
    list_remove(&call->own.flying);
    if (bench->closing) {
        return;
    }
    call->end_us = env_mono_us(&env_system);
    if (request->status != RPC_STATUS_OK) {
        if (route_again(call)) {
            return;
        }
        if (call->failed != NULL) {
            call->failed(call);
        } else {
            call_count_error(call);
        }
        return;
    }
    if (call->series != NULL) {
        series_add(call->series, call->end_us - call->start_us);
    }
    call->done(call);
}

void call_send(struct call *call, const char *path, const void *message, int64_t start_us)
{
    struct bench *bench = call->bench;
    if (bench->closing) {
        return;
    }
    const size_t size = message_pack(message, &call->message, &call->message_cap);
    call->start_us = start_us != 0 ? start_us : env_mono_us(&env_system);
    call->request = (struct rpc_request){.path = path,
                                         .message = bytes_of(call->message, size),
                                         .timeout_us = BENCH_CALL_US,
                                         .on_done = call_done,
                                         .context = call};
    route_send(call, message);
}

void call_deinit(struct call *call)
{
    free(call->message);
    call->message = NULL;
}

static uint32_t ask_channel(struct rpc_channel *channel, const char *path, const void *message,
                            int64_t *ret_us, struct rpc_answer *ret_answer)
{
    uint8_t *buffer = NULL;
    size_t cap = 0;
    const size_t size = message != NULL ? message_pack(message, &buffer, &cap) : 0;
    const int64_t start = env_mono_us(&env_system);
    rpc_channel_call_wait(channel, path, bytes_of(buffer, size), BENCH_CALL_US, ret_answer);
    if (ret_us != NULL) {
        *ret_us = env_mono_us(&env_system) - start;
    }
    free(buffer);
    return ret_answer->status;
}

/* Whether the shard has another owner, or will have one. */
static bool is_moving(const struct rpc_answer *answer)
{
    return answer->status == RPC_STATUS_UNAVAILABLE ||
           (answer->status == RPC_STATUS_NOT_FOUND &&
            bytes_has(answer->text, BYTES_LIT(ROUTE_WRONG_SHARD_TEXT)));
}

uint32_t ask(struct bench *bench, const char *path, const void *message, int64_t *ret_us,
             struct rpc_answer *ret_answer)
{
    const int64_t start = env_mono_us(&env_system);
    for (;;) {
        struct rpc_channel *channel = route_control(bench, route_shard_of(message));
        const uint32_t status = ask_channel(channel, path, message, ret_us, ret_answer);
        if (bench->node_count == 1 || !is_moving(ret_answer) || bench_interrupted() ||
            env_mono_us(&env_system) - start > BENCH_CALL_US) {
            return status;
        }
        rpc_answer_deinit(ret_answer);
        route_refresh(bench);
        (void)usleep(ASK_AGAIN_US);
    }
}

uint32_t ask_node(struct bench *bench, uint32_t node, const char *path, const void *message,
                  struct rpc_answer *ret_answer)
{
    return ask_channel(bench->nodes[node].control, path, message, NULL, ret_answer);
}

void ask_ok(struct bench *bench, const char *path, const void *message, int64_t *ret_us,
            struct rpc_answer *ret_answer)
{
    const uint32_t status = ask(bench, path, message, ret_us, ret_answer);
    if (status != RPC_STATUS_OK) {
        bench_die("%s: %s: %.*s", path, grpc_status_name(status), BYTES_FMT(ret_answer->text));
    }
}

/* --- connections and shards --- */

/* A call without a tenant is a bad one exactly when tenancy is on. */
static bool tenancy_probe(struct bench *bench)
{
    Silo__V1__GetJobRequest m = SILO__V1__GET_JOB_REQUEST__INIT;
    m.shard = bench->shards[0].id;
    m.id = lend("no such job");
    struct rpc_answer answer;
    const uint32_t status = ask(bench, SILO_PATH("GetJob"), &m, NULL, &answer);
    rpc_answer_deinit(&answer);
    return status == RPC_STATUS_INVALID_ARGUMENT;
}

void bench_connect(struct bench *bench)
{
    struct silo_err err;
    if (rpc_loop_new(&bench->loop, &err).code != SILO_OK) {
        bench_die("%s", err.text);
    }
    bench->closing = false;
    bench->channel_count = opt(bench, OPT_CONNECTIONS) != 0 ? opt(bench, OPT_CONNECTIONS) : 1;
    route_connect(bench);
    route_settle(bench);
    bench->tenancy = tenancy_probe(bench);
    bench_counts_begin(bench);
}

void bench_disconnect(struct bench *bench)
{
    bench_quiet(bench);
    bench->progress.counter = NULL;
    route_disconnect(bench);
    bench->loop = rpc_loop_free(bench->loop);
    ASSERT(bench->calls_open == 0);
    while (bench->leftover_count != 0) {
        bench->leftover_count--;
        bench->leftovers[bench->leftover_count].free(bench->leftovers[bench->leftover_count].thing);
    }
}

const char *bench_shard(const struct bench *bench, const char *tenant, uint64_t n)
{
    if (tenant == NULL) {
        return bench->shards[n % bench->shard_count].id;
    }
    if (bench->shard_count == 1) {
        return bench->shards[0].id;
    }
    char hash[24];
    (void)snprintf(hash, sizeof hash, "%016" PRIx64, (uint64_t)XXH64(tenant, strlen(tenant), 0));
    for (uint32_t i = 0; i < bench->shard_count; i++) {
        const struct bench_shard *shard = &bench->shards[i];
        if (strcmp(hash, shard->range_start) >= 0 &&
            (shard->range_end[0] == '\0' || strcmp(hash, shard->range_end) < 0)) {
            return shard->id;
        }
    }
    return bench->shards[0].id;
}

/* --- parts of messages --- */

Silo__V1__SerializedBytes *blob_new(struct arena *arena, size_t bytes, int64_t stamp_us)
{
    const size_t n = bytes < STAMP_BYTES ? STAMP_BYTES : bytes;
    uint8_t *data = arena_zalloc(arena, BIN_HEADER_BYTES + n);
    data[0] = 0xc6; /* MessagePack bin 32 */
    for (uint32_t i = 0; i < 4; i++) {
        data[1 + i] = (uint8_t)(n >> (24 - 8 * i));
    }
    memcpy(data + BIN_HEADER_BYTES, &stamp_us, sizeof stamp_us);
    Silo__V1__SerializedBytes *blob = ARENA_NEW(arena, Silo__V1__SerializedBytes);
    silo__v1__serialized_bytes__init(blob);
    blob->encoding_case = SILO__V1__SERIALIZED_BYTES__ENCODING_MSGPACK;
    blob->msgpack = (ProtobufCBinaryData){.len = BIN_HEADER_BYTES + n, .data = data};
    return blob;
}

int64_t blob_stamp(const Silo__V1__SerializedBytes *blob)
{
    int64_t stamp = 0;
    if (blob != NULL && blob->encoding_case == SILO__V1__SERIALIZED_BYTES__ENCODING_MSGPACK &&
        blob->msgpack.len >= BIN_HEADER_BYTES + STAMP_BYTES) {
        memcpy(&stamp, blob->msgpack.data + BIN_HEADER_BYTES, sizeof stamp);
    }
    return stamp;
}

Silo__V1__SerializedBytes *blob_true(void)
{
    static uint8_t data[] = {0xc3};
    static Silo__V1__SerializedBytes blob = {
        .base = PROTOBUF_C_MESSAGE_INIT(&silo__v1__serialized_bytes__descriptor),
        .encoding_case = SILO__V1__SERIALIZED_BYTES__ENCODING_MSGPACK,
        .msgpack = {.len = sizeof data, .data = data}};
    return &blob;
}

Silo__V1__Limit *limit_fixed(struct arena *arena, const char *key, uint32_t slots)
{
    Silo__V1__Limit *limit = ARENA_NEW(arena, Silo__V1__Limit);
    Silo__V1__ConcurrencyLimit *fixed = ARENA_NEW(arena, Silo__V1__ConcurrencyLimit);
    silo__v1__limit__init(limit);
    silo__v1__concurrency_limit__init(fixed);
    fixed->key = lend(key);
    fixed->max_concurrency = slots;
    limit->limit_case = SILO__V1__LIMIT__LIMIT_CONCURRENCY;
    limit->concurrency = fixed;
    return limit;
}

Silo__V1__Limit *limit_floating(struct arena *arena, const char *key, uint32_t slots,
                                int64_t refresh_ms)
{
    Silo__V1__Limit *limit = ARENA_NEW(arena, Silo__V1__Limit);
    Silo__V1__FloatingConcurrencyLimit *floating =
        ARENA_NEW(arena, Silo__V1__FloatingConcurrencyLimit);
    silo__v1__limit__init(limit);
    silo__v1__floating_concurrency_limit__init(floating);
    floating->key = lend(key);
    floating->default_max_concurrency = slots;
    floating->refresh_interval_ms = refresh_ms;
    limit->limit_case = SILO__V1__LIMIT__LIMIT_FLOATING_CONCURRENCY;
    limit->floating_concurrency = floating;
    return limit;
}

void limits_set(struct arena *arena, Silo__V1__EnqueueRequest *job, Silo__V1__Limit *first,
                Silo__V1__Limit *second)
{
    job->limits = arena_alloc(arena, 2 * sizeof(Silo__V1__Limit *));
    job->limits[0] = first;
    job->limits[1] = second;
    job->n_limits = second != NULL ? 2 : 1;
}

uint64_t bench_random(void)
{
    uint64_t value;
    env_random(&env_system, &value, sizeof value);
    return value;
}

uint64_t bench_random_below(uint64_t n)
{
    return n != 0 ? bench_random() % n : 0;
}

/* --- audits --- */

struct node_counts bench_counts(struct bench *bench)
{
    struct node_counts counts = {0, 0};
    for (uint32_t node = 0; node < bench->node_count; node++) {
        struct rpc_answer answer;
        if (ask_node(bench, node, SILO_PATH("GetNodeInfo"), NULL, &answer) != RPC_STATUS_OK) {
            bench_die("GetNodeInfo: %s: %.*s", grpc_status_name(answer.status),
                      BYTES_FMT(answer.text));
        }
        Silo__V1__GetNodeInfoResponse *m =
            silo__v1__get_node_info_response__unpack(NULL, answer.reply.len, answer.reply.ptr);
        for (size_t i = 0; m != NULL && i < m->n_owned_shards; i++) {
            counts.total += m->owned_shards[i]->total_jobs;
            counts.completed += m->owned_shards[i]->completed_jobs;
        }
        if (m != NULL) {
            silo__v1__get_node_info_response__free_unpacked(m, NULL);
        }
        rpc_answer_deinit(&answer);
    }
    return counts;
}

static uint64_t holders_of(struct bench *bench, const char *tenant, const char *shard)
{
    Silo__V1__DropTenantHoldersRequest m = SILO__V1__DROP_TENANT_HOLDERS_REQUEST__INIT;
    m.shard = lend(shard);
    if (bench->tenancy) {
        m.tenant_opt_case = SILO__V1__DROP_TENANT_HOLDERS_REQUEST__TENANT_OPT_TENANT;
        m.tenant = lend(tenant);
    }
    struct rpc_answer answer;
    ask_ok(bench, SILO_PATH("DropTenantHolders"), &m, NULL, &answer);
    Silo__V1__DropTenantHoldersResponse *reply =
        silo__v1__drop_tenant_holders_response__unpack(NULL, answer.reply.len, answer.reply.ptr);
    const uint64_t dropped = reply != NULL ? reply->holders_dropped : 0;
    if (reply != NULL) {
        silo__v1__drop_tenant_holders_response__free_unpacked(reply, NULL);
    }
    rpc_answer_deinit(&answer);
    return dropped;
}

uint64_t bench_holders(struct bench *bench, const char *tenant)
{
    if (bench->tenancy) {
        return holders_of(bench, tenant, bench_shard(bench, tenant, 0));
    }
    uint64_t dropped = 0;
    for (uint32_t i = 0; i < bench->shard_count; i++) {
        dropped += holders_of(bench, tenant, bench->shards[i].id);
    }
    return dropped;
}
