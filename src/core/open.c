/*
 * core/open.c - what a shard reads before it serves: its own facts, its leases and slots, and what
 * was left unfinished. Nothing that grows with waiting work.
 */
#include "core/open.h"

#include "base/assert.h"
#include "base/limits.h"
#include "core/drop.h"
#include "core/lease.h"
#include "core/marks.h"
#include "core/queue.h"
#include "core/read.h"
#include "core/redate.h"
#include "core/refresh.h"
#include "core/run.h"
#include "core/slot.h"
#include "core/state.h"
#include "core/throttle.h"

static const enum key_meta open_metas[] = {META_SHARD, META_ARRIVAL, META_TOTALS, META_LOW_TIMER,
                                           META_CLOCK};
#define OPEN_METAS (sizeof open_metas / sizeof open_metas[0])

/* Tables and ranges read whole, in this order. */
enum open_step {
    OPEN_LEASES,
    OPEN_REFRESHES,
    OPEN_HOLDERS,
    OPEN_GRANTS,
    OPEN_THROTTLES,
    OPEN_DROPS,
    OPEN_DONE
};

static void open_scan(struct core *core, enum open_step step);

static void open_shard_row(struct core *core, struct bytes value)
{
    if (!shard_decode(value, &core->shard)) {
        core_break(core, "the shard's own record is corrupt");
    } else if (core->shard.dispatch_order != (uint8_t)core->order) {
        core_break(
            core,
            "the shard was made with dispatch_order = \"%s\" and cannot be opened with another",
            core->shard.dispatch_order == ORDER_START ? "start" : "priority");
    }
    core->opening.shard_found = true;
}

static bool open_clock_row(struct core *core, struct bytes value)
{
    uint64_t ms = 0;
    if (!number_decode(value, &ms) || ms > INT64_MAX) {
        return false;
    }
    core->clock.stored_ms = (int64_t)ms;
    return true;
}

static void open_meta_row(struct core *core, struct core_read *read, struct bytes key,
                          struct bytes value, bool present)
{
    (void)read;
    if (!present) {
        return;
    }
    bool fine = true;
    switch (key.ptr[1]) {
    case META_SHARD:
        open_shard_row(core, value);
        break;
    case META_ARRIVAL:
        fine = number_decode(value, &core->ids.reserved_arrival);
        break;
    case META_TOTALS:
        fine = counts_decode(value, &core->counts.totals);
        break;
    case META_LOW_TIMER:
        core->timers.low.has =
            low_decode(value, &core->timers.low.place.due_ms, &core->timers.low.place.priority,
                       &core->timers.low.place.arrival);
        fine = core->timers.low.has;
        break;
    case META_CLOCK:
        fine = open_clock_row(core, value);
        break;
    default:
        fine = false; /* not asked for */
        break;
    }
    if (!fine) {
        core_break(core, "a record of the shard (%c) is corrupt", key.ptr[1]);
    }
}

static void open_meta_end(struct core *core, struct core_read *read, bool ok, bool more)
{
    (void)read;
    (void)more;
    if (!ok) {
        core_break(core, "the shard's records could not be read");
    } else if (core->phase == CORE_OPENING) {
        open_scan(core, OPEN_LEASES);
    }
}

static void open_lease(struct core *core, struct bytes key, struct bytes value)
{
    struct lease_rec rec;
    const struct bytes job_ref = bytes_of(key.ptr + 1, key.len - 1);
    if (!job_ref_ok(job_ref) || !lease_decode(value, &rec)) {
        core_break(core, "a lease row is corrupt");
        return;
    }
    if (lease_of_job(core, job_ref) != NULL || lease_find(core, &rec.task_id) != NULL) {
        core_break(core, "two lease rows have the same task");
        return;
    }
    struct lease *lease = lease_add(core, job_ref, &rec);
    lease->batch = 0;
    if (rec.has_mark) {
        marks_add(core, lease);
    }
}

static void open_refresh(struct core *core, struct bytes key, struct bytes value)
{
    if (key.len != 2 + sizeof(struct uuid)) {
        core_break(core, "a refresh lease row is corrupt");
        return;
    }
    floating_leased(core, bytes_of(key.ptr + 2, sizeof(struct uuid)), value);
}

static void open_holder(struct core *core, struct bytes key, struct bytes value)
{
    struct holder_rec rec;
    struct bytes ref;
    struct uuid task_id;
    if (!key_holder_parse(key, &ref, &task_id) || !holder_decode(value, &rec)) {
        core_break(core, "a holder row is corrupt");
        return;
    }
    slot_loaded(core, ref, &task_id, &rec);
}

/* Free slots of this queue are still to be handed to its waiters. */
static void open_grant(struct core *core, struct bytes key)
{
    const struct bytes ref = bytes_of(key.ptr + 2, key.len - 2);
    if (!queue_ref_ok(ref)) {
        core_break(core, "a row of a queue to be granted is corrupt");
        return;
    }
    struct queue *queue = queue_get(core, ref);
    queue->grant_stored = true;
    queue_freed(core, queue);
}

/* Slots of this tenant are still to be dropped. */
static void open_drop(struct core *core, struct bytes tenant_part)
{
    if (!job_ref_ok(tenant_part)) {
        core_break(core, "a row of a tenant whose slots are dropped is corrupt");
        return;
    }
    drop_resume(core, tenant_part);
}

static void open_row(struct core *core, struct bytes key, struct bytes value)
{
    switch ((enum open_step)core->opening.step) {
    case OPEN_LEASES:
        open_lease(core, key, value);
        break;
    case OPEN_REFRESHES:
        open_refresh(core, key, value);
        break;
    case OPEN_HOLDERS:
        open_holder(core, key, value);
        break;
    case OPEN_GRANTS:
        open_grant(core, key);
        break;
    case OPEN_THROTTLES:
        throttle_loaded(core, bytes_of(key.ptr + 2, key.len - 2));
        break;
    case OPEN_DROPS:
        open_drop(core, bytes_of(key.ptr + 2, key.len - 2));
        break;
    case OPEN_DONE:
        break;
    }
}

/*
 * The first rows of a new shard. They are in its first batch; a reply to anything later waits for
 * that.
 */
static void open_write_shard(struct core *core)
{
    core->shard =
        (struct shard_rec){.created_ms = core->wall_ms, .dispatch_order = (uint8_t)core->order};
    struct key key;
    key_meta(&key, META_SHARD);
    buf_reset(&core->scratch);
    shard_encode(&core->scratch, &core->shard);
    view_put(&core->view, key_bytes(&key), buf_bytes(&core->scratch), false);
}

/* Slots whose tokens are not running may belong to tokens that wait. */
static void open_unlocated(struct core *core)
{
    for (struct map_node *n = map_next(&core->slots.chains, NULL); n != NULL;
         n = map_next(&core->slots.chains, n)) {
        struct chain *chain = CONTAINER_OF(n, struct chain, node);
        if (lease_find(core, &chain->task_id) == NULL) {
            list_push_back(&core->locate.chains, &chain->unlocated);
        }
    }
}

static void open_finish(struct core *core)
{
    core->ids.next_arrival = core->ids.reserved_arrival;
    core->phase = CORE_OPEN;
    core_renew_leases(core, LEASE_MS); /* nobody could renew one while the shard was being read */
    open_unlocated(core);
    redate_open(core);
    if (!core->opening.shard_found) {
        open_write_shard(core);
    }
}

static void open_range(struct key *key, enum open_step step)
{
    switch (step) {
    case OPEN_LEASES:
        key_table(key, TABLE_LEASE);
        break;
    case OPEN_REFRESHES:
        key_meta(key, META_REFRESH_LEASE);
        break;
    case OPEN_HOLDERS:
        key_table(key, TABLE_HOLDER);
        break;
    case OPEN_GRANTS:
        key_meta(key, META_GRANT);
        break;
    case OPEN_THROTTLES:
        key_meta(key, META_THROTTLE);
        break;
    case OPEN_DROPS:
        key_meta(key, META_DROP);
        break;
    case OPEN_DONE:
        ASSERT(!"nothing is read any more");
    }
}

static void open_scan_end(struct core *core, bool ok)
{
    if (!ok) {
        core_break(core, "the shard's leases and slots could not be read");
    } else if (core->phase == CORE_OPENING && sweep_advance(&core->opening.sweep)) {
        sweep_page(core, &core->opening.sweep, PAGE_ROWS_MAX, open_row, open_scan_end);
    } else if (core->phase == CORE_OPENING && core->opening.step + 1 != OPEN_DONE) {
        open_scan(core, (enum open_step)(core->opening.step + 1));
    } else if (core->phase == CORE_OPENING) {
        open_finish(core);
    }
}

static void open_scan(struct core *core, enum open_step step)
{
    struct key range;
    open_range(&range, step);
    core->opening.step = step;
    sweep_begin(&core->opening.sweep, &range, BYTES_NONE);
    sweep_page(core, &core->opening.sweep, PAGE_ROWS_MAX, open_row, open_scan_end);
}

void open_free(struct core *core)
{
    sweep_deinit(&core->opening.sweep);
}

void open_start(struct core *core)
{
    sweep_init(&core->opening.sweep);
    struct core_read *read = read_new(sizeof *read);
    read_look_up(read, OPEN_METAS);
    for (size_t i = 0; i < OPEN_METAS; i++) {
        struct key key;
        key_meta(&key, open_metas[i]);
        read_want(read, key_bytes(&key));
    }
    read->on_row = open_meta_row;
    read->on_end = open_meta_end;
    read_queue(core, read);
}
