/*
 * core/slots_check_test.h - what the rows of a shard say about slots, and what must hold between
 * them.
 *
 * It knows the layout of keys and values (codec/) and the rules of docs/internals/rules.md, and
 * nothing of the core.
 *
 * Threads    one.
 */
#ifndef SILO_CORE_SLOTS_CHECK_TEST_H
#define SILO_CORE_SLOTS_CHECK_TEST_H

#include "codec/key.h"
#include "core/rig_test.h"

/* How many slots of the queue are held, and how many wait for one. */
uint32_t holders_of(struct rig *rig, const char *tenant, const char *queue);
uint32_t waiters_of(struct rig *rig, const char *tenant, const char *queue);
uint32_t holders(struct rig *rig, const char *queue); /* of tenant "-" */
uint32_t waiters(struct rig *rig, const char *queue);
/* How many rows the table has. */
uint32_t rows_in(struct rig *rig, enum key_table table);
bool has_meta(struct rig *rig, enum key_meta what);
/*
 * Tokens, slots, waiters and counters agree; no queue has more holders than the largest maximum
 * among them, and none a free slot together with a waiter it would fit.
 */
void slots_check(struct rig *rig);
/* The same for every batch from now on. */
void slots_watch(struct rig *rig);
/* Checks once more, and closes the shard. */
void close_checked(struct rig *rig);
/* Slots without tokens and tokens without slots are allowed from now on: holders were dropped. */
void slots_dropped(void);

/*
 * The key of the only row of the table that names this job (its token's, its info's); copied to
 * ret.
 */
void key_of_job(struct rig *rig, enum key_table table, const char *id, struct key *ret);

#endif
