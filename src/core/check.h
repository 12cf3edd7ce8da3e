/*
 * core/check.h - rate limits that have been asked: from the question to the command that has the
 * answer.
 *
 * Ownership  a check lives from check_start until its command has ended.
 * Threads    the shard's executor only.
 * Limits     SHARD_CHECKS_MAX under way.
 */
#ifndef SILO_CORE_CHECK_H
#define SILO_CORE_CHECK_H

#include "base/arena.h"
#include "base/list.h"
#include "base/map.h"
#include "codec/limit.h"
#include "core/core.h"

struct gate;
struct group;
struct task;
struct throttle;

/* A rate limit that has been asked. */
struct check {
    struct list_node node;   /* core->checks.to_ask, until the driver takes it */
    struct map_node by_task; /* key: task id */
    struct uuid task_id;
    uint32_t passed; /* of the token when it asked */
    struct bytes job_ref;
    struct group *group;
    struct gate *gate; /* NULL: the token does not stand in line */
    struct rate_retry_policy retry;
    struct core_check ask; /* for the driver */
    struct arena arena;
};

void checks_init(struct core *core, bool external);
bool task_wants_check(const struct task *task);
void check_start(struct core *core, struct task *task);
/* The command about a check has ended, well or not. */
void check_ended(struct core *core, const struct command *cmd);
struct check *check_find(const struct core *core, const struct uuid *task_id);
/* The line it stands in, if that is a rate limit's. */
struct throttle *task_throttle(const struct task *task);
/* The limiter's answer, as far as it concerns all who wait for it. */
void check_tell_gate(struct core *core, const struct check *check, enum core_verdict verdict,
                     int64_t wait_ms);
/* When one that was refused so often is asked again. */
int64_t check_retry_ms(const struct core *core, enum core_verdict verdict, int64_t reset_ms,
                       const struct rate_retry_policy *policy, uint32_t retries);
void checks_free(struct core *core);

#endif
