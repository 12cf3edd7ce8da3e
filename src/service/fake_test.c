/*
 * service/fake_test.c - the functions of shard.h that the service uses, and loops and calls, as a
 * test wants them.
 */
#include "service/fake_test.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/assert.h"

struct fake fake;
static struct mail *posted;

/* --- shards --- */

static struct fake_shard *shard_of(struct shard_ref ref)
{
    assert_true(ref.slot < fake.shard_count);
    return &fake.shards[ref.slot];
}

enum shard_status shard_status(const struct shards *shards, struct shard_ref ref)
{
    (void)shards;
    const struct fake_shard *shard = shard_of(ref);
    return shard->ref.generation == ref.generation ? shard->status : SHARD_CLOSED;
}

bool shard_send(struct shards *shards, struct shard_ref ref, struct shard_request *request)
{
    if (shard_of(ref)->full || fake.request_count == FAKE_REQUESTS_MAX) {
        return false;
    }
    request->shards = shards;
    request->ref = ref;
    fake.requests[fake.request_count++] = request;
    return true;
}

bool shards_out(struct shards *shards)
{
    (void)shards;
    return fake.out;
}

static struct shards_listener *listener;

void shards_listen(struct shards *shards, struct shards_listener *who)
{
    (void)shards;
    assert_null(listener);
    listener = who;
}

void shards_unlisten(struct shards *shards, struct shards_listener *who)
{
    (void)shards;
    assert_ptr_equal(listener, who);
    listener = NULL;
}

void fake_status(size_t shard, enum shard_status status)
{
    fake.shards[shard].status = status;
    if (listener != NULL && status != SHARD_CLOSING && status != SHARD_CLOSED) {
        listener->changed(listener);
    }
    fake_run();
}

void shard_reset(struct shards *shards, struct shard_ref ref, struct shard_control *control)
{
    (void)shards;
    control->ref = ref;
    fake.controls[fake.control_count++] = control;
}

void shard_answer_taken(struct shard_request *request)
{
    request->answer_bytes = 0;
}

/* --- rpc --- */

static struct bytes call_authority(const struct rpc_call *call)
{
    (void)call;
    return fake.authority;
}

static bool call_alive(const struct rpc_call *call)
{
    return !call->gone;
}

static void call_count(struct rpc_call *call, uint64_t bytes)
{
    call->counted += bytes;
}

static bool call_reserve(struct rpc_call *call, uint64_t bytes)
{
    return !call->gone && (bytes == 0 || !fake.no_room);
}

static void call_on_cancel(struct rpc_call *call,
                           void (*on_cancel)(struct rpc_call *call, enum rpc_cancel reason,
                                             void *context),
                           void *context)
{
    call->on_cancel = on_cancel;
    call->cancel_context = context;
}

static int64_t loop_now_us(struct rpc_loop *loop)
{
    (void)loop;
    return fake.now_us;
}

static struct heap timers;

static void loop_timer_stop(struct rpc_loop *loop, struct rpc_timer *timer)
{
    (void)loop;
    if (heap_has(&timer->node)) {
        heap_remove(&timers, &timer->node);
    }
}

static void loop_timer_start(struct rpc_loop *loop, struct rpc_timer *timer, int64_t at_us)
{
    loop_timer_stop(loop, timer);
    heap_insert(&timers, &timer->node, at_us);
}

void fake_pass(int64_t us)
{
    const int64_t end_us = fake.now_us + us;
    for (struct heap_node *node = heap_min(&timers); node != NULL && node->key <= end_us;
         node = heap_min(&timers)) {
        fake.now_us = node->key > fake.now_us ? node->key : fake.now_us;
        struct rpc_timer *timer = CONTAINER_OF(node, struct rpc_timer, node);
        heap_remove(&timers, node);
        timer->fire(timer);
    }
    fake.now_us = end_us;
}

static void loop_post(struct rpc_loop *loop, struct rpc_mail *mail)
{
    (void)loop;
    struct mail **end = &posted;
    while (*end != NULL) {
        assert_ptr_not_equal(*end, &mail->mail); /* it is on its way already */
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
static struct rpc_loop {
    struct rpc_loop_base base;
} fake_loop = {{.ops = &loop_ops}};

static void reply_keep(struct rpc_call *call, struct bytes reply)
{
    free((void *)call->reply.ptr);
    call->reply = bytes_dup(reply);
}

static bool call_done(struct rpc_call *call, uint32_t status, struct bytes text, struct bytes reply)
{
    assert_false(call->done);
    call->done = true;
    call->status = status;
    call->text = xcalloc(1, text.len + 1);
    if (text.len != 0) {
        memcpy(call->text, text.ptr, text.len);
    }
    reply_keep(call, reply);
    return !call->gone;
}

static bool call_reply(struct rpc_call *call, const struct rpc_piece *pieces, size_t count)
{
    assert_true(count > 0 && count <= RPC_PIECES_MAX);
    size_t size = 0;
    for (size_t i = 0; i < count; i++) {
        assert_true(i + 1 == count || pieces[i].release == NULL);
        size += pieces[i].bytes.len;
    }
    uint8_t *whole = xmalloc(size + 1);
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        if (pieces[i].bytes.len != 0) {
            memcpy(whole + at, pieces[i].bytes.ptr, pieces[i].bytes.len);
        }
        at += pieces[i].bytes.len;
    }
    const struct rpc_piece *last = &pieces[count - 1];
    const bool heard = call_done(call, 0, BYTES_LIT(""), bytes_of(whole, size));
    free(whole);
    if (last->release == NULL) {
        return heard;
    }
    if (!heard) {
        last->release(last->context, false);
    } else {
        call->release = last->release;
        call->release_context = last->context;
    }
    return heard;
}

static bool call_finish(struct rpc_call *call, uint32_t status, struct bytes text,
                        const struct rpc_header *trailers, size_t trailer_count)
{
    const struct {
        const char *name;
        char *text;
        size_t size;
    } known[] = {
        {"x-silo-shard-owner-addr", call->owner, sizeof call->owner},
        {"x-silo-shard-owner-node", call->owner_node, sizeof call->owner_node},
        {"x-silo-retry-after-ms", call->retry_ms, sizeof call->retry_ms},
    };
    for (size_t i = 0; i < trailer_count; i++) {
        for (size_t k = 0; k < sizeof known / sizeof known[0]; k++) {
            if (bytes_eq(trailers[i].name, bytes_str(known[k].name))) {
                (void)snprintf(known[k].text, known[k].size, "%.*s", BYTES_FMT(trailers[i].value));
            }
        }
    }
    return call_done(call, status, text, BYTES_NONE);
}

static bool call_send(struct rpc_call *call, const struct rpc_piece *pieces, size_t count,
                      bool copy)
{
    struct buf whole;
    buf_init(&whole, SIZE_MAX);
    for (size_t i = 0; i < count; i++) {
        buf_append(&whole, pieces[i].bytes.ptr, pieces[i].bytes.len);
        if (!copy && pieces[i].release != NULL) {
            pieces[i].release(pieces[i].context, !call->gone);
        }
    }
    reply_keep(call, buf_bytes(&whole));
    buf_deinit(&whole);
    call->sent++;
    return !call->gone;
}

static bool call_writable(const struct rpc_call *call)
{
    return !call->stuffed;
}

static void call_on_writable(struct rpc_call *call,
                             void (*on_writable)(struct rpc_call *call, void *context),
                             void *context)
{
    call->on_writable = on_writable;
    call->writable_context = context;
}

static const struct rpc_call_ops call_ops = {
    .send = call_send,
    .writable = call_writable,
    .on_writable = call_on_writable,
    .authority = call_authority,
    .alive = call_alive,
    .on_cancel = call_on_cancel,
    .count = call_count,
    .reserve = call_reserve,
    .reply = call_reply,
    .finish = call_finish,
};

/* --- the test's side --- */

/*
 * The first shard has the tenants below FAKE_BOUND, "t1" among them; the others those from there
 * on, "foreign" among them.
 */
void fake_publish_unheard(void)
{
    struct directory_builder builder;
    directory_builder_init(&builder, &(struct uuid){{0}});
    directory_builder_map(&builder, FAKE_MAP);
    static const struct directory_node self = {.id = "node-1", .address = "127.0.0.1:1"};
    static const struct directory_node other = {
        .id = "node-2", .address = "10.0.0.2:50051", .leaving = true};
    directory_builder_self(&builder, directory_builder_node(&builder, &self));
    uint32_t node = DIRECTORY_NO_NODE;
    for (size_t i = 0; i < fake.shard_count; i++) {
        if ((fake.shards[i].place == PLACE_NODE || fake.shards[i].place == PLACE_MOVING) &&
            node == DIRECTORY_NO_NODE) {
            node = directory_builder_node(&builder, &other);
        }
        struct directory_shard shard = {
            .id = fake.shards[i].id,
            .place = fake.shards[i].place,
            .ref = fake.shards[i].ref,
            .ring = fake.shards[i].ring,
            .node = fake.shards[i].comes ? 0 : node,
            .holder = other.id,
        };
        memcpy(i == 0 ? shard.range_end : shard.range_start, FAKE_BOUND, sizeof FAKE_BOUND);
        directory_builder_shard(&builder, &shard);
    }
    directory_publish(&fake.directory, directory_builder_finish(&builder));
}

void fake_publish(void)
{
    fake_publish_unheard();
    fake_run();
}

static void ask(void *context, struct cluster_question *question)
{
    assert_ptr_equal(context, &fake);
    assert_null(fake.question);
    fake.question = question;
}

static bool forward(void *context, struct rpc_call *call, const struct service_hop *hop)
{
    assert_ptr_equal(context, &fake);
    if (!fake.forwards) {
        return false;
    }
    assert_null(fake.forwarded);
    fake.forwarded = call;
    (void)snprintf(fake.forward_to, sizeof fake.forward_to, "%s %s %s", hop->path, hop->id,
                   hop->address);
    fake.hop = *hop;
    return true;
}

void fake_sent_back(void)
{
    assert_non_null(fake.forwarded);
    fake.forwarded = NULL;
    fake.hop.back(fake.hop.context);
    fake_run();
}

void fake_came_back(void)
{
    struct rpc_call *call = fake.forwarded;
    assert_non_null(call);
    fake.forwarded = NULL;
    (void)call_done(call, 0, BYTES_LIT(""), BYTES_LIT(""));
}

void fake_decide(enum silo_code code)
{
    struct cluster_question *question = fake.question;
    assert_non_null(question);
    fake.question = NULL;
    question->rc = (silo_rc){code};
    question->done(question);
    fake_run();
}

void fake_start(size_t shard_count, bool tenancy, bool dev_mode)
{
    memset(&fake, 0, sizeof fake);
    posted = NULL;
    listener = NULL;
    fake.now_us = 1000000;
    fake.shard_count = shard_count;
    for (size_t i = 0; i < shard_count; i++) {
        struct fake_shard *shard = &fake.shards[i];
        shard->id.b[3] = (uint8_t)i;
        shard->id.b[6] = 0x40;
        shard->id.b[8] = 0x80;
        uuid_format(&shard->id, shard->id_text);
        shard->ref = (struct shard_ref){.slot = (uint32_t)i, .generation = 1};
        shard->place = PLACE_HERE;
        shard->status = SHARD_OPEN;
    }
    directory_home_init(&fake.directory);
    fake_publish();
    static const char *const rings[] = {"gpu"};
    const struct service_options options = {
        .directory = &fake.directory,
        .loops = 1,
        .tenancy = tenancy,
        .dev_mode = dev_mode,
        .ask = ask,
        .ask_context = &fake,
        .forward = forward,
        .forward_context = &fake,
        .node = {.id = "node-1",
                 .grpc_addr = "127.0.0.1:1",
                 .as_dialled = true,
                 .rings = rings,
                 .ring_count = 1,
                 .life = FAKE_LIFE},
    };
    fake.service = service_new(&options);
}

void fake_stop(void)
{
    assert_null(posted);
    assert_int_equal(fake.request_count, 0);
    assert_int_equal(timers.count, 0);
    heap_deinit(&timers);
    fake.service = service_free(fake.service);
    directory_home_deinit(&fake.directory);
}

const char *fake_shard_id(size_t index)
{
    return fake.shards[index].id_text;
}

struct rpc_call *fake_call_bytes(const char *name, struct bytes request)
{
    struct rpc_call *call = xcalloc(1, sizeof *call);
    call->base.ops = &call_ops;
    call->base.loop = &fake_loop;
    call->base.deadline_us = fake.deadline_us;
    const struct rpc_method *method = NULL;
    for (size_t i = 0; (method = service_rpc_method(fake.service, i)) != NULL; i++) {
        if (strcmp(strrchr(method->path, '/') + 1, name) == 0) {
            assert_true(method->needs_auth);
            method->on_call(call, request, method->context);
            return call;
        }
    }
    fail_msg("no method %s", name);
    return call;
}

struct rpc_call *fake_call(const char *method, const ProtobufCMessage *request)
{
    uint8_t *packed = xmalloc(protobuf_c_message_get_packed_size(request) + 1);
    const size_t size = protobuf_c_message_pack(request, packed);
    struct rpc_call *call = fake_call_bytes(method, bytes_of(packed, size));
    free(packed); /* the handler keeps nothing of it */
    return call;
}

struct rpc_call *fake_enqueue(size_t shard)
{
    Silo__V1__EnqueueRequest request = SILO__V1__ENQUEUE_REQUEST__INIT;
    request.shard = (char *)fake_shard_id(shard);
    request.id = (char *)"a";
    request.task_group = (char *)"g";
    return fake_call("Enqueue", &request.base);
}

struct shard_request *fake_take(enum command_kind kind)
{
    assert_true(fake.request_count > 0);
    struct shard_request *request = fake.requests[0];
    assert_int_equal(request->cmd.kind, kind);
    fake.request_count--;
    memmove(&fake.requests[0], &fake.requests[1], fake.request_count * sizeof fake.requests[0]);
    return request;
}

void fake_run(void)
{
    while (posted != NULL) {
        struct rpc_mail *mail = CONTAINER_OF(posted, struct rpc_mail, mail);
        posted = posted->next;
        mail->run(mail);
    }
}

void fake_answer(struct shard_request *request, enum silo_code code, const char *error)
{
    request->cmd.rc = (silo_rc){code};
    request->cmd.error = error;
    request->done(request);
    fake_run();
}

void fake_cancel(struct rpc_call *call)
{
    call->gone = true;
    if (call->on_cancel != NULL) {
        call->on_cancel(call, RPC_CANCEL_RESET, call->cancel_context);
    }
    fake_run();
}

void fake_read(struct rpc_call *call)
{
    call->stuffed = false;
    call->on_writable(call, call->writable_context);
    fake_run();
}

void fake_sent(struct rpc_call *call, bool sent)
{
    assert_non_null(call->release);
    void (*release)(void *, bool) = call->release;
    call->release = NULL;
    release(call->release_context, sent);
}

void *fake_reply(struct rpc_call *call, const ProtobufCMessageDescriptor *type)
{
    assert_true(call->done || call->sent != 0);
    if (call->status != 0) {
        fail_msg("status %u: %s", call->status, call->text);
    }
    ProtobufCMessage *message =
        protobuf_c_message_unpack(type, NULL, call->reply.len, call->reply.ptr);
    assert_non_null(message);
    return message;
}

void fake_failed(struct rpc_call *call, uint32_t status, const char *text)
{
    assert_true(call->done);
    if (call->status != status || strstr(call->text, text) == NULL) {
        fail_msg("status %u: %s; expected %u: %s", call->status, call->text, status, text);
    }
}

struct rpc_call *fake_free(struct rpc_call *call)
{
    assert_true(call->done);
    assert_null(call->release);
    arena_deinit(&call->base.arena);
    free(call->text);
    free((void *)call->reply.ptr);
    free(call);
    return NULL;
}
