/* sim/calls.c - see calls.h. */
#include "sim/calls.h"

#include "sim/world.h"

/* --- the life of a call --- */

struct client_call *call_new(struct world *world, enum api api, size_t count)
{
    struct client_call *call = xcalloc(1, sizeof *call);
    call->world = world;
    call->api = api;
    call->count = count;
    call->items = xcalloc(count, sizeof *call->items);
    arena_init(&call->arena);
    return call;
}

static void call_free(struct client_call *call)
{
    if (call->reply != NULL) {
        protobuf_c_message_free_unpacked(call->reply, NULL);
    }
    list_remove(&call->node);
    arena_deinit(&call->arena);
    free(call->items);
    free(call);
}

static void call_begun(struct rpc_call *rpc)
{
    struct client_call *call = rpc->owner;
    for (size_t i = 0; i < call->count; i++) {
        answer_begun(&call->world->model, call->api, &call->items[i]);
    }
    if (call->api == API_POLL) {
        list_push_back(&call->world->held_polls, &call->node);
    } else if (call->api == API_AWAIT) {
        list_push_back(&call->world->held_awaits, &call->node);
    }
    trace_line(&call->world->trace, "call %llu begins", (unsigned long long)rpc->number);
}

/* Who does not have the shard is like one who cannot serve it now. */
static void item_result(const struct world *world, struct item *item, uint32_t code,
                        const char *text)
{
    item->code = nodes_elsewhere(world, code, text) ? RPC_STATUS_UNAVAILABLE : code;
    (void)snprintf(item->text, sizeof item->text, "%.150s", text);
}

/* Results of bulk calls. An import says only yes or no. */
static void many_results(struct client_call *call)
{
    for (size_t i = 0; i < call->count; i++) {
        struct item *item = &call->items[i];
        if (call->api == API_ENQUEUE) {
            const Silo__V1__EnqueueManyResponse *reply = (const void *)call->reply;
            item_result(call->world, item, reply->results[i]->code, reply->results[i]->message);
        } else if (call->api == API_REPORT) {
            const Silo__V1__ReportOutcomesResponse *reply = (const void *)call->reply;
            item_result(call->world, item, reply->results[i]->code, reply->results[i]->message);
        } else if (call->api == API_RETURN) {
            const Silo__V1__ReturnTasksResponse *reply = (const void *)call->reply;
            item_result(call->world, item, reply->results[i]->code, reply->results[i]->message);
        } else {
            const Silo__V1__ImportJobsResponse *reply = (const void *)call->reply;
            const Silo__V1__ImportJobResult *result = reply->results[i];
            item_result(call->world, item, result->success ? RPC_STATUS_OK : RPC_STATUS_UNKNOWN,
                        result->error_opt_case != 0 ? result->error : "");
            item->import_status = (enum job_status)result->status;
        }
    }
}

/* It was given up while the storage had it, which may take it yet. */
static bool is_unknown(const struct rpc_call *rpc)
{
    return rpc->status == RPC_STATUS_UNAVAILABLE &&
           strstr(rpc->text, "it may still take effect") != NULL;
}

static void call_ended(struct rpc_call *rpc, bool there)
{
    struct client_call *call = rpc->owner;
    list_remove(&call->node);
    if (there && rpc->status == RPC_STATUS_OK) {
        call->reply = net_reply(rpc, call->reply_type);
        ASSERT(call->reply != NULL);
    }
    for (size_t i = 0; i < call->count; i++) {
        struct item *item = &call->items[i];
        item->there = there;
        item->astray = nodes_astray(call->world, rpc->host, item->shard);
        item->outdated = nodes_outdated(call->world, rpc->host, item->shard, item->begun_us);
        item_result(call->world, item, there ? rpc->status : RPC_STATUS_UNAVAILABLE, rpc->text);
        item->reply = call->reply;
    }
    if (call->many && call->reply != NULL) {
        many_results(call);
    }
    if (!there || is_unknown(rpc)) {
        answer_unheard(&call->world->model, call->api, &call->items[0]);
    }
    trace_line(&call->world->trace, "call %llu ends: %s %u %s %016llx",
               (unsigned long long)rpc->number, there ? "heard" : "unheard", call->items[0].code,
               call->items[0].text, (unsigned long long)XXH64(rpc->reply.ptr, rpc->reply.len, 0));
    for (size_t i = 0; i < call->count; i++) {
        struct item *item = &call->items[i];
        if (there && item->code == RPC_STATUS_UNIMPLEMENTED) {
            world_lacks(call->world, call->api, item);
        }
        if (item->code == RPC_STATUS_OK) {
            /* Of a bulk call, items that were done may have waited for others. */
            nodes_answered(call->world, rpc->host, item->shard,
                           call->many ? item->begun_us : rpc->answered_us);
        }
        answer_ended(&call->world->model, call->api, item);
    }
}

static void call_sent(struct rpc_call *rpc, bool sent)
{
    struct client_call *call = rpc->owner;
    if (sent) {
        answer_delivered(&call->world->model, call->api, &call->items[0]);
    } else {
        answer_unheard(&call->world->model, call->api, &call->items[0]);
        trace_line(&call->world->trace, "call %llu: its answer did not leave",
                   (unsigned long long)rpc->number);
    }
}

static void call_heard(struct rpc_call *rpc)
{
    struct client_call *call = rpc->owner;
    nodes_heard(call->world, rpc, call->items[0].shard);
    if (call->heard != NULL) {
        call->heard(call);
    }
    call->heard = NULL;
    call->agent = NULL;
}

static void call_over(struct rpc_call *rpc)
{
    call_free(rpc->owner);
}

void call_send(struct client_call *call, const char *name, const ProtobufCMessage *message,
               const ProtobufCMessageDescriptor *reply_type, int64_t timeout_us)
{
    struct world *world = call->world;
    struct rpc_call *rpc =
        net_call(world_host(world, call->items[0].shard), name, message, timeout_us);
    rpc->owner = call;
    rpc->on_begun = call_begun;
    rpc->on_ended = call_ended;
    rpc->on_sent = call_sent;
    rpc->on_heard = call_heard;
    rpc->on_over = call_over;
    call->rpc = rpc;
    call->reply_type = reply_type;
    const struct item *item = &call->items[0];
    trace_line(&world->trace, "call %llu: %s x%zu, shard %zu, %s%s %s spec %u, max %u, wait %u ms",
               (unsigned long long)rpc->number, name, call->count, item->shard,
               item->job != NULL ? item->job->id : "", item->group, item->worker, item->spec,
               item->tasks_max, item->wait_ms);
    net_send(rpc);
}

static void call_leaves(struct event *event)
{
    struct rpc_call *rpc = CONTAINER_OF(event, struct rpc_call, leaving);
    trace_line(&((struct client_call *)rpc->owner)->world->trace, "call %llu: the caller leaves",
               (unsigned long long)rpc->number);
    net_leave(rpc, RPC_CANCEL_RESET);
}

void call_leave_later(struct client_call *call, int64_t after_us)
{
    if (!call->rpc->heard) {
        event_at(call->rpc->net->events, &call->rpc->leaving, *call->rpc->net->now_us + after_us,
                 call_leaves);
    }
}

/* --- messages --- */

static char *shard_text(struct client_call *call, size_t shard)
{
    return arena_printf(&call->arena, "0000000%zu-0000-4000-8000-000000000000", shard);
}

static char *text(struct client_call *call, const char *from)
{
    return arena_str(&call->arena, bytes_str(from));
}

/* The tenant goes along only with tenancy on. */
#define SET_TENANT(call, request, PREFIX, field, from)        \
    do {                                                      \
        if ((call)->world->options.tenancy) {                 \
            (request)->field##_opt_case = SILO__V1__##PREFIX; \
            (request)->field = text(call, from);              \
        }                                                     \
    } while (0)

static void enqueue_fill(struct client_call *call, Silo__V1__EnqueueRequest *request,
                         const struct item *item, const char *id, const char *tenant,
                         int64_t start_ms)
{
    const struct spec spec = spec_of(&call->world->specs, item->spec);
    request->shard = shard_text(call, item->shard);
    request->id = text(call, id);
    request->priority = spec.priority;
    request->start_at_ms = start_ms;
    request->task_group = text(call, spec.group);
    request->payload = spec_payload(&call->arena, &spec, item->spec);
    request->limits = spec_limits(&call->arena, &spec, &request->n_limits);
    request->return_existing = item->return_existing;
    if (spec.has_retry) {
        request->retry_policy_opt_case = SILO__V1__ENQUEUE_REQUEST__RETRY_POLICY_OPT_RETRY_POLICY;
        request->retry_policy = spec_retry(&call->arena, &spec);
    }
    SET_TENANT(call, request, ENQUEUE_REQUEST__TENANT_OPT_TENANT, tenant, tenant);
    request->metadata = arena_alloc(&call->arena, (spec.pairs + 1) * sizeof(void *));
    request->n_metadata = spec.pairs;
    for (uint32_t i = 0; i < spec.pairs; i++) {
        request->metadata[i] = arena_alloc(&call->arena, sizeof **request->metadata);
        silo__v1__enqueue_request__metadata_entry__init(request->metadata[i]);
        request->metadata[i]->key = arena_printf(&call->arena, "k%u", i);
        request->metadata[i]->value = text(call, SPEC_PAIR_VALUE);
    }
}

struct client_call *call_enqueue(struct world *world, size_t shard, struct mjob *job,
                                 uint32_t number, int64_t start_ms, bool return_existing)
{
    struct client_call *call = call_new(world, API_ENQUEUE, 1);
    struct item *item = &call->items[0];
    *item = (struct item){.shard = shard,
                          .job = job,
                          .spec = number,
                          .return_existing = return_existing,
                          .anonymous = job == NULL};
    Silo__V1__EnqueueRequest request = SILO__V1__ENQUEUE_REQUEST__INIT;
    enqueue_fill(call, &request, item, job != NULL ? job->id : "",
                 job != NULL ? job->tenant : world_tenant(world, shard), start_ms);
    call_send(call, "Enqueue", &request.base, &silo__v1__enqueue_response__descriptor, 0);
    return call;
}

struct client_call *call_enqueue_many(struct world *world, size_t shard, struct mjob **jobs,
                                      size_t count, uint32_t first)
{
    struct client_call *call = call_new(world, API_ENQUEUE, count);
    call->many = true;
    Silo__V1__EnqueueManyRequest request = SILO__V1__ENQUEUE_MANY_REQUEST__INIT;
    request.shard = shard_text(call, shard);
    request.n_jobs = count;
    request.jobs = arena_alloc(&call->arena, count * sizeof(void *));
    for (size_t i = 0; i < count; i++) {
        call->items[i] = (struct item){.shard = shard, .job = jobs[i], .spec = first + (uint32_t)i};
        request.jobs[i] = arena_alloc(&call->arena, sizeof **request.jobs);
        silo__v1__enqueue_request__init(request.jobs[i]);
        enqueue_fill(call, request.jobs[i], &call->items[i], jobs[i]->id, jobs[i]->tenant, 0);
    }
    call_send(call, "EnqueueMany", &request.base, &silo__v1__enqueue_many_response__descriptor, 0);
    return call;
}

/* The calls that name a job and little else have equal messages. */
#define ABOUT(Type, TYPE, type, method)                                                      \
    do {                                                                                     \
        Silo__V1__##Type##Request request = SILO__V1__##TYPE##_REQUEST__INIT;                \
        request.shard = shard_text(call, job->shard);                                        \
        request.id = text(call, job->id);                                                    \
        SET_TENANT(call, &request, TYPE##_REQUEST__TENANT_OPT_TENANT, tenant, job->tenant);  \
        call_send(call, method, &request.base, &silo__v1__##type##_response__descriptor, 0); \
    } while (0)

static void about_result(struct client_call *call, const struct mjob *job, uint32_t wait_ms)
{
    Silo__V1__GetJobResultRequest request = SILO__V1__GET_JOB_RESULT_REQUEST__INIT;
    request.shard = shard_text(call, job->shard);
    request.id = text(call, job->id);
    request.wait_ms = wait_ms;
    SET_TENANT(call, &request, GET_JOB_RESULT_REQUEST__TENANT_OPT_TENANT, tenant, job->tenant);
    call_send(call, "GetJobResult", &request.base, &silo__v1__get_job_result_response__descriptor,
              0);
}

static void about_get(struct client_call *call, const struct mjob *job)
{
    Silo__V1__GetJobRequest request = SILO__V1__GET_JOB_REQUEST__INIT;
    request.shard = shard_text(call, job->shard);
    request.id = text(call, job->id);
    request.include_attempts = call->items[0].include_attempts;
    SET_TENANT(call, &request, GET_JOB_REQUEST__TENANT_OPT_TENANT, tenant, job->tenant);
    call_send(call, "GetJob", &request.base, &silo__v1__get_job_response__descriptor, 0);
}

struct client_call *call_about(struct world *world, enum api api, struct mjob *job,
                               uint32_t wait_ms)
{
    struct client_call *call = call_new(world, api, 1);
    call->items[0] = (struct item){
        .shard = job->shard, .job = job, .include_attempts = random_one_in(&world->random, 2)};
    if (api == API_GET) {
        about_get(call, job);
    } else if (api == API_RESULT) {
        about_result(call, job, wait_ms);
    } else if (api == API_CANCEL) {
        ABOUT(CancelJob, CANCEL_JOB, cancel_job, "CancelJob");
    } else if (api == API_DELETE) {
        ABOUT(DeleteJob, DELETE_JOB, delete_job, "DeleteJob");
    } else if (api == API_RESTART) {
        ABOUT(RestartJob, RESTART_JOB, restart_job, "RestartJob");
    } else {
        ASSERT(api == API_EXPEDITE);
        ABOUT(ExpediteJob, EXPEDITE_JOB, expedite_job, "ExpediteJob");
    }
    return call;
}

struct client_call *call_lease(struct world *world, struct mjob *job, const char *worker)
{
    struct client_call *call = call_new(world, API_LEASE, 1);
    call->items[0] = (struct item){.shard = job->shard, .job = job};
    (void)snprintf(call->items[0].worker, sizeof call->items[0].worker, "%s", worker);
    Silo__V1__LeaseTaskRequest request = SILO__V1__LEASE_TASK_REQUEST__INIT;
    request.shard = shard_text(call, job->shard);
    request.id = text(call, job->id);
    request.worker_id = text(call, worker);
    SET_TENANT(call, &request, LEASE_TASK_REQUEST__TENANT_OPT_TENANT, tenant, job->tenant);
    call_send(call, "LeaseTask", &request.base, &silo__v1__lease_task_response__descriptor, 0);
    return call;
}

struct client_call *call_drop(struct world *world, size_t shard, const char *tenant)
{
    struct client_call *call = call_new(world, API_DROP, 1);
    call->items[0] = (struct item){.shard = shard};
    (void)snprintf(call->items[0].tenant, sizeof call->items[0].tenant, "%s", tenant);
    Silo__V1__DropTenantHoldersRequest request = SILO__V1__DROP_TENANT_HOLDERS_REQUEST__INIT;
    request.shard = shard_text(call, shard);
    SET_TENANT(call, &request, DROP_TENANT_HOLDERS_REQUEST__TENANT_OPT_TENANT, tenant, tenant);
    call_send(call, "DropTenantHolders", &request.base,
              &silo__v1__drop_tenant_holders_response__descriptor, 0);
    return call;
}

struct client_call *call_poll(struct world *world, const char *worker, const char *group, int shard,
                              uint32_t tasks_max, uint32_t wait_ms)
{
    struct client_call *call = call_new(world, API_POLL, 1);
    struct item *item = &call->items[0];
    *item = (struct item){.shard = shard < 0 ? PROCESS_SHARDS_MAX : (size_t)shard,
                          .tasks_max = tasks_max,
                          .wait_ms = wait_ms};
    (void)snprintf(item->worker, sizeof item->worker, "%s", worker);
    (void)snprintf(item->group, sizeof item->group, "%s", group);
    Silo__V1__LeaseTasksRequest request = SILO__V1__LEASE_TASKS_REQUEST__INIT;
    if (shard >= 0) {
        request.shard_opt_case = SILO__V1__LEASE_TASKS_REQUEST__SHARD_OPT_SHARD;
        request.shard = shard_text(call, (size_t)shard);
    }
    request.worker_id = text(call, worker);
    request.task_group = text(call, group);
    request.max_tasks = tasks_max;
    request.wait_ms = wait_ms;
    const int64_t timeout_us =
        wait_ms != 0 && random_one_in(&world->random, 4) ? 1000 * (int64_t)wait_ms + 200000 : 0;
    call_send(call, "LeaseTasks", &request.base, &silo__v1__lease_tasks_response__descriptor,
              timeout_us);
    return call;
}

struct client_call *call_heartbeat(struct world *world, struct mtask *task,
                                   struct mrefresh *refresh, const char *worker)
{
    struct client_call *call = call_new(world, API_HEARTBEAT, 1);
    const size_t shard = task != NULL ? task->job->shard : refresh->shard;
    const struct uuid *id = task != NULL ? &task->id : &refresh->id;
    call->items[0] = (struct item){
        .shard = shard, .task = task, .refresh = refresh, .job = task != NULL ? task->job : NULL};
    (void)snprintf(call->items[0].worker, sizeof call->items[0].worker, "%s", worker);
    Silo__V1__HeartbeatRequest request = SILO__V1__HEARTBEAT_REQUEST__INIT;
    char id_text[UUID_TEXT_LEN + 1];
    uuid_format(id, id_text);
    request.shard = shard_text(call, shard);
    request.task_id = text(call, id_text);
    request.worker_id = text(call, worker);
    SET_TENANT(call, &request, HEARTBEAT_REQUEST__TENANT_ID_OPT_TENANT_ID, tenant_id,
               task != NULL ? task->job->tenant : refresh->tenant);
    call_send(call, "Heartbeat", &request.base, &silo__v1__heartbeat_response__descriptor, 0);
    return call;
}

static Silo__V1__SerializedBytes *serialized(struct client_call *call, size_t len)
{
    Silo__V1__SerializedBytes *data = arena_alloc(&call->arena, sizeof *data);
    silo__v1__serialized_bytes__init(data);
    data->encoding_case = SILO__V1__SERIALIZED_BYTES__ENCODING_MSGPACK;
    data->msgpack.len = len;
    data->msgpack.data = arena_zalloc(&call->arena, len + 1);
    return data;
}

static void report_fill(struct client_call *call, Silo__V1__ReportOutcomeRequest *request,
                        const struct item *item)
{
    char id_text[UUID_TEXT_LEN + 1];
    uuid_format(&item->task->id, id_text);
    request->shard = shard_text(call, item->shard);
    request->task_id = text(call, id_text);
    request->no_retry = item->no_retry; /* of no meaning unless it failed */
    SET_TENANT(call, request, REPORT_OUTCOME_REQUEST__TENANT_ID_OPT_TENANT_ID, tenant_id,
               item->task->job->tenant);
    if (item->status == ATTEMPT_SUCCEEDED) {
        request->outcome_case = SILO__V1__REPORT_OUTCOME_REQUEST__OUTCOME_SUCCESS;
        request->success = serialized(call, item->data_len);
    } else if (item->status == ATTEMPT_FAILED) {
        request->outcome_case = SILO__V1__REPORT_OUTCOME_REQUEST__OUTCOME_FAILURE;
        request->failure = arena_alloc(&call->arena, sizeof *request->failure);
        silo__v1__failure__init(request->failure);
        request->failure->code = text(call, item->no_retry ? AUDIT_CODE_FINAL : "BROKEN");
        request->failure->data = serialized(call, item->data_len);
    } else {
        request->outcome_case = SILO__V1__REPORT_OUTCOME_REQUEST__OUTCOME_CANCELLED;
        request->cancelled = arena_alloc(&call->arena, sizeof *request->cancelled);
        silo__v1__cancelled__init(request->cancelled);
    }
}

struct client_call *call_report(struct world *world, struct mtask **tasks, size_t count,
                                enum attempt_status status, bool no_retry, size_t data_len)
{
    struct client_call *call = call_new(world, API_REPORT, count);
    call->many = count > 1;
    Silo__V1__ReportOutcomeRequest *reports = arena_alloc(&call->arena, count * sizeof *reports);
    Silo__V1__ReportOutcomeRequest **list = arena_alloc(&call->arena, count * sizeof(void *));
    for (size_t i = 0; i < count; i++) {
        call->items[i] = (struct item){.shard = tasks[i]->job->shard,
                                       .job = tasks[i]->job,
                                       .task = tasks[i],
                                       .status = status,
                                       .no_retry = no_retry,
                                       .data_len = status == ATTEMPT_CANCELLED ? 0 : data_len};
        list[i] = &reports[i];
        silo__v1__report_outcome_request__init(list[i]);
        report_fill(call, list[i], &call->items[i]);
    }
    if (count == 1) {
        call_send(call, "ReportOutcome", &reports[0].base,
                  &silo__v1__report_outcome_response__descriptor, 0);
        return call;
    }
    Silo__V1__ReportOutcomesRequest request = SILO__V1__REPORT_OUTCOMES_REQUEST__INIT;
    request.shard = shard_text(call, tasks[0]->job->shard);
    request.n_outcomes = count;
    request.outcomes = list;
    call_send(call, "ReportOutcomes", &request.base,
              &silo__v1__report_outcomes_response__descriptor, 0);
    return call;
}

struct client_call *call_await(struct world *world, const char *worker, size_t shard,
                               struct mtask **known, size_t count, uint32_t wait_ms)
{
    struct client_call *call = call_new(world, API_AWAIT, 1);
    struct uuid *ids = arena_alloc(&call->arena, (count + 1) * sizeof *ids);
    Silo__V1__AwaitCancellationsRequest request = SILO__V1__AWAIT_CANCELLATIONS_REQUEST__INIT;
    request.shard = shard_text(call, shard);
    request.worker_id = text(call, worker);
    request.wait_ms = wait_ms;
    request.n_known_task_ids = count;
    request.known_task_ids = arena_alloc(&call->arena, (count + 1) * sizeof(char *));
    for (size_t i = 0; i < count; i++) {
        char id_text[UUID_TEXT_LEN + 1];
        ids[i] = known[i]->id;
        uuid_format(&ids[i], id_text);
        request.known_task_ids[i] = text(call, id_text);
    }
    call->items[0] =
        (struct item){.shard = shard, .wait_ms = wait_ms, .known = ids, .known_count = count};
    (void)snprintf(call->items[0].worker, sizeof call->items[0].worker, "%s", worker);
    call_send(call, "AwaitCancellations", &request.base,
              &silo__v1__await_cancellations_response__descriptor, 0);
    return call;
}

struct client_call *call_return(struct world *world, struct mtask *task, struct mrefresh *refresh,
                                const char *worker)
{
    struct client_call *call = call_new(world, API_RETURN, 1);
    call->many = true;
    const size_t shard = task != NULL ? task->job->shard : refresh->shard;
    call->items[0] = (struct item){
        .shard = shard, .task = task, .refresh = refresh, .job = task != NULL ? task->job : NULL};
    (void)snprintf(call->items[0].worker, sizeof call->items[0].worker, "%s", worker);
    char id_text[UUID_TEXT_LEN + 1];
    uuid_format(task != NULL ? &task->id : &refresh->id, id_text);
    Silo__V1__ReturnedTask returned = SILO__V1__RETURNED_TASK__INIT;
    Silo__V1__ReturnedTask *const list[] = {&returned};
    returned.task_id = text(call, id_text);
    SET_TENANT(call, &returned, RETURNED_TASK__TENANT_ID_OPT_TENANT_ID, tenant_id,
               task != NULL ? task->job->tenant : refresh->tenant);
    Silo__V1__ReturnTasksRequest request = SILO__V1__RETURN_TASKS_REQUEST__INIT;
    request.shard = shard_text(call, shard);
    request.worker_id = text(call, worker);
    request.n_tasks = 1;
    request.tasks = (Silo__V1__ReturnedTask **)list;
    call_send(call, "ReturnTasks", &request.base, &silo__v1__return_tasks_response__descriptor, 0);
    return call;
}

struct client_call *call_refreshed(struct world *world, struct mrefresh *refresh, bool success,
                                   uint32_t value)
{
    struct client_call *call = call_new(world, API_REFRESHED, 1);
    call->items[0] = (struct item){
        .shard = refresh->shard, .refresh = refresh, .success = success, .value = value};
    Silo__V1__ReportRefreshOutcomeRequest request = SILO__V1__REPORT_REFRESH_OUTCOME_REQUEST__INIT;
    Silo__V1__RefreshSuccess good = SILO__V1__REFRESH_SUCCESS__INIT;
    Silo__V1__RefreshFailure bad = SILO__V1__REFRESH_FAILURE__INIT;
    char id_text[UUID_TEXT_LEN + 1];
    uuid_format(&refresh->id, id_text);
    request.shard = shard_text(call, refresh->shard);
    request.task_id = text(call, id_text);
    SET_TENANT(call, &request, REPORT_REFRESH_OUTCOME_REQUEST__TENANT_ID_OPT_TENANT_ID, tenant_id,
               refresh->tenant);
    if (success) {
        good.new_max_concurrency = value;
        request.outcome_case = SILO__V1__REPORT_REFRESH_OUTCOME_REQUEST__OUTCOME_SUCCESS;
        request.success = &good;
    } else {
        bad.code = text(call, "BROKEN");
        request.outcome_case = SILO__V1__REPORT_REFRESH_OUTCOME_REQUEST__OUTCOME_FAILURE;
        request.failure = &bad;
    }
    call_send(call, "ReportRefreshOutcome", &request.base,
              &silo__v1__report_refresh_outcome_response__descriptor, 0);
    return call;
}

/* --- imports --- */

static Silo__V1__ImportAttempt *attempt_new(struct client_call *call)
{
    Silo__V1__ImportAttempt *attempt = arena_alloc(&call->arena, sizeof *attempt);
    silo__v1__import_attempt__init(attempt);
    return attempt;
}

/* An attempt as it is stored. */
static Silo__V1__ImportAttempt *attempt_again(struct client_call *call,
                                              const struct attempt *stored)
{
    Silo__V1__ImportAttempt *attempt = attempt_new(call);
    attempt->status = (Silo__V1__AttemptStatus)stored->outcome.status;
    attempt->started_at_ms = stored->started_ms;
    attempt->finished_at_ms = stored->outcome.finished_ms;
    const struct bytes data = stored->outcome.data.inline_bytes;
    if (stored->outcome.status == ATTEMPT_FAILED) {
        attempt->error_code_opt_case = SILO__V1__IMPORT_ATTEMPT__ERROR_CODE_OPT_ERROR_CODE;
        attempt->error_code = arena_str(&call->arena, stored->outcome.error_code);
        attempt->error_data_opt_case = SILO__V1__IMPORT_ATTEMPT__ERROR_DATA_OPT_ERROR_DATA;
        attempt->error_data = serialized(call, data.len);
        if (data.len != 0) {
            memcpy(attempt->error_data->msgpack.data, data.ptr, data.len);
        }
    }
    return attempt;
}

/* One more; all but the last of a job must have failed. */
static Silo__V1__ImportAttempt *attempt_made(struct client_call *call, bool last)
{
    struct sim_random *random = &call->world->random;
    Silo__V1__ImportAttempt *attempt = attempt_new(call);
    const uint32_t how = last ? random_below(random, 4) : 0;
    attempt->started_at_ms = call->world->wall_ms - 2000;
    attempt->finished_at_ms = call->world->wall_ms - 1000;
    if (how < 2) {
        attempt->status = SILO__V1__ATTEMPT_STATUS__ATTEMPT_STATUS_FAILED;
        attempt->error_code_opt_case = SILO__V1__IMPORT_ATTEMPT__ERROR_CODE_OPT_ERROR_CODE;
        attempt->error_code = text(call, "OLD");
        attempt->error_data_opt_case = SILO__V1__IMPORT_ATTEMPT__ERROR_DATA_OPT_ERROR_DATA;
        attempt->error_data = serialized(call, 3);
    } else if (how == 2) {
        attempt->status = SILO__V1__ATTEMPT_STATUS__ATTEMPT_STATUS_SUCCEEDED;
        attempt->result_opt_case = SILO__V1__IMPORT_ATTEMPT__RESULT_OPT_RESULT;
        attempt->result = serialized(call, 5);
    } else {
        attempt->status = SILO__V1__ATTEMPT_STATUS__ATTEMPT_STATUS_CANCELLED;
    }
    return attempt;
}

/* The job's own attempts as they are now, and some more. */
static void import_attempts(struct client_call *call, const struct mjob *job,
                            Silo__V1__ImportJobRequest *request)
{
    struct world *world = call->world;
    const struct audit *a = &world->model.audits[job->shard];
    const struct audit_job *stored = audit_find(a, job->ref);
    const uint32_t old = stored != NULL ? audit_attempts(stored) : 0;
    const uint32_t more = random_below(&world->random, 3) + (stored != NULL ? 1 : 0);
    request->attempts = arena_alloc(&call->arena, (old + more + 1) * sizeof(void *));
    for (uint32_t n = 1; n <= old && !random_one_in(&world->random, 12); n++) {
        struct attempt attempt;
        if (audit_attempt_number(a, stored, n, &attempt) && !attempt.outcome.data.is_blob) {
            request->attempts[request->n_attempts++] = attempt_again(call, &attempt);
        }
    }
    for (uint32_t n = 0; n < more; n++) {
        request->attempts[request->n_attempts++] = attempt_made(call, n + 1 == more);
    }
    call->items[0].attempts = (uint32_t)request->n_attempts;
}

struct client_call *call_import(struct world *world, struct mjob *job, uint32_t number)
{
    struct client_call *call = call_new(world, API_IMPORT, 1);
    call->many = true;
    call->items[0] = (struct item){.shard = job->shard, .job = job, .spec = number};
    const struct spec spec = spec_of(&world->specs, number);
    Silo__V1__ImportJobRequest one = SILO__V1__IMPORT_JOB_REQUEST__INIT;
    Silo__V1__ImportJobRequest *list[1] = {&one};
    Silo__V1__ImportJobsRequest request = SILO__V1__IMPORT_JOBS_REQUEST__INIT;
    request.n_jobs = 1;
    request.jobs = list;
    one.shard = shard_text(call, job->shard);
    one.id = text(call, job->id);
    one.priority = spec.priority;
    one.enqueue_time_ms = random_one_in(&world->random, 2) ? world->wall_ms - 5000 : 0;
    one.start_at_ms = random_one_in(&world->random, 3) ? world->wall_ms + 2000 : 0;
    one.task_group = text(call, spec.group);
    one.payload = spec_payload(&call->arena, &spec, number);
    one.limits = spec_limits(&call->arena, &spec, &one.n_limits);
    one.metadata = arena_alloc(&call->arena, (spec.pairs + 1) * sizeof(void *));
    one.n_metadata = spec.pairs;
    for (uint32_t i = 0; i < spec.pairs; i++) {
        one.metadata[i] = arena_alloc(&call->arena, sizeof **one.metadata);
        silo__v1__import_job_request__metadata_entry__init(one.metadata[i]);
        one.metadata[i]->key = arena_printf(&call->arena, "k%u", i);
        one.metadata[i]->value = text(call, SPEC_PAIR_VALUE);
    }
    if (spec.has_retry) {
        one.retry_policy_opt_case = SILO__V1__IMPORT_JOB_REQUEST__RETRY_POLICY_OPT_RETRY_POLICY;
        one.retry_policy = spec_retry(&call->arena, &spec);
    }
    SET_TENANT(call, &one, IMPORT_JOB_REQUEST__TENANT_OPT_TENANT, tenant, job->tenant);
    import_attempts(call, job, &one);
    call_send(call, "ImportJobs", &request.base, &silo__v1__import_jobs_response__descriptor, 0);
    return call;
}
