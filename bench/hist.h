/*
 * bench/hist.h - a latency histogram with a relative error of at most 1/64, from 1 us to an hour.
 *
 * Units      microseconds.
 * Threads    one at a time.
 */
#ifndef SILO_BENCH_HIST_H
#define SILO_BENCH_HIST_H

#include <stdint.h>

#define HIST_SUB 64u
#define HIST_BUCKETS (28u * HIST_SUB)

struct hist {
    uint64_t buckets[HIST_BUCKETS];
    uint64_t count;
    int64_t max_us, sum_us;
};

void hist_add(struct hist *hist, int64_t us);
void hist_reset(struct hist *hist);
/* The value below which the share q (0..1) of all lies; 0 when empty. */
int64_t hist_quantile(const struct hist *hist, double q);
double hist_mean(const struct hist *hist);

#endif
