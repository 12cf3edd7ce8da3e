/*
 * core/poll.c - workers ask for tasks. Every poll parks in its group; once a turn, after all commands, the oldest poll of
 * each group is given the best tasks, straight into the open batch. A poll that does not wait leaves at the end of the
 * turn in which nothing more is being read for its group.
 */
#include "base/assert.h"
#include "core/core_int.h"

void poll_answer(struct core *core, struct poll *poll)
{
    struct command *cmd = poll->command;
    list_remove(&poll->node);
    core_unpark(core, cmd);
    cmd->parked = NULL;
    cmd->rc = RC_OK;
    cmd->changes = cmd->result.poll.count != 0;
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

static void poll_lease(struct core *core, struct poll *poll, struct task *task)
{
    struct command *cmd = poll->command;
    struct arena *arena = cmd->arena;
    poll_room(poll);
    struct leased_task *out = &cmd->result.poll.tasks[cmd->result.poll.count];
    *out = (struct leased_task){
        .task_id = id_from_seed(cmd->seed, cmd->result.poll.count),
        .attempt = task->attempt,
        .relative = task->relative,
    };
    cmd->result.poll.count++;
    ASSERT(info_decode(arena_copy(arena, blob_bytes(task->info)), &out->info));
    out->payload = out->info.payload.inline_bytes;
    const struct bytes ref = arena_copy(arena, task_ref(task));
    ASSERT(job_ref_parse(ref, arena_alloc(arena, ref.len), &out->tenant, &out->job_id));
    if (out->info.payload.is_blob) {
        struct key key;
        key_blob(&key, ref, BLOB_PAYLOAD, 0);
        struct command_want *wants = arena_alloc(arena, (cmd->want_count + 1) * sizeof *wants);
        if (cmd->want_count != 0) {
            memcpy(wants, cmd->wants, cmd->want_count * sizeof *wants);
        }
        wants[cmd->want_count++] = (struct command_want){.key = arena_copy(arena, key_bytes(&key))};
        cmd->wants = wants;
    }
    const struct lease_rec rec = {
        .task_id = out->task_id,
        .worker_id = cmd->args.poll.worker_id,
        .attempt = task->attempt,
        .relative = task->relative,
        .started_ms = core->wall_ms,
        .enqueue_ms = out->info.enqueue_ms,
        .priority = task->place.priority,
        .due_ms = task->place.due_ms,
        .arrival = task->place.arrival,
        .group = out->info.group,
        .has_retry = out->info.has_retry,
        .retry = out->info.retry,
        .limit_count = out->info.limit_count,
    };
    const struct token from = {
        .where = TOKEN_READY, .group = out->info.group, .place = task->place};
    const struct token to = {.where = TOKEN_LEASE, .lease_rec = &rec};
    token_move(core, ref, &from, &to);
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

/* Gives the poll what there is. It leaves with tasks, or empty if it does not wait and nothing is being read. */
static void poll_serve(struct core *core, struct group *group, struct poll *poll, uint32_t *budget)
{
    struct task *task = NULL;
    enum best best = BEST_TASK;
    while (poll->command->result.poll.count < poll->command->args.poll.tasks_max && *budget != 0 &&
           core->leases_by_job.count < SHARD_LEASES_MAX &&
           (best = group_best(core, group, &task)) == BEST_TASK) {
        if (!poll_claim(poll)) {
            poll_answer(core, poll); /* another shard fills it */
            return;
        }
        poll_lease(core, poll, task);
        --*budget;
    }
    const bool waits = poll->command->args.poll.wait_ms != 0 && !core->polls_released;
    if (poll->command->result.poll.count != 0 || (!waits && best != BEST_LOADING)) {
        poll_answer(core, poll);
    }
}

static void group_hand_over(struct core *core, struct group *group, uint32_t *budget)
{
    struct list_node *next = NULL;
    for (struct list_node *n = list_first(&group->polls); n != NULL && *budget != 0; n = next) {
        next = list_next(&group->polls, n);
        poll_serve(core, group, CONTAINER_OF(n, struct poll, node), budget);
    }
}

void poll_turn(struct core *core)
{
    uint32_t budget = TURN_HANDOVERS_MAX;
    struct list now;
    list_init(&now);
    struct list_node *node = NULL;
    while ((node = list_pop_front(&core->hot_groups)) != NULL) {
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

int64_t poll_next_mono_ms(const struct core *core)
{
    int64_t next = INT64_MAX;
    for (struct list_node *n = list_first(&core->hot_groups); n != NULL;
         n = list_next(&core->hot_groups, n)) {
        const struct group *group = CONTAINER_OF(n, struct group, hot);
        const int64_t when =
            group->retry_mono_ms > core->mono_ms ? group->retry_mono_ms : core->mono_ms;
        next = when < next ? when : next;
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
    if (core->leases_by_job.count >= SHARD_LEASES_MAX) {
        return run_fail(cmd, SILO_EXHAUSTED, "the shard has as many running jobs as it can hold");
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
    }
    view_begin(&core->view);
    return run_ok(cmd);
}
