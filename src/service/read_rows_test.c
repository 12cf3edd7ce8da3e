/*
 * service/read_rows_test.c - ReadRows with other nodes that the test plays: whom it asks, for how
 * much, and what its caller hears of shards that move, fail or lie.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "base/test.h"
#include "query/statements.h"
#include "service/fake_test.h"
#include "service/service_int.h"

#define OTHER "10.0.0.2:50051"
#define ASKS_MAX 64u

/* --- another node, and the thread of statements --- */

/* A question that was not answered yet. */
struct asked {
    struct service_question question;
    Silo__V1__ReadRowsRequest *request;
    bool stopped;
};

static struct asked *asks[ASKS_MAX]; /* oldest first */
static size_t asks_count, asks_ever;
static bool asks_refused;

struct store_queue *statements_queue(struct statements *statements)
{
    (void)statements;
    return NULL;
}

bool statements_send(struct statements *statements, struct statement *statement)
{
    (void)statements;
    (void)statement;
    return false;
}

static void *ask_node(void *context, const struct service_question *question)
{
    assert_ptr_equal(context, &fake);
    if (asks_refused) {
        return NULL;
    }
    struct asked *asked = xcalloc(1, sizeof *asked);
    asked->question = *question;
    asked->request =
        silo__v1__read_rows_request__unpack(NULL, question->message.len, question->message.ptr);
    assert_non_null(asked->request);
    assert_string_equal(question->address, OTHER);
    assert_true(asked->request->one_page);
    assert_int_equal(asked->request->n_shards, 1);
    assert_true(asks_count < ASKS_MAX);
    asks[asks_count++] = asked;
    asks_ever++;
    return asked;
}

static void ask_node_stop(void *asked)
{
    ((struct asked *)asked)->stopped = true;
}

/* Takes the oldest question. */
static struct asked *ask_take(void)
{
    assert_true(asks_count > 0);
    struct asked *asked = asks[0];
    memmove(&asks[0], &asks[1], --asks_count * sizeof asks[0]);
    return asked;
}

static void ask_answer(struct asked *asked, uint32_t status, const char *text, struct bytes reply)
{
    const struct service_answer answer = {
        .status = status, .text = bytes_str(text), .reply = reply};
    const struct service_question question = asked->question;
    silo__v1__read_rows_request__free_unpacked(asked->request, NULL);
    free(asked);
    question.done(question.context, &answer);
    fake_run();
}

static void ask_fails(uint32_t status)
{
    ask_answer(ask_take(), status, "it says no", BYTES_NONE);
}

/* A page of jobs for the oldest question; shard NULL: the one that was asked for. */
static void ask_brings(size_t rows, const char *position, const char *shard)
{
    struct asked *asked = ask_take();
    Silo__V1__RowPage page = SILO__V1__ROW_PAGE__INIT;
    Silo__V1__JobRow row = SILO__V1__JOB_ROW__INIT;
    Silo__V1__JobRow *jobs[16];
    assert_true(rows <= 16);
    row.id = "x";
    for (size_t i = 0; i < rows; i++) {
        jobs[i] = &row;
    }
    page.shard = (char *)(uintptr_t)(shard != NULL ? shard : asked->request->shards[0]);
    page.jobs = jobs;
    page.n_jobs = rows;
    page.last = *position == 0;
    page.position.data = (uint8_t *)(uintptr_t)position;
    page.position.len = strlen(position);
    Silo__V1__ReadRowsResponse response = SILO__V1__READ_ROWS_RESPONSE__INIT;
    response.part_case = SILO__V1__READ_ROWS_RESPONSE__PART_PAGE;
    response.page = &page;
    uint8_t *packed = xmalloc(silo__v1__read_rows_response__get_packed_size(&response));
    const size_t size = silo__v1__read_rows_response__pack(&response, packed);
    ask_answer(asked, RPC_STATUS_OK, "", bytes_of(packed, size));
}

/* --- a caller --- */

static void start(size_t shards, enum directory_place place)
{
    static int nobody;
    fake_start(shards, false, false);
    fake.service->ask_node = ask_node;
    fake.service->ask_node_stop = ask_node_stop;
    fake.service->statements = (struct statements *)(void *)&nobody;
    for (size_t i = 0; i < shards; i++) {
        fake.shards[i].place = place;
    }
    fake_publish();
    asks_count = asks_ever = 0;
    asks_refused = false;
}

static struct rpc_call *begin(uint64_t limit)
{
    Silo__V1__ReadRowsRequest request = SILO__V1__READ_ROWS_REQUEST__INIT;
    request.table = SILO__V1__ROW_TABLE__ROW_TABLE_JOBS;
    request.limit = limit;
    return fake_call("ReadRows", &request.base);
}

static Silo__V1__ReadRowsResponse *newest(struct rpc_call *call)
{
    return fake_reply(call, &silo__v1__read_rows_response__descriptor);
}

static void newest_free(Silo__V1__ReadRowsResponse *response)
{
    silo__v1__read_rows_response__free_unpacked(response, NULL);
}

/* The newest message says that this shard was not read. */
static void is_unread(struct rpc_call *call, size_t shard, uint32_t code, const char *node)
{
    Silo__V1__ReadRowsResponse *response = newest(call);
    assert_int_equal(response->part_case, SILO__V1__READ_ROWS_RESPONSE__PART_UNREAD);
    assert_string_equal(response->unread->shard, fake_shard_id(shard));
    assert_int_equal(response->unread->code, code);
    assert_string_equal(response->unread->node, node);
    newest_free(response);
}

/* The last message was the end. The fake keeps the newest message until the call is over. */
static void ended(struct rpc_call *call, size_t messages)
{
    assert_true(call->done);
    assert_int_equal(call->status, RPC_STATUS_OK);
    assert_int_equal(call->sent, messages);
    (void)fake_free(call);
}

static void pages_come_as_nodes_bring_them(void **state)
{
    (void)state;
    start(2, PLACE_NODE);
    struct rpc_call *call = begin(0);
    assert_int_equal(asks_count, 2);
    assert_int_equal(asks[0]->request->cursor.len, 0);
    assert_string_equal(asks[0]->request->shards[0], fake_shard_id(0));
    assert_string_equal(asks[1]->request->shards[0], fake_shard_id(1));
    ask_brings(3, "p", NULL);
    Silo__V1__ReadRowsResponse *response = newest(call);
    assert_int_equal(response->part_case, SILO__V1__READ_ROWS_RESPONSE__PART_PAGE);
    assert_int_equal(response->page->n_jobs, 3);
    assert_true(response->cursor.len != 0);
    newest_free(response);
    assert_int_equal(asks_count, 2); /* it goes on where the page ended */
    assert_int_equal(asks[1]->request->cursor.len, 1);
    assert_string_equal(asks[1]->request->shards[0], fake_shard_id(0));
    ask_brings(0, "", NULL);
    ask_brings(1, "", NULL);
    ended(call, 4);
    fake_stop();
}

static void what_is_asked_for_at_a_time_is_no_more_than_the_limit(void **state)
{
    (void)state;
    start(2, PLACE_NODE);
    struct rpc_call *call = begin(3);
    assert_int_equal(asks_count, 2);
    assert_int_equal(asks[0]->request->limit, 2);
    assert_int_equal(asks[1]->request->limit, 1);
    ask_brings(2, "p", NULL);
    assert_int_equal(asks_count, 1); /* nothing is left to be asked for */
    ask_brings(1, "q", NULL);
    ended(call, 3);
    fake_stop();
}

static void nobody_is_asked_while_the_caller_does_not_read(void **state)
{
    (void)state;
    start(2, PLACE_NODE);
    struct rpc_call *call = begin(0);
    call->stuffed = true;
    ask_brings(1, "p", NULL);
    ask_brings(1, "q", NULL);
    assert_int_equal(call->sent, 2);
    fake_pass(60 * 1000 * 1000LL);
    assert_int_equal(asks_ever, 2);
    fake_read(call);
    assert_int_equal(asks_count, 2);
    ask_brings(0, "", NULL);
    ask_brings(0, "", NULL);
    ended(call, 5);
    fake_stop();
}

static void a_caller_who_leaves_has_its_questions_stopped(void **state)
{
    (void)state;
    start(2, PLACE_NODE);
    struct rpc_call *call = begin(0);
    fake_cancel(call);
    assert_true(asks[0]->stopped && asks[1]->stopped);
    assert_false(call->done);
    ask_fails(RPC_STATUS_CANCELLED);
    ask_brings(2, "p", NULL); /* it crossed with the stop */
    assert_true(call->done);
    assert_int_equal(asks_ever, 2);
    (void)fake_free(call);
    fake_stop();
}

static void a_server_that_stops_ends_its_reads(void **state)
{
    (void)state;
    start(1, PLACE_NODE);
    struct rpc_call *call = begin(0);
    service_release(fake.service);
    fake_run();
    assert_true(asks[0]->stopped);
    ask_fails(RPC_STATUS_CANCELLED);
    fake_failed(call, RPC_STATUS_UNAVAILABLE, "shutting down");
    (void)fake_free(call);
    call = begin(0);
    fake_failed(call, RPC_STATUS_UNAVAILABLE, "shutting down");
    (void)fake_free(call);
    fake_stop();
}

/* It moves here in the middle of its rows, is asked for in vain, and moves away again. */
static void a_shard_that_moves_is_read_on_where_it_is(void **state)
{
    (void)state;
    start(1, PLACE_NODE);
    struct rpc_call *call = begin(0);
    ask_brings(1, "p", NULL);
    ask_fails(RPC_STATUS_NOT_FOUND);
    assert_int_equal(asks_count, 0);
    fake.shards[0].place = PLACE_HERE;
    fake_publish();
    fake_pass(ROUTE_RETRY_MOVE_MS * 1000LL);
    struct shard_request *request = fake_take(CMD_LEND);
    fake.shards[0].place = PLACE_NODE;
    fake_publish();
    fake_answer(request, SILO_ROUTED_WRONG, NULL);
    assert_int_equal(asks_count, 0);
    fake_pass(ROUTE_RETRY_MOVE_MS * 1000LL);
    assert_int_equal(asks_count, 1);
    assert_int_equal(asks[0]->request->cursor.len, 1);
    ask_brings(1, "", NULL);
    ended(call, 3);
    fake_stop();
}

static void a_node_that_does_not_answer_is_named_after_a_while(void **state)
{
    (void)state;
    start(2, PLACE_NODE);
    struct rpc_call *call = begin(0);
    struct asked *first = ask_take();
    ask_brings(1, "", NULL); /* of the other shard */
    ask_answer(first, RPC_STATUS_UNAVAILABLE, "it is not there", BYTES_NONE);
    int64_t passed_us = 0;
    while (call->sent == 1) {
        assert_true(passed_us <= READS_PATIENCE_US);
        fake_pass(ROUTE_RETRY_TAKEOVER_MS * 1000LL);
        passed_us += ROUTE_RETRY_TAKEOVER_MS * 1000LL;
        ask_fails(RPC_STATUS_UNAVAILABLE);
    }
    assert_true(passed_us > READS_PATIENCE_US / 2);
    ended(call, 3);
    fake_stop();
}

static void a_caller_with_little_time_hears_in_time_what_is_missing(void **state)
{
    (void)state;
    start(1, PLACE_NODE);
    fake.deadline_us = fake.now_us + 1000 * 1000LL;
    struct rpc_call *call = begin(0);
    assert_true(asks[0]->question.timeout_us < 1000 * 1000LL);
    ask_fails(RPC_STATUS_UNAVAILABLE);
    assert_int_equal(call->sent, 0);
    fake_pass(ROUTE_RETRY_TAKEOVER_MS * 1000LL);
    ask_fails(RPC_STATUS_UNAVAILABLE);
    ended(call, 2);
    fake_stop();
}

static void a_shard_that_nobody_can_have_is_named_at_once(void **state)
{
    (void)state;
    start(2, PLACE_STRANDED);
    fake.shards[0].place = PLACE_NODE;
    fake_publish();
    struct rpc_call *call = begin(0);
    fake_pass(READS_PATIENCE_US); /* it is tried again only where that may help */
    is_unread(call, 1, RPC_STATUS_UNAVAILABLE, "node-2");
    ask_brings(1, "", NULL);
    ended(call, 3);
    fake_stop();
}

static void a_node_that_answers_with_something_else_is_not_believed(void **state)
{
    (void)state;
    for (size_t lie = 0; lie < 5; lie++) {
        start(2, PLACE_NODE);
        struct rpc_call *call = begin(4);
        struct asked *other = asks[1]; /* of the other shard: it is answered last */
        asks_count = 1;
        switch (lie) {
        case 0: /* rows of another shard */
            ask_brings(1, "", "00000009-0000-4000-8000-000000000000");
            break;
        case 1: /* more than was asked for */
            ask_brings(3, "", NULL);
            break;
        case 2: /* for ever the same */
            ask_brings(0, "p", NULL);
            ask_brings(0, "p", NULL);
            break;
        case 3: /* no message */
            ask_answer(ask_take(), RPC_STATUS_OK, "", bytes_dup(BYTES_LIT("\x0a\x7f\x01")));
            break;
        default: /* nothing */
            ask_answer(ask_take(), RPC_STATUS_OK, "", bytes_dup(BYTES_NONE));
        }
        is_unread(call, 0, 13, "node-2");
        assert_int_equal(asks_count, 0);
        asks[asks_count++] = other;
        ask_brings(0, "", NULL);
        ended(call, lie == 2 ? 4 : 3);
        fake_stop();
    }
}

static void reads_are_bounded(void **state)
{
    (void)state;
    start(1, PLACE_NODE);
    struct rpc_call *running[READS_MAX];
    for (size_t i = 0; i < READS_MAX; i++) {
        running[i] = begin(0);
    }
    struct rpc_call *call = begin(0);
    fake_failed(call, RPC_STATUS_RESOURCE_EXHAUSTED, "try again");
    (void)fake_free(call);
    for (size_t i = 0; i < READS_MAX; i++) {
        ask_brings(0, "", NULL);
        ended(running[i], 2);
    }
    call = begin(0);
    ask_brings(0, "", NULL);
    ended(call, 2);
    fake_stop();
}

static void a_question_that_finds_no_room_is_asked_later(void **state)
{
    (void)state;
    start(1, PLACE_NODE);
    asks_refused = true;
    struct rpc_call *call = begin(0);
    assert_int_equal(asks_ever, 0);
    asks_refused = false;
    fake_pass(ROUTE_RETRY_MOVE_MS * 1000LL);
    ask_brings(0, "", NULL);
    ended(call, 2);
    fake_stop();
}

/* What another node asks for is of this node alone, and one page. */
static void one_page_is_never_asked_of_others(void **state)
{
    (void)state;
    start(2, PLACE_NODE);
    Silo__V1__ReadRowsRequest request = SILO__V1__READ_ROWS_REQUEST__INIT;
    char *shards[] = {(char *)(uintptr_t)fake_shard_id(1), (char *)(uintptr_t)fake_shard_id(0)};
    request.table = SILO__V1__ROW_TABLE__ROW_TABLE_JOBS;
    request.one_page = true;
    request.shards = shards;
    request.n_shards = 1;
    request.limit = 10;
    struct rpc_call *call = fake_call("ReadRows", &request.base);
    fake_failed(call, RPC_STATUS_NOT_FOUND, "shard not found");
    assert_string_equal(call->owner, OTHER);
    (void)fake_free(call);
    request.n_shards = 2;
    call = fake_call("ReadRows", &request.base);
    fake_failed(call, RPC_STATUS_INVALID_ARGUMENT, "one shard");
    (void)fake_free(call);
    assert_int_equal(asks_ever, 0);
    fake_stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_come_as_nodes_bring_them),
        cmocka_unit_test(what_is_asked_for_at_a_time_is_no_more_than_the_limit),
        cmocka_unit_test(nobody_is_asked_while_the_caller_does_not_read),
        cmocka_unit_test(a_caller_who_leaves_has_its_questions_stopped),
        cmocka_unit_test(a_server_that_stops_ends_its_reads),
        cmocka_unit_test(a_shard_that_moves_is_read_on_where_it_is),
        cmocka_unit_test(a_node_that_does_not_answer_is_named_after_a_while),
        cmocka_unit_test(a_caller_with_little_time_hears_in_time_what_is_missing),
        cmocka_unit_test(a_shard_that_nobody_can_have_is_named_at_once),
        cmocka_unit_test(a_node_that_answers_with_something_else_is_not_believed),
        cmocka_unit_test(reads_are_bounded),
        cmocka_unit_test(a_question_that_finds_no_room_is_asked_later),
        cmocka_unit_test(one_page_is_never_asked_of_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
