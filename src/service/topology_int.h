/*
 * service/topology_int.h - what GetClusterInfo and WatchTopology tell.
 *
 * Ownership  the message lies in the arena given, and lends from directory, service and call.
 * Threads    the call's loop.
 */
#ifndef SILO_SERVICE_TOPOLOGY_INT_H
#define SILO_SERVICE_TOPOLOGY_INT_H

#include "service/call_int.h"

/* This node's address as the caller can use it; lent from call or service. */
struct bytes topology_address(const struct call *call);
/* The cluster as the directory has it, for that caller. */
void topology_fill(const struct call *call, const struct directory *directory, struct arena *arena,
                   Silo__V1__GetClusterInfoResponse *ret_reply);

#endif
