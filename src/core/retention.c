/*
 * core/retention.c - reminders that a job is to be forgotten.
 *
 * Jobs that end in one batch share a row: a row for each would cost more than the rest of their
 * end. It is due when the last of them is.
 */
#include "core/retention.h"

#include "base/assert.h"
#include "base/saturate.h"
#include "core/ids.h"
#include "core/state.h"

#define EXPIRE_ROW_BYTES 16384u /* of job references: then the next row is begun */

void retention_init(struct core *core, int64_t completed_ms, int64_t terminal_ms)
{
    core->retention.completed_ms = completed_ms;
    core->retention.terminal_ms = terminal_ms;
}

int64_t expire_at(const struct core *core, enum job_status status)
{
    const int64_t keep_ms =
        status == JOB_SUCCEEDED ? core->retention.completed_ms : core->retention.terminal_ms;
    if (keep_ms <= 0) {
        return 0;
    }
    return add_saturated(core->wall_ms, keep_ms);
}

/* With no job reference: before all rows of that time. */
void expire_cursor_set(struct expire_cursor *cursor, int64_t ms, struct bytes job_ref)
{
    cursor->ms = ms;
    key_expiry(&cursor->key, ms, job_ref);
}

bool expire_cursor_behind(const struct expire_cursor *cursor, struct bytes key)
{
    return bytes_cmp(key, key_bytes(&cursor->key)) < 0;
}

struct expire *expire_get(struct core *core)
{
    struct expire *expire = core->retention.expire;
    if (expire == NULL) {
        expire = xcalloc(1, sizeof *expire);
        expire->next_ms = INT64_MIN;
        arena_init(&expire->arena);
        buf_init(&expire->open_rows[0].job_refs, SIZE_MAX / 4);
        buf_init(&expire->open_rows[1].job_refs, SIZE_MAX / 4);
        expire_cursor_set(&expire->cursor, 0, BYTES_NONE);
        core->retention.expire = expire;
    }
    return expire;
}

void expire_free(struct core *core)
{
    if (core->retention.expire != NULL) {
        arena_deinit(&core->retention.expire->arena);
        buf_deinit(&core->retention.expire->open_rows[0].job_refs);
        buf_deinit(&core->retention.expire->open_rows[1].job_refs);
        free(core->retention.expire);
        core->retention.expire = NULL;
    }
}

void expire_mark_write(struct core *core, int64_t ms)
{
    struct key key;
    key_meta(&key, META_LOW_EXPIRY);
    buf_reset(&core->scratch);
    number_encode(&core->scratch, (uint64_t)ms);
    view_put(&core->view, key_bytes(&key), buf_bytes(&core->scratch), false);
    core->retention.expire->mark_known = true;
    core->retention.expire->mark_ms = ms;
}

/* A name of its own for a row: no other has it, and it names no job. */
static void row_name(struct core *core, struct key *ref)
{
    const struct uuid id = core_make_id(core);
    key_job_ref(ref, BYTES_NONE, uuid_bytes(&id));
}

static void row_write(struct core *core, struct expire_row *row)
{
    struct expire *expire = core->retention.expire;
    const int64_t expire_ms = row->expire_ms;
    struct key ref;
    struct key key;
    row_name(core, &ref);
    key_expiry(&key, expire_ms, key_bytes(&ref));
    buf_reset(&core->scratch);
    expiry_encode(&core->scratch, buf_bytes(&row->job_refs));
    view_put(&core->view, key_bytes(&key), buf_bytes(&core->scratch), true);
    buf_reset(&row->job_refs);
    if (expire_cursor_behind(&expire->cursor, key_bytes(&key))) {
        expire_cursor_set(&expire->cursor, expire_ms, BYTES_NONE);
    }
    if (expire->phase == EXPIRE_PAGE && expire_cursor_behind(&expire->after, key_bytes(&key))) {
        expire_cursor_set(&expire->after, expire_ms, BYTES_NONE);
    }
    if (expire_ms < expire->next_ms) {
        expire->next_ms = expire_ms;
    }
    if (!expire->mark_known) {
        expire_mark_write(core, 0);
    } else if (expire_ms < expire->mark_ms) {
        expire_mark_write(core, expire_ms);
    }
}

void expire_put(struct core *core, struct bytes job_ref, enum job_status status, int64_t expire_ms)
{
    struct expire_row *row = &expire_get(core)->open_rows[status == JOB_SUCCEEDED ? 0 : 1];
    row->expire_ms = expire_ms;
    item_append(&row->job_refs, job_ref);
    if (buf_bytes(&row->job_refs).len >= EXPIRE_ROW_BYTES) {
        row_write(core, row);
    }
}

void expire_write(struct core *core)
{
    for (size_t i = 0; core->retention.expire != NULL && i < 2; i++) {
        struct expire_row *row = &core->retention.expire->open_rows[i];
        if (buf_bytes(&row->job_refs).len != 0) {
            row_write(core, row);
        }
    }
}
