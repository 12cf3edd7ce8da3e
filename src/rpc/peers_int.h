/*
 * rpc/peers_int.h - how many connections each peer address has.
 *
 * An address is a whole IPv4 address, or the first 64 bits of an IPv6 address, which is what one
 * host is given at least. An IPv4 address inside IPv6 counts as what it is. Only opening and
 * closing a connection comes here.
 *
 * Ownership  the table owns its entries; one lives as long as it has a connection.
 * Threads    any.
 * Limits     one entry for each open connection at most.
 */
#ifndef SILO_RPC_PEERS_INT_H
#define SILO_RPC_PEERS_INT_H

#include <pthread.h>
#include <sys/socket.h>

#include "base/map.h"

struct peer;

struct peers {
    pthread_mutex_t lock; /* guards table and the counts of its entries */
    struct map table;
};

void peers_init(struct peers *peers);
/* Every connection must have left. */
void peers_deinit(struct peers *peers);
/*
 * One more connection from there; NULL if it has `max` already. An address of another family is one
 * address.
 */
struct peer *peers_enter(struct peers *peers, const struct sockaddr_storage *address, uint32_t max);
/* That connection is gone. NULL is fine. */
void peers_leave(struct peers *peers, struct peer *peer);

#endif
