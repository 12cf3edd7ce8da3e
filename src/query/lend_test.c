/*
 * query/lend_test.c - a second thread reads what is lent to it while the first goes on writing, in
 * memory and in the engine.
 */
#include <pthread.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/test.h"
#include "query/rows_test.h"
#include "store/store_slate.h"
#include "store_mem/store_mem.h"

#define ROWS 300u
#define PAGE_ROWS 64u
#define LOANS 40u
#define BATCHES_PER_LOAN 3u

/* A moment of the database: every row of it has this value. */
struct loan {
    struct store_snap *snap;
    uint64_t seq;
    uint32_t value;
};

/* What both threads share: one loan at a time. */
struct desk {
    pthread_mutex_t lock; /* guards the rest */
    pthread_cond_t moved;
    struct loan loan;
    bool empty; /* the last loan was read to its end */
    bool over;  /* no other comes */
};

struct reading {
    struct desk desk;
    struct store_queue *queue;
    uint32_t loans, rows;
    enum silo_code last;
};

static void desk_set(struct desk *desk, bool empty)
{
    pthread_mutex_lock(&desk->lock);
    desk->empty = empty;
    pthread_cond_broadcast(&desk->moved);
    pthread_mutex_unlock(&desk->lock);
}

static void desk_await(struct desk *desk, bool empty)
{
    pthread_mutex_lock(&desk->lock);
    while (desk->empty != empty) {
        pthread_cond_wait(&desk->moved, &desk->lock);
    }
    pthread_mutex_unlock(&desk->lock);
}

static void row_key(struct key *key, uint32_t i)
{
    struct key ref;
    char id[16];
    (void)snprintf(id, sizeof id, "job-%06u", i);
    key_job_ref(&ref, BYTES_LIT("t"), bytes_str(id));
    key_by_ref(key, TABLE_INFO, key_bytes(&ref));
}

/* All pages of the snapshot: their rows have one value. Returns how many there were. */
static uint32_t pages_check(struct snapshot *snapshot, uint32_t value)
{
    uint32_t count = 0;
    bool more = true;
    struct key lo = {0};
    while (more) {
        struct read read;
        struct silo_err err;
        const silo_rc rc =
            snapshot_scan(snapshot, key_bytes(&lo), BYTES_NONE, false, PAGE_ROWS, &read, &err);
        ASSERT(rc.code == SILO_OK);
        struct store_row row;
        while (store_rows_next(&read.rows, &row)) {
            uint32_t found = 0;
            ASSERT(row.value.len == sizeof found);
            memcpy(&found, row.value.ptr, sizeof found);
            ASSERT(found == value);
            count++;
            memcpy(lo.b, row.key.ptr, row.key.len);
            lo.b[row.key.len] = 0;
            lo.len = row.key.len + 1;
        }
        more = read.more;
        read_free(snapshot, &read);
    }
    return count;
}

static void *reader_main(void *context)
{
    struct reading *reading = context;
    struct snapshot_reader reader = {.env = &env_system, .queue = reading->queue};
    bool more = true;
    while (more) {
        desk_await(&reading->desk, false);
        const struct loan loan = reading->desk.loan;
        more = !reading->desk.over;
        struct snapshot snapshot;
        const struct snapshot_options options = {.snap = loan.snap, .seq = loan.seq};
        reading->last = snapshot_open(&snapshot, &reader, &options, NULL).code;
        if (reading->last == SILO_OK) {
            reading->rows += pages_check(&snapshot, loan.value);
            reading->loans++;
            snapshot_close(&snapshot);
        }
        desk_set(&reading->desk, true);
    }
    return NULL;
}

static void write_all(struct rows *rows, uint32_t value)
{
    for (uint32_t i = 0; i < ROWS; i++) {
        struct key key;
        row_key(&key, i);
        rows_put(rows, &key, bytes_of(&value, sizeof value));
    }
    rows_commit(rows);
}

static struct loan lend(struct rows *rows, struct store_queue *queue, uint32_t value)
{
    struct loan loan = {.value = value};
    assert_int_equal(rows->ops->snapshot(rows->db, queue, &loan.snap, &loan.seq, NULL).code,
                     SILO_OK);
    return loan;
}

static void lend_under_load(struct store *store)
{
    struct rows *rows = rows_new(store);
    struct reading reading = {.desk = {.lock = PTHREAD_MUTEX_INITIALIZER,
                                       .moved = PTHREAD_COND_INITIALIZER,
                                       .empty = true}};
    assert_int_equal(rows->ops->queue_new(store, &reading.queue, NULL).code, SILO_OK);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, reader_main, &reading), 0);
    uint32_t value = 0;
    for (uint32_t i = 0; i < LOANS; i++) {
        for (uint32_t batch = 0; batch < BATCHES_PER_LOAN; batch++) {
            write_all(rows, ++value);
        }
        desk_await(&reading.desk, true); /* three batches were written while it was read */
        reading.desk.loan = lend(rows, reading.queue, value);
        desk_set(&reading.desk, false);
    }
    desk_await(&reading.desk, true);
    /* What is lent and not opened yet fails when the database closes, and is freed all the same. */
    reading.desk.loan = lend(rows, reading.queue, value);
    reading.desk.over = true;
    rows_close(rows);
    desk_set(&reading.desk, false);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(reading.last, SILO_UNAVAILABLE);
    assert_int_equal(reading.loans, LOANS);
    assert_int_equal(reading.rows, LOANS * ROWS);
    rows->ops->queue_free(reading.queue);
    rows_free(rows);
}

static void memory_lends(void **state)
{
    (void)state;
    lend_under_load(store_mem_new(NULL));
}

static void the_engine_lends(void **state)
{
    (void)state;
    const struct store_slate_options options = {
        .url = "memory:///query_lend",
        .log_level = LOG_WARN,
        .block_cache_bytes = 16 << 20,
        .meta_cache_bytes = 8 << 20,
        .close_ms_max = 60000,
    };
    struct store *store = NULL;
    assert_int_equal(store_slate_new(&options, &store, NULL).code, SILO_OK);
    lend_under_load(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_lends),
        cmocka_unit_test(the_engine_lends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
