/*
 * store_mem/fix_test.h - what the tests of the store in memory share: a store with its queue and
 * clock, calls in one line, events found by their token.
 */
#ifndef SILO_STORE_MEM_FIX_TEST_H
#define SILO_STORE_MEM_FIX_TEST_H

#include <poll.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/test.h"
#include "store_mem/store_mem.h"

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

static inline int64_t fix_mono_us(void *context)
{
    return ((struct fix *)context)->now_us;
}

static inline struct fix *fix_new(struct store_mem_options options, bool clock)
{
    struct fix *f = xcalloc(1, sizeof *f);
    f->env = (struct env){.mono_us = fix_mono_us, .context = f};
    options.env = clock ? &f->env : NULL;
    f->store = store_mem_new(&options);
    f->ops = store_ops_of(f->store);
    assert_int_equal(f->ops->queue_new(f->store, &f->queue, NULL).code, SILO_OK);
    return f;
}

static inline struct fix *fix_plain(void)
{
    return fix_new((struct store_mem_options){.seed = 1}, false);
}

static inline void event_drop(struct fix *f, size_t i)
{
    f->ops->event_free(&f->events[i]);
    f->count--;
    memmove(&f->events[i], &f->events[i + 1], (f->count - i) * sizeof f->events[0]);
}

static inline void events_clear(struct fix *f)
{
    while (f->count != 0) {
        f->ops->iter_free(f->events[0].iter);
        event_drop(f, 0);
    }
}

static inline void fix_free(struct fix *f)
{
    events_clear(f);
    f->ops->queue_free(f->queue);
    f->ops->free(f->store);
    free(f);
}

static inline void fix_drain(struct fix *f)
{
    f->count += f->ops->queue_drain(f->queue, f->events + f->count, EVENTS_MAX - f->count);
}

static inline struct store_event *event_find(struct fix *f, uint64_t token)
{
    for (size_t i = 0; i < f->count; i++) {
        if (f->events[i].token == token) {
            return &f->events[i];
        }
    }
    return NULL;
}

/* The event of a token, which must be there after a drain. */
static inline struct store_event *expect(struct fix *f, uint64_t token, enum store_event_kind kind,
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

static inline void expect_drop(struct fix *f, uint64_t token, enum store_event_kind kind,
                               enum silo_code code)
{
    struct store_event *event = expect(f, token, kind, code);
    event_drop(f, (size_t)(event - f->events));
}

static inline void expect_nothing(struct fix *f, uint64_t token)
{
    fix_drain(f);
    assert_null(event_find(f, token));
}

/* --- calls --- */

static inline uint64_t call_open(struct fix *f, struct store_queue *queue, const char *path)
{
    const struct store_open_args args = {.path = path};
    assert_int_equal(f->ops->open(f->store, queue, &args, ++f->token, NULL).code, SILO_OK);
    return f->token;
}

static inline struct store_db *open_db(struct fix *f, const char *path)
{
    const uint64_t token = call_open(f, f->queue, path);
    struct store_event *event = expect(f, token, STORE_OPENED, SILO_OK);
    struct store_db *db = event->db;
    assert_non_null(db);
    event_drop(f, (size_t)(event - f->events));
    return db;
}

/* "a=1 b=2 -c": puts and deletes of one batch. */
static inline silo_rc try_write(struct fix *f, struct store_db *db, const char *text)
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

static inline uint64_t call_write(struct fix *f, struct store_db *db, const char *text)
{
    assert_int_equal(try_write(f, db, text).code, SILO_OK);
    return f->token;
}

static inline void write_now(struct fix *f, struct store_db *db, const char *text)
{
    expect_drop(f, call_write(f, db, text), STORE_APPLIED, SILO_OK);
}

static inline uint64_t call_flush(struct fix *f, struct store_db *db)
{
    assert_int_equal(f->ops->flush(db, STORE_FLUSH_WAL, ++f->token, NULL).code, SILO_OK);
    return f->token;
}

static inline void flush_now(struct fix *f, struct store_db *db)
{
    expect_drop(f, call_flush(f, db), STORE_FLUSHED, SILO_OK);
}

static inline uint64_t call_mget(struct fix *f, struct store_db *db, struct store_snap *snap,
                                 const char *key)
{
    const struct bytes bytes = bytes_str(key);
    assert_int_equal(f->ops->mget(db, snap, &bytes, 1, ++f->token, NULL).code, SILO_OK);
    return f->token;
}

/* The event's one row has this value; NULL: it is absent. */
static inline void expect_row(struct fix *f, uint64_t token, const char *value)
{
    struct store_event *event = expect(f, token, STORE_ROWS, SILO_OK);
    struct store_row row;
    assert_int_equal(event->rows.count, 1);
    assert_true(store_rows_next(&event->rows, &row));
    assert_int_equal(row.present, value != NULL);
    assert_true(value == NULL || bytes_eq(row.value, bytes_str(value)));
    event_drop(f, (size_t)(event - f->events));
}

static inline void check_value(struct fix *f, struct store_db *db, const char *key,
                               const char *value)
{
    expect_row(f, call_mget(f, db, NULL, key), value);
}

static inline void close_now(struct fix *f, struct store_db *db, enum store_close_how how,
                             enum silo_code code)
{
    assert_int_equal(f->ops->close(db, how, ++f->token, NULL).code, SILO_OK);
    expect_drop(f, f->token, STORE_CLOSED, code);
}

/* Rows as "a=1 b=2 ". */
static inline void print_row(void *context, struct bytes key, struct bytes value)
{
    char *text = context;
    const size_t len = strlen(text);
    (void)snprintf(text + len, 256 - len, "%.*s=%.*s ", BYTES_FMT(key), BYTES_FMT(value));
}

static inline void check_applied(struct fix *f, const char *want)
{
    char text[256] = "";
    store_mem_each_applied(f->store, PATH, print_row, text);
    assert_string_equal(text, want);
}

static inline void check_durable(struct fix *f, const char *want)
{
    char text[256] = "";
    store_mem_each_durable(f->store, PATH, print_row, text);
    assert_string_equal(text, want);
}

static inline bool readable(struct fix *f)
{
    struct pollfd pfd = {.fd = f->ops->queue_fd(f->queue), .events = POLLIN};
    return poll(&pfd, 1, 0) == 1;
}

#endif
