/* rpc/peers_test.c - what counts as one address, and the bound. */
#include "rpc/peers_int.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct sockaddr_storage address_of(const char *text)
{
    struct sockaddr_storage address = {0};
    struct sockaddr_in *ip4 = (struct sockaddr_in *)&address;
    struct sockaddr_in6 *ip6 = (struct sockaddr_in6 *)&address;
    if (inet_pton(AF_INET, text, &ip4->sin_addr) == 1) {
        address.ss_family = AF_INET;
    } else {
        assert_int_equal(inet_pton(AF_INET6, text, &ip6->sin6_addr), 1);
        address.ss_family = AF_INET6;
    }
    return address;
}

static struct peer *enter(struct peers *peers, const char *text, uint32_t max)
{
    const struct sockaddr_storage address = address_of(text);
    return peers_enter(peers, &address, max);
}

static void an_address_has_so_many_and_no_more(void **state)
{
    (void)state;
    struct peers peers;
    peers_init(&peers);
    struct peer *first = enter(&peers, "10.0.0.1", 2);
    struct peer *second = enter(&peers, "10.0.0.1", 2);
    assert_non_null(first);
    assert_ptr_equal(first, second);
    assert_null(enter(&peers, "10.0.0.1", 2));
    struct peer *other = enter(&peers, "10.0.0.2", 2);
    assert_non_null(other);
    peers_leave(&peers, first);
    assert_non_null(enter(&peers, "10.0.0.1", 2));
    peers_leave(&peers, second);
    peers_leave(&peers, second);
    peers_leave(&peers, other);
    peers_leave(&peers, NULL);
    assert_null(enter(&peers, "10.0.0.1", 0));
    peers_deinit(&peers);
}

static void what_one_host_is_given_counts_as_one(void **state)
{
    (void)state;
    struct peers peers;
    peers_init(&peers);
    struct peer *net = enter(&peers, "2001:db8:0:1::1", 9);
    assert_ptr_equal(enter(&peers, "2001:db8:0:1:ffff::2", 9), net);
    struct peer *next = enter(&peers, "2001:db8:0:2::1", 9);
    assert_ptr_not_equal(next, net);
    struct peer *ip4 = enter(&peers, "192.0.2.7", 9);
    assert_ptr_equal(enter(&peers, "::ffff:192.0.2.7", 9), ip4);
    assert_ptr_not_equal(ip4, net);
    peers_leave(&peers, net);
    peers_leave(&peers, net);
    peers_leave(&peers, next);
    peers_leave(&peers, ip4);
    peers_leave(&peers, ip4);
    peers_deinit(&peers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_has_so_many_and_no_more),
        cmocka_unit_test(what_one_host_is_given_counts_as_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
