/*
 * core/page.h - pages: scans of a table that go into memory beside rows that changed since they
 * began.
 *
 * A page is what the store had when it was read; rows changed since then are recent changes of the
 * view. So a row with a recent change is skipped when it comes, and afterwards every recent put of
 * the range is looked at that memory lacks.
 *
 * Ownership  a page is a read; the tasks in it are its own until task_page_next gives them away.
 * Threads    the shard's executor only.
 * Limits     rows_max rows, as its owner says.
 */
#ifndef SILO_CORE_PAGE_H
#define SILO_CORE_PAGE_H

#include "core/core.h"
#include "core/lane.h"

struct page {
    struct core_read read;
    enum key_table table; /* whose recent changes the view lists */
    struct bytes prefix;  /* of the keys that belong to it */
    struct bytes last;    /* key of the last row that came; empty: none did */
    /* A row that has not changed since. */
    void (*take)(struct core *core, struct page *page, struct bytes key, struct bytes value);
};

/* For the struct of `size` bytes that begins with it; what is not set here is its owner's. */
void *page_new(size_t size, enum key_table table, struct bytes prefix);
/* Rows from `lo` up to `hi` are read; on_end is set. */
void page_start(struct core *core, struct page *page, const struct key *lo, const struct key *hi,
                uint32_t rows_max);
/* The recent put of its range that follows `row`, NULL for the first; NULL at the end. */
const struct row *page_recent(struct core *core, const struct page *page, const struct row *row);

/* A page of waiting tokens. */
struct task_page {
    struct page page;
    struct place mark; /* the window's when it began */
    struct task **tasks;
    size_t count, cap, next;
};

/* Of ready, timer or waiter rows. `mark`: the window's. */
void *task_page_new(size_t size, enum key_table table, struct bytes prefix,
                    const struct place *mark);
/* It came whole, and the place of its last row is known, if more follow. */
bool task_page_ok(const struct core *core, const struct task_page *page, bool ok, bool more,
                  struct place *ret_last);
/* It still begins behind the window, whose mark may have been lowered meanwhile. */
bool task_page_follows(const struct task_page *page, const struct lane *window);
/* The window reaches as far as the page did. */
void task_page_extend(struct lane *window, bool more, const struct place *last);
/* Its tasks, one after the other; NULL at the end. */
struct task *task_page_next(struct task_page *page);
/* As page_recent, with the row's place. */
const struct row *task_page_recent(struct core *core, const struct task_page *page,
                                   const struct row *row, struct place *ret_place);
/* The task of such a row, if the window covers and lacks it; else NULL. */
struct task *task_page_missing(struct core *core, const struct lane *window, const struct row *row,
                               const struct place *place);
/* When it ends: tasks that were not given away go. */
void task_page_end(struct task_page *page);

#endif
