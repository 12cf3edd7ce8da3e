/*
 * shard/prepare.c - before a move: what the log has goes into tables while the shard serves, so
 * that its successor has little to replay.
 *
 *   WANTED ──no flush under way──► FLUSHING ──flushed──► little came meanwhile: done
 *     ▲                                          └─────► much did, and rounds are left
 *     └──────────────────────────────────────────────────┘
 */
#include "shard/shard_int.h"

#define PREPARE_ROUNDS_MAX 3
/* So little is replayed in no time. */
#define PREPARE_REST_BYTES (256u << 10)
#define PREPARE_REST_OBJECTS 16

void prepare_begin(struct shard *shard)
{
    struct incarnation *inc = shard->inc;
    if (inc == NULL || inc->phase != INC_OPEN) {
        control_done(shard, SILO_UNAVAILABLE, "the shard is not open");
        return;
    }
    inc->prepare = PREPARE_WANTED;
    inc->prepare_rounds = 0;
}

void prepare_turn(struct incarnation *inc)
{
    if (inc->prepare != PREPARE_WANTED || inc->phase != INC_OPEN || inc->memtable_flushing) {
        return;
    }
    inc->prepare = PREPARE_FLUSHING;
    inc->prepare_rounds++;
    commit_flush_memtable(inc);
}

void prepare_flushed(struct incarnation *inc)
{
    if (inc->prepare != PREPARE_FLUSHING) {
        return;
    }
    const bool much =
        inc->wal_bytes > PREPARE_REST_BYTES || inc->wal_objects > PREPARE_REST_OBJECTS;
    if (much && inc->prepare_rounds < PREPARE_ROUNDS_MAX) {
        inc->prepare = PREPARE_WANTED;
        return;
    }
    inc->prepare = PREPARE_NONE;
    control_done(inc->shard, SILO_OK, "");
}

void prepare_give_up(struct shard *shard)
{
    shard->inc->prepare = PREPARE_NONE;
    control_done(shard, SILO_UNAVAILABLE, "the shard was told something else meanwhile");
}
