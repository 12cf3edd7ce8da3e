/*
 * sim/guards.h - what must hold between the processes of a cluster, their coordinator and the
 * store: who may open a shard, claim it, give it up.
 *
 * Threads    one.
 */
#ifndef SILO_SIM_GUARDS_H
#define SILO_SIM_GUARDS_H

#include "sim/coord_member.h"
#include "sim/process.h"

#define GUARDS_PROCESSES_MAX 5u

struct guards {
    struct verdict *verdict;
    uint64_t moments; /* counts what happens, so that before and after can be told */
    struct {
        uint64_t named;   /* when this life of it last read, or made, a record that names it; 0 */
        uint64_t foreign; /* when another process opened the shard last */
        bool gave;        /* it asked that the record name it no more, and has not opened since */
        int64_t gave_us;
    } seen[GUARDS_PROCESSES_MAX][PROCESS_SHARDS_MAX];
};

/* A process begins a life: it knows nothing. */
void guards_began(struct guards *guards, uint32_t process);
void guards_named(struct guards *guards, uint32_t process, size_t shard);
/* An opening went well. */
void guards_opened(struct guards *guards, uint32_t process, size_t shard);
/* It asks for the record, or for its end. */
void guards_claims(struct guards *guards, const struct coord_member *member, size_t shard);
void guards_releases(struct guards *guards, const struct process *process, size_t shard,
                     int64_t now_us);
/* It did something for a caller in the shard as its server, not before that time. */
void guards_answers(struct guards *guards, const struct process *process, size_t shard,
                    int64_t at_us);

#endif
