/*
 * store/store_slate.c - calls of store.h to calls of sdbx.h, events of sdbx.h to events of store.h.
 *
 * The bridge gives every event of a database the tag of its open, and every page the tag of its
 * scan; the tags are our handles, so no table is kept. A handle is made when the call is accepted
 * and found again in its event:
 *
 *   store_db    made by open     freed with STORE_OPENED that failed, or when STORE_CLOSED is freed
 *               by its receiver
 *   store_iter  made by scan     freed with a first page that is the last (or failed), else by the
 *               receiver
 *
 * Both lie in lists of the store besides, so that free can let go of what never got its event.
 * Memory of the bridge in an event: owned[0] its start, owned[1] its capacity; owned[2] is ours
 * (malloc), or the handle of a STORE_CLOSED.
 */
#include "store/store_slate.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/list.h"
#include "sdbx.h"

#define DRAIN_MAX 64u /* events taken from the bridge at a time */
#define LOG_LINES_AT_ONCE 64u
#define READ_AHEAD_BYTES (1u << 20) /* of scans that want more than a small page */
#define SMALL_PAGE_ROWS 128u

struct store {
    struct store_base base;
    struct sdbx_env *env;
    char *url, *opts_json, *wal_url, *wal_opts_json;
    uint32_t flags;
    uint32_t close_ms_max;
    pthread_mutex_t lock; /* guards both lists */
    struct list dbs, iters;
};

struct store_queue {
    struct store_base base;
    struct store *store;
    struct sdbx_cq *cq;
};

struct store_db {
    struct store_base base;
    struct store *store;
    struct sdbx_db *db; /* from its STORE_OPENED to its STORE_CLOSED, as drained; else NULL */
    bool closing;       /* from an accepted close on, the bridge's reference is its event's */
    struct list_node node;
};

struct store_iter {
    struct store_base base;
    struct store *store;
    struct sdbx_iter *iter; /* NULL until the first page said that there is more */
    struct list_node node;
};

struct store_snap {
    struct store_base base;
    struct store *store;
    struct sdbx_snap *snap;
};

/* What a read looks at: a database or a snapshot; one of both is NULL. */
struct source {
    struct store *store;
    struct sdbx_db *db;
    struct sdbx_snap *snap;
};

static const struct store_ops slate_ops;

/* --- translation --- */

static enum silo_code code_of(int status)
{
    switch ((enum sdbx_status)status) {
    case SDBX_OK:
        return SILO_OK;
    case SDBX_EAGAIN:
        return SILO_EXHAUSTED;
    case SDBX_EINVAL:
        return SILO_INVALID;
    case SDBX_ENOTFOUND:
        return SILO_NOT_FOUND;
    case SDBX_EFENCED:
    case SDBX_ECONFLICT:
        return SILO_CONFLICT;
    case SDBX_ECLOSED:
    case SDBX_EUNAVAIL:
        return SILO_UNAVAILABLE;
    case SDBX_EDATA:
        return SILO_CORRUPT;
    case SDBX_EINTERNAL:
        return SILO_INTERNAL;
    case SDBX_EEXIST:
        return SILO_EXISTS;
    }
    return SILO_INTERNAL;
}

/* The answer to a call of the bridge that says a status and nothing more. */
static silo_rc answer(int status, const char *what, struct silo_err *err)
{
    if (status == SDBX_OK) {
        return RC_OK;
    }
    return FAIL(err, code_of(status), "%s: %s", what, sdbx_strerror(status));
}

static char *text_copy(const char *text)
{
    return text != NULL ? xstrdup(text) : NULL;
}

static struct sdbx_store_args main_args(const struct store *store)
{
    return (struct sdbx_store_args){
        .url = store->url, .opts_json = store->opts_json, .flags = store->flags};
}

static struct sdbx_store_args wal_args(const struct store *store)
{
    return (struct sdbx_store_args){
        .url = store->wal_url, .opts_json = store->wal_opts_json, .flags = store->flags};
}

/* A database by where it lies. */
static struct sdbx_open_args place_args(const struct store *store,
                                        const struct store_open_args *args)
{
    const bool apart = args->wal == STORE_WAL_APART;
    return (struct sdbx_open_args){.store = main_args(store),
                                   .wal = apart ? wal_args(store) : (struct sdbx_store_args){0},
                                   .path = args->path};
}

static uint64_t tag_of(const void *handle)
{
    return (uint64_t)(uintptr_t)handle;
}

static void *handle_of(uint64_t tag)
{
    return (void *)(uintptr_t)tag; // NOLINT(performance-no-int-to-ptr): our own pointer comes back
}

/* --- handles --- */

static void node_add(struct store *store, struct list *list, struct list_node *node)
{
    pthread_mutex_lock(&store->lock);
    list_push_back(list, node);
    pthread_mutex_unlock(&store->lock);
}

static void node_drop(struct store *store, struct list_node *node)
{
    pthread_mutex_lock(&store->lock);
    list_remove(node);
    pthread_mutex_unlock(&store->lock);
}

static void db_drop(struct store_db *db)
{
    node_drop(db->store, &db->node);
    free(db);
}

static void slate_iter_free(struct store_iter *iter)
{
    if (iter != NULL) {
        node_drop(iter->store, &iter->node);
        sdbx_iter_free(iter->iter);
        free(iter);
    }
}

/* --- the store --- */

static const char *level_name(enum log_level level)
{
    switch (level) {
    case LOG_DEBUG:
        return "debug";
    case LOG_INFO:
        return "info";
    case LOG_WARN:
        return "warn";
    case LOG_ERROR:
        return "error";
    case LOG_OFF:
        break;
    }
    return "off";
}

/* Appends `,"key":value` when the value was given. */
static void json_number(char *text, size_t size, const char *key, int64_t value)
{
    if (value != 0) {
        const size_t at = strlen(text);
        (void)snprintf(text + at, size - at, ",\"%s\":%" PRId64, key, value > 0 ? value : 0);
    }
}

SILO_RC store_slate_new(const struct store_slate_options *options, struct store **ret_store,
                        struct silo_err *err)
{
    if (sdbx_abi_version() != SDBX_ABI_VERSION) {
        return FAIL(err, SILO_INTERNAL, "the bridge is of another version");
    }
    char json[256];
    (void)snprintf(json, sizeof json, "{\"log_level\":\"%s\"", level_name(options->log_level));
    json_number(json, sizeof json, "cache_bytes", options->block_cache_bytes);
    json_number(json, sizeof json, "meta_bytes", options->meta_cache_bytes);
    json_number(json, sizeof json, "io_threads", options->io_threads);
    (void)snprintf(json + strlen(json), sizeof json - strlen(json), "}");
    struct sdbx_env *env = NULL;
    struct sdbx_buf text = {0};
    const int status = sdbx_env_new(json, strlen(json), &env, &text);
    if (status != SDBX_OK) {
        const silo_rc rc =
            FAIL(err, code_of(status), "storage engine: %.*s", (int)text.len, (const char *)text.p);
        sdbx_buf_free(text);
        return rc;
    }
    struct store *store = xcalloc(1, sizeof *store);
    store->base.ops = &slate_ops;
    store->env = env;
    store->url = text_copy(options->url);
    store->opts_json = text_copy(options->opts_json);
    store->wal_url = text_copy(options->wal_url);
    store->wal_opts_json = text_copy(options->wal_opts_json);
    store->flags = (options->fsync ? SDBX_STORE_FSYNC : 0) | (options->log ? SDBX_STORE_LOG : 0);
    store->close_ms_max = options->close_ms_max;
    pthread_mutex_init(&store->lock, NULL);
    list_init(&store->dbs);
    list_init(&store->iters);
    *ret_store = store;
    return RC_OK;
}

static void slate_free(struct store *store)
{
    if (store == NULL) {
        return;
    }
    struct list_node *node;
    while ((node = list_first(&store->iters)) != NULL) {
        slate_iter_free(CONTAINER_OF(node, struct store_iter, node));
    }
    while ((node = list_first(&store->dbs)) != NULL) {
        struct store_db *db = CONTAINER_OF(node, struct store_db, node);
        if (!db->closing) {
            sdbx_db_abandon(db->db);
        }
        db_drop(db);
    }
    sdbx_env_free(store->env);
    pthread_mutex_destroy(&store->lock);
    free(store->url);
    free(store->opts_json);
    free(store->wal_url);
    free(store->wal_opts_json);
    free(store);
}

void store_slate_log(struct store *store)
{
    static const enum log_level LEVELS[] = {LOG_ERROR, LOG_ERROR, LOG_WARN,
                                            LOG_INFO,  LOG_DEBUG, LOG_DEBUG};
    struct sdbx_log_line lines[LOG_LINES_AT_ONCE];
    uint64_t lost = 0;
    for (uint32_t taken = 0; taken < SDBX_LOG_LINES_MAX;) {
        uint64_t lost_now = 0;
        const size_t n = sdbx_log_drain(store->env, lines, LOG_LINES_AT_ONCE, &lost_now);
        lost += lost_now;
        for (size_t i = 0; i < n; i++) {
            const uint32_t level =
                lines[i].level < sizeof LEVELS / sizeof LEVELS[0] ? lines[i].level : 1;
            LOG_AT(LEVELS[level], "engine",
                   LOG_BYTES("text", bytes_of(lines[i].text.p, lines[i].text.len)), LOG_END);
            sdbx_buf_free(lines[i].text);
        }
        taken += (uint32_t)n;
        if (n < LOG_LINES_AT_ONCE) {
            break;
        }
    }
    if (lost != 0) {
        log_warn("engine_log_lost", LOG_INT("lines", lost), LOG_END);
    }
}

/* The newer of the two stores' last errors, if any. */
static void slate_last_error(struct store *store, char *ret_text, size_t size)
{
    const struct sdbx_store_args stores[] = {main_args(store), wal_args(store)};
    int64_t newest_ms = INT64_MIN;
    ret_text[0] = '\0';
    for (size_t i = 0; i < sizeof stores / sizeof stores[0]; i++) {
        struct sdbx_buf text = {0};
        int64_t when_ms = 0;
        if (stores[i].url != NULL &&
            sdbx_store_error(store->env, &stores[i], &text, &when_ms, NULL) == SDBX_OK &&
            when_ms > newest_ms) {
            newest_ms = when_ms;
            (void)snprintf(ret_text, size, "%.*s", (int)text.len, (const char *)text.p);
        }
        sdbx_buf_free(text);
    }
}

static bool slate_trouble(struct store *store, char *ret_text, size_t size)
{
    if (ret_text == NULL && sdbx_trouble_known() == 0) {
        return false;
    }
    const struct sdbx_store_args stores[] = {wal_args(store), main_args(store)};
    char unused[1];
    char *text = ret_text != NULL ? ret_text : unused;
    const size_t room = ret_text != NULL ? size : sizeof unused;
    text[0] = '\0';
    for (size_t i = 0; i < sizeof stores / sizeof stores[0]; i++) {
        struct sdbx_buf buf = {0};
        const bool trouble =
            stores[i].url != NULL && sdbx_store_trouble(store->env, &stores[i], &buf) == SDBX_OK;
        if (trouble || (buf.len != 0 && text[0] == '\0')) {
            (void)snprintf(text, room, "%.*s", (int)buf.len, (const char *)buf.p);
        }
        sdbx_buf_free(buf);
        if (trouble) {
            return true;
        }
    }
    return false;
}

/* --- queues and events --- */

static silo_rc slate_queue_new(struct store *store, struct store_queue **ret_queue,
                               struct silo_err *err)
{
    struct sdbx_cq *cq = NULL;
    TRY(answer(sdbx_cq_new(store->env, &cq), "queue", err));
    struct store_queue *queue = xcalloc(1, sizeof *queue);
    *queue = (struct store_queue){.base = {&slate_ops}, .store = store, .cq = cq};
    *ret_queue = queue;
    return RC_OK;
}

static void slate_queue_free(struct store_queue *queue)
{
    if (queue != NULL) {
        sdbx_cq_free(queue->cq);
        free(queue);
    }
}

static int slate_queue_fd(struct store_queue *queue)
{
    return sdbx_cq_fd(queue->cq);
}

/* Packed rows of (path, size) to one path a line. */
static void list_lines(struct store_event *event)
{
    struct store_rows rows = event->rows;
    char *text = xmalloc(rows.data.len + 1); /* a line is shorter than its row */
    size_t len = 0;
    struct store_row row;
    while (store_rows_next(&rows, &row)) {
        memcpy(text + len, row.key.ptr, row.key.len);
        len += row.key.len;
        text[len++] = '\n';
    }
    event->owned[2] = text;
    event->rows = (struct store_rows){.data = bytes_of(text, len)};
}

static enum store_event_kind kind_of(enum sdbx_event_kind kind)
{
    switch (kind) {
    case SDBX_EV_OPENED:
        return STORE_OPENED;
    case SDBX_EV_CLOSED:
        return STORE_CLOSED;
    case SDBX_EV_APPLIED:
    case SDBX_EV_WRITE_FAILED:
        return STORE_APPLIED;
    case SDBX_EV_FLUSHED:
        return STORE_FLUSHED;
    case SDBX_EV_VALUE:
    case SDBX_EV_ROWS:
        return STORE_ROWS;
    case SDBX_EV_REFRESHED:
        return STORE_REFRESHED;
    case SDBX_EV_DB_DOWN:
        return STORE_DOWN;
    case SDBX_EV_OBJECT:
        return STORE_OBJECT;
    }
    ASSERT(false);
    return STORE_DOWN;
}

/* What an event means for the handles of its database. */
static void db_event(const struct sdbx_event *from, struct store_event *to)
{
    struct store_db *db = handle_of(from->db_tag);
    to->db = db;
    if (from->kind == SDBX_EV_OPENED) {
        db->db = from->db;
        if (from->status != SDBX_OK) {
            db_drop(db);
            to->db = NULL;
        }
    } else if (from->kind == SDBX_EV_CLOSED) {
        db->db = NULL;
        to->owned[2] = db;
    }
}

static void iter_event(const struct sdbx_event *from, struct store_event *to)
{
    struct store_iter *iter = handle_of(from->iter_tag);
    const bool first = iter->iter == NULL;
    if (from->iter != NULL) {
        iter->iter = from->iter;
        to->iter = iter;
    } else if (first) {
        slate_iter_free(iter); /* the receiver never got it */
    }
}

static void object_event(const struct sdbx_event *from, struct store_event *to)
{
    if (from->flags == SDBX_OBJECT_SELFTEST) {
        to->kind = STORE_TESTED;
    } else if (from->flags == SDBX_OBJECT_LIST && from->status == SDBX_OK) {
        list_lines(to);
    }
}

static void translate(struct sdbx_event *from, struct store_event *to)
{
    *to = (struct store_event){
        .kind = kind_of((enum sdbx_event_kind)from->kind),
        .rc = {code_of(from->status)},
        .token = from->kind == SDBX_EV_DB_DOWN ? 0 : from->token,
        .seq = from->seq,
        .epoch = from->epoch,
        .empty = from->kind == SDBX_EV_CLOSED && (from->flags & SDBX_CLOSED_EMPTY) != 0,
        .owned = {from->data.p, handle_of(from->data.cap)},
    };
    if (from->status == SDBX_OK) {
        to->rows = (struct store_rows){.data = bytes_of(from->data.p, from->data.len),
                                       .count = from->nrows};
    } else {
        const char *text =
            from->data.len != 0 ? (const char *)from->data.p : sdbx_strerror(from->status);
        const size_t len = from->data.len != 0 ? from->data.len : strlen(text);
        (void)snprintf(to->text, sizeof to->text, "%.*s", (int)(len < INT16_MAX ? len : INT16_MAX),
                       text);
    }
    if (from->db_tag != 0) {
        db_event(from, to);
    }
    if (from->iter_tag != 0) {
        iter_event(from, to);
    }
    if (from->kind == SDBX_EV_OBJECT) {
        object_event(from, to);
    }
}

static size_t slate_queue_drain(struct store_queue *queue, struct store_event *events, size_t max)
{
    struct sdbx_event taken[DRAIN_MAX];
    size_t count = 0;
    while (count < max) {
        const size_t want = max - count < DRAIN_MAX ? max - count : DRAIN_MAX;
        const size_t n = sdbx_cq_drain(queue->cq, taken, want);
        for (size_t i = 0; i < n; i++) {
            translate(&taken[i], &events[count + i]);
        }
        count += n;
        if (n < want) {
            break;
        }
    }
    return count;
}

static void slate_event_free(struct store_event *event)
{
    sdbx_buf_free(
        (struct sdbx_buf){.p = event->owned[0], .cap = (size_t)(uintptr_t)event->owned[1]});
    if (event->kind == STORE_CLOSED) {
        db_drop(event->owned[2]);
    } else {
        free(event->owned[2]);
    }
    event->rows = (struct store_rows){.data = BYTES_NONE};
    memset(event->owned, 0, sizeof event->owned);
}

static struct store_buf slate_buf_alloc(size_t size)
{
    const struct sdbx_buf buf = sdbx_buf_alloc(size);
    return (struct store_buf){.ptr = buf.p, .len = buf.len, .cap = buf.cap};
}

static struct sdbx_buf buf_of(struct store_buf buf)
{
    return (struct sdbx_buf){.p = buf.ptr, .len = buf.len, .cap = buf.cap};
}

static void slate_buf_free(struct store_buf buf)
{
    sdbx_buf_free(buf_of(buf));
}

/* --- databases --- */

/* A handle whose STORE_CLOSED was drained is memory and nothing more. */
static silo_rc db_check(const struct store_db *db, struct silo_err *err)
{
    return db->db != NULL ? RC_OK : FAIL(err, SILO_UNAVAILABLE, "the database is closed");
}

static silo_rc slate_open(struct store *store, struct store_queue *queue,
                          const struct store_open_args *args, uint64_t token, struct silo_err *err)
{
    struct store_db *db = xcalloc(1, sizeof *db);
    db->base.ops = &slate_ops;
    db->store = store;
    struct sdbx_open_args open_args = place_args(store, args);
    open_args.settings_json = args->settings_json;
    open_args.max_queued_bytes = args->bytes_max;
    open_args.tag = tag_of(db);
    open_args.flags = args->guarded ? SDBX_OPEN_GUARDED : 0;
    open_args.expected_epoch = args->expected_epoch;
    node_add(store, &store->dbs, &db->node);
    const int status = sdbx_open(store->env, queue->cq, &open_args, token);
    if (status != SDBX_OK) {
        db_drop(db);
    }
    return answer(status, "open", err);
}

static silo_rc slate_close(struct store_db *db, enum store_close_how how, uint64_t token,
                           struct silo_err *err)
{
    int flush = SDBX_FLUSH_NONE;
    switch (how) {
    case STORE_CLOSE_DROP:
        break;
    case STORE_CLOSE_WAL:
        flush = SDBX_FLUSH_WAL;
        break;
    case STORE_CLOSE_MEMTABLE:
        flush = SDBX_FLUSH_MEMTABLE;
        break;
    }
    TRY(db_check(db, err));
    const bool was_closing = db->closing;
    db->closing = true; /* before the call: its event may be drained by another thread at once */
    const int status = sdbx_close(db->db, flush, db->store->close_ms_max, token);
    if (status != SDBX_OK) {
        db->closing = was_closing;
    }
    return answer(status, "close", err);
}

static silo_rc slate_write(struct store_db *db, struct store_buf *bufs, size_t count, uint32_t ops,
                           uint64_t token, struct silo_err *err)
{
    struct sdbx_buf few[8] = {0}; /* enough but for batches with many large values */
    struct sdbx_buf *all = count <= sizeof few / sizeof few[0] ? few : xmalloc(count * sizeof *all);
    for (size_t i = 0; i < count; i++) {
        all[i] = buf_of(bufs[i]);
        bufs[i] = (struct store_buf){0};
    }
    const int status = db->db != NULL ? sdbx_write(db->db, all, count, ops, token) : SDBX_ECLOSED;
    if (status != SDBX_OK) {
        for (size_t i = 0; i < count; i++) {
            sdbx_buf_free(all[i]);
        }
    }
    if (all != few) {
        free(all);
    }
    return answer(status, "write", err);
}

static silo_rc slate_flush(struct store_db *db, enum store_flush_what what, uint64_t token,
                           struct silo_err *err)
{
    TRY(db_check(db, err));
    const int which = what == STORE_FLUSH_WAL ? SDBX_FLUSH_WAL : SDBX_FLUSH_MEMTABLE;
    return answer(sdbx_flush(db->db, which, token), "flush", err);
}

static silo_rc slate_refresh(struct store_db *db, uint64_t token, struct silo_err *err)
{
    TRY(db_check(db, err));
    return answer(sdbx_refresh(db->db, token), "refresh", err);
}

static size_t slate_queued_bytes(struct store_db *db)
{
    return (size_t)sdbx_queued_bytes(db->db);
}

/* --- reads --- */

static SILO_RC source_of(const struct store_db *db, const struct store_snap *snap,
                         struct source *ret_source, struct silo_err *err)
{
    ASSERT((db == NULL) != (snap == NULL));
    if (snap != NULL) {
        *ret_source = (struct source){.store = snap->store, .snap = snap->snap};
        return RC_OK;
    }
    TRY(db_check(db, err));
    *ret_source = (struct source){.store = db->store, .db = db->db};
    return RC_OK;
}

static silo_rc slate_mget(struct store_db *db, struct store_snap *snap, const struct bytes *keys,
                          size_t count, uint64_t token, struct silo_err *err)
{
    struct source source;
    TRY(source_of(db, snap, &source, err));
    if (count == 0 || count > SDBX_MGET_KEYS_MAX) {
        return FAIL(err, SILO_INVALID, "mget: %zu keys; 1..%u are possible", count,
                    SDBX_MGET_KEYS_MAX);
    }
    size_t size = 0;
    for (size_t i = 0; i < count; i++) {
        if (keys[i].len == 0 || keys[i].len > SDBX_KEY_BYTES_MAX) {
            return FAIL(err, SILO_INVALID, "mget: a key of %zu bytes", keys[i].len);
        }
        size += 2 + keys[i].len;
    }
    uint8_t few[1024];
    uint8_t *packed = size <= sizeof few ? few : xmalloc(size);
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        packed[at] = (uint8_t)keys[i].len;
        packed[at + 1] = (uint8_t)(keys[i].len >> 8);
        memcpy(packed + at + 2, keys[i].ptr, keys[i].len);
        at += 2 + keys[i].len;
    }
    const int status = sdbx_mget(source.db, source.snap, packed, size, (uint32_t)count, 0, token);
    if (packed != few) {
        free(packed);
    }
    return answer(status, "mget", err);
}

static silo_rc slate_scan(struct store_db *db, struct store_snap *snap,
                          const struct store_scan_args *args, uint64_t token, struct silo_err *err)
{
    struct source source;
    TRY(source_of(db, snap, &source, err));
    struct store_iter *iter = xcalloc(1, sizeof *iter);
    iter->base.ops = &slate_ops;
    iter->store = source.store;
    const bool small = args->rows_max != 0 && args->rows_max <= SMALL_PAGE_ROWS;
    const struct sdbx_scan_args scan_args = {
        .lo = args->lo.ptr,
        .lo_len = args->lo.len,
        .hi = args->hi.ptr,
        .hi_len = args->hi.len,
        .flags = SDBX_SCAN_CACHE | (args->descending ? SDBX_SCAN_DESC : 0) |
                 (args->keys_only ? SDBX_SCAN_KEYS_ONLY : 0),
        .max_rows = args->rows_max,
        .max_bytes = args->bytes_max,
        .read_ahead_bytes = small ? 0 : READ_AHEAD_BYTES,
        .tag = tag_of(iter),
    };
    node_add(iter->store, &iter->store->iters, &iter->node);
    const int status = sdbx_scan(source.db, source.snap, &scan_args, token);
    if (status != SDBX_OK) {
        slate_iter_free(iter);
    }
    return answer(status, "scan", err);
}

static silo_rc slate_iter_next(struct store_iter *iter, uint32_t rows_max, size_t bytes_max,
                               uint64_t token, struct silo_err *err)
{
    return answer(sdbx_iter_next(iter->iter, rows_max, bytes_max, token), "iterator", err);
}

static silo_rc slate_snapshot(struct store_db *db, struct store_queue *queue,
                              struct store_snap **ret_snap, uint64_t *ret_seq, struct silo_err *err)
{
    TRY(db_check(db, err));
    struct sdbx_snap *inner = NULL;
    uint64_t seq = 0;
    TRY(answer(sdbx_snapshot(db->db, queue->cq, &inner, &seq), "snapshot", err));
    struct store_snap *snap = xcalloc(1, sizeof *snap);
    *snap = (struct store_snap){.base = {&slate_ops}, .store = db->store, .snap = inner};
    *ret_snap = snap;
    if (ret_seq != NULL) {
        *ret_seq = seq;
    }
    return RC_OK;
}

static void slate_snapshot_free(struct store_snap *snap)
{
    if (snap != NULL) {
        sdbx_snapshot_free(snap->snap);
        free(snap);
    }
}

/* --- facts and figures --- */

static char *text_take(int status, struct sdbx_buf buf)
{
    char *text = NULL;
    if (status == SDBX_OK) {
        text = xmalloc(buf.len + 1);
        memcpy(text, buf.p, buf.len);
        text[buf.len] = '\0';
    }
    sdbx_buf_free(buf);
    return text;
}

static char *slate_info_json(struct store_db *db)
{
    struct sdbx_buf buf = {0};
    const int status = sdbx_info(db->db, &buf);
    return text_take(status, buf);
}

static char *slate_metrics_text(struct store_db *db, const char *label)
{
    char labels[256];
    (void)snprintf(labels, sizeof labels, "shard=\"%s\"", label);
    struct sdbx_buf buf = {0};
    const int status = sdbx_metrics(db->db, labels, 1, &buf);
    return text_take(status, buf);
}

/* --- objects --- */

static silo_rc slate_object_get(struct store *store, struct store_queue *queue, const char *name,
                                uint64_t token, struct silo_err *err)
{
    const struct sdbx_store_args args = main_args(store);
    return answer(sdbx_obj_get(store->env, queue->cq, &args, name, token), "object_get", err);
}

static silo_rc slate_object_put_new(struct store *store, struct store_queue *queue,
                                    const char *name, struct bytes data, uint64_t token,
                                    struct silo_err *err)
{
    struct sdbx_buf buf = sdbx_buf_alloc(data.len);
    if (data.len != 0) {
        if (buf.p == NULL) {
            return FAIL(err, SILO_EXHAUSTED, "object_put_new: no memory for %zu bytes", data.len);
        }
        memcpy(buf.p, data.ptr, data.len);
        buf.len = data.len;
    }
    const struct sdbx_store_args args = main_args(store);
    const int status = sdbx_obj_put_new(store->env, queue->cq, &args, name, buf, token);
    if (status != SDBX_OK) {
        sdbx_buf_free(buf);
    }
    return answer(status, "object_put_new", err);
}

static silo_rc slate_object_list(struct store *store, struct store_queue *queue, const char *prefix,
                                 uint64_t token, struct silo_err *err)
{
    const struct sdbx_store_args args = main_args(store);
    return answer(sdbx_obj_list(store->env, queue->cq, &args, prefix, token), "object_list", err);
}

static silo_rc slate_db_epoch(struct store *store, struct store_queue *queue,
                              const struct store_open_args *args, uint64_t token,
                              struct silo_err *err)
{
    const struct sdbx_open_args place = place_args(store, args);
    return answer(sdbx_db_epoch(store->env, queue->cq, &place, token), "db_epoch", err);
}

static silo_rc slate_db_checkpoint(struct store *store, struct store_queue *queue,
                                   const struct store_open_args *args, uint64_t token,
                                   struct silo_err *err)
{
    struct sdbx_open_args place = place_args(store, args);
    place.flags = args->guarded ? SDBX_OPEN_GUARDED : 0;
    place.expected_epoch = args->expected_epoch;
    return answer(sdbx_db_checkpoint(store->env, queue->cq, &place, token), "db_checkpoint", err);
}

static silo_rc slate_db_checkpoint_drop(struct store *store, struct store_queue *queue,
                                        const struct store_open_args *args, const char *checkpoint,
                                        uint64_t token, struct silo_err *err)
{
    const struct sdbx_open_args place = place_args(store, args);
    return answer(sdbx_db_checkpoint_drop(store->env, queue->cq, &place, checkpoint, token),
                  "db_checkpoint_drop", err);
}

static silo_rc slate_db_clone(struct store *store, struct store_queue *queue,
                              const struct store_open_args *to, const struct store_clone_args *args,
                              uint64_t token, struct silo_err *err)
{
    if (args->ranges_count > STORE_RANGES_MAX) {
        return FAIL(err, SILO_INVALID, "db_clone: %zu ranges", args->ranges_count);
    }
    struct sdbx_range ranges[STORE_RANGES_MAX];
    for (size_t i = 0; i < args->ranges_count; i++) {
        const struct store_range *range = &args->ranges[i];
        ranges[i] = (struct sdbx_range){range->lo.ptr, range->lo.len, range->hi.ptr, range->hi.len};
    }
    const struct sdbx_open_args place = place_args(store, to);
    const struct sdbx_clone_args clone = {.from = args->from,
                                          .checkpoint = args->checkpoint,
                                          .ranges = ranges,
                                          .ranges_count = args->ranges_count};
    return answer(sdbx_db_clone(store->env, queue->cq, &place, &clone, token), "db_clone", err);
}

static silo_rc slate_db_remove(struct store *store, struct store_queue *queue,
                               const struct store_open_args *args, uint64_t token,
                               struct silo_err *err)
{
    const struct sdbx_open_args place = place_args(store, args);
    return answer(sdbx_db_remove(store->env, queue->cq, &place, token), "db_remove", err);
}

static silo_rc slate_selftest(struct store *store, struct store_queue *queue, uint64_t token,
                              struct silo_err *err)
{
    const struct sdbx_store_args args = main_args(store);
    return answer(sdbx_store_selftest(store->env, queue->cq, &args, "", token), "selftest", err);
}

static const struct store_ops slate_ops = {
    .free = slate_free,
    .queue_new = slate_queue_new,
    .queue_free = slate_queue_free,
    .queue_fd = slate_queue_fd,
    .queue_drain = slate_queue_drain,
    .event_free = slate_event_free,
    .buf_alloc = slate_buf_alloc,
    .buf_free = slate_buf_free,
    .open = slate_open,
    .close = slate_close,
    .write = slate_write,
    .flush = slate_flush,
    .mget = slate_mget,
    .scan = slate_scan,
    .iter_next = slate_iter_next,
    .iter_free = slate_iter_free,
    .refresh = slate_refresh,
    .snapshot = slate_snapshot,
    .snapshot_free = slate_snapshot_free,
    .queued_bytes = slate_queued_bytes,
    .last_error = slate_last_error,
    .trouble = slate_trouble,
    .info_json = slate_info_json,
    .metrics_text = slate_metrics_text,
    .object_get = slate_object_get,
    .object_put_new = slate_object_put_new,
    .object_list = slate_object_list,
    .db_epoch = slate_db_epoch,
    .db_checkpoint = slate_db_checkpoint,
    .db_checkpoint_drop = slate_db_checkpoint_drop,
    .db_clone = slate_db_clone,
    .db_remove = slate_db_remove,
    .selftest = slate_selftest,
};
