/* Limits in their stored form: defaults filled in, maps ordered, nothing unknown kept. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_member),
        cmocka_unit_test(test_concurrency),
        cmocka_unit_test(test_rate_defaults),
        cmocka_unit_test(test_floating_map),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
