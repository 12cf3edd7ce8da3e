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

static void put_var(struct buf *buf, uint64_t v)
{
    uint8_t tmp[10];
    size_t n = 0;
    do {
        tmp[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    } while (v != 0);
    tmp[n - 1] &= 0x7f;
    buf_append(buf, tmp, n);
}

static void put_zig(struct buf *buf, int64_t v)
{
    put_var(buf, ((uint64_t)v << 1) ^ (uint64_t)(v >> 63));
}

static void put_double(struct buf *buf, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    uint8_t raw[8];
    for (int i = 0; i < 8; i++) {
        raw[i] = (uint8_t)(bits >> (8 * i));
    }
    buf_append(buf, raw, sizeof raw);
}

void item_append(struct buf *buf, struct bytes item)
{
    put_var(buf, item.len);
    buf_append(buf, item.ptr, item.len);
}

static void put_retry(struct buf *buf, bool has, const struct retry_policy *retry)
{
    buf_u8(buf, has ? 1 : 0);
    if (has) {
        put_var(buf, retry->retry_count);
        put_zig(buf, retry->initial_ms);
        put_zig(buf, retry->max_ms);
        put_double(buf, retry->factor);
        buf_u8(buf, retry->jitter ? 1 : 0);
    }
}

static void put_blob(struct buf *buf, const struct blob_ref *blob)
{
    buf_u8(buf, blob->is_blob ? 1 : 0);
    if (blob->is_blob) {
        put_var(buf, blob->len);
        put_var(buf, blob->hash);
    } else {
        item_append(buf, blob->inline_bytes);
    }
}

static void put_attempt(struct buf *buf, const struct attempt *attempt)
{
    put_var(buf, attempt->relative);
    buf_append(buf, attempt->task_id.b, sizeof attempt->task_id.b);
    put_zig(buf, attempt->started_ms);
    buf_u8(buf, (uint8_t)attempt->outcome.status);
    put_zig(buf, attempt->outcome.finished_ms);
    item_append(buf, attempt->outcome.error_code);
    put_blob(buf, &attempt->outcome.data);
}

/* --- reading: every get checks; `bad` sticks and is looked at once, at the end --- */

struct decoder {
    const uint8_t *at, *end;
    uint8_t version;
    bool bad;
};

/* Of a record whose newest version is `newest`. */
static struct decoder decoder_upto(struct bytes value, uint8_t newest)
{
    if (value.len == 0) {
        return (struct decoder){.bad = true};
    }
    struct decoder r = {.at = value.ptr, .end = value.ptr + value.len};
    r.version = *r.at++;
    r.bad = r.version < RECORD_V1 || r.version > newest;
    return r;
}

static struct decoder decoder_of(struct bytes value)
{
    return decoder_upto(value, RECORD_V1);
}

static uint8_t get_u8(struct decoder *r)
{
    if (r->bad || r->at == r->end) {
        r->bad = true;
        return 0;
    }
    return *r->at++;
}

static uint8_t get_priority(struct decoder *r)
{
    const uint8_t v = get_u8(r);
    r->bad |= v > PRIORITY_MAX;
    return v;
}

static uint64_t get_var(struct decoder *r)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        const uint8_t c = get_u8(r);
        if (shift == 63 && c > 1) {
            break;
        }
        v |= (uint64_t)(c & 0x7f) << shift;
        if ((c & 0x80) == 0) {
            return v;
        }
    }
    r->bad = true;
    return 0;
}

static int64_t get_zig(struct decoder *r)
{
    const uint64_t v = get_var(r);
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

static uint32_t get_u32(struct decoder *r)
{
    const uint64_t v = get_var(r);
    r->bad |= v > UINT32_MAX;
    return (uint32_t)v;
}

static bool get_bool(struct decoder *r)
{
    const uint8_t v = get_u8(r);
    r->bad |= v > 1;
    return v == 1;
}

static struct bytes get_raw(struct decoder *r, size_t len)
{
    if (r->bad || (size_t)(r->end - r->at) < len) {
        r->bad = true;
        return BYTES_NONE;
    }
    const struct bytes b = bytes_of(r->at, len);
    r->at += len;
    return b;
}

static struct bytes get_item(struct decoder *r)
{
    const uint64_t len = get_var(r);
    if (len > SIZE_MAX / 2) {
        r->bad = true;
        return BYTES_NONE;
    }
    return get_raw(r, (size_t)len);
}

/* Of what keys are made. */
static struct bytes get_name(struct decoder *r)
{
    const struct bytes name = get_item(r);
    r->bad |= name.len > KEY_NAME_BYTES_MAX;
    return name;
}

static double get_double(struct decoder *r)
{
    const struct bytes raw = get_raw(r, 8);
    uint64_t bits = 0;
    for (size_t i = 0; i < raw.len; i++) {
        bits |= (uint64_t)raw.ptr[i] << (8 * i);
    }
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static struct uuid get_uuid(struct decoder *r)
{
    struct uuid u = {{0}};
    const struct bytes raw = get_raw(r, sizeof u.b);
    if (raw.len == sizeof u.b) {
        memcpy(u.b, raw.ptr, sizeof u.b);
    }
    return u;
}

static bool get_retry(struct decoder *r, struct retry_policy *ret)
{
    const bool has = get_bool(r);
    *ret = (struct retry_policy){0};
    if (has) {
        ret->retry_count = get_u32(r);
        ret->initial_ms = get_zig(r);
        ret->max_ms = get_zig(r);
        ret->factor = get_double(r);
        ret->jitter = get_bool(r);
    }
    return has;
}

static struct blob_ref get_blob(struct decoder *r)
{
    struct blob_ref blob = {.is_blob = get_bool(r)};
    if (blob.is_blob) {
        blob.len = get_var(r);
        blob.hash = get_var(r);
    } else {
        blob.inline_bytes = get_item(r);
    }
    return blob;
}

static void get_attempt(struct decoder *r, struct attempt *ret)
{
    ret->relative = get_u32(r);
    ret->task_id = get_uuid(r);
    ret->started_ms = get_zig(r);
    const uint8_t status = get_u8(r);
    r->bad |= status < ATTEMPT_SUCCEEDED || status > ATTEMPT_CANCELLED;
    ret->outcome.status = (enum attempt_status)status;
    ret->outcome.finished_ms = get_zig(r);
    ret->outcome.error_code = get_item(r);
    ret->outcome.data = get_blob(r);
}

/* `count` items in a row, lent as one run. */
static struct bytes get_items(struct decoder *r, uint32_t count)
{
    const uint8_t *from = r->at;
    for (uint32_t i = 0; i < count && !r->bad; i++) {
        (void)get_item(r);
    }
    return r->bad ? BYTES_NONE : bytes_of(from, (size_t)(r->at - from));
}

/* `count` pairs of items. */
static struct bytes get_pairs(struct decoder *r, uint32_t count)
{
    r->bad |= count > UINT32_MAX / 2;
    return get_items(r, count * 2);
}

/* The same, of a job: their names stand in keys. */
static struct bytes get_labels(struct decoder *r, uint32_t count)
{
    const uint8_t *from = r->at;
    for (uint32_t i = 0; i < count && !r->bad; i++) {
        r->bad |= get_item(r).len > LABEL_NAME_BYTES_MAX;
        (void)get_item(r);
    }
    return r->bad ? BYTES_NONE : bytes_of(from, (size_t)(r->at - from));
}

static bool decoder_done(const struct decoder *r)
{
    return !r->bad && r->at == r->end;
}

bool item_next(struct bytes *at, struct bytes *ret_item)
{
    if (at->len == 0) {
        return false;
    }
    struct decoder r = {.at = at->ptr, .end = at->ptr + at->len};
    const struct bytes item = get_item(&r);
    if (r.bad) {
        return false;
    }
    *ret_item = item;
    *at = bytes_of(r.at, (size_t)(r.end - r.at));
    return true;
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
    put_zig(buf, info->enqueue_ms);
    put_zig(buf, info->requested_start_ms);
    put_zig(buf, info->due_ms);
    put_var(buf, info->arrival);
    put_var(buf, info->metadata_count);
    buf_append(buf, info->metadata.ptr, info->metadata.len);
    put_var(buf, info->limit_count);
    buf_append(buf, info->limits.ptr, info->limits.len);
    put_blob(buf, &info->payload);
}

bool info_decode(struct bytes value, struct info *ret)
{
    struct decoder r = decoder_of(value);
    ret->priority = get_priority(&r);
    ret->has_retry = get_retry(&r, &ret->retry);
    ret->group = get_name(&r);
    ret->enqueue_ms = get_zig(&r);
    ret->requested_start_ms = get_zig(&r);
    ret->due_ms = get_zig(&r);
    ret->arrival = get_var(&r);
    ret->metadata_count = get_u32(&r);
    ret->metadata = get_labels(&r, ret->metadata_count);
    ret->limit_count = get_u32(&r);
    ret->limits = get_items(&r, ret->limit_count);
    ret->payload = get_blob(&r);
    return decoder_done(&r);
}

void state_encode(struct buf *buf, const struct state *state)
{
    const bool second = state->expire_ms != 0;
    buf_u8(buf, second ? RECORD_V2 : RECORD_V1);
    buf_u8(buf, (uint8_t)state->status);
    put_zig(buf, state->changed_ms);
    buf_u8(buf, state->has_mark ? 1 : 0);
    put_zig(buf, state->has_mark ? state->mark_ms : 0);
    put_var(buf, state->attempt);
    put_var(buf, state->relative);
    buf_u8(buf, state->has_next ? 1 : 0);
    put_zig(buf, state->due_ms);
    put_var(buf, state->arrival);
    buf_u8(buf, state->has_outcome ? 1 : 0);
    if (state->has_outcome) {
        buf_u8(buf, state->by_attempt ? 1 : 0);
        put_attempt(buf, &state->final);
    }
    if (second) {
        put_zig(buf, state->expire_ms);
    }
}

bool state_decode(struct bytes value, struct state *ret)
{
    struct decoder r = decoder_upto(value, RECORD_V2);
    *ret = (struct state){0};
    const uint8_t status = get_u8(&r);
    r.bad |= status > JOB_CANCELLED || status == JOB_RUNNING;
    ret->status = (enum job_status)status;
    ret->changed_ms = get_zig(&r);
    ret->has_mark = get_bool(&r);
    ret->mark_ms = get_zig(&r);
    ret->attempt = get_u32(&r);
    ret->relative = get_u32(&r);
    ret->has_next = get_bool(&r);
    ret->due_ms = get_zig(&r);
    ret->arrival = get_var(&r);
    ret->has_outcome = get_bool(&r);
    if (ret->has_outcome) {
        ret->by_attempt = get_bool(&r);
        get_attempt(&r, &ret->final);
    }
    if (r.version == RECORD_V2) {
        ret->expire_ms = get_zig(&r);
    }
    return decoder_done(&r) && ret->has_outcome == job_status_terminal(ret->status);
}

void attempt_encode(struct buf *buf, const struct attempt *attempt)
{
    buf_u8(buf, RECORD_V1);
    put_attempt(buf, attempt);
}

bool attempt_decode(struct bytes value, struct attempt *ret)
{
    struct decoder r = decoder_of(value);
    get_attempt(&r, ret);
    return decoder_done(&r);
}

static void put_chain(struct buf *buf, const struct chain_rec *chain)
{
    buf_append(buf, chain->task_id.b, sizeof chain->task_id.b);
    put_var(buf, chain->passed);
    put_var(buf, chain->rate_retries);
    put_var(buf, chain->limit_count);
    if (chain->limit_count != 0) {
        buf_append(buf, chain->limits.ptr, chain->limits.len);
    }
}

/* Its hits at rate limits are ahead of it again, paid already. */
static bool chain_is_paid_ahead(const struct task_rec *task)
{
    return task->has_chain && task->chain.rates_paid > task->chain.passed;
}

static void get_chain(struct decoder *r, struct chain_rec *ret)
{
    ret->task_id = get_uuid(r);
    ret->passed = get_u32(r);
    ret->rate_retries = get_u32(r);
    ret->limit_count = get_u32(r);
    ret->limits = get_items(r, ret->limit_count);
    r->bad |= ret->limit_count != 0 && ret->passed > ret->limit_count;
}

void task_encode(struct buf *buf, const struct task_rec *task)
{
    const bool paid = chain_is_paid_ahead(task);
    buf_u8(buf, paid ? RECORD_V3 : task->has_chain ? RECORD_V2 : RECORD_V1);
    item_append(buf, task->job_ref);
    put_var(buf, task->attempt);
    put_var(buf, task->relative);
    item_append(buf, task->group);
    if (task->has_chain) {
        put_chain(buf, &task->chain);
    }
    if (paid) {
        put_var(buf, task->chain.rates_paid);
    }
}

bool task_decode(struct bytes value, struct task_rec *ret)
{
    struct decoder r = decoder_upto(value, RECORD_V3);
    *ret = (struct task_rec){0};
    ret->job_ref = get_item(&r);
    ret->attempt = get_u32(&r);
    ret->relative = get_u32(&r);
    ret->group = get_name(&r);
    if (r.version >= RECORD_V2) {
        ret->has_chain = true;
        get_chain(&r, &ret->chain);
    }
    if (r.version == RECORD_V3) {
        ret->chain.rates_paid = get_u32(&r);
        r.bad |= !chain_is_paid_ahead(ret);
    }
    return decoder_done(&r);
}

void lease_encode(struct buf *buf, const struct lease_rec *lease)
{
    buf_u8(buf, lease->passed != 0 ? RECORD_V2 : RECORD_V1);
    buf_append(buf, lease->task_id.b, sizeof lease->task_id.b);
    item_append(buf, lease->worker_id);
    put_var(buf, lease->attempt);
    put_var(buf, lease->relative);
    put_zig(buf, lease->started_ms);
    buf_u8(buf, lease->has_mark ? 1 : 0);
    put_zig(buf, lease->has_mark ? lease->mark_ms : 0);
    put_zig(buf, lease->enqueue_ms);
    buf_u8(buf, lease->priority);
    put_zig(buf, lease->due_ms);
    put_var(buf, lease->arrival);
    item_append(buf, lease->group);
    put_retry(buf, lease->has_retry, &lease->retry);
    put_var(buf, lease->limit_count);
    if (lease->passed != 0) {
        put_var(buf, lease->passed);
    }
}

bool lease_decode(struct bytes value, struct lease_rec *ret)
{
    struct decoder r = decoder_upto(value, RECORD_V2);
    *ret = (struct lease_rec){0};
    ret->task_id = get_uuid(&r);
    ret->worker_id = get_name(&r);
    ret->attempt = get_u32(&r);
    ret->relative = get_u32(&r);
    ret->started_ms = get_zig(&r);
    ret->has_mark = get_bool(&r);
    ret->mark_ms = get_zig(&r);
    ret->enqueue_ms = get_zig(&r);
    ret->priority = get_priority(&r);
    ret->due_ms = get_zig(&r);
    ret->arrival = get_var(&r);
    ret->group = get_name(&r);
    ret->has_retry = get_retry(&r, &ret->retry);
    ret->limit_count = get_u32(&r);
    if (r.version == RECORD_V2) {
        ret->passed = get_u32(&r);
        r.bad |= ret->passed > ret->limit_count;
    }
    return decoder_done(&r);
}

void holder_encode(struct buf *buf, const struct holder_rec *holder)
{
    buf_u8(buf, RECORD_V1);
    item_append(buf, holder->job_id);
    put_zig(buf, holder->granted_ms);
    put_var(buf, holder->index);
}

bool holder_decode(struct bytes value, struct holder_rec *ret)
{
    struct decoder r = decoder_of(value);
    ret->job_id = get_name(&r);
    ret->granted_ms = get_zig(&r);
    ret->index = get_u32(&r);
    return decoder_done(&r);
}

void floating_encode(struct buf *buf, const struct floating_rec *floating)
{
    buf_u8(buf, RECORD_V1);
    put_var(buf, floating->value);
    put_var(buf, floating->default_max);
    put_zig(buf, floating->interval_ms);
    put_zig(buf, floating->refreshed_ms);
    put_var(buf, floating->failures);
    put_zig(buf, floating->retry_ms);
    put_var(buf, floating->metadata_count);
    buf_append(buf, floating->metadata.ptr, floating->metadata.len);
    buf_u8(buf, (uint8_t)floating->phase);
    if (floating->phase != REFRESH_NONE) {
        buf_append(buf, floating->task_id.b, sizeof floating->task_id.b);
        item_append(buf, floating->group);
        put_zig(buf, floating->since_ms);
    }
    if (floating->phase == REFRESH_LEASE) {
        item_append(buf, floating->worker_id);
    }
}

bool floating_decode(struct bytes value, struct floating_rec *ret)
{
    struct decoder r = decoder_of(value);
    *ret = (struct floating_rec){0};
    ret->value = get_u32(&r);
    ret->default_max = get_u32(&r);
    ret->interval_ms = get_zig(&r);
    ret->refreshed_ms = get_zig(&r);
    ret->failures = get_u32(&r);
    ret->retry_ms = get_zig(&r);
    ret->metadata_count = get_u32(&r);
    ret->metadata = get_pairs(&r, ret->metadata_count);
    const uint8_t phase = get_u8(&r);
    r.bad |= phase > REFRESH_LEASE;
    ret->phase = (enum refresh_phase)phase;
    if (phase != REFRESH_NONE) {
        ret->task_id = get_uuid(&r);
        ret->group = get_name(&r);
        ret->since_ms = get_zig(&r);
    }
    if (phase == REFRESH_LEASE) {
        ret->worker_id = get_name(&r);
    }
    return decoder_done(&r);
}

void queue_encode_head(struct buf *buf, uint32_t line_count)
{
    buf_u8(buf, RECORD_V1);
    put_var(buf, line_count);
}

void queue_encode_line(struct buf *buf, const struct line_rec *line)
{
    buf_u8(buf, line->id.floating ? 1 : 0);
    put_var(buf, line->id.max);
    put_var(buf, line->count);
    buf_u8(buf, line->has_low ? 1 : 0);
    if (line->has_low) {
        put_zig(buf, line->low.due_ms);
        buf_u8(buf, line->low.priority);
        put_var(buf, line->low.arrival);
    }
}

bool line_next(struct bytes *at, struct line_rec *ret)
{
    if (at->len == 0) {
        return false;
    }
    struct decoder r = {.at = at->ptr, .end = at->ptr + at->len};
    struct line_rec line = {.id.floating = get_bool(&r)};
    line.id.max = get_u32(&r);
    line.count = get_var(&r);
    line.has_low = get_bool(&r);
    if (line.has_low) {
        line.low.due_ms = get_zig(&r);
        line.low.priority = get_priority(&r);
        line.low.arrival = get_var(&r);
    }
    if (r.bad) {
        return false;
    }
    *ret = line;
    *at = bytes_of(r.at, (size_t)(r.end - r.at));
    return true;
}

/*
 * Looks at the lines, too: who walks them afterwards finds as many as were promised, and all of
 * them good.
 */
bool queue_decode(struct bytes value, struct bytes *ret_at, uint32_t *ret_line_count)
{
    struct decoder r = decoder_of(value);
    const uint32_t line_count = get_u32(&r);
    if (r.bad) {
        return false;
    }
    const struct bytes lines = bytes_of(r.at, (size_t)(r.end - r.at));
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
    put_var(buf, counts->open);
    put_var(buf, counts->succeeded);
    put_var(buf, counts->failed);
    put_var(buf, counts->cancelled);
}

bool counts_decode(struct bytes value, struct counts *ret)
{
    struct decoder r = decoder_of(value);
    ret->open = get_var(&r);
    ret->succeeded = get_var(&r);
    ret->failed = get_var(&r);
    ret->cancelled = get_var(&r);
    return decoder_done(&r);
}

void shard_encode(struct buf *buf, const struct shard_rec *shard)
{
    buf_u8(buf, RECORD_V1);
    put_zig(buf, shard->created_ms);
    buf_u8(buf, shard->dispatch_order);
}

bool shard_decode(struct bytes value, struct shard_rec *ret)
{
    struct decoder r = decoder_of(value);
    ret->created_ms = get_zig(&r);
    ret->dispatch_order = get_u8(&r);
    return decoder_done(&r);
}

void number_encode(struct buf *buf, uint64_t number)
{
    buf_u8(buf, RECORD_V1);
    put_var(buf, number);
}

bool number_decode(struct bytes value, uint64_t *ret)
{
    struct decoder r = decoder_of(value);
    *ret = get_var(&r);
    return decoder_done(&r);
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
    put_var(buf, count);
    buf_append(buf, job_refs.ptr, job_refs.len);
}

bool expiry_decode(struct bytes value, struct bytes *ret_job_refs)
{
    struct decoder r = decoder_of(value);
    const uint32_t count = get_u32(&r);
    *ret_job_refs = get_items(&r, count);
    return decoder_done(&r);
}

void low_encode(struct buf *buf, int64_t due_ms, uint8_t priority, uint64_t arrival)
{
    buf_u8(buf, RECORD_V1);
    put_zig(buf, due_ms);
    buf_u8(buf, priority);
    put_var(buf, arrival);
}

bool low_decode(struct bytes value, int64_t *ret_due_ms, uint8_t *ret_priority,
                uint64_t *ret_arrival)
{
    struct decoder r = decoder_of(value);
    *ret_due_ms = get_zig(&r);
    *ret_priority = get_priority(&r);
    *ret_arrival = get_var(&r);
    return decoder_done(&r);
}
