/* server/notify_test.c - what a service manager receives, by path and by abstract name, and what happens without one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/notify.h"

/* A manager's socket under that name, '@' for the abstract ones; NOTIFY_SOCKET names it. */
static int manager_open(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const size_t len = strlen(name);
    memcpy(address.sun_path, name, len);
    if (name[0] == '@') {
        address.sun_path[0] = '\0';
    } else {
        (void)unlink(name);
    }
    const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)),
                     0);
    assert_int_equal(setenv("NOTIFY_SOCKET", name, 1), 0);
    return fd;
}

static void assert_told(int fd, const char *want)
{
    char got[256] = {0};
    const ssize_t n = recv(fd, got, sizeof got - 1, 0);
    assert_true(n > 0);
    assert_string_equal(got, want);
}

static void a_manager_is_told_by_path(void **state)
{
    (void)state;
    char name[96];
    (void)snprintf(name, sizeof name, "/tmp/silo-notify-%d", (int)getpid());
    const int fd = manager_open(name);
    assert_true(notify_manager("READY=1\nSTATUS=serving 8 shards"));
    assert_told(fd, "READY=1\nSTATUS=serving 8 shards");
    assert_true(notify_manager("STOPPING=1"));
    assert_told(fd, "STOPPING=1");
    (void)close(fd);
    (void)unlink(name);
    assert_false(notify_manager("READY=1")); /* nobody there any more: told so, and nothing else */
}

static void a_manager_is_told_by_abstract_name(void **state)
{
    (void)state;
    char name[96];
    (void)snprintf(name, sizeof name, "@silo-notify-%d", (int)getpid());
    const int fd = manager_open(name);
    assert_true(notify_manager("READY=1"));
    assert_told(fd, "READY=1");
    (void)close(fd);
}

static void without_a_manager_nothing_is_sent(void **state)
{
    (void)state;
    (void)unsetenv("NOTIFY_SOCKET");
    assert_true(notify_manager("READY=1"));
    (void)setenv("NOTIFY_SOCKET", "", 1);
    assert_true(notify_manager("READY=1"));
}

static void names_that_are_no_address_are_refused(void **state)
{
    (void)state;
    (void)setenv("NOTIFY_SOCKET", "relative/path", 1);
    assert_false(notify_manager("READY=1"));
    char longest[256];
    memset(longest, 'x', sizeof longest);
    longest[0] = '/';
    longest[sizeof longest - 1] = '\0';
    (void)setenv("NOTIFY_SOCKET", longest, 1);
    assert_false(notify_manager("READY=1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_manager_is_told_by_path),
        cmocka_unit_test(a_manager_is_told_by_abstract_name),
        cmocka_unit_test(without_a_manager_nothing_is_sent),
        cmocka_unit_test(names_that_are_no_address_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
