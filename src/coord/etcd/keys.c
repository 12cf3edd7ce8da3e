/* coord/etcd/keys.c - see keys.h. */
#include "coord/etcd/keys.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"

#define COORD "/coord/"
#define MEMBERS "members/"
#define SHARDS "shards/"
#define OWNER "/owner"
#define MAP "shard_map"

char *etcd_key_prefix(const char *cluster_prefix)
{
    const size_t size = strlen(cluster_prefix) + sizeof COORD;
    char *prefix = xmalloc(size);
    (void)snprintf(prefix, size, "%s" COORD, cluster_prefix);
    return prefix;
}

struct bytes etcd_key_member(struct arena *arena, const char *prefix, const char *id)
{
    return bytes_str(arena_printf(arena, "%s" MEMBERS "%s", prefix, id));
}

struct bytes etcd_key_owner(struct arena *arena, const char *prefix, const struct uuid *shard)
{
    char id[UUID_TEXT_LEN + 1];
    uuid_format(shard, id);
    return bytes_str(arena_printf(arena, "%s" SHARDS "%s" OWNER, prefix, id));
}

struct bytes etcd_key_map(struct arena *arena, const char *prefix)
{
    return bytes_str(arena_printf(arena, "%s" MAP, prefix));
}

/* Takes the words off the front, if they are there. */
static bool skip(struct bytes *at, struct bytes words)
{
    if (!bytes_starts(*at, words)) {
        return false;
    }
    at->ptr += words.len;
    at->len -= words.len;
    return true;
}

enum etcd_key_kind etcd_key_read(const char *prefix, struct bytes key, struct bytes *ret_id,
                                 struct uuid *ret_shard)
{
    if (!skip(&key, bytes_str(prefix))) {
        return ETCD_KEY_OTHER;
    }
    if (bytes_eq(key, BYTES_LIT(MAP))) {
        return ETCD_KEY_MAP;
    }
    if (skip(&key, BYTES_LIT(MEMBERS))) {
        *ret_id = key;
        return key.len > 0 ? ETCD_KEY_MEMBER : ETCD_KEY_OTHER;
    }
    if (skip(&key, BYTES_LIT(SHARDS)) && key.len > UUID_TEXT_LEN &&
        uuid_parse(bytes_of(key.ptr, UUID_TEXT_LEN), ret_shard) &&
        bytes_eq(bytes_of(key.ptr + UUID_TEXT_LEN, key.len - UUID_TEXT_LEN), BYTES_LIT(OWNER))) {
        return ETCD_KEY_OWNER;
    }
    return ETCD_KEY_OTHER;
}
