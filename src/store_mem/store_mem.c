/*
 * store_mem/store_mem.c - the calls of store.h on the store in memory: each checks, copies and
 * enqueues.
 *
 * All that can be refused is refused here; what happens to an accepted call is in run.c.
 */
#include "store_mem/store_mem.h"

#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/assert.h"
#include "store_mem/store_mem_int.h"

static const struct store_ops mem_ops;

static uint8_t *bytes_copy(struct bytes b)
{
    uint8_t *copy = xmalloc(b.len);
    if (b.len != 0) {
        memcpy(copy, b.ptr, b.len);
    }
    return copy;
}

/* --- the store and its queues --- */

struct store *store_mem_new(const struct store_mem_options *options)
{
    struct store *store = xcalloc(1, sizeof *store);
    store->base.ops = &mem_ops;
    ASSERT(pthread_mutex_init(&store->lock, NULL) == 0);
    if (options != NULL) {
        store->options = *options;
    }
    store->random = (store->options.seed ^ 0x9e3779b97f4a7c15ULL) * 0xbf58476d1ce4e5b9ULL | 1;
    list_init(&store->pending);
    list_init(&store->queues);
    list_init(&store->dbs);
    list_init(&store->paths);
    list_init(&store->faults);
    store->objects = ordered_rows_new();
    return store;
}

static void mem_free(struct store *store)
{
    if (store == NULL) {
        return;
    }
    ASSERT(list_empty(&store->queues));
    ASSERT(store->views_count == 0);
    store_mem_faults_clear(store);
    struct list_node *node;
    while ((node = list_pop_front(&store->dbs)) != NULL) {
        struct store_db *db = CONTAINER_OF(node, struct store_db, node);
        image_unref(db->image);
        free(db);
    }
    while ((node = list_pop_front(&store->paths)) != NULL) {
        struct mem_path *path = CONTAINER_OF(node, struct mem_path, node);
        path_forget_checkpoints(path);
        image_unref(path->image);
        free(path->name);
        free(path);
    }
    (void)ordered_rows_free(store->objects);
    ASSERT(pthread_mutex_destroy(&store->lock) == 0);
    free(store);
}

static silo_rc mem_queue_new(struct store *store, struct store_queue **ret_queue,
                             struct silo_err *err)
{
    const int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) {
        return FAIL(err, SILO_EXHAUSTED, "cannot make an eventfd");
    }
    struct store_queue *queue = xcalloc(1, sizeof *queue);
    queue->base = store->base;
    queue->store = store;
    queue->fd = fd;
    list_init(&queue->events);
    mem_lock(store);
    list_push_back(&store->queues, &queue->node);
    mem_unlock(store);
    *ret_queue = queue;
    return RC_OK;
}

static void mem_queue_free(struct store_queue *queue)
{
    if (queue == NULL) {
        return;
    }
    struct store *store = queue->store;
    mem_lock(store);
    ops_discard(store, queue);
    for (struct list_node *node = list_first(&store->dbs); node != NULL;
         node = list_next(&store->dbs, node)) {
        struct store_db *db = CONTAINER_OF(node, struct store_db, node);
        if (db->queue == queue && !db->dead) {
            ops_discard_db(db);
            db_kill(db, db->image->durable);
        }
    }
    queue_clear(queue);
    list_remove(&queue->node);
    mem_unlock(store);
    (void)close(queue->fd);
    free(queue);
}

static int mem_queue_fd(struct store_queue *queue)
{
    return queue->fd;
}

static size_t mem_queue_drain(struct store_queue *queue, struct store_event *events, size_t max)
{
    struct store *store = queue->store;
    size_t count = 0;
    mem_lock(store);
    if (!store->options.manual) {
        store->turn++;
        while (mem_complete_one(store)) {
        }
    }
    while (count < max) {
        struct mem_event *entry =
            LIST_ENTRY(list_pop_front(&queue->events), struct mem_event, node);
        if (entry == NULL) {
            break;
        }
        events[count++] = entry->event;
        free(entry);
    }
    mem_signal(store);
    mem_unlock(store);
    const struct store_mem_watch *watch = &store->options.watch;
    for (size_t i = 0; watch->drained != NULL && i < count; i++) {
        watch->drained(watch->context, queue, &events[i]);
    }
    return count;
}

static void mem_event_free(struct store_event *event)
{
    if (event->kind == STORE_CLOSED && event->db != NULL) {
        struct store *store = event->db->store;
        mem_lock(store);
        event_release(event);
        mem_unlock(store);
    } else {
        event_release(event);
    }
    *event = (struct store_event){.kind = event->kind};
}

static struct store_buf mem_buf_alloc(size_t size)
{
    return (struct store_buf){.ptr = xmalloc(size), .cap = size};
}

static void mem_buf_free(struct store_buf buf)
{
    free(buf.ptr);
}

/* --- calls --- */

static silo_rc db_check(const struct store_db *db, struct silo_err *err)
{
    if (db->dead || db->closing) {
        return FAIL(err, SILO_UNAVAILABLE, "the database is closed");
    }
    if (db->down != SILO_OK) {
        return FAIL(err, db->down, "the database is down: %s", silo_code_name(db->down));
    }
    return RC_OK;
}

static struct mem_op *op_new(enum store_mem_kind kind, struct store_queue *queue,
                             struct store_db *db, uint64_t token)
{
    struct mem_op *op = xcalloc(1, sizeof *op);
    op->kind = kind;
    op->queue = queue;
    op->db = db;
    op->token = token;
    return op;
}

static silo_rc mem_open(struct store *store, struct store_queue *queue,
                        const struct store_open_args *args, uint64_t token, struct silo_err *err)
{
    const struct store_mem_watch *watch = &store->options.watch;
    if (args->path == NULL || args->path[0] == '\0') {
        return FAIL(err, SILO_INVALID, "a database needs a path");
    }
    if (watch->open != NULL) {
        watch->open(watch->context, queue, args->path, token);
    }
    struct mem_op *op = op_new(STORE_MEM_OPEN, queue, NULL, token);
    op->name = xstrdup(args->path);
    op->apart = args->wal == STORE_WAL_APART;
    op->guarded = args->guarded;
    op->expected_epoch = args->expected_epoch;
    op->bytes_max = args->bytes_max != 0 ? args->bytes_max : STORE_MEM_BYTES_DEFAULT;
    mem_lock(store);
    op_enqueue(store, op);
    mem_unlock(store);
    return RC_OK;
}

static silo_rc mem_close(struct store_db *db, enum store_close_how how, uint64_t token,
                         struct silo_err *err)
{
    struct store *store = db->store;
    silo_rc rc = RC_OK;
    mem_lock(store);
    if (db->dead || db->closing) {
        rc = FAIL(err, SILO_UNAVAILABLE, "the database is closed");
    } else {
        struct mem_op *op = op_new(STORE_MEM_CLOSE, db->queue, db, token);
        op->close_how = how;
        db->closing = true;
        op_enqueue(store, op);
    }
    mem_unlock(store);
    return rc;
}

/* Counts the operations of one buffer; false when it is malformed. */
static bool buf_check(const struct store_buf *buf, uint32_t *count)
{
    const uint8_t *p = buf->ptr;
    size_t left = buf->len;
    while (left != 0) {
        if (left < 8) {
            return false;
        }
        const size_t key_len = (size_t)p[2] | (size_t)p[3] << 8;
        const size_t value_len =
            (size_t)p[4] | (size_t)p[5] << 8 | (size_t)p[6] << 16 | (size_t)p[7] << 24;
        if (p[0] > 1 || p[1] != 0 || key_len == 0 || value_len == STORE_ABSENT ||
            (p[0] == 1 && value_len != 0) || left - 8 < key_len || left - 8 - key_len < value_len) {
            return false;
        }
        const size_t size = store_op_size(key_len, value_len);
        p += size;
        left -= size;
        ++*count;
    }
    return true;
}

static size_t db_queued_bytes(const struct store_db *db)
{
    return db->accepted_bytes + (db->image != NULL ? db->image->undurable_bytes : 0);
}

static silo_rc write_check(const struct store_db *db, const struct store_buf *bufs, size_t count,
                           uint32_t ops, size_t bytes, struct silo_err *err)
{
    TRY(db_check(db, err));
    uint32_t found = 0;
    bool good = ops != 0;
    for (size_t i = 0; i < count && good; i++) {
        good = buf_check(&bufs[i], &found);
    }
    if (!good || found != ops) {
        return FAIL(err, SILO_INVALID, "malformed batch");
    }
    const size_t queued = db_queued_bytes(db);
    if (queued != 0 && (queued > db->bytes_max || bytes > db->bytes_max - queued)) {
        return FAIL(err, SILO_EXHAUSTED, "%zu bytes are not durable yet", queued);
    }
    return RC_OK;
}

static silo_rc mem_write(struct store_db *db, struct store_buf *bufs, size_t count, uint32_t ops,
                         uint64_t token, struct silo_err *err)
{
    struct store *store = db->store;
    const struct store_mem_watch *watch = &store->options.watch;
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        bytes += bufs[i].len;
    }
    if (watch->write != NULL) {
        watch->write(watch->context, db->queue, db, bufs, count);
    }
    mem_lock(store);
    const silo_rc rc = write_check(db, bufs, count, ops, bytes, err);
    if (rc.code == SILO_OK) {
        struct mem_op *op = op_new(STORE_MEM_WRITE, db->queue, db, token);
        op->bufs = xcalloc(count, sizeof op->bufs[0]);
        memcpy(op->bufs, bufs, count * sizeof op->bufs[0]);
        op->bufs_count = count;
        op->bytes = bytes;
        op_enqueue(store, op);
    } else {
        for (size_t i = 0; i < count; i++) {
            free(bufs[i].ptr);
        }
    }
    mem_unlock(store);
    return rc;
}

static silo_rc mem_flush(struct store_db *db, enum store_flush_what what, uint64_t token,
                         struct silo_err *err)
{
    struct store *store = db->store;
    mem_lock(store);
    silo_rc rc = db_check(db, err);
    if (rc.code == SILO_OK && db->flushes_count == STORE_MEM_FLUSHES_MAX) {
        rc = FAIL(err, SILO_EXHAUSTED, "too many flushes under way");
    }
    if (rc.code == SILO_OK) {
        struct mem_op *op = op_new(STORE_MEM_FLUSH, db->queue, db, token);
        op->memtable = what == STORE_FLUSH_MEMTABLE;
        op_enqueue(store, op);
    }
    mem_unlock(store);
    return rc;
}

static silo_rc mem_refresh(struct store_db *db, uint64_t token, struct silo_err *err)
{
    struct store *store = db->store;
    mem_lock(store);
    const silo_rc rc = db_check(db, err);
    if (rc.code == SILO_OK) {
        op_enqueue(store, op_new(STORE_MEM_REFRESH, db->queue, db, token));
    }
    mem_unlock(store);
    return rc;
}

/* --- reads --- */

static silo_rc read_check(const struct store_db *db, struct silo_err *err)
{
    TRY(db_check(db, err));
    if (db->reads_count == STORE_MEM_READS_MAX) {
        return FAIL(err, SILO_EXHAUSTED, "too many reads under way");
    }
    return RC_OK;
}

/* Pins what a read shall see when that is known at the call. */
static void read_pin(struct store *store, struct store_db *db, const struct store_snap *snap,
                     struct mem_view *view)
{
    if (snap != NULL) {
        view_pin(view, snap->view.image, snap->view.seq);
    } else if (store->options.reads_at_start) {
        view_pin(view, db->image, db->image->applied);
    }
}

/* One allocation: the array, then the keys' bytes. NULL when a key is none. */
static struct bytes *keys_copy(const struct bytes *keys, size_t count)
{
    size_t size = count * sizeof keys[0];
    for (size_t i = 0; i < count; i++) {
        if (keys[i].len == 0 || keys[i].len > UINT16_MAX) {
            return NULL;
        }
        size += keys[i].len;
    }
    struct bytes *copy = xmalloc(size);
    uint8_t *at = (uint8_t *)(copy + count);
    for (size_t i = 0; i < count; i++) {
        memcpy(at, keys[i].ptr, keys[i].len);
        copy[i] = bytes_of(at, keys[i].len);
        at += keys[i].len;
    }
    return copy;
}

/* The database that is read, of which a snapshot may be a moment. */
static struct store_db *read_db(struct store_db *db, const struct store_snap *snap)
{
    ASSERT((db == NULL) != (snap == NULL));
    return snap != NULL ? snap->db : db;
}

static silo_rc mem_mget(struct store_db *db, struct store_snap *snap, const struct bytes *keys,
                        size_t count, uint64_t token, struct silo_err *err)
{
    if (count == 0 || count > STORE_MEM_KEYS_MAX) {
        return FAIL(err, SILO_INVALID, "mget of %zu keys", count);
    }
    struct bytes *copy = keys_copy(keys, count);
    if (copy == NULL) {
        return FAIL(err, SILO_INVALID, "keys have 1 to 65535 bytes");
    }
    db = read_db(db, snap);
    struct store *store = db->store;
    mem_lock(store);
    const silo_rc rc = read_check(db, err);
    if (rc.code == SILO_OK) {
        struct store_queue *queue = snap != NULL ? snap->queue : db->queue;
        struct mem_op *op = op_new(STORE_MEM_MGET, queue, db, token);
        op->lent = snap != NULL;
        op->keys = copy;
        op->keys_count = count;
        read_pin(store, db, snap, &op->view);
        op_enqueue(store, op);
    } else {
        free(copy);
    }
    mem_unlock(store);
    return rc;
}

static void scan_enqueue(struct store_iter *iter, bool fresh, uint32_t rows_max, size_t bytes_max,
                         uint64_t token)
{
    struct store_db *db = iter->db;
    struct mem_op *op = op_new(STORE_MEM_SCAN, iter->queue, db, token);
    op->lent = iter->lent;
    op->iter = iter;
    op->iter_fresh = fresh;
    op->rows_max = rows_max;
    op->bytes_max = bytes_max != 0 ? bytes_max : STORE_MEM_SCAN_BYTES_DEFAULT;
    iter->busy = true;
    op_enqueue(db->store, op);
}

static silo_rc mem_scan(struct store_db *db, struct store_snap *snap,
                        const struct store_scan_args *args, uint64_t token, struct silo_err *err)
{
    db = read_db(db, snap);
    struct store *store = db->store;
    mem_lock(store);
    const silo_rc rc = read_check(db, err);
    if (rc.code == SILO_OK) {
        struct store_iter *iter = xcalloc(1, sizeof *iter);
        iter->base = store->base;
        iter->db = db;
        iter->queue = snap != NULL ? snap->queue : db->queue;
        iter->lent = snap != NULL;
        db->refs++;
        store->views_count++;
        iter->lo = bytes_copy(args->lo);
        iter->lo_len = args->lo.len;
        iter->hi = bytes_copy(args->hi);
        iter->hi_len = args->hi.len;
        iter->descending = args->descending;
        iter->keys_only = args->keys_only;
        read_pin(store, db, snap, &iter->view);
        scan_enqueue(iter, true, args->rows_max, args->bytes_max, token);
    }
    mem_unlock(store);
    return rc;
}

static silo_rc mem_iter_next(struct store_iter *iter, uint32_t rows_max, size_t bytes_max,
                             uint64_t token, struct silo_err *err)
{
    struct store *store = iter->db->store;
    mem_lock(store);
    ASSERT(!iter->busy);
    const silo_rc rc = read_check(iter->db, err);
    if (rc.code == SILO_OK) {
        scan_enqueue(iter, false, rows_max, bytes_max, token);
    }
    mem_unlock(store);
    return rc;
}

static void mem_iter_free(struct store_iter *iter)
{
    if (iter != NULL) {
        struct store *store = iter->db->store;
        mem_lock(store);
        iter_release(iter);
        mem_unlock(store);
    }
}

static silo_rc mem_snapshot(struct store_db *db, struct store_queue *queue,
                            struct store_snap **ret_snap, uint64_t *ret_seq, struct silo_err *err)
{
    struct store *store = db->store;
    mem_lock(store);
    const silo_rc rc = db_check(db, err);
    if (rc.code == SILO_OK) {
        struct store_snap *snap = xcalloc(1, sizeof *snap);
        snap->base = store->base;
        snap->db = db;
        snap->queue = queue;
        db->refs++;
        store->views_count++;
        view_pin(&snap->view, db->image, db->image->applied);
        *ret_snap = snap;
        if (ret_seq != NULL) {
            *ret_seq = snap->view.seq;
        }
    }
    mem_unlock(store);
    return rc;
}

static void mem_snapshot_free(struct store_snap *snap)
{
    if (snap != NULL) {
        struct store *store = snap->db->store;
        mem_lock(store);
        store->views_count--;
        view_unpin(&snap->view);
        db_unref(snap->db);
        mem_unlock(store);
        free(snap);
    }
}

/* --- facts --- */

static size_t mem_queued_bytes(struct store_db *db)
{
    mem_lock(db->store);
    const size_t bytes = db_queued_bytes(db);
    mem_unlock(db->store);
    return bytes;
}

static void mem_last_error(struct store *store, char *ret_text, size_t size)
{
    mem_lock(store);
    (void)snprintf(ret_text, size, "%s", store->last_error);
    mem_unlock(store);
}

static bool mem_trouble(struct store *store, char *ret_text, size_t size)
{
    mem_lock(store);
    const bool trouble = store->trouble;
    if (ret_text != NULL) {
        (void)snprintf(ret_text, size, "%s", store->outage != 0 ? store->last_error : "");
    }
    mem_unlock(store);
    return trouble;
}

static char *mem_info_json(struct store_db *db)
{
    char *text = NULL;
    mem_lock(db->store);
    const struct mem_image *image = db->image;
    if (image != NULL &&
        asprintf(&text,
                 "{\"engine\":\"memory\",\"applied_seq\":%llu,\"durable_seq\":%llu,\"rows\":%zu}",
                 (unsigned long long)image->applied, (unsigned long long)image->durable,
                 ordered_rows_live(image->rows)) < 0) {
        text = NULL;
    }
    mem_unlock(db->store);
    return text;
}

static char *mem_metrics_text(struct store_db *db, const char *label)
{
    char *text = NULL;
    mem_lock(db->store);
    const struct mem_image *image = db->image;
    if (image != NULL && asprintf(&text,
                                  "silo_store_applied_seq{shard=\"%s\"} %llu\n"
                                  "silo_store_durable_seq{shard=\"%s\"} %llu\n",
                                  label, (unsigned long long)image->applied, label,
                                  (unsigned long long)image->durable) < 0) {
        text = NULL;
    }
    mem_unlock(db->store);
    return text;
}

/* --- objects --- */

struct mem_op *object_op(struct store_queue *queue, enum mem_object object, const char *name,
                         uint64_t token)
{
    if (name == NULL || (name[0] == '\0' && object != OBJECT_LIST)) {
        return NULL;
    }
    struct mem_op *op = op_new(STORE_MEM_OBJECT, queue, NULL, token);
    op->object = object;
    op->name = xstrdup(name);
    return op;
}

static silo_rc object_call(struct store *store, struct store_queue *queue, enum mem_object object,
                           const char *name, struct bytes data, uint64_t token,
                           struct silo_err *err)
{
    struct mem_op *op = object_op(queue, object, name, token);
    if (op == NULL) {
        return FAIL(err, SILO_INVALID, "an object needs a name");
    }
    op->data = bytes_copy(data);
    op->data_len = data.len;
    mem_lock(store);
    op_enqueue(store, op);
    mem_unlock(store);
    return RC_OK;
}

static silo_rc mem_object_get(struct store *store, struct store_queue *queue, const char *name,
                              uint64_t token, struct silo_err *err)
{
    return object_call(store, queue, OBJECT_GET, name, BYTES_NONE, token, err);
}

static silo_rc mem_object_put_new(struct store *store, struct store_queue *queue, const char *name,
                                  struct bytes data, uint64_t token, struct silo_err *err)
{
    return object_call(store, queue, OBJECT_PUT_NEW, name, data, token, err);
}

static silo_rc mem_object_list(struct store *store, struct store_queue *queue, const char *prefix,
                               uint64_t token, struct silo_err *err)
{
    return object_call(store, queue, OBJECT_LIST, prefix, BYTES_NONE, token, err);
}

static silo_rc mem_db_epoch(struct store *store, struct store_queue *queue,
                            const struct store_open_args *args, uint64_t token,
                            struct silo_err *err)
{
    return object_call(store, queue, OBJECT_DB_EPOCH, args->path, BYTES_NONE, token, err);
}

static silo_rc mem_db_remove(struct store *store, struct store_queue *queue,
                             const struct store_open_args *args, uint64_t token,
                             struct silo_err *err)
{
    return object_call(store, queue, OBJECT_DB_REMOVE, args->path, BYTES_NONE, token, err);
}

static silo_rc mem_selftest(struct store *store, struct store_queue *queue, uint64_t token,
                            struct silo_err *err)
{
    return object_call(store, queue, OBJECT_SELFTEST, "selftest", BYTES_NONE, token, err);
}

static const struct store_ops mem_ops = {
    .free = mem_free,
    .queue_new = mem_queue_new,
    .queue_free = mem_queue_free,
    .queue_fd = mem_queue_fd,
    .queue_drain = mem_queue_drain,
    .event_free = mem_event_free,
    .buf_alloc = mem_buf_alloc,
    .buf_free = mem_buf_free,
    .open = mem_open,
    .close = mem_close,
    .write = mem_write,
    .flush = mem_flush,
    .mget = mem_mget,
    .scan = mem_scan,
    .iter_next = mem_iter_next,
    .iter_free = mem_iter_free,
    .refresh = mem_refresh,
    .snapshot = mem_snapshot,
    .snapshot_free = mem_snapshot_free,
    .queued_bytes = mem_queued_bytes,
    .last_error = mem_last_error,
    .trouble = mem_trouble,
    .info_json = mem_info_json,
    .metrics_text = mem_metrics_text,
    .object_get = mem_object_get,
    .object_put_new = mem_object_put_new,
    .object_list = mem_object_list,
    .db_epoch = mem_db_epoch,
    .db_checkpoint = mem_db_checkpoint,
    .db_checkpoint_drop = mem_db_checkpoint_drop,
    .db_clone = mem_db_clone,
    .db_remove = mem_db_remove,
    .selftest = mem_selftest,
};
