/*
 * shard/executor.c - the thread that runs shards, and the turn that is its whole work.
 *
 * One turn: take the mail, read the clocks (after the mail: a start stamped by a client on this
 * machine must not lie in the future), take the store's events, run what arrived, then let every
 * shard for which something came or is due finish its turn: core, reads, batches.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/saturate.h"
#include "shard/shard_int.h"

#define EVENTS_PER_DRAIN 64
#define DRAINS_PER_TURN 16
#define SLEEP_MS_MAX 1000 /* so late a step of the wall clock is noticed, or the end of a suspend */

static struct shard_request *request_of(struct command *cmd)
{
    return CONTAINER_OF(cmd, struct shard_request, cmd);
}

void request_answer(struct command *cmd)
{
    struct shard_request *request = request_of(cmd);
    if (cmd->rc.code == SILO_OK && (cmd->kind == CMD_POLL || cmd->kind == CMD_LEASE_JOB)) {
        struct poll_result *result = &cmd->result.poll;
        result->age_ms = request->shard->executor->mono_ms - result->leased_mono_ms;
    }
    if (cmd->kind == CMD_LEND && cmd->rc.code != SILO_OK) {
        lend_take_back(cmd);
    }
    if (cmd->rc.code == SILO_ROUTED_WRONG) {
        command_rewind(cmd);
    }
    request->done(request);
}

void request_fail(struct command *cmd, enum silo_code code, const char *text)
{
    struct shard *shard = request_of(cmd)->shard;
    if (shard != NULL) {
        undelivered_note_failed(shard, cmd);
    }
    cmd->rc = (silo_rc){code};
    cmd->error = text;
    request_answer(cmd);
}

struct op *op_begin(struct incarnation *inc, enum op_kind kind)
{
    struct op *op = xcalloc(1, sizeof *op);
    op->kind = kind;
    op->inc = inc;
    op->start_mono_ms = inc->shard->executor->mono_ms;
    count_call(inc->shard->executor, kind);
    list_push_back(&inc->ops, &op->node);
    return op;
}

void op_free(struct op *op)
{
    list_remove(&op->node);
    free(op);
}

/* --- mail --- */

/*
 * The shard is not open: what the server asks of itself is done or kept, the rest comes too early
 * or too late.
 */
static void request_unready(struct shard_request *request)
{
    struct command *cmd = &request->cmd;
    if (cmd->kind == CMD_POLL_STOP) { /* the poll was answered when its incarnation ended */
        cmd->rc = RC_OK;
        request_answer(cmd);
    } else if (cmd->kind == CMD_GIVE_BACK) {
        undelivered_note(request->shard, cmd->args.give_back.task_ids, cmd->args.give_back.count);
        cmd->rc = RC_OK;
        request_answer(cmd);
    } else if (request->shard->moved) {
        request_fail(cmd, SILO_ROUTED_WRONG, NULL);
    } else if (request->shard->out) {
        outage_refuse(request->shard, cmd);
    } else {
        const bool fenced = request->shard->status == SHARD_FENCED;
        request_fail(cmd, SILO_UNAVAILABLE,
                     fenced ? SHARD_FENCED_TEXT : "shard not ready: acquisition in progress");
    }
}

/* Outcomes of work that was done go beyond what fills up with new work. */
static size_t undurable_max(const struct command *cmd)
{
    return SHARD_REPLIES_BYTES_MAX +
           (command_keeps_work(cmd->kind) ? SHARD_REPLIES_BYTES_MAX / 4 : 0);
}

/* The shard of that place and generation, if this executor has it. */
static struct shard *shard_here(const struct executor *executor, struct shard_ref ref)
{
    struct shard *shard = executor->by_slot[ref.slot];
    return shard != NULL && shard->ref.generation == ref.generation ? shard : NULL;
}

/* The shard was removed; a poll to be stopped ended before that. */
static void request_astray(struct shard_request *request)
{
    struct command *cmd = &request->cmd;
    cmd->rc = (silo_rc){cmd->kind == CMD_POLL_STOP ? SILO_OK : SILO_ROUTED_WRONG};
    cmd->error = NULL;
    request_answer(cmd);
}

static void request_run(struct executor *executor, struct shard_request *request)
{
    struct incarnation *inc = request->shard->inc;
    struct command *cmd = &request->cmd;
    const bool closes = inc != NULL && inc->phase == INC_DRAINING && cmd->kind == CMD_GIVE_BACK;
    if (!closes && (inc == NULL || inc->phase != INC_OPEN)) {
        request_unready(request);
        return;
    }
    if (command_changes(cmd->kind) && inc->outage) {
        outage_refuse(request->shard, cmd);
        return;
    }
    if (command_changes(cmd->kind) &&
        inc->undurable_bytes + core_view(inc->core)->open_bytes > undurable_max(cmd)) {
        request_fail(cmd, SILO_EXHAUSTED, "too many bytes of this shard wait to become durable");
        return;
    }
    count_command(executor, cmd->kind);
    if (cmd->kind == CMD_LEND) {
        lend(inc, cmd);
        return;
    }
    env_random(executor->env, cmd->seed, sizeof cmd->seed);
    core_submit(inc->core, cmd);
}

static void executor_mail(struct executor *executor, struct mail *controls, struct mail *requests)
{
    while (controls != NULL) {
        struct shard_control *control = CONTAINER_OF(controls, struct shard_control, mail);
        controls = controls->next;
        if (control->op == CONTROL_ADD) {
            life_add(CONTAINER_OF(control, struct shard, coming));
            continue;
        }
        struct shard *shard = shard_here(executor, control->ref);
        if (shard == NULL) {
            control_astray(control);
            continue;
        }
        shard_visit(shard);
        life_control(shard, control);
    }
    while (requests != NULL) {
        struct shard_request *request = CONTAINER_OF(requests, struct shard_request, mail);
        requests = requests->next;
        executor->counted.requests++;
        struct shard *shard = shard_here(executor, request->ref);
        if (shard == NULL) {
            request_astray(request);
            continue;
        }
        shard_visit(shard);
        request->shard = shard;
        request_run(executor, request); /* an answered request is its sender's again */
        /* A batch at its bound leaves between two commands, never inside one. */
        if (shard->inc != NULL && shard->inc->phase == INC_OPEN) {
            commit_answers(shard->inc);
        }
    }
}

/* --- store events --- */

static void executor_down(struct executor *executor, const struct store_event *event)
{
    struct incarnation *inc =
        MAP_ENTRY(map_find(&executor->databases, bytes_of(&event->db, sizeof event->db)),
                  struct incarnation, database);
    if (inc != NULL && inc->phase != INC_CLOSING) {
        shard_visit(inc->shard);
        life_fail(inc, event->rc.code,
                  event->text[0] != '\0' ? event->text : "the storage closed the database");
    }
}

static void executor_event(struct executor *executor, struct store_event *event)
{
    if (event->kind == STORE_DOWN) {
        executor_down(executor, event);
        return;
    }
    struct op *op = (struct op *)(uintptr_t)
                        event->token; /* NOLINT(performance-no-int-to-ptr): tokens are ours */
    if (op->kind == OP_WIPE) {
        struct shard *shard = CONTAINER_OF(op, struct shard, wipe);
        shard_visit(shard);
        reset_removed(shard, event->rc.code, event->text);
        return;
    }
    if (op->kind == OP_ASK) {
        struct shard *shard = CONTAINER_OF(op, struct shard, ask);
        shard_visit(shard);
        reopen_asked(shard, event);
        return;
    }
    struct incarnation *inc = op->inc;
    if (inc->phase != INC_DEAD) {
        shard_visit(inc->shard);
    }
    switch (op->kind) {
    case OP_OPEN:
        life_opened(inc, event);
        break;
    case OP_CLOSE:
        life_closed(inc, event);
        break;
    case OP_WRITE:
        commit_written(inc, op, event);
        break;
    case OP_FLUSH_WAL:
    case OP_FLUSH_MEMTABLE:
        commit_flushed(inc, op, event);
        break;
    case OP_READ:
        reads_done(inc, op, event);
        break;
    case OP_WANTS:
        wants_done(inc, op, event);
        break;
    case OP_REFRESH:
        proof_refreshed(inc, op, event);
        break;
    case OP_WIPE:
    case OP_ASK:
        break;
    }
    op_free(op);
}

static void executor_events(struct executor *executor)
{
    const struct store_ops *ops = store_ops_of(executor->queue);
    struct store_event events[EVENTS_PER_DRAIN];
    for (int drain = 0; drain < DRAINS_PER_TURN; drain++) {
        const size_t count = ops->queue_drain(executor->queue, events, EVENTS_PER_DRAIN);
        executor->counted.events += count;
        for (size_t i = 0; i < count; i++) {
            executor->counted.bytes_read += events[i].rows.data.len;
            executor_event(executor, &events[i]);
            ops->event_free(&events[i]);
        }
        if (count < EVENTS_PER_DRAIN) {
            return;
        }
    }
}

/* --- the turn --- */

/* A core's wall clock never falls, so an incarnation ends with the time it was opened in. */
static void executor_wall_fell(struct executor *executor)
{
    executor_visit_all(executor);
    for (struct list_node *n = list_first(&executor->owned); n != NULL;
         n = list_next(&executor->owned, n)) {
        struct incarnation *inc = CONTAINER_OF(n, struct shard, owned)->inc;
        if (inc != NULL && inc->core != NULL && inc->phase <= INC_OPEN) {
            life_fail(inc, SILO_UNAVAILABLE, "the wall clock was set back; the shard opens again");
        }
    }
}

static void executor_wall(struct executor *executor)
{
    int64_t by_ms = 0;
    const enum steady_news news = steady_read(&executor->steady, env_wall_ms(executor->env),
                                              executor->mono_ms, &executor->wall_ms, &by_ms);
    switch (news) {
    case STEADY_NOTHING:
        break;
    case STEADY_DOUBTS:
        log_warn("clock_stepped", LOG_INT("by_ms", by_ms),
                 LOG_STR("instead", "time goes on as before unless it stays so for a minute"),
                 LOG_END);
        break;
    case STEADY_RETURNS:
        log_info("clock_right_again", LOG_INT("by_ms", by_ms), LOG_END);
        break;
    case STEADY_JUMPS:
        log_warn("clock_set", LOG_INT("by_ms", by_ms), LOG_END);
        if (by_ms < 0) {
            executor_wall_fell(executor);
        }
        break;
    }
}

static void executor_clocks(struct executor *executor)
{
    executor->mono_ms = env_mono_ms(executor->env);
    executor_wall(executor);
}

/*
 * The process was stopped, its machine slept, or a turn took long: workers could not renew their
 * leases, which is not their fault. After it each has at least as long as that took; what they sent
 * meanwhile is still to be read.
 */
static void executor_stalled(struct executor *executor)
{
    const int64_t late_ms = executor->mono_ms - executor->next_mono_ms;
    if (executor->next_mono_ms > executor->mono_ms || late_ms < STALL_MS) {
        return;
    }
    if (late_ms >= STALL_SAID_MS) {
        log_warn("executor_stalled", LOG_INT("late_ms", late_ms),
                 LOG_STR("instead", "running jobs have longer leases"), LOG_END);
        executor->awake_mono_ms = executor->mono_ms;
    }
    executor_visit_all(executor);
    for (struct list_node *n = list_first(&executor->owned); n != NULL;
         n = list_next(&executor->owned, n)) {
        struct incarnation *inc = CONTAINER_OF(n, struct shard, owned)->inc;
        if (inc != NULL && inc->core != NULL) {
            core_renew_leases(inc->core, earlier(late_ms, LEASE_MS));
        }
    }
}

static void shard_turn(struct shard *shard)
{
    shard->visits++;
    outage_turn(shard);
    struct incarnation *inc = shard->inc;
    if (inc != NULL && inc->core != NULL && inc->phase != INC_DEAD) {
        proof_turn(inc);
        core_turn(inc->core);
        checks_turn(inc);
        reads_turn(inc);
        if (core_phase(inc->core) != CORE_BROKEN) { /* what is wrong is not written */
            commit_answers(inc);
            commit_turn(inc);
        }
        if (inc->phase == INC_OPEN || inc->phase == INC_DRAINING) {
            proof_seek(inc);
        }
    }
    life_turn(shard);
}

static int64_t shard_next(const struct shard *shard)
{
    int64_t next = earlier(life_next_mono_ms(shard), outage_next_mono_ms(shard));
    const struct incarnation *inc = shard->inc;
    if (inc != NULL && inc->core != NULL && inc->phase != INC_DEAD) {
        next = earlier(next, core_next_mono_ms(inc->core));
        next = earlier(next, commit_next_mono_ms(inc));
        next = earlier(next, proof_next_mono_ms(inc));
    }
    return next;
}

/* What a shard's life has got to: when that moves, what hangs on it has not had its turn yet. */
static uint32_t life_at(const struct shard *shard)
{
    const uint32_t phase = shard->inc != NULL ? (uint32_t)shard->inc->phase : UINT32_MAX >> 8;
    return phase << 8 | (uint32_t)shard->status;
}

static void executor_visit(struct executor *executor)
{
    struct list_node *node = NULL;
    while ((node = list_pop_front(&executor->work)) != NULL) {
        struct shard *shard = CONTAINER_OF(node, struct shard, work);
        const uint32_t at = life_at(shard);
        shard_turn(shard);
        if (!shard->gone) {
            shard_publish(shard);
            shard_plan(shard, life_at(shard) != at ? executor->mono_ms : shard_next(shard));
        }
    }
}

/* The thread wakes at least every SLEEP_MS_MAX; who runs turns by hand comes when told. */
static void executor_expects(struct executor *executor, int64_t next_mono_ms)
{
    const int64_t woken_mono_ms =
        executor->shards->options.by_hand ? INT64_MAX : executor->mono_ms + SLEEP_MS_MAX;
    const int64_t next = earlier(next_mono_ms, woken_mono_ms);
    executor->next_mono_ms = next > executor->mono_ms ? next : executor->mono_ms;
}

static void executor_released(struct executor *executor)
{
    if (executor->released ||
        !atomic_load_explicit(&executor->release_polls, memory_order_acquire)) {
        return;
    }
    executor->released = true;
    executor_visit_all(executor);
    for (struct list_node *n = list_first(&executor->owned); n != NULL;
         n = list_next(&executor->owned, n)) {
        struct incarnation *inc = CONTAINER_OF(n, struct shard, owned)->inc;
        if (inc != NULL && inc->core != NULL) {
            core_release_polls(inc->core);
        }
    }
}

int64_t executor_turn(struct executor *executor)
{
    /* Requests first: whatever shard they name was added before they were sent. */
    struct mail *requests = mailbox_take(&executor->requests);
    struct mail *controls = mailbox_take(&executor->controls);
    executor_clocks(executor);
    executor_stalled(executor);
    visits_due(executor);
    executor_events(executor);
    outage_look(executor);
    checks_take(mailbox_take(&executor->verdicts));
    executor_released(executor);
    executor_mail(executor, controls, requests);
    executor_visit(executor);
    life_reap(executor);
    growth_turn(executor);
    const int64_t next =
        earlier(steady_next_mono_ms(&executor->steady), visits_next_mono_ms(executor));
    executor_publish(executor);
    executor_expects(executor, next);
    return us_of_ms(next);
}

/* --- the thread --- */

void executor_wake(void *context)
{
    const struct executor *executor = context;
    const uint64_t one = 1;
    const ssize_t written = write(executor->wake_fd, &one, sizeof one);
    (void)written; /* a full counter wakes, too */
}

static void executor_sleep(struct executor *executor, int64_t next_us)
{
    if (!mailbox_sleep(&executor->controls) || !mailbox_sleep(&executor->requests) ||
        !mailbox_sleep(&executor->verdicts)) {
        return;
    }
    const int64_t wait_us = next_us == INT64_MAX ? INT64_MAX : next_us - env_mono_us(executor->env);
    int timeout = SLEEP_MS_MAX;
    if (wait_us <= 0) {
        timeout = 0;
    } else if (wait_us < (int64_t)SLEEP_MS_MAX * 1000) {
        timeout = (int)((wait_us + 999) / 1000);
    }
    struct pollfd fds[2] = {
        {.fd = executor->wake_fd, .events = POLLIN},
        {.fd = store_ops_of(executor->queue)->queue_fd(executor->queue), .events = POLLIN},
    };
    if (poll(fds, 2, timeout) > 0 && (fds[0].revents & POLLIN) != 0) {
        uint64_t count = 0;
        const ssize_t got = read(executor->wake_fd, &count, sizeof count);
        (void)got;
    }
}

static void *executor_main(void *context)
{
    struct executor *executor = context;
    /* Runs until shards_stop. */
    while (!atomic_load_explicit(&executor->stop, memory_order_acquire)) {
        const int64_t next_us = executor_turn(executor);
        executor_sleep(executor, next_us);
    }
    return NULL;
}

static SILO_RC executor_start(struct executor *executor, struct silo_err *err)
{
    const struct store_ops *ops = store_ops_of(executor->shards->options.store);
    executor->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (executor->wake_fd < 0) {
        return FAIL(err, SILO_INTERNAL, "eventfd: errno %d", errno);
    }
    TRY(ops->queue_new(executor->shards->options.store, &executor->queue, err));
    executor_clocks(executor);
    if (!executor->shards->options.by_hand) {
        sigset_t all;
        sigset_t old;
        (void)sigfillset(&all);
        (void)pthread_sigmask(SIG_SETMASK, &all, &old);
        const int made = pthread_create(&executor->thread, NULL, executor_main, executor);
        (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
        if (made != 0) {
            return FAIL(err, SILO_INTERNAL, "the executor thread could not be made");
        }
        executor->running = true;
    }
    return RC_OK;
}

SILO_RC shards_start(struct shards *shards, struct silo_err *err)
{
    for (uint32_t i = 0; i < shards->options.executors; i++) {
        TRY(executor_start(&shards->executors[i], err));
    }
    return RC_OK;
}

void shards_stop(struct shards *shards)
{
    for (uint32_t i = 0; i < shards->options.executors; i++) {
        struct executor *executor = &shards->executors[i];
        if (executor->running) {
            atomic_store_explicit(&executor->stop, true, memory_order_release);
            executor_wake(executor);
            (void)pthread_join(executor->thread, NULL);
            executor->running = false;
        }
        if (executor->queue != NULL) {
            store_ops_of(executor->queue)->queue_free(executor->queue);
            executor->queue = NULL;
        }
        if (executor->wake_fd >= 0) {
            (void)close(executor->wake_fd);
            executor->wake_fd = -1;
        }
    }
}

void shards_set_strict(struct shards *shards, int64_t from_mono_ms)
{
    atomic_store_explicit(&shards->strict_mono_ms, from_mono_ms, memory_order_relaxed);
}

void shards_release_polls(struct shards *shards)
{
    for (uint32_t i = 0; i < shards->options.executors; i++) {
        atomic_store_explicit(&shards->executors[i].release_polls, true, memory_order_release);
        if (shards->executors[i].wake_fd >= 0) {
            executor_wake(&shards->executors[i]);
        }
    }
}
