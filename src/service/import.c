/*
 * service/import.c - ImportJobs: jobs of any shards and tenants in one call, each with a result of
 * its own.
 *
 *     check every job -> ask each shard whether one of them runs -> waves of imports -> reply
 *
 * Invariants
 *   1. Results stand in the order of the request; a job that fails a check, or whose shard cannot
 *      be asked, fails alone or with the other jobs of that shard.
 *   2. While a named job runs, nothing of the call is applied, on no shard. One that starts between
 *      question and import is refused by its shard and fails alone.
 *   3. Entries that name the same job are imported in their order: `round` counts those before, and
 *      a wave holds jobs of one round. So no two of a wave are the same job.
 *   4. Commands of one shard share an arena, which its executor fills; the loop looks at it between
 *      waves only.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "service/call_int.h"

/* The jobs of one shard. */
struct import_group {
    struct directory_shard shard;
    struct arena arena;
    struct import_item **items; /* lent, until the items are put into the order of the waves */
    size_t count;
    bool failed;
};

/* A job that passed its checks. */
struct import_item {
    size_t index;                        /* in the request */
    const struct directory_shard *shard; /* of the directory, until it has a group */
    struct bytes job_ref;
    size_t round;
    struct import_group *group;
    struct import_args args;
};

struct import_call {
    struct call *call;
    Silo__V1__ImportJobResult *results;
    struct import_item **items;
    size_t count;
    struct import_group *groups;
    size_t group_count;
    struct fan *asks; /* a part for each group */
    struct fan *wave;
    size_t next; /* item; those before it were sent */
};

static void import_release(struct import_call *import)
{
    struct fan *const fans[] = {import->asks, import->wave};
    for (size_t i = 0; i < sizeof fans / sizeof fans[0]; i++) {
        if (fans[i] != NULL) {
            fan_deinit(fans[i]);
        }
    }
    for (size_t i = 0; i < import->group_count; i++) {
        arena_deinit(&import->groups[i].arena);
    }
}

/* --- results --- */

static void result_fail(struct import_call *import, size_t index, const char *text,
                        enum silo_code code)
{
    Silo__V1__ImportJobResult *result = &import->results[index];
    result->status = SILO__V1__JOB_STATUS__JOB_STATUS_FAILED;
    result->error_opt_case = SILO__V1__IMPORT_JOB_RESULT__ERROR_OPT_ERROR;
    result->error = arena_str(import->call->arena, svc_error_text(text, code));
}

static void import_answer(struct import_call *import)
{
    struct call *call = import->call;
    const Silo__V1__ImportJobsRequest *request = call->message;
    Silo__V1__ImportJobsResponse reply = SILO__V1__IMPORT_JOBS_RESPONSE__INIT;
    reply.n_results = request->n_jobs;
    reply.results = arena_alloc(call->arena, (request->n_jobs + 1) * sizeof *reply.results);
    for (size_t i = 0; i < request->n_jobs; i++) {
        reply.results[i] = &import->results[i];
    }
    import_release(import);
    svc_reply(call, &reply.base);
}

/* --- checks --- */

/* An item's result has no trailers: its text says whom to ask. */
static SILO_RC item_route(const struct call *call, const struct directory *directory,
                          const struct directory_shard *shard, struct silo_err *err)
{
    struct route route;
    route_judge(call->service, directory, shard, &route);
    if (route.verdict == ROUTE_RUN || route.verdict == ROUTE_HOLD) { /* its requests wait */
        return RC_OK;
    }
    return FAIL(err, route.err.code, "%s", route_text(call->arena, &route));
}

static SILO_RC item_check(const struct call *call, const struct directory *directory,
                          const Silo__V1__ImportJobRequest *job, struct import_item *ret_item,
                          struct silo_err *err)
{
    const struct service *service = call->service;
    const struct bytes given = job->tenant_opt_case != 0 ? bytes_str(job->tenant) : BYTES_NONE;
    struct bytes tenant;
    TRY(route_name(directory, bytes_str(job->shard), &ret_item->shard, err));
    TRY(route_client_tenant(service, ret_item->shard, given, &tenant, err));
    TRY(validate_import(call->arena, job, &ret_item->args, err));
    TRY(item_route(call, directory, ret_item->shard, err));
    ret_item->job_ref = job_ref_make(call->arena, tenant, bytes_str(job->id));
    return RC_OK;
}

static void items_check(struct import_call *import, const struct directory *directory)
{
    struct call *call = import->call;
    const Silo__V1__ImportJobsRequest *request = call->message;
    for (size_t i = 0; i < request->n_jobs; i++) {
        silo__v1__import_job_result__init(&import->results[i]);
        import->results[i].id = request->jobs[i]->id;
        struct import_item checked = {.index = i};
        struct silo_err err;
        if (call->faults[i] != NULL) {
            result_fail(import, i, call->faults[i], SILO_INVALID);
            continue;
        }
        if (item_check(call, directory, request->jobs[i], &checked, &err).code != SILO_OK) {
            result_fail(import, i, err.text, err.code);
            continue;
        }
        struct import_item *item = ARENA_NEW(call->arena, struct import_item);
        *item = checked;
        import->items[import->count++] = item;
    }
}

/* --- groups --- */

static int item_cmp_job(const void *a, const void *b)
{
    const struct import_item *x = *(struct import_item *const *)a;
    const struct import_item *y = *(struct import_item *const *)b;
    if (x->shard != y->shard) {
        return uuid_order(&x->shard->id, &y->shard->id);
    }
    const int c = bytes_cmp(x->job_ref, y->job_ref);
    return c != 0 ? c : (x->index > y->index) - (x->index < y->index);
}

static int item_cmp_round(const void *a, const void *b)
{
    const struct import_item *x = *(struct import_item *const *)a;
    const struct import_item *y = *(struct import_item *const *)b;
    const int c = (x->round > y->round) - (x->round < y->round);
    return c != 0 ? c : (x->index > y->index) - (x->index < y->index);
}

static void groups_make(struct import_call *import)
{
    qsort(import->items, import->count, sizeof import->items[0], item_cmp_job);
    size_t shards = 0;
    for (size_t i = 0; i < import->count; i++) {
        shards += i == 0 || import->items[i]->shard != import->items[i - 1]->shard;
    }
    import->groups = arena_zalloc(import->call->arena, (shards + 1) * sizeof import->groups[0]);
    for (size_t i = 0; i < import->count; i++) {
        struct import_item *item = import->items[i];
        const struct import_item *before = i != 0 ? import->items[i - 1] : NULL;
        if (before == NULL || before->shard != item->shard) {
            struct import_group *group = &import->groups[import->group_count++];
            arena_init(&group->arena);
            group->shard = *item->shard;
            group->items = &import->items[i];
        } else if (bytes_eq(before->job_ref, item->job_ref)) {
            item->round = before->round + 1;
        }
        item->group = &import->groups[import->group_count - 1];
        item->group->count++;
    }
    ASSERT(import->group_count == shards);
    for (size_t i = 0; i < import->count; i++) {
        import->items[i]->shard = NULL;
    }
}

/* --- waves --- */

static void wave_next(struct import_call *import);

static void import_wave_finished(struct fan *fan)
{
    struct import_call *import = fan->call->state;
    for (size_t i = 0; i < fan->count; i++) {
        const struct import_item *item = import->items[import->next - fan->count + i];
        const struct command *cmd = &fan->parts[i].request.cmd;
        if (cmd->rc.code != SILO_OK) {
            result_fail(import, item->index, cmd->error, cmd->rc.code);
            continue;
        }
        import->results[item->index].success = true;
        import->results[item->index].status = (Silo__V1__JobStatus)cmd->result.import.status;
    }
    for (size_t i = 0; i < import->group_count; i++) {
        arena_reset(&import->groups[i].arena);
    }
    wave_next(import);
}

static void wave_next(struct import_call *import)
{
    struct call *call = import->call;
    struct fan *fan = import->wave;
    if (import->next == import->count) {
        import_answer(import);
        return;
    }
    if (!rpc_call_alive(call->rpc)) {
        import_release(import);
        svc_fail(call, SILO_CANCELLED, "the caller left; some jobs were imported");
        return;
    }
    const size_t round = import->items[import->next]->round;
    fan->count = 0;
    while (import->next < import->count && fan->count < MANY_WAVE_MAX &&
           import->items[import->next]->round == round) {
        const struct import_item *item = import->items[import->next++];
        struct fan_part *part = &fan->parts[fan->count++];
        memset(&part->request, 0, sizeof part->request);
        part->request.cmd.kind = CMD_IMPORT_JOB;
        part->request.cmd.arena = &item->group->arena;
        part->request.cmd.job_ref = item->job_ref;
        part->request.cmd.args.import = item->args;
    }
    const size_t first = import->next - fan->count;
    for (size_t i = 0; i < fan->count; i++) {
        fan_send(&fan->parts[i], &import->items[first + i]->group->shard);
    }
}

/* Drops the items whose shard did not answer and puts the others into the order of the waves. */
static void waves_begin(struct import_call *import)
{
    size_t count = 0;
    for (size_t i = 0; i < import->count; i++) {
        if (!import->items[i]->group->failed) {
            import->items[count++] = import->items[i];
        }
    }
    import->count = count;
    qsort(import->items, count, sizeof import->items[0], item_cmp_round);
    import->wave =
        fan_new(import->call, count < MANY_WAVE_MAX ? count : MANY_WAVE_MAX, import_wave_finished);
    wave_next(import);
}

/* --- does one of them run? --- */

static void import_refuse(struct import_call *import, const struct import_item *running)
{
    struct call *call = import->call;
    const Silo__V1__ImportJobsRequest *request = call->message;
    import_release(import);
    svc_fail(call, SILO_PRECONDITION,
             arena_printf(call->arena,
                          "nothing was imported, because a job is currently running: %s",
                          request->jobs[running->index]->id));
}

static void asks_finished(struct fan *fan)
{
    struct import_call *import = fan->call->state;
    for (size_t i = 0; i < fan->count; i++) {
        const struct command *cmd = &fan->parts[i].request.cmd;
        const struct import_group *group = &import->groups[i];
        if (cmd->rc.code == SILO_OK && cmd->result.any_running.running) {
            ASSERT(cmd->result.any_running.index < group->count);
            import_refuse(import, group->items[cmd->result.any_running.index]);
            return;
        }
    }
    for (size_t i = 0; i < fan->count; i++) {
        const struct command *cmd = &fan->parts[i].request.cmd;
        struct import_group *group = &import->groups[i];
        group->failed = cmd->rc.code != SILO_OK;
        for (size_t k = 0; group->failed && k < group->count; k++) {
            result_fail(import, group->items[k]->index, cmd->error, cmd->rc.code);
        }
    }
    waves_begin(import);
}

static void asks_send(struct import_call *import)
{
    import->asks = fan_new(import->call, import->group_count, asks_finished);
    for (size_t i = 0; i < import->group_count; i++) {
        const struct import_group *group = &import->groups[i];
        struct command *cmd = &import->asks->parts[i].request.cmd;
        struct bytes *refs = arena_alloc(import->call->arena, group->count * sizeof *refs);
        for (size_t k = 0; k < group->count; k++) {
            refs[k] = group->items[k]->job_ref;
        }
        cmd->kind = CMD_ANY_RUNNING;
        cmd->args.any_running = (struct any_running_args){.job_refs = refs, .count = group->count};
    }
    for (size_t i = 0; i < import->group_count; i++) {
        fan_send(&import->asks->parts[i], &import->groups[i].shard);
    }
}

void on_import_jobs(struct call *call)
{
    const Silo__V1__ImportJobsRequest *request = call->message;
    const size_t count = request->n_jobs;
    struct import_call *import = ARENA_NEW(call->arena, struct import_call);
    call->state = import;
    import->call = call;
    import->results = arena_zalloc(call->arena, (count + 1) * sizeof import->results[0]);
    import->items = arena_alloc(call->arena, (count + 1) * sizeof import->items[0]);
    items_check(import, svc_directory(call));
    if (import->count == 0) {
        import_answer(import);
        return;
    }
    groups_make(import);
    asks_send(import);
}
