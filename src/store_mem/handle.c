/*
 * store_mem/handle.c - life and death of databases, iterators, operations and events.
 *
 *   path --owner--> db --image--> image      a handle that owns its path: both have the same image
 *   path --owner--> other db                 a fenced handle: its image is its own
 *   path, no owner                           the image is durable to its end
 *
 * A handle lives from its open to the free of its STORE_CLOSED (two names for that: dead = nothing
 * of it moves any more, freed = its memory is gone). A crash leaves it dead, since its user may
 * still hold it.
 */
#include <unistd.h>

#include "base/assert.h"
#include "store_mem/store_mem_int.h"

struct mem_path *path_find(struct store *store, const char *name)
{
    for (struct list_node *node = list_first(&store->paths); node != NULL;
         node = list_next(&store->paths, node)) {
        struct mem_path *path = CONTAINER_OF(node, struct mem_path, node);
        if (strcmp(path->name, name) == 0) {
            return path;
        }
    }
    return NULL;
}

struct mem_path *path_new(struct store *store, const char *name)
{
    struct mem_path *path = xcalloc(1, sizeof *path);
    path->name = xstrdup(name);
    path->image = image_new();
    list_init(&path->checkpoints);
    list_push_back(&store->paths, &path->node);
    return path;
}

void path_take(struct mem_path *path, struct store_db *owner)
{
    if (path->owner != NULL) {
        struct mem_image *old = path->image;
        path->image = image_cut(old, old->durable);
        image_unref(old);
    }
    ASSERT(path->image->durable == path->image->applied);
    path->owner = owner;
}

struct store_db *db_new(struct store *store, struct store_queue *queue, struct mem_path *path,
                        size_t bytes_max)
{
    struct store_db *db = xcalloc(1, sizeof *db);
    db->base = store->base;
    db->refs = 1;
    db->store = store;
    db->queue = queue;
    db->path = path;
    db->bytes_max = bytes_max;
    list_init(&db->writes);
    list_init(&db->flushes);
    list_push_back(&store->dbs, &db->node);
    path_take(path, db);
    db->image = image_ref(path->image);
    return db;
}

void db_unref(struct store_db *db)
{
    if (--db->refs == 0) {
        ASSERT(db->dead);
        list_remove(&db->node);
        free(db);
    }
}

bool db_fenced(const struct store_db *db)
{
    return db->path->owner != db;
}

void db_kill(struct store_db *db, uint64_t seq)
{
    ASSERT(!db->dead && db->ops_count == 0);
    if (!db_fenced(db)) {
        struct mem_path *path = db->path;
        image_flush(path->image, seq);
        if (path->image->applied != seq) {
            struct mem_image *old = path->image;
            path->image = image_cut(old, seq);
            image_unref(old);
        }
        path->owner = NULL;
    }
    image_unref(db->image);
    db->image = NULL;
    db->closing = db->dead = true;
}

void iter_release(struct store_iter *iter)
{
    ASSERT(!iter->busy);
    iter->db->store->views_count--;
    view_unpin(&iter->view);
    db_unref(iter->db);
    free(iter->lo);
    free(iter->hi);
    free(iter);
}

void op_discard(struct store *store, struct mem_op *op)
{
    list_remove(&op->node);
    list_remove(&op->line);
    store->pending_count--;
    struct store_db *db = op->db;
    if (db != NULL) {
        db->ops_count--;
        db->reads_count -= op->kind == STORE_MEM_MGET || op->kind == STORE_MEM_SCAN;
        db->flushes_count -= op->kind == STORE_MEM_FLUSH;
        db->accepted_bytes -= op->kind == STORE_MEM_WRITE ? op->bytes : 0;
        db->writes_ended += op->kind == STORE_MEM_WRITE;
    }
    if (op->iter != NULL) {
        op->iter->busy = false;
        if (op->iter_fresh) {
            iter_release(op->iter);
        }
    }
    view_unpin(&op->view);
    for (size_t i = 0; i < op->bufs_count; i++) {
        free(op->bufs[i].ptr);
    }
    free(op->bufs);
    free(op->keys);
    free(op->name);
    free(op->data);
    mem_clone_free(op->clone);
    free(op);
}

void ops_discard(struct store *store, const struct store_queue *queue)
{
    struct list_node *next = NULL;
    for (struct list_node *node = list_first(&store->pending); node != NULL; node = next) {
        next = list_next(&store->pending, node);
        struct mem_op *op = CONTAINER_OF(node, struct mem_op, node);
        if (queue == NULL || op->queue == queue) {
            op_discard(store, op);
        }
    }
}

void ops_discard_db(struct store_db *db)
{
    struct list_node *next = NULL;
    for (struct list_node *node = list_first(&db->store->pending); node != NULL; node = next) {
        next = list_next(&db->store->pending, node);
        struct mem_op *op = CONTAINER_OF(node, struct mem_op, node);
        if (op->db == db) {
            op_discard(db->store, op);
        }
    }
}

struct mem_event *event_push(struct store_queue *queue, enum store_event_kind kind,
                             enum silo_code code, uint64_t token, struct store_db *db)
{
    struct mem_event *entry = xcalloc(1, sizeof *entry);
    entry->event = (struct store_event){.kind = kind, .rc = {code}, .token = token, .db = db};
    list_push_back(&queue->events, &entry->node);
    queue_signal(queue, true);
    return entry;
}

void event_release(struct store_event *event)
{
    free(event->owned[0]);
    if (event->kind == STORE_CLOSED && event->db != NULL) {
        db_unref(event->db);
    }
}

void queue_clear(struct store_queue *queue)
{
    struct mem_event *entry;
    while ((entry = LIST_ENTRY(list_pop_front(&queue->events), struct mem_event, node)) != NULL) {
        if (entry->owns_iter) {
            iter_release(entry->event.iter);
        }
        event_release(&entry->event);
        free(entry);
    }
}

void queue_signal(struct store_queue *queue, bool on)
{
    if (queue->signalled == on) {
        return;
    }
    uint64_t count = 1;
    const ssize_t done =
        on ? write(queue->fd, &count, sizeof count) : read(queue->fd, &count, sizeof count);
    ASSERT(done == (ssize_t)sizeof count); /* an eventfd that holds 0 or 1 */
    queue->signalled = on;
}
