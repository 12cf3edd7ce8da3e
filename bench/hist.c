/* bench/hist.c - buckets: exact below 64 us, then 64 to each power of two. */
#include "hist.h"

#include <string.h>

static uint32_t bucket_of(uint64_t us)
{
    if (us < HIST_SUB) {
        return (uint32_t)us;
    }
    const uint32_t power = 63u - (uint32_t)__builtin_clzll(us) - 6u; /* 2^6 = HIST_SUB */
    const uint32_t bucket = (power + 1) * HIST_SUB + (uint32_t)((us >> power) - HIST_SUB);
    return bucket < HIST_BUCKETS ? bucket : HIST_BUCKETS - 1;
}

static int64_t bucket_top(uint32_t bucket)
{
    if (bucket < HIST_SUB) {
        return bucket;
    }
    const uint32_t power = bucket / HIST_SUB - 1;
    return (int64_t)(((uint64_t)(bucket % HIST_SUB) + HIST_SUB + 1) << power) - 1;
}

void hist_add(struct hist *hist, int64_t us)
{
    const uint64_t v = us > 0 ? (uint64_t)us : 0;
    hist->buckets[bucket_of(v)]++;
    hist->count++;
    hist->sum_us += (int64_t)v;
    hist->max_us = us > hist->max_us ? us : hist->max_us;
}

int64_t hist_quantile(const struct hist *hist, double q)
{
    const double rank = q * (double)hist->count;
    double seen = 0;
    for (uint32_t i = 0; i < HIST_BUCKETS; i++) {
        seen += (double)hist->buckets[i];
        if (hist->buckets[i] != 0 && seen >= rank) {
            const int64_t top = bucket_top(i);
            return top < hist->max_us ? top : hist->max_us;
        }
    }
    return hist->max_us;
}

void hist_reset(struct hist *hist)
{
    memset(hist, 0, sizeof *hist);
}

double hist_mean(const struct hist *hist)
{
    return hist->count != 0 ? (double)hist->sum_us / (double)hist->count : 0;
}
