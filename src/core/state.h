/*
 * core/state.h - what a shard keeps in memory: the roots of everything its storeys know, one part
 * after the other. Data alone: what may be done with a part stands in the header of its storey.
 *
 * Units      _ms: Unix time; _mono_ms: a clock that never steps.
 * Ownership  the core owns all of it; each part is changed by the files of its storey alone.
 * Threads    the shard's executor only.
 * Limits     base/limits.h, SHARD_*.
 */
#ifndef SILO_CORE_STATE_H
#define SILO_CORE_STATE_H

#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "core/core.h"
#include "core/lane.h"
#include "core/limit_table.h"
#include "core/sweep.h"

struct drop;
struct expire;
struct redate;

struct core {
    struct view view;
    int64_t wall_ms, mono_ms;
    enum core_phase phase;
    char broken[160];
    enum dispatch_order order;
    uint32_t lane_count; /* lanes of a group in this order */

    uint32_t open_step; /* core/open.c: what is being read */
    struct sweep open_sweep;
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
    struct map chains; /* struct chain */
    struct limit_table limits;
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
    struct sweep refresh_sweep;
    struct drop *drop; /* the one under way */
    struct list drops; /* command.node: those that wait for it */

    /* Rate limits. */
    struct map gates; /* struct gate */
    struct heap gates_shut;
    uint32_t throttle_count; /* throttles with tokens */
    bool external_limiter;
    struct map checks_by_task; /* struct check */
    struct list checks;        /* struct check.node, to be taken by the driver */
    struct map buckets;        /* struct bucket_entry */
    struct list buckets_lru, buckets_dirty;
    struct sweep buckets_sweep;
    int64_t buckets_sweep_mono_ms; /* INT64_MAX: nothing to sweep */

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
    uint32_t expiries; /* commands on their way that end leases */

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

#endif
