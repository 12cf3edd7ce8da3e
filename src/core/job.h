/*
 * core/job.h - jobs as they are stored: loading, making, ending, reopening and removing one.
 *
 * 1. A job's status: Running if it has a lease; else that of its state row; else, with no state
 *    row yet, Scheduled.
 * 2. Attempts are numbered from 1 without gaps. Those below the pending, running or final number
 *    have rows; the one that ended the job stands in its state row.
 *
 * Ownership  what a loaded job lends lives until the next change of the view (job_own copies it).
 * Threads    the shard's executor only.
 */
#ifndef SILO_CORE_JOB_H
#define SILO_CORE_JOB_H

#include "codec/record.h"
#include "core/run.h"

struct blob;
struct lease;
struct tenant_count;

struct job {
    struct info info;
    bool has_state;
    struct state state;
    struct lease *lease;
    enum job_status status;
};

enum job_load { JOB_LOADED, JOB_ABSENT, JOB_NEEDS, JOB_CORRUPT };
enum job_load job_load(struct core *core, struct command *cmd, struct job *ret);
enum run job_load_fail(struct core *core, struct command *cmd, enum job_load load);
/* Refused for its state: "cannot <verb> job <id>: <reason> (status: <Kind>)". */
enum run job_refuse(struct command *cmd, const char *verb, const char *reason,
                    enum job_status status);
/* Number of attempts that were recorded: the last one may stand in the state row. */
uint32_t job_attempts(const struct job *job);
/*
 * Copies a loaded job's rows into the command's arena: what it lends outlives changes of them.
 * Returns the info row.
 */
struct bytes job_own(struct core *core, struct command *cmd, struct job *job);
/* The info row of a job that is loaded, to go with its token. The caller's reference. */
struct blob *job_info_blob(struct core *core, struct bytes job_ref);
/*
 * An ended job is open again: index, counters, retention; the attempt in its state row gets a row
 * of its own. The caller writes the new state.
 */
void job_reopen(struct core *core, struct bytes job_ref, const struct job *job,
                struct tenant_count *count);
/*
 * Status, index, counters, retention and watchers of a job that ends; `state` is complete but for
 * expire_ms.
 */
void job_end(struct core *core, struct bytes job_ref, struct state *state, int64_t enqueue_ms,
             struct tenant_count *count);
/* Removes every row of a terminal job. */
void job_delete(struct core *core, struct bytes job_ref, const struct job *job,
                struct tenant_count *count);
/*
 * A new job's rows but its token: info, index (kind, time), metadata, payload. Returns the info
 * row.
 */
struct blob *job_create(struct core *core, struct bytes job_ref, const struct info *info,
                        struct bytes payload, enum key_index kind, int64_t index_ms);
struct blob_ref blob_of(struct bytes b);
void state_write(struct core *core, struct bytes job_ref, const struct state *state);
enum key_index index_kind_of(enum job_status status);
/* Error data of an attempt that the shard ends by itself: a text below 64 KiB, packed. */
struct bytes job_error_text(struct arena *arena, const char *text);
/* A row of the job as it is now, copied into the command's arena; it is there. */
struct bytes job_row_copy(struct core *core, struct command *cmd, enum key_table table);
/* Attempts that have a row of their own: all recorded ones but that in the state row. */
uint32_t job_attempt_rows(const struct job *job);

#endif
