/*
 * coord/etcd/link_call.c - calls, where they go, and the token they carry.
 *
 *     call -> out ──answer──► answered
 *               │ ▲
 *        failed ▼ │ pause, the next server, a new token
 *             resting
 *
 * Only the server that is asked now is left when it fails a call: answers of one that was left
 * before change nothing.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "coord/etcd/link_int.h"
#include "coord/etcd/message.h"

struct link_call {
    struct list_node node; /* link.out or link.resting */
    struct link_arrival arrival;
    struct rpc_request request;
    struct rpc_header headers[LINK_HEADERS];
    struct etcd_link *link;
    enum etcd_method method;
    bool once;
    uint8_t *message;
    size_t message_len;
    size_t endpoint;
    char *token;
    uint64_t token_turn;
    uint32_t tries;
    int64_t sent_us, again_us;
    etcd_answered *answered;
    void *context;
    /* Filled on the loop. */
    uint32_t status;
    struct bytes text, reply; /* malloc'd */
};

static const char *const paths[] = {
    [ETCD_RANGE] = "/etcdserverpb.KV/Range",
    [ETCD_TXN] = "/etcdserverpb.KV/Txn",
    [ETCD_LEASE_GRANT] = "/etcdserverpb.Lease/LeaseGrant",
    [ETCD_LEASE_REVOKE] = "/etcdserverpb.Lease/LeaseRevoke",
    [ETCD_LEASE_KEEP_ALIVE] = "/etcdserverpb.Lease/LeaseKeepAlive",
    [ETCD_AUTHENTICATE] = "/etcdserverpb.Auth/Authenticate",
};

static void bytes_drop(struct bytes *bytes)
{
    free((void *)(uintptr_t)bytes->ptr);
    *bytes = BYTES_NONE;
}

/* --- sending --- */

size_t link_headers(const struct etcd_link *link, char **ret_token,
                    struct rpc_header ret_headers[LINK_HEADERS])
{
    /* A server that has lost its leader refuses at once instead of answering late. */
    ret_headers[0] = (struct rpc_header){BYTES_LIT("hasleader"), BYTES_LIT("true")};
    if (link->token == NULL) {
        *ret_token = NULL;
        return 1;
    }
    *ret_token = xstrdup(link->token);
    ret_headers[1] = (struct rpc_header){BYTES_LIT("token"), bytes_str(*ret_token)};
    return 2;
}

/* On the loop. */
static void call_done(struct rpc_request *request)
{
    struct link_call *call = CONTAINER_OF(request, struct link_call, request);
    call->status = request->status;
    call->text = bytes_dup(request->text);
    call->reply = bytes_dup(request->reply);
    link_arrive(call->link, &call->arrival);
}

static int64_t call_patience_us(const struct link_call *call)
{
    int64_t patience_us = call->link->patience_us;
    for (uint32_t i = 0; i < call->tries && patience_us < ETCD_PATIENCE_US_MAX; i++) {
        patience_us *= 2;
    }
    return patience_us < ETCD_PATIENCE_US_MAX ? patience_us : ETCD_PATIENCE_US_MAX;
}

static void call_send(struct link_call *call)
{
    struct etcd_link *link = call->link;
    list_remove(&call->node);
    list_push_back(&link->out, &call->node);
    free(call->token);
    call->token = NULL;
    const bool bare = call->method == ETCD_AUTHENTICATE;
    const size_t headers = bare ? 0 : link_headers(link, &call->token, call->headers);
    call->endpoint = link->current;
    call->token_turn = link->token_turn;
    call->sent_us = env_mono_us(link->env);
    call->request = (struct rpc_request){.path = paths[call->method],
                                         .message = bytes_of(call->message, call->message_len),
                                         .timeout_us = call_patience_us(call),
                                         .headers = call->headers,
                                         .header_count = headers,
                                         .on_done = call_done};
    rpc_channel_call(link->endpoints[link->current].channel, &call->request);
}

static void call_rest(struct link_call *call, int64_t pause_us)
{
    list_remove(&call->node);
    list_push_back(&call->link->resting, &call->node);
    call->again_us = env_mono_us(call->link->env) + pause_us;
}

static void call_free(struct link_call *call)
{
    list_remove(&call->node);
    bytes_drop(&call->text);
    bytes_drop(&call->reply);
    free(call->token);
    free(call->message);
    free(call);
}

/* --- the token --- */

static bool token_missing(const struct etcd_link *link)
{
    return link->username != NULL && link->token == NULL;
}

void link_token_drop(struct etcd_link *link)
{
    free(link->token);
    link->token = NULL;
    link->token_turn++;
}

static bool token_answered(void *context, const struct etcd_answer *answer)
{
    struct etcd_link *link = context;
    char *token = etcd_token_read(answer->reply);
    if (token == NULL) {
        return false;
    }
    link->asking_token = false;
    link_token_drop(link);
    link->token = token;
    return true;
}

static struct link_call *call_new(struct etcd_link *link, enum etcd_method method,
                                  struct bytes message, etcd_answered *answered, void *context);

static void token_ask(struct etcd_link *link)
{
    if (link->asking_token || link->ending) {
        return;
    }
    link->asking_token = true;
    struct arena arena;
    arena_init(&arena);
    const char *password = link->password != NULL ? link->password : "";
    const struct bytes message = etcd_authenticate(&arena, link->username, password);
    call_send(call_new(link, ETCD_AUTHENTICATE, message, token_answered, link));
    arena_deinit(&arena);
}

/* --- what came --- */

/* The token is none, or not one any more: etcd has several ways to say so. */
static bool token_refused(const struct link_call *call)
{
    return call->status == RPC_STATUS_UNAUTHENTICATED ||
           bytes_has(call->text, BYTES_LIT("invalid auth token")) ||
           bytes_has(call->text, BYTES_LIT("user name is empty")) ||
           bytes_has(call->text, BYTES_LIT("revision of auth store is old"));
}

static bool server_failed(uint32_t status)
{
    return status == RPC_STATUS_UNAVAILABLE || status == RPC_STATUS_DEADLINE_EXCEEDED ||
           status == RPC_STATUS_CANCELLED || status == RPC_STATUS_INTERNAL ||
           status == RPC_STATUS_UNKNOWN;
}

static void trouble_note(struct link_call *call, enum silo_code code, const char *then)
{
    struct etcd_link *link = call->link;
    rc_ignore(
        FAIL(&link->trouble, code, "etcd at %s: %.*s%s", link->endpoints[call->endpoint].target,
             call->text.len < 256 ? (int)call->text.len : 256, (const char *)call->text.ptr, then),
        "it fills the trouble");
}

/* Notes what a failed call says of the servers, and what is to be done before the next try. */
static void failure_note(struct link_call *call)
{
    struct etcd_link *link = call->link;
    if (server_failed(call->status)) {
        trouble_note(call, SILO_UNAVAILABLE, "");
        if (call->endpoint == link->current) {
            link->current = (link->current + 1) % link->endpoint_count;
        }
    } else if (call->method == ETCD_AUTHENTICATE) {
        trouble_note(call, SILO_NO_AUTH,
                     "; coordination.etcd_username or etcd_password is wrong, or etcd asks for "
                     "neither");
    } else if (token_refused(call) && link->username == NULL) {
        trouble_note(call, SILO_NO_AUTH,
                     "; coordination.etcd_username and etcd_password are needed");
    } else if (token_refused(call)) {
        if (call->token_turn == link->token_turn && link->token != NULL) {
            link_token_drop(link);
        }
    } else if (call->status == RPC_STATUS_PERMISSION_DENIED) {
        trouble_note(call, SILO_DENIED,
                     "; the user needs to read and write all keys below "
                     "coordination.cluster_prefix");
    } else {
        trouble_note(call, SILO_UNAVAILABLE, "");
    }
}

static int64_t pause_us(const struct link_call *call)
{
    int64_t pause = ETCD_PAUSE_US_MIN;
    for (uint32_t i = 1; i < call->tries && pause < ETCD_PAUSE_US_MAX; i++) {
        pause *= 2;
    }
    return pause < ETCD_PAUSE_US_MAX ? pause : ETCD_PAUSE_US_MAX;
}

static void call_failed(struct link_call *call)
{
    struct etcd_link *link = call->link;
    const size_t before = link->current;
    failure_note(call);
    call->tries++;
    /* Another server is asked at once, once round. */
    const bool elsewhere = link->current != before && call->tries < link->endpoint_count;
    call_rest(call, elsewhere ? 0 : pause_us(call));
    bytes_drop(&call->text);
    bytes_drop(&call->reply);
}

static bool call_tell(struct link_call *call)
{
    const struct etcd_answer answer = {.status = call->status,
                                       .text = call->text,
                                       .reply = call->reply,
                                       .asked_us = call->sent_us};
    return call->answered(call->context, &answer);
}

static void call_take(struct link_arrival *arrival)
{
    struct link_call *call = CONTAINER_OF(arrival, struct link_call, arrival);
    if (call->status == RPC_STATUS_OK && call_tell(call)) {
        call->link->trouble = (struct silo_err){0};
        call_free(call);
        return;
    }
    if (call->status == RPC_STATUS_OK) {
        call->status = RPC_STATUS_INTERNAL;
        bytes_drop(&call->text);
        call->text = bytes_dup(BYTES_LIT("an answer that cannot be read"));
    }
    if (!call->once) {
        call_failed(call);
        return;
    }
    failure_note(call);
    (void)call_tell(call);
    call_free(call);
}

/* --- calls --- */

static struct link_call *call_new(struct etcd_link *link, enum etcd_method method,
                                  struct bytes message, etcd_answered *answered, void *context)
{
    struct link_call *call = xcalloc(1, sizeof *call);
    call->link = link;
    call->method = method;
    call->message = (uint8_t *)(uintptr_t)bytes_dup(message).ptr;
    call->message_len = message.len;
    call->answered = answered;
    call->context = context;
    call->arrival.take = call_take;
    return call;
}

void etcd_link_call(struct etcd_link *link, enum etcd_method method, struct bytes message,
                    etcd_answered *answered, void *context)
{
    struct link_call *call = call_new(link, method, message, answered, context);
    if (token_missing(link)) {
        call_rest(call, 0);
        token_ask(link);
        return;
    }
    call_send(call);
}

void etcd_link_call_once(struct etcd_link *link, enum etcd_method method, struct bytes message,
                         etcd_answered *answered, void *context)
{
    struct link_call *call = call_new(link, method, message, answered, context);
    call->once = true;
    call_send(call);
}

void link_calls_due(struct etcd_link *link, int64_t now_us)
{
    struct list_node *next = NULL;
    for (struct list_node *n = list_first(&link->resting); n != NULL; n = next) {
        next = list_next(&link->resting, n);
        struct link_call *call = CONTAINER_OF(n, struct link_call, node);
        const bool token_first = call->method != ETCD_AUTHENTICATE && token_missing(link);
        if (token_first) {
            token_ask(link);
        } else if (call->again_us <= now_us) {
            call_send(call);
        }
    }
}

int64_t link_calls_next_us(const struct etcd_link *link)
{
    int64_t next_us = INT64_MAX;
    for (struct list_node *n = list_first(&link->resting); n != NULL;
         n = list_next(&link->resting, n)) {
        const struct link_call *call = CONTAINER_OF(n, struct link_call, node);
        const bool waits = call->method != ETCD_AUTHENTICATE && token_missing(link);
        if (!waits && call->again_us < next_us) {
            next_us = call->again_us;
        }
    }
    return next_us;
}

/* --- the end --- */

static void calls_free(struct list *calls)
{
    struct list_node *node;
    while ((node = list_first(calls)) != NULL) {
        call_free(CONTAINER_OF(node, struct link_call, node));
    }
}

bool link_call_is(const struct link_arrival *arrival)
{
    return arrival->take == call_take;
}

void link_calls_free(struct etcd_link *link)
{
    calls_free(&link->out);
    calls_free(&link->resting);
}
