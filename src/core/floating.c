/*
 * core/floating.c - the state of a floating limit.
 *
 *      NONE ──── value old, waiters ────► TASK ──── polled ────► LEASE ──── reported, expired ────► NONE
 *
 * The task is no job's token: it lives in the floating row and stands in its group ahead of all
 * jobs.
 */
#include "core/floating.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/saturate.h"
#include "core/group.h"
#include "core/ids.h"
#include "core/queue.h"
#include "core/run.h"
#include "core/state.h"

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
        map_remove(&core->refreshes.by_task, &floating->by_task);
    }
    if (heap_has(&floating->expiry)) {
        heap_remove(&core->refreshes.expiry, &floating->expiry);
    }
    if (heap_has(&floating->offer)) {
        heap_remove(&core->refreshes.offers, &floating->offer);
    }
    if (heap_has(&floating->due)) {
        heap_remove(&core->refreshes.due, &floating->due);
    }
}

static void floating_link(struct core *core, struct floating *floating)
{
    if (floating->rec.phase == REFRESH_NONE) {
        return;
    }
    map_insert(&core->refreshes.by_task, &floating->by_task, uuid_bytes(&floating->rec.task_id));
    if (floating->rec.phase == REFRESH_LEASE) {
        heap_insert(&core->refreshes.expiry, &floating->expiry, core->mono_ms + LEASE_MS);
        return;
    }
    heap_insert(&core->refreshes.offers, &floating->offer, core->mono_ms + REFRESH_OFFER_MS);
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
    if (phase == REFRESH_TASK) {
        floating->rec.task_id = core_make_id(core); /* who gave it back may still report that one */
    }
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

void floating_ensure(struct core *core, struct queue *queue, const struct floating_limit *limit)
{
    ASSERT(queue->known);
    if (queue->floating != NULL) {
        return;
    }
    const struct floating_rec rec = {
        .value = limit->default_max,
        .default_max = limit->default_max,
        .interval_ms = limit->interval_ms,
        .metadata_count = limit->metadata_count,
        .metadata = limit->metadata,
    };
    floating_write(core, floating_new(queue, &rec));
}

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
        heap_insert(&core->refreshes.due, &floating->due, floating_due_ms(core, &floating->rec));
    } else if (wanted) {
        heap_update(&core->refreshes.due, &floating->due, floating_due_ms(core, &floating->rec));
    } else if (heap_has(&floating->due)) {
        heap_remove(&core->refreshes.due, &floating->due);
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

/* --- its task --- */

void floating_offer_to(struct core *core, struct floating *floating, struct bytes group)
{
    if (floating->rec.phase == REFRESH_NONE) {
        blob_replace(&floating->group, &floating->rec.group, group);
        floating_set_phase(core, floating, REFRESH_TASK);
        return;
    }
    floating_unlink(core, floating);
    blob_replace(&floating->group, &floating->rec.group, group);
    floating_link(core, floating);
    floating_write(core, floating);
}

void floating_done(struct core *core, struct floating *floating)
{
    floating_set_phase(core, floating, REFRESH_NONE);
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
        heap_update(&core->refreshes.expiry, &floating->expiry, end_mono_ms);
    }
}

/* Its worker never heard of it. */
void floating_give_back(struct core *core, struct floating *floating)
{
    if (floating->rec.phase == REFRESH_LEASE) {
        floating_set_phase(core, floating, REFRESH_TASK);
    }
}
