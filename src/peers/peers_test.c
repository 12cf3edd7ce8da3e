/*
 * peers/peers_test.c - two servers in one process: `front` sends calls on to `owner`, or to where
 * nobody listens; and what reaches callers then.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/env.h"
#include "peers/peers.h"

#define WAIT_MS 20000
#define ENDS 100u

static struct rpc_server *front, *owner;
static struct rpc_loop *loop;
static struct rpc_channel *channel;
static struct peers *peers;
static struct directory_home home;
static char owner_address[64];

/* What `owner` saw. */
static atomic_uint calls, parked, left;
static char mark[64];
static int64_t patience_us;

/* --- the owner's methods --- */

static void owner_note(struct rpc_call *call)
{
    const struct bytes value = rpc_call_header(call, "x-silo-forwarded");
    (void)snprintf(mark, sizeof mark, "%.*s", BYTES_FMT(value));
    patience_us = rpc_call_deadline_us(call) - env_mono_us(&env_system);
    (void)atomic_fetch_add(&calls, 1);
}

static void owner_echo(struct rpc_call *call, struct bytes request, void *context)
{
    (void)context;
    owner_note(call);
    (void)rpc_call_reply(call, request);
}

static void owner_refuse(struct rpc_call *call, struct bytes request, void *context)
{
    (void)request;
    (void)context;
    owner_note(call);
    (void)rpc_call_finish(call, RPC_STATUS_FAILED_PRECONDITION,
                          BYTES_LIT("job is already cancelled \xe2\x88\x9e"), NULL, 0);
}

/* It has gone on: the owner is another one now. */
static void owner_moved(struct rpc_call *call, struct bytes request, void *context)
{
    (void)request;
    (void)context;
    const struct rpc_header trailers[] = {
        {BYTES_LIT("x-silo-shard-owner-addr"), BYTES_LIT("10.0.0.9:7450")},
        {BYTES_LIT("x-silo-shard-owner-node"), BYTES_LIT("node-9")},
        {BYTES_LIT("x-silo-retry-after-ms"), BYTES_LIT("100")},
    };
    owner_note(call);
    (void)rpc_call_finish(call, RPC_STATUS_NOT_FOUND, BYTES_LIT("shard not found"), trailers, 3);
}

/* It has gone to who asks. */
static void owner_gave(struct rpc_call *call, struct bytes request, void *context)
{
    (void)request;
    (void)context;
    const struct rpc_header trailer = {BYTES_LIT("x-silo-shard-owner-node"), BYTES_LIT("node-1")};
    owner_note(call);
    (void)rpc_call_finish(call, RPC_STATUS_NOT_FOUND, BYTES_LIT("shard not found"), &trailer, 1);
}

static void park_cancelled(struct rpc_call *call, enum rpc_cancel reason, void *context)
{
    (void)reason;
    (void)context;
    (void)atomic_fetch_add(&left, 1);
    (void)rpc_call_finish(call, RPC_STATUS_CANCELLED, BYTES_NONE, NULL, 0);
}

static void owner_park(struct rpc_call *call, struct bytes request, void *context)
{
    (void)request;
    (void)context;
    owner_note(call);
    rpc_call_on_cancel(call, park_cancelled, NULL);
    (void)atomic_fetch_add(&parked, 1);
}

static const struct rpc_method owner_methods[] = {
    {.path = "/t.T/Echo", .on_call = owner_echo, .needs_auth = true},
    {.path = "/t.T/Refuse", .on_call = owner_refuse},
    {.path = "/t.T/Moved", .on_call = owner_moved},
    {.path = "/t.T/Back", .on_call = owner_gave},
    {.path = "/t.T/Park", .on_call = owner_park},
};

/* --- the front's --- */

static const char *target; /* of what is sent on */

static void front_back(void *context)
{
    (void)rpc_call_finish(context, RPC_STATUS_ABORTED, BYTES_LIT("served here"), NULL, 0);
}

static void front_call(struct rpc_call *call, struct bytes request, void *context)
{
    (void)request;
    const struct peers_hop hop = {
        .path = context, .id = "node-2", .address = target, .back = front_back, .context = call};
    if (!peers_forward(peers, call, &hop)) {
        (void)rpc_call_finish(call, RPC_STATUS_NOT_FOUND, BYTES_LIT("not sent on"), NULL, 0);
    }
}

static const struct rpc_method front_methods[] = {
    {.path = "/t.T/Echo", .on_call = front_call, .context = "/t.T/Echo"},
    {.path = "/t.T/Refuse", .on_call = front_call, .context = "/t.T/Refuse"},
    {.path = "/t.T/Moved", .on_call = front_call, .context = "/t.T/Moved"},
    {.path = "/t.T/Back", .on_call = front_call, .context = "/t.T/Back"},
    {.path = "/t.T/Park", .on_call = front_call, .context = "/t.T/Park"},
};

/* --- a caller --- */

struct asked {
    struct rpc_request request;
    struct rpc_header header;
    atomic_bool done;
    char text[256], address[64], node[64], retry_ms[16];
    uint8_t reply[16];
    size_t reply_len;
};

static void keep(char *to, size_t size, struct bytes value)
{
    (void)snprintf(to, size, "%.*s", BYTES_FMT(value));
}

static void asked_done(struct rpc_request *request)
{
    struct asked *asked = request->context;
    keep(asked->text, sizeof asked->text, request->text);
    keep(asked->address, sizeof asked->address,
         rpc_request_trailer(request, "x-silo-shard-owner-addr"));
    keep(asked->node, sizeof asked->node, rpc_request_trailer(request, "x-silo-shard-owner-node"));
    keep(asked->retry_ms, sizeof asked->retry_ms,
         rpc_request_trailer(request, "x-silo-retry-after-ms"));
    asked->reply_len = request->reply.len;
    if (request->reply.len != 0 && request->reply.len <= sizeof asked->reply) {
        memcpy(asked->reply, request->reply.ptr, request->reply.len);
    }
    atomic_store(&asked->done, true);
}

static void until(atomic_uint *count, unsigned wanted)
{
    for (int i = 0; i < WAIT_MS && atomic_load(count) != wanted; i++) {
        (void)usleep(1000);
    }
    assert_int_equal(atomic_load(count), wanted);
}

/* ask: value of x-silo-forward, NULL = without. */
static void begin(struct asked *asked, const char *path, const char *name, const char *value,
                  int64_t timeout_us)
{
    *asked = (struct asked){.header = {bytes_str(name), bytes_str(value != NULL ? value : "")}};
    asked->request = (struct rpc_request){.path = path,
                                          .message = BYTES_LIT("hello"),
                                          .timeout_us = timeout_us,
                                          .headers = &asked->header,
                                          .header_count = value != NULL ? 1 : 0,
                                          .on_done = asked_done,
                                          .context = asked};
    rpc_channel_call(channel, &asked->request);
}

static void finished(struct asked *asked)
{
    for (int i = 0; i < WAIT_MS && !atomic_load(&asked->done); i++) {
        (void)usleep(1000);
    }
    assert_true(atomic_load(&asked->done));
}

static struct asked ask(const char *path, const char *value)
{
    struct asked asked;
    begin(&asked, path, "x-silo-forward", value, WAIT_MS * 1000LL);
    finished(&asked);
    return asked;
}

/* --- the rig --- */

static void publish(bool owner_is_member)
{
    struct directory_builder builder;
    directory_builder_init(&builder, &(struct uuid){{0}});
    if (owner_is_member) {
        const struct directory_node node = {.id = "node-2", .address = owner_address};
        (void)directory_builder_node(&builder, &node);
    }
    directory_publish(&home, directory_builder_finish(&builder));
}

static struct rpc_server *serve(const struct rpc_method *methods, size_t count, const char *token)
{
    struct silo_err err;
    struct rpc_server *server = NULL;
    const struct rpc_server_options options = {.listen = "127.0.0.1:0", .auth_token = token};
    assert_int_equal(rpc_server_new(&options, &server, &err).code, SILO_OK);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(rpc_server_add(server, &methods[i], &err).code, SILO_OK);
    }
    assert_int_equal(rpc_server_start(server, &err).code, SILO_OK);
    return server;
}

static void start(enum peers_mode mode)
{
    struct silo_err err;
    front = serve(front_methods, sizeof front_methods / sizeof front_methods[0], NULL);
    owner = serve(owner_methods, sizeof owner_methods / sizeof owner_methods[0], "sesame");
    (void)snprintf(owner_address, sizeof owner_address, "127.0.0.1:%u", rpc_server_port(owner));
    target = owner_address;
    directory_home_init(&home);
    publish(true);
    const struct peers_options options = {
        .mode = mode, .directory = &home, .node_id = "node-1", .auth_token = "sesame"};
    assert_int_equal(peers_new(&options, &peers, &err).code, SILO_OK);
    char front_address[64];
    (void)snprintf(front_address, sizeof front_address, "127.0.0.1:%u", rpc_server_port(front));
    assert_int_equal(rpc_loop_new(&loop, &err).code, SILO_OK);
    const struct rpc_channel_options to = {.target = front_address};
    assert_int_equal(rpc_channel_new(loop, &to, &channel, &err).code, SILO_OK);
    atomic_store(&calls, 0);
    atomic_store(&parked, 0);
    atomic_store(&left, 0);
}

static void stop(void)
{
    channel = rpc_channel_free(channel);
    loop = rpc_loop_free(loop);
    front = rpc_server_free(front);
    peers = peers_free(peers);
    owner = rpc_server_free(owner);
    directory_home_deinit(&home);
}

/* --- tests --- */

static void an_answer_comes_back_with_whom_to_ask_next_time(void **state)
{
    (void)state;
    start(PEERS_ASKED);
    const struct asked asked = ask("/t.T/Echo", "yes");
    assert_int_equal(asked.request.status, RPC_STATUS_OK);
    assert_int_equal(asked.reply_len, 5);
    assert_memory_equal(asked.reply, "hello", 5);
    assert_string_equal(asked.address, owner_address);
    assert_string_equal(asked.node, "node-2");
    assert_string_equal(asked.retry_ms, "");
    assert_string_equal(mark, "node-1");
    stop();
}

static void an_error_comes_back_as_it_is(void **state)
{
    (void)state;
    start(PEERS_ALWAYS);
    struct asked asked = ask("/t.T/Refuse", NULL);
    assert_int_equal(asked.request.status, RPC_STATUS_FAILED_PRECONDITION);
    assert_string_equal(asked.text, "job is already cancelled \xe2\x88\x9e");
    assert_string_equal(asked.address, owner_address);
    asked = ask("/t.T/Moved", NULL);
    assert_int_equal(asked.request.status, RPC_STATUS_NOT_FOUND);
    assert_string_equal(asked.text, "shard not found");
    assert_string_equal(asked.address, "10.0.0.9:7450"); /* the owner knows better */
    assert_string_equal(asked.node, "node-9");
    assert_string_equal(asked.retry_ms, "100");
    stop();
}

static void a_call_for_a_shard_that_came_here_comes_back(void **state)
{
    (void)state;
    start(PEERS_ALWAYS);
    const struct asked asked = ask("/t.T/Back", NULL);
    assert_int_equal(atomic_load(&calls), 1);
    assert_string_equal(asked.text, "served here");
    stop();
}

static void who_is_asked_decides_what_goes_on(void **state)
{
    (void)state;
    static const struct {
        enum peers_mode mode;
        const char *value;
        bool sent;
    } cases[] = {
        {PEERS_NEVER, "yes", false}, {PEERS_NEVER, NULL, false},  {PEERS_ASKED, NULL, false},
        {PEERS_ASKED, "yes", true},  {PEERS_ASKED, "no", false},  {PEERS_ALWAYS, NULL, true},
        {PEERS_ALWAYS, "yes", true}, {PEERS_ALWAYS, "no", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        start(cases[i].mode);
        const struct asked asked = ask("/t.T/Echo", cases[i].value);
        assert_int_equal(asked.request.status,
                         cases[i].sent ? RPC_STATUS_OK : RPC_STATUS_NOT_FOUND);
        assert_int_equal(atomic_load(&calls), cases[i].sent ? 1 : 0);
        stop();
    }
}

/* Else two nodes that take each other for the owner would send it to and fro. */
static void what_was_sent_on_is_not_sent_on_again(void **state)
{
    (void)state;
    start(PEERS_ALWAYS);
    struct asked asked;
    begin(&asked, "/t.T/Echo", "x-silo-forwarded", "node-7", WAIT_MS * 1000LL);
    finished(&asked);
    assert_int_equal(asked.request.status, RPC_STATUS_NOT_FOUND);
    assert_string_equal(asked.text, "not sent on");
    assert_int_equal(atomic_load(&calls), 0);
    stop();
}

static void the_callers_patience_goes_on_with_it(void **state)
{
    (void)state;
    start(PEERS_ALWAYS);
    (void)ask("/t.T/Echo", NULL);
    assert_true(patience_us > 0 && patience_us <= WAIT_MS * 1000LL);
    struct asked asked;
    begin(&asked, "/t.T/Echo", "x-silo-forward", NULL, 0);
    finished(&asked);
    assert_true(patience_us > WAIT_MS * 1000LL && patience_us <= PEERS_WAIT_US);
    stop();
}

static void a_caller_that_leaves_takes_its_call_with_it(void **state)
{
    (void)state;
    start(PEERS_ALWAYS);
    struct asked asked;
    begin(&asked, "/t.T/Park", "x-silo-forward", NULL, WAIT_MS * 1000LL);
    until(&parked, 1);
    channel = rpc_channel_free(channel); /* which ends it */
    finished(&asked);
    assert_int_equal(asked.request.status, RPC_STATUS_CANCELLED);
    until(&left, 1);
    stop();
}

static void a_call_that_waits_ends_with_the_server(void **state)
{
    (void)state;
    start(PEERS_ALWAYS);
    struct asked asked;
    begin(&asked, "/t.T/Park", "x-silo-forward", NULL, WAIT_MS * 1000LL);
    until(&parked, 1);
    front = rpc_server_free(front);
    finished(&asked);
    assert_int_not_equal(asked.request.status, RPC_STATUS_OK);
    until(&left, 1);
    stop();
}

static void a_node_that_cannot_be_reached_is_named(void **state)
{
    (void)state;
    start(PEERS_ALWAYS);
    static const char *const targets[] = {"127.0.0.1:1", "not an address"};
    for (size_t i = 0; i < 2; i++) {
        target = targets[i];
        const struct asked asked = ask("/t.T/Echo", NULL);
        assert_int_equal(asked.request.status, RPC_STATUS_UNAVAILABLE);
        assert_string_equal(asked.node, "node-2");
        assert_string_equal(asked.address, targets[i]);
        assert_string_equal(asked.retry_ms, "500");
    }
    stop();
}

static void channels_of_nodes_that_left_are_closed(void **state)
{
    (void)state;
    start(PEERS_ALWAYS);
    (void)ask("/t.T/Echo", NULL);
    publish(true);
    assert_int_equal(rpc_server_conns(owner), 1);
    publish(false);
    for (int i = 0; i < WAIT_MS && rpc_server_conns(owner) != 0; i++) {
        (void)usleep(1000);
    }
    assert_int_equal(rpc_server_conns(owner), 0);
    stop();
}

/* Addresses that nobody listens at, more of them than there may be channels. */
static void idle_channels_make_room(void **state)
{
    (void)state;
    start(PEERS_ALWAYS);
    char address[32];
    target = address;
    for (unsigned i = 0; i < PEERS_MAX + 8; i++) {
        (void)snprintf(address, sizeof address, "127.0.0.1:%u", i + 1);
        const struct asked asked = ask("/t.T/Echo", NULL);
        assert_int_equal(asked.request.status, RPC_STATUS_UNAVAILABLE);
        assert_null(strstr(asked.text, "too many nodes"));
    }
    target = owner_address;
    assert_int_equal(ask("/t.T/Echo", NULL).request.status, RPC_STATUS_OK);
    stop();
}

static void a_wrong_certificate_is_found_at_the_start(void **state)
{
    (void)state;
    struct silo_err err;
    struct peers *none = NULL;
    directory_home_init(&home);
    const struct peers_options options = {.mode = PEERS_ASKED,
                                          .directory = &home,
                                          .node_id = "node-1",
                                          .tls = true,
                                          .tls_ca = "/nonexistent/ca.pem"};
    assert_int_not_equal(peers_new(&options, &none, &err).code, SILO_OK);
    assert_null(none);
    directory_home_deinit(&home);
}

/* --- questions of the node's own --- */

struct own_ask {
    struct rpc_mail mail;
    struct peers_question question;
    struct peers_ask *ask;
    struct rpc_mail stop;
    atomic_bool done;
    uint32_t status;
    char reply[16];
};

static void own_done(void *context, const struct peers_answer *answer)
{
    struct own_ask *own = context;
    own->status = answer->status;
    if (answer->reply.ptr != NULL) {
        (void)snprintf(own->reply, sizeof own->reply, "%.*s", BYTES_FMT(answer->reply));
        free((void *)answer->reply.ptr);
    }
    atomic_store(&own->done, true);
}

static void own_begin(struct rpc_mail *mail)
{
    struct own_ask *own = CONTAINER_OF(mail, struct own_ask, mail);
    own->ask = peers_ask(peers, &own->question);
    assert_non_null(own->ask);
    assert_false(atomic_load(&own->done));
}

static void own_stop(struct rpc_mail *mail)
{
    const struct own_ask *own = CONTAINER_OF(mail, struct own_ask, stop);
    peers_ask_stop(own->ask);
}

static void own_ask(struct own_ask *own, const char *path, const char *address)
{
    *own = (struct own_ask){.mail.run = own_begin,
                            .stop.run = own_stop,
                            .question = {.path = path,
                                         .address = address,
                                         .message = BYTES_LIT("hello"),
                                         .timeout_us = WAIT_MS * 1000LL,
                                         .loop = loop,
                                         .done = own_done,
                                         .context = own}};
    rpc_loop_post(loop, &own->mail);
}

static void own_finished(struct own_ask *own)
{
    for (int i = 0; i < WAIT_MS && !atomic_load(&own->done); i++) {
        (void)usleep(1000);
    }
    assert_true(atomic_load(&own->done));
}

static void a_node_asks_in_its_own_name(void **state)
{
    (void)state;
    start(PEERS_NEVER); /* which is about calls of others */
    struct own_ask own;
    own_ask(&own, "/t.T/Echo", owner_address);
    own_finished(&own);
    assert_int_equal(own.status, RPC_STATUS_OK);
    assert_string_equal(own.reply, "hello");
    assert_string_equal(mark, "node-1");
    own_ask(&own, "/t.T/Refuse", owner_address);
    own_finished(&own);
    assert_int_equal(own.status, RPC_STATUS_FAILED_PRECONDITION);
    own_ask(&own, "/t.T/Echo", "127.0.0.1:1");
    own_finished(&own);
    assert_int_equal(own.status, RPC_STATUS_UNAVAILABLE);
    own_ask(&own, "/t.T/Echo", "not an address");
    own_finished(&own);
    assert_int_equal(own.status, RPC_STATUS_UNAVAILABLE);
    stop();
}

static void a_question_that_is_stopped_ends_there_too(void **state)
{
    (void)state;
    start(PEERS_NEVER);
    struct own_ask own;
    own_ask(&own, "/t.T/Park", owner_address);
    until(&parked, 1);
    rpc_loop_post(loop, &own.stop);
    own_finished(&own);
    assert_int_equal(own.status, RPC_STATUS_CANCELLED);
    until(&left, 1);
    /* And at once after it began. */
    own_ask(&own, "/t.T/Park", owner_address);
    rpc_loop_post(loop, &own.stop);
    own_finished(&own);
    assert_int_equal(own.status, RPC_STATUS_CANCELLED);
    stop();
}

/* As at the end of a server: a change that the loop has not heard of yet is nobody's any more. */
static void the_directory_changes_while_it_ends(void **state)
{
    (void)state;
    directory_home_init(&home);
    for (unsigned i = 0; i < ENDS; i++) {
        struct silo_err err;
        struct peers *short_lived = NULL;
        const struct peers_options options = {
            .mode = PEERS_ASKED, .directory = &home, .node_id = "node-1"};
        assert_int_equal(peers_new(&options, &short_lived, &err).code, SILO_OK);
        publish(false);
        short_lived = peers_free(short_lived);
        assert_true(list_empty(&home.readers));
    }
    directory_home_deinit(&home);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_directory_changes_while_it_ends),
        cmocka_unit_test(an_answer_comes_back_with_whom_to_ask_next_time),
        cmocka_unit_test(an_error_comes_back_as_it_is),
        cmocka_unit_test(a_call_for_a_shard_that_came_here_comes_back),
        cmocka_unit_test(who_is_asked_decides_what_goes_on),
        cmocka_unit_test(what_was_sent_on_is_not_sent_on_again),
        cmocka_unit_test(the_callers_patience_goes_on_with_it),
        cmocka_unit_test(a_caller_that_leaves_takes_its_call_with_it),
        cmocka_unit_test(a_call_that_waits_ends_with_the_server),
        cmocka_unit_test(a_node_that_cannot_be_reached_is_named),
        cmocka_unit_test(channels_of_nodes_that_left_are_closed),
        cmocka_unit_test(idle_channels_make_room),
        cmocka_unit_test(a_wrong_certificate_is_found_at_the_start),
        cmocka_unit_test(a_node_asks_in_its_own_name),
        cmocka_unit_test(a_question_that_is_stopped_ends_there_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
