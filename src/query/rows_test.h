/*
 * query/rows_test.h - a database with rows written by hand, and listings as text.
 *
 * Threads    one.
 */
#ifndef SILO_QUERY_ROWS_TEST_H
#define SILO_QUERY_ROWS_TEST_H

#include "base/arena.h"
#include "query/jobs.h"
#include "store/store.h"

#define ROWS_NOW_MS 1700000000000
#define ROWS_LISTED_MAX 16384u

struct rows {
    struct store *store; /* owned */
    const struct store_ops *ops;
    struct store_queue *queue;
    struct store_db *db;
    struct env env;
    int64_t now_ms, mono_us, mono_step_us; /* the step: of each look at the clock */
    struct store_queue *lent;              /* the reader's */
    struct snapshot_reader reader;
    struct store_buf batch;
    uint32_t batch_ops;
    uint64_t token;
    struct arena arena;
};

struct rows *rows_new(struct store *store);
struct rows *rows_new_mem(void);
/* Closes the database, which rows_free does else. */
void rows_close(struct rows *rows);
void rows_free(struct rows *rows);

void rows_put(struct rows *rows, const struct key *key, struct bytes value);
void rows_delete(struct rows *rows, const struct key *key);
/* Applies what was put and deleted. */
void rows_commit(struct rows *rows);
struct snapshot rows_snapshot(struct rows *rows);
/* Of the tenants with these hashes. */
struct snapshot rows_snapshot_part(struct rows *rows, uint64_t hash_first, uint64_t hash_last);

/* A job as its rows say it. */
struct job_spec {
    const char *tenant, *id;
    enum job_status status;
    int64_t enqueue_ms, due_ms;
    int64_t changed_ms; /* not 0: it has a state row */
    uint32_t attempt;   /* of the state or the lease; 0 counts as 1 */
    const char *pairs;  /* metadata: "name=value name=value" */
    bool no_index;
};
void rows_put_job(struct rows *rows, const struct job_spec *spec);
void rows_delete_job(struct rows *rows, const struct job_spec *spec);

/* All rows of a listing, "tenant/id " each, page by page; malloc'd. */
char *jobs_text(struct snapshot *snapshot, const struct jobs_query *query, uint32_t rows_max,
                size_t bytes_max);
/* The listing is this, whatever the size of its pages. */
void jobs_check(struct snapshot *snapshot, const struct jobs_query *query, const char *expected);

#endif
