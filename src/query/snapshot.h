/*
 * query/snapshot.h - one moment of a shard, read by one thread that may wait.
 *
 * A reader waits on a queue of store events; snapshots are opened on it, one statement each, and
 * closed soon: an open snapshot holds back compaction. Reads return when the answer is there, the
 * deadline has passed (SILO_DEADLINE) or `cancelled` says so (SILO_CANCELLED). A read that was
 * given up goes on in the store; its answer is dropped when it comes.
 *
 * The clock is read once, at open: `now_ms` tells Waiting from Scheduled for the whole statement. A
 * snapshot sees applied batches; what was read may be shown once the batch of `seq` is durable.
 *
 * Units      _ms milliseconds; deadlines are of the environment's monotonic clock.
 * Ownership  the queue is lent to the reader, the database to the snapshot: both must outlive it.
 *            What a read returns lives until read_free.
 * Threads    one: the reader's. It blocks, so never an executor. The queue is drained here and
 *            nowhere else while a read waits, and it must be where the database's events arrive;
 *            events that are not the reader's own go to `foreign`.
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
    struct store_queue *queue;
    uint64_t reads; /* asked for so far */
    /* Takes an event that is not ours; NULL: such events are freed. */
    void (*foreign)(void *context, struct store_event *event);
    void *context;
};

struct snapshot_options {
    struct store_db *db;
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
    struct store_snap *snap;
    uint64_t seq;
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
