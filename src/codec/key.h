/*
 * codec/key.h - the keys of a shard's rows: order-preserving, self-delimiting, one table to a first byte.
 *
 * Strings inside a key end with 00 01 and write a 00 of their own as 00 FF, so byte order is string order and "a" never
 * matches "ab". Integers are fixed-width big-endian; negative times count as 0. Tenant-scoped keys go on with the XXH64
 * of the tenant (seed 0) and the tenant: a shard split is one key range in each such table.
 *
 * A *job reference* names a job inside a shard: tenant hash, tenant, job id, exactly the bytes that follow the table byte
 * in the job's info, state and lease keys.
 *
 * Threads    no shared state.
 * Limits     KEY_BYTES_MAX; the limits of codec/limits.h keep every key below it.
 */
#ifndef SILO_CODEC_KEY_H
#define SILO_CODEC_KEY_H

#include "base/bytes.h"

/* Tables; each is a segment of the engine, which allows 16. Numbers are stored: never renumber. */
enum key_table {
    TABLE_INFO = 0x01,    /* job ref -> info record */
    TABLE_STATE = 0x02,   /* job ref -> state record */
    TABLE_ATTEMPT = 0x03, /* tenant, job, attempt number -> attempt record */
    TABLE_INDEX = 0x04,   /* tenant, kind, inverted time, job -> nothing */
    TABLE_METADATA =
        0x05, /* tenant, name, value (first 512 bytes), hash of the value, job -> nothing */
    TABLE_READY = 0x06, /* group, priority, due, arrival -> task record */
    TABLE_TIMER = 0x07, /* due, priority, arrival -> task record */
    TABLE_LEASE = 0x08, /* job ref -> lease record */
    TABLE_COUNT = 0x0c, /* tenant -> counter record */
    TABLE_META = 0x0d,  /* facts of the shard */
    TABLE_BLOB = 0x0e,  /* tenant, job, kind, attempt -> payload or result above BLOB_INLINE_MAX */
};

enum key_meta {
    META_SHARD = 'S',     /* shard record: creation, dispatch order */
    META_ARRIVAL = 'A',   /* first arrival number not reserved yet */
    META_TOTALS = 'T',    /* totals record of the shard */
    META_LOW_READY = 'L', /* group, priority -> low-water mark of a ready lane */
    META_LOW_TIMER = 'M', /* low-water mark of the timers */
};

enum key_blob { BLOB_PAYLOAD = 'P', BLOB_RESULT = 'R' };

/* Index kinds are ordered and stored. */
enum key_index { INDEX_OPEN = 0, INDEX_SUCCEEDED = 1, INDEX_FAILED = 2, INDEX_CANCELLED = 3 };

#define KEY_BYTES_MAX 9216u

struct key {
    size_t len;
    uint8_t b[KEY_BYTES_MAX];
};

static inline struct bytes key_bytes(const struct key *key)
{
    return bytes_of(key->b, key->len);
}

/* XXH64, seed 0: the hash that routes tenants (part of the wire contract). */
uint64_t tenant_hash(struct bytes tenant);

/* Where a ready row or a timer stands within its lane. */
struct place {
    int64_t due_ms;
    uint64_t arrival;
    uint8_t priority;
};

/* How due tasks are ordered; recorded with the shard. */
enum dispatch_order { ORDER_PRIORITY = 0, ORDER_START = 1 };

void key_job_ref(struct key *key, struct bytes tenant, struct bytes job_id);
/* Splits a job reference; the tenant is unescaped into scratch (at least ref.len bytes). False for malformed bytes. */
bool job_ref_parse(struct bytes ref, uint8_t *scratch, struct bytes *ret_tenant,
                   struct bytes *ret_job_id);
/* The tenant part (hash and escaped tenant with its end) of a job reference. */
struct bytes job_ref_tenant(struct bytes ref);

void key_by_ref(struct key *key, enum key_table table,
                struct bytes job_ref); /* info, state, lease */
void key_attempt(struct key *key, struct bytes job_ref, uint32_t attempt);
void key_index(struct key *key, struct bytes job_ref, enum key_index kind, int64_t time_ms);
void key_metadata(struct key *key, struct bytes job_ref, struct bytes name, struct bytes value);
void key_blob(struct key *key, struct bytes job_ref, enum key_blob kind, uint32_t attempt);
void key_count(struct key *key, struct bytes job_ref);

void key_ready(struct key *key, enum dispatch_order order, struct bytes group,
               const struct place *place);
/* All rows of a lane (ORDER_START: of the group, `priority` is ignored) start with it. */
void key_ready_lane(struct key *key, enum dispatch_order order, struct bytes group,
                    uint8_t priority);
void key_ready_group(struct key *key, struct bytes group);
/* Of a ready key below its group's prefix. False for malformed bytes. */
bool key_ready_parse(struct bytes key, enum dispatch_order order, size_t group_prefix_len,
                     struct place *ret_place);
void key_timer(struct key *key, const struct place *place);
bool key_timer_parse(struct bytes key, struct place *ret_place);
void key_table(struct key *key, enum key_table table);

void key_meta(struct key *key, enum key_meta what);
void key_low_ready(struct key *key, struct bytes group, uint8_t lane);

/* The least key greater than every key with this prefix; false when there is none (all FF). */
bool key_after_prefix(struct key *key);
/* The immediate successor: appends a 00. */
void key_successor(struct key *key);

#endif
