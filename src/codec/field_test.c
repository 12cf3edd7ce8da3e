/* The parts of records: what was written is read back, and nothing else is read. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "codec/field.h"

static const uint64_t numbers[] = {0,        1,         127,        128,
                                   16383,    16384,     UINT32_MAX, (uint64_t)UINT32_MAX + 1,
                                   1u << 21, INT64_MAX, UINT64_MAX};

static void test_numbers(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 1000);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        buf_reset(&buf);
        field_var(&buf, numbers[i]);
        field_zig(&buf, (int64_t)numbers[i]);
        struct decoder d = decoder_raw(buf_bytes(&buf));
        assert_true(decoder_var(&d) == numbers[i]);
        assert_true(decoder_zig(&d) == (int64_t)numbers[i]);
        assert_true(decoder_done(&d));
        d = decoder_raw(buf_bytes(&buf));
        assert_int_equal(decoder_u32(&d) == numbers[i] && !d.bad, numbers[i] <= UINT32_MAX);
    }
    buf_deinit(&buf);
}

/* Equal numbers have equal bytes: one that is longer than it has to be is no number. */
static void test_numbers_refused(void **state)
{
    (void)state;
    const struct bytes bad[] = {
        BYTES_LIT(""),
        BYTES_LIT("\x80"),
        BYTES_LIT("\x80\x00"),
        BYTES_LIT("\xff\x80\x00"),
        BYTES_LIT("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"),
        BYTES_LIT("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x00"),
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct decoder d = decoder_raw(bad[i]);
        assert_int_equal(decoder_var(&d), 0);
        assert_true(d.bad);
        assert_int_equal(decoder_u8(&d), 0); /* it sticks */
        assert_false(decoder_done(&d));
    }
}

static void test_parts(void **state)
{
    (void)state;
    const struct uuid id = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};
    struct buf buf;
    buf_init(&buf, 1000);
    buf_u8(&buf, 2);
    field_double(&buf, -0.1);
    item_append(&buf, BYTES_LIT("one"));
    item_append(&buf, BYTES_NONE);
    buf_append(&buf, id.b, sizeof id.b);
    buf_u8(&buf, 1);
    const struct bytes all = buf_bytes(&buf);
    struct decoder d = decoder_of(all, 2);
    assert_int_equal(d.version, 2);
    const double back = decoder_double(&d);
    const double wanted = -0.1;
    assert_memory_equal(&back, &wanted, sizeof back);
    struct bytes items = decoder_items(&d, 2);
    struct bytes item;
    assert_true(item_next(&items, &item) && bytes_eq(item, BYTES_LIT("one")));
    assert_true(item_next(&items, &item) && item.len == 0);
    assert_false(item_next(&items, &item));
    const struct uuid back_id = decoder_uuid(&d);
    assert_true(uuid_eq(&back_id, &id));
    assert_true(decoder_bool(&d));
    assert_true(decoder_done(&d));

    d = decoder_of(all, 1); /* of a later build */
    assert_true(d.bad);
    d = decoder_of(bytes_of((const uint8_t *)"", 1), 2); /* version 0 */
    assert_true(d.bad);
    for (size_t len = 0; len < all.len; len++) {
        d = decoder_of(bytes_of(all.ptr, len), 2);
        (void)decoder_double(&d);
        (void)decoder_items(&d, 2);
        (void)decoder_uuid(&d);
        (void)decoder_bool(&d);
        assert_false(decoder_done(&d));
    }
    buf_deinit(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_numbers_refused),
        cmocka_unit_test(test_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
