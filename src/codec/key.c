/*
 * codec/key.c - building and reading keys.
 *
 *   info, state, lease   table | hash u64 | tenant str | job id raw
 *   attempt              table | hash u64 | tenant str | job str | attempt u32
 *   index                table | hash u64 | tenant str | kind u8 | ~time u64 | job raw
 *   metadata             table | hash u64 | tenant str | name str | value str (cut) | value hash u64 | job raw
 *   ready                table | group str | priority u8 | due u64 | arrival u64      (order "priority")
 *                        table | group str | due u64 | priority u8 | arrival u64      (order "start")
 *   timer                table | due u64 | priority u8 | arrival u64
 *   count                table | hash u64 | tenant str
 *   blob                 table | hash u64 | tenant str | job str | kind u8 | attempt u32
 *   meta                 table | what u8 [| group str | lane u8]
 *
 * A change of any of these layouts needs a new table number; the golden test pins the bytes.
 */
#include "codec/key.h"

#include <xxhash.h>

#include "base/assert.h"

#define KEY_METADATA_VALUE_MAX 512u

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

static void put_time(struct key *key, int64_t ms)
{
    put_u64(key, ms > 0 ? (uint64_t)ms : 0);
}

static uint64_t get_u64(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++) {
        v = v << 8 | p[i];
    }
    return v;
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

struct bytes job_ref_tenant(struct bytes ref)
{
    const size_t len = ref_tenant_len(ref);
    ASSERT(len != 0);
    return bytes_of(ref.ptr, len);
}

static struct bytes ref_job(struct bytes ref)
{
    const size_t len = job_ref_tenant(ref).len;
    return bytes_of(ref.ptr + len, ref.len - len);
}

bool job_ref_parse(struct bytes ref, uint8_t *scratch, struct bytes *ret_tenant,
                   struct bytes *ret_job_id)
{
    const size_t len = ref_tenant_len(ref);
    if (len == 0) {
        return false;
    }
    size_t out = 0;
    for (size_t i = 8; i < len - 2; i++) {
        scratch[out++] = ref.ptr[i];
        if (ref.ptr[i] == 0) {
            i++;
        }
    }
    *ret_tenant = bytes_of(scratch, out);
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
    put_str(key, ref_job(job_ref));
    put_u32(key, attempt);
}

void key_index(struct key *key, struct bytes job_ref, enum key_index kind, int64_t time_ms)
{
    key_tenant(key, TABLE_INDEX, job_ref);
    put_u8(key, (uint8_t)kind);
    put_u64(key, ~(time_ms > 0 ? (uint64_t)time_ms : 0));
    put_raw(key, ref_job(job_ref));
}

void key_metadata(struct key *key, struct bytes job_ref, struct bytes name, struct bytes value)
{
    key_tenant(key, TABLE_METADATA, job_ref);
    put_str(key, name);
    put_str(key, bytes_of(value.ptr,
                          value.len < KEY_METADATA_VALUE_MAX ? value.len : KEY_METADATA_VALUE_MAX));
    put_u64(key, XXH64(value.ptr, value.len, 0));
    put_raw(key, ref_job(job_ref));
}

void key_blob(struct key *key, struct bytes job_ref, enum key_blob kind, uint32_t attempt)
{
    key_tenant(key, TABLE_BLOB, job_ref);
    put_str(key, ref_job(job_ref));
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
    key_ready_lane(key, order, group, place->priority);
    put_time(key, place->due_ms);
    if (order == ORDER_START) {
        put_u8(key, place->priority);
    }
    put_u64(key, place->arrival);
}

bool key_ready_parse(struct bytes key, enum dispatch_order order, size_t group_prefix_len,
                     struct place *ret_place)
{
    if (key.len != group_prefix_len + 17) {
        return false;
    }
    const uint8_t *p = key.ptr + group_prefix_len;
    const bool by_priority = order == ORDER_PRIORITY;
    *ret_place = (struct place){
        .priority = by_priority ? p[0] : p[8],
        .due_ms = (int64_t)get_u64(by_priority ? p + 1 : p),
        .arrival = get_u64(p + 9),
    };
    return true;
}

void key_timer(struct key *key, const struct place *place)
{
    key_table(key, TABLE_TIMER);
    put_time(key, place->due_ms);
    put_u8(key, place->priority);
    put_u64(key, place->arrival);
}

bool key_timer_parse(struct bytes key, struct place *ret_place)
{
    if (key.len != 18) {
        return false;
    }
    *ret_place = (struct place){.due_ms = (int64_t)get_u64(key.ptr + 1),
                                .priority = key.ptr[9],
                                .arrival = get_u64(key.ptr + 10)};
    return true;
}

void key_meta(struct key *key, enum key_meta what)
{
    key_table(key, TABLE_META);
    put_u8(key, (uint8_t)what);
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
