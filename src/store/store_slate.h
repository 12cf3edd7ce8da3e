/*
 * store/store_slate.h - the storage engine proper: SlateDB, through the bridge
 * (bridge/include/sdbx.h).
 *
 * Thin: calls and events are translated, nothing is decided here. The engine's threads and caches
 * belong to the struct store, so a process has one. What the engine does by itself: it writes the
 * WAL when its buffer is full, moves full memtables to sorted files, compacts and collects. It
 * retries an unreachable object store for ever: an outage is silence, and last_error names it.
 *
 * Ownership  store_ops.free after every iterator and snapshot was freed, and best after every
 *            database was closed and every queue freed. What is still open then is let go without a
 *            flush. A database's handle stays valid memory until its STORE_CLOSED event is freed.
 *            A page that fails ends its iterator: iter_next after it is SILO_INVALID.
 * Threads    as in store.h. The engine's own threads block all signals.
 * Limits     those of sdbx.h: SDBX_MGET_KEYS_MAX, SDBX_READS_MAX, SDBX_FLUSHES_MAX; objects of
 *            object_put_new are copied.
 */
#ifndef SILO_STORE_STORE_SLATE_H
#define SILO_STORE_STORE_SLATE_H

#include "base/log.h"
#include "store/store.h"

struct store_slate_options {
    const char *url;       /* file:///dir, memory:///name, s3://bucket/path, gs://bucket/path */
    const char *opts_json; /* of the object store, see struct sdbx_store_args; NULL = none */
    const char *wal_url;   /* a store of its own for the WAL; NULL = with the rest */
    const char *wal_opts_json;
    bool fsync; /* file:// only: files and directories are synced before a write counts */
    bool log; /* file:// only: the WAL is a log that is appended to, not an object for each flush */
    int64_t block_cache_bytes,
        meta_cache_bytes;     /* of the process; 0 = the bridge's defaults, less = none */
    uint32_t io_threads;      /* 0 = the bridge's default */
    enum log_level log_level; /* of the engine's own lines */
    /* a close that takes longer gives up (UNAVAILABLE); 0 = waits for ever */
    uint32_t close_ms_max;
};

/* Starts the engine's threads; nothing of the object store is touched yet. */
SILO_RC store_slate_new(const struct store_slate_options *options, struct store **ret_store,
                        struct silo_err *err);

/*
 * Writes the engine's log lines that came since the last call to our log, as `engine` lines. Call
 * it now and then; the bridge keeps SDBX_LOG_LINES_MAX lines and counts what it drops.
 */
void store_slate_log(struct store *store);

#endif
