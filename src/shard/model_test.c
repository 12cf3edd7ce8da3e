/* shard/model_test.c - see model_test.h. */
#include "shard/model_test.h"

#include <stdarg.h>
#include <stdio.h>
#include <xxhash.h>

#include "base/assert.h"
#include "base/limits.h"

static void wrong(struct model *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void wrong(struct model *m, const char *fmt, ...)
{
    if (m->error[0] == '\0') {
        va_list ap;
        va_start(ap, fmt);
        (void)vsnprintf(m->error, sizeof m->error, fmt, ap);
        va_end(ap);
    }
}

struct spec spec_of(uint32_t number)
{
    uint64_t h = XXH64(&number, sizeof number, 7);
    struct spec spec = {.priority = (uint8_t)(h % 3 * 40),
                        .has_retry = (h >> 4) % 2 == 0,
                        .pairs = (uint32_t)(h >> 8) % 3};
    (void)snprintf(spec.group, sizeof spec.group, "g%u",
                   (unsigned)((h >> 12) % 8 < 4 ? 0 : (h >> 12) % GROUPS));
    spec.payload_len = (h >> 20) % 16 == 0 ? 5000 : 8 + (h >> 24) % 40;
    static const int64_t initials[] = {0, 1, 20, 700, 2000};
    static const double factors[] = {0, 1, 2, 3.5};
    spec.retry = (struct retry_policy){.retry_count = (uint32_t)(h >> 32) % 4,
                                       .initial_ms = initials[(h >> 36) % 5],
                                       .max_ms = (h >> 40) % 2 == 0 ? 0 : 3000,
                                       .factor = factors[(h >> 44) % 4],
                                       .jitter = (h >> 48) % 2 == 0};
    return spec;
}

/* --- versions --- */

static uint32_t spec_in(const struct audit *a, const struct audit_job *job)
{
    struct bytes payload = job->info.payload.inline_bytes;
    if (job->info.payload.is_blob) {
        struct key key;
        key_blob(&key, job->ref, BLOB_PAYLOAD, 0);
        payload = audit_row(a, key_bytes(&key))->value;
    }
    uint32_t number = 0;
    memcpy(&number, payload.ptr, payload.len < 4 ? payload.len : 4);
    return number;
}

static void spec_check(struct model *m, const struct audit_job *job, uint32_t number)
{
    const struct spec spec = spec_of(number);
    const struct info *info = &job->info;
    const size_t len = info->payload.is_blob ? info->payload.len : info->payload.inline_bytes.len;
    if (!bytes_eq(info->group, bytes_str(spec.group)) || info->priority != spec.priority ||
        len != spec.payload_len || info->has_retry != spec.has_retry ||
        info->metadata_count != spec.pairs ||
        (spec.has_retry && (info->retry.retry_count != spec.retry.retry_count ||
                            info->retry.max_ms != spec.retry.max_ms ||
                            info->retry.initial_ms != spec.retry.initial_ms ||
                            info->retry.jitter != spec.retry.jitter))) {
        wrong(m, "a stored job is not what was asked for (spec %u)", number);
    }
}

static struct version version_of(struct model *m, struct bytes ref)
{
    const struct audit_job *job = audit_find(&m->audit, ref);
    if (job == NULL) {
        return (struct version){0};
    }
    struct version v = {.exists = true,
                        .mark = job->mark,
                        .has_lease = job->where == AT_LEASE,
                        .status = job->status,
                        .arrival = job->info.arrival,
                        .attempt = job->attempt,
                        .spec = spec_in(&m->audit, job)};
    if (v.has_lease) {
        v.lease_task = job->lease.task_id;
        v.worker = job->lease.worker_id.ptr[0];
    }
    return v;
}

static bool version_eq(const struct version *v, const struct version *w)
{
    return v->exists == w->exists && v->mark == w->mark && v->has_lease == w->has_lease &&
           v->status == w->status && v->arrival == w->arrival && v->attempt == w->attempt &&
           v->worker == w->worker && uuid_eq(&v->lease_task, &w->lease_task);
}

static const struct version *newest(const struct mjob *job)
{
    return &job->versions[job->count - 1];
}

static void version_push(struct mjob *job, const struct version *v)
{
    if (job->count == job->cap) {
        job->cap = job->cap != 0 ? job->cap * 2 : 8;
        job->versions = xrealloc(job->versions, job->cap * sizeof *v);
    }
    job->versions[job->count++] = *v;
}

static struct mtask *task_find(const struct model *m, const struct uuid *id)
{
    for (size_t i = m->task_count; i != 0; i--) {
        if (uuid_eq(&m->tasks[i - 1]->id, id)) {
            return m->tasks[i - 1];
        }
    }
    return NULL;
}

static struct mtask *task_note(struct model *m, const struct uuid *id, struct mjob *job,
                               uint8_t worker)
{
    struct mtask *task = task_find(m, id);
    if (task != NULL) {
        if (task->job != job || task->worker != worker) {
            wrong(m, "JF11: a task id was used twice");
        }
        return task;
    }
    task = xcalloc(1, sizeof *task);
    *task = (struct mtask){.id = *id, .job = job, .worker = worker};
    m->tasks = xrealloc(m->tasks, (m->task_count + 1) * sizeof(struct mtask *));
    m->tasks[m->task_count++] = task;
    return task;
}

/* What may happen to a job within one batch. */
static void transition_check(struct model *m, struct mjob *job, const struct version *was,
                             const struct version *is)
{
    if (was->exists && (!is->exists || was->arrival != is->arrival)) {
        if (job->deletes == 0) {
            wrong(m, "JF12: job %s vanished", job->id);
        }
        return;
    }
    if (!was->exists) {
        return;
    }
    if (job_status_terminal(was->status)) {
        wrong(m, "job %s left its end: %s to %s", job->id, job_status_name(was->status),
              job_status_name(is->status));
    }
    if (is->attempt < was->attempt) {
        wrong(m, "attempts of job %s went backwards", job->id);
    }
    m->seen->retries += is->attempt > was->attempt;
    m->seen->ends += job_status_terminal(is->status);
    if (was->has_lease && !(is->has_lease && uuid_eq(&was->lease_task, &is->lease_task))) {
        const struct mtask *task = task_find(m, &was->lease_task);
        struct attempt attempt;
        /* One that nobody heard of goes back when its poll failed. */
        const bool back =
            task != NULL && (task->given_back || (!task->delivered && m->troubles != 0));
        if (!back && !audit_attempt(&m->audit, audit_find(&m->audit, key_bytes(&job->ref)),
                                    &was->lease_task, &attempt)) {
            wrong(m, "DI5: a lease of job %s was lost or taken twice", job->id);
        } else if (!back) {
            m->seen->expiries += bytes_eq(attempt.outcome.error_code, BYTES_LIT("WORKER_CRASHED"));
        }
    }
    if (was->mark && !is->mark) {
        wrong(m, "JA10: the mark of job %s was lost", job->id);
    }
}

static void versions_take(struct model *m, bool transitions)
{
    for (size_t i = 0; i < m->job_count; i++) {
        struct mjob *job = m->jobs[i];
        const struct version v = version_of(m, key_bytes(&job->ref));
        const struct version was = *newest(job);
        if (version_eq(&was, &v)) {
            continue;
        }
        if (v.exists && (!was.exists || was.arrival != v.arrival)) {
            spec_check(m, audit_find(&m->audit, key_bytes(&job->ref)), v.spec);
        }
        version_push(job, &v);
        if (v.has_lease) {
            (void)task_note(m, &v.lease_task, job, v.worker);
        }
        if (transitions) {
            transition_check(m, job, &was, &v);
        }
    }
}

/* --- facts --- */

static void fact_add(struct model *m, const struct fact *fact)
{
    if ((m->fact_count & (m->fact_count - 1)) == 0) {
        const size_t cap = m->fact_count != 0 ? m->fact_count * 2 : 8;
        m->facts = xrealloc(m->facts, cap * sizeof *fact);
    }
    m->facts[m->fact_count++] = *fact;
    m->seen->facts++;
}

static void fact_check(struct model *m, const struct audit *a, const struct fact *fact)
{
    static const char *const names[] = {"enqueue", "lease", "report", "cancel"};
    if (fact->job->deletes != fact->deletes) {
        return;
    }
    const char *what = names[fact->kind];
    const struct audit_job *job = audit_find(a, key_bytes(&fact->job->ref));
    if (job == NULL || job->info.arrival != fact->arrival) {
        wrong(m, "an acknowledged %s of job %s is gone: no job", what, fact->job->id);
        return;
    }
    struct attempt attempt;
    const struct mtask *task = task_find(m, &fact->task_id);
    switch (fact->kind) {
    case FACT_EXISTS:
        return;
    case FACT_LEASED:
        if (!(job->where == AT_LEASE && uuid_eq(&job->lease.task_id, &fact->task_id)) &&
            !(task != NULL && task->given_back) &&
            !audit_attempt(a, job, &fact->task_id, &attempt)) {
            wrong(m, "an acknowledged lease of job %s is gone", fact->job->id);
        }
        return;
    case FACT_REPORTED:
        if (!audit_attempt(a, job, &fact->task_id, &attempt) ||
            attempt.outcome.status != fact->status) {
            wrong(m, "an acknowledged report on job %s is gone", fact->job->id);
        } else if ((attempt.outcome.data.is_blob
                        ? attempt.outcome.data.len
                        : attempt.outcome.data.inline_bytes.len) != fact->data_len) {
            wrong(m, "the data of a report on job %s changed", fact->job->id);
        }
        return;
    case FACT_MARKED:
        if (!job->mark) {
            wrong(m, "an acknowledged cancel of job %s is gone", fact->job->id);
        }
        return;
    }
}

/* --- batches --- */

static void dispatch_check(struct model *m, struct bytes batch)
{
    struct bytes rest = batch;
    struct audit_op op;
    while (audit_op_next(&rest, &op)) {
        struct lease_rec lease;
        if (op.key.ptr[0] != TABLE_LEASE || op.del || !lease_decode(op.value, &lease) ||
            task_find(m, &lease.task_id) != NULL) {
            continue; /* not a new one */
        }
        m->seen->leases++;
        const struct place place = {
            .due_ms = lease.due_ms, .arrival = lease.arrival, .priority = lease.priority};
        if (audit_overtaken(&m->audit, lease.group, &place, batch)) {
            wrong(m, "a task of group %.*s overtook a better one", BYTES_FMT(lease.group));
        }
    }
}

static void model_open(void *context, struct store_db *db)
{
    struct model *m = context;
    m->db = db;
    audit_load(&m->audit, shard_rig_of(m->rig)->store, RIG_PATH, false);
    if (!audit_check(&m->audit)) {
        wrong(m, "after opening: %s", m->audit.error);
    }
    versions_take(m, false);
    for (size_t i = 0; i < m->fact_count && m->error[0] == '\0'; i++) {
        fact_check(m, &m->audit, &m->facts[i]);
    }
}

static void model_write(void *context, struct store_db *db, struct bytes ops)
{
    struct model *m = context;
    if (m->error[0] != '\0') {
        return;
    }
    if (db != m->db) {
        wrong(m, "a database that was lost is written to");
        return;
    }
    m->seen->batches++;
    audit_apply(&m->audit, ops);
    if (!audit_check(&m->audit)) {
        wrong(m, "%s", m->audit.error);
        return;
    }
    dispatch_check(m, ops);
    versions_take(m, true);
}

/* --- durable rows --- */

void model_check_durable(struct model *m)
{
    struct audit durable;
    audit_init(&durable, m->audit.order);
    durable.wall_fell = m->audit.wall_fell;
    audit_load(&durable, shard_rig_of(m->rig)->store, RIG_PATH, true);
    if (!audit_check(&durable)) {
        wrong(m, "durable rows: %s", durable.error);
    }
    for (size_t i = 0; i < m->fact_count && m->error[0] == '\0'; i++) {
        fact_check(m, &durable, &m->facts[i]);
    }
    audit_deinit(&durable);
}

/* --- answers --- */

static bool is(const struct command *cmd, enum silo_code code, const char *text)
{
    return cmd->rc.code == code &&
           (text == NULL || (cmd->error != NULL && strstr(cmd->error, text) != NULL));
}

static bool explains_change(const struct mcall *c, const struct version *v)
{
    const struct command *cmd = &c->call->cmd;
    switch ((int)cmd->kind) {
    case CMD_ENQUEUE:
        if (!v->exists) {
            return is(cmd, SILO_OK, NULL);
        }
        return cmd->args.enqueue.return_existing && v->spec == c->spec
                   ? is(cmd, SILO_OK, NULL)
                   : is(cmd, SILO_EXISTS, "job already exists");
    case CMD_CANCEL_JOB:
        if (!v->exists) {
            return is(cmd, SILO_NOT_FOUND, "job not found");
        }
        if (v->mark || v->status == JOB_CANCELLED) {
            return is(cmd, SILO_PRECONDITION, "already cancelled");
        }
        return job_status_terminal(v->status) ? is(cmd, SILO_PRECONDITION, "terminal")
                                              : is(cmd, SILO_OK, NULL);
    case CMD_DELETE_JOB:
        return v->exists && !job_status_terminal(v->status)
                   ? is(cmd, SILO_PRECONDITION, "cannot delete")
                   : is(cmd, SILO_OK, NULL);
    case CMD_REPORT:
        return v->has_lease && uuid_eq(&v->lease_task, &cmd->args.report.task_id)
                   ? is(cmd, SILO_OK, NULL)
                   : is(cmd, SILO_NOT_FOUND, "lease not found");
    case CMD_GET_JOB:
    case CMD_GET_RESULT:
    case CMD_POLL:
    case CMD_POLL_STOP:
    case CMD_GIVE_BACK:
    case CMD_HEARTBEAT:
    case CMD_TOTALS:
    default: /* not part of these histories */
        break;
    }
    return true;
}

static bool job_shown(const struct command *cmd, const struct version *v)
{
    const struct job_view *job = &cmd->result.job;
    if (!is(cmd, SILO_OK, NULL) || job->status != v->status || job->info.arrival != v->arrival ||
        job->running != v->has_lease) {
        return false;
    }
    if (cmd->kind == CMD_GET_RESULT) {
        return job->data.ptr != NULL || job->state.final.outcome.data.inline_bytes.len == 0;
    }
    uint32_t number = 0;
    memcpy(&number, job->payload.ptr, 4);
    return number == v->spec && job->payload.len == spec_of(number).payload_len &&
           (!cmd->args.get.include_attempts || job->attempt_count == v->attempt - 1);
}

static bool explains_read(const struct mcall *c, const struct version *v)
{
    const struct command *cmd = &c->call->cmd;
    switch ((int)cmd->kind) {
    case CMD_GET_JOB:
        return v->exists ? job_shown(cmd, v) : is(cmd, SILO_NOT_FOUND, "job not found");
    case CMD_GET_RESULT:
        if (!v->exists) {
            return is(cmd, SILO_NOT_FOUND, "job not found");
        }
        return job_status_terminal(v->status)
                   ? job_shown(cmd, v)
                   : is(cmd, SILO_PRECONDITION, job_status_name(v->status));
    case CMD_HEARTBEAT:
        if (!v->has_lease || !uuid_eq(&v->lease_task, &cmd->args.heartbeat.task_id)) {
            return is(cmd, SILO_NOT_FOUND, "lease not found");
        }
        return v->worker == cmd->args.heartbeat.worker_id.ptr[0]
                   ? is(cmd, SILO_OK, NULL) && cmd->result.heartbeat.cancelled == v->mark
                   : is(cmd, SILO_PRECONDITION, "owner mismatch");
    case CMD_ENQUEUE:
    case CMD_CANCEL_JOB:
    case CMD_DELETE_JOB:
    case CMD_REPORT:
    case CMD_POLL:
    case CMD_POLL_STOP:
    case CMD_GIVE_BACK:
    case CMD_TOTALS:
    default: /* not part of these histories */
        break;
    }
    return true;
}

static void answer_check(struct model *m, const struct mcall *c)
{
    const struct command *cmd = &c->call->cmd;
    bool explained = false;
    for (size_t i = c->version; i < c->job->count && !explained; i++) {
        explained =
            explains_change(c, &c->job->versions[i]) && explains_read(c, &c->job->versions[i]);
    }
    if (!explained) {
        wrong(m,
              "no version of job %s explains the answer to a call of kind %d: %s (%s); newest: "
              "exists %d, %s, mark %d",
              c->job->id, (int)cmd->kind, silo_code_name(cmd->rc.code),
              cmd->rc.code != SILO_OK && cmd->error != NULL ? cmd->error : "",
              newest(c->job)->exists, job_status_name(newest(c->job)->status),
              newest(c->job)->mark);
    }
}

static struct mjob *job_by_name(struct model *m, struct bytes tenant, struct bytes id)
{
    for (size_t i = 0; i < m->job_count; i++) {
        if (bytes_eq(bytes_str(m->jobs[i]->id), id) &&
            bytes_eq(bytes_str(m->jobs[i]->tenant), tenant)) {
            return m->jobs[i];
        }
    }
    return NULL;
}

/* Tasks that were handed out: their payload is the job's, and their lease is a fact. */
static void poll_done(struct model *m, const struct mcall *c)
{
    const struct command *cmd = &c->call->cmd;
    if (cmd->result.poll.count > cmd->args.poll.tasks_max) {
        wrong(m, "a poll got more than it asked for");
    }
    for (size_t i = 0; i < cmd->result.poll.count; i++) {
        const struct leased_task *task = &cmd->result.poll.tasks[i];
        struct mjob *job = job_by_name(m, task->tenant, task->job_id);
        if (job == NULL) {
            wrong(m, "a task of an unknown job");
            return;
        }
        struct mtask *known = task_note(m, &task->task_id, job, c->worker);
        if (known->delivered) {
            wrong(m, "JA1: a task was delivered twice");
        }
        known->delivered = true;
        const struct version *v = newest(job);
        if (v->exists && v->arrival == task->info.arrival) {
            uint32_t number = 0;
            memcpy(&number, task->payload.ptr, task->payload.len < 4 ? task->payload.len : 4);
            const bool gone = task->payload.len == 0 && job->deletes != 0;
            if (!gone && (number != v->spec || task->payload.len != spec_of(number).payload_len)) {
                wrong(m, "a task of job %s came with another payload", job->id);
            }
            if (job->in_flight != 0) {
                continue; /* it may be on its way to be deleted */
            }
            fact_add(m, &(struct fact){.kind = FACT_LEASED,
                                       .job = job,
                                       .arrival = v->arrival,
                                       .deletes = job->deletes,
                                       .task_id = task->task_id});
        }
    }
}

static void change_done(struct model *m, const struct mcall *c)
{
    const struct command *cmd = &c->call->cmd;
    const struct version *v = newest(c->job);
    struct fact fact = {.job = c->job, .arrival = v->arrival, .deletes = c->deletes};
    if (!v->exists) {
        wrong(m, "an acknowledged change of job %s left no job", c->job->id);
        return;
    }
    if (cmd->kind == CMD_REPORT) {
        fact.kind = FACT_REPORTED;
        fact.task_id = cmd->args.report.task_id;
        fact.status = cmd->args.report.status;
        fact.data_len =
            cmd->args.report.status == ATTEMPT_CANCELLED ? 0 : cmd->args.report.data.len;
    } else {
        fact.kind = cmd->kind == CMD_ENQUEUE ? FACT_EXISTS : FACT_MARKED;
    }
    fact_add(m, &fact);
}

static void job_done(struct model *m, struct mcall *c)
{
    const struct command *cmd = &c->call->cmd;
    const bool alone = c->clear && c->job->crossed == c->crossed;
    c->job->in_flight--;
    if (cmd->rc.code == SILO_UNAVAILABLE) {
        return;
    }
    if (alone) {
        answer_check(m, c);
    }
    if (cmd->kind == CMD_DELETE_JOB && cmd->rc.code == SILO_PRECONDITION && alone) {
        c->job->deletes--; /* it did nothing */
    }
    if (alone && cmd->rc.code == SILO_OK &&
        (cmd->kind == CMD_ENQUEUE || cmd->kind == CMD_CANCEL_JOB || cmd->kind == CMD_REPORT)) {
        change_done(m, c);
    }
}

static void call_done(struct call *call)
{
    struct mcall *c = call->context;
    struct model *m = c->model;
    const struct command *cmd = &call->cmd;
    m->seen->answers++;
    for (size_t i = 0; i < c->given_count; i++) {
        c->given[i]->in_flight--;
    }
    m->answer_hash = XXH64(&cmd->rc.code, sizeof cmd->rc.code, m->answer_hash);
    if (m->error[0] != '\0') {
        return;
    }
    if (cmd->rc.code == SILO_UNAVAILABLE) {
        m->seen->unknown++;
        if (!m->troubled && c->troubles == m->troubles) {
            wrong(m, "UNAVAILABLE without a reason, kind %d: %s", (int)cmd->kind, cmd->error);
        }
    }
    if (c->job != NULL) {
        job_done(m, c);
    } else if (cmd->kind == CMD_POLL && cmd->rc.code == SILO_OK) {
        poll_done(m, c);
    } else if (cmd->rc.code != SILO_OK && cmd->rc.code != SILO_UNAVAILABLE &&
               !(cmd->kind == CMD_POLL && cmd->rc.code == SILO_EXHAUSTED)) {
        wrong(m, "a call of kind %d failed: %s", (int)cmd->kind, cmd->error);
    }
}

struct mcall *model_send(struct model *m, struct call *call, struct mjob *job, struct mtask *task,
                         uint32_t spec)
{
    struct mcall *c = xcalloc(1, sizeof *c);
    *c = (struct mcall){
        .model = m, .call = call, .job = job, .task = task, .spec = spec, .troubles = m->troubles};
    if (job != NULL) {
        if (call->cmd.kind == CMD_DELETE_JOB) {
            job->deletes++;
        }
        c->clear = job->in_flight++ == 0;
        c->crossed = ++job->crossed;
        c->deletes = job->deletes;
        c->version = job->count - 1;
    }
    if (call->cmd.kind == CMD_POLL) {
        c->worker = call->cmd.args.poll.worker_id.ptr[0];
    }
    call->context = c;
    call->on_done = call_done;
    if ((m->call_count & (m->call_count - 1)) == 0) {
        m->calls = xrealloc(m->calls,
                            (m->call_count != 0 ? m->call_count * 2 : 8) * sizeof(struct mcall *));
    }
    m->calls[m->call_count++] = c;
    rig_send(m->rig, call);
    return c;
}

void model_gives_back(struct mcall *c, struct mtask *task)
{
    ASSERT(c->given_count < sizeof c->given / sizeof c->given[0]);
    task->given_back = true;
    task->job->crossed++;
    task->job->in_flight++;
    c->given[c->given_count++] = task->job;
}

void model_trouble(struct model *m)
{
    m->troubles++;
}

/* --- life --- */

void model_init(struct model *m, struct rig *rig, struct tally_seen *seen)
{
    *m = (struct model){.rig = rig, .seen = seen};
    audit_init(&m->audit, shard_rig_of(rig)->options.order);
    shard_rig_of(rig)->on_open = model_open;
    shard_rig_of(rig)->on_write = model_write;
    shard_rig_of(rig)->context = m;
}

struct mjob *model_job(struct model *m, const char *tenant, const char *id)
{
    struct mjob *job = job_by_name(m, bytes_str(tenant), bytes_str(id));
    if (job != NULL) {
        return job;
    }
    job = xcalloc(1, sizeof *job);
    (void)snprintf(job->tenant, sizeof job->tenant, "%s", tenant);
    (void)snprintf(job->id, sizeof job->id, "%s", id);
    key_job_ref(&job->ref, bytes_str(tenant), bytes_str(id));
    version_push(job, &(struct version){0});
    m->jobs = xrealloc(m->jobs, (m->job_count + 1) * sizeof(struct mjob *));
    m->jobs[m->job_count++] = job;
    return job;
}

void model_deinit(struct model *m)
{
    for (size_t i = 0; i < m->job_count; i++) {
        free(m->jobs[i]->versions);
        free(m->jobs[i]);
    }
    for (size_t i = 0; i < m->task_count; i++) {
        free(m->tasks[i]);
    }
    for (size_t i = 0; i < m->call_count; i++) {
        rig_call_free(m->calls[i]->call);
        free(m->calls[i]);
    }
    free(m->jobs);
    free(m->tasks);
    free(m->facts);
    free(m->calls);
    audit_deinit(&m->audit);
}
