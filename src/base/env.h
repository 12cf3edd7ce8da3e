/*
 * base/env.h - what the outside world gives: two clocks and random bytes, behind one struct so that
 * a simulation can give others.
 *
 * Units      wall_ms: milliseconds since the Unix epoch; mono_us: microseconds of a clock that
 *            never steps, and that counts the time a machine is suspended: leases and proofs of
 *            ownership are no younger for it.
 * Threads    the system environment may be used from any thread.
 */
#ifndef SILO_BASE_ENV_H
#define SILO_BASE_ENV_H

#include <stddef.h>
#include <stdint.h>

struct env {
    int64_t (*wall_ms)(void *context);
    int64_t (*mono_us)(void *context);
    void (*random)(void *context, void *ret_bytes, size_t len); /* cryptographic in env_system */
    void *context;
};

/* The machine's own clocks and getrandom(2), buffered per thread. */
extern const struct env env_system;

static inline int64_t env_wall_ms(const struct env *env)
{
    return env->wall_ms(env->context);
}

static inline int64_t env_mono_us(const struct env *env)
{
    return env->mono_us(env->context);
}

static inline int64_t env_mono_ms(const struct env *env)
{
    return env->mono_us(env->context) / 1000;
}

static inline void env_random(const struct env *env, void *ret_bytes, size_t len)
{
    env->random(env->context, ret_bytes, len);
}

#endif
