/*
 * coord/etcd/mirror.c - the newest map: its home is the store, and etcd says which one it is.
 *
 *     {"number": 12, "cluster": "<uuid>"}
 *
 * A claim compares this key, so nobody takes a shard by a map that is not the newest. A map that
 * was read or made is told only when etcd names it; whoever sees etcd behind the store brings it
 * up. So a node that dies between both steps of a commit leaves nothing to be mended, and an etcd
 * that was set back cannot bring back an older map. A store that is behind etcd is read again;
 * one of another cluster is refused.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/log.h"
#include "coord/etcd/etcd_int.h"
#include "coord/etcd/keys.h"
#include "coord/etcd/txn.h"

#define MIRROR_TEXT_MAX 4096u

void mirror_init(struct etcd *etcd, const struct coord_options *options)
{
    map_home_init(&etcd->mirror.home, options->env, options->store, options->store_timeout_ms);
    etcd->mirror.again_us = INT64_MAX;
}

void mirror_deinit(struct etcd *etcd)
{
    map_home_deinit(&etcd->mirror.home);
    free(etcd->mirror.commit_text);
    free(etcd->mirror.held_text);
}

/* --- what etcd says --- */

void mirror_learn(struct etcd *etcd, const struct etcd_row *row, uint64_t revision)
{
    struct etcd_mirror *mirror = &etcd->mirror;
    const uint64_t before = mirror->number;
    if (revision < mirror->revision) {
        return; /* the watch was quicker than an answer */
    }
    mirror->known = true;
    mirror->revision = revision;
    mirror->mod = row != NULL ? row->mod : 0;
    mirror->number = 0;
    mirror->cluster[0] = '\0';
    if (row != NULL && row->value.len <= MIRROR_TEXT_MAX) {
        json_t *root = json_loadb((const char *)row->value.ptr, row->value.len, 0, NULL);
        const json_int_t number = json_integer_value(json_object_get(root, "number"));
        const char *cluster = json_string_value(json_object_get(root, "cluster"));
        mirror->number = number > 0 ? (uint64_t)number : 0;
        (void)snprintf(mirror->cluster, sizeof mirror->cluster, "%s",
                       cluster != NULL ? cluster : "");
        json_decref(root);
    }
    if (mirror->number > before && mirror->step == MIRROR_IDLE) {
        mirror->read_wanted = true; /* somebody has made a new map */
    }
}

void mirror_list(struct etcd *etcd, const struct etcd_row *row, uint64_t revision)
{
    etcd->mirror.revision = 0;
    mirror_learn(etcd, row, revision);
}

/* --- what the store says --- */

static void hold(struct etcd_mirror *mirror, bool commit, uint64_t number, struct bytes text)
{
    free(mirror->held_text);
    mirror->held_text = xcalloc(text.len + 1, 1);
    if (text.len > 0) {
        memcpy(mirror->held_text, text.ptr, text.len);
    }
    mirror->held_len = text.len;
    mirror->held_number = number;
    mirror->held_commit = commit;
    mirror->held_cluster[0] = '\0';
    mirror->step = MIRROR_HOLDS;
    mirror->again_us = INT64_MIN;
    struct cluster_map map;
    if (number != 0 && cluster_record_decode("", text, &map, NULL).code == SILO_OK) {
        uuid_format(&map.cluster_id, mirror->held_cluster);
        cluster_map_deinit(&map);
    }
}

static void held_tell(struct etcd *etcd)
{
    struct etcd_mirror *mirror = &etcd->mirror;
    struct etcd_news *news = news_add(etcd, mirror->held_commit ? EVENT_MAP_COMMITTED : EVENT_MAP);
    news->event.number = mirror->held_number;
    if (!mirror->held_commit) {
        news->event.text = arena_copy(&news->arena, bytes_of(mirror->held_text, mirror->held_len));
    }
    mirror->step = MIRROR_IDLE;
    mirror->trouble = (struct silo_err){0};
    /* A later one is to be read; unless this is the reader's own answer, it was told of already. */
    mirror->read_wanted = mirror->read_wanted || mirror->number > mirror->held_number;
}

/* --- bringing etcd up --- */

static bool raised(struct etcd_ask *ask, const struct etcd_answer *answer, struct arena *arena)
{
    struct etcd *etcd = ask->etcd;
    struct etcd_txn_answer txn;
    if (!etcd_txn_read(arena, answer->reply, &txn)) {
        return false;
    }
    struct etcd_mirror *mirror = &etcd->mirror;
    mirror->asking = false;
    mirror->again_us = INT64_MIN;
    if (!txn.done) {
        mirror_learn(etcd, txn.rows[0].mod != 0 ? &txn.rows[0] : NULL, txn.revision);
    } else if (txn.revision >= mirror->revision) {
        mirror->mod = mirror->revision = txn.revision;
        mirror->number = ask->expected;
        (void)snprintf(mirror->cluster, sizeof mirror->cluster, "%s", ask->text);
    }
    return true;
}

static void raise_mirror(struct etcd *etcd)
{
    struct etcd_mirror *mirror = &etcd->mirror;
    struct arena arena;
    arena_init(&arena);
    const struct bytes key = etcd_key_map(&arena, etcd->prefix);
    const char *text = arena_printf(&arena, "{\"number\": %" PRIu64 ", \"cluster\": \"%s\"}",
                                    mirror->held_number, mirror->held_cluster);
    struct etcd_txn *txn = etcd_txn_begin(&arena);
    etcd_txn_if_mod(txn, key, mirror->mod);
    etcd_txn_put(txn, key, bytes_str(text), 0);
    etcd_txn_else_get(txn, key);
    struct etcd_ask *ask = ask_new(etcd, raised);
    ask->expected = mirror->held_number;
    ask->text = xstrdup(mirror->held_cluster);
    mirror->asking = true;
    ask_send(ask, ETCD_TXN, etcd_txn_end(txn));
    arena_deinit(&arena);
}

/* --- both together --- */

static void refuse(struct etcd_mirror *mirror, enum silo_code code, const char *text)
{
    rc_ignore(FAIL(&mirror->trouble, code, "%s", text), "it fills the trouble");
}

static void read_again(struct etcd *etcd, int64_t now_us)
{
    etcd->mirror.step = MIRROR_IDLE;
    etcd->mirror.read_wanted = true;
    etcd->mirror.again_us = now_us + ETCD_AGAIN_US;
}

/* Etcd knows of a map that the store does not have. */
static void store_behind(struct etcd *etcd, int64_t now_us)
{
    struct etcd_mirror *mirror = &etcd->mirror;
    char text[SILO_ERR_TEXT_MAX];
    if (mirror->held_number == 0) {
        (void)snprintf(text, sizeof text,
                       "etcd has cluster %s below coordination.cluster_prefix, and the object "
                       "store has none: one of both is the wrong one; for a new cluster take "
                       "another prefix",
                       mirror->cluster);
        refuse(mirror, SILO_PRECONDITION, text);
    } else {
        (void)snprintf(text, sizeof text,
                       "etcd says that map %" PRIu64
                       " is the newest, and the newest in the object store is %" PRIu64,
                       mirror->number, mirror->held_number);
        refuse(mirror, SILO_UNAVAILABLE, text);
    }
    read_again(etcd, now_us);
}

/* The store has a cluster that was not made just here, and etcd knows nothing of it. */
static void etcd_empty_say(const struct etcd *etcd)
{
    log_warn("coordinator_empty", LOG_STR("prefix", etcd->prefix),
             LOG_STR("cluster", etcd->mirror.held_cluster),
             LOG_STR("text", "the object store has this cluster, and etcd has none below "
                             "coordination.cluster_prefix: right for a cluster that was made this "
                             "moment, or is new to this etcd, or if etcd lost its data. Servers "
                             "that have it below another prefix, or in another etcd, would take "
                             "its shards from these, and these from them"),
             LOG_END);
}

static void held_turn(struct etcd *etcd, int64_t now_us)
{
    struct etcd_mirror *mirror = &etcd->mirror;
    if (mirror->asking || !mirror->known) {
        return;
    }
    const bool named = mirror->held_cluster[0] != '\0';
    if (named && mirror->cluster[0] != '\0' && strcmp(mirror->cluster, mirror->held_cluster) != 0) {
        char text[SILO_ERR_TEXT_MAX];
        (void)snprintf(text, sizeof text,
                       "etcd has cluster %s below coordination.cluster_prefix, and the object "
                       "store has cluster %s: each cluster needs a prefix of its own",
                       mirror->cluster, mirror->held_cluster);
        refuse(mirror, SILO_PRECONDITION, text);
        read_again(etcd, now_us);
    } else if (mirror->number > mirror->held_number && !mirror->held_commit) {
        store_behind(etcd, now_us);
    } else if (mirror->number >= mirror->held_number || !named) {
        held_tell(etcd); /* what cannot be read is for others to refuse */
    } else {
        if (mirror->number == 0 && !mirror->held_commit) {
            etcd_empty_say(etcd);
        }
        raise_mirror(etcd);
    }
}

static void home_event(struct etcd *etcd, const struct cluster_event *event)
{
    struct etcd_mirror *mirror = &etcd->mirror;
    if (event->kind == EVENT_MAP) {
        hold(mirror, false, event->number, event->text);
    } else if (event->kind == EVENT_MAP_COMMITTED) {
        const struct bytes text = bytes_of(mirror->commit_text, mirror->commit_len);
        hold(mirror, true, event->number, text);
    } else {
        mirror->step = MIRROR_IDLE;
        news_add(etcd, event->kind)->event.number = event->number;
    }
}

static void begin(struct etcd *etcd, int64_t now_us)
{
    struct etcd_mirror *mirror = &etcd->mirror;
    if (mirror->commit_number != 0) {
        mirror->step = MIRROR_COMMITS;
        map_home_commit(&mirror->home, mirror->commit_number,
                        bytes_of(mirror->commit_text, mirror->commit_len));
        mirror->commit_number = 0;
    } else if (mirror->read_wanted &&
               (mirror->again_us == INT64_MAX || now_us >= mirror->again_us)) {
        mirror->read_wanted = false;
        mirror->step = MIRROR_READS;
        map_home_read(&mirror->home);
    }
}

void mirror_read(struct etcd *etcd)
{
    etcd->mirror.read_wanted = true;
    etcd->mirror.again_us = INT64_MIN;
}

void mirror_commit(struct etcd *etcd, uint64_t number, struct bytes text)
{
    struct etcd_mirror *mirror = &etcd->mirror;
    ASSERT(mirror->commit_number == 0 && mirror->step != MIRROR_COMMITS);
    free(mirror->commit_text);
    mirror->commit_text = xcalloc(text.len + 1, 1);
    memcpy(mirror->commit_text, text.ptr, text.len);
    mirror->commit_len = text.len;
    mirror->commit_number = number;
}

void mirror_turn(struct etcd *etcd, int64_t now_us)
{
    struct etcd_mirror *mirror = &etcd->mirror;
    if (mirror->step == MIRROR_IDLE) {
        begin(etcd, now_us);
    }
    (void)map_home_turn(&mirror->home);
    struct cluster_event event;
    while (map_home_event(&mirror->home, &event)) {
        home_event(etcd, &event);
    }
    if (mirror->step == MIRROR_HOLDS) {
        held_turn(etcd, now_us);
    }
    if (mirror->step == MIRROR_IDLE) {
        begin(etcd, now_us);
        (void)map_home_turn(&mirror->home);
    }
}

int64_t mirror_next_us(const struct etcd *etcd)
{
    const struct etcd_mirror *mirror = &etcd->mirror;
    if (mirror->step == MIRROR_IDLE && mirror->read_wanted) {
        return mirror->again_us;
    }
    return INT64_MAX;
}
