/*
 * store_mem/clone.c - databases out of databases: checkpoints, clones with a part of the rows, and
 * the removal of what hangs together.
 *
 *   path ──checkpoints──► image as it was          a clone has rows of its own, as the engine's
 *     ▲                                            readers would see them; what it refers to is
 *     └────parent──── clone's path                 kept as a number: clones of its parent
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/assert.h"
#include "store_mem/store_mem_int.h"

/* --- calls --- */

static char *text_copy(const char *text)
{
    return text != NULL && text[0] != '\0' ? xstrdup(text) : NULL;
}

static SILO_RC clone_call(struct store *store, struct store_queue *queue, enum mem_object object,
                          const struct store_open_args *args, struct mem_clone *clone,
                          uint64_t token, struct silo_err *err)
{
    struct mem_op *op = object_op(queue, object, args->path, token);
    if (op == NULL) {
        mem_clone_free(clone);
        return FAIL(err, SILO_INVALID, "a database needs a path");
    }
    op->clone = clone;
    op->guarded = args->guarded;
    op->expected_epoch = args->expected_epoch;
    mem_lock(store);
    op_enqueue(store, op);
    mem_unlock(store);
    return RC_OK;
}

silo_rc mem_db_checkpoint(struct store *store, struct store_queue *queue,
                          const struct store_open_args *args, uint64_t token, struct silo_err *err)
{
    return clone_call(store, queue, OBJECT_DB_CHECKPOINT, args, NULL, token, err);
}

silo_rc mem_db_checkpoint_drop(struct store *store, struct store_queue *queue,
                               const struct store_open_args *args, const char *checkpoint,
                               uint64_t token, struct silo_err *err)
{
    struct mem_clone *clone = xcalloc(1, sizeof *clone);
    clone->checkpoint = text_copy(checkpoint);
    return clone_call(store, queue, OBJECT_DB_CHECKPOINT_DROP, args, clone, token, err);
}

silo_rc mem_db_clone(struct store *store, struct store_queue *queue,
                     const struct store_open_args *to, const struct store_clone_args *args,
                     uint64_t token, struct silo_err *err)
{
    struct mem_clone *clone = xcalloc(1, sizeof *clone);
    clone->from = text_copy(args->from);
    clone->checkpoint = text_copy(args->checkpoint);
    clone->count = args->ranges_count < STORE_RANGES_MAX ? args->ranges_count : STORE_RANGES_MAX;
    clone->ranges = xcalloc(clone->count + 1, sizeof clone->ranges[0]);
    for (size_t i = 0; i < clone->count; i++) {
        clone->ranges[i] =
            (struct store_range){bytes_dup(args->ranges[i].lo), bytes_dup(args->ranges[i].hi)};
    }
    return clone_call(store, queue, OBJECT_DB_CLONE, to, clone, token, err);
}

void mem_clone_free(struct mem_clone *clone)
{
    if (clone == NULL) {
        return;
    }
    for (size_t i = 0; i < clone->count; i++) {
        free((uint8_t *)clone->ranges[i].lo.ptr);
        free((uint8_t *)clone->ranges[i].hi.ptr);
    }
    free(clone->ranges);
    free(clone->from);
    free(clone->checkpoint);
    free(clone);
}

/* --- checkpoints --- */

static struct mem_checkpoint *checkpoint_find(struct mem_path *path, const char *id)
{
    for (struct list_node *node = list_first(&path->checkpoints); node != NULL;
         node = list_next(&path->checkpoints, node)) {
        struct mem_checkpoint *found = CONTAINER_OF(node, struct mem_checkpoint, node);
        if (id != NULL && strcmp(found->id, id) == 0) {
            return found;
        }
    }
    return NULL;
}

static void checkpoint_free(struct mem_checkpoint *checkpoint)
{
    list_remove(&checkpoint->node);
    image_unref(checkpoint->image);
    free(checkpoint);
}

void path_forget_checkpoints(struct mem_path *path)
{
    struct list_node *node = NULL;
    while ((node = list_first(&path->checkpoints)) != NULL) {
        checkpoint_free(CONTAINER_OF(node, struct mem_checkpoint, node));
    }
}

enum silo_code checkpoint_complete(struct store *store, struct mem_op *op, struct mem_event *entry)
{
    struct mem_path *path = path_find(store, op->name);
    if (!op->guarded) {
        return SILO_INVALID;
    }
    if (path == NULL || path->epoch == 0) {
        return SILO_NOT_FOUND;
    }
    if (path->epoch != op->expected_epoch) {
        return SILO_CONFLICT;
    }
    if (path->image->sorted != path->image->durable) {
        return SILO_INVALID; /* something is left to replay */
    }
    struct mem_checkpoint *made = xcalloc(1, sizeof *made);
    (void)snprintf(made->id, sizeof made->id, "%" PRIu64, ++store->checkpoints_made);
    made->image = image_cut(path->image, path->image->durable);
    made->epoch = path->epoch;
    list_push_back(&path->checkpoints, &made->node);
    entry->event.owned[0] = xstrdup(made->id);
    entry->event.rows = (struct store_rows){.data = bytes_str(entry->event.owned[0]), .count = 1};
    return SILO_OK;
}

enum silo_code checkpoint_drop_complete(struct store *store, struct mem_op *op)
{
    struct mem_path *path = path_find(store, op->name);
    struct mem_checkpoint *found =
        path != NULL ? checkpoint_find(path, op->clone->checkpoint) : NULL;
    if (found != NULL) {
        checkpoint_free(found);
    }
    return SILO_OK;
}

/* --- clones --- */

/* Its end is in the range's own table, or where the next one begins. */
static bool range_good(const struct mem_clone *clone, size_t i)
{
    const struct store_range *range = &clone->ranges[i];
    if (range->lo.len == 0) {
        return false;
    }
    for (size_t other = 0; other < i; other++) {
        if (clone->ranges[other].lo.ptr[0] == range->lo.ptr[0]) {
            return false;
        }
    }
    return range->hi.len == 0 || range->hi.ptr[0] == range->lo.ptr[0] ||
           (range->hi.len == 1 && range->hi.ptr[0] == range->lo.ptr[0] + 1);
}

static bool clone_keeps(const struct mem_clone *clone, struct bytes key)
{
    for (size_t i = 0; i < clone->count; i++) {
        const struct store_range *range = &clone->ranges[i];
        if (range->lo.ptr[0] == key.ptr[0]) {
            return bytes_cmp(range->lo, key) <= 0 &&
                   (range->hi.len == 0 || bytes_cmp(key, range->hi) < 0);
        }
    }
    return true;
}

static struct mem_image *image_part(const struct mem_image *image, const struct mem_clone *clone)
{
    struct mem_image *part = image_new();
    part->applied = part->durable = part->sorted = image->applied;
    struct bytes key;
    struct bytes value;
    struct rows_cursor cursor =
        ordered_rows_seek(image->rows, BYTES_NONE, BYTES_NONE, false, image->applied);
    while (rows_cursor_next(&cursor, &key, &value)) {
        if (clone_keeps(clone, key)) {
            ordered_rows_put(part->rows, key, value, part->applied, part->applied);
        }
    }
    return part;
}

enum silo_code clone_complete(struct store *store, struct mem_op *op)
{
    const struct mem_clone *clone = op->clone;
    for (size_t i = 0; i < clone->count; i++) {
        if (!range_good(clone, i)) {
            return SILO_INVALID;
        }
    }
    struct mem_path *from = clone->from != NULL ? path_find(store, clone->from) : NULL;
    const struct mem_checkpoint *checkpoint =
        from != NULL ? checkpoint_find(from, clone->checkpoint) : NULL;
    if (checkpoint == NULL) {
        return SILO_NOT_FOUND;
    }
    struct mem_path *to = path_find(store, op->name);
    if (to != NULL && to->epoch != 0) {
        const bool same = to->parent == from && to->epoch == checkpoint->epoch;
        return same ? SILO_OK : SILO_EXISTS;
    }
    if (to == NULL) {
        to = path_new(store, op->name);
    }
    image_unref(to->image);
    to->image = image_part(checkpoint->image, clone);
    to->epoch = checkpoint->epoch;
    to->parent = from;
    from->clones++;
    return SILO_OK;
}

void store_mem_detach(struct store *store, const char *name)
{
    mem_lock(store);
    struct mem_path *path = path_find(store, name);
    if (path != NULL) {
        path_detach(path);
    }
    mem_unlock(store);
}

void path_detach(struct mem_path *path)
{
    if (path->parent != NULL) {
        path->parent->clones--;
        path->parent = NULL;
    }
}

enum silo_code remove_complete(struct store *store, const char *name)
{
    struct mem_path *path = path_find(store, name);
    if (path == NULL || path->owner != NULL) {
        return SILO_OK;
    }
    if (path->clones != 0) {
        return SILO_CONFLICT;
    }
    path_forget_checkpoints(path);
    path_detach(path);
    image_unref(path->image);
    path->image = image_new();
    path->epoch = 0;
    path->homed = path->clean = false;
    return SILO_OK;
}
