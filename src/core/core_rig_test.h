/*
 * core/core_rig_test.h - a rig that runs one core over rows in memory: no thread, no store, no
 * executor.
 *
 * It does what a shard does for its core and no more: it starts reads, seals batches, applies them
 * and makes them durable one after the other, and lets an answer go when its batch is durable. An
 * operation ends in the turn after the one that began it; with `manual`, in rig_step, one at a
 * time, oldest first.
 *
 * Ownership  a fake limiter is lent to the rig and outlives it.
 * Threads    one.
 */
#ifndef SILO_CORE_CORE_RIG_TEST_H
#define SILO_CORE_CORE_RIG_TEST_H

#include "core/rig_test.h"

/* Answers the core's questions about rate limits by hand. */
struct fake_limiter {
    struct rig *rig;
    struct list waiting; /* struct fake_check, oldest first */
    size_t asked;
};

struct rig_options {
    uint64_t seed;
    enum dispatch_order order;
    int64_t completed_expire_ms, terminal_expire_ms;
    /* NULL: the core answers rate limits itself. */
    struct fake_limiter *limiter;
    bool manual;
};

/* What the store was asked since the last reset. */
struct rig_counts {
    uint64_t reads, scans, batches, rows_read;
    uint64_t puts[256], deletes[256]; /* by table */
};

/* Operations that can be held up, as bits. */
enum rig_op_kind { RIG_GET = 1, RIG_SCAN = 2, RIG_WRITE = 4, RIG_FLUSH = 8 };

struct rig *core_rig_new(const struct rig_options *options);
/* A rig whose core is open. */
struct rig *open_with(const struct rig_options *options);
struct rig *open_plain(void);
/* The same, and every batch is checked (slots_watch). */
struct rig *open_watched(void);
/* A watched one whose rate limits are answered by the fake limiter, which this makes ready. */
struct rig *open_outside(struct fake_limiter *fake);
/* Operations of these kinds do not end until it is called without them. */
void core_rig_hold(struct rig *rig, uint32_t kinds);
/* Reads of these kinds fail until it is called without them. */
void core_rig_fail(struct rig *rig, uint32_t kinds);
const struct rig_counts *core_rig_counts(const struct rig *rig);
void core_rig_counts_reset(struct rig *rig);
/* Those of the next life may be changed. */
struct rig_options *core_rig_options(struct rig *rig);

void fake_init(struct fake_limiter *fake);
size_t fake_waiting(const struct fake_limiter *fake);
/* The question that waits longest. */
const struct core_check *fake_oldest(const struct fake_limiter *fake);
/* Answers the oldest, or the one with this unique key. */
void fake_answer(struct fake_limiter *fake, const char *key, enum core_verdict verdict,
                 int64_t reset_ms);
void fake_answer_all(struct fake_limiter *fake, enum core_verdict verdict);

#endif
