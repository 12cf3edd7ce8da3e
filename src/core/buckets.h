/*
 * core/buckets.h - the buckets of the built-in limiter, as far as they are in memory; those that
 * have refilled are swept from storage.
 *
 * Ownership  the core's; a bucket may leave memory once its row is written.
 * Threads    the shard's executor only.
 * Limits     SHARD_BUCKETS_MAX in memory; a page of the sweep every BUCKET_SWEEP_MS.
 */
#ifndef SILO_CORE_BUCKETS_H
#define SILO_CORE_BUCKETS_H

#include "base/list.h"
#include "base/map.h"
#include "core/bucket.h"

struct command;
struct core;

/* A bucket of the built-in limiter. */
struct bucket_entry {
    struct map_node node; /* key: its row's */
    struct list_node lru, dirty;
    bool exists, stored;
    struct bucket bucket;
    size_t key_len;
    uint8_t key[];
};

void buckets_init(struct core *core);
void buckets_write(struct core *core);
void buckets_turn(struct core *core);
int64_t buckets_next_mono_ms(const struct core *core);
/* NULL: asked for on behalf of cmd. */
struct bucket_entry *bucket_get(struct core *core, struct command *cmd, struct bytes key);
/* Hits were taken: it is written with the batch. */
void bucket_changed(struct core *core, struct bucket_entry *entry);
void buckets_free(struct core *core);

#endif
