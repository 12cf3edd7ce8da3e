/*
 * rpc/pb_int.h - just enough protobuf for health, reflection and descriptors: fields in, fields
 * out.
 *
 * Nothing here recurses; callers that descend bound their depth. Ownership: results point into the
 * input.
 */
#ifndef SILO_RPC_PB_INT_H
#define SILO_RPC_PB_INT_H

#include "base/buf.h"

struct pb_field {
    uint32_t number;
    bool is_bytes; /* length-delimited: `bytes`; else `value` */
    struct bytes bytes;
    uint64_t value;
};

/*
 * Takes the next field from *in. False at the end and on malformed input; *in is empty only at the
 * end.
 */
bool pb_next(struct bytes *in, struct pb_field *ret_field);
/* The first length-delimited field of that number; empty if absent. */
struct bytes pb_find(struct bytes message, uint32_t number);

/* Append a field to a message. */
void pb_put_uint(struct buf *out, uint32_t number, uint64_t value);
void pb_put_bytes(struct buf *out, uint32_t number, struct bytes bytes);

#endif
