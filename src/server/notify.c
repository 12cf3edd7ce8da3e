/* server/notify.c - one datagram to the socket that NOTIFY_SOCKET names. */
#include "server/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"

/* 0, or the errno of what failed. */
static int send_to(const char *name, const char *lines)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const size_t len = strlen(name);
    if ((name[0] != '/' && name[0] != '@') || len >= sizeof address.sun_path) {
        return EINVAL;
    }
    memcpy(address.sun_path, name, len);
    if (name[0] == '@') {
        address.sun_path[0] = '\0';
    }
    const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return errno;
    }
    /*
     * A manager that starts a machine may have a full queue for a moment, and READY is said once.
     */
    const struct timeval patience = {.tv_sec = NOTIFY_WAIT_SECONDS};
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    const socklen_t address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    const ssize_t n = sendto(fd, lines, strlen(lines), MSG_NOSIGNAL,
                             (const struct sockaddr *)&address, address_len);
    const int error = n < 0 ? errno : 0;
    (void)close(fd);
    return error;
}

bool notify_manager(const char *lines)
{
    const char *name = getenv("NOTIFY_SOCKET");
    if (name == NULL || name[0] == '\0') {
        return true;
    }
    const int error = send_to(name, lines);
    if (error != 0) {
        log_warn("notify_failed", LOG_STR("socket", name), LOG_STR("reason", strerror(error)),
                 LOG_STR("text", "the service manager was not told how the server is doing"),
                 LOG_END);
    }
    return error == 0;
}
