/*
 * core/count.c - one counter row per tenant, and the totals of the shard.
 *
 * Counters are absolute values. Their only writer is this file, once per batch (counts_write); a
 * clean counter whose row is durable may leave memory and is read again on demand.
 */
#include "core/count.h"

#include "base/assert.h"
#include "base/limits.h"
#include "core/commands.h"
#include "core/read.h"
#include "core/run.h"
#include "core/state.h"

void counts_init(struct core *core)
{
    map_init(&core->counts.by_tenant);
    list_init(&core->counts.lru);
    list_init(&core->counts.dirty);
}

static void count_free(struct core *core, struct tenant_count *count)
{
    map_remove(&core->counts.by_tenant, &count->node);
    list_remove(&count->lru);
    list_remove(&count->dirty);
    free(count);
}

static void counts_shrink(struct core *core)
{
    while (core->counts.by_tenant.count >= SHARD_TENANT_COUNTS_MAX) {
        struct tenant_count *oldest =
            LIST_ENTRY(list_first(&core->counts.lru), struct tenant_count, lru);
        if (list_linked(&oldest->dirty)) {
            return;
        }
        count_free(core, oldest);
    }
}

struct tenant_count *count_find(struct core *core, struct bytes job_ref, struct command *cmd)
{
    const struct bytes tenant = job_ref_tenant(job_ref);
    struct tenant_count *count =
        MAP_ENTRY(map_find(&core->counts.by_tenant, tenant), struct tenant_count, node);
    if (count != NULL) {
        list_remove(&count->lru);
        list_push_back(&core->counts.lru, &count->lru);
        return count;
    }
    struct key key;
    key_count(&key, job_ref);
    struct bytes value;
    struct counts counts = {0};
    switch (look(core, cmd, key_bytes(&key), &value)) {
    case VIEW_UNKNOWN:
        return NULL;
    case VIEW_ABSENT:
        break;
    case VIEW_FOUND:
        if (!counts_decode(value, &counts)) {
            core_break(core, "a tenant's counter row is corrupt");
        }
        break;
    }
    counts_shrink(core);
    count = xmalloc(sizeof *count + tenant.len);
    *count = (struct tenant_count){.counts = counts, .key_len = tenant.len};
    memcpy(count->key, tenant.ptr, tenant.len);
    map_insert(&core->counts.by_tenant, &count->node, bytes_of(count->key, count->key_len));
    list_push_back(&core->counts.lru, &count->lru);
    return count;
}

enum count_kind count_kind_of(enum job_status status)
{
    switch (status) {
    case JOB_SCHEDULED:
    case JOB_RUNNING:
        return COUNT_OPEN;
    case JOB_SUCCEEDED:
        return COUNT_SUCCEEDED;
    case JOB_FAILED:
        return COUNT_FAILED;
    case JOB_CANCELLED:
        return COUNT_CANCELLED;
    }
    ASSERT(!"a status out of range");
}

static uint64_t *counter_of(struct counts *counts, enum count_kind kind)
{
    switch (kind) {
    case COUNT_NONE:
        return NULL;
    case COUNT_OPEN:
        return &counts->open;
    case COUNT_SUCCEEDED:
        return &counts->succeeded;
    case COUNT_FAILED:
        return &counts->failed;
    case COUNT_CANCELLED:
        return &counts->cancelled;
    }
    ASSERT(!"a kind out of range");
}

static void counts_move(struct core *core, struct counts *counts, enum count_kind from,
                        enum count_kind to)
{
    uint64_t *minus = counter_of(counts, from);
    uint64_t *plus = counter_of(counts, to);
    if (minus != NULL) {
        if (*minus == 0) { /* counters come from storage: they may be wrong without our doing */
            core_break(core, "a counter row counts fewer jobs than there are");
            return;
        }
        --*minus;
    }
    if (plus != NULL) {
        ++*plus;
    }
}

void count_move(struct core *core, struct tenant_count *count, enum count_kind from,
                enum count_kind to)
{
    counts_move(core, &count->counts, from, to);
    counts_move(core, &core->counts.totals, from, to);
    core->counts.totals_dirty = true;
    if (!list_linked(&count->dirty)) {
        list_push_back(&core->counts.dirty, &count->dirty);
    }
}

void counts_write(struct core *core)
{
    struct list_node *node = NULL;
    while ((node = list_pop_front(&core->counts.dirty)) != NULL) {
        struct tenant_count *count = CONTAINER_OF(node, struct tenant_count, dirty);
        struct key key;
        key_count(&key, bytes_of(count->key, count->key_len));
        buf_reset(&core->scratch);
        counts_encode(&core->scratch, &count->counts);
        view_put(&core->view, key_bytes(&key), buf_bytes(&core->scratch), false);
    }
    if (core->counts.totals_dirty) {
        core->counts.totals_dirty = false;
        struct key key;
        key_meta(&key, META_TOTALS);
        buf_reset(&core->scratch);
        counts_encode(&core->scratch, &core->counts.totals);
        view_put(&core->view, key_bytes(&key), buf_bytes(&core->scratch), false);
    }
}

void counts_free(struct core *core)
{
    for (struct map_node *n = map_next(&core->counts.by_tenant, NULL); n != NULL;
         n = map_next(&core->counts.by_tenant, NULL)) {
        count_free(core, CONTAINER_OF(n, struct tenant_count, node));
    }
    map_deinit(&core->counts.by_tenant);
}

enum run totals_run(struct core *core, struct command *cmd)
{
    cmd->result.totals =
        (struct totals_result){.counts = core->counts.totals, .created_ms = core->shard.created_ms};
    view_touch_absent(&core->view);
    return run_ok(cmd);
}
