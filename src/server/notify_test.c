/*
 * server/notify_test.c - what a service manager receives, by path and by abstract name, and what
 * happens without one.
 */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
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

struct busy {
    int fd;
    bool ready; /* READY was among what it read */
};

/* Lets the sender meet a full queue, and reads until it is told. */
static void *busy_read(void *context)
{
    struct busy *busy = context;
    (void)usleep(100000);
    char got[256];
    ssize_t n = 1;
    while (n > 0 && !busy->ready) {
        n = recv(busy->fd, got, sizeof got, 0);
        busy->ready = n == 7 && memcmp(got, "READY=1", 7) == 0;
    }
    return NULL;
}

static void a_busy_manager_is_waited_for(void **state)
{
    (void)state;
    char name[96];
    (void)snprintf(name, sizeof name, "@silo-notify-busy-%d", (int)getpid());
    struct busy busy = {.fd = manager_open(name)};
    uint32_t filled = 0;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path + 1, name + 1, strlen(name) - 1);
    const socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
    const int filler = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    while (sendto(filler, "x", 1, 0, (struct sockaddr *)&address, len) == 1) {
        filled++;
    }
    assert_true(filled != 0);
    const struct timeval patience = {.tv_sec = 30};
    assert_int_equal(setsockopt(busy.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    assert_int_equal(fcntl(busy.fd, F_SETFL, 0), 0);
    pthread_t reader;
    assert_int_equal(pthread_create(&reader, NULL, busy_read, &busy), 0);
    const bool told = notify_manager("READY=1");
    (void)sendto(filler, "READY=1", 7, 0, (struct sockaddr *)&address, len); /* the reader ends */
    (void)pthread_join(reader, NULL);
    assert_true(told && busy.ready);
    (void)close(filler);
    (void)close(busy.fd);
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
        cmocka_unit_test(a_busy_manager_is_waited_for),
        cmocka_unit_test(without_a_manager_nothing_is_sent),
        cmocka_unit_test(names_that_are_no_address_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
