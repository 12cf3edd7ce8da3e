/*
 * metrics/published.h - counters of one thread that any other may read without a lock.
 *
 * A thread counts in plain memory of its own and publishes all of it at the end of its turn; a
 * reader gets everything as it was at the end of one turn. The version is odd while the owner
 * writes, and moves with each publication, so a reader notices that it read across one and reads
 * again (a seqlock). Storing the numbers with release and loading them with acquire stands for the
 * fences that such a lock needs: whoever sees a number of a publication sees its odd version, too.
 *
 * Units      numbers of 64 bits, meaning what their owner's table says (metrics/counters.h).
 * Ownership  whoever made it frees it, when nobody reads any more.
 * Threads    published_put: the owner's. published_get: any.
 */
#ifndef SILO_METRICS_PUBLISHED_H
#define SILO_METRICS_PUBLISHED_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct published {
    atomic_uint_fast64_t version;
    size_t count;
    atomic_uint_fast64_t numbers[];
};

/* All zero. Two of them share no cache line. */
struct published *published_new(size_t count);
void published_free(struct published *published);

static inline void published_put(struct published *published, const uint64_t *numbers)
{
    const uint64_t version = atomic_load_explicit(&published->version, memory_order_relaxed);
    atomic_store_explicit(&published->version, version + 1, memory_order_relaxed);
    for (size_t i = 0; i < published->count; i++) {
        atomic_store_explicit(&published->numbers[i], numbers[i], memory_order_release);
    }
    atomic_store_explicit(&published->version, version + 2, memory_order_release);
}

/*
 * False: the owner was stopped in the middle of a publication and has not gone on meanwhile;
 * nothing useful was read.
 */
bool published_get(const struct published *published, uint64_t *ret_numbers);

#endif
