/*
 * store_mem/run.c - which operation completes next, and what happens when it does.
 *
 *   call --> pending --(in its turn, not held, delay over)--> complete --> event
 *
 * In its turn: the first write of its database; the first flush, once the writes before it ended; a
 * close (but STORE_CLOSE_DROP) that nothing precedes.
 * Held: an outage of its kind. A flush begins when its turn comes, in an outage too: it fixes then
 * what it covers, and its delay runs from there. All effects happen at completion, so a database
 * fenced meanwhile finds out then.
 */
#include <stdio.h>

#include "base/assert.h"
#include "base/buf.h"
#include "store_mem/store_mem_int.h"

static int64_t mem_now_ms(const struct store *store)
{
    return store->options.env != NULL ? env_mono_ms(store->options.env) : 0;
}

uint64_t mem_random_below(struct store *store, uint64_t bound)
{
    store->random ^= store->random << 13;
    store->random ^= store->random >> 7;
    store->random ^= store->random << 17;
    return (store->random * 0x2545f4914f6cdd1dULL >> 11) % bound;
}

/* --- enqueueing --- */

/* The operation begins in this turn or, `later`, in the next. */
static void op_schedule(struct store *store, struct mem_op *op, bool later)
{
    const struct store_mem_delay *delay = &store->options.delays[op->kind];
    op->turn_ready = store->turn + (later ? 1 : 0);
    op->due_ms = mem_now_ms(store);
    if (op->kind == STORE_MEM_FLUSH && !op->started) {
        return;
    }
    op->turn_ready += delay->turns;
    if (store->options.env != NULL) {
        const uint64_t spread =
            delay->ms_max > delay->ms_min ? (uint64_t)(delay->ms_max - delay->ms_min) : 0;
        op->due_ms +=
            delay->ms_min + (spread != 0 ? (int64_t)mem_random_below(store, spread + 1) : 0);
    }
}

static void op_find_fault(struct store *store, struct mem_op *op)
{
    struct list_node *next = NULL;
    for (struct list_node *node = list_first(&store->faults); node != NULL; node = next) {
        next = list_next(&store->faults, node);
        struct mem_fault *armed = CONTAINER_OF(node, struct mem_fault, node);
        if (armed->fault.kind != op->kind || --armed->left != 0) {
            continue;
        }
        if (op->fault == SILO_OK) {
            op->fault = armed->fault.code;
            op->fault_effect = armed->fault.effect;
            store->faults_fired++;
        }
        armed->left = 1;
        if (--armed->fault.times == 0) {
            list_remove(&armed->node);
            free(armed);
            store->faults_count--;
        }
    }
}

void op_enqueue(struct store *store, struct mem_op *op)
{
    op_schedule(store, op, true);
    op_find_fault(store, op);
    list_push_back(&store->pending, &op->node);
    store->pending_count++;
    store->counts.calls[op->kind]++;
    struct store_db *db = op->db;
    if (db != NULL) {
        db->ops_count++;
        db->reads_count += op->kind == STORE_MEM_MGET || op->kind == STORE_MEM_SCAN;
        if (op->kind == STORE_MEM_WRITE) {
            db->accepted_bytes += op->bytes;
            db->writes_accepted++;
            list_push_back(&db->writes, &op->line);
        } else if (op->kind == STORE_MEM_FLUSH) {
            db->flushes_count++;
            op->after = db->writes_accepted;
            list_push_back(&db->flushes, &op->line);
        }
    }
    if (!store->options.manual) {
        queue_signal(op->queue, true);
    }
}

/* --- failing --- */

static enum store_event_kind op_event_kind(const struct mem_op *op)
{
    switch (op->kind) {
    case STORE_MEM_OPEN:
        return STORE_OPENED;
    case STORE_MEM_CLOSE:
        return STORE_CLOSED;
    case STORE_MEM_WRITE:
        return STORE_APPLIED;
    case STORE_MEM_FLUSH:
        return STORE_FLUSHED;
    case STORE_MEM_MGET:
    case STORE_MEM_SCAN:
        return STORE_ROWS;
    case STORE_MEM_REFRESH:
        return STORE_REFRESHED;
    case STORE_MEM_OBJECT:
        return op->object == OBJECT_SELFTEST ? STORE_TESTED : STORE_OBJECT;
    }
    ASSERT(false);
    return STORE_OBJECT;
}

static struct mem_event *op_event(struct mem_op *op, enum silo_code code, const char *text)
{
    struct store_db *named = op->lent ? NULL : op->db;
    struct mem_event *entry = event_push(op->queue, op_event_kind(op), code, op->token, named);
    (void)snprintf(entry->event.text, sizeof entry->event.text, "%s", text);
    return entry;
}

static const char *code_text(enum silo_code code)
{
    return code == SILO_CONFLICT ? "fenced: somebody else opened this database"
                                 : silo_code_name(code);
}

/* Every operation of the database but its close ends now, in the order of the calls. */
static void db_fail_ops(struct store_db *db, enum silo_code code, const char *text)
{
    struct store *store = db->store;
    struct list_node *next = NULL;
    for (struct list_node *node = list_first(&store->pending); node != NULL; node = next) {
        next = list_next(&store->pending, node);
        struct mem_op *op = CONTAINER_OF(node, struct mem_op, node);
        if (op->db == db && op->kind != STORE_MEM_CLOSE) {
            (void)op_event(op, code, text);
            op_discard(store, op);
        }
    }
}

void db_down(struct store_db *db, enum silo_code code, const char *text)
{
    if (db->down != SILO_OK || db->dead) {
        return;
    }
    db->down = code;
    struct mem_event *entry = event_push(db->queue, STORE_DOWN, code, 0, db);
    (void)snprintf(entry->event.text, sizeof entry->event.text, "%s", text);
    db_fail_ops(db, code, text);
}

/* --- completing: each makes its event; the operation is freed by the caller --- */

static void open_complete(struct store *store, struct mem_op *op)
{
    struct mem_path *path = path_find(store, op->name);
    if (op->guarded && op->expected_epoch != (path != NULL ? path->epoch : 0)) {
        (void)op_event(op, SILO_CONFLICT, "another writer was first");
        return;
    }
    const bool elsewhere = path != NULL && path->homed && path->home != op->queue->machine;
    if (op->apart && elsewhere && !path->clean) {
        (void)op_event(op, SILO_CORRUPT,
                       "the write-ahead log is not there: another machine has it");
        return;
    }
    if (path == NULL) {
        path = path_new(store, op->name);
    }
    const uint64_t epoch = path->epoch + 1;
    if (op->fault != SILO_OK) {
        if (op->fault_effect) {
            path_take(path, NULL);
            path->epoch = epoch;
        }
        op_event(op, op->fault, code_text(op->fault))->event.epoch = epoch;
        return;
    }
    path->epoch = epoch;
    struct store_db *db = db_new(store, op->queue, path, op->bytes_max);
    db->apart = path->homed = op->apart;
    path->home = op->queue->machine;
    path->clean = false;
    struct mem_event *entry = op_event(op, SILO_OK, "");
    entry->event.db = db;
    entry->event.epoch = epoch;
    entry->event.seq = db->image->durable;
    const struct store_mem_watch *watch = &store->options.watch;
    if (watch->opened != NULL) {
        watch->opened(watch->context, op->queue, op->name, epoch);
    }
}

static void close_complete(struct mem_op *op)
{
    struct store_db *db = op->db;
    enum silo_code code = op->fault;
    const bool flushes = op->close_how != STORE_CLOSE_DROP;
    if (!flushes) {
        db_fail_ops(db, SILO_UNAVAILABLE, "the database was closed before this ended");
    }
    if (db->down != SILO_OK) {
        code = db->down;
    } else if (flushes && db_fenced(db)) {
        code = SILO_CONFLICT;
    } else if (flushes && (op->fault == SILO_OK || op->fault_effect)) {
        image_flush(db->image, db->image->applied);
        if (op->close_how == STORE_CLOSE_MEMTABLE && !db->store->hurried) {
            image_sort(db->image, db->image->applied);
        }
    }
    struct mem_event *entry = op_event(op, code, code != SILO_OK ? code_text(code) : "");
    entry->event.seq = db->image->durable;
    entry->event.empty = code == SILO_OK && flushes && db->image->sorted == db->image->applied;
    db->path->clean = db->path->clean || (db->apart && entry->event.empty);
    op->db = NULL;
    db->ops_count--;
    db_kill(db, db->image->durable);
}

static void write_complete(struct store *store, struct mem_op *op)
{
    struct store_db *db = op->db;
    if (op->fault == SILO_OK || op->fault_effect) {
        image_apply(db->image, op->bufs, op->bufs_count, op->bytes, &store->counts);
    }
    if (op->fault != SILO_OK) {
        if (op->fault_effect && !db_fenced(db)) {
            image_flush(db->image, db->image->applied);
        }
        (void)op_event(op, op->fault, code_text(op->fault));
        return;
    }
    op_event(op, SILO_OK, "")->event.seq = db->image->applied;
}

static void flush_complete(struct mem_op *op)
{
    struct store_db *db = op->db;
    if (db_fenced(db)) {
        op->fault = SILO_CONFLICT;
        op->fault_effect = false;
    }
    if (op->fault == SILO_OK || op->fault_effect) {
        image_flush(db->image, op->seq);
        if (op->memtable) {
            image_sort(db->image, op->seq);
        }
    }
    op_event(op, op->fault, op->fault != SILO_OK ? code_text(op->fault) : "")->event.seq =
        db->image->durable;
}

static void refresh_complete(struct mem_op *op)
{
    if (op->fault == SILO_OK && db_fenced(op->db)) {
        op->fault = SILO_CONFLICT;
    }
    op_event(op, op->fault, op->fault != SILO_OK ? code_text(op->fault) : "")->event.seq =
        op->db->image->durable;
}

static void pack_row(struct buf *buf, struct bytes key, struct bytes value, bool present)
{
    const uint32_t size = present ? (uint32_t)value.len : STORE_ABSENT;
    const uint8_t head[8] = {
        (uint8_t)key.len,      (uint8_t)(key.len >> 8), 0, 0, (uint8_t)size, (uint8_t)(size >> 8),
        (uint8_t)(size >> 16), (uint8_t)(size >> 24)};
    buf_append(buf, head, sizeof head);
    buf_append(buf, key.ptr, key.len);
    buf_append(buf, value.ptr, present ? value.len : 0);
}

static void rows_event(struct store *store, struct mem_op *op, struct buf *buf, uint32_t count,
                       bool more)
{
    struct mem_event *entry = op_event(op, SILO_OK, "");
    entry->event.owned[0] = buf->ptr;
    entry->event.rows = (struct store_rows){.data = buf_bytes(buf), .count = count};
    if (more) {
        entry->event.iter = op->iter;
        entry->owns_iter = op->iter_fresh;
        op->iter_fresh = false;
    }
    store->counts.rows_read += count;
}

static void mget_complete(struct store *store, struct mem_op *op)
{
    if (op->view.image == NULL) {
        view_pin(&op->view, op->db->image, op->db->image->applied);
    }
    struct buf buf;
    buf_init(&buf, SIZE_MAX / 2);
    for (size_t i = 0; i < op->keys_count; i++) {
        struct bytes value = BYTES_NONE;
        const bool present =
            ordered_rows_get(op->view.image->rows, op->keys[i], op->view.seq, &value);
        pack_row(&buf, op->keys[i], value, present);
    }
    rows_event(store, op, &buf, (uint32_t)op->keys_count, false);
}

/*
 * What is left of the iterator's range begins after (downwards: ends before) the last key of the
 * page.
 */
static void iter_advance(struct store_iter *iter, struct bytes last)
{
    ASSERT(last.ptr != NULL); /* a page with more behind it has a row */
    uint8_t *bound = xmalloc(last.len + 1);
    memcpy(bound, last.ptr, last.len);
    if (iter->descending) {
        free(iter->hi);
        iter->hi = bound;
        iter->hi_len = last.len;
    } else {
        bound[last.len] = 0; /* the key's successor */
        free(iter->lo);
        iter->lo = bound;
        iter->lo_len = last.len + 1;
    }
}

static void scan_complete(struct store *store, struct mem_op *op)
{
    struct store_iter *iter = op->iter;
    if (iter->view.image == NULL) {
        view_pin(&iter->view, op->db->image, op->db->image->applied);
    }
    struct buf buf;
    buf_init(&buf, SIZE_MAX / 2);
    uint32_t count = 0;
    bool more = false;
    struct bytes key, value, last = BYTES_NONE;
    const struct bytes lo = bytes_of(iter->lo, iter->lo_len), hi = bytes_of(iter->hi, iter->hi_len);
    struct rows_cursor cursor =
        ordered_rows_seek(iter->view.image->rows, lo, hi, iter->descending, iter->view.seq);
    while (rows_cursor_next(&cursor, &key, &value)) {
        if ((op->rows_max != 0 && count == op->rows_max) || buf.len > op->bytes_max) {
            more = true;
            break;
        }
        pack_row(&buf, key, iter->keys_only ? BYTES_NONE : value, true);
        count++;
        last = key;
    }
    if (more) {
        iter_advance(iter, last);
    }
    iter->busy = false;
    rows_event(store, op, &buf, count, more);
}

static void op_complete(struct store *store, struct mem_op *op)
{
    struct store_db *db = op->db;
    if (op->fault != SILO_OK) {
        (void)snprintf(store->last_error, sizeof store->last_error, "injected: %s",
                       silo_code_name(op->fault));
    }
    switch (op->kind) {
    case STORE_MEM_OPEN:
        open_complete(store, op);
        break;
    case STORE_MEM_CLOSE:
        close_complete(op);
        break;
    case STORE_MEM_WRITE:
        write_complete(store, op);
        break;
    case STORE_MEM_FLUSH:
        flush_complete(op);
        break;
    case STORE_MEM_REFRESH:
        refresh_complete(op);
        break;
    case STORE_MEM_MGET:
    case STORE_MEM_SCAN:
        if (op->fault != SILO_OK) {
            (void)op_event(op, op->fault, code_text(op->fault));
        } else if (op->kind == STORE_MEM_MGET) {
            mget_complete(store, op);
        } else {
            scan_complete(store, op);
        }
        break;
    case STORE_MEM_OBJECT:
        object_complete(store, op);
        break;
    }
    /* A write or flush that failed ends the handle; a refresh only when it tells of a fence. */
    const enum silo_code fault = op->fault;
    const bool down = op->kind == STORE_MEM_WRITE || op->kind == STORE_MEM_FLUSH ||
                      (op->kind == STORE_MEM_REFRESH && fault == SILO_CONFLICT);
    op_discard(store, op);
    if (fault != SILO_OK && down) {
        db_down(db, fault, code_text(fault));
    }
}

/* --- choosing --- */

bool op_free_to_run(const struct store *store, const struct mem_op *op)
{
    const bool drops = op->kind == STORE_MEM_CLOSE && op->close_how == STORE_CLOSE_DROP;
    const bool begins = op->kind == STORE_MEM_FLUSH && !op->started;
    const uint32_t outage = store->outage | (op->queue->cut ? STORE_MEM_REMOTE : 0);
    if ((outage & STORE_MEM_BIT(op->kind)) != 0 && !drops && !begins) {
        return false;
    }
    if (op->kind == STORE_MEM_WRITE) {
        return list_first(&op->db->writes) == &op->line;
    }
    if (op->kind == STORE_MEM_FLUSH) {
        return list_first(&op->db->flushes) == &op->line && op->db->writes_ended >= op->after;
    }
    return op->kind != STORE_MEM_CLOSE || drops || op->db->ops_count == 1;
}

static struct mem_op *op_choose(struct store *store)
{
    const int64_t now_ms = mem_now_ms(store);
    struct mem_op *best = NULL;
    uint64_t candidates = 0;
    for (struct list_node *node = list_first(&store->pending); node != NULL;
         node = list_next(&store->pending, node)) {
        struct mem_op *op = CONTAINER_OF(node, struct mem_op, node);
        if (op->turn_ready > store->turn || op->due_ms > now_ms || !op_free_to_run(store, op)) {
            continue;
        }
        candidates++;
        if (store->options.shuffle) {
            best = mem_random_below(store, candidates) == 0 ? op : best;
        } else if (best == NULL || op->due_ms < best->due_ms) {
            best = op;
        }
        if (!store->options.shuffle && store->options.env == NULL) {
            break; /* all are due alike: the oldest it is */
        }
    }
    return best;
}

bool mem_complete_one(struct store *store)
{
    struct mem_op *op = op_choose(store);
    while (op != NULL && op->kind == STORE_MEM_FLUSH && !op->started) {
        op->started = true;
        op->seq = op->db->image->applied;
        op_schedule(store, op, false);
        op = op_choose(store);
    }
    if (op == NULL) {
        return false;
    }
    op_complete(store, op);
    return true;
}

bool mem_ready(const struct store *store, const struct store_queue *queue)
{
    const int64_t now_ms = mem_now_ms(store);
    for (struct list_node *node = list_first(&store->pending); node != NULL;
         node = list_next(&store->pending, node)) {
        const struct mem_op *op = CONTAINER_OF(node, struct mem_op, node);
        if ((queue == NULL || op->queue == queue) && op->due_ms <= now_ms &&
            op_free_to_run(store, op)) {
            return true;
        }
    }
    return false;
}

void mem_signal(struct store *store)
{
    for (struct list_node *node = list_first(&store->queues); node != NULL;
         node = list_next(&store->queues, node)) {
        struct store_queue *queue = CONTAINER_OF(node, struct store_queue, node);
        queue_signal(queue, !list_empty(&queue->events) ||
                                (!store->options.manual && mem_ready(store, queue)));
    }
}
