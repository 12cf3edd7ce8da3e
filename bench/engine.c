/*
 * bench/engine.c - scenario `engine`: the storage engine alone, fed as a shard feeds it.
 *
 * One batch is in the engine's hands at a time, the next leaves when it was applied; a WAL flush is
 * always under way, and one more is queued behind it. No server, no network: the rate is what a
 * shard could reach if the rest cost nothing.
 */
#include <ftw.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "scenarios.h"
#include "store/store_slate.h"

#define KEY_BYTES 17u
#define EVENTS 64u
#define EVENT_WAIT_MS 30000
#define BYTES_MAX ((size_t)1 << 30)
#define FLUSHES 2u /* one under way, one queued */
#define OPEN_TOKEN 1u
#define CLOSE_TOKEN 2u
#define WRITE_TOKEN 3u
#define FLUSH_TOKEN 4u

struct engine {
    struct bench *bench;
    struct store *store;
    struct store_queue *queue;
    struct store_db *db;
    uint32_t rows, row_bytes, flushes_open;
    bool write_open, closed;
    uint64_t row, flushes;
    int64_t write_us;
    struct series *apply;
};

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *at)
{
    (void)info;
    (void)kind;
    (void)at;
    (void)remove(path);
    return 0;
}

static void engine_event(struct engine *engine, struct store_event *event)
{
    if (event->rc.code != SILO_OK) {
        bench_die("engine: %s", event->text);
    }
    switch (event->kind) {
    case STORE_OPENED:
        engine->db = event->db;
        break;
    case STORE_APPLIED:
        engine->write_open = false;
        series_add(engine->apply, env_mono_us(&env_system) - engine->write_us);
        break;
    case STORE_FLUSHED:
        engine->flushes_open--;
        break;
    case STORE_CLOSED:
        engine->closed = true;
        break;
    case STORE_DOWN:
    case STORE_ROWS:
    case STORE_REFRESHED:
    case STORE_OBJECT:
    case STORE_TESTED:
        break;
    }
    store_ops_of(engine->queue)->event_free(event);
}

/* Handles what there is; waits for it if there is nothing. */
static void engine_events(struct engine *engine)
{
    const struct store_ops *ops = store_ops_of(engine->queue);
    struct store_event events[EVENTS];
    size_t n = ops->queue_drain(engine->queue, events, EVENTS);
    if (n == 0) {
        struct pollfd fd = {.fd = ops->queue_fd(engine->queue), .events = POLLIN};
        if (poll(&fd, 1, EVENT_WAIT_MS) == 0) {
            bench_die("engine: no answer in %d s", EVENT_WAIT_MS / 1000);
        }
        n = ops->queue_drain(engine->queue, events, EVENTS);
    }
    for (size_t i = 0; i < n; i++) {
        engine_event(engine, &events[i]);
    }
}

/* Keys in the order of a multiplicative hash: as scattered as those of jobs. */
static void batch_write(struct engine *engine)
{
    const struct store_ops *ops = store_ops_of(engine->db);
    const size_t value_bytes = engine->row_bytes - KEY_BYTES;
    struct store_buf buf = ops->buf_alloc(engine->rows * store_op_size(KEY_BYTES, value_bytes));
    uint8_t *value = xcalloc(1, value_bytes);
    for (uint32_t i = 0; i < engine->rows; i++) {
        char key[KEY_BYTES + 1];
        const uint64_t row = engine->row++;
        (void)snprintf(key, sizeof key, "\x01%08x%08x", (uint32_t)(row * 2654435761u),
                       (uint32_t)row);
        memset(value, (int)row & 0xff, value_bytes);
        store_op_pack(&buf, bytes_of(key, KEY_BYTES), bytes_of(value, value_bytes), false);
    }
    free(value);
    struct silo_err err;
    engine->write_us = env_mono_us(&env_system);
    if (ops->write(engine->db, &buf, 1, engine->rows, WRITE_TOKEN, &err).code != SILO_OK) {
        bench_die("engine: %s", err.text);
    }
    engine->write_open = true;
}

static void flush_send(struct engine *engine)
{
    struct silo_err err;
    if (store_ops_of(engine->db)->flush(engine->db, STORE_FLUSH_WAL, FLUSH_TOKEN, &err).code !=
        SILO_OK) {
        bench_die("engine: %s", err.text);
    }
    engine->flushes_open++;
    engine->flushes++;
}

static void engine_open(struct engine *engine, const char *dir)
{
    char url[512];
    (void)snprintf(url, sizeof url, "file://%s", dir);
    const struct store_slate_options options = {.url = url,
                                                .fsync = engine->bench->options.fsync,
                                                .log = engine->bench->options.log,
                                                .log_level = LOG_WARN};
    const struct store_open_args args = {.path = "engine", .bytes_max = BYTES_MAX};
    struct silo_err err;
    if (store_slate_new(&options, &engine->store, &err).code != SILO_OK ||
        store_ops_of(engine->store)->queue_new(engine->store, &engine->queue, &err).code !=
            SILO_OK ||
        store_ops_of(engine->store)
                ->open(engine->store, engine->queue, &args, OPEN_TOKEN, &err)
                .code != SILO_OK) {
        bench_die("engine: %s", err.text);
    }
    while (engine->db == NULL) {
        engine_events(engine);
    }
}

static void engine_close(struct engine *engine)
{
    const struct store_ops *ops = store_ops_of(engine->store);
    struct silo_err err;
    if (ops->close(engine->db, STORE_CLOSE_WAL, CLOSE_TOKEN, &err).code != SILO_OK) {
        bench_die("engine: %s", err.text);
    }
    while (!engine->closed) {
        engine_events(engine);
    }
    ops->queue_free(engine->queue);
    ops->free(engine->store);
}

double engine_rows_per_s(struct bench *bench, uint32_t rows, uint32_t row_bytes, double seconds)
{
    char dir[256];
    const char *base = bench->options.dir != NULL ? bench->options.dir : getenv("TMPDIR");
    (void)snprintf(dir, sizeof dir, "%s/silo-engine-XXXXXX",
                   base != NULL && base[0] != '\0' ? base : "/tmp");
    if (mkdtemp(dir) == NULL) {
        bench_die("%s cannot be made", dir);
    }
    struct engine engine = {.bench = bench,
                            .rows = rows,
                            .row_bytes = row_bytes,
                            .apply = bench_series(bench, "engine: batch applied")};
    engine_open(&engine, dir);
    const int64_t start = env_mono_us(&env_system);
    while (bench_seconds_since(start) < seconds && !bench_interrupted()) {
        batch_write(&engine);
        while (engine.write_open) {
            engine_events(&engine);
        }
        if (engine.flushes_open < FLUSHES) {
            flush_send(&engine);
        }
    }
    while (engine.flushes_open != 0) {
        engine_events(&engine);
    }
    flush_send(&engine);
    while (engine.flushes_open != 0) {
        engine_events(&engine);
    }
    const double rate = (double)engine.row / bench_seconds_since(start);
    bench_fact(bench, rate, "engine_rows_per_s");
    bench_fact(bench, (double)engine.row / (double)engine.flushes, "engine_rows_per_flush");
    bench_fact(bench, (double)row_bytes, "engine_row_bytes");
    engine_close(&engine);
    (void)nftw(dir, remove_one, 32, FTW_DEPTH | FTW_PHYS);
    return rate;
}

static void run(struct bench *bench)
{
    const double rate = engine_rows_per_s(bench, opt(bench, OPT_BATCH_ROWS),
                                          opt(bench, OPT_ROW_BYTES), opt(bench, OPT_SECONDS));
    bench_check(bench, rate > 0, "rows were written");
}

static const struct preset presets[] = {
    {OPT_SECONDS, 10}, {OPT_BATCH_ROWS, 512}, {OPT_ROW_BYTES, 100}};
const struct scenario scenario_engine = {
    .name = "engine",
    .summary = "the storage engine alone: rows per second, without a server",
    .text =
        "Writes batches of --batch-rows rows of --row-bytes bytes to a fresh local store through\n"
        "the engine's interface, as a shard does: one batch at a time, a WAL flush always under\n"
        "way. --fsync 0 leaves out syncing. Divided by the rows of a job this is the rate that no\n"
        "server on this machine can exceed.",
    SCENARIO_PRESETS(presets),
    .server = SERVER_NONE,
    .run = run};
