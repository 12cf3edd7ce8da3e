/*
 * coord/behaviour/cases_test.c - the cases of world_test.h.
 *
 * An actor is one member: its coordinator, and what it was told. Nothing here waits for a time that
 * is not a lease's; every wait has an end.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/assert.h"
#include "cluster/map.h"
#include "coord/behaviour/world_test.h"

#define ACTORS 3
#define SHARDS 4
#define NAME_MAX 64

struct seen_owner {
    char holder[NAME_MAX];
    uint64_t epoch;
    uint32_t claimed, lost, released, handed, hand_lost, forced, read;
    enum silo_code forced_code;
    char forced_text[NAME_MAX];
};

struct actor {
    struct coord *coord; /* NULL: there is no such actor */
    bool still;          /* it is not turned */
    uint32_t confirmed, lapsed, members_told, taken;
    uint64_t taken_nonce;
    char members[ACTORS][NAME_MAX], addresses[ACTORS][NAME_MAX];
    bool leaving[ACTORS];
    uint64_t nonces[ACTORS];
    size_t member_count, ring_count;
    uint32_t owners_told;
    struct seen_owner owners[SHARDS];
    uint32_t maps, committed, map_lost;
    uint64_t map;
    char *map_text;
};

struct play {
    struct world *world;
    uint32_t number;
    struct actor actors[ACTORS];
    struct uuid shards[SHARDS];
    char *text; /* of a map */
};

static struct play *the_play;

/* --- hearing --- */

static void name_copy(char to[NAME_MAX], const char *from)
{
    (void)snprintf(to, NAME_MAX, "%s", from);
}

static struct seen_owner *seen(struct actor *actor, const struct uuid *shard)
{
    for (size_t i = 0; i < SHARDS; i++) {
        if (uuid_eq(&the_play->shards[i], shard)) {
            return &actor->owners[i];
        }
    }
    fail_msg("it was told of a shard that there is not");
    return &actor->owners[0];
}

static void hear_owner(struct actor *actor, const struct cluster_owner *owner)
{
    struct seen_owner *to = seen(actor, &owner->shard);
    name_copy(to->holder, owner->holder);
    to->epoch = owner->epoch;
}

static void hear_members(struct actor *actor, const struct cluster_event *event)
{
    actor->members_told++;
    assert_true(event->member_count <= ACTORS);
    actor->member_count = event->member_count;
    for (size_t i = 0; i < event->member_count; i++) {
        const struct cluster_member *member = &event->members[i];
        name_copy(actor->members[i], member->id);
        name_copy(actor->addresses[i], member->address);
        actor->leaving[i] = member->leaving;
        actor->nonces[i] = member->nonce;
        actor->ring_count = member->ring_count;
    }
}

static void hear_map(struct actor *actor, const struct cluster_event *event)
{
    actor->maps++;
    actor->map = event->number;
    free(actor->map_text);
    actor->map_text = xcalloc(event->text.len + 1, 1);
    if (event->text.len > 0) {
        memcpy(actor->map_text, event->text.ptr, event->text.len);
    }
}

static void hear_of_shard(struct actor *actor, const struct cluster_event *event)
{
    struct seen_owner *to = seen(actor, &event->shard);
    switch ((int)event->kind) {
    case EVENT_CLAIMED:
        to->claimed++;
        to->epoch = event->epoch;
        break;
    case EVENT_CLAIM_LOST:
        to->lost++;
        break;
    case EVENT_RELEASED:
        to->released++;
        break;
    case EVENT_HANDED_OVER:
        to->handed++;
        to->epoch = event->epoch;
        break;
    case EVENT_HAND_OVER_LOST:
        to->hand_lost++;
        break;
    case EVENT_FORCED:
        to->forced++;
        to->forced_code = event->rc.code;
        (void)snprintf(to->forced_text, NAME_MAX, "%.*s", BYTES_FMT(event->text));
        break;
    default: /* of another kind */
        fail_msg("an event that no coordinator tells: %d", (int)event->kind);
    }
}

static void hear(struct actor *actor, const struct cluster_event *event)
{
    switch ((int)event->kind) {
    case EVENT_CONFIRMED:
        actor->confirmed++;
        break;
    case EVENT_LAPSED:
        actor->lapsed++;
        break;
    case EVENT_JOIN_TAKEN:
        actor->taken++;
        actor->taken_nonce = event->number;
        break;
    case EVENT_MEMBERS:
        hear_members(actor, event);
        break;
    case EVENT_OWNERS:
        actor->owners_told++;
        for (size_t i = 0; i < SHARDS; i++) {
            actor->owners[i].holder[0] = '\0';
            actor->owners[i].epoch = 0;
        }
        for (size_t i = 0; i < event->owner_count; i++) {
            hear_owner(actor, &event->owners[i]);
        }
        break;
    case EVENT_OWNER:
        hear_owner(actor, &event->owners[0]);
        break;
    case EVENT_OWNER_READ:
        hear_owner(actor, &event->owners[0]);
        seen(actor, &event->owners[0].shard)->read++;
        break;
    case EVENT_MAP:
        hear_map(actor, event);
        break;
    case EVENT_MAP_COMMITTED:
        actor->committed++;
        break;
    case EVENT_MAP_LOST:
        actor->map_lost++;
        break;
    default: /* about a shard */
        hear_of_shard(actor, event);
        break;
    }
}

static void step(void)
{
    struct coord *coords[ACTORS];
    size_t count = 0;
    for (size_t i = 0; i < ACTORS; i++) {
        struct actor *actor = &the_play->actors[i];
        if (actor->coord != NULL && !actor->still) {
            struct cluster_event event;
            (void)actor->coord->ops->turn(actor->coord);
            while (actor->coord->ops->next_event(actor->coord, &event)) {
                hear(actor, &event);
            }
            coords[count++] = actor->coord;
        }
    }
    the_play->world->step(the_play->world, coords, count);
}

static int64_t now_ms(void)
{
    return the_play->world->now_ms(the_play->world);
}

#define AWAIT(condition)                                                    \
    do {                                                                    \
        const int64_t end_ms_ = now_ms() + the_play->world->wait_ms;        \
        while (!(condition)) {                                              \
            if (now_ms() > end_ms_) {                                       \
                fail_msg("line %d: in vain for: %s", __LINE__, #condition); \
            }                                                               \
            step();                                                         \
        }                                                                   \
    } while (0)

static void pass(int64_t ms)
{
    const int64_t end_ms = now_ms() + ms;
    while (now_ms() < end_ms) {
        step();
    }
}

/* --- acting --- */

static struct actor *enter(size_t index, const char *id, uint64_t nonce)
{
    struct actor *actor = &the_play->actors[index];
    actor->coord = the_play->world->member(the_play->world, the_play->number, id, nonce);
    return actor;
}

static void leave(struct actor *actor)
{
    actor->coord = coord_free(actor->coord);
    free(actor->map_text);
    *actor = (struct actor){0};
}

static void join(struct actor *actor)
{
    actor->coord->ops->join(actor->coord, false);
    AWAIT(actor->confirmed > actor->lapsed);
    AWAIT(actor->members_told > 0 && actor->owners_told > 0);
}

static struct actor *member(size_t index, const char *id)
{
    struct actor *actor = enter(index, id, 100 + index);
    join(actor);
    return actor;
}

static void read_map(struct actor *actor)
{
    const uint32_t before = actor->maps;
    actor->coord->ops->read_map(actor->coord);
    AWAIT(actor->maps > before);
}

/* Each actor's text is another one: a newline more or less. */
static void commit_begin(const struct actor *actor, uint64_t number)
{
    const size_t more = (size_t)(actor - the_play->actors);
    const size_t len = strlen(the_play->text) - (ACTORS - more);
    actor->coord->ops->commit_map(actor->coord, number, bytes_of(the_play->text, len));
}

static void commit_map(struct actor *actor, uint64_t number)
{
    const uint32_t before = actor->committed + actor->map_lost;
    commit_begin(actor, number);
    AWAIT(actor->committed + actor->map_lost > before);
}

/* The first member makes the map. */
static struct actor *founder(const char *id)
{
    struct actor *actor = member(0, id);
    read_map(actor);
    assert_int_equal(actor->map, 0);
    commit_map(actor, 1);
    assert_int_equal(actor->committed, 1);
    return actor;
}

static struct actor *follower(size_t index, const char *id)
{
    struct actor *actor = member(index, id);
    read_map(actor);
    assert_int_equal(actor->map, 1);
    return actor;
}

/* Whether it was granted. */
static bool claim_by(struct actor *actor, size_t shard, uint64_t expected, uint64_t map)
{
    struct seen_owner *to = &actor->owners[shard];
    const uint32_t claimed = to->claimed, before = to->claimed + to->lost;
    actor->coord->ops->claim(actor->coord, &the_play->shards[shard], expected, map);
    AWAIT(to->claimed + to->lost > before);
    return to->claimed > claimed;
}

static bool claim(struct actor *actor, size_t shard)
{
    return claim_by(actor, shard, actor->owners[shard].epoch, 1);
}

static void release(struct actor *actor, size_t shard, uint64_t epoch)
{
    const uint32_t before = actor->owners[shard].released;
    actor->coord->ops->release(actor->coord, &the_play->shards[shard], epoch);
    AWAIT(actor->owners[shard].released > before);
}

/* Whether it was done. */
static bool hand_over(struct actor *actor, size_t shard, uint64_t epoch, const char *to)
{
    struct seen_owner *owner = &actor->owners[shard];
    const uint32_t handed = owner->handed, before = owner->handed + owner->hand_lost;
    actor->coord->ops->hand_over(actor->coord, &the_play->shards[shard], epoch, to);
    AWAIT(owner->handed + owner->hand_lost > before);
    return owner->handed > handed;
}

static enum silo_code force(struct actor *actor, size_t shard, uint64_t expected, bool force)
{
    struct seen_owner *owner = &actor->owners[shard];
    const uint32_t before = owner->forced;
    actor->coord->ops->force_release(actor->coord, &the_play->shards[shard], expected, force);
    AWAIT(owner->forced > before);
    return owner->forced_code;
}

static void read_owner(struct actor *actor, size_t shard)
{
    const uint32_t before = actor->owners[shard].read;
    actor->coord->ops->read_owner(actor->coord, &the_play->shards[shard]);
    AWAIT(actor->owners[shard].read > before);
}

static bool owner_is(const struct actor *actor, size_t shard, const char *holder)
{
    return strcmp(actor->owners[shard].holder, holder) == 0;
}

static bool sees(const struct actor *actor, const char *id)
{
    for (size_t i = 0; i < actor->member_count; i++) {
        if (strcmp(actor->members[i], id) == 0) {
            return true;
        }
    }
    return false;
}

/* Joins again if it has to: whether a lease outlives its servers is a matter of time. */
static void claim_at_last(struct actor *actor, size_t shard)
{
    const int64_t end_ms = now_ms() + the_play->world->wait_ms;
    while (!claim(actor, shard)) {
        assert_true(now_ms() < end_ms);
        if (actor->lapsed == actor->confirmed) {
            join(actor);
        }
        step();
    }
}

static void command(const char *text)
{
    the_play->world->command(the_play->world, text);
}

/* --- members --- */

/* How long the actor is a member at least, by its own word. */
static int64_t until_ms(const struct actor *actor)
{
    const int64_t until_us = actor->coord->ops->until_us(actor->coord);
    return until_us == INT64_MIN ? INT64_MIN : until_us / 1000;
}

static void test_who_joins_is_a_member(void **state)
{
    (void)state;
    const struct actor *a = member(0, "a");
    assert_int_equal(a->confirmed, 1);
    assert_int_equal(a->member_count, 1);
    assert_string_equal(a->members[0], "a");
    if (!the_play->world->plain) {
        assert_string_equal(a->addresses[0], "a:7450");
    }
    assert_int_equal(a->nonces[0], 100);
    assert_false(a->leaving[0]);
    assert_int_equal(a->lapsed, 0);
}

static void test_members_see_each_other(void **state)
{
    (void)state;
    struct actor *a = member(0, "a"), *b = member(1, "b");
    assert_int_equal(b->member_count, 2);
    AWAIT(a->member_count == 2 && sees(a, "b"));
    assert_true(a->ring_count == 2 || the_play->world->plain);
    b->coord->ops->leave(b->coord);
    AWAIT(a->leaving[0] || a->leaving[1]);
    assert_true(sees(a, "b")); /* it stays one until it ends */
    leave(b);
    AWAIT(a->member_count == 1 && sees(a, "a"));
}

static void test_a_silent_member_is_gone_and_what_it_has_is_not(void **state)
{
    (void)state;
    struct actor *a = founder("a"), *b = follower(1, "b");
    assert_true(claim(b, 0));
    AWAIT(owner_is(a, 0, "b"));
    assert_false(claim(a, 0)); /* its holder is a member */
    b->still = true;
    AWAIT(a->member_count == 1);
    assert_true(owner_is(a, 0, "b"));
    assert_true(claim(a, 0));
    b->still = false;
    AWAIT(b->lapsed == 1);
    AWAIT(owner_is(b, 0, "a"));
    join(b);
    AWAIT(a->member_count == 2);
    assert_false(claim(b, 0));
    assert_int_equal(a->lapsed, 0);
}

static void test_renewals_keep_a_member_and_tell_nobody(void **state)
{
    (void)state;
    const struct actor *a = member(0, "a"), *b = member(1, "b");
    AWAIT(a->member_count == 2);
    const uint32_t told = a->members_told;
    pass(2 * the_play->world->ttl_ms + 500);
    assert_int_equal(a->lapsed + b->lapsed, 0);
    assert_int_equal(a->members_told, told);
    assert_int_equal(a->member_count, 2);
}

static void test_a_lapsed_member_claims_nothing_until_it_is_one_again(void **state)
{
    (void)state;
    struct actor *a = founder("a");
    assert_true(claim(a, 0));
    const uint64_t epoch = a->owners[0].epoch;
    a->still = true;
    pass(the_play->world->ttl_ms + 1000); /* the servers' clocks may be behind */
    a->still = false;
    assert_true(until_ms(a) <= now_ms()); /* before it is turned */
    AWAIT(a->lapsed == 1);
    assert_true(the_play->world->plain || !claim(a, 1));
    join(a);
    assert_int_equal(a->confirmed, 2);
    assert_true(until_ms(a) > now_ms());
    assert_true(owner_is(a, 0, "a")); /* from before */
    assert_int_equal(a->owners[0].epoch, epoch);
    assert_true(claim(a, 0));
    assert_true(claim(a, 1));
}

static void test_who_does_not_know_that_it_lapsed_claims_nothing(void **state)
{
    (void)state;
    struct actor *a = founder("a"), *b = follower(1, "b");
    assert_true(claim(a, 0));
    a->still = true;
    command("end-leases");
    AWAIT(b->lapsed == 1);
    join(b);
    AWAIT(b->member_count == 1);
    a->still = false;
    assert_false(claim(a, 1)); /* which it asks for before it hears of anything */
    AWAIT(a->lapsed == 1);
    join(a);
    assert_true(owner_is(a, 0, "a")); /* records do not end with leases */
    assert_true(claim(a, 1));
}

static void test_one_id_is_one_process(void **state)
{
    (void)state;
    struct actor *a = enter(0, "a", 7);
    join(a);
    struct actor *b = enter(1, "a", 8);
    b->coord->ops->join(b->coord, false);
    AWAIT(b->taken == 1);
    assert_int_equal(b->taken_nonce, 7);
    pass(500);
    assert_int_equal(b->confirmed + a->lapsed, 0);
    b->coord->ops->join(b->coord, true); /* the first one is known to be dead */
    AWAIT(b->confirmed == 1);
    AWAIT(a->lapsed == 1);
    AWAIT(a->member_count == 1 && a->nonces[0] == 8); /* and sees who took its place */
    leave(a);
    pass(500);
    assert_int_equal(b->lapsed, 0); /* the end of the first is not the end of the second */
    assert_int_equal(b->member_count, 1);
}

/* --- the map --- */

static void test_a_map_is_made_once(void **state)
{
    (void)state;
    struct actor *a = founder("a"), *b = follower(1, "b");
    assert_memory_equal(b->map_text, the_play->text, strlen(b->map_text));
    assert_int_equal(strlen(b->map_text), strlen(the_play->text) - ACTORS);
    commit_map(b, 1);
    assert_int_equal(b->map_lost, 1);
    commit_map(b, 2);
    assert_int_equal(b->committed, 1);
    AWAIT(a->map == 2); /* by itself */
}

static void test_a_claim_by_an_older_map_is_lost(void **state)
{
    (void)state;
    struct actor *a = founder("a"), *b = follower(1, "b");
    a->still = true;
    commit_map(b, 2);
    a->still = false;
    assert_false(claim_by(a, 0, 0, 1)); /* before it has heard of the new one */
    AWAIT(a->map == 2);
    assert_false(claim_by(a, 0, 0, 1));
    assert_true(claim_by(a, 0, 0, 2));
    assert_false(claim_by(b, 1, 0, 3)); /* one that nobody made */
}

/* --- claims --- */

static void test_one_of_many_claims_is_granted(void **state)
{
    (void)state;
    struct actor *all[] = {founder("a"), follower(1, "b"), follower(2, "c")};
    for (size_t shard = 0; shard < SHARDS; shard++) {
        for (size_t i = 0; i < ACTORS; i++) {
            all[i]->coord->ops->claim(all[i]->coord, &the_play->shards[shard], 0, 1);
        }
    }
    for (size_t shard = 0; shard < SHARDS; shard++) {
        uint32_t granted = 0;
        for (size_t i = 0; i < ACTORS; i++) {
            struct seen_owner *owner = &all[i]->owners[shard];
            AWAIT(owner->claimed + owner->lost == 1);
            granted += owner->claimed;
        }
        assert_int_equal(granted, 1);
        AWAIT(all[0]->owners[shard].epoch == all[1]->owners[shard].epoch &&
              all[1]->owners[shard].epoch == all[2]->owners[shard].epoch);
        assert_int_not_equal(all[0]->owners[shard].epoch, 0);
    }
}

static void test_what_is_released_is_free(void **state)
{
    (void)state;
    struct actor *a = founder("a"), *b = follower(1, "b");
    assert_true(claim(a, 0));
    AWAIT(owner_is(b, 0, "a"));
    const uint64_t epoch = a->owners[0].epoch;
    release(a, 0, epoch);
    AWAIT(owner_is(b, 0, ""));
    assert_true(claim(b, 0));
    assert_int_not_equal(b->owners[0].epoch, epoch);
    release(a, 0, epoch); /* too late: it is not its own any more */
    AWAIT(owner_is(a, 0, "b"));
    read_owner(b, 0);
    assert_true(owner_is(b, 0, "b"));
}

static void test_what_is_handed_over_is_never_free(void **state)
{
    (void)state;
    struct actor *a = founder("a"), *b = follower(1, "b");
    assert_true(claim(a, 0));
    const uint64_t epoch = a->owners[0].epoch;
    assert_false(hand_over(a, 0, epoch, "nobody"));
    assert_true(hand_over(a, 0, epoch, "b"));
    AWAIT(owner_is(b, 0, "b"));
    assert_int_equal(a->owners[0].epoch, b->owners[0].epoch);
    assert_int_not_equal(b->owners[0].epoch, epoch);
    assert_false(hand_over(a, 0, epoch, "a")); /* of a record that is another by now */
    assert_false(claim_by(a, 0, b->owners[0].epoch, 1));
    assert_true(claim(b, 0)); /* its own it may claim */
}

static void test_what_is_forced_is_free(void **state)
{
    (void)state;
    struct actor *a = founder("a"), *b = follower(1, "b");
    assert_true(claim(b, 0));
    AWAIT(owner_is(a, 0, "b"));
    const uint64_t epoch = a->owners[0].epoch;
    assert_int_equal(force(a, 0, epoch, false), SILO_PRECONDITION);
    assert_string_equal(a->owners[0].forced_text, "b");
    assert_int_equal(force(a, 0, epoch + 1000, true), SILO_CONFLICT);
    assert_int_equal(force(a, 0, epoch, true), SILO_OK);
    AWAIT(owner_is(b, 0, "") && owner_is(a, 0, ""));
    assert_true(claim(a, 0));
}

static void test_a_dead_holder_is_forced_out_without_force(void **state)
{
    (void)state;
    struct actor *a = founder("a"), *b = follower(1, "b");
    assert_true(claim(b, 0));
    AWAIT(owner_is(a, 0, "b"));
    leave(b);
    AWAIT(a->member_count == 1);
    assert_true(owner_is(a, 0, "b"));
    assert_int_equal(force(a, 0, a->owners[0].epoch, false), SILO_OK);
}

static void test_a_lost_answer_is_no_refusal(void **state)
{
    (void)state;
    struct world *world = the_play->world;
    struct actor *a = founder("a"), *b = follower(1, "b");
    world->lose(world);
    assert_true(claim(a, 0));
    AWAIT(owner_is(b, 0, "a"));
    world->lose(world);
    assert_true(hand_over(a, 0, a->owners[0].epoch, "b"));
    AWAIT(owner_is(b, 0, "b"));
    world->lose(world);
    release(b, 0, b->owners[0].epoch);
    world->lose(world);
    assert_true(claim(b, 1));
    world->lose(world);
    assert_int_equal(force(b, 1, b->owners[1].epoch, true), SILO_OK);
    world->lose(world);
    commit_map(a, 2);
    assert_int_equal(a->committed, 2);
}

/* --- servers that fail --- */

/* It was overtaken by the news of a later map: who hears it last does not fall back behind that. */
static void test_a_late_answer_is_no_news(void **state)
{
    (void)state;
    struct world *world = the_play->world;
    struct actor *a = founder("a"), *b = follower(1, "b");
    world->keep(world);
    commit_begin(a, 2);
    AWAIT(b->map == 2);
    commit_map(b, 3);
    assert_true(claim_by(b, 0, 0, 3));
    AWAIT(owner_is(a, 0, "b")); /* which comes behind the later map */
    world->let(world);
    AWAIT(a->committed == 2 && a->map == 3);
    assert_true(claim_by(a, 1, 0, 3));
}

/* Whoever begins to leave before it knows that it has joined is seen to leave all the same. */
static void test_who_leaves_while_it_joins_is_seen_to_leave(void **state)
{
    (void)state;
    struct world *world = the_play->world;
    const struct actor *a = founder("a");
    const struct actor *b = enter(1, "b", 101);
    world->keep(world);
    b->coord->ops->join(b->coord, false);
    AWAIT(a->member_count == 2);
    b->coord->ops->leave(b->coord);
    world->let(world);
    AWAIT(a->leaving[0] || a->leaving[1]);
}

static void test_servers_that_end_and_come_back(void **state)
{
    (void)state;
    struct actor *a = founder("a"), *b = follower(1, "b");
    assert_true(claim(a, 0));
    command("kill");
    a->coord->ops->claim(a->coord, &the_play->shards[1], 0, 1);
    pass(500);
    assert_int_equal(a->owners[1].claimed + a->owners[1].lost, 0); /* it is not known */
    command("start");
    AWAIT(a->owners[1].claimed + a->owners[1].lost == 1);
    read_owner(b, 0);
    assert_true(owner_is(b, 0, "a"));
    claim_at_last(b, 2);
    AWAIT(owner_is(a, 2, "b")); /* it hears of changes again */
}

static void test_servers_that_stand_still_for_longer_than_a_lease(void **state)
{
    (void)state;
    struct actor *a = founder("a"), *b = follower(1, "b");
    assert_true(claim(a, 0));
    command("pause");
    AWAIT(a->lapsed == 1 && b->lapsed == 1); /* by their own clocks */
    assert_true(the_play->world->plain ||
                a->coord->ops->check(a->coord, NULL).code == SILO_UNAVAILABLE);
    a->coord->ops->join(a->coord, false);
    b->coord->ops->join(b->coord, false);
    command("resume");
    AWAIT(a->confirmed == 2 && b->confirmed == 2);
    AWAIT(a->member_count == 2 && b->member_count == 2);
    assert_true(owner_is(b, 0, "a"));
    assert_true(claim(b, 1));
    AWAIT(owner_is(a, 1, "b"));
    AWAIT(a->coord->ops->check(a->coord, NULL).code == SILO_OK);
}

static void test_what_was_compacted_away_is_listed(void **state)
{
    (void)state;
    struct actor *a = founder("a"), *b = follower(1, "b");
    assert_true(claim(a, 0));
    AWAIT(owner_is(b, 0, "a"));
    b->still = true;
    command("kill"); /* which ends its watch */
    command("start");
    claim_at_last(a, 1);
    release(a, 0, a->owners[0].epoch);
    commit_map(a, 2);
    command("compact");
    b->still = false;
    AWAIT(owner_is(b, 0, "") && owner_is(b, 1, "a"));
    if (b->lapsed > 0) {
        join(b);
    }
    AWAIT(b->map == 2);
}

/* --- all of them --- */

static int setup(void **state)
{
    static uint32_t number;
    struct world *world = *state;
    the_play = xcalloc(1, sizeof *the_play);
    the_play->world = world;
    the_play->number = ++number;
    const struct cluster_settings settings = {.shard_count = SHARDS};
    const uint8_t seed[CLUSTER_SEED_BYTES] = {1};
    struct cluster_map map;
    assert_int_equal(cluster_map_make(&settings, seed, &map, NULL).code, SILO_OK);
    for (size_t i = 0; i < SHARDS; i++) {
        the_play->shards[i] = map.shards[i].id;
    }
    char *text = cluster_record_encode(&map);
    const size_t size = strlen(text) + ACTORS + 1;
    the_play->text = xmalloc(size);
    (void)snprintf(the_play->text, size, "%s\n\n\n", text);
    free(text);
    cluster_map_deinit(&map);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (size_t i = 0; i < ACTORS; i++) {
        leave(&the_play->actors[i]);
    }
    free(the_play->text);
    free(the_play);
    return 0;
}

enum need { NOTHING, SEVERAL, IDS, SERVERS, LOSSES };

static const struct {
    const char *name;
    CMUnitTestFunction test;
    enum need needs;
} cases[] = {
#define CASE(test, need)  \
    {                     \
#test, test, need \
    }
    CASE(test_who_joins_is_a_member, NOTHING),
    CASE(test_members_see_each_other, SEVERAL),
    CASE(test_a_silent_member_is_gone_and_what_it_has_is_not, SEVERAL),
    CASE(test_renewals_keep_a_member_and_tell_nobody, SEVERAL),
    CASE(test_a_lapsed_member_claims_nothing_until_it_is_one_again, SEVERAL),
    CASE(test_who_does_not_know_that_it_lapsed_claims_nothing, SERVERS),
    CASE(test_one_id_is_one_process, IDS),
    CASE(test_a_map_is_made_once, SEVERAL),
    CASE(test_a_claim_by_an_older_map_is_lost, SEVERAL),
    CASE(test_one_of_many_claims_is_granted, SEVERAL),
    CASE(test_what_is_released_is_free, SEVERAL),
    CASE(test_what_is_handed_over_is_never_free, SEVERAL),
    CASE(test_what_is_forced_is_free, SEVERAL),
    CASE(test_a_dead_holder_is_forced_out_without_force, SEVERAL),
    CASE(test_a_lost_answer_is_no_refusal, LOSSES),
    CASE(test_a_late_answer_is_no_news, LOSSES),
    CASE(test_who_leaves_while_it_joins_is_seen_to_leave, LOSSES),
    CASE(test_servers_that_end_and_come_back, SERVERS),
    CASE(test_servers_that_stand_still_for_longer_than_a_lease, SERVERS),
    CASE(test_what_was_compacted_away_is_listed, SERVERS),
};
#define CASES (sizeof cases / sizeof cases[0])

static bool fits(const struct world *world, enum need need)
{
    switch (need) {
    case NOTHING:
        return true;
    case SEVERAL:
        return world->several;
    case IDS:
        return world->several && !world->plain;
    case SERVERS:
        return world->several && world->command != NULL;
    case LOSSES:
        return world->several && world->lose != NULL;
    }
    return false;
}

bool behaviour_has(const struct world *world, const char *name)
{
    for (size_t i = 0; i < CASES; i++) {
        if (strcmp(name, cases[i].name) == 0) {
            return fits(world, cases[i].needs);
        }
    }
    return false;
}

int behaviour_run(struct world *world, const char *only)
{
    struct CMUnitTest tests[CASES];
    size_t count = 0;
    for (size_t i = 0; i < CASES; i++) {
        const bool wanted = only == NULL || strcmp(only, cases[i].name) == 0;
        if (wanted && fits(world, cases[i].needs)) {
            tests[count++] = (struct CMUnitTest){.name = cases[i].name,
                                                 .test_func = cases[i].test,
                                                 .setup_func = setup,
                                                 .teardown_func = teardown,
                                                 .initial_state = world};
        }
    }
    assert_true(count > 0);
    return _cmocka_run_group_tests(world->name, tests, count, NULL, NULL);
}
