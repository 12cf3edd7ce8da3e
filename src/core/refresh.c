/*
 * core/refresh.c - floating limits are refreshed.
 *
 * A refresh is driven by time (core->refreshes.due), never by arrivals: a queue that stands still
 * is refreshed, too. It goes to the group of the queue's best waiter among those whose groups have
 * workers. If nobody takes it, it is offered anew: to another group of waiters once that has
 * workers and its own has none; to nobody when nobody waits any more.
 *
 * A limit with floating waiters or a refresh under way has a META_REFRESH row; after open these
 * are read in the background, page by page, so that every such limit is in memory and stays there.
 */
#include "core/refresh.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/saturate.h"
#include "core/commands.h"
#include "core/floating.h"
#include "core/group.h"
#include "core/lease.h"
#include "core/line.h"
#include "core/queue.h"
#include "core/queue_rows.h"
#include "core/run.h"
#include "core/state.h"

void refreshes_init(struct core *core)
{
    map_init(&core->refreshes.by_task);
    map_init(&core->refreshes.stubs);
    heap_init(&core->refreshes.due);
    heap_init(&core->refreshes.offers);
    heap_init(&core->refreshes.expiry);
    sweep_init(&core->refreshes.sweep);
}

/* --- who refreshes --- */

/* The best floating waiter; NULL: none, or it is being read. */
static struct task *floating_best_waiter(struct core *core, struct queue *queue)
{
    struct task *best = NULL;
    for (uint32_t i = 0; i < queue->line_count; i++) {
        struct line *line = queue->lines[i];
        struct task *task = NULL;
        if (line->id.floating && line_front(core, line, &task) == LINE_FRONT_TASK &&
            (best == NULL || waits_before(core, &task->place, &best->place))) {
            best = task;
        }
    }
    return best;
}

/* The first waiter of a line whose group has workers; only those in memory are looked at. */
static struct task *line_first_served(const struct core *core, const struct line *line)
{
    struct bytes idle = BYTES_NONE; /* a group that has none: mostly all of them are of one */
    for (uint32_t i = 0; line->known && i < line->window.count; i++) {
        struct task *task = lane_at(&line->window, i);
        const struct bytes group = blob_bytes(task->group_name);
        if (bytes_eq(group, idle)) {
            continue;
        }
        if (group_has_workers(core, group)) {
            return task;
        }
        idle = group;
    }
    return NULL;
}

/* The best floating waiter whose group has workers; NULL: there is none. */
static struct task *floating_best_served(const struct core *core, const struct queue *queue)
{
    struct task *best = NULL;
    for (uint32_t i = 0; i < queue->line_count; i++) {
        const struct line *line = queue->lines[i];
        struct task *task = line->id.floating ? line_first_served(core, line) : NULL;
        if (task != NULL && (best == NULL || waits_before(core, &task->place, &best->place))) {
            best = task;
        }
    }
    return best;
}

static void floating_want(struct core *core, struct floating *floating)
{
    const struct task *best = floating_best_waiter(core, floating->queue);
    const struct task *served = floating_best_served(core, floating->queue);
    best = served != NULL ? served : best;
    if (best == NULL) { /* its page is on its way */
        heap_update(&core->refreshes.due, &floating->due,
                    add_saturated(core->wall_ms, READ_RETRY_MS));
        return;
    }
    floating_offer_to(core, floating, blob_bytes(best->group_name));
}

/* Nobody has taken it: perhaps its group has no workers any more, or its waiters have gone. */
static void floating_offer(struct core *core, struct floating *floating)
{
    struct queue *queue = floating->queue;
    if (queue->known && !queue_has_floating_waiters(queue)) {
        floating_done(core, floating);
        return;
    }
    const struct task *best = NULL;
    if (!group_has_workers(core, floating->rec.group)) {
        (void)floating_best_waiter(core, queue); /* has the fronts of its lines read */
        best = floating_best_served(core, queue);
    }
    if (best == NULL) {
        heap_update(&core->refreshes.offers, &floating->offer, core->mono_ms + REFRESH_OFFER_MS);
        return;
    }
    floating_offer_to(core, floating, blob_bytes(best->group_name));
}

/* --- leases read at open --- */

/* A lease read at open, until its limit is in memory. */
struct refresh_stub {
    struct map_node node; /* key: task id */
    struct uuid task_id;
    size_t ref_len;
    uint8_t ref[];
};

void floating_leased(struct core *core, struct bytes task_id, struct bytes ref)
{
    struct refresh_stub *stub = xmalloc(sizeof *stub + ref.len);
    *stub = (struct refresh_stub){.ref_len = ref.len};
    memcpy(stub->task_id.b, task_id.ptr, sizeof stub->task_id.b);
    memcpy(stub->ref, ref.ptr, ref.len);
    map_insert(&core->refreshes.stubs, &stub->node, uuid_bytes(&stub->task_id));
}

static void stub_free(struct core *core, struct refresh_stub *stub)
{
    map_remove(&core->refreshes.stubs, &stub->node);
    free(stub);
}

void refreshes_free(struct core *core)
{
    for (struct map_node *n = map_next(&core->refreshes.stubs, NULL); n != NULL;
         n = map_next(&core->refreshes.stubs, NULL)) {
        stub_free(core, CONTAINER_OF(n, struct refresh_stub, node));
    }
    map_deinit(&core->refreshes.stubs);
    map_deinit(&core->refreshes.by_task);
    heap_deinit(&core->refreshes.due);
    heap_deinit(&core->refreshes.offers);
    heap_deinit(&core->refreshes.expiry);
    sweep_deinit(&core->refreshes.sweep);
}

bool floating_find(struct core *core, struct command *cmd, const struct uuid *task_id,
                   struct floating **ret_floating)
{
    struct refresh_stub *stub =
        MAP_ENTRY(map_find(&core->refreshes.stubs, uuid_bytes(task_id)), struct refresh_stub, node);
    if (stub != NULL) {
        if (!queue_ready(core, queue_get(core, bytes_of(stub->ref, stub->ref_len)), cmd)) {
            return false;
        }
        stub_free(core, stub); /* from now on the limit itself says */
    }
    *ret_floating = MAP_ENTRY(map_find(&core->refreshes.by_task, uuid_bytes(task_id)),
                              struct floating, by_task);
    return true;
}

/* --- after open: every active limit comes to memory --- */

static void scan_row(struct core *core, struct bytes key, struct bytes value)
{
    (void)value;
    const struct row *recent = view_recent(&core->view, key);
    uint8_t scratch[KEY_BYTES_MAX];
    struct bytes tenant;
    struct bytes name;
    const struct bytes ref = bytes_of(key.ptr + 2, key.len - 2);
    if (recent != NULL && recent->del) {
        return;
    }
    if (!queue_ref_parse(ref, scratch, &tenant, &name)) {
        core->corrupt_rows++;
        return;
    }
    queue_load(core, queue_get(core, ref));
}

static void scan_end(struct core *core, bool ok)
{
    if (!ok) {
        core->refreshes.scan = SCAN_WAITS;
        core->refreshes.retry_mono_ms = core->mono_ms + READ_RETRY_MS;
    } else if (sweep_advance(&core->refreshes.sweep)) {
        core->refreshes.scan = SCAN_WAITS;
        core->refreshes.retry_mono_ms = core->mono_ms;
    } else {
        core->refreshes.scan = SCAN_DONE;
    }
}

static void refresh_scan(struct core *core)
{
    if (core->refreshes.scan != SCAN_WAITS || core->refreshes.retry_mono_ms > core->mono_ms) {
        return;
    }
    if (core->refreshes.sweep.range_len == 0) {
        struct key range;
        key_meta(&range, META_REFRESH);
        sweep_begin(&core->refreshes.sweep, &range, BYTES_NONE);
    }
    core->refreshes.scan = SCAN_READS;
    sweep_page(core, &core->refreshes.sweep, PAGE_ROWS_MAX, scan_row, scan_end);
}

/* --- time --- */

void floating_turn(struct core *core)
{
    refresh_scan(core);
    struct heap_node *node = NULL;
    while ((node = heap_min(&core->refreshes.due)) != NULL && node->key <= core->wall_ms) {
        floating_want(core, CONTAINER_OF(node, struct floating, due));
    }
    while (!core->leases.frozen && (node = heap_min(&core->refreshes.expiry)) != NULL &&
           node->key <= core->mono_ms) {
        floating_done(core, CONTAINER_OF(node, struct floating, expiry));
    }
    while ((node = heap_min(&core->refreshes.offers)) != NULL && node->key <= core->mono_ms) {
        floating_offer(core, CONTAINER_OF(node, struct floating, offer));
    }
}

int64_t floating_next_mono_ms(const struct core *core)
{
    const struct heap_node *due = heap_min(&core->refreshes.due);
    const struct heap_node *expiry = core->leases.frozen ? NULL : heap_min(&core->refreshes.expiry);
    const struct heap_node *offer = heap_min(&core->refreshes.offers);
    int64_t next = expiry != NULL ? expiry->key : INT64_MAX;
    next = earlier(next, offer != NULL ? offer->key : INT64_MAX);
    if (due != NULL) {
        const int64_t wait = due->key > core->wall_ms ? due->key - core->wall_ms : 0;
        const int64_t at = add_saturated(core->mono_ms, wait);
        next = earlier(at, next);
    }
    return core->refreshes.scan == SCAN_WAITS ? earlier(next, core->refreshes.retry_mono_ms) : next;
}

/* --- outcomes --- */

static void refresh_succeeded(struct core *core, struct floating *floating, uint32_t value)
{
    const bool raised = value > floating->rec.value;
    floating->rec.value = value;
    floating->rec.refreshed_ms = core->wall_ms;
    floating->rec.failures = 0;
    floating->rec.retry_ms = 0;
    floating_done(core, floating);
    if (raised) {
        queue_freed(core, floating->queue);
    }
}

static void refresh_failed(struct core *core, struct floating *floating)
{
    const uint32_t before = floating->rec.failures < 31 ? floating->rec.failures : 31;
    int64_t backoff = (int64_t)REFRESH_BACKOFF_MS << before;
    backoff = backoff < REFRESH_BACKOFF_MAX_MS ? backoff : REFRESH_BACKOFF_MAX_MS;
    if (floating->rec.failures != UINT32_MAX) {
        floating->rec.failures++;
    }
    floating->rec.retry_ms = add_saturated(core->wall_ms, backoff);
    floating_done(core, floating);
}

enum run report_refresh_run(struct core *core, struct command *cmd)
{
    const struct report_refresh_args *args = &cmd->args.report_refresh;
    struct floating *floating = NULL;
    if (args->has_task_id && !floating_find(core, cmd, &args->task_id, &floating)) {
        return RUN_NEED;
    }
    if (floating == NULL || floating->rec.phase != REFRESH_LEASE) {
        view_touch_absent(&core->view);
        if (args->has_task_id && lease_find(core, &args->task_id) != NULL) {
            return run_fail(cmd, SILO_INTERNAL,
                            "the task runs a job; report it with ReportOutcome");
        }
        return run_fail(cmd, SILO_NOT_FOUND, "lease not found");
    }
    if (args->success) {
        refresh_succeeded(core, floating, args->value);
    } else {
        refresh_failed(core, floating);
    }
    return run_changed(cmd);
}
