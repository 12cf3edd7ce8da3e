/*
 * core/pending.h - why a scheduled job does not run: what GetJob is told about where its token
 * waits.
 *
 * One cause is named, the one that keeps the job where it is now; further ones may come behind it.
 * All of it is a view of this moment, from memory: numbers of others (slots taken, places in line)
 * may be of batches that are not durable yet.
 *
 * Units      _ms: Unix time.
 * Ownership  byte strings lie in the arena of the command that asked.
 * Threads    the shard's executor fills it; then whoever has the command.
 * Limits     places are counted among the tasks in memory (LANE_TASKS_MAX a lane); `ahead_more`
 *            says that there are others.
 */
#ifndef SILO_CORE_PENDING_H
#define SILO_CORE_PENDING_H

#include "codec/record.h"

struct command;
struct core;
struct job;

/* Ids of jobs that hold a slot, as many as are shown. */
#define PENDING_HOLDERS_MAX 8u

/* Running jobs looked at for those of one group. */
#define PENDING_LEASES_MAX 1024u

/* Numbers as on the wire (PendingCause). */
enum pending_cause {
    PENDING_NONE = 0,         /* the job is not scheduled */
    PENDING_START = 1,        /* its start lies ahead */
    PENDING_RETRY = 2,        /* its last attempt failed, the next one is not due */
    PENDING_SLOT = 3,         /* in line for a slot of a concurrency limit */
    PENDING_FLOATING = 4,     /* the same, and the limit's value is 0 or nobody refreshes it */
    PENDING_RATE = 5,         /* in line behind a rate limit */
    PENDING_RATE_REFUSED = 6, /* a rate limit refused it, and it is asked again by itself */
    PENDING_BEHIND = 7,       /* ready; others of its group go first */
    PENDING_NO_WORKER = 8,    /* ready, or would ask a limit; nobody polls its group */
    PENDING_WORKERS_BUSY = 9, /* the same; the group's jobs are running, and nobody asks for more */
    PENDING_NEXT = 10,        /* nothing holds it up: it goes to the next worker that asks */
    PENDING_UNKNOWN = 11,     /* its token is nowhere: what is stored of it is damaged */
};

struct job_pending {
    enum pending_cause cause;
    int64_t now_ms;
    int64_t until_ms; /* when time alone changes something; 0: it does not, or nobody knows */
    /* START, RETRY */
    uint32_t attempt, retry; /* retry: 1 for the first after a failure; 0: none */
    /* The limit it stands before; NULL name: none. */
    struct bytes limit, unique_key;
    bool is_rate, asking; /* asking: the rate limiter has been asked and has not answered yet */
    uint32_t maximum, holders; /* of a concurrency limit */
    struct bytes holder_ids[PENDING_HOLDERS_MAX];
    uint32_t holder_id_count;
    uint32_t refusals, errors; /* of a rate limit, in a row */
    /* Those who go first; at least so many with ahead_more. */
    bool has_ahead, ahead_more;
    uint32_t ahead;
    uint64_t in_line; /* all that wait for the same, itself among them; 0: not known */
    /* A floating limit. */
    enum refresh_phase refresh;
    int64_t refreshed_ms; /* 0: never */
    /* The task group that has to poll: the job's, or the one that a refresh is offered to. */
    struct bytes group;
    bool polled;       /* a worker waits, or asked a moment ago (GROUP_POLLED_MS) */
    int64_t polled_ms; /* the last time; 0: not since polls_seen_from_ms */
    int64_t seen_from_ms;
    uint32_t running;  /* jobs of the group, */
    bool running_more; /* at least */
};

/* Of a job that was loaded for the command. False: rows were asked for. */
bool pending_find(struct core *core, struct command *cmd, const struct job *job,
                  struct job_pending *ret);

#endif
