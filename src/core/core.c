/*
 * core/core.c - commands in, answers out.
 *
 *   submit ──► run ──ANSWER──► answered ──► driver
 *               │ ▲
 *          NEED │ │ all reads there
 *               ▼ │
 *             blocked ──► woken            run ──PARK──► parked (poll, watch) ──► answered or woken
 *
 * Woken commands run before fresh ones. What the states of a command mean: core/run.h.
 */
#include "core/core.h"

#include "base/assert.h"
#include "base/limits.h"
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
#include "core/inner.h"
#include "core/lease.h"
#include "core/locate.h"
#include "core/low.h"
#include "core/marks.h"
#include "core/open.h"
#include "core/poll.h"
#include "core/queue_rows.h"
#include "core/redate.h"
#include "core/refresh.h"
#include "core/retention.h"
#include "core/run.h"
#include "core/slot.h"
#include "core/state.h"
#include "core/task.h"
#include "core/throttle.h"
#include "core/watch.h"

static void core_init_limits(struct core *core)
{
    map_init(&core->queues);
    map_init(&core->chains);
    map_init(&core->refreshes);
    map_init(&core->refresh_stubs);
    map_init(&core->checks_by_task);
    map_init(&core->buckets);
    map_init(&core->gates);
    heap_init(&core->gates_shut);
    list_init(&core->queue_lru);
    limit_table_init(&core->limits);
    list_init(&core->dirty_queues);
    list_init(&core->sliced_queues);
    list_init(&core->changed_queues);
    list_init(&core->unlocated);
    list_init(&core->drops);
    list_init(&core->checks);
    list_init(&core->buckets_lru);
    list_init(&core->buckets_dirty);
    heap_init(&core->refresh_due);
    heap_init(&core->refresh_offers);
    heap_init(&core->refresh_expiry);
    sweep_init(&core->refresh_sweep);
    sweep_init(&core->buckets_sweep);
    core->buckets_sweep_mono_ms = INT64_MAX;
}

static void core_free_limits(struct core *core)
{
    checks_free(core);
    buckets_free(core);
    drop_free(core);
    queues_free(core);
    chains_free(core);
    limit_table_deinit(&core->limits);
    expire_free(core);
    redate_free(core);
    floating_stubs_free(core);
    map_deinit(&core->gates);
    heap_deinit(&core->gates_shut);
    map_deinit(&core->refreshes);
    heap_deinit(&core->refresh_due);
    heap_deinit(&core->refresh_offers);
    heap_deinit(&core->refresh_expiry);
    sweep_deinit(&core->refresh_sweep);
}

struct core *core_new(const struct core_options *options, int64_t wall_ms, int64_t mono_ms)
{
    struct core *core = xcalloc(1, sizeof *core);
    view_init(&core->view);
    core->order = options->order;
    core->lane_count = options->order == ORDER_PRIORITY ? LANES_MAX : 1;
    core->external_limiter = options->external_limiter;
    core->completed_expire_ms = options->completed_expire_ms;
    core->terminal_expire_ms = options->terminal_expire_ms;
    memcpy(core->seed, options->seed, sizeof core->seed);
    core->wall_ms = wall_ms;
    core->mono_ms = mono_ms;
    core->polls_seen_from_ms = wall_ms;
    map_init(&core->groups);
    map_init(&core->tasks);
    map_init(&core->leases_by_job);
    map_init(&core->leases_by_task);
    map_init(&core->counts);
    map_init(&core->watches);
    map_init(&core->marks);
    list_init(&core->waiting);
    list_init(&core->group_lru);
    list_init(&core->hot_groups);
    list_init(&core->dirty_groups);
    list_init(&core->counts_lru);
    list_init(&core->counts_dirty);
    list_init(&core->reads);
    list_init(&core->answered);
    list_init(&core->woken);
    list_init(&core->blocked);
    list_init(&core->parked);
    heap_init(&core->expiry);
    heap_init(&core->deadlines);
    lane_init(&core->timers, false);
    core_init_limits(core);
    arena_init(&core->fire_arena);
    core->fire = (struct command){.arena = &core->fire_arena, .internal = true};
    list_init(&core->fire.reads);
    buf_init(&core->scratch, SIZE_MAX / 4);
    sweep_init(&core->open_sweep);
    open_start(core);
    return core;
}

struct core *core_free(struct core *core)
{
    if (core == NULL) {
        return NULL;
    }
    struct list_node *node = NULL;
    while ((node = list_pop_front(&core->reads)) != NULL) {
        core_read_end(core, CONTAINER_OF(node, struct core_read, node), false, false);
    }
    view_release(&core->view, &core->fire);
    arena_deinit(&core->fire_arena);
    for (uint32_t i = 0; i < core->timers.count; i++) {
        task_discard(core, lane_at(&core->timers, i));
    }
    lane_deinit(&core->timers);
    core_free_limits(core);
    groups_free(core);
    marks_free(core);
    leases_free(core);
    counts_free(core);
    map_deinit(&core->tasks);
    map_deinit(&core->watches);
    heap_deinit(&core->deadlines);
    sweep_deinit(&core->open_sweep);
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
        list_push_back(cmd->reads_open != 0 ? &core->blocked : &core->woken, &cmd->node);
    }
    grants_run(core); /* in the batch of what freed the slots */
}

static void core_run_woken(struct core *core)
{
    struct list now;
    list_init(&now);
    struct list_node *node = NULL;
    while ((node = list_pop_front(&core->woken)) != NULL) {
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
    core->command_count++;
    if (core->phase != CORE_OPEN) {
        (void)run_fail(cmd, SILO_UNAVAILABLE, "shard not ready: acquisition in progress");
        view_begin(&core->view);
        core_answer(core, cmd);
    } else if (core->command_count > commands_max(cmd)) {
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
    for (struct heap_node *node = heap_min(&core->deadlines);
         node != NULL && node->key <= core->mono_ms; node = heap_min(&core->deadlines)) {
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
    if (!list_empty(&core->woken)) { /* rate limits asked for a poll, and answered at once */
        core_run_woken(core);
        poll_turn(core);
    }
    core_run_deadlines(core);
    low_turn(core);
    groups_shrink(core);
    queues_shrink(core);
    limit_table_shrink(&core->limits, SHARD_LIMITS_BYTES_MAX);
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t core_next_mono_ms(const struct core *core)
{
    if (core->phase != CORE_OPEN) {
        return INT64_MAX;
    }
    if (!list_empty(&core->woken) || !list_empty(&core->drops)) {
        return core->mono_ms;
    }
    int64_t next =
        earlier(poll_next_mono_ms(core), earlier(due_next_mono_ms(core), low_next_mono_ms(core)));
    const struct heap_node *deadline = heap_min(&core->deadlines);
    next = earlier(next, deadline != NULL ? deadline->key : INT64_MAX);
    next = earlier(next, earlier(grants_next_mono_ms(core), floating_next_mono_ms(core)));
    next = earlier(next, earlier(locate_next_mono_ms(core), redate_next_mono_ms(core)));
    next = earlier(next, earlier(buckets_next_mono_ms(core), expire_next_mono_ms(core)));
    next = earlier(next, throttle_next_mono_ms(core));
    return earlier(next, expiry_next_mono_ms(core));
}

/* --- commands of the core's own --- */

struct command *core_answered(struct core *core)
{
    struct list_node *node = NULL;
    while ((node = list_pop_front(&core->answered)) != NULL) {
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
    core->polls_released = true;
    groups_hot(core);
    marks_release(core);
    for (struct map_node *n = map_next(&core->watches, NULL); n != NULL;
         n = map_next(&core->watches, n)) {
        const struct job_watch *watch = CONTAINER_OF(n, struct job_watch, node);
        for (struct list_node *c = list_first(&watch->commands); c != NULL;
             c = list_next(&watch->commands, c)) {
            heap_update(&core->deadlines, &CONTAINER_OF(c, struct command, node)->deadline,
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
            heap_remove(&core->deadlines, &cmd->deadline);
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
    for (struct map_node *n = map_next(&core->watches, NULL); n != NULL;
         n = map_next(&core->watches, NULL)) {
        const struct job_watch *watch = CONTAINER_OF(n, struct job_watch, node);
        struct command *cmd = LIST_ENTRY(list_first(&watch->commands), struct command, node);
        watch_remove(core, cmd); /* the last one takes the watch with it */
        list_push_back(&core->blocked, &cmd->node);
    }
    marks_abandon(core, &core->blocked);
    core_abandon_list(core, &core->blocked, why);
    core_abandon_list(core, &core->woken, why);
    core_abandon_list(core, &core->parked, why);
    core_abandon_list(core, &core->drops, why);
}

size_t core_give_up_reads(struct core *core, int64_t until_mono_ms, const char *why,
                          int64_t *ret_oldest_mono_ms)
{
    size_t count = 0;
    struct list_node *next = NULL;
    *ret_oldest_mono_ms = INT64_MAX;
    view_begin(&core->view);
    for (struct list_node *n = list_first(&core->blocked); n != NULL; n = next) {
        next = list_next(&core->blocked, n);
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
        .leases = core->leases_by_job.count,
        .jobs = core->totals,
        .expired_jobs = core->expired_jobs,
        .tasks = core->tasks.count,
        .groups = core->groups.count,
        .commands = core->command_count,
        .corrupt_rows = core->corrupt_rows,
        .queues = core->queues.count,
        .info_bytes = core->info_bytes,
        .holders = core->slots_taken,
        .checks = core->checks_by_task.count,
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
