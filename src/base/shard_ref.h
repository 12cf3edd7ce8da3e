/*
 * base/shard_ref.h - a shard of this process by its place, as requests and the directory carry it.
 *
 * Shards come and go while requests are on their way, so none carries a pointer. A place is used
 * again when its shard has gone, with a higher generation: who finds another generation there knows
 * that the shard he means is not here any more.
 *
 * Threads    no shared state.
 * Limits     SHARDS_MAX places (base/limits.h).
 */
#ifndef SILO_BASE_SHARD_REF_H
#define SILO_BASE_SHARD_REF_H

#include <stdbool.h>
#include <stdint.h>

struct shard_ref {
    uint32_t slot;
    uint32_t generation; /* 0: no shard at all */
};

#define SHARD_REF_NONE ((struct shard_ref){0, 0})

static inline bool shard_ref_eq(struct shard_ref a, struct shard_ref b)
{
    return a.slot == b.slot && a.generation == b.generation;
}

#endif
