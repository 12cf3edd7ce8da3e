/* store_mem/fault_test.c - faults, outages, crashes, and how operations progress. */
#include <pthread.h>

#include "store_mem/fix_test.h"

/* --- faults --- */

static void failed_writes_leave_their_outcome_open(void **state)
{
    (void)state;
    for (int effect = 0; effect < 2; effect++) {
        struct fix *f = fix_plain();
        struct store_db *db = open_db(f, PATH);
        store_mem_fail(f->store, &(struct store_mem_fault){.kind = STORE_MEM_WRITE,
                                                           .nth = 2,
                                                           .code = SILO_UNAVAILABLE,
                                                           .effect = effect});
        write_now(f, db, "a=1");
        const uint64_t second = call_write(f, db, "b=1"), third = call_write(f, db, "c=1");
        assert_int_equal(store_mem_faults_fired(f->store), 1);
        expect_drop(f, second, STORE_APPLIED, SILO_UNAVAILABLE);
        expect_drop(f, third, STORE_APPLIED, SILO_UNAVAILABLE);
        expect_drop(f, 0, STORE_DOWN, SILO_UNAVAILABLE);
        assert_int_equal(try_write(f, db, "d=1").code, SILO_UNAVAILABLE);
        assert_false(store_mem_owned(f->store, PATH));
        close_now(f, db, STORE_CLOSE_DROP, SILO_UNAVAILABLE);
        (void)open_db(f, PATH);
        check_applied(f, effect ? "a=1 b=1 " : "");
        fix_free(f);
    }
}

static void failed_flushes_leave_their_outcome_open(void **state)
{
    (void)state;
    for (int effect = 0; effect < 2; effect++) {
        struct fix *f = fix_plain();
        struct store_db *db = open_db(f, PATH);
        write_now(f, db, "a=1");
        store_mem_fail(f->store, &(struct store_mem_fault){.kind = STORE_MEM_FLUSH,
                                                           .nth = 1,
                                                           .code = SILO_UNAVAILABLE,
                                                           .effect = effect});
        expect_drop(f, call_flush(f, db), STORE_FLUSHED, SILO_UNAVAILABLE);
        expect_drop(f, 0, STORE_DOWN, SILO_UNAVAILABLE);
        char text[64];
        f->ops->last_error(f->store, text, sizeof text);
        assert_string_equal(text, "injected: unavailable");
        (void)open_db(f, PATH);
        check_applied(f, effect ? "a=1 " : "");
        fix_free(f);
    }
}

static void failed_reads_leave_the_database_up(void **state)
{
    (void)state;
    struct fix *f = fix_plain();
    struct store_db *db = open_db(f, PATH);
    write_now(f, db, "a=1 b=2");
    const enum store_mem_kind kinds[] = {STORE_MEM_MGET, STORE_MEM_SCAN, STORE_MEM_REFRESH,
                                         STORE_MEM_OPEN};
    for (size_t i = 0; i < 4; i++) {
        store_mem_fail(f->store,
                       &(struct store_mem_fault){
                           .kind = kinds[i], .nth = 1, .times = 2, .code = SILO_UNAVAILABLE});
    }
    for (int i = 0; i < 2; i++) {
        expect_drop(f, call_mget(f, db, NULL, "a"), STORE_ROWS, SILO_UNAVAILABLE);
        const struct store_scan_args args = {.rows_max = 1};
        assert_int_equal(f->ops->scan(db, NULL, &args, ++f->token, NULL).code, SILO_OK);
        expect_drop(f, f->token, STORE_ROWS, SILO_UNAVAILABLE);
        assert_int_equal(f->ops->refresh(db, ++f->token, NULL).code, SILO_OK);
        expect_drop(f, f->token, STORE_REFRESHED, SILO_UNAVAILABLE);
        struct store_event *event =
            expect(f, call_open(f, f->queue, PATH), STORE_OPENED, SILO_UNAVAILABLE);
        assert_null(event->db);
        event_drop(f, (size_t)(event - f->events));
    }
    check_value(f, db, "a", "1");
    assert_int_equal(store_mem_faults_fired(f->store), 8);

    /* A page that fails leaves its iterator where it was. */
    const struct store_scan_args args = {.rows_max = 1};
    assert_int_equal(f->ops->scan(db, NULL, &args, ++f->token, NULL).code, SILO_OK);
    struct store_event *event = expect(f, f->token, STORE_ROWS, SILO_OK);
    struct store_iter *iter = event->iter;
    event_drop(f, (size_t)(event - f->events));
    store_mem_fail(f->store,
                   &(struct store_mem_fault){.kind = STORE_MEM_SCAN, .code = SILO_UNAVAILABLE});
    assert_int_equal(f->ops->iter_next(iter, 1, 0, ++f->token, NULL).code, SILO_OK);
    expect_drop(f, f->token, STORE_ROWS, SILO_UNAVAILABLE);
    assert_int_equal(f->ops->iter_next(iter, 1, 0, ++f->token, NULL).code, SILO_OK);
    expect_row(f, f->token, "2");
    f->ops->iter_free(iter);
    flush_now(f, db);
    fix_free(f);
}

static void faults_can_be_taken_back(void **state)
{
    (void)state;
    struct fix *f = fix_plain();
    struct store_db *db = open_db(f, PATH);
    store_mem_fail(f->store, &(struct store_mem_fault){
                                 .kind = STORE_MEM_WRITE, .nth = 1, .code = SILO_INTERNAL});
    store_mem_faults_clear(f->store);
    write_now(f, db, "a=1");
    assert_int_equal(store_mem_faults_fired(f->store), 0);
    fix_free(f);
}

static void one_queue_is_cut_off(void **state)
{
    (void)state;
    struct fix *f = fix_plain();
    struct store_queue *other = NULL;
    assert_int_equal(f->ops->queue_new(f->store, &other, NULL).code, SILO_OK);
    struct store_db *db = open_db(f, PATH);
    store_mem_cut(f->queue, true);
    write_now(f, db, "a=1"); /* memory takes writes */
    const uint64_t flush = call_flush(f, db);
    expect_nothing(f, flush);
    (void)call_open(f, other, "elsewhere");
    struct store_event event;
    assert_int_equal(f->ops->queue_drain(other, &event, 1), 1);
    assert_int_equal(event.rc.code, SILO_OK);
    f->ops->event_free(&event);
    check_durable(f, "");
    store_mem_cut(f->queue, false);
    expect_drop(f, flush, STORE_FLUSHED, SILO_OK);
    check_durable(f, "a=1 ");
    f->ops->queue_free(other);
    fix_free(f);
}

static void outage_is_silence(void **state)
{
    (void)state;
    struct fix *f = fix_plain();
    struct store_db *db = open_db(f, PATH);
    store_mem_outage(f->store, STORE_MEM_REMOTE, "PUT failed: no route to host");
    write_now(f, db, "a=1"); /* memory takes writes */
    const uint64_t flush = call_flush(f, db), read = call_mget(f, db, NULL, "a"),
                   open = call_open(f, f->queue, "x");
    for (int i = 0; i < 3; i++) {
        fix_drain(f);
    }
    assert_int_equal(f->count, 0);
    assert_false(readable(f));
    assert_int_equal(store_mem_pending(f->store), 3);
    assert_true(store_mem_next_ms(f->store) == INT64_MAX);
    write_now(f, db, "b=1"); /* not part of the flush, which began */
    char text[64];
    f->ops->last_error(f->store, text, sizeof text);
    assert_string_equal(text, "PUT failed: no route to host");

    store_mem_outage(f->store, STORE_MEM_ALL, "all gone");
    const uint64_t write = call_write(f, db, "c=1");
    expect_nothing(f, write);
    store_mem_outage(f->store, 0, NULL);
    assert_true(readable(f));
    expect_drop(f, flush, STORE_FLUSHED, SILO_OK);
    check_durable(f, "a=1 ");
    expect_drop(f, write, STORE_APPLIED, SILO_OK);
    expect_row(f, read, "1");
    expect_drop(f, open, STORE_OPENED, SILO_OK);
    fix_free(f);
}

/* --- crashes --- */

static void crash_loses_what_is_not_durable(void **state)
{
    (void)state;
    struct fix *f = fix_plain();
    struct store_db *db = open_db(f, PATH);
    write_now(f, db, "a=1");
    flush_now(f, db);
    write_now(f, db, "a=2 b=1");
    const uint64_t write = call_write(f, db, "c=1"), open = call_open(f, f->queue, "x");
    store_mem_crash(f->store, NULL, STORE_MEM_LOSE);
    expect_nothing(f, write);
    expect_nothing(f, open);
    assert_int_equal(f->count, 0);
    assert_false(readable(f));
    assert_int_equal(store_mem_pending(f->store), 0);
    check_applied(f, "a=1 ");
    assert_int_equal(try_write(f, db, "d=1").code, SILO_UNAVAILABLE);
    assert_int_equal(f->ops->close(db, STORE_CLOSE_WAL, 9, NULL).code, SILO_UNAVAILABLE);
    assert_int_equal(f->ops->queued_bytes(db), 0);
    db = open_db(f, PATH);
    check_value(f, db, "a", "1");
    check_value(f, db, "b", NULL);
    fix_free(f);
}

/* Every prefix must come up, and nothing else: batch n writes n=n and the row "last". */
static void crash_keeps_a_prefix(void **state)
{
    (void)state;
    static const char *const batches[] = {"1=1 last=1", "2=2 last=2", "3=3 last=3"};
    static const char *const outcomes[] = {"1=1 last=1 ", "1=1 2=2 last=2 ", "1=1 2=2 3=3 last=3 "};
    bool seen[3] = {false, false, false};
    for (uint64_t seed = 1; seed <= 64; seed++) {
        struct fix *f = fix_new((struct store_mem_options){.seed = seed}, false);
        struct store_db *db = open_db(f, PATH);
        write_now(f, db, batches[0]);
        flush_now(f, db);
        write_now(f, db, batches[1]);
        write_now(f, db, batches[2]);
        store_mem_crash(f->store, NULL, STORE_MEM_KEEP_SOME);
        const uint64_t seq = store_mem_durable_seq(f->store, PATH);
        assert_in_range(seq, 1, 3);
        check_durable(f, outcomes[seq - 1]);
        check_applied(f, outcomes[seq - 1]);
        seen[seq - 1] = true;
        fix_free(f);
    }
    assert_true(seen[0] && seen[1] && seen[2]);

    struct fix *f = fix_plain();
    struct store_db *db = open_db(f, PATH);
    write_now(f, db, batches[0]);
    store_mem_crash(f->store, NULL, STORE_MEM_KEEP_ALL);
    check_durable(f, outcomes[0]);
    fix_free(f);
}

static void crash_of_one_process_leaves_the_others(void **state)
{
    (void)state;
    struct fix *f = fix_plain();
    struct store_queue *other = NULL;
    assert_int_equal(f->ops->queue_new(f->store, &other, NULL).code, SILO_OK);
    struct store_db *mine = open_db(f, PATH);
    call_open(f, other, "db/theirs");
    struct store_event event;
    assert_int_equal(f->ops->queue_drain(other, &event, 1), 1);
    struct store_db *theirs = event.db;
    write_now(f, mine, "a=1");
    call_write(f, theirs, "b=1");
    store_mem_crash(f->store, other, STORE_MEM_LOSE);
    assert_int_equal(f->ops->queue_drain(other, &event, 1), 0);
    assert_int_equal(try_write(f, theirs, "c=1").code, SILO_UNAVAILABLE);
    check_value(f, mine, "a", "1");
    /* The survivor takes the path over from the dead. */
    check_value(f, open_db(f, "db/theirs"), "b", NULL);
    f->ops->queue_free(other);
    fix_free(f);
}

static void views_outlive_a_crash(void **state)
{
    (void)state;
    struct fix *f = fix_plain();
    struct store_db *db = open_db(f, PATH);
    write_now(f, db, "a=1 b=2 c=3");
    const struct store_scan_args args = {.rows_max = 1};
    assert_int_equal(f->ops->scan(db, NULL, &args, ++f->token, NULL).code, SILO_OK);
    struct store_iter *iter = expect(f, f->token, STORE_ROWS, SILO_OK)->iter;
    f->events[0].iter = NULL;
    struct store_snap *snap = NULL;
    assert_int_equal(f->ops->snapshot(db, f->queue, &snap, NULL, NULL).code, SILO_OK);
    assert_int_equal(f->ops->iter_next(iter, 1, 0, ++f->token, NULL).code, SILO_OK);
    /* A first page nobody has drained, and one that was not even read. */
    assert_int_equal(f->ops->scan(db, NULL, &args, ++f->token, NULL).code, SILO_OK);
    (void)store_mem_settle(f->store);
    assert_int_equal(f->ops->scan(db, NULL, &args, ++f->token, NULL).code, SILO_OK);
    store_mem_crash(f->store, NULL, STORE_MEM_LOSE);
    assert_int_equal(f->ops->iter_next(iter, 1, 0, 9, NULL).code, SILO_UNAVAILABLE);
    f->ops->iter_free(iter);
    f->ops->snapshot_free(snap);
    fix_free(f);
}

/* --- progress --- */

static void manual_steps_go_one_by_one(void **state)
{
    (void)state;
    struct fix *f = fix_new((struct store_mem_options){.manual = true}, false);
    call_open(f, f->queue, PATH);
    fix_drain(f);
    assert_int_equal(f->count, 0);
    assert_false(readable(f));
    assert_true(store_mem_step(f->store));
    assert_true(readable(f));
    fix_drain(f);
    assert_false(readable(f));
    struct store_db *db = f->events[0].db;
    call_write(f, db, "a=1");
    call_write(f, db, "b=1");
    call_flush(f, db);
    assert_true(store_mem_step(f->store));
    check_applied(f, "a=1 ");
    assert_true(store_mem_step(f->store));
    check_applied(f, "a=1 b=1 ");
    check_durable(f, "");
    assert_true(store_mem_step(f->store));
    check_durable(f, "a=1 b=1 ");
    assert_false(store_mem_step(f->store));
    fix_free(f);
}

static void turns_and_milliseconds_delay(void **state)
{
    (void)state;
    struct fix *f = fix_new((struct store_mem_options){.manual = true}, true);
    call_open(f, f->queue, PATH);
    assert_int_equal(store_mem_settle(f->store), 1);
    fix_drain(f);
    struct store_db *db = f->events[0].db;
    store_mem_delay_set(f->store, STORE_MEM_WRITE, (struct store_mem_delay){.turns = 2});
    call_write(f, db, "a=1");
    assert_false(store_mem_step(f->store));
    assert_false(store_mem_step(f->store));
    assert_true(store_mem_step(f->store));
    call_write(f, db, "b=1");
    assert_int_equal(store_mem_settle(f->store), 1);

    store_mem_delay_set(f->store, STORE_MEM_WRITE,
                        (struct store_mem_delay){.ms_min = 5, .ms_max = 9});
    call_write(f, db, "c=1");
    const int64_t next_ms = store_mem_next_ms(f->store);
    assert_in_range(next_ms, 5, 9);
    f->now_us = next_ms * 1000 - 1;
    assert_int_equal(store_mem_settle(f->store), 0);
    f->now_us = next_ms * 1000;
    assert_int_equal(store_mem_settle(f->store), 1);
    assert_true(store_mem_next_ms(f->store) == INT64_MAX);
    fix_free(f);
}

/* The order in which 8 reads and 3 writes of one database end. */
static uint64_t shuffled_order(uint64_t seed, uint64_t order[11])
{
    struct fix *f = fix_new((struct store_mem_options){.shuffle = true, .seed = seed}, false);
    struct store_db *db = open_db(f, PATH);
    const uint64_t first = f->token + 1;
    for (int i = 0; i < 8; i++) {
        call_mget(f, db, NULL, "k");
    }
    for (int i = 0; i < 3; i++) {
        call_write(f, db, "k=1");
    }
    fix_drain(f);
    assert_int_equal(f->count, 11);
    uint64_t last_write = 0, swaps = 0;
    for (size_t i = 0; i < 11; i++) {
        order[i] = f->events[i].token - first;
        swaps += i != 0 && order[i] < order[i - 1];
        if (f->events[i].kind == STORE_APPLIED) {
            assert_true(f->events[i].token > last_write);
            last_write = f->events[i].token;
        }
    }
    fix_free(f);
    return swaps;
}

static void shuffling_follows_the_seed_and_keeps_writes_in_order(void **state)
{
    (void)state;
    uint64_t a[11], b[11], swaps = 0, differ = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        swaps += shuffled_order(seed, a);
        (void)shuffled_order(seed, b);
        assert_memory_equal(a, b, sizeof a);
        (void)shuffled_order(seed + 100, b);
        differ += memcmp(a, b, sizeof a) != 0;
    }
    assert_true(swaps > 20);
    assert_true(differ > 15);
}

static void the_descriptor_follows_the_queue(void **state)
{
    (void)state;
    struct fix *f = fix_plain();
    assert_false(readable(f));
    call_open(f, f->queue, PATH);
    assert_true(readable(f)); /* automatic: a drain would find it */
    struct store_event event;
    assert_int_equal(f->ops->queue_drain(f->queue, &event, 0), 0);
    assert_true(readable(f));
    assert_int_equal(f->ops->queue_drain(f->queue, &event, 1), 1);
    assert_false(readable(f));
    store_mem_delay_set(f->store, STORE_MEM_FLUSH, (struct store_mem_delay){.turns = 2});
    const uint64_t flush = call_flush(f, event.db);
    for (int i = 0; i < 2; i++) {
        assert_true(readable(f));
        expect_nothing(f, flush);
    }
    assert_true(readable(f));
    expect_drop(f, flush, STORE_FLUSHED, SILO_OK);
    assert_false(readable(f));
    fix_free(f);
}

/* --- threads --- */

#define THREAD_WRITES 500

struct thread_job {
    struct fix *f;
    struct store_db *db;
};

static void *thread_writes(void *context)
{
    const struct thread_job *job = context;
    for (uint64_t i = 1; i <= THREAD_WRITES; i++) {
        struct store_buf buf = job->f->ops->buf_alloc(64);
        store_op_pack(&buf, BYTES_LIT("k"), BYTES_LIT("v"), false);
        if (job->f->ops->write(job->db, &buf, 1, 1, 1000 + i, NULL).code != SILO_OK) {
            return context;
        }
    }
    return NULL;
}

/*
 * One thread calls, another waits on the descriptor and drains: every call has its event, in order.
 */
static void calls_come_from_any_thread(void **state)
{
    (void)state;
    struct fix *f = fix_plain();
    struct thread_job job = {.f = f, .db = open_db(f, PATH)};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, thread_writes, &job), 0);
    uint64_t next = 1001;
    while (next <= 1000 + THREAD_WRITES) {
        struct pollfd pfd = {.fd = f->ops->queue_fd(f->queue), .events = POLLIN};
        assert_int_equal(poll(&pfd, 1, 10000), 1);
        fix_drain(f);
        while (f->count != 0) {
            assert_int_equal(f->events[0].token, next);
            next++;
            event_drop(f, 0);
        }
    }
    void *failed = NULL;
    assert_int_equal(pthread_join(thread, &failed), 0);
    assert_null(failed);
    fix_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failed_writes_leave_their_outcome_open),
        cmocka_unit_test(failed_flushes_leave_their_outcome_open),
        cmocka_unit_test(failed_reads_leave_the_database_up),
        cmocka_unit_test(faults_can_be_taken_back),
        cmocka_unit_test(outage_is_silence),
        cmocka_unit_test(one_queue_is_cut_off),
        cmocka_unit_test(crash_loses_what_is_not_durable),
        cmocka_unit_test(crash_keeps_a_prefix),
        cmocka_unit_test(crash_of_one_process_leaves_the_others),
        cmocka_unit_test(views_outlive_a_crash),
        cmocka_unit_test(manual_steps_go_one_by_one),
        cmocka_unit_test(turns_and_milliseconds_delay),
        cmocka_unit_test(shuffling_follows_the_seed_and_keeps_writes_in_order),
        cmocka_unit_test(the_descriptor_follows_the_queue),
        cmocka_unit_test(calls_come_from_any_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
