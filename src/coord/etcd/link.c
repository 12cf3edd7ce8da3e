/*
 * coord/etcd/link.c - calls, where they go, and the token they carry.
 *
 *     call -> out ──answer──► answered
 *               │ ▲
 *        failed ▼ │ pause, the next server, a new token
 *             resting
 *
 * Only the server that is asked now is left when it fails a call: answers of one that was left
 * before change nothing.
 */
#include "coord/etcd/link.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/assert.h"
#include "coord/etcd/link_int.h"
#include "coord/etcd/message.h"

#define LINK_CONNECT_US 1000000
#define LINK_BACKOFF_US 500000  /* a server that is back should be found before leases end */
#define LINK_SILENCE_US 3000000 /* sent and not acknowledged: the connection is dead */

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

void link_arrive(struct etcd_link *link, struct link_arrival *arrival)
{
    mailbox_send_always(&link->arrived, &arrival->mail);
}

static void arrived_wake(void *context)
{
    const struct etcd_link *link = context;
    const uint64_t one = 1;
    const ssize_t n = write(link->fd, &one, sizeof one);
    (void)n; /* an eventfd that is full is readable */
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

static void token_drop(struct etcd_link *link)
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
    token_drop(link);
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
            token_drop(link);
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

static void resting_send(struct etcd_link *link, int64_t now_us)
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

static int64_t resting_next_us(const struct etcd_link *link)
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

int64_t etcd_link_turn(struct etcd_link *link)
{
    uint64_t count;
    const ssize_t n = read(link->fd, &count, sizeof count);
    (void)n; /* nothing to read is fine: what came is in the mailbox */
    do {
        struct mail *mail = mailbox_take(&link->arrived);
        while (mail != NULL) {
            struct link_arrival *arrival = CONTAINER_OF(mail, struct link_arrival, mail);
            mail = mail->next;
            arrival->take(arrival);
        }
    } while (!mailbox_sleep(&link->arrived));
    resting_send(link, env_mono_us(link->env));
    return resting_next_us(link);
}

int etcd_link_fd(const struct etcd_link *link)
{
    return link->fd;
}

SILO_RC etcd_link_check(const struct etcd_link *link, struct silo_err *err)
{
    if (link->trouble.code != SILO_OK && err != NULL) {
        *err = link->trouble;
    }
    return (silo_rc){link->trouble.code};
}

void etcd_link_doubt(struct etcd_link *link, bool token)
{
    if (token) {
        token_drop(link);
    }
    link->current = (link->current + 1) % link->endpoint_count;
}

/* --- making and taking down --- */

static SILO_RC endpoint_make(struct etcd_link *link, const struct etcd_link_options *options,
                             const char *url, struct silo_err *err)
{
    static const char http[] = "http://", https[] = "https://";
    struct link_endpoint *endpoint = &link->endpoints[link->endpoint_count];
    const bool tls = strncmp(url, https, sizeof https - 1) == 0;
    const char *host = url;
    if (tls) {
        host += sizeof https - 1;
    } else if (strncmp(url, http, sizeof http - 1) == 0) {
        host += sizeof http - 1;
    }
    size_t len = strlen(host);
    if (host != url && len > 0 && host[len - 1] == '/') {
        len--; /* a URL's empty path */
    }
    if (len == 0 || len >= sizeof endpoint->target || memchr(host, '/', len) != NULL) {
        return FAIL(err, SILO_INVALID,
                    "coordination.etcd_endpoints: must be http://host:port, https://host:port or "
                    "host:port, not \"%.100s\"",
                    url);
    }
    memcpy(endpoint->target, host, len);
    const struct rpc_channel_options channel = {.target = endpoint->target,
                                                .tls = tls,
                                                .tls_ca = options->tls_ca,
                                                .tls_cert = options->tls_cert,
                                                .tls_key = options->tls_key,
                                                .tls_name = options->tls_name,
                                                .message_bytes_max = ETCD_MESSAGE_BYTES_MAX,
                                                .connect_timeout_us = LINK_CONNECT_US,
                                                .user_timeout_us = LINK_SILENCE_US,
                                                .backoff_us_max = LINK_BACKOFF_US};
    struct silo_err why = {0};
    const silo_rc rc = rpc_channel_new(link->loop, &channel, &endpoint->channel, &why);
    if (rc.code != SILO_OK) {
        return FAIL(err, rc.code, "coordination.etcd_endpoints \"%.100s\": %.300s", url, why.text);
    }
    link->endpoint_count++;
    return RC_OK;
}

static SILO_RC link_setup(struct etcd_link *link, const struct etcd_link_options *options,
                          struct silo_err *err)
{
    if (options->endpoint_count == 0 || options->endpoint_count > ETCD_ENDPOINTS_MAX) {
        return FAIL(err, SILO_INVALID, "coordination.etcd_endpoints: must name 1 to %u servers",
                    ETCD_ENDPOINTS_MAX);
    }
    link->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (link->fd < 0) {
        return FAIL(err, SILO_INTERNAL, "no descriptor is left for an eventfd");
    }
    TRY(rpc_loop_new(&link->loop, err));
    for (size_t i = 0; i < options->endpoint_count; i++) {
        TRY(endpoint_make(link, options, options->endpoints[i], err));
    }
    /* Members of a cluster spread over the servers. */
    uint32_t random = 0;
    env_random(link->env, &random, sizeof random);
    link->current = random % link->endpoint_count;
    return RC_OK;
}

SILO_RC etcd_link_new(const struct etcd_link_options *options, struct etcd_link **ret_link,
                      struct silo_err *err)
{
    struct etcd_link *link = xcalloc(1, sizeof *link);
    link->env = options->env;
    link->fd = -1;
    link->patience_us = options->patience_us;
    link->username = options->username != NULL ? xstrdup(options->username) : NULL;
    link->password = options->password != NULL ? xstrdup(options->password) : NULL;
    list_init(&link->out);
    list_init(&link->resting);
    list_init(&link->streams);
    mailbox_init(&link->arrived, SIZE_MAX, arrived_wake, link);
    const silo_rc rc = link_setup(link, options, err);
    if (rc.code != SILO_OK) {
        (void)etcd_link_free(link);
        return rc;
    }
    *ret_link = link;
    return RC_OK;
}

static void calls_free(struct list *calls)
{
    struct list_node *node;
    while ((node = list_first(calls)) != NULL) {
        call_free(CONTAINER_OF(node, struct link_call, node));
    }
}

struct etcd_link *etcd_link_free(struct etcd_link *link)
{
    if (link == NULL) {
        return NULL;
    }
    link->ending = true;
    struct list_node *node;
    while ((node = list_first(&link->streams)) != NULL) {
        link_stream_drop(node);
    }
    for (size_t i = 0; i < link->endpoint_count; i++) {
        link->endpoints[i].channel = rpc_channel_free(link->endpoints[i].channel);
    }
    /* All calls have ended and lie in the mailbox, which is left as it is. */
    for (struct mail *mail = mailbox_take(&link->arrived); mail != NULL;) {
        struct link_arrival *arrival = CONTAINER_OF(mail, struct link_arrival, mail);
        mail = mail->next;
        if (arrival->take != call_take) {
            arrival->take(arrival); /* a stream's, which frees it */
        }
    }
    link->loop = rpc_loop_free(link->loop);
    calls_free(&link->out);
    calls_free(&link->resting);
    if (link->fd >= 0) {
        (void)close(link->fd);
    }
    free(link->token);
    free(link->username);
    free(link->password);
    free(link);
    return NULL;
}
