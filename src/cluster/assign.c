/* cluster/assign.c - see assign.h. */
#include "cluster/assign.h"

#include <stdlib.h>

#include "base/assert.h"

#define NODE_NONE UINT32_MAX
#define FNV_OFFSET 0xcbf29ce484222325u
#define FNV_PRIME 0x100000001b3u

struct pair {
    uint64_t score;
    const struct uuid *shard;
    const char *node_id;
    uint32_t shard_index, node_index;
};

static uint64_t fnv1a(struct bytes bytes)
{
    uint64_t hash = FNV_OFFSET;
    for (size_t i = 0; i < bytes.len; i++) {
        hash = (hash ^ bytes.ptr[i]) * FNV_PRIME;
    }
    return hash;
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

uint64_t assign_score(const char *node_id, const struct uuid *shard)
{
    return mix(fnv1a(bytes_str(node_id)) ^ fnv1a(uuid_bytes(shard)));
}

/* The best pair first. */
static int pair_order(const void *a, const void *b)
{
    const struct pair *x = a, *y = b;
    if (x->score != y->score) {
        return x->score > y->score ? -1 : 1;
    }
    const int shards = uuid_order(x->shard, y->shard);
    return shards != 0 ? shards : strcmp(x->node_id, y->node_id);
}

void assign(const struct uuid *shards, size_t shard_count, const char *const *node_ids,
            size_t node_count, uint32_t *ret_nodes)
{
    ASSERT(node_count > 0);
    const size_t share = (shard_count + node_count - 1) / node_count;
    const size_t pair_count = shard_count * node_count;
    struct pair *pairs = xcalloc(pair_count + 1, sizeof *pairs);
    size_t *loads = xcalloc(node_count, sizeof *loads);
    for (uint32_t s = 0; s < shard_count; s++) {
        ret_nodes[s] = NODE_NONE;
        for (uint32_t n = 0; n < node_count; n++) {
            pairs[s * node_count + n] =
                (struct pair){.score = assign_score(node_ids[n], &shards[s]),
                              .shard = &shards[s],
                              .node_id = node_ids[n],
                              .shard_index = s,
                              .node_index = n};
        }
    }
    qsort(pairs, pair_count, sizeof *pairs, pair_order);
    for (size_t i = 0; i < pair_count; i++) {
        const struct pair *pair = &pairs[i];
        if (ret_nodes[pair->shard_index] == NODE_NONE && loads[pair->node_index] < share) {
            ret_nodes[pair->shard_index] = pair->node_index;
            loads[pair->node_index]++;
        }
    }
    free(loads);
    free(pairs);
}
