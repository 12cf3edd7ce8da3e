/* query/job.c - one job: what its rows say together, its attempts, its blobs. */
#include "base/assert.h"
#include "base/limits.h"
#include "codec/key_scan.h"
#include "query/jobs_int.h"

static enum job_shown shown_of(enum job_status status, int64_t due_ms, int64_t now_ms)
{
    switch (status) {
    case JOB_SCHEDULED:
        return due_ms <= now_ms ? SHOWN_WAITING : SHOWN_SCHEDULED;
    case JOB_RUNNING:
        return SHOWN_RUNNING;
    case JOB_SUCCEEDED:
        return SHOWN_SUCCEEDED;
    case JOB_FAILED:
        return SHOWN_FAILED;
    case JOB_CANCELLED:
        return SHOWN_CANCELLED;
    }
    ASSERT(!"a status out of range");
}

/* The rule of core/job.c. */
static void job_derive(struct job_row *job, int64_t now_ms)
{
    const struct state *state = job->has_state ? &job->state : NULL;
    job->due_ms = state != NULL ? state->due_ms : job->info.due_ms;
    job->attempt = state != NULL ? state->attempt : 1;
    enum job_status status = state != NULL ? state->status : JOB_SCHEDULED;
    job->changed_ms = state != NULL ? state->changed_ms : job->info.enqueue_ms;
    if (job->has_lease) {
        status = JOB_RUNNING;
        job->changed_ms = job->lease.started_ms;
    }
    job->status = shown_of(status, job->due_ms, now_ms);
}

SILO_RC job_decode(const struct snapshot *snapshot, struct bytes job_ref,
                   const struct job_rows *rows, struct job_row *ret_job, struct silo_err *err)
{
    ASSERT(rows->info.present);
    struct job_row job = {.has_state = rows->state.present, .has_lease = rows->lease.present};
    if (!info_decode(rows->info.value, &job.info) ||
        (job.has_state && !state_decode(rows->state.value, &job.state)) ||
        (job.has_lease && !lease_decode(rows->lease.value, &job.lease))) {
        return FAIL(err, SILO_CORRUPT, "the stored job %.*s is corrupt",
                    BYTES_FMT(job_ref_job(job_ref)));
    }
    job_derive(&job, snapshot->now_ms);
    *ret_job = job;
    return RC_OK;
}

SILO_RC job_keep(const struct snapshot *snapshot, struct bytes job_ref, const struct job_rows *rows,
                 struct arena *arena, struct job_row *ret_job, struct silo_err *err)
{
    struct job_rows kept = *rows;
    kept.info.value = arena_copy(arena, rows->info.value);
    kept.state.value = arena_copy(arena, rows->state.value);
    kept.lease.value = arena_copy(arena, rows->lease.value);
    TRY(job_decode(snapshot, job_ref, &kept, ret_job, err));
    const struct bytes tenant_part = job_ref_tenant(job_ref);
    ret_job->tenant = key_tenant_name(tenant_part, arena_alloc(arena, tenant_part.len));
    ret_job->id = arena_copy(arena, job_ref_job(job_ref));
    return RC_OK;
}

size_t job_rows_bytes(const struct job_rows *rows)
{
    return rows->info.value.len + rows->state.value.len + rows->lease.value.len;
}

SILO_RC candidates_load(struct snapshot *snapshot, const struct candidate *candidates, size_t count,
                        struct read *ret_read, struct silo_err *err)
{
    static const enum key_table tables[] = {TABLE_INFO, TABLE_STATE, TABLE_LEASE};
    const size_t tables_count = sizeof tables / sizeof tables[0];
    ASSERT(count != 0 && count <= CANDIDATES_MAX);
    struct bytes keys[CANDIDATES_MAX * 3];
    struct arena arena; /* the store copies the keys */
    size_t n = 0;
    arena_init(&arena);
    for (size_t i = 0; i < count; i++) {
        for (size_t t = 0; t < tables_count; t++) {
            struct key key;
            key_by_ref(&key, tables[t], candidates[i].job_ref);
            keys[n++] = arena_copy(&arena, key_bytes(&key));
        }
    }
    const silo_rc rc = snapshot_look_up(snapshot, keys, n, ret_read, err);
    arena_deinit(&arena);
    return rc;
}

void job_rows_next(struct read *read, struct job_rows *ret_rows)
{
    ASSERT(store_rows_next(&read->rows, &ret_rows->info));
    ASSERT(store_rows_next(&read->rows, &ret_rows->state));
    ASSERT(store_rows_next(&read->rows, &ret_rows->lease));
}

SILO_RC job_find(struct snapshot *snapshot, struct bytes tenant, struct bytes id,
                 struct arena *arena, struct job_row *ret_job, struct silo_err *err)
{
    if (tenant.len > TENANT_BYTES_MAX || id.len > JOB_ID_BYTES_MAX) {
        return FAIL(err, SILO_NOT_FOUND, "job not found");
    }
    struct key ref;
    key_job_ref(&ref, tenant, id);
    const struct candidate one = {.job_ref = key_bytes(&ref)};
    struct read read;
    TRY(candidates_load(snapshot, &one, 1, &read, err));
    struct job_rows rows;
    job_rows_next(&read, &rows);
    const silo_rc rc = rows.info.present
                           ? job_keep(snapshot, one.job_ref, &rows, arena, ret_job, err)
                           : FAIL(err, SILO_NOT_FOUND, "job not found");
    read_free(snapshot, &read);
    return rc;
}

/* --- attempts --- */

/* The attempt that has no row of its own: the running one, or the one that ended the job. */
static bool attempt_own(const struct job_row *job, struct job_attempt *ret)
{
    if (job->has_lease) {
        *ret = (struct job_attempt){
            .number = job->lease.attempt,
            .attempt = {.relative = job->lease.relative,
                        .task_id = job->lease.task_id,
                        .started_ms = job->lease.started_ms,
                        .outcome = {.status = ATTEMPT_RUNNING}},
        };
        return true;
    }
    if (job->has_state && job->state.has_outcome && job->state.by_attempt) {
        *ret = (struct job_attempt){.number = job->state.attempt, .attempt = job->state.final};
        return true;
    }
    return false;
}

/* Rows `first` to `last`, appended to the page from the newest on. */
static SILO_RC attempts_load(struct snapshot *snapshot, struct bytes job_ref, uint32_t first,
                             uint32_t last, struct arena *arena, struct attempts_page *page,
                             struct silo_err *err)
{
    const size_t count = (size_t)last - first + 1;
    struct bytes *keys = arena_alloc(arena, count * sizeof keys[0]);
    for (size_t i = 0; i < count; i++) {
        struct key key;
        key_attempt(&key, job_ref, last - (uint32_t)i);
        keys[i] = arena_copy(arena, key_bytes(&key));
    }
    struct read read;
    TRY(snapshot_look_up(snapshot, keys, count, &read, err));
    struct store_row row;
    silo_rc rc = RC_OK;
    for (size_t i = 0; store_rows_next(&read.rows, &row); i++) {
        struct job_attempt *attempt = &page->rows[page->count];
        *attempt = (struct job_attempt){.number = last - (uint32_t)i};
        if (!row.present) {
            continue;
        }
        if (!attempt_decode(arena_copy(arena, row.value), &attempt->attempt)) {
            rc = FAIL(err, SILO_CORRUPT, "a stored attempt is corrupt");
            break;
        }
        page->count++;
    }
    read_free(snapshot, &read);
    return rc;
}

SILO_RC job_attempts_read(struct snapshot *snapshot, const struct job_row *job, uint32_t below,
                          uint32_t rows_max, struct arena *arena, struct attempts_page *ret_page,
                          struct silo_err *err)
{
    if (rows_max == 0 || rows_max > JOB_ATTEMPTS_PAGE_MAX) {
        return FAIL(err, SILO_INVALID, "a page has 1 to %u attempts", JOB_ATTEMPTS_PAGE_MAX);
    }
    struct attempts_page page = {.rows = arena_alloc(arena, rows_max * sizeof page.rows[0])};
    struct job_attempt own;
    /* Below the pending, running or final number all have rows. */
    const uint32_t newest = job->has_lease ? job->lease.attempt : job->attempt;
    uint32_t last = newest != 0 ? newest - 1 : 0;
    if (attempt_own(job, &own) && (below == 0 || own.number < below)) {
        page.rows[page.count++] = own;
    }
    if (below != 0 && below - 1 < last) {
        last = below - 1;
    }
    const uint32_t room = rows_max - (uint32_t)page.count;
    if (last != 0 && room != 0) {
        struct key ref;
        key_job_ref(&ref, job->tenant, job->id);
        const uint32_t first = last > room ? last - room + 1 : 1;
        TRY(attempts_load(snapshot, key_bytes(&ref), first, last, arena, &page, err));
        page.below = first > 1 ? first : 0;
    } else if (last != 0) {
        page.below = last + 1;
    }
    *ret_page = page;
    return RC_OK;
}

/* --- blobs --- */

SILO_RC job_blob_read(struct snapshot *snapshot, const struct job_row *job,
                      const struct blob_ref *ref, enum key_blob kind, uint32_t attempt,
                      struct arena *arena, struct bytes *ret_bytes, struct silo_err *err)
{
    if (!ref->is_blob) {
        *ret_bytes = ref->inline_bytes;
        return RC_OK;
    }
    struct key job_ref;
    struct key key;
    key_job_ref(&job_ref, job->tenant, job->id);
    key_blob(&key, key_bytes(&job_ref), kind, attempt);
    const struct bytes keys[] = {key_bytes(&key)};
    struct read read;
    TRY(snapshot_look_up(snapshot, keys, 1, &read, err));
    struct store_row row;
    const bool found = store_rows_next(&read.rows, &row) && row.present;
    if (found) {
        *ret_bytes = arena_copy(arena, row.value);
    }
    read_free(snapshot, &read);
    return found ? RC_OK
                 : FAIL(err, SILO_CORRUPT, "bytes of job %.*s are missing", BYTES_FMT(job->id));
}
