/*
 * service/loops.c - what a loop of the server has of its own: its view of the directory, what waits
 * there for a newer one, and requests that met no shard.
 *
 *   sent ──ROUTED_WRONG──► the directory has the shard elsewhere here ──► sent again (thrice)
 *                                 │                                          ▲
 *                                 ├── as it was ──► waits ──a newer one──────┘
 *                                 │                   └──too long──► UNAVAILABLE
 *                                 └── not here any more ──► what a new call would be told
 *
 * A loop is met with its first call, and its reader is woken through it: so the service lets go of
 * its loops when the server has ended (service_detach), before another directory is published.
 */
#include "base/assert.h"
#include "service/call_int.h"

#define STRAY_TEXT "the shard is changing hands; try again"

/* --- loops --- */

/* Loop. */
static void loop_newer(struct rpc_mail *mail)
{
    struct service_loop *loop = CONTAINER_OF(mail, struct service_loop, newer);
    /* Before the directory is read: what is published from here on sends word again. */
    (void)atomic_exchange_explicit(&loop->newer_sent, false, memory_order_acq_rel);
    (void)directory_read(&loop->reader);
    struct list turn; /* each once, whatever the others do */
    list_init(&turn);
    struct list_node *node = NULL;
    while ((node = list_pop_front(&loop->watches)) != NULL) {
        list_push_back(&turn, node);
    }
    while ((node = list_pop_front(&turn)) != NULL) {
        list_push_back(&loop->watches, node);
        struct svc_watch *watch = CONTAINER_OF(node, struct svc_watch, node);
        watch->newer(watch);
    }
}

/*
 * Whoever publishes. A call may read the directory while word of it is on its way to the loop, so
 * the reader's wake alone does not say that the mail is free.
 */
static void loop_notified(void *context)
{
    struct service_loop *loop = context;
    if (!atomic_exchange_explicit(&loop->newer_sent, true, memory_order_acq_rel)) {
        loop->newer.run = loop_newer;
        rpc_loop_post(loop->rpc, &loop->newer);
    }
}

struct service_loop *svc_loop(const struct call *call)
{
    const struct service *service = call->service;
    struct rpc_loop *rpc = rpc_call_loop(call->rpc);
    const uint32_t number = rpc_loop_number(rpc);
    ASSERT(number < service->loop_count);
    struct service_loop *loop = &service->loops[number];
    if (loop->reader.home == NULL) {
        loop->rpc = rpc;
        list_init(&loop->watches);
        list_init(&loop->streams);
        directory_reader_init(&loop->reader, service->directory, loop_notified, loop);
        atomic_store_explicit(&loop->met, true, memory_order_seq_cst);
    }
    return loop;
}

/* Loop. */
static void loop_release(struct rpc_mail *mail)
{
    topology_streams_end(CONTAINER_OF(mail, struct service_loop, release));
}

/*
 * A loop that is met later reads `releasing` after it said that it was met, so one of the two sees
 * the other.
 */
void service_release(struct service *service)
{
    if (atomic_exchange_explicit(&service->releasing, true, memory_order_seq_cst)) {
        return;
    }
    for (uint32_t i = 0; i < service->loop_count; i++) {
        struct service_loop *loop = &service->loops[i];
        if (atomic_load_explicit(&loop->met, memory_order_seq_cst)) {
            loop->release.run = loop_release;
            rpc_loop_post(loop->rpc, &loop->release);
        }
    }
}

void service_detach(struct service *service)
{
    for (uint32_t i = 0; i < service->loop_count; i++) {
        struct service_loop *loop = &service->loops[i];
        if (loop->reader.home != NULL) {
            ASSERT(list_empty(&loop->watches));
            ASSERT(list_empty(&loop->streams));
            directory_reader_deinit(&loop->reader);
            memset(loop, 0, sizeof *loop);
        }
    }
}

const struct directory *svc_directory(const struct call *call)
{
    return directory_read(&svc_loop(call)->reader);
}

void svc_watch(const struct call *call, struct svc_watch *watch,
               void (*newer)(struct svc_watch *watch))
{
    watch->newer = newer;
    list_push_back(&svc_loop(call)->watches, &watch->node);
}

void svc_unwatch(struct svc_watch *watch)
{
    list_remove(&watch->node);
}

/* --- strays --- */

struct stray {
    struct svc_watch watch;
    struct rpc_timer timer;
    struct call *call;
    struct shard_request *request;
    struct rpc_mail *mail; /* brings the request back */
    struct directory_shard *shard;
    int64_t since_us; /* when it began to wait; what it waits for in the shard is less by so much */
    int64_t until_us;
    uint32_t tries;
};

static void stray_settle(struct stray *stray)
{
    svc_unwatch(&stray->watch);
    rpc_timer_stop(rpc_call_loop(stray->call->rpc), &stray->timer);
}

/* text: static, or the call's. */
static void stray_fail(struct stray *stray, enum silo_code code, const char *text)
{
    stray_settle(stray);
    stray->request->cmd.rc = (silo_rc){code};
    stray->request->cmd.error = text;
    rpc_loop_post(rpc_call_loop(stray->call->rpc), stray->mail);
}

static uint32_t less(uint32_t wait_ms, int64_t by_us)
{
    const int64_t left_ms = wait_ms - by_us / 1000;
    return left_ms > 0 ? (uint32_t)left_ms : 0;
}

static void wait_shorten(struct stray *stray)
{
    const int64_t now_us = rpc_loop_now_us(rpc_call_loop(stray->call->rpc));
    const int64_t by_us = now_us - stray->since_us;
    struct command *cmd = &stray->request->cmd;
    stray->since_us = now_us;
    if (cmd->kind == CMD_POLL) {
        cmd->args.poll.wait_ms = less(cmd->args.poll.wait_ms, by_us);
    } else if (cmd->kind == CMD_GET_RESULT) {
        cmd->args.get.wait_ms = less(cmd->args.get.wait_ms, by_us);
    } else if (cmd->kind == CMD_AWAIT_CANCELS) {
        cmd->args.await.wait_ms = less(cmd->args.await.wait_ms, by_us);
    }
}

static void stray_send(struct stray *stray, const struct directory_shard *shard)
{
    stray_settle(stray);
    wait_shorten(stray);
    stray->tries++;
    *stray->shard = *shard;
    stray->request->cmd.rc = RC_OK;
    if (!shard_send(stray->call->service->shards, shard->ref, stray->request)) {
        stray_fail(stray, SILO_EXHAUSTED, ERROR_MAILBOX_FULL);
    }
}

static void stray_newer(struct svc_watch *watch);

static void stray_late(struct rpc_timer *timer)
{
    stray_fail(CONTAINER_OF(timer, struct stray, timer), SILO_UNAVAILABLE, STRAY_TEXT);
}

static void stray_wait(struct stray *stray)
{
    if (list_linked(&stray->watch.node)) {
        return;
    }
    stray->timer.fire = stray_late;
    rpc_timer_start(rpc_call_loop(stray->call->rpc), &stray->timer, stray->until_us);
    svc_watch(stray->call, &stray->watch, stray_newer);
}

/*
 * What a new call would be told. The text alone goes into the result of one item of many, so that
 * one says whom to ask by itself.
 */
static void stray_tell(struct stray *stray, const struct route *route)
{
    struct call *call = stray->call;
    if (stray->request == &call->request && svc_forward(call, route)) {
        stray_settle(stray);
        return;
    }
    if (stray->shard == &call->shard) {
        svc_tell(call, route);
    }
    const char *text = stray->request == &call->request
                           ? arena_str(call->arena, bytes_str(route->err.text))
                           : route_text(call->arena, route);
    stray_fail(stray, route->err.code, text);
}

static void stray_go_on(struct stray *stray)
{
    struct call *call = stray->call;
    const struct directory *directory = svc_directory(call);
    const struct directory_shard *shard = directory_find(directory, &stray->shard->id);
    if (!rpc_call_alive(call->rpc)) {
        stray_fail(stray, SILO_CANCELLED, "the caller left");
    } else if (shard == NULL || !directory_shard_here(shard)) {
        struct route route;
        route_judge(call->service, directory, shard, &route);
        stray_tell(stray, &route);
    } else if (!shard_ref_eq(shard->ref, stray->request->ref) && stray->tries < STRAY_TRIES_MAX) {
        stray_send(stray, shard);
    } else {
        stray_wait(stray);
    }
}

static void stray_newer(struct svc_watch *watch)
{
    struct stray *stray = CONTAINER_OF(watch, struct stray, watch);
    stray->tries = 0;
    stray_go_on(stray);
}

void svc_again(struct call *call, struct shard_request *request, struct rpc_mail *mail,
               struct directory_shard *shard, struct stray **stray)
{
    if (*stray == NULL) {
        const int64_t now_us = rpc_loop_now_us(rpc_call_loop(call->rpc));
        *stray = ARENA_NEW(call->arena, struct stray);
        **stray = (struct stray){.call = call,
                                 .request = request,
                                 .mail = mail,
                                 .shard = shard,
                                 .since_us = now_us,
                                 .until_us = now_us + 1000 * (int64_t)svc_wait_ms(call, STRAY_MS)};
    }
    stray_go_on(*stray);
}

bool svc_again_stop(struct stray *stray)
{
    if (stray == NULL || !list_linked(&stray->watch.node)) {
        return false;
    }
    stray_fail(stray, SILO_CANCELLED, "stopped");
    return true;
}
