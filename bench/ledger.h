/*
 * bench/ledger.h - what became of each job of a load, and of each shard how long no call on it
 * succeeded.
 *
 * Jobs are numbered and named by it. A job that was acknowledged and never reported is lost; one
 * that was handed out again after its report was acknowledged ran twice. One handed out twice
 * before may be as it should: the worker that had it first may never have heard of it.
 *
 * Threads    loop, but for ledger_new and ledger_free.
 * Limits     LEDGER_JOBS_MAX jobs; more are not accounted for.
 */
#ifndef SILO_BENCH_LEDGER_H
#define SILO_BENCH_LEDGER_H

#include "bench.h"

#define LEDGER_JOBS_MAX (1u << 26)
#define LEDGER_NAME_BYTES 24u

struct ledger;

struct ledger_sums {
    uint64_t acknowledged, reported;
    uint64_t lost;              /* acknowledged, not reported */
    uint64_t handed_out_again;  /* before a report was acknowledged */
    uint64_t ran_after_its_end; /* handed out after a report was acknowledged */
    uint64_t attempts_lost;     /* handed out anew, since an attempt before came to no end */
};

struct ledger *ledger_new(uint32_t shards);
struct ledger *ledger_free(struct ledger *ledger);

void ledger_name(uint64_t job, char ret_name[LEDGER_NAME_BYTES]);
/* UINT64_MAX if the name is none of ours. */
uint64_t ledger_number(const char *name);

void ledger_acknowledged(struct ledger *ledger, uint64_t job);
/* attempt: from 1. */
void ledger_leased(struct ledger *ledger, uint64_t job, uint32_t attempt);
void ledger_reported(struct ledger *ledger, uint64_t job);
struct ledger_sums ledger_sums(const struct ledger *ledger);
/* The next lost job from a number on, or UINT64_MAX. */
uint64_t ledger_lost(const struct ledger *ledger, uint64_t from);

/* A call on a shard succeeded. */
void ledger_succeeded(struct ledger *ledger, uint32_t shard, int64_t now_us);
/* Holes are measured anew from here on. */
void ledger_holes_reset(struct ledger *ledger);
/* When a call on the shard succeeded last; 0 = none has. */
int64_t ledger_last_us(const struct ledger *ledger, uint32_t shard);
/* The longest time without a success since the reset, the one that still goes on included. */
int64_t ledger_hole_us(const struct ledger *ledger, uint32_t shard, int64_t now_us);

#endif
