/*
 * query/queues.h - concurrency queues in pages: who holds slots, who waits, and how many.
 *
 * Waiters are counted in the queue's record; holders are not, so their number is found by walking
 * their keys. A queue is listed while somebody holds or waits, or it has a floating limit.
 *
 * Units      _ms milliseconds since the Unix epoch.
 * Ownership  a page and all it lends lie in the caller's arena.
 * Threads    the snapshot's.
 * Limits     as in query/jobs.h; waiters of one queue: RANGES_MAX lines.
 */
#ifndef SILO_QUERY_QUEUES_H
#define SILO_QUERY_QUEUES_H

#include "query/jobs.h"

enum queue_span { QUEUES_OF_SHARD, QUEUES_OF_TENANT, QUEUE_ONE };

struct queue_scope {
    enum queue_span span;
    struct bytes tenant; /* QUEUES_OF_TENANT, QUEUE_ONE */
    struct bytes queue;  /* QUEUE_ONE */
};

struct holder_row {
    struct bytes tenant, queue;
    struct uuid task_id;
    struct bytes job_id;
    int64_t granted_ms;
    uint32_t limit_index; /* of the limit in its job */
};

struct holders_page {
    struct holder_row *rows; /* by tenant hash, tenant, queue, task id */
    size_t count;
    struct bytes cursor;
};

SILO_RC holders_read(struct snapshot *snapshot, const struct queue_scope *scope,
                     struct bytes cursor, const struct page_limits *limits, struct arena *arena,
                     struct holders_page *ret_page, struct silo_err *err);

struct waiter_row {
    struct bytes tenant, queue;
    struct line_id line;
    struct place place; /* priority, due time and arrival: the order of a line */
    struct bytes job_id, group;
    uint32_t attempt;
    struct uuid task_id; /* what its slots are filed under */
    uint32_t passed;     /* limits of the job behind it */
    bool throttled;      /* waits for a rate limit: `queue` is empty */
};

struct waiters_page {
    /*
     * QUEUE_ONE: in the order they are served, all lines together. Else by tenant hash, tenant,
     * queue, line, place.
     */
    struct waiter_row *rows;
    size_t count;
    struct bytes cursor;
};

SILO_RC waiters_read(struct snapshot *snapshot, const struct queue_scope *scope,
                     struct bytes cursor, const struct page_limits *limits, struct arena *arena,
                     struct waiters_page *ret_page, struct silo_err *err);

struct queue_row {
    struct bytes tenant, queue;
    uint64_t holders, waiters;
    bool has_floating;
    struct floating_rec floating;
    /*
     * The present maximum: the floating value, else the largest that a waiter was enqueued with;
     * unknown without either.
     */
    bool has_max;
    uint32_t max;
};

struct queues_page {
    struct queue_row *rows;
    size_t count;
    struct bytes cursor;
};

SILO_RC queues_read(struct snapshot *snapshot, const struct queue_scope *scope, struct bytes cursor,
                    const struct page_limits *limits, struct arena *arena,
                    struct queues_page *ret_page, struct silo_err *err);

#endif
