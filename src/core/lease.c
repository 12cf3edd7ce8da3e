/*
 * core/lease.c - running jobs: which worker holds which task, and until when.
 *
 * All leases are in memory. Heartbeats move the deadline in memory only; each lease has a fresh
 * term from the moment the shard is open, after ownership was in doubt, and after this process
 * stood still. An expired lease is reported as a failed attempt by an internal command, so that
 * expiry and reports share their code; one whose task never reached its worker goes back instead.
 */
#include <stdio.h>

#include "base/assert.h"
#include "core/core_int.h"

struct lease *lease_find(const struct core *core, const struct uuid *task_id)
{
    return MAP_ENTRY(map_find(&core->leases_by_task, uuid_bytes(task_id)), struct lease, by_task);
}

struct lease *lease_of_job(const struct core *core, struct bytes job_ref)
{
    return MAP_ENTRY(map_find(&core->leases_by_job, job_ref), struct lease, by_job);
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
    map_insert(&core->leases_by_job, &lease->by_job, lease->job_ref);
    map_insert(&core->leases_by_task, &lease->by_task, uuid_bytes(&lease->rec.task_id));
    heap_insert(&core->expiry, &lease->expiry, core->mono_ms + LEASE_MS);
    if (rec->has_mark) {
        marks_add(core, lease);
    }
    return lease;
}

void lease_remove(struct core *core, struct lease *lease)
{
    if (core->leases_by_job.count >= SHARD_LEASES_MAX) {
        groups_hot(core); /* parked polls waited for room */
    }
    marks_remove(core, lease);
    map_remove(&core->leases_by_job, &lease->by_job);
    map_remove(&core->leases_by_task, &lease->by_task);
    heap_remove(&core->expiry, &lease->expiry);
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

static struct command *expiry_give_back(struct core *core, const struct uuid *task_id)
{
    struct command *cmd = inner_new(core, CMD_GIVE_BACK, BYTES_NONE);
    struct uuid *id = arena_alloc(cmd->arena, sizeof *id);
    *id = *task_id;
    cmd->args.give_back = (struct give_back_args){.task_ids = id, .count = 1};
    return cmd;
}

void lease_renew(struct core *core, struct lease *lease)
{
    const bool held = !lease->undelivered && lease->unreadable == NULL;
    lease->expiring = false; /* an expiry on its way comes too late */
    heap_update(&core->expiry, &lease->expiry, core->mono_ms + (held ? LEASE_MS : 0));
}

/* The same for a shorter term, which a lease that lasts longer does not need. */
static void lease_extend(struct core *core, struct lease *lease, int64_t term_ms)
{
    const bool held = !lease->undelivered && lease->unreadable == NULL;
    if (held && lease->expiry.key < core->mono_ms + term_ms) {
        lease->expiring = false;
        heap_update(&core->expiry, &lease->expiry, core->mono_ms + term_ms);
    }
}

void lease_spoil(struct core *core, struct lease *lease, const char *why)
{
    lease->unreadable = why;
    lease_renew(core, lease);
}

void core_undelivered(struct core *core, const struct uuid *task_id, const char *unreadable)
{
    struct lease *lease = lease_find(core, task_id);
    if (lease != NULL && unreadable != NULL) {
        lease_spoil(core, lease, unreadable);
    } else if (lease != NULL) {
        lease->undelivered = true;
        lease_renew(core, lease);
    } else if (unreadable == NULL) { /* it may refresh a limit */
        core_submit(core, expiry_give_back(core, task_id));
    }
}

/* A MessagePack str 16. */
static struct bytes packed_text(struct arena *arena, const char *text)
{
    const size_t len = strlen(text);
    uint8_t *out = arena_alloc(arena, len + 3);
    out[0] = 0xda;
    out[1] = (uint8_t)(len >> 8);
    out[2] = (uint8_t)len;
    /*
     * NOLINTNEXTLINE(bugprone-not-null-terminated-result): MessagePack strings have a length
     * instead
     */
    memcpy(out + 3, text, len);
    return bytes_of(out, len + 3);
}

/* What happened; the worker id is cut to what fits. */
static struct bytes expiry_text(const struct core *core, const struct lease *lease,
                                struct arena *arena)
{
    const struct bytes worker = lease->rec.worker_id;
    const size_t shown = worker.len < 256 ? worker.len : 256;
    return packed_text(
        arena, arena_printf(arena, "lease expired %lld ms after its start (now %lld), worker %.*s",
                            (long long)(core->wall_ms - lease->rec.started_ms),
                            (long long)core->wall_ms, (int)shown, (const char *)worker.ptr));
}

static struct command *expiry_report(struct core *core, const struct lease *lease)
{
    struct command *cmd = inner_new(core, CMD_REPORT, BYTES_NONE);
    cmd->args.report = (struct report_args){
        .has_task_id = true,
        .task_id = lease->rec.task_id,
        .status = ATTEMPT_FAILED, /* of a marked job: cancelled, as report_run finds */
        .error_code = BYTES_LIT(ERROR_WORKER_CRASHED),
        .data = expiry_text(core, lease, cmd->arena),
    };
    if (lease->unreadable != NULL) {
        cmd->args.report.error_code = BYTES_LIT(ERROR_JOB_UNREADABLE);
        cmd->args.report.data = packed_text(cmd->arena, lease->unreadable);
        cmd->args.report.final = true;
    }
    return cmd;
}

static void lease_expire(struct core *core, struct lease *lease)
{
    const bool back = lease->undelivered && lease->unreadable == NULL;
    struct command *cmd =
        back ? expiry_give_back(core, &lease->rec.task_id) : expiry_report(core, lease);
    lease->expiring = true;
    /* Out of the way of others until the command is through. */
    heap_update(&core->expiry, &lease->expiry, INT64_MAX);
    core_submit(core, cmd);
}

void lease_turn(struct core *core)
{
    if (core->leases_frozen) {
        return;
    }
    for (uint32_t n = 0; n < TURN_EXPIRIES_MAX; n++) {
        struct heap_node *node = heap_min(&core->expiry);
        if (node == NULL || node->key > core->mono_ms) {
            return;
        }
        lease_expire(core, CONTAINER_OF(node, struct lease, expiry));
    }
}

void core_freeze_leases(struct core *core, bool frozen)
{
    core->leases_frozen = frozen;
}

void core_renew_leases(struct core *core, int64_t term_ms)
{
    ASSERT(term_ms >= 0 && term_ms <= LEASE_MS);
    for (struct map_node *n = map_next(&core->leases_by_job, NULL); n != NULL;
         n = map_next(&core->leases_by_job, n)) {
        lease_extend(core, CONTAINER_OF(n, struct lease, by_job), term_ms);
    }
    for (struct map_node *n = map_next(&core->refreshes, NULL); n != NULL;
         n = map_next(&core->refreshes, n)) {
        struct floating *floating = CONTAINER_OF(n, struct floating, by_task);
        if (floating->rec.phase == REFRESH_LEASE) {
            floating_renew(core, floating, term_ms);
        }
    }
}

bool core_leases_due(const struct core *core)
{
    const struct heap_node *node = heap_min(&core->expiry);
    const struct heap_node *refresh = heap_min(&core->refresh_expiry);
    return (node != NULL && node->key <= core->mono_ms) ||
           (refresh != NULL && refresh->key <= core->mono_ms);
}

void leases_free(struct core *core)
{
    for (struct map_node *n = map_next(&core->leases_by_job, NULL); n != NULL;
         n = map_next(&core->leases_by_job, NULL)) {
        lease_remove(core, CONTAINER_OF(n, struct lease, by_job));
    }
    map_deinit(&core->leases_by_job);
    map_deinit(&core->leases_by_task);
    heap_deinit(&core->expiry);
}

enum run renew_run(struct core *core, struct command *cmd)
{
    const struct renew_args *args = &cmd->args.renew;
    for (size_t i = 0; i < args->count; i++) {
        struct lease *lease = lease_find(core, &args->task_ids[i]);
        struct floating *floating = NULL;
        if (lease != NULL) {
            lease_renew(core, lease);
        } else if (!floating_find(core, cmd, &args->task_ids[i], &floating)) {
            return RUN_NEED;
        } else if (floating != NULL && floating->rec.phase == REFRESH_LEASE) {
            floating_renew(core, floating, LEASE_MS);
        }
    }
    return run_ok(cmd);
}

static enum run heartbeat_refresh(struct core *core, struct command *cmd, struct floating *floating)
{
    view_touch(&core->view, floating->batch);
    if (!bytes_eq(floating->rec.worker_id, cmd->args.heartbeat.worker_id)) {
        return run_fail(cmd, SILO_PRECONDITION, "lease owner mismatch");
    }
    floating_renew(core, floating, LEASE_MS);
    cmd->result.heartbeat = (struct heartbeat_result){0};
    return run_ok(cmd);
}

enum run heartbeat_run(struct core *core, struct command *cmd)
{
    const struct heartbeat_args *args = &cmd->args.heartbeat;
    struct lease *lease = args->has_task_id ? lease_find(core, &args->task_id) : NULL;
    if (lease == NULL) {
        struct floating *floating = NULL;
        if (args->has_task_id && !floating_find(core, cmd, &args->task_id, &floating)) {
            return RUN_NEED;
        }
        if (floating != NULL && floating->rec.phase == REFRESH_LEASE) {
            return heartbeat_refresh(core, cmd, floating);
        }
        view_touch_absent(&core->view);
        return run_fail(cmd, SILO_NOT_FOUND, "lease not found");
    }
    view_touch(&core->view, lease->batch);
    if (!bytes_eq(lease->rec.worker_id, args->worker_id)) {
        return run_fail(cmd, SILO_PRECONDITION, "lease owner mismatch");
    }
    lease->undelivered = false; /* it has reached its worker after all */
    lease_renew(core, lease);
    cmd->result.heartbeat = (struct heartbeat_result){.cancelled = lease->rec.has_mark,
                                                      .cancelled_ms = lease->rec.mark_ms};
    return run_ok(cmd);
}
