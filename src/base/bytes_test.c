/* base/bytes_test.c - order, equality, and which bytes are UTF-8. */
#include "base/bytes.h"

#include "base/test.h"

static void order_is_that_of_unsigned_bytes(void **state)
{
    (void)state;
    assert_true(bytes_cmp(BYTES_LIT("a"), BYTES_LIT("b")) < 0);
    assert_true(bytes_cmp(BYTES_LIT("\xff"), BYTES_LIT("\x01")) > 0);
    assert_true(bytes_cmp(BYTES_LIT("a"), BYTES_LIT("a\0")) < 0);
    assert_int_equal(bytes_cmp(BYTES_NONE, BYTES_LIT("")), 0);
    assert_true(bytes_eq(BYTES_NONE, BYTES_LIT("")));
    assert_false(bytes_eq(BYTES_LIT("a"), BYTES_LIT("ab")));
    assert_true(bytes_starts(BYTES_LIT("abc"), BYTES_LIT("ab")));
    assert_true(bytes_starts(BYTES_LIT("abc"), BYTES_NONE));
    assert_false(bytes_starts(BYTES_LIT("a"), BYTES_LIT("ab")));
    assert_int_equal(bytes_str(NULL).len, 0);
}

static void utf8_counts_scalar_values(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t chars;
    } good[] = {
        {"", 0},
        {"abc", 3},
        {"\xc3\xa9", 1},
        {"\xe2\x82\xac!", 2},
        {"\xf0\x9f\x98\x80", 1},
        {"\xed\x9f\xbf\xee\x80\x80", 2},
        {"\xf4\x8f\xbf\xbf", 1},
        {"\xe0\xa0\x80", 1},
        {"\xf0\x90\x80\x80", 1},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        size_t chars = 99;
        assert_true(bytes_utf8(bytes_str(good[i].text), &chars));
        assert_int_equal(chars, good[i].chars);
    }
    assert_true(bytes_utf8(BYTES_LIT("a\0b"), NULL));
}

static void ill_formed_utf8_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "\x80",             /* continuation alone */
        "\xc0\xaf",         /* overlong */
        "\xc1\xbf",         /* overlong */
        "\xe0\x9f\xbf",     /* overlong */
        "\xf0\x8f\xbf\xbf", /* overlong */
        "\xed\xa0\x80",     /* surrogate */
        "\xf4\x90\x80\x80", /* past U+10FFFF */
        "\xf5\x80\x80\x80",
        "\xff",
        "\xe2\x82",      /* cut short */
        "\xf0\x9f\x98",  /* cut short */
        "a\xe2\x28\xa1", /* wrong second byte */
        "\xe2\x82\x28",  /* wrong third byte */
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(bytes_utf8(bytes_str(bad[i]), NULL));
    }
}

/*
 * Eight plain characters are taken at once: what is not plain must be seen wherever it stands among
 * them.
 */
static void what_is_not_plain_is_seen_at_every_place(void **state)
{
    (void)state;
    for (size_t len = 2; len < 40; len++) {
        for (size_t at = 0; at + 2 <= len; at++) {
            uint8_t text[40];
            size_t chars = 0;
            memset(text, 'x', sizeof text);
            assert_true(bytes_utf8(bytes_of(text, len), &chars));
            assert_int_equal(chars, len);
            text[at] = 0xc3;
            text[at + 1] = 0xa9;
            assert_true(bytes_utf8(bytes_of(text, len), &chars));
            assert_int_equal(chars, len - 1);
            text[at] = 'x'; /* its second byte alone */
            assert_false(bytes_utf8(bytes_of(text, len), NULL));
        }
    }
}

static void numbers_are_read_from_the_most_significant_byte_on(void **state)
{
    (void)state;
    const uint8_t bytes[] = {0xff, 2, 3, 4, 5, 6, 7, 8};
    assert_int_equal(bytes_be(bytes, 0), 0);
    assert_int_equal(bytes_be(bytes + 1, 2), 0x0203);
    assert_true(bytes_be(bytes, 8) == UINT64_C(0xff02030405060708));
}

static void a_copy_is_its_own(void **state)
{
    (void)state;
    const struct bytes none = bytes_dup(BYTES_NONE);
    const struct bytes copy = bytes_dup(bytes_of("ab\0c", 4));
    assert_non_null(none.ptr);
    assert_int_equal(none.len, 0);
    assert_true(bytes_eq(copy, bytes_of("ab\0c", 4)));
    assert_int_equal(copy.ptr[4], '\0');
    free((void *)none.ptr);
    free((void *)copy.ptr);
}

static void a_part_is_found_wherever_it_stands(void **state)
{
    (void)state;
    assert_true(bytes_has(BYTES_LIT("abc"), BYTES_LIT("bc")));
    assert_true(bytes_has(BYTES_LIT("abc"), BYTES_LIT("abc")));
    assert_false(bytes_has(BYTES_LIT("abc"), BYTES_LIT("bd")));
    assert_false(bytes_has(BYTES_LIT("ab"), BYTES_LIT("abc")));
    assert_false(bytes_has(BYTES_NONE, BYTES_LIT("a")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_is_that_of_unsigned_bytes),
        cmocka_unit_test(utf8_counts_scalar_values),
        cmocka_unit_test(ill_formed_utf8_is_refused),
        cmocka_unit_test(what_is_not_plain_is_seen_at_every_place),
        cmocka_unit_test(numbers_are_read_from_the_most_significant_byte_on),
        cmocka_unit_test(a_copy_is_its_own),
        cmocka_unit_test(a_part_is_found_wherever_it_stands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
