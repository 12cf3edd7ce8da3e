/*
 * sim/calls.h - calls as clients make them: one message of silo.v1, what it is about, and who waits
 * for its answer.
 *
 * Ownership  a call is the net's from call_send until its `heard`; it is freed after that.
 * Threads    one.
 */
#ifndef SILO_SIM_CALLS_H
#define SILO_SIM_CALLS_H

#include "sim/model.h"

struct world;
struct client_call;

/* One thing a call asks for; bulk calls have several. */
struct item {
    size_t shard;
    struct mjob *job;   /* NULL: polls, tenants, jobs without an id */
    struct mtask *task; /* reports and heartbeats */
    struct mrefresh *refresh;
    uint32_t spec;
    bool return_existing, anonymous, include_attempts;
    enum attempt_status status; /* reports */
    bool no_retry;
    size_t data_len;
    bool success; /* of a refresh */
    uint32_t value;
    char worker[16], tenant[16];
    uint32_t attempts; /* an import brings so many */
    bool history_fits; /* they were the job's own and more when the call was made */
    enum job_status import_status;
    uint32_t tasks_max;
    uint32_t wait_ms; /* polls, and calls that wait for cancellations: they may be parked so long */
    const struct uuid *known; /* the latter: what they have heard; in the call's arena */
    size_t known_count;
    char group[8];
    /* The model's, from when the server has it. */
    size_t version;
    uint32_t crossed, ends, revivals;
    uint64_t troubles;
    bool clear;    /* nothing else about the job was under way */
    bool was_live; /* the lease it is about was in the rows */
    int64_t begun_us;
    uint64_t batches; /* that were written by then */
    bool quiet;       /* and nothing was on its way but this call */
    uint32_t awaits;  /* calls that wait for cancellations there, with this one */
    bool astray;      /* the process that answered does not serve the shard */
    bool outdated;    /* it does as far as it can know, but another has opened it just now */
    /* The answer. there: somebody heard it. */
    bool there;
    uint32_t code;
    char text[160];
    const void *reply; /* decoded message of a single call that went well */
};

struct client_call {
    struct world *world;
    struct rpc_call *rpc;
    enum api api;
    bool many; /* EnqueueMany, ReportOutcomes, ReturnTasks, ImportJobs: results by item */
    struct item *items;
    size_t count;
    const ProtobufCMessageDescriptor *reply_type;
    ProtobufCMessage *reply;
    void (*heard)(struct client_call *call); /* may be NULL; rpc->status says how it went */
    void *agent;
    struct list_node node; /* in world.held_polls or .held_awaits, while the server has it */
    struct arena arena;    /* of the message */
};

/* Makes a call with `count` items; fill them, then call_send. */
struct client_call *call_new(struct world *world, enum api api, size_t count);
/* The message may lie in the call's arena. `name` is the method. timeout_us 0: none. */
void call_send(struct client_call *call, const char *name, const ProtobufCMessage *message,
               const ProtobufCMessageDescriptor *reply_type, int64_t timeout_us);

/* The caller gives up after so long, if there is no answer by then. */
void call_leave_later(struct client_call *call, int64_t after_us);

/* --- the calls, each as one function --- */

struct client_call *call_enqueue(struct world *world, size_t shard, struct mjob *job,
                                 uint32_t number, int64_t start_ms, bool return_existing);
struct client_call *call_enqueue_many(struct world *world, size_t shard, struct mjob **jobs,
                                      size_t count, uint32_t first);
struct client_call *call_about(struct world *world, enum api api, struct mjob *job,
                               uint32_t wait_ms);
struct client_call *call_lease(struct world *world, struct mjob *job, const char *worker);
struct client_call *call_import(struct world *world, struct mjob *job, uint32_t number);
struct client_call *call_drop(struct world *world, size_t shard, const char *tenant);
struct client_call *call_poll(struct world *world, const char *worker, const char *group, int shard,
                              uint32_t tasks_max, uint32_t wait_ms);
struct client_call *call_heartbeat(struct world *world, struct mtask *task,
                                   struct mrefresh *refresh, const char *worker);
struct client_call *call_report(struct world *world, struct mtask **tasks, size_t count,
                                enum attempt_status status, bool no_retry, size_t data_len);
/* AwaitCancellations of a worker that knows of some. */
struct client_call *call_await(struct world *world, const char *worker, size_t shard,
                               struct mtask **known, size_t count, uint32_t wait_ms);
struct client_call *call_return(struct world *world, struct mtask *task, struct mrefresh *refresh,
                                const char *worker);
struct client_call *call_refreshed(struct world *world, struct mrefresh *refresh, bool success,
                                   uint32_t value);

#endif
