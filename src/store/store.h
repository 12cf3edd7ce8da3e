/*
 * store/store.h - the interface to the storage engine: ordered rows in one database per shard, and
 * plain objects beside them.
 *
 * Everything is asynchronous: a call is accepted or refused at once, and an accepted call is
 * followed by exactly one event with its token on the queue it names. Two implementations:
 * store_slate.c (SlateDB through the bridge) and store_mem/ (tests and simulation, with faults).
 * Nothing is grouped, paced, retried or flushed by the store itself.
 *
 * Rows       keys are 1..65,535 bytes, ordered bytewise; the first byte is the table. Batches are
 *            atomic and applied in the order of `write`. APPLIED means visible to every read
 *            that starts later. A flush covers every write called before it; FLUSHED carries the
 *            sequence up to which all is durable.
 * Ownership  `write` takes the buffers, whatever it answers. Events own their data until
 *            `event_free`.
 * Threads    calls from any thread; one queue is drained by one thread; one iterator is used by one
 *            caller at a time. A database is its opener's: only the thread that drains its queue
 *            knows how long the handle lives. A snapshot and its iterators are their reader's.
 * Limits     undurable bytes per database (`bytes_max` of the open arguments): more is
 *            SILO_EXHAUSTED.
 */
#ifndef SILO_STORE_STORE_H
#define SILO_STORE_STORE_H

#include "base/bytes.h"
#include "base/rc.h"

struct store;       /* one object store with its settings; process-wide */
struct store_queue; /* where events arrive */
struct store_db;    /* one open database */
struct store_iter;  /* the rest of a scan */
struct store_snap;  /* a read view of one database at one sequence */

enum store_event_kind {
    STORE_OPENED,    /* db, seq, epoch */
    STORE_CLOSED,    /* the handle is dead; what is left behind: `empty` */
    STORE_APPLIED,   /* seq of the batch; rc on failure: the outcome is unknown */
    STORE_FLUSHED,   /* seq: all up to it is durable */
    STORE_ROWS,      /* answer to mget (its keys in the order asked) and scan */
    STORE_REFRESHED, /* the database was still ours, at a moment after the call */
    STORE_DOWN,      /* unsolicited, once, token 0: fenced (SILO_CONFLICT) or failed */
    STORE_OBJECT,    /* answer to the object calls and those named db_: data in `rows.data` */
    STORE_TESTED,    /* answer to selftest */
};

/*
 * Rows as they cross the interface, little-endian and unaligned:
 * u16 key bytes, u16 flags (0), u32 value bytes, key, value. STORE_ABSENT as value size: no such
 * row (mget only).
 */
#define STORE_ABSENT UINT32_MAX

struct store_rows {
    struct bytes data;
    uint32_t count;
};

#define STORE_TEXT_MAX 1024 /* what an operator is to do may follow after two long paths */

struct store_event {
    enum store_event_kind kind;
    silo_rc rc;
    uint64_t token;
    struct store_db *db; /* NULL for what is read of a snapshot */
    uint64_t seq;
    /* STORE_OPENED: the writer epoch it claimed or, on failure, was about to; 0: not so far */
    uint64_t epoch;
    /*
     * STORE_CLOSED: nothing is left to replay. All that was ever written is in sorted files, which
     * the newest manifest names, and that is still this handle's. False when it is not known: after
     * a failure, after STORE_CLOSE_DROP, and when time ran out.
     */
    bool empty;
    struct store_rows rows;
    struct store_iter *iter;   /* STORE_ROWS: there is more; the receiver's to free */
    char text[STORE_TEXT_MAX]; /* what went wrong, when rc is not OK */
    void *owned[3];            /* the implementation's */
};

/* Memory of one batch or part of it; from buf_alloc. */
struct store_buf {
    uint8_t *ptr;
    size_t len, cap;
};

enum store_flush_what { STORE_FLUSH_WAL, STORE_FLUSH_MEMTABLE };

/*
 * What a close does with what was accepted before it. A shard that moves closes with WAL where its
 * log is shared, so that nothing is uploaded twice after a memtable flush that came just before;
 * with MEMTABLE where its log stays behind on this machine. Neither writes anything when there is
 * nothing left to write.
 */
enum store_close_how {
    STORE_CLOSE_DROP, /* what is not durable is lost */
    STORE_CLOSE_WAL,  /* all is durable */
    /*
     * All is in sorted files, too, so that the event is `empty`; but what takes more than half of
     * the time a close may take stays in the write-ahead log, and the event says so.
     */
    STORE_CLOSE_MEMTABLE
};

/* Where a database's write-ahead log lies. */
enum store_wal {
    STORE_WAL_APART,     /* where this store keeps logs; if that is no other place: with the rest */
    STORE_WAL_WITH_DATA, /* with the rest, also when this store has another place for logs */
};

struct store_open_args {
    const char *path;          /* of the database, below the store's root */
    enum store_wal wal;        /* the same at each opening */
    const char *settings_json; /* engine settings to merge over the defaults, NULL = none */
    size_t bytes_max;          /* undurable bytes before `write` refuses */
    /*
     * The opening takes over from this writer and from no other: SILO_CONFLICT, with no epoch, when
     * the newest one is another by now, and then nobody is fenced. 0: there was none.
     */
    bool guarded;
    uint64_t expected_epoch;
};

struct store_scan_args {
    struct bytes lo, hi; /* [lo, hi) */
    bool descending;
    bool keys_only;
    uint32_t rows_max;
    size_t bytes_max;
};

#define STORE_RANGES_MAX 256 /* one for each table */

/*
 * Rows [lo, hi) of one table, that of lo's first byte. An empty hi, or one where the next table
 * begins: to the table's end. lo == hi: none of its rows.
 */
struct store_range {
    struct bytes lo, hi;
};

struct store_clone_args {
    const char *from;                 /* path of the database, below the store's root */
    const char *checkpoint;           /* of it */
    const struct store_range *ranges; /* at most one of a table; other tables are kept whole */
    size_t ranges_count;              /* at most STORE_RANGES_MAX */
};

struct store_ops {
    void (*free)(struct store *store);
    silo_rc (*queue_new)(struct store *store, struct store_queue **ret_queue, struct silo_err *err);
    void (*queue_free)(struct store_queue *queue);
    int (*queue_fd)(struct store_queue *queue);
    size_t (*queue_drain)(struct store_queue *queue, struct store_event *events, size_t max);
    void (*event_free)(struct store_event *event);
    struct store_buf (*buf_alloc)(size_t size);
    void (*buf_free)(struct store_buf buf);

    silo_rc (*open)(struct store *store, struct store_queue *queue,
                    const struct store_open_args *args, uint64_t token, struct silo_err *err);
    silo_rc (*close)(struct store_db *db, enum store_close_how how, uint64_t token,
                     struct silo_err *err);
    silo_rc (*write)(struct store_db *db, struct store_buf *bufs, size_t count, uint32_t ops,
                     uint64_t token, struct silo_err *err);
    silo_rc (*flush)(struct store_db *db, enum store_flush_what what, uint64_t token,
                     struct silo_err *err);
    /*
     * mget and scan read a database, in its newest state, or a snapshot; the other is NULL. What is
     * read of a snapshot is answered on the queue it was lent to.
     */
    silo_rc (*mget)(struct store_db *db, struct store_snap *snap, const struct bytes *keys,
                    size_t count, uint64_t token, struct silo_err *err);
    silo_rc (*scan)(struct store_db *db, struct store_snap *snap,
                    const struct store_scan_args *args, uint64_t token, struct silo_err *err);
    silo_rc (*iter_next)(struct store_iter *iter, uint32_t rows_max, size_t bytes_max,
                         uint64_t token, struct silo_err *err);
    void (*iter_free)(struct store_iter *iter);
    silo_rc (*refresh)(struct store_db *db, uint64_t token, struct silo_err *err);
    /*
     * Lends a moment of the database to whoever drains `queue`: another thread may read it there
     * and free it, without a look at the database or its handle. Its events name no database. Once
     * the database is closing, its reads are refused.
     */
    silo_rc (*snapshot)(struct store_db *db, struct store_queue *queue,
                        struct store_snap **ret_snap, uint64_t *ret_seq, struct silo_err *err);
    void (*snapshot_free)(struct store_snap *snap);
    size_t (*queued_bytes)(struct store_db *db);
    /* The newest error of the object store under it, "" if none; copied. */
    void (*last_error)(struct store *store, char *ret_text, size_t size);
    /*
     * Whether requests to what is under the store fail now, from the first that failed until one
     * like it works. ret_text gets what is wrong, for people ("no space left on device:
     * /var/lib/silo/..."); without trouble what hangs, or "". NULL: the mere question, which costs
     * next to nothing.
     */
    bool (*trouble)(struct store *store, char *ret_text, size_t size);
    /*
     * Engine facts as JSON; figures in Prometheus text with label shard="<label>". malloc'd text,
     * NULL on failure.
     */
    char *(*info_json)(struct store_db *db);
    char *(*metrics_text)(struct store_db *db, const char *label);

    /*
     * Objects beside the databases, names relative to the store's root. INVALID in the event: it is
     * larger than anything that is read at once (bridge: SDBX_OBJECT_BYTES_MAX).
     */
    silo_rc (*object_get)(struct store *store, struct store_queue *queue, const char *name,
                          uint64_t token, struct silo_err *err);
    /* Create if absent: SILO_EXISTS in the event when it is there. */
    silo_rc (*object_put_new)(struct store *store, struct store_queue *queue, const char *name,
                              struct bytes data, uint64_t token, struct silo_err *err);
    /* Names below the prefix, one to a line, sorted. */
    silo_rc (*object_list)(struct store *store, struct store_queue *queue, const char *prefix,
                           uint64_t token, struct silo_err *err);
    /*
     * Of the arguments of an opening only where the database lies. seq of the event: the epoch of
     * the database's newest writer, read afresh; 0 = there is no such database. After SILO_CONFLICT
     * it tells whether there is another writer, one with an epoch above one's own: an object store
     * that lost the answer to a request refuses its repeat, which looks the same.
     */
    silo_rc (*db_epoch)(struct store *store, struct store_queue *queue,
                        const struct store_open_args *args, uint64_t token, struct silo_err *err);
    /*
     * Pins a closed database as its writer left it: the one with args->expected_epoch (guarded must
     * be said), whose close was `empty`. rows.data of the event: the checkpoint's id, a text
     * without an end. SILO_CONFLICT: the newest writer is another. SILO_INVALID: something is left
     * to replay. SILO_NOT_FOUND: there is no such database. It stays until it is dropped, or the
     * database removed.
     */
    silo_rc (*db_checkpoint)(struct store *store, struct store_queue *queue,
                             const struct store_open_args *args, uint64_t token,
                             struct silo_err *err);
    /* SILO_OK, too, when there is none any more. What was cloned from it needs it no longer. */
    silo_rc (*db_checkpoint_drop)(struct store *store, struct store_queue *queue,
                                  const struct store_open_args *args, const char *checkpoint,
                                  uint64_t token, struct silo_err *err);
    /*
     * Makes a database out of a checkpoint's rows in these ranges. No row is copied: it refers to
     * the other's files until its own merges have replaced them, or it is removed. Its first writer
     * comes after the checkpoint's (db_epoch). Safe to repeat until it is opened. SILO_EXISTS:
     * another database is there, or this one was opened. SILO_NOT_FOUND: no such checkpoint.
     */
    silo_rc (*db_clone)(struct store *store, struct store_queue *queue,
                        const struct store_open_args *to, const struct store_clone_args *args,
                        uint64_t token, struct silo_err *err);
    /*
     * Removes all that belongs to a database nobody has open, its WAL too, wherever that lies; with
     * its checkpoints, and what it pins in others if it is a clone. SILO_CONFLICT, and nothing is
     * changed: a clone still refers to its files. Safe to repeat.
     */
    silo_rc (*db_remove)(struct store *store, struct store_queue *queue,
                         const struct store_open_args *args, uint64_t token, struct silo_err *err);
    /* Whether create-if-absent holds on this store; leaves nothing behind. */
    silo_rc (*selftest)(struct store *store, struct store_queue *queue, uint64_t token,
                        struct silo_err *err);
};

/*
 * Every implementation's struct store, store_queue, store_db, store_iter and store_snap begins with
 * this.
 */
struct store_base {
    const struct store_ops *ops;
};

static inline const struct store_ops *store_ops_of(const void *handle)
{
    return ((const struct store_base *)handle)->ops;
}

/* The next row of a packed answer; false at the end. A row that is absent has present = false. */
struct store_row {
    struct bytes key, value;
    bool present;
};
bool store_rows_next(struct store_rows *rows, struct store_row *ret_row);

/* Packing of batches: u8 op (0 put, 1 delete), u8 0, u16 key bytes, u32 value bytes, key, value. */
static inline size_t store_op_size(size_t key_bytes, size_t value_bytes)
{
    return 8 + key_bytes + value_bytes;
}
/* Appends to buf, which must have room for store_op_size bytes. value.ptr NULL with del = true. */
void store_op_pack(struct store_buf *buf, struct bytes key, struct bytes value, bool del);

#endif
