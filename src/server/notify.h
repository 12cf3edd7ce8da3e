/*
 * server/notify.h - tells the service manager how the process is doing (systemd's sd_notify protocol).
 *
 * A manager that wants to know puts the address of a datagram socket into NOTIFY_SOCKET: a path, or an abstract name after
 * '@'. Without the variable, nothing is sent. The manager is told and never waited for: a message that cannot be sent is
 * dropped, and the log says so.
 *
 * Threads    any.
 * Limits     addresses fit in sockaddr_un.
 */
#ifndef SILO_SERVER_NOTIFY_H
#define SILO_SERVER_NOTIFY_H

#include <stdbool.h>

/* Lines of NAME=value, such as "READY=1\nSTATUS=serving". False when there is a manager that could not be told. */
bool notify_manager(const char *lines);

#endif
