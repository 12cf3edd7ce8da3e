/* core/expiry.c - the ends of leases, and their new terms. */
#include "core/expiry.h"

#include "base/assert.h"
#include "base/limits.h"
#include "core/floating.h"
#include "core/inner.h"
#include "core/job.h"
#include "core/lease.h"
#include "core/state.h"

/* The command that ends a lease is on its way, until expiry_ended. */
static void expiry_begin(struct core *core, struct command *cmd)
{
    core->leases.expiries++;
    inner_wake(core, cmd);
}

static struct command *expiry_give_back(struct core *core, const struct uuid *task_id)
{
    struct command *cmd = inner_new(core, CMD_GIVE_BACK, BYTES_NONE);
    struct uuid *id = arena_alloc(cmd->arena, sizeof *id);
    *id = *task_id;
    cmd->args.give_back = (struct give_back_args){.task_ids = id, .count = 1};
    return cmd;
}

/* What happened; the worker id is cut to what fits. */
static struct bytes expiry_text(const struct core *core, const struct lease *lease,
                                struct arena *arena)
{
    const struct bytes worker = lease->rec.worker_id;
    const size_t shown = worker.len < 256 ? worker.len : 256;
    return job_error_text(
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
        cmd->args.report.data = job_error_text(cmd->arena, lease->unreadable);
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
    heap_update(&core->leases.expiry, &lease->expiry, INT64_MAX);
    expiry_begin(core, cmd);
}

/* Its task goes back now, if it is not on its way already. */
static void lease_back(struct core *core, struct lease *lease)
{
    if (lease->unreadable == NULL && !lease->expiring) {
        lease_expire(core, lease);
    }
}

void core_undelivered(struct core *core, const struct uuid *task_id, const char *unreadable)
{
    struct lease *lease = lease_find(core, task_id);
    if (lease != NULL && unreadable != NULL) {
        lease_spoil(core, lease, unreadable);
    } else if (lease != NULL) {
        lease->undelivered = true;
        if (core->run.leaving) {
            lease_back(core, lease);
        } else {
            lease_renew(core, lease);
        }
    } else if (unreadable == NULL) { /* it may refresh a limit */
        expiry_begin(core, expiry_give_back(core, task_id));
    }
}

void expiry_turn(struct core *core)
{
    if (core->leases.frozen) {
        return;
    }
    for (uint32_t n = 0; n < TURN_EXPIRIES_MAX && core->leases.expiries < SHARD_EXPIRIES_MAX; n++) {
        struct heap_node *node = heap_min(&core->leases.expiry);
        if (node == NULL || node->key > core->mono_ms) {
            return;
        }
        lease_expire(core, CONTAINER_OF(node, struct lease, expiry));
    }
}

void expiry_leave(struct core *core)
{
    for (struct map_node *n = map_next(&core->leases.by_job, NULL); n != NULL;
         n = map_next(&core->leases.by_job, n)) {
        struct lease *lease = CONTAINER_OF(n, struct lease, by_job);
        if (lease->undelivered) {
            lease_back(core, lease);
        }
    }
}

int64_t expiry_next_mono_ms(const struct core *core)
{
    const struct heap_node *node = heap_min(&core->leases.expiry);
    if (core->leases.frozen || core->leases.expiries >= SHARD_EXPIRIES_MAX || node == NULL) {
        return INT64_MAX; /* the end of one of those under way brings a turn */
    }
    return node->key;
}

void expiry_ended(struct core *core, const struct command *cmd)
{
    ASSERT(core->leases.expiries != 0);
    core->leases.expiries--;
    const struct uuid *task_id =
        cmd->kind == CMD_REPORT ? &cmd->args.report.task_id : cmd->args.give_back.task_ids;
    struct lease *lease = lease_find(core, task_id);
    if (lease != NULL && lease->expiring) { /* it failed */
        lease->expiring = false;
        heap_update(&core->leases.expiry, &lease->expiry, core->mono_ms + OWNERSHIP_RENEW_MS);
    }
}

void core_freeze_leases(struct core *core, bool frozen)
{
    core->leases.frozen = frozen;
}

void core_renew_leases(struct core *core, int64_t term_ms)
{
    ASSERT(term_ms >= 0 && term_ms <= LEASE_MS);
    for (struct map_node *n = map_next(&core->leases.by_job, NULL); n != NULL;
         n = map_next(&core->leases.by_job, n)) {
        lease_extend(core, CONTAINER_OF(n, struct lease, by_job), term_ms);
    }
    for (struct map_node *n = map_next(&core->refreshes.by_task, NULL); n != NULL;
         n = map_next(&core->refreshes.by_task, n)) {
        struct floating *floating = CONTAINER_OF(n, struct floating, by_task);
        if (floating->rec.phase == REFRESH_LEASE) {
            floating_renew(core, floating, term_ms);
        }
    }
}

bool core_leases_due(const struct core *core)
{
    const struct heap_node *node = heap_min(&core->leases.expiry);
    const struct heap_node *refresh = heap_min(&core->refreshes.expiry);
    return (node != NULL && node->key <= core->mono_ms) ||
           (refresh != NULL && refresh->key <= core->mono_ms);
}
