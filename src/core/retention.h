/*
 * core/retention.h - how long a job that ended is kept: the rows that remind of it.
 *
 * Ownership  the core's; the sweep over the rows is core/expire.h.
 * Units      _ms: wall clock, but for _mono_ms.
 * Threads    the shard's executor only.
 * Limits     EXPIRE_ROW_BYTES of job references in a row, or one job more.
 */
#ifndef SILO_CORE_RETENTION_H
#define SILO_CORE_RETENTION_H

#include "base/arena.h"
#include "codec/key.h"
#include "codec/record.h"

struct core;

enum expire_phase { EXPIRE_IDLE, EXPIRE_READING, EXPIRE_PAGE };

/* A row of the page, and what is left to submit of it. */
struct expire_due {
    struct bytes key;
    struct bytes job_refs; /* items */
};

/* The row that the open batch fills: jobs that ended in it and are kept for the same time. */
struct expire_row {
    int64_t expire_ms;   /* of the last one; never falls */
    struct buf job_refs; /* items; empty: none */
};

/* A key of the table, and its time. */
struct expire_cursor {
    int64_t ms;
    struct key key;
};

struct expire {
    enum expire_phase phase;
    bool mark_known;
    int64_t mark_ms; /* as stored */
    struct expire_cursor cursor;
    int64_t next_ms; /* INT64_MAX: nothing is known to come */
    int64_t retry_mono_ms;
    bool opened;                    /* the first page is through */
    struct expire_row open_rows[2]; /* succeeded; failed and cancelled */

    /* The page. */
    struct arena arena; /* of `due` */
    struct expire_due *due;
    uint32_t due_count, submitted; /* rows */
    uint32_t under_way;            /* commands */
    bool failed;
    bool bound_seen; /* a row that is not due, or has to wait for the next page: */
    int64_t bound_ms;
    struct expire_cursor after; /* the cursor behind it */
};

void retention_init(struct core *core, int64_t completed_ms, int64_t terminal_ms);
/* When a job that ends so shall be forgotten; 0 = never. */
int64_t expire_at(const struct core *core, enum job_status status);
/* It ended in the open batch, and goes at expire_ms if its state says so then, too. */
void expire_put(struct core *core, struct bytes job_ref, enum job_status status, int64_t expire_ms);
/* Once per batch. */
void expire_write(struct core *core);
void expire_free(struct core *core);
/* The state of retention, made when it is first wanted. */
struct expire *expire_get(struct core *core);
/* With no job reference: before all rows of that time. */
void expire_cursor_set(struct expire_cursor *cursor, int64_t ms, struct bytes job_ref);
/* Whether the cursor stands behind this key. */
bool expire_cursor_behind(const struct expire_cursor *cursor, struct bytes key);
/* Writes the mark where the cursor of the next incarnation begins. */
void expire_mark_write(struct core *core, int64_t ms);

#endif
