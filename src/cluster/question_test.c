/*
 * cluster/question_test.c - what operators ask, and what they are told: forced releases, and rings.
 */
#include "cluster/rig_test.h"

static int answers;

static void answered(struct cluster_question *question)
{
    (void)question;
    answers++;
}

static struct cluster_question force_of(const struct rig *rig, bool force)
{
    answers = 0;
    return (struct cluster_question){.kind = QUESTION_FORCE_RELEASE,
                                     .shard = rig->map.shards[0].id,
                                     .force = force,
                                     .done = answered};
}

static struct cluster_question ring_of(const struct rig *rig, const char *ring)
{
    answers = 0;
    struct cluster_question question = {
        .kind = QUESTION_CONFIGURE, .shard = rig->map.shards[0].id, .done = answered};
    (void)snprintf(question.ring, sizeof question.ring, "%s", ring);
    return question;
}

static void ask(struct rig *rig, struct cluster_question *question)
{
    tell(rig, (struct cluster_event){.kind = EVENT_QUESTION, .question = question});
}

/* It is answered next, whatever else there is to do. */
static void answer_is(struct rig *rig, const struct cluster_question *question, enum silo_code code,
                      const char *part)
{
    struct cluster_action action = {0};
    do {
        assert_true(cluster_action_next(rig->cluster, &action));
    } while (action.kind != ACTION_ANSWER);
    assert_ptr_equal(action.question, question);
    assert_int_equal(question->rc.code, code);
    assert_non_null(strstr(question->text, part));
}

static const char *const other[] = {"other"};

static void a_live_holder_keeps_its_shard_unless_forced(void **state)
{
    (void)state;
    struct rig rig = rig_joined(1, true);
    tell_members(&rig, other, 1);
    tell_owner(&rig, EVENT_OWNER, 0, "other");
    skip_all(&rig);
    struct cluster_question question = force_of(&rig, false);
    ask(&rig, &question);
    answer_is(&rig, &question, SILO_PRECONDITION, "\"other\"");
    question = force_of(&rig, true);
    ask(&rig, &question);
    const struct cluster_action action = skip_to(&rig, ACTION_FORCE_RELEASE);
    assert_true(action.force);
    assert_int_equal(action.expected, 5);
    struct cluster_question second = force_of(&rig, true);
    ask(&rig, &second);
    answer_is(&rig, &second, SILO_CONFLICT, "already");
    tell(&rig, (struct cluster_event){.kind = EVENT_FORCED, .shard = rig.map.shards[0].id});
    answer_is(&rig, &question, SILO_OK, "");
    rig_free(&rig);
}

static void who_came_back_meanwhile_is_named(void **state)
{
    (void)state;
    struct rig rig = rig_joined(1, true);
    tell_owner(&rig, EVENT_OWNER, 0, "dead");
    skip_all(&rig);
    struct cluster_question question = force_of(&rig, false);
    ask(&rig, &question);
    assert_false(skip_to(&rig, ACTION_FORCE_RELEASE).force);
    tell(&rig, (struct cluster_event){.kind = EVENT_FORCED,
                                      .shard = rig.map.shards[0].id,
                                      .rc = {SILO_PRECONDITION},
                                      .text = BYTES_LIT("dead")});
    answer_is(&rig, &question, SILO_PRECONDITION, "\"dead\"");
    question = force_of(&rig, false);
    ask(&rig, &question);
    tell(&rig, (struct cluster_event){
                   .kind = EVENT_FORCED, .shard = rig.map.shards[0].id, .rc = {SILO_CONFLICT}});
    answer_is(&rig, &question, SILO_CONFLICT, "meanwhile");
    rig_free(&rig);
}

static void what_nobody_answers_is_answered(void **state)
{
    (void)state;
    struct rig rig = rig_joined(1, true);
    tell_owner(&rig, EVENT_OWNER, 0, "dead");
    skip_all(&rig);
    struct cluster_question question = force_of(&rig, false);
    ask(&rig, &question);
    skip_all(&rig);
    assert_true(cluster_next_mono_ms(rig.cluster) <= rig.now_ms + CLUSTER_QUESTION_MS);
    pass(&rig, CLUSTER_QUESTION_MS);
    answer_is(&rig, &question, SILO_UNAVAILABLE, "not known");
    question = force_of(&rig, false);
    ask(&rig, &question);
    rig_free(&rig); /* whoever asks is told, come what may */
    assert_int_equal(answers, 1);
    assert_int_equal(question.rc.code, SILO_UNAVAILABLE);
}

static void who_cannot_know_says_so(void **state)
{
    (void)state;
    struct rig rig = rig_joined(1, true);
    skip_all(&rig);
    struct cluster_question question = force_of(&rig, true);
    question.shard.b[0] ^= 1;
    ask(&rig, &question);
    answer_is(&rig, &question, SILO_NOT_FOUND, "shard not found");
    tell(&rig, (struct cluster_event){.kind = EVENT_LAPSED});
    question = force_of(&rig, true);
    ask(&rig, &question);
    answer_is(&rig, &question, SILO_UNAVAILABLE, "no member");
    rig_free(&rig);
}

/* Taken from a node that lives, it is closed, and not claimed back at once. */
static void what_was_forced_from_here_stays_away_for_a_while(void **state)
{
    (void)state;
    struct rig rig = rig_open(true);
    tell_owner(&rig, EVENT_OWNER, 0, "");
    assert_int_equal(count_next(&rig, ACTION_CLOSE), 1);
    tell_shard(&rig, EVENT_CLOSED, 0);
    assert_int_equal(count_next(&rig, ACTION_READ_WRITER), 0);
    pass(&rig, CLUSTER_FORCED_PAUSE_MS - 1);
    assert_int_equal(count_next(&rig, ACTION_READ_WRITER), 0);
    pass(&rig, 1);
    assert_int_equal(count_next(&rig, ACTION_READ_WRITER), 1);
    rig_free(&rig);
}

/* --- rings --- */

static void a_ring_is_put_into_the_next_map(void **state)
{
    (void)state;
    struct rig rig = rig_open(true);
    struct cluster_question question = ring_of(&rig, "gpu");
    ask(&rig, &question);
    answer_is(&rig, &question, SILO_PRECONDITION, "\"gpu\"");
    question = ring_of(&rig, "gpu");
    question.unpopulated = true;
    ask(&rig, &question);
    const struct cluster_action commit = skip_to(&rig, ACTION_COMMIT_MAP);
    assert_int_equal(commit.number, 2);
    assert_non_null(strstr((const char *)commit.text.ptr, "\"placement_ring\": \"gpu\""));
    tell(&rig, (struct cluster_event){.kind = EVENT_MAP_COMMITTED, .number = 2});
    answer_is(&rig, &question, SILO_OK, "");
    assert_string_equal(question.previous_ring, "");
    assert_int_equal(cluster_map(rig.cluster)->number, 2);
    assert_int_equal(place_of(&rig, 0), PLACE_HERE); /* nobody else may have it */
    pass(&rig, 3600000);
    assert_int_equal(count_next(&rig, ACTION_CLOSE), 0);
    question = ring_of(&rig, "default");
    ask(&rig, &question);
    (void)skip_to(&rig, ACTION_COMMIT_MAP);
    tell(&rig, (struct cluster_event){.kind = EVENT_MAP_COMMITTED, .number = 3});
    answer_is(&rig, &question, SILO_OK, "");
    assert_string_equal(question.previous_ring, "gpu");
    assert_null(cluster_map(rig.cluster)->shards[0].ring);
    rig_free(&rig);
}

/* A newer map, as somebody else made it. */
static void tell_map(struct rig *rig, uint64_t number)
{
    tell(rig,
         (struct cluster_event){.kind = EVENT_MAP, .number = number, .text = bytes_str(rig->text)});
}

static void a_race_that_was_lost_is_run_again(void **state)
{
    (void)state;
    struct rig rig = rig_open(true);
    struct cluster_question question = ring_of(&rig, "gpu");
    question.unpopulated = true;
    ask(&rig, &question);
    for (uint64_t i = 1; i <= CLUSTER_RACES_MAX; i++) {
        assert_int_equal(skip_to(&rig, ACTION_COMMIT_MAP).number, i + 1);
        tell(&rig, (struct cluster_event){.kind = EVENT_MAP_LOST, .number = i + 1});
        if (i < CLUSTER_RACES_MAX) {
            (void)skip_to(&rig, ACTION_READ_MAP);
            tell_map(&rig, i + 1);
        }
    }
    answer_is(&rig, &question, SILO_CONFLICT, "too often");
    rig_free(&rig);
}

static void one_map_after_the_other(void **state)
{
    (void)state;
    struct rig rig = rig_open(true);
    struct cluster_question first = ring_of(&rig, "a"), second = ring_of(&rig, "b");
    first.unpopulated = second.unpopulated = true;
    ask(&rig, &first);
    ask(&rig, &second);
    assert_int_equal(count_next(&rig, ACTION_COMMIT_MAP), 1);
    tell(&rig, (struct cluster_event){.kind = EVENT_MAP_COMMITTED, .number = 2});
    answer_is(&rig, &first, SILO_OK, "");
    assert_int_equal(skip_to(&rig, ACTION_COMMIT_MAP).number, 3);
    tell(&rig, (struct cluster_event){.kind = EVENT_MAP_COMMITTED, .number = 3});
    answer_is(&rig, &second, SILO_OK, "");
    assert_string_equal(second.previous_ring, "a");
    rig_free(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_live_holder_keeps_its_shard_unless_forced),
        cmocka_unit_test(who_came_back_meanwhile_is_named),
        cmocka_unit_test(what_nobody_answers_is_answered),
        cmocka_unit_test(who_cannot_know_says_so),
        cmocka_unit_test(what_was_forced_from_here_stays_away_for_a_while),
        cmocka_unit_test(a_ring_is_put_into_the_next_map),
        cmocka_unit_test(a_race_that_was_lost_is_run_again),
        cmocka_unit_test(one_map_after_the_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
