/*
 * codec/record.h - the values of a shard's rows.
 *
 * Each value begins with a format version byte; numbers are LEB128 varints (signed ones zig-zag),
 * byte strings carry their length. Decoders check everything, lend from the bytes they read and
 * never allocate; what they refuse is corrupt. A decoded record is only valid as long as its bytes.
 *
 * Threads    no shared state.
 */
#ifndef SILO_CODEC_RECORD_H
#define SILO_CODEC_RECORD_H

#include "codec/field.h"
#include "codec/key.h"

/* Numbers as on the wire (JobStatus, AttemptStatus), so that they are stored as they are sent. */
enum job_status {
    JOB_SCHEDULED = 0,
    JOB_RUNNING = 1,
    JOB_SUCCEEDED = 2,
    JOB_FAILED = 3,
    JOB_CANCELLED = 4
};
enum attempt_status {
    ATTEMPT_RUNNING = 0,
    ATTEMPT_SUCCEEDED = 1,
    ATTEMPT_FAILED = 2,
    ATTEMPT_CANCELLED = 3
};

static inline bool job_status_terminal(enum job_status status)
{
    return status == JOB_SUCCEEDED || status == JOB_FAILED || status == JOB_CANCELLED;
}

/* "Scheduled", "Running", ...: the words of error texts. Static storage. */
const char *job_status_name(enum job_status status);

struct retry_policy {
    uint32_t retry_count;
    int64_t initial_ms, max_ms;
    double factor;
    bool jitter;
};

/* Opaque bytes of a job: inline, or in a blob row of their own. */
struct blob_ref {
    bool is_blob;
    struct bytes inline_bytes; /* when not is_blob */
    uint64_t len,
        hash; /* when is_blob: size and XXH64 (seed 0) of the bytes, to compare without a read */
};

/* What enqueue fixed. */
struct info {
    uint8_t priority;
    bool has_retry;
    struct retry_policy retry;
    struct bytes group;
    int64_t enqueue_ms;         /* the server's clock at enqueue, or as imported */
    int64_t requested_start_ms; /* as asked for; 0 = at once */
    int64_t due_ms;             /* place of the first attempt */
    uint64_t arrival;
    uint32_t metadata_count;
    struct bytes metadata; /* metadata_count pairs, read with pair_next */
    uint32_t limit_count;
    struct bytes limits; /* limit_count encoded Limit messages, read with item_next */
    struct blob_ref payload;
};

/* How an attempt ended. Also the final outcome of a job. */
struct outcome {
    enum attempt_status status; /* never RUNNING when stored */
    int64_t finished_ms;
    struct bytes error_code; /* FAILED */
    struct blob_ref data;    /* SUCCEEDED: the result; FAILED: the error data */
};

/* An attempt that ended. Attempt numbers are in the key. */
struct attempt {
    uint32_t relative;
    struct uuid task_id;
    int64_t started_ms;
    struct outcome outcome;
};

/* The first change after enqueue makes it; a running job's status follows from its lease. */
struct state {
    enum job_status status; /* SCHEDULED or terminal */
    int64_t changed_ms;
    bool has_mark;
    int64_t mark_ms; /* when the job was cancelled */
    /* SCHEDULED: the pending attempt and its place. Otherwise the last pending or the final one. */
    uint32_t attempt, relative;
    bool has_next; /* when the next attempt starts is shown */
    int64_t due_ms;
    uint64_t arrival;
    bool has_outcome; /* terminal: how the job ended */
    bool by_attempt;  /* the outcome is that of attempt `attempt`, whose record stands in `final` */
    struct attempt final;
    /*
     * Version 2, written when it is set. Terminal: when its retention ends, the time in its expiry
     * row; 0 = kept.
     */
    int64_t expire_ms;
};

/*
 * How far a token with limits has come. One task id from its first limit to its lease: its slots
 * are filed under it.
 */
struct chain_rec {
    struct uuid task_id;
    uint32_t passed;       /* limits behind it; the next one is limits[passed] */
    uint32_t rate_retries; /* times that limit, a rate limit, has refused it */
    /* rate limits below this index let it through before it lost a slot again; version 3 */
    uint32_t rates_paid;
    uint32_t limit_count; /* 0 when all are passed: then they are not needed any more */
    struct bytes limits;  /* all of the job's, as in info */
};

/*
 * A token that waits to be due, for a slot, or to be leased. Priority, due time and arrival are in
 * the key.
 */
struct task_rec {
    struct bytes job_ref;
    uint32_t attempt, relative;
    struct bytes group; /* timers and waiters only; ready keys carry it */
    bool has_chain;     /* version 2: a job with limits */
    struct chain_rec chain;
};

struct lease_rec {
    struct uuid task_id;
    struct bytes worker_id;
    uint32_t attempt, relative;
    int64_t started_ms;
    bool has_mark;
    int64_t mark_ms;
    /* What reporting needs of the job, so that it reads nothing. */
    int64_t enqueue_ms;
    uint8_t priority;
    int64_t due_ms;
    uint64_t arrival;
    struct bytes group;
    bool has_retry;
    struct retry_policy retry;
    uint32_t limit_count;
    /* version 2, written when not 0: limits whose slots it holds, from the first */
    uint32_t passed;
};

/* A slot of a queue; queue and task id are in the key. */
struct holder_rec {
    struct bytes job_id;
    int64_t granted_ms;
    uint32_t index; /* of the limit in its job */
};

/* One line of a queue's waiters. */
struct line_rec {
    struct line_id id;
    uint64_t count; /* of waiters */
    bool has_low;
    struct place low; /* no waiter stands before it */
};

enum refresh_phase { REFRESH_NONE = 0, REFRESH_TASK = 1, REFRESH_LEASE = 2 };

/* A floating limit: its value and the work to refresh it. */
struct floating_rec {
    uint32_t value, default_max;
    int64_t interval_ms;
    int64_t refreshed_ms; /* 0 = never */
    uint32_t failures;    /* in a row */
    int64_t retry_ms;     /* after a failure: not before; 0 = none */
    uint32_t metadata_count;
    struct bytes metadata; /* pairs */
    enum refresh_phase phase;
    struct uuid task_id;    /* TASK, LEASE */
    struct bytes group;     /* TASK, LEASE */
    struct bytes worker_id; /* LEASE */
    int64_t since_ms;       /* TASK: made, LEASE: leased */
};

struct counts {
    uint64_t open, succeeded, failed, cancelled; /* jobs */
};

struct shard_rec {
    int64_t created_ms;
    uint8_t dispatch_order;
};

void info_encode(struct buf *buf, const struct info *info);
bool info_decode(struct bytes value, struct info *ret);
void state_encode(struct buf *buf, const struct state *state);
bool state_decode(struct bytes value, struct state *ret);
void attempt_encode(struct buf *buf, const struct attempt *attempt);
bool attempt_decode(struct bytes value, struct attempt *ret);
void task_encode(struct buf *buf, const struct task_rec *task);
bool task_decode(struct bytes value, struct task_rec *ret);
void lease_encode(struct buf *buf, const struct lease_rec *lease);
bool lease_decode(struct bytes value, struct lease_rec *ret);
void holder_encode(struct buf *buf, const struct holder_rec *holder);
bool holder_decode(struct bytes value, struct holder_rec *ret);
void floating_encode(struct buf *buf, const struct floating_rec *floating);
bool floating_decode(struct bytes value, struct floating_rec *ret);
/*
 * A queue record is a head and its lines: line_next after queue_decode, until it says false; *at is
 * then empty if all was read.
 */
void queue_encode_head(struct buf *buf, uint32_t line_count);
void queue_encode_line(struct buf *buf, const struct line_rec *line);
bool queue_decode(struct bytes value, struct bytes *ret_at, uint32_t *ret_line_count);
bool line_next(struct bytes *at, struct line_rec *ret);
void counts_encode(struct buf *buf, const struct counts *counts);
bool counts_decode(struct bytes value, struct counts *ret);
void shard_encode(struct buf *buf, const struct shard_rec *shard);
bool shard_decode(struct bytes value, struct shard_rec *ret);
void number_encode(struct buf *buf, uint64_t number);
bool number_decode(struct bytes value, uint64_t *ret);
/* An expiry row: references of jobs that are to go (item_next). An empty value is not one. */
void expiry_encode(struct buf *buf, struct bytes job_refs);
bool expiry_decode(struct bytes value, struct bytes *ret_job_refs);
/* A low-water mark: no live row of the lane stands before it. */
void low_encode(struct buf *buf, int64_t due_ms, uint8_t priority, uint64_t arrival);
bool low_decode(struct bytes value, int64_t *ret_due_ms, uint8_t *ret_priority,
                uint64_t *ret_arrival);

#endif
