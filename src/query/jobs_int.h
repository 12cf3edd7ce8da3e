/*
 * query/jobs_int.h - loading the rows of candidates, shared by the listings of jobs.
 *
 * Ownership  a candidate lends from whoever made it.
 * Threads    the snapshot's.
 * Limits     CANDIDATES_MAX at a time.
 */
#ifndef SILO_QUERY_JOBS_INT_H
#define SILO_QUERY_JOBS_INT_H

#include "query/jobs.h"
#include "query/ranges.h"

#define CANDIDATES_MAX 256u  /* loaded at a time: 3 rows each */
#define CANDIDATES_FIRST 16u /* rows can be large: begin small */

/* A job that may belong into the page, and where the listing stood when it was found. */
struct candidate {
    struct bytes job_ref;
    uint64_t tag;
    struct bytes suffix;
    bool has_index; /* then the row that named it says: */
    enum key_index kind;
    int64_t time_ms;
};

/* The rows of one candidate, as long as the read they lend from. */
struct job_rows {
    struct store_row info, state, lease;
};

/*
 * Reads info, state and lease of all candidates in one multi-get; job_rows_next takes them in their
 * order.
 */
SILO_RC candidates_load(struct snapshot *snapshot, const struct candidate *candidates, size_t count,
                        struct read *ret_read, struct silo_err *err);
void job_rows_next(struct read *read, struct job_rows *ret_rows);

/*
 * Decodes rows of a job that is there; the result lends from them and has neither tenant nor id.
 * SILO_CORRUPT names the job.
 */
SILO_RC job_decode(const struct snapshot *snapshot, struct bytes job_ref,
                   const struct job_rows *rows, struct job_row *ret_job, struct silo_err *err);
/* The same for good: everything in the arena. */
SILO_RC job_keep(const struct snapshot *snapshot, struct bytes job_ref, const struct job_rows *rows,
                 struct arena *arena, struct job_row *ret_job, struct silo_err *err);
size_t job_rows_bytes(const struct job_rows *rows);

/*
 * Up to `want` running jobs of the tenant after the cursor, latest start first, in the arena. Walks
 * all its leases and remembers `want` of them.
 */
SILO_RC running_newest(struct snapshot *snapshot, struct bytes tenant_part,
                       const struct cursor *cursor, size_t want, struct arena *arena,
                       struct candidate *ret_candidates, size_t *ret_count, struct silo_err *err);

#endif
