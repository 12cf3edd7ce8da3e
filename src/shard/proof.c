/*
 * shard/proof.c - is the shard still ours?
 *
 * Reads and heartbeats write nothing, so no fence stops them: they are answered on a proof of
 * ownership at most OWNERSHIP_MS old, a durable flush or a manifest refresh. Under such traffic the
 * proof is renewed once a second; an idle shard renews nothing. No lease expires on a stale proof;
 * one that took longer than that to renew was an outage, and then every lease has a fresh term, so
 * that an outage fails no running job.
 */
#include "shard/shard_int.h"

static int64_t awake_ms(const struct incarnation *inc)
{
    return inc->shard->executor->awake_mono_ms;
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static bool proof_fresh(const struct incarnation *inc)
{
    return shard_mono_ms(inc->shard) - inc->proof_mono_ms <= OWNERSHIP_MS;
}

static void refresh_start(struct incarnation *inc)
{
    if (inc->refreshing || inc->db == NULL ||
        shard_mono_ms(inc->shard) - inc->refresh_mono_ms < OWNERSHIP_RENEW_MS) {
        return;
    }
    struct op *op = op_begin(inc, OP_REFRESH);
    inc->refresh_mono_ms = shard_mono_ms(inc->shard);
    inc->refreshing = true;
    if (store_ops_of(inc->db)->refresh(inc->db, (uintptr_t)op, NULL).code != SILO_OK) {
        inc->refreshing = false;
        op_free(op);
    }
}

void proof_answer(struct incarnation *inc, struct command *cmd)
{
    if (shard_mono_ms(inc->shard) - inc->proof_mono_ms > OWNERSHIP_RENEW_MS) {
        refresh_start(inc);
    }
    if (proof_fresh(inc)) {
        commit_release(inc, cmd);
    } else {
        list_push_back(&inc->unproved, &cmd->node);
    }
}

void proof_gained(struct incarnation *inc, int64_t since_mono_ms)
{
    if (since_mono_ms > inc->proof_mono_ms) {
        inc->proof_mono_ms = since_mono_ms;
    }
    if (!proof_fresh(inc)) {
        return;
    }
    struct list_node *node = NULL;
    while ((node = list_pop_front(&inc->unproved)) != NULL) {
        commit_release(inc, CONTAINER_OF(node, struct command, node));
    }
    if (inc->leases_held && !inc->outage) {
        inc->leases_held = false;
        core_freeze_leases(inc->core, false);
    }
}

void proof_refreshed(struct incarnation *inc, const struct op *op, const struct store_event *event)
{
    if (inc->phase == INC_DEAD) {
        return;
    }
    inc->refreshing = false;
    if (event->rc.code != SILO_OK) {
        life_fail(inc, event->rc.code, event->text);
        return;
    }
    if (shard_mono_ms(inc->shard) - op->start_mono_ms > OWNERSHIP_MS) {
        core_renew_leases(inc->core, LEASE_MS); /* it was away for longer than a proof lasts */
        refresh_start(inc);
    }
    proof_gained(inc, op->start_mono_ms);
}

/* Answers that waited longer than a proof may take are given up: their caller should ask again. */
static void unproved_fail(struct incarnation *inc)
{
    if (list_empty(&inc->unproved) || !inc->refreshing ||
        shard_mono_ms(inc->shard) - later(inc->refresh_mono_ms, awake_ms(inc)) < OWNERSHIP_MS) {
        return;
    }
    struct list_node *node = NULL;
    while ((node = list_pop_front(&inc->unproved)) != NULL) {
        request_fail(
            CONTAINER_OF(node, struct command, node), SILO_UNAVAILABLE,
            "the storage does not answer, so the shard cannot prove that it still owns its data");
    }
}

void proof_leave(struct incarnation *inc)
{
    struct list_node *node = NULL;
    while ((node = list_pop_front(&inc->unproved)) != NULL) {
        request_fail(CONTAINER_OF(node, struct command, node), SILO_ROUTED_WRONG, NULL);
    }
}

void proof_turn(struct incarnation *inc)
{
    if (inc->phase != INC_OPEN) {
        return;
    }
    if (!list_empty(&inc->unproved)) {
        refresh_start(inc);
    }
    unproved_fail(inc);
    if (inc->outage || (core_leases_due(inc->core) && !proof_fresh(inc))) {
        inc->leases_held = true;
        core_freeze_leases(inc->core, true);
        refresh_start(inc);
    } else if (inc->leases_held && proof_fresh(inc)) {
        inc->leases_held = false;
        core_freeze_leases(inc->core, false);
    }
}

int64_t proof_next_mono_ms(const struct incarnation *inc)
{
    if (inc->phase != INC_OPEN) {
        return INT64_MAX;
    }
    int64_t next = INT64_MAX;
    if (!list_empty(&inc->unproved) || inc->leases_held) {
        const int64_t renew =
            inc->refresh_mono_ms + (inc->refreshing ? OWNERSHIP_MS : OWNERSHIP_RENEW_MS);
        const int64_t soon = renew > shard_mono_ms(inc->shard)
                                 ? renew
                                 : shard_mono_ms(inc->shard) + OWNERSHIP_RENEW_MS;
        next = soon < next ? soon : next;
    }
    return next;
}
