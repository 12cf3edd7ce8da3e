/* metrics/counters.c - the tables of counters.h as data. */
#include "metrics/counters.h"

static const struct counter_family families[] = {
#define X(id, name, type, unit, label, help) {name, label, help, TYPE_##type, UNIT_##unit},
    COUNTER_FAMILIES(X)
#undef X
};

#define X(field, family, value) {FAMILY_##family, value},
static const struct counter_series executor_series[] = {EXECUTOR_COUNTERS(X)};
static const struct counter_series loop_series[] = {LOOP_COUNTERS(X)};
static const struct counter_series shard_series[] = {SHARD_COUNTERS(X)};
static const struct counter_series node_series[] = {NODE_COUNTERS(X)};
#undef X

#define TABLE(label, series)                              \
    {                                                     \
        label, series, sizeof(series) / sizeof(series)[0] \
    }
static const struct counter_table tables[COUNTER_SCOPES] = {
    [SCOPE_EXECUTOR] = TABLE("executor", executor_series),
    [SCOPE_LOOP] = TABLE("loop", loop_series),
    [SCOPE_SHARD] = TABLE("shard", shard_series),
    [SCOPE_NODE] = TABLE("node", node_series),
};

const struct counter_family *counter_family(enum counter_family_id id)
{
    return &families[id];
}

size_t counter_families(void)
{
    return sizeof families / sizeof families[0];
}

const struct counter_table *counter_table(enum counter_scope scope)
{
    return &tables[scope];
}
