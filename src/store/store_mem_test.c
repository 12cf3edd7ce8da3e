/* store/store_mem_test.c - what the store in memory promises: visibility, durability, fencing, faults, crashes. */
#include <poll.h>
#include <pthread.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/test.h"
#include "store/store_mem.h"

#define EVENTS_MAX 256
#define PATH "db/one"

/* A store, a queue, the events drained and not asked for yet, a clock. */
struct fix {
    struct store *store;
    struct store_queue *queue;
    const struct store_ops *ops;
    struct store_event events[EVENTS_MAX];
    size_t count;
    uint64_t token; /* the last given out */
    int64_t now_us;
    struct env env;
};

static int64_t fix_mono_us(void *context)
{
    return ((struct fix *)context)->now_us;
}

static struct fix *fix_new(struct store_mem_options options, bool clock)
{
    struct fix *f = xcalloc(1, sizeof *f);
    f->env = (struct env){.mono_us = fix_mono_us, .context = f};
    options.env = clock ? &f->env : NULL;
    f->store = store_mem_new(&options);
    f->ops = store_ops_of(f->store);
    assert_int_equal(f->ops->queue_new(f->store, &f->queue, NULL).code, SILO_OK);
    return f;
}

static struct fix *fix_plain(void)
{
    return fix_new((struct store_mem_options){.seed = 1}, false);
}

static void event_drop(struct fix *f, size_t i)
{
    f->ops->event_free(&f->events[i]);
    f->count--;
    memmove(&f->events[i], &f->events[i + 1], (f->count - i) * sizeof f->events[0]);
}

static void events_clear(struct fix *f)
{
    while (f->count != 0) {
        f->ops->iter_free(f->events[0].iter);
        event_drop(f, 0);
    }
}

static void fix_free(struct fix *f)
{
    events_clear(f);
    f->ops->queue_free(f->queue);
    f->ops->free(f->store);
    free(f);
}

static void fix_drain(struct fix *f)
{
    f->count += f->ops->queue_drain(f->queue, f->events + f->count, EVENTS_MAX - f->count);
}

static struct store_event *event_find(struct fix *f, uint64_t token)
{
    for (size_t i = 0; i < f->count; i++) {
        if (f->events[i].token == token) {
            return &f->events[i];
        }
    }
    return NULL;
}

/* The event of a token, which must be there after a drain. */
static struct store_event *expect(struct fix *f, uint64_t token, enum store_event_kind kind,
                                  enum silo_code code)
{
    fix_drain(f);
    struct store_event *event = event_find(f, token);
    assert_non_null(event);
    assert_int_equal(event->kind, kind);
    assert_int_equal(event->rc.code, code);
    assert_int_equal(code == SILO_OK, event->text[0] == '\0');
    return event;
}

static void expect_drop(struct fix *f, uint64_t token, enum store_event_kind kind,
                        enum silo_code code)
{
    struct store_event *event = expect(f, token, kind, code);
    event_drop(f, (size_t)(event - f->events));
}

static void expect_nothing(struct fix *f, uint64_t token)
{
    fix_drain(f);
    assert_null(event_find(f, token));
}

/* --- calls --- */

static uint64_t call_open(struct fix *f, struct store_queue *queue, const char *path)
{
    const struct store_open_args args = {.path = path};
    assert_int_equal(f->ops->open(f->store, queue, &args, ++f->token, NULL).code, SILO_OK);
    return f->token;
}

static struct store_db *open_db(struct fix *f, const char *path)
{
    const uint64_t token = call_open(f, f->queue, path);
    struct store_event *event = expect(f, token, STORE_OPENED, SILO_OK);
    struct store_db *db = event->db;
    assert_non_null(db);
    event_drop(f, (size_t)(event - f->events));
    return db;
}

/* "a=1 b=2 -c": puts and deletes of one batch. */
static silo_rc try_write(struct fix *f, struct store_db *db, const char *text)
{
    struct store_buf buf = f->ops->buf_alloc(16 * strlen(text) + 64);
    uint32_t ops = 0;
    while (*text != '\0') {
        const size_t word = strcspn(text, " "), key = strcspn(text, "= ");
        const bool del = *text == '-';
        store_op_pack(&buf, bytes_of(text + del, key - del),
                      del ? BYTES_NONE : bytes_of(text + key + 1, word - key - 1), del);
        ops++;
        text += word + (text[word] == ' ');
    }
    return f->ops->write(db, &buf, 1, ops, ++f->token, NULL);
}

static uint64_t call_write(struct fix *f, struct store_db *db, const char *text)
{
    assert_int_equal(try_write(f, db, text).code, SILO_OK);
    return f->token;
}

static void write_now(struct fix *f, struct store_db *db, const char *text)
{
    expect_drop(f, call_write(f, db, text), STORE_APPLIED, SILO_OK);
}

static uint64_t call_flush(struct fix *f, struct store_db *db)
{
    assert_int_equal(f->ops->flush(db, STORE_FLUSH_WAL, ++f->token, NULL).code, SILO_OK);
    return f->token;
}

static void flush_now(struct fix *f, struct store_db *db)
{
    expect_drop(f, call_flush(f, db), STORE_FLUSHED, SILO_OK);
}

static uint64_t call_mget(struct fix *f, struct store_db *db, struct store_snap *snap,
                          const char *key)
{
    const struct bytes bytes = bytes_str(key);
    assert_int_equal(f->ops->mget(db, snap, &bytes, 1, ++f->token, NULL).code, SILO_OK);
    return f->token;
}

/* The event's one row has this value; NULL: it is absent. */
static void expect_row(struct fix *f, uint64_t token, const char *value)
{
    struct store_event *event = expect(f, token, STORE_ROWS, SILO_OK);
    struct store_row row;
    assert_int_equal(event->rows.count, 1);
    assert_true(store_rows_next(&event->rows, &row));
    assert_int_equal(row.present, value != NULL);
    assert_true(value == NULL || bytes_eq(row.value, bytes_str(value)));
    event_drop(f, (size_t)(event - f->events));
}

static void check_value(struct fix *f, struct store_db *db, const char *key, const char *value)
{
    expect_row(f, call_mget(f, db, NULL, key), value);
}

static void close_now(struct fix *f, struct store_db *db, enum store_close_how how,
                      enum silo_code code)
{
    assert_int_equal(f->ops->close(db, how, ++f->token, NULL).code, SILO_OK);
    expect_drop(f, f->token, STORE_CLOSED, code);
}

/* Rows as "a=1 b=2 ". */
static void print_row(void *context, struct bytes key, struct bytes value)
{
    char *text = context;
    const size_t len = strlen(text);
    (void)snprintf(text + len, 256 - len, "%.*s=%.*s ", BYTES_FMT(key), BYTES_FMT(value));
}

static void check_applied(struct fix *f, const char *want)
{
    char text[256] = "";
    store_mem_each_applied(f->store, PATH, print_row, text);
    assert_string_equal(text, want);
}

static void check_durable(struct fix *f, const char *want)
{
    char text[256] = "";
    store_mem_each_durable(f->store, PATH, print_row, text);
    assert_string_equal(text, want);
}

static bool readable(struct fix *f)
{
    struct pollfd pfd = {.fd = f->ops->queue_fd(f->queue), .events = POLLIN};
    return poll(&pfd, 1, 0) == 1;
}

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
    assert_int_equal(f->ops->snapshot(db, &snap, &seq, NULL).code, SILO_OK);
    assert_int_equal(seq, store_mem_applied_seq(f->store, PATH));
    for (int i = 0; i < 50; i++) {
        write_now(f, db, "k=2 -gone");
        flush_now(f, db);
    }
    expect_row(f, call_mget(f, db, snap, "k"), "1");
    expect_row(f, call_mget(f, db, snap, "gone"), "1");
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
    assert_int_equal(f->ops->snapshot(db, &snap, NULL, NULL).code, SILO_OK);
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
    expect_data(f, f->ops->object_delete_prefix(f->store, f->queue, "cluster/", ++f->token, NULL),
                "");
    expect_data(f, f->ops->object_list(f->store, f->queue, "", ++f->token, NULL), "clusters\n");
    assert_int_equal(
        f->ops->object_get(f->store, f->queue, "cluster/1.json", ++f->token, NULL).code, SILO_OK);
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

static void deleting_a_prefix_empties_closed_databases(void **state)
{
    (void)state;
    struct fix *f = fix_plain();
    struct store_db *db = open_db(f, PATH);
    write_now(f, db, "a=1");
    close_now(f, db, STORE_CLOSE_WAL, SILO_OK);
    expect_data(f, f->ops->object_delete_prefix(f->store, f->queue, "db", ++f->token, NULL), "");
    check_applied(f, "");
    check_value(f, open_db(f, PATH), "a", NULL);
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

/* One thread calls, another waits on the descriptor and drains: every call has its event, in order. */
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
        cmocka_unit_test(data_live_over_close_and_open),
        cmocka_unit_test(durable_only_after_a_flush),
        cmocka_unit_test(batches_have_rising_sequences),
        cmocka_unit_test(last_operation_of_a_batch_wins),
        cmocka_unit_test(malformed_batches_are_refused),
        cmocka_unit_test(undurable_bytes_are_bounded),
        cmocka_unit_test(flush_covers_what_was_applied_at_its_turn),
        cmocka_unit_test(close_ends_what_came_before),
        cmocka_unit_test(dropping_close_fails_what_cannot_end),
        cmocka_unit_test(mget_answers_in_the_order_asked),
        cmocka_unit_test(reads_see_the_state_of_their_start_or_end),
        cmocka_unit_test(snapshots_stay),
        cmocka_unit_test(scans_have_ranges_orders_and_pages),
        cmocka_unit_test(reads_under_way_are_bounded),
        cmocka_unit_test(open_fences_the_older_handle),
        cmocka_unit_test(refresh_and_polling_tell_of_a_fence),
        cmocka_unit_test(flush_in_flight_loses_to_an_open),
        cmocka_unit_test(failed_writes_leave_their_outcome_open),
        cmocka_unit_test(failed_flushes_leave_their_outcome_open),
        cmocka_unit_test(failed_reads_leave_the_database_up),
        cmocka_unit_test(faults_can_be_taken_back),
        cmocka_unit_test(outage_is_silence),
        cmocka_unit_test(crash_loses_what_is_not_durable),
        cmocka_unit_test(crash_keeps_a_prefix),
        cmocka_unit_test(crash_of_one_process_leaves_the_others),
        cmocka_unit_test(views_outlive_a_crash),
        cmocka_unit_test(manual_steps_go_one_by_one),
        cmocka_unit_test(turns_and_milliseconds_delay),
        cmocka_unit_test(shuffling_follows_the_seed_and_keeps_writes_in_order),
        cmocka_unit_test(the_descriptor_follows_the_queue),
        cmocka_unit_test(objects_are_created_once),
        cmocka_unit_test(deleting_a_prefix_empties_closed_databases),
        cmocka_unit_test(calls_and_rows_are_counted),
        cmocka_unit_test(calls_come_from_any_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
