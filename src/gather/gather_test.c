/*
 * gather/gather_test.c - a read of many shards against a model: shards are arrays of numbers, a
 * position is the index of the next one.
 */
#include "gather/gather.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/rc.h"
#include "base/test.h"

#define QUESTION 42u
#define PATIENCE_US 5000
#define SHARDS_MAX_HERE 40u

/* What the shards have, and what was read of them. */
static size_t rows_of[SHARDS_MAX_HERE];
static uint32_t seen[SHARDS_MAX_HERE][4096];
static uint64_t random_state;

static uint32_t rnd(uint32_t below)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % below;
}

static struct uuid id_of(size_t number)
{
    return (struct uuid){.b = {(uint8_t)number, 7}};
}

/* In an order that is not theirs, one of them twice. */
static size_t shards_make(struct gather_shard *shards, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const size_t number = count - 1 - i;
        shards[i] = (struct gather_shard){.id = id_of(number), .start = number * 1000};
    }
    shards[count] = shards[0];
    return count + 1;
}

static struct bytes position_make(struct arena *arena, size_t at)
{
    return bytes_str(arena_printf(arena, "%zu", at));
}

static size_t position_read(const struct gather_slot *slot)
{
    char text[32] = "0";
    ASSERT(slot->position.len < sizeof text);
    if (slot->position.len != 0) {
        memcpy(text, slot->position.ptr, slot->position.len);
        text[slot->position.len] = 0;
    }
    return (size_t)strtoul(text, NULL, 10);
}

/* A shard answers with up to `most` of what was asked for. */
static uint32_t answer(struct gather *gather, size_t at, uint32_t most, struct arena *arena)
{
    struct gather_slot *slot = &gather->slots[at];
    const size_t shard = slot->id.b[0];
    const size_t from = position_read(slot);
    uint32_t rows = slot->rows < most ? slot->rows : most;
    rows = rows < rows_of[shard] - from ? rows : (uint32_t)(rows_of[shard] - from);
    for (uint32_t i = 0; i < rows; i++) {
        seen[shard][from + i]++;
    }
    const bool last = from + rows == rows_of[shard];
    gather_page(gather, at, rows, last ? BYTES_NONE : position_make(arena, from + rows));
    return rows;
}

static void seen_once(size_t shards)
{
    for (size_t i = 0; i < shards; i++) {
        for (size_t row = 0; row < 4096; row++) {
            assert_int_equal(seen[i][row], row < rows_of[i] ? 1 : 0);
        }
    }
}

/*
 * Many ways through the same rows: asked in bursts, answered in any order, failing now and then,
 * cut by limits, and gone on with by cursors. Each row comes once, whatever happens.
 */
static void every_row_comes_once(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        random_state = seed;
        const size_t count = 1 + rnd(SHARDS_MAX_HERE - 1);
        memset(seen, 0, sizeof seen);
        for (size_t i = 0; i < count; i++) {
            rows_of[i] = rnd(3) == 0 ? 0 : rnd(300);
        }
        struct arena arena = {0};
        struct bytes cursor = BYTES_NONE;
        uint32_t rounds = 0;
        do {
            struct gather_shard shards[SHARDS_MAX_HERE + 1];
            struct gather gather;
            struct silo_err err;
            const uint64_t limit = rnd(2) == 0 ? 0 : 1 + rnd(400);
            uint64_t rows = 0;
            int64_t now_us = 1;
            gather_init(&gather, shards, shards_make(shards, count), QUESTION, limit);
            assert_int_equal(gather_resume(&gather, cursor, &err).code, SILO_OK);
            uint32_t turns = 3 + rnd(60); /* then its caller has enough, and goes on by cursor */
            while (!gather_over(&gather) && (turns != 0 || gather_asks(&gather))) {
                while (turns != 0 && rnd(5) != 0 && gather_next(&gather, now_us) != GATHER_NONE) {
                }
                for (size_t at = 0; at < GATHER_OPEN_MAX; at++) {
                    if (gather.slots[at].state != GATHER_ASKED || rnd(3) == 0) {
                        continue;
                    }
                    if (rnd(6) == 0) {
                        assert_false(gather_failed(&gather, at, now_us + 10, INT64_MAX / 2));
                    } else {
                        rows += answer(&gather, at, 1 + rnd(120), &arena);
                    }
                }
                now_us += 20;
                turns -= turns != 0 ? 1 : 0;
            }
            assert_false(gather_asks(&gather));
            assert_int_equal(gather.rows, rows);
            assert_true(limit == 0 || rows <= limit);
            cursor = gather_cursor(&gather, &arena);
            gather_deinit(&gather);
            assert_true(rounds++ < 100000);
        } while (cursor.len != 0);
        seen_once(count);
        arena_deinit(&arena);
    }
}

/* What is asked for at one time never exceeds what is left, so nothing is fetched in vain. */
static void a_limit_is_shared_by_those_asked(void **state)
{
    (void)state;
    struct gather_shard shards[SHARDS_MAX_HERE + 1];
    struct gather gather;
    struct arena arena = {0};
    gather_init(&gather, shards, shards_make(shards, 20), QUESTION, 10);
    uint32_t wanted = 0;
    size_t asked = 0;
    size_t at;
    while ((at = gather_next(&gather, 1)) != GATHER_NONE) {
        wanted += gather.slots[at].rows;
        asked++;
    }
    assert_int_equal(asked, GATHER_OPEN_MAX);
    assert_int_equal(wanted, 10);
    /* The first brings nothing: its share goes to the next one. */
    gather_page(&gather, 0, 0, BYTES_NONE);
    at = gather_next(&gather, 1);
    assert_int_equal(at, 0);
    assert_int_equal(gather.slots[at].rows, 2);
    assert_int_equal(gather_next(&gather, 1), GATHER_NONE);
    for (at = 0; at < GATHER_OPEN_MAX; at++) {
        gather_page(&gather, at, gather.slots[at].rows, position_make(&arena, 1));
    }
    assert_true(gather_over(&gather));
    assert_int_equal(gather.rows, 10);
    assert_true(gather_cursor(&gather, &arena).len != 0);
    gather_deinit(&gather);
    arena_deinit(&arena);
}

static void a_shard_that_fails_is_given_up_after_the_patience(void **state)
{
    (void)state;
    struct gather_shard shards[SHARDS_MAX_HERE + 1];
    struct gather gather;
    struct arena arena = {0};
    struct silo_err err;
    gather_init(&gather, shards, shards_make(shards, 2), QUESTION, 0);
    rows_of[0] = 5;
    rows_of[1] = 0;
    assert_int_equal(gather_next(&gather, 1000), 0);
    (void)answer(&gather, 0, 2, &arena); /* two rows of five came */
    assert_int_equal(gather_next(&gather, 2000), 0);
    assert_false(gather_failed(&gather, 0, 3000, PATIENCE_US));
    assert_int_equal(gather_wake_us(&gather), 3000);
    assert_int_equal(gather_next(&gather, 2999), 1);
    (void)answer(&gather, 1, 1, &arena);
    assert_int_equal(gather_next(&gather, 2999), GATHER_NONE);
    assert_false(gather_over(&gather));
    assert_int_equal(gather_next(&gather, 3000), 0);
    assert_true(gather_failed(&gather, 0, 7001, PATIENCE_US));
    assert_false(gather_over(&gather));
    const struct bytes rest = gather_cursor_of(&gather, 0, &arena);
    gather_drop(&gather, 0);
    assert_true(gather_over(&gather));
    assert_int_equal(gather.lost, 1);
    assert_int_equal(gather.done, 1);
    assert_int_equal(gather_cursor(&gather, &arena).len, 0);
    gather_deinit(&gather);

    /* Its cursor reads the other three, and no other shard. */
    gather_init(&gather, shards, shards_make(shards, 2), QUESTION, 0);
    assert_int_equal(gather_resume(&gather, rest, &err).code, SILO_OK);
    assert_int_equal(gather_next(&gather, 1), 0);
    assert_int_equal(answer(&gather, 0, 100, &arena), 3);
    assert_true(gather_over(&gather));
    gather_deinit(&gather);
    arena_deinit(&arena);
}

static void a_shard_of_which_nobody_knows_is_given_up_at_once(void **state)
{
    (void)state;
    struct gather_shard shards[SHARDS_MAX_HERE + 1];
    struct gather gather;
    gather_init(&gather, shards, shards_make(shards, 1), QUESTION, 0);
    assert_int_equal(gather_next(&gather, 1), 0);
    assert_true(gather_failed(&gather, 0, INT64_MAX, PATIENCE_US));
    assert_int_equal(gather_next(&gather, 1), GATHER_NONE);
    gather_deinit(&gather);
}

/* Shards that were split or added while a caller paged: those beyond the cursor are read. */
static void a_cursor_outlives_a_change_of_the_shards(void **state)
{
    (void)state;
    struct gather_shard shards[SHARDS_MAX_HERE + 1];
    struct gather gather;
    struct arena arena = {0};
    struct silo_err err;
    gather_init(&gather, shards, shards_make(shards, 20), QUESTION, 0);
    assert_int_equal(gather_next(&gather, 1), 0);
    gather_page(&gather, 0, 1, position_make(&arena, 1));
    const struct bytes cursor = gather_cursor(&gather, &arena);
    gather_deinit(&gather);

    /* Shard 0 is gone; its place is still asked for, so that its caller hears of it. */
    struct gather_shard now[] = {{.id = id_of(30), .start = 9500}, {.id = id_of(3), .start = 3000}};
    gather_init(&gather, now, 2, QUESTION, 0);
    assert_int_equal(gather_resume(&gather, cursor, &err).code, SILO_OK);
    bool asked[SHARDS_MAX_HERE] = {false};
    size_t at;
    while ((at = gather_next(&gather, 1)) != GATHER_NONE) {
        asked[gather.slots[at].id.b[0]] = true;
        gather_page(&gather, at, 0, BYTES_NONE);
    }
    assert_true(asked[0]);
    assert_true(asked[3]);
    assert_true(asked[30]);
    gather_deinit(&gather);
    arena_deinit(&arena);
}

static void cursors_are_checked(void **state)
{
    (void)state;
    struct gather_shard shards[SHARDS_MAX_HERE + 1];
    struct gather gather;
    struct arena arena = {0};
    struct silo_err err;
    gather_init(&gather, shards, shards_make(shards, 20), QUESTION, 0);
    assert_int_equal(gather_next(&gather, 1), 0);
    assert_int_equal(gather_next(&gather, 1), 1);
    gather_page(&gather, 0, 1, position_make(&arena, 1));
    const struct bytes cursor = gather_cursor(&gather, &arena);
    gather_deinit(&gather);
    gather_init(&gather, shards, shards_make(shards, 20), QUESTION + 1, 0);
    assert_int_equal(gather_resume(&gather, cursor, &err).code, SILO_INVALID);
    gather_deinit(&gather);
    for (size_t len = 1; len < cursor.len; len++) { /* all that is cut off */
        gather_init(&gather, shards, shards_make(shards, 20), QUESTION, 0);
        assert_int_equal(gather_resume(&gather, bytes_of(cursor.ptr, len), &err).code,
                         SILO_INVALID);
        gather_deinit(&gather);
    }
    random_state = 5;
    for (size_t i = 0; i < 20000; i++) { /* damaged bytes do no harm, whatever they say */
        uint8_t damaged[1024];
        assert_true(cursor.len <= sizeof damaged);
        memcpy(damaged, cursor.ptr, cursor.len);
        damaged[rnd((uint32_t)cursor.len)] = (uint8_t)rnd(256);
        gather_init(&gather, shards, shards_make(shards, 20), QUESTION, 0);
        if (gather_resume(&gather, bytes_of(damaged, cursor.len), &err).code == SILO_OK) {
            assert_true(gather_next(&gather, 1) != GATHER_NONE || gather_over(&gather));
        }
        gather_deinit(&gather);
    }
    arena_deinit(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_comes_once),
        cmocka_unit_test(a_limit_is_shared_by_those_asked),
        cmocka_unit_test(a_shard_that_fails_is_given_up_after_the_patience),
        cmocka_unit_test(a_shard_of_which_nobody_knows_is_given_up_at_once),
        cmocka_unit_test(a_cursor_outlives_a_change_of_the_shards),
        cmocka_unit_test(cursors_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
