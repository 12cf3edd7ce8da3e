/* rpc/toll_test.c - an allowance, its end, and how it comes back. */
#include "rpc/toll_int.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define SECOND_US 1000000

static uint32_t take_all(struct toll *toll, enum toll_kind kind, int64_t now_us)
{
    uint32_t taken = 0;
    while (toll_take(toll, kind, now_us)) {
        taken++;
    }
    return taken;
}

static void an_allowance_is_used_up_exactly(void **state)
{
    (void)state;
    struct toll toll;
    toll_init(&toll, 5);
    assert_int_equal(take_all(&toll, TOLL_SETTINGS, 5), TOLL_SETTINGS_BURST);
    assert_false(toll_take(&toll, TOLL_SETTINGS, 5));
    assert_int_equal(take_all(&toll, TOLL_PING, 5), TOLL_PING_BURST);
}

static void it_comes_back_at_its_rate(void **state)
{
    (void)state;
    struct toll toll;
    toll_init(&toll, 0);
    (void)take_all(&toll, TOLL_PING, 0);
    assert_int_equal(take_all(&toll, TOLL_PING, SECOND_US), TOLL_PING_RATE);
    assert_int_equal(take_all(&toll, TOLL_PING, SECOND_US + SECOND_US / 2), TOLL_PING_RATE / 2);
    assert_int_equal(take_all(&toll, TOLL_PING, 3600ll * SECOND_US), TOLL_PING_BURST);
    assert_int_equal(take_all(&toll, TOLL_SETTINGS, INT64_MAX / 2), TOLL_SETTINGS_BURST);
}

/* Asking often must not lose what comes back slowly. */
static void a_slow_rate_comes_back_whole(void **state)
{
    (void)state;
    struct toll toll;
    toll_init(&toll, 0);
    (void)take_all(&toll, TOLL_SETTINGS, 0);
    uint32_t taken = 0;
    for (int64_t now_us = 0; now_us <= 10 * SECOND_US; now_us += 1000) {
        taken += take_all(&toll, TOLL_SETTINGS, now_us);
    }
    assert_in_range(taken, 9 * TOLL_SETTINGS_RATE / 2, 10 * TOLL_SETTINGS_RATE);
}

static void what_is_given_ends_at_the_allowance(void **state)
{
    (void)state;
    struct toll toll;
    toll_init(&toll, 0);
    toll_give(&toll, TOLL_WINDOW, 10);
    assert_int_equal(take_all(&toll, TOLL_WINDOW, 0), TOLL_WINDOW_BURST);
    toll_give(&toll, TOLL_WINDOW, TOLL_WINDOW_PER_DATA);
    assert_int_equal(take_all(&toll, TOLL_WINDOW, 0), TOLL_WINDOW_PER_DATA);
    for (uint32_t i = 0; i < TOLL_KINDS; i++) {
        assert_non_null(toll_name((enum toll_kind)i));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_allowance_is_used_up_exactly),
        cmocka_unit_test(it_comes_back_at_its_rate),
        cmocka_unit_test(a_slow_rate_comes_back_whole),
        cmocka_unit_test(what_is_given_ends_at_the_allowance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
