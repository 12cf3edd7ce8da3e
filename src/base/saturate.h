/*
 * base/saturate.h - arithmetic of times, where "never" is INT64_MAX and durations come from
 * outside: sums that stop at the ends of their type instead of going round, the earlier of two,
 * never that stays never in another unit.
 */
#ifndef SILO_BASE_SATURATE_H
#define SILO_BASE_SATURATE_H

#include <stdint.h>

static inline int64_t add_saturated(int64_t a, int64_t b)
{
    int64_t sum = 0;
    if (__builtin_add_overflow(a, b, &sum)) {
        return b < 0 ? INT64_MIN : INT64_MAX;
    }
    return sum;
}

static inline int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t us_of_ms(int64_t ms)
{
    return ms > INT64_MAX / 1000 ? INT64_MAX : ms * 1000;
}

#endif
