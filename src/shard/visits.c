/*
 * shard/visits.c - which shards a turn of an executor visits: those for which something came, and
 * those whose time has come. An idle shard costs nothing.
 *
 *   came: a control, a request, an event of the store, a verdict ──► work ──turn──► the time of
 *                                                                     ▲             its next turn
 *                                                                     └──── due ◄─────── times
 *
 * Times are monotonic ones. What a shard waits for by the wall clock was converted with the
 * difference of the clocks as it was, so all are visited when the wall clock has gained on the
 * other by VISITS_GAIN_MS; when it has lost, shards only come too early, and wait on.
 */
#include "base/assert.h"
#include "shard/shard_int.h"

#define VISITS_GAIN_MS 10

void shard_visit(struct shard *shard)
{
    if (shard->gone || list_linked(&shard->work)) {
        return;
    }
    struct executor *executor = shard->executor;
    const struct incarnation *inc = shard->inc;
    list_push_back(&executor->work, &shard->work);
    if (inc != NULL && inc->core != NULL) {
        core_set_time(inc->core, executor->wall_ms, executor->mono_ms);
    }
}

void executor_visit_all(struct executor *executor)
{
    for (struct list_node *n = list_first(&executor->owned); n != NULL;
         n = list_next(&executor->owned, n)) {
        shard_visit(CONTAINER_OF(n, struct shard, owned));
    }
}

void visits_due(struct executor *executor)
{
    const int64_t offset_ms = executor->wall_ms - executor->mono_ms;
    if (offset_ms - executor->planned_offset_ms >= VISITS_GAIN_MS) {
        executor_visit_all(executor);
        executor->planned_offset_ms = offset_ms;
    } else if (offset_ms < executor->planned_offset_ms) {
        executor->planned_offset_ms = offset_ms;
    }
    for (struct heap_node *node = heap_min(&executor->times);
         node != NULL && node->key <= executor->mono_ms; node = heap_min(&executor->times)) {
        heap_remove(&executor->times, node);
        shard_visit(CONTAINER_OF(node, struct shard, next));
    }
}

void shard_plan(struct shard *shard, int64_t next_mono_ms)
{
    struct heap *times = &shard->executor->times;
    if (next_mono_ms == INT64_MAX) {
        if (heap_has(&shard->next)) {
            heap_remove(times, &shard->next);
        }
    } else if (!heap_has(&shard->next)) {
        heap_insert(times, &shard->next, next_mono_ms);
    } else if (shard->next.key != next_mono_ms) {
        heap_update(times, &shard->next, next_mono_ms);
    }
}

int64_t visits_next_mono_ms(const struct executor *executor)
{
    const struct heap_node *first = heap_min(&executor->times);
    return first != NULL ? first->key : INT64_MAX;
}

void visits_forget(struct shard *shard)
{
    list_remove(&shard->work);
    shard_plan(shard, INT64_MAX);
}
