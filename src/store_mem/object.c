/*
 * store_mem/object.c - the object calls: a sorted set of names with their bytes. An object
 * never changes. And the calls on databases nobody has open.
 *
 * Prefixes are whole path parts, as in object stores' directories: "a/b" has "a/b" and "a/b/c"
 * below it, not "a/bc".
 */
#include <stdio.h>

#include "base/assert.h"
#include "base/buf.h"
#include "store_mem/store_mem_int.h"

static bool name_below(struct bytes name, struct bytes prefix)
{
    while (prefix.len != 0 && prefix.ptr[prefix.len - 1] == '/') {
        prefix.len--;
    }
    return prefix.len == 0 ||
           (bytes_starts(name, prefix) && (name.len == prefix.len || name.ptr[prefix.len] == '/'));
}

static void event_data(struct mem_event *entry, struct buf *buf, uint32_t count)
{
    entry->event.owned[0] = buf->ptr;
    entry->event.rows = (struct store_rows){.data = buf_bytes(buf), .count = count};
}

static void object_list(struct store *store, struct bytes prefix, struct mem_event *entry)
{
    struct buf text;
    buf_init(&text, SIZE_MAX / 2);
    uint32_t count = 0;
    struct bytes name, data;
    struct rows_cursor cursor =
        ordered_rows_seek(store->objects, BYTES_NONE, BYTES_NONE, false, store->objects_seq);
    while (rows_cursor_next(&cursor, &name, &data)) {
        if (name_below(name, prefix)) {
            buf_append(&text, name.ptr, name.len);
            buf_u8(&text, '\n');
            count++;
        }
    }
    event_data(entry, &text, count);
}

static uint64_t db_epoch(struct store *store, const char *name)
{
    const struct mem_path *path = path_find(store, name);
    return path != NULL ? path->epoch : 0;
}

/* Does it; the code it ends in. */
static enum silo_code object_do(struct store *store, struct mem_op *op, struct mem_event *entry)
{
    const struct bytes name = bytes_str(op->name);
    struct bytes data;
    switch (op->object) {
    case OBJECT_GET:
        if (!ordered_rows_get(store->objects, name, store->objects_seq, &data)) {
            return SILO_NOT_FOUND;
        }
        struct buf copy;
        buf_init(&copy, SIZE_MAX / 2);
        buf_append(&copy, data.ptr, data.len);
        event_data(entry, &copy, 1);
        return SILO_OK;
    case OBJECT_PUT_NEW:
        if (ordered_rows_get(store->objects, name, store->objects_seq, &data)) {
            return SILO_EXISTS;
        }
        store->objects_seq++;
        ordered_rows_put(store->objects, name, bytes_of(op->data, op->data_len), store->objects_seq,
                         store->objects_seq);
        return SILO_OK;
    case OBJECT_LIST:
        object_list(store, name, entry);
        return SILO_OK;
    case OBJECT_DB_EPOCH:
        entry->event.seq = db_epoch(store, op->name);
        return SILO_OK;
    case OBJECT_DB_CHECKPOINT:
        return checkpoint_complete(store, op, entry);
    case OBJECT_DB_CHECKPOINT_DROP:
        return checkpoint_drop_complete(store, op);
    case OBJECT_DB_CLONE:
        return clone_complete(store, op);
    case OBJECT_DB_REMOVE:
        return remove_complete(store, op->name);
    case OBJECT_SELFTEST:
        return SILO_OK;
    }
    ASSERT(false);
    return SILO_INTERNAL;
}

void object_complete(struct store *store, struct mem_op *op)
{
    struct mem_event *entry =
        event_push(op->queue, op->object == OBJECT_SELFTEST ? STORE_TESTED : STORE_OBJECT, SILO_OK,
                   op->token, NULL);
    struct store_event *event = &entry->event;
    if (op->fault == SILO_OK || op->fault_effect) {
        event->rc.code = object_do(store, op, entry);
    }
    if (op->fault != SILO_OK) {
        free(event->owned[0]);
        event->owned[0] = NULL;
        event->rows = (struct store_rows){.count = 0};
        event->rc.code = op->fault;
    }
    if (event->rc.code != SILO_OK) {
        (void)snprintf(event->text, sizeof event->text, "%s: %s", op->name,
                       silo_code_name(event->rc.code));
    }
}
