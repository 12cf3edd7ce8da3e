/*
 * core/limit_table.h - limits decoded once for equal stored bytes.
 *
 * Most jobs of a shard have the limits of many others, byte for byte: those that wait in one line,
 * for example. So what rows say of limits is decoded here and nowhere else in the core, and the
 * result is found again by the bytes. Which lists are kept follows from the calls alone.
 *
 * Ownership  the table owns what it lends, until limit_table_shrink.
 * Threads    one at a time.
 * Limits     bytes_max between two turns; within one, what its commands look at comes on top. Lists
 *            unused longest go first.
 */
#ifndef SILO_CORE_LIMIT_TABLE_H
#define SILO_CORE_LIMIT_TABLE_H

#include "base/list.h"
#include "base/map.h"
#include "core/limit.h"

struct limit_table {
    struct map kept;       /* struct kept_limits, by their stored bytes */
    struct list lru;       /* the same, unused longest first */
    size_t bytes;          /* of all of them */
    uint64_t decoded;      /* how often the table had to decode */
    struct arena messages; /* while one is decoded */
};

void limit_table_init(struct limit_table *table);
void limit_table_deinit(struct limit_table *table);
/* `count` limits as they are stored; NULL for malformed bytes. */
const struct limits *limit_table_find(struct limit_table *table, struct bytes stored,
                                      uint32_t count);
/* Once a turn, never while a command runs. */
void limit_table_shrink(struct limit_table *table, size_t bytes_max);

#endif
