/*
 * service/read_rows.c - ReadRows: rows of many shards in one stream, wherever the shards are.
 *
 * What is asked of whom, and when, gather.h decides; here it is asked: shards of this process by
 * the thread of statements (read_page.c), others of their nodes, with the same method and
 * `one_page`. Where a shard is says the directory, anew for each page.
 *
 *     rows_turn ──gather_next──► ask_here ──────► here_done ──────┐
 *         ▲                  └─► ask_there ─────► there_done ─────┤
 *         │                  └─► nobody has it ─► slot_failed     │
 *         └───────── slot_page, slot_failed ◄─────────────────────┘
 *
 * Nothing is asked for while the caller's stream is not writable: so what a read holds are its
 * stream's queue, and a page of each shard that is asked.
 *
 * A read ends in rows_turn alone, when nothing is asked any more: a caller who leaves has what is
 * asked stopped, and waits for it.
 */
#include <stdlib.h>

#include <xxhash.h>

#include "base/assert.h"
#include "gather/gather.h"
#include "service/read_rows_int.h"

#define READS_FULL_TEXT "too many reads of many shards run; try again"
#define READS_STOP_TEXT "the server is shutting down"
#define READS_SLACK_US (200 * 1000LL) /* kept of the caller's patience, to say what is missing */

struct rows_read;

/* One slot's question. */
struct rows_ask {
    struct rows_read *read;
    size_t slot;
    bool under_way;
    char shard_id[UUID_TEXT_LEN + 1];
    struct page_read here;
    void *there;       /* what ask_node returned; NULL: it is not asked there */
    uint8_t *question; /* malloced; of ask_there */
};

struct rows_read {
    struct call *call;
    struct list_node node; /* service_loop.reads */
    struct rows_query query;
    struct gather gather;
    struct rpc_timer timer;
    struct rows_ask asks[GATHER_OPEN_MAX];
    bool turning; /* it is at work: rows_turn comes by itself */
    bool ends;    /* before its end: nothing is asked any more */
    enum silo_code end_code;
    const char *end_text;
};

static void rows_turn(struct rows_read *read);

static int64_t read_now_us(const struct rows_read *read)
{
    return rpc_loop_now_us(rpc_call_loop(read->call->rpc));
}

/* What is left of the caller's patience for one page. */
static int64_t read_patience_us(const struct rows_read *read)
{
    const int64_t most_us = READS_PAGE_MS_MAX * 1000LL;
    const int64_t deadline_us = rpc_call_deadline_us(read->call->rpc);
    if (deadline_us == 0) {
        return most_us;
    }
    const int64_t left_us = deadline_us - READS_SLACK_US - read_now_us(read);
    return left_us < most_us ? left_us : most_us;
}

/* --- what the caller is sent --- */

static void piece_free(void *context, bool sent)
{
    (void)sent;
    free(context);
}

static void read_send(struct rows_read *read, const Silo__V1__ReadRowsResponse *response)
{
    const size_t size = protobuf_c_message_get_packed_size(&response->base);
    uint8_t *packed = xmalloc(size);
    (void)protobuf_c_message_pack(&response->base, packed);
    const struct rpc_piece piece = {
        .bytes = bytes_of(packed, size), .release = piece_free, .context = packed};
    (void)rpc_call_send(read->call->rpc, &piece, 1);
}

/* A page as it came, and behind it the cursor: two parts of one message are one message. */
static void page_send(struct rows_read *read, struct bytes packed)
{
    struct arena arena = {0};
    const struct bytes cursor = gather_cursor(&read->gather, &arena);
    Silo__V1__ReadRowsResponse rest = SILO__V1__READ_ROWS_RESPONSE__INIT;
    rest.cursor.data = (uint8_t *)(uintptr_t)cursor.ptr; /* only read */
    rest.cursor.len = cursor.len;
    const size_t size = protobuf_c_message_get_packed_size(&rest.base);
    uint8_t *tail = xmalloc(size + 1);
    (void)protobuf_c_message_pack(&rest.base, tail);
    arena_deinit(&arena);
    const struct rpc_piece pieces[] = {
        {.bytes = packed, .release = piece_free, .context = (void *)(uintptr_t)packed.ptr},
        {.bytes = bytes_of(tail, size), .release = piece_free, .context = tail}};
    (void)rpc_call_send(read->call->rpc, pieces, 2);
}

static void unread_send(struct rows_read *read, size_t slot, enum silo_code code, uint32_t status,
                        struct bytes text)
{
    const struct service *service = read->call->service;
    const struct directory *directory = svc_directory(read->call);
    const struct directory_shard *shard = directory_find(directory, &read->gather.slots[slot].id);
    struct arena arena = {0};
    struct route route;
    route_judge(service, directory, shard, &route);
    const bool here = shard != NULL && directory_shard_here(shard);
    const char *node = here ? service->node_id : route.owner_id;
    const char *address = here ? service->grpc_addr : route.owner_address;
    Silo__V1__UnreadShard unread = SILO__V1__UNREAD_SHARD__INIT;
    unread.shard = encode_uuid(&arena, &read->gather.slots[slot].id);
    unread.text = encode_text(&arena, text);
    unread.code = status != 0 ? status : silo_code_grpc(code);
    unread.node = encode_text(&arena, node != NULL ? bytes_str(node) : BYTES_LIT(""));
    unread.address = encode_text(&arena, address != NULL ? bytes_str(address) : BYTES_LIT(""));
    const struct bytes cursor = gather_cursor_of(&read->gather, slot, &arena);
    unread.cursor.data = (uint8_t *)(uintptr_t)cursor.ptr; /* only read */
    unread.cursor.len = cursor.len;
    Silo__V1__ReadRowsResponse response = SILO__V1__READ_ROWS_RESPONSE__INIT;
    response.part_case = SILO__V1__READ_ROWS_RESPONSE__PART_UNREAD;
    response.unread = &unread;
    read_send(read, &response);
    arena_deinit(&arena);
}

static void end_send(struct rows_read *read)
{
    struct arena arena = {0};
    const struct bytes cursor = gather_cursor(&read->gather, &arena);
    Silo__V1__ReadRowsEnd end = SILO__V1__READ_ROWS_END__INIT;
    end.rows = read->gather.rows;
    end.shards_read = (uint32_t)read->gather.done;
    end.shards_unread = (uint32_t)read->gather.lost;
    end.cursor.data = (uint8_t *)(uintptr_t)cursor.ptr; /* only read */
    end.cursor.len = cursor.len;
    Silo__V1__ReadRowsResponse response = SILO__V1__READ_ROWS_RESPONSE__INIT;
    response.part_case = SILO__V1__READ_ROWS_RESPONSE__PART_END;
    response.end = &end;
    read_send(read, &response);
    arena_deinit(&arena);
}

/* --- what came of a question --- */

struct failure {
    uint32_t retry_ms; /* 0: asking again is useless */
    enum silo_code code;
    uint32_t status; /* of gRPC, from another node; 0: code says it */
    struct bytes text;
};

static void slot_failed(struct rows_read *read, size_t slot, const struct failure *failure)
{
    const int64_t again_us = read_now_us(read) + failure->retry_ms * 1000LL;
    const int64_t deadline_us = rpc_call_deadline_us(read->call->rpc);
    const bool useless =
        failure->retry_ms == 0 || (deadline_us != 0 && again_us > deadline_us - READS_SLACK_US);
    if (gather_failed(&read->gather, slot, useless ? INT64_MAX : again_us, READS_PATIENCE_US)) {
        unread_send(read, slot, failure->code, failure->status, failure->text);
        gather_drop(&read->gather, slot);
    }
}

/* Takes the packed bytes. */
static void slot_page(struct rows_read *read, size_t slot, struct bytes packed)
{
    const struct gather_slot *asked = &read->gather.slots[slot];
    const char *id = read->asks[slot].shard_id;
    struct page_head head;
    /* A page of nothing that goes on where it began would be asked for without end. */
    const bool good =
        page_head_read(packed, &head) && bytes_eq(head.shard, bytes_str(id)) &&
        head.rows <= asked->rows && head.position.len <= GATHER_POSITION_BYTES_MAX &&
        (head.position.len == 0 || !bytes_eq(head.position, buf_bytes(&asked->position)));
    if (!good) {
        const struct failure failure = {.code = SILO_INTERNAL,
                                        .text = BYTES_LIT("its node answered with something else")};
        free((void *)(uintptr_t)packed.ptr);
        slot_failed(read, slot, &failure);
        return;
    }
    gather_page(&read->gather, slot, head.rows, head.position);
    page_send(read, packed);
}

static void here_done(struct page_read *page)
{
    struct rows_ask *ask = CONTAINER_OF(page, struct rows_ask, here);
    struct rows_read *read = ask->read;
    read->turning = true; /* what is sent may end it, but not before rows_turn */
    ask->under_way = false;
    if (page->rc.code == SILO_OK) {
        slot_page(read, ask->slot, page->packed);
    } else {
        const enum silo_code code = page->rc.code;
        const struct failure failure = {
            .retry_ms = code == SILO_ROUTED_WRONG || code == SILO_EXHAUSTED ? ROUTE_RETRY_MOVE_MS
                        : code == SILO_UNAVAILABLE || code == SILO_DEADLINE ? ROUTE_RETRY_FAILED_MS
                                                                            : 0,
            .code = code,
            .text = code == SILO_ROUTED_WRONG ? BYTES_LIT(ROUTE_NOT_READY_TEXT)
                                              : bytes_str(page->text)};
        slot_failed(read, ask->slot, &failure);
    }
    read->turning = false;
    rows_turn(read);
}

/* How soon another node may be asked again after such an answer. */
static uint32_t there_retry_ms(uint32_t status)
{
    switch (status) {
    case RPC_STATUS_NOT_FOUND: /* it has moved: the directory is about to say so */
    case RPC_STATUS_RESOURCE_EXHAUSTED:
        return ROUTE_RETRY_MOVE_MS;
    case RPC_STATUS_UNAVAILABLE:
    case RPC_STATUS_DEADLINE_EXCEEDED:
    case RPC_STATUS_CANCELLED:
        return ROUTE_RETRY_TAKEOVER_MS;
    default: /* a number from outside */
        return 0;
    }
}

static void there_done(void *context, const struct service_answer *answer)
{
    struct rows_ask *ask = context;
    struct rows_read *read = ask->read;
    read->turning = true; /* what is sent may end it, but not before rows_turn */
    ask->under_way = false;
    ask->there = NULL;
    free(ask->question);
    ask->question = NULL;
    if (answer->status == RPC_STATUS_OK) {
        slot_page(read, ask->slot, answer->reply);
    } else {
        const struct failure failure = {.retry_ms = there_retry_ms(answer->status),
                                        .code = SILO_UNAVAILABLE,
                                        .status = answer->status,
                                        .text = answer->text};
        slot_failed(read, ask->slot, &failure);
    }
    read->turning = false;
    rows_turn(read);
}

/* --- asking --- */

static void ask_here(struct rows_read *read, struct rows_ask *ask,
                     const struct directory_shard *shard, int64_t patience_us)
{
    const struct gather_slot *slot = &read->gather.slots[ask->slot];
    struct service *service = read->call->service;
    ask->here = (struct page_read){
        .service = service,
        .loop = rpc_call_loop(read->call->rpc),
        .query = &read->query,
        .shard_id = ask->shard_id,
        .position = buf_bytes(&slot->position),
        .rows_max = slot->rows,
        .deadline_mono_ms = env_mono_ms(service->env) + patience_us / 1000,
        .done = here_done,
    };
    ask->under_way = true;
    page_read_start(&ask->here, shard);
}

static void ask_there(struct rows_read *read, struct rows_ask *ask, const char *address,
                      int64_t patience_us)
{
    const struct gather_slot *slot = &read->gather.slots[ask->slot];
    const struct service *service = read->call->service;
    Silo__V1__ReadRowsRequest request = *(const Silo__V1__ReadRowsRequest *)read->call->message;
    char *shards[] = {ask->shard_id};
    request.shards = shards;
    request.n_shards = 1;
    request.one_page = true;
    request.limit = slot->rows;
    request.page_bytes = (uint32_t)read->query.page_bytes;
    request.cursor.data = slot->position.ptr;
    request.cursor.len = slot->position.len;
    const size_t size = protobuf_c_message_get_packed_size(&request.base);
    ask->question = xmalloc(size);
    (void)protobuf_c_message_pack(&request.base, ask->question);
    const struct service_question question = {.path = read->call->path,
                                              .address = address,
                                              .message = bytes_of(ask->question, size),
                                              .timeout_us = patience_us,
                                              .loop = rpc_call_loop(read->call->rpc),
                                              .done = there_done,
                                              .context = ask};
    ask->there = service->ask_node(service->forward_context, &question);
    ask->under_way = ask->there != NULL;
    if (!ask->under_way) {
        const struct failure failure = {
            .retry_ms = ROUTE_RETRY_MOVE_MS,
            .code = SILO_EXHAUSTED,
            .text = BYTES_LIT("this node asks others for too much at a time")};
        free(ask->question);
        ask->question = NULL;
        slot_failed(read, ask->slot, &failure);
    }
}

static void slot_ask(struct rows_read *read, size_t slot)
{
    struct rows_ask *ask = &read->asks[slot];
    const struct service *service = read->call->service;
    const struct directory *directory = svc_directory(read->call);
    const struct directory_shard *shard = directory_find(directory, &read->gather.slots[slot].id);
    const int64_t patience_us = read_patience_us(read);
    struct route route;
    uuid_format(&read->gather.slots[slot].id, ask->shard_id);
    route_judge(service, directory, shard, &route);
    if (patience_us <= 0) {
        const struct failure failure = {.code = SILO_DEADLINE,
                                        .text = BYTES_LIT("the caller's time is up")};
        slot_failed(read, slot, &failure);
    } else if (route.verdict == ROUTE_RUN) {
        ask_here(read, ask, shard, patience_us);
    } else if (route.verdict == ROUTE_REDIRECT && service->ask_node != NULL) {
        ask_there(read, ask, route.owner_address, patience_us);
    } else {
        const struct failure failure = {
            .retry_ms = route.retry_ms, .code = route.err.code, .text = bytes_str(route.err.text)};
        slot_failed(read, slot, &failure);
    }
}

/* --- a read's life --- */

static bool read_asks(const struct rows_read *read)
{
    for (size_t i = 0; i < GATHER_OPEN_MAX; i++) {
        if (read->asks[i].under_way) {
            return true;
        }
    }
    return false;
}

/* Last of all: the call and the read are gone then. */
static void read_finish(struct rows_read *read)
{
    struct call *call = read->call;
    list_remove(&read->node);
    rpc_timer_stop(rpc_call_loop(call->rpc), &read->timer);
    gather_deinit(&read->gather);
    (void)atomic_fetch_sub_explicit(&call->service->reads, 1, memory_order_relaxed);
    if (read->ends) {
        svc_fail(call, read->end_code, read->end_text);
    } else {
        (void)rpc_call_finish(call->rpc, RPC_STATUS_OK, BYTES_NONE, NULL, 0);
    }
}

/* After each event; nothing of the read may be used afterwards. */
static void rows_turn(struct rows_read *read)
{
    struct rpc_call *rpc = read->call->rpc;
    if (read->turning) {
        return;
    }
    read->turning = true;
    size_t slot;
    while (!read->ends && rpc_call_writable(rpc) &&
           (slot = gather_next(&read->gather, read_now_us(read))) != GATHER_NONE) {
        slot_ask(read, slot);
    }
    const bool over = !read->ends && gather_over(&read->gather);
    if (over) {
        end_send(read);
    }
    read->turning = false;
    if ((over || read->ends) && !read_asks(read)) {
        read_finish(read);
        return;
    }
    const int64_t wake_us = gather_wake_us(&read->gather);
    if (wake_us != INT64_MAX && !read->ends && rpc_call_writable(rpc)) {
        rpc_timer_start(rpc_call_loop(rpc), &read->timer, wake_us);
    }
}

/* Before its end: what is asked is stopped. */
static void read_end(struct rows_read *read, enum silo_code code, const char *text)
{
    if (read->ends) {
        return;
    }
    read->ends = true;
    read->end_code = code;
    read->end_text = text;
    for (size_t i = 0; i < GATHER_OPEN_MAX; i++) {
        if (read->asks[i].there != NULL) {
            read->call->service->ask_node_stop(read->asks[i].there);
        }
    }
    rows_turn(read);
}

static void read_cancelled(struct rpc_call *rpc, enum rpc_cancel reason, void *context)
{
    (void)rpc;
    (void)reason;
    read_end(context, SILO_CANCELLED, "cancelled");
}

static void read_writable(struct rpc_call *rpc, void *context)
{
    (void)rpc;
    rows_turn(context);
}

static void read_timer(struct rpc_timer *timer)
{
    rows_turn(CONTAINER_OF(timer, struct rows_read, timer));
}

void rows_reads_end(struct service_loop *loop)
{
    struct list_node *node;
    while ((node = list_pop_front(&loop->reads)) != NULL) {
        read_end(CONTAINER_OF(node, struct rows_read, node), SILO_UNAVAILABLE, READS_STOP_TEXT);
    }
}

/* --- what is read --- */

static SILO_RC shards_fill(const struct call *call, const struct rows_query *query,
                           struct gather_shard **ret_shards, size_t *ret_count,
                           struct silo_err *err)
{
    const Silo__V1__ReadRowsRequest *request = call->message;
    const struct directory *directory = svc_directory(call);
    const size_t most = request->n_shards != 0 ? request->n_shards : directory->shard_count;
    if (directory->shard_count == 0) {
        return FAIL(err, SILO_UNAVAILABLE, "this node has not heard of any shard yet");
    }
    if (most > SHARDS_MAX) {
        return FAIL(err, SILO_INVALID, "too many shards: at most %u", SHARDS_MAX);
    }
    struct gather_shard *shards = arena_alloc(call->arena, (most + 1) * sizeof *shards);
    size_t count = 0;
    for (size_t i = 0; i < request->n_shards; i++) {
        struct uuid id;
        if (!uuid_parse_lenient(bytes_str(request->shards[i]), &id)) {
            return FAIL(err, SILO_INVALID, ERROR_SHARD_ID);
        }
        const struct directory_shard *shard = directory_find(directory, &id);
        shards[count++] =
            (struct gather_shard){.id = id, .start = shard != NULL ? shard->hash_start : 0};
    }
    const uint64_t hash = query->has_tenant ? tenant_hash(query->tenant) : 0;
    for (size_t i = 0; i < directory->shard_count && request->n_shards == 0; i++) {
        const struct directory_shard *shard = directory->shards[i];
        if (!query->has_tenant || directory_shard_owns(shard, hash)) {
            shards[count++] = (struct gather_shard){.id = shard->id, .start = shard->hash_start};
        }
    }
    *ret_shards = shards;
    *ret_count = count;
    return RC_OK;
}

/* A number for what is asked, whatever the size of the answer and its columns. */
static uint64_t question_number(const struct call *call)
{
    Silo__V1__ReadRowsRequest request = *(const Silo__V1__ReadRowsRequest *)call->message;
    request.with_payload = request.with_metadata = request.with_limits = false;
    request.limit = 0;
    request.page_bytes = 0;
    request.cursor = (ProtobufCBinaryData){0};
    const size_t size = protobuf_c_message_get_packed_size(&request.base);
    uint8_t *packed = arena_alloc(call->arena, size + 1);
    (void)protobuf_c_message_pack(&request.base, packed);
    return XXH64(packed, size, 0);
}

static bool read_admit(struct service *service)
{
    if (atomic_fetch_add_explicit(&service->reads, 1, memory_order_relaxed) < READS_MAX) {
        return true;
    }
    (void)atomic_fetch_sub_explicit(&service->reads, 1, memory_order_relaxed);
    return false;
}

static void read_begin(struct call *call, struct rows_read *read)
{
    const Silo__V1__ReadRowsRequest *request = call->message;
    struct gather_shard *shards = NULL;
    size_t count = 0;
    struct silo_err err;
    if (shards_fill(call, &read->query, &shards, &count, &err).code != SILO_OK) {
        svc_fail_err(call, &err);
        return;
    }
    gather_init(&read->gather, shards, count, question_number(call), request->limit);
    const struct bytes cursor = bytes_of(request->cursor.data, request->cursor.len);
    if (gather_resume(&read->gather, cursor, &err).code != SILO_OK) {
        gather_deinit(&read->gather);
        svc_fail_err(call, &err);
        return;
    }
    if (!read_admit(call->service)) {
        gather_deinit(&read->gather);
        svc_fail(call, SILO_EXHAUSTED, READS_FULL_TEXT);
        return;
    }
    read->call = call;
    read->timer.fire = read_timer;
    for (size_t i = 0; i < GATHER_OPEN_MAX; i++) {
        read->asks[i].read = read;
        read->asks[i].slot = i;
    }
    list_push_back(&svc_loop(call)->reads, &read->node);
    rpc_call_on_cancel(call->rpc, read_cancelled, read);
    rpc_call_on_writable(call->rpc, read_writable, read);
    rows_turn(read);
}

/* --- one page, for another node --- */

struct one_page {
    struct call *call;
    struct rows_query query;
    struct page_read page;
};

static void one_page_done(struct page_read *page)
{
    struct call *call = CONTAINER_OF(page, struct one_page, page)->call;
    if (page->rc.code == SILO_ROUTED_WRONG) {
        svc_fail(call, SILO_UNAVAILABLE, ROUTE_NOT_READY_TEXT);
        return;
    }
    if (page->rc.code != SILO_OK) {
        svc_fail(call, page->rc.code, page->text);
        return;
    }
    const struct rpc_piece piece = {.bytes = page->packed,
                                    .release = piece_free,
                                    .context = (void *)(uintptr_t)page->packed.ptr};
    (void)rpc_call_send(call->rpc, &piece, 1); /* in vain: what follows only lets go of it */
    (void)rpc_call_finish(call->rpc, RPC_STATUS_OK, BYTES_NONE, NULL, 0);
}

static int64_t one_page_deadline_ms(const struct call *call)
{
    const int64_t most_ms = env_mono_ms(call->service->env) + READS_PAGE_MS_MAX;
    const int64_t asked_ms = rpc_call_deadline_us(call->rpc) / 1000;
    return asked_ms != 0 && asked_ms < most_ms ? asked_ms : most_ms;
}

static void one_page_begin(struct call *call, const struct rows_query *query)
{
    const Silo__V1__ReadRowsRequest *request = call->message;
    if (request->n_shards != 1 || request->limit == 0 || request->limit > JOBS_PAGE_MAX) {
        svc_fail(call, SILO_INVALID, "a page is of one shard, and has 1 to 1000 rows");
        return;
    }
    if (!svc_route(call, request->shards[0])) {
        return;
    }
    struct one_page *one = arena_zalloc(call->arena, sizeof *one);
    one->call = call;
    one->query = *query;
    one->page = (struct page_read){
        .service = call->service,
        .loop = rpc_call_loop(call->rpc),
        .query = &one->query,
        .shard_id = call->shard.id_text,
        .position = bytes_of(request->cursor.data, request->cursor.len),
        .rows_max = (uint32_t)request->limit,
        .deadline_mono_ms = one_page_deadline_ms(call),
        .done = one_page_done,
    };
    page_read_start(&one->page, &call->shard);
}

void on_read_rows(struct call *call)
{
    const Silo__V1__ReadRowsRequest *request = call->message;
    struct silo_err err;
    if (call->service->statements == NULL) {
        on_unimplemented(call);
        return;
    }
    if (atomic_load_explicit(&call->service->releasing, memory_order_seq_cst)) {
        svc_fail(call, SILO_UNAVAILABLE, READS_STOP_TEXT);
        return;
    }
    struct rows_read *read = arena_zalloc(call->arena, sizeof *read);
    if (rows_query_fill(call->service, request, &read->query, &err).code != SILO_OK) {
        svc_fail_err(call, &err);
        return;
    }
    if (request->one_page) {
        one_page_begin(call, &read->query);
    } else {
        read_begin(call, read);
    }
}
