/*
 * fuzz/request_fuzz.c - requests: the service's check of the bytes, protobuf-c's decoding, and the
 * checks of the fields.
 *
 * The first byte names the request type. A message that decodes must pack to bytes that decode
 * again and pack to the same, must not have taken more memory than its bytes can ask for, and what
 * passes the checks of a job must be storable.
 *
 * The two files of the service are compiled into this fuzzer, so that it needs no shard, no store
 * and no socket.
 */
#include "fuzz.h"

#include "codec/record.h"
#include "core/limit.h"
#include "service/service_int.h"

/* Memory that decoding may take for each byte of a request, and beside that. */
#define MEMORY_FACTOR 512u
#define MEMORY_BASE (64u << 10)

#define TYPE(name) &silo__v1__##name##_request__descriptor

static const ProtobufCMessageDescriptor *const types[] = {
    TYPE(enqueue),
    TYPE(enqueue_many),
    TYPE(import_jobs),
    TYPE(report_outcome),
    TYPE(report_outcomes),
    TYPE(report_refresh_outcome),
    TYPE(lease_tasks),
    TYPE(lease_task),
    TYPE(heartbeat),
    TYPE(query),
    TYPE(query_arrow),
    TYPE(get_job),
    TYPE(get_job_result),
    TYPE(delete_job),
    TYPE(cancel_job),
    TYPE(restart_job),
    TYPE(expedite_job),
    TYPE(drop_tenant_holders),
    TYPE(get_cluster_info),
    TYPE(get_node_info),
    TYPE(cpu_profile),
    TYPE(heap_profile),
    TYPE(request_split),
    TYPE(get_split_status),
    TYPE(configure_shard),
    TYPE(reset_shards),
    TYPE(force_release_shard),
    TYPE(compact_shard),
    TYPE(flush_shard),
    TYPE(get_shard_storage_info),
    TYPE(dump_tasks),
};
#define TYPES_COUNT (sizeof types / sizeof types[0])

static const uint8_t type_enqueue = 0, type_enqueue_many = 1, type_import = 2, type_report = 3,
                     type_reports = 4, type_refresh = 5, type_lease = 6, type_query = 9;

/* --- jobs --- */

static void info_check(const struct info *info)
{
    size_t chars = 0;
    ASSERT(info->priority <= PRIORITY_MAX);
    ASSERT(bytes_utf8(info->group, &chars) && chars >= 1 && chars <= TASK_GROUP_CHARS_MAX);
    ASSERT(info->metadata_count <= METADATA_PAIRS_MAX && info->limit_count <= JOB_LIMITS_MAX);
    ASSERT(info->requested_start_ms >= 0);
    ASSERT(!info->has_retry ||
           (info->retry.initial_ms >= 0 && info->retry.max_ms >= 0 && info->retry.factor >= 0));
    struct bytes at = info->metadata, name, value, before = BYTES_NONE;
    for (uint32_t i = 0; i < info->metadata_count; i++) {
        ASSERT(pair_next(&at, &name, &value) && value.len <= METADATA_VALUE_BYTES_MAX);
        ASSERT(i == 0 || bytes_cmp(before, name) < 0);
        before = name;
    }
    ASSERT(at.len == 0);
}

/* What a request brings, plain, is what it stores. */
static void limits_check(const struct info *info, const struct limit_rec *recs, struct arena *arena)
{
    struct limits limits;
    ASSERT(limits_decode(arena, info->limits, info->limit_count, &limits));
    ASSERT(limits.count == info->limit_count);
    struct buf again;
    buf_init(&again, MESSAGE_BYTES_MAX);
    for (uint32_t i = 0; i < info->limit_count; i++) {
        limit_encode(&again, arena, &recs[i]);
    }
    ASSERT(bytes_eq(buf_bytes(&again), info->limits));
    buf_deinit(&again);
}

/* As a row: it reads back as it was checked. */
static void info_store(struct info info, struct bytes payload)
{
    struct buf buf;
    struct info again;
    buf_init(&buf, MESSAGE_BYTES_MAX);
    info.payload = (struct blob_ref){.inline_bytes = payload};
    info_encode(&buf, &info);
    ASSERT(!buf.full && info_decode(buf_bytes(&buf), &again));
    ASSERT(bytes_eq(info.metadata, again.metadata) && bytes_eq(info.limits, again.limits));
    ASSERT(bytes_eq(info.group, again.group) && bytes_eq(payload, again.payload.inline_bytes));
    buf_deinit(&buf);
}

static void job_ref_check(struct arena *arena, const char *id)
{
    struct key key;
    struct bytes tenant, job;
    key_job_ref(&key, BYTES_LIT("tenant"), bytes_str(id));
    ASSERT(job_ref_parse(key_bytes(&key), arena_alloc(arena, key.len), &tenant, &job));
    ASSERT(bytes_eq(tenant, BYTES_LIT("tenant")) && bytes_eq(job, bytes_str(id)));
}

static void enqueue_check(struct arena *arena, const Silo__V1__EnqueueRequest *request)
{
    struct enqueue_args args;
    struct silo_err err;
    if (validate_job(arena, request, &args, &err).code != SILO_OK) {
        return;
    }
    info_check(&args.info);
    limits_check(&args.info, args.limits, arena);
    info_store(args.info, args.payload);
    ASSERT(strlen(request->id) <= JOB_ID_BYTES_MAX);
    job_ref_check(arena, request->id);
}

static void import_check(struct arena *arena, const Silo__V1__ImportJobRequest *request)
{
    struct import_args args;
    struct silo_err err;
    if (validate_import(arena, request, &args, &err).code != SILO_OK) {
        return;
    }
    info_check(&args.info);
    limits_check(&args.info, args.limits, arena);
    info_store(args.info, args.payload);
    for (size_t i = 0; i < args.attempt_count; i++) {
        ASSERT(args.attempts[i].status >= ATTEMPT_SUCCEEDED &&
               args.attempts[i].status <= ATTEMPT_CANCELLED);
    }
    ASSERT(request->id[0] != '\0' && strlen(request->id) <= JOB_ID_BYTES_MAX);
    job_ref_check(arena, request->id);
}

static void fields_check(struct arena *arena, const ProtobufCMessage *message)
{
    if (message->descriptor == types[type_enqueue]) {
        enqueue_check(arena, (const Silo__V1__EnqueueRequest *)message);
    } else if (message->descriptor == types[type_enqueue_many]) {
        const Silo__V1__EnqueueManyRequest *many = (const void *)message;
        for (size_t i = 0; i < many->n_jobs; i++) {
            enqueue_check(arena, many->jobs[i]);
        }
    } else if (message->descriptor == types[type_import]) {
        const Silo__V1__ImportJobsRequest *many = (const void *)message;
        for (size_t i = 0; i < many->n_jobs; i++) {
            import_check(arena, many->jobs[i]);
        }
    }
}

/* --- messages --- */

static struct bytes message_pack(struct arena *arena, const ProtobufCMessage *message)
{
    const size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *packed = arena_alloc(arena, size);
    ASSERT(protobuf_c_message_pack(message, packed) == size);
    return bytes_of(packed, size);
}

/* Bulk calls: each item is unpacked by itself, good ones as if there were no others. */
static void bulk_check(const ProtobufCMessageDescriptor *type, struct bytes input)
{
    const bool import = type == &silo__v1__import_jobs_request__descriptor;
    if (!import && type != &silo__v1__enqueue_many_request__descriptor &&
        type != &silo__v1__report_outcomes_request__descriptor) {
        return;
    }
    struct arena arena;
    struct silo_err err;
    const ProtobufCMessage *message = NULL, *whole = NULL;
    const char *const *faults = NULL;
    arena_init(&arena);
    const uint32_t items = import ? 1 : 2;
    if (message_decode_bulk(&arena, type, items, input, &message, &faults, &err).code == SILO_OK) {
        ASSERT(arena.bytes <= MEMORY_BASE + MEMORY_FACTOR * input.len);
        const struct bytes packed = message_pack(&arena, message);
        ASSERT(message_decode(&arena, type, packed, &whole, &err).code == SILO_OK);
        ASSERT(bytes_eq(message_pack(&arena, whole), packed));
    }
    arena_deinit(&arena);
}

void fuzz_one(struct bytes input)
{
    struct arena arena, second;
    struct silo_err err;
    const ProtobufCMessageDescriptor *type = types[take_u8(&input) % TYPES_COUNT];
    const ProtobufCMessage *message = NULL, *again = NULL;
    arena_init(&arena);
    arena_init(&second);
    bulk_check(type, input);
    if (message_decode(&arena, type, input, &message, &err).code == SILO_OK) {
        ASSERT(arena.bytes <= MEMORY_BASE + MEMORY_FACTOR * input.len);
        const struct bytes packed = message_pack(&second, message);
        ASSERT(message_decode(&second, type, packed, &again, &err).code == SILO_OK);
        ASSERT(bytes_eq(message_pack(&second, again), packed));
        fields_check(&arena, message);
    }
    arena_deinit(&second);
    arena_deinit(&arena);
}

/* --- seeds --- */

#define SHARD "01234567-89ab-cdef-0123-456789abcdef"

static void put(struct seeds *seeds, uint8_t type, const void *message)
{
    struct arena arena;
    arena_init(&arena);
    ASSERT(((const ProtobufCMessage *)message)->descriptor == types[type]);
    seed_put(seeds, type, message_pack(&arena, message));
    arena_deinit(&arena);
}

/* One limit of each kind. */
static Silo__V1__Limit **wire_limits(struct arena *arena)
{
    Silo__V1__Limit **limits = arena_alloc(arena, 3 * sizeof(Silo__V1__Limit *));
    for (size_t i = 0; i < 3; i++) {
        limits[i] = ARENA_NEW(arena, Silo__V1__Limit);
        silo__v1__limit__init(limits[i]);
    }
    limits[0]->limit_case = SILO__V1__LIMIT__LIMIT_CONCURRENCY;
    limits[0]->concurrency = ARENA_NEW(arena, Silo__V1__ConcurrencyLimit);
    silo__v1__concurrency_limit__init(limits[0]->concurrency);
    limits[0]->concurrency->key = arena_str(arena, BYTES_LIT("queue"));
    limits[0]->concurrency->max_concurrency = 3;
    limits[1]->limit_case = SILO__V1__LIMIT__LIMIT_RATE_LIMIT;
    Silo__V1__GubernatorRateLimit *rate = ARENA_NEW(arena, Silo__V1__GubernatorRateLimit);
    silo__v1__gubernator_rate_limit__init(rate);
    rate->name = rate->unique_key = arena_str(arena, BYTES_LIT("rate"));
    rate->limit = rate->hits = 1;
    rate->duration_ms = 1000;
    rate->retry_policy = ARENA_NEW(arena, Silo__V1__RateLimitRetryPolicy);
    silo__v1__rate_limit_retry_policy__init(rate->retry_policy);
    limits[1]->rate_limit = rate;
    limits[2]->limit_case = SILO__V1__LIMIT__LIMIT_FLOATING_CONCURRENCY;
    Silo__V1__FloatingConcurrencyLimit *floating =
        ARENA_NEW(arena, Silo__V1__FloatingConcurrencyLimit);
    silo__v1__floating_concurrency_limit__init(floating);
    floating->key = arena_str(arena, BYTES_LIT("floating"));
    floating->default_max_concurrency = 5;
    floating->refresh_interval_ms = 60000;
    limits[2]->floating_concurrency = floating;
    return limits;
}

static void seeds_jobs(struct seeds *seeds, struct arena *arena)
{
    char text[] = "mail", shard[] = SHARD;
    uint8_t packed[] = {0x81, 0xa1, 'x', 1};
    Silo__V1__SerializedBytes payload = SILO__V1__SERIALIZED_BYTES__INIT;
    payload.encoding_case = SILO__V1__SERIALIZED_BYTES__ENCODING_MSGPACK;
    payload.msgpack = (ProtobufCBinaryData){sizeof packed, packed};
    Silo__V1__RetryPolicy retry = SILO__V1__RETRY_POLICY__INIT;
    retry.retry_count = 3;
    retry.backoff_factor = 2;
    Silo__V1__EnqueueRequest__MetadataEntry entry = SILO__V1__ENQUEUE_REQUEST__METADATA_ENTRY__INIT;
    entry.key = entry.value = text;
    Silo__V1__EnqueueRequest__MetadataEntry *entries[] = {&entry, &entry};
    Silo__V1__EnqueueRequest job = SILO__V1__ENQUEUE_REQUEST__INIT;
    job.shard = shard;
    job.id = job.task_group = text;
    job.priority = 50;
    job.payload = &payload;
    job.retry_policy_opt_case = SILO__V1__ENQUEUE_REQUEST__RETRY_POLICY_OPT_RETRY_POLICY;
    job.retry_policy = &retry;
    job.n_metadata = 2;
    job.metadata = entries;
    put(seeds, type_enqueue, &job);
    job.n_limits = 3;
    job.limits = wire_limits(arena);
    put(seeds, type_enqueue, &job);
    Silo__V1__EnqueueRequest *jobs[] = {&job, &job};
    Silo__V1__EnqueueManyRequest many = SILO__V1__ENQUEUE_MANY_REQUEST__INIT;
    many.n_jobs = 2;
    many.jobs = jobs;
    put(seeds, type_enqueue_many, &many);

    Silo__V1__ImportAttempt attempt = SILO__V1__IMPORT_ATTEMPT__INIT;
    attempt.status = (Silo__V1__AttemptStatus)ATTEMPT_SUCCEEDED;
    attempt.started_at_ms = 1;
    attempt.finished_at_ms = 2;
    Silo__V1__ImportAttempt *attempts[] = {&attempt};
    Silo__V1__ImportJobRequest import = SILO__V1__IMPORT_JOB_REQUEST__INIT;
    import.shard = shard;
    import.id = import.task_group = text;
    import.payload = &payload;
    import.n_limits = 3;
    import.limits = job.limits;
    import.n_attempts = 1;
    import.attempts = attempts;
    Silo__V1__ImportJobRequest *imports[] = {&import};
    Silo__V1__ImportJobsRequest bulk = SILO__V1__IMPORT_JOBS_REQUEST__INIT;
    bulk.n_jobs = 1;
    bulk.jobs = imports;
    put(seeds, type_import, &bulk);
}

static void seeds_workers(struct seeds *seeds)
{
    char text[] = "mail", shard[] = SHARD;
    Silo__V1__Failure failure = SILO__V1__FAILURE__INIT;
    failure.code = text;
    Silo__V1__ReportOutcomeRequest report = SILO__V1__REPORT_OUTCOME_REQUEST__INIT;
    report.shard = report.task_id = shard;
    report.outcome_case = SILO__V1__REPORT_OUTCOME_REQUEST__OUTCOME_FAILURE;
    report.failure = &failure;
    put(seeds, type_report, &report);
    Silo__V1__ReportOutcomeRequest *reports[] = {&report};
    Silo__V1__ReportOutcomesRequest many = SILO__V1__REPORT_OUTCOMES_REQUEST__INIT;
    many.n_outcomes = 1;
    many.outcomes = reports;
    put(seeds, type_reports, &many);
    Silo__V1__RefreshSuccess success = SILO__V1__REFRESH_SUCCESS__INIT;
    success.new_max_concurrency = 9;
    Silo__V1__ReportRefreshOutcomeRequest refresh = SILO__V1__REPORT_REFRESH_OUTCOME_REQUEST__INIT;
    refresh.shard = refresh.task_id = shard;
    refresh.outcome_case = SILO__V1__REPORT_REFRESH_OUTCOME_REQUEST__OUTCOME_SUCCESS;
    refresh.success = &success;
    put(seeds, type_refresh, &refresh);
    Silo__V1__LeaseTasksRequest lease = SILO__V1__LEASE_TASKS_REQUEST__INIT;
    lease.worker_id = lease.task_group = text;
    lease.max_tasks = 10;
    lease.wait_ms = 1000;
    put(seeds, type_lease, &lease);
}

void fuzz_seeds(struct seeds *seeds)
{
    struct arena arena;
    char text[] = "SELECT 1";
    arena_init(&arena);
    seeds_jobs(seeds, &arena);
    seeds_workers(seeds);
    Silo__V1__QueryParameter parameter = SILO__V1__QUERY_PARAMETER__INIT;
    parameter.value_case = SILO__V1__QUERY_PARAMETER__VALUE_INT64_VALUE;
    parameter.int64_value = -1;
    Silo__V1__QueryParameter *parameters[] = {&parameter};
    Silo__V1__QueryRequest query = SILO__V1__QUERY_REQUEST__INIT;
    query.sql = text;
    query.n_parameters = 1;
    query.parameters = parameters;
    put(seeds, type_query, &query);
    for (size_t type = 0; type < TYPES_COUNT; type++) {
        seed_put(seeds, (uint8_t)type, BYTES_LIT("\x0a\x01s\x12\x01i\x1a\x01t\x22\x01w"));
    }
    arena_deinit(&arena);
}
