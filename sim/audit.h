/*
 * sim/audit.h - all that must hold between the rows of one shard, checked after every batch.
 *
 * It knows the layout of keys and values (codec/) and the rules, and nothing of the core: what a
 * token must hold, where a waiter must stand and which counter must say what is worked out again
 * from the jobs' own rows.
 *
 *     audit_batch: rows before ──► batch ──► rows after: tokens, holders, lines, counters; what was granted meanwhile
 *
 * Rules are named as in docs/internals/simulation.md.
 *
 * Ownership  an audit owns its rows; its jobs and queues lend from them and are valid until the
 *            next change.
 * Threads    one.
 */
#ifndef SILO_SIM_AUDIT_H
#define SILO_SIM_AUDIT_H

#include "base/arena.h"
#include "base/map.h"
#include "codec/key.h"
#include "codec/record.h"
#include "core/limit.h"
#include "sim/basics.h"
#include "sim/rows.h"

enum token_at { AT_NONE, AT_TIMER, AT_READY, AT_WAITER, AT_LEASE };
const char *token_at_name(enum token_at at);

struct audit_job {
    struct bytes ref, tenant; /* tenant part */
    struct info info;
    bool has_state;
    bool expiry_noted; /* an expiry row that is not too early names it */
    struct state state;
    struct bytes state_row;
    enum token_at where;
    uint32_t tokens;
    struct place place; /* of the pending, running or last attempt */
    uint32_t attempt, relative;
    bool has_chain;
    struct uuid task_id; /* of the chain or the lease */
    uint32_t passed, rate_retries, rates_paid;
    struct lease_rec lease;      /* AT_LEASE */
    const struct limits *limits; /* decoded once for equal bytes */
    enum job_status status;
    bool mark;
    int64_t mark_ms;
    uint32_t history; /* HISTORY_..., what operators did to it */
};

/* The error code of failures whose worker said that no retry helps; no others have it. */
#define AUDIT_CODE_FINAL "FINAL"

/* What operators did to a job explains what the rules otherwise forbid. */
#define HISTORY_IMPORTED 1u
#define HISTORY_RESTARTED 2u
#define HISTORY_EXPEDITED 4u
#define HISTORY_LEASED 8u /* LeaseTask: whatever its start and its limits */

struct audit_line {
    struct line_id id;
    uint64_t waiters, stored; /* counted; as its row says */
    bool has_low;
    struct place low;
};

#define AUDIT_LINES_MAX 16
struct audit_queue {
    struct bytes ref;
    uint32_t holders;
    struct audit_line lines[AUDIT_LINES_MAX];
    size_t line_count;
    bool has_floating, granting, refreshing, throttling; /* rows 'F'; META 'G', 'F', 'R' */
    struct floating_rec floating;
};

/* A lease that the batch at hand takes away: who gives a task back has its slots filed anew. */
struct audit_left {
    struct key job; /* reference */
    struct uuid task_id;
    uint32_t attempt;
};

struct audit_note; /* a job's history */

struct audit {
    enum dispatch_order order;
    int64_t completed_expire_ms, terminal_expire_ms;
    bool wall_fell; /* stamps may be out of order */
    struct rows rows;
    struct audit_job *jobs; /* by reference */
    size_t job_count, job_cap;
    struct audit_queue *queues; /* by reference */
    size_t queue_count, queue_cap;
    size_t refresh_leases;             /* rows that find one */
    struct map limits, notes, dropped; /* interned limits; histories; holders an operator dropped */
    struct bytes dropping
        [4]; /* tenant parts whose holders an operator may be dropping; owned by the caller */
    size_t dropping_count;
    struct audit_left *left; /* of the batch at hand */
    size_t left_count, left_cap;
    struct verdict *verdict;
};

void audit_init(struct audit *audit, enum dispatch_order order, struct verdict *verdict);
void audit_deinit(struct audit *audit);
/* Takes over the rows of a database, and checks them. */
bool audit_load(struct audit *audit, struct store *store, const char *path, bool durable);
/* Copies what explains rows: histories and dropped holders. */
void audit_history(struct audit *audit, struct bytes job_ref, uint32_t what);
void audit_history_copy(struct audit *audit, const struct audit *from);
/* A batch is written: checks what it does and what it leaves. */
bool audit_batch(struct audit *audit, struct bytes batch);

const struct audit_job *audit_find(const struct audit *audit, struct bytes ref);
const struct audit_queue *audit_queue_find(const struct audit *audit, struct bytes ref);
/* The recorded attempt with this task id, wherever its record stands. */
bool audit_attempt(const struct audit *audit, const struct audit_job *job,
                   const struct uuid *task_id, struct attempt *ret);
/* Attempt number n, when it has ended. */
bool audit_attempt_number(const struct audit *audit, const struct audit_job *job, uint32_t n,
                          struct attempt *ret);
/* Attempts that GetJob shows. */
uint32_t audit_attempts(const struct audit_job *job);
/* The attempt failed, and its worker said that no retry helps. */
bool audit_final(const struct attempt *attempt);
/* Whether p stands before q in the shard's order. */
bool audit_before(const struct audit *audit, const struct place *p, const struct place *q);
/* The greatest number of holders that a waiter of this line admits. */
uint64_t audit_capacity(const struct audit_queue *queue, struct line_id line);

/*
 * Nothing is on its way and nothing was disturbed: what must be done by then. now_ms: wall clock.
 */
bool audit_rest(struct audit *audit, int64_t now_ms);
/* All jobs are at their end. */
bool audit_drained(struct audit *audit);
/* All jobs were deleted. */
bool audit_empty(struct audit *audit);

/* Tokens and queues, for people. */
void audit_dump(const struct audit *audit, struct trace *trace);

/* --- what its files share --- */

/* printf("%.*s") arguments: the job's id. */
#define JOB_FMT(job) \
    (int)((job)->ref.len - (job)->tenant.len), (const char *)(job)->ref.ptr + (job)->tenant.len

#define RULE(audit, cond, rule, ...)                                  \
    do {                                                              \
        if (!(cond)) {                                                \
            return verdict_fail((audit)->verdict, rule, __VA_ARGS__); \
        }                                                             \
    } while (0)

struct audit_tally {
    size_t attempts, metadata, blobs, holders;
};

int audit_place_order(const struct place *p, const struct place *q); /* due, priority, arrival */
struct bytes audit_group_of(struct bytes ready_key);
bool audit_low_ready(struct audit *audit, const struct stored_row *row, const struct place *place);
bool audit_low_timer(struct audit *audit, const struct place *place);
bool audit_job_check(struct audit *audit, const struct audit_job *job, struct audit_tally *tally);
bool audit_counters(struct audit *audit);

/* The id that the job's task had before it was given back in this batch; NULL: it was not. */
const struct uuid *audit_given_back(const struct audit *audit, const struct audit_job *job);

/* audit_limits.c */
const struct limits *audit_limits(struct audit *audit, struct bytes raw, uint32_t count);
void audit_limits_free(struct audit *audit);
/* An operator dropped this holder row. */
void audit_dropped(struct audit *audit, struct bytes holder_key);
struct audit_queue *audit_queue_get(struct audit *audit, struct bytes ref);
bool audit_chain(struct audit *audit, const struct audit_job *job, const struct task_rec *rec);
bool audit_waiter(struct audit *audit, const struct audit_job *job, const struct stored_row *row);
bool audit_holders(struct audit *audit, const struct audit_job *job, struct audit_tally *tally);
bool audit_queue_row(struct audit *audit, const struct stored_row *row);
bool audit_queues(struct audit *audit);
/*
 * Remembers which holders the batch adds and drops; then, with the new rows, whether they were
 * right.
 */
struct audit_grants;
struct audit_grants *audit_grants_begin(struct audit *audit, struct bytes batch);
bool audit_grants_end(struct audit *audit, struct audit_grants *grants);

#endif
