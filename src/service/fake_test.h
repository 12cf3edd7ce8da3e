/*
 * service/fake_test.h - shards and an rpc layer that do nothing by themselves, so that a test plays
 * both sides of a call: it begins calls, looks at the commands that arrive, answers them, and reads
 * what the client would get.
 *
 * Threads    one. A test process has one fake at a time.
 */
#ifndef SILO_SERVICE_FAKE_TEST_H
#define SILO_SERVICE_FAKE_TEST_H

#include "service/service.h"
#include "silo.pb-c.h"

#define FAKE_SHARDS_MAX 4
#define FAKE_REQUESTS_MAX 4096

#define FAKE_MAP 12u  /* number of the map */
#define FAKE_LIFE 77u /* of the node */
#define FAKE_BOUND "4000000000000000"

struct fake_shard {
    struct uuid id;
    char id_text[UUID_TEXT_LEN + 1];
    struct shard_ref ref;
    enum directory_place place;
    enum shard_status status;
    const char *ring;
    bool comes; /* MOVING: to this node, not to the other one */
    bool full;  /* its mailbox */
};

struct rpc_call {
    struct rpc_call_base base; /* first */
    bool done, gone;
    uint32_t status;
    char *text;
    struct bytes reply; /* malloced copy; of a stream the newest message */
    size_t sent;        /* messages of a stream */
    bool stuffed;       /* the caller does not read */
    void (*on_writable)(struct rpc_call *call, void *context);
    void *writable_context;
    /* Of the shard, as the trailers have it, and when to ask again; "" = not told. */
    char owner[64], owner_node[64], retry_ms[16];
    uint64_t counted; /* as bytes of its request, beyond those */
    void (*on_cancel)(struct rpc_call *call, enum rpc_cancel reason, void *context);
    void *cancel_context;
    void (*release)(void *context, bool sent); /* of the reply's piece, until fake_sent */
    void *release_context;
};

struct fake {
    struct fake_shard shards[FAKE_SHARDS_MAX];
    size_t shard_count;
    struct shard_request *requests[FAKE_REQUESTS_MAX]; /* sent and not answered, oldest first */
    size_t request_count;
    struct shard_control *controls[FAKE_SHARDS_MAX];
    size_t control_count;
    struct cluster_question *question; /* asked last */
    bool forwards;                     /* calls to other nodes */
    struct rpc_call *forwarded;        /* the newest such, and where it goes */
    char forward_to[128];
    struct service_hop hop;
    int64_t now_us;
    struct bytes authority; /* of calls that begin */
    bool no_room;           /* connections take no large reply */
    bool out;               /* the storage is away */
    int64_t deadline_us;    /* of calls that begin; 0: none */
    struct directory_home directory;
    struct service *service;
};

extern struct fake fake;

/* shard i has the id 0000000i-0000-4000-8000-000000000000 */
void fake_start(size_t shard_count, bool tenancy, bool dev_mode);
void fake_stop(void);
/* A newer directory, of the places and refs that fake.shards have now; the loop hears of it. */
void fake_publish(void);
/* The shard's status is this now; the loop hears of it as shards_listen has it. */
void fake_status(size_t shard, enum shard_status status);
/* The loop has not come to hear of it when this returns: fake_run. */
void fake_publish_unheard(void);
const char *fake_shard_id(size_t index);
/* Begins a call of the named method. The call ends with fake_free. */
struct rpc_call *fake_call(const char *method, const ProtobufCMessage *request);
/* Begins to enqueue a job on that shard. */
struct rpc_call *fake_enqueue(size_t shard);
struct rpc_call *fake_call_bytes(const char *method, struct bytes request);
/*
 * Takes the oldest command that was sent; fails the test when there is none or it is of another
 * kind.
 */
struct shard_request *fake_take(enum command_kind kind);
/* The shard is done with it; what the loop does then is run. */
void fake_answer(struct shard_request *request, enum silo_code code, const char *error);
void fake_run(void);
/* The cluster answers the question; text and previous_ring are set. */
void fake_decide(enum silo_code code);
/* The other node has answered the call that was forwarded. */
void fake_came_back(void);
/* It says that this node has the shard. */
void fake_sent_back(void);
/* The client leaves. */
void fake_cancel(struct rpc_call *call);
/* The client of a stuffed stream reads again. */
void fake_read(struct rpc_call *call);
/* Time passes; timers fire. */
void fake_pass(int64_t us);
/* The reply's bytes left, or did not. */
void fake_sent(struct rpc_call *call, bool sent);
/*
 * Decoded reply of a call that ended well, or the newest message of a stream; free with
 * protobuf_c_message_free_unpacked.
 */
void *fake_reply(struct rpc_call *call, const ProtobufCMessageDescriptor *type);
/* Asserts that the call ended with the status and that its text contains `text`. */
void fake_failed(struct rpc_call *call, uint32_t status, const char *text);
struct rpc_call *fake_free(struct rpc_call *call);

#endif
