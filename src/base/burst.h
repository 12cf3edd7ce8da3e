/*
 * base/burst.h - one line of the log for a burst of what can happen at any rate.
 *
 * Threads    any.
 * Limits     one line in BURST_US, and its count. Of two threads that meet in one microsecond both
 *            may say one.
 */
#ifndef SILO_BASE_BURST_H
#define SILO_BASE_BURST_H

#include <stdatomic.h>
#include <stdint.h>

#define BURST_US 10000000

/* Zeros are a new one. */
struct burst {
    atomic_uint_fast32_t count; /* since the last line; a mere figure, relaxed */
    atomic_int_fast64_t said_us;
};

/* One more, of which a line speaks later. */
static inline void burst_count(struct burst *burst)
{
    (void)atomic_fetch_add_explicit(&burst->count, 1, memory_order_relaxed);
}

/* How many a line is to speak of; 0 = it is not time for one. */
static inline uint32_t burst_due(struct burst *burst, int64_t now_us)
{
    const int64_t said_us = atomic_load_explicit(&burst->said_us, memory_order_relaxed);
    if (said_us != 0 && now_us - said_us < BURST_US) {
        return 0;
    }
    atomic_store_explicit(&burst->said_us, now_us, memory_order_relaxed);
    return (uint32_t)atomic_exchange_explicit(&burst->count, 0, memory_order_relaxed);
}

/* One more, and whether it is time. */
static inline uint32_t burst_add(struct burst *burst, int64_t now_us)
{
    burst_count(burst);
    return burst_due(burst, now_us);
}

#endif
