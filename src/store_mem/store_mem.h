/*
 * store_mem/store_mem.h - the storage engine in memory, for tests and simulation: deterministic,
 * with faults. No program that is shipped links it; `backend = "memory"` of the server is the real
 * engine over an object store in memory.
 *
 * It keeps the promises of store.h and no others. A write becomes APPLIED (visible to reads that
 * start later), and durable only by a WAL flush whose turn comes after that. One flush of a
 * database is under way at a time; when its turn comes it fixes what it will make durable. Opening
 * a path takes it over from whoever has it open: that handle goes on applying writes and answering
 * reads of its own state, until a flush or a refresh tells it (SILO_CONFLICT, then STORE_DOWN).
 * What was not durable is not seen by the new handle. Data live as long as the struct store, over
 * closes and crashes.
 *
 * Nothing happens by itself. Calls enqueue operations, and they complete
 *   automatically (default)  in queue_drain: all that are ready, before events are taken;
 *   manual = true            in store_mem_step, one at a time, oldest first.
 * Writes of one database complete in their order, and so do its flushes; reads in the order of the
 * calls unless they are shuffled or have different latencies. A closing database completes what
 * came before first (STORE_CLOSE_DROP: what cannot complete fails). The queue's eventfd is readable
 * while events wait or, automatically, operations are ready.
 *
 * Units      _ms milliseconds of the environment's monotonic clock; a turn is one store_mem_step or
 *            one queue_drain.
 * Ownership  store_ops.free after every queue, iterator and snapshot was freed; databases still
 *            open die with it. A handle stays valid memory until its STORE_CLOSED event is freed,
 *            or if that never comes until the store is freed.
 * Threads    any, as in store.h; one lock per store. Callbacks of store_mem_each_... must not call
 *            the store.
 * Limits     STORE_MEM_..._MAX below.
 */
#ifndef SILO_STORE_MEM_STORE_MEM_H
#define SILO_STORE_MEM_STORE_MEM_H

#include "base/env.h"
#include "store/store.h"

#define STORE_MEM_KEYS_MAX 65536u   /* keys in one mget; more is SILO_INVALID */
#define STORE_MEM_READS_MAX 8192u   /* reads under way on one database, then SILO_EXHAUSTED */
#define STORE_MEM_FLUSHES_MAX 1024u /* flushes under way on one database, then SILO_EXHAUSTED */
#define STORE_MEM_FAULTS_MAX 64u    /* faults armed at a time */
#define STORE_MEM_BYTES_DEFAULT (64u << 20)     /* bytes_max of the open arguments when it is 0 */
#define STORE_MEM_SCAN_BYTES_DEFAULT (1u << 20) /* bytes_max of a scan when it is 0 */

/* What can fail, wait and be counted. */
enum store_mem_kind {
    STORE_MEM_OPEN,
    STORE_MEM_CLOSE,
    STORE_MEM_WRITE,
    STORE_MEM_FLUSH,
    STORE_MEM_MGET,
    STORE_MEM_SCAN, /* scan and iter_next */
    STORE_MEM_REFRESH,
    STORE_MEM_OBJECT, /* the object calls and the self-test */
};
#define STORE_MEM_KINDS 8
#define STORE_MEM_BIT(kind) (1u << (kind))
#define STORE_MEM_ALL ((1u << STORE_MEM_KINDS) - 1)
/* What the real engine cannot do without its object store: all but taking writes into memory. */
#define STORE_MEM_REMOTE (STORE_MEM_ALL & ~STORE_MEM_BIT(STORE_MEM_WRITE))

/*
 * How long an operation takes (a flush: from its turn on): `turns` more turns, and ms_min..ms_max
 * by the clock.
 */
struct store_mem_delay {
    uint32_t turns;
    int64_t ms_min, ms_max;
};

/*
 * What somebody hears of the calls on a store, whichever process makes them. Each may be NULL. They
 * are called by whoever calls the store, who is not held up by them, and may ask the store but in
 * `opened`.
 */
struct store_mem_watch {
    /* Before a database is opened, or refused to be. */
    void (*open)(void *context, const struct store_queue *queue, const char *path, uint64_t token);
    /* Before a batch is taken, or refused. */
    void (*write)(void *context, const struct store_queue *queue, const struct store_db *db,
                  const struct store_buf *bufs, size_t count);
    /* When an opening went well, and nobody knows yet; it must not call the store. */
    void (*opened)(void *context, const struct store_queue *queue, const char *path,
                   uint64_t epoch);
    /* When an event was drained, before its receiver has it. */
    void (*drained)(void *context, const struct store_queue *queue,
                    const struct store_event *event);
    void *context;
};

struct store_mem_options {
    bool manual;
    bool reads_at_start; /* a read sees the state when it was called; default: when it completes */
    bool shuffle;        /* among the operations that are ready, a random one completes next */
    uint64_t seed;       /* of shuffle, delays and crashes */
    const struct env *env; /* its monotonic clock times the delays in ms; NULL = there are none */
    struct store_mem_delay delays[STORE_MEM_KINDS];
    struct store_mem_watch watch;
};

/* NULL options: all defaults. Never fails. */
struct store *store_mem_new(const struct store_mem_options *options);
void store_mem_delay_set(struct store *store, enum store_mem_kind kind,
                         struct store_mem_delay delay);

/* --- progress --- */

/* One turn: completes the next ready operation. False when none was ready. */
bool store_mem_step(struct store *store);
/*
 * Turns until nothing moves but by the clock, the end of an outage or new calls; how many
 * operations completed.
 */
size_t store_mem_settle(struct store *store);
/* Operations called and not completed. */
size_t store_mem_pending(struct store *store);
/*
 * When the clock makes the next operation ready (in the past: one is ready now); INT64_MAX: never.
 */
int64_t store_mem_next_ms(struct store *store);
/*
 * What the engine's manifest poll does: every handle that was fenced and does not know gets its
 * STORE_DOWN.
 */
void store_mem_notice_fences(struct store *store);

/* --- faults --- */

/*
 * The nth call (1 = the next) of the kind, and the times - 1 calls after it, end in an event with
 * this code. With `effect` the operation was done all the same. A failed write or flush leaves its
 * outcome unknown, and the database goes down with the same code; with `effect` what it covered is
 * durable.
 */
struct store_mem_fault {
    enum store_mem_kind kind;
    uint32_t nth, times; /* 0 counts as 1 */
    enum silo_code code;
    bool effect;
};
void store_mem_fail(struct store *store, const struct store_mem_fault *fault);
/* Calls that were hit so far. */
uint64_t store_mem_faults_fired(struct store *store);
void store_mem_faults_clear(struct store *store);

/*
 * Operations of these kinds are accepted and do not end; `text` becomes the store's last error.
 * kinds 0: lifts it.
 */
void store_mem_outage(struct store *store, uint32_t kinds, const char *text);

/*
 * An outage for one process alone, the one that drains the queue: what it asks of the store does
 * not end while it is cut off.
 */
void store_mem_cut(struct store_queue *queue, bool cut);

/*
 * The machine of the process that drains the queue; 0 unless it is said. A database opened with
 * STORE_WAL_APART has its log there, and opens elsewhere only after a close that left nothing
 * (`empty`); else SILO_CORRUPT, and nobody is fenced.
 */
void store_mem_machine(struct store_queue *queue, uint32_t machine);

/*
 * The same of a store that knows: requests fail rather than hang, and are repeated under it. kinds
 * 0 lifts either.
 */
void store_mem_trouble(struct store *store, uint32_t kinds, const char *text);

/* What merges do to a clone in time: it refers to no files of another database any more. */
void store_mem_detach(struct store *store, const char *path);
/*
 * Closes run out of time before they have put anything into sorted files: what they leave is to be
 * replayed.
 */
void store_mem_hurry(struct store *store, bool hurry);

/*
 * What survives a crash of the batches that were applied and not durable; always a prefix of each
 * database's.
 */
enum store_mem_survival { STORE_MEM_LOSE, STORE_MEM_KEEP_SOME, STORE_MEM_KEEP_ALL };
/*
 * The process that drains `queue` (NULL: every process) is gone: its handles die without a word
 * (calls on them are refused, UNAVAILABLE), its operations and events vanish. Reads of snapshots
 * that were lent to other queues vanish with their database. Iterators, snapshots
 * and the queue itself remain the caller's to free.
 */
void store_mem_crash(struct store *store, struct store_queue *queue,
                     enum store_mem_survival survival);

/* --- inspection --- */

struct store_mem_counts {
    uint64_t calls[STORE_MEM_KINDS]; /* accepted */
    uint64_t batches;                /* applied, and what was in them: */
    uint64_t puts[256];              /* by first byte of the key */
    uint64_t deletes[256];
    uint64_t bytes; /* of keys and values */
    uint64_t rows_read;
};
void store_mem_counts(struct store *store, struct store_mem_counts *ret_counts);
void store_mem_counts_reset(struct store *store);

typedef void store_mem_row_fn(void *context, struct bytes key, struct bytes value);
/*
 * All rows of a database in key order: as its newest owner's reads see them; as a crash that loses
 * all leaves them.
 */
void store_mem_each_applied(struct store *store, const char *path, store_mem_row_fn *fn,
                            void *context);
void store_mem_each_durable(struct store *store, const char *path, store_mem_row_fn *fn,
                            void *context);
/* Sequences of the newest owner; 0 for a path never opened. */
uint64_t store_mem_applied_seq(struct store *store, const char *path);
uint64_t store_mem_durable_seq(struct store *store, const char *path);
/* Whether somebody has the path open and was not fenced, as far as the store knows. */
bool store_mem_owned(struct store *store, const char *path);

#endif
