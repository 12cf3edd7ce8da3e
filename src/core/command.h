/*
 * core/command.h - what can be asked of a shard, and how it answers: one struct that travels from
 * the service to the shard's executor and back.
 *
 * The sender fills `kind`, `arena`, `job_ref` and the arguments; the shard fills `rc`, `error` and
 * the result. What the arguments lend must live until the command is back; what the result holds
 * lies in the command's arena.
 *
 * Answers leave when what they saw is durable. `rc` with SILO_UNAVAILABLE means: outcome unknown,
 * or not tried.
 *
 * Units      _ms: milliseconds; wall clock for stamps and starts.
 * Ownership  the sender's, but only the shard may look at it between sending and the answer.
 * Threads    one at a time, as above.
 */
#ifndef SILO_CORE_COMMAND_H
#define SILO_CORE_COMMAND_H

#include "base/arena.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/rc.h"
#include "codec/record.h"
#include "core/pending.h"

/* Error codes that a shard gives to attempts by itself. */
#define ERROR_WORKER_CRASHED "WORKER_CRASHED"
/* What is stored of the job cannot be read or makes no sense. */
#define ERROR_JOB_UNREADABLE "JOB_UNREADABLE"

enum command_kind {
    CMD_ENQUEUE,
    CMD_GET_JOB,
    CMD_GET_RESULT,
    CMD_CANCEL_JOB,
    CMD_DELETE_JOB,
    CMD_RESTART_JOB,
    CMD_EXPEDITE_JOB,
    CMD_LEASE_JOB,
    CMD_IMPORT_JOB,
    CMD_ANY_RUNNING,
    CMD_DROP_HOLDERS,
    CMD_POLL,
    CMD_POLL_STOP,
    CMD_GIVE_BACK,
    CMD_RETURN_TASK,
    CMD_RENEW,
    CMD_HEARTBEAT,
    CMD_AWAIT_CANCELS,
    CMD_REPORT,
    CMD_REPORT_REFRESH,
    CMD_TOTALS,
    CMD_LEND, /* a moment of the database; the shard answers it, the core never sees it */
    /* Made by the core itself. */
    CMD_GRANT,   /* hands free slots of a queue to its waiters */
    CMD_LOCATE,  /* finds out where a token waits that holds slots */
    CMD_CHECK,   /* asks the built-in limiter */
    CMD_CHECKED, /* a limiter has answered */
    CMD_ORPHAN,  /* a token whose job is not there */
    CMD_EXPIRE,  /* a job's retention is over */
    CMD_REDATE,  /* its retry was stamped by a clock that was ahead */
    COMMAND_KINDS
};

/*
 * A new job. `info` comes without enqueue_ms, due_ms, arrival and payload, which the core fills;
 * its metadata pairs are sorted by name, so that equal jobs have equal bytes.
 */
struct enqueue_args {
    struct info info;
    const struct limit_rec *limits; /* info.limit_count of them: what info.limits says, plain */
    struct bytes payload;
    bool id_is_fresh;     /* made by the server: no check for a namesake */
    bool return_existing; /* a repeat of the same job succeeds */
};

/* An attempt that was made elsewhere. Its number is its place in the list, from 1. */
struct import_attempt {
    enum attempt_status status; /* SUCCEEDED, FAILED or CANCELLED */
    int64_t started_ms, finished_ms;
    struct bytes error_code; /* FAILED */
    struct bytes data;       /* SUCCEEDED: result; FAILED: error data */
};

/*
 * A job with its history. A job that exists is imported again: only `attempts` and the retry policy
 * count. `info` as for enqueue, but with enqueue_ms (<= 0: now); requested_start_ms <= 0: now.
 */
struct import_args {
    struct info info;
    const struct limit_rec *limits; /* as for enqueue */
    struct bytes payload;
    const struct import_attempt *attempts;
    size_t attempt_count;
};

/* Leases this job, whatever its start and its limits. */
struct lease_job_args {
    struct bytes worker_id;
};

/* Whether one of these jobs is running now; reads nothing. */
struct any_running_args {
    const struct bytes *job_refs;
    size_t count;
};

struct get_args {
    bool include_attempts, omit_payload, omit_results; /* CMD_GET_JOB */
    uint32_t wait_ms; /* CMD_GET_RESULT: wait so long for the end; 0 = answer at once */
};

/*
 * A worker asks for tasks of a group. With wait_ms it parks until one is there. A poll parked on
 * several shards shares `claim`: the shard whose claim returns true fills it, the others answer it
 * empty. claim may be NULL.
 */
struct poll_args {
    struct bytes group, worker_id;
    uint32_t tasks_max;
    uint32_t wait_ms;
    /* room in the reply: no task is taken beyond it; 0: a whole message, which any one task fits */
    size_t bytes_max;
    bool (*claim)(void *context);
    void *claim_context;
};

/*
 * Ends a parked poll with what it has; no effect on one that is done. The answer to `poll` comes
 * first.
 */
struct poll_stop_args {
    struct command *poll;
};

/*
 * Undoes leases whose worker left before it could hear of them: same attempt numbers, same places.
 * With `unreadable` (static text: what is wrong with what is stored of them) no worker ever can:
 * their jobs end.
 */
struct give_back_args {
    const struct uuid *task_ids;
    size_t count;
    const char *unreadable;
};

/* The tasks reach their worker only now: the terms of their leases begin anew. */
struct renew_args {
    const struct uuid *task_ids;
    size_t count;
};

/* Undoes one lease whose worker has not begun its task, and says so. */
struct return_task_args {
    bool has_task_id; /* false: the id was no UUID, so no lease has it */
    struct uuid task_id;
    struct bytes worker_id;
};

struct heartbeat_args {
    bool has_task_id; /* false: the id was no UUID, so no lease has it */
    struct uuid task_id;
    struct bytes worker_id;
};

/* Which running jobs of this worker were cancelled. With wait_ms it parks until one is. */
struct await_args {
    struct bytes worker_id;
    const struct uuid *known; /* tasks that are not told again, in the order of their bytes */
    size_t known_count;
    uint32_t wait_ms;
};

struct report_args {
    bool has_task_id;
    struct uuid task_id;
    enum attempt_status status; /* SUCCEEDED, FAILED or CANCELLED */
    struct bytes error_code;    /* FAILED */
    struct bytes data;          /* SUCCEEDED: result; FAILED: error data */
    bool final;                 /* no retry follows, whatever the policy says */
};

struct report_refresh_args {
    bool has_task_id;
    struct uuid task_id;
    bool success;
    uint32_t value; /* success: the new maximum */
};

/* A job as CMD_GET_JOB and CMD_GET_RESULT see it. */
struct job_view {
    struct info info;
    bool has_state;
    struct state state;
    bool running; /* then the lease's: */
    uint32_t lease_attempt, lease_relative;
    struct uuid lease_task_id;
    int64_t lease_started_ms;
    enum job_status status;
    bool lease_marked; /* running: it was asked to cancel, at */
    int64_t lease_mark_ms;
    struct job_pending pending; /* SCHEDULED; CMD_GET_JOB */
    struct bytes payload;       /* inline or from its own row; CMD_GET_JOB */
    struct bytes data;          /* of the final outcome */
    /* With include_attempts: all that were recorded, ascending; `number` counts from 1. */
    struct job_view_attempt {
        uint32_t number;
        struct attempt attempt;
        struct bytes data;
    } * attempts;
    size_t attempt_count;
};

struct leased_task {
    struct uuid task_id;
    struct bytes tenant, job_id;
    uint32_t attempt, relative;
    struct info info;
    struct bytes payload;
};

/* Wanted: the present maximum of a floating limit. */
struct refresh_task {
    struct uuid task_id;
    struct bytes tenant, queue;
    uint32_t value;       /* as of now */
    int64_t refreshed_ms; /* 0: never */
    uint32_t metadata_count;
    struct bytes metadata; /* pairs, read with pair_next */
};

/* A task that was leased and will not be delivered. */
struct undelivered_task {
    struct uuid task_id;
    struct bytes tenant, job_id;
    const char *unreadable; /* NULL: it goes back; else its job ends for this reason */
};

struct poll_result {
    struct leased_task *tasks;
    size_t count;
    struct undelivered_task *undelivered; /* the shard deals with them; of no use to the sender */
    size_t undelivered_count;
    struct refresh_task *refreshes; /* do not count toward tasks_max */
    size_t refresh_count;
    int64_t leased_mono_ms; /* the shard's own: when their terms began */
    int64_t age_ms;         /* of the terms when the answer left the shard */
};

/* CMD_IMPORT_JOB */
struct import_result {
    enum job_status status;
};

struct heartbeat_result {
    bool cancelled;
    int64_t cancelled_ms;
};

struct cancelled_task {
    struct uuid task_id;
    int64_t cancelled_ms;
};

struct await_result {
    struct cancelled_task *tasks;
    size_t count; /* at most CANCELS_TOLD_MAX */
};

struct any_running_result {
    bool running;
    size_t index; /* of the first that runs */
};

struct totals_result {
    struct counts counts;
    int64_t created_ms;
};

struct store_queue;
struct store_snap;

/* CMD_LEND */
struct lend_args {
    struct store_queue *queue; /* of the thread that will read */
};

struct lend_result {
    struct store_snap *snap; /* the sender's, when rc is OK */
    uint64_t seq;
};

/*
 * What the server asks of itself: it follows from commands that were taken before, and is never
 * refused for their number.
 */
bool command_is_own(enum command_kind kind);
/*
 * Such a command keeps or ends work that is running: a crowd of others must not shut it out, or
 * work would be lost.
 */
bool command_keeps_work(enum command_kind kind);
/* Such a command exists to change rows. Of those a sender can send. */
bool command_changes(enum command_kind kind);

/* As it was before it was sent: one that came back with nothing done may be sent again. */
void command_rewind(struct command *cmd);

/*
 * A row the answer needs that is read after it became durable (attempts, payloads and results of
 * their own).
 */
struct command_want {
    struct bytes key;
    uint64_t len; /* of its value, as far as it is known; 0: small */
    bool present;
    enum silo_code failed; /* not SILO_OK: it could not be read; CORRUPT: nor will it ever be */
    struct bytes value;    /* in the arena */
};

#define COMMAND_WANT_ROUNDS_MAX 3

struct command {
    enum command_kind kind;
    struct arena *arena;
    /* the *_JOB commands, ENQUEUE, GET_*; DROP_HOLDERS: of any job of the tenant; codec/key.h */
    struct bytes job_ref;
    union {
        struct enqueue_args enqueue;
        struct get_args get;
        struct poll_args poll;
        struct poll_stop_args poll_stop;
        struct give_back_args give_back;
        struct return_task_args return_task;
        struct renew_args renew;
        struct heartbeat_args heartbeat;
        struct await_args await;
        struct report_args report;
        struct report_refresh_args report_refresh;
        struct lease_job_args lease_job;
        struct import_args import;
        struct any_running_args any_running;
        struct lend_args lend;
        struct inner_args *inner; /* the core's own commands */
    } args;

    /* The answer. */
    silo_rc rc;
    const char *error; /* text when rc is not OK; static or in the arena */
    union {
        struct job_view job;
        struct poll_result poll; /* POLL; LEASE_JOB: one task */
        struct heartbeat_result heartbeat;
        struct await_result await;
        struct totals_result totals;
        struct import_result import;
        struct any_running_result any_running;
        struct lend_result lent;
        uint64_t dropped; /* DROP_HOLDERS */
    } result;

    /* The shard's own; the sender leaves it zero. */
    uint8_t seed[16];            /* random, drawn once; ids of this command come from it */
    uint64_t wait_batch;         /* the answer leaves when this batch is durable */
    bool changes;                /* rows were written for it */
    uint32_t rounds;             /* times it asked for reads */
    int64_t deadline_mono_ms;    /* parked polls and waits */
    struct heap_node deadline;   /* in the core's heap of parked commands */
    struct list_node node;       /* wherever it waits */
    struct list reads;           /* rows pinned for it */
    int64_t begun_mono_ms;       /* its first run since it was sent, or was parked */
    uint32_t reads_open;         /* of them, not there yet */
    bool read_failed;            /* one of them could not be read */
    bool internal;               /* made by the core itself */
    struct poll *parked;         /* core/poll.c */
    struct job_watch *watch;     /* core/watch.c */
    struct worker_marks *awaits; /* core/marks.c */
    struct command_want *wants;
    size_t want_count;
    size_t want_at;    /* the first one not read yet */
    size_t want_alone; /* up to here they are read one by one */
    uint32_t want_rounds;
    bool want_gone; /* a wanted row was not there: is the job itself? */
};

#endif
