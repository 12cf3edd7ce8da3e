/* base/env.c - the system environment. */
#include "base/env.h"

#include <stdint.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/assert.h"

static int64_t clock_us(clockid_t id)
{
    struct timespec ts;
    ASSERT(clock_gettime(id, &ts) == 0);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static int64_t system_wall_ms(void *context)
{
    (void)context;
    return clock_us(CLOCK_REALTIME) / 1000;
}

static int64_t system_mono_us(void *context)
{
    (void)context;
    return clock_us(CLOCK_BOOTTIME); /* it counts on while the machine sleeps */
}

/* getrandom in blocks: an id costs a copy, not a system call. */
static void system_random(void *context, void *ret_bytes, size_t len)
{
    (void)context;
    static _Thread_local uint8_t pool[512];
    static _Thread_local size_t left;
    ASSERT(len <= sizeof pool);
    if (left < len) {
        ASSERT(getrandom(pool, sizeof pool, 0) == (ssize_t)sizeof pool);
        left = sizeof pool;
    }
    left -= len;
    memcpy(ret_bytes, pool + left, len);
    memset(pool + left, 0, len);
}

const struct env env_system = {
    .wall_ms = system_wall_ms, .mono_us = system_mono_us, .random = system_random};
