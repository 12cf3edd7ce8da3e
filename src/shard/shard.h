/*
 * shard/shard.h - the shards of this process and the executors that run them.
 *
 * An executor is one thread that serves many shards; a shard stays on its executor. Requests go in
 * through the executor's bounded mailbox and come back through `done`, which runs on the executor
 * thread and only hands the request over to its own thread. An executor can also be driven by hand
 * (executor_turn), which is how tests and the simulator run it.
 *
 *     shards_new -> shards_add (each) -> shards_start -> shard_open (each) ... shard_send ... ->
 *     shards_stop -> shards_free
 *
 * Ownership  `struct shards` owns executors and shards; a found shard lives as long as it.
 * Threads    shard_send, shard_open, shard_close, shard_reset, shard_status, shards_find: any
 *            thread.
 * Limits     MAILBOX_MESSAGES_MAX requests on the way to one executor; SHARD_COMMANDS_MAX waiting
 *            in one shard; ANSWERS_BYTES_MAX of large values read for answers that were not taken
 *            yet.
 */
#ifndef SILO_SHARD_SHARD_H
#define SILO_SHARD_SHARD_H

#include "base/env.h"
#include "base/mailbox.h"
#include "base/uuid.h"
#include "codec/key.h"
#include "core/command.h"
#include "shard/limiter.h"
#include "store/store.h"

struct shards;
struct shard;
struct executor;

struct shards_options {
    const struct env *env;
    struct store *store;
    uint32_t executors;          /* at least 1 */
    const char *settings_json;   /* engine settings, NULL = defaults */
    int64_t flush_spacing_ms;    /* minimum time from start to start of WAL uploads */
    uint32_t wal_objects_max;    /* memtable flush after so many WAL uploads */
    enum dispatch_order order;   /* for shards made now */
    struct limiter *limiter;     /* NULL = each shard answers rate limits itself; lent */
    int64_t completed_expire_ms; /* retention of succeeded jobs; 0 = for ever */
    int64_t terminal_expire_ms;  /* of failed and cancelled ones */
    bool by_hand;                /* no threads: the caller runs executor_turn */
};

struct shard_options {
    struct uuid id;
    const char *path;                    /* of its database below the store's root */
    const char *range_start, *range_end; /* tenant hashes, 16 hex digits; "" = unbounded */
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

/* What calls to a fenced shard are told. */
#define SHARD_FENCED_TEXT                                                                        \
    "shard not here: another process opened it, so this server stays out of it; call that one, " \
    "or "                                                                                        \
    "stop it and restart this one"

/* What travels. The sender fills cmd (see core/command.h) and done. */
struct shard_request {
    struct mail mail;
    struct command cmd;
    struct shard *shard;   /* set by shard_send */
    uint64_t answer_bytes; /* the shard's: room the answer holds */
    void (*done)(struct shard_request *request);
};

/*
 * Answer to shard_open, shard_close and shard_reset; rc and text are set when done runs (on the
 * executor thread). SILO_CONFLICT from shard_open: another process opened the shard meanwhile;
 * opening again would take it from that one.
 */
struct shard_control {
    struct mail mail;
    int op;
    struct shard *shard;
    silo_rc rc;
    char text[STORE_TEXT_MAX];
    void (*done)(struct shard_control *control);
};

struct shards *shards_new(const struct shards_options *options);
struct shards *shards_free(struct shards *shards);
/* Before shards_start only. */
struct shard *shards_add(struct shards *shards, const struct shard_options *options);
SILO_RC shards_start(struct shards *shards, struct silo_err *err);
/*
 * Ends the executor threads; all shards must be closed. A limiter may go after this and before
 * shards_free.
 */
void shards_stop(struct shards *shards);

size_t shards_count(const struct shards *shards);
struct shard *shards_at(struct shards *shards, size_t index);
/* NULL when this process has no such shard. */
struct shard *shards_find(struct shards *shards, const struct uuid *id);

const struct uuid *shard_id(const struct shard *shard);
const char *shard_id_text(const struct shard *shard);
const char *shard_range_start(const struct shard *shard);
const char *shard_range_end(const struct shard *shard);
/* Whether the tenant's hash lies in the shard's range. */
bool shard_owns_tenant(const struct shard *shard, struct bytes tenant);
enum shard_status shard_status(const struct shard *shard);

/*
 * False when the mailbox is full (answer RESOURCE_EXHAUSTED), never for GIVE_BACK, RENEW and
 * POLL_STOP; the request stays the caller's. Otherwise done runs exactly once, also when the shard
 * is not open (rc UNAVAILABLE, text "shard not ready: acquisition in progress").
 */
bool shard_send(struct shard *shard, struct shard_request *request);

/*
 * Any thread, once for an answered request: its large bytes are freed, or another's to account for.
 */
void shard_answer_taken(struct shard_request *request);

void shard_open(struct shard *shard, struct shard_control *control);
/* Answers parked polls and waits with what is there now, flushes, closes. */
void shard_close(struct shard *shard, struct shard_control *control);
/*
 * Closes, removes all data of the shard, opens it empty. One that fails half-way goes on by itself
 * until it is done.
 */
void shard_reset(struct shard *shard, struct shard_control *control);
/* Any thread. Whether the storage keeps a shard from taking changes: it is full, or away. */
bool shards_out(struct shards *shards);
/* Shutdown begins: every parked poll is answered now, later ones at once. */
void shards_release_polls(struct shards *shards);

/*
 * By hand: runs what is due. Returns the monotonic time of the next timer in us, INT64_MAX when
 * there is none.
 */
int64_t executor_turn(struct executor *executor);
struct executor *shards_executor(struct shards *shards, size_t index);

#endif
