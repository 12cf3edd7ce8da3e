/*
 * query/snapshot.h - one moment of a shard, read by one thread that may wait.
 *
 * Whoever owns the database lends a moment of it to the reader's queue of store events
 * (store_ops.snapshot); it is read and freed here, by a thread of its own, while the database goes
 * on. One for each statement, and soon closed: an open snapshot holds back compaction. Reads return
 * when the answer is there, the deadline has passed (SILO_DEADLINE) or `cancelled` says so
 * (SILO_CANCELLED). A read that was given up goes on in the store; its answer is dropped when it
 * comes. Once the database is closing, reads fail (SILO_UNAVAILABLE).
 *
 * The clock is read once, at open: `now_ms` tells Waiting from Scheduled for the whole statement. A
 * snapshot sees applied batches; what was read may be shown once the batch of its `seq` is durable.
 *
 * Units      _ms milliseconds; deadlines are of the environment's monotonic clock.
 * Ownership  the queue is lent to the reader and must outlive it; what was lent to it is the
 *            snapshot's from snapshot_open on, whatever that answers. What a read returns lives
 *            until read_free.
 * Threads    one: the reader's. It blocks, so never an executor. The reader's queue is drained here
 *            and nowhere else.
 * Limits     SNAPSHOT_KEYS_MAX keys in one multi-get, READ_BYTES_MAX in one page of a scan (and the
 *            row that passes it).
 */
#ifndef SILO_QUERY_SNAPSHOT_H
#define SILO_QUERY_SNAPSHOT_H

#include "base/env.h"
#include "codec/key.h"
#include "store/store.h"

#define SNAPSHOT_WAIT_MS_MAX 60000 /* of one read, when a snapshot has no deadline */
#define SNAPSHOT_KEYS_MAX 1024u
#define READ_BYTES_MAX (1u << 20)

struct snapshot_reader {
    const struct env *env;
    struct store_queue *queue; /* its own */
    uint64_t reads;            /* asked for so far */
};

struct snapshot_options {
    struct store_snap *snap;          /* lent to the reader's queue */
    uint64_t seq;                     /* of it */
    int64_t deadline_mono_ms;         /* 0: SNAPSHOT_WAIT_MS_MAX for each read */
    bool (*cancelled)(void *context); /* asked while waiting; NULL: never */
    void *context;
    /*
     * Tenant hashes of the shard, both included; both 0: all. What lies outside is not seen by
     * reads of all tenants.
     */
    uint64_t hash_first, hash_last;
};

/* Read-only but for the deadline, which may be moved between reads. */
struct snapshot {
    struct snapshot_reader *reader;
    struct snapshot_options options;
    int64_t now_ms;
    enum dispatch_order order; /* of the shard */
    int64_t created_ms;        /* of the shard; 0: not recorded */
    uint64_t rows_scanned, rows_looked_up;
};

SILO_RC snapshot_open(struct snapshot *snapshot, struct snapshot_reader *reader,
                      const struct snapshot_options *options, struct silo_err *err);
void snapshot_close(struct snapshot *snapshot);

/* The answer to one read; rows are taken with store_rows_next. */
struct read {
    struct store_event event;
    struct store_rows rows;
    bool more; /* of a scan: the range was not at its end */
};

/* Looks up `count` keys (1..SNAPSHOT_KEYS_MAX); the rows come in their order. */
SILO_RC snapshot_look_up(struct snapshot *snapshot, const struct bytes *keys, size_t count,
                         struct read *ret_read, struct silo_err *err);
/* The first rows of [lo, hi). */
SILO_RC snapshot_scan(struct snapshot *snapshot, struct bytes lo, struct bytes hi, bool keys_only,
                      uint32_t rows_max, struct read *ret_read, struct silo_err *err);
/* Of a read that succeeded, or of a zeroed one. */
void read_free(struct snapshot *snapshot, struct read *read);

#endif
