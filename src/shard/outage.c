/*
 * shard/outage.c - the storage is full, or away: a state of a shard, begun and ended here and
 * nowhere else.
 *
 *   serving ──a request to the storage fails, or has no answer for OUTAGE_MS──► out
 *      ▲                                                                         │
 *      └────── none fails, and what the storage has of ours is not old ──────────┘
 *
 * While a shard is out
 *   1  new changes are refused at once, with the cause;
 *   2  calls that wait for the storage, to become durable or to be read, are ended when it has kept
 *      the oldest for OUTAGE_MS, their outcome unknown; tasks that a worker so never heard of go
 *      back when the outage ends;
 *   3  what is durable is read, and heartbeats are answered, as long as ownership can be proved
 *      (proof.c);
 *   4  no lease expires; each has a fresh term afterwards.
 * What was written goes on by itself when the storage does. A shard that failed because of its
 * storage, or whose opening finds it away, is out as well once it was not open for OUTAGE_MS.
 *
 * The process is out while any of its shards is: one line of the log says that it begins, and one
 * that it ended.
 */
#include <stdio.h>

#include "base/assert.h"
#include "base/log.h"
#include "shard/shard_int.h"

#define CAUSE_FRESH_MS 1000 /* the cause is asked for so often */

/* What stood still with the whole process is not the storage's fault. */
static int64_t not_before_awake(const struct shard *shard, int64_t since)
{
    const int64_t awake = shard->executor->awake_mono_ms;
    return since > awake ? since : awake;
}

/* --- the process --- */

void outage_init(struct shards *shards)
{
    ASSERT(pthread_mutex_init(&shards->outage.lock, NULL) == 0);
}

void outage_deinit(struct shards *shards)
{
    (void)pthread_mutex_destroy(&shards->outage.lock);
}

bool shards_out(struct shards *shards)
{
    return atomic_load_explicit(&shards->outage.shards, memory_order_relaxed) != 0;
}

/* Once for each outage, as soon as the last line about one is old enough. With the lock. */
static void say_begun(struct shard *shard)
{
    struct outage *outage = &shard->shards->outage;
    const uint32_t times =
        outage->said ? 0 : burst_due(&outage->lines, shard_mono_ms(shard) * 1000);
    if (times != 0) {
        outage->said = true;
        log_error("outage_begins", LOG_STR("cause", shard->cause), LOG_STR("shard", shard->id_text),
                  LOG_INT("times", times),
                  LOG_STR("then", "changes are refused with this cause, the health is "
                                  "NOT_SERVING, no lease expires"),
                  LOG_END);
    }
}

static void tell_begun(struct shard *shard)
{
    struct outage *outage = &shard->shards->outage;
    pthread_mutex_lock(&outage->lock);
    if (atomic_fetch_add_explicit(&outage->shards, 1, memory_order_relaxed) == 0) {
        outage->begin_mono_ms = shard_mono_ms(shard);
        outage->said = false;
        burst_count(&outage->lines);
    }
    say_begun(shard);
    pthread_mutex_unlock(&outage->lock);
}

/* One that began too soon after another to have a line of its own gets it if it lasts. */
static void tell_lasting(struct shard *shard)
{
    struct outage *outage = &shard->shards->outage;
    pthread_mutex_lock(&outage->lock);
    say_begun(shard);
    pthread_mutex_unlock(&outage->lock);
}

static void tell_ended(struct shard *shard)
{
    struct outage *outage = &shard->shards->outage;
    pthread_mutex_lock(&outage->lock);
    if (atomic_fetch_sub_explicit(&outage->shards, 1, memory_order_relaxed) == 1) {
        const uint64_t refused =
            atomic_exchange_explicit(&outage->refused, 0, memory_order_relaxed);
        const uint64_t unknown =
            atomic_exchange_explicit(&outage->unknown, 0, memory_order_relaxed);
        if (outage->said) {
            log_warn("outage_ends",
                     LOG_INT("lasted_ms", shard_mono_ms(shard) - outage->begin_mono_ms),
                     LOG_INT("refused", refused), LOG_INT("outcome_unknown", unknown),
                     LOG_STR("cause", shard->cause),
                     LOG_STR("now", shard->status == SHARD_OPEN
                                        ? "the storage takes changes again"
                                        : "the shard is not served here any more"),
                     LOG_END);
        }
    }
    pthread_mutex_unlock(&outage->lock);
}

static void count(atomic_uint_fast64_t *figure)
{
    (void)atomic_fetch_add_explicit(figure, 1, memory_order_relaxed);
}

/* --- the cause --- */

static void cause_ask(struct shard *shard)
{
    struct store *store = shard_store(shard);
    char text[OUTAGE_CAUSE_MAX];
    (void)store_ops_of(store)->trouble(store, text, sizeof text);
    if (text[0] != '\0') {
        (void)snprintf(shard->cause, sizeof shard->cause, "%s", text);
    } else if (shard->cause[0] == '\0') {
        (void)snprintf(shard->cause, sizeof shard->cause, "no answer for %d s", OUTAGE_MS / 1000);
    }
    shard->cause_mono_ms = shard_mono_ms(shard);
}

void outage_note_failure(struct shard *shard, enum silo_code code, const char *why)
{
    shard->away = code == SILO_UNAVAILABLE;
    if (shard->away) {
        (void)snprintf(shard->cause, sizeof shard->cause, "%s", why);
        shard->cause_mono_ms = shard_mono_ms(shard);
    }
}

/* --- calls --- */

void outage_refuse(struct shard *shard, struct command *cmd)
{
    count(&shard->shards->outage.refused);
    request_fail(cmd, SILO_UNAVAILABLE,
                 arena_printf(cmd->arena, "the storage takes no changes, nothing was changed: %s",
                              shard->cause));
}

void outage_answer(struct shard *shard, struct command *cmd)
{
    const char *what = cmd->changes
                           ? "the outcome of this request is unknown, it may still take effect"
                           : "this cannot be answered before the storage takes earlier changes";
    count(&shard->shards->outage.unknown);
    request_fail(cmd, SILO_UNAVAILABLE, arena_printf(cmd->arena, "%s: %s", what, shard->cause));
}

/* --- how long the storage has had what --- */

void outage_progress(struct incarnation *inc)
{
    inc->progress_mono_ms = shard_mono_ms(inc->shard);
}

static int64_t too_long_mono_ms(const struct incarnation *inc, int64_t since)
{
    return not_before_awake(inc->shard, since) + OUTAGE_MS;
}

/* When the oldest batch has waited for too long to become durable. */
static int64_t batches_mono_ms(const struct incarnation *inc)
{
    return list_empty(&inc->batches) ? INT64_MAX : too_long_mono_ms(inc, inc->progress_mono_ms);
}

/* When the oldest read has waited for too long. */
static int64_t reads_mono_ms(const struct incarnation *inc)
{
    for (struct list_node *n = list_first(&inc->ops); n != NULL; n = list_next(&inc->ops, n)) {
        const struct op *op = CONTAINER_OF(n, struct op, node);
        if (op->kind == OP_READ || op->kind == OP_WANTS) {
            return too_long_mono_ms(inc,
                                    op->start_mono_ms); /* they are in the order of their starts */
        }
    }
    return INT64_MAX;
}

/* Rows for an answer that do not come; what was asked for releases memory when it does. */
static void wants_give_up(struct incarnation *inc)
{
    for (struct list_node *n = list_first(&inc->ops); n != NULL; n = list_next(&inc->ops, n)) {
        struct op *op = CONTAINER_OF(n, struct op, node);
        if (op->kind == OP_WANTS && op->cmd != NULL &&
            shard_mono_ms(inc->shard) >= too_long_mono_ms(inc, op->start_mono_ms)) {
            struct command *cmd = op->cmd;
            op->cmd = NULL;
            outage_answer(inc->shard, cmd);
        }
    }
}

static void reads_give_up(struct incarnation *inc)
{
    struct shard *shard = inc->shard;
    const int64_t until = shard_mono_ms(shard) - OUTAGE_MS;
    const bool stood_still = until < shard->executor->awake_mono_ms;
    int64_t oldest = INT64_MAX;
    const size_t given_up =
        core_give_up_reads(inc->core, stood_still ? INT64_MIN : until, shard->cause, &oldest);
    inc->unread_mono_ms = oldest != INT64_MAX ? too_long_mono_ms(inc, oldest) : INT64_MAX;
    (void)atomic_fetch_add_explicit(&shard->shards->outage.refused, given_up, memory_order_relaxed);
    wants_give_up(inc);
}

static void calls_give_up(struct incarnation *inc, bool unread)
{
    inc->unread_mono_ms = INT64_MAX;
    if (unread) {
        reads_give_up(inc);
    }
    if (inc->unwritten) {
        commit_give_up(inc);
    }
}

/* --- the state --- */

/* Closed for a reset, which lasts as long as the outage may: it is to be open again. */
static bool resetting_out(const struct shard *shard)
{
    const bool resets = shard->control != NULL && shard->control->op == CONTROL_RESET;
    return resets && shard->out && shard->executor->trouble;
}

/* Whether it should be open and was not for too long, because of its storage. */
static bool unopened_out(struct shard *shard)
{
    const enum shard_status status = shard->status;
    if (status == SHARD_CLOSING || status == SHARD_CLOSED) {
        shard->unopened_mono_ms = INT64_MAX;
        return resetting_out(shard);
    }
    if (status != SHARD_OPENING && status != SHARD_FAILED) {
        shard->unopened_mono_ms = INT64_MAX;
        return false;
    }
    if (shard->unopened_mono_ms == INT64_MAX) {
        shard->unopened_mono_ms = shard_mono_ms(shard);
    }
    return shard->out || shard->executor->trouble ||
           (shard->away &&
            shard_mono_ms(shard) >= not_before_awake(shard, shard->unopened_mono_ms) + OUTAGE_MS);
}

static void out_begin(struct shard *shard)
{
    shard->out = true;
    cause_ask(shard);
    tell_begun(shard);
}

static void out_end(struct shard *shard)
{
    shard->out = false;
    tell_ended(shard);
    shard->cause[0] = '\0';
}

static void inc_end(struct incarnation *inc)
{
    inc->outage = false;
    core_renew_leases(inc->core, LEASE_MS);
    undelivered_resume(inc);
}

void outage_turn(struct shard *shard)
{
    struct incarnation *inc = shard->inc;
    const bool open = inc != NULL && inc->phase == INC_OPEN;
    const bool unwritten = open && shard_mono_ms(shard) >= batches_mono_ms(inc);
    const bool unread = open && shard_mono_ms(shard) >= reads_mono_ms(inc);
    const bool unopened = unopened_out(shard);
    const bool out = open ? unwritten || unread || shard->executor->trouble : unopened;
    if (out && !shard->out) {
        out_begin(shard);
    } else if (!out && shard->out) {
        out_end(shard);
    } else if (out && shard_mono_ms(shard) - shard->cause_mono_ms >= CAUSE_FRESH_MS) {
        cause_ask(shard);
        tell_lasting(shard);
    }
    if (open) {
        shard->away = false;
        if (inc->outage && !out) {
            inc_end(inc);
        }
        inc->outage = out;
        inc->unwritten = unwritten;
        calls_give_up(inc, unread);
    }
}

void outage_look(struct executor *executor)
{
    struct store *store = executor->shards->options.store;
    const bool trouble = store_ops_of(store)->trouble(store, NULL, 0);
    if (trouble != executor->trouble) {
        executor->trouble = trouble;
        executor_visit_all(executor);
        for (struct list_node *n = list_first(&executor->owned); n != NULL;
             n = list_next(&executor->owned, n)) {
            outage_turn(CONTAINER_OF(n, struct shard, owned));
        }
    }
}

int64_t outage_next_mono_ms(const struct shard *shard)
{
    const struct incarnation *inc = shard->inc;
    /* Once it is out its cause is looked at again, whatever else comes for it. */
    const int64_t cause = shard->out ? shard->cause_mono_ms + CAUSE_FRESH_MS : INT64_MAX;
    if (inc != NULL && inc->phase == INC_OPEN) {
        const int64_t now = shard_mono_ms(shard);
        const int64_t times[] = {batches_mono_ms(inc), reads_mono_ms(inc), inc->unread_mono_ms};
        int64_t next = cause;
        for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
            next = times[i] > now && times[i] < next ? times[i] : next;
        }
        return next;
    }
    if (shard->out || !shard->away || shard->unopened_mono_ms == INT64_MAX) {
        return cause;
    }
    return not_before_awake(shard, shard->unopened_mono_ms) + OUTAGE_MS;
}
