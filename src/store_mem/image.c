/*
 * store_mem/image.c - the data of a database in memory.
 *
 *   versions of rows    1 .. durable .. applied
 *   a crash keeps       [------------]  and any prefix of the batches behind it
 *   a new owner sees    [------------]
 *   a view sees         [---------] up to its own sequence
 *
 * Two owners of one path never share an image: what the fenced one still writes must not reach the
 * other.
 */
#include "base/assert.h"
#include "store_mem/store_mem_int.h"

struct mem_image *image_new(void)
{
    struct mem_image *image = xcalloc(1, sizeof *image);
    image->refs = 1;
    image->rows = ordered_rows_new();
    list_init(&image->batches);
    list_init(&image->views);
    return image;
}

struct mem_image *image_ref(struct mem_image *image)
{
    image->refs++;
    return image;
}

/* Batches up to seq are no longer among the undurable ones. */
static void batches_drop(struct mem_image *image, uint64_t seq)
{
    for (;;) {
        struct mem_batch *batch = LIST_ENTRY(list_first(&image->batches), struct mem_batch, node);
        if (batch == NULL || batch->seq > seq) {
            return;
        }
        list_remove(&batch->node);
        image->undurable_bytes -= batch->bytes;
        free(batch);
    }
}

void image_unref(struct mem_image *image)
{
    if (image == NULL || --image->refs != 0) {
        return;
    }
    ASSERT(list_empty(&image->views));
    batches_drop(image, UINT64_MAX);
    (void)ordered_rows_free(image->rows);
    free(image);
}

struct mem_image *image_cut(const struct mem_image *image, uint64_t seq)
{
    ASSERT(image->durable <= seq && seq <= image->applied);
    struct mem_image *cut = image_new();
    (void)ordered_rows_free(cut->rows);
    cut->rows = ordered_rows_clone(image->rows, seq);
    cut->applied = cut->durable = seq;
    cut->sorted = image->sorted;
    return cut;
}

/* The least sequence somebody reads at, now or after a crash. */
static uint64_t image_floor(const struct mem_image *image)
{
    uint64_t floor = image->durable;
    for (struct list_node *node = list_first(&image->views); node != NULL;
         node = list_next(&image->views, node)) {
        const struct mem_view *view = CONTAINER_OF(node, struct mem_view, node);
        floor = view->seq < floor ? view->seq : floor;
    }
    return floor;
}

static void apply_buf(struct mem_image *image, const struct store_buf *buf, uint64_t floor,
                      struct store_mem_counts *counts)
{
    const uint8_t *p = buf->ptr;
    for (const uint8_t *end = p + buf->len; p != end;) {
        const size_t key_len = (size_t)p[2] | (size_t)p[3] << 8;
        const size_t value_len =
            (size_t)p[4] | (size_t)p[5] << 8 | (size_t)p[6] << 16 | (size_t)p[7] << 24;
        const struct bytes key = bytes_of(p + 8, key_len);
        if (p[0] != 0) {
            ordered_rows_delete(image->rows, key, image->applied, floor);
            counts->deletes[key.ptr[0]]++;
        } else {
            ordered_rows_put(image->rows, key, bytes_of(p + 8 + key_len, value_len), image->applied,
                             floor);
            counts->puts[key.ptr[0]]++;
        }
        counts->bytes += key_len + value_len;
        p += store_op_size(key_len, value_len);
    }
}

void image_apply(struct mem_image *image, const struct store_buf *bufs, size_t bufs_count,
                 size_t bytes, struct store_mem_counts *counts)
{
    const uint64_t floor = image_floor(image);
    image->applied++;
    for (size_t i = 0; i < bufs_count; i++) {
        if (bufs[i].len != 0) {
            apply_buf(image, &bufs[i], floor, counts);
        }
    }
    struct mem_batch *batch = xcalloc(1, sizeof *batch);
    batch->seq = image->applied;
    batch->bytes = bytes;
    list_push_back(&image->batches, &batch->node);
    image->undurable_bytes += bytes;
    counts->batches++;
}

void image_flush(struct mem_image *image, uint64_t seq)
{
    ASSERT(seq <= image->applied);
    if (seq > image->durable) {
        image->durable = seq;
        batches_drop(image, seq);
        ordered_rows_tidy(image->rows, image_floor(image));
    }
}

void image_sort(struct mem_image *image, uint64_t seq)
{
    image_flush(image, seq);
    if (seq > image->sorted) {
        image->sorted = seq;
    }
}

void view_pin(struct mem_view *view, struct mem_image *image, uint64_t seq)
{
    ASSERT(view->image == NULL && seq <= image->applied);
    view->image = image_ref(image);
    view->seq = seq;
    list_push_back(&image->views, &view->node);
}

void view_unpin(struct mem_view *view)
{
    if (view->image != NULL) {
        list_remove(&view->node);
        image_unref(view->image);
        view->image = NULL;
    }
}
