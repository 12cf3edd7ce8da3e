/*
 * core/watch.h - commands that wait for the end of a job.
 *
 * Ownership  a job has an entry while a command waits for it.
 * Threads    the shard's executor only.
 * Limits     SHARD_PARKED_MAX parked commands.
 */
#ifndef SILO_CORE_WATCH_H
#define SILO_CORE_WATCH_H

#include "base/list.h"
#include "base/map.h"

struct command;
struct core;

/* Commands that wait for the end of one job. */
struct job_watch {
    struct map_node node;
    struct list commands;
    size_t key_len;
    uint8_t key[];
};

void watches_init(struct core *core);
void watches_free(struct core *core);
void watch_add(struct core *core, struct command *cmd);
void watch_remove(struct core *core, struct command *cmd);
/* Moves every parked wait to a list. */
void watches_abandon(struct core *core, struct list *to);
void watch_fire(struct core *core, struct bytes job_ref);

#endif
