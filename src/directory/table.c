/*
 * directory/table.c - the table itself: built once, sorted twice, searched by halving.
 *
 * All of it lies in one arena, so the last reference frees it in one go.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "directory/directory.h"

/* --- looking up --- */

const struct directory_shard *directory_find(const struct directory *directory,
                                             const struct uuid *id)
{
    size_t lo = 0;
    size_t hi = directory->id_count;
    while (lo < hi) {
        const size_t middle = lo + (hi - lo) / 2;
        const int c = uuid_order(id, &directory->by_id[middle].id);
        if (c == 0) {
            return &directory->by_id[middle];
        }
        if (c < 0) {
            hi = middle;
        } else {
            lo = middle + 1;
        }
    }
    return NULL;
}

bool directory_shard_owns(const struct directory_shard *shard, uint64_t hash)
{
    return hash >= shard->hash_start && (shard->range_end[0] == '\0' || hash < shard->hash_end);
}

const struct directory_shard *directory_find_hash(const struct directory *directory, uint64_t hash)
{
    size_t lo = 0;
    size_t hi = directory->shard_count;
    while (lo < hi) { /* the first range that starts beyond the hash */
        const size_t middle = lo + (hi - lo) / 2;
        if (directory->shards[middle]->hash_start <= hash) {
            lo = middle + 1;
        } else {
            hi = middle;
        }
    }
    if (lo == 0 || !directory_shard_owns(directory->shards[lo - 1], hash)) {
        return NULL;
    }
    return directory->shards[lo - 1];
}

bool directory_shard_here(const struct directory_shard *shard)
{
    switch (shard->place) {
    case PLACE_HERE:
    case PLACE_SPLITTING:
        return true;
    case PLACE_NODE:
    case PLACE_MOVING:
    case PLACE_STRANDED:
    case PLACE_RETIRED:
    case PLACE_UNASSIGNED:
        break;
    }
    return false;
}

bool directory_node_in_ring(const struct directory_node *node, const char *ring)
{
    const char *wanted = ring != NULL ? ring : DIRECTORY_RING_DEFAULT;
    for (size_t i = 0; i < node->ring_count; i++) {
        if (strcmp(node->rings[i], wanted) == 0) {
            return true;
        }
    }
    return ring == NULL && node->ring_count == 0;
}

/* --- references --- */

struct directory *directory_ref(const struct directory *directory)
{
    struct directory *counted = (struct directory *)directory; /* the count is not the table */
    (void)atomic_fetch_add_explicit(&counted->references, 1, memory_order_relaxed);
    return counted;
}

struct directory *directory_unref(const struct directory *directory)
{
    struct directory *counted = (struct directory *)directory;
    /* Who frees has seen what all others did with the table. */
    if (counted != NULL &&
        atomic_fetch_sub_explicit(&counted->references, 1, memory_order_acq_rel) == 1) {
        arena_deinit(&counted->arena);
        free(counted);
    }
    return NULL;
}

/* --- building --- */

void directory_builder_init(struct directory_builder *builder, const struct uuid *cluster_id)
{
    struct directory *directory = xcalloc(1, sizeof *directory);
    atomic_init(&directory->references, 1);
    arena_init(&directory->arena);
    directory->cluster_id = *cluster_id;
    directory->self = DIRECTORY_NO_NODE;
    *builder = (struct directory_builder){.directory = directory};
}

static const char *text_keep(struct arena *arena, const char *text)
{
    return arena_str(arena, bytes_str(text != NULL ? text : ""));
}

uint32_t directory_builder_node(struct directory_builder *builder,
                                const struct directory_node *node)
{
    struct directory *directory = builder->directory;
    struct arena *arena = &directory->arena;
    if (directory->node_count == builder->node_cap) {
        builder->node_cap = builder->node_cap != 0 ? 2 * builder->node_cap : 4;
        builder->nodes = xrealloc(builder->nodes, builder->node_cap * sizeof builder->nodes[0]);
    }
    const char **rings = arena_alloc(arena, (node->ring_count + 1) * sizeof *rings);
    for (size_t i = 0; i < node->ring_count; i++) {
        rings[i] = text_keep(arena, node->rings[i]);
    }
    builder->nodes[directory->node_count] =
        (struct directory_node){.id = text_keep(arena, node->id),
                                .address = text_keep(arena, node->address),
                                .rings = rings,
                                .ring_count = node->ring_count,
                                .leaving = node->leaving};
    return (uint32_t)directory->node_count++;
}

void directory_builder_self(struct directory_builder *builder, uint32_t node)
{
    ASSERT(node < builder->directory->node_count);
    builder->directory->self = node;
}

void directory_builder_map(struct directory_builder *builder, uint64_t map_number)
{
    builder->directory->map_number = map_number;
}

static uint64_t bound_hash(const char *text)
{
    uint64_t hash = 0;
    for (const char *at = text; *at != '\0'; at++) {
        const char *digits = "0123456789abcdef";
        const char *digit = strchr(digits, *at);
        ASSERT(digit != NULL); /* maps are checked where they are read */
        hash = hash << 4 | (uint64_t)(digit - digits);
    }
    return hash;
}

static void shard_complete(struct arena *arena, struct directory_shard *shard)
{
    ASSERT(strlen(shard->range_start) == 0 || strlen(shard->range_start) == DIRECTORY_BOUND_LEN);
    ASSERT(strlen(shard->range_end) == 0 || strlen(shard->range_end) == DIRECTORY_BOUND_LEN);
    uuid_format(&shard->id, shard->id_text);
    shard->hash_start = bound_hash(shard->range_start);
    shard->hash_end = bound_hash(shard->range_end);
    if (!directory_shard_here(shard)) {
        shard->ref = SHARD_REF_NONE;
    }
    if (shard->place != PLACE_NODE && shard->place != PLACE_MOVING) {
        shard->node = DIRECTORY_NO_NODE;
    }
    shard->ring = shard->ring != NULL ? text_keep(arena, shard->ring) : NULL;
    shard->holder = shard->place == PLACE_STRANDED ? text_keep(arena, shard->holder) : NULL;
    if (shard->heir_count != 0) {
        shard->heirs = (const struct uuid *)arena_copy(
                           arena, bytes_of(shard->heirs, shard->heir_count * sizeof(struct uuid)))
                           .ptr;
    }
}

void directory_builder_shard(struct directory_builder *builder, const struct directory_shard *shard)
{
    struct directory *directory = builder->directory;
    ASSERT(directory->id_count < (size_t)2 * DIRECTORY_SHARDS_MAX);
    if (directory->id_count == builder->shard_cap) {
        builder->shard_cap = builder->shard_cap != 0 ? 2 * builder->shard_cap : 16;
        builder->shards = xrealloc(builder->shards, builder->shard_cap * sizeof builder->shards[0]);
    }
    struct directory_shard *copy = &builder->shards[directory->id_count++];
    *copy = *shard;
    shard_complete(&directory->arena, copy);
}

static int shard_id_cmp(const void *a, const void *b)
{
    return uuid_order(&((const struct directory_shard *)a)->id,
                      &((const struct directory_shard *)b)->id);
}

static int shard_range_cmp(const void *a, const void *b)
{
    const struct directory_shard *x = *(const struct directory_shard *const *)a;
    const struct directory_shard *y = *(const struct directory_shard *const *)b;
    if (x->hash_start != y->hash_start) {
        return x->hash_start < y->hash_start ? -1 : 1;
    }
    return uuid_order(&x->id, &y->id);
}

static void *arena_array(struct arena *arena, const void *array, size_t bytes)
{
    void *copy = arena_alloc(arena, bytes + 1);
    if (bytes != 0) {
        memcpy(copy, array, bytes);
    }
    return copy;
}

struct directory *directory_builder_finish(struct directory_builder *builder)
{
    struct directory *directory = builder->directory;
    struct arena *arena = &directory->arena;
    const size_t count = directory->id_count;
    directory->nodes =
        arena_array(arena, builder->nodes, directory->node_count * sizeof *builder->nodes);
    if (count != 0) {
        qsort(builder->shards, count, sizeof *builder->shards, shard_id_cmp);
    }
    directory->by_id = arena_array(arena, builder->shards, count * sizeof *builder->shards);
    const struct directory_shard **shards = arena_alloc(arena, (count + 1) * sizeof *shards);
    for (size_t i = 0; i < count; i++) {
        ASSERT(i == 0 || !uuid_eq(&directory->by_id[i - 1].id, &directory->by_id[i].id));
        if (directory->by_id[i].place != PLACE_RETIRED) {
            shards[directory->shard_count++] = &directory->by_id[i];
        }
    }
    qsort(shards, directory->shard_count, sizeof *shards, shard_range_cmp);
    directory->shards = shards;
    free(builder->nodes);
    free(builder->shards);
    *builder = (struct directory_builder){0};
    return directory;
}
