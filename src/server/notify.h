/*
 * server/notify.h - tells the service manager how the process is doing (systemd's sd_notify
 * protocol).
 *
 * A manager that wants to know puts the address of a datagram socket into NOTIFY_SOCKET: a path, or
 * an abstract name after '@'. Without the variable, nothing is sent. A message that cannot be sent
 * is dropped, and the log says so.
 *
 * Threads    any.
 * Limits     addresses fit in sockaddr_un; NOTIFY_WAIT_SECONDS for a manager that does not read.
 */
#ifndef SILO_SERVER_NOTIFY_H
#define SILO_SERVER_NOTIFY_H

#include <stdbool.h>

#define NOTIFY_WAIT_SECONDS 2

/*
 * Lines of NAME=value, such as "READY=1\nSTATUS=serving". False when there is a manager that could
 * not be told.
 */
bool notify_manager(const char *lines);

#endif
