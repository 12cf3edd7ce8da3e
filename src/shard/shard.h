/*
 * shard/shard.h - the shards of this process and the executors that run them.
 *
 * An executor is one thread that serves many shards; a shard stays on its executor. Requests go in
 * through the executor's bounded mailbox and come back through `done`, which runs on the executor
 * thread and only hands the request over to its own thread. An executor can also be driven by hand
 * (executor_turn), which is how tests and the simulator run it.
 *
 *     shards_new -> shards_start -> shards_stop -> shards_free
 *     each shard, meanwhile: shards_add -> shard_open ... shard_send ... (shard_prepare) ->
 *     shard_close -> shards_remove
 *
 * Shards come and go while requests are on their way, so whoever means one carries its place and
 * generation (struct shard_ref). The executor answers SILO_ROUTED_WRONG when another shard has the
 * place by then, or none.
 *
 * Ownership  `struct shards` owns executors and shards.
 * Threads    shards_add, shards_remove: one, that of the node. shard_send, shard_open,
 *            shard_prepare, shard_close, shard_reset, shard_status: any.
 * Limits     SHARDS_MAX shards; MAILBOX_MESSAGES_MAX requests on the way to one executor;
 *            SHARD_COMMANDS_MAX waiting in one shard; ANSWERS_BYTES_MAX of large values read for
 *            answers that were not taken yet.
 */
#ifndef SILO_SHARD_SHARD_H
#define SILO_SHARD_SHARD_H

#include "base/env.h"
#include "base/list.h"
#include "base/mailbox.h"
#include "base/shard_ref.h"
#include "base/uuid.h"
#include "codec/key.h"
#include "core/command.h"
#include "metrics/source.h"
#include "shard/limiter.h"
#include "store/store.h"

struct shards;
struct shard;
struct executor;
struct shard_notice;

struct shards_options {
    const struct env *env;
    struct store *store;
    uint32_t executors;          /* at least 1 */
    const char *settings_json;   /* engine settings, NULL = defaults */
    struct limiter *limiter;     /* NULL = each shard answers rate limits itself; lent */
    int64_t completed_expire_ms; /* retention of succeeded jobs; 0 = for ever */
    int64_t terminal_expire_ms;  /* of failed and cancelled ones */
    bool by_hand;                /* no threads: the caller runs executor_turn */
    /* What becomes of shards, on an executor's thread: struct shard_notice. May be NULL. */
    void (*told)(void *context, struct shard_notice *notice);
    void *context;
};

/* Where a shard's write-ahead log lies, and how it is paced there. */
struct shard_wal {
    enum store_wal place;
    int64_t flush_spacing_ms; /* minimum time from start to start of its uploads */
    uint32_t objects_max;     /* memtable flush after so many uploads */
    bool local;               /* it lies on a disk of this machine */
};

struct shard_options {
    struct uuid id;
    const char *path;          /* of its database below the store's root */
    enum dispatch_order order; /* must be that of a database that is there */
    struct shard_wal wal;
};

/*
 * FAILED: it is opened again by itself. FENCED: another process opened it, and it is opened here
 * only when told so.
 */
enum shard_status {
    SHARD_CLOSED,
    SHARD_OPENING,
    SHARD_OPEN,
    SHARD_CLOSING,
    SHARD_FAILED,
    SHARD_FENCED
};

/*
 * A shard was opened (OPEN), was lost and is opened again by itself (FAILED), or was lost to
 * another process (FENCED): then it stays closed here, and whoever told it to open decides whether
 * it may be opened again. The receiver frees it.
 */
struct shard_notice {
    struct mail mail;
    struct shard_ref ref;
    enum shard_status status;
};

/*
 * Somebody who wants to know when shards open, fail or are fenced; the status of none of them is
 * told, for it may have changed since. `changed` runs on an executor's thread, one at a time; it
 * only sends word.
 */
struct shards_listener {
    struct list_node node;
    void (*changed)(struct shards_listener *listener);
};

/* What calls to a fenced shard are told. */
#define SHARD_FENCED_TEXT                                                         \
    "shard not here: another process opened it, so this server stays out of it; " \
    "call that one, or stop it and restart this one"

/* What travels. The sender fills cmd (see core/command.h) and done. */
struct shard_request {
    struct mail mail;
    struct command cmd;
    struct shards *shards; /* set by shard_send, like ref */
    struct shard_ref ref;
    struct shard *shard;   /* the executor's; NULL: the request met none */
    uint64_t answer_bytes; /* the shard's: room the answer holds */
    void (*done)(struct shard_request *request);
};

/* What a shard is closed for. */
enum shard_close_how {
    SHARD_CLOSE_STOP, /* it stays away: calls are told so, and all rows are moved into tables */
    SHARD_CLOSE_MOVE, /* another process opens it next: calls go there, and it is to be soon */
};

/*
 * Answer to shard_open, shard_prepare, shard_close and shard_reset; rc and text are set when done
 * runs (on the executor thread). SILO_CONFLICT from shard_open: another process opened the shard
 * meanwhile; opening again would take it from that one. SILO_ROUTED_WRONG: there is no such shard
 * any more.
 */
struct shard_control {
    struct mail mail;
    int op;
    struct shard_ref ref;
    silo_rc rc;
    char text[STORE_TEXT_MAX];
    void (*done)(struct shard_control *control);
    /*
     * Of shard_open: it takes over from the writer with this epoch alone (0: there is none), and
     * ends in CONFLICT when there is another.
     */
    bool guarded;
    uint64_t expected_epoch;
    /* Of shard_close, the sender's. */
    enum shard_close_how how;
    /*
     * Of shard_close, the answer: whoever opens the shard next finds all of it in tables, and
     * nothing in its log that would have to be replayed.
     */
    bool empty;
};

struct shards *shards_new(const struct shards_options *options);
struct shards *shards_free(struct shards *shards);
/*
 * A closed shard on the executor that has the fewest; at any time. SHARD_REF_NONE: SHARDS_MAX are
 * there, those included that were removed and are not done with.
 */
struct shard_ref shards_add(struct shards *shards, const struct shard_options *options);
/*
 * From now on requests that name it are answered SILO_ROUTED_WRONG. To be closed before: one that
 * was told to open again meanwhile is closed first.
 */
void shards_remove(struct shards *shards, struct shard_ref ref);
SILO_RC shards_start(struct shards *shards, struct silo_err *err);
/*
 * Ends the executor threads; all shards must be closed. A limiter may go after this and before
 * shards_free.
 */
void shards_stop(struct shards *shards);

/* SHARD_CLOSED when there is no such shard any more. */
enum shard_status shard_status(const struct shards *shards, struct shard_ref ref);

/*
 * False when the mailbox is full (answer RESOURCE_EXHAUSTED), never for GIVE_BACK, RENEW and
 * POLL_STOP; the request stays the caller's. Otherwise done runs exactly once, also when the shard
 * is not open (rc UNAVAILABLE, text "shard not ready: acquisition in progress") and when it is gone
 * (rc ROUTED_WRONG, nothing was done; a POLL_STOP is OK then, as its poll has ended).
 */
bool shard_send(struct shards *shards, struct shard_ref ref, struct shard_request *request);

/*
 * Any thread, once for an answered request: its large bytes are freed, or another's to account for.
 */
void shard_answer_taken(struct shard_request *request);

void shard_open(struct shards *shards, struct shard_ref ref, struct shard_control *control);
/*
 * Before a close for a move: moves what the log has into tables, while the shard goes on serving,
 * so that its successor has little to replay. OK: it did. UNAVAILABLE: it could not, or another
 * control came meanwhile, which does not wait for it; closing is as safe as after OK, and slower.
 */
void shard_prepare(struct shards *shards, struct shard_ref ref, struct shard_control *control);
/*
 * Ends the shard here, as control->how says.
 *
 * STOP: parked polls and waits are answered with what is there now, later calls with UNAVAILABLE.
 *
 * MOVE: from here on it takes no more work. What has changed nothing is answered
 * SILO_ROUTED_WRONG at once, be it parked, waiting for reads or still to come; what has changed
 * something becomes durable and is answered as ever; nothing expires and nobody gets a task any
 * more.
 */
void shard_close(struct shards *shards, struct shard_ref ref, struct shard_control *control);
/*
 * Closes, removes all data of the shard, opens it empty. One that fails half-way goes on by itself
 * until it is done.
 */
void shard_reset(struct shards *shards, struct shard_ref ref, struct shard_control *control);
/* Any thread. Whether the storage keeps a shard from taking changes: it is full, or away. */
bool shards_out(struct shards *shards);
/* Any thread. What the executors have counted. */
struct counter_source shards_executor_counters(const struct shards *shards);
/* Any thread. What the shards have counted; one that leaves takes its numbers along. */
struct counter_source shards_counters(const struct shards *shards);
/*
 * Any thread. Strict: what an answer rests on is proved by something that began after the answer
 * was made, and so after its call arrived; for a node whose membership is not confirmed, so that
 * whoever took its shards over has the last word. A member is so from the moment its lease may end,
 * set ahead: a process that stood still for longer answers calls before it hears that it lapsed.
 * from_mono_ms: INT64_MIN at once, INT64_MAX never. Shards whose log lies on this machine's disk
 * are always strict.
 */
void shards_set_strict(struct shards *shards, int64_t from_mono_ms);
/* Any thread. From now on the listener is called; after shards_unlisten it is not. */
void shards_listen(struct shards *shards, struct shards_listener *listener);
void shards_unlisten(struct shards *shards, struct shards_listener *listener);
/* Shutdown begins: every parked poll is answered now, later ones at once. */
void shards_release_polls(struct shards *shards);

/*
 * By hand: runs what is due. Returns the monotonic time of the next timer in us, INT64_MAX when
 * there is none.
 */
int64_t executor_turn(struct executor *executor);
struct executor *shards_executor(struct shards *shards, size_t index);

#endif
