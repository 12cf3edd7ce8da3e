/*
 * coord/etcd/session.c - this node as a member.
 *
 *     lease granted -> member key put, if nobody else is there -> everything listed -> CONFIRMED
 *         ▲                                                                              │
 *         └───────── join ◄── LAPSED ◄── the lease, or the key, is gone, or may be ──────┘
 *
 * A lease is renewed every third of its time, counted from when its last renewal was asked for, so
 * that this node never believes in it for longer than etcd does. Renewals are single calls, each
 * on a server that answers; a lost one is made up for by the next.
 */
#include <poll.h>
#include <stdlib.h>

#include "coord/etcd/etcd_int.h"
#include "coord/etcd/keys.h"
#include "coord/etcd/member_text.h"
#include "coord/etcd/txn.h"

#define RENEWALS_PER_TTL 3
#define GOODBYE_US 1000000

/* --- losing it --- */

void session_lost(struct etcd *etcd)
{
    struct etcd_session *session = &etcd->session;
    session->lease = 0;
    session->joined = false;
    session->turn++;
    if (session->confirmed) {
        session->confirmed = false;
        session->wanted = false; /* until it is asked for again */
        (void)news_add(etcd, EVENT_LAPSED);
    } else if (session->wanted) {
        session->again_us = env_mono_us(etcd->env) + ETCD_AGAIN_US;
    }
}

/* --- giving the lease back --- */

static bool ignored(struct etcd_ask *ask, const struct etcd_answer *answer, struct arena *arena)
{
    (void)ask;
    (void)answer;
    (void)arena;
    return true;
}

/* Returns what is asked so, which ends with its answer. */
static const struct etcd_ask *revoke(struct etcd *etcd)
{
    struct arena arena;
    arena_init(&arena);
    struct etcd_ask *ask = ask_new(etcd, ignored);
    ask_send_once(ask, ETCD_LEASE_REVOKE, etcd_lease_revoke(&arena, etcd->session.lease));
    arena_deinit(&arena);
    return ask;
}

/* --- joining --- */

static bool listed(struct etcd_ask *ask, const struct etcd_answer *answer, struct arena *arena)
{
    struct etcd *etcd = ask->etcd;
    struct etcd_session *session = &etcd->session;
    struct etcd_rows rows;
    if (!etcd_rows_read(arena, answer->reply, &rows)) {
        return false;
    }
    if (ask->turn != session->turn || session->confirmed) {
        return true;
    }
    if (!records_have_self(etcd, &rows)) { /* it was short */
        session_lost(etcd);
        return true;
    }
    if (records_stale(etcd, rows.revision, ask->tries)) {
        struct etcd_ask *again = ask_new(etcd, listed);
        again->turn = session->turn;
        again->tries = ask->tries + 1;
        ask_all(again);
        return true;
    }
    session->confirmed = true;
    etcd->was_member = true;
    (void)news_add(etcd, EVENT_CONFIRMED);
    records_list(etcd, &rows);
    watch_from(etcd, rows.revision);
    return true;
}

static void session_put(struct etcd *etcd, uint64_t mod);

static void joined(struct etcd *etcd, uint64_t mod)
{
    etcd->session.joined = true;
    etcd->session.joined_mod = mod;
    if (etcd->session.leaving) {
        session_leave(etcd); /* perhaps since the key was sent */
    }
    struct etcd_ask *ask = ask_new(etcd, listed);
    ask->turn = etcd->session.turn;
    ask_all(ask);
}

/* Another process is a member under this node's id. */
static void taken(struct etcd *etcd, uint64_t nonce)
{
    (void)revoke(etcd);
    etcd->session.lease = 0;
    etcd->session.turn++;
    etcd->session.wanted = false;
    news_add(etcd, EVENT_JOIN_TAKEN)->event.number = nonce;
}

static bool put_answered(struct etcd_ask *ask, const struct etcd_answer *answer,
                         struct arena *arena)
{
    struct etcd *etcd = ask->etcd;
    struct etcd_txn_answer txn;
    if (!etcd_txn_read(arena, answer->reply, &txn)) {
        return false;
    }
    if (ask->turn != etcd->session.turn) {
        return true;
    }
    const struct etcd_row *row = &txn.rows[0];
    struct cluster_member there = {0};
    const bool is_member = member_text_decode(arena, bytes_str(etcd->self.id), row->value, &there);
    if (txn.done || (row->mod != 0 && row->lease == etcd->session.lease)) {
        joined(etcd, txn.done ? txn.revision : row->mod); /* perhaps by a try that seemed lost */
    } else if (row->mod == 0 || etcd->session.replace ||
               (is_member && there.nonce == etcd->self.nonce)) {
        session_put(etcd, row->mod); /* over what an earlier lease of ours left, too */
    } else {
        taken(etcd, there.nonce);
    }
    return true;
}

/* The member key's value, malloc'd. */
static char *session_text(const struct etcd *etcd)
{
    struct cluster_member self = etcd->self;
    self.leaving = etcd->session.leaving;
    return member_text_encode(&self, etcd->started_ms, etcd->hostname);
}

static void session_put(struct etcd *etcd, uint64_t mod)
{
    struct arena arena;
    arena_init(&arena);
    const struct bytes key = etcd_key_member(&arena, etcd->prefix, etcd->self.id);
    char *text = session_text(etcd);
    struct etcd_txn *txn = etcd_txn_begin(&arena);
    etcd_txn_if_mod(txn, key, mod);
    etcd_txn_put(txn, key, bytes_str(text), etcd->session.lease);
    etcd_txn_else_get(txn, key);
    struct etcd_ask *ask = ask_new(etcd, put_answered);
    ask->turn = etcd->session.turn;
    ask_send(ask, ETCD_TXN, etcd_txn_end(txn));
    free(text);
    arena_deinit(&arena);
}

static bool granted(struct etcd_ask *ask, const struct etcd_answer *answer, struct arena *arena)
{
    struct etcd *etcd = ask->etcd;
    struct etcd_session *session = &etcd->session;
    int64_t lease = 0, ttl_s = 0;
    if (!etcd_lease_granted(arena, answer->reply, &lease, &ttl_s)) {
        return false;
    }
    if (ask->turn != session->turn) {
        return true; /* it ends by itself */
    }
    session->lease = lease;
    session->ttl_us = (ttl_s < etcd->ttl_s ? ttl_s : etcd->ttl_s) * 1000000;
    session->renewed_us = answer->asked_us;
    session->renew_us = answer->asked_us + session->ttl_us / RENEWALS_PER_TTL;
    session_put(etcd, 0);
    return true;
}

static void session_grant(struct etcd *etcd)
{
    struct arena arena;
    arena_init(&arena);
    etcd->session.turn++;
    etcd->session.again_us = INT64_MAX;
    struct etcd_ask *ask = ask_new(etcd, granted);
    ask->turn = etcd->session.turn;
    ask_send(ask, ETCD_LEASE_GRANT, etcd_lease_grant(&arena, etcd->ttl_s));
    arena_deinit(&arena);
}

void session_join(struct etcd *etcd, bool replace)
{
    struct etcd_session *session = &etcd->session;
    session->replace = replace;
    if (session->wanted && (session->confirmed || session->lease != 0)) {
        return; /* under way */
    }
    session->wanted = true;
    session_grant(etcd);
}

/* --- leaving --- */

void session_leave(struct etcd *etcd)
{
    etcd->session.leaving = true;
    if (!etcd->session.joined) {
        return; /* it will be put so */
    }
    struct arena arena;
    arena_init(&arena);
    const struct bytes key = etcd_key_member(&arena, etcd->prefix, etcd->self.id);
    char *text = session_text(etcd);
    struct etcd_txn *txn = etcd_txn_begin(&arena);
    etcd_txn_if_lease(txn, key, etcd->session.lease);
    etcd_txn_put(txn, key, bytes_str(text), etcd->session.lease);
    ask_send(ask_new(etcd, ignored), ETCD_TXN, etcd_txn_end(txn));
    free(text);
    arena_deinit(&arena);
}

/* Whether it is not answered yet. */
static bool ask_waits(const struct etcd *etcd, const struct etcd_ask *ask)
{
    for (struct list_node *n = list_first(&etcd->asks); n != NULL; n = list_next(&etcd->asks, n)) {
        if (CONTAINER_OF(n, struct etcd_ask, node) == ask) {
            return true;
        }
    }
    return false;
}

void session_end(struct etcd *etcd)
{
    struct etcd_session *session = &etcd->session;
    if (session->lease == 0) {
        return;
    }
    const struct etcd_ask *goodbye = revoke(etcd);
    session->wanted = false;
    session->lease = 0;
    session->turn++;
    int64_t left_us = GOODBYE_US;
    const int64_t until_us = env_mono_us(etcd->env) + left_us;
    (void)etcd_link_turn(etcd->link);
    while (ask_waits(etcd, goodbye) && left_us > 0) {
        struct pollfd fd = {.fd = etcd_link_fd(etcd->link), .events = POLLIN};
        (void)poll(&fd, 1, (int)(left_us / 1000) + 1);
        (void)etcd_link_turn(etcd->link);
        left_us = until_us - env_mono_us(etcd->env);
    }
}

/* --- time --- */

static bool renewed(struct etcd_ask *ask, const struct etcd_answer *answer, struct arena *arena)
{
    struct etcd *etcd = ask->etcd;
    struct etcd_session *session = &etcd->session;
    int64_t ttl_s = 0;
    if (answer->status != 0) {
        return true; /* the next one is due soon */
    }
    if (!etcd_lease_kept(arena, answer->reply, &ttl_s)) {
        return false;
    }
    if (ask->turn != session->turn || session->lease == 0) {
        return true;
    }
    if (ttl_s <= 0) {
        session_lost(etcd);
    } else if (answer->asked_us > session->renewed_us) {
        session->renewed_us = answer->asked_us;
    }
    return true;
}

static void renew(struct etcd *etcd)
{
    struct arena arena;
    arena_init(&arena);
    struct etcd_ask *ask = ask_new(etcd, renewed);
    ask->turn = etcd->session.turn;
    ask_send_once(ask, ETCD_LEASE_KEEP_ALIVE, etcd_lease_keep_alive(&arena, etcd->session.lease));
    arena_deinit(&arena);
}

void session_turn(struct etcd *etcd, int64_t now_us)
{
    struct etcd_session *session = &etcd->session;
    if (session->lease != 0 && now_us >= session->renewed_us + session->ttl_us) {
        session_lost(etcd);
    } else if (session->lease != 0 && now_us >= session->renew_us) {
        session->renew_us = now_us + session->ttl_us / RENEWALS_PER_TTL;
        renew(etcd);
    }
    if (session->wanted && session->lease == 0 && now_us >= session->again_us) {
        session_grant(etcd);
    }
}

int64_t session_next_us(const struct etcd *etcd)
{
    const struct etcd_session *session = &etcd->session;
    if (session->lease == 0) {
        return session->wanted ? session->again_us : INT64_MAX;
    }
    const int64_t end_us = session->renewed_us + session->ttl_us;
    return session->renew_us < end_us ? session->renew_us : end_us;
}

int64_t session_until_us(const struct etcd *etcd)
{
    const struct etcd_session *session = &etcd->session;
    return session->confirmed ? session->renewed_us + session->ttl_us : INT64_MIN;
}
