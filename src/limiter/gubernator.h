/*
 * limiter/gubernator.h - the limiter of shard/limiter.h that asks a Gubernator server.
 *
 * Nothing is connected before the first check, and a server that is away fails checks, never the
 * start: each check is answered LIMITER_ERROR until the server is back. Checks of all shards share
 * calls.
 *
 * Units      _ms milliseconds.
 * Ownership  a check and the bytes it lends are ours from `check` to `done`.
 * Threads    check: any thread, it never blocks. done: the limiter's own loop. gubernator_new and
 *            gubernator_free: one thread that is not that loop; no check may be under way in
 *            another thread when gubernator_free is called.
 * Limits     GUBERNATOR_UNANSWERED_CALLS x call_checks_max checks that wait for an answer; one more
 *            is answered LIMITER_ERROR at once.
 */
#ifndef SILO_LIMITER_GUBERNATOR_H
#define SILO_LIMITER_GUBERNATOR_H

#include "base/rc.h"
#include "shard/limiter.h"

#define GUBERNATOR_CALL_CHECKS_MAX 1000u /* Gubernator refuses a call with more */
/* Gubernator reads messages of 1 MiB at most; a call that passes this leaves before it is full. */
#define GUBERNATOR_CALL_BYTES_MAX 1000000u
/*
 * Full calls of checks waiting at once: ten seconds (the usual request timeout) of 100 calls a
 * second, and with the usual 100 checks a call some 40 MB of checks. More are waiting only for a
 * server that is far too slow.
 */
#define GUBERNATOR_UNANSWERED_CALLS 1000u

struct gubernator;

struct gubernator_options {
    const char *address; /* http://host:port, https://host:port, or host:port, which is like http */
    int64_t coalesce_interval_ms; /* from the first check of a call until it leaves; 0 = at once */
    /* 1 to GUBERNATOR_CALL_CHECKS_MAX: a call leaves when it has so many */
    uint32_t call_checks_max;
    int64_t connect_timeout_ms;
    int64_t request_timeout_ms; /* for an answer, once connected */
};

/* Strings are copied. INVALID: the address is of no known form. */
SILO_RC gubernator_new(const struct gubernator_options *options, struct gubernator **ret_gubernator,
                       struct silo_err *err);
/* What the shards get; lives as long as gubernator. */
struct limiter *gubernator_limiter(struct gubernator *gubernator);
/*
 * Answers what is still waiting with LIMITER_ERROR, then ends the loop. NULL is fine. Returns NULL.
 */
struct gubernator *gubernator_free(struct gubernator *gubernator);

#endif
