/*
 * service/encode.c - what a shard says about jobs, as messages in an arena.
 *
 * Blobs and arrays are lent from the view; strings become NUL-terminated copies, as protobuf-c
 * wants them (no stored string has a NUL inside: message.c lets none in). A SerializedBytes that is
 * sent always has its encoding set, even with no bytes.
 */
#include "service/call_int.h"

char *encode_text(struct arena *arena, struct bytes text)
{
    return arena_str(arena, text);
}

char *encode_uuid(struct arena *arena, const struct uuid *uuid)
{
    char *text = arena_alloc(arena, UUID_TEXT_LEN + 1);
    uuid_format(uuid, text);
    return text;
}

static Silo__V1__SerializedBytes *encode_serialized(struct arena *arena, struct bytes data)
{
    Silo__V1__SerializedBytes *value = arena_alloc(arena, sizeof *value);
    silo__v1__serialized_bytes__init(value);
    value->encoding_case = SILO__V1__SERIALIZED_BYTES__ENCODING_MSGPACK;
    value->msgpack.data = (uint8_t *)data.ptr; /* only read */
    value->msgpack.len = data.len;
    return value;
}

/* The entry of a string map, which every message has under a name of its own. */
struct map_entry {
    ProtobufCMessage base;
    char *key, *value;
};
#define MAP_ENTRY_CHECK(type)                                                      \
    _Static_assert(sizeof(type) == sizeof(struct map_entry) &&                     \
                       offsetof(type, key) == offsetof(struct map_entry, key) &&   \
                       offsetof(type, value) == offsetof(struct map_entry, value), \
                   "not the entry of a string map")
MAP_ENTRY_CHECK(Silo__V1__GetJobResponse__MetadataEntry);
MAP_ENTRY_CHECK(Silo__V1__Task__MetadataEntry);
MAP_ENTRY_CHECK(Silo__V1__RefreshFloatingLimitTask__MetadataEntry);
MAP_ENTRY_CHECK(Silo__V1__FloatingConcurrencyLimit__MetadataEntry);

void *encode_map(struct arena *arena, struct bytes pairs, uint32_t count,
                 const ProtobufCMessageDescriptor *type)
{
    struct map_entry **entries = arena_alloc(arena, ((size_t)count + 1) * sizeof *entries);
    for (uint32_t i = 0; i < count; i++) {
        struct bytes name;
        struct bytes value;
        if (!pair_next(&pairs, &name, &value)) {
            return NULL;
        }
        entries[i] = arena_alloc(arena, sizeof *entries[i]);
        protobuf_c_message_init(type, entries[i]);
        entries[i]->key = encode_text(arena, name);
        entries[i]->value = encode_text(arena, value);
    }
    return entries;
}

static Silo__V1__RetryPolicy *encode_retry(struct arena *arena, const struct retry_policy *retry)
{
    Silo__V1__RetryPolicy *policy = arena_alloc(arena, sizeof *policy);
    silo__v1__retry_policy__init(policy);
    policy->retry_count = retry->retry_count;
    policy->initial_interval_ms = retry->initial_ms;
    policy->max_interval_ms = retry->max_ms;
    policy->randomize_interval = retry->jitter;
    policy->backoff_factor = retry->factor;
    return policy;
}

/* --- attempts --- */

static Silo__V1__JobAttempt *attempt_new(struct arena *arena, const char *job_id, uint32_t number,
                                         const struct uuid *task_id, int64_t started_ms)
{
    Silo__V1__JobAttempt *attempt = arena_alloc(arena, sizeof *attempt);
    silo__v1__job_attempt__init(attempt);
    attempt->job_id = (char *)job_id; /* only read */
    attempt->attempt_number = number;
    attempt->task_id = encode_uuid(arena, task_id);
    attempt->started_at_ms = started_ms;
    return attempt;
}

static Silo__V1__JobAttempt *encode_attempt(struct arena *arena, const char *job_id,
                                            const struct job_view_attempt *seen, bool omit_data)
{
    const struct outcome *outcome = &seen->attempt.outcome;
    Silo__V1__JobAttempt *attempt =
        attempt_new(arena, job_id, seen->number, &seen->attempt.task_id, seen->attempt.started_ms);
    attempt->status = (Silo__V1__AttemptStatus)outcome->status;
    if (outcome->status != ATTEMPT_RUNNING) {
        attempt->finished_at_ms_opt_case = SILO__V1__JOB_ATTEMPT__FINISHED_AT_MS_OPT_FINISHED_AT_MS;
        attempt->finished_at_ms = outcome->finished_ms;
    }
    if (omit_data) {
        attempt->data_omitted =
            outcome->status == ATTEMPT_SUCCEEDED || outcome->status == ATTEMPT_FAILED;
    }
    if (outcome->status == ATTEMPT_SUCCEEDED && !omit_data) {
        attempt->result_opt_case = SILO__V1__JOB_ATTEMPT__RESULT_OPT_RESULT;
        attempt->result = encode_serialized(arena, seen->data);
    }
    if (outcome->status == ATTEMPT_FAILED) {
        attempt->error_code_opt_case = SILO__V1__JOB_ATTEMPT__ERROR_CODE_OPT_ERROR_CODE;
        attempt->error_code = encode_text(arena, outcome->error_code);
    }
    if (outcome->status == ATTEMPT_FAILED && !omit_data) {
        attempt->error_data_opt_case = SILO__V1__JOB_ATTEMPT__ERROR_DATA_OPT_ERROR_DATA;
        attempt->error_data = encode_serialized(arena, seen->data);
    }
    return attempt;
}

/*
 * The attempt that ended the job stands in its state row; the others were read from rows of their
 * own.
 */
static bool view_final(const struct job_view *view, struct job_view_attempt *ret_final)
{
    if (view->running || !view->has_state || !view->state.has_outcome || !view->state.by_attempt) {
        return false;
    }
    *ret_final = (struct job_view_attempt){
        .number = view->state.attempt, .attempt = view->state.final, .data = view->data};
    return true;
}

static void encode_attempts(struct arena *arena, Silo__V1__GetJobResponse *job,
                            const struct job_view *view, bool omit_data)
{
    job->attempts = arena_alloc(arena, (view->attempt_count + 2) * sizeof *job->attempts);
    for (size_t i = 0; i < view->attempt_count; i++) {
        job->attempts[job->n_attempts++] =
            encode_attempt(arena, job->id, &view->attempts[i], omit_data);
    }
    struct job_view_attempt final;
    if (view_final(view, &final)) {
        job->attempts[job->n_attempts++] = encode_attempt(arena, job->id, &final, omit_data);
    }
    if (view->running) {
        job->attempts[job->n_attempts++] = attempt_new(
            arena, job->id, view->lease_attempt, &view->lease_task_id, view->lease_started_ms);
    }
}

/* --- jobs --- */

static int64_t view_changed_ms(const struct job_view *view)
{
    if (view->running) {
        return view->lease_started_ms;
    }
    return view->has_state ? view->state.changed_ms : view->info.enqueue_ms;
}

/*
 * When the next attempt is due: of a scheduled job, and of one that was cancelled while it was
 * scheduled.
 */
static bool view_next(const struct job_view *view, int64_t *ret_due_ms)
{
    const bool scheduled = view->status == JOB_SCHEDULED;
    if (!scheduled && !(view->status == JOB_CANCELLED && view->has_state && view->state.has_next)) {
        return false;
    }
    *ret_due_ms = view->has_state ? view->state.due_ms : view->info.due_ms;
    return true;
}

Silo__V1__GetJobResponse *encode_job(struct arena *arena, const char *id,
                                     const struct job_view *view, const struct get_args *args)
{
    const struct info *info = &view->info;
    Silo__V1__GetJobResponse *job = arena_alloc(arena, sizeof *job);
    silo__v1__get_job_response__init(job);
    job->id = (char *)id; /* only read */
    job->priority = info->priority;
    job->enqueue_time_ms = info->enqueue_ms;
    job->payload_omitted = args->omit_payload;
    if (!args->omit_payload) {
        job->payload = encode_serialized(arena, view->payload);
    }
    job->task_group = encode_text(arena, info->group);
    job->status = (Silo__V1__JobStatus)view->status;
    job->status_changed_at_ms = view_changed_ms(view);

    job->limits = limits_show(arena, info, &job->n_limits);
    job->metadata = encode_map(arena, info->metadata, info->metadata_count,
                               &silo__v1__get_job_response__metadata_entry__descriptor);
    if (job->limits == NULL || job->metadata == NULL) {
        return NULL;
    }
    job->n_metadata = info->metadata_count;
    if (info->has_retry) {
        job->retry_policy_opt_case = SILO__V1__GET_JOB_RESPONSE__RETRY_POLICY_OPT_RETRY_POLICY;
        job->retry_policy = encode_retry(arena, &info->retry);
    }
    int64_t due_ms = 0;
    if (view_next(view, &due_ms)) {
        job->next_attempt_starts_after_ms_opt_case =
            SILO__V1__GET_JOB_RESPONSE__NEXT_ATTEMPT_STARTS_AFTER_MS_OPT_NEXT_ATTEMPT_STARTS_AFTER_MS;
        job->next_attempt_starts_after_ms = due_ms;
    }
    if (view->pending.cause != PENDING_NONE) {
        job->pending_opt_case = SILO__V1__GET_JOB_RESPONSE__PENDING_OPT_PENDING;
        job->pending = encode_pending(arena, &view->pending, info);
    }
    if (view->lease_marked) {
        job->cancel_requested_at_ms_opt_case =
            SILO__V1__GET_JOB_RESPONSE__CANCEL_REQUESTED_AT_MS_OPT_CANCEL_REQUESTED_AT_MS;
        job->cancel_requested_at_ms = view->lease_mark_ms;
    }
    job->result_omitted = args->omit_results && view->status == JOB_SUCCEEDED;
    if (view->status == JOB_SUCCEEDED && !args->omit_results) {
        job->result_opt_case = SILO__V1__GET_JOB_RESPONSE__RESULT_OPT_RESULT;
        job->result = encode_serialized(arena, view->data);
    }
    if (args->include_attempts) {
        encode_attempts(arena, job, view, args->omit_results);
    }
    return job;
}

Silo__V1__GetJobResultResponse *encode_result(struct arena *arena, const char *id,
                                              const struct job_view *view)
{
    Silo__V1__GetJobResultResponse *result = arena_alloc(arena, sizeof *result);
    silo__v1__get_job_result_response__init(result);
    result->id = (char *)id; /* only read */
    result->status = (Silo__V1__JobStatus)view->status;
    result->finished_at_ms = view_changed_ms(view);
    if (view->status == JOB_SUCCEEDED) {
        result->result_case = SILO__V1__GET_JOB_RESULT_RESPONSE__RESULT_SUCCESS_DATA;
        result->success_data = encode_serialized(arena, view->data);
    } else if (view->status == JOB_FAILED) {
        result->result_case = SILO__V1__GET_JOB_RESULT_RESPONSE__RESULT_FAILURE;
        result->failure = arena_alloc(arena, sizeof *result->failure);
        silo__v1__job_failure__init(result->failure);
        result->failure->error_code = encode_text(arena, view->state.final.outcome.error_code);
        result->failure->error_data = encode_serialized(arena, view->data);
    } else {
        result->result_case = SILO__V1__GET_JOB_RESULT_RESPONSE__RESULT_CANCELLED;
        result->cancelled = arena_alloc(arena, sizeof *result->cancelled);
        silo__v1__job_cancelled__init(result->cancelled);
        result->cancelled->cancelled_at_ms = view_changed_ms(view);
    }
    return result;
}

static bool attempt_is_last(const struct leased_task *leased)
{
    return !leased->info.has_retry ||
           leased->relative >= (uint64_t)leased->info.retry.retry_count + 1;
}

Silo__V1__Task *encode_task(struct arena *arena, const char *shard_id,
                            const struct leased_task *leased)
{
    const struct info *info = &leased->info;
    Silo__V1__Task *task = arena_alloc(arena, sizeof *task);
    silo__v1__task__init(task);
    task->limits = limits_show(arena, info, &task->n_limits);
    task->metadata = encode_map(arena, info->metadata, info->metadata_count,
                                &silo__v1__task__metadata_entry__descriptor);
    if (task->limits == NULL || task->metadata == NULL) {
        return NULL;
    }
    task->n_metadata = info->metadata_count;
    task->id = encode_uuid(arena, &leased->task_id);
    task->job_id = encode_text(arena, leased->job_id);
    if (!bytes_eq(leased->tenant, TENANT_NONE)) {
        task->tenant_id_opt_case = SILO__V1__TASK__TENANT_ID_OPT_TENANT_ID;
        task->tenant_id = encode_text(arena, leased->tenant);
    }
    task->attempt_number = leased->attempt;
    task->relative_attempt_number = leased->relative;
    task->is_last_attempt = attempt_is_last(leased);
    task->payload = encode_serialized(arena, leased->payload);
    task->priority = info->priority;
    task->shard = (char *)shard_id; /* only read */
    task->task_group = encode_text(arena, info->group);
    task->lease_ms = LEASE_MS;
    return task;
}

Silo__V1__RefreshFloatingLimitTask *encode_refresh(struct arena *arena, const char *shard_id,
                                                   const char *group,
                                                   const struct refresh_task *refresh)
{
    Silo__V1__RefreshFloatingLimitTask *task = arena_alloc(arena, sizeof *task);
    silo__v1__refresh_floating_limit_task__init(task);
    task->metadata = encode_map(arena, refresh->metadata, refresh->metadata_count,
                                &silo__v1__refresh_floating_limit_task__metadata_entry__descriptor);
    if (task->metadata == NULL) {
        return NULL;
    }
    task->n_metadata = refresh->metadata_count;
    task->id = encode_uuid(arena, &refresh->task_id);
    task->queue_key = encode_text(arena, refresh->queue);
    task->current_max_concurrency = refresh->value;
    task->last_refreshed_at_ms = refresh->refreshed_ms;
    task->lease_ms = LEASE_MS;
    task->shard = (char *)shard_id;   /* only read */
    task->task_group = (char *)group; /* only read */
    if (!bytes_eq(refresh->tenant, TENANT_NONE)) {
        task->tenant_id_opt_case = SILO__V1__REFRESH_FLOATING_LIMIT_TASK__TENANT_ID_OPT_TENANT_ID;
        task->tenant_id = encode_text(arena, refresh->tenant);
    }
    return task;
}
