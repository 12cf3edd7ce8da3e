/*
 * core/retry.h - back-off arithmetic.
 *
 * Units      _ms: milliseconds.
 * Threads    any.
 */
#ifndef SILO_CORE_RETRY_H
#define SILO_CORE_RETRY_H

#include "base/uuid.h"
#include "codec/record.h"

/* Delay before the retry that follows failed attempt `relative` (1 = the first), in ms. */
int64_t retry_delay_ms(const struct retry_policy *policy, uint32_t relative,
                       const struct uuid *task_id);

#endif
