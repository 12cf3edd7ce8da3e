/*
 * store_mem/store_mem_test.c - what the store in memory promises: visibility, durability, reads,
 * fencing, objects.
 */
#include "store_mem/fix_test.h"

/* --- writing, flushing, closing --- */

static void data_live_over_close_and_open(void **state)
{
    (void)state;
    struct fix *f = fix_plain();
    struct store_db *db = open_db(f, PATH);
    write_now(f, db, "a=1 b=2");
    write_now(f, db, "-a c=3");
    close_now(f, db, STORE_CLOSE_WAL, SILO_OK);
    db = open_db(f, PATH);
    check_value(f, db, "a", NULL);
    check_value(f, db, "b", "2");
    check_value(f, db, "c", "3");
    struct store_db *other = open_db(f, "db/two");
    check_value(f, other, "b", NULL);
    write_now(f, db, "d=4");
    close_now(f, db, STORE_CLOSE_DROP, SILO_OK);
    check_applied(f, "b=2 c=3 ");
    fix_free(f);
}

static void durable_only_after_a_flush(void **state)
{
    (void)state;
    struct fix *f = fix_plain();
    struct store_db *db = open_db(f, PATH);
    write_now(f, db, "a=1");
    check_applied(f, "a=1 ");
    check_durable(f, "");
    struct store_event *event = expect(f, call_flush(f, db), STORE_FLUSHED, SILO_OK);
    assert_int_equal(event->seq, store_mem_applied_seq(f->store, PATH));
    check_durable(f, "a=1 ");
    write_now(f, db, "a=2");
    check_durable(f, "a=1 ");
    check_applied(f, "a=2 ");
    assert_int_equal(store_mem_durable_seq(f->store, PATH) + 1,
                     store_mem_applied_seq(f->store, PATH));
    fix_free(f);
}

static void batches_have_rising_sequences(void **state)
{
    (void)state;
    struct fix *f = fix_plain();
    struct store_db *db = open_db(f, PATH);
    uint64_t tokens[10], last = 0;
    for (int i = 0; i < 10; i++) {
        tokens[i] = call_write(f, db, "k=v");
    }
    for (int i = 0; i < 10; i++) {
        const uint64_t seq = expect(f, tokens[i], STORE_APPLIED, SILO_OK)->seq;
        assert_true(seq > last);
        last = seq;
    }
    fix_free(f);
}

static void last_operation_of_a_batch_wins(void **state)
{
    (void)state;
    struct fix *f = fix_plain();
    struct store_db *db = open_db(f, PATH);
    write_now(f, db, "a=1 -a b=1 a=3 b=2 -c c=1 -c");
    check_applied(f, "a=3 b=2 ");
    fix_free(f);
}

static silo_rc write_raw(struct fix *f, struct store_db *db, const void *bytes, size_t len,
                         uint32_t ops)
{
    struct store_buf buf = f->ops->buf_alloc(len);
    memcpy(buf.ptr, bytes, len);
    buf.len = len;
    return f->ops->write(db, &buf, 1, ops, ++f->token, NULL);
}

static void malformed_batches_are_refused(void **state)
{
    (void)state;
    struct fix *f = fix_plain();
    struct store_db *db = open_db(f, PATH);
    static const uint8_t good[] = {0, 0, 1, 0, 2, 0, 0, 0, 'k', 'v', 'v'};
    for (size_t len = 0; len < sizeof good; len++) {
        assert_int_equal(write_raw(f, db, good, len, 1).code, SILO_INVALID);
    }
    static const uint8_t bad[][11] = {
        {2, 0, 1, 0, 2, 0, 0, 0, 'k', 'v', 'v'},             /* no such operation */
        {0, 1, 1, 0, 2, 0, 0, 0, 'k', 'v', 'v'},             /* reserved byte */
        {0, 0, 0, 0, 3, 0, 0, 0, 'k', 'v', 'v'},             /* empty key */
        {1, 0, 1, 0, 2, 0, 0, 0, 'k', 'v', 'v'},             /* delete with a value */
        {0, 0, 1, 0, 0xff, 0xff, 0xff, 0xff, 'k', 'v', 'v'}, /* value size of an absent row */
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(write_raw(f, db, bad[i], sizeof bad[i], 1).code, SILO_INVALID);
    }
    assert_int_equal(write_raw(f, db, good, sizeof good, 0).code, SILO_INVALID);
    assert_int_equal(write_raw(f, db, good, sizeof good, 2).code, SILO_INVALID);
    assert_int_equal(write_raw(f, db, good, sizeof good, 1).code, SILO_OK);
    fix_drain(f);
    assert_int_equal(f->count, 1);
    check_applied(f, "k=vv ");
    fix_free(f);
}

static void undurable_bytes_are_bounded(void **state)
{
    (void)state;
    struct fix *f = fix_plain();
    const struct store_open_args args = {.path = PATH, .bytes_max = 40};
    assert_int_equal(f->ops->open(f->store, f->queue, &args, ++f->token, NULL).code, SILO_OK);
    struct store_db *db = expect(f, f->token, STORE_OPENED, SILO_OK)->db;
    assert_int_equal(f->ops->queued_bytes(db), 0);
    call_write(f, db, "a=0123456789"); /* 8 + 1 + 10 */
    assert_int_equal(f->ops->queued_bytes(db), 19);
    write_now(f, db, "b=0123456789");
    assert_int_equal(f->ops->queued_bytes(db), 38);
    assert_int_equal(try_write(f, db, "c=1").code, SILO_EXHAUSTED);
    flush_now(f, db);
    assert_int_equal(f->ops->queued_bytes(db), 0);
    /* A larger one goes alone. */
    write_now(f, db, "d=01234567890123456789012345678901234567890123456789");
    assert_int_equal(try_write(f, db, "c=1").code, SILO_EXHAUSTED);
    fix_free(f);
}

static void flush_covers_what_was_applied_at_its_turn(void **state)
{
    (void)state;
    struct fix *f =
        fix_new((struct store_mem_options){.delays[STORE_MEM_FLUSH] = {.ms_min = 30}}, true);
    struct store_db *db = open_db(f, PATH);
    write_now(f, db, "a=1");
    const uint64_t first = call_flush(f, db);
    expect_nothing(f, first); /* begins */
    write_now(f, db, "b=1");
    const uint64_t second = call_flush(f, db); /* waits for the first */
    expect_nothing(f, second);
    write_now(f, db, "c=1"); /* rides along all the same */
    f->now_us += 30000;
    expect_drop(f, first, STORE_FLUSHED, SILO_OK);
    check_durable(f, "a=1 ");
    write_now(f, db, "d=1"); /* the second's turn has come before */
    f->now_us += 29999;
    expect_nothing(f, second);
    f->now_us += 1;
    expect_drop(f, second, STORE_FLUSHED, SILO_OK);
    check_durable(f, "a=1 b=1 c=1 ");
    fix_free(f);
}

static void close_ends_what_came_before(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct fix *f = fix_new((struct store_mem_options){.shuffle = true, .seed = seed}, false);
        struct store_db *db = open_db(f, PATH);
        const uint64_t write = call_write(f, db, "a=1");
        const uint64_t read = call_mget(f, db, NULL, "a");
        assert_int_equal(f->ops->close(db, STORE_CLOSE_MEMTABLE, ++f->token, NULL).code, SILO_OK);
        assert_int_equal(try_write(f, db, "b=1").code, SILO_UNAVAILABLE);
        assert_int_equal(f->ops->flush(db, STORE_FLUSH_WAL, 99, NULL).code, SILO_UNAVAILABLE);
        assert_int_equal(f->ops->close(db, STORE_CLOSE_DROP, 99, NULL).code, SILO_UNAVAILABLE);
        fix_drain(f);
        assert_int_equal(f->count, 3);
        assert_int_equal(f->events[2].kind, STORE_CLOSED);
        assert_non_null(event_find(f, write));
        assert_non_null(event_find(f, read));
        check_durable(f, "a=1 ");
        assert_false(store_mem_owned(f->store, PATH));
        fix_free(f);
    }
}

static bool close_empty(struct fix *f, struct store_db *db, enum store_close_how how,
                        enum silo_code code)
{
    assert_int_equal(f->ops->close(db, how, ++f->token, NULL).code, SILO_OK);
    struct store_event *event = expect(f, f->token, STORE_CLOSED, code);
    const bool empty = event->empty;
    event_drop(f, (size_t)(event - f->events));
    return empty;
}

static void flush_memtable(struct fix *f, struct store_db *db)
{
    assert_int_equal(f->ops->flush(db, STORE_FLUSH_MEMTABLE, ++f->token, NULL).code, SILO_OK);
    expect_drop(f, f->token, STORE_FLUSHED, SILO_OK);
}

static void a_close_says_whether_there_is_anything_to_replay(void **state)
{
    (void)state;
    struct fix *f = fix_plain();
    assert_true(close_empty(f, open_db(f, PATH), STORE_CLOSE_WAL, SILO_OK));
    struct store_db *db = open_db(f, PATH);
    write_now(f, db, "a=1");
    assert_false(close_empty(f, db, STORE_CLOSE_WAL, SILO_OK));
    assert_false(close_empty(f, open_db(f, PATH), STORE_CLOSE_WAL, SILO_OK)); /* nobody sorted it */
    assert_true(close_empty(f, open_db(f, PATH), STORE_CLOSE_MEMTABLE, SILO_OK));
    db = open_db(f, PATH);
    write_now(f, db, "a=2");
    flush_memtable(f, db);
    assert_true(close_empty(f, db, STORE_CLOSE_WAL, SILO_OK));
    db = open_db(f, PATH);
    flush_memtable(f, db);
    assert_false(close_empty(f, db, STORE_CLOSE_DROP, SILO_OK)); /* nobody looked */
    db = open_db(f, PATH);
    write_now(f, db, "a=3");
    store_mem_hurry(f->store, true);
    assert_false(close_empty(f, db, STORE_CLOSE_MEMTABLE, SILO_OK));
    store_mem_hurry(f->store, false);
    db = open_db(f, PATH);
    check_value(f, db, "a", "3");
    (void)open_db(f, PATH);
    assert_false(close_empty(f, db, STORE_CLOSE_MEMTABLE, SILO_CONFLICT));
    fix_free(f);
}

static void dropping_close_fails_what_cannot_end(void **state)
{
    (void)state;
    struct fix *f = fix_plain();
    struct store_db *db = open_db(f, PATH);
    write_now(f, db, "a=1");
    store_mem_outage(f->store, STORE_MEM_REMOTE, "no route");
    const uint64_t flush = call_flush(f, db), read = call_mget(f, db, NULL, "a");
    expect_nothing(f, flush);
    assert_int_equal(f->ops->close(db, STORE_CLOSE_DROP, ++f->token, NULL).code, SILO_OK);
    const uint64_t closed = f->token;
    expect_drop(f, flush, STORE_FLUSHED, SILO_UNAVAILABLE);
    expect_drop(f, read, STORE_ROWS, SILO_UNAVAILABLE);
    expect_drop(f, closed, STORE_CLOSED, SILO_OK);
    check_applied(f, "");
    fix_free(f);
}

/* --- reading --- */

static void mget_answers_in_the_order_asked(void **state)
{
    (void)state;
    struct fix *f = fix_plain();
    struct store_db *db = open_db(f, PATH);
    write_now(f, db, "a=1 b= c=3");
    const struct bytes keys[] = {BYTES_LIT("c"), BYTES_LIT("zz"), BYTES_LIT("a"), BYTES_LIT("b"),
                                 BYTES_LIT("c")};
    static const char *const values[] = {"3", NULL, "1", "", "3"};
    assert_int_equal(f->ops->mget(db, NULL, keys, 5, ++f->token, NULL).code, SILO_OK);
    struct store_event *event = expect(f, f->token, STORE_ROWS, SILO_OK);
    assert_int_equal(event->rows.count, 5);
    assert_null(event->iter);
    for (int i = 0; i < 5; i++) {
        struct store_row row;
        assert_true(store_rows_next(&event->rows, &row));
        assert_true(bytes_eq(row.key, keys[i]));
        assert_int_equal(row.present, values[i] != NULL);
        assert_true(bytes_eq(row.value, bytes_str(values[i])));
    }
    assert_int_equal(f->ops->mget(db, NULL, keys, 0, 9, NULL).code, SILO_INVALID);
    const struct bytes none = BYTES_NONE;
    assert_int_equal(f->ops->mget(db, NULL, &none, 1, 9, NULL).code, SILO_INVALID);
    fix_free(f);
}

static void reads_see_the_state_of_their_start_or_end(void **state)
{
    (void)state;
    for (int at_start = 0; at_start < 2; at_start++) {
        struct fix *f = fix_new((struct store_mem_options){.reads_at_start = at_start,
                                                           .delays[STORE_MEM_MGET] = {.turns = 3},
                                                           .delays[STORE_MEM_SCAN] = {.turns = 3}},
                                false);
        struct store_db *db = open_db(f, PATH);
        write_now(f, db, "k=1");
        const uint64_t read = call_mget(f, db, NULL, "k");
        const struct store_scan_args args = {.rows_max = 1};
        assert_int_equal(f->ops->scan(db, NULL, &args, ++f->token, NULL).code, SILO_OK);
        const uint64_t scan = f->token;
        write_now(f, db, "k=2"); /* turn 1 of the reads */
        expect_nothing(f, read);
        expect_nothing(f, read);
        expect_row(f, read, at_start ? "1" : "2");
        expect_row(f, scan, at_start ? "1" : "2");
        fix_free(f);
    }
}

static void snapshots_stay(void **state)
{
    (void)state;
    struct fix *f = fix_plain();
    struct store_db *db = open_db(f, PATH);
    write_now(f, db, "k=1 gone=1");
    struct store_snap *snap = NULL;
    uint64_t seq = 0;
    assert_int_equal(f->ops->snapshot(db, f->queue, &snap, &seq, NULL).code, SILO_OK);
    assert_int_equal(seq, store_mem_applied_seq(f->store, PATH));
    for (int i = 0; i < 50; i++) {
        write_now(f, db, "k=2 -gone");
        flush_now(f, db);
    }
    expect_row(f, call_mget(f, NULL, snap, "k"), "1");
    expect_row(f, call_mget(f, NULL, snap, "gone"), "1");
    check_value(f, db, "k", "2");
    check_value(f, db, "gone", NULL);
    close_now(f, db, STORE_CLOSE_WAL, SILO_OK);
    f->ops->snapshot_free(snap);
    fix_free(f);
}

/* Reads a range page by page; keys and values as "a=1 b=2 | c=3 ". */
static void scan_text(struct fix *f, struct store_db *db, const struct store_scan_args *args,
                      char text[256])
{
    text[0] = '\0';
    struct store_iter *iter = NULL;
    assert_int_equal(f->ops->scan(db, NULL, args, ++f->token, NULL).code, SILO_OK);
    for (;;) {
        struct store_event *event = expect(f, f->token, STORE_ROWS, SILO_OK);
        struct store_row row;
        while (store_rows_next(&event->rows, &row)) {
            print_row(text, row.key, row.value);
        }
        const bool more = event->iter != NULL;
        iter = more ? event->iter : iter;
        event_drop(f, (size_t)(event - f->events));
        if (!more) {
            f->ops->iter_free(iter);
            return;
        }
        (void)snprintf(text + strlen(text), 256 - strlen(text), "| ");
        write_now(f, db, "ab=new bb=new -d"); /* what is written meanwhile is not seen */
        assert_int_equal(
            f->ops->iter_next(iter, args->rows_max, args->bytes_max, ++f->token, NULL).code,
            SILO_OK);
    }
}

static void check_scan(const struct store_scan_args *args, const char *want)
{
    struct fix *f = fix_plain();
    struct store_db *db = open_db(f, PATH);
    write_now(f, db, "a=1 b=2 c=3 d=4 e=5");
    char text[256];
    scan_text(f, db, args, text);
    assert_string_equal(text, want);
    fix_free(f);
}

static void scans_have_ranges_orders_and_pages(void **state)
{
    (void)state;
    const struct bytes b = BYTES_LIT("b"), d = BYTES_LIT("d"), aa = BYTES_LIT("aa");
    check_scan(&(struct store_scan_args){.rows_max = 0}, "a=1 b=2 c=3 d=4 e=5 ");
    check_scan(&(struct store_scan_args){.rows_max = 5}, "a=1 b=2 c=3 d=4 e=5 ");
    check_scan(&(struct store_scan_args){.rows_max = 2}, "a=1 b=2 | c=3 d=4 | e=5 ");
    check_scan(&(struct store_scan_args){.rows_max = 2, .descending = true},
               "e=5 d=4 | c=3 b=2 | a=1 ");
    check_scan(&(struct store_scan_args){.lo = b, .hi = d}, "b=2 c=3 ");
    check_scan(&(struct store_scan_args){.lo = b, .hi = d, .descending = true}, "c=3 b=2 ");
    check_scan(&(struct store_scan_args){.lo = b, .hi = d, .rows_max = 1, .descending = true},
               "c=3 | b=2 ");
    check_scan(&(struct store_scan_args){.lo = aa, .rows_max = 3}, "b=2 c=3 d=4 | e=5 ");
    check_scan(&(struct store_scan_args){.lo = d, .hi = b}, "");
    check_scan(&(struct store_scan_args){.lo = b, .hi = b}, "");
    check_scan(&(struct store_scan_args){.hi = b, .keys_only = true}, "a= ");
    /* A page ends with the row that passes bytes_max: one row is 10 bytes. */
    check_scan(&(struct store_scan_args){.bytes_max = 1}, "a=1 | b=2 | c=3 | d=4 | e=5 ");
    check_scan(&(struct store_scan_args){.bytes_max = 15}, "a=1 b=2 | c=3 d=4 | e=5 ");
}

static void reads_under_way_are_bounded(void **state)
{
    (void)state;
    struct fix *f = fix_new((struct store_mem_options){.manual = true}, false);
    call_open(f, f->queue, PATH);
    assert_true(store_mem_step(f->store));
    fix_drain(f);
    struct store_db *db = f->events[0].db;
    for (uint32_t i = 0; i < STORE_MEM_READS_MAX; i++) {
        call_mget(f, db, NULL, "k");
    }
    const struct bytes key = BYTES_LIT("k");
    assert_int_equal(f->ops->mget(db, NULL, &key, 1, 1, NULL).code, SILO_EXHAUSTED);
    const struct store_scan_args args = {.rows_max = 1};
    assert_int_equal(f->ops->scan(db, NULL, &args, 1, NULL).code, SILO_EXHAUSTED);
    assert_true(store_mem_step(f->store));
    call_mget(f, db, NULL, "k");
    fix_free(f);
}

/* --- fencing --- */

static void open_fences_the_older_handle(void **state)
{
    (void)state;
    struct fix *f = fix_plain();
    struct store_db *old = open_db(f, PATH);
    write_now(f, old, "a=1");
    flush_now(f, old);
    write_now(f, old, "b=lost");
    struct store_db *new = open_db(f, PATH);
    check_value(f, new, "a", "1");
    check_value(f, new, "b", NULL);

    /* The old one does not know: it applies writes and reads them. */
    write_now(f, old, "c=lost");
    check_value(f, old, "b", "lost");
    check_value(f, old, "c", "lost");
    check_value(f, new, "c", NULL);
    write_now(f, new, "a=2");
    check_value(f, old, "a", "1");

    const uint64_t flush = call_flush(f, old), behind = call_write(f, old, "d=1");
    struct store_event *event = expect(f, flush, STORE_FLUSHED, SILO_CONFLICT);
    event_drop(f, (size_t)(event - f->events));
    event = expect(f, 0, STORE_DOWN, SILO_CONFLICT);
    assert_ptr_equal(event->db, old);
    event_drop(f, (size_t)(event - f->events));
    expect_drop(f, behind, STORE_APPLIED, SILO_CONFLICT);
    assert_int_equal(try_write(f, old, "e=1").code, SILO_CONFLICT);
    assert_int_equal(f->ops->refresh(old, 9, NULL).code, SILO_CONFLICT);
    store_mem_notice_fences(f->store);
    expect_nothing(f, 0); /* once */

    flush_now(f, new);
    check_durable(f, "a=2 ");
    close_now(f, old, STORE_CLOSE_WAL, SILO_CONFLICT);
    check_durable(f, "a=2 ");
    assert_true(store_mem_owned(f->store, PATH));
    fix_free(f);
}

static void refresh_and_polling_tell_of_a_fence(void **state)
{
    (void)state;
    struct fix *f = fix_plain();
    struct store_db *first = open_db(f, PATH);
    assert_int_equal(f->ops->refresh(first, ++f->token, NULL).code, SILO_OK);
    expect_drop(f, f->token, STORE_REFRESHED, SILO_OK);
    struct store_db *second = open_db(f, PATH);
    assert_int_equal(f->ops->refresh(first, ++f->token, NULL).code, SILO_OK);
    expect_drop(f, f->token, STORE_REFRESHED, SILO_CONFLICT);
    expect_drop(f, 0, STORE_DOWN, SILO_CONFLICT);
    (void)open_db(f, PATH);
    expect_nothing(f, 0);
    store_mem_notice_fences(f->store);
    assert_ptr_equal(expect(f, 0, STORE_DOWN, SILO_CONFLICT)->db, second);
    fix_free(f);
}

static void flush_in_flight_loses_to_an_open(void **state)
{
    (void)state;
    struct fix *f =
        fix_new((struct store_mem_options){.delays[STORE_MEM_FLUSH] = {.ms_min = 10}}, true);
    struct store_db *old = open_db(f, PATH);
    write_now(f, old, "a=1");
    const uint64_t flush = call_flush(f, old);
    expect_nothing(f, flush);
    (void)open_db(f, PATH);
    f->now_us += 10000;
    expect_drop(f, flush, STORE_FLUSHED, SILO_CONFLICT);
    check_durable(f, "");
    fix_free(f);
}

/* --- objects, counts, the rest --- */

static void expect_data(struct fix *f, silo_rc rc, const char *want)
{
    assert_int_equal(rc.code, SILO_OK);
    struct store_event *event = expect(f, f->token, STORE_OBJECT, SILO_OK);
    assert_true(bytes_eq(event->rows.data, bytes_str(want)));
    event_drop(f, (size_t)(event - f->events));
}

static void put_object(struct fix *f, const char *name, const char *data, enum silo_code code)
{
    assert_int_equal(
        f->ops->object_put_new(f->store, f->queue, name, bytes_str(data), ++f->token, NULL).code,
        SILO_OK);
    expect_drop(f, f->token, STORE_OBJECT, code);
}

static void objects_are_created_once(void **state)
{
    (void)state;
    struct fix *f = fix_plain();
    put_object(f, "cluster/2.json", "two", SILO_OK);
    put_object(f, "cluster/1.json", "one", SILO_OK);
    put_object(f, "cluster/1.json", "other", SILO_EXISTS);
    put_object(f, "clusters", "", SILO_OK);
    expect_data(f, f->ops->object_get(f->store, f->queue, "cluster/1.json", ++f->token, NULL),
                "one");
    expect_data(f, f->ops->object_get(f->store, f->queue, "clusters", ++f->token, NULL), "");
    expect_data(f, f->ops->object_list(f->store, f->queue, "cluster", ++f->token, NULL),
                "cluster/1.json\ncluster/2.json\n");
    expect_data(f, f->ops->object_list(f->store, f->queue, "", ++f->token, NULL),
                "cluster/1.json\ncluster/2.json\nclusters\n");
    store_mem_crash(f->store, NULL, STORE_MEM_LOSE);
    expect_data(f, f->ops->object_list(f->store, f->queue, "cluster/", ++f->token, NULL),
                "cluster/1.json\ncluster/2.json\n");
    assert_int_equal(f->ops->object_get(f->store, f->queue, "none", ++f->token, NULL).code,
                     SILO_OK);
    expect_drop(f, f->token, STORE_OBJECT, SILO_NOT_FOUND);
    assert_int_equal(f->ops->object_get(f->store, f->queue, "", 9, NULL).code, SILO_INVALID);

    store_mem_fail(f->store, &(struct store_mem_fault){.kind = STORE_MEM_OBJECT,
                                                       .nth = 1,
                                                       .code = SILO_UNAVAILABLE,
                                                       .effect = true});
    put_object(f, "x", "data", SILO_UNAVAILABLE);
    expect_data(f, f->ops->object_get(f->store, f->queue, "x", ++f->token, NULL), "data");
    assert_int_equal(f->ops->selftest(f->store, f->queue, ++f->token, NULL).code, SILO_OK);
    expect_drop(f, f->token, STORE_TESTED, SILO_OK);
    fix_free(f);
}

static const struct store_open_args place = {.path = PATH};

static void check_epoch(struct fix *f, uint64_t epoch)
{
    assert_int_equal(f->ops->db_epoch(f->store, f->queue, &place, ++f->token, NULL).code, SILO_OK);
    struct store_event *event = expect(f, f->token, STORE_OBJECT, SILO_OK);
    assert_int_equal(event->seq, epoch);
    event_drop(f, (size_t)(event - f->events));
}

static void removing_empties_a_closed_database(void **state)
{
    (void)state;
    struct fix *f = fix_plain();
    struct store_db *db = open_db(f, PATH);
    write_now(f, db, "a=1");
    flush_now(f, db);
    expect_data(f, f->ops->db_remove(f->store, f->queue, &place, ++f->token, NULL), "");
    check_value(f, db, "a", "1"); /* not while somebody has it open */
    close_now(f, db, STORE_CLOSE_WAL, SILO_OK);
    expect_data(f, f->ops->db_remove(f->store, f->queue, &place, ++f->token, NULL), "");
    check_applied(f, "");
    check_epoch(f, 0);
    check_value(f, open_db(f, PATH), "a", NULL);
    fix_free(f);
}

static void every_open_has_an_epoch(void **state)
{
    (void)state;
    struct fix *f = fix_plain();
    check_epoch(f, 0);
    struct store_db *db = open_db(f, PATH);
    check_epoch(f, 1);
    (void)open_db(f, PATH); /* takes it over */
    check_epoch(f, 2);
    close_now(f, db, STORE_CLOSE_DROP, SILO_OK);
    check_epoch(f, 2);
    store_mem_fail(f->store, &(struct store_mem_fault){
                                 .kind = STORE_MEM_OPEN, .nth = 1, .code = SILO_UNAVAILABLE});
    const struct store_open_args args = {.path = PATH};
    assert_int_equal(f->ops->open(f->store, f->queue, &args, ++f->token, NULL).code, SILO_OK);
    struct store_event *event = expect(f, f->token, STORE_OPENED, SILO_UNAVAILABLE);
    assert_int_equal(event->epoch, 3); /* it was about to claim that */
    event_drop(f, (size_t)(event - f->events));
    check_epoch(f, 2);
    fix_free(f);
}

static uint64_t open_after(struct fix *f, uint64_t epoch, enum silo_code code)
{
    const struct store_open_args args = {.path = PATH, .guarded = true, .expected_epoch = epoch};
    assert_int_equal(f->ops->open(f->store, f->queue, &args, ++f->token, NULL).code, SILO_OK);
    struct store_event *event = expect(f, f->token, STORE_OPENED, code);
    const uint64_t claimed = event->epoch;
    event_drop(f, (size_t)(event - f->events));
    return claimed;
}

static void a_guarded_open_takes_over_from_one_writer_alone(void **state)
{
    (void)state;
    struct fix *f = fix_plain();
    assert_int_equal(open_after(f, 0, SILO_OK), 1);
    assert_int_equal(open_after(f, 0, SILO_CONFLICT), 0);
    struct store_db *db = open_db(f, PATH);
    assert_int_equal(open_after(f, 1, SILO_CONFLICT), 0);
    write_now(f, db, "a=1"); /* the one that was refused has fenced nobody */
    flush_now(f, db);
    assert_int_equal(open_after(f, 2, SILO_OK), 3);
    check_epoch(f, 3);
    fix_free(f);
}

/* STORE_WAL_APART is 0, so an opening that says nothing has its log on its machine. */
static void a_log_of_a_machine_stays_there_while_it_has_something(void **state)
{
    (void)state;
    struct fix *f = fix_plain();
    struct store_db *db = open_db(f, PATH);
    write_now(f, db, "a=1");
    assert_false(close_empty(f, db, STORE_CLOSE_WAL, SILO_OK));
    store_mem_machine(f->queue, 1);
    const uint64_t token = call_open(f, f->queue, PATH);
    expect_drop(f, token, STORE_OPENED, SILO_CORRUPT);
    check_epoch(f, 1);
    store_mem_machine(f->queue, 0);
    assert_true(close_empty(f, open_db(f, PATH), STORE_CLOSE_MEMTABLE, SILO_OK));
    store_mem_machine(f->queue, 1);
    db = open_db(f, PATH);
    check_value(f, db, "a", "1");
    close_now(f, db, STORE_CLOSE_DROP, SILO_OK);
    store_mem_machine(f->queue, 0); /* the word before was of another writer */
    expect_drop(f, call_open(f, f->queue, PATH), STORE_OPENED, SILO_CORRUPT);
    fix_free(f);
}

static void calls_and_rows_are_counted(void **state)
{
    (void)state;
    struct fix *f = fix_plain();
    struct store_db *db = open_db(f, PATH);
    write_now(f, db, "a1=x a2=y b1=zz");
    write_now(f, db, "-a1");
    check_value(f, db, "a2", "y");
    flush_now(f, db);
    struct store_mem_counts counts;
    store_mem_counts(f->store, &counts);
    assert_int_equal(counts.calls[STORE_MEM_OPEN], 1);
    assert_int_equal(counts.calls[STORE_MEM_WRITE], 2);
    assert_int_equal(counts.calls[STORE_MEM_MGET], 1);
    assert_int_equal(counts.calls[STORE_MEM_FLUSH], 1);
    assert_int_equal(counts.calls[STORE_MEM_SCAN], 0);
    assert_int_equal(counts.batches, 2);
    assert_int_equal(counts.puts['a'], 2);
    assert_int_equal(counts.puts['b'], 1);
    assert_int_equal(counts.deletes['a'], 1);
    assert_int_equal(counts.bytes, 12);
    assert_int_equal(counts.rows_read, 1);
    store_mem_counts_reset(f->store);
    store_mem_counts(f->store, &counts);
    assert_int_equal(counts.calls[STORE_MEM_WRITE], 0);

    char *text = f->ops->info_json(db);
    assert_string_equal(text,
                        "{\"engine\":\"memory\",\"applied_seq\":2,\"durable_seq\":2,\"rows\":2}");
    free(text);
    text = f->ops->metrics_text(db, "s1");
    assert_non_null(strstr(text, "{shard=\"s1\"} 2\n"));
    free(text);
    fix_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_live_over_close_and_open),
        cmocka_unit_test(durable_only_after_a_flush),
        cmocka_unit_test(batches_have_rising_sequences),
        cmocka_unit_test(last_operation_of_a_batch_wins),
        cmocka_unit_test(malformed_batches_are_refused),
        cmocka_unit_test(undurable_bytes_are_bounded),
        cmocka_unit_test(flush_covers_what_was_applied_at_its_turn),
        cmocka_unit_test(close_ends_what_came_before),
        cmocka_unit_test(a_close_says_whether_there_is_anything_to_replay),
        cmocka_unit_test(dropping_close_fails_what_cannot_end),
        cmocka_unit_test(mget_answers_in_the_order_asked),
        cmocka_unit_test(reads_see_the_state_of_their_start_or_end),
        cmocka_unit_test(snapshots_stay),
        cmocka_unit_test(scans_have_ranges_orders_and_pages),
        cmocka_unit_test(reads_under_way_are_bounded),
        cmocka_unit_test(open_fences_the_older_handle),
        cmocka_unit_test(refresh_and_polling_tell_of_a_fence),
        cmocka_unit_test(flush_in_flight_loses_to_an_open),
        cmocka_unit_test(objects_are_created_once),
        cmocka_unit_test(removing_empties_a_closed_database),
        cmocka_unit_test(every_open_has_an_epoch),
        cmocka_unit_test(a_guarded_open_takes_over_from_one_writer_alone),
        cmocka_unit_test(a_log_of_a_machine_stays_there_while_it_has_something),
        cmocka_unit_test(calls_and_rows_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
