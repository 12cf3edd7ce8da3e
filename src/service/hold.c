/* service/hold.c - see hold.h. */
#include "service/hold.h"

#include "base/assert.h"
#include "service/call_int.h"

/* --- the book --- */

struct held_shard {
    struct map_node node; /* key: id */
    struct uuid id;
    struct held_count count;
};

void hold_book_init(struct hold_book *book)
{
    *book = (struct hold_book){0};
    ASSERT(pthread_mutex_init(&book->lock, NULL) == 0);
    map_init(&book->shards);
}

void hold_book_deinit(struct hold_book *book)
{
    ASSERT(book->all.calls == 0 && book->shards.count == 0);
    map_deinit(&book->shards);
    (void)pthread_mutex_destroy(&book->lock);
}

static struct held_shard *held_shard_get(struct hold_book *book, const struct uuid *id)
{
    struct held_shard *shard =
        MAP_ENTRY(map_find(&book->shards, uuid_bytes(id)), struct held_shard, node);
    if (shard == NULL) {
        shard = xcalloc(1, sizeof *shard);
        shard->id = *id;
        map_insert(&book->shards, &shard->node, uuid_bytes(&shard->id));
    }
    return shard;
}

static void held_shard_drop_empty(struct hold_book *book, struct held_shard *shard)
{
    if (shard->count.calls == 0) {
        map_remove(&book->shards, &shard->node);
        free(shard);
    }
}

static bool fits(const struct held_count *count, size_t bytes, size_t calls_max, size_t bytes_max,
                 bool urgent)
{
    const size_t calls = urgent ? calls_max : calls_max - calls_max / 4;
    const size_t most = urgent ? bytes_max : bytes_max - bytes_max / 4;
    return count->calls < calls && bytes <= most && count->bytes <= most - bytes;
}

static bool book_take(struct hold_book *book, const struct uuid *id, size_t bytes, bool urgent)
{
    pthread_mutex_lock(&book->lock);
    struct held_shard *shard = held_shard_get(book, id);
    const bool room =
        fits(&book->all, bytes, HELD_CALLS_MAX, HELD_BYTES_MAX, urgent) &&
        fits(&shard->count, bytes, HELD_CALLS_SHARD_MAX, HELD_BYTES_SHARD_MAX, urgent);
    if (room) {
        book->all.calls++;
        book->all.bytes += bytes;
        shard->count.calls++;
        shard->count.bytes += bytes;
    }
    held_shard_drop_empty(book, shard);
    pthread_mutex_unlock(&book->lock);
    return room;
}

static void book_give(struct hold_book *book, const struct uuid *id, size_t bytes)
{
    pthread_mutex_lock(&book->lock);
    struct held_shard *shard = held_shard_get(book, id);
    ASSERT(shard->count.calls != 0 && shard->count.bytes >= bytes);
    book->all.calls--;
    book->all.bytes -= bytes;
    shard->count.calls--;
    shard->count.bytes -= bytes;
    held_shard_drop_empty(book, shard);
    pthread_mutex_unlock(&book->lock);
}

/* --- waiting --- */

/* What one call has waiting. */
struct call_holds {
    struct list on; /* struct hold.of_call */
    size_t count;
    struct uuid shard; /* that it is booked for: the first one's */
    size_t bytes;
};

static struct call_holds *holds_of(struct call *call)
{
    if (call->holds == NULL) {
        call->holds = ARENA_NEW(call->arena, struct call_holds);
        list_init(&call->holds->on);
    }
    return call->holds;
}

/* The caller left; the last one may take the call with it. */
static void holds_cancelled(struct rpc_call *rpc, enum rpc_cancel reason, void *context)
{
    (void)rpc;
    (void)reason;
    struct call_holds *holds = ((struct call *)context)->holds;
    for (size_t left = holds->count; left != 0; left--) {
        struct hold *hold = CONTAINER_OF(list_first(&holds->on), struct hold, of_call);
        hold->news(hold);
    }
}

bool hold_begin(struct hold *hold, struct call *call, enum hold_rank rank, const struct uuid *shard,
                void (*news)(struct hold *hold))
{
    struct call_holds *holds = holds_of(call);
    if (shards_out(call->service->shards)) {
        return false;
    }
    if (holds->count == 0) {
        holds->bytes = call->arena->bytes + call->request_len;
        holds->shard = *shard;
        if (!book_take(&call->service->held, shard, holds->bytes, rank == HOLD_URGENT)) {
            return false;
        }
    }
    holds->count++;
    hold->call = call;
    hold->rank = rank;
    hold->news = news;
    list_push_back(&holds->on, &hold->of_call);
    list_push_back(&svc_loop(call)->held[rank], &hold->node);
    if (!call->ends_itself) {
        rpc_call_on_cancel(call->rpc, holds_cancelled, call);
    }
    return true;
}

void hold_end(struct hold *hold)
{
    if (!list_linked(&hold->node)) {
        return;
    }
    struct call_holds *holds = hold->call->holds;
    list_remove(&hold->node);
    list_remove(&hold->of_call);
    if (--holds->count == 0) {
        book_give(&hold->call->service->held, &holds->shard, holds->bytes);
    }
}

bool hold_is_on(const struct hold *hold)
{
    return list_linked(&hold->node);
}

enum hold_rank hold_rank_of(enum command_kind kind)
{
    if (command_keeps_work(kind)) {
        return HOLD_URGENT;
    }
    return kind == CMD_POLL || kind == CMD_AWAIT_CANCELS ? HOLD_WAITS : HOLD_WORK;
}

/* --- news --- */

static struct list_node *looking_pop(struct service_loop *loop)
{
    for (size_t rank = 0; rank < HOLD_RANKS; rank++) {
        struct list_node *node = list_pop_front(&loop->looking[rank]);
        if (node != NULL) {
            return node;
        }
    }
    return NULL;
}

static bool looking_more(const struct service_loop *loop)
{
    for (size_t rank = 0; rank < HOLD_RANKS; rank++) {
        if (!list_empty(&loop->looking[rank])) {
            return true;
        }
    }
    return false;
}

static void holds_look(struct service_loop *loop)
{
    struct list_node *node = NULL;
    for (size_t n = 0; n < HOLD_SLICE && (node = looking_pop(loop)) != NULL; n++) {
        struct hold *hold = CONTAINER_OF(node, struct hold, node);
        list_push_back(&loop->held[hold->rank], node);
        hold->news(hold);
    }
    if (looking_more(loop) && !loop->look_sent) {
        loop->look_sent = true;
        rpc_loop_post(loop->rpc, &loop->look);
    }
}

static void holds_look_again(struct rpc_mail *mail)
{
    struct service_loop *loop = CONTAINER_OF(mail, struct service_loop, look);
    loop->look_sent = false;
    holds_look(loop);
}

void holds_init(struct service_loop *loop)
{
    for (size_t rank = 0; rank < HOLD_RANKS; rank++) {
        list_init(&loop->held[rank]);
        list_init(&loop->looking[rank]);
    }
    loop->look.run = holds_look_again;
}

void holds_news(struct service_loop *loop)
{
    for (size_t rank = 0; rank < HOLD_RANKS; rank++) {
        struct list_node *node = NULL;
        while ((node = list_pop_front(&loop->held[rank])) != NULL) {
            list_push_back(&loop->looking[rank], node);
        }
    }
    holds_look(loop);
}

/* --- calls --- */

struct held_call {
    struct hold hold;
    struct uuid shard;
    struct rpc_timer timer;
};

static void held_settle(struct held_call *held)
{
    rpc_timer_stop(rpc_call_loop(held->hold.call->rpc), &held->timer);
    hold_end(&held->hold);
}

static void held_judge(const struct held_call *held, struct route *ret_route)
{
    const struct call *call = held->hold.call;
    const struct directory *directory = svc_directory(call);
    route_judge(call->service, directory, directory_find(directory, &held->shard), ret_route);
}

static void held_news(struct hold *hold)
{
    struct held_call *held = CONTAINER_OF(hold, struct held_call, hold);
    struct route route;
    held_judge(held, &route);
    if (!rpc_call_alive(hold->call->rpc)) {
        held_settle(held);
        svc_fail(hold->call, SILO_CANCELLED, "the caller left");
    } else if (route.verdict != ROUTE_HOLD) {
        held_settle(held);
        hold->call->method->run(hold->call);
    }
}

static void refuse(struct call *call, const struct route *route)
{
    svc_tell(call, route);
    svc_fail_err(call, &route->err);
}

static void held_late(struct rpc_timer *timer)
{
    struct held_call *held = CONTAINER_OF(timer, struct held_call, timer);
    struct route route;
    held_judge(held, &route);
    held_settle(held);
    if (route.verdict == ROUTE_HOLD) {
        refuse(held->hold.call, &route);
    } else { /* word of it is on its way to the loop */
        held->hold.call->method->run(held->hold.call);
    }
}

static enum hold_rank call_rank(const struct call *call)
{
    switch (call->method->rank) {
    case RPC_RANK_URGENT:
        return HOLD_URGENT;
    case RPC_RANK_SIDE:
        return HOLD_WAITS;
    case RPC_RANK_WORK:
        break;
    }
    return call->method->hands_out ? HOLD_WAITS : HOLD_WORK;
}

void svc_hold(struct call *call, const struct uuid *shard, const struct route *route)
{
    struct rpc_loop *loop = rpc_call_loop(call->rpc);
    const int64_t now_us = rpc_loop_now_us(loop);
    if (call->held_until_us == 0) {
        call->held_since_us = now_us;
        call->held_until_us = now_us + 1000 * (int64_t)svc_patience_ms(call, HOLD_MS_MAX);
    }
    struct held_call *held = ARENA_NEW(call->arena, struct held_call);
    held->shard = *shard;
    if (call->held_until_us <= now_us ||
        !hold_begin(&held->hold, call, call_rank(call), shard, held_news)) {
        refuse(call, route);
        return;
    }
    held->timer.fire = held_late;
    rpc_timer_start(loop, &held->timer, call->held_until_us);
}
