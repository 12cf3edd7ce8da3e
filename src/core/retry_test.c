/* core/retry_test.c - the back-off formula, and ids from seeds. */
#include <math.h>
#include <xxhash.h>

#include "base/test.h"
#include "core/retry.h"

static const struct uuid task = {.b = {1, 2, 3}};

static int64_t delay(struct retry_policy policy, uint32_t relative)
{
    return retry_delay_ms(&policy, relative, &task);
}

static void test_table(void **state)
{
    (void)state;
    static const struct {
        struct retry_policy policy;
        uint32_t relative;
        int64_t ms;
    } table[] = {
        {{.initial_ms = 100, .factor = 2}, 1, 100}, /* the first retry waits the initial interval */
        {{.initial_ms = 100, .factor = 2}, 2, 200},
        {{.initial_ms = 100, .factor = 2}, 5, 1600},
        {{.initial_ms = 100, .factor = 0}, 3, 400}, /* 0 is 2.0 */
        {{.initial_ms = 100, .factor = 1}, 9, 100},
        {{.initial_ms = 100, .factor = 1.5}, 2, 150},
        {{.initial_ms = 3, .factor = 1.5}, 2, 5}, /* rounded */
        {{.initial_ms = 100, .factor = 0.5}, 3, 25},
        {{.initial_ms = 0, .factor = 2}, 4, 0},
        {{.initial_ms = 100, .max_ms = 250, .factor = 2}, 2, 200},
        {{.initial_ms = 100, .max_ms = 250, .factor = 2}, 3, 250},
        {{.initial_ms = 100, .max_ms = 0, .factor = 2}, 11, 102400}, /* 0 is no cap */
        {{.initial_ms = 100, .max_ms = 50, .factor = 2}, 1, 50},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        assert_int_equal(delay(table[i].policy, table[i].relative), table[i].ms);
    }
}

static void test_overflow(void **state)
{
    (void)state;
    assert_true(delay((struct retry_policy){.initial_ms = 1000, .factor = 10}, 1000) == INT64_MAX);
    assert_true(delay((struct retry_policy){.initial_ms = INT64_MAX, .factor = 2, .jitter = true},
                      2) == INT64_MAX);
    assert_int_equal(
        delay((struct retry_policy){.initial_ms = 1000, .factor = 10, .max_ms = 7}, UINT32_MAX), 7);
    assert_int_equal(delay((struct retry_policy){.initial_ms = 0, .factor = 1e300}, 100),
                     0); /* 0 times infinity */
}

/* Jitter multiplies by 1 + u before the cap; u comes from the task id alone. */
static void test_jitter(void **state)
{
    (void)state;
    const struct retry_policy policy = {.initial_ms = 1000, .factor = 2, .jitter = true};
    double sum = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        struct uuid id = {{0}};
        memcpy(id.b, &i, sizeof i);
        const int64_t ms = retry_delay_ms(&policy, 1, &id);
        assert_in_range(ms, 1000, 2000);
        assert_int_equal(ms, retry_delay_ms(&policy, 1, &id));
        sum += (double)ms;
    }
    assert_true(fabs(sum / 1000 - 1500) < 40);
    struct retry_policy capped = policy;
    capped.max_ms = 1000;
    assert_int_equal(delay(capped, 1), 1000);
    const double u = (double)(XXH64(task.b, 16, 0) >> 11) * 0x1p-53;
    assert_int_equal(delay(policy, 1), llround(1000 * (1 + u)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_jitter),
    };
    return cmocka_run_group_tests_name("retry", tests, NULL, NULL);
}
