/* metrics/published.c - see published.h. */
#include "metrics/published.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

#define CACHE_LINE_BYTES 64u
/* A publication takes well under a microsecond, unless its thread is not running. */
#define TRIES_MAX 1000u

struct published *published_new(size_t count)
{
    const size_t bytes = sizeof(struct published) + count * sizeof(atomic_uint_fast64_t);
    const size_t whole = (bytes + CACHE_LINE_BYTES - 1) / CACHE_LINE_BYTES * CACHE_LINE_BYTES;
    struct published *published = aligned_alloc(CACHE_LINE_BYTES, whole);
    ASSERT(published != NULL);
    memset(published, 0, whole);
    published->count = count;
    return published;
}

void published_free(struct published *published)
{
    free(published);
}

bool published_get(const struct published *published, uint64_t *ret_numbers)
{
    for (uint32_t tries = 0; tries < TRIES_MAX; tries++) {
        const uint64_t before = atomic_load_explicit(&published->version, memory_order_acquire);
        if (before % 2 == 0) {
            for (size_t i = 0; i < published->count; i++) {
                ret_numbers[i] = atomic_load_explicit(&published->numbers[i], memory_order_acquire);
            }
            if (atomic_load_explicit(&published->version, memory_order_relaxed) == before) {
                return true;
            }
        }
        (void)sched_yield();
    }
    return false;
}
