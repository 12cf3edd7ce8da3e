/*
 * base/map.h - an intrusive hash map from byte strings to nodes embedded in the caller's structs.
 *
 * The caller keeps the key's bytes alive while the node is in the map. Chained buckets, load factor
 * at most 1, 64-bit hashes (XXH3 with a fixed seed, so that iteration is the same for the same
 * history).
 *
 * Ownership  the map owns its bucket array, nothing else.
 * Threads    one at a time.
 */
#ifndef SILO_BASE_MAP_H
#define SILO_BASE_MAP_H

#include "base/bytes.h"

struct map_node {
    struct map_node *next;
    uint64_t hash;
    struct bytes key;
};

struct map {
    struct map_node **buckets;
    size_t count, mask; /* mask + 1 buckets once allocated */
};

void map_init(struct map *map);
void map_deinit(struct map *map);
struct map_node *map_find(const struct map *map, struct bytes key);
/* The key must not be in the map yet; node->key is set to key. */
void map_insert(struct map *map, struct map_node *node, struct bytes key);
void map_remove(struct map *map, struct map_node *node);
/*
 * Any node, or the one after `node` in bucket order; NULL at the end. Not across changes of the
 * map.
 */
struct map_node *map_next(const struct map *map, const struct map_node *node);

#define MAP_ENTRY(node, type, member)                               \
    ({                                                              \
        struct map_node *entry_ = (node);                           \
        entry_ != NULL ? CONTAINER_OF(entry_, type, member) : NULL; \
    })

#endif
