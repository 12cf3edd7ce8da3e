/*
 * shard/audit_test.h - a copy of a shard's rows, and a check of all that must hold between them in
 * every batch.
 *
 * It knows the layout of keys and values (codec/) and the rules of docs/internals/rules.md, and
 * nothing of the core.
 *
 * Ownership  an audit owns its rows; its jobs lend from them and are valid until the next change.
 * Threads    one.
 */
#ifndef SILO_SHARD_AUDIT_TEST_H
#define SILO_SHARD_AUDIT_TEST_H

#include "codec/key.h"
#include "codec/record.h"
#include "store_mem/store_mem.h"

struct audit_row {
    struct bytes key, value; /* malloced */
};

enum audit_where { AT_NONE, AT_TIMER, AT_READY, AT_LEASE };

struct audit_job {
    struct bytes ref;
    struct info info;
    bool has_state;
    struct state state;
    struct lease_rec lease; /* AT_LEASE */
    enum audit_where where;
    uint32_t tokens;
    enum job_status status;
    bool mark;
    uint32_t attempt; /* pending, running or last */
    struct bytes state_row;
};

struct audit {
    enum dispatch_order order;
    bool wall_fell; /* the wall clock was set back between two lives of the shard */
    struct audit_row *rows;
    size_t count, cap;
    struct audit_job *jobs; /* in the order of their references */
    size_t job_count, job_cap;
    char error[400]; /* of the first violation */
};

void audit_init(struct audit *audit, enum dispatch_order order);
void audit_deinit(struct audit *audit);
void audit_clear(struct audit *audit);
void audit_load(struct audit *audit, struct store *store, const char *path, bool durable);
/* Applies one packed batch. */
void audit_apply(struct audit *audit, struct bytes ops);

/* Finds the jobs and checks every row. False: `error` says what is wrong. */
bool audit_check(struct audit *audit);
/* After audit_check. */
const struct audit_job *audit_find(const struct audit *audit, struct bytes ref);
const struct audit_row *audit_row(const struct audit *audit, struct bytes key);
/* The recorded attempt with this task id; false when there is none. */
bool audit_attempt(const struct audit *audit, const struct audit_job *job,
                   const struct uuid *task_id, struct attempt *ret);
/*
 * A ready row that the batch did not touch and that stands before this place in the group: it
 * should have gone first.
 */
bool audit_overtaken(const struct audit *audit, struct bytes group, const struct place *place,
                     struct bytes batch);
/* What is left is counters and facts of the shard. */
bool audit_empty(const struct audit *audit);

struct audit_op {
    bool del;
    struct bytes key, value;
};
bool audit_op_next(struct bytes *at, struct audit_op *ret);

#endif
