/*
 * core/count.h - how many jobs of each kind there are: for each tenant, and of the whole shard.
 *
 * Ownership  the core's. A counter may leave memory once its row is written.
 * Threads    the shard's executor only.
 * Limits     SHARD_TENANT_COUNTS_MAX tenants in memory.
 */
#ifndef SILO_CORE_COUNT_H
#define SILO_CORE_COUNT_H

#include "base/list.h"
#include "base/map.h"
#include "codec/record.h"

struct command;
struct core;

struct tenant_count {
    struct map_node node; /* key: tenant part of job references */
    struct list_node lru;
    struct list_node dirty;
    struct counts counts;
    uint64_t batch;
    size_t key_len;
    uint8_t key[];
};

enum count_kind { COUNT_NONE, COUNT_OPEN, COUNT_SUCCEEDED, COUNT_FAILED, COUNT_CANCELLED };
void counts_init(struct core *core);
enum count_kind count_kind_of(enum job_status status);
/* NULL: asked for on behalf of cmd. */
struct tenant_count *count_find(struct core *core, struct bytes job_ref, struct command *cmd);
void count_move(struct core *core, struct tenant_count *count, enum count_kind from,
                enum count_kind to);
void counts_write(struct core *core);
void counts_free(struct core *core);

#endif
