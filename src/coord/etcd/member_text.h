/*
 * coord/etcd/member_text.h - a member as it stands in etcd:
 *
 *     {"node_id": "a", "grpc_addr": "10.0.0.1:7450", "startup_time_ms": 1700000000000,
 *      "hostname": "h", "placement_rings": [], "nonce": "00c0ffee00c0ffee", "leaving": false}
 *
 * Members that a reader does not know are passed over, those it misses have a default, except for
 * node_id and grpc_addr. A nonce is text, for JSON's numbers end at 2^53.
 *
 * Limits     MEMBER_TEXT_BYTES_MAX bytes of text, MEMBER_RINGS_MAX rings (more are not seen),
 *            MEMBER_NAME_MAX bytes of an id, an address or a ring.
 */
#ifndef SILO_COORD_ETCD_MEMBER_TEXT_H
#define SILO_COORD_ETCD_MEMBER_TEXT_H

#include "base/arena.h"
#include "cluster/event.h"

#define MEMBER_TEXT_BYTES_MAX (64u << 10)
#define MEMBER_RINGS_MAX 64u
#define MEMBER_NAME_MAX 512u

/* Text, malloc'd. */
char *member_text_encode(const struct cluster_member *member, int64_t startup_ms,
                         const char *hostname);
/* False: it is no member of that id. */
bool member_text_decode(struct arena *arena, struct bytes id, struct bytes text,
                        struct cluster_member *ret_member);

#endif
