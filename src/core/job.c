/* core/job.c - the rows of a job. */
#include "core/job.h"

#include <xxhash.h>

#include "base/assert.h"
#include "base/limits.h"
#include "core/count.h"
#include "core/lease.h"
#include "core/read.h"
#include "core/retention.h"
#include "core/run.h"
#include "core/state.h"
#include "core/watch.h"

enum job_load job_load(struct core *core, struct command *cmd, struct job *ret)
{
    struct key key;
    struct bytes info_row = BYTES_NONE;
    struct bytes state_row = BYTES_NONE;
    key_by_ref(&key, TABLE_INFO, cmd->job_ref);
    const enum view_answer info = look(core, cmd, key_bytes(&key), &info_row);
    key_by_ref(&key, TABLE_STATE, cmd->job_ref);
    const enum view_answer state = look(core, cmd, key_bytes(&key), &state_row);
    if (info == VIEW_ABSENT) {
        return JOB_ABSENT;
    }
    if (info == VIEW_UNKNOWN || state == VIEW_UNKNOWN) {
        return JOB_NEEDS;
    }
    ret->has_state = state == VIEW_FOUND;
    if (!info_decode(info_row, &ret->info) ||
        (ret->has_state && !state_decode(state_row, &ret->state))) {
        return JOB_CORRUPT;
    }
    ret->lease = lease_of_job(core, cmd->job_ref);
    if (ret->lease != NULL) {
        ret->status = JOB_RUNNING;
        view_touch(&core->view, ret->lease->batch);
    } else {
        ret->status = ret->has_state ? ret->state.status : JOB_SCHEDULED;
    }
    return JOB_LOADED;
}

enum run job_load_fail(struct core *core, struct command *cmd, enum job_load load)
{
    if (load == JOB_ABSENT) {
        view_touch_absent(&core->view);
        return run_fail(cmd, SILO_NOT_FOUND, "job not found");
    }
    return run_fail(cmd, SILO_CORRUPT, "the stored job is corrupt");
}

enum key_index index_kind_of(enum job_status status)
{
    switch (status) {
    case JOB_SCHEDULED:
    case JOB_RUNNING:
        return INDEX_OPEN;
    case JOB_SUCCEEDED:
        return INDEX_SUCCEEDED;
    case JOB_FAILED:
        return INDEX_FAILED;
    case JOB_CANCELLED:
        return INDEX_CANCELLED;
    }
    ASSERT(!"a status out of range");
}

void state_write(struct core *core, struct bytes job_ref, const struct state *state)
{
    struct key key;
    key_by_ref(&key, TABLE_STATE, job_ref);
    buf_reset(&core->scratch);
    state_encode(&core->scratch, state);
    view_put(&core->view, key_bytes(&key), buf_bytes(&core->scratch), false);
}

struct bytes job_row_copy(struct core *core, struct command *cmd, enum key_table table)
{
    struct key key;
    struct bytes value = BYTES_NONE;
    key_by_ref(&key, table, cmd->job_ref);
    (void)view_get(&core->view, key_bytes(&key), &value);
    return arena_copy(cmd->arena, value);
}

struct bytes job_own(struct core *core, struct command *cmd, struct job *job)
{
    const struct bytes row = job_row_copy(core, cmd, TABLE_INFO);
    ASSERT(info_decode(row, &job->info));
    if (job->has_state) {
        ASSERT(state_decode(job_row_copy(core, cmd, TABLE_STATE), &job->state));
    }
    return row;
}

struct blob *job_info_blob(struct core *core, struct bytes job_ref)
{
    struct key key;
    struct bytes row = BYTES_NONE;
    key_by_ref(&key, TABLE_INFO, job_ref);
    (void)view_get(&core->view, key_bytes(&key), &row);
    return blob_new(row);
}

enum run job_refuse(struct command *cmd, const char *verb, const char *reason,
                    enum job_status status)
{
    const struct bytes tenant = job_ref_tenant(cmd->job_ref);
    const struct bytes id = bytes_of(cmd->job_ref.ptr + tenant.len, cmd->job_ref.len - tenant.len);
    return run_fail(cmd, SILO_PRECONDITION,
                    arena_printf(cmd->arena, "cannot %s job %.*s: %s (status: %s)", verb,
                                 BYTES_FMT(id), reason, job_status_name(status)));
}

/* Attempts that have a row of their own: all recorded ones but that in the state row. */
uint32_t job_attempt_rows(const struct job *job)
{
    uint32_t last = 1;
    if (job->lease != NULL) {
        last = job->lease->rec.attempt;
    } else if (job->has_state) {
        last = job->state.attempt;
    }
    return last - 1;
}

uint32_t job_attempts(const struct job *job)
{
    const bool final =
        job->lease == NULL && job->has_state && job->state.has_outcome && job->state.by_attempt;
    return job_attempt_rows(job) + (final ? 1 : 0);
}

struct bytes job_error_text(struct arena *arena, const char *text)
{
    const size_t len = strlen(text);
    uint8_t *out = arena_alloc(arena, len + 3);
    out[0] = 0xda; /* a MessagePack str 16 */
    out[1] = (uint8_t)(len >> 8);
    out[2] = (uint8_t)len;
    /* NOLINTNEXTLINE(bugprone-not-null-terminated-result): the text has a length instead */
    memcpy(out + 3, text, len);
    return bytes_of(out, len + 3);
}

/* --- making --- */

struct blob_ref blob_of(struct bytes b)
{
    if (b.len > BLOB_INLINE_MAX) {
        return (struct blob_ref){.is_blob = true, .len = b.len, .hash = XXH64(b.ptr, b.len, 0)};
    }
    return (struct blob_ref){.inline_bytes = b};
}

struct blob *job_create(struct core *core, struct bytes job_ref, const struct info *info,
                        struct bytes payload, enum key_index kind, int64_t index_ms)
{
    buf_reset(&core->scratch);
    info_encode(&core->scratch, info);
    struct blob *row = blob_new(buf_bytes(&core->scratch));
    struct key key;
    key_by_ref(&key, TABLE_INFO, job_ref);
    view_put_blob(&core->view, key_bytes(&key), row, false);
    key_index(&key, job_ref, kind, index_ms);
    view_put(&core->view, key_bytes(&key), BYTES_NONE, false);
    struct bytes at = info->metadata;
    struct bytes name;
    struct bytes value;
    while (pair_next(&at, &name, &value)) {
        key_metadata(&key, job_ref, name, value);
        view_put(&core->view, key_bytes(&key), BYTES_NONE, false);
    }
    if (info->payload.is_blob) {
        key_blob(&key, job_ref, BLOB_PAYLOAD, 0);
        view_put_lent(&core->view, key_bytes(&key), payload);
    }
    return row;
}

/* --- ending and reopening --- */

static void index_move(struct core *core, struct bytes job_ref, enum key_index from,
                       int64_t from_ms, enum key_index to, int64_t to_ms)
{
    struct key key;
    key_index(&key, job_ref, from, from_ms);
    view_del(&core->view, key_bytes(&key));
    key_index(&key, job_ref, to, to_ms);
    view_put(&core->view, key_bytes(&key), BYTES_NONE, false);
}

void job_end(struct core *core, struct bytes job_ref, struct state *state, int64_t enqueue_ms,
             struct tenant_count *count)
{
    ASSERT(job_status_terminal(state->status) && state->has_outcome);
    state->expire_ms = expire_at(core, state->status);
    state_write(core, job_ref, state);
    index_move(core, job_ref, INDEX_OPEN, enqueue_ms, index_kind_of(state->status),
               state->changed_ms);
    if (state->expire_ms != 0) {
        expire_put(core, job_ref, state->status, state->expire_ms);
    }
    count_move(core, count, COUNT_OPEN, count_kind_of(state->status));
    watch_fire(core, job_ref);
}

void job_reopen(struct core *core, struct bytes job_ref, const struct job *job,
                struct tenant_count *count)
{
    const struct state *state = &job->state;
    ASSERT(job_status_terminal(job->status));
    if (state->by_attempt) {
        struct key key;
        key_attempt(&key, job_ref, state->attempt);
        buf_reset(&core->scratch);
        attempt_encode(&core->scratch, &state->final);
        view_put(&core->view, key_bytes(&key), buf_bytes(&core->scratch), false);
    }
    index_move(core, job_ref, index_kind_of(job->status), state->changed_ms, INDEX_OPEN,
               job->info.enqueue_ms);
    count_move(core, count, count_kind_of(job->status), COUNT_OPEN);
}

/* --- removing --- */

static void delete_key(struct core *core, const struct key *key)
{
    view_del(&core->view, key_bytes(key));
}

/*
 * Attempts below the final one; what is large of them has a row beside theirs, whichever run made
 * it.
 */
static void delete_attempts(struct core *core, struct bytes job_ref, const struct job *job)
{
    struct key key;
    for (uint32_t n = job_attempt_rows(job); n != 0; n--) {
        key_attempt(&key, job_ref, n);
        delete_key(core, &key);
        key_blob(&key, job_ref, BLOB_RESULT, n);
        delete_key(core, &key);
    }
    if (job->state.final.outcome.data.is_blob) {
        key_blob(&key, job_ref, BLOB_RESULT, job->state.attempt);
        delete_key(core, &key);
    }
}

void job_delete(struct core *core, struct bytes job_ref, const struct job *job,
                struct tenant_count *count)
{
    const struct info *info = &job->info;
    const struct state *state = &job->state;
    ASSERT(job_status_terminal(job->status));
    count_move(core, count, count_kind_of(job->status), COUNT_NONE);
    struct key key;
    key_index(&key, job_ref, index_kind_of(state->status), state->changed_ms);
    delete_key(core, &key);
    struct bytes at = info->metadata;
    struct bytes name;
    struct bytes value;
    while (pair_next(&at, &name, &value)) {
        key_metadata(&key, job_ref, name, value);
        delete_key(core, &key);
    }
    if (info->payload.is_blob) {
        key_blob(&key, job_ref, BLOB_PAYLOAD, 0);
        delete_key(core, &key);
    }
    delete_attempts(core, job_ref, job);
    /* Last: info and state lend the bytes above. */
    key_by_ref(&key, TABLE_STATE, job_ref);
    delete_key(core, &key);
    key_by_ref(&key, TABLE_INFO, job_ref);
    delete_key(core, &key);
}
