/*
 * shard/life.c - a shard's life.
 *
 *   closed ──open──► OPENING ──db there──► LOADING ──core ready──► OPEN ──close──► DRAINING ──► CLOSING ──► closed
 *                       │                     │                     │
 *                       └────────── any failure: the incarnation is dropped (DEAD) ──────► reopened after a pause
 *
 * One control (open, close, reset) is served at a time; later ones wait. A failure while serving an
 * open ends that open; a failure of an open shard reopens it by itself, with a growing pause.
 */
#include <stdio.h>

#include "base/assert.h"
#include "base/log.h"
#include "shard/shard_int.h"

#define DRAIN_MS 3000

static void control_next(struct shard *shard);

/*
 * What a shard does over and over is said now and then: how often since the last line, 0 = not now.
 */
static uint32_t said(struct shard *shard, struct burst *lines)
{
    return burst_add(lines, shard->executor->mono_ms * 1000);
}

void control_done(struct shard *shard, enum silo_code code, const char *text)
{
    struct shard_control *control = shard->control;
    shard->control = NULL;
    shard->wiped = false;
    control->rc = (silo_rc){code};
    (void)snprintf(control->text, sizeof control->text, "%s", text);
    control->done(control);
    control_next(shard);
}

/* --- opening --- */

static void inc_dead(struct incarnation *inc)
{
    inc->phase = INC_DEAD;
    checks_forget(inc);
    if (inc->db != NULL) {
        map_remove(&inc->shard->executor->databases, &inc->database);
    }
    inc->shard->inc = NULL;
    list_push_back(&inc->shard->executor->dead, &inc->dead);
}

static struct incarnation *inc_new(struct shard *shard)
{
    struct executor *executor = shard->executor;
    struct incarnation *inc = xcalloc(1, sizeof *inc);
    inc->shard = shard;
    shard->incs++;
    inc->phase = INC_OPENING;
    list_init(&inc->ops);
    list_init(&inc->batches);
    list_init(&inc->open_replies);
    list_init(&inc->unproved);
    list_init(&inc->proving);
    list_init(&inc->checks);
    inc->progress_mono_ms = executor->mono_ms;
    inc->memtable_mono_ms = executor->mono_ms;
    inc->proof_mono_ms = executor->mono_ms;
    inc->flush_start_mono_ms = INT64_MIN / 2;
    inc->unread_mono_ms = INT64_MAX;
    inc->refresh_mono_ms = INT64_MIN / 2;
    return inc;
}

void life_open(struct shard *shard)
{
    ASSERT(shard->inc == NULL);
    shard->reopen = false;
    shard->doubt = false;
    shard->moved = false;
    shard->ask_number++; /* an answer under way is about an earlier opening */
    shard_set_status(shard, SHARD_OPENING);
    struct incarnation *inc = inc_new(shard);
    shard->inc = inc;
    struct op *op = op_begin(inc, OP_OPEN);
    struct store_open_args args = shard_place(shard);
    args.settings_json = shard->shards->options.settings_json;
    args.bytes_max = 2 * (size_t)SHARD_REPLIES_BYTES_MAX;
    args.guarded = shard->guarded;
    args.expected_epoch = shard->expected_epoch;
    struct silo_err err;
    struct store *store = shard_store(shard);
    if (store_ops_of(store)->open(store, shard->executor->queue, &args, (uintptr_t)op, &err).code !=
        SILO_OK) {
        op_free(op);
        life_fail(inc, SILO_UNAVAILABLE, err.text);
    }
}

void life_opened(struct incarnation *inc, const struct store_event *event)
{
    ASSERT(inc->phase == INC_OPENING);
    struct shard *shard = inc->shard;
    const bool others = shard->epoch != 0 && event->epoch > shard->epoch + 1;
    if (event->epoch != 0) {
        shard->epoch = event->epoch;
        shard->claimed = event->rc.code == SILO_OK;
    }
    if (others) { /* have had it since, and what was leased here may be leased anew */
        undelivered_free(shard);
    }
    if (event->rc.code != SILO_OK) {
        life_fail(inc, event->rc.code, event->text);
        return;
    }
    struct executor *executor = inc->shard->executor;
    inc->db = event->db;
    map_insert(&executor->databases, &inc->database, bytes_of(&inc->db, sizeof inc->db));
    inc->phase = INC_LOADING;
    inc->proof_mono_ms = executor->mono_ms;
    const struct shards_options *options = &inc->shard->shards->options;
    struct core_options core = {
        .order = inc->shard->order,
        .external_limiter = options->limiter != NULL,
        .completed_expire_ms = options->completed_expire_ms,
        .terminal_expire_ms = options->terminal_expire_ms,
    };
    env_random(executor->env, core.seed, sizeof core.seed);
    inc->core = core_new(&core, executor->wall_ms, executor->mono_ms);
    if (executor->released) {
        core_release_polls(inc->core);
    }
}

static void life_loaded(struct incarnation *inc)
{
    struct shard *shard = inc->shard;
    inc->phase = INC_OPEN;
    shard->reopen_tries = 0;
    shard_set_status(shard, SHARD_OPEN);
    undelivered_resume(inc);
    const struct core_stats stats = core_stats(inc->core);
    const uint32_t times = said(shard, &shard->opened_lines);
    if (times != 0) {
        log_info("shard_opened", LOG_STR("shard", shard->id_text), LOG_INT("leases", stats.leases),
                 LOG_INT("times", times), LOG_END);
    }
    if (shard->control != NULL && (shard->control->op == CONTROL_OPEN || shard->wiped)) {
        control_done(shard, SILO_OK, "");
    }
}

/* --- failing --- */

static void db_close(struct incarnation *inc, enum store_close_how how)
{
    if (inc->db == NULL) {
        return;
    }
    struct op *op = op_begin(inc, OP_CLOSE);
    if (store_ops_of(inc->db)->close(inc->db, how, (uintptr_t)op, NULL).code != SILO_OK) {
        op_free(op);
    }
}

void life_fail(struct incarnation *inc, enum silo_code code, const char *why)
{
    struct shard *shard = inc->shard;
    if (inc->phase == INC_DEAD) {
        return;
    }
    const enum inc_phase was = inc->phase;
    outage_note_failure(shard, code, why);
    const uint32_t times = said(shard, &shard->failed_lines);
    if (times != 0) {
        log_warn("shard_failed", LOG_STR("shard", shard->id_text), LOG_STR("reason", why),
                 LOG_INT("times", times), LOG_END);
    }
    inc_dead(inc);
    if (inc->core != NULL) {
        commit_abandon(inc);
    }
    if (was != INC_CLOSING) {
        db_close(inc, STORE_CLOSE_DROP);
    }
    shard_set_status(shard, SHARD_FAILED);
    if (shard->control != NULL) {
        reopen_control_failed(shard, code, why);
    } else {
        reopen_later(shard);
    }
}

void life_reap(struct executor *executor)
{
    struct list_node *next = NULL;
    for (struct list_node *n = list_first(&executor->dead); n != NULL; n = next) {
        next = list_next(&executor->dead, n);
        struct incarnation *inc = CONTAINER_OF(n, struct incarnation, dead);
        if (list_empty(&inc->ops)) {
            list_remove(&inc->dead);
            executor->expired += inc->core != NULL ? core_stats(inc->core).expired_jobs : 0;
            core_free(inc->core);
            inc->shard->incs--;
            free(inc);
        }
    }
    for (struct list_node *n = list_first(&executor->leaving); n != NULL; n = next) {
        next = list_next(&executor->leaving, n);
        struct shard *shard = CONTAINER_OF(n, struct shard, owned);
        if (shard->incs == 0 && !shard->asking && !shard->wiping) {
            list_remove(&shard->owned);
            shard_free(shard);
        }
    }
}

/* --- closing --- */

static void life_drain(struct incarnation *inc)
{
    inc->phase = INC_DRAINING;
    inc->drain_until_mono_ms = inc->shard->executor->mono_ms + DRAIN_MS;
    shard_set_status(inc->shard, SHARD_CLOSING);
    if (inc->shard->moved) {
        core_leave(inc->core);
        checks_forget(inc);
        proof_leave(inc);
    } else {
        core_release_polls(inc->core);
    }
}

/* Whether nothing is on its way that the next owner would not know of, or that has an answer. */
static bool life_drained(const struct incarnation *inc)
{
    const bool core_done =
        inc->shard->moved ? core_left(inc->core) : core_stats(inc->core).commands == 0;
    return (core_done && commit_idle(inc) && wants_idle(inc)) ||
           inc->shard->executor->mono_ms >= inc->drain_until_mono_ms;
}

static void life_close(struct incarnation *inc)
{
    const bool reset = inc->shard->control->op == CONTROL_RESET;
    const bool moved = inc->shard->moved;
    const bool pinned = inc->shard->wal.local && inc->shard->wal.place == STORE_WAL_APART;
    commit_abandon(inc); /* what is left ran out of time */
    inc->phase = INC_CLOSING;
    db_close(inc, reset              ? STORE_CLOSE_DROP
                  : moved && !pinned ? STORE_CLOSE_WAL
                                     : STORE_CLOSE_MEMTABLE);
}

void life_closed(struct incarnation *inc, const struct store_event *event)
{
    struct shard *shard = inc->shard;
    if (inc->phase == INC_DEAD) {
        return;
    }
    inc_dead(inc);
    shard_set_status(shard, SHARD_CLOSED);
    const uint32_t times = said(shard, &shard->closed_lines);
    if (times != 0) {
        log_info("shard_closed", LOG_STR("shard", shard->id_text),
                 LOG_STR("result", silo_code_name(event->rc.code)), LOG_INT("times", times),
                 LOG_END);
    }
    switch ((enum control_op)shard->control->op) {
    case CONTROL_RESET:
        reset_remove(shard);
        return;
    case CONTROL_REMOVE:
        life_remove(shard);
        return;
    case CONTROL_OPEN:
    case CONTROL_PREPARE:
    case CONTROL_CLOSE:
    case CONTROL_ADD:
        break;
    }
    shard->control->empty = event->empty;
    control_done(shard, event->rc.code, event->text);
}

/* --- coming and going --- */

void life_add(struct shard *shard)
{
    struct executor *executor = shard->executor;
    ASSERT(executor->by_slot[shard->ref.slot] == NULL);
    executor->by_slot[shard->ref.slot] = shard;
    list_push_back(&executor->owned, &shard->owned);
    executor->counted.shards++;
}

void control_astray(struct shard_control *control)
{
    control->rc = (silo_rc){SILO_ROUTED_WRONG};
    (void)snprintf(control->text, sizeof control->text, "the shard is not here any more");
    control->done(control);
}

/* It is closed and was removed: nobody finds it any more, and events of it only release memory. */
void life_remove(struct shard *shard)
{
    struct executor *executor = shard->executor;
    shard_set_status(shard, SHARD_CLOSED);
    outage_turn(shard);
    visits_forget(shard);
    shard->gone = true;
    executor->by_slot[shard->ref.slot] = NULL;
    list_remove(&shard->owned);
    executor->counted.shards--;
    list_push_back(&executor->leaving, &shard->owned);
    while (shard->waiting != NULL) {
        struct shard_control *control = CONTAINER_OF(shard->waiting, struct shard_control, mail);
        shard->waiting = shard->waiting->next;
        control_astray(control);
    }
}

/* --- controls --- */

static void control_start(struct shard *shard)
{
    struct incarnation *inc = shard->inc;
    switch ((enum control_op)shard->control->op) {
    case CONTROL_OPEN:
        if (inc != NULL && inc->phase == INC_OPEN) {
            control_done(shard, SILO_OK, "");
        } else if (inc == NULL) {
            shard->guarded = shard->control->guarded;
            shard->expected_epoch = shard->control->expected_epoch;
            reopen_begin(shard);
        } /* else it is opening already: done when it is loaded */
        return;
    case CONTROL_PREPARE:
        prepare_begin(shard);
        return;
    case CONTROL_CLOSE:
        shard->reopen = false;
        shard->moved = shard->control->how == SHARD_CLOSE_MOVE;
        if (inc == NULL) {
            shard_set_status(shard, SHARD_CLOSED);
            control_done(shard, SILO_OK, "");
        } else if (shard->moved && inc->phase == INC_OPEN) {
            life_drain(inc); /* before anything else that came in this turn */
        }                    /* else life_turn drains it as soon as it is open */
        return;
    case CONTROL_RESET:
        shard->reopen = false;
        if (inc == NULL && shard->status == SHARD_FENCED) {
            control_done(shard, SILO_UNAVAILABLE, "another process opened the shard");
        } else if (inc == NULL && shard->wiping) {
            shard_set_status(shard, SHARD_OPENING); /* reset_removed goes on */
        } else if (inc == NULL) {
            reset_remove(shard);
        } /* else life_turn drains it as soon as it is open */
        return;
    case CONTROL_REMOVE:
        shard->reopen = false;
        if (inc == NULL) {
            life_remove(shard);
        } /* else life_turn drains it as soon as it is open */
        return;
    case CONTROL_ADD:
        break; /* life_add */
    }
    ASSERT(!"no control to be served");
}

static void control_next(struct shard *shard)
{
    if (shard->control == NULL && shard->waiting != NULL) {
        struct mail *mail = shard->waiting;
        shard->waiting = mail->next;
        shard->control = CONTAINER_OF(mail, struct shard_control, mail);
        control_start(shard);
    }
}

void life_control(struct shard *shard, struct shard_control *control)
{
    struct mail **at = &shard->waiting;
    while (*at != NULL) {
        at = &(*at)->next;
    }
    control->mail.next = NULL;
    *at = &control->mail;
    if (shard->control != NULL && shard->control->op == CONTROL_PREPARE) {
        prepare_give_up(shard);
    } else {
        control_next(shard);
    }
}

/* Whether it ends the incarnation. */
static bool control_ends(const struct shard_control *control)
{
    return control != NULL && control->op != CONTROL_OPEN && control->op != CONTROL_PREPARE;
}

void life_turn(struct shard *shard)
{
    struct incarnation *inc = shard->inc;
    if (inc == NULL) {
        reopen_turn(shard);
        return;
    }
    if (inc->phase == INC_LOADING && core_phase(inc->core) == CORE_OPEN) {
        life_loaded(inc);
    } else if (inc->core != NULL && inc->phase <= INC_OPEN &&
               core_phase(inc->core) == CORE_BROKEN) {
        life_fail(inc, SILO_CORRUPT, core_broken(inc->core));
        return;
    }
    if (inc->phase == INC_OPEN && control_ends(shard->control)) {
        life_drain(inc);
    }
    prepare_turn(inc);
    if (inc->phase == INC_DRAINING && life_drained(inc)) {
        life_close(inc);
    }
}

int64_t life_next_mono_ms(const struct shard *shard)
{
    const struct incarnation *inc = shard->inc;
    if (inc == NULL) {
        return reopen_next_mono_ms(shard);
    }
    if (inc->phase == INC_DRAINING) {
        return inc->drain_until_mono_ms; /* what drains wakes the executor by itself */
    }
    const bool just_open = inc->phase == INC_LOADING && core_phase(inc->core) == CORE_OPEN;
    return just_open ? shard->executor->mono_ms : INT64_MAX;
}
