/*
 * service/stray.c - requests that their shard sent away with nothing done: it closes for a move, or
 * is not here any more.
 *
 *   sent ──ROUTED_WRONG──► the directory has the shard elsewhere here ──► sent again (thrice)
 *                                 │                                          ▲
 *                                 ├── as it was, or on its way ──► held ─────┘ the shard is open
 *                                 │                                 └──too long──► UNAVAILABLE
 *                                 └── not here any more ──► what a new call would be told
 *
 * A shard that goes and comes back has the place it had. So a request goes there again only when
 * the shard was seen closed since, or it would be sent to and fro until word of the move is here.
 */
#include "base/assert.h"
#include "service/call_int.h"

struct stray {
    struct hold hold;
    struct rpc_timer timer;
    struct call *call;
    struct shard_request *request;
    struct rpc_mail *mail; /* brings the request back */
    struct directory_shard *shard;
    int64_t since_us; /* when it was sent; what it waits for in the shard is less by that time */
    int64_t until_us;
    uint32_t tries;
    bool closed; /* the shard was seen so since the request came back */
};

static void stray_settle(struct stray *stray)
{
    hold_end(&stray->hold);
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
    stray->closed = false;
    *stray->shard = *shard;
    stray->request->cmd.rc = RC_OK;
    if (!shard_send(stray->call->service->shards, shard->ref, stray->request)) {
        stray_fail(stray, SILO_EXHAUSTED, ERROR_MAILBOX_FULL);
    }
}

/*
 * What a new call would be told. The text alone goes into the result of one item of many, so that
 * one says whom to ask by itself.
 */
static void stray_tell(struct stray *stray, const struct route *route)
{
    struct call *call = stray->call;
    stray_settle(stray);
    if (stray->request == &call->request && svc_forward(call, &stray->shard->id, route)) {
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

static const struct directory_shard *stray_judge(const struct stray *stray, struct route *ret_route)
{
    const struct call *call = stray->call;
    const struct directory *directory = svc_directory(call);
    const struct directory_shard *shard = directory_find(directory, &stray->shard->id);
    route_judge(call->service, directory, shard, ret_route);
    return shard;
}

static void stray_give_up(struct stray *stray)
{
    struct route route;
    (void)stray_judge(stray, &route);
    if (route.verdict == ROUTE_RUN) {
        route_not_ready(&route);
    }
    stray_tell(stray, &route);
}

static void stray_late(struct rpc_timer *timer)
{
    stray_give_up(CONTAINER_OF(timer, struct stray, timer));
}

static void stray_news(struct hold *hold);

static void stray_wait(struct stray *stray)
{
    struct call *call = stray->call;
    struct rpc_loop *loop = rpc_call_loop(call->rpc);
    if (hold_is_on(&stray->hold)) {
        return;
    }
    if (stray->until_us <= rpc_loop_now_us(loop) ||
        !hold_begin(&stray->hold, call, hold_rank_of(stray->request->cmd.kind), &stray->shard->id,
                    stray_news)) {
        stray_give_up(stray);
        return;
    }
    stray->timer.fire = stray_late;
    rpc_timer_start(loop, &stray->timer, stray->until_us);
}

static void stray_go_on(struct stray *stray)
{
    struct route route;
    const struct directory_shard *shard = stray_judge(stray, &route);
    if (!rpc_call_alive(stray->call->rpc)) {
        stray_fail(stray, SILO_CANCELLED, "the caller left");
        return;
    }
    switch (route.verdict) {
    case ROUTE_RUN:
        if (stray->tries < STRAY_TRIES_MAX &&
            (stray->closed || !shard_ref_eq(shard->ref, stray->request->ref))) {
            stray_send(stray, shard);
        } else {
            stray_wait(stray);
        }
        return;
    case ROUTE_HOLD:
        stray->closed = true;
        stray_wait(stray);
        return;
    case ROUTE_REDIRECT:
    case ROUTE_REFUSE:
        stray_tell(stray, &route);
        return;
    }
}

static void stray_news(struct hold *hold)
{
    struct stray *stray = CONTAINER_OF(hold, struct stray, hold);
    stray->tries = 0;
    stray_go_on(stray);
}

void svc_again(struct call *call, struct shard_request *request, struct rpc_mail *mail,
               struct directory_shard *shard, int64_t sent_us, struct stray **stray)
{
    const int64_t now_us = rpc_loop_now_us(rpc_call_loop(call->rpc));
    if (*stray == NULL) {
        *stray = ARENA_NEW(call->arena, struct stray);
        **stray = (struct stray){
            .call = call, .request = request, .mail = mail, .shard = shard, .since_us = sent_us};
    }
    if ((*stray)->tries < STRAY_TRIES_MAX) { /* else it goes to and fro */
        (*stray)->until_us = now_us + 1000 * (int64_t)svc_patience_ms(call, HOLD_MS_MAX);
    }
    stray_go_on(*stray);
}

bool svc_again_stop(struct stray *stray)
{
    if (stray == NULL || !hold_is_on(&stray->hold)) {
        return false;
    }
    stray_fail(stray, SILO_CANCELLED, "stopped");
    return true;
}
