/* sim/answers.c - answers of the server against what the model knows. */
#include "base/limits.h"
#include "sim/calls.h"

static bool is(const struct item *item, uint32_t code, const char *text)
{
    return item->code == code && (text == NULL || strstr(item->text, text) != NULL);
}

static bool is_ok(const struct item *item)
{
    return item->code == RPC_STATUS_OK;
}

#define ALREADY_EXISTS 6u
#define PRECONDITION 9u

/* It says nothing that must be true: it changed nothing, and was read where others write now. */
static bool is_outdated(enum api api, const struct item *item)
{
    const bool reads = api == API_GET || api == API_RESULT || api == API_HEARTBEAT ||
                       api == API_AWAIT || api == API_POLL;
    return item->outdated && (reads || !is_ok(item));
}

/* --- questions --- */

static void begin_history(struct model *m, enum api api, struct item *item)
{
    struct mjob *job = item->job;
    struct audit *a = &m->audits[job->shard];
    switch (api) {
    case API_DELETE:
        job->ends++;
        job->deletes_open++;
        break;
    case API_RESTART:
        job->revivals++;
        job->revivals_open++;
        audit_history(a, job->ref, HISTORY_RESTARTED);
        break;
    case API_IMPORT:
        job->revivals++;
        job->revivals_open++;
        audit_history(a, job->ref, HISTORY_IMPORTED);
        break;
    case API_EXPEDITE:
        audit_history(a, job->ref, HISTORY_EXPEDITED);
        break;
    case API_LEASE:
        audit_history(a, job->ref, HISTORY_LEASED);
        break;
    case API_ENQUEUE:
    case API_GET:
    case API_RESULT:
    case API_CANCEL:
    case API_DROP:
    case API_POLL:
    case API_HEARTBEAT:
    case API_REPORT:
    case API_REFRESHED:
    case API_RETURN:
    case API_AWAIT:
        break;
    }
}

static void drop_begun(struct model *m, const struct item *item)
{
    struct audit *a = &m->audits[item->shard];
    struct key ref;
    key_job_ref(&ref, bytes_str(item->tenant), BYTES_LIT("x"));
    const struct bytes tenant = job_ref_tenant(key_bytes(&ref));
    ASSERT(a->dropping_count < sizeof a->dropping / sizeof a->dropping[0]);
    uint8_t *copy = xmalloc(tenant.len);
    memcpy(copy, tenant.ptr, tenant.len);
    a->dropping[a->dropping_count++] = bytes_of(copy, tenant.len);
}

void answer_begun(struct model *m, enum api api, struct item *item)
{
    item->troubles = m->troubles;
    item->begun_us = *m->now_us;
    item->batches = m->seen.batches;
    item->quiet = model_at_rest(m);
    if (item->job != NULL) {
        struct mjob *job = item->job;
        begin_history(m, api, item);
        item->clear = job->in_flight++ == 0;
        item->crossed = ++job->crossed;
        item->ends = job->ends;
        item->revivals = job->revivals;
        item->version = job->count - 1;
    }
    m->anonymous += item->anonymous ? 1 : 0;
    if (api == API_AWAIT) {
        item->awaits = ++m->awaits[item->shard];
    }
    if (api == API_REPORT && item->task->report_count < REPORTS_MAX) {
        item->task->reports[item->task->report_count].status = item->status;
        item->task->reports[item->task->report_count++].final =
            item->no_retry && item->status == ATTEMPT_FAILED;
    }
    if (api == API_RETURN && item->task != NULL) {
        item->task->returned = true;
    }
    if (item->refresh != NULL) {
        struct mrefresh *refresh = item->refresh;
        item->was_live = refresh->leased;
        refresh->returned = refresh->returned || api == API_RETURN;
        if (api == API_REFRESHED && refresh->report_count < REPORTS_MAX) {
            refresh->reports[refresh->report_count].success = item->success;
            refresh->reports[refresh->report_count++].value = item->value;
        }
    }
    if (api == API_DROP) {
        drop_begun(m, item);
    }
}

/* --- what explains an answer --- */

static bool explains_revival(enum api api, const struct item *item, const struct mversion *v)
{
    const bool ended = v->status == JOB_FAILED || v->status == JOB_CANCELLED;
    if (api == API_RESTART) {
        if (!v->exists) {
            return is(item, RPC_STATUS_NOT_FOUND, "job not found");
        }
        return ended ? is_ok(item) : is(item, PRECONDITION, NULL);
    }
    if (!v->exists) {
        /* the attempts of a job that was deleted meanwhile may not do for a new one */
        return is_ok(item) || strstr(item->text, "import attempt") != NULL;
    }
    /* Whether its attempts begin with the stored ones is not known here. */
    return !is_ok(item) || (v->status != JOB_RUNNING && v->status != JOB_SUCCEEDED);
}

/* A token that waits to be due, for a rate limit, or to be leased. */
static bool can_lease(const struct model *m, const struct mversion *v)
{
    if (v->where != AT_WAITER) {
        return v->status == JOB_SCHEDULED;
    }
    const struct spec spec = spec_of(m->specs, v->spec);
    return v->passed < spec.limit_count && spec.limits[v->passed].kind == SPEC_RATE;
}

static bool has_rate(const struct model *m, const struct mversion *v)
{
    const struct spec spec = spec_of(m->specs, v->spec);
    for (uint32_t i = 0; i < spec.limit_count; i++) {
        if (spec.limits[i].kind == SPEC_RATE) {
            return true;
        }
    }
    return false;
}

static bool explains_enqueue(const struct item *item, const struct mversion *v)
{
    if (!v->exists) {
        return is_ok(item);
    }
    /* An import may have replaced the retry policy, so that equal specs are two different jobs. */
    if (item->return_existing && v->spec == item->spec && item->job->revivals == 0) {
        return is_ok(item);
    }
    return is(item, ALREADY_EXISTS, "job already exists") ||
           (item->return_existing && v->spec == item->spec && is_ok(item));
}

static bool explains_return(const struct item *item, const struct mversion *v)
{
    if (!v->has_lease || !uuid_eq(&v->task_id, &item->task->id)) {
        return is(item, RPC_STATUS_NOT_FOUND, "lease not found");
    }
    return strcmp(item->worker, v->worker) == 0 ? is_ok(item)
                                                : is(item, PRECONDITION, "lease owner mismatch");
}

static bool explains_change(const struct model *m, enum api api, const struct item *item,
                            const struct mversion *v)
{
    switch (api) {
    case API_ENQUEUE:
        return explains_enqueue(item, v);
    case API_CANCEL:
        if (!v->exists) {
            return is(item, RPC_STATUS_NOT_FOUND, "job not found");
        }
        if (v->mark || v->status == JOB_CANCELLED) {
            return is(item, PRECONDITION, "already cancelled");
        }
        return job_status_terminal(v->status) ? is(item, PRECONDITION, "terminal") : is_ok(item);
    case API_DELETE:
        return v->exists && !job_status_terminal(v->status)
                   ? is(item, PRECONDITION, "cannot delete")
                   : is_ok(item);
    case API_REPORT:
        return v->has_lease && uuid_eq(&v->task_id, &item->task->id)
                   ? is_ok(item)
                   : is(item, RPC_STATUS_NOT_FOUND, "lease not found");
    case API_RETURN:
        return explains_return(item, v);
    case API_EXPEDITE:
        if (!v->exists) {
            return is(item, RPC_STATUS_NOT_FOUND, NULL);
        }
        if (is_ok(item) && v->status == JOB_SCHEDULED && has_rate(m, v)) {
            return true; /* a back-off may have begun and ended within one batch */
        }
        return v->where == AT_TIMER && !v->mark
                   ? is_ok(item) || (is(item, PRECONDITION, NULL) && v->due_ms <= m->wall_max_ms)
                   : is(item, PRECONDITION, NULL);
    case API_LEASE:
        if (!v->exists) {
            return is(item, RPC_STATUS_NOT_FOUND, NULL);
        }
        if (is(item, RPC_STATUS_RESOURCE_EXHAUSTED, "as many running jobs")) {
            return m->audits[item->job->shard].job_count >= SHARD_LEASES_MAX;
        }
        return can_lease(m, v) ? is_ok(item) : is(item, PRECONDITION, NULL);
    case API_RESTART:
    case API_IMPORT:
        return explains_revival(api, item, v);
    case API_GET:
    case API_RESULT:
    case API_DROP:
    case API_POLL:
    case API_HEARTBEAT:
    case API_REFRESHED:
    case API_AWAIT:
        break;
    }
    return true;
}

static bool job_shown(const struct model *m, const struct item *item, const struct mversion *v)
{
    const Silo__V1__GetJobResponse *job = item->reply;
    if (!is_ok(item) || (int)job->status != (int)v->status) {
        return false;
    }
    const struct spec spec = spec_of(m->specs, v->spec);
    const struct bytes payload = bytes_of(job->payload->msgpack.data, job->payload->msgpack.len);
    return spec_number(payload) == v->spec && payload.len == spec.payload_len &&
           job->n_limits == spec.limit_count &&
           (!item->include_attempts || job->n_attempts == v->attempts) &&
           (job->pending != NULL) == (v->status == JOB_SCHEDULED) &&
           (job->cancel_requested_at_ms_opt_case != 0) == (v->has_lease && v->mark) &&
           (!v->has_lease || !v->mark || job->cancel_requested_at_ms == v->mark_ms);
}

static bool heartbeat_explained(const struct item *item, const struct mversion *v)
{
    if (!v->has_lease || !uuid_eq(&v->task_id, &item->task->id)) {
        return is(item, RPC_STATUS_NOT_FOUND, "lease not found");
    }
    if (strcmp(item->worker, item->task->worker) != 0) {
        return is(item, PRECONDITION, "lease owner mismatch");
    }
    const Silo__V1__HeartbeatResponse *reply = item->reply;
    return is_ok(item) && (reply->cancelled != 0) == v->mark;
}

static bool explains_read(const struct model *m, enum api api, const struct item *item,
                          const struct mversion *v)
{
    if (api == API_HEARTBEAT) {
        return heartbeat_explained(item, v);
    }
    if (api != API_GET && api != API_RESULT) {
        return true;
    }
    if (!v->exists) {
        return is(item, RPC_STATUS_NOT_FOUND, "job not found");
    }
    if (api == API_GET) {
        return job_shown(m, item, v);
    }
    if (!job_status_terminal(v->status)) {
        return is(item, PRECONDITION, job_status_name(v->status));
    }
    const Silo__V1__GetJobResultResponse *reply = item->reply;
    return is_ok(item) && (int)reply->status == (int)v->status;
}

static void answer_check(struct model *m, enum api api, const struct item *item)
{
    const struct mjob *job = item->job;
    for (size_t i = item->version; i < job->count; i++) {
        const struct mversion *v = &job->versions[i];
        if (explains_change(m, api, item, v) && explains_read(m, api, item, v)) {
            return;
        }
    }
    const struct mversion *v = model_newest(job);
    (void)verdict_fail(
        m->verdict, "answer",
        "no version of %s explains the answer to %s: code %u (%s); newest: %s, %s at %s, mark %d, "
        "due %lld, now %lld",
        job->id, api_name(api), item->code, item->text, v->exists ? "exists" : "absent",
        job_status_name(v->status), token_at_name(v->where), v->mark, (long long)v->due_ms,
        (long long)model_wall_ms(m, job->shard));
}

/* --- facts --- */

/* T1, T2: what the imported attempts and the policy make of the job. */
static void import_done(struct model *m, const struct item *item, const struct mversion *v)
{
    if (v->attempts < item->attempts) {
        (void)verdict_fail(m->verdict, "import", "%s was imported with %u attempts and has %u",
                           item->job->id, item->attempts, v->attempts);
    }
}

static void change_done(struct model *m, enum api api, const struct item *item)
{
    struct mjob *job = item->job;
    const struct mversion *v = model_newest(job);
    if (!v->exists) {
        if (job->ends == item->ends) {
            (void)verdict_fail(m->verdict, "JF12", "an acknowledged %s left no job %s",
                               api_name(api), job->id);
        }
        return;
    }
    struct fact fact = {.arrival = v->arrival, .ends = item->ends, .revivals = item->revivals};
    if (api == API_REPORT) {
        fact.kind = FACT_REPORTED;
        fact.task_id = item->task->id;
        fact.status = item->status;
        fact.final = item->no_retry && item->status == ATTEMPT_FAILED;
        fact.data_len = item->data_len;
    } else if (api == API_ENQUEUE) {
        fact.kind = FACT_EXISTS;
    } else if (api == API_CANCEL) {
        fact.kind = FACT_MARKED;
    } else if (api == API_IMPORT || api == API_RESTART) {
        fact.kind = FACT_ATTEMPT;
        fact.attempt = v->attempt;
        if (api == API_IMPORT) {
            import_done(m, item, v);
        }
    } else {
        return;
    }
    model_fact(m, job, &fact);
}

/* --- tasks that were handed out --- */

static void task_done(struct model *m, size_t shard, const Silo__V1__Task *task)
{
    struct uuid id;
    const char *tenant = task->tenant_id_opt_case != 0 ? task->tenant_id : "-";
    if (!uuid_parse(bytes_str(task->id), &id)) {
        (void)verdict_fail(m->verdict, "wire", "a task id is no UUID: %s", task->id);
        return;
    }
    struct mjob *job = model_job(m, shard, tenant, task->job_id);
    struct mtask *known = model_task(m, &id);
    if (known == NULL || known->job != job) {
        (void)verdict_fail(m->verdict, "JF11", "a task of %s that has no lease", task->job_id);
        return;
    }
    if (known->delivered) {
        (void)verdict_fail(m->verdict, "JA1", "the task of %s was delivered twice", job->id);
    }
    const struct mversion *v = model_newest(job);
    if (!v->exists) {
        return;
    }
    const struct spec spec = spec_of(m->specs, v->spec);
    const struct bytes payload = bytes_of(task->payload->msgpack.data, task->payload->msgpack.len);
    if (strcmp(spec.group, task->task_group) != 0 || task->priority != spec.priority ||
        task->n_limits != spec.limit_count || task->attempt_number != known->attempt ||
        (job->ends == 0 && (spec_number(payload) != v->spec || payload.len != spec.payload_len))) {
        (void)verdict_fail(m->verdict, "wire", "a task of %s says something else", job->id);
    }
}

static size_t shard_by_text(const char *id)
{
    return id[7] == '1' ? 1 : 0; /* process.c gives them such ids */
}

static void refresh_done(struct model *m, const Silo__V1__RefreshFloatingLimitTask *task)
{
    struct uuid id;
    if (!uuid_parse(bytes_str(task->id), &id)) {
        (void)verdict_fail(m->verdict, "wire", "a refresh id is no UUID: %s", task->id);
        return;
    }
    const struct mrefresh *refresh = model_refresh(m, &id);
    if (refresh->queue[0] == '\0' || strcmp(refresh->queue, task->queue_key) != 0) {
        (void)verdict_fail(m->verdict, "SE10", "a refresh of %s that has no lease",
                           task->queue_key);
    }
    if (refresh->delivered) {
        (void)verdict_fail(m->verdict, "JA1", "a refresh of %s was delivered twice",
                           task->queue_key);
    }
}

static void poll_done(struct model *m, const struct item *item)
{
    const Silo__V1__LeaseTasksResponse *reply = item->reply;
    if (reply->n_tasks > item->tasks_max) {
        (void)verdict_fail(m->verdict, "poll size", "a poll for %u tasks got %zu", item->tasks_max,
                           reply->n_tasks);
    }
    for (size_t i = 0; i < reply->n_tasks; i++) {
        task_done(m, shard_by_text(reply->tasks[i]->shard), reply->tasks[i]);
    }
    for (size_t i = 0; i < reply->n_refresh_tasks; i++) {
        refresh_done(m, reply->refresh_tasks[i]);
    }
}

/* --- answers --- */

static void refreshed_check(struct model *m, enum api api, const struct item *item)
{
    const struct mrefresh *refresh = item->refresh;
    const bool there = is_ok(item) || is(item, PRECONDITION, "lease owner mismatch");
    /* It may have been kept until the shard, and so the lease, was open again elsewhere. */
    const bool live = item->was_live || refresh->leased;
    if (there ? !live : !is(item, RPC_STATUS_NOT_FOUND, "lease not found")) {
        (void)verdict_fail(m->verdict, "answer", "%s of a refresh of %s: code %u (%s)",
                           api_name(api), refresh->queue, item->code, item->text);
    } else if (!there && item->was_live && refresh->leased && item->troubles == m->troubles) {
        (void)verdict_fail(m->verdict, "answer", "the lease of a refresh of %s was denied",
                           refresh->queue);
    }
}

static void plain_check(struct model *m, enum api api, const struct item *item)
{
    if (api == API_POLL && is_ok(item)) {
        poll_done(m, item);
        if (item->shard < PROCESS_SHARDS_MAX && item->tasks_max != 0) {
            m->polled_us[item->shard][spec_group_index(bytes_str(item->group))] = *m->now_us;
        }
    } else if (api == API_AWAIT && is_ok(item)) {
        awaited_check(m, item);
    } else if (!is_ok(item) && !(item->code == RPC_STATUS_RESOURCE_EXHAUSTED &&
                                 (api == API_POLL || (api == API_AWAIT && await_crowded(item))))) {
        (void)verdict_fail(m->verdict, "answer", "%s failed: code %u (%s)", api_name(api),
                           item->code, item->text);
    }
}

static void job_ended(struct model *m, enum api api, struct item *item)
{
    struct mjob *job = item->job;
    const bool alone = item->clear && job->crossed == item->crossed;
    job->in_flight--;
    if (api == API_HEARTBEAT) {
        item->task->renewed_us = *m->now_us;
    }
    /* An import says only that it failed. */
    const bool failed_somehow = item->code == RPC_STATUS_UNKNOWN &&
                                (m->troubled || m->troubles != item->troubles || item->astray);
    const bool unknown = !item->there || item->code == RPC_STATUS_UNAVAILABLE ||
                         item->code == RPC_STATUS_UNIMPLEMENTED || failed_somehow ||
                         is_outdated(api, item);
    if (unknown || m->verdict->failed) {
        return; /* an outage may have ended it before its batch was written */
    }
    /* It is over: what it has not done by now it never will. */
    job->deletes_open -= api == API_DELETE;
    job->revivals_open -= api == API_RESTART || api == API_IMPORT;
    if (alone) {
        answer_check(m, api, item);
    }
    if (alone && api == API_GET && is_ok(item) && !m->verdict->failed) {
        pending_check(m, item);
    }
    if (api == API_DELETE && item->code == PRECONDITION && alone) {
        job->ends--; /* it did nothing */
    }
    if (api == API_HEARTBEAT && is_ok(item) && item->begun_us > item->task->alive_us) {
        item->task->alive_us = item->begun_us;
    }
    if (alone && is_ok(item) && api != API_DELETE) {
        change_done(m, api, item);
    }
}

static void drop_ended(struct model *m, const struct item *item)
{
    struct audit *a = &m->audits[item->shard];
    struct key ref;
    key_job_ref(&ref, bytes_str(item->tenant), BYTES_LIT("x"));
    for (size_t i = 0; i < a->dropping_count; i++) {
        if (bytes_eq(a->dropping[i], job_ref_tenant(key_bytes(&ref)))) {
            free((void *)(uintptr_t)a->dropping[i].ptr);
            a->dropping[i] = a->dropping[--a->dropping_count];
            return;
        }
    }
}

void answer_ended(struct model *m, enum api api, struct item *item)
{
    m->seen.answers++;
    if (api == API_DROP) {
        drop_ended(m, item);
    }
    if (api == API_AWAIT) {
        m->awaits[item->shard]--;
    }
    if (item->there && item->code == RPC_STATUS_UNAVAILABLE) {
        m->seen.unknown++;
        if (!m->troubled && item->troubles == m->troubles && !item->astray) {
            (void)verdict_fail(m->verdict, "answer", "%s is UNAVAILABLE without a reason: %s",
                               api_name(api), item->text);
        }
    }
    if (item->job != NULL) {
        job_ended(m, api, item);
        if (api == API_LEASE && item->there && is_ok(item)) {
            task_done(m, item->shard, ((const Silo__V1__LeaseTaskResponse *)item->reply)->task);
        }
        return;
    }
    const bool unknown = !item->there || item->code == RPC_STATUS_UNAVAILABLE ||
                         item->code == RPC_STATUS_UNIMPLEMENTED || is_outdated(api, item);
    if (unknown || m->verdict->failed) {
        return;
    }
    if (item->refresh != NULL) {
        refreshed_check(m, api, item);
        if (is_ok(item) && api == API_HEARTBEAT && item->begun_us > item->refresh->alive_us) {
            item->refresh->alive_us = item->begun_us;
        }
    } else {
        plain_check(m, api, item);
    }
}

/* --- delivered --- */

static void task_delivered(struct model *m, const Silo__V1__Task *task)
{
    struct uuid id;
    struct mtask *known = uuid_parse(bytes_str(task->id), &id) ? model_task(m, &id) : NULL;
    if (known == NULL) {
        return;
    }
    known->delivered = true;
    const struct mversion *v = model_newest(known->job);
    if (v->exists && known->job->in_flight == 0) {
        model_fact(m, known->job,
                   &(struct fact){.kind = FACT_LEASED,
                                  .arrival = v->arrival,
                                  .ends = known->job->ends,
                                  .task_id = id});
    }
}

/* Nobody is left to take it: what it was given goes back if there is time, or its lease ends. */
void answer_unheard(struct model *m, enum api api, const struct item *item)
{
    for (size_t i = 0; (api == API_POLL || api == API_LEASE) && i < m->task_count; i++) {
        struct mtask *task = m->tasks[i];
        task->unheard |=
            task->leased && !task->delivered && strcmp(task->worker, item->worker) == 0;
    }
}

void answer_delivered(struct model *m, enum api api, const struct item *item)
{
    if (item->code != RPC_STATUS_OK || item->reply == NULL) {
        return;
    }
    if (api == API_LEASE) {
        task_delivered(m, ((const Silo__V1__LeaseTaskResponse *)item->reply)->task);
    }
    if (api != API_POLL) {
        return;
    }
    const Silo__V1__LeaseTasksResponse *reply = item->reply;
    for (size_t i = 0; i < reply->n_tasks; i++) {
        task_delivered(m, reply->tasks[i]);
    }
    for (size_t i = 0; i < reply->n_refresh_tasks; i++) {
        struct uuid id;
        if (uuid_parse(bytes_str(reply->refresh_tasks[i]->id), &id)) {
            model_refresh(m, &id)->delivered = true;
        }
    }
}
