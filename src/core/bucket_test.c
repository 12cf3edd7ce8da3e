/*
 * core/bucket_test.c - both algorithms step by step, calendar ends, extreme numbers, what holds for
 * any sequence, and the stored form.
 */
#include <math.h>
#include <time.h>

#include "base/test.h"
#include "core/bucket.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define TOKEN BUCKET_TOKEN
#define LEAKY BUCKET_LEAKY
#define RESET BUCKET_RESET_REMAINING
#define DRAIN BUCKET_DRAIN_OVER_LIMIT
#define CAL BUCKET_GREGORIAN

/* --- sequences: each step is one request, each table begins with no bucket --- */

struct step {
    int64_t now_ms;
    struct bucket_request request;
    bool over;
    int64_t remaining, reset_ms;
    bool stored; /* whether there is a bucket afterwards */
};

static void walk(const char *name, const struct step *steps, size_t count)
{
    struct bucket bucket;
    bool exists = false;
    for (size_t i = 0; i < count; i++) {
        const struct step *s = &steps[i];
        const struct bucket_answer a = bucket_take(&bucket, &exists, &s->request, s->now_ms);
        if (a.error != NULL || a.over != s->over || a.remaining != s->remaining ||
            a.reset_ms != s->reset_ms || exists != s->stored) {
            fail_msg("%s, step %zu: over %d remaining %lld reset %lld stored %d error %s", name, i,
                     a.over, (long long)a.remaining, (long long)a.reset_ms, exists,
                     a.error != NULL ? a.error : "none");
        }
    }
}

#define WALK(...)                                   \
    do {                                            \
        const struct step steps_[] = {__VA_ARGS__}; \
        walk(__func__, steps_, COUNT(steps_));      \
    } while (0)

/* {algorithm, limit, duration, hits, behavior} */
static void test_token_basics(void **state)
{
    (void)state;
    WALK({1000, {TOKEN, 5, 100, 0, 0}, false, 5, 1100, true}, /* asking begins the window */
         {1010, {TOKEN, 5, 100, 2, 0}, false, 3, 1100, true},
         {1020, {TOKEN, 5, 100, 4, 0}, true, 3, 1100, true},  /* whole or not at all */
         {1020, {TOKEN, 5, 100, 3, 0}, false, 0, 1100, true}, /* exactly what remains */
         {1030, {TOKEN, 5, 100, 1, 0}, true, 0, 1100, true},
         {1030, {TOKEN, 5, 100, 0, 0}, false, 0, 1100, true},
         {1099, {TOKEN, 5, 100, 1, 0}, true, 0, 1100, true},
         {1100, {TOKEN, 5, 100, 5, 0}, false, 0, 1200, true}, /* full again at its end */
         {5000, {TOKEN, 5, 100, 6, 0}, true, 5, 5100, true},  /* never more than the limit */
         {5001, {TOKEN, 5, 100, 5, 0}, false, 0, 5100, true});
    WALK({0, {TOKEN, 1, 10, 1, 0}, false, 0, 10, true},
         {9, {TOKEN, 1, 10, 1, 0}, true, 0, 10, true},
         {-500, {TOKEN, 1, 10, 1, 0}, true, 0, 10, true}, /* a clock set back refills nothing */
         {10, {TOKEN, 1, 10, 1, 0}, false, 0, 20, true});
}

static void test_token_negative(void **state)
{
    (void)state;
    WALK({0, {TOKEN, 5, 100, 4, 0}, false, 1, 100, true},
         {1, {TOKEN, 5, 100, -2, 0}, false, 3, 100, true},
         {2, {TOKEN, 5, 100, -9, 0}, false, 5, 100, true}, /* not above the limit */
         {3, {TOKEN, 5, 100, 5, 0}, false, 0, 100, true},
         {4, {TOKEN, 5, 100, -1, 0}, false, 1, 100, true}, /* an empty one takes things back */
         {5, {TOKEN, 5, 100, 1, 0}, false, 0, 100, true});
    WALK({0, {TOKEN, 5, 100, -3, 0}, false, 5, 100, true});
}

static void test_token_drain_reset(void **state)
{
    (void)state;
    WALK({0, {TOKEN, 5, 100, 2, DRAIN}, false, 3, 100, true},
         {1, {TOKEN, 5, 100, 4, DRAIN}, true, 0, 100, true},
         {2, {TOKEN, 5, 100, 1, 0}, true, 0, 100, true},
         {100, {TOKEN, 5, 100, 1, DRAIN}, false, 4, 200, true});
    WALK({0, {TOKEN, 5, 100, 6, DRAIN}, true, 0, 100, true},
         {1, {TOKEN, 5, 100, 1, 0}, true, 0, 100, true});
    /* A reset forgets the bucket and takes nothing; the next request begins a window. */
    WALK({0, {TOKEN, 5, 100, 2, RESET}, false, 3, 100, true},
         {1, {TOKEN, 5, 100, 2, RESET}, false, 5, 1, false},
         {2, {TOKEN, 5, 100, 2, 0}, false, 3, 102, true});
}

static void test_token_limit(void **state)
{
    (void)state;
    WALK({0, {TOKEN, 10, 100, 4, 0}, false, 6, 100, true},
         {1, {TOKEN, 15, 100, 0, 0}, false, 11, 100, true}, /* the difference on top */
         {2, {TOKEN, 8, 100, 1, 0}, false, 3, 100, true},
         {3, {TOKEN, 2, 100, 1, 0}, true, 0, 100, true}, /* never below 0 */
         {4, {TOKEN, 5, 100, 3, 0}, false, 0, 100, true},
         {5, {TOKEN, 0, 100, 1, 0}, true, 0, 5, true}, /* no limit to take from: untouched */
         {6, {TOKEN, -7, 100, 0, RESET}, true, 0, 6, true},
         {7, {TOKEN, 6, 100, 1, 0}, false, 0, 100, true});
    WALK({9, {TOKEN, 0, 100, 0, 0}, true, 0, 9, false},
         {9, {LEAKY, 0, 100, 1, 0}, true, 0, 9, false},
         {9, {LEAKY, INT64_MIN, 0, -1, DRAIN}, true, 0, 9, false});
}

static void test_token_duration(void **state)
{
    (void)state;
    WALK({1000, {TOKEN, 5, 100, 2, 0}, false, 3, 1100, true},
         {1020, {TOKEN, 5, 300, 1, 0}, false, 2, 1300, true}, /* from the first check on */
         {1150, {TOKEN, 5, 200, 1, 0}, false, 1, 1200, true},
         {1160, {TOKEN, 5, 160, 1, 0}, false, 4, 1320, true}, /* that was just past: renewed */
         {1170, {TOKEN, 5, 11, 1, 0}, false, 3, 1171, true},
         {1171, {TOKEN, 5, 11, 1, 0}, false, 4, 1182, true});
    WALK({1000, {TOKEN, 5, 100, 5, 0}, false, 0, 1100, true}, /* an empty one is renewed as well */
         {1050, {TOKEN, 5, 10, 5, 0}, false, 0, 1060, true});
    /* To a calendar: the end of the span that is now; what remains stays. */
    WALK({90000, {TOKEN, 5, 999999, 2, 0}, false, 3, 1089999, true},
         {130000, {TOKEN, 5, 0, 1, CAL}, false, 2, 180000, true},
         {179999, {TOKEN, 5, 0, 3, CAL}, true, 2, 180000, true},
         {180000, {TOKEN, 5, 0, 3, CAL}, false, 2, 240000, true});
}

static void test_no_duration(void **state)
{
    (void)state;
    for (int64_t duration = -1; duration <= 0; duration++) {
        WALK({50, {TOKEN, 5, duration, 5, 0}, false, 0, 50, false},
             {50, {TOKEN, 5, duration, 5, 0}, false, 0, 50, false},
             {50, {TOKEN, 5, duration, 6, 0}, true, 5, 50, false},
             {50, {LEAKY, 5, duration, 5, 0}, false, 0, 50, false},
             {50, {LEAKY, 5, duration, 5, DRAIN}, false, 0, 50, false},
             {50, {LEAKY, 5, duration, 6, 0}, true, 5, 50, false},
             {60, {TOKEN, 5, 100, 5, 0}, false, 0, 160, true}, /* a live one is refilled */
             {61, {TOKEN, 5, duration, 5, 0}, false, 0, 61, false},
             {62, {LEAKY, 5, 100, 5, 0}, false, 0, 162, true},
             {63, {LEAKY, 5, duration, 5, 0}, false, 0, 63, false});
    }
    /* With the clock set back it is still full. */
    WALK({50, {TOKEN, 5, 100, 5, 0}, false, 0, 150, true},
         {20, {TOKEN, 5, 0, 5, 0}, false, 0, 50, false},
         {20, {TOKEN, 5, 0, 5, 0}, false, 0, 20, false});
}

static void test_leaky_basics(void **state)
{
    (void)state;
    /* 10 per 1000 ms: a unit every 100 ms. */
    WALK({0, {LEAKY, 10, 1000, 0, 0}, false, 10, 0, false}, /* asked while full: nothing to keep */
         {0, {LEAKY, 10, 1000, 11, 0}, true, 10, 0, false},
         {0, {LEAKY, 10, 1000, 10, 0}, false, 0, 1000, true},
         {99, {LEAKY, 10, 1000, 1, 0}, true, 0, 1000, true}, /* not a whole unit yet */
         {100, {LEAKY, 10, 1000, 1, 0}, false, 0, 1100, true},
         {250, {LEAKY, 10, 1000, 2, 0}, true, 1, 1100, true},
         {250, {LEAKY, 10, 1000, 1, 0}, false, 0, 1200, true}, /* half a unit stays */
         {299, {LEAKY, 10, 1000, 1, 0}, true, 0, 1200, true},
         {300, {LEAKY, 10, 1000, 1, 0}, false, 0, 1300, true},
         {1299, {LEAKY, 10, 1000, 10, 0}, true, 9, 1300, true},
         {1300, {LEAKY, 10, 1000, 10, 0}, false, 0, 2300, true}, /* full */
         {9000, {LEAKY, 10, 1000, 1, 0}, false, 9, 9100, true},  /* never more than full */
         {9100, {LEAKY, 10, 1000, 0, 0}, false, 10, 9100, false});
    /* A fraction of a ms per unit, and many ms per unit. */
    WALK({0, {LEAKY, 3000, 1000, 3000, 0}, false, 0, 1000, true},
         {1, {LEAKY, 3000, 1000, 3, 0}, false, 0, 1001, true},
         {2, {LEAKY, 3000, 1000, 4, 0}, true, 3, 1001, true});
    WALK({0, {LEAKY, 3, 1000, 3, 0}, false, 0, 1000, true},
         {333, {LEAKY, 3, 1000, 1, 0}, true, 0, 1000, true},
         {334, {LEAKY, 3, 1000, 1, 0}, false, 0, 1334, true},
         {1333, {LEAKY, 3, 1000, 3, 0}, true, 2, 1334, true},
         {1334, {LEAKY, 3, 1000, 3, 0}, false, 0, 2334, true});
    /* The time a set-back clock goes over twice counts once. */
    WALK({1000, {LEAKY, 10, 1000, 9, 0}, false, 1, 1900, true},
         {500, {LEAKY, 10, 1000, 1, 0}, false, 0, 2000, true},
         {1000, {LEAKY, 10, 1000, 1, 0}, true, 0, 2000, true},
         {1100, {LEAKY, 10, 1000, 1, 0}, false, 0, 2100, true});
}

static void test_leaky_changes(void **state)
{
    (void)state;
    WALK({0, {LEAKY, 10, 1000, 8, 0}, false, 2, 800, true},
         {0, {LEAKY, 10, 1000, -3, 0}, false, 5, 500, true},
         {0, {LEAKY, 10, 1000, -9, 0}, false, 10, 0, false}); /* full: nothing to keep */
    WALK({0, {LEAKY, 10, 1000, 8, 0}, false, 2, 800, true},   /* another limit: full */
         {0, {LEAKY, 20, 1000, 1, 0}, false, 19, 50, true},
         {0, {LEAKY, 5, 1000, 1, 0}, false, 4, 200, true},
         {0, {LEAKY, 5, 2000, 0, 0}, false, 4, 400, true}, /* another duration: another rate */
         {200, {LEAKY, 5, 500, 1, 0}, false, 4, 300, true});
    WALK({0, {LEAKY, 10, 1000, 10, 0}, false, 0, 1000, true},
         {100, {LEAKY, 10, 1000, 3, RESET}, false, 7, 400, true}, /* full, then taken from */
         {100, {LEAKY, 10, 1000, 0, RESET}, false, 10, 100, false},
         {100, {LEAKY, 10, 1000, 11, RESET}, true, 10, 100, false});
    WALK({0, {LEAKY, 10, 1000, 7, DRAIN}, false, 3, 700, true},
         {0, {LEAKY, 10, 1000, 4, DRAIN}, true, 0, 1000, true},
         {50, {LEAKY, 10, 1000, 1, DRAIN}, true, 0, 1000, true}, /* what gathers is not drained */
         {100, {LEAKY, 10, 1000, 1, DRAIN}, false, 0, 1100, true},
         {250, {LEAKY, 10, 1000, 2, DRAIN}, true, 0, 1250, true});
    /* A minute on the calendar: one unit a second, full when the minute ends. */
    WALK({30000, {LEAKY, 60, 0, 60, CAL}, false, 0, 60000, true},
         {31000, {LEAKY, 60, 0, 2, CAL}, true, 1, 60000, true},
         {31000, {LEAKY, 60, 0, 1, CAL}, false, 0, 60000, true},
         {59999, {LEAKY, 60, 0, 60, CAL}, true, 28, 60000, true},
         {60000, {LEAKY, 60, 0, 60, CAL}, false, 0, 120000, true},
         {60500, {LEAKY, 60, 0, -59, CAL}, false, 59, 61000, true});
}

static void test_algorithm_change(void **state)
{
    (void)state;
    WALK({0, {TOKEN, 5, 100, 5, 0}, false, 0, 100, true},
         {1, {LEAKY, 5, 100, 4, 0}, false, 1, 81, true},
         {2, {TOKEN, 5, 100, 1, 0}, false, 4, 102, true},
         {3, {LEAKY, 5, 100, 6, 0}, true, 5, 3, false});
}

/* An error changes nothing, whatever else the request says. */
static void test_errors(void **state)
{
    (void)state;
    static const int64_t durations[] = {3, -1, 6, INT64_MIN, INT64_MAX};
    for (size_t i = 0; i < COUNT(durations); i++) {
        for (int with = 0; with < 2; with++) {
            struct bucket bucket = {TOKEN, 5, 100, 3, 10, 110};
            const struct bucket before = bucket;
            bool exists = with != 0;
            const struct bucket_request request = {i % 2 ? TOKEN : LEAKY, (int64_t)i % 3 * 10,
                                                   durations[i], 1, CAL | RESET};
            const struct bucket_answer a = bucket_take(&bucket, &exists, &request, 20);
            assert_non_null(a.error);
            assert_true(a.over);
            assert_int_equal(exists, with);
            assert_memory_equal(&bucket, &before, sizeof bucket);
        }
    }
}

/* --- the calendar --- */

static int64_t utc_ms(int year, int month, int day, int hour, int minute, int second)
{
    struct tm tm = {.tm_year = year - 1900,
                    .tm_mon = month - 1,
                    .tm_mday = day,
                    .tm_hour = hour,
                    .tm_min = minute,
                    .tm_sec = second};
    return (int64_t)timegm(&tm) * 1000;
}

/* When the calendar span that now lies in ends. */
static int64_t end_of(int64_t span, int64_t now_ms)
{
    struct bucket bucket;
    bool exists = false;
    const struct bucket_request request = {TOKEN, 5, span, 1, CAL};
    const struct bucket_answer a = bucket_take(&bucket, &exists, &request, now_ms);
    assert_null(a.error);
    return a.reset_ms;
}

static void test_calendar_table(void **state)
{
    (void)state;
    static const struct {
        int64_t span;
        int now[6], end[6];
    } table[] = {
        {0, {2024, 5, 6, 7, 8, 9}, {2024, 5, 6, 7, 9, 0}},
        {0, {2024, 12, 31, 23, 59, 59}, {2025, 1, 1, 0, 0, 0}},
        {1, {2024, 5, 6, 7, 8, 9}, {2024, 5, 6, 8, 0, 0}},
        {1, {2024, 2, 28, 23, 0, 0}, {2024, 2, 29, 0, 0, 0}},
        {2, {2024, 5, 6, 7, 8, 9}, {2024, 5, 7, 0, 0, 0}},
        {2, {2024, 2, 29, 0, 0, 0}, {2024, 3, 1, 0, 0, 0}},
        {2, {1969, 12, 31, 23, 59, 59}, {1970, 1, 1, 0, 0, 0}},
        {4, {2024, 2, 1, 0, 0, 0}, {2024, 3, 1, 0, 0, 0}},
        {4, {2023, 2, 28, 23, 59, 59}, {2023, 3, 1, 0, 0, 0}},
        {4, {2000, 2, 29, 12, 0, 0}, {2000, 3, 1, 0, 0, 0}}, /* every 400 years a leap year */
        {4, {2100, 2, 28, 12, 0, 0}, {2100, 3, 1, 0, 0, 0}}, /* else no century is one */
        {4, {2024, 12, 5, 0, 0, 0}, {2025, 1, 1, 0, 0, 0}},
        {4, {1600, 1, 31, 0, 0, 0}, {1600, 2, 1, 0, 0, 0}},
        {5, {2024, 1, 1, 0, 0, 0}, {2025, 1, 1, 0, 0, 0}},
        {5, {2024, 12, 31, 23, 59, 59}, {2025, 1, 1, 0, 0, 0}},
        {5, {1969, 7, 20, 20, 17, 40}, {1970, 1, 1, 0, 0, 0}},
    };
    for (size_t i = 0; i < COUNT(table); i++) {
        const int *n = table[i].now, *e = table[i].end;
        const int64_t now_ms = utc_ms(n[0], n[1], n[2], n[3], n[4], n[5]);
        const int64_t end_ms = utc_ms(e[0], e[1], e[2], e[3], e[4], e[5]);
        assert_int_equal(end_of(table[i].span, now_ms), end_ms);
        assert_int_equal(end_of(table[i].span, end_ms - 1), end_ms);
        assert_true(end_of(table[i].span, end_ms) > end_ms); /* the next span begins there */
    }
}

/* The rate of a leaky bucket follows the length of the month. */
static void test_calendar_rate(void **state)
{
    (void)state;
    const int64_t hour = 3600000;
    const int64_t leap = utc_ms(2024, 2, 1, 0, 0, 0), common = utc_ms(2023, 2, 1, 0, 0, 0);
    WALK({leap, {LEAKY, 29, 4, 1, CAL}, false, 28, leap + 24 * hour, true},
         {leap + 24 * hour - 1, {LEAKY, 29, 4, 0, CAL}, false, 28, leap + 24 * hour, true});
    WALK({common, {LEAKY, 28, 4, 28, CAL}, false, 0, utc_ms(2023, 3, 1, 0, 0, 0), true},
         {common + 24 * hour, {LEAKY, 28, 4, 0, CAL}, false, 1, utc_ms(2023, 3, 1, 0, 0, 0), true});
    WALK({leap, {LEAKY, 366, 5, 2, CAL}, false, 364, leap + 48 * hour, true});
}

/* xorshift64*; every test has its own seed. */
static uint64_t next_u64(uint64_t *rng)
{
    *rng ^= *rng >> 12;
    *rng ^= *rng << 25;
    *rng ^= *rng >> 27;
    return *rng * UINT64_C(2685821657736338717);
}

static int64_t next_below(uint64_t *rng, int64_t bound)
{
    return (int64_t)(next_u64(rng) % (uint64_t)bound);
}

/* Against the C library, over ten thousand years on both sides of the epoch. */
static void test_calendar_random(void **state)
{
    (void)state;
    uint64_t rng = 11;
    const int64_t reach = INT64_C(10000) * 366 * 86400000;
    for (int i = 0; i < 20000; i++) {
        const int64_t now_ms = next_below(&rng, 2 * reach) - reach;
        const time_t now = (time_t)(now_ms / 1000 - (now_ms % 1000 < 0));
        struct tm tm;
        assert_non_null(gmtime_r(&now, &tm));
        const int y = tm.tm_year + 1900, m = tm.tm_mon + 1, d = tm.tm_mday;
        const int h = tm.tm_hour, min = tm.tm_min;
        assert_int_equal(end_of(0, now_ms), utc_ms(y, m, d, h, min + 1, 0));
        assert_int_equal(end_of(1, now_ms), utc_ms(y, m, d, h + 1, 0, 0));
        assert_int_equal(end_of(2, now_ms), utc_ms(y, m, d + 1, 0, 0, 0));
        assert_int_equal(end_of(4, now_ms), utc_ms(y, m + 1, 1, 0, 0, 0));
        assert_int_equal(end_of(5, now_ms), utc_ms(y + 1, 1, 1, 0, 0, 0));
    }
}

/* --- extreme numbers --- */

static void test_large(void **state)
{
    (void)state;
    const int64_t max = BUCKET_LIMIT_MAX;
    WALK({0, {TOKEN, max, 100, 1, 0}, false, max - 1, 100, true},
         {0, {TOKEN, max, 100, max, 0}, true, max - 1, 100, true},
         {0, {TOKEN, max, 100, max - 1, 0}, false, 0, 100, true},
         {0, {TOKEN, max, 100, INT64_MIN, 0}, false, max, 100, true},
         {0, {TOKEN, INT64_MAX, 100, max + 1, 0}, true, max, 100, true}, /* the limit is capped */
         {0, {TOKEN, INT64_MAX, 100, max, 0}, false, 0, 100, true});
    WALK({0, {LEAKY, INT64_MAX, INT64_MAX, max, 0}, false, 0, INT64_MAX, true},
         {1024, {LEAKY, INT64_MAX, INT64_MAX, 1, 0}, false, 0, INT64_MAX, true},
         {INT64_MAX, {LEAKY, INT64_MAX, INT64_MAX, max, 0}, false, 0, INT64_MAX, false});
    WALK({INT64_MAX, {TOKEN, 1, 1, 1, 0}, false, 0, INT64_MAX, false},
         {INT64_MIN, {TOKEN, 1, 1, 1, 0}, false, 0, INT64_MIN + 1, true},
         {INT64_MAX, {LEAKY, 1, 1, 0, 0}, false, 1, INT64_MAX, false},
         {INT64_MIN, {LEAKY, 1, INT64_MAX, 1, 0}, false, 0, -1, true},
         {-5000, {LEAKY, 1, INT64_MAX, 1, 0}, true, 0, -1, true},
         {-1, {LEAKY, 1, INT64_MAX, 1, 0}, false, 0, INT64_MAX - 1, true},
         {INT64_MIN, {LEAKY, 1, 5, 1, 0}, true, 0, INT64_MIN + 5, true} /* that clock was wrong */);
}

static void check_bucket(const struct bucket *bucket)
{
    assert_in_range(bucket->limit, 1, BUCKET_LIMIT_MAX);
    assert_true(bucket->remaining >= 0 && bucket->remaining <= (double)bucket->limit);
    if (bucket->algorithm == TOKEN) {
        assert_true(bucket->remaining == trunc(bucket->remaining));
    }
}

static const int64_t extremes[] = {
    INT64_MIN, INT64_MIN + 1, -BUCKET_LIMIT_MAX - 1, -60001,        -1,       0, 1, 2, 4,
    5,         1000,          BUCKET_LIMIT_MAX,      INT64_MAX - 1, INT64_MAX};

/* Any numbers in any order: an answer is in range, and the bucket can be stored and read. */
static void test_extremes(void **state)
{
    (void)state;
    uint64_t rng = 3;
    struct bucket bucket;
    bool exists = false;
    for (int i = 0; i < 200000; i++) {
        const int64_t *e = extremes;
        const int64_t n = COUNT(extremes);
        const struct bucket_request request = {
            next_below(&rng, 2) ? TOKEN : LEAKY, e[next_below(&rng, n)], e[next_below(&rng, n)],
            e[next_below(&rng, n)], (int32_t)next_below(&rng, 32)};
        const int64_t now_ms = e[next_below(&rng, n)];
        const struct bucket_answer a = bucket_take(&bucket, &exists, &request, now_ms);
        assert_true(a.remaining >= 0 && (a.remaining == 0 || a.remaining <= request.limit));
        if (exists) {
            check_bucket(&bucket);
            assert_true(a.error != NULL || request.limit <= 0 || !bucket_stale(&bucket, now_ms));
        }
        if (a.error != NULL || request.limit <= 0) {
            assert_true(a.over);
        }
    }
}

/* --- what holds for any sequence --- */

#define STEPS 300

struct passed {
    int64_t at_ms, hits;
};

static int64_t sum_since(const struct passed *passed, size_t count, int64_t from_ms)
{
    int64_t sum = 0;
    while (count > 0 && passed[count - 1].at_ms >= from_ms) {
        sum += passed[--count].hits;
    }
    return sum;
}

/*
 * A token bucket against a model that knows only the fills: one begins with the first request at or
 * after the end of the last, takes one duration, and passes exactly what fits into the limit. So no
 * window of one duration passes more than two fills' worth.
 */
static void test_token_property(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        uint64_t rng = seed;
        const int64_t limit = 1 + next_below(&rng, 20), duration = 1 + next_below(&rng, 500);
        struct passed passed[STEPS];
        size_t count = 0;
        struct bucket bucket;
        bool exists = false;
        int64_t now_ms = next_below(&rng, 1000000), end_ms = INT64_MIN, left = 0;
        for (int i = 0; i < STEPS; i++) {
            now_ms += next_below(&rng, 1 + duration / 4);
            const int64_t hits = next_below(&rng, limit + 2);
            const struct bucket_request request = {TOKEN, limit, duration, hits, 0};
            const struct bucket_answer a = bucket_take(&bucket, &exists, &request, now_ms);
            if (now_ms >= end_ms) {
                end_ms = now_ms + duration;
                left = limit;
            }
            assert_int_equal(a.over, hits > left);
            if (!a.over) {
                left -= hits;
                passed[count++] = (struct passed){now_ms, hits};
            }
            assert_int_equal(a.remaining, left);
            assert_int_equal(a.reset_ms, end_ms);
            assert_true(sum_since(passed, count, end_ms - duration) <= limit);
            assert_true(sum_since(passed, count, now_ms - duration + 1) <= 2 * limit);
        }
    }
}

/* From any passed request to any later one a leaky bucket passes at most limit + elapsed / rate. */
static void test_leaky_property(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        uint64_t rng = seed;
        const int64_t limit = 1 + next_below(&rng, 50), duration = 1 + next_below(&rng, 5000);
        struct passed passed[STEPS];
        size_t count = 0;
        struct bucket bucket;
        bool exists = false;
        int64_t now_ms = next_below(&rng, 1000000);
        for (int i = 0; i < STEPS; i++) {
            now_ms += next_below(&rng, 2 + 2 * duration / limit);
            const int64_t hits = next_below(&rng, limit < 4 ? limit + 2 : 5);
            const struct bucket_request request = {LEAKY, limit, duration, hits,
                                                   next_below(&rng, 20) ? 0 : DRAIN};
            const struct bucket_answer a = bucket_take(&bucket, &exists, &request, now_ms);
            if (a.over) {
                continue;
            }
            passed[count++] = (struct passed){now_ms, hits};
            int64_t sum = 0;
            for (size_t j = count; j-- > 0;) {
                sum += passed[j].hits;
                const double most = (double)limit + (double)(now_ms - passed[j].at_ms) *
                                                        (double)limit / (double)duration;
                assert_true((double)sum <= most + 1e-6);
            }
        }
    }
}

/*
 * A leaky bucket against whole-number arithmetic: the level is counted in units of 1/duration. With
 * a power of two as duration the double is exact, and so must be every answer.
 */
static void test_leaky_exact(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        uint64_t rng = seed;
        const int64_t limit = 1 + next_below(&rng, 100);
        const int64_t duration = INT64_C(1) << next_below(&rng, 20);
        struct bucket bucket;
        bool exists = false;
        int64_t now_ms = next_below(&rng, 1000000), last_ms = now_ms, level = limit * duration;
        for (int i = 0; i < STEPS; i++) {
            now_ms += next_below(&rng, 2 + 2 * duration / limit);
            level += (now_ms - last_ms) * limit;
            level = level < limit * duration ? level : limit * duration;
            last_ms = now_ms;
            const int64_t hits = next_below(&rng, limit < 4 ? limit + 3 : 6) - 1;
            const struct bucket_request request = {LEAKY, limit, duration, hits, 0};
            const struct bucket_answer a = bucket_take(&bucket, &exists, &request, now_ms);
            assert_int_equal(a.over, hits > level / duration);
            if (!a.over) {
                level -= hits * duration;
                level = level < limit * duration ? level : limit * duration;
            }
            assert_int_equal(a.remaining, level / duration);
            if (level < limit * duration) {
                const int64_t missing = limit * duration - level;
                assert_int_equal(a.reset_ms, now_ms + (missing + limit - 1) / limit);
            } else {
                assert_true(a.reset_ms <= now_ms + 1);
            }
        }
    }
}

/*
 * Requests that take nothing leave a leaky bucket byte for byte; repeated at its reset time a
 * request passes.
 */
static void test_refusal_property(void **state)
{
    (void)state;
    uint64_t rng = 5;
    for (int i = 0; i < 20000; i++) {
        const enum bucket_algorithm algorithm = next_below(&rng, 2) ? TOKEN : LEAKY;
        const int64_t limit = 1 + next_below(&rng, 100), duration = 1 + next_below(&rng, 10000);
        const int64_t now_ms = next_below(&rng, 1000000);
        struct bucket bucket = {0};
        bool exists = false;
        struct bucket_request request = {algorithm, limit, duration, limit, 0};
        assert_false(bucket_take(&bucket, &exists, &request, now_ms).over);
        const struct bucket before = bucket;
        request.hits = limit;
        const int64_t later_ms = now_ms + next_below(&rng, duration);
        const struct bucket_answer a = bucket_take(&bucket, &exists, &request, later_ms);
        assert_true(a.over && exists);
        request.hits = 0;
        assert_int_equal(bucket_take(&bucket, &exists, &request, later_ms).reset_ms, a.reset_ms);
        assert_memory_equal(&bucket, &before, sizeof bucket);
        request.hits = limit;
        assert_false(bucket_take(&bucket, &exists, &request, a.reset_ms).over);
    }
}

/* A refused request passes when it is said to be ready, and not much before. */
static void test_ready_property(void **state)
{
    (void)state;
    uint64_t rng = 6;
    for (int i = 0; i < 20000; i++) {
        const enum bucket_algorithm algorithm = next_below(&rng, 2) ? TOKEN : LEAKY;
        const int64_t limit = 1 + next_below(&rng, 100), duration = 1 + next_below(&rng, 10000);
        int64_t now_ms = next_below(&rng, 1000000);
        struct bucket bucket = {0};
        bool exists = false;
        struct bucket_request request = {algorithm, limit, duration, limit, 0};
        assert_false(bucket_take(&bucket, &exists, &request, now_ms).over);
        now_ms += next_below(&rng, duration);
        request.hits = 1 + next_below(&rng, limit);
        if (!bucket_take(&bucket, &exists, &request, now_ms).over) {
            continue;
        }
        const int64_t ready_ms = bucket_ready_ms(&bucket, exists, &request, now_ms);
        assert_true(ready_ms > now_ms);
        struct bucket early = bucket;
        bool early_exists = true;
        if (ready_ms - 2 > now_ms) { /* a ms for rounding */
            assert_true(bucket_take(&early, &early_exists, &request, ready_ms - 2).over);
        }
        if (bucket_take(&bucket, &exists, &request, ready_ms).over) {
            assert_true(bucket_ready_ms(&bucket, exists, &request, ready_ms) <= ready_ms + 1);
            assert_false(bucket_take(&bucket, &exists, &request, ready_ms + 1).over);
        }
    }
}

static struct bucket_request random_request(uint64_t *rng)
{
    static const int64_t limits[] = {1, 2, 3, 7, 10, 100, 0};
    static const int64_t durations[] = {0, 1, 2, 4, 5, 100, 333, 60000, -5};
    return (struct bucket_request){next_below(rng, 2) ? TOKEN : LEAKY,
                                   limits[next_below(rng, COUNT(limits))],
                                   durations[next_below(rng, COUNT(durations))],
                                   next_below(rng, 14) - 2, (int32_t)next_below(rng, 32)};
}

/* Whatever is asked of a stale bucket, its answers and what is kept are those of an absent one. */
static void test_stale_property(void **state)
{
    (void)state;
    uint64_t rng = 9;
    int stale_count = 0;
    struct bucket bucket;
    bool exists = false;
    int64_t now_ms = 1700000000000;
    for (int i = 0; i < 100000; i++) {
        const struct bucket_request first = random_request(&rng);
        (void)bucket_take(&bucket, &exists, &first, now_ms);
        now_ms += next_below(&rng, 4) ? next_below(&rng, 300) : next_below(&rng, 100000);
        if (!exists || !bucket_stale(&bucket, now_ms)) {
            continue;
        }
        stale_count++;
        struct bucket kept = bucket, made = {0};
        bool kept_exists = true, made_exists = false;
        int64_t at_ms = now_ms;
        for (int k = 0; k < 3; k++) {
            const struct bucket_request request = random_request(&rng);
            const struct bucket_answer a = bucket_take(&kept, &kept_exists, &request, at_ms);
            const struct bucket_answer b = bucket_take(&made, &made_exists, &request, at_ms);
            assert_int_equal(a.over, b.over);
            assert_int_equal(a.remaining, b.remaining);
            assert_int_equal(a.reset_ms, b.reset_ms);
            assert_ptr_equal(a.error, b.error);
            at_ms += next_below(&rng, 50);
        }
    }
    assert_true(stale_count > 10000);
}

static void test_stale_table(void **state)
{
    (void)state;
    const struct bucket token = {TOKEN, 5, 100, 0, 1000, 1100};
    assert_false(bucket_stale(&token, 1099));
    assert_true(bucket_stale(&token, 1100));
    assert_false(bucket_stale(&token, INT64_MIN));
    const struct bucket full = {LEAKY, 5, 100, 5, 1000, 1000};
    assert_true(bucket_stale(&full, 1000));
    assert_true(bucket_stale(&full, 0)); /* a clock set back does not empty it */
    struct bucket leaky;
    bool exists = false;
    const struct bucket_request request = {LEAKY, 3, 1000, 1, 0};
    (void)bucket_take(&leaky, &exists, &request, 0);
    assert_false(bucket_stale(&leaky, 333));
    assert_true(bucket_stale(&leaky, 334)); /* a third of 1000 ms, rounded up */
}

/* --- the stored form --- */

static void test_golden(void **state)
{
    (void)state;
    static const uint8_t want[] = {1, 1, 20,   0xd0, 0x0f, 0, 0,    0,   0,
                                   0, 0, 0x0c, 0x40, 0x80, 1, 0xff, 0x01};
    const struct bucket bucket = {LEAKY, 10, 1000, 3.5, 64, -128};
    struct buf buf;
    buf_init(&buf, 1024);
    bucket_encode(&buf, &bucket);
    assert_int_equal(buf.len, sizeof want);
    assert_memory_equal(buf.ptr, want, sizeof want);
    buf_deinit(&buf);
}

/* Every bucket comes back; no part of its bytes is one, nor is it with a byte more. */
static void test_round_trip(void **state)
{
    (void)state;
    uint64_t rng = 21;
    struct buf buf;
    buf_init(&buf, 1024);
    for (int i = 0; i < 5000; i++) {
        const int64_t n = COUNT(extremes);
        struct bucket bucket = {.algorithm = i % 2 ? TOKEN : LEAKY,
                                .limit = 1 + next_below(&rng, BUCKET_LIMIT_MAX),
                                .duration_ms = extremes[next_below(&rng, n)],
                                .updated_ms = extremes[next_below(&rng, n)],
                                .expire_ms = (int64_t)next_u64(&rng)};
        bucket.remaining = (double)next_below(&rng, bucket.limit + 1);
        if (bucket.algorithm == LEAKY) {
            bucket.remaining *= (double)next_below(&rng, 1000) / 1000;
        }
        buf_reset(&buf);
        bucket_encode(&buf, &bucket);
        struct bucket back = {0};
        assert_true(bucket_decode(buf_bytes(&buf), &back));
        assert_int_equal(back.algorithm, bucket.algorithm);
        assert_int_equal(back.limit, bucket.limit);
        assert_int_equal(back.duration_ms, bucket.duration_ms);
        assert_true(back.remaining == bucket.remaining);
        assert_int_equal(back.updated_ms, bucket.updated_ms);
        assert_int_equal(back.expire_ms, bucket.expire_ms);
        for (size_t len = 0; len < buf.len; len++) {
            assert_false(bucket_decode(bytes_of(buf.ptr, len), &back));
        }
        buf_u8(&buf, 0);
        assert_false(bucket_decode(buf_bytes(&buf), &back));
    }
    assert_false(bucket_decode(BYTES_NONE, &(struct bucket){0}));
    buf_deinit(&buf);
}

static void test_decode_refuses(void **state)
{
    (void)state;
    static const struct bucket table[] = {
        {LEAKY, 10, 1000, NAN, 0, 0},
        {LEAKY, 10, 1000, INFINITY, 0, 0},
        {LEAKY, 10, 1000, -INFINITY, 0, 0},
        {LEAKY, 10, 1000, -0.5, 0, 0},
        {LEAKY, 10, 1000, 10.5, 0, 0}, /* more than the limit */
        {TOKEN, 10, 1000, 3.5, 0, 0},  /* not whole */
        {TOKEN, 0, 1000, 0, 0, 0},
        {TOKEN, -1, 1000, 0, 0, 0},
        {TOKEN, BUCKET_LIMIT_MAX + 1, 1000, 0, 0, 0},
        {(enum bucket_algorithm)2, 10, 1000, 3, 0, 0},
        {(enum bucket_algorithm)255, 10, 1000, 3, 0, 0},
    };
    struct buf buf;
    buf_init(&buf, 1024);
    struct bucket back = {.limit = 77};
    for (size_t i = 0; i < COUNT(table); i++) {
        buf_reset(&buf);
        bucket_encode(&buf, &table[i]);
        assert_false(bucket_decode(buf_bytes(&buf), &back));
    }
    buf_reset(&buf);
    bucket_encode(&buf, &(struct bucket){TOKEN, 10, 1000, 3, 0, 0});
    buf.ptr[0] = 2; /* a later version */
    assert_false(bucket_decode(buf_bytes(&buf), &back));
    buf.ptr[0] = 1;
    buf.ptr[buf.len - 1] = 0x80; /* a number padded with nothing */
    buf_u8(&buf, 0);
    assert_false(bucket_decode(buf_bytes(&buf), &back));
    buf_reset(&buf);
    buf_append(&buf, "\1\0\24\xff\xff\xff\xff\xff\xff\xff\xff\xff\x03\0\0\0\0\0\0\0\0\0\0", 23);
    assert_false(bucket_decode(buf_bytes(&buf), &back)); /* a number of more than 64 bits */
    buf.ptr[12] = 1;
    assert_int_equal(back.limit, 77);
    assert_true(bucket_decode(buf_bytes(&buf), &back));
    assert_true(back.duration_ms == INT64_MIN);
    buf_deinit(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_token_basics),
        cmocka_unit_test(test_token_negative),
        cmocka_unit_test(test_token_drain_reset),
        cmocka_unit_test(test_token_limit),
        cmocka_unit_test(test_token_duration),
        cmocka_unit_test(test_no_duration),
        cmocka_unit_test(test_leaky_basics),
        cmocka_unit_test(test_leaky_changes),
        cmocka_unit_test(test_algorithm_change),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_calendar_table),
        cmocka_unit_test(test_calendar_rate),
        cmocka_unit_test(test_calendar_random),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_token_property),
        cmocka_unit_test(test_leaky_property),
        cmocka_unit_test(test_leaky_exact),
        cmocka_unit_test(test_refusal_property),
        cmocka_unit_test(test_stale_table),
        cmocka_unit_test(test_ready_property),
        cmocka_unit_test(test_stale_property),
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_decode_refuses),
    };
    return cmocka_run_group_tests_name("bucket", tests, NULL, NULL);
}
