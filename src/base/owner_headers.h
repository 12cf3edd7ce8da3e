/*
 * base/owner_headers.h - the trailers by which a node that does not serve a call says who does, and
 * when to ask again. Their values are text.
 */
#ifndef SILO_BASE_OWNER_HEADERS_H
#define SILO_BASE_OWNER_HEADERS_H

#define OWNER_ADDRESS_HEADER "x-silo-shard-owner-addr" /* as clients dial it */
#define OWNER_NODE_HEADER "x-silo-shard-owner-node"    /* its id */
#define RETRY_AFTER_HEADER "x-silo-retry-after-ms"     /* decimal */

#endif
