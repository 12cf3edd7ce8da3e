/*
 * query/jobs.h - jobs in pages: by status, by metadata, by id; and one job with all its rows.
 *
 * Index and metadata rows only name candidates. What a page shows comes from the job's own rows
 * (info, state, lease), read for many jobs at a time: a job's status is Running if it has a lease,
 * else that of its state row, else Scheduled. A Scheduled job is shown as Waiting once it is due.
 * Candidates whose rows say something else are passed over.
 *
 * A page may be short, or empty, and not the last: looking further is bounded too. The last page
 * has no cursor.
 *
 * Units      _ms milliseconds since the Unix epoch.
 * Ownership  a page and all it lends lie in the caller's arena.
 * Threads    the snapshot's.
 * Limits     JOBS_PAGE_MAX rows and the given bytes of rows in a page, and the job that passes
 *            them; JOBS_EXAMINED_MAX candidates looked at for one page.
 */
#ifndef SILO_QUERY_JOBS_H
#define SILO_QUERY_JOBS_H

#include "base/arena.h"
#include "base/limits.h"
#include "codec/record.h"
#include "query/snapshot.h"

#define JOBS_PAGE_MAX 1000u
#define JOBS_PAGE_BYTES_DEFAULT (4u << 20)
#define JOBS_EXAMINED_MAX 16384u
#define JOB_ATTEMPTS_PAGE_MAX 1000u
#define TENANT_BYTES_MAX (TENANT_CHARS_MAX * 4u) /* UTF-8 */

/* What users see; stored is the enum of record.h. */
enum job_shown {
    SHOWN_SCHEDULED,
    SHOWN_WAITING,
    SHOWN_RUNNING,
    SHOWN_SUCCEEDED,
    SHOWN_FAILED,
    SHOWN_CANCELLED,
};
#define SHOWN_COUNT 6u
#define SHOWN_BIT(shown) (1u << (shown))
#define SHOWN_ANY ((1u << SHOWN_COUNT) - 1)

struct job_row {
    struct bytes tenant, id;
    enum job_shown status;
    int64_t changed_ms; /* when it came to its status (Waiting: to Scheduled) */
    struct info info;
    bool has_state;
    struct state state;
    bool has_lease;
    struct lease_rec lease;
    /* Scheduled and Waiting: the attempt that is pending, and when it is due. */
    uint32_t attempt;
    int64_t due_ms;
};

enum jobs_order {
    /*
     * Of one tenant, by the time of enqueue (jobs that have not ended) or of the end, newest first;
     * with SHOWN_RUNNING alone by the start of the attempt.
     */
    JOBS_NEWEST,
    /*
     * By id; all tenants of the shard (by hash, then name) when none is named. With SHOWN_RUNNING
     * alone leases are walked.
     */
    JOBS_BY_ID,
    /* Of one tenant, those with the metadata pair: by value, then id. */
    JOBS_BY_METADATA,
};

struct jobs_query {
    enum jobs_order order;
    bool all_tenants; /* JOBS_BY_ID only */
    struct bytes tenant;
    uint32_t statuses; /* SHOWN_BITs wanted; 0: any */
    struct bytes name, value;
    bool value_is_start; /* values that begin with `value` */
};

struct page_limits {
    uint32_t rows_max; /* 1..JOBS_PAGE_MAX */
    size_t bytes_max;  /* 0: JOBS_PAGE_BYTES_DEFAULT */
};

struct jobs_page {
    struct job_row *rows;
    size_t count;
    struct bytes cursor; /* where the next page begins; empty: there is none */
};

/* `cursor` empty: the first page. */
SILO_RC jobs_read(struct snapshot *snapshot, const struct jobs_query *query, struct bytes cursor,
                  const struct page_limits *limits, struct arena *arena, struct jobs_page *ret_page,
                  struct silo_err *err);

/* One job. SILO_NOT_FOUND. */
SILO_RC job_find(struct snapshot *snapshot, struct bytes tenant, struct bytes id,
                 struct arena *arena, struct job_row *ret_job, struct silo_err *err);

/* An attempt; `number` counts from 1. A running one has task id and start only. */
struct job_attempt {
    uint32_t number;
    struct attempt attempt;
};

struct attempts_page {
    struct job_attempt *rows; /* newest first */
    size_t count;
    uint32_t below; /* where the next page begins; 0: there is none */
};

/* Attempts of a job with a number less than `below` (0: all), newest first, at most `rows_max`. */
SILO_RC job_attempts_read(struct snapshot *snapshot, const struct job_row *job, uint32_t below,
                          uint32_t rows_max, struct arena *arena, struct attempts_page *ret_page,
                          struct silo_err *err);

/* The bytes of a blob: `attempt` 0 for a payload. */
SILO_RC job_blob_read(struct snapshot *snapshot, const struct job_row *job,
                      const struct blob_ref *ref, enum key_blob kind, uint32_t attempt,
                      struct arena *arena, struct bytes *ret_bytes, struct silo_err *err);

#endif
