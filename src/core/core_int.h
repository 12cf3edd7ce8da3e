/*
 * core/core_int.h - the core's state, and what its files offer each other.
 *
 *   core.c     commands in, answers out; running, waking, failing
 *   open.c     what is read when a shard opens
 *   token.c    the one function that moves a job's token; walk.c takes it through its limits
 *   queue.c    concurrency queues (queue.h): line.c who waits, slot.c who holds, grant.c who is
 *              next, floating.c, locate.c, drop.c
 *   rate.c     rate limits: checks on demand; throttle.c who waits for them; bucket.c the built-in
 *              limiter's arithmetic
 *   group.c    task groups and the windows over their ready lanes; page.c reads pages into them;
 *              low.c low-water rows
 *   timer.c    future work
 *   lease.c    running work; marks.c the cancelled part of it, and the workers that wait to hear of
 *              it
 *   count.c    counters
 *   pending.c  why a job does not run
 *   enqueue.c job.c report.c give_back.c poll.c watch.c restart.c import.c   the commands
 *   expire.c   retention
 *   redate.c   stamps of a clock that was ahead
 *   retry.c    back-off arithmetic
 */
#ifndef SILO_CORE_CORE_INT_H
#define SILO_CORE_CORE_INT_H

#include "base/limits.h"
#include "base/map.h"
#include "core/bucket.h"
#include "core/core.h"
#include "core/queue.h"
#include "core/throttle.h"

#define LANES_MAX (PRIORITY_MAX + 1)

#define ERROR_READ "the storage could not be read"
#define ERROR_ANSWERS_FULL "too many bytes of answers are under way in this process; try again"
#define ERROR_ANSWER_TOO_LARGE                                                                    \
    "the reply is too large: more than 128 MiB; omit_payload and omit_results leave out what is " \
    "large"

struct group_lane {
    struct lane window;
    struct low low;
};

/* A task group with a window, a parked poll, or a known low-water row. */
struct group {
    struct map_node node; /* key: name */
    struct list_node lru;
    struct list_node hot;   /* to be handed over this turn */
    struct list_node dirty; /* low-water row to be written */
    struct blob *name;
    uint32_t known;                      /* lanes below it are known */
    struct group_lane *lanes[LANES_MAX]; /* NULL: no task, no low-water mark */
    uint64_t busy[2];                    /* known lanes with tasks, or with more in storage */
    bool low_known;
    uint32_t removals;     /* since the low-water row was written */
    int64_t dirty_mono_ms; /* when the first of them happened */
    bool loading;          /* a page or the low-water row is being read */
    int64_t retry_mono_ms; /* not before, after a failed read */
    uint32_t task_count;
    struct list polls;            /* struct poll.node, oldest first */
    int64_t polled_until_mono_ms; /* a poll that has left counts as a worker so long */
    struct list refreshes;        /* struct floating.in_group: handed out ahead of all jobs */
    uint32_t checks;              /* rate limits asked and not answered */
    struct list throttles;        /* struct throttle.in_group */
    struct heap turns;            /* those of them that may be asked: struct throttle.turn */
    uint32_t throttles_reading;
};

struct lease {
    struct map_node by_job, by_task;
    struct heap_node expiry;    /* key: mono ms */
    struct lease_rec rec;       /* its bytes lie in `storage` */
    uint64_t batch;             /* of its last change */
    bool expiring;              /* an internal command that ends it is on its way */
    bool undelivered;           /* its worker never heard of it: at its end it goes back */
    struct worker_marks *marks; /* its worker's, while its job is cancelled; else NULL */
    struct list_node marked;    /* in marks->leases */
    const char *unreadable; /* not NULL: its job cannot be run for this reason, and ends with it */
    struct bytes job_ref;
    uint8_t storage[];
};

struct tenant_count {
    struct map_node node; /* key: tenant part of job references */
    struct list_node lru;
    struct list_node dirty;
    struct counts counts;
    uint64_t batch;
    size_t key_len;
    uint8_t key[];
};

/* A rate limit that has been asked. */
struct check {
    struct list_node node;   /* core->checks, until the driver takes it */
    struct map_node by_task; /* key: task id */
    struct uuid task_id;
    uint32_t passed; /* of the token when it asked */
    struct bytes job_ref;
    struct group *group;
    struct gate *gate; /* NULL: the token does not stand in line */
    const Silo__V1__RateLimitRetryPolicy *policy;
    struct core_check ask; /* for the driver */
    struct arena arena;
};

/* A bucket of the built-in limiter. */
struct bucket_entry {
    struct map_node node; /* key: its row's */
    struct list_node lru, dirty;
    bool exists, stored;
    struct bucket bucket;
    size_t key_len;
    uint8_t key[];
};

/* What a command of the core's own is about. */
struct inner_args {
    struct queue *queue;       /* GRANT */
    struct uuid task_id;       /* LOCATE, CHECK, CHECKED */
    enum core_verdict verdict; /* CHECKED */
    int64_t reset_ms;
};

struct poll {
    struct list_node node;
    struct group *group;
    struct command *command;
    size_t cap, refresh_cap;
    size_t bytes; /* of the reply so far, at most */
    bool full;    /* what comes next does not fit */
    bool claimed;
    bool asked; /* rate limits were asked for it */
};

/* Commands that wait for the end of one job. */
struct job_watch {
    struct map_node node;
    struct list commands;
    size_t key_len;
    uint8_t key[];
};

/* A worker that holds a cancelled job, or waits to hear of one. */
struct worker_marks {
    struct map_node node; /* key: worker id */
    struct list leases;   /* struct lease.marked */
    struct list commands; /* command.node: AWAIT_CANCELS, parked */
    uint32_t command_count;
    struct list_node waiting; /* in core->waiting, while there are commands */
    size_t key_len;
    uint8_t key[];
};

struct core {
    struct view view;
    int64_t wall_ms, mono_ms;
    enum core_phase phase;
    char broken[160];
    enum dispatch_order order;
    uint32_t lane_count; /* lanes of a group in this order */

    struct shard_rec shard;
    bool shard_found;
    struct counts totals;
    bool totals_dirty;
    uint64_t next_arrival, reserved_arrival;

    struct map groups;
    int64_t polls_seen_from_ms; /* every poll since then is remembered by its group; wall clock */
    struct list group_lru, hot_groups, dirty_groups;
    struct map tasks; /* struct task.by_job: every task in a window */
    size_t info_bytes;

    struct lane timers;
    struct low timer_low;
    bool timers_known, timers_loading;
    int64_t timers_retry_mono_ms;
    uint32_t timer_removals;
    int64_t timer_dirty_mono_ms; /* 0: clean */
    struct command fire;         /* on whose behalf timers read */
    struct arena fire_arena;

    /* Queues and slots. */
    struct map queues;     /* struct queue */
    struct list queue_lru; /* all queues, unused longest first */
    struct list dirty_queues, sliced_queues, changed_queues;
    struct map chains;     /* struct chain */
    struct list unlocated; /* struct chain.unlocated */
    uint32_t locating;     /* of them being looked up */
    int64_t locate_retry_mono_ms;
    struct map refreshes; /* struct floating.by_task */
    /* leased refreshes read at open, whose limits may not be in memory yet */
    struct map refresh_stubs;
    struct heap refresh_due, refresh_offers, refresh_expiry;
    enum {
        SCAN_WAITS,
        SCAN_READS,
        SCAN_DONE
    } refresh_scan; /* of the active floating limits, after open */
    int64_t refresh_retry_mono_ms;
    struct buf refresh_cursor; /* key to go on from */
    struct drop *drop;         /* the one under way */
    struct list drops;         /* command.node: those that wait for it */

    /* Rate limits. */
    struct map gates; /* struct gate */
    struct heap gates_shut;
    uint32_t throttle_count; /* throttles with tokens */
    bool external_limiter;
    struct map checks_by_task; /* struct check */
    struct list checks;        /* struct check.node, to be taken by the driver */
    struct map buckets;        /* struct bucket_entry */
    struct list buckets_lru, buckets_dirty;
    bool buckets_sweeping;
    int64_t buckets_sweep_mono_ms; /* INT64_MAX: nothing to sweep */
    struct buf buckets_cursor;     /* key to go on from */

    /* Retention. */
    int64_t completed_expire_ms, terminal_expire_ms;
    struct expire *expire;
    uint64_t expired_jobs;       /* since open */
    int64_t expire_from_mono_ms; /* no retention before */

    int64_t clock_ms;      /* META_CLOCK, as stored; 0: none */
    struct redate *redate; /* NULL: never needed */

    uint8_t seed[16]; /* ids of the core's own making come from it */
    uint64_t ids_made, slots_made;
    size_t slots_taken;

    struct map leases_by_job, leases_by_task;
    struct heap expiry;
    bool leases_frozen;

    struct map counts;
    struct list counts_lru, counts_dirty;

    struct map watches;
    struct map marks;      /* struct worker_marks */
    struct list waiting;   /* struct worker_marks.waiting */
    size_t awaits;         /* AWAIT_CANCELS parked */
    struct heap deadlines; /* parked commands */
    bool polls_released;

    struct list reads;    /* core_read.node, to be started */
    struct list answered; /* command.node */
    struct list woken, blocked, parked;
    size_t command_count; /* inside the core, not answered */
    size_t corrupt_rows;
    struct buf scratch;
};

/* --- running (core.c) --- */

enum run { RUN_ANSWER, RUN_NEED, RUN_PARK };

/* Sets the answer to a failure; the text is static or in the command's arena. */
enum run run_fail(struct command *cmd, enum silo_code code, const char *text);
enum run run_ok(struct command *cmd);
/* The command changed rows: its answer waits for the open batch. */
enum run run_changed(struct command *cmd);
void core_answer(struct core *core, struct command *cmd);
void core_park(struct core *core, struct command *cmd, int64_t deadline_mono_ms);
void core_unpark(struct core *core, struct command *cmd);
void core_wake(struct core *core, struct command *cmd);
/* As many commands are parked as may be. */
bool core_crowded(const struct core *core);
#define ERROR_CROWDED "too many polls and results are waited for in this shard"
void core_break(struct core *core, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A command of the core's own, to be submitted; freed when it is answered. */
struct command *inner_new(struct core *core, enum command_kind kind, struct bytes job_ref);
/* Runs soon: with the woken ones. */
void inner_wake(struct core *core, struct command *cmd);
struct uuid core_make_id(struct core *core);

/* A key looked up for a command; UNKNOWN has been asked for, unless cmd is NULL. */
enum view_answer look(struct core *core, struct command *cmd, struct bytes key,
                      struct bytes *ret_value);
struct core_read *read_new(void);
void read_queue(struct core *core, struct core_read *read);

void open_start(struct core *core);

/* --- tokens --- */

enum token_where { TOKEN_NONE, TOKEN_TIMER, TOKEN_READY, TOKEN_REQUEST, TOKEN_LEASE };

/*
 * Where a job's token is, or shall be. NONE: the job does not exist yet, or ends. `info` (may be
 * NULL) spares a read; `lease` is the lease left, `lease_rec` the one to come.
 *
 * A token of a job with limits has a chain: it holds the slots of limits[0 .. passed). READY with
 * limits ahead means that limits[passed] is a rate limit to be asked.
 */
struct token {
    enum token_where where;
    struct bytes group;
    struct place place;
    /*
     * it stood in a line or was ready: due, though its stamp may lie ahead of a clock that was set
     * back
     */
    bool was_due;
    uint32_t attempt, relative;
    struct blob *info;
    struct lease *lease;
    const struct lease_rec *lease_rec;
    bool has_chain;
    struct uuid task_id;
    uint32_t passed, rate_retries, rates_paid;
    /* to: what is passed on the way, and where it waits; NULL: all are passed */
    const struct limits *limits;
    struct bytes items;  /* to: the same as stored */
    struct queue *queue; /* REQUEST; must be known */
    struct line_id line;
};
/*
 * The only function that creates, moves or ends a token, and the only one but drop.c that takes and
 * releases slots. Needs: low-water marks and queues of where it comes from and goes to are known.
 * What `to` lends but group and info must outlive it.
 */
void token_move(struct core *core, struct bytes job_ref, const struct token *from,
                const struct token *to);
/* The token that a task in a window stands for. */
struct token token_of_task(const struct task *task);
/* Limits are ahead of it. */
static inline bool token_has_ahead(const struct token *token)
{
    return token->has_chain && token->limits != NULL && token->passed < token->limits->count;
}
/* What its row says of its chain; false for a malformed row. `ret_rec` lends from `value`. */
bool token_decode(struct bytes value, struct token *token, struct task_rec *ret_rec);
/*
 * A token for a job's next run: its chain begins. `limits` is decoded into the arena; false for
 * malformed limits.
 */
bool token_begin(struct core *core, struct arena *arena, const struct info *info,
                 const struct uuid *task_id, struct token *to, struct limits *ret_limits);

/* --- groups, pages, low-water marks, timers --- */

struct group *group_find(struct core *core, struct bytes name);
struct group *group_get(struct core *core, struct bytes name);
/* Makes the low-water marks known; false: asked for on behalf of cmd. */
bool group_low_ready(struct core *core, struct group *group, struct command *cmd);
uint32_t group_lane_of(const struct core *core, const struct place *place);
struct group_lane *group_lane_get(struct group *group, uint32_t lane);
void group_busy_update(struct core *core, struct group *group, uint32_t lane);
/* Adds a task to the window if it belongs there, else frees it. */
void group_add(struct core *core, struct group *group, struct task *task);
/* Not in any window; NULL for a malformed row. */
struct task *task_of_row(struct core *core, struct bytes value, const struct place *place);
void task_free_loose(struct core *core, struct task *task);
void page_note_last(struct core_read *read, struct bytes key);
void page_push(struct core_read *read, struct task *task);
/* The place of a ready row that goes: out of the window, if it is in it. */
void group_drop(struct core *core, struct bytes name, const struct place *place);
enum best { BEST_TASK, BEST_EMPTY, BEST_LOADING, BEST_CHECKING };
/* How far a hand-over has looked: tasks whose rate limit is being asked are passed over. */
struct best_cursor {
    uint32_t lane, index;
};
/*
 * The best task that can be leased. Up to *checks rate limits that stand before it are asked.
 * CHECKING: some are.
 */
enum best group_best(struct core *core, struct group *group, struct best_cursor *cursor,
                     uint32_t *checks, struct task **ret_task);
void group_hot(struct core *core, struct group *group);
/* A worker asks, or asked a moment ago. */
void group_polled(struct core *core, struct group *group);
bool group_has_workers(const struct core *core, struct bytes name);
/*
 * When a worker last asked, Unix time; now while one waits; 0: none did since polls_seen_from_ms.
 */
int64_t group_polled_ms(const struct core *core, struct bytes name);
void groups_hot(struct core *core);
void groups_shrink(struct core *core);
void groups_free(struct core *core);
void task_index(struct core *core, struct task *task);
void task_discard(struct core *core, struct task *task); /* out of the index, and freed */
void task_set_info(struct core *core, struct task *task, struct blob *info);
/* Reads info rows for `ahead` tasks of a lane, from this index (at most its count) on. */
void lane_want_infos(struct core *core, const struct lane *lane, uint32_t from, uint32_t ahead);

void page_load_group(struct core *core, struct group *group);
void page_load_lane(struct core *core, struct group *group, uint32_t lane);
void page_load_timers(struct core *core);

/*
 * The first place a live row can have: the window's first, else its mark, else behind all that was
 * removed.
 */
bool low_of(const struct lane *window, const struct low *low, struct place *ret_place);
void low_removed(const struct lane *window, struct low *low, const struct place *place);
void low_group_decode(struct core *core, struct group *group, bool present, struct bytes value);
void low_note_insert(struct core *core, struct group *group, const struct place *place);
void low_note_remove(struct core *core, struct group *group, struct group_lane *gl,
                     const struct place *place);
void low_write_group(struct core *core, struct group *group);
void low_write_timers(struct core *core);
void low_turn(struct core *core);
int64_t low_next_mono_ms(const struct core *core);

void timer_add(struct core *core, struct task *task);
void timer_drop(struct core *core, const struct place *place);
void timer_turn(struct core *core);
int64_t timer_next_mono_ms(const struct core *core);

/* --- leases, counters --- */

struct lease *lease_find(const struct core *core, const struct uuid *task_id);
struct lease *lease_of_job(const struct core *core, struct bytes job_ref);
struct lease *lease_add(struct core *core, struct bytes job_ref, const struct lease_rec *rec);
void lease_remove(struct core *core, struct lease *lease);
void lease_write(struct core *core, struct lease *lease, bool fresh);
void lease_renew(struct core *core, struct lease *lease);
/* Its job cannot be run: `why` (static) ends it. */
void lease_spoil(struct core *core, struct lease *lease, const char *why);
void lease_turn(struct core *core);
void leases_free(struct core *core);

/* NULL: asked for on behalf of cmd. */
struct tenant_count *count_find(struct core *core, struct bytes job_ref, struct command *cmd);
enum count_kind { COUNT_NONE, COUNT_OPEN, COUNT_SUCCEEDED, COUNT_FAILED, COUNT_CANCELLED };
enum count_kind count_kind_of(enum job_status status);
void count_move(struct core *core, struct tenant_count *count, enum count_kind from,
                enum count_kind to);
void counts_write(struct core *core);
void counts_free(struct core *core);

/*
 * --- rate limits (rate.c), dropped holders (drop.c), tokens to be found after open (locate.c),
 * retention (expire.c) ---
 */

bool task_wants_check(const struct task *task);
void check_start(struct core *core, struct task *task);
/* The command about a check has ended, well or not. */
void check_end(struct core *core, const struct command *cmd);
enum run check_run(struct core *core, struct command *cmd);
enum run checked_run(struct core *core, struct command *cmd);
void buckets_write(struct core *core);
void rate_turn(struct core *core);
int64_t rate_next_mono_ms(const struct core *core);
void rate_free(struct core *core);

enum run drop_run(struct core *core, struct command *cmd);
void drop_resume(struct core *core, struct bytes tenant_part);
void drop_turn(struct core *core);
void drop_free(struct core *core);

enum run locate_run(struct core *core, struct command *cmd);
void locate_turn(struct core *core);
void locate_ended(struct core *core, const struct command *cmd);
int64_t locate_next_mono_ms(const struct core *core);

/* When a job that ends so shall be forgotten; 0 = never. */
int64_t expire_at(const struct core *core, enum job_status status);
/* It ended in the open batch, and goes at expire_ms if its state says so then, too. */
void expire_put(struct core *core, struct bytes job_ref, enum job_status status, int64_t expire_ms);
/* Once per batch. */
void expire_write(struct core *core);
enum run expire_run(struct core *core, struct command *cmd);
/* Of every CMD_EXPIRE, when it is over: before it is freed. */
void expire_ended(struct core *core, const struct command *cmd);
void expire_turn(struct core *core);
int64_t expire_next_mono_ms(const struct core *core);

/*
 * META_CLOCK was read, or there is none: the wall clock may stand behind stamps of earlier
 * incarnations.
 */
void redate_open(struct core *core);
/* Once per batch: now and then the time is stored. */
void clock_write(struct core *core);
enum run redate_run(struct core *core, struct command *cmd);
/* Of every CMD_REDATE, when it is over: before it is freed. */
void redate_ended(struct core *core, const struct command *cmd);
void redate_turn(struct core *core);
int64_t redate_next_mono_ms(const struct core *core);
void redate_free(struct core *core);
void expire_free(struct core *core);

/* --- jobs --- */

struct job {
    struct info info;
    bool has_state;
    struct state state;
    struct lease *lease;
    enum job_status status;
};
enum job_load { JOB_LOADED, JOB_ABSENT, JOB_NEEDS, JOB_CORRUPT };
enum job_load job_load(struct core *core, struct command *cmd, struct job *ret);
enum run job_load_fail(struct core *core, struct command *cmd, enum job_load load);
/* Refused for its state: "cannot <verb> job <id>: <reason> (status: <Kind>)". */
enum run job_refuse(struct command *cmd, const char *verb, const char *reason,
                    enum job_status status);
/* Number of attempts that were recorded: the last one may stand in the state row. */
uint32_t job_attempts(const struct job *job);
/*
 * Copies a loaded job's rows into the command's arena: what it lends outlives changes of them.
 * Returns the info row.
 */
struct bytes job_own(struct core *core, struct command *cmd, struct job *job);
/* The info row of a job that is loaded, to go with its token. The caller's reference. */
struct blob *job_info_blob(struct core *core, struct bytes job_ref);
/*
 * An ended job is open again: index, counters, retention; the attempt in its state row gets a row
 * of its own. The caller writes the new state.
 */
void job_reopen(struct core *core, struct bytes job_ref, const struct job *job,
                struct tenant_count *count);
/*
 * Finds the token of a Scheduled job: in a window, or by the keys it can have. False: rows were
 * asked for.
 */
bool token_find(struct core *core, struct command *cmd, const struct job *job, struct token *ret);
/*
 * Status, index, counters, retention and watchers of a job that ends; `state` is complete but for
 * expire_ms.
 */
void job_end(struct core *core, struct bytes job_ref, struct state *state, int64_t enqueue_ms,
             struct tenant_count *count);
/* Removes every row of a terminal job. */
void job_delete(struct core *core, struct bytes job_ref, const struct job *job,
                struct tenant_count *count);
/*
 * A new job's rows but its token: info, index (kind, time), metadata, payload. Returns the info
 * row.
 */
struct blob *job_create(struct core *core, struct bytes job_ref, const struct info *info,
                        struct bytes payload, enum key_index kind, int64_t index_ms);
struct blob_ref blob_of(struct bytes b);
/* Fills what the worker is told about the job; the bytes are copied. Changes nothing. */
void leased_task_fill(struct command *cmd, struct bytes job_ref, struct bytes info_row,
                      struct leased_task *out);
/*
 * Leases its token for the worker whose poll or lease call this is; `out` is filled and has its
 * task id.
 */
void poll_lease_token(struct core *core, struct command *cmd, struct bytes worker_id,
                      const struct token *from, struct bytes job_ref, struct leased_task *out);
void state_write(struct core *core, struct bytes job_ref, const struct state *state);
enum key_index index_kind_of(enum job_status status);

uint64_t arrival_next(struct core *core);
/* Delay before the retry that follows failed attempt `relative` (1 = the first), in ms. */
int64_t retry_delay_ms(const struct retry_policy *policy, uint32_t relative,
                       const struct uuid *task_id);
struct uuid id_from_seed(const uint8_t seed[16], uint64_t n);

/* pending.c: why a scheduled job does not run. False: rows were asked for. */
bool pending_find(struct core *core, struct command *cmd, const struct job *job,
                  struct job_pending *ret);

/* answer.c: what a read of a job has to read beside its rows; its result.job is filled so far. */
bool job_wants_payload(const struct command *cmd);
bool job_wants_data(const struct command *cmd);
/* False: the wanted rows are more than a reply holds, and the command has failed. */
bool answer_fits(struct command *cmd);

enum run enqueue_run(struct core *core, struct command *cmd);
enum run get_run(struct core *core, struct command *cmd);
enum run cancel_run(struct core *core, struct command *cmd);
enum run restart_run(struct core *core, struct command *cmd);
enum run expedite_run(struct core *core, struct command *cmd);
enum run lease_job_run(struct core *core, struct command *cmd);
enum run import_run(struct core *core, struct command *cmd);
enum run any_running_run(struct core *core, struct command *cmd);
enum run report_refresh_run(struct core *core, struct command *cmd);
enum run grant_run(struct core *core, struct command *cmd);
enum run delete_run(struct core *core, struct command *cmd);
enum run heartbeat_run(struct core *core, struct command *cmd);
enum run report_run(struct core *core, struct command *cmd);
enum run give_back_run(struct core *core, struct command *cmd);
enum run return_task_run(struct core *core, struct command *cmd);
enum run renew_run(struct core *core, struct command *cmd);
enum run poll_run(struct core *core, struct command *cmd);
enum run poll_stop_run(struct core *core, struct command *cmd);
enum run totals_run(struct core *core, struct command *cmd);

void poll_answer(struct core *core, struct poll *poll);
void poll_turn(struct core *core);
int64_t poll_next_mono_ms(const struct core *core);
void watch_add(struct core *core, struct command *cmd);
void watch_remove(struct core *core, struct command *cmd);
void watch_fire(struct core *core, struct bytes job_ref);

/* The lease's job is cancelled: its worker hears of it if it waits. Undone when the lease ends. */
void marks_add(struct core *core, struct lease *lease);
void marks_remove(struct core *core, struct lease *lease);
/* Takes a parked AWAIT_CANCELS out. */
void marks_leave(struct core *core, struct command *cmd);
/* The time of every parked AWAIT_CANCELS is up. */
void marks_release(struct core *core);
/* Moves every parked AWAIT_CANCELS to a list. */
void marks_abandon(struct core *core, struct list *to);
enum run await_run(struct core *core, struct command *cmd);

#endif
