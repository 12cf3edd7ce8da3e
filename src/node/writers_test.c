/*
 * node/writers_test.c - questions about writers are answered once, by the store or by the clock.
 */
#include "node/writers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/assert.h"

#define NOW_MS 5000

/* A store that takes questions, and answers when the test says so. */
static uint64_t asked[WRITERS_ASKED_MAX + 1];
static size_t asked_count, answered;

static silo_rc fake_epoch(struct store *store, struct store_queue *queue,
                          const struct store_open_args *args, uint64_t token, struct silo_err *err)
{
    (void)store;
    (void)queue;
    (void)args;
    (void)err;
    asked[asked_count++] = token;
    return RC_OK;
}

/* Each question that the test let be answered has its number as the writer. */
static size_t fake_drain(struct store_queue *queue, struct store_event *events, size_t max)
{
    static size_t drained;
    (void)queue;
    (void)max;
    drained = answered == 0 ? 0 : drained;
    if (drained == answered) {
        return 0;
    }
    events[0] = (struct store_event){.kind = STORE_OBJECT, .token = asked[drained], .seq = drained};
    drained++;
    return 1;
}

static void fake_free(struct store_event *event)
{
    (void)event;
}

static const struct store_ops fake_ops = {
    .db_epoch = fake_epoch, .queue_drain = fake_drain, .event_free = fake_free};
static const struct store_ops *fake = &fake_ops; /* what store_ops_of finds first in a handle */

static void writers_fresh(struct writers *writers)
{
    struct writers_answer none;
    asked_count = answered = 0;
    writers_init(writers, (struct store *)&fake, (struct store_queue *)&fake);
    assert_false(writers_next(writers, NOW_MS, &none));
}

static silo_rc ask(struct writers *writers, uint8_t number, int64_t now_ms)
{
    const struct store_open_args place = {.path = "db"};
    const struct uuid shard = {{number}};
    return writers_ask(writers, &shard, &place, now_ms, NULL);
}

static void each_is_answered_once(void **state)
{
    (void)state;
    struct writers writers;
    writers_fresh(&writers);
    struct writers_answer answer;
    assert_int_equal(writers_next_ms(&writers), INT64_MAX);
    assert_int_equal(ask(&writers, 7, NOW_MS).code, SILO_OK);
    assert_int_equal(ask(&writers, 8, NOW_MS + 1).code, SILO_OK);
    assert_int_equal(writers_next_ms(&writers), NOW_MS + WRITERS_WAIT_MS);
    assert_false(writers_next(&writers, NOW_MS + WRITERS_WAIT_MS - 1, &answer));
    answered = 1;
    assert_true(writers_next(&writers, NOW_MS, &answer));
    assert_int_equal(answer.shard.b[0], 7);
    assert_int_equal(answer.rc.code, SILO_OK);
    assert_int_equal(writers_next_ms(&writers), NOW_MS + 1 + WRITERS_WAIT_MS);
    assert_true(writers_next(&writers, NOW_MS + 1 + WRITERS_WAIT_MS, &answer));
    assert_int_equal(answer.shard.b[0], 8);
    assert_int_equal(answer.rc.code, SILO_UNAVAILABLE);
    assert_int_equal(writers_next_ms(&writers), INT64_MAX);
    answered = 2; /* late: nobody waits for it any more */
    assert_false(writers_next(&writers, NOW_MS + 2 * WRITERS_WAIT_MS, &answer));
    writers_deinit(&writers);
}

static void a_store_that_never_answers_is_not_asked_for_ever(void **state)
{
    (void)state;
    struct writers writers;
    writers_fresh(&writers);
    for (size_t i = 0; i < WRITERS_ASKED_MAX; i++) {
        assert_int_equal(ask(&writers, 1, NOW_MS).code, SILO_OK);
    }
    assert_int_equal(ask(&writers, 1, NOW_MS).code, SILO_EXHAUSTED);
    writers_deinit(&writers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_is_answered_once),
        cmocka_unit_test(a_store_that_never_answers_is_not_asked_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
