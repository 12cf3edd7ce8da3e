/*
 * server/own_address.h - an address of this machine by which others may reach it.
 *
 * Threads    any.
 */
#ifndef SILO_SERVER_OWN_ADDRESS_H
#define SILO_SERVER_OWN_ADDRESS_H

#include "config/config.h"

/*
 * For a server that listens on a wildcard host ("0.0.0.0" or "::"): the address that traffic to the
 * outside leaves from, else one of an interface that is up, else the loopback, which then is the
 * only way to reach the machine. Never fails. No packet is sent.
 */
void own_address(const char *wildcard, char ret_ip[CONFIG_HOST_MAX]);

#endif
