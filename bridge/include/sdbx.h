/*
 * sdbx.h - the C face of the storage engine (SlateDB), and of the object store below it.
 *
 * Mechanism only: nothing is merged, paced, retried or flushed unless the caller asks for it. Every
 * call that may wait takes a 64-bit token and ends in exactly one event on the completion queue;
 * nothing calls back into C. What a caller must know about the engine's own behaviour is said at
 * each call.
 *
 * Calls      a call returns SDBX_OK (accepted: exactly one event with its token follows) or a
 *            negative SDBX_E... (refused: no event follows, buffers handed over stay the caller's).
 *            Calls that end at once say so. A panic inside is caught and becomes SDBX_EINTERNAL.
 * Units      _ms milliseconds, _bytes bytes; sequence numbers are the engine's, rising, 0 = none.
 * Ownership  env, cq, db, snap, iter: opaque, each has its own free (a db: sdbx_close). A struct
 *            sdbx_buf that comes out (event data, err, json, text) belongs to the caller:
 *            sdbx_buf_free. One that goes in belongs to the library from acceptance on. All other
 *            arguments are copied during the call.
 * Threads    every call may come from any thread, except: one thread drains a cq, one call at a
 *            time runs on an iterator, and a free must not race with other calls on the same
 *            handle. Threads of the library block all signals. Never fork without exec after
 *            sdbx_env_new.
 * Limits     keys 1..65,535 bytes; values up to 4 GiB - 2; SDBX_..._MAX below.
 */
#ifndef SDBX_H
#define SDBX_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SDBX_ABI_VERSION 5u

#define SDBX_KEY_BYTES_MAX 65535u
#define SDBX_MGET_KEYS_MAX 65536u         /* keys in one sdbx_mget */
#define SDBX_OBJECT_BYTES_MAX (64u << 20) /* of an object that is read with sdbx_obj_get */
/* reads under way on one database; one more is SDBX_EAGAIN */
#define SDBX_READS_MAX 8192u
/* flushes under way on one database; one more is SDBX_EAGAIN */
#define SDBX_FLUSHES_MAX 1024u
#define SDBX_QUEUED_BYTES_DEFAULT 67108864u /* max_queued_bytes when 0 is given */
#define SDBX_LOG_LINES_MAX 4096u            /* engine log lines kept for sdbx_log_drain */
#define SDBX_VALUE_ABSENT 0xffffffffu       /* vlen of an mget row whose key is not there */

/* How a call or an event says how it went. */
enum sdbx_status {
    SDBX_OK = 0,
    SDBX_EAGAIN = -1,    /* a queue or byte budget is full; nothing happened */
    SDBX_EINVAL = -2,    /* can never work as sent; nothing happened */
    SDBX_ENOTFOUND = -3, /* no such object */
    SDBX_EFENCED = -4,   /* somebody else opened this database; this handle is dead */
    SDBX_ECLOSED = -5,   /* the handle is closed or failed */
    SDBX_EUNAVAIL = -6,  /* the object store failed or timed out */
    SDBX_EDATA = -7,     /* stored bytes fail a check */
    SDBX_ECONFLICT = -8, /* lost a race */
    SDBX_EINTERNAL = -9, /* a bug or a panic in the library */
    SDBX_EEXIST = -10,   /* create-if-absent: it is there already */
};

enum sdbx_event_kind {
    /* status; db and seq = newest durable sequence on success, data = error text else */
    SDBX_EV_OPENED = 1,
    /* status of the closing flush; the handle is dead whatever it is. Last event of a db */
    SDBX_EV_CLOSED,
    SDBX_EV_APPLIED,      /* seq of the batch: readable now, durable once sdbx_durable_seq >= seq */
    SDBX_EV_WRITE_FAILED, /* status, data = text; outcome unknown unless status is SDBX_EINVAL */
    /* status; seq = newest durable sequence after it, data = error text on failure */
    SDBX_EV_FLUSHED,
    SDBX_EV_VALUE, /* status (SDBX_ENOTFOUND when absent); data = the value, or error text */
    /* status; data = nrows packed rows, or error text; iter and flags on SDBX_ROWS_MORE */
    SDBX_EV_ROWS,
    /* status (SDBX_EFENCED: not the owner any more); seq = newest durable sequence */
    SDBX_EV_REFRESHED,
    /* unsolicited (token = the open token), at most once: status, data = reason */
    SDBX_EV_DB_DOWN,
    /* end of an sdbx_obj_... or sdbx_store_selftest call: status, data, nrows */
    SDBX_EV_OBJECT,
};

/* flag of SDBX_EV_ROWS: more rows follow; iter goes on, and must be freed */
#define SDBX_ROWS_MORE 1u

/*
 * flag of SDBX_EV_CLOSED: nothing is left to replay. All that was ever written is in sorted files,
 * which the newest manifest names, and that is still of this handle's epoch. Without it that is not
 * so, or not known.
 */
#define SDBX_CLOSED_EMPTY 1u

/* flags of SDBX_EV_OBJECT: which call it answers. */
enum sdbx_object_call {
    SDBX_OBJECT_GET = 1,
    SDBX_OBJECT_PUT_NEW,
    SDBX_OBJECT_LIST,
    SDBX_OBJECT_SELFTEST,
    SDBX_OBJECT_EPOCH,
    SDBX_OBJECT_REMOVE_DB,
    SDBX_OBJECT_CHECKPOINT,
    SDBX_OBJECT_CHECKPOINT_DROP,
    SDBX_OBJECT_CLONE,
};

/*
 * Memory of the library. p is NULL when cap is 0. Do not change p or cap; len may shrink or grow up
 * to cap.
 */
struct sdbx_buf {
    uint8_t *p;
    size_t len;
    size_t cap;
};

struct sdbx_env;
struct sdbx_cq;
struct sdbx_db;
struct sdbx_snap;
struct sdbx_iter;

struct sdbx_event {
    uint32_t kind; /* enum sdbx_event_kind */
    int32_t status;
    uint64_t token;
    /* the database it is about; NULL for SDBX_EV_OBJECT, a failed open and reads of a snapshot */
    struct sdbx_db *db;
    uint64_t db_tag; /* the tag of its open, of a failed one too; 0 for reads of a snapshot */
    struct sdbx_iter *iter;
    uint64_t iter_tag; /* SDBX_EV_ROWS of a scan or sdbx_iter_next: the tag of the scan */
    uint64_t seq;
    uint32_t nrows;
    uint32_t flags;
    /*
     * SDBX_EV_OPENED: the writer epoch this open claimed, or was about to; 0: it did not get so far
     */
    uint64_t epoch;
    struct sdbx_buf data;
};

/*
 * One engine log line. level: 1 error, 2 warn, 3 info, 4 debug, 5 trace. text: "target: message".
 */
struct sdbx_log_line {
    uint32_t level;
    uint32_t reserved;
    int64_t time_ms; /* since the Unix epoch */
    struct sdbx_buf text;
};

uint32_t sdbx_abi_version(void);       /* SDBX_ABI_VERSION of the library linked */
const char *sdbx_strerror(int status); /* static text, never NULL */
const char *sdbx_engine_version(void); /* static text: the engine's version */

/* ---- memory ---- */

/* len 0, cap >= what was asked; p NULL when it cannot be had */
struct sdbx_buf sdbx_buf_alloc(size_t cap);
void sdbx_buf_free(struct sdbx_buf buf); /* an empty buf is fine */

/* ---- environment: threads, caches, log; one per process ---- */

/*
 * json: object, all keys optional; unknown keys are refused.
 *   io_threads 2, bg_threads 1 (compaction, collection; batch work), cache_bytes 268435456
 *   (blocks), meta_bytes 134217728 (indexes and filters), log_level
 *   "off|error|warn|info|debug|trace" ("warn").
 * Ends at once. On failure *err holds a text.
 */
int sdbx_env_new(const char *json, size_t json_len, struct sdbx_env **ret_env,
                 struct sdbx_buf *err);

/*
 * After every database was closed and every cq freed. Stops the threads; waits at most 5 s for
 * them.
 */
void sdbx_env_free(struct sdbx_env *env);

/*
 * Takes up to max log lines, oldest first; returns how many. The ring keeps SDBX_LOG_LINES_MAX
 * lines and drops the oldest; *ret_lost (may be NULL) is how many were dropped since the last
 * drain. One ring per process.
 */
size_t sdbx_log_drain(struct sdbx_env *env, struct sdbx_log_line *ret_lines, size_t max,
                      uint64_t *ret_lost);

/* ---- completion queue ---- */

int sdbx_cq_new(struct sdbx_env *env, struct sdbx_cq **ret_cq);

/*
 * After every database bound to it was closed; what is left in it is freed with it. Reads of
 * snapshots lent to it may be under way: their answers are dropped.
 */
void sdbx_cq_free(struct sdbx_cq *cq);

/*
 * An eventfd for poll/epoll/libuv: readable when events wait. Do not read it; sdbx_cq_drain clears
 * it.
 */
int sdbx_cq_fd(const struct sdbx_cq *cq);

/* Never waits. Returns how many events were taken; call again while it returns max. */
size_t sdbx_cq_drain(struct sdbx_cq *cq, struct sdbx_event *ret_events, size_t max);

/*
 * Waits until an event is there or timeout_ms is over; then like sdbx_cq_drain. For tests and
 * tools.
 */
size_t sdbx_cq_wait(struct sdbx_cq *cq, struct sdbx_event *ret_events, size_t max,
                    uint32_t timeout_ms);

/* ---- opening and closing a database ---- */

#define SDBX_STORE_FSYNC 1u /* file:// only: file and directory are synced before a write counts */
/* file:// only: the WAL of a database is a log, not an object for each flush (below) */
#define SDBX_STORE_LOG 2u

/*
 * An object store. url: file:///dir, memory:///name, s3://bucket/path, gs://bucket/path,
 * http(s)://... (S3 path style). Databases with the same memory:///name root share one store for
 * the life of the process. opts_json: object or NULL. Keys of the store (aws_endpoint, aws_region,
 * aws_allow_http, ...; values are strings, numbers or booleans), over the process environment
 * (AWS_..., GOOGLE_...), and our own:
 *   latency_read_ms, latency_write_ms   wait before each read or write (tests and benchmarks).
 * An unknown key is an error that names it.
 */
struct sdbx_store_args {
    const char *url;
    const char *opts_json;
    uint32_t flags; /* SDBX_STORE_... */
    uint32_t reserved;
};

/*
 * store.url and path are joined to the place of the database. wal.url NULL: the WAL lies with the
 * rest. SDBX_STORE_LOG in the flags of the WAL's store (wal, else store) keeps the WAL in files of
 * 16 MiB below path/log that records are appended to: a flush is one write and one sync. For disks
 *    of this machine, not for network
 * file systems; without effect on other stores and with latency_write_ms. A WAL that was kept the
 * other way is taken over by the open, and whoever has it open that way is fenced. The object
 * path/log-home names the log, and newer ones below path/log-homes do where the log has a store of
 * its own, so that a database whose log has nothing to replay opens with another one. A log that is
 * damaged, missing or another database's: SDBX_EDATA, with a text that says where, what is at
 * stake, and how to go on.
 * The first byte of each key is its segment (own sorted runs, so churn in one does not rewrite
 * another). settings_json: object or NULL; merged deep over our base over the engine's defaults. An
 * unknown key is an error that names its place and the nearest known key. The engine's own flush
 * ticker is off in our base. max_queued_bytes: bytes of writes accepted and not yet durable; 0 =
 * SDBX_QUEUED_BYTES_DEFAULT. A single larger write is accepted when nothing else is queued. tag
 * comes back in every event of the database.
 */
struct sdbx_open_args {
    struct sdbx_store_args store;
    struct sdbx_store_args wal;
    const char *path;
    const char *settings_json;
    uint64_t max_queued_bytes;
    uint64_t tag;
    uint32_t flags; /* SDBX_OPEN_... */
    uint32_t reserved;
    uint64_t expected_epoch; /* with SDBX_OPEN_GUARDED */
};

/*
 * The open takes over from the writer with expected_epoch alone (0: nobody has written yet): when
 * the newest one is another, SDBX_EFENCED, and nobody is fenced.
 */
#define SDBX_OPEN_GUARDED 1u

/*
 * -> SDBX_EV_OPENED. Creates the database if it is not there; takes it over from whoever has it
 * open (that one is fenced). While the store is unreachable it tries for ever: sdbx_open_cancel and
 * sdbx_store_error.
 */
int sdbx_open(struct sdbx_env *env, struct sdbx_cq *cq, const struct sdbx_open_args *args,
              uint64_t token);

/*
 * Ends an open under way early: its SDBX_EV_OPENED comes with SDBX_ECLOSED, unless it was quicker.
 */
int sdbx_open_cancel(struct sdbx_cq *cq, uint64_t token);

enum sdbx_flush_what {
    SDBX_FLUSH_NONE = 0, /* sdbx_close only: what is not durable is lost */
    SDBX_FLUSH_WAL = 1,
    SDBX_FLUSH_MEMTABLE = 2, /* shorter next open: nothing to replay */
};

/*
 * -> SDBX_EV_CLOSED. Writes accepted before are applied first, calls after it get SDBX_ECLOSED.
 * Calls under way end with their events before SDBX_EV_CLOSED. timeout_ms 0 = wait for ever;
 * after it the handle is given up (SDBX_EUNAVAIL) and what was not durable may be lost or may
 * still arrive. A memtable flush that takes more than half of it is left to the next open: the
 * WAL is durable then, and the event lacks SDBX_CLOSED_EMPTY. Free snapshots and iterators before
 * or after; they keep memory only.
 */
int sdbx_close(struct sdbx_db *db, int flush_what, uint32_t timeout_ms, uint64_t token);

/*
 * Lets go of a handle that was opened and not closed, when its cq was freed already: no event, no
 * flush. The engine goes on until sdbx_env_free. For an end in a hurry; sdbx_close is the way.
 */
void sdbx_db_abandon(struct sdbx_db *db);

/* ---- writes ---- */

/*
 * -> SDBX_EV_APPLIED or SDBX_EV_WRITE_FAILED. One atomic batch of nops packed operations, in one or
 * more buffers; an operation lies wholly in one of them:
 *   u8 op (0 put, 1 delete), u8 0, u16 klen, u32 vlen (0 for delete), key, value     (little
 *   endian, packed)
 * The last operation on a key wins. Batches are applied strictly in the order of the calls. Checked
 * before it is accepted. The memory of the buffers becomes the engine's without a copy.
 * Applied is not durable: that takes sdbx_flush. The engine writes the WAL by itself only when its
 * buffer has l0_sst_size_bytes.
 */
int sdbx_write(struct sdbx_db *db, const struct sdbx_buf *bufs, size_t bufs_count, uint32_t nops,
               uint64_t token);

/*
 * -> SDBX_EV_FLUSHED. WAL: every write accepted before the call, and everything applied when its
 * turn comes, is durable afterwards; turns are in call order
 * and one WAL upload is in flight at a time, so queueing one behind another loses no wake-up and
 * costs nothing when there is nothing left to write. MEMTABLE: also moves what is in memory to
 * sorted files (the next open replays less); it does not hold up WAL flushes.
 */
int sdbx_flush(struct sdbx_db *db, int what, uint64_t token);

uint64_t sdbx_applied_seq(const struct sdbx_db *db); /* ends at once; one atomic load */
uint64_t sdbx_durable_seq(const struct sdbx_db *db); /* ends at once; one atomic load */
/* ends at once; accepted and not yet durable */
uint64_t sdbx_queued_bytes(const struct sdbx_db *db);

/*
 * -> SDBX_EV_REFRESHED. Proves that this handle still owned the database at a moment after the
 * call: by the newest manifest or, where all of the database lies on this machine's disk, by its
 * log's directory, in which whoever takes over marks this writer before it serves.
 */
int sdbx_refresh(struct sdbx_db *db, uint64_t token);

/* ---- reads ---- */

#define SDBX_READ_DURABLE 1u   /* only what is durable; default: everything applied */
#define SDBX_SCAN_DESC 2u      /* from hi downwards */
#define SDBX_SCAN_KEYS_ONLY 4u /* values come back empty */
#define SDBX_SCAN_CACHE 8u     /* keep the blocks read in the cache */

/*
 * Pins a moment for reads. Ends at once. Keep it short: it holds back compaction. *ret_seq may be
 * NULL. Reads of the snapshot, and of iterators over it, are answered on `cq`, by events that name
 * no database; so whoever is lent it needs neither the handle of the database nor its queue. After
 * sdbx_close its reads get SDBX_ECLOSED.
 */
int sdbx_snapshot(struct sdbx_db *db, struct sdbx_cq *cq, struct sdbx_snap **ret_snap,
                  uint64_t *ret_seq);
void sdbx_snapshot_free(struct sdbx_snap *snap); /* before sdbx_env_free */

/*
 * Reads take a database, for its newest state, or a snapshot; the other is NULL. Packed rows:
 *   u16 klen, u16 flags (0), u32 vlen, key, value                                   (little endian,
 *   packed)
 */

/* -> SDBX_EV_VALUE. */
int sdbx_get(struct sdbx_db *db, struct sdbx_snap *snap, const void *key, size_t key_len,
             uint32_t flags, uint64_t token);

/*
 * -> SDBX_EV_ROWS with nkeys rows in the order of the keys; a key that is not there has vlen
 * SDBX_VALUE_ABSENT. keys: nkeys times u16 klen, key. The look-ups run at the same time; if one
 * fails, all fail.
 */
int sdbx_mget(struct sdbx_db *db, struct sdbx_snap *snap, const void *keys, size_t keys_len,
              uint32_t nkeys, uint32_t flags, uint64_t token);

/*
 * [lo, hi), hi_len 0 = no end. max_rows 0 = no limit but max_bytes; max_bytes 0 = 1 MiB. A page
 * ends with the row that passes max_bytes, so it has at least one. read_ahead_bytes 0 = one block.
 * tag comes back in each event.
 */
struct sdbx_scan_args {
    const void *lo;
    size_t lo_len;
    const void *hi;
    size_t hi_len;
    uint32_t flags;
    uint32_t max_rows;
    uint64_t max_bytes;
    uint64_t read_ahead_bytes;
    uint64_t tag;
};

/*
 * -> SDBX_EV_ROWS. With SDBX_ROWS_MORE iter is set: sdbx_iter_next reads on in the same moment of
 * time.
 */
int sdbx_scan(struct sdbx_db *db, struct sdbx_snap *snap, const struct sdbx_scan_args *args,
              uint64_t token);

/*
 * -> SDBX_EV_ROWS, with the same iter in it while SDBX_ROWS_MORE; without it, or on failure, the
 * iterator is at its end: free it.
 */
int sdbx_iter_next(struct sdbx_iter *iter, uint32_t max_rows, uint64_t max_bytes, uint64_t token);
void sdbx_iter_free(struct sdbx_iter *iter); /* not while a next is under way */

/* ---- what is going on ---- */

/*
 * Ends at once: JSON with sequences, manifest id, files and bytes per segment, checkpoints, queue.
 */
int sdbx_info(struct sdbx_db *db, struct sdbx_buf *ret_json);

/*
 * Ends at once: Prometheus text (names silo_slatedb_...). labels: e.g. shard="a1", put into
 * every sample; NULL or "" for none. HELP and TYPE lines come only with with_types, so that the
 * texts of several databases can be joined; samples of one name are contiguous within one text.
 */
int sdbx_metrics(struct sdbx_db *db, const char *labels, int with_types, struct sdbx_buf *ret_text);

/*
 * The newest error of the database's object store since open, and when it happened (ms since the
 * Unix epoch); a later success does not erase it, but *ret_ok_ms (may be NULL) is the newest
 * success. The engine retries for ever, so this is how an outage gets a name. A request without an
 * answer for 3 s counts as an error while it lasts. SDBX_ENOTFOUND: no error so far. Ends at once.
 */
int sdbx_last_error(struct sdbx_db *db, struct sdbx_buf *ret_text, int64_t *ret_when_ms,
                    int64_t *ret_ok_ms);

/* The same for a store without a database at hand (an open that does not end). */
int sdbx_store_error(struct sdbx_env *env, const struct sdbx_store_args *args,
                     struct sdbx_buf *ret_text, int64_t *ret_when_ms, int64_t *ret_ok_ms);

/*
 * Whether some store of this process may have requests that fail at present: one load, to be asked
 * as often as one likes.
 */
int sdbx_trouble_known(void);

/*
 * SDBX_OK: requests to this store fail now, from the first that failed until one like it works;
 * *ret_text says what is wrong, for people ("no space left on device: /var/lib/silo/...").
 * SDBX_ENOTFOUND: none is known to fail; *ret_text is what hangs for 3 s or longer, or empty. Ends
 * at once.
 */
int sdbx_store_trouble(struct sdbx_env *env, const struct sdbx_store_args *args,
                       struct sdbx_buf *ret_text);

/* ---- databases without opening them; args as for sdbx_open ---- */

/*
 * -> SDBX_EV_OBJECT with seq = the epoch of the newest writer, read afresh; 0: there is no such
 * database. Each open claims the next one. After SDBX_EFENCED it tells whether there is another
 * writer: one with a higher epoch than one's own. A store that did what it was asked and lost the
 * answer refuses the repeat, which looks like a fence and is none.
 */
int sdbx_db_epoch(struct sdbx_env *env, struct sdbx_cq *cq, const struct sdbx_open_args *args,
                  uint64_t token);

/*
 * -> SDBX_EV_OBJECT. Removes all that belongs to the database, wherever it lies: its WAL first
 * (objects and log), then manifests, then the rest; seq = objects removed. Its checkpoints go with
 * it, and what it pinned in others if it is a clone. Nobody may have it open. SDBX_ECONFLICT, and
 * nothing is changed: a clone still refers to its files. Not atomic; safe to repeat.
 */
int sdbx_db_remove(struct sdbx_env *env, struct sdbx_cq *cq, const struct sdbx_open_args *args,
                   uint64_t token);

/*
 * -> SDBX_EV_OBJECT with data = the id of a checkpoint, as text, and seq = its manifest. Pins the
 * database as its writer left it: the one with args->expected_epoch (SDBX_OPEN_GUARDED is a must),
 * which has closed with SDBX_CLOSED_EMPTY. SDBX_EFENCED: the newest writer is another. SDBX_EINVAL:
 * something is left to replay. SDBX_ENOTFOUND: there is no such database. It stays until it is
 * dropped or the database is removed.
 */
int sdbx_db_checkpoint(struct sdbx_env *env, struct sdbx_cq *cq, const struct sdbx_open_args *args,
                       uint64_t token);

/* -> SDBX_EV_OBJECT. Also when there is no such checkpoint, or database, any more. */
int sdbx_db_checkpoint_drop(struct sdbx_env *env, struct sdbx_cq *cq,
                            const struct sdbx_open_args *args, const char *checkpoint,
                            uint64_t token);

/*
 * Rows [lo, hi) of one segment, that of lo's first byte. hi_len 0, or a hi that begins the next
 * segment: to the segment's end. An empty range: none of the segment's rows.
 */
struct sdbx_range {
    const void *lo;
    size_t lo_len;
    const void *hi;
    size_t hi_len;
};

struct sdbx_clone_args {
    const char *from; /* path of the database, in the same store */
    const char *checkpoint;
    const struct sdbx_range *ranges; /* at most one in a segment; others are kept whole */
    size_t ranges_count;             /* at most 256 */
};

/*
 * -> SDBX_EV_OBJECT. Makes the database `to` out of a checkpoint's rows in these ranges. Nothing is
 * copied: it refers to the other's files, which stay until its own merges have replaced them, or it
 * is removed. Its first writer comes after the checkpoint's: its epoch goes on from there. Safe to
 * repeat until `to` is opened. SDBX_EEXIST: another database is there, or this
 * one was opened. SDBX_ENOTFOUND: no such checkpoint or database.
 */
int sdbx_db_clone(struct sdbx_env *env, struct sdbx_cq *cq, const struct sdbx_open_args *to,
                  const struct sdbx_clone_args *args, uint64_t token);

/*
 * For a fuzzer. Reads a log's directory as an open would, in memory. files: one after the other,
 * each the length of its name u8, the length of its content u32 (little endian), name, content.
 * replayed: records up to this one are in sorted files. mends not 0: checksums are put right first.
 * SDBX_OK: it opens. SDBX_EDATA: refused, and it opens once the loss is accepted, or it is another
 * database's. SDBX_EINVAL: not packed so. Anything else is a bug.
 */
int sdbx_log_check(const uint8_t *files, size_t files_len, uint64_t replayed, uint32_t mends);

/* ---- plain objects beside the databases; paths are relative to the store's url ---- */

/* Each -> SDBX_EV_OBJECT on cq. Error text in data on failure. */

/* data = the object's bytes; SDBX_ENOTFOUND; SDBX_EINVAL: larger than SDBX_OBJECT_BYTES_MAX. */
int sdbx_obj_get(struct sdbx_env *env, struct sdbx_cq *cq, const struct sdbx_store_args *store,
                 const char *path, uint64_t token);

/* Creates the object, or SDBX_EEXIST when it is there. data is taken over. */
int sdbx_obj_put_new(struct sdbx_env *env, struct sdbx_cq *cq, const struct sdbx_store_args *store,
                     const char *path, struct sdbx_buf data, uint64_t token);

/*
 * nrows packed rows, sorted: key = path relative to the url, value = u64 size. Whole path parts:
 * "a/b" does not list "a/bc". Empty prefix: everything.
 */
int sdbx_obj_list(struct sdbx_env *env, struct sdbx_cq *cq, const struct sdbx_store_args *store,
                  const char *prefix, uint64_t token);

/*
 * Is this a store the engine can be trusted to? Writes an object below `path`, reads it back, and
 * wants its second create-if-absent refused; then deletes it. SDBX_OK, SDBX_EUNAVAIL or SDBX_EINVAL
 * (unfit), text in data.
 */
int sdbx_store_selftest(struct sdbx_env *env, struct sdbx_cq *cq,
                        const struct sdbx_store_args *store, const char *path, uint64_t token);

#ifdef __cplusplus
}
#endif

#endif
