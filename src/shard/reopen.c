/*
 * shard/reopen.c - how a shard that is not open goes on by itself: after a pause, and only if it is
 * still ours.
 *
 *   FAILED ──pause──► who wrote last? ──ours──► what a reset left is removed ──► OPENING
 *                          │       └──no answer──► FAILED, asked again after a longer pause
 *                          └──a newer one──► FENCED
 *
 * Opening takes a database over from whoever has it. So a shard that failed is opened again only
 * after a look at the epoch of its newest writer: if that is higher than ours, another process has
 * it, and this one stays out until it is told to open, or two servers on one store would take it
 * from each other for ever. If it is ours, nobody was there: an object store that lost the answer
 * to a request refuses its repeat in the same words. One case stays open to doubt: an opening of
 * ours that failed may or may not have claimed its epoch, so another process that claimed the same
 * one meanwhile looks like us. Where a coordinator knows whose the shard is (a guarded opening),
 * this one stays out then, and whoever told it to open decides. Else the shard is opened, which
 * takes it from that process; it stays out, and so the two still settle.
 *
 * A guarded opening names the writer it takes over from, and its repeats name the newest one that
 * was read, which was that one or ourselves; so nobody who came in between is taken over.
 *
 * A reset removes the data between a close and an open. What was begun to be removed is not opened
 * again: a removal that failed is repeated, with the same growing pause, while its caller knows
 * that it failed.
 */
#include <stdio.h>

#include "base/assert.h"
#include "base/log.h"
#include "shard/shard_int.h"

#define REOPEN_MS_FIRST 200
#define REOPEN_MS_MAX 10000

static void reopen_pause(struct shard *shard)
{
    const uint32_t doublings = shard->reopen_tries < 6 ? shard->reopen_tries++ : 6;
    const int64_t pause = (int64_t)REOPEN_MS_FIRST << doublings;
    shard->reopen_mono_ms =
        shard->executor->mono_ms + (pause < REOPEN_MS_MAX ? pause : REOPEN_MS_MAX);
}

void reopen_later(struct shard *shard)
{
    shard->reopen = true;
    reopen_pause(shard);
}

/* The control that was being served has failed. */
void reopen_control_failed(struct shard *shard, enum silo_code code, const char *why)
{
    struct shard_control *control = shard->control;
    if (control->op == CONTROL_OPEN && code == SILO_CONFLICT) {
        (void)snprintf(control->text, sizeof control->text, "%s", why);
        shard->doubt = true; /* it is answered when it is known whether there is another process */
        shard->reopen_mono_ms = shard->executor->mono_ms;
        return;
    }
    if (control->op == CONTROL_REMOVE) {
        life_remove(shard);
        return;
    }
    if (control->op == CONTROL_RESET || control->op == CONTROL_PREPARE) {
        reopen_later(shard); /* it was open before, and its caller does not open it */
    }
    control_done(shard, SILO_UNAVAILABLE, why);
}

/* --- has another process taken it? --- */

static void owner_ask(struct shard *shard)
{
    struct store *store = shard_store(shard);
    shard->ask = (struct op){.kind = OP_ASK, .batch = shard->ask_number};
    shard->asking = true;
    const struct store_open_args place = shard_place(shard);
    struct silo_err err;
    if (store_ops_of(store)
            ->db_epoch(store, shard->executor->queue, &place, (uintptr_t)&shard->ask, &err)
            .code != SILO_OK) {
        shard->asking = false;
        reopen_pause(shard);
    }
}

static const char taken_text[] =
    "another process opened the shard: this server stays out of it. To have it back here, "
    "stop the other one and restart this one";
/* In a cluster the coordinator's record decides who has it next. */
static const char taken_guarded_text[] =
    "another process opened the shard: this server opens it again only where the cluster gives it "
    "the shard anew";
static const char unknown_text[] =
    "whether another process opened the shard since its opening failed here cannot be told: "
    "whose it is will be read";

static void stay_out(struct shard *shard, uint64_t epoch, const char *text)
{
    shard->reopen = false;
    undelivered_free(shard); /* their leases are the other one's to end */
    shard_set_status(shard, SHARD_FENCED);
    log_error("shard_taken_over", LOG_STR("shard", shard->id_text), LOG_INT("epoch", shard->epoch),
              LOG_INT("newer_epoch", epoch), LOG_STR("text", text), LOG_END);
    if (shard->doubt) {
        shard->doubt = false;
        control_done(shard, SILO_CONFLICT, text);
    }
}

/* The writer that a guarded opening may take over from. */
static bool is_predecessor(const struct shard *shard, uint64_t epoch)
{
    return shard->guarded && epoch == shard->expected_epoch;
}

/* The writer is an opening of ours that failed, or another process's of the same number. */
static bool is_doubtful(const struct shard *shard, uint64_t epoch)
{
    return shard->guarded && !shard->doubt && !shard->claimed && epoch == shard->epoch &&
           !is_predecessor(shard, epoch);
}

void reopen_asked(struct shard *shard, const struct store_event *event)
{
    shard->asking = false;
    if (shard->ask.batch != shard->ask_number || !(shard->reopen || shard->doubt)) {
        return; /* the question has changed since, or nobody wants to know any more */
    }
    if (event->rc.code != SILO_OK) {
        outage_note_failure(shard, event->rc.code, event->text);
        const uint32_t times = burst_add(&shard->unknown_lines, shard->executor->mono_ms * 1000);
        if (times != 0) {
            log_warn("shard_owner_unknown", LOG_STR("shard", shard->id_text),
                     LOG_STR("reason", event->text), LOG_STR("instead", "asking again"),
                     LOG_INT("times", times), LOG_END);
        }
        reopen_pause(shard);
    } else if (event->seq > shard->epoch && !is_predecessor(shard, event->seq)) {
        stay_out(shard, event->seq, shard->guarded ? taken_guarded_text : taken_text);
    } else if (is_doubtful(shard, event->seq)) {
        stay_out(shard, event->seq, unknown_text);
    } else if (shard->doubt) {
        char text[sizeof shard->control->text];
        memcpy(text, shard->control->text, sizeof text);
        shard->doubt = false;
        control_done(shard, SILO_UNAVAILABLE, text);
    } else {
        shard->expected_epoch = event->seq; /* itself, or whom it was to take over from */
        life_open(shard);
    }
}

/* --- the data of a reset --- */

void reset_remove(struct shard *shard)
{
    struct store *store = shard_store(shard);
    shard->wipe = (struct op){.kind = OP_WIPE};
    shard->wipe_due = true;
    shard->wiping = true;
    shard->reopen = false;
    shard_set_status(shard, SHARD_OPENING);
    const struct store_open_args place = shard_place(shard);
    struct silo_err err = {0};
    const silo_rc rc = store_ops_of(store)->db_remove(store, shard->executor->queue, &place,
                                                      (uintptr_t)&shard->wipe, &err);
    if (rc.code != SILO_OK) {
        reset_removed(shard, rc.code, err.text);
    }
}

void reset_removed(struct shard *shard, enum silo_code code, const char *why)
{
    const bool closed = shard->status == SHARD_CLOSED; /* told so meanwhile */
    shard->wiping = false;
    if (code == SILO_OK) {
        shard->wipe_due = false;
        shard->wiped = shard->control != NULL && shard->control->op == CONTROL_RESET;
        shard->epoch = 0;
        shard->expected_epoch = 0;
        undelivered_free(shard);
        if (!closed) {
            life_open(shard);
        }
        return;
    }
    log_warn("shard_reset_failed", LOG_STR("shard", shard->id_text), LOG_STR("reason", why),
             LOG_END);
    if (closed) {
        return;
    }
    shard_set_status(shard, SHARD_FAILED);
    if (shard->control == NULL) {
        reopen_later(shard);
    } else {
        reopen_control_failed(shard, SILO_UNAVAILABLE, why);
    }
}

/* Opens; what a reset left behind goes first. */
void reopen_begin(struct shard *shard)
{
    if (shard->wiping) {
        shard_set_status(shard, SHARD_OPENING); /* reset_removed goes on */
    } else if (shard->wipe_due) {
        reset_remove(shard);
    } else {
        life_open(shard);
    }
}

/* --- turns --- */

int64_t reopen_next_mono_ms(const struct shard *shard)
{
    const bool goes_on = shard->doubt || (shard->reopen && shard->control == NULL);
    return goes_on && !shard->asking && !shard->wiping ? shard->reopen_mono_ms : INT64_MAX;
}

void reopen_turn(struct shard *shard)
{
    ASSERT(shard->inc == NULL);
    if (reopen_next_mono_ms(shard) > shard->executor->mono_ms) {
        return;
    }
    if ((shard->epoch != 0 || shard->guarded) && !shard->wipe_due) {
        owner_ask(shard);
    } else {
        reopen_begin(shard);
    }
}
