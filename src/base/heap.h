/*
 * base/heap.h - an intrusive binary min-heap keyed by a signed 64-bit number (a deadline).
 *
 * Ownership  the heap owns its array of pointers, not the nodes; a node remembers its place, so
 *            removal is O(log n).
 * Threads    one at a time.
 */
#ifndef SILO_BASE_HEAP_H
#define SILO_BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node {
    int64_t key;
    size_t place; /* index + 1; 0 = in no heap */
};

struct heap {
    struct heap_node **nodes;
    size_t count, cap;
};

void heap_init(struct heap *heap);
void heap_deinit(struct heap *heap);
void heap_insert(struct heap *heap, struct heap_node *node, int64_t key);
void heap_remove(struct heap *heap, struct heap_node *node);
/* Moves a node that is in the heap to a new key. */
void heap_update(struct heap *heap, struct heap_node *node, int64_t key);

static inline struct heap_node *heap_min(const struct heap *heap)
{
    return heap->count != 0 ? heap->nodes[0] : NULL;
}

static inline bool heap_has(const struct heap_node *node)
{
    return node->place != 0;
}

#endif
