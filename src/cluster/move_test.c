/*
 * cluster/move_test.c - shards go from one node to another: how many at a time, what becomes of
 * those that do not get there, what the directory says meanwhile, and who may be a member at all.
 */
#include "cluster/rig_test.h"

#define MANY 60

static void tell_ref(struct rig *rig, size_t shard)
{
    tell(rig, (struct cluster_event){.kind = EVENT_OPENING,
                                     .shard = rig->map.shards[shard].id,
                                     .ref = {.slot = (uint32_t)shard, .generation = 1}});
    tell_shard(rig, EVENT_OPENED, shard);
}

/* Alone, with every shard open. */
static struct rig rig_full(uint32_t shards)
{
    struct rig rig = rig_joined(shards, true);
    skip_all(&rig);
    for (size_t i = 0; i < shards; i++) {
        tell_shard(&rig, EVENT_WRITER, i);
        skip_all(&rig);
        tell_shard(&rig, EVENT_CLAIMED, i);
        skip_all(&rig);
        tell_ref(&rig, i);
    }
    skip_all(&rig);
    return rig;
}

/* The next one of that kind, whatever is asked for before. */
static size_t index_of(const struct rig *rig, const struct uuid *shard)
{
    for (size_t i = 0; i < rig->map.shard_count; i++) {
        if (uuid_eq(&rig->map.shards[i].id, shard)) {
            return i;
        }
    }
    fail();
    return 0;
}

static const char *const one[] = {"other"};

/* One shard that another node should have, as it is being prepared. */
static size_t prepare_one(struct rig *rig)
{
    tell_members(rig, one, 1);
    skip_all(rig);
    pass(rig, CLUSTER_QUIET_MS);
    const struct cluster_action prepare = skip_to(rig, ACTION_PREPARE);
    return index_of(rig, &prepare.shard);
}

static void goes_to_its_successor_step_by_step(void **state)
{
    (void)state;
    struct rig rig = rig_full(2);
    tell_members(&rig, one, 1);
    assert_int_equal(count_next(&rig, ACTION_PREPARE), 0); /* who comes may go again */
    assert_int_equal(cluster_next_mono_ms(rig.cluster), rig.now_ms + CLUSTER_QUIET_MS);
    pass(&rig, CLUSTER_QUIET_MS - 1);
    assert_int_equal(count_next(&rig, ACTION_PREPARE), 0);
    pass(&rig, 1);
    const struct cluster_action prepare = next(&rig, ACTION_PREPARE);
    const size_t shard = index_of(&rig, &prepare.shard);
    assert_int_equal(prepare.ref.slot, shard);
    skip_all(&rig);
    assert_int_equal(place_of(&rig, shard), PLACE_HERE); /* it serves on */
    tell_shard(&rig, EVENT_PREPARED, shard);
    const struct cluster_action close = next(&rig, ACTION_CLOSE);
    assert_true(close.moving);
    assert_string_equal(close.to, "other");
    assert_int_equal(place_of(&rig, shard), PLACE_MOVING);
    skip_all(&rig);
    tell_shard(&rig, EVENT_CLOSED, shard);
    (void)next(&rig, ACTION_REMOVE);
    const struct cluster_action hand_over = next(&rig, ACTION_HAND_OVER);
    assert_string_equal(hand_over.to, "other");
    assert_int_equal(hand_over.epoch, 9);
    assert_int_equal(place_of(&rig, shard), PLACE_MOVING);
    tell_shard(&rig, EVENT_HANDED_OVER, shard);
    assert_int_equal(place_of(&rig, shard), PLACE_NODE);
    assert_int_equal(count_next(&rig, ACTION_CLAIM), 0);
    assert_int_equal(cluster_counts(rig.cluster).handed_over, 1);
    rig_free(&rig);
}

static void who_is_given_a_shard_reads_before_it_opens(void **state)
{
    (void)state;
    struct rig rig = rig_joined(1, true);
    tell_members(&rig, one, 1);
    tell_owner(&rig, EVENT_OWNER, 0, "other");
    skip_all(&rig);
    const struct cluster_owner owner = {.shard = rig.map.shards[0].id, .holder = SELF, .epoch = 6};
    tell(&rig, (struct cluster_event){.kind = EVENT_OWNER, .owners = &owner, .owner_count = 1});
    (void)next(&rig, ACTION_READ_WRITER);
    assert_int_equal(place_of(&rig, 0), PLACE_MOVING); /* here */
    skip_all(&rig);
    tell_shard(&rig, EVENT_WRITER, 0);
    (void)next(&rig, ACTION_READ_OWNER);
    tell_owner(&rig, EVENT_OWNER_READ, 0, SELF);
    (void)next(&rig, ACTION_CLAIM);
    tell_shard(&rig, EVENT_CLAIMED, 0);
    const struct cluster_action open = next(&rig, ACTION_OPEN);
    assert_true(open.guarded);
    assert_int_equal(open.expected, 9);
    assert_int_equal(cluster_counts(rig.cluster).given, 1);
    rig_free(&rig);
}

static void few_at_a_time_and_few_to_one(void **state)
{
    (void)state;
    struct rig rig = rig_full(MANY);
    tell_members(&rig, one, 1);
    pass(&rig, CLUSTER_QUIET_MS);
    assert_int_equal(count_next(&rig, ACTION_PREPARE), CLUSTER_MOVES_MAX);
    rig_free(&rig);

    static const char *const six[] = {"a", "b", "c", "d", "e", "f"};
    rig = rig_full(MANY);
    tell_members(&rig, six, 3);
    pass(&rig, CLUSTER_QUIET_MS);
    assert_int_equal(count_next(&rig, ACTION_PREPARE), 3); /* one to each */
    rig_free(&rig);

    rig = rig_full(MANY);
    tell_members(&rig, six, 6);
    pass(&rig, CLUSTER_QUIET_MS);
    assert_int_equal(count_next(&rig, ACTION_PREPARE), CLUSTER_MOVES_MAX);
    rig_free(&rig);
}

static void nothing_moves_while_a_shard_has_no_owner(void **state)
{
    (void)state;
    struct rig rig = rig_full(8);
    tell_members(&rig, one, 1);
    tell_owner(&rig, EVENT_OWNER, 7, "dead");
    skip_all(&rig);
    pass(&rig, 10 * CLUSTER_QUIET_MS);
    assert_int_equal(count_next(&rig, ACTION_PREPARE), 0);
    tell_owner(&rig, EVENT_OWNER, 7, "other");
    pass(&rig, CLUSTER_QUIET_MS - 1);
    assert_int_equal(count_next(&rig, ACTION_PREPARE), 0); /* the quiet begins now */
    pass(&rig, CLUSTER_QUIET_MS);
    assert_true(count_next(&rig, ACTION_PREPARE) > 0);
    rig_free(&rig);
}

static void who_leaves_gives_more_and_has_one_time_for_all(void **state)
{
    (void)state;
    struct rig rig = rig_full(MANY);
    tell_members(&rig, one, 1);
    skip_all(&rig);
    tell(&rig, (struct cluster_event){.kind = EVENT_LEAVE});
    (void)next(&rig, ACTION_LEAVE);
    assert_int_equal(count_next(&rig, ACTION_PREPARE), CLUSTER_DRAINS_MAX);
    pass(&rig, CLUSTER_LEAVE_MS - 1);
    assert_int_equal(count_next(&rig, ACTION_CLOSE), 0);
    pass(&rig, 1);
    assert_int_equal(count_next(&rig, ACTION_CLOSE), MANY);
    for (size_t i = 0; i < MANY; i++) {
        tell_shard(&rig, EVENT_CLOSED, i);
    }
    const struct cluster_action hand_over = skip_to(&rig, ACTION_HAND_OVER);
    assert_string_equal(hand_over.to, "other");
    assert_int_equal(count_next(&rig, ACTION_LEFT),
                     1); /* a coordinator that is away is not awaited */
    rig_free(&rig);
}

static void what_hangs_is_closed_as_it_is(void **state)
{
    (void)state;
    struct rig rig = rig_full(2);
    (void)prepare_one(&rig);
    skip_all(&rig);
    pass(&rig, CLUSTER_PREPARE_MS - 1);
    assert_int_equal(count_next(&rig, ACTION_CLOSE), 0);
    pass(&rig, 1);
    assert_int_equal(count_next(&rig, ACTION_CLOSE), 1);
    rig_free(&rig);
}

/* From being prepared to being open again here, since it was not handed over. */
static void lose_hand_over(struct rig *rig, size_t shard)
{
    tell_shard(rig, EVENT_PREPARED, shard);
    tell_shard(rig, EVENT_CLOSED, shard);
    (void)skip_to(rig, ACTION_HAND_OVER);
    tell_shard(rig, EVENT_HAND_OVER_LOST, shard);
    (void)skip_to(rig, ACTION_READ_WRITER);
    tell_shard(rig, EVENT_WRITER, shard);
    (void)skip_to(rig, ACTION_READ_OWNER);
    tell_owner(rig, EVENT_OWNER_READ, shard, SELF);
    (void)skip_to(rig, ACTION_CLAIM);
    tell_shard(rig, EVENT_CLAIMED, shard);
    (void)skip_to(rig, ACTION_OPEN);
    tell_ref(rig, shard);
    skip_all(rig);
}

static void what_was_not_handed_over_opens_again(void **state)
{
    (void)state;
    struct rig rig = rig_full(2);
    const size_t shard = prepare_one(&rig);
    for (int64_t pause_ms = CLUSTER_GIVE_RETRY_MS; pause_ms <= 4 * CLUSTER_GIVE_RETRY_MS;
         pause_ms *= 2) {
        lose_hand_over(&rig, shard);
        pass(&rig, pause_ms - 1);
        assert_int_equal(count_next(&rig, ACTION_PREPARE), 0);
        pass(&rig, 1);
        assert_int_equal(count_next(&rig, ACTION_PREPARE), 1);
    }
    rig_free(&rig);
}

/* The successor had it, and gave it back, before the answer to the hand-over came. */
static void what_came_back_before_the_answer_is_read(void **state)
{
    (void)state;
    struct rig rig = rig_full(2);
    const size_t shard = prepare_one(&rig);
    tell_shard(&rig, EVENT_PREPARED, shard);
    tell_shard(&rig, EVENT_CLOSED, shard);
    (void)skip_to(&rig, ACTION_HAND_OVER);
    const struct cluster_owner back = {
        .shard = rig.map.shards[shard].id, .holder = SELF, .epoch = 35};
    tell(&rig, (struct cluster_event){.kind = EVENT_OWNER, .owners = &back, .owner_count = 1});
    tell(&rig, (struct cluster_event){
                   .kind = EVENT_HANDED_OVER, .shard = rig.map.shards[shard].id, .epoch = 32});
    assert_int_equal(count_next(&rig, ACTION_READ_WRITER), 1);
    rig_free(&rig);
}

static void a_lapsed_node_gives_nothing_away(void **state)
{
    (void)state;
    struct rig rig = rig_full(2);
    const size_t shard = prepare_one(&rig);
    tell(&rig, (struct cluster_event){.kind = EVENT_LAPSED});
    tell_shard(&rig, EVENT_PREPARED, shard);
    assert_int_equal(count_next(&rig, ACTION_CLOSE), 0);
    assert_int_equal(place_of(&rig, shard), PLACE_HERE);
    rig_free(&rig);
}

static void a_successor_that_is_gone_gets_nothing(void **state)
{
    (void)state;
    struct rig rig = rig_full(2);
    const size_t shard = prepare_one(&rig);
    tell_members(&rig, NULL, 0);
    tell_shard(&rig, EVENT_PREPARED, shard);
    assert_int_equal(count_next(&rig, ACTION_CLOSE), 0);
    tell_members(&rig, one, 1);
    skip_all(&rig);
    pass(&rig, CLUSTER_QUIET_MS);
    (void)skip_to(&rig, ACTION_PREPARE);
    tell_shard(&rig, EVENT_PREPARED, shard);
    (void)skip_to(&rig, ACTION_CLOSE);
    tell_members(&rig, NULL, 0);
    tell_shard(&rig, EVENT_CLOSED, shard);
    assert_int_equal(count_next(&rig, ACTION_READ_WRITER), 1); /* it opens again here */
    rig_free(&rig);
}

/* --- members --- */

static void an_id_that_is_taken_is_waited_for(void **state)
{
    (void)state;
    struct rig rig = rig_new(1, true);
    (void)next(&rig, ACTION_JOIN);
    tell(&rig, (struct cluster_event){.kind = EVENT_JOIN_TAKEN, .number = 1});
    nothing_next(&rig);
    const int64_t until_ms = rig.now_ms + 3000 + CLUSTER_TAKEN_MS;
    while (rig.now_ms + CLUSTER_REJOIN_MS <= until_ms) {
        pass(&rig, CLUSTER_REJOIN_MS);
        (void)next(&rig, ACTION_JOIN);
        tell(&rig, (struct cluster_event){.kind = EVENT_JOIN_TAKEN, .number = 1});
        nothing_next(&rig);
    }
    pass(&rig, CLUSTER_REJOIN_MS);
    (void)next(&rig, ACTION_JOIN);
    tell(&rig, (struct cluster_event){.kind = EVENT_JOIN_TAKEN, .number = 1});
    const struct cluster_action refuse = next(&rig, ACTION_REFUSE);
    assert_int_equal(refuse.rc.code, SILO_EXISTS);
    assert_non_null(strstr((const char *)refuse.text.ptr, SELF));
    rig_free(&rig);
}

/* The answer that waited while the node stood still is about the time before. */
static void an_old_answer_does_not_say_that_an_id_is_taken(void **state)
{
    (void)state;
    struct rig rig = rig_new(1, true);
    (void)next(&rig, ACTION_JOIN);
    tell(&rig, (struct cluster_event){.kind = EVENT_JOIN_TAKEN, .number = 1});
    pass(&rig, CLUSTER_REJOIN_MS);
    (void)next(&rig, ACTION_JOIN);
    pass(&rig, 60000);
    tell(&rig, (struct cluster_event){.kind = EVENT_JOIN_TAKEN, .number = 1});
    nothing_next(&rig);
    pass(&rig, CLUSTER_REJOIN_MS);
    (void)next(&rig, ACTION_JOIN);
    rig_free(&rig);
}

static void a_member_that_sees_another_under_its_id_refuses(void **state)
{
    (void)state;
    struct rig rig = rig_full(1);
    const struct cluster_member other = {.id = SELF, .nonce = 8, .address = "b:2"};
    tell(&rig, (struct cluster_event){.kind = EVENT_MEMBERS, .members = &other, .member_count = 1});
    assert_int_equal(skip_to(&rig, ACTION_REFUSE).rc.code, SILO_EXISTS);
    rig_free(&rig);
}

static void a_lapsed_node_is_strict_until_it_has_read_the_records(void **state)
{
    (void)state;
    struct rig rig = rig_full(1);
    tell(&rig, (struct cluster_event){.kind = EVENT_LAPSED});
    assert_true(next(&rig, ACTION_STRICT).strict);
    skip_all(&rig);
    tell(&rig, (struct cluster_event){.kind = EVENT_CONFIRMED});
    assert_int_equal(count_next(&rig, ACTION_STRICT), 0);
    tell(&rig, (struct cluster_event){.kind = EVENT_OWNERS});
    assert_false(skip_to(&rig, ACTION_STRICT).strict);
    rig_free(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_to_its_successor_step_by_step),
        cmocka_unit_test(who_is_given_a_shard_reads_before_it_opens),
        cmocka_unit_test(few_at_a_time_and_few_to_one),
        cmocka_unit_test(nothing_moves_while_a_shard_has_no_owner),
        cmocka_unit_test(who_leaves_gives_more_and_has_one_time_for_all),
        cmocka_unit_test(what_hangs_is_closed_as_it_is),
        cmocka_unit_test(what_was_not_handed_over_opens_again),
        cmocka_unit_test(what_came_back_before_the_answer_is_read),
        cmocka_unit_test(a_lapsed_node_gives_nothing_away),
        cmocka_unit_test(a_successor_that_is_gone_gets_nothing),
        cmocka_unit_test(an_id_that_is_taken_is_waited_for),
        cmocka_unit_test(an_old_answer_does_not_say_that_an_id_is_taken),
        cmocka_unit_test(a_member_that_sees_another_under_its_id_refuses),
        cmocka_unit_test(a_lapsed_node_is_strict_until_it_has_read_the_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
