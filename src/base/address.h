/*
 * base/address.h - "host:port" texts that somebody can connect to.
 *
 * Threads    none of its own.
 * Limits     ADDRESS_TEXT_MAX bytes: the longest DNS name, a colon and a port.
 */
#ifndef SILO_BASE_ADDRESS_H
#define SILO_BASE_ADDRESS_H

#include <stdbool.h>

#include "base/bytes.h"

#define ADDRESS_TEXT_MAX 259

/*
 * Whether text is host:port with a DNS name, an IPv4 address or an IPv6 address in brackets, and
 * with a port from 1 to 65535. The addresses that mean "any" (0.0.0.0 and ::) are for listening
 * only: no.
 */
bool address_connectable(struct bytes text);
/*
 * Whether a literal IP, however it is written ("::", "0:0:0:0:0:0:0:0", "::ffff:0.0.0.0"), is one
 * that means "any".
 */
bool address_is_any(const char *ip);
/* Whether a literal IP is one that only this machine can reach. */
bool address_is_loopback(const char *ip);

#endif
