/*
 * core/limit_table.c - a list of limits is one block of memory:
 *
 *     struct kept_limits | limits as named | limits as walked | stored bytes, names, metadata
 */
#include "core/limit_table.h"

#include <stdlib.h>

#include "base/assert.h"

struct kept_limits {
    struct map_node node; /* key: limits.stored */
    struct list_node lru;
    size_t size; /* of the block */
    struct limits limits;
    struct limit_rec recs[];
};

void limit_table_init(struct limit_table *table)
{
    *table = (struct limit_table){0};
    map_init(&table->kept);
    list_init(&table->lru);
    arena_init(&table->messages);
}

static void kept_free(struct limit_table *table, struct kept_limits *kept)
{
    map_remove(&table->kept, &kept->node);
    list_remove(&kept->lru);
    table->bytes -= kept->size;
    free(kept);
}

void limit_table_shrink(struct limit_table *table, size_t bytes_max)
{
    while (table->bytes > bytes_max) {
        kept_free(table, CONTAINER_OF(list_first(&table->lru), struct kept_limits, lru));
    }
}

void limit_table_deinit(struct limit_table *table)
{
    limit_table_shrink(table, 0);
    map_deinit(&table->kept);
    arena_deinit(&table->messages);
}

/* Copies the bytes to *at, which is advanced, and lets *b lend from there. */
static void bytes_settle(uint8_t **at, struct bytes *b)
{
    if (b->len != 0) {
        memcpy(*at, b->ptr, b->len);
    }
    b->ptr = *at;
    *at += b->len;
}

static size_t rec_bytes(struct limit_rec *rec)
{
    struct bytes *strings[LIMIT_STRINGS_MAX];
    size_t size = 0;
    for (uint32_t n = limit_rec_strings(rec, strings); n != 0; n--) {
        size += strings[n - 1]->len;
    }
    return size;
}

static void rec_settle(uint8_t **at, struct limit_rec *rec)
{
    struct bytes *strings[LIMIT_STRINGS_MAX];
    for (uint32_t n = limit_rec_strings(rec, strings); n != 0; n--) {
        bytes_settle(at, strings[n - 1]);
    }
}

/* `recs` lie in the arena of messages, and are copied. */
static struct kept_limits *kept_new(struct limit_rec *recs, uint32_t count, struct bytes stored)
{
    const size_t head = sizeof(struct kept_limits) + count * sizeof(struct limit_rec) +
                        count * sizeof(struct limit);
    size_t size = head + stored.len;
    for (uint32_t i = 0; i < count; i++) {
        size += rec_bytes(&recs[i]);
    }
    struct kept_limits *kept = xmalloc(size);
    *kept = (struct kept_limits){.size = size};
    uint8_t *at = (uint8_t *)kept + head;
    for (uint32_t i = 0; i < count; i++) {
        kept->recs[i] = recs[i];
        rec_settle(&at, &kept->recs[i]);
    }
    bytes_settle(&at, &stored);
    kept->limits = (struct limits){
        .count = count, .items = (struct limit *)&kept->recs[count], .stored = stored};
    limits_fill(kept->limits.items, kept->recs, count);
    return kept;
}

static struct kept_limits *kept_decode(struct limit_table *table, struct bytes stored,
                                       uint32_t count)
{
    struct limit_rec *recs = limit_recs_decode(&table->messages, stored, count);
    struct kept_limits *kept = recs != NULL ? kept_new(recs, count, stored) : NULL;
    table->decoded++;
    arena_reset(&table->messages);
    if (kept != NULL) {
        map_insert(&table->kept, &kept->node, kept->limits.stored);
        list_push_back(&table->lru, &kept->lru);
        table->bytes += kept->size;
    }
    return kept;
}

const struct limits *limit_table_find(struct limit_table *table, struct bytes stored,
                                      uint32_t count)
{
    static const struct limits none;
    if (count == 0) {
        return stored.len == 0 ? &none : NULL;
    }
    struct kept_limits *kept = MAP_ENTRY(map_find(&table->kept, stored), struct kept_limits, node);
    if (kept == NULL) {
        kept = kept_decode(table, stored, count);
    } else {
        list_remove(&kept->lru);
        list_push_back(&table->lru, &kept->lru);
    }
    return kept != NULL && kept->limits.count == count ? &kept->limits : NULL;
}
