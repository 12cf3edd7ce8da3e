/*
 * core/lease.c - the leases of a shard.
 *
 * Heartbeats move the deadline in memory only; each lease has a fresh term from the moment the
 * shard is open, after ownership was in doubt, and after this process stood still.
 */
#include "core/lease.h"

#include "base/assert.h"
#include "base/limits.h"
#include "core/group.h"
#include "core/state.h"

void leases_init(struct core *core)
{
    map_init(&core->leases.by_job);
    map_init(&core->leases.by_task);
    heap_init(&core->leases.expiry);
}

struct lease *lease_find(const struct core *core, const struct uuid *task_id)
{
    return MAP_ENTRY(map_find(&core->leases.by_task, uuid_bytes(task_id)), struct lease, by_task);
}

struct lease *lease_of_job(const struct core *core, struct bytes job_ref)
{
    return MAP_ENTRY(map_find(&core->leases.by_job, job_ref), struct lease, by_job);
}

static struct bytes storage_put(uint8_t **at, struct bytes b)
{
    uint8_t *to = *at;
    if (b.len != 0) {
        memcpy(to, b.ptr, b.len);
    }
    *at += b.len;
    return bytes_of(to, b.len);
}

struct lease *lease_add(struct core *core, struct bytes job_ref, const struct lease_rec *rec)
{
    struct lease *lease =
        xmalloc(sizeof *lease + job_ref.len + rec->worker_id.len + rec->group.len);
    *lease = (struct lease){.rec = *rec, .batch = core->view.open};
    uint8_t *at = lease->storage;
    lease->job_ref = storage_put(&at, job_ref);
    lease->rec.worker_id = storage_put(&at, rec->worker_id);
    lease->rec.group = storage_put(&at, rec->group);
    ASSERT(lease_of_job(core, job_ref) == NULL && lease_find(core, &rec->task_id) == NULL);
    map_insert(&core->leases.by_job, &lease->by_job, lease->job_ref);
    map_insert(&core->leases.by_task, &lease->by_task, uuid_bytes(&lease->rec.task_id));
    heap_insert(&core->leases.expiry, &lease->expiry, core->mono_ms + LEASE_MS);
    return lease;
}

void lease_remove(struct core *core, struct lease *lease)
{
    if (core->leases.by_job.count >= SHARD_LEASES_MAX) {
        groups_hot(core); /* parked polls waited for room */
    }
    map_remove(&core->leases.by_job, &lease->by_job);
    map_remove(&core->leases.by_task, &lease->by_task);
    heap_remove(&core->leases.expiry, &lease->expiry);
    free(lease);
}

void lease_write(struct core *core, struct lease *lease, bool fresh)
{
    struct key key;
    key_by_ref(&key, TABLE_LEASE, lease->job_ref);
    buf_reset(&core->scratch);
    lease_encode(&core->scratch, &lease->rec);
    view_put(&core->view, key_bytes(&key), buf_bytes(&core->scratch), fresh);
    lease->batch = core->view.open;
}

void lease_rename(struct core *core, struct lease *lease, const struct uuid *task_id)
{
    map_remove(&core->leases.by_task, &lease->by_task);
    lease->rec.task_id = *task_id;
    map_insert(&core->leases.by_task, &lease->by_task, uuid_bytes(&lease->rec.task_id));
}

void lease_renew(struct core *core, struct lease *lease)
{
    const bool held = !lease->undelivered && lease->unreadable == NULL;
    lease->expiring = false; /* an expiry on its way comes too late */
    heap_update(&core->leases.expiry, &lease->expiry, core->mono_ms + (held ? LEASE_MS : 0));
}

/* The same for a shorter term, which a lease that lasts longer does not need. */
void lease_extend(struct core *core, struct lease *lease, int64_t term_ms)
{
    const bool held = !lease->undelivered && lease->unreadable == NULL;
    if (held && lease->expiry.key < core->mono_ms + term_ms) {
        lease->expiring = false;
        heap_update(&core->leases.expiry, &lease->expiry, core->mono_ms + term_ms);
    }
}

void lease_spoil(struct core *core, struct lease *lease, const char *why)
{
    lease->unreadable = why;
    lease_renew(core, lease);
}

void leases_free(struct core *core)
{
    for (struct map_node *n = map_next(&core->leases.by_job, NULL); n != NULL;
         n = map_next(&core->leases.by_job, NULL)) {
        lease_remove(core, CONTAINER_OF(n, struct lease, by_job));
    }
    map_deinit(&core->leases.by_job);
    map_deinit(&core->leases.by_task);
    heap_deinit(&core->leases.expiry);
}
