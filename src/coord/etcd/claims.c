/*
 * coord/etcd/claims.c - what is done to one owner record, each by one transaction.
 *
 *     claim        my member key is under my lease, the newest map is the one I know, and
 *                  either there is no record, or it is of the revision I know and its holder's
 *                  member key is not there                                -> owner = me
 *     hand over    the record is of that revision, the successor's member key is there
 *                                                                         -> owner = successor
 *     release      the record is of that revision                         -> no record
 *     force        the same, and unless it is forced its holder's member key is not there
 *
 * The revision that put a record is its epoch. A transaction whose answer was lost is sent again:
 * if the first one was carried out, the second finds the record changed, and reads at the same
 * moment whom it names now; so it is known what came of it.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "coord/etcd/etcd_int.h"
#include "coord/etcd/keys.h"
#include "coord/etcd/txn.h"

/* --- what all have in common --- */

struct deed {
    struct arena arena;
    struct etcd_txn *txn;
    struct bytes owner;
};

static void deed_begin(struct deed *deed, const struct etcd *etcd, const struct uuid *shard,
                       uint64_t expected)
{
    arena_init(&deed->arena);
    deed->txn = etcd_txn_begin(&deed->arena);
    deed->owner = etcd_key_owner(&deed->arena, etcd->prefix, shard);
    etcd_txn_if_mod(deed->txn, deed->owner, expected);
    etcd_txn_else_get(deed->txn, deed->owner);
}

static struct bytes member_key(struct deed *deed, const struct etcd *etcd, const char *id)
{
    return etcd_key_member(&deed->arena, etcd->prefix, id);
}

static void deed_send(struct deed *deed, struct etcd_ask *ask, const struct uuid *shard,
                      uint64_t expected)
{
    ask->shard = *shard;
    ask->expected = expected;
    ask_send(ask, ETCD_TXN, etcd_txn_end(deed->txn));
    arena_deinit(&deed->arena);
}

/*
 * The record after the transaction: `to` if it was carried out. Tells what is new, as a change, if
 * `tell` is set.
 */
static const struct etcd_record *deed_learn(struct etcd_ask *ask, const struct etcd_txn_answer *txn,
                                            const char *to, bool tell)
{
    struct etcd *etcd = ask->etcd;
    const struct etcd_row *row = &txn->rows[0];
    const struct etcd_record *known = record_find(etcd, &ask->shard);
    const uint64_t before = known != NULL ? known->epoch : 0;
    if (txn->done) {
        (void)record_learn(etcd, &ask->shard, bytes_str(to), *to != '\0' ? txn->revision : 0,
                           txn->revision);
    } else {
        (void)record_learn(etcd, &ask->shard, row->value, row->mod, txn->revision);
    }
    known = record_find(etcd, &ask->shard);
    if (tell && known != NULL && known->epoch != before) {
        record_tell(etcd, EVENT_OWNER, &ask->shard);
    }
    return known;
}

static bool record_names(const struct etcd_record *record, const char *id)
{
    return record != NULL && record->epoch != 0 && strcmp(record->holder, id) == 0;
}

/* --- claiming --- */

static void claim_lost(struct etcd *etcd, const struct uuid *shard)
{
    news_shard(etcd, EVENT_CLAIM_LOST, shard, 0);
}

static bool claim_answered(struct etcd_ask *ask, const struct etcd_answer *answer,
                           struct arena *arena)
{
    struct etcd *etcd = ask->etcd;
    struct etcd_txn_answer txn;
    if (!etcd_txn_read(arena, answer->reply, &txn)) {
        return false;
    }
    const struct etcd_record *known = record_find(etcd, &ask->shard);
    const uint64_t before = known != NULL ? known->epoch : 0;
    known = deed_learn(ask, &txn, etcd->self.id, false);
    if (record_names(known, etcd->self.id) && known->epoch != ask->expected) {
        news_shard(etcd, EVENT_CLAIMED, &ask->shard, known->epoch);
        return true;
    }
    claim_lost(etcd, &ask->shard);
    if (known != NULL && known->epoch != before) {
        record_tell(etcd, EVENT_OWNER, &ask->shard);
    }
    return true;
}

void claims_claim(struct etcd *etcd, const struct uuid *shard, uint64_t expected, uint64_t map)
{
    const struct etcd_record *record = record_find(etcd, shard);
    const uint64_t epoch = record != NULL ? record->epoch : 0;
    const bool map_known = etcd->mirror.known && etcd->mirror.number == map;
    if (!etcd->session.confirmed || epoch != expected || !map_known) {
        claim_lost(etcd, shard); /* it rests on what is no longer so: the news is on its way */
        return;
    }
    struct deed deed;
    deed_begin(&deed, etcd, shard, expected);
    etcd_txn_if_lease(deed.txn, member_key(&deed, etcd, etcd->self.id), etcd->session.lease);
    etcd_txn_if_mod(deed.txn, etcd_key_map(&deed.arena, etcd->prefix), etcd->mirror.mod);
    if (expected != 0 && !record_names(record, etcd->self.id)) {
        etcd_txn_if_mod(deed.txn, member_key(&deed, etcd, record->holder), 0);
    }
    etcd_txn_put(deed.txn, deed.owner, bytes_str(etcd->self.id), 0);
    deed_send(&deed, ask_new(etcd, claim_answered), shard, expected);
}

/* --- giving up --- */

static bool release_answered(struct etcd_ask *ask, const struct etcd_answer *answer,
                             struct arena *arena)
{
    struct etcd *etcd = ask->etcd;
    struct etcd_txn_answer txn;
    if (!etcd_txn_read(arena, answer->reply, &txn)) {
        return false;
    }
    const struct etcd_record *known = deed_learn(ask, &txn, "", !txn.done);
    if (record_names(known, etcd->self.id)) { /* by a claim that was overtaken */
        claims_release(etcd, &ask->shard, known->epoch);
    } else {
        news_shard(etcd, EVENT_RELEASED, &ask->shard, 0);
    }
    return true;
}

void claims_release(struct etcd *etcd, const struct uuid *shard, uint64_t epoch)
{
    struct deed deed;
    deed_begin(&deed, etcd, shard, epoch);
    etcd_txn_delete(deed.txn, deed.owner);
    deed_send(&deed, ask_new(etcd, release_answered), shard, epoch);
}

static bool hand_over_answered(struct etcd_ask *ask, const struct etcd_answer *answer,
                               struct arena *arena)
{
    struct etcd *etcd = ask->etcd;
    struct etcd_txn_answer txn;
    if (!etcd_txn_read(arena, answer->reply, &txn)) {
        return false;
    }
    const struct etcd_record *known = deed_learn(ask, &txn, ask->text, false);
    if (record_names(known, ask->text) && known->epoch != ask->expected) {
        news_shard(etcd, EVENT_HANDED_OVER, &ask->shard, known->epoch);
        return true;
    }
    news_shard(etcd, EVENT_HAND_OVER_LOST, &ask->shard, 0);
    if (known != NULL && known->epoch != ask->expected) {
        record_tell(etcd, EVENT_OWNER, &ask->shard);
    }
    return true;
}

void claims_hand_over(struct etcd *etcd, const struct uuid *shard, uint64_t epoch, const char *to)
{
    struct deed deed;
    deed_begin(&deed, etcd, shard, epoch);
    etcd_txn_if_there(deed.txn, member_key(&deed, etcd, to));
    etcd_txn_put(deed.txn, deed.owner, bytes_str(to), 0);
    struct etcd_ask *ask = ask_new(etcd, hand_over_answered);
    ask->text = xstrdup(to);
    deed_send(&deed, ask, shard, epoch);
}

/* --- forcing --- */

static void forced(struct etcd *etcd, const struct uuid *shard, enum silo_code code,
                   const char *text)
{
    struct etcd_news *news = news_add(etcd, EVENT_FORCED);
    news->event.shard = *shard;
    news->event.rc = (silo_rc){code};
    news->event.text = arena_copy(&news->arena, bytes_str(text));
}

static bool force_answered(struct etcd_ask *ask, const struct etcd_answer *answer,
                           struct arena *arena)
{
    struct etcd *etcd = ask->etcd;
    struct etcd_txn_answer txn;
    if (!etcd_txn_read(arena, answer->reply, &txn)) {
        return false;
    }
    const struct etcd_record *known = deed_learn(ask, &txn, "", true);
    if (known == NULL || known->epoch == 0) {
        forced(etcd, &ask->shard, SILO_OK, "");
    } else if (known->epoch == ask->expected) {
        forced(etcd, &ask->shard, SILO_PRECONDITION, known->holder);
    } else {
        forced(etcd, &ask->shard, SILO_CONFLICT, "the record has changed meanwhile");
    }
    return true;
}

void claims_force(struct etcd *etcd, const struct uuid *shard, uint64_t expected, bool force)
{
    const struct etcd_record *record = record_find(etcd, shard);
    if (record == NULL || record->epoch != expected) {
        forced(etcd, shard, SILO_CONFLICT, "the record has changed meanwhile");
        return;
    }
    struct deed deed;
    deed_begin(&deed, etcd, shard, expected);
    if (!force && expected != 0) {
        etcd_txn_if_mod(deed.txn, member_key(&deed, etcd, record->holder), 0);
    }
    etcd_txn_delete(deed.txn, deed.owner);
    deed_send(&deed, ask_new(etcd, force_answered), shard, expected);
}

/* --- reading --- */

static bool read_answered(struct etcd_ask *ask, const struct etcd_answer *answer,
                          struct arena *arena)
{
    struct etcd *etcd = ask->etcd;
    struct etcd_rows rows;
    if (!etcd_rows_read(arena, answer->reply, &rows)) {
        return false;
    }
    const struct etcd_row none = {.value = BYTES_LIT("")};
    const struct etcd_row *row = rows.count > 0 ? &rows.rows[0] : &none;
    (void)record_learn(etcd, &ask->shard, row->value, row->mod, rows.revision);
    record_tell(etcd, EVENT_OWNER_READ, &ask->shard); /* what is known is no older than the call */
    return true;
}

void claims_read(struct etcd *etcd, const struct uuid *shard)
{
    struct arena arena;
    arena_init(&arena);
    struct etcd_ask *ask = ask_new(etcd, read_answered);
    ask->shard = *shard;
    ask_send(ask, ETCD_RANGE,
             etcd_range(&arena, etcd_key_owner(&arena, etcd->prefix, shard), BYTES_LIT("")));
    arena_deinit(&arena);
}
