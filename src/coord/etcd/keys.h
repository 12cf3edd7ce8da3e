/*
 * coord/etcd/keys.h - names of what a cluster keeps in etcd, all below one prefix:
 *
 *     <prefix>/coord/members/<node id>         a member, as JSON (member_text.h), under its lease
 *     <prefix>/coord/shards/<shard id>/owner   the id of the node that has the shard
 *     <prefix>/coord/shard_map                 which map is the newest (mirror.c)
 *
 * Owner: id of a node as it is. Other keys below the prefix are nobody's here.
 *
 * Ownership  names lie in the arena; what is taken out of a key is lent from it.
 */
#ifndef SILO_COORD_ETCD_KEYS_H
#define SILO_COORD_ETCD_KEYS_H

#include "base/arena.h"
#include "base/uuid.h"

enum etcd_key_kind { ETCD_KEY_OTHER, ETCD_KEY_MEMBER, ETCD_KEY_OWNER, ETCD_KEY_MAP };

/* What all keys of the cluster begin with, malloc'd. */
char *etcd_key_prefix(const char *cluster_prefix);
struct bytes etcd_key_member(struct arena *arena, const char *prefix, const char *id);
struct bytes etcd_key_owner(struct arena *arena, const char *prefix, const struct uuid *shard);
struct bytes etcd_key_map(struct arena *arena, const char *prefix);
/* *ret_id: of a member. *ret_shard: of an owner. */
enum etcd_key_kind etcd_key_read(const char *prefix, struct bytes key, struct bytes *ret_id,
                                 struct uuid *ret_shard);

#endif
