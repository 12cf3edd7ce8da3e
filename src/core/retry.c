/*
 * core/retry.c - back-off arithmetic.
 *
 *   delay(n) = initial * factor^(n-1), then * (1 + u) with jitter, then at most max_ms (0 = no cap)
 *
 * n counts the failed attempt within its run; u in [0, 1) comes from the XXH64 of the failed
 * attempt's task id, so that jobs which fail together do not come back together. A factor of 0
 * means 2.
 */
#include "core/retry.h"

#include <math.h>
#include <xxhash.h>

static int64_t round_saturated(double d)
{
    if (!(d > 0)) {
        return 0;
    }
    return d >= 9.2e18 ? INT64_MAX : (int64_t)llround(d);
}

int64_t retry_delay_ms(const struct retry_policy *policy, uint32_t relative,
                       const struct uuid *task_id)
{
    const double factor = policy->factor == 0 ? 2.0 : policy->factor;
    double delay = (double)policy->initial_ms * pow(factor, (double)relative - 1);
    if (policy->jitter) {
        const uint64_t hash = XXH64(task_id->b, sizeof task_id->b, 0);
        delay *= 1.0 + (double)(hash >> 11) / 9007199254740992.0;
    }
    const int64_t ms = round_saturated(delay);
    return policy->max_ms > 0 && ms > policy->max_ms ? policy->max_ms : ms;
}
