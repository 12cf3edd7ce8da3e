/*
 * sim/answers_pending.c - why a job does not run, as GetJob says, against the rows.
 *
 * It is looked at when the job stayed as it was from question to answer: then the cause has to fit
 * the place where its token is. Numbers about others (slots, holders, places in line) are views of
 * a moment: they have to be exact when nothing at all was written meanwhile.
 */
#include "base/limits.h"
#include "sim/calls.h"

/* Who asks, and how its token stands. */
struct asked {
    struct model *model;
    const struct audit *audit;
    const struct audit_job *job;
    const struct limit *limit; /* it stands before; NULL: none */
    const struct item *item;
    const Silo__V1__JobPending *told;
};

#define FITS(asked, cond, what)                                                            \
    do {                                                                                   \
        if (!(cond)) {                                                                     \
            return verdict_fail((asked)->model->verdict, "pending",                        \
                                "%.*s, at %s, is pending for cause %d (%s): wrong is %s",  \
                                JOB_FMT((asked)->job), token_at_name((asked)->job->where), \
                                (int)(asked)->told->cause, (asked)->told->text, what);     \
        }                                                                                  \
    } while (0)

#define CAUSE(name) SILO__V1__PENDING_CAUSE__PENDING_CAUSE_##name

static bool before_rate(const struct asked *q)
{
    return q->limit != NULL && q->limit->kind == LIMIT_RATE;
}

/* --- the cause --- */

static bool timer_fits(const struct asked *q)
{
    const struct audit_job *job = q->job;
    const bool refused = before_rate(q) && job->rate_retries != 0;
    FITS(q, q->told->until_ms == job->place.due_ms, "until when");
    FITS(q, q->told->attempt_number == job->attempt, "the attempt");
    switch ((int)q->told->cause) {
    case CAUSE(START):
        FITS(q, !refused && job->relative == 1, "the start");
        return true;
    case CAUSE(RETRY):
        FITS(q, !refused && job->relative > 1, "the retry");
        return true;
    case CAUSE(RATE_LIMIT_REFUSED):
        FITS(q, before_rate(q), "the rate limit");
        return true;
    case CAUSE(NEXT):
        FITS(q, job->place.due_ms <= q->model->wall_max_ms, "that it is due");
        return true;
    default:
        FITS(q, false, "the cause");
    }
    return true;
}

static bool line_fits(const struct asked *q)
{
    const bool rate = before_rate(q);
    FITS(q, q->limit != NULL, "that a limit is in its way");
    const struct bytes name = rate ? q->limit->rate->name : q->limit->key;
    FITS(q, q->told->limit_key_opt_case != 0 && bytes_eq(bytes_str(q->told->limit_key), name),
         "the limit");
    switch ((int)q->told->cause) {
    case CAUSE(CONCURRENCY_LIMIT):
        FITS(q, !rate, "the cause");
        return true;
    case CAUSE(FLOATING_LIMIT):
        FITS(q, !rate && q->limit->line.floating, "the cause");
        return true;
    case CAUSE(RATE_LIMIT):
    case CAUSE(NO_WORKER):
    case CAUSE(WORKERS_BUSY):
        FITS(q, rate, "the cause");
        return true;
    default:
        FITS(q, false, "the cause");
    }
    return true;
}

static bool ready_fits(const struct asked *q)
{
    switch ((int)q->told->cause) {
    case CAUSE(BEHIND_OTHERS):
        FITS(q, q->told->ahead_opt_case == 0 || q->told->ahead != 0, "that others go first");
        return true;
    case CAUSE(RATE_LIMIT):
        FITS(q, before_rate(q), "the cause");
        return true;
    case CAUSE(NEXT):
        FITS(q, !before_rate(q), "that a worker gets it");
        return true;
    case CAUSE(NO_WORKER):
    case CAUSE(WORKERS_BUSY):
        FITS(q, bytes_eq(bytes_str(q->told->task_group), q->job->info.group), "the group");
        return true;
    default:
        FITS(q, false, "the cause");
    }
    return true;
}

/* --- numbers --- */

/*
 * Whether the other waits for the same, and goes first. At a queue a slot that becomes free fits
 * the waiters with the largest maximum first, and of those the best.
 */
static bool goes_before(const struct asked *q, const struct audit_job *other,
                        const struct audit_queue *queue)
{
    const bool better = audit_before(q->audit, &other->place, &q->job->place);
    if (other->where != q->job->where || other == q->job) {
        return false;
    }
    if (queue == NULL) {
        return better && bytes_eq(other->info.group, q->job->info.group);
    }
    struct key ref;
    const struct limit *limit = &other->limits->items[other->passed];
    limit_queue_ref(&ref, other->tenant, limit, other->info.group);
    if (!bytes_eq(key_bytes(&ref), queue->ref)) {
        return false;
    }
    const uint64_t own_max = audit_capacity(queue, q->limit->line);
    const uint64_t other_max = audit_capacity(queue, limit->line);
    return other_max > own_max || (other_max == own_max && better);
}

static bool ahead_fits(const struct asked *q, const struct audit_queue *queue)
{
    uint32_t ahead = 0;
    for (size_t i = 0; i < q->audit->job_count; i++) {
        ahead += goes_before(q, &q->audit->jobs[i], queue);
    }
    FITS(q,
         q->told->ahead_opt_case == 0 ||
             (q->told->ahead_more ? q->told->ahead <= ahead : q->told->ahead == ahead),
         "how many go first");
    return true;
}

/*
 * A worker asked the shard for work of its group a moment ago. In the small program groups are
 * forgotten at once.
 */
static bool polled(const struct asked *q)
{
    if (SHARD_GROUPS_MAX <= SPEC_GROUPS) {
        return false;
    }
    const struct model *m = q->model;
    const int64_t at_us = m->polled_us[q->item->shard][spec_group_index(q->job->info.group)];
    return at_us > m->open_us && at_us < q->item->begun_us &&
           *m->now_us - at_us < (int64_t)GROUP_POLLED_MS * 1000 - 1000000;
}

static bool running_fits(const struct asked *q)
{
    uint32_t running = 0;
    for (size_t i = 0; i < q->audit->job_count; i++) {
        const struct audit_job *job = &q->audit->jobs[i];
        running += job->where == AT_LEASE && bytes_eq(job->info.group, q->job->info.group);
    }
    const bool counted =
        q->told->cause == CAUSE(NO_WORKER) || q->told->cause == CAUSE(WORKERS_BUSY);
    FITS(q, !counted || !polled(q), "that nobody asks for work");
    FITS(q, !counted || q->told->running_more || q->told->running == running, "how many run");
    FITS(q, !counted || (q->told->cause == CAUSE(WORKERS_BUSY)) == (running != 0), "the cause");
    return true;
}

static bool holders_fit(const struct asked *q, const struct audit_queue *queue)
{
    const size_t shown = q->told->n_holder_job_ids;
    FITS(q, q->told->slots_taken == queue->holders, "how many slots are taken");
    FITS(q, q->told->max_concurrency == audit_capacity(queue, q->limit->line),
         "how many slots there are");
    FITS(q, shown == (queue->holders < PENDING_HOLDERS_MAX ? queue->holders : PENDING_HOLDERS_MAX),
         "how many holders are shown");
    for (size_t i = 0; i < shown; i++) {
        const size_t tenant = q->job->tenant.len;
        const struct bytes id = bytes_str(q->told->holder_job_ids[i]);
        uint8_t ref[512];
        ASSERT(tenant + id.len <= sizeof ref);
        memcpy(ref, q->job->tenant.ptr, tenant);
        memcpy(ref + tenant, id.ptr, id.len);
        const struct audit_job *holder = audit_find(q->audit, bytes_of(ref, tenant + id.len));
        struct key key;
        FITS(q, holder != NULL, "a holder");
        key_holder(&key, queue->ref, &holder->task_id);
        FITS(q, rows_find(&q->audit->rows, key_bytes(&key)) != NULL, "a holder");
        for (size_t j = 0; j < i; j++) {
            FITS(q, strcmp(q->told->holder_job_ids[i], q->told->holder_job_ids[j]) != 0,
                 "a holder");
        }
    }
    return true;
}

static bool numbers_fit(const struct asked *q)
{
    if (q->job->where == AT_READY) {
        return ahead_fits(q, NULL) && running_fits(q);
    }
    if (q->job->where != AT_WAITER) {
        return true;
    }
    struct key ref;
    limit_queue_ref(&ref, q->job->tenant, q->limit, q->job->info.group);
    const struct audit_queue *queue = audit_queue_find(q->audit, key_bytes(&ref));
    ASSERT(queue != NULL);
    uint64_t waiters = 0;
    for (size_t i = 0; i < queue->line_count; i++) {
        waiters += queue->lines[i].waiters;
    }
    FITS(q, q->told->in_line == waiters, "how many stand in line");
    return ahead_fits(q, queue) && (before_rate(q) ? running_fits(q) : holders_fit(q, queue));
}

void pending_check(struct model *m, const struct item *item)
{
    const struct mjob *job = item->job;
    const Silo__V1__GetJobResponse *reply = item->reply;
    const struct audit *a = &m->audits[job->shard];
    struct asked q = {.model = m,
                      .audit = a,
                      .job = audit_find(a, job->ref),
                      .item = item,
                      .told = reply->pending};
    if (q.told == NULL || q.job == NULL || job->count - 1 != item->version) {
        return;
    }
    m->seen.pendings++;
    if (q.job->has_chain && q.job->passed < q.job->info.limit_count) {
        q.limit = &q.job->limits->items[q.job->passed];
    }
    const bool fits = q.job->where == AT_TIMER    ? timer_fits(&q)
                      : q.job->where == AT_WAITER ? line_fits(&q)
                                                  : ready_fits(&q);
    if (fits && item->quiet && item->batches == m->seen.batches && model_at_rest(m)) {
        m->seen.views++;
        (void)numbers_fit(&q);
    }
}
