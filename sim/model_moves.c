/*
 * sim/model_moves.c - what may happen to a job, a floating limit and a rate limit within one batch.
 */
#include "base/limits.h"
#include "base/list.h"
#include "sim/model.h"

/* --- jobs --- */

/* The job went: somebody deleted it, or its time was over. */
static void move_end(struct model *m, struct mjob *job, const struct mversion *was)
{
    if (was->expire_ms != 0 && m->wall_max_ms >= was->expire_ms) {
        job->ends++;
        m->seen.removed++;
    } else if (!job_status_terminal(was->status) && m->troubled &&
               m->audits[job->shard].completed_expire_ms != 0) {
        job->ends++; /* the clock jumped: it ended and was forgotten in one batch */
    } else if (job->deletes_open == 0) {
        (void)verdict_fail(m->verdict, "JF12", "%s vanished", job->id);
    } /* it may have ended in the same batch */
}

static bool task_reported(const struct mtask *task, const struct attempt *attempt)
{
    const bool final = audit_final(attempt);
    for (size_t i = 0; task != NULL && i < task->report_count; i++) {
        if (task->reports[i].status == attempt->outcome.status && task->reports[i].final == final) {
            return true;
        }
    }
    return false;
}

/* The lease ended: it was reported, it expired, or the worker never had it. */
static void move_lease_end(struct model *m, struct mjob *job, const struct mversion *was)
{
    const struct audit *a = &m->audits[job->shard];
    const struct audit_job *stored = audit_find(a, job->ref);
    struct mtask *task = model_task(m, &was->task_id);
    struct attempt attempt;
    if (!audit_attempt(a, stored, &was->task_id, &attempt)) {
        m->seen.given_back++;
        if (task == NULL || (task->delivered && !task->returned)) {
            (void)verdict_fail(m->verdict, "DI5", "the lease of %s was lost", job->id);
        }
        return;
    }
    if (task_reported(task, &attempt) &&
        !bytes_eq(attempt.outcome.error_code, BYTES_LIT("WORKER_CRASHED"))) {
        m->seen.finals += audit_final(&attempt);
        return;
    }
    m->seen.expiries++;
    if (attempt.outcome.status == ATTEMPT_SUCCEEDED ||
        (attempt.outcome.status == ATTEMPT_CANCELLED && !was->mark && !stored->mark)) {
        (void)verdict_fail(m->verdict, "T4", "nobody reported how the attempt of %s ended",
                           job->id);
    } else if (was->mark && attempt.outcome.status != ATTEMPT_CANCELLED) {
        (void)verdict_fail(m->verdict, "T7", "%s was cancelled, its lease expired, and it crashed",
                           job->id);
    } else if (task != NULL && *m->now_us - task->alive_us < (int64_t)LEASE_MS * 1000 - 1000) {
        (void)verdict_fail(m->verdict, "lease term", "the lease of %s expired after %lld ms",
                           job->id, (long long)(*m->now_us - task->alive_us) / 1000);
    }
}

/*
 * JF11: one task id from the first limit to the lease; another one for the next attempt, and for a
 * task that was given back.
 */
static void move_task_id(struct model *m, const struct mjob *job, const struct mversion *was,
                         const struct mversion *is)
{
    if (!was->has_task || !is->has_task) {
        return;
    }
    const struct audit_job *stored = audit_find(&m->audits[job->shard], job->ref);
    const bool same = uuid_eq(&was->task_id, &is->task_id);
    /* Leased and given back, both in this batch. */
    const bool went_and_came = is->where == AT_READY;
    if (is->attempt == was->attempt && !same && stored->history == 0 && !was->has_lease &&
        !went_and_came) {
        (void)verdict_fail(m->verdict, "JF11", "the task id of %s changed on its way", job->id);
    }
    if (same && was->has_lease && (!is->has_lease || strcmp(was->worker, is->worker) != 0)) {
        (void)verdict_fail(m->verdict, "JF11", "%s was given back under the id that its worker has",
                           job->id);
    }
    if (is->attempt > was->attempt && same) {
        (void)verdict_fail(m->verdict, "JA20", "%s goes on under the task id of attempt %u",
                           job->id, was->attempt);
    }
}

/*
 * own limiter: a token bucket refills as a whole, so any span of its duration sees at most two
 * fillings; stamps of passes are those of the batches, which may be late.
 */
static void move_own_rate(struct model *m, const struct mjob *job, const struct limit *limit)
{
    const struct rate_limit *rate = limit->rate;
    struct mrate *seen = model_own_rate(m, job, rate->name);
    const bool leaky = rate->algorithm == RATE_LEAKY_BUCKET;
    seen->last[seen->passes % PASSES_MAX].at_ms = *m->now_us / 1000;
    seen->last[seen->passes++ % PASSES_MAX].hits = rate->hits;
    int64_t hits = 0;
    for (size_t i = 0; i < PASSES_MAX; i++) {
        if (seen->last[i].at_ms > *m->now_us / 1000 - rate->duration_ms / 2) {
            hits += seen->last[i].hits;
        }
    }
    if (!leaky && !m->troubled && *m->now_us - m->trouble_us > 16000000 && hits > 2 * rate->limit) {
        (void)verdict_fail(m->verdict, "own limiter",
                           "%lld hits passed the rate limit %.*s within %lld ms", (long long)hits,
                           BYTES_FMT(rate->name), (long long)rate->duration_ms / 2);
    }
}

/* limiter: a rate limit is passed only after the limiter said so, as often as it did. */
static void move_rates(struct model *m, const struct mjob *job, const struct mversion *was,
                       const struct mversion *is)
{
    const struct audit_job *stored = audit_find(&m->audits[job->shard], job->ref);
    const bool same = model_same_chain(was, is);
    const uint32_t from =
        same ? was->paid : 0; /* a hit counts, though the slots before it were lost since */
    for (uint32_t i = from; is->has_task && i < is->passed && i < stored->limits->count; i++) {
        const struct limit *limit = &stored->limits->items[i];
        if (limit->kind != LIMIT_RATE) {
            continue;
        }
        m->seen.passes++;
        if (!m->external_limiter) {
            move_own_rate(m, job, limit);
            continue;
        }
        struct mrate *rate = model_rate(m, limit->rate->name, limit->rate->unique_key);
        rate->passes++;
        if (rate->passes > rate->under) {
            (void)verdict_fail(m->verdict, "limiter", "%s passed the rate limit %.*s unasked",
                               job->id, BYTES_FMT(limit->rate->name));
        }
    }
    m->seen.takeovers += same && is->passed < was->passed;
    if (same && !was->has_lease && is->passed < was->passed && stored->rates_paid < was->passed) {
        (void)verdict_fail(m->verdict, "limiter", "%s lost a slot, and what it has paid", job->id);
    }
    if (same && is->passed < was->passed && stored->rates_paid <= was->passed &&
        was->where == AT_WAITER && stored->limits->items[was->passed].kind == LIMIT_RATE) {
        (void)verdict_fail(m->verdict, "kept slots", "%s lost a slot while a rate limit refused it",
                           job->id);
    }
}

static void move_status(struct model *m, struct mjob *job, const struct mversion *was,
                        const struct mversion *is)
{
    if (job_status_terminal(was->status) &&
        (was->status != is->status || was->attempt != is->attempt ||
         was->attempts != is->attempts)) {
        m->seen.revivals++;
        if (was->status == JOB_SUCCEEDED) {
            (void)verdict_fail(m->verdict, "DI7", "%s had succeeded and is %s", job->id,
                               job_status_name(is->status));
        } else if (job->revivals_open == 0) {
            (void)verdict_fail(m->verdict, "DI6", "%s left its end: %s to %s", job->id,
                               job_status_name(was->status), job_status_name(is->status));
        }
    }
    if (is->attempt < was->attempt) {
        (void)verdict_fail(m->verdict, "attempt numbers", "the attempts of %s went backwards",
                           job->id);
    }
    if (was->mark && !is->mark && job->revivals == 0) {
        (void)verdict_fail(m->verdict, "JA10", "the mark of %s was lost", job->id);
    }
}

void model_move(struct model *m, struct mjob *job, const struct mversion *was,
                const struct mversion *is)
{
    if (was->exists && (!is->exists || was->arrival != is->arrival)) {
        move_end(m, job, was);
        return;
    }
    if (was->exists) {
        m->seen.retries += is->attempt > was->attempt;
        m->seen.ends += job_status_terminal(is->status) && !job_status_terminal(was->status);
        move_status(m, job, was, is);
        if (was->has_lease && !(is->has_lease && uuid_eq(&was->task_id, &is->task_id))) {
            move_lease_end(m, job, was);
        }
        move_task_id(m, job, was, is);
    }
    move_rates(m, job, was, is);
}

/* --- floating limits --- */

static struct mqueue *queue_note(struct model *m, size_t shard, struct bytes ref, bool *ret_known)
{
    uint8_t key[512];
    ASSERT(ref.len < sizeof key);
    key[0] = (uint8_t)shard;
    memcpy(key + 1, ref.ptr, ref.len);
    struct map_node *node = map_find(&m->queues, bytes_of(key, ref.len + 1));
    *ret_known = node != NULL;
    if (node == NULL) {
        struct mqueue *queue = xcalloc(1, sizeof *queue + ref.len + 1);
        memcpy(queue->key, key, ref.len + 1);
        map_insert(&m->queues, &queue->node, bytes_of(queue->key, ref.len + 1));
        return queue;
    }
    return MAP_ENTRY(node, struct mqueue, node);
}

static bool refresh_reported(const struct mrefresh *refresh, bool success, uint32_t value)
{
    for (size_t i = 0; i < refresh->report_count; i++) {
        if (refresh->reports[i].success == success &&
            (!success || refresh->reports[i].value == value)) {
            return true;
        }
    }
    return false;
}

/* reported value: how a lease of refresh work can end. */
static void refresh_end(struct model *m, const struct floating_rec *was,
                        const struct floating_rec *is)
{
    struct mrefresh *refresh = model_refresh(m, &was->task_id);
    refresh->leased = false;
    refresh->ended = true;
    m->seen.refreshes++;
    if (is->failures == was->failures + 1) {
        if (!refresh_reported(refresh, false, 0)) {
            (void)verdict_fail(m->verdict, "reported value",
                               "a refresh of %s failed, and nobody said so", refresh->queue);
        }
        const int64_t delay = was->failures < 6 ? (int64_t)1000 << was->failures : 60000;
        const int64_t ago_ms =
            model_wall_ms(m, refresh->shard) - (is->retry_ms - delay); /* since it failed */
        if (!m->audits[refresh->shard].wall_fell && (ago_ms < 0 || ago_ms > BATCH_MS_MAX)) {
            (void)verdict_fail(m->verdict, "reported value",
                               "after %u failures %s is refreshed in %lld ms", is->failures,
                               refresh->queue,
                               (long long)(is->retry_ms - model_wall_ms(m, refresh->shard)));
        }
    } else if (refresh_reported(refresh, true, is->value)) {
        if (is->failures != 0 && is->value != was->value) {
            (void)verdict_fail(m->verdict, "reported value",
                               "%s was refreshed and still counts failures", refresh->queue);
        }
    } else if (refresh->delivered && !refresh->returned &&
               *m->now_us - refresh->alive_us < (int64_t)LEASE_MS * 1000 - 1000) {
        (void)verdict_fail(m->verdict, "refresh term",
                           "the lease of a refresh of %s ended after %lld ms", refresh->queue,
                           (long long)(*m->now_us - refresh->alive_us) / 1000);
    }
}

static void queue_move(struct model *m, size_t shard, const struct audit_queue *queue,
                       const struct floating_rec *was, bool known)
{
    const struct floating_rec *is = &queue->floating;
    const bool was_leased = known && was->phase == REFRESH_LEASE;
    const bool same =
        was_leased && is->phase == REFRESH_LEASE && uuid_eq(&was->task_id, &is->task_id);
    if (!known && is->value != is->default_max) {
        (void)verdict_fail(m->verdict, "first value", "a floating limit begins with %u, not %u",
                           is->value, is->default_max);
    }
    if (known && is->value != was->value &&
        !(was_leased && refresh_reported(model_refresh(m, &was->task_id), true, is->value))) {
        (void)verdict_fail(m->verdict, "reported value",
                           "a floating limit went from %u to %u, unreported", was->value,
                           is->value);
    }
    if (was_leased && !same) {
        refresh_end(m, was, is);
    }
    if (is->phase == REFRESH_LEASE && !same) {
        struct mrefresh *refresh = model_refresh(m, &is->task_id);
        uint8_t scratch[512];
        struct bytes tenant;
        struct bytes name;
        ASSERT(queue_ref_parse(queue->ref, scratch, &tenant, &name));
        refresh->shard = shard;
        (void)snprintf(refresh->tenant, sizeof refresh->tenant, "%.*s", BYTES_FMT(tenant));
        (void)snprintf(refresh->queue, sizeof refresh->queue, "%.*s", BYTES_FMT(name));
        (void)snprintf(refresh->worker, sizeof refresh->worker, "%.*s", BYTES_FMT(is->worker_id));
        refresh->leased = true;
        refresh->alive_us = model_since_us(m, shard, is->since_ms);
    }
}

static void queues_forget(struct model *m, size_t shard)
{
    struct map_node *next = NULL;
    for (struct map_node *n = map_next(&m->queues, NULL); n != NULL; n = next) {
        next = map_next(&m->queues, n);
        struct mqueue *queue = CONTAINER_OF(n, struct mqueue, node);
        if (queue->key[0] == (uint8_t)shard) {
            map_remove(&m->queues, n);
            free(queue);
        }
    }
}

void model_queues(struct model *m, size_t shard, bool moves)
{
    const struct audit *a = &m->audits[shard];
    if (!moves) { /* what a crash took back is live again or never was */
        for (size_t i = 0; i < m->refresh_count; i++) {
            m->refreshes[i]->leased = m->refreshes[i]->leased && m->refreshes[i]->shard != shard;
        }
        queues_forget(m, shard);
    }
    for (size_t i = 0; i < a->queue_count && !m->verdict->failed; i++) {
        const struct audit_queue *queue = &a->queues[i];
        if (!queue->has_floating) {
            continue;
        }
        bool known = false;
        struct mqueue *note = queue_note(m, shard, queue->ref, &known);
        if (moves) {
            queue_move(m, shard, queue, &note->rec, known);
        } else if (queue->floating.phase == REFRESH_LEASE) {
            struct mrefresh *refresh = model_refresh(m, &queue->floating.task_id);
            refresh->leased = true;
            refresh->alive_us = *m->now_us;
        }
        note->rec = queue->floating;
        note->rec.metadata = note->rec.group = note->rec.worker_id = BYTES_NONE;
    }
}
