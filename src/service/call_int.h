/*
 * service/call_int.h - what the pipeline offers to handlers with many commands, and the texts they
 * share.
 *
 * A fan sends one command per part and is finished when all sent ones are back. A part's command
 * uses the part's own arena unless the sender set another: parts run on different executors at the
 * same time.
 *
 * Ownership  fan and parts lie in the call's arena; fan_deinit frees the parts' arenas and comes
 *            before the answer that ends the call. An answer that lends from a part's arena takes
 *            that away first.
 * Threads    the call's loop.
 */
#ifndef SILO_SERVICE_CALL_INT_H
#define SILO_SERVICE_CALL_INT_H

#include "service/service_int.h"

#define ERROR_MAILBOX_FULL "the shard has too many requests waiting; try again"
#define ERROR_REPLY_TOO_LARGE                                                                   \
    "the reply is too large: more than 128 MiB; omit_payload and omit_results of GetJob leave " \
    "out what is large"
#define ERROR_SHARD_ID "invalid shard ID: not a UUID"
#define ERROR_ID_TOO_LONG "id too long: at most 4096 bytes"
#define ERROR_WORKER_TOO_LONG "worker_id too long: at most 4096 bytes"

struct service_method {
    struct service *service;
    const struct call_method *method;
    char *path; /* lives as long as the service */
    struct rpc_method rpc;
};

struct fan;

struct fan_part {
    struct shard_request request;
    struct rpc_mail mail;
    struct arena arena;
    struct fan *fan;
    struct directory_shard *shard;
    struct stray *stray; /* of the request, when it met no shard */
    size_t index;
    int64_t sent_us;
    bool skips; /* the sender's: a shard that is not open here is not waited for, ... */
    bool gone;  /* ... and this is one: OK, with an empty result */
    bool back;
    bool stopped; /* by fan_stop */
};

struct fan {
    struct call *call;
    struct fan_part *parts;
    size_t count;                                              /* parts */
    size_t open;                                               /* sent and not back */
    void (*part_back)(struct fan *fan, struct fan_part *part); /* may be NULL */
    void (*finished)(struct fan *fan);
};

struct fan *fan_new(struct call *call, size_t count, void (*finished)(struct fan *fan));
void fan_deinit(struct fan *fan);
/*
 * Kind and arguments of the part's command are set. It always comes back, later: never within this
 * call. The shard is lent until then, and moves with it when it is sent again. A shard that comes
 * or goes is waited for.
 */
void fan_send(struct fan_part *part, struct directory_shard *shard);
/*
 * Ends the wait of a part that was sent; `stop` is a part not sent yet. Nothing when it is back
 * already. Loop's thread.
 */
void fan_stop(struct fan_part *stop, struct fan_part *waiting);
/* For a fan of two whose part 0 waits: when the caller leaves, part 1 ends the wait. */
void fan_stop_on_cancel(struct fan *fan);

#endif
