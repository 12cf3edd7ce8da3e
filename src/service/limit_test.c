/* Limits of requests: what the wire leaves out is filled in; what is shown is what is stored. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "codec/limit.h"
#include "service/service_int.h"

struct fixture {
    struct arena arena;
    struct info info;
    const struct limit_rec *recs;
    Silo__V1__Limit limit;
};

static struct fixture *fixture_new(void)
{
    struct fixture *f = calloc(1, sizeof *f);
    arena_init(&f->arena);
    silo__v1__limit__init(&f->limit);
    return f;
}

static void fixture_free(struct fixture *f)
{
    arena_deinit(&f->arena);
    free(f);
}

static void take(struct fixture *f)
{
    Silo__V1__Limit *const limits[] = {&f->limit};
    struct silo_err err;
    assert_int_equal(limits_take(&f->arena, limits, 1, &f->info, &f->recs, &err).code, SILO_OK);
}

/* Stored, read back, and shown. */
static const Silo__V1__Limit *round_trip(struct fixture *f)
{
    size_t count = 0;
    take(f);
    assert_int_equal(f->info.limit_count, 1);
    Silo__V1__Limit **shown = limits_show(&f->arena, &f->info, &count);
    assert_non_null(shown);
    assert_int_equal(count, 1);
    return shown[0];
}

static void test_no_member(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    take(f);
    assert_int_equal(f->info.limit_count, 0);
    assert_int_equal(f->info.limits.len, 0);
    fixture_free(f);
}

static void test_concurrency(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    Silo__V1__ConcurrencyLimit concurrency = SILO__V1__CONCURRENCY_LIMIT__INIT;
    concurrency.key = (char *)"queue";
    f->limit.limit_case = SILO__V1__LIMIT__LIMIT_CONCURRENCY;
    f->limit.concurrency = &concurrency;
    const Silo__V1__Limit *back = round_trip(f);
    assert_int_equal(f->recs[0].kind, LIMIT_CONCURRENCY);
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
    f->limit.limit_case = SILO__V1__LIMIT__LIMIT_RATE_LIMIT;
    f->limit.rate_limit = &rate;
    const Silo__V1__GubernatorRateLimit *back = round_trip(f)->rate_limit;
    assert_int_equal(f->recs[0].kind, LIMIT_RATE);
    assert_string_equal(back->name, "n");
    assert_string_equal(back->unique_key, "u");
    assert_int_equal(back->limit, 10);
    assert_int_equal(back->duration_ms, 1000);
    assert_int_equal(back->algorithm, 0);
    assert_int_equal(back->behavior, 1 << 20);
    assert_int_equal(back->retry_policy->initial_backoff_ms, 100);
    assert_int_equal(back->retry_policy->max_backoff_ms, 30000);
    assert_true(back->retry_policy->backoff_multiplier >= 2.0 &&
                back->retry_policy->backoff_multiplier <= 2.0);
    assert_int_equal(back->retry_policy->max_retries, 0);

    rate.hits = 0; /* absent, as far as anybody can tell */
    assert_int_equal(round_trip(f)->rate_limit->hits, 1);
    rate.hits = -3;
    assert_int_equal(round_trip(f)->rate_limit->hits, -3);
    rate.algorithm = SILO__V1__GUBERNATOR_ALGORITHM__GUBERNATOR_ALGORITHM_LEAKY_BUCKET;
    assert_int_equal(round_trip(f)->rate_limit->algorithm, rate.algorithm);
    Silo__V1__RateLimitRetryPolicy zero = SILO__V1__RATE_LIMIT_RETRY_POLICY__INIT;
    rate.retry_policy = &zero; /* present: zero means zero */
    back = round_trip(f)->rate_limit;
    assert_non_null(back->retry_policy);
    assert_int_equal(back->retry_policy->initial_backoff_ms, 0);
    assert_int_equal(back->retry_policy->max_backoff_ms, 0);
    zero.max_retries = 5;
    assert_int_equal(round_trip(f)->rate_limit->retry_policy->max_retries, 5);
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
    f->limit.limit_case = SILO__V1__LIMIT__LIMIT_FLOATING_CONCURRENCY;
    f->limit.floating_concurrency = &floating;
    const Silo__V1__FloatingConcurrencyLimit *back = round_trip(f)->floating_concurrency;
    assert_int_equal(f->recs[0].kind, LIMIT_FLOATING);
    assert_string_equal(back->key, "k");
    assert_int_equal(back->default_max_concurrency, 5);
    assert_int_equal(back->refresh_interval_ms, 60000);
    assert_int_equal(back->n_metadata, 2);
    assert_string_equal(back->metadata[0]->key, "a");
    assert_string_equal(back->metadata[1]->key, "b");
    assert_string_equal(back->metadata[1]->value, "3");
    assert_int_equal(floating.n_metadata, 3); /* the request is left as it came */
    fixture_free(f);
}

/* Equal limits have equal bytes, however a map came. */
static void test_equal(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    Silo__V1__FloatingConcurrencyLimit__MetadataEntry a =
        SILO__V1__FLOATING_CONCURRENCY_LIMIT__METADATA_ENTRY__INIT;
    Silo__V1__FloatingConcurrencyLimit__MetadataEntry b = a;
    a.key = (char *)"a";
    b.key = (char *)"b";
    Silo__V1__FloatingConcurrencyLimit__MetadataEntry *list[] = {&a, &b};
    Silo__V1__FloatingConcurrencyLimit floating = SILO__V1__FLOATING_CONCURRENCY_LIMIT__INIT;
    floating.key = (char *)"k";
    floating.metadata = list;
    floating.n_metadata = 2;
    f->limit.limit_case = SILO__V1__LIMIT__LIMIT_FLOATING_CONCURRENCY;
    f->limit.floating_concurrency = &floating;
    take(f);
    const struct bytes first = f->info.limits;
    list[0] = &b;
    list[1] = &a;
    take(f);
    assert_true(bytes_eq(first, f->info.limits));
    fixture_free(f);
}

static void test_damaged(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    size_t count = 0;
    f->info = (struct info){.limit_count = 1, .limits = BYTES_LIT("\x02\x0a\xff")};
    assert_null(limits_show(&f->arena, &f->info, &count));
    fixture_free(f);
}

/* Each member that a limit can have on the wire is taken to a kind of its own. */
static void test_every_member(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    Silo__V1__ConcurrencyLimit concurrency = SILO__V1__CONCURRENCY_LIMIT__INIT;
    Silo__V1__GubernatorRateLimit rate = SILO__V1__GUBERNATOR_RATE_LIMIT__INIT;
    Silo__V1__FloatingConcurrencyLimit floating = SILO__V1__FLOATING_CONCURRENCY_LIMIT__INIT;
    ProtobufCMessage *const members[] = {&concurrency.base, &rate.base, &floating.base};
    const ProtobufCMessageDescriptor *type = &silo__v1__limit__descriptor;
    uint32_t seen = 0;
    assert_int_equal(type->n_fields, LIMIT_KIND_COUNT);
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        for (size_t m = 0; m < sizeof members / sizeof members[0]; m++) {
            if (members[m]->descriptor == field->descriptor) {
                f->limit.limit_case = (Silo__V1__Limit__LimitCase)field->id;
                f->limit.concurrency = (Silo__V1__ConcurrencyLimit *)members[m];
            }
        }
        assert_int_equal(f->limit.limit_case, field->id);
        assert_int_equal(round_trip(f)->limit_case, field->id);
        seen |= 1u << f->recs[0].kind;
    }
    assert_int_equal(seen, (1u << LIMIT_KIND_COUNT) - 1);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_member),     cmocka_unit_test(test_concurrency),
        cmocka_unit_test(test_rate_defaults), cmocka_unit_test(test_floating_map),
        cmocka_unit_test(test_equal),         cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_every_member),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
