/* The fields of a new job: each rule, its text, and which of two failures wins. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "codec/limit.h"
#include "service/service_int.h"

#define MANY 80

struct fixture {
    struct arena arena;
    Silo__V1__EnqueueRequest request;
    Silo__V1__RetryPolicy retry;
    Silo__V1__EnqueueRequest__MetadataEntry entries[MANY];
    Silo__V1__EnqueueRequest__MetadataEntry *entry_list[MANY];
    char names[MANY][16];
    Silo__V1__Limit limits[MANY];
    Silo__V1__Limit *limit_list[MANY];
    struct enqueue_args args;
    struct silo_err err;
};

static struct fixture *fixture_new(void)
{
    struct fixture *f = calloc(1, sizeof *f);
    arena_init(&f->arena);
    silo__v1__enqueue_request__init(&f->request);
    silo__v1__retry_policy__init(&f->retry);
    f->request.task_group = (char *)"default";
    f->request.metadata = f->entry_list;
    f->request.limits = f->limit_list;
    for (int i = 0; i < MANY; i++) {
        silo__v1__enqueue_request__metadata_entry__init(&f->entries[i]);
        silo__v1__limit__init(&f->limits[i]);
        (void)snprintf(f->names[i], sizeof f->names[i], "k%02d", i);
        f->entries[i].key = f->names[i];
        f->entry_list[i] = &f->entries[i];
        f->limit_list[i] = &f->limits[i];
    }
    return f;
}

static void fixture_free(struct fixture *f)
{
    arena_deinit(&f->arena);
    free(f);
}

static void expect(struct fixture *f, enum silo_code code, const char *text)
{
    const silo_rc rc = validate_job(&f->arena, &f->request, &f->args, &f->err);
    if (rc.code != code || (code != SILO_OK && strstr(f->err.text, text) == NULL)) {
        fail_msg("code %d: %s; expected %d: %s", rc.code, f->err.text, code, text);
    }
}

static char *long_text(struct fixture *f, const char *unit, size_t count)
{
    const size_t unit_len = strlen(unit);
    char *text = arena_zalloc(&f->arena, count * unit_len + 1);
    for (size_t i = 0; i < count * unit_len; i++) {
        text[i] = unit[i % unit_len];
    }
    return text;
}

static void test_priority(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    f->request.priority = 99;
    expect(f, SILO_OK, "");
    assert_int_equal(f->args.info.priority, 99);
    f->request.priority = 100;
    f->request.task_group = (char *)""; /* the first failure wins */
    expect(f, SILO_INVALID, "priority must be between 0 and 99");
    fixture_free(f);
}

static void test_metadata(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    f->request.n_metadata = 17;
    f->request.task_group = (char *)"";
    expect(f, SILO_INVALID, "too many entries");
    f->request.task_group = (char *)"g";
    f->entries[16].key = f->names[3]; /* one name twice: 16 remain */
    f->entries[16].value = (char *)"last";
    expect(f, SILO_OK, "");
    assert_int_equal(f->args.info.metadata_count, 16);

    struct bytes at = f->args.info.metadata;
    struct bytes before = BYTES_NONE;
    struct bytes name = BYTES_NONE;
    struct bytes value = BYTES_NONE;
    for (uint32_t i = 0; i < 16; i++) {
        assert_true(pair_next(&at, &name, &value));
        assert_true(bytes_cmp(before, name) < 0);
        assert_true(bytes_eq(value, i == 3 ? BYTES_LIT("last") : BYTES_LIT("")));
        before = name;
    }
    assert_int_equal(at.len, 0);

    f->request.n_metadata = 1;
    f->entries[0].key = long_text(f, "\u00e9", 63);
    expect(f, SILO_OK, "");
    f->entries[0].key = long_text(f, "\u00e9", 64);
    expect(f, SILO_INVALID, "metadata key too long");
    f->entries[0].key = (char *)"";
    f->entries[0].value = long_text(f, "v", 65534);
    expect(f, SILO_OK, "");
    f->entries[0].value = long_text(f, "v", 65535);
    expect(f, SILO_INVALID, "metadata value too long");
    fixture_free(f);
}

static void test_group(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    f->request.task_group = (char *)"";
    expect(f, SILO_INVALID, "task_group is required");
    f->request.task_group = long_text(f, "\U0001f600", 64); /* characters, not bytes */
    expect(f, SILO_OK, "");
    f->request.task_group = long_text(f, "g", 65);
    expect(f, SILO_INVALID, "task_group too long");
    fixture_free(f);
}

static void test_sizes(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    f->request.id = long_text(f, "i", 4096);
    expect(f, SILO_OK, "");
    f->request.id = long_text(f, "i", 4097);
    expect(f, SILO_INVALID, "id too long");
    f->request.id = (char *)"";
    Silo__V1__SerializedBytes payload = SILO__V1__SERIALIZED_BYTES__INIT;
    payload.encoding_case = SILO__V1__SERIALIZED_BYTES__ENCODING_MSGPACK;
    payload.msgpack.data = (uint8_t *)f; /* not read */
    payload.msgpack.len = 100000000;
    f->request.payload = &payload;
    expect(f, SILO_OK, "");
    payload.msgpack.len = MESSAGE_BYTES_MAX;
    expect(f, SILO_INVALID, "too large");
    fixture_free(f);
}

static void test_retry(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    expect(f, SILO_OK, "");
    assert_false(f->args.info.has_retry);
    f->request.retry_policy_opt_case = SILO__V1__ENQUEUE_REQUEST__RETRY_POLICY_OPT_RETRY_POLICY;
    f->request.retry_policy = &f->retry;
    expect(f, SILO_OK, "");
    assert_true(f->args.info.has_retry);
    f->retry.initial_interval_ms = -1;
    expect(f, SILO_INVALID, "initial_interval_ms");
    f->retry.initial_interval_ms = 1;
    f->retry.max_interval_ms = -1;
    expect(f, SILO_INVALID, "max_interval_ms");
    f->retry.max_interval_ms = 0;
    const double bad[] = {-0.5, INFINITY, -INFINITY, NAN};
    for (size_t i = 0; i < 4; i++) {
        f->retry.backoff_factor = bad[i];
        expect(f, SILO_INVALID, "backoff_factor");
    }
    f->request.task_group = (char *)""; /* the other fields come first */
    expect(f, SILO_INVALID, "task_group is required");
    fixture_free(f);
}

static void concurrency_set(struct fixture *f, int index, Silo__V1__ConcurrencyLimit *concurrency)
{
    f->limits[index].limit_case = SILO__V1__LIMIT__LIMIT_CONCURRENCY;
    f->limits[index].concurrency = concurrency;
}

static void test_limits(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    f->request.n_limits = MANY; /* none has a member: all are dropped */
    expect(f, SILO_OK, "");
    assert_int_equal(f->args.info.limit_count, 0);

    Silo__V1__ConcurrencyLimit concurrency = SILO__V1__CONCURRENCY_LIMIT__INIT;
    concurrency.key = (char *)"q";
    concurrency.max_concurrency = 3;
    concurrency_set(f, 70, &concurrency); /* the others are still dropped */
    expect(f, SILO_OK, "");
    assert_int_equal(f->args.info.limit_count, 1);
    const struct limit_rec *limit = &f->args.limits[0];
    assert_int_equal(limit->kind, LIMIT_CONCURRENCY);
    assert_true(bytes_eq(limit->key, BYTES_LIT("q")));
    assert_int_equal(limit->max, 3);

    for (int i = 0; i < 63; i++) {
        concurrency_set(f, i, &concurrency);
    }
    expect(f, SILO_OK, "");
    assert_int_equal(f->args.info.limit_count, 64);
    concurrency_set(f, 63, &concurrency);
    expect(f, SILO_INVALID, "too many limits: at most 64");
    f->retry.initial_interval_ms = -1; /* the retry policy comes last */
    f->request.retry_policy_opt_case = SILO__V1__ENQUEUE_REQUEST__RETRY_POLICY_OPT_RETRY_POLICY;
    f->request.retry_policy = &f->retry;
    expect(f, SILO_INVALID, "too many limits: at most 64");
    f->request.task_group = (char *)"";
    expect(f, SILO_INVALID, "task_group is required");
    fixture_free(f);
}

static void test_limit_names(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    char *const fits = long_text(f, "q", 4096);
    char *const too_long = long_text(f, "q", 4097);
    f->request.n_limits = 1;
    Silo__V1__ConcurrencyLimit concurrency = SILO__V1__CONCURRENCY_LIMIT__INIT;
    concurrency.key = fits;
    concurrency_set(f, 0, &concurrency);
    expect(f, SILO_OK, "");
    concurrency.key = too_long;
    expect(f, SILO_INVALID, "limit key too long: at most 4096 bytes");

    Silo__V1__FloatingConcurrencyLimit floating = SILO__V1__FLOATING_CONCURRENCY_LIMIT__INIT;
    floating.key = fits;
    f->limits[0].limit_case = SILO__V1__LIMIT__LIMIT_FLOATING_CONCURRENCY;
    f->limits[0].floating_concurrency = &floating;
    expect(f, SILO_OK, "");
    floating.key = too_long;
    expect(f, SILO_INVALID, "limit key too long: at most 4096 bytes");

    Silo__V1__GubernatorRateLimit rate = SILO__V1__GUBERNATOR_RATE_LIMIT__INIT;
    rate.name = fits;
    rate.unique_key = fits;
    f->limits[0].limit_case = SILO__V1__LIMIT__LIMIT_RATE_LIMIT;
    f->limits[0].rate_limit = &rate;
    expect(f, SILO_OK, "");
    rate.unique_key = too_long;
    expect(f, SILO_INVALID, "rate limit unique_key too long: at most 4096 bytes");
    rate.name = too_long;
    expect(f, SILO_INVALID, "rate limit name too long: at most 4096 bytes");
    fixture_free(f);
}

/* The sum over all limits of a job counts. */
static void test_floating_metadata(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    typedef Silo__V1__FloatingConcurrencyLimit__MetadataEntry entry;
    entry entries[2] = {SILO__V1__FLOATING_CONCURRENCY_LIMIT__METADATA_ENTRY__INIT,
                        SILO__V1__FLOATING_CONCURRENCY_LIMIT__METADATA_ENTRY__INIT};
    entry *lists[2][1025];
    Silo__V1__FloatingConcurrencyLimit floating[2] = {SILO__V1__FLOATING_CONCURRENCY_LIMIT__INIT,
                                                      SILO__V1__FLOATING_CONCURRENCY_LIMIT__INIT};
    f->request.n_limits = 2;
    for (size_t i = 0; i < 2; i++) {
        entries[i].key = (char *)"k";
        for (size_t j = 0; j < 1025; j++) {
            lists[i][j] = &entries[i];
        }
        floating[i].key = f->names[i];
        floating[i].n_metadata = 1;
        floating[i].metadata = lists[i];
        f->limits[i].limit_case = SILO__V1__LIMIT__LIMIT_FLOATING_CONCURRENCY;
        f->limits[i].floating_concurrency = &floating[i];
    }
    entries[0].value = long_text(f, "v", 32767);
    entries[1].value = long_text(f, "v", 32767);
    expect(f, SILO_OK, "");
    entries[1].value = long_text(f, "v", 32768);
    expect(f, SILO_INVALID, "metadata of floating limits is too long: at most 65536 bytes");

    entries[0].value = entries[1].value = (char *)"";
    floating[0].n_metadata = floating[1].n_metadata = 512;
    expect(f, SILO_OK, "");
    floating[0].n_metadata = 513;
    expect(f, SILO_INVALID, "metadata of floating limits has too many entries: at most 1024");
    fixture_free(f);
}

static void test_start(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    f->request.start_at_ms = -5;
    expect(f, SILO_OK, "");
    assert_int_equal(f->args.info.requested_start_ms, 0);
    f->request.start_at_ms = 12345;
    expect(f, SILO_OK, "");
    assert_int_equal(f->args.info.requested_start_ms, 12345);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_priority),    cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_group),       cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_retry),       cmocka_unit_test(test_limits),
        cmocka_unit_test(test_limit_names), cmocka_unit_test(test_floating_metadata),
        cmocka_unit_test(test_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
