/*
 * shard/proof.c - is the shard still ours?
 *
 * Reads, heartbeats and changes that found nothing to do write nothing, so no fence stops them:
 * they are answered on a proof of ownership, a durable flush or a manifest refresh.
 *
 *   usual    at most OWNERSHIP_MS old. Under such traffic it is renewed once a second; an idle
 *            shard renews nothing. Nobody takes a shard over while the lease of the member that
 *            has it lasts.
 *   strict   a refresh that began after the answer was made, and so after its call arrived:
 *
 *            answer ──► unproved ──a refresh begins──► proving ──it ends well──► its caller
 *
 *            One refresh is under way at a time and proves all answers made before it began. For
 *            shards whose log is on this machine's disk, where no lease keeps another process of
 *            it out, and for all while the node's membership is not confirmed: from when its lease
 *            may end, by the clock of the turn, which is read after the calls were taken.
 *
 * No lease expires on a proof older than OWNERSHIP_MS; one that took longer than that to renew was
 * an outage, and then every lease has a fresh term, so that an outage fails no running job.
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

static bool is_strict(const struct incarnation *inc)
{
    return inc->shard->wal.local ||
           shard_mono_ms(inc->shard) >=
               atomic_load_explicit(&inc->shard->shards->strict_mono_ms, memory_order_relaxed);
}

static void refresh_begin(struct incarnation *inc)
{
    struct op *op = op_begin(inc, OP_REFRESH);
    inc->refresh_mono_ms = shard_mono_ms(inc->shard);
    if (store_ops_of(inc->db)->refresh(inc->db, (uintptr_t)op, NULL).code != SILO_OK) {
        op_free(op);
        return;
    }
    inc->refreshing = true;
    struct list_node *node = NULL;
    while ((node = list_pop_front(&inc->unproved)) != NULL) {
        list_push_back(&inc->proving, node);
    }
}

static void refresh_start(struct incarnation *inc)
{
    if (!inc->refreshing && inc->db != NULL &&
        shard_mono_ms(inc->shard) - inc->refresh_mono_ms >= OWNERSHIP_RENEW_MS) {
        refresh_begin(inc);
    }
}

static void answers_release(struct incarnation *inc, struct list *answers)
{
    struct list_node *node = NULL;
    while ((node = list_pop_front(answers)) != NULL) {
        commit_release(inc, CONTAINER_OF(node, struct command, node));
    }
}

void proof_answer(struct incarnation *inc, struct command *cmd)
{
    if (is_strict(inc)) {
        list_push_back(&inc->unproved, &cmd->node); /* proof_turn, at the latest, refreshes */
        return;
    }
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
    if (!is_strict(inc)) {
        answers_release(inc, &inc->proving);
        answers_release(inc, &inc->unproved);
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
    answers_release(inc, &inc->proving); /* it began after them */
    if (shard_mono_ms(inc->shard) - op->start_mono_ms > OWNERSHIP_MS) {
        core_renew_leases(inc->core, LEASE_MS); /* it was away for longer than a proof lasts */
        refresh_start(inc);
    }
    proof_gained(inc, op->start_mono_ms);
}

bool proof_idle(const struct incarnation *inc)
{
    return list_empty(&inc->unproved) && list_empty(&inc->proving);
}

static void answers_fail(struct list *answers, enum silo_code code, const char *text)
{
    struct list_node *node = NULL;
    while ((node = list_pop_front(answers)) != NULL) {
        request_fail(CONTAINER_OF(node, struct command, node), code, text);
    }
}

void proof_abandon(struct incarnation *inc, enum silo_code code, const char *text)
{
    answers_fail(&inc->proving, code, text);
    answers_fail(&inc->unproved, code, text);
}

/* Answers that waited longer than a proof may take are given up: their caller should ask again. */
static void unproved_fail(struct incarnation *inc)
{
    if (proof_idle(inc) || !inc->refreshing ||
        shard_mono_ms(inc->shard) - later(inc->refresh_mono_ms, awake_ms(inc)) < OWNERSHIP_MS) {
        return;
    }
    proof_abandon(inc, SILO_UNAVAILABLE,
                  "the storage does not answer, so the shard cannot prove that it still owns its "
                  "data");
}

void proof_leave(struct incarnation *inc)
{
    proof_abandon(inc, SILO_ROUTED_WRONG, NULL);
}

/* What was answered in this turn leaves with the next refresh: after the commands of a turn. */
void proof_seek(struct incarnation *inc)
{
    if (list_empty(&inc->unproved)) {
        return;
    }
    if (!is_strict(inc)) {
        refresh_start(inc);
    } else if (!inc->refreshing && inc->db != NULL) {
        refresh_begin(inc);
    }
}

void proof_turn(struct incarnation *inc)
{
    if (inc->phase != INC_OPEN) {
        return;
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
    if (!proof_idle(inc) || inc->leases_held) {
        const int64_t renew =
            inc->refresh_mono_ms + (inc->refreshing ? OWNERSHIP_MS : OWNERSHIP_RENEW_MS);
        const int64_t soon = renew > shard_mono_ms(inc->shard)
                                 ? renew
                                 : shard_mono_ms(inc->shard) + OWNERSHIP_RENEW_MS;
        next = soon < next ? soon : next;
    }
    return next;
}
