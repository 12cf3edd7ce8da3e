/* cluster/assign_test.c - scores and assignments are what every node of a cluster computes. */
#include "cluster/assign.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/assert.h"

static struct uuid shard_of(uint8_t last)
{
    struct uuid shard = {{0}};
    shard.b[15] = last;
    return shard;
}

static void scores(void **state)
{
    (void)state;
    static const char *const nodes[] = {"node-1", "node-2", "node-3", "silo-0"};
    static const uint64_t expected[4][4] = {
        {0x105c79df0a42999b, 0x04b368ca30b7ae1b, 0xff55dca372c7c848, 0x6d5568e218f26f50},
        {0xc317575c7dbf3ac8, 0x485d11ac19abc2ba, 0xd07f6b1b91a13c9c, 0xd00e104a8a0e350b},
        {0xa5fc1f48d789164b, 0x07e5d6c4477e5706, 0x394fdb03460fed4c, 0xd9dc445d37af0bd8},
        {0xd299472771afbd08, 0x7fa3adc86b391465, 0xa4868a98c8cbab5c, 0xee82df5554878705},
    };
    for (uint8_t s = 0; s < 4; s++) {
        const struct uuid shard = shard_of((uint8_t)(s + 1));
        for (size_t n = 0; n < 4; n++) {
            assert_int_equal(assign_score(nodes[n], &shard), expected[s][n]);
        }
    }
}

static void assignments(void **state)
{
    (void)state;
    static const char *const nodes[] = {"node-1", "node-2", "node-3"};
    struct uuid shards[4];
    for (uint8_t i = 0; i < 4; i++) {
        shards[i] = shard_of((uint8_t)(i + 1));
    }
    uint32_t got[4];
    assign(shards, 4, nodes, 2, got);
    const uint32_t two[] = {1, 0, 1, 0};
    assert_memory_equal(got, two, sizeof got);
    assign(shards, 4, nodes, 3, got);
    const uint32_t three[] = {2, 2, 0, 0};
    assert_memory_equal(got, three, sizeof got);
    assign(shards, 4, nodes, 1, got);
    const uint32_t one[] = {0, 0, 0, 0};
    assert_memory_equal(got, one, sizeof got);
    assign(shards, 0, nodes, 3, got);
}

/* Whatever the order of nodes and shards, each shard goes to the same node, and none has more. */
static void order_does_not_matter(void **state)
{
    (void)state;
    enum { SHARDS = 29, NODES = 7 };
    static const char *const nodes[NODES] = {"a", "b", "c", "d", "e", "f", "g"};
    const char *turned[NODES];
    struct uuid shards[SHARDS], back[SHARDS];
    for (int i = 0; i < SHARDS; i++) {
        shards[i] = shard_of((uint8_t)i);
        back[SHARDS - 1 - i] = shards[i];
    }
    for (size_t i = 0; i < NODES; i++) {
        turned[i] = nodes[(i + 3) % NODES];
    }
    uint32_t a[SHARDS], b[SHARDS];
    assign(shards, SHARDS, nodes, NODES, a);
    assign(back, SHARDS, turned, NODES, b);
    size_t loads[NODES] = {0};
    for (size_t i = 0; i < SHARDS; i++) {
        assert_string_equal(nodes[a[i]], turned[b[SHARDS - 1 - i]]);
        loads[a[i]]++;
    }
    for (size_t i = 0; i < NODES; i++) {
        assert_true(loads[i] <= 5);
    }
}

#define NODES_MOST 11
#define SHARDS_MOST 1000

struct moved {
    size_t all;   /* go to another node */
    size_t least; /* must: their node is gone, or has too many, or a new one needs its share */
    size_t idle;  /* of them, from one node that stays to another */
};

/* From the first `before` of node-0, node-1, ... to the first `after`. */
static struct moved moved_of(size_t shard_count, size_t before, size_t after)
{
    static const char *const nodes[NODES_MOST] = {"node-0", "node-1", "node-2", "node-3",
                                                  "node-4", "node-5", "node-6", "node-7",
                                                  "node-8", "node-9", "node-10"};
    static struct uuid shards[SHARDS_MOST];
    static uint32_t a[SHARDS_MOST], b[SHARDS_MOST];
    const uint8_t seed[16] = {7};
    for (uint32_t i = 0; i < shard_count; i++) {
        shards[i] = uuid_from_seed(seed, i);
    }
    assign(shards, shard_count, nodes, before, a);
    assign(shards, shard_count, nodes, after, b);
    struct moved moved = {0};
    size_t loads[NODES_MOST] = {0};
    const size_t share = (shard_count + after - 1) / after;
    for (size_t i = 0; i < shard_count; i++) {
        moved.all += a[i] != b[i] ? 1 : 0;
        moved.idle += a[i] != b[i] && a[i] < after && b[i] < before ? 1 : 0;
        loads[a[i]]++;
    }
    for (size_t n = 0; n < before; n++) {
        const size_t stays = n < after ? share : 0;
        moved.least += loads[n] > stays ? loads[n] - stays : 0;
    }
    const size_t news = after > before ? (after - before) * (shard_count / after) : 0;
    moved.least = moved.least > news ? moved.least : news;
    return moved;
}

/* A node that comes or goes moves little more than it must. */
static void few_shards_move(void **state)
{
    (void)state;
    static const struct {
        size_t shards, before, after, most;
    } cases[] = {{100, 3, 4, 30},   {100, 4, 3, 30},   {100, 10, 11, 15},
                 {1000, 3, 4, 260}, {1000, 4, 3, 260}, {1000, 10, 11, 115}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct moved moved = moved_of(cases[i].shards, cases[i].before, cases[i].after);
        print_message("%zu shards, %zu to %zu nodes: %zu move, %zu must, %zu between those that "
                      "stay\n",
                      cases[i].shards, cases[i].before, cases[i].after, moved.all, moved.least,
                      moved.idle);
        assert_true(moved.all <= cases[i].most);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores),
        cmocka_unit_test(assignments),
        cmocka_unit_test(order_does_not_matter),
        cmocka_unit_test(few_shards_move),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
