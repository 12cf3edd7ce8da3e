/*
 * shard/shard_int.h - what the files of shard/ share.
 *
 *   shards.c     the set: places, executors, what is sent to shards
 *   executor.c   the thread: mailboxes, store events, turns
 *   visits.c     which shards a turn visits
 *   life.c       opening, closing, failing; controls
 *   prepare.c    before a move: the log's rows into tables
 *   reopen.c     what follows a failure: is it still ours, opening again; the data of a reset
 *   listen.c     who wants to know what becomes of shards
 *   commit.c     the open batch, writes, flushes, parked replies
 *   reads.c      the core's reads
 *   wants.c      the rows an answer wants
 *   lend.c       a moment of the database for another thread
 *   undelivered.c  tasks whose poll failed, while the shard is not open
 *   checks.c     rate limits asked outside
 *   growth.c     a line now and then about what is kept
 *   counted.c    counters, and who reads them
 *   proof.c      whether the shard is still ours, leases meanwhile
 *   outage.c     the storage is full, or away
 *
 * An *incarnation* is one opening of a shard: its core, its database and all that is on its way.
 * When it fails it is dropped whole and another is opened; events of a dropped one only release
 * memory.
 *
 * Units      _ms: Unix time; _mono_ms: a clock that never steps.
 * Ownership  the set owns executors and places; a shard is freed when nothing of it is on its way.
 * Threads    an executor and its shards are its own thread's, but for mailboxes and atomics; places
 *            are the node's thread's, but for their atomics.
 */
#ifndef SILO_SHARD_SHARD_INT_H
#define SILO_SHARD_SHARD_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/burst.h"
#include "base/heap.h"
#include "base/limits.h"
#include "base/map.h"
#include "base/steady.h"
#include "core/core.h"
#include "metrics/published.h"
#include "shard/shard.h"

enum control_op {
    CONTROL_OPEN,
    CONTROL_PREPARE,
    CONTROL_CLOSE,
    CONTROL_RESET,
    CONTROL_ADD,
    CONTROL_REMOVE
};

enum op_kind {
    OP_OPEN,
    OP_CLOSE,
    OP_WRITE,
    OP_FLUSH_WAL,
    OP_FLUSH_MEMTABLE,
    OP_READ,
    OP_WANTS,
    OP_REFRESH,
    OP_WIPE,
    OP_ASK
};

/* A store call on its way; its address is the token. */
struct op {
    struct list_node node; /* in the incarnation */
    enum op_kind kind;
    struct incarnation *inc;
    uint64_t batch; /* WRITE: its batch; FLUSH_WAL: newest batch applied when it was asked for */
    int64_t start_mono_ms;
    struct core_read *read; /* READ */
    struct command *cmd;    /* WANTS: its wants up to want_end; NULL: it was given up */
    size_t want_end;
};

struct batch {
    struct list_node node;
    uint64_t number, seq;
    int64_t start_mono_us; /* when it was written */
    bool applied;
    size_t bytes;
    struct list replies; /* command.node */
};

/* A preparation: wants a memtable flush, and has one on its way that began after it. */
enum prepare { PREPARE_NONE, PREPARE_WANTED, PREPARE_FLUSHING };

enum inc_phase { INC_OPENING, INC_LOADING, INC_OPEN, INC_DRAINING, INC_CLOSING, INC_DEAD };

struct incarnation {
    struct list_node dead;    /* in the executor, when INC_DEAD */
    struct map_node database; /* in the executor, by db, while that is open */
    struct shard *shard;
    enum inc_phase phase;
    struct core *core;
    struct store_db *db;
    struct list ops;

    struct list batches; /* sealed and not durable, oldest first */
    struct list open_replies;
    uint32_t writes;       /* on their way */
    uint32_t flushes;      /* WAL flushes on their way */
    uint64_t flush_covers; /* newest batch applied when the last flush was asked for */
    int64_t flush_start_mono_ms;
    size_t undurable_bytes;
    uint32_t wal_objects; /* since the last memtable flush */
    size_t wal_bytes;
    int64_t memtable_mono_ms;
    bool memtable_flushing;
    enum prepare prepare; /* prepare.c */
    uint32_t prepare_rounds;

    int64_t progress_mono_ms; /* last time the store got on with our work */
    bool outage, unwritten;  /* outage.c: changes are refused; and their batch waits for too long */
    int64_t unread_mono_ms;  /* when the next call that waits for reads does so for too long */
    int64_t proof_mono_ms;   /* the shard was ours then */
    int64_t refresh_mono_ms; /* last refresh asked for */
    bool refreshing, leases_held;
    struct list checks;   /* rate limits asked outside: struct flight.node */
    struct list unproved; /* answers that wait for a refresh to begin; command.node */
    struct list proving;  /* answers that wait for the one under way */
    int64_t drain_until_mono_ms;
};

struct shard {
    struct shards *shards;
    struct executor *executor;
    struct shard_ref ref;
    char id_text[UUID_TEXT_LEN + 1];
    char *path;
    enum shard_status status;
    enum dispatch_order order;
    struct shard_wal wal;
    struct list_node owned;             /* in the executor; in its `leaving` once it was removed */
    struct list_node work;              /* in the executor, when it is to be visited */
    struct heap_node next;              /* in the executor, when it is to be visited later */
    struct shard_control coming, going; /* from shards_add, shards_remove */
    bool gone;                          /* its place is not its own any more */
    uint32_t incs;                      /* incarnations that are not freed, the current included */
    uint64_t visits;                    /* turns of it, for tests */
    struct incarnation *inc;
    struct shard_control *control; /* the one being served */
    bool moved;                    /* closed for a move, or about to be; until it opens again */
    bool wiped;                    /* a reset has removed the data and opens the shard again */
    struct mail *waiting;          /* later ones, oldest first */
    bool reopen;                   /* it failed and is opened again by itself */
    int64_t reopen_mono_ms;
    uint32_t reopen_tries;
    struct uuid *undelivered; /* leased perhaps, in storage; their workers do not know of them */
    size_t undelivered_count;
    uint64_t epoch; /* that our newest opening claimed; 0: none since the data was made */
    bool claimed;   /* for certain: one that failed may have claimed it or not */
    bool guarded;   /* it is opened only as the successor of this writer: */
    uint64_t expected_epoch;
    bool doubt;            /* the open being served was fenced: is there another process? */
    bool asking;           /* for the epoch of the newest writer */
    bool wipe_due, wiping; /* data of a reset is still to be removed; the store is at it */
    uint64_t ask_number;   /* of the opening that a question is about */
    struct op wipe, ask;
    struct burst opened_lines, closed_lines, failed_lines, unknown_lines, unreadable_lines;
    bool out;                 /* an outage of the storage, as counted by the process */
    bool away;                /* it failed, and was not open since, because its storage was away */
    int64_t unopened_mono_ms; /* since when it should be open; INT64_MAX: it is, or should not */
    int64_t cause_mono_ms;
    char cause[OUTAGE_CAUSE_MAX]; /* of the outage, or of the failure */
    struct shard_counters counted;
    struct published *published; /* at its place */
};

/* Jobs in the open shards of an executor, and how many were forgotten since it runs. */
struct growth {
    uint64_t shards, expired;
    struct counts counts;
};

struct executor {
    struct shards *shards;
    const struct env *env;
    struct store_queue *queue;
    struct mailbox requests, controls, verdicts;
    int wake_fd;
    pthread_t thread;
    bool running;
    atomic_bool stop;          /* set by shards_stop, read by the thread after a wake */
    atomic_bool release_polls; /* set once at shutdown */
    bool released;
    struct list owned;         /* struct shard.owned */
    struct list leaving;       /* likewise: removed, and events of theirs may still come */
    struct shard **by_slot;    /* its shards by their places; NULL: none of its own */
    struct list work;          /* struct shard.work: to be visited in this turn */
    struct heap times;         /* struct shard.next: when to visit it at the latest, by mono_ms */
    int64_t planned_offset_ms; /* the least wall time less mono time any of those was found with */
    struct map databases;      /* struct incarnation.database */
    size_t assigned;           /* shards added and not removed; of the node's thread */
    struct list dead;          /* struct incarnation.dead */
    struct steady steady;      /* wall_ms comes from it */
    int64_t wall_ms, mono_ms;
    int64_t next_mono_ms;   /* when the last turn wanted the next one at the latest */
    bool trouble;           /* what the store said when the turn began */
    uint64_t expired;       /* of incarnations that are over */
    int64_t growth_mono_ms; /* the next line about it is not due before; 0: not set */
    struct growth growth_said;
    int64_t awake_mono_ms; /* since it last stood still: what waited then waited for us */
    struct executor_counters counted;
    struct published *published; /* those of its newest turn */
};

/* What the process says about an outage of its shards. */
struct outage {
    pthread_mutex_t lock; /* when a shard's outage begins or ends: guards begin_mono_ms, said */
    atomic_size_t shards; /* that are out */
    int64_t begin_mono_ms;
    struct burst lines;
    bool said;                             /* that it began */
    atomic_uint_fast64_t refused, unknown; /* calls; mere figures, relaxed */
};

/*
 * A place for a shard. What it is used for changes when its shard has gone for good; who has an
 * older generation in hand still finds an executor there to ask.
 */
struct shard_slot {
    /* Relaxed: the ref, which whoever sends a request has from the node, comes later. */
    _Atomic(struct executor *) executor;
    /*
     * Generation and enum shard_status. Written by the node when it adds the shard, then by the
     * executor, relaxed: a reader may be a moment late.
     */
    atomic_uint_fast64_t state;
    /* Set by the node with the shard, cleared by the executor that freed it; pairs with the scan
     * for a free place. */
    atomic_bool taken;
    struct shard *shard; /* of who cleared or set taken last */
    /* What the shard here publishes: made with the first one, kept to the end. */
    _Atomic(struct published *) published;
};

struct shards {
    struct shards_options options;
    struct executor *executors;
    struct shard_slot *slots; /* SHARDS_MAX */
    uint32_t slot_next;       /* where the search for a free one begins */
    char *settings_json;
    atomic_int_fast64_t strict_mono_ms; /* old proofs count before it; relaxed: as of about now */
    atomic_uint_fast64_t answer_bytes;  /* wanted by answers under way; a mere sum, relaxed */
    struct outage outage;
    pthread_mutex_t listening; /* guards listeners, and is held while they are called */
    struct list listeners;     /* struct shards_listener.node */
};

/* The monotonic time of its executor's turn. */
static inline int64_t shard_mono_ms(const struct shard *shard)
{
    return shard->executor->mono_ms;
}

static inline struct store *shard_store(const struct shard *shard)
{
    return shard->shards->options.store;
}

/* Where its database lies; the rest is life_open's. */
static inline struct store_open_args shard_place(const struct shard *shard)
{
    return (struct store_open_args){.path = shard->path, .wal = shard->wal.place};
}

/* shards.c */
/* While nobody else runs: tests, and who drives executors by hand. */
struct shard *shards_shard(struct shards *shards, struct shard_ref ref);
/* Frees a shard that has gone, and its place. */
void shard_free(struct shard *shard);

/* listen.c */
void listeners_init(struct shards *shards);
void listeners_deinit(struct shards *shards);
/* Something that listeners want to know has happened. */
void listeners_tell(struct shards *shards);

/* visits.c */
/* Something came for the shard: it has a turn in this turn of its executor. */
void shard_visit(struct shard *shard);
/* For what concerns all: a step of the clock, a stall, the end. */
void executor_visit_all(struct executor *executor);
/* Puts those whose time has come among those to visit. */
void visits_due(struct executor *executor);
/* The shard had its turn and wants the next one then. */
void shard_plan(struct shard *shard, int64_t next_mono_ms);
/* When the next shard wants its turn; INT64_MAX: none does. */
int64_t visits_next_mono_ms(const struct executor *executor);
void visits_forget(struct shard *shard);

/* executor.c */
/* Any thread. */
void executor_wake(void *executor);
void request_answer(struct command *cmd);
void request_fail(struct command *cmd, enum silo_code code, const char *text);
struct op *op_begin(struct incarnation *inc, enum op_kind kind);
void op_free(struct op *op);

/* counted.c */
void count_command(struct executor *executor, enum command_kind kind);
void count_call(struct executor *executor, enum op_kind kind);
/* At the end of a turn. */
void executor_publish(struct executor *executor);
/* A shard has this place from now on, and leaves it. */
void shard_count_in(struct shard *shard, struct shard_slot *slot);
void shard_count_out(struct shard *shard);
/* At the end of its turn. */
void shard_publish(struct shard *shard);

/* lend.c */
void lend(struct incarnation *inc, struct command *cmd);
/* The command failed: what it was lent goes back. */
void lend_take_back(struct command *cmd);

/* growth.c */
void growth_turn(struct executor *executor);

/* life.c */
void life_control(struct shard *shard, struct shard_control *control);
void life_opened(struct incarnation *inc, const struct store_event *event);
void life_closed(struct incarnation *inc, const struct store_event *event);
void life_turn(struct shard *shard);
int64_t life_next_mono_ms(const struct shard *shard);
/* code: SILO_CONFLICT when the store says that somebody else opened the database. */
void life_fail(struct incarnation *inc, enum silo_code code, const char *why);
/* Frees the dropped incarnations for which nothing is on its way any more. */
void life_reap(struct executor *executor);
void shard_set_status(struct shard *shard, enum shard_status status);
void life_open(struct shard *shard);
/* Answers the control being served and begins the next one. */
void control_done(struct shard *shard, enum silo_code code, const char *text);

/* prepare.c */
/* Serves the control that asks for it. */
void prepare_begin(struct shard *shard);
void prepare_turn(struct incarnation *inc);
/* A memtable flush has ended well. */
void prepare_flushed(struct incarnation *inc);
/* Another control has come: it does not wait for this one. */
void prepare_give_up(struct shard *shard);

/* reopen.c: shards without an incarnation */
void reopen_later(struct shard *shard);
/* The control that was being served has failed. */
void reopen_control_failed(struct shard *shard, enum silo_code code, const char *why);
/* A control that no shard serves. */
void control_astray(struct shard_control *control);
/* Takes a shard that was added, ends one that was removed. */
void life_add(struct shard *shard);
void life_remove(struct shard *shard);
/* Opens; what a reset left behind goes first. */
void reopen_begin(struct shard *shard);
void reopen_asked(struct shard *shard, const struct store_event *event);
void reopen_turn(struct shard *shard);
int64_t reopen_next_mono_ms(const struct shard *shard);
void reset_remove(struct shard *shard);
void reset_removed(struct shard *shard, enum silo_code code, const char *why);

/* commit.c */
/* An answer leaves at once, or waits for its batch or for a proof of ownership. */
void commit_answer(struct incarnation *inc, struct command *cmd);
/* All answers of the core. */
void commit_answers(struct incarnation *inc);
void commit_turn(struct incarnation *inc);
void commit_written(struct incarnation *inc, const struct op *op, const struct store_event *event);
void commit_flushed(struct incarnation *inc, const struct op *op, const struct store_event *event);
void commit_abandon(struct incarnation *inc);
void commit_flush_memtable(struct incarnation *inc);
/* Answers what waits for batches; they go on. */
void commit_give_up(struct incarnation *inc);
bool commit_idle(const struct incarnation *inc);
int64_t commit_next_mono_ms(const struct incarnation *inc);
/* The command's batch is durable, or it waits for none. */
void commit_release(struct incarnation *inc, struct command *cmd);

/* reads.c */
void reads_turn(struct incarnation *inc);
void reads_done(struct incarnation *inc, struct op *op, struct store_event *event);

/* wants.c */
void wants_start(struct incarnation *inc, struct command *cmd);
/* No answer waits for rows. */
bool wants_idle(const struct incarnation *inc);
void wants_done(struct incarnation *inc, struct op *op, struct store_event *event);

/*
 * undelivered.c: notes tasks to be given back when the shard is open; those of a command that
 * failed though it leased them
 */
void undelivered_note(struct shard *shard, const struct uuid *task_ids, size_t count);
void undelivered_note_failed(struct shard *shard, const struct command *cmd);
void undelivered_resume(struct incarnation *inc);
void undelivered_free(struct shard *shard);

/* checks.c */
void checks_turn(struct incarnation *inc);
/* Takes verdicts from the executor's mailbox. */
void checks_take(struct mail *verdicts);
void checks_forget(struct incarnation *inc);

/* outage.c */
void outage_init(struct shards *shards);
void outage_deinit(struct shards *shards);
/* Asks the store whether it is in trouble. */
void outage_look(struct executor *executor);
void outage_turn(struct shard *shard);
int64_t outage_next_mono_ms(const struct shard *shard);
/* Something became durable, or the first batch goes on its way. */
void outage_progress(struct incarnation *inc);
/* The shard's storage failed. */
void outage_note_failure(struct shard *shard, enum silo_code code, const char *why);
/* Nothing of it was done. */
void outage_refuse(struct shard *shard, struct command *cmd);
/* It waited for the storage, and does so no longer. */
void outage_answer(struct shard *shard, struct command *cmd);

/* proof.c */
void proof_answer(struct incarnation *inc, struct command *cmd);
void proof_gained(struct incarnation *inc, int64_t since_mono_ms);
void proof_refreshed(struct incarnation *inc, const struct op *op, const struct store_event *event);
void proof_turn(struct incarnation *inc);
/* At the end of its turn. */
void proof_seek(struct incarnation *inc);
/* No answer waits for a proof. */
bool proof_idle(const struct incarnation *inc);
/* Those that do end so. */
void proof_abandon(struct incarnation *inc, enum silo_code code, const char *text);
/* The shard goes to another process: what waits for a proof is asked there. */
void proof_leave(struct incarnation *inc);
int64_t proof_next_mono_ms(const struct incarnation *inc);

#endif
