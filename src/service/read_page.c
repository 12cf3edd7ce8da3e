/*
 * service/read_page.c - one page of ReadRows: rows of one shard of this process, read of a snapshot
 * by the thread of statements, which packs them, too.
 *
 *   loop ──CMD_LEND──► executor: a moment, once it is durable ──► loop ──► thread: reads, packs
 *   loop: page_read.done ◄───────────────────────────────────────────────────┘
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "codec/key.h"
#include "service/read_rows_int.h"

#define PAGE_BYTES_DEFAULT (256u << 10)

/* --- what is asked for --- */

static SILO_RC filter_check(const Silo__V1__ReadRowsRequest *request, struct silo_err *err)
{
    const bool jobs = request->table == SILO__V1__ROW_TABLE__ROW_TABLE_JOBS;
    const bool queues = request->table == SILO__V1__ROW_TABLE__ROW_TABLE_QUEUES ||
                        request->table == SILO__V1__ROW_TABLE__ROW_TABLE_HOLDERS ||
                        request->table == SILO__V1__ROW_TABLE__ROW_TABLE_WAITERS;
    const bool one_tenant =
        request->tenant_opt_case == SILO__V1__READ_ROWS_REQUEST__TENANT_OPT_TENANT;
    if (!jobs && !queues && request->table != SILO__V1__ROW_TABLE__ROW_TABLE_TENANTS) {
        return FAIL(err, SILO_INVALID, "no such table");
    }
    if (!jobs && (request->n_statuses != 0 || *request->metadata_key != 0)) {
        return FAIL(err, SILO_INVALID, "statuses and metadata are of jobs");
    }
    if (!queues && *request->queue != 0) {
        return FAIL(err, SILO_INVALID, "a queue is of queues, holders and waiters");
    }
    if (*request->metadata_key == 0 &&
        (*request->metadata_value != 0 || request->metadata_value_is_start)) {
        return FAIL(err, SILO_INVALID, "metadata_value without metadata_key");
    }
    return !one_tenant && (*request->metadata_key != 0 || *request->queue != 0)
               ? FAIL(err, SILO_INVALID, "metadata and queues are looked up in one tenant")
               : RC_OK;
}

static SILO_RC statuses_fill(const Silo__V1__ReadRowsRequest *request, uint32_t *ret_statuses,
                             struct silo_err *err)
{
    *ret_statuses = 0;
    for (size_t i = 0; i < request->n_statuses; i++) {
        if ((uint32_t)request->statuses[i] >= SHOWN_COUNT) {
            return FAIL(err, SILO_INVALID, "no such status");
        }
        *ret_statuses |= SHOWN_BIT((uint32_t)request->statuses[i]);
    }
    return RC_OK;
}

SILO_RC rows_query_fill(const struct service *service, const Silo__V1__ReadRowsRequest *request,
                        struct rows_query *ret_query, struct silo_err *err)
{
    *ret_query = (struct rows_query){.table = request->table,
                                     .with_payload = request->with_payload,
                                     .with_metadata = request->with_metadata,
                                     .with_limits = request->with_limits};
    TRY(filter_check(request, err));
    if (request->tenant_opt_case == SILO__V1__READ_ROWS_REQUEST__TENANT_OPT_TENANT) {
        ret_query->has_tenant = true;
        TRY(route_client_tenant(service, NULL, bytes_str(request->tenant), &ret_query->tenant,
                                err));
    }
    struct jobs_query *jobs = &ret_query->jobs;
    jobs->order = *request->metadata_key != 0 ? JOBS_BY_METADATA : JOBS_BY_ID;
    jobs->all_tenants = !ret_query->has_tenant;
    jobs->tenant = ret_query->tenant;
    jobs->name = bytes_str(request->metadata_key);
    jobs->value = bytes_str(request->metadata_value);
    jobs->value_is_start = request->metadata_value_is_start;
    TRY(statuses_fill(request, &jobs->statuses, err));
    ret_query->tenants = (struct tenants_query){.one_tenant = ret_query->has_tenant,
                                                .tenant = ret_query->tenant,
                                                .with_running = request->with_running};
    ret_query->scope = (struct queue_scope){.span = *request->queue != 0    ? QUEUE_ONE
                                                    : ret_query->has_tenant ? QUEUES_OF_TENANT
                                                                            : QUEUES_OF_SHARD,
                                            .tenant = ret_query->tenant,
                                            .queue = bytes_str(request->queue)};
    const size_t asked = request->page_bytes != 0 ? request->page_bytes : PAGE_BYTES_DEFAULT;
    ret_query->page_bytes = asked < READS_PAGE_BYTES_MAX ? asked : READS_PAGE_BYTES_MAX;
    return RC_OK;
}

/* --- rows as messages, on the thread of statements --- */

struct page_out {
    const struct rows_query *query;
    struct arena *arena;
    Silo__V1__RowPage message;
};

static SILO_RC row_corrupt(struct silo_err *err, const struct job_row *row)
{
    return FAIL(err, SILO_CORRUPT, "the rows of job '%.*s' are damaged",
                (int)(row->id.len < 256 ? row->id.len : 256), (const char *)row->id.ptr);
}

static void job_running(struct arena *arena, const struct job_row *row, Silo__V1__JobRow *job)
{
    job->worker_id = encode_text(arena, row->lease.worker_id);
    job->task_id = encode_uuid(arena, &row->lease.task_id);
    job->started_at_ms = row->lease.started_ms;
    job->attempt_number = row->lease.attempt;
}

static void job_payload(struct arena *arena, const struct blob_ref *payload, Silo__V1__JobRow *job)
{
    if (payload->is_blob) {
        job->payload_omitted = true;
        return;
    }
    Silo__V1__SerializedBytes *value = arena_alloc(arena, sizeof *value);
    silo__v1__serialized_bytes__init(value);
    value->encoding_case = SILO__V1__SERIALIZED_BYTES__ENCODING_MSGPACK;
    value->msgpack.data = (uint8_t *)(uintptr_t)payload->inline_bytes.ptr; /* only read */
    value->msgpack.len = payload->inline_bytes.len;
    job->payload = value;
}

static SILO_RC job_show(struct page_out *out, const struct job_row *row, Silo__V1__JobRow *job,
                        struct silo_err *err)
{
    struct arena *arena = out->arena;
    silo__v1__job_row__init(job);
    job->tenant = encode_text(arena, row->tenant);
    job->id = encode_text(arena, row->id);
    job->status = (Silo__V1__ShownStatus)row->status;
    job->status_changed_at_ms = row->changed_ms;
    job->enqueue_time_ms = row->info.enqueue_ms;
    job->start_at_ms = row->info.requested_start_ms;
    job->priority = row->info.priority;
    job->task_group = encode_text(arena, row->info.group);
    if (row->status == SHOWN_SCHEDULED || row->status == SHOWN_WAITING) {
        job->attempt_number = row->attempt;
        job->due_at_ms = row->due_ms;
    } else if (row->has_state) {
        job->attempt_number = row->state.attempt;
    }
    if (row->has_lease) {
        job_running(arena, row, job);
    }
    if (out->query->with_payload) {
        job_payload(arena, &row->info.payload, job);
    }
    if (out->query->with_metadata) {
        job->metadata = encode_map(arena, row->info.metadata, row->info.metadata_count,
                                   &silo__v1__job_row__metadata_entry__descriptor);
        job->n_metadata = row->info.metadata_count;
    }
    if (out->query->with_limits) {
        job->limits = limits_show(arena, &row->info, &job->n_limits);
    }
    return (out->query->with_metadata && job->metadata == NULL) ||
                   (out->query->with_limits && job->limits == NULL)
               ? row_corrupt(err, row)
               : RC_OK;
}

/* An array of `count` messages of that type, and the pointers to them that protobuf-c wants. */
#define ROWS_NEW(arena, count, list, type)                                 \
    do {                                                                   \
        type *rows_ = arena_alloc((arena), ((count) + 1) * sizeof *rows_); \
        (list) = arena_alloc((arena), ((count) + 1) * sizeof *(list));     \
        for (size_t i_ = 0; i_ < (count); i_++) {                          \
            (list)[i_] = &rows_[i_];                                       \
        }                                                                  \
    } while (0)

static SILO_RC jobs_show(struct page_out *out, const struct jobs_page *page, struct silo_err *err)
{
    ROWS_NEW(out->arena, page->count, out->message.jobs, Silo__V1__JobRow);
    out->message.n_jobs = page->count;
    for (size_t i = 0; i < page->count; i++) {
        TRY(job_show(out, &page->rows[i], out->message.jobs[i], err));
    }
    return RC_OK;
}

static void tenants_show(struct page_out *out, const struct tenants_page *page)
{
    ROWS_NEW(out->arena, page->count, out->message.tenants, Silo__V1__TenantJobs);
    out->message.n_tenants = page->count;
    for (size_t i = 0; i < page->count; i++) {
        const struct tenant_row *row = &page->rows[i];
        Silo__V1__TenantJobs *tenant = out->message.tenants[i];
        silo__v1__tenant_jobs__init(tenant);
        tenant->tenant = encode_text(out->arena, row->tenant);
        tenant->open = row->counts.open;
        tenant->running = row->running;
        tenant->succeeded = row->counts.succeeded;
        tenant->failed = row->counts.failed;
        tenant->cancelled = row->counts.cancelled;
    }
}

static void queues_show(struct page_out *out, const struct queues_page *page)
{
    ROWS_NEW(out->arena, page->count, out->message.queues, Silo__V1__QueueRow);
    out->message.n_queues = page->count;
    for (size_t i = 0; i < page->count; i++) {
        const struct queue_row *row = &page->rows[i];
        Silo__V1__QueueRow *queue = out->message.queues[i];
        silo__v1__queue_row__init(queue);
        queue->tenant = encode_text(out->arena, row->tenant);
        queue->queue = encode_text(out->arena, row->queue);
        queue->holders = row->holders;
        queue->waiters = row->waiters;
        queue->floating = row->has_floating;
        if (row->has_max) {
            queue->max_concurrency_opt_case =
                SILO__V1__QUEUE_ROW__MAX_CONCURRENCY_OPT_MAX_CONCURRENCY;
            queue->max_concurrency = row->max;
        }
    }
}

static void holders_show(struct page_out *out, const struct holders_page *page)
{
    ROWS_NEW(out->arena, page->count, out->message.holders, Silo__V1__HolderRow);
    out->message.n_holders = page->count;
    for (size_t i = 0; i < page->count; i++) {
        const struct holder_row *row = &page->rows[i];
        Silo__V1__HolderRow *holder = out->message.holders[i];
        silo__v1__holder_row__init(holder);
        holder->tenant = encode_text(out->arena, row->tenant);
        holder->queue = encode_text(out->arena, row->queue);
        holder->task_id = encode_uuid(out->arena, &row->task_id);
        holder->job_id = encode_text(out->arena, row->job_id);
        holder->granted_at_ms = row->granted_ms;
    }
}

static void waiters_show(struct page_out *out, const struct waiters_page *page)
{
    ROWS_NEW(out->arena, page->count, out->message.waiters, Silo__V1__WaiterRow);
    out->message.n_waiters = page->count;
    for (size_t i = 0; i < page->count; i++) {
        const struct waiter_row *row = &page->rows[i];
        Silo__V1__WaiterRow *waiter = out->message.waiters[i];
        silo__v1__waiter_row__init(waiter);
        waiter->tenant = encode_text(out->arena, row->tenant);
        waiter->queue = encode_text(out->arena, row->queue);
        waiter->job_id = encode_text(out->arena, row->job_id);
        waiter->task_group = encode_text(out->arena, row->group);
        waiter->attempt_number = row->attempt;
        waiter->priority = row->place.priority;
        waiter->due_at_ms = row->place.due_ms;
        waiter->task_id = encode_uuid(out->arena, &row->task_id);
    }
}

/* --- the thread of statements --- */

static SILO_RC rows_read(struct page_read *read, struct snapshot *snapshot, struct page_out *out,
                         struct bytes *ret_position, struct silo_err *err)
{
    const struct rows_query *query = read->query;
    const struct page_limits limits = {.rows_max = read->rows_max, .bytes_max = query->page_bytes};
    union {
        struct jobs_page jobs;
        struct tenants_page tenants;
        struct queues_page queues;
        struct holders_page holders;
        struct waiters_page waiters;
    } page = {0};
    struct arena *arena = out->arena;
    switch (query->table) {
    case SILO__V1__ROW_TABLE__ROW_TABLE_JOBS:
        TRY(jobs_read(snapshot, &query->jobs, read->position, &limits, arena, &page.jobs, err));
        *ret_position = page.jobs.cursor;
        return jobs_show(out, &page.jobs, err);
    case SILO__V1__ROW_TABLE__ROW_TABLE_TENANTS:
        TRY(tenants_read(snapshot, &query->tenants, read->position, &limits, arena, &page.tenants,
                         err));
        *ret_position = page.tenants.cursor;
        tenants_show(out, &page.tenants);
        return RC_OK;
    case SILO__V1__ROW_TABLE__ROW_TABLE_QUEUES:
        TRY(queues_read(snapshot, &query->scope, read->position, &limits, arena, &page.queues,
                        err));
        *ret_position = page.queues.cursor;
        queues_show(out, &page.queues);
        return RC_OK;
    case SILO__V1__ROW_TABLE__ROW_TABLE_HOLDERS:
        TRY(holders_read(snapshot, &query->scope, read->position, &limits, arena, &page.holders,
                         err));
        *ret_position = page.holders.cursor;
        holders_show(out, &page.holders);
        return RC_OK;
    case SILO__V1__ROW_TABLE__ROW_TABLE_WAITERS:
        TRY(waiters_read(snapshot, &query->scope, read->position, &limits, arena, &page.waiters,
                         err));
        *ret_position = page.waiters.cursor;
        waiters_show(out, &page.waiters);
        return RC_OK;
    case SILO__V1__ROW_TABLE__ROW_TABLE_UNSPECIFIED:
    default: /* an open enumeration; rows_query_fill has refused the others */
        return FAIL(err, SILO_INTERNAL, "no such table");
    }
}

static SILO_RC page_run(struct statement *statement, struct snapshot *snapshot,
                        struct silo_err *err)
{
    struct page_read *read = CONTAINER_OF(statement, struct page_read, own.statement);
    struct page_out out = {
        .query = read->query, .arena = &read->own.arena, .message = SILO__V1__ROW_PAGE__INIT};
    struct bytes position = BYTES_NONE;
    TRY(rows_read(read, snapshot, &out, &position, err));
    out.message.shard = (char *)(uintptr_t)read->shard_id; /* only read, as the position is */
    out.message.last = position.len == 0;
    out.message.position.data = (uint8_t *)(uintptr_t)position.ptr;
    out.message.position.len = position.len;
    Silo__V1__ReadRowsResponse response = SILO__V1__READ_ROWS_RESPONSE__INIT;
    response.part_case = SILO__V1__READ_ROWS_RESPONSE__PART_PAGE;
    response.page = &out.message;
    const size_t size = protobuf_c_message_get_packed_size(&response.base);
    uint8_t *packed = xmalloc(size);
    (void)protobuf_c_message_pack(&response.base, packed);
    read->packed = bytes_of(packed, size);
    return RC_OK;
}

/* --- there and back --- */

static void read_end(struct page_read *read, silo_rc rc, const char *text)
{
    read->rc = rc;
    if (rc.code != SILO_OK) {
        (void)snprintf(read->text, sizeof read->text, "%s",
                       text != NULL && *text != 0 ? text : silo_code_name(rc.code));
    }
    arena_deinit(&read->own.arena);
    read->done(read);
}

static void read_back(struct rpc_mail *mail)
{
    struct page_read *read = CONTAINER_OF(mail, struct page_read, own.mail);
    const struct statement *statement = &read->own.statement;
    read_end(read, statement->rc, statement->err.text);
}

static void page_done(struct statement *statement)
{
    struct page_read *read = CONTAINER_OF(statement, struct page_read, own.statement);
    rpc_loop_post(read->loop, &read->own.mail);
}

static void read_lent(struct rpc_mail *mail)
{
    struct page_read *read = CONTAINER_OF(mail, struct page_read, own.mail);
    struct shard_request *request = &read->own.request;
    shard_answer_taken(request);
    if (request->cmd.rc.code != SILO_OK) {
        read_end(read, request->cmd.rc, request->cmd.error);
        return;
    }
    struct statement *statement = &read->own.statement;
    statement->run = page_run;
    statement->done = page_done;
    statement->options.snap = request->cmd.result.lent.snap;
    statement->options.seq = request->cmd.result.lent.seq;
    statement->options.deadline_mono_ms = read->deadline_mono_ms;
    read->own.mail.run = read_back;
    if (!statements_send(read->service->statements, statement)) {
        store_ops_of(statement->options.snap)->snapshot_free(statement->options.snap);
        read_end(read, (silo_rc){SILO_EXHAUSTED}, "too many statements wait for their turn");
    }
}

/* Executor. */
static void lend_done(struct shard_request *request)
{
    struct page_read *read = CONTAINER_OF(request, struct page_read, own.request);
    rpc_loop_post(read->loop, &read->own.mail);
}

void page_read_start(struct page_read *read, const struct directory_shard *shard)
{
    struct shard_request *request = &read->own.request;
    memset(&read->own, 0, sizeof read->own);
    read->packed = BYTES_NONE;
    read->own.mail.run = read_lent;
    request->cmd.kind = CMD_LEND;
    request->cmd.arena = &read->own.arena;
    request->cmd.args.lend.queue = statements_queue(read->service->statements);
    request->done = lend_done;
    if (!shard_send(read->service->shards, shard->ref, request)) {
        request->cmd.rc = (silo_rc){SILO_EXHAUSTED};
        request->cmd.error = ERROR_MAILBOX_FULL;
        rpc_loop_post(read->loop, &read->own.mail);
    }
}

/* --- what a packed page says --- */

bool page_head_read(struct bytes packed, struct page_head *ret_head)
{
    uint32_t number = 0;
    struct bytes page;
    struct bytes body;
    *ret_head = (struct page_head){0};
    if (!message_next(&packed, &number, &page) || number != 1 || packed.len != 0) {
        return false;
    }
    while (page.len != 0) {
        if (!message_next(&page, &number, &body)) {
            return false;
        }
        switch (number) { /* of RowPage's fields */
        case 1:
            ret_head->shard = body;
            break;
        case 3:
        case 4:
        case 5:
        case 6:
        case 7:
            ret_head->rows++;
            break;
        case 8:
            ret_head->position = body;
            break;
        default: /* a newer node says more */
            break;
        }
    }
    return true;
}
