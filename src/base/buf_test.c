/* base/buf_test.c - growth up to the maximum and not a byte past it. */
#include "base/buf.h"

#include <stdlib.h>

#include "base/test.h"

static void grows_and_keeps_contents(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 1u << 20);
    for (unsigned i = 0; i < 10000; i++) {
        buf_u8(&buf, (uint8_t)i);
    }
    assert_int_equal(buf.len, 10000);
    for (unsigned i = 0; i < 10000; i++) {
        assert_int_equal(buf.ptr[i], (uint8_t)i);
    }
    buf_deinit(&buf);
}

static void full_at_the_maximum(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 4);
    buf_append(&buf, "abcd", 4);
    assert_false(buf.full);
    buf_append(&buf, "", 0);
    assert_false(buf.full);
    buf_append(&buf, "e", 1);
    assert_true(buf.full);
    assert_int_equal(buf.len, 4);
    buf_append(&buf, "", 0);
    assert_int_equal(buf.len, 4);
    buf_reset(&buf);
    buf_append(&buf, "xy", 2);
    assert_false(buf.full);
    assert_memory_equal(buf.ptr, "xy", 2);
    buf_deinit(&buf);
}

static void a_huge_wish_is_refused(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 100);
    buf_append(&buf, "abc", 3);
    assert_null(buf_room(&buf, SIZE_MAX));
    assert_true(buf.full);
    assert_int_equal(buf.len, 3);
    buf_deinit(&buf);
}

static void printf_appends_without_a_nul(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 1000);
    buf_printf(&buf, "%s", "one");
    buf_printf(&buf, " %d", 2);
    assert_int_equal(buf.len, 5);
    assert_memory_equal(buf.ptr, "one 2", 5);
    buf_deinit(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_and_keeps_contents),
        cmocka_unit_test(full_at_the_maximum),
        cmocka_unit_test(a_huge_wish_is_refused),
        cmocka_unit_test(printf_appends_without_a_nul),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
