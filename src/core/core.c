/*
 * core/core.c - the whole core: made and freed, turned; commands in, answers out.
 *
 * What can become of a command between them is drawn in core/run.h. Those that were woken run
 * before fresh ones.
 */
#include "core/core.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/saturate.h"
#include "core/buckets.h"
#include "core/check.h"
#include "core/commands.h"
#include "core/count.h"
#include "core/drop.h"
#include "core/due.h"
#include "core/expire.h"
#include "core/expiry.h"
#include "core/grant.h"
#include "core/group.h"
#include "core/ids.h"
#include "core/inner.h"
#include "core/lease.h"
#include "core/leave.h"
#include "core/locate.h"
#include "core/low.h"
#include "core/marks.h"
#include "core/open.h"
#include "core/poll.h"
#include "core/queue_rows.h"
#include "core/read.h"
#include "core/redate.h"
#include "core/refresh.h"
#include "core/retention.h"
#include "core/run.h"
#include "core/slot.h"
#include "core/state.h"
#include "core/task.h"
#include "core/throttle.h"
#include "core/timer.h"
#include "core/watch.h"

struct core *core_new(const struct core_options *options, int64_t wall_ms, int64_t mono_ms)
{
    struct core *core = xcalloc(1, sizeof *core);
    view_init(&core->view);
    core->order = options->order;
    core->lane_count = options->order == ORDER_PRIORITY ? LANES_MAX : 1;
    core->wall_ms = wall_ms;
    core->mono_ms = mono_ms;
    buf_init(&core->scratch, SIZE_MAX / 4);
    limit_table_init(&core->limits);
    list_init(&core->reads);
    run_init(core);
    ids_init(core, options->seed);
    tasks_init(core);
    groups_init(core);
    counts_init(core);
    leases_init(core);
    marks_init(core);
    watches_init(core);
    timers_init(core);
    due_init(core);
    queues_init(core);
    slots_init(core);
    locate_init(core);
    drops_init(core);
    refreshes_init(core);
    gates_init(core);
    checks_init(core, options->external_limiter);
    buckets_init(core);
    retention_init(core, options->completed_expire_ms, options->terminal_expire_ms);
    open_start(core);
    return core;
}

/* From the top down: what stands above refers to what stands below. */
struct core *core_free(struct core *core)
{
    if (core == NULL) {
        return NULL;
    }
    reads_free(core);
    redate_free(core);
    expire_free(core);
    open_free(core);
    checks_free(core);
    buckets_free(core);
    drop_free(core);
    due_free(core);
    timers_free(core);
    queues_free(core);
    slots_free(core);
    gates_free(core);
    refreshes_free(core);
    groups_free(core);
    marks_free(core);
    leases_free(core);
    counts_free(core);
    watches_free(core);
    tasks_free(core);
    run_free(core);
    limit_table_deinit(&core->limits);
    buf_deinit(&core->scratch);
    view_deinit(&core->view);
    free(core);
    return NULL;
}

enum core_phase core_phase(const struct core *core)
{
    return core->phase;
}

const char *core_broken(const struct core *core)
{
    return core->broken;
}

struct view *core_view(struct core *core)
{
    return &core->view;
}

void core_set_time(struct core *core, int64_t wall_ms, int64_t mono_ms)
{
    core->wall_ms = wall_ms > core->wall_ms ? wall_ms : core->wall_ms;
    core->mono_ms = mono_ms > core->mono_ms ? mono_ms : core->mono_ms;
}

/* --- commands --- */

static void core_run(struct core *core, struct command *cmd)
{
    view_begin(&core->view);
    cmd->rounds++;
    cmd->begun_mono_ms = cmd->rounds == 1 ? core->mono_ms : cmd->begun_mono_ms;
    enum run run = RUN_ANSWER;
    if (cmd->read_failed) {
        run = run_fail(cmd, SILO_UNAVAILABLE, "the storage could not be read; nothing was changed");
    } else if (cmd->rounds > NEED_ROUNDS_MAX) {
        run = run_fail(cmd, SILO_UNAVAILABLE,
                       "the request kept losing races with others; nothing was changed");
    } else {
        run = command_run(core, cmd);
    }
    if (run == RUN_ANSWER) {
        core_answer(core, cmd);
    } else if (run == RUN_NEED) {
        list_push_back(cmd->reads_open != 0 ? &core->run.blocked : &core->run.woken, &cmd->node);
    }
    grants_run(core); /* in the batch of what freed the slots */
}

static void core_run_woken(struct core *core)
{
    struct list now;
    list_init(&now);
    struct list_node *node = NULL;
    while ((node = list_pop_front(&core->run.woken)) != NULL) {
        list_push_back(&now, node);
    }
    while ((node = list_pop_front(&now)) != NULL) {
        core_run(core, CONTAINER_OF(node, struct command, node));
    }
}

/* How many commands there may be for this one to be taken. */
static size_t commands_max(const struct command *cmd)
{
    if (command_is_own(cmd->kind)) {
        return SIZE_MAX;
    }
    return SHARD_COMMANDS_MAX + (command_keeps_work(cmd->kind) ? SHARD_COMMANDS_RESERVE : 0);
}

void core_submit(struct core *core, struct command *cmd)
{
    list_init(&cmd->reads);
    core->run.command_count++;
    if (core->phase != CORE_OPEN) {
        (void)run_fail(cmd, SILO_UNAVAILABLE, "shard not ready: acquisition in progress");
        view_begin(&core->view);
        core_answer(core, cmd);
    } else if (core->run.leaving && cmd->kind != CMD_GIVE_BACK) {
        core_send_away(core, cmd);
    } else if (core->run.command_count > commands_max(cmd)) {
        (void)run_fail(cmd, SILO_EXHAUSTED, "too many requests are waiting in this shard");
        view_begin(&core->view);
        core_answer(core, cmd);
    } else {
        core_run_woken(core); /* those that waited for reads come first */
        core_run(core, cmd);
    }
}

/*
 * Parked commands whose time is up: polls leave empty, waits look once more and tell the state they
 * see.
 */
static void core_run_deadlines(struct core *core)
{
    for (struct heap_node *node = heap_min(&core->run.deadlines);
         node != NULL && node->key <= core->mono_ms; node = heap_min(&core->run.deadlines)) {
        struct command *cmd = CONTAINER_OF(node, struct command, deadline);
        if (cmd->parked != NULL) {
            poll_answer(core, cmd->parked);
        } else if (cmd->awaits != NULL) {
            marks_leave(core, cmd);
            cmd->args.await.wait_ms = 0;
            core_run(core, cmd);
        } else {
            watch_remove(core, cmd);
            cmd->args.get.wait_ms = 0;
            core_run(core, cmd);
        }
    }
}

void core_turn(struct core *core)
{
    if (core->phase != CORE_OPEN) {
        return;
    }
    if (core->run.leaving) {
        leave_turn(core);
        core_run_woken(core);
        return;
    }
    core_run_woken(core);
    due_turn(core);
    expiry_turn(core);
    expire_turn(core);
    core_run_woken(core); /* leases and jobs whose time is up */
    redate_turn(core);
    floating_turn(core);
    locate_turn(core);
    buckets_turn(core);
    throttle_turn(core);
    drop_turn(core);
    grants_turn(core);
    poll_turn(core);
    if (!list_empty(&core->run.woken)) { /* rate limits asked for a poll, and answered at once */
        core_run_woken(core);
        poll_turn(core);
    }
    core_run_deadlines(core);
    low_turn(core);
    groups_shrink(core);
    queues_shrink(core);
    limit_table_shrink(&core->limits, SHARD_LIMITS_BYTES_MAX);
}

int64_t core_next_mono_ms(const struct core *core)
{
    if (core->phase != CORE_OPEN) {
        return INT64_MAX;
    }
    if (!list_empty(&core->run.woken) || !list_empty(&core->drops.waiting)) {
        return core->mono_ms;
    }
    if (core->run.leaving) {
        return INT64_MAX;
    }
    int64_t next =
        earlier(poll_next_mono_ms(core), earlier(due_next_mono_ms(core), low_next_mono_ms(core)));
    const struct heap_node *deadline = heap_min(&core->run.deadlines);
    next = earlier(next, deadline != NULL ? deadline->key : INT64_MAX);
    next = earlier(next, earlier(grants_next_mono_ms(core), floating_next_mono_ms(core)));
    next = earlier(next, earlier(locate_next_mono_ms(core), redate_next_mono_ms(core)));
    next = earlier(next, earlier(buckets_next_mono_ms(core), expire_next_mono_ms(core)));
    next = earlier(next, throttle_next_mono_ms(core));
    return earlier(next, expiry_next_mono_ms(core));
}

/* --- answers --- */

struct command *core_answered(struct core *core)
{
    struct list_node *node = NULL;
    while ((node = list_pop_front(&core->run.answered)) != NULL) {
        struct command *cmd = CONTAINER_OF(node, struct command, node);
        if (!cmd->internal) {
            return cmd;
        }
        command_ended(core, cmd);
        inner_free(cmd);
    }
    return NULL;
}

void core_release_polls(struct core *core)
{
    core->run.polls_released = true;
    groups_hot(core);
    marks_release(core);
    for (struct map_node *n = map_next(&core->watches, NULL); n != NULL;
         n = map_next(&core->watches, n)) {
        const struct job_watch *watch = CONTAINER_OF(n, struct job_watch, node);
        for (struct list_node *c = list_first(&watch->commands); c != NULL;
             c = list_next(&watch->commands, c)) {
            heap_update(&core->run.deadlines, &CONTAINER_OF(c, struct command, node)->deadline,
                        core->mono_ms);
        }
    }
}

static void core_abandon_list(struct core *core, struct list *list, const char *why)
{
    struct list_node *node = NULL;
    while ((node = list_pop_front(list)) != NULL) {
        struct command *cmd = CONTAINER_OF(node, struct command, node);
        if (heap_has(&cmd->deadline)) {
            heap_remove(&core->run.deadlines, &cmd->deadline);
        }
        if (cmd->parked != NULL) {
            list_remove(&cmd->parked->node);
            cmd->parked = NULL;
        }
        (void)run_fail(cmd, SILO_UNAVAILABLE, why);
        core_answer(core, cmd);
    }
}

void core_abandon(struct core *core, const char *why)
{
    core_break(core, "%s", why);
    view_begin(&core->view);
    watches_abandon(core, &core->run.blocked);
    marks_abandon(core, &core->run.blocked);
    core_abandon_list(core, &core->run.blocked, why);
    core_abandon_list(core, &core->run.woken, why);
    core_abandon_list(core, &core->run.parked, why);
    core_abandon_list(core, &core->drops.waiting, why);
}

size_t core_give_up_reads(struct core *core, int64_t until_mono_ms, const char *why,
                          int64_t *ret_oldest_mono_ms)
{
    size_t count = 0;
    struct list_node *next = NULL;
    *ret_oldest_mono_ms = INT64_MAX;
    view_begin(&core->view);
    for (struct list_node *n = list_first(&core->run.blocked); n != NULL; n = next) {
        next = list_next(&core->run.blocked, n);
        struct command *cmd = CONTAINER_OF(n, struct command, node);
        if (cmd->internal || command_is_own(cmd->kind)) {
            continue;
        }
        if (cmd->begun_mono_ms > until_mono_ms) {
            *ret_oldest_mono_ms = earlier(*ret_oldest_mono_ms, cmd->begun_mono_ms);
            continue;
        }
        ASSERT(cmd->parked == NULL && !heap_has(&cmd->deadline));
        list_remove(&cmd->node);
        (void)run_fail(
            cmd, SILO_UNAVAILABLE,
            arena_printf(cmd->arena, "the storage does not answer, nothing was changed: %s", why));
        core_answer(core, cmd);
        count++;
    }
    return count;
}

struct core_stats core_stats(const struct core *core)
{
    return (struct core_stats){
        .leases = core->leases.by_job.count,
        .jobs = core->counts.totals,
        .expired_jobs = core->retention.expired_jobs,
        .tasks = core->tasks.by_job.count,
        .groups = core->groups.by_name.count,
        .commands = core->run.command_count,
        .corrupt_rows = core->corrupt_rows,
        .queues = core->queues.by_ref.count,
        .info_bytes = core->tasks.info_bytes,
        .holders = core->slots.taken,
        .checks = core->checks.by_task.count,
    };
}

void core_before_seal(struct core *core)
{
    expire_write(core);
    counts_write(core);
    queues_write(core);
    buckets_write(core);
    clock_write(core);
}
