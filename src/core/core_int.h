/*
 * core/core_int.h - the core's state, and what its files offer each other.
 *
 *   core.c     commands in, answers out; running, waking, failing
 *   open.c     what is read when a shard opens
 *   token.c    the one function that moves a job's token
 *   group.c    task groups and the windows over their ready lanes; page.c reads pages into them; low.c low-water rows
 *   timer.c    future work
 *   lease.c    running work
 *   count.c    counters
 *   enqueue.c job.c report.c poll.c watch.c   the commands
 *   retry.c    back-off arithmetic
 */
#ifndef SILO_CORE_CORE_INT_H
#define SILO_CORE_CORE_INT_H

#include "base/limits.h"
#include "base/map.h"
#include "core/core.h"
#include "core/lane.h"

#define LANES_MAX (PRIORITY_MAX + 1)

/* A low-water mark: no live row of the lane stands before `place`. */
struct low {
    bool has;
    struct place place; /* as last written */
    bool has_removed;
    struct place removed_max; /* greatest place removed since it became known */
};

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
    struct list polls; /* struct poll.node, oldest first */
};

struct lease {
    struct map_node by_job, by_task;
    struct heap_node expiry; /* key: mono ms */
    struct lease_rec rec;    /* its bytes lie in `storage` */
    uint64_t batch;          /* of its last change */
    bool expiring;           /* an internal report is on its way */
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

struct poll {
    struct list_node node;
    struct group *group;
    struct command *command;
    size_t cap;
    bool claimed;
};

/* Commands that wait for the end of one job. */
struct job_watch {
    struct map_node node;
    struct list commands;
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

    struct map leases_by_job, leases_by_task;
    struct heap expiry;
    bool leases_frozen;

    struct map counts;
    struct list counts_lru, counts_dirty;

    struct map watches;
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
void core_break(struct core *core, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A key looked up for a command; UNKNOWN has been asked for. */
enum view_answer look(struct core *core, struct command *cmd, struct bytes key,
                      struct bytes *ret_value);
struct core_read *read_new(void);
void read_queue(struct core *core, struct core_read *read);

void open_start(struct core *core);

/* --- tokens --- */

enum token_where { TOKEN_NONE, TOKEN_TIMER, TOKEN_READY, TOKEN_LEASE };

/*
 * Where a job's token is, or shall be. NONE: the job does not exist yet, or ends. `info` (may be NULL) spares a read;
 * `lease` is the lease left, `lease_rec` the one to come.
 */
struct token {
    enum token_where where;
    struct bytes group;
    struct place place;
    uint32_t attempt, relative;
    struct blob *info;
    struct lease *lease;
    const struct lease_rec *lease_rec;
};
/* The only function that creates, moves or ends a token. Needs: low-water marks of where it goes are known. */
void token_move(struct core *core, struct bytes job_ref, const struct token *from,
                const struct token *to);

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
/* The place of a ready row that goes: out of the window, if it is in it. */
void group_drop(struct core *core, struct bytes name, const struct place *place);
enum best { BEST_TASK, BEST_EMPTY, BEST_LOADING };
enum best group_best(struct core *core, struct group *group, struct task **ret_task);
void group_hot(struct core *core, struct group *group);
void groups_hot(struct core *core);
void groups_shrink(struct core *core);
void groups_free(struct core *core);
void task_index(struct core *core, struct task *task);
void task_discard(struct core *core, struct task *task); /* out of the index, and freed */
void task_set_info(struct core *core, struct task *task, struct blob *info);
/* Reads info rows for the tasks at the front of a lane. */
void lane_want_infos(struct core *core, const struct lane *lane);

void page_load_group(struct core *core, struct group *group);
void page_load_lane(struct core *core, struct group *group, uint32_t lane);
void page_load_timers(struct core *core);

void low_group_decode(struct core *core, struct group *group, bool present, struct bytes value);
void low_note_insert(struct core *core, struct group *group, const struct place *place);
void low_note_remove(struct core *core, struct group *group, struct low *low,
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
/* Status, index, counters and watchers of a job that ends; `state` is complete. */
void job_end(struct core *core, struct bytes job_ref, const struct state *state, int64_t enqueue_ms,
             struct tenant_count *count);
void state_write(struct core *core, struct bytes job_ref, const struct state *state);
enum key_index index_kind_of(enum job_status status);

uint64_t arrival_next(struct core *core);
/* Delay before the retry that follows failed attempt `relative` (1 = the first), in ms. */
int64_t retry_delay_ms(const struct retry_policy *policy, uint32_t relative,
                       const struct uuid *task_id);
struct uuid id_from_seed(const uint8_t seed[16], uint64_t n);

enum run enqueue_run(struct core *core, struct command *cmd);
enum run get_run(struct core *core, struct command *cmd);
enum run cancel_run(struct core *core, struct command *cmd);
enum run delete_run(struct core *core, struct command *cmd);
enum run heartbeat_run(struct core *core, struct command *cmd);
enum run report_run(struct core *core, struct command *cmd);
enum run give_back_run(struct core *core, struct command *cmd);
enum run poll_run(struct core *core, struct command *cmd);
enum run poll_stop_run(struct core *core, struct command *cmd);
enum run totals_run(struct core *core, struct command *cmd);

void poll_answer(struct core *core, struct poll *poll);
void poll_turn(struct core *core);
int64_t poll_next_mono_ms(const struct core *core);
void watch_add(struct core *core, struct command *cmd);
void watch_remove(struct core *core, struct command *cmd);
void watch_fire(struct core *core, struct bytes job_ref);

#endif
