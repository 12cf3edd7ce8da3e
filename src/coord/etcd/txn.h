/*
 * coord/etcd/txn.h - a transaction: when all its conditions hold, its changes are made; else what
 * it asks for is read, at the same moment.
 *
 *     etcd_txn_begin -> if_..., put, delete, else_get ... -> etcd_txn_end
 *
 * Ownership  everything lies in the arena; keys and values are lent until etcd_txn_end.
 * Threads    no shared state.
 * Limits     ETCD_TXN_IFS_MAX conditions, ETCD_TXN_DOS_MAX changes and as many rows to be read.
 */
#ifndef SILO_COORD_ETCD_TXN_H
#define SILO_COORD_ETCD_TXN_H

#include "coord/etcd/message.h"

#define ETCD_TXN_IFS_MAX 4u
#define ETCD_TXN_DOS_MAX 2u

struct etcd_txn;

struct etcd_txn *etcd_txn_begin(struct arena *arena);
/* The key's newest change has that revision; 0: there is no such key. */
void etcd_txn_if_mod(struct etcd_txn *txn, struct bytes key, uint64_t mod);
/* The key is there, under that lease. */
void etcd_txn_if_lease(struct etcd_txn *txn, struct bytes key, int64_t lease);
void etcd_txn_if_there(struct etcd_txn *txn, struct bytes key);
void etcd_txn_put(struct etcd_txn *txn, struct bytes key, struct bytes value, int64_t lease);
void etcd_txn_delete(struct etcd_txn *txn, struct bytes key);
void etcd_txn_else_get(struct etcd_txn *txn, struct bytes key);
struct bytes etcd_txn_end(struct etcd_txn *txn);

struct etcd_txn_answer {
    bool done;                              /* the changes were made, at the revision */
    uint64_t revision;                      /* when it was looked at */
    struct etcd_row rows[ETCD_TXN_DOS_MAX]; /* not done: what was asked for, in order */
    size_t count;
};
bool etcd_txn_read(struct arena *arena, struct bytes message, struct etcd_txn_answer *ret_answer);

#endif
