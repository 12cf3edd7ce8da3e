/* server/descriptors_test.c - how open files are divided between storage and connections. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "server/server_int.h"

static void enough_files_leave_what_is_configured(void **state)
{
    (void)state;
    assert_int_equal(descriptors_connections(UINT64_MAX, 16384, 1), 16384);
    assert_int_equal(descriptors_connections(1048576, 16384, 1024), 16384);
    const uint64_t exact = 16384 + SERVER_FILES_RESERVE + SERVER_FILES_PER_SHARD;
    assert_int_equal(descriptors_connections(exact, 16384, 1), 16384);
    assert_int_equal(descriptors_connections(exact - 1, 16384, 1), 16383);
}

static void storage_has_its_reserve_first(void **state)
{
    (void)state;
    const uint32_t one = descriptors_connections(1024, 16384, 1);
    assert_int_equal(one, 1024 - SERVER_FILES_RESERVE - SERVER_FILES_PER_SHARD);
    assert_int_equal(descriptors_connections(1024, 16384, 8), one - 7 * SERVER_FILES_PER_SHARD);
}

static void neither_side_is_left_with_nothing(void **state)
{
    (void)state;
    assert_int_equal(descriptors_connections(1024, 16384, 1024), 512);
    assert_int_equal(descriptors_connections(64, 16384, 1), 32);
    assert_int_equal(descriptors_connections(0, 16384, 1), 1);
}

static void the_soft_limit_is_raised_to_the_hard_one(void **state)
{
    (void)state;
    struct rlimit before, after;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    const struct rlimit low = {.rlim_cur = before.rlim_max / 2, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    descriptors_raise();
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &after), 0);
    assert_int_equal(after.rlim_cur, before.rlim_max);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(enough_files_leave_what_is_configured),
        cmocka_unit_test(storage_has_its_reserve_first),
        cmocka_unit_test(neither_side_is_left_with_nothing),
        cmocka_unit_test(the_soft_limit_is_raised_to_the_hard_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
