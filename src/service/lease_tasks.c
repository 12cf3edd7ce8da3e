/*
 * service/lease_tasks.c - LeaseTasks.
 *
 * A poll of one shard is one command, which waits in the shard. A poll of all shards has two steps:
 * it visits the open shards in random order without waiting until it has max_tasks, and if it found
 * nothing and may wait, it parks on all of them at once. Parked polls share one claim: the first
 * shard that has a task takes it and fills the poll, the others answer empty or are stopped.
 * Refresh tasks come beside the job tasks: they take nothing of max_tasks, but a poll that got one
 * has something to answer with and waits no longer.
 *
 *     visit ... visit -> park all -> one is back with tasks, or the caller left -> stop the others
 *     -> all back -> reply
 *
 * A poll of all shards is parked on those that have come since it began, too, in a round of their
 * own: when it parks, and at each newer directory while it is parked. Those that leave for another
 * node send it away; it waits on without them, even for none, until its time is up.
 *
 * Invariants
 *   1. The reply leaves, and the call ends, when no command is out: polls and stops lie in the
 *      call's memory.
 *   2. Whatever was leased is either in the reply or given back: a shard's failure never loses
 *      another's tasks.
 *   3. A stop is sent only for a poll that is not back on the loop, so the poll it names is alive.
 */
#include <stdatomic.h>

#include "base/log.h"
#include "service/call_int.h"
#include "service/handout.h"

/* So often a parked poll is parked on shards that have come since. */
#define POLL_ROUNDS_MAX 64u

/* Shards that a poll was parked on at one time. */
struct poll_round {
    struct poll_round *next;
    struct fan *parked, *stops;
};

struct poll_call {
    struct call *call;
    struct bytes group, worker_id;
    uint32_t tasks_max;
    uint32_t leased;  /* job tasks */
    size_t bytes;     /* they take in the reply, at most */
    bool found;       /* tasks of any kind */
    int64_t since_us; /* when the first of their leases began; INT64_MAX: none */
    int64_t end_us;   /* of the wait */
    bool all;         /* shards, not one that the caller named */
    struct directory_shard *shards;
    size_t shard_count;
    size_t visited;
    struct fan *visits;        /* NULL when a single shard is polled */
    struct poll_round *rounds; /* newest first; NULL until it is parked */
    size_t round_count;
    struct svc_watch watch; /* while it is parked on all shards */
    struct rpc_timer timer; /* while none of them is here */
    bool stopping;
    /* Set by the executor that fills the parked poll; only its winner matters, no data follows. */
    atomic_bool claimed;
};

static void poll_call_answer(struct poll_call *poll);
static void poll_call_park(struct poll_call *poll, struct directory_shard *shards, size_t count);

static void poll_fill(const struct poll_call *poll, struct command *cmd, uint32_t wait_ms)
{
    cmd->kind = CMD_POLL;
    cmd->args.poll = (struct poll_args){
        .group = poll->group,
        .worker_id = poll->worker_id,
        .tasks_max = poll->tasks_max - poll->leased,
        .wait_ms = wait_ms,
        .bytes_max = poll->bytes != 0 ? MESSAGE_BYTES_MAX - poll->bytes : 0,
    };
}

/* What tasks take in a reply, at most: as the shard counts them. */
static size_t result_bytes(const struct poll_result *result)
{
    size_t bytes = 0;
    for (size_t i = 0; i < result->count; i++) {
        const struct leased_task *task = &result->tasks[i];
        bytes += task->payload.len + task->info.limits.len + task->info.metadata.len +
                 task->info.group.len + task->tenant.len + task->job_id.len + REPLY_TASK_BYTES;
    }
    for (size_t i = 0; i < result->refresh_count; i++) {
        const struct refresh_task *task = &result->refreshes[i];
        bytes += task->metadata.len + task->tenant.len + task->queue.len + REPLY_TASK_BYTES;
    }
    return bytes;
}

/* A poll of all shards waits for none of them that comes or goes. */
static void poll_send(const struct poll_call *poll, struct fan_part *part,
                      struct directory_shard *shard)
{
    part->skips = poll->all;
    fan_send(part, shard);
}

/* What the shard handed out; empty for a part that failed, is not back or was no poll. */
static struct poll_result part_result(const struct fan_part *part)
{
    const struct command *cmd = &part->request.cmd;
    return part->back && cmd->kind == CMD_POLL && cmd->rc.code == SILO_OK ? cmd->result.poll
                                                                          : (struct poll_result){0};
}

static bool part_found(const struct fan_part *part)
{
    const struct poll_result result = part_result(part);
    return result.count != 0 || result.refresh_count != 0;
}

/* It is back: its leases have run since. */
static void part_note(struct poll_call *poll, const struct fan_part *part)
{
    if (part_found(part)) {
        const int64_t now_us = rpc_loop_now_us(rpc_call_loop(poll->call->rpc));
        const int64_t since_us = now_us - 1000 * part_result(part).age_ms;
        poll->since_us = since_us < poll->since_us ? since_us : poll->since_us;
    }
}

/* --- visits --- */

static void visit_next(struct poll_call *poll)
{
    struct fan_part *part = &poll->visits->parts[poll->visited];
    poll_fill(poll, &part->request.cmd, 0);
    poll_send(poll, part, &poll->shards[poll->visited++]);
}

static void visit_finished(struct fan *fan)
{
    struct poll_call *poll = fan->call->state;
    const struct fan_part *part = &fan->parts[poll->visited - 1];
    const struct poll_result result = part_result(part);
    poll->leased += (uint32_t)result.count;
    poll->bytes += result_bytes(&result);
    part_note(poll, part);
    poll->found = poll->found || part_found(part);
    const bool wants_more = rpc_call_alive(poll->call->rpc) && poll->leased < poll->tasks_max &&
                            poll->bytes < MESSAGE_BYTES_MAX / 2;
    if (wants_more && poll->visited < poll->shard_count) {
        visit_next(poll);
    } else if (wants_more && !poll->found &&
               poll->end_us > rpc_loop_now_us(rpc_call_loop(poll->call->rpc))) {
        poll_call_park(poll, poll->shards, poll->shard_count);
    } else {
        poll_call_answer(poll);
    }
}

/* --- parked polls --- */

/* Executor. */
static bool poll_call_claim(void *context)
{
    struct poll_call *poll = context;
    bool expected = false;
    return atomic_compare_exchange_strong_explicit(&poll->claimed, &expected, true,
                                                   memory_order_relaxed, memory_order_relaxed);
}

static void poll_call_stop(struct poll_call *poll)
{
    if (poll->stopping) {
        return;
    }
    poll->stopping = true;
    svc_unwatch(&poll->watch);
    for (struct poll_round *round = poll->rounds; round != NULL; round = round->next) {
        for (size_t i = 0; i < round->parked->count; i++) {
            fan_stop(&round->stops->parts[i], &round->parked->parts[i]);
        }
    }
}

/* Commands that are out. */
static size_t poll_call_out(const struct poll_call *poll)
{
    size_t out = 0;
    for (const struct poll_round *round = poll->rounds; round != NULL; round = round->next) {
        out += round->parked->open + round->stops->open;
    }
    return out;
}

static void parked_back(struct fan *fan, struct fan_part *part)
{
    struct poll_call *poll = fan->call->state;
    part_note(poll, part);
    if (part_found(part) && poll_call_out(poll) != 0) {
        poll_call_stop(poll);
    }
}

static void poll_call_end(struct poll_call *poll)
{
    svc_unwatch(&poll->watch);
    rpc_timer_stop(rpc_call_loop(poll->call->rpc), &poll->timer);
    poll_call_answer(poll);
}

/* Whether it was sent away from every shard that it was parked on last, with time left. */
static bool poll_call_lingers(const struct poll_call *poll)
{
    const struct call *call = poll->call;
    if (!poll->all || poll->stopping || !rpc_call_alive(call->rpc) ||
        atomic_load_explicit(&call->service->releasing, memory_order_relaxed) ||
        poll->end_us <= rpc_loop_now_us(rpc_call_loop(call->rpc))) {
        return false;
    }
    for (const struct poll_round *round = poll->rounds; round != NULL; round = round->next) {
        for (size_t i = 0; i < round->parked->count; i++) {
            if (!round->parked->parts[i].gone) {
                return false;
            }
        }
    }
    return true;
}

static void poll_call_late(struct rpc_timer *timer)
{
    struct poll_call *poll = CONTAINER_OF(timer, struct poll_call, timer);
    if (poll_call_out(poll) == 0) {
        poll_call_end(poll);
    }
}

/* No command is out. */
static void poll_call_alone(struct poll_call *poll)
{
    if (poll_call_lingers(poll)) {
        poll->timer.fire = poll_call_late;
        rpc_timer_start(rpc_call_loop(poll->call->rpc), &poll->timer, poll->end_us);
    } else {
        poll_call_end(poll);
    }
}

static void parked_finished(struct fan *fan)
{
    struct poll_call *poll = fan->call->state;
    if (poll_call_out(poll) == 0) {
        poll_call_alone(poll);
    }
}

static void poll_call_cancelled(struct rpc_call *rpc, enum rpc_cancel reason, void *context)
{
    (void)rpc;
    (void)reason;
    struct poll_call *poll = ((struct call *)context)->state;
    if (poll_call_out(poll) != 0) {
        poll_call_stop(poll);
    } else if (list_linked(&poll->watch.node)) { /* it lingers */
        poll_call_end(poll);
    }
}

/* Parks on shards that it is not parked on. */
static void round_add(struct poll_call *poll, struct directory_shard *shards, size_t count)
{
    const int64_t left_us = poll->end_us - rpc_loop_now_us(rpc_call_loop(poll->call->rpc));
    const uint32_t wait_ms = left_us > 0 ? (uint32_t)(left_us / 1000) : 0;
    struct poll_round *round = ARENA_NEW(poll->call->arena, struct poll_round);
    round->parked = fan_new(poll->call, count, parked_finished);
    round->parked->part_back = parked_back;
    round->stops = fan_new(poll->call, count, parked_finished);
    round->next = poll->rounds;
    poll->rounds = round;
    poll->round_count++;
    for (size_t i = 0; i < count; i++) {
        struct command *cmd = &round->parked->parts[i].request.cmd;
        poll_fill(poll, cmd, wait_ms);
        if (poll->all) {
            cmd->args.poll.claim = poll_call_claim;
            cmd->args.poll.claim_context = poll;
        }
    }
    for (size_t i = 0; i < count; i++) {
        poll_send(poll, &round->parked->parts[i], &shards[i]);
    }
}

/* By their places, where it is parked now. */
static void poll_call_parked(const struct poll_call *poll, uint64_t ret_slots[SHARDS_MAX / 64])
{
    memset(ret_slots, 0, SHARDS_MAX / 8);
    for (const struct poll_round *round = poll->rounds; round != NULL; round = round->next) {
        for (size_t i = 0; i < round->parked->count; i++) {
            const struct fan_part *part = &round->parked->parts[i];
            const uint32_t slot = part->request.ref.slot;
            if (!part->back) {
                ret_slots[slot / 64] |= (uint64_t)1 << slot % 64;
            }
        }
    }
}

/* Parks it on the shards that have come. */
static void poll_call_come(struct poll_call *poll)
{
    struct call *call = poll->call;
    if (poll->round_count == POLL_ROUNDS_MAX ||
        poll->end_us <= rpc_loop_now_us(rpc_call_loop(call->rpc))) {
        return;
    }
    const struct directory *directory = svc_directory(call);
    const struct directory_shard *come[SHARDS_MAX];
    uint64_t parked[SHARDS_MAX / 64];
    size_t count = 0;
    poll_call_parked(poll, parked);
    for (size_t i = 0; i < directory->shard_count; i++) {
        const struct directory_shard *shard = directory->shards[i];
        const uint32_t slot = shard->ref.slot;
        if (route_is_open(call->service, shard) && (parked[slot / 64] >> slot % 64 & 1) == 0) {
            come[count++] = shard;
        }
    }
    if (count != 0) {
        struct directory_shard *shards = arena_alloc(call->arena, count * sizeof *shards);
        for (size_t i = 0; i < count; i++) {
            shards[i] = *come[i];
        }
        round_add(poll, shards, count);
    }
}

/* There is a newer directory, or a shard opened; or the server stops. */
static void poll_call_newer(struct svc_watch *watch)
{
    struct poll_call *poll = CONTAINER_OF(watch, struct poll_call, watch);
    if (poll_call_out(poll) == 0 && !poll_call_lingers(poll)) {
        poll_call_end(poll);
    } else {
        poll_call_come(poll);
    }
}

static void poll_call_park(struct poll_call *poll, struct directory_shard *shards, size_t count)
{
    round_add(poll, shards, count);
    if (poll->all) {
        svc_watch(poll->call, &poll->watch, poll_call_newer);
        poll_call_come(poll); /* what came while it visited the others */
        if (poll_call_out(poll) == 0) {
            poll_call_alone(poll);
        }
    }
}

/* --- the reply --- */

struct lease_reply {
    Silo__V1__LeaseTasksResponse message;
    size_t bytes;
    struct handout *sent; /* what goes out */
};

/* Ids of one shard's tasks, by where they go. */
struct part_ids {
    struct uuid *sent, *kept, *unreadable;
    size_t sent_count, kept_count, unreadable_count;
};

/* Whether a task of this size goes out with the reply; notes its id. */
static bool reply_takes(struct lease_reply *reply, struct part_ids *ids, size_t size,
                        const struct uuid *task_id)
{
    if (reply->bytes + size + REPLY_ITEM_BYTES > MESSAGE_BYTES_MAX) {
        ids->kept[ids->kept_count++] = *task_id;
        return false;
    }
    reply->bytes += size + REPLY_ITEM_BYTES;
    ids->sent[ids->sent_count++] = *task_id;
    return true;
}

static void reply_add_task(struct poll_call *poll, struct lease_reply *reply, struct part_ids *ids,
                           const char *shard_id, const struct leased_task *leased)
{
    Silo__V1__Task *task = encode_task(poll->call->arena, shard_id, leased);
    if (task == NULL) {
        handout_log_malformed(poll->call, shard_id, leased);
        ids->unreadable[ids->unreadable_count++] = leased->task_id;
        return;
    }
    if (reply_takes(reply, ids, silo__v1__task__get_packed_size(task), &leased->task_id)) {
        reply->message.tasks[reply->message.n_tasks++] = task;
    }
}

static void reply_add_refresh(struct poll_call *poll, struct lease_reply *reply,
                              struct part_ids *ids, const char *shard_id,
                              const struct refresh_task *refresh)
{
    const Silo__V1__LeaseTasksRequest *request = poll->call->message;
    Silo__V1__RefreshFloatingLimitTask *task =
        encode_refresh(poll->call->arena, shard_id, request->task_group, refresh);
    if (task == NULL) { /* its lease ends and the limit is due for a refresh again */
        log_error("refresh_malformed", LOG_STR("shard", shard_id),
                  LOG_BYTES("queue", refresh->queue), LOG_END);
        return;
    }
    if (reply_takes(reply, ids, silo__v1__refresh_floating_limit_task__get_packed_size(task),
                    &refresh->task_id)) {
        reply->message.refresh_tasks[reply->message.n_refresh_tasks++] = task;
    }
}

/* Adds the tasks of one shard that fit into the reply. */
static void reply_add(struct poll_call *poll, struct lease_reply *reply, struct fan_part *part)
{
    if (!part_found(part)) {
        return;
    }
    const struct poll_result result = part_result(part);
    const size_t count = result.count + result.refresh_count;
    struct arena *arena = poll->call->arena;
    struct part_ids ids = {
        .sent = arena_alloc(arena, count * sizeof *ids.sent),
        .kept = arena_alloc(arena, count * sizeof *ids.kept),
        .unreadable = arena_alloc(arena, count * sizeof *ids.unreadable),
    };
    const char *shard_id = part->shard->id_text;
    struct shards *shards = poll->call->service->shards;
    for (size_t i = 0; i < result.refresh_count; i++) {
        reply_add_refresh(poll, reply, &ids, shard_id, &result.refreshes[i]);
    }
    for (size_t i = 0; i < result.count; i++) {
        reply_add_task(poll, reply, &ids, shard_id, &result.tasks[i]);
    }
    handout_add(reply->sent, part->shard, ids.sent, ids.sent_count);
    handout_keep(reply->sent, &part->arena);
    handout_return(shards, part->shard, ids.kept, ids.kept_count, NULL);
    handout_return(shards, part->shard, ids.unreadable, ids.unreadable_count, HANDOUT_MALFORMED);
}

static void reply_add_fan(struct poll_call *poll, struct lease_reply *reply, struct fan *fan)
{
    for (size_t i = 0; i < fan->count; i++) {
        reply_add(poll, reply, &fan->parts[i]);
    }
}

/* The fan after `fan` of those that poll, NULL at the end; the first after NULL. */
static struct fan *poll_call_next_fan(const struct poll_call *poll, const struct fan *fan)
{
    const struct poll_round *round = poll->rounds;
    if (fan == NULL && poll->visits != NULL) {
        return poll->visits;
    }
    if (fan != NULL && fan != poll->visits) {
        while (round->parked != fan) {
            round = round->next;
        }
        round = round->next;
    }
    return round != NULL ? round->parked : NULL;
}

static void poll_call_release(struct poll_call *poll)
{
    for (struct fan *fan = poll_call_next_fan(poll, NULL); fan != NULL;
         fan = poll_call_next_fan(poll, fan)) {
        fan_deinit(fan);
    }
    for (const struct poll_round *round = poll->rounds; round != NULL; round = round->next) {
        fan_deinit(round->stops);
    }
}

/* The first failure, when every shard failed; NULL when one answered. */
static const struct command *poll_call_failure(const struct poll_call *poll)
{
    const struct command *failure = NULL;
    for (const struct fan *fan = poll_call_next_fan(poll, NULL); fan != NULL;
         fan = poll_call_next_fan(poll, fan)) {
        for (size_t i = 0; i < fan->count; i++) {
            const struct fan_part *part = &fan->parts[i];
            if (part->back && part->request.cmd.rc.code == SILO_OK) {
                return NULL;
            }
            if (part->back && failure == NULL) {
                failure = &part->request.cmd;
            }
        }
    }
    return failure;
}

static void poll_call_fail(struct poll_call *poll, const struct command *failure)
{
    struct call *call = poll->call;
    const struct bytes text = svc_error_text(failure->error, failure->rc.code);
    const char *copy = arena_str(call->arena, text);
    const enum silo_code code = failure->rc.code;
    poll_call_release(poll);
    svc_fail(call, code, copy);
}

/* Room for all that was handed out. */
static void reply_init(struct poll_call *poll, struct lease_reply *reply)
{
    *reply = (struct lease_reply){.message = SILO__V1__LEASE_TASKS_RESPONSE__INIT};
    size_t tasks = 0;
    size_t refreshes = 0;
    size_t parts = 0;
    for (const struct fan *fan = poll_call_next_fan(poll, NULL); fan != NULL;
         fan = poll_call_next_fan(poll, fan)) {
        for (size_t i = 0; i < fan->count; i++) {
            const struct poll_result result = part_result(&fan->parts[i]);
            tasks += result.count;
            refreshes += result.refresh_count;
            parts += part_found(&fan->parts[i]) ? 1 : 0;
        }
    }
    poll->found = poll->found || parts != 0;
    reply->sent = poll->found ? handout_new(poll->call->service->shards, parts) : NULL;
    Silo__V1__LeaseTasksResponse *message = &reply->message;
    message->tasks = arena_alloc(poll->call->arena, (tasks + 1) * sizeof *message->tasks);
    message->refresh_tasks =
        arena_alloc(poll->call->arena, (refreshes + 1) * sizeof *message->refresh_tasks);
}

static void poll_call_answer(struct poll_call *poll)
{
    struct call *call = poll->call;
    const struct command *failure = poll_call_failure(poll);
    if (failure != NULL) {
        poll_call_fail(poll, failure);
        return;
    }
    struct lease_reply reply;
    reply_init(poll, &reply);
    if (!poll->found) {
        poll_call_release(poll);
        svc_reply(call, &reply.message.base);
        return;
    }
    for (struct fan *fan = poll_call_next_fan(poll, NULL); fan != NULL;
         fan = poll_call_next_fan(poll, fan)) {
        reply_add_fan(poll, &reply, fan);
    }
    poll_call_release(poll);
    handout_reply(call, &reply.message.base, reply.sent, poll->since_us);
}

/* --- the request --- */

static void shards_shuffle(const struct env *env, struct directory_shard *shards, size_t count)
{
    for (size_t i = count; i > 1; i--) {
        uint64_t random;
        env_random(env, &random, sizeof random);
        const size_t other = (size_t)(random % i);
        const struct directory_shard swap = shards[i - 1];
        shards[i - 1] = shards[other];
        shards[other] = swap;
    }
}

/* Which shards to poll. False: the call was answered. */
static bool poll_call_route(struct poll_call *poll, const Silo__V1__LeaseTasksRequest *request)
{
    struct call *call = poll->call;
    if (request->shard_opt_case == SILO__V1__LEASE_TASKS_REQUEST__SHARD_OPT__NOT_SET) {
        const struct directory *directory = svc_directory(call);
        poll->all = true;
        poll->shards = route_open(call->service, directory, call->arena, &poll->shard_count);
        shards_shuffle(call->service->env, poll->shards, poll->shard_count);
        if (route_left_out(call->service, directory)) {
            svc_fail(call, SILO_UNAVAILABLE, SHARD_FENCED_TEXT);
            return false;
        }
        return true;
    }
    if (!svc_route(call, request->shard)) {
        return false;
    }
    poll->shards = &call->shard;
    poll->shard_count = 1;
    return true;
}

static bool poll_call_sizes(struct poll_call *poll)
{
    if (poll->worker_id.len > WORKER_ID_BYTES_MAX) {
        svc_fail(poll->call, SILO_INVALID, ERROR_WORKER_TOO_LONG);
        return false;
    }
    if (poll->group.len > GROUP_BYTES_MAX) {
        svc_fail(poll->call, SILO_INVALID, "task_group too long: at most 4096 bytes");
        return false;
    }
    return true;
}

void on_lease_tasks(struct call *call)
{
    const Silo__V1__LeaseTasksRequest *request = call->message;
    struct poll_call *poll = ARENA_NEW(call->arena, struct poll_call);
    call->state = poll;
    poll->call = call;
    poll->since_us = INT64_MAX;
    poll->group = bytes_str(request->task_group);
    poll->worker_id = bytes_str(request->worker_id);
    if (poll->group.len == 0) {
        svc_fail(call, SILO_INVALID, "task_group is required");
        return;
    }
    if (!poll_call_route(poll, request) || !poll_call_sizes(poll) || !svc_has_room(call)) {
        return;
    }
    poll->tasks_max = request->max_tasks < POLL_TASKS_MAX ? request->max_tasks : POLL_TASKS_MAX;
    if (poll->tasks_max == 0) {
        poll_call_answer(poll);
        return;
    }
    poll->end_us = rpc_loop_now_us(rpc_call_loop(call->rpc)) +
                   1000 * (int64_t)svc_wait_ms(call, request->wait_ms);
    svc_on_cancel(call, poll_call_cancelled, call);
    if (poll->shard_count <= 1) {
        poll_call_park(poll, poll->shards, poll->shard_count);
        return;
    }
    poll->visits = fan_new(call, poll->shard_count, visit_finished);
    visit_next(poll);
}
