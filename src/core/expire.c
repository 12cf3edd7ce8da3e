/*
 * core/expire.c - retention: jobs that ended are forgotten when their time is over.
 *
 *   ended ──expire_put──► open row ──once a batch──► expiry row ──page of due rows──► a CMD_EXPIRE for each job ──► it goes whole
 *
 * Jobs that end in one batch share a row: a row for each would cost more than the rest of their
 * end. It is due when the last of them is. A row is a reminder and no more: whether a job goes is
 * said by its own state (expire_run), so one that was deleted or started again leaves its place in
 * the row.
 *
 * 1. No live expiry row stands before `cursor`; none is due before `next_ms`. An expiry put below
 *    either lowers it.
 * 2. A page begins at the cursor, when no command of an earlier one is under way and few batches
 *    are undurable. Rows that changed since it began are recent changes of the view, and are taken
 *    from there when it ends (core/page.h). So it misses nothing, and a row that was deleted
 *    meanwhile is passed over.
 * 3. The rows of a page go and the cursor follows when all its commands are through; if one failed,
 *    the page is read again.
 * 4. META_LOW_EXPIRY says where the cursor of the next incarnation begins. It is raised at most
 *    once a page, and lowered in the batch of a put below it (the wall clock may have gone back
 *    between incarnations); so it is known before that, or 0.
 * 5. An opening that finds the clock far ahead of what was stored last may have met it in a wrong
 *    moment: nothing goes until there was time to set it right (core->retention.from_mono_ms).
 * 6. A shard without expiry rows reads one page after open and nothing more.
 *
 * Units      _ms: wall clock, but for _mono_ms.
 * Threads    the shard's executor only.
 * Limits     EXPIRE_PAGE_ROWS rows in a page, of EXPIRE_ROW_BYTES or one job more;
 *            EXPIRE_COMMANDS_MAX commands under way.
 */
#include "core/expire.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/saturate.h"
#include "core/commands.h"
#include "core/count.h"
#include "core/inner.h"
#include "core/job.h"
#include "core/page.h"
#include "core/read.h"
#include "core/retention.h"
#include "core/run.h"
#include "core/state.h"

#define EXPIRE_PAGE_ROWS (PAGE_ROWS_MAX < 64u ? PAGE_ROWS_MAX : 64u)
#define EXPIRE_COMMANDS_MAX 256u
#define EXPIRE_BATCHES_MAX 64u /* undurable batches: no further page until there are fewer */

static void cursor_copy(struct expire_cursor *to, const struct expire_cursor *from)
{
    to->ms = from->ms;
    to->key.len = from->key.len;
    memcpy(to->key.b, from->key.b, from->key.len);
}

/* --- the mark, read once --- */

static void mark_row(struct core *core, struct core_read *read, struct bytes key,
                     struct bytes value, bool present)
{
    (void)read;
    (void)key;
    struct expire *expire = core->retention.expire;
    uint64_t ms = 0;
    if (expire->mark_known) {
        return; /* a put came first */
    }
    if (present && (!number_decode(value, &ms) || ms > INT64_MAX)) {
        core_break(core, "the low-water mark of retention is corrupt");
        return;
    }
    expire->mark_known = true;
    expire->mark_ms = (int64_t)ms;
    expire_cursor_set(&expire->cursor, expire->mark_ms, BYTES_NONE);
}

static void read_failed(struct core *core)
{
    core->retention.expire->retry_mono_ms = core->mono_ms + READ_RETRY_MS;
}

static void mark_end(struct core *core, struct core_read *read, bool ok, bool more)
{
    (void)read;
    (void)more;
    core->retention.expire->phase = EXPIRE_IDLE;
    if (!ok) {
        read_failed(core);
    }
}

static void mark_load(struct core *core)
{
    struct key key;
    key_meta(&key, META_LOW_EXPIRY);
    struct core_read *read = read_new(sizeof *read);
    read_look_up(read, 1);
    read_want(read, key_bytes(&key));
    read->on_row = mark_row;
    read->on_end = mark_end;
    core->retention.expire->phase = EXPIRE_READING;
    read_queue(core, read);
}

/* --- pages --- */

/* A row without a value is one of an earlier version: it is about the job that its key names. */
static void due_push(struct core *core, struct bytes key, struct bytes value, struct bytes job_ref)
{
    struct expire *expire = core->retention.expire;
    struct bytes items = BYTES_NONE;
    struct buf one;
    buf_init(&one, SIZE_MAX / 4);
    if (value.len == 0) {
        item_append(&one, job_ref);
        items = buf_bytes(&one);
    } else if (!expiry_decode(value, &items)) {
        core->corrupt_rows++; /* goes with the page */
    }
    expire->due[expire->due_count++] = (struct expire_due){
        .key = arena_copy(&expire->arena, key), .job_refs = arena_copy(&expire->arena, items)};
    buf_deinit(&one);
}

static void bound_note(struct expire *expire, int64_t ms)
{
    if (!expire->bound_seen || ms < expire->bound_ms) {
        expire->bound_seen = true;
        expire->bound_ms = ms;
    }
}

/* The page goes as far as this row. */
static void due_passed(struct expire *expire, int64_t expire_ms, struct bytes job_ref)
{
    expire_cursor_set(&expire->after, expire_ms, job_ref);
    key_successor(&expire->after.key);
}

/* In order; behind the first row that is not due nothing counts. */
static void due_take(struct core *core, struct page *page, struct bytes key, struct bytes value)
{
    (void)page;
    struct expire *expire = core->retention.expire;
    int64_t expire_ms = 0;
    struct bytes job_ref;
    if (expire->bound_seen) {
        return;
    }
    if (key.len >= KEY_BYTES_MAX || !key_expiry_parse(key, &expire_ms, &job_ref)) {
        core->corrupt_rows++;
        view_del(&core->view, key); /* it names no job */
        return;
    }
    if (expire_ms > core->wall_ms) {
        bound_note(expire, expire_ms);
        expire_cursor_set(&expire->after, expire_ms, BYTES_NONE);
        return;
    }
    due_passed(expire, expire_ms, job_ref);
    due_push(core, key, value, job_ref);
}

/* Live rows that changed since the page began. */
static void due_take_recent(struct core *core, const struct page *page)
{
    struct expire *expire = core->retention.expire;
    const struct row *row = NULL;
    while ((row = page_recent(core, page, row)) != NULL) {
        const struct bytes key = bytes_of(row->key, row->key_len);
        int64_t expire_ms = 0;
        struct bytes job_ref;
        if (!key_expiry_parse(key, &expire_ms, &job_ref)) {
            continue;
        }
        const bool behind = expire_cursor_behind(&expire->after, key);
        if (expire_ms <= core->wall_ms && behind && expire->due_count < 2 * EXPIRE_PAGE_ROWS) {
            due_push(core, key, blob_bytes(row->value), job_ref);
            continue;
        }
        bound_note(expire, expire_ms);
        if (behind) {
            expire_cursor_set(&expire->after, expire_ms, BYTES_NONE);
        }
    }
}

static void due_page_end(struct core *core, struct core_read *read, bool ok, bool more)
{
    const struct page *page = CONTAINER_OF(read, struct page, read);
    struct expire *expire = core->retention.expire;
    int64_t last_ms = 0;
    struct bytes last_ref;
    expire->phase = ok ? EXPIRE_PAGE : EXPIRE_IDLE;
    if (!ok) {
        read_failed(core);
        return;
    }
    if (more && !expire->bound_seen) {
        if (page->last.len < KEY_BYTES_MAX && key_expiry_parse(page->last, &last_ms, &last_ref)) {
            due_passed(expire, last_ms, last_ref); /* rows that were skipped count, too */
        }
        bound_note(expire, expire->after.ms); /* without a row that is not due: at once */
    } else if (!expire->bound_seen) {
        expire_cursor_set(&expire->after, core->wall_ms < INT64_MAX ? core->wall_ms + 1 : INT64_MAX,
                          BYTES_NONE);
    }
    due_take_recent(core, page);
    expire->next_ms = expire->bound_seen ? expire->bound_ms : INT64_MAX;
}

static void due_load(struct core *core)
{
    struct expire *expire = core->retention.expire;
    arena_reset(&expire->arena);
    expire->due = arena_alloc(&expire->arena, 2 * (size_t)EXPIRE_PAGE_ROWS * sizeof expire->due[0]);
    expire->due_count = 0;
    expire->submitted = 0;
    expire->failed = false;
    expire->bound_seen = false;
    cursor_copy(&expire->after, &expire->cursor);
    struct key table;
    key_table(&table, TABLE_EXPIRY);
    struct key hi = table;
    ASSERT(key_after_prefix(&hi));
    struct page *page = page_new(sizeof *page, TABLE_EXPIRY, key_bytes(&table));
    page->take = due_take;
    page->read.on_end = due_page_end;
    expire->phase = EXPIRE_READING;
    page_start(core, page, &expire->cursor.key, &hi, EXPIRE_PAGE_ROWS);
}

/* --- commands --- */

/*
 * Whether its retention is over is said by the job itself: it may have been started again, or be
 * another one of that name.
 */
enum run expire_run(struct core *core, struct command *cmd)
{
    struct job job;
    const enum job_load load = job_load(core, cmd, &job);
    struct tenant_count *count = count_find(core, cmd->job_ref, cmd);
    if (load == JOB_NEEDS || (load == JOB_LOADED && count == NULL)) {
        return RUN_NEED;
    }
    if (load == JOB_CORRUPT) {
        core->corrupt_rows++;
    }
    if (load != JOB_LOADED || !job_status_terminal(job.status) || job.state.expire_ms == 0 ||
        job.state.expire_ms > core->wall_ms) {
        return run_ok(cmd);
    }
    job_delete(core, cmd->job_ref, &job, count);
    core->retention.expired_jobs++;
    return run_changed(cmd);
}

void expire_ended(struct core *core, const struct command *cmd)
{
    struct expire *expire = core->retention.expire;
    ASSERT(expire != NULL && expire->under_way != 0);
    expire->under_way--;
    expire->failed |= cmd->rc.code != SILO_OK;
}

/* --- turns --- */

static bool due_submitted(const struct expire *expire)
{
    return expire->submitted == expire->due_count;
}

static void due_submit(struct core *core)
{
    struct expire *expire = core->retention.expire;
    while (!due_submitted(expire) && expire->under_way < EXPIRE_COMMANDS_MAX) {
        struct expire_due *due = &expire->due[expire->submitted];
        struct bytes job_ref;
        if (!item_next(&due->job_refs, &job_ref)) {
            expire->submitted++;
        } else if (job_ref_ok(job_ref)) {
            expire->under_way++;
            inner_wake(core, inner_new(core, CMD_EXPIRE, job_ref));
        } else {
            core->corrupt_rows++;
        }
    }
}

/*
 * All commands of the page are through. The first page after open raises the mark only if it found
 * something.
 */
static void due_done(struct core *core)
{
    struct expire *expire = core->retention.expire;
    expire->phase = EXPIRE_IDLE;
    if (expire->failed) {
        expire->next_ms = INT64_MIN;
        read_failed(core);
        return;
    }
    for (uint32_t i = 0; i < expire->due_count; i++) {
        view_del(&core->view, expire->due[i].key);
    }
    cursor_copy(&expire->cursor, &expire->after);
    const bool worth = expire->opened || expire->due_count != 0;
    expire->opened = true;
    if (worth && expire->cursor.ms > expire->mark_ms) {
        expire_mark_write(core, expire->cursor.ms);
    }
}

/*
 * What was deleted has to become durable some time: a sweep runs ahead of it so far and no further.
 */
static bool due_allowed(const struct core *core)
{
    return core->view.open - core->view.durable <= EXPIRE_BATCHES_MAX;
}

void expire_turn(struct core *core)
{
    struct expire *expire = expire_get(core);
    if (expire->phase == EXPIRE_PAGE) {
        due_submit(core);
        if (due_submitted(expire) && expire->under_way == 0) {
            due_done(core);
        }
    }
    if (expire->phase != EXPIRE_IDLE || core->mono_ms < expire->retry_mono_ms) {
        return;
    }
    if (!expire->mark_known) {
        mark_load(core);
    } else if (expire->next_ms <= core->wall_ms && core->mono_ms >= core->retention.from_mono_ms &&
               due_allowed(core)) {
        due_load(core);
    }
}

int64_t expire_next_mono_ms(const struct core *core)
{
    const struct expire *expire = core->retention.expire;
    if (expire == NULL) {
        return core->mono_ms;
    }
    if (expire->phase == EXPIRE_READING) {
        return INT64_MAX;
    }
    if (expire->phase == EXPIRE_PAGE) {
        const bool moves = expire->under_way == 0 ||
                           (!due_submitted(expire) && expire->under_way < EXPIRE_COMMANDS_MAX);
        return moves ? core->mono_ms : INT64_MAX;
    }
    const int64_t soon =
        expire->retry_mono_ms > core->mono_ms ? expire->retry_mono_ms : core->mono_ms;
    if (expire->mark_known && !due_allowed(core)) {
        return INT64_MAX; /* what becomes durable brings a turn */
    }
    if (!expire->mark_known) {
        return soon;
    }
    if (expire->next_ms <= core->wall_ms) {
        return core->retention.from_mono_ms > soon ? core->retention.from_mono_ms : soon;
    }
    const int64_t wait = expire->next_ms - core->wall_ms;
    if (wait <= soon - core->mono_ms) {
        return soon;
    }
    return add_saturated(core->mono_ms, wait);
}
