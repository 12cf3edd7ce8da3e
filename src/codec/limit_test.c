/* Limits in their stored form: the bytes of each kind, and what is read back from them. */
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

static const struct limit_rec fixed = {
    .kind = LIMIT_CONCURRENCY, .key = BYTES_LIT("queue"), .max = 3};
static const struct limit_rec empty = {.kind = LIMIT_CONCURRENCY};
static const struct limit_rec floating = {
    .kind = LIMIT_FLOATING,
    .key = BYTES_LIT("k"),
    .floating = {.default_max = 5,
                 .interval_ms = 60000,
                 .metadata_count = 2,
                 .metadata = BYTES_LIT("\x01"
                                       "a\x01"
                                       "2\x01"
                                       "b\x00")},
};
static const struct limit_rec rate = {
    .kind = LIMIT_RATE,
    .rate = {.name = BYTES_LIT("n"),
             .unique_key = BYTES_LIT("u"),
             .limit = 10,
             .duration_ms = 1000,
             .hits = -3,
             .algorithm = RATE_LEAKY_BUCKET,
             .behavior = 4,
             .retry = {.initial_ms = 100, .max_ms = 30000, .factor = 2, .retries_max = 7}},
};

/* These bytes are in databases: the length of an item, and the message. */
static const struct {
    const struct limit_rec *limit;
    struct bytes stored;
} golden[] = {
    {&fixed, BYTES_LIT("\x0b\x0a\x09\x0a\x05queue\x10\x03")},
    {&empty, BYTES_LIT("\x02\x0a\x00")},
    {&floating, BYTES_LIT("\x18\x1a\x16\x0a\x01k\x10\x05\x18\xe0\xd4\x03"
                          "\x22\x06\x0a\x01"
                          "a\x12\x01"
                          "2\x22\x03\x0a\x01"
                          "b")},
    {&rate, BYTES_LIT("\x2f\x12\x2d\x0a\x01n\x12\x01u\x18\x0a\x20\xe8\x07"
                      "\x28\xfd\xff\xff\xff\xff\xff\xff\xff\xff\x01\x30\x01\x38\x04\x42\x11"
                      "\x08\x64\x10\xb0\xea\x01\x19\x00\x00\x00\x00\x00\x00\x00\x40\x20\x07")},
};

static void same(const struct limit_rec *a, const struct limit_rec *b)
{
    assert_int_equal(a->kind, b->kind);
    switch (a->kind) {
    case LIMIT_CONCURRENCY:
        assert_true(bytes_eq(a->key, b->key));
        assert_int_equal(a->max, b->max);
        return;
    case LIMIT_FLOATING:
        assert_true(bytes_eq(a->key, b->key));
        assert_int_equal(a->floating.default_max, b->floating.default_max);
        assert_int_equal(a->floating.interval_ms, b->floating.interval_ms);
        assert_int_equal(a->floating.metadata_count, b->floating.metadata_count);
        assert_true(bytes_eq(a->floating.metadata, b->floating.metadata));
        return;
    case LIMIT_RATE:
        assert_true(bytes_eq(a->rate.name, b->rate.name));
        assert_true(bytes_eq(a->rate.unique_key, b->rate.unique_key));
        assert_int_equal(a->rate.limit, b->rate.limit);
        assert_int_equal(a->rate.duration_ms, b->rate.duration_ms);
        assert_int_equal(a->rate.hits, b->rate.hits);
        assert_int_equal(a->rate.algorithm, b->rate.algorithm);
        assert_int_equal(a->rate.behavior, b->rate.behavior);
        assert_memory_equal(&a->rate.retry.factor, &b->rate.retry.factor, sizeof(double));
        assert_int_equal(a->rate.retry.initial_ms, b->rate.retry.initial_ms);
        assert_int_equal(a->rate.retry.max_ms, b->rate.retry.max_ms);
        assert_int_equal(a->rate.retry.retries_max, b->rate.retry.retries_max);
        return;
    }
}

static void test_golden(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    for (size_t i = 0; i < sizeof golden / sizeof golden[0]; i++) {
        buf_reset(&f->buf);
        limit_encode(&f->buf, &f->arena, golden[i].limit);
        assert_int_equal(f->buf.len, golden[i].stored.len);
        assert_memory_equal(f->buf.ptr, golden[i].stored.ptr, f->buf.len);
        const struct limit_rec *back = limit_recs_decode(&f->arena, golden[i].stored, 1);
        assert_non_null(back);
        same(back, golden[i].limit);
    }
    fixture_free(f);
}

/* One after the other, in their order. */
static void test_list(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    limit_encode(&f->buf, &f->arena, &rate);
    limit_encode(&f->buf, &f->arena, &fixed);
    limit_encode(&f->buf, &f->arena, &rate);
    limit_encode(&f->buf, &f->arena, &floating);
    const struct limit_rec *back = limit_recs_decode(&f->arena, buf_bytes(&f->buf), 4);
    assert_non_null(back);
    same(&back[0], &rate);
    same(&back[1], &fixed);
    same(&back[2], &rate);
    same(&back[3], &floating);
    assert_non_null(limit_recs_decode(&f->arena, BYTES_NONE, 0));
    fixture_free(f);
}

/* What an earlier build or another one stored. */
static void test_tolerant(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    const struct limit_rec *no_hits =
        limit_recs_decode(&f->arena, BYTES_LIT("\x04\x12\x02\x42\x00"), 1);
    assert_non_null(no_hits);
    assert_int_equal(no_hits->rate.hits, 1); /* of before 0 was stored as 1 */
    const struct limit_rec *odd =
        limit_recs_decode(&f->arena, BYTES_LIT("\x06\x12\x04\x30\x4d\x42\x00"), 1);
    assert_non_null(odd);
    assert_int_equal(odd->rate.algorithm, RATE_TOKEN_BUCKET);
    const struct limit_rec *more =
        limit_recs_decode(&f->arena, BYTES_LIT("\x07\x0a\x05\x0a\x00\x10\x03\x78"), 1);
    assert_null(more); /* the unknown field has no value */
    more = limit_recs_decode(&f->arena, BYTES_LIT("\x08\x0a\x06\x0a\x00\x10\x03\x78\x01"), 1);
    assert_non_null(more);
    assert_int_equal(more->max, 3);
    fixture_free(f);
}

static void test_malformed(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    limit_encode(&f->buf, &f->arena, &fixed);
    limit_encode(&f->buf, &f->arena, &rate);
    const struct bytes good = buf_bytes(&f->buf);
    assert_non_null(limit_recs_decode(&f->arena, good, 2));
    assert_null(limit_recs_decode(&f->arena, good, 1)); /* bytes left over */
    assert_null(limit_recs_decode(&f->arena, good, 3));
    for (size_t len = 0; len < good.len; len++) {
        assert_null(limit_recs_decode(&f->arena, bytes_of(good.ptr, len), 2));
    }
    const struct bytes bad[] = {
        BYTES_LIT("\x00"),                 /* no member */
        BYTES_LIT("\x02\x0a\xff"),         /* no message */
        BYTES_LIT("\x04\x12\x02\x18\x01"), /* a rate limit without its policy */
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_null(limit_recs_decode(&f->arena, bad[i], 1));
    }
    fixture_free(f);
}

static void test_bounds(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    for (unsigned i = 0; i < JOB_LIMITS_MAX; i++) {
        limit_encode(&f->buf, &f->arena, &fixed);
    }
    assert_non_null(limit_recs_decode(&f->arena, buf_bytes(&f->buf), JOB_LIMITS_MAX));
    limit_encode(&f->buf, &f->arena, &fixed);
    assert_null(limit_recs_decode(&f->arena, buf_bytes(&f->buf), JOB_LIMITS_MAX + 1));
    assert_null(limit_recs_decode(&f->arena, buf_bytes(&f->buf), UINT32_MAX));

    char name[KEY_NAME_BYTES_MAX + 1];
    memset(name, 'q', sizeof name);
    struct limit_rec named[] = {fixed, floating, rate, rate};
    struct bytes *const names[] = {&named[0].key, &named[1].key, &named[2].rate.name,
                                   &named[3].rate.unique_key};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        for (size_t over = 0; over < 2; over++) {
            *names[i] = bytes_of(name, KEY_NAME_BYTES_MAX + over);
            buf_reset(&f->buf);
            limit_encode(&f->buf, &f->arena, &named[i]);
            const bool read = limit_recs_decode(&f->arena, buf_bytes(&f->buf), 1) != NULL;
            assert_int_equal(read, over == 0);
        }
    }
    fixture_free(f);
}

/* Whoever copies a limit with its strings has all of it, whatever becomes of the memory before. */
static void test_strings(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    for (size_t i = 0; i < sizeof golden / sizeof golden[0]; i++) {
        struct limit_rec copy = *limit_recs_decode(&f->arena, golden[i].stored, 1);
        struct bytes *strings[LIMIT_STRINGS_MAX];
        uint8_t texts[LIMIT_STRINGS_MAX][16];
        const uint32_t count = limit_rec_strings(&copy, strings);
        assert_in_range(count, 1, LIMIT_STRINGS_MAX);
        for (uint32_t n = 0; n < count; n++) {
            assert_true(strings[n]->len <= sizeof texts[n]);
            if (strings[n]->len != 0) {
                memcpy(texts[n], strings[n]->ptr, strings[n]->len);
            }
            strings[n]->ptr = texts[n];
        }
        arena_reset(&f->arena);
        memset(arena_alloc(&f->arena, ARENA_CHUNK_BYTES / 2), 0xff, ARENA_CHUNK_BYTES / 2);
        same(&copy, golden[i].limit);
        arena_reset(&f->arena);
    }
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),   cmocka_unit_test(test_list),
        cmocka_unit_test(test_tolerant), cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_bounds),   cmocka_unit_test(test_strings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
