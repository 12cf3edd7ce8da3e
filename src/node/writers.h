/*
 * node/writers.h - asks the store who opened a shard's database last. Each question that was taken
 * gets one answer, in some later turn, in any order: the store's, or after WRITERS_WAIT_MS that it
 * did not answer.
 *
 * Units      _ms of the monotonic clock.
 * Ownership  store and queue are lent; nobody else drains the queue.
 * Threads    one at a time.
 * Limits     WRITERS_ASKED_MAX questions that the store has not answered.
 */
#ifndef SILO_NODE_WRITERS_H
#define SILO_NODE_WRITERS_H

#include "base/limits.h"
#include "base/list.h"
#include "base/uuid.h"
#include "store/store.h"

#define WRITERS_WAIT_MS 10000
#define WRITERS_ASKED_MAX (2u * SHARDS_MAX)

struct writers {
    struct store *store;
    struct store_queue *queue; /* NULL: nothing is ever asked */
    struct list asked;         /* struct question.node, oldest first */
    size_t asked_count;
};

struct writers_answer {
    struct uuid shard;
    silo_rc rc;
    uint64_t epoch;            /* of the newest writer, 0: there is no database */
    char text[STORE_TEXT_MAX]; /* what went wrong, when rc is not OK */
};

void writers_init(struct writers *writers, struct store *store, struct store_queue *queue);
/* What was asked gets no answer any more. */
void writers_deinit(struct writers *writers);
/* Where the database lies is read during the call. Not OK: it was not taken. */
SILO_RC writers_ask(struct writers *writers, const struct uuid *shard,
                    const struct store_open_args *place, int64_t now_ms, struct silo_err *err);
bool writers_next(struct writers *writers, int64_t now_ms, struct writers_answer *ret_answer);
/* When an answer is given up at the earliest; INT64_MAX: none is waited for. */
int64_t writers_next_ms(const struct writers *writers);
/* Readable: there may be an answer. -1: none is waited for. */
int writers_fd(const struct writers *writers);

#endif
