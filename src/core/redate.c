/*
 * core/redate.c - the wall clock stands behind stamps of an earlier incarnation: retries that were
 * stamped by a clock that was ahead are stamped again, or half a second would last as long as the
 * clock was ahead.
 *
 *   META_CLOCK, read at open ── far ahead of now ──► a page of timers ──► one CMD_REDATE for each retry among them ──► next page
 *              ▲                                                                                                  │
 *              └────────────── written every CLOCK_STAMP_MS of changes, and again when the pages are through ◄────┘
 *
 * 1. A retry's state row says when it was written (changed_ms) and when the retry is due. If it was
 *    written ahead of now, the time between the two counts from now on. A token that a rate limit
 *    has sent to the timers for longer than the limit's policy allows asks again now. A start that
 *    somebody asked for is a point in time, and stays.
 * 2. META_CLOCK is not lowered before the last page is through: an incarnation that ends earlier
 *    begins anew.
 * 3. What is put while pages are read has a stamp of now, so pages need not see it.
 *
 * Threads    the shard's executor only.
 * Limits     REDATE_PAGE_ROWS commands under way.
 */
#include "core/redate.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/steady.h"
#include "core/commands.h"
#include "core/inner.h"
#include "core/job.h"
#include "core/limit_kinds.h"
#include "core/run.h"
#include "core/state.h"
#include "core/token.h"
#include "core/token_find.h"
#include "core/walk.h"

#define REDATE_PAGE_ROWS (PAGE_ROWS_MAX < 256u ? PAGE_ROWS_MAX : 256u)
#define CLOCK_STAMP_MS 10000
#define CLOCK_GAP_MS 600000
/*
 * Retention waits after an opening that finds the clock far ahead: long enough to see it set right.
 */
#define CLOCK_TRUST_MS (3 * (int64_t)STEADY_DOUBT_MS)

enum redate_phase { REDATE_OFF, REDATE_WAITS, REDATE_READING, REDATE_PAGE };

struct redate {
    enum redate_phase phase;
    int64_t retry_mono_ms;
    struct sweep sweep; /* of the timers */
    bool failed;
    uint32_t under_way;
};

static struct redate *redate_get(struct core *core)
{
    if (core->clock.redate == NULL) {
        core->clock.redate = xcalloc(1, sizeof *core->clock.redate);
        sweep_init(&core->clock.redate->sweep);
    }
    return core->clock.redate;
}

void redate_free(struct core *core)
{
    if (core->clock.redate != NULL) {
        sweep_deinit(&core->clock.redate->sweep);
        free(core->clock.redate);
        core->clock.redate = NULL;
    }
}

void redate_open(struct core *core)
{
    if (core->clock.stored_ms != 0 && core->wall_ms - core->clock.stored_ms > CLOCK_GAP_MS) {
        core->retention.from_mono_ms = core->mono_ms + CLOCK_TRUST_MS;
    }
    if (core->clock.stored_ms - core->wall_ms <= STEADY_FALL_MS) {
        return;
    }
    struct redate *redate = redate_get(core);
    redate->phase = REDATE_WAITS;
    struct key table;
    struct key from;
    key_table(&table, TABLE_TIMER);
    key_timer(&from, &(struct place){.due_ms = core->wall_ms + 1});
    sweep_begin(&redate->sweep, &table, key_bytes(&from));
}

void clock_write(struct core *core)
{
    const bool behind = core->clock.redate != NULL && core->clock.redate->phase != REDATE_OFF;
    if (behind || (core->clock.stored_ms <= core->wall_ms &&
                   core->wall_ms - core->clock.stored_ms < CLOCK_STAMP_MS)) {
        return;
    }
    struct key key;
    key_meta(&key, META_CLOCK);
    buf_reset(&core->scratch);
    number_encode(&core->scratch, (uint64_t)core->wall_ms);
    view_put(&core->view, key_bytes(&key), buf_bytes(&core->scratch), false);
    core->clock.stored_ms = core->wall_ms;
}

/* --- a retry --- */

static void redate_apply(struct core *core, struct command *cmd, const struct job *job,
                         const struct token *from, struct token *to)
{
    struct state state = job->state;
    if (state.changed_ms > core->wall_ms) {
        state.changed_ms = core->wall_ms;
    }
    state.due_ms = to->place.due_ms;
    to->info = job_info_blob(core, cmd->job_ref);
    state_write(core, cmd->job_ref, &state);
    walk_move(core, cmd->job_ref, from, to);
    blob_unref(to->info);
}

/* How long it is still to wait; -1: as long as it says. */
static int64_t redate_wait_ms(const struct core *core, const struct job *job,
                              const struct token *from, const struct limits *limits)
{
    const int64_t due_ms = from->place.due_ms;
    if (due_ms == job->info.requested_start_ms) {
        return -1;
    }
    if (job->state.changed_ms > core->wall_ms) {
        return due_ms > job->state.changed_ms ? due_ms - job->state.changed_ms : 0;
    }
    if (!from->has_chain || from->passed >= limits->count ||
        !limit_rules(limits->items[from->passed].kind)->asked) {
        return -1;
    }
    const struct rate_retry_policy *retry = &limits->items[from->passed].rate->retry;
    const int64_t most_ms = retry->max_ms > retry->initial_ms ? retry->max_ms : retry->initial_ms;
    return due_ms - core->wall_ms > (most_ms > 1 ? most_ms : 1) ? 0 : -1;
}

enum run redate_run(struct core *core, struct command *cmd)
{
    struct job job;
    struct token from;
    const enum job_load load = job_load(core, cmd, &job);
    if (load == JOB_NEEDS) {
        return RUN_NEED;
    }
    if (load != JOB_LOADED || job.status != JOB_SCHEDULED || !job.has_state ||
        !job.state.has_next) {
        return run_ok(cmd);
    }
    if (!token_find(core, cmd, &job, &from)) {
        return RUN_NEED;
    }
    struct token to = {
        .group = job.info.group,
        .place = from.place,
        .attempt = from.attempt,
        .relative = from.relative,
    };
    if (from.where != TOKEN_TIMER) {
        return run_ok(cmd);
    }
    const struct limits *limits = limits_of(core, &job.info);
    if (limits == NULL) {
        core->corrupt_rows++;
        return run_ok(cmd);
    }
    token_begin(&to, &from.task_id, limits);
    const int64_t wait_ms = redate_wait_ms(core, &job, &from, limits);
    if (wait_ms < 0) {
        return run_ok(cmd);
    }
    to.place.due_ms = core->wall_ms + wait_ms;
    to.passed = from.passed;
    to.rate_retries = from.rate_retries;
    to.rates_paid = from.rates_paid;
    if (!walk_ready(core, cmd, cmd->job_ref, &to)) {
        return RUN_NEED;
    }
    redate_apply(core, cmd, &job, &from, &to);
    return run_changed(cmd);
}

void redate_ended(struct core *core, const struct command *cmd)
{
    struct redate *redate = core->clock.redate;
    ASSERT(redate != NULL && redate->under_way != 0);
    redate->under_way--;
    redate->failed |= cmd->rc.code != SILO_OK;
}

/* --- pages --- */

static void redate_row(struct core *core, struct bytes key, struct bytes value)
{
    (void)key;
    struct task_rec rec;
    if (!task_decode(value, &rec) || (rec.attempt <= 1 && !rec.has_chain)) {
        return; /* a start that was asked for */
    }
    struct command *cmd = inner_new(core, CMD_REDATE, rec.job_ref);
    core->clock.redate->under_way++;
    inner_wake(core, cmd);
}

static void redate_end(struct core *core, bool ok)
{
    core->clock.redate->phase = REDATE_PAGE;
    core->clock.redate->failed |= !ok;
}

static void redate_load(struct core *core)
{
    struct redate *redate = core->clock.redate;
    redate->failed = false;
    redate->phase = REDATE_READING;
    sweep_page(core, &redate->sweep, REDATE_PAGE_ROWS, redate_row, redate_end);
}

void redate_turn(struct core *core)
{
    struct redate *redate = core->clock.redate;
    if (redate == NULL) {
        return;
    }
    if (redate->phase == REDATE_PAGE && redate->under_way == 0) {
        if (redate->failed) {
            redate->retry_mono_ms = core->mono_ms + READ_RETRY_MS;
            redate->phase = REDATE_WAITS;
        } else {
            redate->phase = sweep_advance(&redate->sweep) ? REDATE_WAITS : REDATE_OFF;
        }
    }
    if (redate->phase == REDATE_WAITS && core->mono_ms >= redate->retry_mono_ms) {
        redate_load(core);
    }
}

int64_t redate_next_mono_ms(const struct core *core)
{
    const struct redate *redate = core->clock.redate;
    if (redate == NULL) {
        return INT64_MAX;
    }
    if (redate->phase == REDATE_WAITS) {
        return redate->retry_mono_ms > core->mono_ms ? redate->retry_mono_ms : core->mono_ms;
    }
    return redate->phase == REDATE_PAGE && redate->under_way == 0 ? core->mono_ms : INT64_MAX;
}
