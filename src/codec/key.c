/*
 * codec/key.c - building and reading keys.
 *
 *   info, state, lease   table | hash u64 | tenant str | job id raw
 *   attempt              table | hash u64 | tenant str | job str | attempt u32
 *   index                table | hash u64 | tenant str | kind u8 | ~time u64 | job raw
 *   metadata             table | hash u64 | tenant str | name str | value str (cut) | value hash
 *                        u64 | job raw
 *   ready                table | group str | priority u8 | due u64 | arrival u64      (order
 *                        "priority") table | group str | due u64 | priority u8 | arrival u64
 *                        (order "start")
 *   timer                table | due u64 | priority u8 | arrival u64
 *   count                table | hash u64 | tenant str
 *   blob                 table | hash u64 | tenant str | job str | kind u8 | attempt u32
 *   meta                 table | what u8 [| group str | lane u8], table | what u8 | queue ref or
 *                        tenant part
 *   waiter               table | queue ref | floating u8 | max u32 | priority, due, arrival as in
 *                        ready, by the order
 *   holder               table | queue ref | task id, 16 bytes
 *   queue                table | queue ref | kind u8
 *   limiter              table | hash u64 | tenant str | name str (cut) | unique key str (cut) |
 *                        hash of both, 16 bytes
 *   expiry               table | time u64 | job ref
 *
 * A queue ref is hash u64 | tenant str | queue str. In a throttle ref the queue is 00, limiter hash
 * (16 bytes), group.
 *
 * A change of any of these layouts needs a new table number; the golden test pins the bytes.
 */
#include "codec/key.h"

#include <xxhash.h>

#include "base/assert.h"
#include "base/limits.h"

#define KEY_LIMITER_PART_MAX 512u
#define KEY_PLACE_LEN 17u /* priority, due and arrival in either order */

static void put_u8(struct key *key, uint8_t v)
{
    ASSERT(key->len < KEY_BYTES_MAX);
    key->b[key->len++] = v;
}

static void put_raw(struct key *key, struct bytes b)
{
    ASSERT(b.len <= KEY_BYTES_MAX - key->len);
    if (b.len != 0) {
        memcpy(key->b + key->len, b.ptr, b.len);
        key->len += b.len;
    }
}

static void put_u64(struct key *key, uint64_t v)
{
    ASSERT(KEY_BYTES_MAX - key->len >= 8);
    for (int shift = 56; shift >= 0; shift -= 8) {
        key->b[key->len++] = (uint8_t)(v >> shift);
    }
}

static void put_u32(struct key *key, uint32_t v)
{
    for (int shift = 24; shift >= 0; shift -= 8) {
        put_u8(key, (uint8_t)(v >> shift));
    }
}

static void put_str(struct key *key, struct bytes b)
{
    if (b.len == 0 || memchr(b.ptr, 0, b.len) == NULL) {
        put_raw(key, b);
    } else {
        for (size_t i = 0; i < b.len; i++) {
            put_u8(key, b.ptr[i]);
            if (b.ptr[i] == 0) {
                put_u8(key, 0xff);
            }
        }
    }
    put_u8(key, 0x00);
    put_u8(key, 0x01);
}

/* No more than the first `max` bytes of it. */
static void put_str_cut(struct key *key, struct bytes b, size_t max)
{
    put_str(key, bytes_of(b.ptr, b.len < max ? b.len : max));
}

static void put_time(struct key *key, int64_t ms)
{
    put_u64(key, ms > 0 ? (uint64_t)ms : 0);
}

/* A place in dispatch order. */
static void put_place(struct key *key, enum dispatch_order order, const struct place *place)
{
    if (order == ORDER_PRIORITY) {
        put_u8(key, place->priority);
    }
    put_time(key, place->due_ms);
    if (order == ORDER_START) {
        put_u8(key, place->priority);
    }
    put_u64(key, place->arrival);
}

static uint64_t get_u64(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++) {
        v = v << 8 | p[i];
    }
    return v;
}

/* KEY_PLACE_LEN bytes; false when put_place never writes such. */
static bool get_place(const uint8_t *p, enum dispatch_order order, struct place *ret_place)
{
    const bool by_priority = order == ORDER_PRIORITY;
    const uint64_t due_ms = get_u64(by_priority ? p + 1 : p);
    *ret_place = (struct place){
        .priority = by_priority ? p[0] : p[8],
        .due_ms = (int64_t)due_ms,
        .arrival = get_u64(p + 9),
    };
    return ret_place->priority <= PRIORITY_MAX && due_ms <= INT64_MAX;
}

/* Bytes of the escaped string at b, its end included; 0 when it does not end. */
static size_t str_span(struct bytes b)
{
    for (size_t i = 0; i + 1 < b.len; i++) {
        if (b.ptr[i] == 0x00) {
            if (b.ptr[i + 1] == 0x01) {
                return i + 2;
            }
            if (b.ptr[i + 1] != 0xff) {
                return 0;
            }
            i++;
        }
    }
    return 0;
}

uint64_t tenant_hash(struct bytes tenant)
{
    return XXH64(tenant.ptr, tenant.len, 0);
}

void key_job_ref(struct key *key, struct bytes tenant, struct bytes job_id)
{
    key->len = 0;
    put_u64(key, tenant_hash(tenant));
    put_str(key, tenant);
    put_raw(key, job_id);
}

/* Bytes of the tenant part of a job reference, 0 when malformed. */
static size_t ref_tenant_len(struct bytes ref)
{
    if (ref.len < 8) {
        return 0;
    }
    const size_t span = str_span(bytes_of(ref.ptr + 8, ref.len - 8));
    return span != 0 ? 8 + span : 0;
}

bool job_ref_ok(struct bytes ref)
{
    return ref.len <= KEY_JOB_REF_BYTES_MAX && ref_tenant_len(ref) != 0;
}

struct bytes job_ref_tenant(struct bytes ref)
{
    const size_t len = ref_tenant_len(ref);
    ASSERT(len != 0);
    return bytes_of(ref.ptr, len);
}

struct bytes job_ref_job(struct bytes ref)
{
    const size_t len = job_ref_tenant(ref).len;
    return bytes_of(ref.ptr + len, ref.len - len);
}

/* What an escaped string (its end included) says, written to `out`. */
static struct bytes str_unescape(struct bytes str, uint8_t *out)
{
    size_t len = 0;
    for (size_t i = 0; i < str.len - 2; i++) {
        out[len++] = str.ptr[i];
        if (str.ptr[i] == 0) {
            i++;
        }
    }
    return bytes_of(out, len);
}

bool job_ref_parse(struct bytes ref, uint8_t *scratch, struct bytes *ret_tenant,
                   struct bytes *ret_job_id)
{
    const size_t len = ref_tenant_len(ref);
    if (len == 0) {
        return false;
    }
    *ret_tenant = str_unescape(bytes_of(ref.ptr + 8, len - 8), scratch);
    *ret_job_id = bytes_of(ref.ptr + len, ref.len - len);
    return true;
}

void key_table(struct key *key, enum key_table table)
{
    key->len = 0;
    put_u8(key, (uint8_t)table);
}

void key_by_ref(struct key *key, enum key_table table, struct bytes job_ref)
{
    key_table(key, table);
    put_raw(key, job_ref);
}

static void key_tenant(struct key *key, enum key_table table, struct bytes job_ref)
{
    key_table(key, table);
    put_raw(key, job_ref_tenant(job_ref));
}

void key_attempt(struct key *key, struct bytes job_ref, uint32_t attempt)
{
    key_tenant(key, TABLE_ATTEMPT, job_ref);
    put_str(key, job_ref_job(job_ref));
    put_u32(key, attempt);
}

void key_index(struct key *key, struct bytes job_ref, enum key_index kind, int64_t time_ms)
{
    key_tenant(key, TABLE_INDEX, job_ref);
    put_u8(key, (uint8_t)kind);
    put_u64(key, ~(time_ms > 0 ? (uint64_t)time_ms : 0));
    put_raw(key, job_ref_job(job_ref));
}

void key_metadata(struct key *key, struct bytes job_ref, struct bytes name, struct bytes value)
{
    key_tenant(key, TABLE_METADATA, job_ref);
    put_str(key, name);
    put_str_cut(key, value, KEY_METADATA_INDEXED_MAX);
    put_u64(key, XXH64(value.ptr, value.len, 0));
    put_raw(key, job_ref_job(job_ref));
}

void key_blob(struct key *key, struct bytes job_ref, enum key_blob kind, uint32_t attempt)
{
    key_tenant(key, TABLE_BLOB, job_ref);
    put_str(key, job_ref_job(job_ref));
    put_u8(key, (uint8_t)kind);
    put_u32(key, attempt);
}

void key_count(struct key *key, struct bytes job_ref)
{
    key_tenant(key, TABLE_COUNT, job_ref);
}

void key_ready_group(struct key *key, struct bytes group)
{
    key_table(key, TABLE_READY);
    put_str(key, group);
}

void key_ready_lane(struct key *key, enum dispatch_order order, struct bytes group,
                    uint8_t priority)
{
    key_ready_group(key, group);
    if (order == ORDER_PRIORITY) {
        put_u8(key, priority);
    }
}

void key_ready(struct key *key, enum dispatch_order order, struct bytes group,
               const struct place *place)
{
    key_ready_group(key, group);
    put_place(key, order, place);
}

bool key_ready_parse(struct bytes key, enum dispatch_order order, size_t group_prefix_len,
                     struct place *ret_place)
{
    if (key.len != group_prefix_len + KEY_PLACE_LEN) {
        return false;
    }
    return get_place(key.ptr + group_prefix_len, order, ret_place);
}

void key_timer(struct key *key, const struct place *place)
{
    key_table(key, TABLE_TIMER);
    put_place(key, ORDER_START, place);
}

bool key_timer_parse(struct bytes key, struct place *ret_place)
{
    return key.len == 1 + KEY_PLACE_LEN && key.ptr[0] == TABLE_TIMER &&
           get_place(key.ptr + 1, ORDER_START, ret_place);
}

void key_queue_ref(struct key *key, struct bytes tenant_part, struct bytes queue)
{
    key->len = 0;
    put_raw(key, tenant_part);
    put_str(key, queue);
}

/* Cuts off the queue's escaped name; false when anything is wrong with the reference. */
static bool queue_ref_split(struct bytes ref, size_t *ret_tenant_len, struct bytes *ret_queue)
{
    const size_t len = ref_tenant_len(ref);
    if (len == 0) {
        return false;
    }
    *ret_tenant_len = len;
    *ret_queue = bytes_of(ref.ptr + len, ref.len - len);
    return ret_queue->len != 0 && ref.len <= KEY_QUEUE_REF_BYTES_MAX &&
           str_span(*ret_queue) == ret_queue->len;
}

bool queue_ref_ok(struct bytes ref)
{
    size_t tenant_len = 0;
    struct bytes queue;
    return queue_ref_split(ref, &tenant_len, &queue);
}

bool queue_ref_parse(struct bytes ref, uint8_t *scratch, struct bytes *ret_tenant,
                     struct bytes *ret_queue)
{
    size_t tenant_len = 0;
    struct bytes queue;
    if (!queue_ref_split(ref, &tenant_len, &queue)) {
        return false;
    }
    *ret_tenant = str_unescape(bytes_of(ref.ptr + 8, tenant_len - 8), scratch);
    *ret_queue = str_unescape(queue, scratch + ret_tenant->len);
    return true;
}

void key_waiter_line(struct key *key, struct bytes queue_ref, struct line_id line)
{
    key_by_ref(key, TABLE_WAITER, queue_ref);
    put_u8(key, line.floating ? 1 : 0);
    put_u32(key, line.max);
}

void key_waiter(struct key *key, enum dispatch_order order, struct bytes queue_ref,
                struct line_id line, const struct place *place)
{
    key_waiter_line(key, queue_ref, line);
    put_place(key, order, place);
}

bool key_waiter_parse(struct bytes key, enum dispatch_order order, size_t line_prefix_len,
                      struct place *ret_place)
{
    return key_ready_parse(key, order, line_prefix_len, ret_place);
}

void key_holder(struct key *key, struct bytes queue_ref, const struct uuid *task_id)
{
    key_by_ref(key, TABLE_HOLDER, queue_ref);
    put_raw(key, uuid_bytes(task_id));
}

bool key_holder_parse(struct bytes key, struct bytes *ret_queue_ref, struct uuid *ret_task_id)
{
    const size_t id_len = sizeof ret_task_id->b;
    if (key.len <= 1 + id_len || key.ptr[0] != TABLE_HOLDER) {
        return false;
    }
    const struct bytes ref = bytes_of(key.ptr + 1, key.len - 1 - id_len);
    size_t tenant_len = 0;
    struct bytes queue;
    if (!queue_ref_split(ref, &tenant_len, &queue)) {
        return false;
    }
    *ret_queue_ref = ref;
    memcpy(ret_task_id->b, ref.ptr + ref.len, id_len);
    return true;
}

void key_queue(struct key *key, struct bytes queue_ref, enum key_queue what)
{
    key_by_ref(key, TABLE_QUEUE, queue_ref);
    put_u8(key, (uint8_t)what);
}

static XXH128_canonical_t limiter_hash(struct bytes name, struct bytes unique_key)
{
    struct key whole; /* the name's length first: where it ends is part of the hash */
    whole.len = 0;
    put_u64(&whole, name.len);
    put_raw(&whole, name);
    put_raw(&whole, unique_key);
    XXH128_canonical_t hash;
    XXH128_canonicalFromHash(&hash, XXH3_128bits(whole.b, whole.len));
    return hash;
}

void key_limiter(struct key *key, struct bytes tenant_part, struct bytes name,
                 struct bytes unique_key)
{
    key_by_ref(key, TABLE_LIMITER, tenant_part);
    put_str_cut(key, name, KEY_LIMITER_PART_MAX);
    put_str_cut(key, unique_key, KEY_LIMITER_PART_MAX);
    const XXH128_canonical_t hash = limiter_hash(name, unique_key);
    put_raw(key, bytes_of(hash.digest, sizeof hash.digest));
}

void key_throttle_ref(struct key *key, struct bytes tenant_part, struct bytes name,
                      struct bytes unique_key, struct bytes group)
{
    const XXH128_canonical_t hash = limiter_hash(name, unique_key);
    struct key queue;
    queue.len = 0;
    put_u8(&queue, 0);
    put_raw(&queue, bytes_of(hash.digest, sizeof hash.digest));
    put_raw(&queue, group);
    key_queue_ref(key, tenant_part, key_bytes(&queue));
}

bool throttle_ref_parse(struct bytes ref, uint8_t *scratch, struct bytes *ret_limiter,
                        struct bytes *ret_group)
{
    struct bytes tenant;
    struct bytes queue;
    if (!queue_ref_parse(ref, scratch, &tenant, &queue) || queue.len <= 1 + LIMITER_HASH_LEN ||
        queue.ptr[0] != 0) {
        return false;
    }
    *ret_limiter = bytes_of(queue.ptr + 1, LIMITER_HASH_LEN);
    *ret_group = bytes_of(queue.ptr + 1 + LIMITER_HASH_LEN, queue.len - 1 - LIMITER_HASH_LEN);
    return true;
}

void key_expiry(struct key *key, int64_t expire_ms, struct bytes job_ref)
{
    key_table(key, TABLE_EXPIRY);
    put_time(key, expire_ms);
    put_raw(key, job_ref);
}

bool key_expiry_parse(struct bytes key, int64_t *ret_expire_ms, struct bytes *ret_job_ref)
{
    if (key.len < 9 || key.ptr[0] != TABLE_EXPIRY) {
        return false;
    }
    const struct bytes ref = bytes_of(key.ptr + 9, key.len - 9);
    const uint64_t time = get_u64(key.ptr + 1);
    if (!job_ref_ok(ref) || time > INT64_MAX) {
        return false;
    }
    *ret_expire_ms = (int64_t)time;
    *ret_job_ref = ref;
    return true;
}

void key_meta(struct key *key, enum key_meta what)
{
    key_table(key, TABLE_META);
    put_u8(key, (uint8_t)what);
}

void key_meta_ref(struct key *key, enum key_meta what, struct bytes ref)
{
    key_meta(key, what);
    put_raw(key, ref);
}

void key_low_ready(struct key *key, struct bytes group, uint8_t lane)
{
    key_meta(key, META_LOW_READY);
    put_str(key, group);
    put_u8(key, lane);
}

bool key_after_prefix(struct key *key)
{
    while (key->len != 0 && key->b[key->len - 1] == 0xff) {
        key->len--;
    }
    if (key->len == 0) {
        return false;
    }
    key->b[key->len - 1]++;
    return true;
}

void key_successor(struct key *key)
{
    put_u8(key, 0x00);
}
