/*
 * codec/record.c - encoding and decoding of stored values.
 *
 * Rule for changes: never change what a version means. A new field is a new version byte with its
 * own branch in the decoder; old versions stay readable. A record is written in the lowest version
 * that holds it. The golden test pins the bytes of each version.
 */
#include "codec/record.h"

#include "base/limits.h"
#include "codec/key.h"

#define LABEL_NAME_BYTES_MAX (METADATA_KEY_CHARS_MAX * 4u)

#define RECORD_V1 1
#define RECORD_V2 2
#define RECORD_V3 3

/* --- writing --- */

static void put_retry(struct buf *buf, bool has, const struct retry_policy *retry)
{
    buf_u8(buf, has ? 1 : 0);
    if (has) {
        field_var(buf, retry->retry_count);
        field_zig(buf, retry->initial_ms);
        field_zig(buf, retry->max_ms);
        field_double(buf, retry->factor);
        buf_u8(buf, retry->jitter ? 1 : 0);
    }
}

static void put_blob(struct buf *buf, const struct blob_ref *blob)
{
    buf_u8(buf, blob->is_blob ? 1 : 0);
    if (blob->is_blob) {
        field_var(buf, blob->len);
        field_var(buf, blob->hash);
    } else {
        item_append(buf, blob->inline_bytes);
    }
}

static void put_attempt(struct buf *buf, const struct attempt *attempt)
{
    field_var(buf, attempt->relative);
    buf_append(buf, attempt->task_id.b, sizeof attempt->task_id.b);
    field_zig(buf, attempt->started_ms);
    buf_u8(buf, (uint8_t)attempt->outcome.status);
    field_zig(buf, attempt->outcome.finished_ms);
    item_append(buf, attempt->outcome.error_code);
    put_blob(buf, &attempt->outcome.data);
}

/* --- reading --- */

static uint8_t get_priority(struct decoder *d)
{
    const uint8_t v = decoder_u8(d);
    d->bad |= v > PRIORITY_MAX;
    return v;
}

/* Of what keys are made. */
static struct bytes get_name(struct decoder *d)
{
    const struct bytes name = decoder_item(d);
    d->bad |= name.len > KEY_NAME_BYTES_MAX;
    return name;
}

static bool get_retry(struct decoder *d, struct retry_policy *ret)
{
    const bool has = decoder_bool(d);
    *ret = (struct retry_policy){0};
    if (has) {
        ret->retry_count = decoder_u32(d);
        ret->initial_ms = decoder_zig(d);
        ret->max_ms = decoder_zig(d);
        ret->factor = decoder_double(d);
        ret->jitter = decoder_bool(d);
    }
    return has;
}

static struct blob_ref get_blob(struct decoder *d)
{
    struct blob_ref blob = {.is_blob = decoder_bool(d)};
    if (blob.is_blob) {
        blob.len = decoder_var(d);
        blob.hash = decoder_var(d);
    } else {
        blob.inline_bytes = decoder_item(d);
    }
    return blob;
}

static void get_attempt(struct decoder *d, struct attempt *ret)
{
    ret->relative = decoder_u32(d);
    ret->task_id = decoder_uuid(d);
    ret->started_ms = decoder_zig(d);
    const uint8_t status = decoder_u8(d);
    d->bad |= status < ATTEMPT_SUCCEEDED || status > ATTEMPT_CANCELLED;
    ret->outcome.status = (enum attempt_status)status;
    ret->outcome.finished_ms = decoder_zig(d);
    ret->outcome.error_code = decoder_item(d);
    ret->outcome.data = get_blob(d);
}

/* `count` pairs of items. */
static struct bytes get_pairs(struct decoder *d, uint32_t count)
{
    d->bad |= count > UINT32_MAX / 2;
    return decoder_items(d, count * 2);
}

/* The same, of a job: their names stand in keys. */
static struct bytes get_labels(struct decoder *d, uint32_t count)
{
    const uint8_t *from = d->at;
    for (uint32_t i = 0; i < count && !d->bad; i++) {
        d->bad |= decoder_item(d).len > LABEL_NAME_BYTES_MAX;
        (void)decoder_item(d);
    }
    return d->bad ? BYTES_NONE : bytes_of(from, (size_t)(d->at - from));
}

/* --- records --- */

const char *job_status_name(enum job_status status)
{
    static const char *const names[] = {"Scheduled", "Running", "Succeeded", "Failed", "Cancelled"};
    return names[status];
}

void info_encode(struct buf *buf, const struct info *info)
{
    buf_u8(buf, RECORD_V1);
    buf_u8(buf, info->priority);
    put_retry(buf, info->has_retry, &info->retry);
    item_append(buf, info->group);
    field_zig(buf, info->enqueue_ms);
    field_zig(buf, info->requested_start_ms);
    field_zig(buf, info->due_ms);
    field_var(buf, info->arrival);
    field_var(buf, info->metadata_count);
    buf_append(buf, info->metadata.ptr, info->metadata.len);
    field_var(buf, info->limit_count);
    buf_append(buf, info->limits.ptr, info->limits.len);
    put_blob(buf, &info->payload);
}

bool info_decode(struct bytes value, struct info *ret)
{
    struct decoder d = decoder_of(value, RECORD_V1);
    ret->priority = get_priority(&d);
    ret->has_retry = get_retry(&d, &ret->retry);
    ret->group = get_name(&d);
    ret->enqueue_ms = decoder_zig(&d);
    ret->requested_start_ms = decoder_zig(&d);
    ret->due_ms = decoder_zig(&d);
    ret->arrival = decoder_var(&d);
    ret->metadata_count = decoder_u32(&d);
    ret->metadata = get_labels(&d, ret->metadata_count);
    ret->limit_count = decoder_u32(&d);
    ret->limits = decoder_items(&d, ret->limit_count);
    ret->payload = get_blob(&d);
    return decoder_done(&d);
}

void state_encode(struct buf *buf, const struct state *state)
{
    const bool second = state->expire_ms != 0;
    buf_u8(buf, second ? RECORD_V2 : RECORD_V1);
    buf_u8(buf, (uint8_t)state->status);
    field_zig(buf, state->changed_ms);
    buf_u8(buf, state->has_mark ? 1 : 0);
    field_zig(buf, state->has_mark ? state->mark_ms : 0);
    field_var(buf, state->attempt);
    field_var(buf, state->relative);
    buf_u8(buf, state->has_next ? 1 : 0);
    field_zig(buf, state->due_ms);
    field_var(buf, state->arrival);
    buf_u8(buf, state->has_outcome ? 1 : 0);
    if (state->has_outcome) {
        buf_u8(buf, state->by_attempt ? 1 : 0);
        put_attempt(buf, &state->final);
    }
    if (second) {
        field_zig(buf, state->expire_ms);
    }
}

bool state_decode(struct bytes value, struct state *ret)
{
    struct decoder d = decoder_of(value, RECORD_V2);
    *ret = (struct state){0};
    const uint8_t status = decoder_u8(&d);
    d.bad |= status > JOB_CANCELLED || status == JOB_RUNNING;
    ret->status = (enum job_status)status;
    ret->changed_ms = decoder_zig(&d);
    ret->has_mark = decoder_bool(&d);
    ret->mark_ms = decoder_zig(&d);
    ret->attempt = decoder_u32(&d);
    ret->relative = decoder_u32(&d);
    ret->has_next = decoder_bool(&d);
    ret->due_ms = decoder_zig(&d);
    ret->arrival = decoder_var(&d);
    ret->has_outcome = decoder_bool(&d);
    if (ret->has_outcome) {
        ret->by_attempt = decoder_bool(&d);
        get_attempt(&d, &ret->final);
    }
    if (d.version == RECORD_V2) {
        ret->expire_ms = decoder_zig(&d);
    }
    return decoder_done(&d) && ret->has_outcome == job_status_terminal(ret->status);
}

void attempt_encode(struct buf *buf, const struct attempt *attempt)
{
    buf_u8(buf, RECORD_V1);
    put_attempt(buf, attempt);
}

bool attempt_decode(struct bytes value, struct attempt *ret)
{
    struct decoder d = decoder_of(value, RECORD_V1);
    get_attempt(&d, ret);
    return decoder_done(&d);
}

static void put_chain(struct buf *buf, const struct chain_rec *chain)
{
    buf_append(buf, chain->task_id.b, sizeof chain->task_id.b);
    field_var(buf, chain->passed);
    field_var(buf, chain->rate_retries);
    field_var(buf, chain->limit_count);
    if (chain->limit_count != 0) {
        buf_append(buf, chain->limits.ptr, chain->limits.len);
    }
}

/* Its hits at rate limits are ahead of it again, paid already. */
static bool chain_is_paid_ahead(const struct task_rec *task)
{
    return task->has_chain && task->chain.rates_paid > task->chain.passed;
}

static void get_chain(struct decoder *d, struct chain_rec *ret)
{
    ret->task_id = decoder_uuid(d);
    ret->passed = decoder_u32(d);
    ret->rate_retries = decoder_u32(d);
    ret->limit_count = decoder_u32(d);
    ret->limits = decoder_items(d, ret->limit_count);
    d->bad |= ret->limit_count != 0 && ret->passed > ret->limit_count;
}

void task_encode(struct buf *buf, const struct task_rec *task)
{
    const bool paid = chain_is_paid_ahead(task);
    buf_u8(buf, paid ? RECORD_V3 : task->has_chain ? RECORD_V2 : RECORD_V1);
    item_append(buf, task->job_ref);
    field_var(buf, task->attempt);
    field_var(buf, task->relative);
    item_append(buf, task->group);
    if (task->has_chain) {
        put_chain(buf, &task->chain);
    }
    if (paid) {
        field_var(buf, task->chain.rates_paid);
    }
}

bool task_decode(struct bytes value, struct task_rec *ret)
{
    struct decoder d = decoder_of(value, RECORD_V3);
    *ret = (struct task_rec){0};
    ret->job_ref = decoder_item(&d);
    ret->attempt = decoder_u32(&d);
    ret->relative = decoder_u32(&d);
    ret->group = get_name(&d);
    if (d.version >= RECORD_V2) {
        ret->has_chain = true;
        get_chain(&d, &ret->chain);
    }
    if (d.version == RECORD_V3) {
        ret->chain.rates_paid = decoder_u32(&d);
        d.bad |= !chain_is_paid_ahead(ret);
    }
    return decoder_done(&d);
}

void lease_encode(struct buf *buf, const struct lease_rec *lease)
{
    buf_u8(buf, lease->passed != 0 ? RECORD_V2 : RECORD_V1);
    buf_append(buf, lease->task_id.b, sizeof lease->task_id.b);
    item_append(buf, lease->worker_id);
    field_var(buf, lease->attempt);
    field_var(buf, lease->relative);
    field_zig(buf, lease->started_ms);
    buf_u8(buf, lease->has_mark ? 1 : 0);
    field_zig(buf, lease->has_mark ? lease->mark_ms : 0);
    field_zig(buf, lease->enqueue_ms);
    buf_u8(buf, lease->priority);
    field_zig(buf, lease->due_ms);
    field_var(buf, lease->arrival);
    item_append(buf, lease->group);
    put_retry(buf, lease->has_retry, &lease->retry);
    field_var(buf, lease->limit_count);
    if (lease->passed != 0) {
        field_var(buf, lease->passed);
    }
}

bool lease_decode(struct bytes value, struct lease_rec *ret)
{
    struct decoder d = decoder_of(value, RECORD_V2);
    *ret = (struct lease_rec){0};
    ret->task_id = decoder_uuid(&d);
    ret->worker_id = get_name(&d);
    ret->attempt = decoder_u32(&d);
    ret->relative = decoder_u32(&d);
    ret->started_ms = decoder_zig(&d);
    ret->has_mark = decoder_bool(&d);
    ret->mark_ms = decoder_zig(&d);
    ret->enqueue_ms = decoder_zig(&d);
    ret->priority = get_priority(&d);
    ret->due_ms = decoder_zig(&d);
    ret->arrival = decoder_var(&d);
    ret->group = get_name(&d);
    ret->has_retry = get_retry(&d, &ret->retry);
    ret->limit_count = decoder_u32(&d);
    if (d.version == RECORD_V2) {
        ret->passed = decoder_u32(&d);
        d.bad |= ret->passed > ret->limit_count;
    }
    return decoder_done(&d);
}

void holder_encode(struct buf *buf, const struct holder_rec *holder)
{
    buf_u8(buf, RECORD_V1);
    item_append(buf, holder->job_id);
    field_zig(buf, holder->granted_ms);
    field_var(buf, holder->index);
}

bool holder_decode(struct bytes value, struct holder_rec *ret)
{
    struct decoder d = decoder_of(value, RECORD_V1);
    ret->job_id = get_name(&d);
    ret->granted_ms = decoder_zig(&d);
    ret->index = decoder_u32(&d);
    return decoder_done(&d);
}

void floating_encode(struct buf *buf, const struct floating_rec *floating)
{
    buf_u8(buf, RECORD_V1);
    field_var(buf, floating->value);
    field_var(buf, floating->default_max);
    field_zig(buf, floating->interval_ms);
    field_zig(buf, floating->refreshed_ms);
    field_var(buf, floating->failures);
    field_zig(buf, floating->retry_ms);
    field_var(buf, floating->metadata_count);
    buf_append(buf, floating->metadata.ptr, floating->metadata.len);
    buf_u8(buf, (uint8_t)floating->phase);
    if (floating->phase != REFRESH_NONE) {
        buf_append(buf, floating->task_id.b, sizeof floating->task_id.b);
        item_append(buf, floating->group);
        field_zig(buf, floating->since_ms);
    }
    if (floating->phase == REFRESH_LEASE) {
        item_append(buf, floating->worker_id);
    }
}

bool floating_decode(struct bytes value, struct floating_rec *ret)
{
    struct decoder d = decoder_of(value, RECORD_V1);
    *ret = (struct floating_rec){0};
    ret->value = decoder_u32(&d);
    ret->default_max = decoder_u32(&d);
    ret->interval_ms = decoder_zig(&d);
    ret->refreshed_ms = decoder_zig(&d);
    ret->failures = decoder_u32(&d);
    ret->retry_ms = decoder_zig(&d);
    ret->metadata_count = decoder_u32(&d);
    ret->metadata = get_pairs(&d, ret->metadata_count);
    const uint8_t phase = decoder_u8(&d);
    d.bad |= phase > REFRESH_LEASE;
    ret->phase = (enum refresh_phase)phase;
    if (phase != REFRESH_NONE) {
        ret->task_id = decoder_uuid(&d);
        ret->group = get_name(&d);
        ret->since_ms = decoder_zig(&d);
    }
    if (phase == REFRESH_LEASE) {
        ret->worker_id = get_name(&d);
    }
    return decoder_done(&d);
}

void queue_encode_head(struct buf *buf, uint32_t line_count)
{
    buf_u8(buf, RECORD_V1);
    field_var(buf, line_count);
}

void queue_encode_line(struct buf *buf, const struct line_rec *line)
{
    buf_u8(buf, line->id.floating ? 1 : 0);
    field_var(buf, line->id.max);
    field_var(buf, line->count);
    buf_u8(buf, line->has_low ? 1 : 0);
    if (line->has_low) {
        field_zig(buf, line->low.due_ms);
        buf_u8(buf, line->low.priority);
        field_var(buf, line->low.arrival);
    }
}

bool line_next(struct bytes *at, struct line_rec *ret)
{
    if (at->len == 0) {
        return false;
    }
    struct decoder d = {.at = at->ptr, .end = at->ptr + at->len};
    struct line_rec line = {.id.floating = decoder_bool(&d)};
    line.id.max = decoder_u32(&d);
    line.count = decoder_var(&d);
    line.has_low = decoder_bool(&d);
    if (line.has_low) {
        line.low.due_ms = decoder_zig(&d);
        line.low.priority = get_priority(&d);
        line.low.arrival = decoder_var(&d);
    }
    if (d.bad) {
        return false;
    }
    *ret = line;
    *at = bytes_of(d.at, (size_t)(d.end - d.at));
    return true;
}

/*
 * Looks at the lines, too: who walks them afterwards finds as many as were promised, and all of
 * them good.
 */
bool queue_decode(struct bytes value, struct bytes *ret_at, uint32_t *ret_line_count)
{
    struct decoder d = decoder_of(value, RECORD_V1);
    const uint32_t line_count = decoder_u32(&d);
    if (d.bad) {
        return false;
    }
    const struct bytes lines = bytes_of(d.at, (size_t)(d.end - d.at));
    struct bytes at = lines;
    struct line_rec line;
    uint32_t found = 0;
    while (found <= line_count && line_next(&at, &line)) {
        found++;
    }
    if (at.len != 0 || found != line_count) {
        return false;
    }
    *ret_at = lines;
    *ret_line_count = line_count;
    return true;
}

void counts_encode(struct buf *buf, const struct counts *counts)
{
    buf_u8(buf, RECORD_V1);
    field_var(buf, counts->open);
    field_var(buf, counts->succeeded);
    field_var(buf, counts->failed);
    field_var(buf, counts->cancelled);
}

bool counts_decode(struct bytes value, struct counts *ret)
{
    struct decoder d = decoder_of(value, RECORD_V1);
    ret->open = decoder_var(&d);
    ret->succeeded = decoder_var(&d);
    ret->failed = decoder_var(&d);
    ret->cancelled = decoder_var(&d);
    return decoder_done(&d);
}

void shard_encode(struct buf *buf, const struct shard_rec *shard)
{
    buf_u8(buf, RECORD_V1);
    field_zig(buf, shard->created_ms);
    buf_u8(buf, shard->dispatch_order);
}

bool shard_decode(struct bytes value, struct shard_rec *ret)
{
    struct decoder d = decoder_of(value, RECORD_V1);
    ret->created_ms = decoder_zig(&d);
    ret->dispatch_order = decoder_u8(&d);
    return decoder_done(&d);
}

void number_encode(struct buf *buf, uint64_t number)
{
    buf_u8(buf, RECORD_V1);
    field_var(buf, number);
}

bool number_decode(struct bytes value, uint64_t *ret)
{
    struct decoder d = decoder_of(value, RECORD_V1);
    *ret = decoder_var(&d);
    return decoder_done(&d);
}

void expiry_encode(struct buf *buf, struct bytes job_refs)
{
    uint32_t count = 0;
    struct bytes at = job_refs;
    struct bytes item;
    while (item_next(&at, &item)) {
        count++;
    }
    buf_u8(buf, RECORD_V1);
    field_var(buf, count);
    buf_append(buf, job_refs.ptr, job_refs.len);
}

bool expiry_decode(struct bytes value, struct bytes *ret_job_refs)
{
    struct decoder d = decoder_of(value, RECORD_V1);
    const uint32_t count = decoder_u32(&d);
    *ret_job_refs = decoder_items(&d, count);
    return decoder_done(&d);
}

void low_encode(struct buf *buf, int64_t due_ms, uint8_t priority, uint64_t arrival)
{
    buf_u8(buf, RECORD_V1);
    field_zig(buf, due_ms);
    buf_u8(buf, priority);
    field_var(buf, arrival);
}

bool low_decode(struct bytes value, int64_t *ret_due_ms, uint8_t *ret_priority,
                uint64_t *ret_arrival)
{
    struct decoder d = decoder_of(value, RECORD_V1);
    *ret_due_ms = decoder_zig(&d);
    *ret_priority = get_priority(&d);
    *ret_arrival = decoder_var(&d);
    return decoder_done(&d);
}
