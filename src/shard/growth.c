/*
 * shard/growth.c - what the shards of an executor keep, in one line of the log, so that nobody is
 * surprised by a full disk.
 *
 * A line an hour at most, and only if a number has changed since the last one. The first comes an
 * hour after the start.
 */
#include "base/log.h"
#include "shard/shard_int.h"

static struct growth growth_now(const struct executor *executor)
{
    struct growth now = {.expired = executor->expired};
    for (struct list_node *n = list_first(&executor->owned); n != NULL;
         n = list_next(&executor->owned, n)) {
        const struct incarnation *inc = CONTAINER_OF(n, struct shard, owned)->inc;
        if (inc == NULL || inc->phase != INC_OPEN) {
            continue;
        }
        const struct core_stats stats = core_stats(inc->core);
        now.shards++;
        now.expired += stats.expired_jobs;
        now.counts.open += stats.jobs.open;
        now.counts.succeeded += stats.jobs.succeeded;
        now.counts.failed += stats.jobs.failed;
        now.counts.cancelled += stats.jobs.cancelled;
    }
    return now;
}

void growth_turn(struct executor *executor)
{
    if (executor->growth_mono_ms == 0) {
        executor->growth_mono_ms = executor->mono_ms + GROWTH_LINE_MS;
    }
    if (executor->mono_ms < executor->growth_mono_ms) {
        return;
    }
    executor->growth_mono_ms = executor->mono_ms + GROWTH_LINE_MS;
    const struct growth now = growth_now(executor);
    const struct growth *last = &executor->growth_said;
    if (memcmp(&now, last, sizeof now) == 0) {
        return;
    }
    log_info("jobs_kept", LOG_INT("shards", now.shards), LOG_INT("open", now.counts.open),
             LOG_INT("succeeded", now.counts.succeeded), LOG_INT("failed", now.counts.failed),
             LOG_INT("cancelled", now.counts.cancelled),
             LOG_INT("expired", now.expired - last->expired), LOG_END);
    executor->growth_said = now;
}
