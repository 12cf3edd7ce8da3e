/*
 * core/poll.c - workers ask for tasks. Every poll parks in its group; once a turn, after all
 * commands, the oldest poll of each group is given the best tasks, straight into the open batch. A
 * poll that does not wait leaves at the end of the turn in which nothing more is being read for its
 * group.
 */
#include "core/poll.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/saturate.h"
#include "core/best.h"
#include "core/commands.h"
#include "core/floating.h"
#include "core/group.h"
#include "core/marks.h"
#include "core/queue.h"
#include "core/run.h"
#include "core/state.h"
#include "core/token.h"
#include "core/watch.h"

void poll_answer(struct core *core, struct poll *poll)
{
    struct command *cmd = poll->command;
    list_remove(&poll->node);
    group_polled(core, poll->group);
    core_unpark(core, cmd);
    cmd->parked = NULL;
    cmd->rc = RC_OK;
    cmd->changes = cmd->result.poll.count != 0 || cmd->result.poll.refresh_count != 0;
    cmd->result.poll.leased_mono_ms = core->mono_ms;
    view_begin(&core->view);
    core_answer(core, cmd);
}

static void poll_room(struct poll *poll)
{
    struct poll_result *result = &poll->command->result.poll;
    if (result->count == poll->cap) {
        const uint32_t most = poll->command->args.poll.tasks_max;
        const size_t cap = poll->cap != 0 ? poll->cap * 2 : 4;
        poll->cap = cap < most ? cap : most;
        struct leased_task *tasks = arena_alloc(poll->command->arena, poll->cap * sizeof *tasks);
        if (result->count != 0) {
            memcpy(tasks, result->tasks, result->count * sizeof *tasks);
        }
        result->tasks = tasks;
    }
}

static void lease_want_payload(struct command *cmd, struct bytes job_ref, uint64_t len)
{
    struct key key;
    key_blob(&key, job_ref, BLOB_PAYLOAD, 0);
    struct command_want *wants = arena_alloc(cmd->arena, (cmd->want_count + 1) * sizeof *wants);
    if (cmd->want_count != 0) {
        memcpy(wants, cmd->wants, cmd->want_count * sizeof *wants);
    }
    wants[cmd->want_count++] =
        (struct command_want){.key = arena_copy(cmd->arena, key_bytes(&key)), .len = len};
    cmd->wants = wants;
}

void leased_task_fill(struct command *cmd, struct bytes job_ref, struct bytes info_row,
                      struct leased_task *out)
{
    struct arena *arena = cmd->arena;
    ASSERT(info_decode(arena_copy(arena, info_row), &out->info));
    out->payload = out->info.payload.inline_bytes;
    const struct bytes ref = arena_copy(arena, job_ref);
    ASSERT(job_ref_parse(ref, arena_alloc(arena, ref.len), &out->tenant, &out->job_id));
}

void poll_lease_token(struct core *core, struct command *cmd, struct bytes worker_id,
                      const struct token *from, struct bytes job_ref, struct leased_task *out)
{
    if (from->has_chain) {
        out->task_id = from->task_id;
    }
    out->attempt = from->attempt;
    out->relative = from->relative;
    if (out->info.payload.is_blob) {
        lease_want_payload(cmd, job_ref, out->info.payload.len);
    }
    const struct lease_rec rec = {
        .task_id = out->task_id,
        .worker_id = worker_id,
        .attempt = from->attempt,
        .relative = from->relative,
        .started_ms = core->wall_ms,
        .enqueue_ms = out->info.enqueue_ms,
        .priority = from->place.priority,
        .due_ms = from->place.due_ms,
        .arrival = from->place.arrival,
        .group = out->info.group,
        .has_retry = out->info.has_retry,
        .retry = out->info.retry,
        .limit_count = out->info.limit_count,
        .passed = from->passed,
    };
    const struct token to = {.where = TOKEN_LEASE,
                             .lease_rec = &rec,
                             .has_chain = from->has_chain,
                             .task_id = from->task_id,
                             .passed = from->passed};
    token_move(core, job_ref, from, &to);
}

/*
 * Whether the reply has room for it. A whole message has for the first one, so that nothing is
 * stuck.
 */
static bool poll_takes(struct poll *poll, uint64_t bytes)
{
    const struct poll_args *args = &poll->command->args.poll;
    const uint64_t most = args->bytes_max != 0 ? args->bytes_max : MESSAGE_BYTES_MAX;
    const bool alone = poll->bytes == 0 && args->bytes_max == 0;
    if (!alone && (bytes > most || poll->bytes > most - bytes)) {
        poll->full = true;
        return false;
    }
    poll->bytes += bytes;
    return true;
}

/* False: the reply is full. */
static bool poll_lease(struct core *core, struct poll *poll, struct task *task)
{
    struct command *cmd = poll->command;
    poll_room(poll);
    struct leased_task *out = &cmd->result.poll.tasks[cmd->result.poll.count];
    *out = (struct leased_task){.task_id = uuid_from_seed(cmd->seed, cmd->result.poll.count)};
    const struct bytes row = blob_bytes(task->info);
    const struct bytes ref = task_ref(task);
    leased_task_fill(cmd, ref, row, out);
    if (!poll_takes(poll, out->info.payload.len + row.len + ref.len + REPLY_TASK_BYTES)) {
        return false;
    }
    cmd->result.poll.count++;
    const struct token from = token_of_task(task);
    poll_lease_token(core, cmd, cmd->args.poll.worker_id, &from, ref, out);
    return true;
}

static bool poll_claim(struct poll *poll)
{
    const struct poll_args *args = &poll->command->args.poll;
    if (!poll->claimed && args->claim != NULL && !args->claim(args->claim_context)) {
        return false;
    }
    poll->claimed = true;
    return true;
}

/* Wanted refreshes go ahead of all jobs. */
static bool poll_take_refreshes(struct core *core, struct group *group, struct poll *poll)
{
    struct list_node *node = NULL;
    while ((node = list_first(&group->refreshes)) != NULL) {
        struct floating *floating = CONTAINER_OF(node, struct floating, in_group);
        if (!poll_claim(poll)) {
            return false;
        }
        if (!poll_takes(poll, floating->rec.metadata.len + queue_ref(floating->queue).len +
                                  REPLY_TASK_BYTES)) {
            return true;
        }
        struct poll_result *result = &poll->command->result.poll;
        if (result->refresh_count == poll->refresh_cap) {
            poll->refresh_cap = poll->refresh_cap != 0 ? poll->refresh_cap * 2 : 4;
            struct refresh_task *more =
                arena_alloc(poll->command->arena, poll->refresh_cap * sizeof *more);
            if (result->refresh_count != 0) {
                memcpy(more, result->refreshes, result->refresh_count * sizeof *more);
            }
            result->refreshes = more;
        }
        floating_lease(core, floating, poll->command, &result->refreshes[result->refresh_count++]);
    }
    return true;
}

/* A poll that does not wait stays a moment for the rate limits asked for it. */
static void poll_await_checks(struct core *core, struct poll *poll)
{
    if (!poll->asked) {
        poll->asked = true;
        struct heap_node *deadline = &poll->command->deadline;
        if (core->mono_ms + POLL_CHECKS_MS < deadline->key) {
            heap_update(&core->run.deadlines, deadline, core->mono_ms + POLL_CHECKS_MS);
        }
    }
}

struct hand_over {
    uint32_t budget, checks;
    struct best_cursor cursor;
};

/*
 * Gives the poll what there is. It leaves with tasks, or empty if it does not wait and nothing is
 * on its way.
 */
static void poll_serve(struct core *core, struct group *group, struct poll *poll,
                       struct hand_over *over)
{
    struct command *cmd = poll->command;
    struct task *task = NULL;
    enum best best = BEST_TASK;
    bool claimed = poll_take_refreshes(core, group, poll);
    while (claimed && !poll->full && cmd->result.poll.count < cmd->args.poll.tasks_max &&
           over->budget != 0 && core->leases.by_job.count < SHARD_LEASES_MAX &&
           (best = group_best(core, group, &over->cursor, &over->checks, &task)) == BEST_TASK) {
        claimed = poll_claim(poll);
        if (claimed && poll_lease(core, poll, task)) {
            over->budget--;
        }
    }
    const bool full = cmd->result.poll.count != 0 ||
                      (cmd->result.poll.refresh_count != 0 && best != BEST_LOADING) || poll->full;
    const bool waits = cmd->args.poll.wait_ms != 0 && !core->run.polls_released;
    if (full || !claimed || /* another shard fills it */
        (!waits && best != BEST_LOADING && best != BEST_CHECKING)) {
        poll_answer(core, poll);
    } else if (!waits && best == BEST_CHECKING) {
        poll_await_checks(core, poll);
    }
}

/*
 * Unresolved checks of a group never exceed what its polls ask for: a backlog does not buy its hits
 * early.
 */
static uint32_t group_checks_allowed(const struct group *group)
{
    uint64_t wanted = 0;
    for (struct list_node *n = list_first(&group->polls); n != NULL;
         n = list_next(&group->polls, n)) {
        wanted += CONTAINER_OF(n, struct poll, node)->command->args.poll.tasks_max;
    }
    wanted = wanted < SHARD_CHECKS_MAX ? wanted : SHARD_CHECKS_MAX;
    return wanted > group->checks ? (uint32_t)wanted - group->checks : 0;
}

static void group_hand_over(struct core *core, struct group *group, uint32_t *budget)
{
    struct hand_over over = {.budget = *budget, .checks = group_checks_allowed(group)};
    struct list_node *next = NULL;
    for (struct list_node *n = list_first(&group->polls); n != NULL && over.budget != 0; n = next) {
        next = list_next(&group->polls, n);
        poll_serve(core, group, CONTAINER_OF(n, struct poll, node), &over);
    }
    *budget = over.budget;
}

void poll_turn(struct core *core)
{
    uint32_t budget = TURN_HANDOVERS_MAX;
    struct list now;
    list_init(&now);
    struct list_node *node = NULL;
    while ((node = list_pop_front(&core->groups.hot)) != NULL) {
        list_push_back(&now, node);
    }
    while ((node = list_pop_front(&now)) != NULL) {
        struct group *group = CONTAINER_OF(node, struct group, hot);
        group_hand_over(core, group, &budget);
        if (budget == 0 || group->retry_mono_ms > core->mono_ms) {
            group_hot(core, group); /* goes on next turn, or when its page may be read again */
        }
    }
}

void polls_leave(struct core *core)
{
    struct list_node *node = NULL;
    while ((node = list_first(&core->run.parked)) != NULL) {
        struct command *cmd = CONTAINER_OF(node, struct command, node);
        if (cmd->result.poll.count != 0 || cmd->result.poll.refresh_count != 0) {
            poll_answer(core, cmd->parked);
            continue;
        }
        list_remove(&cmd->parked->node);
        core_unpark(core, cmd);
        cmd->parked = NULL;
        core_send_away(core, cmd);
    }
}

int64_t poll_next_mono_ms(const struct core *core)
{
    int64_t next = INT64_MAX;
    for (struct list_node *n = list_first(&core->groups.hot); n != NULL;
         n = list_next(&core->groups.hot, n)) {
        const struct group *group = CONTAINER_OF(n, struct group, hot);
        const int64_t when =
            group->retry_mono_ms > core->mono_ms ? group->retry_mono_ms : core->mono_ms;
        next = earlier(when, next);
    }
    return next;
}

enum run poll_run(struct core *core, struct command *cmd)
{
    struct poll_args *args = &cmd->args.poll;
    cmd->result.poll = (struct poll_result){0};
    if (args->tasks_max == 0) {
        return run_ok(cmd);
    }
    if (args->tasks_max > POLL_TASKS_MAX) {
        args->tasks_max = POLL_TASKS_MAX;
    }
    if (core->leases.by_job.count >= SHARD_LEASES_MAX && args->wait_ms == 0) {
        return run_fail(cmd, SILO_EXHAUSTED, "the shard has as many running jobs as it can hold");
    }
    if (core_crowded(core) && args->wait_ms != 0) {
        return run_fail(cmd, SILO_EXHAUSTED, ERROR_CROWDED);
    }
    struct group *group = group_get(core, args->group);
    struct poll *poll = arena_zalloc(cmd->arena, sizeof *poll);
    poll->group = group;
    poll->command = cmd;
    cmd->parked = poll;
    list_push_back(&group->polls, &poll->node);
    const int64_t wait = args->wait_ms != 0 ? (int64_t)args->wait_ms : POLL_NOWAIT_MS;
    core_park(core, cmd, core->mono_ms + (wait < POLL_WAIT_MS_MAX ? wait : POLL_WAIT_MS_MAX));
    group_hot(core, group);
    return RUN_PARK;
}

enum run poll_stop_run(struct core *core, struct command *cmd)
{
    struct command *target = cmd->args.poll_stop.poll;
    if (target->parked != NULL) {
        poll_answer(core, target->parked);
    } else if (target->watch != NULL) {
        watch_remove(core, target);
        (void)run_fail(target, SILO_CANCELLED, "the caller left");
        core_answer(core, target);
    } else if (target->awaits != NULL) {
        marks_leave(core, target);
        (void)run_fail(target, SILO_CANCELLED, "the caller left");
        core_answer(core, target);
    }
    view_begin(&core->view);
    return run_ok(cmd);
}
