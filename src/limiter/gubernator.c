/*
 * limiter/gubernator.c - checks in, calls out, answers back.
 *
 *     check (any thread) -> inbox -> pending -> call -> done       everything after the inbox on
 *     the loop
 *
 *   1  The first check that is pending starts the timer. What is pending leaves as one call when
 *      the timer fires, when there are call_checks_max checks, or before a check that would make
 *      the message too large.
 *   2  Calls do not wait for each other. Answers belong to checks by their place; a place without
 *      one is an error.
 *   3  Only an answer that says under or over is one. Everything else is LIMITER_ERROR: a check
 *      never passes for want of an answer.
 *   4  A call may take connect_timeout + request_timeout while the connection is being made,
 *      request_timeout on one that stands. A call that times out on a connection which has said
 *      nothing since that call was sent gives the connection up: a peer that vanished without
 *      closing it would else fail checks for minutes.
 *   5  `unanswered` counts from the inbox to done, so what waits is bounded; what is refused goes
 *      through the inbox too, so that done never runs inside check.
 */
#include "limiter/gubernator.h"

#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/env.h"
#include "base/log.h"
#include "gubernator.pb-c.h"
#include "rpc/rpc.h"

#define GUBERNATOR_PATH "/pb.gubernator.V1/GetRateLimits"
#define GUBERNATOR_ADDRESS_BYTES 300u /* longest host name and a port */
#define GUBERNATOR_ENTRY_BYTES 96u    /* of one check on the wire besides its texts, at most */
/* The answer to a full call is under 100 KB; the metadata of answers is the server's choice. */
#define GUBERNATOR_REPLY_BYTES_MAX (16u << 20)
#define NO_TEXT BYTES_LIT("")
#define GUBERNATOR_WARN_US 10000000 /* failures are logged at most so often, with their number */

struct gubernator {
    struct limiter limiter;
    struct rpc_loop *loop;
    struct rpc_channel *channel;
    char target[GUBERNATOR_ADDRESS_BYTES];
    bool tls;
    int64_t coalesce_us, connect_us, request_us;
    uint32_t call_checks_max;

    struct mailbox inbox;
    struct rpc_mail wake;
    /* wake is on its way: set in inbox_wake, cleared in inbox_run before the inbox is read */
    atomic_bool waking;

    /* The loop's. */
    struct list pending; /* checks that go with the next call: struct limiter_check.node */
    uint32_t pending_count;
    size_t pending_bytes;
    struct rpc_timer pending_timer;
    size_t unanswered, unanswered_max; /* all checks, from the inbox to done */
    int64_t heard_us;                  /* when the server last answered */
    uint64_t failed;                   /* checks since the last line about failures */
    int64_t warned_us;
    bool warned; /* and all went well not since */
    bool stopping;
    struct rpc_mail stop;
    sem_t stopped;
};

/* One call. */
struct limiter_call {
    struct rpc_request request;
    struct gubernator *gubernator;
    struct list checks; /* struct limiter_check.node, in the order of the message */
    uint32_t count;
    int64_t sent_us;
    uint8_t *message;
};

/* --- answers --- */

/* Puts text into the check's error, cut between two characters. */
static void check_set_error(struct limiter_check *check, const char *what, struct bytes text)
{
    const size_t room = sizeof check->error;
    const size_t prefix = (size_t)snprintf(check->error, room, "%s", what);
    ASSERT(prefix < room);
    size_t len = text.len;
    if (len >= room - prefix) {
        len = room - prefix - 1;
        while (len > 0 && (text.ptr[len] & 0xc0) == 0x80) {
            len--;
        }
    }
    if (len > 0) {
        memcpy(check->error + prefix, text.ptr, len);
    }
    check->error[prefix + len] = '\0';
}

static void answer(struct gubernator *g, struct limiter_check *check, enum limiter_verdict verdict,
                   int64_t reset_ms)
{
    ASSERT(g->unanswered > 0);
    g->unanswered--;
    check->verdict = verdict;
    check->reset_ms = reset_ms > 0 ? reset_ms : 0;
    if (verdict != LIMITER_ERROR) {
        check->error[0] = '\0';
    }
    check->done(check);
}

static void answer_error(struct gubernator *g, struct limiter_check *check, const char *what,
                         struct bytes text)
{
    check_set_error(check, what, text);
    answer(g, check, LIMITER_ERROR, 0);
}

static void answer_errors(struct gubernator *g, struct list *checks, const char *what,
                          struct bytes text)
{
    struct list_node *node;
    while ((node = list_pop_front(checks)) != NULL) {
        answer_error(g, CONTAINER_OF(node, struct limiter_check, node), what, text);
    }
}

static void note_failed(struct gubernator *g, uint32_t count, struct bytes text)
{
    g->failed += count;
    const int64_t now_us = rpc_loop_now_us(g->loop);
    if (g->stopping || (g->warned_us != 0 && now_us - g->warned_us < GUBERNATOR_WARN_US)) {
        return;
    }
    log_warn("rate_checks_failed", LOG_STR("limiter", g->target), LOG_INT("checks", g->failed),
             LOG_BYTES("text", text), LOG_STR("instead", "their jobs wait and are checked again"),
             LOG_END);
    g->failed = 0;
    g->warned_us = now_us;
    g->warned = true;
}

static void note_good(struct gubernator *g)
{
    if (g->warned) {
        log_info("rate_checks_recovered", LOG_STR("limiter", g->target),
                 LOG_INT("failed", g->failed), LOG_END);
        g->failed = 0;
        g->warned = false;
    }
}

/* Whether the entry was an answer; *ret_text says why not. */
static bool answer_entry(struct gubernator *g, struct limiter_check *check,
                         const Pb__Gubernator__RateLimitResp *entry, struct bytes *ret_text)
{
    if (entry == NULL) {
        *ret_text = BYTES_LIT("the answer leaves this check out");
    } else if (*entry->error != '\0') {
        *ret_text = bytes_str(entry->error);
    } else if (entry->status == PB__GUBERNATOR__STATUS__UNDER_LIMIT) {
        answer(g, check, LIMITER_UNDER, entry->reset_time);
        return true;
    } else if (entry->status == PB__GUBERNATOR__STATUS__OVER_LIMIT) {
        answer(g, check, LIMITER_OVER, entry->reset_time);
        return true;
    } else {
        *ret_text = BYTES_LIT("the answer has an unknown status");
    }
    answer_error(g, check, "Gubernator: ", *ret_text);
    return false;
}

static void *reply_alloc(void *arena, size_t size)
{
    return arena_alloc(arena, size);
}

static void reply_release(void *arena, void *pointer)
{
    (void)arena;
    (void)pointer;
}

static void call_answer(struct limiter_call *call, struct bytes reply)
{
    struct gubernator *g = call->gubernator;
    struct arena arena;
    arena_init(&arena);
    ProtobufCAllocator allocator = {
        .alloc = reply_alloc, .free = reply_release, .allocator_data = &arena};
    const Pb__Gubernator__GetRateLimitsResp *message =
        pb__gubernator__get_rate_limits_resp__unpack(&allocator, reply.len, reply.ptr);
    const size_t entries = message != NULL ? message->n_responses : 0;
    struct bytes why = BYTES_NONE, text = NO_TEXT;
    uint32_t failed = 0;
    struct list_node *node;
    for (size_t i = 0; (node = list_pop_front(&call->checks)) != NULL; i++) {
        struct limiter_check *check = CONTAINER_OF(node, struct limiter_check, node);
        if (message == NULL) {
            text = BYTES_LIT("malformed answer");
            answer_error(g, check, "Gubernator: ", text);
        } else if (answer_entry(g, check, i < entries ? message->responses[i] : NULL, &text)) {
            continue;
        }
        failed++;
        why = why.ptr == NULL ? text : why;
    }
    if (failed != 0) {
        note_failed(g, failed, why);
    } else {
        note_good(g);
    }
    arena_deinit(&arena);
}

/* --- calls --- */

static SILO_RC channel_make(struct gubernator *g, struct silo_err *err)
{
    const struct rpc_channel_options options = {.target = g->target,
                                                .tls = g->tls,
                                                .message_bytes_max = GUBERNATOR_REPLY_BYTES_MAX,
                                                .calls_max = (uint32_t)g->unanswered_max,
                                                .connect_timeout_us = g->connect_us};
    struct rpc_channel *channel = NULL;
    TRY(rpc_channel_new(g->loop, &options, &channel, err));
    /* Calls that the old one still has end CANCELLED when this turn is over. */
    (void)rpc_channel_free(g->channel);
    g->channel = channel;
    return RC_OK;
}

static void call_timed_out(struct limiter_call *call)
{
    struct gubernator *g = call->gubernator;
    const bool ours = call->request.own.channel == g->channel;
    if (g->stopping || !ours || call->sent_us < g->heard_us ||
        rpc_channel_state(g->channel) != RPC_CHANNEL_READY) {
        return;
    }
    struct silo_err err = {0};
    if (channel_make(g, &err).code != SILO_OK) {
        log_warn("rate_limiter_reconnect_failed", LOG_STR("text", err.text), LOG_END);
    }
}

static void call_done(struct rpc_request *request)
{
    struct limiter_call *call = CONTAINER_OF(request, struct limiter_call, request);
    struct gubernator *g = call->gubernator;
    const bool late = request->status == RPC_STATUS_DEADLINE_EXCEEDED;
    const bool silent = late || request->status == RPC_STATUS_CANCELLED;
    if (!silent || rpc_request_trailer(request, "grpc-status").ptr != NULL) {
        g->heard_us = rpc_loop_now_us(g->loop);
    }
    if (request->status == RPC_STATUS_OK) {
        call_answer(call, request->reply);
    } else {
        char what[64];
        (void)snprintf(what, sizeof what, "Gubernator: %s: ", grpc_status_name(request->status));
        note_failed(g, call->count, request->text);
        answer_errors(g, &call->checks,
                      g->stopping ? "the rate limiter's client is stopping" : what,
                      g->stopping ? NO_TEXT : request->text);
    }
    if (late) {
        call_timed_out(call);
    }
    free(call->message);
    free(call);
}

/* The message of the checks; *ret_len its size. To be freed. */
static uint8_t *call_pack(const struct limiter_call *call, size_t *ret_len)
{
    struct arena arena;
    arena_init(&arena);
    Pb__Gubernator__GetRateLimitsReq message = PB__GUBERNATOR__GET_RATE_LIMITS_REQ__INIT;
    message.requests = arena_alloc(&arena, call->count * sizeof *message.requests);
    for (const struct list_node *node = list_first(&call->checks); node != NULL;
         node = list_next(&call->checks, node)) {
        const struct limiter_check *check =
            CONTAINER_OF((struct list_node *)node, struct limiter_check, node);
        Pb__Gubernator__RateLimitReq *entry = arena_alloc(&arena, sizeof *entry);
        pb__gubernator__rate_limit_req__init(entry);
        entry->name = arena_str(&arena, check->name);
        entry->unique_key = arena_str(&arena, check->unique_key);
        entry->hits = check->hits;
        entry->limit = check->limit;
        entry->duration = check->duration_ms;
        entry->algorithm = (Pb__Gubernator__Algorithm)check->algorithm;
        entry->behavior = check->behavior;
        message.requests[message.n_requests++] = entry;
    }
    ASSERT(message.n_requests == call->count);
    *ret_len = pb__gubernator__get_rate_limits_req__get_packed_size(&message);
    uint8_t *packed = xmalloc(*ret_len);
    (void)pb__gubernator__get_rate_limits_req__pack(&message, packed);
    arena_deinit(&arena);
    return packed;
}

static void pending_send(struct gubernator *g)
{
    rpc_timer_stop(g->loop, &g->pending_timer);
    struct limiter_call *call = xcalloc(1, sizeof *call);
    call->gubernator = g;
    call->count = g->pending_count;
    call->sent_us = rpc_loop_now_us(g->loop);
    list_init(&call->checks);
    struct list_node *node;
    while ((node = list_pop_front(&g->pending)) != NULL) {
        list_push_back(&call->checks, node);
    }
    g->pending_count = 0;
    g->pending_bytes = 0;

    size_t len = 0;
    call->message = call_pack(call, &len);
    const bool connected = rpc_channel_state(g->channel) == RPC_CHANNEL_READY;
    call->request =
        (struct rpc_request){.path = GUBERNATOR_PATH,
                             .message = bytes_of(call->message, len),
                             .timeout_us = g->request_us + (connected ? 0 : g->connect_us),
                             .on_done = call_done};
    rpc_channel_call(g->channel, &call->request);
}

static void pending_on_timer(struct rpc_timer *timer)
{
    pending_send(CONTAINER_OF(timer, struct gubernator, pending_timer));
}

/* --- checks --- */

/*
 * What a protobuf string and the C code for it can carry. One bad text would have its whole call
 * refused.
 */
static bool text_ok(struct bytes text)
{
    return (text.len == 0 || memchr(text.ptr, '\0', text.len) == NULL) && bytes_utf8(text, NULL);
}

static void pending_add(struct gubernator *g, struct limiter_check *check)
{
    const size_t bytes = check->name.len + check->unique_key.len + GUBERNATOR_ENTRY_BYTES;
    if (g->pending_count > 0 && g->pending_bytes + bytes > GUBERNATOR_CALL_BYTES_MAX) {
        pending_send(g);
    }
    if (g->pending_count == 0 && g->coalesce_us > 0) {
        rpc_timer_start(g->loop, &g->pending_timer, rpc_loop_now_us(g->loop) + g->coalesce_us);
    }
    list_push_back(&g->pending, &check->node);
    g->pending_count++;
    g->pending_bytes += bytes;
    if (g->pending_count == g->call_checks_max) {
        pending_send(g);
    }
}

static void check_take(struct gubernator *g, struct limiter_check *check)
{
    g->unanswered++;
    check->node = (struct list_node){0};
    if (g->stopping) {
        answer_error(g, check, "the rate limiter's client is stopping", NO_TEXT);
    } else if (g->unanswered > g->unanswered_max) {
        answer_error(g, check, "too many rate limit checks are waiting", NO_TEXT);
    } else if (!text_ok(check->name) || !text_ok(check->unique_key)) {
        answer_error(g, check, "a limit's name and unique_key must be UTF-8 without NUL characters",
                     NO_TEXT);
    } else {
        pending_add(g, check);
    }
}

static void inbox_take(struct gubernator *g)
{
    struct mail *next = mailbox_take(&g->inbox);
    while (next != NULL) {
        struct limiter_check *check = CONTAINER_OF(next, struct limiter_check, mail);
        next = next->next;
        check_take(g, check);
    }
    if (g->coalesce_us == 0 && g->pending_count > 0) {
        pending_send(g);
    }
}

/*
 * A sender can find the inbox asleep while its reader changes its mind; the message must not be
 * sent twice for that.
 */
static void inbox_wake(void *context)
{
    struct gubernator *g = context;
    if (!atomic_exchange(&g->waking, true)) {
        rpc_loop_post(g->loop, &g->wake);
    }
}

static void inbox_run(struct rpc_mail *mail)
{
    struct gubernator *g = CONTAINER_OF(mail, struct gubernator, wake);
    atomic_store(&g->waking, false);
    inbox_take(g);
    if (!mailbox_sleep(&g->inbox)) {
        inbox_wake(g);
    }
}

static void gubernator_check(struct limiter *limiter, struct limiter_check *check)
{
    struct gubernator *g = CONTAINER_OF(limiter, struct gubernator, limiter);
    mailbox_send_always(&g->inbox, &check->mail);
}

/* --- making and taking down --- */

static SILO_RC address_take(struct gubernator *g, const char *address, struct silo_err *err)
{
    static const char http[] = "http://", https[] = "https://";
    const char *host = address;
    if (strncmp(address, https, sizeof https - 1) == 0) {
        host += sizeof https - 1;
        g->tls = true;
    } else if (strncmp(address, http, sizeof http - 1) == 0) {
        host += sizeof http - 1;
    }
    size_t len = strlen(host);
    if (host != address && len > 0 && host[len - 1] == '/') {
        len--; /* a URL's empty path */
    }
    if (len == 0 || len >= sizeof g->target || memchr(host, '/', len) != NULL) {
        return FAIL(err, SILO_INVALID,
                    "gubernator.address must be http://host:port, https://host:port or host:port, "
                    "not \"%s\"",
                    address);
    }
    memcpy(g->target, host, len);
    g->target[len] = '\0';
    return RC_OK;
}

static void gubernator_release(struct gubernator *g)
{
    g->channel = rpc_channel_free(g->channel);
    g->loop = rpc_loop_free(g->loop);
    (void)sem_destroy(&g->stopped);
    free(g);
}

static void stop_run(struct rpc_mail *mail)
{
    struct gubernator *g = CONTAINER_OF(mail, struct gubernator, stop);
    g->stopping = true;
    inbox_take(g);
    rpc_timer_stop(g->loop, &g->pending_timer);
    answer_errors(g, &g->pending, "the rate limiter's client is stopping", NO_TEXT);
    g->pending_count = 0;
    (void)sem_post(&g->stopped);
}

static SILO_RC gubernator_start(struct gubernator *g, const char *address, struct silo_err *err)
{
    TRY(address_take(g, address, err));
    TRY(rpc_loop_new(&g->loop, err));
    struct silo_err why = {0};
    const silo_rc rc = channel_make(g, &why);
    if (rc.code != SILO_OK) {
        return FAIL(err, rc.code, "gubernator.address \"%s\": %s", address, why.text);
    }
    ASSERT(mailbox_sleep(&g->inbox));
    return RC_OK;
}

SILO_RC gubernator_new(const struct gubernator_options *options, struct gubernator **ret_gubernator,
                       struct silo_err *err)
{
    ASSERT(options->call_checks_max >= 1);
    ASSERT(options->call_checks_max <= GUBERNATOR_CALL_CHECKS_MAX);
    struct gubernator *g = xcalloc(1, sizeof *g);
    g->limiter.check = gubernator_check;
    g->coalesce_us = options->coalesce_interval_ms * 1000;
    g->connect_us = options->connect_timeout_ms * 1000;
    g->request_us = options->request_timeout_ms * 1000;
    g->call_checks_max = options->call_checks_max;
    g->unanswered_max = (size_t)GUBERNATOR_UNANSWERED_CALLS * options->call_checks_max;
    g->wake.run = inbox_run;
    g->stop.run = stop_run;
    g->pending_timer.fire = pending_on_timer;
    list_init(&g->pending);
    mailbox_init(&g->inbox, SIZE_MAX, inbox_wake, g);
    (void)sem_init(&g->stopped, 0, 0);
    atomic_init(&g->waking, false);
    const silo_rc rc = gubernator_start(g, options->address, err);
    if (rc.code != SILO_OK) {
        gubernator_release(g);
        return rc;
    }
    *ret_gubernator = g;
    return RC_OK;
}

struct limiter *gubernator_limiter(struct gubernator *gubernator)
{
    return &gubernator->limiter;
}

struct gubernator *gubernator_free(struct gubernator *gubernator)
{
    if (gubernator != NULL) {
        /*
         * In this order: checks on their way in, those that are pending, then the calls; none is
         * started after these.
         */
        rpc_loop_post(gubernator->loop, &gubernator->stop);
        while (sem_wait(&gubernator->stopped) != 0 && errno == EINTR) {
        }
        gubernator_release(gubernator);
    }
    return NULL;
}
