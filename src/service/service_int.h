/*
 * service/service_int.h - what the files of the service share: a call on its way, the pipeline
 * every call takes, and the checks of its fields.
 *
 * Pipeline, in this order, so that of several faults the first is told: auth (rpc layer), decode,
 * shard, tenant, range, fields, the shard's command, answer.
 *
 * Ownership  a call lives in its arena, from on_call until it is answered. Whoever answers may not
 *            touch it afterwards. While a command that uses the call's arena is at a shard, the
 *            loop leaves the arena alone.
 * Threads    all functions here: the call's loop. Only the `done` callbacks run on executor
 *            threads; all they do is post the call back.
 */
#ifndef SILO_SERVICE_INT_H
#define SILO_SERVICE_INT_H

#include <stdatomic.h>

#include "base/burst.h"
#include "base/limits.h"
#include "service/hold.h"
#include "service/service.h"
#include "silo.pb-c.h"

/* What a request is unpacked into counts once it is larger than the request by so much. */
#define CALL_GROWTH_MIN (16u << 10)
/* A longer status text is cut: thrice as much, percent-encoded, still is a small header. */
#define CALL_ERROR_BYTES_MAX 1024u
/* Fields of one request or item: each costs some 100 bytes decoded, whatever it says. */
#define MESSAGE_FIELDS_MAX (1u << 16)
#define BULK_ITEMS_MAX 10000u      /* items of one bulk call */
#define BULK_FIELDS_MAX (1u << 18) /* fields of all its items */
/* All strings of a request together: each byte is looked at before it is unpacked. */
#define REQUEST_TEXT_BYTES_MAX (32u << 20)
#define REQUEST_DEPTH_MAX 8u  /* nesting of the messages we know */
#define GROUP_BYTES_MAX 4096u /* of a poll: enqueue admits 64 characters, keys bear this much */
#define LIMIT_NAME_BYTES_MAX 4096u /* limit keys and limiter names stand in keys */
/* Room that a job's message needs beside its payload in any reply. */
#define JOB_OVERHEAD_BYTES (64u << 10)
#define MANY_WAVE_MAX 2048u  /* items of a bulk call that are at the shard at one time */
#define REPLY_ITEM_BYTES 16u /* tag and length of one item of a reply */
#define STRAY_TRIES_MAX 3u   /* a request that was sent away is sent again so often without news */

#define TOPOLOGY_STREAMS_MAX 4096u         /* of WatchTopology, of one server ... */
#define TOPOLOGY_STREAMS_PER_CONN_MAX 16u  /* ... and of one connection */
#define TOPOLOGY_SPACING_US (100 * 1000LL) /* between two messages of a stream, at least ... */
#define TOPOLOGY_BYTES_PER_US 16u          /* ... so that all of a server send no more than that */

#define READS_MAX 16u /* ReadRows of one server at a time, but for pages of one ... */
/* ... and with those of one connection: another node asks for the pages of all its reads on one. */
#define READS_PER_CONN_MAX 128u
#define READS_PAGE_BYTES_MAX (1u << 20)   /* of rows in one message, and the row that passes it */
#define READS_PATIENCE_US (5000 * 1000LL) /* a shard that brings nothing for so long is given up */
#define READS_PAGE_MS_MAX 10000           /* of one page */

/* The tenant that stands for "none" while tenancy is off. */
#define TENANT_NONE BYTES_LIT("-")

/* The newest message of WatchTopology that was made on a loop, for callers of that address. */
struct topology_message {
    struct arena arena;
    uint64_t version; /* 0: none */
    struct bytes address, packed;
};

/* What one loop of the server has of its own. Zeros: no call came there yet. */
struct service_loop {
    struct rpc_loop *rpc;
    struct directory_reader reader;
    struct rpc_mail newer;  /* says that there is a newer directory */
    atomic_bool newer_sent; /* it is on its way: set by whoever publishes, cleared by the loop */
    struct list watches;    /* struct svc_watch.node */
    atomic_bool met;        /* a call came there: set by the loop, read by service_release */
    struct rpc_mail release;
    struct list streams; /* of WatchTopology: struct topology_stream.node */
    struct list reads;   /* ReadRows: struct rows_read.node */
    struct topology_message message;
    /* Sends the same word when shards open or fail. */
    struct shards_listener listener;
    struct list held[HOLD_RANKS], looking[HOLD_RANKS]; /* struct hold.node */
    struct rpc_mail look;                              /* goes on looking at them */
    bool look_sent;
};

/* Something on a loop that wants to know of each newer directory. */
struct svc_watch {
    struct list_node node;
    void (*newer)(struct svc_watch *watch);
};

struct service {
    struct shards *shards;
    struct directory_home *directory;
    struct service_loop *loops;
    uint32_t loop_count;
    const struct env *env;
    bool tenancy;
    bool dev_mode;
    char *node_id, *grpc_addr;
    uint64_t life;
    bool as_dialled;
    char **rings;
    size_t ring_count;
    void (*ask)(void *ask_context, struct cluster_question *question);
    void *ask_context;
    bool (*forward)(void *forward_context, struct rpc_call *call, const struct service_hop *hop);
    void *forward_context;
    void *(*ask_node)(void *forward_context, const struct service_question *question);
    void (*ask_node_stop)(void *asked);
    struct service_method *methods; /* as registered */
    size_t method_count;
    struct statements *statements;
    struct hold_book held;
    struct counter_source counters[SERVICE_COUNTERS_MAX];
    size_t counters_count;
    atomic_uint streams;                          /* of WatchTopology, on all loops */
    atomic_uint reads;                            /* ReadRows, on all loops */
    atomic_bool releasing;                        /* set once, by service_release */
    struct burst refresh_lines, unreadable_lines; /* of the log */
};

struct call;
struct call_holds;
struct route;
struct stray;

/* One method: how its request is decoded and who handles it. */
struct call_method {
    const char *name;
    const ProtobufCMessageDescriptor *request;
    void (*run)(struct call *call);
    uint32_t items; /* bulk calls: number of the request's repeated field; 0: none */
    bool server_streaming;
    bool hands_out; /* tasks: what it answers must reach the worker, so it is never forwarded */
    uint32_t calls_per_conn_max; /* 0: as many as there are */
    enum rpc_rank rank;
};

struct call {
    struct service *service;
    const struct call_method *method;
    const char *path;
    struct rpc_call *rpc;
    struct arena *arena;
    size_t request_len;        /* bytes */
    const void *message;       /* the decoded request */
    const char *const *faults; /* bulk calls: what is wrong with each item, NULL where nothing is */
    /* A copy from svc_route, of a shard of this process: so nothing in it is the directory's. */
    struct directory_shard shard;
    struct bytes tenant; /* from svc_tenant */
    struct shard_request request;
    struct rpc_mail mail;
    struct stray *stray;      /* of the request, when it met no shard */
    const struct route *told; /* goes with an error; NULL: when to ask again, if its code passes */
    bool ends_itself;         /* svc_on_cancel: what of it waits is ended by the handler */
    struct call_holds *holds; /* NULL: nothing of it has waited for a shard */
    int64_t held_since_us, held_until_us; /* the call itself; 0: it was never held */
    void (*answer)(struct call *call);
    void *state; /* the handler's */
};

/* --- call.c: the pipeline --- */

/* What rpc calls for each of our methods. */
void svc_begin(struct rpc_call *rpc, struct bytes request, void *context);

/* End the call. */
void svc_fail(struct call *call, enum silo_code code, const char *text);
void svc_fail_err(struct call *call, const struct silo_err *err);
void svc_fail_command(struct call *call, const struct command *cmd);
void svc_reply(struct call *call, const ProtobufCMessage *reply);
/* Answer of calls that change something and have nothing to say: empty, or the command's error. */
void svc_answer_empty(struct call *call);

/* If the call fails, its caller is told whom to ask and when, too. */
void svc_tell(struct call *call, const struct route *route);
/*
 * forward.c. Whether the call has gone on to the node that has the shard: then it is not ours any
 * more. Nothing of it may have been done here.
 */
bool svc_forward(struct call *call, const struct uuid *shard, const struct route *route);
/* False: the call was answered with the error, or has gone on to another node. */
bool svc_route(struct call *call, const char *shard);
bool svc_tenant(struct call *call, bool present, const char *tenant);
bool svc_worker_tenant(struct call *call, bool present, const char *tenant);
/* A job id of a request about an existing job; makes cmd.job_ref. */
bool svc_job(struct call *call, const char *id);
/*
 * Whether the connection takes a large reply now; else the call has been refused. Asked before
 * anything is leased or read that would be dropped.
 */
bool svc_has_room(struct call *call);

/* As rpc_call_on_cancel: on_cancel ends all that waits, be it in a shard or held. */
void svc_on_cancel(struct call *call,
                   void (*on_cancel)(struct rpc_call *rpc, enum rpc_cancel reason, void *context),
                   void *context);

/* Sends call->request.cmd (kind and arguments set); answer runs on the loop when it is back. */
void svc_send(struct call *call, enum command_kind kind, void (*answer)(struct call *call));
/* min(ms, the call's deadline - 100 ms), never negative. */
uint32_t svc_patience_ms(const struct call *call, uint32_t ms);
/* The same of a wait in a shard, 60 s at most; less by the time that the call was held. */
uint32_t svc_wait_ms(const struct call *call, uint32_t wait_ms);

/*
 * Text of a command's or an error's answer: never NULL, cut to CALL_ERROR_BYTES_MAX between
 * characters.
 */
struct bytes svc_error_text(const char *text, enum silo_code code);

/* --- reply.c --- */

/*
 * The pieces of a message of `size` packed bytes, at most RPC_PIECES_MAX; returns how many. Large
 * fields are lent: what the message points to must live until the reply was sent. The rest lies in
 * the arena.
 */
size_t svc_pieces(struct arena *arena, const ProtobufCMessage *reply, size_t size,
                  struct rpc_piece *pieces);

/* --- loops.c --- */

/* The call's. */
struct service_loop *svc_loop(const struct call *call);
/* Loop. The newest directory, lent until this is called again: for one event of the loop. */
const struct directory *svc_directory(const struct call *call);
/*
 * Loop. newer runs for each newer directory, and when shards opened or failed, until svc_unwatch;
 * no-op for one that is not there.
 */
void svc_watch(const struct call *call, struct svc_watch *watch,
               void (*newer)(struct svc_watch *watch));
void svc_unwatch(struct svc_watch *watch);

/* --- stray.c --- */

/*
 * Loop. The request, sent at that time, came back with SILO_ROUTED_WRONG: it is sent to where the
 * shard is now, perhaps later, and `shard` says where; or it ends with an error. In the end `mail`
 * comes once more. *stray is kept with the request, NULL at first.
 */
void svc_again(struct call *call, struct shard_request *request, struct rpc_mail *mail,
               struct directory_shard *shard, int64_t sent_us, struct stray **stray);
/* Loop. Ends the waiting of such a request, which then comes back; false: it does not wait. */
bool svc_again_stop(struct stray *stray);

/* --- route.c: shard and tenant, without a call --- */

#define ROUTE_NOT_READY_TEXT "shard not ready: acquisition in progress"
#define ROUTE_RETRY_MOVE_MS 100      /* a move takes less than a second */
#define ROUTE_RETRY_TAKEOVER_MS 500  /* until another node has a dead one's shards: some seconds */
#define ROUTE_RETRY_FAILED_MS 1000   /* what is away or full now, and gets over it by itself */
#define ROUTE_RETRY_STRANDED_MS 5000 /* until somebody has done something about it */
#define ROUTE_RETRY_TEXT_MAX 16
#define ROUTE_TRAILERS_MAX 3

enum route_verdict {
    ROUTE_RUN,      /* the shard is open here */
    ROUTE_HOLD,     /* it comes or goes: a newer directory will tell */
    ROUTE_REDIRECT, /* another node has it: owner */
    ROUTE_REFUSE,   /* and nothing that is waited for changes that soon */
};

struct route {
    enum route_verdict verdict;
    const char *owner_id;      /* who has it, or will; NULL: not known */
    const char *owner_address; /* as clients dial it; NULL: not known, or it is away */
    uint32_t retry_ms;         /* when it is worth asking again; 0: not by itself */
    struct silo_err err;       /* not for RUN. HOLD: what is told to who cannot be held */
};

/* *ret_shard is NULL for an id that no shard has; route_judge says what is wrong with it. */
SILO_RC route_name(const struct directory *directory, struct bytes text,
                   const struct directory_shard **ret_shard, struct silo_err *err);
/*
 * What becomes of a call for that shard (NULL: there is none). The owner is lent from the
 * directory.
 */
void route_judge(const struct service *service, const struct directory *directory,
                 const struct directory_shard *shard, struct route *ret_route);
/*
 * As of a shard on its way, whatever the directory says: for one where a request was sent away, or
 * that another node says is here.
 */
void route_not_ready(struct route *route);
/* How many trailers tell whom to ask and when; `retry` is the memory of one of them. */
size_t route_trailers(const struct route *route, char retry[ROUTE_RETRY_TEXT_MAX],
                      struct rpc_header ret_trailers[ROUTE_TRAILERS_MAX]);
/* The text with whom to ask in it, for answers that have no trailers. */
const char *route_text(struct arena *arena, const struct route *route);
/* shard NULL: its range is not known and not checked. */
SILO_RC route_client_tenant(const struct service *service, const struct directory_shard *shard,
                            struct bytes tenant, struct bytes *ret_tenant, struct silo_err *err);
SILO_RC route_worker_tenant(const struct service *service, const struct directory_shard *shard,
                            struct bytes tenant, struct silo_err *err);
/* Whether the shard is one of this process, and open. */
bool route_is_open(const struct service *service, const struct directory_shard *shard);
/* Copies of the shards of this process that are open now; *ret_count of them, in the arena. */
struct directory_shard *route_open(const struct service *service, const struct directory *directory,
                                   struct arena *arena, size_t *ret_count);
/* Other processes have every shard, so nothing will come here any more. */
bool route_left_out(const struct service *service, const struct directory *directory);

/* --- message.c: bytes to messages --- */

/* Decodes into the arena. INTERNAL for what is no such message, INVALID for what we do not take. */
SILO_RC message_decode(struct arena *arena, const ProtobufCMessageDescriptor *type,
                       struct bytes wire, const ProtobufCMessage **ret_message,
                       struct silo_err *err);
/*
 * The same for a request of many items. A bad item does not fail the others: its message is empty,
 * and *ret_faults, which has an entry for each item, says what is wrong with it. INVALID for too
 * many of them.
 */
SILO_RC message_decode_bulk(struct arena *arena, const ProtobufCMessageDescriptor *type,
                            uint32_t items_field, struct bytes wire,
                            const ProtobufCMessage **ret_message, const char *const **ret_faults,
                            struct silo_err *err);
/* Only the check. */
SILO_RC message_check(const ProtobufCMessageDescriptor *type, struct bytes wire,
                      struct silo_err *err);

/*
 * Takes the next field from a message's bytes: its number and, of one that has a length, its body,
 * else none. False for bytes that are no message.
 */
bool message_next(struct bytes *wire, uint32_t *ret_number, struct bytes *ret_body);

/* --- validate.c: the fields of a new job --- */

/*
 * Checks a job, field by field as validate.c lists them, and fills what the shard wants of it.
 * job_ref and the id are not part of it; the arena holds what was encoded, the rest is lent from
 * the message.
 */
SILO_RC validate_job(struct arena *arena, const Silo__V1__EnqueueRequest *request,
                     struct enqueue_args *ret_args, struct silo_err *err);
/* Likewise a job with its history: id, task_group, priority, metadata, attempts, then the rest. */
SILO_RC validate_import(struct arena *arena, const Silo__V1__ImportJobRequest *request,
                        struct import_args *ret_args, struct silo_err *err);
struct bytes serialized_bytes(const Silo__V1__SerializedBytes *value);
/* tenant and id as a job reference in the arena; the id has at most JOB_ID_BYTES_MAX bytes. */
struct bytes job_ref_make(struct arena *arena, struct bytes tenant, struct bytes id);

/* A pair of a map on its way to where it is stored. */
struct label {
    const char *name, *value;
    size_t place; /* in the message */
};
/* Sorts them by name and drops those that a later one of the name overrides: how many are left. */
size_t labels_sort(struct label *labels, size_t count);
/* As pairs in the arena, read with pair_next. */
struct bytes labels_pairs(struct arena *arena, const struct label *labels, size_t count);

/* --- limit.c: limits to plain structs, and back --- */

/*
 * Checks a job's limits and brings them to the forms the shard wants: plain in the arena, lending
 * from the messages, and stored (limit_count and limits of `info`). Those with no member are
 * dropped.
 */
SILO_RC limits_take(struct arena *arena, Silo__V1__Limit *const *limits, size_t count,
                    struct info *info, const struct limit_rec **ret_recs, struct silo_err *err);
/* Stored limits as messages, *ret_count of them; NULL when they are malformed. */
Silo__V1__Limit **limits_show(struct arena *arena, const struct info *info, size_t *ret_count);

/* --- encode.c: jobs to messages --- */

char *encode_text(struct arena *arena, struct bytes text);
char *encode_uuid(struct arena *arena, const struct uuid *uuid);
/* Stored pairs as map entries of the given type; NULL when they are malformed. */
void *encode_map(struct arena *arena, struct bytes pairs, uint32_t count,
                 const ProtobufCMessageDescriptor *type);
/* Why it does not run. */
Silo__V1__JobPending *encode_pending(struct arena *arena, const struct job_pending *pending,
                                     const struct info *info);
/* encode_job, encode_task, encode_refresh: NULL when stored limits or metadata are malformed. */
Silo__V1__GetJobResponse *encode_job(struct arena *arena, const char *id,
                                     const struct job_view *view, const struct get_args *args);
Silo__V1__GetJobResultResponse *encode_result(struct arena *arena, const char *id,
                                              const struct job_view *view);
Silo__V1__Task *encode_task(struct arena *arena, const char *shard_id,
                            const struct leased_task *leased);
Silo__V1__RefreshFloatingLimitTask *encode_refresh(struct arena *arena, const char *shard_id,
                                                   const char *group,
                                                   const struct refresh_task *refresh);

/* --- handlers --- */

void on_enqueue(struct call *call);
void on_get_job(struct call *call);
void on_get_result(struct call *call);
void on_cancel_job(struct call *call);
void on_delete_job(struct call *call);
void on_restart_job(struct call *call);
void on_expedite_job(struct call *call);
void on_drop_holders(struct call *call);
void on_import_jobs(struct call *call);
void on_lease_task(struct call *call);
void on_lease_tasks(struct call *call);
void on_heartbeat(struct call *call);
void on_report(struct call *call);
void on_report_refresh(struct call *call);
void on_enqueue_many(struct call *call);
void on_report_many(struct call *call);
void on_return_tasks(struct call *call);
void on_await_cancellations(struct call *call);
void on_cluster_info(struct call *call);
void on_node_info(struct call *call);
void on_watch_topology(struct call *call);
void on_configure_shard(struct call *call);
void on_force_release(struct call *call);
void on_reset_shards(struct call *call);
void on_get_counters(struct call *call);
void on_list_tenants(struct call *call);
void on_read_rows(struct call *call);
void on_unimplemented(struct call *call);

/* Loop. The server stops: all streams of WatchTopology there end. */
void topology_streams_end(struct service_loop *loop);
/* The same of reads of many shards. */
void rows_reads_end(struct service_loop *loop);

/* Of ReportOutcome, shared with the bulk form: INVALID when the outcome is missing. */
SILO_RC report_args_fill(const Silo__V1__ReportOutcomeRequest *request,
                         struct report_args *ret_args, struct silo_err *err);
/* Of Enqueue, shared likewise: checks, makes the id when none came and the job reference. */
SILO_RC enqueue_args_fill(const struct service *service, struct arena *arena, struct bytes tenant,
                          const Silo__V1__EnqueueRequest *request, struct command *ret_cmd,
                          char **ret_id, struct silo_err *err);

#endif
