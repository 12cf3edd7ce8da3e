/* base/map.c - buckets double when full. */
#include "base/map.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/assert.h"

static uint64_t map_hash(struct bytes key)
{
    return XXH3_64bits_withSeed(key.ptr, key.len, 0x51107ea5);
}

void map_init(struct map *map)
{
    *map = (struct map){0};
}

void map_deinit(struct map *map)
{
    free(map->buckets);
    *map = (struct map){0};
}

struct map_node *map_find(const struct map *map, struct bytes key)
{
    if (map->count == 0) {
        return NULL;
    }
    const uint64_t hash = map_hash(key);
    struct map_node *node = map->buckets[hash & map->mask];
    while (node != NULL && !(node->hash == hash && bytes_eq(node->key, key))) {
        node = node->next;
    }
    return node;
}

static void map_grow(struct map *map)
{
    const size_t size = map->buckets != NULL ? (map->mask + 1) * 2 : 16;
    struct map_node **buckets = xcalloc(size, sizeof buckets[0]);
    for (size_t i = 0; map->buckets != NULL && i <= map->mask; i++) {
        struct map_node *node = map->buckets[i];
        while (node != NULL) {
            struct map_node *next = node->next;
            node->next = buckets[node->hash & (size - 1)];
            buckets[node->hash & (size - 1)] = node;
            node = next;
        }
    }
    free(map->buckets);
    map->buckets = buckets;
    map->mask = size - 1;
}

void map_insert(struct map *map, struct map_node *node, struct bytes key)
{
    if (map->buckets == NULL || map->count > map->mask) {
        map_grow(map);
    }
    node->key = key;
    node->hash = map_hash(key);
    node->next = map->buckets[node->hash & map->mask];
    map->buckets[node->hash & map->mask] = node;
    map->count++;
}

void map_remove(struct map *map, struct map_node *node)
{
    struct map_node **at = &map->buckets[node->hash & map->mask];
    while (*at != node) {
        ASSERT(*at != NULL);
        at = &(*at)->next;
    }
    *at = node->next;
    node->next = NULL;
    map->count--;
}

struct map_node *map_next(const struct map *map, const struct map_node *node)
{
    if (node != NULL && node->next != NULL) {
        return node->next;
    }
    const size_t from = node != NULL ? (node->hash & map->mask) + 1 : 0;
    for (size_t i = from; map->buckets != NULL && i <= map->mask; i++) {
        if (map->buckets[i] != NULL) {
            return map->buckets[i];
        }
    }
    return NULL;
}
