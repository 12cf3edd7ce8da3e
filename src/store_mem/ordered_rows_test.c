/* store_mem/ordered_rows_test.c - the rows against a plain model, versions, cursors, tidying. */
#include <stdio.h>

#include "base/assert.h"
#include "base/test.h"
#include "store_mem/ordered_rows.h"

/* --- a model: every key of a small set has its value at every sequence --- */

#define MODEL_KEYS 48
#define MODEL_SEQS 400
#define ABSENT (-1)

static int model[MODEL_SEQS + 1][MODEL_KEYS]; /* value number, or ABSENT */

static uint64_t random_state;

static uint32_t random_below(uint32_t bound)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)((random_state * 0x2545f4914f6cdd1dULL >> 33) % bound);
}

/* Keys with zeroes, 0xff and common prefixes, in bytewise order of k. */
static struct bytes model_key(int k, uint8_t *scratch)
{
    static const uint8_t last[] = {0x00, 0x01, 0xfe, 0xff};
    scratch[0] = (uint8_t)(k / 16 * 0x7f);
    scratch[1] = last[k / 4 % 4];
    scratch[2] = last[k % 4];
    return bytes_of(scratch, 3);
}

static struct bytes model_value(int number, char *scratch)
{
    return bytes_of(scratch, (size_t)snprintf(scratch, 32, "value-%d", number));
}

static void check_gets(const struct ordered_rows *rows, uint64_t seq)
{
    for (int k = 0; k < MODEL_KEYS; k++) {
        uint8_t key[3];
        char text[32];
        struct bytes value;
        const bool found = ordered_rows_get(rows, model_key(k, key), seq, &value);
        assert_int_equal(found, model[seq][k] != ABSENT);
        if (found) {
            assert_true(bytes_eq(value, model_value(model[seq][k], text)));
        }
    }
}

/* Rows with numbers in [lo, hi); hi MODEL_KEYS: no end. */
static void check_scan(const struct ordered_rows *rows, uint64_t seq, int lo, int hi,
                       bool descending)
{
    uint8_t lo_key[3], hi_key[3];
    struct rows_cursor cursor =
        ordered_rows_seek(rows, lo != 0 ? model_key(lo, lo_key) : BYTES_NONE,
                          hi != MODEL_KEYS ? model_key(hi, hi_key) : BYTES_NONE, descending, seq);
    const int step = descending ? -1 : 1;
    for (int k = descending ? hi - 1 : lo; descending ? k >= lo : k < hi; k += step) {
        if (model[seq][k] == ABSENT) {
            continue;
        }
        uint8_t want[3];
        char text[32];
        struct bytes key, value;
        assert_true(rows_cursor_next(&cursor, &key, &value));
        assert_true(bytes_eq(key, model_key(k, want)));
        assert_true(bytes_eq(value, model_value(model[seq][k], text)));
    }
    struct bytes key, value;
    assert_false(rows_cursor_next(&cursor, &key, &value));
    assert_false(rows_cursor_next(&cursor, &key, &value));
}

static void check_all(const struct ordered_rows *rows, uint64_t from, uint64_t to)
{
    for (uint64_t seq = from; seq <= to; seq++) {
        check_gets(rows, seq);
        const int a = (int)random_below(MODEL_KEYS + 1), b = (int)random_below(MODEL_KEYS + 1);
        check_scan(rows, seq, 0, MODEL_KEYS, false);
        check_scan(rows, seq, 0, MODEL_KEYS, true);
        if (a < b) {
            check_scan(rows, seq, a, b, false);
            check_scan(rows, seq, a, b, true);
        }
    }
}

static void model_change(struct ordered_rows *rows, uint64_t seq, uint64_t floor)
{
    const uint32_t changes = 1 + random_below(6);
    for (uint32_t i = 0; i < changes; i++) {
        uint8_t key[3];
        char text[32];
        const int k = (int)random_below(MODEL_KEYS);
        if (random_below(5) < 2) {
            ordered_rows_delete(rows, model_key(k, key), seq, floor);
            model[seq][k] = ABSENT;
        } else {
            const int number = (int)random_below(1000);
            ordered_rows_put(rows, model_key(k, key), model_value(number, text), seq, floor);
            model[seq][k] = number;
        }
    }
}

static size_t model_live(uint64_t seq)
{
    size_t live = 0;
    for (int k = 0; k < MODEL_KEYS; k++) {
        live += model[seq][k] != ABSENT;
    }
    return live;
}

/* `keep` versions stay readable behind the newest one. */
static void model_run(uint64_t seed, uint64_t keep)
{
    random_state = seed;
    struct ordered_rows *rows = ordered_rows_new();
    for (int k = 0; k < MODEL_KEYS; k++) {
        model[0][k] = ABSENT;
    }
    for (uint64_t seq = 1; seq <= MODEL_SEQS; seq++) {
        memcpy(model[seq], model[seq - 1], sizeof model[0]);
        const uint64_t floor = seq > keep ? seq - keep : 0;
        model_change(rows, seq, floor);
        assert_int_equal(ordered_rows_live(rows), model_live(seq));
        if (seq % 40 == 0) {
            check_all(rows, floor, seq);
            struct ordered_rows *copy = ordered_rows_clone(rows, floor);
            check_all(copy, floor, floor);
            assert_int_equal(ordered_rows_live(copy), model_live(floor));
            assert_int_equal(ordered_rows_kept(copy), model_live(floor));
            (void)ordered_rows_free(copy);
        }
    }
    (void)ordered_rows_free(rows);
}

static void random_history_matches_the_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        model_run(seed, 0);
        model_run(seed, 3);
        model_run(seed, MODEL_SEQS);
    }
}

static void empty_rows_answer_nothing(void **state)
{
    (void)state;
    struct ordered_rows *rows = ordered_rows_new();
    struct bytes key, value;
    assert_false(ordered_rows_get(rows, BYTES_LIT("a"), 9, &value));
    for (int descending = 0; descending < 2; descending++) {
        struct rows_cursor cursor = ordered_rows_seek(rows, BYTES_NONE, BYTES_NONE, descending, 9);
        assert_false(rows_cursor_next(&cursor, &key, &value));
    }
    ordered_rows_delete(rows, BYTES_LIT("a"), 1, 1);
    ordered_rows_tidy(rows, 1);
    assert_int_equal(ordered_rows_kept(rows), 0);
    assert_null(ordered_rows_free(rows));
    assert_null(ordered_rows_free(NULL));
}

static void last_change_of_a_sequence_wins(void **state)
{
    (void)state;
    struct ordered_rows *rows = ordered_rows_new();
    struct bytes value;
    ordered_rows_put(rows, BYTES_LIT("k"), BYTES_LIT("1"), 1, 0);
    ordered_rows_put(rows, BYTES_LIT("k"), BYTES_LIT("2"), 2, 0);
    ordered_rows_delete(rows, BYTES_LIT("k"), 2, 0);
    assert_false(ordered_rows_get(rows, BYTES_LIT("k"), 2, &value));
    assert_int_equal(ordered_rows_live(rows), 0);
    ordered_rows_put(rows, BYTES_LIT("k"), BYTES_NONE, 2, 0);
    assert_true(ordered_rows_get(rows, BYTES_LIT("k"), 2, &value));
    assert_int_equal(value.len, 0);
    assert_true(ordered_rows_get(rows, BYTES_LIT("k"), 1, &value));
    assert_true(bytes_eq(value, BYTES_LIT("1")));
    assert_false(ordered_rows_get(rows, BYTES_LIT("k"), 0, &value));
    assert_int_equal(ordered_rows_live(rows), 1);
    (void)ordered_rows_free(rows);
}

static struct bytes number_key(uint32_t number, uint8_t key[4])
{
    for (int i = 0; i < 4; i++) {
        key[i] = (uint8_t)(number >> (24 - 8 * i));
    }
    return bytes_of(key, 4);
}

/* A queue's life: rows come at the end and go at the front. Dead keys must not pile up. */
static void churn_stays_small(void **state)
{
    (void)state;
    struct ordered_rows *rows = ordered_rows_new();
    uint8_t key[4];
    const uint32_t window = 500;
    for (uint32_t i = 0; i < 100000; i++) {
        ordered_rows_put(rows, number_key(i, key), BYTES_LIT("row"), i + 1, i);
        if (i >= window) {
            ordered_rows_delete(rows, number_key(i - window, key), i + 1, i);
        }
        ordered_rows_tidy(rows, i + 1);
        assert_true(ordered_rows_kept(rows) <= window + 4096);
    }
    assert_int_equal(ordered_rows_live(rows), window);
    struct bytes found, value;
    struct rows_cursor cursor = ordered_rows_seek(rows, BYTES_NONE, BYTES_NONE, true, 100000);
    for (uint32_t i = 0; i < window; i++) {
        assert_true(rows_cursor_next(&cursor, &found, &value));
        assert_true(bytes_eq(found, number_key(99999 - i, key)));
    }
    assert_false(rows_cursor_next(&cursor, &found, &value));
    (void)ordered_rows_free(rows);
}

static void tidy_keeps_what_a_reader_sees(void **state)
{
    (void)state;
    struct ordered_rows *rows = ordered_rows_new();
    uint8_t key[4];
    struct bytes value;
    for (uint32_t i = 0; i < 5000; i++) {
        ordered_rows_put(rows, number_key(i, key), BYTES_LIT("old"), 1, 0);
    }
    for (uint32_t i = 0; i < 5000; i++) {
        ordered_rows_delete(rows, number_key(i, key), 2, 1);
    }
    ordered_rows_tidy(rows, 1); /* a reader at 1 */
    for (uint32_t i = 0; i < 5000; i++) {
        assert_true(ordered_rows_get(rows, number_key(i, key), 1, &value));
        assert_false(ordered_rows_get(rows, number_key(i, key), 2, &value));
    }
    struct ordered_rows *copy = ordered_rows_clone(rows, 2);
    assert_int_equal(ordered_rows_kept(copy), 0);
    (void)ordered_rows_free(copy);
    (void)ordered_rows_free(rows);
}

static void many_rows_in_any_order(void **state)
{
    (void)state;
    random_state = 77;
    struct ordered_rows *rows = ordered_rows_new();
    uint8_t key[4];
    const uint32_t count = 200000;
    for (uint32_t i = 0; i < count; i++) {
        /* an odd factor: every number once, in a scattered order */
        ordered_rows_put(rows, number_key((i * 7919u) % count, key), BYTES_LIT("v"), i + 1, i);
    }
    assert_int_equal(ordered_rows_live(rows), count);
    struct bytes found, value;
    struct rows_cursor cursor = ordered_rows_seek(rows, BYTES_NONE, BYTES_NONE, false, count);
    for (uint32_t i = 0; i < count; i++) {
        assert_true(rows_cursor_next(&cursor, &found, &value));
        assert_true(bytes_eq(found, number_key(i, key)));
    }
    for (int i = 0; i < 1000; i++) {
        const uint32_t at = random_below(count);
        cursor = ordered_rows_seek(rows, number_key(at, key), BYTES_NONE, false, count);
        assert_true(rows_cursor_next(&cursor, &found, &value));
        assert_true(bytes_eq(found, number_key(at, key)));
    }
    (void)ordered_rows_free(rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_rows_answer_nothing),
        cmocka_unit_test(last_change_of_a_sequence_wins),
        cmocka_unit_test(random_history_matches_the_model),
        cmocka_unit_test(churn_stays_small),
        cmocka_unit_test(tidy_keeps_what_a_reader_sees),
        cmocka_unit_test(many_rows_in_any_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
