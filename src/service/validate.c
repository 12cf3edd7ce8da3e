/*
 * service/validate.c - the fields of a new job, enqueued or imported, in the order in which the
 * first failure wins:
 *
 *     Enqueue:     priority, metadata, task_group, limits, sizes, retry policy
 *     ImportJobs:  id, task_group, priority, metadata, attempts, limits, sizes, retry policy
 *
 * Both requests are brought to one form (struct job_fields) first, so that each rule stands here
 * once.
 */
#include <math.h>
#include <stdlib.h>

#include "service/call_int.h"

struct job_fields {
    const char *id, *task_group;
    uint32_t priority;
    int64_t start_ms;
    struct label *labels;
    size_t label_count;
    Silo__V1__Limit *const *limits;
    size_t limit_count;
    const Silo__V1__SerializedBytes *payload;
    const Silo__V1__RetryPolicy *retry; /* NULL = none */
};

/* By name, then by place: the last of equal names, the one that counts, comes last. */
static int label_cmp(const void *a, const void *b)
{
    const struct label *x = a;
    const struct label *y = b;
    const int c = bytes_cmp(bytes_str(x->name), bytes_str(y->name));
    return c != 0 ? c : (x->place > y->place) - (x->place < y->place);
}

size_t labels_sort(struct label *labels, size_t count)
{
    size_t kept = 0;
    qsort(labels, count, sizeof *labels, label_cmp);
    for (size_t i = 0; i < count; i++) {
        const bool overridden = i + 1 < count && strcmp(labels[i].name, labels[i + 1].name) == 0;
        if (!overridden) {
            labels[kept++] = labels[i];
        }
    }
    return kept;
}

struct bytes labels_pairs(struct arena *arena, const struct label *labels, size_t count)
{
    if (count == 0) {
        return BYTES_NONE;
    }
    struct buf buf;
    buf_init(&buf, MESSAGE_BYTES_MAX);
    for (size_t i = 0; i < count; i++) {
        item_append(&buf, bytes_str(labels[i].name));
        item_append(&buf, bytes_str(labels[i].value));
    }
    const struct bytes pairs = arena_copy(arena, buf_bytes(&buf));
    buf_deinit(&buf);
    return pairs;
}

static struct job_fields enqueue_fields(struct arena *arena,
                                        const Silo__V1__EnqueueRequest *request)
{
    struct job_fields fields = {
        .id = request->id,
        .task_group = request->task_group,
        .priority = request->priority,
        .start_ms = request->start_at_ms,
        .labels = arena_alloc(arena, (request->n_metadata + 1) * sizeof *fields.labels),
        .label_count = request->n_metadata,
        .limits = request->limits,
        .limit_count = request->n_limits,
        .payload = request->payload,
    };
    for (size_t i = 0; i < request->n_metadata; i++) {
        fields.labels[i] =
            (struct label){request->metadata[i]->key, request->metadata[i]->value, i};
    }
    fields.label_count = labels_sort(fields.labels, fields.label_count);
    if (request->retry_policy_opt_case != SILO__V1__ENQUEUE_REQUEST__RETRY_POLICY_OPT__NOT_SET) {
        fields.retry = request->retry_policy;
    }
    return fields;
}

static struct job_fields import_fields(struct arena *arena,
                                       const Silo__V1__ImportJobRequest *request)
{
    struct job_fields fields = {
        .id = request->id,
        .task_group = request->task_group,
        .priority = request->priority,
        .start_ms = request->start_at_ms,
        .labels = arena_alloc(arena, (request->n_metadata + 1) * sizeof *fields.labels),
        .label_count = request->n_metadata,
        .limits = request->limits,
        .limit_count = request->n_limits,
        .payload = request->payload,
    };
    for (size_t i = 0; i < request->n_metadata; i++) {
        fields.labels[i] =
            (struct label){request->metadata[i]->key, request->metadata[i]->value, i};
    }
    fields.label_count = labels_sort(fields.labels, fields.label_count);
    if (request->retry_policy_opt_case != SILO__V1__IMPORT_JOB_REQUEST__RETRY_POLICY_OPT__NOT_SET) {
        fields.retry = request->retry_policy;
    }
    return fields;
}

static SILO_RC priority_fill(const struct job_fields *fields, struct info *info,
                             struct silo_err *err)
{
    if (fields->priority > PRIORITY_MAX) {
        return FAIL(err, SILO_INVALID, "priority must be between 0 and %u", PRIORITY_MAX);
    }
    info->priority = (uint8_t)fields->priority;
    return RC_OK;
}

static SILO_RC metadata_fill(struct arena *arena, const struct job_fields *fields,
                             struct info *info, struct silo_err *err)
{
    const size_t count = fields->label_count;
    if (count > METADATA_PAIRS_MAX) {
        return FAIL(err, SILO_INVALID, "metadata has too many entries: %zu, at most %u", count,
                    METADATA_PAIRS_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        size_t chars = 0;
        if (!bytes_utf8(bytes_str(fields->labels[i].name), &chars) ||
            chars > METADATA_KEY_CHARS_MAX) {
            return FAIL(err, SILO_INVALID, "metadata key too long: at most %u characters",
                        METADATA_KEY_CHARS_MAX);
        }
        if (strlen(fields->labels[i].value) > METADATA_VALUE_BYTES_MAX) {
            return FAIL(err, SILO_INVALID, "metadata value too long: at most %u bytes",
                        METADATA_VALUE_BYTES_MAX);
        }
    }
    info->metadata_count = (uint32_t)count;
    info->metadata = labels_pairs(arena, fields->labels, count);
    return RC_OK;
}

/* An imported job's group may be as long as a poll's. */
static SILO_RC group_fill(const struct job_fields *fields, bool imported, struct info *info,
                          struct silo_err *err)
{
    const struct bytes text = bytes_str(fields->task_group);
    if (text.len == 0) {
        return FAIL(err, SILO_INVALID, "task_group is required");
    }
    size_t chars = 0;
    if (imported && text.len > GROUP_BYTES_MAX) {
        return FAIL(err, SILO_INVALID, "task_group too long: at most %u bytes", GROUP_BYTES_MAX);
    }
    if (!imported && (!bytes_utf8(text, &chars) || chars > TASK_GROUP_CHARS_MAX)) {
        return FAIL(err, SILO_INVALID, "task_group too long: at most %u characters",
                    TASK_GROUP_CHARS_MAX);
    }
    info->group = text;
    return RC_OK;
}

/* What a job brings has to fit into one reply message later. */
static SILO_RC sizes_check(const struct job_fields *fields, struct bytes payload,
                           const struct info *info, struct silo_err *err)
{
    if (strlen(fields->id) > JOB_ID_BYTES_MAX) {
        return FAIL(err, SILO_INVALID, ERROR_ID_TOO_LONG);
    }
    const size_t whole = payload.len + info->metadata.len + info->limits.len;
    if (whole > MESSAGE_BYTES_MAX - JOB_OVERHEAD_BYTES) {
        return FAIL(err, SILO_INVALID,
                    "the job is too large: payload, metadata and limits take %zu bytes, at most %u",
                    whole, MESSAGE_BYTES_MAX - JOB_OVERHEAD_BYTES);
    }
    return RC_OK;
}

static SILO_RC retry_fill(const Silo__V1__RetryPolicy *policy, struct info *info,
                          struct silo_err *err)
{
    if (policy == NULL) {
        return RC_OK;
    }
    if (policy->initial_interval_ms < 0) {
        return FAIL(err, SILO_INVALID, "retry_policy.initial_interval_ms must not be negative");
    }
    if (policy->max_interval_ms < 0) {
        return FAIL(err, SILO_INVALID, "retry_policy.max_interval_ms must not be negative");
    }
    if (!isfinite(policy->backoff_factor) || policy->backoff_factor < 0) {
        return FAIL(err, SILO_INVALID,
                    "retry_policy.backoff_factor must be finite and not negative");
    }
    info->has_retry = true;
    info->retry = (struct retry_policy){
        .retry_count = policy->retry_count,
        .initial_ms = policy->initial_interval_ms,
        .max_ms = policy->max_interval_ms,
        .factor = policy->backoff_factor,
        .jitter = policy->randomize_interval != 0,
    };
    return RC_OK;
}

struct bytes serialized_bytes(const Silo__V1__SerializedBytes *value)
{
    if (value == NULL || value->encoding_case != SILO__V1__SERIALIZED_BYTES__ENCODING_MSGPACK) {
        return BYTES_NONE;
    }
    return bytes_of(value->msgpack.data, value->msgpack.len);
}

/* What both kinds check after the rest. */
static SILO_RC rest_fill(struct arena *arena, const struct job_fields *fields, struct bytes payload,
                         struct info *info, const struct limit_rec **ret_limits,
                         struct silo_err *err)
{
    info->requested_start_ms = fields->start_ms > 0 ? fields->start_ms : 0;
    TRY(limits_take(arena, fields->limits, fields->limit_count, info, ret_limits, err));
    TRY(sizes_check(fields, payload, info, err));
    return retry_fill(fields->retry, info, err);
}

SILO_RC validate_job(struct arena *arena, const Silo__V1__EnqueueRequest *request,
                     struct enqueue_args *ret_args, struct silo_err *err)
{
    struct enqueue_args args = {
        .payload = serialized_bytes(request->payload),
        .return_existing = request->return_existing != 0,
    };
    const struct job_fields fields = enqueue_fields(arena, request);
    TRY(priority_fill(&fields, &args.info, err));
    TRY(metadata_fill(arena, &fields, &args.info, err));
    TRY(group_fill(&fields, false, &args.info, err));
    TRY(rest_fill(arena, &fields, args.payload, &args.info, &args.limits, err));
    *ret_args = args;
    return RC_OK;
}

/* --- imports --- */

static SILO_RC attempt_fill(const Silo__V1__ImportAttempt *from, size_t number,
                            struct import_attempt *ret_attempt, struct silo_err *err)
{
    struct import_attempt attempt = {
        .started_ms = from->started_at_ms,
        .finished_ms = from->finished_at_ms,
    };
    switch ((int)from->status) {
    case SILO__V1__ATTEMPT_STATUS__ATTEMPT_STATUS_RUNNING:
        return FAIL(err, SILO_INVALID,
                    "import attempts must be terminal: "
                    "attempt %zu is neither SUCCEEDED nor FAILED nor CANCELLED",
                    number);
    case SILO__V1__ATTEMPT_STATUS__ATTEMPT_STATUS_SUCCEEDED:
        attempt.status = ATTEMPT_SUCCEEDED;
        if (from->result_opt_case != SILO__V1__IMPORT_ATTEMPT__RESULT_OPT__NOT_SET) {
            attempt.data = serialized_bytes(from->result);
        }
        break;
    case SILO__V1__ATTEMPT_STATUS__ATTEMPT_STATUS_FAILED:
        attempt.status = ATTEMPT_FAILED;
        if (from->error_code_opt_case != SILO__V1__IMPORT_ATTEMPT__ERROR_CODE_OPT__NOT_SET) {
            attempt.error_code = bytes_str(from->error_code);
        }
        if (from->error_data_opt_case != SILO__V1__IMPORT_ATTEMPT__ERROR_DATA_OPT__NOT_SET) {
            attempt.data = serialized_bytes(from->error_data);
        }
        break;
    case SILO__V1__ATTEMPT_STATUS__ATTEMPT_STATUS_CANCELLED:
        attempt.status = ATTEMPT_CANCELLED;
        break;
    default:
        return FAIL(err, SILO_INVALID, "invalid attempt status: %d of attempt %zu",
                    (int)from->status, number);
    }
    *ret_attempt = attempt;
    return RC_OK;
}

static SILO_RC attempts_fill(struct arena *arena, const Silo__V1__ImportJobRequest *request,
                             struct import_args *args, struct silo_err *err)
{
    struct import_attempt *attempts =
        arena_alloc(arena, (request->n_attempts + 1) * sizeof *attempts);
    for (size_t i = 0; i < request->n_attempts; i++) {
        TRY(attempt_fill(request->attempts[i], i + 1, &attempts[i], err));
    }
    args->attempts = attempts;
    args->attempt_count = request->n_attempts;
    return RC_OK;
}

SILO_RC validate_import(struct arena *arena, const Silo__V1__ImportJobRequest *request,
                        struct import_args *ret_args, struct silo_err *err)
{
    struct import_args args = {.payload = serialized_bytes(request->payload)};
    const struct job_fields fields = import_fields(arena, request);
    if (*fields.id == 0) {
        return FAIL(err, SILO_INVALID, "job id is required for import");
    }
    args.info.enqueue_ms = request->enqueue_time_ms > 0 ? request->enqueue_time_ms : 0;
    TRY(group_fill(&fields, true, &args.info, err));
    TRY(priority_fill(&fields, &args.info, err));
    TRY(metadata_fill(arena, &fields, &args.info, err));
    TRY(attempts_fill(arena, request, &args, err));
    TRY(rest_fill(arena, &fields, args.payload, &args.info, &args.limits, err));
    *ret_args = args;
    return RC_OK;
}
