/*
 * How tokens walk a job's limits: each queue once, rate limits with and without a line; and the
 * table that keeps what was decoded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/limits.h"
#include "codec/record.h"
#include "core/limit_table.h"

struct fixture {
    struct arena arena;
    struct buf buf;
};

static struct fixture *fixture_new(void)
{
    struct fixture *f = calloc(1, sizeof *f);
    arena_init(&f->arena);
    buf_init(&f->buf, 1u << 20);
    return f;
}

static void fixture_free(struct fixture *f)
{
    arena_deinit(&f->arena);
    buf_deinit(&f->buf);
    free(f);
}

static void add_fixed(struct fixture *f, const char *key, uint32_t max)
{
    const struct limit_rec limit = {.kind = LIMIT_CONCURRENCY, .key = bytes_str(key), .max = max};
    limit_encode(&f->buf, &f->arena, &limit);
}

static void add_floating(struct fixture *f, const char *key, uint32_t default_max)
{
    const struct limit_rec limit = {
        .kind = LIMIT_FLOATING, .key = bytes_str(key), .floating = {.default_max = default_max}};
    limit_encode(&f->buf, &f->arena, &limit);
}

static void add_rate(struct fixture *f, const char *name)
{
    const struct limit_rec limit = {
        .kind = LIMIT_RATE,
        .rate = {.name = bytes_str(name), .unique_key = BYTES_LIT("u"), .hits = 1}};
    limit_encode(&f->buf, &f->arena, &limit);
}

static const struct limit *decode(struct fixture *f, uint32_t count)
{
    struct limits limits;
    assert_true(limits_decode(&f->arena, buf_bytes(&f->buf), count, &limits));
    assert_int_equal(limits.count, count);
    return limits.items;
}

static void check_queue(const struct limit *limit, const char *key, bool floating, uint32_t max)
{
    assert_int_equal(limit->kind, floating ? LIMIT_FLOATING : LIMIT_CONCURRENCY);
    assert_false(limit->repeated);
    assert_true(bytes_eq(limit->key, bytes_str(key)));
    assert_int_equal(limit->line.floating, floating);
    assert_int_equal(limit->line.max, max);
    assert_int_equal(limit->floating != NULL, floating);
    assert_null(limit->rate);
}

static void test_plain(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    add_fixed(f, "a", 3);
    add_rate(f, "n");
    add_floating(f, "b", 7);
    add_fixed(f, "", 0);
    const struct limit *items = decode(f, 4);
    check_queue(&items[0], "a", false, 3);
    assert_int_equal(items[1].kind, LIMIT_RATE);
    assert_false(items[1].repeated);
    assert_true(bytes_eq(items[1].rate->name, BYTES_LIT("n")));
    assert_null(items[1].floating);
    check_queue(&items[2], "b", true, UINT32_MAX);
    assert_int_equal(items[2].floating->default_max, 7);
    check_queue(&items[3], "", false, 0);

    struct limits none;
    assert_true(limits_decode(&f->arena, BYTES_NONE, 0, &none));
    assert_int_equal(none.count, 0);
    fixture_free(f);
}

/*
 * One queue named by `text`: digits are fixed maxima, f is floating, r a rate limit whose names are
 * the queue's.
 */
static const struct {
    const char *text;
    bool floating;
    uint32_t max;
} mixes[] = {
    {"53", false, 3},         {"35", false, 3},          {"5374", false, 3}, {"50", false, 0},
    {"ff", true, UINT32_MAX}, {"fff", true, UINT32_MAX}, {"5f", true, 5},    {"f5", true, 5},
    {"5f3", true, 3},         {"f53", true, 3},          {"35f", true, 3},   {"5ff4f", true, 4},
    {"r5r3f", true, 3},
};

static void test_repeated(void **state)
{
    (void)state;
    for (size_t m = 0; m < sizeof mixes / sizeof mixes[0]; m++) {
        struct fixture *f = fixture_new();
        const char *const text = mixes[m].text;
        const uint32_t count = (uint32_t)strlen(text);
        for (uint32_t i = 0; i < count; i++) {
            if (text[i] == 'f') {
                add_floating(f, "queue", i);
            } else if (text[i] == 'r') {
                add_rate(f, "queue");
            } else {
                add_fixed(f, "queue", (uint32_t)(text[i] - '0'));
            }
        }
        add_fixed(f, "queue2", 9); /* untouched by all that */
        const struct limit *items = decode(f, count + 1);
        check_queue(&items[count], "queue2", false, 9);
        const size_t first = strcspn(text, "0123456789f");
        check_queue(&items[first], "queue", mixes[m].floating, mixes[m].max);
        if (mixes[m].floating) {
            assert_int_equal(items[first].floating->default_max, strcspn(text, "f"));
        }
        for (uint32_t i = 0; i < count; i++) {
            assert_int_equal(items[i].kind == LIMIT_RATE, text[i] == 'r');
            assert_int_equal(items[i].repeated, text[i] != 'r' && i != first);
        }
        fixture_free(f);
    }
}

static void test_rate_twice(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    add_rate(f, "n");
    add_rate(f, "n");
    const struct limit *items = decode(f, 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(items[i].kind, LIMIT_RATE);
        assert_false(items[i].repeated);
        assert_true(bytes_eq(items[i].rate->name, BYTES_LIT("n")));
    }
    fixture_free(f);
}

/*
 * Which rate limits have a line: those that time alone will let through, with retries without end.
 */
static void test_throttles(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    static const struct {
        int64_t limit, duration_ms;
        int32_t hits, behavior;
        uint32_t retries;
        bool throttles;
    } cases[] = {
        {10, 1000, 1, 0, 0, true},
        {10, 1000, 10, 0, 0, true},
        {10, 1000, 11, 0, 0, false},
        {10, 1000, -1, 0, 0, false},
        {0, 1000, 1, 0, 0, false},
        {10, 1000, 1, 0, 1, false},
        {10, 0, 1, 0, 0, true},
        {10, 1000, 1, 8, 0, false},
        {10, 1000, 1, 16, 0, true},
        {10, 2, 1, 4, 0, true},
        {10, 3, 1, 4, 0, false},
        {10, 1000, 1, 4, 0, false},
        {10, 1000, 1, 1 | 2, 0, true},
        {10, INT64_MAX, 1, 0, 0, true},
        {INT64_MAX, 1, INT32_MAX, 0, 0, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct limit_rec rec = {
            .kind = LIMIT_RATE,
            .rate = {.limit = cases[i].limit,
                     .duration_ms = cases[i].duration_ms,
                     .hits = cases[i].hits,
                     .behavior = cases[i].behavior,
                     .retry = {.retries_max = cases[i].retries}},
        };
        struct limits limits;
        limits_make(&f->arena, &rec, 1, BYTES_NONE, &limits);
        assert_int_equal(limits.items[0].throttles, cases[i].throttles);
        assert_true(!limits.items[0].line.floating && limits.items[0].line.max == 0);
    }
    fixture_free(f);
}

/* --- the table --- */

static void test_table_once(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    struct limit_table table;
    limit_table_init(&table);
    add_fixed(f, "queue", 3);
    add_rate(f, "n");
    add_floating(f, "queue", 7);
    const struct limits *first = limit_table_find(&table, buf_bytes(&f->buf), 3);
    assert_non_null(first);
    assert_true(bytes_eq(first->stored, buf_bytes(&f->buf)));
    assert_true(first->stored.ptr != f->buf.ptr);
    const struct bytes copy = arena_copy(&f->arena, buf_bytes(&f->buf));
    memset(f->buf.ptr, 0xff, f->buf.len); /* nothing is lent from the row */
    for (int i = 0; i < 10; i++) {
        assert_ptr_equal(limit_table_find(&table, copy, 3), first);
    }
    assert_int_equal(table.decoded, 1);
    check_queue(&first->items[0], "queue", true, 3);
    assert_int_equal(first->items[0].floating->default_max, 7);
    assert_true(bytes_eq(first->items[1].rate->unique_key, BYTES_LIT("u")));
    assert_true(first->items[2].repeated);
    assert_null(limit_table_find(&table, copy, 2)); /* bytes left over */
    limit_table_deinit(&table);
    fixture_free(f);
}

static void test_table_malformed(void **state)
{
    (void)state;
    struct limit_table table;
    limit_table_init(&table);
    assert_null(limit_table_find(&table, BYTES_LIT("\x02\x0a\xff"), 1));
    assert_null(limit_table_find(&table, BYTES_LIT("\x02\x0a\x00"), 0));
    assert_null(limit_table_find(&table, BYTES_NONE, 1));
    assert_int_equal(limit_table_find(&table, BYTES_NONE, 0)->count, 0);
    assert_int_equal(table.kept.count, 0);
    assert_int_equal(table.bytes, 0);
    limit_table_deinit(&table);
}

/* Those looked at last stay; the bound holds, counted with all that a list lends. */
static void test_table_bound(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    struct limit_table table;
    limit_table_init(&table);
    char key[KEY_NAME_BYTES_MAX + 1];
    memset(key, 'q', sizeof key);
    key[KEY_NAME_BYTES_MAX] = '\0';
    for (int i = 0; i < 100; i++) {
        buf_reset(&f->buf);
        key[0] = (char)('A' + i % 26);
        key[1] = (char)('A' + i / 26);
        add_fixed(f, key, 1);
        assert_non_null(limit_table_find(&table, buf_bytes(&f->buf), 1));
        if (i == 0) {
            assert_in_range(table.bytes, 2 * KEY_NAME_BYTES_MAX, 2 * KEY_NAME_BYTES_MAX + 1000);
        }
    }
    const size_t one = table.bytes / 100;
    limit_table_shrink(&table, 10 * one);
    assert_int_equal(table.kept.count, 10);
    assert_true(table.bytes <= 10 * one);
    const uint64_t decoded = table.decoded;
    assert_non_null(limit_table_find(&table, buf_bytes(&f->buf), 1)); /* the last one is there */
    assert_int_equal(table.decoded, decoded);
    limit_table_shrink(&table, one - 1);
    assert_int_equal(table.kept.count, 0);
    assert_int_equal(table.bytes, 0);
    assert_non_null(limit_table_find(&table, buf_bytes(&f->buf), 1));
    assert_int_equal(table.decoded, decoded + 1);
    limit_table_deinit(&table);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),       cmocka_unit_test(test_repeated),
        cmocka_unit_test(test_rate_twice),  cmocka_unit_test(test_throttles),
        cmocka_unit_test(test_table_once),  cmocka_unit_test(test_table_malformed),
        cmocka_unit_test(test_table_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
