/*
 * coord/etcd/message_int.h - what message.c and txn.c share: the generated types, packed and
 * unpacked in an arena.
 */
#ifndef SILO_COORD_ETCD_MESSAGE_INT_H
#define SILO_COORD_ETCD_MESSAGE_INT_H

#include "coord/etcd/message.h"
#include "etcd.pb-c.h"

/* NULL: it is no such message. */
void *message_unpack(struct arena *arena, const ProtobufCMessageDescriptor *type,
                     struct bytes message);
struct bytes message_pack(struct arena *arena, const ProtobufCMessage *message);
ProtobufCBinaryData message_data(struct bytes bytes);
struct etcd_row message_row(const Etcdserverpb__KeyValue *kv);
/* False: an answer without a revision is none. */
bool message_revision(const Etcdserverpb__ResponseHeader *header, uint64_t *ret_revision);

#endif
