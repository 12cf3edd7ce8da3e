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
    for (uint8_t i = 0; i < SHARDS; i++) {
        shards[i] = shard_of(i);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores),
        cmocka_unit_test(assignments),
        cmocka_unit_test(order_does_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
