/*
 * service/read_rows_int.h - what the files of ReadRows share: what is asked for, and one page of
 * one shard of this process.
 *
 * Ownership  a query lends from its request. A page read is its owner's until page_read_start and
 *            again from `done` on.
 * Threads    the call's loop, but for what the thread of statements does in between.
 */
#ifndef SILO_SERVICE_READ_ROWS_INT_H
#define SILO_SERVICE_READ_ROWS_INT_H

#include "query/queues.h"
#include "query/statements.h"
#include "query/tenants.h"
#include "service/call_int.h"

/* What ReadRows asks for, checked. */
struct rows_query {
    Silo__V1__RowTable table;
    bool has_tenant;
    struct bytes tenant; /* as stored */
    struct jobs_query jobs;
    struct tenants_query tenants;
    struct queue_scope scope;
    bool with_payload, with_metadata, with_limits;
    size_t page_bytes;
};

/* INVALID for a filter that the table does not have. */
SILO_RC rows_query_fill(const struct service *service, const Silo__V1__ReadRowsRequest *request,
                        struct rows_query *ret_query, struct silo_err *err);

/* One page on its way; zero it and fill the upper part. */
struct page_read {
    struct service *service;
    struct rpc_loop *loop;
    const struct rows_query *query;
    const char *shard_id;     /* as the page says it */
    struct bytes position;    /* where it begins; lent */
    uint32_t rows_max;        /* 1..JOBS_PAGE_MAX */
    int64_t deadline_mono_ms; /* of the read */
    void (*done)(struct page_read *read);

    /* When done: */
    silo_rc rc;
    char text[SILO_ERR_TEXT_MAX]; /* of an error */
    struct bytes packed;          /* a ReadRowsResponse; malloced, whoever is told frees it */

    struct { /* the read's */
        struct shard_request request;
        struct rpc_mail mail;
        struct statement statement;
        struct arena arena;
    } own;
};

/*
 * Begins it at a shard of this process; `done` comes later, on the loop, never within this call.
 * SILO_ROUTED_WRONG: the shard is not open here any more.
 */
void page_read_start(struct page_read *read, const struct directory_shard *shard);

/* What is to be known of a packed page, whoever made it. */
struct page_head {
    struct bytes shard, position; /* lent */
    uint32_t rows;
};

/* False for bytes that are no page. */
bool page_head_read(struct bytes packed, struct page_head *ret_head);

#endif
