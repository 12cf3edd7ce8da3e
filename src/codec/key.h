/*
 * codec/key.h - the keys of a shard's rows: order-preserving, self-delimiting, one table to a first
 * byte.
 *
 * Strings inside a key end with 00 01 and write a 00 of their own as 00 FF, so byte order is string
 * order and "a" never matches "ab". Integers are fixed-width big-endian; negative times count as 0.
 * Tenant-scoped keys go on with the XXH64 of the tenant (seed 0) and the tenant: a shard split is
 * one key range in each such table.
 *
 * A *job reference* names a job inside a shard: tenant hash, tenant, job id, exactly the bytes that
 * follow the table byte in the job's info, state and lease keys.
 *
 * Threads    no shared state.
 * Limits     KEY_BYTES_MAX; those of base/limits.h keep every key below it.
 */
#ifndef SILO_CODEC_KEY_H
#define SILO_CODEC_KEY_H

#include "base/bytes.h"
#include "base/uuid.h"

/* Tables; each is a segment of the engine, which allows 16. Numbers are stored: never renumber. */
enum key_table {
    TABLE_INFO = 0x01,    /* job ref -> info record */
    TABLE_STATE = 0x02,   /* job ref -> state record */
    TABLE_ATTEMPT = 0x03, /* tenant, job, attempt number -> attempt record */
    TABLE_INDEX = 0x04,   /* tenant, kind, inverted time, job -> nothing */
    /* tenant, name, value (first 512 bytes), hash of the value, job -> nothing */
    TABLE_METADATA = 0x05,
    TABLE_READY = 0x06,  /* group, priority, due, arrival -> task record */
    TABLE_TIMER = 0x07,  /* due, priority, arrival -> task record */
    TABLE_LEASE = 0x08,  /* job ref -> lease record */
    TABLE_WAITER = 0x09, /* queue ref, line, place -> task record: a token that waits for a slot */
    TABLE_HOLDER = 0x0a, /* queue ref, task id -> holder record: a slot that is taken */
    TABLE_QUEUE = 0x0b,  /* queue ref, kind -> queue record (its lines) or floating record */
    TABLE_COUNT = 0x0c,  /* tenant -> counter record */
    TABLE_META = 0x0d,   /* facts of the shard */
    TABLE_BLOB = 0x0e,   /* tenant, job, kind, attempt -> payload or result above BLOB_INLINE_MAX */
    /* tenant, name, unique key (512 bytes each), hash of both -> bucket record */
    TABLE_LIMITER = 0x0f,
    /*
     * time, the row's own name in the form of a job ref -> expiry record: the jobs whose retention
     * is over then; empty, as older builds wrote it: the job that the key names
     */
    TABLE_EXPIRY = 0x10,
};

enum key_meta {
    META_SHARD = 'S',     /* shard record: creation, dispatch order */
    META_ARRIVAL = 'A',   /* first arrival number not reserved yet */
    META_TOTALS = 'T',    /* totals record of the shard */
    META_LOW_READY = 'L', /* group, priority -> low-water mark of a ready lane */
    META_LOW_TIMER = 'M', /* low-water mark of the timers */
    META_GRANT = 'G',     /* queue ref -> nothing: free slots are still to be handed to waiters */
    /* queue ref -> nothing: the floating limit has waiters or a refresh under way */
    META_REFRESH = 'F',
    META_REFRESH_LEASE = 'H', /* task id -> queue ref: the refresh that a worker holds */
    META_DROP = 'D',          /* tenant -> nothing: its holders are being dropped */
    META_THROTTLE = 'R',      /* throttle ref -> nothing: tokens wait for a rate limit there */
    META_LOW_EXPIRY = 'X',    /* no live expiry row stands before this time (number record) */
    META_CLOCK = 'C',         /* the wall clock as of some batch (number record) */
};

enum key_blob { BLOB_PAYLOAD = 'P', BLOB_RESULT = 'R' };

/* Index kinds are ordered and stored. */
enum key_index { INDEX_OPEN = 0, INDEX_SUCCEEDED = 1, INDEX_FAILED = 2, INDEX_CANCELLED = 3 };

/* What follows the queue reference of a TABLE_QUEUE key. */
enum key_queue { QUEUE_LINES = 'C', QUEUE_FLOATING = 'F' };

/*
 * Waiters of one queue stand in lines: one for each maximum they were enqueued with. Those of a
 * floating limit share a line; `max` is then a further bound of the job itself, UINT32_MAX for
 * none.
 */
struct line_id {
    bool floating;
    uint32_t max;
};

#define KEY_BYTES_MAX 9216u
/* What stored rows may hold, so that every key made of it is below KEY_BYTES_MAX. */
#define KEY_NAME_BYTES_MAX 4096u
#define KEY_JOB_REF_BYTES_MAX 4640u   /* the id as it is, the tenant escaped */
#define KEY_QUEUE_REF_BYTES_MAX 8720u /* both escaped */
#define KEY_METADATA_INDEXED_MAX 512u /* the first bytes of a metadata value are in its key */

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
/*
 * Splits a job reference; the tenant is unescaped into scratch (at least ref.len bytes). False for
 * malformed bytes.
 */
bool job_ref_parse(struct bytes ref, uint8_t *scratch, struct bytes *ret_tenant,
                   struct bytes *ret_job_id);
/*
 * Whether a job's reference, or the tenant part of one, from a stored row is one that keys can be
 * made of.
 */
bool job_ref_ok(struct bytes ref);
/* The tenant part (hash and escaped tenant with its end) of a job reference. */
struct bytes job_ref_tenant(struct bytes ref);
/* The rest of it: the job id. */
struct bytes job_ref_job(struct bytes ref);

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

/*
 * A *queue reference* names a concurrency queue inside a shard: tenant part of a job reference,
 * queue name (a string of keys). `tenant_part` is what job_ref_tenant gives.
 */
void key_queue_ref(struct key *key, struct bytes tenant_part, struct bytes queue);
/* The same of a queue's reference. */
bool queue_ref_ok(struct bytes ref);
/* The queue's name, unescaped into scratch (at least ref.len bytes); false for malformed bytes. */
bool queue_ref_parse(struct bytes ref, uint8_t *scratch, struct bytes *ret_tenant,
                     struct bytes *ret_queue);
/* The tenant part of a queue reference is job_ref_tenant(ref), too. */
void key_waiter_line(struct key *key, struct bytes queue_ref, struct line_id line);
void key_waiter(struct key *key, enum dispatch_order order, struct bytes queue_ref,
                struct line_id line, const struct place *place);
/* Of a waiter key below its line's prefix. False for malformed bytes. */
bool key_waiter_parse(struct bytes key, enum dispatch_order order, size_t line_prefix_len,
                      struct place *ret_place);
void key_holder(struct key *key, struct bytes queue_ref, const struct uuid *task_id);
/* Splits a holder key. False for malformed bytes. */
bool key_holder_parse(struct bytes key, struct bytes *ret_queue_ref, struct uuid *ret_task_id);
void key_queue(struct key *key, struct bytes queue_ref, enum key_queue what);

/*
 * A *throttle reference* is the queue reference of a line whose tokens, all of one task group, wait
 * for a rate limit. The queue's name in it is a zero byte, the limiter's hash and the group: a
 * client's queue cannot have a zero in its name.
 */
#define LIMITER_HASH_LEN 16u
void key_throttle_ref(struct key *key, struct bytes tenant_part, struct bytes name,
                      struct bytes unique_key, struct bytes group);
/*
 * Limiter hash and group, in scratch (at least ref.len bytes); false for a queue of clients and for
 * malformed bytes.
 */
bool throttle_ref_parse(struct bytes ref, uint8_t *scratch, struct bytes *ret_limiter,
                        struct bytes *ret_group);

/*
 * META_GRANT, META_REFRESH, META_THROTTLE: with a queue reference; META_REFRESH_LEASE: a task id;
 * META_DROP: a tenant part.
 */
void key_meta_ref(struct key *key, enum key_meta what, struct bytes ref);
void key_limiter(struct key *key, struct bytes tenant_part, struct bytes name,
                 struct bytes unique_key);
void key_expiry(struct key *key, int64_t expire_ms, struct bytes job_ref);
bool key_expiry_parse(struct bytes key, int64_t *ret_expire_ms, struct bytes *ret_job_ref);
void key_table(struct key *key, enum key_table table);

void key_meta(struct key *key, enum key_meta what);
void key_low_ready(struct key *key, struct bytes group, uint8_t lane);

/* The least key greater than every key with this prefix; false when there is none (all FF). */
bool key_after_prefix(struct key *key);
/* The immediate successor: appends a 00. */
void key_successor(struct key *key);

#endif
