/*
 * service/tenants.c - ListTenants: whose jobs a shard has, read of a snapshot by the thread of
 * statements.
 *
 *   loop ──CMD_LEND──► executor: a moment, once it is durable ──► loop ──► thread: reads ──► loop
 *
 * While it is at the thread the call's arena is the thread's, as it is an executor's else.
 */
#include "query/tenants.h"
#include "base/assert.h"
#include "query/statements.h"
#include "service/call_int.h"

#define TENANTS_DEFAULT 100u
#define TENANTS_MAX 1000u
#define TENANTS_MS_MAX 10000 /* of a call without a deadline, or with one further ahead */

struct listing {
    struct call *call;
    struct statement statement;
    struct rpc_mail mail;
    struct tenants_query query;
    struct bytes cursor;
    struct page_limits limits;
    struct tenants_page page;
};

static void listing_answer(struct listing *listing)
{
    struct call *call = listing->call;
    if (listing->statement.rc.code != SILO_OK) {
        svc_fail_err(call, &listing->statement.err);
        return;
    }
    const struct tenants_page *page = &listing->page;
    Silo__V1__ListTenantsResponse reply = SILO__V1__LIST_TENANTS_RESPONSE__INIT;
    reply.tenants = arena_alloc(call->arena, (page->count + 1) * sizeof reply.tenants[0]);
    for (size_t i = 0; i < page->count; i++) {
        const struct tenant_row *row = &page->rows[i];
        Silo__V1__TenantJobs *tenant = arena_alloc(call->arena, sizeof *tenant);
        silo__v1__tenant_jobs__init(tenant);
        tenant->tenant = encode_text(call->arena, row->tenant);
        tenant->open = row->counts.open;
        tenant->running = row->running;
        tenant->succeeded = row->counts.succeeded;
        tenant->failed = row->counts.failed;
        tenant->cancelled = row->counts.cancelled;
        reply.tenants[reply.n_tenants++] = tenant;
    }
    reply.cursor.data = (uint8_t *)(uintptr_t)page->cursor.ptr; /* only read */
    reply.cursor.len = page->cursor.len;
    svc_reply(call, &reply.base);
}

static void listing_back(struct rpc_mail *mail)
{
    listing_answer(CONTAINER_OF(mail, struct listing, mail));
}

/* The thread of statements. */
static SILO_RC listing_run(struct statement *statement, struct snapshot *snapshot,
                           struct silo_err *err)
{
    struct listing *listing = CONTAINER_OF(statement, struct listing, statement);
    return tenants_read(snapshot, &listing->query, listing->cursor, &listing->limits,
                        listing->call->arena, &listing->page, err);
}

static void listing_done(struct statement *statement)
{
    struct listing *listing = CONTAINER_OF(statement, struct listing, statement);
    rpc_loop_post(rpc_call_loop(listing->call->rpc), &listing->mail);
}

static void lent(struct call *call)
{
    const struct command *cmd = &call->request.cmd;
    if (cmd->rc.code != SILO_OK) {
        svc_fail_command(call, cmd);
        return;
    }
    struct listing *listing = call->state;
    struct statement *statement = &listing->statement;
    statement->options.snap = cmd->result.lent.snap;
    statement->options.seq = cmd->result.lent.seq;
    if (!statements_send(call->service->statements, statement)) {
        store_ops_of(cmd->result.lent.snap)->snapshot_free(cmd->result.lent.snap);
        svc_fail(call, SILO_EXHAUSTED, "too many statements wait for their turn; try again");
    }
}

static int64_t deadline_mono_ms(const struct call *call)
{
    const int64_t most_ms = env_mono_ms(call->service->env) + TENANTS_MS_MAX;
    const int64_t asked_ms = rpc_call_deadline_us(call->rpc) / 1000;
    return asked_ms != 0 && asked_ms < most_ms ? asked_ms : most_ms;
}

void on_list_tenants(struct call *call)
{
    const Silo__V1__ListTenantsRequest *request = call->message;
    if (call->service->statements == NULL) {
        on_unimplemented(call);
        return;
    }
    if (!svc_route(call, request->shard)) {
        return;
    }
    const uint32_t asked = request->limit != 0 ? request->limit : TENANTS_DEFAULT;
    struct listing *listing = arena_zalloc(call->arena, sizeof *listing);
    listing->call = call;
    listing->mail.run = listing_back;
    listing->query.with_running = request->with_running;
    listing->cursor = bytes_of(request->cursor.data, request->cursor.len);
    listing->limits.rows_max = asked < TENANTS_MAX ? asked : TENANTS_MAX;
    listing->statement.run = listing_run;
    listing->statement.done = listing_done;
    listing->statement.options.deadline_mono_ms = deadline_mono_ms(call);
    call->state = listing;
    call->request.cmd.args.lend.queue = statements_queue(call->service->statements);
    svc_send(call, CMD_LEND, lent);
}
