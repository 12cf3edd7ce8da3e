/*
 * rpc/accept_int.h - the server's listening socket; and "host:port" texts, which the channel reads
 * too.
 *
 * Threads    accept_bind before start; accept_start before the loops run; accept_stop on loop 0.
 */
#ifndef SILO_RPC_ACCEPT_INT_H
#define SILO_RPC_ACCEPT_INT_H

#include "rpc/server_int.h"

/* Splits "host:port" or "[ip6]:port". */
SILO_RC address_split(const char *text, char *ret_host, size_t host_size, uint16_t *ret_port,
                      struct silo_err *err);
/*
 * Binds, which fails where somebody listens already; fills listen_fd and port. Nobody can connect
 * yet.
 */
SILO_RC accept_bind(struct rpc_server *server, struct silo_err *err);
/* Listens. */
SILO_RC accept_start(struct rpc_server *server, struct silo_err *err);
void accept_stop(struct rpc_server *server);
/* After the loops ended. */
void accept_deinit(struct rpc_server *server);

#endif
