/* sim/net.c - see net.h. */
#include "sim/net.h"

#include "base/owner_headers.h"

#define PAUSED_US 20000       /* what arrives at a process that stands still looks again so often */
#define LOST_AFTER_US 5000000 /* a client waits so long for an answer that does not come */

static const struct rpc_call_ops call_ops; /* below */

void net_init(struct net *net)
{
    list_init(&net->calls);
}

static void call_free(struct rpc_call *call)
{
    ASSERT(call->release == NULL);
    if (call->on_over != NULL) {
        call->on_over(call);
    }
    event_cancel(call->net->events, &call->arriving);
    event_cancel(call->net->events, &call->leaving);
    event_cancel(call->net->events, &call->sending);
    event_cancel(call->net->events, &call->hearing);
    list_remove(&call->node);
    arena_deinit(&call->base.arena);
    free((void *)(uintptr_t)call->request.ptr);
    free((void *)(uintptr_t)call->reply.ptr);
    free(call);
}

void net_deinit(struct net *net)
{
    for (struct list_node *n = list_first(&net->calls); n != NULL; n = list_first(&net->calls)) {
        call_free(CONTAINER_OF(n, struct rpc_call, node));
    }
}

static int64_t net_latency_us(struct net *net)
{
    if (net->perfect || random_below(net->random, 4) != 0) {
        return 0;
    }
    return random_between(net->random, 1, random_one_in(net->random, 16) ? 700000 : 20000);
}

static bool net_loses(struct net *net)
{
    return net->faulty && !net->perfect && random_one_in(net->random, 24);
}

/* --- the client hears --- */

static void call_heard(struct event *event)
{
    struct rpc_call *call = CONTAINER_OF(event, struct rpc_call, hearing);
    if (call->heard) {
        return;
    }
    call->heard = true;
    if (call->on_heard != NULL) {
        call->on_heard(call);
    }
}

static void call_hears(struct rpc_call *call, int64_t delay_us)
{
    if (!call->heard && call->hearing.place == 0) {
        event_at(call->net->events, &call->hearing, *call->net->now_us + delay_us, call_heard);
    }
}

static void call_failed(struct rpc_call *call, uint32_t status, const char *text, int64_t delay_us)
{
    if (call->heard || call->hearing.place != 0) {
        return;
    }
    call->status = status;
    (void)snprintf(call->text, sizeof call->text, "%s", text);
    call_hears(call, delay_us);
}

/* --- on its way to the server --- */

static const struct rpc_method *method_find(const struct net_host *host, const char *name)
{
    for (size_t i = 0; i < host->method_count; i++) {
        if (strcmp(strrchr(host->methods[i]->path, '/') + 1, name) == 0) {
            return host->methods[i];
        }
    }
    ASSERT(!"no such method");
    return NULL;
}

static void call_arrives(struct event *event)
{
    struct rpc_call *call = CONTAINER_OF(event, struct rpc_call, arriving);
    if (call->host->paused && !call->host->cut) {
        event_at(call->net->events, &call->arriving, *call->net->now_us + PAUSED_US, call_arrives);
        return;
    }
    if (call->host->cut) {
        call->over = true;
        call_failed(call, RPC_STATUS_UNAVAILABLE, "lost on its way", LOST_AFTER_US);
        return;
    }
    if (!call->host->up || call->gone) {
        call->over = true;
        call_failed(call, RPC_STATUS_UNAVAILABLE, "nobody listens", 0);
        return;
    }
    call->begun = true;
    if (call->on_begun != NULL) {
        call->on_begun(call);
    }
    const struct rpc_method *method = method_find(call->host, call->method);
    method->on_call(call, call->request, method->context);
}

struct rpc_call *net_call(struct net_host *host, const char *method,
                          const ProtobufCMessage *message, int64_t timeout_us)
{
    struct net *net = host->net;
    struct rpc_call *call = xcalloc(1, sizeof *call);
    call->base = (struct rpc_call_base){
        .ops = &call_ops,
        .loop = (struct rpc_loop *)(void *)&host->loop,
        .deadline_us = timeout_us != 0 ? env_mono_us(host->env) + timeout_us : 0,
    };
    call->net = net;
    call->host = host;
    call->number = net->next_number++;
    call->method = method;
    call->until_us = timeout_us != 0 ? *net->now_us + timeout_us : 0;
    arena_init(&call->base.arena);
    const size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *packed = xmalloc(size + 1);
    (void)protobuf_c_message_pack(message, packed);
    call->request = bytes_of(packed, size);
    list_push_back(&net->calls, &call->node);
    return call;
}

static void call_deadline(struct event *event)
{
    net_leave(CONTAINER_OF(event, struct rpc_call, leaving), RPC_CANCEL_DEADLINE);
}

void net_send(struct rpc_call *call)
{
    struct net *net = call->net;
    if (call->until_us != 0) {
        event_at(net->events, &call->leaving, call->until_us, call_deadline);
    }
    if (net_loses(net)) {
        call->over = true;
        call_failed(call, RPC_STATUS_UNAVAILABLE, "lost on its way", LOST_AFTER_US);
        return;
    }
    event_at(net->events, &call->arriving, *net->now_us + net_latency_us(net), call_arrives);
}

/* --- leaving --- */

static void call_unsent(struct rpc_call *call)
{
    void (*release)(void *, bool) = call->release;
    event_cancel(call->net->events, &call->sending);
    call->release = NULL;
    call->over = true;
    if (call->on_sent != NULL) {
        call->on_sent(call, false);
    }
    release(call->release_context, false);
}

static void call_cancelled(struct rpc_call *call, enum rpc_cancel reason)
{
    if (call->begun && !call->answered && call->on_cancel != NULL) {
        call->on_cancel(call, reason, call->cancel_context);
    }
}

void net_leave(struct rpc_call *call, enum rpc_cancel reason)
{
    if (call->gone || call->heard) {
        return;
    }
    call->gone = true;
    event_cancel(call->net->events, &call->leaving);
    if (call->release != NULL) {
        call_unsent(call);
    } else if (call->host->paused) {
        call->cancel_due = true;
        call->reason = reason;
    } else {
        call_cancelled(call, reason);
    }
    event_cancel(call->net->events, &call->hearing);
    call_failed(call,
                reason == RPC_CANCEL_DEADLINE ? RPC_STATUS_DEADLINE_EXCEEDED : RPC_STATUS_CANCELLED,
                "gave up", 0);
}

/* --- loops --- */

static struct net_host *host_of(struct rpc_loop *loop)
{
    return (struct net_host *)(void *)loop;
}

static int64_t loop_now_us(struct rpc_loop *loop)
{
    return env_mono_us(host_of(loop)->env);
}

static void timers_arm(struct net_host *host);

static void timers_due(struct event *event)
{
    struct net_host *host = CONTAINER_OF(event, struct net_host, timing);
    if (host->paused) {
        event_at(host->net->events, event, *host->net->now_us + PAUSED_US, timers_due);
        return;
    }
    const int64_t now_us = env_mono_us(host->env);
    struct heap_node *node = NULL;
    while ((node = heap_min(&host->timers)) != NULL && node->key <= now_us) {
        struct rpc_timer *timer = CONTAINER_OF(node, struct rpc_timer, node);
        heap_remove(&host->timers, node);
        timer->fire(timer);
    }
    timers_arm(host);
}

static void timers_arm(struct net_host *host)
{
    const struct heap_node *first = heap_min(&host->timers);
    if (first == NULL) {
        event_cancel(host->net->events, &host->timing);
        return;
    }
    const int64_t left_us = first->key - env_mono_us(host->env);
    event_at(host->net->events, &host->timing, *host->net->now_us + (left_us > 0 ? left_us : 0),
             timers_due);
}

static void loop_timer_stop(struct rpc_loop *loop, struct rpc_timer *timer)
{
    if (heap_has(&timer->node)) {
        heap_remove(&host_of(loop)->timers, &timer->node);
    }
}

static void loop_timer_start(struct rpc_loop *loop, struct rpc_timer *timer, int64_t at_us)
{
    loop_timer_stop(loop, timer);
    heap_insert(&host_of(loop)->timers, &timer->node, at_us);
    timers_arm(host_of(loop));
}

static void loop_post(struct rpc_loop *loop, struct rpc_mail *mail)
{
    struct mail **end = &host_of(loop)->posted;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    mail->mail.next = NULL;
    *end = &mail->mail;
}

static const struct rpc_loop_ops loop_ops = {
    .post = loop_post,
    .now_us = loop_now_us,
    .timer_start = loop_timer_start,
    .timer_stop = loop_timer_stop,
};

void net_host_init(struct net_host *host, struct net *net, const struct env *env)
{
    *host = (struct net_host){.loop.ops = &loop_ops, .net = net, .env = env};
    heap_init(&host->timers);
}

void net_host_end(struct net_host *host)
{
    ASSERT(host->timers.count == 0);
    event_cancel(host->net->events, &host->timing);
    heap_deinit(&host->timers);
    heap_init(&host->timers);
}

void net_host_clear(struct net_host *host)
{
    host->method_count = 0;
}

void net_host_add(struct net_host *host, const struct rpc_method *method)
{
    ASSERT(host->method_count < NET_METHODS_MAX);
    host->methods[host->method_count++] = method;
}

bool net_host_run_posts(struct net_host *host)
{
    bool any = false;
    while (host->posted != NULL) {
        struct rpc_mail *mail = CONTAINER_OF(host->posted, struct rpc_mail, mail);
        host->posted = host->posted->next;
        mail->run(mail);
        any = true;
    }
    return any;
}

/* --- calls, as handlers have them --- */

static struct bytes call_authority(const struct rpc_call *call)
{
    (void)call;
    return BYTES_NONE;
}

static void call_count(struct rpc_call *call, uint64_t bytes)
{
    (void)call;
    (void)bytes;
}

static bool call_alive(const struct rpc_call *call)
{
    return !call->gone && !call->host->dying;
}

static bool call_reserve(struct rpc_call *call, uint64_t bytes)
{
    (void)bytes;
    return call_alive(call);
}

static void call_on_cancel(struct rpc_call *call,
                           void (*on_cancel)(struct rpc_call *call, enum rpc_cancel reason,
                                             void *context),
                           void *context)
{
    call->on_cancel = on_cancel;
    call->cancel_context = context;
}

/* The reply's bytes are on the wire. */
static void call_sent(struct event *event)
{
    struct rpc_call *call = CONTAINER_OF(event, struct rpc_call, sending);
    struct net *net = call->net;
    void (*release)(void *, bool) = call->release;
    call->release = NULL;
    call->over = true;
    event_cancel(net->events, &call->leaving);
    if (call->on_sent != NULL) {
        call->on_sent(call, true);
    }
    if (release != NULL) {
        release(call->release_context, true);
    }
    if (call->host->cut || net_loses(net)) {
        call_failed(call, RPC_STATUS_UNAVAILABLE, "the answer was lost", LOST_AFTER_US);
    } else {
        call_hears(call, net_latency_us(net));
    }
}

/* False: nobody is there to hear it. */
static bool call_answered(struct rpc_call *call, uint32_t status, struct bytes text,
                          struct bytes reply)
{
    ASSERT(call->begun && !call->answered);
    call->answered = true;
    if (!call_alive(call)) {
        call->over = true;
        if (call->on_ended != NULL) {
            call->on_ended(call, false);
        }
        call_failed(call, RPC_STATUS_UNAVAILABLE, "the connection broke", 0);
        return false;
    }
    call->status = status;
    (void)snprintf(call->text, sizeof call->text, "%.*s", (int)text.len,
                   text.len != 0 ? (const char *)text.ptr : "");
    call->reply = bytes_dup(reply);
    if (call->on_ended != NULL) {
        call->on_ended(call, true);
    }
    return true;
}

static void call_sends(struct rpc_call *call)
{
    call->answered_us = *call->net->now_us;
    const bool later = !call->net->perfect && random_one_in(call->net->random, 6);
    if (later) {
        event_at(call->net->events, &call->sending,
                 *call->net->now_us + random_between(call->net->random, 1, 30000), call_sent);
    } else {
        call_sent(&call->sending);
    }
}

static bool call_reply(struct rpc_call *call, const struct rpc_piece *pieces, size_t count)
{
    ASSERT(count == 1);
    const bool dying = call->host->dying;
    const bool heard = call_answered(call, RPC_STATUS_OK, BYTES_NONE, pieces[0].bytes);
    if (pieces[0].release == NULL) {
        if (heard) {
            call_sent(&call->sending);
        }
        return heard;
    }
    if (!heard) {
        /* A dying process gives nothing back any more. */
        pieces[0].release(pieces[0].context, dying);
        return false;
    }
    call->release = pieces[0].release;
    call->release_context = pieces[0].context;
    call_sends(call);
    return true;
}

static bool call_finish(struct rpc_call *call, uint32_t status, struct bytes text,
                        const struct rpc_header *trailers, size_t trailer_count)
{
    for (size_t i = 0; i < trailer_count; i++) {
        if (bytes_eq(trailers[i].name, BYTES_LIT(OWNER_NODE_HEADER))) {
            (void)snprintf(call->holder, sizeof call->holder, "%.*s", BYTES_FMT(trailers[i].value));
        }
    }
    const bool heard = call_answered(call, status, text, BYTES_NONE);
    if (heard) {
        call_sent(&call->sending);
    }
    return heard;
}

static const struct rpc_call_ops call_ops = {
    .authority = call_authority,
    .alive = call_alive,
    .on_cancel = call_on_cancel,
    .count = call_count,
    .reserve = call_reserve,
    .reply = call_reply,
    .finish = call_finish,
};

/* --- ends --- */

void net_host_pause(struct net_host *host, bool paused)
{
    host->paused = paused;
    struct list *calls = &host->net->calls;
    for (struct list_node *n = list_first(calls); n != NULL && !paused; n = list_next(calls, n)) {
        struct rpc_call *call = CONTAINER_OF(n, struct rpc_call, node);
        if (call->host == host && call->cancel_due) {
            call->cancel_due = false;
            call_cancelled(call, call->reason);
        }
    }
}

bool net_host_drained(const struct net_host *host)
{
    const struct list *calls = &host->net->calls;
    bool drained = true;
    for (struct list_node *n = list_first(calls); n != NULL; n = list_next(calls, n)) {
        const struct rpc_call *call = CONTAINER_OF(n, struct rpc_call, node);
        drained = drained && (call->host != host || call->release == NULL);
    }
    return drained;
}

void net_host_break(struct net_host *host)
{
    struct net *net = host->net;
    for (struct list_node *n = list_first(&net->calls); n != NULL; n = list_next(&net->calls, n)) {
        struct rpc_call *call = CONTAINER_OF(n, struct rpc_call, node);
        if (call->host == host && call->release != NULL) {
            /* Whether the bytes had left is not known; the process cannot give anything back. */
            void (*release)(void *, bool) = call->release;
            event_cancel(net->events, &call->sending);
            call->release = NULL;
            call->over = true;
            release(call->release_context, true);
            call_failed(call, RPC_STATUS_UNAVAILABLE, "the connection broke", 0);
        }
    }
    for (struct list_node *n = list_first(&net->calls); n != NULL; n = list_next(&net->calls, n)) {
        struct rpc_call *call = CONTAINER_OF(n, struct rpc_call, node);
        if (call->host == host && (!call->gone || call->cancel_due)) {
            call->cancel_due = false;
            call_cancelled(call, RPC_CANCEL_SHUTDOWN);
        }
    }
}

void net_sweep(struct net *net)
{
    struct list_node *next = NULL;
    for (struct list_node *n = list_first(&net->calls); n != NULL; n = next) {
        next = list_next(&net->calls, n);
        struct rpc_call *call = CONTAINER_OF(n, struct rpc_call, node);
        if (call->over && call->heard) {
            call_free(call);
        }
    }
}

void *net_reply(const struct rpc_call *call, const ProtobufCMessageDescriptor *type)
{
    return call->status == RPC_STATUS_OK
               ? protobuf_c_message_unpack(type, NULL, call->reply.len, call->reply.ptr)
               : NULL;
}
