/* base/steady_test.c - time that goes on while the machine's clock jumps. */
#include "base/steady.h"

#include "base/test.h"

#define WALL_MS 1700000000000

/* A machine whose clock is `off` ms from the truth. */
struct machine {
    struct steady steady;
    int64_t mono_ms, off_ms, last_ms, by_ms;
    enum steady_news news; /* the last one that was any */
};

static int64_t truth(const struct machine *m)
{
    return WALL_MS + m->mono_ms;
}

static int64_t look(struct machine *m)
{
    int64_t now_ms = 0;
    int64_t by_ms = 0;
    const enum steady_news news =
        steady_read(&m->steady, truth(m) + m->off_ms, m->mono_ms, &now_ms, &by_ms);
    if (news != STEADY_NOTHING) {
        m->news = news;
        m->by_ms = by_ms;
    }
    if (news != STEADY_JUMPS) {
        assert_true(now_ms >= m->last_ms);
    }
    m->last_ms = now_ms;
    return now_ms;
}

/* Looks every `step` ms for so long; how far steady time is from the truth. */
static int64_t pass(struct machine *m, int64_t ms, int64_t step)
{
    for (int64_t left = ms; left > 0; left -= step) {
        m->mono_ms += left < step ? left : step;
        (void)look(m);
    }
    return look(m) - truth(m);
}

static void a_moment_changes_nothing(void **state)
{
    (void)state;
    static const int64_t steps[] = {3600000, 864000000, -3600000, -864000000, 1001, -60001};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct machine m = {.mono_ms = 500};
        assert_int_equal(look(&m), truth(&m));
        m.off_ms = steps[i];
        assert_int_equal(look(&m), truth(&m));
        assert_int_equal(m.news, STEADY_DOUBTS);
        assert_int_equal(m.by_ms, steps[i]);
        assert_int_equal(pass(&m, STEADY_DOUBT_MS - 1, 70), 0);
        m.off_ms = 0;
        assert_int_equal(pass(&m, 1000000, 500), 0);
        assert_int_equal(m.news, STEADY_RETURNS);
        assert_int_equal(steady_next_mono_ms(&m.steady), INT64_MAX);
    }
}

static void what_stays_is_believed(void **state)
{
    (void)state;
    static const int64_t steps[] = {3600000, 864000000, -3600000, -864000000, 5000};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct machine m = {.mono_ms = 500};
        (void)look(&m);
        m.off_ms = steps[i];
        (void)look(&m);
        assert_int_equal(steady_next_mono_ms(&m.steady), m.mono_ms + STEADY_DOUBT_MS);
        m.off_ms += 20; /* it is still being corrected */
        m.mono_ms += STEADY_DOUBT_MS;
        assert_int_equal(look(&m), truth(&m) + m.off_ms);
        assert_int_equal(m.news, STEADY_JUMPS);
        assert_int_equal(m.by_ms, m.off_ms);
        assert_int_equal(pass(&m, 100000, 1000), m.off_ms);
    }
}

/* One that jumps about is never believed: the doubt begins anew with each jump. */
static void a_restless_clock_is_not_believed(void **state)
{
    (void)state;
    struct machine m = {.mono_ms = 500};
    (void)look(&m);
    for (int i = 0; i < 50; i++) {
        m.off_ms = 3600000 + i * 10000;
        assert_int_equal(pass(&m, STEADY_DOUBT_MS - 1, 1000), 0);
    }
}

static void small_corrections_are_followed(void **state)
{
    (void)state;
    struct machine m = {.mono_ms = 500};
    (void)look(&m);
    m.off_ms = STEADY_STEP_MS;
    assert_int_equal(look(&m), truth(&m) + STEADY_STEP_MS);
    m.off_ms = 0; /* back: a tenth slower until it is there, whatever the pace of the readings */
    static const int64_t paces[] = {1, 7, 10, 13, 250};
    for (size_t i = 0; i < sizeof paces / sizeof paces[0]; i++) {
        struct machine n = m;
        const int64_t left = pass(&n, 5000, paces[i]);
        assert_in_range(left, 499, 525);
        assert_int_equal(pass(&n, 6000, paces[i]), 0);
        assert_int_equal(n.news, STEADY_NOTHING);
    }
    /* A fall within bounds that is made good again costs a tenth of its time. */
    struct machine n = {.mono_ms = 500};
    (void)look(&n);
    n.off_ms = -50000;
    assert_in_range(-pass(&n, 3000, 10), 290, 300);
    n.off_ms = 0;
    assert_int_equal(pass(&n, 10, 10), 0);
}

/* Between two readings the machine slept: both clocks went on. */
static void sleep_is_no_step(void **state)
{
    (void)state;
    struct machine m = {.mono_ms = 500};
    (void)look(&m);
    m.mono_ms += 8 * 3600000;
    assert_int_equal(look(&m), truth(&m));
    assert_int_equal(m.news, STEADY_NOTHING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_moment_changes_nothing),
        cmocka_unit_test(what_stays_is_believed),
        cmocka_unit_test(a_restless_clock_is_not_believed),
        cmocka_unit_test(small_corrections_are_followed),
        cmocka_unit_test(sleep_is_no_step),
    };
    return cmocka_run_group_tests_name("steady clock", tests, NULL, NULL);
}
