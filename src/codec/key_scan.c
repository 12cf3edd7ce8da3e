/* codec/key_scan.c - prefixes and parts of keys; key.c has their layouts. */
#include "codec/key_scan.h"

#include "base/assert.h"

#define STR_END_LEN 2u    /* 00 01 */
#define LINE_LEN 5u       /* floating u8, max u32 */
#define INDEX_HEAD_LEN 9u /* kind u8, inverted time u64 */

/* Bytes of the escaped string that b begins with, its end included; 0 when it does not end. */
static size_t str_len(struct bytes b)
{
    for (size_t i = 0; i + 1 < b.len; i++) {
        if (b.ptr[i] != 0) {
            continue;
        }
        if (b.ptr[i + 1] == 0x01) {
            return i + STR_END_LEN;
        }
        if (b.ptr[i + 1] != 0xff) {
            return 0;
        }
        i++;
    }
    return 0;
}

/* Cuts an escaped string off the front. */
static bool str_cut(struct bytes *b)
{
    const size_t len = str_len(*b);
    *b = bytes_of(b->ptr + len, b->len - len);
    return len != 0;
}

void key_tenant_part(struct key *key, struct bytes tenant)
{
    key_job_ref(key, tenant, BYTES_NONE);
}

void key_tenant_rows(struct key *key, enum key_table table, struct bytes tenant_part)
{
    key_by_ref(key, table, tenant_part);
}

void key_hash_rows(struct key *key, enum key_table table, uint64_t hash)
{
    key_table(key, table);
    for (int shift = 56; shift >= 0; shift -= 8) {
        key->b[key->len++] = (uint8_t)(hash >> shift);
    }
}

void key_index_kind(struct key *key, struct bytes tenant_part, enum key_index kind)
{
    key_tenant_rows(key, TABLE_INDEX, tenant_part);
    key->b[key->len++] = (uint8_t)kind;
}

void key_metadata_value(struct key *key, struct bytes tenant_part, struct bytes name,
                        struct bytes value)
{
    key_metadata(key, tenant_part, name,
                 value); /* the job id stands last: an empty one adds nothing */
}

void key_metadata_start(struct key *key, struct bytes tenant_part, struct bytes name,
                        struct bytes start)
{
    /* A queue reference is a tenant part with one more string: so are these. */
    struct key named;
    struct key whole;
    const size_t len = start.len < KEY_METADATA_INDEXED_MAX ? start.len : KEY_METADATA_INDEXED_MAX;
    key_queue_ref(&named, tenant_part, name);
    key_queue_ref(&whole, key_bytes(&named), bytes_of(start.ptr, len));
    key_by_ref(key, TABLE_METADATA, key_bytes(&whole));
    key->len -= STR_END_LEN;
}

bool key_split(struct bytes key, struct bytes *ret_tenant_part, struct bytes *ret_rest)
{
    const size_t head = 1 + sizeof(uint64_t);
    if (key.len < head) {
        return false;
    }
    const size_t len = str_len(bytes_of(key.ptr + head, key.len - head));
    if (len == 0) {
        return false;
    }
    *ret_tenant_part = bytes_of(key.ptr + 1, head - 1 + len);
    *ret_rest = bytes_of(key.ptr + head + len, key.len - head - len);
    return true;
}

struct bytes key_tenant_name(struct bytes tenant_part, uint8_t *out)
{
    struct bytes tenant;
    struct bytes rest;
    ASSERT(job_ref_parse(tenant_part, out, &tenant, &rest));
    return tenant;
}

bool key_index_parse(struct bytes key, enum key_index *ret_kind, int64_t *ret_time_ms,
                     struct bytes *ret_tenant_part, struct bytes *ret_job_id)
{
    struct bytes tenant_part;
    struct bytes rest;
    if (!key_split(key, &tenant_part, &rest) || rest.len < INDEX_HEAD_LEN ||
        rest.ptr[0] > INDEX_CANCELLED) {
        return false;
    }
    const uint64_t time = ~bytes_be(rest.ptr + 1, sizeof(uint64_t));
    if (time > INT64_MAX) {
        return false;
    }
    *ret_kind = (enum key_index)rest.ptr[0];
    *ret_time_ms = (int64_t)time;
    *ret_tenant_part = tenant_part;
    *ret_job_id = bytes_of(rest.ptr + INDEX_HEAD_LEN, rest.len - INDEX_HEAD_LEN);
    return true;
}

bool key_metadata_parse(struct bytes key, struct bytes *ret_tenant_part, struct bytes *ret_job_id)
{
    struct bytes tenant_part;
    struct bytes rest;
    if (!key_split(key, &tenant_part, &rest) || !str_cut(&rest) || !str_cut(&rest) ||
        rest.len < sizeof(uint64_t)) {
        return false;
    }
    *ret_tenant_part = tenant_part;
    *ret_job_id = bytes_of(rest.ptr + sizeof(uint64_t), rest.len - sizeof(uint64_t));
    return true;
}

bool key_queue_split(struct bytes key, struct bytes *ret_queue_ref, struct bytes *ret_rest)
{
    struct bytes tenant_part;
    struct bytes rest;
    if (!key_split(key, &tenant_part, &rest) || !str_cut(&rest)) {
        return false;
    }
    *ret_queue_ref = bytes_of(key.ptr + 1, key.len - 1 - rest.len);
    *ret_rest = rest;
    return true;
}

bool key_waiter_rest(struct bytes rest, enum dispatch_order order, struct line_id *ret_line,
                     struct place *ret_place)
{
    if (rest.len < LINE_LEN || rest.ptr[0] > 1 ||
        !key_waiter_parse(rest, order, LINE_LEN, ret_place)) {
        return false;
    }
    *ret_line = (struct line_id){.floating = rest.ptr[0] == 1,
                                 .max = (uint32_t)bytes_be(rest.ptr + 1, sizeof(uint32_t))};
    return true;
}
