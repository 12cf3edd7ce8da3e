/* rpc/peers.c - a table of addresses under a lock. */
#include "rpc/peers_int.h"

#include <netinet/in.h>
#include <string.h>

#include "base/assert.h"
#include "base/list.h"

#define PEER_IP6_BYTES 8u /* of an address: its network */

struct peer {
    struct map_node node;
    uint32_t conns;
    uint8_t key_len;
    uint8_t key[PEER_IP6_BYTES];
};

static void peer_key(struct peer *peer, const struct sockaddr_storage *address)
{
    const uint8_t *from = NULL;
    if (address->ss_family == AF_INET) {
        from = (const uint8_t *)&((const struct sockaddr_in *)address)->sin_addr;
        peer->key_len = 4;
    } else if (address->ss_family == AF_INET6) {
        const struct in6_addr *ip6 = &((const struct sockaddr_in6 *)address)->sin6_addr;
        const bool mapped = IN6_IS_ADDR_V4MAPPED(ip6);
        from = mapped ? ip6->s6_addr + 12 : ip6->s6_addr;
        peer->key_len = mapped ? 4 : PEER_IP6_BYTES;
    }
    if (from != NULL) {
        memcpy(peer->key, from, peer->key_len);
    }
}

void peers_init(struct peers *peers)
{
    (void)pthread_mutex_init(&peers->lock, NULL);
    map_init(&peers->table);
}

void peers_deinit(struct peers *peers)
{
    ASSERT(peers->table.count == 0);
    map_deinit(&peers->table);
    (void)pthread_mutex_destroy(&peers->lock);
}

struct peer *peers_enter(struct peers *peers, const struct sockaddr_storage *address, uint32_t max)
{
    struct peer asked = {0};
    peer_key(&asked, address);
    const struct bytes key = bytes_of(asked.key, asked.key_len);
    (void)pthread_mutex_lock(&peers->lock);
    struct peer *peer = MAP_ENTRY(map_find(&peers->table, key), struct peer, node);
    if (peer == NULL && max != 0) {
        peer = xmalloc(sizeof *peer);
        *peer = asked;
        map_insert(&peers->table, &peer->node, bytes_of(peer->key, peer->key_len));
    }
    if (peer != NULL && peer->conns < max) {
        peer->conns++;
    } else {
        peer = NULL;
    }
    (void)pthread_mutex_unlock(&peers->lock);
    return peer;
}

void peers_leave(struct peers *peers, struct peer *peer)
{
    if (peer == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&peers->lock);
    ASSERT(peer->conns != 0);
    if (--peer->conns == 0) {
        map_remove(&peers->table, &peer->node);
        free(peer);
    }
    (void)pthread_mutex_unlock(&peers->lock);
}
