/*
 * core/core.h - one shard as a deterministic function: commands and time in; row changes, reads and
 * answers out.
 *
 * The core does no I/O and knows no thread and no clock. Its driver (shard/, the simulator) does,
 * each turn:
 *
 *     core_set_time;  core_submit(every new command);  core_turn;
 *     while (core_read_next): start the reads; later core_read_row for each row, core_read_end
 *     while (core_answered): park or send the answers (command->wait_batch)
 *     seal, write and flush batches through core_view, core_before_seal
 *
 * A command runs to its end or not at all: what it misses is read, and it runs again from the
 * start.
 *
 * Units      wall_ms: Unix time; mono_ms: a clock that never steps. The wall clock never falls
 *            within a core's life.
 * Ownership  the core owns all it holds; commands are lent until answered.
 * Threads    the shard's executor only.
 * Limits     base/limits.h, SHARD_*.
 */
#ifndef SILO_CORE_CORE_H
#define SILO_CORE_CORE_H

#include "core/view.h"

struct core;

enum core_phase { CORE_OPENING, CORE_OPEN, CORE_BROKEN };

/* A look-up asks for the rows of keys, a scan for rows of a range in order. */
enum core_read_kind { CORE_LOOK_UP, CORE_SCAN };

/* Rows the core wants. Whoever asked has a struct that begins with it and says what for. */
struct core_read {
    struct list_node node;
    enum core_read_kind kind;
    union {
        struct {
            struct bytes *keys;
            size_t key_count;
        } look_up;
        struct {
            struct bytes lo, hi; /* [lo, hi) */
            uint32_t rows_max;
        } scan;
    };
    /* The core's own. */
    struct view_hold hold;
    struct arena arena;
    void (*on_row)(struct core *core, struct core_read *read, struct bytes key, struct bytes value,
                   bool present);
    void (*on_end)(struct core *core, struct core_read *read, bool ok, bool more);
};

enum core_verdict { VERDICT_UNDER, VERDICT_OVER, VERDICT_ERROR };

/* A rate limit to be asked outside. Its bytes live until core_check_done. */
struct core_check {
    struct bytes name, unique_key;
    int64_t hits, limit, duration_ms;
    int32_t algorithm, behavior;
};

struct core_options {
    /* of a shard made now; a stored one must agree with it, else the core is broken */
    enum dispatch_order order;
    /* rate limits come out of core_check_next; else buckets of the shard answer them */
    bool external_limiter;
    int64_t completed_expire_ms, terminal_expire_ms; /* retention; 0 = for ever */
    uint8_t seed[16];                                /* random */
};

struct core *core_new(const struct core_options *options, int64_t wall_ms, int64_t mono_ms);
struct core *core_free(struct core *core);

enum core_phase core_phase(const struct core *core);
/* Why it is broken, static or the core's own. */
const char *core_broken(const struct core *core);

void core_set_time(struct core *core, int64_t wall_ms, int64_t mono_ms);
/* Runs it; it comes back through core_answered, perhaps much later. */
void core_submit(struct core *core, struct command *command);
/* Woken commands, due timers, expired leases, hand-over to parked polls. */
void core_turn(struct core *core);
/* Monotonic time of the next thing core_turn would do by itself; INT64_MAX: nothing. */
int64_t core_next_mono_ms(const struct core *core);

struct core_read *core_read_next(struct core *core);
void core_read_row(struct core *core, struct core_read *read, struct bytes key, struct bytes value,
                   bool present);
/* more: the scan ended at rows_max. Frees the read. */
void core_read_end(struct core *core, struct core_read *read, bool ok, bool more);

/*
 * A rate limit to be asked; NULL when there is none. Each must end with core_check_done, in any
 * order.
 */
struct core_check *core_check_next(struct core *core);
/* reset_ms: when the limiter lets hits through again, Unix time; 0 = unknown. */
void core_check_done(struct core *core, struct core_check *check, enum core_verdict verdict,
                     int64_t reset_ms);

/* An answered command, oldest first; NULL when there is none. */
struct command *core_answered(struct core *core);
/*
 * After command->wants were filled: completes the result; true when further rows are wanted.
 * Touches only the command.
 */
bool core_answer_more(struct command *command);

/* The batch side: core_before_seal adds what is written once per batch. */
struct view *core_view(struct core *core);
void core_before_seal(struct core *core);

/* Shutdown: parked polls are answered with what is there, later ones do not park. */
void core_release_polls(struct core *core);
/*
 * The shard goes to another process: the core begins nothing any more. What waits inside, or is
 * submitted, and has changed nothing is answered SILO_ROUTED_WRONG; the rest as ever. Tasks that do
 * not reach their worker still go back.
 */
void core_leave(struct core *core);
/* Whether no such task is on its way back. */
bool core_left(const struct core *core);
/* While ownership is unproved no lease expires. */
void core_freeze_leases(struct core *core, bool frozen);
/* After an outage or a stall: every lease lasts for at least term_ms (0 to LEASE_MS) from now. */
void core_renew_leases(struct core *core, int64_t term_ms);
/*
 * A task was leased and will not reach its worker: it goes back, soon and again until it has. With
 * `unreadable` (static text: what is wrong with what is stored of it) its job ends FAILED with
 * ERROR_JOB_UNREADABLE instead.
 */
void core_undelivered(struct core *core, const struct uuid *task_id, const char *unreadable);
/* Whether a lease would expire now. */
bool core_leases_due(const struct core *core);
/*
 * Answers callers' commands that began by then and wait for reads with UNAVAILABLE: nothing was
 * changed. `why` is copied. How many; *ret_oldest_mono_ms: when the oldest that is left began,
 * INT64_MAX if none is.
 */
size_t core_give_up_reads(struct core *core, int64_t until_mono_ms, const char *why,
                          int64_t *ret_oldest_mono_ms);
/* Answers everything that waits inside with UNAVAILABLE. The core can then only be freed. */
void core_abandon(struct core *core, const char *why);

struct core_stats {
    size_t leases, tasks, groups, commands, corrupt_rows;
    size_t queues, holders, checks;
    struct counts jobs;
    uint64_t expired_jobs; /* forgotten since open */
    size_t info_bytes;     /* of job rows kept with waiting tasks */
};
struct core_stats core_stats(const struct core *core);

#endif
