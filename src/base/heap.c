/* base/heap.c - sift up, sift down. */
#include "base/heap.h"

#include "base/assert.h"

void heap_init(struct heap *heap)
{
    *heap = (struct heap){0};
}

void heap_deinit(struct heap *heap)
{
    free(heap->nodes);
    *heap = (struct heap){0};
}

static void heap_put(struct heap *heap, size_t at, struct heap_node *node)
{
    heap->nodes[at] = node;
    node->place = at + 1;
}

static void heap_up(struct heap *heap, size_t at)
{
    struct heap_node *node = heap->nodes[at];
    while (at > 0 && heap->nodes[(at - 1) / 2]->key > node->key) {
        heap_put(heap, at, heap->nodes[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    heap_put(heap, at, node);
}

static void heap_down(struct heap *heap, size_t at)
{
    struct heap_node *node = heap->nodes[at];
    for (size_t child = 2 * at + 1; child < heap->count; child = 2 * at + 1) {
        if (child + 1 < heap->count && heap->nodes[child + 1]->key < heap->nodes[child]->key) {
            child++;
        }
        if (heap->nodes[child]->key >= node->key) {
            break;
        }
        heap_put(heap, at, heap->nodes[child]);
        at = child;
    }
    heap_put(heap, at, node);
}

void heap_insert(struct heap *heap, struct heap_node *node, int64_t key)
{
    ASSERT(!heap_has(node));
    if (heap->count == heap->cap) {
        heap->cap = heap->cap != 0 ? heap->cap * 2 : 16;
        heap->nodes = xrealloc(heap->nodes, heap->cap * sizeof heap->nodes[0]);
    }
    node->key = key;
    heap_put(heap, heap->count++, node);
    heap_up(heap, heap->count - 1);
}

void heap_remove(struct heap *heap, struct heap_node *node)
{
    ASSERT(heap_has(node));
    const size_t at = node->place - 1;
    struct heap_node *last = heap->nodes[--heap->count];
    node->place = 0;
    if (last != node) {
        heap_put(heap, at, last);
        heap_up(heap, at);
        heap_down(heap, last->place - 1);
    }
}

void heap_update(struct heap *heap, struct heap_node *node, int64_t key)
{
    ASSERT(heap_has(node));
    node->key = key;
    heap_up(heap, node->place - 1);
    heap_down(heap, node->place - 1);
}
