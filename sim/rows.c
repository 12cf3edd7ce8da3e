/* sim/rows.c - a sorted array; batches are small and so are simulated databases. */
#include "sim/rows.h"

#include "base/assert.h"

static void row_release(struct stored_row *row)
{
    free((void *)(uintptr_t)row->key.ptr);
    free((void *)(uintptr_t)row->value.ptr);
}

void rows_clear(struct rows *rows)
{
    for (size_t i = 0; i < rows->count; i++) {
        row_release(&rows->items[i]);
    }
    rows->count = 0;
}

void rows_deinit(struct rows *rows)
{
    rows_clear(rows);
    free(rows->items);
}

size_t rows_lower(const struct rows *rows, struct bytes key)
{
    size_t lo = 0;
    size_t hi = rows->count;
    while (lo < hi) {
        const size_t mid = lo + (hi - lo) / 2;
        if (bytes_cmp(rows->items[mid].key, key) < 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

const struct stored_row *rows_find(const struct rows *rows, struct bytes key)
{
    const size_t at = rows_lower(rows, key);
    return at < rows->count && bytes_eq(rows->items[at].key, key) ? &rows->items[at] : NULL;
}

const struct stored_row *rows_first(const struct rows *rows, struct bytes prefix)
{
    const size_t at = rows_lower(rows, prefix);
    return at < rows->count && bytes_starts(rows->items[at].key, prefix) ? &rows->items[at] : NULL;
}

const struct stored_row *rows_next(const struct rows *rows, const struct stored_row *row,
                                   struct bytes prefix)
{
    const size_t at = (size_t)(row - rows->items) + 1;
    return at < rows->count && bytes_starts(rows->items[at].key, prefix) ? &rows->items[at] : NULL;
}

static void rows_put(struct rows *rows, struct bytes key, struct bytes value)
{
    const size_t at = rows_lower(rows, key);
    if (at < rows->count && bytes_eq(rows->items[at].key, key)) {
        free((void *)(uintptr_t)rows->items[at].value.ptr);
        rows->items[at].value = bytes_dup(value);
        return;
    }
    if (rows->count == rows->cap) {
        rows->cap = rows->cap != 0 ? rows->cap * 2 : 256;
        rows->items = xrealloc(rows->items, rows->cap * sizeof rows->items[0]);
    }
    memmove(&rows->items[at + 1], &rows->items[at], (rows->count - at) * sizeof rows->items[0]);
    rows->items[at] = (struct stored_row){.key = bytes_dup(key), .value = bytes_dup(value)};
    rows->count++;
}

static void rows_del(struct rows *rows, struct bytes key)
{
    const size_t at = rows_lower(rows, key);
    if (at < rows->count && bytes_eq(rows->items[at].key, key)) {
        row_release(&rows->items[at]);
        rows->count--;
        memmove(&rows->items[at], &rows->items[at + 1], (rows->count - at) * sizeof rows->items[0]);
    }
}

static void rows_take(void *context, struct bytes key, struct bytes value)
{
    rows_put(context, key, value);
}

void rows_load(struct rows *rows, struct store *store, const char *path, bool durable)
{
    rows_clear(rows);
    if (durable) {
        store_mem_each_durable(store, path, rows_take, rows);
    } else {
        store_mem_each_applied(store, path, rows_take, rows);
    }
}

static size_t number_le(const uint8_t *p, int bytes)
{
    size_t v = 0;
    for (int i = bytes - 1; i >= 0; i--) {
        v = v << 8 | p[i];
    }
    return v;
}

bool row_op_next(struct bytes *at, struct row_op *ret)
{
    if (at->len == 0) {
        return false;
    }
    ASSERT(at->len >= store_op_size(0, 0));
    const size_t key_len = number_le(at->ptr + 2, 2);
    const size_t value_len = number_le(at->ptr + 4, 4);
    const size_t size = store_op_size(key_len, value_len);
    ASSERT(at->len >= size);
    ret->del = at->ptr[0] == 1;
    ret->key = bytes_of(at->ptr + size - value_len - key_len, key_len);
    ret->value = bytes_of(at->ptr + size - value_len, value_len);
    *at = bytes_of(at->ptr + size, at->len - size);
    return true;
}

void rows_apply(struct rows *rows, struct bytes batch)
{
    struct row_op op;
    while (row_op_next(&batch, &op)) {
        if (op.del) {
            rows_del(rows, op.key);
        } else {
            rows_put(rows, op.key, op.value);
        }
    }
}
