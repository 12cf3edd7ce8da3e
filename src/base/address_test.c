/* base/address_test.c - what can be connected to, and what only looks like it. */
#include <string.h>

#include "base/address.h"
#include "base/test.h"

static void connectable(void **state)
{
    (void)state;
    static const char *const good[] = {"10.0.0.5:50051",
                                       "127.0.0.1:1",
                                       "silo.example.com:65535",
                                       "localhost:80",
                                       "[::1]:50051",
                                       "silo_1-a.b:7",
                                       "a:1",
                                       "[2001:db8::5]:50051",
                                       "1.2.3.4.example.:99",
                                       "0.0.0.0.ab:12",
                                       "xn--bcher-kva:443"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(address_connectable(bytes_str(good[i])));
    }
}

static void not_connectable(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      ":",
                                      ":1",
                                      "a",
                                      "a:",
                                      "a:0",
                                      "a:65536",
                                      "a:1x",
                                      "a:-1",
                                      "a:000001",
                                      "0.0.0.0:1",
                                      "[::]:1",
                                      "[0::0]:1",
                                      "[::ffff:0.0.0.0]:1",
                                      "[0:0:0:0:0:0:0.0.0.0]:1",
                                      "::1:5",
                                      "[::1]",
                                      "[]:1",
                                      "[a]:1",
                                      "[::1:1",
                                      "1.2.3:1",
                                      "1.2.3.4.5:",
                                      "999.1.1.1:1",
                                      "a b:1",
                                      "a@b:1",
                                      "a/b:1",
                                      "http://a:1",
                                      "a\n:1",
                                      "-a:1",
                                      ".a:1",
                                      "[fe80::1%eth0]:1",
                                      "%2Frun%2Fx:1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(address_connectable(bytes_str(bad[i])));
    }
    assert_false(address_connectable(BYTES_NONE));
    assert_false(address_connectable(bytes_of("a\0b:1", 5)));
}

static void any(void **state)
{
    (void)state;
    static const char *const all[] = {
        "0.0.0.0", "::", "::0", "0:0:0:0:0:0:0:0", "::0.0.0.0", "::ffff:0.0.0.0", "::ffff:0:0"};
    static const char *const others[] = {
        "127.0.0.1", "::1", "::ffff:127.0.0.1", "::ffff:0:1", "0", "", "a", "[::]"};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        assert_true(address_is_any(all[i]));
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_false(address_is_any(others[i]));
    }
}

static void loopback(void **state)
{
    (void)state;
    static const char *const own[] = {"127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"};
    static const char *const others[] = {"10.0.0.1", "0.0.0.0", "::", "fe80::1", "localhost", ""};
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        assert_true(address_is_loopback(own[i]));
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_false(address_is_loopback(others[i]));
    }
}

static void the_longest(void **state)
{
    (void)state;
    char text[ADDRESS_TEXT_MAX + 2];
    memset(text, 'a', sizeof text);
    memcpy(text + ADDRESS_TEXT_MAX - 6, ":65535", sizeof ":65535");
    assert_true(address_connectable(bytes_of(text, ADDRESS_TEXT_MAX)));
    memset(text, 'a', sizeof text);
    memcpy(text + ADDRESS_TEXT_MAX - 5, ":65535", sizeof ":65535");
    assert_false(address_connectable(bytes_of(text, ADDRESS_TEXT_MAX + 1)));
    memset(text, '1', sizeof text);
    memcpy(text + ADDRESS_TEXT_MAX - 6, ":65535", sizeof ":65535");
    assert_false(address_connectable(bytes_of(text, ADDRESS_TEXT_MAX)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connectable), cmocka_unit_test(not_connectable), cmocka_unit_test(any),
        cmocka_unit_test(loopback),    cmocka_unit_test(the_longest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
