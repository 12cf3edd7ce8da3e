/*
 * cluster/cluster_test.c - one node by hand: what it asks for, and in which order. What many of
 * them do to each other, sim/members shows.
 */
#include "cluster/cluster.h"

#include <stdlib.h>

#include "cluster/rig_test.h"

static void from_the_map_to_open_and_back(void **state)
{
    (void)state;
    struct rig rig = rig_joined(1, true);
    const struct uuid *id = &rig.map.shards[0].id;
    const struct cluster_action reading = next(&rig, ACTION_READ_WRITER);
    assert_true(uuid_eq(&reading.shard, id));
    (void)next(&rig, ACTION_PUBLISH);
    nothing_next(&rig);
    assert_int_equal(place_of(&rig, 0), PLACE_MOVING); /* here */
    tell_shard(&rig, EVENT_WRITER, 0);
    const struct cluster_action claim = next(&rig, ACTION_CLAIM);
    assert_int_equal(claim.map, 1);
    assert_int_equal(claim.expected, 0);
    skip_all(&rig);
    tell_shard(&rig, EVENT_CLAIMED, 0);
    const struct cluster_action open = next(&rig, ACTION_OPEN);
    assert_true(open.guarded);
    assert_int_equal(open.expected, 9);
    assert_int_equal(open.ref.generation, 0);
    assert_true(uuid_eq(&open.settings->id, id));
    tell(&rig, (struct cluster_event){
                   .kind = EVENT_OPENING, .shard = *id, .ref = {.slot = 3, .generation = 2}});
    (void)next(&rig, ACTION_PUBLISH);
    assert_int_equal(place_of(&rig, 0), PLACE_HERE);
    tell_shard(&rig, EVENT_OPENED, 0);
    skip_all(&rig);
    tell(&rig, (struct cluster_event){.kind = EVENT_LEAVE});
    (void)next(&rig, ACTION_LEAVE);
    assert_int_equal(next(&rig, ACTION_CLOSE).ref.slot, 3);
    (void)next(&rig, ACTION_PUBLISH);
    nothing_next(&rig);
    tell_shard(&rig, EVENT_CLOSED, 0);
    assert_int_equal(next(&rig, ACTION_REMOVE).ref.slot, 3);
    assert_int_equal(next(&rig, ACTION_RELEASE).epoch, 9);
    skip_all(&rig);
    tell_shard(&rig, EVENT_RELEASED, 0);
    (void)next(&rig, ACTION_PUBLISH);
    (void)next(&rig, ACTION_LEFT);
    nothing_next(&rig);
    rig_free(&rig);
}

static void makes_the_first_map(void **state)
{
    (void)state;
    struct rig rig = rig_new(3, false);
    skip_all(&rig);
    tell(&rig, (struct cluster_event){.kind = EVENT_MAP});
    const struct cluster_action commit = next(&rig, ACTION_COMMIT_MAP);
    assert_int_equal(commit.number, 1);
    assert_true(bytes_eq(commit.text, bytes_str(rig.text)));
    assert_null(cluster_map(rig.cluster));
    tell(&rig, (struct cluster_event){.kind = EVENT_MAP_COMMITTED});
    assert_int_equal(cluster_map(rig.cluster)->shard_count, 3);
    assert_true(cluster_created(rig.cluster));
    rig_free(&rig);
}

static void loses_the_race_for_it(void **state)
{
    (void)state;
    struct rig rig = rig_new(1, false);
    skip_all(&rig);
    for (uint32_t i = 1; i < CLUSTER_RACES_MAX; i++) {
        tell(&rig, (struct cluster_event){.kind = EVENT_MAP});
        (void)next(&rig, ACTION_COMMIT_MAP);
        tell(&rig, (struct cluster_event){.kind = EVENT_MAP_LOST});
        (void)next(&rig, ACTION_READ_MAP);
    }
    tell(&rig, (struct cluster_event){.kind = EVENT_MAP});
    (void)next(&rig, ACTION_COMMIT_MAP);
    tell(&rig, (struct cluster_event){.kind = EVENT_MAP_LOST});
    const struct cluster_action refuse = next(&rig, ACTION_REFUSE);
    assert_int_equal(refuse.rc.code, SILO_CONFLICT);
    assert_non_null(strstr((const char *)refuse.text.ptr, "lost the race"));
    rig_free(&rig);
}

static void refuses_what_it_cannot_serve(void **state)
{
    (void)state;
    struct rig rig = rig_new(1, false);
    skip_all(&rig);
    tell(&rig, (struct cluster_event){
                   .kind = EVENT_MAP, .number = 2, .text = BYTES_LIT("{\"format\":1")});
    struct cluster_action refuse = next(&rig, ACTION_REFUSE);
    assert_int_equal(refuse.rc.code, SILO_CORRUPT);
    assert_non_null(strstr((const char *)refuse.text.ptr, "cluster/2.json: not JSON"));
    rig.map.shards[0].order = ORDER_START;
    char *text = cluster_record_encode(&rig.map);
    tell(&rig, (struct cluster_event){.kind = EVENT_MAP, .number = 3, .text = bytes_str(text)});
    refuse = next(&rig, ACTION_REFUSE);
    assert_int_equal(refuse.rc.code, SILO_PRECONDITION);
    assert_non_null(strstr((const char *)refuse.text.ptr, "dispatch_order"));
    assert_null(cluster_map(rig.cluster));
    free(text);
    rig_free(&rig);
}

static void an_opening_is_tried_again_later_and_later(void **state)
{
    (void)state;
    struct rig rig = rig_joined(1, false);
    skip_all(&rig);
    tell_shard(&rig, EVENT_CLAIMED, 0);
    (void)next(&rig, ACTION_OPEN);
    skip_all(&rig);
    int64_t pause_ms = CLUSTER_OPEN_RETRY_MS_MIN;
    for (int i = 0; i < 12; i++) {
        tell(&rig, (struct cluster_event){.kind = EVENT_OPEN_FAILED,
                                          .shard = rig.map.shards[0].id,
                                          .rc = {SILO_UNAVAILABLE}});
        assert_int_equal(count_next(&rig, ACTION_OPEN), 0);
        assert_int_equal(cluster_next_mono_ms(rig.cluster), rig.now_ms + pause_ms);
        assert_int_equal(cluster_retry_mono_ms(rig.cluster, &rig.map.shards[0].id),
                         rig.now_ms + pause_ms);
        pass(&rig, pause_ms - 1);
        assert_int_equal(count_next(&rig, ACTION_OPEN), 0);
        pass(&rig, 1);
        assert_int_equal(count_next(&rig, ACTION_OPEN), 1);
        pause_ms =
            2 * pause_ms < CLUSTER_OPEN_RETRY_MS_MAX ? 2 * pause_ms : CLUSTER_OPEN_RETRY_MS_MAX;
    }
    rig_free(&rig);
}

static void without_a_coordinator_a_fenced_shard_stays_out(void **state)
{
    (void)state;
    struct rig rig = rig_open(false);
    tell_shard(&rig, EVENT_FENCED, 0);
    assert_int_equal(count_next(&rig, ACTION_READ_OWNER), 1);
    tell_owner(&rig, EVENT_OWNER_READ, 0, CLUSTER_HOLDER_UNKNOWN);
    assert_int_equal(count_next(&rig, ACTION_OPEN), 0);
    pass(&rig, 3600000);
    assert_int_equal(count_next(&rig, ACTION_OPEN), 0);
    assert_int_equal(place_of(&rig, 0), PLACE_HERE); /* which says that it is out */
    tell(&rig, (struct cluster_event){.kind = EVENT_LEAVE});
    assert_int_equal(count_next(&rig, ACTION_CLOSE), 1);
    rig_free(&rig);
}

static void a_fenced_shard_is_opened_if_its_record_says_so(void **state)
{
    (void)state;
    struct rig rig = rig_open(true);
    tell_shard(&rig, EVENT_FENCED, 0);
    assert_int_equal(count_next(&rig, ACTION_READ_WRITER), 1);
    tell(&rig,
         (struct cluster_event){.kind = EVENT_WRITER, .shard = rig.map.shards[0].id, .epoch = 12});
    assert_int_equal(count_next(&rig, ACTION_READ_OWNER), 1);
    tell_owner(&rig, EVENT_OWNER_READ, 0, SELF);
    assert_int_equal(count_next(&rig, ACTION_CLOSE), 1); /* of what was fenced nothing is kept */
    tell_shard(&rig, EVENT_CLOSED, 0);
    assert_int_equal(count_next(&rig, ACTION_READ_WRITER), 1);
    tell(&rig,
         (struct cluster_event){.kind = EVENT_WRITER, .shard = rig.map.shards[0].id, .epoch = 13});
    assert_int_equal(count_next(&rig, ACTION_READ_OWNER), 1);
    tell_owner(&rig, EVENT_OWNER_READ, 0, SELF);
    assert_int_equal(count_next(&rig, ACTION_CLAIM), 1); /* which a namesake cannot do */
    tell_shard(&rig, EVENT_CLAIMED, 0);
    assert_int_equal(next(&rig, ACTION_OPEN).expected, 13);
    rig_free(&rig);
}

/* Another process took the id while this one stood still: its claim is refused. */
static void who_only_has_the_name_opens_nothing(void **state)
{
    (void)state;
    struct rig rig = rig_open(true);
    tell_shard(&rig, EVENT_FENCED, 0);
    tell_shard(&rig, EVENT_WRITER, 0);
    tell_owner(&rig, EVENT_OWNER_READ, 0, SELF);
    tell_shard(&rig, EVENT_CLOSED, 0);
    tell_shard(&rig, EVENT_WRITER, 0);
    tell_owner(&rig, EVENT_OWNER_READ, 0, SELF);
    tell_shard(&rig, EVENT_CLAIM_LOST, 0);
    assert_int_equal(count_next(&rig, ACTION_OPEN), 0);
    rig_free(&rig);
}

/* An answer to an earlier question says nothing about this fence. */
static void an_old_answer_is_no_answer(void **state)
{
    (void)state;
    struct rig rig = rig_open(false);
    tell_shard(&rig, EVENT_FENCED, 0);
    assert_int_equal(count_next(&rig, ACTION_READ_OWNER), 1);
    tell_owner(&rig, EVENT_OWNER, 0, "other");
    assert_int_equal(count_next(&rig, ACTION_CLOSE), 1);
    tell_shard(&rig, EVENT_CLOSED, 0);
    tell_owner(&rig, EVENT_OWNER, 0, "");
    assert_int_equal(count_next(&rig, ACTION_CLAIM), 1);
    tell_shard(&rig, EVENT_CLAIMED, 0);
    assert_int_equal(count_next(&rig, ACTION_OPEN), 1);
    tell_shard(&rig, EVENT_OPENED, 0);
    tell_shard(&rig, EVENT_FENCED, 0);
    assert_int_equal(count_next(&rig, ACTION_READ_OWNER), 1);
    tell_owner(&rig, EVENT_OWNER_READ, 0, SELF); /* to the first question */
    assert_int_equal(count_next(&rig, ACTION_OPEN), 0);
    tell_owner(&rig, EVENT_OWNER_READ, 0, SELF);
    assert_int_equal(count_next(&rig, ACTION_OPEN), 1);
    rig_free(&rig);
}

/* The shard was unknown in between, and so was its question: the next one has its answer. */
static void an_answer_that_nobody_waits_for_is_none(void **state)
{
    (void)state;
    struct rig rig = rig_open(true);
    tell_shard(&rig, EVENT_WRITER, 0);
    tell_owner(&rig, EVENT_OWNER_READ, 0, SELF);
    nothing_next(&rig);
    tell_shard(&rig, EVENT_FENCED, 0);
    (void)next(&rig, ACTION_READ_WRITER);
    tell_shard(&rig, EVENT_WRITER, 0);
    (void)count_next(&rig, ACTION_PUBLISH);
    tell_owner(&rig, EVENT_OWNER_READ, 0, SELF);
    assert_int_equal(count_next(&rig, ACTION_CLOSE), 1);
    rig_free(&rig);
}

static void a_dead_members_shards_are_taken_a_few_at_a_time(void **state)
{
    (void)state;
    struct rig rig = rig_joined(2 * CLUSTER_TAKEOVERS_MAX, false);
    struct cluster_owner *owners = xcalloc(rig.map.shard_count, sizeof *owners);
    for (size_t i = 0; i < rig.map.shard_count; i++) {
        owners[i] =
            (struct cluster_owner){.shard = rig.map.shards[i].id, .holder = "dead", .epoch = 2};
    }
    static const char *const others[] = {"dead", "idle"};
    tell_members(&rig, others, 2);
    tell(&rig, (struct cluster_event){
                   .kind = EVENT_OWNERS, .owners = owners, .owner_count = rig.map.shard_count});
    assert_int_equal(count_next(&rig, ACTION_CLAIM), 0);
    assert_int_equal(place_of(&rig, 0), PLACE_NODE);
    tell_members(&rig, NULL, 0); /* of three members two are gone: that is looked at again */
    assert_int_equal(count_next(&rig, ACTION_CLAIM), 0);
    assert_int_equal(cluster_next_mono_ms(rig.cluster), rig.now_ms + 3000);
    pass(&rig, 3000);
    assert_int_equal(count_next(&rig, ACTION_CLAIM), CLUSTER_TAKEOVERS_MAX);
    tell_shard(&rig, EVENT_CLAIMED, 0);
    tell_shard(&rig, EVENT_OPENED, 0);
    assert_int_equal(count_next(&rig, ACTION_CLAIM), 1);
    free(owners);
    rig_free(&rig);
}

/* The news came before the request had left. */
static void what_was_decided_before_the_lapse_is_not_asked_for(void **state)
{
    (void)state;
    struct rig rig = rig_joined(1, true);
    skip_all(&rig);
    tell_shard(&rig, EVENT_WRITER, 0);
    tell(&rig, (struct cluster_event){.kind = EVENT_LAPSED});
    (void)next(&rig, ACTION_STRICT); /* and no claim */
    (void)next(&rig, ACTION_JOIN);
    (void)next(&rig, ACTION_PUBLISH);
    nothing_next(&rig);
    rig_free(&rig);

    rig = rig_open(true);
    tell(&rig, (struct cluster_event){.kind = EVENT_LEAVE});
    assert_int_equal(count_next(&rig, ACTION_CLOSE), 1);
    tell_shard(&rig, EVENT_CLOSED, 0);
    tell(&rig, (struct cluster_event){.kind = EVENT_LAPSED});
    (void)next(&rig, ACTION_REMOVE); /* and no release */
    (void)next(&rig, ACTION_STRICT);
    (void)next(&rig, ACTION_JOIN);
    (void)next(&rig, ACTION_PUBLISH);
    (void)next(&rig, ACTION_LEFT);
    nothing_next(&rig);
    rig_free(&rig);
}

static void a_lapsed_node_waits(void **state)
{
    (void)state;
    struct rig rig = rig_open(true);
    tell(&rig, (struct cluster_event){.kind = EVENT_LAPSED});
    assert_int_equal(count_next(&rig, ACTION_JOIN), 1);
    assert_int_equal(place_of(&rig, 0), PLACE_HERE); /* it serves on */
    tell(&rig, (struct cluster_event){.kind = EVENT_LEAVE});
    assert_int_equal(count_next(&rig, ACTION_CLOSE), 1);
    tell_shard(&rig, EVENT_CLOSED, 0);
    (void)next(&rig, ACTION_REMOVE);
    (void)next(&rig, ACTION_PUBLISH);
    (void)next(&rig, ACTION_LEFT); /* and its record stays */
    nothing_next(&rig);
    rig_free(&rig);
}

/* One shard of two is in a ring that this node does not name. */
static size_t claimed_beside_a_ring(bool guarded)
{
    struct rig rig = rig_new(2, guarded);
    assert_int_equal(cluster_shard_set_ring(&rig.map.shards[0], "gpu", NULL).code, SILO_OK);
    free(rig.text);
    rig.text = cluster_record_encode(&rig.map);
    tell(&rig, (struct cluster_event){.kind = EVENT_CONFIRMED});
    tell_members(&rig, NULL, 0);
    tell(&rig, (struct cluster_event){.kind = EVENT_OWNERS});
    tell(&rig, (struct cluster_event){.kind = EVENT_MAP, .number = 1, .text = bytes_str(rig.text)});
    /* What is claimed at once without a coordinator; with one, its writer is read before. */
    const size_t claimed = count_next(&rig, guarded ? ACTION_READ_WRITER : ACTION_CLAIM);
    rig_free(&rig);
    return claimed;
}

/* There is nobody else to serve it: a ring that was set, and the next start, must not lose it. */
static void rings_count_only_with_a_coordinator(void **state)
{
    (void)state;
    assert_int_equal(claimed_beside_a_ring(false), 2);
    assert_int_equal(claimed_beside_a_ring(true), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(from_the_map_to_open_and_back),
        cmocka_unit_test(makes_the_first_map),
        cmocka_unit_test(loses_the_race_for_it),
        cmocka_unit_test(refuses_what_it_cannot_serve),
        cmocka_unit_test(an_opening_is_tried_again_later_and_later),
        cmocka_unit_test(without_a_coordinator_a_fenced_shard_stays_out),
        cmocka_unit_test(a_fenced_shard_is_opened_if_its_record_says_so),
        cmocka_unit_test(who_only_has_the_name_opens_nothing),
        cmocka_unit_test(an_old_answer_is_no_answer),
        cmocka_unit_test(an_answer_that_nobody_waits_for_is_none),
        cmocka_unit_test(a_dead_members_shards_are_taken_a_few_at_a_time),
        cmocka_unit_test(what_was_decided_before_the_lapse_is_not_asked_for),
        cmocka_unit_test(a_lapsed_node_waits),
        cmocka_unit_test(rings_count_only_with_a_coordinator),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
