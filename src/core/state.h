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
    struct shard_rec shard;
    size_t corrupt_rows;
    struct buf scratch;
    struct limit_table limits;
    struct list reads; /* core_read.node, to be started */

    struct {
        struct list answered; /* command.node; the others too */
        struct list woken, blocked, parked;
        struct heap deadlines; /* parked commands */
        size_t command_count;  /* inside the core, not answered */
        bool polls_released, leaving;
    } run;
    struct {
        uint8_t seed[16]; /* ids of the core's own making come from it */
        uint64_t made;
        uint64_t next_arrival, reserved_arrival;
    } ids;
    struct {
        struct map by_job; /* struct task.by_job: every task in a window */
        size_t info_bytes;
    } tasks;
    struct {
        struct map by_name; /* struct group */
        struct list lru, hot, dirty;
        /* every poll since then is remembered by its group; wall clock */
        int64_t polls_seen_from_ms;
    } groups;
    struct {
        struct map by_tenant; /* struct tenant_count */
        struct list lru, dirty;
        struct counts totals;
        bool totals_dirty;
    } counts;
    struct {
        struct map by_job, by_task; /* struct lease */
        struct heap expiry;
        bool frozen;
        uint32_t expiries; /* commands on their way that end leases */
    } leases;
    struct {
        struct map by_worker; /* struct worker_marks */
        struct list waiting;  /* struct worker_marks.waiting */
        size_t awaits;        /* AWAIT_CANCELS parked */
    } marks;
    struct map watches; /* struct job_watch */
    struct {
        struct lane window;
        struct low low;
        bool known, loading;
        int64_t retry_mono_ms;
        uint32_t removals;
        int64_t dirty_mono_ms; /* 0: clean */
    } timers;
    struct {
        struct command command; /* on whose behalf due timers read */
        struct arena arena;
    } due;

    struct {
        struct map by_ref; /* struct queue */
        struct list lru;   /* all queues, unused longest first */
        struct list to_visit, sliced, changed;
    } queues;
    struct {
        struct map chains; /* struct chain */
        uint64_t made;
        size_t taken;
    } slots;
    struct {
        struct list chains; /* struct chain.unlocated */
        uint32_t under_way; /* of them being looked up */
        int64_t retry_mono_ms;
    } locate;
    struct {
        struct drop *now;    /* the one under way */
        struct list waiting; /* command.node */
    } drops;
    struct {
        struct map by_task; /* struct floating.by_task */
        struct map stubs;   /* leased ones read at open, whose limits may not be in memory yet */
        struct heap due, offers, expiry;
        /* of the active floating limits, after open */
        enum { SCAN_WAITS, SCAN_READS, SCAN_DONE } scan;
        int64_t retry_mono_ms;
        struct sweep sweep;
    } refreshes;

    struct {
        struct map by_limiter; /* struct gate */
        struct heap shut;
        uint32_t throttle_count; /* throttles with tokens */
    } gates;
    struct {
        struct map by_task; /* struct check */
        struct list to_ask; /* struct check.node, to be taken by the driver */
        bool external;
    } checks;
    struct {
        struct map by_key; /* struct bucket_entry */
        struct list lru, dirty;
        struct sweep sweep;
        int64_t sweep_mono_ms; /* INT64_MAX: nothing to sweep */
    } buckets;

    struct {
        int64_t completed_ms, terminal_ms;
        struct expire *expire;
        uint64_t expired_jobs; /* since open */
        int64_t from_mono_ms;  /* nothing is forgotten before */
    } retention;
    struct {
        int64_t stored_ms;     /* META_CLOCK; 0: none */
        struct redate *redate; /* NULL: never needed */
    } clock;
    struct {
        uint32_t step; /* core/open.c: what is being read */
        struct sweep sweep;
        bool shard_found;
    } opening;
};

#endif
