/*
 * sim/answers_await.c - what AwaitCancellations tells a worker: nothing but the truth, and all of
 * it.
 *
 * An answer may tell of what was so at any time since the call began, also of what began and ended
 * within one batch. It has to tell of what was so all the time. A call that still waits when
 * nothing is on its way has nothing to be told.
 */
#include "base/limits.h"
#include "sim/calls.h"

#define WAIT_SLACK_MS 1000

static bool known(const struct item *item, const struct uuid *id)
{
    for (size_t i = 0; i < item->known_count; i++) {
        if (uuid_eq(&item->known[i], id)) {
            return true;
        }
    }
    return false;
}

static bool told(const Silo__V1__AwaitCancellationsResponse *reply, size_t count,
                 const struct uuid *id)
{
    for (size_t i = 0; i < count; i++) {
        struct uuid other;
        if (uuid_parse(bytes_str(reply->tasks[i]->task_id), &other) && uuid_eq(&other, id)) {
            return true;
        }
    }
    return false;
}

static bool holds(const struct mversion *v, const struct item *item, const struct uuid *id)
{
    return v->has_lease && uuid_eq(&v->task_id, id) && strcmp(v->worker, item->worker) == 0;
}

/*
 * The worker had the lease, and what the next batch left tells that its job had been marked before
 * the lease ended.
 */
static bool marked_at_end(const struct mjob *job, size_t at, int64_t mark_ms)
{
    const struct mversion *v = &job->versions[at];
    const struct mversion *next = at + 1 < job->count ? v + 1 : NULL;
    if (next == NULL || next->has_lease) {
        return false;
    }
    if (!next->exists || next->arrival != v->arrival) {
        return true; /* and was deleted */
    }
    return next->mark ? next->mark_ms == mark_ms : job->revivals != 0;
}

static bool told_truly(const struct item *item, const struct mtask *task, int64_t mark_ms)
{
    const struct mjob *job = task->job;
    for (size_t i = job->count; i-- != 0;) {
        const struct mversion *v = &job->versions[i];
        if (holds(v, item, &task->id) &&
            (v->mark ? v->mark_ms == mark_ms : marked_at_end(job, i, mark_ms))) {
            return true;
        }
        if (v->since_us < item->begun_us) {
            return false; /* it was so when the call began; what was before is over */
        }
    }
    return false;
}

/* Its lease has been marked, and could not end, since before the call began. */
static bool must_hear(const struct model *m, const struct item *item, const struct mtask *task)
{
    const struct mversion *v = model_newest(task->job);
    return task->job->shard == item->shard && holds(v, item, &task->id) && v->mark &&
           v->since_us < item->begun_us && task->delivered && task->job->in_flight == 0 &&
           *m->now_us - task->alive_us < (int64_t)LEASE_MS * 1000 - 1000000;
}

/* They are served in the order in which they arrive, so only earlier ones can be in the way. */
bool await_crowded(const struct item *item)
{
    return item->wait_ms != 0 && item->awaits > SHARD_AWAITS_MAX;
}

void awaited_check(struct model *m, const struct item *item)
{
    const Silo__V1__AwaitCancellationsResponse *reply = item->reply;
    for (size_t i = 0; i < reply->n_tasks; i++) {
        const Silo__V1__CancelledTask *one = reply->tasks[i];
        struct uuid id;
        const struct mtask *task =
            uuid_parse(bytes_str(one->task_id), &id) ? model_task(m, &id) : NULL;
        if (task == NULL || task->job->shard != item->shard ||
            !told_truly(item, task, one->cancelled_at_ms)) {
            (void)verdict_fail(m->verdict, "told",
                               "%s is told that task %s (%s) was cancelled at %lld", item->worker,
                               one->task_id, task != NULL ? task->job->id : "nobody's",
                               (long long)one->cancelled_at_ms);
            return;
        }
        if (known(item, &id) || told(reply, i, &id)) {
            (void)verdict_fail(m->verdict, "told", "%s is told of %s once more", item->worker,
                               task->job->id);
            return;
        }
        m->seen.told++;
    }
    for (size_t i = 0; i < m->task_count && reply->n_tasks < CANCELS_TOLD_MAX; i++) {
        const struct uuid *id = &m->tasks[i]->id;
        if (must_hear(m, item, m->tasks[i]) && !known(item, id) &&
            !told(reply, reply->n_tasks, id)) {
            (void)verdict_fail(m->verdict, "told",
                               "%s asked, and was not told that %s is cancelled", item->worker,
                               m->tasks[i]->job->id);
            return;
        }
    }
}

void awaited_rest(struct model *m, const struct item *item)
{
    const struct audit *a = &m->audits[item->shard];
    for (size_t i = 0; i < a->job_count; i++) {
        const struct audit_job *job = &a->jobs[i];
        if (job->where == AT_LEASE && job->mark && !known(item, &job->task_id) &&
            bytes_eq(job->lease.worker_id, bytes_str(item->worker))) {
            (void)verdict_fail(m->verdict, "told", "%.*s is cancelled, and its worker %s waits",
                               JOB_FMT(job), item->worker);
            return;
        }
    }
    if (m->awaits[item->shard] > SHARD_AWAITS_MAX * m->processes) {
        (void)verdict_fail(m->verdict, "answer", "%u calls wait for cancellations",
                           m->awaits[item->shard]);
    }
    const int64_t waits_ms = (*m->now_us - item->begun_us) / 1000;
    if (waits_ms > (int64_t)item->wait_ms + WAIT_SLACK_MS) {
        (void)verdict_fail(m->verdict, "answer",
                           "%s asked to wait %u ms for cancellations, and waits %lld", item->worker,
                           item->wait_ms, (long long)waits_ms);
    }
}
