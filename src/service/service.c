/* service/service.c - the table of methods, and the service's own life. */
#include <stdio.h>

#include "base/assert.h"
#include "service/call_int.h"

/* Whose request is a list; `items_` is the number of its field. */
#define BULK(name_, request_, items_, run_, rank_)                                      \
    {                                                                                   \
        .name = (name_), .request = &silo__v1__##request_##__descriptor, .run = (run_), \
        .items = (items_), .rank = (rank_),                                             \
    }
#define METHOD(name_, request_, run_)                                                   \
    {                                                                                   \
        .name = (name_), .request = &silo__v1__##request_##__descriptor, .run = (run_), \
    }
#define HANDS_OUT(name_, request_, run_)                                                \
    {                                                                                   \
        .name = (name_), .request = &silo__v1__##request_##__descriptor, .run = (run_), \
        .hands_out = true,                                                              \
    }

/* Room for these is kept wherever they pass. */
#define URGENT(name_, request_, run_)                                                   \
    {                                                                                   \
        .name = (name_), .request = &silo__v1__##request_##__descriptor, .run = (run_), \
        .rank = RPC_RANK_URGENT                                                         \
    }

static const struct call_method methods[] = {
    METHOD("GetClusterInfo", get_cluster_info_request, on_cluster_info),
    METHOD("GetNodeInfo", get_node_info_request, on_node_info),
    METHOD("Enqueue", enqueue_request, on_enqueue),
    METHOD("GetJob", get_job_request, on_get_job),
    METHOD("GetJobResult", get_job_result_request, on_get_result),
    METHOD("DeleteJob", delete_job_request, on_delete_job),
    METHOD("CancelJob", cancel_job_request, on_cancel_job),
    METHOD("DropTenantHolders", drop_tenant_holders_request, on_drop_holders),
    METHOD("RestartJob", restart_job_request, on_restart_job),
    METHOD("ExpediteJob", expedite_job_request, on_expedite_job),
    HANDS_OUT("LeaseTask", lease_task_request, on_lease_task),
    HANDS_OUT("LeaseTasks", lease_tasks_request, on_lease_tasks),
    URGENT("ReportOutcome", report_outcome_request, on_report),
    URGENT("ReportRefreshOutcome", report_refresh_outcome_request, on_report_refresh),
    URGENT("Heartbeat", heartbeat_request, on_heartbeat),
    METHOD("Query", query_request, on_unimplemented),
    {
        .name = "QueryArrow",
        .request = &silo__v1__query_arrow_request__descriptor,
        .run = on_unimplemented,
        .server_streaming = true,
    },
    METHOD("CpuProfile", cpu_profile_request, on_unimplemented),
    METHOD("HeapProfile", heap_profile_request, on_unimplemented),
    METHOD("RequestSplit", request_split_request, on_unimplemented),
    METHOD("GetSplitStatus", get_split_status_request, on_unimplemented),
    METHOD("ConfigureShard", configure_shard_request, on_configure_shard),
    BULK("ImportJobs", import_jobs_request, 1, on_import_jobs, RPC_RANK_WORK),
    METHOD("ResetShards", reset_shards_request, on_reset_shards),
    METHOD("ForceReleaseShard", force_release_shard_request, on_force_release),
    METHOD("CompactShard", compact_shard_request, on_unimplemented),
    METHOD("FlushShard", flush_shard_request, on_unimplemented),
    METHOD("GetShardStorageInfo", get_shard_storage_info_request, on_unimplemented),
    METHOD("DumpTasks", dump_tasks_request, on_unimplemented),
    BULK("EnqueueMany", enqueue_many_request, 2, on_enqueue_many, RPC_RANK_WORK),
    BULK("ReportOutcomes", report_outcomes_request, 2, on_report_many, RPC_RANK_URGENT),
    BULK("ReturnTasks", return_tasks_request, 3, on_return_tasks, RPC_RANK_URGENT),
    /*
     * Waits for a minute with up to 10,000 ids, and heartbeats tell the same: work goes before it.
     */
    {
        .name = "AwaitCancellations",
        .request = &silo__v1__await_cancellations_request__descriptor,
        .run = on_await_cancellations,
        .rank = RPC_RANK_SIDE,
    },
    {
        .name = "WatchTopology",
        .request = &silo__v1__watch_topology_request__descriptor,
        .run = on_watch_topology,
        .server_streaming = true,
        .calls_per_conn_max = TOPOLOGY_STREAMS_PER_CONN_MAX,
        .rank = RPC_RANK_SIDE,
    },
    METHOD("GetCounters", get_counters_request, on_get_counters),
    METHOD("ListTenants", list_tenants_request, on_list_tenants),
    {
        .name = "ReadRows",
        .request = &silo__v1__read_rows_request__descriptor,
        .run = on_read_rows,
        .server_streaming = true,
        .calls_per_conn_max = READS_PER_CONN_MAX,
        .rank = RPC_RANK_SIDE,
    },
};
#define METHODS_COUNT (sizeof methods / sizeof methods[0])
_Static_assert(METHODS_COUNT == 37, "29 methods of the contract and eight of ours");

static char *text_new(const char *text)
{
    return xstrdup(text != NULL ? text : "");
}

static char *path_new(const char *method)
{
    const size_t size = sizeof "/silo.v1.Silo/" + strlen(method);
    char *path = xmalloc(size);
    (void)snprintf(path, size, "/silo.v1.Silo/%s", method);
    return path;
}

struct service *service_new(const struct service_options *options)
{
    struct service *service = xcalloc(1, sizeof *service);
    service->shards = options->shards;
    service->directory = options->directory;
    service->loop_count = options->loops;
    service->loops = xcalloc(options->loops, sizeof *service->loops);
    service->env = options->env != NULL ? options->env : &env_system;
    service->tenancy = options->tenancy;
    service->dev_mode = options->dev_mode;
    service->statements = options->statements;
    service->ask = options->ask;
    service->ask_context = options->ask_context;
    service->forward = options->forward;
    service->forward_context = options->forward_context;
    service->ask_node = options->ask_node;
    service->ask_node_stop = options->ask_node_stop;
    ASSERT(options->counters_count <= SERVICE_COUNTERS_MAX);
    service->counters_count = options->counters_count;
    for (size_t i = 0; i < options->counters_count; i++) {
        service->counters[i] = options->counters[i];
    }
    service->node_id = text_new(options->node.id);
    service->grpc_addr = text_new(options->node.grpc_addr);
    service->as_dialled = options->node.as_dialled;
    service->life = options->node.life;
    service->ring_count = options->node.ring_count;
    service->rings = xcalloc(service->ring_count + 1, sizeof *service->rings);
    for (size_t i = 0; i < service->ring_count; i++) {
        service->rings[i] = text_new(options->node.rings[i]);
    }

    hold_book_init(&service->held);
    service->methods = xcalloc(METHODS_COUNT, sizeof *service->methods);
    service->method_count = METHODS_COUNT;
    for (size_t i = 0; i < METHODS_COUNT; i++) {
        struct service_method *slot = &service->methods[i];
        slot->service = service;
        slot->method = &methods[i];
        slot->path = path_new(methods[i].name);
        slot->rpc = (struct rpc_method){
            .path = slot->path,
            .rank = methods[i].rank,
            .calls_per_conn_max = methods[i].calls_per_conn_max,
            .server_streaming = methods[i].server_streaming,
            .needs_auth = true,
            .on_call = svc_begin,
            .context = slot,
        };
    }
    return service;
}

struct service *service_free(struct service *service)
{
    if (service == NULL) {
        return NULL;
    }
    service_detach(service);
    for (size_t i = 0; i < service->method_count; i++) {
        free(service->methods[i].path);
    }
    for (size_t i = 0; i < service->ring_count; i++) {
        free(service->rings[i]);
    }
    hold_book_deinit(&service->held);
    free(service->loops);
    free(service->methods);
    free(service->rings);
    free(service->node_id);
    free(service->grpc_addr);
    free(service);
    return NULL;
}

const struct rpc_method *service_rpc_method(const struct service *service, size_t number)
{
    return number < service->method_count ? &service->methods[number].rpc : NULL;
}
