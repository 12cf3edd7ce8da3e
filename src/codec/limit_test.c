/*
 * Limits in their stored form: defaults filled in, maps ordered, nothing unknown kept. Limits as
 * the core walks them: each queue once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/limits.h"
#include "codec/limit.h"
#include "codec/record.h"

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

static Silo__V1__Limit *round_trip(struct fixture *f, const Silo__V1__Limit *limit)
{
    buf_reset(&f->buf);
    assert_true(limit_append(&f->buf, &f->arena, limit));
    struct bytes at = buf_bytes(&f->buf);
    struct bytes item;
    assert_true(item_next(&at, &item));
    assert_int_equal(at.len, 0);
    Silo__V1__Limit *back = limit_unpack(&f->arena, item);
    assert_non_null(back);
    return back;
}

static void test_no_member(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    const Silo__V1__Limit limit = SILO__V1__LIMIT__INIT;
    assert_false(limit_append(&f->buf, &f->arena, &limit));
    assert_int_equal(f->buf.len, 0);
    assert_null(limit_unpack(&f->arena, BYTES_LIT("\x0a\xff")));
    fixture_free(f);
}

static void test_concurrency(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    Silo__V1__ConcurrencyLimit concurrency = SILO__V1__CONCURRENCY_LIMIT__INIT;
    concurrency.key = (char *)"queue";
    Silo__V1__Limit limit = SILO__V1__LIMIT__INIT;
    limit.limit_case = SILO__V1__LIMIT__LIMIT_CONCURRENCY;
    limit.concurrency = &concurrency;
    const Silo__V1__Limit *back = round_trip(f, &limit);
    assert_int_equal(back->limit_case, SILO__V1__LIMIT__LIMIT_CONCURRENCY);
    assert_string_equal(back->concurrency->key, "queue");
    assert_int_equal(back->concurrency->max_concurrency, 0);
    fixture_free(f);
}

static void test_rate_defaults(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    Silo__V1__GubernatorRateLimit rate = SILO__V1__GUBERNATOR_RATE_LIMIT__INIT;
    rate.name = (char *)"n";
    rate.unique_key = (char *)"u";
    rate.limit = 10;
    rate.duration_ms = 1000;
    rate.hits = 1;
    rate.algorithm = (Silo__V1__GubernatorAlgorithm)77;
    rate.behavior = 1 << 20;
    Silo__V1__Limit limit = SILO__V1__LIMIT__INIT;
    limit.limit_case = SILO__V1__LIMIT__LIMIT_RATE_LIMIT;
    limit.rate_limit = &rate;
    const Silo__V1__GubernatorRateLimit *back = round_trip(f, &limit)->rate_limit;
    assert_int_equal(back->algorithm, 0);
    assert_int_equal(back->behavior, 1 << 20);
    assert_int_equal(back->retry_policy->initial_backoff_ms, 100);
    assert_int_equal(back->retry_policy->max_backoff_ms, 30000);
    assert_true(back->retry_policy->backoff_multiplier >= 2.0 &&
                back->retry_policy->backoff_multiplier <= 2.0);
    assert_int_equal(back->retry_policy->max_retries, 0);

    rate.hits = 0; /* absent, as far as anybody can tell */
    assert_int_equal(round_trip(f, &limit)->rate_limit->hits, 1);
    uint8_t packed[256];
    rate.retry_policy = NULL;
    const size_t size = silo__v1__limit__pack(&limit, packed);
    buf_reset(&f->buf);
    item_append(&f->buf, bytes_of(packed, size));
    struct bytes items = buf_bytes(&f->buf);
    struct bytes item;
    assert_true(item_next(&items, &item)); /* stored when 0 was left as it was */
    assert_int_equal(limit_unpack(&f->arena, item)->rate_limit->hits, 1);
    rate.hits = -3;
    assert_int_equal(round_trip(f, &limit)->rate_limit->hits, -3);
    Silo__V1__RateLimitRetryPolicy zero = SILO__V1__RATE_LIMIT_RETRY_POLICY__INIT;
    rate.retry_policy = &zero; /* present: zero means zero */
    back = round_trip(f, &limit)->rate_limit;
    assert_non_null(back->retry_policy);
    assert_int_equal(back->retry_policy->initial_backoff_ms, 0);
    assert_int_equal(back->retry_policy->max_backoff_ms, 0);
    fixture_free(f);
}

static void test_floating_map(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    const char *const pairs[][2] = {{"b", "1"}, {"a", "2"}, {"b", "3"}};
    Silo__V1__FloatingConcurrencyLimit__MetadataEntry entries[3];
    Silo__V1__FloatingConcurrencyLimit__MetadataEntry *list[3];
    for (int i = 0; i < 3; i++) {
        silo__v1__floating_concurrency_limit__metadata_entry__init(&entries[i]);
        entries[i].key = (char *)pairs[i][0];
        entries[i].value = (char *)pairs[i][1];
        list[i] = &entries[i];
    }
    Silo__V1__FloatingConcurrencyLimit floating = SILO__V1__FLOATING_CONCURRENCY_LIMIT__INIT;
    floating.key = (char *)"k";
    floating.default_max_concurrency = 5;
    floating.refresh_interval_ms = 60000;
    floating.metadata = list;
    floating.n_metadata = 3;
    Silo__V1__Limit limit = SILO__V1__LIMIT__INIT;
    limit.limit_case = SILO__V1__LIMIT__LIMIT_FLOATING_CONCURRENCY;
    limit.floating_concurrency = &floating;
    const Silo__V1__FloatingConcurrencyLimit *back = round_trip(f, &limit)->floating_concurrency;
    assert_int_equal(back->default_max_concurrency, 5);
    assert_int_equal(back->refresh_interval_ms, 60000);
    assert_int_equal(back->n_metadata, 2);
    assert_string_equal(back->metadata[0]->key, "a");
    assert_string_equal(back->metadata[1]->key, "b");
    assert_string_equal(back->metadata[1]->value, "3");
    assert_int_equal(floating.n_metadata, 3); /* the request is left as it came */
    fixture_free(f);
}

/* --- limits_decode --- */

static void add_concurrency(struct fixture *f, const char *key, uint32_t max)
{
    Silo__V1__ConcurrencyLimit concurrency = SILO__V1__CONCURRENCY_LIMIT__INIT;
    concurrency.key = (char *)key;
    concurrency.max_concurrency = max;
    Silo__V1__Limit limit = SILO__V1__LIMIT__INIT;
    limit.limit_case = SILO__V1__LIMIT__LIMIT_CONCURRENCY;
    limit.concurrency = &concurrency;
    assert_true(limit_append(&f->buf, &f->arena, &limit));
}

static void add_floating(struct fixture *f, const char *key, uint32_t default_max)
{
    Silo__V1__FloatingConcurrencyLimit floating = SILO__V1__FLOATING_CONCURRENCY_LIMIT__INIT;
    floating.key = (char *)key;
    floating.default_max_concurrency = default_max;
    Silo__V1__Limit limit = SILO__V1__LIMIT__INIT;
    limit.limit_case = SILO__V1__LIMIT__LIMIT_FLOATING_CONCURRENCY;
    limit.floating_concurrency = &floating;
    assert_true(limit_append(&f->buf, &f->arena, &limit));
}

static void add_rate(struct fixture *f, const char *name)
{
    Silo__V1__GubernatorRateLimit rate = SILO__V1__GUBERNATOR_RATE_LIMIT__INIT;
    rate.name = (char *)name;
    rate.unique_key = (char *)"u";
    Silo__V1__Limit limit = SILO__V1__LIMIT__INIT;
    limit.limit_case = SILO__V1__LIMIT__LIMIT_RATE_LIMIT;
    limit.rate_limit = &rate;
    assert_true(limit_append(&f->buf, &f->arena, &limit));
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

static void test_decode_plain(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    add_concurrency(f, "a", 3);
    add_rate(f, "n");
    add_floating(f, "b", 7);
    add_concurrency(f, "", 0);
    const struct limit *items = decode(f, 4);
    check_queue(&items[0], "a", false, 3);
    assert_int_equal(items[1].kind, LIMIT_RATE);
    assert_false(items[1].repeated);
    assert_string_equal(items[1].rate->name, "n");
    assert_int_equal(items[1].rate->retry_policy->max_backoff_ms, RATE_RETRY_MAX_MS);
    assert_null(items[1].floating);
    check_queue(&items[2], "b", true, UINT32_MAX);
    assert_int_equal(items[2].floating->default_max_concurrency, 7);
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

static void test_decode_repeated(void **state)
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
                add_concurrency(f, "queue", (uint32_t)(text[i] - '0'));
            }
        }
        add_concurrency(f, "queue2", 9); /* untouched by all that */
        const struct limit *items = decode(f, count + 1);
        check_queue(&items[count], "queue2", false, 9);
        const size_t first = strcspn(text, "0123456789f");
        check_queue(&items[first], "queue", mixes[m].floating, mixes[m].max);
        if (mixes[m].floating) {
            assert_int_equal(items[first].floating->default_max_concurrency, strcspn(text, "f"));
        }
        for (uint32_t i = 0; i < count; i++) {
            assert_int_equal(items[i].kind == LIMIT_RATE, text[i] == 'r');
            assert_int_equal(items[i].repeated, text[i] != 'r' && i != first);
        }
        fixture_free(f);
    }
}

static void test_decode_rate_twice(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    add_rate(f, "n");
    add_rate(f, "n");
    const struct limit *items = decode(f, 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(items[i].kind, LIMIT_RATE);
        assert_false(items[i].repeated);
        assert_string_equal(items[i].rate->name, "n");
    }
    fixture_free(f);
}

static void test_decode_malformed(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    struct limits limits;
    add_concurrency(f, "a", 3);
    add_rate(f, "n");
    const struct bytes good = buf_bytes(&f->buf);
    assert_true(limits_decode(&f->arena, good, 2, &limits));
    assert_false(limits_decode(&f->arena, good, 1, &limits)); /* bytes left over */
    assert_false(limits_decode(&f->arena, good, 3, &limits));
    for (size_t len = 0; len < good.len; len++) {
        assert_false(limits_decode(&f->arena, bytes_of(good.ptr, len), 2, &limits));
    }
    const struct bytes bad[] = {
        BYTES_LIT("\x00"),                 /* no member */
        BYTES_LIT("\x02\x0a\xff"),         /* no message */
        BYTES_LIT("\x04\x12\x02\x18\x01"), /* a rate limit without its policy */
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(limits_decode(&f->arena, bad[i], 1, &limits));
    }
    fixture_free(f);
}

static void test_decode_many(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    char key[16];
    for (unsigned i = 0; i < JOB_LIMITS_MAX; i++) {
        (void)snprintf(key, sizeof key, "queue%u", i);
        add_concurrency(f, key, i);
    }
    const struct limit *items = decode(f, JOB_LIMITS_MAX);
    for (unsigned i = 0; i < JOB_LIMITS_MAX; i++) {
        (void)snprintf(key, sizeof key, "queue%u", i);
        check_queue(&items[i], key, false, i);
    }
    add_concurrency(f, "one more", 1);
    struct limits limits;
    assert_false(limits_decode(&f->arena, buf_bytes(&f->buf), JOB_LIMITS_MAX + 1, &limits));
    assert_false(limits_decode(&f->arena, buf_bytes(&f->buf), UINT32_MAX, &limits));
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
        {10, 1000, 1, 0, 0, true},      {10, 1000, 10, 0, 0, true},
        {10, 1000, 11, 0, 0, false},    {10, 1000, 0, 0, 0, true}, /* 0 is 1 */
        {10, 1000, -1, 0, 0, false},    {0, 1000, 1, 0, 0, false},
        {10, 1000, 1, 0, 1, false},     {10, 0, 1, 0, 0, true},
        {10, 1000, 1, 8, 0, false},     {10, 1000, 1, 16, 0, true},
        {10, 2, 1, 4, 0, true},         {10, 3, 1, 4, 0, false},
        {10, 1000, 1, 4, 0, false},     {10, 1000, 1, 1 | 2, 0, true},
        {10, INT64_MAX, 1, 0, 0, true}, {INT64_MAX, 1, INT32_MAX, 0, 0, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Silo__V1__RateLimitRetryPolicy policy = SILO__V1__RATE_LIMIT_RETRY_POLICY__INIT;
        policy.max_retries = cases[i].retries;
        Silo__V1__GubernatorRateLimit rate = SILO__V1__GUBERNATOR_RATE_LIMIT__INIT;
        rate.name = (char *)"n";
        rate.unique_key = (char *)"u";
        rate.limit = cases[i].limit;
        rate.duration_ms = cases[i].duration_ms;
        rate.hits = cases[i].hits;
        rate.behavior = cases[i].behavior;
        rate.retry_policy = &policy;
        Silo__V1__Limit limit = SILO__V1__LIMIT__INIT;
        limit.limit_case = SILO__V1__LIMIT__LIMIT_RATE_LIMIT;
        limit.rate_limit = &rate;
        buf_reset(&f->buf);
        assert_true(limit_append(&f->buf, &f->arena, &limit));
        const struct limit *back = decode(f, 1);
        assert_int_equal(back->throttles, cases[i].throttles);
        assert_true(!back->line.floating && back->line.max == 0);
    }
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_member),         cmocka_unit_test(test_concurrency),
        cmocka_unit_test(test_rate_defaults),     cmocka_unit_test(test_floating_map),
        cmocka_unit_test(test_decode_plain),      cmocka_unit_test(test_decode_repeated),
        cmocka_unit_test(test_decode_rate_twice), cmocka_unit_test(test_decode_malformed),
        cmocka_unit_test(test_decode_many),       cmocka_unit_test(test_throttles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
