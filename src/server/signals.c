/*
 * server/signals.c - signals as a file descriptor, and the watchdog of the shutdown.
 *
 * SIGTERM and SIGINT stop the process, a second one at once. SIGHUP reloads what can be. SIGPIPE is
 * ignored: a write to a connection that is gone is an error like any other.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/assert.h"
#include "server/server_int.h"

#define EXIT_SIGNAL_BASE 128 /* the shell's way to say which signal ended a process */

SILO_RC signals_init(int *ret_fd, struct silo_err *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR) {
        return FAIL(err, SILO_INTERNAL, "cannot set up signals");
    }
    const int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0) {
        return FAIL(err, SILO_INTERNAL, "signalfd: %s", strerror(errno));
    }
    *ret_fd = fd;
    return RC_OK;
}

int signals_take(int fd)
{
    struct signalfd_siginfo info;
    const ssize_t n = read(fd, &info, sizeof info);
    return n == (ssize_t)sizeof info ? (int)info.ssi_signo : 0;
}

struct watchdog {
    int fd;
    const struct env *env;
    int64_t deadline_ms;
};

static void *watchdog_main(void *context)
{
    const struct watchdog *dog = context;
    for (;;) { /* until the process ends, this way or the other */
        const int64_t left_ms = dog->deadline_ms - env_mono_ms(dog->env);
        if (left_ms <= 0) {
            log_error("shutdown_timeout", LOG_STR("text", "exiting without closing everything"),
                      LOG_END);
            _exit(EXIT_FAILURE);
        }
        struct pollfd pfd = {.fd = dog->fd, .events = POLLIN};
        (void)poll(&pfd, 1, left_ms > INT32_MAX ? INT32_MAX : (int)left_ms);
        const int number = signals_take(dog->fd);
        if (number == SIGTERM || number == SIGINT) {
            log_warn("second_signal", LOG_STR("text", "exiting at once"), LOG_END);
            _exit(EXIT_SIGNAL_BASE + number);
        }
    }
}

void signals_watchdog(int fd, const struct env *env, int64_t deadline_ms)
{
    static struct watchdog dog; /* outlives main */
    dog = (struct watchdog){.fd = fd, .env = env, .deadline_ms = deadline_ms};
    pthread_t thread;
    if (pthread_create(&thread, NULL, watchdog_main, &dog) != 0) {
        log_warn("watchdog_failed", LOG_STR("text", "the shutdown has no time limit"), LOG_END);
        return;
    }
    (void)pthread_detach(thread);
}
