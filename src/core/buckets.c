/* core/buckets.c - buckets in memory, and the sweep. */
#include "core/buckets.h"

#include "base/assert.h"
#include "base/limits.h"
#include "core/bucket.h"
#include "core/read.h"
#include "core/state.h"

void buckets_init(struct core *core)
{
    map_init(&core->buckets.by_key);
    list_init(&core->buckets.lru);
    list_init(&core->buckets.dirty);
    sweep_init(&core->buckets.sweep);
    core->buckets.sweep_mono_ms = INT64_MAX;
}

static void bucket_forget(struct core *core, struct bucket_entry *entry)
{
    map_remove(&core->buckets.by_key, &entry->node);
    list_remove(&entry->lru);
    list_remove(&entry->dirty);
    free(entry);
}

static void buckets_shrink(struct core *core)
{
    while (core->buckets.by_key.count >= SHARD_BUCKETS_MAX) {
        struct bucket_entry *oldest =
            LIST_ENTRY(list_first(&core->buckets.lru), struct bucket_entry, lru);
        if (list_linked(&oldest->dirty)) {
            return;
        }
        bucket_forget(core, oldest);
    }
}

/* NULL: asked for on behalf of cmd. */
struct bucket_entry *bucket_get(struct core *core, struct command *cmd, struct bytes key)
{
    struct bucket_entry *entry =
        MAP_ENTRY(map_find(&core->buckets.by_key, key), struct bucket_entry, node);
    if (entry != NULL) {
        list_remove(&entry->lru);
        list_push_back(&core->buckets.lru, &entry->lru);
        return entry;
    }
    struct bytes value;
    const enum view_answer there = look(core, cmd, key, &value);
    if (there == VIEW_UNKNOWN) {
        return NULL;
    }
    buckets_shrink(core);
    entry = xmalloc(sizeof *entry + key.len);
    *entry = (struct bucket_entry){.key_len = key.len};
    memcpy(entry->key, key.ptr, key.len);
    if (there == VIEW_FOUND) {
        entry->stored = true;
        entry->exists = bucket_decode(value, &entry->bucket);
        core->corrupt_rows += !entry->exists;
    }
    map_insert(&core->buckets.by_key, &entry->node, bytes_of(entry->key, entry->key_len));
    list_push_back(&core->buckets.lru, &entry->lru);
    return entry;
}

void bucket_changed(struct core *core, struct bucket_entry *entry)
{
    if (!list_linked(&entry->dirty)) {
        list_push_back(&core->buckets.dirty, &entry->dirty);
    }
    if (core->buckets.sweep_mono_ms == INT64_MAX) {
        core->buckets.sweep_mono_ms = core->mono_ms + BUCKET_SWEEP_MS;
    }
}

void buckets_write(struct core *core)
{
    struct list_node *node = NULL;
    while ((node = list_pop_front(&core->buckets.dirty)) != NULL) {
        struct bucket_entry *entry = CONTAINER_OF(node, struct bucket_entry, dirty);
        const struct bytes key = bytes_of(entry->key, entry->key_len);
        if (entry->exists) {
            buf_reset(&core->scratch);
            bucket_encode(&core->scratch, &entry->bucket);
            view_put(&core->view, key, buf_bytes(&core->scratch), !entry->stored);
        } else if (entry->stored) {
            view_del(&core->view, key);
        }
        entry->stored = entry->exists;
    }
}

void buckets_free(struct core *core)
{
    for (struct map_node *n = map_next(&core->buckets.by_key, NULL); n != NULL;
         n = map_next(&core->buckets.by_key, NULL)) {
        bucket_forget(core, CONTAINER_OF(n, struct bucket_entry, node));
    }
    map_deinit(&core->buckets.by_key);
    sweep_deinit(&core->buckets.sweep);
}

/* --- buckets that have refilled go, a page at a time --- */

static void bucket_swept(struct core *core, struct bytes key, struct bytes value)
{
    struct bucket bucket;
    struct bucket_entry *entry =
        MAP_ENTRY(map_find(&core->buckets.by_key, key), struct bucket_entry, node);
    if (entry != NULL) {
        if (entry->stored && entry->exists && bucket_stale(&entry->bucket, core->wall_ms)) {
            bucket_forget(core, entry);
            view_del(&core->view, key);
        }
        return;
    }
    if (view_recent(&core->view, key) == NULL &&
        (!bucket_decode(value, &bucket) || bucket_stale(&bucket, core->wall_ms))) {
        view_del(&core->view, key);
    }
}

static void buckets_swept(struct core *core, bool ok)
{
    core->buckets.sweep_mono_ms = core->mono_ms + BUCKET_SWEEP_MS;
    if (!ok) {
        return;
    }
    const bool none = core->buckets.sweep.after.len == 0 && core->buckets.by_key.count == 0;
    if (!sweep_advance(&core->buckets.sweep) && none) {
        core->buckets.sweep_mono_ms = INT64_MAX;
    }
}

void buckets_turn(struct core *core)
{
    struct sweep *sweep = &core->buckets.sweep;
    if (sweep->reading || core->mono_ms < core->buckets.sweep_mono_ms) {
        return;
    }
    if (sweep->range_len == 0) {
        struct key table;
        key_table(&table, TABLE_LIMITER);
        sweep_begin(sweep, &table, BYTES_NONE);
    }
    sweep_page(core, sweep, PAGE_ROWS_MAX, bucket_swept, buckets_swept);
}

int64_t buckets_next_mono_ms(const struct core *core)
{
    return core->buckets.sweep.reading ? INT64_MAX : core->buckets.sweep_mono_ms;
}
