/*
 * rpc/burst_int.h - one line of the log for a burst of what a peer can cause at any rate.
 *
 * Threads    its owner's.
 * Limits     one line in BURST_US.
 */
#ifndef SILO_RPC_BURST_INT_H
#define SILO_RPC_BURST_INT_H

#include <stdbool.h>
#include <stdint.h>

#define BURST_US 10000000

struct burst {
    uint32_t count; /* since the last line */
    int64_t said_us;
};

/* One more. How many a line is to speak of; 0 = it is not time for one. */
static inline uint32_t burst_add(struct burst *burst, int64_t now_us)
{
    burst->count++;
    if (burst->said_us != 0 && now_us - burst->said_us < BURST_US) {
        return 0;
    }
    const uint32_t count = burst->count;
    *burst = (struct burst){.said_us = now_us};
    return count;
}

#endif
