/*
 * service/validate.c - the fields of a new job, in the order in which the first failure wins:
 *
 *     priority, metadata, task_group, sizes (id, limits, payload), retry policy, limits at all
 */
#include <math.h>
#include <stdlib.h>

#include "codec/limit.h"
#include "service/call_int.h"

typedef Silo__V1__EnqueueRequest__MetadataEntry metadata_entry;

/* By key, then by place in the message: the last of equal keys, the one that counts, comes last. */
struct keyed {
    const metadata_entry *entry;
    size_t place;
};

static int keyed_cmp(const void *a, const void *b)
{
    const struct keyed *x = a;
    const struct keyed *y = b;
    const int c = bytes_cmp(bytes_str(x->entry->key), bytes_str(y->entry->key));
    return c != 0 ? c : (x->place > y->place) - (x->place < y->place);
}

/* Sorted and without the overridden ones. */
static struct keyed *metadata_sort(struct arena *arena, const Silo__V1__EnqueueRequest *request,
                                   size_t *ret_count)
{
    struct keyed *keyed = arena_alloc(arena, (request->n_metadata + 1) * sizeof *keyed);
    for (size_t i = 0; i < request->n_metadata; i++) {
        keyed[i] = (struct keyed){.entry = request->metadata[i], .place = i};
    }
    qsort(keyed, request->n_metadata, sizeof *keyed, keyed_cmp);
    size_t count = 0;
    for (size_t i = 0; i < request->n_metadata; i++) {
        const bool overridden = i + 1 < request->n_metadata &&
                                strcmp(keyed[i].entry->key, keyed[i + 1].entry->key) == 0;
        if (!overridden) {
            keyed[count++] = keyed[i];
        }
    }
    *ret_count = count;
    return keyed;
}

static SILO_RC metadata_fill(struct arena *arena, const Silo__V1__EnqueueRequest *request,
                             struct info *info, struct silo_err *err)
{
    size_t count = 0;
    const struct keyed *keyed = metadata_sort(arena, request, &count);
    if (count > METADATA_PAIRS_MAX) {
        return FAIL(err, SILO_INVALID, "metadata has too many entries: %zu, at most %u", count,
                    METADATA_PAIRS_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        size_t chars = 0;
        if (!bytes_utf8(bytes_str(keyed[i].entry->key), &chars) || chars > METADATA_KEY_CHARS_MAX) {
            return FAIL(err, SILO_INVALID, "metadata key too long: at most %u characters",
                        METADATA_KEY_CHARS_MAX);
        }
        if (strlen(keyed[i].entry->value) > METADATA_VALUE_BYTES_MAX) {
            return FAIL(err, SILO_INVALID, "metadata value too long: at most %u bytes",
                        METADATA_VALUE_BYTES_MAX);
        }
    }
    if (count == 0) {
        return RC_OK;
    }
    struct buf buf;
    buf_init(&buf, MESSAGE_BYTES_MAX);
    for (size_t i = 0; i < count; i++) {
        item_append(&buf, bytes_str(keyed[i].entry->key));
        item_append(&buf, bytes_str(keyed[i].entry->value));
    }
    info->metadata_count = (uint32_t)count;
    info->metadata = arena_copy(arena, buf_bytes(&buf));
    buf_deinit(&buf);
    return RC_OK;
}

static SILO_RC group_fill(const char *group, struct info *info, struct silo_err *err)
{
    const struct bytes text = bytes_str(group);
    if (text.len == 0) {
        return FAIL(err, SILO_INVALID, "task_group is required");
    }
    size_t chars = 0;
    if (!bytes_utf8(text, &chars) || chars > TASK_GROUP_CHARS_MAX) {
        return FAIL(err, SILO_INVALID, "task_group too long: at most %u characters",
                    TASK_GROUP_CHARS_MAX);
    }
    info->group = text;
    return RC_OK;
}

static bool limit_names_fit(const Silo__V1__Limit *limit)
{
    switch ((int)limit->limit_case) {
    case SILO__V1__LIMIT__LIMIT_CONCURRENCY:
        return strlen(limit->concurrency->key) <= LIMIT_NAME_BYTES_MAX;
    case SILO__V1__LIMIT__LIMIT_RATE_LIMIT:
        return strlen(limit->rate_limit->name) <= LIMIT_NAME_BYTES_MAX &&
               strlen(limit->rate_limit->unique_key) <= LIMIT_NAME_BYTES_MAX;
    case SILO__V1__LIMIT__LIMIT_FLOATING_CONCURRENCY:
        return strlen(limit->floating_concurrency->key) <= LIMIT_NAME_BYTES_MAX;
    default: /* no member set */
        return true;
    }
}

static SILO_RC limits_fill(struct arena *arena, const Silo__V1__EnqueueRequest *request,
                           struct info *info, struct silo_err *err)
{
    struct buf buf;
    buf_init(&buf, MESSAGE_BYTES_MAX);
    silo_rc rc = RC_OK;
    for (size_t i = 0; i < request->n_limits && rc.code == SILO_OK; i++) {
        if (!limit_names_fit(request->limits[i])) {
            rc = FAIL(err, SILO_INVALID, "limit key too long: at most %u bytes",
                      LIMIT_NAME_BYTES_MAX);
        } else if (limit_append(&buf, arena, request->limits[i])) {
            if (++info->limit_count > JOB_LIMITS_MAX) {
                rc = FAIL(err, SILO_INVALID, "too many limits: at most %u", JOB_LIMITS_MAX);
            }
        }
    }
    info->limits = arena_copy(arena, buf_bytes(&buf));
    buf_deinit(&buf);
    return rc;
}

/* What a job brings has to fit into one reply message later. */
static SILO_RC sizes_check(const Silo__V1__EnqueueRequest *request, const struct enqueue_args *args,
                           struct silo_err *err)
{
    if (strlen(request->id) > JOB_ID_BYTES_MAX) {
        return FAIL(err, SILO_INVALID, ERROR_ID_TOO_LONG);
    }
    const size_t whole = args->payload.len + args->info.metadata.len + args->info.limits.len;
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

/* The one place that knows that this build has no limits. */
static SILO_RC limits_available(const struct info *info, struct silo_err *err)
{
    if (info->limit_count != 0) {
        return FAIL(err, SILO_UNIMPLEMENTED, "limits are not available in this build");
    }
    return RC_OK;
}

struct bytes serialized_bytes(const Silo__V1__SerializedBytes *value)
{
    if (value == NULL || value->encoding_case != SILO__V1__SERIALIZED_BYTES__ENCODING_MSGPACK) {
        return BYTES_NONE;
    }
    return bytes_of(value->msgpack.data, value->msgpack.len);
}

SILO_RC validate_job(struct arena *arena, const Silo__V1__EnqueueRequest *request,
                     struct enqueue_args *ret_args, struct silo_err *err)
{
    struct enqueue_args args = {
        .payload = serialized_bytes(request->payload),
        .return_existing = request->return_existing != 0,
    };
    struct info *info = &args.info;
    if (request->priority > PRIORITY_MAX) {
        return FAIL(err, SILO_INVALID, "priority must be between 0 and %u", PRIORITY_MAX);
    }
    info->priority = (uint8_t)request->priority;
    info->requested_start_ms = request->start_at_ms > 0 ? request->start_at_ms : 0;
    TRY(metadata_fill(arena, request, info, err));
    TRY(group_fill(request->task_group, info, err));
    TRY(limits_fill(arena, request, info, err));
    TRY(sizes_check(request, &args, err));
    if (request->retry_policy_opt_case != SILO__V1__ENQUEUE_REQUEST__RETRY_POLICY_OPT__NOT_SET) {
        TRY(retry_fill(request->retry_policy, info, err));
    }
    TRY(limits_available(info, err));
    *ret_args = args;
    return RC_OK;
}
