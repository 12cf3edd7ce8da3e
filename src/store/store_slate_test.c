/*
 * store/store_slate_test.c - the engine behind store.h: on disk with fsync, and in the engine's own
 * memory store.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/test.h"
#include "store/store_slate.h"

#define EVENTS_MAX 64
#define WAIT_MS_MAX 60000
#define PATH "shard/one"

struct fix {
    struct store *store;
    const struct store_ops *ops;
    struct store_queue *queue;
    struct store_event events[EVENTS_MAX]; /* drained and not asked for yet */
    size_t count;
    uint64_t token;
    char dir[64];
};

static struct fix *fix_new(const char *url, bool fsync)
{
    struct fix *f = xcalloc(1, sizeof *f);
    const struct store_slate_options options = {
        .url = url,
        .fsync = fsync,
        .block_cache_bytes = 8 << 20,
        .meta_cache_bytes = 8 << 20,
        .log_level = LOG_WARN,
        .close_ms_max = WAIT_MS_MAX,
    };
    struct silo_err err;
    assert_int_equal(store_slate_new(&options, &f->store, &err).code, SILO_OK);
    f->ops = store_ops_of(f->store);
    assert_int_equal(f->ops->queue_new(f->store, &f->queue, &err).code, SILO_OK);
    return f;
}

static struct fix *fix_memory(const char *name)
{
    char url[96];
    (void)snprintf(url, sizeof url, "memory:///%s", name);
    return fix_new(url, false);
}

static struct fix *fix_disk(void)
{
    char dir[] = "/tmp/silo-slate-XXXXXX";
    assert_non_null(mkdtemp(dir));
    char url[96];
    (void)snprintf(url, sizeof url, "file://%s/data", dir);
    struct fix *f = fix_new(url, true);
    (void)snprintf(f->dir, sizeof f->dir, "%s", dir);
    return f;
}

static void fix_free(struct fix *f)
{
    for (size_t i = 0; i < f->count; i++) {
        f->ops->event_free(&f->events[i]);
    }
    f->ops->queue_free(f->queue);
    f->ops->free(f->store);
    if (f->dir[0] != '\0') {
        char command[128];
        (void)snprintf(command, sizeof command, "rm -rf %s", f->dir);
        assert_int_equal(system(command), 0); // NOLINT(cert-env33-c): our own fresh directory
    }
    free(f);
}

/* Takes the event out of those drained; false when it is not there. */
static bool take(struct fix *f, enum store_event_kind kind, uint64_t token,
                 struct store_event *ret_event)
{
    for (size_t i = 0; i < f->count; i++) {
        if (f->events[i].kind == kind && f->events[i].token == token) {
            *ret_event = f->events[i];
            f->count--;
            memmove(&f->events[i], &f->events[i + 1], (f->count - i) * sizeof f->events[0]);
            return true;
        }
    }
    return false;
}

static struct store_event expect(struct fix *f, enum store_event_kind kind, uint64_t token,
                                 enum silo_code code)
{
    struct store_event event;
    while (!take(f, kind, token, &event)) {
        const size_t n = f->ops->queue_drain(f->queue, f->events + f->count, EVENTS_MAX - f->count);
        f->count += n;
        if (n == 0) {
            struct pollfd poller = {.fd = f->ops->queue_fd(f->queue), .events = POLLIN};
            assert_int_equal(poll(&poller, 1, WAIT_MS_MAX), 1);
        }
    }
    if (event.rc.code != code) {
        print_message("event %d: %s: %s\n", kind, silo_code_name(event.rc.code), event.text);
    }
    assert_int_equal(event.rc.code, code);
    return event;
}

static uint64_t expect_seq(struct fix *f, enum store_event_kind kind, enum silo_code code)
{
    struct store_event event = expect(f, kind, f->token, code);
    const uint64_t seq = event.seq;
    f->ops->event_free(&event);
    return seq;
}

static struct store_db *open_with(struct fix *f, size_t bytes_max, const char *settings_json)
{
    const struct store_open_args args = {
        .path = PATH, .bytes_max = bytes_max, .settings_json = settings_json};
    assert_int_equal(f->ops->open(f->store, f->queue, &args, ++f->token, NULL).code, SILO_OK);
    struct store_event event = expect(f, STORE_OPENED, f->token, SILO_OK);
    struct store_db *db = event.db;
    assert_non_null(db);
    f->ops->event_free(&event);
    return db;
}

static struct store_db *open_db(struct fix *f, size_t bytes_max)
{
    return open_with(f, bytes_max, NULL);
}

static void close_db(struct fix *f, struct store_db *db, enum store_close_how how,
                     enum silo_code code)
{
    assert_int_equal(f->ops->close(db, how, ++f->token, NULL).code, SILO_OK);
    struct store_event event = expect(f, STORE_CLOSED, f->token, code);
    assert_ptr_equal(event.db, db);
    assert_int_equal(f->ops->flush(db, STORE_FLUSH_WAL, 1, NULL).code, SILO_UNAVAILABLE);
    f->ops->event_free(&event);
}

/* One batch: each pair is a key and its value, NULL deletes. */
static silo_rc write_pairs(struct fix *f, struct store_db *db, const char *const (*pairs)[2],
                           size_t count)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++) {
        size += store_op_size(strlen(pairs[i][0]), pairs[i][1] != NULL ? strlen(pairs[i][1]) : 0);
    }
    struct store_buf buf = f->ops->buf_alloc(size);
    assert_non_null(buf.ptr);
    for (size_t i = 0; i < count; i++) {
        store_op_pack(&buf, bytes_str(pairs[i][0]), bytes_str(pairs[i][1]), pairs[i][1] == NULL);
    }
    return f->ops->write(db, &buf, 1, (uint32_t)count, ++f->token, NULL);
}

static uint64_t put(struct fix *f, struct store_db *db, const char *key, const char *value)
{
    const char *const pair[1][2] = {{key, value}};
    assert_int_equal(write_pairs(f, db, pair, 1).code, SILO_OK);
    return expect_seq(f, STORE_APPLIED, SILO_OK);
}

static uint64_t flush(struct fix *f, struct store_db *db, enum store_flush_what what)
{
    assert_int_equal(f->ops->flush(db, what, ++f->token, NULL).code, SILO_OK);
    return expect_seq(f, STORE_FLUSHED, SILO_OK);
}

/* The value, "" for none, in static storage. */
static const char *get(struct fix *f, struct store_db *db, struct store_snap *snap, const char *key)
{
    static char text[256];
    const struct bytes keys[] = {bytes_str(key)};
    assert_int_equal(f->ops->mget(db, snap, keys, 1, ++f->token, NULL).code, SILO_OK);
    struct store_event event = expect(f, STORE_ROWS, f->token, SILO_OK);
    struct store_row row;
    assert_true(store_rows_next(&event.rows, &row));
    assert_true(bytes_eq(row.key, keys[0]));
    (void)snprintf(text, sizeof text, "%.*s", BYTES_FMT(row.value));
    f->ops->event_free(&event);
    return text;
}

static void check_reopen(struct fix *f)
{
    struct store_db *db = open_db(f, 0);
    const uint64_t seq = put(f, db, "tkey", "value");
    assert_int_equal(flush(f, db, STORE_FLUSH_WAL), seq);
    put(f, db, "tlost", "value");
    close_db(f, db, STORE_CLOSE_DROP, SILO_OK);

    db = open_db(f, 0);
    assert_string_equal(get(f, db, NULL, "tkey"), "value");
    assert_string_equal(get(f, db, NULL, "tlost"), "");
    put(f, db, "tkept", "value");
    close_db(f, db, STORE_CLOSE_WAL, SILO_OK);

    db = open_db(f, 0);
    assert_string_equal(get(f, db, NULL, "tkept"), "value");
    put(f, db, "ttoo", "value");
    flush(f, db, STORE_FLUSH_MEMTABLE);
    close_db(f, db, STORE_CLOSE_MEMTABLE, SILO_OK);

    db = open_db(f, 0);
    assert_string_equal(get(f, db, NULL, "ttoo"), "value");
    close_db(f, db, STORE_CLOSE_DROP, SILO_OK);
    fix_free(f);
}

static void durable_rows_survive_in_memory(void **state)
{
    (void)state;
    check_reopen(fix_memory("reopen"));
}

static void durable_rows_survive_on_disk(void **state)
{
    (void)state;
    check_reopen(fix_disk());
}

static void second_open_fences_the_first(void **state)
{
    (void)state;
    struct fix *f = fix_disk();
    /* It learns of its fence by what it does, not by its own poll or its compactor's. */
    struct store_db *old =
        open_with(f, 0, "{\"manifest_poll_interval\":\"600s\",\"compactor_options\":false}");
    put(f, old, "tkey", "old");
    flush(f, old, STORE_FLUSH_WAL);
    struct store_db *new = open_db(f, 0);
    put(f, old, "tkey", "stale");
    assert_int_equal(f->ops->flush(old, STORE_FLUSH_WAL, ++f->token, NULL).code, SILO_OK);
    expect_seq(f, STORE_FLUSHED, SILO_CONFLICT);
    struct store_event down = expect(f, STORE_DOWN, 0, SILO_CONFLICT);
    assert_ptr_equal(down.db, old);
    assert_true(strlen(down.text) > 0);
    f->ops->event_free(&down);
    assert_int_equal(f->ops->refresh(old, ++f->token, NULL).code, SILO_OK);
    expect_seq(f, STORE_REFRESHED, SILO_CONFLICT);
    close_db(f, old, STORE_CLOSE_WAL, SILO_CONFLICT);

    assert_string_equal(get(f, new, NULL, "tkey"), "old");
    assert_int_equal(f->ops->refresh(new, ++f->token, NULL).code, SILO_OK);
    expect_seq(f, STORE_REFRESHED, SILO_OK);
    put(f, new, "tkey", "new");
    flush(f, new, STORE_FLUSH_WAL);
    close_db(f, new, STORE_CLOSE_DROP, SILO_OK);
    fix_free(f);
}

static const struct store_open_args place = {.path = PATH};

static void check_epoch(struct fix *f, uint64_t epoch)
{
    assert_int_equal(f->ops->db_epoch(f->store, f->queue, &place, ++f->token, NULL).code, SILO_OK);
    assert_int_equal(expect_seq(f, STORE_OBJECT, SILO_OK), epoch);
}

/* Ends like every opening, with the code it should have. */
static struct store_event open_after(struct fix *f, uint64_t epoch, enum silo_code code)
{
    const struct store_open_args args = {.path = PATH, .guarded = true, .expected_epoch = epoch};
    assert_int_equal(f->ops->open(f->store, f->queue, &args, ++f->token, NULL).code, SILO_OK);
    return expect(f, STORE_OPENED, f->token, code);
}

/* Whoever expects another writer is refused, and has fenced nobody. */
static void a_guarded_open_takes_over_from_one_writer_alone(void **state)
{
    (void)state;
    struct fix *f = fix_disk();
    struct store_event event = open_after(f, 0, SILO_OK);
    struct store_db *db = event.db;
    assert_int_equal(event.epoch, 1);
    f->ops->event_free(&event);
    event = open_after(f, 0, SILO_CONFLICT);
    assert_int_equal(event.epoch, 0);
    f->ops->event_free(&event);
    put(f, db, "tkey", "kept");
    flush(f, db, STORE_FLUSH_WAL);
    event = open_after(f, 1, SILO_OK);
    assert_int_equal(event.epoch, 2);
    assert_string_equal(get(f, event.db, NULL, "tkey"), "kept");
    close_db(f, event.db, STORE_CLOSE_DROP, SILO_OK);
    f->ops->event_free(&event);
    fix_free(f);
}

static void the_newest_writer_is_known_and_a_database_removed(void **state)
{
    (void)state;
    struct fix *f = fix_disk();
    check_epoch(f, 0);
    struct store_db *db = open_db(f, 0);
    check_epoch(f, 1);
    put(f, db, "tkey", "value");
    close_db(f, db, STORE_CLOSE_WAL, SILO_OK);
    assert_int_equal(f->ops->db_remove(f->store, f->queue, &place, ++f->token, NULL).code, SILO_OK);
    (void)expect_seq(f, STORE_OBJECT, SILO_OK);
    check_epoch(f, 0);
    db = open_db(f, 0);
    assert_string_equal(get(f, db, NULL, "tkey"), "");
    close_db(f, db, STORE_CLOSE_DROP, SILO_OK);
    fix_free(f);
}

static void scans_come_in_pages(void **state)
{
    (void)state;
    struct fix *f = fix_memory("pages");
    struct store_db *db = open_db(f, 0);
    char key[16];
    for (int i = 0; i < 10; i++) {
        (void)snprintf(key, sizeof key, "t%d", i);
        put(f, db, key, "value");
    }
    for (int descending = 0; descending < 2; descending++) {
        const struct store_scan_args args = {.lo = BYTES_LIT("t"),
                                             .hi = BYTES_LIT("u"),
                                             .descending = descending != 0,
                                             .rows_max = 4};
        assert_int_equal(f->ops->scan(db, NULL, &args, ++f->token, NULL).code, SILO_OK);
        struct store_iter *iter = NULL;
        char seen[16] = "";
        bool more = true;
        while (more) {
            struct store_event event = expect(f, STORE_ROWS, f->token, SILO_OK);
            struct store_row row;
            while (store_rows_next(&event.rows, &row)) {
                strncat(seen, (const char *)row.key.ptr + 1, 1);
                assert_int_equal(row.value.len, 5);
            }
            more = event.iter != NULL;
            if (more) {
                assert_true(iter == NULL || iter == event.iter);
                iter = event.iter;
                assert_int_equal(f->ops->iter_next(iter, 4, 0, ++f->token, NULL).code, SILO_OK);
            }
            f->ops->event_free(&event);
        }
        assert_string_equal(seen, descending != 0 ? "9876543210" : "0123456789");
        f->ops->iter_free(iter);
    }
    const struct store_scan_args all = {.lo = BYTES_LIT("t"), .keys_only = true};
    assert_int_equal(f->ops->scan(db, NULL, &all, ++f->token, NULL).code, SILO_OK);
    struct store_event event = expect(f, STORE_ROWS, f->token, SILO_OK);
    assert_int_equal(event.rows.count, 10);
    assert_null(event.iter);
    f->ops->event_free(&event);
    close_db(f, db, STORE_CLOSE_DROP, SILO_OK);
    fix_free(f);
}

static void snapshots_stand_still(void **state)
{
    (void)state;
    struct fix *f = fix_memory("snapshots");
    struct store_db *db = open_db(f, 0);
    const uint64_t seq = put(f, db, "tkey", "old");
    struct store_snap *snap = NULL;
    uint64_t snap_seq = 0;
    assert_int_equal(f->ops->snapshot(db, f->queue, &snap, &snap_seq, NULL).code, SILO_OK);
    assert_int_equal(snap_seq, seq);
    const char *const changes[2][2] = {{"tkey", NULL}, {"tnew", "new"}};
    assert_int_equal(write_pairs(f, db, changes, 2).code, SILO_OK);
    expect_seq(f, STORE_APPLIED, SILO_OK);
    assert_string_equal(get(f, NULL, snap, "tkey"), "old");
    assert_string_equal(get(f, NULL, snap, "tnew"), "");
    assert_string_equal(get(f, db, NULL, "tkey"), "");
    assert_string_equal(get(f, db, NULL, "tnew"), "new");
    f->ops->snapshot_free(snap);
    close_db(f, db, STORE_CLOSE_DROP, SILO_OK);
    fix_free(f);
}

static void bad_calls_are_refused_and_change_nothing(void **state)
{
    (void)state;
    struct fix *f = fix_memory("refused");
    struct store_db *db = open_db(f, 1000);
    struct store_buf buf = f->ops->buf_alloc(64);
    store_op_pack(&buf, BYTES_LIT("tkey"), BYTES_LIT("value"), false);
    buf.len--; /* cut off */
    assert_int_equal(f->ops->write(db, &buf, 1, 1, 1, NULL).code, SILO_INVALID);
    assert_null(buf.ptr); /* taken all the same */
    assert_string_equal(get(f, db, NULL, "tkey"), "");
    const struct bytes empty = BYTES_NONE;
    assert_int_equal(f->ops->mget(db, NULL, &empty, 1, 1, NULL).code, SILO_INVALID);
    assert_int_equal(f->ops->mget(db, NULL, &empty, 0, 1, NULL).code, SILO_INVALID);

    char value[801] = "";
    memset(value, 'v', sizeof value - 1);
    put(f, db, "tone", value);
    assert_true(f->ops->queued_bytes(db) > 800);
    const char *const second[1][2] = {{"ttwo", value}};
    struct silo_err err;
    assert_int_equal(write_pairs(f, db, second, 1).code, SILO_EXHAUSTED);
    flush(f, db, STORE_FLUSH_WAL);
    assert_int_equal(f->ops->queued_bytes(db), 0);
    put(f, db, "ttwo", value);
    close_db(f, db, STORE_CLOSE_DROP, SILO_OK);

    const struct store_open_args bad = {.path = "shard/two",
                                        .settings_json = "{\"flush_intervall\":1}"};
    assert_int_equal(f->ops->open(f->store, f->queue, &bad, ++f->token, &err).code, SILO_OK);
    struct store_event event = expect(f, STORE_OPENED, f->token, SILO_INVALID);
    assert_null(event.db);
    assert_non_null(strstr(event.text, "did you mean flush_interval?"));
    f->ops->event_free(&event);
    fix_free(f);
}

static void check_list(struct fix *f, const char *prefix, const char *want)
{
    assert_int_equal(f->ops->object_list(f->store, f->queue, prefix, ++f->token, NULL).code,
                     SILO_OK);
    struct store_event event = expect(f, STORE_OBJECT, f->token, SILO_OK);
    assert_true(bytes_eq(event.rows.data, bytes_str(want)));
    f->ops->event_free(&event);
}

static void check_put_new(struct fix *f, const char *name, const char *data, enum silo_code code)
{
    assert_int_equal(
        f->ops->object_put_new(f->store, f->queue, name, bytes_str(data), ++f->token, NULL).code,
        SILO_OK);
    expect_seq(f, STORE_OBJECT, code);
}

static void objects_lie_beside_the_databases(void **state)
{
    (void)state;
    struct fix *f = fix_disk();
    assert_int_equal(f->ops->selftest(f->store, f->queue, ++f->token, NULL).code, SILO_OK);
    expect_seq(f, STORE_TESTED, SILO_OK);
    check_list(f, "", "");
    check_put_new(f, "cluster/2.json", "two", SILO_OK);
    check_put_new(f, "cluster/1.json", "one", SILO_OK);
    check_put_new(f, "cluster/1.json", "other", SILO_EXISTS);
    check_put_new(f, "empty", "", SILO_OK);
    check_list(f, "cluster", "cluster/1.json\ncluster/2.json\n");
    assert_int_equal(
        f->ops->object_get(f->store, f->queue, "cluster/1.json", ++f->token, NULL).code, SILO_OK);
    struct store_event event = expect(f, STORE_OBJECT, f->token, SILO_OK);
    assert_true(bytes_eq(event.rows.data, BYTES_LIT("one")));
    f->ops->event_free(&event);
    assert_int_equal(f->ops->object_get(f->store, f->queue, "none", ++f->token, NULL).code,
                     SILO_OK);
    expect_seq(f, STORE_OBJECT, SILO_NOT_FOUND);
    check_list(f, "", "cluster/1.json\ncluster/2.json\nempty\n");
    fix_free(f);
}

static void facts_and_figures_can_be_read(void **state)
{
    (void)state;
    struct fix *f = fix_memory("facts");
    struct store_db *db = open_db(f, 0);
    put(f, db, "tkey", "value");
    char *text = f->ops->info_json(db);
    assert_non_null(strstr(text, "\"applied_seq\":1"));
    free(text);
    text = f->ops->metrics_text(db, "a1");
    assert_non_null(strstr(text, "\nsilo_slatedb_write_ops_total{shard=\"a1\"} 1\n"));
    free(text);
    char error[64] = "x";
    f->ops->last_error(f->store, error, sizeof error);
    assert_string_equal(error, "");
    close_db(f, db, STORE_CLOSE_DROP, SILO_OK);
    store_slate_log(f->store);
    fix_free(f);
}

static void an_unreachable_store_has_a_name(void **state)
{
    (void)state;
    struct store *store = NULL;
    const struct store_slate_options options = {
        .url = "s3://bucket/data",
        .opts_json = "{\"aws_endpoint\":\"http://127.0.0.1:9\",\"aws_access_key_id\":\"a\","
                     "\"aws_secret_access_key\":\"b\"}",
        .log_level = LOG_OFF,
    };
    assert_int_equal(store_slate_new(&options, &store, NULL).code, SILO_OK);
    const struct store_ops *ops = store_ops_of(store);
    struct store_queue *queue = NULL;
    assert_int_equal(ops->queue_new(store, &queue, NULL).code, SILO_OK);
    const struct store_open_args args = {.path = "shard/one"};
    assert_int_equal(ops->open(store, queue, &args, 1, NULL).code, SILO_OK);
    char text[256] = "";
    struct pollfd poller = {.fd = ops->queue_fd(queue), .events = POLLIN};
    for (int tries = 0; tries < 600 && text[0] == '\0'; tries++) {
        assert_int_equal(poll(&poller, 1, 100), 0); /* the open neither ends nor fails */
        ops->last_error(store, text, sizeof text);
    }
    assert_non_null(strstr(text, "127.0.0.1:9"));
    ops->queue_free(queue);
    ops->free(store);
}

/* Everything left open and undrained: nothing leaks, nothing hangs. */
static void what_is_left_open_is_let_go(void **state)
{
    (void)state;
    struct fix *f = fix_memory("left");
    struct store_db *db = open_db(f, 0);
    put(f, db, "ta", "value");
    put(f, db, "tb", "value");
    const struct store_scan_args args = {.lo = BYTES_LIT("t"), .rows_max = 1};
    assert_int_equal(f->ops->scan(db, NULL, &args, ++f->token, NULL).code, SILO_OK);
    struct store_event event = expect(f, STORE_ROWS, f->token, SILO_OK);
    assert_non_null(event.iter);
    f->ops->event_free(&event);
    assert_int_equal(f->ops->scan(db, NULL, &args, ++f->token, NULL).code, SILO_OK);
    const struct store_open_args other = {.path = "shard/two"};
    assert_int_equal(f->ops->open(f->store, f->queue, &other, ++f->token, NULL).code, SILO_OK);
    fix_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durable_rows_survive_in_memory),
        cmocka_unit_test(durable_rows_survive_on_disk),
        cmocka_unit_test(second_open_fences_the_first),
        cmocka_unit_test(a_guarded_open_takes_over_from_one_writer_alone),
        cmocka_unit_test(the_newest_writer_is_known_and_a_database_removed),
        cmocka_unit_test(scans_come_in_pages),
        cmocka_unit_test(snapshots_stand_still),
        cmocka_unit_test(bad_calls_are_refused_and_change_nothing),
        cmocka_unit_test(objects_lie_beside_the_databases),
        cmocka_unit_test(facts_and_figures_can_be_read),
        cmocka_unit_test(an_unreachable_store_has_a_name),
        cmocka_unit_test(what_is_left_open_is_let_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
