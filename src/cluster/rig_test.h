/*
 * cluster/rig_test.h - one node of src/cluster by hand, for unit tests: what it is told, and what
 * it asks for next.
 *
 * Ownership  rig_new .. rig_free.
 * Threads    one.
 */
#ifndef SILO_CLUSTER_RIG_TEST_H
#define SILO_CLUSTER_RIG_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/assert.h"
#include "cluster/cluster.h"
#include "cluster/question.h"

#define SELF "me"

struct rig {
    struct cluster *cluster;
    int64_t now_ms;
    struct cluster_map map;
    char *text;
};

static inline struct rig rig_new(uint32_t shards, bool guarded)
{
    struct rig rig = {.now_ms = 1000};
    const struct cluster_options options = {.self = {.id = SELF, .nonce = 7, .address = "a:1"},
                                            .settings = {.shard_count = shards},
                                            .seed = "seed",
                                            .guarded = guarded,
                                            .ttl_ms = 3000};
    rig.cluster = cluster_new(&options, rig.now_ms);
    assert_int_equal(cluster_map_make(&options.settings, options.seed, &rig.map, NULL).code,
                     SILO_OK);
    rig.text = cluster_record_encode(&rig.map);
    return rig;
}

static inline void rig_free(struct rig *rig)
{
    cluster_free(rig->cluster);
    cluster_map_deinit(&rig->map);
    free(rig->text);
}

static inline void tell(struct rig *rig, struct cluster_event event)
{
    cluster_event(rig->cluster, &event);
}

static inline void tell_shard(struct rig *rig, enum cluster_event_kind kind, size_t shard)
{
    tell(rig, (struct cluster_event){.kind = kind, .shard = rig->map.shards[shard].id, .epoch = 9});
}

static inline void tell_owner(struct rig *rig, enum cluster_event_kind kind, size_t shard,
                              const char *holder)
{
    const struct cluster_owner owner = {
        .shard = rig->map.shards[shard].id, .holder = holder, .epoch = 5};
    tell(rig, (struct cluster_event){.kind = kind, .owners = &owner, .owner_count = 1});
}

static inline void tell_members(struct rig *rig, const char *const *others, size_t count)
{
    struct cluster_member members[8] = {{.id = SELF, .nonce = 7, .address = "a:1"}};
    for (size_t i = 0; i < count; i++) {
        members[i + 1] = (struct cluster_member){.id = others[i], .nonce = 1, .address = "b:2"};
    }
    tell(rig, (struct cluster_event){
                  .kind = EVENT_MEMBERS, .members = members, .member_count = count + 1});
}

static inline struct cluster_action next(struct rig *rig, enum cluster_action_kind kind)
{
    struct cluster_action action = {0};
    assert_true(cluster_action_next(rig->cluster, &action));
    assert_int_equal(action.kind, kind);
    return action;
}

static inline void nothing_next(struct rig *rig)
{
    struct cluster_action action;
    assert_false(cluster_action_next(rig->cluster, &action));
}

static inline void skip_all(struct rig *rig)
{
    struct cluster_action action;
    while (cluster_action_next(rig->cluster, &action)) {
        /* looked at elsewhere */
    }
}

/* The next action of that kind, past all others. */
static inline struct cluster_action skip_to(struct rig *rig, enum cluster_action_kind kind)
{
    struct cluster_action action = {0};
    do {
        assert_true(cluster_action_next(rig->cluster, &action));
    } while (action.kind != kind);
    return action;
}

static inline size_t count_next(struct rig *rig, enum cluster_action_kind kind)
{
    struct cluster_action action;
    size_t count = 0;
    while (cluster_action_next(rig->cluster, &action)) {
        count += action.kind == kind ? 1 : 0;
    }
    return count;
}

static inline void pass(struct rig *rig, int64_t by_ms)
{
    rig->now_ms += by_ms;
    cluster_set_time(rig->cluster, rig->now_ms);
}

/* A member that knows the map, whose shards are free. */
static inline struct rig rig_joined(uint32_t shards, bool guarded)
{
    struct rig rig = rig_new(shards, guarded);
    (void)next(&rig, ACTION_JOIN);
    tell(&rig, (struct cluster_event){.kind = EVENT_CONFIRMED});
    tell_members(&rig, NULL, 0);
    tell(&rig, (struct cluster_event){.kind = EVENT_OWNERS});
    (void)next(&rig, ACTION_READ_MAP);
    nothing_next(&rig);
    tell(&rig, (struct cluster_event){.kind = EVENT_MAP, .number = 1, .text = bytes_str(rig.text)});
    return rig;
}

/* One shard, open here. */
static inline struct rig rig_open(bool guarded)
{
    struct rig rig = rig_joined(1, guarded);
    skip_all(&rig);
    if (guarded) {
        tell_shard(&rig, EVENT_WRITER, 0);
        skip_all(&rig);
    }
    tell_shard(&rig, EVENT_CLAIMED, 0);
    (void)next(&rig, ACTION_OPEN);
    tell(&rig, (struct cluster_event){.kind = EVENT_OPENING,
                                      .shard = rig.map.shards[0].id,
                                      .ref = {.slot = 3, .generation = 1}});
    tell_shard(&rig, EVENT_OPENED, 0);
    skip_all(&rig);
    return rig;
}

static inline enum directory_place place_of(const struct rig *rig, size_t shard)
{
    struct directory *directory = cluster_directory(rig->cluster);
    const struct directory_shard *entry = directory_find(directory, &rig->map.shards[shard].id);
    assert_non_null(entry);
    const enum directory_place place = entry->place;
    directory_unref(directory);
    return place;
}

#endif
