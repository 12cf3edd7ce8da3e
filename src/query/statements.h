/*
 * query/statements.h - the thread that reads snapshots, statement after statement.
 *
 * A statement comes with a snapshot that its shard lent to the thread's queue. It is opened, read
 * by the statement's `run`, closed, and handed back by `done`; so nothing of it runs on an executor
 * or on a loop, and no snapshot is kept past its statement's deadline for long.
 *
 * Ownership  a statement is its sender's until statements_send and again from `done` on; between
 *            them nobody else touches it or what its `run` uses. The snapshot is the thread's.
 * Threads    statements_new, statements_free: one. statements_send, statements_queue: any.
 *            `run` and `done`: the thread's; `done` only hands over.
 * Limits     STATEMENTS_WAITING_MAX wait for their turn; one more is refused.
 */
#ifndef SILO_QUERY_STATEMENTS_H
#define SILO_QUERY_STATEMENTS_H

#include "base/mailbox.h"
#include "query/snapshot.h"

#define STATEMENTS_WAITING_MAX 64u

struct statements;

struct statement {
    struct mail mail;
    struct snapshot_options options; /* the snapshot lent, and how long it may take */
    SILO_RC (*run)(struct statement *statement, struct snapshot *snapshot, struct silo_err *err);
    void (*done)(struct statement *statement); /* rc is set, and err where that is not OK */
    silo_rc rc;
    struct silo_err err;
};

SILO_RC statements_new(struct store *store, const struct env *env,
                       struct statements **ret_statements, struct silo_err *err);
/* Runs what was sent, then ends the thread. Returns NULL. */
struct statements *statements_free(struct statements *statements);
/* To which snapshots are lent. */
struct store_queue *statements_queue(struct statements *statements);
/* False: too many wait; the statement and its snapshot stay the sender's. */
bool statements_send(struct statements *statements, struct statement *statement);

#endif
