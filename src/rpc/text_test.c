/* rpc/text_test.c - percent-encoding, status numbers, timeouts, addresses, protobuf fields. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "rpc/accept_int.h"
#include "rpc/pb_int.h"
#include "rpc/text_int.h"

static void check_encoded(const char *text, const char *want)
{
    struct arena arena = {0};
    const struct bytes encoded = text_encode(&arena, bytes_str(text));
    assert_true(bytes_eq(encoded, bytes_str(want)));
    assert_true(bytes_eq(text_decode(&arena, encoded), bytes_str(text)));
    assert_true(rpc_header_text_ok(encoded));
    arena_deinit(&arena);
}

static void test_encode(void **state)
{
    (void)state;
    check_encoded("", "");
    check_encoded("plain text!", "plain text!");
    check_encoded("100%", "100%25");
    check_encoded("a\nb\x7f", "a%0Ab%7F");
    check_encoded("[0, \xe2\x88\x9e)", "[0, %E2%88%9E)");
    check_encoded(" x ", "%20x%20");
    check_encoded(" ", "%20");
}

/* Paths and other words of peers are quoted in texts: what is no UTF-8 becomes U+FFFD. */
static void test_encode_repairs(void **state)
{
    (void)state;
    struct arena arena = {0};
    assert_true(bytes_eq(text_encode(&arena, BYTES_LIT("a\xff\xc3\xa4\xe2\x82")),
                         BYTES_LIT("a%EF%BF%BD%C3%A4%EF%BF%BD%EF%BF%BD")));
    char noise[TEXT_MESSAGE_BYTES_MAX + 1];
    memset(noise, 0xfe, sizeof noise);
    const struct bytes back =
        text_decode(&arena, text_encode(&arena, bytes_of(noise, sizeof noise)));
    assert_true(bytes_utf8(back, NULL) && back.len <= TEXT_MESSAGE_BYTES_MAX);
    arena_deinit(&arena);
}

static void test_encode_cuts_between_characters(void **state)
{
    (void)state;
    struct arena arena = {0};
    char text[TEXT_MESSAGE_BYTES_MAX + 100];
    memset(text, 'a', sizeof text);
    static const uint8_t infinity[] = {0xe2, 0x88, 0x9e};
    memcpy(text + TEXT_MESSAGE_BYTES_MAX - 1, infinity, sizeof infinity);
    const struct bytes encoded = text_encode(&arena, bytes_of(text, sizeof text));
    assert_int_equal(encoded.len, TEXT_MESSAGE_BYTES_MAX - 1);
    arena_deinit(&arena);
}

static void test_decode_leaves_bad_escapes(void **state)
{
    (void)state;
    struct arena arena = {0};
    static const char *const same[] = {"%", "%4", "%zz", "a%", "%%"};
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        assert_true(bytes_eq(text_decode(&arena, bytes_str(same[i])), bytes_str(same[i])));
    }
    assert_true(bytes_eq(text_decode(&arena, BYTES_LIT("%%41%e2")), BYTES_LIT("%A\xe2")));
    arena_deinit(&arena);
}

static void test_status(void **state)
{
    (void)state;
    assert_int_equal(status_parse(BYTES_LIT("0")), 0);
    assert_int_equal(status_parse(BYTES_LIT("16")), 16);
    static const char *const unknown[] = {"", "17", "99", "-1", "x", "1x", "100", "4294967296"};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        assert_int_equal(status_parse(bytes_str(unknown[i])), RPC_STATUS_UNKNOWN);
    }
}

static void test_timeout(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t us;
    } good[] = {
        {"1n", 1},          {"1000n", 1},
        {"1001n", 2},       {"0S", 0},
        {"5u", 5},          {"250m", 250000},
        {"3S", 3000000},    {"2M", 120000000},
        {"1H", 3600000000}, {"99999999H", INT64_C(359999996400000000)},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        int64_t us = -1;
        assert_true(timeout_parse(bytes_str(good[i].text), &us));
        assert_int_equal(us, good[i].us);
    }
    static const char *const bad[] = {"",     "S",   "1",          "1s", "-1S",
                                      "1.5S", " 1S", "123456789S", "1SS"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int64_t us = -1;
        assert_false(timeout_parse(bytes_str(bad[i]), &us));
        assert_int_equal(us, -1);
    }
}

static void test_timeout_print(void **state)
{
    (void)state;
    struct arena arena = {0};
    static const int64_t values[] = {-5, 0, 1, 99999999, 100000000, 1234567890123, INT64_MAX};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        int64_t back = -1;
        const struct bytes text = timeout_print(&arena, values[i]);
        assert_true(timeout_parse(text, &back));
        const int64_t want = values[i] < 0 ? 0 : values[i];
        if (i + 1 < sizeof values / sizeof values[0]) {
            assert_true(back >= want && back - want <= want / 10000);
        }
    }
    assert_true(bytes_eq(timeout_print(&arena, 1500), BYTES_LIT("1500u")));
    arena_deinit(&arena);
}

static void test_addresses(void **state)
{
    (void)state;
    char host[64];
    uint16_t port = 0;
    assert_int_equal(address_split("127.0.0.1:50051", host, sizeof host, &port, NULL).code,
                     SILO_OK);
    assert_string_equal(host, "127.0.0.1");
    assert_int_equal(port, 50051);
    assert_int_equal(address_split("[::1]:0", host, sizeof host, &port, NULL).code, SILO_OK);
    assert_string_equal(host, "::1");
    assert_int_equal(port, 0);
    static const char *const bad[] = {"",           ":1",     "host", "host:", "host:x",
                                      "host:65536", "::1:80", "h: 1", "h:-1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct silo_err err;
        assert_int_equal(address_split(bad[i], host, sizeof host, &port, &err).code, SILO_INVALID);
    }
}

static void test_pb(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 1000);
    pb_put_uint(&out, 1, UINT64_MAX);
    pb_put_bytes(&out, 2, BYTES_LIT("text"));
    pb_put_bytes(&out, 2000, BYTES_LIT(""));
    struct bytes in = buf_bytes(&out);
    struct pb_field field;
    assert_true(pb_next(&in, &field));
    assert_true(field.number == 1 && !field.is_bytes && field.value == UINT64_MAX);
    assert_true(pb_next(&in, &field));
    assert_true(field.number == 2 && bytes_eq(field.bytes, BYTES_LIT("text")));
    assert_true(pb_next(&in, &field));
    assert_true(field.number == 2000 && field.is_bytes && field.bytes.len == 0);
    assert_false(pb_next(&in, &field));
    assert_int_equal(in.len, 0);
    assert_true(bytes_eq(pb_find(buf_bytes(&out), 2), BYTES_LIT("text")));
    /* Every cut, and every byte changed: no read past the end, no endless loop. */
    for (size_t cut = 0; cut < out.len; cut++) {
        for (unsigned v = 0; v < 256; v++) {
            uint8_t copy[64];
            memcpy(copy, out.ptr, out.len);
            copy[cut] = (uint8_t)v;
            struct bytes rest = bytes_of(copy, cut + 1);
            while (pb_next(&rest, &field)) {
            }
        }
    }
    buf_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encode),
        cmocka_unit_test(test_encode_repairs),
        cmocka_unit_test(test_encode_cuts_between_characters),
        cmocka_unit_test(test_decode_leaves_bad_escapes),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_timeout),
        cmocka_unit_test(test_timeout_print),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_pb),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
