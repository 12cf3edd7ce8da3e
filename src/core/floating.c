/*
 * core/floating.c - floating limits: values that workers refresh while somebody waits for them.
 *
 *      NONE ──── value old, waiters ────► TASK ──── polled ────► LEASE ──── reported, expired ────► NONE
 *
 * A refresh is driven by time (core->refresh_due), never by arrivals: a queue that stands still is
 * refreshed, too. The task is no job's token: it lives in the floating row and stands in its group
 * ahead of all jobs. It goes to the group of the queue's best waiter among those whose groups have
 * workers. If nobody takes it, it is offered anew: to another group of waiters once that has
 * workers and its own has none; to nobody when nobody waits any more.
 *
 * A limit with floating waiters or a refresh under way has a META_REFRESH row; after open these are
 * read in the background, page by page, so that every such limit is in memory and stays there.
 */
#include "base/assert.h"
#include "base/saturate.h"
#include "core/core_int.h"

static void blob_replace(struct blob **blob, struct bytes *field, struct bytes value)
{
    struct blob *next = blob_new(value);
    blob_unref(*blob);
    *blob = next;
    *field = blob_bytes(next);
}

static struct floating *floating_new(struct queue *queue, const struct floating_rec *rec)
{
    struct floating *floating = xcalloc(1, sizeof *floating);
    floating->queue = queue;
    floating->rec = *rec;
    blob_replace(&floating->metadata, &floating->rec.metadata, rec->metadata);
    blob_replace(&floating->group, &floating->rec.group, rec->group);
    blob_replace(&floating->worker, &floating->rec.worker_id, rec->worker_id);
    queue->floating = floating;
    return floating;
}

static void floating_write(struct core *core, struct floating *floating)
{
    struct key key;
    key_queue(&key, queue_ref(floating->queue), QUEUE_FLOATING);
    buf_reset(&core->scratch);
    floating_encode(&core->scratch, &floating->rec);
    view_put(&core->view, key_bytes(&key), buf_bytes(&core->scratch), false);
    floating->batch = core->view.open;
}

/* Leaves the structures of its phase. */
static void floating_unlink(struct core *core, struct floating *floating)
{
    list_remove(&floating->in_group);
    if (floating->rec.phase != REFRESH_NONE) {
        map_remove(&core->refreshes, &floating->by_task);
    }
    if (heap_has(&floating->expiry)) {
        heap_remove(&core->refresh_expiry, &floating->expiry);
    }
    if (heap_has(&floating->offer)) {
        heap_remove(&core->refresh_offers, &floating->offer);
    }
    if (heap_has(&floating->due)) {
        heap_remove(&core->refresh_due, &floating->due);
    }
}

static void floating_link(struct core *core, struct floating *floating)
{
    if (floating->rec.phase == REFRESH_NONE) {
        return;
    }
    map_insert(&core->refreshes, &floating->by_task, uuid_bytes(&floating->rec.task_id));
    if (floating->rec.phase == REFRESH_LEASE) {
        heap_insert(&core->refresh_expiry, &floating->expiry, core->mono_ms + LEASE_MS);
        return;
    }
    heap_insert(&core->refresh_offers, &floating->offer, core->mono_ms + REFRESH_OFFER_MS);
    struct group *group = group_get(core, floating->rec.group);
    list_push_back(&group->refreshes, &floating->in_group);
    group_hot(core, group);
}

/* The row that says, by task id, which limit a worker refreshes. */
static void floating_mark_lease(struct core *core, const struct floating *floating, bool leased)
{
    struct key key;
    key_meta_ref(&key, META_REFRESH_LEASE, uuid_bytes(&floating->rec.task_id));
    if (leased) {
        view_put(&core->view, key_bytes(&key), queue_ref(floating->queue), true);
    } else if (floating->rec.phase == REFRESH_LEASE) {
        view_del(&core->view, key_bytes(&key));
    }
}

static void floating_set_phase(struct core *core, struct floating *floating,
                               enum refresh_phase phase)
{
    floating_mark_lease(core, floating, phase == REFRESH_LEASE);
    floating_unlink(core, floating);
    floating->rec.phase = phase;
    floating->rec.since_ms = core->wall_ms;
    if (phase == REFRESH_NONE) {
        blob_replace(&floating->group, &floating->rec.group, BYTES_NONE);
    }
    if (phase != REFRESH_LEASE) {
        blob_replace(&floating->worker, &floating->rec.worker_id, BYTES_NONE);
    }
    floating_link(core, floating);
    floating_write(core, floating);
    floating_update(core, floating->queue);
}

void floating_free(struct core *core, struct floating *floating)
{
    floating_unlink(core, floating);
    blob_unref(floating->metadata);
    blob_unref(floating->group);
    blob_unref(floating->worker);
    floating->queue->floating = NULL;
    free(floating);
}

void floating_load(struct core *core, struct queue *queue, bool present, struct bytes value)
{
    struct floating_rec rec;
    if (present && !floating_decode(value, &rec)) {
        core_break(core, "a floating limit's record is corrupt");
        return;
    }
    const bool active = queue_has_floating_waiters(queue) || (present && rec.phase != REFRESH_NONE);
    queue->refresh_stored = active;
    if (present) {
        floating_link(core, floating_new(queue, &rec));
        floating_update(core, queue);
    }
}

static struct bytes floating_metadata(struct buf *buf,
                                      const Silo__V1__FloatingConcurrencyLimit *limit)
{
    for (size_t i = 0; i < limit->n_metadata; i++) {
        item_append(buf, bytes_str(limit->metadata[i]->key));
        item_append(buf, bytes_str(limit->metadata[i]->value));
    }
    return buf_bytes(buf);
}

void floating_ensure(struct core *core, struct queue *queue,
                     const Silo__V1__FloatingConcurrencyLimit *limit)
{
    ASSERT(queue->known);
    if (queue->floating != NULL) {
        return;
    }
    struct buf pairs;
    buf_init(&pairs, SIZE_MAX / 4);
    const struct floating_rec rec = {
        .value = limit->default_max_concurrency,
        .default_max = limit->default_max_concurrency,
        .interval_ms = limit->refresh_interval_ms,
        .metadata_count = (uint32_t)limit->n_metadata,
        .metadata = floating_metadata(&pairs, limit),
    };
    floating_write(core, floating_new(queue, &rec));
    buf_deinit(&pairs);
}

/* --- when a refresh is due --- */

/* Stamps of a clock that was ahead say nothing: such a value is old, and such a back-off over. */
static int64_t floating_due_ms(const struct core *core, const struct floating_rec *rec)
{
    const bool known = rec->refreshed_ms != 0 && rec->refreshed_ms <= core->wall_ms;
    const int64_t old = known ? add_saturated(rec->refreshed_ms, rec->interval_ms) : 0;
    const bool waits = rec->retry_ms <= add_saturated(core->wall_ms, REFRESH_BACKOFF_MAX_MS);
    return waits && rec->retry_ms > old ? rec->retry_ms : old;
}

void floating_update(struct core *core, struct queue *queue)
{
    struct floating *floating = queue->floating;
    if (floating == NULL) {
        return;
    }
    const bool waiters = queue_has_floating_waiters(queue);
    const bool wanted = waiters && floating->rec.phase == REFRESH_NONE;
    if (wanted && !heap_has(&floating->due)) {
        heap_insert(&core->refresh_due, &floating->due, floating_due_ms(core, &floating->rec));
    } else if (wanted) {
        heap_update(&core->refresh_due, &floating->due, floating_due_ms(core, &floating->rec));
    } else if (heap_has(&floating->due)) {
        heap_remove(&core->refresh_due, &floating->due);
    }
    const bool active = waiters || floating->rec.phase != REFRESH_NONE;
    if (active != queue->refresh_stored) {
        struct key key;
        key_meta_ref(&key, META_REFRESH, queue_ref(queue));
        if (active) {
            view_put(&core->view, key_bytes(&key), BYTES_NONE, true);
        } else {
            view_del(&core->view, key_bytes(&key));
        }
        queue->refresh_stored = active;
    }
}

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
        heap_update(&core->refresh_due, &floating->due,
                    add_saturated(core->wall_ms, READ_RETRY_MS));
        return;
    }
    floating->rec.task_id = core_make_id(core);
    blob_replace(&floating->group, &floating->rec.group, blob_bytes(best->group_name));
    floating_set_phase(core, floating, REFRESH_TASK);
}

/* Nobody has taken it: perhaps its group has no workers any more, or its waiters have gone. */
static void floating_offer(struct core *core, struct floating *floating)
{
    struct queue *queue = floating->queue;
    if (queue->known && !queue_has_floating_waiters(queue)) {
        floating_set_phase(core, floating, REFRESH_NONE);
        return;
    }
    const struct task *best = NULL;
    if (!group_has_workers(core, floating->rec.group)) {
        (void)floating_best_waiter(core, queue); /* has the fronts of its lines read */
        best = floating_best_served(core, queue);
    }
    if (best == NULL) {
        heap_update(&core->refresh_offers, &floating->offer, core->mono_ms + REFRESH_OFFER_MS);
        return;
    }
    floating_unlink(core, floating);
    blob_replace(&floating->group, &floating->rec.group, blob_bytes(best->group_name));
    floating_link(core, floating);
    floating_write(core, floating);
}

/* --- its lease --- */

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
    map_insert(&core->refresh_stubs, &stub->node, uuid_bytes(&stub->task_id));
}

static void stub_free(struct core *core, struct refresh_stub *stub)
{
    map_remove(&core->refresh_stubs, &stub->node);
    free(stub);
}

void floating_stubs_free(struct core *core)
{
    for (struct map_node *n = map_next(&core->refresh_stubs, NULL); n != NULL;
         n = map_next(&core->refresh_stubs, NULL)) {
        stub_free(core, CONTAINER_OF(n, struct refresh_stub, node));
    }
    map_deinit(&core->refresh_stubs);
}

bool floating_find(struct core *core, struct command *cmd, const struct uuid *task_id,
                   struct floating **ret_floating)
{
    struct refresh_stub *stub =
        MAP_ENTRY(map_find(&core->refresh_stubs, uuid_bytes(task_id)), struct refresh_stub, node);
    if (stub != NULL) {
        if (!queue_ready(core, queue_get(core, bytes_of(stub->ref, stub->ref_len)), cmd)) {
            return false;
        }
        stub_free(core, stub); /* from now on the limit itself says */
    }
    *ret_floating =
        MAP_ENTRY(map_find(&core->refreshes, uuid_bytes(task_id)), struct floating, by_task);
    return true;
}

void floating_lease(struct core *core, struct floating *floating, struct command *cmd,
                    struct refresh_task *out)
{
    const struct bytes ref = arena_copy(cmd->arena, queue_ref(floating->queue));
    *out = (struct refresh_task){
        .task_id = floating->rec.task_id,
        .value = floating->rec.value,
        .refreshed_ms = floating->rec.refreshed_ms,
        .metadata_count = floating->rec.metadata_count,
        .metadata = arena_copy(cmd->arena, floating->rec.metadata),
    };
    ASSERT(queue_ref_parse(ref, arena_alloc(cmd->arena, 2 * ref.len), &out->tenant, &out->queue));
    blob_replace(&floating->worker, &floating->rec.worker_id, cmd->args.poll.worker_id);
    floating_set_phase(core, floating, REFRESH_LEASE);
}

void floating_renew(struct core *core, struct floating *floating, int64_t term_ms)
{
    const int64_t end_mono_ms = core->mono_ms + term_ms;
    if (floating->expiry.key < end_mono_ms) {
        heap_update(&core->refresh_expiry, &floating->expiry, end_mono_ms);
    }
}

/* Its worker never heard of it. */
void floating_give_back(struct core *core, struct floating *floating)
{
    if (floating->rec.phase == REFRESH_LEASE) {
        floating_set_phase(core, floating, REFRESH_TASK);
    }
}

/* --- time --- */

static void refresh_scan(struct core *core);

void floating_turn(struct core *core)
{
    refresh_scan(core);
    struct heap_node *node = NULL;
    while ((node = heap_min(&core->refresh_due)) != NULL && node->key <= core->wall_ms) {
        floating_want(core, CONTAINER_OF(node, struct floating, due));
    }
    while (!core->leases_frozen && (node = heap_min(&core->refresh_expiry)) != NULL &&
           node->key <= core->mono_ms) {
        floating_set_phase(core, CONTAINER_OF(node, struct floating, expiry), REFRESH_NONE);
    }
    while ((node = heap_min(&core->refresh_offers)) != NULL && node->key <= core->mono_ms) {
        floating_offer(core, CONTAINER_OF(node, struct floating, offer));
    }
}

int64_t floating_next_mono_ms(const struct core *core)
{
    const struct heap_node *due = heap_min(&core->refresh_due);
    const struct heap_node *expiry = core->leases_frozen ? NULL : heap_min(&core->refresh_expiry);
    const struct heap_node *offer = heap_min(&core->refresh_offers);
    int64_t next = expiry != NULL ? expiry->key : INT64_MAX;
    if (offer != NULL && offer->key < next) {
        next = offer->key;
    }
    if (due != NULL) {
        const int64_t wait = due->key > core->wall_ms ? due->key - core->wall_ms : 0;
        const int64_t at = add_saturated(core->mono_ms, wait);
        next = at < next ? at : next;
    }
    if (core->refresh_scan == SCAN_WAITS && core->refresh_retry_mono_ms < next) {
        next = core->refresh_retry_mono_ms;
    }
    return next;
}

/* --- after open: every active limit comes to memory --- */

static void scan_row(struct core *core, struct core_read *read, struct bytes key,
                     struct bytes value, bool present)
{
    (void)value;
    (void)present;
    page_note_last(read, key);
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

static void scan_end(struct core *core, struct core_read *read, bool ok, bool more)
{
    if (!ok) {
        core->refresh_scan = SCAN_WAITS;
        core->refresh_retry_mono_ms = core->mono_ms + READ_RETRY_MS;
    } else if (more) {
        core->refresh_scan = SCAN_WAITS;
        core->refresh_retry_mono_ms = core->mono_ms;
    } else {
        core->refresh_scan = SCAN_DONE;
    }
    if (ok && more) {
        buf_reset(&core->refresh_cursor);
        buf_append(&core->refresh_cursor, read->last.ptr, read->last.len);
        buf_u8(&core->refresh_cursor, 0);
    }
}

static void refresh_scan(struct core *core)
{
    if (core->refresh_scan != SCAN_WAITS || core->refresh_retry_mono_ms > core->mono_ms) {
        return;
    }
    struct key lo;
    struct key hi;
    key_meta(&lo, META_REFRESH);
    hi = lo;
    ASSERT(key_after_prefix(&hi));
    struct core_read *read = read_new();
    const struct bytes cursor = buf_bytes(&core->refresh_cursor);
    read->scan = true;
    read->lo = arena_copy(&read->arena, cursor.len != 0 ? cursor : key_bytes(&lo));
    read->hi = arena_copy(&read->arena, key_bytes(&hi));
    read->rows_max = PAGE_ROWS_MAX;
    read->on_row = scan_row;
    read->on_end = scan_end;
    core->refresh_scan = SCAN_READS;
    read_queue(core, read);
}

/* --- outcomes --- */

static void refresh_succeeded(struct core *core, struct floating *floating, uint32_t value)
{
    const bool raised = value > floating->rec.value;
    floating->rec.value = value;
    floating->rec.refreshed_ms = core->wall_ms;
    floating->rec.failures = 0;
    floating->rec.retry_ms = 0;
    floating_set_phase(core, floating, REFRESH_NONE);
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
    floating_set_phase(core, floating, REFRESH_NONE);
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
