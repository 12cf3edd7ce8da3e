/*
 * service/loops.c - what a loop of the server has of its own: its view of the directory, and what
 * waits there for news, which are a newer one, and shards that opened or failed.
 *
 * A loop is met with its first call, and word is sent through it: so the service lets go of its
 * loops when the server has ended (service_detach), before another directory is published.
 */
#include "base/assert.h"
#include "service/call_int.h"

/* --- loops --- */

/* Loop. */
static void loop_newer(struct rpc_mail *mail)
{
    struct service_loop *loop = CONTAINER_OF(mail, struct service_loop, newer);
    /* Before the directory is read: what is published from here on sends word again. */
    (void)atomic_exchange_explicit(&loop->newer_sent, false, memory_order_acq_rel);
    (void)directory_read(&loop->reader);
    holds_news(loop);
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

/* Executor. */
static void loop_listens(struct shards_listener *listener)
{
    loop_notified(CONTAINER_OF(listener, struct service_loop, listener));
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
        list_init(&loop->reads);
        holds_init(loop);
        loop->listener.changed = loop_listens;
        shards_listen(service->shards, &loop->listener);
        directory_reader_init(&loop->reader, service->directory, loop_notified, loop);
        atomic_store_explicit(&loop->met, true, memory_order_seq_cst);
    }
    return loop;
}

/* Loop. */
static void loop_release(struct rpc_mail *mail)
{
    struct service_loop *loop = CONTAINER_OF(mail, struct service_loop, release);
    topology_streams_end(loop);
    rows_reads_end(loop);
    loop_notified(loop); /* polls that wait for any shard leave */
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
            ASSERT(list_empty(&loop->reads));
            directory_reader_deinit(&loop->reader);
            arena_deinit(&loop->message.arena);
            shards_unlisten(service->shards, &loop->listener);
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
