/* base/heap_test.c - random inserts, removals and updates against a plain array. */
#include "base/heap.h"

#include <stdlib.h>

#include "base/test.h"

#define NODES 500u
#define STEPS 20000u

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static const struct heap_node *smallest(const struct heap_node *nodes)
{
    const struct heap_node *best = NULL;
    for (size_t i = 0; i < NODES; i++) {
        if (heap_has(&nodes[i]) && (best == NULL || nodes[i].key < best->key)) {
            best = &nodes[i];
        }
    }
    return best;
}

static void min_is_always_the_smallest(void **state)
{
    (void)state;
    struct heap heap;
    struct heap_node *nodes = calloc(NODES, sizeof *nodes);
    uint32_t seed = 1;
    heap_init(&heap);
    for (size_t step = 0; step < STEPS; step++) {
        struct heap_node *node = &nodes[next_random(&seed) % NODES];
        const int64_t key = (int64_t)(next_random(&seed) % 1000) - 500;
        if (!heap_has(node)) {
            heap_insert(&heap, node, key);
        } else if (next_random(&seed) % 2 == 0) {
            heap_update(&heap, node, key);
        } else {
            heap_remove(&heap, node);
        }
        const struct heap_node *want = smallest(nodes);
        const struct heap_node *got = heap_min(&heap);
        assert_true((want == NULL) == (got == NULL));
        assert_true(want == NULL || got == NULL || want->key == got->key);
    }
    heap_deinit(&heap);
    free(nodes);
}

static void drains_in_order(void **state)
{
    (void)state;
    struct heap heap;
    struct heap_node nodes[100] = {0};
    heap_init(&heap);
    assert_null(heap_min(&heap));
    for (size_t i = 0; i < 100; i++) {
        heap_insert(&heap, &nodes[i], (int64_t)(i * 37 % 100));
    }
    for (int64_t want = 0; want < 100; want++) {
        struct heap_node *node = heap_min(&heap);
        assert_int_equal(node->key, want);
        heap_remove(&heap, node);
        assert_false(heap_has(node));
    }
    assert_null(heap_min(&heap));
    heap_deinit(&heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(min_is_always_the_smallest),
                                       cmocka_unit_test(drains_in_order)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
